/* Reads text/event-stream (HTML, section 9.2) as it comes, in pieces of any size: lines end in LF,
 * CR or CRLF; the data lines of an event are joined by LF; a blank line ends it; comments and unknown
 * fields are nothing, and so are ids and retry, unless they are kept. An event without a data line is
 * none.
 *
 * What is kept of an event, its present line included, is bounded. After an error it stays in that
 * error. */
#ifndef ALK_WIRE_SSE_H
#define ALK_WIRE_SSE_H

#include "base/buf.h"
#include "base/str.h"

enum {
    SSE_OK = 0,
    SSE_STOPPED = -1,   /* the consumer wanted no more for now */
    SSE_TOO_LARGE = -2, /* an event above the limit */
    SSE_ENOMEM = -3,
};

#define SSE_ID_BYTES 1024u      /* a longer id is none */
#define SSE_RETRY_MAX_MS 60000u /* more is as much */

struct sse {
    struct buf line; /* what has come of one that has not ended */
    struct buf name, data;
    size_t max;
    /* name: empty where the event has none, and is a "message". Both are the stream's bytes, which
     * need not be UTF-8, and valid during the call. Anything but 0: no more for now. */
    int (*on_event)(void *ud, struct str name, struct str data);
    void *ud;
    /* Of the last event that was whole, and of the present one, where ids are kept. */
    struct buf id, next_id;
    uint32_t retry_ms; /* likewise; 0: none came */
    bool keeps_ids;    /* set after sse_init */
    bool has_id;       /* the present event has one */
    bool has_data, after_cr, begun;
    int error;
};

void sse_init(struct sse *s, struct mem *mem, size_t max,
              int (*on_event)(void *ud, struct str name, struct str data), void *ud);
void sse_fini(struct sse *s);
/* *taken: the bytes that need not come again: all of them or, when stopped, those up to the end of
 * the event. */
int sse_feed(struct sse *s, const char *bytes, size_t len, size_t *taken);
/* Whether the stream may end here. If not, it was cut within an event, which is lost. */
bool sse_at_boundary(const struct sse *s);

#endif
