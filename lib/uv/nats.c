/* The bus over NATS, by libnats, whose sockets the loop polls: it is read and written from the turn,
 * and a turn's messages leave in one write. Its own way, a thread that reads and one that writes for
 * each connection, costs two changes of threads for each message, and blocks whoever publishes while
 * the socket is full.
 *
 * What of libnats waits for others is kept off the loop: connecting (names, TLS, the greeting) is
 * done by a thread that ends with it, and libnats does not connect again by itself, since it would
 * hold the connection's lock meanwhile. Nor does it close: with something unsent it would wait for
 * an answer. So a connection is made, used and lost once:
 *
 *   WAITING     for the time of the next attempt
 *   CONNECTING  the thread runs
 *   UP
 *   ENDING      libnats has let go of the socket; its last callback, from a thread of its own, and
 *               the handle's end are waited for. What it holds of TLS is freed behind that, on the
 *               loop's thread: on its own it could be at that when the process ends
 *
 * libnats closes its descriptor from any thread, while the loop may still poll it. So the loop has a
 * copy of its own.
 *
 * Subscriptions are without a callback, which would run on another thread: what has come is taken
 * out of each after every read, so at most a read's messages wait there. */
#include "uv/nats_int.h"

#include "base/utf8.h"
#include "core/dispatcher.h"
#include "core/node.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_MIN (250 * MILLI)
#define RETRY_MAX (8 * SECOND)
#define WHY_MAX 512u
#define COMPLAIN_EVERY (60 * SECOND)
#define DONE_MAX 128u
#define LARGEST (NATS_UNSENT_MAX - 8192u) /* of a message, so that it fits with what is around it */
#define ERROR_TEXT 400u                   /* bytes of a line for whom a service fails */
#define ERROR_BYTES (ERROR_TEXT + 100u)   /* with what is around it */

enum { WAITING, CONNECTING, UP, ENDING };

struct subject {
    struct list link;
    natsSubscription *sub; /* NULL: not connected */
    bool gone;             /* unsubscribed while messages are handed out */
    bool served;           /* what comes are requests, */
    const char *queue;     /* which others of that may get as well; NULL: all do */
    char name[];           /* and behind it, the queue's */
};

struct nats {
    struct bus bus; /* first */
    struct alk_loop *l;
    struct list link;
    const struct nats_api *api;
    struct nats_options o;
    struct list subjects;
    struct heap_node retry;
    uint64_t complained_at, up_since;
    natsConnection *nc;
    uv_poll_t poll;
    uv_async_t async;
    uv_thread_t own, thread;
    size_t server;     /* the one that is tried next */
    unsigned failures; /* since it was last up for a while */
    uint8_t state;
    bool due;   /* the time of the next attempt has come */
    bool heard; /* something is to be looked up below */
    bool readable;
    bool published; /* something may be unsent */
    bool blocked;   /* the socket is full */
    bool polling, closing;
    bool stepping, delivering;
    natsMsg *done[DONE_MAX]; /* handed out, and not destroyed yet */
    unsigned done_count;
    char (*told)[WHY_MAX]; /* why it is down, by each server, as the user knows it */

    uv_mutex_t lock; /* of what other threads write: */
    bool made;       /* the thread is at its end, */
    natsConnection *result;
    int fd;            /* with this, */
    char why[WHY_MAX]; /* or without a result */
    bool detached;     /* libnats has let go of the socket */
    bool released;     /* its last callback has come */
    unsigned complaints;
    natsStatus complaint; /* the last one */
};

static void advance(struct nats *n);

/* ---- from libnats, on any thread --------------------------------------------------------------- */

static bool is_own_thread(const struct nats *n)
{
    uv_thread_t self = uv_thread_self();

    return uv_thread_equal(&self, &n->own);
}

/* With the lock, so that the handle cannot be closed before it is called. */
static void wake(struct nats *n)
{
    if (!is_own_thread(n)) {
        uv_async_send(&n->async);
        return;
    }
    n->heard = true;
    loop_again(n->l);
}

