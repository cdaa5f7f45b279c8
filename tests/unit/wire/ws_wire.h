/* A fake wire with an application behind it, for the tests of the WebSocket engine in either role.
 *
 * The test plays the remote: it says frames, whole or cut into pieces, and reads what the engine sent with
 * a strict decoder of its own. What the application saw is in the log, one line per event, and so is what
 * the engine sent: both are compared as text. The wire keeps to the transport's contract: it feeds only
 * while the engine reads, takes turns until nothing is woken, and takes the output unless the remote is
 * `stuck`. Each callback checks that it may come now; ws_wire_free checks that all memory and every charge
 * is back. */
#ifndef ALK_TEST_WS_WIRE_H
#define ALK_TEST_WS_WIRE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/utf8.h"
#include "support/must.h"
#include "wire/ws.h"

#include <alknet/alknet.h>

#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WS_MS UINT64_C(1000000)
#define WS_SHOWN 125u /* bytes of a payload that are shown in full */

enum { CONT = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

struct ws_wire {
    struct mem mem, pool_mem, own;
    struct ws_pool own_pool, *pool; /* pool may be another's */
    struct ws_limits limits;
    struct ws_app app;
    char reason[WS_REASON_MAX + 1]; /* of on_close */
    struct ws *ws;
    struct engine *e;
    uint64_t now;
    size_t cut;         /* bytes of one feed; 0: as they come */
    struct meter meter; /* who pays */
    size_t charged, charged_most, charge_limit;
    int refuse, refusals;                /* refuse: so many times a message is not taken */
    size_t bytes, peak;                  /* held by the engine, in blocks of the C library */
    bool client, stuck, woken;           /* client: the engine is one */
    bool closed, over, gone;             /* ws_close was called; on_close came; fini came */
    int code, messages, writable, wakes; /* code: of on_close */
    void (*then)(struct ws_wire *w, const char *data, size_t len); /* in on_message */
    struct buf log, got, text, last, pending;                      /* last: message */
    bool last_text;
    size_t shown; /* of got: in text */
    bool said_close;
    uint32_t key;
};

/* ---- the application --------------------------------------------------------------------------- */

static inline void *ws_wire_realloc(void *ud, void *p, size_t n)
{
    struct ws_wire *w = ud;

    if (p)
        w->bytes -= malloc_usable_size(p);
    if (!n) {
        free(p);
        return NULL;
    }
    p = realloc(p, n);
    must(p);
    w->bytes += malloc_usable_size(p);
    w->peak = w->bytes > w->peak ? w->bytes : w->peak;
    return p;
}

static inline int ws_app_message(struct ws *ws, bool text, const char *data, size_t len, void *ud)
{
    struct ws_wire *w = ud;

    must(w->ws == ws && !w->closed && !w->over && !w->gone);
    must(!text || (utf8_valid(data, len) && !w->app.binary_only));
    must(len <= w->limits.message_bytes);
    if (w->refuse) {
        w->refuse--;
        w->refusals++;
        return ALK_EAGAIN;
    }
    w->messages++;
    w->last_text = text;
    buf_truncate(&w->last, 0);
    must(!buf_append(&w->last, data, len));
    if (len > WS_SHOWN)
        buf_printf(&w->log, "%s of %zu\n", text ? "text" : "binary", len);
    else
        buf_printf(&w->log, "%s %.*s\n", text ? "text" : "binary", (int)len, data);
    if (w->then)
        w->then(w, data, len);
    must(w->last.len == len && (!len || !memcmp(buf_at(&w->last), data, len)));
    return 0;
}

static inline void ws_wire_force(struct meter *m, size_t n)
{
    struct ws_wire *w = container_of(m, struct ws_wire, meter);

    must(n);
    w->charged += n;
    w->charged_most = w->charged > w->charged_most ? w->charged : w->charged_most;
}

static inline bool ws_wire_charge(struct meter *m, size_t n, bool begun)
{
    struct ws_wire *w = container_of(m, struct ws_wire, meter);

    (void)begun;
    if (w->charged + n > w->charge_limit)
        return false;
    ws_wire_force(m, n);
    return true;
}

static inline void ws_wire_give(struct meter *m, size_t n)
{
    struct ws_wire *w = container_of(m, struct ws_wire, meter);

    must(n && n <= w->charged);
    w->charged -= n;
}

/* Without the output. */
static inline size_t ws_wire_charged(const struct ws_wire *w)
{
    return w->charged - (w->e->out.cap < METER_MIN ? 0 : w->e->out.cap);
}

static inline void ws_app_writable(struct ws *ws, void *ud)
{
    struct ws_wire *w = ud;

    must(w->ws == ws && !w->closed && !w->over && !w->gone);
    must(ws_queued(ws) <= w->limits.write_high / 2);
    w->writable++;
    buf_puts(&w->log, "writable\n");
}

static inline void ws_app_drain(struct ws *ws, void *ud)
{
    struct ws_wire *w = ud;

    must(w->ws == ws && !w->closed && !w->over && !w->gone);
    buf_puts(&w->log, "drain\n");
}

static inline void ws_app_close(struct ws *ws, int code, struct str reason, void *ud)
{
    struct ws_wire *w = ud;

    must(w->ws == ws && !w->closed && !w->over && !w->gone);
    w->over = true;
    w->code = code;
    must(reason.n <= WS_REASON_MAX);
    snprintf(w->reason, sizeof w->reason, "%.*s", (int)reason.n, reason.p);
    buf_printf(&w->log, "close %d\n", code);
    /* Nothing of this may have an effect. */
    must(!ws_send(ws, true, "late", 4));
    ws_close(ws, WS_NORMAL, "late");
    ws_hold(ws, true);
}

static inline void ws_app_fini(void *ud)
{
    struct ws_wire *w = ud;

    must(!w->gone && (w->closed || w->over));
    w->gone = true;
}

static inline void ws_wire_wake(struct engine *e, void *ud)
{
    struct ws_wire *w = ud;

    must(w->e == e && !w->gone);
    w->woken = true;
    w->wakes++;
}

/* ---- the wire ---------------------------------------------------------------------------------- */

/* Text is spoken, and nothing times out; the test may change app and limits before ws_wire_open. */
static inline struct ws_wire *ws_wire_new(bool client)
{
    struct ws_wire *w = calloc(1, sizeof *w);

    static const struct meter_ops ops = {
        .take = ws_wire_charge, .force = ws_wire_force, .give = ws_wire_give};

    must(w);
    w->meter.ops = &ops;
    mem_init(&w->mem, ws_wire_realloc, w);
    mem_init(&w->pool_mem, NULL, NULL);
    mem_init(&w->own, NULL, NULL);
    buf_init(&w->log, &w->own);
    buf_init(&w->got, &w->own);
    buf_init(&w->text, &w->own);
    buf_init(&w->last, &w->own);
    buf_init(&w->pending, &w->own);
    w->pool = &w->own_pool;
    ws_pool_init(w->pool, &w->pool_mem);
    w->app = (struct ws_app){.on_message = ws_app_message,
                             .on_writable = ws_app_writable,
                             .on_drain = ws_app_drain,
                             .on_close = ws_app_close,
                             .fini = ws_app_fini};
    w->limits = (struct ws_limits){
        .message_bytes = 1 << 20, .fragments = 100, .controls = 100, .write_high = 1 << 20};
    w->client = client;
    w->charge_limit = SIZE_MAX;
    w->now = 5000 * WS_MS;
    w->key = 0x12345678;
    return w;
}

static inline struct ws_wire *ws_wire_open(struct ws_wire *w)
{
    w->ws = ws_new(&w->mem, w->pool, w->client, &w->app, w, &w->limits, w->now);
    must(w->ws);
    w->e = ws_engine(w->ws);
    ws_charge(w->ws, &w->meter);
    w->e->wake = ws_wire_wake;
    w->e->wake_ud = w;
    return w;
}

/* What holds after each call. */
static inline void ws_wire_check(struct ws_wire *w)
{
    const struct engine *e = w->e;

    must(!e->closing || (e->reading && ws_wire_charged(w) == 0));
    must(!e->closing || w->closed || w->over);
}

static inline void ws_wire_turn(struct ws_wire *w)
{
    for (int i = 0; w->woken; i++) {
        must(i < 10);
        w->woken = false;
        w->e->ops->drained(w->e, w->now);
        ws_wire_check(w);
    }
}

static inline void ws_wire_take(struct ws_wire *w, size_t max)
{
    size_t n = w->e->out.len < max ? w->e->out.len : max;

    if (!n || w->e->closing == ENGINE_RESET)
        return;
    must(!buf_append(&w->got, buf_at(&w->e->out), n));
    buf_consume(&w->e->out, n);
    w->e->ops->drained(w->e, w->now);
    ws_wire_check(w);
    ws_wire_turn(w);
}

static inline void ws_wire_settle(struct ws_wire *w)
{
    ws_wire_turn(w);
    if (!w->stuck)
        ws_wire_take(w, SIZE_MAX);
}

static inline void ws_feed_piece(struct ws_wire *w, const char *p, size_t n)
{
    char *copy = malloc(n); /* exact, so that a pointer kept into it is noticed */

    must(copy);
    memcpy(copy, p, n);
    w->e->ops->feed(w->e, copy, n, w->now);
    memset(copy, '#', n);
    free(copy);
    ws_wire_check(w);
    ws_wire_settle(w);
}

/* What the remote has sent and the engine does not read is in `pending`. */
static inline void ws_wire_go_on(struct ws_wire *w)
{
    ws_wire_settle(w);
    while (w->pending.len && w->e->reading && w->e->closing != ENGINE_RESET) {
        size_t n = w->cut && w->cut < w->pending.len ? w->cut : w->pending.len;

        ws_feed_piece(w, buf_at(&w->pending), n);
        buf_consume(&w->pending, n);
    }
}

static inline void ws_feed(struct ws_wire *w, const void *p, size_t n)
{
    must(!buf_append(&w->pending, p, n));
    ws_wire_go_on(w);
}

/* Time passes, and the transport calls timeout when the deadline is there. */
static inline void ws_sleep(struct ws_wire *w, uint64_t ns)
{
    uint64_t until = w->now + ns;

    for (int i = 0; !w->e->closing && w->e->deadline && w->e->deadline <= until; i++) {
        must(i < 100000);
        w->now = w->e->deadline > w->now ? w->e->deadline : w->now;
        w->e->ops->timeout(w->e, w->now);
        ws_wire_check(w);
        must(!w->e->deadline || w->e->deadline > w->now);
        ws_wire_settle(w);
    }
    w->now = until;
}

static inline void ws_eof(struct ws_wire *w)
{
    w->e->ops->eof(w->e, w->now);
    ws_wire_check(w);
    ws_wire_settle(w);
}

/* The application's ws_close. */
static inline void ws_app_closes(struct ws_wire *w, int code, const char *reason)
{
    w->closed = true;
    ws_close(w->ws, code, reason);
}

static inline void ws_we_close(struct ws_wire *w, int code, const char *reason)
{
    ws_app_closes(w, code, reason);
    ws_wire_settle(w);
}

static inline void ws_wire_free(struct ws_wire *w)
{
    w->e->ops->fini(w->e);
    must(w->gone && w->charged == 0);
    must(w->mem.live == 0 && w->bytes == 0);
    ws_pool_fini(&w->own_pool);
    must(w->pool_mem.live == 0);
    buf_fini(&w->log);
    buf_fini(&w->got);
    buf_fini(&w->text);
    buf_fini(&w->last);
    buf_fini(&w->pending);
    must(w->own.live == 0);
    free(w);
}

/* Runs what follows for a server and for a client, each fed in one piece and in single bytes. */
static inline struct ws_wire *ws_wire_variant(int v)
{
    struct ws_wire *w = ws_wire_new(v & 1);

    w->cut = v & 2 ? 1 : 0;
    return ws_wire_open(w);
}

static inline struct ws_wire *ws_wire_done(struct ws_wire *w)
{
    ws_wire_free(w);
    return NULL;
}

#define EVERY_WIRE(w)                                                                              \
    for (int variant = 0; variant < 4; variant++)                                                  \
        for (struct ws_wire *w = ws_wire_variant(variant); w; w = ws_wire_done(w))

/* ---- the remote speaks ------------------------------------------------------------------------- */

/* A frame in the shortest form. */
static inline void put_frame(struct buf *b, int first, const uint8_t *key, const void *data,
                             size_t n)
{
    uint8_t head[14] = {(uint8_t)first};
    size_t at = 2, bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;
    char *to;

    head[1] = (uint8_t)((key ? 0x80 : 0) | (bytes == 0 ? n : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < bytes; i++)
        head[at++] = (uint8_t)((uint64_t)n >> 8 * (bytes - 1 - i));
    if (key)
        memcpy(head + at, key, 4);
    at += key ? 4 : 0;
    to = buf_reserve(b, at + n);
    must(to);
    memcpy(to, head, at);
    for (size_t i = 0; i < n; i++)
        to[at + i] = (char)(((const uint8_t *)data)[i] ^ (key ? key[i & 3] : 0));
    buf_commit(b, at + n);
}

/* As the remote of w has to write it; now and then the key is zero. */
static inline void put_remote(struct ws_wire *w, struct buf *b, int first, const void *data,
                              size_t n)
{
    uint8_t key[4];

    w->key = w->key * 1664525 + 1013904223;
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(w->key % 7 ? w->key >> 8 * i : 0);
    put_frame(b, first, w->client ? NULL : key, data, n);
}

static inline void say_bytes(struct ws_wire *w, int first, const void *data, size_t n)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_remote(w, &b, first, data, n);
    ws_feed(w, buf_at(&b), b.len);
    buf_fini(&b);
}

static inline void say_text(struct ws_wire *w, int first, const char *text)
{
    say_bytes(w, first, text, strlen(text));
}

/* One frame of a script: KIND [-] [!RSV] (:PAYLOAD | *LENGTH | =CODE[ REASON]). */
static inline void put_word(struct ws_wire *w, struct buf *b, const char *p, size_t n)
{
    static const char kinds[] = "ctb34567xpoBCDEF"; /* by opcode */
    const char *kind = strchr(kinds, p[0]);
    size_t at = 1, len;
    int first;
    char *data = NULL;

    must(n && kind);
    first = FIN | (int)(kind - kinds);
    if (at < n && p[at] == '-') {
        first &= ~FIN;
        at++;
    }
    if (at < n && p[at] == '!') {
        first |= (p[at + 1] - '0') << 4;
        at += 2;
    }
    if (at < n && p[at] == '*') {
        len = strtoul(p + at + 1, NULL, 10);
        data = malloc(len + 1);
        must(data);
        for (size_t i = 0; i < len; i++)
            data[i] = (char)('a' + i * 7 % 26);
        put_remote(w, b, first, data, len);
    } else if (at < n && p[at] == '=') {
        unsigned code = (unsigned)strtoul(p + at + 1, NULL, 10);
        const char *reason = memchr(p + at, ' ', n - at);

        len = reason ? (size_t)(p + n - reason - 1) : 0;
        data = malloc(len + 2);
        must(data);
        data[0] = (char)(code >> 8);
        data[1] = (char)code;
        memcpy(data + 2, reason ? reason + 1 : "", len);
        put_remote(w, b, first, data, len + 2);
    } else {
        must(at == n || p[at] == ':');
        put_remote(w, b, first, p + at + 1, at < n ? n - at - 1 : 0);
    }
    free(data);
}

static inline void put_script(struct ws_wire *w, struct buf *b, const char *script)
{
    for (const char *end = script; *script; script = *end ? end + 1 : end) {
        end = strchr(script, '|');
        end = end ? end : script + strlen(script);
        put_word(w, b, script, (size_t)(end - script));
    }
}

/* Says frames: "t-:hel|p:x|c:lo|x=1000 reason": kinds by opcode are ctb34567xpoBCDEF. */
static inline void say(struct ws_wire *w, const char *script)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_script(w, &b, script);
    ws_feed(w, buf_at(&b), b.len);
    buf_fini(&b);
}

