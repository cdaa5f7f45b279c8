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
    tcase_add_loop_test(t, what_would_not_end_is_too_complex_or_refused, 0,
                        sizeof endless / sizeof endless[0]);
    tcase_add_test(t, a_deep_value_fits_a_small_stack);
    tcase_add_test(t, a_report_is_bounded);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
