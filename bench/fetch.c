/* What a request of the loop's HTTP client costs beside one of bare libcurl:  fetch [PAIRS [REQUESTS [KIND]]]
 *
 *   one         a GET of 100 bytes after another, on one connection: struct fetcher, on a loop
 *   many        64 of them in flight, on 16 connections
 *   bare_one, bare_many   the same with curl_multi_socket_action and an epoll loop of their own, which knows of no retries, no
 *               deadlines, no addresses and no limits
 *
 * Both reuse their handles, and set for each request its URL and two lines of its head. The server is a thread of its own that
 * answers whatever comes. Printed is a line of JSON for each pair: the CPU time of the client's thread for each request, in
 * nanoseconds. With KIND only that is run, once, in a function `measured`, for callgrind. Every answer is checked. */
#include "base/time.h"
#include "measure.h"
#include "uv/plumbing.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_BYTES 100
#define IN_FLIGHT 64
#define CONNECTIONS 16
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define LINES "Authorization: Bearer alk_of_the_benchmark\r\n"

static int port;

/* ---- the server -------------------------------------------------------------------------------- */

static void *serve(void *ud)
{
    int listener = *(int *)ud, ep = epoll_create1(0), one = 1;
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[64];
    char answer[300], in[65536];
    int head =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
                 BODY_BYTES);

    memset(answer + head, 'x', BODY_BYTES);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(ep, events, 64, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == listener) {
                ev.data.fd = accept(listener, NULL, NULL);
                setsockopt(ev.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
                continue;
            }
            if (read(fd, in, sizeof in) <= 0)
                close(fd);
            else if (write(fd, answer, (size_t)head + BODY_BYTES) < 0)
                close(fd);
        }
    }
    return NULL;
}

static void start_server(void)
{
    static int listener;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    pthread_t thread;

    listener = socket(AF_INET, SOCK_STREAM, 0);
    check(!bind(listener, (struct sockaddr *)&at, len) && !listen(listener, 1000) &&
              !getsockname(listener, (struct sockaddr *)&at, &len) &&
              !pthread_create(&thread, NULL, serve, &listener),
          "no server");
    port = ntohs(at.sin_port);
}

/* ---- bare -------------------------------------------------------------------------------------- */

static struct bare {
    CURLM *multi;
    int ep;
    long timeout; /* ms; -1: none */
    long left, done;
    char url[100];
} bare;

struct transfer {
    CURL *easy;
    struct curl_slist *lines;
    size_t got;
};

static size_t bare_data(char *data, size_t one, size_t n, void *ud)
{
    (void)data;
    ((struct transfer *)ud)->got += one * n;
    return one * n;
}

/* What libcurl has said of a socket is kept in it, as its documentation shows. */
static int bare_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *known)
{
    struct epoll_event ev = {.data.fd = fd};

    (void)easy;
    (void)ud;
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(bare.ep, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    epoll_ctl(bare.ep, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
    curl_multi_assign(bare.multi, fd, &bare);
    return 0;
}

static int bare_timer(CURLM *multi, long ms, void *ud)
{
    (void)multi;
    (void)ud;
    bare.timeout = ms;
    return 0;
}

static void bare_begin(struct transfer *t)
{
    bare.left--;
    t->got = 0;
    t->lines = curl_slist_append(NULL, "Authorization: Bearer alk_of_the_benchmark");
    t->lines = curl_slist_append(t->lines, "traceparent: " TRACE);
    curl_easy_setopt(t->easy, CURLOPT_URL, bare.url);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lines);
    curl_multi_add_handle(bare.multi, t->easy);
}

static void bare_collect(void)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(bare.multi, &left))) {
        struct transfer *t;
        long status;

        check(!m->data.result, "a bare request has failed");
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        check(status == 200 && t->got == BODY_BYTES, "a bare answer is wrong");
        curl_multi_remove_handle(bare.multi, t->easy);
        curl_slist_free_all(t->lines);
        bare.done++;
        if (bare.left)
            bare_begin(t);
    }
}

static void bare_step(void)
{
    struct epoll_event events[64];
    int running, n = epoll_wait(bare.ep, events, 64, bare.timeout < 0 ? 1000 : (int)bare.timeout);

    for (int i = 0; i < n; i++) {
        int what = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);

        curl_multi_socket_action(bare.multi, events[i].data.fd, what, &running);
    }
    if (!n || bare.timeout == 0)
        curl_multi_socket_action(bare.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    bare_collect();
}

static struct transfer transfers[IN_FLIGHT];

