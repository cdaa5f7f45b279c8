/* Implements peers.h. The table is the dispatcher's, so no thread but its own sees it. A peer whose
 * last connection goes is forgotten at once: nothing that it serves could be reached. */
#include "core/peers.h"

#include <assert.h>

void peers_init(struct peer_table *t, struct mem *mem, const uint64_t *seed)
{
    t->mem = mem;
    list_init(&t->peers);
    map_init(&t->by_id, mem, seed);
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
    p->by_id.key = p->id;
    p->by_id.len = p->len;
    list_init(&p->members);
    if (map_add(&t->by_id, &p->by_id)) {
        mem_free(t->mem, p);
        return NULL;
    }
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
    map_del(&t->by_id, &p->by_id);
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
    struct map_node *n = map_find(&t->by_id, id.p, id.n);

    return n ? container_of(n, struct peer, by_id) : NULL;
}
