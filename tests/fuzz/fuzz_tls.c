/* Two TLS engines back to back and somebody between them, who delivers in any cuts, alters bits,
 * puts bytes of his own in, and ends either side; the engines inside speak, stop reading and close
 * meanwhile. The input is his script, two bytes for each step.
 *
 * It must hold: what an engine inside gets is the beginning of what the other one said, byte for
 * byte, whatever is done on the way; it is told of one end at most, and of nothing behind it; a
 * handshake ends in one outcome; a closing engine stays one; all memory comes back. */
#include "base/buf.h"
#include "base/list.h"
#include "wire/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem mem;
static alk_tls *configs[2]; /* the server's, the client's */

struct side {
    struct engine *e;     /* TLS; NULL: gone */
    struct engine *inner; /* NULL: not ready, or gone */
    struct side *other;
    size_t said, got;
    int readies, failures, ends, gone, closing;
    bool woken;
};

static struct side sides[2];

/* The bytes that are said, by their place. */
static char byte_at(size_t i)
{
    return (char)(i * 7 + i / 251);
}

/* ---- the engine inside ---- */

struct plain {
    struct engine e;
    struct side *side;
};

static struct side *side_of(struct engine *e)
{
    return container_of(e, struct plain, e)->side;
}

static void plain_feed(struct engine *e, const char *p, size_t n, uint64_t now)
{
    struct side *s = side_of(e);

    (void)now;
    for (size_t i = 0; i < n; i++)
        MUST(p[i] == byte_at(s->got + i));
    s->got += n;
    MUST(n && !s->ends && e->reading && s->got <= s->other->said);
}

static void plain_eof(struct engine *e, uint64_t now)
{
    (void)now;
    MUST(!side_of(e)->ends++);
}

