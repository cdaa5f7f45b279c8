/* Implements conn.h: drives one engine (wire/engine.h) from one socket.
 *
 * Reads go into the loop's one buffer and straight into the engine, which copies what it keeps. So
 * idle connections hold no buffer, however many there are.
 *
 * Writes wait for the end of the loop's turn, so that all answers of the turn leave in one, and are
 * then tried at once: most sockets have room, and an attempt costs neither a request of libuv nor a
 * round of polling. What the socket does not take is moved aside for uv_write, which gets a piece
 * at a time, so that the memory of a long answer goes as its reader takes it.
 *
 * The states only go forward: CONNECTING, OPEN, LINGER, CLOSED. There is an engine in OPEN and in
 * no other state; it is gone when the stream is given up, while the memory of the connection stays
 * until libuv has called on_closed: uv_close is a request, and callbacks of a pending write or
 * shutdown come before its end. */
#include "uv/conn.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How long a remote that does not close may hold the descriptor after our last byte. */
#define LINGER_NS (2 * SECOND)
/* How much of what it still sends is thrown away: more than is on its way when it hears our last
 * byte. A flood would have us read nothing else in that time. */
#define LINGER_BYTES (8u << 20)
/* libuv lets go of a piece only when all of it is written. */
#define PIECE 65536u
/* A remote that has ended its side is looked at this often, and has this long to answer the
 * kernel's probes: once it is gone, none of its reads would tell. */
#define GONE_CHECK_NS SECOND
#define GONE_PROBE_S 15u

/* Only notes, see wire/engine.h: it comes from inside engines and handlers. Who has something to do
 * has mostly something to write as well, so both lists get it; a flush with nothing to write is
 * cheap. */
static void wake(struct engine *e, void *ud)
{
    struct conn *c = ud;

    (void)e;
    if (list_empty(&c->woken))
        list_push(&c->l->woken, &c->woken);
    if (list_empty(&c->dirty))
        list_push(&c->l->dirty, &c->dirty);
}

/* The first one freed after the reserve was used becomes the reserve: they are all of one size. */
static void give_back(struct alk_loop *l, struct conn *c)
{
    if (l->reserve || l->closing)
        mem_free(&l->mem, c);
    else
        l->reserve = c;
}

/* libuv has let go of the handle: only now may the memory go, of the connection and of bytes that
 * uv_write was given. That makes memory free, and perhaps the reserve, so stalled listeners get on.
 * libuv does not poll a listener whose connection has not been taken; nobody else would begin
 * again. */
static void on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct alk_loop *l = c->l;

    assert(!c->e && !c->writing && list_empty(&c->woken) && list_empty(&c->dirty) &&
           c->deadline.key == HEAP_NONE);
    buf_fini(&c->inflight);
    list_del(&c->link);
    give_back(l, c);
    list_each_safe(n, &l->servers)
    {
        struct alk_server *s = container_of(n, struct alk_server, link);

        if (s->stalled) {
            s->stalled = false;
            conn_accept(s);
        }
    }
    loop_check_end(l);
}

/* The engine ends at once, and with it all that runs for this remote: a lost caller's calls must
 * not go on until libuv has closed the handle. Valid at any time, also from inside a callback of
 * the handle. */
void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    heap_remove(&c->l->deadlines, &c->deadline);
    /* Who pays may be gone before libuv lets go of the bytes. */
    buf_charge(&c->inflight, NULL);
    if (c->e)
        c->e->ops->fini(c->e);
    c->e = NULL;
    list_del(&c->woken);
    list_del(&c->dirty);
    list_del(&c->writer);
    uv_close(&c->h.handle, on_closed);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void arm(struct conn *c)
{
    uint64_t at = UINT64_MAX;

    /* One that is to be reset is closed by the flush that it waits for. Its deadline may have
     * passed, and is not moved any more: the loop would find it due for ever. */
    if (c->e && c->e->deadline && c->e->closing != ENGINE_RESET)
        at = c->e->deadline;
    if (c->write_deadline && c->write_deadline < at)
        at = c->write_deadline;
    if (c->gone_check && c->gone_check < at)
        at = c->gone_check;
    /* Only ever made earlier. One that has been put off is looked at when the old one fires: they
     * are put off with each request, and most never fire. (A node in no heap has the greatest
     * key.) */
    if (at < c->deadline.key) {
        heap_remove(&c->l->deadlines, &c->deadline);
        heap_insert(&c->l->deadlines, &c->deadline, at);
    }
}

