/* What comes in by a connection: envelopes become calls, answers and aborts. And what the remote's
 * calls become: envelopes.
 *
 * Everything here is said by a remote, which may be anybody. What breaks the framing closes the
 * connection, since nothing after it can be trusted to mean what it says. What is well-formed but
 * fits nothing (an answer to no call, an id that is in use, a claim that is not believed) is
 * counted and dropped: messages cross on the wire, and an honest remote sends such too. */
#include "core/connection.h"

#include "core/envelope.h"
#include "core/fault.h"

#include <string.h>

/* Aborts and requests can overtake each other where a link has several streams. A remote could
 * send aborts for ids that never come, so the oldest are forgotten. */
#define EARLY_MAX 256u
/* Of our calls with one result: a remote that sends a second value believes that it is a
 * subscription, and is told to stop. Forgetting one costs a dropped message, no more. */
#define RESOLVED_MAX 1024u
/* Requests may each bring a token, so one connection could try as many as it can send, past the
 * gateway's limit by address, which counts requests of HTTP. Ten are enough for a client whose
 * token has just been replaced. */
#define AUTH_FAILURES_MAX 10u
#define SLOW_BYTES (1u << 20) /* kept for a subscriber that does not keep up */

/* ---- the remote's calls ---------------------------------------------------------------------- */

/* A result is never refused: the handler has ended with it, and could not be asked again. */
static int wire_value(alk_call *call, const char *text, size_t len, bool final)
{
    alk_connection *c = call->conn;

    /* Without memory to wait, it is queued as far as that goes. */
    if (!final && queue_bytes(&c->queue, call->stream) > LIMIT(call->d->node, queue_high) &&
        connection_await(c, call))
        return ALK_EAGAIN;
    call->values++;
    return envelope_responded(&c->queue, call->stream, call->id, (struct str){text, len});
}

/* Details that make the message too large are left out: code and message are what the caller waits
 * for. */
static int send_fault(alk_connection *c, const alk_call *call)
{
    alk_fault bare = call->fault;
    int rc = envelope_error(&c->queue, call->stream, call->id, &call->fault);

    bare.details = NULL;
    return rc == ALK_ELIMIT ? envelope_error(&c->queue, call->stream, call->id, &bare) : rc;
}

/* Who has aborted a call waits for nothing, so an abort is not answered. What the node itself
 * cancels has a fault, and its caller is told. */
static void wire_end(alk_call *call)
{
    alk_connection *c = call->conn;
    int rc = ALK_OK;

    if (c->closing >= 0)
        return;
    if (call->why == ALK_END_FAULT || call->why == ALK_END_TIMEOUT ||
        (call->why == ALK_END_CLOSED && call->fault.code))
        rc = send_fault(c, call);
    else if (call->why == ALK_END_OK && call->op->type == ALK_SUBSCRIPTION)
        rc = envelope_completed(&c->queue, call->stream, call->id);
    if (rc)
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an answer");
}

static const struct call_sink sink_wire = {NULL, wire_value, wire_end};

static bool lower_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    }
    return true;
}

static bool all_zero(const char *s, size_t n)
{
    while (n && s[n - 1] == '0')
        n--;
    return n == 0;
}

/* W3C Trace Context, 3.2: version ff and ids of zeros alone are invalid. Versions that are longer
 * than 00 are taken for invalid too. An invalid one is dropped and never a reason to refuse a
 * call, as the same document has it. */
bool traceparent_valid(struct str s)
{
    return s.p && s.n == 55 && s.p[2] == '-' && s.p[35] == '-' && s.p[52] == '-' &&
           lower_hex(s.p, 2) && lower_hex(s.p + 3, 32) && lower_hex(s.p + 36, 16) &&
           lower_hex(s.p + 53, 2) && memcmp(s.p, "ff", 2) && !all_zero(s.p + 3, 32) &&
           !all_zero(s.p + 36, 16);
}

/* Who asks: the payload's token if it belongs to somebody, else the connection. A token that fails
 * gives no rights and takes none, so the call goes on as the connection's; the fault that may
 * follow tells nothing about the token. */
