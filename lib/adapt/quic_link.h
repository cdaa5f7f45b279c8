/* A session on a QUIC connection: its streams are those of a call connection's link, and each has
 * frames (wire/frame.h). Stream 0 of the link is the one that this side opens for all of its calls
 * but those that have one of their own; the link's others are QUIC's, by their ids and one. */
#ifndef ALK_ADAPT_QUIC_LINK_H
#define ALK_ADAPT_QUIC_LINK_H

#include "adapt/session.h"
#include "wire/quic.h"

/* Opens the call connection, by that credential (NULL: nobody's), on one whose `ready` has been
 * told, and adopts that. As session_open; after a failure c is as it was. */
int quic_link_open(struct session *s, struct mem *mem, struct quic_conn *c,
                   const alk_connection_options *o, struct credential *by, bool stream_per_call);
#endif
