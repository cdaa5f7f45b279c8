/* Envelopes on a byte stream: a length of four bytes, big-endian, and that many bytes of JSON.
 *
 * The decoder is fed bytes in whatever cuts the network makes and calls back once for each whole
 * frame. A frame that lies whole in what was fed is handed on in place; of others it keeps what
 * has come, in memory that grows with what has come and not with what the length promises, and
 * never beyond that length. Between frames it holds no memory. It knows nothing of what is in a
 * frame, but wipes what it has kept of one: there may be tokens in it.
 *
 * It can be held up: for want of room (its meter), or because the callback wants the frame later.
 * Then it has taken what it could, and is fed the rest again.
 *
 * After an error it stays in that error: nobody knows where the next frame begins. */
#ifndef ALK_WIRE_FRAME_H
#define ALK_WIRE_FRAME_H

#include "base/mem.h"
#include "base/meter.h"

#include <stdint.h>

#define FRAME_HEAD 4u

enum {
    FRAME_OK = 0,
    FRAME_EMPTY = -1,     /* a frame of length 0 */
    FRAME_TOO_LONG = -2,  /* a frame above the limit */
    FRAME_TRUNCATED = -3, /* the stream ended within a frame */
    FRAME_ENOMEM = -4,
    FRAME_STOPPED = -5, /* the callback wanted no more */
    FRAME_LATER = -6,   /* no error: it is held up */
};

struct frame_decoder {
    struct mem *mem;
    struct meter *meter; /* who pays for what is kept; NULL: nobody counts; see frame_charge */
    /* One whole frame, valid during the call, which may change the limit but not feed or free.
     * FRAME_LATER: it is wanted again, at the next feed; any other but 0: stop. */
    int (*on_frame)(void *ud, const char *data, size_t len);
    void *ud;
    uint32_t limit;
    int error;
    size_t rest; /* of the last feed, from its end: what was not taken, when it was held up */
    unsigned head_have; /* bytes of the length that have come; FRAME_HEAD: a frame is under way */
    uint32_t length;
    char *body;
    uint32_t have, cap; /* of body */
};

void frame_init(struct frame_decoder *f, struct mem *mem, uint32_t limit,
                int (*on_frame)(void *ud, const char *data, size_t len), void *ud);
void frame_fini(struct frame_decoder *f);
/* From here on m pays; it outlives the decoder. */
void frame_charge(struct frame_decoder *f, struct meter *m);
/* Takes effect with the next length that is read. */
void frame_set_limit(struct frame_decoder *f, uint32_t limit);
/* FRAME_OK, FRAME_LATER (the last `rest` bytes have to come again, also when there are none), or an
 * error; the frames before the fault have been handed on. */
int frame_feed(struct frame_decoder *f, const void *data, size_t len);
/* The stream has ended. FRAME_OK, FRAME_TRUNCATED, or the error before. */
int frame_end(struct frame_decoder *f);
/* English, static. */
const char *frame_error(int rc);
/* The length that goes before a frame of len bytes (1 to UINT32_MAX). */
void frame_encode(uint8_t out[FRAME_HEAD], size_t len);

#endif