static natsStatus on_attach(void **ud, void *loop, natsConnection *nc, natsSock fd)
{
    struct nats *n = *ud = loop;

    (void)nc;
    n->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return n->fd < 0 ? NATS_SYS_ERROR : NATS_OK;
}

/* It is polled as long as it is there. */
static natsStatus on_read_wanted(void *ud, bool add)
{
    (void)ud;
    (void)add;
    return NATS_OK;
}

/* What the loop's thread writes, it knows of; what is left are pings of libnats' own. */
static natsStatus on_write_wanted(void *ud, bool add)
{
    struct nats *n = ud;

    uv_mutex_lock(&n->lock);
    if (add && !is_own_thread(n))
        uv_async_send(&n->async);
    uv_mutex_unlock(&n->lock);
    return NATS_OK;
}

static natsStatus on_detach(void *ud)
{
    struct nats *n = ud;

    uv_mutex_lock(&n->lock);
    n->detached = true;
    wake(n);
    uv_mutex_unlock(&n->lock);
    return NATS_OK;
}

static void on_released(natsConnection *nc, void *ud)
{
    struct nats *n = ud;

    (void)nc;
    uv_mutex_lock(&n->lock);
    n->released = true;
    wake(n);
    uv_mutex_unlock(&n->lock);
}

/* What it says of it is read on the loop's thread, which is where it may be written. */
static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *ud)
{
    struct nats *n = ud;

    (void)nc;
    (void)sub;
    uv_mutex_lock(&n->lock);
    n->complaints++;
    n->complaint = s;
    wake(n);
    uv_mutex_unlock(&n->lock);
}

/* ---- connecting -------------------------------------------------------------------------------- */

static void connect_on_thread(void *ud)
{
    struct nats *n = ud;
    const struct nats_hooks hooks = {n,         on_attach,   on_read_wanted, on_write_wanted,
                                     on_detach, on_released, on_error};
    const char *url = n->o.servers[n->server];
    char why[200];
    natsConnection *nc = nats_connect(n->api, &n->o, url, &hooks, why, sizeof why);

    uv_mutex_lock(&n->lock);
    n->result = nc;
    snprintf(n->why, sizeof n->why, "%.300s: %s", url, why);
    n->made = true;
    uv_async_send(&n->async);
    uv_mutex_unlock(&n->lock);
}

/* ---- states ------------------------------------------------------------------------------------ */

static void tell(struct nats *n, bool up, const char *why)
{
    if (!n->closing)
        n->bus.on_state(n->bus.ud, up, why);
}

/* Half of the time, and by chance up to the other half: those that have lost a broker together do
 * not come back together. */
static void try_later(struct nats *n)
{
    uint64_t chance = 0, delay = n->failures < 5 ? RETRY_MIN << n->failures : RETRY_MAX;

    n->l->d->node->host->random(&chance, sizeof chance);
    n->state = WAITING;
    if (!n->closing)
        heap_insert(&n->l->deadlines, &n->retry, n->l->now + delay / 2 + chance % (delay / 2));
}

static void failed(struct nats *n, const char *why)
{
    char *told = n->told[n->server];

    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    n->failures++;
    n->server = (n->server + 1) % n->o.server_count;
    try_later(n);
    if (strcmp(why, told)) {
        snprintf(told, WHY_MAX, "%s", why);
        tell(n, false, told);
    }
}

static void begin(struct nats *n)
{
    n->due = n->made = n->detached = n->released = false;
    n->result = NULL;
    n->state = CONNECTING;
    if (uv_thread_create(&n->thread, connect_on_thread, n))
        failed(n, "no thread can be started to connect");
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct nats *n = poll->data;

    n->readable |= status < 0 || events & UV_READABLE;
    if (events & UV_WRITABLE) {
        n->blocked = false;
        uv_poll_start(poll, UV_READABLE, on_poll);
    }
}

