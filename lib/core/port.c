/* Implements port.h. The mutex is held for a few instructions. The wake-up, which is one write to a
 * descriptor, has a mutex of its own, so that the loop that is to be woken cannot close the
 * descriptor meanwhile; and does not run into the first one as soon as it is awake. */
#include "core/port.h"

#include "base/mem.h"
#include "base/time.h"

#include <assert.h>

#define TAKE_MAX 1024u /* parcels at a time: sockets have their turn in between */

struct port *port_new(const struct host *host)
{
    struct mem plain;
    struct port *p;

    mem_init(&plain, NULL, NULL);
    p = mem_zalloc(&plain, sizeof *p);
    if (!p)
        return NULL;
    p->host = host;
    p->mutex = host->mutex_new();
    p->waking = p->mutex ? host->mutex_new() : NULL;
    if (!p->waking) {
        if (p->mutex)
            host->mutex_free(p->mutex);
        mem_free(&plain, p);
        return NULL;
    }
    p->refs = 1;
    list_init(&p->in);
    return p;
}

struct port *port_ref(struct port *p)
{
    __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void port_unref(struct port *p)
{
    struct mem plain;

    if (__atomic_fetch_sub(&p->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    assert(list_empty(&p->in));
    p->host->mutex_free(p->mutex);
    p->host->mutex_free(p->waking);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, p);
}

void port_set_wake(struct port *p, void (*wake)(void *ud), void *ud)
{
    p->host->mutex_lock(p->waking);
    p->wake = wake;
    p->wake_ud = ud;
    p->host->mutex_unlock(p->waking);
}

/* Once until the port is taken from. */
static void wake(struct port *p)
{
    if (__atomic_exchange_n(&p->woken, true, __ATOMIC_SEQ_CST))
        return;
    p->host->mutex_lock(p->waking);
    if (p->wake)
        p->wake(p->wake_ud);
    p->host->mutex_unlock(p->waking);
}

void wakes_flush(struct wakes *w)
{
    while (w->count) {
        struct port *p = w->ports[--w->count];

        wake(p);
        port_unref(p);
    }
}

static void wake_soon(struct port *p, struct wakes *w)
{
    for (unsigned i = 0; w && i < w->count; i++) {
        if (w->ports[i] == p)
            return;
    }
    if (w && w->count < WAKES_MAX)
        w->ports[w->count++] = port_ref(p);
    else
        wake(p);
}

static int put(struct port *p, struct parcel *parcel, uint64_t now, bool begins, struct wakes *w)
{
    bool asleep = false;
    int rc = PORT_OK;

    p->host->mutex_lock(p->mutex);
    if (p->closed) {
        rc = PORT_CLOSED;
    } else if (begins && p->waiting &&
               (p->waiting >= PORT_WAITING_MAX || now >= p->since + PORT_STALE)) {
        rc = PORT_BUSY;
    } else {
        list_push(&p->in, &parcel->link);
        if (!p->waiting)
            p->since = now;
        /* Also where another sender has said that he wakes it, and may be held up meanwhile. */
        asleep = !__atomic_load_n(&p->woken, __ATOMIC_SEQ_CST);
        /* Before the wake-up: who wakes looks at it without the mutex, and sleeps when there is
         * nothing. */
        __atomic_store_n(&p->waiting, p->waiting + 1, __ATOMIC_SEQ_CST);
    }
    p->host->mutex_unlock(p->mutex);
    if (asleep)
        wake_soon(p, w);
    return rc;
}

int port_send(struct port *p, struct parcel *parcel, uint64_t now, struct wakes *w)
{
    return put(p, parcel, now, false, w);
}

int port_ask(struct port *p, struct parcel *parcel, uint64_t now, struct wakes *w)
{
    return put(p, parcel, now, true, w);
}

static void deliver_all(struct list *parcels, struct alk_dispatcher *d)
{
    while (!list_empty(parcels)) {
        struct parcel *parcel = container_of(parcels->next, struct parcel, link);

        list_del(&parcel->link);
        parcel->deliver(parcel, d);
    }
}

/* What is left over is looked for in the coming turn, as port_has says so: nobody has to be
 * woken. */
void port_take(struct port *p, struct alk_dispatcher *d, uint64_t now)
{
    uint32_t taken = 0;
    struct list batch;

    if (!port_has(p) && !__atomic_load_n(&p->woken, __ATOMIC_SEQ_CST))
        return;
    list_init(&batch);
    p->host->mutex_lock(p->mutex);
    __atomic_store_n(&p->woken, false, __ATOMIC_SEQ_CST);
    while (!list_empty(&p->in) && taken < TAKE_MAX) {
        struct list *first = p->in.next;

        list_del(first);
        list_push(&batch, first);
        taken++;
    }
    p->since = now;
    __atomic_store_n(&p->waiting, p->waiting - taken, __ATOMIC_RELAXED);
    p->host->mutex_unlock(p->mutex);
    deliver_all(&batch, d);
}

void port_close(struct port *p, struct alk_dispatcher *d)
{
    struct list rest;

    port_set_wake(p, NULL, NULL);
    list_init(&rest);
    p->host->mutex_lock(p->mutex);
    p->closed = true;
    list_splice(&rest, &p->in);
    __atomic_store_n(&p->waiting, 0, __ATOMIC_RELAXED);
    p->host->mutex_unlock(p->mutex);
    deliver_all(&rest, d);
}
