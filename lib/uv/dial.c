/* Connects to others for the dialers of a loop: resolves the name, tries its addresses one after
 * the other, or the one path of a Unix-domain socket, and gives the stream to the engine that the
 * dialer brings.
 *
 * There is no time limit here: the dialer has one for the whole attempt, names and handshake
 * included, and cancels. So a first address that swallows packets can use up the time of all (RFC
 * 8305 would try the next in parallel); addresses that refuse, as on a host without IPv6, cost
 * nothing.
 *
 * A struct connecting belongs to libuv from the beginning to the last callback, cancelled or not:
 * both a lookup on the thread pool and a connection under way write into it. Exactly one of
 * connected, failed and cancel ends what the dialer hears. */
#include "uv/conn.h"

#include <stdio.h>
#include <sys/un.h>

struct connecting {
    struct alk_loop *l;
    const struct connect_events *events; /* NULL: cancelled */
    void *ud;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct addrinfo *all, *next;
    struct conn *c; /* under way */
};

static void finish(struct connecting *x, const char *why)
{
    if (x->events)
        x->events->failed(x->ud, why);
    uv_freeaddrinfo(x->all);
    x->l->open_connects--;
    mem_free(&x->l->mem, x);
}

static void on_connected(uv_connect_t *req, int status);

/* status: what is told when there is no address left, that of the last one tried. Each gets a
 * socket of its own, since one on which connecting has failed cannot be used again. A loop that
 * drains begins nothing new. */
static void try_next(struct connecting *x, int status)
{
    while (x->events && x->next && x->l->drain < DRAIN_WAIT) {
        struct addrinfo *a = x->next;

        x->next = a->ai_next;
        x->c = conn_new(x->l, false, &x->l->mem);
        if (!x->c) {
            status = UV_ENOMEM;
            break;
        }
        x->connect.data = x;
        status = uv_tcp_connect(&x->connect, &x->c->h.tcp, a->ai_addr, on_connected);
        if (!status)
            return;
        conn_close(x->c);
        x->c = NULL;
    }
    finish(x, uv_strerror(status));
}

/* Whoever is told may close the dialer or the loop, so the loop's end is looked for last.
 * UV_ECANCELED: the handle was closed by us, in cancel or by the loop, and the next address would
 * be against that. */
static void on_connected(uv_connect_t *req, int status)
{
    struct connecting *x = req->data;
    struct alk_loop *l = x->l;
    struct conn *c = x->c;
    struct engine *e = NULL;

    x->c = NULL;
    if (!status && x->events) {
        e = x->events->connected(x->ud, uv_hrtime());
        x->events = NULL;
    }
    if (e) {
        if (c->h.handle.type == UV_TCP) {
            uv_tcp_nodelay(&c->h.tcp, 1);
            uv_tcp_keepalive(&c->h.tcp, 1, KEEPALIVE_S);
        }
        conn_speak(c, e);
    } else {
        conn_close(c);
    }
    if (status && status != UV_ECANCELED)
        try_next(x, status);
    else
        finish(x, "cancelled");
    loop_check_end(l);
}

/* Comes also for a lookup that was cancelled. */
static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *all)
{
    struct connecting *x = req->data;
    struct alk_loop *l = x->l;

    x->all = x->next = all;
    if (status)
        finish(x, uv_strerror(status));
    else
        try_next(x, UV_EAI_NODATA);
    loop_check_end(l);
}

/* AI_ADDRCONFIG: no IPv6 address where this machine has none of its own. The remainder shows the
 * compiler that the port fits. */
static bool look_up(struct connecting *x, const char *host, uint32_t port)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                          .ai_socktype = SOCK_STREAM,
                                          .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    char service[8];

    x->resolve.data = x;
    snprintf(service, sizeof service, "%u", port % 65536);
    return !uv_getaddrinfo(x->l->uv, &x->resolve, on_resolved, host, service, &hints);
}

/* libuv cuts off what is too long of a path without a word; the result comes from the loop, as that
 * of TCP. */
static bool connect_path(struct connecting *x, const char *path)
{
    _Static_assert(SOCKET_PATH_MAX < sizeof((struct sockaddr_un *)0)->sun_path, "a path fits");

    x->c = conn_new(x->l, true, &x->l->mem);
    if (!x->c)
        return false;
    x->connect.data = x;
    uv_pipe_connect(&x->connect, &x->c->h.pipe, path, on_connected);
    return true;
}

static struct connecting *start(struct transport *t, const struct destination *to,
                                const struct connect_events *events, void *ud)
{
    struct alk_loop *l = container_of(t, struct alk_loop, transport);
    struct connecting *x = mem_zalloc(&l->mem, sizeof *x);

    if (!x)
        return NULL;
    x->l = l;
    x->events = events;
    x->ud = ud;
    if (!(to->path ? connect_path(x, to->path) : look_up(x, to->host, to->port))) {
        mem_free(&l->mem, x);
        return NULL;
    }
    l->open_connects++;
    return x;
}

/* The name may be looked up on another thread by now, which cannot be stopped: its end is waited
 * for, by the loop too when it closes (open_connects). uv_cancel does nothing to a lookup that is
 * over. */
static void cancel(struct connecting *x)
{
    x->events = NULL;
    uv_cancel((uv_req_t *)&x->resolve);
    if (x->c)
        conn_close(x->c);
}

static void hold(struct transport *t, int change)
{
    loop_hold(container_of(t, struct alk_loop, transport), change);
}

void dial_init(struct alk_loop *l)
{
    struct transport *t = &l->transport;

    t->d = l->d;
    t->mem = &l->mem;
    list_init(&t->dialers);
    t->connect = start;
    t->cancel = cancel;
    t->hold = hold;
    udp_dial_init(l);
}
