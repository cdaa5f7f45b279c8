/* alknetd: configuration in, registry out, the library's loops around it.
 *
 * The main thread runs a loop of its own for signals, reloads and the clock; calls are served by
 * the workers' threads only, so that a large reload delays nobody. Everything here uses the public
 * headers: what the daemon does, a program that links the library can do. */
#include "imports.h"
#include "plugins.h"
#include "process.h"
#include "signals.h"
#include "systemd.h"
#include "tls.h"
#include "workers.h"
#include "config/config_int.h"
#include "config/secret.h"
#include "demo.h"
#include "log.h"

#include <alknet/alknet.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: alknetd --config FILE [--workers N]\n"
    "       alknetd --config FILE --check\n"
    "\n"
    "  -c, --config FILE   the configuration, YAML, or JSON when its name ends in .json\n"
    "  -k, --check         say whether the configuration is good, plugins included, and exit\n"
    "  -w, --workers N     serve from N loops (overrides the configuration's workers)\n"
    "  -V, --version       print the version and exit\n"
    "  -h, --help          print this and exit\n"
    "\n"
    "SIGHUP reloads peers, keys, limits, certificates, connect and imports. SIGTERM and SIGINT\n"
    "drain; a second one stops at once.\n";

#define TELL_EVERY INT64_C(86400) /* seconds */

struct options {
    const char *config;
    uint32_t workers;
    int check;
};

struct daemon {
    struct options options;
    struct config *cfg;
    struct log *log;
    alk_registry *reg;
    alk_identities *ids;
    alk_node *node;
    struct plugins plugins;
    struct workers *workers;
    struct listener_tls tls;
    struct dials *dials;
    struct imports *imports; /* until the importer has them */
    struct importer *importer;
    bool ready;   /* so was said to /readyz */
    int64_t told; /* when it was last said when the certificates end */
    uv_loop_t loop;
    uv_async_t wake; /* a signal has come */
    uv_timer_t second;
    int stopping;
    uint64_t descriptors; /* their limit */
    uint32_t room;        /* the connections that it allows, those of `connect` among them */
};

static int load(struct config **out, const struct options *o, struct config_error *err)
{
    struct config_source s = {.file = o->config, .workers = o->workers};
    char *data;

    *out = NULL;
    if (config_read_file(o->config, 0, &data, &s.len, err) < 0)
        return -1;
    s.text = data;
    int rc = config_load(out, &s, err);
    secret_free(data);
    return rc;
}

/* ---- putting it together --------------------------------------------------------------------- */

static int make_registry(struct daemon *d, struct config_error *err)
{
    const char *file = d->options.config;

    d->reg = alk_registry_new();
    if (!d->reg)
        return config_fail(err, file, 0, "", "out of memory");
    int rc = d->cfg->demo ? demo_add(d->reg, d->log) : 0;
    if (rc < 0)
        return config_fail(err, file, 0, "demo", "%s", alk_registry_error(d->reg));
    if (plugins_open(&d->plugins, d->cfg, d->reg, err) < 0)
        return -1;
    rc = alk_registry_enable_metrics(d->reg);
    if (rc < 0)
        return config_fail(err, file, 0, "", "%s", alk_registry_error(d->reg));
    if (d->cfg->peers_call) {
        rc = alk_registry_enable_peers(d->reg, d->cfg->peers_call, d->cfg->peers_call_len);
        if (rc < 0)
            return config_complain(d->cfg, "/peers_call", "peers_call",
                                   *alk_registry_error(d->reg)
                                       ? alk_registry_error(d->reg)
                                       : "an operation is neither a name nor NAMESPACE/*",
                                   err);
    }
    rc = alk_registry_freeze(d->reg);
    return rc < 0 ? config_fail(err, file, 0, "", "%s", alk_strerror(rc)) : 0;
}

static int make_node(struct daemon *d, struct config_error *err)
{
    alk_identity_provider provider;
    alk_node_options o;

    d->ids = alk_identities_new();
    if (!d->ids)
        return config_fail(err, d->options.config, 0, "", "out of memory");
    if (config_give_identities(d->cfg, d->ids, (int64_t)time(NULL), d->reg, err) < 0)
        return -1;
    alk_identities_provider(d->ids, &provider, sizeof provider);
    alk_node_options_init(&o, sizeof o);
    o.debug_outputs = d->cfg->debug_outputs;
    o.forwarded_for = d->cfg->forwarded_for;
    o.auto_import = d->cfg->auto_import;
    o.announce_scope = d->cfg->announce_scope;
    o.identities = &provider;
    o.limits = &d->cfg->limits;
    o.log_level = d->cfg->log.level;
    if (d->log) {
        o.log = log_event;
        o.log_ud = d->log;
    }
    int rc = alk_node_new(&d->node, d->reg, &o);
    if (rc < 0)
        return config_fail(err, d->options.config, 0, rc == ALK_EINVAL ? "limits" : "", "%s",
                           alk_strerror(rc));
    return 0;
}

