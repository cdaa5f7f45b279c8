/* A session whose envelopes have a length before them (wire/frame.h): alknet/call on a byte stream
 * of its own, as over TLS. Such a stream has no close codes: a session that ends just closes, when
 * what was queued before is out. */
#ifndef ALK_ADAPT_FRAMED_H
#define ALK_ADAPT_FRAMED_H

#include "adapt/session.h"

/* Opens the connection, by that credential (NULL: nobody's), and the engine. As session_open; what
 * may come and go is limited by frame_bytes. */
int framed_open(struct session *s, struct mem *mem, const alk_connection_options *o,
                struct credential *by);

#endif
