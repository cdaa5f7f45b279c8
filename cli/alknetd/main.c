/* alknetd: a host of the library (alknet/host.h) with a file, a log, signals and a service manager.
 *
 * The main thread waits for signals and for what the host tells; calls and reloads are done on the
 * library's threads. Everything here uses the public headers: what the daemon does, a program that
 * links the library can do. */
#include "demo.h"
#include "log.h"
#include "process.h"
#include "signals.h"
#include "systemd.h"

#include <alknet/host.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

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
    "SIGHUP reloads peers, keys, limits, certificates, connect, imports and cluster. SIGTERM and\n"
    "SIGINT drain; a second one stops at once.\n";

#define WORKERS_MAX 256ul

struct options {
    const char *config;
    uint32_t workers;
    int check;
};

struct daemon {
    struct options options;
    alk_host *host;
    struct log *log; /* NULL: not opened */
    int has_file;    /* the log has */
    int signals;     /* readable when one has come */
    int stopping;    /* how many signals that stop it have been acted on */
    int reloading;   /* how many reloads are on their way */
    int stopped;
    char error[800]; /* why it ends */
};

/* Says why the daemon ends; returns -1. */
static int fail(struct daemon *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct daemon *d, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(d->error, sizeof d->error, format, args);
    va_end(args);
    return -1;
}

/* ---- the configuration ----------------------------------------------------------------------- */

static void on_log(void *ud, const alk_log_event *event)
{
    const struct daemon *d = ud;

    log_event(d->log, event);
}

static int make_host(struct daemon *d, int sockets)
{
    alk_host_options o = {.size = sizeof o,
                          .workers = d->options.workers,
                          .file = d->options.config,
                          .daemon = 1,
                          .check = (uint32_t)d->options.check,
                          .sockets = (uint32_t)sockets,
                          .log = on_log,
                          .log_ud = d};

    return alk_host_new(&d->host, &o, d->error, sizeof d->error) < 0 ? -1 : 0;
}

static int is_true(struct daemon *d, const char *member)
{
    size_t len;
    const char *text = alk_host_config(d->host, member, &len);

    return text && strcmp(text, "true") == 0;
}

/* For the log, and good until the next call. */
static const char *workers_of(struct daemon *d)
{
    static char number[16];
    size_t len;
    const char *text = alk_host_config(d->host, "workers", &len);

    if (!d->options.workers)
        return !text ? "1" : *text == '"' ? "auto" : text;
    snprintf(number, sizeof number, "%u", d->options.workers);
    return number;
}

/* Relative to the configuration's folder, for free; NULL: out of memory. */
static char *resolve(const char *config, const char *path)
{
    const char *slash = strrchr(config, '/');
    size_t folder = *path == '/' || !slash ? 0 : (size_t)(slash - config) + 1;
    size_t size = folder + strlen(path) + 1;
    char *joined = malloc(size);

    if (joined)
        snprintf(joined, size, "%.*s%s", (int)folder, config, path);
    return joined;
}

static uint32_t level_of(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (uint32_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0)
            return ALK_LOG_ERROR + i;
    }
    return ALK_LOG_INFO;
}

static int open_log(struct daemon *d)
{
    char why[256] = "out of memory", *path = NULL;
    size_t len;
    const char *text = alk_host_config(d->host, "log", &len);
    yyjson_doc *doc = text ? yyjson_read(text, len, 0) : NULL;
    yyjson_val *members = yyjson_doc_get_root(doc), *file = yyjson_obj_get(members, "file");
    int rc = text && !doc ? ALK_ENOMEM : ALK_OK;

    d->has_file = file != NULL;
    if (file && !(path = resolve(d->options.config, yyjson_get_str(file))))
        rc = ALK_ENOMEM;
    if (rc == ALK_OK)
        rc = log_open(&d->log, yyjson_equals_str(yyjson_obj_get(members, "format"), "json"),
                      level_of(yyjson_get_str(yyjson_obj_get(members, "level"))), path, why,
                      sizeof why);
    free(path);
    yyjson_doc_free(doc);
    return rc < 0 ? fail(d, "%s: log.file: %s", d->options.config, why) : 0;
}

/* ---- reload ---------------------------------------------------------------------------------- */

static void end_reload(struct daemon *d, const char *fault)
{
    if (fault)
        log_say(d->log, ALK_LOG_ERROR, "reload.failed", "%s; nothing has changed", fault);
    if (d->reloading || d->stopping)
        return;
    systemd_notify("READY=1");
    process_hold_spares();
}

