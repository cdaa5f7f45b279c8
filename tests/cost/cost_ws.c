/* WebSocket frames, and the gateway's batch. */
#include "cost/cost.h"
#include "unit/wire/ws_wire.h"
#include "wire/transport.h"

#include <alknet/gateway.h>
#include <alknet/yyjson.h>

/* ---- WebSocket ------------------------------------------------------------------------------- */

MEASURED static void measured_feed(struct ws_wire *w, const char *data, size_t len)
{
    ws_feed(w, data, len);
}

/* n frames of a client: the first with one byte, the last with another, between them a third.
 * Masked with zeros. */
static void frames(size_t n, int first, int between, int last, size_t piece)
{
    struct ws_wire *w = ws_wire_new(false);
    char *data = malloc(n * 10), *p = data;

    must(data);
    for (size_t i = 0; i < n; i++, p += 10) {
        memset(p, 0, 6);
        p[0] = (char)(i == n - 1 ? last : i ? between : first);
        p[1] = (char)0x84;
        memcpy(p + 6, "abcd", 4);
    }
    w->limits.fragments = (uint32_t)n;
    w->limits.controls = (uint32_t)n;
    w->cut = piece;
    ws_wire_open(w);
    measured_feed(w, data, n * 10);
    must(w->messages == (int)(first & FIN ? n : 1));
    ws_we_close(w, WS_NORMAL, "");
    ws_wire_free(w);
    free(data);
}

static void ws_fragments(size_t n)
{
    frames(n, TEXT, CONT, FIN | CONT, 0);
}

static void ws_fragments_in_pieces(size_t n)
{
    frames(n, TEXT, CONT, FIN | CONT, 3);
}

static void ws_messages(size_t n)
{
    frames(n, FIN | TEXT, FIN | TEXT, FIN | TEXT, 0);
}

/* ---- a batch --------------------------------------------------------------------------------- */

struct server {
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_gateway *g;
    struct engine *e;
    struct mem mem;
    uint64_t now;
    bool woken;
    size_t got;
};

static int echo(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_output_yyjson(call, alk_value_yyjson(alk_call_input(call)));
}

static void on_wake(struct engine *e, void *ud)
{
    struct server *s = ud;

    (void)e;
    s->woken = true;
}

static void server_open(struct server *s, size_t batch)
{
    const struct peer_info peer = {.address = "127.0.0.1", .local = "127.0.0.1"};
    alk_gateway_options go;
    alk_node_options no;
    alk_limits limits;
    alk_operation op;

    memset(s, 0, sizeof *s);
    s->now = UINT64_C(1000000000000);
    mem_init(&s->mem, NULL, NULL);
    s->reg = alk_registry_new();
    alk_operation_init(&op, sizeof op);
    op.name = "t/echo";
    op.handler = echo;
    must(!alk_registry_add(s->reg, &op) && !alk_registry_freeze(s->reg));
    alk_limits_init(&limits, sizeof limits);
    limits.batch = (uint32_t)batch;
    alk_node_options_init(&no, sizeof no);
    no.limits = &limits;
    alk_gateway_options_init(&go, sizeof go);
    must(!alk_node_new(&s->node, s->reg, &no) && !alk_dispatcher_new(&s->d, s->node) &&
         !alk_gateway_new(&s->g, s->d, &go, NULL, 0));
    s->e = gateway_service(s->g)->accept(gateway_service(s->g), &s->mem, &peer, s->now);
    must(s->e);
    s->e->wake = on_wake;
    s->e->wake_ud = s;
}

static void server_close(struct server *s)
{
    s->e->ops->fini(s->e);
    alk_dispatcher_turn(s->d, s->now);
    alk_gateway_free(s->g);
    alk_dispatcher_free(s->d);
    alk_node_unref(s->node);
    alk_registry_unref(s->reg);
    must(s->mem.live == 0);
}

MEASURED static void measured_batch(struct server *s, const char *request)
{
    s->e->ops->feed(s->e, request, strlen(request), s->now);
    while (s->e->successor)
        s->e = engine_succeed(s->e);
    do {
        s->woken = false;
        alk_dispatcher_turn(s->d, s->now);
        s->got += s->e->out.len;
        buf_consume(&s->e->out, s->e->out.len);
        s->e->ops->drained(s->e, s->now);
    } while (s->woken || s->e->out.len || !s->got);
}

static void batch(size_t n)
{
    char *body = cost_list("[", "{\"operation\":\"t/echo\",\"input\":{\"a\":\"#\"}}", ",", n, "]"),
         *request;
    char head[200];
    struct server s;

    snprintf(head, sizeof head,
             "POST /batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
             "application/json\r\nContent-Length: %zu\r\n\r\n",
             strlen(body));
    request = cost_list(head, "", "", 0, body);
    server_open(&s, n);
    measured_batch(&s, request);
    must(s.got > 20 * n);
    server_close(&s);
    free(body);
    free(request);
}

const struct scenario cost_ws[] = {
    {"ws-fragments", ws_fragments, 1000},
    {"ws-fragments-in-pieces", ws_fragments_in_pieces, 500},
    {"ws-messages", ws_messages, 1000},
    {"batch", batch, 64},
    {NULL, NULL, 0},
};