/* ---- the remote listens ------------------------------------------------------------------------ */

struct ws_frame {
    int opcode;
    bool fin;
    size_t n;
    uint8_t *data;  /* unmasked */
    uint8_t key[4]; /* of a client */
};

/* Decodes a frame that an engine sent; returns its size, 0: it is not whole. Dies of what no engine may send. */
static inline size_t get_frame(uint8_t *p, size_t n, bool from_client, struct ws_frame *f)
{
    size_t at = 2, bytes;

    if (n < 2)
        return 0;
    f->opcode = p[0] & 15;
    f->fin = p[0] & FIN;
    f->n = p[1] & 127;
    must(!(p[0] & 0x70) && !(p[1] & 0x80) == !from_client);
    must(f->opcode <= BINARY || (f->opcode >= CLOSE && f->opcode <= PONG));
    must(f->opcode < CLOSE || (f->fin && f->n <= 125));
    bytes = f->n < 126 ? 0 : f->n == 126 ? 2 : 8;
    if (n < at + bytes + (from_client ? 4 : 0))
        return 0;
    f->n = bytes ? 0 : f->n;
    for (size_t i = 0; i < bytes; i++)
        f->n = f->n << 8 | p[at++];
    must(bytes == 0 || f->n > (bytes == 2 ? 125 : 65535));
    if (from_client) {
        memcpy(f->key, p + at, 4);
        at += 4;
    }
    if (n - at < f->n)
        return 0;
    f->data = p + at;
    for (size_t i = 0; from_client && i < f->n; i++)
        p[at + i] ^= f->key[i & 3];
    return at + f->n;
}

