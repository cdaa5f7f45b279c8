/* A call of an imported tool: tools/call, and its result as the call's. A tool's own failure is
 * MCP_TOOL_ERROR, with what it said; that the server wants another token is UNAUTHORIZED; all else
 * that goes wrong between is INTERNAL with the kind of thing it was, and the log has the rest.
 *
 * A session that the server does not know any more is opened again by the first call that finds it
 * so, on whatever thread, for all; others look for that every few milliseconds, and each call is
 * made once more.
 *
 * The struct lives from the handler to the call's end, which cancels what is under way. What comes is
 * kept in memory that the caller pays for. */
#include "adapt/mcp_client.h"

#include "base/spin.h"
#include "base/utf8.h"
#include "core/call.h"

#include <alknet/yyjson.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES 512u

struct tool_call {
    alk_call *call;
    const struct mcp_tool *tool;
    struct mcp_exchange x;
    struct mcp_hello *hello; /* NULL: this one opens no session */
    struct timer look;       /* whether somebody has opened it */
    uint32_t renewals;       /* the server's, when that began */
    bool renewing;           /* it is this one that opens it, for all */
    bool repeated;
    bool last;       /* text is the result, which waits for room */
    struct buf text; /* of a value, or of details */
};

static struct mcp_server *server_of(const struct tool_call *t)
{
    return t->tool->server;
}

/* ---- ends -------------------------------------------------------------------------------------- */

/* Without more than the kind of thing: what the client and the server say may name hosts. */
static void fail(struct tool_call *t, const char *what, const char *why)
{
    char line[2 * MCP_WHY];

    snprintf(line, sizeof line, "%s%s%s", what, *why ? ": " : "", why);
    call_log_handler(t->call, line);
    call_refuse(t->call, ALK_INTERNAL, "%s", what);
}

static void fail_memory(struct tool_call *t, bool full)
{
    call_end(t->call, ALK_END_FAULT, full ? &fault_full : &fault_internal);
}

/* Details that cannot be sent on, being too large or too deep, are left out. */
static void fail_with(struct tool_call *t, const char *code, struct str message,
                      const char *details, bool retryable)
{
    alk_fault f = {.size = sizeof f,
                   .retryable = retryable,
                   .code = code,
                   .message = message.p,
                   .message_len = utf8_cut(message.p, message.n, MESSAGE_BYTES),
                   .details = details};
    int rc = alk_call_fail(t->call, &f);

    if (rc && rc != ALK_EENDED) {
        f.details = NULL;
        rc = alk_call_fail(t->call, &f);
    }
    if (rc && rc != ALK_EENDED)
        call_end(t->call, ALK_END_FAULT, &fault_internal);
}

static void fail_held(struct tool_call *t, uint64_t retry_after_ms)
{
    char details[64];

    snprintf(details, sizeof details, "{\"retry_after\":%llu}",
             (unsigned long long)(retry_after_ms + 999) / 1000);
    fail_with(t, ALK_BUSY, str_of("the server has asked to be left alone for a while"), details,
              true);
}

static void fail_unauthorized(struct tool_call *t, int status)
{
    char line[64];

    snprintf(line, sizeof line, "the server answered %d", status);
    call_log_handler(t->call, line);
    fail_with(t, MCP_UNAUTHORIZED, str_of("the server does not accept the token that it is shown"),
              NULL, false);
}

/* ---- results ----------------------------------------------------------------------------------- */

/* JSON, without a NUL that would be counted. */
static bool write_value(struct tool_call *t, yyjson_val *v)
{
    yyjson_alc alc = arena_alc(&t->x.arena);
    size_t n;
    char *text = yyjson_val_write_opts(v, 0, &alc, &n, NULL);

    return text && !buf_append(&t->text, text, n);
}

static void on_room(alk_call *call, void *ud);

