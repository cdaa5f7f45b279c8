/* The fixed routes: what a request says becomes a call, and the call's outcome the response. A sink
 * stands between the two: sink_single answers with the one value, sink_events with a stream of
 * them.
 *
 * The message of the request, with its body in it, becomes the message of the call: nothing is
 * copied. From then on r->msg is NULL. */
#include "gateway/gateway_int.h"

#include "base/buf.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "core/connection.h"
#include "core/fault.h"
#include "gateway/openapi.h"
#include "wire/ws_handshake.h"

#include <string.h>

#define QUERY_FIELDS 8u /* more than any route knows */

/* ---- single calls ---------------------------------------------------------------------------- */

/* target may be NULL. */
static void start_single(struct alk_request *r, struct str operation, const struct target *target,
                         yyjson_val *input, int want, const struct call_sink *sink)
{
    request_call(r, &(struct invocation){.operation = operation,
                                         .target = target,
                                         .input = input,
                                         .sink = sink,
                                         .sink_ud = r,
                                         .want = (uint8_t)want});
}

/* The last that a call does to its request, which may be gone behind it. */
static void release(alk_call *c, struct alk_request *r)
{
    c->sink_ud = NULL;
    if (r->call)
        alk_call_unref(r->call);
    r->call = NULL;
    request_unref(r);
}

/* The client may have left between the call and its value; the value is then nobody's. */
static int single_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct alk_request *r = c->sink_ud;

    (void) final;
    c->values++;
    if (r->x && !r->ended)
        reply_value(r, text, len);
    return ALK_OK;
}

static void single_end(alk_call *c)
{
    struct alk_request *r = c->sink_ud;

    if (r->x && !r->ended)
        reply_failure(r, c);
    release(c, r);
}

static const struct call_sink sink_single = {NULL, single_value, single_end};

/* ---- event streams --------------------------------------------------------------------------- */

/* Proxies and browsers cut a stream on which nothing comes for some time; a comment keeps it
 * (WHATWG HTML, 9.2.7). */
static void beat_later(struct alk_request *r)
{
    timer_set(&r->g->d->schedule, &r->heartbeat,
              r->g->d->now + LIMIT(r->g->d->node, heartbeat_ms) * MILLI);
}

/* While the handler says nothing; it is also where a lowered mark is noticed, since on_writable
 * comes from crossing the old one. */
void event_heartbeat(struct timer *t, uint64_t now)
{
    struct alk_request *r = container_of(t, struct alk_request, heartbeat);

    (void)now;
    if (!r->x || r->ended)
        return;
    /* A client that is behind needs no sign of life from us, it has enough to read. */
    if (!r->x->ops->queued(r->x))
        r->x->ops->write(r->x, ":\n\n", 3);
    /* The mark may have been lowered below what was queued already. */
    if (r->call && r->x->ops->queued(r->x) <= r->g->limits.write_high / 2)
        call_make_room(r->call);
    beat_later(r);
}

/* Not before the handler runs: what is refused until then gets a status of its own.
 * X-Accel-Buffering keeps nginx from holding values back until its buffer is full. */
static void events_started(alk_call *c)
{
    static const struct http_header h[] = {
        {STR_INIT("Content-Type"), STR_INIT("text/event-stream")},
        {STR_INIT("Cache-Control"), STR_INIT("no-store")},
        {STR_INIT("X-Accel-Buffering"), STR_INIT("no")},
    };
    struct alk_request *r = c->sink_ud;

    if (!r->x || r->ended)
        return;
    if (reply_start(r, 200, h, sizeof h / sizeof h[0])) {
        r->x->ops->reset(r->x);
        return;
    }
    beat_later(r);
}

/* Refused while too much waits: the handler is told to go on by on_writable. JSON has no line end
 * in it once it is written compactly, so one data: line holds any value. */
static int events_value(alk_call *c, const char *text, size_t len, bool final)
{
    struct alk_request *r = c->sink_ud;
    const struct http_exchange_ops *ops;

    (void) final;
    if (!r->x || r->ended)
        return ALK_OK;
    ops = r->x->ops;
    if (ops->queued(r->x) > r->g->limits.write_high)
        return ALK_EAGAIN;
    if (ops->write(r->x, "data: ", 6) || ops->write(r->x, text, len) || ops->write(r->x, "\n\n", 2))
        return ALK_ENOMEM;
    c->values++;
    return ALK_OK;
}

/* The status went out long ago, so a fault is an event. Without memory for it the stream just ends,
 * which is less than the truth, but the end is all there is. */
