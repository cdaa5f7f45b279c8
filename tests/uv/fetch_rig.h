/* The loop's HTTP client and what it speaks with, on one loop: servers of raw bytes, which say exactly what the test has
 * them say and keep what they were sent, and callers that keep what they were told. Every wait is bounded; fetch_rig_free
 * asserts that all memory came back. */
#ifndef TESTS_UV_FETCH_RIG_H
#define TESTS_UV_FETCH_RIG_H

#include "uv/rig.h"

#include "base/time.h"
#include "wire/fetch.h"

#include <malloc.h>

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define UP_URL 9000
#define OK(n, body) OK_HEAD "Content-Length: " n "\r\n\r\n" body

/* ---- the server -------------------------------------------------------------------------------- */

struct upstream;

struct up_conn {
    uv_tcp_t tcp;
    struct upstream *u;
    struct up_conn *next;
    char *in; /* of the request that comes; NUL behind it */
    size_t len, cap;
    int requests; /* whole ones so far */
    bool ended;   /* by the client */
    bool closed;  /* by us, or with the client */
    long room;    /* what the test likes */
};

struct upstream {
    struct rig *r;
    uv_tcp_t tcp;
    int port, connections, open, most_open, requests;
    struct up_conn *all;
    char *last; /* the last whole request; "" */
    size_t last_len;
    /* What is done with a whole request; NULL: script is sent. */
    void (*answer)(struct up_conn *c);
    const char *script; /* NULL: nothing is sent */
    void *ud;
    char host[64], *url;
};

static inline void up_gone(uv_handle_t *h)
{
    struct up_conn *c = h->data;

    c->u->open--;
}

static inline void up_close(struct up_conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    uv_close((uv_handle_t *)&c->tcp, up_gone);
}

static inline void up_reset(struct up_conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    ck_assert_int_eq(uv_tcp_close_reset(&c->tcp, up_gone), 0);
}

struct up_write {
    uv_write_t w;
    struct up_conn *c;
    void (*then)(struct up_conn *c);
    char bytes[];
};

static inline void up_written(uv_write_t *w, int status)
{
    struct up_write *write = (struct up_write *)(void *)w;

    if (write->then && !status)
        write->then(write->c);
    free(write);
}

/* then (NULL: nothing) follows when the kernel has taken it. */
static inline void up_send_then(struct up_conn *c, const void *bytes, size_t n,
                                void (*then)(struct up_conn *c))
{
    struct up_write *w = malloc(sizeof *w + n);
    uv_buf_t b;

    ck_assert_ptr_nonnull(w);
    w->c = c;
    w->then = then;
    memcpy(w->bytes, bytes, n);
    b = uv_buf_init(w->bytes, (unsigned)n);
    if (c->closed || uv_write(&w->w, (uv_stream_t *)&c->tcp, &b, 1, up_written))
        free(w);
}

static inline void up_send(struct up_conn *c, const char *text)
{
    up_send_then(c, text, strlen(text), NULL);
}

/* The length of the first whole request in c->in; 0: there is none yet. */
static inline size_t up_whole(const struct up_conn *c)
{
    const char *end = strstr(c->in, "\r\n\r\n"), *length;
    size_t n;

    if (!end)
        return 0;
    n = (size_t)(end - c->in) + 4;
    length = strcasestr(c->in, "\r\nContent-Length:");
    if (length && length < end)
        n += strtoul(length + 17, NULL, 10);
    return n <= c->len ? n : 0;
}

static inline void up_took(struct up_conn *c)
{
    struct upstream *u = c->u;
    size_t n;

    while ((n = up_whole(c))) {
        free(u->last);
        u->last = malloc(n + 1);
        ck_assert_ptr_nonnull(u->last);
        memcpy(u->last, c->in, n);
        u->last[n] = 0;
        u->last_len = n;
        memmove(c->in, c->in + n, c->len - n + 1);
        c->len -= n;
        c->requests++;
        u->requests++;
        if (u->answer)
            u->answer(c);
        else if (u->script)
            up_send(c, u->script);
    }
}

static inline void up_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct up_conn *c = h->data;

    (void)hint;
    if (c->cap - c->len < 65537) {
        c->cap = 2 * c->cap + 65537;
        c->in = realloc(c->in, c->cap);
        ck_assert_ptr_nonnull(c->in);
    }
    *b = uv_buf_init(c->in + c->len, 65536);
}

