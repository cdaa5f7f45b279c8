/* Fuzzes what clients of NATS ask of a hub.
 *
 * The input is lines. The first character says what happens: a request ("c" for an operation, "l"
 * for $SRV, "x" for anything), of which the rest is the subject's end, a blank, where the answer goes, a blank, and the
 * payload; calls that run are answered; time passes; the token of the services proves somebody or
 * nobody; the broker carries less; memory fails. It must hold: each request has one answer at most,
 * to where it was wanted and never to a subject of the cluster or of the broker's; answers and the
 * headers of faults are what they should be; what runs is bounded; and all memory comes back. */
#include "adapt/cluster_offer.h"
#include "base/host.h"
#include "base/json.h"
#include "core/dispatcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define LATER_MAX 64

static struct {
    struct bus bus;
    struct offering *of;
    alk_dispatcher *d;
    uint64_t now, generation;
    long fail_in;
    size_t live;
    bool failed, known;
    alk_call *later[LATER_MAX];
    int count, asked, answers;
} f;

static alk_node *node;

static void *counting_realloc(void *ud, void *p, size_t n)
{
    (void)ud;
    if (n && f.fail_in && !--f.fail_in) {
        f.failed = true;
        return NULL;
    }
    if (!n) {
        f.live -= p != NULL;
        free(p);
        return NULL;
    }
    f.live += !p;
    p = realloc(p, n);
    MUST(p);
    return p;
}

/* ---- the bus ----------------------------------------------------------------------------------- */

static int serve(struct bus *b, const char *pattern, const char *queue)
{
    (void)b;
    MUST(*pattern && (!queue || *queue));
    return ALK_OK;
}

static void check_json(const char *text, size_t len)
{
    static const struct json_limits limits = {.depth = JSON_MAX_DEPTH, .values = 1000000};
    char *copy = malloc(len + JSON_PADDING);
    yyjson_alc alc;
    yyjson_doc *doc = NULL;
    void *room = malloc(4096 + 64 * len);

    MUST(copy && room && yyjson_alc_pool_init(&alc, room, 4096 + 64 * len));
    memcpy(copy, text, len);
    memset(copy + len, 0, JSON_PADDING);
    MUST(!json_parse(copy, len, &limits, &alc, &doc, NULL));
    free(room);
    free(copy);
}

static int answer(struct bus *b, const char *reply, const struct bus_error *e, const void *data,
                  size_t len)
{
    if (b->largest && len > b->largest)
        return ALK_ELIMIT;
    MUST(*reply && *reply != '$' && strncmp(reply, "x.", 2) != 0);
    MUST(!e || (e->number >= 400 && e->number < 600 && *e->text && strlen(e->text) < 300));
    MUST(len || e);
    if (len)
        check_json(data, len);
    f.answers++;
    MUST(f.answers <= f.asked);
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *pattern)
{
    (void)b;
    MUST(*pattern);
}

static const struct bus_ops bus_ops = {
    .serve = serve, .answer = answer, .unsubscribe = unsubscribe};

/* ---- the hub ----------------------------------------------------------------------------------- */

static int echo(alk_call *call, void *ud)
{
    const char *text;
    size_t len;

    (void)ud;
    text = alk_value_text(alk_call_input(call), &len);
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static int later(alk_call *call, void *ud)
{
    (void)ud;
    if (f.count == LATER_MAX)
        return alk_call_reply(call, "null", 4);
    f.later[f.count++] = alk_call_ref(call);
    return ALK_OK;
}

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    static const char who[] = "{\"id\":\"s\",\"scopes\":[\"x:y\"]}";

    (void)ud;
    (void)token;
    (void)len;
    *out = f.known ? alk_identity_new(who, sizeof who - 1) : NULL;
    return *out ? ALK_KIND_KEY : ALK_KIND_NONE;
}

static int by_fingerprint(void *ud, const char *fingerprint, size_t len, alk_identity **out)
{
    (void)ud;
    (void)fingerprint;
    (void)len;
    (void)out;
    return ALK_KIND_NONE;
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return f.generation;
}

