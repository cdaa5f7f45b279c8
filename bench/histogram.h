/* Latencies in nanoseconds, log-linear: 64 buckets for each power of two, so a bucket is at most 1.6 % wide. Fixed size, no
 * allocation. Also included from C++. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 6u
#define HISTOGRAM_BUCKETS ((65u - HISTOGRAM_BITS) << HISTOGRAM_BITS)

struct histogram {
    uint64_t count;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *h, uint64_t v)
{
    unsigned shift = 0;

    if (v >> HISTOGRAM_BITS)
        shift = 63u - (unsigned)__builtin_clzll((unsigned long long)v) - HISTOGRAM_BITS;
    /* From 64 on, v >> shift is 64 to 127, so each further power of two continues where the one before ends. */
    h->bucket[(shift << HISTOGRAM_BITS) + (v >> shift)]++;
    h->count++;
}

static inline void histogram_join(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
}

/* The middle of the bucket in which that part of the values (0 to 1) has been passed. */
static inline double histogram_at(const struct histogram *h, double part)
{
    double want = part * (double)h->count, seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        unsigned row = i >> HISTOGRAM_BITS, shift = row > 1 ? row - 1 : 0;

        seen += (double)h->bucket[i];
        if (h->bucket[i] && seen >= want)
            return ((double)(i - (shift << HISTOGRAM_BITS)) + 0.5) * (double)(1ull << shift);
    }
    return 0;
}

#endif
