/* Frames. In: wslay's contexts, of which one receives for whoever is in the middle of a frame, and
 * lies ready between frames. Out: a frame is built in the engine's output, where its payload is
 * written once and stays; wslay would copy it there from elsewhere. Its head comes last, when the
 * length is known. */
#include "wire/ws_int.h"

#include "host/crypto.h"

#include <assert.h>
#include <string.h>

/* ---- frames in ---- */

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

static const struct wslay_frame_callbacks receiving = {NULL, on_recv, NULL};

void ws_pool_init(struct ws_pool *p, struct mem *mem)
{
    memset(p, 0, sizeof *p);
    p->mem = mem;
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

static size_t head_size(const struct ws *w, size_t n)
{
    return (n < 126 ? 2u : n < 65536 ? 4u : 10u) + (w->client ? 4u : 0u);
}

/* RFC 6455, section 5.2; always final, never with an extension. */
static void write_head(uint8_t *p, uint8_t opcode, bool masked, size_t n)
{
    int more = n < 126 ? 0 : n < 65536 ? 2 : 8;

    *p++ = (uint8_t)(0x80 | opcode);
    *p++ = (uint8_t)((masked ? 0x80 : 0) | (!more ? n : more == 2 ? 126 : 127));
    for (int i = more - 1; i >= 0; i--)
        *p++ = (uint8_t)((uint64_t)n >> (8 * i));
}

/* RFC 6455, section 5.3: a key that cannot be foreseen, new for each frame. Otherwise a page could
 * choose the bytes on the wire and make a proxy take them for a request (section 10.3). 64 keys for
 * one call of the kernel. */
static bool have_key(struct ws_pool *p)
{
    if (p->random_left < 4) {
        if (crypto_random(p->random, sizeof p->random))
            return false;
        p->random_left = sizeof p->random;
    }
    return true;
}

static void mask(struct ws_pool *p, uint8_t *payload, size_t n)
{
    uint8_t *key = payload - 4;

    p->random_left -= 4;
    memcpy(key, p->random + p->random_left, 4);
    for (size_t i = 0; i < n; i++)
        payload[i] ^= key[i & 3];
}

int ws_frame_begin(struct ws *w, size_t about)
{
    struct buf *out = &w->e.out;

    if (about > SIZE_MAX - WS_HEAD_MAX || (w->client && !have_key(w->pool)) ||
        !buf_reserve(out, about + WS_HEAD_MAX))
        return -1;
    w->frame_at = out->len;
    w->frame_head = (uint8_t)head_size(w, about);
    buf_commit(out, w->frame_head);
    return 0;
}

void ws_frame_undo(struct ws *w)
{
    buf_truncate(&w->e.out, w->frame_at);
}

int ws_frame_commit(struct ws *w, uint8_t opcode)
{
    struct buf *out = &w->e.out;
    size_t n = out->len - w->frame_at - w->frame_head, head = head_size(w, n);
    uint8_t *p;

    /* Another head than was expected: the payload makes room, or closes up. */
    if (head > w->frame_head && !buf_reserve(out, head - w->frame_head)) {
        ws_frame_undo(w);
        return -1;
    }
    p = (uint8_t *)out->data + out->head + w->frame_at;
    if (head != w->frame_head)
        memmove(p + head, p + w->frame_head, n);
    out->len = w->frame_at + head + n;
    write_head(p, opcode, w->client, n);
    if (w->client)
        mask(w->pool, p + head, n);
    w->above |= ws_unsent(w) > w->limits->write_high;
    ws_wake(w);
    return 0;
}

static int send_frame(struct ws *w, uint8_t opcode, const char *data, size_t n)
{
    if (ws_frame_begin(w, n))
        return -1;
    memcpy(w->e.out.data + w->e.out.head + w->e.out.len, data, n);
    buf_commit(&w->e.out, n);
    return ws_frame_commit(w, opcode);
}

/* A control frame is short, and goes out when there is no room for more of anything. */
int ws_send_frame(struct ws *w, uint8_t opcode, const char *data, size_t n)
{
    struct meter *m = w->e.out.meter;
    int rc;

    if (!wslay_is_ctrl_frame(opcode))
        return send_frame(w, opcode, data, n);
    buf_charge(&w->e.out, NULL);
    rc = send_frame(w, opcode, data, n);
    buf_charge(&w->e.out, m);
    return rc;
}
