/* Fuzzes the WebSocket engine, as a server or a client, with a remote, a clock and an application that the
 * input steers.
 *
 * The first byte chooses the role, limits, and how the input is cut. The rest are commands: the remote says
 * raw bytes or frames with the right mask, time passes, output is taken, the application sends, holds and
 * closes, the stream ends, stalls or drains, an allocation fails, memory is refused. It must hold: nothing
 * is called after on_close, after the application's close, or after fini; messages are within the limit,
 * and text is UTF-8; the charge is balanced; output and memory are bounded by what came and what was sent;
 * no output grows behind closing, nor behind a close frame; what goes out is what a strict decoder takes; a
 * closing session ends within its time; all memory comes back; and unless an allocation fails, the same
 * input in whole pieces and in single bytes does the same. */
#include "base/buf.h"
#include "base/list.h"
#include "base/utf8.h"
#include "wire/ws.h"

#include <alknet/alknet.h>
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

#define RETRY 50000000u /* ns, in which what found no room is tried again */
#define FED_MAX 60000u  /* bytes of one run: enough for each limit */

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PONG = 10 };

struct fuzz {
    struct meter meter;
    struct mem mem, pool_mem, own;
    struct ws_pool pool;
    struct ws_limits limits;
    struct ws_app app;
    struct ws *ws;
    struct engine *e;
    uint64_t now;
    long fail_in;          /* > 0: the allocation that makes it 0 fails */
    size_t charged, bytes; /* bytes: held by the engine */
    size_t fed, sent;      /* so far; sent: by the application and the clock, with heads */
    bool client, bytewise, holds, failed, refuses, busy;
    bool refused; /* memory, or a message: when depends on how the input was cut */
    bool woken, closed, over, gone;
    struct buf got, log;
    const uint8_t *p; /* the commands to come */
    size_t n;
};

/* ---- memory ------------------------------------------------------------------------------------ */

/* Each block begins with its size. */
static void *counting_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = ud;
    size_t *block = p ? (size_t *)p - 2 : NULL;

    if (block)
        f->bytes -= *block;
    if (!n) {
        free(block);
        return NULL;
    }
    if (f->fail_in && !--f->fail_in) {
        f->failed = true;
        f->bytes += block ? *block : 0;
        return NULL;
    }
    block = realloc(block, n + 2 * sizeof *block);
    MUST(block);
    *block = n;
    f->bytes += n;
    return block + 2;
}

/* ---- the application --------------------------------------------------------------------------- */

static int on_message(struct ws *w, bool text, const char *data, size_t len, void *ud)
{
    struct fuzz *f = ud;

    MUST(w == f->ws && !f->closed && !f->over && !f->gone);
    MUST(len <= f->limits.message_bytes && !(text && f->app.binary_only));
    MUST(!text || utf8_valid(data, len));
    if (f->busy) {
        f->refused = true;
        return ALK_EAGAIN;
    }
    buf_printf(&f->log, "%s %zu ", text ? "text" : "binary", len);
    MUST(!buf_append(&f->log, data, len));
    if (f->holds)
        ws_hold(w, true);
    if (len > 2 && !memcmp(data, "bye", 3)) {
        f->closed = true;
        ws_close(w, WS_NORMAL, "bye");
        MUST(!memcmp(data, "bye", 3));
    }
    return 0;
}

static void force(struct meter *m, size_t n)
{
    struct fuzz *f = container_of(m, struct fuzz, meter);

    MUST(!f->gone && n >= METER_MIN / 2);
    f->charged += n;
}

static bool charge(struct meter *m, size_t n, bool begun)
{
    struct fuzz *f = container_of(m, struct fuzz, meter);

    (void)begun;
    if (f->refuses)
        f->refused = true;
    else
        force(m, n);
    return !f->refuses;
}

static void give(struct meter *m, size_t n)
{
    struct fuzz *f = container_of(m, struct fuzz, meter);

    MUST(n <= f->charged);
    f->charged -= n;
}

static const struct meter_ops meter_ops = {.take = charge, .force = force, .give = give};

