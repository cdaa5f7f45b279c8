/* Fuzzes the HTTP/1.1 engine with a transport, a clock and an application that the input steers.
 *
 * The first byte chooses limits and how the input is cut. The rest goes to the engine as it is, except for
 * pairs of 0xff and a command: time passes, output is taken, an allocation fails, eof, drain and so on.
 * The application answers as the second byte of the path says.
 * It must hold: on_close comes once for each exchange and nothing behind it; no output grows behind closing;
 * what goes out is what a strict client takes for exactly the answers given; all memory comes back; and
 * without commands, the same input in one piece and in single bytes gives the same output. */
#include "base/buf.h"
#include "wire/h1.h"

#include <llhttp.h>
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

enum { MAX_EXCHANGES = 4096 };

struct fuzz {
    struct mem mem, own;
    struct http_limits limits;
    struct engine *e;
    uint64_t now, body_limit, body;
    long fail_in; /* > 0: the allocation that makes it 0 fails */
    bool woken, ended, gone, bytewise, failed;
    bool holds;  /* the transport keeps what it takes for a turn */
    bool uneven; /* an answer depended on how the body was cut */
    struct http_exchange *x;
    int steps; /* of the running answer, to be done in turns; 0: none */
    int complete;
    bool bare[MAX_EXCHANGES]; /* of complete exchanges: HEAD */
    struct buf got, log;
};

static void *limited_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = ud;

    if (!n) {
        free(p);
        return NULL;
    }
    if (f->fail_in && !--f->fail_in) {
        f->failed = true;
        return NULL;
    }
    return realloc(p, n);
}

static char kind(const struct http_exchange *x)
{
    return x->req.path.n > 1 ? x->req.path.p[1] : 'e';
}

static void answer(struct http_exchange *x, int status, uint64_t length)
{
    static const char data[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    struct http_header h = {{"X-Kind", 6}, {"a\r\nb", 4}};

    if (x->ops->start(x, status, &h, 1, length) == 0 &&
        x->ops->write(x, data, length == HTTP_LENGTH_UNKNOWN ? sizeof data : (size_t)length) == 0)
        x->ops->end(x);
}

static void check_fields(const struct http_request *r)
{
    MUST(r->method.n && r->path.n);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        const char *at = h->name.p + h->name.n;

        MUST(h->name.n && *at++ == ':');
        while (at < h->value.p && (*at == ' ' || *at == '\t'))
            at++;
        MUST(!h->value.n || at == h->value.p);
        for (size_t j = 0; j < h->name.n; j++)
            MUST(h->name.p[j] > ' ' && (h->name.p[j] < 'A' || h->name.p[j] > 'Z'));
        for (size_t j = 0; j < h->value.n; j++)
            MUST(h->value.p[j] != '\n' && h->value.p[j] != '\r' && h->value.p[j]);
        for (at = h->value.p + h->value.n; *at == ' ' || *at == '\t';)
            at++;
        MUST(at[0] == '\r' && at[1] == '\n');
    }
}

static void on_head(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    MUST(!f->x);
    check_fields(&x->req);
    f->x = x;
    f->body = 0;
    f->ended = false;
    f->steps = 0;
    buf_puts(&f->log, "head\n");
    switch (kind(x)) {
    case 'i':
        answer(x, 200, 7);
        break;
    case 'n':
        answer(x, 304, HTTP_LENGTH_UNKNOWN);
        break;
    case 'c':
        x->ops->close_after(x);
        x->ops->read_body(x, f->body_limit);
        break;
    case 'h':
        f->steps = 1;
        break;
    case 'q':
        break;
    case 'w':
        f->uneven = true;
        x->ops->read_body(x, f->body_limit);
        x->ops->start(x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
        f->steps = 3;
        break;
    default:
        x->ops->read_body(x, f->body_limit);
    }
}

static void on_body(struct http_exchange *x, const char *p, size_t n, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->x == x && n && !f->ended);
    f->body += n;
    MUST(f->body <= f->body_limit);
    buf_append(&f->log, p, n);
    if (kind(x) == 'b') {
        f->uneven = true;
        answer(x, 200, 3);
    }
}

static void on_body_end(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->x == x && !f->ended);
    MUST(x->req.chunked || f->body == x->req.content_length);
    f->ended = true;
    buf_puts(&f->log, "\nend\n");
    switch (kind(x)) {
    case 'l':
        f->steps = 1;
        break;
    case 's':
    case 'k':
    case 'r':
        f->steps = 4;
        break;
    case 'h':
    case 'w':
        break;
    case 'd':
        answer(x, 204, 5);
        break;
    default:
        answer(x, 200, 5);
    }
}

