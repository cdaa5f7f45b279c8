/* The subscribers of the fan-out rows:  fanout --port P --token T [--subscribers N] [--pairs N] [--seconds S]; the server is publish.c.
 *
 * N sessions subscribe to bench/feed and stay. Then come pairs of windows, in changing order: one as it is, one with a slow reader
 * beside them: another session that subscribes to bench/feed and to bench/flood as the window begins and never reads a byte. The
 * latency of a value is the time from the publisher's tick, which stands in it, to its being read here; both clocks are the
 * machine's monotonic one. Each subscriber must get every tick, whatever the slow reader does, and in its windows the
 * flood must have come to stand still; else the run ends with a message and status 1.
 *
 * One line of JSON for each pair. */
#include "histogram.h"
#include "ws_client.h"

#include <getopt.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUFFER 65536u
#define SUBSCRIBERS_MAX 10000u
#define PAIRS_MAX 1000u
#define SLOW_BUFFER 4096        /* SO_RCVBUF of the slow reader */
#define REST (SECOND / 4)       /* between windows */
#define FIRST_TICK (5 * SECOND) /* until everyone has had one */
#define PATH "/alknet/call"

static struct {
    int port;
    unsigned subscribers, pairs;
    const char *token;
    double seconds;
} options = {.subscribers = 1000, .pairs = 7, .token = "", .seconds = 1};

struct subscriber {
    int fd;
    uint64_t tick; /* the last one, 0: none yet */
    struct text rest;
};

static struct {
    struct subscriber *all;
    int epoll;
    unsigned begun; /* have had a tick */
    char *buffer;
    /* The window: */
    uint64_t begin, end;
    uint64_t stalled; /* values that say that a flood stands still */
    struct histogram latencies;
} run;

/* ---- values ------------------------------------------------------------------------------------ */

static void subscribe(int fd, const char *id, const char *operation)
{
    char envelope[256] = {0}, wire[256 + WS_ROOM];
    int n = snprintf(envelope, sizeof envelope,
                     "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":"
                     "\"%s\",\"input\":null}}",
                     id, operation);

    ws_send_all(fd, wire, ws_write(wire, WS_BINARY, envelope, (size_t)n, 0x9e3779b9));
}

static void on_value(struct subscriber *s, const char *p, size_t len, uint64_t now)
{
    static const char head[] =
        "{\"type\":\"call.responded\",\"id\":\"feed\",\"payload\":{\"output\":{\"tick\":";
    unsigned long long tick, ns;
    char text[256];
    unsigned stalled;

    if (len >= sizeof text || len < sizeof head || memcmp(p, head, sizeof head - 1))
        fail("not a value of the feed: %.*s", (int)(len < 400 ? len : 400), p);
    memcpy(text, p, len);
    text[len] = 0;
    if (sscanf(text + sizeof head - 1, "%llu,\"ns\":%llu,\"stalled\":%u,", &tick, &ns, &stalled) !=
        3)
        fail("not a value of the feed: %s", text);
    if (s->tick && tick != s->tick + 1)
        fail("a subscriber got tick %llu after tick %llu", tick, (unsigned long long)s->tick);
    run.begun += !s->tick;
    s->tick = tick;
    if (ns >= run.begin && ns < run.end) {
        histogram_add(&run.latencies, now - ns);
        run.stalled += stalled > 0;
    }
}

static void receive(struct subscriber *s)
{
    size_t have = s->rest.len, used = 0, one;
    struct ws_frame frame;
    char pong[WS_PONG_MAX];
    ssize_t n = recv(s->fd, run.buffer + have, BUFFER - have, MSG_DONTWAIT);
    uint64_t now = now_ns();

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail("the server closed a session%s%s", n ? ": " : "", n ? strerror(errno) : "");
    memcpy(run.buffer, have ? s->rest.at : "", have);
    have += (size_t)n;
    while ((one = ws_read(run.buffer + used, have - used, &frame)) > 0) {
        if (frame.opcode == WS_BINARY)
            on_value(s, frame.at, frame.len, now);
        else
            ws_send_all(s->fd, pong, ws_other(&frame, pong));
        used += one;
    }
    text_drop(&s->rest);
    if (used < have)
        text_add(&s->rest, run.buffer + used, have - used);
}

static void turn(int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(run.epoll, events, 256, timeout_ms);

    if (n < 0 && errno != EINTR)
        fail("epoll: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        receive(events[i].data.ptr);
}

static void turn_until(uint64_t when)
{
    while (now_ns() < when)
        turn(1);
}

/* ---- windows ----------------------------------------------------------------------------------- */

static void open_all(void)
{
    uint64_t until;

    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.buffer = must(malloc(BUFFER));
    run.all = must(calloc(options.subscribers, sizeof *run.all));
    for (unsigned i = 0; i < options.subscribers; i++) {
        struct subscriber *s = &run.all[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};

        s->fd = ws_dial(options.port, PATH, options.token, 0);
        if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, s->fd, &e) < 0)
            fail("epoll: %s", strerror(errno));
        subscribe(s->fd, "feed", "/bench/feed");
        turn(0);
    }
    until = now_ns() + FIRST_TICK;
    while (run.begun < options.subscribers) {
        if (now_ns() > until)
            fail("%u subscribers get nothing", options.subscribers - run.begun);
        turn(10);
    }
}

/* Appends the window's numbers to the line. */
static void window(bool slow)
{
    int fd = -1;

    turn_until(now_ns() + REST);
    memset(&run.latencies, 0, sizeof run.latencies);
    run.stalled = 0;
    run.begin = now_ns();
    run.end = run.begin + (uint64_t)(options.seconds * (double)SECOND);
    if (slow) {
        fd = ws_dial(options.port, PATH, options.token, SLOW_BUFFER);
        subscribe(fd, "feed", "/bench/feed");
        subscribe(fd, "flood", "/bench/flood");
    }
    turn_until(run.end + REST);
    run.begin = run.end = 0;
    if (slow)
        close(fd);
    if (!run.latencies.count || (slow && !run.stalled))
        fail("%s", run.latencies.count ? "the slow reader was not slow" : "no values");
    printf("\"%s\":{\"values\":%llu,\"stalled\":%.2f,\"p50_us\":%.1f,\"p99_us\":%.1f}",
           slow ? "slow" : "alone", (unsigned long long)run.latencies.count,
           (double)run.stalled / (double)run.latencies.count,
           histogram_at(&run.latencies, 0.5) / 1000, histogram_at(&run.latencies, 0.99) / 1000);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},    {"token", 1, NULL, 't'}, {"subscribers", 1, NULL, 'c'},
        {"seconds", 1, NULL, 's'}, {"pairs", 1, NULL, 'n'}, {NULL, 0, NULL, 0},
    };
    int c, at = 0;

    while ((c = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;

        if (c == 'p')
            options.port = (int)number(name, optarg, 65535);
        else if (c == 't')
            options.token = optarg;
        else if (c == 'c')
            options.subscribers = number(name, optarg, SUBSCRIBERS_MAX);
        else if (c == 'n')
            options.pairs = number(name, optarg, PAIRS_MAX);
        else if (c == 's')
            options.seconds = duration(name, optarg);
        else
            exit(1);
    }
    if (optind < argc || !options.port)
        fail("--port P --token T [--subscribers N] [--pairs N] [--seconds S]");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    open_all();
    for (unsigned i = 0; i < options.pairs; i++) {
        printf("{");
        window(i % 2);
        printf(",");
        window(!(i % 2));
        printf("}\n");
        fflush(stdout);
    }
    return 0;
}
