/* The configuration: YAML and JSON to values with lines, the tables, the rules between
 * members, the files. */
#include "config/config_int.h"
#include "config/secret.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

/* ---- text
 * --------------------------------------------------------------------------------------- */

struct pair {
    const char *in, *out;
};

static void check_text(const char *in, int format, const char *want)
{
    struct config_text t;
    struct config_error err = {""};
    int rc = config_text_parse(&t, "f", in, strlen(in), format, &err);
    ck_assert_msg(rc == 0, "%s: %s", in, err.text);
    char *got = yyjson_write(t.doc, 0, NULL);
    ck_assert_msg(strcmp(got, want) == 0, "%s: got %s, want %s", in, got, want);
    free(got);
    config_text_free(&t);
}

static void check_refused(const char *in, int format, const char *want)
{
    struct config_text t;
    struct config_error err = {""};
    int rc = config_text_parse(&t, "f", in, strlen(in), format, &err);
    config_text_free(&t);
    ck_assert_msg(rc == -1, "%s: was accepted", in);
    ck_assert_msg(strstr(err.text, want) != NULL, "%s: says \"%s\", want \"%s\"", in, err.text,
                  want);
}

/* What else the reader refuses, tests/unit/host/test_yaml.c has. */
static const struct pair yaml_refused[] = {
    {"a: 1\na: 2\n", "f:2: member \"a\" appears twice, first on line 1"},
    {"x:\n  'b': 1\n  b: 2\n", "f:3: member \"b\" appears twice, first on line 2"},
    {"a: .inf\n", "f:1: a number must be finite"},
    {"", "f: there is nothing in it"},
    {"a: 1\nb: [1,\nc: 2\n", "f:2: a list whose \"]\", or a comma, is missing"},
    {"a: 1\nb:\n\tc: 1\n", "f:3: a tab: YAML indents with blanks"},
    {"a:\n  - 1\n \t- 2\n", "f:3: a tab: YAML indents with blanks"},
    {"a: 1\nb\nc: 2\n", "f:2: a name needs a colon and a blank behind it"},
    {"a:\n- b 1\n  c: 2\n", "f:3: a colon where none can be"},
    {"a:\n- b: 1\n c: 2\n", "f:3: this line is indented otherwise"},
    {"a: 1\nb: 'c\nd: 2\n", "f:2: a quote that is not closed"},
    {"a: 1\nb: {c: 1\n", "f:2: a mapping whose \"}\", or a comma, is missing"},
    {"a: 1\nb: @c\n", "f:2: a value cannot begin with \"@\": write it in quotes"},
    {"a: 1\nb: c\001d\n", "f:2: control characters are not allowed (0x01 at byte 5 of the line)"},
    {"a: 1\nb: \xff\n", "f:2: invalid leading UTF-8 octet (0xff at byte 4 of the line)"},
};

START_TEST(bad_yaml_is_refused_with_its_line)
{
    check_refused(yaml_refused[_i].in, CONFIG_YAML, yaml_refused[_i].out);
}
END_TEST

static const struct pair json_refused[] = {
    {"{\"a\":1,\n\"a\":2}", "f:2: member \"a\" appears twice, first on line 1"},
    {"{\"a\":\n\n tru}", "f:3: "},
    {"{\"a\":1,}", "f:1: "},
    {"// x\n1", "f:1: "},
    {"{\"a\":NaN}", "f:1: "},
    {"", "f:1: "},
};

START_TEST(bad_json_is_refused_with_its_line)
{
    check_refused(json_refused[_i].in, CONFIG_JSON, json_refused[_i].out);
}
END_TEST

START_TEST(values_know_their_line)
{
    static const char json[] =
        "{\n \"a\": [1,\n  \"x,]}\\\"\",\n  {\"b\" :\n null}],\n \"c\": true\n}";
    static const char yaml[] = "\na: [1,\n  \"x,]}\\\"\",\n  {b :\n null}]\n\nc: true\n";
    static const uint32_t json_lines[] = {1, 2, 2, 2, 3, 4, 4, 5, 6, 6};
    static const uint32_t yaml_lines[] = {2, 2, 2, 2, 3, 4, 4, 5, 7, 7};
    struct config_text t;
    struct config_error err;
    for (int format = CONFIG_YAML; format <= CONFIG_JSON; format++) {
        const char *text = format == CONFIG_JSON ? json : yaml;
        const uint32_t *want = format == CONFIG_JSON ? json_lines : yaml_lines;
        ck_assert_int_eq(config_text_parse(&t, "f", text, strlen(text), format, &err), 0);
        ck_assert_uint_eq(yyjson_doc_get_val_count(t.doc), 10);
        for (uint32_t i = 0; i < 10; i++)
            ck_assert_uint_eq(config_text_line(&t, yyjson_doc_get_root(t.doc) + i), want[i]);
        config_text_free(&t);
    }
}
END_TEST

