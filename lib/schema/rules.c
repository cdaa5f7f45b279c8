/* The nodes' rules, from the keywords of each record; the second round of build.h. What a rule needs of the
 * documents is copied, since they do not outlive compiling. */
#include "schema/build.h"

#include <stdlib.h>
#include <string.h>

const struct node schema_node_true = {.types = TYPE_ANY, .plain = true};
const struct node schema_node_false = {.types = 0, .plain = true};

/* The keywords of the record at hand: values, and keys for messages. */
struct keywords {
    struct build *b;
    uint32_t record;
    yyjson_val *val[KEYWORD_COUNT], *key[KEYWORD_COUNT];
};

/* ---- children ------------------------------------------------------------------------------------------- */

/* yyjson's loop calculates with its object's address, also when there is none. */
static yyjson_val *object_of(yyjson_val *v)
{
    static const yyjson_val none = {.tag = YYJSON_TYPE_OBJ, .uni = {.u64 = 0}};

    return v ? v : (yyjson_val *)&none;
}

/* Where a record that does nothing but refer finally leads. One in a circle leads to itself, and its check ends as
 * too complex; where dynamic references look at the resources entered, each has to be entered. */
static uint32_t destination(struct build *b, uint32_t from)
{
    uint32_t at = from, hops = 0;

    for (;; hops++) {
        const struct record *r = record_at(b, at);

        if (!r->ref || r->asserts || r->target == NO_RECORD ||
            (b->schema->dynamic && record_at(b, r->target)->resource != r->resource))
            break;
        if (hops > b->record_count || build_spend(b, 1))
            return from;
        at = r->target;
        if (r->settled)
            break;
    }
    if (at != from) {
        record_at(b, from)->target = at;
        record_at(b, from)->settled = true;
    }
    return at;
}

static const struct node *node_of(struct build *b, uint32_t record)
{
    const struct record *r = record_at(b, destination(b, record));

    if (r->node)
        return r->node;
    return yyjson_is_true(r->val) ? &schema_node_true : &schema_node_false;
}

static const struct node *child(const struct keywords *k, yyjson_val *val)
{
    return node_of(k->b, record_of(record_at(k->b, k->record)->document, val));
}

static const struct node *child_at(const struct keywords *k, enum keyword_id id)
{
    return k->val[id] ? child(k, k->val[id]) : NULL;
}

static struct nodes child_list(const struct keywords *k, yyjson_val *arr)
{
    const struct node **at;
    size_t i, n;
    yyjson_val *item;

    at = build_keep(k->b, yyjson_arr_size(arr) * sizeof *at);
    if (!at)
        return (struct nodes){NULL, 0};
    yyjson_arr_foreach(arr, i, n, item)
    {
        at[i] = child(k, item);
    }
    return (struct nodes){at, (uint32_t)n};
}

/* ---- values --------------------------------------------------------------------------------------------- */

static struct str keep_text(struct build *b, struct str s)
{
    char *copy = arena_dup(&b->schema->arena, s.p, s.n);

    if (!copy)
        build_nomem(b);
    return (struct str){copy ? copy : "", copy ? s.n : 0};
}

/* A value is one run of yyjson's elements: copied as such, then its texts, all in one block. */
static yyjson_val *keep_value(struct build *b, yyjson_val *v)
{
    size_t count = (size_t)(unsafe_yyjson_get_next(v) - v), bytes = 0;
    yyjson_val *copy;
    char *texts;

    for (size_t i = 0; i < count; i++) {
        if (yyjson_is_str(v + i) || yyjson_is_raw(v + i))
            bytes += unsafe_yyjson_get_len(v + i) + 1;
    }
    if (build_spend(b, count + bytes / 64) || !(copy = build_keep(b, count * sizeof *copy)) ||
        !(texts = build_keep(b, bytes)))
        return NULL;
    memcpy(copy, v, count * sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        size_t len = unsafe_yyjson_get_len(v + i);

        if (!yyjson_is_str(v + i) && !yyjson_is_raw(v + i))
            continue;
        memcpy(texts, unsafe_yyjson_get_str(v + i), len);
        copy[i].uni.str = texts;
        texts += len + 1;
    }
    return copy;
}

