/* Calls on one connection, and trees of calls below one. */
#include "cost/cost.h"
#include "sim/composer.h"
#include "support/node.h"

/* A connection on which n calls may run in each direction. */
static void open_node(struct node *n, size_t calls)
{
    node_add(n);
    n->w->limits.connection_calls = (uint32_t)calls + 8;
    node_start(n);
}

static void request(struct wire *r, size_t i, const char *operation, const char *extra)
{
    char id[32];

    snprintf(id, sizeof id, "%07zu", i);
    wire_request_with(r, id, operation, "null", extra);
}

/* ---- requests -------------------------------------------------------------------------------- */

MEASURED static void measured_requests(struct node *n, size_t count, const char *extra)
{
    for (size_t i = 0; i < count; i++)
        request(n->r, i, "t/echo", extra);
    world_turn(n->w);
}

static void pipelined(size_t n)
{
    struct node node;

    open_node(&node, n);
    measured_requests(&node, n, "");
    must(node.r->count == n);
    node_fini(&node);
}

/* Taken over. */
static void forwarded(char *claim, bool kept)
{
    alk_connection_options o = {.size = sizeof o};
    struct node n;
    struct wire *plain;

    open_node(&n, 1);
    o.identity = identity_of("hub", "[]");
    o.kind = ALK_KIND_PEER | ALK_PEER_MAY_FORWARD;
    plain = n.r;
    n.r = wire_open(n.w, &o);
    alk_identity_unref(o.identity);
    measured_requests(&n, 1, claim);
    must(n.r->count == 1 && world_stats(n.w).discarded == !kept);
    wire_free(plain);
    node_fini(&n);
    free(claim);
}

#define CLAIM ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":["

static void forwarded_for(size_t n)
{
    forwarded(cost_list(CLAIM, "\"s:#\"", ",", n, "],\"resources\":{}}"), true);
}

static void forwarded_for_mixed(size_t n)
{
    char *half = cost_list(CLAIM, "\"s\"", ",", n, ",");

    forwarded(cost_list(half, "[0]", ",", n, "],\"resources\":{}}"), false);
    free(half);
}

/* ---- what ends together ---------------------------------------------------------------------- */

static int hold(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

MEASURED static void measured_death(struct node *n)
{
    alk_connection_lost(n->r->conn);
    world_turn(n->w);
}

static void connection_death(size_t n)
{
    struct asked *asked = calloc(n, sizeof *asked);
    struct node node;

    must(asked);
    node_add(&node);
    world_add(node.w, "t/hold", ALK_QUERY, hold, NULL);
    node.w->limits.connection_calls = (uint32_t)n;
    node_start(&node);
    for (size_t i = 0; i < n; i++) {
        request(node.r, i, "t/hold", "");
        ask(&asked[i], node.r->conn, "x/y", "null");
    }
    world_turn(node.w);
    measured_death(&node);
    for (size_t i = 0; i < n; i++) {
        must(asked[i].ends == 1);
        asked_free(&asked[i]);
    }
    must(world_stats(node.w).calls == 0);
    free(asked);
    node_fini(&node);
}

MEASURED static void measured_abort(struct composer *n)
{
    wire_abort(n->client, "root");
    world_turn(n->w);
}

static void abort_tree(size_t n)
{
    struct composer *c = composer_new();
    struct asked *asked = calloc(n, sizeof *asked);

    must(asked);
    world_add(c->w, "x/hold", ALK_QUERY, hold, NULL);
    composer_start(c, NULL);
    for (size_t i = 0; i < n; i++)
        nest(&asked[i], &c->root, "x/hold", "null", NULL);
    world_turn(c->w);
    measured_abort(c);
    for (size_t i = 0; i < n; i++) {
        must(asked[i].ends == 1);
        asked_free(&asked[i]);
    }
    free(asked);
    composer_free(c);
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static int emit_three(alk_call *call, void *ud)
{
    (void)ud;
    for (int i = 0; i < 3; i++)
        must(alk_call_emit(call, "[1,2,3]", 7) == ALK_OK);
    return ALK_OK;
}

/* What waited goes out by so many envelopes at a time, as a slow remote takes it. */
MEASURED static void measured_drain(struct node *n, long room)
{
    for (size_t sent = SIZE_MAX; sent != n->r->count;) {
        sent = n->r->count;
        n->r->room = room;
        alk_connection_writable(n->r->conn);
        world_turn(n->w);
    }
}

static void drain(size_t n, bool streams)
{
    struct node node;
    struct wire *plain;

    node_add(&node);
    world_add(node.w, "t/three", ALK_SUBSCRIPTION, emit_three, NULL);
    node.w->limits.connection_calls = (uint32_t)n;
    node_start(&node);
    plain = node.r;
    node.r = streams ? wire_open_streams(node.w, NULL) : wire_open(node.w, NULL);
    node.r->room = 0;
    for (size_t i = 0; i < n; i++) {
        char text[200];

        snprintf(text, sizeof text,
                 "{\"type\":\"call.requested\",\"id\":\"%07zu\",\"payload\":{\"operationId\":\"t/"
                 "three\"}}",
                 i);
        must(wire_feed_on(node.r, streams ? i : 0, text) == ALK_OK);
    }
    world_turn(node.w);
    measured_drain(&node, streams ? -1 : 8);
    must(node.r->count == 3 * n);
    wire_free(plain);
    node_fini(&node);
}

static void subscriptions(size_t n)
{
    drain(n, false);
}

static void subscriptions_on_streams(size_t n)
{
    drain(n, true);
}

const struct scenario cost_calls[] = {
    {"pipelined-requests", pipelined, 300},
    {"forwarded-for", forwarded_for, 1000},
    {"forwarded-for-mixed", forwarded_for_mixed, 20000},
    {"connection-death", connection_death, 200},
    {"abort-tree", abort_tree, 200},
    {"subscriptions", subscriptions, 200},
    {"subscriptions-on-streams", subscriptions_on_streams, 200},
    {NULL, NULL, 0},
};
