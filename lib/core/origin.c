/* Implements origin.h. The key is the share of the budget, by its address: it lives as long as the
 * message of each call that is counted here. */
#include "core/origin.h"

#include <string.h>

#define OWN 8u /* the part that is kept for the node's own calls */

struct origin {
    struct map_node node;
    const struct share *share;
    uint32_t count;
};

static struct origin *find(const alk_connection *c, const struct account *payer)
{
    struct map_node *n = map_find(&c->origins, (const char *)&payer->share, sizeof payer->share);

    return n ? container_of(n, struct origin, node) : NULL;
}

/* In all, a remote that answers nothing must not make this node keep requests without end. */
bool origin_may_take(const alk_connection *c, const struct account *payer)
{
    uint32_t most = LIMIT(c->d->node, connection_calls), others = most - most / OWN;
    const struct origin *o = payer ? find(c, payer) : NULL;

    if (c->pending.count >= most)
        return false;
    return !payer || (c->forwarded < others && (o ? o->count : 0) < others - c->forwarded);
}

bool origin_take(alk_connection *c, alk_call *call)
{
    const struct account *payer = call->msg->payer;
    struct origin *o;

    if (!payer)
        return true;
    o = find(c, payer);
    if (!o) {
        o = mem_zalloc(&c->d->mem, sizeof *o);
        if (!o)
            return false;
        o->share = payer->share;
        o->node.key = (const char *)&o->share;
        o->node.len = sizeof o->share;
        if (map_add(&c->origins, &o->node)) {
            mem_free(&c->d->mem, o);
            return false;
        }
    }
    o->count++;
    c->forwarded++;
    call->origin = o;
    return true;
}

void origin_give(alk_connection *c, alk_call *call)
{
    struct origin *o = call->origin;

    if (!o)
        return;
    call->origin = NULL;
    c->forwarded--;
    if (--o->count)
        return;
    map_del(&c->origins, &o->node);
    mem_free(&c->d->mem, o);
}
