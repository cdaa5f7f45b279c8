/* A cluster: what `cluster` says of this hub and of the broker that joins it with others, and the
 * secrets by which the broker knows it. Nothing here has been sent anywhere. */
#include "config/config_int.h"
#include "config/secret.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64
#define PREFIX_MAX_BYTES 128
#define PREFIX_TOKENS 4u
#define DEFAULT_PREFIX "alknet"

#define AT(member) offsetof(struct config, cluster.member)
static const struct config_member tls_members[] = {
    {.name = "ca", .type = CONFIG_STRING, .offset = AT(ca), .min = 1},
    {.name = "certificate", .type = CONFIG_STRING, .offset = AT(certificate), .min = 1},
    {.name = "key", .type = CONFIG_STRING, .offset = AT(key), .min = 1},
    {0}};
static const struct config_shape tls_shape = {.members = tls_members};
static const struct config_member nats_members[] = {
    {.name = "servers", .type = CONFIG_STRINGS, .required = 1, .offset = AT(servers_value)},
    {.name = "user", .type = CONFIG_STRING, .offset = AT(user), .min = 1, .max = 256},
    {.name = "password_file", .type = CONFIG_STRING, .offset = AT(password_file), .min = 1},
    {.name = "token_file", .type = CONFIG_STRING, .offset = AT(token_file), .min = 1},
    {.name = "credentials", .type = CONFIG_STRING, .offset = AT(credentials), .min = 1},
    {.name = "nkey_seed_file", .type = CONFIG_STRING, .offset = AT(nkey_seed_file), .min = 1},
    {.name = "tls", .type = CONFIG_MAPPING, .shape = &tls_shape},
    {0}};
static const struct config_shape nats_shape = {.members = nats_members};
static const struct config_member members[] = {
    {.name = "name",
     .type = CONFIG_STRING,
     .required = 1,
     .offset = AT(name),
     .min = 1,
     .max = NAME_MAX_BYTES},
    {.name = "prefix",
     .type = CONFIG_STRING,
     .offset = AT(prefix),
     .min = 1,
     .max = PREFIX_MAX_BYTES},
    {.name = "nats", .type = CONFIG_MAPPING, .required = 1, .shape = &nats_shape},
    {.name = "services", .type = CONFIG_BOOL, .offset = AT(services)},
    {.name = "services_token_file",
     .type = CONFIG_STRING,
     .offset = AT(services_token_file),
     .min = 1},
    {0}};
const struct config_shape config_cluster_shape = {.members = members};

static int complain(const struct config *cfg, const char *member, const char *message,
                    struct config_error *err)
{
    char pointer[64], place[64];

    snprintf(pointer, sizeof pointer, "/cluster/%s", member);
    snprintf(place, sizeof place, "cluster.%s", member);
    for (char *c = place; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return config_complain(cfg, pointer, place, message, err);
}

/* ---- the text -------------------------------------------------------------------------------- */

/* How many letters of a name there are. */
static size_t name_len(const char *text)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || text[n] == '_' || text[n] == '-')
        n++;
    return n;
}

static bool is_prefix(const char *text)
{
    for (unsigned tokens = 1;; tokens++) {
        size_t n = name_len(text);

        if (!n || tokens > PREFIX_TOKENS)
            return false;
        if (!text[n])
            return true;
        if (text[n] != '.')
            return false;
        text += n + 1;
    }
}

static const char *server_fault(const char *url)
{
    const char *form = "must be nats://HOST[:PORT] or tls://HOST[:PORT]", *host;

    if (strncmp(url, "nats://", 7) && strncmp(url, "tls://", 6))
        return form;
    host = strstr(url, "://") + 3;
    if (strchr(host, '@'))
        return "must not have a user, a password or a token: they are members of their own";
    if (!*host || *host == ':' || strpbrk(host, "/?#,"))
        return form;
    for (; *host; host++) {
        if (!isgraph((unsigned char)*host))
            return form;
    }
    return NULL;
}

static int finish_servers(struct config *cfg, struct config_error *err)
{
    size_t i, max, count = yyjson_arr_size(cfg->cluster.servers_value);
    yyjson_val *server;

    if (!count || count > CONFIG_SERVERS_MAX) {
        char message[64];

        snprintf(message, sizeof message, "must have 1 to %u items", CONFIG_SERVERS_MAX);
        return complain(cfg, "nats/servers", message, err);
    }
    cfg->cluster.servers = (const char **)config_own(cfg, malloc(count * sizeof(char *)));
    if (!cfg->cluster.servers)
        return config_out_of_memory(cfg, err);
    cfg->cluster.server_count = count;
    yyjson_arr_foreach(cfg->cluster.servers_value, i, max, server)
    {
        const char *fault = server_fault(yyjson_get_str(server));

        if (fault) {
            char pointer[48], place[48];

            snprintf(pointer, sizeof pointer, "/cluster/nats/servers/%zu", i);
            snprintf(place, sizeof place, "cluster.nats.servers[%zu]", i);
            return config_complain(cfg, pointer, place, fault, err);
        }
        cfg->cluster.servers[i] = yyjson_get_str(server);
    }
    return 0;
}

