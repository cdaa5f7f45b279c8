/* A session over a WebSocket. One binary message is one envelope; what the connection sends goes
 * straight into the engine's output, and what lies there counts as the connection's queue, so that
 * there is one queue, one mark and one eviction.
 *
 * Two sides may end it, in any order: the connection (link_close), or the engine (on_close).
 * session_over lets the first one through, and on_over comes once. on_gone comes from the engine
 * alone, after on_close: only then may the memory go, since a stream that is being closed still
 * flushes. */
#include "adapt/session.h"

void session_over(struct session *s, int code, struct str why)
{
    if (s->code)
        return;
    s->code = code;
    s->on_over(s, why);
}

/* It says to the other side whether it is worth while to come again: 1013 later, 1001 now, 1008 not
 * with this token. Who dialled leaves with 1000, unless it is shut down. */
int session_code(const struct session *s, int code)
{
    return code == ALK_CLOSE_PROTOCOL     ? WS_PROTOCOL
           : code == ALK_CLOSE_LIMIT      ? WS_TRY_AGAIN
           : code == ALK_CLOSE_IDENTITY   ? WS_POLICY
           : s->client && !s->d->draining ? WS_NORMAL
                                          : WS_GOING_AWAY;
}

/* ---- the connection's link ------------------------------------------------------------------- */

/* Streams are for links that have some, as QUIC has: over one WebSocket all envelopes go in one
 * order. */
static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct session *s = ud;

    (void)stream;
    if (ws_send(s->ws, false, envelope, len))
        return ALK_ENOMEM;
    COUNT(s->d, ws_messages_out);
    return ALK_OK;
}

/* Direct writing: the core writes an envelope where it leaves from, between begin and commit, so
 * that a value is not copied once into an envelope and once into a frame. Nothing else may be sent
 * in between. */
static struct buf *direct_begin(void *ud, size_t about)
{
    struct session *s = ud;

    return ws_begin(s->ws, about);
}

static int direct_commit(void *ud)
{
    struct session *s = ud;

    if (ws_commit(s->ws))
        return -1;
    COUNT(s->d, ws_messages_out);
    return 0;
}

static void direct_undo(void *ud)
{
    struct session *s = ud;

    ws_undo(s->ws);
}

static const struct direct_link direct = {direct_begin, direct_commit, direct_undo};

/* What the socket has not taken, the bytes that uv_write has in hand included. */
static size_t link_queued(void *ud, uint64_t stream)
{
    const struct session *s = ud;

    (void)stream;
    return ws_queued(s->ws);
}

/* Called after each round of sending. Calls that found more than queue_high unsent are in
 * `waiters`, and go on when alk_connection_writable has been called and at most half of queue_high
 * is left. Nobody else would notice when that is so: the engine is asked for word at the very same
 * mark. */
static void link_flush(void *ud)
{
    struct session *s = ud;

    if (!list_empty(&s->conn->queue.shared.waiters))
        ws_notify(s->ws, LIMIT(s->d->node, queue_high) / 2);
}

static void link_close(void *ud, int code)
{
    struct session *s = ud;
    int ws_code = session_code(s, code);

    ws_close(s->ws, ws_code, connection_why(s->conn));
    session_over(s, ws_code, str_of(connection_why(s->conn)));
}

/* ---- the engine's application ---------------------------------------------------------------- */

/* Text cannot come: binary_only makes it a protocol error at the first frame. One that the
 * connection does not like closes it, in the coming turn. */
static int on_message(struct ws *w, bool text, const char *data, size_t len, void *ud)
{
    struct session *s = ud;

    (void)w;
    (void)text;
    if (alk_connection_feed(s->conn, 0, data, len) == ALK_EAGAIN)
        return ALK_EAGAIN;
    COUNT(s->d, ws_messages_in);
    return 0;
}

/* As asked for in link_flush; once, so it asks again while somebody waits. */
static void on_writable(struct ws *w, void *ud)
{
    struct session *s = ud;

    (void)w;
    alk_connection_writable(s->conn);
}

/* The dispatcher drains, and closes each connection when its last call has ended. */
static void on_drain(struct ws *w, void *ud)
{
    (void)w;
    (void)ud;
}

/* Calls in both directions end before on_over is told, so that whoever hears of it finds nothing
 * running. Whoever is evicted by the engine, for taking nothing, is counted here: the core has not
 * seen it. */
static void on_close(struct ws *w, int code, struct str reason, void *ud)
{
    struct session *s = ud;

    alk_connection_lost(s->conn);
    if (!s->code && ws_stalled(w))
        COUNT(s->d, ws_evictions);
    session_over(s, code, reason);
}

/* From the engine's fini: nothing of it may be used from here on. */
static void on_fini(void *ud)
{
    struct session *s = ud;

    s->on_gone(s);
}

static const struct ws_app app = {.binary_only = true,
                                  .on_message = on_message,
                                  .on_writable = on_writable,
                                  .on_drain = on_drain,
                                  .on_close = on_close,
                                  .fini = on_fini};

/* The engine first: the connection sends into it as soon as it is open, if there is something to
 * announce. */
int session_open(struct session *s, struct mem *mem, struct ws_pool *pool,
                 const struct ws_limits *limits, alk_connection_options *o, struct credential *by)
{
    const alk_link link = {.size = sizeof link,
                           .send = link_send,
                           .flush = link_flush,
                           .close = link_close,
                           .queued = link_queued,
                           .ud = s};
    int rc;

    s->ws = ws_new(mem, pool, s->client, &app, s, limits, s->d->now);
    if (!s->ws)
        return ALK_ENOMEM;
    o->websocket = 1;
    o->message_bytes = limits->message_bytes;
    rc = connection_open_by(&s->conn, s->d, &link, o, by);
    if (rc) {
        ws_discard(s->ws);
        return rc;
    }
    s->engine = ws_engine(s->ws);
    ws_charge(s->ws, &s->conn->account->meter);
    s->conn->queue.direct = &direct;
    return ALK_OK;
}

/* Nobody was told of this connection, so nobody is told of its end. The connection first: its link
 * leads to the engine. */
void session_abandon(struct session *s)
{
    connection_abandon(s->conn);
    ws_discard(s->ws);
}

void session_fini(struct session *s)
{
    alk_connection_unref(s->conn);
}
