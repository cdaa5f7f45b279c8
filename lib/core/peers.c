/* Implements peers.h. A peer whose last connection goes is forgotten at once: nothing that it
 * serves could be reached. */
#include "core/peers.h"

#include "core/overlay.h"

#include <assert.h>
#include <stdlib.h>

bool peers_init(struct peer_table *t, const struct host *host, const uint64_t *seed)
{
    t->host = host;
    mem_init(&t->mem, NULL, NULL);
    list_init(&t->attached);
    list_init(&t->elsewhere);
    list_init(&t->changed);
    map_init(&t->by_id, &t->mem, seed);
    map_init(&t->offered, &t->mem, seed);
    t->mutex = host->mutex_new();
    return t->mutex != NULL;
}

void peers_fini(struct peer_table *t)
{
    assert(list_empty(&t->attached) && list_empty(&t->elsewhere) && !t->watcher);
    map_fini(&t->by_id);
    map_fini(&t->offered);
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
    p->attached = false;
    memcpy(p->id, id.p, id.n);
    p->by_id.key = p->id;
    p->by_id.len = p->len;
    list_init(&p->members);
    list_init(&p->change);
    if (map_add(&t->by_id, &p->by_id)) {
        mem_free(&t->mem, p);
        return NULL;
    }
    list_push(&t->elsewhere, &p->link);
    return p;
}

/* NULL: out of memory. */
static struct peer *get(struct peer_table *t, struct str id)
{
    struct peer *p = find(t, id);

    return p ? p : add(t, id);
}

static void forget_unused(struct peer_table *t, struct peer *p)
{
    if (!list_empty(&p->members) || p->holds || !list_empty(&p->change))
        return;
    list_del(&p->link);
    map_del(&t->by_id, &p->by_id);
    mem_free(&t->mem, p);
}

/* Members of this hub stand before those of others. */
static bool is_attached(const struct peer *p)
{
    return !list_empty(&p->members) && !container_of(p->members.next, struct member, link)->hub;
}

/* Puts it where it belongs, behind a change of its members; not under a walk that stands on it. */
static void place(struct peer_table *t, struct peer *p)
{
    if (p->holds || list_empty(&p->members) || p->attached == is_attached(p))
        return;
    p->attached = !p->attached;
    list_del(&p->link);
    list_push(p->attached ? &t->attached : &t->elsewhere, &p->link);
}

static void tell_change(struct peer_table *t, struct peer *p, uint64_t now)
{
    if (!t->watcher || !list_empty(&p->change))
        return;
    list_push(&t->changed, &p->change);
    if (t->news_out)
        return;
    t->news_out = port_send(t->watcher, t->news, now, NULL) == PORT_OK;
}

static struct peer *take_change(struct peer_table *t)
{
    struct list *first = t->changed.next;

    if (list_empty(&t->changed))
        return NULL;
    list_del(first);
    return container_of(first, struct peer, change);
}

static void let_go(struct peer_table *t, struct peer *p)
{
    p->holds--;
    place(t, p);
    forget_unused(t, p);
}

/* ---- hubs ------------------------------------------------------------------------------------ */

struct other_hub *other_hub_new(struct str name, void *agent)
{
    struct mem plain;
    struct other_hub *h;

    mem_init(&plain, NULL, NULL);
    h = mem_alloc(&plain, sizeof *h + name.n + 1);
    if (!h)
        return NULL;
    h->refs = 1;
    h->agent = agent;
    h->len = name.n;
    memcpy(h->name, name.p, name.n);
    h->name[name.n] = 0;
    return h;
}

static struct other_hub *other_hub_ref(struct other_hub *h)
{
    __atomic_fetch_add(&h->refs, 1, __ATOMIC_RELAXED);
    return h;
}

