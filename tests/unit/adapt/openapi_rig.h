/* One request, built from a plan and an input that is written as JSON. Each that is built is judged:
 * by a reader of URLs after RFC 3986 that knows nothing of how it was made, its origin is the base's,
 * its path goes on from the base's path and has no dot segments, however often it is decoded; and its
 * headers are lines. */
#ifndef TESTS_UNIT_ADAPT_OPENAPI_RIG_H
#define TESTS_UNIT_ADAPT_OPENAPI_RIG_H

#include "adapt/openapi_plan.h"
#include "base/arena.h"
#include "base/json.h"
#include "support/memory.h"
#include "support/must.h"
#include "support/suite.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

#define RIG_BASE "https://api.example:8443/v1"
#define S(text) ((struct str){text, sizeof(text) - 1})
#define INIT(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    } /* of one that is static */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct request_rig {
    struct memory memory;
    struct mem mem, own;
    struct arena arena; /* of the input */
    struct oas_request rq;
    struct oas_complaint why;
    int rc;
    char headers[2 * OAS_HEADERS_MAX]; /* with a NUL */
};

/* ---- judging ----------------------------------------------------------------------------------- */

struct url {
    struct str scheme, authority, path, query, fragment; /* p NULL: there is none */
};

/* Up to the first of these; what was read is taken off. */
static inline struct str url_until(struct str *s, const char *stops)
{
    struct str got = {s->p, 0};

    while (got.n < s->n && !strchr(stops, s->p[got.n]))
        got.n++;
    s->p += got.n;
    s->n -= got.n;
    return got;
}

/* RFC 3986, appendix B. */
static inline struct url url_read(struct str s)
{
    struct url u = {STR_NONE, STR_NONE, STR_NONE, STR_NONE, STR_NONE};

    u.scheme = url_until(&s, ":/?#");
    must(s.n && *s.p == ':');
    s.p++;
    s.n--;
    if (str_starts(s, "//")) {
        s.p += 2;
        s.n -= 2;
        u.authority = url_until(&s, "/?#");
    }
    u.path = url_until(&s, "?#");
    if (s.n && *s.p == '?') {
        s.p++;
        s.n--;
        u.query = url_until(&s, "#");
    }
    if (s.n)
        u.fragment = s;
    return u;
}

static inline int rig_hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* pchar, '/' and, in a query, '?' (RFC 3986, section 3.3, 3.4). */
static inline void url_legal(struct str s, bool query)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '%') {
            must(i + 2 < s.n && rig_hex(s.p[i + 1]) >= 0 && rig_hex(s.p[i + 2]) >= 0);
            i += 2;
            continue;
        }
        must(c > 0x20 && c < 0x7f && !strchr("\"#<>[\\]^`{|}", c) && (query || c != '?'));
    }
}

/* In place; whether there was something to decode. */
static inline bool url_decode(char *p, size_t *n)
{
    size_t len = 0;
    bool any = false;

    for (size_t i = 0; i < *n; i++) {
        if (p[i] == '%' && i + 2 < *n && rig_hex(p[i + 1]) >= 0 && rig_hex(p[i + 2]) >= 0) {
            p[len++] = (char)(rig_hex(p[i + 1]) * 16 + rig_hex(p[i + 2]));
            i += 2;
            any = true;
        } else {
            p[len++] = p[i];
        }
    }
    *n = len;
    return any;
}

static inline void url_stays(struct str path)
{
    char *copy = malloc(path.n + 1);
    size_t n = path.n;

    must(copy);
    memcpy(copy, path.p, n);
    do {
        for (size_t i = 0, from = 0; i <= n; i++) {
            if (i < n && copy[i] != '/' && copy[i] != '\\')
                continue;
            must(!(i - from == 1 && copy[from] == '.'));
            must(!(i - from == 2 && copy[from] == '.' && copy[from + 1] == '.'));
            from = i + 1;
        }
    } while (url_decode(copy, &n));
    free(copy);
}

