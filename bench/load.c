/* A load generator for HTTP/1.1:  load --port P --request FILE --tail FILE [options]; see usage below.
 *
 * Keeps a fixed number of requests in flight on each connection: for k answers read at once, k requests are written at once.
 * The request is sent byte for byte as it stands in the file, so a comparison can give two servers the same bytes. Every answer
 * is checked: status 200, the length of the first answer, and a body that ends in the bytes of the tail file. Whatever differs,
 * a closed connection included, ends the run with a message and status 1: a number is printed only if all answers were right.
 *
 * After the end of the measured window no more is sent, and what is in flight is awaited. Each thread has its own connections and
 * its own epoll; threads share nothing while they measure. The result is one line of JSON on standard output. */
#include "histogram.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BUFFER (1u << 20)
#define HEAD_MAX (64u << 10)
#define CONNECTIONS_MAX 100000u
#define IN_FLIGHT_MAX 4096u
#define THREADS_MAX 64u
#define IDLE_AT_ONCE 64u /* calls at a time while idle connections are made */
#define SECOND UINT64_C(1000000000)
#define LAST_ANSWERS (5 * SECOND)

struct text {
    char *at;
    size_t len;
};

static struct {
    int port;
    unsigned connections, in_flight, threads;
    bool hold, spin;
    double seconds, warmup;
    struct text request, tail;
} options = {.connections = 1, .in_flight = 1, .threads = 1, .seconds = 1, .warmup = 0.3};

struct connection {
    int fd;
    bool writing;      /* waits for room */
    size_t at, owed;   /* bytes still to be sent, from which byte of a request on */
    uint64_t *sent;    /* when each request in flight was sent, a ring */
    unsigned first, n; /* in the ring */
    struct text rest;  /* of an answer that has come in part */
};

/* Where things are in an answer. Answers of one run differ in their ids and dates only, so the first one says what to
 * look for in the others. */
struct shape {
    size_t head;           /* with its empty line */
    size_t length_at, all; /* of the Content-Length line; head and body */
    char length_line[64];
    size_t length_line_len;
};

struct worker {
    pthread_t thread;
    unsigned count;
    struct connection *connections;
    int epoll;
    char *buffer;
    struct text batch; /* in_flight + 1 requests */
    struct shape shape;
    uint64_t answers, all; /* in the window; with those before and after */
    struct histogram latencies;
};

static pthread_barrier_t connected, timed;
static uint64_t window_begin, window_end; /* set between the two barriers */

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *fmt, ...)
{
    va_list ap;

    fputs("load: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void *must(void *memory)
{
    if (!memory)
        fail("out of memory");
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* The head of the first answer; false: it is not complete. */
static bool learn(struct shape *s, const char *p, size_t len)
{
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
        if (s->all - s->head < options.tail.len)
            fail("the answer's body is shorter than its expected end");
        return true;
    }
    fail("an answer without Content-Length");
}

static void check(const struct shape *s, const char *p)
{
    if (memcmp(p, "HTTP/1.1 200 ", 13) || memcmp(p + s->head - 4, "\r\n\r\n", 4) ||
        memcmp(p + s->length_at, s->length_line, s->length_line_len) ||
        memcmp(p + s->length_at + s->length_line_len, "\r\n", 2))
        fail("an answer differs from the first one: %.*s", (int)s->all, p);
    if (memcmp(p + s->all - options.tail.len, options.tail.at, options.tail.len))
        fail("an answer's body does not end as expected: %.*s", (int)s->all, p);
}

/* How many bytes of whole answers there are; *n is their number. */
static size_t whole_answers(struct worker *w, const char *p, size_t len, unsigned *n)
{
    struct shape *s = &w->shape;
    size_t used = 0;

    for (*n = 0;; ++*n, used += s->all) {
        if (!s->all && !learn(s, p + used, len - used))
            return used;
        if (len - used < s->all)
            return used;
        check(s, p + used);
    }
}

/* ---- connections ------------------------------------------------------------------------------- */

static void want_events(struct worker *w, struct connection *c, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (c->writing ? (uint32_t)EPOLLOUT : 0),
                            .data.ptr = c};

    if (epoll_ctl(w->epoll, how, c->fd, &e) < 0)
        fail("epoll: %s", strerror(errno));
}

static void dial(struct worker *w, struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)options.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("cannot connect to port %d: %s", options.port, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->sent = must(calloc(options.in_flight, sizeof *c->sent));
    want_events(w, c, EPOLL_CTL_ADD);
}

static void send_owed(struct worker *w, struct connection *c)
{
    bool waits;

    while (c->owed) {
        size_t most = w->batch.len - c->at;
        ssize_t n = send(c->fd, w->batch.at + c->at, c->owed < most ? c->owed : most,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0)
            fail("cannot send: %s", strerror(errno));
        c->at = (c->at + (size_t)n) % options.request.len;
        c->owed -= (size_t)n;
    }
    waits = c->owed > 0;
    if (waits != c->writing) {
        c->writing = waits;
        want_events(w, c, EPOLL_CTL_MOD);
    }
}

static void request(struct worker *w, struct connection *c, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++)
        c->sent[(c->first + c->n++) % options.in_flight] = now;
    c->owed += count * options.request.len;
    send_owed(w, c);
}

