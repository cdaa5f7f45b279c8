/* JSON Schema: what an error says, what it costs to judge, and how schemas that are none are refused. */
#include "judge.h"

#include <pthread.h>

static const struct {
    const char *schema, *value, *path, *keyword, *message;
} errors[] = {
    {"{\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"a\":\"x\"}", "/a", "type",
     "expected integer, got string"},
    {"{\"required\":[\"a\"]}", "{}", "", "required", "missing required member \"a\""},
    {"{\"items\":{\"items\":{\"maximum\":10}}}", "[[1],[2,11]]", "/1/1", "maximum",
     "must be <= 10"},
    {"{\"properties\":{\"a/b~c\":{\"const\":1}}}", "{\"a/b~c\":2}", "/a~1b~0c", "const", NULL},
    {"{\"additionalProperties\":false}", "{\"x\":1}", "/x", "additionalProperties", NULL},
    {"{\"minLength\":3}", "\"äö\"", "", "minLength", NULL},
    {"{\"pattern\":\"^a+$\"}", "\"ab\"", "", "pattern", NULL},
    {"{\"multipleOf\":0.01}", "0.015", "", "multipleOf", NULL},
    {"false", "1", "", "false schema", NULL},
};

START_TEST(an_error_names_place_keyword_and_reason)
{
    struct judged j;

    judge(&j, errors[_i].schema, errors[_i].value, 10000);
    ck_assert_int_eq(j.verdict, SCHEMA_INVALID);
    ck_assert_int_ge(j.report.count, 1);
    ck_assert_str_eq(j.report.errors[0].path, errors[_i].path);
    if (strcmp(errors[_i].keyword, "false schema"))
        ck_assert_str_eq(j.report.errors[0].keyword, errors[_i].keyword);
    ck_assert_uint_gt(strlen(j.report.errors[0].message), 3);
    if (errors[_i].message)
        ck_assert_str_eq(j.report.errors[0].message, errors[_i].message);
    judged_free(&j);
}
END_TEST

static const struct {
    const char *schema, *value;
    int verdict;
} numbers[] = {
    {"{\"type\":\"integer\"}", "1.0", SCHEMA_OK},
    {"{\"type\":\"integer\"}", "1e2", SCHEMA_OK},
    {"{\"type\":\"integer\"}", "1.5", SCHEMA_INVALID},
    {"{\"const\":1}", "1.0", SCHEMA_OK},
    {"{\"const\":12345678901234567890123}", "12345678901234567890123.0", SCHEMA_OK},
    {"{\"const\":12345678901234567890123}", "12345678901234567890124", SCHEMA_INVALID},
    {"{\"multipleOf\":0.0001}", "0.0075", SCHEMA_OK},
    {"{\"maximum\":18446744073709551615}", "18446744073709551616", SCHEMA_INVALID},
    {"{\"minimum\":-9223372036854775808}", "-9223372036854775809", SCHEMA_INVALID},
    {"{\"exclusiveMaximum\":1e400}", "1e399", SCHEMA_OK},
    {"{\"uniqueItems\":true}", "[1,1.0]", SCHEMA_INVALID},
    {"{\"enum\":[0]}", "-0", SCHEMA_OK},
};

START_TEST(numbers_are_compared_exactly)
{
    struct judged j;

    judge(&j, numbers[_i].schema, numbers[_i].value, 10000);
    ck_assert_int_eq(j.compiled, SCHEMA_OK);
    ck_assert_msg(j.verdict == numbers[_i].verdict, "%s of %s: %d", numbers[_i].value,
                  numbers[_i].schema, j.verdict);
    judged_free(&j);
}
END_TEST

