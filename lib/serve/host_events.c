/* The queue towards the program. What a worker's turn brings about is staged (host_work.c) and put
 * here in one piece when its loop is about to wait, so that a thousand events are one lock and one
 * wake-up. The byte in the pipe and the queue's being empty change together, under the lock: so the
 * descriptor is readable exactly while events wait. */
#include "serve/host_int.h"

#include <string.h>
#include <unistd.h>

#define QUEUE_EVENTS 16384u
#define QUEUE_BYTES (64u << 20)

void *host_alloc(size_t size)
{
    struct mem m;

    mem_init(&m, NULL, NULL);
    return mem_alloc(&m, size);
}

void *host_zalloc(size_t size)
{
    void *p = host_alloc(size);

    if (p)
        memset(p, 0, size);
    return p;
}

void host_free(void *p)
{
    struct mem m;

    mem_init(&m, NULL, NULL);
    mem_free(&m, p);
}

/* ---- one ------------------------------------------------------------------------------------- */

struct event *event_new(uint32_t kind, const char *text, size_t len)
{
    struct event *ev = host_alloc(sizeof *ev + len + 1);

    if (!ev)
        return NULL;
    memset(ev, 0, sizeof *ev);
    list_init(&ev->link);
    ev->bytes = sizeof *ev + len;
    ev->e.kind = kind;
    ev->e.timeout_ms = UINT32_MAX;
    ev->e.memory = ev;
    if (!text)
        return ev;
    memcpy(ev->text, text, len);
    ev->text[len] = 0;
    ev->e.text = ev->text;
    ev->e.text_len = len;
    return ev;
}

void event_free(struct event *ev)
{
    if (!ev)
        return;
    alk_identity_unref(ev->identities[0]);
    alk_identity_unref(ev->identities[1]);
    host_free(ev);
}

const char *event_show(const alk_identity **keep, const alk_identity *who)
{
    size_t len;

    *keep = who ? alk_identity_ref(who) : NULL;
    return who ? alk_identity_json(who, &len) : NULL;
}

/* ---- the queue ------------------------------------------------------------------------------- */

int events_init(struct events *q, const alk_host_options *o)
{
    list_init(&q->waiting);
    q->count_max = o->queue_events ? o->queue_events : QUEUE_EVENTS;
    q->bytes_max = o->queue_bytes ? o->queue_bytes : QUEUE_BYTES;
    q->fds[0] = q->fds[1] = -1;
    if (uv_mutex_init(&q->lock))
        return ALK_ENOMEM;
    if (uv_cond_init(&q->come)) {
        uv_mutex_destroy(&q->lock);
        return ALK_ENOMEM;
    }
    if (uv_pipe(q->fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE)) {
        uv_cond_destroy(&q->come);
        uv_mutex_destroy(&q->lock);
        return ALK_ESYSTEM;
    }
    return ALK_OK;
}

static void free_all(struct list *events)
{
    while (!list_empty(events)) {
        struct event *ev = container_of(events->next, struct event, link);

        list_del(&ev->link);
        event_free(ev);
    }
}

void events_fini(struct events *q)
{
    free_all(&q->waiting);
    close(q->fds[0]);
    close(q->fds[1]);
    uv_cond_destroy(&q->come);
    uv_mutex_destroy(&q->lock);
}

/* Under the lock. There is never more than one byte in the pipe, so neither call can fail or
 * wait. */
static void signal_program(struct events *q)
{
    char byte = 0;

    if (!list_empty(&q->waiting) && !q->signalled)
        q->signalled = write(q->fds[1], &byte, 1) == 1;
    else if (list_empty(&q->waiting) && q->signalled)
        q->signalled = read(q->fds[0], &byte, 1) != 1;
}

/* Likewise. */
static void put(struct events *q, struct list *list, size_t count, size_t bytes)
{
    list_splice(&q->waiting, list);
    q->count += count;
    q->bytes += bytes;
    signal_program(q);
    uv_cond_broadcast(&q->come);
}

static void put_one(struct events *q, struct event *ev)
{
    struct list one;

    list_init(&one);
    list_push(&one, &ev->link);
    put(q, &one, 1, ev->bytes);
}

void events_put(struct events *q, struct list *list, size_t count, size_t bytes)
{
    uv_mutex_lock(&q->lock);
    put(q, list, count, bytes);
    uv_mutex_unlock(&q->lock);
}

