/* What the embedder does with the clients of an event gateway: events to one, to many, to all,
 * calls on their behalf, and what there is to know of one. A message is written once, whoever gets
 * it.
 *
 * Each function may be called on a client at any time while the application has it: in a handler,
 * between turns, and after its end, when it says ALK_ECLOSED. None of them runs a function of the
 * application. */
#include "gateway/events.h"

#include "base/buf.h"
#include "base/utf8.h"

#include <string.h>

/* Times the queue of a client, for what the loop has not had the time to offer to its socket. */
#define UNTRIED 8u

/* ---- events out ------------------------------------------------------------------------------ */

/* Into the dispatcher's scratch memory: parsed to be judged, and written into `out` without
 * anything in between. The limits are those of what comes in, so that a client with the same limits
 * can read it. */
static int put_data(struct alk_dispatcher *d, const char *json, size_t len, struct buf *out)
{
    const struct json_limits limits = {LIMIT(d->node, json_depth), LIMIT(d->node, json_values)};
    yyjson_alc alc = arena_alc(&d->scratch);
    yyjson_doc *doc;
    const char *text;
    char *copy;
    int rc;

    arena_reset(&d->scratch);
    copy = arena_alloc(&d->scratch, len + JSON_PADDING);
    if (!copy)
        return ALK_ENOMEM;
    memcpy(copy, json, len);
    rc = json_parse(copy, len, &limits, &alc, &doc, NULL);
    if (rc)
        return json_err(rc);
    text = yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, &alc, &len, NULL);
    if (text && len > LIMIT(d->node, output_bytes))
        return ALK_ELIMIT;
    return text && !buf_append(out, text, len) ? ALK_OK : ALK_ENOMEM;
}

/* The message; parsed and written again, so that what goes out is valid and compact: one that is
 * not would end the connection at the other side. out is the caller's in any case, also after a
 * failure. Half of its length is the least that JSON without blanks could have, so what is clearly
 * too long is not parsed. */
static int encode(struct alk_dispatcher *d, const char *event, size_t event_len, const char *json,
                  size_t json_len, struct buf *out)
{
    int rc;

    buf_init(out, &d->mem);
    if (!event_len || !utf8_valid(event, event_len))
        return ALK_EINVAL;
    if (json_len / 2 > LIMIT(d->node, output_bytes))
        return ALK_ELIMIT;
    if (buf_puts(out, "{\"event\":") || buf_json_string(out, event, event_len) ||
        buf_puts(out, ",\"data\":"))
        return ALK_ENOMEM;
    rc = put_data(d, json, json_len, out);
    arena_reset(&d->scratch);
    return rc ? rc : buf_puts(out, "}") ? ALK_ENOMEM : ALK_OK;
}

/* Whether so much is unsent that the client gets no more.
 *
 * What its socket has refused (inflight) is the client's doing, and its mark holds. Without that,
 * the loop has had no chance to write yet, as in a burst from one handler: that says nothing of the
 * client, but must have an end as well, UNTRIED times later. */
static bool behind(const struct alk_client *c)
{
    const struct alk_events *ev = c->events;
    size_t most = ev->queue_bytes ? ev->queue_bytes : LIMIT(c->d->node, queue_max);

    return ws_queued(c->ws) > (ws_engine(c->ws)->inflight ? most : most * UNTRIED);
}

/* There is no queue for clients that are slow: events are news, and who has missed some must ask
 * again. */
static int deliver(struct alk_client *c, struct str message)
{
    if (c->code)
        return ALK_ECLOSED;
    if (behind(c)) {
        client_evict(c, "the client does not read");
        return ALK_ECLOSED;
    }
    if (ws_send(c->ws, true, message.p, message.n))
        return ALK_ENOMEM;
    gate_busy(c->conn);
    COUNT(c->d, ws_messages_out);
    return ALK_OK;
}

