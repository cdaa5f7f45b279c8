/* A worker's life: opened by the service's thread, run by its own, told to stop through `wake`, seen
 * to have stopped through `stopped`.
 *
 * Only the service's thread sends to `wake`, and it sends the last time (FINISH) when the worker's
 * network part is closed for good, so the handle is never used after it is gone. The first worker's
 * sockets decide the ports; with several workers each address of TCP and UDP is bound once per worker
 * (SO_REUSEPORT). What cannot be bound twice, Unix-domain sockets and those handed over, all accept
 * from; the file of a socket that the first has bound goes with the first's. */
#include "serve/workers.h"
#include "serve/places.h"

#include <alknet/uv.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FINISH 100

struct worker {
    struct workers *all;
    uv_loop_t loop;
    uv_async_t wake;
    uv_thread_t thread;
    alk_loop *net; /* NULL: closed */
    alk_gateway *gateway;
    alk_gateway *metrics; /* of the first worker; NULL: none */
    bool has_loop, has_wake, has_thread, closing;
    bool ridden;   /* on_worker was called, and on_gone is owed */
    bool graceful; /* on_draining was called */
    bool drained;  /* of the first: it closes when it is the last one */
    int asked;     /* atomic: how often it was told to stop; FINISH and more: to end the thread */
    int done;      /* of asked, what has been acted on */
};

struct workers {
    struct workers_options o;
    struct worker *items;
    uint32_t count;
    uv_async_t stopped;
    uint32_t running; /* atomic: workers whose network part is open */
    int stops;
    bool open; /* false: the opening may still fail */
    int ports[CONFIG_LISTEN_MAX];
    int sockets[CONFIG_LISTEN_MAX]; /* of the first worker, while all are opened */
    int metrics_port;
};

/* ---- a worker's thread ----------------------------------------------------------------------- */

static void end_ride(struct worker *w)
{
    const struct service_options *s = w->all->o.service;

    if (w->ridden && s->on_gone)
        s->on_gone(s->ud);
    w->ridden = false;
}

static void on_net_closed(void *ud)
{
    struct worker *w = ud;

    w->net = NULL;
    end_ride(w);
    if (w->has_thread) {
        __atomic_sub_fetch(&w->all->running, 1, __ATOMIC_ACQ_REL);
        uv_async_send(&w->all->stopped);
    }
}

static bool is_last(const struct worker *w)
{
    return __atomic_load_n(&w->all->running, __ATOMIC_ACQUIRE) <= 1;
}

static void close_net(struct worker *w)
{
    const struct service_options *s = w->all->o.service;

    w->closing = true;
    if (w == w->all->items)
        membership_over(*w->all->o.membership);
    if (w->graceful && s->on_drained)
        s->on_drained(s->ud);
    alk_loop_close(w->net, on_net_closed, w);
}

/* Calls of the others cross to the first one's loop, as long as there are any. */
static void on_drained(void *ud)
{
    struct worker *w = ud;

    if (w == w->all->items && !is_last(w))
        w->drained = true;
    else
        close_net(w);
}

static void on_wake(uv_async_t *wake)
{
    struct worker *w = wake->data;
    const struct service_options *s = w->all->o.service;
    int asked = __atomic_load_n(&w->asked, __ATOMIC_ACQUIRE);

    if (w == w->all->items && asked == 1 && w->done == 0) {
        w->graceful = true;
        if (s->on_draining)
            s->on_draining(s->ud);
    }
    for (; w->done < asked && w->done < 2 && !w->closing; w->done++)
        alk_loop_drain(w->net, on_drained, w);
    if (w->drained && !w->closing && is_last(w))
        close_net(w);
    if (asked >= FINISH)
        uv_close((uv_handle_t *)wake, NULL);
}

static void run(void *ud)
{
    struct worker *w = ud;

    uv_run(&w->loop, UV_RUN_DEFAULT);
}

static void ask(struct worker *w, int amount)
{
    __atomic_add_fetch(&w->asked, amount, __ATOMIC_RELEASE);
    uv_async_send(&w->wake);
}

/* ---- listening ------------------------------------------------------------------------------- */

/* Where a socket that was handed over listens. */
static void address_of(int fd, char *out, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    snprintf(out, size, "?");
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return;
    if (address.ss_family == AF_UNIX)
        snprintf(out, size, "%s", ((struct sockaddr_un *)&address)->sun_path);
    else
        getnameinfo((struct sockaddr *)&address, len, out, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST);
}

