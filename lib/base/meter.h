/* Whom the memory is charged to that a remote makes us hold. Buffers and arenas ask before they
 * grow, so that nothing of that kind is outside the budget (core/account.h). Blocks below METER_MIN
 * are not counted: what has such a block is limited in number, and a counter that all threads write
 * would cost more than a small message. */
#ifndef ALK_BASE_METER_H
#define ALK_BASE_METER_H

#include <stdbool.h>
#include <stddef.h>

#define METER_MIN 16384u
#define METER_STEP 65536u

struct meter;

struct meter_ops {
    /* false: there is no room, and nothing was taken. begins: it is the first of something new. */
    bool (*take)(struct meter *m, size_t bytes, bool begins);
    /* Always taken: it is there already. */
    void (*force)(struct meter *m, size_t bytes);
    void (*give)(struct meter *m, size_t bytes);
    /* So much is taken that who is slow to give back must go. */
    bool (*pressed)(const struct meter *m);
};

struct meter {
    const struct meter_ops *ops;
};

/* A block, or the sum of several, of `from` bytes becomes one of `to`; false: there is no room, and
 * nothing has changed. It can only grow in vain. begins: with its first block something new begins.
 * m may be NULL: nobody counts. */
static inline bool meter_grow(struct meter *m, size_t from, size_t to, bool begins)
{
    from = from < METER_MIN ? 0 : from;
    to = to < METER_MIN ? 0 : to;
    if (!m || to == from)
        return true;
    if (to > from)
        return m->ops->take(m, to - from, begins && !from);
    m->ops->give(m, from - to);
    return true;
}

static inline bool meter_resize(struct meter *m, size_t from, size_t to)
{
    return meter_grow(m, from, to, false);
}

/* What is there already changes hands. */
static inline void meter_move(struct meter *from, struct meter *to, size_t bytes)
{
    if (from == to || bytes < METER_MIN)
        return;
    if (from)
        from->ops->give(from, bytes);
    if (to)
        to->ops->force(to, bytes);
}

/* What is too small to be counted by itself, and may be much together. The sum is paid for in large
 * steps, so that a block costs no access to what all threads write. */
struct meter_sum {
    size_t bytes, paid;
};

/* A block of `from` bytes becomes one of `to`: always taken, as it is there already. */
static inline void meter_add(struct meter_sum *s, struct meter *m, size_t from, size_t to)
{
    size_t steps;

    s->bytes += to - from;
    steps = s->bytes / METER_STEP * METER_STEP;
    if (steps > s->paid)
        meter_move(NULL, m, steps - s->paid);
    else if (!s->bytes || steps + METER_STEP < s->paid)
        meter_move(m, NULL, s->paid - steps);
    else
        return;
    s->paid = steps;
}

static inline bool meter_has_room(struct meter *m)
{
    if (!meter_grow(m, 0, METER_MIN, false))
        return false;
    meter_resize(m, METER_MIN, 0);
    return true;
}

static inline bool meter_pressed(const struct meter *m)
{
    return m && m->ops->pressed(m);
}

#endif
