/* The compiled form of a schema, made by compile.c and rules.c, read by check.c and its neighbours.
 * A node is one subschema, its keywords grouped by the type of value that they speak of. Everything
 * lies in the schema's arena and never changes once schema_compile has returned. */
#ifndef ALK_SCHEMA_COMPILED_H
#define ALK_SCHEMA_COMPILED_H

#include "base/arena.h"
#include "schema/schema.h"
#include "schema/number.h"
#include "schema/text.h"

#include <stdbool.h>

/* A value has exactly one of these; "number" in a schema means both of the last two. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_OBJECT = 4,
    TYPE_ARRAY = 8,
    TYPE_STRING = 16,
    TYPE_INTEGER = 32,
    TYPE_FRACTION = 64,
    TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
    TYPE_ANY = 127
};

/* The compiled form belongs to the host and is freed with the schema; any thread may match with
 * it. */
struct pattern {
    void *regex; /* of the host */
    struct str text;
    struct pattern *next;
};

struct nodes {
    const struct node *const *at;
    uint32_t count;
};

/* The order of the names of an object's rules: by length, which tells most of them apart without a
 * look at their bytes. Sorting (rules_object.c) and searching (containers.c) have to agree on
 * it. */
static inline int name_order(struct str a, struct str b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}

/* A member name that the schema knows. */
struct name {
    struct str text;
    const struct node *node; /* of properties, or NULL */
    uint32_t bit;            /* in sets of names, or NO_BIT when none asks for this name */
};

#define NO_BIT UINT32_MAX

/* When the member with this bit is there: the names that it needs must be too, and the node must
 * hold. A list and not a set: sets would take the square of what a schema has of dependencies. */
struct dependency {
    const struct name *name;
    const struct name *const *needs;
    uint32_t need_count;
    const struct node *node; /* or NULL */
    const char *keyword;
};

struct member_pattern {
    const struct pattern *pattern;
    const struct node *node;
};

/* names, patterns and dependencies are arrays with the counts below; the nodes are NULL when the
 * keyword is not there. */
struct object_rules {
    const struct name *names;
    const struct member_pattern *patterns;
    const struct dependency *dependencies;
    const uint64_t *required; /* a set of names, or NULL */
    const struct node *additional, *property_names, *unevaluated;
    uint32_t name_count, pattern_count, dependency_count;
    uint32_t set_words; /* of a set of names */
    uint64_t min, max;
};

/* items is for what is behind the prefix. NULL: anything. */
struct array_rules {
    struct nodes prefix;
    const struct node *items, *contains, *unevaluated;
    const char *items_keyword; /* "items" or "additionalItems" */
    uint64_t min, max, min_contains, max_contains;
    bool unique;
};

/* Lengths in characters, not bytes. */
struct string_rules {
    const struct pattern *pattern;
    uint64_t min, max;
};

/* A limit of a number. Read once, when compiling. */
struct bound {
    struct number value;
    struct str text; /* as the schema has it */
};

/* Each may be NULL. */
struct number_rules {
    const struct bound *min, *max, *above, *below, *divisor;
};

/* The places of one $dynamicAnchor, for a $dynamicRef to pick from by the resources entered so
 * far. */
struct dynamic {
    struct dynamic_place {
        uint32_t resource;
        const struct node *node;
    } * places;
    uint32_t count;
    struct str name;
    struct dynamic *next;
};

/* Up to here, comparing with each value beats hashing. */
#define FEW_VALUES 12u

/* Of a table that finds values by their hash. at is 0 where the slot is free. */
struct value_slot {
    uint32_t hash, at;
};

/* What holds for a value of any type, in the order of checking. */
struct clause {
    enum {
        CLAUSE_CONST,
        CLAUSE_ENUM,
        CLAUSE_REF,
        CLAUSE_DYNAMIC_REF,
        CLAUSE_ALL_OF,
        CLAUSE_ANY_OF,
        CLAUSE_ONE_OF,
        CLAUSE_NOT,
        CLAUSE_IF
    } kind;
    struct nodes nodes;            /* IF: condition, then, else, where NULL asserts nothing */
    const struct dynamic *dynamic; /* DYNAMIC_REF: nodes has the fallback */
    yyjson_val *const *values;     /* CONST, ENUM */
    uint32_t value_count;
    const struct value_slot *slots; /* at: an index in values, plus 1; NULL: they are few */
    size_t slot_mask;
};

/* Groups of rules are NULL where no keyword asks for one, so a node costs what it says. Nodes refer
 * to each other in circles, where a schema does: they are never freed one by one. */
struct node {
    uint16_t types; /* those allowed; none: false */
    bool plain;     /* asserts the type only: most nodes, decided without a call */
    uint32_t resource;
    const struct object_rules *object;
    const struct array_rules *array;
    const struct string_rules *string;
    const struct number_rules *number;
    const struct clause *clauses;
    uint32_t clause_count;
};

struct schema {
    struct mem *mem;
    struct arena arena;
    const struct host *host;
    const struct node *root;
    struct pattern *patterns; /* all of them, to be freed */
    size_t pattern_bytes;     /* what the host keeps for them */
    bool dynamic;             /* some reference depends on the resources entered */
};

/* What true and false compile to. Compared by address, since a message about false is another
 * one. */
extern const struct node schema_node_true, schema_node_false;

#endif