/* Options of a listener for gateway g; l NULL: the configuration says nothing of it. */
static void listener_options(alk_server_options *o, struct worker *w, alk_gateway *g,
                             const struct config_listen *l)
{
    alk_server_options_init(o, sizeof *o);
    o->gateway = g;
    if (l && l->tls)
        o->tls = w->all->o.tls->streams;
    if (l && l->quic) {
        o->tls = w->all->o.tls->quic;
        o->quic = 1;
    }
    if (l)
        o->proxy_protocol = l->proxy_protocol;
}

static int open_server(struct worker *w, const alk_server_options *o, alk_server **server,
                       struct config_error *err)
{
    char why[256] = "";
    int rc = alk_server_open(server, w->net, o, why, sizeof why);

    if (rc < 0)
        return config_fail(err, "cannot serve", 0, "", "%s", *why ? why : alk_strerror(rc));
    return 0;
}

/* On a socket that listens already. */
static int duplicate(int fd, int32_t *out, struct config_error *err)
{
    *out = fcntl(fd, F_DUPFD_CLOEXEC, SERVICE_FIRST_SOCKET);
    return *out < 0 ? config_fail(err, "cannot serve", 0, "", "%s", strerror(errno)) : 0;
}

/* One after the other they are what `listen` says, as far as that goes. */
static int listen_on_handed(struct worker *w, struct config_error *err)
{
    const struct service_options *s = w->all->o.service;
    const struct config_listen *items = s->cfg->listen.items;
    bool first = w == w->all->items;

    for (uint32_t i = 0; i < s->sockets; i++) {
        alk_server_options o;
        alk_server *server;

        listener_options(&o, w, w->gateway, i < s->cfg->listen.count ? &items[i] : NULL);
        o.fd = SERVICE_FIRST_SOCKET + (int)i;
        if ((!first && duplicate(o.fd, &o.fd, err) < 0) || open_server(w, &o, &server, err) < 0)
            return -1;
        w->all->ports[i] = alk_server_port(server);
    }
    return 0;
}

static void fill_address(alk_server_options *o, const struct config_listen *l)
{
    o->peer_credentials = l->peer_credentials;
    if (l->unix_path) {
        o->unix_path = l->unix_path;
        if (l->mode)
            o->unix_mode = l->mode;
    } else {
        o->host = l->host;
        o->port = l->port;
    }
}

/* The counts are the node's: one worker tells them all. */
static int listen_for_metrics(struct worker *w, struct config_error *err)
{
    alk_server_options o;
    alk_server *server;

    listener_options(&o, w, w->metrics, &w->all->o.service->cfg->metrics);
    fill_address(&o, &w->all->o.service->cfg->metrics);
    if (open_server(w, &o, &server, err) < 0)
        return -1;
    w->all->metrics_port = alk_server_port(server);
    return 0;
}

static int listen_as_configured(struct worker *w, struct config_error *err)
{
    struct workers *ws = w->all;
    const struct config_list *listen = &ws->o.service->cfg->listen;
    const struct config_listen *items = listen->items;
    bool first = w == ws->items;

    for (size_t i = 0; i < listen->count; i++) {
        alk_server_options o;
        alk_server *server;

        listener_options(&o, w, w->gateway, &items[i]);
        fill_address(&o, &items[i]);
        if (items[i].unix_path && !first && duplicate(ws->sockets[i], &o.fd, err) < 0)
            return -1;
        if (!items[i].unix_path) {
            o.reuse_port = ws->count > 1;
            if (!first)
                o.port = (uint32_t)ws->ports[i];
        }
        if (open_server(w, &o, &server, err) < 0)
            return -1;
        if (first) {
            ws->ports[i] = alk_server_port(server);
            ws->sockets[i] = alk_server_fd(server);
        }
    }
    return 0;
}

static const char *scheme_of(const struct config_listen *l)
{
    return l->quic ? "alknet" : l->tls ? "https" : "http";
}

/* port 0: address is a path. */
static void tell_listening(const struct service_options *s, const char *event, const char *address,
                           int port, const char *scheme)
{
    alk_log_event e = {.level = ALK_LOG_INFO,
                       .event = event,
                       .address = address,
                       .port = (uint32_t)port,
                       .scheme = port ? scheme : NULL};

    say_event(&s->log, &e);
}

static void tell_listener(const struct service_options *s, const char *address, int port,
                          const char *scheme)
{
    if (s->on_listening)
        s->on_listening(s->ud, address, port, port ? scheme : NULL);
    tell_listening(s, "listening", address, port, scheme);
}

