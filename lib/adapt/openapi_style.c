/* Implements openapi_style.h after RFC 6570, section 3.2: a style is what stands before the units
 * and between them, and whether they have names. Undefined values (null, and containers of nothing
 * else) are left out.
 *
 * No value can change the structure around it: in URLs and forms all that is not unreserved is
 * encoded, delimiters included; in headers, where nothing is, control characters are refused; in
 * cookies that the document wants as they are, all that RFC 6265 does not allow. allowReserved lets
 * reserved characters through but for those that mean something in a query. */
#include "adapt/openapi_style.h"

#include "base/hex.h"
#include "wire/http_head.h"

#include <alknet/alknet.h>

#define KEPT ":/?@!$'()*;,"
#define KEPT_IN_LIST ":/?@!$'()*;"

/* The style of a parameter in its place. */
struct style {
    struct oas_units *x;
    struct str name;
    const char *comma; /* between items of one unit */
    const char *keep;  /* see oas_encode */
    bool named, explode, raw, matrix;
};

static struct style style_of(struct oas_units *x, const struct oas_param *p, yyjson_val *v)
{
    struct style s = {.x = x, .name = p->name, .comma = ","};

    s.matrix = p->style == STYLE_MATRIX && x->in == IN_PATH;
    s.named = x->in == IN_QUERY || x->in == IN_COOKIE || s.matrix;
    s.raw = p->style == STYLE_COOKIE && x->in == IN_COOKIE;
    /* In a cookie as it is, no comma can stand; of the delimiters that are no comma, exploded is
     * what 3.0 had, and later versions leave open. */
    s.explode = p->explode || s.raw;
    if (!s.explode && p->style == STYLE_SPACE)
        s.comma = "%20";
    if (!s.explode && p->style == STYLE_PIPE)
        s.comma = "%7C";
    if (p->reserved && x->in == IN_QUERY)
        s.keep = yyjson_is_ctn(v) && !s.explode ? KEPT_IN_LIST : KEPT;
    return s;
}

/* ---- path segments ----------------------------------------------------------------------------- */

static bool is_triple(const char *p)
{
    return p[0] == '%' && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0;
}

static char triple_value(const char *p)
{
    return (char)(hex_value(p[1]) << 4 | hex_value(p[2]));
}

/* What is left when decoding changes nothing more. Each step shortens the text, so it is linear.
 * Line breaks and tabs go, as they do in the URLs of browsers. */
static size_t decode_all(char *to, const char *from, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        to[len++] = from[i];
        for (; len >= 3 && is_triple(to + len - 3); len -= 2)
            to[len - 3] = triple_value(to + len - 3);
        if (to[len - 1] == '\t' || to[len - 1] == '\r' || to[len - 1] == '\n')
            len--;
    }
    return len;
}

/* Where a part may end for a server: at a separator, or at what it takes for the end of the path or
 * for a parameter of the segment. */
static bool ends_part(char c)
{
    return c == '/' || c == '\\' || c == ';' || c == '?' || c == '#' || !c;
}

static bool has_dots(const char *p, size_t n)
{
    for (size_t i = 0; i <= n; i++) {
        size_t dots = 0;

        while (i < n && p[i] == '.') {
            dots++;
            i++;
        }
        if ((dots == 1 || dots == 2) && (i == n || ends_part(p[i])))
            return true;
        while (i < n && p[i] != '/' && p[i] != '\\')
            i++;
    }
    return false;
}

bool oas_leaves(struct oas_writer *w, size_t from)
{
    size_t n = w->out->len - from;
    char *room = w->rc ? NULL : buf_reserve(w->out, n + 1);

    if (!room) {
        w->rc = w->rc ? w->rc : ALK_ENOMEM;
        return true;
    }
    return has_dots(room, decode_all(room, buf_at(w->out) + from, n));
}

/* ---- names and values -------------------------------------------------------------------------- */

static void path_value(struct oas_writer *w, struct str s)
{
    size_t from = w->out->len;

    if (s.n && memchr(s.p, 0, s.n))
        oas_complain(w, "has U+0000, which cannot be sent in a path");
    oas_encode(w, s, NULL);
    if (oas_leaves(w, from))
        oas_complain(w, "would leave its segment of the path");
}

/* UTF-8 goes as it is (obs-text of RFC 9110, section 5.5). */
static void header_value(struct oas_writer *w, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            oas_complain(w, "has a control character, which cannot be sent in a header");
    }
    oas_put(w, s);
}

/* RFC 6265, section 4.1.1. */
static bool cookie_octets(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || strchr("\",;\\", s.p[i]))
            return false;
    }
    return true;
}

static void cookie_value(struct oas_writer *w, struct str s)
{
    if (!cookie_octets(s))
        oas_complain(w, "has a character that cannot be sent in a cookie");
    oas_put(w, s);
}

