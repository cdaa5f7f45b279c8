/* The fields of a head into a request.
 *
 * nghttp2 has seen to most of RFC 9113, section 8: that pseudo-header fields come first, once, and
 * the right ones; that names are in lower case; that there is nothing that concerns a connection.
 * Here are the limits, and what RFC 9110 and HTTP/1.1 have in common (wire/http_head.h), by the
 * same functions, so that a request is judged the same by either version. */
#include "wire/h2_int.h"

#include <string.h>

/* The colon, a space and a line end, as a field of HTTP/1.1 has them. */
#define FIELD_EXTRA 4u
#define PSEUDO_MAX 5u

static bool has_room(struct h2_stream *s, size_t more, size_t slots)
{
    struct h2 *h = s->h;
    size_t len = s->head ? s->head->len : 0;

    switch (http_head_grow(&s->head, h->e.out.mem, h->meter, len + more, slots,
                           (size_t)h->limits->header_count + PSEUDO_MAX)) {
    case HTTP_HEAD_REFUSED:
        h2_fail(s, 503, "too much is being received");
        return false;
    case HTTP_HEAD_NO_MEMORY:
        h2_cut(s, NGHTTP2_INTERNAL_ERROR);
        return false;
    }
    return true;
}

/* Behind the text that there is; room has been made. */
static struct str keep(struct http_head *head, struct str s)
{
    char *to = http_head_text(head) + head->len;

    if (s.n)
        memcpy(to, s.p, s.n);
    head->len += (uint32_t)s.n;
    return (struct str){to, s.n};
}

/* The limits of pseudo-header fields: a target's is its own, and the others are short. */
static bool within(struct h2_stream *s, struct str name, struct str value)
{
    const struct http_limits *l = s->h->limits;
    size_t count = s->head ? s->head->count : 0;

    if (str_is(name, ":path")) {
        if (value.n > l->url_bytes)
            h2_fail(s, 414, "request target too long");
    } else {
        s->fields += name.n + value.n + FIELD_EXTRA;
        if (s->fields > l->header_bytes)
            h2_fail(s, 431, "header too long");
        else if (*name.p != ':' && count - s->pseudo >= l->header_count)
            h2_fail(s, 431, "too many header fields");
    }
    return !s->error;
}

void h2_head_add(struct h2_stream *s, struct str name, struct str value)
{
    struct http_head *head;

    if (s->error || s->response == RESPONSE_CUT || !within(s, name, value) ||
        !has_room(s, name.n + value.n, s->head ? s->head->count + 1 : 1))
        return;
    head = s->head;
    head->headers[head->count].name = keep(head, name);
    head->headers[head->count++].value = keep(head, value);
    s->pseudo += *name.p == ':';
}

/* ---- judgement ------------------------------------------------------------------------------- */

/* Crumbs become one field (RFC 9113, section 8.2.3): a program sees a cookie as HTTP/1.1 has it. */
static bool join_cookies(struct h2_stream *s)
{
    struct http_head *head = s->head;
    size_t whole = 0;
    uint32_t n = 0, first = 0, to = s->pseudo;
    char *at;

    for (uint32_t i = head->count; i-- > s->pseudo;) {
        if (str_is(head->headers[i].name, "cookie")) {
            whole += head->headers[i].value.n + 2;
            first = i;
            n++;
        }
    }
    if (n < 2)
        return true;
    if (!has_room(s, whole, head->count))
        return false;
    head = s->head;
    at = http_head_text(head) + head->len;
    for (uint32_t i = s->pseudo; i < head->count; i++) {
        if (str_is(head->headers[i].name, "cookie")) {
            keep(head, head->headers[i].value);
            keep(head, (struct str){"; ", 2});
            if (i != first)
                continue;
        }
        head->headers[to++] = head->headers[i];
    }
    head->count = to;
    head->headers[first].value = (struct str){at, whole - 2};
    return true;
}

static void judge_pseudo(struct h2_stream *s, struct str *target)
{
    struct http_request *r = &s->x.req;

    for (uint32_t i = 0; i < s->pseudo; i++) {
        struct str name = s->head->headers[i].name, value = s->head->headers[i].value;

        if (str_is(name, ":method"))
            r->method = value;
        else if (str_is(name, ":path"))
            *target = value;
        else if (str_is(name, ":authority"))
            r->host = value;
        else if (str_is(name, ":protocol"))
            r->protocol = value;
        else if (!(r->https = http_is_folded(value, "https")) && !http_is_folded(value, "http"))
            h2_fail(s, 400, "scheme not supported"); /* the one that is left */
    }
}

/* nghttp2 has counted what is there, and is content with one host, wherever it stands. Two that
 * differ are 400, since a proxy in front may route by one and we by the other. */
static void judge_host(struct h2_stream *s)
{
    struct http_request *r = &s->x.req;
    const struct http_header *host = http_find(r, "host", 4);

    if (!r->host.p && host)
        r->host = host->value;
    if (!http_is_host(r->host))
        h2_fail(s, 400, "malformed :authority or Host");
    else if (host && !str_eq(host->value, r->host))
        h2_fail(s, 400, ":authority and Host differ");
}

/* nghttp2 has seen that the length is a number, and compares it with the bytes that come. */
static void judge_body(struct h2_stream *s, bool last)
{
    struct http_request *r = &s->x.req;
    const struct http_header *length = http_find(r, "content-length", 14);
    const struct http_header *expect = http_find(r, "expect", 6);

    for (size_t i = 0; length && i < length->value.n; i++)
        r->content_length = r->content_length * 10 + (uint64_t)(length->value.p[i] - '0');
    r->has_body = !last && !r->protocol.p && (!length || r->content_length);
    r->chunked = r->has_body && !length;
    if (expect && !http_is_folded(expect->value, "100-continue"))
        h2_fail(s, 417, "expectation not supported");
    s->expects = expect && r->has_body;
}

/* The bytes of an extended CONNECT are its stream's and no body. */
void h2_head_judge(struct h2_stream *s, bool last)
{
    struct http_request *r = &s->x.req;
    struct str target = STR_NONE;

    if (s->error || s->response == RESPONSE_CUT || !join_cookies(s))
        return;
    r->minor = 2;
    r->headers = s->head->headers + s->pseudo;
    r->header_count = s->head->count - s->pseudo;
    judge_pseudo(s, &target);
    if (r->protocol.p)
        r->method = (struct str){"GET", 3};
    if (!http_serves_method(r->method))
        h2_fail(s, 501, "method not supported");
    else if (!http_is_target(target) || !target.n || !http_split_target(r, target))
        h2_fail(s, 400, "malformed request target");
    judge_host(s);
    judge_body(s, last);
}
