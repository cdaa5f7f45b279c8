/* Which calls run on which stream of a connection whose link has many (alk_link.idle): so that a
 * stream's end ends its calls, and the last call on a stream lets the link end its side. Stream 0
 * stays open for the connection's whole life. */
#ifndef ALK_CORE_CALL_STREAMS_H
#define ALK_CORE_CALL_STREAMS_H

#include "core/connection.h"

/* There as long as calls run on the stream. */
struct call_stream {
    struct map_node by_id;
    uint64_t id;
    struct list calls;
    bool ended; /* the remote's side has: nothing new can come */
};

/* The call runs on its stream. false: out of memory. */
bool call_stream_join(alk_call *call);
void call_stream_leave(alk_call *call);

#endif
