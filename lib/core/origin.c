/* Implements origin.h. The key is the share of the budget, by its address: it lives as long as the
 * message of each call that is counted here. */
#include "core/origin.h"

#define OWN 8u /* the part that is kept for the node's own calls */

struct origin {
    struct map_node node;
    const struct share *share;
    uint32_t count;
};

void origins_init(struct origins *all, struct mem *mem, const uint64_t *seed)
{
    map_init(&all->by_share, mem, seed);
    all->count = 0;
}

void origins_fini(struct origins *all)
{
    map_fini(&all->by_share);
}

static struct origin *find(const struct origins *all, const struct account *payer)
{
    struct map_node *n = map_find(&all->by_share, (const char *)&payer->share, sizeof payer->share);

    return n ? container_of(n, struct origin, node) : NULL;
}

/* In all, a remote that answers nothing must not make this node keep requests without end. */
bool origins_may_take(const struct origins *all, const struct account *payer, size_t pending,
                      uint32_t most)
{
    uint32_t others = most - most / OWN;
    const struct origin *o = payer ? find(all, payer) : NULL;

    if (pending >= most)
        return false;
    return !payer || (all->count < others && (o ? o->count : 0) < others - all->count);
}

struct origin *origins_take(struct origins *all, const struct account *payer)
{
    struct origin *o = find(all, payer);

    if (!o) {
        o = mem_zalloc(all->by_share.mem, sizeof *o);
        if (!o)
            return NULL;
        o->share = payer->share;
        o->node.key = (const char *)&o->share;
        o->node.len = sizeof o->share;
        if (map_add(&all->by_share, &o->node)) {
            mem_free(all->by_share.mem, o);
            return NULL;
        }
    }
    o->count++;
    all->count++;
    return o;
}

void origins_give(struct origins *all, struct origin *o)
{
    all->count--;
    if (--o->count)
        return;
    map_del(&all->by_share, &o->node);
    mem_free(all->by_share.mem, o);
}
