/* A call of an imported operation: its input becomes a request (openapi_request.c), which the loop's
 * client sends (wire/fetch.h), and the answer becomes the call's outcome. A value or a fault goes
 * out as the service said it. What goes wrong between the two is INTERNAL with what kind of thing it
 * was; the log has the rest, which may name hosts.
 *
 * The struct lives from the handler to the call's end, which cancels the request if there is still
 * one. Answers are kept in memory that the caller pays for. */
#include "adapt/openapi_int.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/utf8.h"
#include "core/call.h"
#include "core/fault.h"
#include "core/node.h"
#include "wire/fetch.h"
#include "wire/sse.h"
#include "wire/transport.h"

#include <stdio.h>
#include <string.h>

#define TYPE_MAX 128u
#define MESSAGE_BYTES 512u

struct upstream {
    alk_call *call;
    const struct oas_operation *op;
    struct fetcher *fetcher;
    struct fetch *fetch; /* NULL: none is under way */
    struct oas_request rq;
    struct buf body, text;
    struct sse sse;
    size_t taken;       /* of the bytes that come again: events of them are out already */
    struct str waiting; /* the value of an answer that is no event, for room */
    int status;         /* 0: no answer yet */
    char type[TYPE_MAX];
    size_t type_len;
    uint32_t retry_after;
    bool has_type, has_retry_after;
    bool events; /* the answer is read as it comes */
};

static struct account *payer(const struct upstream *u)
{
    return u->call->msg->payer;
}

