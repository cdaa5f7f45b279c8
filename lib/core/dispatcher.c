/* Implements dispatcher.h and the turn. */
#include "core/dispatcher.h"

#include "core/call.h"
#include "core/connection.h"

#include <assert.h>
#include <string.h>

#define SCRATCH 3584u
#define ROUNDS_MAX 16u /* of one turn: calls, tasks, sending */

int alk_dispatcher_new(alk_dispatcher **out, alk_node *node)
{
    struct mem mem;
    struct alk_dispatcher *d;

    *out = NULL;
    mem_init(&mem, node->realloc, node->realloc_ud);
    d = mem_zalloc(&mem, sizeof *d);
    if (!d)
        return ALK_ENOMEM;
    mem_init(&d->mem, node->realloc, node->realloc_ud);
    d->refs = 1;
    d->node = alk_node_ref(node);
    list_init(&d->ready);
    list_init(&d->calls);
    schedule_init(&d->schedule);
    messages_init(&d->messages, &d->mem, node);
    list_init(&d->observers);
    list_init(&d->connections);
    list_init(&d->peers);
    list_init(&d->dirty);
    list_init(&d->backlog);
    arena_init(&d->scratch, &d->mem, SCRATCH);
    buf_init(&d->spare_out, &d->mem);
    d->stats.size = sizeof d->stats;
    if (node->has_identities)
        d->generation = node->identities.generation(node->identities.ud);
    node->host->random(&d->id_counter, sizeof d->id_counter);
    metrics_join(d);
    *out = d;
    return ALK_OK;
}

void dispatcher_unref(struct alk_dispatcher *d)
{
    struct mem mem;

    if (--d->refs)
        return;
    messages_fini(&d->messages);
    arena_fini(&d->scratch);
    buf_fini(&d->spare_out);
    assert(d->mem.live == 0);
    metrics_leave(d);
    mem_init(&mem, d->node->realloc, d->node->realloc_ud);
    alk_node_unref(d->node);
    mem_free(&mem, d);
}

void alk_dispatcher_free(alk_dispatcher *d)
{
    if (!d)
        return;
    d->draining = true;
    schedule_run(&d->schedule);
    alk_dispatcher_cancel_all(d);
    connections_close_all(d);
    for (int i = 0; i < 100 && (!calls_run(d) || !list_empty(&d->schedule.tasks)); i++)
        schedule_run(&d->schedule);
    assert(list_empty(&d->ready) && list_empty(&d->connections));
    dispatcher_unref(d);
}

void alk_dispatcher_drain(alk_dispatcher *d)
{
    if (d->draining)
        return;
    d->draining = true;
    list_each(l, &d->calls) call_shutdown(container_of(l, alk_call, link));
}

void alk_dispatcher_cancel_all(alk_dispatcher *d)
{
    /* Ended calls stay listed until their callbacks have run, so the list holds still. */
    list_each(l, &d->calls)
    {
        alk_call *c = container_of(l, alk_call, link);

        if (c->state != CALL_ENDED && !c->parent)
            call_end(c, ALK_END_CLOSED, &fault_shutdown);
        call_cancel_waiting(c);
    }
}

static const struct abi abi_stats = ABI_PLAIN(alk_stats, message_bytes);

void alk_dispatcher_stats(const alk_dispatcher *d, alk_stats *out, size_t size)
{
    const struct metrics *m = &d->metrics;
    alk_stats s = d->stats;

    for (size_t k = 0; k < CALL_KINDS; k++) {
        s.calls_total += m->calls[k];
        for (size_t i = ALK_END_OK + 1; i < OUTCOMES; i++)
            s.calls_failed += m->ended[k][i];
    }
    s.calls_refused = m->calls_refused;
    s.discarded = m->discarded;
    s.auth_failures = m->auth_failures;
    s.memory_blocks = d->mem.live;
    s.message_bytes = __atomic_load_n(&d->node->message_bytes, __ATOMIC_RELAXED);
    abi_fill(&abi_stats, out, size, &s);
}

static char *put_hex(char *p, uint64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v >>= 4)
        p[i] = "0123456789abcdef"[v & 15];
    p[digits] = '-';
    return p + digits + 1;
}

void dispatcher_id(struct alk_dispatcher *d, char out[ID_SIZE])
{
    uint64_t count = ++d->id_counter, a = map_hash(d->node->seed, &count, sizeof count);
    /* Unique is enough for the second half; a multiplication by an odd number never meets itself. */
    uint64_t b = (count ^ d->node->seed[1]) * UINT64_C(0x9e3779b97f4a7c15);
    char *p = put_hex(out, a >> 32, 8);

    p = put_hex(p, a >> 16, 4);
    p = put_hex(p, (a & 0xfff) | 0x4000, 4);
    p = put_hex(p, (b >> 48 & 0x3fff) | 0x8000, 4);
    put_hex(p, b, 12)[-1] = 0;
}

/* ---- the turn ---------------------------------------------------------------------------------- */

/* Measures the queues when that is due; returns when it is due again: while there is something in them. */
static uint64_t sample(struct alk_dispatcher *d)
{
    if (d->sampled_at + SECOND <= d->now)
        metrics_sample(d);
    return list_empty(&d->backlog) && !d->queued ? UINT64_MAX : d->sampled_at + SECOND;
}

uint64_t alk_dispatcher_turn(alk_dispatcher *d, uint64_t now)
{
    uint64_t next = UINT64_MAX, due;
    bool more = true;

    d->now = now;
    d->turns++;
    if (d->node->has_identities) {
        uint64_t generation = d->node->identities.generation(d->node->identities.ud);

        if (generation != d->generation) {
            d->generation = generation;
            connections_recheck(d);
            list_each_safe(l, &d->observers)
            {
                struct observer *o = container_of(l, struct observer, link);

                o->fn(o);
            }
        }
    }
    schedule_expire(&d->schedule, now);
    for (unsigned i = 0; more && i < ROUNDS_MAX; i++) {
        /* Tasks first: a connection is told of before its first call. */
        schedule_run(&d->schedule);
        more = !calls_run(d);
        connections_flush(d);
        more |= !list_empty(&d->ready) || !list_empty(&d->schedule.tasks);
    }
    if (!list_empty(&d->backlog) || d->queued)
        next = sample(d);
    /* A credential that is taken away has an effect soon, also where nothing else happens. */
    if (d->node->has_identities &&
        (!list_empty(&d->connections) || !list_empty(&d->calls) ||
         __atomic_load_n(&d->node->sessions, __ATOMIC_RELAXED)) &&
        next > now + SECOND)
        next = now + SECOND;
    if (more || !list_empty(&d->dirty))
        return now;
    due = schedule_next(&d->schedule);
    return due < next ? due : next;
}
