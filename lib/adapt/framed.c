/* A call connection on a byte stream of framed envelopes: the engine and the connection's link in
 * one. What the connection sends is written straight into the engine's output, its length put
 * before it afterwards, and what lies there counts as the connection's queue.
 *
 * Whatever is wrong with what comes shuts the connection (connection_shut), and the connection's
 * turn then closes the link, so that a fault which says why still goes out. Only the stream's own
 * end, and a remote that takes nothing, end the engine first.
 *
 * Nobody pings, and silence between frames is no fault: the transport asks whether the remote is
 * still there. A frame that has begun must come on, within body_timeout_ms for each piece of it,
 * and whoever comes as nobody has header_timeout_ms for the first one. */
#include "adapt/framed.h"

#include "base/time.h"
#include "wire/frame.h"

#define RETRY_NS (50 * MILLI) /* of what found no room */
#define PIECE 1024u           /* of a frame: less is no sign that it comes on */

struct framed {
    struct engine e;
    struct session *s;
    struct frame_decoder in;
    struct buf kept;     /* input that waits for room; none unless starved */
    size_t frame_at;     /* of the frame that is being written: its place in the output */
    size_t quiet;        /* bytes that came since `seen` */
    uint64_t now;        /* of the last step */
    uint64_t seen;       /* when the frame under way began, or last came on */
    uint64_t silent_end; /* when the first frame of a stranger must be here; 0: it is */
    uint64_t retry_at;   /* of what found no room */
    uint64_t starve_end; /* and the last time for that */
    bool running, woken;
    bool above;  /* more than queue_high was unsent, and more than half of it is */
    bool notify; /* somebody waits for room */
    bool starved;
};

static struct framed *of_engine(struct engine *e)
{
    return container_of(e, struct framed, e);
}

#define TIME(f, name) (LIMIT((f)->s->d->node, name) * MILLI)

static size_t unsent(const struct framed *f)
{
    return f->e.out.len + f->e.inflight;
}

/* Asks for the engine's next step, outside of one. */
static void wake(struct framed *f)
{
    if (f->running || f->woken)
        return;
    f->woken = true;
    f->e.wake(&f->e, f->e.wake_ud);
}

/* Nothing more is read; what is queued goes out, within close_ms. */
static void leave(struct framed *f, uint64_t now)
{
    if (f->e.closing)
        return;
    f->e.closing = ENGINE_FLUSH_AND_CLOSE;
    f->e.deadline = now + TIME(f, close_ms);
    f->starved = false;
    frame_fini(&f->in);
    buf_fini(&f->kept);
}

/* The stream is at its end, mostly before the connection is. */
static void lost(struct framed *f, int code)
{
    bool open = !f->e.closing;

    leave(f, f->now);
    if (!open)
        return;
    alk_connection_lost(f->s->conn);
    session_over(f->s, code, STR_NONE);
}

/* ---- the connection's link ------------------------------------------------------------------- */

static struct buf *direct_begin(void *ud, size_t about)
{
    struct framed *f = ud;

    if (f->e.closing || about > SIZE_MAX - FRAME_HEAD ||
        !buf_reserve(&f->e.out, about + FRAME_HEAD))
        return NULL;
    f->frame_at = f->e.out.len;
    buf_commit(&f->e.out, FRAME_HEAD);
    return &f->e.out;
}

static int direct_commit(void *ud)
{
    struct framed *f = ud;
    struct buf *out = &f->e.out;

    frame_encode((uint8_t *)out->data + out->head + f->frame_at,
                 out->len - f->frame_at - FRAME_HEAD);
    f->above |= unsent(f) > LIMIT(f->s->d->node, queue_high);
    wake(f);
    return 0;
}

static void direct_undo(void *ud)
{
    struct framed *f = ud;

    buf_truncate(&f->e.out, f->frame_at);
}

static const struct direct_link direct = {direct_begin, direct_commit, direct_undo};

static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct buf *out = direct_begin(ud, len);

    (void)stream;
    if (!out)
        return ALK_ENOMEM;
    buf_append(out, envelope, len);
    return direct_commit(ud);
}

/* The bytes that the transport has in hand included. */
static size_t link_queued(void *ud, uint64_t stream)
{
    (void)stream;
    return unsent(ud);
}

