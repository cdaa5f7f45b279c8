/* A fake wire with an application behind it, for the tests of the HTTP/2 engine.
 *
 * The test plays the client with frames made by hand, so that it can break every rule. What the engine
 * sends is decoded into `got`, one line per frame; what the application saw is in `log`, one line per
 * event. The wire keeps to the transport's contract: after each call it takes turns until nothing is
 * woken, then flushes, then takes the output unless the client is `stuck`. */
#ifndef ALK_TEST_H2_WIRE_H
#define ALK_TEST_H2_WIRE_H

#include "base/buf.h"
#include "support/must.h"
#include "wire/h2.h"

#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull
#define MAX_X 512

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION
};
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8 };

struct wire {
    struct mem mem, own;
    struct http_limits limits;
    struct engine *e;
    struct h2 *h;
    uint64_t now, body_limit;
    long allocations, fail_at;           /* fail_at > 0: that allocation fails */
    bool fail_on;                        /* and all later ones */
    size_t bytes, peak;                  /* held by the engine */
    size_t cut;                          /* bytes of one feed; 0: as they come */
    bool woken, finished, stuck, broken; /* broken: the output can no longer be followed */
    int opened, closed, writable, live, live_most;
    struct http_exchange *x[MAX_X];            /* in order of their beginning; NULL: closed */
    struct engine *(*granted)(struct wire *w); /* what "/upgrade" becomes */
    nghttp2_hd_inflater *inflater;
    struct buf got, log, raw;
    size_t data; /* bytes of DATA that came */
    void *payer; /* goes with the first exchange that closes */
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
    p = w->fail_at == w->allocations || (w->fail_on && w->allocations > w->fail_at && w->fail_at)
            ? NULL
            : realloc(p, n);
    if (p)
        w->bytes += malloc_usable_size(p);
    w->peak = w->bytes > w->peak ? w->bytes : w->peak;
    return p;
}

/* ---- the application --------------------------------------------------------------------------- */

static inline int index_of(struct wire *w, const struct http_exchange *x)
{
    for (int i = 0; i < MAX_X; i++) {
        if (w->x[i] == x)
            return i;
    }
    return -1;
}

static inline bool path_is(const struct http_exchange *x, const char *path)
{
    return str_is(x->req.path, path);
}

static inline void respond(struct http_exchange *x, int status, const char *body, size_t n)
{
    struct http_header h = {{"X-Type", 6}, {"t", 1}};

    if (x->ops->start(x, status, &h, 1, n) == 0 && x->ops->write(x, body, n) == 0)
        x->ops->end(x);
    else
        x->ops->reset(x);
}

static inline void app_open(struct wire *w, struct http_exchange *x)
{
    must(index_of(w, x) < 0);
    must(w->opened < MAX_X);
    must(x->multiplexed);
    w->x[w->opened++] = x;
    w->live++;
    w->live_most = w->live > w->live_most ? w->live : w->live_most;
}

static inline void app_on_head(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    must(!x->data);
    app_open(w, x);
    buf_printf(&w->log, "head %.*s\n", (int)x->req.path.n, x->req.path.p);
    if (path_is(x, "/ignore"))
        respond(x, 200, "ignored", 7);
    else if (path_is(x, "/ask"))
        w->x[0]->ops->read_body(w->x[0], w->body_limit);
    else if (path_is(x, "/upgrade")) {
        struct engine *next = w->granted(w);

        if (!next || x->ops->upgrade(x, NULL, 0, next)) {
            if (next)
                next->ops->fini(next);
            respond(x, 503, "no", 2);
        }
    } else if (!str_starts(x->req.path, "/hold")) {
        x->data = calloc(1, sizeof(struct buf));
        buf_init(x->data, &w->own);
        x->ops->read_body(x, w->body_limit);
    }
}

static inline void app_on_body(struct http_exchange *x, const char *p, size_t n, void *ud)
{
    struct wire *w = ud;

    must(index_of(w, x) >= 0 && n);
    if (x->data) {
        buf_append(x->data, p, n);
        must(((struct buf *)x->data)->len <= w->body_limit);
    } else {
        buf_printf(&w->log, "body %zu\n", n);
    }
}