static void put_event_error(struct alk_request *r, const alk_fault *f)
{
    struct buf b;

    buf_init(&b, &r->g->mem);
    if (!(buf_puts(&b, "event: error\ndata: {") | fault_put(&b, f) | buf_puts(&b, "}\n\n")))
        r->x->ops->write(r->x, buf_at(&b), b.len);
    buf_fini(&b);
}

/* EventSource connects again after every end, and asks anew: this tells it not to. */
static const char completed[] = "event: complete\ndata: {}\n\n";
static const struct call_sink sink_event_source;

/* A proper end of the body is the completion of the subscription. Everything that is not complete
 * must not look so: a fault has its event, a lost client needs none. */
static void events_end(alk_call *c)
{
    struct alk_request *r = c->sink_ud;

    timer_clear(&r->g->d->schedule, &r->heartbeat);
    if (r->x && !r->ended) {
        if (!r->started) {
            reply_failure(r, c);
        } else {
            r->ended = true;
            if (c->why != ALK_END_OK)
                put_event_error(r, c->fault.code ? &c->fault : &fault_internal);
            else if (c->sink == &sink_event_source)
                r->x->ops->write(r->x, completed, sizeof completed - 1);
            r->x->ops->end(r->x);
        }
    }
    release(c, r);
}

static const struct call_sink sink_events = {events_started, events_value, events_end};
static const struct call_sink sink_event_source = {events_started, events_value, events_end};

/* ---- bodies and queries ---------------------------------------------------------------------- */

static void reply_parse_error(struct alk_request *r, const char *where, int rc,
                              const struct json_error *je)
{
    int status = status_of_text(rc, je);

    if (status == 503)
        reply_error(r, 503, "too many messages are being received");
    else
        reply_error(r, status, "%s: %s", where, je->text);
}

/* In place: the body is in the message already, with room for the parser behind it. */
yyjson_val *parse_body(struct alk_request *r)
{
    struct json_error je;
    int rc;

    if (!r->body_len) {
        reply_error(r, 400, "body: missing");
        return NULL;
    }
    rc = msg_parse_in_place(r->msg, r->body, r->body_len, &je);
    if (rc) {
        reply_parse_error(r, "body", rc, &je);
        return NULL;
    }
    return r->msg->value.val;
}

static void serve_invocation(struct alk_request *r, int want, const struct call_sink *sink)
{
    yyjson_val *body = parse_body(r);
    struct invocation i = {.sink = sink, .sink_ud = r, .want = (uint8_t)want};
    const char *fault;
    char why[WHY_SIZE];

    if (!body)
        return;
    fault = request_invocation(body, &i, why);
    if (fault)
        reply_error(r, 400, "%s", fault);
    else
        request_call(r, &i);
}

static void serve_call(struct alk_request *r)
{
    serve_invocation(r, WANT_SINGLE, &sink_single);
}

/* HTTP/1.0 has no end of a body but that of the connection, which may be its loss as well. */
static bool can_stream(struct alk_request *r)
{
    if (r->x->req.minor)
        return true;
    reply_error(r, 505,
                "HTTP/1.0 cannot tell the end of a stream from its loss; a proxy may be speaking "
                "it (nginx: proxy_http_version 1.1)");
    return false;
}

static void serve_subscribe(struct alk_request *r)
{
    if (can_stream(r))
        serve_invocation(r, WANT_STREAM, &sink_events);
}

struct field {
    struct str name, value;
};

/* application/x-www-form-urlencoded, as browsers write queries; false: a broken escape, not UTF-8,
 * or no memory. A decoded NUL is let pass here, and refused where the name or the JSON is read. */
static bool decode(struct arena *a, const char *p, size_t n, struct str *out)
{
    char *s = arena_alloc(a, n + 1);
    size_t len = 0;

    if (!s)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '%') {
            s[len++] = p[i] == '+' ? ' ' : p[i];
            continue;
        }
        if (i + 2 >= n || hex_value(p[i + 1]) < 0 || hex_value(p[i + 2]) < 0)
            return false;
        s[len++] = (char)(hex_value(p[i + 1]) << 4 | hex_value(p[i + 2]));
        i += 2;
    }
    s[len] = 0;
    *out = (struct str){s, len};
    return utf8_valid(s, len);
}

/* An unknown parameter is a mistake that is told: a misspelled filter would list everything. */
static bool known_name(const char *const *known, struct str name)
{
    while (*known && !str_is(name, *known))
        known++;
    return *known != NULL;
}

/* Reads the query's fields; *count is their number. Answers and says false when it is malformed. A
 * parameter that comes twice is refused, as a member of an object would be: no reader is to
 * choose. */
