/* A framed session on a fake wire: the test is the transport and the remote. It feeds bytes in
 * whatever cuts it likes, takes the output unless the wire is stuck, and moves the clock; what the
 * session sent is read frame by frame. */
#ifndef TESTS_UNIT_ADAPT_FRAMED_RIG_H
#define TESTS_UNIT_ADAPT_FRAMED_RIG_H

#include "adapt/framed.h"
#include "support/node.h"
#include "support/suite.h"
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>

struct framed_rig {
    struct node n; /* its world; r is not used */
    struct memory memory;
    struct mem mem;
    struct session s;
    struct engine *e;
    struct buf got; /* by the remote */
    size_t cut;     /* bytes of one feed; 0: as they come */
    bool stuck, woken, over, gone, client;
    int overs;
};

static inline void framed_rig_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct framed_rig *)ud)->woken = true;
}

static inline void framed_rig_over(struct session *s, struct str why)
{
    struct framed_rig *r = container_of(s, struct framed_rig, s);

    (void)why;
    must(!r->gone && s->code && !s->conn->running.count && !s->conn->pending.count);
    r->over = true;
    r->overs++;
}

static inline void framed_rig_gone(struct session *s)
{
    struct framed_rig *r = container_of(s, struct framed_rig, s);

    must(r->over && !r->gone);
    r->gone = true;
}

/* Limits and operations can be changed before. */
static inline void framed_rig_prepare(struct framed_rig *r)
{
    memset(r, 0, sizeof *r);
    node_add(&r->n);
}

static inline int framed_rig_open(struct framed_rig *r, const char *identity)
{
    alk_identity *who = identity ? identity_of(identity, "[]") : NULL;
    struct credential *by = NULL;
    alk_connection_options o = {.size = sizeof o};
    int rc;

    mem_init(&r->mem, memory_realloc, &r->memory);
    buf_init(&r->got, &r->n.w->mem);
    if (who)
        must((by = credential_known(r->n.w->d, PROOF_VOUCHED, STR_NONE, who, ALK_KIND_PEER)));
    alk_identity_unref(who);
    o.remote = "192.0.2.1";
    r->s.d = r->n.w->d;
    r->s.client = r->client;
    r->s.on_over = framed_rig_over;
    r->s.on_gone = framed_rig_gone;
    rc = framed_open(&r->s, &r->mem, &o, by);
    credential_unref(by);
    if (rc)
        return rc;
    r->e = r->s.engine;
    r->e->wake = framed_rig_wake;
    r->e->wake_ud = r;
    return rc;
}

static inline void framed_rig_start(struct framed_rig *r, const char *identity)
{
    world_start(r->n.w);
    ck_assert_int_eq(framed_rig_open(r, identity), ALK_OK);
}

static inline void framed_rig_init(struct framed_rig *r, const char *identity)
{
    framed_rig_prepare(r);
    framed_rig_start(r, identity);
}

/* Turns of the loop, until nothing is to be done: as lib/uv does it, a reset aside. */
static inline void framed_rig_run(struct framed_rig *r)
{
    for (int i = 0; i < 1000; i++) {
        uint64_t next = alk_dispatcher_turn(r->n.w->d, r->n.w->now);

        if (!r->stuck && r->e->out.len && r->e->closing != ENGINE_RESET) {
            must(!buf_append(&r->got, buf_at(&r->e->out), r->e->out.len));
            buf_consume(&r->e->out, r->e->out.len);
            r->woken = true;
        }
        if (!r->woken && next > r->n.w->now)
            return;
        r->woken = false;
        r->e->ops->drained(r->e, r->n.w->now);
    }
    ck_abort_msg("it never rests");
}

static inline void framed_rig_advance(struct framed_rig *r, uint64_t ms)
{
    r->n.w->now += ms * MS;
    if (r->e->deadline && r->e->deadline <= r->n.w->now) {
        r->e->ops->timeout(r->e, r->n.w->now);
        must(!r->e->deadline || r->e->deadline > r->n.w->now || r->e->closing == ENGINE_RESET);
    }
    framed_rig_run(r);
}

/* A copy of its own, so that a byte read behind it is seen. */
static inline void framed_rig_piece(struct framed_rig *r, const char *data, size_t n)
{
    char *copy = malloc(n);

    must(copy && r->e->reading);
    memcpy(copy, data, n);
    r->e->ops->feed(r->e, copy, n, r->n.w->now);
    free(copy);
}

/* Bytes of the remote, as far as they are read; returns how many. */
static inline size_t framed_rig_bytes(struct framed_rig *r, const void *data, size_t n)
{
    size_t at = 0, step;

    for (; at < n && r->e->reading; at += step) {
        step = r->cut && r->cut < n - at ? r->cut : n - at;
        framed_rig_piece(r, (const char *)data + at, step);
        framed_rig_run(r);
    }
    return at;
}

/* A frame with these bytes in it. */
static inline void framed_rig_frame(struct framed_rig *r, const char *data, size_t n)
{
    char *frame = malloc(FRAME_HEAD + n);

    must(frame);
    frame_encode((uint8_t *)frame, n);
    memcpy(frame + FRAME_HEAD, data, n);
    framed_rig_bytes(r, frame, FRAME_HEAD + n);
    free(frame);
}

static inline void framed_rig_say(struct framed_rig *r, const char *envelope)
{
    framed_rig_frame(r, envelope, strlen(envelope));
}

static inline size_t framed_rig_next_size(const struct framed_rig *r)
{
    const uint8_t *p = (const uint8_t *)r->got.data + r->got.head;

    return r->got.len < FRAME_HEAD ? 0 : (size_t)p[0] << 24 | (size_t)p[1] << 16 | p[2] << 8 | p[3];
}

/* The next envelope that was sent, valid until the next call; NULL: there is none. */
static inline const char *framed_rig_next(struct framed_rig *r)
{
    static char *text;
    size_t n;

    framed_rig_run(r);
    free(text);
    text = NULL;
    if (!r->got.len)
        return NULL;
    n = framed_rig_next_size(r);
    must(n && r->got.len >= FRAME_HEAD + n);
    must((text = malloc(n + 1)));
    memcpy(text, buf_at(&r->got) + FRAME_HEAD, n);
    text[n] = 0;
    buf_consume(&r->got, FRAME_HEAD + n);
    return text;
}

#define framed_rig_expect(r, text)                                                                 \
    do {                                                                                           \
        const char *next_ = framed_rig_next(r);                                                    \
        ck_assert_ptr_nonnull(next_);                                                              \
        ck_assert_str_eq(next_, text);                                                             \
    } while (0)

/* The stream goes, and all memory comes back. */
static inline void framed_rig_fini(struct framed_rig *r)
{
    r->e->ops->fini(r->e);
    ck_assert(r->over && r->gone);
    ck_assert_int_eq(r->overs, 1);
    session_fini(&r->s);
    ck_assert_uint_eq(r->mem.live, 0);
    ck_assert_uint_eq(r->memory.live, 0);
    world_turn(r->n.w);
    served_free(&r->n.query);
    served_free(&r->n.stream);
    world_turn(r->n.w);
    ck_assert_uint_eq(world_stats(r->n.w).message_bytes, 0);
    ck_assert_uint_eq(world_stats(r->n.w).connections, 0);
    buf_fini(&r->got);
    world_free(r->n.w);
}

#endif
