/* Implements the allocator hook of mem.h. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

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
    static void *(*const volatile wipe)(void *, int, size_t) = memset;

    if (len)
        wipe(ptr, 0, len);
}
