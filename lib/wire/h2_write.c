/* Responses out: what the application may do with an exchange of HTTP/2, and how its bytes become
 * frames.
 *
 * Nothing here calls the application. What an operation makes due is noted for the stream's step. A
 * body waits in the stream's buffer; nghttp2 asks for a piece of it when the client's windows have
 * room, and it is copied behind its frame's head into the connection's output. */
#include "wire/h2_int.h"

#include "base/swar.h"

#include <assert.h>
#include <string.h>

/* :status, date, content-length. */
#define OWN_FIELDS 3u
#define FRAME_HEAD 9u

static struct h2_stream *of_exchange(struct http_exchange *x)
{
    return container_of(x, struct h2_stream, x);
}

/* No more of it can be sent; on_close is due, or has been waited for too long. */
static bool is_gone(const struct h2_stream *s)
{
    return !s->linked || s->response == RESPONSE_CUT || s->h->e.closing || s->h->terminated;
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* One block: the fields, then the text of those that could not be left as they are. */
struct fields {
    nghttp2_nv *nv;
    size_t n;
    char *text;
};

static void add(struct fields *f, struct str name, struct str value)
{
    f->nv[f->n++] =
        (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, NGHTTP2_NV_FLAG_NONE};
}

static struct str clean(struct fields *f, struct str s)
{
    char *at = f->text;

    if (!swar_has_below(s.p, s.n, 0x20))
        return s;
    f->text = http_put_field(at, s);
    return (struct str){at, s.n};
}

/* RFC 9113, section 8.2.2. */
static bool is_of_connection(struct str name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",
                                        "transfer-encoding", "upgrade"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (http_is_folded(name, names[i]))
            return true;
    }
    return false;
}

/* nghttp2 puts names into lower case when it copies them. */
static void add_all(struct fields *f, const struct http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_of_connection(headers[i].name))
            add(f, clean(f, headers[i].name), clean(f, headers[i].value));
    }
}

static bool make_room(struct mem *mem, struct fields *f, const struct http_header *headers,
                      size_t n)
{
    size_t text = 0;

    for (size_t i = 0; i < n; i++)
        text += headers[i].name.n + headers[i].value.n;
    f->n = 0;
    f->nv = mem_alloc(mem, (n + OWN_FIELDS) * sizeof *f->nv + text);
    f->text = f->nv ? (char *)(f->nv + n + OWN_FIELDS) : NULL;
    return f->nv != NULL;
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *ud);

/* length: HTTP_LENGTH_UNKNOWN: of unknown length; has_body: DATA follows, if only to end it. */
static int submit(struct h2_stream *s, int status, const struct http_header *headers, size_t n,
                  uint64_t length, bool has_body)
{
    struct h2 *h = s->h;
    nghttp2_data_provider from = {.source = {.ptr = s}, .read_callback = read_data};
    char digits[3], decimal[HTTP_DECIMAL_MAX];
    struct fields f;
    int rc;

    if (!make_room(h->e.out.mem, &f, headers, n))
        return -1;
    http_put_decimal(digits, (uint64_t)status);
    add(&f, (struct str){":status", 7}, (struct str){digits, 3});
    if (h->limits->date[0])
        add(&f, (struct str){"date", 4}, str_of(h->limits->date));
    add_all(&f, headers, n);
    if (length != HTTP_LENGTH_UNKNOWN && status != 204 && status != 304)
        add(&f, (struct str){"content-length", 14},
            (struct str){decimal, (size_t)(http_put_decimal(decimal, length) - decimal)});
    rc = nghttp2_submit_response(h->session, s->id, f.nv, f.n, has_body ? &from : NULL);
    mem_free(h->e.out.mem, f.nv);
    return rc ? -1 : 0;
}

/* ---- operations ------------------------------------------------------------------------------ */

/* A client must not take what there is for the whole. */
static int out_of_memory(struct h2_stream *s)
{
    h2_cut(s, NGHTTP2_INTERNAL_ERROR);
    return -1;
}

static int start(struct http_exchange *x, int status, const struct http_header *headers, size_t n,
                 uint64_t length)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open && status >= 200 && status <= 999);
    if (is_gone(s))
        return -1;
    assert(s->response == RESPONSE_NONE);
    s->response = RESPONSE_BODY;
    s->response_left = length;
    s->bare = http_is_bare(&x->req, status);
    if (submit(s, status, headers, n, length, !s->bare && length))
        return out_of_memory(s);
    h2_touch(s);
    return 0;
}

static int upgrade(struct http_exchange *x, const struct http_header *headers, size_t n,
                   struct engine *next)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open && s->response == RESPONSE_NONE && x->req.protocol.p);
    if (is_gone(s) || submit(s, 200, headers, n, HTTP_LENGTH_UNKNOWN, true))
        return -1;
    s->response = RESPONSE_UPGRADED;
    s->body = BODY_DONE;
    h2_tunnel_begin(s, next);
    h2_touch(s);
    return 0;
}

