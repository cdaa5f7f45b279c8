/* What the parts of a request are written with: bytes go into a buffer up to a limit, percent-
 * encoded or as JSON. The first thing that cannot be done stays in rc, and nothing is written after
 * it, so that callers look once, at the end. */
#ifndef ALK_ADAPT_OPENAPI_WRITE_H
#define ALK_ADAPT_OPENAPI_WRITE_H

#include "adapt/openapi_plan.h"

/* Where in the input one is: a member, or with key NULL an item. */
struct oas_at {
    const struct oas_at *up; /* NULL: in the input itself */
    yyjson_val *key;
    size_t index;
};

struct oas_writer {
    struct buf *out;
    size_t most;             /* that out may hold */
    const struct oas_at *at; /* what a complaint names; NULL: the whole input */
    struct oas_complaint *why;
    int rc; /* 0, ALK_EINVAL, ALK_ENOMEM */
};

void oas_complain(struct oas_writer *w, const char *text);
void oas_put(struct oas_writer *w, struct str s);
void oas_puts(struct oas_writer *w, const char *s);
/* All bytes but RFC 3986's unreserved ones become %XX, but not those in keep; with keep, %XX stays
 * as well. */
void oas_encode(struct oas_writer *w, struct str s, const char *keep);
/* Compact. */
void oas_json(struct oas_writer *w, yyjson_val *v);

/* The members of an object or the items of an array. at is the writer's meanwhile:
 *
 *     for (oas_each(&e, w, v); oas_next(&e);)
 *         ... e.at.key, e.val
 *
 * Ends early after a failure. */
struct oas_each {
    struct oas_writer *w;
    struct oas_at at;
    yyjson_val *next, *val;
    size_t left;
    bool object;
};
void oas_each(struct oas_each *e, struct oas_writer *w, yyjson_val *container);
bool oas_next(struct oas_each *e);

/* A scalar as text: strings as they are, numbers by their text. STR_NONE for containers and
 * null. */
#define OAS_SCALAR_MAX 24u
struct str oas_scalar(yyjson_val *v, char room[OAS_SCALAR_MAX]);
static inline struct str oas_key(yyjson_val *key)
{
    return (struct str){unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key)};
}

#endif
