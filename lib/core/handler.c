/* The public functions on a call beside its output (output.c): how its handler fails it, what both
 * sides may ask and do. Any of them may be called on a call that has ended, for as long as somebody
 * holds it: it says ALK_EENDED, or what is still known. That makes a call safe for languages that
 * free by garbage collection, and for handlers that lose a race with a deadline. */
#include "core/call.h"

#include "base/utf8.h"
#include "core/fault.h"

#include <alknet/yyjson.h>

#include <string.h>

#define FAULT_VALUES 16u  /* of a fault, beside its details */
#define MESSAGE_MAX 4096u /* bytes of a handler's message; more is cut */

/* details compact and checked, in the call's own memory. They go into an envelope as they are, so
 * what is not JSON must not come that far, nor what a receiver would refuse. */
static int keep_details(alk_call *c, const char *json, const char **out)
{
    const struct json_limits limits = envelope_limits(c->d->node, FAULT_VALUES);
    yyjson_alc alc = arena_alc(&c->msg->arena);
    size_t len = strlen(json);
    char *copy = arena_alloc(&c->msg->arena, len + JSON_PADDING);
    yyjson_doc *doc;
    int rc;

    if (!copy)
        return ALK_ENOMEM;
    memcpy(copy, json, len);
    rc = json_parse(copy, len, &limits, &alc, &doc, NULL);
    if (rc)
        return json_err(rc);
    *out = yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, &alc, &len, NULL);
    return *out ? ALK_OK : ALK_ENOMEM;
}

/* In the call's memory, and UTF-8 whatever it was: a file's name, a message of another locale.
 * JSON with other bytes in it would end the connection of whoever reads it. A byte can become
 * three (U+FFFD). */
static struct str keep_text(alk_call *c, struct str s)
{
    size_t n = s.n < MESSAGE_MAX ? s.n : MESSAGE_MAX;
    char *copy = arena_alloc(&c->msg->arena, 3 * n + 1);

    if (!copy)
        return STR_NONE;
    n = utf8_cut(copy, utf8_scrub(copy, s.p, n), MESSAGE_MAX);
    copy[n] = 0;
    return (struct str){copy, n};
}

static const struct abi abi_fault = ABI_PLAIN(alk_fault, details);

/* Two of the protocol's codes can be a program's, where it stands between a handler and this
 * library: what a schema lets pass may be none of its language's values, which is the caller's
 * fault; and what a handler has raised is INTERNAL, as it would be here. */
static bool of_a_host(struct str code)
{
    return str_is(code, ALK_INVALID_INPUT) || str_is(code, ALK_INTERNAL);
}

int call_fail(alk_call *call, const alk_fault *fault, enum fault_source by)
{
    alk_fault own, f = {.size = sizeof f};
    struct str code, message;
    int rc;

    if (call_ended(call))
        return ALK_EENDED;
    fault = node_take(call->d->node, &abi_fault, &own, fault);
    code = fault ? fault_code(fault) : STR_NONE;
    if (!call->op || !code.n)
        return ALK_EINVAL;
    f.retryable = fault->retryable != 0;
    /* Callers act on the protocol's codes: BUSY is tried again, NOT_FOUND means that there is no
     * such operation. A handler that used them, often by passing on a fault of something that it
     * has called itself, would say that of its own operation. */
    if (by != FAULT_OF_LOOP && metrics_fault_class(code) != FAULT_OTHER && !call->op->forwards &&
        !(by == FAULT_OF_HOST && of_a_host(code))) {
        call_log_handler(call, "a handler may not use a protocol's code");
        code = str_of(ALK_INTERNAL);
        f.retryable = 0;
    }
    message = fault->message ? fault_message(fault) : str_of("");
    code = keep_text(call, code);
    message = keep_text(call, message);
    if (!code.p || !message.p)
        return ALK_ENOMEM;
    f.code = code.p;
    f.code_len = code.n;
    f.message = message.p;
    f.message_len = message.n;
    /* The last thing that can fail: until here the call still runs. */
    if (fault->details && (rc = keep_details(call, fault->details, &f.details)))
        return rc;
    call_end(call, ALK_END_FAULT, &f);
    return ALK_OK;
}

int alk_call_fail(alk_call *call, const alk_fault *fault)
{
    return call_fail(call, fault, FAULT_OF_HANDLER);
}

