/* The order of things on one HTTP/1.1 connection: which bytes are looked at when, the life of the
 * exchange, its errors, deadlines, and the end.
 *
 * There is one exchange at a time. Each entry (feed, drained, …) runs pump(), which takes one step
 * after the other: raise an error, close a finished exchange, parse. It stops where the application
 * has to act, the input ends, or the output is too full to begin another request; what is left of
 * the input is kept. Then settle() closes what died, gives the memory of an idle connection back
 * and sets the fields that the transport obeys. Only these two, timeouts and fini call the
 * application. */
#include "wire/h1_int.h"

#include <assert.h>
#include <string.h>

/* How long a client that has ended its side is taken to wait, before that is found out. */
#define HALF_CLOSED_NS 5000000000u
/* While less than this waits, more is read, so that the end of the client's side is seen. */
#define AHEAD 4096u

static struct h1 *of_engine(struct engine *e)
{
    return container_of(e, struct h1, e);
}

/* x.req may still be empty: an error in a head opens an exchange too, so that the application can
 * answer it. */
static void open_exchange(struct h1 *h)
{
    h->open = true;
    h->above = false;
    h->response = RESPONSE_NONE;
    h->x.data = NULL;
    h->timer = TIMER_NONE;
    h->e.deadline = 0;
}

/* The end of a request, for whatever reason, and the decision whether the connection goes on: not
 * with a body that has not been read, whose bytes would be taken for the next request. */
static void close_exchange(struct h1 *h)
{
    bool complete = h->response == RESPONSE_DONE && h->e.closing != ENGINE_RESET;

    if (!h->e.closing && !h->e.successor && (!h->keep || h1_body_pending(h)))
        h->e.closing = ENGINE_FLUSH_AND_CLOSE;
    h->open = false;
    h->app->on_close(&h->x, complete, h->ud);
    buf_fini(&h->held);
    memset(&h->x.req, 0, sizeof h->x.req);
    if (h->head)
        h->head->count = h->head->len = 0;
    h->parsed = h->line = 0;
    h->empty_lines = 0;
    h->expects = false;
    h->timer = TIMER_NONE;
    h->e.deadline = 0;
}

static void put_continue(struct h1 *h)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (buf_append(&h->e.out, line, sizeof line - 1))
        h->e.closing = ENGINE_RESET;
}

/* The client waits for leave to send its body, unless some of it is here already (RFC 9110, section
 * 10.1.1). */
static void send_continue(struct h1 *h, bool input)
{
    h->expects = false;
    if (!input && h->response == RESPONSE_NONE && h1_body_pending(h))
        put_continue(h);
}

/* Hands a noted error to the application, which answers it at once. When an answer has begun,
 * nothing can be said any more, and only a cut connection shows the client that something is wrong.
 * An error is the last thing on a connection: where the next request begins cannot be known. */
static void raise_error(struct h1 *h)
{
    int status = h->error;

    h->error = 0;
    if (!h->open)
        open_exchange(h);
    if (h->response != RESPONSE_NONE) {
        h->e.closing = ENGINE_RESET;
        return;
    }
    h->keep = false;
    h->body = BODY_DONE;
    h->app->on_error(&h->x, status, h->what, h->ud);
    assert(h->response == RESPONSE_DONE || h->e.closing);
}

/* early is set before the application sees the head: frames of WebSocket that came with it would be
 * lost with an upgrade. */
static size_t begin(struct h1 *h, const char *p, size_t n)
{
    bool complete;
    size_t used = h1_parse_head(h, p, n, &complete);

    if (complete) {
        open_exchange(h);
        h->x.early = used < n;
        h->app->on_head(&h->x, h->ud);
    }
    return used;
}

/* A request that has begun to arrive is finished even while draining; a new one is not begun. */
static bool may_parse(struct h1 *h)
{
    if (h->head && h->head->len)
        return true;
    if (h->draining)
        h->e.closing = ENGINE_FLUSH_AND_CLOSE;
    return !h->draining && h1_unsent(h) <= h->limits->write_high;
}

/* Takes what it can of the input and returns how much. The order of the branches is the order of
 * events: a finished exchange is closed before an error is raised, and an error before anything is
 * parsed. Each branch ends the loop or changes what the next round sees, so it ends. */
static size_t pump(struct h1 *h, const char *p, size_t n)
{
    size_t at = 0;

    while (!h->e.closing && !(h->e.successor && !h->open)) {
        if (h->open && h->response == RESPONSE_DONE) {
            close_exchange(h);
        } else if (h->error) {
            raise_error(h);
        } else if (!h->open) {
            if (!may_parse(h) || at == n)
                break;
            at += begin(h, p + at, n - at);
        } else if (h->body == BODY_ENDED) {
            h->body = BODY_DONE;
            h->app->on_body_end(&h->x, h->ud);
        } else if (h->body != BODY_ASKED) {
            break;
        } else if (h->expects) {
            send_continue(h, at < n);
        } else if (!h->x.req.has_body) {
            h->body = BODY_ENDED;
        } else if (at == n) {
            break;
        } else {
            at += h1_parse_body(h, p + at, n - at);
        }
    }
    return at;
}