/* Plugins go last: the registry's end still runs their code. */
static void destroy(struct daemon *d)
{
    dials_free(d->dials);
    importer_free(d->importer);
    imports_free(d->imports);
    certificates_close(&d->tls);
    alk_node_unref(d->node);
    alk_identities_unref(d->ids);
    alk_registry_unref(d->reg);
    plugins_close(&d->plugins);
    log_close(d->log);
    config_free(d->cfg);
}

/* Connections to other services: each import has one host. They have at most half of the room. */
static uint32_t outbound(const struct daemon *d, const struct config *cfg)
{
    const alk_http_options *o = &d->cfg->http.o;
    uint64_t loop = (uint64_t)cfg->imports.count * o->host_connections;
    uint64_t all = (loop < o->connections ? loop : o->connections) * d->cfg->workers;

    return all < d->room / 2 ? (uint32_t)all : d->room / 2;
}

/* Without this, connections could use up all descriptors: a reload or a log file would find none,
 * and those that come would be closed by libuv without a word. */
static void fit_limits(const struct daemon *d, struct config *cfg)
{
    uint32_t dialled = (uint32_t)cfg->connect.count + outbound(d, cfg);
    uint32_t room = d->room > dialled ? d->room - dialled : 1;

    if (cfg->limits.connections > room)
        log_say(d->log, ALK_LOG_WARN, "limits.lowered",
                "limits.connections: %u do not fit the limit of %llu descriptors; it is %u",
                cfg->limits.connections, (unsigned long long)d->descriptors, room);
    if (cfg->limits.connections == 0 || cfg->limits.connections > room)
        cfg->limits.connections = room;
}

/* ---- reload ---------------------------------------------------------------------------------- */

static void tell_certificates(struct daemon *d, int64_t now)
{
    d->told = now;
    certificates_tell(&d->tls, d->dials, d->log, now);
}

/* What can be found wrong before anything is changed: identities and connections are tried on
 * objects of their own. */
static int try_all(struct daemon *d, const struct config *cfg, int64_t now,
                   struct config_error *err)
{
    alk_identities *trial = alk_identities_new();

    if (!trial)
        return config_fail(err, d->options.config, 0, "", "out of memory");
    int rc = config_give_identities(cfg, trial, now, d->reg, err);
    alk_identities_unref(trial);
    if (rc < 0)
        return -1;
    if (d->cfg->workers > 1 && cfg->connect.count > 0)
        return config_complain(cfg, "/connect", "connect",
                               "needs a single worker, and their number is read at start", err);
    return dials_check(cfg, d->node, &d->loop, err);
}

/* The certificates, then the identities. Connections that are open keep the certificate that they
 * have seen. */
static int take(struct daemon *d, struct config *cfg, struct dials **next, int64_t now,
                struct config_error *err)
{
    if (certificates_connect(cfg, d->cfg, d->log, err) < 0 ||
        dials_new(next, cfg, d->dials, d->log, err) < 0 ||
        certificates_reload(&d->tls, d->cfg, *next, err) < 0)
        return -1;
    return config_give_identities(cfg, d->ids, now, d->reg, err);
}

static int take_all(struct daemon *d, struct config *cfg, int64_t now, struct config_error *err)
{
    struct dials *next = NULL;
    alk_limits before;

    alk_node_get_limits(d->node, &before, sizeof before);
    int rc = alk_node_set_limits(d->node, &cfg->limits);
    if (rc < 0)
        return config_fail(err, d->options.config, 0, "limits", "%s", alk_strerror(rc));
    if (take(d, cfg, &next, now, err) < 0) {
        alk_node_set_limits(d->node, &before);
        dials_free(next);
        return -1;
    }
    rc = workers_dial(d->workers, &d->dials, next);
    if (rc < 0) {
        log_say(d->log, ALK_LOG_WARN, "connect.failed", "connections are as before: %s",
                alk_strerror(rc));
        dials_free(next);
    }
    return 0;
}

/* All or nothing. */
static int apply(struct daemon *d, struct config *cfg, struct config_error *err)
{
    int64_t now = (int64_t)time(NULL);
    struct imports *imports;

    if (try_all(d, cfg, now, err) < 0 ||
        imports_new(&imports, cfg, importer_list(d->importer), err) < 0)
        return -1;
    if (take_all(d, cfg, now, err) < 0) {
        imports_free(imports);
        return -1;
    }
    importer_take(d->importer, imports);
    importer_tick(d->importer);
    tell_certificates(d, now);
    return 0;
}

