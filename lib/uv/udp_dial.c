/* Connects by QUIC for whoever dials (struct transport): looks the name up, anew each time, and
 * tries its addresses, the next one a while after the one before or as soon as that has failed
 * (RFC 8305). UDP says nothing of success, so an attempt has it when its handshake is confirmed;
 * the first that has is handed on, and the others are closed. */
#include "uv/addresses.h"
#include "uv/udp.h"

#include "wire/tls.h"

#include <stdio.h>
#include <string.h>

struct attempt {
    struct quic_connecting *x;
    struct udp *u;
    struct quic_conn *c; /* NULL: not begun, or over */
};

struct quic_connecting {
    struct alk_loop *l;
    const struct quic_connect_events *events; /* NULL: nobody waits any more */
    void *ud;
    uv_getaddrinfo_t resolve;
    uv_timer_t timer;
    struct addresses addresses;
    struct attempt attempts[ADDRESSES_MAX];
    unsigned begun, alive, handles;
    alk_tls *tls;
    bool resolving, done, any;
    char pin[ALK_TLS_FINGERPRINT];
    char host[256];
    char why[200];
};

/* The last of its handles, attempts and lookups frees it. */
static void release(struct quic_connecting *x)
{
    struct alk_loop *l = x->l;

    if (!x->done || x->resolving || x->handles || x->alive)
        return;
    alk_tls_unref(x->tls);
    mem_free(&l->mem, x);
    l->open_connects--;
    loop_check_end(l);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct quic_connecting *x = h->data;

    x->handles--;
    release(x);
}

/* Nothing more is begun, and what was begun and has not been handed on is closed. */
static void finish(struct quic_connecting *x)
{
    if (x->done)
        return;
    x->done = true;
    x->events = NULL;
    for (unsigned i = 0; i < x->begun; i++) {
        if (x->attempts[i].c)
            quic_close(x->attempts[i].c, 0, "");
        if (x->attempts[i].u)
            udp_on_refused(x->attempts[i].u, NULL, NULL);
    }
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

static void failed(struct quic_connecting *x)
{
    const struct quic_connect_events *events = x->events;

    if (x->done)
        return;
    x->events = NULL;
    finish(x);
    if (events)
        events->failed(x->ud, x->why);
}

static void try_next(struct quic_connecting *x);

static void attempt_over(struct attempt *a, const char *why)
{
    struct quic_connecting *x = a->x;

    a->c = NULL;
    a->u = NULL;
    x->alive--;
    if (!x->done) {
        snprintf(x->why, sizeof x->why, "%s", why);
        try_next(x);
    }
    release(x);
}

static void on_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    (void)now;
    (void)code;
    attempt_over(ud, why);
}

/* Whoever gets it has events of his own from then on, so this attempt is over. */
static void on_ready(void *ud, const char *fingerprint, uint64_t now)
{
    struct attempt *a = ud;
    struct quic_connecting *x = a->x;
    const struct quic_connect_events *events = x->events;
    struct quic_conn *c = a->c;

    if (!events)
        return;
    x->events = NULL;
    if (!events->connected(x->ud, c, fingerprint, now)) {
        finish(x);
        return;
    }
    udp_on_refused(a->u, NULL, NULL);
    a->c = NULL;
    a->u = NULL;
    x->alive--;
    finish(x);
}

static void on_refused(void *ud, int rc)
{
    struct attempt *a = ud;

    snprintf(a->x->why, sizeof a->x->why, "%s", uv_strerror(rc));
    if (a->c)
        quic_drop(a->c, a->x->why);
}

static bool begin(struct quic_connecting *x, const struct sockaddr *to)
{
    static const struct quic_events events = {.ready = on_ready, .over = on_over};
    struct attempt *a = &x->attempts[x->begun];
    struct quic_address local, remote;
    struct quic_target target = {.local = &local,
                                 .remote = &remote,
                                 .host = x->host,
                                 .pin = *x->pin ? x->pin : NULL,
                                 .any = x->any,
                                 .tls = x->tls};
    int rc;

    a->x = x;
    a->u = udp_connect(x->l, to, &rc);
    if (!a->u) {
        snprintf(x->why, sizeof x->why, "%s", uv_strerror(rc));
        return false;
    }
    udp_addresses(a->u, &local, &remote);
    a->c = quic_connect(udp_quic(a->u), &target, &events, a, uv_hrtime());
    if (!a->c) {
        a->u = NULL; /* without a connection it closes itself */
        snprintf(x->why, sizeof x->why, "out of memory");
        return false;
    }
    udp_on_refused(a->u, on_refused, a);
    x->begun++;
    x->alive++;
    return true;
}

static void on_timer(uv_timer_t *t)
{
    try_next(t->data);
}

static void try_next(struct quic_connecting *x)
{
    const struct sockaddr *to;

    while (!x->done && x->l->drain < DRAIN_WAIT && (to = addresses_next(&x->addresses))) {
        if (begin(x, to)) {
            uv_timer_start(&x->timer, on_timer, ADDRESS_NEXT_MS, 0);
            return;
        }
    }
    if (!x->alive)
        failed(x);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *all)
{
    struct quic_connecting *x = req->data;

    x->resolving = false;
    addresses_take(&x->addresses, all);
    uv_freeaddrinfo(all);
    snprintf(x->why, sizeof x->why, "%s", uv_strerror(status ? status : UV_EAI_NODATA));
    if (!x->done)
        try_next(x);
    release(x);
}

static struct quic_connecting *start(struct transport *t, const struct destination *to,
                                     const char *pin, alk_tls *tls,
                                     const struct quic_connect_events *events, void *ud)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                          .ai_socktype = SOCK_DGRAM,
                                          .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct alk_loop *l = container_of(t, struct alk_loop, transport);
    struct quic_connecting *x = mem_zalloc(&l->mem, sizeof *x);
    char service[8];

    if (!x)
        return NULL;
    x->l = l;
    x->events = events;
    x->ud = ud;
    x->tls = alk_tls_ref(tls);
    pin = pin ? pin : tls_pin(tls);
    x->any = !pin && tls_insecure(tls);
    snprintf(x->pin, sizeof x->pin, "%s", pin ? pin : "");
    snprintf(x->host, sizeof x->host, "%s", to->host);
    snprintf(service, sizeof service, "%u", to->port % 65536);
    x->resolve.data = x;
    if (uv_getaddrinfo(l->uv, &x->resolve, on_resolved, to->host, service, &hints)) {
        alk_tls_unref(x->tls);
        mem_free(&l->mem, x);
        return NULL;
    }
    uv_timer_init(l->uv, &x->timer);
    x->timer.data = x;
    uv_unref((uv_handle_t *)&x->timer);
    x->handles = 1;
    x->resolving = true;
    l->open_connects++;
    return x;
}

static void cancel(struct quic_connecting *x)
{
    x->events = NULL;
    if (x->resolving)
        uv_cancel((uv_req_t *)&x->resolve);
    finish(x);
}

void udp_dial_init(struct alk_loop *l)
{
    l->transport.connect_quic = start;
    l->transport.cancel_quic = cancel;
}
