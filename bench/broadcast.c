/* An event to all clients of an event gateway, on one loop and on two of one node:  broadcast [PAIRS [CLIENTS]]
 *
 * A child process has CLIENTS WebSockets to a node of one loop, and as many to a node of two, each on a thread, among which the
 * kernel has spread them. An event of 100 bytes is sent to all by the first loop. Nobody reads meanwhile: when each client received
 * it is the kernel's time stamp of the packet, so that reading takes no core away from sending.
 *
 * Printed is a line of JSON for each pair: from the sending to the last client's receipt, and the CPU time of the server's process,
 * user and kernel, both in nanoseconds for all clients, and how many clients are on the first loop. Each client must get each event
 * once. */
#include "measure.h"
#include "ws_client.h"

#include <alknet/uv.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "/events"
#define DATA_BYTES 76
#define EVENT_BYTES 100
#define ROUNDS 3
#define CLIENTS_MAX 20000u
#define SPARE 200
#define LAST (10 * SECOND)
#define REST_PER_CLIENT 60000 /* nanoseconds that a broadcast may take before anybody reads */

static char data[DATA_BYTES + 1], event[EVENT_BYTES + 1];

static uint64_t wall_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void rest(uint64_t ns)
{
    nanosleep(&(struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)}, NULL);
}

static void put(int fd, const void *p, size_t len)
{
    if (write(fd, p, len) != (ssize_t)len)
        fail("the other process is gone");
}

static void get(int fd, void *p, size_t len)
{
    if (read(fd, p, len) != (ssize_t)len)
        fail("the other process is gone");
}

/* ---- the clients' process ---------------------------------------------------------------------- */

struct hello {
    unsigned clients;
    int ports[2];
    char token[ALK_TOKEN_SIZE];
};

