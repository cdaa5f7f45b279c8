/* What parts of one document are called otherwise than by their place: an $id makes of the object
 * that has it a resource with a URI of its own, against which the references in it are resolved, and
 * an $anchor names an object within its resource (JSON Schema 2020-12, section 8.2; OpenAPI 3.1). */
#ifndef ALK_ADAPT_OPENAPI_NAMES_H
#define ALK_ADAPT_OPENAPI_NAMES_H

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"

#define OAS_URI_MAX 4096u /* an $id that makes a longer URI is passed over */

struct oas_resource {
    struct str uri;
    uint32_t begin, end; /* of the object: offsets from the document's root */
    uint32_t around;     /* the resource that it lies in; the first's is itself */
};

struct oas_names {
    yyjson_val *root;
    struct oas_resource
        *resources; /* in the order in which they begin; the first is the document */
    uint32_t count;
    struct map anchors;
};

/* Of a document of so many values, whose own URI is uri. Nesting is at most JSON_MAX_DEPTH. arena
 * and seed outlive it. *budget is what names may cost, in bytes, and goes down. 0, ALK_ELIMIT or
 * ALK_ENOMEM; oas_names_fini follows in each case. */
int oas_names_init(struct oas_names *n, struct arena *arena, const uint64_t *seed, yyjson_val *root,
                   size_t values, struct str uri, size_t *budget);
void oas_names_fini(struct oas_names *n);
/* The innermost resource that a value of the document lies in. */
const struct oas_resource *oas_names_around(const struct oas_names *n, const yyjson_val *val);
/* The object of that anchor; NULL: there is none. */
yyjson_val *oas_names_anchor(const struct oas_names *n, const struct oas_resource *in,
                             struct str anchor);

#endif
