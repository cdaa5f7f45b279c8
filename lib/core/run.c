/* What is due for calls, in the dispatcher's turn: handlers are started, callbacks run. The only
 * code that enters the user's, and so the only place where a call may change between two lines:
 * each function of the user's may answer, end, abort or hold any call, this one included. The
 * reference that call_ready took keeps it in memory for the length of a step. */
#include "core/connection.h"
#include "core/cross.h"
#include "core/line.h"

#include <assert.h>

/* So that handlers cannot keep the loop: calls looked at in one round, and how often the time is
 * looked at meanwhile. */
#define TURN_STEPS 4096u
#define CLOCK_STEPS 4u

/* ---- starting -------------------------------------------------------------------------------- */

/* Also of a call that waits for a child or for a remote: those end with it. */
static void on_deadline(struct timer *t, uint64_t now)
{
    alk_call *c = container_of(t, alk_call, timer);

    (void)now;
    call_end(c, ALK_END_TIMEOUT, &fault_timeout);
}

/* The deadline counts from here, not from the request's arrival: a busy node must not use up a
 * caller's time before anything is done. An absolute one, which a parent has set, holds all the
 * same. false: it had passed already. */
static bool set_deadline(alk_call *c)
{
    uint64_t now = c->d->now;

    if (c->timeout != UINT64_MAX && now + c->timeout < c->deadline)
        c->deadline = now + c->timeout;
    if (c->deadline <= now && c->deadline != UINT64_MAX) {
        call_end(c, ALK_END_TIMEOUT, &fault_timeout);
        return false;
    }
    timer_init(&c->timer, on_deadline);
    timer_set(&c->d->schedule, &c->timer, c->deadline);
    return true;
}

/* A remote that has more to read than it may have gets nothing more to wait for: none of its calls
 * starts, also those with one result, which could not be held back once they run. */
static bool held_up(alk_call *c)
{
    alk_connection *conn = c->kind == CALL_INCOMING ? c->conn : NULL;

    if (!conn || queue_bytes(&conn->queue, c->stream) <= LIMIT(c->d->node, queue_high) ||
        !connection_await(conn, c))
        return false;
    c->room = ROOM_NONE;
    return true;
}

static void start(alk_call *c)
{
    int rc;

    if (held_up(c))
        return;
    c->room = ROOM_FREE;
    /* It may have waited for its start, or another handler of this turn has taken the right
     * away. */
    if (!credential_good(c->by)) {
        call_end(c, ALK_END_FAULT, &fault_revoked);
        return;
    }
    c->began = call_clock(c);
    if (!set_deadline(c))
        return;
    /* Before the handler, so that it may compose and answer from within its own frame. */
    call_set_state(c, CALL_RUNNING);
    /* A log that traces states may have ended it. */
    if (c->kind == CALL_OUTGOING || call_ended(c))
        return;
    if (c->sink->started)
        c->sink->started(c);
    if (call_ended(c))
        return;
    /* An operation of a JSON Schema alone (ALK_FROM_JSONSCHEMA) is described and cannot be run. */
    rc = c->far ? cross(c) : c->op->handler ? c->op->handler(c, c->op->ud) : ALK_ENOENT;
    if (!rc || call_ended(c))
        return;
    COUNT(c->d, handler_errors);
    /* For the log. The remote learns nothing of what went wrong inside but that it did. */
    c->note = alk_err_name(rc);
    call_log_handler(c, c->note);
    call_end(c, ALK_END_FAULT, &fault_internal);
}

static void let_go(alk_call *c, struct msg *m)
{
    size_t left = c->kept_bytes - m->kept;

    if (m->kept)
        meter_resize(&c->msg->payer->meter, c->kept_bytes, left);
    c->kept_bytes = left;
    c->event_bytes -= m->bytes;
    m->kept = 0;
    msg_free(m);
}

/* Frees their memory at once, and not with the call, which somebody may hold for long. */
static void drop_events(alk_call *c)
{
    while (!list_empty(&c->events)) {
        struct msg *m = container_of(c->events.next, struct msg, link);

        list_del(&m->link);
        let_go(c, m);
    }
}

/* Its caller wants no more values. */
static bool cut_off(const alk_call *c)
{
    return call_ended(c) && (c->why == ALK_END_ABORTED || c->why == ALK_END_CLOSED);
}

/* The loop looks at the call anew for each value: on_event may pause it, abort it, or (the
 * forwarder) find that there is no room. That value goes back to the front, and is the first one
 * when it goes on. */
