/* An engine that holds another one and is TLS to the outside (tls.h).
 *
 * In: what the transport has read is decrypted as a whole and fed in one piece, so that the engine
 * inside sees what it would see without TLS. What it does not want to read yet waits in `kept`,
 * encrypted, and nothing more is read then.
 *
 * Out: the engine inside fills its own output. It is encrypted when the transport is about to
 * write, so that what a turn has made is one chain of records, and only so far that AHEAD waits
 * outside: the rest stays where it is counted, judged and given up, inside. To the engine inside,
 * what waits outside is in flight. Who pays for that is known to live only until the engine inside
 * has nothing unsent; so an output that is empty has neither memory nor payer.
 *
 * The end: when the engine inside closes and its last byte is encrypted, a goodbye (close_notify)
 * goes behind it. Once the handshake is over, all else that TLS has to say is an alert, about a
 * broken record or a wish for another handshake; it is the last that the remote gets. */
#include "base/list.h"
#include "wire/tls.h"

#include <string.h>

#define AHEAD 65536u
#define RECORD 16384u  /* of plain text, the most (RFC 8446, 5.1) */
#define OVERHEAD 1024u /* of all records of a flush: 16 of ours, at 29 bytes or less */

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
    bool told;          /* how the handshake has ended */
    bool ended;         /* the engine inside has been told that nothing more comes */
    bool upgraded;      /* the engine inside has changed: it reads on behind the next flush */
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

static int put(void *ud, const void *data, size_t len)
{
    return buf_append(&((struct tls_engine *)ud)->e.out, data, len);
}

static size_t waiting(const struct tls_engine *t)
{
    return t->kept.len + t->fed_len;
}

static size_t unsent(const struct tls_engine *t)
{
    return t->e.out.len + t->e.inflight;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void drop_output(struct tls_engine *t)
{
    buf_fini(&t->e.out);
    buf_charge(&t->e.out, NULL);
}

/* What is still here does not leave any more. */
static void cut(struct tls_engine *t)
{
    t->e.closing = ENGINE_RESET;
    drop_output(t);
}

/* The alert that says why is in the output. */
static void fail(struct tls_engine *t, const char *why)
{
    char text[128];

    if (!why)
        tls_reason(t->tls, text, sizeof text);
    t->e.closing = ENGINE_FLUSH_AND_CLOSE;
    t->told = true;
    t->app->failed(t->ud, why ? why : text);
}

static void inner_eof(struct tls_engine *t, uint64_t now)
{
    if (t->ended)
        return;
    t->ended = true;
    t->inner->ops->eof(t->inner, now);
}

/* ---- the engine inside ----------------------------------------------------------------------- */

static void wake_inner(struct engine *e, void *ud)
{
    struct tls_engine *t = ud;

    (void)e;
    t->e.wake(&t->e, t->e.wake_ud);
}

/* Behind each entry of the engine inside. Who pays may go with the one that is succeeded, and an end
 * that this one was told of is the other's, too. */
static void inner_ran(struct tls_engine *t, uint64_t now)
{
    while (t->inner->successor) {
        buf_charge(&t->e.out, t->inner->successor->out.meter);
        t->inner = engine_succeed(t->inner);
        t->upgraded = true;
        if (t->ended)
            t->inner->ops->eof(t->inner, now);
    }
}

static void ready(struct tls_engine *t, uint64_t now)
{
    struct tls_info info = {tls_alpn(t->tls), tls_fingerprint(t->tls)};

    t->told = true;
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

/* Fills `to` with plain text; *end is then TLS_DONE, or why there is no more. A record that says
 * nothing to the application stops tls_read: it is called again as long as it takes something. */
static size_t decrypt(struct tls_engine *t, char *to, size_t size, int *end)
{
    size_t have = 0, said = t->e.out.len;

    *end = TLS_DONE;
    while (have < size) {
        size_t before = waiting(t);
        int n = tls_read(t->tls, to + have, size - have);

        if (t->e.out.len > said)
            n = TLS_FAILED;
        if (n > 0) {
            have += (size_t)n;
        } else if (n != TLS_WANT || waiting(t) == before) {
            *end = n;
            break;
        }
    }
    return have;
}

/* One feed of the engine inside; false: nothing more can be done now. */
static bool take(struct tls_engine *t, uint64_t now)
{
    struct mem *mem = t->e.out.mem;
    size_t size = waiting(t) + RECORD, n;
    char *plain = mem_alloc(mem, size);
    int end;

    if (!plain) {
        cut(t);
        return false;
    }
    n = decrypt(t, plain, size, &end);
    if (n)
        t->inner->ops->feed(t->inner, plain, n, now);
    mem_wipe(plain, n);
    mem_free(mem, plain);
    if (end == TLS_CLOSED)
        inner_eof(t, now);
    inner_ran(t, now);
    if (end == TLS_FAILED)
        t->e.closing = ENGINE_FLUSH_AND_CLOSE;
    return end == TLS_DONE;
}

/* What comes behind an end, of either side, is nobody's. */
static void pump(struct tls_engine *t, uint64_t now)
{
    if (!t->inner && !t->e.closing)
        shake(t, now);
    while (t->inner && !t->e.closing && !t->inner->closing && t->inner->reading && !t->upgraded &&
           !t->ended) {
        if (!take(t, now))
            break;
    }
    if (t->e.closing || t->ended || (t->inner && t->inner->closing)) {
        buf_fini(&t->kept);
        t->fed_len = 0;
    }
}

/* Behind each entry: the fields that the transport obeys. A closing engine does not come back: the
 * one inside may only make it worse. */
static void settle(struct tls_engine *t)
{
    struct engine *e = &t->e, *inner = t->inner;

    if (inner && inner->closing == ENGINE_RESET)
        cut(t);
    if (!t->kept.len)
        buf_fini(&t->kept);
    e->reading = e->closing || (!t->kept.len && !t->upgraded && (!inner || inner->reading));
    e->deadline = inner ? inner->deadline : e->closing ? 0 : t->handshake_end;
    if (inner) {
        e->patience = inner->patience;
        e->rate = inner->rate;
    }
}

static void keep(struct tls_engine *t)
{
    if (t->fed_len && buf_append(&t->kept, t->fed, t->fed_len))
        cut(t);
    t->fed_len = 0;
}

static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (e->closing || t->ended)
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
        inner_eof(t, now);
        inner_ran(t, now);
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
        inner_ran(t, now);
    } else {
        fail(t, "the handshake took too long");
        cut(t);
    }
    settle(t);
}