START_TEST(alias_bombs_are_refused)
{
    static char text[1 << 20];
    size_t n = (size_t)sprintf(text, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++) {
        n += (size_t)sprintf(text + n, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            n += (size_t)sprintf(text + n, "%s*a%d", k ? "," : "", i - 1);
        n += (size_t)sprintf(text + n, "]\n");
    }
    check_refused(text, CONFIG_YAML, "aliases stand for more than 10000 values");
    n = (size_t)sprintf(text, "- &x ");
    memset(text + n, 'y', 600000);
    sprintf(text + n + 600000, "\n- *x\n- *x\n");
    check_refused(text, CONFIG_YAML, "aliases stand for more than 1048576 bytes");
    n = 0;
    for (int i = 0; i < 257; i++)
        n += (size_t)sprintf(text + n, "- &a%d 1\n", i);
    check_refused(text, CONFIG_YAML, "f:257: more than 256 anchors");
}
END_TEST

START_TEST(depth_size_and_number_of_values_are_limited)
{
    size_t size = (5u << 20) + 1;
    char *text = malloc(size);
    for (int format = CONFIG_YAML; format <= CONFIG_JSON; format++) {
        memset(text, '[', 32);
        memset(text + 32, ']', 33);
        text[64] = 0;
        check_text(text, format, text);
        memset(text, '[', 33);
        memset(text + 33, ']', 33);
        text[66] = 0;
        check_refused(text, format, "nested deeper than 32");
    }
    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    text[200000] = 0;
    check_refused(text, CONFIG_JSON, "nested deeper than 32");
    check_refused(text, CONFIG_YAML, "nested deeper than 32");
    memset(text, ' ', size);
    text[size - 1] = 0;
    check_refused(text, CONFIG_YAML, "larger than 4194304 bytes");
    text[0] = '[';
    for (size_t i = 0; i < 500000; i++)
        memcpy(text + 1 + 2 * i, "1,", 2);
    memcpy(text + 1 + 2 * 500000, "1]", 3);
    check_refused(text, CONFIG_JSON, "more than 500000 values");
    check_refused(text, CONFIG_YAML, "more than 500000 values");
    free(text);
}
END_TEST

/* ---- the tables
 * --------------------------------------------------------------------------------- */

static int parse(struct config **out, const char *file, const char *text, uint32_t embedded,
                 struct config_error *err)
{
    struct config_source s = {
        .file = file, .text = text, .len = strlen(text), .embedded = embedded};

    return config_parse(out, &s, err);
}

static struct config *parsed(const char *yaml)
{
    struct config *cfg;
    struct config_error err = {""};
    int rc = parse(&cfg, "dir/f.yaml", yaml, 0, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    return cfg;
}

START_TEST(an_empty_mapping_gives_the_defaults)
{
    struct config *cfg = parsed("{}");
    alk_limits limits;
    alk_limits_init(&limits, sizeof limits);
    const struct config_listen *l = cfg->listen.items;
    ck_assert_uint_eq(cfg->listen.count, 1);
    ck_assert_str_eq(l->host, "127.0.0.1");
    ck_assert_uint_eq(l->port, 4780);
    ck_assert_uint_eq(cfg->workers, 1);
    ck_assert_uint_eq(cfg->demo, 0);
    ck_assert_uint_eq(cfg->log.level, ALK_LOG_INFO);
    ck_assert_uint_eq(cfg->log.json, 0);
    ck_assert_mem_eq(&cfg->limits, &limits, sizeof limits);
    ck_assert_uint_eq(cfg->plugins.count, 0);
    ck_assert_uint_eq(cfg->connect.count, 0);
    ck_assert_uint_eq(cfg->imports.count, 0);
    ck_assert_uint_eq(cfg->http.o.retries, 2);
    ck_assert_uint_eq(cfg->http.o.no_http2, 0);
    ck_assert_ptr_null(cfg->http.o.proxy);
    ck_assert_ptr_null(cfg->http.o.no_proxy);
    ck_assert_uint_eq(cfg->has_metrics, 0);
    ck_assert_uint_eq(cfg->cluster.given, 0);
    ck_assert_uint_eq(cfg->node_key_used, 0);
    ck_assert_uint_eq(cfg->forwarded_for, ALK_FORWARD_ID);
    ck_assert_uint_eq(cfg->auto_import, 1);
    ck_assert_ptr_null(cfg->announce_scope);
    ck_assert_ptr_null(cfg->peers_call);
    ck_assert_uint_eq(cfg->gateway.websocket, 1);
    ck_assert_ptr_null(cfg->gateway.tenant_header);
    config_free(cfg);
}
END_TEST

START_TEST(every_member_is_stored)
{
    struct config *cfg =
        parsed("listen:\n- {host: '::1', port: 0}\n- {unix: run/s, mode: '0660'}\n"
               "workers: 3\ndemo: true\ndebug_outputs: true\n"
               "gateway:\n  decoy: {kind: static_site, target: site}\n"
               "  stealth: true\n  health_path: /h\n  hosts: [a.example, '*']\n"
               "  origins: ['https://x.example']\n"
               "log: {format: json, level: debug, file: /var/log/a}\n"
               "limits: {body_bytes: 2MiB, deadline_ms: 5s, drain_ms: 1500, batch: 7,\n"
               "         keepalive_ms: 2m, queue_max: 65536, write_timeout_ms: 1 h}\n"
               "plugins: [{path: p.so, config: {a: [1.10]}}, {path: /q.so}]\n");
    const struct config_listen *l = cfg->listen.items;
    const struct config_plugin *p = cfg->plugins.items;
    ck_assert_uint_eq(cfg->listen.count, 2);
    ck_assert_str_eq(l[0].host, "::1");
    ck_assert_ptr_null(l[1].host);
    ck_assert_str_eq(l[1].unix_path, "dir/run/s");
    ck_assert_uint_eq(l[1].mode, 0660);
    ck_assert_uint_eq(cfg->workers, 3);
    ck_assert_uint_eq(cfg->demo, 1);
    ck_assert_uint_eq(cfg->debug_outputs, 1);
    ck_assert_uint_eq(cfg->gateway.decoy, 1);
    ck_assert_str_eq(cfg->gateway.target, "dir/site");
    ck_assert_uint_eq(cfg->gateway.stealth, 1);
    ck_assert_str_eq(cfg->gateway.health_path, "/h");
    ck_assert_str_eq(cfg->gateway.hosts, "[\"a.example\",\"*\"]");
    ck_assert_str_eq(cfg->gateway.origins, "[\"https://x.example\"]");
    ck_assert_uint_eq(cfg->log.json, 1);
    ck_assert_uint_eq(cfg->log.level, ALK_LOG_DEBUG);
    ck_assert_str_eq(cfg->log.file, "/var/log/a");
    ck_assert_uint_eq(cfg->limits.body_bytes, 2u << 20);
    ck_assert_uint_eq(cfg->limits.deadline_ms, 5000);
    ck_assert_uint_eq(cfg->limits.drain_ms, 1500);
    ck_assert_uint_eq(cfg->limits.batch, 7);
    ck_assert_uint_eq(cfg->limits.keepalive_ms, 120000);
    ck_assert_uint_eq(cfg->limits.queue_max, 65536);
    ck_assert_uint_eq(cfg->limits.write_timeout_ms, 3600000);
    ck_assert_uint_eq(cfg->plugins.count, 2);
    ck_assert_str_eq(p[0].path, "dir/p.so");
    ck_assert_str_eq(p[0].config, "{\"a\":[1.1]}");
    ck_assert_str_eq(p[1].path, "/q.so");
    ck_assert_str_eq(p[1].config, "{}");
    config_free(cfg);
}
END_TEST

START_TEST(members_about_other_nodes_are_stored)
{
    struct config *cfg =
        parsed("gateway: {websocket: false, tenant_header: X-Tenant}\n"
               "forwarded_for: full\nauto_import: false\nannounce_scope: hub:serve\n"
               "metrics: {listen: {port: 9464}}\n"
               "peers_call:\n  authority: {label: deputy, scopes: [a]}\n"
               "  allow: [{peer: '*', operations: [fs/*]}]\n"
               "connect:\n- url: ws://hub.example:4780/x\n  name: hub\n  token_file: hub.token\n"
               "  import: {namespace_prefix: hub, operations: [fs/read, fs/write]}\n"
               "- {url: 'ws://[::1]', import: {}}\n- {url: ws://h}\n"
               "- {url: wss://h, ca_file: ca, certificate: a.crt, key: /a.key}\n"
               "- {url: alknet+tls://h, pin: x}\n- {url: 'alknet+unix:run/s'}\n"
               "- {url: 'ws+unix:/s'}\n");
    const struct config_connect *c = cfg->connect.items;
    ck_assert_uint_eq(cfg->gateway.websocket, 0);
    ck_assert_str_eq(cfg->gateway.tenant_header, "X-Tenant");
    ck_assert_uint_eq(cfg->forwarded_for, ALK_FORWARD_FULL);
    ck_assert_uint_eq(cfg->auto_import, 0);
    ck_assert_str_eq(cfg->announce_scope, "hub:serve");
    ck_assert_uint_eq(cfg->has_metrics, 1);
    ck_assert_str_eq(cfg->metrics.host, "127.0.0.1");
    ck_assert_uint_eq(cfg->metrics.port, 9464);
    ck_assert_str_eq(cfg->peers_call, "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"a\"]},"
                                      "\"allow\":[{\"peer\":\"*\",\"operations\":[\"fs/*\"]}]}");
    ck_assert_uint_eq(cfg->peers_call_len, strlen(cfg->peers_call));
    ck_assert_uint_eq(cfg->connect.count, 7);
    ck_assert_str_eq(c[0].url, "ws://hub.example:4780/x");
    ck_assert_str_eq(c[0].name, "hub");
    ck_assert_str_eq(c[0].token_file, "dir/hub.token");
    ck_assert_uint_eq(c[0].import, 1);
    ck_assert_str_eq(c[0].prefix, "hub");
    ck_assert_str_eq(c[0].operations, "[\"fs/read\",\"fs/write\"]");
    ck_assert_str_eq(c[1].name, "ws://[::1]");
    ck_assert_uint_eq(c[1].import, 1);
    ck_assert_ptr_null(c[1].operations);
    ck_assert_uint_eq(c[2].import, 0);
    ck_assert_str_eq(c[3].ca_file, "dir/ca");
    ck_assert_str_eq(c[3].own.certificate, "dir/a.crt");
    ck_assert_str_eq(c[3].own.key, "/a.key");
    ck_assert_str_eq(c[4].pin, "x");
    ck_assert_str_eq(c[5].url, "alknet+unix:dir/run/s");
    ck_assert_str_eq(c[5].name, "alknet+unix:run/s");
    ck_assert_str_eq(c[6].url, "ws+unix:/s");
    config_free(cfg);
}
END_TEST

START_TEST(members_about_imports_are_stored)
{
    struct config *cfg =
        parsed("imports:\n- openapi: github.yaml\n  prefix: github\n  base_url: https://a.example\n"
               "  auth: {type: api_key, in: header, name: X-Key, file: github.key}\n"
               "  operations: {include: [a*], exclude: [b], methods: [GET], tags: [t]}\n"
               "  access: {required_scopes: [s], resource_type: r, resource_action: a}\n"
               "  headers: {X-V: '2'}\n  variables: {region: eu}\n"
               "  private_addresses: true\n  response_bytes: 2MiB\n"
               "- {openapi: 'https://b.example/x?y=1', prefix: b/c, public: true,\n"
               "   auth: {file: /s}, credentials: {k: /k}, document_token_file: t}\n"
               "- {openapi: /d.json, prefix: d, auth: {type: basic, file: f}}\n");
    const struct config_import *im = cfg->imports.items;
    ck_assert_uint_eq(cfg->imports.count, 3);
    ck_assert_str_eq(im[0].document, "dir/github.yaml");
    ck_assert_uint_eq(im[0].url, 0);
    ck_assert_str_eq(im[0].prefix, "github");
    ck_assert_str_eq(im[0].base_url, "https://a.example");
    ck_assert_str_eq(im[0].auth, "{\"type\":\"api_key\",\"in\":\"header\",\"name\":\"X-Key\"}");
    ck_assert_str_eq(im[0].secret_file, "dir/github.key");
    ck_assert_str_eq(im[0].operations, "{\"include\":[\"a*\"],\"exclude\":[\"b\"],"
                                       "\"methods\":[\"GET\"],\"tags\":[\"t\"]}");
    ck_assert_str_eq(im[0].access, "{\"required_scopes\":[\"s\"],\"resource_type\":\"r\","
                                   "\"resource_action\":\"a\"}");
    ck_assert_str_eq(im[0].headers, "{\"X-V\":\"2\"}");
    ck_assert_str_eq(im[0].variables, "{\"region\":\"eu\"}");
    ck_assert_uint_eq(im[0].private_addresses, 1);
    ck_assert_uint_eq(im[0].response_bytes, 2u << 20);
    ck_assert_uint_eq(im[0].is_public, 0);
    ck_assert_str_eq(im[1].document, "https://b.example/x?y=1");
    ck_assert_uint_eq(im[1].url, 1);
    ck_assert_uint_eq(im[1].is_public, 1);
    ck_assert_ptr_null(im[1].auth);
    ck_assert_ptr_null(im[1].access);
    ck_assert_str_eq(im[1].secret_file, "/s");
    ck_assert_str_eq(im[1].token_file, "dir/t");
    ck_assert_uint_eq(yyjson_obj_size(im[1].credentials), 1);
    ck_assert_str_eq(im[2].document, "/d.json");
    ck_assert_str_eq(im[2].auth, "{\"type\":\"basic\"}");
    config_free(cfg);
}
END_TEST

START_TEST(members_about_a_cluster_are_stored)
{
    struct config *cfg = parsed("cluster: {name: hub-1, nats: {servers: [nats://a]}}");

    ck_assert_uint_eq(cfg->cluster.given, 1);
    ck_assert_str_eq(cfg->cluster.name, "hub-1");
    ck_assert_str_eq(cfg->cluster.prefix, "alknet");
    ck_assert_uint_eq(cfg->cluster.server_count, 1);
    ck_assert_ptr_null(cfg->cluster.user);
    ck_assert_uint_eq(cfg->cluster.tls, 0);
    ck_assert_str_eq(cfg->node_key, "dir/alknetd.node.key");
    ck_assert_uint_eq(cfg->node_key_used, 1);
    config_free(cfg);
    cfg = parsed("cluster: {name: h, prefix: a.b_2.c-d.E, nats: {\n"
                 "  servers: ['nats://a:4222', 'tls://[::1]:1'], user: me, password_file: p,\n"
                 "  tls: {ca: ca.pem, certificate: c.pem, key: /k.pem}}}\nnode_key: n");
    ck_assert_str_eq(cfg->cluster.prefix, "a.b_2.c-d.E");
    ck_assert_uint_eq(cfg->cluster.server_count, 2);
    ck_assert_str_eq(cfg->cluster.servers[1], "tls://[::1]:1");
    ck_assert_str_eq(cfg->cluster.user, "me");
    ck_assert_str_eq(cfg->cluster.password_file, "dir/p");
    ck_assert_ptr_null(cfg->cluster.password);
    ck_assert_uint_eq(cfg->cluster.tls, 1);
    ck_assert_str_eq(cfg->cluster.ca, "dir/ca.pem");
    ck_assert_str_eq(cfg->cluster.certificate, "dir/c.pem");
    ck_assert_str_eq(cfg->cluster.key, "/k.pem");
    ck_assert_str_eq(cfg->node_key, "dir/n");
    config_free(cfg);
    cfg = parsed("cluster: {name: h, nats: {servers: [tls://a], nkey_seed_file: /s, tls: {}}}");
    ck_assert_str_eq(cfg->cluster.nkey_seed_file, "/s");
    ck_assert_uint_eq(cfg->cluster.tls, 1);
    config_free(cfg);
    cfg = parsed("cluster: {name: h, nats: {servers: [tls://a], credentials: c}}");
    ck_assert_str_eq(cfg->cluster.credentials, "dir/c");
    ck_assert_uint_eq(cfg->cluster.services, 0);
    config_free(cfg);
    cfg = parsed("cluster: {name: h, nats: {servers: [tls://a]}, services: true,\n"
                 "  services_token_file: t}");
    ck_assert_uint_eq(cfg->cluster.services, 1);
    ck_assert_str_eq(cfg->cluster.services_token_file, "dir/t");
    ck_assert_ptr_null(cfg->cluster.services_token);
    config_free(cfg);
}
END_TEST

START_TEST(members_about_http_are_stored)
{
    struct config *cfg =
        parsed("http: {proxy: 'http://p:3128', no_proxy: [a, b.example], ca_file: ca.pem,\n"
               "  certificate: c.pem, key: /k.pem, connect_timeout_ms: 2s, idle_timeout_ms: 1m,\n"
               "  retries: 0, host_connections: 3, connections: 4, response_bytes: 1MiB,\n"
               "  header_bytes: 2KiB, http2: false, user_agent: me}");
    const alk_http_options *o = &cfg->http.o;
    ck_assert_str_eq(o->proxy, "http://p:3128");
    ck_assert_str_eq(o->no_proxy, "a,b.example");
    ck_assert_str_eq(o->ca_file, "dir/ca.pem");
    ck_assert_str_eq(o->certificate_file, "dir/c.pem");
    ck_assert_str_eq(o->key_file, "/k.pem");
    ck_assert_uint_eq(o->connect_ms, 2000);
    ck_assert_uint_eq(o->idle_ms, 60000);
    ck_assert_uint_eq(o->retries, 0);
    ck_assert_uint_eq(o->host_connections, 3);
    ck_assert_uint_eq(o->connections, 4);
    ck_assert_uint_eq(o->response_bytes, 1u << 20);
    ck_assert_uint_eq(o->header_bytes, 2048);
    ck_assert_uint_eq(o->no_http2, 1);
    ck_assert_str_eq(o->user_agent, "me");
    config_free(cfg);
}
END_TEST

START_TEST(words_of_forwarded_for_are_the_librarys)
{
    static const char *const words[] = {"forwarded_for: id", "forwarded_for: full",
                                        "forwarded_for: none"};
    static const uint32_t values[] = {ALK_FORWARD_ID, ALK_FORWARD_FULL, ALK_FORWARD_NONE};
    for (size_t i = 0; i < 3; i++) {
        struct config *cfg = parsed(words[i]);
        ck_assert_uint_eq(cfg->forwarded_for, values[i]);
        config_free(cfg);
    }
}
END_TEST

START_TEST(websocket_is_on_unless_it_is_off)
{
    struct config *cfg = parsed("workers: 2");
    ck_assert_uint_eq(cfg->gateway.websocket, 1);
    config_free(cfg);
    cfg = parsed("{workers: 2, gateway: {websocket: false}}");
    ck_assert_uint_eq(cfg->gateway.websocket, 0);
    config_free(cfg);
    cfg = parsed("gateway: {websocket: true}");
    ck_assert_uint_eq(cfg->gateway.websocket, 1);
    config_free(cfg);
}
END_TEST

START_TEST(each_limit_has_a_member)
{
    /* Every uint32_t behind size is a limit; one without a line in the table could not be set. */
    static const char *const names[] = {"frame_bytes",
                                        "websocket_bytes",
                                        "body_bytes",
                                        "anonymous_bytes",
                                        "output_bytes",
                                        "json_values",
                                        "json_depth",
                                        "schema_steps",
                                        "message_budget",
                                        "header_bytes",
                                        "header_count",
                                        "url_bytes",
                                        "connection_calls",
                                        "call_children",
                                        "call_depth",
                                        "batch",
                                        "import_fanout",
                                        "queue_high",
                                        "queue_max",
                                        "connections",
                                        "deadline_ms",
                                        "header_timeout_ms",
                                        "body_timeout_ms",
                                        "keepalive_ms",
                                        "write_timeout_ms",
                                        "heartbeat_ms",
                                        "drain_ms",
                                        "drain_delay_ms",
                                        "connections_per_address",
                                        "auth_failures_per_minute",
                                        "calls_per_second",
                                        "websocket_sessions",
                                        "websocket_fragments",
                                        "websocket_controls",
                                        "ping_ms",
                                        "idle_ms",
                                        "close_ms",
                                        "evict_ms",
                                        "write_rate",
                                        "http2_streams",
                                        "http2_resets",
                                        "quic_handshakes",
                                        "quic_streams",
                                        "quic_stream_window",
                                        "quic_window",
                                        "quic_idle_ms",
                                        "quic_keep_alive_ms"};
    size_t count = sizeof names / sizeof *names;
    ck_assert_uint_eq(count, sizeof(alk_limits) / sizeof(uint32_t) - 1);
    for (size_t i = 0; i < count; i++) {
        char yaml[128];
        bool depth = strcmp(names[i], "json_depth") == 0 || strcmp(names[i], "call_depth") == 0;
        uint32_t value = depth ? 1001 : (uint32_t)(70001 + i) % 1000000, stored;
        if (strcmp(names[i], "header_count") == 0 || strcmp(names[i], "import_fanout") == 0)
            value = 1001;
        snprintf(yaml, sizeof yaml, "limits: {%s: %u}", names[i], value);
        struct config *cfg = parsed(yaml);
        memcpy(&stored, (char *)&cfg->limits + sizeof(uint32_t) * (i + 1), sizeof stored);
        ck_assert_msg(stored == value, "%s is stored elsewhere", names[i]);
        config_free(cfg);
    }
}
END_TEST

static const struct pair config_refused[] = {
    {"[]", "dir/f.yaml:1: must be a mapping"},
    {"\nlisten:\n  - prot: 1\n",
     "dir/f.yaml:3: listen[0]: there is no member \"prot\"; did you mean \"port\"?"},
    {"listen:\n  - port:\n      99999\n",
     "dir/f.yaml:3: listen[0].port: must be a whole number between 0 and 65535"},
    {"listen: [{port: -1}]", "listen[0].port: must be a whole number"},
    {"listen: [{port: 1.5}]", "listen[0].port: must be a whole number"},
    {"listen: [{port: '80'}]", "listen[0].port: must be a whole number: write it without quotes"},
    {"listen: []", "listen: must not be empty"},
    {"listen: [{port: 80}, {port: 80}]", "listen[1]: its address is that of listen[0] already"},
    {"listen: [{port: 80}, {port: 81}, {port: 81, host: 0.0.0.0}]",
     "listen[2]: its address is that of listen[1] already"},
    {"listen: [{port: 80, host: '::'}, {port: 80}]", "listen[1]: its address is that of listen[0]"},
    {"listen: [{port: 80, host: '::1'}, {port: 80, host: '0:0::1'}]", "that of listen[0] already"},
    {"{workers: 2, listen: [{quic: true, port: 8, host: '::'}, {quic: true, port: 8}]}",
     "listen[1]: its address is that of listen[0] already"},
    {"listen: [{unix: s}, {unix: s}]", "listen[1]: its address is that of listen[0] already"},
    {"{listen: [{port: 80}], metrics: {listen: {port: 80}}}",
     "metrics.listen: its address is that of listen[0] already"},
    {"gateway: {decoy: {kind: redirect, target: example.org}}",
     "gateway.decoy.target: must begin with https://, http:// or \"/\""},
    {"listen: {}", "listen: must be a list"},
    {"listen: [{host: localhost}]", "listen[0].host: must be a numeric address"},
    {"listen: [{host: 127.1}]", "listen[0].host: must be "},
    {"listen: [{host: ''}]", "listen[0].host: must not be empty"},
    {"listen: [{unix: s, port: 1}]", "listen[0]: is either \"unix\""},
    {"listen: [{port: 1, mode: '0600'}]", "listen[0].mode: belongs to \"unix\""},
    {"listen: [{unix: s, mode: 0600}]",
     "listen[0].mode: must be a string of octal digits: write \"0600\", in quotes"},
    {"listen: [{unix: s, mode: 660}]", "write \"0660\", in quotes"},
    {"listen: [{unix: s, mode: 0o660}]", "listen[0].mode: must be a string of octal digits"},
    {"demo: yes", "demo: must be true or false; \"yes\" is a string: write true"},
    {"demo: Off", "demo: must be true or false; \"Off\" is a string: write false"},
    {"demo: 'true'", "demo: must be true or false; \"true\" is a string: write it without quotes"},
    {"demo:", "demo: has no value: give it one, or take the line out"},
    {"limits:", "limits: has no value"},
    {"log: {file: 7}", "log.file: must be a string: write it in quotes"},
    {"log: debug", "log: must be a mapping, of lines \"NAME: VALUE\""},
    {"keys: {prefix: a}", "keys: must be a list: each of its entries begins with \"- \""},
    {"keys: [{prefix: a, token: b}]",
     "keys[0]: there is no member \"token\"; write \"hash\", which \"alknet token hash\" makes"},
    {"limits: {body_bytes: 4MB}", "limits.body_bytes: must be a size from 1024 to"},
    {"limits: {deadline_ms: 30 sec}", "limits.deadline_ms: must be a time from 1 to"},
    {"listen: [{unix: s, mode: '0900'}]", "listen[0].mode: must be a string of octal digits"},
    {"listen: [{unix: s, mode: '4755'}]", "listen[0].mode: must be a string of octal digits"},
    {"listen: [{unix: s, mode: ' 60'}]", "listen[0].mode: must be a string of octal digits"},
    {"workers: 0", "workers: must be a whole number between 1 and 256"},
    {"workers: automatic", "workers: must be a whole number between 1 and 256"},
    {"demo: no", "demo: must be true or false"},
    {"demo: 1", "demo: must be true or false"},
    {"limit: {}", "there is no member \"limit\"; did you mean \"limits\"?"},
    {"xyzzy: {}", "dir/f.yaml:1: there is no member \"xyzzy\""},
    {"\"a\\e[31m\\n\": 1", "there is no member \"a?[31m?\""},
    {"limits: {frame_bytes: 65MiB}",
     "limits.frame_bytes: must be a size from 1024 to 67108864 bytes"},
    {"limits: {body_bytes: 4MB}", "limits.body_bytes: must be a size"},
    {"limits: {body_bytes: 99999999999GiB}", "limits.body_bytes: must be a size"},
    {"limits: {deadline_ms: 30 seconds}", "limits.deadline_ms: must be a time"},
    {"limits: {deadline_ms: 0}", "limits.deadline_ms: must be a time"},
    {"limits: {deadline_ms: 25h}", "limits.deadline_ms: must be a time from 1 to 86400000 ms"},
    {"limits: {deadline_ms: '30'}", "limits.deadline_ms: must be a time"},
    {"limits: {json_depth: 4KiB}", "limits.json_depth: must be a whole number"},
    {"gateway: {decoy: {kind: redirct, target: x}}",
     "gateway.decoy.kind: must be one of not_found, static_site, redirect"},
    {"gateway: {decoy: {kind: redirect}}", "gateway.decoy.target: is missing"},
    {"gateway: {decoy: {target: x}}", "gateway.decoy: member \"kind\" is missing"},
    {"gateway: {decoy: {kind: not_found, target: x}}", "gateway.decoy.target: does not go with"},
    {"gateway: {health_path: healthz}", "gateway.health_path: must begin with"},
    {"gateway: {websocket: 1}", "gateway.websocket: must be true or false"},
    {"gateway: {tenant_header: 'X Tenant'}",
     "gateway.tenant_header: must be the name of a header field"},
    {"gateway: {tenant_header: \"X:\"}",
     "gateway.tenant_header: must be the name of a header field"},
    {"gateway: {tenant_header: ''}", "gateway.tenant_header: must not be empty"},
    {"forwarded_for: all", "forwarded_for: must be one of id, full, none"},
    {"auto_import: 1", "auto_import: must be true or false"},
    {"announce_scope: [a]", "announce_scope: must be a string"},
    {"announce_scope: ''", "announce_scope: must not be empty"},
    {"metrics: {}", "metrics: member \"listen\" is missing"},
    {"metrics: {listen: [{port: 1}]}", "metrics.listen: must be a mapping"},
    {"metrics:\n  listen:\n    host: here\n",
     "dir/f.yaml:3: metrics.listen.host: must be a numeric address"},
    {"metrics: {listen: {unix: s, port: 1}}", "metrics.listen: is either \"unix\""},
    {"metrics: {listen: {port: 1, mode: '0600'}}", "metrics.listen.mode: belongs to \"unix\""},
    {"metrics: {listen: {port: 1}, path: /m}", "metrics: there is no member \"path\""},
    {"peers_call: {allow: []}", "peers_call: member \"authority\" is missing"},
    {"peers_call: {authority: {label: d}}", "peers_call: member \"allow\" is missing"},
    {"peers_call: {authority: {}, allow: []}", "peers_call.authority: member \"label\" is missing"},
    {"peers_call: {authority: {label: d, scope: [a]}, allow: []}",
     "there is no member \"scope\"; did you mean \"scopes\"?"},
    {"peers_call: {authority: {label: d}, allow: [{peer: a}]}",
     "peers_call.allow[0]: member \"operations\" is missing"},
    {"connect: [{name: a}]", "connect[0]: member \"url\" is missing"},
    {"connect:\n- url: ws://a\n- url: http://a\n",
     "dir/f.yaml:3: connect[1].url: must begin with alknet://, ws://, wss://, alknet+tls://"},
    {"connect: [{url: alknet:a}]", "connect[0].url: must begin with alknet://"},
    {"connect: [{url: alknet://a/b}]", "connect[0].url: must be alknet://HOST[:PORT][#FINGER"},
    {"connect: [{url: 'alknet://a#x', pin: x}]", "connect[0].pin: is in the URL already"},
    {"connect: [{url: alknet://a, certificate: x}]", "connect[0].certificate: does not go alone"},
    {"listen: [{quic: true, tls: true}]", "listen[0].quic: is a listener on UDP"},
    {"listen: [{quic: true, unix: a}]", "listen[0].quic: is a listener on UDP"},
    {"connect: [{url: 'wss://'}]", "connect[0].url: must be wss://HOST[:PORT][/PATH]"},
    {"connect: [{url: alknet+tls://a/b}]", "connect[0].url: must be alknet+tls://HOST[:PORT]"},
    {"connect: [{url: 'ws://a?b'}]", "connect[0].url: must be ws://HOST[:PORT][/PATH]"},
    {"connect: [{url: 'ws+unix:'}]", "connect[0].url: has no path"},
    {"connect: [{url: ws://a, pin: x}]", "connect[0].pin: is for alknet://, wss:// and"},
    {"connect: [{url: 'alknet+unix:a', ca_file: x}]",
     "connect[0].ca_file: is for alknet://, wss://"},
    {"connect: [{url: wss://a, pin: x, ca_file: x}]", "connect[0].pin: does not go with"},
    {"connect: [{url: wss://a, certificate: x}]", "connect[0].certificate: does not go alone"},
    {"connect: [{url: wss://a, key: x}]", "connect[0].key: does not go alone"},
    {"connect: [{url: 'ws://'}]", "connect[0].url: must be ws://HOST[:PORT][/PATH]"},
    {"connect: [{url: 'ws:///x'}]", "connect[0].url: must be ws://HOST[:PORT][/PATH]"},
    {"connect: [{url: 'ws://a b'}]", "connect[0].url: must be ws://HOST[:PORT][/PATH]"},
    {"connect: [{url: 'ws://a/#b'}]", "connect[0].url: must be ws://HOST[:PORT][/PATH]"},
    {"connect: [{url: ws://me:secret@a}]", "connect[0].url: must not have a user or a password"},
    {"connect: [{url: ws://a, token: x}]", "connect[0]: there is no member \"token\""},
    {"connect: [{url: ws://a, import: true}]", "connect[0].import: must be a mapping"},
    {"connect: [{url: ws://a, import: {operations: fs/*}}]",
     "connect[0].import.operations: must be a list of strings"},
    {"imports: [{prefix: a}]", "imports[0].prefix: needs \"openapi\", a document, or \"mcp\", a "
                               "server, beside it"},
    {"imports: [{prefix: a, mcp: b}]", "imports[0].mcp: must begin with https:// or http://"},
    {"imports: [{prefix: a, mcp: http://b, openapi: c}]",
     "imports[0].openapi: does not go with \"mcp\""},
    {"imports: [{prefix: a, mcp: http://b, auth: {type: basic, file: c}}]",
     "imports[0].auth.type: is for \"openapi\""},
    {"imports: [{prefix: a, mcp: http://b, operations: {tags: [c]}}]",
     "imports[0].operations.tags: is for \"openapi\""},
    {"imports: [{prefix: a, openapi: b, progress: true}]", "imports[0].progress: is for \"mcp\""},
    {"imports: [{openapi: a}]", "imports[0]: member \"prefix\" is missing"},
    {"imports: {}", "imports: must be a list"},
    {"imports:\n- {openapi: a, prefix: a}\n- {openapi: b, prefix: b}\n- openapi: c\n  prefix: a\n",
     "dir/f.yaml:5: imports[2].prefix: is that of imports[0] already"},
    {"imports: [{openapi: 'ftp://a', prefix: a}]", "imports[0].openapi: must be a file, or begin"},
    {"imports: [{openapi: 'https://', prefix: a}]", "imports[0].openapi: must be http[s]://HOST"},
    {"imports: [{openapi: 'https://me@a/b', prefix: a}]", "imports[0].openapi: must be http[s]://"},
    {"imports: [{openapi: 'https://a/b#c', prefix: a}]", "imports[0].openapi: must be http[s]://"},
    {"imports: [{openapi: a, prefix: a, token_file: x}]",
     "imports[0]: there is no member \"token_file\""},
    {"imports: [{openapi: a, prefix: a, document_token_file: x}]",
     "imports[0].document_token_file: is for a document that has a URL"},
    {"imports: [{openapi: a, prefix: a, auth: {type: bearer}}]",
     "imports[0].auth: member \"file\" is missing"},
    {"imports: [{openapi: a, prefix: a, auth: {type: digest, file: f}}]",
     "imports[0].auth.type: must be one of bearer, basic, api_key"},
    {"imports: [{openapi: a, prefix: a, auth: {type: api_key, name: x, file: f}}]",
     "imports[0].auth: an api_key needs \"in\" and \"name\""},
    {"imports: [{openapi: a, prefix: a, auth: {type: api_key, in: body, name: x, file: f}}]",
     "imports[0].auth.in: must be one of header, query, cookie"},
    {"imports: [{openapi: a, prefix: a, auth: {type: bearer, in: header, file: f}}]",
     "imports[0].auth.in: belongs to the type api_key"},
    {"imports: [{openapi: a, prefix: a, auth: {name: x, file: f}}]",
     "imports[0].auth.name: belongs to the type api_key"},
    {"imports: [{openapi: a, prefix: a, auth: {type: bearer, file: f}, credentials: {k: f}}]",
     "imports[0].credentials: does not go with"},
    {"imports: [{openapi: a, prefix: a, credentials: [f]}]",
     "imports[0].credentials: must be a mapping of strings"},
    {"imports: [{openapi: a, prefix: a, headers: {X-A: 2}}]",
     "imports[0].headers.X-A: must be a string"},
    {"imports: [{openapi: a, prefix: a, headers: {'': a}}]",
     "imports[0].headers: must not be empty"},
    {"imports: [{openapi: a, prefix: a, variables: {region: ''}}]",
     "imports[0].variables.region: must not be empty"},
    {"imports: [{openapi: a, prefix: a, operations: [a]}]",
     "imports[0].operations: must be a mapping"},
    {"imports: [{openapi: a, prefix: a, operations: {include: a}}]",
     "imports[0].operations.include: must be a list of strings"},
    {"imports: [{openapi: a, prefix: a, access: {}}]", "imports[0].access: restricts nobody"},
    {"imports: [{openapi: a, prefix: a, access: {required_scopes: []}}]",
     "imports[0].access: restricts nobody"},
    {"imports: [{openapi: a, prefix: a, access: {authenticated: false}}]",
     "imports[0].access: restricts nobody"},
    {"imports: [{openapi: a, prefix: a, access: {required_scopes_any: []}}]",
     "imports[0].access.required_scopes_any: must not be empty"},
    {"imports: [{openapi: a, prefix: a, access: {resource_action: x, authenticated: true}}]",
     "imports[0].access.resource_action: needs a \"resource_type\""},
    {"imports: [{openapi: a, prefix: a, access: {authenticated: true}, public: true}]",
     "imports[0].public: does not go with \"access\""},
    {"imports: [{openapi: a, prefix: a, response_bytes: 10}]",
     "imports[0].response_bytes: must be a size from 1024"},
    {"http: {proxy: 'http://me:secret@p:1'}", "http.proxy: must not have a user or a password"},
    {"http: {proxy: 'http://p:1', proxy_file: p}", "http.proxy_file: does not go with \"proxy\""},
    {"http:\n  retries: 11\n", "dir/f.yaml:2: http.retries: must be a whole number between 0 and"},
    {"http: {key: a}", "http.key: does not go alone"},
    {"http: {certificate: a}", "http.certificate: does not go alone"},
    {"http: {no_proxy: a}", "http.no_proxy: must be a list of strings"},
    {"http: {no_proxy: [a, 'b, c']}", "http.no_proxy[1]: must be one host"},
    {"http: {http2: 1}", "http.http2: must be true or false"},
    {"cluster: {name: h}", "cluster: member \"nats\" is missing"},
    {"cluster: {nats: {servers: [nats://a]}}", "cluster: member \"name\" is missing"},
    {"cluster: {name: h, nats: {}}", "cluster.nats: member \"servers\" is missing"},
    {"cluster: {name: h, nats: {servers: []}}", "cluster.nats.servers: must have 1 to 16 items"},
    {"cluster: {name: h, nats: {servers: [a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a]}}",
     "cluster.nats.servers: must have 1 to 16"},
    {"cluster: {name: h, nats: {servers: nats://a}}",
     "cluster.nats.servers: must be a list of strings"},
    {"cluster:\n  name: h\n  nats:\n    servers:\n    - nats://a\n    - http://b\n",
     "dir/f.yaml:6: cluster.nats.servers[1]: must be nats://HOST[:PORT] or tls://HOST[:PORT]"},
    {"cluster: {name: h, nats: {servers: ['nats://']}}",
     "cluster.nats.servers[0]: must be nats://"},
    {"cluster: {name: h, nats: {servers: ['nats://:1']}}",
     "cluster.nats.servers[0]: must be nats://"},
    {"cluster: {name: h, nats: {servers: ['nats://a/b']}}",
     "cluster.nats.servers[0]: must be nats://"},
    {"cluster: {name: h, nats: {servers: ['nats://a b']}}",
     "cluster.nats.servers[0]: must be nats://"},
    {"cluster: {name: h, nats: {servers: ['nats://me:s3cret@a']}}",
     "cluster.nats.servers[0]: must not have a user, a password or a token"},
    {"cluster: {name: a.b, nats: {servers: [nats://a]}}",
     "cluster.name: must have letters, digits"},
    {"cluster: {name: '', nats: {servers: [nats://a]}}", "cluster.name: must not be empty"},
    {"cluster: {name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, nats: "
     "{servers: [nats://a]}}",
     "cluster.name: must have 1 to 64 bytes"},
    {"cluster: {name: h, prefix: a..b, nats: {servers: [nats://a]}}",
     "cluster.prefix: must be 1 to 4 words"},
    {"cluster: {name: h, prefix: a.b.c.d.e, nats: {servers: [nats://a]}}",
     "cluster.prefix: must be 1 to 4 words"},
    {"cluster: {name: h, prefix: 'a.>', nats: {servers: [nats://a]}}",
     "cluster.prefix: must be 1 to 4 words"},
    {"cluster: {name: h, nats: {servers: [nats://a], user: u}}",
     "cluster.nats.user: does not go alone"},
    {"cluster: {name: h, nats: {servers: [nats://a], password_file: p}}",
     "cluster.nats.password_file: does not go alone"},
    {"cluster: {name: h, nats: {servers: [nats://a], user: u, password_file: p, token_file: t}}",
     "cluster.nats.token_file: does not go with \"user\""},
    {"cluster: {name: h, nats: {servers: [nats://a], token_file: t, credentials: c}}",
     "cluster.nats.credentials: does not go with \"token_file\""},
    {"cluster: {name: h, nats: {servers: [nats://a], credentials: c, nkey_seed_file: s}}",
     "cluster.nats.nkey_seed_file: does not go with \"credentials\""},
    {"cluster: {name: h, nats: {servers: [nats://a], password: p}}",
     "cluster.nats: there is no member \"password\""},
    {"cluster: {name: h, nats: {servers: [nats://a]}, services: {}}",
     "cluster.services: must be true or false"},
    {"cluster: {name: h, nats: {servers: [nats://a]}, services_token_file: t}",
     "cluster.services_token_file: does not go without \"services\": true"},
    {"cluster: {name: h, nats: {servers: [nats://a], tls: true}}",
     "cluster.nats.tls: must be a mapping"},
    {"cluster: {name: h, nats: {servers: [nats://a], tls: {insecure: true}}}",
     "cluster.nats.tls: there is no member \"insecure\""},
    {"cluster: {name: h, nats: {servers: [nats://a], tls: {key: k}}}",
     "cluster.nats.tls.key: does not go alone"},
    {"cluster: {name: h, nats: {servers: [nats://a], tls: {certificate: k}}}",
     "cluster.nats.tls.certificate: does not go alone"},
    {"gateway: {hosts: a}", "gateway.hosts: must be a list of strings"},
    {"gateway: {hosts: [a, 1]}", "gateway.hosts[1]: must be a string"},
    {"log: {level: 3}", "log.level: must be one of error, warn, info, debug"},
    {"log: {file: \"a\\0b\"}", "log.file: must not contain NUL"},
    {"plugins: [{config: {}}]", "plugins[0]: member \"path\" is missing"},
    {"plugins: [{path: a, config: 1, config_file: b}]", "plugins[0].config_file: does not go with"},
    {"keys:\n- prefix: alk_abcd\n  hash: x\n  token: alk_abcdefgh\n",
     "dir/f.yaml:4: keys[0]: there is no member \"token\""},
    {"keys: [{prefix: alk_abcd}]", "keys[0]: member \"hash\" is missing"},
    {"keys: [{prefix: a, hash: b, scopes: demo}]", "keys[0].scopes: must be a list of strings"},
    {"peers: [{fingerprints: []}]", "peers[0]: member \"peer_id\" is missing"},
    {"peers: [{peer_id: a, resources: {t: [1]}}]", "peers[0].resources.t[0]: must be a string"},
    {"peers: [{peer_id: a, enabled: yes}]", "peers[0].enabled: must be true or false"},
};

START_TEST(wrong_members_are_named_with_line_and_place)
{
    struct config *cfg;
    struct config_error err = {""};
    const struct pair *p = &config_refused[_i];
    int rc = parse(&cfg, "dir/f.yaml", p->in, 0, &err);
    ck_assert_msg(rc == -1, "%s: was accepted", p->in);
    ck_assert_ptr_null(cfg);
    ck_assert_msg(strstr(err.text, p->out) != NULL, "%s: says \"%s\", want \"%s\"", p->in, err.text,
                  p->out);
}
END_TEST

static const struct pair embedded_refused[] = {
    {"a: 1", "dir/f.yaml:1: there is no member \"a\""},
    {"\ndemo: false", "dir/f.yaml:2: demo: only alknetd has it"},
    {"core_dumps: true", "dir/f.yaml:1: core_dumps: only alknetd has it"},
    {"log:\n  level: warn\n  format: human\n", "dir/f.yaml:3: log.format: only alknetd has it"},
    {"log: {file: x}", "dir/f.yaml:1: log.file: only alknetd has it"},
};

START_TEST(what_is_alknetds_own_is_refused_of_other_programs)
{
    struct config *cfg;
    struct config_error err = {""};
    const struct pair *p = &embedded_refused[_i];

    ck_assert_int_eq(parse(&cfg, "dir/f.yaml", p->in, 1, &err), -1);
    ck_assert_str_eq(err.text, p->out);
}
END_TEST

START_TEST(other_programs_listen_on_nothing_unless_told_to)
{
    static const char *const none[] = {"{}", "listen: []", "{log: {level: debug}, workers: 2}"};
    struct config_error err = {""};
    struct config *cfg;

    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        ck_assert_msg(parse(&cfg, "f", none[i], 1, &err) == 0, "%s", err.text);
        ck_assert_uint_eq(cfg->listen.count, 0);
        config_free(cfg);
    }
    ck_assert_int_eq(parse(&cfg, "f", "listen: [{port: 1}]", 1, &err), 0);
    ck_assert_uint_eq(cfg->listen.count, 1);
    config_free(cfg);
}
END_TEST

/* There is no folder in which what nobody has named could be kept. */
static const struct pair without_file[] = {
    {"{\"limits\":\n{\"batch\":0}}", "configuration:2: limits.batch: must be a whole number"},
    {"a: 1", "configuration:1: "},
    {"{\"listen\":[{\"tls\":true}]}", "configuration:1: tls.certificates: are missing"},
    {"{\"listen\":[{\"quic\":true}]}", "configuration:1: node_key: is missing"},
    {"{\"connect\":[{\"url\":\"alknet://a\"}]}",
     "configuration:1: connect[0].key: is missing, and there is no \"node_key\""},
};

START_TEST(a_configuration_without_a_file_says_so_in_its_complaints)
{
    struct config *cfg;
    struct config_error err = {""};
    const struct pair *p = &without_file[_i];

    ck_assert_int_eq(parse(&cfg, NULL, p->in, 1, &err), -1);
    ck_assert_msg(!strncmp(err.text, p->out, strlen(p->out)), "says %s", err.text);
}
END_TEST

START_TEST(a_configuration_without_a_file_has_paths_of_the_working_directory)
{
    struct config *cfg;
    struct config_error err = {""};
    int rc = parse(&cfg, NULL,
                   "{\"node_key\":\"k\",\"tls\":{\"certificates\":[{\"certificate\":\"c\","
                   "\"key\":\"d/k\"}]},\"listen\":[{\"tls\":true},{\"quic\":true},"
                   "{\"unix\":\"s\"}],\"connect\":[{\"url\":\"alknet://a\"}]}",
                   1, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_str_eq(cfg->node_key, "k");
    ck_assert_str_eq(cfg->tls.certificates, "[{\"certificate\":\"c\",\"key\":\"d/k\"}]");
    ck_assert_str_eq(((struct config_listen *)cfg->listen.items)[2].unix_path, "s");
    config_free(cfg);
    rc = parse(&cfg, "a/b/f.json", "{\"listen\":[{\"quic\":true,\"port\":1}]}", 1, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_str_eq(cfg->node_key, "a/b/alknetd.node.key");
    config_free(cfg);
}
END_TEST

START_TEST(a_long_unknown_name_is_cut)
{
    struct config *cfg;
    struct config_error err = {""};
    char text[500];
    memset(text, 'x', sizeof text);
    memcpy(text, "\"", 1);
    strcpy(text + sizeof text - 6, "\": 1");
    ck_assert_int_eq(parse(&cfg, "f", text, 0, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "xxx...\""));
    ck_assert_uint_lt(strlen(err.text), 200);
}
END_TEST

START_TEST(what_needs_a_restart_is_named)
{
    char names[128];
    struct config *a = parsed("{workers: 2, log: {level: info}, limits: {batch: 1}, keys: []}");
    struct config *b = parsed("{workers: 2, log: {level: warn}, limits: {batch: 2}, demo: true, "
                              "forwarded_for: none, announce_scope: a, http: {retries: 1}, "
                              "imports: [{openapi: a, prefix: a}], "
                              "cluster: {name: h, nats: {servers: [nats://a]}}, "
                              "metrics: {listen: {port: 1}}}");
    config_changes(a, b, names, sizeof names);
    ck_assert_str_eq(names, "log, demo, metrics, forwarded_for, announce_scope, http, cluster");
    config_changes(a, a, names, sizeof names);
    ck_assert_str_eq(names, "");
    config_free(a);
    config_free(b);
}
END_TEST

/* ---- files
 * -------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/test_config.XXXXXX";

static void make_folder(void)
{
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *put_file(const char *name, mode_t mode, const char *content)
{
    static char path[2][64];
    static int which;
    char *p = path[which ^= 1];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    FILE *f = fopen(p, "w");
    ck_assert_ptr_nonnull(f);
    fputs(content, f);
    fclose(f);
    ck_assert_int_eq(chmod(p, mode), 0);
    return p;
}

/* The file, as alknetd takes it. */
static int load(struct config **out, const char *path, uint32_t workers, struct config_error *err)
{
    struct config_source s = {.file = path, .workers = workers};
    char *data;

    *out = NULL;
    if (config_read_file(path, 0, &data, &s.len, err) < 0)
        return -1;
    s.text = data;
    int rc = config_load(out, &s, err);
    secret_free(data);
    return rc;
}

static void check_load_fails(const char *path, uint32_t workers, const char *want)
{
    struct config *cfg;
    struct config_error err = {""};
    ck_assert_int_eq(load(&cfg, path, workers, &err), -1);
    ck_assert_ptr_null(cfg);
    ck_assert_msg(strstr(err.text, want) != NULL, "says \"%s\", want \"%s\"", err.text, want);
}

START_TEST(identities_of_both_files_are_joined)
{
    struct config *cfg;
    struct config_error err = {""};
    put_file("ids.json", 0644,
             "{\"keys\":[{\"prefix\":\"alk_bbbb\",\"hash\":\"2\"}],\"users\":[{\"uid\":2}]}");
    const char *path = put_file("c.yaml", 0644,
                                "identities_file: ids.json\nusers: [{uid: 1}]\n"
                                "keys: [{prefix: alk_aaaa, hash: '1'}]\npeers: [{peer_id: p}]\n");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert_str_eq(cfg->identities, "{\"peers\":[{\"peer_id\":\"p\"}],\"keys\":["
                                      "{\"prefix\":\"alk_aaaa\",\"hash\":\"1\"},"
                                      "{\"prefix\":\"alk_bbbb\",\"hash\":\"2\"}],"
                                      "\"users\":[{\"uid\":1},{\"uid\":2}]}");
    ck_assert_uint_eq(cfg->identities_len, strlen(cfg->identities));
    config_free(cfg);
}
END_TEST

START_TEST(the_libraries_complaint_gets_file_and_line)
{
    struct config *cfg;
    struct config_error err = {""};
    alk_identities *ids = alk_identities_new();
    put_file("ids.yaml", 0644,
             "keys:\n- {prefix: alk_bbbb, hash: " HASH "}\n\n- prefix: alk_cccc\n  hash: beef\n");
    const char *path = put_file("c.yaml", 0644, "identities_file: ids.yaml\nkeys: []\n");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert_int_eq(config_give_identities(cfg, ids, 0, NULL, &err), -1);
    ck_assert_msg(strstr(err.text, "ids.yaml:5: keys[1].hash: ") != NULL, "says \"%s\"", err.text);
    config_free(cfg);
    alk_identities_free(ids);
}
END_TEST

START_TEST(good_identities_are_taken)
{
    struct config *cfg;
    struct config_error err = {""};
    alk_identities *ids = alk_identities_new();
    const char *path =
        put_file("c.json", 0644, "{\"keys\":[{\"prefix\":\"alk_bbbb\",\"hash\":\"" HASH "\"}]}");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert_msg(config_give_identities(cfg, ids, 0, NULL, &err) == 0, "%s", err.text);
    config_free(cfg);
    alk_identities_free(ids);
}
END_TEST

START_TEST(several_workers_have_what_one_has)
{
    struct config *cfg;
    struct config_error err;
    put_file("ids.yaml", 0644, "peers:\n- peer_id: p\n");
    const char *path = put_file("c.yaml", 0644,
                                "workers: 2\nidentities_file: ids.yaml\n"
                                "connect: [{url: ws://a}]\n");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(cfg->workers, 2);
    config_free(cfg);
    path = put_file("d.yaml", 0644, "workers: auto\nlisten:\n- {port: 0, quic: true}\n");
    struct config_source s = {.file = path, .cores = 5};
    ck_assert_msg(config_load(&cfg, &s, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(cfg->workers, 5);
    config_free(cfg);
    s.workers = 3;
    ck_assert_msg(config_load(&cfg, &s, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(cfg->workers, 3);
    config_free(cfg);
}
END_TEST

START_TEST(a_token_file_is_read)
{
    struct config *cfg;
    struct config_error err = {""};
    put_file("t", 0600, "alk_0123456789abcdefghijklmnop\n");
    const char *path = put_file("c.yaml", 0644, "connect: [{url: ws://a, token_file: t}]");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    const struct config_connect *c = cfg->connect.items;
    ck_assert_str_eq(c->token, "alk_0123456789abcdefghijklmnop");
    ck_assert_ptr_null(c->peer);
    config_free(cfg);
}
END_TEST

static const struct pair token_files[] = {
    {"", "t: holds no token"},
    {"alk_0123456789\n", "t: holds no token"},
    {"alk_0123456789abcdefghijklm nop\n", "t: holds no token"},
    {"alk_0123456789abcdefghijklmnop\n\n", "t: holds no token"},
};

START_TEST(what_is_no_token_is_refused_and_not_shown)
{
    struct config *cfg;
    struct config_error err = {""};
    put_file("t", 0600, token_files[_i].in);
    const char *path = put_file("c.yaml", 0644, "connect: [{url: ws://a, token_file: t}]");
    ck_assert_int_eq(load(&cfg, path, 0, &err), -1);
    ck_assert_msg(strstr(err.text, token_files[_i].out) != NULL, "says \"%s\"", err.text);
    ck_assert_ptr_null(strstr(err.text, "0123"));
}
END_TEST

#define HUB "peers: [{peer_id: hub, websocket: true, may_forward: true, scopes: [a]}]\n"

/* One that is disabled too: to disable a peer must be possible while it is dialled. */
static const char *const good_peers[] = {
    HUB "connect: [{url: ws://a, peer: hub}]\n",
    "peers: [{peer_id: hub, enabled: false}]\nconnect: [{url: ws://a, peer: hub}]",
    "peers: [{peer_id: hub}]\nconnect: [{url: 'alknet+unix:s', peer: hub}]",
    "peers: [{peer_id: hub}]\nconnect: [{url: alknet+tls://a, peer: hub}]",
};

START_TEST(a_connections_peer_is_found)
{
    struct config *cfg;
    struct config_error err = {""};
    const char *path = put_file("c.yaml", 0644, good_peers[_i]);
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    const struct config_connect *c = cfg->connect.items;
    ck_assert_str_eq(c->peer, "hub");
    config_free(cfg);
}
END_TEST

static const struct pair bad_peers[] = {
    {HUB "connect: [{url: ws://a, peer: hob}]", "connect[0].peer: is none of the peers"},
    {"peers: [{peer_id: hub}]\nconnect: [{url: ws://a, peer: hub}]",
     "c.yaml:2: connect[0].peer: is a peer whose entry does not say \"websocket: true\""},
};

START_TEST(a_connections_wrong_peer_is_refused)
{
    check_load_fails(put_file("c.yaml", 0644, bad_peers[_i].in), 0, bad_peers[_i].out);
}
END_TEST

#define TOKEN "alk_0123456789abcdefghijklmnop"

static int load_connect(struct config **out, const char *yaml, const char *json,
                        struct config_error *err)
{
    struct config *within;

    ck_assert_msg(load(&within, put_file("c.yaml", 0644, yaml), 0, err) == 0, "%s", err->text);
    int rc = config_load_connect(out, json, strlen(json), within, err);
    config_free(within);
    return rc;
}

START_TEST(a_lone_connection_is_an_entry_of_connect_and_has_more)
{
    struct config *cfg;
    struct config_error err = {""};

    put_file("t", 0600, TOKEN "\n");
    int rc = load_connect(&cfg, HUB,
                          "{\"url\":\"ws://a\",\"peer\":\"hub\",\"token_file\":\"t\","
                          "\"import\":{\"namespace_prefix\":\"x\",\"operations\":[\"a/b\"]}}",
                          &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_uint_eq(cfg->connect.count, 1);
    const struct config_connect *c = cfg->connect.items;
    ck_assert_str_eq(c->url, "ws://a");
    ck_assert_str_eq(c->name, "ws://a");
    ck_assert_str_eq(c->peer, "hub");
    ck_assert_str_eq(c->token, TOKEN);
    ck_assert_str_eq(c->operations, "[\"a/b\"]");
    ck_assert_uint_eq(c->import, 1);
    ck_assert_uint_eq(c->reconnect, 1);
    ck_assert_uint_eq(c->announce, 1);
    ck_assert_uint_eq(c->spread_ms, 6000);
    config_free(cfg);
    rc = load_connect(&cfg, "{}",
                      "{\"url\":\"alknet+unix:run/s\",\"token\":\"" TOKEN "\","
                      "\"reconnect\":false,\"announce\":false,\"spread\":\"1s\"}",
                      &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    c = cfg->connect.items;
    ck_assert_str_eq(c->url + strlen(c->url) - 6, "/run/s");
    ck_assert_int_eq(strncmp(c->url + 12, folder, strlen(folder)), 0);
    ck_assert_str_eq(c->token, TOKEN);
    ck_assert_uint_eq(c->reconnect, 0);
    ck_assert_uint_eq(c->announce, 0);
    ck_assert_uint_eq(c->spread_ms, 1000);
    config_free(cfg);
    ck_assert_int_eq(load_connect(&cfg, "{}", "{\"url\":\"ws://a\"}", &err), 0);
    ck_assert_uint_eq(((struct config_connect *)cfg->connect.items)->announce, 0);
    config_free(cfg);
}
END_TEST

static const struct pair bad_lone[] = {
    {"[]", "connection:1: must be a mapping"},
    {"{\"url\":", "connection:1: "},
    {"{}", "connection:1: member \"url\" is missing"},
    {"{\"url\":\n\"http://a\"}", "connection:2: url: must begin with alknet://"},
    {"{\"url\":\"ws://a\",\"tokn\":1}", "connection:1: there is no member \"tokn\"; did you mean"},
    {"{\"url\":\"ws://a\",\"reconnect\":0}", "connection:1: reconnect: must be true or false"},
    {"{\"url\":\"ws://a\",\"token\":\"\"}", "connection:1: token: is no token: 24 to 4096"},
    {"{\"url\":\"ws://a\",\"token\":\"s3cret is none\"}", "connection:1: token: is no token"},
    {"{\"url\":\"ws://a\",\"token\":\"" TOKEN "\",\"token_file\":\"t\"}",
     "connection:1: token: does not go with \"token_file\""},
    {"{\"url\":\"ws://a\",\"peer\":\"hub\"}", "connection:1: peer: is none of the peers"},
    {"{\"url\":\"ws://a\",\"pin\":\"x\"}", "connection:1: pin: is for alknet://"},
    {"{\"url\":\"wss://a\",\"pin\":\"x\"}", "connection:1: pin: must be SHA256:"},
};

START_TEST(what_is_wrong_with_a_lone_connection_is_named)
{
    struct config *cfg;
    struct config_error err = {""};

    ck_assert_int_eq(load_connect(&cfg, "{}", bad_lone[_i].in, &err), -1);
    ck_assert_ptr_null(cfg);
    ck_assert_msg(!strncmp(err.text, bad_lone[_i].out, strlen(bad_lone[_i].out)), "says \"%s\"",
                  err.text);
    ck_assert_ptr_null(strstr(err.text, "s3cret"));
}
END_TEST

static const struct pair bad_tls[] = {
    {"{url: wss://a, ca_file: none}", "connect[0]: "},
    {"{url: wss://a, ca_file: text}", "text"},
    {"{url: wss://a, certificate: text, key: open}", "open"},
    {"{url: alknet+tls://a, pin: 'SHA256:00'}",
     "connect[0]: pin: must be SHA256: or ed25519:, and 64"},
};

START_TEST(what_is_no_certificate_is_refused)
{
    char text[160];

    put_file("text", 0644, "x\n");
    put_file("open", 0640, "x\n");
    snprintf(text, sizeof text, "connect: [%s]", bad_tls[_i].in);
    check_load_fails(put_file("c.yaml", 0644, text), 0, bad_tls[_i].out);
}
END_TEST

static const struct pair good_secrets[] = {
    {"auth: {file: s}", "s3cret"},           {"auth: {file: s}", "s3cret\n"},
    {"auth: {file: s}", "s3cret\r\n"},       {"auth: {type: basic, file: s}", "me: my password\n"},
    {"credentials: {k: s, l: s}", "s3cret"},
};

START_TEST(secrets_of_an_import_are_read)
{
    struct config *cfg;
    struct config_error err = {""};
    char text[200];

    put_file("s", 0600, good_secrets[_i].out);
    put_file("d.json", 0644, "{}");
    snprintf(text, sizeof text, "imports: [{openapi: d.json, prefix: a, %s}]", good_secrets[_i].in);
    ck_assert_msg(load(&cfg, put_file("c.yaml", 0644, text), 0, &err) == 0, "%s", err.text);
    const struct config_import *im = cfg->imports.items;
    ck_assert_ptr_nonnull(im->secrets);
    ck_assert_ptr_null(im->token);
    config_free(cfg);
}
END_TEST

START_TEST(tokens_of_documents_and_proxies_are_read)
{
    struct config *cfg;
    struct config_error err = {""};

    put_file("t", 0600, "a token\n");
    put_file("p", 0600, "http://me:password@p:1\n");
    const char *path = put_file("c.yaml", 0644,
                                "imports: [{openapi: 'https://a', prefix: a, "
                                "document_token_file: t}]\nhttp: {proxy_file: p}");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert_str_eq(((struct config_import *)cfg->imports.items)->token, "a token");
    ck_assert_str_eq(cfg->http.o.proxy, "http://me:password@p:1");
    config_free(cfg);
}
END_TEST

static const struct pair bad_secrets[] = {
    {"auth: {file: s}", ""},
    {"auth: {file: s}", "\n"},
    {"auth: {file: s}", "one s3cret\ntwo\n"},
    {"auth: {file: s}", "s3cret\t"},
    {"auth: {type: basic, file: s}", "s3cret"},
    {"credentials: {k: s}", "s3cret\177"},
    {"credentials: {k: none}", "s3cret"},
};

START_TEST(what_is_no_secret_is_refused_and_not_shown)
{
    struct config *cfg;
    struct config_error err = {""};
    char text[200];

    put_file("s", 0600, bad_secrets[_i].out);
    put_file("d.json", 0644, "{}");
    snprintf(text, sizeof text, "imports: [{openapi: d.json, prefix: a, %s}]", bad_secrets[_i].in);
    ck_assert_int_eq(load(&cfg, put_file("c.yaml", 0644, text), 0, &err), -1);
    ck_assert_msg(strstr(err.text, "s: holds no secret") || strstr(err.text, "s: must be USER:") ||
                      strstr(err.text, "none: No such file"),
                  "says \"%s\"", err.text);
    ck_assert_ptr_null(strstr(err.text, "s3cret"));
}
END_TEST

#define CLUSTER(members) "cluster: {name: h, nats: {servers: [nats://a]" members "}}"
static const struct pair cluster_secrets[] = {
    {CLUSTER(", user: u, password_file: s"), "s3cret\n"},
    {CLUSTER(", token_file: s"), "s3cret\r\n"},
    {CLUSTER(", credentials: s"), "-----BEGIN NATS USER JWT-----\nx\n"},
    {CLUSTER(", nkey_seed_file: s"), "SUA\n"},
    {CLUSTER(", tls: {ca: s}"), "-----BEGIN CERTIFICATE-----\n"},
    {"cluster: {name: h, nats: {servers: [nats://a]}, services: true, services_token_file: s}",
     "s3cret\n"},
};

START_TEST(secrets_of_a_cluster_are_read)
{
    struct config *cfg;
    struct config_error err = {""};

    put_file("s", 0600, cluster_secrets[_i].out);
    const char *path = put_file("c.yaml", 0644, cluster_secrets[_i].in);
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    ck_assert(!cfg->cluster.password || !strcmp(cfg->cluster.password, "s3cret"));
    ck_assert(!cfg->cluster.token || !strcmp(cfg->cluster.token, "s3cret"));
    ck_assert_int_eq(_i == 0, cfg->cluster.password != NULL);
    ck_assert_int_eq(_i == 1, cfg->cluster.token != NULL);
    ck_assert(_i != 5 || !strcmp(cfg->cluster.services_token, "s3cret"));
    config_forget_secrets(cfg);
    ck_assert(_i != 5 || !*cfg->cluster.services_token);
    ck_assert(!cfg->cluster.password || !*cfg->cluster.password);
    ck_assert(!cfg->cluster.token || !*cfg->cluster.token);
    config_free(cfg);
}
END_TEST

static const struct {
    const char *in, *content;
    mode_t mode;
    const char *out;
} bad_cluster[] = {
    {CLUSTER(", user: u, password_file: none"), "", 0600,
     "cluster.nats.password_file: none: No such file"},
    {CLUSTER(", user: u, password_file: s"), "s3cret", 0640, "s: others may read it (mode 0640)"},
    {CLUSTER(", user: u, password_file: s"), "a\ns3cret", 0600, "s: holds no secret"},
    {CLUSTER(", token_file: s"), "s3cret", 0604, "cluster.nats.token_file: s: others may read it"},
    {"cluster: {name: h, nats: {servers: [nats://a]}, services: true, services_token_file: s}",
     "s3cret", 0604, "cluster.services_token_file: s: others may read it"},
    {CLUSTER(", credentials: s"), "s3cret", 0600,
     "cluster.nats.credentials: s: holds no credentials of NATS"},
    {CLUSTER(", credentials: s"), "s3cret", 0644, "s: others may read it"},
    {CLUSTER(", nkey_seed_file: s"), "s3cret", 0600,
     "cluster.nats.nkey_seed_file: s: holds no seed of a user's NKey"},
    {CLUSTER(", nkey_seed_file: ."), "", 0600, "is a folder"},
    {CLUSTER(", tls: {ca: s}"), "s3cret", 0644,
     "cluster.nats.tls.ca: s: holds no certificate in PEM"},
    {CLUSTER(", tls: {ca: none}"), "", 0644, "none: No such file"},
    {CLUSTER(", tls: {certificate: s, key: s}"), "-----BEGIN CERTIFICATE-----", 0644,
     "cluster.nats.tls.key: s: others may read it"},
};

START_TEST(files_of_a_cluster_are_looked_into)
{
    struct config *cfg;
    struct config_error err = {""};
    char want[120], *at, *file;

    put_file("s", bad_cluster[_i].mode, bad_cluster[_i].content);
    ck_assert_int_eq(load(&cfg, put_file("c.yaml", 0644, bad_cluster[_i].in), 0, &err), -1);
    /* The file's name stands there with its folder. */
    snprintf(want, sizeof want, "%s", bad_cluster[_i].out);
    file = strstr(err.text, folder);
    file = file ? strstr(file + 1, folder) : NULL;
    if (file)
        memmove(file, file + strlen(folder) + 1, strlen(file + strlen(folder) + 1) + 1);
    at = strstr(err.text, want);
    ck_assert_msg(at != NULL, "says \"%s\", want \"%s\"", err.text, want);
    ck_assert_ptr_null(strstr(err.text, "s3cret"));
}
END_TEST

START_TEST(a_cluster_has_a_key)
{
    struct config *cfg;
    struct config_error err = {""};
    const char *text = "{\"cluster\":{\"name\":\"h\",\"nats\":{\"servers\":[\"nats://a\"]}}}";
    struct config_source s = {.text = text, .len = strlen(text), .embedded = 1};

    ck_assert_int_eq(config_load(&cfg, &s, &err), -1);
    ck_assert_msg(strstr(err.text, "node_key: is missing"), "%s", err.text);
}
END_TEST

START_TEST(a_document_is_there_and_nobody_else_writes_to_it)
{
    check_load_fails(put_file("a.yaml", 0644, "imports: [{openapi: none.json, prefix: a}]"), 0,
                     "none.json: No such file");
    put_file("d.json", 0664, "{}");
    check_load_fails(put_file("b.yaml", 0644, "imports: [{openapi: d.json, prefix: a}]"), 0,
                     "d.json: its group may write to it (mode 0664)");
    check_load_fails(put_file("c.yaml", 0644, "imports: [{openapi: ., prefix: a}]"), 0,
                     "is a folder");
}
END_TEST

START_TEST(files_with_dangerous_modes_are_refused)
{
    check_load_fails(put_file("w.yaml", 0646, "{}"), 0,
                     "w.yaml: everyone may write to it (mode 0646)");
    put_file("ids.yaml", 0666, "{}");
    check_load_fails(put_file("i.yaml", 0644, "identities_file: ids.yaml"), 0,
                     "ids.yaml: everyone may write");
    put_file("secret.yaml", 0640, "{}");
    check_load_fails(put_file("p.yaml", 0644, "plugins: [{path: x, config_file: secret.yaml}]"), 0,
                     "secret.yaml: others may read it (mode 0640)");
    check_load_fails(put_file("t.yaml", 0644, "connect: [{url: ws://a, token_file: secret.yaml}]"),
                     0, "secret.yaml: others may read it (mode 0640)");
    put_file("d.json", 0644, "{}");
    check_load_fails(put_file("m.yaml", 0644,
                              "imports: [{openapi: d.json, prefix: a, auth: {file: secret.yaml}}]"),
                     0, "secret.yaml: others may read it (mode 0640)");
    check_load_fails(put_file("h.yaml", 0644, "http: {proxy_file: secret.yaml}"), 0,
                     "secret.yaml: others may read it (mode 0640)");
    check_load_fails(put_file("k.yaml", 0644, "http: {certificate: d.json, key: secret.yaml}"), 0,
                     "secret.yaml: others may read it (mode 0640)");
}
END_TEST

START_TEST(a_plugins_private_file_is_read)
{
    struct config *cfg;
    struct config_error err = {""};
    put_file("secret.yaml", 0600, "key: value\n");
    const char *path = put_file("p.yaml", 0644, "plugins: [{path: x, config_file: secret.yaml}]");
    ck_assert_msg(load(&cfg, path, 0, &err) == 0, "%s", err.text);
    const struct config_plugin *p = cfg->plugins.items;
    ck_assert_str_eq(p->config, "{\"key\":\"value\"}");
    ck_assert_uint_eq(p->config_len, strlen(p->config));
    config_free(cfg);
}
END_TEST

START_TEST(unreadable_files_say_why)
{
    check_load_fails("/nonexistent/x.yaml", 0, "/nonexistent/x.yaml: No such file");
    check_load_fails(folder, 0, ": is a folder");
    check_load_fails(put_file("a.yaml", 0644, "identities_file: none.yaml"), 0,
                     "none.yaml: No such file");
    check_load_fails(put_file("b.yaml", 0644, "plugins: [{path: x, config_file: none}]"), 0,
                     "none: No such file");
}
END_TEST

#define EACH(tcase, test, table)                                                                   \
    tcase_add_loop_test(tcase, test, 0, (int)(sizeof table / sizeof *table))

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *text = tcase_create("text"), *tables = tcase_create("tables"),
          *files = tcase_create("files");
    EACH(text, bad_yaml_is_refused_with_its_line, yaml_refused);
    EACH(text, bad_json_is_refused_with_its_line, json_refused);
    tcase_add_test(text, values_know_their_line);
    tcase_add_test(text, alias_bombs_are_refused);
    tcase_add_test(text, depth_size_and_number_of_values_are_limited);
    tcase_add_test(tables, an_empty_mapping_gives_the_defaults);
    tcase_add_test(tables, every_member_is_stored);
    tcase_add_test(tables, members_about_other_nodes_are_stored);
    tcase_add_test(tables, members_about_imports_are_stored);
    tcase_add_test(tables, members_about_http_are_stored);
    tcase_add_test(tables, members_about_a_cluster_are_stored);
    tcase_add_test(tables, words_of_forwarded_for_are_the_librarys);
    tcase_add_test(tables, websocket_is_on_unless_it_is_off);
    tcase_add_test(tables, each_limit_has_a_member);
    EACH(tables, wrong_members_are_named_with_line_and_place, config_refused);
    EACH(tables, what_is_alknetds_own_is_refused_of_other_programs, embedded_refused);
    tcase_add_test(tables, other_programs_listen_on_nothing_unless_told_to);
    EACH(tables, a_configuration_without_a_file_says_so_in_its_complaints, without_file);
    tcase_add_test(tables, a_configuration_without_a_file_has_paths_of_the_working_directory);
    tcase_add_test(tables, a_long_unknown_name_is_cut);
    tcase_add_test(tables, what_needs_a_restart_is_named);
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, identities_of_both_files_are_joined);
    tcase_add_test(files, the_libraries_complaint_gets_file_and_line);
    tcase_add_test(files, good_identities_are_taken);
    tcase_add_test(files, several_workers_have_what_one_has);
    tcase_add_test(files, a_token_file_is_read);
    EACH(files, what_is_no_token_is_refused_and_not_shown, token_files);
    tcase_add_loop_test(files, a_connections_peer_is_found, 0, 4);
    EACH(files, a_connections_wrong_peer_is_refused, bad_peers);
    tcase_add_test(files, a_lone_connection_is_an_entry_of_connect_and_has_more);
    EACH(files, what_is_wrong_with_a_lone_connection_is_named, bad_lone);
    EACH(files, what_is_no_certificate_is_refused, bad_tls);
    EACH(files, secrets_of_an_import_are_read, good_secrets);
    tcase_add_test(files, tokens_of_documents_and_proxies_are_read);
    EACH(files, what_is_no_secret_is_refused_and_not_shown, bad_secrets);
    EACH(files, secrets_of_a_cluster_are_read, cluster_secrets);
    EACH(files, files_of_a_cluster_are_looked_into, bad_cluster);
    tcase_add_test(files, a_cluster_has_a_key);
    tcase_add_test(files, a_document_is_there_and_nobody_else_writes_to_it);
    tcase_add_test(files, files_with_dangerous_modes_are_refused);
    tcase_add_test(files, a_plugins_private_file_is_read);
    tcase_add_test(files, unreadable_files_say_why);
    suite_add_tcase(suite, text);
    suite_add_tcase(suite, tables);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
