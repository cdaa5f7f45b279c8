/* Fuzzes the HTTP/2 engine with a transport, a clock and an application that the input steers.
 *
 * The first byte chooses limits and how the input is cut, and whether the preface comes by itself. The
 * rest goes to the engine as it is, except for the byte 0xfe before a command: time passes, output is
 * taken, an allocation fails, eof, drain and so on. The application answers as the second byte of the
 * path says.
 * It must hold: on_close comes once for each exchange and nothing behind it; no more exchanges run than
 * are allowed; the output is small, is made of whole frames of the right form and does not grow behind
 * closing; all memory comes back. */
#include "base/buf.h"
#include "base/list.h"
#include "wire/h2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { MAX_LIVE = 128, COMMAND = 0xfe };

struct fuzz {
    struct mem mem, own;
    struct http_limits limits;
    struct engine *e;
    uint64_t now, body_limit;
    long fail_in; /* > 0: the allocation that makes it 0 fails */
    bool woken, gone, bytewise, stuck;
    struct http_exchange *live[MAX_LIVE];
    int count, engines;
    struct buf got;
};

static void *limited_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = ud;

    if (!n) {
        free(p);
        return NULL;
    }
    if (f->fail_in && !--f->fail_in)
        return NULL;
    return realloc(p, n);
}

/* ---- an engine that sends back what comes ---- */

struct echo {
    struct engine e;
    struct fuzz *f;
};

static void echo_feed(struct engine *e, const char *p, size_t n, uint64_t now)
{
    MUST(n && !e->closing);
    if (e->out.len < 100000)
        buf_append(&e->out, p, n);
    if (*p == 'c')
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    else if (*p == 'r')
        e->closing = ENGINE_RESET;
    else if (*p == 's')
        e->reading = false;
    else if (*p == 't')
        e->deadline = now + 10;
}

static void echo_end(struct engine *e, uint64_t now)
{
    (void)now;
    e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static void echo_timeout(struct engine *e, uint64_t now)
{
    (void)now;
    e->deadline = 0;
    e->reading = true;
}

static void echo_drained(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static bool echo_stalled(struct engine *e, uint64_t now)
{
    (void)now;
    e->closing = ENGINE_RESET;
    return true;
}

static void echo_fini(struct engine *e)
{
    buf_fini(&e->out);
    container_of(e, struct echo, e)->f->engines--;
    free(container_of(e, struct echo, e));
}

static const struct engine_ops echo_ops = {
    .feed = echo_feed,
    .eof = echo_end,
    .timeout = echo_timeout,
    .drained = echo_drained,
    .drain = echo_end,
    .stalled = echo_stalled,
    .fini = echo_fini,
};

static struct engine *echo_new(struct fuzz *f)
{
    struct echo *x = calloc(1, sizeof *x);

    x->f = f;
    x->e.ops = &echo_ops;
    x->e.reading = true;
    x->e.patience = 30;
    buf_init(&x->e.out, &f->mem);
    f->engines++;
    return &x->e;
}

/* ---- the application ---- */

static char kind(const struct http_exchange *x)
{
    return x->req.path.n > 1 ? x->req.path.p[1] : 'e';
}

static int find(const struct fuzz *f, const struct http_exchange *x)
{
    for (int i = 0; i < f->count; i++) {
        if (f->live[i] == x)
            return i;
    }
    return -1;
}

static void answer(struct http_exchange *x, int status, size_t length)
{
    static const char data[70000];
    struct http_header h = {{"X-Kind", 6}, {"a\r\nb", 4}};

    if (x->ops->start(x, status, &h, 1, length & 1 ? HTTP_LENGTH_UNKNOWN : length) == 0 &&
        x->ops->write(x, data, length) == 0)
        x->ops->end(x);
}

static void begin_exchange(struct fuzz *f, struct http_exchange *x)
{
    MUST(find(f, x) < 0 && f->count < (int)f->limits.streams && x->multiplexed);
    f->live[f->count++] = x;
}

static void check_fields(const struct http_request *r)
{
    MUST(r->method.n && r->path.n && r->host.n && r->minor == 2);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];

        MUST(h->name.n && h->name.p[0] != ':');
        for (size_t j = 0; j < h->name.n; j++)
            MUST(h->name.p[j] > ' ' && (h->name.p[j] < 'A' || h->name.p[j] > 'Z'));
        for (size_t j = 0; j < h->value.n; j++)
            MUST(h->value.p[j] != '\n' && h->value.p[j] != '\r' && h->value.p[j]);
        MUST(!h->value.n || (h->value.p[0] != ' ' && h->value.p[h->value.n - 1] != ' '));
    }
}