static struct str text_of(const struct buf *b)
{
    return (struct str){buf_at(b), b->len};
}

int alk_client_send(alk_client *c, const char *event, size_t event_len, const char *json,
                    size_t json_len)
{
    struct buf message;
    int rc;

    if (c->code)
        return ALK_ECLOSED;
    rc = encode(c->d, event, event_len, json, json_len, &message);
    if (!rc)
        rc = deliver(c, text_of(&message));
    buf_fini(&message);
    return rc;
}

/* To one of several, for whom it is no failure to have ended: the sender cannot know. */
static int deliver_one(struct alk_client *c, struct str message, size_t *sent)
{
    int rc = c->greeted ? deliver(c, message) : ALK_ECLOSED;

    *sent += !rc;
    return rc == ALK_ECLOSED ? ALK_OK : rc;
}

/* Nobody is added or taken from the list meanwhile: an eviction only posts the client's task. */
static int deliver_all(struct alk_events *ev, struct str message, size_t *sent)
{
    int rc = ALK_OK;

    list_each(l, &ev->all)
    {
        if (deliver_one(container_of(l, struct alk_client, link), message, sent))
            rc = ALK_ENOMEM;
    }
    return rc;
}

/* ---- to the clients of other loops ----------------------------------------------------------- */

/* A notice has the number of ids, the ids, then the message. Without ids it is for all. */
#define ID_LEN (ID_SIZE - 1u)

static bool has_others(const struct alk_events *ev)
{
    return channel_sum(ev->seat) > ev->count;
}

/* What is no id of a client's is nobody's. */
static bool may_be_elsewhere(const struct alk_events *ev, const char *id)
{
    return strlen(id) == ID_LEN && !alk_events_find(ev, id, ID_LEN);
}

static int tell_others(struct alk_events *ev, const char *const *ids, size_t count,
                       struct str message)
{
    struct notice *n = notice_new(sizeof(uint32_t) + count * ID_LEN + message.n);
    const struct alk_dispatcher *d = ev->g->d;
    uint32_t put = 0;
    char *p;

    if (!n)
        return ALK_ENOMEM;
    p = n->data + sizeof put;
    for (size_t i = 0; i < count; i++) {
        if (!may_be_elsewhere(ev, ids[i]))
            continue;
        memcpy(p, ids[i], ID_LEN);
        p += ID_LEN;
        put++;
    }
    memcpy(n->data, &put, sizeof put);
    memcpy(p, message.p, message.n);
    n->len = (size_t)(p - n->data) + message.n;
    if (put || !count)
        channel_tell(ev->seat, n, d->now);
    notice_unref(n);
    return ALK_OK;
}

/* Who has missed events must ask again: as one that has fallen behind by itself. */
static void evict_all(struct alk_events *ev)
{
    list_each(l, &ev->all)
    {
        struct alk_client *c = container_of(l, struct alk_client, link);

        if (c->greeted && !c->code)
            client_evict(c, "the loop was held up, and events were missed");
    }
}

void events_notice(void *ud, const struct notice *n)
{
    struct alk_events *ev = ud;
    struct str message;
    size_t sent = 0;
    uint32_t count;

    if (!n) {
        evict_all(ev);
        return;
    }
    memcpy(&count, n->data, sizeof count);
    message.p = n->data + sizeof count + count * ID_LEN;
    message.n = n->len - (size_t)(message.p - n->data);
    if (!count)
        deliver_all(ev, message, &sent);
    for (uint32_t i = 0; i < count; i++) {
        struct alk_client *c = alk_events_find(ev, n->data + sizeof count + i * ID_LEN, ID_LEN);

        if (c)
            deliver_one(c, message, &sent);
    }
}

/* Ids that are nobody's are passed over: their clients have just left. Out of memory for one, the
 * others are tried all the same. */
static int deliver_many(struct alk_events *ev, const char *const *ids, size_t count,
                        struct str message, size_t *sent)
{
    int rc = ALK_OK;

