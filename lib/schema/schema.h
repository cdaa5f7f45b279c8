/* JSON Schema: draft 2020-12 and draft-07, compiled once and checked often.
 *
 * A compiled schema is immutable and shared between threads; schema_check writes only to its
 * caller's memory and allocates nothing for ordinary valid values. Values are those of base/json.h:
 * numbers that yyjson cannot hold are compared by their text, exactly. Formats, content keywords
 * and annotations assert nothing; output is the verdict and a bounded list of errors. The dialect
 * is the one of $schema, else the default; a metaschema of its own is asked from the resolver, for
 * its $vocabulary.
 *
 * Costs are bounded: compiling and checking count steps (each below a quarter of a microsecond) and
 * end in SCHEMA_TOO_COMPLEX; nested evaluations are counted too, so that a check stays below
 * SCHEMA_MAX_STACK bytes of stack. What a schema keeps is bounded by the length of its text. */
#ifndef ALK_SCHEMA_SCHEMA_H
#define ALK_SCHEMA_SCHEMA_H

#include "base/arena.h"
#include "base/host.h"

#include <stdint.h>
#include <yyjson.h>

#define SCHEMA_MAX_ERRORS 8
#define SCHEMA_PATH_MAX 256u    /* bytes of an error's path, NUL included */
#define SCHEMA_MESSAGE_MAX 192u /* bytes of an error's message, NUL included */
#define SCHEMA_MAX_STACK (200u * 1024u)
#define SCHEMA_MAX_DOCUMENTS 64u /* external ones that one schema may draw in */
#define SCHEMA_MAX_URI 1024u
/* A quarter of a second at worst. */
#define SCHEMA_COMPILE_STEPS 1000000u
/* What a compiled schema may keep: this much, and so many bytes for each of its text. Ordinary ones
 * keep 5 to 15 for one; repeated groups in patterns, and sets of names, multiply. */
#define SCHEMA_MEMORY 32768u
#define SCHEMA_MEMORY_RATIO 32u

struct schema;

enum { SCHEMA_OK = 0, SCHEMA_INVALID = 1, SCHEMA_TOO_COMPLEX = 2, SCHEMA_ENOMEM = 3 };

/* The root of the document at an absolute URI without fragment, or NULL. It must outlive
 * schema_compile. */
typedef yyjson_val *(*schema_resolve_fn)(void *ud, const char *uri, size_t len);

struct schema_options {
    const struct host *host;
    struct mem *mem;           /* for the schema and while compiling; outlives the schema */
    schema_resolve_fn resolve; /* NULL: only what is in the schema itself, and the metaschemas */
    void *ud;
    uint32_t max_steps;          /* 0: SCHEMA_COMPILE_STEPS */
    const char *default_dialect; /* URI for where no $schema says; NULL: 2020-12 */
};

struct schema_diag {
    char
        path[SCHEMA_PATH_MAX]; /* JSON pointer into the schema; behind "URI#" in another document */
    char text[SCHEMA_MESSAGE_MAX];
};

/* SCHEMA_OK with *out, or another code with *out NULL and diag filled: SCHEMA_INVALID for
 * everything that is wrong with the schema or that it refers to. */
int schema_compile(struct schema **out, yyjson_val *root, const struct schema_options *o,
                   struct schema_diag *diag);
/* NULL is fine. */
void schema_free(struct schema *s);
/* The bytes that it keeps, compiled patterns included; 0 for NULL. */
size_t schema_memory(const struct schema *s);

struct schema_error {
    const char *path; /* JSON pointer (RFC 6901) into the value; "" is the value itself */
    const char *keyword;
    const char *message; /* "expected integer, got string" */
};

/* Texts are UTF-8, cut at SCHEMA_PATH_MAX and SCHEMA_MESSAGE_MAX, and live in the scratch arena. */
struct schema_report {
    int count; /* at least one when the value is invalid */
    struct schema_error errors[SCHEMA_MAX_ERRORS];
};

/* SCHEMA_OK, SCHEMA_INVALID, SCHEMA_TOO_COMPLEX or SCHEMA_ENOMEM. rep may be NULL; it is filled for
 * SCHEMA_INVALID. A valid value costs one pass; an invalid one a second pass, for the report, with
 * the steps that are left. */
int schema_check(const struct schema *s, yyjson_val *v, uint32_t steps, struct arena *scratch,
                 struct schema_report *rep);

#endif