static void buf_begin(struct upstream *u, struct buf *b)
{
    buf_init(b, &u->call->d->mem);
    if (payer(u))
        buf_charge(b, &payer(u)->meter);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Without more than the kind of thing: what the client says may name hosts and addresses. */
static void fail(struct upstream *u, const char *what, const char *why)
{
    char line[MESSAGE_BYTES];

    snprintf(line, sizeof line, "%s%s%s", what, why ? ": " : "", why ? why : "");
    call_log_handler(u->call, line);
    call_refuse(u->call, ALK_INTERNAL, "%s", what);
}

/* No memory, or the caller may not have so much of it. */
static void fail_memory(struct upstream *u, const struct buf *b)
{
    call_end(u->call, ALK_END_FAULT, b->refused ? &fault_full : &fault_internal);
}

static void fail_held(struct upstream *u, uint64_t retry_after_ms)
{
    char details[64];
    alk_fault f = {.size = sizeof f,
                   .retryable = 1,
                   .code = ALK_BUSY,
                   .message = "the service has asked to be left alone for a while",
                   .details = details};

    snprintf(details, sizeof details, "{\"retry_after\":%llu}",
             (unsigned long long)(retry_after_ms + 999) / 1000);
    if (alk_call_fail(u->call, &f))
        call_end(u->call, ALK_END_FAULT, &fault_internal);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void give(struct upstream *u, struct str json);

/* It was known to be JSON when it was refused. */
static void on_room(alk_call *call, void *ud)
{
    struct upstream *u = ud;
    struct str json = u->waiting;
    int rc;

    u->waiting = STR_NONE;
    if (!u->events) {
        give(u, json);
        return;
    }
    rc = alk_call_emit(call, json.p, json.n);
    if (rc == ALK_EAGAIN) {
        u->waiting = json;
        alk_call_on_drain(call, on_room, u);
    } else if (rc && rc != ALK_ELIMIT && rc != ALK_EENDED) {
        call_end(call, ALK_END_FAULT, &fault_internal);
    } else if (u->fetch) {
        u->fetcher->resume(u->fetch);
    }
}

/* A subscription may be answered with a value in place of events: that one is all there is. */
static void give(struct upstream *u, struct str json)
{
    bool stream = u->call->op->type == ALK_SUBSCRIPTION;
    int rc =
        stream ? alk_call_emit(u->call, json.p, json.n) : alk_call_reply(u->call, json.p, json.n);

    if (rc == ALK_EAGAIN) {
        u->waiting = json;
        alk_call_on_drain(u->call, on_room, u);
        return;
    }
    if (!rc && stream)
        rc = alk_call_complete(u->call);
    if (rc == ALK_EJSON)
        fail(u, "the service's answer is not JSON", NULL);
    else if (rc && rc != ALK_ELIMIT && rc != ALK_EENDED)
        call_end(u->call, ALK_END_FAULT, &fault_internal);
}

/* Text becomes a JSON string, bytes that are not UTF-8 U+FFFD. */
static bool put_text(struct upstream *u, struct str s)
{
    struct buf *b = &u->text;
    struct buf clean;
    bool done;

    if (utf8_valid(s.p, s.n))
        return !buf_json_string(b, s.p, s.n);
    buf_begin(u, &clean);
    done = buf_reserve(&clean, 3 * s.n) != NULL;
    if (done) {
        buf_commit(&clean, utf8_scrub(clean.data, s.p, s.n));
        done = !buf_json_string(b, buf_at(&clean), clean.len);
    }
    b->refused |= clean.refused;
    buf_fini(&clean);
    return done;
}

static struct str body_of(const struct upstream *u)
{
    return (struct str){u->body.len ? buf_at(&u->body) : "", u->body.len};
}

static bool put_bytes(struct upstream *u)
{
    struct buf *b = &u->text;
    size_t n = BASE64_SIZE(u->body.len);
    char *room;

    if (buf_puts(b, "{\"content_type\":") || buf_json_string(b, u->type, u->type_len) ||
        buf_puts(b, ",\"base64\":\"") || !(room = buf_reserve(b, n)))
        return false;
    base64_encode(room, u->body.len ? buf_at(&u->body) : "", u->body.len);
    buf_commit(b, n);
    return !buf_puts(b, "\"}");
}

static struct str type_of(const struct upstream *u)
{
    return (struct str){u->type, u->type_len};
}

static bool has_json(const struct oas_operation *op)
{
    for (size_t i = 0; i < op->type_count; i++) {
        if (oas_is_json(op->types[i]))
            return true;
    }
    return false;
}

static bool fits(struct str pattern, struct str type)
{
    if (pattern.n > 1 && pattern.p[pattern.n - 1] == '*')
        return str_is(pattern, "*/*") ||
               (type.n >= pattern.n && !memcmp(pattern.p, type.p, pattern.n - 1));
    return str_eq(pattern, type);
}

/* A page of HTML in place of JSON, or of events, is not what the service promised: it comes from
 * something on the way. */
static bool expected(const struct upstream *u)
{
    if ((!has_json(u->op) && !u->op->plan.stream) || oas_is_json(type_of(u)))
        return true;
    for (size_t i = 0; i < u->op->type_count; i++) {
        if (fits(u->op->types[i], type_of(u)))
            return true;
    }
    return false;
}

static void succeed(struct upstream *u)
{
    struct str type = type_of(u);
    char what[TYPE_MAX + 64];

    if (!u->body.len && u->op->plan.stream) {
        alk_call_complete(u->call);
        return;
    }
    if (!u->body.len) {
        give(u, str_of("null"));
        return;
    }
    if (u->has_type && !expected(u)) {
        snprintf(what, sizeof what, "the service answered %.*s in place of %s", (int)type.n, type.p,
                 u->op->plan.stream ? "events" : "JSON");
        fail(u, what, NULL);
        return;
    }
    if (u->has_type ? oas_is_json(type) : has_json(u->op)) {
        give(u, (struct str){buf_at(&u->body), u->body.len});
        return;
    }
    if (!(str_starts(type, "text/") ? put_text(u, body_of(u)) : put_bytes(u)))
        fail_memory(u, &u->text);
    else
        give(u, (struct str){buf_at(&u->text), u->text.len});
}

/* ---- faults of the service ------------------------------------------------------------------- */

/* What it says of its error itself, where it uses one of the usual names for it. */
static size_t message_of(yyjson_val *body, int status, char out[MESSAGE_BYTES])
{
    static const char *const names[] = {"message", "detail", "error_description", "error", "title"};
    struct str said = STR_NONE;

    for (size_t i = 0; !said.n && i < sizeof names / sizeof names[0]; i++) {
        yyjson_val *v = yyjson_obj_get(body, names[i]);

        said = json_string(yyjson_is_obj(v) ? yyjson_obj_get(v, "message") : v);
    }
    if (!said.n)
        return (size_t)snprintf(out, MESSAGE_BYTES, "the service answered %d", status);
    said.n = utf8_cut(said.p, said.n, MESSAGE_BYTES);
    memcpy(out, said.p, said.n);
    return said.n;
}

/* The body as it came, and in an object the time of Retry-After, which callers of the gateway are
 * told. false: it is no JSON. */
static bool put_json(struct upstream *u, char message[MESSAGE_BYTES], size_t *message_len)
{
    const struct json_limits limits = {LIMIT(u->call->d->node, json_depth),
                                       LIMIT(u->call->d->node, json_values)};
    struct arena scratch;
    yyjson_alc alc;
    yyjson_doc *doc;
    char *copy, *text = NULL;
    size_t len = 0;

    arena_init(&scratch, &u->call->d->mem, 4096);
    if (payer(u))
        arena_charge(&scratch, &payer(u)->meter);
    alc = arena_alc(&scratch);
    copy = arena_alloc(&scratch, u->body.len + JSON_PADDING);
    if (copy && u->body.len) {
        memcpy(copy, buf_at(&u->body), u->body.len);
        if (!json_parse(copy, u->body.len, &limits, &alc, &doc, NULL)) {
            yyjson_val *root = yyjson_doc_get_root(doc);
            bool add =
                u->has_retry_after && yyjson_is_obj(root) && !yyjson_obj_get(root, "retry_after");

            *message_len = message_of(root, u->status, message);
            text = yyjson_val_write_opts(root, 0, &alc, &len, NULL);
            if (text && add)
                buf_printf(&u->text, "{\"retry_after\":%u%s", u->retry_after,
                           yyjson_obj_size(root) ? "," : "");
            if (text)
                buf_append(&u->text, text + add, len - add);
        }
    }
    arena_fini(&scratch);
    return text != NULL;
}

static bool put_details(struct upstream *u, char message[MESSAGE_BYTES], size_t *message_len)
{
    struct str type = type_of(u);

    if (!u->body.len)
        return u->has_retry_after && !buf_printf(&u->text, "{\"retry_after\":%u}", u->retry_after);
    if ((!u->has_type || oas_is_json(type)) && put_json(u, message, message_len))
        return true;
    buf_consume(&u->text, u->text.len);
    return str_starts(type, "text/") || oas_is_json(type) || !u->has_type ? put_text(u, body_of(u))
                                                                          : put_bytes(u);
}

/* Details that cannot be sent on, being too large or too deep, are left out. */
static void refuse(struct upstream *u)
{
    char code[16], message[MESSAGE_BYTES];
    alk_fault f = {.size = sizeof f, .code = code, .message = message};
    int rc;

    snprintf(code, sizeof code, "HTTP_%d", u->status);
    f.message_len = message_of(NULL, u->status, message);
    f.retryable = u->status == 429 || u->status == 502 || u->status == 503 || u->status == 504;
    if (put_details(u, message, &f.message_len) && !buf_append(&u->text, "", 1) &&
        u->text.len <= LIMIT(u->call->d->node, output_bytes))
        f.details = buf_at(&u->text);
    rc = alk_call_fail(u->call, &f);
    if (rc && rc != ALK_EENDED) {
        f.details = NULL;
        rc = alk_call_fail(u->call, &f);
    }
    if (rc && rc != ALK_EENDED)
        call_end(u->call, ALK_END_FAULT, &fault_internal);
}

/* ---- events of the request ------------------------------------------------------------------- */

/* One value, parsed where it is JSON. What there is no room for waits, and the stream with it. */
static int on_sse(void *ud, struct str name, struct str data)
{
    struct upstream *u = ud;
    int rc = alk_call_emit(u->call, data.p, data.n);

    (void)name;
    buf_consume(&u->text, u->text.len);
    if (rc == ALK_EJSON) {
        rc = put_text(u, data) ? alk_call_emit(u->call, buf_at(&u->text), u->text.len) : ALK_ENOMEM;
    } else if (rc == ALK_EAGAIN && buf_append(&u->text, data.p, data.n)) {
        rc = ALK_ENOMEM;
    }
    if (rc == ALK_EAGAIN) {
        u->waiting = (struct str){buf_at(&u->text), u->text.len};
        alk_call_on_drain(u->call, on_room, u);
        return 1;
    }
    if (rc && rc != ALK_ELIMIT && rc != ALK_EENDED)
        fail_memory(u, &u->text);
    return 0;
}

static void read_retry_after(struct upstream *u, struct str v)
{
    uint32_t seconds = 0;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9' || seconds > 86400)
            return;
        seconds = seconds * 10 + (uint32_t)(v.p[i] - '0');
    }
    u->has_retry_after = v.n && seconds <= 86400;
    u->retry_after = seconds;
}

static bool success(const struct upstream *u)
{
    return u->status >= 200 && u->status < 300;
}

static void on_head(void *ud, const struct fetch_head *h)
{
    struct upstream *u = ud;

    u->status = h->status;
    u->type_len = oas_media_type(h->content_type, u->type, sizeof u->type).n;
    u->has_type = u->type_len > 0;
    u->events = success(u) && u->op->plan.stream && str_is(type_of(u), "text/event-stream");
    if (u->status == 429 || u->status == 503)
        read_retry_after(u, fetch_field(h, "retry-after"));
}

/* The bytes of a chunk that is not taken come again, all of them and maybe more. */
static bool feed_events(struct upstream *u, const char *data, size_t len)
{
    size_t taken = 0;
    int rc = sse_feed(&u->sse, data + u->taken, len - u->taken, &taken);

    if (rc == SSE_STOPPED) {
        u->taken += taken;
        return false;
    }
    u->taken = 0;
    if (rc)
        fail(u, rc == SSE_TOO_LARGE ? "an event of the service is too large" : "out of memory",
             NULL);
    return true;
}

/* The rest of the answer does not come. Of an error its status is known, and counts. */
static void cut_short(struct upstream *u, const char *what, const char *why)
{
    if (!u->status || success(u)) {
        fail(u, what, why);
        return;
    }
    call_log_handler(u->call, why);
    buf_truncate(&u->body, 0);
    refuse(u);
}

/* The client sets a limit to all answers but those that are to be events. More than twice what may
 * be given is refused in any case. */
static bool is_too_much(const struct upstream *u, size_t more)
{
    size_t most = u->op->plan.response_bytes;

    if (!most)
        most = 2 * (size_t)LIMIT(u->call->d->node, output_bytes);
    return u->op->plan.stream && u->body.len + more > most;
}

static bool on_data(void *ud, const char *data, size_t len)
{
    struct upstream *u = ud;

    if (call_ended(u->call))
        return true;
    if (u->events)
        return feed_events(u, data, len);
    if (is_too_much(u, len))
        cut_short(u, "the service's answer is too large", "the answer is no stream of events");
    else if (buf_append(&u->body, data, len))
        fail_memory(u, &u->body);
    return true;
}

static void ended(struct upstream *u)
{
    if (!u->status)
        fail(u, "the service did not answer", "what came has no head");
    else if (!success(u))
        refuse(u);
    else if (!u->events)
        succeed(u);
    else if (!sse_at_boundary(&u->sse))
        fail(u, "the service's stream ended within an event", NULL);
    else
        alk_call_complete(u->call);
}

static void on_fetched(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct upstream *u = ud;

    u->fetch = NULL;
    if (call_ended(u->call))
        return;
    switch (outcome) {
    case FETCH_DONE:
        ended(u);
        break;
    case FETCH_HELD:
        fail_held(u, retry_after_ms);
        break;
    case FETCH_TOO_LARGE:
        cut_short(u, "the service's answer is too large", why);
        break;
    case FETCH_TIMED_OUT:
        call_log_handler(u->call, why);
        call_refuse(u->call, ALK_TIMEOUT, "the service did not answer in time");
        break;
    case FETCH_REFUSED:
        fail(u, "the service leads to a place that is not allowed", why);
        break;
    default:
        cut_short(u,
                  u->status ? "the service's answer is incomplete" : "the service did not answer",
                  why);
    }
}

/* ---- the call -------------------------------------------------------------------------------- */

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct upstream *u = ud;

    (void)why;
    (void)fault;
    if (u->fetch)
        u->fetcher->cancel(u->fetch);
    sse_fini(&u->sse);
    oas_request_fini(&u->rq);
    buf_fini(&u->body);
    buf_fini(&u->text);
    mem_free(&call->d->mem, u);
}

