/* The client's side of the handshake, on llhttp in its strict mode.
 *
 * llhttp finds fields; of these, only what RFC 6455, section 4.1 tells a client to check is kept,
 * as flags, and the verdict falls when the head is whole. opened or refused is called exactly once:
 * told guards it, whichever of an answer, the end of the stream, a shutdown or fini comes first.
 * answer_bytes bounds the answer and with it all buffers here. */
#include "wire/ws_opening.h"

#include "base/list.h"
#include "base/str.h"
#include "wire/ws_handshake.h"

#include <llhttp.h>
#include <string.h>

enum {
    FIELD_OTHER,
    FIELD_UPGRADE,
    FIELD_CONNECTION,
    FIELD_ACCEPT,
    FIELD_EXTENSIONS,
    FIELD_PROTOCOL
};

struct opening {
    struct engine e;
    const struct ws_opening_app *app;
    void *ud;
    llhttp_t parser;
    const char *protocol;
    char accept[WS_ACCEPT_SIZE + 1];
    struct buf name, value, body;
    uint32_t left; /* bytes of the answer that we still read */
    bool upgrade, connection, accepted, extensions, protocol_wrong, whole, told;
};

static struct opening *of_parser(llhttp_t *p)
{
    return container_of(p, struct opening, parser);
}

/* ---- the answer's head ---- */

static int on_name(llhttp_t *p, const char *at, size_t n)
{
    return buf_append(&of_parser(p)->name, at, n);
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    return buf_append(&of_parser(p)->value, at, n);
}

/* An empty buffer has no memory to point to. */
static struct str text_of(const struct buf *b)
{
    return b->len ? (struct str){buf_at(b), b->len} : (struct str){"", 0};
}

/* lower is in lower case. */
static bool same(struct str s, const char *lower)
{
    if (s.n != strlen(lower))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 'a' - 'A') : s.p[i];

        if (c != lower[i])
            return false;
    }
    return true;
}

/* Whether a comma-separated list (RFC 9110, section 5.6.1) has the element. */
static bool lists(struct str list, const char *element)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t len = comma ? (size_t)(comma - list.p) : list.n, begin = 0, end = len;

        while (begin < end && (list.p[begin] == ' ' || list.p[begin] == '\t'))
            begin++;
        while (end > begin && (list.p[end - 1] == ' ' || list.p[end - 1] == '\t'))
            end--;
        if (same((struct str){list.p + begin, end - begin}, element))
            return true;
        list.p += len + (comma != NULL);
        list.n -= len + (comma != NULL);
    }
    return false;
}

/* A field may come twice. Upgrade and Connection are lists and add up (RFC 9110, section 5.3); of
 * the accept value the last one counts, of the subprotocol any wrong one. */
static int on_value_complete(llhttp_t *p)
{
    struct opening *o = of_parser(p);
    struct str name = text_of(&o->name), value = text_of(&o->value);

    if (same(name, "upgrade"))
        o->upgrade |= lists(value, "websocket");
    else if (same(name, "connection"))
        o->connection |= lists(value, "upgrade");
    else if (same(name, "sec-websocket-accept"))
        o->accepted = str_is(value, o->accept);
    else if (same(name, "sec-websocket-extensions"))
        o->extensions = true;
    else if (same(name, "sec-websocket-protocol"))
        o->protocol_wrong |= !str_is(value, o->protocol);
    buf_truncate(&o->name, 0);
    buf_truncate(&o->value, 0);
    return 0;
}

/* Bounded by answer_bytes, like all of the answer. */
static int on_body(llhttp_t *p, const char *at, size_t n)
{
    return buf_append(&of_parser(p)->body, at, n);
}

/* What is informational comes before the answer (RFC 9110, 15.2). */
static int on_message_complete(llhttp_t *p)
{
    if (p->status_code < 200 && p->status_code != 101)
        return 0;
    of_parser(p)->whole = true;
    return HPE_PAUSED;
}

/* ---- the outcome ---- */

/* Further input is read and dropped, so that the close is no reset. */
static void refuse(struct opening *o, int status, const char *what)
{
    if (o->told)
        return;
    o->told = true;
    o->e.closing = ENGINE_FLUSH_AND_CLOSE;
    o->e.reading = true;
    o->app->refused(o->ud, status, what, buf_append(&o->body, "", 1) ? "" : buf_at(&o->body));
}

/* RFC 6455, section 4.1, items 2 to 6 of the client's checks. An answer that was there before our
 * request went out answers another one. */
