/* An engine that holds another one and is TLS to the outside (tls.h).
 *
 * In: ciphertext is decrypted record by record as long as the engine inside reads; what is left
 * waits in `kept`, which is no more than one read of the transport, since nothing is read then.
 *
 * Out: the engine inside fills its own output. It is encrypted when the transport is about to
 * write, so that what a turn has made is one chain of records, and only so far that AHEAD waits
 * outside: the rest stays where it is counted, judged and given up, inside. To the engine inside,
 * what waits outside is in flight.
 *
 * The end: the inner engine's closing is obeyed when its last byte is encrypted, with a goodbye
 * (close_notify) behind it. An end without that, from either side, is a cut. */
#include "base/list.h"
#include "wire/tls.h"

#include <string.h>

#define AHEAD 65536u
#define PIECE 16384u /* of plain text: a record's most */

struct tls_engine {
    struct engine e;
    struct engine *inner; /* NULL: the handshake is under way, or has failed */
    struct tls *tls;
    const struct tls_app *app;
    void *ud;
    const char *fed; /* ciphertext of the present feed that has not been taken */
    size_t fed_len;
    struct buf kept;
    uint64_t handshake_end;
    bool server, begun; /* begun: a byte has come */
    bool upgraded;      /* the inner engine has changed: it reads on behind the next flush */
};

static struct tls_engine *of_engine(struct engine *e)
{
    return container_of(e, struct tls_engine, e);
}

/* ---- ciphertext ------------------------------------------------------------------------------ */

static size_t get(void *ud, void *to, size_t size)
{
    struct tls_engine *t = ud;
    bool kept = t->kept.len > 0;
    size_t have = kept ? t->kept.len : t->fed_len, n = have < size ? have : size;

    if (!n)
        return 0;
    memcpy(to, kept ? buf_at(&t->kept) : t->fed, n);
    if (kept) {
        buf_consume(&t->kept, n);
    } else {
        t->fed += n;
        t->fed_len -= n;
    }
    return n;
}

/* Never refused by who pays: it is no more than AHEAD, and what it is made of has been paid for. */
static int put(void *ud, const void *data, size_t len)
{
    struct tls_engine *t = ud;
    struct meter *m = t->e.out.meter;
    int rc;

    buf_charge(&t->e.out, NULL);
    rc = buf_append(&t->e.out, data, len);
    buf_charge(&t->e.out, m);
    return rc;
}

