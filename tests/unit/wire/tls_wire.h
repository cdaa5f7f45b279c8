/* Two TLS engines back to back, with a plain engine inside each: what one side writes, the other
 * one gets, in pieces of the test's choice. */
#ifndef ALK_TEST_TLS_WIRE_H
#define ALK_TEST_TLS_WIRE_H

#include "base/buf.h"
#include "base/list.h"
#include "wire/tls.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

/* The engine inside: keeps what comes, and says what the test wants. */
struct plain {
    struct engine e;
    struct side *side;
};

struct side {
    struct wire *w;
    struct engine *e; /* the TLS engine; NULL: gone */
    struct plain *in; /* NULL: not ready, or gone */
    struct buf got;
    char alpn[32], fingerprint[ALK_TLS_FINGERPRINT], why[160];
    bool woken, eof, refuse, finished, inner_gone, drained_off;
    bool stays; /* the engine inside has something to say behind an end of the remote's side */
    int feeds, eofs, fails, records; /* records: of application data that this side has sent */
    unsigned record_left;
    uint8_t head[5];
    size_t head_have, sent;
};

struct wire {
    struct mem mem;
    struct side server, client;
    size_t piece;
    uint64_t now;
    long allocations, fail_at;
    char folder[64];
};

static inline void *wire_realloc(void *ud, void *p, size_t n)
{
    struct wire *w = ud;

    if (!n) {
        free(p);
        return NULL;
    }
    if (++w->allocations == w->fail_at)
        return NULL;
    return realloc(p, n);
}

/* ---- the engine inside ----------------------------------------------------------------------- */

static inline void plain_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct plain *p = container_of(e, struct plain, e);

    (void)now;
    p->side->feeds++;
    if (buf_append(&p->side->got, data, len))
        e->closing = ENGINE_RESET;
}

static inline void plain_eof(struct engine *e, uint64_t now)
{
    struct plain *p = container_of(e, struct plain, e);

    (void)now;
    p->side->eof = true;
    p->side->eofs++;
    if (!p->side->stays)
        e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static inline void plain_nothing(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static inline void plain_drain(struct engine *e, uint64_t now)
{
    (void)now;
    container_of(e, struct plain, e)->side->drained_off = true;
    e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static inline void plain_timeout(struct engine *e, uint64_t now)
{
    (void)now;
    e->deadline = 0;
    e->closing = ENGINE_RESET;
}

static inline bool plain_stalled(struct engine *e, uint64_t now)
{
    plain_timeout(e, now);
    return true;
}

static inline void plain_fini(struct engine *e)
{
    struct plain *p = container_of(e, struct plain, e);

    if (p->side->in == p) {
        p->side->in = NULL;
        p->side->inner_gone = true;
    }
    buf_fini(&e->out);
    mem_free(e->out.mem, p);
}

static inline struct plain *plain_new(struct side *s)
{
    static const struct engine_ops ops = {.feed = plain_feed,
                                          .eof = plain_eof,
                                          .timeout = plain_timeout,
                                          .drained = plain_nothing,
                                          .drain = plain_drain,
                                          .stalled = plain_stalled,
                                          .fini = plain_fini};
    struct plain *p = mem_zalloc(&s->w->mem, sizeof *p);

    if (!p)
        return NULL;
    p->e.ops = &ops;
    p->e.reading = true;
    p->side = s;
    buf_init(&p->e.out, &s->w->mem);
    return p;
}

/* ---- the application ------------------------------------------------------------------------- */

static inline struct engine *side_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct side *s = ud;

    (void)now;
    snprintf(s->alpn, sizeof s->alpn, "%.*s", (int)info->alpn.n, info->alpn.p ? info->alpn.p : "");
    snprintf(s->fingerprint, sizeof s->fingerprint, "%s", info->fingerprint);
    s->in = s->refuse ? NULL : plain_new(s);
    return s->in ? &s->in->e : NULL;
}

static inline void side_failed(void *ud, const char *why)
{
    struct side *s = ud;

    s->fails++;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static inline void side_fini(void *ud)
{
    ((struct side *)ud)->finished = true;
}

static inline void side_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct side *)ud)->woken = true;
}

/* ---- the wire -------------------------------------------------------------------------------- */

/* Counts the records of application data in what the side sends. */
static inline void count_records(struct side *s, const char *p, size_t n)
{
    s->sent += n;
    while (n) {
        size_t k = s->record_left < n ? s->record_left : n;

        s->record_left -= (unsigned)k;
        p += k;
        n -= k;
        while (n && !s->record_left) {
            s->head[s->head_have++] = (uint8_t)*p++;
            n--;
            if (s->head_have == 5) {
                s->record_left = s->head[3] * 256u + s->head[4];
                s->records += s->head[0] == 23;
                s->head_have = 0;
            }
        }
    }
}

static inline void side_kill(struct side *s)
{
    struct engine *e = s->e;

    s->e = NULL;
    if (e)
        e->ops->fini(e);
}

