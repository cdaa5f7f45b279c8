/* One request of JSON-RPC over the loop's HTTP client, and what comes back: an answer as JSON, or
 * events of which one is the answer (Streamable HTTP). An answer has the id of its request, or is
 * none.
 *
 * Whoever asks may do anything when it is answered, x freed included. So that is never done within
 * the reading of bytes: what is found there stops the request, and is told from a task. When the
 * answer was an event, the end of the stream is waited for a moment, since a request that is cut
 * short takes its connection with it.
 *
 * In a session, a stream that is cut before the answer, and whose events have had ids, goes on in the
 * answer to a GET that names the last one. */
#include "adapt/mcp_client.h"

#include "adapt/openapi_int.h"
#include "base/base64.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- ends -------------------------------------------------------------------------------------- */

static void tell(struct mcp_exchange *x)
{
    timer_clear(&x->d->schedule, &x->timer);
    x->answer.status = x->status;
    x->answer.what = x->what;
    x->answer.why = x->why;
    x->on_answer(x->ud, &x->answer);
}

static void on_task(struct task *t)
{
    tell(container_of(t, struct mcp_exchange, task));
}

static void cancel(struct mcp_exchange *x)
{
    if (x->fetch)
        x->fetcher->cancel(x->fetch);
    x->fetch = NULL;
}

static void resume(struct mcp_exchange *x);

static void on_timer(struct timer *t, uint64_t now)
{
    struct mcp_exchange *x = container_of(t, struct mcp_exchange, timer);

    (void)now;
    if (!x->got) {
        resume(x);
        return;
    }
    cancel(x);
    tell(x);
}

