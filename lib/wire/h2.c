/* The order of things on one HTTP/2 connection: what its streams do next, its deadlines, its end.
 *
 * Each entry (feed, drained, …) lets nghttp2 take what came, then gives each stream in `due` its
 * step, then settles: closes what died and sets the fields that the transport obeys. flush moves
 * what streams have to send into `out`, as frames. It calls nobody: what becomes due in it has its
 * step in the next entry, for which it wakes. */
#include "wire/h2_int.h"

#include "base/time.h"

#include <string.h>

/* Frames that wait within nghttp2 for a client that does not read: acknowledgements, resets. Above
 * it, such a client is not read either. */
#define CONTROL_HIGH 256u
/* How long a client has between the two GOAWAYs of a graceful end (RFC 9113, section 6.8) for a
 * request that it has begun to send. */
#define DRAIN_GRACE SECOND

static const uint8_t drain_ping[8] = "goingout";

static struct h2 *of_engine(struct engine *e)
{
    return container_of(e, struct h2, e);
}

/* Once for all that is noted until the next step; within a step, that step sees it. */
void h2_wake(struct h2 *h)
{
    if (h->running || h->woken)
        return;
    h->woken = true;
    h->e.wake(&h->e, h->e.wake_ud);
}

void h2_touch(struct h2_stream *s)
{
    if (list_empty(&s->due))
        list_push(&s->h->due, &s->due);
    h2_wake(s->h);
}

void h2_terminate(struct h2 *h, uint32_t code)
{
    if (!h->terminated)
        nghttp2_session_terminate_session(h->session, code);
    h->terminated = true;
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return b && b < a ? b : a;
}

/* Only ever made earlier. One that has been put off is looked at when the old one fires: most never
 * do. */
void h2_arm(struct h2_stream *s)
{
    uint64_t at = earlier(earlier(HEAP_NONE, s->body_deadline), s->write_deadline);

    if (s->tunnel)
        at = earlier(at, s->tunnel->deadline);
    if (at < s->timer.key) {
        heap_remove(&s->h->timers, &s->timer);
        heap_insert(&s->h->timers, &s->timer, at);
    }
}

/* The clock of a phase starts when the phase does, and nothing within the phase moves it: who sends
 * a byte, or a PING, now and then has no more time than who sends none. */
static void arm(struct h2 *h, uint64_t now)
{
    uint8_t timer = TIMER_NONE;
    uint64_t time = 0;

    if (!h->seen)
        return;
    if (h->head_stream) {
        timer = TIMER_HEAD;
        time = h->limits->header_timeout;
    } else if (list_empty(&h->live)) {
        timer = TIMER_IDLE;
        time = h->limits->keepalive_timeout;
    }
    if (timer == h->timer)
        return;
    h->timer = timer;
    h->deadline = time ? now + time : 0;
}

/* In the middle of a header block nothing can be answered. An idle connection just ends. */
static void expired(struct h2 *h)
{
    h->deadline = 0;
    h2_terminate(h, h->head_stream ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_NO_ERROR);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* nghttp2 tells the client that no more streams should be begun, without refusing any: some may be
 * on their way. When the PING comes back there are none. */
static void drain_begin(struct h2 *h, uint64_t now)
{
    h->draining = true;
    h->drain_at = now + DRAIN_GRACE;
    nghttp2_submit_shutdown_notice(h->session);
    nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, drain_ping);
    list_each(l, &h->live) h2_touch(container_of(l, struct h2_stream, link));
}

void h2_drain_end(struct h2 *h)
{
    if (!h->drain_at)
        return;
    h->drain_at = 0;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

static void close_live(struct h2 *h)
{
    while (!list_empty(&h->live))
        h2_stream_close(container_of(h->live.next, struct h2_stream, link));
}

/* ---- entries --------------------------------------------------------------------------------- */

/* From here to settle, what the application does is seen by the step that runs and needs no
 * wake. */
static void enter(struct h2 *h, uint64_t now)
{
    h->running = true;
    h->woken = false;
    h->now = now;
}

static void run_due(struct h2 *h)
{
    while (!list_empty(&h->due) && !h->e.closing) {
        struct h2_stream *s = container_of(h->due.next, struct h2_stream, due);

        list_del(&s->due);
        h2_stream_step(s);
    }
}

/* Behind each entry: makes the fields true that the transport obeys. A closed engine goes on
 * reading, see wire/h1.h. */
static void settle(struct h2 *h, uint64_t now)
{
    struct engine *e = &h->e;

    run_due(h);
    if (h->leaving && !h->draining && !e->closing)
        drain_begin(h, now);
    run_due(h);
    if (e->closing || h->terminated)
        close_live(h);
    arm(h, now);
    e->deadline = 0;
    if (!e->closing) {
        uint64_t at = earlier(earlier(HEAP_NONE, h->deadline), h->drain_at);

        at = h->timers.root ? earlier(at, h->timers.root->key) : at;
        e->deadline = at == HEAP_NONE ? 0 : at;
    }
    e->reading = e->closing || h2_unsent(h) < H2_OUT_HIGH ||
                 nghttp2_session_get_outbound_queue_size(h->session) < CONTROL_HIGH;
    e->patience = h->limits->write_timeout;
    e->rate = h->limits->write_rate;
    h->running = false;
}

/* After an error of nghttp2 its session may not be used again. Without the preface the remote does
 * not speak HTTP/2, and would not understand a GOAWAY. */
static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct h2 *h = of_engine(e);
    ssize_t n;

    if (e->closing)
        return;
    enter(h, now);
    run_due(h); /* those that ended in a flush make room for others */
    h->receiving = true;
    n = e->closing ? 0 : nghttp2_session_mem_recv(h->session, (const uint8_t *)data, len);
    h->receiving = false;
    if (n < 0 && !e->closing)
        e->closing = n == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? ENGINE_FLUSH_AND_CLOSE : ENGINE_RESET;
    settle(h, now);
}

