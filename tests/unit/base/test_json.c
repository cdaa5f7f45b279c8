/* Reading JSON from strangers: what is exact, what is refused and with which words, and where the
 * limits lie. */
#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "support/memory.h"
#include "support/suite.h"

#include <alknet/yyjson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct json_limits usual = {128, 1000000};

struct parse {
    struct memory memory;
    struct mem mem;
    struct arena arena;
    yyjson_doc *doc;
    struct json_error err;
    int rc;
};

static void parse_with(struct parse *p, const char *text, size_t len,
                       const struct json_limits *limits, long fail_in)
{
    yyjson_alc alc;
    char *copy;

    memset(p, 0, sizeof *p);
    p->memory.fail_in = fail_in;
    mem_init(&p->mem, memory_realloc, &p->memory);
    arena_init(&p->arena, &p->mem, 256);
    alc = arena_alc(&p->arena);
    /* Of its own, so that a byte read or written behind the padding is seen. */
    copy = malloc(len + JSON_PADDING);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, len);
    memset(copy + len, 'x', JSON_PADDING);
    p->rc = json_parse(copy, len, limits, &alc, &p->doc, &p->err);
    ck_assert_int_eq(p->doc != NULL, p->rc == JSON_OK);
    ck_assert(json_parse(copy, 0, limits, &alc, &p->doc, NULL) || !len);
    free(copy);
}

static void parse_fini(struct parse *p)
{
    arena_fini(&p->arena);
    ck_assert_uint_eq(p->memory.live, 0);
}

/* The parsed document stays valid: the copy lives as long as p. */
static yyjson_val *parsed(struct parse *p, const char *text)
{
    yyjson_alc alc;
    char *copy;

    memset(p, 0, sizeof *p);
    mem_init(&p->mem, memory_realloc, &p->memory);
    arena_init(&p->arena, &p->mem, 256);
    alc = arena_alc(&p->arena);
    copy = arena_alloc(&p->arena, strlen(text) + JSON_PADDING);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, strlen(text));
    p->rc = json_parse(copy, strlen(text), &usual, &alc, &p->doc, &p->err);
    ck_assert_msg(p->rc == JSON_OK, "%s: %s", text, p->err.text);
    return yyjson_doc_get_root(p->doc);
}

static int status_of(const char *text, const struct json_limits *limits)
{
    struct parse p;

    parse_with(&p, text, strlen(text), limits, 0);
    parse_fini(&p);
    return p.rc;
}

static const char *error_of(const char *text)
{
    static struct parse p;

    parse_with(&p, text, strlen(text), &usual, 0);
    ck_assert_int_ne(p.rc, JSON_OK);
    parse_fini(&p);
    return p.err.text;
}

/* ---- what is exact --------------------------------------------------------------------------- */

START_TEST(integers_of_64_bits_are_integers_and_all_others_keep_their_text)
{
    static const struct {
        const char *text;
        char kind; /* u, s, r */
    } cases[] = {
        {"0", 'u'},
        {"1", 'u'},
        {"-1", 's'},
        {"9007199254740993", 'u'},
        {"9223372036854775807", 'u'},
        {"9223372036854775808", 'u'},
        {"18446744073709551615", 'u'},
        {"18446744073709551616", 'r'},
        {"18446744073709551620", 'r'},
        {"99999999999999999999", 'r'},
        {"-9223372036854775808", 's'},
        {"-9223372036854775809", 'r'},
        {"-18446744073709551615", 'r'},
        {"123456789012345678901234567890", 'r'},
        {"-0", 'r'},
        {"-0.0", 'r'},
        {"1.0", 'r'},
        {"1.10", 'r'},
        {"1e2", 'r'},
        {"1E+2", 'r'},
        {"1e400", 'r'},
        {"0.1e-999999", 'r'},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parse p;
        yyjson_val *v = parsed(&p, cases[i].text);
        char *back = yyjson_val_write(v, 0, NULL);

        ck_assert_str_eq(back, cases[i].text);
        ck_assert_int_eq(yyjson_is_raw(v)    ? 'r'
                         : yyjson_is_uint(v) ? 'u'
                         : yyjson_is_sint(v) ? 's'
                                             : '?',
                         cases[i].kind);
        ck_assert(json_is_number(v));
        free(back);
        parse_fini(&p);
    }
}
END_TEST

