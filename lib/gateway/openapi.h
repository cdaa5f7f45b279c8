/* The gateway's description of itself, an OpenAPI document for whoever asks: exactly the routes
 * that front the registry. What depends on the caller's operations is examples of their names, and
 * the errors that they declare; both are bounded, so that the document is, however large the
 * registry. */
#ifndef ALK_GATEWAY_OPENAPI_H
#define ALK_GATEWAY_OPENAPI_H

#include "base/buf.h"
#include "core/operation.h"

/* Semantic version of what the routes promise, in the document's info. */
#define GATEWAY_CONTRACT "1.0.0"

/* What writes the document that a query asks for: a query of a request, whose input it does not
 * look at. NULL: there is none. */
const struct operation *openapi_find(struct str query);

/* ---- openapi_text.c: its words, with ' for ", and with marks --------------------------------- */

extern const char *const openapi_text[]; /* to be written one after the other; ends with NULL */
extern const char openapi_parameters[], openapi_headers[], openapi_json[], openapi_result[],
    openapi_stream_31[], openapi_stream_32[];

/* ---- openapi_errors.c: what operations declare, merged by status ----------------------------- */

#define CODES_MAX 32u        /* shown with one status; others are the general error */
#define ALL_CODES_MAX 256u   /* and with all of them */
#define CODE_MAX 128u        /* bytes of one that is shown */
#define DESCRIPTION_MAX 300u /* bytes; the rest is cut off */
#define DETAILS_MAX 8u       /* schemas of one code's details; with more they may be anything */
#define SCHEMAS_MAX 64u      /* different ones in a document; others are anything */
#define SCHEMA_BYTES 8192u   /* of one, which is anything otherwise */
#define SCHEMA_DEPTH 32u     /* likewise */
#define STATUS_FIRST 400
#define STATUS_COUNT 200

struct declared_code;

struct declared {
    struct arena arena, scratch;
    struct map codes, schemas; /* by status and code; by text */
    struct buf components;     /* the schemas as members of an object, each behind a comma */
    struct declared_status {
        struct declared_code *first, **last;
        size_t count;
    } by_status[STATUS_COUNT]; /* from STATUS_FIRST on */
    unsigned schema_count;     /* in components */
};

/* seed and mem outlive it. */
void declared_init(struct declared *d, struct mem *mem, const uint64_t seed[2]);
void declared_fini(struct declared *d);
/* 0, or -1 out of memory, as below. What is kept of op are copies. */
int declared_add(struct declared *d, const struct operation *op);
static inline bool declared_any(const struct declared *d, int status)
{
    return d->by_status[status - STATUS_FIRST].count > 0;
}
/* The schemas of the errors with that status, each with a comma behind it. */
int declared_put(const struct declared *d, struct buf *b, int status);

#endif
