/* Implements envelope.h. */
#include "core/envelope.h"

#include "base/buf.h"
#include "core/fault.h"

#include <string.h>

#define SPARE_BYTES 16384u
#define ENVELOPE_ROOM 512u

static struct stream *stream_get(alk_connection *c, uint64_t id)
{
    struct stream *s;

    if (id == 0) {
        if (list_empty(&c->shared.link)) {
            list_push(&c->streams, &c->shared.link);
            buf_swap(&c->shared.out, &c->d->spare_out);
        }
        return &c->shared;
    }
    list_each(l, &c->streams)
    {
        s = container_of(l, struct stream, link);
        if (s->id == id)
            return s;
    }
    s = mem_alloc(&c->d->mem, sizeof *s);
    if (!s)
        return NULL;
    s->id = id;
    buf_init(&s->out, &c->d->mem);
    list_push(&c->streams, &s->link);
    return s;
}

static void stream_free(alk_connection *c, struct stream *s)
{
    list_del(&s->link);
    if (!s->out.len && s->out.cap <= SPARE_BYTES && !c->d->spare_out.data)
        buf_swap(&s->out, &c->d->spare_out);
    buf_fini(&s->out);
    if (s != &c->shared)
        mem_free(&c->d->mem, s);
}

size_t queue_bytes(const alk_connection *c, uint64_t stream)
{
    list_each(l, &c->streams)
    {
        const struct stream *s = container_of(l, struct stream, link);

        if (s->id == stream)
            return s->out.len;
    }
    return 0;
}

size_t queue_most(const alk_connection *c)
{
    size_t most = 0;

    list_each(l, &c->streams)
    {
        const struct stream *s = container_of(l, struct stream, link);

        most = s->out.len > most ? s->out.len : most;
    }
    return most;
}

size_t queue_total(const alk_connection *c)
{
    size_t sum = 0;

    list_each(l, &c->streams) sum += container_of(l, struct stream, link)->out.len;
    return sum;
}

void queue_free(alk_connection *c)
{
    list_each_safe(l, &c->streams) stream_free(c, container_of(l, struct stream, link));
}

struct writer {
    alk_connection *c;
    struct stream *s;
    size_t start;
    int rc;
};

static inline void put(struct writer *w, const char *p, size_t n)
{
    struct buf *out = &w->s->out;
    char *to = w->rc                                  ? NULL
               : out->cap - out->head - out->len >= n ? out->data + out->head + out->len
                                                      : buf_reserve(out, n);

    if (!to) {
        w->rc = -1;
        return;
    }
    memcpy(to, p, n);
    buf_commit(out, n);
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

static void put_string(struct writer *w, struct str s)
{
    w->rc |= buf_json_string(&w->s->out, s.p, s.n);
}

static int begin(struct writer *w, alk_connection *c, uint64_t stream, const char *type,
                 struct str id)
{
    uint32_t length = 0;

    *w = (struct writer){.c = c, .s = stream_get(c, stream)};
    if (!w->s)
        return ALK_ENOMEM;
    w->start = w->s->out.len;
    /* One growth for an answer of the usual size; more is no harm. */
    if (!buf_reserve(&w->s->out, ENVELOPE_ROOM))
        return ALK_ENOMEM;
    put(w, (const char *)&length, sizeof length);
    PUT(w, "{\"type\":\"");
    put(w, type, strlen(type));
    PUT(w, "\",\"id\":");
    put_string(w, id);
    PUT(w, ",\"payload\":{");
    return ALK_OK;
}

static int finish(struct writer *w)
{
    struct buf *out = &w->s->out;
    uint32_t length;

    PUT(w, "}}");
    if (w->rc) {
        buf_truncate(out, w->start);
        return ALK_ENOMEM;
    }
    if (out->len - w->start - sizeof length > connection_message_limit(w->c)) {
        buf_truncate(out, w->start);
        return ALK_ELIMIT;
    }
    length = (uint32_t)(out->len - w->start - sizeof length);
    memcpy(out->data + out->head + w->start, &length, sizeof length);
    if (list_empty(&w->c->dirty))
        list_push(&w->c->d->dirty, &w->c->dirty);
    return ALK_OK;
}

int envelope_requested(alk_connection *c, uint64_t stream, struct str id,
                       const struct request_fields *f)
{
    struct writer w;

    if (begin(&w, c, stream, "call.requested", id))
        return ALK_ENOMEM;
    PUT(&w, "\"operationId\":\"/");
    put(&w, f->operation.p, f->operation.n);
    PUT(&w, "\",\"input\":");
    put(&w, f->input.p, f->input.n);
    if (f->token.p) {
        PUT(&w, ",\"auth_token\":");
        put_string(&w, f->token);
    }
    if (f->forwarded_for.p) {
        PUT(&w, ",\"forwarded_for\":");
        put(&w, f->forwarded_for.p, f->forwarded_for.n);
    }
    if (f->hops)
        w.rc |= buf_printf(&w.s->out, ",\"hops\":%u", f->hops);
    if (f->timeout_ms)
        w.rc |= buf_printf(&w.s->out, ",\"timeout_ms\":%llu", (unsigned long long)f->timeout_ms);
    if (f->traceparent.p) {
        PUT(&w, ",\"traceparent\":");
        put_string(&w, f->traceparent);
    }
    return finish(&w);
}

int envelope_responded(alk_connection *c, uint64_t stream, struct str id, const char *output,
                       size_t len)
{
    struct writer w;

    if (begin(&w, c, stream, "call.responded", id))
        return ALK_ENOMEM;
    PUT(&w, "\"output\":");
    put(&w, output, len);
    return finish(&w);
}

static int empty(alk_connection *c, uint64_t stream, const char *type, struct str id)
{
    struct writer w;

    return begin(&w, c, stream, type, id) ? ALK_ENOMEM : finish(&w);
}

int envelope_completed(alk_connection *c, uint64_t stream, struct str id)
{
    return empty(c, stream, "call.completed", id);
}

int envelope_aborted(alk_connection *c, uint64_t stream, struct str id)
{
    return empty(c, stream, "call.aborted", id);
}

int envelope_error(alk_connection *c, uint64_t stream, struct str id, const alk_fault *fault)
{
    struct writer w;

    if (begin(&w, c, stream, "call.error", id))
        return ALK_ENOMEM;
    w.rc |= fault_put(&w.s->out, fault);
    return finish(&w);
}

static int stream_send(alk_connection *c, struct stream *s)
{
    int rc = ALK_OK;

    while (s->out.len) {
        uint32_t n;

        memcpy(&n, buf_at(&s->out), sizeof n);
        rc = c->link.send(c->link.ud, s->id, buf_at(&s->out) + sizeof n, n);
        if (rc)
            return rc;
        buf_consume(&s->out, sizeof n + n);
    }
    return ALK_OK;
}

int queue_send(alk_connection *c)
{
    int rc = ALK_OK;

    list_each_safe(l, &c->streams)
    {
        struct stream *s = container_of(l, struct stream, link);
        int r = stream_send(c, s);

        if (r && r != ALK_EAGAIN)
            return r;
        rc = r ? r : rc;
        if (!s->out.len)
            stream_free(c, s);
    }
    if (c->link.flush)
        c->link.flush(c->link.ud);
    return rc;
}
