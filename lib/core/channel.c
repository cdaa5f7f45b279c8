/* Implements channel.h. A seat is held by its owner and by each notice that is on its way to it; a
 * channel is there as long as it has seats. */
#include "core/channel.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

struct channel {
    struct list link;
    struct list seats;
    size_t len;
    char name[];
};

struct seat {
    int refs; /* atomic */
    struct channels *all;
    struct channel *of; /* under the mutex, like link */
    struct list link;
    struct port *at; /* a reference */
    notice_fn *fn;   /* these two are of its dispatcher's thread */
    void *ud;        /* NULL: it has left */
    size_t waiting;  /* atomic: bytes on their way to it */
    size_t count;    /* atomic */
    struct parcel missed;
    bool told_missed; /* atomic: missed is on its way */
};

struct delivery {
    struct parcel parcel;
    struct seat *to; /* a reference, like n */
    struct notice *n;
};

/* ---- notices --------------------------------------------------------------------------------- */

struct notice *notice_new(size_t len)
{
    struct mem plain;
    struct notice *n;

    mem_init(&plain, NULL, NULL);
    n = mem_alloc(&plain, sizeof *n + len);
    if (!n)
        return NULL;
    n->refs = 1;
    n->len = len;
    return n;
}

void notice_unref(struct notice *n)
{
    struct mem plain;

    if (__atomic_fetch_sub(&n->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, n);
}

/* ---- seats ----------------------------------------------------------------------------------- */

static void seat_unref(struct seat *s)
{
    struct mem plain;

    if (__atomic_fetch_sub(&s->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    port_unref(s->at);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, s);
}

static void delivery_free(struct delivery *v)
{
    struct mem plain;

    __atomic_sub_fetch(&v->to->waiting, v->n->len, __ATOMIC_RELAXED);
    notice_unref(v->n);
    seat_unref(v->to);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, v);
}

static void notice_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct delivery *v = container_of(p, struct delivery, parcel);

    (void)d;
    if (v->to->ud)
        v->to->fn(v->to->ud, v->n);
    delivery_free(v);
}

static void missed_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct seat *s = container_of(p, struct seat, missed);

    (void)d;
    __atomic_store_n(&s->told_missed, false, __ATOMIC_RELEASE);
    if (s->ud)
        s->fn(s->ud, NULL);
    seat_unref(s);
}

static void tell_missed(struct seat *s, uint64_t now)
{
    if (__atomic_exchange_n(&s->told_missed, true, __ATOMIC_ACQUIRE))
        return;
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    if (port_send(s->at, &s->missed, now, NULL) == PORT_CLOSED)
        seat_unref(s);
}

static void tell_one(struct seat *to, struct notice *n, uint64_t now)
{
    struct mem plain;
    struct delivery *v = NULL;
    int rc;

    mem_init(&plain, NULL, NULL);
    if (__atomic_load_n(&to->waiting, __ATOMIC_RELAXED) <= NOTICES_BYTES)
        v = mem_alloc(&plain, sizeof *v);
    if (!v) {
        tell_missed(to, now);
        return;
    }
    *v = (struct delivery){.parcel.deliver = notice_arrives, .to = to, .n = n};
    __atomic_fetch_add(&to->refs, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&n->refs, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&to->waiting, n->len, __ATOMIC_RELAXED);
    rc = port_ask(to->at, &v->parcel, now, NULL);
    if (rc == PORT_BUSY)
        tell_missed(to, now);
    if (rc != PORT_OK)
        delivery_free(v);
}

/* ---- channels -------------------------------------------------------------------------------- */

bool channels_init(struct channels *cs, const struct host *host)
{
    cs->host = host;
    list_init(&cs->all);
    cs->mutex = host->mutex_new();
    return cs->mutex != NULL;
}

void channels_fini(struct channels *cs)
{
    assert(list_empty(&cs->all));
    cs->host->mutex_free(cs->mutex);
}

static void lock(struct channels *cs)
{
    cs->host->mutex_lock(cs->mutex);
}

static void unlock(struct channels *cs)
{
    cs->host->mutex_unlock(cs->mutex);
}

/* Under the mutex; made where there is none. */
static struct channel *find(struct channels *cs, struct str name)
{
    struct mem plain;
    struct channel *c;

    list_each(l, &cs->all)
    {
        c = container_of(l, struct channel, link);
        if (str_eq((struct str){c->name, c->len}, name))
            return c;
    }
    mem_init(&plain, NULL, NULL);
    c = mem_alloc(&plain, sizeof *c + name.n);
    if (!c)
        return NULL;
    c->len = name.n;
    memcpy(c->name, name.p, name.n);
    list_init(&c->seats);
    list_push(&cs->all, &c->link);
    return c;
}

struct seat *channel_join(struct channels *cs, struct str name, struct port *at, notice_fn *fn,
                          void *ud)
{
    struct mem plain;
    struct seat *s;

    mem_init(&plain, NULL, NULL);
    s = mem_zalloc(&plain, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct seat){.refs = 1, .all = cs, .fn = fn, .ud = ud};
    s->at = port_ref(at);
    s->missed.deliver = missed_arrives;
    lock(cs);
    s->of = find(cs, name);
    if (s->of)
        list_push(&s->of->seats, &s->link);
    unlock(cs);
    if (s->of)
        return s;
    seat_unref(s);
    return NULL;
}

void channel_leave(struct seat *s)
{
    struct channel *c = s->of, *unused = NULL;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    lock(s->all);
    list_del(&s->link);
    if (list_empty(&c->seats)) {
        list_del(&c->link);
        unused = c;
    }
    unlock(s->all);
    mem_free(&plain, unused);
    s->ud = NULL;
    seat_unref(s);
}

void channel_tell(struct seat *s, struct notice *n, uint64_t now)
{
    lock(s->all);
    list_each(l, &s->of->seats)
    {
        struct seat *to = container_of(l, struct seat, link);

        if (to != s)
            tell_one(to, n, now);
    }
    unlock(s->all);
}

void channel_count(struct seat *s, size_t count)
{
    __atomic_store_n(&s->count, count, __ATOMIC_RELAXED);
}

size_t channel_sum(struct seat *s)
{
    size_t sum = 0;

    lock(s->all);
    list_each(l, &s->of->seats) sum +=
        __atomic_load_n(&container_of(l, struct seat, link)->count, __ATOMIC_RELAXED);
    unlock(s->all);
    return sum;
}