static uint64_t duration(const struct h1 *h, uint8_t timer)
{
    switch (timer) {
    case TIMER_HEAD:
        return h->limits->header_timeout;
    case TIMER_IDLE:
        return h->limits->keepalive_timeout;
    case TIMER_BODY:
        return h->limits->body_timeout;
    case TIMER_HALF_CLOSED:
        return HALF_CLOSED_NS;
    default:
        return 0;
    }
}

/* Whether the client that waits is still there shows when something is sent to it. Of what may
 * come before an answer, 100 is what every client of HTTP/1.1 passes over (RFC 9110, section
 * 15.2). */
static bool may_probe(const struct h1 *h)
{
    return h->half_closed && !h->probed && h->response == RESPONSE_NONE && h->x.req.minor;
}

/* The clock of a phase starts when the phase does, and nothing within the phase moves it: a client
 * that sends a byte now and then (Slowloris) has no more time than one that sends none. While a
 * handler works there is no clock: it has its own deadline. */
static void arm(struct h1 *h, uint64_t now)
{
    uint8_t timer = TIMER_NONE;
    uint64_t time;

    if (h->e.closing)
        timer = TIMER_NONE;
    else if (h->open)
        timer = h->body == BODY_ASKED ? TIMER_BODY : may_probe(h) ? TIMER_HALF_CLOSED : TIMER_NONE;
    else if (h->timer == TIMER_FRESH)
        return;
    else if (h->head && h->head->len)
        timer = TIMER_HEAD;
    else if (!h1_unsent(h))
        timer = TIMER_IDLE;
    if (timer == h->timer)
        return;
    time = duration(h, timer);
    h->timer = timer;
    h->e.deadline = time ? now + time : 0;
}

/* What cannot be looked at yet gets its size and little more. There is seldom something kept
 * already, and then little. */
static void keep(struct h1 *h, const char *p, size_t n)
{
    struct buf b;

    if (!n)
        return;
    buf_init(&b, h->kept.mem);
    b.meter = h->kept.meter;
    b.secret = true;
    if (!buf_reserve(&b, h->kept.len + n)) {
        if (b.refused)
            h1_fail(h, 503, "too much is being received");
        else
            h->e.closing = ENGINE_RESET;
        return;
    }
    if (h->kept.len)
        buf_append(&b, buf_at(&h->kept), h->kept.len);
    buf_append(&b, p, n);
    buf_fini(&h->kept);
    h->kept = b;
}

/* What is not here does not come any more, be it a request or the rest of one. */
static void end_input(struct h1 *h)
{
    if (!h->half_closed || h->e.closing || h->e.successor || h->kept.len ||
        (h->open && h->body != BODY_ASKED))
        return;
    h->e.closing = h->open && h->response == RESPONSE_BODY ? ENGINE_RESET : ENGINE_FLUSH_AND_CLOSE;
}

/* Behind each entry: makes the fields true that the transport obeys, and gives memory back. What
 * a client sends ahead only waits, and when it is much, no more of it is read. Until then reading
 * goes on, so that a client that leaves is noticed. A closed engine goes on reading: with unread
 * input the kernel would answer the close with a reset, which can overtake the last response (RFC
 * 9112, section 9.6). */
static void settle(struct h1 *h, uint64_t now)
{
    end_input(h);
    if (h->e.closing && h->open)
        close_exchange(h);
    h->x.early |= h->open && h->kept.len > 0;
    if (h->e.closing || (!h->open && !h->kept.len)) {
        buf_fini(&h->kept);
        if (h->e.closing || (h->head && !h->head->len))
            http_head_free(&h->head, h->e.out.mem, h->kept.meter);
        if (!h->e.out.len)
            buf_fini(&h->e.out);
    }
    arm(h, now);
    h->e.reading = h->e.closing || h->kept.len < AHEAD;
    h->e.patience = h->limits->write_timeout;
    h->e.rate = h->limits->write_rate;
    h->running = false;
}

/* From here to settle, what the application does is seen by the step that runs and needs no
 * wake. */
static void enter(struct h1 *h)
{
    h->running = true;
    h->woken = false;
}

static void pump_kept(struct h1 *h)
{
    size_t used = pump(h, h->kept.len ? buf_at(&h->kept) : NULL, h->kept.len);

    buf_consume(&h->kept, used);
    if (!h->kept.len)
        buf_fini(&h->kept);
}