static void on_head(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    check_fields(&x->req);
    begin_exchange(f, x);
    switch (kind(x)) {
    case 'i':
        answer(x, 200, 8);
        break;
    case 'n':
        answer(x, 304, 0);
        break;
    case 'c':
        x->ops->close_after(x);
        x->ops->read_body(x, f->body_limit);
        break;
    case 'h':
        break;
    case 'r':
        x->ops->reset(x);
        break;
    case 'u':
        if (x->req.protocol.p) {
            struct engine *e = echo_new(f);

            if (x->ops->upgrade(x, NULL, 0, e))
                echo_fini(e);
            break;
        }
        /* fall through */
    default:
        x->ops->read_body(x, f->body_limit);
    }
}

static void on_body(struct http_exchange *x, const char *p, size_t n, void *ud)
{
    (void)p;
    MUST(find(ud, x) >= 0 && n);
    if (kind(x) == 'b')
        x->ops->reset(x);
}

static void on_body_end(struct http_exchange *x, void *ud)
{
    MUST(find(ud, x) >= 0);
    if (kind(x) == 'w')
        x->data = x->ops->start(x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN) ? NULL : x;
    else if (kind(x) != 'h')
        answer(x, kind(x) == 'd' ? 204 : 200, kind(x) == 'l' ? 70000 : 5);
}

static void on_writable(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    MUST(find(f, x) >= 0 && x->ops->queued(x) <= f->limits.write_high / 2);
}

static void on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    MUST(status >= 400 && status <= 505 && what[0]);
    if (find(ud, x) < 0)
        begin_exchange(ud, x);
    x->data = NULL;
    answer(x, status, status & 1 ? 6 : 5);
}

static void on_close(struct http_exchange *x, bool complete, void *ud)
{
    struct fuzz *f = ud;
    int i = find(f, x);

    (void)complete;
    MUST(i >= 0);
    f->live[i] = f->live[--f->count];
}

/* ---- the wire ---- */

static void wake(struct engine *e, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->e == e);
    f->woken = true;
}

static void conn_fini(void *ud)
{
    struct fuzz *f = ud;

    MUST(!f->gone && !f->count);
    f->gone = true;
}

static void take(struct fuzz *f, size_t n)
{
    n = n < f->e->out.len ? n : f->e->out.len;
    if (!n || f->e->closing == ENGINE_RESET)
        return;
    buf_append(&f->got, buf_at(&f->e->out), n);
    buf_consume(&f->e->out, n);
    f->e->ops->drained(f->e, f->now);
}

static void turn(struct fuzz *f)
{
    for (int rounds = 0;; rounds++) {
        int closing = f->e->closing;
        size_t out = f->e->out.len;

        MUST(rounds < 100000);
        while (f->woken) {
            f->woken = false;
            f->e->ops->drained(f->e, f->now);
        }
        engine_flush(f->e, f->now);
        MUST(!closing || (f->e->closing && f->e->out.len <= out && !f->e->deadline));
        MUST(f->e->out.len < H2_OUT_HIGH + 33000);
        if (!f->e->out.len)
            buf_fini(&f->e->out);
        if (!f->woken && (f->stuck || !f->e->out.len || f->e->closing == ENGINE_RESET))
            break;
        if (!f->stuck)
            take(f, SIZE_MAX);
    }
    MUST(!f->e->closing || (!f->count && !f->engines && f->e->reading));
}

static void feed(struct fuzz *f, const uint8_t *p, size_t n)
{
    size_t step = f->bytewise ? 1 : n;

    for (size_t at = 0; at < n; at += step) {
        char *copy = malloc(step);

        memcpy(copy, p + at, step);
        f->e->ops->feed(f->e, copy, step, f->now);
        free(copy);
        turn(f);
    }
}