/* Also on a call that has ended, as long as the handler has not been told: it may have been
 * aborted within the frame that asks. */
int alk_call_on_end(alk_call *call, alk_end_fn fn, void *ud)
{
    if (call->state >= CALL_TOLD || !call->op)
        return ALK_EENDED;
    call->on_end = fn;
    call->on_end_ud = ud;
    return ALK_OK;
}

/* The last one set counts; NULL takes it away. */
int alk_call_on_drain(alk_call *call, alk_drain_fn fn, void *ud)
{
    if (call_ended(call))
        return ALK_EENDED;
    call->on_drain = fn;
    call->on_drain_ud = ud;
    return ALK_OK;
}

/* Who asks during a drain has come too late to be told by it, so it is told now. */
int alk_call_on_shutdown(alk_call *call, alk_drain_fn fn, void *ud)
{
    if (call_ended(call))
        return ALK_EENDED;
    if (!call->op)
        return ALK_EINVAL;
    call->on_shutdown = fn;
    call->on_shutdown_ud = ud;
    if (call->d->draining)
        call_shutdown(call);
    return ALK_OK;
}

int alk_call_pause(alk_call *call, int paused)
{
    /* One that has ended but still has values can be held back for as long as its caller likes. */
    if (call_ended(call) && list_empty(&call->events))
        return ALK_EENDED;
    if (call->sink != &sink_callbacks)
        return ALK_EINVAL;
    call->paused = paused != 0;
    if (!paused)
        call_ready(call);
    return ALK_OK;
}

/* Only where results come by callbacks, which is how calls of this process are made. One from
 * outside is failed and not aborted, so that its caller gets a reason. Of a call that has ended,
 * what is left of its values can still be declined. */
int alk_call_abort(alk_call *call)
{
    if (call_ended(call)) {
        if (call->state == CALL_DONE || list_empty(&call->events) || call->why == ALK_END_ABORTED ||
            call->why == ALK_END_CLOSED)
            return ALK_EENDED;
        call_hurry(call, ALK_END_ABORTED);
        return ALK_OK;
    }
    if (call->sink != &sink_callbacks)
        return ALK_EINVAL;
    call_end(call, ALK_END_ABORTED, NULL);
    return ALK_OK;
}

/* ---- what a handler can ask ------------------------------------------------------------------ */

const alk_value *alk_call_input(const alk_call *call)
{
    return &call->input;
}

const char *alk_call_id(const alk_call *call)
{
    return call->id.p;
}

/* Where no operation was found, the name may be anything that a remote has sent, so it is not
 * shown as one. */
const char *alk_call_operation(const alk_call *call)
{
    return call->op ? op_name(call->op).p : call->kind == CALL_OUTGOING ? call->name.p : "";
}

const alk_identity *alk_call_identity(const alk_call *call)
{
    return call->identity;
}

/* Its own first: what a parent hands down adds to it, and replaces nothing. */
const struct secret *call_secret(const alk_call *c, const char *name, size_t len)
{
    const struct secret *s = c->op ? capabilities_get(c->op->caps, name, len) : NULL;

    for (size_t i = 0; !s && i < c->granted_count; i++) {
        if (c->granted[i]->name.n == len && !memcmp(c->granted[i]->name.p, name, len))
            s = c->granted[i];
    }
    return s;
}

const char *alk_call_capability(const alk_call *call, const char *name, size_t *len)
{
    const struct secret *s = call_secret(call, name, strlen(name));

    *len = s ? s->len : 0;
    return s ? s->data : NULL;
}

static const struct abi abi_call_context = ABI_PLAIN(alk_call_context, deadline);

void alk_call_get_context(const alk_call *call, alk_call_context *out, size_t size)
{
    const alk_call_context x = {.parent_id = call->parent_id.p,
                                .originator = call->originator,
                                .forwarded_for = call->claim.p,
                                .traceparent = call->traceparent.p,
                                .deadline = call->deadline,
                                .id_len = call->id.n,
                                .parent_id_len = call->parent_id.p ? call->parent_id.n : 0};

    abi_fill(&abi_call_context, out, size, &x);
}

/* Of the request, so an outgoing call has none to show: whoever made it knows where it goes. */
alk_connection *alk_call_connection(const alk_call *call)
{
    return call->kind == CALL_OUTGOING ? NULL : call->conn;
}

const struct abi abi_call_options = ABI_PLAIN(alk_call_options, capabilities);
