/* Implements conn.h. Reads go into the loop's one buffer and straight into the engine. Writes are tried at once, at the
 * end of the loop's turn; what the socket does not take is moved aside for uv_write. A connection that the
 * engine ends lingers a moment, so that the last answer is not lost to a reset. */
#include "uv/conn.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define LINGER_NS UINT64_C(2000000000)

static void wake(struct engine *e, void *ud)
{
    struct conn *c = ud;

    (void)e;
    if (list_empty(&c->woken))
        list_push(&c->l->woken, &c->woken);
    if (list_empty(&c->dirty))
        list_push(&c->l->dirty, &c->dirty);
}

static void give_back(struct alk_loop *l, struct conn *c)
{
    if (l->reserve || l->closing)
        mem_free(&l->mem, c);
    else
        l->reserve = c;
}

static void on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct alk_loop *l = c->l;

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

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    heap_remove(&c->l->deadlines, &c->deadline);
    if (c->e)
        c->e->ops->fini(c->e);
    c->e = NULL;
    list_del(&c->woken);
    list_del(&c->dirty);
    uv_close(&c->h.handle, on_closed);
}

/* ---- time -------------------------------------------------------------------------------------- */

static void arm(struct conn *c)
{
    uint64_t at = UINT64_MAX;

    if (c->e && c->e->deadline)
        at = c->e->deadline;
    if (c->write_deadline && c->write_deadline < at)
        at = c->write_deadline;
    /* A deadline that moves on is looked at when the old one fires: most never do. */
    if (at < c->deadline.key) {
        heap_remove(&c->l->deadlines, &c->deadline);
        heap_insert(&c->l->deadlines, &c->deadline, at);
    }
}

/* What the remote has not taken yet, of ours and of the kernel's: a socket says that it can take more only when much of its
 * buffer is free, which a slow reader of a large buffer makes happen rarely. */
static size_t bytes_left(const struct conn *c)
{
    uv_os_fd_t fd;
    int queued = 0;

    if (uv_fileno(&c->h.handle, &fd) || ioctl(fd, TIOCOUTQ, &queued))
        queued = 0;
    return c->h.stream.write_queue_size + (size_t)queued;
}

/* Begins to watch whether the remote takes what is written, for as long as the engine cares. */
static void await_progress(struct conn *c, uint64_t now)
{
    c->write_left = bytes_left(c);
    c->write_deadline = c->e->patience ? now + c->e->patience : 0;
}

/* The engine has had its turn. After an upgrade nothing more is read until the answer is on its way (conn_flush). */
static void engine_ran(struct conn *c)
{
    if (!c->e->successor)
        return;
    c->e = engine_succeed(c->e);
    if (c->reading)
        uv_read_stop(&c->h.stream);
    c->reading = false;
}

void conn_deadline(struct heap_node *n, uint64_t now)
{
    struct conn *c = container_of(n, struct conn, deadline);

    heap_remove(&c->l->deadlines, n);
    if (c->state == CONN_LINGER) {
        conn_close(c);
        return;
    }
    if (c->write_deadline && c->write_deadline <= now) {
        if (bytes_left(c) >= c->write_left) {
            c->e->ops->stalled(c->e, now);
            wake(c->e, c);
        }
        await_progress(c, now);
    }
    if (c->e->deadline && c->e->deadline <= now) {
        c->e->ops->timeout(c->e, now);
        engine_ran(c);
        wake(c->e, c);
    }
    arm(c);
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;

    c->writing = false;
    c->write_deadline = 0;
    buf_fini(&c->inflight);
    if (c->state == CONN_CLOSED)
        return;
    if (status < 0) {
        conn_close(c);
        return;
    }
    c->e->inflight = 0;
    wake(c->e, c);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;

    if (status < 0 && c->state != CONN_CLOSED)
        conn_close(c);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b);
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b);

/* Reads on, and throws away, until the remote has closed too: closing on unread bytes would reset the connection. */
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

