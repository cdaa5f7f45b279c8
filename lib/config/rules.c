/* What one member means for another, and what it is when it is not given: the rules that no table
 * can say. Each complains about the member that is to be changed. */
#include "base/ip.h"
#include "config/config_int.h"
#include "config/secret.h"

#include <alknet/gateway.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT 4780
#define UNIX_PATH_MAX 107u

static bool is_address(const char *host)
{
    const char *zone = strchr(host, '%');
    struct str address = {host, zone ? (size_t)(zone - host) : strlen(host)};
    struct ip ip;

    return ip_parse(address, &ip) && (!zone || strchr(host, ':'));
}

static const char *finish_listen(struct config *cfg, struct config_listen *l, const char **member)
{
    *member = "";
    if (l->unix_path && (l->host || l->port))
        return "is either \"unix\", or \"host\" and \"port\"";
    *member = "mode";
    if (l->mode && !l->unix_path)
        return "belongs to \"unix\"";
    *member = "peer_credentials";
    if (l->peer_credentials && !l->unix_path)
        return "belongs to \"unix\"";
    *member = "quic";
    if (l->quic && (l->unix_path || l->tls || l->proxy_protocol))
        return "is a listener on UDP: it has \"host\" and \"port\" alone";
    *member = "host";
    if (!l->unix_path && !l->host)
        l->host = DEFAULT_HOST;
    if (l->host && !is_address(l->host))
        return "must be a numeric address, such as 127.0.0.1 or \"::1\"";
    *member = "unix";
    if (l->unix_path) {
        l->unix_path = config_resolve(cfg, l->unix_path);
        if (!l->unix_path)
            return "out of memory";
        if (strlen(l->unix_path) > UNIX_PATH_MAX)
            return "must have 107 bytes at most, together with the folder of this file";
    }
    return NULL;
}

/* at: how pointers to it begin, place: how complaints name it. */
static int check_listen(struct config *cfg, struct config_listen *l, const char *at,
                        const char *place, struct config_error *err)
{
    const char *member, *fault = finish_listen(cfg, l, &member);

    if (!fault)
        return 0;
    char pointer[64], where[64];
    snprintf(pointer, sizeof pointer, "%s/%s", at, member);
    snprintf(where, sizeof where, "%s%s%s", place, *member ? "." : "", member);
    return config_complain(cfg, pointer, where, fault, err);
}

/* Also when their folder is written in two ways. */
static bool same_path(const char *a, const char *b)
{
    const char *paths[] = {a, b}, *names[2];
    struct stat st[2];

    if (strcmp(a, b) == 0)
        return true;
    for (int i = 0; i < 2; i++) {
        const char *slash = strrchr(paths[i], '/');
        char folder[UNIX_PATH_MAX + 1];

        names[i] = slash ? slash + 1 : paths[i];
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - paths[i]) + 1 : 1,
                 slash ? paths[i] : ".");
        if (stat(folder, &st[i]) < 0)
            return false;
    }
    return strcmp(names[0], names[1]) == 0 && st[0].st_dev == st[1].st_dev &&
           st[0].st_ino == st[1].st_ino;
}

/* Whether one of the two could not be bound beside the other. Several workers share their ports of TCP
 * with others of their user, so that there a wildcard leaves room. */
static bool collide(const struct config *cfg, const struct config_listen *a,
                    const struct config_listen *b)
{
    struct ip ip[2];

    if (a->unix_path || b->unix_path)
        return a->unix_path && b->unix_path && same_path(a->unix_path, b->unix_path);
    if (a->port != b->port || a->port == 0 || a->quic != b->quic)
        return false;
    if (strcmp(a->host, b->host) == 0)
        return true;
    for (int i = 0; i < 2; i++) {
        const char *host = i ? b->host : a->host;

        if (!ip_parse(str_of(host), &ip[i]))
            return false; /* it has a zone */
    }
    if (ip_equal(&ip[0], &ip[1]))
        return true;
    for (int i = 0; i < 2 && (cfg->workers == 1 || a->quic); i++) {
        static const struct ip any = {{0}};
        struct ip any4 = ip_of_v4(any.b);

        if (ip_equal(&ip[i], &any) || (ip_equal(&ip[i], &any4) && ip_is_v4(&ip[1 - i])))
            return true;
    }
    return false;
}

