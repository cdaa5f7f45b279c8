/* Readers that are slower than what is written for them.
 *
 * Without a rule a client that asks for much and reads nothing would hold its answers in our memory
 * for ever: TCP itself keeps such a connection alive as long as the client's kernel answers. So a
 * write that the socket does not take at once is watched, in two ways:
 *   in windows of the engine's patience: within each, the remote has to take something, and as much
 *            as the engine's rate says while more than that waits
 *   when memory is short: of those whose memory's meter is pressed, the slowest is cut, then the
 *            next, until none is pressed. */
#include "uv/conn.h"

#include <sys/ioctl.h>

/* How often it is looked whether memory is short, and how old a write is before it is judged. */
#define SHED_NS (100 * MILLI)
#define SHED_AGE SECOND

/* What the remote has not taken yet, of ours and of the kernel's: a socket says that it can take
 * more only when much of its buffer is free, which a slow reader of a large buffer makes happen
 * rarely. */
static size_t bytes_left(const struct conn *c)
{
    uv_os_fd_t fd;
    int queued = 0;

    if (uv_fileno(&c->h.handle, &fd) || ioctl(fd, TIOCOUTQ, &queued))
        queued = 0;
    return c->inflight.len - c->piece + c->h.stream.write_queue_size + (size_t)queued;
}

static size_t taken(const struct conn *c, size_t before)
{
    size_t left = bytes_left(c);

    return left < before ? before - left : 0;
}

void slow_window(struct conn *c, uint64_t now)
{
    c->window_left = bytes_left(c);
    c->write_deadline = c->e->patience ? now + c->e->patience : 0;
}

/* Nobody is judged before SHED_AGE; then there is somebody to look at every SHED_NS. */
void slow_begin(struct conn *c, uint64_t now)
{
    slow_window(c, now);
    c->write_begun = now;
    c->write_left = c->window_left;
    list_push(&c->l->writers, &c->writer);
    if (c->l->shed_timer.key == HEAP_NONE)
        heap_insert(&c->l->deadlines, &c->l->shed_timer, now + SHED_AGE);
}

void slow_end(struct conn *c)
{
    c->write_deadline = 0;
    list_del(&c->writer);
}

static void tell(struct conn *c, uint64_t now, const char *why)
{
    char remote[64];

    conn_remote(c, remote);
    if (c->e->ops->stalled(c->e, now))
        dispatcher_slow_consumer(c->l->d, remote, why);
}

/* Any byte counts where there is no rate: a slow reader is not a dead one, and how much may wait
 * for it is the engine's to limit. Milliseconds, so that the product stays within 64 bits. */
void slow_judge(struct conn *c, uint64_t now)
{
    size_t n = taken(c, c->window_left);
    uint64_t due = c->e->patience / MILLI * c->e->rate / 1000;

    if (!n)
        tell(c, now, "the remote does not read");
    else if (c->window_left > due && n < due)
        tell(c, now, "the remote reads too slowly");
    slow_window(c, now);
}

static bool pressed(const struct conn *c)
{
    return c->e && c->e->ops->pressed ? c->e->ops->pressed(c->e) : meter_pressed(c->inflight.meter);
}

/* Bytes per second. */
static uint64_t speed(const struct conn *c, uint64_t now)
{
    return taken(c, c->write_left) * UINT64_C(1000) / ((now - c->write_begun) / MILLI);
}

/* Its end may end others, which stay in memory until libuv has let go of them, in a later turn. */
static void cut(struct conn *c, uint64_t now)
{
    if (c->state != CONN_OPEN || !pressed(c))
        return;
    tell(c, now, "memory is short, and the remote reads slowly");
    conn_close(c);
}

void slow_shed(struct alk_loop *l, uint64_t now)
{
    struct heap slowest = {NULL};
    struct heap_node *n;

    list_each(w, &l->writers)
    {
        struct conn *c = container_of(w, struct conn, writer);

        if (now >= c->write_begun + SHED_AGE && pressed(c))
            heap_insert(&slowest, &c->speed, speed(c, now));
    }
    while ((n = slowest.root)) {
        heap_remove(&slowest, n);
        cut(container_of(n, struct conn, speed), now);
    }
    if (!list_empty(&l->writers))
        heap_insert(&l->deadlines, &l->shed_timer, now + SHED_NS);
}
