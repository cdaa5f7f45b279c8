/* nghttp2's side of the engine: its options, what it tells of frames that came or went, and its
 * memory.
 *
 * Its memory is counted as a whole, in steps, above what every connection has. Each block is in a
 * list, by which it is freed at the end: after a failed allocation nghttp2 may free what it has
 * freed (1.52, an item that finds no room in the queue of priorities). All are wiped, since header
 * tables keep tokens.
 *
 * Two kinds of flood are legal frame by frame and so not nghttp2's affair. Streams that the client
 * ends in error, by RST_STREAM (rapid reset, CVE-2023-44487) or by making us send one
 * (MadeYouReset, CVE-2025-8671), cost a call each and hold no place: they are taken from one
 * bucket. Frames that carry nothing are taken from another, into which useful ones put something
 * back. */
#include "wire/h2_int.h"

#include "base/time.h"

#include <string.h>

#define WINDOW (1 << 20) /* of a connection; that of a stream is the 65535 bytes of RFC 9113 */
/* Frames a minute that carry nothing, beyond those that go with what is useful. */
#define IDLE_FRAMES 4096u
/* So many of these go with a request, and one with so many bytes of bodies. */
#define IDLE_PER_REQUEST 16u
#define IDLE_BYTES 256u
#define PAD_MAX 256u /* bytes of a frame that may be nothing but padding */
/* A header block that is so many times longer than the limits allow is no mistake. */
#define BLOCK_TIMES 4u
/* Of nghttp2's memory, so much is every connection's and not counted, as blocks below METER_MIN are
 * not; the rest is counted by METER_MIN. */
#define HELD_FREE 32768u

/* ---- memory ---------------------------------------------------------------------------------- */

union block {
    struct {
        struct list link;
        size_t size; /* with this */
    };
    max_align_t align;
};

/* With a step to spare on the way down, so that a block that comes and goes does not call the
 * meter each time. */
static bool count(struct h2 *h, size_t held)
{
    size_t above = held > HELD_FREE ? held - HELD_FREE : 0;
    size_t to = (above + METER_MIN - 1) / METER_MIN * METER_MIN;

    if (to > h->charged || to + METER_MIN < h->charged) {
        if (!meter_resize(h->meter, h->charged, to))
            return false;
        h->charged = to;
    }
    h->held = held;
    return true;
}

/* It does not get over a failure: the connection is at its end. */
static void *starved(struct h2 *h)
{
    h->e.closing = ENGINE_RESET;
    h2_wake(h);
    return NULL;
}

static void *take(size_t n, void *ud)
{
    struct h2 *h = ud;
    union block *b = NULL;

    n += sizeof *b;
    if (!count(h, h->held + n))
        return starved(h);
    b = mem_alloc(h->e.out.mem, n);
    if (!b) {
        count(h, h->held - n);
        return starved(h);
    }
    b->size = n;
    list_push(&h->blocks, &b->link);
    return b + 1;
}

static void drop(struct h2 *h, union block *b)
{
    list_del(&b->link);
    count(h, h->held - b->size);
    mem_wipe(b + 1, b->size - sizeof *b);
    mem_free(h->e.out.mem, b);
}

static void give(void *p, void *ud)
{
    if (p)
        drop(ud, (union block *)p - 1);
}

static void *take_zeroed(size_t n, size_t size, void *ud)
{
    void *p = take(n * size, ud);

    return p ? memset(p, 0, n * size) : NULL;
}

static void *resize(void *had, size_t n, void *ud)
{
    void *p = take(n, ud);

    if (p && had) {
        size_t size = ((union block *)had)[-1].size - sizeof(union block);

        memcpy(p, had, size < n ? size : n);
        give(had, ud);
    }
    return p;
}

void h2_session_close(struct h2 *h)
{
    while (!list_empty(&h->blocks))
        drop(h, container_of(h->blocks.next, union block, link));
}

/* ---- floods ---------------------------------------------------------------------------------- */

static uint64_t price(uint32_t limit)
{
    return 60 * SECOND / limit;
}

/* It holds `limit`, and is full again a minute after it was empty; false: it is empty. 0: no
 * limit. */
static bool bucket_take(struct h2_bucket *b, uint32_t limit, uint64_t now)
{
    if (!limit)
        return true;
    if (b->full_at < now)
        b->full_at = now;
    b->full_at += price(limit);
    return b->full_at <= now + 60 * SECOND;
}

static void useful(struct h2 *h, uint64_t n)
{
    n *= price(IDLE_FRAMES);
    h->idle.full_at = h->idle.full_at > n ? h->idle.full_at - n : 0;
}

