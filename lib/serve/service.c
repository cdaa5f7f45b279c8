/* The parts of a service in the order in which they are made, reloaded and taken down.
 *
 * Calls are served by the workers' threads only; on the service's own are reloads, the clock and
 * documents that come from elsewhere, so that a large one delays nobody. */
#include "serve/service.h"
#include "config/secret.h"
#include "serve/descriptors.h"
#include "serve/imports.h"
#include "serve/places.h"
#include "serve/plugins.h"
#include "serve/workers.h"

#include <alknet/cluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TELL_EVERY INT64_C(86400) /* seconds */

struct service {
    struct service_options o; /* cfg: what was read at the start */
    struct config *latest;    /* the last one that was taken; NULL: that of the start */
    uv_mutex_t mutex;         /* of latest, and of the node's key in o.cfg */
    struct plugins plugins;
    alk_identities *ids;
    alk_node *node;
    struct workers *workers;
    struct listener_tls tls;
    struct dials *dials;
    struct membership *membership;
    struct imports *imports; /* until the importer has them */
    struct importer *importer;
    bool ready;        /* so was said to /readyz */
    int64_t told;      /* when it was last said when the certificates end */
    uv_timer_t second; /* its loop is NULL: there is none */
    struct descriptors descriptors;
};

/* ---- putting it together --------------------------------------------------------------------- */

static int fill_registry(struct service *s, struct config_error *err)
{
    const struct config *cfg = s->o.cfg;
    const char *file = cfg->text.file;

    if (plugins_open(&s->plugins, cfg, s->o.reg, err) < 0)
        return -1;
    int rc = alk_registry_enable_metrics(s->o.reg);
    if (rc < 0)
        return config_fail(err, file, 0, "", "%s", alk_registry_error(s->o.reg));
    if (cfg->peers_call) {
        rc = alk_registry_enable_peers(s->o.reg, cfg->peers_call, cfg->peers_call_len);
        if (rc < 0)
            return config_complain(cfg, "/peers_call", "peers_call",
                                   *alk_registry_error(s->o.reg)
                                       ? alk_registry_error(s->o.reg)
                                       : "an operation is neither a name nor NAMESPACE/*",
                                   err);
    }
    if (cfg->cluster.given) {
        rc = alk_registry_enable_cluster(s->o.reg);
        if (rc < 0)
            return config_fail(err, file, 0, "", "%s", alk_registry_error(s->o.reg));
    }
    rc = alk_registry_freeze(s->o.reg);
    return rc < 0 ? config_fail(err, file, 0, "", "%s", alk_strerror(rc)) : 0;
}

static int make_node(struct service *s, struct config_error *err)
{
    const struct config *cfg = s->o.cfg;
    alk_identity_provider provider;
    alk_node_options o;

    s->ids = alk_identities_new();
    if (!s->ids)
        return config_fail(err, cfg->text.file, 0, "", "out of memory");
    if (config_give_identities(cfg, s->ids, (int64_t)time(NULL), s->o.reg, err) < 0)
        return -1;
    alk_identities_provider(s->ids, &provider, sizeof provider);
    alk_node_options_init(&o, sizeof o);
    o.debug_outputs = cfg->debug_outputs;
    o.forwarded_for = cfg->forwarded_for;
    o.auto_import = cfg->auto_import;
    o.announce_scope = cfg->announce_scope;
    o.identities = &provider;
    o.limits = &cfg->limits;
    o.log_level = s->o.log.level;
    o.log = s->o.log.log;
    o.log_ud = s->o.log.ud;
    int rc = alk_node_new(&s->node, s->o.reg, &o);
    if (rc < 0)
        return config_fail(err, cfg->text.file, 0, rc == ALK_EINVAL ? "limits" : "", "%s",
                           alk_strerror(rc));
    return 0;
}

/* What touches no loop. On failure cfg and reg are gone. */
static int assemble(struct service **out, const struct service_options *o, struct config_error *err)
{
    struct service *s = calloc(1, sizeof *s);

    *out = NULL;
    if (!s || uv_mutex_init(&s->mutex)) {
        config_fail(err, o->cfg->text.file, 0, "", "out of memory");
        alk_registry_unref(o->reg);
        config_free(o->cfg);
        free(s);
        return -1;
    }
    s->o = *o;
    if (fill_registry(s, err) == 0 && make_node(s, err) == 0 &&
        imports_new(&s->imports, s->o.cfg, NULL, err) == 0) {
        *out = s;
        return 0;
    }
    service_free(s);
    return -1;
}

/* Plugins go last: the registry's end still runs their code. */
void service_free(struct service *s)
{
    if (!s)
        return;
    if (s->importer)
        importer_close(s->importer);
    if (s->second.loop)
        uv_close((uv_handle_t *)&s->second, NULL);
    if (s->o.loop)
        uv_run(s->o.loop, UV_RUN_DEFAULT);
    workers_free(s->workers);
    membership_free(s->membership);
    dials_free(s->dials);
    importer_free(s->importer);
    imports_free(s->imports);
    certificates_close(&s->tls);
    alk_node_unref(s->node);
    alk_identities_free(s->ids);
    alk_registry_unref(s->o.reg);
    plugins_close(&s->plugins);
    config_free(s->latest);
    config_free(s->o.cfg);
    uv_mutex_destroy(&s->mutex);
    free(s);
}