static void put_value(const struct style *s, struct str value)
{
    struct oas_writer *w = s->x->w;

    if (s->x->in == IN_PATH)
        path_value(w, value);
    else if (s->x->in == IN_HEADER)
        header_value(w, value);
    else if (s->raw)
        cookie_value(w, value);
    else
        oas_encode(w, value, s->keep);
}

static void put_name(const struct style *s, struct str name)
{
    if (s->x->in == IN_PATH || s->x->in == IN_HEADER)
        put_value(s, name);
    else if (!s->raw)
        oas_encode(s->x->w, name, NULL);
    else if (http_is_token(name))
        oas_put(s->x->w, name);
    else
        oas_complain(s->x->w, "has a name that cannot be one of a cookie");
}

/* ---- units ------------------------------------------------------------------------------------- */

/* Whether encoded, which a server decodes, is plain to one that does not tell cases apart. */
static bool is_encoded(struct str encoded, struct str plain)
{
    size_t i = 0, k = 0;

    for (; i < encoded.n && k < plain.n; i++, k++) {
        char c = encoded.p[i], d = plain.p[k];

        if (encoded.n - i > 2 && is_triple(encoded.p + i)) {
            c = triple_value(encoded.p + i);
            i += 2;
        }
        c = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        d = d >= 'A' && d <= 'Z' ? (char)(d | 0x20) : d;
        if (c != d)
            return false;
    }
    return i == encoded.n && k == plain.n;
}

static bool is_shown(const struct oas_units *x, struct str name)
{
    uint8_t in = x->in == IN_QUERYSTRING ? IN_QUERY : x->in;

    for (size_t i = 0; i < x->shown->count; i++) {
        const struct oas_credential *c = &x->shown->credentials[i];

        if (c->show == SHOW_KEY && c->in == in && is_encoded(name, c->name))
            return true;
    }
    return false;
}

static void lead(struct oas_units *x)
{
    oas_puts(x->w, x->begun ? x->sep : x->first);
    x->begun = true;
}

/* Takes a unit back that is a name alone so far, when the name, which begins at from, is that of a
 * credential. */
static bool kept(struct oas_units *x, size_t start, size_t from, bool begun)
{
    if (!x->shown || !is_shown(x, (struct str){buf_at(x->w->out) + from, x->w->out->len - from}))
        return true;
    buf_truncate(x->w->out, start);
    x->begun = begun;
    return false;
}

/* Up to where the value follows. false: there is to be no such unit. */
static bool begin(const struct style *s, struct str name, bool empty)
{
    struct oas_units *x = s->x;
    size_t start = x->w->out->len, from;
    bool begun = x->begun;

    lead(x);
    from = x->w->out->len;
    put_name(s, name);
    if (x->w->rc || !kept(x, start, from, begun))
        return false;
    if (!s->matrix || !empty)
        oas_puts(x->w, "=");
    return true;
}

static void unit(const struct style *s, struct str name, struct str value)
{
    if (begin(s, name, !value.n))
        put_value(s, value);
}

/* Without a name, where the style has none. A server may take a whole query for a name. */
static void bare(const struct style *s, struct str value)
{
    struct oas_units *x = s->x;
    size_t start = x->w->out->len, from;
    bool begun = x->begun;

    if (s->named) {
        unit(s, s->name, value);
        return;
    }
    lead(x);
    from = x->w->out->len;
    put_value(s, value);
    if (!x->w->rc)
        kept(x, start, from, begun);
}

static struct str item_text(struct oas_writer *w, yyjson_val *v, char room[OAS_SCALAR_MAX])
{
    if (yyjson_is_ctn(v))
        oas_complain(w, "is an array or object within another, which has no form here");
    return oas_scalar(v, room);
}

static void exploded(const struct style *s, yyjson_val *v)
{
    char room[OAS_SCALAR_MAX];
    struct oas_each e;

    for (oas_each(&e, s->x->w, v); oas_next(&e);) {
        struct str text = item_text(s->x->w, e.val, room);

        if (!text.p)
            continue;
        if (!e.object)
            bare(s, text);
        else
            unit(s, oas_key(e.at.key), text);
    }
}

/* All in one unit. */
static void joined(const struct style *s, yyjson_val *v)
{
    struct oas_writer *w = s->x->w;
    char room[OAS_SCALAR_MAX];
    struct oas_each e;
    bool any = false, out = false;

    for (oas_each(&e, w, v); oas_next(&e);) {
        struct str text = item_text(w, e.val, room);

        if (!text.p || out)
            continue;
        if (any)
            oas_puts(w, s->comma);
        else if (!s->named)
            lead(s->x);
        else if (!begin(s, s->name, false)) {
            out = true;
            continue;
        }
        any = true;
        if (e.object) {
            put_value(s, oas_key(e.at.key));
            oas_puts(w, s->comma);
        }
        put_value(s, text);
    }
}

