/* Drives a dispatcher from a libuv loop that the application runs, with three handles:
 *   prepare  a turn before the loop waits, so that what other callbacks queued is done, and
 *            the timer is set to the next deadline
 *   check    a turn after it has read, so that everything that arrived together is
 *            answered together
 *   timer    ends the wait; it does nothing itself, since a turn follows anyway
 * and a fourth, wake, by which other threads are heard. None of them keeps the application's loop
 * going: that is up to sockets, and to whatever is under way (loop_hold).
 *
 * wake is an eventfd and no uv_async_t: in libuv before 1.45 who hears of one spins until its sender
 * has come back from waking him. A virtual machine, or somebody else on the core, makes that tens
 * of microseconds of CPU time for each call that crosses to another loop.
 *
 * The dispatcher and the engines take turns until nobody has more to do; then each socket is
 * written once. The application's code runs inside a turn, so closing the loop, which frees the
 * dispatcher, waits for its end. */
#include "core/call.h"
#include "core/node.h"
#include "uv/conn.h"
#include "uv/http.h"
#include "uv/nats.h"
#include "uv/udp.h"
#include "wire/tls.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EARLY_FLUSH 8192u     /* enough for the client to begin with while we go on */
#define ROUNDS_MAX 256u       /* of one turn; what is left waits for the next */
#define FORCE_NS (SECOND / 2) /* from cancelling everything to closing what still does not end */

struct posted {
    struct list link;
    void (*fn)(void *ud);
    void *ud;
};

/* The Date field of answers (RFC 9110, 6.6.1), made once a second for all listeners and not for
 * each answer. By hand: its names are English (5.6.7), while strftime follows the application's
 * locale. The remainders show the compiler that it fits. */