static void answered(struct worker *w, struct connection *c, unsigned count, uint64_t now)
{
    bool measured = now >= window_begin && now < window_end;

    if (count > c->n)
        fail("more answers than requests");
    for (unsigned i = 0; i < count; i++) {
        if (measured)
            histogram_add(&w->latencies, now - c->sent[c->first]);
        c->first = (c->first + 1) % options.in_flight;
    }
    c->n -= count;
    w->answers += measured ? count : 0;
    w->all += count;
}

static void keep_rest(struct connection *c, const char *p, size_t len)
{
    if (len > c->rest.len)
        c->rest.at = must(realloc(c->rest.at, len));
    if (len)
        memcpy(c->rest.at, p, len);
    c->rest.len = len;
    if (!len) {
        free(c->rest.at);
        c->rest.at = NULL;
    }
}

static unsigned receive(struct worker *w, struct connection *c, uint64_t *now)
{
    size_t have = c->rest.len, used;
    unsigned count;
    ssize_t n;

    n = recv(c->fd, w->buffer + have, READ_BUFFER - have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        fail("the server closed a connection%s%s", n ? ": " : "", n ? strerror(errno) : "");
    if (have)
        memcpy(w->buffer, c->rest.at, have);
    have += (size_t)n;
    *now = now_ns();
    used = whole_answers(w, w->buffer, have, &count);
    keep_rest(c, w->buffer + used, have - used);
    answered(w, c, count, *now);
    return count;
}

/* ---- a run ------------------------------------------------------------------------------------- */

/* Waits and handles what came. Returns the number of answers; each is followed by a request until stop. */
static unsigned turn(struct worker *w, int timeout_ms, uint64_t stop)
{
    struct epoll_event events[256];
    int n = epoll_wait(w->epoll, events, 256, timeout_ms);
    unsigned total = 0;

    if (n < 0 && errno != EINTR)
        fail("epoll: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        uint64_t now = 0;
        unsigned count;

        if (events[i].events & EPOLLOUT)
            send_owed(w, c);
        if (!(events[i].events & ~(uint32_t)EPOLLOUT))
            continue;
        count = receive(w, c, &now);
        if (count && now < stop)
            request(w, c, count, now);
        total += count;
    }
    return total;
}

static void open_all(struct worker *w)
{
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0)
        fail("epoll: %s", strerror(errno));
    w->buffer = must(malloc(READ_BUFFER));
    w->batch.len = (options.in_flight + 1) * options.request.len;
    w->batch.at = must(malloc(w->batch.len));
    for (unsigned i = 0; i <= options.in_flight; i++)
        memcpy(w->batch.at + i * options.request.len, options.request.at, options.request.len);
    w->connections = must(calloc(w->count, sizeof *w->connections));
    for (unsigned i = 0; i < w->count && !options.hold; i++)
        dial(w, &w->connections[i]);
}

static unsigned in_flight(const struct worker *w)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < w->count; i++)
        sum += w->connections[i].n;
    return sum;
}

static void *measure(void *arg)
{
    struct worker *w = arg;

    open_all(w);
    pthread_barrier_wait(&connected);
    pthread_barrier_wait(&timed);
    for (unsigned i = 0; i < w->count; i++)
        request(w, &w->connections[i], options.in_flight, now_ns());
    while (now_ns() < window_end)
        turn(w, options.spin ? 0 : 10, window_end);
    while (in_flight(w)) {
        if (now_ns() > window_end + LAST_ANSWERS)
            fail("%u requests got no answer", in_flight(w));
        turn(w, 10, 0);
    }
    return NULL;
}

static void run(void)
{
    struct worker *workers = must(calloc(options.threads, sizeof *workers)), *w = workers;
    struct histogram *all = must(calloc(1, sizeof *all));
    uint64_t answers = 0, total = 0;

    pthread_barrier_init(&connected, NULL, options.threads + 1);
    pthread_barrier_init(&timed, NULL, options.threads + 1);
    for (unsigned i = 0; i < options.threads; i++) {
        w[i].count =
            options.connections / options.threads + (i < options.connections % options.threads);
        if (pthread_create(&w[i].thread, NULL, measure, &w[i]))
            fail("cannot start a thread");
    }
    pthread_barrier_wait(&connected);
    window_begin = now_ns() + (uint64_t)(options.warmup * (double)SECOND);
    window_end = window_begin + (uint64_t)(options.seconds * (double)SECOND);
    pthread_barrier_wait(&timed);
    for (unsigned i = 0; i < options.threads; i++) {
        pthread_join(w[i].thread, NULL);
        histogram_join(all, &w[i].latencies);
        answers += w[i].answers;
        total += w[i].all;
    }
    printf("{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           (unsigned long long)answers, (unsigned long long)total,
           (double)answers / options.seconds, histogram_at(all, 0.5) / 1000,
           histogram_at(all, 0.99) / 1000);
}