alk_node *service_node(struct service *s)
{
    return s->node;
}

/* ---- reload ---------------------------------------------------------------------------------- */

static void tell_certificates(struct service *s, int64_t now)
{
    s->told = now;
    certificates_tell(&s->tls, s->dials, &s->o.log, now);
}

/* What can be found wrong before anything is changed: identities and connections are tried on
 * objects of their own. */
static int try_all(struct service *s, const struct config *cfg, int64_t now,
                   struct config_error *err)
{
    alk_identities *trial = alk_identities_new();

    if (!trial)
        return config_fail(err, cfg->text.file, 0, "", "out of memory");
    int rc = config_give_identities(cfg, trial, now, s->o.reg, err);
    alk_identities_free(trial);
    if (rc < 0)
        return -1;
    return dials_check(cfg, s->node, s->o.loop, err);
}

/* The certificates, then the identities. Connections that are open keep the certificate that they
 * have seen. */
static int take(struct service *s, struct config *cfg, struct dials **next, int64_t now,
                struct config_error *err)
{
    uv_mutex_lock(&s->mutex);
    int rc = certificates_connect(cfg, s->o.cfg, &s->o.log, err);
    uv_mutex_unlock(&s->mutex);
    if (rc < 0 || dials_new(next, cfg, s->dials, &s->o.log, err) < 0 ||
        certificates_reload(&s->tls, s->o.cfg, *next, err) < 0)
        return -1;
    return config_give_identities(cfg, s->ids, now, s->o.reg, err);
}

/* A cluster that was not there at the start needs an operation that is not there either. */
static void rejoin(struct service *s, const struct config *cfg)
{
    struct membership *next;
    int rc = ALK_ENOMEM;

    if (!s->o.cfg->cluster.given)
        return;
    next = membership_new(cfg, &s->o.log);
    if (next)
        rc = workers_rejoin(s->workers, next);
    if (rc == ALK_OK)
        return;
    say(&s->o.log, ALK_LOG_WARN, "cluster.failed", "the cluster is as before: %s",
        alk_strerror(rc));
    membership_free(next);
}

static int take_all(struct service *s, struct config *cfg, int64_t now, struct config_error *err)
{
    struct dials *next = NULL;
    alk_limits before;

    alk_node_get_limits(s->node, &before, sizeof before);
    int rc = alk_node_set_limits(s->node, &cfg->limits);
    if (rc < 0)
        return config_fail(err, cfg->text.file, 0, "limits", "%s", alk_strerror(rc));
    if (take(s, cfg, &next, now, err) < 0) {
        alk_node_set_limits(s->node, &before);
        dials_free(next);
        return -1;
    }
    rc = workers_dial(s->workers, &s->dials, next);
    if (rc < 0) {
        say(&s->o.log, ALK_LOG_WARN, "connect.failed", "connections are as before: %s",
            alk_strerror(rc));
        dials_free(next);
    }
    rejoin(s, cfg);
    return 0;
}

/* All or nothing. */
static int apply(struct service *s, struct config *cfg, struct config_error *err)
{
    int64_t now = (int64_t)time(NULL);
    struct imports *imports;

    if (try_all(s, cfg, now, err) < 0 ||
        imports_new(&imports, cfg, importer_list(s->importer), err) < 0)
        return -1;
    if (take_all(s, cfg, now, err) < 0) {
        imports_free(imports);
        return -1;
    }
    importer_take(s->importer, imports);
    importer_tick(s->importer);
    tell_certificates(s, now);
    return 0;
}

int service_reload(struct service *s, struct config *cfg, char *changed, size_t size,
                   struct config_error *err)
{
    descriptors_fit(&s->descriptors, cfg, s->o.cfg, &s->o.log);
    if (apply(s, cfg, err) < 0) {
        config_free(cfg);
        return -1;
    }
    config_forget_secrets(cfg);
    uv_mutex_lock(&s->mutex);
    config_free(s->latest);
    s->latest = cfg;
    uv_mutex_unlock(&s->mutex);
    config_changes(s->o.cfg, cfg, changed, size);
    say(&s->o.log, ALK_LOG_INFO, "reload",
        "peers, keys, limits, connections and imports are those of %s", cfg->text.file);
    if (*changed)
        say(&s->o.log, ALK_LOG_WARN, "reload.partial", "changed, but only read at start: %s",
            changed);
    return 0;
}

/* ---- one connection more --------------------------------------------------------------------- */

static int load_dial(struct service *s, const char *json, size_t len, struct dial **out,
                     struct config_error *err)
{
    const struct config *within = s->latest ? s->latest : s->o.cfg;
    struct config *cfg;

    if (config_load_connect(&cfg, json, len, within, err) < 0)
        return -1;
    int rc = certificates_connect(cfg, s->o.cfg, &s->o.log, err);
    *out = rc == 0 ? dial_new(cfg, 0, &s->o.log) : NULL;
    if (rc == 0 && !*out)
        rc = config_fail(err, "connection", 0, "", "out of memory");
    config_free(cfg);
    return rc;
}

