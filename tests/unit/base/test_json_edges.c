/* JSON that ends in the middle of something, at each place where a count looks ahead. Every text lies in a block of exactly
 * its size, so that the sanitizer sees a byte too far. */
#include "base/json.h"
#include "support/suite.h"

#include <alknet/alknet.h>
#include <alknet/yyjson.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *exact(const char *text)
{
    char *copy = malloc(strlen(text));

    ck_assert_ptr_nonnull(copy);
    return memcpy(copy, text, strlen(text));
}

/* The status of a text that may have so many values. */
static int status_of(const char *text, uint32_t values)
{
    const struct json_limits limits = {100, values};
    size_t len = strlen(text);
    char *copy = malloc(len + JSON_PADDING);
    yyjson_doc *doc;
    struct json_error err;
    int rc;

    memcpy(copy, text, len);
    rc = json_parse(copy, len, &limits, NULL, &doc, &err);
    if (!rc)
        yyjson_doc_free(doc);
    free(copy);
    return rc;
}

START_TEST(values_are_counted_up_to_an_end_that_comes_too_soon)
{
    static const struct {
        const char *text;
        uint32_t values;
        int status;
    } rows[] = {
        {"[1,2]", 2, JSON_EVALUES},        {"[1,2]", 3, JSON_OK},
        {"[\"abcdefgh\"]", 2, JSON_OK},    {"[\"abcdefgh", 2, JSON_ESYNTAX},
        {"[\"abcdefg\\", 2, JSON_ESYNTAX}, {"[\"a,b,c,d,e,f", 2, JSON_ESYNTAX},
        {"\"abc\",[", 3, JSON_ESYNTAX},    {"\"abc\",[ ", 3, JSON_ESYNTAX},
        {"[ \t\r\n 1 ]", 2, JSON_OK},      {"[ \t\r\n 1 ]", 1, JSON_EVALUES},
        {"[ \t\r\n ]", 1, JSON_OK},        {"{ \t\r\n }", 1, JSON_OK},
        {"{\"a\":[]}", 3, JSON_OK},        {"{\"a\":[]}", 2, JSON_EVALUES},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(status_of(rows[i].text, rows[i].values) == rows[i].status, "%s: %d",
                      rows[i].text, status_of(rows[i].text, rows[i].values));
}
END_TEST

/* The count before the parsing is never below that of the parser. */
START_TEST(no_text_has_more_values_than_are_counted)
{
    static const char pieces[] = "[]{},:\"1 a";
    unsigned seed = 1;

    for (int round = 0; round < 200000; round++) {
        char text[12];
        size_t len = 1 + (size_t)round % 10;
        yyjson_doc *doc;

        for (size_t i = 0; i < len; i++) {
            seed = seed * 1103515245u + 12345u;
            text[i] = pieces[(seed >> 16) % (sizeof pieces - 1)];
        }
        text[len] = 0;
        doc = yyjson_read(text, len, 0);
        if (doc && yyjson_doc_get_val_count(doc) > 1)
            ck_assert_msg(status_of(text, (uint32_t)yyjson_doc_get_val_count(doc) - 1) ==
                              JSON_EVALUES,
                          "%s", text);
        yyjson_doc_free(doc);
    }
}
END_TEST

/* Strings are passed by words: their end, and an escape, may be at each place of one. */
START_TEST(what_stands_in_a_string_is_no_value)
{
    static const char *const escapes[] = {"", "\\\"", "\\\\", "\\\\\\\""};
    char text[200];

    for (size_t e = 0; e < 4; e++) {
        for (int before = 0; before < 20; before++) {
            for (int behind = 0; behind < 20; behind++) {
                snprintf(text, sizeof text, "[\"%.*s%s%.*s\",\"%.*s\",1]", before,
                         ",,,,,,,,[[[[,,,,::::", escapes[e], behind, ",:,:,:[,{,:,:,,,,,,,",
                         60 - before - behind,
                         ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,");
                ck_assert_msg(status_of(text, 4) == JSON_OK, "%s", text);
                ck_assert_msg(status_of(text, 3) == JSON_EVALUES, "%s", text);
            }
        }
    }
}
END_TEST

START_TEST(no_byte_behind_the_text_is_looked_at)
{
    static const struct {
        const char *text;
        bool fits, compact;
    } rows[] = {
        {"[[[[[[[[]]]]]]]]", false, true}, {"\"[[[[[[[[[[[[", true, true},
        {"\"[[[[[[[[[[[\\", true, true},   {"\"a b c d e f", true, true},
        {"\"a b c d e \\", true, true},    {"[1, 2, 3, 4]", false, false},
        {"[1,2]       ", true, false},
    };
    const struct json_limits limits = {3, 4};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = exact(rows[i].text);
        size_t len = strlen(rows[i].text);

        ck_assert_msg(json_fits(text, len, &limits) == rows[i].fits, "%s", rows[i].text);
        ck_assert_msg(json_compact(text, len) == rows[i].compact, "%s", rows[i].text);
        free(text);
    }
}
END_TEST

/* Where the sanitizer's allocator would end the process. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

START_TEST(a_length_that_no_memory_has_is_out_of_memory)
{
    static const size_t lengths[] = {SIZE_MAX, SIZE_MAX - JSON_PADDING, SIZE_MAX / 2};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char why[100] = "";

        ck_assert_ptr_null(alk_json_read("1", lengths[i], 10, 10, why, sizeof why));
        ck_assert_str_eq(why, "out of memory");
    }
}
END_TEST

START_TEST(a_failure_has_a_code)
{
    ck_assert_int_eq(json_err(JSON_ENOMEM), ALK_ENOMEM);
    ck_assert_int_eq(json_err(JSON_ESYNTAX), ALK_EJSON);
    ck_assert_int_eq(json_err(JSON_EDUPLICATE), ALK_EJSON);
}
END_TEST

START_TEST(what_is_not_there_has_no_unknown_member)
{
    static const char *const known[] = {"a", NULL};

    ck_assert_ptr_null(json_unknown_member(NULL, known));
}
END_TEST

MAIN("json_edges", values_are_counted_up_to_an_end_that_comes_too_soon,
     no_text_has_more_values_than_are_counted, what_stands_in_a_string_is_no_value,
     no_byte_behind_the_text_is_looked_at, a_length_that_no_memory_has_is_out_of_memory,
     a_failure_has_a_code, what_is_not_there_has_no_unknown_member)
