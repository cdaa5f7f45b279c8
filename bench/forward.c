/* What a forwarded call costs beside a bare request:  forward [PAIRS [REQUESTS [KIND]]]
 *
 *   ours_1, ours_64    an imported operation, one call after another and 64 at a time: a call.requested envelope fed into a connection
 *                      on a link of our own, the input checked, the request that it becomes, the answer parsed, the call.responded
 *                      envelope
 *   pair_1, pair_64    the same over an in-process connection: what the caller does is in it too
 *   bare_1, bare_64    the same requests by libcurl's multi interface on a libuv loop, as libcurl's documentation shows it: handles
 *                      that are kept, each with its URL set anew; the bytes of the answers are counted, no more
 *
 * All have at most 16 connections, which they keep. The service is a process of its own, answers each request with the same 65 bytes
 * of JSON, and counts its connections. Measured is the CPU time of this process, user and system, for each request. One line of JSON for each
 * pair, in nanoseconds. Every answer is counted. With a KIND only that is run, in the function measured(), for a tool that counts
 * instructions in it. */
#include "measure.h"

#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <curl/curl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER                                                                                     \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 65\r\n\r\n"              \
    "{\"id\":12345,\"name\":\"a thing of some length\",\"tags\":[\"a\",\"b\",\"c\"]}"
#define IN_FLIGHT 64u
#define CONNECTIONS 16L
#define BODY_BYTES 65ul

static volatile unsigned *seen; /* connections of the service; shared with it */
static uv_loop_t loop;
static int port;
static unsigned left, running; /* requests */
static size_t received;
static double begun, took; /* CPU time of the present run, until the last answer */

static void die(const char *what)
{
    fprintf(stderr, "forward: %s\n", what);
    exit(1);
}

/* Begins as many requests, each of which begins another one when it is over. */
__attribute__((noinline)) static void measured(void (*begin)(void), unsigned count,
                                               unsigned in_flight)
{
    left = count;
    received = 0;
    begun = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < in_flight; i++)
        begin();
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- the service ----------------------------------------------------------------------------- */

struct client {
    uv_tcp_t tcp;
    uv_write_t write;
    unsigned matched; /* of the empty line behind a head */
};

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *b)
{
    static char room[65536];

    (void)h, (void)n;
    *b = uv_buf_init(room, sizeof room);
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    static const char end[] = "\r\n\r\n";
    struct client *c = s->data;
    uv_buf_t answer = uv_buf_init(ANSWER, sizeof ANSWER - 1);

    if (n < 0) {
        uv_close((uv_handle_t *)s, on_closed);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        c->matched = b->base[i] == end[c->matched] ? c->matched + 1 : b->base[i] == '\r';
        if (c->matched < 4)
            continue;
        c->matched = 0;
        uv_try_write(s, &answer, 1);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct client *c = calloc(1, sizeof *c);

    if (status || !c)
        die("the service cannot accept");
    uv_tcp_init(server->loop, &c->tcp);
    c->tcp.data = c;
    uv_accept(server, (uv_stream_t *)&c->tcp);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    ++*seen;
}

static pid_t serve(void)
{
    struct sockaddr_in address;
    int size = sizeof address, ready[2];
    uv_tcp_t server;
    pid_t child;

    if (pipe(ready))
        die("no pipe");
    child = fork();
    if (child) {
        if (read(ready[0], &port, sizeof port) != sizeof port)
            die("the service does not start");
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    uv_loop_init(&loop);
    uv_tcp_init(&loop, &server);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&server, (const struct sockaddr *)&address, 0);
    if (uv_listen((uv_stream_t *)&server, 128, on_connection))
        die("the service cannot listen");
    uv_tcp_getsockname(&server, (struct sockaddr *)&address, &size);
    port = ntohs(address.sin_port);
    if (write(ready[1], &port, sizeof port) != sizeof port)
        die("nobody wants the service");
    uv_run(&loop, UV_RUN_DEFAULT);
    exit(0);
}

/* ---- bare libcurl ---------------------------------------------------------------------------- */

/* As its documentation shows it: uv_poll for each socket, one timer. */
struct watched {
    uv_poll_t poll;
    curl_socket_t fd;
};

static CURLM *multi;
static uv_timer_t timer;
static CURL *handles[IN_FLIGHT];
static unsigned idle;

static void bare_begin(CURL *easy);

static void bare_collect(void)
{
    CURLMsg *m;
    int more;

    while ((m = curl_multi_info_read(multi, &more))) {
        CURL *easy = m->easy_handle;
        long status;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (m->data.result != CURLE_OK || status != 200)
            die("a bare request fails");
        curl_multi_remove_handle(multi, easy);
        running--;
        if (left)
            bare_begin(easy);
        else if (!running)
            took = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begun;
    }
}

static void bare_act(curl_socket_t fd, int flags)
{
    int still;

    curl_multi_socket_action(multi, fd, flags, &still);
    bare_collect();
}

static void bare_on_poll(uv_poll_t *p, int status, int events)
{
    struct watched *w = p->data;

    bare_act(w->fd, (status < 0 ? CURL_CSELECT_ERR : 0) |
                        (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                        (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0));
}

static void bare_on_timer(uv_timer_t *t)
{
    (void)t;
    bare_act(CURL_SOCKET_TIMEOUT, 0);
}

static int bare_timer(CURLM *m, long ms, void *ud)
{
    (void)m, (void)ud;
    if (ms < 0)
        uv_timer_stop(&timer);
    else
        uv_timer_start(&timer, bare_on_timer, (uint64_t)ms, 0);
    return 0;
}

static int bare_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *socket)
{
    struct watched *w = socket;

    (void)easy, (void)ud;
    if (what == CURL_POLL_REMOVE) {
        uv_poll_stop(&w->poll);
        uv_close((uv_handle_t *)&w->poll, on_closed);
        curl_multi_assign(multi, fd, NULL);
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        w->fd = fd;
        uv_poll_init_socket(&loop, &w->poll, fd);
        w->poll.data = w;
        curl_multi_assign(multi, fd, w);
    }
    uv_poll_start(&w->poll,
                  (what & CURL_POLL_IN ? UV_READABLE : 0) |
                      (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
                  bare_on_poll);
    return 0;
}

static size_t bare_write(char *data, size_t one, size_t n, void *ud)
{
    (void)data, (void)ud;
    received += one * n;
    return one * n;
}

static void bare_begin(CURL *easy)
{
    char url[80];

    snprintf(url, sizeof url, "http://127.0.0.1:%d/things/%u?full=true", port, left);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    left--;
    running++;
    curl_multi_add_handle(multi, easy);
}

static void bare_first(void)
{
    bare_begin(handles[--idle]);
}

static void bare_run(unsigned count, unsigned in_flight)
{
    struct curl_slist *lines = curl_slist_append(NULL, "Accept: application/json, */*;q=0.1");

    lines = curl_slist_append(lines, "Authorization: Bearer s3cret");
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, bare_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, bare_timer);
    curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, CONNECTIONS);
    uv_timer_init(&loop, &timer);
    for (unsigned i = 0; i < in_flight; i++) {
        CURL *easy = handles[i] = curl_easy_init();

        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, lines);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, bare_write);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "alknet/" ALK_VERSION);
        curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    }
    idle = in_flight;
    measured(bare_first, count, in_flight);
    for (unsigned i = 0; i < in_flight; i++)
        curl_easy_cleanup(handles[i]);
    curl_multi_cleanup(multi);
    curl_slist_free_all(lines);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (received != BODY_BYTES * count)
        die("bare answers are missing");
}

