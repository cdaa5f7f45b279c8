/* Implements resolve.h. What was registered by hand comes before what was imported, since it is
 * this program's word against the remote's. A newer connection of a peer comes before an older
 * one, which may be dead without anybody's having noticed. A connection that is shut serves
 * nothing. */
#include "core/resolve.h"

#include "core/connection.h"
#include "core/overlay.h"

bool node_serves(struct alk_dispatcher *d, struct str name, struct target *out)
{
    *out = (struct target){.op = registry_find(d->node->reg, name.p, name.n)};
    if (!out->op)
        out->op = discovered_find(dispatcher_discovered(d), name, &out->discovered);
    return out->op != NULL;
}

bool connection_find(alk_connection *c, struct str name, struct target *out)
{
    struct overlay *sets[] = {c->registered, c->imported};

    /* The target has no references: whoever keeps it beyond the present function takes them. */
    for (size_t i = 0; c->closing < 0 && i < 2; i++) {
        const struct operation *op = overlay_find(sets[i], name);

        if (op) {
            *out = (struct target){.op = op, .via = c, .set = sets[i]};
            return true;
        }
    }
    return false;
}

bool peer_serves(struct peer *p, struct str name, struct target *out)
{
    unsigned looks = 0;

    list_each(l, &p->members)
    {
        if (looks++ == PEER_NEWEST)
            break;
        if (connection_find(container_of(l, alk_connection, peer.link), name, out))
            return true;
    }
    return false;
}

/* In the order of the table, so that the same call goes to the same peer while that is there. */
bool peers_serve(struct alk_dispatcher *d, struct str name, struct target *out)
{
    list_each(l, &d->peers.peers)
    {
        if (peer_serves(container_of(l, struct peer, link), name, out))
            return true;
    }
    return false;
}