static void refresh_date(struct alk_loop *l, uint64_t now)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = time(NULL);
    struct tm tm;
    int64_t expires = 0;

    if (now < l->date_at)
        return;
    l->date_at = now + SECOND;
    gmtime_r(&t, &tm);
    snprintf(l->date, sizeof l->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             days + 3 * tm.tm_wday, tm.tm_mday % 100, months + 3 * tm.tm_mon,
             (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
    list_each(n, &l->servers)
    {
        struct alk_server *s = container_of(n, struct alk_server, link);
        int64_t at = s->tls ? tls_expires(s->tls) : 0;

        s->service->tick(s->service, l->date, now);
        if (at && (!expires || at < expires))
            expires = at;
    }
    if (expires)
        node_tls_expires(l->d->node, expires);
}

/* ---- draining -------------------------------------------------------------------------------- */

/* One handle stands for all reasons, counted, since libuv's own mark is only yes or no. wake is
 * the one that is open as long as the loop is. */
void loop_hold(struct alk_loop *l, int change)
{
    l->holds += (unsigned)change;
    if (l->holds)
        uv_ref((uv_handle_t *)&l->wake);
    else
        uv_unref((uv_handle_t *)&l->wake);
}

void loop_again(struct alk_loop *l)
{
    l->again = true;
}

static void drain_at(struct alk_loop *l, uint64_t at)
{
    heap_remove(&l->deadlines, &l->drain_timer);
    heap_insert(&l->deadlines, &l->drain_timer, at);
}

/* The callback last, once: it may ask for the loop to be closed. */
static void drain_done(struct alk_loop *l)
{
    void (*fn)(void *) = l->on_drained;

    l->drain = DRAIN_DONE;
    loop_hold(l, -1);
    heap_remove(&l->deadlines, &l->drain_timer);
    l->on_drained = NULL;
    if (fn)
        fn(l->on_drained_ud);
}

static alk_limits limits(const struct alk_loop *l)
{
    alk_limits limits;

    alk_node_get_limits(dispatcher_node(l->d), &limits, sizeof limits);
    return limits;
}

/* Each step is what may still be waited for after the one before:
 *   DELAY      still accepting, while /healthz says no, until balancers have noticed
 *   WAIT       for calls to end by themselves: no listener, no new call, idle connections closed
 *   CANCELLED  for cancelled calls to answer, and for answers to be written
 *   FORCED     for nobody
 * Listeners are closed first, so that nothing is accepted that would have to be told. */
static void drain_step(struct alk_loop *l, uint64_t now)
{
    switch (l->drain) {
    case DRAIN_DELAY:
        l->drain = DRAIN_WAIT;
        list_each_safe(n, &l->servers) alk_server_close(container_of(n, struct alk_server, link));
        dispatcher_drain(l->d);
        connections_rest(l->d);
        list_each_safe(n, &l->conns) conn_drain(container_of(n, struct conn, link), now);
        drain_at(l, now + limits(l).drain_ms * MILLI);
        break;
    case DRAIN_WAIT:
        l->drain = DRAIN_CANCELLED;
        dispatcher_cancel_all(l->d);
        drain_at(l, now + FORCE_NS);
        break;
    default:
        l->drain = DRAIN_FORCED;
        list_each_safe(n, &l->conns) conn_close(container_of(n, struct conn, link));
        break;
    }
}

/* The second call is the second Ctrl-C: all that would be waited for is skipped, up to
 * cancelling. */
void alk_loop_drain(alk_loop *l, void (*on_drained)(void *ud), void *ud)
{
    uint64_t now = uv_hrtime();

    if (on_drained) {
        l->on_drained = on_drained;
        l->on_drained_ud = ud;
    }
    if (l->drain == DRAIN_NO) {
        l->drain = DRAIN_DELAY;
        l->transport.leaving = true;
        dispatcher_leave(l->d);
        loop_hold(l, 1); /* until on_drained has run */
        drain_at(l, now + limits(l).drain_delay_ms * MILLI);
        return;
    }
    while (l->drain < DRAIN_CANCELLED)
        drain_step(l, now);
}

/* ---- the turn -------------------------------------------------------------------------------- */

/* It ends because an engine moves its deadline, or clears it, when it is told of it. */
static void expire(struct alk_loop *l, uint64_t now)
{
    struct heap_node *n;

    while ((n = l->deadlines.root) && n->key <= now) {
        if (n == &l->drain_timer) {
            heap_remove(&l->deadlines, n);
            drain_step(l, now);
        } else if (n == &l->shed_timer) {
            heap_remove(&l->deadlines, n);
            slow_shed(l, now);
        } else if (!udp_deadline(l, n, now) && !nats_deadline(l, n)) {
            conn_deadline(n, now);
        }
    }
}

static void on_timer(uv_timer_t *t)
{
    struct alk_loop *l = t->data;

    l->armed = UINT64_MAX; /* the turn follows, from prepare */
}

/* One timer for everything: the loop's own deadlines and the dispatcher's. libuv counts
 * milliseconds; rounded up, so that it does not fire just before the time and spin until then. */
static void arm(struct alk_loop *l, uint64_t now, uint64_t next)
{
    struct heap_node *n = l->deadlines.root;
    uint64_t ms;

    if (n && n->key < next)
        next = n->key;
    /* Firing early costs one idle turn; stopping and starting the timer for each call would cost
     * more. */
    if (next == UINT64_MAX || (next >= l->armed && l->armed > now))
        return;
    ms = next <= now ? 0 : (next - now + MILLI - 1) / MILLI;
    l->armed = now + ms * MILLI;
    uv_timer_start(&l->timer, on_timer, ms, 0);
}

/* Who is woken meanwhile comes in the next round, behind all others of this one: two connections
 * that keep waking each other take nobody's turn. A long output begins to leave early, so that the
 * client has something to do while we go on. */
static void step_woken(struct alk_loop *l, uint64_t now)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &l->woken);
    while (!list_empty(&batch)) {
        struct conn *c = container_of(batch.next, struct conn, woken);

        list_del(&c->woken);
        conn_step(c, now);
        if (c->state == CONN_OPEN && c->e->out.len >= EARLY_FLUSH)
            conn_flush(c);
    }
}

/* As above: a flush may wake, and what it wakes is for the coming turn. */
static void flush_dirty(struct alk_loop *l)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &l->dirty);
    while (!list_empty(&batch)) {
        struct conn *c = container_of(batch.next, struct conn, dirty);

        list_del(&c->dirty);
        conn_flush(c);
    }
}

/* Deadlines first, so that whoever is late ends before it is given more to do. The dispatcher's
 * turn makes answers, the engines' steps may take new requests out of what they kept, and so on;
 * ROUNDS_MAX gives the sockets of others their chance again when that would not end, and so does
 * the time of a turn. */
static void turn(struct alk_loop *l)
{
    uint64_t now = uv_hrtime(), next;

    l->now = now;
    http_step(l, now);
    l->again = false; /* what has come by it is for the rounds below */
    refresh_date(l, now);
    expire(l, now);
    nats_step(l);
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        alk_dispatcher_turn(l->d, now);
        if (list_empty(&l->woken))
            break;
        /* Late or not: where calls always have more to do, engines would never have their step. */
        step_woken(l, now);
        if (dispatcher_late(l->d))
            break;
    }
    http_step(l, now); /* and what has been asked for in them leaves */
    flush_dirty(l);
    udp_flush(l, now);
    nats_flush(l);
    /* Writing makes room, and whoever waited for it goes on at once: the loop must not wait
     * first. */
    next = list_empty(&l->woken) && !l->again ? alk_dispatcher_next(l->d) : now;
    if (l->drain >= DRAIN_WAIT && l->drain < DRAIN_DONE && list_empty(&l->conns) &&
        ((!dispatcher_connections(l->d) && !dispatcher_busy(l->d)) || l->drain == DRAIN_FORCED))
        drain_done(l);
    arm(l, now, next);
}

