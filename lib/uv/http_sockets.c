/* The descriptors of libcurl in the loop: who is listened to, which connections are kept, and the one
 * place where one begins. */
#include "uv/http_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_socket *socket_find(struct http_client *c, curl_socket_t fd)
{
    struct map_node *n = map_find(&c->sockets, (const char *)&fd, sizeof fd);

    return n ? container_of(n, struct http_socket, by_fd) : NULL;
}

static struct http_socket *socket_new(struct http_pool *p, curl_socket_t fd)
{
    struct alk_loop *l = p->c->l;
    struct http_socket *s = mem_zalloc(&l->mem, sizeof *s);

    if (!s)
        return NULL;
    s->l = l;
    s->pool = p;
    s->fd = fd;
    s->by_fd.key = (const char *)&s->fd;
    s->by_fd.len = sizeof s->fd;
    list_init(&s->ready);
    if (map_add(&p->c->sockets, &s->by_fd)) {
        mem_free(&l->mem, s);
        return NULL;
    }
    if (uv_poll_init_socket(l->uv, &s->poll, fd)) {
        map_del(&p->c->sockets, &s->by_fd);
        mem_free(&l->mem, s);
        return NULL;
    }
    s->poll.data = s;
    uv_unref((uv_handle_t *)&s->poll);
    l->open_handles++;
    return s;
}

static void on_poll_closed(uv_handle_t *h)
{
    struct http_socket *s = h->data;
    struct alk_loop *l = s->l;

    mem_free(&l->mem, s);
    l->open_handles--;
    loop_check_end(l);
}

/* The descriptor is libcurl's, which closes it: by then nothing of it is left in the loop. */
static void socket_drop(struct http_socket *s)
{
    map_del(&s->pool->c->sockets, &s->by_fd);
    list_del(&s->ready);
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
}

/* On an error libuv stops. libcurl is to meet it where it reads: it would call it one of ours. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct http_socket *s = poll->data;

    if (status < 0) {
        s->came |= CURL_CSELECT_IN | CURL_CSELECT_OUT;
        uv_poll_start(poll, s->events, on_poll);
    }
    s->came |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    s->came |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    if (list_empty(&s->ready))
        list_push(&s->pool->c->ready, &s->ready);
}

static void socket_listen(struct http_socket *s, int events)
{
    if (s->events != events)
        uv_poll_start(&s->poll, events, on_poll);
    s->events = events;
}

static void socket_ignore(struct http_socket *s)
{
    uv_poll_stop(&s->poll);
    s->events = 0;
}

/* libcurl would give up all of its requests if this failed. */
static void socket_fails(struct fetch *x)
{
    if (!x)
        return;
    x->spoiled = SPOILED_MEMORY;
    http_due(x);
}

static int socket_wanted(CURL *curl, curl_socket_t fd, int what, void *ud, void *socket)
{
    struct http_pool *p = ud;
    struct http_socket *s = socket_find(p->c, fd);
    struct fetch *x;

    (void)socket;
    if (what == CURL_POLL_REMOVE) {
        if (s && s->kept)
            s->wanted = false;
        else if (s)
            socket_drop(s);
        return 0;
    }
    x = http_request_of(curl);
    if (!s)
        s = socket_new(p, fd);
    if (x) {
        x->fd = fd;
        x->resolves = !x->opened && !x->sending;
    }
    if (!s) {
        socket_fails(x);
        return 0;
    }
    if (x && s->wanted && s->user != x)
        http_slot_shared(x);
    s->user = x;
    s->wanted = true;
    s->idle = false;
    socket_listen(s, (what & CURL_POLL_IN ? UV_READABLE : 0) |
                         (what & CURL_POLL_OUT ? UV_WRITABLE : 0));
    return 0;
}

static int socket_closing(void *ud, curl_socket_t fd)
{
    struct http_client *c = ud;
    struct http_socket *s = socket_find(c, fd);

    if (s)
        socket_drop(s);
    return close(fd);
}

