/* The engine of the load generators: connections, threads, the measured window, what is printed.
 *
 * Keeps a fixed number of requests in flight on each connection: for k answers read at once, k requests are written at once.
 * Each thread has its own connections and its own epoll; threads share nothing while they measure. After the end of the measured
 * window no more is sent, and what is in flight is awaited. The result is one line of JSON on standard output. Whatever
 * is not as expected, a closed connection included, ends the run with a message and status 1: a number is printed only if all
 * answers were right.
 *
 * The protocol is the program's own: it defines the three functions below. A request has a slot of its connection, less than
 * in_flight, from its being written to its answer. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "client.h"
#include "histogram.h"
#include "tls_client.h"

#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BUFFER (1u << 20)
#define CONNECTIONS_MAX 100000u
#define IN_FLIGHT_MAX 4096u
#define THREADS_MAX 64u
#define IDLE_AT_ONCE 64u /* calls at a time while idle connections are made */
#define LAST_ANSWERS (5 * SECOND)
#define NO_SLOT UINT32_MAX

static struct {
    int port;
    unsigned connections, in_flight, threads;
    bool hold, spin;
    double seconds, warmup;
} options = {.connections = 1, .in_flight = 1, .threads = 1, .seconds = 1, .warmup = 0.3};

struct flight {
    uint64_t sent;
    uint64_t number; /* of the request, 0: the slot is free */
};

struct connection {
    int fd;
    bool writing;          /* waits for room */
    unsigned n;            /* requests in flight */
    uint64_t made, served; /* requests, answers */
    struct flight *flights;
    struct text unsent, rest; /* of requests; of an answer that has come in part */
};

struct worker {
    pthread_t thread;
    unsigned count;
    struct connection *connections;
    int epoll;
    char *buffer;
    struct text batch;     /* the program's room for in_flight requests */
    unsigned *slots;       /* that the last answers have left */
    uint64_t answers, all; /* in the window; with those before and after */
    struct histogram latencies;
};

/* ---- the protocol ------------------------------------------------------------------------------ */

static int open_connection(void);
/* Room for in_flight requests; may already hold them. */
static struct text make_batch(void);
/* The bytes of requests in these slots, numbered from c->made + 1 on; they may lie in w->batch. */
static struct text requests(struct worker *w, const struct connection *c, const unsigned *slots,
                            unsigned count);
/* Checks the first answer of len bytes and says which slot it leaves, or NO_SLOT. Returns its length, 0 if it is not complete. */
static size_t answer(struct worker *w, struct connection *c, const char *p, size_t len,
                     unsigned *slot);

/* ---- connections ------------------------------------------------------------------------------- */

static pthread_barrier_t connected, timed;
static uint64_t window_begin, window_end; /* set between the two barriers */

static void want_events(struct worker *w, struct connection *c, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (c->writing ? (uint32_t)EPOLLOUT : 0),
                            .data.ptr = c};

    if (epoll_ctl(w->epoll, how, c->fd, &e) < 0)
        fail("epoll: %s", strerror(errno));
}

static void dial(struct worker *w, struct connection *c)
{
    c->fd = open_connection();
    c->flights = must(calloc(options.in_flight, sizeof *c->flights));
    want_events(w, c, EPOLL_CTL_ADD);
}

/* The bytes of t follow what is still unsent. */
static void send_text(struct worker *w, struct connection *c, struct text t)
{
    struct text rest = {NULL, 0};
    bool waits;

    if (c->unsent.len) {
        text_add(&c->unsent, t.at, t.len);
        t = c->unsent;
    }
    while (t.len) {
        ssize_t n = transport.send(c->fd, t.at, t.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0)
            fail("cannot send: %s", strerror(errno));
        t.at += n;
        t.len -= (size_t)n;
    }
    if (t.len)
        text_add(&rest, t.at, t.len);
    text_drop(&c->unsent);
    c->unsent = rest;
    waits = rest.len > 0;
    if (waits != c->writing) {
        c->writing = waits;
        want_events(w, c, EPOLL_CTL_MOD);
    }
}

static void request(struct worker *w, struct connection *c, const unsigned *slots, unsigned count,
                    uint64_t now)
{
    struct text t = requests(w, c, slots, count);

    for (unsigned i = 0; i < count; i++)
        c->flights[slots[i]] = (struct flight){now, ++c->made};
    c->n += count;
    send_text(w, c, t);
}

static void keep_rest(struct connection *c, const char *p, size_t len)
{
    text_drop(&c->rest);
    if (len)
        text_add(&c->rest, p, len);
}

