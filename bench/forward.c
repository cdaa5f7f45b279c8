/* What a forwarded call costs beside a bare request: `forward PAIRS COUNT` asks one service COUNT times, by libcurl's multi
 * interface on a libuv loop, and by an imported operation that is called over an in-process connection; in turn, with 1 and
 * with 64 in flight. The service is a process of its own. A line of JSON for each pair: the CPU time (user and system) of
 * this process per request in ns, and how many connections the service has seen in that part. */
#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER                                                                                     \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 65\r\n\r\n"              \
    "{\"id\":12345,\"name\":\"a thing of some length\",\"tags\":[\"a\",\"b\",\"c\"]}"
#define IN_FLIGHT 64u

static volatile unsigned *seen; /* connections of the service; shared with it */
static uv_loop_t loop;
static int port;

static void die(const char *what)
{
    fprintf(stderr, "forward: %s\n", what);
    exit(1);
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
static unsigned left, running;
static size_t received;

static void bare_begin(CURL *easy);

static void bare_collect(void)
{
    CURLMsg *m;
    int more;

    while ((m = curl_multi_info_read(multi, &more))) {
        CURL *easy = m->easy_handle;

        if (m->data.result != CURLE_OK)
            die("a bare request fails");
        curl_multi_remove_handle(multi, easy);
        running--;
        if (left)
            bare_begin(easy);
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
    left--;
    running++;
    curl_multi_add_handle(multi, easy);
}

static void bare_run(unsigned count, unsigned in_flight)
{
    struct curl_slist *lines = curl_slist_append(NULL, "Accept: application/json, */*;q=0.1");
    CURL *easy[IN_FLIGHT];
    char url[64];

    snprintf(url, sizeof url, "http://127.0.0.1:%d/things/12345?full=true", port);
    lines = curl_slist_append(lines, "Authorization: Bearer s3cret");
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, bare_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, bare_timer);
    curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, 16L);
    uv_timer_init(&loop, &timer);
    left = count;
    received = 0;
    for (unsigned i = 0; i < in_flight; i++) {
        easy[i] = curl_easy_init();
        curl_easy_setopt(easy[i], CURLOPT_URL, url);
        curl_easy_setopt(easy[i], CURLOPT_HTTPHEADER, lines);
        curl_easy_setopt(easy[i], CURLOPT_WRITEFUNCTION, bare_write);
        curl_easy_setopt(easy[i], CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy[i], CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
        curl_easy_setopt(easy[i], CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        bare_begin(easy[i]);
    }
    while (running)
        uv_run(&loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < in_flight; i++)
        curl_easy_cleanup(easy[i]);
    curl_multi_cleanup(multi);
    curl_slist_free_all(lines);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (received != 65ul * count)
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

static void ours_begin(void);

/* Calls that have not begun keep no loop. */
static void ours_on_timer(uv_timer_t *t)
{
    (void)t;
    die("the calls take too long");
}

static void ours_value(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call, (void)ud;
    alk_value_text(value, &len);
    received += len;
}

static void ours_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)ud;
    if (why != ALK_END_OK)
        die(fault ? fault->message : "a call fails");
    running--;
    if (left)
        ours_begin();
    else if (!running) {
        alk_loop_close(net, NULL, NULL);
        uv_close((uv_handle_t *)&timer, NULL);
    }
}

static void ours_begin(void)
{
    alk_call_options o;

    alk_call_options_init(&o, sizeof o);
    o.on_event = ours_value;
    o.on_end = ours_end;
    left--;
    running++;
    if (alk_connection_call(caller, "s/thing", 7, "{\"id\":12345,\"full\":true}", 24, &o, NULL))
        die("no call");
}

static alk_registry *ours_registry(void)
{
    alk_registry *reg = alk_registry_new();
    alk_capabilities *secrets = alk_capabilities_new();
    alk_openapi_options o;
    char base[64], err[256];

    snprintf(base, sizeof base, "http://127.0.0.1:%d", port);
    alk_capabilities_set(secrets, "s", "s3cret", 6);
    alk_openapi_options_init(&o, sizeof o);
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

static void ours_run(unsigned count, unsigned in_flight)
{
    alk_connection_options side = {.size = sizeof side};
    alk_registry *reg = ours_registry();
    alk_connection *other;
    alk_dispatcher *d;
    alk_node *node;

    if (alk_node_new(&node, reg, NULL) || alk_dispatcher_new(&d, node) ||
        alk_loop_open(&net, &loop, d) || alk_pair_open(d, &side, &caller, d, &side, &other))
        die("no node");
    left = count;
    received = 0;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, ours_on_timer, 600000, 0);
    for (unsigned i = 0; i < in_flight; i++)
        ours_begin();
    uv_run(&loop, UV_RUN_DEFAULT);
    alk_connection_unref(caller);
    alk_connection_unref(other);
    uv_run(&loop, UV_RUN_DEFAULT);
    alk_node_unref(node);
    alk_registry_unref(reg);
    if (received != 65ul * count)
        die("answers are missing");
}

/* ---- measuring ------------------------------------------------------------------------------- */

static double cpu_ns(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return ((double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec) * 1e9 +
           ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) * 1e3;
}

static void measure(const char *name, void (*run)(unsigned, unsigned), unsigned count,
                    unsigned in_flight, const char *behind)
{
    unsigned before = *seen;
    double start = cpu_ns();

    run(count, in_flight);
    printf("\"%s_%u\":%.0f,\"%s_%u_connections\":%u%s", name, in_flight, (cpu_ns() - start) / count,
           name, in_flight, *seen - before, behind);
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 2 ? (unsigned)atoi(argv[1]) : 7;
    unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;
    pid_t child;

    signal(SIGPIPE, SIG_IGN);
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        die("no memory");
    child = serve();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    uv_loop_init(&loop);
    bare_run(1000, 16);
    ours_run(1000, 16);
    for (unsigned i = 0; i < pairs; i++) {
        printf("{");
        for (unsigned k = 0; k < 2; k++) {
            if ((i + k) % 2) {
                measure("bare", bare_run, count, 1, ",");
                measure("bare", bare_run, count, IN_FLIGHT, k ? "}\n" : ",");
            } else {
                measure("ours", ours_run, count, 1, ",");
                measure("ours", ours_run, count, IN_FLIGHT, k ? "}\n" : ",");
            }
        }
        fflush(stdout);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    uv_loop_close(&loop);
    return 0;
}
