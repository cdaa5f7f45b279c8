/* The one place where a call begins: context, admission, lookup, visibility, access control, operation type, input
 * schema, handler, in this order, for every transport. */
#include "core/call.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/schema.h"

#include <string.h>

#define HOPS_MAX 8u
#define SECOND UINT64_C(1000000000)
#define MILLI UINT64_C(1000000)

static bool admitted(alk_call *c)
{
    struct alk_dispatcher *d = c->d;
    uint32_t rate = LIMIT(d->node, calls_per_second);

    if (d->draining) {
        call_end(c, ALK_END_FAULT, &fault_shutdown);
        return false;
    }
    if (c->conn && !connection_may_run(c->conn)) {
        call_end(c, ALK_END_FAULT, &fault_busy);
        return false;
    }
    if (rate && c->identity &&
        !rate_take(&d->node->calls, c->identity->id.p, c->identity->id.n, rate, SECOND, d->now)) {
        call_end(c, ALK_END_FAULT, &fault_rate);
        return false;
    }
    return true;
}

static bool resolved(alk_call *c)
{
    const struct operation *op = registry_find(c->d->node->reg, c->name.p, c->name.n);

    if (op && op->visibility == ALK_EXTERNAL && c->hops <= HOPS_MAX) {
        c->op = op;
        return true;
    }
    call_not_found(c, c->name);
    return false;
}

static bool allowed(alk_call *c)
{
    switch (access_check(c->op, c->identity, c->input.val, node_ownership(c->d->node))) {
    case ACCESS_OK:
        return true;
    case ACCESS_UNAUTHENTICATED:
        call_refuse(c, ALK_FORBIDDEN, "authentication required");
        return false;
    default:
        call_refuse(c, ALK_FORBIDDEN, "not allowed to call %s", op_name(c->op).p);
        return false;
    }
}

static bool type_fits(alk_call *c)
{
    bool stream = c->op->type == ALK_SUBSCRIPTION;

    if (c->want == WANT_ANY || stream == (c->want == WANT_STREAM))
        return true;
    call_refuse(c, ALK_INVALID_OPERATION_TYPE,
                stream ? "%s is a subscription" : "%s is not a subscription", op_name(c->op).p);
    return false;
}

static const char *report_json(alk_call *c, const struct schema_report *r)
{
    struct buf b;
    const char *text = NULL;
    int rc;

    buf_init(&b, &c->d->mem);
    rc = buf_puts(&b, "{\"errors\":[");
    for (int i = 0; i < r->count; i++) {
        const struct schema_error *e = &r->errors[i];

        rc |= buf_puts(&b, i ? ",{\"path\":" : "{\"path\":") |
              buf_json_string(&b, e->path, strlen(e->path));
        rc |= buf_puts(&b, ",\"keyword\":") | buf_json_string(&b, e->keyword, strlen(e->keyword));
        rc |= buf_puts(&b, ",\"message\":") | buf_json_string(&b, e->message, strlen(e->message));
        rc |= buf_puts(&b, "}");
    }
    rc |= buf_puts(&b, "]}");
    if (!rc)
        text = arena_dup(&c->msg->arena, buf_at(&b), b.len);
    buf_fini(&b);
    return text;
}

static bool input_fits(alk_call *c)
{
    struct schema_report r;

    if (!c->op->input)
        return true;
    switch (schema_check(c->op->input, c->input.val, LIMIT(c->d->node, schema_steps), &c->msg->arena,
                         &r)) {
    case 0:
        return true;
    case SCHEMA_ENOMEM:
        call_end(c, ALK_END_FAULT, &fault_internal);
        return false;
    case SCHEMA_TOO_COMPLEX:
        call_refuse(c, ALK_INVALID_INPUT, "too complex");
        return false;
    default:
        c->fault.details = report_json(c, &r);
        call_refuse(c, ALK_INVALID_INPUT, "%s: %s (%s)", *r.errors[0].path ? r.errors[0].path : "input",
                    r.errors[0].message, r.errors[0].keyword);
        return false;
    }
}

static void set_timeout(alk_call *c, uint32_t asked_ms)
{
    uint32_t own = c->op->type == ALK_SUBSCRIPTION ? 0 : LIMIT(c->d->node, deadline_ms);

    c->timeout = own ? own * MILLI : UINT64_MAX;
    if (asked_ms && asked_ms != ALK_NO_TIMEOUT && asked_ms * MILLI < c->timeout)
        c->timeout = asked_ms * MILLI;
}

alk_call *call_start(struct alk_dispatcher *d, const struct request *rq)
{
    static const yyjson_val null_value = {.tag = YYJSON_TYPE_NULL, .uni = {.u64 = 0}};
    const alk_identity *origin = rq->originator ? rq->originator : rq->identity;
    alk_call *c = call_new(d, rq->msg);

    if (!c) {
        msg_free(d, rq->msg);
        return NULL;
    }
    c->name = name_strip(rq->name.p, rq->name.n);
    c->input.val = rq->input ? rq->input : (yyjson_val *)&null_value;
    c->id = rq->id;
    c->identity = rq->identity ? alk_identity_ref(rq->identity) : NULL;
    c->originator = origin ? alk_identity_ref(origin) : NULL;
    c->sink = rq->sink;
    c->sink_ud = rq->sink_ud;
    c->conn = rq->conn;
    c->stream = rq->stream;
    c->remote = rq->conn ? connection_remote(rq->conn) : rq->remote;
    c->traceparent = rq->traceparent;
    c->hops = rq->hops;
    c->want = rq->want;
    c->refused = true;
    if (!admitted(c) || !resolved(c) || !allowed(c) || !type_fits(c) || !input_fits(c))
        return c;
    c->refused = false;
    set_timeout(c, rq->timeout_ms);
    c->to_start = true;
    call_ready(c);
    return c;
}