static void tell_listeners(const struct workers *ws)
{
    const struct service_options *s = ws->o.service;
    const struct config_list *listen = &s->cfg->listen;
    const struct config_listen *items = listen->items;

    for (uint32_t i = 0; i < s->sockets; i++) {
        char address[256];

        address_of(SERVICE_FIRST_SOCKET + (int)i, address, sizeof address);
        tell_listener(s, address, ws->ports[i], i < listen->count ? scheme_of(&items[i]) : "http");
    }
    for (size_t i = 0; i < listen->count && s->sockets == 0; i++) {
        const struct config_listen *l = &items[i];

        tell_listener(s, l->unix_path ? l->unix_path : l->host, l->unix_path ? 0 : ws->ports[i],
                      scheme_of(l));
    }
    if (s->cfg->has_metrics) {
        const struct config_listen *l = &s->cfg->metrics;

        tell_listening(s, "metrics.listening", l->unix_path ? l->unix_path : l->host,
                       ws->metrics_port, scheme_of(l));
    }
}

/* ---- sessions -------------------------------------------------------------------------------- */

/* code 0: it begins. */
static void tell_session(void *ud, const alk_session *session, int code)
{
    const struct service_options *s = ud;
    alk_log_event e = {.level = ALK_LOG_INFO,
                       .event = code ? "session.close" : "session.open",
                       .code = (uint32_t)code,
                       .identity = session->identity ? alk_identity_id(session->identity) : NULL,
                       .tenant = session->tenant,
                       .traceparent = session->traceparent,
                       .remote = session->remote};

    say_event(&s->log, &e);
    if (s->on_session)
        s->on_session(s->ud, session, code);
}

static void on_session(void *ud, const alk_session *session)
{
    tell_session(ud, session, 0);
}

/* ---- making one ------------------------------------------------------------------------------ */

/* What "hosts/3: is wrong" complains about, as the line of the file where it stands. */
static int locate(const struct config *cfg, const char *complaint, struct config_error *err)
{
    char pointer[48], place[48], member[24];
    unsigned index;
    int end = 0;

    if (sscanf(complaint, "%23[a-z_]/%u: %n", member, &index, &end) < 2 || end == 0)
        return config_fail(err, cfg->text.file, 0, "gateway", "%s", complaint);
    snprintf(pointer, sizeof pointer, "/gateway/%s/%u", member, index);
    snprintf(place, sizeof place, "gateway.%s[%u]", member, index);
    return config_complain(cfg, pointer, place, complaint + end, err);
}

static int new_gateway(alk_gateway **out, alk_dispatcher *d, const struct config *cfg,
                       const alk_gateway_options *o, struct config_error *err)
{
    char why[256] = "";
    int rc = alk_gateway_new(out, d, o, why, sizeof why);

    if (rc < 0)
        return locate(cfg, *why ? why : alk_strerror(rc), err);
    return 0;
}

/* What "retries: is wrong" complains about, likewise. */
static int set_http(alk_loop *net, const struct config *cfg, struct config_error *err)
{
    char why[256] = "", pointer[48], place[48];
    int rc = alk_loop_set_http(net, &cfg->http.o, why, sizeof why);
    size_t n = strcspn(why, ":,");

    if (rc == ALK_OK)
        return 0;
    snprintf(pointer, sizeof pointer, "/http/%.*s", n < 32 ? (int)n : 0, why);
    snprintf(place, sizeof place, "http");
    return config_complain(cfg, pointer, place, *why ? why : alk_strerror(rc), err);
}

static int open_metrics(alk_gateway **out, alk_dispatcher *d, const struct config *cfg,
                        struct config_error *err)
{
    alk_gateway_options o;

    alk_gateway_options_init(&o, sizeof o);
    o.metrics = 1;
    o.websocket = 0;
    o.hosts = cfg->gateway.hosts;
    o.health_path = cfg->gateway.health_path;
    return new_gateway(out, d, cfg, &o, err);
}

static int open_gateway(alk_gateway **out, alk_dispatcher *d, const struct config *cfg,
                        struct service_options *s, struct config_error *err)
{
    alk_gateway_options o;

