/* Writing EventEnvelopes into a connection's queue. Each function returns 0, or with nothing
 * queued ALK_ENOMEM or ALK_ELIMIT (larger than a message may be). Nothing half-written ever stays
 * in a queue: the remote could not find the next envelope behind it. */
#ifndef ALK_CORE_ENVELOPE_H
#define ALK_CORE_ENVELOPE_H

#include "base/str.h"
#include "core/queue.h"

struct request_fields {
    struct str operation, input, token, forwarded_for, traceparent;
    uint64_t timeout_ms; /* 0: none */
    uint32_t hops;       /* 0: none */
};

int envelope_requested(struct queue *q, uint64_t stream, struct str id,
                       const struct request_fields *f);
int envelope_responded(struct queue *q, uint64_t stream, struct str id, struct str output);
int envelope_completed(struct queue *q, uint64_t stream, struct str id);
int envelope_aborted(struct queue *q, uint64_t stream, struct str id);
int envelope_error(struct queue *q, uint64_t stream, struct str id, const alk_fault *fault);

#endif
