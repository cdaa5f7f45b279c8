/* The translation of patterns: each construct of ECMA-262 with the u flag by what it matches, and each mistake by what is
 * said about it and where. */
#include "base/host.h"

#include "support/suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define EFFORT 200000u
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void *compiled(const char *pattern, size_t len)
{
    char err[128] = "";
    void *re = host_default()->regex_new(pattern, len, err);

    ck_assert_msg(re != NULL, "%.80s: %s", pattern, err);
    return re;
}

static void expect_match(const char *pattern, const char *subject, bool wanted)
{
    void *re = compiled(pattern, strlen(pattern));
    int verdict = host_default()->regex_match(re, subject, strlen(subject), EFFORT);

    ck_assert_msg(verdict == (wanted ? HOST_REGEX_YES : HOST_REGEX_NO),
                  "%.80s against \"%.80s\": %d", pattern, subject, verdict);
    host_default()->regex_free(re);
}

static void expect_refusal(const char *pattern, size_t len, const char *why)
{
    char err[128] = "";
    void *re = host_default()->regex_new(pattern, len, err);

    ck_assert_msg(!re, "%.80s is taken", pattern);
    ck_assert_msg(!strcmp(err, why), "%.80s: %s", pattern, err);
}

struct row {
    const char *pattern, *yes, *no; /* NULL: none */
};

static void expect_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].yes)
            expect_match(rows[i].pattern, rows[i].yes, true);
        if (rows[i].no)
            expect_match(rows[i].pattern, rows[i].no, false);
    }
}

START_TEST(characters_stand_for_themselves)
{
    static const struct row rows[] = {
        {"^ä€😀$", "ä€😀", "ä€"},
        {"^[ä€😀]+$", "😀€ä", "a"},
        {"^[!-~]+$", "a]^-[.:=\\", " "},
        {"^[a.:=^-]+$", ".:=^-a", "b"},
        {"^[[.a.]+$", "[.a", "x"},
        {"^[[:alph:]+$", "[:a", "q"},
        {"a-b:=", "a-b:=", "ab"},
        {"^[a-]+$", "a-", "b"},
        {"^[-a]+$", "a-", "b"},
        {"^[\\ud7ff-\\ue000]$", "\xed\x9f\xbf", "a"},
        {"^[\\ud800-\\ue000]$", "\xee\x80\x80", "\xed\x9f\xbf"},
        {"^[\\ud7ff-\\udfff]$", "\xed\x9f\xbf", "\xee\x80\x80"},
        {"^[\\ud800-\\udfffx]$", "x", "\xee\x80\x80"},
    };

    expect_rows(rows, COUNT(rows));
}
END_TEST

START_TEST(escapes_are_those_of_ecma_262)
{
    static const struct row rows[] = {
        {"^\\t\\n\\v\\f\\r$", "\t\n\v\f\r", "tnvfr"},
        {"^\\x41\\u0042\\u{43}\\u{000044}$", "ABCD", "abcd"},
        {"^\\u20ac$", "€", "\\u20ac"},
        {"^\\uD83D\\uDE00$", "😀", "\xee\x80\x80"},
        {"^\\cj\\cZ\\cA$", "\n\x1a\x01", "jZA"},
        {"^\\^\\$\\\\\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\/$", "^$\\.*+?()[]{}|/", "^"},
        {"^[\\-\\]\\^\\b\\cA\\x41]+$",
         "-]^\b\x01"
         "A",
         "B"},
        /* A surrogate without its other half is a character that no subject has. */
        {"^\\uD83D$", NULL, "\xef\xbf\xbd"},
        {"\\uD83D\\u0041", NULL, "A"},
        {"\\uD83D\\uE000", NULL, "\xee\x80\x80"},
        {"\\uDE00x", NULL, "x"},
        {"^\\uD83D?x$", "x", "?x"},
        {"\\bfoo\\b", "a foo b", "afoob"},
        {"\\Boo\\B", "fooa", "foo"},
        {"^\\D\\S\\W$", "xx-", "1x-"},
        {"^[\\D]$", "x", "1"},
        {"^[\\S\\d]+$", "x1", " "},
        {"^[^\\S]$", " ", "x"},
        {"^[\\w-]+$", "a_9-", "+"},
        {"^[\\W]$", "+", "a"},
        {"^[\\s\\p{Lu}]+$", "A B", "a"},
        {"^[\\P{Lu}]+$", "a", "A"},
    };

    expect_rows(rows, COUNT(rows));
}
END_TEST