/* While it stops, only the log is opened anew. */
static void reload(struct daemon *d)
{
    char why[256];

    process_give_spares();
    if (!d->stopping)
        systemd_notify_reloading();
    if (log_reopen(d->log, why, sizeof why) < 0)
        log_say(d->log, ALK_LOG_ERROR, "log.failed", "%s", why);
    if (d->stopping)
        return;
    int rc = alk_host_reload(d->host, NULL, 0);
    d->reloading += rc == ALK_OK;
    if (rc < 0)
        end_reload(d, alk_strerror(rc));
}

static void on_reloaded(struct daemon *d, const alk_host_event *e)
{
    yyjson_doc *doc = e->text ? yyjson_read(e->text, e->text_len, 0) : NULL;
    const char *why = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "message"));

    d->reloading--;
    end_reload(d, e->rc == ALK_OK ? NULL : why ? why : alk_strerror(e->rc));
    yyjson_doc_free(doc);
}

/* ---- running --------------------------------------------------------------------------------- */

static void stop(struct daemon *d, int number)
{
    if (d->stopping++ == 0)
        systemd_notify("STOPPING=1");
    int drain = d->stopping == 1 && !signals_early();
    log_say(d->log, ALK_LOG_INFO, drain ? "drain" : "stop", "signal %d: %s", number,
            drain ? "running calls may end, new ones are refused" : "ending at once");
    alk_host_stop(d->host, drain);
}

static void on_signal(struct daemon *d)
{
    int number, asked;

    signals_seen();
    asked = signals_count(&number);
    while (d->stopping < asked && d->stopping < 2)
        stop(d, number);
    if (signals_take_hangup())
        reload(d);
}

static void on_event(struct daemon *d)
{
    alk_host_event e;

    while (alk_host_drain(d->host, &e, sizeof e, 1)) {
        if (e.kind == ALK_HOST_RELOADED)
            on_reloaded(d, &e);
        d->stopped |= e.kind == ALK_HOST_STOPPED;
        alk_host_release(d->host, &e, sizeof e, 1);
    }
}

static int run(struct daemon *d)
{
    struct pollfd fds[] = {{.fd = alk_host_fd(d->host), .events = POLLIN},
                           {.fd = d->signals, .events = POLLIN}};

    if (fds[0].fd < 0)
        return fail(d, "the limit of descriptors: none is left for events of the host");
    if (!signals_early())
        systemd_notify("READY=1");
    while (!d->stopped) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return fail(d, "poll: %s", strerror(errno));
        on_signal(d);
        on_event(d);
    }
    log_say(d->log, ALK_LOG_INFO, "end", "stopped");
    return 0;
}

static int serve(struct daemon *d)
{
    process_raise_descriptor_limit();
    process_hold_spares();
    log_say(d->log, ALK_LOG_INFO, "start", "alknetd %s, process %ld, workers %s", alk_version(),
            (long)getpid(), workers_of(d));
    signals_start(alk_host_fd(d->host));
    if (alk_host_start(d->host, d->error, sizeof d->error) < 0)
        return -1;
    signals_started();
    return run(d);
}

static int assemble_and_go(struct daemon *d)
{
    int sockets = d->options.check ? 0 : systemd_sockets();

    if (!d->options.check && (d->signals = signals_watch()) < 0)
        return fail(d, "signals: %s", strerror(errno));
    signals_release();
    if (sockets < 0)
        return fail(d, "$LISTEN_FDS: one of them is no listening socket");
    if (make_host(d, sockets) < 0)
        return -1;
    if (is_true(d, "core_dumps"))
        process_core_dumps(1);
    if (!d->options.check && open_log(d) < 0)
        return -1;
    alk_registry *reg = alk_host_registry(d->host);
    if (is_true(d, "demo") && demo_add(reg, d->log) < 0)
        return fail(d, "%s: demo: %s", d->options.config, alk_registry_error(reg));
    if (d->options.check)
        return alk_host_start(d->host, d->error, sizeof d->error) < 0 ? -1 : 0;
    return serve(d);
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

            if (*end || *optarg < '0' || *optarg > '9' || n < 1 || n > WORKERS_MAX) {
                fprintf(stderr, "alknetd: --workers must be between 1 and %lu\n", WORKERS_MAX);
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

    signals_hold();
    if (process_hold_streams() < 0)
        return 1;
    process_core_dumps(0);
    int status = read_options(&d.options, argc, argv);
    if (status >= 0)
        return status;
    status = assemble_and_go(&d) < 0;
    if (status)
        fprintf(stderr, "alknetd: %s\n", d.error);
    else if (d.options.check)
        printf("%s: OK\n", d.options.config);
    if (status && d.log && d.has_file)
        log_say(d.log, ALK_LOG_ERROR, "start.failed", "%s", d.error);
    alk_host_free(d.host);
    log_close(d.log);
    signals_end();
    return status;
}