void other_hub_unref(struct other_hub *h)
{
    struct mem plain;

    if (!h || __atomic_fetch_sub(&h->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, h);
}

/* ---- names that are served ------------------------------------------------------------------- */

/* A name, and who has it: shared sets, in the order in which they came, and connections to this
 * hub. */
struct offered {
    struct map_node by_name;
    struct list offers;
    size_t here;
    char name[];
};

struct offer {
    struct list link;
    struct offered *of;
    struct shared_set *set;
};

static struct offered *offered_find(const struct peer_table *t, struct str name)
{
    struct map_node *n = map_find(&t->offered, name.p, name.n);

    return n ? container_of(n, struct offered, by_name) : NULL;
}

static struct offered *offered_add(struct peer_table *t, struct str name)
{
    struct offered *o = mem_alloc(&t->mem, sizeof *o + name.n);

    if (!o)
        return NULL;
    memcpy(o->name, name.p, name.n);
    o->by_name.key = o->name;
    o->by_name.len = name.n;
    list_init(&o->offers);
    o->here = 0;
    if (!map_add(&t->offered, &o->by_name))
        return o;
    mem_free(&t->mem, o);
    return NULL;
}

/* NULL: out of memory. */
static struct offered *offered_get(struct peer_table *t, struct str name)
{
    struct offered *o = offered_find(t, name);

    return o ? o : offered_add(t, name);
}

static void offered_unused(struct peer_table *t, struct offered *o)
{
    if (!list_empty(&o->offers) || o->here)
        return;
    map_del(&t->offered, &o->by_name);
    mem_free(&t->mem, o);
}

static void take_back(struct peer_table *t, struct offer *x)
{
    list_del(&x->link);
    offered_unused(t, x->of);
}

static void take_back_all(struct peer_table *t, struct shared_set *set, size_t count)
{
    while (count--)
        take_back(t, &set->offers[count]);
    mem_free(&t->mem, set->offers);
    set->offers = NULL;
}

static bool offer(struct peer_table *t, struct shared_set *set, struct str name, struct offer *x)
{
    struct offered *of = offered_get(t, name);

    if (!of)
        return false;
    x->of = of;
    x->set = set;
    list_push(&of->offers, &x->link);
    return true;
}

/* Out of memory it is not known any more which names are served. */
static void count_in(struct peer_table *t, const struct overlay *set)
{
    for (size_t i = 0; set && i < set->by_name.count; i++) {
        struct offered *o = offered_get(t, op_name(set->sorted[i]));

        if (o)
            o->here++;
        else
            t->uncounted = true;
    }
}

static void count_out(struct peer_table *t, const struct overlay *set)
{
    for (size_t i = 0; set && i < set->by_name.count; i++) {
        struct offered *o = offered_find(t, op_name(set->sorted[i]));

        if (!o || !o->here)
            continue;
        o->here--;
        offered_unused(t, o);
    }
}

bool peers_have(struct peer_table *t, struct str name)
{
    const struct offered *o;
    bool have;

    lock(t);
    o = offered_find(t, name);
    have = t->uncounted || (o && o->here);
    unlock(t);
    return have;
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
    other_hub_unref(m->hub);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, m);
}

static struct member *member_new(struct port *at)
{
    struct mem plain;
    struct member *m;

    mem_init(&plain, NULL, NULL);
    m = mem_zalloc(&plain, sizeof *m);
    if (!m)
        return NULL;
    m->refs = 1;
    m->at = port_ref(at);
    list_init(&m->link);
    list_init(&m->of_set);
    return m;
}

/* NULL: it has no peer, for want of memory, and is gone. */
static struct member *joined(struct member *m)
{
    if (m->of)
        return m;
    member_unref(m);
    return NULL;
}

/* Of a connection to this hub. */
static void put_sets(struct peer_table *t, struct member *m, struct overlay *const sets[2])
{
    for (size_t i = 0; i < 2; i++) {
        m->sets[i] = sets[i] ? overlay_ref(sets[i]) : NULL;
        count_in(t, sets[i]);
    }
}

/* The references are the caller's. */
static void take_sets(struct peer_table *t, struct member *m, struct overlay *old[2])
{
    for (size_t i = 0; i < 2; i++) {
        old[i] = m->sets[i];
        m->sets[i] = NULL;
        if (!m->hub)
            count_out(t, old[i]);
    }
}