static void nothing(struct mcp_exchange *x, int kind, const char *why, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

static void nothing(struct mcp_exchange *x, int kind, const char *why, const char *what, ...)
{
    va_list ap;

    x->answer = (struct mcp_answer){.kind = kind};
    va_start(ap, what);
    vsnprintf(x->what, sizeof x->what, what, ap);
    va_end(ap);
    snprintf(x->why, sizeof x->why, "%s", why ? why : "");
}

/* From within the reading of bytes. */
static void give_up(struct mcp_exchange *x)
{
    cancel(x);
    task_post(&x->d->schedule, &x->task);
}

static void no_memory(struct mcp_exchange *x, bool full)
{
    nothing(x, MCP_MEMORY, NULL, "out of memory");
    x->answer.full = full;
}

/* ---- what came --------------------------------------------------------------------------------- */

static bool success(const struct mcp_exchange *x)
{
    return x->status >= 200 && x->status < 300;
}

/* false: it is no JSON, or none that is taken; the answer says so. */
static bool parse(struct mcp_exchange *x, struct str text, yyjson_val **root)
{
    const struct json_limits limits = {LIMIT(x->d->node, json_depth),
                                       LIMIT(x->d->node, json_values)};
    yyjson_alc alc = arena_alc(&x->arena);
    struct json_error e = {.status = JSON_ENOMEM};
    yyjson_doc *doc;
    char *copy;

    arena_reset(&x->arena);
    x->arena.refused = false;
    copy = arena_alloc(&x->arena, text.n + JSON_PADDING);
    if (copy) {
        memcpy(copy, text.p, text.n);
        if (!json_parse(copy, text.n, &limits, &alc, &doc, &e)) {
            *root = yyjson_doc_get_root(doc);
            return true;
        }
    }
    if (e.status == JSON_ENOMEM)
        no_memory(x, x->arena.refused);
    else
        nothing(x, MCP_NOTHING, e.text,
                "the server's answer is not JSON, or too deep or too large");
    return false;
}

static bool is_mine(const struct mcp_exchange *x, yyjson_val *id)
{
    return yyjson_is_uint(id) && yyjson_get_uint(id) == x->id;
}

/* true: it is what was asked for, or it ends the exchange in another way. An error that is no
 * success of HTTP's need not know the id: the server may not have read so far. */
static bool take(struct mcp_exchange *x, yyjson_val *root)
{
    struct str method = json_string(yyjson_obj_get(root, "method"));
    yyjson_val *id = yyjson_obj_get(root, "id"), *error = yyjson_obj_get(root, "error");
    yyjson_val *code = yyjson_obj_get(error, "code");

    if (method.p) {
        if (x->in_session && (yyjson_is_str(id) || yyjson_is_int(id)))
            mcp_reply(x, method, id);
        if (x->on_message)
            x->on_message(x->ud, method, yyjson_obj_get(root, "params"));
        return false;
    }
    if (!is_mine(x, id) && (success(x) || !error || (id && !yyjson_is_null(id)))) {
        nothing(x, MCP_NOTHING, NULL,
                yyjson_is_obj(root) ? "the server answered another request"
                                    : "the server's answer is no message of JSON-RPC");
    } else if (yyjson_is_int(code)) {
        nothing(x, MCP_ERROR, NULL, "the server answered an error");
        x->answer.code = yyjson_get_sint(code);
        x->answer.message = json_string(yyjson_obj_get(error, "message"));
        x->answer.data = yyjson_obj_get(error, "data");
    } else if (yyjson_is_obj(yyjson_obj_get(root, "result"))) {
        nothing(x, MCP_RESULT, NULL, "%s", "");
        x->answer.result = yyjson_obj_get(root, "result");
    } else {
        nothing(x, MCP_NOTHING, NULL, "the server's answer has no result");
    }
    return true;
}

/* The first event of a stream may be empty, so that it has an id. */
static int on_event(void *ud, struct str name, struct str data)
{
    struct mcp_exchange *x = ud;
    yyjson_val *root = NULL;
    bool parsed;

    if (x->got || !data.n || (name.n && !str_is(name, "message")))
        return 0;
    parsed = parse(x, data, &root);
    x->got = !parsed || take(x, root);
    if (!x->got)
        return 0;
    if (!parsed || x->answer.kind == MCP_NOTHING)
        give_up(x);
    else
        timer_set(&x->d->schedule, &x->timer, x->d->now + MCP_LINGER_NS);
    return 0;
}

static bool keep_session(struct mcp_exchange *x, struct str id)
{
    for (size_t i = 0; i < id.n; i++) {
        if (id.p[i] <= 0x20 || id.p[i] >= 0x7f)
            return false;
    }
    return id.n <= MCP_SESSION_BYTES && !buf_append(&x->session, id.p, id.n);
}

static void on_head(void *ud, const struct fetch_head *h)
{
    struct mcp_exchange *x = ud;
    struct str type = oas_media_type(h->content_type, x->type, sizeof x->type - 1);
    struct str session = fetch_field(h, "mcp-session-id");

    x->type[type.n] = 0;
    x->status = h->status;
    x->events = success(x) && x->kind != MCP_NOTE && str_is(type, "text/event-stream");
    if (session.p && !keep_session(x, session)) {
        nothing(x, MCP_NOTHING, NULL, "the server's session has an id that cannot be used");
        give_up(x);
    }
}

static bool on_data(void *ud, const char *data, size_t len)
{
    struct mcp_exchange *x = ud;
    size_t taken;
    int rc;

    if (x->events) {
        rc = x->got ? SSE_OK : sse_feed(&x->sse, data, len, &taken);
        if (rc == SSE_TOO_LARGE)
            nothing(x, MCP_NOTHING, NULL, "an event of the server is too large");
        else if (rc)
            no_memory(x, x->sse.line.refused || x->sse.data.refused);
        if (rc)
            give_up(x);
    } else if (x->text.len + len > x->most) {
        nothing(x, MCP_NOTHING, NULL, "the server's answer is too large");
        give_up(x);
    } else if (buf_append(&x->text, data, len)) {
        no_memory(x, x->text.refused);
        give_up(x);
    }
    return true;
}

/* The whole of it is there, and is no stream of events. */
static void read_body(struct mcp_exchange *x)
{
    struct str text = {x->text.len ? buf_at(&x->text) : "", x->text.len};
    bool json = oas_is_json(str_of(x->type));
    yyjson_val *root;

    if (x->kind == MCP_NOTE && success(x)) {
        nothing(x, MCP_RESULT, NULL, "%s", "");
        return;
    }
    if (success(x) && !json) {
        nothing(x, MCP_NOTHING, NULL, "the server answered %s%s in place of JSON or events",
                *x->type ? x->type : "nothing", x->kind == MCP_GET ? " to GET" : "");
        return;
    }
    if (success(x)) {
        if (parse(x, text, &root) && !take(x, root))
            nothing(x, MCP_NOTHING, NULL, "the server gave no answer");
        return;
    }
    if (!text.n || !json || x->kind == MCP_NOTE || x->kind == MCP_GET || !parse(x, text, &root) ||
        !take(x, root) || x->answer.kind != MCP_ERROR)
        nothing(x, MCP_STATUS, NULL, "the server answered %d", x->status);
}

/* true: the stream goes on later. */
static bool is_resumed(struct mcp_exchange *x, int outcome)
{
    uint64_t retry = x->sse.retry_ms ? x->sse.retry_ms * MILLI : MCP_RETRY_MIN_NS;

    if (!x->events || !x->in_session || x->kind != MCP_REQUEST || !x->sse.id.len ||
        (outcome != FETCH_DONE && outcome != FETCH_FAILED) || x->resumes == MCP_RESUMES ||
        x->d->now + retry >= x->deadline || loop_transport(dispatcher_loop(x->d))->leaving)
        return false;
    buf_swap(&x->last_id, &x->sse.id);
    timer_set(&x->d->schedule, &x->timer, x->d->now + retry);
    return true;
}

static void on_fetched(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct mcp_exchange *x = ud;

    x->fetch = NULL;
    if (x->got) {
        tell(x);
        return;
    }
    if (is_resumed(x, outcome))
        return;
    if (outcome == FETCH_HELD) {
        nothing(x, MCP_HELD, why, "the server has asked to be left alone for a while");
        x->answer.retry_after_ms = retry_after_ms;
    } else if (outcome == FETCH_TIMED_OUT) {
        nothing(x, MCP_LATE, why, "the server did not answer in time");
    } else if (outcome == FETCH_TOO_LARGE && (!x->status || success(x))) {
        nothing(x, MCP_NOTHING, why, "the server's answer is too large");
    } else if (outcome == FETCH_REFUSED) {
        nothing(x, MCP_NOTHING, why, "the server leads to a place that is not allowed");
    } else if (outcome == FETCH_FAILED && !x->status) {
        nothing(x, MCP_NOTHING, why, "the server cannot be reached");
    } else if (x->events) {
        nothing(x, MCP_NOTHING, why, "the server's stream ended before its answer");
    } else if (outcome != FETCH_DONE && success(x)) {
        nothing(x, MCP_NOTHING, why, "the server's answer is incomplete");
    } else {
        read_body(x);
    }
    tell(x);
}

/* ---- what is sent ------------------------------------------------------------------------------ */

static bool fits_header(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] >= 0x7f)
            return false;
    }
    return s.n && s.p[0] != ' ' && s.p[s.n - 1] != ' ' && !str_starts(s, "=?base64?");
}