static void plain_drained(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static void plain_end(struct engine *e, uint64_t now)
{
    (void)now;
    if (!e->closing)
        e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static bool plain_stalled(struct engine *e, uint64_t now)
{
    (void)now;
    e->closing = ENGINE_RESET;
    return true;
}

static void plain_fini(struct engine *e)
{
    side_of(e)->inner = NULL;
    buf_fini(&e->out);
    mem_free(&mem, container_of(e, struct plain, e));
}

static const struct engine_ops plain_ops = {.feed = plain_feed,
                                            .eof = plain_eof,
                                            .timeout = plain_end,
                                            .drained = plain_drained,
                                            .drain = plain_end,
                                            .stalled = plain_stalled,
                                            .fini = plain_fini};

/* ---- the application ---- */

static struct engine *on_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct side *s = ud;
    struct plain *p = mem_zalloc(&mem, sizeof *p);

    (void)now;
    MUST(!s->readies++ && !s->failures && str_is(info->alpn, "h2"));
    p->side = s;
    p->e.ops = &plain_ops;
    p->e.reading = true;
    buf_init(&p->e.out, &mem);
    s->inner = &p->e;
    return &p->e;
}

static void on_failed(void *ud, const char *why)
{
    struct side *s = ud;

    MUST(!s->readies && !s->failures++ && *why);
}

static void on_gone(void *ud)
{
    struct side *s = ud;

    MUST(!s->readies && !s->gone++);
}

static void wake(struct engine *e, void *ud)
{
    struct side *s = ud;

    MUST(s->e == e);
    s->woken = true;
}

/* ---- the wire ---- */

static void check(struct side *s)
{
    MUST(s->e->closing >= s->closing);
    s->closing = s->e->closing;
    MUST(s->e->closing != ENGINE_RESET || !s->e->out.len);
}

static void end_side(struct side *s)
{
    struct engine *e = s->e;

    s->e = NULL;
    if (e)
        e->ops->fini(e);
    MUST(!s->inner && (s->readies > 0) != (s->gone > 0));
}

static void step(struct side *s)
{
    for (int i = 0; s->e && s->woken && i < 5; i++) {
        s->woken = false;
        s->e->ops->drained(s->e, 1);
        check(s);
        engine_flush(s->e, 1);
        check(s);
    }
}

static void feed(struct side *s, const char *p, size_t n)
{
    char *copy;

    if (!s->e || !n || !s->e->reading)
        return;
    copy = malloc(n); /* of just that size, so that reading on is seen */
    memcpy(copy, p, n);
    s->e->ops->feed(s->e, copy, n, 1);
    free(copy);
    check(s);
    s->woken = true;
    step(s);
}

/* Takes n bytes of what s has for the other one. */
static void carry(struct side *s, size_t n)
{
    char *p;

    if (!s->e || (s->other->e && !s->other->e->reading))
        return;
    n = n < s->e->out.len ? n : s->e->out.len;
    if (!n)
        return;
    p = malloc(n);
    memcpy(p, buf_at(&s->e->out), n);
    buf_consume(&s->e->out, n);
    feed(s->other, p, n);
    free(p);
    s->woken = true;
    step(s);
    if (s->e->closing && !s->e->out.len)
        end_side(s);
}

static void say(struct side *s, size_t n)
{
    if (!s->inner || s->inner->closing)
        return;
    for (size_t i = 0; i < n; i++) {
        char c = byte_at(s->said++);

        MUST(!buf_append(&s->inner->out, &c, 1));
    }
    s->woken = true;
    step(s);
}

static void alter(struct side *s, size_t at, unsigned bit)
{
    if (s->e && s->e->out.len)
        s->e->out.data[s->e->out.head + at % s->e->out.len] ^= (char)(1u << bit);
}

static void act(struct side *s, uint8_t what)
{
    if (!s->e)
        return;
    switch (what % 8) {
    case 0:
        if (s->inner)
            s->inner->reading = !s->inner->reading;
        break;
    case 1:
        if (s->inner)
            plain_end(s->inner, 1);
        break;
    case 2:
        if (s->inner)
            s->inner->closing = ENGINE_RESET;
        break;
    case 3:
        s->e->ops->eof(s->e, 1);
        break;
    case 4:
        s->e->ops->timeout(s->e, s->e->deadline);
        break;
    case 5:
        s->e->ops->drain(s->e, 1);
        break;
    case 6:
        s->e->ops->stalled(s->e, 1);
        break;
    default:
        end_side(s);
        return;
    }
    check(s);
    s->woken = true;
    step(s);
}

/* ---- one run ---- */

static alk_tls *make(bool client, const char *pairs)
{
    alk_tls_options o;
    char why[200];
    alk_tls *t;

    alk_tls_options_init(&o, sizeof o);
    o.client = o.insecure = client;
    o.certificates = client ? NULL : pairs;
    MUST(!alk_tls_new(&t, &o, why, sizeof why));
    return t;
}

static void set_up(void)
{
    char folder[] = "/tmp/fuzz_tls.XXXXXX", crt[40], key[40], pairs[200], why[200];

    MUST(mkdtemp(folder));
    snprintf(crt, sizeof crt, "%s/crt", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    MUST(!alk_tls_self_sign(crt, key, "[\"localhost\"]", 30, why, sizeof why));
    snprintf(pairs, sizeof pairs, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]", crt, key);
    configs[0] = make(false, pairs);
    configs[1] = make(true, NULL);
    unlink(crt);
    unlink(key);
    rmdir(folder);
}

static void begin(void)
{
    static const char *const alpn[] = {"h2", NULL};
    static const struct tls_app app = {on_ready, on_failed, on_gone};
    struct tls_config *server = tls_current(configs[0]), *client = tls_current(configs[1]);

    memset(sides, 0, sizeof sides);
    mem_init(&mem, NULL, NULL);
    sides[0].other = &sides[1];
    sides[1].other = &sides[0];
    sides[0].e = tls_accept(&mem, server, alpn, &app, &sides[0], NULL, 100);
    sides[1].e = tls_connect(&mem, client, "localhost", alpn, &app, &sides[1], 100);
    for (int i = 0; i < 2; i++) {
        sides[i].e->wake = wake;
        sides[i].e->wake_ud = &sides[i];
    }
    tls_config_unref(server);
    tls_config_unref(client);
}

/* Until both have nothing more. */
static void settle(void)
{
    for (int i = 0; i < 20; i++) {
        carry(&sides[0], SIZE_MAX);
        carry(&sides[1], SIZE_MAX);
    }
}

/* The low bit of an operation says whose it is; the first byte's, whether the handshake is over
 * before the script begins. */
static void run(const uint8_t *p, size_t n)
{
    if (n && *p & 1)
        settle();
    for (size_t i = 1; i + 1 < n; i += 2) {
        uint8_t op = p[i], arg = p[i + 1];
        struct side *s = &sides[op & 1];

        switch (op >> 1 & 7) {
        case 0:
            carry(s, arg);
            break;
        case 1:
            carry(s, (size_t)arg * 512);
            break;
        case 2:
            alter(s, arg, op >> 4 & 7);
            break;
        case 3:
            say(s, arg);
            break;
        case 4:
            say(s, (size_t)arg * 512);
            break;
        case 5: {
            size_t len = arg < n - i - 2 ? arg : n - i - 2;

            feed(s, (const char *)p + i + 2, len);
            i += len;
            break;
        }
        case 6:
            act(s, arg);
            break;
        default:
            settle();
        }
    }
    settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!configs[0])
        set_up();
    if (size > 4096)
        return 0;
    begin();
    run(data, size);
    end_side(&sides[0]);
    end_side(&sides[1]);
    MUST(!mem.live);
    return 0;
}