    for (size_t i = 0; i < count; i++) {
        struct alk_client *c = alk_events_find(ev, ids[i], strlen(ids[i]));

        if (c && deliver_one(c, message, sent))
            rc = ALK_ENOMEM;
    }
    return rc;
}

/* Without ids: to all. */
static int send(struct alk_events *ev, const char *const *ids, size_t count, const char *event,
                size_t event_len, const char *json, size_t json_len, size_t *sent)
{
    struct buf message;
    size_t n = 0;
    int rc = encode(ev->g->d, event, event_len, json, json_len, &message);

    if (!rc && (!ids || count) && has_others(ev))
        rc = tell_others(ev, ids, count, text_of(&message));
    if (!rc)
        rc = ids ? deliver_many(ev, ids, count, text_of(&message), &n)
                 : deliver_all(ev, text_of(&message), &n);
    buf_fini(&message);
    if (sent)
        *sent = n;
    return rc;
}

int alk_events_send_many(alk_events *ev, const char *const *ids, size_t count, const char *event,
                         size_t event_len, const char *json, size_t json_len, size_t *sent)
{
    static const char *const none[1];

    return send(ev, count ? ids : none, count, event, event_len, json, json_len, sent);
}

int alk_events_send_all(alk_events *ev, const char *event, size_t event_len, const char *json,
                        size_t json_len, size_t *sent)
{
    return send(ev, NULL, 0, event, event_len, json, json_len, sent);
}

alk_client *alk_events_find(const alk_events *ev, const char *id, size_t len)
{
    struct map_node *n = map_find(&ev->clients, id, len);

    /* Nobody can know the id of one that has not been greeted. */
    return n ? container_of(n, struct alk_client, by_id) : NULL;
}

