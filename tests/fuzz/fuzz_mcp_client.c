/* Fuzzes a client of an MCP server with what servers answer: it negotiates, lists, imports, hears of changes, and one
 * operation of each kind is called.
 *
 * The input is answers, with a byte 0xff between them, one for each request in turn; when there are no more, the server is
 * gone. Of an answer the first byte chooses its status and its type, the second the cuts in which the rest arrives. It must
 * hold: what is told of the tools is a list, or why there is none; an import is whole; each call ends once; no request
 * goes elsewhere, or has a line that is none in its head; no memory is kept. */
#include "adapt/mcp_client.h"
#include "base/utf8.h"
#include "core/drive.h"
#include "support/memory.h"

#include <alknet/openapi.h>
#include <stdio.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define URL "http://127.0.0.1:1/mcp"
#define ROUNDS 60
#define CALLS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fetch {
    const struct fetch_events *events; /* NULL: none, or cancelled */
    void *ud;
};

static struct fuzz {
    const uint8_t *p;
    size_t n;
    struct memory memory;
    struct transport transport;
    struct fetcher fetcher;
    struct fetch fetches[64];
    alk_node *node;
    alk_connection *one, *other;
    alk_mcp *m;
    int told, begun, ended, holds;
} f;

/* ---- the loop and the server ------------------------------------------------------------------- */

static struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_request *rq,
                                 const struct fetch_events *events, void *ud)
{
    (void)fetcher;
    MUST(!strcmp(rq->url, URL) && (!strcmp(rq->method, "POST") || !strcmp(rq->method, "GET")));
    MUST(rq->headers.n > 2 && !memcmp(rq->headers.p + rq->headers.n - 2, "\r\n", 2));
    for (size_t i = 0; i < rq->headers.n; i++) {
        char c = rq->headers.p[i];

        MUST((c >= 0x20 && c < 0x7f) || c == '\r' || c == '\n');
        MUST((c == '\n') == (i && rq->headers.p[i - 1] == '\r'));
    }
    for (size_t i = 0; i < sizeof f.fetches / sizeof f.fetches[0]; i++) {
        if (!f.fetches[i].events) {
            f.fetches[i] = (struct fetch){events, ud};
            return &f.fetches[i];
        }
    }
    return NULL;
}

static void fetch_resume(struct fetch *x)
{
    (void)x;
    MUST(!"nothing is held back");
}

static void fetch_cancel(struct fetch *x)
{
    MUST(x->events);
    x->events = NULL;
}

static void hold(struct transport *t, int change)
{
    (void)t;
    f.holds += change;
}

static void end(struct fetch *x, int outcome, const char *why)
{
    const struct fetch_events *events = x->events;

    x->events = NULL;
    if (events)
        events->end(x->ud, outcome, why, outcome == FETCH_HELD ? 1000 : 0);
}

static void feed(struct fetch *x, const uint8_t *p, size_t n, uint32_t cuts)
{
    for (size_t at = 0, piece; at < n && x->events; at += piece) {
        char *copy;

        cuts = cuts * 1664525 + 1013904223;
        piece = cuts & 1 ? n - at : 1 + (cuts >> 24) % 64;
        piece = piece < n - at ? piece : n - at;
        copy = malloc(piece);
        MUST(copy);
        memcpy(copy, p + at, piece);
        MUST(x->events->data(x->ud, copy, piece));
        free(copy);
    }
}

static void serve(struct fetch *x)
{
    static const int statuses[] = {200, 200, 200, 200, 202, 400, 401, 404, 405, 500};
    static const char *const types[] = {"application/json", "text/event-stream", "text/html", ""};
    const uint8_t *stop = f.n ? memchr(f.p, 0xff, f.n) : NULL;
    size_t n = stop ? (size_t)(stop - f.p) : f.n;
    const uint8_t *p = f.p;
    struct fetch_head h = {.headers = {"", 0}, .url = str_of(URL)};

    f.p += n + (stop != NULL);
    f.n -= n + (stop != NULL);
    if (n < 2) {
        end(x, n ? FETCH_HELD : FETCH_FAILED, "gone");
        return;
    }
    h.status = statuses[(p[0] & 15) % 10];
    h.content_type = str_of(types[p[0] >> 4 & 3]);
    if (p[0] & 64)
        h.headers = str_of("mcp-session-id: s1\r\n");
    x->events->head(x->ud, &h);
    feed(x, p + 2, n - 2, p[1]);
    end(x, p[1] & 128 ? FETCH_FAILED : FETCH_DONE, p[1] & 128 ? "cut" : NULL);
}

