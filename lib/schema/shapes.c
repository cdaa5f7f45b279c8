/* The shapes of keywords' values, and the schemas in them; part of the first round of build.h.
 *
 * A schema with a keyword of the wrong shape is refused as a whole, by the message that its author
 * needs, and not taken for one without the keyword: a limit written as "maximum": "10" would allow
 * everything. The metaschemas say the same, but with messages that nobody understands. From here on
 * the shapes are facts: the second round reads values without looking at their types. */
#include "schema/build.h"

#include <stdlib.h>
#include <string.h>

/* key is where in the keyword's value, or NULL. */
static int fail_at(struct build *b, struct at at, yyjson_val *key, const char *text)
{
    return build_fail(b, at.record, &(struct place){.keyword = at.keyword, .key = key}, "%s", text);
}

/* name is from the schema, and may be long or have odd characters in it. */
static int fail_named(struct build *b, struct at at, yyjson_val *key, const char *fmt,
                      yyjson_val *name)
{
    char text[TEXT_NAME_MAX + 8];
    struct writer w = {text, 0, sizeof text - 1};

    write_name(&w, json_string(name));
    text[w.len] = 0;
    return build_fail(b, at.record, &(struct place){.keyword = at.keyword, .key = key}, fmt, text);
}

/* A subschema is only entered here; it is indexed when its turn comes, so nothing recurses. That it
 * is an object or a boolean is checked as it is entered. */
static int add_child(struct build *b, struct at at, yyjson_val *val, struct place place)
{
    const struct record *r = record_at(b, at.record);

    place.keyword = at.keyword;
    build_add_record(b, r->document, val, r->resource, at.record, &place);
    return b->rc;
}

/* allOf and its like need at least one schema (core, section 10.2.1): an empty anyOf would allow
 * nothing, an empty allOf everything, and neither is what was meant. */
static int index_array(struct build *b, struct at at, yyjson_val *arr)
{
    size_t i, n;
    yyjson_val *item;

    if (!yyjson_is_arr(arr) || yyjson_arr_size(arr) == 0)
        return fail_at(b, at, NULL, "must be an array of at least one schema");
    yyjson_arr_foreach(arr, i, n, item)
    {
        if (add_child(b, at, item, (struct place){.has_index = true, .index = i}))
            break;
    }
    return b->rc;
}

/* required and the dependencies want their names unique (validation, section 6.5.3); one that is
 * there twice is mostly meant to be another. Sorted, they are neighbours. */
static int check_names(struct build *b, struct at at, yyjson_val *key, yyjson_val *names)
{
    yyjson_val **sorted, *name;
    size_t i, n;

    if (!yyjson_is_arr(names))
        return fail_at(b, at, key, "must be an array of strings");
    if (build_spend(b, yyjson_arr_size(names)) ||
        !(sorted = build_tmp(b, yyjson_arr_size(names) * sizeof *sorted)))
        return b->rc;
    yyjson_arr_foreach(names, i, n, name)
    {
        if (!yyjson_is_str(name))
            return fail_at(b, at, key, "must be an array of strings");
        sorted[i] = name;
    }
    if (n)
        qsort(sorted, n, sizeof *sorted, build_order);
    for (i = 1; i < n; i++) {
        if (build_order(&sorted[i - 1], &sorted[i]) == 0)
            return fail_named(b, at, key, "\"%s\" is there twice", sorted[i]);
    }
    return b->rc;
}

/* Objects of schemas, of names, or of either. Their keys are names of members and never keywords: a
 * property may be called "$ref" or "type". */
static int index_map(struct build *b, struct at at, yyjson_val *map, enum shape shape)
{
    size_t i, n;
    yyjson_val *key, *val;

    if (!yyjson_is_obj(map))
        return fail_at(b, at, NULL, "must be an object");
    yyjson_obj_foreach(map, i, n, key, val)
    {
        bool names =
            shape == SHAPE_NAMES_MAP || (shape == SHAPE_DEPENDENCIES && yyjson_is_arr(val));

        if (shape == SHAPE_VOCABULARIES) {
            if (!yyjson_is_bool(val))
                return fail_at(b, at, key, "must be a boolean");
        } else if (names ? check_names(b, at, key, val)
                         : add_child(b, at, val, (struct place){.key = key})) {
            break;
        }
    }
    return b->rc;
}

