/* Implements call_streams.h. Of a stream's end both sides know their own half: the remote's is told
 * by the link, ours is due when that has come and no call is left. It goes out behind what is
 * queued on the stream, so it is the queue that tells the link (queue_finish). */
#include "core/call_streams.h"

#include "core/dispatcher.h"

static struct call_stream *find(const alk_connection *c, uint64_t id)
{
    struct map_node *n = map_find(&c->streams, (const char *)&id, sizeof id);

    return n ? container_of(n, struct call_stream, by_id) : NULL;
}

static struct call_stream *get(alk_connection *c, uint64_t id)
{
    struct mem *mem = &c->d->mem;
    struct call_stream *s = find(c, id);

    if (s || !(s = mem_zalloc(mem, sizeof *s)))
        return s;
    s->id = id;
    s->by_id.key = (const char *)&s->id;
    s->by_id.len = sizeof s->id;
    list_init(&s->calls);
    if (!map_add(&c->streams, &s->by_id))
        return s;
    mem_free(mem, s);
    return NULL;
}

/* A subscription has its stream for itself: nothing of the remote's begins there. That of a single
 * result is ended with its request. */
bool call_stream_join(alk_call *call)
{
    alk_connection *c = call->conn;
    struct call_stream *s;

    if (!c->queue.link.idle)
        return true;
    s = get(c, call->stream);
    if (!s)
        return false;
    s->ended |= call->own_stream && call->want == WANT_STREAM;
    list_push(&s->calls, &call->of_stream);
    call->on_stream = s;
    return true;
}

void call_stream_leave(alk_call *call)
{
    struct call_stream *s = call->on_stream;
    alk_connection *c = call->conn;

    if (!s)
        return;
    call->on_stream = NULL;
    list_del(&call->of_stream);
    if (!list_empty(&s->calls))
        return;
    if (s->ended && c->closing < 0)
        queue_finish(&c->queue, s->id);
    map_del(&c->streams, &s->by_id);
    mem_free(&c->d->mem, s);
}

void alk_connection_stream_ended(alk_connection *c, uint64_t stream)
{
    struct call_stream *s = find(c, stream);

    if (c->closing >= 0 || !stream)
        return;
    if (s)
        s->ended = true;
    else
        queue_finish(&c->queue, stream);
}

static void lose(alk_call *call)
{
    static const alk_fault reset = {sizeof reset, 0, ALK_INTERNAL, "the stream was reset", NULL};
    bool begun = call->state > CALL_QUEUED;

    if (call->kind == CALL_OUTGOING) {
        call->remote_done = true;
        call_end(call, ALK_END_FAULT, &reset);
        return;
    }
    call_end(call, ALK_END_ABORTED, NULL);
    if (!begun)
        call_done(call);
}

/* Ending one may end others, and the last takes the record with it: so it is found anew. */
void alk_connection_stream_lost(alk_connection *c, uint64_t stream)
{
    struct call_stream *s;

    while (c->closing < 0 && (s = find(c, stream)))
        lose(container_of(s->calls.next, alk_call, of_stream));
}
