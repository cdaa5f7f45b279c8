/* Responses out: what the application may do with an exchange of HTTP/1.1.
 *
 * Nothing here calls the application. What an operation makes due (the end of an exchange, an
 * error, the body that may now be read) is noted, and the engine's next step does it; outside of a
 * step, wake asks for one. A response has exact framing, or the connection does not outlive it. */
#include "wire/h1_int.h"

#include <assert.h>
#include <string.h>

/* The status line and the fields that the engine adds, with room to spare. */
#define HEAD_EXTRA 320u
/* A body up to this size is made room for with its head. */
#define BODY_AHEAD 16384u
/* Hexadecimal size, CRLF before and behind the data. */
#define CHUNK_EXTRA 20u
/* Of a response to HTTP/1.0 whose length is not known when it begins. */
#define HELD_MAX (1u << 20)
/* Content-Length and Connection. */
#define HELD_EXTRA 96u

static struct h1 *of_exchange(struct http_exchange *x)
{
    return container_of(x, struct h1, x);
}

/* Once for all that is noted until the next step; within a step, that step sees it. */
static void wake(struct h1 *h)
{
    if (h->running || h->woken)
        return;
    h->woken = true;
    h->e.wake(&h->e, h->e.wake_ud);
}

/* What is queued may end in the middle of a response, so nothing can follow it. */
static int out_of_memory(struct h1 *h)
{
    h->e.closing = ENGINE_RESET;
    wake(h);
    return -1;
}

/* Looked through from the start, where 200 is. */
static const struct {
    int status;
    const char *text;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

/* RFC 9112, section 4: the phrase may be empty, and nobody reads it. */
static const char *phrase(int status)
{
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++) {
        if (phrases[i].status == status)
            return phrases[i].text;
    }
    return "";
}

/* These write into room that has been made, and return its new begin. */
static char *put(char *to, const char *s, size_t n)
{
    memcpy(to, s, n);
    return to + n;
}

#define PUT(to, literal) put(to, literal, sizeof literal - 1)

static char *put_fields(char *to, const struct http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to = http_put_field(to, headers[i].name);
        to = PUT(to, ": ");
        to = http_put_field(to, headers[i].value);
        to = PUT(to, "\r\n");
    }
    return to;
}

