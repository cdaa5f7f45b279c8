/* Implements envelope.h. An envelope is put together in the queue's own memory: the input or
 * output, which is most of it, is copied once. A writer remembers that memory ran out, so that
 * only its end needs a look; what was begun is then undone. */
#include "core/envelope.h"

#include "core/fault.h"

#define ENVELOPE_ROOM 100u /* around a payload: our ids, the longest type */

struct writer {
    struct slot slot;
    int rc;
};

/* Room is there as a rule, since begin has asked for the whole of it: then this is a copy and
 * nothing else. */
static inline void put(struct writer *w, const char *p, size_t n)
{
    struct buf *out = w->slot.out;
    char *to = w->rc                                  ? NULL
               : out->cap - out->head - out->len >= n ? out->data + out->head + out->len
                                                      : buf_reserve(out, n);

    if (!to) {
        w->rc = -1;
        return;
    }
    memcpy(to, p, n);
    buf_commit(out, n);
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

/* For what others have chosen: an id or a token must not end its string and begin a member. */
static void put_string(struct writer *w, struct str s)
{
    w->rc |= buf_json_string(w->slot.out, s.p, s.n);
}

static int begin(struct writer *w, struct queue *q, uint64_t stream, const char *type,
                 struct str id, size_t payload)
{
    w->rc = 0;
    if (queue_begin(q, stream, ENVELOPE_ROOM + payload, &w->slot))
        return ALK_ENOMEM;
    PUT(w, "{\"type\":\"");
    put(w, type, strlen(type));
    PUT(w, "\",\"id\":");
    put_string(w, id);
    PUT(w, ",\"payload\":{");
    return ALK_OK;
}

static int finish(struct writer *w)
{
    PUT(w, "}}");
    if (!w->rc)
        return queue_commit(&w->slot);
    queue_undo(&w->slot);
    return ALK_ENOMEM;
}

/* operation, input and forwarded_for are put in as they are: the first is a name, the others are
 * JSON that was written here. What is not given is left out, since a remote may not know a null
 * there. */
int envelope_requested(struct queue *q, uint64_t stream, struct str id,
                       const struct request_fields *f)
{
    struct writer w;

    if (begin(&w, q, stream, "call.requested", id, f->input.n))
        return ALK_ENOMEM;
    PUT(&w, "\"operationId\":\"/");
    put(&w, f->operation.p, f->operation.n);
    PUT(&w, "\",\"input\":");
    put(&w, f->input.p, f->input.n);
    if (f->token.p) {
        PUT(&w, ",\"auth_token\":");
        put_string(&w, f->token);
    }
    if (f->forwarded_for.p) {
        PUT(&w, ",\"forwarded_for\":");
        put(&w, f->forwarded_for.p, f->forwarded_for.n);
    }
    if (f->hops)
        w.rc |= buf_printf(w.slot.out, ",\"hops\":%u", f->hops);
    if (f->timeout_ms)
        w.rc |= buf_printf(w.slot.out, ",\"timeout_ms\":%llu", (unsigned long long)f->timeout_ms);
    if (f->traceparent.p) {
        PUT(&w, ",\"traceparent\":");
        put_string(&w, f->traceparent);
    }
    return finish(&w);
}

int envelope_responded(struct queue *q, uint64_t stream, struct str id, struct str output)
{
    struct writer w;

    if (begin(&w, q, stream, "call.responded", id, output.n))
        return ALK_ENOMEM;
    PUT(&w, "\"output\":");
    put(&w, output.p, output.n);
    return finish(&w);
}

static int empty(struct queue *q, uint64_t stream, const char *type, struct str id)
{
    struct writer w;

    return begin(&w, q, stream, type, id, 0) ? ALK_ENOMEM : finish(&w);
}

int envelope_completed(struct queue *q, uint64_t stream, struct str id)
{
    return empty(q, stream, "call.completed", id);
}

int envelope_aborted(struct queue *q, uint64_t stream, struct str id)
{
    return empty(q, stream, "call.aborted", id);
}

int envelope_error(struct queue *q, uint64_t stream, struct str id, const alk_fault *fault)
{
    struct writer w;

    if (begin(&w, q, stream, "call.error", id, 0))
        return ALK_ENOMEM;
    w.rc |= fault_put(w.slot.out, fault);
    return finish(&w);
}
