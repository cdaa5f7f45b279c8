/* Bytes in: the heads and bodies of HTTP/1.1 requests.
 *
 * A head is copied into the exchange's memory, and each piece of it that ends with a line end goes
 * to llhttp. What llhttp leaves open is decided here: the exact form of the request line, limits,
 * Host, the target's form, which transfer codings, what a chunk extension may look like. A request
 * that two servers in a row could read differently is an error, never repaired. Limits are applied
 * to a prefix of the input that does not depend on how it arrived. */
#include "wire/h1_int.h"

#include "base/swar.h"

#include <string.h>

/* What a request line may have besides its target: a method, two spaces, the version, CRLF. */
#define LINE_EXTRA 64u
/* Empty lines before a request line. Some clients write one or two behind a body. */
#define EMPTY_LINES_MAX 16u
/* Chunk sizes, extensions and trailers between two bytes of a chunked body, or behind the last. */
/* A byte of body in a chunk with a long extension costs the sender nothing and us a lot. */
#define FRAMING_MAX 8192u

enum { EXTENSION_NONE, EXTENSION_NAME, EXTENSION_TOKEN, EXTENSION_QUOTED };

/* ---- memory of a head ---- */

/* Makes room for text and slots, of which there are never more than fields are allowed. Only before
 * the exchange is open: afterwards the application holds slices too. */
static bool head_append(struct h1 *h, const char *p, size_t n, size_t slots)
{
    size_t len = h->head ? h->head->len : 0;

    switch (http_head_grow(&h->head, h->e.out.mem, h->kept.meter, len + n, slots,
                           h->limits->header_count)) {
    case HTTP_HEAD_REFUSED:
        return h1_fail(h, 503, "too much is being received");
    case HTTP_HEAD_NO_MEMORY:
        h->e.closing = ENGINE_RESET;
        return false;
    }
    memcpy(http_head_text(h->head) + len, p, n);
    h->head->len += (uint32_t)n;
    return true;
}

/* ---- llhttp's events ---- */

static struct h1 *of_parser(llhttp_t *parser)
{
    return container_of(parser, struct h1, parser);
}

/* llhttp sees whole lines only, so a name or a value comes in one piece. Names are put into lower
 * case where they lie: all comparisons are then exact ones. An empty value has no event of its own,
 * so it begins as an empty slice behind the colon. */
static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *h = of_parser(parser);
    struct http_head *head = h->head;
    char *name;

    if (h->open) /* a trailer: discarded */
        return 0;
    if (head->count == head->slots) { /* then there are header_count */
        h1_fail(h, 431, "too many header fields");
        return -1;
    }
    name = http_head_text(head) + (at - http_head_text(head));
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

/* Stops in front of the body: the application decides whether it is read at all. */
static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

/* The position of a chunk's header is known only where llhttp pauses, and the limit of the framing
 * goes first. */
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

/* A name without a character is no token; llhttp does not mind. */
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

/* llhttp lets a quoted string begin in the middle of a value. RFC 9112, section 7.1.1 does not, and
 * where the string ends is then a matter of opinion. Only the first byte of a value tells the two
 * kinds apart. */
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

/* Behind the trailers, which are dropped: RFC 9112, section 7.1.2 allows that, and none may become
 * a header. */
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

static void parse_line(struct h1 *h)
{
    struct http_head *head = h->head;
    char *line = http_head_text(head);
    llhttp_errno_t e;

    /* RFC 9112, section 2.2. */
    if (head->len == 2 && *line == '\r' && h->empty_lines < EMPTY_LINES_MAX) {
        h->empty_lines++;
        head->len = 0;
        return;
    }
    if (!h1_judge_line(h, line, head->len))
        return;
    /* A later HTTP/1 is read as the latest that is known (RFC 9110, section 2.5). */
    if (line[head->len - 3] > '1')
        line[head->len - 3] = '1';
    llhttp_reset(&h->parser);
    e = llhttp_execute(&h->parser, line, head->len);
    if (e == HPE_INVALID_URL)
        h1_fail(h, 400, "malformed request target");
    else if (e != HPE_OK)
        h1_fail(h, 501, "method not supported");
    else
        h->line = h->parsed = head->len;
}

