/* The rules for objects.
 *
 * All member names that a schema knows (of properties, required, and the dependencies) end up in
 * one sorted array without doubles, so that a check looks each member up once. A name that some set
 * asks for (required, or what a dependency needs) has a bit, and a set of names is an array of
 * words: what of required is missing is found by a few word operations.
 * Names are gathered first, in tmp, since their number and bits are known only when all are
 * there. */
#include "schema/rules.h"

#include <stdlib.h>
#include <string.h>

/* yyjson's loop calculates with its object's address, also when there is none. */
static yyjson_val *object_of(yyjson_val *v)
{
    static const yyjson_val none = {.tag = YYJSON_TYPE_OBJ, .uni = {.u64 = 0}};

    return v ? v : (yyjson_val *)&none;
}

/* The names being gathered; bit is 0 for one that a set of names holds, else NO_BIT. */
struct gathered {
    struct name *names;
    uint32_t count;
};

static int order_names(const void *a, const void *b)
{
    return name_order(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* The text is still the document's: it is copied when it is known which names stay. */
static void gather(struct gathered *g, yyjson_val *str, const struct node *node, uint32_t bit)
{
    g->names[g->count++] = (struct name){json_string(str), node, bit};
}

/* Names that a set asks for, and that no schema need speak of. */
static void gather_list(struct gathered *g, yyjson_val *arr)
{
    size_t i, n;
    yyjson_val *item;

    yyjson_arr_foreach(arr, i, n, item)
    {
        gather(g, item, NULL, 0);
    }
}

/* Draft-07 has one keyword for what 2020-12 has two: all become dependencies. */
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

/* An upper bound: names may occur several times. It is what sorting is paid by. */
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

/* Sorts the names, makes one of those that are equal, gives bits to those in sets, and copies them,
 * all texts in one block: a search touches few lines of memory. Sorting costs n log n, which the
 * budget's step for each name covers: an object has as many names as the message had room for. */
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
            /* One of properties has the node, those of sets want the bit: the merged name has
             * both. */
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

/* Always found: all names that are asked for have been gathered. */
static const struct name *kept_name(const struct object_rules *r, yyjson_val *str)
{
    struct name wanted = {json_string(str), NULL, 0};

    return bsearch(&wanted, r->names, r->name_count, sizeof *r->names, order_names);
}

static const struct name *const *keep_needs(struct build *b, const struct object_rules *r,
                                            yyjson_val *names)
{
    const struct name **needs = build_keep(b, yyjson_arr_size(names) * sizeof *needs);
    size_t i, n;
    yyjson_val *item;

    if (!needs)
        return NULL;
    yyjson_arr_foreach(names, i, n, item)
    {
        needs[i] = kept_name(r, item);
    }
    return needs;
}

/* A set has the words of what was seen, so the two are compared word by word. */
static const uint64_t *keep_set(struct build *b, const struct object_rules *r, yyjson_val *names)
{
    uint64_t *set = build_keep(b, r->set_words * sizeof *set);
    size_t i, n;
    yyjson_val *item;

    if (!set)
        return NULL;
    yyjson_arr_foreach(names, i, n, item)
    {
        uint32_t bit = kept_name(r, item)->bit;

        set[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    return set;
}

/* The values of draft-07's dependencies tell by their type which of the two they are. */
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
            d->need_count = (uint32_t)yyjson_arr_size(val);
            if (yyjson_is_arr(val))
                d->needs = keep_needs(k->b, r, val);
            else
                d->node = rules_child(k, val);
            d++;
        }
    }
    return k->b->rc;
}

/* In the order of the schema. Each is tried on each member that comes, so they are the dear part: a
 * value with many members against a schema with many patterns. Each match pays from the check's
 * budget. */
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

        p[i] = (struct member_pattern){rules_pattern(k, key, &place), rules_child(k, val)};
        if (k->b->rc)
            return k->b->rc;
    }
    r->patterns = p;
    r->pattern_count = (uint32_t)n;
    return k->b->rc;
}

/* Most subschemas speak of no object at all, and cost nothing for it: no rules, no look at members.
 * Names come first: sets are made of their bits, and dependencies point at them. */
int rules_object(const struct keywords *k, struct node *node)
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
        gather(&g, key, rules_child(k, val), NO_BIT);
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
    r->additional = rules_child_at(k, KEYWORD_ADDITIONAL_PROPERTIES);
    r->property_names = rules_child_at(k, KEYWORD_PROPERTY_NAMES);
    r->unevaluated = rules_child_at(k, KEYWORD_UNEVALUATED_PROPERTIES);
    r->min = rules_count(k, KEYWORD_MIN_PROPERTIES, 0);
    r->max = rules_count(k, KEYWORD_MAX_PROPERTIES, UINT64_MAX);
    node->object = r;
    return b->rc;
}