START_TEST(integers_have_the_value_that_was_written)
{
    struct parse p;
    yyjson_val *v =
        parsed(&p, "[18446744073709551615,-9223372036854775808,-9223372036854775807,7]");

    ck_assert_uint_eq(yyjson_get_uint(yyjson_arr_get(v, 0)), UINT64_MAX);
    ck_assert_int_eq(yyjson_get_sint(yyjson_arr_get(v, 1)), INT64_MIN);
    ck_assert_int_eq(yyjson_get_sint(yyjson_arr_get(v, 2)), INT64_MIN + 1);
    ck_assert_uint_eq(yyjson_get_uint(yyjson_arr_get(v, 3)), 7);
    parse_fini(&p);
}
END_TEST

START_TEST(every_number_can_be_had_as_a_double)
{
    struct parse p;
    yyjson_val *v =
        parsed(&p, "[1.5,-0,2e3,1e400,-1e400,18446744073709551616,-3,7,\"8\",true,null]");
    const double want[] = {1.5, -0.0, 2000, HUGE_VAL, -HUGE_VAL, 18446744073709551616.0,
                           -3,  7,    0,    0,        0};

    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ck_assert_double_eq(json_double(yyjson_arr_get(v, i)), want[i]);
    parse_fini(&p);
}
END_TEST

START_TEST(a_document_is_written_back_as_it_came)
{
    static const char *const texts[] = {
        "{\"a\":[1,2.50,{\"b\":null}],\"c\":\"\xc3\xa9\",\"\":true}",
        "[[[]],{},\"\",\"\\u0000\\n\\\"\",1E5,0.10,-0]",
        "\"\xf0\x9f\x98\x80\"",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct parse p;
        char *back = yyjson_val_write(parsed(&p, texts[i]), 0, NULL);

        ck_assert_str_eq(back, texts[i]);
        free(back);
        parse_fini(&p);
    }
}
END_TEST

