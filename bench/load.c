/* A load generator for HTTP/1.1:  load --port P --request FILE --tail FILE [options]; see usage below, and load.h.
 *
 * The request is sent byte for byte as it stands in the file, so a comparison can give two servers the same bytes. Every answer
 * is checked: status 200, the length of the first answer, and a body that ends in the bytes of the tail file. */
#include "load.h"

#include <strings.h>

#define HEAD_MAX (64u << 10)

static struct text request_text, tail;

/* Where things are in an answer. Answers of one run differ in their ids and dates only, so the first one of a thread says what
 * to look for in the others. */
static _Thread_local struct shape {
    size_t head;           /* with its empty line */
    size_t length_at, all; /* of the Content-Length line; head and body */
    char length_line[64];
    size_t length_line_len;
} shape;

/* The head of the first answer; false: it is not complete. */
static bool learn(const char *p, size_t len)
{
    struct shape *s = &shape;
    static const char name[] = "\r\nContent-Length: ";
    const char *end = memmem(p, len, "\r\n\r\n", 4);
    size_t name_len = sizeof name - 1;

    if (!end && len > HEAD_MAX)
        fail("no end of the answer's head in %zu bytes", len);
    if (!end)
        return false;
    if (len < 13 || memcmp(p, "HTTP/1.1 200 ", 13))
        fail("unexpected answer: %.*s", (int)(end - p < 400 ? end - p : 400), p);
    for (const char *at = p; at + name_len < end + 2; at++) {
        const char *line = at + 2, *stop;

        if (strncasecmp(at, name, name_len))
            continue;
        stop = memchr(line, '\r', (size_t)(end + 1 - line));
        s->length_line_len = (size_t)(stop - line);
        if (s->length_line_len >= sizeof s->length_line)
            fail("a strange Content-Length");
        memcpy(s->length_line, line, s->length_line_len);
        s->length_at = (size_t)(line - p);
        s->head = (size_t)(end + 4 - p);
        s->all = s->head + strtoul(at + name_len, NULL, 10);
        if (s->all - s->head < tail.len)
            fail("the answer's body is shorter than its expected end");
        return true;
    }
    fail("an answer without Content-Length");
}

static void check(const char *p)
{
    const struct shape *s = &shape;

    if (memcmp(p, "HTTP/1.1 200 ", 13) || memcmp(p + s->head - 4, "\r\n\r\n", 4) ||
        memcmp(p + s->length_at, s->length_line, s->length_line_len) ||
        memcmp(p + s->length_at + s->length_line_len, "\r\n", 2))
        fail("an answer differs from the first one: %.*s", (int)s->all, p);
    if (memcmp(p + s->all - tail.len, tail.at, tail.len))
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