static void drained(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);

    if (!e->out.len)
        drop_output(t);
    if (t->inner) {
        t->inner->inflight = unsent(t);
        t->inner->ops->drained(t->inner, now);
        inner_ran(t, now);
    }
    pump(t, now);
    settle(t);
}

/* As much as may wait outside. Nobody is asked for room: it takes the place of what has been paid
 * for. */
static void encrypt(struct tls_engine *t)
{
    struct engine *e = &t->e, *inner = t->inner;
    size_t left = unsent(t) < AHEAD ? AHEAD - unsent(t) : 0;
    size_t n = inner->out.len < left ? inner->out.len : left;

    if (n && !buf_reserve(&e->out, n + OVERHEAD)) {
        cut(t);
        return;
    }
    while (n) {
        int taken = tls_write(t->tls, buf_at(&inner->out), n);

        if (taken < 0) {
            cut(t);
            return;
        }
        buf_consume(&inner->out, (size_t)taken);
        n -= (size_t)taken;
    }
    if (inner->out.len)
        return;
    buf_fini(&inner->out);
    if (inner->closing) {
        tls_say_goodbye(t->tls);
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    }
}

/* Who pays for an answer pays for its ciphertext. */
static void flush(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);
    struct engine *inner = t->inner;

    if (!inner || e->closing)
        return;
    engine_flush(inner, now);
    buf_charge(&e->out, NULL);
    if (inner->closing != ENGINE_RESET)
        encrypt(t);
    if (e->out.len)
        buf_charge(&e->out, inner->out.meter);
    else
        buf_fini(&e->out);
    inner->inflight = unsent(t);
    if (t->upgraded) {
        t->upgraded = false;
        e->wake(e, e->wake_ud);
    }
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
        inner_ran(t, now);
    } else {
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    }
    settle(t);
}

/* Nobody can wait for a handshake to be read, or for a goodbye. */
static bool stalled(struct engine *e, uint64_t now)
{
    struct tls_engine *t = of_engine(e);
    bool slow = t->inner != NULL;

    if (slow)
        slow = t->inner->ops->stalled(t->inner, now);
    if (!t->inner || e->closing)
        cut(t);
    settle(t);
    return slow;
}

static void fini(struct engine *e)
{
    struct tls_engine *t = of_engine(e);
    const struct tls_app *app = t->app;
    void *ud = t->ud;
    bool spoken = t->inner != NULL;

    if (!t->told)
        fail(t, "the connection was lost");
    /* Who pays may go with the engine inside. */
    buf_fini(&t->kept);
    drop_output(t);
    if (spoken)
        t->inner->ops->fini(t->inner);
    tls_free(t->tls);
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
                           struct meter *m, uint64_t deadline)
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
    buf_charge(&t->kept, m);
    t->tls = tls_new(c, host, alpn, &io);
    if (!t->tls) {
        mem_free(mem, t);
        return NULL;
    }
    /* A client speaks first; if it cannot, the next step says so. */
    if (host)
        tls_handshake(t->tls);
    settle(t);
    return &t->e;
}

struct engine *tls_accept(struct mem *mem, struct tls_config *c, const char *const *alpn,
                          const struct tls_app *app, void *ud, struct meter *m, uint64_t deadline)
{
    return make(mem, c, NULL, alpn, app, ud, m, deadline);
}

struct engine *tls_connect(struct mem *mem, struct tls_config *c, const char *host,
                           const char *const *alpn, const struct tls_app *app, void *ud,
                           uint64_t deadline)
{
    return make(mem, c, host, alpn, app, ud, NULL, deadline);
}
