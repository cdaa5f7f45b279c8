/* An HTTP server on the loop under test that has all the memory it wants: a request at a time, each
 * answered by a function of the suite. */
#ifndef ALK_TESTS_OOM_UPSTREAM_H
#define ALK_TESTS_OOM_UPSTREAM_H

#include "oom/oom.h"

#include <string.h>
#include <uv.h>

struct conn {
    uv_tcp_t tcp;
    char in[8000], out[3000];
    size_t len;
    uv_write_t write;
    struct server *s;
};

struct server {
    uv_loop_t *uv;
    uv_tcp_t tcp;
    int port, open, requests;
    int session;                           /* for the suite */
    const char *(*answer)(struct conn *c); /* to the request in c->in; it may be in c->out */
};

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;

    c->s->open--;
    (free)(c);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct conn *c = h->data;

    (void)hint;
    *b = uv_buf_init(c->in + c->len, (unsigned)(sizeof c->in - c->len - 1));
}

static bool is_whole(const struct conn *c)
{
    const char *end = strstr(c->in, "\r\n\r\n"), *length = strstr(c->in, "Content-Length: ");

    return end && (!length || strlen(end + 4) >= strtoul(length + 16, NULL, 10));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = stream->data;
    uv_buf_t out;

    (void)b;
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_conn_closed);
        return;
    }
    c->len += (size_t)n;
    c->in[c->len] = 0;
    if (!is_whole(c))
        return;
    c->s->requests++;
    out.base = (char *)c->s->answer(c);
    out.len = strlen(out.base);
    c->len = 0;
    must(!uv_write(&c->write, stream, &out, 1, NULL));
}

static void on_accept(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    struct conn *c = calloc(1, sizeof *c);

    must(!status && c);
    c->s = s;
    c->tcp.data = c;
    s->open++;
    uv_tcp_init(s->uv, &c->tcp);
    must(!uv_accept(listener, (uv_stream_t *)&c->tcp));
    must(!uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read));
}

static void server_open(struct server *s, uv_loop_t *uv, const char *(*answer)(struct conn *c))
{
    struct sockaddr_in at;
    int len = sizeof at;

    memset(s, 0, sizeof *s);
    s->uv = uv;
    s->answer = answer;
    uv_tcp_init(uv, &s->tcp);
    s->tcp.data = s;
    uv_ip4_addr("127.0.0.1", 0, &at);
    must(!uv_tcp_bind(&s->tcp, (struct sockaddr *)&at, 0));
    must(!uv_listen((uv_stream_t *)&s->tcp, 100, on_accept));
    must(!uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&at, &len));
    s->port = ntohs(at.sin_port);
    uv_unref((uv_handle_t *)&s->tcp);
}

#endif
