/* How long calls take: counts of them by their duration, in classes that are 1/32 apart, so that
 * millions cost no more than a few. */
#ifndef ALK_CLI_ALKNET_BENCH_H
#define ALK_CLI_ALKNET_BENCH_H

#include <stdint.h>

#define BENCH_SHIFT 5u /* 2^5 classes between a duration and its double */
#define BENCH_CLASSES (40u << BENCH_SHIFT)
#define BENCH_CODES_MAX 32u /* of errors that are told apart */
#define BENCH_CODE_MAX 64u  /* bytes of one */

struct bench_times {
    uint64_t count, min, max; /* microseconds */
    uint64_t classes[BENCH_CLASSES];
};

struct bench_errors {
    struct {
        char code[BENCH_CODE_MAX];
        uint64_t count;
    } of[BENCH_CODES_MAX];
    unsigned known;
    uint64_t count;
};

void bench_time(struct bench_times *t, uint64_t us);
void bench_error(struct bench_errors *e, const char *code, uint64_t count);
void bench_merge(struct bench_times *t, const struct bench_times *more);
/* What share, 0 to 1, of the durations does not exceed. */
uint64_t bench_quantile(const struct bench_times *t, double share);
/* The least duration of a class. */
uint64_t bench_class_from(unsigned class);

#endif
