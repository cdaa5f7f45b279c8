/* The turn of a dispatcher: the only place from which anything moves. Everything else only queues:
 * what arrived between turns, what other code of the application asked for, what a turn itself
 * brought about. So 64 requests that came together are answered together, and no function of the
 * user's is entered from inside another one of the library's.
 *
 * A turn ends. It has a bounded number of rounds, a round a bounded number of steps, and all of it
 * a bounded time: calls that keep each other busy get the rest in the next turn, after the loop has
 * looked at its sockets. */
#include "core/call.h"
#include "core/connection.h"
#include "core/credential.h"

#include <assert.h>

#define ROUNDS_MAX 16u       /* of one turn: calls, tasks, sending */
#define TURN_NS (10 * MILLI) /* in which others' sockets may wait, beyond one step of a handler */

/* Also when the last sample was not 0, so that the metrics come back to 0 by themselves. */
static bool has_queued(const struct alk_dispatcher *d)
{
    return !list_empty(&d->backlog) || d->counts.queued;
}

uint64_t alk_dispatcher_turn(alk_dispatcher *d, uint64_t now)
{
    bool more = true;

    d->now = now;
    d->turns++;
    d->turn_ends = d->clock ? now + TURN_NS : 0;
    /* First of all: a credential that was taken away must not start one more handler. Looked at in
     * each turn, so that nobody has to tell the dispatchers of a new configuration, whichever
     * thread loads it. Then deadlines, so that nothing begins that is too late already. */
    credentials_sweep(d);
    /* Lets go of what the node does not have any more, also where no name is looked up. */
    dispatcher_discovered(d);
    schedule_expire(&d->schedule, now);
    port_take(d->port, d, now);
    for (unsigned i = 0; more && i < ROUNDS_MAX && (!i || !dispatcher_late(d)); i++) {
        /* Tasks first: a connection is told of before its first call. */
        schedule_run(&d->schedule);
        more = !calls_run(d);
        /* In each round, since sending can make calls ready: there is room again, or a link fails
         * and its calls end. */
        connections_flush(d);
        wakes_flush(&d->wakes);
        more |= calls_due(d) || !list_empty(&d->schedule.tasks);
    }
    if (has_queued(d) && d->sampled_at + SECOND <= now)
        connections_sample(d);
    return alk_dispatcher_next(d);
}

/* Without a clock there are only the rounds and their steps. */
bool dispatcher_late(const struct alk_dispatcher *d)
{
    return d->turn_ends && d->clock() >= d->turn_ends;
}

void alk_dispatcher_now(alk_dispatcher *d, uint64_t now)
{
    d->now = now;
}

/* Also asked between turns, when a link was written to or a message fed: what that has queued
 * counts. */
uint64_t alk_dispatcher_next(const alk_dispatcher *d)
{
    uint64_t next = schedule_next(&d->schedule);

    if (calls_due(d) || !list_empty(&d->schedule.tasks) || !list_empty(&d->dirty) ||
        port_has(d->port) || d->wakes.count)
        return d->now;
    if (has_queued(d) && next > d->sampled_at + SECOND)
        next = d->sampled_at + SECOND;
    /* A credential that is taken away has an effect soon, also where nothing else happens. Without
     * this a quiet connection would keep a revoked identity until its next message. */
    if (next > d->now + SECOND && !list_empty(&d->credentials))
        next = d->now + SECOND;
    return next;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Everything that is owed is told before the memory goes: each on_end runs. `draining` keeps new
 * calls and connections out meanwhile. The rounds are bounded, so that an application which posts
 * from each callback cannot keep this from ending. Held calls keep the dispatcher's memory, but
 * nothing of it moves any more. */
void alk_dispatcher_free(alk_dispatcher *d)
{
    if (!d)
        return;
    d->draining = true;
    schedule_run(&d->schedule);
    dispatcher_cancel_all(d);
    connections_close_all(d);
    d->turn_ends = 0;
    for (int i = 0; i < 100 && (!calls_run(d) || !list_empty(&d->schedule.tasks)); i++)
        schedule_run(&d->schedule);
    /* Also what comes behind the end of its calls: nobody else would answer it. */
    d->closing = true;
    port_close(d->port, d);
    for (int i = 0; i < 100 && !calls_run(d); i++)
        ;
    wakes_flush(&d->wakes);
    assert(!calls_due(d) && list_empty(&d->connections) && list_empty(&d->dirty) &&
           list_empty(&d->backlog));
    dispatcher_unref(d);
}

/* A connection is closed with its last call; one that has none, by whoever runs the loop
 * (connections_rest). */
void dispatcher_drain(alk_dispatcher *d)
{
    if (d->draining)
        return;
    d->draining = true;
    list_each(l, &d->calls) call_shutdown(container_of(l, alk_call, link));
}

bool dispatcher_busy(const alk_dispatcher *d)
{
    list_each(l, &d->calls)
    {
        if (!call_ended(container_of(l, alk_call, link)))
            return true;
    }
    return false;
}

void dispatcher_cancel_all(alk_dispatcher *d)
{
    /* Ended calls stay listed until their callbacks have run, so the list holds still. A child
     * stands behind its parent: one that its parent has just let go is met as a root later. */
    list_each(l, &d->calls)
    {
        alk_call *c = container_of(l, alk_call, link);

        if (!call_ended(c) && !c->parent)
            call_end(c, ALK_END_CLOSED, &fault_shutdown);
        /* Nobody will take the values that still wait. */
        if (call_ended(c) && c->state != CALL_DONE && !list_empty(&c->events))
            call_hurry(c, ALK_END_CLOSED);
    }
}

void alk_dispatcher_drain(alk_dispatcher *d)
{
    if (d->draining)
        dispatcher_cancel_all(d);
    else
        dispatcher_drain(d);
}
