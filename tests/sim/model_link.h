/* A fake network for the model test: links between two nodes each, whose envelopes travel as framed bytes in queues, one per
 * stream and direction. The test moves as many bytes of whichever queue it likes, so streams overtake each other and frames
 * arrive in pieces. A queue has a capacity; a full one refuses, and says so when there is room again.
 *
 * Streams are changed on the way where the protocol allows it: a request on the shared stream may travel on another one, and
 * so do the answers to it; an abort may travel on a stream of its own and overtake its request. */
#ifndef TESTS_SIM_MODEL_LINK_H
#define TESTS_SIM_MODEL_LINK_H

#include "sim/compose.h"
#include "wire/frame.h"

#define EXTRA_STREAMS 3u
#define EXTRA_FIRST 1000u
#define ABORT_STREAM 2000u
#define OWN_FIRST 5000u
#define FRAME_MAX (1u << 20)

struct lane {
    uint64_t stream;
    struct buf bytes;
    bool paused, broken;
    struct frame_decoder decoder;
    struct end *to;
};

/* One side of a link; the lanes lead to it. */
struct end {
    struct net *net;
    int side, node;
    alk_connection *conn; /* a reference, as long as it is not over */
    bool open;            /* nobody on this side has closed or lost it */
    bool wants_room;
    struct lane **lanes;
    size_t count;
    uint64_t next_stream;
};

struct net {
    struct end ends[2];
    struct mem mem;
    bool with_streams, reroute;
    size_t capacity[2]; /* of the queues that lead to that side */
    unsigned epoch;     /* connections so far */
    uint64_t *random;
    void (*closed)(struct net *net, int side, void *ud);
    void *ud;
};

static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(next_random(state) % n);
}

static inline struct end *far_end(struct end *e)
{
    return &e->net->ends[!e->side];
}

static int on_link_frame(void *ud, const char *data, size_t len)
{
    struct lane *l = ud;

    return !l->to->open || alk_connection_feed(l->to->conn, l->stream, data, len);
}

static struct lane *lane_of(struct end *to, uint64_t stream)
{
    struct lane *l;

    for (size_t i = 0; i < to->count; i++) {
        if (to->lanes[i]->stream == stream)
            return to->lanes[i];
    }
    l = calloc(1, sizeof *l);
    to->lanes = realloc(to->lanes, (to->count + 1) * sizeof *to->lanes);
    ck_assert(l && to->lanes);
    l->stream = stream;
    l->to = to;
    buf_init(&l->bytes, &to->net->mem);
    frame_init(&l->decoder, &to->net->mem, FRAME_MAX, on_link_frame, l);
    to->lanes[to->count++] = l;
    return l;
}

static void lane_drop(struct end *to, size_t i)
{
    struct lane *l = to->lanes[i];

    buf_fini(&l->bytes);
    frame_fini(&l->decoder);
    free(l);
    to->lanes[i] = to->lanes[--to->count];
}

static bool lane_idle(const struct lane *l)
{
    return !l->bytes.len && !l->decoder.head_have && !l->paused;
}

static void lanes_tidy(struct net *n)
{
    for (int side = 0; side < 2; side++) {
        for (size_t i = n->ends[side].count; i--;) {
            if (lane_idle(n->ends[side].lanes[i]))
                lane_drop(&n->ends[side], i);
        }
    }
}

static uint64_t route(struct net *n, uint64_t stream, const char *envelope)
{
    if (!n->reroute || stream >= OWN_FIRST)
        return stream;
    if (!strncmp(envelope, "{\"type\":\"call.requested\"", 24))
        return stream ? stream : EXTRA_FIRST + below(n->random, EXTRA_STREAMS);
    if (!strncmp(envelope, "{\"type\":\"call.aborted\"", 22) && below(n->random, 2))
        return ABORT_STREAM;
    return stream;
}

static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct end *from = ud, *to = far_end(from);
    struct lane *l;
    uint8_t head[FRAME_HEAD];

    if (!to->open)
        return ALK_OK; /* into the void */
    l = lane_of(to, route(from->net, stream, envelope));
    if (l->bytes.len > from->net->capacity[to->side]) {
        from->wants_room = true;
        return ALK_EAGAIN;
    }
    frame_encode(head, len);
    ck_assert(!buf_append(&l->bytes, head, sizeof head) && !buf_append(&l->bytes, envelope, len));
    return ALK_OK;
}

static void link_pause(void *ud, uint64_t stream, int paused)
{
    lane_of(ud, stream)->paused = paused != 0;
}

static uint64_t link_open_stream(void *ud)
{
    struct end *e = ud;

    return OWN_FIRST + 2 * e->next_stream++ + (uint64_t)e->side;
}

static void link_closed(struct end *e)
{
    e->open = false;
    while (e->count)
        lane_drop(e, e->count - 1);
    e->net->closed(e->net, e->side, e->net->ud);
}

static void link_close(void *ud, int code)
{
    (void)code;
    link_closed(ud);
}

/* What has been sent is lost. */
static void link_lose(struct end *e)
{
    alk_connection *c = e->conn;

    link_closed(e);
    alk_connection_lost(c);
}

/* Moves up to n bytes; how many it moved. */
static size_t link_move(struct end *to, struct lane *l, size_t n)
{
    struct end *from = far_end(to);
    char piece[4096];

    if (n > l->bytes.len)
        n = l->bytes.len;
    if (n > sizeof piece)
        n = sizeof piece;
    if (!n || l->paused)
        return 0;
    memcpy(piece, buf_at(&l->bytes), n);
    buf_consume(&l->bytes, n);
    if (!l->broken && frame_feed(&l->decoder, piece, n))
        l->broken = true;
    if (from->wants_room && from->open) {
        from->wants_room = false;
        alk_connection_writable(from->conn);
    }
    return n;
}

static void link_open(struct net *n, alk_dispatcher *const d[2], const char *const names[2],
                      const alk_operation *ops, size_t op_count)
{
    n->epoch++;
    for (int side = 0; side < 2; side++) {
        alk_link link = {
            .size = sizeof link, .send = link_send, .close = link_close, .ud = &n->ends[side]};
        alk_connection_options o;
        struct end *e = &n->ends[side];

        if (n->with_streams) {
            link.pause = link_pause;
            link.open_stream = link_open_stream;
        }
        side_options(&o, &(struct side){.id = names[!side], .kind = ALK_KIND_PEER});
        e->wants_room = false;
        ck_assert_int_eq(alk_connection_open(&e->conn, d[side], &link, &o), ALK_OK);
        alk_identity_unref(o.identity);
        e->open = true;
        ck_assert_int_eq(alk_connection_register_imported(e->conn, ops, op_count), ALK_OK);
    }
}

#endif
