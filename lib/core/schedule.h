/* What is due in a dispatcher's turn, for whoever asked: timers, each once at its time, and
 * tasks, each once in the coming turn. Both are members of what they belong to, so setting one
 * needs no memory, and whoever is freed takes its own out. */
#ifndef ALK_CORE_SCHEDULE_H
#define ALK_CORE_SCHEDULE_H

#include "base/heap.h"
#include "base/list.h"

struct timer {
    struct heap_node node;
    void (*fn)(struct timer *t, uint64_t now);
};

struct task {
    struct list link;
    void (*fn)(struct task *t);
};

/* Timers are in a heap, so that the next one is known without looking; tasks are in the order in
 * which they were posted. */
struct schedule {
    struct heap timers;
    struct list tasks;
    uint64_t expiring; /* the time up to which timers are being run; 0: none are */
};

static inline void timer_init(struct timer *t, void (*fn)(struct timer *, uint64_t))
{
    heap_node_init(&t->node);
    t->fn = fn;
}

static inline bool timer_is_set(const struct timer *t)
{
    return t->node.key != HEAP_NONE;
}

/* UINT64_MAX: never. Replaces an earlier time. */
void timer_set(struct schedule *s, struct timer *t, uint64_t at);
void timer_clear(struct schedule *s, struct timer *t);

static inline void task_init(struct task *t, void (*fn)(struct task *))
{
    list_init(&t->link);
    t->fn = fn;
}

static inline void task_post(struct schedule *s, struct task *t)
{
    if (list_empty(&t->link))
        list_push(&s->tasks, &t->link);
}

static inline void schedule_init(struct schedule *s)
{
    *s = (struct schedule){.expiring = 0};
    list_init(&s->tasks);
}

/* Runs the timers whose time has come. */
void schedule_expire(struct schedule *s, uint64_t now);
/* Runs the tasks that were posted before; what they post is for the next time. */
void schedule_run(struct schedule *s);
/* When the next timer is due; UINT64_MAX: none is set. */
uint64_t schedule_next(const struct schedule *s);

#endif
