/* Implements overlay.h. The names are in a map for calls and in an array for listings, both made
 * once. The operations belong to the set; it goes with the last of its holders: the connection, or
 * a call whose operation it has. */
#include "core/overlay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int overlay_new(struct overlay **out, struct mem *mem, const uint64_t *seed, struct operation **ops,
                size_t count, struct account *payer, size_t kept)
{
    struct overlay *o = mem_zalloc(mem, sizeof *o);
    struct map_node *n;
    int rc = ALK_OK;

    *out = NULL;
    if (!o)
        return ALK_ENOMEM;
    o->mem = mem;
    o->refs = 1;
    map_init(&o->by_name, mem, seed);
    o->sorted = mem_alloc(mem, (count + 1) * sizeof *o->sorted);
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
        overlay_unref(o);
        return rc;
    }
    /* Nothing can fail any more: the operations are the set's from here on. */
    memcpy(o->sorted, ops, count * sizeof *ops);
    qsort(o->sorted, count, sizeof *ops, operation_by_name);
    o->payer = payer ? account_ref(payer) : NULL;
    o->kept = kept;
    *out = o;
    return ALK_OK;
}

/* Without atomics: a set belongs to the dispatcher of its connection. */
struct overlay *overlay_ref(struct overlay *o)
{
    o->refs++;
    return o;
}

void overlay_unref(struct overlay *o)
{
    struct map_node *n;

    if (!o)
        return;
    assert(o->refs > 0);
    if (--o->refs)
        return;
    while ((n = map_any(&o->by_name))) {
        map_del(&o->by_name, n);
        operation_free(container_of(n, struct operation, by_name), o->mem);
    }
    map_fini(&o->by_name);
    if (o->payer)
        account_keep(o->payer, o->kept, 0);
    account_unref(o->payer);
    mem_free(o->mem, o->sorted);
    mem_free(o->mem, o);
}

/* What it finds lives as long as the set: who keeps it takes a reference on that. */
const struct operation *overlay_find(const struct overlay *o, struct str name)
{
    struct map_node *n = o ? map_find(&o->by_name, name.p, name.n) : NULL;

    return n ? container_of(n, struct operation, by_name) : NULL;
}
