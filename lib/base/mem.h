/* The allocator hook: one realloc-shaped function, and a count of live blocks that is zero when
 * everything made through it is gone. realloc(ud, NULL, n) allocates, realloc(ud, p, 0) frees. The
 * count is only as thread-safe as its owner; registries and providers use atomics of their own. */
#ifndef ALK_BASE_MEM_H
#define ALK_BASE_MEM_H

#include <stddef.h>

struct mem {
    void *(*realloc)(void *ud, void *ptr, size_t size);
    void *ud;
    size_t live; /* blocks; tests and shutdown look whether it is 0 */
};

/* With fn NULL, the C library's allocator. */
void mem_init(struct mem *m, void *(*fn)(void *, void *, size_t), void *ud);
/* All of these return NULL when out of memory; what was there before stays valid then. */
void *mem_alloc(struct mem *m, size_t size);
void *mem_zalloc(struct mem *m, size_t size);
void *mem_realloc(struct mem *m, void *ptr, size_t size);
/* NULL is fine. */
void mem_free(struct mem *m, void *ptr);
/* A copy with a terminating NUL behind len bytes. */
char *mem_dup(struct mem *m, const void *src, size_t len);
/* Overwrites secrets in a way that the compiler keeps. */
void mem_wipe(void *ptr, size_t len);

#endif