static void stop_reading(struct conn *c)
{
    uv_read_stop(&c->h.stream);
    c->reading = false;
}

/* Behind each entry of the engine. After an upgrade nothing more is read until the answer is on its
 * way (conn_flush): then the successor itself says whether it wants to read. An end that has been
 * read before is the successor's, too. */
static void engine_ran(struct conn *c)
{
    while (c->e->successor) {
        buf_charge(&c->inflight, c->e->successor->out.meter);
        c->e = engine_succeed(c->e);
        stop_reading(c);
        if (c->eof)
            c->e->ops->eof(c->e, c->l->now);
    }
}

/* Whether the connection has been reset, or the remote has closed both sides, which only some kinds
 * of sockets tell. libuv does not look at a socket from which nothing more can be read. */
static bool is_gone(const struct conn *c)
{
    struct pollfd p = {0};

    return uv_fileno(&c->h.handle, &p.fd) ||
           (poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP));
}

/* The earliest of these: the end of lingering, no progress of a write, a look at a remote that has
 * ended its side, the engine's own. Since the heap may be early (see arm), each is compared with the
 * time again. */
void conn_deadline(struct heap_node *n, uint64_t now)
{
    struct conn *c = container_of(n, struct conn, deadline);

    heap_remove(&c->l->deadlines, n);
    if (c->state == CONN_LINGER) {
        conn_close(c);
        return;
    }
    if (c->gone_check && c->gone_check <= now) {
        c->gone_check = now + GONE_CHECK_NS;
        if (is_gone(c)) {
            conn_close(c);
            return;
        }
    }
    if (c->write_deadline && c->write_deadline <= now) {
        slow_judge(c, now);
        wake(c->e, c);
    }
    if (c->e->deadline && c->e->deadline <= now) {
        c->e->ops->timeout(c->e, now);
        engine_ran(c);
        wake(c->e, c);
    }
    arm(c);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void on_written(uv_write_t *w, int status);

/* uv_try_write has just found the socket full. libuv reads from the bytes until on_written: till
 * then `inflight` stays as it is. */
static void write_piece(struct conn *c)
{
    uv_buf_t b;

    c->piece = c->inflight.len < PIECE ? c->inflight.len : PIECE;
    b = uv_buf_init(c->inflight.data + c->inflight.head, (unsigned)c->piece);
    c->write.data = c;
    c->writing = !uv_write(&c->write, &c->h.stream, &b, 1, on_written);
    if (!c->writing)
        conn_close(c);
}

/* Goes on with what was moved aside. */
static void write_on(struct conn *c)
{
    uv_buf_t b = uv_buf_init(c->inflight.data + c->inflight.head, (unsigned)c->inflight.len);
    int n = c->inflight.len ? uv_try_write(&c->h.stream, &b, 1) : 0;

    if (n < 0 && n != UV_EAGAIN) {
        conn_close(c);
        return;
    }
    if (n > 0)
        buf_consume(&c->inflight, (size_t)n);
    buf_shrink(&c->inflight);
    c->e->inflight = c->inflight.len;
    wake(c->e, c);
    if (c->inflight.len) {
        write_piece(c);
        return;
    }
    buf_fini(&c->inflight);
    slow_end(c);
}

/* Comes also when the handle has been closed meanwhile (UV_ECANCELED): there is no engine then. Any
 * error means that bytes are missing in the stream, after which no other may follow. */
static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;

    c->writing = false;
    buf_consume(&c->inflight, c->piece);
    c->piece = 0;
    if (c->state == CONN_CLOSED)
        buf_fini(&c->inflight);
    else if (status < 0)
        conn_close(c);
    else
        write_on(c);
}

