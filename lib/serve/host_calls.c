/* What the program has submitted, on the thread of the loop: its answers, and the calls that it
 * makes. */
#include "serve/host_int.h"

#include "core/connection.h"
#include "core/forward.h"
#include "core/resolve.h"

#include <string.h>

/* ---- answers --------------------------------------------------------------------------------- */

static void wrong(alk_call *call, const char *what)
{
    if (call_ended(call))
        return;
    call_log_handler(call, what);
    call_end(call, ALK_END_FAULT, &fault_internal);
}

/* {"code","message"?,"retryable"?,"details"?} */
static int read_fault(alk_fault *f, yyjson_val *v, char **details)
{
    yyjson_val *more = yyjson_obj_get(v, "details");
    struct str code = json_string(yyjson_obj_get(v, "code"));
    struct str message = json_string(yyjson_obj_get(v, "message"));

    *f = (alk_fault){.size = sizeof *f,
                     .code = code.p,
                     .code_len = code.n,
                     .message = message.p,
                     .message_len = message.n,
                     .retryable = yyjson_is_true(yyjson_obj_get(v, "retryable"))};
    if (!code.p)
        return ALK_EINVAL;
    *details = more ? yyjson_val_write(more, 0, NULL) : NULL;
    f->details = *details;
    return more && !*details ? ALK_ENOMEM : ALK_OK;
}

static void fail(alk_host *h, alk_call *call, const struct command *c)
{
    struct msg *m = msg_new(&h->d->messages, NULL);
    char *details = NULL;
    alk_fault f;
    int rc = m ? msg_parse(m, c->text, c->len, NULL) : ALK_ENOMEM;

    if (!rc)
        rc = read_fault(&f, m->value.val, &details);
    if (!rc)
        rc = call_fail(call, &f, FAULT_OF_HOST);
    free(details);
    if (m)
        msg_free(m);
    if (rc)
        wrong(call, rc == ALK_ENOMEM ? "out of memory" : "what it failed with is no fault");
}

/* ALK_EAGAIN: not now. */
static int answer(alk_host *h, struct subject *s, const struct command *c)
{
    int rc = ALK_OK;

    switch (c->kind) {
    case COMMAND_REPLY:
        rc = alk_call_reply(s->call, c->text, c->len);
        break;
    case COMMAND_EMIT:
        rc = alk_call_emit(s->call, c->text, c->len);
        if (rc != ALK_EAGAIN)
            subject_emitted(s, c->len);
        break;
    case COMMAND_COMPLETE:
        rc = alk_call_complete(s->call);
        break;
    default:
        fail(h, s->call, c);
        break;
    }
    if (rc && rc != ALK_EAGAIN)
        wrong(s->call, rc == ALK_EJSON ? "what it answered is not JSON" : alk_err_name(rc));
    return rc == ALK_EAGAIN ? rc : ALK_OK;
}

static void grant_room(alk_host *h, struct subject *s)
{
    struct event *ev = event_new(ALK_HOST_ROOM, NULL, 0);

    s->room_wanted = false;
    /* Or the program would wait for it for ever. */
    if (!ev) {
        wrong(s->call, "out of memory");
        return;
    }
    ev->e.id = subject_id(s);
    ev->e.tag = s->tag;
    subject_clear(s, SUBJECT_BLOCKED);
    work_post(h, ev);
}

static void on_room(alk_call *call, void *ud)
{
    struct subject *s = ud;

    while (!list_empty(&s->held)) {
        struct command *c = container_of(s->held.next, struct command, link);

        if (answer(s->h, s, c) == ALK_EAGAIN) {
            alk_call_on_drain(call, on_room, s);
            return;
        }
        list_del(&c->link);
        command_free(c);
    }
    if (s->room_wanted)
        grant_room(s->h, s);
}