static inline void up_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct up_conn *c = s->data;

    (void)b;
    if (n < 0) {
        c->ended = true;
        up_close(c);
        return;
    }
    c->len += (size_t)n;
    c->in[c->len] = 0;
    up_took(c);
}

static inline void up_accept(uv_stream_t *s, int status)
{
    struct upstream *u = s->data;
    struct up_conn *c = calloc(1, sizeof *c);

    must(!status && c);
    uv_tcp_init(s->loop, &c->tcp);
    c->tcp.data = c;
    c->u = u;
    c->next = u->all;
    u->all = c;
    must(!uv_accept(s, (uv_stream_t *)&c->tcp));
    must(!uv_read_start((uv_stream_t *)&c->tcp, up_alloc, up_read));
    u->connections++;
    if (++u->open > u->most_open)
        u->most_open = u->open;
}

static inline void up_start_at(struct upstream *u, struct rig *r, const char *script,
                               const char *address)
{
    struct sockaddr_storage at;
    int len = sizeof at;
    bool six = strchr(address, ':') != NULL;

    memset(u, 0, sizeof *u);
    u->r = r;
    u->script = script;
    u->last = calloc(1, 1);
    u->url = malloc(UP_URL);
    ck_assert(u->last && u->url);
    snprintf(u->host, sizeof u->host, six ? "[%s]" : "%s", address);
    ck_assert_int_eq(uv_tcp_init(&r->uv, &u->tcp), 0);
    u->tcp.data = u;
    if (six)
        ck_assert_int_eq(uv_ip6_addr(address, 0, (struct sockaddr_in6 *)&at), 0);
    else
        ck_assert_int_eq(uv_ip4_addr(address, 0, (struct sockaddr_in *)&at), 0);
    ck_assert_int_eq(uv_tcp_bind(&u->tcp, (struct sockaddr *)&at, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&u->tcp, 1024, up_accept), 0);
    ck_assert_int_eq(uv_tcp_getsockname(&u->tcp, (struct sockaddr *)&at, &len), 0);
    u->port = ntohs(((struct sockaddr_in *)&at)->sin_port);
    /* A test waits for what it wants to see. */
    uv_unref((uv_handle_t *)&u->tcp);
}

static inline void up_start(struct upstream *u, struct rig *r, const char *script)
{
    up_start_at(u, r, script, "127.0.0.1");
}

/* Nobody listens there any more; what is connected stays. */
static inline void up_deaf(struct upstream *u)
{
    if (!uv_is_closing((uv_handle_t *)&u->tcp))
        uv_close((uv_handle_t *)&u->tcp, NULL);
    uv_run(&u->r->uv, UV_RUN_NOWAIT);
}

/* The URL of a path there; overwritten by the next. */
static inline const char *up_url(struct upstream *u, const char *path)
{
    snprintf(u->url, UP_URL, "http://%s:%d%s", u->host, u->port, path);
    return u->url;
}

static inline void up_stop(struct upstream *u)
{
    up_deaf(u);
    for (struct up_conn *c = u->all; c; c = c->next)
        up_close(c);
    rig_until(u->r, !u->open);
    for (struct up_conn *c = u->all, *next; c; c = next) {
        next = c->next;
        free(c->in);
        free(c);
    }
    free(u->last);
    free(u->url);
}

/* Whether the last request has exactly this line. */
static inline bool up_line(const struct upstream *u, const char *line)
{
    char text[600];

    snprintf(text, sizeof text, "\r\n%s\r\n", line);
    return strstr(u->last, text) != NULL;
}

/* ---- the caller -------------------------------------------------------------------------------- */

struct got {
    struct rig *r;
    struct fetch *x; /* NULL: over */
    int heads, ends, status, outcome;
    long datas, refusals;
    char type[100], url[300], headers[2000];
    char *body; /* NUL behind it */
    size_t len, cap;
    uint64_t sum; /* of all bytes, by place; in place of body where it is not kept */
    char why[300];
    uint64_t retry_after_ms, ended_at;
    bool refuse; /* what comes */
    bool forget; /* not the sum: body stays empty */
    void (*on_head)(struct got *g);
    void (*on_data)(struct got *g);
    void (*on_end)(struct got *g);
    void *ud;
};

static inline void got_head(void *ud, const struct fetch_head *h)
{
    struct got *g = ud;

    must(!g->ends && g->x && !g->len);
    g->heads++;
    g->status = h->status;
    snprintf(g->type, sizeof g->type, "%.*s", (int)h->content_type.n,
             h->content_type.p ? h->content_type.p : "");
    snprintf(g->url, sizeof g->url, "%.*s", (int)h->url.n, h->url.p);
    snprintf(g->headers, sizeof g->headers, "%.*s", (int)h->headers.n, h->headers.p);
    if (g->on_head)
        g->on_head(g);
}