static void listen_to(struct nats *n, struct subject *s)
{
    if (s->queue ? n->api->natsConnection_QueueSubscribeSync(&s->sub, n->nc, s->name, s->queue)
                 : n->api->natsConnection_SubscribeSync(&s->sub, n->nc, s->name))
        s->sub = NULL; /* the connection has ended, which is about to be heard */
    n->published = true;
}

static void on_poll_closed(uv_handle_t *h)
{
    struct nats *n = h->data;

    n->polling = false;
    if (n->closing)
        advance(n);
}

static void drop_subjects(struct nats *n)
{
    list_each(at, &n->subjects)
    {
        struct subject *s = container_of(at, struct subject, link);

        n->api->natsSubscription_Destroy(s->sub);
        s->sub = NULL;
    }
}

/* The connection goes, if it is not gone yet: with nothing unsent libnats closes it without waiting,
 * and what cannot be sent any more ends it. */
static void lose(struct nats *n)
{
    const struct nats_api *api = n->api;
    const char *text = NULL;
    natsStatus s = api->natsConnection_GetLastError(n->nc, &text);
    char why[WHY_MAX];

    snprintf(why, sizeof why, "%.300s: %.200s", n->o.servers[n->server],
             text && *text ? text : api->natsStatus_GetText(s));
    shutdown(n->fd, SHUT_RDWR);
    drop_subjects(n);
    if (api->natsConnection_Buffered(n->nc) > 0)
        api->natsConnection_ProcessWriteEvent(n->nc);
    api->natsConnection_Close(n->nc);
    if (n->polling)
        uv_close((uv_handle_t *)&n->poll, on_poll_closed);
    close(n->fd);
    n->fd = -1;
    n->server = (n->server + 1) % n->o.server_count;
    n->state = ENDING;
    n->failures = n->l->now - n->up_since < RETRY_MAX ? n->failures + 1 : 0;
    tell(n, false, why);
}

/* The thread has ended, or is about to. */
static void take_result(struct nats *n)
{
    uv_thread_join(&n->thread);
    n->nc = n->result;
    if (!n->nc) {
        failed(n, n->why);
        return;
    }
    n->state = UP;
    n->up_since = n->l->now;
    n->bus.unsent = 0;
    n->bus.largest = (size_t)n->api->natsConnection_GetMaxPayload(n->nc);
    if (n->bus.largest > LARGEST)
        n->bus.largest = LARGEST;
    n->readable = n->blocked = false;
    n->polling = !uv_poll_init(n->l->uv, &n->poll, n->fd);
    if (!n->polling) {
        lose(n);
        return;
    }
    memset(n->told, 0, n->o.server_count * sizeof *n->told);
    n->poll.data = n;
    uv_poll_start(&n->poll, UV_READABLE, on_poll);
    list_each(at, &n->subjects) listen_to(n, container_of(at, struct subject, link));
    tell(n, true, NULL);
}

/* ---- what comes and goes ----------------------------------------------------------------------- */

static void forget(struct nats *n, struct subject *s)
{
    list_del(&s->link);
    mem_free(&n->l->mem, s);
}

/* libnats frees messages on a thread of its own, and wakes it for the first that comes while it
 * sleeps. One at a time, that would be a wake-up for each message. */
static void destroy_done(struct nats *n)
{
    while (n->done_count)
        n->api->natsMsg_Destroy(n->done[--n->done_count]);
}

