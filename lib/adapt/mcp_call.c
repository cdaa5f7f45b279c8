/* tools/call and tools/list: each is a call of an operation, which is started, let in, counted and
 * logged as those of other routes. What comes of it is a result in any case; only a tool that is not
 * there is an error.
 *
 * A call that takes long, or is a subscription, tells of its progress where the client has given a
 * token for that: clients give up on one that says nothing. */
#include "adapt/mcp_serve.h"

#include "base/json.h"
#include "core/connection.h"
#include "core/fault.h"
#include "core/resolve.h"

#include <stdio.h>
#include <string.h>

/* How many values of a subscription are wanted. */
#define META_VALUES "io.alknet/values"
#define TAKEN_AT_ONCE 256u /* values of a stream: then it is others' turn */

/* ---- sinks ----------------------------------------------------------------------------------- */

static void beat(struct timer *t, uint64_t now);

static void beat_later(struct mcp *x)
{
    struct alk_dispatcher *d = x->r->g->d;

    timer_set(&d->schedule, &x->r->heartbeat, d->now + LIMIT(d->node, heartbeat_ms) * MILLI);
}

/* A client that is behind needs no sign of life. To write may end the request. */
static void beat(struct timer *t, uint64_t now)
{
    struct alk_request *r = container_of(t, struct alk_request, heartbeat);

    (void)now;
    if (!r->x || r->ended)
        return;
    r->refs++;
    if (!r->started || !r->x->ops->queued(r->x))
        mcp_answer_progress(r->mcp, STR_NONE);
    if (r->x && !r->ended)
        beat_later(r->mcp);
    request_unref(r);
}

/* Where somebody wants to know that it goes on. */
static void begin_beats(struct mcp *x)
{
    if (!x->token.p || !mcp_answerable(x))
        return;
    timer_init(&x->r->heartbeat, beat);
    beat_later(x);
}

static void started(alk_call *c)
{
    begin_beats(c->sink_ud);
}

static int value(alk_call *c, const char *text, size_t len, bool final)
{
    struct mcp *x = c->sink_ud;

    (void) final;
    c->values++;
    if (mcp_answerable(x))
        mcp_answer_value(x, c->op, text, len);
    return ALK_OK;
}

void mcp_call_over(alk_call *c, struct mcp *x)
{
    struct alk_request *r = x->r;

    c->sink_ud = NULL;
    timer_clear(&r->g->d->schedule, &r->heartbeat);
    if (r->mcp == x)
        mcp_close(r);
    if (r->call)
        alk_call_unref(r->call);
    r->call = NULL;
    request_unref(r);
}

static void no_such_tool(struct mcp *x)
{
    mcp_answer_error(x, 200, MCP_INVALID_PARAMS, NULL, "there is no such tool");
}

static void end_fault(struct mcp *x, const alk_call *c)
{
    const alk_fault *f = c->fault.code ? &c->fault : &fault_internal;

    if (c->why == ALK_END_ABORTED)
        mcp_answer_error(x, 200, MCP_INTERNAL, NULL, "cancelled");
    else
        mcp_answer_fault(x, f);
}

static void end(alk_call *c)
{
    struct mcp *x = c->sink_ud;

    if (mcp_answerable(x))
        end_fault(x, c);
    mcp_call_over(c, x);
}

static void answer_last(struct mcp *x, const struct operation *op)
{
    if (x->last.len)
        mcp_answer_value(x, op, buf_at(&x->last), x->last.len);
    else
        mcp_answer_value(x, op, "null", 4);
}

/* As many values as were asked for have come. The call is ended from the turn: this may be inside
 * of its handler. */
static void enough(struct alk_request *r)
{
    alk_call *c = alk_call_ref(r->call);

    answer_last(r->mcp, c->op);
    if (!call_ended(c))
        call_end(c, ALK_END_ABORTED, NULL);
    alk_call_unref(c);
}

static void on_turn(struct task *t)
{
    struct alk_request *r = container_of(t, struct alk_request, task);

    if (!r->x || r->ended)
        return;
    if (r->mcp->values == r->mcp->wanted) {
        enough(r);
        return;
    }
    r->mcp->taken = 0;
    call_make_room(r->call);
}

