/* Implements front.h.
 *
 * Of the preface nothing is kept but how much of it has come: what matched so far is known, and is
 * said to the successor again. What is no preface is given to HTTP/1.1, which has the right answer
 * for it, also when time is up in the middle; who has sent nothing gets none.
 *
 * Once it is closing, nothing more is looked at. */
#include "wire/front.h"

#include "base/list.h"
#include "wire/proxy_header.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE (sizeof preface - 1)

struct front {
    struct engine e;
    const struct front_app *app;
    void *ud;
    struct proxy_header header;
    bool in_header, sniff;
    size_t matched; /* bytes of the preface */
};

static void refuse(struct front *f, const char *why)
{
    f->e.closing = ENGINE_RESET;
    f->app->refused(f->ud, why);
}

/* As in ws_opening.c, the successor is fed before the transport has it. A stream may be cut
 * anywhere, so what matched and what is behind it may come as two. */
static void choose(struct front *f, bool h2, const char *rest, size_t len, uint64_t now)
{
    struct engine *next = f->app->chosen(f->ud, h2, now);

    f->e.successor = next;
    if (!next) {
        f->e.closing = ENGINE_RESET;
        return;
    }
    next->wake = f->e.wake;
    next->wake_ud = f->e.wake_ud;
    if (f->matched)
        next->ops->feed(next, preface, f->matched, now);
    if (len && !next->closing)
        next->ops->feed(next, rest, len, now);
}

static void sniff(struct front *f, const char *data, size_t len, uint64_t now)
{
    size_t n = 0;

    while (n < len && f->matched < PREFACE && data[n] == preface[f->matched]) {
        n++;
        f->matched++;
    }
    if (f->matched == PREFACE || n < len)
        choose(f, f->matched == PREFACE, data + n, len - n, now);
}

/* Whether to go on behind the header. */
static bool header_taken(struct front *f, uint64_t now)
{
    char address[IP_TEXT_SIZE];

    f->in_header = false;
    if (f->header.has_source)
        ip_text(&f->header.source, address);
    if (!f->app->client(f->ud, f->header.has_source ? address : NULL, now))
        f->e.closing = ENGINE_RESET;
    return !f->e.closing;
}

static void feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct front *f = container_of(e, struct front, e);
    size_t used = 0;

    if (e->closing)
        return;
    if (f->in_header) {
        int rc = proxy_header_feed(&f->header, data, len, &used);

        if (rc == PROXY_FAULT)
            refuse(f, f->header.fault);
        if (rc != PROXY_DONE || !header_taken(f, now))
            return;
    }
    if (f->sniff)
        sniff(f, data + used, len - used, now);
    else
        choose(f, false, data + used, len - used, now);
}

/* A proxy that comes and goes without a word has looked whether we are there. */
static void eof(struct engine *e, uint64_t now)
{
    struct front *f = container_of(e, struct front, e);

    (void)now;
    if (e->closing)
        return;
    if (f->in_header && f->header.len)
        refuse(f, "PROXY: the stream ends in the header");
    else
        e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static void timeout(struct engine *e, uint64_t now)
{
    struct front *f = container_of(e, struct front, e);

    e->deadline = 0;
    if (e->closing)
        return;
    if (f->in_header)
        refuse(f, "PROXY: the header has not come in time");
    else if (!f->matched)
        e->closing = ENGINE_FLUSH_AND_CLOSE;
    else
        choose(f, false, NULL, 0, now);
}

static void drained(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

/* Nothing has been asked yet. */
static void drain(struct engine *e, uint64_t now)
{
    (void)now;
    if (!e->closing)
        e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static bool stalled(struct engine *e, uint64_t now)
{
    (void)now;
    e->closing = ENGINE_RESET;
    return false;
}

static void fini(struct engine *e)
{
    struct front *f = container_of(e, struct front, e);

    if (!e->successor)
        f->app->fini(f->ud);
    buf_fini(&e->out);
    mem_free(e->out.mem, f);
}

static const struct engine_ops ops = {
    .feed = feed,
    .eof = eof,
    .timeout = timeout,
    .drained = drained,
    .drain = drain,
    .stalled = stalled,
    .fini = fini,
};

struct engine *front_new(struct mem *mem, bool proxy_header, bool sniff_h2,
                         const struct front_app *app, void *ud, uint64_t deadline)
{
    struct front *f = mem_zalloc(mem, sizeof *f);

    if (!f)
        return NULL;
    f->e.ops = &ops;
    f->e.reading = true;
    f->e.deadline = deadline;
    buf_init(&f->e.out, mem);
    f->app = app;
    f->ud = ud;
    f->in_header = proxy_header;
    f->sniff = sniff_h2;
    return &f->e;
}
