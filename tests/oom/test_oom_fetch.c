/* Each allocation fails in turn: requests of a loop's HTTP client, to a server on the same loop that has all the memory it
 * wants. Each request ends once, or has not begun; what went on goes on, and nothing is left. (libcurl's own memory is not
 * ours to refuse.) */
#include "oom/upstream.h"

#include "uv/http_int.h"

#include <netdb.h>
#include <signal.h>
#include <unistd.h>

#define GIVEN_UP 20000 /* steps of the loop */

/* ---- the server -------------------------------------------------------------------------------- */

/* Moved once, busy once, cut once, and then ten bytes. */
static const char *answer(struct conn *c)
{
    if (strstr(c->in, "/moved"))
        return "HTTP/1.1 302 Found\r\nLocation: /busy\r\nContent-Length: 0\r\n\r\n";
    if (strstr(c->in, "/busy") && c->s->requests < 3)
        return "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    if (strstr(c->in, "/missing"))
        return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-More: and more\r\nContent-Length: "
           "10\r\n\r\n0123456789";
}

/* ---- the loop ---------------------------------------------------------------------------------- */

static struct world {
    uv_loop_t uv;
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;
    struct server server;
    int closed;
} w;

static void begin(void)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&w, 0, sizeof w);
    must(!uv_loop_init(&w.uv));
    w.reg = alk_registry_new();
    must(w.reg && !alk_registry_freeze(w.reg) && !alk_node_new(&w.node, w.reg, NULL) &&
         !alk_dispatcher_new(&w.d, w.node) && !alk_loop_open(&w.l, &w.uv, w.d));
    server_open(&w.server, &w.uv, answer);
}

static void on_closed(void *ud)
{
    (void)ud;
    w.closed++;
}

static void finish(void)
{
    alk_loop_close(w.l, on_closed, NULL);
    uv_close((uv_handle_t *)&w.server.tcp, NULL);
    for (int i = 0; i < GIVEN_UP && (!w.closed || w.server.open); i++)
        uv_run(&w.uv, UV_RUN_NOWAIT);
    must(w.closed == 1 && !w.server.open);
    uv_run(&w.uv, UV_RUN_DEFAULT);
    must(!uv_loop_close(&w.uv));
    alk_node_unref(w.node);
    alk_registry_unref(w.reg);
}

/* ---- requests ---------------------------------------------------------------------------------- */

struct got {
    struct fetch *x;
    int heads, ends, outcome, status;
    size_t len;
    bool refuse, once;
};

static void on_head(void *ud, const struct fetch_head *h)
{
    struct got *g = ud;

    must(!g->heads++ && !g->ends);
    g->status = h->status;
}

static bool on_data(void *ud, const char *data, size_t len)
{
    struct got *g = ud;

    (void)data;
    must(g->heads && !g->ends);
    if (g->refuse && !g->once) {
        g->once = true;
        return false;
    }
    g->len += len;
    return true;
}

static void on_end(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct got *g = ud;

    (void)retry_after_ms;
    must(!g->ends++ && (outcome == FETCH_DONE) == !why);
    must(outcome == FETCH_DONE || (outcome == FETCH_FAILED && failed()));
    g->outcome = outcome;
    g->x = NULL;
}

/* Whether it has begun. */
static bool start(struct got *g, const char *method, const char *path, bool idempotent)
{
    static const struct fetch_events events = {on_head, on_data, on_end};
    char url[100];
    struct fetch_request rq = {.method = method,
                               .url = url,
                               .headers = str_of("Authorization: Bearer secret\r\nX-Empty:\r\n"),
                               .traceparent =
                                   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                               .deadline = uv_hrtime() + 20 * SECOND,
                               .idempotent = idempotent};

    memset(g, 0, sizeof *g);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", w.server.port, path);
    if (!strcmp(method, "POST"))
        rq.body = str_of("a body");
    g->x = w.l->fetcher.start(&w.l->fetcher, &rq, &events, g);
    must(g->x || failed());
    return g->x != NULL;
}

static void wait_for(const int *ends)
{
    for (int i = 0; !*ends; i++) {
        must(i < GIVEN_UP);
        uv_run(&w.uv, UV_RUN_NOWAIT);
        if (i > 100)
            usleep(500);
    }
}

static bool whole(struct got *g)
{
    wait_for(&g->ends);
    if (g->outcome != FETCH_DONE)
        return false;
    must(g->status == 200 && g->len == 10);
    return true;
}

SCENARIO(one_request_after_another)
{
    struct got g;
    bool good;

    begin();
    arm();
    good = start(&g, "GET", "/", false) && whole(&g);
    good &= start(&g, "POST", "/", false) && whole(&g);
    disarm();
    must(start(&g, "GET", "/", false) && whole(&g));
    finish();
    return good;
}