static bool read_query(struct alk_request *r, const char *const *known, struct field *f,
                       size_t *count)
{
    const char *p = r->x->req.query.p, *end = p ? p + r->x->req.query.n : p;

    *count = 0;
    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p)), *stop = amp ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p)), *value = eq ? eq + 1 : stop;
        struct field *at = &f[*count];

        if (stop > p) {
            if (!decode(&r->msg->arena, p, (size_t)((eq ? eq : stop) - p), &at->name)) {
                reply_error(r, 400, "query: the name of a parameter is malformed");
                return false;
            }
            if (!known_name(known, at->name)) {
                char shown[65];

                utf8_show(shown, sizeof shown, at->name.p, at->name.n);
                reply_error(r, 400, "query: %s: unknown parameter", shown);
                return false;
            }
            for (size_t i = 0; i < *count; i++) {
                if (str_eq(f[i].name, at->name)) {
                    reply_error(r, 400, "query: %s: more than one", at->name.p);
                    return false;
                }
            }
            if (!decode(&r->msg->arena, value, (size_t)(stop - value), &at->value)) {
                reply_error(r, 400, "query: %s: malformed, or not UTF-8", at->name.p);
                return false;
            }
            (*count)++;
        }
        p = amp ? amp + 1 : end;
    }
    return true;
}

/* A number that JSON writes the same way, small enough to be exact in a double. */
static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return s.n > 0 && s.n < 16 && (s.n == 1 || s.p[0] != '0');
}

/* The query as the input of a discovery operation, which then checks it by its schema as any other
 * caller's. limit is its only number. */
static void serve_discovery(struct alk_request *r, const char *operation, const char *const *known)
{
    struct field f[QUERY_FIELDS];
    struct json_error je;
    struct buf b;
    size_t n;
    int rc;

    if (!read_query(r, known, f, &n))
        return;
    buf_init(&b, &r->g->mem);
    rc = buf_puts(&b, "{");
    for (size_t i = 0; i < n; i++) {
        bool number = str_is(f[i].name, "limit") && all_digits(f[i].value);

        rc |= (i ? buf_puts(&b, ",") : 0) | buf_json_string(&b, f[i].name.p, f[i].name.n);
        rc |= buf_puts(&b, ":");
        rc |= number ? buf_append(&b, f[i].value.p, f[i].value.n)
                     : buf_json_string(&b, f[i].value.p, f[i].value.n);
    }
    rc |= buf_puts(&b, "}");
    rc = rc ? ALK_ENOMEM : msg_parse(r->msg, buf_at(&b), b.len, &je);
    buf_fini(&b);
    if (rc) {
        reply_parse_error(r, "query", rc, &je);
        return;
    }
    start_single(r, str_of(operation), NULL, r->msg->value.val, WANT_SINGLE, &sink_single);
}

static void serve_search(struct alk_request *r)
{
    static const char *const known[] = {"q", "namespace", "op_type", "cursor", "limit", NULL};

    serve_discovery(r, "services/list", known);
}

static void serve_schema(struct alk_request *r)
{
    static const char *const known[] = {"name", "peer", NULL};

    serve_discovery(r, "services/schema", known);
}

/* The document alone, without what a call's answer has around its output. It is the caller's: no
 * cache may give it to another. */
static int document_value(alk_call *c, const char *text, size_t len, bool final)
{
    static const struct http_header no_store = {STR_INIT("Cache-Control"), STR_INIT("no-store")};
    struct alk_request *r = c->sink_ud;

    (void) final;
    c->values++;
    if (r->x && !r->ended)
        reply(r, 200, JSON_TYPE, text, len, &no_store, 1);
    return ALK_OK;
}

static const struct call_sink sink_document = {NULL, document_value, single_end};

/* A call like that of /search, so that it is let in, counted, logged and cut off like one. */
static void serve_openapi(struct alk_request *r)
{
    struct target t = {.op = openapi_find(r->x->req.query)};

    if (t.op)
        start_single(r, op_name(t.op), &t, NULL, WANT_SINGLE, &sink_document);
    else
        reply_error(r, 400, "query: only version=3.1 and version=3.2 are allowed here");
}

/* EventSource can do nothing but GET. It calls all the same, so it is not for HEAD, and its input
 * is JSON in the query. */
static void serve_event_get(struct alk_request *r)
{
    static const char *const known[] = {"operation", "input", NULL};
    struct field f[QUERY_FIELDS];
    struct str operation = STR_NONE, input = STR("{}");
    struct json_error je;
    size_t n;
    int rc;

    if (!can_stream(r) || !read_query(r, known, f, &n))
        return;
    for (size_t i = 0; i < n; i++) {
        if (str_is(f[i].name, "operation"))
            operation = f[i].value;
        else
            input = f[i].value;
    }
    if (!operation.p) {
        reply_error(r, 400, "query: operation is missing");
        return;
    }
    rc = msg_parse(r->msg, input.p, input.n, &je);
    if (rc) {
        reply_parse_error(r, "query: input", rc, &je);
        return;
    }
    start_single(r, operation, NULL, r->msg->value.val, WANT_STREAM, &sink_event_source);
}