static void on_writable(struct ws *w, void *ud)
{
    struct fuzz *f = ud;

    MUST(w == f->ws && !f->closed && !f->over && !f->gone);
    MUST(ws_queued(w) <= f->limits.write_high / 2);
    buf_puts(&f->log, "writable\n");
}

static void on_drain(struct ws *w, void *ud)
{
    struct fuzz *f = ud;

    MUST(w == f->ws && !f->closed && !f->over && !f->gone);
    buf_puts(&f->log, "drain\n");
}

static void on_close(struct ws *w, int code, struct str reason, void *ud)
{
    struct fuzz *f = ud;

    MUST(w == f->ws && !f->closed && !f->over && !f->gone);
    MUST(utf8_valid(reason.p, reason.n) && reason.n <= WS_REASON_MAX);
    f->over = true;
    buf_printf(&f->log, "close %d\n", code);
}

static void on_fini(void *ud)
{
    struct fuzz *f = ud;

    MUST(!f->gone && (f->closed || f->over) && !f->charged);
    f->gone = true;
}

static void on_wake(struct engine *e, void *ud)
{
    struct fuzz *f = ud;

    MUST(f->e == e && !f->gone);
    f->woken = true;
}

/* ---- the transport ----------------------------------------------------------------------------- */

static size_t out_charge(const struct fuzz *f)
{
    return f->e->out.cap < METER_MIN ? 0 : f->e->out.cap;
}

/* closing, out: as they were before a call. */
static void check(struct fuzz *f, int closing, size_t out)
{
    const struct engine *e = f->e;

    MUST(e->closing >= closing && (!closing || e->out.len <= out));
    MUST(!e->closing || f->woken || (e->reading && f->charged == out_charge(f)));
    MUST(e->closing || f->failed || !(f->over || f->closed) || !f->limits.close || f->woken ||
         e->deadline);
    MUST(f->bytes <= 4096 + 4 * (f->fed + f->sent));
    /* Pongs, each as long as its ping and a mask, and a close frame. */
    MUST(f->got.len + e->out.len <= 3 * f->fed + f->sent + 140);
}

static void turn(struct fuzz *f)
{
    while (f->woken) {
        int closing = f->e->closing;
        size_t out = f->e->out.len;

        f->woken = false;
        f->e->ops->drained(f->e, f->now);
        check(f, closing, out);
    }
}

static void take(struct fuzz *f, size_t n)
{
    n = n < f->e->out.len ? n : f->e->out.len;
    if (!n || f->e->closing == ENGINE_RESET)
        return;
    MUST(!buf_append(&f->got, buf_at(&f->e->out), n));
    buf_consume(&f->e->out, n);
    f->e->inflight = n & 1 ? n : 0;
    f->e->ops->drained(f->e, f->now);
    turn(f);
    f->e->inflight = 0;
    f->e->ops->drained(f->e, f->now);
    turn(f);
}

static void feed(struct fuzz *f, const void *p, size_t n)
{
    size_t step = f->bytewise || !n ? 1 : n;

    for (size_t at = 0; at < n; at += step) {
        char *copy = malloc(step); /* exact, so that a byte read behind it is seen */
        int closing = f->e->closing;
        size_t out = f->e->out.len;

        MUST(copy);
        memcpy(copy, (const char *)p + at, step);
        f->fed += step;
        f->e->ops->feed(f->e, copy, step, f->now);
        free(copy);
        check(f, closing, out);
        turn(f);
    }
}

/* ---- commands ---------------------------------------------------------------------------------- */

static uint8_t next(struct fuzz *f)
{
    return f->n ? (f->n--, *f->p++) : 0;
}

static const uint8_t *rest(struct fuzz *f, size_t *n)
{
    const uint8_t *p = f->p;

    *n = *n < f->n ? *n : f->n;
    f->p += *n;
    f->n -= *n;
    return p;
}

