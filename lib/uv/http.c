/* The client: libcurl's handles, its steps and times in the loop. */
#include "uv/http.h"

#include "core/dispatcher.h"
#include "core/node.h"
#include "uv/http_int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fetch *http_request_of(CURL *curl)
{
    struct http_easy *e = NULL;

    curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **)&e);
    return e ? e->x : NULL;
}

void http_due(struct fetch *x)
{
    if (list_empty(&x->due))
        list_push(&x->c->due, &x->due);
    loop_again(x->c->l);
}

/* ---- handles --------------------------------------------------------------------------------- */

static int timer_wanted(CURLM *multi, long ms, void *ud)
{
    struct http_pool *p = ud;

    (void)multi;
    p->wake = ms < 0 ? UINT64_MAX : p->c->l->now + (uint64_t)ms * MILLI;
    return 0;
}

static void curl_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_pool_open(struct http_pool *p)
{
    static uv_once_t once = UV_ONCE_INIT;
    const alk_http_options *o = &p->c->options.o;
    long streams = o->connections / 2, all = p->streams ? streams : o->connections - streams;

    if (p->multi)
        return ALK_OK;
    uv_once(&once, curl_once);
    p->multi = curl_multi_init();
    if (!p->multi)
        return ALK_ENOMEM;
    http_sockets_listen(p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    if (!p->streams)
        curl_multi_setopt(p->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)o->host_connections);
    curl_multi_setopt(p->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, all);
    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, all);
    curl_multi_setopt(p->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    return ALK_OK;
}

/* QUICK_EXIT: libcurl would wait for a name that is being looked up, and the loop with it, before
 * it lets go of a request. */