static void ended_in_error(struct h2 *h)
{
    if (!bucket_take(&h->resets, h->limits->resets, h->now))
        h2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

static struct h2_stream *find(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* ---- what came ------------------------------------------------------------------------------- */

/* Types that nobody knows are not told of; nghttp2 skips them at the cost of their bytes. */
static bool carries_nothing(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        return (!hd->length || (hd->length <= PAD_MAX && (hd->flags & NGHTTP2_FLAG_PADDED))) &&
               !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_RST_STREAM: /* has a limit of its own */
    case NGHTTP2_GOAWAY:
        return false;
    default:
        return true;
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ud)
{
    struct h2 *h = ud;

    (void)session;
    if (carries_nothing(hd) && !bucket_take(&h->idle, IDLE_FRAMES, h->now))
        h2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

/* Streams take turns: what a client wishes could let one of them starve the others. */
static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ud)
{
    static const nghttp2_extpri turns = {NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
    struct h2 *h = ud;
    int32_t id = frame->hd.stream_id;
    struct h2_stream *s;

    h->head_stream = id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    s = h2_stream_new(h, id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, id, s);
    return nghttp2_session_change_extpri_stream_priority(session, id, &turns, 1);
}

/* What a block may cost is decided on all of its fields, kept or dropped. A dynamic table lets a
 * byte stand for 4 KiB, and all of it has to be decoded for the sake of the next block. */
static bool block_goes_on(struct h2_stream *s, size_t n)
{
    const struct http_limits *l = s->h->limits;

    s->block += n;
    if (s->block <= BLOCK_TIMES * ((size_t)l->header_bytes + l->url_bytes))
        return true;
    h2_terminate(s->h, NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
}

/* Trailers are dropped, as those of HTTP/1.1 are: none may become a header. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *ud)
{
    struct h2_stream *s = find(session, frame->hd.stream_id);
    nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);

    (void)ud;
    (void)flags;
    if (s && block_goes_on(s, n.len + v.len) && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head_add(s, (struct str){(const char *)n.base, n.len},
                    (struct str){(const char *)v.base, v.len});
    return 0;
}

/* nghttp2 would drop it and go on, so that we and a proxy before us could see two requests. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *ud)
{
    struct h2_stream *s = find(session, frame->hd.stream_id);

    (void)name;
    (void)ud;
    (void)flags;
    if (s && block_goes_on(s, nghttp2_rcbuf_get_buf(value).len))
        h2_fail(s, 400, "malformed header field");
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *ud)
{
    struct h2 *h = ud;
    struct h2_stream *s = find(session, id);

    (void)flags;
    useful(h, len / IDLE_BYTES);
    nghttp2_session_consume_connection(session, len);
    if (s)
        h2_stream_input(s, (const char *)data, len);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ud)
{
    struct h2 *h = ud;
    struct h2_stream *s = find(session, frame->hd.stream_id);

    switch (frame->hd.type) {
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            h2_drain_end(h);
        return 0;
    case NGHTTP2_RST_STREAM:
        if (s && !s->sent)
            ended_in_error(h);
        return 0;
    case NGHTTP2_HEADERS:
        h->head_stream = 0;
        break;
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    if (!s)
        return 0;
    s->remote_ended |= frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        h->seen = true;
        useful(h, IDLE_PER_REQUEST);
        h2_stream_begin(s);
    } else if (s->remote_ended) {
        s->body_deadline = 0;
        h2_touch(s);
    }
    return 0;
}

/* ---- what went ------------------------------------------------------------------------------- */

/* A reset that we wanted is no fault of the client's. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ud)
{
    struct h2 *h = ud;
    struct h2_stream *s = find(session, frame->hd.stream_id);

    if (frame->hd.type == NGHTTP2_DATA)
        useful(h, frame->hd.length / IDLE_BYTES);
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        if (!s || s->response != RESPONSE_CUT)
            ended_in_error(h);
    } else if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
               (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)) {
        s->sent = true;
        h2_touch(s);
    }
    return 0;
}

/* What the client has reset ends at once: the next request in the same piece of input has its place
 * in nghttp2's count already. */
static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ud)
{
    struct h2 *h = ud;
    struct h2_stream *s = find(session, id);

    (void)code;
    if (h->head_stream == id)
        h->head_stream = 0;
    if (!s)
        return 0;
    s->linked = false;
    if (!s->open && !s->tunnel)
        h2_stream_free(s);
    else if (h->receiving)
        h2_stream_step(s);
    else
        h2_touch(s);
    return 0;
}

/* ---- the session ----------------------------------------------------------------------------- */

/* Options and callbacks are read by nghttp2 when a session is made, and are the only memory that is
 * the C library's. */
static int open_session(struct h2 *h, nghttp2_session_callbacks *c, nghttp2_option *o)
{
    nghttp2_mem mem = {h, take, give, take_zeroed, resize};

    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(c, h2_send_data);
    nghttp2_option_set_no_auto_window_update(o, 1);
    /* Ours is stricter, and goes by the engine's clock. */
    nghttp2_option_set_stream_reset_rate_limit(o, UINT64_MAX, UINT64_MAX);
    return nghttp2_session_server_new3(&h->session, c, h, o, &mem);
}

/* nghttp2 resets what goes beyond `streams`. */
static int submit_settings(struct h2 *h)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->limits->streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->limits->header_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };

    return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof settings / sizeof *settings) ||
           nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
}

int h2_session_open(struct h2 *h)
{
    nghttp2_session_callbacks *c = NULL;
    nghttp2_option *o = NULL;
    int rc = nghttp2_session_callbacks_new(&c) || nghttp2_option_new(&o) || open_session(h, c, o) ||
             submit_settings(h);

    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(c);
    return rc ? -1 : 0;
}
