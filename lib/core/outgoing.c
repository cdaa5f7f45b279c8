/* Our own calls on a connection: made, sent, held back. What comes back is read in inbound.c.
 *
 * Nothing is sent that the remote would have to refuse: a receiver closes the connection over a
 * message that is too deep, has too many values or is too large, and with it all other calls would
 * end. So the room that the envelope itself takes is kept free, on the assumption that the remote
 * has the limits that we have. */
#include "core/connection.h"

#include "base/buf.h"
#include "core/envelope.h"

#include <string.h>

#define REQUEST_VALUES 20u /* of a request, beside its input and the originator */

/* What the remote learns of the one for whom we forward. By default the id alone: it may want to
 * record for whom it works, but decides by our rights, so those of the originator are none of its
 * business. */
static int put_originator(struct msg *m, const alk_call *parent, uint32_t mode, struct str *out)
{
    const alk_identity *who = parent ? parent->originator : NULL;
    struct buf b;
    int rc;

    *out = (struct str){NULL, 0};
    if (!who || mode == ALK_FORWARD_NONE)
        return ALK_OK;
    if (mode == ALK_FORWARD_FULL) {
        *out = who->json; /* alive as long as the parent, which outlives the writing */
        return ALK_OK;
    }
    buf_init(&b, m->arena.mem);
    rc = buf_puts(&b, "{\"id\":") | buf_json_string(&b, who->id.p, who->id.n) |
         buf_puts(&b, ",\"scopes\":[],\"resources\":{}}");
    if (!rc)
        *out = (struct str){arena_dup(&m->arena, buf_at(&b), b.len), b.len};
    buf_fini(&b);
    return out->p ? ALK_OK : ALK_ENOMEM;
}

/* How many JSON values that is, from above, names of members included. */
static uint32_t originator_values(const alk_call *parent, uint32_t mode)
{
    const alk_identity *who = parent ? parent->originator : NULL;
    size_t n = 8;

    if (!who || mode == ALK_FORWARD_NONE)
        return 0;
    if (mode == ALK_FORWARD_FULL) {
        n += who->scope_count;
        for (size_t i = 0; i < who->resource_count; i++)
            n += 2 + who->resources[i].count;
    }
    return (uint32_t)n;
}

/* Rounded up and never 0, which would mean that there is no deadline. One that has passed ends the
 * call here in this turn. */
static uint64_t remaining_ms(const alk_call *parent)
{
    uint64_t now = parent->d->now;

    return parent->deadline == UINT64_MAX ? 0
           : parent->deadline <= now      ? 1
                                          : (parent->deadline - now + MILLI - 1) / MILLI;
}

/* Subscriptions go on, and are worth a stream that can be held back alone; single results have one
 * where the link has it so.
 * The link may find that it is gone, which ends all calls of c, and perhaps the parent: so it is
 * asked before the call is anybody's child. false: there is nothing to go on with. */
static bool open_stream(alk_connection *c, alk_call *call, const struct outgoing *out)
{
    const alk_link *link = &c->queue.link;

    if ((out->o->stream || link->stream_per_call) && link->open_stream && link->pause) {
        call->stream = link->open_stream(link->ud);
        call->own_stream = call->stream != 0;
    }
    return c->closing < 0 && !(out->parent && call_ended(out->parent));
}

