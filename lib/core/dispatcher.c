/* Implements dispatcher.h: the life of a dispatcher, what it knows of itself, and what the
 * loop's layer asks (drive.h). What it does is in turn.c. Its life has two ends:
 * alk_dispatcher_free ends what runs, and the last reference frees the memory, which calls and
 * sockets may hold for longer. */
#include "core/dispatcher.h"

#include <assert.h>
#include <string.h>

#define SCRATCH 3584u

static void wake_owner(void *ud)
{
    struct alk_dispatcher *d = ud;

    d->node->on_wake(d->node->on_wake_ud, d);
}

int alk_dispatcher_new(alk_dispatcher **out, alk_node *node)
{
    struct mem mem;
    struct alk_dispatcher *d;

    *out = NULL;
    mem_init(&mem, node->realloc, node->realloc_ud);
    d = mem_zalloc(&mem, sizeof *d);
    if (!d)
        return ALK_ENOMEM;
    d->port = port_new(node->host);
    if (!d->port) {
        mem_free(&mem, d);
        return ALK_ENOMEM;
    }
    mem_init(&d->mem, node->realloc, node->realloc_ud);
    d->refs = 1;
    d->node = node_ref(node);
    list_init(&d->ready);
    list_init(&d->starters);
    list_init(&d->calls);
    schedule_init(&d->schedule);
    messages_init(&d->messages, &d->mem, node);
    accounts_init(&d->accounts, &node->budget, &d->mem);
    list_init(&d->credentials);
    list_init(&d->connections);
    list_init(&d->dirty);
    list_init(&d->backlog);
    arena_init(&d->scratch, &d->mem, SCRATCH);
    buf_init(&d->spare_out, &d->mem);
    d->stats.size = sizeof d->stats;
    if (node->has_identities)
        d->generation = node->identities.generation(node->identities.ud);
    /* Any start will do, since what makes ids secret is the node's seed: a failure is no reason to
     * fail. */
    node->host->random(&d->id_counter, sizeof d->id_counter);
    if (node->on_wake)
        port_set_wake(d->port, wake_owner, d);
    /* Last, as other threads see it from here on. */
    metrics_join(&node->census, &d->counts);
    *out = d;
    return ALK_OK;
}

alk_dispatcher *dispatcher_ref(alk_dispatcher *d)
{
    d->refs++;
    return d;
}

/* By now the application holds no call, connection or session of it. What it has counted goes to
 * the node, whose sums never go back. */
void dispatcher_unref(alk_dispatcher *d)
{
    struct mem mem;

    if (--d->refs)
        return;
    assert(list_empty(&d->ready) && list_empty(&d->starters) && list_empty(&d->calls) &&
           list_empty(&d->credentials) && list_empty(&d->connections) && list_empty(&d->dirty) &&
           list_empty(&d->backlog) && list_empty(&d->schedule.tasks) &&
           schedule_next(&d->schedule) == UINT64_MAX);
    messages_fini(&d->messages);
    accounts_fini(&d->accounts);
    arena_fini(&d->scratch);
    buf_fini(&d->spare_out);
    assert(d->mem.live == 0);
    metrics_leave(&d->node->census, &d->counts);
    discovered_unref(d->discovered);
    dispatcher_mem(d, &mem);
    port_unref(d->port);
    alk_node_unref(d->node);
    mem_free(&mem, d);
}

/* Most of them are sums of what the metrics count anyway, so nothing is counted twice. */
static const struct abi abi_stats = ABI_PLAIN(alk_stats, message_bytes);

/* An aborted call counts as failed here; the metrics tell the two apart. */
void alk_dispatcher_stats(const alk_dispatcher *d, alk_stats *out, size_t size)
{
    const struct metrics *m = &d->counts.metrics;
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
    s.message_bytes = __atomic_load_n(&d->node->budget.bytes, __ATOMIC_RELAXED);
    abi_fill(&abi_stats, out, size, &s);
}

static char *put_hex(char *p, uint64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v >>= 4)
        p[i] = "0123456789abcdef"[v & 15];
    p[digits] = '-';
    return p + digits + 1;
}

/* A counter under a keyed hash and no random bytes: each call needs one, and a system call for it
 * would cost more than the call. Version 4 and variant as RFC 9562 (5.4) has them. */
void dispatcher_id(struct alk_dispatcher *d, char out[ID_SIZE])
{
    uint64_t count = ++d->id_counter, a = map_hash(d->node->seed, &count, sizeof count);
    /* Unique is enough for the second half: a multiplication by an odd number gives each count a
     * value of its own. */
    uint64_t b = (count ^ d->node->seed[1]) * UINT64_C(0x9e3779b97f4a7c15);
    char *p = put_hex(out, a >> 32, 8);

    p = put_hex(p, a >> 16, 4);
    p = put_hex(p, (a & 0xfff) | 0x4000, 4);
    p = put_hex(p, (b >> 48 & 0x3fff) | 0x8000, 4);
    put_hex(p, b, 12)[-1] = 0;
}

/* ---- for the loop's layer -------------------------------------------------------------------- */

/* Only carried: the core calls neither, but for durations in the log. */
void dispatcher_set_loop(alk_dispatcher *d, void *loop, uint64_t (*clock)(void))
{
    d->loop = loop;
    d->clock = clock;
}

void *dispatcher_loop(const alk_dispatcher *d)
{
    return d->loop;
}

void dispatcher_set_wake(alk_dispatcher *d, void (*wake)(void *ud), void *ud)
{
    port_set_wake(d->port, wake, ud);
}

void dispatcher_mem(const alk_dispatcher *d, struct mem *out)
{
    mem_init(out, d->node->realloc, d->node->realloc_ud);
}

const alk_node *dispatcher_node(const alk_dispatcher *d)
{
    return d->node;
}

void dispatcher_leave(alk_dispatcher *d)
{
    d->leaving = true;
}

uint32_t dispatcher_connections(const alk_dispatcher *d)
{
    return d->stats.connections;
}

void dispatcher_slow_consumer(alk_dispatcher *d, const char *remote, const char *why)
{
    alk_log_event e = {
        .size = sizeof e, .level = ALK_LOG_WARN, .event = "consumer.slow", .message = why};

    e.remote = remote;
    COUNT(d, slow_consumers);
    node_log(d->node, &e);
}
