/* A load generator for requests through a NATS broker:  load_nats --port P --input FILE [options], see load.h, and whoever answers
 * them:  load_nats --port P --answer
 *
 * Both speak the broker's text themselves, and what leaves together is one write: the least that a client can cost, so that the
 * broker is the limit. A request goes out with the name of an inbox of the connection, in which its slot and number stand; the
 * answer comes there, and must be what was asked, byte for byte. Whoever answers prints a line when the broker knows it, and goes
 * on until it is killed. */
#include "load.h"

#define SUBJECT "bench.echo"
#define HEAD_MAX 120u /* of a line, with names of ours */
#define WORDS_MAX 5u

static struct text input;

/* A line of the broker's, and what follows it if it is a message: MSG SUBJECT SID [REPLY] LENGTH. */
struct said {
    struct text words[WORDS_MAX];
    unsigned n;
    struct text payload;
};

static bool is(struct text word, const char *name)
{
    return word.len == strlen(name) && !memcmp(word.at, name, word.len);
}

/* The length of all of it, 0 if it is not complete. */
static size_t read_said(const char *p, size_t len, struct said *s)
{
    const char *end = memchr(p, '\n', len), *at = p;
    size_t head, count;

    s->n = 0;
    s->payload = (struct text){NULL, 0};
    if (!end)
        return 0;
    head = (size_t)(end - p) + 1;
    while (at < end && s->n < WORDS_MAX) {
        const char *next = memchr(at, ' ', (size_t)(end - at));

        next = next ? next : end - 1;
        s->words[s->n++] = (struct text){(char *)at, (size_t)(next - at)};
        at = next + 1;
    }
    if (is(s->words[0], "-ERR"))
        fail("%.*s", (int)head, p);
    if (!is(s->words[0], "MSG"))
        return head;
    count = strtoul(s->words[s->n - 1].at, NULL, 10);
    s->payload = (struct text){(char *)p + head, count};
    return len < head + count + 2 ? 0 : head + count + 2;
}

static void send_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0)
            fail("cannot send: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

/* Whoever answers has the subject, whoever asks an inbox for all answers. */
static int subscribe(bool answers)
{
    int fd = dial_port(options.port, 0);
    char text[2 * HEAD_MAX], answer[8192];
    size_t n = 0;

    n = (size_t)snprintf(text, sizeof text, "CONNECT {\"verbose\":false}\r\nSUB ");
    n += (size_t)(answers ? snprintf(text + n, sizeof text - n, SUBJECT)
                          : snprintf(text + n, sizeof text - n, "i%d.%d.*.*", (int)getpid(), fd));
    n += (size_t)snprintf(text + n, sizeof text - n, " 1\r\nPING\r\n");
    send_all(fd, text, n);
    for (n = 0; n < 6 || memcmp(answer + n - 6, "PONG\r\n", 6);) {
        ssize_t more = recv(fd, answer + n, sizeof answer - n, 0);

        if (more <= 0)
            fail("the broker says no more than %.*s", (int)n, answer);
        n += (size_t)more;
    }
    return fd;
}

/* ---- whoever asks ------------------------------------------------------------------------------ */

static int open_connection(void)
{
    return subscribe(false);
}

static struct text make_batch(void)
{
    return (struct text){must(malloc(options.in_flight * (input.len + HEAD_MAX))), 0};
}

static struct text requests(struct worker *w, const struct connection *c, const unsigned *slots,
                            unsigned count)
{
    w->batch.len = 0;
    for (unsigned i = 0; i < count; i++) {
        char *to = w->batch.at + w->batch.len;
        int n = snprintf(to, HEAD_MAX, "PUB " SUBJECT " i%d.%d.%u.%llu %zu\r\n", (int)getpid(),
                         c->fd, slots[i], (unsigned long long)c->made + 1 + i, input.len);

        memcpy(to + n, input.at, input.len);
        memcpy(to + n + input.len, "\r\n", 2);
        w->batch.len += (size_t)n + input.len + 2;
    }
    return w->batch;
}

static size_t answer(struct worker *w, struct connection *c, const char *p, size_t len,
                     unsigned *slot)
{
    char name[HEAD_MAX], *at;
    struct said s;
    size_t all = read_said(p, len, &s);
    unsigned long which;
    unsigned long long made;

    *slot = NO_SLOT;
    if (!all)
        return 0;
    if (is(s.words[0], "PING")) {
        send_text(w, c, (struct text){(char *)"PONG\r\n", 6});
        return all;
    }
    if (!s.payload.at)
        return all;
    snprintf(name, sizeof name, "i%d.%d.", (int)getpid(), c->fd);
    if (s.payload.len != input.len || memcmp(s.payload.at, input.at, input.len) ||
        strncmp(s.words[1].at, name, strlen(name)))
        fail("not an answer to a request of ours: %.*s", (int)all, p);
    which = strtoul(s.words[1].at + strlen(name), &at, 10);
    made = strtoull(at + 1, NULL, 10);
    if (which >= options.in_flight || !made || c->flights[which].number != made)
        fail("an answer to a request that is not in flight: %.*s", (int)all, p);
    *slot = (unsigned)which;
    return all;
}

/* ---- whoever answers --------------------------------------------------------------------------- */

static void publish(struct text *out, const struct said *s)
{
    char head[HEAD_MAX];
    int n = snprintf(head, sizeof head, "PUB %.*s %zu\r\n", (int)s->words[3].len, s->words[3].at,
                     s->payload.len);

    text_add(out, head, (size_t)n);
    text_add(out, s->payload.at, s->payload.len + 2);
}

static void answer_all(void)
{
    int fd = subscribe(true);
    char *buffer = must(malloc(READ_BUFFER));
    struct text out = {NULL, 0};
    size_t have = 0;

    puts("ready");
    fflush(stdout);
    for (;;) {
        ssize_t n = recv(fd, buffer + have, READ_BUFFER - have, 0);
        size_t used = 0, one;
        struct said s;

        if (n <= 0)
            fail("the broker has gone");
        have += (size_t)n;
        out.len = 0;
        while ((one = read_said(buffer + used, have - used, &s)) > 0) {
            used += one;
            if (s.payload.at && s.n == WORDS_MAX)
                publish(&out, &s);
            else if (is(s.words[0], "PING"))
                text_add(&out, "PONG\r\n", 6);
        }
        send_all(fd, out.at, out.len);
        memmove(buffer, buffer + used, have - used);
        have -= used;
    }
}

/* ---- options ----------------------------------------------------------------------------------- */

static const char usage[] = "load_nats --port P --input FILE [options], or --port P --answer\n"
                            "  --input FILE       what is asked and answered\n" LOAD_USAGE;

int main(int argc, char **argv)
{
    static const struct option known[] = {
        LOAD_OPTIONS,
        {"input", 1, NULL, 'j'},
        {"answer", 0, NULL, 'a'},
        {NULL, 0, NULL, 0},
    };
    bool answers = false;
    int c, at = 0;

    while ((c = getopt_long(argc, argv, "", known, &at)) != -1) {
        if (c == 'j')
            input = read_file(optarg);
        else if (c == 'a')
            answers = true;
        else if (!load_option(c, known[at].name, optarg))
            fail("%s", usage);
    }
    if (optind < argc || !options.port || answers == (input.len > 0))
        fail("%s", usage);
    if (answers)
        answer_all();
    load();
    return 0;
}