static void command(struct fuzz *f, uint8_t c)
{
    struct http_exchange *x = f->count ? f->live[c % f->count] : NULL;

    switch (c % 12) {
    case 0:
        f->bytewise = !f->bytewise;
        break;
    case 1:
        take(f, (size_t)c * 40);
        break;
    case 2:
        f->now = f->e->deadline > f->now ? f->e->deadline : f->now;
        f->e->ops->timeout(f->e, f->now);
        break;
    case 3:
        f->now += c;
        f->e->ops->timeout(f->e, f->now);
        break;
    case 4:
        f->e->ops->eof(f->e, f->now);
        break;
    case 5:
        f->e->ops->drain(f->e, f->now);
        break;
    case 6:
        f->fail_in = 1 + c / 12;
        break;
    case 7:
        if (x)
            x->ops->reset(x);
        break;
    case 8:
        f->stuck = !f->stuck;
        break;
    case 9:
        if (x && x->data)
            x->ops->write(x, "0123456789012345678901234567890123456789", 40);
        break;
    case 10:
        if (x && x->data)
            x->ops->end(x);
        if (x)
            x->data = NULL;
        break;
    default:
        feed(f, (const uint8_t *)"\xfe", 1);
    }
    turn(f);
}

/* ---- what the client sees ---- */

/* The form of each frame: its size, its type, and whether it concerns a stream. */
static void check_output(struct fuzz *f)
{
    size_t at = 0;

    while (f->got.len - at >= 9) {
        const uint8_t *p = (const uint8_t *)buf_at(&f->got) + at;
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        uint32_t id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]);

        MUST(n <= 16384 && p[3] <= 9 && p[3] != 5);
        MUST((p[3] == 0 || p[3] == 1 || p[3] == 3) ? id != 0 && id % 2 == 1 : true);
        MUST((p[3] == 4 || p[3] == 6 || p[3] == 7) ? id == 0 : true);
        if (f->got.len - at < 9 + n)
            break;
        at += 9 + n;
    }
}

/* ---- one run ---- */

static void begin(struct fuzz *f, uint8_t config)
{
    static const struct http_app app = {.on_head = on_head,
                                        .on_body = on_body,
                                        .on_body_end = on_body_end,
                                        .on_writable = on_writable,
                                        .on_error = on_error,
                                        .on_close = on_close};
    struct h2 *h;

    memset(f, 0, sizeof *f);
    mem_init(&f->mem, limited_realloc, f);
    mem_init(&f->own, NULL, NULL);
    buf_init(&f->got, &f->own);
    f->limits = (struct http_limits){
        .header_bytes = config & 1 ? 64 : 4096,
        .header_count = config & 1 ? 3 : 30,
        .url_bytes = config & 1 ? 8 : 200,
        .header_timeout = 20,
        .body_timeout = 30,
        .keepalive_timeout = 40,
        .write_timeout = 50,
        .write_rate = config & 32 ? 1000 : 0,
        .write_high = config & 2 ? 100 : 100000,
        .date = "now",
        .streams = config & 16 ? 3 : MAX_LIVE,
        .resets = config & 16 ? 5 : 0,
    };
    f->body_limit = config & 4 ? 10 : 100000;
    f->bytewise = config & 8;
    f->now = 1000;
    h = h2_new(&f->mem, &app, f, conn_fini, &f->limits, f->now);
    MUST(h);
    f->e = h2_engine(h);
    f->e->wake = wake;
    f->e->wake_ud = f;
}

static void run(struct fuzz *f, const uint8_t *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        const uint8_t *next = memchr(p + at, COMMAND, n - at);
        size_t end = next ? (size_t)(next - p) : n;

        if (end > at)
            feed(f, p + at, end - at);
        at = end + 2;
        if (end + 1 < n)
            command(f, p[end + 1]);
    }
    turn(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0\0";
    static struct fuzz f;

    if (!size || size > 65536)
        return 0;
    begin(&f, data[0]);
    if (!(data[0] & 64))
        feed(&f, (const uint8_t *)preface, sizeof preface - 1);
    run(&f, data + 1, size - 1);
    check_output(&f);
    f.e->ops->fini(f.e);
    MUST(f.gone && !f.engines && f.mem.live == 0);
    buf_fini(&f.got);
    return 0;
}