/* Method, path, query, host and body come back. */
static inline void app_on_body_end(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;
    const struct http_request *r = &x->req;
    struct buf *b = x->data, out;

    must(index_of(w, x) >= 0);
    buf_printf(&w->log, "end %.*s\n", (int)r->path.n, r->path.p);
    if (!b)
        return;
    buf_init(&out, &w->own);
    buf_printf(&out, "%.*s %.*s %.*s @%.*s ", (int)r->method.n, r->method.p, (int)r->path.n,
               r->path.p, (int)r->query.n, r->query.n ? r->query.p : "", (int)r->host.n, r->host.p);
    if (b->len)
        buf_append(&out, buf_at(b), b->len);
    respond(x, 200, buf_at(&out), out.len);
    buf_fini(&out);
}

static inline void app_on_writable(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    must(index_of(w, x) >= 0);
    must(x->ops->queued(x) <= w->limits.write_high / 2);
    w->writable++;
    buf_puts(&w->log, "writable\n");
}

static inline void app_on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    struct wire *w = ud;

    if (index_of(w, x) < 0)
        app_open(w, x);
    buf_printf(&w->log, "error %d %s\n", status, what);
    respond(x, status, what, strlen(what));
}

static inline void app_on_close(struct http_exchange *x, bool complete, void *ud)
{
    struct wire *w = ud;
    int i = index_of(w, x);

    must(i >= 0);
    w->x[i] = NULL;
    w->closed++;
    w->live--;
    free(w->payer);
    w->payer = NULL;
    buf_printf(&w->log, "close %.*s %d\n", (int)x->req.path.n, x->req.path.n ? x->req.path.p : "",
               complete);
    if (x->data)
        buf_fini(x->data);
    free(x->data);
}

static const struct http_app wire_app = {
    .on_head = app_on_head,
    .on_body = app_on_body,
    .on_body_end = app_on_body_end,
    .on_writable = app_on_writable,
    .on_error = app_on_error,
    .on_close = app_on_close,
};

/* ---- what the client sees ---------------------------------------------------------------------- */

static inline uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void show_fields(struct wire *w, const uint8_t *p, size_t n)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(w->inflater, &nv, &flags, p, n, 1);

        must(used >= 0);
        p += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            buf_printf(&w->got, " %s=%s", (char *)nv.name, (char *)nv.value);
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(w->inflater);
            return;
        }
    }
}

static inline void show_frame(struct wire *w, int type, int flags, uint32_t id, const uint8_t *p,
                              size_t n)
{
    switch (type) {
    case DATA:
        buf_printf(&w->got, "DATA %u ", id);
        if (n > 100)
            buf_printf(&w->got, "[%zu]", n);
        else
            buf_append(&w->got, p, n);
        w->data += n;
        break;
    case HEADERS:
        must(flags & END_HEADERS);
        buf_printf(&w->got, "HEADERS %u", id);
        show_fields(w, p, n);
        break;
    case RST_STREAM:
        buf_printf(&w->got, "RST %u %u", id, be32(p));
        break;
    case SETTINGS:
        buf_puts(&w->got, flags & ACK ? "SETTINGS ACK" : "SETTINGS");
        break;
    case PING:
        buf_printf(&w->got, "PING%s %.8s", flags & ACK ? " ACK" : "", (const char *)p);
        break;
    case GOAWAY:
        buf_printf(&w->got, "GOAWAY %u %u", be32(p), be32(p + 4));
        break;
    case WINDOW_UPDATE:
        buf_printf(&w->got, "WINDOW %u %u", id, be32(p));
        break;
    default:
        ck_abort_msg("a frame of type %d", type);
    }
    if ((type == DATA || type == HEADERS) && (flags & END_STREAM))
        buf_puts(&w->got, " END");
    buf_puts(&w->got, "\n");
}

static inline void wire_decode(struct wire *w)
{
    while (w->raw.len >= 9) {
        const uint8_t *p = (const uint8_t *)buf_at(&w->raw);
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

        must(n <= 16384);
        if (w->raw.len < 9 + n)
            return;
        show_frame(w, p[3], p[4], be32(p + 5) & 0x7fffffff, p + 9, n);
        buf_consume(&w->raw, 9 + n);
    }
}

/* ---- the wire ---------------------------------------------------------------------------------- */

static inline void wire_wake(struct engine *e, void *ud)
{
    struct wire *w = ud;

    must(w->e == e);
    w->woken = true;
}

static inline void wire_conn_fini(void *ud)
{
    struct wire *w = ud;

    must(!w->finished);
    w->finished = true;
}

