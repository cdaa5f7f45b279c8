/* What fuzz_quic_server.c and fuzz_quic_client.c have in common: the engine on one side, a bare
 * ngtcp2 (quic_raw.h) on the other, and a script for what happens between them.
 *
 * The keys of a handshake are new each time, so bytes of its packets would not replay. What replays
 * is what goes into packets before they are encrypted: frames in packets of each kind, bytes of
 * streams, and what is altered on the way. Initials alone can be written down as they are.
 *
 * It must hold: the engine's contract (wire/quic.h); who has not proved his address gets no more
 * than three times what came from there; memory is bounded, and all comes back. */
#ifndef TESTS_SUPPORT_QUIC_FUZZ_H
#define TESTS_SUPPORT_QUIC_FUZZ_H

#include "support/quic_raw.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define MS 1000000ull
#define HELD_MOST (8u << 20)
#define FRAME_MOST 4096u
#define STREAMS 8192u /* a script cannot have so many */

struct told {
    bool seen, ended, lost, reset, paused;
};

struct fuzz {
    struct mem mem;
    struct quic *q;
    struct quic_limits limits;
    struct quic_conn *c; /* with the raw one; NULL: none, or over */
    struct raw *r;
    struct quic_address here, there, other;
    uint64_t now;
    size_t held, from_other, to_other;
    long fail_in;
    unsigned later, alter_at, alter_by; /* alter_by: of the next datagram of the raw side */
    int readies, overs;
    bool mute;
    struct told told[STREAMS];
};

static struct fuzz *fuzz;
static uint64_t fuzz_seed;
static alk_tls *fuzz_tls[2]; /* the server's, the client's */

static int fuzz_random(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fuzz_seed = fuzz_seed * 6364136223846793005ull + 1442695040888963407ull;
        ((uint8_t *)out)[i] = (uint8_t)(fuzz_seed >> 56);
    }
    return 0;
}

static const struct host fuzz_host = {.random = fuzz_random};

static void *fuzz_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = ud;

    if (n && f->fail_in && !--f->fail_in)
        return NULL;
    if (p)
        f->held -= malloc_usable_size(p);
    if (!n) {
        free(p);
        return NULL;
    }
    p = realloc(p, n);
    f->held += malloc_usable_size(p);
    MUST(f->held <= HELD_MOST);
    return p;
}

/* ---- the engine's user ----------------------------------------------------------------------- */

static struct told *told_of(uint64_t stream)
{
    return &fuzz->told[stream % STREAMS];
}

static void on_ready(void *ud, const char *fingerprint, uint64_t now)
{
    (void)ud;
    (void)fingerprint;
    MUST(now == fuzz->now && !fuzz->readies++ && !fuzz->overs);
}

static int on_frame(void *ud, uint64_t stream, const char *data, size_t len)
{
    struct told *t = told_of(stream);

    (void)ud;
    MUST(fuzz->readies && !fuzz->overs && !t->ended && !t->lost && !t->reset && !t->paused);
    MUST(len && len <= FRAME_MOST);
    t->seen = true;
    if (fuzz->later) {
        fuzz->later--;
        return QUIC_LATER;
    }
    switch (data[0]) {
    case 'b':
        return QUIC_BROKEN;
    case 'r':
        t->reset = true;
        quic_reset(fuzz->c, stream, 5);
        break;
    case 'p':
        t->paused = true;
        quic_pause(fuzz->c, stream);
        break;
    case 'f':
        quic_finish(fuzz->c, stream);
        break;
    case 'c':
        quic_close(fuzz->c, 1, "asked for");
        break;
    default:
        quic_send(fuzz->c, stream, data, len);
    }
    return QUIC_TAKEN;
}

static uint32_t on_limit(void *ud)
{
    (void)ud;
    return FRAME_MOST;
}

static void on_ended(void *ud, uint64_t stream)
{
    struct told *t = told_of(stream);

    (void)ud;
    MUST(fuzz->readies && !fuzz->overs && !t->ended && !t->lost && !t->reset);
    t->ended = true;
}

static void on_lost(void *ud, uint64_t stream)
{
    struct told *t = told_of(stream);

    (void)ud;
    MUST(fuzz->readies && !fuzz->overs && !t->lost && !t->reset);
    t->lost = true;
}

static void on_room(void *ud, uint64_t stream)
{
    (void)ud;
    (void)stream;
    MUST(fuzz->readies && !fuzz->overs);
}

static void on_streams(void *ud)
{
    (void)ud;
    MUST(fuzz->readies && !fuzz->overs);
}

static void on_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    (void)ud;
    (void)code;
    (void)now;
    MUST(*why && !fuzz->overs++);
    fuzz->c = NULL;
}

static const struct quic_events fuzz_events = {.ready = on_ready,
                                               .frame = on_frame,
                                               .limit = on_limit,
                                               .ended = on_ended,
                                               .lost = on_lost,
                                               .room = on_room,
                                               .streams = on_streams,
                                               .over = on_over};