static void on_writable(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->x == x && x->ops->queued(x) <= f->limits.write_high / 2);
}

static void on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    struct fuzz *f = ud;

    MUST(!f->x || f->x == x);
    MUST(status >= 400 && status <= 505 && what[0]);
    f->x = x;
    f->steps = 0;
    buf_printf(&f->log, "\nerror %d\n", status);
    answer(x, status, status & 1 ? HTTP_LENGTH_UNKNOWN : 5);
}

static void on_half_closed(struct http_exchange *x, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->x == x);
    buf_printf(&f->log, "\nhalf closed\n");
}

static void on_close(struct http_exchange *x, bool complete, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->x == x);
    f->x = NULL;
    f->steps = 0;
    if (complete) {
        MUST(f->complete < MAX_EXCHANGES);
        f->bare[f->complete++] = x->req.method.n == 4 && !memcmp(x->req.method.p, "HEAD", 4);
    }
    buf_printf(&f->log, "\nclose %d\n", complete);
}

/* One step of an answer that takes several turns. */
static void act(struct fuzz *f)
{
    struct http_exchange *x = f->x;
    bool known = kind(x) == 'k';
    int step = f->steps--;

    if (kind(x) == 'h') {
        x->ops->read_body(x, f->body_limit);
        answer(x, 200, 1);
    } else if (kind(x) == 'l') {
        answer(x, 200, 6);
    } else if (step == 4) {
        x->ops->start(x, 200, NULL, 0, known ? 60 : HTTP_LENGTH_UNKNOWN);
    } else if (step == 1 && kind(x) == 'r') {
        x->ops->reset(x);
    } else if (step == 1) {
        x->ops->end(x);
    } else {
        x->ops->write(x, "012345678901234567890123456789", 30);
    }
}

static void wake(struct engine *e, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->e == e);
    f->woken = true;
}

static void conn_fini(void *ud)
{
    struct fuzz *f = ud;

    MUST(!f->gone && !f->x);
    f->gone = true;
}

static void check(struct fuzz *f, int closing, size_t out)
{
    MUST(!closing || f->e->closing);
    MUST(!closing || f->e->out.len <= out);
    MUST(!f->e->closing || (f->e->deadline == 0 && f->e->reading && !f->x));
}

static void turn(struct fuzz *f)
{
    while (f->woken || (f->x && f->steps)) {
        int closing = f->e->closing;
        size_t out = f->e->out.len;

        f->woken = false;
        if (f->x && f->steps)
            act(f);
        f->e->ops->drained(f->e, f->now);
        check(f, closing, out);
    }
}

static void take(struct fuzz *f, size_t n)
{
    n = n < f->e->out.len ? n : f->e->out.len;
    if (!n || f->e->closing == ENGINE_RESET)
        return;
    buf_append(&f->got, buf_at(&f->e->out), n);
    buf_consume(&f->e->out, n);
    if (f->holds) {
        f->e->inflight = n;
        f->e->ops->drained(f->e, f->now);
        turn(f);
        f->e->inflight = 0;
    }
    f->e->ops->drained(f->e, f->now);
    turn(f);
}

static void feed(struct fuzz *f, const uint8_t *p, size_t n)
{
    size_t step = f->bytewise ? 1 : n, at = 0;

    for (; at < n; at += step) {
        char *copy = malloc(step);
        int closing = f->e->closing;
        size_t out = f->e->out.len;

        memcpy(copy, p + at, step);
        f->e->ops->feed(f->e, copy, step, f->now);
        free(copy);
        check(f, closing, out);
        turn(f);
        if (f->bytewise)
            take(f, SIZE_MAX);
    }
}

static void pass_time(struct fuzz *f, uint64_t ns)
{
    f->now += ns;
    f->e->ops->timeout(f->e, f->now);
    MUST(f->failed || !f->e->deadline || f->e->deadline > f->now);
}

static void command(struct fuzz *f, uint8_t c)
{
    switch (c % 10) {
    case 0:
        f->bytewise = !f->bytewise;
        break;
    case 1:
        take(f, (size_t)c * 4);
        break;
    case 2:
        pass_time(f, f->e->deadline > f->now ? f->e->deadline - f->now : 0);
        break;
    case 3:
        pass_time(f, c);
        break;
    case 4:
        f->e->ops->eof(f->e, f->now);
        break;
    case 5:
        f->e->ops->drain(f->e, f->now);
        break;
    case 6:
        f->fail_in = 1 + c / 10;
        break;
    case 7:
        if (f->x) {
            f->x->ops->reset(f->x);
            f->steps = 0;
        }
        break;
    case 8:
        take(f, SIZE_MAX);
        break;
    default:
        feed(f, (const uint8_t *)"\xff", 1);
    }
    turn(f);
}

