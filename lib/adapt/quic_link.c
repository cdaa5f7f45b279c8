/* Implements quic_link.h. The engine has its own queues, of what is on its way and a little more
 * (MARK) for each stream; all else waits in the connection's queue, where it is counted and judged.
 *
 * A remote that takes nothing is cut as on every link: while more than queue_high waits, something
 * must be acknowledged within evict_ms. What waits because its stream is paused there may wait,
 * as long as memory is not short; what all share must not.
 *
 * A stream that is broken, or reset by the remote, takes its calls with it and nothing else
 * (alk_connection_stream_end). What the connection still says on one is dropped. */
#include "adapt/quic_link.h"

#include "base/time.h"

#include <limits.h>

#define MARK 65536u /* bytes of a stream that the engine takes before they can leave */

struct quic_link {
    struct session *s;
    struct quic_conn *c;
    struct mem *mem;
    uint64_t shared; /* id of the stream of stream 0; UINT64_MAX: not open yet */
    struct timer stall;
    uint64_t progress; /* when stall was set */
    bool gone;         /* the core has closed it */
};

/* Of the link, and of QUIC. */
static uint64_t of_quic(uint64_t id)
{
    return id + 1;
}

static struct alk_connection *conn(const struct quic_link *k)
{
    return k->s->conn;
}

/* ---- the connection's link ------------------------------------------------------------------- */

static bool find_stream(struct quic_link *k, uint64_t stream, uint64_t *id)
{
    if (stream) {
        *id = stream - 1;
        return true;
    }
    if (k->shared == UINT64_MAX && !quic_open_stream(k->c, &k->shared))
        return false;
    *id = k->shared;
    return true;
}

static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct quic_link *k = ud;
    uint64_t id;

    if (!find_stream(k, stream, &id) || quic_queued(k->c, id) > MARK)
        return ALK_EAGAIN;
    quic_send(k->c, id, envelope, len);
    return ALK_OK;
}

static uint64_t link_open_stream(void *ud)
{
    struct quic_link *k = ud;
    uint64_t id;

    return quic_open_stream(k->c, &id) ? of_quic(id) : 0;
}

static void link_pause(void *ud, uint64_t stream, int paused)
{
    struct quic_link *k = ud;

    if (paused)
        quic_pause(k->c, stream - 1);
    else
        quic_resume(k->c, stream - 1);
}

static size_t link_queued(void *ud, uint64_t stream)
{
    struct quic_link *k = ud;

    return stream                    ? quic_queued(k->c, stream - 1)
           : k->shared == UINT64_MAX ? 0
                                     : quic_queued(k->c, k->shared);
}

static void link_idle(void *ud, uint64_t stream)
{
    struct quic_link *k = ud;

    quic_finish(k->c, stream - 1);
}

static void link_close(void *ud, int code)
{
    struct quic_link *k = ud;

    k->gone = true;
    timer_clear(&k->s->d->schedule, &k->stall);
    quic_close(k->c, (uint64_t)code, connection_why(conn(k)));
    session_over(k->s, session_code(k->s, code), str_of(connection_why(conn(k))));
}

/* ---- who does not read ----------------------------------------------------------------------- */

static bool behind(struct quic_link *k)
{
    struct queue *q = &conn(k)->queue;
    size_t total = queue_total(q) - link_queued(k, 0) + quic_queued_all(k->c);

    return total > LIMIT(k->s->d->node, queue_high);
}

static bool stuck(const struct quic_link *k)
{
    return quic_awaits(k->c) || queue_bytes(&conn(k)->queue, 0) > LIMIT(k->s->d->node, queue_high);
}

static void watch(struct quic_link *k, uint64_t now)
{
    k->progress = quic_progress(k->c);
    timer_set(&k->s->d->schedule, &k->stall, now + LIMIT(k->s->d->node, evict_ms) * MILLI);
}

