/* A schema being compiled, in two rounds without recursion.
 *
 * Indexing (index.c) walks the schemas of each document, checks the shape of every keyword, and
 * makes a record for each subschema; identifiers and anchors go into one table of names. References
 * are resolved when all that is known has been indexed, which may draw in further documents or
 * places that no keyword led to. Then the rules are made (rules.c), when every record has its node.
 * What is only needed meanwhile lies in tmp.
 *
 * Time and memory are both bounded by the steps: whatever takes memory takes steps in proportion.
 * What a schema could make expensive beyond its own length:
 *   documents that it draws in       their number, and a step for eight values of each
 *   pointers, each into the next     a step for each token; long containers get lists
 *   chains of references             destination (rules_parts.c), which remembers them
 *   dynamic anchors and their users  a step for each pair looked at
 *   patterns                         128 steps and one for each byte; the host bounds one's code,
 *                                    build_weigh the sum
 *   names                            a step for each, and sorting is n log n */
#ifndef ALK_SCHEMA_BUILD_H
#define ALK_SCHEMA_BUILD_H

#include "base/json.h"
#include "base/map.h"
#include "schema/compiled.h"
#include "schema/keywords.h"

/* Records are named by index: the array moves when it grows, so a pointer to one is good until the
 * next record is added. */
#define NO_RECORD UINT32_MAX

/* One JSON text: the schema itself, or what the resolver gave for a URI. Its values belong to the
 * caller, or lie in tmp. */
struct document {
    struct str uri;
    yyjson_val *root, *end;
    uint32_t *records; /* by distance from root: a record's number plus 1, or 0 */
    /* By distance from root, once a pointer leads through a large container: its names in order, or
     * its items. */
    yyjson_val ***lists;
    struct document *next;
};

/* A document, or a schema in one with an $id of its own: it has a base URI and a dialect. */
struct resource {
    struct str uri;
    struct dialect dialect;
};

/* Where something is in a record: at a keyword, and there at a key or an index; or at a pointer. */
struct place {
    yyjson_val *keyword, *key;
    bool has_index;
    size_t index;
    struct str pointer;
};

/* A subschema of some document. parent is only there to tell where a fault is. */
struct record {
    yyjson_val *val;
    struct node *node; /* NULL for true and false */
    struct document *document;
    uint32_t resource, parent;
    struct place place;
    yyjson_val *ref, *dynamic_ref; /* the references' texts */
    uint32_t target, dynamic_target;
    struct dynamic *dynamic; /* of dynamic_ref, when it depends on where one comes from */
    bool asserts;            /* more than ref */
    bool ref_only;           /* draft-07: nothing beside $ref counts */
    bool settled;            /* target, when this only refers, is the end of the chain */
};

/* An identifier: a resource's URI, or with '#' and the name of an anchor. */
struct name_entry {
    struct map_node by_name;
    struct name_entry *next; /* any order; all of them, to be removed */
    uint32_t record;
    bool dynamic;
};

/* In any document. Whose resource was entered first is known only when a value is checked. */
struct dynamic_anchor {
    struct str name;
    uint32_t record;
    struct dynamic_anchor *next;
};

struct build {
    const struct schema_options *options;
    struct schema *schema;
    struct schema_diag *diag;
    struct arena tmp;
    struct map names;
    struct name_entry *entries;
    uint64_t seed[2]; /* of names: identifiers are the schema's author's to choose */
    struct document *documents;
    struct record *records;
    struct resource *resources;
    struct dynamic *dynamics;
    struct dynamic_anchor *anchors;
    uint32_t record_count, record_cap, resource_count, resource_cap, document_count, resolved,
        indexed;
    uint32_t steps; /* left of the budget */
    size_t text;    /* bytes of the documents, white space and escapes left out */
    int rc;         /* the first failure, which everything afterwards leaves alone */
};

/* Sets rc and the diagnosis: at the record, or at a place in it. Returns rc. */
int build_fail(struct build *b, uint32_t record, const struct place *place, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* For what is the fault of no place in the schema: the budget, the memory, no randomness. */
int build_give_up(struct build *b, int rc, const char *why);
int build_nomem(struct build *b);
/* 0, or rc when the budget is exhausted. */
int build_spend(struct build *b, uint64_t steps);
/* 0, or rc when what is kept is more than the text may ask for. */
int build_weigh(struct build *b);
/* From the schema's arena, cleared; NULL with rc set. */
void *build_keep(struct build *b, size_t size);
void *build_tmp(struct build *b, size_t size);

/* Everything reachable from the schema, indexed and resolved. */
int build_index(struct build *b, yyjson_val *root);
/* After it: none leads back to itself before it comes to another value. */
int build_refuse_loops(struct build *b);
/* The rules of every record. */
int build_rules(struct build *b);

/* ---- between the files of the first round ---- */

/* A keyword being indexed: its record and its name there. */
struct at {
    uint32_t record;
    yyjson_val *keyword;
};
#define AT(keyword_key) (&(struct place){.keyword = (keyword_key)})

int build_fail_uri(struct build *b, uint32_t record, yyjson_val *key, const char *what,
                   struct str uri);
/* Where the next element of a growing array in tmp goes: the array, moved if it was full; NULL with
 * rc set. */
void *build_room(struct build *b, void *array, uint32_t count, uint32_t *cap, size_t size);
/* Enters a name, unless it is there already: *other is then the record that has it. */
int build_add_entry(struct build *b, struct str name, uint32_t record, bool dynamic,
                    uint32_t *other);
/* A new record for val, which must be a schema, or NO_RECORD with rc set. */
uint32_t build_add_record(struct build *b, struct document *d, yyjson_val *val, uint32_t resource,
                          uint32_t parent, const struct place *place);
int build_add_document(struct build *b, yyjson_val *root, struct str uri, struct dialect dialect);
int build_index_all(struct build *b);
/* Checks a keyword's value and enters the schemas in it. */
int build_index_value(struct build *b, struct at at, yyjson_val *val, enum shape shape);
struct name_entry *build_find(const struct build *b, struct str name);
struct str build_anchor(struct build *b, uint32_t record, struct str anchor);
/* The resolver's answer, or NULL. */
yyjson_val *build_ask(const struct build *b, struct str uri);
/* ref against base, without its fragment. */
int build_resolve_uri(struct build *b, uint32_t record, yyjson_val *key, struct str base,
                      struct str ref, struct str *out, struct str *fragment);
struct str build_dup(struct build *b, struct str s);
int build_order(const void *a, const void *b);
/* The member's value, and its key for messages; NULL when it is not there. */
yyjson_val *build_member(yyjson_val *obj, const char *name, yyjson_val **key);

static inline struct record *record_at(const struct build *b, uint32_t i)
{
    return &b->records[i];
}
/* The record of a value of a document, or NO_RECORD. */
static inline uint32_t record_of(const struct document *d, yyjson_val *val)
{
    return d->records[val - d->root] - 1;
}

#endif