static const struct {
    const char *schema, *path, *text;
} refused[] = {
    {"{\"properties\":{\"x\":{\"type\":\"strin\"}}}", "/properties/x/type", "strin"},
    {"{\"minimum\":\"1\"}", "/minimum", ""},
    {"{\"pattern\":\"(\"}", "/pattern", ""},
    {"{\"pattern\":\"(?i)a\"}", "/pattern", ""},
    {"{\"$ref\":\"#/$defs/none\"}", "/$ref", "none"},
    {"{\"$ref\":\"http://example.invalid/x\"}", "/$ref", "example.invalid"},
    {"{\"$schema\":\"http://example.invalid/dialect\"}", "/$schema", ""},
    {"{\"required\":[\"a\",\"a\"]}", "/required", ""},
    {"7", "", ""},
};

START_TEST(a_schema_that_is_none_is_refused_with_its_place)
{
    struct judged j;

    judge(&j, refused[_i].schema, NULL, 0);
    ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
    ck_assert_ptr_null(j.schema);
    ck_assert_msg(!strncmp(j.diag.path, refused[_i].path, strlen(refused[_i].path)), "%s: %s %s",
                  refused[_i].schema, j.diag.path, j.diag.text);
    ck_assert_msg(strstr(j.diag.text, refused[_i].text) != NULL, "%s: %s", refused[_i].schema,
                  j.diag.text);
    ck_assert_uint_gt(strlen(j.diag.text), 3);
    judged_free(&j);
}
END_TEST

static const char *const endless[][2] = {
    {"{\"$ref\":\"#\"}", "1"},
    {"{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}},\"$ref\":\"#/"
     "$defs/a\"}",
     "1"},
    {"{\"pattern\":\"^(a+)+$\"}", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\""},
    {"{\"$defs\":{\"d\":{\"anyOf\":[{\"items\":{\"$ref\":\"#/$defs/"
     "d\"},\"minItems\":9},{\"items\":{\"$ref\":"
     "\"#/$defs/d\"},\"minItems\":9}]}},\"$ref\":\"#/$defs/d\"}",
     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
};

/* No part of the value is taken on the way round. */
static const char *const loops[][2] = {
    {"{\"$ref\":\"#\"}", "true"},
    {"{\"allOf\":[{\"type\":\"object\"},{\"$ref\":\"#\"}]}", "true"},
    {"{\"oneOf\":[{\"not\":{\"$ref\":\"#\"}}]}", "true"},
    {"{\"if\":{\"$ref\":\"#\"}}", "true"},
    {"{\"anyOf\":[{\"$ref\":\"#\"},true]}", "true"},
    {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/b\"}},\"$defs\":{\"b\":{\"allOf\":[{\"$ref\":\"#/"
     "$defs/c\"}]},\"c\":{\"$ref\":\"#/$defs/b\"}}}",
     "true"},
    {"{\"properties\":{\"a\":{\"$ref\":\"#\"}}}", NULL},
    {"{\"items\":{\"allOf\":[{\"$ref\":\"#\"}]}}", NULL},
    {"{\"if\":{\"type\":\"object\"},\"then\":{\"properties\":{\"a\":{\"$ref\":\"#\"}}}}", NULL},
    {"{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":true}}",
     NULL},
};

START_TEST(what_leads_to_itself_for_the_same_value_is_refused)
{
    struct judged j;

    judge(&j, loops[_i][0], "1", 200000);
    if (loops[_i][1]) {
        ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
        ck_assert_ptr_nonnull(strstr(j.diag.text, "leads back to itself for the same value"));
    } else {
        ck_assert_int_eq(j.compiled, 0);
    }
    judged_free(&j);
}
END_TEST

START_TEST(what_would_not_end_is_too_complex_or_refused)
{
    struct judged j;

    judge(&j, endless[_i][0], endless[_i][1], 200000);
    ck_assert(j.compiled == SCHEMA_INVALID || j.verdict == SCHEMA_TOO_COMPLEX ||
              j.verdict == SCHEMA_INVALID);
    judged_free(&j);
}
END_TEST

