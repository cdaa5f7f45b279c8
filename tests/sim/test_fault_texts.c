/* The words of faults: what a client reads when its input does not fit names the place, the rule
 * and what was found, and whatever the input was, it is valid UTF-8 of bounded length. */
#include "base/json.h"
#include "base/utf8.h"
#include "support/node.h"
#include "support/suite.h"

#include <alknet/yyjson.h>

#include <stdio.h>
#include <string.h>

static const struct {
    const char *schema, *input, *message;
} cases[] = {
    {"{\"type\":\"integer\"}", "1.5", "input: expected integer, got number (type)"},
    {"{\"type\":[\"string\",\"null\"]}", "5", "input: expected null or string, got integer (type)"},
    {"{\"enum\":[1,\"a\",null]}", "2", "input: must be one of 1, \"a\", null (enum)"},
    {"{\"minimum\":5}", "4", "input: must be >= 5 (minimum)"},
    {"{\"maximum\":5.50}", "6", "input: must be <= 5.50 (maximum)"},
    {"{\"exclusiveMinimum\":5}", "5", "input: must be > 5 (exclusiveMinimum)"},
    {"{\"exclusiveMaximum\":5}", "5", "input: must be < 5 (exclusiveMaximum)"},
    {"{\"multipleOf\":0.1}", "0.25", "input: must be a multiple of 0.1 (multipleOf)"},
    {"{\"minLength\":3}", "\"ab\"", "input: must have at least 3 characters, has 2 (minLength)"},
    {"{\"maxLength\":1}", "\"éé\"", "input: must have at most 1 characters, has 2 (maxLength)"},
    {"{\"pattern\":\"^a+$\"}", "\"b\"", "input: does not match the pattern \"^a+$\" (pattern)"},
    {"{\"uniqueItems\":true}", "[1,2,1.0]", "input: items 0 and 2 are equal (uniqueItems)"},
    {"{\"items\":{\"type\":\"string\"}}", "[\"a\",1]", "/1: expected string, got integer (type)"},
    {"{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}", "[\"a\",1]",
     "/1: unexpected item (items)"},
    {"{\"contains\":true,\"minContains\":2}", "[1]",
     "input: must contain at least 2 matching items, has 1 (minContains)"},
    {"{\"required\":[\"a\",\"b\"]}", "{\"b\":1}",
     "input: missing required member \"a\" (required)"},
    {"{\"properties\":{\"a~/b\":{\"type\":\"null\"}}}", "{\"a~/b\":1}",
     "/a~0~1b: expected null, got integer (type)"},
    {"{\"properties\":{\"\":{\"type\":\"null\"}}}", "{\"\":1}",
     "/: expected null, got integer (type)"},
    {"{\"additionalProperties\":false}", "{\"x\":1}",
     "/x: unexpected member \"x\" (additionalProperties)"},
    {"{\"unevaluatedProperties\":false}", "{\"a\":1}",
     "/a: unexpected member \"a\" (unevaluatedProperties)"},
    {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}",
     "input: missing member \"b\", which another member requires (dependentRequired)"},
    {"{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":5}]}", "4",
     "input: matches none of the 2 alternatives (anyOf)"},
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "3",
     "input: matches more than one alternative: 0 and 1 (oneOf)"},
    {"{\"not\":{\"type\":\"integer\"}}", "3", "input: matches what it must not match (not)"},
    {"{\"if\":{\"type\":\"integer\"},\"then\":{\"minimum\":5}}", "3",
     "input: must be >= 5 (minimum)"},
    {"false", "1", "input: no value is allowed here (false)"},
    {"{\"$ref\":\"#/$defs/p\",\"$defs\":{\"p\":{\"properties\":{\"q\":{\"type\":\"string\"}}}}}",
     "{\"q\":1}", "/q: expected string, got integer (type)"},
    {"{\"properties\":{\"a\":{\"items\":{\"properties\":{\"b\":{\"type\":\"null\"}}}}}}",
     "{\"a\":[{},{},{\"b\":0}]}", "/a/2/b: expected null, got integer (type)"},
};

