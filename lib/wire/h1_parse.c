/* Bytes in: the heads and bodies of HTTP/1.1 requests.
 *
 * A head is copied into the exchange's memory, and each piece of it that ends with a line end goes to
 * llhttp. What llhttp leaves open is decided here: the exact form of the request line, limits, Host, the
 * target's form, which transfer codings, what a chunk extension may look like. A request that two servers
 * in a row could read differently is an error, never repaired.
 * Limits are applied to a prefix of the input that does not depend on how it arrived. */
#include "wire/h1_int.h"

#include "base/swar.h"

#include <string.h>

/* What a request line may have besides its target: a method, two spaces, the version, CRLF. */
#define LINE_EXTRA 64u
/* Chunk sizes, extensions and trailers between two bytes of a chunked body, or behind the last. */
#define FRAMING_MAX 8192u
#define FIRST_SLOTS 16u
#define FIRST_ROOM 488u
#define MAX_PORT_DIGITS 5u

/* " HTTP/1.1\r\n" */
#define VERSION_LEN 11u

enum { EXTENSION_NONE, EXTENSION_NAME, EXTENSION_TOKEN, EXTENSION_QUOTED };

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

/* lower is in lower case. */
static bool equal_folded(const char *p, const char *lower, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i];

        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != lower[i])
            return false;
    }
    return true;
}

static void trim(struct str *s)
{
    while (s->n && (s->p[s->n - 1] == ' ' || s->p[s->n - 1] == '\t'))
        s->n--;
    while (s->n && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
        s->n--;
    }
}

/* ---- memory of a head ---- */

/* Makes room for text and slots; the fields already there move along. */
static bool head_grow(struct h1 *h, size_t room, size_t slots)
{
    struct h1_head *old = h->head, *head;
    size_t new_room = old ? old->room : FIRST_ROOM;
    size_t new_slots = old ? old->slots : FIRST_SLOTS;

    if (old && room <= old->room && slots <= old->slots)
        return true;
    while (new_room < room)
        new_room *= 2;
    while (new_slots < slots)
        new_slots *= 2;
    head = mem_alloc(h->e.out.mem, sizeof *head + new_slots * sizeof *head->headers + new_room);
    if (!head) {
        h->e.closing = ENGINE_RESET;
        return false;
    }
    if (old) {
        *head = *old;
    } else {
        memset(head, 0, sizeof *head);
    }
    head->slots = (uint32_t)new_slots;
    head->room = (uint32_t)new_room;
    h->head = head;
    if (!old)
        return true;
    memcpy(h1_head_text(head), h1_head_text(old), old->len);
    for (uint32_t i = 0; i < old->count; i++) {
        const struct http_header *from = &old->headers[i];

        head->headers[i].name.n = from->name.n;
        head->headers[i].value.n = from->value.n;
        head->headers[i].name.p = h1_head_text(head) + (from->name.p - h1_head_text(old));
        head->headers[i].value.p = h1_head_text(head) + (from->value.p - h1_head_text(old));
    }
    mem_free(h->e.out.mem, old);
    return true;
}

static bool head_append(struct h1 *h, const char *p, size_t n, size_t slots)
{
    size_t len = h->head ? h->head->len : 0;

    if (!head_grow(h, len + n, slots))
        return false;
    memcpy(h1_head_text(h->head) + len, p, n);
    h->head->len += (uint32_t)n;
    return true;
}

/* ---- llhttp's events ---- */

static struct h1 *of_parser(llhttp_t *parser)
{
    return container_of(parser, struct h1, parser);
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *h = of_parser(parser);
    struct h1_head *head = h->head;
    char *name;

    if (h->open) /* a trailer: discarded */
        return 0;
    if (head->count >= h->limits->header_count || head->count == head->slots) {
        h1_fail(h, 431, "too many header fields");
        return -1;
    }
    name = h1_head_text(head) + (at - h1_head_text(head));
    swar_lower(name, n);
    head->headers[head->count++] = (struct http_header){{at, n}, {at + n + 1, 0}};
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *h = of_parser(parser);