static int write_body(struct http_exchange *x, const char *data, size_t len)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open);
    if (is_gone(s) && !s->sent)
        return -1;
    assert(s->response == RESPONSE_BODY);
    if (s->bare || !len)
        return 0;
    if (s->response_left != HTTP_LENGTH_UNKNOWN) {
        assert(len <= s->response_left);
        s->response_left -= len;
    }
    if (buf_append(&s->out, data, len))
        return out_of_memory(s);
    s->above |= s->out.len > s->h->limits->write_high;
    h2_resume(s);
    h2_touch(s);
    return 0;
}

static void end(struct http_exchange *x)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open);
    if (is_gone(s) && !s->sent)
        return;
    assert(s->response == RESPONSE_BODY);
    assert(s->bare || !s->response_left || s->response_left == HTTP_LENGTH_UNKNOWN);
    s->response = RESPONSE_DONE;
    h2_resume(s);
    h2_touch(s);
}

static void reset(struct http_exchange *x)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open);
    if (!is_gone(s))
        h2_cut(s, NGHTTP2_INTERNAL_ERROR);
}

/* The interim response goes out only when the client has not begun by itself. */
static void read_body(struct http_exchange *x, uint64_t limit)
{
    static const nghttp2_nv go_on = {(uint8_t *)":status", (uint8_t *)"100", 7, 3,
                                     NGHTTP2_NV_FLAG_NONE};
    struct h2_stream *s = of_exchange(x);

    assert(s->open && s->body != BODY_ASKED);
    if (is_gone(s) || s->body != BODY_HELD)
        return;
    s->body = BODY_ASKED;
    s->body_left = limit;
    if (x->req.content_length > limit)
        h2_fail(s, 413, "body too large");
    else if (s->expects && s->response == RESPONSE_NONE)
        nghttp2_submit_headers(s->h->session, NGHTTP2_FLAG_NONE, s->id, NULL, &go_on, 1, NULL);
    h2_touch(s);
}

static size_t queued(const struct http_exchange *x)
{
    return container_of(x, const struct h2_stream, x)->out.len;
}

static void charge(struct http_exchange *x, struct meter *m)
{
    buf_charge(&of_exchange(x)->out, m);
}

/* The others on the connection are finished too. */
static void close_after(struct http_exchange *x)
{
    struct h2_stream *s = of_exchange(x);

    assert(s->open && s->response == RESPONSE_NONE);
    s->h->leaving = true;
}

const struct http_exchange_ops h2_exchange_ops = {
    .read_body = read_body,
    .start = start,
    .write = write_body,
    .end = end,
    .reset = reset,
    .queued = queued,
    .upgrade = upgrade,
    .charge = charge,
    .close_after = close_after,
};

/* ---- frames ---------------------------------------------------------------------------------- */

struct buf *h2_waiting(struct h2_stream *s)
{
    return s->tunnel ? &s->tunnel->out : &s->out;
}

void h2_resume(struct h2_stream *s)
{
    if (s->deferred && s->linked) {
        s->deferred = false;
        nghttp2_session_resume_data(s->h->session, s->id);
    }
}

static bool has_ended(const struct h2_stream *s)
{
    return s->tunnel ? s->tunnel->closing == ENGINE_FLUSH_AND_CLOSE : s->response == RESPONSE_DONE;
}

/* Says how long the next DATA frame is; h2_send_data writes it. */
static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *ud)
{
    struct h2_stream *s = source->ptr;
    size_t n = h2_waiting(s)->len;

    (void)session;
    (void)id;
    (void)to;
    (void)ud;
    if (!n && !has_ended(s)) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n <= max && has_ended(s))
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)(n < max ? n : max);
}

static void moved(struct h2_stream *s, size_t n)
{
    struct buf *from = h2_waiting(s);

    buf_consume(from, n);
    s->moved += n;
    if (s->tunnel) {
        h2_touch(s); /* it may have more when there is room */
    } else if (s->above && from->len <= s->h->limits->write_high / 2) {
        s->above = false;
        s->writable = true;
        h2_touch(s);
    }
}

/* A frame that found no room before may be of a stream that has ended meanwhile. Nothing is
 * padded. */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                 size_t length, nghttp2_data_source *source, void *ud)
{
    struct h2 *h = ud;
    struct h2_stream *s = source->ptr;
    char *to;

    (void)session;
    (void)frame;
    if (h2_waiting(s)->len < length)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (h2_unsent(h) >= H2_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    to = buf_reserve(&h->e.out, FRAME_HEAD + length);
    if (!to)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(to, framehd, FRAME_HEAD);
    if (length)
        memcpy(to + FRAME_HEAD, buf_at(h2_waiting(s)), length);
    buf_commit(&h->e.out, FRAME_HEAD + length);
    moved(s, length);
    return 0;
}