START_TEST(a_nul_is_a_character_of_pattern_and_subject)
{
    static const struct {
        const char *pattern;
        size_t len;
    } rows[] = {{"^\\0$", 4},  {"^[\\0]$", 6},   {"^\0$", 3},
                {"^[\0]$", 5}, {"^\\u0000$", 8}, {"^\\x00$", 6}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        void *re = compiled(rows[i].pattern, rows[i].len);

        ck_assert_int_eq(host_default()->regex_match(re, "", 1, EFFORT), HOST_REGEX_YES);
        ck_assert_int_eq(host_default()->regex_match(re, "0", 1, EFFORT), HOST_REGEX_NO);
        host_default()->regex_free(re);
    }
}
END_TEST

START_TEST(groups_and_references_are_those_of_ecma_262)
{
    static const struct row rows[] = {
        {"^(a)(?:b)(?=c)c(?!d)$", "abc", "abcd"},
        {"^(?<$_a1Zé>x)\\k<$_a1Zé>$", "xx", "x"},
        {"^(?<a>x)(?<b>y)\\k<b>\\2\\1$", "xyyyx", "xyxyx"},
        {"^\\k<later>(?<later>a)$", "a", "aa"},
        {"^(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\\10$", "abcdefghijj", "abcdefghija0"},
        {"^(a)\\1{2}$", "aaa", "aa"},
        {"^[(?<]a$", "(a", "a"},
        {"^(?:a|b)*?c", "abc", "abd"},
        {"^a{2}$", "aa", "aaa"},
        {"^a{2,}?$", "aaa", "a"},
        {"^a{0}$", "", "a"},
        {"^(?:a{3}b{2})$", "aaabb", "aabb"},
        {".*", "", NULL},
        {".*x", "ax", "a"},
        {"^[^]..$", "\nä😀", "ä\n\xe2\x80\xa8"},
        {".*?x|y", "y", "a"},
        {"x|.*y", "ay", "a"},
        {"(?<!a)b|(?<=c)d", "cd", "ab"},
    };

    expect_rows(rows, COUNT(rows));
}
END_TEST

