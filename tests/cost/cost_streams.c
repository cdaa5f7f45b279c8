/* Streams of one connection, and calls that wait for room on them. */
#include "cost/cost.h"
#include "sim/compose.h"
#include "support/node.h"

static int emit_three(alk_call *call, void *ud)
{
    (void)ud;
    for (int i = 0; i < 3; i++)
        must(alk_call_emit(call, "[1,2,3]", 7) == ALK_OK);
    return ALK_OK;
}

/* A world with t/three beside the usual operations, and room for so many calls and more. */
static void open_node(struct node *n, size_t calls, size_t queue_high)
{
    node_add(n);
    world_add(n->w, "t/three", ALK_SUBSCRIPTION, emit_three, NULL);
    n->w->limits.connection_calls = (uint32_t)calls + 8;
    if (queue_high)
        n->w->limits.queue_high = (uint32_t)queue_high;
    node_start(n);
}

static void request_on(struct wire *r, uint64_t stream, size_t id, const char *operation)
{
    char text[200];

    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%07zu\",\"payload\":{\"operationId\":\"%s\"}}",
             id, operation);
    must(wire_feed_on(r, stream, text) == ALK_OK);
}

/* ---- a link that takes nothing but what travels on stream 0 ---------------------------------- */

static int send_shared(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    size_t *sent = ud;

    (void)envelope;
    (void)len;
    *sent += !stream;
    return stream ? ALK_EAGAIN : ALK_OK;
}

static void closed(void *ud, int code)
{
    (void)ud;
    (void)code;
}

MEASURED static void measured_streams(struct world *w, struct wire *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        request_on(r, i + 1, i, "t/three");
    world_turn(w);
}

/* What is queued on one stream is found among all. */
static void streams_in(size_t n)
{
    struct node node;
    struct wire *streams;

    open_node(&node, n, 0);
    streams = wire_open_streams(node.w, NULL);
    streams->room = 0;
    measured_streams(node.w, streams, n);
    must(world_stats(node.w).calls == n && streams->count == 0);
    wire_free(streams);
    node_fini(&node);
}

MEASURED static void measured_shared(struct world *w, struct wire *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        request_on(r, 0, n + i, "t/echo");
        world_turn(w);
    }
}

/* Streams that are held back cost the others nothing. */
static void streams_blocked(size_t n)
{
    const alk_link link = {
        .size = sizeof link, .send = send_shared, .close = closed, .ud = (size_t[]){0}};
    alk_connection_options o = {.size = sizeof o};
    struct wire fake = {.room = 0};
    struct node node;

    open_node(&node, n, 0);
    must(alk_connection_open(&fake.conn, node.w->d, &link, &o) == ALK_OK);
    for (size_t i = 0; i < n; i++)
        request_on(&fake, i + 1, i, "t/three");
    world_turn(node.w);
    measured_shared(node.w, &fake, n);
    must(*(size_t *)link.ud == n);
    alk_connection_close(fake.conn, ALK_CLOSE_SHUTDOWN);
    world_turn(node.w);
    alk_connection_unref(fake.conn);
    node_fini(&node);
}

/* ---- waiting for room ------------------------------------------------------------------------ */

/* The remote reads one envelope at a time. */
MEASURED static void measured_reading(struct node *n, size_t envelopes)
{
    for (size_t i = 0; i < envelopes; i++) {
        n->r->room = 1;
        alk_connection_writable(n->r->conn);
        world_turn(n->w);
    }
}

/* Far more waits than half of queue_high all the time, and as many calls for room. */
static void calls_wait(size_t n)
{
    struct node node;

    open_node(&node, 4 * n, 100 * n);
    node.r->room = 0;
    for (size_t i = 0; i < 4 * n; i++)
        request_on(node.r, 0, i, "t/echo");
    world_turn(node.w);
    measured_reading(&node, n / 4);
    must(node.r->count == n / 4 && world_stats(node.w).calls > n);
    node.r->room = -1;
    alk_connection_writable(node.r->conn);
    world_turn(node.w);
    must(node.r->count == 4 * n && world_stats(node.w).calls == 0);
    node_fini(&node);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

MEASURED static void measured_subscriptions(struct world *a, struct world *b, alk_connection *to,
                                            struct asked *asked, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ask_stream(&asked[i], to, "t/three", "null");
        must(alk_call_pause(asked[i].call, 1) == ALK_OK);
    }
    world_settle(a, b);
}

MEASURED static void measured_resume(struct world *a, struct world *b, struct asked *asked,
                                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        must(alk_call_pause(asked[i].call, 0) == ALK_OK);
        world_turn(a);
        world_turn(b);
    }
}

/* So many streams that one end does not read, since the first value of each is too much for it. */
static void pair(size_t n, bool resume)
{
    struct world *a = world_new(), *b = world_new(), *both[] = {a, b};
    struct asked *asked = calloc(n, sizeof *asked);
    alk_connection *to, *from;

    must(asked);
    a->limits.queue_high = 1;
    b->limits.connection_calls = (uint32_t)n;
    world_add(b, "t/three", ALK_SUBSCRIPTION, emit_three, NULL);
    world_start(a);
    world_start(b);
    join(a, &(struct side){0}, &to, b, &(struct side){0}, &from);
    if (resume) {
        for (size_t i = 0; i < n; i++) {
            ask_stream(&asked[i], to, "t/three", "null");
            must(alk_call_pause(asked[i].call, 1) == ALK_OK);
        }
        world_settle(a, b);
        measured_resume(a, b, asked, n);
    } else {
        measured_subscriptions(a, b, to, asked, n);
    }
    for (size_t i = 0; i < n; i++) {
        must(alk_call_abort(asked[i].call) == ALK_OK);
        world_turn(a);
        must(asked[i].ends == 1);
        asked_free(&asked[i]);
    }
    alk_connection_close(to, ALK_CLOSE_SHUTDOWN);
    settle(both, 2);
    alk_connection_unref(to);
    alk_connection_unref(from);
    world_free(a);
    world_free(b);
    free(asked);
}

static void pair_paused(size_t n)
{
    pair(n, false);
}

static void pair_resumed(size_t n)
{
    pair(n, true);
}

const struct scenario cost_streams[] = {
    {"streams", streams_in, 400},
    {"streams-blocked", streams_blocked, 300},
    {"calls-wait-for-room", calls_wait, 800},
    {"pair-streams-paused", pair_paused, 400},
    {"pair-streams-resumed", pair_resumed, 300},
    {NULL, NULL, 0},
};
