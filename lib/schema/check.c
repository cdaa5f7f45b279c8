/* Checking a value: nodes, scalars and what holds for values of any type. Objects and arrays:
 * containers.c.
 *
 * The recursion follows the value and the schema's references; check_enter bounds it. A schema is
 * more dangerous than a value: a few nested anyOf or $ref make work that doubles with each level,
 * and a pattern may backtrack for ever. None of that is looked for when compiling, since it depends
 * on the value. It is paid for, step by step, from one budget, and the check ends as
 * SCHEMA_TOO_COMPLEX when that is used up: which is no verdict, and callers refuse.
 *
 * A valid value is the common case and is checked without a report, up to the first failure. Only
 * when that has failed is everything done again to find out what to tell. */
#include "schema/check.h"

#include "schema/report.h"

#include <string.h>

#define EFFORT_PER_STEP 4u /* of a regular expression's match; both then take about the same time */

/* A table and not a switch: the type is asked for at every node. Raw numbers and doubles have no
 * entry, since whether they are integers takes a look at their digits. */
const uint8_t schema_tag_types[32] = {
    [YYJSON_TYPE_NULL] = TYPE_NULL,
    [YYJSON_TYPE_BOOL | YYJSON_SUBTYPE_FALSE] = TYPE_BOOLEAN,
    [YYJSON_TYPE_BOOL | YYJSON_SUBTYPE_TRUE] = TYPE_BOOLEAN,
    [YYJSON_TYPE_NUM | YYJSON_SUBTYPE_UINT] = TYPE_INTEGER,
    [YYJSON_TYPE_NUM | YYJSON_SUBTYPE_SINT] = TYPE_INTEGER,
    [YYJSON_TYPE_STR] = TYPE_STRING,
    [YYJSON_TYPE_STR | YYJSON_SUBTYPE_NOESC] = TYPE_STRING,
    [YYJSON_TYPE_ARR] = TYPE_ARRAY,
    [YYJSON_TYPE_OBJ] = TYPE_OBJECT,
};

/* The first reason counts: out of memory stays that. */
bool check_exhausted(struct check *c)
{
    if (!c->stop)
        c->stop = SCHEMA_TOO_COMPLEX;
    return false;
}

/* Integer or not is a matter of the value: 1.0 and 1e3 are. */
static LEAF bool has_number_type(struct check *c, const struct node *n, yyjson_val *v)
{
    struct number number;

    if ((n->types & TYPE_NUMBER) == 0 || (n->types & TYPE_NUMBER) == TYPE_NUMBER)
        return n->types & TYPE_NUMBER;
    if (!check_read_number(c, &number, v))
        return false;
    return n->types & (number_is_integer(&number) ? TYPE_INTEGER : TYPE_FRACTION);
}

/* One look at a table, but for numbers whose text has to be read. */
static bool has_type(struct check *c, const struct node *n, yyjson_val *v)
{
    uint8_t type = tag_type(v);

    return type ? n->types & type : has_number_type(c, n, v);
}

/* ---- scalars ---- */

/* In the host's unit, which has 32 bits. */
static uint32_t effort_of(uint64_t steps)
{
    return steps > UINT32_MAX / EFFORT_PER_STEP ? UINT32_MAX : (uint32_t)steps * EFFORT_PER_STEP;
}

/* Not matching and giving up are both false; c->stop tells them apart. */
bool check_pattern(struct check *c, const struct pattern *p, const char *s, size_t len)
{
    uint64_t steps = 4 + len / 16;

    /* The host says whether the effort was enough, not how much of it was used: so it is offered
     * little first, and four times as much each time. What the failed attempts cost is then a third
     * of the last one. */
    for (;; steps *= 4) {
        int found;

        if (steps > c->steps && c->steps)
            steps = c->steps;
        if (!check_spend(c, steps))
            return false;
        found = c->schema->host->regex_match(p->regex, s, len, effort_of(steps));
        if (found != HOST_REGEX_TOO_COMPLEX)
            return found == HOST_REGEX_YES;
    }
}

/* Characters of UTF-8, by the bytes that begin one. JSON Schema counts characters, not bytes. */
static uint64_t count_chars(const char *s, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n;
}

