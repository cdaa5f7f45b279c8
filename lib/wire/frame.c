/* Envelopes with a length before them.
 *
 * The length is a promise of a stranger: it is checked as soon as its four bytes are here, and
 * memory is taken for what has come, doubling, and never beyond the length. A frame that arrives
 * whole, which is the ordinary case, is handed on where it lies and costs no copy. An error ends
 * the stream for good. After a wrong length nobody knows where the next frame begins. */
#include "wire/frame.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define FIRST_CAP 4096u /* most envelopes that come in pieces fit */

void frame_init(struct frame_decoder *f, struct mem *mem, uint32_t limit,
                int (*on_frame)(void *ud, const char *data, size_t len), void *ud)
{
    *f = (struct frame_decoder){.mem = mem, .limit = limit, .on_frame = on_frame, .ud = ud};
}

static void drop_body(struct frame_decoder *f)
{
    mem_free(f->mem, f->body);
    f->body = NULL;
    f->have = f->cap = 0;
}

void frame_fini(struct frame_decoder *f)
{
    drop_body(f);
}

void frame_set_limit(struct frame_decoder *f, uint32_t limit)
{
    f->limit = limit;
}

static void fail(struct frame_decoder *f, int error)
{
    drop_body(f);
    f->error = error;
}

/* Room for n more bytes of the body, n within the frame's length. */
static bool reserve(struct frame_decoder *f, uint32_t n)
{
    uint64_t want = (uint64_t)f->cap * 2; /* 64 bits: twice a length of 32 bits fits */
    char *p;

    if (f->cap - f->have >= n)
        return true;
    if (want < f->have + (uint64_t)n)
        want = f->have + (uint64_t)n;
    if (want < FIRST_CAP)
        want = FIRST_CAP;
    if (want > f->length)
        want = f->length;
    p = mem_realloc(f->mem, f->body, want);
    if (!p)
        return false;
    f->body = p;
    f->cap = (uint32_t)want;
    return true;
}

/* The next frame begins before the callback runs: it may change the limit, which counts from
 * there. */
static void deliver(struct frame_decoder *f, const char *data, size_t len)
{
    f->head_have = 0;
    if (f->on_frame(f->ud, data, len))
        fail(f, FRAME_STOPPED);
}

/* Takes bytes of the length, which is judged as soon as it is whole. */
static void take_head(struct frame_decoder *f, const char **p, size_t *left)
{
    while (f->head_have < FRAME_HEAD && *left) {
        f->length = f->length << 8 | (uint8_t)(*p)[0];
        f->head_have++;
        ++*p;
        --*left;
    }
    if (f->head_have < FRAME_HEAD)
        return;
    if (f->length == 0)
        fail(f, FRAME_EMPTY);
    else if (f->length > f->limit)
        fail(f, FRAME_TOO_LONG);
}

static void take_body(struct frame_decoder *f, const char **p, size_t *left)
{
    size_t missing = f->length - f->have, n = *left < missing ? *left : missing;
    const char *data = *p;

    *p += n;
    *left -= n;
    if (n == f->length) {
        deliver(f, data, n);
        return;
    }
    if (!reserve(f, (uint32_t)n)) {
        fail(f, FRAME_ENOMEM);
        return;
    }
    memcpy(f->body + f->have, data, n);
    f->have += (uint32_t)n;
    if (n < missing)
        return;
    deliver(f, f->body, f->length);
    drop_body(f);
}

int frame_feed(struct frame_decoder *f, const void *data, size_t len)
{
    const char *p = data;

    while (len && !f->error) {
        if (f->head_have < FRAME_HEAD)
            take_head(f, &p, &len);
        else
            take_body(f, &p, &len);
    }
    return f->error;
}

int frame_end(struct frame_decoder *f)
{
    if (!f->error && f->head_have)
        fail(f, FRAME_TRUNCATED);
    return f->error;
}

const char *frame_error(int rc)
{
    static const char *const texts[] = {
        "no error",
        "a frame of length 0",
        "a frame above the limit",
        "the stream ended within a frame",
        "out of memory for a frame",
        "stopped",
    };

    assert(rc <= 0 && (size_t)-rc < sizeof texts / sizeof texts[0]);
    return texts[-rc];
}

void frame_encode(uint8_t out[FRAME_HEAD], size_t len)
{
    assert(len > 0 && len <= UINT32_MAX);
    out[0] = (uint8_t)(len >> 24);
    out[1] = (uint8_t)(len >> 16);
    out[2] = (uint8_t)(len >> 8);
    out[3] = (uint8_t)len;
}