START_TEST(a_nul_within_a_string_is_a_character_like_others)
{
    struct parse p;
    yyjson_val *v = parsed(&p, "\"a\\u0000b\"");

    ck_assert_uint_eq(yyjson_get_len(v), 3);
    ck_assert_mem_eq(yyjson_get_str(v), "a\0b", 3);
    parse_fini(&p);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(text_that_is_not_json_is_refused_with_the_place)
{
    ck_assert_str_eq(error_of("{\"abc\":1,\"abc\":1}"), "duplicate member \"abc\"");
    ck_assert_str_eq(error_of("[1,2,x]"),
                     "unexpected character, expected a valid JSON value at byte 5");
    ck_assert_ptr_nonnull(strstr(error_of("{\"a\" 1}"), " at byte 5"));
    ck_assert_ptr_nonnull(strstr(error_of("[1] 2"), " at byte 4"));
    ck_assert_ptr_nonnull(strstr(error_of(""), " at byte 0"));
    ck_assert_ptr_nonnull(strstr(error_of("  "), " at byte "));
}
END_TEST

START_TEST(lone_surrogates_and_broken_utf8_are_refused)
{
    static const char *const bad[] = {
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "{\"\\udfff\":1}",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "\"\xc0\x80\"",
        "\"\xe2\x82\"",
        "\"\xf4\x90\x80\x80\"",
        "\xef\xbb\xbf{}",
        "\"a\nb\"",
        "\"\\x41\"",
        "'a'",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "Infinity",
        "[1]//",
        "nul",
        "[1}",
        "\"\\ud83d\\\"",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(status_of(bad[i], &usual) == JSON_ESYNTAX, "%s", bad[i]);
    ck_assert_int_eq(status_of("\"\\ud83d\\ude00\"", &usual), JSON_OK);
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

/* n levels of array or object around a 1. */
static char *nested(size_t n, bool objects)
{
    char *text = malloc(n * 6 + 2), *p = text;

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < n; i++)
        p = strcpy(p, objects ? "{\"a\":" : "[") + (objects ? 5 : 1);
    *p++ = '1';
    for (size_t i = 0; i < n; i++)
        *p++ = objects ? '}' : ']';
    *p = 0;
    return text;
}

START_TEST(nesting_is_counted_exactly)
{
    static const uint32_t depths[] = {1, 2, 128, JSON_MAX_DEPTH};

    for (int objects = 0; objects < 2; objects++) {
        for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
            const struct json_limits limits = {depths[i], 1000000};
            char *fits = nested(depths[i], objects), *deep = nested(depths[i] + 1, objects);

            ck_assert_int_eq(status_of(fits, &limits), JSON_OK);
            ck_assert(json_fits(fits, strlen(fits), &limits));
            ck_assert_int_eq(status_of(deep, &limits), JSON_EDEPTH);
            ck_assert(!json_fits(deep, strlen(deep), &limits));
            free(fits);
            free(deep);
        }
    }
    ck_assert_int_eq(status_of("[[],[],[[]],{},[[]]]", &(struct json_limits){3, 100}), JSON_OK);
    ck_assert(json_fits("[[],[\"]][[{{\\\"[[\"],[[]],{}]", 28, &(struct json_limits){3, 100}));
}
END_TEST

START_TEST(a_hundred_thousand_levels_are_refused_and_not_recursed_into)
{
    char *deep = nested(100000, false);

    ck_assert_int_eq(status_of(deep, &usual), JSON_EDEPTH);
    deep[100000] = 0;
    ck_assert_int_eq(status_of(deep, &usual), JSON_ESYNTAX);
    free(deep);
    ck_assert_str_eq(error_of("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                              "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                              "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
                              "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
                     "nested too deep");
}
END_TEST

START_TEST(values_are_counted_with_member_names)
{
    static const struct {
        const char *text;
        uint32_t values;
    } cases[] = {
        {"1", 1},          {"[]", 1},        {"[1]", 2},
        {"[1,2,3]", 4},    {"{\"a\":1}", 3}, {"{\"a\":{\"b\":[]},\"c\":\"[[[,,,\\\",\"}", 7},
        {"[[],[],{}]", 4},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_limits limits = {128, cases[i].values};

        ck_assert_msg(status_of(cases[i].text, &limits) == JSON_OK, "%s", cases[i].text);
        ck_assert(json_fits(cases[i].text, strlen(cases[i].text), &limits));
        limits.values--;
        ck_assert_msg(status_of(cases[i].text, &limits) == JSON_EVALUES, "%s", cases[i].text);
        if (limits.values)
            ck_assert(!json_fits(cases[i].text, strlen(cases[i].text), &limits));
    }
}
END_TEST

START_TEST(blanks_in_empty_containers_do_not_count_as_values)
{
    ck_assert_int_eq(status_of("[ [ ] , { } ]", &(struct json_limits){128, 3}), JSON_OK);
    ck_assert_int_eq(status_of("[\n]", &(struct json_limits){128, 1}), JSON_OK);
}
END_TEST

START_TEST(too_many_values_are_refused_before_they_take_memory)
{
    size_t n = 4u << 20;
    char *text = malloc(n + 1);
    struct parse p;

    ck_assert_ptr_nonnull(text);
    text[0] = '[';
    for (size_t i = 1; i < n - 1; i++)
        text[i] = i % 2 ? '0' : ',';
    text[n - 1] = '0';
    parse_with(&p, text, n, &usual, 0);
    ck_assert_int_eq(p.rc, JSON_EVALUES);
    ck_assert_str_eq(p.err.text, "too many values");
    ck_assert_uint_le(p.memory.largest, 4096);
    parse_fini(&p);
    free(text);
}
END_TEST

START_TEST(each_failing_allocation_is_reported_as_such)
{
    char text[4000] = "{";

    for (int i = 0; i < 100; i++)
        snprintf(text + strlen(text), 40, "%s\"member%d\":[%d]", i ? "," : "", i, i);
    strcat(text, "}");
    for (long k = 1;; k++) {
        struct parse p;

        parse_with(&p, text, strlen(text), &usual, k);
        ck_assert_int_eq(p.rc, p.memory.failed ? JSON_ENOMEM : JSON_OK);
        if (p.memory.failed)
            ck_assert_str_eq(p.err.text, "out of memory");
        parse_fini(&p);
        if (!p.memory.failed)
            break;
        ck_assert_int_lt(k, 100);
    }
}
END_TEST

/* ---- small helpers --------------------------------------------------------------------------- */

START_TEST(programs_read_by_the_same_rules_into_documents_that_own_their_text)
{
    char text[] = "{\"a\":[1.10,18446744073709551615,\"\\u00e9\"]}", why[96];
    yyjson_doc *doc = alk_json_read(text, strlen(text), 2, 6, why, sizeof why);
    yyjson_val *list;

    ck_assert_ptr_nonnull(doc);
    memset(text, 'x', sizeof text);
    list = yyjson_obj_get(yyjson_doc_get_root(doc), "a");
    ck_assert_str_eq(yyjson_get_raw(yyjson_arr_get(list, 0)), "1.10");
    ck_assert(yyjson_get_uint(yyjson_arr_get(list, 1)) == UINT64_MAX);
    ck_assert_str_eq(yyjson_get_str(yyjson_arr_get(list, 2)), "\xC3\xA9");
    yyjson_doc_free(doc);
}
END_TEST

START_TEST(programs_are_told_why_text_is_refused)
{
    static const struct {
        const char *text, *why;
        uint32_t depth, values;
    } refused[] = {
        {"{\"a\":1,\"a\":2}", "duplicate member \"a\"", 8, 8},
        {"[[[]]]", "nested too deep", 2, 8},
        {"[1,2,3]", "too many values", 8, 3},
        {"[1,]", "trailing comma is not allowed at byte 2", 8, 8},
        {"", "input length is 0 at byte 0", 8, 8},
    };
    char why[96], deep[2050];

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *text = refused[i].text;

        ck_assert_ptr_null(alk_json_read(text, strlen(text), refused[i].depth, refused[i].values,
                                         why, sizeof why));
        ck_assert_str_eq(why, refused[i].why);
    }
    /* No depth that is asked for lets more in. */
    memset(deep, '[', 1025);
    memset(deep + 1025, ']', 1025);
    ck_assert_ptr_null(alk_json_read(deep, sizeof deep, UINT32_MAX, 4000, why, sizeof why));
    ck_assert_str_eq(why, "nested too deep");
}
END_TEST

START_TEST(pointers_follow_rfc_6901)
{
    static const char *const cases[][2] = {
        {"", "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"m~n\":8}"},
        {"/foo", "[\"bar\",\"baz\"]"},
        {"/foo/0", "\"bar\""},
        {"/", "0"},
        {"/a~1b", "1"},
        {"/c%d", "2"},
        {"/m~0n", "8"},
        {"/foo/2", NULL},
        {"/foo/00", NULL},
        {"/foo/-", NULL},
        {"/foo/0/x", NULL},
        {"/nothing", NULL},
        {"foo", NULL},
        {"/m~n", NULL},
    };
    struct parse p;
    yyjson_val *root = parsed(&p, cases[0][1]);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        yyjson_val *v = json_pointer(root, cases[i][0], strlen(cases[i][0]));
        char *text = yyjson_val_write(v, 0, NULL);

        if (cases[i][1])
            ck_assert_str_eq(text, cases[i][1]);
        else
            ck_assert_msg(!v, "%s", cases[i][0]);
        free(text);
    }
    parse_fini(&p);
}
END_TEST