struct member *peers_attach(struct peer_table *t, struct str id, struct port *at,
                            struct alk_connection *conn, struct overlay *const sets[2],
                            uint64_t now)
{
    struct member *m = member_new(at);
    struct peer *p;

    if (!m)
        return NULL;
    m->conn = conn;
    lock(t);
    p = get(t, id);
    /* A peer that connects again may have lost the old connection without our knowing: the new one
     * is tried first. */
    if (p) {
        m->of = p;
        put_sets(t, m, sets);
        list_push_front(&p->members, &m->link);
        place(t, p);
        tell_change(t, p, now);
    }
    unlock(t);
    return joined(m);
}

/* What goes is let go without the mutex: it may be the last reference, and to free a set with
 * thousands of operations takes long. */
void peers_update(struct peer_table *t, struct member *m, struct overlay *const sets[2],
                  uint64_t now)
{
    struct overlay *old[2];

    lock(t);
    take_sets(t, m, old);
    put_sets(t, m, sets);
    tell_change(t, m->of, now);
    unlock(t);
    overlay_unref(old[0]);
    overlay_unref(old[1]);
}

void peers_detach(struct peer_table *t, struct member *m, uint64_t now)
{
    struct peer *p = m->of;
    struct overlay *old[2];

    lock(t);
    list_del(&m->link);
    list_del(&m->of_set);
    take_sets(t, m, old);
    m->of = NULL;
    place(t, p);
    if (!m->hub)
        tell_change(t, p, now);
    forget_unused(t, p);
    unlock(t);
    overlay_unref(old[0]);
    overlay_unref(old[1]);
    m->conn = NULL;
    member_unref(m);
}

struct member *peers_attach_elsewhere(struct peer_table *t, struct str id, struct port *at,
                                      struct other_hub *hub)
{
    struct member *m = member_new(at);
    struct peer *p;

    if (!m)
        return NULL;
    m->hub = other_hub_ref(hub);
    lock(t);
    p = get(t, id);
    if (p) {
        m->of = p;
        list_push(&p->members, &m->link);
    }
    unlock(t);
    return joined(m);
}

void peers_serve_elsewhere(struct peer_table *t, struct member *m, struct shared_set *set)
{
    struct overlay *old;

    lock(t);
    old = m->sets[1];
    m->sets[1] = NULL;
    list_del(&m->of_set);
    if (set) {
        m->sets[1] = overlay_ref(set->ops);
        list_push(&set->members, &m->of_set);
    }
    unlock(t);
    overlay_unref(old);
}

bool peers_add_set(struct peer_table *t, struct shared_set *set)
{
    size_t count = set->ops->by_name.count, n = 0;
    bool good;

    list_init(&set->members);
    lock(t);
    set->offers = mem_alloc(&t->mem, (count + 1) * sizeof *set->offers);
    good = set->offers != NULL;
    while (good && n < count) {
        good = offer(t, set, op_name(set->ops->sorted[n]), &set->offers[n]);
        n += good;
    }
    if (!good)
        take_back_all(t, set, n);
    unlock(t);
    return good;
}

void peers_put_last(struct peer_table *t, struct member *m, struct shared_set *set,
                    const struct operation *op)
{
    struct operation **at = NULL;

    if (set && set->offers)
        at = bsearch(&op, set->ops->sorted, set->ops->by_name.count, sizeof *set->ops->sorted,
                     operation_by_name);
    lock(t);
    list_del(&m->link);
    list_push(&m->of->members, &m->link);
    if (at) {
        struct offer *x = &set->offers[at - set->ops->sorted];

        list_del(&x->link);
        list_push(&x->of->offers, &x->link);
    }
    unlock(t);
}