/* When it went well, the remote's own end is waited for, in on_read. */
static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;

    if (status < 0 && c->state != CONN_CLOSED)
        conn_close(c);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b);
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b);

/* Closing while unread bytes are there makes the kernel send a reset, which can take the last
 * answer away from the remote before it has read it. So only our side is closed, and what still
 * comes is read and thrown away until the remote has closed too (RFC 9112, 9.6; RFC 6455, 7.1.1).
 * Nothing unread can be left behind an end of its side. */
static void linger(struct conn *c)
{
    c->state = CONN_LINGER;
    c->e->ops->fini(c->e);
    c->e = NULL;
    list_del(&c->woken);
    list_del(&c->dirty);
    c->shutdown.data = c;
    if (c->eof || (!c->reading && uv_read_start(&c->h.stream, on_alloc, on_read)) ||
        uv_shutdown(&c->shutdown, &c->h.stream, on_shutdown)) {
        conn_close(c);
        return;
    }
    heap_remove(&c->l->deadlines, &c->deadline);
    heap_insert(&c->l->deadlines, &c->deadline, uv_hrtime() + LINGER_NS);
}

/* libuv reads from the bytes while the engine goes on appending. So the two buffers are swapped,
 * not copied; `inflight` is empty here, since only one write is under way, and both are of the
 * engine's struct mem. Who paid for the output goes on paying. The engine is told how much is on
 * its way, because it counts as queued as much as its own. */
static void write_later(struct conn *c)
{
    buf_charge(&c->inflight, c->e->out.meter);
    buf_swap(&c->inflight, &c->e->out);
    buf_shrink(&c->inflight);
    c->e->inflight = c->inflight.len;
    slow_begin(c, uv_hrtime());
    write_piece(c);
}

static void start_reading(struct conn *c);

/* The engine may make more as soon as its output is empty (the next piece of a long answer), so
 * this repeats until it has nothing or the socket takes no more. Each call into the engine can end
 * the connection or put a successor in its place: neither c->state nor c->e is as before.
 *
 * A reset goes first, since the bytes before it are not to leave any more. */
void conn_flush(struct conn *c)
{
    struct engine *e = c->e;

    if (c->state != CONN_OPEN)
        return;
    if (e->closing == ENGINE_RESET) {
        conn_close(c);
        return;
    }
    engine_flush(e, c->l->now);
    while (e->out.len && !c->writing) {
        uv_buf_t b = uv_buf_init(e->out.data + e->out.head, (unsigned)e->out.len);
        int n = uv_try_write(&c->h.stream, &b, 1);

        if (n < 0 && n != UV_EAGAIN) {
            conn_close(c);
            return;
        }
        if (n > 0)
            buf_consume(&e->out, (size_t)n);
        if (e->out.len)
            write_later(c);
        else
            e->ops->drained(e, c->l->now);
        if (c->state != CONN_OPEN)
            return;
        engine_ran(c);
        e = c->e;
        engine_flush(e, c->l->now);
    }
    /* Its patience may begin or end while a write waits: a WebSocket has some only when too much is
     * queued, or when it closes. */
    if (c->writing && !c->write_deadline != !e->patience)
        slow_window(c, uv_hrtime());
    if (!e->out.len)
        buf_fini(&e->out);
    if (e->closing && !e->out.len && !c->writing) {
        linger(c);
        return;
    }
    start_reading(c);
    arm(c);
}

/* Writes nothing: what several steps of a turn make leaves together. */
void conn_step(struct conn *c, uint64_t now)
{
    if (c->state != CONN_OPEN)
        return;
    c->e->ops->drained(c->e, now);
    engine_ran(c);
}

/* A connection that is not made yet has nothing to finish; its dialer is told by the callback of
 * uv_tcp_connect. */
