/* The life of a call and its end (call.h). Ending comes from everywhere: an answer, an abort, a
 * deadline, a lost connection, a parent's end. So it runs no code of the user's: it settles the
 * reason, tells the sink, and queues the rest for run.c. What telling the sink may do (close the
 * connection that the call came by) is why the order in finish matters. */
#include "core/call.h"

#include "base/utf8.h"
#include "core/fault.h"
#include "core/line.h"
#include "core/overlay.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of a fault's message that is made here. Names and paths that a remote has chosen go into
 * it, so it needs a bound of its own. */
#define MESSAGE_MAX 500

#define FAULT(name, code_, message_, retry)                                                        \
    const alk_fault name = {                                                                       \
        .size = sizeof(alk_fault), .retryable = retry, .code = code_, .message = message_}

FAULT(fault_internal, ALK_INTERNAL, "internal error", 0);
FAULT(fault_timeout, ALK_TIMEOUT, "the deadline has passed", 1);
FAULT(fault_busy, ALK_BUSY, "too many calls", 1);
FAULT(fault_closed, ALK_INTERNAL, "connection closed", 0);
FAULT(fault_shutdown, ALK_BUSY, "shutting down", 1);
FAULT(fault_rate, ALK_BUSY, "too many calls per second", 1);
FAULT(fault_slow, "TOO_SLOW", "the subscriber does not keep up", 0);
FAULT(fault_orphan, ALK_INTERNAL, "parent aborted", 0);
FAULT(fault_full, ALK_BUSY, "the message budget is used up", 1);
FAULT(fault_revoked, ALK_FORBIDDEN, "the credential has been revoked", 0);

/* ---- life ------------------------------------------------------------------------------------ */

/* The call lies in its message's arena, so that a small request costs no allocation of its own,
 * and both go at once. The dispatcher is held too: a call that the application keeps must stay
 * valid after alk_dispatcher_free. */
alk_call *call_new(struct alk_dispatcher *d, struct msg *msg)
{
    alk_call *c = arena_zalloc(&msg->arena, sizeof *c);

    if (!c)
        return NULL;
    c->d = d;
    c->msg = msg;
    c->refs = 1; /* life: dropped when its callbacks have run */
    c->input.arena = &msg->arena;
    c->name = c->id = (struct str){"", 0};
    c->deadline = UINT64_MAX;
    list_init(&c->ready);
    list_init(&c->children);
    list_init(&c->sibling);
    list_init(&c->waiting);
    list_init(&c->of_stream);
    list_init(&c->on_by.link);
    list_init(&c->events);
    list_push(&d->calls, &c->link);
    d->refs++;
    d->stats.calls++;
    heap_node_init(&c->timer.node);
    return c;
}

alk_call *alk_call_ref(alk_call *call)
{
    call->refs++;
    return call;
}

/* What is needed after msg_free is read before it, since the call is in that memory. The
 * dispatcher goes last: it may be freed with this, and its allocator with it. References are
 * counted without atomics, as a call belongs to its dispatcher's thread. */
void alk_call_unref(alk_call *call)
{
    struct alk_dispatcher *d;
    alk_call *root;

    if (!call || --call->refs)
        return;
    d = call->d;
    root = call->root;
    /* The life reference is dropped by DONE alone, so nobody can unref a call away before its
     * callers have heard of the end. */
    assert(call->state == CALL_DONE && list_empty(&call->children) && list_empty(&call->events) &&
           list_empty(&call->sibling) && list_empty(&call->ready) && list_empty(&call->waiting) &&
           !call->conn && !timer_is_set(&call->timer));
    list_del(&call->link);
    overlay_unref(call->set);
    alk_connection_unref(call->via);
    member_unref(call->member);
    line_unref(call->line);
    alk_registry_unref(call->discovered);
    alk_registry_unref(call->session);
    credential_unref(call->by);
    alk_identity_unref(call->identity);
    alk_identity_unref(call->originator);
    d->stats.calls--;
    msg_free(call->msg);
    if (root) {
        root->live--;
        alk_call_unref(root); /* has no root of its own */
    }
    dispatcher_unref(d);
}

void call_trace(const alk_call *c)
{
    static const char *const names[] = {"checking", "queued", "running", "ended", "told", "done"};
    alk_log_event e = {.size = sizeof e,
                       .level = ALK_LOG_DEBUG,
                       .event = "call.state",
                       .message = names[c->state]};

    e.request_id = c->id.p;
    e.request_id_len = c->id.n;
    node_log(c->d->node, &e);
}

/* The only way to DONE that passes over ENDED: there is no end that anybody could be told of. */
void call_discard(alk_call *c)
{
    call_unlink_child(c);
    call_set_state(c, CALL_DONE);
    alk_call_unref(c);
}

/* The handler starts in the turn, so the caller has its call in hand before anything happens to
 * it. */