    if (places_check_site(cfg, err) < 0)
        return -1;
    alk_gateway_options_init(&o, sizeof o);
    o.websocket = cfg->gateway.websocket;
    o.tenant_header = cfg->gateway.tenant_header;
    if (s) {
        o.on_connect = on_session;
        o.on_disconnect = tell_session;
        o.session_ud = s;
    }
    o.anonymous_peers = cfg->anonymous_peers;
    o.mcp = cfg->mcp;
    o.decoy = cfg->gateway.decoy;
    o.decoy_target = cfg->gateway.target;
    o.stealth = cfg->gateway.stealth;
    if (cfg->gateway.health_path)
        o.health_path = cfg->gateway.health_path;
    o.hosts = cfg->gateway.hosts;
    o.origins = cfg->gateway.origins;
    o.trusted_proxies = cfg->gateway.proxies;
    return new_gateway(out, d, cfg, &o, err);
}

/* Lets whoever rides on the first worker get on. */
static int ride(struct worker *w, const struct service_options *s, alk_dispatcher *d,
                struct config_error *err)
{
    int rc = s->on_worker ? s->on_worker(s->ud, &w->loop, d) : ALK_OK;

    w->ridden = rc == ALK_OK;
    return rc < 0 ? config_fail(err, "worker", 0, "", "%s", alk_strerror(rc)) : 0;
}

static int open_worker(struct worker *w, struct config_error *err)
{
    alk_dispatcher *d;
    int rc = uv_loop_init(&w->loop);

    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    w->has_loop = true;
    rc = uv_async_init(&w->loop, &w->wake, on_wake);
    if (rc < 0)
        return config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc));
    w->wake.data = w;
    w->has_wake = true;
    rc = alk_dispatcher_new(&d, w->all->o.node);
    if (rc < 0)
        return config_fail(err, "dispatcher", 0, "", "%s", alk_strerror(rc));
    struct service_options *s = w->all->o.service;
    const struct config *cfg = s->cfg;
    bool first = w == w->all->items, tells = first && cfg->has_metrics;
    if (open_gateway(&w->gateway, d, cfg, s, err) < 0 ||
        (tells && open_metrics(&w->metrics, d, cfg, err) < 0) ||
        (first && ride(w, s, d, err) < 0)) {
        alk_dispatcher_free(d);
        return -1;
    }
    rc = alk_loop_open(&w->net, &w->loop, d);
    if (rc < 0) {
        alk_dispatcher_free(d);
        return config_fail(err, "loop", 0, "", "%s", alk_strerror(rc));
    }
    if (first && s->on_net)
        s->on_net(s->ud, w->net);
    alk_gateway_set_ready(w->gateway, w->all->o.ready);
    if (set_http(w->net, cfg, err) < 0)
        return -1;
    rc = s->sockets ? listen_on_handed(w, err) : listen_as_configured(w, err);
    if (rc == 0 && tells)
        rc = listen_for_metrics(w, err);
    if (rc == 0 && first)
        rc = dials_open(w->net, w->all->o.dials, err);
    return rc == 0 && first ? membership_join(*w->all->o.membership, w->net, err) : rc;
}

/* What has been opened, on the thread that opened it. */
static void close_worker(struct worker *w)
{
    if (w->net)
        alk_loop_close(w->net, on_net_closed, w);
    else
        end_ride(w);
    if (w->has_wake)
        uv_close((uv_handle_t *)&w->wake, NULL);
    if (w->has_loop) {
        uv_run(&w->loop, UV_RUN_DEFAULT);
        uv_loop_close(&w->loop);
    }
    alk_gateway_free(w->gateway);
    alk_gateway_free(w->metrics);
}