static void drained(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);

    enter(h, now);
    settle(h, now);
}

static void flush(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);
    const uint8_t *p;
    ssize_t n = 0;

    if (e->closing)
        return;
    h->running = true;
    h->now = now;
    while (h2_unsent(h) < H2_OUT_HIGH && (n = nghttp2_session_mem_send(h->session, &p)) > 0) {
        if (buf_append(&e->out, p, (size_t)n)) {
            n = -1;
            break;
        }
    }
    if (n < 0)
        e->closing = ENGINE_RESET;
    else if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    h->running = false;
    if (e->closing || !list_empty(&h->due))
        h2_wake(h);
}

/* The client cannot be told from one that has gone. */
static void eof(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);

    if (e->closing)
        return;
    enter(h, now);
    e->closing = ENGINE_FLUSH_AND_CLOSE;
    settle(h, now);
}

static void timeout(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);

    if (e->closing || !e->deadline || now < e->deadline)
        return;
    enter(h, now);
    if (h->deadline && h->deadline <= now)
        expired(h);
    if (h->drain_at && h->drain_at <= now)
        h2_drain_end(h);
    while (h->timers.root && h->timers.root->key <= now) {
        struct h2_stream *s = container_of(h->timers.root, struct h2_stream, timer);

        heap_remove(&h->timers, &s->timer);
        h2_stream_expired(s, now);
    }
    settle(h, now);
}

static void drain(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);

    if (e->closing)
        return;
    enter(h, now);
    h->leaving = true;
    settle(h, now);
}

static bool stalled(struct engine *e, uint64_t now)
{
    struct h2 *h = of_engine(e);

    enter(h, now);
    e->closing = ENGINE_RESET;
    settle(h, now);
    return true;
}

/* Of the connection's own payer, or of a stream's whose output waits. */
static bool pressed(const struct engine *e)
{
    const struct h2 *h = container_of(e, const struct h2, e);

    list_each(l, &h->live)
    {
        struct h2_stream *s = container_of(l, struct h2_stream, link);

        if (s->tunnel && s->tunnel->ops->pressed
                ? s->tunnel->ops->pressed(s->tunnel)
                : h2_waiting(s)->len && meter_pressed(h2_waiting(s)->meter))
            return true;
    }
    return meter_pressed(e->out.meter);
}

/* What belongs to the connection goes last, since on_close may still use it. */
static void fini(struct engine *e)
{
    struct h2 *h = of_engine(e);
    struct mem *mem = e->out.mem;
    void (*conn_fini)(void *ud) = h->conn_fini;
    void *ud = h->ud;

    h->running = true;
    close_live(h);
    h2_session_close(h);
    list_each_safe(l, &h->rest) h2_stream_free(container_of(l, struct h2_stream, link));
    buf_fini(&e->out);
    meter_resize(h->meter, h->charged, 0); /* the step that is kept to spare */
    mem_free(mem, h);
    conn_fini(ud);
}

static const struct engine_ops ops = {
    .feed = feed,
    .eof = eof,
    .timeout = timeout,
    .drained = drained,
    .flush = flush,
    .pressed = pressed,
    .drain = drain,
    .stalled = stalled,
    .fini = fini,
};

struct h2 *h2_new(struct mem *mem, const struct http_app *app, void *ud,
                  void (*conn_fini)(void *ud), const struct http_limits *limits, uint64_t now)
{
    struct h2 *h = mem_zalloc(mem, sizeof *h);

    if (!h)
        return NULL;
    h->e.ops = &ops;
    h->e.reading = true;
    h->e.patience = limits->write_timeout;
    h->e.rate = limits->write_rate;
    buf_init(&h->e.out, mem);
    list_init(&h->live);
    list_init(&h->rest);
    list_init(&h->due);
    list_init(&h->blocks);
    h->app = app;
    h->ud = ud;
    h->conn_fini = conn_fini;
    h->limits = limits;
    h->now = now;
    /* The first request has to come in the time of a header: there is no idle connection yet. */
    h->timer = TIMER_FRESH;
    h->deadline = h->e.deadline = limits->header_timeout ? now + limits->header_timeout : 0;
    h->running = true;
    if (h2_session_open(h)) {
        h2_session_close(h);
        mem_free(mem, h);
        return NULL;
    }
    h->running = false;
    return h;
}

struct engine *h2_engine(struct h2 *h)
{
    return &h->e;
}

void h2_charge(struct h2 *h, struct meter *m)
{
    struct list *const lists[] = {&h->live, &h->rest};

    for (size_t i = 0; i < 2; i++) {
        list_each(l, lists[i])
        {
            struct h2_stream *s = container_of(l, struct h2_stream, link);

            if (s->head)
                meter_move(h->meter, m, http_head_bytes(s->head));
            buf_charge(&s->in, m);
        }
    }
    meter_move(h->meter, m, h->charged);
    buf_charge(&h->e.out, m);
    h->meter = m;
}