static size_t unsent(const struct tls_engine *t)
{
    return t->e.out.len + t->e.inflight;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void cut(struct tls_engine *t)
{
    t->e.closing = ENGINE_RESET;
}

/* The alert that says why is in the output. */
static void fail(struct tls_engine *t, const char *why)
{
    char text[128];

    if (!why)
        tls_reason(t->tls, text, sizeof text);
    t->e.closing = ENGINE_FLUSH_AND_CLOSE;
    t->app->failed(t->ud, why ? why : text);
}

/* Once the inner engine has nothing more to say. */
static void follow(struct tls_engine *t)
{
    if (!t->inner)
        return;
    if (t->inner->closing == ENGINE_RESET) {
        cut(t);
    } else if (t->inner->closing && !t->e.closing && !t->inner->out.len) {
        tls_say_goodbye(t->tls);
        t->e.closing = ENGINE_FLUSH_AND_CLOSE;
    }
}

/* ---- the engine inside ----------------------------------------------------------------------- */

static void wake_inner(struct engine *e, void *ud)
{
    struct tls_engine *t = ud;

    (void)e;
    t->e.wake(&t->e, t->e.wake_ud);
}

/* Behind each entry of the inner engine. */
static void inner_ran(struct tls_engine *t)
{
    while (t->inner->successor) {
        t->inner = engine_succeed(t->inner);
        t->upgraded = true;
    }
}

static void ready(struct tls_engine *t, uint64_t now)
{
    struct tls_info info = {tls_alpn(t->tls), tls_fingerprint(t->tls)};

    t->inner = t->app->ready(t->ud, &info, now);
    if (!t->inner) {
        tls_say_goodbye(t->tls);
        t->e.closing = ENGINE_FLUSH_AND_CLOSE;
        return;
    }
    t->inner->wake = wake_inner;
    t->inner->wake_ud = t;
    t->e.wake(&t->e, t->e.wake_ud);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* A client that speaks no TLS is told so in the words that it understands (a browser shows them).
 * Every record of a handshake begins with 22. */
static bool is_plain_http(const struct tls_engine *t)
{
    return t->server && !t->begun && t->fed_len && t->fed[0] >= 'A' && t->fed[0] <= 'Z';
}

static void refuse_plain(struct tls_engine *t)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                                 "Content-Length: 42\r\nConnection: close\r\n\r\n"
                                 "This port speaks TLS: the URL is https://\n";

    put(t, answer, sizeof answer - 1);
    fail(t, "plain HTTP on a port of TLS");
}

static void shake(struct tls_engine *t, uint64_t now)
{
    int rc = tls_handshake(t->tls);

    if (rc == TLS_DONE)
        ready(t, now);
    else if (rc == TLS_FAILED)
        fail(t, NULL);
}

/* A record at a time; false: nothing more can be done now. */
static bool take(struct tls_engine *t, uint64_t now)
{
    char piece[PIECE];
    int n = tls_read(t->tls, piece, sizeof piece);

    if (n == TLS_WANT)
        return false;
    if (n > 0)
        t->inner->ops->feed(t->inner, piece, (size_t)n, now);
    else if (n == TLS_CLOSED)
        t->inner->ops->eof(t->inner, now);
    else
        t->e.closing = ENGINE_FLUSH_AND_CLOSE; /* behind the alert */
    mem_wipe(piece, n > 0 ? (size_t)n : 0);
    if (t->e.closing)
        return false;
    inner_ran(t);
    follow(t);
    return n != TLS_CLOSED;
}

/* What comes behind the inner engine's end is nobody's. */
static void pump(struct tls_engine *t, uint64_t now)
{
    if (!t->inner && !t->e.closing)
        shake(t, now);
    while (t->inner && !t->e.closing && !t->inner->closing && t->inner->reading && !t->upgraded) {
        if (!take(t, now))
            break;
    }
    if (t->e.closing || (t->inner && t->inner->closing)) {
        buf_fini(&t->kept);
        t->fed_len = 0;
    }
}

/* Behind each entry: the fields that the transport obeys. */
static void settle(struct tls_engine *t)
{
    struct engine *e = &t->e, *inner = t->inner;

    follow(t);
    if (!t->kept.len)
        buf_fini(&t->kept);
    e->reading = e->closing || (!t->kept.len && !t->upgraded && (!inner || inner->reading));
    e->deadline = inner ? inner->deadline : e->closing ? 0 : t->handshake_end;
    if (inner) {
        e->patience = inner->patience;
        e->rate = inner->rate;
    }
}

/* Kept beyond the feed, and counted like the inner engine's output. */
static void keep(struct tls_engine *t)
{
    if (!t->fed_len)
        return;
    if (buf_append(&t->kept, t->fed, t->fed_len))
        cut(t);
    t->fed_len = 0;
}

static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (e->closing)
        return;
    t->fed = data;
    t->fed_len = len;
    if (is_plain_http(t)) {
        refuse_plain(t);
        t->fed_len = 0;
    }
    t->begun = true;
    pump(t, now);
    keep(t);
    settle(t);
}

static void eof(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (e->closing)
        return;
    if (t->inner) {
        t->inner->ops->eof(t->inner, now);
        inner_ran(t);
    } else {
        fail(t, "the remote has closed the connection");
        cut(t);
    }
    settle(t);
}

static void timeout(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (e->closing == ENGINE_RESET || !e->deadline || now < e->deadline)
        return;
    if (t->inner) {
        t->inner->ops->timeout(t->inner, now);
        inner_ran(t);
    } else {
        fail(t, "the handshake took too long");
        cut(t);
    }
    settle(t);
}

