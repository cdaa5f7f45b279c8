/* What a request's head has to look like, beyond what llhttp sees to.
 *
 * llhttp finds names and values; the rules of RFC 9110 and RFC 9112 that it leaves open are
 * enforced here: the exact request line, Host, the form of the target, Expect, and how the body is
 * delimited. Everything that two servers in a row could read differently is an error and is never
 * repaired, since a request that a proxy and we cut apart at different places lets its sender slip
 * in a second one (request smuggling, RFC 9112, section 11.2). Nothing here allocates or calls the
 * application: the slices of x.req point into the head's text. */
#include "wire/h1_int.h"

#include <string.h>

/* " HTTP/1.1\r\n" */
#define VERSION_LEN 11u

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- the request line ---- */

/* line has n bytes and ends with LF. llhttp would take an HTTP/0.9 line, more spaces, other
 * protocols. */
bool h1_judge_line(struct h1 *h, const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    const char *version = n > VERSION_LEN ? line + n - VERSION_LEN : line;
    struct str method = {line, space ? (size_t)(space - line) : 0}, target;

    if (method.n && !http_is_token(method))
        return h1_fail(h, 400, "malformed method");
    /* Exactly one space on each side (RFC 9112, section 3): whoever splits at the first and whoever
     * splits at the last space must find the same target. */
    if (!method.n || version <= space + 1 || memcmp(version, " HTTP/", 6) != 0 ||
        !is_digit(version[6]) || version[7] != '.' || !is_digit(version[8]) || version[9] != '\r')
        return h1_fail(h, 400, "malformed request line");
    target = (struct str){space + 1, (size_t)(version - space - 1)};
    if (!http_is_target(target))
        return h1_fail(h, 400, "request target has a byte that is not allowed");
    if (target.n > h->limits->url_bytes)
        return h1_fail(h, 414, "request target too long");
    /* Nothing above HTTP/1 has this form; what it would mean is not ours to guess. */
    if (version[6] != '1')
        return h1_fail(h, 505, "HTTP version not supported");
    if (!http_serves_method(method))
        return h1_fail(h, 501, "method not supported");
    return true;
}

/* ---- header fields ---- */

/* Codings count over all fields of that name. chunked must be the last one, once, without
 * parameters; any other coding before it is well-formed and not supported. */
static bool judge_codings(struct h1 *h)
{
    const struct http_request *r = &h->x.req;
    bool chunked = false, other = false;

    for (size_t i = 0; i < r->header_count; i++) {
        struct str list = r->headers[i].value;

        if (!str_is(r->headers[i].name, "transfer-encoding"))
            continue;
        for (const char *end = list.p + list.n, *at = list.p, *comma; at <= end; at = comma + 1) {
            struct str coding;

            comma = at < end ? memchr(at, ',', (size_t)(end - at)) : NULL;
            comma = comma ? comma : end;
            coding = (struct str){at, (size_t)(comma - at)};
            http_trim(&coding);
            if (chunked || !http_is_token(coding))
                return h1_fail(h, 400, "malformed Transfer-Encoding");
            chunked = http_is_folded(coding, "chunked");
            other |= !chunked;
        }
    }
    /* RFC 9112, section 6.3: without chunked at the end the length of a request is unknown. Section
     * 6.1: a client of HTTP/1.0 cannot have meant it. */
    if (!chunked || !r->minor)
        return h1_fail(h, 400, "Transfer-Encoding does not delimit the body");
    if (other)
        return h1_fail(h, 501, "transfer coding not supported");
    /* Both at once are the classic of request smuggling: section 6.1 lets us refuse. */
    if (!(h->parser.flags & F_CHUNKED) || (h->parser.flags & F_CONTENT_LENGTH))
        return h1_fail(h, 400, "Transfer-Encoding and Content-Length");
    h->x.req.chunked = h->x.req.has_body = true;
    return true;
}

/* Names are in lower case already. More than one Host, or none with HTTP/1.1, is 400 by RFC 9112,
 * section 3.2: a proxy in front may route by one and we by the other. An expectation other than
 * 100-continue is 417 (RFC 9110, section 10.1.1), and HTTP/1.0 knows none. */
static bool judge_fields(struct h1 *h)
{
    struct http_request *r = &h->x.req;
    bool host = false, codings = false;

    for (uint32_t i = 0; i < h->head->count; i++) {
        struct str name = h->head->headers[i].name, *value = &h->head->headers[i].value;

        http_trim(value);
        if (str_is(name, "host")) {
            if (host)
                return h1_fail(h, 400, "more than one Host");
            if (!http_is_host(*value))
                return h1_fail(h, 400, "malformed Host");
            host = true;
            r->host = *value;
        } else if (str_is(name, "expect")) {
            if (!http_is_folded(*value, "100-continue"))
                return h1_fail(h, 417, "expectation not supported");
            h->expects = r->minor > 0;
        } else if (str_is(name, "transfer-encoding")) {
            codings = true;
        }
    }
    if (!host && r->minor)
        return h1_fail(h, 400, "no Host");
    if (codings)
        return judge_codings(h);
    if (h->parser.flags & F_CONTENT_LENGTH) {
        r->content_length = h->parser.content_length;
        r->has_body = r->content_length > 0;
    }
    return true;
}

/* RFC 9112, section 3.2: origin-form, absolute-form, asterisk-form. The authority of an
 * absolute-form counts in place of Host, which is judged all the same. */
static bool judge_target(struct h1 *h, struct str t)
{
    struct http_request *r = &h->x.req;

    if (*t.p != '/' && !str_is(t, "*")) {
        size_t scheme = http_starts_folded(t, "http://")    ? 7
                        : http_starts_folded(t, "https://") ? 8
                                                            : 0;
        size_t end = scheme;

        while (end < t.n && t.p[end] != '/' && t.p[end] != '?')
            end++;
        r->host = (struct str){t.p + scheme, end - scheme};
        if (!scheme || !http_is_host(r->host))
            return h1_fail(h, 400, "malformed request target");
        r->https = scheme == 8;
        t = (struct str){t.p + end, t.n - end};
    }
    return http_split_target(r, t) || h1_fail(h, 400, "malformed request target");
}

void h1_judge_head(struct h1 *h)
{
    struct http_request *r = &h->x.req;
    const char *text = http_head_text(h->head), *space = memchr(text, ' ', h->line);
    size_t m = (size_t)(space - text);

    r->method = (struct str){text, m};
    r->host = (struct str){"", 0};
    r->minor = (uint8_t)(text[h->line - 3] - '0');
    r->headers = h->head->headers;
    r->header_count = h->head->count;
    h->keep = llhttp_should_keep_alive(&h->parser) && !(h->parser.flags & F_CONNECTION_CLOSE);
    if (judge_fields(h))
        judge_target(h, (struct str){space + 1, h->line - m - 1 - VERSION_LEN});
}