void call_queue(alk_call *c)
{
    bool root = c->kind == CALL_INCOMING || c->kind == CALL_CROSSED;
    struct account *payer = root ? c->msg->payer : NULL;

    call_set_state(c, CALL_QUEUED);
    if (!payer) {
        call_ready(c);
        return;
    }
    c->refs++;
    list_push(&payer->starts, &c->ready);
    if (list_empty(&payer->link))
        list_push(&c->d->starters, &payer->link);
}

/* A call in the ready list holds a reference of that list, so that its step may drop all others.
 * It stands there once, however much is due for it. */
void call_ready(alk_call *c)
{
    if (!list_empty(&c->ready))
        return;
    c->refs++;
    list_push(&c->d->ready, &c->ready);
}

/* ---- the end --------------------------------------------------------------------------------- */

bool logs_calls(const alk_node *n)
{
    return n->log && n->log_level >= ALK_LOG_INFO;
}

uint64_t call_clock(const alk_call *c)
{
    return logs_calls(c->d->node) && c->d->clock ? c->d->clock() : c->d->now;
}

/* Says what the caller gets to know, and `note`, which it does not: an internal error is "internal
 * error" for the remote and has its reason here only. A call that has crossed over has its line where
 * it came from. */
static void log_end(const alk_call *c, uint64_t ns)
{
    static const char *const outcomes[] = {"ok", NULL, "aborted", ALK_TIMEOUT, "closed"};
    const alk_node *n = c->d->node;
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_INFO, .event = "call"};
    char name[NAME_MAX_BYTES + 1];
    size_t len = utf8_cut(c->name.p, c->name.n, NAME_MAX_BYTES);
    struct str own = c->op ? op_name(c->op) : STR_NONE;

    if (!logs_calls(n) || c->kind == CALL_CROSSED)
        return;
    e.request_id = c->id.p;
    e.request_id_len = c->id.n;
    e.identity = c->identity ? c->identity->id.p : NULL;
    /* What a remote asks for need not be a name, nor end. */
    memcpy(name, c->name.p, len);
    name[len] = 0;
    e.operation = own.p ? own.p : name;
    e.operation_len = own.p ? own.n : len;
    e.outcome = outcomes[c->why];
    e.message = c->note;
    if (c->why == ALK_END_FAULT) {
        e.outcome = c->fault.code;
        e.outcome_len = c->fault.code_len;
    }
    if (c->why == ALK_END_FAULT && !c->note) {
        e.message = c->fault.message;
        e.message_len = c->fault.message_len;
    }
    e.remote = c->remote;
    e.claim = c->claim.p;
    e.duration_us = ns / 1000;
    e.count = c->values;
    node_log(n, &e);
}

void call_unlink_child(alk_call *c)
{
    list_del(&c->sibling);
    c->parent = NULL;
}

/* One call alone; call_end sees to those below it.
 *
 * The order counts. The state comes first, so that whatever the rest brings about finds a call
 * that has ended. The connection's maps come before the sink: when an answer cannot be sent, the
 * sink shuts the connection, which ends all that is in its maps until they are empty, and ending
 * this one again would do nothing. The sink comes before `leave`, as it still needs the
 * connection; and `leave` is last, since it may close the connection as well: what ends by that,
 * perhaps the parent, is told behind this one. */
static void finish(alk_call *c, int why, const alk_fault *fault)
{
    uint64_t ns = c->began ? call_clock(c) - c->began : 0;

    c->refused = c->state == CALL_CHECKING;
    if (c->carrier)
        c->carrier->unlist(c);
    call_set_state(c, CALL_ENDED);
    c->why = c->handler_why = (uint8_t)why;
    if (fault) {
        c->fault = *fault;
        c->fault.code_len = fault_code(fault).n;
        c->fault.message_len = fault_message(fault).n;
    }
    timer_clear(&c->d->schedule, &c->timer);
    list_del(&c->on_by.link);
    /* One whose values still wait is its parent's until they are taken. */
    if (list_empty(&c->events))
        call_unlink_child(c);
    if (c->refused)
        COUNT(c->d, calls_refused);
    COUNT(c->d, ended[c->kind][metrics_outcome(why, fault_code(&c->fault))]);
    if (c->began && c->values <= 1 && !(c->op && c->op->type == ALK_SUBSCRIPTION))
        metrics_took(&c->d->counts.metrics, c->kind, why, ns);
    log_end(c, ns);
    c->sink->end(c);
    /* Behind those that have ended before it, children first, whatever it was queued for; but the
     * caller of one that goes on without it is told in its place, and the end is queued behind
     * that. */
    if (list_empty(&c->ready)) {
        call_ready(c);
    } else if (c->tie != TIE_CUT) {
        list_del(&c->ready);
        list_push(&c->d->ready, &c->ready);
    }
    if (c->carrier)
        c->carrier->leave(c);
}

static int null_value(alk_call *c, const char *text, size_t len, bool final)
{
    (void)c;
    (void)text;
    (void)len;
    (void) final;
    return ALK_OK;
}