/* A value of the progress operation. Progress that finds no room is dropped, the result waits. */
static void emit(struct tool_call *t)
{
    int rc = alk_call_emit(t->call, buf_at(&t->text), t->text.len);

    if (rc == ALK_EAGAIN)
        alk_call_on_drain(t->call, on_room, t);
    else if (!rc && t->last)
        alk_call_complete(t->call);
    else if (rc && rc != ALK_ELIMIT && rc != ALK_EENDED)
        call_end(t->call, ALK_END_FAULT, &fault_internal);
}

static void on_room(alk_call *call, void *ud)
{
    struct tool_call *t = ud;

    (void)call;
    if (t->last)
        emit(t);
}

static void give(struct tool_call *t, yyjson_val *value)
{
    int rc;

    if (t->call->op->type == ALK_SUBSCRIPTION) {
        buf_consume(&t->text, t->text.len);
        t->last = true;
        if (buf_puts(&t->text, "{\"result\":") || !write_value(t, value) || buf_puts(&t->text, "}"))
            fail_memory(t, t->text.refused || t->x.arena.refused);
        else
            emit(t);
        return;
    }
    rc = alk_call_output_yyjson(t->call, value);
    if (rc && rc != ALK_ELIMIT && rc != ALK_EENDED)
        call_end(t->call, ALK_END_FAULT, &fault_internal);
}

/* The first text among the blocks. */
static struct str message_of(yyjson_val *content)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(content);
    struct str text = STR_NONE;
    yyjson_val *block;

    while (!text.n && (block = yyjson_arr_iter_next(&it)))
        text = json_string(yyjson_obj_get(block, "text"));
    if (!text.n)
        text = str_of("the tool failed");
    return text;
}

static void fail_tool(struct tool_call *t, yyjson_val *content)
{
    struct str message = message_of(content);

    buf_consume(&t->text, t->text.len);
    if (!yyjson_is_arr(content) || !write_value(t, content) || buf_append(&t->text, "", 1) ||
        t->text.len > LIMIT(t->call->d->node, output_bytes))
        fail_with(t, MCP_TOOL_ERROR, message, NULL, false);
    else
        fail_with(t, MCP_TOOL_ERROR, message, buf_at(&t->text), false);
}

static void succeed(struct tool_call *t, yyjson_val *result)
{
    struct str type = json_string(yyjson_obj_get(result, "resultType"));
    yyjson_val *content = yyjson_obj_get(result, "content");
    yyjson_val *structured = yyjson_obj_get(result, "structuredContent");

    if (type.p && !str_is(type, "complete"))
        fail(t, "the tool asks for more than it can be given here",
             str_is(type, "input_required") ? "input_required" : "an unknown resultType");
    else if (yyjson_is_true(yyjson_obj_get(result, "isError")))
        fail_tool(t, content);
    else if (structured && !yyjson_is_null(structured))
        give(t, structured);
    else if (yyjson_is_arr(content))
        give(t, content);
    else
        fail(t, "the tool's result has no content", "");
}

/* {"progress","total"?,"message"?}, where they are what they should be. */
static void on_message(void *ud, struct str method, yyjson_val *params)
{
    struct tool_call *t = ud;
    yyjson_val *progress = yyjson_obj_get(params, "progress");
    yyjson_val *total = yyjson_obj_get(params, "total");
    yyjson_val *message = yyjson_obj_get(params, "message");
    yyjson_val *token = yyjson_obj_get(params, "progressToken");
    bool done;

    if (t->call->op->type != ALK_SUBSCRIPTION || !str_is(method, "notifications/progress") ||
        !yyjson_is_uint(token) || yyjson_get_uint(token) != t->x.id || !json_is_number(progress))
        return;
    buf_consume(&t->text, t->text.len);
    done = !buf_puts(&t->text, "{\"progress\":") && write_value(t, progress);
    if (done && json_is_number(total))
        done = !buf_puts(&t->text, ",\"total\":") && write_value(t, total);
    if (done && yyjson_is_str(message))
        done = !buf_puts(&t->text, ",\"message\":") && write_value(t, message);
    if (done && !buf_puts(&t->text, "}"))
        emit(t);
    else
        fail_memory(t, t->text.refused || t->x.arena.refused);
}