static void deliver_events(alk_call *c)
{
    size_t low = LIMIT(c->d->node, queue_high) / 2;

    while (!list_empty(&c->events) && !c->paused && !c->untaken && !cut_off(c)) {
        struct msg *m = container_of(c->events.next, struct msg, link);

        list_del(&m->link);
        if (c->on_event)
            c->on_event(c, &m->value, c->result_ud);
        if (c->untaken)
            list_push_front(&c->events, &m->link);
        else
            let_go(c, m);
    }
    if (c->event_bytes > low)
        return;
    /* Below half of the mark and not just below it, so that a fast handler is not woken for each
     * value that is taken. */
    call_make_room(c);
    if (c->held_back)
        c->carrier->hold_back(c, false);
}

/* The caller of one that goes on without it. Values that were on their way are dropped: after its
 * on_end nothing more may reach it. */
static void deliver_cut(alk_call *c)
{
    alk_end_fn fn = c->on_result;

    c->tie = TIE_NONE;
    drop_events(c);
    c->on_event = NULL;
    c->on_result = NULL;
    if (fn)
        fn(c, ALK_END_ABORTED, NULL, c->result_ud);
}

/* As soon as the call has ended, however long its caller takes for the values. */
static void tell_handler(alk_call *c)
{
    bool failed = c->handler_why == ALK_END_FAULT || c->handler_why == ALK_END_TIMEOUT;

    /* Before the function, which may ask for anything on the call, also for another on_end: too
     * late. */
    call_set_state(c, CALL_TOLD);
    if (c->on_end)
        c->on_end(c, c->handler_why, failed ? &c->fault : NULL, c->on_end_ud);
}

/* The last thing that happens to a call. on_result is the last function of the application that
 * gets it, unless somebody holds it. */
static void deliver_end(alk_call *c)
{
    const alk_fault *f = c->why == ALK_END_FAULT || c->why == ALK_END_TIMEOUT ? &c->fault : NULL;

    call_set_state(c, CALL_DONE);
    call_unlink_child(c);
    if (c->on_result)
        c->on_result(c, c->why, f, c->result_ud);
    alk_call_unref(c); /* life */
}

/* A function of the user's is due while the call runs. */
static void run_hooks(alk_call *c)
{
    if (c->room == ROOM_AGAIN && !call_ended(c)) {
        c->room = ROOM_FREE;
        /* The state is reset first: on_drain may emit, be refused again, and so ask for the next
         * on_drain. */
        if (c->on_drain)
            c->on_drain(c, c->on_drain_ud);
    }
    if (c->to_shut_down && !call_ended(c)) {
        c->to_shut_down = false;
        if (c->on_shutdown)
            c->on_shutdown(c, c->on_shutdown_ud);
    }
}

/* What is due for it: one at a time, since each function of the user's may end it. An end that
 * comes up here has queued the call again, behind those that ended before it.
 *
 * The order is that in which the parties may know: the handler starts, hears of room, hears of the
 * end; then the caller gets the values that came before the end, then the end. A caller that is
 * told to stop waiting (TIE_CUT) comes first, as for it nothing else is coming. */
static void step(alk_call *c)
{
    bool ended = call_ended(c);

    if (c->state == CALL_QUEUED)
        start(c);
    if (c->tie == TIE_CUT) {
        deliver_cut(c);
        if (ended) {
            call_ready(c);
            return;
        }
    }
    run_hooks(c);
    if (!ended && call_ended(c))
        return;
    if (c->state == CALL_ENDED)
        tell_handler(c);
    if (!list_empty(&c->events))
        deliver_events(c);
    if (cut_off(c))
        drop_events(c);
    if (c->state == CALL_TOLD && list_empty(&c->events))
        deliver_end(c);
}

/* Nothing of the application's knows of the call, so it need not wait for the turn. */
void call_done(alk_call *c)
{
    assert(c->state == CALL_ENDED && !c->on_end && !c->on_result);
    list_del(&c->ready);
    step(c);
    alk_call_unref(c);
}

/* One call of each caller in turn, so that nobody waits for all that another has asked for. An
 * account whose calls have ended before they could start is passed over. */
static struct list *next_start(struct alk_dispatcher *d)
{
    while (!list_empty(&d->starters)) {
        struct account *a = container_of(d->starters.next, struct account, link);
        struct list *first = a->starts.next;

        list_del(&a->link);
        if (list_empty(&a->starts))
            continue;
        list_del(first);
        if (!list_empty(&a->starts))
            list_push(&d->starters, &a->link);
        return first;
    }
    return NULL;
}