static void null_end(alk_call *c)
{
    (void)c;
}

/* For a call that nobody waits for: its values are dropped, and it is never held up by them. */
static const struct call_sink sink_null = {NULL, null_value, null_end};

/* handler_why stays: the handler is told how its call ended, whatever the caller does with the
 * values. */
void call_hurry(alk_call *c, int why)
{
    call_unlink_child(c);
    c->why = (uint8_t)why;
    c->paused = c->untaken = false;
    call_ready(c);
}

/* The next one below top, parents before their children. */
static alk_call *below(const alk_call *top, const alk_call *at)
{
    if (!list_empty(&at->children))
        return container_of(at->children.next, alk_call, sibling);
    while (at != top && at->sibling.next == &at->parent->children)
        at = at->parent;
    return at == top ? NULL : container_of(at->sibling.next, alk_call, sibling);
}

/* What runs here sees it when it begins something (inherit); what runs elsewhere is told. */
void call_alone(alk_call *top)
{
    for (alk_call *c = top; c; c = below(top, c)) {
        if (c->on_alone)
            c->on_alone(c);
    }
}

/* A child that goes on becomes a root of its own, whose results nobody waits for. One that waits
 * for its caller to take values would wait for ever, so it gets room. */
static void orphan(alk_call *c)
{
    call_unlink_child(c);
    c->tie = TIE_CUT;
    c->sink = &sink_null;
    call_alone(c);
    call_make_room(c);
    call_ready(c);
}

/* What has not been started has done nothing that must be finished. An outgoing call is always
 * ended: the remote is told, and its side has a policy of its own. */
static bool goes_on(const alk_call *c)
{
    return c->policy == ALK_CONTINUE_RUNNING && c->op && c->state >= CALL_RUNNING;
}

/* The first child that is to end with its parent; others are let go. Each look takes a child out
 * of the list or returns it to be ended, which does the same, so that the walk comes to an end. */
static alk_call *dependent(alk_call *c)
{
    while (!list_empty(&c->children)) {
        alk_call *child = container_of(c->children.next, alk_call, sibling);

        if (call_ended(child))
            call_hurry(child, ALK_END_ABORTED);
        else if (goes_on(child))
            orphan(child);
        else
            return child;
    }
    return NULL;
}

/* Post-order without recursion, since the remote chooses the depth. Children end first: a parent's
 * on_end may free what their handlers still use.
 *
 * Runs no function of the application, so it is safe from anywhere: from within a handler, a
 * timer, a connection that is being shut. Ending a call that has ended does nothing, which makes
 * it harmless when a deadline, an abort and an answer come together. */
void call_end(alk_call *c, int why, const alk_fault *fault)
{
    alk_call *at = c, *up, *down;

    if (call_ended(c))
        return;
    for (;;) {
        while ((down = dependent(at)))
            at = down;
        if (at == c)
            break;
        up = at->parent;
        finish(at, ALK_END_ABORTED, NULL);
        /* Telling a remote may have closed the connection that c came by. */
        if (call_ended(c))
            return;
        at = up;
    }
    finish(c, why, fault);
}

/* Out of memory it still ends the call, with a static message. */
void call_refuse(alk_call *c, const char *code, const char *fmt, ...)
{
    alk_fault f = {.size = sizeof f, .code = code, .message = "out of memory"};
    char *text = arena_alloc(&c->msg->arena, MESSAGE_MAX + 1);
    va_list ap;
    int n;

    if (text) {
        va_start(ap, fmt);
        n = vsnprintf(text, MESSAGE_MAX + 1, fmt, ap);
        va_end(ap);
        if (n > MESSAGE_MAX)
            text[utf8_cut_end(text, MESSAGE_MAX)] = 0;
        f.message = text;
    }
    f.retryable = !strcmp(code, ALK_BUSY) || !strcmp(code, ALK_TIMEOUT);
    f.details = c->fault.details;
    call_end(c, ALK_END_FAULT, &f);
}

void call_not_found(alk_call *c, struct str name)
{
    static const char what[] = "operation not found: ";
    size_t len = sizeof what - 1, n = utf8_cut(name.p, name.n, NAME_MAX_BYTES);
    alk_fault f = {.size = sizeof f, .code = ALK_NOT_FOUND, .message = "out of memory"};
    char *text = arena_alloc(&c->msg->arena, len + n + 1);

    if (text) {
        memcpy(text, what, len);
        memcpy(text + len, name.p, n);
        text[len + n] = 0;
        f.message = text;
        f.message_len = len + n;
    }
    call_end(c, ALK_END_FAULT, &f);
}

void call_log_handler(const alk_call *c, const char *what)
{
    alk_log_event e = {
        .size = sizeof e, .level = ALK_LOG_WARN, .event = "handler", .message = what};

    e.request_id = c->id.p;
    e.request_id_len = c->id.n;
    e.operation = op_name(c->op).p;
    node_log(c->d->node, &e);
}
