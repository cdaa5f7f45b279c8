/* Checking objects and arrays: one walk over the members or items, children on the way.
 *
 * The members of a value come from a stranger, those of a schema do not: so the walk goes over the
 * value, and each member is looked up in the schema's sorted names. Which of the names were there
 * is a set of bits, from which required and the dependencies are answered behind the walk. A step
 * pays for two members or items, before they are looked at; children pay for themselves. While a
 * child is checked, marks is NO_MARKS: what a child has evaluated concerns its own members. */
#include "schema/check.h"

#include "base/json.h"
#include "schema/report.h"

#include <string.h>

#define FEW_NAMES 8u /* up to here, looking at each beats searching by halves */

/* With the count that was found: whoever reads it has not counted. */
static bool report_count(struct check *c, const char *keyword, const char *what, uint64_t limit,
                         size_t have)
{
    return report_fail(c, keyword, "must have at %s %llu, has %zu", what, (unsigned long long)limit,
                       have);
}

/* ---- objects ---- */

/* Sorted, and not hashed: a schema's names are few, and the value's author cannot make this
 * slow. */
static const struct name *find_name(const struct object_rules *r, yyjson_val *key)
{
    struct str s = {unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key)};
    uint32_t lo = 0, hi = r->name_count;

    if (hi <= FEW_NAMES) {
        for (; lo < hi; lo++) {
            if (str_eq(r->names[lo].text, s))
                return &r->names[lo];
        }
        return NULL;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int order = name_order(r->names[mid].text, s);

        if (order == 0)
            return &r->names[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* A member that no name and no pattern covers. With additionalProperties false, the message names
 * the member: in most cases it is misspelt. A message about its value, "no value is allowed here",
 * would hide that. */
static bool check_additional(struct check *c, const struct node *n, yyjson_val *key)
{
    if (n == &schema_node_false)
        return report_name(c, "additionalProperties", "unexpected member \"%s\"", json_string(key));
    return check_value(c, n, key + 1);
}

/* One member's value against all that speaks of it; *covered: some keyword other than
 * unevaluatedProperties did.
 *
 * properties and every pattern that matches apply together, and additionalProperties only to what
 * none of them names, in this same schema (core, sections 10.3.2.1 to 10.3.2.3): not to what a
 * schema beside it, as in allOf, names. For that there is unevaluatedProperties. The name itself is
 * a string value for propertyNames; it covers nothing. */
static bool check_member(struct check *c, const struct object_rules *r, const struct name *name,
                         yyjson_val *key, bool *covered)
{
    bool ok = true;

    *covered = name && name->node;
    if (*covered)
        ok = check_value(c, name->node, key + 1);
    for (uint32_t i = 0; i < r->pattern_count && (ok || c->report); i++) {
        if (!check_pattern(c, r->patterns[i].pattern, unsafe_yyjson_get_str(key),
                           unsafe_yyjson_get_len(key))) {
            if (c->stop)
                return false;
            continue;
        }
        *covered = true;
        ok = check_value(c, r->patterns[i].node, key + 1) && ok;
    }
    if (!*covered && r->additional) {
        *covered = true;
        ok = check_additional(c, r->additional, key) && ok;
    }
    if (r->property_names && (ok || c->report))
        ok = check_value(c, r->property_names, key) && ok;
    return ok;
}

/* Walks the members; those that sets of names ask for are noted in seen. */
static bool check_members(struct check *c, const struct object_rules *r, yyjson_val *v, size_t seen,
                          uint64_t *few_seen)
{
    size_t n = unsafe_yyjson_get_len(v), marks = c->marks;
    yyjson_val *key = unsafe_yyjson_get_first(v);
    bool ok = true, covered;

    c->marks = NO_MARKS;
    for (size_t i = 0; i < n && (ok || c->report) && !c->stop;
         i++, key = unsafe_yyjson_get_next(key + 1)) {
        const struct name *name = find_name(r, key);

        if (name && name->bit != NO_BIT) {
            if (seen == NO_MARKS)
                *few_seen |= UINT64_C(1) << name->bit;
            else
                marks_set(c, seen, name->bit);
        }
        report_down(c, key, 0);
        ok = check_member(c, r, name, key, &covered) && ok;
        report_up(c);
        if (covered && marks != NO_MARKS)
            marks_set(c, marks, i + 1);
    }
    c->marks = marks;
    return ok;
}

static bool is_seen(const uint64_t *seen, const struct name *name)
{
    return seen[name->bit / 64] >> name->bit % 64 & 1;
}

/* Whether every name of the set was seen. Without a report that is a few words; names are only
 * looked for when they are to be told. */
static bool has_required(struct check *c, const struct object_rules *r, const uint64_t *seen)
{
    bool ok = true;

    for (uint32_t i = 0; i < r->set_words; i++)
        ok = ok && (r->required[i] & ~seen[i]) == 0;
    if (ok || !c->report || !check_spend(c, r->name_count / 8))
        return ok;
    for (uint32_t i = 0; i < r->name_count && !c->stop; i++) {
        const struct name *name = &r->names[i];

        if (name->bit != NO_BIT && is_seen(r->required, name) && !is_seen(seen, name))
            report_name(c, "required", "missing required member \"%s\"", name->text);
    }
    return false;
}

static bool has_needs(struct check *c, const struct dependency *d, const uint64_t *seen)
{
    bool ok = true;

    if (!check_spend(c, d->need_count / 8))
        return false;
    for (uint32_t i = 0; i < d->need_count && (ok || c->report); i++) {
        if (!is_seen(seen, d->needs[i]))
            ok = report_name(c, d->keyword, "missing member \"%s\", which another member requires",
                             d->needs[i]->text);
    }
    return ok;
}

/* Behind the walk, when all members have been seen. The words of marks may have moved since, and
 * may move in each child: they are looked up anew for each dependency. */
static bool check_dependencies(struct check *c, const struct object_rules *r, yyjson_val *v,
                               size_t seen, const uint64_t *few_seen)
{
    bool ok = true;

    for (uint32_t i = 0; i < r->dependency_count && (ok || c->report); i++) {
        const struct dependency *d = &r->dependencies[i];
        const uint64_t *have = seen == NO_MARKS ? few_seen : c->mark_words + seen;

        if (!is_seen(have, d->name))
            continue;
        ok = has_needs(c, d, have) && ok;
        if (d->node)
            ok = check_value(c, d->node, v) && ok;
    }
    return ok;
}

/* The counts first: they cost nothing, and an object with far too many members is not walked.
 * dependentSchemas apply to the whole object and not to the member (core, section 10.2.2.4), so
 * they come behind the walk too. */
bool check_object(struct check *c, const struct object_rules *r, yyjson_val *v)
{
    size_t n = unsafe_yyjson_get_len(v), seen = NO_MARKS;
    uint64_t few_seen = 0;
    bool ok = true;

    if (!check_spend(c, n / 2 + (r->set_words + r->dependency_count) / 8))
        return false;
    if (n < r->min)
        ok = report_count(c, "minProperties", "least", r->min, n);
    if (n > r->max)
        ok = report_count(c, "maxProperties", "most", r->max, n);
    /* Up to 64 names that are asked for fit a word on the stack. */
    if (r->set_words > 1 && (seen = marks_push(c, r->set_words)) == NO_MARKS)
        return false;
    if (ok || c->report)
        ok = check_members(c, r, v, seen, &few_seen) && ok;
    if (r->required && (ok || c->report))
        ok = has_required(c, r, seen == NO_MARKS ? &few_seen : c->mark_words + seen) && ok;
    if (r->dependency_count && (ok || c->report))
        ok = check_dependencies(c, r, v, seen, &few_seen) && ok;
    if (seen != NO_MARKS)
        marks_pop(c, seen);
    return ok;
}

/* Behind everything else of the node, since it asks what all the others, in place and through
 * references, have looked at (core, section 11.3). Bit 0 says that a schema within has taken all
 * that was left, so nothing is. */
bool check_unevaluated_members(struct check *c, const struct node *node, yyjson_val *v)
{
    const struct node *n = node->object->unevaluated;
    size_t count = unsafe_yyjson_get_len(v), marks = c->marks;
    yyjson_val *key = unsafe_yyjson_get_first(v);
    bool ok = true;

    if (marks_has(c, marks, 0))
        return true;
    if (!check_spend(c, count / 2))
        return false;
    c->marks = NO_MARKS;
    for (size_t i = 0; i < count && (ok || c->report) && !c->stop;
         i++, key = unsafe_yyjson_get_next(key + 1)) {
        if (marks_has(c, marks, i + 1))
            continue;
        report_down(c, key, 0);
        if (n == &schema_node_false)
            ok = report_name(c, "unevaluatedProperties", "unexpected member \"%s\"",
                             json_string(key));
        else
            ok = check_value(c, n, key + 1) && ok;
        report_up(c);
    }
    return ok;
}

/* ---- arrays ---- */

/* Behind the prefix, items speaks of the rest; without it the rest need not be looked at. An array
 * shorter than the prefix is fine: only minItems asks for a length (core, section 10.3.1.1). */
static bool check_items(struct check *c, const struct array_rules *r, yyjson_val *v)
{
    size_t n = unsafe_yyjson_get_len(v), marks = c->marks;
    size_t count = r->items || n < r->prefix.count ? n : r->prefix.count;
    yyjson_val *item = unsafe_yyjson_get_first(v);
    bool ok = true;

    c->marks = NO_MARKS;
    for (size_t i = 0; i < count && (ok || c->report) && !c->stop;
         i++, item = unsafe_yyjson_get_next(item)) {
        const struct node *node = i < r->prefix.count ? r->prefix.at[i] : r->items;

        report_down(c, NULL, i);
        if (node == &schema_node_false && i >= r->prefix.count)
            ok = report_fail(c, r->items_keyword, "unexpected item");
        else
            ok = check_value(c, node, item) && ok;
        report_up(c);
        if (marks != NO_MARKS)
            marks_set(c, marks, i + 1);
    }
    c->marks = marks;
    return ok;
}

/* Each item is tried without a report, since an item that does not match is no error. Ends early
 * where neither a count nor marks want the rest. minContains of 0 makes contains hold always, also
 * for an empty array (validation, section 6.4.5); it still marks. */
static bool check_contains(struct check *c, const struct array_rules *r, yyjson_val *v)
{
    size_t n = unsafe_yyjson_get_len(v), marks = c->marks, found = 0;
    yyjson_val *item = unsafe_yyjson_get_first(v);
    struct report *report = c->report;

    if (!check_spend(c, n / 2))
        return false;
    c->marks = NO_MARKS;
    c->report = NULL;
    for (size_t i = 0; i < n && !c->stop; i++, item = unsafe_yyjson_get_next(item)) {
        if (!check_value(c, r->contains, item))
            continue;
        found++;
        if (marks != NO_MARKS)
            marks_set(c, marks, i + 1);
        else if (found >= r->min_contains && r->max_contains == UINT64_MAX)
            break;
    }
    c->marks = marks;
    c->report = report;
    if (c->stop)
        return false;
    if (found < r->min_contains)
        return report_fail(c, r->min_contains == 1 ? "contains" : "minContains",
                           "must contain at least %llu matching items, has %zu",
                           (unsigned long long)r->min_contains, found);
    if (found > r->max_contains)
        return report_fail(c, "maxContains", "must contain at most %llu matching items, has %zu",
                           (unsigned long long)r->max_contains, found);
    return true;
}

/* uniqueItems last: it is the only keyword that costs more than a look at each item. The length
 * comes first, so a maxItems is what makes it cheap. */
bool check_array(struct check *c, const struct array_rules *r, yyjson_val *v)
{
    size_t n = unsafe_yyjson_get_len(v), first, second;
    bool ok = true;

    if (!check_spend(c, n / 2))
        return false;
    if (n < r->min)
        ok = report_count(c, "minItems", "least", r->min, n);
    if (n > r->max)
        ok = report_count(c, "maxItems", "most", r->max, n);
    if ((r->items || r->prefix.count) && (ok || c->report))
        ok = check_items(c, r, v) && ok;
    if (r->contains && (ok || c->report))
        ok = check_contains(c, r, v) && ok;
    if (r->unique && (ok || c->report) && !check_unique(c, v, &first, &second))
        ok = report_fail(c, "uniqueItems", "items %zu and %zu are equal", first, second);
    return ok;
}

/* Like the members above; contains counts as having looked at what it matched (2020-12). */
bool check_unevaluated_items(struct check *c, const struct node *node, yyjson_val *v)
{
    const struct node *n = node->array->unevaluated;
    size_t count = unsafe_yyjson_get_len(v), marks = c->marks;
    yyjson_val *item = unsafe_yyjson_get_first(v);
    bool ok = true;

    if (marks_has(c, marks, 0))
        return true;
    if (!check_spend(c, count / 2))
        return false;
    c->marks = NO_MARKS;
    for (size_t i = 0; i < count && (ok || c->report) && !c->stop;
         i++, item = unsafe_yyjson_get_next(item)) {
        if (marks_has(c, marks, i + 1))
            continue;
        report_down(c, NULL, i);
        if (n == &schema_node_false)
            ok = report_fail(c, "unevaluatedItems", "unexpected item");
        else
            ok = check_value(c, n, item) && ok;
        report_up(c);
    }
    return ok;
}
