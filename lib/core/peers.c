/* Implements peers.h. A list: a node has few peers beside its calls, and its order is that of
 * their first connection, which `any` goes by.
 *
 * The table is the dispatcher's, so no thread but its own sees it. A peer whose last connection
 * goes is forgotten at once: nothing that it serves could be reached. */
#include "core/peers.h"

#include <assert.h>

void peers_init(struct peer_table *t, struct mem *mem)
{
    t->mem = mem;
    list_init(&t->peers);
}

/* With a copy of its id: the identity of the connection that it came with may be replaced. */
static struct peer *peer_new(struct peer_table *t, struct str id)
{
    struct peer *p = mem_alloc(t->mem, sizeof *p + id.n);

    if (!p)
        return NULL;
    p->len = id.n;
    memcpy(p->id, id.p, id.n);
    list_init(&p->members);
    list_push(&t->peers, &p->link);
    return p;
}

bool peers_attach(struct peer_table *t, struct peer_member *m, struct str id)
{
    struct peer *p = peers_find(t, id);

    assert(!m->of);
    if (!p && !(p = peer_new(t, id)))
        return false;
    m->of = p;
    /* A peer that connects again may have lost the old connection without our knowing: the new one
     * is tried first. */
    list_push_front(&p->members, &m->link);
    return true;
}

void peers_detach(struct peer_table *t, struct peer_member *m)
{
    struct peer *p = m->of;

    if (!p)
        return;
    m->of = NULL;
    list_del(&m->link);
    if (!list_empty(&p->members))
        return;
    list_del(&p->link);
    mem_free(t->mem, p);
}

struct peer *peers_find(const struct peer_table *t, struct str id)
{
    list_each(l, &t->peers)
    {
        struct peer *p = container_of(l, struct peer, link);

        if (str_eq(peer_id(p), id))
            return p;
    }
    return NULL;
}