static const char *fault(const struct opening *o)
{
    return !o->upgrade                     ? "the answer does not upgrade to websocket"
           : !o->connection                ? "the answer's Connection has no upgrade"
           : !o->accepted                  ? "Sec-WebSocket-Accept is wrong"
           : o->extensions                 ? "an extension was not offered"
           : o->protocol_wrong             ? "the subprotocol was not offered"
           : o->e.out.len || o->e.inflight ? "an answer came before the request was sent"
                                           : NULL;
}

/* The successor is fed before the transport has it: what it writes meanwhile waits in its own
 * out. */
static void judge(struct opening *o, const char *rest, size_t n, uint64_t now)
{
    const char *what = fault(o);

    if (o->parser.status_code != 101) {
        refuse(o, o->parser.status_code, "the server refused the upgrade");
        return;
    }
    if (what) {
        refuse(o, 101, what);
        return;
    }
    o->told = true;
    o->e.successor = o->app->opened(o->ud, now);
    if (!o->e.successor)
        o->e.closing = ENGINE_RESET;
    else if (n)
        o->e.successor->ops->feed(o->e.successor, rest, n, now);
}

/* ---- the engine ---- */

/* Frames that came behind the answer are the successor's (judge feeds them). */
static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct opening *o = container_of(e, struct opening, e);
    size_t n = len < o->left ? len : o->left;
    enum llhttp_errno rc;
    const char *stop;

    if (e->closing || o->told)
        return;
    rc = llhttp_execute(&o->parser, data, n);
    o->left -= (uint32_t)n;
    stop = rc == HPE_OK ? data + n : llhttp_get_error_pos(&o->parser);
    if (rc == HPE_PAUSED_UPGRADE || (rc == HPE_PAUSED && o->whole))
        judge(o, stop, len - (size_t)(stop - data), now);
    else if (rc != HPE_OK)
        refuse(o, 0, "the answer is not HTTP/1.1");
    else if (!o->left)
        refuse(o, o->parser.status_code, "the answer is too long");
}

static void eof(struct engine *e, uint64_t now)
{
    struct opening *o = container_of(e, struct opening, e);

    (void)now;
    /* A refusal without a length ends with the connection. */
    llhttp_finish(&o->parser);
    if (o->whole && !o->told)
        judge(o, NULL, 0, now);
    refuse(o, 0, "the server closed the connection");
    e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static void nothing(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

/* There is nothing to finish before the handshake is over. */
static void leave(struct engine *e, uint64_t now)
{
    struct opening *o = container_of(e, struct opening, e);

    (void)now;
    refuse(o, 0, "shutting down");
    e->closing = ENGINE_RESET;
}

static bool stalled(struct engine *e, uint64_t now)
{
    leave(e, now);
    return false;
}

static void fini(struct engine *e)
{
    struct opening *o = container_of(e, struct opening, e);
    struct mem *mem = e->out.mem;
    bool gone = !e->successor;

    buf_fini(&o->name);
    buf_fini(&o->value);
    refuse(o, 0, "the connection was lost");
    buf_fini(&o->body);
    buf_fini(&e->out);
    if (gone)
        o->app->fini(o->ud);
    mem_free(mem, o);
}

static const struct engine_ops ops = {
    .feed = feed,
    .eof = eof,
    .timeout = nothing,
    .drained = nothing,
    .drain = leave,
    .stalled = stalled,
    .fini = fini,
};

static const llhttp_settings_t settings = {
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static int write_request(struct opening *o, const struct ws_request *rq, const char *key)
{
    struct buf *b = &o->e.out;
    int rc =
        buf_printf(b,
                   "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: %s\r\n",
                   rq->path, rq->host, key, rq->protocol);

    if (rq->token)
        rc |= buf_printf(b, "Authorization: Bearer %s\r\n", rq->token);
    return rc | buf_puts(b, "\r\n");
}

struct engine *ws_opening_new(struct mem *mem, const struct ws_request *rq,
                              const struct ws_opening_app *app, void *ud)
{
    struct opening *o = mem_zalloc(mem, sizeof *o);
    char key[WS_KEY_SIZE + 1];

    if (!o)
        return NULL;
    o->e.ops = &ops;
    o->e.reading = true;
    buf_init(&o->e.out, mem);
    buf_init(&o->name, mem);
    buf_init(&o->value, mem);
    buf_init(&o->body, mem);
    o->app = app;
    o->ud = ud;
    o->protocol = rq->protocol;
    o->left = rq->answer_bytes;
    llhttp_init(&o->parser, HTTP_RESPONSE, &settings);
    if (!ws_key_new(key) || write_request(o, rq, key)) {
        buf_fini(&o->e.out);
        mem_free(mem, o);
        return NULL;
    }
    ws_accept(key, o->accept);
    return &o->e;
}
