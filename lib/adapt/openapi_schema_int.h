/* Between openapi_schema.c, which writes one schema, and openapi_closure.c, which knows which there
 * are. */
#ifndef ALK_ADAPT_OPENAPI_SCHEMA_INT_H
#define ALK_ADAPT_OPENAPI_SCHEMA_INT_H

#include "adapt/openapi_schema.h"

/* One that is referred to. */
struct oas_schema {
    struct map_node by_value; /* key: the address of the value */
    struct map_node by_name;
    struct oas_place place;
    struct str text; /* p NULL: not translated yet */
    struct oas_schema **refs;
    size_t ref_count;
    uint32_t closure[2]; /* the last that has it: of operations, of entries */
    const char *where, *why;
};

/* The entry of the schema at a place, which ref leads to; NULL: out of memory. */
struct oas_schema *oas_schema_entry(struct oas_schemas *s, int direction,
                                    const struct oas_place *at, struct str ref);
/* Lists it in the closure, once; false: out of memory. */
bool oas_closure_add(struct oas_closure *c, struct oas_schema *e);

#endif
