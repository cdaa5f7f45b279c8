/* Implements overlay.h. The names are in a map for calls and in an array for listings, both made
 * once. The operations belong to the set; it goes with the last of its holders: the connection, or
 * a call whose operation it has. */
#include "core/overlay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct overlay *overlay_new(const struct mem *like, const uint64_t *seed)
{
    struct mem mem;
    struct overlay *o;

    mem_init(&mem, like->realloc, like->ud);
    o = mem_zalloc(&mem, sizeof *o);
    if (!o)
        return NULL;
    mem_init(&o->mem, like->realloc, like->ud);
    o->refs = 1;
    map_init(&o->by_name, &o->mem, seed);
    return o;
}

int overlay_fill(struct overlay *o, struct operation **ops, size_t count,
                 const struct account *payer, size_t kept)
{
    struct map_node *n;
    int rc = ALK_OK;

    o->sorted = mem_alloc(&o->mem, (count + 1) * sizeof *o->sorted);
    if (!o->sorted)
        rc = ALK_ENOMEM;
    for (size_t i = 0; !rc && i < count; i++) {
        struct map_node *key = &ops[i]->by_name;

        rc = map_find(&o->by_name, key->key, key->len) ? ALK_EEXIST
             : map_add(&o->by_name, key)               ? ALK_ENOMEM
                                                       : ALK_OK;
    }
    if (rc) {
        /* Not freed with the set: what could not be made one stays the caller's. */
        while ((n = map_any(&o->by_name)))
            map_del(&o->by_name, n);
        return rc;
    }
    /* Nothing can fail any more: the operations are the set's from here on. */
    memcpy(o->sorted, ops, count * sizeof *ops);
    qsort(o->sorted, count, sizeof *ops, operation_by_name);
    hold_take(&o->payer, payer);
    o->kept = kept;
    return ALK_OK;
}

struct overlay *overlay_ref(struct overlay *o)
{
    __atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
    return o;
}

/* The allocator is in what it frees last. */
void overlay_unref(struct overlay *o)
{
    struct map_node *n;
    struct mem mem;

    if (!o || __atomic_fetch_sub(&o->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    while ((n = map_any(&o->by_name))) {
        map_del(&o->by_name, n);
        operation_free(container_of(n, struct operation, by_name), &o->mem);
    }
    map_fini(&o->by_name);
    hold_unkeep(&o->payer, o->kept);
    hold_drop(&o->payer);
    mem_free(&o->mem, o->sorted);
    assert(o->mem.live == 0);
    mem_init(&mem, o->mem.realloc, o->mem.ud);
    mem_free(&mem, o);
}

/* What it finds lives as long as the set: who keeps it takes a reference on that. */
const struct operation *overlay_find(const struct overlay *o, struct str name)
{
    struct map_node *n = o ? map_find(&o->by_name, name.p, name.n) : NULL;

    return n ? container_of(n, struct operation, by_name) : NULL;
}