static const struct bound *keep_bound(const struct keywords *k, enum keyword_id id)
{
    struct bound *bound;
    yyjson_val v;

    if (!k->val[id] || !(bound = build_keep(k->b, sizeof *bound)))
        return NULL;
    v = *k->val[id];
    if (yyjson_is_raw(&v)) {
        bound->text = keep_text(k->b, (struct str){yyjson_get_raw(&v), yyjson_get_len(&v)});
        v.uni.str = bound->text.p;
    } else {
        char text[NUMBER_TEXT];

        bound->text = keep_text(k->b, (struct str){text, number_write(&v, text)});
    }
    if (!k->b->rc)
        number_read(&bound->value, &v);
    return bound;
}

static uint64_t count_at(const struct keywords *k, enum keyword_id id, uint64_t otherwise)
{
    struct number n;
    uint64_t count = otherwise;

    if (k->val[id]) {
        number_read(&n, k->val[id]);
        number_to_count(&n, &count);
    }
    return count;
}

static const struct pattern *keep_pattern(const struct keywords *k, yyjson_val *str,
                                          const struct place *place)
{
    struct build *b = k->b;
    struct str s = json_string(str);
    struct pattern *p;
    char why[128] = "";

    if (build_spend(b, 128 + s.n) || !(p = build_keep(b, sizeof *p)))
        return NULL;
    p->text = keep_text(b, s);
    p->next = b->schema->patterns;
    b->schema->patterns = p;
    p->regex = b->rc ? NULL : b->options->host->regex_new(s.p, s.n, why);
    if (!p->regex)
        build_fail(b, k->record, place, "invalid pattern: %s", why);
    return p;
}

/* ---- objects -------------------------------------------------------------------------------------------- */

/* The names being gathered; bit is 0 for one that a set of names holds, else NO_BIT. */
struct gathered {
    struct name *names;
    uint32_t count;
};

static int order_names(const void *a, const void *b)
{
    const struct str *x = &((const struct name *)a)->text, *y = &((const struct name *)b)->text;

    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return x->n ? memcmp(x->p, y->p, x->n) : 0;
}

static void gather(struct gathered *g, yyjson_val *str, const struct node *node, uint32_t bit)
{
    g->names[g->count++] = (struct name){json_string(str), node, bit};
}

static void gather_list(struct gathered *g, yyjson_val *arr)
{
    size_t i, n;
    yyjson_val *item;

    yyjson_arr_foreach(arr, i, n, item)
    {
        gather(g, item, NULL, 0);
    }
}

static const enum keyword_id dependency_keywords[] = {
    KEYWORD_DEPENDENT_REQUIRED, KEYWORD_DEPENDENT_SCHEMAS, KEYWORD_DEPENDENCIES};
#define DEPENDENCY_KEYWORDS (sizeof dependency_keywords / sizeof *dependency_keywords)

/* Triggers and what they need; also counts the dependencies. */
static uint32_t gather_dependencies(const struct keywords *k, struct gathered *g)
{
    uint32_t count = 0;
    size_t i, n;
    yyjson_val *key, *val;

    for (size_t d = 0; d < DEPENDENCY_KEYWORDS; d++) {
        yyjson_obj_foreach(object_of(k->val[dependency_keywords[d]]), i, n, key, val)
        {
            gather(g, key, NULL, 0);
            if (yyjson_is_arr(val))
                gather_list(g, val);
            count++;
        }
    }
    return count;
}

static size_t most_names(const struct keywords *k)
{
    size_t count =
        yyjson_obj_size(k->val[KEYWORD_PROPERTIES]) + yyjson_arr_size(k->val[KEYWORD_REQUIRED]);
    size_t i, n;
    yyjson_val *key, *val;

    for (size_t d = 0; d < DEPENDENCY_KEYWORDS; d++) {
        yyjson_obj_foreach(object_of(k->val[dependency_keywords[d]]), i, n, key, val)
        {
            count += 1 + yyjson_arr_size(val);
        }
    }
    return count;
}