/* Nothing but the wire would hold a handler back, and what is not shown does not go there. */
static int stream_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct mcp *x = c->sink_ud;
    struct alk_request *r = x->r;

    (void) final;
    if (!mcp_answerable(x))
        return ALK_OK;
    if (x->values == x->wanted || x->taken == TAKEN_AT_ONCE ||
        (r->started && r->x->ops->queued(r->x) > r->g->limits.write_high))
        return ALK_EAGAIN;
    buf_truncate(&x->last, 0);
    if (buf_append(&x->last, text, len))
        return ALK_ENOMEM;
    c->values++;
    x->values++;
    x->taken++;
    if (x->token.p)
        mcp_answer_progress(x, (struct str){buf_at(&x->last), x->last.len});
    if (!call_ended(c) && (x->values == x->wanted || x->taken == TAKEN_AT_ONCE)) {
        task_init(&r->task, on_turn);
        task_post(&r->g->d->schedule, &r->task);
    }
    return ALK_OK;
}

static void stream_end(alk_call *c)
{
    struct mcp *x = c->sink_ud;

    if (mcp_answerable(x) && (c->why == ALK_END_OK || x->values == x->wanted))
        answer_last(x, c->op);
    else if (mcp_answerable(x))
        end_fault(x, c);
    mcp_call_over(c, x);
}

static const struct call_sink sink_tool = {started, value, end};
static const struct call_sink sink_stream = {started, stream_value, stream_end};

/* ---- calls ----------------------------------------------------------------------------------- */

/* Where nothing comes of it, x may be gone. */
void mcp_call_start(struct mcp *x, struct str operation, const struct target *target,
                    yyjson_val *input, int want, const struct call_sink *sink, uint32_t timeout_ms)
{
    struct alk_request *r = x->r;
    alk_call *c;

    r->mcp = NULL;
    c = request_call(r, &(struct invocation){.operation = operation,
                                             .target = target,
                                             .input = input,
                                             .sink = sink,
                                             .sink_ud = x,
                                             .timeout_ms = timeout_ms,
                                             .want = (uint8_t)want});
    if (!c)
        return;
    r->mcp = x;
    mcp_run(x, &c->msg->arena);
}

static void invalid(struct mcp *x, const char *message)
{
    mcp_answer_fault(
        x, &(alk_fault){.size = sizeof(alk_fault), .code = ALK_INVALID_INPUT, .message = message});
}

static void batch_answered(struct alk_request *r, const char *json, size_t len)
{
    static const struct operation none;

    if (json)
        mcp_answer_value(r->mcp, &none, json, len);
    else
        mcp_answer_error(r->mcp, 503, MCP_INTERNAL, NULL, "out of memory");
}

static void start_batch(struct mcp *x, yyjson_val *arguments)
{
    static const char *const known[] = {"calls", NULL};
    char why[WHY_SIZE], text[WHY_SIZE + 16];
    const char *wrong = request_unknown(arguments, known, why);

    if (wrong) {
        invalid(x, wrong);
        return;
    }
    wrong = batch_start(x->r, yyjson_obj_get(arguments, "calls"), batch_answered, why);
    if (!wrong) {
        begin_beats(x);
        return;
    }
    snprintf(text, sizeof text, "/calls: %s", wrong);
    invalid(x, text);
}

static void start_search(struct mcp *x, yyjson_val *arguments)
{
    struct target t = {.op = &mcp_search_operation};

    mcp_call_start(x, op_name(t.op), &t, arguments, WANT_SINGLE, &sink_tool, 0);
}

/* A subscription has no deadline of its own, and who does not say how many of its values he wants
 * may not know what it is: he gets the first one, or with progress what comes before the deadline of
 * other calls. */
static void start_stream(struct mcp *x, struct str operation, yyjson_val *arguments)
{
    yyjson_val *values = yyjson_obj_get(yyjson_obj_get(x->params, "_meta"), META_VALUES);
    bool counted = yyjson_is_uint(values) && yyjson_get_uint(values);

    x->wanted = counted ? yyjson_get_uint(values) : x->token.p ? UINT64_MAX : 1;
    buf_charge(&x->last, &x->r->payer->meter);
    mcp_call_start(x, operation, NULL, arguments, WANT_STREAM, &sink_stream,
                   counted ? 0 : LIMIT(x->r->g->d->node, deadline_ms));
}

static bool mirrors_right(struct mcp *x, const struct mcp_direct *tool, yyjson_val *arguments)
{
    for (const struct mcp_mirror *m = x->stateless ? tool->mirrors : NULL; m; m = m->next) {
        yyjson_val *v = yyjson_obj_get(arguments, m->member);

        if (v && !yyjson_is_null(v) && !mcp_mirrored(x, m->header, v))
            return false;
    }
    return true;
}

/* Of a tool that may not be called nobody learns that it is there. What is no object otherwise is
 * the member "input" of one here. */
