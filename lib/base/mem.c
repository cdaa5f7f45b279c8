/* The allocator hook. live counts blocks, not bytes: the size of a block is not known when it is
 * freed. A block of size 0 is one of size 1, since realloc(p, 0) means free, and NULL means out of
 * memory. No function may be called while another thread is in one with the same struct mem. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* free in place of realloc(p, 0), of which C leaves open what it does. */
static void *libc_realloc(void *ud, void *ptr, size_t size)
{
    (void)ud;
    if (size)
        return realloc(ptr, size);
    free(ptr);
    return NULL;
}

void mem_init(struct mem *m, void *(*fn)(void *, void *, size_t), void *ud)
{
    m->realloc = fn ? fn : libc_realloc;
    m->ud = ud;
    m->live = 0;
}

void *mem_alloc(struct mem *m, size_t size)
{
    void *p = m->realloc(m->ud, NULL, size ? size : 1);

    m->live += p != NULL;
    return p;
}

void *mem_zalloc(struct mem *m, size_t size)
{
    void *p = mem_alloc(m, size);

    if (p)
        memset(p, 0, size);
    return p;
}

void *mem_realloc(struct mem *m, void *ptr, size_t size)
{
    /* Only so is a new block counted. */
    if (!ptr)
        return mem_alloc(m, size);
    return m->realloc(m->ud, ptr, size ? size : 1);
}

void mem_free(struct mem *m, void *ptr)
{
    if (!ptr)
        return;
    m->live--;
    m->realloc(m->ud, ptr, 0);
}

char *mem_dup(struct mem *m, const void *src, size_t len)
{
    char *p = mem_alloc(m, len + 1);

    if (!p)
        return NULL;
    if (len)
        memcpy(p, src, len);
    p[len] = 0;
    return p;
}

void mem_wipe(void *ptr, size_t len)
{
    /* A compiler may drop a memset of what is freed next; it must not know which function this
     * calls. */
    static void *(*const volatile wipe)(void *, int, size_t) = memset;

    if (len)
        wipe(ptr, 0, len);
}