/* Sorts the names, makes one of those that are equal, gives bits to those in sets, and copies them. */
static int keep_names(struct build *b, struct object_rules *r, struct gathered *g)
{
    uint32_t count = 0, bits = 0;
    size_t bytes = 0;
    struct name *kept;
    char *texts;

    if (g->count)
        qsort(g->names, g->count, sizeof *g->names, order_names);
    for (uint32_t i = 0; i < g->count; i++) {
        struct name *last = count ? &g->names[count - 1] : NULL;

        if (last && order_names(last, &g->names[i]) == 0) {
            last->node = last->node ? last->node : g->names[i].node;
            last->bit = last->bit == 0 ? 0 : g->names[i].bit;
            continue;
        }
        bytes += g->names[i].text.n;
        g->names[count++] = g->names[i];
    }
    kept = build_keep(b, count * sizeof *kept);
    texts = build_keep(b, bytes);
    if (!kept || !texts)
        return b->rc;
    for (uint32_t i = 0; i < count; i++) {
        kept[i] = g->names[i];
        if (kept[i].bit == 0)
            kept[i].bit = bits++;
        if (kept[i].text.n)
            memcpy(texts, kept[i].text.p, kept[i].text.n);
        kept[i].text.p = texts;
        texts += kept[i].text.n;
    }
    r->names = kept;
    r->name_count = count;
    r->set_words = (bits + 63) / 64;
    return b->rc;
}

static const struct name *kept_name(const struct object_rules *r, yyjson_val *str)
{
    struct name wanted = {json_string(str), NULL, 0};

    return bsearch(&wanted, r->names, r->name_count, sizeof *r->names, order_names);
}