/* ---- idle connections -------------------------------------------------------------------------- */

static unsigned still_open(const struct worker *w)
{
    unsigned sum = 0;
    char byte;

    for (unsigned i = 0; i < w->count; i++)
        sum += recv(w->connections[i].fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
    return sum;
}

/* One call on each connection, then nothing: says so, waits for the end of standard input, and says how many of the
 * connections are open then. */
static void hold(void)
{
    struct worker *w = must(calloc(1, sizeof *w));
    unsigned done = 0;
    char byte;

    w->count = options.connections;
    open_all(w);
    for (unsigned i = 0; i < w->count; i++) {
        uint64_t until = now_ns() + LAST_ANSWERS;

        dial(w, &w->connections[i]);
        request(w, &w->connections[i], 1, now_ns());
        while (i + 1 - done >= (i + 1 == w->count ? 1 : IDLE_AT_ONCE)) {
            if (now_ns() > until)
                fail("%u requests got no answer", i + 1 - done);
            done += turn(w, 10, 0);
        }
    }
    printf("{\"held\":%u}\n", done);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    printf("{\"open\":%u}\n", still_open(w));
}

/* ---- options ----------------------------------------------------------------------------------- */

static const char usage[] = "load --port P --request FILE --tail FILE [options]\n"
                            "  --request FILE     the bytes of one request\n"
                            "  --tail FILE        what the body of each answer must end in\n"
                            "  --connections N    1\n"
                            "  --in-flight N      requests in flight on each connection, 1\n"
                            "  --threads N        1\n"
                            "  --warmup SECONDS   before the measured window, 0.3\n"
                            "  --seconds SECONDS  of the measured window, 1\n"
                            "  --spin             never sleep: for few requests in flight, where "
                            "waking up would take longer than the call\n"
                            "  --hold             one call on each connection, then keep them open "
                            "until standard input ends\n";

static struct text read_file(const char *path)
{
    struct text t = {NULL, 0};
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f)
        fail("%s: %s", path, strerror(errno));
    do {
        t.at = must(realloc(t.at, t.len + 4096));
        n = fread(t.at + t.len, 1, 4096, f);
        t.len += n;
    } while (n);
    fclose(f);
    return t;
}

static unsigned number(const char *name, const char *s, unsigned most)
{
    char *end;
    unsigned long v = strtoul(s, &end, 10);

    if (*end || end == s || v < 1 || v > most)
        fail("--%s must be 1 to %u", name, most);
    return (unsigned)v;
}

static double duration(const char *name, const char *s)
{
    char *end;
    double v = strtod(s, &end);

    if (*end || end == s || !(v > 0 && v <= 3600))
        fail("--%s must be a time in seconds", name);
    return v;
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},
        {"request", 1, NULL, 'r'},
        {"tail", 1, NULL, 't'},
        {"hold", 0, NULL, 'h'},
        {"connections", 1, NULL, 'c'},
        {"in-flight", 1, NULL, 'i'},
        {"threads", 1, NULL, 'n'},
        {"warmup", 1, NULL, 'w'},
        {"seconds", 1, NULL, 's'},
        {"spin", 0, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int c, at = 0;

    while ((c = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;

        if (c == 'p')
            options.port = (int)number(name, optarg, 65535);
        else if (c == 'r')
            options.request = read_file(optarg);
        else if (c == 't')
            options.tail = read_file(optarg);
        else if (c == 'h')
            options.hold = true;
        else if (c == 'f')
            options.spin = true;
        else if (c == 'c')
            options.connections = number(name, optarg, CONNECTIONS_MAX);
        else if (c == 'i')
            options.in_flight = number(name, optarg, IN_FLIGHT_MAX);
        else if (c == 'n')
            options.threads = number(name, optarg, THREADS_MAX);
        else if (c == 'w')
            options.warmup = duration(name, optarg);
        else if (c == 's')
            options.seconds = duration(name, optarg);
        else
            fail("%s", usage);
    }
    if (optind < argc || !options.port || !options.request.len)
        fail("%s", usage);
    if (options.threads > options.connections)
        options.threads = options.connections;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (options.hold)
        hold();
    else
        run();
    return 0;
}
