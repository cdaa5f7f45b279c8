/* Fuzzes the MCP server: messages to a gateway in memory, whose tools and client the input chooses.
 *
 * The first byte chooses (the enum below). The rest is one message, or two with a byte of 0xff
 * between them, each on a connection of its own: lines of a head, each of which must be a field, and
 * behind an empty line the body; without such a line all of it is the body.
 * It must hold: each message has exactly one answer, and a stream at most one; what says that it is
 * JSON is; an answer to a request has its id, progress its token; a message without an id is
 * accepted or an error; a tool's result has content; no memory is kept. */
#include "base/arena.h"
#include "base/json.h"
#include "core/dispatcher.h"
#include "core/registry.h"
#include "wire/transport.h"

#include <alknet/gateway.h>
#include <alknet/openapi.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define NOW UINT64_C(1000000000000)
#define MS UINT64_C(1000000)
#define TOKEN "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MESSAGES 2
#define INPUT_MAX 65536u

enum {
    DIRECT = 1,      /* tools */
    KNOWN = 2,       /* the client has a token */
    STATELESS = 4,   /* the header of that revision */
    MIRRORED = 8,    /* headers say what the body says */
    IN_SESSION = 16, /* which has been opened before */
    GET = 32,
    DELETE = 64,
    CHANGES = 128, /* what is discovered changes meanwhile */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One connection, its message, and what came back. */
struct client {
    struct server *server;
    struct engine *e;
    bool woken, complete, open;
    struct buf got, body, type, field;
    struct buf head, said;
    int answers, status;
    yyjson_val *request; /* NULL: it was no JSON */
    char session[64];    /* that the answer has given */
};

struct server {
    struct arena arena;
    struct mem mem;
    alk_node *node;
    alk_dispatcher *d;
    alk_gateway *g;
    uint64_t now;
    uint8_t how;
    char session[64];
    struct client clients[MESSAGES + 1]; /* the last opens the session */
};

static alk_registry *reg, *more;
static alk_identities *ids;

/* ---- operations -------------------------------------------------------------------------------- */

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static int hold(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

static int count(alk_call *call, void *ud)
{
    static const char *const values[] = {"{\"progress\":1,\"total\":3,\"message\":\"a\"}",
                                         "{\"progress\":0.5}", "[2]", "null"};

    (void)ud;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        alk_call_emit(call, values[i], strlen(values[i]));
    return alk_call_complete(call);
}

static int fail(alk_call *call, void *ud)
{
    alk_fault f = {.size = sizeof f, .code = "MCP_TOOL_ERROR", .message = "m", .details = ud};

    return alk_call_fail(call, &f);
}

static void add(alk_registry *to, const char *name, uint32_t type, alk_handler handler, void *ud,
                const char *input, const char *access)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.ud = ud;
    op.input_schema = input;
    op.access_control = access;
    if (!strcmp(name, "t/blocks"))
        op.output_schema = "{\"type\":\"array\",\"x-mcp-content\":true}";
    MUST(!alk_registry_add(to, &op));
}

static void start(void)
{
    char hash[65], config[300];

    reg = alk_registry_new();
    more = alk_registry_new();
    ids = alk_identities_new();
    MUST(reg && more && ids);
    add(reg, "t/echo", ALK_QUERY, echo, NULL, NULL, NULL);
    add(reg, "t/array", ALK_QUERY, echo, NULL, "{\"type\":\"array\"}", NULL);
    add(reg, "t/blocks", ALK_QUERY, echo, NULL,
        "{\"type\":\"array\",\"items\":{\"type\":\"object\"}}", NULL);
    add(reg, "t/mirror", ALK_MUTATION, echo, NULL,
        "{\"type\":\"object\",\"properties\":{\"a\":{\"x-mcp-header\":\"A\"},\"b\":{\"type\":"
        "\"number\",\"x-mcp-header\":\"B\"}}}",
        NULL);
    add(reg, "t/hold", ALK_QUERY, hold, NULL, NULL, NULL);
    add(reg, "t/count", ALK_SUBSCRIPTION, count, NULL, NULL, NULL);
    add(reg, "t/fail", ALK_QUERY, fail, "[{\"type\":\"text\",\"text\":\"x\"}]", NULL, NULL);
    add(reg, "t/fault", ALK_QUERY, fail, "{\"a\":1}", NULL, NULL);
    add(reg, "t/known", ALK_QUERY, echo, NULL, NULL, "{\"required_scopes\":[\"a\"]}");
    MUST(!alk_registry_freeze(reg));
    add(more, "more/tool", ALK_QUERY, echo, NULL, NULL, NULL);
    MUST(!alk_registry_freeze(more));
    alk_token_hash(TOKEN, strlen(TOKEN), hash);
    snprintf(config, sizeof config,
             "{\"keys\":[{\"prefix\":\"alk_AAAA\",\"hash\":\"%s\",\"scopes\":[\"a\"]}]}", hash);
    MUST(!alk_identities_load(ids, config, strlen(config), 0, NULL, NULL, 0));
}

/* ---- a client ---------------------------------------------------------------------------------- */

static void on_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct client *)ud)->woken = true;
}

