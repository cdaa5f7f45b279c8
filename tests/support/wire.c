/* Implements wire.h. */
#include "support/wire.h"

#include <stdio.h>
#include <string.h>

static int on_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct wire *r = ud;
    char *copy;

    must(!r->closes);
    if (r->send_error)
        return r->send_error;
    if (!r->room)
        return ALK_EAGAIN;
    r->room -= r->room > 0;
    if (!(r->count & (r->count + 1))) {
        r->sent = realloc(r->sent, 2 * (r->count + 1) * sizeof *r->sent);
        r->streams = realloc(r->streams, 2 * (r->count + 1) * sizeof *r->streams);
    }
    copy = malloc(len + 1);
    must(copy && r->sent && r->streams);
    memcpy(copy, envelope, len);
    copy[len] = 0;
    must(strlen(copy) == len);
    r->streams[r->count] = stream;
    r->sent[r->count++] = copy;
    return ALK_OK;
}

static void on_flush(void *ud)
{
    struct wire *r = ud;

    must(!r->closes);
    r->flushes++;
}

static void on_pause(void *ud, uint64_t stream, int paused)
{
    struct wire *r = ud;

    ck_assert_int_eq(r->closes, 0);
    r->last_paused = stream;
    if (paused)
        r->pauses++;
    else
        r->resumes++;
    if (!stream)
        r->paused = paused;
}

static uint64_t on_open_stream(void *ud)
{
    struct wire *r = ud;

    return WIRE_STREAMS + r->opened++;
}

static void on_close(void *ud, int code)
{
    struct wire *r = ud;

    r->closes++;
    r->close_code = code;
}

static struct wire *open_with(struct world *w, const alk_connection_options *o,
                              const alk_link *link)
{
    alk_connection_options none = {.size = sizeof none};
    struct wire *r = calloc(1, sizeof *r);
    alk_link l = *link;

    ck_assert_ptr_nonnull(r);
    r->world = w;
    r->room = -1;
    l.size = sizeof l;
    l.ud = r;
    ck_assert_int_eq(alk_connection_open(&r->conn, w->d, &l, o ? o : &none), ALK_OK);
    return r;
}

struct wire *wire_open(struct world *w, const alk_connection_options *o)
{
    const alk_link link = {
        .send = on_send, .flush = on_flush, .pause = on_pause, .close = on_close};

    return open_with(w, o, &link);
}

struct wire *wire_open_streams(struct world *w, const alk_connection_options *o)
{
    const alk_link link = {.send = on_send,
                           .flush = on_flush,
                           .pause = on_pause,
                           .close = on_close,
                           .open_stream = on_open_stream};

    return open_with(w, o, &link);
}

struct wire *wire_open_plain(struct world *w, const alk_connection_options *o)
{
    const alk_link link = {.send = on_send, .close = on_close};

    return open_with(w, o, &link);
}

void wire_free(struct wire *r)
{
    alk_connection_close(r->conn, ALK_CLOSE_SHUTDOWN);
    world_turn(r->world);
    alk_connection_unref(r->conn);
    for (size_t i = 0; i < r->count; i++)
        free(r->sent[i]);
    free(r->sent);
    free(r->streams);
    free(r);
}

int wire_feed(struct wire *r, const char *envelope)
{
    return wire_feed_on(r, 0, envelope);
}

int wire_feed_on(struct wire *r, uint64_t stream, const char *envelope)
{
    return alk_connection_feed(r->conn, stream, envelope, strlen(envelope));
}

int wire_feed_bytes(struct wire *r, const void *data, size_t len)
{
    return alk_connection_feed(r->conn, 0, data, len);
}

void wire_request_with(struct wire *r, const char *id, const char *operation, const char *input,
                       const char *extra)
{
    size_t size = strlen(id) + strlen(operation) + strlen(input) + strlen(extra) + 128;
    char *text = malloc(size);

    must(text);
    snprintf(text, size,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"%s\","
             "\"input\":%s%s}}",
             id, operation, input, extra);
    must(wire_feed(r, text) == ALK_OK);
    free(text);
}

void wire_request(struct wire *r, const char *id, const char *operation, const char *input)
{
    wire_request_with(r, id, operation, input, "");
}

void wire_abort(struct wire *r, const char *id)
{
    char text[512];

    snprintf(text, sizeof text, "{\"type\":\"call.aborted\",\"id\":\"%s\",\"payload\":{}}", id);
    ck_assert_int_eq(wire_feed(r, text), ALK_OK);
}

const char *wire_next(struct wire *r)
{
    world_turn(r->world);
    return r->read < r->count ? r->sent[r->read++] : NULL;
}

/* The string member's raw text. */
static void member(const char *envelope, const char *name, char *out, size_t size)
{
    char key[64];
    const char *p;
    size_t n = 0;

    snprintf(key, sizeof key, "\"%s\":\"", name);
    p = strstr(envelope, key);
    ck_assert_ptr_nonnull(p);
    p += strlen(key);
    while (p[n] && p[n] != '"')
        n += p[n] == '\\' ? 2 : 1;
    ck_assert_uint_lt(n, size);
    memcpy(out, p, n);
    out[n] = 0;
}

const char *wire_id(const char *envelope)
{
    static char id[300];

    member(envelope, "id", id, sizeof id);
    return id;
}

const char *wire_error(struct wire *r)
{
    static char text[2048];
    char id[300], code[200], message[1024];
    const char *e = wire_next(r);

    if (!e)
        return "(nothing was sent)";
    if (!strstr(e, "{\"type\":\"call.error\""))
        return e;
    member(e, "id", id, sizeof id);
    member(e, "code", code, sizeof code);
    member(e, "message", message, sizeof message);
    snprintf(text, sizeof text, "%s %s: %s", id, code, message);
    return text;
}
