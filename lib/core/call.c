/* Implements call.h: the life of a call. */
#include "core/call.h"

#include "base/utf8.h"
#include "core/connection.h"
#include "core/overlay.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 500
#define TURN_STEPS 4096u /* calls looked at in one round, so that handlers cannot keep the loop */

#define FAULT(name, code_, message_, retry)                                                        \
    const alk_fault name = {sizeof(alk_fault), retry, code_, message_, NULL}

FAULT(fault_internal, ALK_INTERNAL, "internal error", 0);
FAULT(fault_timeout, ALK_TIMEOUT, "the deadline has passed", 1);
FAULT(fault_busy, ALK_BUSY, "too many calls", 1);
FAULT(fault_closed, ALK_INTERNAL, "connection closed", 0);
FAULT(fault_shutdown, ALK_BUSY, "shutting down", 1);
FAULT(fault_rate, ALK_BUSY, "too many calls per second", 1);
FAULT(fault_slow, "TOO_SLOW", "the subscriber does not keep up", 0);
FAULT(fault_orphan, ALK_INTERNAL, "parent aborted", 0);

/* ---- life -------------------------------------------------------------------------------------- */

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

void alk_call_unref(alk_call *call)
{
    struct alk_dispatcher *d;
    alk_call *root;

    if (!call || --call->refs)
        return;
    d = call->d;
    root = call->root;
    assert(call->state == CALL_ENDED && list_empty(&call->children) && list_empty(&call->events));
    list_del(&call->link);
    if (call->set)
        overlay_unref(call->set);
    alk_connection_unref(call->via);
    alk_registry_unref(call->session);
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

void call_ready(alk_call *c)
{
    if (!list_empty(&c->ready))
        return;
    c->refs++;
    list_push(&c->d->ready, &c->ready);
}

/* ---- the end ----------------------------------------------------------------------------------- */

bool logs_calls(const alk_node *n)
{
    return n->log && n->log_level >= ALK_LOG_INFO;
}

static uint64_t log_time(const struct alk_dispatcher *d)
{
    return d->clock ? d->clock() : d->now;
}

static void log_end(const alk_call *c)
{
    static const char *const outcomes[] = {"ok", NULL, "aborted", ALK_TIMEOUT, "closed"};
    const alk_node *n = c->d->node;
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_INFO, .event = "call"};
    char name[NAME_MAX_BYTES + 1];
    size_t len = utf8_cut(c->name.p, c->name.n, NAME_MAX_BYTES);

    if (!logs_calls(n))
        return;
    e.request_id = c->id.p;
    e.identity = c->identity ? c->identity->id.p : NULL;
    /* What a remote asks for need not be a name, nor end. */
    memcpy(name, c->name.p, len);
    name[len] = 0;
    e.operation = c->op ? op_name(c->op).p : name;
    e.outcome = c->why == ALK_END_FAULT ? c->fault.code : outcomes[c->why];
    e.message = c->note ? c->note : c->why == ALK_END_FAULT ? c->fault.message : NULL;
    e.remote = c->remote;
    e.claim = c->claim.p;
    e.duration_us = c->began ? (log_time(c->d) - c->began) / 1000 : 0;
    e.count = c->values;
    node_log(n, &e);
}

static void unlink_child(alk_call *c)
{
    list_del(&c->sibling);
    c->parent = NULL;
}

