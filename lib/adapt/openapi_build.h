/* One operation as it is being made: what the files share that make one. */
#ifndef ALK_ADAPT_OPENAPI_BUILD_H
#define ALK_ADAPT_OPENAPI_BUILD_H

#include "adapt/openapi_int.h"

struct oas_build_param {
    struct oas_place at; /* where a reference leads */
    struct str name;
    int in;
    struct str member; /* of the input */
};

/* One that is being made. */
struct oas_build {
    struct oas_import *im;
    const struct oas_item *item;
    struct oas_operation *own;
    struct oas_closure closure; /* of the input */
    struct oas_build_param params[OAS_PARAMS];
    size_t count;
    bool first; /* no property has been written */
    bool has_body;
};

/* The operation is left out; why is a warning. Returns ALK_EINVAL. */
int oas_left_out(struct oas_build *b, const struct oas_place *at, const char *why);
/* Begins a property of the input. */
int oas_put_property(struct oas_build *b, struct str name);

/* openapi_params.c: those of the path and of the operation, and the names of their properties; then,
 * with those that the path has besides, their properties and places in the request. */
int oas_collect_params(struct oas_build *b, const struct oas_place *of);
int oas_build_params(struct oas_build *b);

/* openapi_content.c: the body's property, and how it is sent. */
int oas_build_body(struct oas_build *b, const struct oas_place *body);

#endif
