/* What the dispatchers of one node share, on whatever threads: registry, identity provider,
 * limits, the message budget, rate limits, the log. Written with atomics only, or under a lock of
 * a few instructions. What belongs to one loop is in the dispatcher, so that calls on different
 * threads never wait for each other. */
#ifndef ALK_CORE_NODE_H
#define ALK_CORE_NODE_H

#include "base/abi.h"
#include "base/list.h"
#include "core/account.h"
#include "core/channel.h"
#include "core/discovered.h"
#include "core/metrics.h"
#include "core/peers.h"
#include "core/rate.h"

struct alk_node {
    int refs; /* atomic */
    /* From here to auto_import nothing is written after node_new, but for the limits. */
    alk_registry *reg;
    const struct host *host;
    alk_limits limits; /* read with LIMIT */
    alk_identity_provider identities;
    alk_ownership_provider ownership;
    /* Whether the two are there: the structs are copies, which have no NULL. */
    bool has_identities, has_ownership, debug_outputs;
    void *(*realloc)(void *ud, void *ptr, size_t size);
    void *realloc_ud;
    void (*log)(void *ud, const alk_log_event *event);
    void *log_ud;
    void (*on_wake)(void *ud, struct alk_dispatcher *d);
    void *on_wake_ud;
    uint32_t log_level, forwarded_for;
    bool auto_import;
    char *announce_scope; /* NULL: none is needed */
    /* For every map whose keys remotes choose, and for ids. It never leaves the process. */
    uint64_t seed[2];
    uint32_t connections, sessions; /* atomic */
    uint64_t tls_expires; /* atomic: of its listeners' certificates, Unix time; 0: they have none */
    struct cluster_gauges cluster;
    struct rate_table calls;    /* by identity */
    struct rate_table failures; /* failed authentications, by address */
    struct budget budget;
    struct discovery discovery;
    /* Where operations run that are one dispatcher's; a reference. NULL: there are none. Set before
     * another one's thread runs. */
    struct port *home;
    /* These two have locks of their own. */
    struct peer_table peers;
    struct channels channels;        /* of event gateways, by path */
    struct session_ids *session_ids; /* atomic; NULL: there has been none */
    /* Has its own lock, as the four before it have: none is ever held together with another. */
    struct census census;
};

#define LIMIT(node, name) __atomic_load_n(&(node)->limits.name, __ATOMIC_RELAXED)

alk_node *node_ref(alk_node *node);
int node_new(alk_node **out, alk_registry *reg, const alk_node_options *o, const struct host *host);
static inline const alk_ownership_provider *node_ownership(const alk_node *n)
{
    return n->has_ownership ? &n->ownership : NULL;
}
/* What the node counts, over its dispatchers. From any thread. */
void node_totals(alk_node *n, struct totals *out);
void node_log(const alk_node *n, const alk_log_event *e);
/* Those that are 0 are of texts that end with NUL, and are set. */
void log_lengths(alk_log_event *e);
/* abi_take, and the log says why when it refuses. */
const void *node_take(const alk_node *n, const struct abi *a, void *own, const void *theirs);
extern const struct abi abi_identity_provider;

/* limits.c */
/* Admission of one connection against limits.connections. */
bool node_connection_take(alk_node *n);
void node_connection_give(alk_node *n);
/* Likewise of one WebSocket against limits.websocket_sessions. */
bool node_session_take(alk_node *n);
void node_session_give(alk_node *n);

/* session_ids.c */
void session_ids_free(alk_node *n);

/* For the metrics, from the cluster's thread. */
void node_cluster_gauges(alk_node *n, const struct cluster_gauges *now);

/* For the metrics: when the first of a loop's certificates ends. */
static inline void node_tls_expires(alk_node *n, int64_t unix_time)
{
    __atomic_store_n(&n->tls_expires, (uint64_t)unix_time, __ATOMIC_RELAXED);
}

#endif
