/* A bare connection (support/quic_raw.h) on the network of quic_wire.h: at an address of its own,
 * with timers of its own. */
#ifndef ALK_TEST_QUIC_RAW_WIRE_H
#define ALK_TEST_QUIC_RAW_WIRE_H

#include "quic_wire.h"
#include "support/quic_raw.h"

#define RAW_HOST 0x0b000003u
#define KIB 1024u
#define MIB (1024u * KIB)

static const struct host raw_host = {.random = host_random};

static inline void raw_flush(struct wire *w, struct raw *r)
{
    uint8_t buf[1252];
    size_t n;

    while ((n = raw_pull(r, buf, sizeof buf, w->now)))
        wire_put(w, &r->local, &r->remote, 0, buf, n, w->now + w->delay);
}

static inline void raw_came(struct wire *w, const struct packet *p)
{
    struct raw *r = w->ud;

    if (!same_address(&p->to, &r->local))
        return;
    raw_feed(r, p->data, p->len, w->now);
    raw_flush(w, r);
}

static inline struct raw *raw_of_wire(struct wire *w)
{
    struct quic_address local = address_of(RAW_HOST, 6000);
    struct raw *r = raw_new(&raw_host, &local, &w->server.address);

    w->ud = r;
    w->nobody = raw_came;
    return r;
}

static inline void raw_run(struct wire *w, struct raw *r, uint64_t ns)
{
    uint64_t until = w->now + ns, at;

    for (;;) {
        raw_flush(w, r);
        at = r->over ? NEVER : ngtcp2_conn_get_expiry(r->ng);
        if (wire_step(w, at < until ? at : until))
            continue;
        if (at > until)
            return;
        w->now = at > w->now ? at : w->now;
        if (ngtcp2_conn_handle_expiry(r->ng, w->now))
            r->over = true;
    }
}

static inline void raw_begin(struct wire *w, struct raw *r)
{
    ck_assert_int_eq(raw_dial(r, keys.client_tls, w->now), 0);
}

/* The handshake is over on both sides. */
static inline struct raw *raw_connected(struct wire *w)
{
    struct raw *r = raw_of_wire(w);

    raw_begin(w, r);
    raw_run(w, r, 100 * MS);
    ck_assert(r->confirmed && !r->over);
    w->far = wire_far(w);
    ck_assert_int_eq(w->far->readies, 1);
    return r;
}

/* A frame. */
static const uint8_t hello[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};

static inline struct wire *raw_wire(struct raw **r)
{
    struct wire *w = wire_new();

    wire_open(w);
    *r = raw_connected(w);
    return w;
}

static inline void raw_end(struct wire *w, struct raw *r)
{
    raw_free(r);
    w->nobody = NULL;
    wire_free(w);
}

static inline struct heard *heard(struct wire *w, int64_t id)
{
    return peer_stream(w->far, (uint64_t)id);
}

static inline char *pattern(size_t n)
{
    char *p = malloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 31 + i / 8191);
    return p;
}

#endif
