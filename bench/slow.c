/* Clients that make a server wait:  slow --port P --way WAY --connections N --seconds S [--token T]; see usage below.
 *
 * Opens the connections one after the other and sends on each what its way has at the beginning. When that is done it says so, as
 * one line of JSON: how many there are, and how many bytes each has sent. Then it goes on as slowly as its way is until S seconds
 * have passed for each connection since it was opened, and says how many of them the server had closed by then, and after what
 * time at the latest.
 *
 * With --way read the time begins with the answer. What a server closes behind bytes that nobody reads is not seen to be closed. So a slow reader reads all that is left at its end:
 * one that has been cut gets less than the whole answer. */
#include "client.h"

#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONNECTIONS_MAX 100000u
#define TICK_MS 10 /* each connection has its turn once in TICKS of these */
#define TICKS 100u
#define NARROW 1024 /* SO_RCVBUF of a slow reader */
#define SEGMENT 536 /* its TCP_MAXSEG: with large segments the server's kernel takes megabytes */
#define SLOW_BYTES 100u /* that it reads a second */
#define BIG_HEAD 30000u
#define STALLED_BODY 16384u
#define JUNK 32768u
#define ANSWER 131072u

static struct {
    int port;
    unsigned connections;
    double seconds;
    const char *token;
    const struct way *way;
} options = {.connections = 1, .seconds = 1, .token = ""};

struct connection {
    int fd; /* -1: closed */
    uint64_t opened;
    size_t got; /* of the answer */
};

static struct connection *connections;
static uint64_t latest; /* of all ends: the time since the connection was opened */
static unsigned cut;
static int epoll;

/* ---- the ways ---------------------------------------------------------------------------------- */

struct way {
    const char *name;
    void (*begin)(struct text *t); /* what is sent first */
    bool drips, reads;             /* sends, or reads, a little each second */
};

static void add_filled(struct text *t, char c, size_t n)
{
    char *p = must(malloc(n));

    memset(p, c, n);
    text_add(t, p, n);
    free(p);
}

static void add_head(struct text *t, size_t length)
{
    char head[512];

    text_add(t, head,
             (size_t)snprintf(head, sizeof head,
                              "POST /call HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer "
                              "%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                              options.port, options.token, length));
}

static void add_call(struct text *t, const char *call)
{
    add_head(t, strlen(call));
    text_add(t, call, strlen(call));
}

static void drip(struct text *t)
{
    static const char head[] = "GET /healthz HTTP/1.1\r\nX: ";

    text_add(t, head, sizeof head - 1);
}

static void headers(struct text *t)
{
    static const char head[] = "GET /healthz HTTP/1.1\r\n";

    text_add(t, head, sizeof head - 1);
    while (t->len < BIG_HEAD) {
        text_add(t, "X-Some: ", 8);
        add_filled(t, 'x', 400);
        text_add(t, "\r\n", 2);
    }
}

static void announce(struct text *t)
{
    add_head(t, 1000000);
}

static void stall(struct text *t)
{
    add_head(t, 1000000);
    add_filled(t, ' ', STALLED_BODY);
}

static void junk(struct text *t)
{
    add_call(t, "{\"operation\":\"/demo/sleep\",\"input\":{\"ms\":600000}}");
    add_filled(t, 'j', JUNK);
}

static void read_slowly(struct text *t)
{
    static const char begin[] = "{\"operation\":\"/demo/echo\",\"input\":\"", end[] = "\"}";

    add_head(t, sizeof begin - 1 + ANSWER + sizeof end - 1);
    text_add(t, begin, sizeof begin - 1);
    add_filled(t, 'a', ANSWER);
    text_add(t, end, sizeof end - 1);
}

static const struct way ways[] = {
    {"drip", drip, true, false},          {"headers", headers, false, false},
    {"announce", announce, false, false}, {"stall", stall, false, false},
    {"junk", junk, false, false},         {"read", read_slowly, false, true},
};

/* ---- connections ------------------------------------------------------------------------------- */

static void ended(struct connection *c, uint64_t now)
{
    close(c->fd);
    c->fd = -1;
    cut++;
    if (now - c->opened > latest)
        latest = now - c->opened;
}

/* Reads at most so many bytes that are there; false: the end. */
static bool take(struct connection *c, size_t most)
{
    static char buffer[65536];
    ssize_t n = recv(c->fd, buffer, most < sizeof buffer ? most : sizeof buffer, MSG_DONTWAIT);

    if (n > 0)
        c->got += (size_t)n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* The server reads as it likes, or has closed already. */
static void send_all(struct connection *c, struct text t)
{
    uint64_t until = now_ns() + 10 * SECOND;

    while (t.len) {
        ssize_t n = send(c->fd, t.at, t.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (now_ns() > until)
            fail("the server takes nothing");
        if (n > 0) {
            t.at += n;
            t.len -= (size_t)n;
        } else {
            poll(&p, 1, 100);
        }
    }
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)options.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int buffer = NARROW, segment = SEGMENT, fd;

    if (!options.way->reads)
        return dial_port(options.port, 0);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) ||
        setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment) ||
        connect(fd, (struct sockaddr *)&to, sizeof to))
        fail("cannot connect to port %d: %s", options.port, strerror(errno));
    return fd;
}