void conn_drain(struct conn *c, uint64_t now)
{
    bool idle;

    if (c->state == CONN_CONNECTING)
        conn_close(c);
    if (c->state != CONN_OPEN)
        return;
    idle = !c->e->out.len && !c->writing;
    c->e->ops->drain(c->e, now);
    engine_ran(c);
    /* One that was idle has no answer on its way that a reset could overtake. */
    if (idle && c->e->closing && !c->e->out.len)
        conn_close(c);
    else
        wake(c->e, c);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The same memory for all: libuv asks right before it reads, and on_read has used it up when it
 * returns. */
static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    struct conn *c = h->data;

    (void)size;
    *b = uv_buf_init(c->l->read_buffer, READ_BUFFER);
}

/* The time is taken anew for each read: a turn may have lasted, and deadlines that begin here, of a
 * request or a call, would be cut short by an old one. What the end of the remote's side means is
 * the engine's to say: what it has for the remote can still be written. n is 0 when there was
 * nothing to read after all. */
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    struct engine *e;
    uint64_t now;

    if (n == 0)
        return;
    if (c->state != CONN_OPEN) {
        if (c->state == CONN_LINGER && (n < 0 || (c->thrown += (size_t)n) > LINGER_BYTES))
            conn_close(c);
        return;
    }
    if (n < 0 && n != UV_EOF) {
        conn_close(c);
        return;
    }
    now = uv_hrtime();
    c->l->now = now;
    alk_dispatcher_now(c->l->d, now);
    c->l->turning = true; /* who asks to close the loop meanwhile is heard in the coming turn */
    if (n == UV_EOF) {
        stop_reading(c);
        c->eof = true;
        c->gone_check = now + GONE_CHECK_NS;
        if (c->h.handle.type == UV_TCP)
            uv_tcp_keepalive(&c->h.tcp, 1, GONE_PROBE_S);
        c->e->ops->eof(c->e, now);
    } else {
        c->e->ops->feed(c->e, b->base, (size_t)n, now);
    }
    e = c->e;
    engine_ran(c);
    c->l->turning = false;
    /* A flood: libuv would read on, 2 MiB, before others are read and the turn comes. The flush at
     * the end of the turn begins again. */
    if (n == READ_BUFFER)
        stop_reading(c);
    else if (c->state == CONN_OPEN && c->e == e)
        start_reading(c);
    wake(c->e, c);
}

/* Also stops: the one place where libuv is told what the engine wants. An engine that has enough
 * stops reading, the kernel's buffer fills, and TCP makes the sender wait. */
static void start_reading(struct conn *c)
{
    if (c->e->reading == c->reading || c->eof)
        return;
    c->reading = c->e->reading;
    if (!c->reading)
        uv_read_stop(&c->h.stream);
    else if (uv_read_start(&c->h.stream, on_alloc, on_read))
        conn_close(c);
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* Numeric, without the port: as it is logged, and as connections of one client are counted. */
static void address_text(const struct sockaddr_storage *a, char out[64])
{
    out[0] = 0;
    if (a->ss_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)(const void *)a, out, 64);
    else if (a->ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)(const void *)a, out, 64);
}

void conn_remote(const struct conn *c, char out[64])
{
    struct sockaddr_storage a = {0};
    int n = sizeof a;

    snprintf(out, 64, "unix");
    if (c->h.handle.type == UV_TCP) {
        uv_tcp_getpeername(&c->h.tcp, (struct sockaddr *)&a, &n);
        address_text(&a, out);
    }
}

static void local_name(const struct conn *c, char out[64])
{
    struct sockaddr_storage a = {0};
    int n = sizeof a;

    snprintf(out, 64, "unix");
    if (c->h.handle.type == UV_TCP) {
        uv_tcp_getsockname(&c->h.tcp, (struct sockaddr *)&a, &n);
        address_text(&a, out);
    }
}

/* 0, or libuv's code; then there is nothing to close. From here on the connection is in the loop's
 * list, and leaves it in on_closed alone. */