int mcp_put_header(struct mcp_exchange *x, const char *prefix, struct str name, struct str value)
{
    struct buf *b = &x->headers;
    size_t n = BASE64_SIZE(value.n);
    char *room;
    int rc = buf_puts(b, prefix) | buf_append(b, name.p, name.n) | buf_puts(b, ": ");

    if (fits_header(value)) {
        rc |= buf_append(b, value.p, value.n);
    } else if (!rc && !(rc = buf_puts(b, "=?base64?"))) {
        room = buf_reserve(b, n + 1);
        if (room) {
            base64_encode(room, value.p, value.n);
            buf_commit(b, n);
        }
        rc = room ? buf_puts(b, "?=") : -1;
    }
    return rc | buf_puts(b, "\r\n") ? ALK_ENOMEM : ALK_OK;
}

static int put_meta(struct mcp_exchange *x, const struct mcp_era *era, bool progress)
{
    struct buf *b = &x->body;
    int rc = buf_puts(b, "\"_meta\":{");

    if (era->kind == ERA_STATELESS)
        rc |= buf_printf(b,
                         "\"" MCP_META_VERSION "\":\"%s\",\"" MCP_META_CLIENT
                         "\":{\"name\":\"alknet\",\"version\":\"" ALK_VERSION
                         "\"},\"" MCP_META_CAPABILITIES "\":{}%s",
                         era->version, progress ? "," : "");
    if (progress)
        rc |= buf_printf(b, "\"progressToken\":%llu", (unsigned long long)x->id);
    return rc | buf_puts(b, "}");
}