static char *put_hex(char *to, uint64_t v)
{
    char digits[16];
    size_t i = sizeof digits;

    do {
        digits[--i] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    return put(to, digits + i, sizeof digits - i);
}

/* Decides how the body is delimited and whether the connection outlives the response. */
static void decide(struct h1 *h, int status, uint64_t length)
{
    h->response = RESPONSE_BODY;
    h->response_left = length;
    h->response_bare = http_is_bare(&h->x.req, status);
    h->response_chunked = length == HTTP_LENGTH_UNKNOWN && h->x.req.minor;
    /* A body that nobody asked for is still on its way, and would be read as the next request. */
    if (h->draining || (h->x.req.has_body && h->body == BODY_HELD))
        h->keep = false;
    /* HTTP/1.0 has no chunks, and to it the end of a connection would be the end of a body, also
     * where it is its loss. So the whole response is held until its length is known. */
    h->response_held = length == HTTP_LENGTH_UNKNOWN && !h->x.req.minor && !h->response_bare;
}

/* RFC 9112, section 6: exactly one of the two, and none with 204 and 304. HEAD gets the fields that
 * GET would have. The end of the head is written here too. */
static char *put_framing(char *to, const struct h1 *h, int status)
{
    if (status != 204 && status != 304) {
        if (h->response_chunked) {
            to = PUT(to, "Transfer-Encoding: chunked\r\n");
        } else if (h->response_left != HTTP_LENGTH_UNKNOWN) {
            to = PUT(to, "Content-Length: ");
            to = http_put_decimal(to, h->response_left);
            to = PUT(to, "\r\n");
        }
    }
    if (!h->keep)
        to = PUT(to, "Connection: close\r\n");
    else if (!h->x.req.minor)
        to = PUT(to, "Connection: keep-alive\r\n");
    return PUT(to, "\r\n");
}

/* All of a head is written into room that was made for it before, so nothing can fail half-way: a
 * client never sees half a head. A small body gets its room with the head, to be written with it in
 * one go. */
static int start(struct http_exchange *x, int status, const struct http_header *headers, size_t n,
                 uint64_t length)
{
    struct h1 *h = of_exchange(x);
    size_t room = HEAD_EXTRA + sizeof h->limits->date;
    const char *text = phrase(status);
    struct buf *b = &h->e.out;
    char *to;

    assert(h->open && status >= 200 && status <= 999);
    if (h->e.closing)
        return -1;
    assert(h->response == RESPONSE_NONE);
    decide(h, status, length);
    for (size_t i = 0; i < n; i++)
        room += headers[i].name.n + headers[i].value.n + 4;
    if (h->response_held)
        b = &h->held;
    to = buf_reserve(b, room + (length <= BODY_AHEAD ? (size_t)length : 0));
    if (!to)
        return out_of_memory(h);
    to = PUT(to, "HTTP/1.1 ");
    to = http_put_decimal(to, (uint64_t)status);
    to = PUT(to, " ");
    to = put(to, text, strlen(text));
    to = PUT(to, "\r\n");
    if (h->limits->date[0]) {
        to = PUT(to, "Date: ");
        to = put(to, h->limits->date, strlen(h->limits->date));
        to = PUT(to, "\r\n");
    }
    to = put_fields(to, headers, n);
    if (!h->response_held)
        to = put_framing(to, h, status);
    buf_commit(b, (size_t)(to - (buf_at(b) + b->len)));
    h->held_head = h->held.len;
    h->above |= h1_unsent(h) > h->limits->write_high;
    wake(h);
    return 0;
}

/* Not when bytes came early: a client may not send frames before it has seen our answer (RFC 6455,
 * section 4.1), and what came may as well be a second request. */
static int upgrade(struct http_exchange *x, const struct http_header *headers, size_t n,
                   struct engine *next)
{
    static const char head[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    struct h1 *h = of_exchange(x);
    size_t room = sizeof head + 2;
    char *to;

    assert(h->open && h->response == RESPONSE_NONE && !x->early);
    if (h->e.closing)
        return -1;
    for (size_t i = 0; i < n; i++)
        room += headers[i].name.n + headers[i].value.n + 4;
    to = buf_reserve(&h->e.out, room);
    if (!to)
        return -1;
    to = put_fields(PUT(to, head), headers, n);
    to = PUT(to, "\r\n");
    buf_commit(&h->e.out, (size_t)(to - (buf_at(&h->e.out) + h->e.out.len)));
    h->response = RESPONSE_DONE;
    h->body = BODY_DONE;
    h->e.successor = next;
    wake(h);
    return 0;
}

/* The size, the data and both line ends go out as one piece, so a chunk is never torn by lack of
 * memory. */
static int write_chunk(struct h1 *h, const char *data, size_t len)
{
    char *to = len < SIZE_MAX / 2 ? buf_reserve(&h->e.out, len + CHUNK_EXTRA) : NULL;

    if (!to)
        return -1;
    to = put_hex(to, len);
    to = PUT(to, "\r\n");
    to = put(to, data, len);
    to = PUT(to, "\r\n");
    buf_commit(&h->e.out, (size_t)(to - (buf_at(&h->e.out) + h->e.out.len)));
    return 0;
}

/* Beyond the limit the client gets no answer at all, which it cannot take for one. */
static int hold(struct h1 *h, const char *data, size_t len)
{
    return len > HELD_MAX - (h->held.len - h->held_head) ? -1 : buf_append(&h->held, data, len);
}

static int let_go(struct h1 *h)
{
    char *to = buf_reserve(&h->e.out, h->held.len + HELD_EXTRA);

    if (!to)
        return -1;
    h->keep &= !h->draining;
    h->response_left = h->held.len - h->held_head;
    to = put(to, buf_at(&h->held), h->held_head);
    to = put_framing(to, h, 200);
    to = put(to, buf_at(&h->held) + h->held_head, h->held.len - h->held_head);
    buf_commit(&h->e.out, (size_t)(to - (buf_at(&h->e.out) + h->e.out.len)));
    return 0;
}

/* More bytes than were announced would be the head of the next response: an error of ours,
 * asserted. */
static int write_body(struct http_exchange *x, const char *data, size_t len)
{
    struct h1 *h = of_exchange(x);

    assert(h->open);
    if (h->e.closing)
        return -1;
    assert(h->response == RESPONSE_BODY);
    if (h->response_bare || !len)
        return 0;
    if (h->response_left != HTTP_LENGTH_UNKNOWN) {
        assert(len <= h->response_left);
        h->response_left -= len;
    }
    if (h->response_held      ? hold(h, data, len)
        : h->response_chunked ? write_chunk(h, data, len)
                              : buf_append(&h->e.out, data, len))
        return out_of_memory(h);
    h->above |= h1_unsent(h) > h->limits->write_high;
    wake(h);
    return 0;
}

/* The close is left to the next step: the application may be in the middle of something. */
static void end(struct http_exchange *x)
{
    struct h1 *h = of_exchange(x);

    assert(h->open);
    if (h->e.closing)
        return;
    assert(h->response == RESPONSE_BODY);
    assert(h->response_bare || !h->response_left || h->response_left == HTTP_LENGTH_UNKNOWN);
    if (h->response_chunked && !h->response_bare && buf_append(&h->e.out, "0\r\n\r\n", 5)) {
        out_of_memory(h);
        return;
    }
    if (h->response_held && let_go(h)) {
        out_of_memory(h);
        return;
    }
    h->response = RESPONSE_DONE;
    wake(h);
}

/* Once the head is out, a cut connection is the only way to say that the answer is not whole:
 * chunks without the last one, or fewer bytes than announced (RFC 9112, section 8). */
static void reset(struct http_exchange *x)
{
    struct h1 *h = of_exchange(x);

    assert(h->open);
    if (h->e.closing)
        return;
    assert(h->response != RESPONSE_DONE);
    h->e.closing = ENGINE_RESET;
    wake(h);
}

/* A counted body above the limit is refused before a byte of it is read. */
static void read_body(struct http_exchange *x, uint64_t limit)
{
    struct h1 *h = of_exchange(x);

    assert(h->open && h->body != BODY_ASKED);
    if (h->body != BODY_HELD)
        return;
    h->body = BODY_ASKED;
    if (x->req.chunked)
        h->body_left = limit;
    else if (h->body_left > limit)
        h1_fail(h, 413, "body too large");
    wake(h);
}

/* With what the transport has taken and not written: to a sender it is all the same. */
static size_t queued(const struct http_exchange *x)
{
    return h1_unsent(container_of(x, const struct h1, x));
}

static void charge(struct http_exchange *x, struct meter *m)
{
    buf_charge(&of_exchange(x)->e.out, m);
    buf_charge(&of_exchange(x)->held, m);
}

static void close_after(struct http_exchange *x)
{
    struct h1 *h = of_exchange(x);

    assert(h->open && h->response == RESPONSE_NONE);
    h->keep = false;
}

const struct http_exchange_ops h1_exchange_ops = {
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