static void reload(struct daemon *d)
{
    struct config_error err;
    struct config *cfg;
    char text[256];

    process_give_spares();
    systemd_notify_reloading();
    if (log_reopen(d->log, text, sizeof text) < 0)
        log_say(d->log, ALK_LOG_ERROR, "log.failed", "%s", text);
    int rc = load(&cfg, &d->options, &err);
    if (rc == 0) {
        fit_limits(d, cfg);
        rc = apply(d, cfg, &err);
    }
    if (rc < 0) {
        log_say(d->log, ALK_LOG_ERROR, "reload.failed", "%s; nothing has changed", err.text);
    } else {
        log_say(d->log, ALK_LOG_INFO, "reload",
                "peers, keys, limits, connections and imports are those of %s", d->options.config);
        config_changes(d->cfg, cfg, text, sizeof text);
        if (*text)
            log_say(d->log, ALK_LOG_WARN, "reload.partial", "changed, but only read at start: %s",
                    text);
    }
    config_free(cfg);
    systemd_notify("READY=1");
    process_hold_spares();
}

/* ---- running --------------------------------------------------------------------------------- */

static void stop(struct daemon *d, int number)
{
    if (d->stopping++ == 0)
        systemd_notify("STOPPING=1");
    log_say(d->log, ALK_LOG_INFO, d->stopping == 1 ? "drain" : "stop", "signal %d: %s", number,
            d->stopping == 1 ? "running calls may end, new ones are refused" : "ending at once");
    importer_close(d->importer);
    workers_stop(d->workers);
}

/* Without workers: a start that has failed. */
static void on_wake(uv_async_t *wake)
{
    struct daemon *d = wake->data;
    int number, asked = signals_count(&number);

    while (d->workers && d->stopping < asked && d->stopping < 2)
        stop(d, number);
    if (d->workers && signals_take_hangup())
        reload(d);
}

/* What has been said once stays: an import that comes by a reload, and whose document cannot be
 * had, is no reason to send nobody here any more. */
static void tell_ready(void *ud)
{
    struct daemon *d = ud;

    if (!d->ready && !importer_waits(d->importer))
        d->ready = workers_ready(d->workers) == ALK_OK;
}

static void on_second(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    int64_t now = (int64_t)time(NULL);

    alk_identities_tick(d->ids, now);
    if (d->workers) {
        importer_tick(d->importer);
        tell_ready(d);
    }
    if (now - d->told >= TELL_EVERY)
        tell_certificates(d, now);
}

/* These do not keep the loop alive: it ends with the workers. */
static int start_handles(struct daemon *d, struct config_error *err)
{
    int rc = uv_async_init(&d->loop, &d->wake, on_wake);

    if (rc < 0) {
        uv_loop_close(&d->loop);
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    }
    d->wake.data = d;
    uv_unref((uv_handle_t *)&d->wake);
    signals_watch(&d->wake);
    uv_timer_init(&d->loop, &d->second);
    d->second.data = d;
    uv_timer_start(&d->second, on_second, 1000, 1000);
    uv_unref((uv_handle_t *)&d->second);
    return 0;
}