static CURLcode set_network(const struct http_pool *p, struct http_easy *e)
{
    const alk_http_options *o = &p->c->options.o;
    CURLcode rc = curl_easy_setopt(e->curl, CURLOPT_PROTOCOLS_STR, "http,https");

    rc |= curl_easy_setopt(e->curl, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_QUICK_EXIT, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    rc |= curl_easy_setopt(e->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_PIPEWAIT, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_PROXY, "");
    rc |= curl_easy_setopt(e->curl, CURLOPT_NOPROXY, "");
    rc |= curl_easy_setopt(e->curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return rc;
}

/* libcurl reads whom to trust anew for each connection. Where all are in one file, the folder in
 * which each has a file of its own, or several, would take the loop five times as long. */
static CURLcode set_tls(const alk_http_options *o, CURL *curl)
{
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    const char *system = curl_version_info(CURLVERSION_NOW)->cainfo;

    if (o->ca_file)
        rc |= curl_easy_setopt(curl, CURLOPT_CAINFO, o->ca_file);
    if (o->ca_file || (system && !access(system, R_OK)))
        rc |= curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    if (o->certificate_file) {
        rc |= curl_easy_setopt(curl, CURLOPT_SSLCERT, o->certificate_file);
        rc |= curl_easy_setopt(curl, CURLOPT_SSLKEY, o->key_file);
    }
    return rc;
}

/* Of a stream that is compressed libcurl would keep what a few bytes unfold to while nobody takes
 * it. */
static CURLcode set_http(const struct http_pool *p, struct http_easy *e)
{
    CURLcode rc = curl_easy_setopt(e->curl, CURLOPT_PRIVATE, e);

    rc |= curl_easy_setopt(e->curl, CURLOPT_ERRORBUFFER, e->error);
    rc |= curl_easy_setopt(e->curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    rc |= curl_easy_setopt(e->curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_PATH_AS_IS, 1L);
    rc |= curl_easy_setopt(e->curl, CURLOPT_NOPROGRESS, 1L);
    if (!p->streams)
        rc |= curl_easy_setopt(e->curl, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    if (p->c->options.o.proxy) /* which hears of no other lines */
        rc |= curl_easy_setopt(e->curl, CURLOPT_USERAGENT, p->c->options.o.user_agent);
    return rc;
}

struct http_easy *http_easy_take(struct http_pool *p)
{
    struct http_easy *e = p->spare;

    if (e) {
        p->spare = e->next;
        p->spares--;
        return e;
    }
    e = mem_zalloc(&p->c->l->mem, sizeof *e);
    if (!e)
        return NULL;
    e->curl = curl_easy_init();
    if (e->curl && !set_network(p, e) && !set_tls(&p->c->options.o, e->curl) && !set_http(p, e) &&
        http_sockets_prepare(p, e) && http_request_prepare(e) && http_answer_prepare(e))
        return e;
    curl_easy_cleanup(e->curl);
    mem_free(&p->c->l->mem, e);
    return NULL;
}

static void easy_free(struct http_pool *p, struct http_easy *e)
{
    curl_easy_cleanup(e->curl);
    mem_free(&p->c->l->mem, e);
}

void http_easy_give(struct http_pool *p, struct http_easy *e)
{
    e->x = NULL;
    if (p->spares == SPARE_MAX) {
        easy_free(p, e);
        return;
    }
    e->next = p->spare;
    p->spare = e;
    p->spares++;
}

/* No request has a handle of it. */
static void pool_close(struct http_pool *p)
{
    while (p->spare) {
        struct http_easy *e = p->spare;

        p->spare = e->next;
        easy_free(p, e);
    }
    p->spares = 0;
    if (p->multi)
        curl_multi_cleanup(p->multi);
    p->multi = NULL;
    p->wake = UINT64_MAX;
}

/* ---- the step -------------------------------------------------------------------------------- */

/* A request may end by it, and another begin; what is asked for meanwhile is for the next time. */
static void step_due(struct http_client *c, uint64_t now)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &c->due);
    while (!list_empty(&batch)) {
        struct fetch *x = container_of(batch.next, struct fetch, due);

        list_del(&x->due);
        http_request_step(x, now);
    }
}

/* libcurl's turn, and then that of requests that are over by it. */
static void act(struct http_pool *p, curl_socket_t fd, int events, uint64_t now)
{
    CURLMsg *m;
    int left;

    curl_multi_socket_action(p->multi, fd, events, &left);
    while ((m = curl_multi_info_read(p->multi, &left))) {
        struct fetch *x = http_request_of(m->easy_handle);
        CURLcode rc = m->data.result;

        if (!rc)
            http_socket_rests(x);
        http_request_done(x, rc, now);
    }
}

static void step_ready(struct http_client *c, uint64_t now)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &c->ready);
    while (!list_empty(&batch)) {
        struct http_socket *s = container_of(batch.next, struct http_socket, ready);
        int came = s->came;

        list_del(&s->ready);
        s->came = 0;
        if (s->wanted)
            act(s->pool, s->fd, came, now);
        else
            http_socket_unasked(s);
        step_due(c, now);
    }
}

