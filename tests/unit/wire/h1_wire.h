/* A fake wire with an application behind it, for the tests of the HTTP/1.1 engine.
 * The wire keeps to the transport's contract: after each call it takes turns until nothing is woken. What
 * the client gets is in `got`, what the application saw is in `log`, one line per event. */
#ifndef ALK_TEST_H1_WIRE_H
#define ALK_TEST_H1_WIRE_H

#include "base/buf.h"
#include "wire/h1.h"

#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull

enum mode {
    MODE_ECHO,   /* reads the body, answers when it is complete */
    MODE_LATER,  /* the same in a turn of its own */
    MODE_IGNORE, /* answers without reading the body */
    MODE_HOLD,   /* does nothing: the test acts on w->x */
};

struct wire {
    struct mem mem, own;
    struct http_limits limits;
    struct engine *e;
    enum mode mode;
    uint64_t now, body_limit;
    long allocations, fail_at; /* fail_at > 0: that allocation fails */
    bool fail_on;              /* and all later ones */
    size_t bytes, peak;        /* held by the engine */
    bool woken, answer_due, finished;
    int opened, closed, writable;
    struct http_exchange *x;
    struct buf got, log, body;
};

static inline void *wire_realloc(void *ud, void *p, size_t n)
{
    struct wire *w = ud;

    if (p)
        w->bytes -= malloc_usable_size(p);
    if (!n) {
        free(p);
        return NULL;
    }
    w->allocations++;
    p = w->fail_at == w->allocations || (w->fail_on && w->allocations > w->fail_at) ? NULL
                                                                                    : realloc(p, n);
    if (p)
        w->bytes += malloc_usable_size(p);
    w->peak = w->bytes > w->peak ? w->bytes : w->peak;
    return p;
}

static inline void respond(struct http_exchange *x, int status, const char *body, size_t n)
{
    struct http_header h = {{"Content-Type", 12}, {"text/plain", 10}};

    if (x->ops->start(x, status, &h, 1, n) == 0 && x->ops->write(x, body, n) == 0)
        x->ops->end(x);
}

static inline void echo(struct wire *w)
{
    const struct http_request *r = &w->x->req;
    struct buf b;

    buf_init(&b, &w->own);
    buf_append(&b, r->method.p, r->method.n);
    buf_puts(&b, " ");
    buf_append(&b, r->path.p, r->path.n);
    if (r->query.p) {
        buf_puts(&b, " ?");
        buf_append(&b, r->query.p, r->query.n);
    }
    buf_puts(&b, " @");
    buf_append(&b, r->host.p, r->host.n);
    buf_puts(&b, " ");
    buf_append(&b, w->body.len ? buf_at(&w->body) : "", w->body.len);
    respond(w->x, 200, buf_at(&b), b.len);
    buf_fini(&b);
}

static inline void app_on_head(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_null(w->x);
    ck_assert_ptr_null(x->data);
    x->data = w;
    w->opened++;
    w->x = x;
    buf_truncate(&w->body, 0);
    buf_printf(&w->log, "head %.*s\n", (int)x->req.path.n, x->req.path.p);
    if (w->mode == MODE_IGNORE)
        respond(x, 200, "ignored", 7);
    else if (w->mode != MODE_HOLD)
        x->ops->read_body(x, w->body_limit);
}

static inline void app_on_body(struct http_exchange *x, const char *p, size_t n, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->x, x);
    ck_assert_uint_gt(n, 0);
    buf_append(&w->body, p, n);
    ck_assert_uint_le(w->body.len, w->body_limit);
}

static inline void app_on_body_end(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->x, x);
    buf_puts(&w->log, "end\n");
    if (w->mode == MODE_ECHO)
        echo(w);
    w->answer_due = w->mode == MODE_LATER;
}

static inline void app_on_writable(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->x, x);
    w->writable++;
    buf_puts(&w->log, "writable\n");
}

static inline void app_on_half_closed(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->x, x);
    buf_puts(&w->log, "half closed\n");
}

static inline void app_on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    struct wire *w = ud;

    if (!w->x)
        w->opened++;
    else
        ck_assert_ptr_eq(w->x, x);
    w->x = x;
    w->answer_due = false;
    buf_printf(&w->log, "error %d %s\n", status, what);
    respond(x, status, what, strlen(what));
}

static inline void app_on_close(struct http_exchange *x, bool complete, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->x, x);
    w->x = NULL;
    w->answer_due = false;
    w->closed++;
    ck_assert(!x->data || x->data == w);
    buf_printf(&w->log, "close %d\n", complete);
}

static const struct http_app wire_app = {
    .on_head = app_on_head,
    .on_body = app_on_body,
    .on_body_end = app_on_body_end,
    .on_writable = app_on_writable,
    .on_error = app_on_error,
    .on_half_closed = app_on_half_closed,
    .on_close = app_on_close,
};