/* The event, which must be next and alone; when it came. */
static uint64_t receipt(int fd)
{
    char got[EVENT_BYTES + 16];
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec to = {got, sizeof got};
    struct msghdr m = {
        .msg_iov = &to, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct pollfd ready = {fd, POLLIN, 0};
    struct ws_frame frame;
    struct timespec t;
    struct cmsghdr *c;
    ssize_t n;

    if (poll(&ready, 1, (int)(LAST / 1000000)) != 1)
        fail("a client does not get an event");
    n = recvmsg(fd, &m, 0);
    if (n <= 0 || ws_read(got, (size_t)n, &frame) != (size_t)n || frame.opcode != WS_TEXT ||
        frame.len != EVENT_BYTES || memcmp(frame.at, event, EVENT_BYTES))
        fail("a client gets something else");
    for (c = CMSG_FIRSTHDR(&m); c && c->cmsg_type != SCM_TIMESTAMPNS; c = CMSG_NXTHDR(&m, c))
        ;
    if (!c)
        fail("the kernel does not say when a packet came");
    memcpy(&t, CMSG_DATA(c), sizeof t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* For each byte that comes, which is a node's number, the time of the last receipt. */
static void clients(int fd)
{
    struct hello hello;
    unsigned char which;
    int *fds[2];

    get(fd, &hello, sizeof hello);
    for (int k = 0; k < 2; k++) {
        fds[k] = must(calloc(hello.clients, sizeof **fds));
        for (unsigned i = 0; i < hello.clients; i++) {
            int one = 1;

            fds[k][i] = ws_dial(hello.ports[k], PATH, hello.token, 0);
            setsockopt(fds[k][i], SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        }
    }
    put(fd, "r", 1);
    while (read(fd, &which, 1) == 1) {
        uint64_t last = 0;

        for (unsigned i = 0; i < hello.clients; i++) {
            uint64_t t = receipt(fds[which][i]);

            last = t > last ? t : last;
        }
        put(fd, &last, sizeof last);
    }
}

/* ---- the server's ------------------------------------------------------------------------------ */

struct worker {
    uv_loop_t uv;
    uv_async_t awake; /* keeps the loop running */
    pthread_t thread;
    alk_loop *l;
    alk_events *events;
};

/* The first has the node of one loop, the others have the one of two. */
static struct worker workers[3];
static size_t sent; /* by the first loop of the last event */

static alk_node *node_of(alk_identities *ids)
{
    alk_registry *reg = alk_registry_new();
    alk_identity_provider provider;
    alk_node_options o;
    alk_limits limits;
    alk_node *node;

    alk_identities_provider(ids, &provider, sizeof provider);
    alk_node_options_init(&o, sizeof o);
    o.identities = &provider;
    o.log_level = ALK_LOG_WARN;
    if (alk_registry_freeze(reg) || alk_node_new(&node, reg, &o))
        fail("no node");
    alk_node_get_limits(node, &limits, sizeof limits);
    limits.ping_ms = limits.idle_ms = 0;
    if (alk_node_set_limits(node, &limits))
        fail("no limits");
    return node;
}

static void on_awake(uv_async_t *a)
{
    (void)a;
}

static void *run_worker(void *ud)
{
    uv_run(&((struct worker *)ud)->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* Returns the port, which may be given. */
static int worker_start(struct worker *w, alk_node *node, int port)
{
    const alk_events_options o = {.size = sizeof o, .authenticated = 1, .path = PATH};
    char err[200] = "cannot start";
    alk_server_options listen;
    alk_dispatcher *d;
    alk_gateway *g;
    alk_server *s;

    alk_server_options_init(&listen, sizeof listen);
    listen.reuse_port = 1;
    listen.port = (uint32_t)port;
    if (uv_loop_init(&w->uv) || uv_async_init(&w->uv, &w->awake, on_awake) ||
        alk_dispatcher_new(&d, node) || alk_loop_open(&w->l, &w->uv, d) ||
        alk_gateway_new(&g, d, NULL, err, sizeof err) || alk_gateway_add_events(&w->events, g, &o))
        fail("%s", err);
    listen.gateway = g;
    if (alk_server_open(&s, w->l, &listen, err, sizeof err))
        fail("%s", err);
    port = alk_server_port(s);
    if (pthread_create(&w->thread, NULL, run_worker, w))
        fail("no thread");
    return port;
}

static alk_identities *identities(char token[ALK_TOKEN_SIZE])
{
    alk_identities *ids = alk_identities_new();
    char hash[65], json[256], err[200] = "no token";
    int n;

    if (!ids || alk_token_new(token))
        fail("%s", err);
    alk_token_hash(token, strlen(token), hash);
    n = snprintf(json, sizeof json,
                 "{\"keys\":[{\"prefix\":\"%.8s\",\"hash\":\"%s\",\"scopes\":[]}]}", token, hash);
    if (alk_identities_load(ids, json, (size_t)n, 0, NULL, err, sizeof err))
        fail("%s", err);
    return ids;
}

static void send_event(void *ud)
{
    if (alk_events_send_all(ud, "tick", 4, data, DATA_BYTES, &sent))
        fail("an event is not sent");
}

struct figures {
    double ns, cpu;
    size_t sent;
};

static struct figures measure(int child, unsigned char which, unsigned count)
{
    struct figures f = {0, 0, 0};

    for (int i = 0; i < ROUNDS; i++) {
        double cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        uint64_t begun = wall_ns(), last;

        if (alk_loop_post(workers[which].l, send_event, workers[which].events))
            fail("a loop is gone");
        rest(REST_PER_CLIENT * count);
        put(child, &which, 1);
        get(child, &last, sizeof last);
        f.ns += (double)(last - begun) / ROUNDS;
        f.cpu += (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / ROUNDS;
    }
    f.sent = sent;
    return f;
}

static unsigned allowed(unsigned count)
{
    struct rlimit r, more;

    getrlimit(RLIMIT_NOFILE, &r);
    more.rlim_cur = more.rlim_max = 2 * count + SPARE;
    if (more.rlim_max < r.rlim_max)
        more.rlim_max = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more)) {
        r.rlim_cur = r.rlim_max < more.rlim_cur ? r.rlim_max : more.rlim_cur;
        setrlimit(RLIMIT_NOFILE, &r);
        count = (unsigned)(r.rlim_cur - SPARE) / 2;
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 1 ? number("PAIRS", argv[1], 1000) : 1;
    unsigned count = allowed(argc > 2 ? number("CLIENTS", argv[2], CLIENTS_MAX) : 10000);
    struct hello hello = {.clients = count};
    alk_identities *ids;
    alk_node *two;
    int between[2];
    char ready;
    pid_t child;

    signal(SIGPIPE, SIG_IGN);
    memset(data, 'x', DATA_BYTES);
    data[0] = data[DATA_BYTES - 1] = '"';
    snprintf(event, sizeof event, "{\"event\":\"tick\",\"data\":%s}", data);
    if (strlen(event) != EVENT_BYTES || socketpair(AF_UNIX, SOCK_STREAM, 0, between))
        fail("no sockets");
    child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(between[0]);
        clients(between[1]);
        _exit(0);
    }
    close(between[1]);
    ids = identities(hello.token);
    hello.ports[0] = worker_start(&workers[0], node_of(ids), 0);
    two = node_of(ids);
    hello.ports[1] = worker_start(&workers[1], two, 0);
    worker_start(&workers[2], two, hello.ports[1]);
    put(between[0], &hello, sizeof hello);
    get(between[0], &ready, 1);
    for (unsigned char k = 0; k < 2; k++)
        measure(between[0], k, count);
    for (unsigned i = 0; i < pairs; i++) {
        struct figures f[2];

        for (unsigned k = 0; k < 2; k++) {
            unsigned char which = (unsigned char)(i % 2 ? 1 - k : k);

            f[which] = measure(between[0], which, count);
        }
        printf("{\"clients\":%u,\"on_first\":%zu,\"one\":%.0f,\"one_cpu\":%.0f,\"two\":%.0f,"
               "\"two_cpu\":%.0f}\n",
               count, f[1].sent, f[0].ns, f[0].cpu, f[1].ns, f[1].cpu);
        fflush(stdout);
    }
    close(between[0]);
    waitpid(child, NULL, 0);
    return 0;
}