static void deliver(struct nats *n, struct subject *s)
{
    const struct nats_api *api = n->api;
    uint64_t queued = 0;
    natsMsg *m;

    if (!s->sub || api->natsSubscription_QueuedMsgs(s->sub, &queued))
        return;
    while (queued-- && !s->gone && !n->closing) {
        natsStatus got = api->natsSubscription_NextMsg(&m, s->sub, 0);

        /* One that says, by its headers, that nobody was there: of no use here, and has been taken. */
        if (got == NATS_NO_RESPONDERS)
            continue;
        if (got)
            break;
        const char *data = api->natsMsg_GetData(m), *reply = api->natsMsg_GetReply(m);
        size_t len = (size_t)api->natsMsg_GetDataLength(m);

        if (s->served)
            n->bus.on_request(n->bus.ud, api->natsMsg_GetSubject(m), reply && *reply ? reply : NULL,
                              data, len);
        else
            n->bus.on_message(n->bus.ud, s->name, data, len);
        n->done[n->done_count++] = m;
        if (n->done_count == DONE_MAX)
            destroy_done(n);
    }
}

static void receive(struct nats *n)
{
    n->readable = false;
    n->published = true; /* if only an answer to a ping */
    n->api->natsConnection_ProcessReadEvent(n->nc);
    n->delivering = true;
    list_each(at, &n->subjects) deliver(n, container_of(at, struct subject, link));
    destroy_done(n);
    n->delivering = false;
    list_each_safe(at, &n->subjects)
    {
        struct subject *s = container_of(at, struct subject, link);

        if (s->gone)
            forget(n, s);
    }
}

static void flush(struct nats *n)
{
    int left;

    if (n->state != UP || !n->published || n->blocked)
        return;
    n->published = false;
    if (n->api->natsConnection_Buffered(n->nc) > 0)
        n->api->natsConnection_ProcessWriteEvent(n->nc);
    left = n->api->natsConnection_Buffered(n->nc);
    n->bus.unsent = left > 0 ? (size_t)left : 0;
    if (n->bus.unsent) {
        n->published = n->blocked = true;
        uv_poll_start(&n->poll, UV_READABLE | UV_WRITABLE, on_poll);
    }
}

/* Of what the broker, or libnats, holds against us while the connection goes on: now and then. */
static void complain(struct nats *n, natsStatus status, unsigned count)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "nats.error"};
    const char *text = NULL;
    char message[600];

    if (n->state == UP)
        n->api->natsConnection_GetLastError(n->nc, &text);
    snprintf(message, sizeof message, "%s: %.300s (%u since the last such line)",
             n->o.servers[n->server], text && *text ? text : n->api->natsStatus_GetText(status),
             count);
    e.message = message;
    node_log(n->l->d->node, &e);
    n->complained_at = n->l->now;
}

