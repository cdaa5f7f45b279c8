/* Reading JSON from strangers: yyjson, plus what RFC 8259 leaves open and we do not.
 *
 * A parsed document has: no member name twice in one object, no lone surrogate, valid UTF-8, at
 * most limits.depth nested containers and limits.values values. Integers that fit 64 bits are
 * yyjson integers (but not "-0"); every other number is a yyjson raw value with the bytes that
 * came, so that writing it back is exact. All memory comes from the given allocator.
 *
 * Depth is bounded because code behind this keeps a path or recurses; values are, because each
 * takes 16 bytes for one or two of the sender's. */
#ifndef ALK_BASE_JSON_H
#define ALK_BASE_JSON_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

/* yyjson reads by words and looks a little beyond the end. */
#define JSON_PADDING YYJSON_PADDING_SIZE
#define JSON_MAX_DEPTH 1024u /* the most that json_limits.depth may be */

struct json_limits {
    uint32_t depth;
    uint32_t values;
};

enum json_status { JSON_OK, JSON_ESYNTAX, JSON_EDEPTH, JSON_EVALUES, JSON_EDUPLICATE, JSON_ENOMEM };

struct json_error {
    int status;    /* JSON_E..., by which one can tell which limit it was */
    size_t pos;    /* byte offset; 0 where the fault has no single place */
    char text[96]; /* English, complete: "unexpected character at byte 17" */
};

/* A secret that no sender of JSON knows, for telling names of members apart: without one, names
 * could be chosen that make it slow. Any thread, as often as one likes. */
void json_seed(const uint64_t seed[2]);

/* Parses buf[0..len) in place; JSON_PADDING writable bytes must follow. The document refers to buf.
 * err may be NULL. Never frees anything in alc on success. */
int json_parse(char *buf, size_t len, const struct json_limits *limits, const yyjson_alc *alc,
               yyjson_doc **out, struct json_error *err);

/* The ALK_E code of a failure. */
int json_err(int status);
/* Fills err, which may be NULL, with a fault that has no single place: for those who can fail
 * before or after the parsing. */
void json_say(struct json_error *err, const char *text);
/* Whether JSON text that is known to be valid has no white space but in strings. */
bool json_compact(const char *text, size_t len);
/* Whether JSON text that is known to be valid stays within limits. */
bool json_fits(const char *text, size_t len, const struct json_limits *limits);
/* A number of either representation as a double; 0 for what is no number. */
double json_double(const yyjson_val *v);
static inline bool json_is_number(const yyjson_val *v)
{
    return yyjson_is_num((yyjson_val *)v) || yyjson_is_raw((yyjson_val *)v);
}
/* The bytes of a string; STR_NONE for what is none. */
static inline struct str json_string(yyjson_val *v)
{
    return yyjson_is_str(v) ? (struct str){yyjson_get_str(v), yyjson_get_len(v)} : STR_NONE;
}
/* The string member's bytes, or NULL and a length of 0 when absent or no string. */
const char *json_str(yyjson_val *obj, const char *name, size_t *len);
/* The name of the first member of obj that is not in the NULL-terminated list, or NULL: a misspelt
 * option must not pass as one that is not there. */
yyjson_val *json_unknown_member(yyjson_val *obj, const char *const *known);
/* A name as messages show it, cut to 64 bytes: utf8_show. Returns out. */
#define JSON_SHOWN 65u
const char *json_show(yyjson_val *name, char out[JSON_SHOWN]);
/* Resolves an RFC 6901 pointer; NULL when it leads nowhere. */
yyjson_val *json_pointer(yyjson_val *root, const char *ptr, size_t len);

#endif