/* ---- the client -------------------------------------------------------------------------------- */

static void on_warning(void *ud, const char *tool, const char *text)
{
    (void)ud;
    MUST(tool && *text);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)ud;
    MUST(why != ALK_END_FAULT || (fault && *fault->code));
    f.ended++;
}

static void call_some(const alk_registry *reg)
{
    static const char input[] = "{\"a\":\"\xc3\xbc\",\"b\":7,\"c\":{\"d\":true},\"query\":\"\"}";
    alk_call_options o = {.size = sizeof o};

    o.on_end = on_end;
    for (size_t i = 0, calls = 0; i < reg->by_name.count && calls < CALLS; i++) {
        struct str name = op_name(reg->sorted[i]);

        if (reg->sorted[i]->handler != mcp_tool_call)
            continue;
        calls++;
        f.begun += !alk_connection_call(f.one, name.p, name.n, input, strlen(input), &o, NULL);
    }
}

static void on_tools(void *ud, alk_mcp *m, int rc, const char *why)
{
    alk_registry *reg;
    size_t before, count;

    (void)ud;
    f.told++;
    MUST((rc == ALK_OK) == !why && (!why || (*why && utf8_valid(why, strlen(why)))));
    if (rc)
        return;
    reg = alk_registry_new();
    MUST(reg);
    before = reg->by_name.count;
    MUST(!alk_registry_import_mcp(reg, m, &count, on_warning, NULL, NULL, 0));
    MUST(reg->by_name.count >= before + count && reg->by_name.count <= before + 2 * count);
    MUST(!alk_registry_freeze(reg) && !alk_node_set_discovered(f.node, "mcp", reg));
    call_some(reg);
    alk_registry_unref(reg);
}

static void *counted(void *ud, void *p, size_t n)
{
    return memory_realloc(ud, p, n);
}

static void begin(alk_dispatcher **d)
{
    alk_registry *reg = alk_registry_new();
    alk_node_options no;
    alk_connection_options co = {.size = sizeof co};

    alk_node_options_init(&no, sizeof no);
    no.realloc = counted;
    no.realloc_ud = &f.memory;
    MUST(reg && !alk_registry_freeze(reg) && !alk_node_new(&f.node, reg, &no) &&
         !alk_dispatcher_new(d, f.node));
    alk_registry_unref(reg);
    MUST(!alk_pair_open(*d, &co, &f.one, *d, &co, &f.other));
    f.fetcher = (struct fetcher){fetch_start, fetch_resume, fetch_cancel};
    f.transport = (struct transport){.d = *d, .hold = hold, .fetcher = &f.fetcher};
    list_init(&f.transport.dialers);
    dispatcher_set_loop(*d, &f.transport, NULL);
}

static void run(alk_dispatcher *d)
{
    uint64_t now = SECOND;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t next = alk_dispatcher_turn(d, now);
        bool served = false;

        for (size_t i = 0; i < sizeof f.fetches / sizeof f.fetches[0]; i++) {
            served |= f.fetches[i].events != NULL;
            if (f.fetches[i].events)
                serve(&f.fetches[i]);
        }
        if (!served && !f.n)
            break;
        now = served || next == UINT64_MAX ? now + MILLI : next > now ? next : now + MILLI;
        alk_dispatcher_now(d, now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    alk_mcp_options o = {.size = sizeof o};
    alk_dispatcher *d;
    char err[100];

    if (size > 20000)
        return 0;
    memset(&f, 0, sizeof f);
    f.p = data;
    f.n = size;
    begin(&d);
    o.url = URL;
    o.namespace_prefix = "up";
    o.is_public = 1;
    o.private_addresses = 1;
    o.progress = 1;
    o.on_tools = on_tools;
    MUST(!alk_mcp_open(&f.m, (alk_loop *)(void *)&f.transport, &o, err, sizeof err));
    run(d);
    alk_mcp_close(f.m);
    MUST(!f.holds && list_empty(&f.transport.dialers));
    dispatcher_set_loop(d, NULL, NULL);
    alk_connection_unref(f.one);
    alk_connection_unref(f.other);
    alk_dispatcher_free(d);
    for (size_t i = 0; i < sizeof f.fetches / sizeof f.fetches[0]; i++)
        end(&f.fetches[i], FETCH_FAILED, "the loop closes");
    MUST(f.begun == f.ended);
    alk_node_unref(f.node);
    MUST(!f.memory.live);
    return 0;
}
