/* Implements ws.h.
 *
 * The length that a frame announces is looked at before wslay gets the frame, so that a frame too large is refused at
 * its head; everything else about frames is wslay's affair, or is judged on what it reports. A frame goes into wslay
 * whole or in the pieces in which it comes, never with bytes of the next one, so at each border of frames the
 * context is empty and belongs to whoever comes next.
 *
 *   OPEN -> CLOSING  we have sent a close frame and wait for the remote's
 *   OPEN, CLOSING -> OVER  nothing more is read; what is queued goes out, and the stream ends */
#include "wire/ws.h"

#include "base/list.h"
#include "base/utf8.h"
#include "wire/crypto.h"

#include <assert.h>
#include <string.h>
#include <wslay/wslay.h>

#define HEAD_MAX 14u
#define CONTROL_MAX 125u
#define SECOND UINT64_C(1000000000)
#define ALIVE_BYTES 1024u /* of a long frame: as good as a frame */
#define KEPT_MAX 65536u

enum { OPEN, CLOSING, OVER };

struct ws_codec {
    wslay_frame_context_ptr ctx;
    const char *in[2]; /* what wslay may read now: the rest of the head, then of the payload */
    size_t left[2];
    uint8_t control[CONTROL_MAX];
    uint8_t control_len;
};

struct ws {
    struct engine e;
    const struct ws_app *app;
    void *ud;
    struct ws_pool *pool;
    const struct ws_limits *limits;
    struct ws_codec *codec; /* while a frame is under way */
    struct buf message;     /* what has come of one that came in pieces */
    struct buf kept;        /* input behind a hold */
    size_t charged;
    uint64_t now, seen, ping_at, second;
    uint64_t frame_left; /* payload bytes of the frame that is under way */
    uint32_t quiet;      /* and those that came since it was last taken as a sign of life */
    uint32_t fragments, controls;
    uint8_t head[HEAD_MAX], head_len;
    uint8_t type; /* opcode of the message that is under way; 0: none */
    uint8_t state;
    bool by_remote; /* it was the first to close */
    bool client, running, woken, above, held, begun;
    bool rested; /* the remote has not been read for a while: its silence does not count */
};

/* ---- what is shared ---------------------------------------------------------------------------- */

static ssize_t on_recv(uint8_t *to, size_t room, int flags, void *ud)
{
    struct ws_codec *c = ud;
    size_t done = 0;

    (void)flags;
    for (int i = 0; i < 2; i++) {
        size_t n = c->left[i] < room - done ? c->left[i] : room - done;

        if (n) {
            memcpy(to + done, c->in[i], n);
            c->in[i] += n;
            c->left[i] -= n;
            done += n;
        }
    }
    return done ? (ssize_t)done : -1;
}

/* There is room: send_frame has seen to it. */
static ssize_t on_send(const uint8_t *data, size_t n, int flags, void *ud)
{
    struct ws_pool *p = ud;

    (void)flags;
    memcpy(p->to->data + p->to->head + p->to->len, data, n);
    buf_commit(p->to, n);
    return (ssize_t)n;
}

static int on_mask(uint8_t *key, size_t n, void *ud)
{
    struct ws_pool *p = ud;

    p->random_left -= n;
    memcpy(key, p->random + p->random_left, n);
    return 0;
}

static const struct wslay_frame_callbacks receiving = {NULL, on_recv, NULL};
static const struct wslay_frame_callbacks sending = {on_send, NULL, on_mask};

int ws_pool_init(struct ws_pool *p, struct mem *mem)
{
    wslay_frame_context_ptr ctx;

    memset(p, 0, sizeof *p);
    p->mem = mem;
    if (wslay_frame_context_init(&ctx, &sending, p))
        return -1;
    p->sender = ctx;
    return 0;
}

static void codec_free(struct ws_pool *p, struct ws_codec *c)
{
    if (!c)
        return;
    wslay_frame_context_free(c->ctx);
    mem_free(p->mem, c);
}

void ws_pool_fini(struct ws_pool *p)
{
    codec_free(p, p->spare);
    if (p->sender)
        wslay_frame_context_free(p->sender);
}

static struct ws_codec *codec_take(struct ws_pool *p)
{
    struct ws_codec *c = p->spare;