static void step_times(struct http_client *c, uint64_t now)
{
    struct heap_node *n;

    while ((n = c->times.root) && n->key <= now) {
        heap_remove(&c->times, n);
        http_request_look(container_of(n, struct fetch, at), now);
    }
    if (list_empty(&c->requests) && now >= c->rest_at) {
        c->rest_at = UINT64_MAX;
        pool_close(&c->pools[0]);
        pool_close(&c->pools[1]);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct http_client *c = t->data;

    c->armed = UINT64_MAX; /* the turn follows */
}

/* As the loop's own timer: one that fires early costs a step, to set it anew for each request would
 * cost more. */
static void arm(struct http_client *c, uint64_t now)
{
    uint64_t at = c->times.root ? c->times.root->key : UINT64_MAX, ms;

    for (int i = 0; i < 2; i++)
        at = c->pools[i].wake < at ? c->pools[i].wake : at;
    if (list_empty(&c->requests) && c->rest_at < at)
        at = c->rest_at;
    if (at == UINT64_MAX || (at >= c->armed && c->armed > now))
        return;
    ms = at <= now ? 0 : (at - now + MILLI - 1) / MILLI;
    c->armed = now + ms * MILLI;
    uv_timer_start(&c->timer, on_timer, ms, 0);
}

/* What was asked for goes first: what is cancelled must not go on. */
void http_step(struct alk_loop *l, uint64_t now)
{
    struct http_client *c = l->http;

    if (!c)
        return;
    step_times(c, now);
    step_due(c, now);
    step_ready(c, now);
    for (int i = 0; i < 2; i++) {
        if (c->pools[i].wake > now)
            continue;
        c->pools[i].wake = UINT64_MAX;
        act(&c->pools[i], CURL_SOCKET_TIMEOUT, 0, now);
        step_due(c, now);
    }
    arm(c, now);
}

/* ---- the client ------------------------------------------------------------------------------ */

static int client_new(struct alk_loop *l, const alk_http_options *o, char *err, size_t err_size)
{
    struct http_client *c = mem_zalloc(&l->mem, sizeof *c);
    int rc = c ? http_options_read(&c->options, &l->mem, o, err, err_size) : ALK_ENOMEM;

    if (!rc && l->d->node->host->random(c->seed, sizeof c->seed)) {
        http_options_fini(&c->options);
        rc = ALK_ESYSTEM;
    }
    if (rc) {
        mem_free(&l->mem, c);
        return rc;
    }
    c->l = l;
    list_init(&c->requests);
    list_init(&c->due);
    list_init(&c->ready);
    list_init(&c->held_order);
    map_init(&c->sockets, &l->mem, c->seed);
    map_init(&c->held, &l->mem, c->seed);
    for (int i = 0; i < 2; i++) {
        c->pools[i] = (struct http_pool){.c = c, .wake = UINT64_MAX, .streams = i == 1};
        map_init(&c->pools[i].hosts, &l->mem, c->seed);
    }
    c->armed = c->rest_at = UINT64_MAX;
    uv_timer_init(l->uv, &c->timer);
    c->timer.data = c;
    uv_unref((uv_handle_t *)&c->timer);
    l->open_handles++;
    l->http = c;
    return ALK_OK;
}

int alk_loop_set_http(alk_loop *l, const alk_http_options *o, char *err, size_t err_size)
{
    const char *why = l->http          ? "the client is in use already"
                      : l->close_asked ? "the loop closes"
                                       : NULL;

    if (err && err_size)
        snprintf(err, err_size, "%s", why ? why : "");
    return why ? ALK_EINVAL : client_new(l, o, err, err_size);
}

static struct fetch *start(struct fetcher *f, const struct fetch_request *rq,
                           const struct fetch_events *events, void *ud)
{
    struct alk_loop *l = container_of(f, struct alk_loop, fetcher);
    struct fetch *x;

    if (l->close_asked || (!l->http && client_new(l, NULL, NULL, 0)))
        return NULL;
    x = http_request_new(l->http, rq, events, ud);
    if (!x)
        return NULL;
    loop_hold(l, 1);
    http_due(x);
    COUNT(l->d, http_client_requests);
    return x;
}

static void resume(struct fetch *x)
{
    x->resume = true;
    http_due(x);
}

/* Nobody hears of it any more; libcurl lets go of it in the next step. */
static void cancel(struct fetch *x)
{
    x->events = NULL;
    http_due(x);
}

void http_init(struct alk_loop *l)
{
    l->fetcher = (struct fetcher){start, resume, cancel};
    l->transport.fetcher = &l->fetcher;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct http_client *c = h->data;
    struct alk_loop *l = c->l;

    mem_free(&l->mem, c);
    l->open_handles--;
    loop_check_end(l);
}

void http_close(struct alk_loop *l)
{
    struct http_client *c = l->http;

    if (!c)
        return;
    while (!list_empty(&c->requests))
        http_request_close(container_of(c->requests.next, struct fetch, link));
    pool_close(&c->pools[0]);
    pool_close(&c->pools[1]);
    /* libcurl has closed the connections. */
    assert(!c->sockets.count);
    map_fini(&c->sockets);
    map_fini(&c->pools[0].hosts);
    map_fini(&c->pools[1].hosts);
    held_fini(c);
    http_options_fini(&c->options);
    l->http = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