/* What runs goes on and what waits is started, by turns: neither keeps the other from its turn. */
static struct list *next_due(struct alk_dispatcher *d, unsigned step)
{
    struct list *l = step % 2 || list_empty(&d->ready) ? next_start(d) : NULL;

    if (l || list_empty(&d->ready))
        return l;
    l = d->ready.next;
    list_del(l);
    return l;
}

/* Takes one again and again: any step may put calls into the lists, or end others that stand in
 * them. The reference goes from the list to this loop. */
bool calls_run(struct alk_dispatcher *d)
{
    struct list *l;

    for (unsigned i = 0; i < TURN_STEPS; i++) {
        alk_call *c;

        if ((i && i % CLOCK_STEPS == 0 && dispatcher_late(d)) || !(l = next_due(d, i)))
            break;
        c = container_of(l, alk_call, ready);
        step(c);
        alk_call_unref(c);
    }
    return !calls_due(d);
}

/* ---- the sink of those who call with callbacks ----------------------------------------------- */

void call_event(alk_call *c, struct msg *m, size_t bytes)
{
    m->bytes = bytes;
    c->event_bytes += bytes;
    c->values++;
    list_push(&c->events, &m->link);
    call_ready(c);
}

/* Of all that waits: many small values are memory like a large one. */
static bool may_keep(const alk_call *c, size_t bytes)
{
    return !c->msg->payer || c->kept_bytes + bytes < METER_MIN ||
           account_has_room(c->msg->payer, bytes);
}

struct msg *call_keep(alk_call *c, struct account *other, const char *text, size_t len)
{
    struct account *payer = c->msg->payer;
    struct msg *m =
        may_keep(c, len) ? msg_of_text(&c->d->messages, payer ? NULL : other, text, len) : NULL;
    size_t bytes = m ? msg_size(m) : 0;

    if (!m || !payer)
        return m;
    if (!meter_resize(&payer->meter, c->kept_bytes, c->kept_bytes + bytes)) {
        msg_free(m);
        return NULL;
    }
    m->kept = bytes;
    c->kept_bytes += bytes;
    return m;
}

/* Who pays for values that wait: the call's payer, or of one of the node's own to a remote of another
 * dispatcher that remote, as it does for what it sends to this one. A reference. */
static bool value_payer(alk_call *c, struct account **out)
{
    struct account *payer = c->msg->payer;

    if (!payer && c->line)
        return hold_account(&c->line->payer, &c->d->accounts, out);
    *out = payer ? account_ref(payer) : NULL;
    return true;
}

static int callbacks_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct account *payer;
    struct msg *m = NULL;

    /* One value is taken whatever its size, or a large one could never pass. A result is never
     * refused: its call has ended when it has been given, and nobody could try again. */
    if (!final && c->event_bytes &&
        (c->event_bytes + len > LIMIT(c->d->node, queue_high) || !may_keep(c, len)))
        return ALK_EAGAIN;
    /* The first is taken at once, as a rule; what waits behind it costs no more than its size. */
    if (!value_payer(c, &payer))
        return ALK_ENOMEM;
    if (!list_empty(&c->events))
        m = call_keep(c, payer, text, len);
    else if ((m = msg_new(&c->d->messages, payer))) {
        m->value.text = arena_dup(&m->arena, text, len);
        m->value.len = len;
        if (!m->value.text) {
            msg_free(m);
            m = NULL;
        }
    }
    account_unref(payer);
    if (!m)
        return ALK_ENOMEM;
    call_event(c, m, msg_size(m));
    return ALK_OK;
}

static void callbacks_end(alk_call *c)
{
    (void)c; /* deliver_end tells */
}

const struct call_sink sink_callbacks = {NULL, callbacks_value, callbacks_end};

/* Only queues on_drain: whoever finds the room (a link that was written to, a caller that has
 * taken a value) is not the place to enter a handler from. */
void call_make_room(alk_call *c)
{
    if (c->room != ROOM_NONE)
        return;
    c->room = ROOM_AGAIN;
    list_del(&c->waiting);
    call_ready(c);
}

/* Those that asked are told. Other single results are mostly there long before drain_ms; a
 * subscription may have no end of its own, and whoever follows it had better go elsewhere now. One
 * below a handler is that handler's affair, and one of the node's own to a remote is the remote's. */
void call_shutdown(alk_call *c)
{
    if (call_ended(c))
        return;
    if (c->on_shutdown) {
        c->to_shut_down = true;
        call_ready(c);
    } else if (c->op && c->op->type == ALK_SUBSCRIPTION && !c->parent && !c->far_child &&
               !c->line) {
        call_end(c, ALK_END_FAULT, &fault_shutdown);
    }
}
