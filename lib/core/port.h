/* The letter box of a dispatcher: by it alone other threads reach what the dispatcher owns. Whoever
 * has something for it puts a parcel in; the dispatcher's own turn takes all that are there, in
 * their order. The first one wakes its loop, and those that follow until it has looked wake nobody.
 *
 * A port outlives its dispatcher for whoever holds a reference. It is closed by then, and takes
 * nothing. */
#ifndef ALK_CORE_PORT_H
#define ALK_CORE_PORT_H

#include "base/host.h"
#include "base/list.h"
#include "base/time.h"

#include <stdint.h>

struct alk_dispatcher;

/* Part of what is sent. deliver runs once, on the thread of d; what comes of the parcel is up to
 * it. */
struct parcel {
    struct list link;
    void (*deliver)(struct parcel *p, struct alk_dispatcher *d);
};

struct port {
    int refs; /* atomic */
    const struct host *host;
    void *mutex; /* for what follows */
    struct list in;
    uint32_t waiting; /* in `in`; also read without the mutex, with atomics */
    uint64_t since;   /* when the oldest of them came */
    bool closed;
    bool woken;             /* atomic: since it was last taken from */
    void *waking;           /* a mutex, for what follows */
    void (*wake)(void *ud); /* NULL: its owner looks by himself */
    void *wake_ud;
};

/* NULL: out of memory. */
struct port *port_new(const struct host *host);
struct port *port_ref(struct port *p);
void port_unref(struct port *p);
/* With NULL nobody is woken any more, once this has returned. */
void port_set_wake(struct port *p, void (*wake)(void *ud), void *ud);

/* Ports whose loops a dispatcher has yet to wake: once for all that a round of its turn has sent
 * them. */
#define WAKES_MAX 16u
struct wakes {
    struct port *ports[WAKES_MAX]; /* references */
    unsigned count;
};
void wakes_flush(struct wakes *w);

enum { PORT_OK, PORT_BUSY, PORT_CLOSED };
/* What is an answer, or the end of something, is always taken by a port that is open. */
/* w: of the sender, who flushes it soon; NULL: the loop is woken at once. */
int port_send(struct port *p, struct parcel *parcel, uint64_t now, struct wakes *w);
/* What begins something: PORT_BUSY when PORT_WAITING_MAX wait already, or the oldest of them for
 * PORT_STALE. Then its loop is held up, and more would only wait. */
int port_ask(struct port *p, struct parcel *parcel, uint64_t now, struct wakes *w);
#define PORT_WAITING_MAX 16384u
#define PORT_STALE SECOND

/* On its dispatcher's thread: delivers what is there, so much at a time. */
void port_take(struct port *p, struct alk_dispatcher *d, uint64_t now);
/* Likewise all of it, and takes nothing more. */
void port_close(struct port *p, struct alk_dispatcher *d);
static inline bool port_has(const struct port *p)
{
    return __atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST) != 0;
}

#endif