/* Input is only copied when it has to wait. */
static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct h1 *h = of_engine(e);
    bool waiting = h->kept.len > 0; /* then what is new queues up behind it */
    size_t used;

    if (e->closing)
        return;
    enter(h);
    used = waiting ? 0 : pump(h, data, len);
    if (!e->closing)
        keep(h, data + used, len - used);
    if (waiting || h->error)
        pump_kept(h);
    settle(h, now);
}

/* Also called when wake has asked for a step. */
static void drained(struct engine *e, uint64_t now)
{
    struct h1 *h = of_engine(e);

    enter(h);
    /* The mark may have been lowered since it was passed. */
    h->above |= h->open && h1_unsent(h) > h->limits->write_high;
    if (h->above && h->open && h1_unsent(h) <= h->limits->write_high / 2) {
        h->above = false;
        if (!e->closing && h->response == RESPONSE_BODY)
            h->app->on_writable(&h->x, h->ud);
    }
    pump_kept(h);
    settle(h, now);
}

/* What has come whole is answered: a client may end its side once it has asked (`nc -N`). It looks
 * the same as one that has gone, until something is sent to it: then the transport closes. */
static void eof(struct engine *e, uint64_t now)
{
    struct h1 *h = of_engine(e);

    if (e->closing)
        return;
    enter(h);
    h->half_closed = true;
    pump_kept(h);
    if (h->open && h->response == RESPONSE_BODY && !e->closing)
        h->app->on_half_closed(&h->x, h->ud);
    settle(h, now);
}

/* 408 tells the client that it may try again (RFC 9110, section 15.5.9); an idle connection just
 * closes. */
static void timeout(struct engine *e, uint64_t now)
{
    struct h1 *h = of_engine(e);

    if (e->closing || !e->deadline || now < e->deadline)
        return;
    enter(h);
    e->deadline = 0;
    if (h->timer == TIMER_HALF_CLOSED) {
        h->probed = true;
        put_continue(h);
    } else if (h->open) {
        h1_fail(h, 408, "the body took too long");
    } else if (h->head && h->head->len) {
        h1_fail(h, 408, "the header took too long");
    } else {
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    }
    pump_kept(h);
    settle(h, now);
}

/* A request whose first bytes are here counts as begun: its client cannot know that it was not
 * served, and could not safely send it again. */
static void drain(struct engine *e, uint64_t now)
{
    struct h1 *h = of_engine(e);

    if (e->closing)
        return;
    enter(h);
    h->draining = true;
    pump_kept(h);
    settle(h, now);
}

/* What belongs to the connection goes last, since on_close may still use it. */
static void fini(struct engine *e)
{
    struct h1 *h = of_engine(e);
    struct mem *mem = e->out.mem;
    void (*conn_fini)(void *ud) = h->conn_fini;
    void *ud = h->ud;
    bool upgraded;

    h->running = true;
    if (h->open)
        close_exchange(h);
    upgraded = e->successor != NULL;
    http_head_free(&h->head, h->e.out.mem, h->kept.meter);
    buf_fini(&h->kept);
    buf_fini(&e->out);
    mem_free(mem, h);
    if (!upgraded)
        conn_fini(ud);
}

/* A client that does not take its answer holds memory that others need. */
static bool stalled(struct engine *e, uint64_t now)
{
    struct h1 *h = of_engine(e);

    enter(h);
    e->closing = ENGINE_RESET;
    settle(h, now);
    return true;
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

struct h1 *h1_new(struct mem *mem, const struct http_app *app, void *ud,
                  void (*conn_fini)(void *ud), const struct http_limits *limits, uint64_t now)
{
    struct h1 *h = mem_zalloc(mem, sizeof *h);

    if (!h)
        return NULL;
    h->e.ops = &ops;
    h->e.reading = true;
    h->e.patience = limits->write_timeout;
    h->e.rate = limits->write_rate;
    buf_init(&h->e.out, mem);
    buf_init(&h->kept, mem);
    buf_init(&h->held, mem);
    h->kept.secret = true; /* there are tokens in requests */
    h->app = app;
    h->ud = ud;
    h->conn_fini = conn_fini;
    h->limits = limits;
    h->x.ops = &h1_exchange_ops;
    /* The first request has to come in the time of a header: there is no idle connection yet. */
    h->timer = TIMER_FRESH;
    h->e.deadline = limits->header_timeout ? now + limits->header_timeout : 0;
    h1_parse_init(h);
    return h;
}

void h1_charge(struct h1 *h, struct meter *m)
{
    if (h->head)
        meter_move(h->kept.meter, m, http_head_bytes(h->head));
    buf_charge(&h->kept, m);
}

struct engine *h1_engine(struct h1 *h)
{
    return &h->e;
}