/* What comes behind something that waits, waits too. */
static void take_answer(alk_host *h, struct subject *s, struct command *c)
{
    if (!list_empty(&s->held)) {
        list_push(&s->held, &c->link);
    } else if (answer(h, s, c) == ALK_EAGAIN) {
        list_push(&s->held, &c->link);
        alk_call_on_drain(s->call, on_room, s);
    } else {
        command_free(c);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

void work_pause_all(alk_host *h, bool paused)
{
    h->streams_paused = paused;
    list_each(l, &h->streams)
    {
        struct subject *s = container_of(l, struct subject, link);

        alk_call_pause(s->call, paused || subject_clear(s, 0) & SUBJECT_PAUSED);
    }
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct subject *s = ud;
    alk_host *h = s->h;
    bool stream = subject_clear(s, 0) & SUBJECT_SUBSCRIPTION;
    size_t len = 0;
    const char *text = alk_value_text(value, &len);
    struct event *ev = text ? event_new(stream ? ALK_HOST_VALUE : ALK_HOST_END, text, len) : NULL;

    if (!ev) {
        s->lost = true;
        alk_call_abort(call);
        return;
    }
    ev->e.id = s->end->e.id;
    ev->e.tag = s->tag;
    if (!stream) {
        event_free(s->end);
        s->end = ev;
        return;
    }
    work_post(h, ev);
    if (h->streams_paused || !work_above(h))
        return;
    /* Whoever has filled the queue is the last to go on, or others might never. */
    list_del(&s->link);
    list_push(&h->streams, &s->link);
    work_pause_all(h, true);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct subject *s = ud;

    (void)call;
    if (s->lost)
        work_end(s, ALK_END_FAULT, &fault_internal);
    else
        work_end_call(s, why, fault);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static const alk_fault fault_no_peer = {
    .size = sizeof fault_no_peer, .code = ALK_NOT_FOUND, .message = "no connected peer serves it"};
static const alk_fault fault_input = {.size = sizeof fault_input,
                                      .code = ALK_INVALID_INPUT,
                                      .message = "the input is not JSON, or too large or too deep"};

static bool keep(struct arena *a, const char *text, size_t len, struct str *out)
{
    *out = (struct str){text ? arena_dup(a, text, len) : NULL, len};
    return !text || out->p;
}

/* Where a root call of the program's goes; without an operation call_start looks itself, and
 * complains. To be let go. */
static int find(alk_host *h, const struct call_command *k, struct line *line, struct str name,
                struct target *t)
{
    *t = (struct target){.op = NULL};
    if (line) {
        *t = (struct target){.op = forward_unknown(k->stream), .line = line_ref(line)};
        return ALK_OK;
    }
    if (k->peer)
        return peer_find(h->d, str_of(k->peer), name, t) ? ALK_OK : ALK_ENOENT;
    if (!node_serves(h->d, name, t))
        peers_serve(h->d, name, t);
    return ALK_OK;
}

/* As whoever the program says, for which it vouches, through the same checks as every call. */
static int start_in(alk_host *h, struct subject *s, const struct call_command *k, struct line *line,
                    struct msg *m, struct credential *by)
{
    struct request rq = {.msg = m,
                         .by = by,
                         .sink = &sink_callbacks,
                         .timeout_ms = k->timeout_ms,
                         .want = k->stream ? WANT_STREAM : WANT_SINGLE,
                         .own = true};
    char *id = arena_alloc(&m->arena, ID_SIZE);
    struct target t;
    alk_call *call;

    if (!id || !keep(&m->arena, k->operation.p, k->operation.n, &rq.name) ||
        !keep(&m->arena, k->traceparent, k->traceparent ? strlen(k->traceparent) : 0,
              &rq.traceparent)) {
        msg_free(m);
        return ALK_ENOMEM;
    }
    if (find(h, k, line, rq.name, &t)) {
        msg_free(m);
        return ALK_ENOENT;
    }
    /* Of its own operations call_start decides whether they may be called from outside. */
    if (t.set || t.line)
        rq.target = &t;
    rq.input = m->value.val;
    dispatcher_id(h->d, id);
    rq.id = (struct str){id, ID_SIZE - 1};
    call = call_start(h->d, &rq);
    target_drop(&t);
    if (!call)
        return ALK_ENOMEM;
    call->on_event = on_value;
    call->on_result = on_end;
    call->result_ud = s;
    s->call = alk_call_ref(call);
    return ALK_OK;
}

/* line: of another loop's connection, to which the program's calls go as the node's own. */
static int start(alk_host *h, struct subject *s, const struct command *c, struct line *line)
{
    const alk_identity *who = line ? NULL : c->call->identity;
    struct credential *by = NULL;
    struct msg *m;
    int rc;

    if (who) {
        by = credential_known(h->d, PROOF_VOUCHED, STR_NONE, who, ALK_KIND_KEY);
        if (!by)
            return ALK_ENOMEM;
    }
    m = msg_new(&h->d->messages, by ? by->account : NULL);
    rc = m ? msg_parse(m, c->text, c->len, NULL) : ALK_ENOMEM;
    if (!rc)
        rc = start_in(h, s, c->call, line, m, by);
    else if (m)
        msg_free(m);
    credential_unref(by);
    return rc;
}

/* A call to the program; NULL: it has ended. */
static struct subject *running(alk_host *h, uint64_t id)
{
    uint64_t word;
    struct subject *s = subject_find(&h->subjects, id, &word);

    return s && SUBJECT_KIND(word) == SUBJECT_CALLED ? s : NULL;
}

static int begin(alk_host *h, struct subject *s, const struct command *c)
{
    const struct call_command *k = c->call;
    struct subject *parent = k->parent ? running(h, k->parent) : NULL;
    struct line *line = k->connection ? work_line(h, k->connection) : NULL;
    const bool here = line && line->at == h->d->port;
    alk_connection *connection = here ? line->conn : NULL;
    alk_call_options o = {.size = sizeof o};

    if (k->parent && !parent)
        return ALK_EENDED;
    if (k->connection && (!line || line_is_shut(line)))
        return ALK_ECLOSED;
    if (!parent && !connection)
        return start(h, s, c, line);
    o.stream = k->stream;
    o.timeout_ms = k->timeout_ms;
    o.policy = k->policy;
    o.traceparent = k->traceparent;
    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = s;
    if (!parent)
        return alk_connection_call(connection, k->operation.p, k->operation.n, c->text, c->len, &o,
                                   &s->call);
    o.connection = connection;
    o.peer = k->peer;
    o.selector = line ? ALK_SELECT_CONNECTION : k->peer ? ALK_SELECT_PEER : ALK_SELECT_LAYERS;
    return call_invoke(parent->call, NULL, here ? NULL : line, k->operation, c->text, c->len, &o,
                       &s->call);
}

static const alk_fault *why_not(int rc)
{
    switch (rc) {
    case ALK_ENOENT:
        return &fault_no_peer;
    case ALK_EJSON:
        return &fault_input;
    case ALK_ELIMIT:
        return &fault_busy;
    case ALK_ECLOSED:
        return &fault_closed;
    default:
        return &fault_internal;
    }
}

static void call(alk_host *h, struct subject *s, const struct command *c)
{
    int rc = begin(h, s, c);

    if (rc == ALK_EENDED) {
        work_end_call(s, ALK_END_ABORTED, NULL);
    } else if (rc) {
        work_end(s, ALK_END_FAULT, why_not(rc));
    } else if (c->call->stream) {
        list_push(&h->streams, &s->link);
        if (h->streams_paused)
            alk_call_pause(s->call, 1);
    }
}

/* ---- commands -------------------------------------------------------------------------------- */

/* Who guesses an id may come before what the id is for. */
static void stop(struct subject *s, uint64_t word)
{
    switch (SUBJECT_KIND(word)) {
    case SUBJECT_DIAL:
        if (s->dialer)
            work_hang_up(s);
        break;
    case SUBJECT_SESSION:
        work_dismiss(s);
        break;
    default:
        if (s->call)
            alk_call_abort(s->call);
        break;
    }
}

/* What its id stands for may have ended meanwhile; that is told already, or on its way. */
void work_do(alk_host *h, struct command *c)
{
    uint64_t word;
    struct subject *s = subject_find(&h->subjects, c->id, &word);

    if (s) {
        switch (c->kind) {
        case COMMAND_CALL:
            call(h, s, c);
            break;
        case COMMAND_DIAL:
            work_dial(s);
            break;
        case COMMAND_PAUSE:
            word = subject_clear(s, SUBJECT_PAUSING);
            if (s->call)
                alk_call_pause(s->call, h->streams_paused || word & SUBJECT_PAUSED);
            break;
        case COMMAND_ABORT:
            stop(s, word);
            break;
        case COMMAND_ROOM:
            if (list_empty(&s->held))
                grant_room(h, s);
            else
                s->room_wanted = true;
            break;
        default:
            take_answer(h, s, c);
            return;
        }
    }
    command_free(c);
}
