/* What a configuration may say, as tables, and the order in which it is read: its text is checked
 * against the tables, then completed (rules.c), then joined with what is in other files. What
 * cannot be told without another file comes last, so that config_parse can do all the rest from
 * memory. */
#include "config/config_int.h"
#include "config/secret.h"
#include "base/mem.h"

#include <alknet/gateway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS 86400000u
#define HUGE_SIZE (1u << 30)

#define AT(member) offsetof(struct config, member)
#define SIZE_LIMIT(n, low, high)                                                                   \
    {                                                                                              \
        .name = #n, .type = CONFIG_SIZE, .offset = AT(limits.n), .min = low, .max = high           \
    }
#define COUNT_LIMIT(n, low, high)                                                                  \
    {                                                                                              \
        .name = #n, .type = CONFIG_NUMBER, .offset = AT(limits.n), .min = low, .max = high         \
    }
#define TIME_LIMIT(n, low)                                                                         \
    {                                                                                              \
        .name = #n, .type = CONFIG_TIME, .offset = AT(limits.n), .min = low, .max = DAY_MS         \
    }

static const struct config_member limit_members[] = {
    SIZE_LIMIT(frame_bytes, 1024, 64u << 20),
    SIZE_LIMIT(websocket_bytes, 1024, 64u << 20),
    SIZE_LIMIT(body_bytes, 1024, HUGE_SIZE),
    SIZE_LIMIT(anonymous_bytes, 1024, HUGE_SIZE),
    SIZE_LIMIT(output_bytes, 1024, HUGE_SIZE),
    COUNT_LIMIT(json_values, 16, 100000000),
    COUNT_LIMIT(json_depth, 4, 1024),
    COUNT_LIMIT(schema_steps, 100, UINT32_MAX),
    SIZE_LIMIT(message_budget, 65536, UINT32_MAX),
    SIZE_LIMIT(header_bytes, 1024, 1u << 20),
    COUNT_LIMIT(header_count, 8, 10000),
    SIZE_LIMIT(url_bytes, 64, 1u << 20),
    COUNT_LIMIT(connection_calls, 1, 1000000),
    COUNT_LIMIT(call_children, 1, 1000000),
    COUNT_LIMIT(call_depth, 1, 1024),
    COUNT_LIMIT(batch, 1, 100000),
    COUNT_LIMIT(import_fanout, 1, 1024),
    SIZE_LIMIT(queue_high, 1024, HUGE_SIZE),
    SIZE_LIMIT(queue_max, 1024, HUGE_SIZE),
    COUNT_LIMIT(connections, 0, UINT32_MAX),
    TIME_LIMIT(deadline_ms, 1),
    TIME_LIMIT(header_timeout_ms, 1),
    TIME_LIMIT(body_timeout_ms, 1),
    TIME_LIMIT(keepalive_ms, 1),
    TIME_LIMIT(write_timeout_ms, 1),
    TIME_LIMIT(heartbeat_ms, 1),
    TIME_LIMIT(drain_ms, 0),
    TIME_LIMIT(drain_delay_ms, 0),
    COUNT_LIMIT(connections_per_address, 0, UINT32_MAX),
    COUNT_LIMIT(auth_failures_per_minute, 0, UINT32_MAX),
    COUNT_LIMIT(calls_per_second, 0, UINT32_MAX),
    COUNT_LIMIT(websocket_sessions, 0, UINT32_MAX),
    COUNT_LIMIT(websocket_fragments, 1, 1000000),
    COUNT_LIMIT(websocket_controls, 1, 1000000),
    TIME_LIMIT(ping_ms, 0),
    TIME_LIMIT(idle_ms, 0),
    TIME_LIMIT(close_ms, 1),
    TIME_LIMIT(evict_ms, 1),
    SIZE_LIMIT(write_rate, 0, HUGE_SIZE),
    COUNT_LIMIT(http2_streams, 1, 1000000),
    COUNT_LIMIT(http2_resets, 1, 1000000),
    COUNT_LIMIT(quic_handshakes, 1, 1000000),
    COUNT_LIMIT(quic_streams, 1, 1000000),
    SIZE_LIMIT(quic_stream_window, 4096, HUGE_SIZE),
    SIZE_LIMIT(quic_window, 4096, HUGE_SIZE),
    TIME_LIMIT(quic_idle_ms, 1),
    TIME_LIMIT(quic_keep_alive_ms, 0),
    {0}};
static const struct config_shape limit_shape = {.members = limit_members};

