/* Implements rate.h: a bucket is the time at which it will be full (the generic cell rate
 * algorithm). */
#include "core/rate.h"

#include "base/map.h"
#include "base/spin.h"

static struct rate_bucket *find(struct rate_table *t, uint64_t key, uint64_t now)
{
    struct rate_bucket *set = &t->slots[key % (RATE_SLOTS / RATE_WAYS) * RATE_WAYS], *victim = set;

    for (size_t i = 0; i < RATE_WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].full_at < victim->full_at)
            victim = &set[i];
    }
    victim->key = key;
    victim->full_at = now;
    return victim;
}

static bool use(struct rate_table *t, const void *key, size_t len, uint32_t per_period,
                uint64_t period, uint64_t now, bool take)
{
    uint64_t step = period / per_period;
    struct rate_bucket *b;
    bool ok;

    spin_lock(&t->lock);
    b = find(t, map_hash(t->seed, key, len) | 1, now);
    if (b->full_at < now)
        b->full_at = now;
    ok = b->full_at + step <= now + period;
    if (ok && take)
        b->full_at += step;
    spin_unlock(&t->lock);
    return ok;
}

bool rate_take(struct rate_table *t, const void *key, size_t len, uint32_t per_period,
               uint64_t period, uint64_t now)
{
    return use(t, key, len, per_period, period, now, true);
}

bool rate_check(struct rate_table *t, const void *key, size_t len, uint32_t per_period,
                uint64_t period, uint64_t now)
{
    return use(t, key, len, per_period, period, now, false);
}