/* Of connections from elsewhere, or beside the one that there is. */
static void on_nobody(void *ud, const char *fingerprint, uint64_t now)
{
    (void)fingerprint;
    (void)now;
    quic_close(ud, 0, "somebody else is here");
}

static void on_end_of_nobody(void *ud, int64_t code, const char *why, uint64_t now)
{
    (void)ud;
    (void)code;
    (void)now;
    MUST(*why);
}

static const struct quic_events nobody_events = {.ready = on_nobody, .over = on_end_of_nobody};

static bool on_accept(void *ud, struct quic_conn *c, const char *address,
                      const struct quic_events **events, void **conn_ud, uint64_t now)
{
    bool is_raw = !strcmp(address, "10.0.0.2") && !fuzz->c;

    (void)ud;
    (void)now;
    *conn_ud = c;
    *events = is_raw ? &fuzz_events : &nobody_events;
    if (!is_raw)
        return true;
    fuzz->c = c;
    fuzz->readies = fuzz->overs = 0;
    memset(fuzz->told, 0, sizeof fuzz->told);
    return true;
}

static void on_wake(void *ud)
{
    (void)ud;
}

/* ---- the wire -------------------------------------------------------------------------------- */

static struct quic_address fuzz_address(uint32_t host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct quic_address a = {.len = sizeof in};

    in.sin_addr.s_addr = htonl(host);
    memcpy(a.bytes, &in, sizeof in);
    return a;
}

static bool same(const struct quic_address *a, const struct quic_address *b)
{
    return !memcmp(a->bytes, b->bytes, 8);
}

static void to_engine(struct fuzz *f, const struct quic_address *from, const uint8_t *data,
                      size_t len)
{
    uint8_t *copy = malloc(len ? len : 1); /* of just that size: reading on is seen */
    struct quic_datagram d = {.local = f->here, .remote = *from, .data = copy, .len = len};

    memcpy(copy, data, len);
    if (same(from, &f->other))
        f->from_other += len;
    quic_feed(f->q, &d, f->now);
    free(copy);
}

/* What the engine sends; a raw server begins with the first of it. */
static bool from_engine(struct fuzz *f)
{
    static uint8_t buf[20000];
    struct quic_batch b;
    bool any = false;
    size_t n;

    while ((n = quic_pull(f->q, buf, sizeof buf, &b, f->now))) {
        any = true;
        MUST(n == b.len && b.segment && b.segment <= 1452);
        if (same(&b.remote, &f->other))
            f->to_other += n;
        for (size_t at = 0, k; at < n && same(&b.remote, &f->there) && !f->mute; at += k) {
            k = n - at < b.segment ? n - at : b.segment;
            if (!f->r->ng && raw_serve(f->r, fuzz_tls[0], buf + at, k, f->now))
                continue;
            raw_feed(f->r, buf + at, k, f->now);
        }
    }
    MUST(f->to_other <= 3 * f->from_other);
    MUST(!quic_wants(f->q));
    return any;
}

static bool from_raw(struct fuzz *f)
{
    uint8_t buf[1252];
    bool any = false;
    size_t n;

    while (f->r->ng && (n = raw_pull(f->r, buf, sizeof buf, f->now))) {
        any = true;
        if (f->alter_by) {
            buf[f->alter_at % n] ^= (uint8_t)f->alter_by;
            n = f->alter_by & 0x100 ? f->alter_at % n : n;
            f->alter_by = 0;
        }
        to_engine(f, &f->there, buf, n);
    }
    return any;
}

static void settle(struct fuzz *f)
{
    for (int i = 0; i < 30; i++) {
        bool a = from_raw(f), b = from_engine(f);

        if (!a && !b)
            return;
    }
}

static void pass(struct fuzz *f, uint64_t ns)
{
    uint64_t until = f->now + ns, at;

    for (int i = 0; i < 50; i++) {
        at = quic_deadline(f->q);
        if (f->r->ng && !f->r->over && ngtcp2_conn_get_expiry(f->r->ng) < at)
            at = ngtcp2_conn_get_expiry(f->r->ng);
        if (at > until)
            break;
        f->now = at > f->now ? at : f->now;
        if (quic_deadline(f->q) <= f->now)
            quic_timeout(f->q, f->now);
        if (f->r->ng && !f->r->over && ngtcp2_conn_get_expiry(f->r->ng) <= f->now &&
            ngtcp2_conn_handle_expiry(f->r->ng, f->now))
            f->r->over = true;
        settle(f);
    }
    f->now = until > f->now ? until : f->now;
}

/* ---- the script ------------------------------------------------------------------------------ */