static void drained(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (t->inner) {
        t->inner->inflight = unsent(t);
        t->inner->ops->drained(t->inner, now);
        inner_ran(t);
    }
    pump(t, now);
    settle(t);
}

/* Who pays for an answer pays for its ciphertext. */
static void flush(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);
    struct engine *inner = t->inner;
    bool waits = t->upgraded;

    if (!inner || e->closing == ENGINE_RESET)
        return;
    engine_flush(inner, now);
    buf_charge(&e->out, inner->out.meter);
    while (inner->out.len && !e->closing && unsent(t) < AHEAD) {
        size_t n = inner->out.len < PIECE ? inner->out.len : PIECE;
        int taken = tls_write(t->tls, buf_at(&inner->out), n);

        if (taken < 0) {
            cut(t);
            break;
        }
        buf_consume(&inner->out, (size_t)taken);
    }
    inner->inflight = unsent(t);
    t->upgraded = false;
    if (waits)
        e->wake(e, e->wake_ud);
    settle(t);
}

static bool pressed(const struct engine *e)
{
    const struct engine *inner = container_of(e, const struct tls_engine, e)->inner;

    if (inner && inner->ops->pressed)
        return inner->ops->pressed(inner);
    return inner && meter_pressed(inner->out.meter);
}

/* A handshake is nothing that anybody waits for. */
static void drain(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (e->closing)
        return;
    if (t->inner) {
        t->inner->ops->drain(t->inner, now);
        inner_ran(t);
    } else {
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    }
    settle(t);
}

static bool stalled(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);
    bool slow = true;

    if (t->inner) {
        slow = t->inner->ops->stalled(t->inner, now);
        settle(t);
    }
    if (!t->inner || t->inner->closing)
        cut(t);
    return slow;
}

static void fini(struct engine *e)
{
    struct tls_engine *t = of_engine(e);
    const struct tls_app *app = t->app;
    void *ud = t->ud;
    bool spoken = t->inner != NULL;

    /* Who pays may go with the inner engine. */
    buf_charge(&e->out, NULL);
    if (spoken)
        t->inner->ops->fini(t->inner);
    tls_free(t->tls);
    buf_fini(&t->kept);
    buf_fini(&e->out);
    mem_free(e->out.mem, t);
    if (!spoken)
        app->fini(ud);
}

static const struct engine_ops ops = {.feed = feed,
                                      .eof = eof,
                                      .timeout = timeout,
                                      .drained = drained,
                                      .flush = flush,
                                      .pressed = pressed,
                                      .drain = drain,
                                      .stalled = stalled,
                                      .fini = fini};

static struct engine *make(struct mem *mem, struct tls_config *c, const char *host,
                           const char *const *alpn, const struct tls_app *app, void *ud,
                           uint64_t deadline)
{
    struct tls_engine *t = mem_zalloc(mem, sizeof *t);
    struct tls_io io = {get, put, t};

    if (!t)
        return NULL;
    t->e.ops = &ops;
    t->app = app;
    t->ud = ud;
    t->server = !host;
    t->handshake_end = deadline;
    buf_init(&t->e.out, mem);
    buf_init(&t->kept, mem);
    t->tls = tls_new(c, host, alpn, &io);
    if (!t->tls) {
        mem_free(mem, t);
        return NULL;
    }
    /* A client speaks first. */
    if (host)
        tls_handshake(t->tls);
    settle(t);
    return &t->e;
}

struct engine *tls_accept(struct mem *mem, struct tls_config *c, const char *const *alpn,
                          const struct tls_app *app, void *ud, uint64_t deadline)
{
    return make(mem, c, NULL, alpn, app, ud, deadline);
}

struct engine *tls_connect(struct mem *mem, struct tls_config *c, const char *host,
                           const char *const *alpn, const struct tls_app *app, void *ud,
                           uint64_t deadline)
{
    return make(mem, c, host, alpn, app, ud, deadline);
}