/* The message of the INVALID_INPUT that input gets from an operation with that schema. */
static void told(const char *schema, const char *input, char message[2000], size_t *errors)
{
    struct world *w = world_new();
    alk_operation op;
    struct wire *r;
    yyjson_doc *doc;
    yyjson_val *payload, *list, *e;
    const char *answer;
    size_t i, n;

    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.input_schema = schema;
    world_add_full(w, &op);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/x", input);
    answer = wire_next(r);
    ck_assert_ptr_nonnull(answer);
    doc = yyjson_read(answer, strlen(answer), 0);
    ck_assert_ptr_nonnull(doc);
    payload = yyjson_obj_get(yyjson_doc_get_root(doc), "payload");
    ck_assert_msg(yyjson_equals_str(yyjson_obj_get(payload, "code"), "INVALID_INPUT"), "%s: %s",
                  schema, answer);
    snprintf(message, 2000, "%s", yyjson_get_str(yyjson_obj_get(payload, "message")));
    list = yyjson_obj_get(yyjson_obj_get(payload, "details"), "errors");
    *errors = yyjson_arr_size(list);
    ck_assert(*errors >= 1 && *errors <= 8);
    yyjson_arr_foreach(list, i, n, e)
    {
        const char *path = yyjson_get_str(yyjson_obj_get(e, "path"));

        ck_assert_uint_eq(yyjson_obj_size(e), 3);
        ck_assert(path && (!*path || *path == '/'));
        ck_assert_uint_gt(yyjson_get_len(yyjson_obj_get(e, "keyword")), 0);
        ck_assert_uint_gt(yyjson_get_len(yyjson_obj_get(e, "message")), 0);
    }
    yyjson_doc_free(doc);
    wire_free(r);
    world_free(w);
}

START_TEST(an_input_that_does_not_fit_is_told_where_why_and_by_which_keyword)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char message[2000];
        size_t errors;

        told(cases[i].schema, cases[i].input, message, &errors);
        ck_assert_str_eq(message, cases[i].message);
    }
}
END_TEST

START_TEST(all_that_is_wrong_is_told_up_to_eight)
{
    static const struct {
        const char *input;
        size_t errors;
    } many[] = {{"[\"\"]", 1},
                {"[\"\",1,\"\"]", 2},
                {"[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]", 8},
                {"[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]", 8}};

    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        char message[2000];
        size_t errors;

        told("{\"items\":{\"type\":\"integer\"}}", many[i].input, message, &errors);
        ck_assert_uint_eq(errors, many[i].errors);
        ck_assert_str_eq(message, "/0: expected integer, got string (type)");
    }
}
END_TEST

START_TEST(words_about_long_names_stay_short_and_whole_characters)
{
    static const char *const pieces[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                         "~", "/"};
    static const struct {
        const char *schema, *before, *behind;
    } shapes[] = {
        {"{\"additionalProperties\":false}", "{\"", "\":1}"},
        {"{\"additionalProperties\":{\"additionalProperties\":{\"type\":\"null\"}}}", "{\"a\":{\"",
         "\":1}}"},
        {"{\"propertyNames\":{\"maxLength\":1}}", "{\"", "\":1}"},
        {"{\"maxLength\":1}", "\"", "\""},
    };

    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            for (size_t n = 2; n < 700; n += n < 300 ? 1 : 97) {
                char message[2000];
                char *input = repeated(pieces[p], n, shapes[s].before, shapes[s].behind);
                size_t errors;

                told(shapes[s].schema, input, message, &errors);
                must(strlen(message) <= 500 && utf8_valid(message, strlen(message)));
                free(input);
                if (n > 150 && n < 240)
                    n = 240;
                if (n > 5 && n < 40)
                    n = 40;
            }
        }
    }
}
END_TEST

MAIN("fault_texts", an_input_that_does_not_fit_is_told_where_why_and_by_which_keyword,
     all_that_is_wrong_is_told_up_to_eight, words_about_long_names_stay_short_and_whole_characters)
