/* The states of a WebSocket, its times, its end.
 *
 *   OPEN -> CLOSING  we have sent a close frame and wait for the remote's
 *   OPEN, CLOSING -> OVER  nothing more is read; what is queued goes out, and the stream ends */
#include "wire/ws_int.h"

#include "base/time.h"

#include <assert.h>
#include <string.h>

/* Input behind a hold; above, the transport stops reading, and TCP holds the remote back. */
#define KEPT_MAX 65536u
#define RETRY_NS (50 * MILLI) /* of what found no room */

void ws_wake(struct ws *w)
{
    if (w->running || w->woken)
        return;
    w->woken = true;
    w->e.wake(&w->e, w->e.wake_ud);
}

/* Success after the end too: the sender hears of it by on_close and need not ask. */
int ws_send(struct ws *w, bool text, const char *data, size_t len)
{
    if (w->state != WS_OPEN)
        return 0;
    return ws_send_frame(w, text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, data, len);
}

struct buf *ws_begin(struct ws *w, size_t about)
{
    return w->state == WS_OPEN && !ws_frame_begin(w, about) ? &w->e.out : NULL;
}

int ws_commit(struct ws *w)
{
    return ws_frame_commit(w, WSLAY_BINARY_FRAME);
}

void ws_undo(struct ws *w)
{
    ws_frame_undo(w);
}

size_t ws_queued(const struct ws *w)
{
    return ws_unsent(w);
}

/* ---- the end ---- */

/* Its frames are still counted and checked. */
static void drop_memory(struct ws *w)
{
    buf_fini(&w->message);
    w->starved = w->offered = false;
}

void ws_drop_message(struct ws *w)
{
    drop_memory(w);
    w->type = 0;
    w->fragments = 0;
}

void ws_send_close(struct ws *w, int code, const char *reason, size_t n)
{
    char payload[WS_CONTROL_MAX];

    assert(n <= sizeof payload - 2);
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    memcpy(payload + 2, reason, n);
    if (ws_send_frame(w, WSLAY_CONNECTION_CLOSE, payload, code == WS_NO_STATUS ? 0 : n + 2))
        w->e.closing = ENGINE_RESET;
}

/* May be called again and again, also after the end. */
void ws_over(struct ws *w)
{
    if (w->state != WS_OVER)
        w->e.deadline = 0;
    w->state = WS_OVER;
    w->held = false;
    ws_drop_message(w);
    buf_fini(&w->kept);
    if (!w->e.closing)
        w->e.closing = ENGINE_FLUSH_AND_CLOSE;
}

/* Our close frame is out; the remote has limits->close to answer it (RFC 6455, section 7.1.1). */
static void start_close(struct ws *w, int code, const char *reason)
{
    w->state = WS_CLOSING;
    w->held = false;
    drop_memory(w); /* the remote may send the rest of the message before it answers */
    ws_send_close(w, code, reason, strlen(reason));
    w->e.deadline = 0;
}

void ws_close(struct ws *w, int code, const char *reason)
{
    if (w->state != WS_OPEN)
        return;
    start_close(w, code, reason);
    ws_wake(w);
}

/* We end it, and the remote may still answer. */
static void end(struct ws *w, int code, const char *reason)
{
    start_close(w, code, reason);
    w->app->on_close(w, code, str_of(reason), w->ud);
}

/* RFC 6455, section 7.1.7. What comes after a broken frame cannot be read, so an answer to our
 * close frame is not waited for. on_close is called once: only from the open state. */
void ws_fail(struct ws *w, int code, const char *reason)
{
    bool open = w->state == WS_OPEN;

    if (open)
        ws_send_close(w, code, reason, strlen(reason));
    ws_over(w);
    if (open)
        w->app->on_close(w, code, str_of(reason), w->ud);
}

/* ---- the engine ---- */

static struct ws *of_engine(struct engine *e)
{
    return container_of(e, struct ws, e);
}

static void set_deadline(struct ws *w)
{
    const struct ws_limits *l = w->limits;
    uint64_t at = 0;

    if (w->state != WS_OPEN) {
        /* Reset where the state began. Whoever takes a byte now and then does not keep us for
         * ever. */
        if (!w->e.deadline && l->close)
            w->e.deadline = w->now + l->close;
        return;
    }
    if (l->idle)
        at = w->seen + l->idle;
    if (l->ping && (!at || w->ping_at < at))
        at = w->ping_at;
    if (w->starved && !w->held && (!at || w->retry_at < at))
        at = w->retry_at;
    w->e.deadline = at;
}

