/* What is known of each keyword, as tables. They are looked through from the start: only compiling
 * reads them, and its budget counts keywords. A keyword whose shape or meaning differs between the
 * drafts has a line for each.
 *
 * A key that is in no line is no fault: unknown keywords are annotations (JSON Schema core, section
 * 6.5). That is why a schema may hold schemas in places that no keyword leads to, see find_pointer
 * in refs.c. */
#include "schema/keywords.h"

#include "base/json.h"

/* `format` and the content keywords have a shape and no effect: they are annotations unless a
 * dialect says otherwise (JSON Schema validation, sections 7.2.1 and 8). Draft-07's `definitions`
 * is in both, since schemas of 2020-12 have it too and its metaschema allows it. */
static const struct keyword keywords[] = {
    {"$id", KEYWORD_ID, SHAPE_URI, DRAFT_BOTH, VOCABULARY_CORE},
    {"$schema", KEYWORD_SCHEMA, SHAPE_URI, DRAFT_BOTH, VOCABULARY_CORE},
    {"$ref", KEYWORD_REF, SHAPE_URI, DRAFT_BOTH, VOCABULARY_CORE},
    {"$anchor", KEYWORD_ANCHOR, SHAPE_ANCHOR, DRAFT_2020, VOCABULARY_CORE},
    {"$dynamicRef", KEYWORD_DYNAMIC_REF, SHAPE_URI, DRAFT_2020, VOCABULARY_CORE},
    {"$dynamicAnchor", KEYWORD_DYNAMIC_ANCHOR, SHAPE_ANCHOR, DRAFT_2020, VOCABULARY_CORE},
    {"$vocabulary", KEYWORD_NONE, SHAPE_VOCABULARIES, DRAFT_2020, VOCABULARY_CORE},
    {"$comment", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_CORE},
    {"$defs", KEYWORD_DEFINITIONS, SHAPE_SCHEMA_MAP, DRAFT_2020, VOCABULARY_CORE},
    {"definitions", KEYWORD_DEFINITIONS, SHAPE_SCHEMA_MAP, DRAFT_BOTH, VOCABULARY_CORE},

    {"properties", KEYWORD_PROPERTIES, SHAPE_SCHEMA_MAP, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"patternProperties", KEYWORD_PATTERN_PROPERTIES, SHAPE_SCHEMA_MAP, DRAFT_BOTH,
     VOCABULARY_APPLICATOR},
    {"additionalProperties", KEYWORD_ADDITIONAL_PROPERTIES, SHAPE_SCHEMA, DRAFT_BOTH,
     VOCABULARY_APPLICATOR},
    {"propertyNames", KEYWORD_PROPERTY_NAMES, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"dependencies", KEYWORD_DEPENDENCIES, SHAPE_DEPENDENCIES, DRAFT_7, VOCABULARY_APPLICATOR},
    {"dependentSchemas", KEYWORD_DEPENDENT_SCHEMAS, SHAPE_SCHEMA_MAP, DRAFT_2020,
     VOCABULARY_APPLICATOR},
    {"items", KEYWORD_ITEMS, SHAPE_ITEMS, DRAFT_7, VOCABULARY_APPLICATOR},
    {"items", KEYWORD_ITEMS, SHAPE_SCHEMA, DRAFT_2020, VOCABULARY_APPLICATOR},
    {"additionalItems", KEYWORD_ADDITIONAL_ITEMS, SHAPE_SCHEMA, DRAFT_7, VOCABULARY_APPLICATOR},
    {"prefixItems", KEYWORD_PREFIX_ITEMS, SHAPE_SCHEMAS, DRAFT_2020, VOCABULARY_APPLICATOR},
    {"contains", KEYWORD_CONTAINS, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"allOf", KEYWORD_ALL_OF, SHAPE_SCHEMAS, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"anyOf", KEYWORD_ANY_OF, SHAPE_SCHEMAS, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"oneOf", KEYWORD_ONE_OF, SHAPE_SCHEMAS, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"not", KEYWORD_NOT, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"if", KEYWORD_IF, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"then", KEYWORD_THEN, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},
    {"else", KEYWORD_ELSE, SHAPE_SCHEMA, DRAFT_BOTH, VOCABULARY_APPLICATOR},

    {"unevaluatedItems", KEYWORD_UNEVALUATED_ITEMS, SHAPE_SCHEMA, DRAFT_2020,
     VOCABULARY_UNEVALUATED},
    {"unevaluatedProperties", KEYWORD_UNEVALUATED_PROPERTIES, SHAPE_SCHEMA, DRAFT_2020,
     VOCABULARY_UNEVALUATED},

    {"type", KEYWORD_TYPE, SHAPE_TYPE, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"enum", KEYWORD_ENUM, SHAPE_ARRAY, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"const", KEYWORD_CONST, SHAPE_ANY, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"multipleOf", KEYWORD_MULTIPLE_OF, SHAPE_POSITIVE, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"maximum", KEYWORD_MAXIMUM, SHAPE_NUMBER, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"exclusiveMaximum", KEYWORD_EXCLUSIVE_MAXIMUM, SHAPE_NUMBER, DRAFT_BOTH,
     VOCABULARY_VALIDATION},
    {"minimum", KEYWORD_MINIMUM, SHAPE_NUMBER, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"exclusiveMinimum", KEYWORD_EXCLUSIVE_MINIMUM, SHAPE_NUMBER, DRAFT_BOTH,
     VOCABULARY_VALIDATION},
    {"maxLength", KEYWORD_MAX_LENGTH, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"minLength", KEYWORD_MIN_LENGTH, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"pattern", KEYWORD_PATTERN, SHAPE_PATTERN, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"maxItems", KEYWORD_MAX_ITEMS, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"minItems", KEYWORD_MIN_ITEMS, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"uniqueItems", KEYWORD_UNIQUE_ITEMS, SHAPE_BOOLEAN, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"maxContains", KEYWORD_MAX_CONTAINS, SHAPE_COUNT, DRAFT_2020, VOCABULARY_VALIDATION},
    {"minContains", KEYWORD_MIN_CONTAINS, SHAPE_COUNT, DRAFT_2020, VOCABULARY_VALIDATION},
    {"maxProperties", KEYWORD_MAX_PROPERTIES, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"minProperties", KEYWORD_MIN_PROPERTIES, SHAPE_COUNT, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"required", KEYWORD_REQUIRED, SHAPE_NAMES, DRAFT_BOTH, VOCABULARY_VALIDATION},
    {"dependentRequired", KEYWORD_DEPENDENT_REQUIRED, SHAPE_NAMES_MAP, DRAFT_2020,
     VOCABULARY_VALIDATION},

    {"title", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_META},
    {"description", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_META},
    {"deprecated", KEYWORD_NONE, SHAPE_BOOLEAN, DRAFT_2020, VOCABULARY_META},
    {"readOnly", KEYWORD_NONE, SHAPE_BOOLEAN, DRAFT_BOTH, VOCABULARY_META},
    {"writeOnly", KEYWORD_NONE, SHAPE_BOOLEAN, DRAFT_BOTH, VOCABULARY_META},
    {"examples", KEYWORD_NONE, SHAPE_ARRAY, DRAFT_BOTH, VOCABULARY_META},
    {"format", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_FORMAT},
    {"contentEncoding", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_CONTENT},
    {"contentMediaType", KEYWORD_NONE, SHAPE_STRING, DRAFT_BOTH, VOCABULARY_CONTENT},
    {"contentSchema", KEYWORD_NONE, SHAPE_SCHEMA, DRAFT_2020, VOCABULARY_CONTENT},
};

