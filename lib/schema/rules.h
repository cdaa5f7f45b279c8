/* Making the rules of one node: what rules.c and rules_object.c take from rules_parts.c.
 *
 * Whatever is made lies in the schema's arena. When memory or the budget runs out, the functions
 * return something that is safe to go on with, and rc of the build says that it is worth
 * nothing. */
#ifndef ALK_SCHEMA_RULES_H
#define ALK_SCHEMA_RULES_H

#include "schema/build.h"

/* The keywords of the record at hand: values, and keys for messages. */
struct keywords {
    struct build *b;
    uint32_t record;
    yyjson_val *val[KEYWORD_COUNT], *key[KEYWORD_COUNT];
};

/* The node of a record, behind references that do nothing but refer. */
const struct node *rules_node(struct build *b, uint32_t record);
/* The node of a subschema; val is the schema's place in its document. */
const struct node *rules_child(const struct keywords *k, yyjson_val *val);
/* That of the schema which is the keyword's value; NULL when the keyword is not there. */
const struct node *rules_child_at(const struct keywords *k, enum keyword_id id);
/* Those of an array of schemas. */
struct nodes rules_child_list(const struct keywords *k, yyjson_val *arr);
/* A copy of a value that is not tied to its document. */
yyjson_val *rules_value(struct build *b, yyjson_val *v);
/* The limit that a keyword sets to a number; NULL when it is not there. */
const struct bound *rules_bound(const struct keywords *k, enum keyword_id id);
uint64_t rules_count(const struct keywords *k, enum keyword_id id, uint64_t otherwise);
/* place says where str is, for the message about an invalid pattern. NULL only with rc set. */
const struct pattern *rules_pattern(const struct keywords *k, yyjson_val *str,
                                    const struct place *place);
bool rules_has_any(const struct keywords *k, const enum keyword_id *ids, size_t count);
#define HAS_ANY(k, ...)                                                                            \
    rules_has_any(k, (const enum keyword_id[]){__VA_ARGS__},                                       \
                  sizeof((const enum keyword_id[]){__VA_ARGS__}) / sizeof(enum keyword_id))

/* rules_object.c: the rules for objects, if any keyword asks for one. */
int rules_object(const struct keywords *k, struct node *node);

#endif