static void hang_up(struct client *c)
{
    if (c->e)
        c->e->ops->fini(c->e);
    c->e = NULL;
}

static void step(struct client *c)
{
    struct server *s = c->server;

    if (c->e->out.len) {
        MUST(!buf_append(&c->got, buf_at(&c->e->out), c->e->out.len));
        buf_consume(&c->e->out, c->e->out.len);
        c->woken = true;
    }
    if (c->woken) {
        c->woken = false;
        c->e->ops->drained(c->e, s->now);
    }
    if (c->e->closing && !c->e->out.len)
        hang_up(c);
}

static void run(struct server *s)
{
    for (int i = 0; i < 40; i++) {
        alk_dispatcher_turn(s->d, s->now);
        for (int k = 0; k <= MESSAGES; k++) {
            if (s->clients[k].e)
                step(&s->clients[k]);
        }
    }
}

static void send(struct client *c)
{
    static const struct peer_info peer = {.address = "127.0.0.1", .local = "127.0.0.1"};
    struct service *service = gateway_service(c->server->g);

    c->e = service->accept(service, &c->server->mem, &peer, c->server->now);
    MUST(c->e);
    c->e->wake = on_wake;
    c->e->wake_ud = c;
    c->e->ops->feed(c->e, buf_at(&c->head), c->head.len, c->server->now);
    while (c->e->successor)
        c->e = engine_succeed(c->e);
    if (c->said.len)
        c->e->ops->feed(c->e, buf_at(&c->said), c->said.len, c->server->now);
    run(c->server);
}

/* ---- what is sent ------------------------------------------------------------------------------ */

static yyjson_val *parse(struct server *s, const char *p, size_t n)
{
    const struct json_limits limits = {LIMIT(s->node, json_depth), LIMIT(s->node, json_values)};
    yyjson_alc alc = arena_alc(&s->arena);
    char *copy = arena_alloc(&s->arena, n + JSON_PADDING);
    yyjson_doc *doc;

    MUST(copy);
    memcpy(copy, p, n);
    return n && !json_parse(copy, n, &limits, &alc, &doc, NULL) ? yyjson_doc_get_root(doc) : NULL;
}

/* What the framing of the message, its client and its place depend on is not the input's. */
static bool is_ours(struct str line)
{
    static const char *const names[] = {
        "host:",    "connection:", "content-length:", "expect:", "upgrade:", "transfer-encoding:",
        "trailer:", "forwarded:",  "authorization:"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (line.n >= strlen(names[i]) && !strncasecmp(line.p, names[i], strlen(names[i])))
            return true;
    }
    return false;
}

/* A name of letters and dashes, a colon, and a value without control characters. */
static bool is_field(struct str line)
{
    size_t n = 0;

    while (n < line.n &&
           (((line.p[n] | 0x20) >= 'a' && (line.p[n] | 0x20) <= 'z') || line.p[n] == '-'))
        n++;
    if (!n || n == line.n || line.p[n] != ':' || line.n > 1000)
        return false;
    for (; n < line.n; n++) {
        if ((unsigned char)line.p[n] < 0x20 || line.p[n] == 0x7f)
            return false;
    }
    return !is_ours(line);
}

/* The bytes of the body. */
static struct str read_head(struct client *c, struct str input)
{
    struct str at = input, line;
    const char *end;