static void bare_open(void)
{
    bare.ep = epoll_create1(0);
    bare.multi = curl_multi_init();
    bare.timeout = -1;
    snprintf(bare.url, sizeof bare.url, "http://127.0.0.1:%d/path", port);
    curl_multi_setopt(bare.multi, CURLMOPT_SOCKETFUNCTION, bare_socket);
    curl_multi_setopt(bare.multi, CURLMOPT_TIMERFUNCTION, bare_timer);
    curl_multi_setopt(bare.multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)CONNECTIONS);
    for (int i = 0; i < IN_FLIGHT; i++) {
        CURL *easy = transfers[i].easy = curl_easy_init();

        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, bare_data);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfers[i]);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfers[i]);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
        curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
        curl_easy_setopt(easy, CURLOPT_USERAGENT, "bare");
    }
}

/* ---- ours -------------------------------------------------------------------------------------- */

static struct ours {
    uv_loop_t uv;
    alk_registry *registry;
    alk_node *node;
    alk_dispatcher *dispatcher;
    alk_loop *loop;
    long left, done;
    char url[100];
} ours;

struct request {
    int status;
    size_t got;
};

static void ours_begin(struct request *r);

static void on_head(void *ud, const struct fetch_head *h)
{
    ((struct request *)ud)->status = h->status;
}

static bool on_data(void *ud, const char *data, size_t len)
{
    (void)data;
    ((struct request *)ud)->got += len;
    return true;
}

static void on_end(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct request *r = ud;

    (void)retry_after_ms;
    check(outcome == FETCH_DONE, why);
    check(r->status == 200 && r->got == BODY_BYTES, "an answer is wrong");
    ours.done++;
    if (ours.left)
        ours_begin(r);
}

static void ours_begin(struct request *r)
{
    static const struct fetch_events events = {on_head, on_data, on_end};
    struct fetch_request rq = {.method = "GET",
                               .url = ours.url,
                               .headers = str_of(LINES),
                               .traceparent = TRACE,
                               .deadline = uv_hrtime() + 30 * SECOND,
                               .idempotent = true};

    ours.left--;
    *r = (struct request){0};
    check(ours.loop->fetcher.start(&ours.loop->fetcher, &rq, &events, r), "out of memory");
}

static struct request requests[IN_FLIGHT];

static void ours_open(void)
{
    uv_loop_init(&ours.uv);
    ours.registry = alk_registry_new();
    check(ours.registry && !alk_registry_freeze(ours.registry) &&
              !alk_node_new(&ours.node, ours.registry, NULL) &&
              !alk_dispatcher_new(&ours.dispatcher, ours.node) &&
              !alk_loop_open(&ours.loop, &ours.uv, ours.dispatcher),
          "no loop");
    snprintf(ours.url, sizeof ours.url, "http://127.0.0.1:%d/path", port);
}

/* ---- both -------------------------------------------------------------------------------------- */

static __attribute__((noinline)) void measured(bool is_bare, long count, int in_flight)
{
    if (is_bare) {
        bare.left = count;
        bare.done = 0;
        for (int i = 0; i < in_flight; i++)
            bare_begin(&transfers[i]);
        while (bare.done < count)
            bare_step();
    } else {
        ours.left = count;
        ours.done = 0;
        for (int i = 0; i < in_flight; i++)
            ours_begin(&requests[i]);
        while (ours.done < count)
            uv_run(&ours.uv, UV_RUN_ONCE);
    }
}

static double run(bool is_bare, long count, int in_flight)
{
    double begun = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    measured(is_bare, count, in_flight);
    return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / (double)count;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"one", "bare_one", "many", "bare_many"};
    long pairs = argc > 1 ? atol(argv[1]) : 7, count = argc > 2 ? atol(argv[2]) : 10000;

    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    start_server();
    bare_open();
    ours_open();
    for (int k = 0; k < 4; k++) {
        if (argc > 3 && strcmp(argv[3], kinds[k]))
            continue;
        /* The connections come about. */
        if (argc <= 3)
            run(k % 2, IN_FLIGHT * 10, k / 2 ? IN_FLIGHT : 1);
        else
            run(k % 2, count, k / 2 ? IN_FLIGHT : 1);
    }
    if (argc > 3)
        return 0;
    for (long i = 0; i < pairs; i++) {
        double ns[4];

        for (int k = 0; k < 4; k++) {
            int which = i % 2 ? k ^ 1 : k;

            ns[which] = run(which % 2, count, which / 2 ? IN_FLIGHT : 1);
        }
        printf("{\"one\":%.0f,\"bare_one\":%.0f,\"many\":%.0f,\"bare_many\":%.0f}\n", ns[0], ns[1],
               ns[2], ns[3]);
        fflush(stdout);
    }
    return 0;
}