static void *judge_deep(void *ud)
{
    struct judged *j = ud;
    char *value = malloc(2000);

    memset(value, '[', 900);
    memset(value + 900, ']', 900);
    value[1800] = 0;
    judge(j, "{\"$defs\":{\"d\":{\"items\":{\"$ref\":\"#/$defs/d\"}}},\"$ref\":\"#/$defs/d\"}",
          value, 200000);
    free(value);
    return NULL;
}

START_TEST(a_deep_value_fits_a_small_stack)
{
    struct judged j;
    pthread_attr_t attr;
    pthread_t t;

    pthread_attr_init(&attr);
    /* Sanitizers make frames several times larger. */
    pthread_attr_setstacksize(&attr, 8u * SCHEMA_MAX_STACK);
    ck_assert_int_eq(pthread_create(&t, &attr, judge_deep, &j), 0);
    pthread_join(t, NULL);
    pthread_attr_destroy(&attr);
    ck_assert(j.verdict == SCHEMA_OK || j.verdict == SCHEMA_TOO_COMPLEX);
    judged_free(&j);
}
END_TEST

START_TEST(a_report_is_bounded)
{
    struct judged j;
    char value[4000] = "{", *p = value + 1;

    for (int i = 0; i < 40; i++)
        p += sprintf(p, "%s\"%060d\":\"x\"", i ? "," : "", i);
    strcpy(p, "}");
    judge(&j, "{\"additionalProperties\":{\"type\":\"integer\"}}", value, 200000);
    ck_assert_int_eq(j.verdict, SCHEMA_INVALID);
    ck_assert_int_eq(j.report.count, SCHEMA_MAX_ERRORS);
    judged_free(&j);
}
END_TEST

/* Text that is so many times as long as piece, in brackets. */
static char *list_of(const char *open, const char *piece, size_t times, const char *close)
{
    size_t n = strlen(piece);
    char *s = malloc(strlen(open) + (n + 1) * times + strlen(close) + 1), *p;

    ck_assert_ptr_nonnull(s);
    p = s + sprintf(s, "%s", open);
    for (size_t i = 0; i < times; i++)
        p += sprintf(p, "%s%s", i ? "," : "", piece);
    strcpy(p, close);
    return s;
}

/* What malloc was asked for and has not got back. */
struct kept {
    size_t bytes, most;
};

static void *kept_realloc(void *ud, void *ptr, size_t size)
{
    struct kept *kept = ud;
    size_t *old = ptr ? (size_t *)ptr - 2 : NULL, *p;

    kept->bytes -= old ? *old : 0;
    if (!size) {
        free(old);
        return NULL;
    }
    p = realloc(old, size + 2 * sizeof *p);
    ck_assert_ptr_nonnull(p);
    *p = size;
    kept->bytes += size;
    if (kept->bytes > kept->most)
        kept->most = kept->bytes;
    return p + 2;
}

START_TEST(the_memory_of_a_schema_is_what_it_keeps)
{
    static const char *const schemas[] = {
        "true", "{}",
        "{\"enum\":[1,\"two\",[3]],\"$ref\":\"#/$defs/"
        "a\",\"$defs\":{\"a\":{\"required\":[\"x\"]}}}",
        "{\"properties\":{\"a\":{\"pattern\":\"^a{3}$\"},\"b\":{\"pattern\":\"(x|y)+\"}}}"};
    const struct host *h = host_default();

    ck_assert_uint_eq(schema_memory(NULL), 0);
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        struct kept kept = {0};
        struct mem plain, mem;
        struct arena arena;
        struct schema_options o = {.host = h, .mem = &mem};
        struct schema_diag diag;
        struct schema *s;
        char err[128];
        void *a = h->regex_new("^a{3}$", 6, err), *b = h->regex_new("(x|y)+", 6, err);

        mem_init(&plain, NULL, NULL);
        mem_init(&mem, kept_realloc, &kept);
        arena_init(&arena, &plain, 4096);
        ck_assert_int_eq(schema_compile(&s, parse(&arena, schemas[i]), &o, &diag), SCHEMA_OK);
        ck_assert_uint_eq(schema_memory(s),
                          kept.bytes + (i == 3 ? h->regex_size(a) + h->regex_size(b) : 0));
        schema_free(s);
        h->regex_free(a);
        h->regex_free(b);
        arena_fini(&arena);
        ck_assert_uint_eq(kept.bytes, 0);
    }
}
END_TEST

