/* A transport of one's own, on a loop of one's own: envelopes over a socket, each behind its length (four bytes, big-endian),
 * driven by poll(). Any other loop (asyncio, Qt, GLib) drives a dispatcher with the same three functions: see run below.
 *
 *   08_transport       calls demo/echo over a socketpair, whose other end is served here too
 *   08_transport FD    over a connected stream socket that whoever starts this hands over; demo/echo is served on it as well */
#include <alknet/alknet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD 4u
#define MOST (64u * 1024) /* of an envelope: message_bytes of the connection */

struct wire {
    alk_connection *conn; /* a reference; NULL: it is over */
    int fd, full;         /* full: link_send has said ALK_EAGAIN */
    size_t in_len, out_len;
    char in[HEAD + MOST], out[HEAD + MOST];
};

/* Takes an envelope whole or not at all; what one turn gives is written when it is over. */
static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct wire *w = ud;

    (void)stream; /* there is one */
    w->full = sizeof w->out - w->out_len < HEAD + len;
    if (w->full)
        return ALK_EAGAIN;
    for (int shift = 24; shift >= 0; shift -= 8)
        w->out[w->out_len++] = (char)(len >> shift);
    memcpy(w->out + w->out_len, envelope, len);
    w->out_len += len;
    return ALK_OK;
}

/* Whatever fails here, reading finds out, behind what the other side has sent before it went. */
static void wire_write(struct wire *w)
{
    ssize_t n = send(w->fd, w->out, w->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        shutdown(w->fd, SHUT_RDWR);
        n = (ssize_t)w->out_len;
    }
    memmove(w->out, w->out + n, w->out_len -= (size_t)n);
    if (w->full && w->out_len == 0) {
        w->full = 0;
        alk_connection_writable(w->conn);
    }
}

/* 0, or -1 when the other side is gone. */
static int wire_read(struct wire *w)
{
    ssize_t n = recv(w->fd, w->in + w->in_len, sizeof w->in - w->in_len, MSG_DONTWAIT);
    size_t at = 0, len;

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    for (w->in_len += (size_t)n; w->in_len - at >= HEAD; at += HEAD + len) {
        const unsigned char *p = (unsigned char *)w->in + at;

        len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len > MOST)
            alk_connection_close(w->conn, ALK_CLOSE_LIMIT);
        else if (w->in_len - at - HEAD < len)
            break;
        /* A closed connection takes nothing, and calls link_close in the coming turn. */
        if (alk_connection_feed(w->conn, 0, w->in + at + HEAD, len))
            return 0;
    }
    memmove(w->in, w->in + at, w->in_len -= at);
    return 0;
}

/* The connection is done with the link. What the socket takes at once still leaves; no reader is waited for. */
static void link_close(void *ud, int code)
{
    struct wire *w = ud;

    (void)code; /* for transports that can say why */
    wire_write(w);
    close(w->fd);
    alk_connection_unref(w->conn);
    w->conn = NULL;
    w->fd = -1;
}

static int wire_open(struct wire *w, alk_dispatcher *d, int fd)
{
    alk_link link = {.size = sizeof link, .send = link_send, .close = link_close, .ud = w};
    alk_connection_options o = {.size = sizeof o, .message_bytes = MOST}; /* and no identity */

    w->fd = fd;
    return alk_connection_open(&w->conn, d, &link, &o);
}

/* ---- the loop ---------------------------------------------------------------------------------- */

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* For poll, rounded up; an hour at most, since one turn too many does no harm. */
static int ms_until(uint64_t next)
{
    uint64_t t = now(), ms = next > t ? (next - t - 1) / 1000000 + 1 : 0;

    return ms < 3600000 ? (int)ms : 3600000;
}

static void run(alk_dispatcher *d, struct wire w[2])
{
    struct pollfd fds[2];

    for (;;) {
        alk_dispatcher_turn(d, now());
        for (int i = 0; i < 2; i++) {
            if (w[i].conn)
                wire_write(&w[i]);
            fds[i] = (struct pollfd){w[i].fd, POLLIN | (w[i].out_len ? POLLOUT : 0), 0};
        }
        if (!w[0].conn && !w[1].conn)
            return;
        poll(fds, 2, ms_until(alk_dispatcher_next(d))); /* it passes over descriptors of -1 */
        alk_dispatcher_now(d, now());
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents & ~POLLOUT && wire_read(&w[i])) {
                alk_connection_lost(w[i].conn); /* it calls the link no more: close it ourselves */
                link_close(&w[i], ALK_CLOSE_SHUTDOWN);
            }
        }
    }
}

/* ---- what is served and called ----------------------------------------------------------------- */

static int status = 1;

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *input = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return input ? alk_call_reply(call, input, len) : ALK_ENOMEM;
}

static void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call, (void)ud;
    status = 0;
    printf("the answer is %s\n", alk_value_text(value, &len));
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct wire *w = ud;

    (void)call, (void)why;
    if (fault)
        printf("%s: %s\n", fault->code, fault->message);
    if (w->conn)
        alk_connection_close(w->conn, ALK_CLOSE_SHUTDOWN);
}

int main(int argc, char **argv)
{
    static struct wire w[2] = {{.fd = -1}, {.fd = -1}}; /* [0] serves, [1] calls and serves */
    alk_operation op = {.size = sizeof op, .type = ALK_QUERY, .visibility = ALK_EXTERNAL};
    alk_call_options o = {.size = sizeof o, .on_event = on_answer, .on_end = on_end, .ud = &w[1]};
    alk_registry *reg = alk_registry_new();
    alk_dispatcher *d;
    alk_node *node;
    int fds[2] = {-1, argc > 1 ? atoi(argv[1]) : -1};

    op.name = "demo/echo";
    op.handler = echo;
    if ((argc < 2 && socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) || !reg ||
        alk_registry_add(reg, &op) || alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) ||
        alk_dispatcher_new(&d, node) || (argc < 2 && wire_open(&w[0], d, fds[0])) ||
        wire_open(&w[1], d, fds[1]) ||
        alk_connection_call(w[1].conn, "demo/echo", 9, "\"hello\"", 7, &o, NULL))
        return 1;
    run(d, w);
    alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return status;
}
