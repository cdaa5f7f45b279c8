/* Fuzzes the decoder of length-prefixed frames: the first bytes choose the limit, how the rest is
 * cut, and how often a frame is wanted later or finds no room.
 *
 * It must hold: the frames and the verdict are those of a plain loop over the whole input; what
 * is held is never more than what has come and 4 KiB, nor more than one frame, and nothing
 * between frames; all memory comes back. */
#include "base/list.h"
#include "support/memory.h"
#include "wire/frame.h"

#include <stdio.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct memory memory;
    struct mem mem;
    struct frame_decoder f;
    const uint8_t *data; /* what is fed, from the first byte on */
    size_t at;           /* of the next frame that must come */
    uint32_t limit;
    int stop_in;
    struct meter meter;
    size_t charged;
    unsigned hold; /* its bits: whether the next one is held up */
};

static bool held(struct fuzz *f)
{
    bool yes = f->hold & 1;

    f->hold >>= 1;
    return yes;
}

static void force(struct meter *m, size_t n)
{
    container_of(m, struct fuzz, meter)->charged += n;
}

static bool charge(struct meter *m, size_t n, bool begins)
{
    (void)begins;
    if (held(container_of(m, struct fuzz, meter)))
        return false;
    force(m, n);
    return true;
}

static void give(struct meter *m, size_t n)
{
    struct fuzz *f = container_of(m, struct fuzz, meter);

    MUST(f->charged >= n);
    f->charged -= n;
}

static const struct meter_ops meter_ops = {.take = charge, .force = force, .give = give};

static uint32_t length_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int on_frame(void *ud, const char *frame, size_t len)
{
    struct fuzz *f = ud;
    uint8_t head[FRAME_HEAD];

    MUST(!f->charged);
    MUST(len && len <= f->limit && length_at(f->data + f->at) == len);
    MUST(!memcmp(f->data + f->at + FRAME_HEAD, frame, len));
    frame_encode(head, len);
    MUST(!memcmp(head, f->data + f->at, FRAME_HEAD));
    if (held(f))
        return FRAME_LATER;
    f->at += FRAME_HEAD + len;
    return f->stop_in && !--f->stop_in;
}

/* What a plain loop says of the first size bytes. */
static int verdict(const struct fuzz *f, size_t size, size_t *whole)
{
    size_t at = 0;

    for (*whole = 0; size - at >= FRAME_HEAD; *whole = at) {
        uint32_t len = length_at(f->data + at);

        if (!len)
            return FRAME_EMPTY;
        if (len > f->limit)
            return FRAME_TOO_LONG;
        if (size - at - FRAME_HEAD < len)
            return FRAME_OK;
        at += FRAME_HEAD + len;
    }
    return FRAME_OK;
}

/* Until all is taken. Each time a copy of its own, so that a byte read behind it is seen. */
static int feed(struct fuzz *f, const uint8_t *data, size_t n)
{
    size_t left = n;
    int rc;

    do {
        uint8_t *piece = malloc(left);

        MUST(piece || !left);
        if (left)
            memcpy(piece, data + n - left, left);
        rc = frame_feed(&f->f, piece, left);
        free(piece);
        left = f->f.rest;
    } while (rc == FRAME_LATER);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.limit = 0};
    size_t whole, step;
    int rc = FRAME_OK, want;

    if (size < 6)
        return 0;
    f.limit = (uint32_t)data[0] << 8 | data[1];
    f.stop_in = data[2] >> 4;
    f.memory.fail_in = data[2] & 15;
    step = data[3] ? data[3] : size;
    f.hold = (unsigned)data[4] << 8 | data[5];
    f.data = data + 6;
    size -= 6;
    mem_init(&f.mem, memory_realloc, &f.memory);
    frame_init(&f.f, &f.mem, f.limit, on_frame, &f);
    f.meter.ops = &meter_ops;
    frame_charge(&f.f, &f.meter);
    for (size_t at = 0; at < size && !rc; at += step) {
        size_t n = size - at < step ? size - at : step;

        rc = feed(&f, f.data + at, n);
        MUST(f.memory.largest <= (at + n > 4096 ? 2 * (at + n) : 4096) &&
             f.memory.largest <= f.limit);
        MUST(rc || f.memory.live <= 1);
    }
    want = verdict(&f, size, &whole);
    if (rc == FRAME_STOPPED) {
        MUST(!f.stop_in && data[2] >> 4);
    } else if (rc == FRAME_ENOMEM) {
        MUST(f.memory.failed);
    } else {
        MUST(rc == want && f.at == whole);
        MUST(frame_end(&f.f) == (rc ? rc : whole == size ? FRAME_OK : FRAME_TRUNCATED));
        MUST(f.memory.live == 0);
    }
    MUST(*frame_error(rc));
    frame_fini(&f.f);
    MUST(!f.charged);
    MUST(f.memory.live == 0);
    return 0;
}