/* What the engine's user does. */
static void act(struct fuzz *f, uint8_t what, const uint8_t *p, size_t n)
{
    uint64_t stream = what >> 4;

    if (!f->c)
        return;
    switch (what % 12) {
    case 0:
        if (f->readies)
            quic_open_stream(f->c, &stream);
        break;
    case 1:
        if (n)
            quic_send(f->c, stream, (const char *)p, n);
        break;
    case 2:
        quic_finish(f->c, stream);
        break;
    case 3:
        quic_reset(f->c, stream, n);
        told_of(stream)->reset = told_of(stream)->seen; /* else it may still begin */
        break;
    case 4:
        quic_pause(f->c, stream);
        break;
    case 5:
    case 6:
        told_of(stream)->paused = false;
        quic_resume(f->c, stream);
        break;
    case 7:
        quic_update_keys(f->c, f->now);
        break;
    case 8:
        quic_set_mark(f->c, n);
        f->later = (unsigned)n & 3;
        break;
    case 9:
        if (n & 1)
            quic_migrate(f->c, &f->here, f->now);
        else
            f->there = f->r->local = fuzz_address(0x0a000002u, (uint16_t)(7000 + n));
        break;
    case 10:
        quic_close(f->c, n, "enough");
        break;
    default:
        quic_drop(f->c, "enough");
    }
}

static void step(struct fuzz *f, uint8_t op, uint8_t arg, const uint8_t *p, size_t n)
{
    switch (op % 9) {
    case 0:
        to_engine(f, arg & 1 ? &f->other : &f->there, p, n);
        break;
    case 1:
        if (f->r->ng && !f->r->replace)
            raw_frames(f->r, RAW_SHORT, 0, p, n);
        break;
    case 2:
        if (f->r->ng && !f->r->replace)
            raw_frames(f->r, arg & 1 ? RAW_INITIAL : RAW_HANDSHAKE, 0, p, n);
        break;
    case 3:
        if (f->r->ng)
            raw_say(f->r, (arg >> 1 & 7) * 4 + (f->r->server ? arg >> 4 & 1 : 0), p, n, arg & 1);
        break;
    case 4:
        act(f, arg, p, n);
        break;
    case 5:
        pass(f, (uint64_t)(arg + 1) * (arg & 0x80 ? 200 * MS : MS));
        break;
    case 6:
        f->alter_at = arg;
        f->alter_by = (unsigned)n + 1;
        break;
    case 7:
        f->mute = arg & 1;
        f->fail_in = arg & 2 ? arg >> 2 : 0;
        break;
    default:
        settle(f);
    }
}

/* op, arg, length, bytes. */
static void script(struct fuzz *f, const uint8_t *p, size_t n)
{
    while (n >= 3) {
        size_t len = p[2] * (p[0] & 0x80 ? 5u : 1u);

        if (len > n - 3)
            len = n - 3;
        step(f, p[0] & 0x7f, p[1], p + 3, len);
        p += 3 + len;
        n -= 3 + len;
    }
}

/* ---- one run --------------------------------------------------------------------------------- */

static alk_tls *fuzz_make(const char *file, bool client)
{
    alk_tls_options o;
    char why[200];
    alk_tls *t;

    alk_tls_options_init(&o, sizeof o);
    o.client = client;
    o.insecure = client;
    o.raw_key = file;
    MUST(!alk_tls_new(&t, &o, why, sizeof why));
    return t;
}

static void fuzz_set_up(void)
{
    char folder[] = "/tmp/fuzz_quic.XXXXXX", file[40], print[ALK_TLS_FINGERPRINT], why[200];

    MUST(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/key", folder);
        MUST(!alk_key_new(file, print, why, sizeof why));
        fuzz_tls[i] = fuzz_make(file, i);
        unlink(file);
    }
    rmdir(folder);
}

static void fuzz_begin(struct fuzz *f, alk_tls *tls)
{
    static struct quic_app app = {.accept = on_accept, .wake = on_wake};
    struct quic_options o = {
        .mem = &f->mem, .host = &fuzz_host, .app = &app, .limits = &f->limits, .tls = tls};

    fuzz = f;
    fuzz_seed = 1;
    mem_init(&f->mem, fuzz_realloc, f);
    f->limits = (struct quic_limits){.handshakes = 16,
                                     .streams = 40,
                                     .stream_window = 20000,
                                     .window = 60000,
                                     .handshake_timeout = 5000 * MS,
                                     .idle_timeout = 20000 * MS,
                                     .keep_alive = 6000 * MS,
                                     .frame_timeout = 3000 * MS};
    f->now = 1000000 * MS;
    f->here = fuzz_address(0x0a000001u, 4433);
    f->there = fuzz_address(0x0a000002u, 6000);
    f->other = fuzz_address(0x0a000003u, 6000);
    f->q = quic_new(&o);
    MUST(f->q);
    f->r = raw_new(&fuzz_host, &f->there, &f->here);
}

static void fuzz_end(struct fuzz *f)
{
    bool had = f->c != NULL;

    f->fail_in = 0;
    settle(f);
    pass(f, 100 * MS);
    had &= f->c != NULL;
    quic_free(f->q);
    MUST(!had || f->overs == 1);
    MUST(!f->mem.live && !f->held);
    raw_free(f->r);
}

#endif