/* l, which stands at that place, and the first n of the list. */
static int refuse_collision(const struct config *cfg, const struct config_listen *l, size_t n,
                            const char *at, const char *place, struct config_error *err)
{
    const struct config_listen *items = cfg->listen.items;
    char message[64];

    for (size_t i = 0; i < n; i++) {
        if (collide(cfg, &items[i], l)) {
            snprintf(message, sizeof message, "its address is that of listen[%zu] already", i);
            return config_complain(cfg, at, place, message, err);
        }
    }
    return 0;
}

static int finish_metrics(struct config *cfg, struct config_error *err)
{
    cfg->has_metrics = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "metrics") != NULL;
    if (!cfg->has_metrics)
        return 0;
    if (check_listen(cfg, &cfg->metrics, "/metrics/listen", "metrics.listen", err) < 0)
        return -1;
    return refuse_collision(cfg, &cfg->metrics, cfg->listen.count, "/metrics/listen",
                            "metrics.listen", err);
}

static int finish_listens(struct config *cfg, struct config_error *err)
{
    bool given = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "listen") != NULL;

    if (cfg->listen.count == 0 && given && !cfg->embedded)
        return config_complain(cfg, "/listen", "listen", "must not be empty", err);
    if (!given && !cfg->embedded) {
        struct config_listen *one = calloc(1, sizeof *one);

        if (!one)
            return config_out_of_memory(cfg, err);
        *one = (struct config_listen){.host = DEFAULT_HOST, .port = DEFAULT_PORT};
        cfg->listen = (struct config_list){.items = one, .count = 1};
    }
    struct config_listen *items = cfg->listen.items;
    for (size_t i = 0; i < cfg->listen.count; i++) {
        char at[32], place[32];

        snprintf(at, sizeof at, "/listen/%zu", i);
        snprintf(place, sizeof place, "listen[%zu]", i);
        if (check_listen(cfg, &items[i], at, place, err) < 0 ||
            refuse_collision(cfg, &items[i], i, at, place, err) < 0)
            return -1;
    }
    return 0;
}

static int finish_gateway(struct config *cfg, struct config_error *err)
{
    const char *const at = "/gateway/decoy/target", *const place = "gateway.decoy.target";

    if (cfg->gateway.decoy == ALK_DECOY_NOT_FOUND && cfg->gateway.target)
        return config_complain(cfg, at, place, "does not go with \"not_found\"", err);
    if (cfg->gateway.decoy != ALK_DECOY_NOT_FOUND && !cfg->gateway.target)
        return config_complain(cfg, at, place, "is missing: the folder, or the URL to redirect to",
                               err);
    if (cfg->gateway.decoy == ALK_DECOY_REDIRECT && *cfg->gateway.target != '/' &&
        strncmp(cfg->gateway.target, "https://", 8) && strncmp(cfg->gateway.target, "http://", 7))
        return config_complain(cfg, at, place, "must begin with https://, http:// or \"/\"", err);
    if (cfg->gateway.decoy == ALK_DECOY_STATIC_SITE) {
        cfg->gateway.target = config_resolve(cfg, cfg->gateway.target);
        if (!cfg->gateway.target)
            return config_out_of_memory(cfg, err);
    }
    if (cfg->gateway.health_path && *cfg->gateway.health_path != '/')
        return config_complain(cfg, "/gateway/health_path", "gateway.health_path",
                               "must begin with \"/\"", err);
    for (const char *c = cfg->gateway.tenant_header; c && *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
            return config_complain(cfg, "/gateway/tenant_header", "gateway.tenant_header",
                                   "must be the name of a header field", err);
    }
    if (config_list_text(cfg, cfg->gateway.hosts_value, &cfg->gateway.hosts, err) < 0)
        return -1;
    if (config_list_text(cfg, cfg->gateway.origins_value, &cfg->gateway.origins, err) < 0)
        return -1;
    return config_list_text(cfg, cfg->gateway.proxies_value, &cfg->gateway.proxies, err);
}

