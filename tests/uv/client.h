/* A raw client for tests of the loop. It sends what it is told, byte for byte, and keeps all that comes.
 *
 * With uv set, the loop is in the client's own thread and takes a step whenever the client waits; with
 * uv NULL the client runs in a thread of its own, so that nothing it does wakes the loop but its bytes.
 * Every wait ends after CLIENT_PATIENCE, as a failure. */
#ifndef TESTS_UV_CLIENT_H
#define TESTS_UV_CLIENT_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define CLIENT_PATIENCE 8000u /* ms; for what takes a few */

struct client {
    int fd;
    uv_loop_t *uv;
    char *in; /* what has come and was not taken; NUL behind it */
    size_t len, cap;
    bool ended;        /* the server has closed */
    bool was_reset;    /* ... by a reset */
    bool next_is_head; /* the next answer is to a HEAD request */
    bool whole;        /* the last chunk of the body has come */
    int status;        /* of the last client_answer, with */
    char *head, *body;
    size_t body_len;
    size_t body_cap;
};

static inline uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void client_init(struct client *c, uv_loop_t *uv, int family)
{
    memset(c, 0, sizeof *c);
    c->uv = uv;
    c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(c->fd, 0);
    c->cap = 4096;
    c->in = calloc(1, c->cap);
    ck_assert_ptr_nonnull(c->in);
}

/* 0, or errno. A receive buffer that is not 0 is set, so that a server can be blocked with little. */
static inline int client_try(struct client *c, uv_loop_t *uv, int port, int receive)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    client_init(c, uv, AF_INET);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive)
        ck_assert(!setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive));
    return connect(c->fd, (struct sockaddr *)&a, sizeof a) ? errno : 0;
}

static inline void client_open(struct client *c, uv_loop_t *uv, int port)
{
    ck_assert_int_eq(client_try(c, uv, port, 0), 0);
}

static inline int client_try_unix(struct client *c, uv_loop_t *uv, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    client_init(c, uv, AF_UNIX);
    strncpy(a.sun_path, path, sizeof a.sun_path - 1);
    return connect(c->fd, (struct sockaddr *)&a, sizeof a) ? errno : 0;
}

static inline void client_close(struct client *c)
{
    close(c->fd);
    free(c->in);
    free(c->head);
    free(c->body);
    memset(c, 0, sizeof *c);
    c->fd = -1;
}

/* Closes so that the server gets a reset instead of an end. */
static inline void client_reset(struct client *c)
{
    struct linger l = {1, 0};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    client_close(c);
}

static inline void client_step(struct client *c, short events)
{
    struct pollfd p = {.fd = c->fd, .events = events};

    if (c->uv)
        uv_run(c->uv, UV_RUN_NOWAIT);
    poll(&p, 1, c->uv ? 1 : 20);
}

/* Reads at most most bytes that are there; false: nothing is. */
static inline bool client_take(struct client *c, size_t most)
{
    ssize_t n;

    if (c->len + most + 1 > c->cap) {
        c->cap = (c->len + most + 1) * 2;
        c->in = realloc(c->in, c->cap);
        ck_assert_ptr_nonnull(c->in);
    }
    n = recv(c->fd, c->in + c->len, most, MSG_DONTWAIT);
    if (n > 0) {
        c->len += (size_t)n;
        c->in[c->len] = 0;
        return true;
    }
    if (!n || (errno != EAGAIN && errno != EINTR)) {
        c->was_reset |= n < 0;
        c->ended = true;
    }
    return false;
}

static inline void client_wait(struct client *c, uint64_t since, const char *what)
{
    if (c->ended || now_ms() > since + CLIENT_PATIENCE)
        ck_abort_msg("%s while waiting for %s; %zu bytes: %.400s", c->ended ? "the end" : "nothing",
                     what, c->len, c->in);
    client_step(c, POLLIN);
}

/* How many of the bytes the socket takes at once. */
static inline size_t client_offer(struct client *c, const char *p, size_t n)
{
    ssize_t k = n ? send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    ck_assert_msg(k >= 0 || errno == EAGAIN, "send: %s", strerror(errno));
    return k > 0 ? (size_t)k : 0;
}

static inline void client_send_bytes(struct client *c, const char *p, size_t n)
{
    uint64_t since = now_ms();

    while (n) {
        size_t k = client_offer(c, p, n);

        p += k;
        n -= k;
        if (!k && now_ms() > since + CLIENT_PATIENCE)
            ck_abort_msg("the server takes no more; %zu bytes are left", n);
        if (!k)
            client_step(c, POLLOUT);
    }
}