#define LISTEN_MEMBERS(at)                                                                         \
    {.name = "tls", .type = CONFIG_BOOL, .offset = at(tls)},                                       \
        {.name = "host", .type = CONFIG_STRING, .offset = at(host), .min = 1, .max = 64},          \
        {.name = "port", .type = CONFIG_NUMBER, .offset = at(port), .min = 0, .max = 65535},       \
        {.name = "unix", .type = CONFIG_STRING, .offset = at(unix_path), .min = 1, .max = 107},    \
    {                                                                                              \
        .name = "mode", .type = CONFIG_MODE, .offset = at(mode)                                    \
    }
#define LISTEN_AT(member) offsetof(struct config_listen, member)
#define METRICS_AT(member) AT(metrics.member)
static const struct config_member listen_members[] = {
    LISTEN_MEMBERS(LISTEN_AT),
    {.name = "quic", .type = CONFIG_BOOL, .offset = LISTEN_AT(quic)},
    {.name = "proxy_protocol", .type = CONFIG_BOOL, .offset = LISTEN_AT(proxy_protocol)},
    {.name = "peer_credentials", .type = CONFIG_BOOL, .offset = LISTEN_AT(peer_credentials)},
    {0}};
static const struct config_shape listen_shape = {.members = listen_members,
                                                 .item_size = sizeof(struct config_listen)};

static const struct config_member metrics_listen_members[] = {LISTEN_MEMBERS(METRICS_AT), {0}};
static const struct config_shape metrics_listen_shape = {.members = metrics_listen_members};
static const struct config_member metrics_members[] = {
    {.name = "listen", .type = CONFIG_MAPPING, .required = 1, .shape = &metrics_listen_shape}, {0}};
static const struct config_shape metrics_shape = {.members = metrics_members};

#define PLUGIN_AT(member) offsetof(struct config_plugin, member)
static const struct config_member plugin_members[] = {
    {.name = "path", .type = CONFIG_STRING, .required = 1, .offset = PLUGIN_AT(path), .min = 1},
    {.name = "config", .type = CONFIG_ANY, .offset = PLUGIN_AT(value)},
    {.name = "config_file", .type = CONFIG_STRING, .offset = PLUGIN_AT(file), .min = 1},
    {0}};
static const struct config_shape plugin_shape = {.members = plugin_members,
                                                 .item_size = sizeof(struct config_plugin)};

static const char *const decoys[] = {"not_found", "static_site", "redirect", NULL};
static const struct config_member decoy_members[] = {
    {.name = "kind",
     .type = CONFIG_WORD,
     .required = 1,
     .offset = AT(gateway.decoy),
     .min = ALK_DECOY_NOT_FOUND,
     .words = decoys},
    {.name = "target", .type = CONFIG_STRING, .offset = AT(gateway.target), .min = 1},
    {0}};
static const struct config_shape decoy_shape = {.members = decoy_members};

static const struct config_member gateway_members[] = {
    {.name = "decoy", .type = CONFIG_MAPPING, .shape = &decoy_shape},
    {.name = "stealth", .type = CONFIG_BOOL, .offset = AT(gateway.stealth)},
    {.name = "health_path", .type = CONFIG_STRING, .offset = AT(gateway.health_path), .min = 2},
    {.name = "hosts", .type = CONFIG_STRINGS, .offset = AT(gateway.hosts_value)},
    {.name = "origins", .type = CONFIG_STRINGS, .offset = AT(gateway.origins_value)},
    {.name = "trusted_proxies", .type = CONFIG_STRINGS, .offset = AT(gateway.proxies_value)},
    {.name = "websocket", .type = CONFIG_BOOL, .offset = AT(gateway.websocket)},
    {.name = "tenant_header",
     .type = CONFIG_STRING,
     .offset = AT(gateway.tenant_header),
     .min = 1,
     .max = 64},
    {0}};
static const struct config_shape gateway_shape = {.members = gateway_members};

