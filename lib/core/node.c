/* Implements node.h. A node is read by dispatchers on several threads. What they
 * share for writing are numbers, each on its own: no two of them have to agree, so relaxed atomics
 * are enough, and no reader ever waits. Everything else is set before the node is handed out. */
#include "core/node.h"

#include <alknet/openapi.h>
#include <assert.h>
#include <string.h>

#define SHADOWED_MAX 32u /* that are told of one source */

static const alk_node_options options_defaults = {.size = sizeof(alk_node_options),
                                                  .log_level = ALK_LOG_INFO};
static const struct abi abi_node_options = ABI(alk_node_options, auto_import, &options_defaults);

void alk_node_options_init(alk_node_options *o, size_t size)
{
    abi_fill(&abi_node_options, o, size, &options_defaults);
}

const struct abi abi_identity_provider = ABI_PLAIN(alk_identity_provider, ud);
static const struct abi abi_ownership_provider = ABI_PLAIN(alk_ownership_provider, ud);

/* Whatever o points to that has a size of its own, and so may be of another version than o. */
static int copy_structs(alk_node *n, const alk_node_options *o)
{
    const alk_identity_provider *identities;
    const alk_ownership_provider *ownership;

    identities = node_take(n, &abi_identity_provider, &n->identities, o->identities);
    ownership = node_take(n, &abi_ownership_provider, &n->ownership, o->ownership);
    if (!identities || !ownership)
        return ALK_EINVAL;
    n->identities = *identities;
    n->ownership = *ownership;
    n->has_identities = o->identities != NULL;
    n->has_ownership = o->ownership != NULL;
    return alk_node_set_limits(n, o->limits);
}

int node_new(alk_node **out, alk_registry *reg, const alk_node_options *o, const struct host *host)
{
    alk_node_options own;
    struct mem mem;
    alk_node *n;
    int rc;

    *out = NULL;
    if (!reg->frozen)
        return ALK_EFROZEN;
    o = abi_take(&abi_node_options, &own, o, NULL, 0);
    if (!o || o->forwarded_for > ALK_FORWARD_NONE)
        return ALK_EINVAL;
    mem_init(&mem, o->realloc, o->realloc_ud);
    n = mem_zalloc(&mem, sizeof *n);
    if (!n)
        return ALK_ENOMEM;
    n->log = o->log;
    n->log_ud = o->log_ud;
    n->log_level = o->log_level;
    n->on_wake = o->on_wake;
    n->on_wake_ud = o->on_wake_ud;
    /* Before the references are taken: until here a failure has the memory alone to give back. */
    rc = copy_structs(n, o);
    if (!rc && o->announce_scope &&
        !(n->announce_scope = mem_dup(&mem, o->announce_scope, strlen(o->announce_scope))))
        rc = ALK_ENOMEM;
    if (!rc && (host->random(n->seed, sizeof n->seed) ||
                host->random(n->calls.seed, sizeof n->calls.seed)))
        rc = ALK_ESYSTEM;
    if (rc) {
        mem_free(&mem, n->announce_scope);
        mem_free(&mem, n);
        return rc;
    }
    /* Secret, since names, ids and addresses that remotes choose are hashed with these: who knew
     * the seeds could make a map slow, or share the bucket of another. One seed for both tables
     * does no harm, as they share no slots. */
    memcpy(n->failures.seed, n->calls.seed, sizeof n->failures.seed);
    budget_init(&n->budget, &n->limits.message_budget, n->seed);
    list_init(&n->census.dispatchers);
    if (!peers_init(&n->peers, host, n->seed) || !channels_init(&n->channels, host)) {
        if (n->peers.mutex)
            peers_fini(&n->peers);
        mem_free(&mem, n->announce_scope);
        mem_free(&mem, n);
        return ALK_ENOMEM;
    }
    n->refs = 1;
    n->reg = alk_registry_ref(reg);
    n->host = host;
    n->debug_outputs = o->debug_outputs != 0;
    n->realloc = o->realloc;
    n->realloc_ud = o->realloc_ud;
    n->forwarded_for = o->forwarded_for;
    n->auto_import = o->auto_import != 0;
    *out = n;
    return ALK_OK;
}

alk_node *node_ref(alk_node *node)
{
    __atomic_fetch_add(&node->refs, 1, __ATOMIC_RELAXED);
    return node;
}

