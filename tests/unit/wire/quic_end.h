/* One end of a wire of QUIC (quic_wire.h): an endpoint of the engine, and what the users of its
 * connections were told, in order. Any of its allocations can fail. */
#ifndef ALK_TEST_QUIC_END_H
#define ALK_TEST_QUIC_END_H

#include "base/buf.h"
#include "base/list.h"
#include "support/must.h"
#include "wire/quic.h"
#include "wire/quic_tls.h"

#include <arpa/inet.h>
#include <check.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS 1000000ull
#define NEVER UINT64_MAX

struct wire;
struct peer;

/* What was told of one stream. */
struct heard {
    struct list link;
    uint64_t id;
    struct buf got; /* the frames, one behind the other */
    size_t frames, rooms;
    int ended, lost;
};

/* One connection, as its user sees it. */
struct peer {
    struct list link;
    struct end *end;
    struct quic_conn *c; /* NULL: over */
    struct list streams;
    int readies, overs;
    size_t more;
    int64_t code;
    uint64_t over_at;
    char fingerprint[ALK_TLS_FINGERPRINT], why[200], address[QUIC_ADDRESS_TEXT];
};

struct end {
    struct wire *w;
    struct quic *q; /* NULL: not open */
    struct mem mem;
    struct quic_limits limits;
    struct quic_address address, shown; /* shown: to the other side, by a NAT */
    struct list peers;
    bool refuse, deaf, woken, fail_on; /* fail_on: all allocations behind fail_at as well */
    uint32_t frame_limit;
    uint8_t mark;
    bool (*pass)(void *ud, const struct quic_datagram *d, unsigned mark, bool begins);
    /* What is done with a frame; NULL: it is kept. */
    int (*on_frame)(struct peer *p, struct heard *h, const char *data, size_t len);
    void (*on_over)(struct peer *p);
    struct quic_app app;
    long allocations, fail_at;
    size_t bytes, peak, sent, datagrams, marked;
};

/* ---- chance ---------------------------------------------------------------------------------- */

static uint64_t host_seed = 88172645463325252ull;

static inline uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static inline int host_random(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)(next_random(&host_seed) >> 24);
    return 0;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static inline struct quic_address address_of(uint32_t host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct quic_address a = {.len = sizeof in};

    in.sin_addr.s_addr = htonl(host);
    memcpy(a.bytes, &in, sizeof in);
    return a;
}

static inline bool same_address(const struct quic_address *a, const struct quic_address *b)
{
    return a->len == b->len && !memcmp(a->bytes, b->bytes, 8);
}

/* ---- what an end is told --------------------------------------------------------------------- */

static inline struct heard *peer_stream(struct peer *p, uint64_t id)
{
    struct heard *h;

    list_each(l, &p->streams)
    {
        h = container_of(l, struct heard, link);
        if (h->id == id)
            return h;
    }
    h = calloc(1, sizeof *h);
    h->id = id;
    buf_init(&h->got, &p->end->mem);
    list_init(&h->link);
    list_push(&p->streams, &h->link);
    return h;
}

static inline void peer_ready(void *ud, const char *fingerprint, uint64_t now)
{
    struct peer *p = ud;

    (void)now;
    must(!p->readies++ && !p->overs);
    snprintf(p->fingerprint, sizeof p->fingerprint, "%s", fingerprint);
}

static inline int keep_frame(struct peer *p, struct heard *h, const char *data, size_t len)
{
    (void)p;
    h->frames++;
    return buf_append(&h->got, data, len) ? QUIC_BROKEN : QUIC_TAKEN;
}

static inline int peer_frame(void *ud, uint64_t stream, const char *data, size_t len)
{
    struct peer *p = ud;
    struct heard *h = peer_stream(p, stream);

    must(p->readies == 1 && !p->overs && !h->ended && !h->lost);
    must(len && len <= p->end->frame_limit);
    return (p->end->on_frame ? p->end->on_frame : keep_frame)(p, h, data, len);
}

static inline uint32_t peer_limit(void *ud)
{
    return ((struct peer *)ud)->end->frame_limit;
}

static inline void peer_ended(void *ud, uint64_t stream)
{
    struct peer *p = ud;
    struct heard *h = peer_stream(p, stream);

    must(p->readies && !p->overs && !h->lost && !h->ended++);
}