/* A remote that we did not read could not show that it lives: the clock starts anew for it. */
static void enter(struct ws *w, uint64_t now)
{
    w->now = now;
    w->running = true;
    w->woken = false;
    if (w->rested) {
        w->seen = now;
        w->rested = w->held || w->starved;
    }
}

/* Behind each entry. patience is the time in which the remote has to take something: of a close
 * frame, or of what makes it count as slow; else it may take all the time it wants. */
static void settle(struct ws *w)
{
    struct engine *e = &w->e;

    set_deadline(w);
    e->reading = e->closing || (!w->held && !w->starved && w->kept.len < KEPT_MAX);
    e->patience = e->closing || w->state == WS_CLOSING ? w->limits->close
                  : w->above || w->notify              ? w->limits->evict
                                                       : 0;
    if (!e->out.len)
        buf_fini(&e->out);
    if (e->closing)
        buf_fini(&w->kept);
    w->running = false;
}

/* A budget that is short will not stay so: the remote is held back as by a hold, and all that it
 * said is taken in the end. */
void ws_starve(struct ws *w)
{
    w->starved = w->rested = true;
    w->retry_at = w->now + RETRY_NS;
    if (!w->starve_end)
        w->starve_end = w->limits->starve ? w->now + w->limits->starve : UINT64_MAX;
}

/* Input that was read is there, room or not, and there is not more of it than of one read. */
static bool keep_input(struct ws *w, const char *p, size_t n)
{
    struct meter *m = w->kept.meter;
    int rc;

    buf_charge(&w->kept, NULL);
    rc = buf_append(&w->kept, p, n);
    buf_charge(&w->kept, m);
    return !rc;
}

static void take_kept_now(struct ws *w)
{
    size_t used;

    if (!w->kept.len)
        return;
    used = ws_take(w, buf_at(&w->kept), w->kept.len);
    if (!w->kept.len) /* it is over */
        return;
    buf_consume(&w->kept, used);
    if (!w->kept.len)
        buf_fini(&w->kept);
}

/* What waits for room is tried anew when its time has come. Where something was taken, the time in
 * which more has to be begins anew. */
static void take_kept(struct ws *w)
{
    size_t waiting = w->kept.len + w->offered;
    uint64_t last = w->starve_end;

    if (w->held || (w->starved && w->now < w->retry_at))
        return;
    w->starved = false;
    w->starve_end = 0;
    if (w->offered)
        ws_offer(w);
    if (!w->starved)
        take_kept_now(w);
    if (!w->starved || !last || w->kept.len + w->offered < waiting)
        return;
    w->starve_end = last;
    if (w->now < last)
        return;
    end(w, WS_TRY_AGAIN, "too many messages are being received");
    take_kept_now(w); /* the remote's own close frame may be in it */
}

/* Kept bytes come first: they are the older ones. */
static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct ws *w = of_engine(e);
    size_t used;

    if (e->closing)
        return;
    enter(w, now);
    take_kept(w);
    used = w->kept.len ? 0 : ws_take(w, data, len);
    if (!e->closing && used < len && !keep_input(w, data + used, len - used))
        ws_fail(w, WS_TRY_AGAIN, WS_NO_MEMORY);
    settle(w);
}

/* above is left only at half the limit: otherwise each message would switch the eviction clock on
 * and off. */
static void drained(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    enter(w, now);
    if (ws_unsent(w) <= w->limits->write_high / 2)
        w->above = false;
    if (w->notify && ws_unsent(w) <= w->low) {
        w->notify = false;
        if (w->state == WS_OPEN)
            w->app->on_writable(w, w->ud);
    }
    if (!e->closing)
        take_kept(w);
    settle(w);
}

/* The stream has gone without a closing handshake: 1006 (RFC 6455, section 7.1.5). */
static void lost(struct ws *w)
{
    bool open = w->state == WS_OPEN;

    ws_over(w);
    if (open)
        w->app->on_close(w, WS_LOST, STR_NONE, w->ud);
}

