/* The request of a call: implements oas_request_build of openapi_plan.h.
 *
 * Whatever an input says, the URL begins with the plan's base, and no segment of its path is one of
 * dots, also not for a server that decodes before it looks: see oas_leaves. Nothing of an input
 * stands where a credential does: parameters and units of that name are left out. */
#include "adapt/openapi_body.h"
#include "adapt/openapi_style.h"
#include "base/base64.h"
#include "wire/http_head.h"

#include <alknet/alknet.h>

#include <stdio.h>

struct build {
    struct oas_request *rq;
    const struct oas_plan *plan;
    yyjson_val *input, *body; /* body: what is sent; NULL: none */
    oas_secret_fn secret;
    void *secret_ud;
    struct oas_complaint *why;
    const struct oas_requirement *shown; /* NULL: no credential is */
    char boundary[33];
};

static struct oas_writer writer(struct build *b, struct buf *out, size_t most)
{
    return (struct oas_writer){.out = out, .most = most, .why = b->why};
}

/* ---- headers that are not for documents -------------------------------------------------------- */

/* '_' is '-' for servers that make variables of headers. */
static char folded(char c)
{
    return c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_header(struct str a, struct str b)
{
    for (size_t i = 0; a.n == b.n && i < a.n; i++) {
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    }
    return a.n == b.n;
}

static bool begins_header(struct str name, struct str with)
{
    return name.n >= with.n && same_header((struct str){name.p, with.n}, with);
}

bool oas_header_allowed(struct str name)
{
    /* OpenAPI has other places for the first three; RFC 9110, 7.6.1, 10.1 and RFC 9112, 6; what
     * proxies say of clients; what makes another request of one. */
    static const char *const refused[] = {
        "accept",
        "content-type",
        "authorization",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "http2-settings",
        "accept-encoding",
        "user-agent",
        "cookie",
        "cookie2",
        "set-cookie",
        "forwarded",
        "via",
        "x-real-ip",
        "x-http-method",
        "x-original-url",
        "x-http-method-override",
        "x-rewrite-url",
        "traceparent",
        "x-method-override",
        "tracestate",
    };
    static const char *const prefixes[] = {"proxy-", "x-forwarded-"};

    if (!http_is_token(name))
        return false;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (same_header(name, str_of(refused[i])))
            return false;
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (begins_header(name, str_of(prefixes[i])))
            return false;
    }
    return true;
}

/* ---- credentials ------------------------------------------------------------------------------- */

/* An empty secret is none. */
static struct str secret_of(const struct build *b, const struct oas_credential *c)
{
    struct str s;

    s.p = b->secret(b->secret_ud, c->scheme, &s.n);
    if (!s.p && c->otherwise)
        s.p = b->secret(b->secret_ud, c->otherwise, &s.n);
    return s.p && s.n ? s : STR_NONE;
}

static bool has_secrets(const struct build *b, const struct oas_requirement *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (!secret_of(b, &r->credentials[i]).p)
            return false;
    }
    return r->count > 0;
}

static void choose_credentials(struct build *b)
{
    for (size_t i = 0; i < b->plan->security_count && !b->shown; i++) {
        if (has_secrets(b, &b->plan->security[i]))
            b->shown = &b->plan->security[i];
    }
}

