/* The dispatcher: the queue of calls with something to do, the deadlines, the connections with
 * something to send. All of it moves in alk_dispatcher_turn; everything else only queues. It knows
 * no socket, no clock and no loop, so tests drive it with bytes and times of their own. */
#ifndef ALK_CORE_DISPATCHER_H
#define ALK_CORE_DISPATCHER_H

#include "base/buf.h"
#include "base/time.h"
#include "core/drive.h"
#include "core/message.h"
#include "core/port.h"
#include "core/schedule.h"

#define ID_SIZE 37 /* a UUID and its NUL */
#define ID_MAX_BYTES 256u

/* All of it belongs to one thread, without locks. The exceptions are `counts`, which other threads
 * read, and the node. */
struct alk_dispatcher {
    alk_node *node;
    struct discovered *discovered; /* a reference to what it has last seen of the node's */
    /* Its own count of live blocks, so that what was forgotten shows when it goes. */
    struct mem mem;
    /* Told by whoever drives it: the core reads no clock. It stands still within a turn, so that
     * all that happens there has one time. */
    uint64_t now;
    uint64_t (*clock)(void); /* for durations in the log; NULL: now */
    struct schedule schedule;
    struct messages messages;
    struct accounts accounts;
    /* Lists and not arrays: members take themselves out at any time, also while one is walked. */
    struct list ready;       /* calls */
    struct list starters;    /* accounts with calls that wait for their start; see calls_run */
    struct list calls;       /* all that have not been freed */
    struct list credentials; /* all that are held by somebody */
    /* All that are not buried, and those that have something to send or to be looked at. */
    struct list connections, dirty;
    struct port *port;    /* a reference: what comes from other threads */
    struct wakes wakes;   /* of loops that a round of the turn has sent something */
    struct list backlog;  /* connections that may have something queued */
    uint64_t sampled_at;  /* when queued was last measured */
    struct buf spare_out; /* the memory of an output queue that has run empty, for the next one */
    struct arena scratch; /* reset before each use; nobody keeps pointers into it */
    /* turns tells one turn from the next where a thing must wait for one, whatever the clock
     * says. */
    uint64_t id_counter, turns;
    uint64_t turn_ends;  /* when the present turn has taken long enough */
    uint64_t generation; /* of the identity provider, as last seen */
    bool leaving;        /* still working, but /healthz says no */
    bool draining;
    bool closing;    /* its calls have been ended, and nothing may begin any more */
    alk_stats stats; /* the counters of it are in counts */
    struct counts counts;
    /* The core does not know what that is. */
    void *loop;
    int refs; /* the owner, and each call: a held call keeps its memory valid */
};

/* What was found outside, as of now; NULL: nothing. Held until it is looked at again. */
static inline struct discovered *dispatcher_discovered(struct alk_dispatcher *d)
{
    return discovery_see(&d->node->discovery, &d->discovered);
}

/* A fresh random UUID. */
void dispatcher_id(struct alk_dispatcher *d, char out[ID_SIZE]);

#endif
