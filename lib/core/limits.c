/* The node's limits: what they are by default, which values make no sense, how they change while
 * the node runs, and the counts of what is taken from those that span all of its loops: connections
 * and WebSockets (for messages see account.h). The others are enforced where the thing they bound
 * is made, each by LIMIT (node.h); docs/guide.md has the list. */
#include "core/node.h"

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
    .auth_failures_per_minute = 60,
    .deadline_ms = 30000,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 30000,
    .keepalive_ms = 75000,
    .write_timeout_ms = 60000,
    .heartbeat_ms = 15000,
    .drain_ms = 30000,
    .websocket_fragments = 1024,
    .websocket_controls = 1024,
    .ping_ms = 20000,
    .idle_ms = 90000,
    .close_ms = 5000,
    .evict_ms = 10000,
    .write_rate = 1024,
    .http2_streams = 128,
    .http2_resets = 200,
    .quic_handshakes = 1024,
    .quic_streams = 1024,
    .quic_stream_window = 256u << 10,
    .quic_window = 1u << 20,
    .quic_idle_ms = 30000,
    .quic_keep_alive_ms = 10000,
};
static const struct abi abi_limits = ABI(alk_limits, write_rate, &limits_defaults);

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
           l->websocket_controls && l->close_ms && l->evict_ms && l->http2_streams &&
           l->http2_resets && l->quic_handshakes && l->quic_streams && l->quic_stream_window &&
           l->quic_window && l->quic_idle_ms;
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

/* ---- taking and giving back ------------------------------------------------------------------ */

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
