/* The keywords of both dialects: what their values look like, and where schemas are in them. A
 * keyword that has no effect here (title, format, …) still has a shape: a wrong value is most
 * likely a mistake. */
#ifndef ALK_SCHEMA_KEYWORDS_H
#define ALK_SCHEMA_KEYWORDS_H

#include "base/str.h"

#include <stdint.h>
#include <yyjson.h>

/* Bits, so that a keyword can belong to both. */
enum { DRAFT_7 = 1, DRAFT_2020 = 2, DRAFT_BOTH = 3 };

/* Vocabularies of draft 2020-12; draft-07 has all of its keywords always. */
enum {
    VOCABULARY_CORE = 1,
    VOCABULARY_APPLICATOR = 2,
    VOCABULARY_UNEVALUATED = 4,
    VOCABULARY_VALIDATION = 8,
    VOCABULARY_META = 16,
    VOCABULARY_FORMAT = 32,
    VOCABULARY_CONTENT = 64,
    VOCABULARY_ALL = 127
};

struct dialect {
    uint8_t draft;
    uint8_t vocabularies;
};

enum shape {
    SHAPE_ANY,
    SHAPE_ARRAY,
    SHAPE_BOOLEAN,
    SHAPE_STRING,
    SHAPE_PATTERN,
    SHAPE_URI,
    SHAPE_ANCHOR,
    SHAPE_COUNT, /* an integer of at least 0 */
    SHAPE_NUMBER,
    SHAPE_POSITIVE, /* a number above 0 */
    SHAPE_TYPE,
    SHAPE_NAMES,        /* an array of different strings */
    SHAPE_NAMES_MAP,    /* an object of such */
    SHAPE_VOCABULARIES, /* an object of booleans */
    SHAPE_SCHEMA,
    SHAPE_SCHEMAS,      /* an array of at least one */
    SHAPE_SCHEMA_MAP,   /* an object of schemas */
    SHAPE_ITEMS,        /* a schema or an array of at least one */
    SHAPE_DEPENDENCIES, /* an object of schemas or names */
};

/* Those that have an effect of their own; the others are KEYWORD_NONE. */
enum keyword_id {
    KEYWORD_NONE,
    KEYWORD_ID,
    KEYWORD_SCHEMA,
    KEYWORD_REF,
    KEYWORD_ANCHOR,
    KEYWORD_DYNAMIC_REF,
    KEYWORD_DYNAMIC_ANCHOR,
    KEYWORD_DEFINITIONS,
    /* From here on a keyword asserts something, or is looked at together with one that does. */
    KEYWORD_FIRST_ASSERTION,
    KEYWORD_ADDITIONAL_ITEMS = KEYWORD_FIRST_ASSERTION,
    KEYWORD_ADDITIONAL_PROPERTIES,
    KEYWORD_ALL_OF,
    KEYWORD_ANY_OF,
    KEYWORD_CONST,
    KEYWORD_CONTAINS,
    KEYWORD_DEPENDENCIES,
    KEYWORD_DEPENDENT_REQUIRED,
    KEYWORD_DEPENDENT_SCHEMAS,
    KEYWORD_ELSE,
    KEYWORD_ENUM,
    KEYWORD_EXCLUSIVE_MAXIMUM,
    KEYWORD_EXCLUSIVE_MINIMUM,
    KEYWORD_IF,
    KEYWORD_ITEMS,
    KEYWORD_MAX_CONTAINS,
    KEYWORD_MAX_ITEMS,
    KEYWORD_MAX_LENGTH,
    KEYWORD_MAX_PROPERTIES,
    KEYWORD_MAXIMUM,
    KEYWORD_MIN_CONTAINS,
    KEYWORD_MIN_ITEMS,
    KEYWORD_MIN_LENGTH,
    KEYWORD_MIN_PROPERTIES,
    KEYWORD_MINIMUM,
    KEYWORD_MULTIPLE_OF,
    KEYWORD_NOT,
    KEYWORD_ONE_OF,
    KEYWORD_PATTERN,
    KEYWORD_PATTERN_PROPERTIES,
    KEYWORD_PREFIX_ITEMS,
    KEYWORD_PROPERTIES,
    KEYWORD_PROPERTY_NAMES,
    KEYWORD_REQUIRED,
    KEYWORD_THEN,
    KEYWORD_TYPE,
    KEYWORD_UNEVALUATED_ITEMS,
    KEYWORD_UNEVALUATED_PROPERTIES,
    KEYWORD_UNIQUE_ITEMS,
    KEYWORD_COUNT
};

struct keyword {
    const char *name;
    uint8_t id, shape, drafts, vocabulary;
};

/* NULL for what the dialect does not know. */
const struct keyword *keyword_find(struct dialect d, yyjson_val *key);
/* The dialect of a $schema URI without fragment; false for one that is not built in. *known: it has
 * been heard of. */
bool dialect_find(struct str uri, struct dialect *out, bool *known);
/* The bit of a vocabulary's URI; 0 for one that is not supported. */
uint8_t vocabulary_find(struct str uri);
/* The text of a published metaschema, with ' for ", or NULL. */
const char *metaschema_find(struct str uri);

#endif
