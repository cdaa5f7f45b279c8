/* What the engines of one thread share: wslay's contexts. One sends for all, whole frames at a
 * time; one receives for whoever is in the middle of a frame, and lies ready between frames. */
#include "wire/ws_int.h"

#include "host/crypto.h"

#include <assert.h>
#include <string.h>

/* ---- what is shared ---- */

/* Copies and unmasks, eight bytes at a time where wslay would take one; it gets the frame without
 * the key. */
static void unmask(struct ws_codec *c, uint8_t *to, const char *from, size_t n)
{
    uint64_t word, mask = c->mask;
    uint8_t key[8], turned[8];
    size_t i = 0;

    for (; n - i >= 8; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= mask;
        memcpy(to + i, &word, 8);
    }
    memcpy(key, &mask, 8);
    for (size_t j = 0; i + j < n; j++)
        to[i + j] = (uint8_t)from[i + j] ^ key[j];
    for (size_t j = 0; j < 8; j++)
        turned[j] = key[(n - i + j) & 3];
    memcpy(&c->mask, turned, 8);
}

/* wslay may ask for more than the frame has: it gets the rest of the head and of the payload that
 * has come, and nothing of the next frame. -1 is "would block". */
static ssize_t on_recv(uint8_t *to, size_t room, int flags, void *ud)
{
    struct ws_codec *c = ud;
    size_t done = 0;

    (void)flags;
    for (int i = 0; i < 2; i++) {
        size_t n = c->left[i] < room - done ? c->left[i] : room - done;

        if (n) {
            if (i == 1 && c->mask)
                unmask(c, to + done, c->in[i], n);
            else
                memcpy(to + done, c->in[i], n);
            c->in[i] += n;
            c->left[i] -= n;
            done += n;
        }
    }
    return done ? (ssize_t)done : -1;
}

/* There is room: ws_send_frame has seen to it. */
static ssize_t on_send(const uint8_t *data, size_t n, int flags, void *ud)
{
    struct ws_pool *p = ud;

    (void)flags;
    memcpy(p->to->data + p->to->head + p->to->len, data, n);
    buf_commit(p->to, n);
    return (ssize_t)n;
}

/* RFC 6455, section 5.3: a key that cannot be foreseen, new for each frame. Otherwise a page could
 * choose the bytes on the wire and make a proxy take them for a request (section 10.3). */
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

/* One is kept ready: with few frames under way at a time, hardly any is ever made anew. */
struct ws_codec *ws_codec_take(struct ws_pool *p)
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

/* One that has read half a frame is in no state for another, and freed. */
void ws_codec_give(struct ws *w, bool usable)
{
    if (usable && !w->pool->spare)
        w->pool->spare = w->codec;
    else
        codec_free(w->pool, w->codec);
    w->codec = NULL;
}

/* ---- frames out ---- */

int ws_send_frame(struct ws *w, uint8_t opcode, const char *data, size_t n)
{
    struct wslay_frame_iocb f = {.fin = 1,
                                 .opcode = opcode,
                                 .payload_length = n,
                                 .mask = w->client,
                                 .data = (const uint8_t *)data,
                                 .data_length = n};
    struct ws_pool *p = w->pool;
    ssize_t sent;

    /* 64 keys for one call of the kernel. */
    if (w->client && p->random_left < 4) {
        if (crypto_random(p->random, sizeof p->random))
            return -1;
        p->random_left = sizeof p->random;
    }
    /* Before wslay begins: it would not know what to do with half a frame. */
    if (n > SIZE_MAX - WS_HEAD_MAX || !buf_reserve(&w->e.out, n + WS_HEAD_MAX))
        return -1;
    p->to = &w->e.out;
    sent = wslay_frame_send(p->sender, &f);
    assert(sent == (ssize_t)n);
    (void)sent;
    w->above |= ws_unsent(w) > w->limits->write_high;
    ws_wake(w);
    return 0;
}