/* As lib/uv does it: the engine's steps, then its output, then the close. */
static inline bool side_turn(struct side *s, struct side *to)
{
    struct wire *w = s->w;
    bool moved = false;

    if (!s->e)
        return false;
    for (int i = 0; s->woken && i < 10; i++) {
        s->woken = false;
        s->e->ops->drained(s->e, w->now);
    }
    if (s->e->closing == ENGINE_RESET) {
        side_kill(s);
        if (to->e)
            to->e->ops->eof(to->e, w->now);
        return true;
    }
    engine_flush(s->e, w->now);
    while (s->e->out.len && (!to->e || to->e->reading)) {
        size_t n = s->e->out.len < w->piece ? s->e->out.len : w->piece;

        moved = true;
        count_records(s, buf_at(&s->e->out), n);
        if (to->e)
            to->e->ops->feed(to->e, buf_at(&s->e->out), n, w->now);
        to->woken = true;
        buf_consume(&s->e->out, n);
        if (!s->e->out.len) {
            s->e->ops->drained(s->e, w->now);
            engine_flush(s->e, w->now);
        }
    }
    if (s->e->closing && !s->e->out.len) {
        side_kill(s);
        if (to->e)
            to->e->ops->eof(to->e, w->now);
        to->woken = true;
        moved = true;
    }
    return moved;
}

static inline void wire_run(struct wire *w)
{
    for (int i = 0; i < 10000; i++) {
        bool a = side_turn(&w->client, &w->server), b = side_turn(&w->server, &w->client);

        if (!a && !b && !(w->client.e && w->client.woken) && !(w->server.e && w->server.woken))
            return;
    }
    ck_abort_msg("the wire does not come to rest");
}

static inline struct wire *wire_new(void)
{
    struct wire *w = calloc(1, sizeof *w);

    mem_init(&w->mem, wire_realloc, w);
    w->piece = 65536;
    w->now = 5000 * MS;
    snprintf(w->folder, sizeof w->folder, "/tmp/tls.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->folder));
    return w;
}

static inline const char *wire_path(struct wire *w, const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *p = paths[next++ % 8];

    snprintf(p, sizeof paths[0], "%s/%s", w->folder, name);
    return p;
}

/* The files NAME.crt and NAME.key, for these names. */
static inline void wire_sign(struct wire *w, const char *name, const char *names)
{
    char crt[140], key[140], why[200] = "";

    snprintf(crt, sizeof crt, "%s/%s.crt", w->folder, name);
    snprintf(key, sizeof key, "%s/%s.key", w->folder, name);
    ck_assert_msg(!alk_tls_self_sign(crt, key, names, 30, why, sizeof why), "%s", why);
}

static inline char *wire_pairs(struct wire *w, const char *name)
{
    static char json[4][400];
    static unsigned next;
    char *p = json[next++ % 4];

    snprintf(p, sizeof json[0], "[{\"certificate\":\"%s/%s.crt\",\"key\":\"%s/%s.key\"}]",
             w->folder, name, w->folder, name);
    return p;
}

static inline alk_tls *make_tls(const alk_tls_options *o)
{
    char why[300] = "";
    alk_tls *t;
    int rc = alk_tls_new(&t, o, why, sizeof why);

    ck_assert_msg(!rc, "%d: %s", rc, why);
    return t;
}

static const char *const ALL[] = {"alknet/call", "h2", "http/1.1", NULL};
static const struct tls_app side_app = {side_ready, side_failed, side_fini};

static inline void side_open(struct side *s, struct wire *w, struct engine *e)
{
    s->w = w;
    s->e = e;
    buf_init(&s->got, &w->mem);
    if (!e)
        return;
    e->wake = side_wake;
    e->wake_ud = s;
    s->woken = true;
}

/* host NULL: "localhost"; alpn NULL: all. */
static inline void wire_open(struct wire *w, alk_tls *server, alk_tls *client, const char *host,
                             const char *const *alpn)
{
    struct tls_config *s = tls_current(server), *c = tls_current(client);

    w->server.w = w->client.w = w;
    side_open(&w->server, w,
              tls_accept(&w->mem, s, ALL, &side_app, &w->server, NULL, w->now + 1000 * MS));
    side_open(&w->client, w,
              tls_connect(&w->mem, c, host ? host : "localhost", alpn ? alpn : ALL, &side_app,
                          &w->client, w->now + 1000 * MS));
    tls_config_unref(s);
    tls_config_unref(c);
}

static inline void wire_close(struct wire *w)
{
    side_kill(&w->client);
    side_kill(&w->server);
    buf_fini(&w->client.got);
    buf_fini(&w->server.got);
    memset(&w->client, 0, sizeof w->client);
    memset(&w->server, 0, sizeof w->server);
}

static inline void wire_free(struct wire *w)
{
    char command[100];

    wire_close(w);
    ck_assert_uint_eq(w->mem.live, 0);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    ck_assert_int_eq(system(command), 0);
    free(w);
}

static inline void side_say(struct side *s, const char *data, size_t len)
{
    ck_assert_ptr_nonnull(s->in);
    ck_assert_int_eq(buf_append(&s->in->e.out, data, len), 0);
    s->woken = true;
}

static inline bool side_got(const struct side *s, const char *text)
{
    return s->got.len == strlen(text) && !memcmp(buf_at(&s->got), text, s->got.len);
}

#endif
