/* Envelopes with a length before them.
 *
 * The length is a promise of a stranger: it is checked as soon as its four bytes are here, and
 * memory is taken for what has come, doubling, and never beyond the length. A frame that arrives
 * whole, which is the ordinary case, is handed on where it lies and costs no copy. One that is
 * held up stays where it was: its length is known, and its bytes are in the body, or come again.
 * An error ends the stream for good. After a wrong length nobody knows where the next frame
 * begins. */
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

static void wipe_body(struct frame_decoder *f)
{
    if (f->body)
        mem_wipe(f->body, f->have);
    mem_free(f->mem, f->body);
}

static void drop_body(struct frame_decoder *f)
{
    wipe_body(f);
    meter_resize(f->meter, f->cap, 0);
    f->body = NULL;
    f->have = f->cap = 0;
}

void frame_fini(struct frame_decoder *f)
{
    drop_body(f);
}

void frame_charge(struct frame_decoder *f, struct meter *m)
{
    meter_move(f->meter, m, f->cap);
    f->meter = m;
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

/* The body moves to a block of cap bytes; both are counted while there are two. */
static int replace(struct frame_decoder *f, uint32_t cap)
{
    size_t both = (size_t)f->cap + cap;
    char *p;

    if (!meter_grow(f->meter, f->cap, both, true))
        return FRAME_LATER;
    p = mem_alloc(f->mem, cap);
    if (!p) {
        meter_resize(f->meter, both, f->cap);
        return FRAME_ENOMEM;
    }
    if (f->have)
        memcpy(p, f->body, f->have);
    wipe_body(f);
    meter_resize(f->meter, both, cap);
    f->body = p;
    f->cap = cap;
    return FRAME_OK;
}

/* Keeps n bytes more of the body, within its length. */
static int keep(struct frame_decoder *f, const char *data, uint32_t n)
{
    uint64_t want = (uint64_t)f->cap * 2; /* 64 bits: twice a length of 32 bits fits */
    int rc = FRAME_OK;

    if (want < f->have + (uint64_t)n)
        want = f->have + (uint64_t)n;
    if (want < FIRST_CAP)
        want = FIRST_CAP;
    if (want > f->length)
        want = f->length;
    if (f->cap - f->have < n)
        rc = replace(f, (uint32_t)want);
    if (rc == FRAME_ENOMEM)
        fail(f, rc);
    if (rc)
        return rc;
    memcpy(f->body + f->have, data, n);
    f->have += n;
    return FRAME_OK;
}

/* Not counted meanwhile: it changes hands, and must not be in the way of what is made of it. */
static int deliver(struct frame_decoder *f, const char *data)
{
    int rc;

    meter_move(f->meter, NULL, f->cap);
    rc = f->on_frame(f->ud, data, f->length);
    meter_move(NULL, f->meter, f->cap);
    if (rc == FRAME_LATER)
        return rc;
    f->head_have = 0;
    drop_body(f);
    if (rc)
        fail(f, FRAME_STOPPED);
    return FRAME_OK;
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

static int take_body(struct frame_decoder *f, const char **p, size_t *left)
{
    size_t missing = f->length - f->have, n = *left < missing ? *left : missing;
    int rc = n == f->length ? deliver(f, *p) : keep(f, *p, (uint32_t)n);

    if (rc)
        return rc;
    *p += n;
    *left -= n;
    return n < f->length && n == missing ? deliver(f, f->body) : FRAME_OK;
}

/* Whether a whole body was wanted later. */
static bool due(const struct frame_decoder *f)
{
    return f->head_have == FRAME_HEAD && f->have == f->length;
}

int frame_feed(struct frame_decoder *f, const void *data, size_t len)
{
    const char *p = data;
    int rc = !f->error && due(f) ? deliver(f, f->body) : FRAME_OK;

    while (len && !f->error && rc != FRAME_LATER) {
        if (f->head_have < FRAME_HEAD)
            take_head(f, &p, &len);
        else
            rc = take_body(f, &p, &len);
    }
    f->rest = rc == FRAME_LATER ? len : 0;
    return rc == FRAME_LATER ? rc : f->error;
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
