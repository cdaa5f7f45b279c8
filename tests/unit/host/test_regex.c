/* Patterns are ECMA-262 with the u flag: what they match, what they refuse, and that no pattern costs more than it may. */
#include "base/host.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define EFFORT 200000u

static const struct {
    const char *pattern, *subject;
    int verdict;
} matches[] = {
    {"^\\d+$", "123", 1},
    {"^\\d+$", "12a", 0},
    {"^\\d$", "٣", 0}, /* ASCII only */
    {"^\\w+$", "é", 0},
    {"^\\s$", "\xC2\xA0", 1},
    {"^\\s$", "\xEF\xBB\xBF", 1},
    {"^.$", "😀", 1},
    {"^.$", "\n", 0},
    {"^[^]$", "\n", 1},
    {"[]", "x", 0},
    {"a$", "a\n", 0},
    {"^\\p{Letter}+$", "straße", 1},
    {"^\\p{L}+$", "日本", 1},
    {"^\\p{Script=Greek}+$", "αβγ", 1},
    {"^\\P{Lu}$", "A", 0},
    {"^\\u{1F600}$", "😀", 1},
    {"^\\uD83D\\uDE00$", "😀", 1},
    {"^\\cA$", "\x01", 1},
    {"(?<y>\\d)\\k<y>", "11", 1},
    {"(?<=a)b", "ab", 1},
    {"(?<!a)b", "ab", 0},
    {"^(?:a|b){2,3}?$", "aba", 1},
    {"(a)|\\1b", "b", 1}, /* an unset group is empty */
    {"", "anything", 1},
};

START_TEST(a_pattern_matches_as_ecma_262_says)
{
    const struct host *h = host_default();
    char err[128];
    void *re = h->regex_new(matches[_i].pattern, strlen(matches[_i].pattern), err);

    ck_assert_msg(re != NULL, "%s: %s", matches[_i].pattern, err);
    ck_assert_msg(h->regex_match(re, matches[_i].subject, strlen(matches[_i].subject), EFFORT) ==
                      matches[_i].verdict,
                  "%s against %s", matches[_i].pattern, matches[_i].subject);
    h->regex_free(re);
}
END_TEST

static const char *const refused[] = {
    "(?i)a",
    "(*ACCEPT)a",
    "\\Qa\\E",
    "a++",
    "a?+",
    "\\A",
    "\\z",
    "\\K",
    "(?R)",
    "(?#c)",
    "(",
    "a)",
    "[b-a]",
    "{1}",
    "a{2,1}",
    "\\p{Nope}",
    "\\u{110000}",
    "\\k<none>",
    "(?<a>x)(?<a>y)",
    "\\-",
};

START_TEST(what_ecma_262_has_not_is_refused)
{
    char err[128] = "";

    ck_assert_msg(!host_default()->regex_new(refused[_i], strlen(refused[_i]), err), "%s",
                  refused[_i]);
    ck_assert_uint_gt(strlen(err), 3);
}
END_TEST

/* Translated, each of its items has 37 bytes. */
START_TEST(a_pattern_that_is_long_when_translated_is_refused)
{
    char pattern[2 * 4000], err[128];

    for (size_t i = 0; i < sizeof pattern; i += 2)
        memcpy(pattern + i, "\\S", 2);
    ck_assert_ptr_null(host_default()->regex_new(pattern, sizeof pattern, err));
    ck_assert_str_eq(err, "the pattern is too long");
}
END_TEST

START_TEST(the_size_of_a_pattern_is_that_of_its_code)
{
    const struct host *h = host_default();
    char err[128];
    void *small = h->regex_new("a", 1, err), *large = h->regex_new("((.)*){50}", 10, err);

    ck_assert_uint_ge(h->regex_size(small), 64);
    ck_assert_uint_le(h->regex_size(small), 512);
    ck_assert_uint_ge(h->regex_size(large), 2048);
    h->regex_free(small);
    h->regex_free(large);
}
END_TEST

static const char *const costly[] = {"^(a+)+$", "^(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$"};

START_TEST(a_catastrophic_pattern_is_too_complex)
{
    const struct host *h = host_default();
    char err[128], subject[64];
    void *re = h->regex_new(costly[_i], strlen(costly[_i]), err);

    memset(subject, strchr(costly[_i], 'x') ? 'x' : 'a', 48);
    subject[48] = '!';
    ck_assert_ptr_nonnull(re);
    ck_assert_int_eq(h->regex_match(re, subject, 49, EFFORT), HOST_REGEX_TOO_COMPLEX);
    h->regex_free(re);
}
END_TEST

START_TEST(sha256_is_what_the_standard_says)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t out[32], a[32], b[32];

    host_default()->sha256("abc", 3, out);
    ck_assert_mem_eq(out, abc, 32);
    ck_assert_int_eq(host_default()->random(a, 32), 0);
    ck_assert_int_eq(host_default()->random(b, 32), 0);
    ck_assert_mem_ne(a, b, 32);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("regex");
    TCase *t = tcase_create("regex");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_pattern_matches_as_ecma_262_says, 0,
                        sizeof matches / sizeof matches[0]);
    tcase_add_test(t, a_pattern_that_is_long_when_translated_is_refused);
    tcase_add_test(t, the_size_of_a_pattern_is_that_of_its_code);
    tcase_add_loop_test(t, what_ecma_262_has_not_is_refused, 0, sizeof refused / sizeof refused[0]);
    tcase_add_loop_test(t, a_catastrophic_pattern_is_too_complex, 0,
                        sizeof costly / sizeof costly[0]);
    tcase_add_test(t, sha256_is_what_the_standard_says);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