static struct credential *caller(alk_connection *c, struct str token)
{
    struct credential *by;
    int rc;

    if (!token.p)
        return c->by;
    if (c->request_by && credential_is(c->request_by, token) && credential_good(c->request_by))
        return c->request_by;
    rc = credential_prove(&by, c->d, PROOF_TOKEN, token);
    if (by) {
        credential_unref(c->request_by);
        c->request_by = by;
        return by;
    }
    if (rc == ALK_ENOMEM) {
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for a request");
        return c->by;
    }
    connection_log(c, ALK_LOG_WARN, "auth.failed", credential_why(token));
    if (!credential_failed(c->d, c->remote) || ++c->auth_failures >= AUTH_FAILURES_MAX)
        connection_shut(c, ALK_CLOSE_IDENTITY, "too many failed authentications");
    return c->by;
}

/* For a request that does not get as far as a call. It is counted as one that began and ended, so
 * that the sums agree with what remotes see. */
static void refuse(alk_connection *c, uint64_t stream, struct str id, const alk_fault *f)
{
    COUNT(c->d, calls[CALL_INCOMING]);
    COUNT(c->d, ended[CALL_INCOMING][metrics_outcome(ALK_END_FAULT, fault_code(f))]);
    COUNT(c->d, calls_refused);
    if (envelope_error(&c->queue, stream, id, f))
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an answer");
}

/* forwarded_for as text, when this remote's word counts; never more than a record. It is written
 * anew from what was read, so that the log gets a known form and not the remote's bytes. */
static struct str claim(alk_connection *c, yyjson_val *v, struct msg *m)
{
    static const char *const known[] = {"id", "scopes", "resources", NULL};
    struct str id, s = {NULL, 0};
    alk_identity *who = NULL;
    const char *why;

    if (!v)
        return s;
    id.p = json_str(v, "id", &id.n);
    if (c->by && (c->by->kind & ALK_PEER_MAY_FORWARD) && id.n && !json_unknown_member(v, known) &&
        yyjson_is_arr(yyjson_obj_get(v, "scopes")) && yyjson_is_obj(yyjson_obj_get(v, "resources")))
        who = identity_make(id.p, id.n, yyjson_obj_get(v, "scopes"), yyjson_obj_get(v, "resources"),
                            &why);
    if (!who) {
        COUNT(c->d, discarded);
        return s;
    }
    s = (struct str){arena_dup(&m->arena, who->json.p, who->json.n), who->json.n};
    alk_identity_unref(who);
    return s;
}

struct payload {
    yyjson_val *operation, *input, *token, *forwarded_for, *hops, *timeout, *traceparent;
};

#define IS_KEY(literal) (!memcmp(name, literal, sizeof(literal) - 1))

/* One pass over the members instead of one for each, and the length tells most names apart: this is
 * what every request pays. No member comes twice, since the parser refuses that: two readers could
 * understand such a request differently. */
static void read_payload(yyjson_val *v, struct payload *p)
{
    size_t i, n;
    yyjson_val *key, *val;

    memset(p, 0, sizeof *p);
    yyjson_obj_foreach(v, i, n, key, val)
    {
        const char *name = unsafe_yyjson_get_str(key);
        yyjson_val **to = NULL;

        switch (unsafe_yyjson_get_len(key)) {
        case 4:
            to = IS_KEY("hops") ? &p->hops : NULL;
            break;
        case 5:
            to = IS_KEY("input") ? &p->input : NULL;
            break;
        case 10:
            to = IS_KEY("auth_token") ? &p->token : IS_KEY("timeout_ms") ? &p->timeout : NULL;
            break;
        case 11:
            to = IS_KEY("operationId")   ? &p->operation
                 : IS_KEY("traceparent") ? &p->traceparent
                                         : NULL;
            break;
        case 13:
            to = IS_KEY("forwarded_for") ? &p->forwarded_for : NULL;
            break;
        default:
            break;
        }
        if (to)
            *to = val;
    }
}

/* An id that is in use gets no answer, since that would be an answer to the call which has it. The
 * name need not be one yet: what is no name is not found. */