size_t alk_events_count(const alk_events *ev)
{
    return channel_sum(ev->seat);
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* For applications with a heartbeat of their own, which the engine does not see as one. */
int alk_client_touch(alk_client *c)
{
    const struct alk_dispatcher *d = c->d;

    if (c->code)
        return ALK_ECLOSED;
    ws_touch(c->ws, d->clock ? d->clock() : d->now);
    return ALK_OK;
}

/* The codes of RFC 6455 (7.4) that an endpoint may send, and those that are an application's (3000
 * to 4999). 1005, 1006 and 1015 never go over the wire, and 1002 or 1009 would speak for the
 * engine. */
int alk_client_close(alk_client *c, int code)
{
    bool ours = code == WS_NORMAL || code == WS_GOING_AWAY || code == WS_POLICY ||
                code == WS_INTERNAL || code == WS_TRY_AGAIN;

    if (!ours && (code < 3000 || code > 4999))
        return ALK_EINVAL;
    if (c->code)
        return ALK_ECLOSED;
    client_end(c, code, "");
    return ALK_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct client_call {
    struct list link;
    struct alk_client *c; /* a reference */
    alk_call *call;       /* a reference */
    alk_call_options o;
};

/* call_end tells no caller from inside: on_result comes in the turn, so the list stays as it is
 * under the walk. */
void client_abort_calls(struct alk_client *c)
{
    list_each(l, &c->calls)
    {
        alk_call *call = container_of(l, struct client_call, link)->call;

        if (!call_ended(call))
            call_end(call, ALK_END_ABORTED, NULL);
    }
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    const struct client_call *cc = ud;

    if (cc->o.on_event)
        cc->o.on_event(call, value, cc->o.ud);
}

/* The application first, then the list; the reference on the client goes last, since it may be the
 * last one. In a drain, this may have been what the client waited for. */
static void on_result(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct client_call *cc = ud;
    struct alk_client *c = cc->c;

    if (cc->o.on_end)
        cc->o.on_end(call, why, fault, cc->o.ud);
    list_del(&cc->link);
    c->call_count--;
    if (c->d->draining && c->events)
        task_post(&c->d->schedule, &c->task);
    alk_call_unref(cc->call);
    mem_free(&c->d->mem, cc);
    alk_client_unref(c);
}

static bool copy(struct arena *a, struct str s, struct str *out)
{
    *out = (struct str){s.p ? arena_dup(a, s.p, s.n) : NULL, s.n};
    return !s.p || out->p;
}

/* Starts the call in m, which is taken over. NULL: out of memory. The client's address may be gone
 * before the call: call_start keeps a copy. */
static alk_call *start(struct alk_client *c, struct msg *m, struct str operation, struct str trace,
                       const alk_call_options *o)
{
    struct request rq = {.msg = m,
                         .input = m->value.val,
                         .by = c->by,
                         .sink = &sink_callbacks,
                         .remote = c->remote,
                         .timeout_ms = o->timeout_ms,
                         .want = o->stream ? WANT_STREAM : WANT_SINGLE};
    char *id = arena_alloc(&m->arena, ID_SIZE);

    if (!id || !copy(&m->arena, operation, &rq.name) || !copy(&m->arena, trace, &rq.traceparent)) {
        msg_free(m);
        return NULL;
    }
    dispatcher_id(c->d, id);
    rq.id = (struct str){id, ID_SIZE - 1};
    return call_start(c->d, &rq);
}

/* A client has as many calls as a connection may, since it is one: who sends events faster than
 * they are answered must not hold the node's memory by it. */
int alk_client_call(alk_client *c, const char *operation, size_t operation_len, const char *input,
                    size_t input_len, const alk_call_options *o, alk_call **out)
{
    struct alk_dispatcher *d = c->d;
    alk_call_options own;
    const char *text;
    struct str trace;
    struct client_call *cc;
    struct msg *m;
    int rc;

    if (out)
        *out = NULL;
    if (c->code)
        return ALK_ECLOSED;
    o = node_take(d->node, &abi_call_options, &own, o);
    if (!o)
        return ALK_EINVAL;
    text = o->traceparent ? o->traceparent : *c->trace ? c->trace : NULL;
    trace = str_of(text);
    if (text && !traceparent_valid(trace))
        return ALK_EINVAL;
    if (c->call_count >= LIMIT(d->node, connection_calls))
        return ALK_ELIMIT;
    m = msg_new(&d->messages, c->payer);
    if (!m)
        return ALK_ENOMEM;
    rc = msg_parse(m, input, input_len, NULL);
    cc = rc ? NULL : mem_zalloc(&d->mem, sizeof *cc);
    if (!cc) {
        msg_free(m);
        return rc ? rc : ALK_ENOMEM;
    }
    cc->call = start(c, m, (struct str){operation, operation_len}, trace, o);
    if (!cc->call) {
        mem_free(&d->mem, cc);
        return ALK_ENOMEM;
    }
    alk_call_ref(cc->call);
    cc->c = alk_client_ref(c);
    cc->o = *o;
    list_push(&c->calls, &cc->link);
    c->call_count++;
    cc->call->on_event = on_value;
    cc->call->on_result = on_result;
    cc->call->result_ud = cc;
    if (out)
        *out = alk_call_ref(cc->call);
    return ALK_OK;
}

/* ---- what there is to know ------------------------------------------------------------------- */

const char *alk_client_id(const alk_client *c)
{
    return c->id;
}

static const struct abi abi_session = ABI_PLAIN(alk_session, remote);

void alk_client_session(const alk_client *c, alk_session *out, size_t size)
{
    const alk_session s = {.identity = credential_identity(c->by),
                           .tenant = c->tenant.p,
                           .traceparent = *c->trace ? c->trace : NULL,
                           .remote = c->remote};

    abi_fill(&abi_session, out, size, &s);
}

void alk_client_set_data(alk_client *c, void *data)
{
    c->data = data;
}

void *alk_client_data(const alk_client *c)
{
    return c->data;
}