/* ---- what the client sees ---- */

struct client {
    llhttp_t parser;
    const struct fuzz *f;
    int finals;
};

static int client_headers(llhttp_t *parser)
{
    struct client *c = (struct client *)(void *)parser;

    if (parser->status_code < 200)
        return 0;
    MUST(c->finals < c->f->complete);
    return c->f->bare[c->finals];
}

static int client_message(llhttp_t *parser)
{
    struct client *c = (struct client *)(void *)parser;

    c->finals += parser->status_code >= 200;
    return 0;
}

static void check_output(struct fuzz *f)
{
    static const llhttp_settings_t settings = {
        .on_headers_complete = client_headers,
        .on_message_complete = client_message,
    };
    struct client c = {.f = f};

    llhttp_init(&c.parser, HTTP_RESPONSE, &settings);
    MUST(!f->got.len || llhttp_execute(&c.parser, buf_at(&f->got), f->got.len) == HPE_OK);
    MUST(llhttp_finish(&c.parser) == HPE_OK);
    MUST(c.finals == f->complete);
}

/* ---- one run ---- */

static void begin(struct fuzz *f, uint8_t config)
{
    struct h1 *h;

    memset(f, 0, sizeof *f);
    mem_init(&f->mem, limited_realloc, f);
    mem_init(&f->own, NULL, NULL);
    buf_init(&f->got, &f->own);
    buf_init(&f->log, &f->own);
    f->limits = (struct http_limits){
        .header_bytes = config & 1 ? 64 : 4096,
        .header_count = config & 1 ? 3 : 30,
        .url_bytes = config & 1 ? 8 : 200,
        .header_timeout = 20,
        .body_timeout = 30,
        .keepalive_timeout = 40,
        .write_high = config & 2 ? 100 : 100000,
        .date = "now",
    };
    f->body_limit = config & 4 ? 10 : 100000;
    f->bytewise = config & 8;
    f->holds = config & 16;
    f->now = 1000;
    static const struct http_app app = {on_head,  on_body,        on_body_end, on_writable,
                                        on_error, on_half_closed, on_close};
    h = h1_new(&f->mem, &app, f, conn_fini, &f->limits, f->now);
    MUST(h);
    f->e = h1_engine(h);
    f->e->wake = wake;
    f->e->wake_ud = f;
}

static void finish(struct fuzz *f)
{
    f->e->ops->fini(f->e);
    MUST(f->gone && !f->x && f->mem.live == 0);
    buf_fini(&f->got);
    buf_fini(&f->log);
}

static void run_all(struct fuzz *f, const uint8_t *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        const uint8_t *ff = memchr(p + at, 0xff, n - at);
        size_t end = ff ? (size_t)(ff - p) : n;

        feed(f, p + at, end - at);
        at = end + 2;
        if (end + 1 < n)
            command(f, p[end + 1]);
    }
    turn(f);
    do
        take(f, SIZE_MAX);
    while (f->e->out.len && f->e->closing != ENGINE_RESET);
    if (!f->x && f->e->closing != ENGINE_RESET && !f->failed)
        check_output(f);
}

static bool has_expect(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 6 <= n; i++) {
        if ((p[i] | 0x20) == 'e' && (p[i + 1] | 0x20) == 'x' && (p[i + 2] | 0x20) == 'p')
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz f, other;

    if (!size || size > 65536)
        return 0;
    begin(&f, data[0]);
    run_all(&f, data + 1, size - 1);
    if (!memchr(data, 0xff, size) && !has_expect(data + 1, size - 1)) {
        begin(&other, data[0] ^ 8);
        run_all(&other, data + 1, size - 1);
        if (f.e->closing != ENGINE_RESET && other.e->closing != ENGINE_RESET && !f.uneven) {
            MUST(f.e->closing == other.e->closing);
            MUST(f.log.len == other.log.len && f.got.len == other.got.len);
            MUST(!f.log.len || !memcmp(buf_at(&f.log), buf_at(&other.log), f.log.len));
            MUST(!f.got.len || !memcmp(buf_at(&f.got), buf_at(&other.got), f.got.len));
        }
        finish(&other);
    }
    finish(&f);
    return 0;
}
