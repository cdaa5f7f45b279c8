/* Answers of the gateway. A status is decided here and nowhere else; docs/http.md has the table. */
#include "gateway/gateway.h"

#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OWN_HEADERS_MAX 8u
#define HEADERS_MAX (OWN_HEADERS_MAX + RESPONSE_HEADERS_MAX)
#define SMALL_BODY 512u /* an output that goes out in one piece with what is around it */
#define RETRY_AFTER_MAX 86400

#define STR(literal)                                                                               \
    (struct str)                                                                                   \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

struct head {
    struct http_header h[HEADERS_MAX];
    size_t n;
};

static void add(struct head *h, struct str name, struct str value)
{
    assert(h->n < HEADERS_MAX);
    h->h[h->n++] = (struct http_header){name, value};
}

static void common(struct alk_request *r, struct head *h)
{
    add(h, STR("X-Request-Id"), (struct str){r->id, ID_SIZE - 1});
    if (r->traceparent.p)
        add(h, STR("traceparent"), (struct str){r->traceparent.p, r->traceparent.n});
    if (r->cors) {
        add(h, STR("Access-Control-Allow-Origin"), (struct str){r->origin.p, r->origin.n});
        add(h, STR("Access-Control-Expose-Headers"), STR("X-Request-Id, Retry-After, traceparent"));
    }
    if (r->g->origins.count)
        add(h, STR("Vary"), STR("Origin"));
}

/* From here on the answer is on its way. */
static void answered(struct alk_request *r)
{
    r->started = r->ended = true;
    gate_busy(r->conn);
    if (r->route && r->route->protocol)
        COUNT(r->g->d, ws_refused);
}

static void add_all(struct head *h, const struct http_header *extra, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(h, extra[i].name, extra[i].value);
}

void reply(struct alk_request *r, int status, const char *type, const char *body, size_t len,
           const struct http_header *extra, size_t extra_count)
{
    struct head h = {.n = 0};

    common(r, &h);
    if (type)
        add(&h, STR("Content-Type"), (struct str){type, strlen(type)});
    add_all(&h, extra, extra_count);
    answered(r);
    if (r->x->ops->start(r->x, status, h.h, h.n, len) || (len && r->x->ops->write(r->x, body, len)))
        r->x->ops->reset(r->x);
    else
        r->x->ops->end(r->x);
}

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

int reply_upgrade(struct alk_request *r, struct engine *next, struct str accept)
{
    struct head h = {.n = 0};
    int rc;

    common(r, &h);
    add(&h, STR("Sec-WebSocket-Accept"), accept);
    if (r->offer.protocol)
        add(&h, STR("Sec-WebSocket-Protocol"),
            (struct str){r->route->protocol, strlen(r->route->protocol)});
    rc = r->x->ops->upgrade(r->x, h.h, h.n, next);
    if (rc)
        return rc;
    r->started = r->ended = true;
    r->conn->http = false;
    r->conn->engine = NULL;
    COUNT(r->g->d, http_closed);
    return 0;
}

static char *put(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

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

/* ---- faults ------------------------------------------------------------------------------------ */

int put_fault(struct buf *b, const alk_fault *f)
{
    int rc = buf_puts(b, "{\"code\":") | buf_json_string(b, f->code, strlen(f->code));

    rc |= buf_puts(b, ",\"message\":") | buf_json_string(b, f->message, strlen(f->message));
    rc |= buf_puts(b, f->retryable ? ",\"retryable\":true" : ",\"retryable\":false");
    if (f->details)
        rc |= buf_puts(b, ",\"details\":") | buf_puts(b, f->details);
    return rc | buf_puts(b, "}");
}

static int passed_on(int status)
{
    static const int as_is[] = {400, 403, 404, 409, 410, 412, 422, 423, 429, 451};

    if (status >= 500 && status <= 599)
        return status;
    for (size_t i = 0; i < sizeof as_is / sizeof as_is[0]; i++) {
        if (as_is[i] == status)
            return status;
    }
    return 502;
}

/* n of a code HTTP_<n>, or what the operation declares for the code; 0: neither. */
static int declared_status(const char *code, const struct operation *op)
{
    size_t len = strlen(code);

    if (len == 8 && !memcmp(code, "HTTP_", 5) && code[5] >= '1' && code[5] <= '5' &&
        code[6] >= '0' && code[6] <= '9' && code[7] >= '0' && code[7] <= '9')
        return (code[5] - '0') * 100 + (code[6] - '0') * 10 + (code[7] - '0');
    for (size_t i = 0; op && i < op->error_count; i++) {
        const struct error_spec *e = &op->errors[i];

        if (e->code.n == len && !memcmp(e->code.p, code, len))
            return e->http_status;
    }
    return 0;
}

static int status_of(const alk_fault *f, const struct operation *op, bool identified)
{
    static const struct {
        const char *code;
        int status;
    } table[] = {
        {ALK_NOT_FOUND, 404}, {ALK_INVALID_INPUT, 422}, {ALK_INVALID_OPERATION_TYPE, 400},
        {ALK_TIMEOUT, 504},   {ALK_BUSY, 503},          {ALK_INTERNAL, 500},
    };
    int declared;

    if (!strcmp(f->code, ALK_FORBIDDEN))
        return identified ? 403 : 401;
    if (f->message == fault_rate.message)
        return 429;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!strcmp(table[i].code, f->code))
            return table[i].status;
    }
    declared = declared_status(f->code, op);
    return declared ? passed_on(declared) : 500;
}

