/* What the core needs from outside, as one table: SHA-256, randomness, regular expressions,
 * locks, and what the system knows of the process.
 * lib/host/host.c fills it; tests may bring their own. All functions are
 * thread-safe. Patterns are ECMA-262 with the u flag, unanchored, as JSON Schema uses them.
 *
 * A table and not direct calls, so that the core links without a crypto or regex library, and a
 * test can count, fail or slow down what it wants to. */
#ifndef ALK_BASE_HOST_H
#define ALK_BASE_HOST_H

#include <stddef.h>
#include <stdint.h>

enum { HOST_REGEX_NO = 0, HOST_REGEX_YES = 1, HOST_REGEX_TOO_COMPLEX = -1 };

/* Of the process. What the system does not tell is 0. */
struct host_process {
    uint64_t start_us; /* Unix time */
    uint64_t cpu_us;   /* used, by all threads */
    uint64_t resident_bytes;
    uint64_t open_fds, max_fds;
};

struct host {
    /* Cannot fail. */
    void (*sha256)(const void *data, size_t len, uint8_t out[32]);
    /* Fills out with cryptographically secure bytes; 0, or -1 when there is no source. */
    int (*random)(void *out, size_t len);
    /* NULL when the pattern is not valid; err then has the reason with its offset. */
    void *(*regex_new)(const char *pattern, size_t len, char err[128]);
    /* HOST_REGEX_*; effort (about one unit per backtracking step) is what it may cost: a pattern
     * and a subject from strangers can otherwise take exponential time. */
    int (*regex_match)(const void *regex, const char *subject, size_t len, uint32_t effort);
    /* The bytes that it keeps: a short pattern can compile to hundreds of times its length. */
    size_t (*regex_size)(const void *regex);
    void (*regex_free)(void *regex);
    /* For what threads share and spin.h is too short for: held while something is looked for or
     * allocated. NULL: out of memory. */
    void *(*mutex_new)(void);
    void (*mutex_lock)(void *mutex);
    void (*mutex_unlock)(void *mutex);
    void (*mutex_free)(void *mutex);
    void (*process)(struct host_process *out);
};

/* The table on mbedTLS and PCRE2. */
const struct host *host_default(void);

#endif