static const uint64_t *keep_set(struct build *b, const struct object_rules *r, yyjson_val *names)
{
    uint64_t *set = build_keep(b, r->set_words * sizeof *set);
    size_t i, n;
    yyjson_val *item;

    if (!set || build_spend(b, r->set_words))
        return NULL;
    yyjson_arr_foreach(names, i, n, item)
    {
        uint32_t bit = kept_name(r, item)->bit;

        set[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    return set;
}

static int keep_dependencies(const struct keywords *k, struct object_rules *r, uint32_t count)
{
    static const char *const names[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    struct dependency *d = build_keep(k->b, count * sizeof *d);
    size_t i, n;
    yyjson_val *key, *val;

    if (!d)
        return k->b->rc;
    r->dependencies = d;
    r->dependency_count = count;
    for (size_t at = 0; at < DEPENDENCY_KEYWORDS; at++) {
        yyjson_obj_foreach(object_of(k->val[dependency_keywords[at]]), i, n, key, val)
        {
            d->name = kept_name(r, key);
            d->keyword = names[at];
            if (yyjson_is_arr(val))
                d->needs = keep_set(k->b, r, val);
            else
                d->node = child(k, val);
            d++;
        }
    }
    return k->b->rc;
}

static int keep_member_patterns(const struct keywords *k, struct object_rules *r)
{
    yyjson_val *map = k->val[KEYWORD_PATTERN_PROPERTIES], *key, *val;
    struct member_pattern *p;
    size_t i, n;

    if (!map)
        return k->b->rc;
    p = build_keep(k->b, yyjson_obj_size(map) * sizeof *p);
    if (!p)
        return k->b->rc;
    yyjson_obj_foreach(map, i, n, key, val)
    {
        struct place place = {.keyword = k->key[KEYWORD_PATTERN_PROPERTIES], .key = key};

        p[i] = (struct member_pattern){keep_pattern(k, key, &place), child(k, val)};
        if (k->b->rc)
            return k->b->rc;
    }
    r->patterns = p;
    r->pattern_count = (uint32_t)n;
    return k->b->rc;
}

static bool has_any(const struct keywords *k, const enum keyword_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (k->val[ids[i]])
            return true;
    }
    return false;
}
#define HAS_ANY(k, ...)                                                                            \
    has_any(k, (const enum keyword_id[]){__VA_ARGS__},                                             \
            sizeof((const enum keyword_id[]){__VA_ARGS__}) / sizeof(enum keyword_id))

static int make_object(const struct keywords *k, struct node *node)
{
    struct build *b = k->b;
    struct object_rules *r;
    struct gathered g = {NULL, 0};
    size_t i, n, most = most_names(k);
    yyjson_val *key, *val;
    uint32_t dependencies;

    if (!HAS_ANY(k, KEYWORD_PROPERTIES, KEYWORD_PATTERN_PROPERTIES, KEYWORD_ADDITIONAL_PROPERTIES,
                 KEYWORD_PROPERTY_NAMES, KEYWORD_UNEVALUATED_PROPERTIES, KEYWORD_REQUIRED,
                 KEYWORD_MIN_PROPERTIES, KEYWORD_MAX_PROPERTIES, KEYWORD_DEPENDENCIES,
                 KEYWORD_DEPENDENT_REQUIRED, KEYWORD_DEPENDENT_SCHEMAS))
        return b->rc;
    r = build_keep(b, sizeof *r);
    g.names = build_tmp(b, most * sizeof *g.names);
    if (!r || !g.names || build_spend(b, most))
        return b->rc;
    yyjson_obj_foreach(object_of(k->val[KEYWORD_PROPERTIES]), i, n, key, val)
    {
        gather(&g, key, child(k, val), NO_BIT);
    }
    gather_list(&g, k->val[KEYWORD_REQUIRED]);
    dependencies = gather_dependencies(k, &g);
    if (keep_names(b, r, &g))
        return b->rc;
    if (yyjson_arr_size(k->val[KEYWORD_REQUIRED]))
        r->required = keep_set(b, r, k->val[KEYWORD_REQUIRED]);
    if (dependencies)
        keep_dependencies(k, r, dependencies);
    keep_member_patterns(k, r);
    r->additional = child_at(k, KEYWORD_ADDITIONAL_PROPERTIES);
    r->property_names = child_at(k, KEYWORD_PROPERTY_NAMES);
    r->unevaluated = child_at(k, KEYWORD_UNEVALUATED_PROPERTIES);
    r->min = count_at(k, KEYWORD_MIN_PROPERTIES, 0);
    r->max = count_at(k, KEYWORD_MAX_PROPERTIES, UINT64_MAX);
    node->object = r;
    return b->rc;
}

/* ---- other types ---------------------------------------------------------------------------------------- */

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
        r->prefix = child_list(k, prefix ? prefix : items);
    r->items = child_at(k, draft_7_list ? KEYWORD_ADDITIONAL_ITEMS : KEYWORD_ITEMS);
    r->items_keyword = draft_7_list ? "additionalItems" : "items";
    r->contains = child_at(k, KEYWORD_CONTAINS);
    r->unevaluated = child_at(k, KEYWORD_UNEVALUATED_ITEMS);
    r->min = count_at(k, KEYWORD_MIN_ITEMS, 0);
    r->max = count_at(k, KEYWORD_MAX_ITEMS, UINT64_MAX);
    r->min_contains = count_at(k, KEYWORD_MIN_CONTAINS, 1);
    r->max_contains = count_at(k, KEYWORD_MAX_CONTAINS, UINT64_MAX);
    r->unique = yyjson_is_true(k->val[KEYWORD_UNIQUE_ITEMS]);
    node->array = r;
    return k->b->rc;
}

static int make_string(const struct keywords *k, struct node *node)
{
    struct string_rules *r;

    if (!HAS_ANY(k, KEYWORD_MIN_LENGTH, KEYWORD_MAX_LENGTH, KEYWORD_PATTERN))
        return k->b->rc;
    r = build_keep(k->b, sizeof *r);
    if (!r)
        return k->b->rc;
    r->min = count_at(k, KEYWORD_MIN_LENGTH, 0);
    r->max = count_at(k, KEYWORD_MAX_LENGTH, UINT64_MAX);
    if (k->val[KEYWORD_PATTERN])
        r->pattern = keep_pattern(k, k->val[KEYWORD_PATTERN],
                                  &(struct place){.keyword = k->key[KEYWORD_PATTERN]});
    node->string = r;
    return k->b->rc;
}

static int make_number(const struct keywords *k, struct node *node)
{
    struct number_rules *r;

    if (!HAS_ANY(k, KEYWORD_MINIMUM, KEYWORD_MAXIMUM, KEYWORD_EXCLUSIVE_MINIMUM,
                 KEYWORD_EXCLUSIVE_MAXIMUM, KEYWORD_MULTIPLE_OF))
        return k->b->rc;
    r = build_keep(k->b, sizeof *r);
    if (!r)
        return k->b->rc;
    r->min = keep_bound(k, KEYWORD_MINIMUM);
    r->max = keep_bound(k, KEYWORD_MAXIMUM);
    r->above = keep_bound(k, KEYWORD_EXCLUSIVE_MINIMUM);
    r->below = keep_bound(k, KEYWORD_EXCLUSIVE_MAXIMUM);
    r->divisor = keep_bound(k, KEYWORD_MULTIPLE_OF);
    node->number = r;
    return k->b->rc;
}

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

/* ---- clauses -------------------------------------------------------------------------------------------- */

static void keep_values(struct build *b, struct clause *c, yyjson_val *first, size_t count)
{
    yyjson_val **values = build_keep(b, count * sizeof *values);

    if (!values)
        return;
    for (size_t i = 0; i < count && !b->rc; i++, first = unsafe_yyjson_get_next(first))
        values[i] = keep_value(b, first);
    c->values = values;
    c->value_count = (uint32_t)count;
}

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

static struct clause reference(const struct keywords *k, int kind)
{
    const struct record *r = record_at(k->b, k->record);
    struct clause c;

    if (kind == CLAUSE_REF)
        return node_clause(k->b, kind, node_of(k->b, r->target));
    c = node_clause(k->b, kind, node_of(k->b, r->dynamic_target));
    if (r->dynamic && r->dynamic->count > 1)
        c.dynamic = r->dynamic;
    else
        c.kind = CLAUSE_REF;
    return c;
}

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
        return node_clause(k->b, kind, child_at(k, id));
    case CLAUSE_IF:
        branches[0] = child_at(k, KEYWORD_IF);
        branches[1] = child_at(k, KEYWORD_THEN);
        branches[2] = child_at(k, KEYWORD_ELSE);
        c.nodes = keep_nodes(k->b, branches, 3);
        return c;
    default:
        c.nodes = child_list(k, k->val[id]);
        return c;
    }
}

static int make_clauses(const struct keywords *k, struct node *node)
{
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

/* ---- records -------------------------------------------------------------------------------------------- */

static int make_rules(struct build *b, uint32_t record)
{
    const struct record *r = record_at(b, record);
    struct keywords k = {.b = b, .record = record};
    struct dialect dialect = b->resources[r->resource].dialect;
    struct node *node = r->node;
    size_t i, n;
    yyjson_val *key, *val;

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
    if (make_object(&k, node) || make_array(&k, node) || make_string(&k, node) ||
        make_number(&k, node) || make_clauses(&k, node))
        return b->rc;
    node->plain =
        !node->object && !node->array && !node->string && !node->number && !node->clause_count;
    return b->rc;
}

/* Finds the places of each dynamic anchor that is referred to. The nodes follow when it is known whether any
 * reference depends on them. */
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
                (struct dynamic_place){record_at(b, record)->resource, node_of(b, record)};
        }
    }
    return b->rc;
}

int build_rules(struct build *b)
{
    if (find_places(b))
        return b->rc;
    for (uint32_t i = 0; i < b->record_count && !b->rc; i++)
        make_rules(b, i);
    if (!b->rc)
        b->schema->root = node_of(b, 0);
    return b->rc;
}