    for (int lines = 0; (end = memchr(at.p, '\n', at.n)) && lines < 16; lines++) {
        line = (struct str){at.p, (size_t)(end - at.p)};
        at = (struct str){end + 1, at.n - line.n - 1};
        if (!line.n)
            return at;
        if (!is_field(line))
            break;
        buf_append(&c->head, line.p, line.n);
        buf_puts(&c->head, "\r\n");
    }
    buf_truncate(&c->head, 0);
    return input;
}

/* A header that says a text again: where that can be one, as it is. */
static void put_mirror(struct buf *b, const char *name, yyjson_val *v)
{
    struct str text = json_string(v);

    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] <= 0x20 || (unsigned char)text.p[i] >= 0x7f)
            return;
    }
    if (text.n && text.n < 1000) {
        buf_printf(b, "%s: ", name);
        buf_append(b, text.p, text.n);
        buf_puts(b, "\r\n");
    }
}

static void make(struct client *c, struct str input)
{
    struct server *s = c->server;
    struct buf fields;
    struct str body;

    buf_init(&fields, &s->mem);
    body = read_head(c, input);
    c->request = parse(s, body.p, body.n);
    buf_puts(&fields, s->how & GET      ? "GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\n"
                      : s->how & DELETE ? "DELETE /mcp HTTP/1.1\r\n"
                                        : "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\n"
                                          "Accept: application/json, text/event-stream\r\n");
    buf_puts(&fields, "Host: 127.0.0.1\r\n");
    if (s->how & KNOWN)
        buf_puts(&fields, "Authorization: Bearer " TOKEN "\r\n");
    if (s->how & STATELESS)
        buf_puts(&fields, "MCP-Protocol-Version: 2026-07-28\r\n");
    buf_puts(&fields, s->session);
    if (s->how & MIRRORED) {
        yyjson_val *params = yyjson_obj_get(c->request, "params");

        put_mirror(&fields, "Mcp-Method", yyjson_obj_get(c->request, "method"));
        put_mirror(&fields, "Mcp-Name", yyjson_obj_get(params, "name"));
    }
    if (!(s->how & (GET | DELETE))) {
        buf_printf(&fields, "Content-Length: %zu\r\n", body.n);
        buf_append(&c->said, body.p, body.n);
    }
    buf_append(&fields, c->head.len ? buf_at(&c->head) : "", c->head.len);
    buf_puts(&fields, "\r\n");
    buf_fini(&c->head);
    c->head = fields;
}

/* ---- what comes back --------------------------------------------------------------------------- */

static struct client *of(llhttp_t *parser)
{
    return parser->data;
}

static int on_begin(llhttp_t *parser)
{
    of(parser)->answers++;
    return 0;
}

static int on_name(llhttp_t *parser, const char *p, size_t n)
{
    buf_truncate(&of(parser)->field, 0);
    return buf_append(&of(parser)->field, p, n);
}

static int on_value(llhttp_t *parser, const char *p, size_t n)
{
    struct client *c = of(parser);
    struct str name = {buf_at(&c->field), c->field.len};

    if (name.n == 12 && !strncasecmp(name.p, "content-type", 12))
        return buf_append(&c->type, p, n);
    if (name.n == 14 && !strncasecmp(name.p, "mcp-session-id", 14))
        snprintf(c->session, sizeof c->session, "Mcp-Session-Id: %.*s\r\n", (int)n, p);
    return 0;
}

static int on_body(llhttp_t *parser, const char *p, size_t n)
{
    return buf_append(&of(parser)->body, p, n);
}

static int on_message(llhttp_t *parser)
{
    of(parser)->complete = true;
    of(parser)->status = parser->status_code;
    return 0;
}

static int on_head(llhttp_t *parser)
{
    of(parser)->status = parser->status_code;
    return 0;
}

/* Each of these answers is whole or a stream that goes on. */
static void read_answer(struct client *c)
{
    static const llhttp_settings_t settings = {.on_message_begin = on_begin,
                                               .on_header_field = on_name,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_head,
                                               .on_body = on_body,
                                               .on_message_complete = on_message};
    llhttp_t parser;

    llhttp_init(&parser, HTTP_RESPONSE, &settings);
    parser.data = c;
    MUST(c->got.len && llhttp_execute(&parser, buf_at(&c->got), c->got.len) == HPE_OK);
    MUST(c->answers == 1);
}

