/* For whom a node calls a remote, and how much of the remote each may have. A remote takes a
 * limited number of calls from this node (the limit of both is taken to be connection_calls), and
 * what one caller keeps open there, as subscriptions, would be missing to all others. So an eighth
 * is kept for the node's own calls, and of the rest each caller may have as many as are still free:
 * one alone half of it, two a third each. A caller is whoever pays for the call that is forwarded
 * (account.h). */
#ifndef ALK_CORE_ORIGIN_H
#define ALK_CORE_ORIGIN_H

#include "base/map.h"
#include "core/account.h"

struct origin;

/* Of one connection. */
struct origins {
    struct map by_share;
    uint32_t count; /* of calls for anybody */
};

void origins_init(struct origins *all, struct mem *mem, const uint64_t *seed);
/* Every call must have given back what it took. */
void origins_fini(struct origins *all);
/* Whether one more call may begin for that payer (NULL: the node itself), where `pending` of at
 * most `most` are under way. */
bool origins_may_take(const struct origins *all, const struct account *payer, size_t pending,
                      uint32_t most);
/* It begins; payer's share lives until it is given back. NULL: out of memory. */
struct origin *origins_take(struct origins *all, const struct account *payer);
void origins_give(struct origins *all, struct origin *o);

#endif