static void close_now(struct alk_loop *l);

static void loop_turn(struct alk_loop *l)
{
    if (l->closing)
        return;
    l->turning = true;
    turn(l);
    l->turning = false;
    if (l->close_asked)
        close_now(l);
}

static void on_prepare(uv_prepare_t *p)
{
    loop_turn(p->data);
}

static void on_check(uv_check_t *c)
{
    loop_turn(c->data);
}

/* ---- posting --------------------------------------------------------------------------------- */

/* The whole list is taken in one go and run without the lock: fn may post again, which is for the
 * next time. */
static void run_posted(struct alk_loop *l)
{
    struct list now;

    list_init(&now);
    uv_mutex_lock(&l->lock);
    list_splice(&now, &l->posted);
    uv_mutex_unlock(&l->lock);
    while (!list_empty(&now)) {
        struct posted *p = container_of(now.next, struct posted, link);
        struct mem mem;

        list_del(&p->link);
        p->fn(p->ud);
        mem_init(&mem, NULL, NULL);
        mem_free(&mem, p);
    }
}

/* What is posted from here on wakes the loop again. */
static void on_wake(uv_poll_t *p, int status, int events)
{
    struct alk_loop *l = p->data;
    eventfd_t count;

    (void)status;
    (void)events;
    eventfd_read(l->wake_fd, &count);
    __atomic_store_n(&l->woken_up, false, __ATOMIC_SEQ_CST);
    run_posted(l);
}

/* From any thread; a turn follows. One write does for all who wake it meanwhile. */
static void wake_loop(void *ud)
{
    struct alk_loop *l = ud;

    if (!__atomic_exchange_n(&l->woken_up, true, __ATOMIC_SEQ_CST))
        eventfd_write(l->wake_fd, 1);
}

/* From any thread, so with the C library's allocator: that of the loop belongs to its thread. The
 * lock is held over wake_loop, so that the descriptor cannot be closed between the look at
 * wake_open and the call. */
int alk_loop_post(alk_loop *l, void (*fn)(void *ud), void *ud)
{
    struct mem mem;
    struct posted *p;
    int rc = ALK_OK;

    mem_init(&mem, NULL, NULL);
    p = mem_alloc(&mem, sizeof *p);
    if (!p)
        return ALK_ENOMEM;
    p->fn = fn;
    p->ud = ud;
    uv_mutex_lock(&l->lock);
    if (l->wake_open) {
        list_push(&l->posted, &p->link);
        wake_loop(l);
    } else {
        mem_free(&mem, p);
        rc = ALK_ECLOSED;
    }
    uv_mutex_unlock(&l->lock);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* l->mem counts what it gave out, so a handle that was forgotten shows here. It is in l itself: it
 * frees its last block from a copy. */
static void free_memory(struct alk_loop *l)
{
    struct mem mem;

    mem_free(&l->mem, l->read_buffer);
    mem_free(&l->mem, l->reserve);
    assert(l->mem.live == 1); /* l itself */
    mem = l->mem;
    mem_free(&mem, l);
}

/* The reserve is taken now, while there is memory. */
static struct alk_loop *alloc_memory(const alk_dispatcher *d)
{
    struct alk_loop *l;
    struct mem mem;

    dispatcher_mem(d, &mem);
    l = mem_zalloc(&mem, sizeof *l);
    if (!l)
        return NULL;
    l->mem = mem;
    l->read_buffer = mem_alloc(&l->mem, READ_BUFFER);
    l->reserve = mem_zalloc(&l->mem, sizeof *l->reserve);
    if (!l->read_buffer || !l->reserve) {
        free_memory(l);
        return NULL;
    }
    return l;
}

/* None of these can fail; wake, which can, is open by now. */
static void open_handles(struct alk_loop *l, uv_loop_t *loop)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&l->prepare, (uv_handle_t *)&l->check,
                                    (uv_handle_t *)&l->timer, (uv_handle_t *)&l->wake};

    uv_prepare_init(loop, &l->prepare);
    uv_check_init(loop, &l->check);
    uv_timer_init(loop, &l->timer);
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_start(&l->check, on_check);
    uv_poll_start(&l->wake, UV_READABLE, on_wake);
    l->open_handles = sizeof handles / sizeof handles[0];
    for (unsigned i = 0; i < l->open_handles; i++) {
        handles[i]->data = l;
        uv_unref(handles[i]);
    }
}