/* What a vocabulary that is not in use defines is no keyword, and asserts nothing. */
const struct keyword *keyword_find(struct dialect d, yyjson_val *key)
{
    struct str name = json_string(key);

    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        const struct keyword *k = &keywords[i];

        if ((k->drafts & d.draft) && (k->vocabulary & d.vocabularies) && str_is(name, k->name))
            return k;
    }
    return NULL;
}

/* The URIs of older drafts end in an empty fragment, which callers have cut off; published schemas
 * write draft-07's with https as well. */
bool dialect_find(struct str uri, struct dialect *out, bool *known)
{
    /* Known, so that the message can say that they are not supported, and not ask the resolver. */
    static const char *const others[] = {
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-04/schema",
        "http://json-schema.org/draft-03/schema",
        "http://json-schema.org/schema",
    };

    *known = true;
    if (str_is(uri, "https://json-schema.org/draft/2020-12/schema")) {
        *out = (struct dialect){DRAFT_2020, VOCABULARY_ALL};
        return true;
    }
    if (str_is(uri, "http://json-schema.org/draft-07/schema") ||
        str_is(uri, "https://json-schema.org/draft-07/schema")) {
        *out = (struct dialect){DRAFT_7, VOCABULARY_ALL};
        return true;
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (str_is(uri, others[i]))
            return false;
    }
    *known = false;
    return false;
}

/* format-assertion is missing on purpose: formats are not checked here, and a metaschema that
 * requires it has to be refused rather than obeyed by half. */
uint8_t vocabulary_find(struct str uri)
{
    static const char prefix[] = "https://json-schema.org/draft/2020-12/vocab/";
    static const struct {
        const char *name;
        uint8_t bit;
    } names[] = {
        {"core", VOCABULARY_CORE},
        {"applicator", VOCABULARY_APPLICATOR},
        {"unevaluated", VOCABULARY_UNEVALUATED},
        {"validation", VOCABULARY_VALIDATION},
        {"meta-data", VOCABULARY_META},
        {"format-annotation", VOCABULARY_FORMAT},
        {"content", VOCABULARY_CONTENT},
    };

    if (!str_starts(uri, prefix))
        return 0;
    uri.p += sizeof prefix - 1;
    uri.n -= sizeof prefix - 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_is(uri, names[i].name))
            return names[i].bit;
    }
    return 0;
}