/* The index of the three letters in names, or -1. */
static int name_index(const char *names, const char *s)
{
    for (int i = 0; names[3 * i]; i++) {
        if (!memcmp(names + 3 * i, s, 3))
            return i;
    }
    return -1;
}

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

/* "Sun, 06 Nov 1994 08:49:37 GMT", the one form of RFC 9110 that may be generated. */
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

static size_t retry_after(struct alk_request *r, const alk_fault *f, char out[40])
{
    struct alk_dispatcher *d = r->g->d;
    struct msg *m;
    yyjson_val *v;
    size_t n = 0;

    if (f->details && (m = msg_new(&d->messages))) {
        if (!msg_parse(m, f->details, strlen(f->details), NULL)) {
            v = yyjson_obj_get(m->value.val, "retry_after");
            if (json_is_number(v) && json_double(v) >= 0 && json_double(v) <= RETRY_AFTER_MAX)
                n = (size_t)snprintf(out, 40, "%.0f", json_double(v));
            else if (yyjson_is_str(v) && http_date(yyjson_get_str(v), yyjson_get_len(v)))
                n = (size_t)snprintf(out, 40, "%s", yyjson_get_str(v));
        }
        msg_free(m);
    }
    if (!n && (!strcmp(f->code, ALK_BUSY)))
        n = (size_t)snprintf(out, 40, "1");
    return n;
}

static void reply_object(struct alk_request *r, int status, const alk_fault *f,
                         const struct http_header *extra, size_t n)
{
    struct buf b;

    buf_init(&b, &r->g->mem);
    if (put_fault(&b, f))
        reply(r, status, NULL, NULL, 0, extra, n);
    else
        reply(r, status, JSON_TYPE, buf_at(&b), b.len, extra, n);
    buf_fini(&b);
}

void reply_fault(struct alk_request *r, const alk_fault *f, const struct operation *op)
{
    int status = status_of(f, op, r->identity != NULL);
    struct http_header h[2];
    char retry[40];
    size_t n = 0, len;

    if (!strcmp(f->code, ALK_FORBIDDEN))
        h[n++] = (struct http_header){STR("WWW-Authenticate"),
                                      r->identity ? STR("Bearer error=\"insufficient_scope\"")
                                                  : STR("Bearer")};
    if ((status == 429 || status == 503) && (len = retry_after(r, f, retry)))
        h[n++] = (struct http_header){STR("Retry-After"), {retry, len}};
    reply_object(r, status, f, h, n);
}

void reply_error(struct alk_request *r, int status, const char *code, const char *fmt, ...)
{
    char text[200];
    alk_fault f = {sizeof f, status == 429 || status == 503, code, text, NULL};
    struct http_header h[3];
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (status == 401)
        h[n++] = (struct http_header){STR("WWW-Authenticate"),
                                      r->token.p ? STR("Bearer error=\"invalid_token\"")
                                                 : STR("Bearer")};
    if (status == 429 || status == 503)
        h[n++] =
            (struct http_header){STR("Retry-After"), status == 429                    ? STR("60")
                                                     : r->route && r->route->protocol ? STR("5")
                                                                                      : STR("1")};
    if (status == 426) {
        h[n++] = (struct http_header){STR("Upgrade"), STR("websocket")};
        h[n++] = (struct http_header){STR("Connection"), STR("Upgrade")};
        h[n++] = (struct http_header){STR("Sec-WebSocket-Version"), STR("13")};
    }
    reply_object(r, status, &f, h, n);
}

/* ---- the decoy --------------------------------------------------------------------------------- */

static void bare(struct alk_request *r, int status, const struct http_header *h, size_t n,
                 const char *body, size_t len)
{
    answered(r);
    if (r->x->ops->start(r->x, status, h, n, len) || r->x->ops->write(r->x, body, len))
        r->x->ops->reset(r->x);
    else
        r->x->ops->end(r->x);
}

void reply_decoy_error(struct alk_request *r, int status)
{
    const struct http_header h = {STR("Content-Type"), STR("text/plain; charset=utf-8")};
    char body[16];
    int n = snprintf(body, sizeof body, "%d\n", status);

    bare(r, status, &h, 1, body, (size_t)n);
}

void reply_decoy(struct alk_request *r)
{
    const struct http_header to = {STR("Location"), {r->g->decoy_target.p, r->g->decoy_target.n}};

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