static inline struct wire *wire_new(void)
{
    struct wire *w = calloc(1, sizeof *w);

    mem_init(&w->mem, wire_realloc, w);
    mem_init(&w->own, NULL, NULL);
    buf_init(&w->got, &w->own);
    buf_init(&w->log, &w->own);
    buf_init(&w->raw, &w->own);
    must(!nghttp2_hd_inflate_new(&w->inflater));
    w->now = 5000 * MS;
    w->body_limit = 1 << 20;
    w->limits = (struct http_limits){
        .header_bytes = 4096,
        .header_count = 40,
        .url_bytes = 256,
        .header_timeout = 200 * MS,
        .body_timeout = 300 * MS,
        .keepalive_timeout = 400 * MS,
        .write_timeout = 500 * MS,
        .write_high = 65536,
        .streams = 100,
        .resets = 20,
    };
    return w;
}

/* False when there was no memory for the connection. */
static inline bool wire_start(struct wire *w)
{
    w->h = h2_new(&w->mem, &wire_app, w, wire_conn_fini, &w->limits, w->now);
    if (!w->h)
        return false;
    w->e = h2_engine(w->h);
    w->e->wake = wire_wake;
    w->e->wake_ud = w;
    return true;
}

static inline void wire_take(struct wire *w, size_t max)
{
    size_t n = w->e->out.len < max ? w->e->out.len : max;

    if (!n || w->e->closing == ENGINE_RESET)
        return;
    buf_append(&w->raw, buf_at(&w->e->out), n);
    buf_consume(&w->e->out, n);
    if (!w->broken)
        wire_decode(w);
    w->e->ops->drained(w->e, w->now);
}

/* As the loop does: steps until nobody wants one, a flush, a write, and again. */
static inline void wire_turn(struct wire *w)
{
    for (int rounds = 0;; rounds++) {
        must(rounds < 100000);
        while (w->woken) {
            w->woken = false;
            w->e->ops->drained(w->e, w->now);
        }
        if (w->e->closing != ENGINE_RESET)
            engine_flush(w->e, w->now);
        must(w->e->out.len < H2_OUT_HIGH + 33000);
        if (!w->e->out.len)
            buf_fini(&w->e->out);
        if (!w->woken && (w->stuck || !w->e->out.len || w->e->closing == ENGINE_RESET))
            return;
        if (!w->stuck)
            wire_take(w, SIZE_MAX);
    }
}

static inline void wire_feed_only(struct wire *w, const void *p, size_t n)
{
    char *copy = malloc(n ? n : 1); /* exact, so that a pointer kept into it is noticed */

    memcpy(copy, p, n);
    w->e->ops->feed(w->e, copy, n, w->now);
    memset(copy, '#', n);
    free(copy);
}

static inline void wire_feed(struct wire *w, const void *p, size_t n)
{
    size_t step = w->cut ? w->cut : n;

    for (size_t at = 0; at < n; at += step) {
        wire_feed_only(w, (const char *)p + at, n - at < step ? n - at : step);
        wire_turn(w);
    }
}

static inline void wire_feed_buf(struct wire *w, struct buf *b)
{
    if (b->len)
        wire_feed(w, buf_at(b), b->len);
    buf_fini(b);
}

/* Time passes, and the transport calls timeout when the deadline is there. */
static inline void wire_sleep(struct wire *w, uint64_t ns)
{
    uint64_t until = w->now + ns;

    while (w->e->deadline && w->e->deadline <= until && !w->e->closing) {
        w->now = w->e->deadline;
        w->e->ops->timeout(w->e, w->now);
        must(w->e->closing || !w->e->deadline || w->e->deadline > w->now || w->woken);
        wire_turn(w);
    }
    w->now = until;
}

static inline const char *text_of(struct buf *b)
{
    buf_reserve(b, 1)[0] = 0;
    return buf_at(b);
}

static inline const char *wire_got(struct wire *w)
{
    return text_of(&w->got);
}

static inline const char *wire_log(struct wire *w)
{
    return text_of(&w->log);
}

static inline void wire_forget(struct wire *w)
{
    buf_truncate(&w->got, 0);
    buf_truncate(&w->log, 0);
}

static inline void wire_free(struct wire *w)
{
    if (w->e) {
        w->e->ops->fini(w->e);
        must(w->finished);
    }
    must(w->opened == w->closed);
    must(w->mem.live == 0);
    must(w->bytes == 0);
    nghttp2_hd_inflate_del(w->inflater);
    buf_fini(&w->got);
    buf_fini(&w->log);
    buf_fini(&w->raw);
    must(w->own.live == 0);
    free(w);
}