static int put_headers(struct mcp_exchange *x, const struct mcp_era *era, const char *method)
{
    struct buf *b = &x->headers;
    int rc = buf_append(b, x->server->headers.p ? x->server->headers.p : "", x->server->headers.n);

    if (method)
        rc |= buf_puts(b, "Accept: application/json, text/event-stream\r\n"
                          "Content-Type: application/json\r\n");
    else
        rc |= buf_puts(b, "Accept: text/event-stream\r\n");
    if (*era->version)
        rc |= buf_printf(b, "MCP-Protocol-Version: %s\r\n", era->version);
    if (era->kind == ERA_STATELESS)
        rc |= buf_printf(b, "Mcp-Method: %s\r\n", method);
    if (*era->session)
        rc |= buf_printf(b, "Mcp-Session-Id: %s\r\n", era->session);
    return rc;
}

static void begin_buf(struct mcp_exchange *x, struct buf *b)
{
    buf_fini(b);
    buf_init(b, &x->d->mem);
    buf_charge(b, x->meter);
}

int mcp_begin(struct mcp_exchange *x, int kind, const struct mcp_era *era, const char *method,
              bool progress)
{
    int rc = 0;

    mcp_exchange_stop(x);
    begin_buf(x, &x->headers);
    begin_buf(x, &x->body);
    begin_buf(x, &x->text);
    begin_buf(x, &x->session);
    begin_buf(x, &x->last_id);
    x->resumes = 0;
    x->headers.secret = x->session.secret = true;
    x->kind = (uint8_t)kind;
    x->generation = era->generation;
    x->in_session = *era->session != 0;
    x->status = 0;
    x->events = x->got = false;
    x->type[0] = x->what[0] = x->why[0] = 0;
    if (kind == MCP_REQUEST || kind == MCP_LISTEN)
        x->id = __atomic_add_fetch(&x->server->ids, 1, __ATOMIC_RELAXED);
    if (kind != MCP_GET)
        rc |= buf_puts(&x->body, "{\"jsonrpc\":\"2.0\",");
    if (kind == MCP_REQUEST || kind == MCP_LISTEN)
        rc |= buf_printf(&x->body, "\"id\":%llu,", (unsigned long long)x->id);
    if (kind != MCP_GET)
        rc |= buf_printf(&x->body, "\"method\":\"%s\",\"params\":{", method) |
              put_meta(x, era, progress);
    return rc | put_headers(x, era, method) ? ALK_ENOMEM : ALK_OK;
}

static int start(struct mcp_exchange *x, const struct fetch_request *rq)
{
    static const struct fetch_events events = {on_head, on_data, on_fetched};

    sse_fini(&x->sse);
    sse_init(&x->sse, &x->d->mem, x->most, on_event, x);
    x->sse.keeps_ids = x->in_session && x->kind == MCP_REQUEST;
    buf_charge(&x->sse.line, x->meter);
    buf_charge(&x->sse.data, x->meter);
    x->fetch = x->fetcher->start(x->fetcher, rq, &events, x);
    return x->fetch ? ALK_OK : ALK_ENOMEM;
}

int mcp_send(struct mcp_exchange *x, uint64_t deadline, size_t most, bool idempotent,
             const char *traceparent)
{
    struct fetch_request rq = {.method = x->kind == MCP_GET ? "GET" : "POST",
                               .url = x->server->url,
                               .headers = {buf_at(&x->headers), x->headers.len},
                               .traceparent = traceparent,
                               .deadline = deadline,
                               .response_bytes = most ? most : x->server->response_bytes,
                               .idempotent = idempotent,
                               .stream = x->kind == MCP_GET || x->kind == MCP_LISTEN,
                               .private_addresses = x->server->private_addresses};

    if (x->kind != MCP_GET) {
        if (buf_puts(&x->body, "}}"))
            return ALK_ENOMEM;
        rq.body = (struct str){buf_at(&x->body), x->body.len};
    }
    x->deadline = deadline;
    x->most = rq.response_bytes ? rq.response_bytes : 2 * (size_t)LIMIT(x->d->node, output_bytes);
    return start(x, &rq);
}