static LEAF bool check_string(struct check *c, const struct string_rules *r, yyjson_val *v)
{
    const char *s = unsafe_yyjson_get_str(v);
    size_t len = unsafe_yyjson_get_len(v);
    uint64_t chars;
    bool ok = true;

    /* A character takes 1 to 4 bytes; count only where that leaves a doubt. Most strings are
     * settled by this. */
    if (len > r->max || (len + 3) / 4 < r->min) {
        if (!check_spend(c, len / 256))
            return false;
        chars = count_chars(s, len);
        if (chars < r->min)
            ok = report_fail(c, "minLength", "must have at least %llu characters, has %llu",
                             (unsigned long long)r->min, (unsigned long long)chars);
        if (chars > r->max)
            ok = report_fail(c, "maxLength", "must have at most %llu characters, has %llu",
                             (unsigned long long)r->max, (unsigned long long)chars);
    }
    if (r->pattern && (ok || c->report) && !check_pattern(c, r->pattern, s, len))
        ok = report_name(c, "pattern", "does not match the pattern \"%s\"", r->pattern->text);
    return ok;
}

static bool miss(struct check *c, const char *keyword, const char *fmt, const struct bound *b)
{
    return report_name(c, keyword, fmt, b->text);
}

/* All comparisons are exact (number.h): with doubles, a limit of 2^53 would let 2^53 + 1 pass. */
static LEAF bool check_number(struct check *c, const struct number_rules *r, yyjson_val *v)
{
    struct number n;
    uint64_t cost;
    bool ok = true;

    if (!check_read_number(c, &n, v))
        return false;
    if (r->min && number_cmp(&n, &r->min->value) < 0)
        ok = miss(c, "minimum", "must be >= %s", r->min);
    if (r->max && number_cmp(&n, &r->max->value) > 0)
        ok = miss(c, "maximum", "must be <= %s", r->max);
    if (r->above && number_cmp(&n, &r->above->value) <= 0)
        ok = miss(c, "exclusiveMinimum", "must be > %s", r->above);
    if (r->below && number_cmp(&n, &r->below->value) >= 0)
        ok = miss(c, "exclusiveMaximum", "must be < %s", r->below);
    if (r->divisor && (ok || c->report)) {
        /* The cost is known only afterwards; the digits of the value have been paid for at
         * reading. */
        if (!number_is_multiple(&n, &r->divisor->value, &cost))
            ok = miss(c, "multipleOf", "must be a multiple of %s", r->divisor);
        if (!check_spend(c, cost / 16))
            return false;
    }
    return ok;
}

/* ---- values of any type ---- */

/* Whether the value holds, without a word; what it marks stays only if it does: annotations of a
 * schema that failed are dropped (core, section 7.7.1.2). The marks are copied to the top of their
 * stack for that, which costs nothing where no unevaluated… keyword asks for them. */
static bool holds(struct check *c, const struct node *n, yyjson_val *v)
{
    struct report *report = c->report;
    size_t saved = NO_MARKS, size = 0;
    bool ok;

    if (c->marks != NO_MARKS) {
        size = marks_words(unsafe_yyjson_get_len(v)) * sizeof *c->mark_words;
        saved = marks_push(c, size / sizeof *c->mark_words);
        if (saved == NO_MARKS)
            return false;
        memcpy(c->mark_words + saved, c->mark_words + c->marks, size);
    }
    c->report = NULL;
    ok = check_value(c, n, v);
    c->report = report;
    if (saved != NO_MARKS) {
        if (!ok)
            memcpy(c->mark_words + c->marks, c->mark_words + saved, size);
        marks_pop(c, saved);
    }
    return ok;
}

/* None of the alternatives holds: reports the one that fits best. They are checked a second time
 * for that, paid from the same budget; this is only reached by values that are invalid anyway.
 * Alternatives within alternatives would be checked again on each level; report_trials_begin allows
 * three levels. */
static void explain(struct check *c, const struct nodes *alternatives, yyjson_val *v)
{
    struct report *r = c->report;

    if (!r || c->stop || !report_trials_begin(r))
        return;
    for (uint32_t i = 0; i < alternatives->count && !c->stop; i++) {
        report_trials_next(r);
        check_value(c, alternatives->at[i], v);
    }
    report_trials_end(r);
}

/* All together, as if their keywords stood in one schema, but for additionalProperties, which sees
 * only its own (core, section 10.2.1.1). No short cut with a report: each part has its own errors
 * to tell. */
static bool all_of(struct check *c, const struct nodes *all, yyjson_val *v)
{
    bool ok = true;

    for (uint32_t i = 0; i < all->count && (ok || c->report); i++)
        ok = check_value(c, all->at[i], v) && ok;
    return ok;
}