static void open_all(struct text first)
{
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        struct epoll_event e = {.events = options.way->reads ? 0 : EPOLLIN, .data.ptr = c};

        c->opened = now_ns();
        c->fd = dial();
        send_all(c, first);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
            fail("epoll: %s", strerror(errno));
    }
}

/* A reader's time begins with its answer. */
static void await_answers(void)
{
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        if (poll(&p, 1, 10000) <= 0)
            fail("no answer comes");
        c->opened = now_ns();
    }
}

/* ---- the run ----------------------------------------------------------------------------------- */

/* Answers are read and thrown away: a client that is told why it is cut. */
static void watch(int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, timeout_ms);
    uint64_t now = now_ns();

    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;

        if (events[i].events & EPOLLIN ? !take(c, SIZE_MAX) : true)
            ended(c, now);
    }
}

static void little(unsigned tick)
{
    for (unsigned i = tick % TICKS; i < options.connections; i += TICKS) {
        struct connection *c = &connections[i];

        if (c->fd < 0)
            continue;
        if (options.way->drips)
            send(c->fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (options.way->reads)
            take(c, SLOW_BYTES);
    }
}

/* What is left of its answer; true: it ends before its time. */
static bool read_to_end(struct connection *c)
{
    uint64_t until = now_ns() + SECOND;

    while (c->got < ANSWER && now_ns() < until) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        if (!take(c, SIZE_MAX))
            return true;
        poll(&p, 1, 100);
    }
    return false;
}

static void judge_readers(void)
{
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];

        if (c->fd < 0)
            continue;
        if (read_to_end(c))
            cut++;
        close(c->fd);
    }
}

static void run(void)
{
    struct text first = {NULL, 0};
    uint64_t wait = (uint64_t)(options.seconds * (double)SECOND), until;

    options.way->begin(&first);
    connections = must(calloc(options.connections, sizeof *connections));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    open_all(first);
    if (options.way->reads)
        await_answers();
    watch(0);
    printf("{\"held\":%u,\"sent\":%zu}\n", options.connections - cut, first.len);
    fflush(stdout);
    until = connections[options.connections - 1].opened + wait;
    for (unsigned tick = 0; cut < options.connections && now_ns() < until; tick++) {
        uint64_t next = now_ns() + TICK_MS * (SECOND / 1000);

        little(tick);
        while (now_ns() < next)
            watch((int)((next - now_ns()) / (SECOND / 1000)) + 1);
    }
    if (options.way->reads)
        judge_readers();
    printf("{\"cut\":%u,\"latest_ms\":%llu}\n", cut,
           (unsigned long long)(latest / (SECOND / 1000)));
}

static void usage(void)
{
    fprintf(stderr, "usage: slow --port PORT --way WAY [options]\n"
                    "  --way WAY          drip, headers, announce, stall, junk, read\n"
                    "  --connections N    1\n"
                    "  --seconds SECONDS  until each should be closed, 1\n"
                    "  --token TOKEN      a bearer token for the calls\n");
    exit(2);
}

static const struct way *way_of(const char *name)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!strcmp(ways[i].name, name))
            return &ways[i];
    }
    fail("--way: there is no %s", name);
}

int main(int argc, char **argv)
{
    static const struct option all[] = {{"port", 1, NULL, 'p'},    {"way", 1, NULL, 'y'},
                                        {"seconds", 1, NULL, 's'}, {"connections", 1, NULL, 'c'},
                                        {"token", 1, NULL, 't'},   {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", all, NULL)) != -1) {
        switch (c) {
        case 'p':
            options.port = (int)number("port", optarg, 65535);
            break;
        case 'y':
            options.way = way_of(optarg);
            break;
        case 's':
            options.seconds = duration("seconds", optarg);
            break;
        case 'c':
            options.connections = number("connections", optarg, CONNECTIONS_MAX);
            break;
        case 't':
            options.token = optarg;
            break;
        default:
            usage();
        }
    }
    if (!options.port || !options.way || optind < argc)
        usage();
    run();
    return 0;
}
