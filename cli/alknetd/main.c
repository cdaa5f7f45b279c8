/* alknetd: configuration in, registry out, the library's loops around it.
 *
 * The main thread runs a loop of its own for signals, reloads and the clock; calls are served by
 * the workers' threads only, so that a large reload delays nobody. Everything here uses the public
 * headers: what the daemon does, a program that links the library can do. */
#include "process.h"
#include "signals.h"
#include "systemd.h"
#include "config/config_int.h"
#include "config/secret.h"
#include "serve/service.h"
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

struct options {
    const char *config;
    uint32_t workers;
    int check;
};

struct daemon {
    struct options options;
    struct config *cfg; /* the service's, once it has been tried to open it; so is reg */
    alk_registry *reg;
    struct log *log;
    int has_file;
    struct service *service;
    uv_loop_t loop;
    uv_async_t wake; /* a signal has come */
    int stopping;
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
    return rc < 0 ? config_fail(err, file, 0, "demo", "%s", alk_registry_error(d->reg)) : 0;
}

/* ---- running --------------------------------------------------------------------------------- */

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
    if (rc == 0)
        rc = service_reload(d->service, cfg, text, sizeof text, &err);
    if (rc < 0)
        log_say(d->log, ALK_LOG_ERROR, "reload.failed", "%s; nothing has changed", err.text);
    systemd_notify("READY=1");
    process_hold_spares();
}

static void stop(struct daemon *d, int number)
{
    if (d->stopping++ == 0)
        systemd_notify("STOPPING=1");
    log_say(d->log, ALK_LOG_INFO, d->stopping == 1 ? "drain" : "stop", "signal %d: %s", number,
            d->stopping == 1 ? "running calls may end, new ones are refused" : "ending at once");
    service_stop(d->service, d->stopping == 2);
}

/* Without a service: a start that has failed. */
static void on_wake(uv_async_t *wake)
{
    struct daemon *d = wake->data;
    int number, asked = signals_count(&number);

    while (d->service && d->stopping < asked && d->stopping < 2)
        stop(d, number);
    if (d->service && signals_take_hangup())
        reload(d);
}

/* It does not keep the loop alive: that ends with the service. */
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
    return 0;
}

static void end_handles(struct daemon *d)
{
    signals_end_wake();
    uv_close((uv_handle_t *)&d->wake, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

static int run_service(struct daemon *d, struct service_options *o, struct config_error *err)
{
    uint32_t workers = d->cfg->workers;

    o->loop = &d->loop;
    o->log = (struct sayer){log_event, d->log, d->cfg->log.level};
    process_hold_spares();
    process_raise_descriptor_limit();
    log_say(d->log, ALK_LOG_INFO, "start", "alknetd %s, process %ld, workers %u", alk_version(),
            (long)getpid(), workers);
    int rc = service_open(&d->service, o, err);
    if (rc == 0) {
        systemd_notify("READY=1");
        uv_run(&d->loop, UV_RUN_DEFAULT);
        log_say(d->log, ALK_LOG_INFO, "end", "stopped");
        service_free(d->service);
        d->service = NULL;
    }
    return rc;
}

static int serve(struct daemon *d, struct service_options *o, struct config_error *err)
{
    int sockets = systemd_sockets();

    if (sockets < 0)
        return config_fail(err, "$LISTEN_FDS", 0, "", "names what is no listening socket");
    o->sockets = (uint32_t)sockets;
    int rc = uv_loop_init(&d->loop);
    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    if (start_handles(d, err) < 0)
        return -1;
    rc = run_service(d, o, err);
    end_handles(d);
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

        d->has_file = d->cfg->log.file != NULL;
        if (log_open(&d->log, d->cfg->log.json, d->cfg->log.level, d->cfg->log.file, why,
                     sizeof why) < 0)
            return config_fail(err, d->options.config, 0, "log.file", "%s", why);
    }
    if (make_registry(d, err) < 0)
        return -1;
    struct service_options o = {.cfg = d->cfg, .reg = d->reg};
    return d->options.check ? service_check(&o, err) : serve(d, &o, err);
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
    if (status && d.has_file)
        log_say(d.log, ALK_LOG_ERROR, "start.failed", "%s", err.text);
    log_close(d.log);
    signals_end();
    return status;
}
