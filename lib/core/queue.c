/* Implements queue.h. A stream is there only while something is queued on it or somebody waits for
 * it, so an idle connection holds no buffer, and one that has run empty passes its memory on
 * through `spare`. The link is called for each envelope until it says ALK_EAGAIN for that stream;
 * other streams go on. */
#include "core/queue.h"

#include <string.h>

#define SPARE_BYTES (METER_MIN / 2) /* below what meters count */

static void stream_init(struct queue *q, struct stream *s)
{
    list_init(&s->link);
    list_init(&s->look);
    list_init(&s->waiters);
    buf_init(&s->out, q->mem);
    buf_charge(&s->out, q->meter);
}

void queue_init(struct queue *q)
{
    list_init(&q->dirty);
    list_init(&q->ready);
    list_init(&q->grown);
    list_init(&q->blocked);
    list_init(&q->due);
    list_init(&q->awaited);
    map_init(&q->streams, q->mem, q->node->seed);
    stream_init(q, &q->shared);
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

/* Beside the map, and not in it: most links have stream 0 alone. Kept out of line, or each envelope
 * of stream 0 pays for the frame that the key needs. */
static __attribute__((noinline)) struct stream *find_other(const struct queue *q, uint64_t id)
{
    struct map_node *n = map_find(&q->streams, (const char *)&id, sizeof id);

    return n ? container_of(n, struct stream, by_id) : NULL;
}

static const struct stream *stream_find(const struct queue *q, uint64_t id)
{
    return id ? find_other(q, id) : &q->shared;
}

/* NULL: out of memory. */
static struct stream *get_other(struct queue *q, uint64_t id)
{
    struct stream *s = find_other(q, id);

    if (s || !(s = mem_zalloc(q->mem, sizeof *s)))
        return s;
    s->id = id;
    s->by_id.key = (const char *)&s->id;
    s->by_id.len = sizeof s->id;
    stream_init(q, s);
    if (!map_add(&q->streams, &s->by_id))
        return s;
    mem_free(q->mem, s);
    return NULL;
}

static struct stream *stream_get(struct queue *q, uint64_t id)
{
    return id ? get_other(q, id) : &q->shared;
}

/* With a place among those that are sent from, or looked at by queue_state. */
static struct stream *stream_open(struct queue *q, uint64_t id)
{
    struct stream *s = stream_get(q, id);

    if (s && list_empty(&s->link)) {
        list_push(&q->ready, &s->link);
        if (s->out.meter != q->meter)
            buf_charge(&s->out, q->meter);
        buf_swap(&s->out, q->spare);
    } else if (s && s->refused) {
        list_del(&s->link);
        list_push(&q->grown, &s->link);
    }
    return s;
}

/* The memory goes to the next stream that needs some, if it is of an ordinary size: what a large
 * message has needed is given back. */
static void stream_empty(struct queue *q, struct stream *s)
{
    list_del(&s->link);
    if (!s->out.len && s->out.cap <= SPARE_BYTES && !q->spare->data)
        buf_swap(&s->out, q->spare);
    buf_fini(&s->out);
}

/* Nothing is queued on it. */
static void stream_release(struct queue *q, struct stream *s)
{
    if (s == &q->shared || !list_empty(&s->waiters))
        return;
    list_del(&s->look);
    map_del(&q->streams, &s->by_id);
    mem_free(q->mem, s);
}

void queue_fini(struct queue *q)
{
    struct map_node *n;

    list_del(&q->dirty);
    stream_empty(q, &q->shared);
    while ((n = map_any(&q->streams))) {
        struct stream *s = container_of(n, struct stream, by_id);

        stream_empty(q, s);
        stream_release(q, s);
    }
    map_fini(&q->streams);
}

/* ---- in -------------------------------------------------------------------------------------- */

int queue_begin(struct queue *q, uint64_t stream, size_t about, struct slot *slot)
{
    struct stream *s;

    *slot = (struct slot){.q = q};
    /* Not past what waits already. */
    if (q->direct && list_empty(&q->shared.link) && !q->streams.count &&
        (slot->out = q->direct->begin(q->link.ud, about))) {
        slot->direct = true;
        slot->start = slot->out->len;
        return ALK_OK;
    }
    s = stream_open(q, stream);
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

static void try_again(struct queue *q)
{
    q->writable = false;
    list_splice(&q->blocked, &q->grown);
    list_each(l, &q->blocked) container_of(l, struct stream, link)->refused = false;
    list_splice(&q->ready, &q->blocked);
    list_splice(&q->due, &q->awaited);
}

static int send_one(struct queue *q, struct stream *s)
{
    int rc = stream_send(q, s);

    if (!list_empty(&s->waiters)) {
        list_del(&s->look);
        list_push(&q->due, &s->look);
    }
    if (rc == ALK_EAGAIN) {
        s->refused = true;
        list_del(&s->link);
        list_push(&q->grown, &s->link);
    } else if (!rc) {
        if (s->finish)
            q->link.idle(q->link.ud, s->id);
        s->finish = false;
        stream_empty(q, s);
        stream_release(q, s);
    }
    return rc;
}

/* What memory has no room to note is told at once: nothing is queued there then. */
void queue_finish(struct queue *q, uint64_t stream)
{
    struct stream *s = stream_open(q, stream);

    if (!s) {
        q->link.idle(q->link.ud, stream);
        return;
    }
    s->finish = true;
    queue_wake(q);
}

/* Each is taken out of the front of the list. */
int queue_send(struct queue *q)
{
    int rc = ALK_OK;

    if (q->writable)
        try_again(q);
    while (!list_empty(&q->ready)) {
        int r = send_one(q, container_of(q->ready.next, struct stream, link));

        if (r && r != ALK_EAGAIN)
            return r;
        rc = r ? r : rc;
    }
    if (q->link.flush)
        q->link.flush(q->link.ud);
    return rc;
}

/* ---- room ------------------------------------------------------------------------------------ */

void queue_writable(struct queue *q)
{
    q->writable = true;
    queue_wake(q);
}

void queue_writable_on(struct queue *q, uint64_t stream)
{
    struct stream *s = stream ? find_other(q, stream) : &q->shared;

    if (!s || !s->refused)
        return;
    s->refused = false;
    list_del(&s->link);
    list_push(&q->ready, &s->link);
    queue_wake(q);
}

/* Looked at in the coming turn: there may be room by then. That the link's flush is called tells it
 * that somebody waits. */
bool queue_await(struct queue *q, uint64_t stream, struct list *waiter)
{
    struct stream *s = stream_get(q, stream);

    if (!s)
        return false;
    if (list_empty(&s->look))
        list_push(&q->due, &s->look);
    list_push(&s->waiters, waiter);
    queue_wake(q);
    return true;
}

void queue_room(struct queue *q, size_t most, void (*tell)(struct list *waiter))
{
    while (!list_empty(&q->due)) {
        struct stream *s = container_of(q->due.next, struct stream, look);
        bool room = queue_bytes(q, s->id) <= most;

        list_del(&s->look);
        while (room && !list_empty(&s->waiters)) {
            struct list *waiter = s->waiters.next;

            list_del(waiter);
            tell(waiter);
        }
        /* Who waited may have gone by itself. */
        if (!list_empty(&s->waiters))
            list_push(&q->awaited, &s->look);
        else if (list_empty(&s->link))
            stream_release(q, s);
    }
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

static size_t sum_of(const struct list *streams)
{
    size_t sum = 0;

    list_each(l, streams) sum += container_of(l, struct stream, link)->out.len;
    return sum;
}

size_t queue_total(const struct queue *q)
{
    return of_link(q, 0) + sum_of(&q->ready) + sum_of(&q->grown) + sum_of(&q->blocked);
}

/* Of one stream. What has not grown since it was found small enough is so still; who is found to
 * have too much stays in `grown`. */
static bool too_much(struct queue *q, size_t shared)
{
    size_t most = (size_t)LIMIT(q->node, queue_max) + queue_message_limit(q);

    if (shared > most)
        return true;
    while (!list_empty(&q->grown)) {
        struct stream *s = container_of(q->grown.next, struct stream, link);

        if (s->out.len > most)
            return true;
        list_del(&s->link);
        list_push(&q->blocked, &s->link);
    }
    return false;
}

int queue_state(struct queue *q, uint64_t turn)
{
    size_t shared = queue_bytes(q, 0);

    if (!too_much(q, shared)) {
        q->over_since = 0;
        return shared || q->streams.count ? QUEUE_WAITS : QUEUE_EMPTY;
    }
    if (q->over_since && q->over_since != turn)
        return QUEUE_FULL;
    q->over_since = turn;
    return QUEUE_OVER;
}