static inline void wire_wake(struct engine *e, void *ud)
{
    struct wire *w = ud;

    ck_assert_ptr_eq(w->e, e);
    w->woken = true;
}

static inline void wire_conn_fini(void *ud)
{
    struct wire *w = ud;

    ck_assert(!w->finished);
    w->finished = true;
}

static inline struct wire *wire_new(enum mode mode)
{
    struct wire *w = calloc(1, sizeof *w);

    mem_init(&w->mem, wire_realloc, w);
    mem_init(&w->own, NULL, NULL);
    buf_init(&w->got, &w->own);
    buf_init(&w->log, &w->own);
    buf_init(&w->body, &w->own);
    w->mode = mode;
    w->now = 5000 * MS;
    w->body_limit = 1 << 20;
    w->limits = (struct http_limits){
        .header_bytes = 4096,
        .header_count = 40,
        .url_bytes = 256,
        .header_timeout = 200 * MS,
        .body_timeout = 300 * MS,
        .keepalive_timeout = 400 * MS,
        .write_high = 65536,
    };
    return w;
}

/* False when there was no memory for the connection. */
static inline bool wire_open(struct wire *w)
{
    struct h1 *h = h1_new(&w->mem, &wire_app, w, wire_conn_fini, &w->limits, w->now);

    if (!h)
        return false;
    w->e = h1_engine(h);
    w->e->wake = wire_wake;
    w->e->wake_ud = w;
    return true;
}

static inline void wire_turn(struct wire *w)
{
    while (w->woken || w->answer_due) {
        if (w->answer_due) {
            w->answer_due = false;
            echo(w);
        }
        if (w->woken) {
            w->woken = false;
            w->e->ops->drained(w->e, w->now);
        }
    }
}

/* The wire takes up to max bytes of the output. */
static inline void wire_take(struct wire *w, size_t max)
{
    size_t n = w->e->out.len < max ? w->e->out.len : max;

    if (n && w->e->closing != ENGINE_RESET) {
        buf_append(&w->got, buf_at(&w->e->out), n);
        buf_consume(&w->e->out, n);
        w->e->ops->drained(w->e, w->now);
        wire_turn(w);
    }
}

/* The transport takes all of the output; nothing is on the wire yet. */
static inline void wire_hand_over(struct wire *w)
{
    w->e->inflight += w->e->out.len;
    buf_append(&w->got, buf_at(&w->e->out), w->e->out.len);
    buf_consume(&w->e->out, w->e->out.len);
    w->e->ops->drained(w->e, w->now);
    wire_turn(w);
}

/* n of these bytes have been written. */
static inline void wire_written(struct wire *w, size_t n)
{
    w->e->inflight -= n;
    w->e->ops->drained(w->e, w->now);
    wire_turn(w);
}

static inline void wire_feed_only(struct wire *w, const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1); /* exact, so that a pointer kept into it is noticed */

    memcpy(copy, p, n);
    w->e->ops->feed(w->e, copy, n, w->now);
    memset(copy, '#', n);
    free(copy);
    wire_turn(w);
}

static inline void wire_feed(struct wire *w, const char *p, size_t n)
{
    wire_feed_only(w, p, n);
    wire_take(w, SIZE_MAX);
}

static inline void wire_text(struct wire *w, const char *s)
{
    wire_feed(w, s, strlen(s));
}

/* Time passes, and the transport calls timeout when the deadline is there. */
static inline void wire_sleep(struct wire *w, uint64_t ns)
{
    uint64_t until = w->now + ns;

    while (w->e->deadline && w->e->deadline <= until && !w->e->closing) {
        w->now = w->e->deadline;
        w->e->ops->timeout(w->e, w->now);
        wire_turn(w);
        wire_take(w, SIZE_MAX);
    }
    w->now = until;
}

static inline const char *wire_got(struct wire *w)
{
    buf_reserve(&w->got, 1)[0] = 0;
    return buf_at(&w->got);
}

static inline const char *wire_log(struct wire *w)
{
    buf_reserve(&w->log, 1)[0] = 0;
    return buf_at(&w->log);
}

static inline void wire_forget(struct wire *w)
{
    buf_truncate(&w->got, 0);
    buf_truncate(&w->log, 0);
}

/* Ends the connection if that has not happened, and the test's own memory. */
static inline void wire_free(struct wire *w)
{
    if (w->e) {
        w->e->ops->fini(w->e);
        ck_assert(w->finished);
    }
    ck_assert_int_eq(w->opened, w->closed);
    ck_assert_uint_eq(w->mem.live, 0);
    ck_assert_uint_eq(w->bytes, 0);
    buf_fini(&w->got);
    buf_fini(&w->log);
    buf_fini(&w->body);
    free(w);
}

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
