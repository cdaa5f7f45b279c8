/* One check in progress: what it may still cost, where it is, and what it has to report.
 *
 * Every function of a check returns whether the value holds; once stop is set, all of them return
 * false and the caller that asked for alternatives looks at stop before it believes them. Without a
 * report the first failure ends the work; with one all keywords are looked at.
 *
 * Schemas and values may both be a stranger's. What they can make expensive, and where it is
 * stopped:
 *   references and combinators in each other   check_enter: a step, the nesting, the stack
 *   members, items, names, alternatives        paid for by their number, before they are walked
 *   patterns                                   check_pattern: a match has a bounded effort
 *   equality, for enum, const, uniqueItems     value.c: by values, bytes and slots looked at
 *   numbers of many digits                     check_read_number, and multipleOf by its digits
 *   looking for dynamic anchors                by the scopes and places looked at
 *   marks                                      a step for each word
 *   errors                                     lists of fixed length; what is left of the steps */
#ifndef ALK_SCHEMA_CHECK_H
#define ALK_SCHEMA_CHECK_H

#include "schema/compiled.h"

/* Evaluations within evaluations, and levels of values being compared. What they take on the stack
 * is measured, and ends the check at CHECK_STACK; the rest of SCHEMA_MAX_STACK is for the leaves, a
 * regular expression's match above all. */
#define SCHEMA_MAX_NESTING 1024u
#define CHECK_STACK (SCHEMA_MAX_STACK - 16u * 1024u)

/* Keeps the locals of leaves out of the frames of the recursion. */
#define LEAF __attribute__((noinline))

#define MARK_WORDS 8u /* marks of objects and arrays with a few hundred members need no memory */

/* The members or items of the value at hand that some keyword has looked at, for unevaluated…: a
 * set in the stack of marks. Bit 0 stands for all of them, bit i + 1 for the one at i. */
#define NO_MARKS SIZE_MAX

/* The resources entered, innermost first. */
struct scope {
    uint32_t resource;
    const struct scope *outer;
};

struct report;

struct check {
    const struct schema *schema;
    struct arena *scratch;
    struct report *report; /* NULL: only the verdict counts */
    const struct scope *scope;
    uint32_t steps, nesting;
    uintptr_t stack; /* where it stood when the check began */
    int stop;        /* SCHEMA_OK, or why the check cannot go on */
    size_t marks;    /* of the value at hand, or NO_MARKS when nobody asks */
    uint64_t *mark_words;
    size_t mark_top, mark_cap;
    struct value_slot *unique; /* at: distance from the array's first item, plus 1 */
    size_t unique_cap;
    uint64_t few_marks[MARK_WORDS];
};

/* The bit of a value's type by yyjson's tag; 0 where the value itself must be looked at. */
extern const uint8_t schema_tag_types[32];

bool check_node(struct check *c, const struct node *n, yyjson_val *v);
bool check_object(struct check *c, const struct object_rules *r, yyjson_val *v);
bool check_array(struct check *c, const struct array_rules *r, yyjson_val *v);
/* Those behind the marks of their own node. */
bool check_unevaluated_members(struct check *c, const struct node *n, yyjson_val *v);
bool check_unevaluated_items(struct check *c, const struct node *n, yyjson_val *v);
bool check_pattern(struct check *c, const struct pattern *p, const char *s, size_t len);
bool check_unique(struct check *c, yyjson_val *array, size_t *first, size_t *second);
bool value_equal(struct check *c, yyjson_val *a, yyjson_val *b);
/* Whether v equals one of the values of const or enum; false with c->stop when that is not
 * known. */
bool value_is_one(struct check *c, const struct clause *cl, yyjson_val *v);
/* A table for finding values: its size for n, and filling it, all slots being free. */
size_t value_slots(size_t n);
void value_index(struct check *c, struct value_slot *slots, size_t mask, yyjson_val *const *values,
                 uint32_t n);

/* Ends the check as too complex. */
bool check_exhausted(struct check *c);

/* Takes steps from the budget; false when it is exhausted. Work is paid for before it is done, or
 * behind a piece whose size is bounded, so what a check takes is bounded whatever the schema and
 * the value. */
static inline bool check_spend(struct check *c, uint64_t steps)
{
    if (c->steps < steps || c->stop)
        return check_exhausted(c);
    c->steps -= (uint32_t)steps;
    return true;
}

/* Every function that may reach itself again is entered through this, and left with check_leave. */
static inline bool check_enter(struct check *c)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    /* The stack is measured and not guessed from the depth: how much a level takes depends on the
     * keyword and the compiler. It grows downwards, so the difference is what the check has
     * used. */
    if (c->stack - here > CHECK_STACK || c->nesting == SCHEMA_MAX_NESTING)
        return check_exhausted(c);
    c->nesting++;
    return check_spend(c, 1);
}

static inline void check_leave(struct check *c)
{
    c->nesting--;
}

static inline uint8_t tag_type(yyjson_val *v)
{
    return schema_tag_types[unsafe_yyjson_get_tag(v) & 0x1F];
}

/* A number may be text of any length, and is paid for by that. False when the budget is
 * exhausted. */
static inline bool check_read_number(struct check *c, struct number *n, yyjson_val *v)
{
    if (unsafe_yyjson_is_raw(v) && !check_spend(c, unsafe_yyjson_get_len(v) / 64))
        return false;
    number_read(n, v);
    return true;
}

/* A child, which its parent's loop has paid for. */
static inline bool check_value(struct check *c, const struct node *n, yyjson_val *v)
{
    if (n->plain && (n->types & tag_type(v)))
        return true;
    return check_node(c, n, v);
}

/* ---- marks: marks.c ---- */

static inline size_t marks_words(size_t members)
{
    return members / 64 + 1;
}
/* A cleared set on top of the stack; NO_MARKS with c->stop set when that is too much. */
size_t marks_push(struct check *c, size_t words);
static inline void marks_pop(struct check *c, size_t marks)
{
    c->mark_top = marks;
}
static inline void marks_set(struct check *c, size_t marks, size_t bit)
{
    c->mark_words[marks + bit / 64] |= UINT64_C(1) << bit % 64;
}
static inline bool marks_has(const struct check *c, size_t marks, size_t bit)
{
    return c->mark_words[marks + bit / 64] >> bit % 64 & 1;
}

#endif