/* ---- the session ------------------------------------------------------------------------------- */

static int send(struct tool_call *t);

static void send_again(struct tool_call *t)
{
    int rc;

    t->repeated = true;
    rc = send(t);
    if (rc)
        fail_memory(t, t->x.body.refused || t->x.headers.refused);
}

static void renewal_ended(struct tool_call *t, bool done)
{
    struct mcp_server *s = server_of(t);

    t->renewing = false;
    spin_lock(&s->lock);
    s->renewing = false;
    s->renewals += done;
    spin_unlock(&s->lock);
}

static void not_renewed(struct tool_call *t, int rc, const char *why)
{
    if (rc == ALK_ECONFIG)
        fail_unauthorized(t, 401);
    else if (rc == ALK_ENOMEM)
        fail_memory(t, false);
    else
        fail(t, "the server's session has expired, and no other can be opened", why);
}

static void on_hello(void *ud, int rc, const char *why)
{
    struct tool_call *t = ud;

    renewal_ended(t, true);
    mcp_exchange_stop(&t->hello->x);
    if (rc)
        not_renewed(t, rc, why);
    else
        send_again(t);
}

static int open_session(struct tool_call *t)
{
    t->hello = mem_zalloc(&t->call->d->mem, sizeof *t->hello);
    if (!t->hello)
        return ALK_ENOMEM;
    mcp_exchange_init(&t->hello->x, server_of(t), t->call->d, t->x.meter, t->hello);
    t->hello->on_done = on_hello;
    t->hello->ud = t;
    return mcp_hello_start(t->hello);
}

/* Whoever comes first opens it. If he gives up, the next one that looks does. */
static void renew(struct tool_call *t)
{
    struct mcp_server *s = server_of(t);
    bool there, over;

    spin_lock(&s->lock);
    there = s->era.generation != t->x.generation;
    over = s->renewals != t->renewals;
    if (!there && !over && !s->renewing)
        t->renewing = s->renewing = true;
    spin_unlock(&s->lock);
    if (there) {
        send_again(t);
    } else if (over) {
        not_renewed(t, ALK_EREMOTE, "another call has tried");
    } else if (!t->renewing) {
        timer_set(&t->call->d->schedule, &t->look, t->call->d->now + MCP_RENEW_NS);
    } else if (open_session(t)) {
        renewal_ended(t, false);
        fail_memory(t, false);
    }
}

static void on_look(struct timer *timer, uint64_t now)
{
    (void)now;
    renew(container_of(timer, struct tool_call, look));
}

static void expired(struct tool_call *t)
{
    struct mcp_server *s = server_of(t);

    spin_lock(&s->lock);
    t->renewals = s->renewals;
    spin_unlock(&s->lock);
    renew(t);
}

/* ---- the call ---------------------------------------------------------------------------------- */

static void on_answer(void *ud, const struct mcp_answer *a)
{
    struct tool_call *t = ud;
    char why[MCP_WHY];

    if (call_ended(t->call))
        return;
    if (a->status == 404 && t->x.in_session && !t->repeated && !t->x.resumes &&
        a->kind != MCP_RESULT) {
        expired(t);
        return;
    }
    switch (a->kind) {
    case MCP_RESULT:
        succeed(t, a->result);
        break;
    case MCP_HELD:
        fail_held(t, a->retry_after_ms);
        break;
    case MCP_LATE:
        call_log_handler(t->call, a->why);
        call_refuse(t->call, ALK_TIMEOUT, "%s", a->what);
        break;
    case MCP_MEMORY:
        fail_memory(t, a->full);
        break;
    default:
        mcp_failure(a, "tools/call", why);
        if (a->status == 401 || a->status == 403)
            fail_unauthorized(t, a->status);
        else
            fail(t, a->what, a->kind == MCP_ERROR ? why : a->why);
    }
}