static void write_later(struct conn *c)
{
    uv_buf_t b;
    struct buf swap = c->inflight;

    c->inflight = c->e->out;
    c->e->out = swap;
    b = uv_buf_init(c->inflight.data + c->inflight.head, (unsigned)c->inflight.len);
    c->write.data = c;
    if (uv_write(&c->write, &c->h.stream, &b, 1, on_written)) {
        conn_close(c);
        return;
    }
    c->writing = true;
    c->e->inflight = c->inflight.len;
    await_progress(c, uv_hrtime());
}

static void start_reading(struct conn *c);

void conn_flush(struct conn *c)
{
    struct engine *e = c->e;

    if (c->state != CONN_OPEN)
        return;
    if (e->closing == ENGINE_RESET) {
        conn_close(c);
        return;
    }
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
    }
    if (c->writing && !c->write_deadline != !e->patience)
        await_progress(c, uv_hrtime());
    if (!e->out.len)
        buf_fini(&e->out);
    if (e->closing && !e->out.len && !c->writing) {
        linger(c);
        return;
    }
    start_reading(c);
    arm(c);
}

void conn_step(struct conn *c, uint64_t now)
{
    if (c->state != CONN_OPEN)
        return;
    c->e->ops->drained(c->e, now);
    engine_ran(c);
}

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

/* ---- reading ----------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    struct conn *c = h->data;

    (void)size;
    *b = uv_buf_init(c->l->read_buffer, READ_BUFFER);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    struct engine *e;
    uint64_t now;

    if (n == 0)
        return;
    if (c->state != CONN_OPEN) {
        if (n < 0 && c->state == CONN_LINGER)
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
        uv_read_stop(s);
        c->reading = false;
        c->eof = true;
        c->e->ops->eof(c->e, now);
    } else {
        c->e->ops->feed(c->e, b->base, (size_t)n, now);
    }
    e = c->e;
    engine_ran(c);
    c->l->turning = false;
    if (c->state == CONN_OPEN && c->e == e)
        start_reading(c); /* libuv reads on in this very loop otherwise */
    wake(c->e, c);
}

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

/* ---- accepting --------------------------------------------------------------------------------- */

static void address_text(const struct sockaddr_storage *a, char *out, size_t size)
{
    out[0] = 0;
    if (a->ss_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)(const void *)a, out, size);
    else if (a->ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)(const void *)a, out, size);
}

static void read_names(struct conn *c, bool is_pipe, char remote[64], char local[64])
{
    struct sockaddr_storage a;
    int n = sizeof a;

    snprintf(remote, 64, "unix");
    snprintf(local, 64, "unix");
    if (is_pipe)
        return;
    memset(&a, 0, sizeof a);
    uv_tcp_getpeername(&c->h.tcp, (struct sockaddr *)&a, &n);
    address_text(&a, remote, 64);
    n = sizeof a;
    memset(&a, 0, sizeof a);
    uv_tcp_getsockname(&c->h.tcp, (struct sockaddr *)&a, &n);
    address_text(&a, local, 64);
    uv_tcp_nodelay(&c->h.tcp, 1);
}

/* 0, or libuv's code; then there is nothing to close. */
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
    list_push(&l->conns, &c->link);
    heap_node_init(&c->deadline);
    buf_init(&c->inflight, mem);
    return 0;
}

struct conn *conn_new(struct alk_loop *l, struct mem *mem)
{
    struct conn *c = mem_alloc(&l->mem, sizeof *c);

    if (c && set_up(c, l, false, mem)) {
        mem_free(&l->mem, c);
        return NULL;
    }
    if (c)
        c->state = CONN_CONNECTING;
    return c;
}

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

void conn_accept(struct alk_server *s)
{
    struct alk_loop *l = s->l;
    struct conn *c = mem_alloc(&l->mem, sizeof *c);
    struct engine *e = NULL;
    char remote[64], local[64];
    struct peer_info p = {remote, local};
    bool refuse = false;

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
    if (!uv_accept(&s->h.stream, &c->h.stream) && !refuse) {
        read_names(c, s->is_pipe, remote, local);
        e = s->service->accept(s->service, s->service->mem(s->service), &p, uv_hrtime());
    }
    if (e)
        conn_speak(c, e);
    else
        conn_close(c);
}