static void end_handles(struct daemon *d)
{
    signals_end_wake();
    uv_close((uv_handle_t *)&d->wake, NULL);
    uv_close((uv_handle_t *)&d->second, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

/* With what is open already, and before the first connection. */
static int find_room(struct daemon *d, int sockets, struct config_error *err)
{
    process_hold_spares();
    d->descriptors = process_raise_descriptor_limit();
    d->room = process_room(d->descriptors, d->cfg, sockets);
    if (d->room == 0)
        return config_fail(err, "the limit of descriptors", 0, "",
                           "%llu leave no room for connections",
                           (unsigned long long)d->descriptors);
    fit_limits(d, d->cfg);
    int rc = alk_node_set_limits(d->node, &d->cfg->limits);
    return rc < 0 ? config_fail(err, "limits", 0, "", "%s", alk_strerror(rc)) : 0;
}

/* Those of files can be called before the first connection. */
static int take_imports(struct daemon *d, struct config_error *err)
{
    struct importer_options o = {.node = d->node,
                                 .log = d->log,
                                 .loop = &d->loop,
                                 .http = &d->cfg->http.o,
                                 .on_come = tell_ready,
                                 .ud = d};

    d->importer = importer_new(&o);
    if (!d->importer)
        return config_fail(err, "imports", 0, "", "out of memory");
    importer_take(d->importer, d->imports);
    d->imports = NULL;
    return 0;
}

static int run_workers(struct daemon *d, int sockets, struct config_error *err)
{
    struct workers_options o = {
        .cfg = d->cfg, .node = d->node, .log = d->log, .loop = &d->loop, .sockets = sockets};
    int rc = certificates_open(&d->tls, d->cfg, d->log, err);

    if (rc == 0)
        rc = certificates_connect(d->cfg, d->cfg, d->log, err);
    if (rc == 0)
        rc = dials_check(d->cfg, d->node, &d->loop, err);
    if (rc == 0)
        rc = dials_new(&d->dials, d->cfg, NULL, d->log, err);
    if (rc < 0)
        return rc;
    config_forget_tokens(d->cfg);
    o.tls = &d->tls;
    o.dials = d->dials;
    if (take_imports(d, err) < 0)
        return -1;
    d->ready = !importer_waits(d->importer);
    o.ready = d->ready;
    tell_certificates(d, (int64_t)time(NULL));
    log_say(d->log, ALK_LOG_INFO, "start", "alknetd %s, process %ld, workers %u", alk_version(),
            (long)getpid(), d->cfg->workers);
    rc = find_room(d, sockets, err);
    if (rc == 0)
        rc = workers_open(&d->workers, &o, err);
    if (rc == 0) {
        systemd_notify("READY=1");
        importer_tick(d->importer);
        uv_run(&d->loop, UV_RUN_DEFAULT);
        workers_free(d->workers);
        d->workers = NULL;
        log_say(d->log, ALK_LOG_INFO, "end", "stopped");
    }
    return rc;
}

static int serve(struct daemon *d, struct config_error *err)
{
    int sockets = systemd_sockets();

    if (sockets < 0)
        return config_fail(err, "$LISTEN_FDS", 0, "", "names what is no listening socket");
    int rc = uv_loop_init(&d->loop);
    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    if (start_handles(d, err) < 0)
        return -1;
    rc = run_workers(d, sockets, err);
    end_handles(d);
    return rc;
}

static int check(struct daemon *d, struct config_error *err)
{
    if (certificates_open(&d->tls, d->cfg, NULL, err) < 0 ||
        certificates_connect(d->cfg, d->cfg, NULL, err) < 0)
        return -1;
    int rc = uv_loop_init(&d->loop);
    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    rc = workers_check(d->cfg, d->node, &d->loop, err);
    if (rc == 0)
        rc = dials_check(d->cfg, d->node, &d->loop, err);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    return rc;
}

static int assemble_and_go(struct daemon *d, struct config_error *err)
{
    if (load(&d->cfg, &d->options, err) < 0)
        return -1;
    if (d->cfg->core_dumps)
        process_core_dumps(1);
    if (!d->options.check) {
        char why[256];

        if (log_open(&d->log, d->cfg->log.json, d->cfg->log.level, d->cfg->log.file, why,
                     sizeof why) < 0)
            return config_fail(err, d->options.config, 0, "log.file", "%s", why);
    }
    if (make_registry(d, err) < 0 || make_node(d, err) < 0 ||
        imports_new(&d->imports, d->cfg, NULL, err) < 0)
        return -1;
    return d->options.check ? check(d, err) : serve(d, err);
}

/* ---- the command line ------------------------------------------------------------------------ */

/* -1: go on; otherwise the exit status. */
static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'},  {"check", no_argument, NULL, 'k'},
        {"workers", required_argument, NULL, 'w'}, {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},          {0}};

    for (int c; (c = getopt_long(argc, argv, "c:kw:Vh", names, NULL)) != -1;) {
        char *end = NULL;

        if (c == 'c') {
            o->config = optarg;
        } else if (c == 'k') {
            o->check = 1;
        } else if (c == 'w') {
            unsigned long n = strtoul(optarg, &end, 10);

            if (*end || *optarg < '0' || *optarg > '9' || n < 1 || n > CONFIG_WORKERS_MAX) {
                fprintf(stderr, "alknetd: --workers must be between 1 and %u\n",
                        CONFIG_WORKERS_MAX);
                return 2;
            }
            o->workers = (uint32_t)n;
        } else if (c == 'V') {
            printf("alknetd %s\n", alk_version());
            return 0;
        } else if (c == 'h') {
            fputs(usage, stdout);
            return 0;
        } else {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (o->config && optind == argc)
        return -1;
    fprintf(stderr, "alknetd: %s\n%s", o->config ? "too many arguments" : "--config is missing",
            usage);
    return 2;
}

int main(int argc, char **argv)
{
    struct daemon d = {0};
    struct config_error err = {""};

    if (process_hold_streams() < 0)
        return 1;
    process_core_dumps(0);
    int status = read_options(&d.options, argc, argv);
    if (status >= 0)
        return status;
    signal(SIGPIPE, SIG_IGN);
    status = assemble_and_go(&d, &err) < 0;
    if (status)
        fprintf(stderr, "alknetd: %s\n", err.text);
    else if (d.options.check)
        printf("%s: OK\n", d.options.config);
    if (status && d.log && d.cfg->log.file)
        log_say(d.log, ALK_LOG_ERROR, "start.failed", "%s", err.text);
    destroy(&d);
    signals_end();
    return status;
}
