/* Answers: the headers that each of them has, values, faults, and the decoy's look. An answer is
 * started once and ended once; where the output fails in between, the exchange is reset, so that
 * the client sees a cut body and not a short one.
 *
 * The decoy's answers go by bare(): they have none of our headers, which would tell what is
 * here. */
#include "gateway/gateway_int.h"

#include "base/buf.h"
#include "core/fault.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OWN_HEADERS_MAX 8u
#define HEADERS_MAX (OWN_HEADERS_MAX + RESPONSE_HEADERS_MAX)
#define SMALL_BODY 512u /* an output that goes out in one piece with what is around it */
#define RETRY_AFTER_MAX 86400

struct head {
    struct http_header h[HEADERS_MAX];
    size_t n;
};

/* There is room for all of ours and all that a custom route may set: alk_response_start has counted
 * those. */
static void add(struct head *h, struct str name, struct str value)
{
    assert(h->n < HEADERS_MAX);
    h->h[h->n++] = (struct http_header){name, value};
}

/* Vary goes with every answer as soon as there is an allow-list, also where no Origin came: a cache
 * would otherwise give one origin the answer of another.
 *
 * traceparent goes back as it came, so that a client finds its request in the logs. */
static void common(struct alk_request *r, struct head *h)
{
    add(h, STR("X-Request-Id"), (struct str){r->id, ID_SIZE - 1});
    if (r->traceparent.p)
        add(h, STR("traceparent"), r->traceparent);
    if (r->cors) {
        add(h, STR("Access-Control-Allow-Origin"), r->origin);
        add(h, STR("Access-Control-Expose-Headers"),
            STR("X-Request-Id, Retry-After, traceparent, Mcp-Session-Id"));
    }
    if (r->g->origins.count)
        add(h, STR("Vary"), STR("Origin"));
}

/* From here on the answer is on its way. An upgrade that is answered like this was refused. */
static void answered(struct alk_request *r)
{
    r->started = r->ended = true;
    gate_busy(r->conn);
    if (r->route && r->route->protocol)
        COUNT(r->g->d, ws_refused);
}

/* Of a custom route, or of the kind of answer; theirs come behind ours. */
static void add_all(struct head *h, const struct http_header *extra, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(h, extra[i].name, extra[i].value);
}

/* A reset is all that is left when memory ends in the middle of an answer. */
void reply(struct alk_request *r, int status, const char *type, const char *body, size_t len,
           const struct http_header *extra, size_t extra_count)
{
    struct head h = {.n = 0};

    common(r, &h);
    if (type)
        add(&h, STR("Content-Type"), str_of(type));
    add_all(&h, extra, extra_count);
    answered(r);
    if (r->x->ops->start(r->x, status, h.h, h.n, len) || (len && r->x->ops->write(r->x, body, len)))
        r->x->ops->reset(r->x);
    else
        r->x->ops->end(r->x);
}

/* On a failure the caller resets: it may have something to undo first. */
int reply_start(struct alk_request *r, int status, const struct http_header *extra,
                size_t extra_count)
{
    struct head h = {.n = 0};

    common(r, &h);
    add_all(&h, extra, extra_count);
    r->started = true;
    gate_busy(r->conn);
    return r->x->ops->start(r->x, status, h.h, h.n, HTTP_LENGTH_UNKNOWN);
}

/* The exchange is complete when this returns 0, and the stream speaks WebSocket: one that was the
 * whole connection leaves the count of HTTP connections, and what it has queued is counted by
 * whoever speaks on it. */
int reply_upgrade(struct alk_request *r, struct engine *next, struct str accept)
{
    struct head h = {.n = 0};
    int rc;

    common(r, &h);
    if (accept.p)
        add(&h, STR("Sec-WebSocket-Accept"), accept);
    if (r->offer.protocol)
        add(&h, STR("Sec-WebSocket-Protocol"), str_of(r->route->protocol));
    rc = r->x->ops->upgrade(r->x, h.h, h.n, next);
    if (rc)
        return rc;
    r->started = r->ended = true;
    r->stream->engine = NULL;
    if (r->stream->http)
        COUNT(r->g->d, http_closed);
    r->stream->http = false;
    return 0;
}

