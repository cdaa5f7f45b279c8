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

    for (size_t i = 0; c->closing < 0 && i < 2; i++) {
        const struct operation *op = overlay_find(sets[i], name);

        if (op) {
            *out = (struct target){.op = op, .via = c, .set = sets[i]};
            target_hold(out);
            return true;
        }
    }
    return false;
}

bool line_target(struct line *l, struct str name, struct target *out)
{
    struct overlay *set;
    const struct operation *op = line_find(l, name, &set);

    if (!op)
        return false;
    *out = (struct target){.op = op, .line = line_ref(l), .set = set};
    return true;
}

/* Of another dispatcher's member only whose it is may be looked at. A peer of another hub has no
 * connection here. */
static void found(const struct alk_dispatcher *d, const struct found *f, struct target *out)
{
    *out = (struct target){.op = f->op, .member = f->member, .set = f->set};
    if (f->member->at == d->port && f->member->conn)
        out->via = alk_connection_ref(f->member->conn);
}

bool peer_target(struct alk_dispatcher *d, const struct peer *p, struct str name,
                 struct target *out)
{
    struct found f;

    if (!peer_serves(&d->node->peers, p, name, &f))
        return false;
    found(d, &f, out);
    return true;
}

bool peer_find(struct alk_dispatcher *d, struct str id, struct str name, struct target *out)
{
    struct peer *p = peers_find(&d->node->peers, id);
    bool found = p && peer_target(d, p, name, out);

    if (p)
        peers_release(&d->node->peers, p);
    return found;
}

bool elsewhere_serves(struct alk_dispatcher *d, struct str name, unsigned skip, peer_accept *accept,
                      const void *ud, struct target *out)
{
    struct found f;

    if (!peers_elsewhere(&d->node->peers, name, skip, accept, ud, &f))
        return false;
    found(d, &f, out);
    return true;
}

/* In the order of the table, so that the same call goes to the same peer while that is there. */
bool peers_serve(struct alk_dispatcher *d, struct str name, struct target *out)
{
    struct peer_table *t = &d->node->peers;
    struct peer *p = peers_have(t, name) ? peers_next(t, NULL, true) : NULL;

    for (; p; p = peers_next(t, p, true)) {
        if (peer_target(d, p, name, out)) {
            peers_release(t, p);
            return true;
        }
    }
    return elsewhere_serves(d, name, 0, NULL, NULL, out);
}

void target_hold(const struct target *t)
{
    if (t->via)
        alk_connection_ref(t->via);
    if (t->member)
        member_ref(t->member);
    if (t->line)
        line_ref(t->line);
    if (t->set)
        overlay_ref(t->set);
}

void target_drop(struct target *t)
{
    alk_connection_unref(t->via);
    member_unref(t->member);
    line_unref(t->line);
    overlay_unref(t->set);
    *t = (struct target){.op = NULL};
}