/* A half-closed WebSocket has no use: the closing handshake is the way to end one. */
static void eof(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    if (e->closing)
        return;
    enter(w, now);
    lost(w);
    settle(w);
}

/* Idle before ping: to a remote that is given up no ping is sent. A ping that finds no memory ends
 * the session, as without pings nobody would notice that the remote is gone. */
static void look_for_life(struct ws *w)
{
    const struct ws_limits *l = w->limits;

    if (l->idle && w->now >= w->seen + l->idle) {
        end(w, WS_GOING_AWAY, "idle: nothing was heard for too long");
    } else if (l->ping && w->now >= w->ping_at) {
        w->ping_at = w->now + l->ping;
        if (ws_send_frame(w, WSLAY_PING, "", 0))
            end(w, WS_TRY_AGAIN, WS_NO_MEMORY);
    }
}

static void timeout(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    if (e->closing == ENGINE_RESET || !e->deadline || now < e->deadline)
        return;
    enter(w, now);
    if (w->state != WS_OPEN) {
        ws_over(w);
        e->closing = ENGINE_RESET;
    } else {
        if (w->starved)
            take_kept(w);
        if (w->state == WS_OPEN)
            look_for_life(w);
    }
    settle(w);
}

/* What a graceful end is depends on what runs over the socket, so the application decides. */
static void drain(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    enter(w, now);
    if (w->state == WS_OPEN)
        w->app->on_drain(w, w->ud);
    settle(w);
}

/* What is still tried is a close frame, for which the stream has no room now. */
static bool stalled(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);
    bool open = w->state == WS_OPEN;

    enter(w, now);
    if (open) {
        w->stalled = true;
        end(w, WS_TRY_AGAIN, "what is sent is not read");
    } else {
        ws_over(w);
        e->closing = ENGINE_RESET;
    }
    settle(w);
    return open;
}

static void destroy(struct ws *w)
{
    if (w->codec)
        ws_codec_give(w, false);
    buf_fini(&w->kept);
    buf_fini(&w->e.out);
    mem_free(w->e.out.mem, w);
}

static void fini(struct engine *e)
{
    struct ws *w = of_engine(e);
    void (*app_fini)(void *) = w->app->fini;
    void *ud = w->ud;

    w->running = true;
    lost(w);
    destroy(w);
    app_fini(ud);
}

static const struct engine_ops ops = {
    .feed = feed,
    .eof = eof,
    .timeout = timeout,
    .drained = drained,
    .drain = drain,
    .stalled = stalled,
    .fini = fini,
};

struct ws *ws_new(struct mem *mem, struct ws_pool *pool, bool client, const struct ws_app *app,
                  void *ud, const struct ws_limits *limits, uint64_t now)
{
    struct ws *w = mem_zalloc(mem, sizeof *w);

    if (!w)
        return NULL;
    w->e.ops = &ops;
    buf_init(&w->e.out, mem);
    buf_init(&w->message, mem);
    buf_init(&w->kept, mem);
    w->message.secret = w->kept.secret = true; /* there are tokens in messages */
    w->message.begins = true;
    w->pool = pool;
    w->client = client;
    w->app = app;
    w->ud = ud;
    w->limits = limits;
    w->now = w->seen = w->minute = now;
    w->ping_at = now + limits->ping;
    settle(w);
    return w;
}

void ws_discard(struct ws *w)
{
    destroy(w);
}

/* A step is asked for, since it may be time already. */
void ws_notify(struct ws *w, size_t low)
{
    w->low = low;
    w->notify = true;
    ws_wake(w);
}

bool ws_stalled(const struct ws *w)
{
    return w->stalled;
}

void ws_charge(struct ws *w, struct meter *m)
{
    buf_charge(&w->message, m);
    buf_charge(&w->kept, m);
    buf_charge(&w->e.out, m);
}

struct engine *ws_engine(struct ws *w)
{
    return &w->e;
}

/* reading is set at once, not in the next step: the transport may be about to read. */
void ws_hold(struct ws *w, bool yes)
{
    if (w->held == yes || w->state != WS_OPEN)
        return;
    w->held = yes;
    w->rested = true;
    w->e.reading = !yes && !w->starved;
    ws_wake(w);
}

/* For a remote that shows by other means that it lives. */
void ws_touch(struct ws *w, uint64_t now)
{
    w->seen = now;
}
