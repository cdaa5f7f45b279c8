/* Schemas of OpenAPI documents become JSON Schema 2020-12: whatever a schema refers to is written
 * once, as a text of its own, and each operation gets those that it reaches as its `$defs`. So
 * circles stay references, and a document's thousands of references cost no copies of trees.
 *
 * There is a text for each direction: what is readOnly is not required of a request, what is
 * writeOnly not of an answer. */
#ifndef ALK_ADAPT_OPENAPI_SCHEMA_H
#define ALK_ADAPT_OPENAPI_SCHEMA_H

#include "adapt/openapi_documents.h"
#include "base/buf.h"

/* Of one operation's input, or of its answers. */
#define OAS_SCHEMA_BYTES (1u << 20)
/* What an import may cost, in bytes that are copied; to look at a value is OAS_LOOK of them. Any part
 * may be referred to from everywhere, so a document's size is no bound of that. Some seconds. */
#define OAS_WORK (1u << 30)
#define OAS_LOOK 64u
#define OAS_TOO_MUCH "the document's parts refer to each other more than can be followed"

enum { OAS_REQUEST, OAS_ANSWER };

struct oas_schema;

/* Those of one import. */
struct oas_schemas {
    struct oas_documents *docs;
    struct mem *mem;
    bool old; /* 3.0: members beside $ref are nothing */
    struct arena arena, scratch;
    struct oas_schemas_of {
        struct map by_value, by_name;
        size_t number; /* for the next name that is taken */
    } of[2];
    uint64_t seed[2];
    uint32_t closures; /* made so far */
    size_t work;       /* of OAS_WORK */
};

/* What one text refers to, as it is being written. */
struct oas_closure {
    struct oas_schemas *s;
    struct oas_schema **list;
    size_t count, cap;
    uint32_t number;
    uint8_t direction;
    bool of_entry; /* openapi_schema.c's own */
    /* The first thing that could not be translated, and where; "": nothing. What was written is
     * then no use. */
    char where[OAS_WHERE], why[OAS_WHY];
};

void oas_schemas_init(struct oas_schemas *s, struct oas_documents *docs, bool old,
                      const uint64_t seed[2]);
void oas_schemas_fini(struct oas_schemas *s);
/* false: the import has cost what it may. */
bool oas_pay(struct oas_schemas *s, size_t work);

void oas_closure_init(struct oas_closure *c, struct oas_schemas *s, int direction);
void oas_closure_fini(struct oas_closure *c);
/* Appends the schema at a place; description (p NULL: none) and deprecated are said in it where it
 * does not say them itself. What is wrong with it stands in c->why. 0, or ALK_ENOMEM. */
int oas_schema_write(struct oas_closure *c, const struct oas_place *schema, struct str description,
                     bool deprecated, struct buf *out);
/* Appends `,"$defs":{…}` with all that was referred to, and what that refers to; nothing where that
 * is none. 0, or ALK_ENOMEM. */
int oas_closure_write(struct oas_closure *c, struct buf *out);

#endif
