/* Implements openapi_write.h. What a value costs is bounded before it is copied: an encoded text is
 * never shorter than the value. */
#include "adapt/openapi_write.h"

#include "base/arena.h"
#include "base/hex.h"
#include "schema/text.h"
#include "wire/http_head.h"

#include <alknet/alknet.h>

#include <stdio.h>

#define CHUNK 1024u /* encoded at a time; the first of JSON */

static void write_at(struct writer *w, const struct oas_at *at)
{
    if (!at)
        return;
    write_at(w, at->up);
    write_step(w, at->key, at->index);
}

void oas_complain(struct oas_writer *w, const char *text)
{
    struct writer path = {w->why->path, 0, sizeof w->why->path - 1};

    if (w->rc)
        return;
    w->rc = ALK_EINVAL;
    write_at(&path, w->at);
    w->why->path[path.len] = 0;
    snprintf(w->why->text, sizeof w->why->text, "%s", text);
}

/* Room for n bytes; NULL after a failure. */
static char *room(struct oas_writer *w, size_t n)
{
    char *p = w->rc ? NULL : buf_reserve(w->out, n);

    if (!p && !w->rc)
        w->rc = ALK_ENOMEM;
    return p;
}

static bool fits(struct oas_writer *w, size_t n)
{
    if (w->out->len > w->most || n > w->most - w->out->len)
        oas_complain(w, "is too long to be sent");
    return !w->rc;
}

void oas_put(struct oas_writer *w, struct str s)
{
    char *p = s.n && fits(w, s.n) ? room(w, s.n) : NULL;

    if (!p)
        return;
    memcpy(p, s.p, s.n);
    buf_commit(w->out, s.n);
}

void oas_puts(struct oas_writer *w, const char *s)
{
    oas_put(w, str_of(s));
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static bool triple(struct str s, size_t i)
{
    return s.p[i] == '%' && s.n - i > 2 && hex_value(s.p[i + 1]) >= 0 && hex_value(s.p[i + 2]) >= 0;
}

/* One step writes three bytes at most, also where it takes three. */
static size_t encode_chunk(struct str s, size_t *i, const char *keep, char *to)
{
    static const char hex[] = "0123456789ABCDEF";
    char *q = to;

    for (size_t steps = 0; *i < s.n && steps < CHUNK; steps++) {
        char c = s.p[*i];

        if (unreserved(c) || (keep && c && strchr(keep, c))) {
            *q++ = c;
            ++*i;
        } else if (keep && triple(s, *i)) {
            memcpy(q, s.p + *i, 3);
            q += 3;
            *i += 3;
        } else {
            *q++ = '%';
            *q++ = hex[(unsigned char)c >> 4];
            *q++ = hex[(unsigned char)c & 15];
            ++*i;
        }
    }
    return (size_t)(q - to);
}

void oas_encode(struct oas_writer *w, struct str s, const char *keep)
{
    for (size_t i = 0; i < s.n && fits(w, s.n - i);) {
        char *p = room(w, 3 * (s.n - i < CHUNK ? s.n - i : CHUNK));

        if (!p)
            return;
        buf_commit(w->out, encode_chunk(s, &i, keep, p));
    }
    fits(w, 0);
}

/* ---- values ------------------------------------------------------------------------------------ */

void oas_each(struct oas_each *e, struct oas_writer *w, yyjson_val *container)
{
    *e = (struct oas_each){.w = w, .at = {w->at, NULL, SIZE_MAX}};
    e->object = unsafe_yyjson_is_obj(container);
    e->left = unsafe_yyjson_get_len(container);
    e->next = e->left ? unsafe_yyjson_get_first(container) : NULL;
    w->at = &e->at;
}

bool oas_next(struct oas_each *e)
{
    if (!e->left || e->w->rc) {
        e->w->at = e->at.up;
        return false;
    }
    e->left--;
    e->at.index++;
    if (e->object)
        e->at.key = e->next++;
    e->val = e->next;
    if (e->left)
        e->next = unsafe_yyjson_get_next(e->val);
    return true;
}

/* Integers, as all other numbers are raw (see base/json.h). */
static struct str decimal(yyjson_val *v, char text[OAS_SCALAR_MAX])
{
    bool negative = unsafe_yyjson_is_sint(v) && unsafe_yyjson_get_sint(v) < 0;
    uint64_t n = unsafe_yyjson_get_uint(v);

    text[0] = '-';
    return (struct str){text,
                        (size_t)(http_put_decimal(text + negative, negative ? 0 - n : n) - text)};
}

struct str oas_scalar(yyjson_val *v, char text[OAS_SCALAR_MAX])
{
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_STR:
    case YYJSON_TYPE_RAW:
        return (struct str){unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v)};
    case YYJSON_TYPE_BOOL:
        return str_of(unsafe_yyjson_get_bool(v) ? "true" : "false");
    case YYJSON_TYPE_NUM:
        return decimal(v, text);
    default:
        return STR_NONE;
    }
}

void oas_json(struct oas_writer *w, yyjson_val *v)
{
    struct arena arena;
    struct str text;
    yyjson_alc alc;

    if (w->rc)
        return;
    arena_init(&arena, w->out->mem, CHUNK);
    alc = arena_alc(&arena);
    text.p = yyjson_val_write_opts(v, 0, &alc, &text.n, NULL);
    if (text.p)
        oas_put(w, text);
    else
        w->rc = ALK_ENOMEM;
    arena_fini(&arena);
}
