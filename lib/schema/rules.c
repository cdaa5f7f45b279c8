/* The second round of build.h: each record's keywords become the rules of its node.
 *
 * Every subschema has its node since the first round, so references and children are just addresses
 * here, in circles too. Rules are grouped by the type of value that they speak of, and what holds
 * for any type becomes a list of clauses; a check then looks at nothing that cannot apply. This is
 * what JSON Schema asks for: a keyword for one type holds for values of all others (core, section
 * 7.6.1), so {"maxLength": 3} allows 1000. */
#include "schema/rules.h"

#include "schema/check.h"

#include <string.h>

/* ---- arrays, strings, numbers ---- */

/* Draft-07 says with items and additionalItems what 2020-12 says with prefixItems and items; both
 * become one form here, and only items_keyword remembers which it was. Without items,
 * additionalItems is ignored, as minContains is without contains. */
static int make_array(const struct keywords *k, struct node *node)
{
    yyjson_val *items = k->val[KEYWORD_ITEMS], *prefix = k->val[KEYWORD_PREFIX_ITEMS];
    bool draft_7_list = yyjson_is_arr(items);
    struct array_rules *r;

    if (!HAS_ANY(k, KEYWORD_ITEMS, KEYWORD_PREFIX_ITEMS, KEYWORD_CONTAINS, KEYWORD_UNIQUE_ITEMS,
                 KEYWORD_UNEVALUATED_ITEMS, KEYWORD_MIN_ITEMS, KEYWORD_MAX_ITEMS))
        return k->b->rc;
    r = build_keep(k->b, sizeof *r);
    if (!r)
        return k->b->rc;
    if (prefix || draft_7_list)
        r->prefix = rules_child_list(k, prefix ? prefix : items);
    r->items = rules_child_at(k, draft_7_list ? KEYWORD_ADDITIONAL_ITEMS : KEYWORD_ITEMS);
    r->items_keyword = draft_7_list ? "additionalItems" : "items";
    r->contains = rules_child_at(k, KEYWORD_CONTAINS);
    r->unevaluated = rules_child_at(k, KEYWORD_UNEVALUATED_ITEMS);
    r->min = rules_count(k, KEYWORD_MIN_ITEMS, 0);
    r->max = rules_count(k, KEYWORD_MAX_ITEMS, UINT64_MAX);
    r->min_contains = rules_count(k, KEYWORD_MIN_CONTAINS, 1);
    r->max_contains = rules_count(k, KEYWORD_MAX_CONTAINS, UINT64_MAX);
    r->unique = yyjson_is_true(k->val[KEYWORD_UNIQUE_ITEMS]);
    node->array = r;
    return k->b->rc;
}

/* A length is counted in characters, and a pattern may match anywhere (validation, sections 6.3.1
 * and 6.3.3). */
static int make_string(const struct keywords *k, struct node *node)
{
    struct string_rules *r;

    if (!HAS_ANY(k, KEYWORD_MIN_LENGTH, KEYWORD_MAX_LENGTH, KEYWORD_PATTERN))
        return k->b->rc;
    r = build_keep(k->b, sizeof *r);
    if (!r)
        return k->b->rc;
    r->min = rules_count(k, KEYWORD_MIN_LENGTH, 0);
    r->max = rules_count(k, KEYWORD_MAX_LENGTH, UINT64_MAX);
    if (k->val[KEYWORD_PATTERN])
        r->pattern = rules_pattern(k, k->val[KEYWORD_PATTERN],
                                   &(struct place){.keyword = k->key[KEYWORD_PATTERN]});
    node->string = r;
    return k->b->rc;
}

/* A bound that is not there is NULL, and costs a check one comparison. Since draft-06 the exclusive
 * limits are numbers of their own and not flags, so all four may be there and all hold. */
static int make_number(const struct keywords *k, struct node *node)
{
    struct number_rules *r;

    if (!HAS_ANY(k, KEYWORD_MINIMUM, KEYWORD_MAXIMUM, KEYWORD_EXCLUSIVE_MINIMUM,
                 KEYWORD_EXCLUSIVE_MAXIMUM, KEYWORD_MULTIPLE_OF))
        return k->b->rc;
    r = build_keep(k->b, sizeof *r);
    if (!r)
        return k->b->rc;
    r->min = rules_bound(k, KEYWORD_MINIMUM);
    r->max = rules_bound(k, KEYWORD_MAXIMUM);
    r->above = rules_bound(k, KEYWORD_EXCLUSIVE_MINIMUM);
    r->below = rules_bound(k, KEYWORD_EXCLUSIVE_MAXIMUM);
    r->divisor = rules_bound(k, KEYWORD_MULTIPLE_OF);
    node->number = r;
    return k->b->rc;
}