/* ---- deepObject -------------------------------------------------------------------------------- */

struct deep {
    const struct style *s;
    const struct oas_at *top; /* of the parameter itself */
};

static void put_brackets(struct oas_writer *w, const struct oas_at *at, const struct oas_at *top)
{
    if (at == top)
        return;
    put_brackets(w, at->up, top);
    if (!at->key) /* items have their array's name */
        return;
    oas_puts(w, "%5B");
    oas_encode(w, oas_key(at->key), NULL);
    oas_puts(w, "%5D");
}

static void deep_unit(const struct deep *d, struct str value)
{
    struct oas_units *x = d->s->x;
    size_t start = x->w->out->len, from;
    bool begun = x->begun;

    lead(x);
    from = x->w->out->len;
    oas_encode(x->w, d->s->name, NULL);
    put_brackets(x->w, x->w->at, d->top);
    if (x->w->rc || !kept(x, start, from, begun))
        return;
    oas_puts(x->w, "=");
    put_value(d->s, value);
}

/* OpenAPI defines one level. Deeper ones are name[a][b]=v, and an array's items name[a]=v each, as
 * servers that read this style take them. */
static void deep_object(const struct deep *d, yyjson_val *v)
{
    char room[OAS_SCALAR_MAX];
    struct oas_each e;
    bool items = yyjson_is_arr(v);

    for (oas_each(&e, d->s->x->w, v); oas_next(&e);) {
        struct str text;

        if (yyjson_is_ctn(e.val) && !items) {
            deep_object(d, e.val);
            continue;
        }
        text = item_text(d->s->x->w, e.val, room);
        if (text.p)
            deep_unit(d, text);
    }
}

/* ---- from outside ------------------------------------------------------------------------------ */

static void expand_json(const struct style *s, yyjson_val *v)
{
    struct oas_writer *w = s->x->w, text;
    struct buf b;

    buf_init(&b, w->out->mem);
    b.secret = true;
    text = *w;
    text.out = &b;
    oas_json(&text, v);
    w->rc = text.rc;
    if (!w->rc)
        bare(s, (struct str){buf_at(&b), b.len});
    buf_fini(&b);
}

void oas_expand(struct oas_units *x, const struct oas_param *p, yyjson_val *v)
{
    struct style s = style_of(x, p, v);
    char room[OAS_SCALAR_MAX];

    if (p->style == STYLE_JSON)
        expand_json(&s, v);
    else if (!yyjson_is_ctn(v))
        bare(&s, oas_scalar(v, room));
    else if (p->style == STYLE_DEEP && x->in == IN_QUERY && yyjson_is_obj(v))
        deep_object(&(struct deep){&s, x->w->at}, v);
    else if (s.explode)
        exploded(&s, v);
    else
        joined(&s, v);
}

void oas_unit(struct oas_units *x, struct str name, struct str value)
{
    struct style s = {.x = x, .named = true, .raw = x->in == IN_COOKIE};

    lead(x);
    put_name(&s, name);
    oas_puts(x->w, "=");
    put_value(&s, value);
}

const struct oas_part *oas_part_of(const struct oas_part *parts, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(parts[i].name, name))
            return &parts[i];
    }
    return NULL;
}

/* Where the document says nothing, each value, and each item of an array, is a unit: what is no
 * scalar as JSON (Encoding Object, contentType). */
static void form_default(struct oas_units *x, struct str name, yyjson_val *v)
{
    struct oas_param as = {.name = name};
    struct oas_each e;

    as.style = yyjson_is_ctn(v) ? STYLE_JSON : STYLE_FORM;
    if (!yyjson_is_arr(v)) {
        oas_expand(x, &as, v);
        return;
    }
    for (oas_each(&e, x->w, v); oas_next(&e);) {
        as.style = yyjson_is_ctn(e.val) ? STYLE_JSON : STYLE_FORM;
        if (!yyjson_is_null(e.val))
            oas_expand(x, &as, e.val);
    }
}

void oas_form(struct oas_units *x, const struct oas_part *parts, size_t count, yyjson_val *v)
{
    struct oas_each e;

    if (!yyjson_is_obj(v)) {
        oas_complain(x->w, "must be an object");
        return;
    }
    for (oas_each(&e, x->w, v); oas_next(&e);) {
        struct str name = oas_key(e.at.key);
        const struct oas_part *part = oas_part_of(parts, count, name);
        struct oas_param as = {.name = name};

        if (yyjson_is_null(e.val))
            continue;
        if (!part) {
            form_default(x, name, e.val);
            continue;
        }
        as.style = part->json ? STYLE_JSON : part->style;
        as.explode = part->explode;
        as.reserved = part->reserved;
        oas_expand(x, &as, e.val);
    }
}
