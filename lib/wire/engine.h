/* A protocol engine on a byte stream, without a loop: bytes and time in, bytes and a deadline out.
 *
 * The transport (a TCP socket of lib/uv, a fake wire in tests, TLS in between) owns the engine and
 * drives it:
 *   feed     bytes arrived. The engine keeps no pointer into them.
 *   eof      the remote has ended its side.
 *   timeout  now >= deadline.
 *   drained  out has shrunk (bytes went to the wire), or wake was called: the engine takes its
 *            next steps.
 *   flush    out is about to be written, behind the last step of the turn: an engine that frames or
 *            encrypts what it has does so now, and so once a turn. NULL: out is always ready.
 *   pressed  memory is short for somebody whose output waits here (base/meter.h). NULL: out's
 *            meter says so.
 *   stalled  for `patience` the remote has taken nothing of what is being written, or less than
 *            `rate` while more than that waited; or memory is short, and it is the slowest.
 *   fini     the stream is gone, for whatever reason; the engine ends what runs on it and frees
 *            itself.
 * and obeys its fields: it writes `out`, reads only while `reading`, closes when `closing` and out
 * is empty (`closing == ENGINE_RESET`: at once), and calls timeout at `deadline` (0: none). When it
 * sets `successor` (an upgrade), the transport goes on with that one at once: engine_succeed; and
 * again, if that one has a successor as well.
 *
 * Whenever the engine has changed a field, or has something to do, outside of a call from the
 * transport it calls wake; wake only notes the engine, it never re-enters. In the same turn of the
 * loop the transport calls drained once for each engine noted, and repeats while that notes more;
 * then it writes out, so that all answers of a turn leave together. All times are nanoseconds of
 * one monotonic clock.
 *
 * QUIC (wire/quic.h) is no struct engine but stands beside it, with the same discipline: it is many
 * connections on one UDP socket, and what leaves are packets, which are made only when the wire has
 * room for them. */
#ifndef ALK_WIRE_ENGINE_H
#define ALK_WIRE_ENGINE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { ENGINE_OPEN, ENGINE_FLUSH_AND_CLOSE, ENGINE_RESET };

struct engine;

struct engine_ops {
    void (*feed)(struct engine *e, const char *data, size_t len, uint64_t now);
    void (*eof)(struct engine *e, uint64_t now);
    void (*timeout)(struct engine *e, uint64_t now);
    void (*drained)(struct engine *e, uint64_t now);
    void (*flush)(struct engine *e, uint64_t now);
    bool (*pressed)(const struct engine *e);
    /* Graceful stop: finish what runs, start nothing new, then close. */
    void (*drain)(struct engine *e, uint64_t now);
    /* false: it was leaving, and is no slow reader. */
    bool (*stalled)(struct engine *e, uint64_t now);
    void (*fini)(struct engine *e);
};

struct engine {
    const struct engine_ops *ops;
    struct buf out;
    size_t inflight; /* bytes that the transport has taken from out and not yet written */
    uint64_t deadline, patience; /* patience: ns; 0: for ever */
    uint32_t rate;               /* bytes per second; 0: any */
    struct engine *successor;
    uint8_t closing;
    bool reading;
    void (*wake)(struct engine *e, void *ud);
    void *wake_ud;
};

static inline void engine_flush(struct engine *e, uint64_t now)
{
    if (e->ops->flush)
        e->ops->flush(e, now);
}

/* What e has not written goes to its successor, which is returned and has written nothing then; e
 * is gone. Both use one struct mem. */
static inline struct engine *engine_succeed(struct engine *e)
{
    struct engine *next = e->successor;

    if (e->out.len)
        buf_swap(&e->out, &next->out);
    next->inflight = e->inflight;
    next->wake = e->wake;
    next->wake_ud = e->wake_ud;
    e->ops->fini(e);
    return next;
}

#endif