/* An unknown type would allow no value, so it is a mistake, most often "int" or "float". */
static int check_type(struct build *b, struct at at, yyjson_val *val)
{
    static const char *const names[] = {"null",   "boolean", "object", "array",
                                        "string", "number",  "integer"};
    size_t i = 0, n = sizeof names / sizeof *names;

    if (!yyjson_is_str(val))
        return fail_at(b, at, NULL, "must be a string or an array of strings");
    while (i < n && !yyjson_equals_str(val, names[i]))
        i++;
    if (i == n)
        fail_named(b, at, NULL, "unknown type \"%s\"", val);
    return b->rc;
}

/* No name twice (validation, section 6.1.1). */
static int check_types(struct build *b, struct at at, yyjson_val *val)
{
    size_t i, n;
    yyjson_val *item;

    if (!yyjson_is_arr(val))
        return check_type(b, at, val);
    if (yyjson_arr_size(val) == 0)
        return fail_at(b, at, NULL, "must name at least one type");
    yyjson_arr_foreach(val, i, n, item)
    {
        if (check_type(b, at, item))
            return b->rc;
    }
    return check_names(b, at, NULL, val);
}

/* Letters, digits, "-_." and in draft-07's manner ":", not beginning with a digit. */
static bool is_anchor(struct str t)
{
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!letter && (i == 0 || !c || !strchr("0123456789-.", c)))
            return false;
    }
    return t.n > 0;
}

/* A divisor must fit a word, by which number_is_multiple divides. Counts are integers by value: 2.0
 * is one (core, section 6.3). The digits are paid for, since a number may be as long as the message
 * that it came in. */
static int check_number(struct build *b, struct at at, yyjson_val *val, enum shape shape)
{
    struct number n, zero;
    uint64_t count;

    if (!json_is_number(val))
        return fail_at(b, at, NULL,
                       shape == SHAPE_COUNT ? "must be a non-negative integer"
                                            : "must be a number");
    number_read(&n, val);
    if (build_spend(b, yyjson_get_len(val) / 64))
        return b->rc;
    zero = (struct number){.kind = NUMBER_SIGNED};
    if (shape == SHAPE_COUNT && !number_to_count(&n, &count))
        return fail_at(b, at, NULL, "must be a non-negative integer");
    if (shape == SHAPE_POSITIVE && number_cmp(&n, &zero) <= 0)
        return fail_at(b, at, NULL, "must be above 0");
    if (shape == SHAPE_POSITIVE && !number_can_divide(&n))
        return fail_at(b, at, NULL, "has too many digits");
    return b->rc;
}

/* Checks the keyword's value and enters the schemas in it. A pattern is only found to be a string
 * here: it is compiled once, in the second round. Numbers in enum and const are any JSON and have
 * no shape to be of. */
int build_index_value(struct build *b, struct at at, yyjson_val *val, enum shape shape)
{
    const char *want = NULL;

    switch (shape) {
    case SHAPE_ANY:
        break;
    case SHAPE_ARRAY:
        want = yyjson_is_arr(val) ? NULL : "must be an array";
        break;
    case SHAPE_BOOLEAN:
        want = yyjson_is_bool(val) ? NULL : "must be a boolean";
        break;
    case SHAPE_STRING:
    case SHAPE_PATTERN:
    case SHAPE_URI:
        want = yyjson_is_str(val) ? NULL : "must be a string";
        break;
    case SHAPE_ANCHOR:
        want = yyjson_is_str(val) && is_anchor(json_string(val)) ? NULL
                                                                 : "must be the name of an anchor";
        break;
    case SHAPE_COUNT:
    case SHAPE_NUMBER:
    case SHAPE_POSITIVE:
        return check_number(b, at, val, shape);
    case SHAPE_TYPE:
        return check_types(b, at, val);
    case SHAPE_NAMES:
        return check_names(b, at, NULL, val);
    case SHAPE_SCHEMA:
        return add_child(b, at, val, (struct place){0});
    case SHAPE_SCHEMAS:
        return index_array(b, at, val);
    case SHAPE_ITEMS:
        return yyjson_is_arr(val) ? index_array(b, at, val)
                                  : add_child(b, at, val, (struct place){0});
    case SHAPE_NAMES_MAP:
    case SHAPE_VOCABULARIES:
    case SHAPE_SCHEMA_MAP:
    case SHAPE_DEPENDENCIES:
        return index_map(b, at, val, shape);
    }
    return want ? fail_at(b, at, NULL, want) : b->rc;
}
