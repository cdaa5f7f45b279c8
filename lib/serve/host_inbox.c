/* The queues towards the library's threads. The lock is held over uv_async_send, so that the handle
 * is not closed between the look at `open` and the call; many submissions share one wake-up. */
#include "serve/host_int.h"

#include <string.h>

struct command *command_new(enum command_kind kind, uint64_t id, const char *text, size_t len)
{
    struct command *c = host_alloc(sizeof *c + len + 1);

    if (!c)
        return NULL;
    list_init(&c->link);
    c->kind = kind;
    c->id = id;
    c->call = NULL;
    c->told = NULL;
    c->len = len;
    if (len)
        memcpy(c->text, text, len);
    c->text[len] = 0;
    return c;
}

void command_free(struct command *c)
{
    if (c && c->call) {
        alk_identity_unref(c->call->identity);
        host_free(c->call);
    }
    if (c)
        event_free(c->told);
    host_free(c);
}

int inbox_init(struct inbox *in)
{
    list_init(&in->list);
    return uv_mutex_init(&in->lock) ? ALK_ENOMEM : ALK_OK;
}

void inbox_fini(struct inbox *in)
{
    event_free(in->room);
    uv_mutex_destroy(&in->lock);
}

int inbox_open(struct inbox *in, uv_loop_t *loop, uv_async_cb fn, void *ud)
{
    if (uv_async_init(loop, &in->async, fn))
        return ALK_ESYSTEM;
    in->async.data = ud;
    in->open = true;
    return ALK_OK;
}

void inbox_close(struct inbox *in, struct list *out)
{
    uv_mutex_lock(&in->lock);
    in->open = false;
    list_splice(out, &in->list);
    uv_mutex_unlock(&in->lock);
    uv_close((uv_handle_t *)&in->async, NULL);
}

/* Under the lock. */
static void wake(struct inbox *in)
{
    if (!in->woken)
        uv_async_send(&in->async);
    in->woken = true;
}

static bool full(const alk_host *h, const struct inbox *in)
{
    return in->count >= h->events.count_max || in->bytes >= h->events.bytes_max;
}

bool inbox_full(alk_host *h, struct inbox *in)
{
    bool is;

    uv_mutex_lock(&in->lock);
    is = full(h, in);
    uv_mutex_unlock(&in->lock);
    return is;
}

int inbox_put(alk_host *h, struct inbox *in, struct command *c, bool bounded)
{
    int rc = ALK_OK;

    uv_mutex_lock(&in->lock);
    if (!in->open) {
        rc = ALK_ECLOSED;
    } else if (bounded && full(h, in)) {
        if (!in->room)
            in->room = event_new(ALK_HOST_ROOM, NULL, 0);
        rc = in->room ? ALK_EAGAIN : ALK_ENOMEM;
    } else {
        list_push(&in->list, &c->link);
        in->count++;
        in->bytes += sizeof *c + c->len;
        wake(in);
    }
    uv_mutex_unlock(&in->lock);
    if (rc)
        command_free(c);
    return rc;
}

struct event *inbox_take(struct inbox *in, struct list *out)
{
    struct event *room = NULL;

    uv_mutex_lock(&in->lock);
    in->woken = false;
    if (list_empty(out)) {
        list_splice(out, &in->list);
        in->count = in->bytes = 0;
        room = in->room;
        in->room = NULL;
    }
    uv_mutex_unlock(&in->lock);
    return room;
}

void inbox_again(struct inbox *in, bool left)
{
    uv_mutex_lock(&in->lock);
    if (in->open && (left || !list_empty(&in->list)))
        wake(in);
    uv_mutex_unlock(&in->lock);
}

void inbox_wake(struct inbox *in)
{
    uv_mutex_lock(&in->lock);
    if (in->open)
        wake(in);
    uv_mutex_unlock(&in->lock);
}