static char *put(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

/* What every call ends with, hence by hand: one write for a small value, and the length known
 * beforehand, so that nothing is chunked. The id is our own and needs no escape. */
void reply_value(struct alk_request *r, const char *text, size_t len)
{
    static const char before[] = "{\"request_id\":\"",
                      middle[] = "\",\"result\":\"ok\",\"output\":";
    const struct http_exchange_ops *ops = r->x->ops;
    struct head h = {.n = 0};
    char small[SMALL_BODY + sizeof before + sizeof middle + ID_SIZE], *to = small;
    size_t whole = sizeof before + sizeof middle - 2 + ID_SIZE - 1 + len + 1;
    int rc;

    to = put(to, before, sizeof before - 1);
    to = put(to, r->id, ID_SIZE - 1);
    to = put(to, middle, sizeof middle - 1);
    common(r, &h);
    add(&h, STR("Content-Type"), STR(JSON_TYPE));
    r->started = r->ended = true;
    gate_busy(r->conn);
    rc = ops->start(r->x, 200, h.h, h.n, whole);
    if (!rc && len <= SMALL_BODY) {
        to = put(to, text, len);
        *to++ = '}';
        rc = ops->write(r->x, small, (size_t)(to - small));
    } else if (!rc) {
        rc = ops->write(r->x, small, (size_t)(to - small)) || ops->write(r->x, text, len) ||
             ops->write(r->x, "}", 1);
    }
    if (rc)
        ops->reset(r->x);
    else
        ops->end(r->x);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* The index of the three letters in names, or -1. */
static int name_index(const char *names, const char *s)
{
    for (int i = 0; names[3 * i]; i++) {
        if (!memcmp(names + 3 * i, s, 3))
            return i;
    }
    return -1;
}

/* -1: one of them is none. */
static int digits(const char *s, size_t n)
{
    int v = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the one form of RFC 9110 (5.6.7) that may be generated. What a
 * fault says is put into a header, so nothing but this form may pass: no line end, no bytes of a
 * handler's choice. A second of 60 is a leap second. */
static bool http_date(const char *s, size_t n)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char shape[] = "xxx, xx xxx xxxx xx:xx:xx GMT";
    static const uint8_t lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int month, day, year;

    if (n != sizeof shape - 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (shape[i] != 'x' && shape[i] != s[i])
            return false;
    }
    month = name_index(months, s + 8);
    day = digits(s + 5, 2);
    year = digits(s + 12, 4);
    if (name_index(days, s) < 0 || month < 0 || day < 1 || day > lengths[month] || year < 0 ||
        digits(s + 17, 2) < 0 || digits(s + 17, 2) > 23 || digits(s + 20, 2) < 0 ||
        digits(s + 20, 2) > 59 || digits(s + 23, 2) < 0 || digits(s + 23, 2) > 60)
        return false;
    return month != 1 || day < 29 || (year % 4 == 0 && (year % 100 || year % 400 == 0));
}

/* Of the details of the fault, when they name a time that makes sense: a number of seconds or a
 * date. BUSY always has one: who asks again at once makes it worse. */
static size_t retry_after(struct alk_request *r, const alk_fault *f, char out[40])
{
    struct alk_dispatcher *d = r->g->d;
    struct msg *m;
    yyjson_val *v;
    size_t n = 0;

    if (f->details && (m = msg_new(&d->messages, r->payer))) {
        if (!msg_parse(m, f->details, strlen(f->details), NULL)) {
            v = yyjson_obj_get(m->value.val, "retry_after");
            if (json_is_number(v) && json_double(v) >= 0 && json_double(v) <= RETRY_AFTER_MAX)
                n = (size_t)snprintf(out, 40, "%.0f", json_double(v));
            else if (yyjson_is_str(v) && http_date(yyjson_get_str(v), yyjson_get_len(v)))
                n = (size_t)snprintf(out, 40, "%s", yyjson_get_str(v));
        }
        msg_free(m);
    }
    if (!n && (str_is(fault_code(f), ALK_BUSY)))
        n = (size_t)snprintf(out, 40, "1");
    return n;
}

/* Without memory for the object the status alone is sent: it says most of it. */
static void reply_object(struct alk_request *r, int status, const alk_fault *f,
                         const struct http_header *extra, size_t n)
{
    struct buf b;

    buf_init(&b, &r->g->mem);
    if (buf_puts(&b, "{") | fault_put(&b, f) | buf_puts(&b, "}"))
        reply(r, status, NULL, NULL, 0, extra, n);
    else
        reply(r, status, JSON_TYPE, buf_at(&b), b.len, extra, n);
    buf_fini(&b);
}

/* A 403 that an operation asks for by a code of its own gets no challenge: no other token would
 * help. */
void reply_failure(struct alk_request *r, const alk_call *c)
{
    const alk_fault *f = c->fault.code ? &c->fault : &fault_internal;
    int status = status_of_call(c, f, r->by != NULL);
    struct http_header h[2];
    char retry[40];
    size_t n = 0, len;

    if (str_is(fault_code(f), ALK_FORBIDDEN))
        h[n++] = (struct http_header){STR("WWW-Authenticate"),
                                      r->by ? STR("Bearer error=\"insufficient_scope\"")
                                            : STR("Bearer")};
    if ((status == 429 || status == 503) && (len = retry_after(r, f, retry)))
        h[n++] = (struct http_header){STR("Retry-After"), {retry, len}};
    reply_object(r, status, f, h, n);
}

/* Retry-After: failures of authentication are counted by the minute; a session takes longer than a
 * call to become free.
 *
 * Only the two statuses that pass by themselves are called retryable. */
void reply_error(struct alk_request *r, int status, const char *fmt, ...)
{
    char text[200];
    alk_fault f = {.size = sizeof f,
                   .retryable = status == 429 || status == 503,
                   .code = code_of_status(status),
                   .message = text};
    struct http_header h[3];
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* RFC 9110 (11.6.1) wants a challenge with each 401; RFC 6750 (3.1) names what is wrong with a
     * token that was there. */
    if (status == 401)
        h[n++] = (struct http_header){STR("WWW-Authenticate"),
                                      r->token.p ? STR("Bearer error=\"invalid_token\"")
                                                 : STR("Bearer")};
    if (status == 429 || status == 503)
        h[n++] =
            (struct http_header){STR("Retry-After"), status == 429                    ? STR("60")
                                                     : r->route && r->route->protocol ? STR("5")
                                                                                      : STR("1")};
    /* RFC 9110, 15.5.22 and RFC 6455, 4.4: what we would speak, and in which version. */
    if (status == 426) {
        h[n++] = (struct http_header){STR("Upgrade"), STR("websocket")};
        h[n++] = (struct http_header){STR("Connection"), STR("Upgrade")};
        h[n++] = (struct http_header){STR("Sec-WebSocket-Version"), STR("13")};
    }
    reply_object(r, status, &f, h, n);
}

/* ---- the decoy ------------------------------------------------------------------------------- */

/* As a plain server would answer: no id, no trace, no CORS. */
static void bare(struct alk_request *r, int status, const struct http_header *h, size_t n,
                 const char *body, size_t len)
{
    answered(r);
    if (r->x->ops->start(r->x, status, h, n, len) || r->x->ops->write(r->x, body, len))
        r->x->ops->reset(r->x);
    else
        r->x->ops->end(r->x);
}

/* No words: those of each server are its fingerprint. */
void reply_decoy_error(struct alk_request *r, int status)
{
    const struct http_header h = {STR("Content-Type"), STR("text/plain; charset=utf-8")};
    char body[16];
    int n = snprintf(body, sizeof body, "%d\n", status);

    bare(r, status, &h, 1, body, (size_t)n);
}

/* For what has no route, and in stealth for whoever has no token. */
void reply_decoy(struct alk_request *r)
{
    const struct http_header to = {STR("Location"), r->g->decoy_target};

    switch (r->g->decoy) {
    case ALK_DECOY_REDIRECT:
        bare(r, 302, &to, 1, "", 0);
        return;
    case ALK_DECOY_STATIC_SITE:
        site_serve(r);
        return;
    default:
        reply_decoy_error(r, 404);
    }
}
