/* A bump allocator for what is set once and dies together: a call, a message, a table. Chunks come
 * from a struct mem. The last allocation can grow in place, and a large one has a chunk of its own
 * that is grown with realloc, so that a parser's growing array leaves no garbage behind. Pointers
 * into it are valid until arena_reset or arena_fini, and for arena_realloc until that call. */
#ifndef ALK_BASE_ARENA_H
#define ALK_BASE_ARENA_H

#include "base/mem.h"
#include "base/meter.h"

#include <stdint.h>
#include <yyjson.h>

struct arena_chunk;

struct arena {
    struct mem *mem;
    struct meter *meter;        /* NULL: nobody counts; set before the first block */
    struct arena_chunk *chunks; /* newest first; large chunks behind the bump chunk */
    char *at, *end;             /* free room in the bump chunk */
    size_t bytes;               /* held from mem, chunk headers included */
    size_t keep;                /* size of the first chunk, kept by arena_reset */
    bool begins;                /* with its first block something new begins, see meter.h */
    bool refused;               /* by the meter, and not for want of memory */
};

/* Allocates nothing yet. mem outlives the arena. */
void arena_init(struct arena *a, struct mem *mem, size_t first);
void arena_fini(struct arena *a);
/* Forgets everything and gives all but one chunk of the first size back. */
void arena_reset(struct arena *a);
/* From here on m pays, also for what it holds already; m outlives the memory. */
void arena_charge(struct arena *a, struct meter *m);
/* These four: NULL when out of memory, or when the meter has no more. Blocks are aligned to 16
 * bytes; size may be 0. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
/* old is the size that ptr was allocated with; on failure ptr stays valid. */
void *arena_realloc(struct arena *a, void *ptr, size_t old, size_t size);
/* Gives back what a large block has too much, as of a parser's guess; returns where it is now. */
void *arena_fit(struct arena *a, void *ptr, size_t size);
/* A copy with a NUL behind it, for those who need one. */
char *arena_dup(struct arena *a, const void *src, size_t len);
/* yyjson's allocator on this arena; its free is a no-op. */
yyjson_alc arena_alc(struct arena *a);

#endif