static void hear(struct nats *n)
{
    natsStatus complaint = NATS_OK;
    unsigned complaints = 0;
    bool made, detached, quiet;

    n->heard = false;
    n->published = true;
    quiet = n->closing || (n->complained_at && n->l->now - n->complained_at < COMPLAIN_EVERY);
    uv_mutex_lock(&n->lock);
    made = n->made;
    detached = n->detached;
    if (!quiet && n->complaints) {
        complaints = n->complaints;
        complaint = n->complaint;
        n->complaints = 0;
    }
    uv_mutex_unlock(&n->lock);
    if (complaints)
        complain(n, complaint, complaints);
    if (n->state == CONNECTING && made)
        take_result(n);
    if (n->state == UP && detached)
        lose(n);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void free_nats(struct nats *n)
{
    struct alk_loop *l = n->l;

    nats_options_drop(&n->o, &l->mem);
    mem_free(&l->mem, n->told);
    mem_free(&l->mem, n);
}

static void on_async_closed(uv_handle_t *h)
{
    struct nats *n = h->data;
    struct alk_loop *l = n->l;

    list_del(&n->link);
    while (!list_empty(&n->subjects))
        forget(n, container_of(n->subjects.next, struct subject, link));
    uv_mutex_destroy(&n->lock);
    free_nats(n);
    l->open_connects--;
    loop_check_end(l);
}

/* What is due, and all that follows from it. When the loop closes there are no more turns, and the
 * callbacks of handles come here by themselves. */
static void advance(struct nats *n)
{
    bool over;

    n->stepping = true;
    if (n->heard)
        hear(n);
    if (n->state == UP && n->readable && !n->closing)
        receive(n);
    if (n->heard)
        hear(n);
    if (n->state == UP && n->closing)
        lose(n);
    uv_mutex_lock(&n->lock);
    over = n->released && !n->polling;
    uv_mutex_unlock(&n->lock);
    if (n->state == ENDING && over) {
        n->api->natsConnection_Destroy(n->nc);
        try_later(n);
    }
    if (n->state == WAITING && n->due && !n->closing)
        begin(n);
    n->stepping = false;
    if (n->state == WAITING && n->closing && !uv_is_closing((uv_handle_t *)&n->async))
        uv_close((uv_handle_t *)&n->async, on_async_closed);
}

static void on_async(uv_async_t *a)
{
    struct nats *n = a->data;

    n->heard = true;
    if (n->closing)
        advance(n);
}

void nats_step(struct alk_loop *l)
{
    list_each(at, &l->buses) advance(container_of(at, struct nats, link));
}

void nats_flush(struct alk_loop *l)
{
    list_each(at, &l->buses) flush(container_of(at, struct nats, link));
}

bool nats_deadline(struct alk_loop *l, struct heap_node *node)
{
    list_each(at, &l->buses)
    {
        struct nats *n = container_of(at, struct nats, link);

        if (node == &n->retry) {
            heap_remove(&l->deadlines, node);
            n->due = true;
            return true;
        }
    }
    return false;
}

void nats_close_all(struct alk_loop *l)
{
    list_each(at, &l->buses)
    {
        struct nats *n = container_of(at, struct nats, link);

        if (!n->closing)
            nats_close(&n->bus);
    }
}

/* ---- the bus ----------------------------------------------------------------------------------- */

/* Whether so much can be published, and now. */
static int room(const struct nats *n, size_t len, size_t size)
{
    if (n->state != UP)
        return ALK_ECLOSED;
    if (len > n->bus.largest)
        return ALK_ELIMIT;
    return n->bus.unsent + size > NATS_UNSENT_MAX ? ALK_EAGAIN : ALK_OK;
}

/* What libnats says of it. */
static int published(struct nats *n, natsStatus s, size_t size)
{
    switch (s) {
    case NATS_OK:
        n->bus.unsent += size;
        n->published = true;
        return 0;
    case NATS_NO_MEMORY:
        return ALK_ENOMEM;
    case NATS_MAX_PAYLOAD:
        return ALK_ELIMIT;
    default:
        return ALK_ECLOSED;
    }
}

static int publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    struct nats *n = container_of(b, struct nats, bus);
    size_t size = len + strlen(subject) + sizeof "PUB  1234567\r\n\r\n";
    int rc = room(n, len, size);

    return rc ? rc
              : published(n, n->api->natsConnection_Publish(n->nc, subject, data, (int)len), size);
}

static natsStatus set_error(const struct nats_api *api, natsMsg *m, const struct bus_error *e)
{
    char text[ERROR_TEXT], number[16];
    natsStatus s;

    snprintf(text, sizeof text, "%s", e->text);
    text[utf8_cut_end(text, strlen(text))] = 0;
    for (char *at = text; *at; at++)
        *at = (unsigned char)*at < ' ' || *at == 0x7f ? ' ' : *at;
    snprintf(number, sizeof number, "%d", e->number);
    s = api->natsMsgHeader_Set(m, "Nats-Service-Error", text);
    return s ? s : api->natsMsgHeader_Set(m, "Nats-Service-Error-Code", number);
}

