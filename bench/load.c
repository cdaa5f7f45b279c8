/* A load generator for HTTP/1.1:  load --port P --request FILE --tail FILE [options]; see usage below, and load.h.
 *
 * The request is sent byte for byte as it stands in the file, so a comparison can give two servers the same bytes. Every answer
 * is checked: status 200, the length of the first answer, and a body that ends in the bytes of the tail file. A body in chunks
 * must be in the same chunks each time. */
#include "load.h"

#include <strings.h>

#define HEAD_MAX (64u << 10)

static struct text request_text, tail;

/* Where things are in an answer. Answers of one run differ in their ids and dates only, so the first one of a thread says what
 * to look for in the others. */
static _Thread_local struct shape {
    size_t head;           /* with its empty line */
    size_t length_at, all; /* of the line that says the length; head and body */
    char length_line[64];
    size_t length_line_len;
    size_t after; /* what follows the last byte of the body's content */
} shape;

static const char last_chunk[] = "\r\n0\r\n\r\n";

/* Where the value of a header begins in a head that ends at end, NULL: it has none. name: "\r\nName: ". */
static const char *find(const char *head, const char *end, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = head; at + n < end + 2; at++) {
        if (!strncasecmp(at, name, n))
            return at + n;
    }
    return NULL;
}

/* The first answer; false: it has not come far enough. */
static bool learn(const char *p, size_t len)
{
    static const char length[] = "\r\nContent-Length: ", chunked[] = "\r\nTransfer-Encoding: ";
    const char *end = memmem(p, len, "\r\n\r\n", 4), *value, *line, *last;
    struct shape *s = &shape;

    if (!end && len > HEAD_MAX)
        fail("no end of the answer's head in %zu bytes", len);
    if (!end)
        return false;
    if (len < 13 || memcmp(p, "HTTP/1.1 200 ", 13))
        fail("unexpected answer: %.*s", (int)(end - p < 400 ? end - p : 400), p);
    s->head = (size_t)(end + 4 - p);
    if ((value = find(p, end, length))) {
        line = value - (sizeof length - 3);
        s->all = s->head + strtoul(value, NULL, 10);
    } else if ((value = find(p, end, chunked))) {
        line = value - (sizeof chunked - 3);
        s->after = sizeof last_chunk - 1;
        last = memmem(end, len - (size_t)(end - p), last_chunk, s->after);
        if (!last)
            return false;
        s->all = (size_t)(last - p) + s->after;
    } else {
        fail("an answer that does not say how long it is");
    }
    s->length_at = (size_t)(line - p);
    s->length_line_len =
        (size_t)((const char *)memchr(line, '\r', (size_t)(end + 1 - line)) - line);
    if (s->length_line_len >= sizeof s->length_line)
        fail("a strange length of an answer");
    memcpy(s->length_line, line, s->length_line_len);
    if (s->all - s->head < tail.len + s->after)
        fail("the answer's body is shorter than its expected end");
    return true;
}

static void check(const char *p)
{
    const struct shape *s = &shape;

    if (memcmp(p, "HTTP/1.1 200 ", 13) || memcmp(p + s->head - 4, "\r\n\r\n", 4) ||
        memcmp(p + s->length_at, s->length_line, s->length_line_len) ||
        memcmp(p + s->length_at + s->length_line_len, "\r\n", 2))
        fail("an answer differs from the first one: %.*s", (int)s->all, p);
    if (memcmp(p + s->all - s->after - tail.len, tail.at, tail.len) ||
        memcmp(p + s->all - s->after, last_chunk, s->after))
        fail("an answer's body does not end as expected: %.*s", (int)s->all, p);
}

static int open_connection(void)
{
    return dial_port(options.port, 0);
}

static struct text make_batch(void)
{
    struct text t = {must(malloc(options.in_flight * request_text.len)), 0};

    for (; t.len < options.in_flight * request_text.len; t.len += request_text.len)
        memcpy(t.at + t.len, request_text.at, request_text.len);
    return t;
}

static struct text requests(struct worker *w, const struct connection *c, const unsigned *slots,
                            unsigned count)
{
    (void)c;
    (void)slots;
    return (struct text){w->batch.at, count * request_text.len};
}

/* Answers come in the order of their requests, so slots go round. */
static size_t answer(struct worker *w, struct connection *c, const char *p, size_t len,
                     unsigned *slot)
{
    (void)w;
    *slot = (unsigned)(c->served % options.in_flight);
    if ((!shape.all && !learn(p, len)) || len < shape.all)
        return 0;
    check(p);
    return shape.all;
}

/* ---- options ----------------------------------------------------------------------------------- */

static const char usage[] =
    "load --port P --request FILE --tail FILE [options]\n"
    "  --request FILE     the bytes of one request\n"
    "  --tail FILE        what the body of each answer must end in\n" LOAD_USAGE;

int main(int argc, char **argv)
{
    static const struct option known[] = {
        LOAD_OPTIONS,
        {"request", 1, NULL, 'r'},
        {"tail", 1, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    int c, at = 0;

    while ((c = getopt_long(argc, argv, "", known, &at)) != -1) {
        if (c == 'r')
            request_text = read_file(optarg);
        else if (c == 't')
            tail = read_file(optarg);
        else if (!load_option(c, known[at].name, optarg))
            fail("%s", usage);
    }
    if (optind < argc || !options.port || !request_text.len)
        fail("%s", usage);
    load();
    return 0;
}
