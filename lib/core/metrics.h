/* What is counted, and how any thread learns of it.
 *
 * Each dispatcher counts for itself, in plain memory that its own thread alone writes: a call
 * costs no locked instruction. The node lists its dispatchers and keeps the counts of those that
 * are gone, so that a sum never goes back. A value is at most one store behind; values of several
 * dispatchers are not of one moment. */
#ifndef ALK_CORE_METRICS_H
#define ALK_CORE_METRICS_H

#include "base/buf.h"
#include "base/host.h"
#include "base/list.h"
#include "base/str.h"

#include <alknet/alknet.h>

/* Where a call comes from: from outside, from a handler, it goes to a remote, or it has crossed over
 * from another dispatcher of the node. */
enum call_kind { CALL_INCOMING, CALL_NESTED, CALL_OUTGOING, CALL_CROSSED, CALL_KINDS };
/* How it ended: its ALK_END_ code, or instead of ALK_END_FAULT the fault's code, which is one of
 * the protocol's or another. */
#define OUTCOME_FAULTS 5u
#define FAULT_CLASSES 8u
#define OUTCOMES (OUTCOME_FAULTS + FAULT_CLASSES)
/* How long a call took is told by its ALK_END_ code alone. The last bucket has no bound. */
#define DURATIONS 9u

/* A dispatcher's own thread counts here, with COUNT, at the place where the thing happens. Any
 * thread may read. All members are uint64_t, since a sum is made word by word.
 *
 * The order of members is a rule: the count of what has ended stands before the count of what has
 * begun. A reader goes through them in this order, so it never sees more ends than beginnings. */
struct metrics {
    uint64_t connections_closed;
    uint64_t connections; /* opened */
    uint64_t http_closed; /* or have become WebSockets */
    uint64_t http_connections;
    uint64_t http_refused;
    uint64_t http2_connections;
    uint64_t tls_handshakes; /* completed */
    uint64_t tls_failures;   /* and not */
    uint64_t accepts_failed; /* connections that were lost for want of a descriptor */
    uint64_t dials_lost;     /* dialled connections that have ended */
    uint64_t imports_failed; /* while their connection was open */
    uint64_t ended[CALL_KINDS][OUTCOMES];
    uint64_t took[CALL_KINDS][OUTCOME_FAULTS][DURATIONS]; /* those with a single result */
    uint64_t took_us[CALL_KINDS][OUTCOME_FAULTS];
    uint64_t calls[CALL_KINDS];
    uint64_t calls_refused; /* before their handler */
    uint64_t handler_errors;
    uint64_t auth_failures;
    uint64_t discarded;   /* answers to nothing pending, duplicate ids, ignored claims and events */
    uint64_t ws_upgrades; /* granted */
    uint64_t ws_refused;  /* upgrades */
    uint64_t ws_messages_in, ws_messages_out;
    uint64_t ws_evictions;
    uint64_t slow_consumers;    /* these, and the same over HTTP */
    uint64_t ws_handler_errors; /* of event gateways */
    uint64_t http_client_ended; /* requests to others */
    uint64_t http_client_requests;
    uint64_t http_client_failures; /* without a whole answer */
    uint64_t http_client_retries;
    uint64_t http_client_refused; /* what was to go where it may not */
    uint64_t http_client_held;    /* what was not sent, since the service had asked for a pause */
    uint64_t cluster_dropped;     /* messages of the bus: a stranger's, damaged, or repeated */
    uint64_t cluster_refused;     /* openings of pairs */
    uint64_t cluster_lost;        /* pairs: a message was missing, or nothing was heard any more */
};

/* Of a node's part in a cluster, measured once a second by the cluster's thread. Atomic. */
struct cluster_gauges {
    uint64_t up; /* the bus: 1 */
    uint64_t hubs, pairs, peers;
    uint64_t unsent;    /* bytes */
    uint64_t under_way; /* bytes: the credit of pairs that is in use */
    uint64_t lag_us;    /* since something was heard by a pair, of the one where it is the most */
};

/* Of one dispatcher. */
struct counts {
    struct metrics metrics;
    uint64_t queued;      /* bytes that wait for the remotes of connections, as last measured */
    uint64_t http_queued; /* and for those of gateways */
    struct list of_node;
};

/* Of one node: its dispatchers, and what those that are gone have counted. */
struct census {
    char lock;
    struct list dispatchers;
    struct metrics departed;
};

#define COUNT(d, name) COUNT_MANY(d, name, 1)
#define COUNT_MANY(d, name, n) metrics_count(&(d)->counts.metrics.name, n)

static inline void metrics_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

extern const uint64_t metrics_bounds_ns[DURATIONS];

/* A call of that kind has ended so long after it began. */
static inline void metrics_took(struct metrics *m, enum call_kind kind, int why, uint64_t ns)
{
    unsigned i = 0;
    uint64_t *us = &m->took_us[kind][why];

    while (ns > metrics_bounds_ns[i])
        i++;
    metrics_count(&m->took[kind][why][i], 1);
    __atomic_store_n(us, *us + ns / 1000, __ATOMIC_RELAXED);
}

struct totals {
    struct metrics sum;
    uint64_t connections, http_connections; /* open */
    uint64_t running[CALL_KINDS];
    uint64_t http_client_running;
    uint64_t queued, sessions, message_bytes, tls_expires;
    uint64_t build; /* 1 */
    struct cluster_gauges cluster;
    struct host_process process;
};

/* All but what the node has: sessions, message_bytes, tls_expires and what is behind them. From any
 * thread. */
void metrics_collect(struct census *all, struct totals *out);
/* The exposition format 0.0.4 of Prometheus, OpenMetrics 1.0 up to its end, which is
 * METRICS_OPEN_END, and what metrics/list answers: {"metrics":[…]}. 0, or out of memory. */
int metrics_text(struct buf *b, const struct totals *t);
int metrics_open(struct buf *b, const struct totals *t);
int metrics_json(struct buf *b, const struct totals *t);
#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_OPEN_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_OPEN_END "# EOF\n"

/* A fault's code among FAULT_CLASSES; the last is for all that are not the protocol's. */
unsigned metrics_fault_class(struct str code);
#define FAULT_OTHER (FAULT_CLASSES - 1)
/* The index of an end in ended; code: of the fault, when why is ALK_END_FAULT. */
static inline unsigned metrics_outcome(int why, struct str code)
{
    return why == ALK_END_FAULT ? OUTCOME_FAULTS + metrics_fault_class(code) : (unsigned)why;
}
/* A dispatcher begins; and ends, with nothing left that it counts. */
void metrics_join(struct census *all, struct counts *c);
void metrics_leave(struct census *all, struct counts *c);

#endif
