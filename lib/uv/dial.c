/* Connects to others for the dialers of a loop: resolves the name, anew each time, tries its
 * addresses, or the one path of a Unix-domain socket, and gives the stream to the engine that the
 * dialer brings.
 *
 * The next address is tried when the one before has failed, or has said nothing for a while (RFC
 * 8305); the first that connects is it, and the others are closed. There is no time limit here: the
 * dialer has one for the whole attempt, names and handshake included, and cancels.
 *
 * A struct connecting belongs to libuv from the beginning to the last callback, cancelled or not: a
 * lookup on the thread pool, the timer and each connection under way write into it. Exactly one of
 * connected, failed and cancel ends what the dialer hears. */
#include "uv/addresses.h"
#include "uv/conn.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

struct attempt {
    struct connecting *x;
    uv_connect_t request;
    struct conn *c; /* under way */
};

struct connecting {
    struct alk_loop *l;
    const struct connect_events *events; /* NULL: nobody waits any more */
    void *ud;
    uv_getaddrinfo_t resolve;
    uv_timer_t timer;
    struct addresses addresses;
    struct attempt attempts[ADDRESSES_MAX];
    unsigned begun, open; /* open: what libuv has still to say */
    int status;           /* of what failed last */
    bool done;
};

/* Whoever is last of what libuv has to say frees it. */
static void release(struct connecting *x)
{
    struct alk_loop *l = x->l;

    if (!x->done || x->open)
        return;
    l->open_connects--;
    mem_free(&l->mem, x);
    loop_check_end(l);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct connecting *x = h->data;

    x->open--;
    release(x);
}

/* Nothing new begins, and what is under way is closed. */
static void finish(struct connecting *x)
{
    x->done = true;
    x->events = NULL;
    for (unsigned i = 0; i < x->begun; i++) {
        if (x->attempts[i].c)
            conn_close(x->attempts[i].c);
    }
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static void failed(struct connecting *x)
{
    const struct connect_events *events = x->events;

    if (x->done)
        return;
    finish(x);
    if (events)
        events->failed(x->ud, uv_strerror(x->status));
}

/* Whoever is told may close the dialer or the loop. UV_ECANCELED: the handle was closed by us, in
 * finish or by the loop, and the next address would be against that. */
static void on_connected(uv_connect_t *request, int status);

static struct attempt *attempt(struct connecting *x, bool is_pipe)
{
    struct attempt *a = &x->attempts[x->begun];

    a->x = x;
    a->request.data = a;
    a->c = conn_new(x->l, is_pipe, &x->l->mem);
    if (!a->c)
        return NULL;
    x->begun++;
    x->open++;
    return a;
}

/* Each gets a socket of its own, since one on which connecting has failed cannot be used again. */
static int begin(struct connecting *x, const struct sockaddr *to)
{
    struct attempt *a = attempt(x, false);
    int rc;

    if (!a)
        return UV_ENOMEM;
    rc = uv_tcp_connect(&a->request, &a->c->h.tcp, to, on_connected);
    if (rc) {
        conn_close(a->c);
        a->c = NULL;
        x->open--;
    }
    return rc;
}

static bool under_way(const struct connecting *x)
{
    for (unsigned i = 0; i < x->begun; i++) {
        if (x->attempts[i].c)
            return true;
    }
    return false;
}

static void on_timer(uv_timer_t *t);

/* A loop that drains begins nothing new. */
static void try_next(struct connecting *x)
{
    const struct sockaddr *to;

    while (!x->done && x->l->drain < DRAIN_WAIT && (to = addresses_next(&x->addresses))) {
        int rc = begin(x, to);

        if (!rc) {
            uv_timer_start(&x->timer, on_timer, ADDRESS_NEXT_MS, 0);
            return;
        }
        x->status = rc;
    }
    if (!under_way(x))
        failed(x);
}

static void on_timer(uv_timer_t *t)
{
    try_next(t->data);
}

static void take(struct connecting *x, struct conn *c)
{
    struct engine *e = x->events->connected(x->ud, uv_hrtime());

    x->events = NULL;
    if (!e) {
        conn_close(c);
        return;
    }
    if (c->h.handle.type == UV_TCP) {
        uv_tcp_nodelay(&c->h.tcp, 1);
        uv_tcp_keepalive(&c->h.tcp, 1, KEEPALIVE_S);
    }
    conn_speak(c, e);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct attempt *a = request->data;
    struct connecting *x = a->x;
    struct conn *c = a->c;

    a->c = NULL;
    x->open--;
    if (status || !x->events) {
        conn_close(c);
        if (status == UV_ECANCELED) {
            if (!x->done && !under_way(x))
                failed(x);
        } else if (!x->done) {
            x->status = status;
            try_next(x);
        }
    } else {
        take(x, c);
        finish(x);
    }
    release(x);
}

/* Comes also for a lookup that was cancelled. */
static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *all)
{
    struct connecting *x = req->data;

    x->open--;
    x->status = status ? status : UV_EAI_NODATA;
    addresses_take(&x->addresses, all);
    uv_freeaddrinfo(all);
    if (!x->done)
        try_next(x);
    release(x);
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
    if (uv_getaddrinfo(x->l->uv, &x->resolve, on_resolved, host, service, &hints))
        return false;
    x->open++;
    return true;
}

/* libuv cuts off what is too long of a path without a word; the result comes from the loop, as that
 * of TCP. */
static bool connect_path(struct connecting *x, const char *path)
{
    _Static_assert(SOCKET_PATH_MAX < sizeof((struct sockaddr_un *)0)->sun_path, "a path fits");
    struct attempt *a = attempt(x, true);

    if (!a)
        return false;
    uv_pipe_connect(&a->request, &a->c->h.pipe, path, on_connected);
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
    uv_timer_init(l->uv, &x->timer);
    x->timer.data = x;
    uv_unref((uv_handle_t *)&x->timer);
    x->open++;
    l->open_connects++;
    return x;
}

/* The name may be looked up on another thread by now, which cannot be stopped: its end is waited
 * for, by the loop too when it closes (open_connects). uv_cancel does nothing to a lookup that is
 * over. */
static void cancel(struct connecting *x)
{
    uv_cancel((uv_req_t *)&x->resolve);
    finish(x);
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