    if (!h->open && n)
        h->head->headers[h->head->count - 1].value = (struct str){at, n};
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

/* The position of a chunk's header is known only where llhttp pauses, and the limit of the framing goes first. */
static int on_chunk_header(llhttp_t *parser)
{
    return parser->content_length > of_parser(parser)->body_left ? HPE_PAUSED : 0;
}

static int on_chunk_data(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *h = of_parser(parser);

    if (h->framing + (size_t)(at - h->mark) > FRAMING_MAX) {
        h1_fail(h, 400, "chunk extension too long");
        return -1;
    }
    h->framing = 0;
    h->mark = at + n;
    h->body_left -= n;
    h->app->on_body(&h->x, at, n, h->ud);
    return h->e.closing || h->response == RESPONSE_DONE ? -1 : 0;
}

static int on_extension_name(llhttp_t *parser, const char *at, size_t n)
{
    (void)at;
    if (n)
        of_parser(parser)->extension = EXTENSION_NAME;
    return 0;
}

static int bad_extension(struct h1 *h)
{
    h1_fail(h, 400, "malformed chunk extension");
    return -1;
}

static int on_extension_name_complete(llhttp_t *parser)
{
    struct h1 *h = of_parser(parser);

    if (h->extension != EXTENSION_NAME)
        return bad_extension(h);
    h->extension = EXTENSION_NONE;
    return 0;
}

/* llhttp lets a quoted string begin in the middle of a value. */
static int on_extension_value(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *h = of_parser(parser);

    if (n && h->extension == EXTENSION_NONE)
        h->extension = *at == '"' ? EXTENSION_QUOTED : EXTENSION_TOKEN;
    if (h->extension == EXTENSION_TOKEN && memchr(at, '"', n))
        return bad_extension(h);
    return 0;
}

static int on_extension_value_complete(llhttp_t *parser)
{
    struct h1 *h = of_parser(parser);

    if (h->extension == EXTENSION_NONE)
        return bad_extension(h);
    h->extension = EXTENSION_NONE;
    return 0;
}

static int on_chunks_complete(llhttp_t *parser)
{
    of_parser(parser)->body = BODY_ENDED;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_chunk_data,
    .on_chunk_extension_name = on_extension_name,
    .on_chunk_extension_name_complete = on_extension_name_complete,
    .on_chunk_extension_value = on_extension_value,
    .on_chunk_extension_value_complete = on_extension_value_complete,
    .on_message_complete = on_chunks_complete,
};

void h1_parse_init(struct h1 *h)
{
    llhttp_init(&h->parser, HTTP_REQUEST, &settings);
}

/* ---- the request line ---- */

/* line has n bytes and ends with LF. llhttp would take an HTTP/0.9 line, more spaces, other protocols. */
static bool judge_line(struct h1 *h, const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    const char *version = n > VERSION_LEN ? line + n - VERSION_LEN : line, *target;
    size_t m = space ? (size_t)(space - line) : 0;

    for (size_t i = 0; i < m; i++) {
        if (!is_class(line[i], CHAR_TOKEN))
            return h1_fail(h, 400, "malformed method");
    }
    if (!m || version <= space + 1 || memcmp(version, " HTTP/", 6) != 0 || !is_digit(version[6]) ||
        version[7] != '.' || !is_digit(version[8]) || version[9] != '\r')
        return h1_fail(h, 400, "malformed request line");
    for (target = space + 1; target < version; target++) {
        if (*target <= ' ' || *target > '~' || *target == '#')
            return h1_fail(h, 400, "request target has a byte that is not allowed");
    }
    if ((size_t)(version - space - 1) > h->limits->url_bytes)
        return h1_fail(h, 414, "request target too long");
    if (version[6] != '1' || version[8] > '1')
        return h1_fail(h, 505, "HTTP version not supported");
    if ((m == 7 && !memcmp(line, "CONNECT", 7)) || (m == 3 && !memcmp(line, "PRI", 3)))
        return h1_fail(h, 501, "method not supported");
    return true;
}

static void parse_line(struct h1 *h)
{
    struct h1_head *head = h->head;
    const char *line = h1_head_text(head);
    llhttp_errno_t e;

    if (head->len == 2 && *line == '\r' && !h->blank) {
        h->blank = true;
        head->len = 0;
        return;
    }
    if (!judge_line(h, line, head->len))
        return;
    llhttp_reset(&h->parser);
    e = llhttp_execute(&h->parser, line, head->len);
    if (e == HPE_INVALID_URL)
        h1_fail(h, 400, "malformed request target");
    else if (e != HPE_OK)
        h1_fail(h, 501, "method not supported");
    else
        head->line = head->parsed = head->len;
}

static size_t take_line(struct h1 *h, const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    size_t take = lf ? (size_t)(lf - p) + 1 : n;
    size_t len = h->head ? h->head->len : 0;

    if (len + take > (size_t)h->limits->url_bytes + LINE_EXTRA) {
        h1_fail(h, 414, "request target too long");
        return n;
    }
    if (head_append(h, p, take, 0) && lf)
        parse_line(h);
    return take;
}

/* ---- header fields ---- */

/* Host is uri-host [":" port]: a name, an IPv4 address, or an IPv6 address in brackets. */
static bool is_host(struct str s)
{
    size_t i = 0, port;

    if (s.n && s.p[0] == '[') {
        for (i = 1; i < s.n && (is_hex(s.p[i]) || s.p[i] == ':' || s.p[i] == '.');)
            i++;
        if (i < 3 || i == s.n || s.p[i++] != ']')
            return false;
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

/* Codings count over all fields of that name. chunked must be the last one, once, without parameters;
 * any other coding before it is well-formed and not supported. */
static bool judge_codings(struct h1 *h)
{
    const struct http_request *r = &h->x.req;
    bool chunked = false, other = false;

    for (size_t i = 0; i < r->header_count; i++) {
        struct str list = r->headers[i].value;

        if (r->headers[i].name.n != 17 ||
            memcmp(r->headers[i].name.p, "transfer-encoding", 17) != 0)
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
            chunked = coding.n == 7 && equal_folded(coding.p, "chunked", 7);
            other |= !chunked;
        }
    }
    if (!chunked || !r->minor)
        return h1_fail(h, 400, "Transfer-Encoding does not delimit the body");
    if (other)
        return h1_fail(h, 501, "transfer coding not supported");
    if (!(h->parser.flags & F_CHUNKED) || (h->parser.flags & F_CONTENT_LENGTH))
        return h1_fail(h, 400, "Transfer-Encoding and Content-Length");
    h->x.req.chunked = h->x.req.has_body = true;
    return true;
}

static bool judge_fields(struct h1 *h)
{
    struct http_request *r = &h->x.req;
    bool host = false, codings = false;

    for (uint32_t i = 0; i < h->head->count; i++) {
        struct str name = h->head->headers[i].name, *value = &h->head->headers[i].value;

        trim(value);
        if (name.n == 4 && !memcmp(name.p, "host", 4)) {
            if (host)
                return h1_fail(h, 400, "more than one Host");
            if (!is_host(*value))
                return h1_fail(h, 400, "malformed Host");
            host = true;
            r->host = *value;
        } else if (name.n == 6 && !memcmp(name.p, "expect", 6)) {
            if (value->n != 12 || !equal_folded(value->p, "100-continue", 12))
                return h1_fail(h, 417, "expectation not supported");
            h->expects = r->minor > 0;
        } else if (name.n == 17 && !memcmp(name.p, "transfer-encoding", 17)) {
            codings = true;
        }
    }
    if (!host && r->minor)
        return h1_fail(h, 400, "no Host");
    if (codings) {
        return judge_codings(h);
    }
    if (h->parser.flags & F_CONTENT_LENGTH) {
        r->content_length = h->parser.content_length;
        r->has_body = r->content_length > 0;
    }
    return true;
}

/* RFC 9112 section 3.2: origin-form, absolute-form, asterisk-form. */
static bool judge_target(struct h1 *h, struct str t)
{
    struct http_request *r = &h->x.req;
    const char *question;

    if (t.n == 1 && *t.p == '*') {
        if (r->method.n != 7 || memcmp(r->method.p, "OPTIONS", 7) != 0)
            return h1_fail(h, 400, "malformed request target");
        r->path = t;
        return true;
    }
    if (*t.p != '/') {
        size_t scheme = t.n > 7 && equal_folded(t.p, "http://", 7)    ? 7
                        : t.n > 8 && equal_folded(t.p, "https://", 8) ? 8
                                                                      : 0;
        size_t end = scheme;

        while (end < t.n && t.p[end] != '/' && t.p[end] != '?')
            end++;
        r->host = (struct str){t.p + scheme, end - scheme};
        if (!scheme || !is_host(r->host))
            return h1_fail(h, 400, "malformed request target");
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

static void finish_head(struct h1 *h)
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
    h->body = BODY_HELD;
    h->body_left = r->content_length;
    h->framing = 0;
    h->extension = EXTENSION_NONE;
}

/* The bytes of p up to the end of its last line or of the head, whichever comes first. */
static size_t scan_lines(const struct h1_head *head, const char *p, size_t n, size_t *lines,
                         bool *last)
{
    size_t at = 0, begun = head->len - head->parsed;
    const char *lf;

    *lines = 0;
    *last = false;
    while (!*last && at < n && (lf = memchr(p + at, '\n', n - at))) {
        size_t end = (size_t)(lf - p) + 1;

        *last = begun + end - at <= 2;
        begun = 0;
        at = end;
        ++*lines;
    }
    return at;
}

static size_t take_fields(struct h1 *h, const char *p, size_t n, bool *complete)
{
    size_t max = (size_t)h->head->line + h->limits->header_bytes, lines, whole, take;
    size_t room = max > h->head->len ? max - h->head->len : 0;
    bool full = n >= room, last;
    llhttp_errno_t e;

    n = full ? room : n;
    whole = scan_lines(h->head, p, n, &lines, &last);
    take = last ? whole : n;
    lines += h->head->count;
    if (!head_append(h, p, take, lines < h->limits->header_count ? lines : h->limits->header_count))
        return take;
    if (whole) {
        size_t end = h->head->len - (take - whole);
        const char *text = h1_head_text(h->head);

        e = llhttp_execute(&h->parser, text + h->head->parsed, end - h->head->parsed);
        if (e != (last ? HPE_PAUSED : HPE_OK))
            h1_fail(h, 400, e == HPE_OK ? "malformed header" : h->parser.reason);
        h->head->parsed = (uint32_t)end;
    }
    if (last && !h->error)
        finish_head(h);
    else if (full && !last)
        h1_fail(h, 431, "header too long");
    *complete = last && !h->error;
    return take;
}

size_t h1_parse_head(struct h1 *h, const char *p, size_t n, bool *complete)
{
    *complete = false;
    return h->head && h->head->line ? take_fields(h, p, n, complete) : take_line(h, p, n);
}

/* ---- bodies ---- */

static size_t take_chunked(struct h1 *h, const char *p, size_t n)
{
    llhttp_errno_t e;
    const char *end = p + n;

    h->mark = p;
    llhttp_resume(&h->parser);
    e = llhttp_execute(&h->parser, p, n);
    if (h->e.closing || h->response == RESPONSE_DONE)
        return n;
    if (e != HPE_OK && e != HPE_PAUSED) {
        h1_fail(h, 400, h->parser.reason);
        return n;
    }
    if (e == HPE_PAUSED)
        end = llhttp_get_error_pos(&h->parser);
    h->framing += (uint32_t)(end - h->mark);
    if (h->framing > FRAMING_MAX)
        h1_fail(h, 400, "chunk extension or trailers too long");
    else if (e == HPE_PAUSED && h->body != BODY_ENDED)
        h1_fail(h, 413, "body too large");
    return (size_t)(end - p);
}

size_t h1_parse_body(struct h1 *h, const char *p, size_t n)
{
    if (h->x.req.chunked)
        return take_chunked(h, p, n);
    if (n > h->body_left)
        n = (size_t)h->body_left;
    h->body_left -= n;
    if (!h->body_left)
        h->body = BODY_ENDED;
    h->app->on_body(&h->x, p, n, h->ud);
    return n;
}
