/* Implements peers.h. A peer whose last connection goes is forgotten at once: nothing that it
 * serves could be reached. */
#include "core/peers.h"

#include "core/overlay.h"

#include <assert.h>

bool peers_init(struct peer_table *t, const struct host *host, const uint64_t *seed)
{
    t->host = host;
    mem_init(&t->mem, NULL, NULL);
    list_init(&t->peers);
    map_init(&t->by_id, &t->mem, seed);
    t->mutex = host->mutex_new();
    return t->mutex != NULL;
}

void peers_fini(struct peer_table *t)
{
    assert(list_empty(&t->peers));
    map_fini(&t->by_id);
    t->host->mutex_free(t->mutex);
}

static void lock(struct peer_table *t)
{
    t->host->mutex_lock(t->mutex);
}

static void unlock(struct peer_table *t)
{
    t->host->mutex_unlock(t->mutex);
}

/* ---- under the mutex ------------------------------------------------------------------------- */

static struct peer *find(const struct peer_table *t, struct str id)
{
    struct map_node *n = map_find(&t->by_id, id.p, id.n);

    return n ? container_of(n, struct peer, by_id) : NULL;
}

/* With a copy of its id: the identity of the connection that it came with may be replaced. */
static struct peer *add(struct peer_table *t, struct str id)
{
    struct peer *p = mem_alloc(&t->mem, sizeof *p + id.n);

    if (!p)
        return NULL;
    p->len = id.n;
    p->holds = 0;
    memcpy(p->id, id.p, id.n);
    p->by_id.key = p->id;
    p->by_id.len = p->len;
    list_init(&p->members);
    if (map_add(&t->by_id, &p->by_id)) {
        mem_free(&t->mem, p);
        return NULL;
    }
    list_push(&t->peers, &p->link);
    return p;
}

static void forget_unused(struct peer_table *t, struct peer *p)
{
    if (!list_empty(&p->members) || p->holds)
        return;
    list_del(&p->link);
    map_del(&t->by_id, &p->by_id);
    mem_free(&t->mem, p);
}

/* ---- members --------------------------------------------------------------------------------- */

struct member *member_ref(struct member *m)
{
    __atomic_fetch_add(&m->refs, 1, __ATOMIC_RELAXED);
    return m;
}

void member_unref(struct member *m)
{
    struct mem plain;

    if (!m || __atomic_fetch_sub(&m->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    port_unref(m->at);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, m);
}

static void put_sets(struct member *m, struct overlay *const sets[2])
{
    for (size_t i = 0; i < 2; i++)
        m->sets[i] = sets[i] ? overlay_ref(sets[i]) : NULL;
}

struct member *peers_attach(struct peer_table *t, struct str id, struct port *at,
                            struct alk_connection *conn, struct overlay *const sets[2])
{
    struct mem plain;
    struct member *m;

    mem_init(&plain, NULL, NULL);
    m = mem_zalloc(&plain, sizeof *m);
    if (!m)
        return NULL;
    m->refs = 1;
    m->at = port_ref(at);
    m->conn = conn;
    lock(t);
    m->of = find(t, id);
    if (!m->of)
        m->of = add(t, id);
    /* A peer that connects again may have lost the old connection without our knowing: the new one
     * is tried first. */
    if (m->of) {
        put_sets(m, sets);
        list_push_front(&m->of->members, &m->link);
    }
    unlock(t);
    if (m->of)
        return m;
    member_unref(m);
    return NULL;
}

/* What goes is let go without the mutex: it may be the last reference, and to free a set with
 * thousands of operations takes long. */
void peers_update(struct peer_table *t, struct member *m, struct overlay *const sets[2])
{
    struct overlay *old[2];

    lock(t);
    memcpy(old, m->sets, sizeof old);
    put_sets(m, sets);
    unlock(t);
    overlay_unref(old[0]);
    overlay_unref(old[1]);
}

void peers_detach(struct peer_table *t, struct member *m)
{
    static struct overlay *const none[2];
    struct peer *p = m->of;

    lock(t);
    list_del(&m->link);
    m->of = NULL;
    forget_unused(t, p);
    unlock(t);
    peers_update(t, m, none);
    m->conn = NULL;
    member_unref(m);
}

/* ---- peers ----------------------------------------------------------------------------------- */

struct peer *peers_find(struct peer_table *t, struct str id)
{
    struct peer *p;

    lock(t);
    p = find(t, id);
    if (p)
        p->holds++;
    unlock(t);
    return p;
}

static void let_go(struct peer_table *t, struct peer *p)
{
    p->holds--;
    forget_unused(t, p);
}

void peers_release(struct peer_table *t, struct peer *p)
{
    lock(t);
    let_go(t, p);
    unlock(t);
}

struct peer *peers_next(struct peer_table *t, struct peer *at)
{
    struct peer *next = NULL;
    struct list *l;

    lock(t);
    l = at ? at->link.next : t->peers.next;
    if (l != &t->peers) {
        next = container_of(l, struct peer, link);
        next->holds++;
    }
    if (at)
        let_go(t, at);
    unlock(t);
    return next;
}

size_t peer_sets(struct peer_table *t, const struct peer *p, struct overlay **sets)
{
    unsigned looks = 0;
    size_t n = 0;

    lock(t);
    list_each(l, &p->members)
    {
        const struct member *m = container_of(l, struct member, link);

        if (looks++ == PEER_NEWEST)
            break;
        for (size_t i = 0; i < 2; i++) {
            if (m->sets[i])
                sets[n++] = overlay_ref(m->sets[i]);
        }
    }
    unlock(t);
    return n;
}

uint64_t peer_pending(struct peer_table *t, const struct peer *p)
{
    uint64_t sum = 0;

    lock(t);
    list_each(l, &p->members) sum +=
        __atomic_load_n(&container_of(l, struct member, link)->pending, __ATOMIC_RELAXED);
    unlock(t);
    return sum;
}

/* Under the mutex. */
static bool member_serves(struct member *m, struct str name, struct found *out)
{
    for (size_t i = 0; i < 2; i++) {
        out->op = overlay_find(m->sets[i], name);
        if (!out->op)
            continue;
        out->set = overlay_ref(m->sets[i]);
        out->member = member_ref(m);
        return true;
    }
    return false;
}

bool peer_serves(struct peer_table *t, const struct peer *p, struct str name, struct found *out)
{
    unsigned looks = 0;
    bool found = false;

    lock(t);
    list_each(l, &p->members)
    {
        if (looks++ == PEER_NEWEST)
            break;
        if ((found = member_serves(container_of(l, struct member, link), name, out)))
            break;
    }
    unlock(t);
    return found;
}