static const char *secret(void *ud, const char *name, size_t *len)
{
    return alk_call_capability(ud, name, len);
}

static void complain(alk_call *call, const struct oas_complaint *why)
{
    struct buf b;
    int rc;

    buf_init(&b, &call->d->mem);
    rc = buf_puts(&b, "{\"errors\":[{\"path\":") |
         buf_json_string(&b, why->path, strlen(why->path)) |
         buf_puts(&b, ",\"keyword\":\"style\",\"message\":") |
         buf_json_string(&b, why->text, strlen(why->text)) | buf_append(&b, "}]}", 4);
    if (!rc)
        call->fault.details = arena_dup(&call->msg->arena, buf_at(&b), b.len);
    buf_fini(&b);
    call_refuse(call, ALK_INVALID_INPUT, "%s: %s", *why->path ? why->path : "input", why->text);
}

static int send(struct upstream *u)
{
    static const struct fetch_events events = {on_head, on_data, on_fetched};
    const struct oas_plan *plan = &u->op->plan;
    struct fetch_request rq = {.method = plan->method,
                               .url = buf_at(&u->rq.url),
                               .traceparent = u->call->traceparent.p,
                               .deadline = u->call->deadline,
                               .response_bytes = plan->response_bytes,
                               .idempotent = plan->idempotent,
                               .stream = plan->stream,
                               .private_addresses = plan->private_addresses};

    rq.headers = (struct str){u->rq.headers.len ? buf_at(&u->rq.headers) : "", u->rq.headers.len};
    if (u->rq.has_body)
        rq.body = (struct str){u->rq.body.len ? buf_at(&u->rq.body) : "", u->rq.body.len};
    u->fetch = u->fetcher->start(u->fetcher, &rq, &events, u);
    return u->fetch ? ALK_OK : ALK_ENOMEM;
}