/* Who waits goes on when at most half of queue_high is left (drained). A step is asked for, since
 * that may be so already. */
static void link_flush(void *ud)
{
    struct framed *f = ud;

    if (list_empty(&f->s->conn->queue.shared.waiters))
        return;
    f->notify = true;
    wake(f);
}

static void link_close(void *ud, int code)
{
    struct framed *f = ud;

    leave(f, f->s->d->now);
    wake(f);
    session_over(f->s, session_code(f->s, code), str_of(connection_why(f->s->conn)));
}

/* ---- what comes ------------------------------------------------------------------------------ */

/* One that the connection does not like shuts it. */
static int on_frame(void *ud, const char *data, size_t len)
{
    struct framed *f = ud;
    alk_connection *c = f->s->conn;

    if (alk_connection_feed(c, 0, data, len) == ALK_EAGAIN)
        return FRAME_LATER;
    f->silent_end = f->starve_end = 0;
    f->seen = f->now;
    f->quiet = 0;
    frame_set_limit(&f->in, connection_message_limit(c));
    return c->closing >= 0;
}

/* A budget that is short will not stay so: the remote is held back, and all that it said is taken
 * in the end. */
static void starve(struct framed *f)
{
    f->starved = true;
    f->retry_at = f->now + RETRY_NS;
    if (!f->starve_end)
        f->starve_end = f->now + TIME(f, body_timeout_ms);
}

/* Takes what it can and returns how much; after an error all. */
static size_t take(struct framed *f, const char *p, size_t n)
{
    alk_connection *c = f->s->conn;
    int rc;

    frame_set_limit(&f->in, connection_message_limit(c));
    rc = frame_feed(&f->in, p, n);
    if (rc == FRAME_LATER) {
        starve(f);
        return n - f->in.rest;
    }
    if (rc)
        connection_shut(c, rc == FRAME_EMPTY ? ALK_CLOSE_PROTOCOL : ALK_CLOSE_LIMIT,
                        frame_error(rc));
    return n;
}

/* What waits for room is tried anew when its time has come. A remote that we did not read could
 * not go on with its frame: the clock starts anew for it. */
static void take_kept(struct framed *f)
{
    if (!f->starved || f->now < f->retry_at)
        return;
    f->starved = false;
    buf_consume(&f->kept, take(f, f->kept.len ? buf_at(&f->kept) : NULL, f->kept.len));
    if (!f->kept.len)
        buf_fini(&f->kept);
    if (f->starved) {
        if (f->now >= f->starve_end)
            connection_shut(f->s->conn, ALK_CLOSE_LIMIT, "too many messages are being received");
        return;
    }
    f->starve_end = 0;
    f->seen = f->now;
    if (f->silent_end)
        f->silent_end = f->now + TIME(f, header_timeout_ms);
}

/* Input that was read is there, room or not, and there is not more of it than of one read. */
static void keep(struct framed *f, const char *p, size_t n)
{
    struct meter *m = f->kept.meter;
    int rc;

    buf_charge(&f->kept, NULL);
    rc = buf_append(&f->kept, p, n);
    buf_charge(&f->kept, m);
    if (rc)
        connection_shut(f->s->conn, ALK_CLOSE_LIMIT, frame_error(FRAME_ENOMEM));
}

/* ---- the engine ------------------------------------------------------------------------------ */

static void enter(struct framed *f, uint64_t now)
{
    f->now = now;
    f->running = true;
    f->woken = false;
}

/* None for one that is shut: the coming turn closes it. */
static uint64_t deadline(const struct framed *f)
{
    uint64_t at = f->silent_end;

    if (f->s->conn->closing >= 0)
        return 0;
    if (f->starved)
        return f->retry_at;
    if (f->in.head_have && (!at || f->seen + TIME(f, body_timeout_ms) < at))
        at = f->seen + TIME(f, body_timeout_ms);
    return at;
}

/* Behind each entry. patience: in which the remote has to take something, while it leaves, or while
 * so much is queued that it counts as slow; else it may take all the time it wants. */