/* ---- frames of the client ---------------------------------------------------------------------- */

static inline void put_head(struct buf *b, size_t n, int type, int flags, uint32_t id)
{
    const uint8_t head[9] = {(uint8_t)(n >> 16),  (uint8_t)(n >> 8),  (uint8_t)n,
                             (uint8_t)type,       (uint8_t)flags,     (uint8_t)(id >> 24),
                             (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    buf_append(b, head, sizeof head);
}

static inline void put_frame(struct buf *b, int type, int flags, uint32_t id, const void *p,
                             size_t n)
{
    put_head(b, n, type, flags, id);
    buf_append(b, p, n);
}

static inline void put_u32(struct buf *b, int type, int flags, uint32_t id, uint32_t v)
{
    const uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    put_frame(b, type, flags, id, p, 4);
}

static inline void put_setting(struct buf *b, int key, uint32_t v)
{
    const uint8_t p[6] = {
        0, (uint8_t)key, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    put_frame(b, SETTINGS, 0, 0, p, 6);
}

/* RFC 7541, section 5.1, with a prefix of seven bits. */
static inline void put_length(struct buf *b, size_t n)
{
    uint8_t c = n < 127 ? (uint8_t)n : 127;

    buf_append(b, &c, 1);
    if (n < 127)
        return;
    for (n -= 127; n >= 128; n >>= 7) {
        c = (uint8_t)(n & 127) | 128;
        buf_append(b, &c, 1);
    }
    c = (uint8_t)n;
    buf_append(b, &c, 1);
}

/* A literal that is not indexed. */
static inline void put_field(struct buf *b, const char *name, const char *value)
{
    buf_append(b, "", 1);
    put_length(b, strlen(name));
    buf_append(b, name, strlen(name));
    put_length(b, strlen(value));
    buf_append(b, value, strlen(value));
}

/* "name value\n…": one field a line, split at the first space. */
static inline void put_fields(struct buf *b, const char *lines)
{
    while (*lines) {
        char line[8192];
        size_t n = strcspn(lines, "\n");
        char *space;

        must(n < sizeof line);
        memcpy(line, lines, n);
        line[n] = 0;
        space = strchr(line, ' ');
        must(space);
        *space = 0;
        put_field(b, line, space + 1);
        lines += n + (lines[n] == '\n');
    }
}

static inline void put_headers(struct wire *w, struct buf *b, uint32_t id, int flags,
                               const char *lines)
{
    struct buf block;

    buf_init(&block, &w->own);
    put_fields(&block, lines);
    put_frame(b, HEADERS, flags | END_HEADERS, id, block.len ? buf_at(&block) : "", block.len);
    buf_fini(&block);
}

#define REQUEST(method, path)                                                                      \
    ":method " method "\n:scheme http\n:path " path "\n:authority a.example\n"

static inline void say_headers(struct wire *w, uint32_t id, int flags, const char *lines)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_headers(w, &b, id, flags, lines);
    wire_feed_buf(w, &b);
}

static inline void say(struct wire *w, int type, int flags, uint32_t id, const void *p, size_t n)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_frame(&b, type, flags, id, p, n);
    wire_feed_buf(w, &b);
}

static inline void say_data(struct wire *w, uint32_t id, int flags, const char *text)
{
    say(w, DATA, flags, id, text, strlen(text));
}

static inline void say_u32(struct wire *w, int type, uint32_t id, uint32_t v)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_u32(&b, type, 0, id, v);
    wire_feed_buf(w, &b);
}

static inline void say_setting(struct wire *w, int key, uint32_t v)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_setting(&b, key, v);
    wire_feed_buf(w, &b);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define PREFACE_LEN (sizeof PREFACE - 1)

/* An open connection: both sides have said and acknowledged their settings. */
static inline struct wire *wire_connect(struct wire *w)
{
    must(wire_start(w));
    wire_feed(w, PREFACE, PREFACE_LEN);
    say(w, SETTINGS, ACK, 0, "", 0);
    must(strstr(wire_got(w), "SETTINGS ACK\n"));
    wire_forget(w);
    return w;
}

static inline struct wire *opened(void)
{
    return wire_connect(wire_new());
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
