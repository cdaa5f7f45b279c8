/* Numbers are compared, hashed and divided by their value, however they are written and however large they are. */
#include "schema/number.h"

#include "support/suite.h"

#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct number read_raw(const char *text)
{
    yyjson_val v = {.tag = (uint64_t)strlen(text) << YYJSON_TAG_BIT | YYJSON_TYPE_RAW,
                    .uni.str = text};
    struct number n;

    memset(&n, 0, sizeof n);
    number_read(&n, &v);
    return n;
}

/* Ascending; several ways to write a number stand in one row. */
static const char *const ascending[][4] = {
    {"-1e999999999999999999999"},
    {"-18446744073709551616"},
    {"-18446744073709551615"},
    {"-9223372036854775809"},
    {"-9223372036854775808", "-9.223372036854775808e18"},
    {"-9223372036854775807"},
    {"-10", "-1e1", "-1.0E+1", "-100e-1"},
    {"-1.5"},
    {"-1.25", "-125e-2", "-0.125e1"},
    {"-1"},
    {"-1e-400"},
    {"0", "-0", "0.00", "-0e7"},
    {"1e-999999999999999999999"},
    {"1e-400"},
    {"0.1", "1e-1", "0.10"},
    {"0.10000000000000000000000000000000000001"},
    {"0.2"},
    {"1", "1.0", "10e-1", "0.01E2"},
    {"1.5"},
    {"1.50001", "150001e-5"},
    {"9223372036854775807"},
    {"9223372036854775808", "9.223372036854775808e18"},
    {"18446744073709551615", "1844674407370955161.5e1"},
    {"18446744073709551616"},
    {"99999999999999999999"},
    {"100000000000000000000", "1e20", "10e19"},
    {"100000000000000000000.5"},
    {"1e999999999999999999999"},
};

START_TEST(numbers_are_ordered_by_their_value)
{
    for (size_t i = 0; i < COUNT(ascending); i++) {
        for (size_t k = 0; k < COUNT(ascending); k++) {
            struct number a = read_raw(ascending[i][0]), b = read_raw(ascending[k][0]);

            ck_assert_msg(number_cmp(&a, &b) == (i > k) - (i < k), "%s and %s: %d", ascending[i][0],
                          ascending[k][0], number_cmp(&a, &b));
        }
    }
}
END_TEST

START_TEST(one_number_has_one_hash_however_it_is_written)
{
    for (size_t i = 0; i < COUNT(ascending); i++) {
        struct number first = read_raw(ascending[i][0]),
                      next = read_raw(ascending[(i + 1) % COUNT(ascending)][0]);

        for (size_t k = 1; k < 4 && ascending[i][k]; k++) {
            struct number other = read_raw(ascending[i][k]);

            ck_assert_msg(number_cmp(&first, &other) == 0, "%s and %s", ascending[i][0],
                          ascending[i][k]);
            ck_assert_uint_eq(number_hash(&first), number_hash(&other));
        }
        ck_assert_uint_ne(number_hash(&first), number_hash(&next));
    }
}
END_TEST

START_TEST(a_parsed_number_is_the_one_of_its_text)
{
    yyjson_val values[] = {
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_UINT, .uni.u64 = UINT64_MAX},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_UINT, .uni.u64 = 7},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_SINT, .uni.i64 = -7},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = 0.1},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = -3.0},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = 5e-324},
        {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = INFINITY},
    };
    static const char *const texts[] = {
        "18446744073709551615", "7", "-7", "0.1", "-3", "5e-324", "0"};

    for (size_t i = 0; i < COUNT(values); i++) {
        struct number read, text = read_raw(texts[i]);

        number_read(&read, &values[i]);
        ck_assert_msg(number_cmp(&read, &text) == 0, "%s", texts[i]);
    }
}
END_TEST

START_TEST(integers_are_integers_by_value)
{
    static const struct {
        const char *text;
        bool integer, count;
        uint64_t value;
    } rows[] = {
        {"0", true, true, 0},
        {"-0.0", true, true, 0},
        {"2.0", true, true, 2},
        {"18446744073709551615", true, true, UINT64_MAX},
        {"1e400", true, true, UINT64_MAX},
        {"-1", true, false, 0},
        {"-1e400", true, false, 0},
        {"1.5", false, false, 0},
        {"1e-400", false, false, 0},
        {"123456789012345678901234567890.5", false, false, 0},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct number n = read_raw(rows[i].text);
        uint64_t value;

        ck_assert_msg(number_is_integer(&n) == rows[i].integer, "%s", rows[i].text);
        ck_assert_msg(number_to_count(&n, &value) == rows[i].count, "%s", rows[i].text);
        if (rows[i].count)
            ck_assert_uint_eq(value, rows[i].value);
    }
}
END_TEST

START_TEST(multiples_are_exact)
{
    static const struct {
        const char *number, *of;
        bool multiple;
    } rows[] = {
        {"9", "3", true},
        {"-9", "3", true},
        {"10", "3", false},
        {"0", "0.1", true},
        {"0.3", "0.1", true},
        {"0.35", "0.1", false},
        {"7.5", "2.5", true},
        {"4.5", "1.5e1", false},
        {"1e300", "7", false},
        {"1e300", "8", true},
        {"1e-400", "1", false},
        {"-9223372036854775808", "2", true},
        {"-9223372036854775808", "3", false},
        {"18446744073709551615", "5", true},
        {"18446744073709551615", "7", false},
        {"3", "18446744073709551615", false},
        {"1e400", "9999999999999999999", false},
        {"9999999999999999999e50", "9999999999999999999", true},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct number n = read_raw(rows[i].number), of = read_raw(rows[i].of);
        uint64_t cost = 0;

        ck_assert_msg(number_is_multiple(&n, &of, &cost) == rows[i].multiple, "%s of %s",
                      rows[i].number, rows[i].of);
        ck_assert_uint_ge(cost, 1);
        ck_assert_uint_le(cost, 200);
    }
}
END_TEST

START_TEST(a_divisor_has_19_digits_at_most)
{
    static const struct {
        const char *text;
        bool fits;
    } rows[] = {{"9999999999999999999", true},
                {"9999999999999999999e30", true},
                {"99999999999999999999", false},
                {"0.00000000012345678901234567891", false}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct number n = read_raw(rows[i].text);

        ck_assert_msg(number_can_divide(&n) == rows[i].fits, "%s", rows[i].text);
    }
}
END_TEST

MAIN("number", numbers_are_ordered_by_their_value, one_number_has_one_hash_however_it_is_written,
     a_parsed_number_is_the_one_of_its_text, integers_are_integers_by_value, multiples_are_exact,
     a_divisor_has_19_digits_at_most)