void peers_drop_set(struct peer_table *t, struct shared_set *set)
{
    lock(t);
    assert(list_empty(&set->members));
    take_back_all(t, set, set->ops->by_name.count);
    unlock(t);
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

void peers_release(struct peer_table *t, struct peer *p)
{
    lock(t);
    let_go(t, p);
    unlock(t);
}

struct peer *peers_next(struct peer_table *t, struct peer *at, bool attached)
{
    struct peer *next = NULL;
    struct list *l;

    lock(t);
    l = at ? at->link.next : t->attached.next;
    if (l == &t->attached && !attached)
        l = t->elsewhere.next;
    if (l != &t->attached && l != &t->elsewhere)
        next = container_of(l, struct peer, link);
    if (next)
        next->holds++;
    if (at)
        let_go(t, at);
    unlock(t);
    return next;
}

static size_t sets_of(struct peer_table *t, const struct peer *p, bool here, struct overlay **sets)
{
    unsigned looks = 0;
    size_t n = 0;

    lock(t);
    list_each(l, &p->members)
    {
        const struct member *m = container_of(l, struct member, link);

        if (looks++ == PEER_NEWEST || (here && m->hub))
            break;
        for (size_t i = 0; i < 2; i++) {
            if (m->sets[i])
                sets[n++] = overlay_ref(m->sets[i]);
        }
    }
    unlock(t);
    return n;
}

size_t peer_sets(struct peer_table *t, const struct peer *p, struct overlay **sets)
{
    return sets_of(t, p, false, sets);
}

size_t peer_sets_here(struct peer_table *t, const struct peer *p, struct overlay **sets)
{
    return sets_of(t, p, true, sets);
}

struct other_hub *peer_hub(struct peer_table *t, const struct peer *p)
{
    struct other_hub *hub = NULL;

    lock(t);
    if (!list_empty(&p->members) && !is_attached(p))
        hub = other_hub_ref(container_of(p->members.next, struct member, link)->hub);
    unlock(t);
    return hub;
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

/* ---- names ----------------------------------------------------------------------------------- */

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

/* Under the mutex. */
static bool set_serves(const struct shared_set *s, struct str name, peer_accept *accept,
                       const void *ud, struct found *out)
{
    unsigned looks = 0;

    list_each(l, &s->members)
    {
        struct member *m = container_of(l, struct member, of_set);

        if (looks++ == PEER_NEWEST)
            return false;
        if (!accept || accept(m->of, ud))
            return member_serves(m, name, out);
    }
    return false;
}

bool peers_elsewhere(struct peer_table *t, struct str name, unsigned skip, peer_accept *accept,
                     const void *ud, struct found *out)
{
    const struct offered *of;
    bool found = false;

    if (skip >= PEER_NEWEST)
        return false;
    lock(t);
    of = offered_find(t, name);
    for (const struct list *l = of ? of->offers.next : NULL; of && !found && l != &of->offers;
         l = l->next) {
        const struct shared_set *s = container_of(l, struct offer, link)->set;

        if (list_empty(&s->members))
            continue;
        if (skip)
            skip--;
        else
            found = set_serves(s, name, accept, ud, out);
    }
    unlock(t);
    return found;
}

/* ---- news ------------------------------------------------------------------------------------ */

bool peers_watch(struct peer_table *t, struct port *watcher, struct parcel *news)
{
    struct port *old;
    struct peer *p;
    bool out;

    lock(t);
    old = t->watcher;
    out = t->news_out;
    t->watcher = watcher ? port_ref(watcher) : NULL;
    t->news = news;
    t->news_out = false;
    while ((p = take_change(t)))
        forget_unused(t, p);
    unlock(t);
    if (old)
        port_unref(old);
    return out;
}

void peers_news_came(struct peer_table *t)
{
    lock(t);
    t->news_out = false;
    unlock(t);
}

struct peer *peers_changed(struct peer_table *t)
{
    struct peer *p;

    lock(t);
    p = take_change(t);
    if (p)
        p->holds++;
    unlock(t);
    return p;
}

void peers_change_stays(struct peer_table *t, struct peer *p)
{
    lock(t);
    if (list_empty(&p->change))
        list_push(&t->changed, &p->change);
    unlock(t);
}

void peers_all_changed(struct peer_table *t, uint64_t now)
{
    lock(t);
    list_each(l, &t->attached) tell_change(t, container_of(l, struct peer, link), now);
    unlock(t);
}

bool peer_is_here(struct peer_table *t, const struct peer *p)
{
    bool here;

    lock(t);
    here = is_attached(p);
    unlock(t);
    return here;
}