static void say(struct fuzz *f, uint8_t first, const uint8_t *p, size_t n)
{
    uint8_t head[14] = {first}, key[4] = {0x37, 0, 0xff, first};
    size_t at = 2, bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;
    uint8_t *data = malloc(n ? n : 1);

    MUST(data);
    head[1] = (uint8_t)((f->client ? 0 : 0x80) | (bytes == 0 ? n : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < bytes; i++)
        head[at++] = (uint8_t)((uint64_t)n >> 8 * (bytes - 1 - i));
    for (size_t i = 0; i < 4 && !f->client; i++)
        head[at++] = key[i];
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)((p ? p[i] : 'a') ^ (f->client ? 0 : key[i & 3]));
    feed(f, head, at);
    feed(f, data, n);
    free(data);
}

static void pass_time(struct fuzz *f, uint8_t c)
{
    if (c < 64 && f->e->deadline > f->now)
        f->now = f->e->deadline;
    else if (c >= 64)
        f->now += c;
    f->sent += 6;
    f->e->ops->timeout(f->e, f->now);
    turn(f);
    MUST(f->e->closing || !f->e->deadline || f->e->deadline > f->now);
}

static void send_some(struct fuzz *f, uint8_t c)
{
    char data[128];

    memset(data, 's', sizeof data);
    if (!ws_send(f->ws, c & 1, data, c / 2) && !f->closed && !f->over)
        f->sent += c / 2 + 14u;
    turn(f);
}

static void end_somehow(struct fuzz *f, uint8_t c)
{
    int closing = f->e->closing;
    size_t out = f->e->out.len;

    if (c % 4 == 0) {
        f->e->ops->eof(f->e, f->now);
    } else if (c % 4 == 1) {
        f->e->ops->stalled(f->e, f->now);
        MUST(f->e->closing == ENGINE_RESET || (f->over && !closing));
    } else if (c % 4 == 2) {
        f->e->ops->drain(f->e, f->now);
    } else if (!f->over && !f->closed) {
        f->closed = true;
        ws_close(f->ws, 1000 + c / 16, c & 16 ? "a reason" : "");
    }
    check(f, closing, out);
    turn(f);
}

static void command(struct fuzz *f)
{
    uint8_t c = next(f), arg = next(f);
    size_t n = 0;
    const uint8_t *p;

    switch (c % 10) {
    case 0:
        n = arg;
        p = rest(f, &n);
        feed(f, p, n);
        break;
    case 1:
    case 2:
        n = next(f) & 0x7f;
        p = rest(f, &n);
        say(f, arg, p, n);
        break;
    case 3:
        say(f, arg, NULL, (size_t)next(f) * 100);
        break;
    case 4:
        pass_time(f, arg);
        break;
    case 5:
        take(f, arg & 128 ? SIZE_MAX : arg);
        break;
    case 6:
        send_some(f, arg);
        break;
    case 7:
        end_somehow(f, arg);
        break;
    case 8:
        ws_hold(f->ws, arg & 1);
        turn(f);
        break;
    default:
        f->fail_in = arg & 3 ? 0 : 1 + arg / 16;
        f->refuses = arg & 4;
        f->busy = arg & 16;
        if (arg & 32) {
            f->now += RETRY;
            pass_time(f, 64);
        }
        if (arg & 8)
            ws_touch(f->ws, f->now);
    }
}

/* ---- what the remote sees ---------------------------------------------------------------------- */

/* Unmasks the frame at p and returns its size; 0: it is not whole. */
static size_t unmask(const struct fuzz *f, uint8_t *p, size_t n, int *code)
{
    size_t at = 2, bytes, len;
    int opcode = p[0] & 15;

    *code = 0;
    if (n < 2)
        return 0;
    len = p[1] & 127;
    MUST(p[0] >> 4 == 8 && (p[1] >> 7 == f->client));
    MUST(opcode == TEXT || opcode == BINARY || (opcode >= CLOSE && opcode <= PONG && len < 126));
    bytes = len < 126 ? 0 : 2;
    MUST(len < 127);
    if (n < at + bytes + (f->client ? 4 : 0))
        return 0;
    if (bytes) {
        len = (size_t)p[2] << 8 | p[3];
        MUST(len > 125);
    }
    at += bytes;
    if (n < at + (f->client ? 4 : 0) + len)
        return 0;
    for (size_t i = 0; i < len && f->client; i++)
        p[at + 4 + i] ^= p[at + (i & 3)];
    memset(p + at, 0, f->client ? 4 : 0);
    at += f->client ? 4 : 0;
    if (opcode == CLOSE) {
        MUST(len != 1 && (len < 2 || utf8_valid((char *)p + at + 2, len - 2)));
        *code = len ? p[at] << 8 | p[at + 1] : WS_NO_STATUS;
    }
    return at + len;
}