/* The name has been checked when it was indexed. */
static uint16_t type_bits(yyjson_val *name)
{
    static const struct {
        const char *name;
        uint16_t bits;
    } types[] = {{"null", TYPE_NULL},      {"boolean", TYPE_BOOLEAN}, {"object", TYPE_OBJECT},
                 {"array", TYPE_ARRAY},    {"string", TYPE_STRING},   {"number", TYPE_NUMBER},
                 {"integer", TYPE_INTEGER}};
    size_t i = 0;

    while (!yyjson_equals_str(name, types[i].name))
        i++;
    return types[i].bits;
}

/* A number is an integer by its value, so "number" sets both bits (validation, section 6.1.1). */
static uint16_t make_types(yyjson_val *type)
{
    uint16_t bits = 0;
    size_t i, n;
    yyjson_val *name;

    if (!type)
        return TYPE_ANY;
    if (yyjson_is_str(type))
        return type_bits(type);
    yyjson_arr_foreach(type, i, n, name)
    {
        bits |= type_bits(name);
    }
    return bits;
}

/* ---- clauses ---- */

/* So that a check looks at the few values that have the hash of what came. Hashing is a check's
 * work, and paid like one, from what is left of the build's steps. */
static void index_values(struct build *b, struct clause *c)
{
    size_t cap = value_slots(c->value_count);
    struct value_slot *slots = build_keep(b, cap * sizeof *slots);
    struct check check = {.steps = b->steps, .stack = (uintptr_t)__builtin_frame_address(0)};

    if (!slots)
        return;
    value_index(&check, slots, cap - 1, c->values, c->value_count);
    if (check.stop)
        build_give_up(b, SCHEMA_TOO_COMPLEX, "the schema is too complex");
    b->steps = check.steps;
    c->slots = slots;
    c->slot_mask = cap - 1;
}

/* An empty enum stays one without values: it allows none. */
static void keep_values(struct build *b, struct clause *c, yyjson_val *first, size_t count)
{
    yyjson_val **values = build_keep(b, count * sizeof *values);

    if (!values)
        return;
    for (size_t i = 0; i < count && !b->rc; i++, first = unsafe_yyjson_get_next(first))
        values[i] = rules_value(b, first);
    c->values = values;
    c->value_count = (uint32_t)count;
    if (count > FEW_VALUES && !b->rc)
        index_values(b, c);
}

/* Out of memory it is an empty list, which no check will ever see: rc is set. */
static struct nodes keep_nodes(struct build *b, const struct node *const *nodes, uint32_t count)
{
    const struct node **at = build_keep(b, count * sizeof *at);

    if (at)
        memcpy(at, nodes, count * sizeof *at);
    return (struct nodes){at, at ? count : 0};
}

static struct clause node_clause(struct build *b, int kind, const struct node *node)
{
    struct clause c = {.kind = kind};

    c.nodes = keep_nodes(b, &node, 1);
    return c;
}

/* With a single place for the anchor there is nothing to choose: it is an ordinary reference. */
static struct clause reference(const struct keywords *k, int kind)
{
    const struct record *r = record_at(k->b, k->record);
    struct clause c;

    if (kind == CLAUSE_REF)
        return node_clause(k->b, kind, rules_node(k->b, r->target));
    c = node_clause(k->b, kind, rules_node(k->b, r->dynamic_target));
    if (r->dynamic && r->dynamic->count > 1)
        c.dynamic = r->dynamic;
    else
        c.kind = CLAUSE_REF;
    return c;
}

/* const is an enum of one, but has another message. */
static struct clause values_clause(const struct keywords *k, int kind)
{
    yyjson_val *v = k->val[kind == CLAUSE_CONST ? KEYWORD_CONST : KEYWORD_ENUM];
    struct clause c = {.kind = kind};

    if (kind == CLAUSE_CONST)
        keep_values(k->b, &c, v, 1);
    else
        keep_values(k->b, &c, unsafe_yyjson_get_first(v), yyjson_arr_size(v));
    return c;
}

/* then and else without if are not looked at (core, section 10.2.2); if without both is evaluated
 * all the same, for what it marks as looked at. */
static struct clause make_clause(const struct keywords *k, int kind, enum keyword_id id)
{
    const struct node *branches[3];
    struct clause c = {.kind = kind};

    switch (kind) {
    case CLAUSE_CONST:
    case CLAUSE_ENUM:
        return values_clause(k, kind);
    case CLAUSE_REF:
    case CLAUSE_DYNAMIC_REF:
        return reference(k, kind);
    case CLAUSE_NOT:
        return node_clause(k->b, kind, rules_child_at(k, id));
    case CLAUSE_IF:
        branches[0] = rules_child_at(k, KEYWORD_IF);
        branches[1] = rules_child_at(k, KEYWORD_THEN);
        branches[2] = rules_child_at(k, KEYWORD_ELSE);
        c.nodes = keep_nodes(k->b, branches, 3);
        return c;
    default:
        c.nodes = rules_child_list(k, k->val[id]);
        return c;
    }
}

