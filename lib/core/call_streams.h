/* Which calls run on which stream of a connection whose link has many (alk_link.idle): so that a
 * stream's end ends its calls, and the last call on a stream lets the link end its side. */
#ifndef ALK_CORE_CALL_STREAMS_H
#define ALK_CORE_CALL_STREAMS_H

#include "core/call.h"

/* In a map by id, as long as calls run on the stream. */
struct call_stream {
    struct map_node by_id;
    uint64_t id;
    struct list calls;
    bool ended; /* the remote's side has: nothing new can come */
};

/* NULL: no call runs on it. */
struct call_stream *call_stream_find(const struct map *streams, uint64_t id);
/* The call runs on its stream. false: out of memory. */
bool call_stream_join(struct map *streams, alk_call *call);
/* Whether it was the last, of a stream whose remote side has ended. */
bool call_stream_leave(struct map *streams, alk_call *call);

#endif