/* ---- imported -------------------------------------------------------------------------------- */

static const char document[] =
    "{\"openapi\":\"3.1.0\",\"security\":[{\"b\":[]}],\"paths\":{\"/things/{id}\":{\"get\":{"
    "\"operationId\":\"thing\",\"parameters\":[{\"name\":\"id\",\"in\":\"path\",\"required\":true,"
    "\"schema\":{\"type\":\"integer\"}},{\"name\":\"full\",\"in\":\"query\",\"schema\":{\"type\":"
    "\"boolean\"}}],\"responses\":{\"200\":{\"description\":\"\",\"content\":{\"application/json\":"
    "{\"schema\":{\"type\":\"object\"}}}}}}}},\"components\":{\"securitySchemes\":{\"b\":{\"type\":"
    "\"http\",\"scheme\":\"bearer\"}}}}";

static alk_connection *caller;
static alk_loop *net;
static void (*again)(void); /* one more call */

/* Calls that have not begun keep no loop. */
static void ours_on_timer(uv_timer_t *t)
{
    (void)t;
    die("the calls take too long");
}

static void ours_answered(size_t bytes)
{
    received += bytes;
    running--;
    if (left) {
        again();
    } else if (!running) {
        took = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begun;
        alk_loop_close(net, NULL, NULL);
        uv_close((uv_handle_t *)&timer, NULL);
    }
}

/* ---- from envelope to envelope */

static void wire_begin(void)
{
    char envelope[256];
    int n = snprintf(envelope, sizeof envelope,
                     "{\"type\":\"call.requested\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a%08x\","
                     "\"payload\":{\"operationId\":\"/s/thing\",\"input\":{\"id\":%u,"
                     "\"full\":true}}}",
                     left, left);

    left--;
    running++;
    if (alk_connection_feed(caller, 0, envelope, (size_t)n))
        die("an envelope is refused");
}

static int wire_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    static const char head[] = "{\"type\":\"call.responded\"";

    (void)ud, (void)stream;
    if (len < sizeof head + BODY_BYTES || memcmp(envelope, head, sizeof head - 1) != 0)
        die("a call fails");
    ours_answered(BODY_BYTES);
    return ALK_OK;
}

static void wire_close(void *ud, int code)
{
    (void)ud, (void)code;
}

static void wire_open(alk_dispatcher *d)
{
    alk_link link = {.size = sizeof link, .send = wire_send, .close = wire_close};
    alk_connection_options o = {.size = sizeof o};

    if (alk_connection_open(&caller, d, &link, &o))
        die("no connection");
    again = wire_begin;
}

