/* Two connections back to back in one process: what one sends is fed to the other. The pair lives
 * until one end closes, which is the other's loss.
 *
 * Sending feeds at once, from within the sender's turn. That is safe, as feeding only queues; what
 * it brings about moves in the other dispatcher's own turn. Both dispatchers run on one thread, so
 * nothing here is locked. */
#include "core/connection.h"

#define AGAIN (50 * MILLI)

struct pair_end {
    struct pair *pair;
    alk_connection *conn; /* a reference */
    struct map paused;    /* streams that this end does not read */
    struct timer again;   /* to send what the other side has had no room for */
    uint64_t next_stream;
};

struct paused {
    struct map_node by_stream;
    uint64_t stream;
};

/* Holds a reference on each connection: a link may be called until its connection is lost, and
 * feeds the other one. */
struct pair {
    struct mem mem;
    struct pair_end ends[2];
};

static struct pair_end *other(struct pair_end *e)
{
    return &e->pair->ends[e == e->pair->ends];
}

static struct paused *find_paused(struct pair_end *e, uint64_t stream)
{
    struct map_node *n = map_find(&e->paused, (const char *)&stream, sizeof stream);

    return n ? container_of(n, struct paused, by_stream) : NULL;
}

static void forget_paused(struct pair_end *e, struct paused *p)
{
    map_del(&e->paused, &p->by_stream);
    mem_free(&e->pair->mem, p);
}

static int pair_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct pair_end *from = ud, *to = other(from);

    if (find_paused(to, stream))
        return ALK_EAGAIN;
    /* What it thinks of the message is the other side's matter: it closes when it does not like
     * it. This side has sent it in any case, unless the other has no room for it now. */
    if (alk_connection_feed(to->conn, stream, envelope, len) != ALK_EAGAIN)
        return ALK_OK;
    timer_set(&from->conn->d->schedule, &from->again, from->conn->d->now + AGAIN);
    return ALK_EAGAIN;
}

static void send_again(struct timer *t, uint64_t now)
{
    (void)now;
    alk_connection_writable(container_of(t, struct pair_end, again)->conn);
}

static void pair_pause(void *ud, uint64_t stream, int paused)
{
    struct pair_end *e = ud;
    struct paused *p = find_paused(e, stream);
    alk_connection *sender = other(e)->conn;

    /* Out of memory, the stream just runs on: what comes is kept, and bounded there. */
    if (paused && !p && (p = mem_alloc(&e->pair->mem, sizeof *p))) {
        p->stream = stream;
        p->by_stream.key = (const char *)&p->stream;
        p->by_stream.len = sizeof p->stream;
        if (map_add(&e->paused, &p->by_stream))
            mem_free(&e->pair->mem, p);
    } else if (!paused && p) {
        forget_paused(e, p);
        if (sender->closing < 0)
            queue_writable_on(&sender->queue, stream);
    }
}

/* Odd from one end, even from the other, so that the two never choose the same; 0 is the one that
 * all share. */
static uint64_t pair_open_stream(void *ud)
{
    struct pair_end *e = ud;

    return e->next_stream += 2;
}

/* Called once for a pair: the other end is lost now, and the library calls no link whose
 * connection is lost. So nobody comes back here, and the pair can go. Its references on both
 * connections go last, as the calls above need them. */
static void pair_close(void *ud, int code)
{
    struct pair_end *e = ud;
    struct pair *p = e->pair;
    struct map_node *n;
    struct mem mem;

    (void)code;
    for (size_t i = 0; i < 2; i++) {
        timer_clear(&p->ends[i].conn->d->schedule, &p->ends[i].again);
        while ((n = map_any(&p->ends[i].paused)))
            forget_paused(&p->ends[i], container_of(n, struct paused, by_stream));
    }
    alk_connection_lost(other(e)->conn);
    alk_connection_unref(p->ends[0].conn);
    alk_connection_unref(p->ends[1].conn);
    mem_init(&mem, NULL, NULL);
    mem_free(&mem, p);
}

int alk_pair_open(alk_dispatcher *a, const alk_connection_options *a_options,
                  alk_connection **a_out, alk_dispatcher *b,
                  const alk_connection_options *b_options, alk_connection **b_out)
{
    alk_link link = {.size = sizeof link,
                     .send = pair_send,
                     .pause = pair_pause,
                     .close = pair_close,
                     .open_stream = pair_open_stream};
    struct mem mem;
    struct pair *p;
    int rc;

    *a_out = *b_out = NULL;
    mem_init(&mem, NULL, NULL);
    p = mem_zalloc(&mem, sizeof *p);
    if (!p)
        return ALK_ENOMEM;
    /* Of the C library: the two ends have allocators of their own, and either may go first. */
    p->mem = mem;
    p->ends[0].pair = p->ends[1].pair = p;
    p->ends[1].next_stream = 1;
    timer_init(&p->ends[0].again, send_again);
    timer_init(&p->ends[1].again, send_again);
    map_init(&p->ends[0].paused, &p->mem, a->node->seed);
    map_init(&p->ends[1].paused, &p->mem, b->node->seed);
    link.ud = &p->ends[0];
    rc = alk_connection_open(&p->ends[0].conn, a, &link, a_options);
    if (rc) {
        mem_free(&mem, p);
        return rc;
    }
    link.ud = &p->ends[1];
    rc = alk_connection_open(&p->ends[1].conn, b, &link, b_options);
    if (rc) {
        /* The link must not be called, since the pair goes with this. */
        connection_abandon(p->ends[0].conn);
        mem_free(&mem, p);
        return rc;
    }
    *a_out = alk_connection_ref(p->ends[0].conn);
    *b_out = alk_connection_ref(p->ends[1].conn);
    return ALK_OK;
}
