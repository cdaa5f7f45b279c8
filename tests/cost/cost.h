/* What work costs in instructions, as it grows: tests/check_cost.sh runs each scenario with n and
 * with 2n, and compares what callgrind counts inside of the functions called measured_. A scenario
 * makes what it needs, calls one of these, and cleans up: the rest is not counted. They do not call
 * each other, as leaving one ends the counting. */
#ifndef TESTS_COST_COST_H
#define TESTS_COST_COST_H

#include <stddef.h>

#define MEASURED __attribute__((noinline, noclone))

struct scenario {
    const char *name;
    void (*run)(size_t n);
    size_t n; /* the smaller of the two sizes; enough that what does not grow hardly counts */
};

/* Each ends with one without a name. */
extern const struct scenario cost_json[], cost_schema[], cost_calls[], cost_peers[], cost_http[],
    cost_ws[], cost_streams[], cost_openapi[];

/* before, then piece n times with sep between, then behind; each '#' of piece is the number, in
 * seven digits. To be freed. */
char *cost_list(const char *before, const char *piece, const char *sep, size_t n,
                const char *behind);

#endif