static bool any_of(struct check *c, const struct nodes *any, yyjson_val *v)
{
    bool found = false;

    /* Where marks are kept, every alternative that holds adds to them. */
    for (uint32_t i = 0; i < any->count && (!found || c->marks != NO_MARKS); i++) {
        found = holds(c, any->at[i], v) || found;
        if (c->stop)
            return false;
    }
    if (!found) {
        report_fail(c, "anyOf", "matches none of the %u alternatives", any->count);
        explain(c, any, v);
    }
    return found;
}

/* Goes on behind the first that holds, and ends at the second. There is no cheaper way: exactly one
 * may hold (core, section 10.2.1.3), so all others have to be seen to fail. */
static bool one_of(struct check *c, const struct nodes *one, yyjson_val *v)
{
    uint32_t first = 0, found = 0;

    for (uint32_t i = 0; i < one->count; i++) {
        bool ok = holds(c, one->at[i], v);

        if (c->stop)
            return false;
        if (!ok)
            continue;
        if (found++)
            return report_fail(c, "oneOf", "matches more than one alternative: %u and %u", first,
                               i);
        first = i;
    }
    if (!found) {
        report_fail(c, "oneOf", "matches none of the %u alternatives", one->count);
        explain(c, one, v);
    }
    return found == 1;
}

/* What is negated marks nothing as evaluated: that it matched is a failure. unevaluated… inside of
 * it keep their own marks, and see what the negated schema looks at. */
static bool not_it(struct check *c, const struct node *n, yyjson_val *v)
{
    size_t marks = c->marks;
    bool ok;

    c->marks = NO_MARKS;
    ok = holds(c, n, v);
    c->marks = marks;
    if (c->stop)
        return false;
    return !ok || report_fail(c, "not", "matches what it must not match");
}

static bool one_value(struct check *c, const struct clause *cl, yyjson_val *v)
{
    if (value_is_one(c, cl, v))
        return true;
    if (c->stop)
        return false;
    return report_values(c, cl->kind == CLAUSE_CONST ? "const" : "enum", cl->values,
                         cl->value_count);
}

/* Of the resources entered, the outermost that has the anchor decides (JSON Schema core, section
 * 8.2.3.2). The scopes go from the inside out, so the last one found wins. It is the way of the
 * check that counts and not the nesting of the text, so this cannot be done when compiling. Both
 * the depth and the places are a schema's choice: it is paid for. */
static const struct node *dynamic_target(struct check *c, const struct clause *cl)
{
    const struct node *found = cl->nodes.at[0];
    uint64_t looked = 0;

    for (const struct scope *s = c->scope; s; s = s->outer) {
        for (uint32_t i = 0; i < cl->dynamic->count; i++) {
            if (cl->dynamic->places[i].resource == s->resource)
                found = cl->dynamic->places[i].node;
        }
        looked += cl->dynamic->count;
    }
    check_spend(c, looked / 16);
    return found;
}

/* A clause pays for the length of its list; what is in it pays for itself. A $ref is a call like
 * any other: one that leads back to itself without a step into the value ends at the limit of
 * nesting. */
static bool check_clause(struct check *c, const struct clause *cl, yyjson_val *v)
{
    const struct node *branch;

    if (!check_spend(c, cl->nodes.count / 8))
        return false;
    switch (cl->kind) {
    case CLAUSE_CONST:
    case CLAUSE_ENUM:
        return one_value(c, cl, v);
    case CLAUSE_REF:
        return check_value(c, cl->nodes.at[0], v);
    case CLAUSE_DYNAMIC_REF:
        return check_value(c, dynamic_target(c, cl), v);
    case CLAUSE_ALL_OF:
        return all_of(c, &cl->nodes, v);
    case CLAUSE_ANY_OF:
        return any_of(c, &cl->nodes, v);
    case CLAUSE_ONE_OF:
        return one_of(c, &cl->nodes, v);
    case CLAUSE_NOT:
        return not_it(c, cl->nodes.at[0], v);
    default:
        branch = cl->nodes.at[holds(c, cl->nodes.at[0], v) ? 1 : 2];
        return !c->stop && (!branch || check_value(c, branch, v));
    }
}

/* ---- nodes ---- */

/* Type first: most invalid values end there. Only one group of rules can apply to a value. A
 * failure of the type ends the node's report as well: what else is said about a value of another
 * type helps nobody. */
