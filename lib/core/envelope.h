/* Writing EventEnvelopes into a connection's queue, and the queue itself. Each function returns 0, or with nothing queued
 * ALK_ENOMEM or ALK_ELIMIT (larger than a message may be). */
#ifndef ALK_CORE_ENVELOPE_H
#define ALK_CORE_ENVELOPE_H

#include "core/connection.h"

struct request_fields {
    struct str operation, input, token, forwarded_for, traceparent;
    uint64_t timeout_ms; /* 0: none */
    uint32_t hops;       /* 0: none */
};

int envelope_requested(alk_connection *c, uint64_t stream, struct str id,
                       const struct request_fields *f);
int envelope_responded(alk_connection *c, uint64_t stream, struct str id, const char *output,
                       size_t len);
int envelope_completed(alk_connection *c, uint64_t stream, struct str id);
int envelope_aborted(alk_connection *c, uint64_t stream, struct str id);
int envelope_error(alk_connection *c, uint64_t stream, struct str id, const alk_fault *fault);

/* Hands queued envelopes to the link until it has enough. A negative code other than ALK_EAGAIN is the link's failure. */
int queue_send(alk_connection *c);
/* Bytes queued for one stream, for the fullest, and for all. */
size_t queue_bytes(const alk_connection *c, uint64_t stream);
size_t queue_most(const alk_connection *c);
size_t queue_total(const alk_connection *c);
void queue_free(alk_connection *c);

#endif
