/* What a request's head has to look like, beyond what llhttp sees to.
 *
 * llhttp finds names and values; the rules of RFC 9110 and RFC 9112 that it leaves open are
 * enforced here: the exact request line, Host, the form of the target, Expect, and how the body is
 * delimited. Everything that two servers in a row could read differently is an error and is never
 * repaired, since a request that a proxy and we cut apart at different places lets its sender slip
 * in a second one (request smuggling, RFC 9112, section 11.2). Nothing here allocates or calls the
 * application: the slices of x.req point into the head's text. */
#include "wire/h1_int.h"

#include "base/ip.h"

#include <string.h>

#define MAX_PORT_DIGITS 5u /* so that a port cannot overflow while it is read */

/* " HTTP/1.1\r\n" */
#define VERSION_LEN 11u

/* tchar of RFC 9110, section 5.6.2; unreserved and sub-delims of RFC 3986, section 2. 3 is both. */
enum { CHAR_TOKEN = 1, CHAR_HOST = 2 };

static const uint8_t char_class[256] = {
    ['!'] = 3, ['#'] = 1, ['$'] = 3, ['%'] = 1, ['&'] = 3, ['\''] = 3, ['('] = 2, [')'] = 2,
    ['*'] = 3, ['+'] = 3, [','] = 2, ['-'] = 3, ['.'] = 3, [';'] = 2,  ['='] = 2, ['^'] = 1,
    ['_'] = 3, ['`'] = 1, ['|'] = 1, ['~'] = 3, ['0'] = 3, ['1'] = 3,  ['2'] = 3, ['3'] = 3,
    ['4'] = 3, ['5'] = 3, ['6'] = 3, ['7'] = 3, ['8'] = 3, ['9'] = 3,  ['A'] = 3, ['B'] = 3,
    ['C'] = 3, ['D'] = 3, ['E'] = 3, ['F'] = 3, ['G'] = 3, ['H'] = 3,  ['I'] = 3, ['J'] = 3,
    ['K'] = 3, ['L'] = 3, ['M'] = 3, ['N'] = 3, ['O'] = 3, ['P'] = 3,  ['Q'] = 3, ['R'] = 3,
    ['S'] = 3, ['T'] = 3, ['U'] = 3, ['V'] = 3, ['W'] = 3, ['X'] = 3,  ['Y'] = 3, ['Z'] = 3,
    ['a'] = 3, ['b'] = 3, ['c'] = 3, ['d'] = 3, ['e'] = 3, ['f'] = 3,  ['g'] = 3, ['h'] = 3,
    ['i'] = 3, ['j'] = 3, ['k'] = 3, ['l'] = 3, ['m'] = 3, ['n'] = 3,  ['o'] = 3, ['p'] = 3,
    ['q'] = 3, ['r'] = 3, ['s'] = 3, ['t'] = 3, ['u'] = 3, ['v'] = 3,  ['w'] = 3, ['x'] = 3,
    ['y'] = 3, ['z'] = 3,
};

/* A table and not isalnum: no locale, one load for each byte. */
static bool is_class(char c, int class)
{
    return char_class[(unsigned char)c] & class;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* lower is in lower case. ASCII only: field values are bytes. */
static bool starts_folded(struct str s, const char *lower)
{
    size_t n = strlen(lower);

    for (size_t i = 0; i < n && s.n >= n; i++) {
        char c = s.p[i];

        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i])
            return false;
    }
    return s.n >= n;
}

static bool is_folded(struct str s, const char *lower)
{
    return s.n == strlen(lower) && starts_folded(s, lower);
}

/* OWS around a value (RFC 9110, section 5.5): llhttp leaves some of it. */
static void trim(struct str *s)
{
    while (s->n && (s->p[s->n - 1] == ' ' || s->p[s->n - 1] == '\t'))
        s->n--;
    while (s->n && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
        s->n--;
    }
}

/* ---- the request line ---- */

/* line has n bytes and ends with LF. llhttp would take an HTTP/0.9 line, more spaces, other
 * protocols. */