static void finish(alk_call *c, int why, const alk_fault *fault)
{
    c->state = CALL_ENDED;
    c->why = c->handler_why = (uint8_t)why;
    if (fault)
        c->fault = *fault;
    timer_clear(&c->d->schedule, &c->timer);
    /* One whose values still wait is its parent's until they are taken. */
    if (list_empty(&c->events))
        unlink_child(c);
    if (c->refused)
        COUNT(c->d, calls_refused);
    COUNT(c->d, ended[c->kind][metrics_outcome(why, c->fault.code)]);
    log_end(c);
    /* Before anything that may close the connection, which ends all that it still lists. */
    if (c->conn)
        connection_unlist(c);
    c->sink->end(c);
    if (c->conn)
        connection_leave(c);
    /* Behind those that have ended before it, children first, whatever it was queued for. */
    if (list_empty(&c->ready)) {
        call_ready(c);
    } else if (c->detached) {
        c->requeue = true;
    } else {
        list_del(&c->ready);
        list_push(&c->d->ready, &c->ready);
    }
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

static const struct call_sink sink_null = {NULL, null_value, null_end};

void call_hurry(alk_call *c, int why)
{
    unlink_child(c);
    c->why = (uint8_t)why;
    c->paused = c->hold = false;
    call_ready(c);
}

/* A child that goes on becomes a root of its own, whose results nobody waits for. */
static void orphan(alk_call *c)
{
    unlink_child(c);
    c->orphan = true;
    c->detached = true;
    c->sink = &sink_null;
    call_room(c);
    call_ready(c);
}

static bool goes_on(const alk_call *c)
{
    return c->policy == ALK_CONTINUE_RUNNING && c->op && c->state != CALL_NEW;
}

/* The first child that is to end with its parent; others are let go. */
static alk_call *dependent(alk_call *c)
{
    while (!list_empty(&c->children)) {
        alk_call *child = container_of(c->children.next, alk_call, sibling);

        if (child->state == CALL_ENDED)
            call_hurry(child, ALK_END_ABORTED);
        else if (goes_on(child))
            orphan(child);
        else
            return child;
    }
    return NULL;
}

/* Post-order without recursion, since the remote chooses the depth. */
void call_end(alk_call *c, int why, const alk_fault *fault)
{
    alk_call *at = c, *up, *down;

    if (c->state == CALL_ENDED)
        return;
    for (;;) {
        while ((down = dependent(at)))
            at = down;
        if (at == c)
            break;
        up = at->parent;
        finish(at, ALK_END_ABORTED, NULL);
        /* Telling a remote may have closed the connection that c came by. */
        if (c->state == CALL_ENDED)
            return;
        at = up;
    }
    finish(c, why, fault);
}

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
    call_refuse(c, ALK_NOT_FOUND, "operation not found: %.*s",
                (int)utf8_cut(name.p, name.n, NAME_MAX_BYTES), name.p);
}

static void on_deadline(struct timer *t, uint64_t now)
{
    alk_call *c = container_of(t, alk_call, timer);

    (void)now;
    call_end(c, ALK_END_TIMEOUT, &fault_timeout);
}

/* ---- running ----------------------------------------------------------------------------------- */

void call_log_handler(const alk_call *c, const char *what)
{
    alk_log_event e = {
        .size = sizeof e, .level = ALK_LOG_WARN, .event = "handler", .message = what};

    e.request_id = c->id.p;
    e.operation = op_name(c->op).p;
    node_log(c->d->node, &e);
}

static void start(alk_call *c)
{
    int rc;

    c->started = c->d->now;
    c->began = logs_calls(c->d->node) ? log_time(c->d) : 0;
    if (c->timeout != UINT64_MAX && c->started + c->timeout < c->deadline)
        c->deadline = c->started + c->timeout;
    if (c->deadline <= c->started && c->deadline != UINT64_MAX) {
        call_end(c, ALK_END_TIMEOUT, &fault_timeout);
        return;
    }
    c->timer.fn = on_deadline;
    timer_set(&c->d->schedule, &c->timer, c->deadline);
    if (c->outgoing)
        return;
    c->state = CALL_RUNNING;
    if (c->sink->started)
        c->sink->started(c);
    if (c->state == CALL_ENDED)
        return;
    rc = c->op->handler ? c->op->handler(c, c->op->ud) : ALK_ENOENT;
    if (c->state == CALL_ENDED)
        return;
    if (rc) {
        COUNT(c->d, handler_errors);
        c->note = alk_err_name(rc);
        call_log_handler(c, c->note);
        call_end(c, ALK_END_FAULT, &fault_internal);
        return;
    }
    if (c->state == CALL_RUNNING)
        c->state = CALL_PENDING;
}

static void drop_events(alk_call *c)
{
    while (!list_empty(&c->events)) {
        struct msg *m = container_of(c->events.next, struct msg, link);

        list_del(&m->link);
        msg_free(m);
    }
    c->event_bytes = 0;
}

/* Its caller wants no more values. */
static bool cut_off(const alk_call *c)
{
    return c->state == CALL_ENDED && (c->why == ALK_END_ABORTED || c->why == ALK_END_CLOSED);
}