static inline void show_frame(struct ws_wire *w, const struct ws_frame *f)
{
    static const char *const names[] = {"cont", "text", "binary", "",     "",    "",
                                        "",     "",     "close",  "ping", "pong"};

    must(!w->said_close && f->fin);
    buf_puts(&w->text, names[f->opcode]);
    if (f->opcode == CLOSE) {
        must(f->n != 1);
        must(f->n < 2 || utf8_valid((const char *)f->data + 2, f->n - 2));
        if (f->n)
            buf_printf(&w->text, " %d", f->data[0] << 8 | f->data[1]);
        w->said_close = true;
    } else if (f->n > WS_SHOWN) {
        buf_printf(&w->text, " of %zu", f->n);
    } else if (f->n) {
        buf_printf(&w->text, " %.*s", (int)f->n, (const char *)f->data);
    }
    buf_puts(&w->text, "\n");
}

static inline const char *text_of(struct buf *b)
{
    must(!buf_append(b, "", 1));
    b->len--;
    return buf_at(b);
}

/* What the engine sent, a line for each frame; of a close frame its code. */
static inline const char *sent(struct ws_wire *w)
{
    while (w->shown < w->got.len) {
        struct ws_frame f;
        size_t n = get_frame((uint8_t *)w->got.data + w->got.head + w->shown, w->got.len - w->shown,
                             w->client, &f);

        must(n);
        show_frame(w, &f);
        w->shown += n;
    }
    return text_of(&w->text);
}

/* What the application saw. */
static inline const char *saw(struct ws_wire *w)
{
    return text_of(&w->log);
}

static inline void forget(struct ws_wire *w)
{
    sent(w);
    buf_truncate(&w->text, 0);
    buf_truncate(&w->log, 0);
}

#endif
