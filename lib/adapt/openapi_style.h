/* Values as parameters: the styles of OpenAPI's Parameter Object, which are those of RFC 6570 and
 * some more. */
#ifndef ALK_ADAPT_OPENAPI_STYLE_H
#define ALK_ADAPT_OPENAPI_STYLE_H

#include "adapt/openapi_write.h"

/* What is being written: a query, a form, the Cookie field, one path parameter, one header field.
 * It consists of units, most of them name=value. */
struct oas_units {
    struct oas_writer *w;
    const char *first, *sep; /* before the first, and between */
    bool begun;
    uint8_t in; /* IN_; a form: IN_QUERY */
    /* Credentials that are shown: no unit of the input has one's name. NULL: none. */
    const struct oas_requirement *shown;
};

/* v is not null. Arrays and objects that have nothing in them write nothing. */
void oas_expand(struct oas_units *x, const struct oas_param *p, yyjson_val *v);
/* name=value of a credential. */
void oas_unit(struct oas_units *x, struct str name, struct str value);
/* The members of an object, each as its part of the plan says. */
void oas_form(struct oas_units *x, const struct oas_part *parts, size_t count, yyjson_val *v);
const struct oas_part *oas_part_of(const struct oas_part *parts, size_t count, struct str name);

/* Whether out[from ..] could lead out of its segment at a server that decodes, however often, before
 * it normalises: it has a part "." or ".." then. A failure too is true. */
bool oas_leaves(struct oas_writer *w, size_t from);

#endif