    p->spare = NULL;
    if (!c && (c = mem_zalloc(p->mem, sizeof *c)) &&
        wslay_frame_context_init(&c->ctx, &receiving, c)) {
        mem_free(p->mem, c);
        c = NULL;
    }
    if (c)
        c->control_len = 0;
    return c;
}

/* usable: it is at a border of frames. */
static void codec_give(struct ws *w, bool usable)
{
    if (usable && !w->pool->spare)
        w->pool->spare = w->codec;
    else
        codec_free(w->pool, w->codec);
    w->codec = NULL;
}

/* ---- sending ----------------------------------------------------------------------------------- */

static size_t unsent(const struct ws *w)
{
    return w->e.out.len + w->e.inflight;
}

static void wake(struct ws *w)
{
    if (w->running || w->woken)
        return;
    w->woken = true;
    w->e.wake(&w->e, w->e.wake_ud);
}

static int send_frame(struct ws *w, uint8_t opcode, const char *data, size_t n)
{
    struct wslay_frame_iocb f = {.fin = 1,
                                 .opcode = opcode,
                                 .payload_length = n,
                                 .mask = w->client,
                                 .data = (const uint8_t *)data,
                                 .data_length = n};
    struct ws_pool *p = w->pool;
    ssize_t sent;

    if (w->client && p->random_left < 4) {
        if (crypto_random(p->random, sizeof p->random))
            return -1;
        p->random_left = sizeof p->random;
    }
    if (n > SIZE_MAX - HEAD_MAX || !buf_reserve(&w->e.out, n + HEAD_MAX))
        return -1;
    p->to = &w->e.out;
    sent = wslay_frame_send(p->sender, &f);
    assert(sent == (ssize_t)n);
    (void)sent;
    w->above |= unsent(w) > w->limits->write_high;
    wake(w);
    return 0;
}

int ws_send(struct ws *w, bool text, const char *data, size_t len)
{
    if (w->state != OPEN)
        return 0;
    return send_frame(w, text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, data, len);
}

size_t ws_queued(const struct ws *w)
{
    return unsent(w);
}

/* ---- the end ----------------------------------------------------------------------------------- */

/* Its frames are still counted and checked. */
static void drop_memory(struct ws *w)
{
    buf_fini(&w->message);
    if (w->charged)
        w->app->charge(w->charged, 0, w->ud);
    w->charged = 0;
}

static void drop_message(struct ws *w)
{
    drop_memory(w);
    w->type = 0;
    w->fragments = 0;
}

/* Out of memory, the stream just ends. */
static void send_close(struct ws *w, int code, const char *reason, size_t n)
{
    char payload[CONTROL_MAX];

    assert(n <= sizeof payload - 2);
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    memcpy(payload + 2, reason, n);
    if (send_frame(w, WSLAY_CONNECTION_CLOSE, payload, code == WS_NO_STATUS ? 0 : n + 2))
        w->e.closing = ENGINE_RESET;
}

static void over(struct ws *w)
{
    w->state = OVER;
    w->held = false;
    drop_message(w);
    buf_fini(&w->kept);
    if (!w->e.closing)
        w->e.closing = ENGINE_FLUSH_AND_CLOSE;
}

static void start_close(struct ws *w, int code, const char *reason)
{
    w->state = CLOSING;
    w->held = false;
    drop_memory(w); /* the remote may send the rest of the message before it answers */
    send_close(w, code, reason, strlen(reason));
    w->e.deadline = 0;
}

void ws_close(struct ws *w, int code, const char *reason)
{
    if (w->state != OPEN)
        return;
    start_close(w, code, reason);
    wake(w);
}

/* We end it, and the remote may still answer. */
static void end(struct ws *w, int code, const char *reason)
{
    start_close(w, code, reason);
    w->app->on_close(w, code, w->ud);
}

/* The remote broke the rules: nothing that it sends can be made sense of any more. */
static void fail(struct ws *w, int code, const char *reason)
{
    bool open = w->state == OPEN;

    if (open)
        send_close(w, code, reason, strlen(reason));
    over(w);
    if (open)
        w->app->on_close(w, code, w->ud);
}

/* ---- frames in --------------------------------------------------------------------------------- */

