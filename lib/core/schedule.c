/* Implements schedule.h. A timer or a task may set, post or free any other, itself included, so
 * each is taken out before it runs and the next is looked for afterwards.
 *
 * Nothing runs twice in one turn: a timer that is set anew for a time that has come is due in the
 * next one, and so is a task that is posted from a task. Otherwise two that set each other would
 * keep the turn for ever. */
#include "core/schedule.h"

void timer_set(struct schedule *s, struct timer *t, uint64_t at)
{
    heap_remove(&s->timers, &t->node);
    /* One that sets itself again from its own expiry waits for the next turn. */
    if (at <= s->expiring)
        at = s->expiring + 1;
    if (at != HEAP_NONE)
        heap_insert(&s->timers, &t->node, at);
}

/* Also for one that is not set: whoever ends something need not know. */
void timer_clear(struct schedule *s, struct timer *t)
{
    heap_remove(&s->timers, &t->node);
}

void schedule_expire(struct schedule *s, uint64_t now)
{
    struct heap_node *n;

    s->expiring = now;
    while ((n = s->timers.root) && n->key <= now) {
        struct timer *t = container_of(n, struct timer, node);

        heap_remove(&s->timers, n);
        t->fn(t, now);
    }
    s->expiring = 0;
}

void schedule_run(struct schedule *s)
{
    struct list now;

    list_init(&now);
    /* Whoever is freed meanwhile takes its task out of whichever list it is in. */
    list_splice(&now, &s->tasks);
    while (!list_empty(&now)) {
        struct task *t = container_of(now.next, struct task, link);

        list_del(&t->link);
        t->fn(t);
    }
}

uint64_t schedule_next(const struct schedule *s)
{
    return s->timers.root ? s->timers.root->key : UINT64_MAX;
}
