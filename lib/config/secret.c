/* The allocator is asked for the size of a block, since not every owner of one knows it. */
#include "config/secret.h"

#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void secret_free(void *memory)
{
    if (memory)
        mem_wipe(memory, malloc_usable_size(memory));
    free(memory);
}

void *secret_realloc(void *memory, size_t size)
{
    size_t old = malloc_usable_size(memory);
    void *more = malloc(size);

    if (!more)
        return NULL;
    if (old)
        memcpy(more, memory, old < size ? old : size);
    secret_free(memory);
    return more;
}

static void *alc_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void *alc_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    (void)ctx;
    (void)old_size;
    return secret_realloc(memory, size);
}

static void alc_free(void *ctx, void *memory)
{
    (void)ctx;
    secret_free(memory);
}

const yyjson_alc secret_alc = {alc_malloc, alc_realloc, alc_free, NULL};