static bool code_valid(int code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static void on_close_frame(struct ws *w, const uint8_t *p, size_t n)
{
    int code = n >= 2 ? p[0] << 8 | p[1] : WS_NO_STATUS;
    bool open = w->state == OPEN;

    if (n == 1 || (n >= 2 && !code_valid(code))) {
        fail(w, WS_PROTOCOL, "close code");
        return;
    }
    if (n > 2 && !utf8_valid((const char *)p + 2, n - 2)) {
        fail(w, WS_BAD_TEXT, "close reason: not UTF-8");
        return;
    }
    if (open)
        send_close(w, code, "", 0);
    w->by_remote = open;
    over(w);
    if (open)
        w->app->on_close(w, code, w->ud);
}

static void on_control(struct ws *w, uint8_t opcode, const uint8_t *p, size_t n)
{
    if (w->now - w->second >= SECOND) {
        w->second = w->now;
        w->controls = 0;
    }
    if (opcode == WSLAY_CONNECTION_CLOSE)
        on_close_frame(w, p, n);
    else if (++w->controls > w->limits->controls)
        fail(w, WS_POLICY, "too many control frames");
    else if (opcode == WSLAY_PING && w->state == OPEN &&
             send_frame(w, WSLAY_PONG, (const char *)p, n))
        fail(w, WS_INTERNAL, "");
}

/* data may lie in w->message, and must outlive a ws_close in on_message. */
static void deliver(struct ws *w, const char *data, size_t n)
{
    struct buf message = w->message;
    size_t charged = w->charged;
    bool text = w->type == WSLAY_TEXT_FRAME;

    if (text && !utf8_valid(data, n)) {
        fail(w, WS_BAD_TEXT, "not UTF-8");
        return;
    }
    buf_init(&w->message, message.mem);
    w->charged = 0;
    w->type = 0;
    w->fragments = 0;
    w->app->on_message(w, text, data, n, w->ud);
    buf_fini(&message);
    if (charged)
        w->app->charge(charged, 0, w->ud);
}

/* Room for what has come, counted as it grows; what is only announced takes nothing. */
static bool keep(struct ws *w, const uint8_t *p, size_t n)
{
    size_t need = w->message.len + n, to = w->charged ? w->charged : WS_COUNTED;

    while (to < need)
        to *= 2;
    if (need >= WS_COUNTED && to != w->charged) {
        if (!w->app->charge(w->charged, to, w->ud)) {
            fail(w, WS_TRY_AGAIN, "too many messages are being received");
            return false;
        }
        w->charged = to;
    }
    if (buf_append(&w->message, p, n)) {
        fail(w, WS_TRY_AGAIN, "");
        return false;
    }
    return true;
}

/* The rules for a frame's head that wslay leaves to us. */
static const char *head_fault(const struct ws *w, const struct wslay_frame_iocb *f)
{
    if (f->rsv)
        return "reserved bits";
    if (f->mask == w->client)
        return w->client ? "masked frame from a server" : "unmasked frame from a client";
    switch (f->opcode) {
    case WSLAY_CONTINUATION_FRAME:
        return w->type ? NULL : "continuation of nothing";
    case WSLAY_TEXT_FRAME:
        if (w->app->binary_only)
            return "text message";
        /* fallthrough */
    case WSLAY_BINARY_FRAME:
        return w->type ? "message within a message" : NULL;
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return NULL;
    default:
        return "unknown opcode";
    }
}

static bool frame_begins(struct ws *w, const struct wslay_frame_iocb *f)
{
    const char *fault = head_fault(w, f);

    w->begun = true;
    if (fault) {
        fail(w, WS_PROTOCOL, fault);
        return false;
    }
    if (wslay_is_ctrl_frame(f->opcode))
        return true;
    if (f->opcode)
        w->type = f->opcode;
    if (++w->fragments > w->limits->fragments) {
        fail(w, WS_POLICY, "too many fragments");
        return false;
    }
    return true;
}

/* A piece of a frame's payload; last: the frame ends with it. */
static void take_piece(struct ws *w, const struct wslay_frame_iocb *f, bool last)
{
    struct ws_codec *c = w->codec;

    if (wslay_is_ctrl_frame(f->opcode)) {
        memcpy(c->control + c->control_len, f->data, f->data_length);
        c->control_len += (uint8_t)f->data_length;
        if (last)
            on_control(w, f->opcode, c->control, c->control_len);
        return;
    }
    if (w->state == CLOSING) {
        if (last && f->fin)
            drop_message(w);
        return;
    }
    if (last && f->fin && !w->message.len)
        deliver(w, (const char *)f->data, f->data_length);
    else if (keep(w, f->data, f->data_length) && last && f->fin)
        deliver(w, buf_at(&w->message), w->message.len);
}

static size_t head_size(const uint8_t *h)
{
    size_t length = h[1] & 0x7f;

    return 2 + (length == 126 ? 2u : length == 127 ? 8u : 0u) + (h[1] & 0x80 ? 4u : 0u);
}

static uint64_t announced(const uint8_t *h)
{
    unsigned n = h[1] & 0x7f, bytes = n == 126 ? 2 : n == 127 ? 8 : 0;
    uint64_t length = 0;

    for (unsigned i = 0; i < bytes; i++)
        length = length << 8 | h[2 + i];
    return bytes ? length : n;
}

/* Takes bytes of a frame's head; when it is whole, the frame is begun. */
static size_t take_head(struct ws *w, const char *p, size_t n)
{
    size_t used = 0, need = w->head_len < 2 ? 2 : head_size(w->head);
    uint64_t length;
    bool control;

    while (used < n && w->head_len < need) {
        w->head[w->head_len++] = (uint8_t)p[used++];
        if (w->head_len >= 2)
            need = head_size(w->head);
    }
    if (w->head_len < need)
        return used;
    length = announced(w->head);
    control = w->head[0] & 0x8;
    if (!control && length <= INT64_MAX && length + w->message.len > w->limits->message_bytes) {
        fail(w, WS_TOO_BIG, "message above the limit");
        return used;
    }
    w->codec = codec_take(w->pool);
    if (!w->codec) {
        fail(w, WS_TRY_AGAIN, "");
        return used;
    }
    w->codec->in[0] = (const char *)w->head;
    w->codec->left[0] = w->head_len;
    w->frame_left = length;
    w->begun = false;
    return used;
}

static void frame_ends(struct ws *w)
{
    w->head_len = 0;
    w->quiet = 0;
    w->seen = w->now;
    codec_give(w, true);
}

/* Takes bytes of the frame that is under way. */
static size_t take_frame(struct ws *w, const char *p, size_t n)
{
    struct ws_codec *c = w->codec;
    size_t most = w->frame_left < n ? (size_t)w->frame_left : n;
    bool last = false;

    c->in[1] = p;
    c->left[1] = most;
    while (!last && w->state != OVER) {
        struct wslay_frame_iocb f;
        ssize_t r = wslay_frame_recv(c->ctx, &f);

        if (r == WSLAY_ERR_WANT_READ)
            break;
        if (r < 0) {
            fail(w, WS_PROTOCOL, "malformed frame");
            break;
        }
        if (!w->begun && !frame_begins(w, &f))
            break;
        w->frame_left -= (uint64_t)r;
        last = w->frame_left == 0;
        w->quiet += (uint32_t)r;
        if (w->quiet >= ALIVE_BYTES) {
            w->quiet %= ALIVE_BYTES;
            w->seen = w->now;
        }
        take_piece(w, &f, last);
    }
    if (w->state == OVER)
        return n;
    most -= c->left[1];
    if (last)
        frame_ends(w); /* and c with it */
    return most;
}

static size_t take(struct ws *w, const char *p, size_t n)
{
    size_t used = 0;

    while (w->state != OVER && !w->held && !w->e.closing) {
        if (w->codec) {
            if (used == n && !w->codec->left[0])
                break;
            used += take_frame(w, p + used, n - used);
        } else {
            if (used == n)
                break;
            used += take_head(w, p + used, n - used);
        }
        if (w->codec && used == n && !w->codec->left[0])
            break;
    }
    return w->state == OVER ? n : used;
}

/* ---- the engine -------------------------------------------------------------------------------- */

static struct ws *of_engine(struct engine *e)
{
    return container_of(e, struct ws, e);
}

static void set_deadline(struct ws *w)
{
    const struct ws_limits *l = w->limits;
    uint64_t at = 0;

    if (w->state == OVER || w->e.closing) {
        w->e.deadline = 0;
        return;
    }
    if (w->state == CLOSING) {
        /* start_close has reset it. */
        if (!w->e.deadline && l->close)
            w->e.deadline = w->now + l->close;
        return;
    }
    if (l->idle)
        at = w->seen + l->idle;
    if (l->ping && (!at || w->ping_at < at))
        at = w->ping_at;
    w->e.deadline = at;
}

static void enter(struct ws *w, uint64_t now)
{
    w->now = now;
    w->running = true;
    w->woken = false;
    if (w->rested) {
        w->seen = now;
        w->rested = w->held;
    }
}

static void settle(struct ws *w)
{
    struct engine *e = &w->e;

    set_deadline(w);
    e->reading = e->closing || (!w->held && w->kept.len < KEPT_MAX);
    e->patience = e->closing || w->state == CLOSING ? w->limits->close
                  : w->above                        ? w->limits->evict
                                                    : 0;
    if (!e->out.len)
        buf_fini(&e->out);
    w->running = false;
}

static void take_kept(struct ws *w)
{
    size_t used;

    if (!w->kept.len || w->held)
        return;
    used = take(w, buf_at(&w->kept), w->kept.len);
    if (!w->kept.len) /* it is over */
        return;
    buf_consume(&w->kept, used);
    if (!w->kept.len)
        buf_fini(&w->kept);
}

static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct ws *w = of_engine(e);
    size_t used;

    if (e->closing)
        return;
    enter(w, now);
    take_kept(w);
    used = w->kept.len || w->held ? 0 : take(w, data, len);
    if (!e->closing && used < len && buf_append(&w->kept, data + used, len - used))
        fail(w, WS_TRY_AGAIN, "");
    settle(w);
}