static void start_direct(struct mcp *x, struct str name, yyjson_val *arguments)
{
    struct alk_request *r = x->r;
    const alk_node *n = r->g->d->node;
    bool failed = false;
    const struct mcp_direct *tool = mcp_direct_tool(r->g, name, &failed);
    struct target t = {.op = NULL};
    alk_registry *held = NULL;
    struct str operation;
    bool bare, streams;

    if (failed) {
        reply_error(r, 503, "out of memory");
        return;
    }
    if (!tool || !node_serves(r->g->d, tool->operation, &t)) {
        no_such_tool(x);
        return;
    }
    bare = t.op->bare;
    streams = t.op->type == ALK_SUBSCRIPTION;
    /* A provider of the application is asked, which may take away what was discovered. */
    if (t.discovered)
        held = alk_registry_ref(t.discovered);
    if (!access_may_call(t.op, r->by ? r->by->who : NULL, node_ownership(n)))
        tool = NULL;
    alk_registry_unref(held);
    if (!tool) {
        no_such_tool(x);
        return;
    }
    /* The call may outlive the index. */
    operation = (struct str){arena_dup(&r->msg->arena, tool->operation.p, tool->operation.n),
                             tool->operation.n};
    if (!operation.p) {
        reply_error(r, 503, "out of memory");
        return;
    }
    if (!mirrors_right(x, tool, arguments))
        return;
    if (bare)
        arguments = yyjson_obj_get(arguments, "input");
    if (streams)
        start_stream(x, operation, arguments);
    else
        mcp_call_start(x, operation, NULL, arguments, WANT_SINGLE, &sink_tool, 0);
}

void mcp_tools_call(struct mcp *x)
{
    static const yyjson_val empty = {.tag = YYJSON_TYPE_OBJ, .uni = {.ofs = sizeof empty}};
    struct str name = json_string(yyjson_obj_get(x->params, "name"));
    yyjson_val *arguments = yyjson_obj_get(x->params, "arguments");
    struct invocation i = {0};
    const char *fault;
    char why[WHY_SIZE];

    if (!arguments || yyjson_is_null(arguments))
        arguments = (yyjson_val *)&empty;
    if (!name.p || !yyjson_is_obj(arguments)) {
        mcp_answer_error(x, 200, MCP_INVALID_PARAMS, NULL,
                         name.p ? "params/arguments: must be an object"
                                : "params/name: must be a string");
        return;
    }
    switch (mcp_fixed_tool(name)) {
    case MCP_SEARCH:
        start_search(x, arguments);
        return;
    case MCP_SCHEMA:
        mcp_call_start(x, str_of("services/schema"), NULL, arguments, WANT_SINGLE, &sink_tool, 0);
        return;
    case MCP_CALL:
        fault = request_invocation(arguments, &i, why);
        if (fault)
            invalid(x, fault);
        else
            mcp_call_start(x, i.operation, NULL, i.input, WANT_SINGLE, &sink_tool, 0);
        return;
    case MCP_BATCH:
        start_batch(x, arguments);
        return;
    default:
        start_direct(x, name, arguments);
    }
}

/* ---- tools/list ------------------------------------------------------------------------------ */

static int list_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct mcp *x = c->sink_ud;
    struct buf b;
    int rc;

    (void) final;
    c->values++;
    if (!mcp_answerable(x))
        return ALK_OK;
    rc = mcp_answer_begin(x, &b) | buf_append(&b, text + 1, len - 2);
    if (x->stateless)
        rc |= buf_printf(&b, ",\"ttlMs\":%u,\"cacheScope\":\"private\"",
                         x->r->g->mcp == ALK_MCP_DIRECT ? 5000u : 3600000u);
    mcp_answer_end(x, &b, rc, NULL, 0);
    return ALK_OK;
}

/* A list that could not be made is no result of a tool. */
static void list_end(alk_call *c)
{
    struct mcp *x = c->sink_ud;

    if (mcp_answerable(x))
        mcp_answer_error(x, 200, MCP_INTERNAL, NULL, "%s",
                         c->fault.code ? c->fault.message : fault_internal.message);
    mcp_call_over(c, x);
}

static const struct call_sink sink_list = {NULL, list_value, list_end};

void mcp_tools_list(struct mcp *x)
{
    struct target t = {.op = &mcp_list_operation};
    yyjson_val *cursor = yyjson_obj_get(x->params, "cursor");

    if (cursor && !yyjson_is_str(cursor))
        mcp_answer_error(x, 200, MCP_INVALID_PARAMS, NULL, "params/cursor: must be a string");
    else
        mcp_call_start(x, op_name(t.op), &t, cursor, WANT_SINGLE, &sink_list, 0);
}