static bool open_wake(struct alk_loop *l, uv_loop_t *loop)
{
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return false;
    if (!uv_poll_init(loop, &l->wake, l->wake_fd))
        return true;
    close(l->wake_fd);
    return false;
}

/* What can fail comes first, so that a failure has no handle to close: that would need turns of a
 * loop which the application may never run. */
int alk_loop_open(alk_loop **out, uv_loop_t *loop, alk_dispatcher *d)
{
    struct alk_loop *l = alloc_memory(d);

    *out = NULL;
    if (!l)
        return ALK_ENOMEM;
    if (uv_mutex_init(&l->lock)) {
        free_memory(l);
        return ALK_ENOMEM;
    }
    if (!open_wake(l, loop)) {
        uv_mutex_destroy(&l->lock);
        free_memory(l);
        return ALK_ESYSTEM;
    }
    l->uv = loop;
    l->d = dispatcher_ref(d);
    dispatcher_set_loop(d, l, uv_hrtime);
    dispatcher_set_wake(d, wake_loop, l);
    l->wake_open = true;
    l->armed = UINT64_MAX;
    list_init(&l->posted);
    list_init(&l->servers);
    list_init(&l->closing_servers);
    list_init(&l->conns);
    list_init(&l->woken);
    list_init(&l->dirty);
    list_init(&l->writers);
    list_init(&l->udps);
    heap_node_init(&l->drain_timer);
    heap_node_init(&l->shed_timer);
    open_handles(l, loop);
    files_init(l);
    dial_init(l);
    nats_init(l);
    http_init(l);
    *out = l;
    return ALK_OK;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct alk_loop *l = h->data;

    l->open_handles--;
    loop_check_end(l);
}

/* The one who is last frees the loop, whoever that is: handles, connections and listeners whose
 * uv_close is answered, and work on other threads (files, names) that points at it. The reference
 * keeps the dispatcher's memory until here, as the loop's allocator is the node's. */
void loop_check_end(struct alk_loop *l)
{
    alk_dispatcher *d = l->d;
    void (*fn)(void *) = l->on_closed;
    void *ud = l->on_closed_ud;

    if (!l->closing || l->open_handles || l->open_files || l->open_connects || l->open_udps ||
        !list_empty(&l->conns) || !list_empty(&l->closing_servers))
        return;
    assert(list_empty(&l->servers) && list_empty(&l->transport.dialers) && list_empty(&l->posted) &&
           list_empty(&l->woken) && list_empty(&l->dirty));
    uv_mutex_destroy(&l->lock);
    free_memory(l);
    dispatcher_unref(d);
    if (fn)
        fn(ud);
}

/* From the outside to the inside. Dialers before connections, or each would take its end for a loss
 * and begin to dial again. Connections before the dispatcher, since their engines end calls of it.
 * What was posted runs once more: a post that was taken is always run, and its ud may be waiting
 * for that. */
static void close_now(struct alk_loop *l)
{
    alk_dispatcher *d = l->d;

    list_each_safe(n, &l->servers) alk_server_close(container_of(n, struct alk_server, link));
    list_each_safe(n, &l->transport.dialers)
    {
        struct dialing *x = container_of(n, struct dialing, link);

        x->close(x);
    }
    list_each_safe(n, &l->conns) conn_close(container_of(n, struct conn, link));
    udp_close_all(l);
    nats_close_all(l);
    http_close(l);
    l->closing = true;
    dispatcher_set_wake(d, NULL, NULL);
    uv_mutex_lock(&l->lock);
    l->wake_open = false;
    uv_mutex_unlock(&l->lock);
    run_posted(l);
    dispatcher_set_loop(d, NULL, uv_hrtime);
    alk_dispatcher_free(d);
    uv_close((uv_handle_t *)&l->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&l->check, on_handle_closed);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
    uv_close((uv_handle_t *)&l->wake, on_handle_closed);
    close(l->wake_fd);
}

/* From inside a turn there are functions of the dispatcher below us on the stack, so it is only
 * noted. */
void alk_loop_close(alk_loop *l, void (*on_closed)(void *ud), void *ud)
{
    if (l->close_asked)
        return;
    l->on_closed = on_closed;
    l->on_closed_ud = ud;
    l->close_asked = l->transport.leaving = true;
    if (!l->turning)
        close_now(l);
}

uv_loop_t *alk_call_loop(const alk_call *call)
{
    const struct alk_loop *l = dispatcher_loop(call->d);

    return l ? l->uv : NULL;
}