static void on_requested(alk_connection *c, uint64_t stream, struct str id, yyjson_val *payload,
                         struct msg *m)
{
    static const alk_fault no_operation = {.size = sizeof no_operation,
                                           .code = ALK_INVALID_INPUT,
                                           .message = "/operationId: must be a string"};
    struct request rq = {.msg = m, .id = id, .sink = &sink_wire, .stream = stream};
    struct payload p;
    struct str token;
    alk_call *call;

    if (map_find(&c->running, id.p, id.n) || memory_take(&c->early, id, c->d->now)) {
        COUNT(c->d, discarded);
        connection_log(c, ALK_LOG_WARN, "request.dropped", "its id is in use or was aborted");
        msg_free(m);
        return;
    }
    read_payload(payload, &p);
    rq.name = json_string(p.operation);
    if (!rq.name.p) {
        refuse(c, stream, id, &no_operation);
        msg_free(m);
        return;
    }
    token = json_string(p.token);
    rq.by = caller(c, token);
    /* It lies in the message, which may be kept for long. */
    mem_wipe((char *)token.p, token.n);
    /* Its token may have been one too many. */
    if (c->closing >= 0) {
        msg_free(m);
        return;
    }
    rq.input = p.input;
    rq.traceparent = json_string(p.traceparent);
    if (!traceparent_valid(rq.traceparent))
        rq.traceparent = STR_NONE;
    /* What is no number of milliseconds counts as not given: a caller from outside can only
     * shorten. */
    if (yyjson_is_uint(p.timeout) && yyjson_get_uint(p.timeout) < ALK_NO_TIMEOUT)
        rq.timeout_ms = (uint32_t)yyjson_get_uint(p.timeout);
    /* Cut and not wrapped: a number above 32 bits must not become a small one. */
    if (yyjson_is_uint(p.hops))
        rq.hops =
            yyjson_get_uint(p.hops) < UINT32_MAX ? (uint32_t)yyjson_get_uint(p.hops) : UINT32_MAX;
    rq.claim = claim(c, p.forwarded_for, m);
    rq.conn = c;
    /* Without a call there is nobody to answer, and the remote would wait for ever. */
    if (!(call = call_start(c->d, &rq)))
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for a request");
    else if (call->refused)
        call_done(call);
}

/* ---- our calls ------------------------------------------------------------------------------- */

/* By its id alone, whatever stream it came by. Ids of ours cannot be guessed, so no other
 * connection could answer for this one, and each has a map of its own in any case. */
static alk_call *pending(alk_connection *c, struct str id)
{
    struct map_node *n = map_find(&c->pending, id.p, id.n);

    return n ? container_of(n, alk_call, by_id) : NULL;
}

/* The value alone, for one that may have to wait long: a parsed envelope can be many times as
 * large as its text, and is what SLOW_BYTES would have to bound. NULL: there is no room for it. A
 * stream of its own is held back instead, and what comes meanwhile is not its reader's fault. */
static struct msg *compact(alk_call *call, uint64_t stream, struct msg *m)
{
    bool own = call->own_stream && stream == call->stream;
    struct msg *small = NULL;
    size_t len;
    const char *text = alk_value_text(&m->value, &len);

    if (text && (own || call->event_bytes + sizeof *m + len <= SLOW_BYTES))
        small = call_keep(call, m->payer, text, len);
    msg_free(m);
    return small;
}

static void on_responded(alk_connection *c, uint64_t stream, struct str id, yyjson_val *payload,
                         struct msg *m, size_t bytes)
{
    alk_call *call = pending(c, id);
    yyjson_val *v = yyjson_obj_get(payload, "output");