void events_put_one(struct events *q, struct event *ev)
{
    uv_mutex_lock(&q->lock);
    put_one(q, ev);
    uv_mutex_unlock(&q->lock);
}

void events_drop(struct events *q)
{
    struct list all;

    list_init(&all);
    uv_mutex_lock(&q->lock);
    list_splice(&all, &q->waiting);
    q->count = q->bytes = 0;
    signal_program(q);
    uv_mutex_unlock(&q->lock);
    free_all(&all);
}

/* A line of the log that finds no room is only counted; the next one that does says how many. One
 * of a thread that was late comes to nobody. */
void events_put_log(struct events *q, struct event *ev)
{
    bool room;

    uv_mutex_lock(&q->lock);
    room = q->count < q->count_max && q->bytes < q->bytes_max && !q->over;
    if (room) {
        ev->e.tag = q->dropped;
        q->dropped = 0;
        put_one(q, ev);
    } else {
        q->dropped++;
    }
    uv_mutex_unlock(&q->lock);
    if (!room)
        event_free(ev);
}

void events_put_last(struct events *q, struct event *ev)
{
    uv_mutex_lock(&q->lock);
    q->over = true;
    put_one(q, ev);
    uv_mutex_unlock(&q->lock);
}

bool events_above(struct events *q, size_t more, size_t more_bytes)
{
    bool above;

    uv_mutex_lock(&q->lock);
    above = q->count + more >= q->count_max || q->bytes + more_bytes >= q->bytes_max;
    q->above |= above;
    uv_mutex_unlock(&q->lock);
    return above;
}

/* ---- the program's side ---------------------------------------------------------------------- */

int alk_host_fd(alk_host *h)
{
    return host_is_here(h) ? h->events.fds[0] : -1;
}

int alk_host_wait(alk_host *h, uint32_t timeout_ms)
{
    struct events *q = &h->events;
    uint64_t until = uv_hrtime() + (uint64_t)timeout_ms * MILLI;
    int come;

    if (!host_is_here(h))
        return 0;
    uv_mutex_lock(&q->lock);
    while (list_empty(&q->waiting) && !q->over) {
        uint64_t now = uv_hrtime();

        if (timeout_ms == UINT32_MAX)
            uv_cond_wait(&q->come, &q->lock);
        else if (now >= until || uv_cond_timedwait(&q->come, &q->lock, until - now) == UV_ETIMEDOUT)
            break;
    }
    come = !list_empty(&q->waiting);
    uv_mutex_unlock(&q->lock);
    return come;
}

/* Half of the marks, so that a program which takes one event at a time does not make subscriptions
 * stop and go with each. */
static bool low_again(struct events *q)
{
    if (!q->above || q->count > q->count_max / 2 || q->bytes > q->bytes_max / 2)
        return false;
    q->above = false;
    return true;
}

size_t alk_host_drain(alk_host *h, alk_host_event *out, size_t event_size, size_t max)
{
    struct events *q = &h->events;
    size_t n = 0, take = event_size < sizeof *out ? event_size : sizeof *out;
    struct list list;
    bool low;

    if (!host_is_here(h))
        return 0;
    list_init(&list);
    uv_mutex_lock(&q->lock);
    for (; n < max && !list_empty(&q->waiting); n++) {
        struct event *ev = container_of(q->waiting.next, struct event, link);

        list_del(&ev->link);
        list_push(&list, &ev->link);
        q->bytes -= ev->bytes;
    }
    q->count -= n;
    signal_program(q);
    low = low_again(q);
    uv_mutex_unlock(&q->lock);
    if (low)
        host_low(h);
    for (size_t i = 0; i < n; i++) {
        struct event *ev = container_of(list.next, struct event, link);
        char *at = (char *)out + i * event_size;

        list_del(&ev->link);
        memset(at, 0, event_size);
        memcpy(at, &ev->e, take);
    }
    return n;
}

/* `memory` is within what every program's struct holds. */
void alk_host_release(alk_host *h, alk_host_event *events, size_t event_size, size_t count)
{
    if (!host_is_here(h))
        return;
    for (size_t i = 0; i < count; i++) {
        alk_host_event *e = (void *)((char *)events + i * event_size);

        event_free(e->memory);
        e->memory = NULL;
    }
}