/* Like /healthz, and it follows what the embedder says as well. */
static void serve_ready(struct alk_request *r)
{
    if (r->g->ready && !r->g->d->draining && !r->g->d->leaving)
        reply(r, 200, "text/plain", "ready\n", 6, NULL, 0);
    else
        reply(r, 503, "text/plain", "not ready\n", 10, NULL, 0);
}

/* A label's value: a program's own identity provider may use any id. */
static int put_label(struct buf *b, struct str s)
{
    int rc = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            rc |= buf_puts(b, "\\n");
        else
            rc |= (s.p[i] == '\\' || s.p[i] == '"' ? buf_puts(b, "\\") : 0) |
                  buf_append(b, &s.p[i], 1);
    }
    return rc;
}

static int put_peers(struct buf *b, struct peer_table *peers)
{
    struct peer *p = peers_next(peers, NULL, true);
    int rc = p ? buf_puts(b, "# HELP alknet_peer_calls_pending Calls to a peer that it has not "
                             "answered\n# TYPE alknet_peer_calls_pending gauge\n")
               : 0;

    for (; p; p = peers_next(peers, p, true))
        rc |= buf_puts(b, "alknet_peer_calls_pending{peer=\"") | put_label(b, peer_id(p)) |
              buf_printf(b, "\"} %llu\n", (unsigned long long)peer_pending(peers, p));
    return rc;
}

/* Whoever can read it prefers it. */
static bool wants_openmetrics(const struct alk_request *r)
{
    const struct http_header *accept = http_find(&r->x->req, "accept", 6);
    struct str s = accept ? accept->value : STR_NONE;

    while (s.n && !str_starts(s, "application/openmetrics-text"))
        s = (struct str){s.p + 1, s.n - 1};
    return s.n > 0;
}

/* Sampled now, so that what is scraped is of this moment and not of the last second. */
static void serve_metrics(struct alk_request *r)
{
    struct totals t;
    struct buf b;

    connections_sample(r->g->d);
    node_totals(r->g->d->node, &t);
    buf_init(&b, &r->g->mem);
    bool open = wants_openmetrics(r);
    if ((open ? metrics_open : metrics_text)(&b, &t) || put_peers(&b, &r->g->d->node->peers) ||
        (open && buf_puts(&b, METRICS_OPEN_END)))
        reply_error(r, 503, "out of memory");
    else
        reply(r, 200, open ? METRICS_OPEN_TYPE : METRICS_TEXT_TYPE, buf_at(&b), b.len, NULL, 0);
    buf_fini(&b);
}

/* What becomes of it is decided above this room: see alk_gateway.serve_session. */
static void serve_upgrade(struct alk_request *r)
{
    r->g->above.serve_session(r);
}

/* Likewise. */
static void serve_mcp(struct alk_request *r)
{
    if (!r->route->event_get || can_stream(r))
        r->g->above.mcp_serve(r);
}

#define ROUTE(method_, path_) .method = STR_INIT(method_), .path = STR_INIT(path_)

const struct route gateway_routes[] = {
    {ROUTE("POST", "/call"), .serve = serve_call, .json = true},
    {ROUTE("POST", "/subscribe"), .serve = serve_subscribe, .json = true},
    {ROUTE("POST", "/batch"), .serve = serve_batch, .json = true},
    {ROUTE("GET", "/search"), .serve = serve_search},
    {ROUTE("GET", "/schema"), .serve = serve_schema},
    {ROUTE("GET", "/openapi.json"), .serve = serve_openapi},
    {ROUTE("GET", "/subscribe"), .serve = serve_event_get, .event_get = true},
    {ROUTE("GET", "/readyz"), .serve = serve_ready, .health = true},
    {ROUTE("POST", "/mcp"), .serve = serve_mcp, .json = true, .mcp = true},
    {ROUTE("GET", "/mcp"), .serve = serve_mcp, .event_get = true, .mcp = true},
    {ROUTE("DELETE", "/mcp"), .serve = serve_mcp, .mcp = true},
    {ROUTE("GET", WS_CALL_PATH), .serve = serve_upgrade, .authenticated = true,
     .protocol = WS_CALL_PROTOCOL},
};
const struct route metrics_route = {ROUTE("GET", "/metrics"), .serve = serve_metrics,
                                    .health = true};
const size_t gateway_route_count = sizeof gateway_routes / sizeof gateway_routes[0];
