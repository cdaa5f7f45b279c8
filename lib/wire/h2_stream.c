/* The life of an exchange: from a whole head to on_close, in steps.
 *
 * A step does one thing after the other, in the order in which they matter: the end of the exchange
 * before an error, an error before its body, a body before its end. Pieces of a body that somebody
 * has asked for go to the application where they lie, in nghttp2's event; those that came before
 * that wait in `in`. */
#include "wire/h2_int.h"

#include "base/time.h"

#include <assert.h>

/* How long a client may go on to send behind the end of its response. */
#define LINGER SECOND

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
    struct h2_stream *s = mem_zalloc(h->e.out.mem, sizeof *s);

    if (!s)
        return NULL;
    s->h = h;
    s->id = id;
    s->linked = true;
    s->x.ops = &h2_exchange_ops;
    s->x.multiplexed = true;
    list_init(&s->due);
    list_push(&h->rest, &s->link);
    heap_node_init(&s->timer);
    buf_init(&s->in, h->e.out.mem);
    buf_init(&s->out, h->e.out.mem);
    s->in.meter = h->meter;
    s->in.secret = true; /* there are tokens in requests */
    return s;
}

void h2_stream_free(struct h2_stream *s)
{
    assert(!s->open && !s->tunnel);
    heap_remove(&s->h->timers, &s->timer);
    list_del(&s->link);
    list_del(&s->due);
    http_head_free(&s->head, s->h->e.out.mem, s->h->meter);
    buf_fini(&s->in);
    buf_fini(&s->out);
    mem_free(s->h->e.out.mem, s);
}

void h2_fail(struct h2_stream *s, int status, const char *what)
{
    if (s->error || s->response == RESPONSE_CUT || (s->whole && !s->open))
        return;
    s->error = (uint16_t)status;
    s->what = what;
    h2_touch(s);
}

void h2_cut(struct h2_stream *s, uint32_t code)
{
    if (s->response == RESPONSE_CUT)
        return;
    s->response = RESPONSE_CUT;
    if (s->linked)
        nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_touch(s);
}

/* x.req may still be empty: an error in a head opens an exchange too, so that the application can
 * answer it. */
static void open_exchange(struct h2_stream *s)
{
    s->open = true;
    list_del(&s->link);
    list_push(&s->h->live, &s->link);
}