static int send(alk_connection *c, alk_call *call, const struct outgoing *out)
{
    const alk_call_options *o = out->o;
    struct request_fields f = {.operation = call->name, .timeout_ms = o->timeout_ms};
    uint32_t ms = o->timeout_ms;
    int rc;

    if (!ms)
        ms = o->stream ? ALK_NO_TIMEOUT : LIMIT(c->d->node, deadline_ms);
    call->timeout = ms == ALK_NO_TIMEOUT ? UINT64_MAX : ms * MILLI;
    if (f.timeout_ms == ALK_NO_TIMEOUT)
        f.timeout_ms = 0;
    f.input.p = alk_value_text(&call->msg->value, &f.input.n);
    if (c->token)
        f.token = str_of(c->token);
    if (o->traceparent)
        f.traceparent = str_of(o->traceparent);
    /* A forwarded call ends with its parent, whose deadline holds already. The remote is told what
     * is left of it, so that it does not work on for nobody. */
    if (out->parent) {
        f.hops = out->parent->hops + 1;
        f.timeout_ms = remaining_ms(out->parent);
        f.traceparent = out->parent->traceparent;
        call->deadline = out->parent->deadline;
        call->timeout = UINT64_MAX;
    }
    if (!f.input.p ||
        put_originator(call->msg, out->parent, c->d->node->forwarded_for, &f.forwarded_for))
        return ALK_ENOMEM;
    call->remote = c->remote;
    /* Before it is written: an answer must find its call, and from here on nothing but memory can
     * fail. */
    if (!connection_list_outgoing(c, call))
        return ALK_ENOMEM;
    rc = envelope_requested(&c->queue, call->stream, call->id, &f);
    if (rc == ALK_ELIMIT)
        rc = ALK_EJSON; /* no remote may be sent as much, however often it is tried */
    if (rc)
        connection_forget(call);
    else if (call->own_stream && !o->stream && c->queue.link.idle)
        queue_finish(&c->queue, call->stream);
    return rc;
}

/* Whatever fails here is said by the code, and no callback runs; once it is 0, on_end runs in any
 * case. */
int connection_call(alk_connection *c, const struct outgoing *out, alk_call **result)
{
    struct alk_dispatcher *d = c->d;
    struct account *payer = out->parent ? out->parent->msg->payer : NULL;
    const struct json_limits fits = envelope_limits(
        d->node, REQUEST_VALUES + originator_values(out->parent, d->node->forwarded_for));
    struct msg *m;
    alk_call *call;
    char *id;
    int rc;

    if (c->closing >= 0)
        return ALK_ECLOSED;
    if (!origins_may_take(&c->origins, payer, c->pending.count, LIMIT(d->node, connection_calls)))
        return ALK_ELIMIT;
    m = msg_new(&d->messages, payer);
    if (!m)
        return ALK_ENOMEM;
    /* By the node's limits first, as for any other JSON, then by those of an envelope. */
    rc = msg_parse(m, out->input, out->input_len, NULL);
    if (!rc && !json_fits(out->input, out->input_len, &fits))
        rc = ALK_EJSON;
    call = rc ? NULL : call_new(d, m);
    if (!call) {
        msg_free(m);
        return rc ? rc : ALK_ENOMEM;
    }
    id = arena_alloc(&m->arena, ID_SIZE);
    call->name =
        (struct str){arena_dup(&m->arena, out->operation.p, out->operation.n), out->operation.n};
    call->kind = CALL_OUTGOING;
    call->sink = &sink_callbacks;
    call->want = out->o->stream ? WANT_STREAM : WANT_SINGLE;
    call->on_event = out->o->on_event;
    call->on_result = out->o->on_end;
    call->result_ud = out->o->ud;
    rc = ALK_ENOMEM;
    if (id && call->name.p) {
        dispatcher_id(d, id);
        call->id = (struct str){id, ID_SIZE - 1};
        /* A random id: a remote must not guess those of other connections, nor meet one that is in
         * use. */
        rc = !open_stream(c, call, out)                      ? ALK_ECLOSED
             : out->parent && !call_adopt(out->parent, call) ? ALK_ELIMIT
                                                             : send(c, call, out);
    }
    if (rc) {
        call_discard(call);
        return rc;
    }
    call_queue(call);
    COUNT(d, calls[CALL_OUTGOING]);
    if (result)
        *result = alk_call_ref(call);
    return ALK_OK;
}

int alk_connection_call(alk_connection *c, const char *operation, size_t operation_len,
                        const char *input, size_t input_len, const alk_call_options *o,
                        alk_call **out)
{
    alk_call_options own;
    struct outgoing call = {.operation = name_strip(operation, operation_len),
                            .input = input,
                            .input_len = input_len,
                            .o = node_take(c->d->node, &abi_call_options, &own, o)};

    if (out)
        *out = NULL;
    if (!call.o || !name_valid(call.operation.p, call.operation.n))
        return ALK_EINVAL;
    return connection_call(c, &call, out);
}