static inline void judge_url(struct str text, struct str base)
{
    struct url u = url_read(text), b = url_read(base);

    must(str_eq(u.scheme, b.scheme) && str_eq(u.authority, b.authority));
    must(!u.fragment.p);
    must(u.path.n >= b.path.n && !memcmp(u.path.p, b.path.p, b.path.n));
    must(u.path.n == b.path.n || u.path.p[b.path.n] == '/');
    url_legal(u.path, false);
    url_legal(u.query, true);
    url_stays((struct str){u.path.p + b.path.n, u.path.n - b.path.n});
}

static inline void judge_headers(struct str h)
{
    for (size_t i = 0; i < h.n; i++) {
        must((unsigned char)h.p[i] >= 0x20 || h.p[i] == '\r' || h.p[i] == '\n');
        must(h.p[i] != 0x7f);
        must((h.p[i] == '\r') == (i + 1 < h.n && h.p[i + 1] == '\n'));
    }
    must(!h.n || h.p[h.n - 1] == '\n');
}

/* ---- building ---------------------------------------------------------------------------------- */

/* Secrets are texts "name=secret", ended by NULL. */
static inline const char *rig_secret(void *ud, const char *name, size_t *len)
{
    const char *const *s = ud;

    for (; s && *s; s++) {
        size_t n = strlen(name);

        if (!strncmp(*s, name, n) && (*s)[n] == '=') {
            *len = strlen(*s) - n - 1;
            return *s + n + 1;
        }
    }
    return NULL;
}

static const uint8_t rig_random[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff};
#define RIG_BOUNDARY "0102030405060708090a0b0c0d0e0fff"

/* NULL: no input. */
static inline yyjson_val *rig_parse(struct arena *a, const char *json)
{
    const struct json_limits limits = {JSON_MAX_DEPTH, 10000000};
    struct json_error err = {0};
    yyjson_alc alc = arena_alc(a);
    yyjson_doc *doc;
    size_t len = json ? strlen(json) : 0;
    char *copy = arena_alloc(a, len + JSON_PADDING);

    if (!json)
        return NULL;
    must(copy);
    memcpy(copy, json, len);
    ck_assert_msg(!json_parse(copy, len, &limits, &alc, &doc, &err), "%s: %s", json, err.text);
    return yyjson_doc_get_root(doc);
}

static inline void rig_judge(struct request_rig *r, const struct oas_plan *plan)
{
    struct str url = {buf_at(&r->rq.url), r->rq.url.len - 1};

    must(url.p[url.n] == 0 && strlen(url.p) == url.n && url.n < OAS_URL_MAX);
    judge_url(url, plan->base);
    must(r->rq.headers.len < OAS_HEADERS_MAX);
    if (r->rq.headers.len) {
        judge_headers((struct str){buf_at(&r->rq.headers), r->rq.headers.len});
        memcpy(r->headers, buf_at(&r->rq.headers), r->rq.headers.len);
    }
    r->headers[r->rq.headers.len] = 0;
}

static inline void rig_fini(struct request_rig *r)
{
    oas_request_fini(&r->rq);
    arena_fini(&r->arena);
    ck_assert_uint_eq(r->memory.live, 0);
}

/* fail_in: see memory.h. */
static inline int rig_build_short(struct request_rig *r, const struct oas_plan *plan,
                                  const char *input, const char *const *secrets, long fail_in)
{
    yyjson_val *v;

    r->memory = (struct memory){.fail_in = fail_in};
    mem_init(&r->mem, memory_realloc, &r->memory);
    mem_init(&r->own, NULL, NULL);
    arena_init(&r->arena, &r->own, 256);
    v = rig_parse(&r->arena, input);
    memset(&r->why, 0, sizeof r->why);
    oas_request_init(&r->rq, &r->mem);
    r->rc = oas_request_build(&r->rq, plan, v, rig_secret, (void *)secrets, rig_random, &r->why);
    if (!r->rc)
        rig_judge(r, plan);
    else
        must((r->rc == ALK_EINVAL) == (r->why.text[0] != 0));
    return r->rc;
}

static inline int rig_build(struct request_rig *r, const struct oas_plan *plan, const char *input)
{
    return rig_build_short(r, plan, input, NULL, 0);
}

/* What stands behind the base. */
static inline const char *rig_target(const struct request_rig *r, const struct oas_plan *plan)
{
    return buf_at(&r->rq.url) + plan->base.n;
}

#endif