void h2_stream_begin(struct h2_stream *s)
{
    h2_head_judge(s, s->remote_ended);
    s->whole = true;
    if (s->error) {
        h2_touch(s);
        return;
    }
    if (s->response == RESPONSE_CUT)
        return;
    open_exchange(s);
    s->h->app->on_head(&s->x, s->h->ud);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Behind it, a stream that was upgraded goes on with its engine, which pays for itself. Who pays
 * for what is unsent may go in on_close. */
static void close_exchange(struct h2_stream *s)
{
    struct h2 *h = s->h;
    bool complete = s->response == RESPONSE_UPGRADED || (s->sent && s->response == RESPONSE_DONE);

    s->open = false;
    s->error = 0; /* nothing opens it again */
    buf_fini(&s->out);
    s->out.meter = NULL;
    h->app->on_close(&s->x, complete, h->ud);
    http_head_free(&s->head, h->e.out.mem, h->meter);
    s->body_deadline = s->write_deadline = 0;
    if (s->tunnel)
        h2_touch(s);
    else
        h2_stream_leave(s);
}

/* The client is told not to send what nobody reads (RFC 9113, section 8.1), but not at once: curl
 * 7.88, among others, throws away a response that comes together with a reset. Its window stops it
 * as well. At the end of the connection it is told nothing. */
void h2_stream_leave(struct h2_stream *s)
{
    struct h2 *h = s->h;

    list_del(&s->link);
    list_push(&h->rest, &s->link);
    heap_remove(&h->timers, &s->timer);
    buf_fini(&s->in);
    if (!s->linked)
        h2_stream_free(s);
    else if (h->e.closing || h->terminated)
        s->response = RESPONSE_CUT;
    else if (!s->sent)
        h2_cut(s, NGHTTP2_CANCEL);
    else if (!s->remote_ended) {
        s->body_deadline = h->now + LINGER;
        h2_arm(s);
    }
}

void h2_stream_close(struct h2_stream *s)
{
    if (s->open)
        close_exchange(s);
    else
        h2_tunnel_fini(s);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

void h2_consumed(struct h2_stream *s, size_t n)
{
    if (s->linked)
        nghttp2_session_consume_stream(s->h->session, s->id, n);
}

static bool too_large(struct h2_stream *s, size_t len)
{
    if (len > s->body_left)
        h2_fail(s, 413, "body too large");
    return s->error;
}

static void hand_in(struct h2_stream *s, const char *data, size_t len)
{
    if (too_large(s, len))
        return;
    s->body_left -= len;
    s->h->app->on_body(&s->x, data, len, s->h->ud);
    h2_consumed(s, len);
}

/* What is dropped is not given back to the stream's window, so that its sender stops. The bytes of
 * an extended CONNECT are kept until somebody grants it. */
void h2_stream_input(struct h2_stream *s, const char *data, size_t len)
{
    bool is_body = !s->tunnel && !s->x.req.protocol.p;

    s->expects = false;
    if (s->tunnel && !s->open) {
        h2_tunnel_input(s, data, len);
        return;
    }
    if (!s->open || s->error || (is_body && s->body == BODY_DONE) ||
        (s->response >= RESPONSE_DONE && s->response != RESPONSE_UPGRADED))
        return;
    if (is_body && s->body == BODY_ASKED && !s->in.len)
        hand_in(s, data, len);
    else
        h2_stream_keep(s, data, len);
}

/* At most what the stream's window allows. */
void h2_stream_keep(struct h2_stream *s, const char *data, size_t len)
{
    if (!buf_append(&s->in, data, len))
        return;
    if (s->in.refused && s->open)
        h2_fail(s, 503, "too much is being received");
    else
        h2_cut(s, NGHTTP2_INTERNAL_ERROR);
}

static void hand_in_kept(struct h2_stream *s)
{
    struct buf b = s->in;

    buf_init(&s->in, b.mem);
    s->in.meter = b.meter;
    s->in.secret = true;
    hand_in(s, buf_at(&b), b.len);
    buf_fini(&b);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* An error is answered unless an answer has begun: then only a reset shows the client that
 * something is wrong. */
static void raise_error(struct h2_stream *s)
{
    int status = s->error;

    s->error = 0;
    if (!s->open)
        open_exchange(s);
    s->body = BODY_DONE;
    s->body_deadline = 0;
    buf_fini(&s->in);
    if (s->response != RESPONSE_NONE)
        h2_cut(s, NGHTTP2_PROTOCOL_ERROR);
    else
        s->h->app->on_error(&s->x, status, s->what, s->h->ud);
}

static void end_body(struct h2_stream *s)
{
    s->body = BODY_DONE;
    s->body_deadline = 0;
    s->h->app->on_body_end(&s->x, s->h->ud);
}

/* nghttp2 may have closed the stream already when all of the response is out, while the application
 * has not ended it: a response without a body. */
static bool is_over(const struct h2_stream *s)
{
    return s->response >= RESPONSE_CUT || (!s->linked && !s->sent) ||
           (s->sent && s->response == RESPONSE_DONE);
}

/* What waits for the client is looked at from the first time on. */
static void set_deadlines(struct h2_stream *s)
{
    struct h2 *h = s->h;

    if (s->body == BODY_ASKED && !s->body_deadline && h->limits->body_timeout)
        s->body_deadline = h->now + h->limits->body_timeout;
    if (s->out.len && !s->write_deadline && h->limits->write_timeout) {
        s->write_deadline = h->now + h->limits->write_timeout;
        s->moved = 0;
        s->waited = s->out.len;
    }
    h2_arm(s);
}

void h2_stream_step(struct h2_stream *s)
{
    const struct http_app *app = s->h->app;

    if (s->tunnel && !s->open) {
        h2_tunnel_step(s);
        return;
    }
    if (!s->open && !(s->whole && s->error))
        return;
    for (;;) {
        if (s->open && is_over(s)) {
            close_exchange(s);
            return;
        } else if (s->error) {
            raise_error(s);
        } else if (s->response >= RESPONSE_DONE) {
            s->body = BODY_DONE;
            s->body_deadline = 0;
            break;
        } else if (s->body == BODY_ASKED && s->in.len && !s->x.req.protocol.p) {
            hand_in_kept(s);
        } else if (s->body == BODY_ASKED && (s->remote_ended || !s->x.req.has_body)) {
            end_body(s);
        } else if (s->writable) {
            s->writable = false;
            app->on_writable(&s->x, s->h->ud);
        } else {
            break;
        }
    }
    set_deadlines(s);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* As slow readers of a connection are judged: within the time, something has to leave, and as much
 * as the rate says while more than that waited. */
static bool too_slow(const struct h2_stream *s, uint64_t patience, uint32_t rate)
{
    uint64_t due = patience / MILLI * rate / 1000;

    return !s->moved || (s->waited > due && s->moved < due);
}

static void judge_writing(struct h2_stream *s, uint64_t now)
{
    const struct http_limits *l = s->h->limits;
    struct engine *t = s->tunnel;
    uint64_t patience = t ? t->patience : l->write_timeout;

    s->write_deadline = 0;
    if (!h2_waiting(s)->len || !patience)
        return;
    if (!too_slow(s, patience, t ? t->rate : l->write_rate))
        return;
    if (!t)
        h2_cut(s, NGHTTP2_CANCEL);
    else
        t->ops->stalled(t, now);
}

/* The step that follows sets what is still to be waited for. */
void h2_stream_expired(struct h2_stream *s, uint64_t now)
{
    if (!s->open && !s->tunnel) {
        h2_cut(s, NGHTTP2_NO_ERROR);
        return;
    }
    if (s->write_deadline && s->write_deadline <= now)
        judge_writing(s, now);
    if (s->body_deadline && s->body_deadline <= now) {
        s->body_deadline = 0;
        h2_fail(s, 408, "the body took too long");
    }
    if (s->tunnel && s->tunnel->deadline && s->tunnel->deadline <= now)
        s->tunnel->ops->timeout(s->tunnel, now);
    h2_touch(s);
}