/* whole: nothing of the output was lost. Leaves the whole frames of it unmasked, so that runs can be compared. */
static void check_output(struct fuzz *f, bool whole)
{
    size_t at = 0, n;
    int code = 0;

    for (; at < f->got.len; at += n) {
        MUST(!code);
        n = unmask(f, (uint8_t *)f->got.data + f->got.head + at, f->got.len - at, &code);
        if (!n)
            break;
    }
    MUST(!whole || at == f->got.len);
    buf_truncate(&f->got, at);
}

/* ---- one run ----------------------------------------------------------------------------------- */

static void begin(struct fuzz *f, uint8_t config)
{
    memset(f, 0, sizeof *f);
    mem_init(&f->mem, counting_realloc, f);
    mem_init(&f->pool_mem, NULL, NULL);
    mem_init(&f->own, NULL, NULL);
    buf_init(&f->got, &f->own);
    buf_init(&f->log, &f->own);
    ws_pool_init(&f->pool, &f->pool_mem);
    f->client = config & 1;
    f->bytewise = config & 2;
    f->holds = config & 4;
    f->app = (struct ws_app){config & 8, on_message, on_writable, on_drain, on_close, on_fini};
    f->limits = (struct ws_limits){.message_bytes = config & 16 ? 200 : 40000,
                                   .fragments = config & 16 ? 3 : 100,
                                   .controls = config & 32 ? 3 : 1000,
                                   .write_high = config & 32 ? 100 : 10000,
                                   .ping = config & 64 ? 50 : 0,
                                   .idle = config & 64 ? 120 : 0,
                                   .close = 40,
                                   .evict = 30,
                                   .starve = 5000 * RETRY};
    f->now = 1000;
    f->ws = ws_new(&f->mem, &f->pool, f->client, &f->app, f, &f->limits, f->now);
    MUST(f->ws);
    f->e = ws_engine(f->ws);
    f->meter.ops = &meter_ops;
    ws_charge(f->ws, &f->meter);
    f->e->wake = on_wake;
    f->e->wake_ud = f;
}

static void run(struct fuzz *f, const uint8_t *p, size_t n)
{
    f->p = p;
    f->n = n;
    while (f->n && f->fed < FED_MAX)
        command(f);
    f->fail_in = 0;
    f->refuses = f->busy = false;
    ws_hold(f->ws, false);
    turn(f);
    /* What still lives is closed, and the remote does not answer. */
    if (!f->over && !f->closed && !f->e->closing) {
        f->closed = true;
        ws_close(f->ws, WS_GOING_AWAY, "");
        turn(f);
    }
    take(f, SIZE_MAX);
    if (!f->e->closing) {
        MUST(f->e->deadline && f->e->deadline <= f->now + f->limits.close);
        f->now = f->e->deadline;
        f->e->ops->timeout(f->e, f->now);
        MUST(f->e->closing == ENGINE_RESET);
    }
    check_output(f, !f->failed && f->e->out.len == 0);
}

static void finish(struct fuzz *f)
{
    f->e->ops->fini(f->e);
    MUST(f->gone && f->mem.live == 0 && f->bytes == 0);
    ws_pool_fini(&f->pool);
    MUST(f->pool_mem.live == 0);
    buf_fini(&f->got);
    buf_fini(&f->log);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (!a->len || !memcmp(buf_at(a), buf_at(b), a->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz f, other;

    if (!size || size > 65536)
        return 0;
    begin(&f, data[0]);
    run(&f, data + 1, size - 1);
    begin(&other, data[0] ^ 2);
    run(&other, data + 1, size - 1);
    if (!f.failed && !other.failed && !f.refused && !other.refused) {
        MUST(f.e->closing == other.e->closing && f.now == other.now);
        MUST(same(&f.log, &other.log) && same(&f.got, &other.got));
    }
    finish(&f);
    finish(&other);
    return 0;
}