static const char *const formats[] = {"human", "json", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const struct config_member log_members[] = {
    {.name = "format", .type = CONFIG_WORD, .offset = AT(log.json), .words = formats},
    {.name = "level",
     .type = CONFIG_WORD,
     .offset = AT(log.level),
     .min = ALK_LOG_ERROR,
     .words = levels},
    {.name = "file", .type = CONFIG_STRING, .offset = AT(log.file), .min = 1},
    {0}};
static const struct config_shape log_shape = {.members = log_members};

static const struct config_member authority_members[] = {
    {.name = "label", .type = CONFIG_STRING, .required = 1, .offset = CONFIG_CHECK_ONLY, .min = 1},
    {.name = "scopes", .type = CONFIG_STRINGS, .offset = CONFIG_CHECK_ONLY},
    {.name = "resources", .type = CONFIG_STRING_LISTS, .offset = CONFIG_CHECK_ONLY},
    {0}};
static const struct config_shape authority_shape = {.members = authority_members};
static const struct config_member allow_members[] = {
    {.name = "peer", .type = CONFIG_STRING, .required = 1, .offset = CONFIG_CHECK_ONLY, .min = 1},
    {.name = "operations", .type = CONFIG_STRINGS, .required = 1, .offset = CONFIG_CHECK_ONLY},
    {0}};
static const struct config_shape allow_shape = {.members = allow_members};
static const struct config_member peers_call_members[] = {
    {.name = "authority", .type = CONFIG_MAPPING, .required = 1, .shape = &authority_shape},
    {.name = "allow",
     .type = CONFIG_LIST,
     .required = 1,
     .offset = CONFIG_CHECK_ONLY,
     .shape = &allow_shape},
    {0}};
static const struct config_shape peers_call_shape = {.members = peers_call_members};

/* In the order of ALK_MCP_. */
static const char *const mcp_tools[] = {"none", "fixed", "direct", NULL};
static const struct config_member mcp_members[] = {{.name = "tools",
                                                    .type = CONFIG_WORD,
                                                    .required = 1,
                                                    .offset = AT(mcp),
                                                    .min = ALK_MCP_NONE,
                                                    .words = mcp_tools},
                                                   {0}};
static const struct config_shape mcp_shape = {.members = mcp_members};

static const char *const forwards[] = {"id", "full", "none", NULL};
static const char *const automatic[] = {"auto", NULL};

static const struct config_member members[] = {
    {.name = "listen",
     .type = CONFIG_LIST,
     .offset = AT(listen),
     .max = CONFIG_LISTEN_MAX,
     .shape = &listen_shape},
    {.name = "workers",
     .type = CONFIG_NUMBER,
     .offset = AT(workers),
     .words = automatic,
     .min = 1,
     .max = CONFIG_WORKERS_MAX},
    {.name = "peers",
     .type = CONFIG_LIST,
     .offset = CONFIG_CHECK_ONLY,
     .shape = &config_peer_shape},
    {.name = "keys", .type = CONFIG_LIST, .offset = CONFIG_CHECK_ONLY, .shape = &config_key_shape},
    {.name = "users",
     .type = CONFIG_LIST,
     .offset = CONFIG_CHECK_ONLY,
     .shape = &config_user_shape},
    {.name = "identities_file", .type = CONFIG_STRING, .offset = AT(identities_file), .min = 1},
    {.name = "limits", .type = CONFIG_MAPPING, .shape = &limit_shape},
    {.name = "gateway", .type = CONFIG_MAPPING, .shape = &gateway_shape},
    {.name = "tls", .type = CONFIG_MAPPING, .shape = &config_tls_shape},
    {.name = "log", .type = CONFIG_MAPPING, .shape = &log_shape},
    {.name = "plugins",
     .type = CONFIG_LIST,
     .offset = AT(plugins),
     .max = CONFIG_PLUGINS_MAX,
     .shape = &plugin_shape},
    {.name = "connect",
     .type = CONFIG_LIST,
     .offset = AT(connect),
     .max = CONFIG_CONNECT_MAX,
     .shape = &config_connect_shape},
    {.name = "imports",
     .type = CONFIG_LIST,
     .offset = AT(imports),
     .max = CONFIG_IMPORTS_MAX,
     .shape = &config_import_shape},
    {.name = "http", .type = CONFIG_MAPPING, .shape = &config_http_shape},
    {.name = "cluster", .type = CONFIG_MAPPING, .shape = &config_cluster_shape},
    {.name = "metrics", .type = CONFIG_MAPPING, .shape = &metrics_shape},
    {.name = "mcp", .type = CONFIG_MAPPING, .shape = &mcp_shape},
    {.name = "forwarded_for",
     .type = CONFIG_WORD,
     .offset = AT(forwarded_for),
     .min = ALK_FORWARD_ID,
     .words = forwards},
    {.name = "node_key", .type = CONFIG_STRING, .offset = AT(node_key), .min = 1},
    {.name = "anonymous_peers", .type = CONFIG_BOOL, .offset = AT(anonymous_peers)},
    {.name = "auto_import", .type = CONFIG_BOOL, .offset = AT(auto_import)},
    {.name = "announce_scope", .type = CONFIG_STRING, .offset = AT(announce_scope), .min = 1},
    {.name = "peers_call", .type = CONFIG_MAPPING, .shape = &peers_call_shape},
    {.name = "demo", .type = CONFIG_BOOL, .offset = AT(demo)},
    {.name = "debug_outputs", .type = CONFIG_BOOL, .offset = AT(debug_outputs)},
    {.name = "core_dumps", .type = CONFIG_BOOL, .offset = AT(core_dumps)},
    {0}};
static const struct config_shape shape = {.members = members};

/* ---- memory ---------------------------------------------------------------------------------- */

void config_free(struct config *cfg)
{
    if (!cfg)
        return;
    for (size_t i = 0; i < cfg->owned.count; i++)
        secret_free(((char **)cfg->owned.items)[i]);
    config_forget_tokens(cfg);
    config_free_imports(cfg);
    for (size_t i = 0; i < cfg->connect.count; i++)
        alk_tls_unref(((struct config_connect *)cfg->connect.items)[i].tls);
    free(cfg->owned.items);
    free(cfg->listen.items);
    free(cfg->plugins.items);
    free(cfg->connect.items);
    free(cfg->tls.items.items);
    config_text_free(&cfg->identities_text);
    config_text_free(&cfg->text);
    free(cfg);
}

static void wipe_text(const char *text)
{
    if (text)
        mem_wipe((char *)text, strlen(text));
}

void config_forget_secrets(struct config *cfg)
{
    const struct config_plugin *plugins = cfg->plugins.items;

    config_forget_tokens(cfg);
    for (size_t i = 0; i < cfg->plugins.count; i++)
        wipe_text(plugins[i].config);
    if (cfg->http.proxy_file)
        wipe_text(cfg->http.o.proxy);
    wipe_text(cfg->cluster.password);
    wipe_text(cfg->cluster.token);
    wipe_text(cfg->cluster.services_token);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void set_defaults(struct config *cfg)
{
    cfg->workers = 1;
    cfg->log.level = ALK_LOG_INFO;
    cfg->auto_import = 1;
    cfg->tls.tickets = 1;
    cfg->mcp = ALK_MCP_FIXED;
    cfg->gateway.websocket = 1;
    alk_limits_init(&cfg->limits, sizeof cfg->limits);
    config_init_http(cfg);
}

/* Copies are kept of the file's name and of its folder. */
static int read_text(struct config *cfg, const struct config_source *s, struct config_error *err)
{
    const char *slash = s->file ? strrchr(s->file, '/') : NULL;
    const char *name = s->file ? s->file : "configuration";
    char *file = config_own(cfg, strdup(name));

    if (file && slash)
        cfg->folder = config_own(cfg, strndup(file, (size_t)(slash - s->file) + 1));
    if (!file || (slash && !cfg->folder))
        return config_fail(err, name, 0, "", "out of memory");
    cfg->has_file = s->file != NULL;
    cfg->embedded = s->embedded;
    return config_text_parse(&cfg->text, file, s->text, s->len,
                             s->file ? config_format_of(file) : CONFIG_JSON, err);
}

int config_parse(struct config **out, const struct config_source *s, struct config_error *err)
{
    *out = NULL;
    struct config *cfg = calloc(1, sizeof *cfg);
    if (!cfg)
        return config_fail(err, s->file ? s->file : "configuration", 0, "", "out of memory");
    set_defaults(cfg);
    int rc = read_text(cfg, s, err);
    if (rc == 0)
        rc = config_check(&cfg->text, yyjson_doc_get_root(cfg->text.doc), "", &shape, cfg, err);
    if (rc == 0)
        rc = config_finish(cfg, s, err);
    if (rc < 0) {
        config_free(cfg);
        return -1;
    }
    *out = cfg;
    return 0;
}

/* A file of its own may hold secrets, which the configuration itself, with hashes only, does
 * not. */
static int read_plugin_config(struct config *cfg, size_t i, struct config_plugin *p,
                              struct config_error *err)
{
    struct config_text text = {0};
    char *data = NULL, *json = NULL, pointer[48];
    size_t len;
    int rc = config_read_file(p->file, 1, &data, &len, err);

    snprintf(pointer, sizeof pointer, "/plugins/%zu/config_file", i);
    if (rc < 0)
        config_blame(cfg, pointer, err);
    else
        rc = config_text_parse(&text, p->file, data, len, config_format_of(p->file), err);
    if (rc == 0) {
        json = config_own(cfg, yyjson_write_opts(text.doc, 0, &secret_alc, &p->config_len, NULL));
        if (!json)
            rc = config_out_of_memory(cfg, err);
    }
    p->config = json;
    config_text_free(&text);
    secret_free(data);
    return rc;
}

static int read_others(struct config *cfg, struct config_error *err)
{
    struct config_plugin *items = cfg->plugins.items;

    for (size_t i = 0; i < cfg->plugins.count; i++) {
        if (items[i].file && read_plugin_config(cfg, i, &items[i], err) < 0)
            return -1;
    }
    if (config_join_identities(cfg, err) < 0 || config_join_connect(cfg, cfg, err) < 0 ||
        config_join_imports(cfg, err) < 0 || config_join_http(cfg, err) < 0 ||
        config_join_cluster(cfg, err) < 0)
        return -1;
    return 0;
}

static int parse_file(struct config **out, const struct config_source *s, struct config_error *err)
{
    struct config_source read = *s;
    char *text;

    *out = NULL;
    if (config_read_file(s->file, 0, &text, &read.len, err) < 0)
        return -1;
    read.text = text;
    int rc = config_parse(out, &read, err);
    secret_free(text);
    return rc;
}

int config_load(struct config **out, const struct config_source *s, struct config_error *err)
{
    int rc = s->text ? config_parse(out, s, err) : parse_file(out, s, err);

    if (rc == 0 && read_others(*out, err) < 0) {
        config_free(*out);
        *out = NULL;
        rc = -1;
    }
    return rc;
}

/* What it shares with within is copied: that may go. */
static int load_connect(struct config *cfg, const char *json, size_t len,
                        const struct config *within, struct config_error *err)
{
    struct config_connect *c = calloc(1, sizeof *c);

    if (!c)
        return config_out_of_memory(cfg, err);
    config_lone_connect_shape.item_init(c);
    cfg->connect = (struct config_list){.items = c, .count = 1};
    cfg->is_connect = 1;
    if ((within->folder && !(cfg->folder = config_own(cfg, strdup(within->folder)))) ||
        (within->node_key && !(cfg->node_key = config_own(cfg, strdup(within->node_key)))))
        return config_out_of_memory(cfg, err);
    if (config_text_parse(&cfg->text, cfg->text.file, json, len, CONFIG_JSON, err) < 0 ||
        config_check(&cfg->text, yyjson_doc_get_root(cfg->text.doc), "", &config_lone_connect_shape,
                     c, err) < 0 ||
        config_finish_connect(cfg, err) < 0)
        return -1;
    return config_join_connect(cfg, within, err);
}

int config_load_connect(struct config **out, const char *json, size_t len,
                        const struct config *within, struct config_error *err)
{
    struct config *cfg = calloc(1, sizeof *cfg);

    *out = NULL;
    if (!cfg)
        return config_fail(err, "connection", 0, "", "out of memory");
    cfg->text.file = "connection";
    if (load_connect(cfg, json, len, within, err) < 0) {
        config_free(cfg);
        return -1;
    }
    *out = cfg;
    return 0;
}

void config_changes(const struct config *before, const struct config *after, char *out, size_t size)
{
    static const char *const fixed[] = {
        "listen",     "workers",       "gateway",     "log",
        "plugins",    "tls",           "demo",        "debug_outputs",
        "metrics",    "forwarded_for", "auto_import", "announce_scope",
        "peers_call", "core_dumps",    "node_key",    "anonymous_peers",
        "http",       "mcp",           "cluster"};
    /* Only one that was not there yet needs a start. */
    size_t count = sizeof fixed / sizeof *fixed - (before->cluster.given != 0);
    yyjson_val *old = yyjson_doc_get_root(before->text.doc);
    yyjson_val *new = yyjson_doc_get_root(after->text.doc);

    *out = 0;
    for (size_t i = 0; i < count; i++) {
        yyjson_val *a = yyjson_obj_get(old, fixed[i]), *b = yyjson_obj_get(new, fixed[i]);
        size_t len = strlen(out);

        if (a || b) {
            if (!a || !b || !yyjson_equals(a, b))
                snprintf(out + len, size - len, "%s%s", len ? ", " : "", fixed[i]);
        }
    }
}