/* The era of the first request counts: another session knows nothing of its stream. */
static int ask_for_rest(struct mcp_exchange *x)
{
    struct fetch_request rq = {.method = "GET",
                               .url = x->server->url,
                               .deadline = x->deadline,
                               .response_bytes = x->most,
                               .private_addresses = x->server->private_addresses};
    struct mcp_era era;

    mcp_server_era(x->server, &era);
    buf_consume(&x->headers, x->headers.len);
    if (era.generation != x->generation)
        return ALK_EREMOTE;
    if (put_headers(x, &era, NULL) ||
        mcp_put_header(x, "", str_of("Last-Event-ID"),
                       (struct str){buf_at(&x->last_id), x->last_id.len}))
        return ALK_ENOMEM;
    rq.headers = (struct str){buf_at(&x->headers), x->headers.len};
    x->resumes++;
    return start(x, &rq);
}

static void resume(struct mcp_exchange *x)
{
    int rc = ask_for_rest(x);

    if (!rc)
        return;
    if (rc == ALK_ENOMEM)
        no_memory(x, x->headers.refused);
    else
        nothing(x, MCP_NOTHING, NULL, "the server's stream ended before its answer");
    tell(x);
}

/* ---- life -------------------------------------------------------------------------------------- */

void mcp_exchange_init(struct mcp_exchange *x, struct mcp_server *server, struct alk_dispatcher *d,
                       struct meter *meter, void *ud)
{
    memset(x, 0, sizeof *x);
    x->server = server;
    x->d = d;
    x->fetcher = loop_transport(dispatcher_loop(d))->fetcher;
    x->meter = meter;
    x->ud = ud;
    buf_init(&x->headers, &d->mem);
    buf_init(&x->body, &d->mem);
    buf_init(&x->text, &d->mem);
    buf_init(&x->session, &d->mem);
    buf_init(&x->last_id, &d->mem);
    sse_init(&x->sse, &d->mem, 0, on_event, x);
    arena_init(&x->arena, &d->mem, 4096);
    arena_charge(&x->arena, meter);
    task_init(&x->task, on_task);
    timer_init(&x->timer, on_timer);
}

void mcp_exchange_stop(struct mcp_exchange *x)
{
    cancel(x);
    list_del(&x->task.link);
    timer_clear(&x->d->schedule, &x->timer);
}

void mcp_exchange_fini(struct mcp_exchange *x)
{
    mcp_exchange_stop(x);
    buf_fini(&x->headers);
    buf_fini(&x->body);
    buf_fini(&x->text);
    buf_fini(&x->session);
    buf_fini(&x->last_id);
    sse_fini(&x->sse);
    arena_fini(&x->arena);
}

/* ---- what others say of it --------------------------------------------------------------------- */

/* One line of UTF-8, whatever the server wrote. */
static void line_of(char out[MCP_WHY], const char *text)
{
    size_t n = utf8_cut(text, strlen(text), MCP_WHY - 1);

    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    out[n] = 0;
}

int mcp_failure(const struct mcp_answer *a, const char *asked, char why[MCP_WHY])
{
    char text[MCP_WHY + 300];
    int rc = ALK_EREMOTE;

    if (a->kind == MCP_ERROR) {
        snprintf(text, sizeof text, "%s: error %lld: ", asked, (long long)a->code);
        utf8_show(text + strlen(text), 300, a->message.p, a->message.n);
    } else {
        snprintf(text, sizeof text, "%s: %s%s%s", asked, a->what, *a->why ? ": " : "", a->why);
    }
    line_of(why, text);
    if (a->kind == MCP_MEMORY)
        rc = a->full ? ALK_ELIMIT : ALK_ENOMEM;
    else if (a->status == 401 || a->status == 403)
        rc = ALK_ECONFIG;
    return rc;
}