static bool check_rules(struct check *c, const struct node *n, yyjson_val *v)
{
    bool ok = true;

    if (n->types != TYPE_ANY && !has_type(c, n, v))
        return report_type(c, n->types, v);
    switch (unsafe_yyjson_get_type(v)) {
    case YYJSON_TYPE_OBJ:
        ok = !n->object || check_object(c, n->object, v);
        break;
    case YYJSON_TYPE_ARR:
        ok = !n->array || check_array(c, n->array, v);
        break;
    case YYJSON_TYPE_STR:
        ok = !n->string || check_string(c, n->string, v);
        break;
    case YYJSON_TYPE_NUM:
    case YYJSON_TYPE_RAW:
        ok = !n->number || check_number(c, n->number, v);
        break;
    default:
        break;
    }
    for (uint32_t i = 0; i < n->clause_count && (ok || c->report); i++)
        ok = check_clause(c, &n->clauses[i], v) && ok;
    return ok;
}

/* A node with unevaluated… keywords starts with marks of its own: they see what their own node and
 * the schemas in place within it have looked at, and nothing of cousins, as the parts of an allOf
 * around it are (core, sections 11.2 and 11.3). When it holds, everything in it counts as looked
 * at, for whoever asks further out. */
static bool check_marked(struct check *c, const struct node *n, yyjson_val *v)
{
    size_t outer = c->marks, own = marks_push(c, marks_words(unsafe_yyjson_get_len(v)));
    bool ok;

    if (own == NO_MARKS)
        return false;
    c->marks = own;
    ok = check_rules(c, n, v);
    if (ok || c->report)
        ok = (unsafe_yyjson_is_obj(v) ? check_unevaluated_members(c, n, v)
                                      : check_unevaluated_items(c, n, v)) &&
             ok;
    marks_pop(c, own);
    c->marks = outer;
    if (ok && outer != NO_MARKS)
        marks_set(c, outer, 0);
    return ok;
}

/* Marks are made only where somebody will ask for them, in this node or around it: most schemas
 * have no unevaluated… keyword and pay nothing. */
static bool check_here(struct check *c, const struct node *n, yyjson_val *v)
{
    if (unsafe_yyjson_is_obj(v) ? n->object && n->object->unevaluated
                                : unsafe_yyjson_is_arr(v) && n->array && n->array->unevaluated)
        return check_marked(c, n, v);
    return check_rules(c, n, v);
}

/* Only schemas with dynamic references pay for the list of resources: it lies on the stack, and so
 * is as long as the nesting allows. */
static bool check_in_resource(struct check *c, const struct node *n, yyjson_val *v)
{
    struct scope scope = {n->resource, c->scope};
    bool ok;

    c->scope = &scope;
    ok = check_here(c, n, v);
    c->scope = scope.outer;
    return ok;
}

/* The recursion's one gate: each evaluation of a subschema passes here, unless check_value could
 * decide it by type. */
bool check_node(struct check *c, const struct node *n, yyjson_val *v)
{
    bool ok;

    if (!check_enter(c))
        return false;
    if (c->schema->dynamic && n->resource != c->scope->resource)
        ok = check_in_resource(c, n, v);
    else
        ok = check_here(c, n, v);
    check_leave(c);
    return ok;
}

/* The second pass of an invalid value. What it lacks in steps or memory, it lacks in errors: the
 * verdict stands, and there is at least one error in each report. */
static void make_report(struct check *c, yyjson_val *v, struct schema_report *rep)
{
    c->report = report_new(c->scratch);
    if (c->report) {
        check_node(c, c->schema->root, v);
        report_fill(c->report, rep);
    }
    if (!c->report || rep->count == 0) {
        rep->count = 1;
        rep->errors[0] = (struct schema_error){"", "", "does not match the schema"};
    }
}

int schema_check(const struct schema *s, yyjson_val *v, uint32_t steps, struct arena *scratch,
                 struct schema_report *rep)
{
    struct scope scope = {s->root->resource, NULL};
    struct check c;
    bool ok;

    /* Field by field: few_marks needs no clearing, and a check may be as short as that. */
    c.schema = s;
    c.scratch = scratch;
    c.report = NULL;
    c.scope = &scope;
    c.steps = steps;
    c.stack = (uintptr_t)__builtin_frame_address(0);
    c.nesting = 0;
    c.stop = SCHEMA_OK;
    c.marks = NO_MARKS;
    c.mark_words = c.few_marks;
    c.mark_top = 0;
    c.mark_cap = MARK_WORDS;
    c.unique = NULL;
    c.unique_cap = 0;
    ok = check_value(&c, s->root, v);
    if (c.stop)
        return c.stop;
    if (!ok && rep)
        make_report(&c, v, rep);
    return ok ? SCHEMA_OK : SCHEMA_INVALID;
}
