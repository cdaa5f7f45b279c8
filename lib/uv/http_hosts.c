/* How many requests an origin is sent at a time; the others wait here, in their order. libcurl
 * would take them all, with a handle of 20 KiB for each, look through all that wait whenever one is
 * over, and let none of them time out.
 *
 * An origin is here as long as requests to it are under way. As many are as it may have
 * connections; over HTTP/2 they share these. */
#include "uv/http_int.h"

#include <string.h>

#define HTTP2_STREAMS 100u /* of one connection: more, and libcurl opens another */

static unsigned limit(const struct http_host *h)
{
    const alk_http_options *o = &h->pool->c->options.o;

    if (h->pool->streams)
        return o->connections / 2;
    return h->http2 ? o->host_connections * HTTP2_STREAMS : o->host_connections;
}

static struct http_host *host_of(const struct fetch *x)
{
    struct http_pool *p = x->pool;
    struct map_node *n = map_find(&p->hosts, x->origin, strlen(x->origin));
    struct http_host *h;

    if (n)
        return container_of(n, struct http_host, by_origin);
    h = mem_zalloc(&p->c->l->mem, sizeof *h);
    if (!h)
        return NULL;
    h->pool = p;
    list_init(&h->queue);
    memcpy(h->origin, x->origin, sizeof h->origin);
    h->by_origin.key = h->origin;
    h->by_origin.len = strlen(h->origin);
    if (!map_add(&p->hosts, &h->by_origin))
        return h;
    mem_free(&p->c->l->mem, h);
    return NULL;
}

static void give(struct http_host *h, struct fetch *x)
{
    h->running++;
    x->slot = h;
}

static void pass_on(struct http_host *h)
{
    while (!list_empty(&h->queue) && h->running < limit(h)) {
        struct fetch *x = container_of(h->queue.next, struct fetch, queued);

        list_del(&x->queued);
        give(h, x);
        http_due(x);
    }
}

int http_slot_take(struct fetch *x)
{
    struct http_host *h;

    if (x->slot)
        return ALK_OK;
    if (!list_empty(&x->queued))
        return ALK_EAGAIN;
    h = host_of(x);
    if (!h)
        return ALK_ENOMEM;
    if (!list_empty(&h->queue) || h->running >= limit(h)) {
        list_push(&h->queue, &x->queued);
        return ALK_EAGAIN;
    }
    give(h, x);
    return ALK_OK;
}

void http_slot_give(struct fetch *x)
{
    struct http_host *h = x->slot;

    list_del(&x->queued);
    if (!h)
        return;
    x->slot = NULL;
    h->running--;
    pass_on(h);
    if (h->running)
        return;
    map_del(&h->pool->hosts, &h->by_origin);
    mem_free(&h->pool->c->l->mem, h);
}

void http_slot_shared(struct fetch *x)
{
    struct http_host *h = x->slot;

    if (h->http2)
        return;
    h->http2 = true;
    pass_on(h);
}