static inline void peer_lost(void *ud, uint64_t stream)
{
    struct peer *p = ud;

    must(p->readies && !p->overs && !peer_stream(p, stream)->lost++);
}

static inline void peer_room(void *ud, uint64_t stream)
{
    struct peer *p = ud;

    must(p->readies && !p->overs);
    peer_stream(p, stream)->rooms++;
}

static inline void peer_streams(void *ud)
{
    struct peer *p = ud;

    must(p->readies && !p->overs);
    p->more++;
}

static inline void peer_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    struct peer *p = ud;

    must(!p->overs++ && *why);
    p->code = code;
    p->over_at = now;
    snprintf(p->why, sizeof p->why, "%s", why);
    if (p->end->on_over)
        p->end->on_over(p);
    p->c = NULL;
}

static const struct quic_events peer_events = {
    .ready = peer_ready,
    .frame = peer_frame,
    .limit = peer_limit,
    .ended = peer_ended,
    .lost = peer_lost,
    .room = peer_room,
    .streams = peer_streams,
    .over = peer_over,
};

static inline struct peer *peer_new(struct end *e, struct quic_conn *c)
{
    struct peer *p = calloc(1, sizeof *p);

    p->end = e;
    p->c = c;
    list_init(&p->streams);
    list_init(&p->link);
    list_push(&e->peers, &p->link);
    return p;
}

static inline void peer_free(struct peer *p)
{
    while (!list_empty(&p->streams)) {
        struct heard *h = container_of(p->streams.next, struct heard, link);

        list_del(&h->link);
        buf_fini(&h->got);
        free(h);
    }
    list_del(&p->link);
    free(p);
}

/* ---- an end ---------------------------------------------------------------------------------- */

static inline void *end_realloc(void *ud, void *p, size_t n)
{
    struct end *e = ud;

    if (n && (++e->allocations == e->fail_at || (e->fail_on && e->allocations > e->fail_at)))
        return NULL;
    if (p)
        e->bytes -= malloc_usable_size(p);
    if (!n) {
        free(p);
        return NULL;
    }
    p = realloc(p, n);
    e->bytes += malloc_usable_size(p);
    e->peak = e->bytes > e->peak ? e->bytes : e->peak;
    return p;
}

static inline bool end_accept(void *ud, struct quic_conn *c, const char *address,
                              const struct quic_events **events, void **conn_ud, uint64_t now)
{
    struct end *e = ud;
    struct peer *p;

    (void)now;
    if (e->refuse)
        return false;
    p = peer_new(e, c);
    snprintf(p->address, sizeof p->address, "%s", address);
    *events = &peer_events;
    *conn_ud = p;
    return true;
}

static inline void end_wake(void *ud)
{
    ((struct end *)ud)->woken = true;
}

static inline void end_init(struct end *e, struct wire *w, uint32_t host, uint16_t port)
{
    e->w = w;
    e->address = e->shown = address_of(host, port);
    e->frame_limit = 1u << 20;
    e->limits = (struct quic_limits){.handshakes = 64,
                                     .streams = 100,
                                     .stream_window = 256 * 1024,
                                     .window = 1024 * 1024,
                                     .handshake_timeout = 10000 * MS,
                                     .idle_timeout = 30000 * MS,
                                     .keep_alive = 0,
                                     .frame_timeout = 5000 * MS};
    list_init(&e->peers);
    mem_init(&e->mem, end_realloc, e);
}

/* tls NULL: it accepts nobody. */
static inline void end_open(struct end *e, alk_tls *tls)
{
    static struct host host;
    struct quic_options o = {.mem = &e->mem,
                             .host = &host,
                             .app = &e->app,
                             .limits = &e->limits,
                             .tls = tls,
                             .mark = e->mark};

    host.random = host_random;
    e->app = (struct quic_app){.accept = end_accept, .wake = end_wake, .pass = e->pass, .ud = e};
    e->q = quic_new(&o);
}

/* Everything is forgotten, as by a crash. */
static inline void end_close(struct end *e)
{
    quic_free(e->q);
    e->q = NULL;
    while (!list_empty(&e->peers)) {
        struct peer *p = container_of(e->peers.next, struct peer, link);

        must(p->overs == 1);
        peer_free(p);
    }
    ck_assert_uint_eq(e->mem.live, 0);
    ck_assert_uint_eq(e->bytes, 0);
}

#endif
