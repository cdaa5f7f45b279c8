/* Names of properties: those of ECMA-262 and no others, each standing for what Unicode says. */
#include "base/host.h"

#include "support/suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define EFFORT 200000u
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static int verdict(const char *pattern, const char *subject)
{
    char err[128] = "";
    void *re = host_default()->regex_new(pattern, strlen(pattern), err);
    int rc;

    ck_assert_msg(re != NULL, "%s: %s", pattern, err);
    rc = host_default()->regex_match(re, subject, strlen(subject), EFFORT);
    host_default()->regex_free(re);
    return rc;
}

static const struct {
    const char *name, *has, *has_not;
} properties[] = {
    {"Any", "a", NULL},
    {"ASCII", "\x7f", "\xc2\x80"},
    {"Assigned", "a", "\xcd\xb8"},
    {"Lu", "A", "a"},
    {"Uppercase_Letter", "A", "a"},
    {"LC", "a", "1"},
    {"punct", ".", "a"},
    {"General_Category=Nd", "7", "a"},
    {"gc=Decimal_Number", "7", "a"},
    {"Script=Latin", "a", "α"},
    {"sc=Greek", "α", "a"},
    {"Script_Extensions=Hiragana", "あ", "a"},
    {"scx=Han", "日", "a"},
    {"sc=Old_Italic", "𐌀", "a"},
    {"sc=SignWriting", "𝠀", "a"},
    {"Alphabetic", "a", "1"},
    {"White_Space", " ", "a"},
    {"XIDS", "a", "1"},
};

START_TEST(a_property_has_its_characters_alone_negated_and_in_classes)
{
    static const struct {
        const char *form;
        bool positive;
    } forms[] = {
        {"^\\p{%s}$", true}, {"^\\P{%s}$", false}, {"^[\\p{%s}]$", true}, {"^[\\P{%s}]$", false}};
    const char *has = properties[_i].has, *has_not = properties[_i].has_not;
    char pattern[80];

    for (size_t i = 0; i < COUNT(forms); i++) {
        int in = forms[i].positive ? HOST_REGEX_YES : HOST_REGEX_NO;
        int out = forms[i].positive ? HOST_REGEX_NO : HOST_REGEX_YES;

        snprintf(pattern, sizeof pattern, forms[i].form, properties[_i].name);
        ck_assert_msg(verdict(pattern, has) == in, "%s against %s", pattern, has);
        if (has_not)
            ck_assert_msg(verdict(pattern, has_not) == out, "%s against %s", pattern, has_not);
    }
}
END_TEST

static const char *const strange[] = {
    "",
    "Nope",
    "any",
    "lu",
    "Lu ",
    "uppercase_letter",
    "L&",
    "Greek",
    "Xan",
    "gc=Nope",
    "gc=",
    "General_Category=lu",
    "sc=greek",
    "sc=GREEK",
    "sc=Gr33k",
    "sc=Gre~k",
    "sc=Old_",
    "sc=Old__Italic",
    "sc=",
    "sc=Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Script=Nope",
    "scx=Nope",
    "Block=Greek",
    "=Greek",
};

START_TEST(a_name_that_ecma_262_has_not_is_refused)
{
    char pattern[80], err[128] = "";

    snprintf(pattern, sizeof pattern, "\\p{%s}", strange[_i]);
    ck_assert_msg(!host_default()->regex_new(pattern, strlen(pattern), err), "%s", pattern);
    ck_assert_msg(strstr(err, "unknown property"), "%s: %s", pattern, err);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("regex_names");
    TCase *t = tcase_create("regex_names");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_property_has_its_characters_alone_negated_and_in_classes, 0,
                        COUNT(properties));
    tcase_add_loop_test(t, a_name_that_ecma_262_has_not_is_refused, 0, COUNT(strange));
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