static int set_up(struct conn *c, struct alk_loop *l, bool is_pipe, struct mem *mem)
{
    int rc;

    memset(c, 0, sizeof *c);
    c->l = l;
    rc = is_pipe ? uv_pipe_init(l->uv, &c->h.pipe, 0) : uv_tcp_init(l->uv, &c->h.tcp);
    if (rc)
        return rc;
    c->h.handle.data = c;
    list_init(&c->woken);
    list_init(&c->dirty);
    list_init(&c->writer);
    list_push(&l->conns, &c->link);
    heap_node_init(&c->deadline);
    heap_node_init(&c->speed);
    buf_init(&c->inflight, mem);
    return 0;
}

struct conn *conn_new(struct alk_loop *l, bool is_pipe, struct mem *mem)
{
    struct conn *c = mem_alloc(&l->mem, sizeof *c);

    if (c && set_up(c, l, is_pipe, mem)) {
        mem_free(&l->mem, c);
        return NULL;
    }
    if (c)
        c->state = CONN_CONNECTING;
    return c;
}

/* A connection may come about while the loop drains already: the engine is told, like all others
 * were. */
void conn_speak(struct conn *c, struct engine *e)
{
    c->state = CONN_OPEN;
    c->e = e;
    e->wake = wake;
    e->wake_ud = c;
    if (c->l->drain >= DRAIN_WAIT)
        e->ops->drain(e, uv_hrtime());
    start_reading(c);
    arm(c);
    wake(e, c);
}

/* Whether the connection has the last descriptor of the process. Without one, libuv takes what
 * comes and closes it without a word, by a reserve of its own, and nothing else can be opened. */
static bool has_last_descriptor(const struct conn *c)
{
    uv_os_fd_t fd;

    if (uv_fileno(&c->h.handle, &fd))
        return false;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

/* As it was when the remote connected: who got the socket from another since has the other's. */
static bool user_of(const struct conn *c, uint32_t *out)
{
    struct ucred who;
    socklen_t n = sizeof who;
    uv_os_fd_t fd;

    if (uv_fileno(&c->h.handle, &fd) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n))
        return false;
    *out = who.uid;
    return true;
}

/* libuv has accepted the descriptor already and stops listening until somebody takes it, so it must
 * be taken also when it cannot be served: hence the reserve. A client that is turned away by a
 * close knows where it is; one left in the queue would wait, and all others behind it. The reserve
 * is missing only while the connection that used it is being closed, so a stall ends with its
 * on_closed.
 *
 * Whether a connection is wanted at all (its limits, by count and by address) is the service's to
 * say: without an engine it is closed. */
void conn_accept(struct alk_server *s)
{
    struct alk_loop *l = s->l;
    struct conn *c = mem_alloc(&l->mem, sizeof *c);
    struct engine *e = NULL;
    char remote[64], local[64];
    struct peer_info p = {
        .address = remote, .local = local, .tls = s->tls, .proxy_header = s->proxy_header};
    uint32_t uid;
    bool refuse = false;
    int rc;

    if (!c) {
        refuse = true;
        c = l->reserve;
        l->reserve = NULL;
    }
    /* Without the reserve, the listener waits until one that was refused is closed. */
    if (!c) {
        s->stalled = true;
        return;
    }
    if (set_up(c, l, s->is_pipe, s->service->mem(s->service))) {
        s->stalled = true;
        give_back(l, c);
        return;
    }
    rc = uv_accept(&s->h.stream, &c->h.stream);
    if (!rc && has_last_descriptor(c))
        rc = UV_EMFILE;
    if (rc)
        server_accept_failed(s, rc);
    if (!rc && !refuse) {
        conn_remote(c, remote);
        local_name(c, local);
        /* What belongs together is written at once already. Nagle's algorithm would only make the
         * end of an answer wait for an acknowledgement that the other side delays. */
        if (!s->is_pipe)
            uv_tcp_nodelay(&c->h.tcp, 1);
        else if (s->peer_credentials && user_of(c, &uid))
            p.uid = &uid;
        e = s->service->accept(s->service, s->service->mem(s->service), &p, uv_hrtime());
    }
    if (e)
        conn_speak(c, e);
    else
        conn_close(c);
}
