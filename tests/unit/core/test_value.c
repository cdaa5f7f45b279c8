/* Reading one member of a value at a time: what is there in the type that is asked for, and else what the caller has said. */
#include "core/call.h"
#include "support/suite.h"

#include <math.h>
#include <string.h>

static struct mem mem;
static struct arena arena;

static const alk_value *value(const char *text)
{
    struct alk_value *v = arena_zalloc(&arena, sizeof *v);

    v->text = text;
    v->len = strlen(text);
    v->arena = &arena;
    return v;
}

static void begin(void)
{
    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 1024);
}

START_TEST(strings_have_their_length_and_a_nul_behind_it)
{
    const alk_value *v = (begin(), value("{\"a\":\"b\\u0000c\",\"d\":[{\"e/~\":\"\"}],\"n\":1}"));
    size_t len = 7;

    ck_assert_mem_eq(alk_value_string(v, "/a", &len), "b\0c", 4);
    ck_assert_uint_eq(len, 3);
    ck_assert_str_eq(alk_value_string(v, "/d/0/e~1~0", &len), "");
    ck_assert_uint_eq(len, 0);
    for (const char *const *no =
             (const char *const[]){"", "/", "a", "/n", "/d", "/d/1", "/x/y", NULL};
         *no; no++) {
        len = 7;
        ck_assert_ptr_null(alk_value_string(v, *no, &len));
        ck_assert_uint_eq(len, 0);
    }
    ck_assert_str_eq(alk_value_string(value("\"all\""), "", &len), "all");
    arena_fini(&arena);
}
END_TEST

START_TEST(integers_are_whole_and_fit)
{
    static const struct {
        const char *text;
        int64_t is;
    } cases[] = {{"7", 7},
                 {"-7", -7},
                 {"2.0", 2},
                 {"1e3", 1000},
                 {"-0", 0},
                 {"9223372036854775807", INT64_MAX},
                 {"-9223372036854775808", INT64_MIN},
                 {"9223372036854775808", -1},
                 {"1e300", -1},
                 {"1e999", -1},
                 {"1.5", -1},
                 {"\"7\"", -1},
                 {"true", -1},
                 {"null", -1},
                 {"[7]", -1}};

    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(alk_value_integer(value(cases[i].text), "", -1) == cases[i].is, "%s",
                      cases[i].text);
    ck_assert_int_eq(alk_value_integer(value("{\"a\":[1,2]}"), "/a/1", -1), 2);
    ck_assert_int_eq(alk_value_integer(value("{}"), "/limit", 20), 20);
    arena_fini(&arena);
}
END_TEST

START_TEST(numbers_and_booleans_are_no_others)
{
    const alk_value *v =
        (begin(), value("{\"n\":1.5,\"i\":-3,\"e\":1e400,\"t\":true,\"f\":false}"));

    ck_assert(alk_value_number(v, "/n", 0) == 1.5);
    ck_assert(alk_value_number(v, "/i", 0) == -3);
    ck_assert(isinf(alk_value_number(v, "/e", 0)));
    ck_assert(alk_value_number(v, "/t", 9) == 9);
    ck_assert(alk_value_number(v, "/x", 9) == 9);
    ck_assert_int_eq(alk_value_bool(v, "/t", 0), 1);
    ck_assert_int_eq(alk_value_bool(v, "/f", 1), 0);
    ck_assert_int_eq(alk_value_bool(v, "/n", 0), 0);
    ck_assert_int_eq(alk_value_bool(v, "/x", 1), 1);
    arena_fini(&arena);
}
END_TEST

MAIN("value", strings_have_their_length_and_a_nul_behind_it, integers_are_whole_and_fit,
     numbers_and_booleans_are_no_others)