static size_t take_line(struct h1 *h, const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    size_t take = lf ? (size_t)(lf - p) + 1 : n;
    size_t len = h->head ? h->head->len : 0;

    /* Before the line is whole: one that never ends must not be kept. */
    if (len + take > (size_t)h->limits->url_bytes + LINE_EXTRA) {
        h1_fail(h, 414, "request target too long");
        return n;
    }
    if (head_append(h, p, take, 0) && lf)
        parse_line(h);
    return take;
}

/* ---- header fields ---- */

/* What on_body may do begins here; nothing of an earlier request may be left in these. */
static void begin_body(struct h1 *h)
{
    h->body = BODY_HELD;
    h->body_left = h->x.req.content_length;
    h->framing = 0;
    h->extension = EXTENSION_NONE;
}

/* The bytes of p up to the end of its last line or of the head, whichever comes first. An empty
 * line ends the head: one of at most two bytes, counted with what came of it before. */
static size_t scan_lines(const struct h1 *h, const char *p, size_t n, size_t *lines, bool *last)
{
    size_t at = 0, begun = h->head->len - h->parsed;
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

/* White space around a value may be HTAB (RFC 9110, section 5.5); to llhttp it is a part of the
 * value. In the fields that llhttp reads itself, none of which can hold a quoted HTAB, it becomes
 * SP. p has n bytes and ends with LF. */
static void untab(char *p, size_t n)
{
    static const char *const read[] = {"connection", "content-length", "proxy-connection",
                                       "transfer-encoding", "upgrade"};

    while (memchr(p, '\t', n)) {
        size_t line = (size_t)((char *)memchr(p, '\n', n) - p) + 1;
        char *colon = memchr(p, ':', line);

        for (size_t i = 0; colon && i < sizeof read / sizeof *read; i++) {
            if (!http_is_folded((struct str){p, (size_t)(colon - p)}, read[i]))
                continue;
            for (char *c = colon; c < p + line; c++)
                *c = *c == '\t' ? ' ' : *c;
        }
        p += line;
        n -= line;
    }
}

/* The limit is applied to the bytes of the head alone, wherever the cuts of the network are: of
 * what is beyond it not a byte is looked at. All slots that these lines may need are made before
 * llhttp runs, since its events point into the head's text, which may not move meanwhile. */
static size_t take_fields(struct h1 *h, const char *p, size_t n, bool *complete)
{
    size_t max = (size_t)h->line + h->limits->header_bytes, lines, whole, take;
    size_t room = max - h->head->len; /* the head that fills it is refused or complete */
    bool full = n >= room, last;
    llhttp_errno_t e;

    n = full ? room : n;
    whole = scan_lines(h, p, n, &lines, &last);
    take = last ? whole : n;
    lines += h->head->count;
    if (!head_append(h, p, take, lines < h->limits->header_count ? lines : h->limits->header_count))
        return take;
    if (whole) {
        size_t end = h->head->len - (take - whole);
        char *text = http_head_text(h->head);

        untab(text + h->parsed, end - h->parsed);
        /* At an empty line llhttp ends the head, or has found fault. */
        e = llhttp_execute(&h->parser, text + h->parsed, end - h->parsed);
        if (e != (last ? HPE_PAUSED : HPE_OK))
            h1_fail(h, 400, h->parser.reason);
        h->parsed = (uint32_t)end;
    }
    if (last && !h->error) {
        h1_judge_head(h);
        begin_body(h);
    } else if (full && !last) {
        h1_fail(h, 431, "header too long");
    }
    *complete = last && !h->error;
    return take;
}

size_t h1_parse_head(struct h1 *h, const char *p, size_t n, bool *complete)
{
    *complete = false;
    return h->line ? take_fields(h, p, n, complete) : take_line(h, p, n);
}

/* ---- bodies ---- */

/* Sizes, extensions and trailers count against FRAMING_MAX together, across calls: mark says where
 * in this piece the counting begins. */
static size_t take_chunked(struct h1 *h, const char *p, size_t n)
{
    llhttp_errno_t e;
    const char *end = p + n;

    h->mark = p;
    llhttp_resume(&h->parser);
    e = llhttp_execute(&h->parser, p, n);
    /* The application has answered in the middle of the body: nobody wants the rest. */
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

/* A counted body does not pass llhttp: its bytes go from the socket's buffer to the application. */
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