static void settle(struct framed *f)
{
    struct engine *e = &f->e;

    if (!e->closing)
        e->deadline = deadline(f);
    e->reading = !f->starved;
    e->patience = e->closing ? TIME(f, close_ms) : f->above || f->notify ? TIME(f, evict_ms) : 0;
    if (!e->out.len)
        buf_fini(&e->out);
    f->running = false;
}

static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct framed *f = of_engine(e);
    size_t used;

    if (e->closing)
        return;
    enter(f, now);
    f->quiet += len;
    if (!f->in.head_have || f->quiet >= PIECE) {
        f->seen = now;
        f->quiet = 0;
    }
    take_kept(f);
    used = f->starved ? 0 : take(f, data, len);
    if (used < len)
        keep(f, data + used, len - used);
    settle(f);
}

/* A half-closed stream has no use: an answer needs somebody who could still abort. */
static void eof(struct engine *e, uint64_t now)
{
    struct framed *f = of_engine(e);
    int rc;

    if (e->closing)
        return;
    enter(f, now);
    rc = f->starved ? FRAME_OK : frame_end(&f->in);
    if (rc)
        connection_shut(f->s->conn, ALK_CLOSE_PROTOCOL, frame_error(rc));
    lost(f, rc ? WS_PROTOCOL : WS_NO_STATUS);
    settle(f);
}

static void timeout(struct engine *e, uint64_t now)
{
    struct framed *f = of_engine(e);

    if (e->closing == ENGINE_RESET || !e->deadline || now < e->deadline)
        return;
    enter(f, now);
    if (e->closing)
        e->closing = ENGINE_RESET;
    else if (f->starved)
        take_kept(f);
    else
        connection_shut(f->s->conn, ALK_CLOSE_LIMIT, "a message did not come in time");
    settle(f);
}

/* above is left only at half the limit: otherwise each message would switch the eviction clock on
 * and off. */
static void drained(struct engine *e, uint64_t now)
{
    struct framed *f = of_engine(e);

    enter(f, now);
    if (unsent(f) <= LIMIT(f->s->d->node, queue_high) / 2) {
        f->above = false;
        if (f->notify && !e->closing)
            alk_connection_writable(f->s->conn);
        f->notify = false;
    }
    take_kept(f);
    settle(f);
}

/* The dispatcher drains, and closes each connection when its last call has ended. */
static void drain(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static bool stalled(struct engine *e, uint64_t now)
{
    struct framed *f = of_engine(e);
    bool open = !e->closing;

    enter(f, now);
    lost(f, WS_TRY_AGAIN);
    e->closing = ENGINE_RESET;
    settle(f);
    return open;
}

static void destroy(struct framed *f)
{
    frame_fini(&f->in);
    buf_fini(&f->kept);
    buf_fini(&f->e.out);
    mem_free(f->e.out.mem, f);
}

static void fini(struct engine *e)
{
    struct framed *f = of_engine(e);
    struct session *s = f->s;

    f->running = true;
    lost(f, WS_LOST);
    destroy(f);
    s->on_gone(s);
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

/* The engine first: the connection sends into it as soon as it is open, if there is something to
 * announce. */
int framed_open(struct session *s, struct mem *mem, const alk_connection_options *o,
                struct credential *by)
{
    struct framed *f = mem_zalloc(mem, sizeof *f);
    const alk_link link = {.size = sizeof link,
                           .send = link_send,
                           .flush = link_flush,
                           .close = link_close,
                           .queued = link_queued,
                           .ud = f};
    struct meter *meter;
    int rc;

    if (!f)
        return ALK_ENOMEM;
    f->e.ops = &ops;
    f->s = s;
    f->now = s->d->now;
    buf_init(&f->e.out, mem);
    buf_init(&f->kept, mem);
    f->kept.secret = true;
    frame_init(&f->in, mem, 0, on_frame, f);
    rc = connection_open_by(&s->conn, s->d, &link, o, by);
    if (rc) {
        destroy(f);
        return rc;
    }
    meter = &s->conn->account->meter;
    buf_charge(&f->e.out, meter);
    buf_charge(&f->kept, meter);
    frame_charge(&f->in, meter);
    s->conn->queue.direct = &direct;
    s->engine = &f->e;
    if (!s->client && !by)
        f->silent_end = f->now + TIME(f, header_timeout_ms);
    settle(f);
    return ALK_OK;
}