static void drained(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    enter(w, now);
    if (w->above && unsent(w) <= w->limits->write_high / 2) {
        w->above = false;
        if (w->state == OPEN)
            w->app->on_writable(w, w->ud);
    }
    if (!e->closing)
        take_kept(w);
    settle(w);
}

static void lost(struct ws *w)
{
    bool open = w->state == OPEN;

    over(w);
    if (open)
        w->app->on_close(w, WS_LOST, w->ud);
}

static void eof(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    if (e->closing)
        return;
    enter(w, now);
    lost(w);
    settle(w);
}

static void timeout(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    if (e->closing || !e->deadline || now < e->deadline)
        return;
    enter(w, now);
    if (w->state == CLOSING) {
        over(w);
        e->closing = ENGINE_RESET;
    } else if (w->limits->idle && now >= w->seen + w->limits->idle) {
        end(w, WS_GOING_AWAY, "idle");
    } else if (w->limits->ping && now >= w->ping_at) {
        w->ping_at = now + w->limits->ping;
        if (send_frame(w, WSLAY_PING, "", 0))
            end(w, WS_TRY_AGAIN, "");
    }
    settle(w);
}

static void drain(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    enter(w, now);
    if (w->state == OPEN)
        w->app->on_drain(w, w->ud);
    settle(w);
}

/* What is still tried is a close frame, for which the stream has no room now. */
static void stalled(struct engine *e, uint64_t now)
{
    struct ws *w = of_engine(e);

    enter(w, now);
    if (w->state == OPEN) {
        end(w, WS_TRY_AGAIN, "the client does not read");
    } else {
        over(w);
        e->closing = ENGINE_RESET;
    }
    settle(w);
}

static void destroy(struct ws *w)
{
    if (w->codec)
        codec_give(w, false);
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
    w->pool = pool;
    w->client = client;
    w->app = app;
    w->ud = ud;
    w->limits = limits;
    w->now = w->seen = w->second = now;
    w->ping_at = now + limits->ping;
    settle(w);
    return w;
}

void ws_discard(struct ws *w)
{
    destroy(w);
}

bool ws_closed_by_remote(const struct ws *w)
{
    return w->by_remote;
}

struct engine *ws_engine(struct ws *w)
{
    return &w->e;
}

void ws_hold(struct ws *w, bool yes)
{
    if (w->held == yes || w->state != OPEN)
        return;
    w->held = yes;
    w->rested = true;
    w->e.reading = !yes;
    wake(w);
}

void ws_touch(struct ws *w, uint64_t now)
{
    w->seen = now;
}