void http_socket_answers(struct fetch *x, bool http2)
{
    struct http_socket *s = socket_find(x->c, x->fd);

    if (!s)
        return;
    s->kept = true;
    s->http2 = http2;
}

/* What comes on a connection of HTTP/1 that no request uses is its end, or an answer to nobody: the
 * next request would take it for its own (libcurl 7.88 does not look). In the descriptor's place
 * comes one that is at its end, which libcurl sees when it wants to use it. */
static void socket_spoil(struct http_socket *s)
{
    int ends[2];

    s->idle = false;
    socket_ignore(s);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
        shutdown(s->fd, SHUT_RDWR);
        return;
    }
    close(ends[1]);
    dup3(ends[0], s->fd, O_CLOEXEC);
    close(ends[0]);
}

void http_socket_rests(struct fetch *x)
{
    struct http_socket *s = socket_find(x->c, x->fd);
    char byte;

    if (!s || !s->kept || s->wanted || s->http2)
        return;
    if (recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        socket_spoil(s);
    else
        s->idle = true;
}

void http_socket_connected(struct fetch *x)
{
    struct http_socket *s = socket_find(x->c, x->fd);

    if (s)
        s->kept = true;
}

/* What libcurl (7.88) has to say of a request of HTTP/2 that is over before its answer, it keeps
 * until something else is sent on that connection. To let one of the others that share it go on is
 * something; if there is none, the connection is closed, as one of HTTP/1 is by libcurl itself. */
void http_socket_left(struct fetch *x)
{
    struct http_socket *s = socket_find(x->c, x->fd);

    if (s && !s->wanted)
        socket_spoil(s);
    if (!s || !s->wanted)
        return;
    list_each(n, &x->c->requests)
    {
        struct fetch *other = container_of(n, struct fetch, link);

        if (other != x && other->fd == x->fd && other->sending && !other->paused &&
            other->state == REQUEST_RUNNING) {
            curl_easy_pause(other->easy->curl, CURLPAUSE_RECV);
            curl_easy_pause(other->easy->curl, CURLPAUSE_CONT);
            return;
        }
    }
}

static bool address_of(const struct curl_sockaddr *a, struct ip *out)
{
    if (a->family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, &a->addr, sizeof in);
        *out = ip_of_v4((const uint8_t *)&in.sin_addr);
        return true;
    }
    if (a->family == AF_INET6) {
        struct sockaddr_in6 in;

        memcpy(&in, &a->addr, sizeof in);
        memcpy(out->b, &in.sin6_addr, sizeof out->b);
        return true;
    }
    return false;
}

/* The one place where a connection begins, with the address that it is going to have. The
 * descriptor's number may be that of one which libcurl has closed without a word. */
static curl_socket_t socket_opening(void *ud, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct fetch *x = ((struct http_easy *)ud)->x;
    struct http_socket *s;
    struct ip to;
    int fd;

    (void)purpose;
    if (!x->events || !address_of(a, &to))
        return CURL_SOCKET_BAD;
    if (!http_request_may_reach(x, &to)) {
        x->barred = true;
        return CURL_SOCKET_BAD;
    }
    fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    s = socket_find(x->c, fd);
    if (s)
        socket_drop(s);
    x->opened = true;
    return fd;
}

void http_socket_unasked(struct http_socket *s)
{
    if (s->idle)
        socket_spoil(s);
    else
        socket_ignore(s);
}

void http_sockets_listen(struct http_pool *p)
{
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
}

bool http_sockets_prepare(const struct http_pool *p, struct http_easy *e)
{
    return !curl_easy_setopt(e->curl, CURLOPT_OPENSOCKETFUNCTION, socket_opening) &&
           !curl_easy_setopt(e->curl, CURLOPT_OPENSOCKETDATA, e) &&
           !curl_easy_setopt(e->curl, CURLOPT_CLOSESOCKETFUNCTION, socket_closing) &&
           !curl_easy_setopt(e->curl, CURLOPT_CLOSESOCKETDATA, p->c);
}
