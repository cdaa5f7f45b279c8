/* Fuzzes the reader of event streams: fed whole, byte by byte, and in cuts that the input chooses, by
 * consumers that stop or do not.
 *
 * The first two bytes choose the limit and the cuts. It must hold: all of them see the same events
 * and the same end; nothing of an event is above the limit; no memory is kept. */
#include "base/mem.h"
#include "wire/sse.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reader {
    struct mem mem, own;
    struct sse s;
    struct buf seen; /* of each event the lengths and the bytes */
    uint8_t stops;   /* a bit for every event, in turn */
    size_t events;
    int rc;
};

static int on_event(void *ud, struct str name, struct str data)
{
    struct reader *r = ud;

    MUST(name.n + data.n <= r->s.max);
    MUST(!buf_append(&r->seen, &name.n, sizeof name.n));
    MUST(!buf_append(&r->seen, name.p, name.n) && !buf_append(&r->seen, data.p, data.n));
    MUST(!buf_append(&r->seen, &data.n, sizeof data.n));
    MUST(!memchr(data.p, '\r', data.n) && !memchr(name.p, '\n', name.n));
    return r->stops >> r->events++ % 8 & 1;
}

static void begin(struct reader *r, size_t max, uint8_t stops)
{
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, NULL, NULL);
    mem_init(&r->own, NULL, NULL);
    buf_init(&r->seen, &r->own);
    sse_init(&r->s, &r->mem, max, on_event, r);
    r->stops = stops;
}

/* A copy of its own for each feed, so that a byte read behind one is seen. */
static void feed(struct reader *r, const uint8_t *p, size_t n)
{
    while (!r->rc && n) {
        char *copy = malloc(n);
        size_t taken, before = r->events;

        MUST(copy);
        memcpy(copy, p, n);
        r->rc = sse_feed(&r->s, copy, n, &taken);
        free(copy);
        MUST(r->s.name.len + r->s.data.len + r->s.line.len <= r->s.max);
        MUST(r->rc || taken == n);
        if (r->rc != SSE_STOPPED)
            return;
        MUST(taken && taken <= n && r->events > before);
        r->rc = SSE_OK;
        p += taken;
        n -= taken;
    }
}

static void finish(struct reader *r)
{
    sse_fini(&r->s);
    MUST(!r->mem.live);
    buf_fini(&r->seen);
    MUST(!r->own.live);
}

static void same(const struct reader *a, const struct reader *b)
{
    MUST(a->rc == b->rc && a->events == b->events && a->seen.len == b->seen.len);
    MUST(!a->seen.len || !memcmp(buf_at(&a->seen), buf_at(&b->seen), a->seen.len));
    MUST(a->rc || sse_at_boundary(&a->s) == sse_at_boundary(&b->s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader whole, bytes, cut;
    uint32_t state;
    size_t max;

    if (size < 2 || size > 20000)
        return 0;
    max = data[0] < 128 ? data[0] : 100000;
    state = data[1];
    data += 2;
    size -= 2;
    begin(&whole, max, 0);
    begin(&bytes, max, (uint8_t)state);
    begin(&cut, max, 0xff);
    feed(&whole, data, size);
    for (size_t i = 0; i < size; i++)
        feed(&bytes, data + i, 1);
    for (size_t at = 0, n; at < size; at += n) {
        state = state * 1664525 + 1013904223;
        n = 1 + (state >> 24) % 32;
        n = n < size - at ? n : size - at;
        feed(&cut, data + at, n);
    }
    same(&whole, &bytes);
    same(&whole, &cut);
    finish(&whole);
    finish(&bytes);
    finish(&cut);
    return 0;
}
