/* Implements bench.h. Durations below 2^BENCH_SHIFT have a class each. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

static unsigned class_of(uint64_t us)
{
    unsigned bits = us >> BENCH_SHIFT ? 64 - (unsigned)__builtin_clzll(us >> BENCH_SHIFT) : 0;
    unsigned class;

    if (!bits)
        return (unsigned)us;
    class = (bits << BENCH_SHIFT) + (unsigned)(us >> (bits - 1)) - (1u << BENCH_SHIFT);
    return class < BENCH_CLASSES ? class : BENCH_CLASSES - 1;
}

uint64_t bench_class_from(unsigned class)
{
    unsigned bits = class >> BENCH_SHIFT;
    uint64_t rest = class & ((1u << BENCH_SHIFT) - 1);

    return bits ? (rest + (UINT64_C(1) << BENCH_SHIFT)) << (bits - 1) : rest;
}

void bench_time(struct bench_times *t, uint64_t us)
{
    t->min = t->count && t->min < us ? t->min : us;
    t->max = t->max > us ? t->max : us;
    t->count++;
    t->classes[class_of(us)]++;
}

void bench_error(struct bench_errors *e, const char *code, uint64_t count)
{
    size_t len = strlen(code);
    unsigned i = 0;

    /* One that is too long is cut between two characters. */
    for (len = len < BENCH_CODE_MAX ? len : BENCH_CODE_MAX - 1; (code[len] & 0xC0) == 0x80;)
        len--;
    e->count += count;
    while (i < e->known && (strncmp(e->of[i].code, code, len) || e->of[i].code[len]))
        i++;
    if (i == BENCH_CODES_MAX)
        i--;
    else if (i == e->known)
        snprintf(e->of[e->known++].code, BENCH_CODE_MAX, "%.*s", (int)len,
                 i == BENCH_CODES_MAX - 1 ? "others" : code);
    e->of[i].count += count;
}

void bench_merge(struct bench_times *t, const struct bench_times *more)
{
    if (!more->count)
        return;
    t->min = t->count && t->min < more->min ? t->min : more->min;
    t->max = t->max > more->max ? t->max : more->max;
    t->count += more->count;
    for (unsigned i = 0; i < BENCH_CLASSES; i++)
        t->classes[i] += more->classes[i];
}

uint64_t bench_quantile(const struct bench_times *t, double share)
{
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)t->count);
    unsigned i = 0;

    while (i < BENCH_CLASSES - 1 && (seen += t->classes[i]) <= wanted)
        i++;
    seen = bench_class_from(i + 1) - 1;
    return seen < t->max ? seen : t->max;
}
