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
    p->walks = 0;
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

static void forget_unused(struct peer_table *t, struct peer *p)
{
    if (!list_empty(&p->members) || p->walks)
        return;
    list_del(&p->link);
    mem_free(t->mem, p);
}

void peers_detach(struct peer_table *t, struct peer_member *m)
{
    struct peer *p = m->of;

    if (!p)
        return;
    m->of = NULL;
    list_del(&m->link);
    forget_unused(t, p);
}

void peers_stop(struct peer_table *t, struct peer *at)
{
    at->walks--;
    forget_unused(t, at);
}

struct peer *peers_next(struct peer_table *t, struct peer *at)
{
    struct list *l = at ? at->link.next : t->peers.next;
    struct peer *next = l == &t->peers ? NULL : container_of(l, struct peer, link);

    if (next)
        next->walks++;
    if (at)
        peers_stop(t, at);
    return next;
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