static void free_worker(struct worker *w)
{
    uv_loop_close(&w->loop);
    alk_gateway_free(w->gateway);
    alk_gateway_free(w->metrics);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* libuv may run this once for several workers. */
static void on_stopped(uv_async_t *stopped)
{
    struct workers *ws = stopped->data;
    const struct service_options *s = ws->o.service;

    uint32_t running = __atomic_load_n(&ws->running, __ATOMIC_ACQUIRE);

    if (running == 1) /* the first one */
        uv_async_send(&ws->items->wake);
    if (running > 0)
        return;
    for (uint32_t i = 0; i < ws->count; i++)
        ask(&ws->items[i], FINISH);
    for (uint32_t i = 0; i < ws->count; i++)
        uv_thread_join(&ws->items[i].thread);
    uv_close((uv_handle_t *)stopped, NULL);
    if (ws->open && s->on_stopped)
        s->on_stopped(s->ud);
}

/* As long as nobody was told to stop, the loops are open. */
int workers_dial(struct workers *ws, struct dials **dials, struct dials *next)
{
    return ws->stops ? ALK_ECLOSED : dials_replace(ws->items->net, dials, next);
}

int workers_rejoin(struct workers *ws, struct membership *next)
{
    return ws->stops ? ALK_ECLOSED : membership_replace(ws->o.membership, next, ws->items->net);
}

static void on_ready(void *ud)
{
    struct worker *w = ud;

    alk_gateway_set_ready(w->gateway, 1);
}

int workers_ready(struct workers *ws)
{
    int rc = ws->stops ? ALK_ECLOSED : ALK_OK;

    for (uint32_t i = 0; i < ws->count && rc == ALK_OK; i++)
        rc = alk_loop_post(ws->items[i].net, on_ready, &ws->items[i]);
    return rc;
}

void workers_stop(struct workers *ws, bool at_once)
{
    int more = ws->stops >= 2 ? 0 : at_once ? 2 - ws->stops : 1;

    ws->stops += more;
    for (uint32_t i = 0; i < ws->count && more; i++)
        ask(&ws->items[i], more);
}

void workers_free(struct workers *ws)
{
    if (!ws)
        return;
    for (uint32_t i = 0; i < ws->count; i++)
        free_worker(&ws->items[i]);
    free(ws->items);
    free(ws);
}

/* Takes back what workers_open has done: the first `started` workers have threads. */
static void abandon(struct workers *ws, uint32_t started)
{
    for (uint32_t i = started; i < ws->count; i++)
        close_worker(&ws->items[i]);
    ws->count = started;
    workers_stop(ws, true);
    if (started == 0)
        uv_close((uv_handle_t *)&ws->stopped, NULL);
    uv_run(ws->o.service->loop, UV_RUN_DEFAULT);
    workers_free(ws);
}

static int start_threads(struct workers *ws, struct config_error *err)
{
    for (uint32_t i = 0; i < ws->count; i++) {
        struct worker *w = &ws->items[i];

        w->has_thread = true;
        __atomic_add_fetch(&ws->running, 1, __ATOMIC_RELAXED);
        int rc = uv_thread_create(&w->thread, run, w);
        if (rc < 0) {
            w->has_thread = false;
            __atomic_sub_fetch(&ws->running, 1, __ATOMIC_RELAXED);
            abandon(ws, i);
            return config_fail(err, "cannot start a thread", 0, "", "%s", uv_strerror(rc));
        }
    }
    return 0;
}

int workers_open(struct workers **out, const struct workers_options *o, struct config_error *err)
{
    struct workers *ws = calloc(1, sizeof *ws);

    *out = NULL;
    if (ws)
        ws->items = calloc(o->service->cfg->workers, sizeof *ws->items);
    int rc =
        ws && ws->items ? uv_async_init(o->service->loop, &ws->stopped, on_stopped) : UV_ENOMEM;
    if (rc < 0) {
        if (ws)
            free(ws->items);
        free(ws);
        return config_fail(err, "workers", 0, "", "%s", uv_strerror(rc));
    }
    ws->o = *o;
    ws->count = o->service->cfg->workers;
    ws->stopped.data = ws;
    for (uint32_t i = 0; i < ws->count; i++)
        ws->items[i].all = ws;
    for (uint32_t i = 0; i < ws->count && rc == 0; i++)
        rc = open_worker(&ws->items[i], err);
    if (rc < 0) {
        abandon(ws, 0);
        return -1;
    }
    tell_listeners(ws);
    if (start_threads(ws, err) < 0)
        return -1;
    ws->open = true;
    *out = ws;
    return 0;
}

int workers_check(const struct config *cfg, alk_node *node, uv_loop_t *loop,
                  struct config_error *err)
{
    alk_gateway *gateway = NULL, *metrics = NULL;
    alk_dispatcher *d;
    alk_loop *net;
    int rc = alk_dispatcher_new(&d, node);

    if (rc < 0)
        return config_fail(err, "dispatcher", 0, "", "%s", alk_strerror(rc));
    if (open_gateway(&gateway, d, cfg, NULL, err) < 0 ||
        (cfg->has_metrics && open_metrics(&metrics, d, cfg, err) < 0)) {
        alk_gateway_free(gateway);
        alk_dispatcher_free(d);
        return -1;
    }
    rc = alk_loop_open(&net, loop, d);
    if (rc < 0) {
        alk_dispatcher_free(d);
        rc = config_fail(err, "loop", 0, "", "%s", alk_strerror(rc));
    } else {
        rc = set_http(net, cfg, err);
        alk_loop_close(net, NULL, NULL);
    }
    alk_gateway_free(gateway);
    alk_gateway_free(metrics);
    return rc;
}
