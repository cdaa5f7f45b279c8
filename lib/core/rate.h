/* Token buckets by key (an identity, an address), in a table of fixed size that any thread may
 * use: a remote cannot make it grow. When a set of ways is full, its fullest bucket, the least
 * interesting one, is forgotten. The limit is asked for at each use, so a new one holds at once. */
#ifndef ALK_CORE_RATE_H
#define ALK_CORE_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_SLOTS 1024u
#define RATE_WAYS 4u

struct rate_bucket {
    uint64_t key;     /* 0: free */
    uint64_t full_at; /* ns; when the bucket will be full again */
};

struct rate_table {
    char lock;
    uint64_t seed[2];
    struct rate_bucket slots[RATE_SLOTS];
};

/* Takes one of `per_period` tokens that come evenly over period ns, with bursts of as many. */
bool rate_take(struct rate_table *t, const void *key, size_t len, uint32_t per_period,
               uint64_t period, uint64_t now);

#endif