static void deliver_events(alk_call *c)
{
    size_t low = LIMIT(c->d->node, queue_high) / 2;

    while (!list_empty(&c->events) && !c->paused && !c->hold && !cut_off(c)) {
        struct msg *m = container_of(c->events.next, struct msg, link);

        list_del(&m->link);
        if (c->on_event)
            c->on_event(c, &m->value, c->result_ud);
        if (c->hold) {
            list_push_front(&c->events, &m->link);
        } else {
            c->event_bytes -= m->bytes;
            msg_free(m);
        }
    }
    if (c->event_bytes > low)
        return;
    call_room(c);
    if (c->held_back)
        connection_hold_back(c, false);
}

/* The caller of one that goes on without it. */
static void deliver_detached(alk_call *c)
{
    alk_end_fn fn = c->on_result;

    c->detached = false;
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

    c->told = true;
    if (c->on_end)
        c->on_end(c, c->handler_why, failed ? &c->fault : NULL, c->on_end_ud);
}

static void deliver_end(alk_call *c)
{
    const alk_fault *f = c->why == ALK_END_FAULT || c->why == ALK_END_TIMEOUT ? &c->fault : NULL;

    c->delivered = true;
    unlink_child(c);
    list_del(&c->waiting);
    if (c->on_result)
        c->on_result(c, c->why, f, c->result_ud);
    alk_call_unref(c); /* life */
}

/* What is due for it: one at a time, since each function of the user's may end it. An end that comes up here has queued
 * the call again, behind those that ended before it. */
static void step(alk_call *c)
{
    bool ended = c->state == CALL_ENDED;

    if (c->to_start && c->state == CALL_NEW) {
        c->to_start = false;
        start(c);
    }
    if (c->detached) {
        deliver_detached(c);
        if (c->requeue) {
            c->requeue = false;
            call_ready(c);
            return;
        }
    }
    if (c->to_drain && c->state != CALL_ENDED) {
        c->to_drain = false;
        if (c->on_drain)
            c->on_drain(c, c->on_drain_ud);
    }
    if (c->to_shut_down && c->state != CALL_ENDED) {
        c->to_shut_down = false;
        if (c->on_shutdown)
            c->on_shutdown(c, c->on_shutdown_ud);
    }
    if (!ended && c->state == CALL_ENDED)
        return;
    if (ended && !c->told)
        tell_handler(c);
    if (!list_empty(&c->events))
        deliver_events(c);
    if (cut_off(c))
        drop_events(c);
    if (ended && !c->delivered && list_empty(&c->events))
        deliver_end(c);
}

bool calls_run(struct alk_dispatcher *d)
{
    for (unsigned i = 0; i < TURN_STEPS && !list_empty(&d->ready); i++) {
        alk_call *c = container_of(d->ready.next, alk_call, ready);

        list_del(&c->ready);
        step(c);
        alk_call_unref(c);
    }
    return list_empty(&d->ready);
}

/* ---- the sink of those who call with callbacks ------------------------------------------------- */

void call_event(alk_call *c, struct msg *m, size_t bytes)
{
    m->bytes = bytes;
    c->event_bytes += bytes;
    c->values++;
    list_push(&c->events, &m->link);
    call_ready(c);
}

static int callbacks_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct msg *m;

    if (!final && c->event_bytes && c->event_bytes + len > LIMIT(c->d->node, queue_high))
        return ALK_EAGAIN;
    /* The first is taken at once, as a rule; what waits behind it costs no more than its size. */
    if (!list_empty(&c->events))
        m = msg_of_text(&c->d->messages, text, len);
    else if ((m = msg_new(&c->d->messages))) {
        m->value.text = arena_dup(&m->arena, text, len);
        m->value.len = len;
        if (!m->value.text) {
            msg_free(m);
            m = NULL;
        }
    }
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

void call_room(alk_call *c)
{
    if (!c->blocked)
        return;
    c->blocked = false;
    c->to_drain = true;
    list_del(&c->waiting);
    call_ready(c);
}

void call_shutdown(alk_call *c)
{
    if (!c->on_shutdown || c->state == CALL_ENDED)
        return;
    c->to_shut_down = true;
    call_ready(c);
}

void call_cancel_waiting(alk_call *c)
{
    if (c->state == CALL_ENDED && !c->delivered && !list_empty(&c->events))
        call_hurry(c, ALK_END_CLOSED);
}