/* What is sent is charged too: a small input can become large, as base64 does not. */
static int begin(struct upstream *u)
{
    const struct host *host = u->call->d->node->host;
    struct oas_complaint why;
    uint8_t random[16] = {0};
    int rc;

    if (u->op->plan.body == BODY_MULTIPART && host->random(random, sizeof random))
        return ALK_ESYSTEM;
    rc = oas_request_build(&u->rq, &u->op->plan, u->call->input.val, secret, u->call, random, &why);
    if (rc == ALK_EINVAL) {
        complain(u->call, &why);
        return ALK_OK;
    }
    return rc ? rc : send(u);
}

int oas_call(alk_call *call, void *ud)
{
    alk_loop *loop = dispatcher_loop(call->d);
    struct upstream *u;

    if (!loop) {
        call_refuse(call, ALK_INTERNAL, "there is no loop to send requests from");
        return ALK_OK;
    }
    u = mem_zalloc(&call->d->mem, sizeof *u);
    if (!u)
        return ALK_ENOMEM;
    u->call = call;
    u->op = ud;
    u->fetcher = loop_transport(loop)->fetcher;
    oas_request_init(&u->rq, &call->d->mem);
    buf_begin(u, &u->body);
    buf_begin(u, &u->text);
    sse_init(&u->sse, &call->d->mem, LIMIT(call->d->node, output_bytes), on_sse, u);
    if (payer(u)) {
        buf_charge(&u->sse.line, &payer(u)->meter);
        buf_charge(&u->sse.data, &payer(u)->meter);
    }
    alk_call_on_end(call, on_end, u);
    return begin(u);
}

void oas_operation_free(void *ud)
{
    struct oas_operation *op = ud;

    oas_service_unref(op->service);
}