    if (!call) {
        COUNT(c->d, discarded);
        if (memory_take(&c->resolved, id, c->d->now) && envelope_aborted(&c->queue, stream, id))
            connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an abort");
        msg_free(m);
        return;
    }
    /* An answer without an output is one of null: the remote has done what it was asked for. */
    m->value.val = v ? v : (yyjson_val *)&value_null;
    /* A slow caller must not use up what the remote may have: who asked pays from here on. */
    if (call->msg->payer)
        msg_charge(m, call->msg->payer);
    /* One that is not held up takes what there is in the coming turn, however much that is. */
    if (call->paused || call->untaken) {
        m = compact(call, stream, m);
        if (!m) {
            call_end(call, ALK_END_FAULT, &fault_slow);
            return;
        }
        bytes = msg_size(m);
    }
    call_event(call, m, bytes);
    /* A stream that other calls share cannot be held back: they would all wait for one slow
     * reader. There SLOW_BYTES ends the call. */
    if (call->own_stream && !call->held_back && call->event_bytes > LIMIT(c->d->node, queue_high))
        call->carrier->hold_back(call, true);
    if (call->want == WANT_SINGLE) {
        call->remote_done = true;
        /* The message may be gone, and with it the id that came. */
        memory_add(&c->resolved, call->id, c->d->now, RESOLVED_MAX);
        call_end(call, ALK_END_OK, NULL);
    }
}

/* The remote's fault, copied into the call, since the message goes; a malformed one is INTERNAL. */
static void remote_fault(alk_call *call, yyjson_val *payload, alk_fault *f)
{
    struct arena *a = &call->msg->arena;
    struct str code = json_string(yyjson_obj_get(payload, "code"));
    struct str message = json_string(yyjson_obj_get(payload, "message"));
    yyjson_val *retryable = yyjson_obj_get(payload, "retryable");
    yyjson_val *details = yyjson_obj_get(payload, "details");
    yyjson_alc alc = arena_alc(a);

    *f = fault_internal;
    if (!code.n || !message.p || !yyjson_is_bool(retryable))
        return;
    f->code = arena_dup(a, code.p, code.n);
    f->code_len = code.n;
    f->message = arena_dup(a, message.p, message.n);
    f->message_len = message.n;
    f->retryable = yyjson_is_true(retryable);
    if (details)
        f->details = yyjson_val_write_opts(details, 0, &alc, NULL, NULL);
    if (!f->code || !f->message)
        *f = fault_internal;
}

/* A single result is remembered after a fault as well: the remote may answer twice. */
static void on_error(alk_connection *c, struct str id, yyjson_val *payload)
{
    alk_call *call = pending(c, id);
    alk_fault f;

    if (!call) {
        COUNT(c->d, discarded);
        return;
    }
    remote_fault(call, payload, &f);
    call->remote_done = true;
    if (call->want == WANT_SINGLE)
        memory_add(&c->resolved, id, c->d->now, RESOLVED_MAX);
    call_end(call, ALK_END_FAULT, &f);
}

/* Whoever asked for one result must get one or a fault: a completion alone is the remote's
 * mistake. */
static void on_completed(alk_connection *c, struct str id)
{
    static const alk_fault no_result = {
        .size = sizeof no_result, .code = ALK_INTERNAL, .message = "no result"};
    alk_call *call = pending(c, id);

    if (!call) {
        COUNT(c->d, discarded);
        return;
    }
    call->remote_done = true;
    if (call->want == WANT_SINGLE)
        call_end(call, ALK_END_FAULT, &no_result);
    else
        call_end(call, ALK_END_OK, NULL);
}

/* An id may be one of theirs, one of ours, or of a request that is still to come. The last cannot
 * be told from a call that has just ended, so such ids are remembered as well; they expire. */
