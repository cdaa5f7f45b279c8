/* Implements queue.h. A stream is listed only while something is queued on it, so an idle
 * connection holds no buffer, and the one of stream 0, which most links have alone, passes its
 * memory on through `spare`. The link is called for each envelope until it says ALK_EAGAIN for
 * that stream; other streams go on. */
#include "core/queue.h"

#include <string.h>

#define SPARE_BYTES (METER_MIN / 2) /* below what meters count */

void queue_init(struct queue *q)
{
    list_init(&q->dirty);
    list_init(&q->streams);
    list_init(&q->shared.link);
    buf_init(&q->shared.out, q->mem);
}

void queue_wake(struct queue *q)
{
    if (list_empty(&q->dirty))
        list_push(q->all_dirty, &q->dirty);
}

uint32_t queue_message_limit(const struct queue *q)
{
    return q->message_bytes ? q->message_bytes : LIMIT(q->node, frame_bytes);
}

/* ---- streams --------------------------------------------------------------------------------- */

/* A list: only streams with something queued are in it. */
static struct stream *stream_find(const struct queue *q, uint64_t id)
{
    list_each(l, &q->streams)
    {
        struct stream *s = container_of(l, struct stream, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

static struct stream *stream_get(struct queue *q, uint64_t id)
{
    struct stream *s;

    if (id == 0) {
        if (list_empty(&q->shared.link)) {
            list_push(&q->streams, &q->shared.link);
            buf_charge(&q->shared.out, q->meter);
            buf_swap(&q->shared.out, q->spare);
        }
        return &q->shared;
    }
    s = stream_find(q, id);
    if (s || !(s = mem_alloc(q->mem, sizeof *s)))
        return s;
    s->id = id;
    buf_init(&s->out, q->mem);
    buf_charge(&s->out, q->meter);
    list_push(&q->streams, &s->link);
    return s;
}

/* The memory goes to the next stream that needs some, if it is of an ordinary size: what a large
 * message has needed is given back. */
static void stream_free(struct queue *q, struct stream *s)
{
    list_del(&s->link);
    if (!s->out.len && s->out.cap <= SPARE_BYTES && !q->spare->data)
        buf_swap(&s->out, q->spare);
    buf_fini(&s->out);
    if (s != &q->shared)
        mem_free(q->mem, s);
}

void queue_fini(struct queue *q)
{
    list_del(&q->dirty);
    list_each_safe(l, &q->streams) stream_free(q, container_of(l, struct stream, link));
}

/* ---- in -------------------------------------------------------------------------------------- */

int queue_begin(struct queue *q, uint64_t stream, size_t about, struct slot *slot)
{
    struct stream *s;

    *slot = (struct slot){.q = q};
    /* Not past what waits already. */
    if (q->direct && list_empty(&q->streams) && (slot->out = q->direct->begin(q->link.ud, about))) {
        slot->direct = true;
        slot->start = slot->out->len;
        return ALK_OK;
    }
    s = stream_get(q, stream);
    if (!s || !buf_reserve(&s->out, about))
        return ALK_ENOMEM;
    buf_commit(&s->out, sizeof(uint32_t));
    slot->out = &s->out;
    slot->start = s->out.len;
    return ALK_OK;
}

void queue_undo(struct slot *slot)
{
    if (slot->direct)
        slot->q->direct->undo(slot->q->link.ud);
    else
        buf_truncate(slot->out, slot->start - sizeof(uint32_t));
}

int queue_commit(struct slot *slot)
{
    struct buf *out = slot->out;
    size_t len = out->len - slot->start;
    uint32_t head = (uint32_t)len;

    if (len > queue_message_limit(slot->q)) {
        queue_undo(slot);
        return ALK_ELIMIT;
    }
    if (!slot->direct)
        memcpy(out->data + out->head + slot->start - sizeof head, &head, sizeof head);
    else if (slot->q->direct->commit(slot->q->link.ud))
        return ALK_ENOMEM;
    queue_wake(slot->q);
    return ALK_OK;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* Whole envelopes, as the link has no other way to know where one ends. */
static int stream_send(struct queue *q, struct stream *s)
{
    while (s->out.len) {
        uint32_t n;
        int rc;

        memcpy(&n, buf_at(&s->out), sizeof n);
        rc = q->link.send(q->link.ud, s->id, buf_at(&s->out) + sizeof n, n);
        if (rc)
            return rc;
        /* It may have noticed just now. */
        if (q->lost)
            return ALK_ECLOSED;
        buf_consume(&s->out, sizeof n + n);
    }
    return ALK_OK;
}

int queue_send(struct queue *q)
{
    int rc = ALK_OK;

    list_each_safe(l, &q->streams)
    {
        struct stream *s = container_of(l, struct stream, link);
        int r = stream_send(q, s);

        if (r && r != ALK_EAGAIN)
            return r;
        rc = r ? r : rc;
        if (!s->out.len)
            stream_free(q, s);
    }
    if (q->link.flush)
        q->link.flush(q->link.ud);
    return rc;
}

/* ---- how much -------------------------------------------------------------------------------- */

static size_t of_link(const struct queue *q, uint64_t stream)
{
    return q->link.queued ? q->link.queued(q->link.ud, stream) : 0;
}

size_t queue_bytes(const struct queue *q, uint64_t stream)
{
    const struct stream *s = stream_find(q, stream);

    return (s ? s->out.len : 0) + of_link(q, stream);
}

size_t queue_total(const struct queue *q)
{
    size_t sum = of_link(q, 0);

    list_each(l, &q->streams) sum += container_of(l, struct stream, link)->out.len;
    return sum;
}

int queue_state(struct queue *q, uint64_t turn)
{
    size_t most = 0;

    list_each(l, &q->streams)
    {
        const struct stream *s = container_of(l, struct stream, link);

        most = s->out.len > most ? s->out.len : most;
    }
    most += of_link(q, 0);
    if (most <= (size_t)LIMIT(q->node, queue_max) + queue_message_limit(q)) {
        q->over_since = 0;
        return most ? QUEUE_WAITS : QUEUE_EMPTY;
    }
    if (q->over_since && q->over_since != turn)
        return QUEUE_FULL;
    q->over_since = turn;
    return QUEUE_OVER;
}