int service_dial(struct service *s, const char *json, size_t len, struct dial **out,
                 struct config_error *err)
{
    uv_mutex_lock(&s->mutex);
    int rc = load_dial(s, json, len, out, err);
    uv_mutex_unlock(&s->mutex);
    return rc;
}

/* ---- running --------------------------------------------------------------------------------- */

/* What has been said once stays: an import that comes by a reload, and whose document cannot be
 * had, is no reason to send nobody here any more. */
static void tell_ready(void *ud)
{
    struct service *s = ud;

    if (!s->ready && !importer_waits(s->importer))
        s->ready = workers_ready(s->workers) == ALK_OK;
}

static void on_second(uv_timer_t *timer)
{
    struct service *s = timer->data;
    int64_t now = (int64_t)time(NULL);

    alk_identities_tick(s->ids, now);
    importer_tick(s->importer);
    tell_ready(s);
    if (now - s->told >= TELL_EVERY)
        tell_certificates(s, now);
}

/* It does not keep the loop alive: that ends with the workers. */
static void start_clock(struct service *s)
{
    uv_timer_init(s->o.loop, &s->second);
    s->second.data = s;
    uv_timer_start(&s->second, on_second, 1000, 1000);
    uv_unref((uv_handle_t *)&s->second);
}

static int find_room(struct service *s, struct config_error *err)
{
    if (descriptors_count(&s->descriptors, s->o.cfg, s->o.sockets, err) < 0)
        return -1;
    descriptors_fit(&s->descriptors, s->o.cfg, s->o.cfg, &s->o.log);
    int rc = alk_node_set_limits(s->node, &s->o.cfg->limits);
    return rc < 0 ? config_fail(err, "limits", 0, "", "%s", alk_strerror(rc)) : 0;
}

/* Those of files can be called before the first connection. */
static int take_imports(struct service *s, struct config_error *err)
{
    struct importer_options o = {.node = s->node,
                                 .sayer = &s->o.log,
                                 .loop = s->o.loop,
                                 .http = &s->o.cfg->http.o,
                                 .on_come = tell_ready,
                                 .ud = s};

    s->importer = importer_new(&o);
    if (!s->importer)
        return config_fail(err, "imports", 0, "", "out of memory");
    importer_take(s->importer, s->imports);
    s->imports = NULL;
    s->ready = !importer_waits(s->importer);
    return 0;
}

static int start(struct service *s, struct config_error *err)
{
    struct config *cfg = s->o.cfg;

    if (certificates_open(&s->tls, cfg, &s->o.log, err) < 0 ||
        certificates_connect(cfg, cfg, &s->o.log, err) < 0 ||
        dials_check(cfg, s->node, s->o.loop, err) < 0 ||
        dials_new(&s->dials, cfg, NULL, &s->o.log, err) < 0)
        return -1;
    s->membership = membership_new(cfg, &s->o.log);
    if (!s->membership)
        return config_fail(err, "cluster", 0, "", "out of memory");
    config_forget_tokens(cfg);
    if (take_imports(s, err) < 0)
        return -1;
    tell_certificates(s, (int64_t)time(NULL));
    if (find_room(s, err) < 0)
        return -1;
    struct workers_options o = {.service = &s->o,
                                .node = s->node,
                                .tls = &s->tls,
                                .dials = s->dials,
                                .membership = &s->membership,
                                .ready = s->ready};
    if (workers_open(&s->workers, &o, err) < 0)
        return -1;
    importer_tick(s->importer);
    start_clock(s);
    return 0;
}

int service_open(struct service **out, const struct service_options *o, struct config_error *err)
{
    if (assemble(out, o, err) < 0)
        return -1;
    if (o->sockets > CONFIG_LISTEN_MAX)
        config_fail(err, "sockets", 0, "", "must be %u at most", CONFIG_LISTEN_MAX);
    else if (start(*out, err) == 0)
        return 0;
    service_free(*out);
    *out = NULL;
    return -1;
}

void service_stop(struct service *s, bool at_once)
{
    importer_close(s->importer);
    workers_stop(s->workers, at_once);
}

/* ---- trying ---------------------------------------------------------------------------------- */

static int check(struct service *s, struct config_error *err)
{
    struct config *cfg = s->o.cfg;
    uv_loop_t loop;

    if (places_check(cfg, err) < 0 || certificates_open(&s->tls, cfg, NULL, err) < 0 ||
        certificates_connect(cfg, cfg, NULL, err) < 0)
        return -1;
    int rc = uv_loop_init(&loop);
    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    rc = workers_check(cfg, s->node, &loop, err);
    if (rc == 0)
        rc = dials_check(cfg, s->node, &loop, err);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return rc;
}

int service_check(const struct service_options *o, struct config_error *err)
{
    const struct service_options quiet = {.cfg = o->cfg, .reg = o->reg};
    struct service *s;

    if (assemble(&s, &quiet, err) < 0)
        return -1;
    int rc = check(s, err);
    service_free(s);
    return rc;
}