static void on_aborted(alk_connection *c, struct str id)
{
    static const alk_fault by_remote = {
        .size = sizeof by_remote, .code = ALK_INTERNAL, .message = "aborted by the remote"};
    struct map_node *n = map_find(&c->running, id.p, id.n);
    alk_call *call;
    bool begun;

    if (n) {
        call = container_of(n, alk_call, by_id);
        begun = call->state > CALL_QUEUED;
        call_end(call, ALK_END_ABORTED, NULL);
        if (!begun)
            call_done(call);
    } else if ((call = pending(c, id))) {
        call->remote_done = true;
        call_end(call, ALK_END_FAULT, &by_remote);
    } else if (!memory_add(&c->early, id, c->d->now, EARLY_MAX)) {
        /* Its request would run for nobody. */
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an abort");
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Which of the two it was matters to the remote: over a limit it may come again, with other
 * messages; with broken JSON that would be of no use. Of many streams, one alone is broken, and it
 * is the link that resets it. */
static int broken(alk_connection *c, struct msg *m, int rc, const char *why)
{
    if (m)
        msg_free(m);
    if (c->queue.link.idle)
        connection_log(c, ALK_LOG_WARN, "stream.reset", why);
    else
        connection_shut(c, rc == ALK_EJSON ? ALK_CLOSE_PROTOCOL : ALK_CLOSE_LIMIT, why);
    return rc;
}

/* An unknown type is passed over: it may come from a later version of the protocol. m is taken
 * over, in each case. */
static void dispatch(alk_connection *c, uint64_t stream, struct str type, struct str id,
                     yyjson_val *payload, struct msg *m, size_t bytes)
{
#define IS(name) (type.n == sizeof(name) - 1 && !memcmp(type.p, name, sizeof(name) - 1))
    if (IS("call.requested")) {
        on_requested(c, stream, id, payload, m);
        return;
    }
    if (IS("call.responded")) {
        on_responded(c, stream, id, payload, m, bytes);
        return;
    }
    if (IS("call.completed"))
        on_completed(c, id);
    else if (IS("call.aborted"))
        on_aborted(c, id);
    else if (IS("call.error"))
        on_error(c, id, payload);
    msg_free(m);
#undef IS
}

/* Returns the payload. What is missing, or of another type, is NULL or STR_NONE. */
static yyjson_val *read_envelope(yyjson_val *v, struct str *type, struct str *id)
{
    size_t i, n;
    yyjson_val *key, *val, *payload = NULL;

    *type = *id = STR_NONE;
    yyjson_obj_foreach(v, i, n, key, val)
    {
        const char *name = unsafe_yyjson_get_str(key);
        size_t len = unsafe_yyjson_get_len(key);

        if (len == 2 && IS_KEY("id"))
            *id = json_string(val);
        else if (len == 4 && IS_KEY("type"))
            *type = json_string(val);
        else if (len == 7 && IS_KEY("payload"))
            payload = val;
    }
    return payload;
}

/* A stranger may send little; one that answers what we have asked is none. */
uint32_t connection_message_limit(const alk_connection *c)
{
    uint32_t most = queue_message_limit(&c->queue);
    uint32_t anonymous = LIMIT(c->d->node, anonymous_bytes);

    return c->by || c->pending.count || most < anonymous ? most : anonymous;
}

/* Only queues, so a link may feed from wherever bytes arrive. The length is looked at before
 * anything is copied. Ids are bounded because they are kept, and repeated in each answer. */
int alk_connection_feed(alk_connection *c, uint64_t stream, const char *envelope, size_t len)
{
    struct alk_dispatcher *d = c->d;
    struct json_error je;
    struct str type, id;
    yyjson_val *payload;
    struct msg *m;
    int rc;

    if (c->closing >= 0)
        return ALK_ECLOSED;
    if (len == 0)
        return broken(c, NULL, ALK_EJSON, "an empty message");
    if (len > connection_message_limit(c))
        return broken(c, NULL, ALK_ELIMIT, "a message above the limit");
    m = msg_new(&d->messages, c->account);
    if (!m)
        return broken(c, NULL, ALK_ELIMIT, "out of memory for a message");
    rc = msg_parse(m, envelope, len, &je);
    if (rc == ALK_ELIMIT && m->arena.refused) {
        msg_free(m);
        return ALK_EAGAIN;
    }
    if (rc)
        return broken(c, m, rc == ALK_ENOMEM ? ALK_ELIMIT : rc, je.text);
    payload = read_envelope(m->value.val, &type, &id);
    if (!type.p || !payload || id.n < 1 || id.n > ID_MAX_BYTES)
        return broken(c, m, ALK_EJSON, "an envelope needs type, id (1 to 256 bytes) and payload");
    dispatch(c, stream, type, id, payload, m, len);
    return c->closing >= 0 ? ALK_ECLOSED : ALK_OK;
}