static const struct {
    const char *pattern, *why;
} mistakes[] = {
    {"\\", "the pattern ends in a backslash at byte 0"},
    {"ab\\", "the pattern ends in a backslash at byte 2"},
    {"\\u12", "incomplete \\u escape at byte 0"},
    {"a\\u{}", "incomplete \\u escape at byte 1"},
    {"\\uD83D\\u00", "incomplete \\u escape at byte 6"},
    {"\\u{12", "incomplete \\u escape at byte 0"},
    {"\\u{12x}", "incomplete \\u escape at byte 0"},
    {"\\u{110000}", "code point above 10FFFF at byte 0"},
    {"\\x1", "\\x needs two hexadecimal digits at byte 0"},
    {"\\c", "\\c needs a letter at byte 0"},
    {"\\c1", "\\c needs a letter at byte 0"},
    {"\\c[", "\\c needs a letter at byte 0"},
    {"\\c{", "\\c needs a letter at byte 0"},
    {"\\00", "unknown escape \\0 at byte 0"},
    {"\\q", "unknown escape \\q at byte 0"},
    {"\\-", "unknown escape \\- at byte 0"},
    {"\\é", "unknown escape at byte 0"},
    {"\\ ", "unknown escape at byte 0"},
    {"\\p", "incomplete property escape at byte 0"},
    {"\\pL", "incomplete property escape at byte 0"},
    {"\\p{L", "incomplete property escape at byte 0"},
    {"\\p{Word_and_word_and_word_and_word_and_word_and_word_and_word}",
     "unknown property \"Word_and_word_and_word_and_word_and_word_and_wor\" at byte 0"},
    {"[\\p{Nope}]", "unknown property \"Nope\" at byte 1"},
    {"[a", "unterminated character class at byte 0"},
    {"[", "unterminated character class at byte 0"},
    {"[a-", "unterminated character class at byte 0"},
    {"[\\", "the pattern ends in a backslash at byte 1"},
    {"[\\q]", "unknown escape \\q at byte 1"},
    {"[a-\\q]", "unknown escape \\q at byte 3"},
    {"[b-a]", "range out of order at byte 1"},
    {"[\\d-z]", "a range needs single characters at byte 1"},
    {"[a-\\d]", "a range needs single characters at byte 1"},
    {"a{", "lone { at byte 1"},
    {"a{x}", "lone { at byte 1"},
    {"a{1", "incomplete quantifier at byte 1"},
    {"a{1,", "incomplete quantifier at byte 1"},
    {"a{2,1}", "quantifier out of order at byte 1"},
    {"a{65536}", "quantifier above 65535 at byte 1"},
    {"a{1,65536}", "quantifier above 65535 at byte 1"},
    {"a{99999999999999999999}", "quantifier above 65535 at byte 1"},
    {"]", "lone ] at byte 0"},
    {"}", "lone } at byte 0"},
    {"{", "lone { at byte 0"},
    {"*", "nothing to repeat at byte 0"},
    {"a|+", "nothing to repeat at byte 2"},
    {"^?", "nothing to repeat at byte 1"},
    {"(?=a)*", "nothing to repeat at byte 5"},
    {"(", "unclosed group at byte 1"},
    {"a)", "unmatched ) at byte 1"},
    {"(?>a)", "unknown kind of group at byte 0"},
    {"(?", "unknown kind of group at byte 0"},
    {"(?<", "incomplete name of a group at byte 3"},
    {"(?<>a)", "incomplete name of a group at byte 3"},
    {"(?<a", "incomplete name of a group at byte 3"},
    {"(?<1a>x)", "unexpected character in a group's name at byte 3"},
    {"(?<a->x)", "unexpected character in a group's name at byte 4"},
    {"(?<a{>x)", "unexpected character in a group's name at byte 4"},
    {"(?<a\x80>x)", "not UTF-8 at byte 4"},
    {"(?<a>x)(?<b>y)(?<a>z)", "a group's name is used twice at byte 14"},
    {"\\1", "reference to a group that does not exist at byte 0"},
    {"(a)\\2", "reference to a group that does not exist at byte 3"},
    {"(?<a>x)\\k<b>", "reference to a group that does not exist at byte 7"},
    {"(?<a>x)\\k", "\\k needs a group's name at byte 7"},
    {"(?<a>x)\\k<a", "incomplete name of a group at byte 10"},
    {"a\x80", "not UTF-8 at byte 1"},
    {"\xc1\x81", "not UTF-8 at byte 0"},
    {"\xe2\x82", "not UTF-8 at byte 0"},
    {"\xc3(", "not UTF-8 at byte 0"},
    {"\xe0\x80\x80", "not UTF-8 at byte 0"},
    {"\xed\xa0\x80", "not UTF-8 at byte 0"},
    {"\xf0\x80\x80\x80", "not UTF-8 at byte 0"},
    {"\xf4\x90\x80\x80", "not UTF-8 at byte 0"},
    {"\xf5\x80\x80\x80", "not UTF-8 at byte 0"},
    {"[\xff]", "not UTF-8 at byte 1"},
};

START_TEST(a_mistake_is_named_with_its_place)
{
    for (size_t i = 0; i < COUNT(mistakes); i++)
        expect_refusal(mistakes[i].pattern, strlen(mistakes[i].pattern), mistakes[i].why);
    expect_refusal("a\\\0", 3, "unknown escape at byte 1");
}
END_TEST

/* n times what is given, and something behind it. */
static const char *times(int n, const char *what, const char *behind)
{
    static char text[20000];
    size_t len = 0;

    while (n--)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s", what);
    snprintf(text + len, sizeof text - len, "%s", behind);
    return text;
}

START_TEST(groups_nesting_and_length_have_limits)
{
    const char *deep;

    expect_match(times(200, "()", "x"), "x", true);
    deep = times(201, "()", "");
    expect_refusal(deep, strlen(deep), "more than 200 capturing groups at byte 400");
    deep = times(64, "(?:", "");
    expect_refusal(deep, strlen(deep), "unclosed group at byte 192");
    deep = times(65, "(?:", "");
    expect_refusal(deep, strlen(deep), "groups nested deeper than 64 at byte 192");
    deep = times(16383, "[", "]");
    expect_match(deep, "[", true);
    deep = times(16385, "a", "");
    expect_refusal(deep, strlen(deep), "the pattern is too long");
    deep = "(((a{9}){9}){9}){9}";
    expect_refusal(deep, strlen(deep), "the pattern's repeated groups are too large");
}
END_TEST

MAIN("regex_ecma", characters_stand_for_themselves, escapes_are_those_of_ecma_262,
     a_nul_is_a_character_of_pattern_and_subject, groups_and_references_are_those_of_ecma_262,
     a_mistake_is_named_with_its_place, groups_nesting_and_length_have_limits)
