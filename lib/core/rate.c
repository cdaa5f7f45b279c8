/* Implements rate.h: a bucket is the time at which it will be full (the generic cell rate
 * algorithm). That is one number for each key in place of a count and a time, and nothing has to
 * be refilled.
 *
 * Keys are hashed with a secret seed, so a remote cannot choose one that shares a bucket with
 * somebody else's. Two keys of one hash would share theirs, which 64 bits make unlikely. */
#include "core/rate.h"

#include "base/map.h"
#include "base/spin.h"

/* Who makes many keys pushes out others of the set, but always the fullest bucket: one that has
 * been used least, so that being forgotten gives its owner least. */
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

bool rate_take(struct rate_table *t, const void *key, size_t len, uint32_t per_period,
               uint64_t period, uint64_t now)
{
    uint64_t step = period / per_period;
    struct rate_bucket *b;
    bool ok;
    uint64_t hash = map_hash(t->seed, key, len);

    spin_lock(&t->lock);
    /* A key of 0 is a free slot. */
    b = find(t, hash ? hash : 1, now);
    /* It has been full for a while; that is not saved up. */
    if (b->full_at < now)
        b->full_at = now;
    ok = b->full_at + step <= now + period;
    if (ok)
        b->full_at += step;
    spin_unlock(&t->lock);
    return ok;
}