/* Counted first, then made: a node's clauses are one array, walked in one go. */
static int make_clauses(const struct keywords *k, struct node *node)
{
    /* What is cheap comes first, since the first failure ends the check. */
    static const struct {
        enum keyword_id id;
        int kind;
    } order[] = {
        {KEYWORD_CONST, CLAUSE_CONST},   {KEYWORD_ENUM, CLAUSE_ENUM},
        {KEYWORD_REF, CLAUSE_REF},       {KEYWORD_DYNAMIC_REF, CLAUSE_DYNAMIC_REF},
        {KEYWORD_ALL_OF, CLAUSE_ALL_OF}, {KEYWORD_ANY_OF, CLAUSE_ANY_OF},
        {KEYWORD_ONE_OF, CLAUSE_ONE_OF}, {KEYWORD_NOT, CLAUSE_NOT},
        {KEYWORD_IF, CLAUSE_IF},
    };
    struct clause *clauses;
    uint32_t count = 0;

    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        count += k->val[order[i].id] != NULL;
    if (!count)
        return k->b->rc;
    clauses = build_keep(k->b, count * sizeof *clauses);
    if (!clauses)
        return k->b->rc;
    node->clauses = clauses;
    node->clause_count = count;
    for (size_t i = 0; i < sizeof order / sizeof *order && !k->b->rc; i++) {
        if (k->val[order[i].id])
            *clauses++ = make_clause(k, order[i].kind, order[i].id);
    }
    return k->b->rc;
}

/* ---- records ---- */

/* A key that occurs twice cannot come: the reader of JSON refuses it. In draft-07 nothing beside
 * $ref counts (its section 8.3), while since 2019-09 $ref is a keyword like others. */
static int make_rules(struct build *b, uint32_t record)
{
    const struct record *r = record_at(b, record);
    struct keywords k = {.b = b, .record = record};
    struct dialect dialect = b->resources[r->resource].dialect;
    struct node *node = r->node;
    size_t i, n;
    yyjson_val *key, *val;

    /* true and false have no node of their own. */
    if (!node || build_spend(b, 1 + yyjson_obj_size(r->val)))
        return b->rc;
    yyjson_obj_foreach(r->val, i, n, key, val)
    {
        const struct keyword *kw = keyword_find(dialect, key);

        if (kw && (!r->ref_only || kw->id == KEYWORD_REF)) {
            k.val[kw->id] = val;
            k.key[kw->id] = key;
        }
    }
    node->resource = r->resource;
    node->types = make_types(k.val[KEYWORD_TYPE]);
    if (rules_object(&k, node) || make_array(&k, node) || make_string(&k, node) ||
        make_number(&k, node) || make_clauses(&k, node))
        return b->rc;
    /* Checked inline by check_value, by the type alone. */
    node->plain =
        !node->object && !node->array && !node->string && !node->number && !node->clause_count;
    return b->rc;
}

/* Finds the places of each dynamic anchor that is referred to. The nodes follow when it is known
 * whether any reference depends on them.
 *
 * The list of anchors is walked for each name, which a hostile schema can make long in both
 * directions: each step is paid for. */
static int find_places(struct build *b)
{
    for (struct dynamic *d = b->dynamics; d && !b->rc; d = d->next) {
        uint32_t count = 0;

        for (const struct dynamic_anchor *a = b->anchors; a && !build_spend(b, 1); a = a->next)
            count += str_eq(a->name, d->name);
        d->places = build_keep(b, count * sizeof *d->places);
        if (!d->places)
            return b->rc;
        for (const struct dynamic_anchor *a = b->anchors; a; a = a->next) {
            if (str_eq(a->name, d->name))
                d->places[d->count++].resource = a->record;
        }
        b->schema->dynamic |= count > 1;
    }
    for (struct dynamic *d = b->dynamics; d && !b->rc; d = d->next) {
        for (uint32_t i = 0; i < d->count; i++) {
            uint32_t record = d->places[i].resource;

            d->places[i] =
                (struct dynamic_place){record_at(b, record)->resource, rules_node(b, record)};
        }
    }
    return b->rc;
}

/* The root is the first record, as its document was the first to be added. */
int build_rules(struct build *b)
{
    /* First: how far a reference may be followed depends on whether anything is dynamic. */
    if (find_places(b))
        return b->rc;
    for (uint32_t i = 0; i < b->record_count && !b->rc; i++)
        make_rules(b, i);
    if (!b->rc)
        b->schema->root = rules_node(b, 0);
    return b->rc;
}
