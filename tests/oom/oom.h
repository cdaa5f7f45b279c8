/* Runs a scenario again and again, with the first, the second, … allocation failing, until it
 * runs without having met a failure; once with that allocation alone failing, and once with all
 * that come after it as well. All memory of the library is in it: lib/base/mem.c is compiled into
 * the test with an allocator that fails on demand.
 *
 * A scenario sets up what is not its subject, calls arm(), and does its work. It returns whether
 * everything came out as it does with enough memory; only a run that met a failure may return
 * false. After each run all memory must be back. */
#ifndef TESTS_OOM_OOM_H
#define TESTS_OOM_OOM_H

#include "support/memory.h"

#include <stdlib.h>
#include <string.h>

static struct memory memory;
static long nth;
static bool with_all;

/* The library has threads of its own in some scenarios. */
static inline void *oom_realloc(void *ptr, size_t size)
{
    static char lock;
    void *p;

    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE))
        ;
    p = memory_realloc(&memory, ptr, size);
    __atomic_clear(&lock, __ATOMIC_RELEASE);
    return p;
}

static inline void oom_free(void *ptr)
{
    oom_realloc(ptr, 0);
}

#define realloc oom_realloc
#define free oom_free
#include "base/mem.c"
#undef realloc
#undef free

#include "support/suite.h"

#include <alknet/alknet.h>
#include <stdio.h>

#define TEXT(s) (s), strlen(s)
#define must(x)                                                                                    \
    do {                                                                                           \
        if (!(x))                                                                                  \
            ck_abort_msg("%s:%d: %s does not hold (allocation %ld, %s)", __FILE__, __LINE__, #x,   \
                         nth, with_all ? "all from there on" : "that one");                        \
    } while (0)
#define RUNS_MAX 3000

/* From here on allocations count. */
static inline void arm(void)
{
    memory.failed = false;
    memory.fail_in = nth;
    memory.fail_all = with_all;
}

/* No more failures: what follows is not the subject. The run remembers that there was one. */
static bool had_failed;
static inline void disarm(void)
{
    had_failed |= memory.failed;
    memory.failed = false;
    memory.fail_in = 0;
}

static inline bool failed(void)
{
    return memory.failed || had_failed;
}

/* 0 is true; anything else must be ALK_ENOMEM with a cause, and is false. */
static inline bool ok(int rc)
{
    if (rc != ALK_OK && !(rc == ALK_ENOMEM && failed()))
        ck_abort_msg("%s (allocation %ld)", alk_err_name(rc), nth);
    return rc == ALK_OK;
}

/* As ok, for what follows something that may have closed the connection. */
static inline bool ok_or_closed(int rc)
{
    return ok(rc == ALK_ECLOSED && failed() ? ALK_ENOMEM : rc);
}

static inline void exhaust(bool (*scenario)(void))
{
    for (int mode = 0; mode < 2; mode++) {
        with_all = mode != 0;
        for (nth = 1;; nth++) {
            bool good;

            must(nth < RUNS_MAX);
            had_failed = false;
            good = scenario();
            disarm();
            must(memory.live == 0);
            if (!had_failed) {
                must(good);
                ck_assert_int_gt(nth, 1);
                break;
            }
        }
    }
}

/* SCENARIO(name) { …; return whole; } */
#define SCENARIO(name)                                                                             \
    static bool name##_scenario(void);                                                             \
    START_TEST(name)                                                                               \
    {                                                                                              \
        exhaust(name##_scenario);                                                                  \
    }                                                                                              \
    END_TEST                                                                                       \
    static bool name##_scenario(void)

#endif
