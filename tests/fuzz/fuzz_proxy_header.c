/* Fuzzes the first bytes of a stream: the PROXY protocol's header and HTTP/2's preface. The first byte chooses what is looked for
 * and how the rest is cut.
 *
 * It must hold: the verdict and the bytes that go on are the same however the input is cut; what goes on is the input without the
 * header, to the byte; a header's address is one that reads back; a header is no longer than its limits; all memory comes back. */
#include "support/memory.h"
#include "base/list.h"
#include "wire/front.h"
#include "wire/proxy_header.h"

#include <stdio.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stream {
    struct memory memory;
    struct mem mem;
    struct engine next;
    const char *in;
    size_t from, len; /* what goes on must be in + from */
    bool has_source;
    int clients, chosen, refused, gone;
    bool h2;
    struct ip source;
};

static bool client(void *ud, const char *address, uint64_t now)
{
    struct stream *s = ud;

    (void)now;
    s->clients++;
    s->has_source = address != NULL;
    MUST(!address || ip_parse((struct str){address, strlen(address)}, &s->source));
    return true;
}

static void next_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    struct stream *s = container_of(e, struct stream, next);

    (void)now;
    MUST(!memcmp(s->in + s->from + s->len, data, len));
    s->len += len;
}

static void next_fini(struct engine *e)
{
    buf_fini(&e->out);
}

static const struct engine_ops next_ops = {.feed = next_feed, .fini = next_fini};

static struct engine *chosen(void *ud, bool h2, uint64_t now)
{
    struct stream *s = ud;

    (void)now;
    s->chosen++;
    s->h2 = h2;
    s->next = (struct engine){.ops = &next_ops};
    buf_init(&s->next.out, &s->mem);
    return &s->next;
}

static void refused(void *ud, const char *why)
{
    MUST(*why);
    ((struct stream *)ud)->refused++;
}

static void gone(void *ud)
{
    ((struct stream *)ud)->gone++;
}

static void run(struct stream *s, const char *in, size_t n, unsigned how, size_t from, size_t step)
{
    static const struct front_app app = {client, chosen, refused, gone};
    struct engine *e;

    memset(s, 0, sizeof *s);
    s->in = in;
    s->from = from;
    mem_init(&s->mem, memory_realloc, &s->memory);
    e = front_new(&s->mem, how & 1, how & 2, &app, s, 1);
    MUST(e);
    for (size_t at = 0; at < n && !e->closing; at += step) {
        size_t piece = step < n - at ? step : n - at;
        char *copy = malloc(piece); /* of just that size, so that reading on is seen */

        memcpy(copy, in + at, piece);
        e->ops->feed(e, copy, piece, 1);
        free(copy);
        if (e->successor) {
            e->wake_ud = s;
            e = engine_succeed(e);
        }
    }
    MUST(s->chosen <= 1 && s->refused <= 1 && s->clients <= 1 && s->chosen + s->refused <= 1);
    MUST(!s->chosen || from + s->len == n);
    e->ops->fini(e);
    MUST(s->gone == !s->chosen && !s->memory.live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct proxy_header h = {.len = 0};
    struct stream whole, cut;
    unsigned how;
    size_t used = 0, n;
    const char *in;
    int rc;

    if (!size)
        return 0;
    how = data[0] % 3 + 1;
    in = (const char *)data + 1;
    n = size - 1;
    rc = how & 1 ? proxy_header_feed(&h, in, n, &used) : PROXY_DONE;
    MUST(used <= n && (rc != PROXY_MORE || used == n));
    MUST(used <= PROXY_V2_HEAD + PROXY_V2_REST && (!n || in[0] != 'P' || used <= PROXY_V1_MAX));
    MUST((rc == PROXY_FAULT) == (h.fault != NULL));
    run(&whole, in, n, how, used, n ? n : 1);
    run(&cut, in, n, how, used, data[0] / 3 + 1);
    MUST(whole.refused == (rc == PROXY_FAULT) && cut.refused == whole.refused);
    MUST(whole.clients == ((how & 1) && rc == PROXY_DONE) && cut.clients == whole.clients);
    MUST(whole.has_source == h.has_source && cut.has_source == h.has_source);
    MUST(!h.has_source || (ip_equal(&whole.source, &h.source) && ip_equal(&cut.source, &h.source)));
    MUST(cut.chosen == whole.chosen && cut.h2 == whole.h2);
    if (whole.chosen)
        MUST(whole.h2 == ((how & 2) && n - used >= sizeof preface - 1 &&
                          !memcmp(in + used, preface, sizeof preface - 1)));
    return 0;
}