/* A dispatcher holds the node, so by now none is left, and no connection either. */
void alk_node_unref(alk_node *node)
{
    struct mem mem;

    if (!node || __atomic_fetch_sub(&node->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    assert(list_empty(&node->census.dispatchers) && !node->connections && !node->sessions &&
           !node->budget.bytes);
    discovered_unref(node->discovery.set);
    session_ids_free(node);
    if (node->home)
        port_unref(node->home);
    peers_fini(&node->peers);
    channels_fini(&node->channels);
    alk_registry_unref(node->reg);
    mem_init(&mem, node->realloc, node->realloc_ud);
    mem_free(&mem, node->announce_scope);
    mem_free(&mem, node);
}

/* Names that would be looked for in vain, the first of them. */
static void tell_shadowed(const alk_node *node, const alk_registry *reg)
{
    unsigned told = 0;

    for (size_t i = 0; i < reg->by_name.count && told < SHADOWED_MAX; i++) {
        struct str name = op_name(reg->sorted[i]);
        alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "discovered.shadowed"};

        if (name_reserved(name) || !registry_find(node->reg, name.p, name.n))
            continue;
        e.operation = name.p;
        e.message = "the node itself has that name, and keeps it";
        node_log(node, &e);
        told++;
    }
}

int alk_node_set_discovered(alk_node *node, const char *source, alk_registry *reg)
{
    struct mem mem;
    int rc;

    mem_init(&mem, node->realloc, node->realloc_ud);
    rc = discovery_set(&node->discovery, &mem, source, reg);
    if (!rc && reg)
        tell_shadowed(node, reg);
    return rc;
}

/* Sessions and bytes are the node's own numbers, and not sums over dispatchers; the process is its
 * host's. */
void node_totals(alk_node *n, struct totals *out)
{
    metrics_collect(&n->census, out);
    out->sessions = __atomic_load_n(&n->sessions, __ATOMIC_RELAXED);
    out->message_bytes = __atomic_load_n(&n->budget.bytes, __ATOMIC_RELAXED);
    out->tls_expires = __atomic_load_n(&n->tls_expires, __ATOMIC_RELAXED);
    out->cluster.up = __atomic_load_n(&n->cluster.up, __ATOMIC_RELAXED);
    out->cluster.hubs = __atomic_load_n(&n->cluster.hubs, __ATOMIC_RELAXED);
    out->cluster.pairs = __atomic_load_n(&n->cluster.pairs, __ATOMIC_RELAXED);
    out->cluster.peers = __atomic_load_n(&n->cluster.peers, __ATOMIC_RELAXED);
    out->cluster.unsent = __atomic_load_n(&n->cluster.unsent, __ATOMIC_RELAXED);
    out->cluster.under_way = __atomic_load_n(&n->cluster.under_way, __ATOMIC_RELAXED);
    out->cluster.lag_us = __atomic_load_n(&n->cluster.lag_us, __ATOMIC_RELAXED);
    n->host->process(&out->process);
    out->build = 1;
}

void node_cluster_gauges(alk_node *n, const struct cluster_gauges *now)
{
    __atomic_store_n(&n->cluster.up, now->up, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.hubs, now->hubs, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.pairs, now->pairs, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.peers, now->peers, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.unsent, now->unsent, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.under_way, now->under_way, __ATOMIC_RELAXED);
    __atomic_store_n(&n->cluster.lag_us, now->lag_us, __ATOMIC_RELAXED);
}

static size_t text_len(const char *s, size_t len)
{
    return s && !len ? strlen(s) : len;
}

void log_lengths(alk_log_event *e)
{
    e->message_len = text_len(e->message, e->message_len);
    e->request_id_len = text_len(e->request_id, e->request_id_len);
    e->operation_len = text_len(e->operation, e->operation_len);
    e->outcome_len = text_len(e->outcome, e->outcome_len);
}

/* On the thread where it happens. Nothing is written by the library itself, so without a log it is
 * silent. */
void node_log(const alk_node *n, const alk_log_event *e)
{
    alk_log_event whole;

    if (!n->log || e->level > n->log_level)
        return;
    whole = *e;
    log_lengths(&whole);
    n->log(n->log_ud, &whole);
}

const void *node_take(const alk_node *n, const struct abi *a, void *own, const void *theirs)
{
    char why[128];
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_ERROR, .event = "misuse", .message = why};
    const void *taken = abi_take(a, own, theirs, why, sizeof why);

    if (!taken)
        node_log(n, &e);
    return taken;
}