static int send(struct tool_call *t)
{
    struct buf *body = &t->x.body;
    struct str name = str_of(t->tool->name);
    bool progress = t->call->op->type == ALK_SUBSCRIPTION;
    struct mcp_era era;
    const char *input;
    size_t n;
    int rc;

    mcp_server_era(server_of(t), &era);
    input = yyjson_is_null(t->call->input.val) ? "{}" : alk_value_text(&t->call->input, &n);
    if (!input)
        return ALK_ENOMEM;
    if ((rc = mcp_begin(&t->x, MCP_REQUEST, &era, "tools/call", progress)))
        return rc;
    if (era.kind == ERA_STATELESS &&
        ((rc = mcp_put_header(&t->x, "Mcp-", str_of("Name"), name)) ||
         (rc = mcp_headers_put(&t->x, t->tool->headers, t->call->input.val))))
        return rc;
    if (buf_puts(body, ",\"name\":") || buf_json_string(body, name.p, name.n) ||
        buf_puts(body, ",\"arguments\":") || buf_puts(body, input))
        return ALK_ENOMEM;
    return mcp_send(&t->x, t->call->deadline, 0, t->tool->read_only, t->call->traceparent.p);
}

/* In 2026-07-28 a request that is cut is cancelled by that. */
static void tell_cancelled(const struct tool_call *t)
{
    const struct alk_call *c = t->call;
    char params[64];

    if (!t->x.in_session || !dispatcher_loop(c->d) ||
        loop_transport(dispatcher_loop(c->d))->leaving)
        return;
    snprintf(params, sizeof params, ",\"requestId\":%llu", (unsigned long long)t->x.id);
    mcp_notify(server_of(t), c->d, "notifications/cancelled", params);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct tool_call *t = ud;

    (void)fault;
    if ((t->x.fetch || timer_is_set(&t->x.timer)) &&
        (why == ALK_END_ABORTED || why == ALK_END_TIMEOUT))
        tell_cancelled(t);
    if (t->renewing)
        renewal_ended(t, false);
    if (t->hello) {
        mcp_exchange_fini(&t->hello->x);
        mem_free(&call->d->mem, t->hello);
    }
    timer_clear(&call->d->schedule, &t->look);
    mcp_exchange_fini(&t->x);
    buf_fini(&t->text);
    mem_free(&call->d->mem, t);
}

int mcp_tool_call(alk_call *call, void *ud)
{
    struct account *payer = call->msg->payer;
    struct tool_call *t;
    int rc;

    if (!dispatcher_loop(call->d)) {
        call_refuse(call, ALK_INTERNAL, "there is no loop to send requests from");
        return ALK_OK;
    }
    if (call->input.val && !yyjson_is_null(call->input.val) && !yyjson_is_obj(call->input.val)) {
        call_refuse(call, ALK_INVALID_INPUT, "input: must be an object");
        return ALK_OK;
    }
    t = mem_zalloc(&call->d->mem, sizeof *t);
    if (!t)
        return ALK_ENOMEM;
    t->call = call;
    t->tool = ud;
    mcp_exchange_init(&t->x, t->tool->server, call->d, payer ? &payer->meter : NULL, t);
    t->x.on_message = on_message;
    t->x.on_answer = on_answer;
    timer_init(&t->look, on_look);
    buf_init(&t->text, &call->d->mem);
    buf_charge(&t->text, t->x.meter);
    alk_call_on_end(call, on_end, t);
    rc = send(t);
    if (rc != ALK_EINVAL)
        return rc;
    call_refuse(call, ALK_INVALID_INPUT,
                "an argument that goes into a header is longer than %u bytes", MCP_HEADER_BYTES);
    return ALK_OK;
}