static void on_stall(struct timer *t, uint64_t now)
{
    struct quic_link *k = container_of(t, struct quic_link, stall);
    uint64_t taken = quic_progress(k->c) - k->progress;

    if (!behind(k))
        return;
    if (!taken && stuck(k))
        connection_shut(conn(k), ALK_CLOSE_LIMIT, "the remote does not read");
    else if (taken < LIMIT(k->s->d->node, queue_high) && meter_pressed(&conn(k)->account->meter))
        connection_shut(conn(k), ALK_CLOSE_LIMIT, "memory is short, and the remote reads slowly");
    else
        watch(k, now);
}

static void link_flush(void *ud)
{
    struct quic_link *k = ud;

    if (!timer_is_set(&k->stall) && behind(k))
        watch(k, k->s->d->now);
}

/* ---- the engine's events --------------------------------------------------------------------- */

static int on_frame(void *ud, uint64_t stream, const char *data, size_t len)
{
    struct quic_link *k = ud;
    int rc;

    if (k->gone)
        return QUIC_TAKEN;
    rc = alk_connection_feed(conn(k), of_quic(stream), data, len);
    return rc == ALK_EAGAIN                      ? QUIC_LATER
           : rc == ALK_EJSON || rc == ALK_ELIMIT ? QUIC_BROKEN
                                                 : QUIC_TAKEN;
}

static uint32_t on_limit(void *ud)
{
    struct quic_link *k = ud;

    return connection_message_limit(conn(k));
}

/* Of the shared stream: answers may still come by others, and the next call opens another one. */
static void on_ended(void *ud, uint64_t stream)
{
    struct quic_link *k = ud;

    if (k->gone)
        return;
    if (stream == k->shared) {
        k->shared = UINT64_MAX;
        alk_connection_writable(conn(k));
    }
    alk_connection_stream_end(conn(k), of_quic(stream), 0);
}

static void on_lost(void *ud, uint64_t stream)
{
    struct quic_link *k = ud;

    if (k->gone)
        return;
    if (stream == k->shared) {
        k->shared = UINT64_MAX;
        alk_connection_stream_end(conn(k), 0, 1);
        alk_connection_writable(conn(k));
    }
    alk_connection_stream_end(conn(k), of_quic(stream), 1);
}

static void on_room(void *ud, uint64_t stream)
{
    struct quic_link *k = ud;

    if (!k->gone)
        queue_writable_on(&conn(k)->queue, stream == k->shared ? 0 : of_quic(stream));
}

static void on_streams(void *ud)
{
    struct quic_link *k = ud;

    if (!k->gone)
        alk_connection_writable(conn(k));
}

static void on_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    struct quic_link *k = ud;
    struct session *s = k->s;

    (void)now;
    timer_clear(&s->d->schedule, &k->stall);
    if (!k->gone) {
        alk_connection_lost(s->conn);
        session_over(s, code < 0 || code > INT_MAX ? WS_LOST : session_code(s, (int)code),
                     str_of(why));
    }
    mem_free(k->mem, k);
    s->on_gone(s);
}

static const struct quic_events events = {
    .frame = on_frame,
    .limit = on_limit,
    .ended = on_ended,
    .lost = on_lost,
    .room = on_room,
    .streams = on_streams,
    .over = on_over,
};

int quic_link_open(struct session *s, struct mem *mem, struct quic_conn *c,
                   const alk_connection_options *o, struct credential *by, bool stream_per_call)
{
    struct quic_link *k = mem_zalloc(mem, sizeof *k);
    const alk_link link = {.size = sizeof link,
                           .send = link_send,
                           .flush = link_flush,
                           .pause = link_pause,
                           .close = link_close,
                           .open_stream = link_open_stream,
                           .queued = link_queued,
                           .idle = link_idle,
                           .stream_per_call = stream_per_call,
                           .ud = k};
    int rc;

    if (!k)
        return ALK_ENOMEM;
    k->s = s;
    k->c = c;
    k->mem = mem;
    k->shared = UINT64_MAX;
    timer_init(&k->stall, on_stall);
    rc = connection_open_by(&s->conn, s->d, &link, o, by);
    if (rc) {
        mem_free(mem, k);
        return rc;
    }
    quic_charge(c, &s->conn->account->meter);
    quic_set_mark(c, MARK);
    quic_adopt(c, &events, k);
    return ALK_OK;
}
