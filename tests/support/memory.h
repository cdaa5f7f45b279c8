/* A realloc-shaped allocator that counts its live blocks and can fail: the allocation that brings
 * fail_in from 1 to 0 returns NULL, and with fail_all every later one as well. Blocks come from
 * the C library one by one, so that the sanitizer watches each of them. */
#ifndef TESTS_SUPPORT_MEMORY_H
#define TESTS_SUPPORT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

struct memory {
    size_t live;    /* blocks */
    size_t count;   /* allocations so far, failed ones included */
    size_t largest; /* the most that was asked for at once */
    long fail_in;   /* 0: none fails */
    bool fail_all, failed;
};

static inline bool memory_fails(struct memory *m)
{
    m->count++;
    if (m->failed)
        return m->fail_all;
    m->failed = m->fail_in && !--m->fail_in;
    return m->failed;
}

static inline void *memory_realloc(void *ud, void *ptr, size_t size)
{
    struct memory *m = ud;
    void *p;

    if (!size) {
        m->live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (size > m->largest)
        m->largest = size;
    p = memory_fails(m) ? NULL : realloc(ptr, size);
    m->live += p && !ptr;
    return p;
}

#endif