/* Who this hub is to the broker: one of four, or nobody. */
static int check_identity(const struct config *cfg, struct config_error *err)
{
    const struct {
        const char *given, *member;
    } ways[] = {{cfg->cluster.user, "user"},
                {cfg->cluster.token_file, "token_file"},
                {cfg->cluster.credentials, "credentials"},
                {cfg->cluster.nkey_seed_file, "nkey_seed_file"}};
    const char *first = NULL;
    char member[32], message[64];

    if (!cfg->cluster.user != !cfg->cluster.password_file)
        return complain(cfg, cfg->cluster.user ? "nats/user" : "nats/password_file",
                        "does not go alone: there is a user and a password_file, or neither", err);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (ways[i].given && first) {
            snprintf(member, sizeof member, "nats/%s", ways[i].member);
            snprintf(message, sizeof message, "does not go with \"%s\"", first);
            return complain(cfg, member, message, err);
        }
        if (ways[i].given)
            first = ways[i].member;
    }
    return 0;
}

int config_finish_cluster(struct config *cfg, struct config_error *err)
{
    const char **const files[] = {&cfg->cluster.password_file,  &cfg->cluster.token_file,
                                  &cfg->cluster.credentials,    &cfg->cluster.ca,
                                  &cfg->cluster.nkey_seed_file, &cfg->cluster.services_token_file,
                                  &cfg->cluster.certificate,    &cfg->cluster.key};
    yyjson_val *cluster = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "cluster");

    if (!cluster)
        return 0;
    cfg->cluster.given = 1;
    cfg->cluster.tls = yyjson_obj_get(yyjson_obj_get(cluster, "nats"), "tls") != NULL;
    if (!cfg->cluster.prefix)
        cfg->cluster.prefix = DEFAULT_PREFIX;
    if (cfg->cluster.name[name_len(cfg->cluster.name)])
        return complain(cfg, "name", "must have letters, digits, \"_\" and \"-\" only", err);
    if (!is_prefix(cfg->cluster.prefix))
        return complain(cfg, "prefix",
                        "must be 1 to 4 words of letters, digits, \"_\" and \"-\", with dots "
                        "between them",
                        err);
    if (!cfg->node_key)
        return config_complain(cfg, "/node_key", "node_key",
                               "is missing: one that is made would have no folder to be kept in",
                               err);
    cfg->node_key_used = 1;
    if (finish_servers(cfg, err) < 0 || check_identity(cfg, err) < 0)
        return -1;
    if (!cfg->cluster.certificate != !cfg->cluster.key)
        return complain(cfg, cfg->cluster.key ? "nats/tls/key" : "nats/tls/certificate",
                        "does not go alone: there is a certificate and its key, or neither", err);
    if (cfg->cluster.services_token_file && !cfg->cluster.services)
        return complain(cfg, "services_token_file", "does not go without \"services\": true", err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (*files[i] && !(*files[i] = config_resolve(cfg, *files[i])))
            return config_out_of_memory(cfg, err);
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* One line; NULL: none is named. */
static int read_line(struct config *cfg, const char *member, const char *file, const char **out,
                     struct config_error *err)
{
    char pointer[48], *text;
    size_t len;

    if (!file)
        return 0;
    snprintf(pointer, sizeof pointer, "/cluster/%s", member);
    if (config_read_secret(file, &text, &len, err) < 0)
        return config_blame(cfg, pointer, err);
    *out = config_own(cfg, text);
    return *out ? 0 : config_out_of_memory(cfg, err);
}

/* A file that libnats is going to read for each connection: whether it is there, nobody else has a
 * hand in it, and it looks like what it should be. */
static int look_into(const struct config *cfg, const char *member, const char *file, bool secret,
                     const char *mark, const char *what, struct config_error *err)
{
    char pointer[48], *text;
    size_t len;
    int rc;

    if (!file)
        return 0;
    snprintf(pointer, sizeof pointer, "/cluster/nats/%s", member);
    rc = config_read_file(file, secret, &text, &len, err);
    if (rc < 0)
        return config_blame(cfg, pointer, err);
    if (!strstr(text, mark))
        rc = config_fail(err, file, 0, "", "holds no %s", what);
    secret_free(text);
    return rc < 0 ? config_blame(cfg, pointer, err) : 0;
}

int config_join_cluster(struct config *cfg, struct config_error *err)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----";

    if (read_line(cfg, "nats/password_file", cfg->cluster.password_file, &cfg->cluster.password,
                  err) < 0 ||
        read_line(cfg, "nats/token_file", cfg->cluster.token_file, &cfg->cluster.token, err) < 0 ||
        read_line(cfg, "services_token_file", cfg->cluster.services_token_file,
                  &cfg->cluster.services_token, err) < 0 ||
        look_into(cfg, "credentials", cfg->cluster.credentials, true, "BEGIN NATS USER JWT",
                  "credentials of NATS: a user's JWT and seed", err) < 0 ||
        look_into(cfg, "nkey_seed_file", cfg->cluster.nkey_seed_file, true, "SU",
                  "seed of a user's NKey", err) < 0 ||
        look_into(cfg, "tls/ca", cfg->cluster.ca, false, pem, "certificate in PEM", err) < 0 ||
        look_into(cfg, "tls/certificate", cfg->cluster.certificate, false, pem,
                  "certificate in PEM", err) < 0 ||
        look_into(cfg, "tls/key", cfg->cluster.key, true, "PRIVATE KEY-----", "key in PEM", err) <
            0)
        return -1;
    return 0;
}