static inline void got_keep(struct got *g, const char *data, size_t len)
{
    if (g->len + len + 1 > g->cap) {
        g->cap = 2 * g->cap + len + 1;
        g->body = realloc(g->body, g->cap);
        must(g->body);
    }
    memcpy(g->body + g->len, data, len);
    g->body[g->len + len] = 0;
}

static inline bool got_data(void *ud, const char *data, size_t len)
{
    struct got *g = ud;

    must(!g->ends && g->x && g->heads == 1 && len);
    if (g->refuse) {
        g->refusals++;
        return false;
    }
    g->datas++;
    for (size_t i = 0; i < len; i++)
        g->sum = g->sum * 31 + (unsigned char)data[i];
    if (!g->forget)
        got_keep(g, data, len);
    g->len += len;
    if (g->on_data)
        g->on_data(g);
    return true;
}

static inline void got_end(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct got *g = ud;

    must(!g->ends && g->x && (outcome == FETCH_DONE) == (why == NULL));
    must((outcome == FETCH_HELD) == (retry_after_ms != 0));
    g->ends++;
    g->x = NULL;
    g->outcome = outcome;
    g->retry_after_ms = retry_after_ms;
    g->ended_at = now_ms();
    snprintf(g->why, sizeof g->why, "%s", why ? why : "");
    if (g->on_end)
        g->on_end(g);
}

static inline struct fetch_request asking(const char *method, const char *url)
{
    return (struct fetch_request){
        .method = method, .url = url, .headers = {"", 0}, .deadline = uv_hrtime() + 20 * SECOND};
}

/* g is new, but for what the test has set of it. */
static inline void got_start(struct got *g, struct rig *r, const struct fetch_request *rq)
{
    static const struct fetch_events events = {got_head, got_data, got_end};

    g->r = r;
    g->x = r->l->fetcher.start(&r->l->fetcher, rq, &events, g);
    ck_assert_ptr_nonnull(g->x);
}

static inline void got_resume(struct got *g)
{
    g->r->l->fetcher.resume(g->x);
}

static inline void got_cancel(struct got *g)
{
    struct fetch *x = g->x;

    g->x = NULL;
    g->r->l->fetcher.cancel(x);
}

static inline void got_free(struct got *g)
{
    free(g->body);
    memset(g, 0, sizeof *g);
}

static inline void got_wait(struct got *g)
{
    rig_until(g->r, g->ends);
}

/* From the beginning to the end. */
static inline void got_all(struct got *g, struct rig *r, const struct fetch_request *rq)
{
    got_free(g);
    got_start(g, r, rq);
    got_wait(g);
}

/* An idempotent GET, to its end. */
static inline void got_get(struct got *g, struct rig *r, const char *url)
{
    struct fetch_request rq = asking("GET", url);

    rq.idempotent = true;
    got_all(g, r, &rq);
}

static inline void got_ok(const struct got *g, const char *body)
{
    ck_assert_msg(g->outcome == FETCH_DONE && g->status == 200, "outcome %d, status %d: %s",
                  g->outcome, g->status, g->why);
    ck_assert_str_eq(g->body ? g->body : "", body);
}

/* It ended like that, and said why: a part of it. */
static inline void got_not(const struct got *g, int outcome, const char *why)
{
    ck_assert_msg(g->outcome == outcome && strstr(g->why, why), "outcome %d, status %d: \"%s\"",
                  g->outcome, g->status, g->why);
}

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

/* What the program has of memory, libcurl's included. */
static inline size_t memory_used(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                   : mallinfo2().uordblks;
}

/* ---- both -------------------------------------------------------------------------------------- */

static inline struct rig *fetch_rig_new(void)
{
    struct rig *r = rig_new();

    rig_start_bare(r);
    return r;
}

/* As fetch_rig_new, with these options. */
static inline void fetch_options(struct rig *r, const alk_http_options *o)
{
    char err[200];

    ck_assert_msg(!alk_loop_set_http(r->l, o, err, sizeof err), "%s", err);
}

static inline alk_http_options fetch_defaults(void)
{
    alk_http_options o;

    alk_http_options_init(&o, sizeof o);
    return o;
}

#endif