/* None of these is longer than 64 KiB, and each would keep some MiB. */
START_TEST(a_schema_that_would_keep_too_much_is_too_complex)
{
    static const char *const pieces[] = {"{\"pattern\":\"((.)*){50}\"}",
                                         "{\"pattern\":\"([^a]|\\\\S){9}\"}",
                                         "{\"pattern\":\"(((a{9}){9}){9})\"}"};
    struct judged j;

    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char *few = list_of("{\"allOf\":[", pieces[i], 4, "]}");
        char *many = list_of("{\"allOf\":[", pieces[i], 1800, "]}");

        judge(&j, few, NULL, 0);
        ck_assert_int_eq(j.compiled, SCHEMA_OK);
        judged_free(&j);
        judge(&j, many, NULL, 0);
        ck_assert_int_eq(j.compiled, SCHEMA_TOO_COMPLEX);
        ck_assert_str_eq(j.diag.text, "the schema is too complex: it would keep too much");
        judged_free(&j);
        free(few);
        free(many);
    }
}
END_TEST

/* Dense ones of many subschemas, without patterns: below the bound, all of them. */
START_TEST(many_small_subschemas_are_not_too_much)
{
    static const char *const pieces[] = {"{}",
                                         "{\"if\":{}}",
                                         "{\"items\":{}}",
                                         "{\"maximum\":1}",
                                         "{\"minLength\":1}",
                                         "{\"const\":0}",
                                         "{\"required\":[\"a\"]}",
                                         "{\"pattern\":\"^[a-z]+$\"}",
                                         "{\"properties\":{\"a\":{}}}"};

    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char *text = list_of("{\"allOf\":[", pieces[i], 3000, "]}");
        struct judged j;

        judge(&j, text, NULL, 0);
        ck_assert_msg(j.compiled == SCHEMA_OK, "%s: %s", pieces[i], j.diag.text);
        judged_free(&j);
        free(text);
    }
}
END_TEST

/* An enum of so many values that it has a table, of all kinds. */
#define ODD_ENUM                                                                                   \
    "{\"enum\":[null,true,0,\"0\",1.5,\"\",[],{},[1,[2]],{\"a\":1,\"b\":[{}]},1e400,\"x\",\"y\",-" \
    "7,7,[{}],"                                                                                    \
    "\"x\",12345678901234567890123]}"

static const struct {
    const char *value;
    int verdict;
} of_odd_enum[] = {
    {"null", SCHEMA_OK},
    {"true", SCHEMA_OK},
    {"false", SCHEMA_INVALID},
    {"0", SCHEMA_OK},
    {"0.0", SCHEMA_OK},
    {"-0", SCHEMA_OK},
    {"\"0\"", SCHEMA_OK},
    {"1", SCHEMA_INVALID},
    {"15e-1", SCHEMA_OK},
    {"\"\"", SCHEMA_OK},
    {"\"\\u0078\"", SCHEMA_OK},
    {"\"z\"", SCHEMA_INVALID},
    {"[]", SCHEMA_OK},
    {"[[]]", SCHEMA_INVALID},
    {"{}", SCHEMA_OK},
    {"[{}]", SCHEMA_OK},
    {"[1.0,[2e0]]", SCHEMA_OK},
    {"[[2],1]", SCHEMA_INVALID},
    {"{\"b\":[{}],\"a\":1}", SCHEMA_OK},
    {"{\"b\":[{}],\"a\":2}", SCHEMA_INVALID},
    {"{\"b\":[{}],\"c\":1}", SCHEMA_INVALID},
    {"10e399", SCHEMA_OK},
    {"-7.0", SCHEMA_OK},
    {"12345678901234567890123.0", SCHEMA_OK},
    {"12345678901234567890124", SCHEMA_INVALID},
};