/* How many answers have come; w->slots has what they leave. */
static unsigned receive(struct worker *w, struct connection *c, uint64_t *now)
{
    size_t have = c->rest.len, used = 0, one;
    unsigned count = 0, slot;
    ssize_t n;

    n = transport.recv(c->fd, w->buffer + have, READ_BUFFER - have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        fail("the server closed a connection%s%s", n ? ": " : "", n ? strerror(errno) : "");
    if (have)
        memcpy(w->buffer, c->rest.at, have);
    have += (size_t)n;
    *now = now_ns();
    while ((one = answer(w, c, w->buffer + used, have - used, &slot)) > 0) {
        used += one;
        if (slot == NO_SLOT)
            continue;
        if (!c->flights[slot].number)
            fail("more answers than requests");
        if (*now >= window_begin && *now < window_end) {
            histogram_add(&w->latencies, *now - c->flights[slot].sent);
            w->answers++;
        }
        c->flights[slot].number = 0;
        c->served++;
        w->slots[count++] = slot;
    }
    keep_rest(c, w->buffer + used, have - used);
    c->n -= count;
    w->all += count;
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
            send_text(w, c, (struct text){NULL, 0});
        if (!(events[i].events & ~(uint32_t)EPOLLOUT))
            continue;
        count = receive(w, c, &now);
        if (count && now < stop)
            request(w, c, w->slots, count, now);
        total += count;
    }
    return total;
}

static void open_worker(struct worker *w)
{
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0)
        fail("epoll: %s", strerror(errno));
    w->buffer = must(malloc(READ_BUFFER));
    w->batch = make_batch();
    w->slots = must(calloc(options.in_flight, sizeof *w->slots));
    w->connections = must(calloc(w->count, sizeof *w->connections));
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

    open_worker(w);
    for (unsigned i = 0; i < w->count; i++)
        dial(w, &w->connections[i]);
    for (unsigned i = 0; i < options.in_flight; i++)
        w->slots[i] = i;
    pthread_barrier_wait(&connected);
    pthread_barrier_wait(&timed);
    for (unsigned i = 0; i < w->count; i++)
        request(w, &w->connections[i], w->slots, options.in_flight, now_ns());
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
    struct worker *w = must(calloc(options.threads, sizeof *w));
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
    printf("{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
           "\"max_us\":%.1f}\n",
           (unsigned long long)answers, (unsigned long long)total,
           (double)answers / options.seconds, histogram_at(all, 0.5) / 1000,
           histogram_at(all, 0.99) / 1000, histogram_at(all, 1) / 1000);
}

/* ---- idle connections -------------------------------------------------------------------------- */

/* One call on each connection, then nothing: says so, waits for the end of standard input, and says how many connections
 * there are if all of them are open then. */
static void hold(void)
{
    struct worker *w = must(calloc(1, sizeof *w));
    unsigned done = 0;
    uint64_t now;
    char byte;

    w->count = options.connections;
    open_worker(w);
    for (unsigned i = 0; i < w->count; i++) {
        uint64_t until = now_ns() + LAST_ANSWERS;
        unsigned slot = 0;

        dial(w, &w->connections[i]);
        request(w, &w->connections[i], &slot, 1, now_ns());
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
    for (unsigned i = 0; i < w->count; i++)
        receive(w, &w->connections[i], &now);
    printf("{\"open\":%u}\n", w->count);
}

/* ---- options ----------------------------------------------------------------------------------- */

#define LOAD_USAGE                                                                                 \
    "  --connections N    1\n"                                                                     \
    "  --in-flight N      requests in flight on each connection, 1\n"                              \
    "  --threads N        1\n"                                                                     \
    "  --warmup SECONDS   before the measured window, 0.3\n"                                       \
    "  --seconds SECONDS  of the measured window, 1\n"                                             \
    "  --spin             never sleep: for few requests in flight, where waking up would take "    \
    "longer than the call\n"                                                                       \
    "  --tls              over TLS\n"                                                              \
    "  --hold             one call on each connection, then keep them open until standard input "  \
    "ends\n"

/* For getopt_long, before the program's own. */
#define LOAD_OPTIONS                                                                               \
    {"port", 1, NULL, 'p'}, {"hold", 0, NULL, 'h'}, {"tls", 0, NULL, 'T'},                         \
        {"connections", 1, NULL, 'c'}, {"in-flight", 1, NULL, 'i'}, {"threads", 1, NULL, 'n'},     \
        {"warmup", 1, NULL, 'w'}, {"seconds", 1, NULL, 's'},                                       \
    {                                                                                              \
        "spin", 0, NULL, 'f'                                                                       \
    }

/* One of them; false: it is none. */
static bool load_option(int c, const char *name, const char *value)
{
    switch (c) {
    case 'p':
        options.port = (int)number(name, value, 65535);
        return true;
    case 'h':
        options.hold = true;
        return true;
    case 'T':
        tls_wire();
        return true;
    case 'f':
        options.spin = true;
        return true;
    case 'c':
        options.connections = number(name, value, CONNECTIONS_MAX);
        return true;
    case 'i':
        options.in_flight = number(name, value, IN_FLIGHT_MAX);
        return true;
    case 'n':
        options.threads = number(name, value, THREADS_MAX);
        return true;
    case 'w':
        options.warmup = duration(name, value);
        return true;
    case 's':
        options.seconds = duration(name, value);
        return true;
    default:
        return false;
    }
}

static void load(void)
{
    if (options.threads > options.connections)
        options.threads = options.connections;
    if (options.hold)
        hold();
    else
        run();
}

#endif