START_TEST(members_are_found_by_name_and_unknown_ones_reported)
{
    static const char *const known[] = {"a", "b", NULL};
    struct parse p;
    yyjson_val *root = parsed(
        &p, "{\"b\":\"x\\u0000y\",\"a\":5,\"c\":1,\"d\":[1,2],\"e\":12345678901234567890123}");
    size_t len;

    ck_assert_mem_eq(json_str(root, "b", &len), "x\0y", 3);
    ck_assert_uint_eq(len, 3);
    ck_assert_ptr_null(json_str(root, "a", &len));
    ck_assert_ptr_null(json_str(root, "z", &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_ptr_null(json_str(root, "d", &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_ptr_null(json_str(root, "e", &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_str_eq(yyjson_get_str(json_unknown_member(root, known)), "c");
    ck_assert_ptr_null(
        json_unknown_member(root, (const char *const[]){"a", "b", "c", "d", "e", NULL}));
    parse_fini(&p);
}
END_TEST

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

START_TEST(utf8_has_exactly_the_sequences_of_rfc_3629)
{
    static const unsigned char low[] = {0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    size_t two = 0, three = 0, four = 0;
    char s[4];

    for (unsigned a = 0; a < 256; a++) {
        s[0] = (char)a;
        ck_assert_int_eq(utf8_valid(s, 1), a < 128);
        for (unsigned b = 0; b < 256; b++) {
            s[1] = (char)b;
            two += utf8_valid(s, 2);
            for (unsigned c = 0; c < 256; c++) {
                s[2] = (char)c;
                three += utf8_valid(s, 3);
            }
        }
    }
    ck_assert_uint_eq(two, 128 * 128 + 1920);
    ck_assert_uint_eq(three, 128 * 128 * 128 + 2 * 128 * 1920 + 61440);
    /* Four bytes at the edges of each range: ASCII only, mixtures, and real ones. */
    for (unsigned a = 0xF0; a < 256; a++) {
        for (unsigned i = 0; i < sizeof low * sizeof low * sizeof low; i++) {
            s[0] = (char)a;
            s[1] = (char)low[i % 10];
            s[2] = (char)low[i / 10 % 10];
            s[3] = (char)low[i / 100];
            four += utf8_valid(s, 4);
        }
    }
    /* F0 90..BF, F1..F3 80..BF, F4 80..8F, each with two of the six continuation bytes of the
     * list. */
    ck_assert_uint_eq(four, (4 + 3 * 6 + 2) * 36);
    ck_assert(utf8_valid("", 0));
}
END_TEST

START_TEST(utf8_scrub_replaces_each_bad_byte_and_nothing_else)
{
    static const char in[] = "a\xff\xc3\xa9\xe2\x82z\xed\xa0\x80\xf0\x9f\x98\x80\xc3";
    static const char want[] =
        "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
        "\xf0\x9f\x98\x80\xef\xbf\xbd";
    char *out = malloc(3 * (sizeof in - 1));
    size_t n = utf8_scrub(out, in, sizeof in - 1);

    ck_assert_uint_eq(n, sizeof want - 1);
    ck_assert_mem_eq(out, want, n);
    ck_assert(utf8_valid(out, n));
    free(out);
}
END_TEST

/* A blank that was overlooked could be a line end, and would end the line of an event stream. */
START_TEST(compact_text_has_blanks_within_strings_only)
{
    static const struct {
        const char *text;
        bool compact;
    } cases[] = {
        {"0", true},
        {"{\"a b\":[\" \",\"\",{\"\":\"\\n\"}]}", true},
        {"[\"\\\"\",\" \"]", true},
        {"[\"\\\\\",\" \"]", true},
        {"[\"\\\\\\\"\",\"\xc3\xa9 \x7f\"]", true},
        {"[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xe2\x82\xac!\"]", true},
        {" 0", false},
        {"0\n", false},
        {"[1, 2]", false},
        {"{\"a\":\r1}", false},
        {"{\"a\"\t:1}", false},
        {"[]\n", false},
        {"[\"\\\"\",\n\"x\"]", false},
        {"[\"\\\\\",\n\"x\"]", false},
        {"[\"\\\\\\\"\",\n\"x\"]", false},
        {"[\" \",\"\xc3\xa9\",\n1]", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].text);
        char *exact = malloc(n);

        memcpy(exact, cases[i].text, n);
        ck_assert_msg(json_compact(exact, n) == cases[i].compact, "%s", cases[i].text);
        free(exact);
    }
}
END_TEST

MAIN("json", integers_of_64_bits_are_integers_and_all_others_keep_their_text,
     integers_have_the_value_that_was_written, every_number_can_be_had_as_a_double,
     a_document_is_written_back_as_it_came, a_nul_within_a_string_is_a_character_like_others,
     text_that_is_not_json_is_refused_with_the_place, lone_surrogates_and_broken_utf8_are_refused,
     nesting_is_counted_exactly, a_hundred_thousand_levels_are_refused_and_not_recursed_into,
     values_are_counted_with_member_names, blanks_in_empty_containers_do_not_count_as_values,
     too_many_values_are_refused_before_they_take_memory,
     each_failing_allocation_is_reported_as_such,
     programs_read_by_the_same_rules_into_documents_that_own_their_text,
     programs_are_told_why_text_is_refused, pointers_follow_rfc_6901,
     members_are_found_by_name_and_unknown_ones_reported,
     utf8_has_exactly_the_sequences_of_rfc_3629, utf8_scrub_replaces_each_bad_byte_and_nothing_else,
     compact_text_has_blanks_within_strings_only)
