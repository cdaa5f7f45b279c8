/* Implements node.h and the limits. A node is read by dispatchers on several threads. What they
 * share for writing are numbers, each on its own: no two of them have to agree, so relaxed atomics
 * are enough, and no reader ever waits. Everything else is set before the node is handed out. */
#include "core/node.h"

#include <string.h>

/* A message is held whole, and parsed in one piece. */
#define FRAME_MAX (64u << 20)
#define DEPTH_MAX 1024u

/* What is not listed is 0, and that means "no limit" or "no delay": how many connections and calls
 * a node may have depends on the machine and on who its users are. */
static const alk_limits limits_defaults = {
    .size = sizeof(alk_limits),
    .frame_bytes = 16u << 20,
    .websocket_bytes = 4u << 20,
    .body_bytes = 4u << 20,
    .anonymous_bytes = 1u << 20,
    .output_bytes = 16u << 20,
    .json_values = 1000000,
    .json_depth = 128,
    .schema_steps = 200000,
    .message_budget = 256u << 20,
    .header_bytes = 32u << 10,
    .header_count = 100,
    .url_bytes = 8u << 10,
    .connection_calls = 1024,
    .call_children = 16384,
    .call_depth = 64,
    .batch = 128,
    .import_fanout = 32,
    .queue_high = 256u << 10,
    .queue_max = 1u << 20,
    .deadline_ms = 30000,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 30000,
    .keepalive_ms = 60000,
    .write_timeout_ms = 60000,
    .heartbeat_ms = 15000,
    .drain_ms = 30000,
    .websocket_fragments = 1024,
    .websocket_controls = 100,
    .ping_ms = 20000,
    .idle_ms = 90000,
    .close_ms = 5000,
    .evict_ms = 10000,
};
static const struct abi abi_limits = ABI(alk_limits, evict_ms, &limits_defaults);

/* Never in place of what an older program has room for: abi_fill stops at size. */
void alk_limits_init(alk_limits *l, size_t size)
{
    abi_fill(&abi_limits, l, size, &limits_defaults);
}

/* For those that are missing, 0 has a meaning: unlimited, none, or at once. With a 0 in one of
 * these, nothing would work at all. */
static bool limits_valid(const alk_limits *l)
{
    return l->frame_bytes && l->frame_bytes <= FRAME_MAX && l->json_depth &&
           l->json_depth <= DEPTH_MAX && l->json_values && l->connection_calls && l->header_bytes &&
           l->header_count && l->url_bytes && l->queue_high && l->deadline_ms && l->batch &&
           l->body_bytes && l->anonymous_bytes && l->output_bytes && l->message_budget &&
           l->schema_steps && l->header_timeout_ms && l->body_timeout_ms && l->keepalive_ms &&
           l->write_timeout_ms && l->heartbeat_ms && l->websocket_bytes && l->websocket_fragments &&
           l->websocket_controls && l->close_ms && l->evict_ms;
}

/* Every member is a uint32_t, so that readers on other threads see whole values. They may see some
 * new ones beside some old ones: none of them relies on another. */
int alk_node_set_limits(alk_node *node, const alk_limits *limits)
{
    uint32_t *to = (uint32_t *)(void *)&node->limits;
    const uint32_t *from;
    alk_limits own;

    limits = node_take(node, &abi_limits, &own, limits);
    if (!limits || !limits_valid(limits))
        return ALK_EINVAL;
    from = (const uint32_t *)(const void *)limits;
    for (size_t i = 0; i < sizeof *limits / sizeof *from; i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
    return ALK_OK;
}

/* From any thread, also while another one sets them. */
void alk_node_get_limits(const alk_node *node, alk_limits *out, size_t size)
{
    const uint32_t *from = (const uint32_t *)(const void *)&node->limits;
    alk_limits l;
    uint32_t *to = (uint32_t *)(void *)&l;

    for (size_t i = 0; i < sizeof l / sizeof *from; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    abi_fill(&abi_limits, out, size, &l);
}

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
    /* Before the references are taken: until here a failure has the memory alone to give back. */
    rc = copy_structs(n, o);
    if (!rc && (host->random(n->seed, sizeof n->seed) ||
                host->random(n->calls.seed, sizeof n->calls.seed)))
        rc = ALK_ESYSTEM;
    if (rc) {
        mem_free(&mem, n);
        return rc;
    }
    /* Secret, since names, ids and addresses that remotes choose are hashed with these: who knew
     * the seeds could make a map slow, or share the bucket of another. One seed for both tables
     * does no harm, as they share no slots. */
    memcpy(n->failures.seed, n->calls.seed, sizeof n->failures.seed);
    addresses_init(&n->addresses, n->seed);
    list_init(&n->census.dispatchers);
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

alk_node *alk_node_ref(alk_node *node)
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
    alk_registry_unref(node->reg);
    addresses_fini(&node->addresses);
    mem_init(&mem, node->realloc, node->realloc_ud);
    mem_free(&mem, node);
}

/* Added first and looked at afterwards, without a lock. Two threads near the limit may both be
 * refused where one would have fitted: a little early is right for a limit, and never too late.
 * What is too small to count is not given back either, so both look at the same number. */
bool node_budget_take(alk_node *n, size_t bytes)
{
    uint64_t after;

    if (bytes < BUDGET_MIN)
        return true;
    after = __atomic_add_fetch(&n->message_bytes, bytes, __ATOMIC_RELAXED);
    if (after <= LIMIT(n, message_budget))
        return true;
    node_budget_give(n, bytes);
    return false;
}

void node_budget_give(alk_node *n, size_t bytes)
{
    if (bytes >= BUDGET_MIN)
        __atomic_sub_fetch(&n->message_bytes, bytes, __ATOMIC_RELAXED);
}

/* One more of what a limit counts, 0 being none. Counted without a limit too: the metrics show it,
 * and a limit may be set later. A limit that is lowered closes nothing. */
static bool take_one(uint32_t *count, uint32_t limit)
{
    if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) <= limit || !limit)
        return true;
    __atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
    return false;
}

bool node_connection_take(alk_node *n)
{
    return take_one(&n->connections, LIMIT(n, connections));
}

void node_connection_give(alk_node *n)
{
    __atomic_sub_fetch(&n->connections, 1, __ATOMIC_RELAXED);
}

bool node_session_take(alk_node *n)
{
    return take_one(&n->sessions, LIMIT(n, websocket_sessions));
}

void node_session_give(alk_node *n)
{
    __atomic_sub_fetch(&n->sessions, 1, __ATOMIC_RELAXED);
}

/* The provider may be called on any thread, and says so in alknet.h: there is no lock here. */
int node_identify(const alk_node *n, const char *token, size_t len, alk_identity **out)
{
    *out = NULL;
    return n->has_identities ? n->identities.by_token(n->identities.ud, token, len, out)
                             : ALK_KIND_NONE;
}

/* Sessions and bytes are the node's own numbers, and not sums over dispatchers. */
void node_totals(alk_node *n, struct totals *out)
{
    metrics_collect(&n->census, out);
    out->sessions = __atomic_load_n(&n->sessions, __ATOMIC_RELAXED);
    out->message_bytes = __atomic_load_n(&n->message_bytes, __ATOMIC_RELAXED);
}

/* On the thread where it happens. Nothing is written by the library itself, so without a log it is
 * silent. */
void node_log(const alk_node *n, const alk_log_event *e)
{
    if (n->log && e->level <= n->log_level)
        n->log(n->log_ud, e);
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