START_TEST(a_value_of_a_long_enum_is_found_however_it_is_written)
{
    struct judged j;

    judge(&j, ODD_ENUM, of_odd_enum[_i].value, 10000);
    ck_assert_msg(j.verdict == of_odd_enum[_i].verdict, "%s", of_odd_enum[_i].value);
    judged_free(&j);
}
END_TEST

/* Writes {"k0":0,…} with n members, from the last to the first, one of them with another value. */
static char *object_of(int n, bool backwards, int other)
{
    char *text = malloc((size_t)n * 24 + 3), *p = text;

    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < n; i++) {
        int k = backwards ? n - 1 - i : i;

        p += sprintf(p, "%s\"k%d\":%d", i ? "," : "{", k, k == other ? -1 : k);
    }
    strcpy(p, "}");
    return text;
}

START_TEST(objects_are_equal_in_any_order_at_a_cost_of_their_size)
{
    for (int n = 2; n <= 3000; n = n < 20 ? n + 1 : n * 4) {
        char *constant = object_of(n, false, n), schema[90000];

        snprintf(schema, sizeof schema, "{\"const\":%s}", constant);
        for (int other = n; other >= 0; other -= n - 1 ? n - 1 : 1) {
            for (int backwards = 0; backwards < 2; backwards++) {
                char *value = object_of(n, backwards, other);
                struct judged j;

                judge(&j, schema, value, 100 + 8 * (uint32_t)n);
                ck_assert_int_eq(j.verdict, other == n ? SCHEMA_OK : SCHEMA_INVALID);
                judged_free(&j);
                free(value);
            }
        }
        free(constant);
    }
}
END_TEST

/* As many references as places, each to one of them by a pointer; the last are items. */
START_TEST(pointers_into_large_containers_find_what_they_name)
{
    static char schema[400000];
    char *p = schema + sprintf(schema, "{\"$defs\":{");
    struct judged j;

    for (int i = 0; i < 3000; i++)
        p += sprintf(p, "%s\"d%d\":{\"const\":%d}", i ? "," : "", i, i);
    p += sprintf(p, "},\"examples\":[");
    for (int i = 0; i < 3000; i++)
        p += sprintf(p, "%s{\"const\":%d}", i ? "," : "", i);
    p += sprintf(p, "],\"prefixItems\":[");
    for (int i = 0; i < 3000; i++)
        p +=
            sprintf(p, "%s{\"$ref\":\"#/%s%d\"}", i ? "," : "", i % 2 ? "$defs/d" : "examples/", i);
    strcpy(p, "]}");
    for (int wrong = 0; wrong < 2; wrong++) {
        char value[20000], *v = value;

        for (int i = 0; i < 3000; i++)
            v += sprintf(v, "%c%d", i ? ',' : '[', wrong && i == 2999 ? 0 : i);
        strcpy(v, "]");
        judge(&j, schema, value, 100000);
        ck_assert_msg(j.compiled == SCHEMA_OK, "%s %s", j.diag.path, j.diag.text);
        ck_assert_int_eq(j.verdict, wrong ? SCHEMA_INVALID : SCHEMA_OK);
        judged_free(&j);
    }
    strcpy(strstr(schema, "#/$defs/d2999"), "#/$defs/d3000\"}]}");
    judge(&j, schema, NULL, 0);
    ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
    ck_assert_str_eq(j.diag.text, "cannot resolve \"#/$defs/d3000\"");
    judged_free(&j);
}
END_TEST

