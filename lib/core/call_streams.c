/* Implements call_streams.h. Of a stream's end both sides know their own half: the remote's is told
 * by the link, ours is due when that has come and no call is left. */
#include "core/call_streams.h"

struct call_stream *call_stream_find(const struct map *streams, uint64_t id)
{
    struct map_node *n = map_find(streams, (const char *)&id, sizeof id);

    return n ? container_of(n, struct call_stream, by_id) : NULL;
}

static struct call_stream *get(struct map *streams, uint64_t id)
{
    struct call_stream *s = call_stream_find(streams, id);

    if (s || !(s = mem_zalloc(streams->mem, sizeof *s)))
        return s;
    s->id = id;
    s->by_id.key = (const char *)&s->id;
    s->by_id.len = sizeof s->id;
    list_init(&s->calls);
    if (!map_add(streams, &s->by_id))
        return s;
    mem_free(streams->mem, s);
    return NULL;
}

/* A subscription of ours has its stream for itself: nothing of the remote's begins there. That of a
 * single result is ended with its request. */
bool call_stream_join(struct map *streams, alk_call *call)
{
    struct call_stream *s = get(streams, call->stream);

    if (!s)
        return false;
    s->ended |= call->own_stream && call->want == WANT_STREAM;
    list_push(&s->calls, &call->of_stream);
    call->on_stream = s;
    return true;
}

bool call_stream_leave(struct map *streams, alk_call *call)
{
    struct call_stream *s = call->on_stream;
    bool ended;

    if (!s)
        return false;
    call->on_stream = NULL;
    list_del(&call->of_stream);
    if (!list_empty(&s->calls))
        return false;
    ended = s->ended;
    map_del(streams, &s->by_id);
    mem_free(streams->mem, s);
    return ended;
}
