/* The client's opening handshake against any answer, in any cuts: it ends in exactly one outcome, reads no more than its limit,
 * and gives the stream on only for a right answer. The first byte chooses the cuts; in the input, a byte 0x01 stands for the right
 * Sec-WebSocket-Accept. The same bytes as a token in base64url: what decodes is the one form of what it says. */
#include "wire/ws_handshake.h"
#include "wire/ws_opening.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES 600u

struct outcome {
    int opened, refused, gone, fed, successor_gone;
};

static void next_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    (void)data;
    (void)len;
    (void)now;
    ((struct outcome *)e->wake_ud)->fed++;
}

static void next_fini(struct engine *e)
{
    ((struct outcome *)e->wake_ud)->successor_gone++;
    buf_fini(&e->out);
}

static const struct engine_ops next_ops = {.feed = next_feed, .fini = next_fini};
static struct engine next;
static struct mem mem;

static struct engine *opened(void *ud, uint64_t now)
{
    (void)now;
    ((struct outcome *)ud)->opened++;
    memset(&next, 0, sizeof next);
    next.ops = &next_ops;
    next.wake_ud = ud;
    buf_init(&next.out, &mem);
    return &next;
}

static void refused(void *ud, int status, const char *what, const char *body)
{
    (void)status;
    ((struct outcome *)ud)->refused++;
    if (strlen(what) > 100 || strlen(body) > ANSWER_BYTES)
        abort();
}

static void gone(void *ud)
{
    ((struct outcome *)ud)->gone++;
}

static void wake(struct engine *e, void *ud)
{
    (void)e;
    (void)ud;
}

static void check_token(const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *out = malloc(n + 1);
    size_t len = ws_token_decode(p, n, out), at = 0;

    for (size_t i = 0; i < len * 8; i += 6) {
        unsigned v = 0;

        for (size_t b = i; b < i + 6; b++)
            v = v << 1 |
                (b < len * 8 ? (unsigned)((unsigned char)out[b / 8] >> (7 - b % 8) & 1) : 0);
        if (at >= n || p[at++] != digits[v])
            abort();
    }
    if (len && at != n)
        abort();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ws_opening_app app = {opened, refused, gone};
    struct ws_request rq = {"host", "/alknet/call", "token", "alknet.call.v1", ANSWER_BYTES};
    struct outcome o = {0};
    char key[WS_KEY_SIZE + 1], accept[WS_ACCEPT_SIZE + 1];
    struct engine *e;
    size_t cut = size ? data[0] : 1, n = 0;
    char *answer = malloc(size * WS_ACCEPT_SIZE + 1);
    bool has_accept = false;

    mem_init(&mem, NULL, NULL);
    check_token((const char *)data, size);
    e = ws_opening_new(&mem, &rq, &app, &o);
    e->wake = wake;
    e->wake_ud = &o;
    if (buf_append(&e->out, "", 1))
        abort();
    memcpy(key, strstr(buf_at(&e->out), "Sec-WebSocket-Key: ") + 19, WS_KEY_SIZE);
    key[WS_KEY_SIZE] = 0;
    ws_accept(key, accept);
    buf_consume(&e->out, e->out.len);
    for (size_t i = 1; i < size; i++) {
        if (data[i] == 1) {
            memcpy(answer + n, accept, WS_ACCEPT_SIZE);
            n += WS_ACCEPT_SIZE;
            has_accept = true;
        } else {
            answer[n++] = (char)data[i];
        }
    }
    for (size_t at = 0; at < n && !e->closing && !e->successor;) {
        size_t piece = cut && cut < n - at ? cut : n - at;
        char *copy = malloc(piece); /* of just that size, so that reading on is seen */

        memcpy(copy, answer + at, piece);
        e->ops->feed(e, copy, piece, 1);
        free(copy);
        at += piece;
    }
    if (!e->closing && !e->successor && size % 2)
        e->ops->eof(e, 2);
    if (e->successor) {
        if (o.opened != 1 || o.refused || !has_accept)
            abort();
        e = engine_succeed(e);
        e->ops->fini(e);
        if (o.gone || o.successor_gone != 1)
            abort();
    } else {
        e->ops->fini(e);
        if (o.opened || o.refused != 1 || o.gone != 1)
            abort();
    }
    free(answer);
    if (mem.live)
        abort();
    return 0;
}