START_TEST(a_long_chain_of_references_is_one)
{
    static char schema[100000];
    char *p = schema + sprintf(schema, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    struct judged j;

    for (int i = 0; i < 1800; i++)
        p += sprintf(p, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
    strcpy(p, "\"d1800\":{\"const\":1}}}");
    judge(&j, schema, "1", 10);
    ck_assert_msg(j.compiled == SCHEMA_OK, "%s", j.diag.text);
    ck_assert_int_eq(j.verdict, SCHEMA_OK);
    judged_free(&j);
    judge(&j, schema, "2", 1000);
    ck_assert_int_eq(j.verdict, SCHEMA_INVALID);
    judged_free(&j);
}
END_TEST

START_TEST(dependencies_name_what_is_missing_among_many)
{
    static char schema[200000];
    char *p = schema + sprintf(schema, "{\"dependentRequired\":{");
    struct judged j;

    for (int i = 0; i < 3000; i++)
        p += sprintf(p, "%s\"d%d\":[\"n%d\",\"m\"]", i ? "," : "", i, i);
    strcpy(p, "}}");
    judge(&j, schema, "{\"d2999\":0,\"n2999\":0,\"m\":0,\"n7\":0}", 2000);
    ck_assert_msg(j.compiled == SCHEMA_OK, "%s", j.diag.text);
    ck_assert_int_eq(j.verdict, SCHEMA_OK);
    judged_free(&j);
    judge(&j, schema, "{\"d2999\":0,\"n2998\":0,\"m\":0}", 2000);
    ck_assert_int_eq(j.verdict, SCHEMA_INVALID);
    ck_assert_int_eq(j.report.count, 1);
    ck_assert_str_eq(j.report.errors[0].message,
                     "missing member \"n2999\", which another member requires");
    judged_free(&j);
}
END_TEST

START_TEST(a_name_twice_is_found_in_a_long_list)
{
    static char schema[100000];
    struct judged j;

    for (int twice = 0; twice < 2; twice++) {
        char *p = schema + sprintf(schema, "{\"required\":[");

        for (int i = 0; i < 5000; i++)
            p += sprintf(p, "\"n%d\",", i);
        sprintf(p, "\"n%d\"]}", twice ? 2500 : 5000);
        judge(&j, schema, NULL, 0);
        ck_assert_int_eq(j.compiled, twice ? SCHEMA_INVALID : SCHEMA_OK);
        if (twice)
            ck_assert_str_eq(j.diag.text, "\"n2500\" is there twice");
        judged_free(&j);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema");
    TCase *t = tcase_create("schema");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, an_error_names_place_keyword_and_reason, 0,
                        sizeof errors / sizeof errors[0]);
    tcase_add_loop_test(t, numbers_are_compared_exactly, 0, sizeof numbers / sizeof numbers[0]);
    tcase_add_loop_test(t, a_schema_that_is_none_is_refused_with_its_place, 0,
                        sizeof refused / sizeof refused[0]);
    tcase_add_loop_test(t, what_leads_to_itself_for_the_same_value_is_refused, 0,
                        sizeof loops / sizeof loops[0]);
    tcase_add_loop_test(t, what_would_not_end_is_too_complex_or_refused, 0,
                        sizeof endless / sizeof endless[0]);
    tcase_add_test(t, a_deep_value_fits_a_small_stack);
    tcase_add_test(t, a_report_is_bounded);
    tcase_add_test(t, the_memory_of_a_schema_is_what_it_keeps);
    tcase_add_test(t, a_schema_that_would_keep_too_much_is_too_complex);
    tcase_add_test(t, many_small_subschemas_are_not_too_much);
    tcase_add_loop_test(t, a_value_of_a_long_enum_is_found_however_it_is_written, 0,
                        sizeof of_odd_enum / sizeof of_odd_enum[0]);
    tcase_add_test(t, objects_are_equal_in_any_order_at_a_cost_of_their_size);
    tcase_add_test(t, pointers_into_large_containers_find_what_they_name);
    tcase_add_test(t, a_long_chain_of_references_is_one);
    tcase_add_test(t, dependencies_name_what_is_missing_among_many);
    tcase_add_test(t, a_name_twice_is_found_in_a_long_list);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