/* ---- with a caller in this process */

static size_t came;

static void pair_value(alk_call *call, const alk_value *value, void *ud)
{
    (void)call, (void)ud;
    alk_value_text(value, &came);
}

static void pair_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)ud;
    if (why != ALK_END_OK)
        die(fault ? fault->message : "a call fails");
    ours_answered(came);
}

static void pair_begin(void)
{
    alk_call_options o = {.size = sizeof o};
    char input[64];
    int n = snprintf(input, sizeof input, "{\"id\":%u,\"full\":true}", left);

    o.on_event = pair_value;
    o.on_end = pair_end;
    left--;
    running++;
    if (alk_connection_call(caller, "s/thing", 7, input, (size_t)n, &o, NULL))
        die("no call");
}

static void pair_open(alk_dispatcher *d)
{
    alk_connection_options side = {.size = sizeof side};
    alk_connection *other;

    if (alk_pair_open(d, &side, &caller, d, &side, &other))
        die("no connection");
    alk_connection_unref(other);
    again = pair_begin;
}

/* ---- both */

static alk_registry *ours_registry(void)
{
    alk_registry *reg = alk_registry_new();
    alk_capabilities *secrets = alk_capabilities_new();
    alk_openapi_options o = {.size = sizeof o};
    char base[64], err[256];

    snprintf(base, sizeof base, "http://127.0.0.1:%d", port);
    alk_capabilities_set(secrets, "s", "s3cret", 6);
    o.namespace_prefix = "s";
    o.base_url = base;
    o.is_public = 1;
    o.capabilities = secrets;
    if (alk_registry_import_openapi(reg, document, strlen(document), &o, NULL, err, sizeof err) ||
        alk_registry_freeze(reg))
        die(err);
    alk_capabilities_free(secrets);
    return reg;
}

static void ours_run(void (*open)(alk_dispatcher *d), unsigned count, unsigned in_flight)
{
    alk_registry *reg = ours_registry();
    alk_dispatcher *d;
    alk_node *node;

    if (alk_node_new(&node, reg, NULL) || alk_dispatcher_new(&d, node) ||
        alk_loop_open(&net, &loop, d))
        die("no node");
    open(d);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, ours_on_timer, 600000, 0);
    measured(again, count, in_flight);
    alk_connection_unref(caller);
    uv_run(&loop, UV_RUN_DEFAULT);
    alk_node_unref(node);
    alk_registry_unref(reg);
    if (received != BODY_BYTES * count)
        die("answers are missing");
}

static void wire_run(unsigned count, unsigned in_flight)
{
    ours_run(wire_open, count, in_flight);
}

static void pair_run(unsigned count, unsigned in_flight)
{
    ours_run(pair_open, count, in_flight);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* What is compared is next to each other. */
static const struct {
    const char *name;
    void (*run)(unsigned count, unsigned in_flight);
    unsigned in_flight;
} kinds[] = {{"ours_1", wire_run, 1},          {"bare_1", bare_run, 1},
             {"pair_1", pair_run, 1},          {"ours_64", wire_run, IN_FLIGHT},
             {"bare_64", bare_run, IN_FLIGHT}, {"pair_64", pair_run, IN_FLIGHT}};

#define ROUNDS 6u
#define KINDS (sizeof kinds / sizeof kinds[0])

/* In rounds, so that a processor that changes its speed meanwhile does so for all. */
static void pair(unsigned count)
{
    unsigned connections[KINDS] = {0};
    double ns[KINDS] = {0};

    for (size_t i = 0; i < ROUNDS * KINDS; i++) {
        size_t kind = i / KINDS % 2 ? KINDS - 1 - i % KINDS : i % KINDS;
        unsigned before = *seen;

        kinds[kind].run(count / ROUNDS, kinds[kind].in_flight);
        ns[kind] += took / (count / ROUNDS) / ROUNDS;
        if (connections[kind] < *seen - before)
            connections[kind] = *seen - before;
    }
    for (size_t i = 0; i < KINDS; i++)
        printf("%c\"%s\":%.0f,\"%s_connections\":%u", i ? ',' : '{', kinds[i].name, ns[i],
               kinds[i].name, connections[i]);
    puts("}");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 1 ? (unsigned)atoi(argv[1]) : 7;
    unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;
    pid_t child;

    signal(SIGPIPE, SIG_IGN);
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED || !pairs || count < ROUNDS * IN_FLIGHT)
        die("usage: forward [PAIRS [REQUESTS [KIND]]], REQUESTS at least 384");
    child = serve();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    uv_loop_init(&loop);
    for (size_t i = 0; i < KINDS; i++) {
        if (argc > 3 && !strcmp(argv[3], kinds[i].name))
            kinds[i].run(count, kinds[i].in_flight);
        else if (argc <= 3)
            kinds[i].run(1000, kinds[i].in_flight); /* so that memory is there */
    }
    for (unsigned i = 0; argc <= 3 && i < pairs; i++)
        pair(count);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    uv_loop_close(&loop);
    return 0;
}