bool h1_judge_line(struct h1 *h, const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    const char *version = n > VERSION_LEN ? line + n - VERSION_LEN : line, *target;
    struct str method = {line, space ? (size_t)(space - line) : 0};

    for (size_t i = 0; i < method.n; i++) {
        if (!is_class(line[i], CHAR_TOKEN))
            return h1_fail(h, 400, "malformed method");
    }
    /* Exactly one space on each side (RFC 9112, section 3): whoever splits at the first and whoever
     * splits at the last space must find the same target. */
    if (!method.n || version <= space + 1 || memcmp(version, " HTTP/", 6) != 0 ||
        !is_digit(version[6]) || version[7] != '.' || !is_digit(version[8]) || version[9] != '\r')
        return h1_fail(h, 400, "malformed request line");
    /* Spaces, controls and bytes above 0x7e are in no URI; a fragment is not sent (RFC 9110,
     * section 7.1). */
    for (target = space + 1; target < version; target++) {
        if (*target <= ' ' || *target > '~' || *target == '#')
            return h1_fail(h, 400, "request target has a byte that is not allowed");
    }
    if ((size_t)(version - space - 1) > h->limits->url_bytes)
        return h1_fail(h, 414, "request target too long");
    /* Nothing above HTTP/1.1 has this form; what it would mean is not ours to guess. */
    if (version[6] != '1' || version[8] > '1')
        return h1_fail(h, 505, "HTTP version not supported");
    /* We are no proxy; PRI is the preface of HTTP/2 (RFC 9113, section 3.4). */
    if (str_is(method, "CONNECT") || str_is(method, "PRI"))
        return h1_fail(h, 501, "method not supported");
    return true;
}

/* ---- header fields ---- */

/* Host is uri-host [":" port]: a name, an IPv4 address, or an IPv6 address in brackets (RFC 9110,
 * section 7.2). An empty one is refused too: only targets without an authority have it, and we
 * serve none. */
static bool is_host(struct str s)
{
    size_t i = 0, port;

    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        struct str inside = {s.p + 1, end ? (size_t)(end - s.p - 1) : 0};
        struct ip address;

        if (!inside.n || !memchr(inside.p, ':', inside.n) || !ip_parse(inside, &address))
            return false;
        i = inside.n + 2;
    } else {
        while (i < s.n &&
               (is_class(s.p[i], CHAR_HOST) ||
                (s.p[i] == '%' && s.n - i > 2 && is_hex(s.p[i + 1]) && is_hex(s.p[i + 2]))))
            i += s.p[i] == '%' ? 3 : 1;
        if (!i)
            return false;
    }
    if (i == s.n)
        return true;
    if (s.p[i++] != ':' || s.n - i > MAX_PORT_DIGITS)
        return false;
    for (port = 0; i < s.n && is_digit(s.p[i]); i++)
        port = port * 10 + (size_t)(s.p[i] - '0');
    return i == s.n && port <= 65535;
}

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
            trim(&coding);
            for (size_t j = 0; j < coding.n; j++) {
                if (!is_class(coding.p[j], CHAR_TOKEN))
                    coding.n = 0;
            }
            if (chunked || !coding.n)
                return h1_fail(h, 400, "malformed Transfer-Encoding");
            chunked = is_folded(coding, "chunked");
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

        trim(value);
        if (str_is(name, "host")) {
            if (host)
                return h1_fail(h, 400, "more than one Host");
            if (!is_host(*value))
                return h1_fail(h, 400, "malformed Host");
            host = true;
            r->host = *value;
        } else if (str_is(name, "expect")) {
            if (!is_folded(*value, "100-continue"))
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
 * absolute-form counts in place of Host, which is judged all the same. The path stays undecoded:
 * what %2F is in it, only the application can say. */
static bool judge_target(struct h1 *h, struct str t)
{
    struct http_request *r = &h->x.req;
    const char *question;

    if (str_is(t, "*")) {
        if (!str_is(r->method, "OPTIONS"))
            return h1_fail(h, 400, "malformed request target");
        r->path = t;
        return true;
    }
    if (*t.p != '/') {
        size_t scheme = starts_folded(t, "http://") ? 7 : starts_folded(t, "https://") ? 8 : 0;
        size_t end = scheme;

        while (end < t.n && t.p[end] != '/' && t.p[end] != '?')
            end++;
        r->host = (struct str){t.p + scheme, end - scheme};
        if (!scheme || !is_host(r->host))
            return h1_fail(h, 400, "malformed request target");
        r->https = scheme == 8;
        t = (struct str){t.p + end, t.n - end};
    }
    question = t.n ? memchr(t.p, '?', t.n) : NULL;
    if (question)
        r->query = (struct str){question + 1, (size_t)(t.p + t.n - question - 1)};
    r->path = (struct str){t.p, question ? (size_t)(question - t.p) : t.n};
    if (!r->path.n)
        r->path = (struct str){"/", 1};
    return true;
}

void h1_judge_head(struct h1 *h)
{
    struct http_request *r = &h->x.req;
    const char *text = h1_head_text(h->head), *space = memchr(text, ' ', h->head->line);
    size_t m = (size_t)(space - text);

    r->method = (struct str){text, m};
    r->host = (struct str){"", 0};
    r->minor = (uint8_t)(text[h->head->line - 3] - '0');
    r->headers = h->head->headers;
    r->header_count = h->head->count;
    h->keep = llhttp_should_keep_alive(&h->parser) && !(h->parser.flags & F_CONNECTION_CLOSE);
    if (judge_fields(h))
        judge_target(h, (struct str){space + 1, h->head->line - m - 1 - VERSION_LEN});
}
