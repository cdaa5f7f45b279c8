/* Each allocation fails in turn: call connections over WebSocket, in either role. What is sent
 * leaves in whole frames with whole envelopes in them, once and in order; what was refused for want
 * of memory does not leave, and what was taken does unless the session ends. */
#include "oom/oom.h"

#include "adapt/session.h"
#include "gateway/engine_limits.h"
#include "wire/ws.h"

#include <alknet/yyjson.h>

#define NOW UINT64_C(1000000000000)
#define MANY 40

/* ---- a session and its remote ---------------------------------------------------------------- */

static alk_call *held; /* the subscription of the test */

static int hold(alk_call *call, void *ud)
{
    (void)ud;
    must(!held);
    held = alk_call_ref(call);
    return ALK_OK;
}

struct rig {
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    struct mem mem;
    struct ws_pool pool;
    struct ws_limits limits;
    struct session s;
    struct engine *e;
    struct buf got; /* by the remote */
    bool woken, over, gone, stuck, close_frame;
    int taken[MANY], taken_count; /* numbers that were taken for sending */
    int heard, envelopes;
};

static void on_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct rig *)ud)->woken = true;
}

static void on_over(struct session *s, struct str why)
{
    struct rig *r = container_of(s, struct rig, s);

    (void)why;
    must(!r->over && !r->gone);
    r->over = true;
}

static void on_gone(struct session *s)
{
    struct rig *r = container_of(s, struct rig, s);

    must(r->over && !r->gone);
    r->gone = true;
}

static bool rig_open(struct rig *r, bool client)
{
    static alk_limits limits;
    alk_connection_options o = {.size = sizeof o};
    alk_node_options no;
    alk_operation op;

    memset(r, 0, sizeof *r);
    held = NULL;
    r->reg = alk_registry_new();
    alk_operation_init(&op, sizeof op);
    op.name = "t/stream";
    op.type = ALK_SUBSCRIPTION;
    op.handler = hold;
    must(r->reg && !alk_registry_add(r->reg, &op) && !alk_registry_freeze(r->reg));
    alk_limits_init(&limits, sizeof limits);
    limits.queue_high = limits.queue_max = 1 << 30;
    alk_node_options_init(&no, sizeof no);
    no.limits = &limits;
    must(!alk_node_new(&r->node, r->reg, &no) && !alk_dispatcher_new(&r->d, r->node));
    mem_init(&r->mem, NULL, NULL);
    buf_init(&r->got, &r->mem);
    must(buf_reserve(&r->got, 1 << 20));
    ws_pool_init(&r->pool, &r->mem);
    session_limits(r->node, &r->limits);
    r->s.d = r->d;
    r->s.client = client;
    r->s.on_over = on_over;
    r->s.on_gone = on_gone;
    must(!session_open(&r->s, &r->mem, &r->pool, &r->limits, &o, NULL));
    r->e = r->s.engine;
    r->e->wake = on_wake;
    r->e->wake_ud = r;
    return true;
}

static void run(struct rig *r)
{
    for (int i = 0; i < 100; i++) {
        uint64_t next = alk_dispatcher_turn(r->d, NOW);

        if (!r->stuck && r->e->out.len && r->e->closing != ENGINE_RESET) {
            must(r->got.len + r->e->out.len < 1 << 20);
            must(!buf_append(&r->got, buf_at(&r->e->out), r->e->out.len));
            buf_consume(&r->e->out, r->e->out.len);
            r->woken = true;
        }
        if (!r->woken && next > NOW)
            break;
        if (r->woken) {
            r->woken = false;
            r->e->ops->drained(r->e, NOW);
        }
    }
}

