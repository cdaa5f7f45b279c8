/* Values of one parsed document by JSON pointer, and the pointer of a value, in time that does not
 * grow with the size of the objects and arrays on the way: a document may have as many references
 * into one object as that has members. */
#ifndef ALK_ADAPT_OPENAPI_LOOKUP_H
#define ALK_ADAPT_OPENAPI_LOOKUP_H

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"

#include <stdbool.h>

#define OAS_POINTER_MAX 4096u /* a longer one may lead nowhere */

struct oas_lookup {
    struct arena *arena;
    const uint64_t *seed;
    yyjson_val *root;
    struct map large; /* the containers that are not just walked, as they were first looked into */
};

/* arena and seed (two words, secret) outlive it. */
void oas_lookup_init(struct oas_lookup *l, struct arena *arena, const uint64_t *seed,
                     yyjson_val *root);
void oas_lookup_fini(struct oas_lookup *l);
/* *out is NULL where there is no such member, or obj is no object. 0 or ALK_ENOMEM. */
int oas_lookup_member(struct oas_lookup *l, yyjson_val *obj, struct str name, yyjson_val **out);
/* RFC 6901, from a value of the document; likewise. */
int oas_lookup_pointer(struct oas_lookup *l, yyjson_val *from, struct str pointer,
                       yyjson_val **out);
/* The pointer of a value of the document, with a NUL, cut to size between characters. Control
 * characters are escaped as JSON does. 0 or ALK_ENOMEM. */
int oas_lookup_where(struct oas_lookup *l, const yyjson_val *val, char *out, size_t size);

/* A text that ends with NUL, in a buffer that may be too small for it. */
struct oas_line {
    char *out;
    size_t size, len;
};
/* Appends s with control characters escaped, as far as there is room for whole characters; false
 * when some of it is missing. s is UTF-8. */
bool oas_line_add(struct oas_line *l, struct str s);

#endif