SCENARIO(a_request_that_is_moved_and_repeated)
{
    struct got g;
    bool good;

    begin();
    arm();
    good = start(&g, "GET", "/moved", true) && whole(&g);
    disarm();
    finish();
    return good;
}

/* More than there are connections, in two pools. */
SCENARIO(many_requests_at_once)
{
    struct got g[24];
    bool good = true, begun[24];

    begin();
    arm();
    for (int i = 0; i < 24; i++)
        good &= begun[i] = start(&g[i], "GET", "/", false);
    for (int i = 0; i < 24; i++)
        good &= begun[i] && whole(&g[i]);
    disarm();
    finish();
    return good;
}

SCENARIO(a_request_that_is_held_back)
{
    struct got g;
    bool good;

    begin();
    arm();
    good = start(&g, "GET", "/", false);
    g.refuse = true;
    for (int i = 0; good && !g.once && !g.ends; i++) {
        must(i < GIVEN_UP);
        uv_run(&w.uv, UV_RUN_NOWAIT);
    }
    if (g.x)
        w.l->fetcher.resume(g.x);
    good = good && whole(&g);
    disarm();
    finish();
    return good;
}

/* In place of the system's: there are no names. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **out)
{
    (void)node, (void)service, (void)hints, (void)out;
    return EAI_NONAME;
}

/* libcurl has a socket of its own to be told by when one is looked up. */
SCENARIO(a_name_is_looked_up)
{
    static const struct fetch_events events = {on_head, on_data, on_end};
    char url[100];
    struct fetch_request rq = {
        .method = "GET", .url = url, .headers = {"", 0}, .private_addresses = true};
    struct got g = {0};
    bool good;

    begin();
    rq.deadline = uv_hrtime() + 20 * SECOND;
    snprintf(url, sizeof url, "http://service.example:%d/", w.server.port);
    arm();
    g.x = w.l->fetcher.start(&w.l->fetcher, &rq, &events, &g);
    must(g.x || failed());
    good = g.x != NULL;
    had_failed |= memory.failed;
    if (good) {
        bool before = had_failed;

        /* It is not there: that is a failure too, and the only one. */
        had_failed = true;
        wait_for(&g.ends);
        had_failed = before;
    }
    disarm();
    finish();
    return good && g.ends == 1;
}

SCENARIO(the_loop_is_closed_with_requests)
{
    struct got g[3];
    bool begun[3], good = true, before;

    begin();
    arm();
    for (int i = 0; i < 3; i++)
        good &= begun[i] = start(&g[i], "GET", "/", false);
    uv_run(&w.uv, UV_RUN_NOWAIT);
    disarm();
    before = had_failed;
    had_failed = true; /* each ends so */
    finish();
    had_failed = before;
    for (int i = 0; i < 3; i++)
        must(!begun[i] || g[i].ends == 1);
    return good;
}

/* ---- documents, options ------------------------------------------------------------------------ */

static int done, done_rc;
static size_t done_len;

static void on_done(void *ud, int rc, const char *body, size_t len, const char *why)
{
    (void)ud;
    (void)body;
    must(!done++ && (rc == ALK_OK) == !why);
    done_rc = rc;
    done_len = len;
}

SCENARIO(a_document_is_fetched)
{
    char url[100];
    bool good;
    int rc;

    begin();
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", w.server.port);
    done = 0;
    arm();
    rc = alk_loop_fetch(w.l, url, "X: y\r\n", 10, 0, on_done, NULL);
    good = ok(rc);
    if (good) {
        wait_for(&done);
        good = done_rc == ALK_OK;
        must(good ? done_len == 10 : failed() && (done_rc == ALK_ENOMEM || done_rc == ALK_EREMOTE));
    }
    disarm();
    finish();
    return good;
}

SCENARIO(options_are_set)
{
    alk_http_options o;
    bool good;
    char err[200];

    begin();
    alk_http_options_init(&o, sizeof o);
    o.proxy = "http://me:secret@127.0.0.1:1";
    o.no_proxy = "127.0.0.1";
    o.ca_file = "/etc/passwd";
    arm();
    good = ok(alk_loop_set_http(w.l, &o, err, sizeof err));
    disarm();
    if (!good)
        must(!alk_loop_set_http(w.l, &o, err, sizeof err));
    finish();
    return good;
}

MAIN("oom_fetch", one_request_after_another, a_request_that_is_moved_and_repeated,
     many_requests_at_once, a_request_that_is_held_back, a_name_is_looked_up,
     the_loop_is_closed_with_requests, a_document_is_fetched, options_are_set)