/* A whole envelope; its number, in output or input, comes behind the one before. */
static void heard(struct rig *r, const char *p, size_t n)
{
    yyjson_doc *doc = yyjson_read(p, n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *payload = yyjson_obj_get(root, "payload");
    yyjson_val *v = yyjson_obj_get(payload, r->s.client ? "input" : "output");

    must(doc && yyjson_obj_size(root) == 3 && yyjson_is_obj(payload));
    r->envelopes++;
    if (v) {
        must(r->heard < r->taken_count);
        must(yyjson_get_int(yyjson_arr_get_first(v)) == r->taken[r->heard++]);
    }
    yyjson_doc_free(doc);
}

static void read_frames(struct rig *r)
{
    uint8_t *p = (uint8_t *)r->got.data, *end = p + r->got.len;

    while (p < end) {
        uint8_t opcode = *p & 15;
        uint64_t n;
        int more;

        must(end - p >= 2 && (*p & 0xf0) == 0x80 && !r->close_frame);
        must(p[1] >> 7 == r->s.client);
        n = p[1] & 127;
        more = n == 126 ? 2 : n == 127 ? 8 : 0;
        p += 2;
        must(end - p >= more + 4 * r->s.client);
        if (more) {
            n = 0;
            for (int i = 0; i < more; i++)
                n = n << 8 | *p++;
            must(n >= (more == 2 ? 126 : 65536));
        }
        if (r->s.client) {
            for (size_t i = 0; i < n && p + 4 + i < end; i++)
                p[4 + i] ^= p[i & 3];
            p += 4;
        }
        must((uint64_t)(end - p) >= n);
        if (opcode == 2)
            heard(r, (char *)p, n);
        else
            must(opcode == 8 && (r->close_frame = true));
        p += n;
    }
}

static bool rig_close(struct rig *r, bool good)
{
    bool ended;

    disarm();
    r->stuck = false;
    run(r);
    ended = r->over;
    read_frames(r);
    must(ended || r->heard == r->taken_count);
    must(good || failed());
    r->e->ops->fini(r->e);
    must(r->over && r->gone);
    session_fini(&r->s);
    alk_call_unref(held);
    alk_dispatcher_free(r->d);
    buf_fini(&r->got);
    ws_pool_fini(&r->pool);
    must(r->mem.live == 0);
    alk_node_unref(r->node);
    alk_registry_unref(r->reg);
    return good && !ended;
}

/* Some are shorter and some longer than they look before they are written, around each border of a
 * frame's head. */
static size_t nth_size(int i)
{
    static const size_t sizes[] = {10,  46,  47,   48,    49,    50,    60,   120,
                                   126, 300, 3000, 65450, 65470, 65500, 65536};

    return sizes[(size_t)i % (sizeof sizes / sizeof sizes[0])];
}

static char text[70000];

static size_t numbered(int i)
{
    size_t n = nth_size(i), at = (size_t)snprintf(text, sizeof text, "[%d,\"", i);

    memset(text + at, 'x', n);
    memcpy(text + at + n, "\"]", 3);
    return at + n + 2;
}

/* ---- scenarios ------------------------------------------------------------------------------- */

/* At times the socket takes nothing, at times nothing waits. */
static bool streams(bool stuck)
{
    static const char request[] = "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{"
                                  "\"operationId\":\"t/stream\"}}";
    struct rig r;
    bool good = true;

    must(rig_open(&r, false));
    must(!alk_connection_feed(r.s.conn, 0, request, sizeof request - 1));
    run(&r);
    must(held);
    arm();
    for (int i = 0; i < 30; i++) {
        int rc = alk_call_emit(held, text, numbered(i));

        r.stuck = stuck && i % 8;
        if (rc == ALK_OK)
            r.taken[r.taken_count++] = i;
        good &= ok(rc == ALK_EENDED && failed() ? ALK_ENOMEM : rc);
        if (i % 3 == 2)
            run(&r);
    }
    return rig_close(&r, good);
}

SCENARIO(values_leave_whole_and_in_order)
{
    return streams(false);
}

SCENARIO(values_wait_for_the_socket_whole_and_in_order)
{
    return streams(true);
}

SCENARIO(requests_leave_whole_and_in_order_or_not_at_all)
{
    struct rig r;
    bool good = true;

    must(rig_open(&r, true));
    arm();
    for (int i = 0; i < 30; i++) {
        size_t n = numbered(i);
        int rc = alk_connection_call(r.s.conn, "x/y", 3, text, n, NULL, NULL);

        if (rc == ALK_OK)
            r.taken[r.taken_count++] = i;
        good &= ok_or_closed(rc);
        if (i % 4 == 3)
            run(&r);
    }
    return rig_close(&r, good);
}

/* Their length shows only when they have been written. */
SCENARIO(refusals_leave_whole_or_the_session_ends)
{
    struct rig r;
    bool good = true;

    must(rig_open(&r, false));
    arm();
    for (int i = 0; i < 30 && good; i++) {
        char request[1000];
        int n = snprintf(request, sizeof request,
                         "{\"type\":\"call.requested\",\"id\":\"%d\",\"payload\":{"
                         "\"operationId\":\"t/%0*d\"}}",
                         i, i * 8 + 1, i);
        int rc = alk_connection_feed(r.s.conn, 0, request, (size_t)n);

        must(!rc || failed());
        good &= !rc;
    }
    good = rig_close(&r, good);
    must(!good || r.envelopes == 30);
    return good;
}

/* As large as its memory, so that a longer head than was expected needs more. */
SCENARIO(an_envelope_whose_head_grows_leaves_or_is_undone)
{
    struct rig r;
    struct slot slot;
    bool good = true;
    int rc;

    must(rig_open(&r, true));
    must(!queue_begin(&r.s.conn->queue, 0, 0, &slot) && slot.direct);
    must(slot.out->cap - slot.out->len > 125);
    must(!buf_puts(slot.out, "{\"type\":\"call.error\",\"id\":\"1\",\"payload\":{\"message\":\""));
    while (slot.out->len + 3 < slot.out->cap)
        must(!buf_append(slot.out, "x", 1));
    must(!buf_append(slot.out, "\"}}", 3) && slot.out->len == slot.out->cap);
    arm();
    rc = queue_commit(&slot);
    good &= ok(rc);
    must(r.d->counts.metrics.ws_messages_out == (rc == ALK_OK));
    must(rc == ALK_OK || !r.e->out.len);
    good = rig_close(&r, good);
    must(r.envelopes == (rc == ALK_OK));
    return good;
}

MAIN("oom_session", values_leave_whole_and_in_order, values_wait_for_the_socket_whole_and_in_order,
     requests_leave_whole_and_in_order_or_not_at_all, refusals_leave_whole_or_the_session_ends,
     an_envelope_whose_head_grows_leaves_or_is_undone)
