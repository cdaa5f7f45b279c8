/* The dispatcher: the queue of calls with something to do, the deadlines, the connections with something to
 * send. All of it moves in alk_dispatcher_turn; everything else only queues. */
#ifndef ALK_CORE_DISPATCHER_H
#define ALK_CORE_DISPATCHER_H

#include "base/buf.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/list.h"
#include "core/node.h"

#define ID_SIZE 37 /* a UUID and its NUL */
#define ID_MAX_BYTES 256u

struct alk_value {
    yyjson_val *val;
    const char *text; /* NULL until asked for; or all there is, then val is NULL until asked for */
    size_t len;
    struct arena *arena;
};

/* A message on its way: its bytes, its parsed form, and whatever lives as long as it does (a request's
 * call is allocated in its message). */
struct msg {
    struct list link;
    struct arena arena;
    struct alk_value value;
    size_t charged; /* of the node's message budget */
    size_t bytes;   /* as a value that waits for its caller */
};

struct timer {
    struct heap_node node;
    void (*fn)(struct timer *t, uint64_t now);
};

/* Runs once in the coming turn, after the calls. */
struct task {
    struct list link;
    void (*fn)(struct task *t);
};

/* Told in the coming turn when answers of the identity provider may have changed. */
struct observer {
    struct list link;
    void (*fn)(struct observer *o);
};

struct alk_dispatcher {
    alk_node *node;
    struct mem mem;
    uint64_t now;
    uint64_t (*clock)(void); /* for durations in the log; NULL: now */
    struct heap timers;
    struct list ready; /* calls */
    struct list calls; /* all that have not been freed */
    struct list tasks, observers;
    struct list connections, dirty, peers;
    struct list backlog;  /* connections that may have something queued */
    uint64_t sampled_at;  /* when queued was last measured */
    uint64_t queued;      /* bytes that wait for the remotes of connections; any thread may read */
    uint64_t http_queued; /* and of gateways */
    struct list spare;    /* messages to use again */
    unsigned spare_count;
    struct buf spare_out; /* the memory of an output queue that has run empty, for the next one */
    struct arena scratch; /* reset before each use; nobody keeps pointers into it */
    uint64_t id_counter, turns;
    uint64_t generation; /* of the identity provider, as last seen */
    bool leaving;        /* still working, but /healthz says no */
    bool draining, expiring;
    alk_stats stats; /* the counters of it are in metrics */
    struct metrics metrics;
    struct list of_node; /* in the node's list */
    void *loop;
    int refs; /* the owner, and each call: a held call keeps its memory valid */
};

void dispatcher_unref(struct alk_dispatcher *d);
/* The parsed form of a value; NULL when out of memory. */
yyjson_val *value_parsed(const alk_value *value);

/* A fresh random UUID. */
void dispatcher_id(struct alk_dispatcher *d, char out[ID_SIZE]);

struct msg *msg_new(struct alk_dispatcher *d);
/* One that holds just a copy of the text, in memory of its size: for values that wait. */
struct msg *msg_of_text(struct alk_dispatcher *d, const char *text, size_t len);
/* The memory that it holds. */
static inline size_t msg_size(const struct msg *m)
{
    return sizeof *m + m->arena.bytes;
}
void msg_free(struct alk_dispatcher *d, struct msg *m);
/* Parses a copy of the bytes into m->value. JSON_* status; JSON_EBUDGET when the node has no room. */
#define JSON_EBUDGET 100
int msg_parse(struct alk_dispatcher *d, struct msg *m, const char *data, size_t len,
              struct json_error *err);
/* As msg_parse, for bytes that are in m's arena already, with JSON_PADDING behind them. */
int msg_parse_in_place(struct alk_dispatcher *d, struct msg *m, char *data, size_t len,
                       struct json_error *err);

static inline void timer_init(struct timer *t, void (*fn)(struct timer *, uint64_t))
{
    heap_node_init(&t->node);
    t->fn = fn;
}
void timer_set(struct alk_dispatcher *d, struct timer *t, uint64_t at);
void timer_clear(struct alk_dispatcher *d, struct timer *t);

static inline void task_init(struct task *t, void (*fn)(struct task *))
{
    list_init(&t->link);
    t->fn = fn;
}
static inline void task_post(struct alk_dispatcher *d, struct task *t)
{
    if (list_empty(&t->link))
        list_push(&d->tasks, &t->link);
}

#endif