static void make_node(void)
{
    static const alk_identity_provider provider = {.size = sizeof provider,
                                                   .by_token = by_token,
                                                   .by_fingerprint = by_fingerprint,
                                                   .generation = generation};
    static const struct {
        const char *name, *access;
        alk_handler handler;
        uint32_t type;
    } ops[] = {{"a/echo", NULL, echo, ALK_QUERY},
               {"a.b/c", NULL, later, ALK_MUTATION},
               {"a/known", "{\"required_scopes\":[\"x:y\"]}", echo, ALK_QUERY},
               {"a/stream", NULL, later, ALK_SUBSCRIPTION}};
    alk_registry *reg = alk_registry_new();
    alk_node_options no;

    MUST(reg);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        alk_operation op;

        alk_operation_init(&op, sizeof op);
        op.name = ops[i].name;
        op.type = ops[i].type;
        op.handler = ops[i].handler;
        op.access_control = ops[i].access;
        MUST(!alk_registry_add(reg, &op));
    }
    MUST(!alk_registry_freeze(reg));
    alk_node_options_init(&no, sizeof no);
    no.realloc = counting_realloc;
    no.identities = &provider;
    MUST(!alk_node_new(&node, reg, &no));
    alk_registry_unref(reg);
}

static void turn(void)
{
    for (int i = 0; i < 100 && alk_dispatcher_turn(f.d, f.now) <= f.now; i++)
        ;
}

/* ---- one run ----------------------------------------------------------------------------------- */

/* Up to a blank, with a NUL behind it, in memory of its own. */
static char *word(struct str *s)
{
    const char *blank = s->n ? memchr(s->p, ' ', s->n) : NULL;
    size_t n = blank ? (size_t)(blank - s->p) : s->n;
    char *out = malloc(n + 1);

    MUST(out);
    memcpy(out, s->p, n);
    out[n] = 0;
    s->p += n + (blank != NULL);
    s->n -= n + (blank != NULL);
    return out;
}

static void request(const char *before, struct str s)
{
    char *end = word(&s), *reply = word(&s), *subject = malloc(strlen(before) + strlen(end) + 1);
    char *payload = malloc(s.n + 1);

    MUST(subject && payload);
    strcpy(subject, before);
    strcat(subject, end);
    if (s.n)
        memcpy(payload, s.p, s.n);
    f.asked++;
    f.bus.on_request(f.bus.ud, subject, *reply ? reply : NULL, payload, s.n);
    free(payload);
    free(subject);
    free(reply);
    free(end);
}

static void settle(bool well)
{
    static const alk_fault bad = {.size = sizeof bad, .code = "BAD", .message = "a\r\nb\303\244"};

    while (f.count) {
        alk_call *c = f.later[--f.count];

        if (well)
            alk_call_reply(c, "{\"a\":1}", 7);
        else
            alk_call_fail(c, &bad);
        alk_call_unref(c);
    }
}

static void line(struct str s)
{
    struct str rest = {s.p + 1, s.n - 1};
    unsigned n = rest.n ? (uint8_t)rest.p[0] : 0;

    if (s.p[0] == 'c')
        request("x.services.a.", rest);
    else if (s.p[0] == 'l')
        request("$SRV.", rest);
    else if (s.p[0] == 'x')
        request("", rest);
    else if (s.p[0] == 's')
        settle(n & 1);
    else if (s.p[0] == 't')
        f.now += n * 200 * MILLI;
    else if (s.p[0] == 'k') {
        f.known = n & 1;
        f.generation++;
    } else if (s.p[0] == 'b')
        f.bus.largest = n & 1 ? 100 + n : 0;
    else if (s.p[0] == 'm')
        f.fail_in = (long)n + 1;
    turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct offering_options o = {.bus = &f.bus, .name = "a", .prefix = "x"};

    if (!node)
        make_node();
    memset(&f, 0, sizeof f);
    f.bus.ops = &bus_ops;
    f.now = 1000 * MILLI;
    f.known = true;
    if (size && *at == 'k')
        o.token = "a-token-that-is-long-enough";
    MUST(!alk_dispatcher_new(&f.d, node));
    turn();
    MUST(!offering_new(&f.of, f.d, &o));
    offering_begin(f.of);
    f.bus.on_state(f.bus.ud, true, NULL);
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        struct str s = {at, (size_t)((eol ? eol : end) - at)};

        if (s.n)
            line(s);
        at = eol ? eol + 1 : end;
    }
    f.fail_in = 0;
    f.bus.largest = 0;
    if (!o.token) { /* whatever there was, it goes on */
        int before;

        settle(true);
        turn();
        before = f.answers;
        request("x.services.a.", (struct str){"a.echo _I 1", 11});
        turn();
        MUST(f.answers == before + 1);
    }
    offering_close(f.of);
    settle(true);
    turn();
    alk_dispatcher_free(f.d);
    MUST(!f.live);
    return 0;
}