/* Nobody who calls has put it there, and nobody who calls may see it. */
static struct str checked_secret(struct build *b, struct oas_writer *w,
                                 const struct oas_credential *c)
{
    struct str s = secret_of(b, c);
    bool cookie = c->show == SHOW_KEY && c->in == IN_COOKIE, good = true;
    char text[160];

    for (size_t i = 0; i < s.n; i++) {
        good &= (unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7f;
        good &= !cookie || ((unsigned char)s.p[i] < 0x7f && !strchr("\",;\\ ", s.p[i]));
    }
    good &= s.p[0] != ' ' && s.p[s.n - 1] != ' ';
    if (!good) {
        snprintf(text, sizeof text, "the secret %.80s has a character that cannot be sent",
                 c->scheme);
        oas_complain(w, text);
    }
    return s;
}

static void put_basic(struct oas_writer *w, struct str s)
{
    size_t n = BASE64_SIZE(s.n);
    char *p = NULL;

    if (n > w->most)
        oas_complain(w, "a secret is too long to be sent");
    else if (!(p = buf_reserve(w->out, n)))
        w->rc = ALK_ENOMEM;
    if (!p)
        return;
    base64_encode(p, s.p, s.n);
    buf_commit(w->out, n);
}

static void put_header_credential(struct build *b, struct oas_writer *w,
                                  const struct oas_credential *c)
{
    struct str s = checked_secret(b, w, c);

    if (c->show == SHOW_KEY)
        oas_put(w, c->name);
    oas_puts(w, c->show == SHOW_BEARER  ? "Authorization: Bearer "
                : c->show == SHOW_BASIC ? "Authorization: Basic "
                                        : ": ");
    if (w->rc)
        return;
    if (c->show == SHOW_BASIC)
        put_basic(w, s);
    else
        oas_put(w, s);
    oas_puts(w, "\r\n");
}

static uint8_t place_of(const struct oas_credential *c)
{
    return c->show == SHOW_KEY ? c->in : IN_HEADER;
}

static bool is_credential(const struct build *b, uint8_t in, struct str name)
{
    for (size_t i = 0; b->shown && i < b->shown->count; i++) {
        const struct oas_credential *c = &b->shown->credentials[i];

        if (place_of(c) == in &&
            same_header(name, c->show == SHOW_KEY ? c->name : str_of("authorization")))
            return true;
    }
    return false;
}

/* Those that are units of a query or of cookies. */
static void put_units(struct build *b, struct oas_units *x)
{
    for (size_t i = 0; b->shown && i < b->shown->count; i++) {
        const struct oas_credential *c = &b->shown->credentials[i];

        if (place_of(c) == x->in && !x->w->rc)
            oas_unit(x, c->name, checked_secret(b, x->w, c));
    }
}

/* ---- the URL ----------------------------------------------------------------------------------- */

/* The parameter that is being written, as the place of a complaint. */
struct place {
    struct oas_at at;
    yyjson_val key;
};

static void enter(struct oas_writer *w, struct place *place, const struct oas_param *p)
{
    memset(place, 0, sizeof *place);
    yyjson_set_strn(&place->key, p->member.p, p->member.n);
    place->at.key = &place->key;
    w->at = &place->at;
}

/* One parameter, as units of x. null says the same as none. A value that is the whole query has no
 * name. */
static void put_param(struct build *b, struct oas_units *x, const struct oas_param *p)
{
    yyjson_val *v = yyjson_obj_getn(b->input, p->member.p, p->member.n);
    struct place place;

    enter(x->w, &place, p);
    if (!v || yyjson_is_null(v)) {
        if (p->in == IN_PATH || (p->required && !is_credential(b, p->in, p->name)))
            oas_complain(x->w, "is required");
    } else if (p->in == IN_QUERYSTRING && p->style != STYLE_JSON && yyjson_is_obj(v)) {
        oas_form(x, NULL, 0, v);
    } else {
        x->in = p->in;
        oas_expand(x, p, v);
        x->in = p->in == IN_QUERYSTRING ? IN_QUERY : p->in;
    }
    x->w->at = NULL;
}

static void put_path_param(struct build *b, struct oas_writer *w, const struct oas_param *p)
{
    struct oas_units x = {.w = w, .first = "", .sep = ",", .in = IN_PATH};
    size_t from = w->out->len;
    struct place place;

    if (p->style == STYLE_LABEL)
        x.first = x.sep = ".";
    if (p->style == STYLE_MATRIX)
        x.first = x.sep = ";";
    put_param(b, &x, p);
    if (w->rc || w->out->len > from)
        return;
    enter(w, &place, p);
    oas_complain(w, "must not be empty, as it is part of the path");
    w->at = NULL;
}

/* The segment from..: several values and literals can make dots together. last: its last parameter;
 * NULL: it has none. */
static void end_segment(struct oas_writer *w, size_t from, const struct oas_param *last)
{
    struct place place;

    if (!last || !oas_leaves(w, from))
        return;
    enter(w, &place, last);
    oas_complain(w, "would make its segment of the path one of dots");
    w->at = NULL;
}

static void put_path(struct build *b, struct oas_writer *w)
{
    const struct oas_plan *plan = b->plan;
    const struct oas_param *last = NULL;
    size_t segment = w->out->len;

    /* What begins with anything else would go on with the host's name. */
    if (plan->piece_count &&
        (plan->pieces[0].param >= 0 || !str_starts(plan->pieces[0].literal, "/")))
        oas_puts(w, "/");
    for (size_t i = 0; i < plan->piece_count; i++) {
        struct str s = plan->pieces[i].literal;
        const char *slash;

        if (plan->pieces[i].param >= 0) {
            last = &plan->params[plan->pieces[i].param];
            put_path_param(b, w, last);
            continue;
        }
        while ((slash = memchr(s.p, '/', s.n))) {
            size_t n = (size_t)(slash - s.p);

            oas_put(w, (struct str){s.p, n});
            end_segment(w, segment, last);
            oas_puts(w, "/");
            segment = w->out->len;
            last = NULL;
            s = (struct str){slash + 1, s.n - n - 1};
        }
        oas_put(w, s);
    }
    end_segment(w, segment, last);
}

static int put_url(struct build *b)
{
    const struct oas_plan *plan = b->plan;
    struct oas_writer w = writer(b, &b->rq->url, OAS_URL_MAX - 1);
    struct oas_units query = {.w = &w, .first = "?", .sep = "&", .in = IN_QUERY};

    query.shown = b->shown;
    oas_put(&w, plan->base);
    put_path(b, &w);
    for (size_t i = 0; i < plan->param_count; i++) {
        const struct oas_param *p = &plan->params[i];

        if (p->in == IN_QUERY || p->in == IN_QUERYSTRING)
            put_param(b, &query, p);
    }
    put_units(b, &query);
    oas_put(&w, (struct str){"", 1});
    return w.rc;
}

/* ---- headers ----------------------------------------------------------------------------------- */

/* Whether we write that field ourselves. */
static bool is_ours(const struct build *b, struct str name)
{
    return is_credential(b, IN_HEADER, name) ||
           (b->body && same_header(name, str_of("content-type")));
}

/* The next of the plan's fields; false at their end. */
static bool next_line(struct str *rest, struct str *line, struct str *name)
{
    const char *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL, *colon;

    if (!end)
        return false;
    *line = (struct str){rest->p, (size_t)(end + 1 - rest->p)};
    *rest = (struct str){end + 1, rest->n - line->n};
    colon = memchr(line->p, ':', line->n);
    *name = (struct str){line->p, colon ? (size_t)(colon - line->p) : 0};
    return true;
}

static bool plan_has(const struct oas_plan *plan, struct str header)
{
    struct str rest = plan->headers, line, name;

    while (next_line(&rest, &line, &name)) {
        if (same_header(name, header))
            return true;
    }
    return false;
}

/* There is one Cookie field in all (RFC 6265, section 5.4): the plan's begins it. */
static struct str put_plan_headers(struct build *b, struct oas_writer *w)
{
    struct str rest = b->plan->headers, line, name, cookie = STR_NONE;

    while (next_line(&rest, &line, &name)) {
        if (same_header(name, str_of("cookie"))) {
            cookie = (struct str){line.p + name.n + 1, line.n - name.n - 3};
            http_trim(&cookie);
        } else if (!is_ours(b, name)) {
            oas_put(w, line);
        }
    }
    return cookie;
}

/* Blanks around a value are not part of it for who reads it. */
static void put_header_param(struct build *b, struct oas_writer *w, const struct oas_param *p)
{
    struct oas_units x = {.w = w, .first = "", .sep = ",", .in = IN_HEADER};
    size_t start = w->out->len, from;
    struct place place;
    const char *value;

    oas_put(w, p->name);
    oas_puts(w, ": ");
    from = w->out->len;
    put_param(b, &x, p);
    if (w->rc)
        return;
    if (!x.begun) {
        buf_truncate(w->out, start);
        return;
    }
    value = buf_at(w->out) + from;
    if (w->out->len > from && (value[0] == ' ' || value[w->out->len - from - 1] == ' ')) {
        enter(w, &place, p);
        oas_complain(w, "begins or ends with a blank, which cannot be sent in a header");
        w->at = NULL;
    }
    oas_puts(w, "\r\n");
}

static void put_cookies(struct build *b, struct oas_writer *w, struct str of_plan)
{
    struct oas_units x = {.w = w, .first = "Cookie: ", .sep = "; ", .in = IN_COOKIE};

    x.shown = b->shown;
    if (of_plan.n) {
        oas_puts(w, x.first);
        oas_put(w, of_plan);
        x.begun = true;
    }
    for (size_t i = 0; i < b->plan->param_count; i++) {
        if (b->plan->params[i].in == IN_COOKIE)
            put_param(b, &x, &b->plan->params[i]);
    }
    put_units(b, &x);
    if (x.begun)
        oas_puts(w, "\r\n");
}

static int put_headers(struct build *b)
{
    const struct oas_plan *plan = b->plan;
    struct oas_writer w = writer(b, &b->rq->headers, OAS_HEADERS_MAX - 1);
    struct str cookie = put_plan_headers(b, &w);

    for (size_t i = 0; i < plan->param_count; i++) {
        const struct oas_param *p = &plan->params[i];

        if (p->in == IN_HEADER && !is_ours(b, p->name) && !plan_has(plan, p->name))
            put_header_param(b, &w, p);
    }
    for (size_t i = 0; b->shown && i < b->shown->count; i++) {
        if (place_of(&b->shown->credentials[i]) == IN_HEADER)
            put_header_credential(b, &w, &b->shown->credentials[i]);
    }
    if (b->body) {
        oas_puts(&w, "Content-Type: ");
        oas_put(&w, plan->content_type);
        oas_puts(&w, plan->body == BODY_MULTIPART ? "; boundary=" : "");
        oas_puts(&w, plan->body == BODY_MULTIPART ? b->boundary : "");
        oas_puts(&w, "\r\n");
    }
    put_cookies(b, &w, cookie);
    return w.rc;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static int put_body(struct build *b)
{
    struct oas_writer w = writer(b, &b->rq->body, OAS_BODY_MAX - 1);
    yyjson_val key = {0};
    struct oas_at at = {NULL, &key, 0};

    if (!b->body)
        return ALK_OK;
    yyjson_set_str(&key, "body");
    w.at = &at;
    oas_body(&w, b->plan, b->body, b->boundary);
    b->rq->has_body = true;
    return w.rc;
}

/* null is a value of JSON; other bodies it leaves out. */
static yyjson_val *body_of(const struct build *b)
{
    yyjson_val *v = yyjson_obj_get(b->input, "body");

    if (b->plan->body == BODY_NONE || (b->plan->body != BODY_JSON && yyjson_is_null(v)))
        return NULL;
    return v;
}

void oas_request_init(struct oas_request *rq, struct mem *mem)
{
    buf_init(&rq->url, mem);
    buf_init(&rq->headers, mem);
    buf_init(&rq->body, mem);
    rq->url.secret = rq->headers.secret = rq->body.secret = true;
    rq->has_body = false;
}

void oas_request_fini(struct oas_request *rq)
{
    buf_fini(&rq->url);
    buf_fini(&rq->headers);
    buf_fini(&rq->body);
}

int oas_request_build(struct oas_request *rq, const struct oas_plan *plan, yyjson_val *input,
                      oas_secret_fn secret, void *secret_ud, const uint8_t random[16],
                      struct oas_complaint *why)
{
    struct build b = {.rq = rq, .plan = plan, .input = input, .secret = secret, .why = why};
    int rc;

    b.secret_ud = secret_ud;
    if (input && !yyjson_is_null(input) && !yyjson_is_obj(input)) {
        *why = (struct oas_complaint){"", "must be an object"};
        return ALK_EINVAL;
    }
    for (size_t i = 0; i < 32; i++)
        b.boundary[i] = "0123456789abcdef"[random[i / 2] >> (i % 2 ? 0 : 4) & 15];
    b.body = body_of(&b);
    choose_credentials(&b);
    if ((rc = put_url(&b)) || (rc = put_headers(&b)) || (rc = put_body(&b)))
        return rc;
    return ALK_OK;
}
