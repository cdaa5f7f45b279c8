/* A stream that carries another engine, as a socket would (RFC 8441): DATA is what it is fed, what
 * it has to say becomes DATA within the client's windows, its end is the stream's.
 *
 * The engine is entered in the stream's step, with what comes and at its deadlines, and nowhere
 * else. What it does not want to read waits in `in`, and is not given back to the stream's window
 * before it does. */
#include "wire/h2_int.h"

static void wake(struct engine *e, void *ud)
{
    (void)e;
    h2_touch(ud);
}

void h2_tunnel_begin(struct h2_stream *s, struct engine *next)
{
    s->tunnel = next;
    next->wake = wake;
    next->wake_ud = s;
}

void h2_tunnel_fini(struct h2_stream *s)
{
    struct engine *t = s->tunnel;

    s->tunnel = NULL;
    t->ops->fini(t);
    h2_stream_leave(s);
}

/* Behind each of its entries. */
static void succeed(struct h2_stream *s)
{
    while (s->tunnel->successor)
        s->tunnel = engine_succeed(s->tunnel);
}

static void offer(struct h2_stream *s, const char *data, size_t len)
{
    s->tunnel->ops->feed(s->tunnel, data, len, s->h->now);
    succeed(s);
    h2_consumed(s, len);
}

void h2_tunnel_input(struct h2_stream *s, const char *data, size_t len)
{
    if (s->tunnel->reading && !s->in.len && !s->tunnel->closing)
        offer(s, data, len);
    else
        h2_stream_keep(s, data, len);
    h2_touch(s);
}

/* One that closes reads on until it has closed, and what comes is dropped. */
static void offer_kept(struct h2_stream *s)
{
    while (s->in.len && s->tunnel->reading && !s->tunnel->closing) {
        struct buf b = s->in;

        buf_init(&s->in, b.mem);
        s->in.meter = b.meter;
        s->in.secret = true;
        offer(s, buf_at(&b), b.len);
        buf_fini(&b);
    }
    if (s->tunnel->closing)
        buf_fini(&s->in);
    if (s->remote_ended && !s->eof_told && !s->in.len) {
        s->eof_told = true;
        s->tunnel->ops->eof(s->tunnel, s->h->now);
        succeed(s);
    }
}

/* What waits for the client, and since when; a window begins with what waits then. */
static void set_deadline(struct h2_stream *s)
{
    struct engine *t = s->tunnel;

    if (!t->out.len || !t->patience) {
        s->write_deadline = 0;
    } else if (!s->write_deadline) {
        s->write_deadline = s->h->now + t->patience;
        s->moved = 0;
        s->waited = t->out.len;
    }
    h2_arm(s);
}

void h2_tunnel_step(struct h2_stream *s)
{
    struct engine *t;

    if (!s->linked || s->response == RESPONSE_CUT) {
        h2_tunnel_fini(s);
        return;
    }
    if (s->h->draining && !s->drain_told) {
        s->drain_told = true;
        s->tunnel->ops->drain(s->tunnel, s->h->now);
        succeed(s);
    }
    s->tunnel->ops->drained(s->tunnel, s->h->now);
    succeed(s);
    offer_kept(s);
    t = s->tunnel;
    engine_flush(t, s->h->now);
    if (t->closing == ENGINE_RESET || s->sent) {
        h2_tunnel_fini(s);
        return;
    }
    if (t->out.len || t->closing)
        h2_resume(s);
    else
        buf_fini(&t->out);
    set_deadline(s);
}