static int finish_peers_call(struct config *cfg, struct config_error *err)
{
    yyjson_val *value = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "peers_call");

    if (!value)
        return 0;
    cfg->peers_call = config_own(cfg, yyjson_val_write(value, 0, &cfg->peers_call_len));
    return cfg->peers_call ? 0 : config_out_of_memory(cfg, err);
}

/* A plugin's configuration may be any JSON value; without one it is {}. */
static int finish_plugin(struct config *cfg, struct config_plugin *p, struct config_error *err)
{
    static yyjson_val empty = {.tag = YYJSON_TYPE_OBJ};

    p->path = config_resolve(cfg, p->path);
    if (p->file && !(p->file = config_resolve(cfg, p->file)))
        return config_out_of_memory(cfg, err);
    p->config = config_own(cfg, yyjson_val_write_opts(p->value ? p->value : &empty, 0, &secret_alc,
                                                      &p->config_len, NULL));
    return p->path && p->config ? 0 : config_out_of_memory(cfg, err);
}

static int finish_plugins(struct config *cfg, struct config_error *err)
{
    struct config_plugin *items = cfg->plugins.items;

    for (size_t i = 0; i < cfg->plugins.count; i++) {
        if (items[i].file && items[i].value) {
            char pointer[48], place[48];

            snprintf(pointer, sizeof pointer, "/plugins/%zu/config_file", i);
            snprintf(place, sizeof place, "plugins[%zu].config_file", i);
            return config_complain(cfg, pointer, place, "does not go with \"config\"", err);
        }
        if (finish_plugin(cfg, &items[i], err) < 0)
            return -1;
    }
    return 0;
}

static int refuse_daemons_own(const struct config *cfg, struct config_error *err)
{
    static const char *const members[][2] = {{"/demo", "demo"},
                                             {"/core_dumps", "core_dumps"},
                                             {"/log/format", "log.format"},
                                             {"/log/file", "log.file"}};

    for (size_t i = 0; cfg->embedded && i < sizeof members / sizeof *members; i++) {
        if (yyjson_doc_ptr_get(cfg->text.doc, members[i][0]))
            return config_complain(cfg, members[i][0], members[i][1], "only alknetd has it", err);
    }
    return 0;
}

int config_finish(struct config *cfg, const struct config_source *from, struct config_error *err)
{
    uint32_t workers = from->workers;

    if (workers > CONFIG_WORKERS_MAX)
        return config_fail(err, cfg->text.file, 0, "workers", "must be %u at most",
                           CONFIG_WORKERS_MAX);
    if (workers)
        cfg->workers = workers;
    if (!cfg->workers)
        cfg->workers = from->cores < CONFIG_WORKERS_MAX ? from->cores : CONFIG_WORKERS_MAX;
    if (refuse_daemons_own(cfg, err) < 0 || finish_listens(cfg, err) < 0 ||
        finish_gateway(cfg, err) < 0 || finish_plugins(cfg, err) < 0 ||
        finish_metrics(cfg, err) < 0 || finish_peers_call(cfg, err) < 0 ||
        config_finish_tls(cfg, err) < 0 || config_finish_cluster(cfg, err) < 0 ||
        config_finish_connect(cfg, err) < 0 || config_finish_imports(cfg, err) < 0 ||
        config_finish_http(cfg, err) < 0)
        return -1;
    if (cfg->log.file) {
        cfg->log.file = config_resolve(cfg, cfg->log.file);
        if (!cfg->log.file)
            return config_out_of_memory(cfg, err);
    }
    if (cfg->identities_file) {
        cfg->identities_file = config_resolve(cfg, cfg->identities_file);
        if (!cfg->identities_file)
            return config_out_of_memory(cfg, err);
    }
    return 0;
}
