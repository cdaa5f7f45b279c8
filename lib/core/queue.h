/* The envelopes of one connection on their way out: what its link has not taken yet, for each of
 * the link's streams in order. An envelope is written here in its final form, once, and the link
 * gets it whole.
 *
 * A queue is bounded twice. Above queue_high a stream's calls are told to wait, by whoever asks
 * queue_bytes. Above queue_max, beyond one message, the remote does not read: queue_state says
 * so, after a turn of the loop in which the link may pass on what came at once. What the link
 * holds itself (alk_link.queued) counts as ours. */
#ifndef ALK_CORE_QUEUE_H
#define ALK_CORE_QUEUE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "core/node.h"

/* There as long as something is queued on it, or somebody waits for room on it. */
struct stream {
    struct map_node by_id; /* not of stream 0 */
    struct list link;      /* something is queued: in ready, grown or blocked of the queue */
    struct list look;      /* somebody waits: in due or awaited of the queue */
    struct list waiters;   /* whom queue_room is to tell */
    uint64_t id;
    struct buf out; /* lengths of four bytes in the host's order, each with its envelope */
    bool refused;   /* the link has said ALK_EAGAIN: in grown or blocked */
    bool finish;    /* the link is told when all is sent */
};

/* A link that gives the memory of its own output, so that an envelope is written where it leaves
 * from. One stream; ud is the link's. begin: append the envelope to the buffer, then commit (0,
 * or -1: out of memory, and it is gone) or undo; NULL: out of memory, or the link has ended. */
struct direct_link {
    struct buf *(*begin)(void *ud, size_t about);
    int (*commit)(void *ud);
    void (*undo)(void *ud);
};

struct queue {
    struct list dirty, *all_dirty; /* something is to be sent: a member of that list */
    struct mem *mem;
    struct meter *meter; /* who pays for what waits */
    struct buf *spare;   /* the memory of a stream that has run empty, for the next one */
    const alk_node *node;
    alk_link link;
    const struct direct_link *direct; /* NULL: the link takes whole envelopes */
    uint32_t message_bytes;           /* the largest envelope; 0: frame_bytes of the limits */
    /* What one envelope costs does not grow with the streams that are held back: those are tried
     * again, and their waiters' room looked for, when the link says that it is writable. */
    struct list ready;    /* to be sent from */
    struct list grown;    /* refused; more is queued than queue_state has seen */
    struct list blocked;  /* refused */
    struct list due;      /* somebody waits, and there may be room */
    struct list awaited;  /* somebody waits */
    struct map streams;   /* all but stream 0, by id */
    struct stream shared; /* stream 0 */
    uint64_t over_since;  /* the turn in which too much was found; 0: it is not */
    bool writable;        /* the link says that it has room */
    bool lost;            /* the link is not to be called any more */
};

/* Members that are not set here: all_dirty, mem, spare, node, link and message_bytes are the
 * owner's to fill before, and meter before anything is queued. */
void queue_init(struct queue *q);
/* Nobody waits for room. */
void queue_fini(struct queue *q);
/* Something is to be sent, or room to be looked for, in the coming turn. */
void queue_wake(struct queue *q);
/* The largest envelope that either side may send. */
uint32_t queue_message_limit(const struct queue *q);

/* One envelope being written: append to *out, then commit. */
struct slot {
    struct queue *q;
    struct buf *out;
    size_t start; /* of the envelope */
    bool direct;
};

/* about: its length as far as one knows. 0, or ALK_ENOMEM with nothing begun. */
int queue_begin(struct queue *q, uint64_t stream, size_t about, struct slot *slot);
/* 0, or it is gone: ALK_ELIMIT (larger than a message may be), ALK_ENOMEM. */
int queue_commit(struct slot *slot);
void queue_undo(struct slot *slot);

/* The link is told (idle) behind what is queued on that stream. */
void queue_finish(struct queue *q, uint64_t stream);
/* Hands envelopes to the link until it has enough. A negative code other than ALK_EAGAIN is the
 * link's failure. */
int queue_send(struct queue *q);
/* What the link has refused may be tried again, and there may be room for who waits: on all
 * streams, or on that one. */
void queue_writable(struct queue *q);
void queue_writable_on(struct queue *q, uint64_t stream);
/* waiter is told by queue_room, and taken out of its list before; or takes itself out. false: out
 * of memory. */
bool queue_await(struct queue *q, uint64_t stream, struct list *waiter);
/* Tells those on whose stream at most that many bytes wait. */
void queue_room(struct queue *q, size_t most, void (*tell)(struct list *waiter));
/* Bytes that wait for the remote on one stream, and on all. */
size_t queue_bytes(const struct queue *q, uint64_t stream);
size_t queue_total(const struct queue *q);

enum { QUEUE_EMPTY, QUEUE_WAITS, QUEUE_OVER, QUEUE_FULL };
/* QUEUE_OVER: too much, since this turn; ask again in the next one. QUEUE_FULL: too much, and it
 * has had its turn. */
int queue_state(struct queue *q, uint64_t turn);

#endif
