/* Responses out: what the application may do with an exchange of HTTP/1.1.
 *
 * Nothing here calls the application. What an operation makes due (the end of an exchange, an error, the
 * body that may now be read) is noted, and the engine's next step does it; outside of a step, wake asks
 * for one. A response has exact framing, or the connection does not outlive it. */
#include "wire/h1_int.h"

#include "base/swar.h"

#include <assert.h>
#include <string.h>

/* The status line and the fields that the engine adds, with room to spare. */
#define HEAD_EXTRA 320u
/* A body up to this size is made room for with its head. */
#define BODY_AHEAD 16384u
/* Hexadecimal size, CRLF before and behind the data. */
#define CHUNK_EXTRA 20u

static struct h1 *of_exchange(struct http_exchange *x)
{
    return container_of(x, struct h1, x);
}

static void wake(struct h1 *h)
{
    if (h->running || h->woken)
        return;
    h->woken = true;
    h->e.wake(&h->e, h->e.wake_ud);
}

static int out_of_memory(struct h1 *h)
{
    h->e.closing = ENGINE_RESET;
    wake(h);
    return -1;
}

static const char *phrase(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 411:
        return "Length Required";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 423:
        return "Locked";
    case 426:
        return "Upgrade Required";
    case 428:
        return "Precondition Required";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 451:
        return "Unavailable For Legal Reasons";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

static char *put(char *to, const char *s, size_t n)
{
    memcpy(to, s, n);
    return to + n;
}

#define PUT(to, literal) put(to, literal, sizeof literal - 1)

/* A line break in a field would let its author write the rest of the response (RFC 9110 section 5.5). */
static char *put_field(char *to, struct str s)
{
    memcpy(to, s.p, s.n);
    if (swar_has_control(s.p, s.n)) {
        for (size_t i = 0; i < s.n; i++)
            to[i] = s.p[i] == '\r' || s.p[i] == '\n' || !s.p[i] ? ' ' : s.p[i];
    }
    return to + s.n;
}

static char *put_fields(char *to, const struct http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to = put_field(to, headers[i].name);
        to = PUT(to, ": ");
        to = put_field(to, headers[i].value);
        to = PUT(to, "\r\n");
    }
    return to;
}

static char *put_decimal(char *to, uint64_t v)
{
    char digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return put(to, digits + i, sizeof digits - i);
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
    const struct str *method = &h->x.req.method;

    h->response = RESPONSE_BODY;
    h->response_left = length;
    h->response_bare =
        status == 204 || status == 304 || (method->n == 4 && !memcmp(method->p, "HEAD", 4));
    h->response_chunked = length == HTTP_LENGTH_UNKNOWN && h->x.req.minor;
    if (h->draining || (h->x.req.has_body && h->body == BODY_HELD))
        h->keep = false;
    if (length == HTTP_LENGTH_UNKNOWN && !h->x.req.minor && status != 204 && status != 304)
        h->keep = false;
}

static char *put_framing(char *to, const struct h1 *h, int status)
{
    if (status != 204 && status != 304) {
        if (h->response_chunked) {
            to = PUT(to, "Transfer-Encoding: chunked\r\n");
        } else if (h->response_left != HTTP_LENGTH_UNKNOWN) {
            to = PUT(to, "Content-Length: ");
            to = put_decimal(to, h->response_left);
            to = PUT(to, "\r\n");
        }
    }
    if (!h->keep)
        to = PUT(to, "Connection: close\r\n");
    else if (!h->x.req.minor)
        to = PUT(to, "Connection: keep-alive\r\n");
    return PUT(to, "\r\n");
}

static int start(struct http_exchange *x, int status, const struct http_header *headers, size_t n,
                 uint64_t length)
{
    struct h1 *h = of_exchange(x);
    size_t room = HEAD_EXTRA + sizeof h->limits->date;
    const char *text = phrase(status);
    char *to;

    assert(h->open && status >= 200 && status <= 999);
    if (h->e.closing)
        return -1;
    assert(h->response == RESPONSE_NONE);
    decide(h, status, length);
    for (size_t i = 0; i < n; i++)
        room += headers[i].name.n + headers[i].value.n + 4;
    to = buf_reserve(&h->e.out, room + (length <= BODY_AHEAD ? (size_t)length : 0));
    if (!to)
        return out_of_memory(h);
    to = PUT(to, "HTTP/1.1 ");
    to = put_decimal(to, (uint64_t)status);
    to = PUT(to, " ");
    to = put(to, text, strlen(text));
    to = PUT(to, "\r\n");
    if (h->limits->date[0]) {
        to = PUT(to, "Date: ");
        to = put(to, h->limits->date, strlen(h->limits->date));
        to = PUT(to, "\r\n");
    }
    to = put_fields(to, headers, n);
    to = put_framing(to, h, status);
    buf_commit(&h->e.out, (size_t)(to - (buf_at(&h->e.out) + h->e.out.len)));
    h->above |= h1_unsent(h) > h->limits->write_high;
    wake(h);
    return 0;
}

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
    if (h->response_chunked ? write_chunk(h, data, len) : buf_append(&h->e.out, data, len))
        return out_of_memory(h);
    h->above |= h1_unsent(h) > h->limits->write_high;
    wake(h);
    return 0;
}

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
    h->response = RESPONSE_DONE;
    wake(h);
}

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

static size_t queued(const struct http_exchange *x)
{
    return h1_unsent(container_of(x, const struct h1, x));
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
    .close_after = close_after,
};