static int answer(struct bus *b, const char *reply, const struct bus_error *e, const void *data,
                  size_t len)
{
    struct nats *n = container_of(b, struct nats, bus);
    size_t size = len + strlen(reply) + ERROR_BYTES;
    natsMsg *m = NULL;
    natsStatus s;
    int rc = e ? room(n, len, size) : ALK_OK;

    if (!e)
        return publish(b, reply, data, len);
    if (rc)
        return rc;
    s = n->api->natsMsg_Create(&m, reply, NULL, data, (int)len);
    if (!s)
        s = set_error(n->api, m, e);
    if (!s)
        s = n->api->natsConnection_PublishMsg(n->nc, m);
    n->api->natsMsg_Destroy(m);
    return published(n, s, size);
}

static int add_subject(struct bus *b, const char *name, bool served, const char *queue)
{
    struct nats *n = container_of(b, struct nats, bus);
    size_t size = strlen(name) + 1, more = queue ? strlen(queue) + 1 : 0;
    struct subject *s = mem_zalloc(&n->l->mem, sizeof *s + size + more);

    if (!s)
        return ALK_ENOMEM;
    memcpy(s->name, name, size);
    s->served = served;
    if (queue)
        s->queue = memcpy(s->name + size, queue, more);
    list_push(&n->subjects, &s->link);
    if (n->state == UP)
        listen_to(n, s);
    return 0;
}

static int subscribe(struct bus *b, const char *name)
{
    return add_subject(b, name, false, NULL);
}

static int serve(struct bus *b, const char *pattern, const char *queue)
{
    return add_subject(b, pattern, true, queue);
}

static void unsubscribe(struct bus *b, const char *name)
{
    struct nats *n = container_of(b, struct nats, bus);

    list_each(at, &n->subjects)
    {
        struct subject *s = container_of(at, struct subject, link);

        if (s->gone || strcmp(s->name, name))
            continue;
        n->api->natsSubscription_Destroy(s->sub);
        n->published = true;
        s->sub = NULL;
        s->gone = true;
        if (!n->delivering)
            forget(n, s);
        return;
    }
}

static const struct bus_ops ops = {publish, subscribe, unsubscribe, serve, answer, nats_close};

int nats_open(struct bus **out, struct alk_loop *l, const struct nats_options *o, char *err,
              size_t size)
{
    const struct nats_api *api = nats_api_get(err, size);
    struct nats *n = api ? mem_zalloc(&l->mem, sizeof *n) : NULL;
    int rc;

    *out = NULL;
    if (!n)
        return api ? ALK_ENOMEM : ALK_ESYSTEM;
    n->bus.ops = &ops;
    n->l = l;
    n->api = api;
    n->fd = -1;
    n->own = uv_thread_self();
    list_init(&n->subjects);
    heap_node_init(&n->retry);
    n->told = mem_zalloc(&l->mem, o->server_count * sizeof *n->told);
    if (!n->told || !nats_options_keep(&n->o, o, &l->mem)) {
        free_nats(n);
        return ALK_ENOMEM;
    }
    rc = uv_mutex_init(&n->lock);
    if (!rc && (rc = uv_async_init(l->uv, &n->async, on_async)))
        uv_mutex_destroy(&n->lock);
    if (rc) {
        free_nats(n);
        snprintf(err, size, "%s", uv_strerror(rc));
        return ALK_ESYSTEM;
    }
    n->async.data = n;
    l->open_connects++;
    list_push(&l->buses, &n->link);
    n->due = true; /* from a turn, as all that follows */
    loop_again(l);
    *out = &n->bus;
    return ALK_OK;
}

/* The loop goes on until libnats has said its last. */
void nats_close(struct bus *b)
{
    struct nats *n = container_of(b, struct nats, bus);

    flush(n);
    n->closing = true;
    heap_remove(&n->l->deadlines, &n->retry);
    if (!n->stepping)
        advance(n);
}

static int open_bus(struct transport *t, const struct nats_options *o, struct bus **out, char *err,
                    size_t size)
{
    return nats_open(out, container_of(t, struct alk_loop, transport), o, err, size);
}

void nats_init(struct alk_loop *l)
{
    list_init(&l->buses);
    l->transport.open_bus = open_bus;
}