static bool same(yyjson_val *a, yyjson_val *b)
{
    size_t n, m;
    char *x = yyjson_val_write(a, 0, &n), *y = yyjson_val_write(b, 0, &m);
    bool is = x && y && n == m && !memcmp(x, y, n);

    free(x);
    free(y);
    return is;
}

static bool is_id(yyjson_val *v)
{
    return yyjson_is_str(v) || yyjson_is_int(v);
}

/* Of JSON-RPC: an answer, to what the message was as far as it could be read. */
static void check_message(const struct client *c, yyjson_val *root)
{
    yyjson_val *result = yyjson_obj_get(root, "result"), *error = yyjson_obj_get(root, "error");
    yyjson_val *id = yyjson_obj_get(root, "id"), *mine = yyjson_obj_get(c->request, "id");
    yyjson_val *method = yyjson_obj_get(c->request, "method");
    bool asks = is_id(mine) && yyjson_is_str(method) &&
                yyjson_equals_str(yyjson_obj_get(c->request, "jsonrpc"), "2.0");

    MUST(yyjson_equals_str(yyjson_obj_get(root, "jsonrpc"), "2.0") && yyjson_obj_size(root) == 3);
    MUST(!result != !error && id);
    MUST(c->server->how & (GET | DELETE) || !asks ? yyjson_is_null(id) : same(id, mine));
    MUST(!result || (asks && yyjson_is_obj(result)));
    MUST(!error || (yyjson_is_int(yyjson_obj_get(error, "code")) &&
                    yyjson_is_str(yyjson_obj_get(error, "message"))));
    if (result && yyjson_equals_str(method, "tools/call"))
        MUST(yyjson_is_arr(yyjson_obj_get(result, "content")));
    if (result && yyjson_equals_str(method, "tools/list"))
        MUST(yyjson_is_arr(yyjson_obj_get(result, "tools")));
}

static void check_note(const struct client *c, yyjson_val *root)
{
    yyjson_val *params = yyjson_obj_get(root, "params");
    yyjson_val *meta = yyjson_obj_get(yyjson_obj_get(c->request, "params"), "_meta");

    MUST(yyjson_equals_str(yyjson_obj_get(root, "jsonrpc"), "2.0") && !yyjson_obj_get(root, "id"));
    if (!yyjson_equals_str(yyjson_obj_get(root, "method"), "notifications/progress"))
        return;
    MUST(json_is_number(yyjson_obj_get(params, "progress")));
    MUST(same(yyjson_obj_get(params, "progressToken"), yyjson_obj_get(meta, "progressToken")));
}

/* Events of one line, and comments. */
static int check_events(const struct client *c)
{
    struct str at = {c->body.len ? buf_at(&c->body) : "", c->body.len};
    double progress = -1;
    int answers = 0;

    while (at.n) {
        const char *end = memchr(at.p, '\n', at.n);
        struct str line = {at.p, end ? (size_t)(end - at.p) : at.n};
        yyjson_val *root;

        MUST(end);
        at = (struct str){end + 1, at.n - line.n - 1};
        if (!line.n || *line.p == ':')
            continue;
        MUST(str_starts(line, "data: ") && !answers);
        root = parse(c->server, line.p + 6, line.n - 6);
        MUST(yyjson_is_obj(root));
        if (yyjson_obj_get(root, "method")) {
            yyjson_val *told = yyjson_obj_get(yyjson_obj_get(root, "params"), "progress");

            check_note(c, root);
            MUST(!told || json_double(told) > progress);
            progress = told ? json_double(told) : progress;
        } else {
            check_message(c, root);
            answers++;
        }
    }
    return answers;
}