static inline void client_send(struct client *c, const char *text)
{
    client_send_bytes(c, text, strlen(text));
}

/* Until the text has come. */
static inline void client_until(struct client *c, const char *text)
{
    uint64_t since = now_ms();

    while (!memmem(c->in, c->len, text, strlen(text))) {
        if (!client_take(c, 65536))
            client_wait(c, since, text);
    }
}

/* Until the server has closed; what it sent before is kept. */
static inline void client_ended(struct client *c)
{
    uint64_t since = now_ms();

    while (!c->ended) {
        if (!client_take(c, 65536) && !c->ended)
            client_wait(c, since, "the end");
    }
}

/* Nothing comes for so long, and the server does not close. */
static inline void client_nothing(struct client *c, uint64_t ms)
{
    uint64_t since = now_ms();
    size_t before = c->len;

    while (now_ms() < since + ms) {
        client_take(c, 65536);
        if (c->ended || c->len != before)
            ck_abort_msg("%s, not nothing: %.400s", c->ended ? "the end" : "bytes", c->in);
        client_step(c, POLLIN);
    }
}

static inline void client_drop(struct client *c, size_t n)
{
    ck_assert_uint_le(n, c->len);
    memmove(c->in, c->in + n, c->len - n + 1);
    c->len -= n;
}

/* The value of a field of the last answer; NULL: absent. Static buffer of the thread. */
static inline const char *client_header(const struct client *c, const char *name)
{
    static _Thread_local char value[512];
    size_t n = strlen(name);

    for (const char *p = strstr(c->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
        const char *end = strstr(p + 2, "\r\n");

        if (!strncasecmp(p + 2, name, n) && p[2 + n] == ':' && end) {
            snprintf(value, sizeof value, "%.*s", (int)(end - p - 4 - (int)n), p + 4 + n);
            return value;
        }
    }
    return NULL;
}

static inline void client_keep(struct client *c, size_t n)
{
    if (c->body_len + n + 1 > c->body_cap) {
        c->body_cap = (c->body_len + n + 1) * 2;
        c->body = realloc(c->body, c->body_cap);
        ck_assert_ptr_nonnull(c->body);
    }
    memcpy(c->body + c->body_len, c->in, n);
    c->body_len += n;
    c->body[c->body_len] = 0;
    client_drop(c, n);
}

/* Until so many bytes are there. */
static inline void client_fill(struct client *c, size_t n, const char *what)
{
    uint64_t since = now_ms();

    while (c->len < n) {
        if (!client_take(c, 65536))
            client_wait(c, since, what);
    }
}

/* The head of the next answer: its status. The body is empty. */
static inline int client_head(struct client *c)
{
    size_t n;

    client_until(c, "\r\n\r\n");
    n = (size_t)(strstr(c->in, "\r\n\r\n") + 4 - c->in);
    free(c->head);
    c->head = strndup(c->in, n);
    ck_assert_ptr_nonnull(c->head);
    client_drop(c, n);
    ck_assert_msg(!strncmp(c->head, "HTTP/1.1 ", 9), "no answer: %s", c->head);
    c->status = atoi(c->head + 9);
    c->body_len = 0;
    client_keep(c, 0);
    c->whole = false;
    return c->status;
}

/* The next chunk goes to the body; the last one makes it whole. */
static inline void client_chunk(struct client *c)
{
    size_t n;

    client_until(c, "\r\n");
    n = strtoul(c->in, NULL, 16);
    client_drop(c, (size_t)(strstr(c->in, "\r\n") + 2 - c->in));
    client_fill(c, n + 2, "a chunk");
    client_keep(c, n);
    ck_assert_mem_eq(c->in, "\r\n", 2);
    client_drop(c, 2);
    c->whole = n == 0;
}

/* Until the text is in the body, which comes in chunks. */
static inline void client_body_until(struct client *c, const char *text)
{
    while (!memmem(c->body, c->body_len, text, strlen(text))) {
        ck_assert_msg(!c->whole, "the end of the body while waiting for %s: %.400s", text, c->body);
        client_chunk(c);
    }
}

/* The next answer, whole: its status. head, body and body_len are those of this answer. */
static inline int client_answer(struct client *c)
{
    const char *length;
    size_t n;

    client_head(c);
    length = client_header(c, "Content-Length");
    n = length ? strtoul(length, NULL, 10) : 0;
    if (!c->next_is_head && c->status != 204 && c->status != 304) {
        if (length) {
            client_fill(c, n, "a body");
            client_keep(c, n);
        }
        while (!length && !c->whole)
            client_chunk(c);
    }
    c->next_is_head = false;
    return c->status;
}

#endif
