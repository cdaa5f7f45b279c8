/* uniqueItems of long arrays: every kind of item is found again, and nothing else is taken for it. */
#include "judge.h"

#include "support/suite.h"

/* 20 items that differ, and one more. */
#define TWENTY                                                                                     \
    "null,true,false,0,1,-1,1.5,12345678901234567890123,\"\",\"a\",\"eight by\",\"nine byte\","    \
    "\"nine bytf\",[],[1],[[1]],{},{\"a\":1},{\"a\":1,\"b\":[2]},{\"b\":1}"

static const struct {
    const char *item, *message; /* NULL: it is none of them */
} rows[] = {
    {"2", NULL},
    {"\"eight bz\"", NULL},
    {"\"\\u0000\"", NULL},
    {"[1,1]", NULL},
    {"[null]", NULL},
    {"{\"a\":[2],\"b\":1}", NULL},
    {"12345678901234567890124", NULL},
    {"\"1\"", NULL},
    {"null", "items 0 and 20 are equal"},
    {"false", "items 2 and 20 are equal"},
    {"0.0", "items 3 and 20 are equal"},
    {"10e-1", "items 4 and 20 are equal"},
    {"15e-1", "items 6 and 20 are equal"},
    {"12345678901234567890123.0", "items 7 and 20 are equal"},
    {"\"\"", "items 8 and 20 are equal"},
    {"\"eight by\"", "items 10 and 20 are equal"},
    {"\"nine byt\\u0065\"", "items 11 and 20 are equal"},
    {"[]", "items 13 and 20 are equal"},
    {"[[1.0]]", "items 15 and 20 are equal"},
    {"{}", "items 16 and 20 are equal"},
    {"{\"b\":[2.0],\"a\":1}", "items 18 and 20 are equal"},
};

START_TEST(an_item_of_a_long_array_is_found_again_by_its_value)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judged j;
        char value[400];

        snprintf(value, sizeof value, "[" TWENTY ",%s]", rows[i].item);
        judge(&j, "{\"uniqueItems\":true}", value, 10000);
        ck_assert_msg(j.verdict == (rows[i].message ? SCHEMA_INVALID : SCHEMA_OK), "%s",
                      rows[i].item);
        if (rows[i].message) {
            ck_assert_int_eq(j.report.count, 1);
            ck_assert_str_eq(j.report.errors[0].message, rows[i].message);
        }
        judged_free(&j);
    }
}
END_TEST

START_TEST(a_second_long_array_has_a_clean_table)
{
    struct judged j;

    judge(&j, "{\"items\":{\"uniqueItems\":true}}", "[[" TWENTY "],[" TWENTY "],[[" TWENTY "],0]]",
          10000);
    ck_assert_int_eq(j.verdict, SCHEMA_OK);
    judged_free(&j);
}
END_TEST

MAIN("unique", an_item_of_a_long_array_is_found_again_by_its_value,
     a_second_long_array_has_a_clean_table)
