/* A list of chunks; the first is filled from its start on, and a block is never given back alone.
 *
 * A block has no header: sizes are the caller's to know, as yyjson knows them, so a small string
 * costs its own bytes and no more. Two things keep a growing array from leaving copies behind, as a
 * parser that doubles its buffer would: the last block grows in place, and a large block has a
 * chunk of its own, which realloc may move. Chunks after the first do not double: an arena lives as
 * long as a call, and half of a doubled chunk would mostly stay empty. Out of memory leaves the
 * arena as it was; what it has already given stays valid. */
#include "base/arena.h"

#include <string.h>

#define ALIGN 16u /* enough for any type, also for those of yyjson */
/* A page. A chunk that follows the first has this size, unless one block needs more. */
#define GROW_CHUNK 4096u

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;  /* usable bytes */
    size_t alone; /* 1: holds a single block */
    _Alignas(ALIGN) char data[];
};

/* May wrap to 0 for a size near SIZE_MAX: callers compare the result with what was asked. */
static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

void arena_init(struct arena *a, struct mem *mem, size_t first)
{
    memset(a, 0, sizeof *a);
    a->mem = mem;
    a->keep = round_up(first);
}

void arena_charge(struct arena *a, struct meter *m)
{
    meter_move(a->meter, m, a->bytes);
    a->meter = m;
}

/* Of the sum, which the meter looks at as one block: many small chunks are memory like a large
 * one. */
static bool resize(struct arena *a, size_t bytes)
{
    if (!meter_grow(a->meter, a->bytes, bytes, a->begins)) {
        a->refused = true;
        return false;
    }
    a->bytes = bytes;
    return true;
}

static struct arena_chunk *chunk_new(struct arena *a, size_t size)
{
    struct arena_chunk *c;

    if (size > SIZE_MAX / 2 || !resize(a, a->bytes + sizeof *c + size))
        return NULL;
    c = mem_alloc(a->mem, sizeof *c + size);
    if (!c) {
        resize(a, a->bytes - sizeof *c - size);
        return NULL;
    }
    c->size = size;
    c->alone = 0;
    return c;
}

static void chunk_free(struct arena *a, struct arena_chunk *c)
{
    resize(a, a->bytes - sizeof *c - c->size);
    mem_free(a->mem, c);
}

/* Leaves an empty arena, which may be used again. */
void arena_fini(struct arena *a)
{
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        chunk_free(a, c);
    }
    a->chunks = NULL;
    a->at = a->end = NULL;
}

/* One chunk of the first size stays, so that a recycled message costs no allocation. Larger ones
 * go: one large message must not make its memory that of every message after it. */
void arena_reset(struct arena *a)
{
    struct arena_chunk *kept = NULL;

    a->refused = a->begins = false;
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        if (!kept && c->size == a->keep && !c->alone)
            kept = c;
        else
            chunk_free(a, c);
    }
    a->chunks = kept;
    a->at = a->end = NULL;
    if (kept) {
        kept->next = NULL;
        a->at = kept->data;
        a->end = kept->data + kept->size;
    }
}

/* A block too large for the bump chunk gets a chunk that holds it alone. It is linked behind the
 * bump chunk, which stays the first one, so that the room left in it is not lost. */
static void *alloc_large(struct arena *a, size_t size)
{
    struct arena_chunk *c = chunk_new(a, size);

    if (!c)
        return NULL;
    c->alone = 1;
    if (a->chunks) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        c->next = NULL;
        a->chunks = c;
    }
    return c->data;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t want = round_up(size ? size : 1);
    struct arena_chunk *c;
    void *p;

    if (want < size)
        return NULL;
    if ((size_t)(a->end - a->at) >= want) {
        p = a->at;
        a->at += want;
        return p;
    }
    /* Below a quarter of a chunk, what is wasted at the end of the old one is small. */
    if (want > GROW_CHUNK / 4 && want > a->keep)
        return alloc_large(a, want);
    c = chunk_new(a, !a->at              ? (a->keep > want ? a->keep : want)
                     : want > GROW_CHUNK ? want
                                         : GROW_CHUNK);
    if (!c)
        return NULL;
    c->next = a->chunks;
    a->chunks = c;
    p = c->data;
    a->at = c->data + want;
    a->end = c->data + c->size;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);

    if (p)
        memset(p, 0, size);
    return p;
}

/* The chunk that holds ptr alone, by the link that points to it; NULL when ptr lies in a bump
 * chunk. A linear search: large blocks are few, and only those of at least a quarter of a chunk are
 * looked for. */
static struct arena_chunk **large_link(struct arena *a, const void *ptr)
{
    for (struct arena_chunk **l = &a->chunks; *l; l = &(*l)->next) {
        if ((*l)->alone && (*l)->data == ptr)
            return l;
    }
    return NULL;
}

static void *grow_large(struct arena *a, struct arena_chunk **link, size_t want)
{
    struct arena_chunk *c = *link, *n;
    size_t old = c->size;

    if (want > SIZE_MAX / 2 || !resize(a, a->bytes - old + want))
        return NULL;
    n = mem_realloc(a->mem, c, sizeof *c + want);
    if (!n) {
        resize(a, a->bytes - want + old);
        return NULL;
    }
    n->size = want;
    *link = n;
    return n->data;
}

/* A block that shrinks in the middle of a chunk stays as it is: the room could go to nobody. */
void *arena_realloc(struct arena *a, void *ptr, size_t old, size_t size)
{
    size_t have = round_up(old ? old : 1), want = round_up(size ? size : 1);
    struct arena_chunk **link;
    void *p;

    if (!ptr)
        return arena_alloc(a, size);
    if (want < size)
        return NULL;
    /* The last block: its end is where free room begins. */
    if ((char *)ptr + have == a->at && want <= (size_t)(a->end - (char *)ptr)) {
        a->at = (char *)ptr + want;
        return ptr;
    }
    if (have > GROW_CHUNK / 4 && (link = large_link(a, ptr)))
        return want == have ? ptr : grow_large(a, link, want);
    if (want <= have)
        return ptr;
    p = arena_alloc(a, size);
    if (p)
        memcpy(p, ptr, old);
    return p;
}

void *arena_fit(struct arena *a, void *ptr, size_t size)
{
    struct arena_chunk **link = large_link(a, ptr);
    void *p = link && (*link)->size > size * 2 ? grow_large(a, link, round_up(size)) : NULL;

    return p ? p : ptr;
}

/* With a NUL behind it, since many texts go on to functions of C; len does not count it. */
char *arena_dup(struct arena *a, const void *src, size_t len)
{
    char *p = arena_alloc(a, len + 1);

    if (!p)
        return NULL;
    if (len)
        memcpy(p, src, len);
    p[len] = 0;
    return p;
}

static void *alc_malloc(void *ctx, size_t size)
{
    return arena_alloc(ctx, size);
}

static void *alc_realloc(void *ctx, void *ptr, size_t old, size_t size)
{
    return arena_realloc(ctx, ptr, old, size);
}

/* Everything dies with the arena. */
static void alc_free(void *ctx, void *ptr)
{
    (void)ctx;
    (void)ptr;
}

yyjson_alc arena_alc(struct arena *a)
{
    return (yyjson_alc){alc_malloc, alc_realloc, alc_free, a};
}