static void check_answer(struct client *c)
{
    struct str type = {c->type.len ? buf_at(&c->type) : "", c->type.len};
    yyjson_val *method = yyjson_obj_get(c->request, "method"), *root;

    if (str_is(type, "text/event-stream")) {
        int answers = check_events(c);

        c->open = !c->complete;
        MUST(c->status == 200);
        MUST(c->complete ? answers == 1 : !answers);
        MUST(c->complete || c->server->how & GET ||
             yyjson_equals_str(method, "subscriptions/listen"));
        return;
    }
    MUST(c->complete);
    if (!str_is(type, "application/json")) {
        MUST(c->status != 200);
        MUST(c->status != 202 || !c->body.len);
        MUST(c->status != 202 || !(yyjson_is_str(method) && yyjson_obj_get(c->request, "id")));
        return;
    }
    root = parse(c->server, buf_at(&c->body), c->body.len);
    MUST(yyjson_is_obj(root));
    if (yyjson_obj_get(root, "jsonrpc"))
        check_message(c, root);
    else
        MUST(c->status != 200 && yyjson_is_str(yyjson_obj_get(root, "code")) &&
             yyjson_is_str(yyjson_obj_get(root, "message")));
}

/* ---- one run ----------------------------------------------------------------------------------- */

static void client_init(struct client *c, struct server *s)
{
    struct buf *const bufs[] = {&c->got, &c->body, &c->type, &c->field, &c->head, &c->said};

    c->server = s;
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], &s->mem);
}

static void client_fini(struct client *c)
{
    struct buf *const bufs[] = {&c->got, &c->body, &c->type, &c->field, &c->head, &c->said};

    hang_up(c);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_fini(bufs[i]);
}

static void begin(struct server *s, uint8_t how)
{
    alk_identity_provider p;
    alk_node_options o;
    alk_gateway_options g;

    memset(s, 0, sizeof *s);
    s->now = NOW;
    s->how = how;
    mem_init(&s->mem, NULL, NULL);
    arena_init(&s->arena, &s->mem, 4096);
    alk_identities_provider(ids, &p, sizeof p);
    alk_node_options_init(&o, sizeof o);
    o.identities = &p;
    MUST(!alk_node_new(&s->node, reg, &o) && !alk_dispatcher_new(&s->d, s->node));
    alk_gateway_options_init(&g, sizeof g);
    g.mcp = how & DIRECT ? ALK_MCP_DIRECT : ALK_MCP_FIXED;
    MUST(!alk_gateway_new(&s->g, s->d, &g, NULL, 0));
    for (int i = 0; i <= MESSAGES; i++)
        client_init(&s->clients[i], s);
}

static void open_session(struct server *s)
{
    static const char hello[] =
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{"
        "\"protocolVersion\":\"2025-11-25\"}}";
    struct client *c = &s->clients[MESSAGES];
    uint8_t how = s->how;

    s->how &= KNOWN;
    make(c, str_of(hello));
    send(c);
    read_answer(c);
    check_answer(c);
    s->how = how;
    MUST(*c->session);
    memcpy(s->session, c->session, sizeof s->session);
    hang_up(c);
}

/* Calls that are held end by their deadline; streams are told of changes before. */
static void pass_time(struct server *s)
{
    if (s->how & CHANGES) {
        MUST(!alk_node_set_discovered(s->node, "more", more));
        s->now += 1000 * MS;
        run(s);
    }
    for (int i = 0; i < 3; i++) {
        s->now += 15001 * MS;
        run(s);
    }
}

static void finish(struct server *s)
{
    for (int i = 0; i <= MESSAGES; i++)
        client_fini(&s->clients[i]);
    run(s);
    arena_fini(&s->arena);
    MUST(s->mem.live == 0);
    alk_gateway_free(s->g);
    alk_dispatcher_free(s->d);
    alk_node_unref(s->node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server s;
    struct str at = {(const char *)data + 1, size - 1};
    int count = 0;

    if (!size || size > INPUT_MAX)
        return 0;
    if (!reg)
        start();
    begin(&s, data[0]);
    if (s.how & IN_SESSION)
        open_session(&s);
    while (count < MESSAGES) {
        const char *end = count + 1 < MESSAGES ? memchr(at.p, 0xff, at.n) : NULL;
        struct str one = {at.p, end ? (size_t)(end - at.p) : at.n};

        make(&s.clients[count], one);
        send(&s.clients[count++]);
        if (!end)
            break;
        at = (struct str){end + 1, at.n - one.n - 1};
    }
    pass_time(&s);
    for (int i = 0; i < count; i++) {
        read_answer(&s.clients[i]);
        check_answer(&s.clients[i]);
    }
    finish(&s);
    return 0;
}
