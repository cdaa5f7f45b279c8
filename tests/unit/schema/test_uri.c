/* URI references: the examples of RFC 3986, section 5.4, and what fits a buffer. */
#include "schema/uri.h"

#include "support/suite.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *base, *ref, *resolved;
} references[] = {
    {"http://a/b/c/d;p?q", "g:h", "g:h"},
    {"http://a/b/c/d;p?q", "g", "http://a/b/c/g"},
    {"http://a/b/c/d;p?q", "./g", "http://a/b/c/g"},
    {"http://a/b/c/d;p?q", "g/", "http://a/b/c/g/"},
    {"http://a/b/c/d;p?q", "/g", "http://a/g"},
    {"http://a/b/c/d;p?q", "//g", "http://g"},
    {"http://a/b/c/d;p?q", "?y", "http://a/b/c/d;p?y"},
    {"http://a/b/c/d;p?q", "g?y", "http://a/b/c/g?y"},
    {"http://a/b/c/d;p?q", ";x", "http://a/b/c/;x"},
    {"http://a/b/c/d;p?q", "", "http://a/b/c/d;p?q"},
    {"http://a/b/c/d;p?q", ".", "http://a/b/c/"},
    {"http://a/b/c/d;p?q", "./", "http://a/b/c/"},
    {"http://a/b/c/d;p?q", "..", "http://a/b/"},
    {"http://a/b/c/d;p?q", "../", "http://a/b/"},
    {"http://a/b/c/d;p?q", "../g", "http://a/b/g"},
    {"http://a/b/c/d;p?q", "../..", "http://a/"},
    {"http://a/b/c/d;p?q", "../../../g", "http://a/g"},
    {"http://a/b/c/d;p?q", "/./g", "http://a/g"},
    {"http://a/b/c/d;p?q", "/../g", "http://a/g"},
    {"http://a/b/c/d;p?q", "g.", "http://a/b/c/g."},
    {"http://a/b/c/d;p?q", ".g", "http://a/b/c/.g"},
    {"http://a/b/c/d;p?q", "..g", "http://a/b/c/..g"},
    {"http://a/b/c/d;p?q", "./../g", "http://a/b/g"},
    {"http://a/b/c/d;p?q", "g;x=1/../y", "http://a/b/c/y"},
    {"http://a/b/c/d;p?q", "g?y/../x", "http://a/b/c/g?y/../x"},
    {"http://a/b/c/d;p?q", "g/./h/.", "http://a/b/c/g/h/"},
    {"http://a/b/c/d;p?q", "g/x", "http://a/b/c/g/x"},
    {"http://a/b/c/d;p?q", "h:a/./b", "h:a/b"},
    {"http://a", "g", "http://a/g"},
    {"http://a?q", "g", "http://a/g"},
    {"", "g/h", "g/h"},
    {"b", "g", "g"},
    {"urn:x:y", "", "urn:x:y"},
    {"urn:x:y", "z", "urn:z"},
    {"", "a?:b", "a?:b"},
    {"", ":b", ":b"},
    {"", "a./b", "a./b"},
};

START_TEST(a_reference_is_resolved_as_rfc_3986_says)
{
    struct str base = str_of(references[_i].base), ref = str_of(references[_i].ref);
    size_t wanted = strlen(references[_i].resolved), len;
    char out[64];

    ck_assert(uri_resolve(base, ref, out, sizeof out, &len));
    ck_assert_msg(len == wanted && !memcmp(out, references[_i].resolved, len), "%s: %.*s",
                  references[_i].ref, (int)len, out);
}
END_TEST

/* Before its dots are removed a path may need more than what is left of it. */
START_TEST(what_does_not_fit_is_not_resolved)
{
    char out[64];
    size_t len;

    for (size_t i = 0; i < COUNT(references); i++) {
        struct str base = str_of(references[i].base), ref = str_of(references[i].ref);
        size_t cap = 0, wanted = strlen(references[i].resolved);

        for (; cap < sizeof out && !uri_resolve(base, ref, out, cap, &len); cap++)
            ck_assert_uint_le(len, cap);
        ck_assert_uint_ge(cap, wanted);
        for (; cap < sizeof out; cap++) {
            ck_assert(uri_resolve(base, ref, out, cap, &len));
            ck_assert_uint_eq(len, wanted);
        }
    }
}
END_TEST

START_TEST(a_nul_is_a_character_like_others)
{
    char out[16];
    size_t len;

    ck_assert(uri_resolve(str_of("http://a/"), (struct str){"b\0c?d", 5}, out, sizeof out, &len));
    ck_assert_uint_eq(len, 14);
    ck_assert_mem_eq(out, "http://a/b\0c?d", 14);
}
END_TEST

START_TEST(the_fragment_is_what_follows_the_first_hash)
{
    static const struct {
        const char *whole, *uri, *fragment;
    } rows[] = {
        {"a#b", "a", "b"}, {"a#", "a", ""}, {"a", "a", ""}, {"#b#c", "", "b#c"}, {"", "", ""}};
    struct str fragment, uri;

    for (size_t i = 0; i < COUNT(rows); i++) {
        uri = uri_split(str_of(rows[i].whole), &fragment);
        ck_assert(str_is(uri, rows[i].uri) && str_is(fragment, rows[i].fragment));
    }
    uri = uri_split(STR_NONE, &fragment);
    ck_assert(uri.n == 0 && fragment.n == 0);
}
END_TEST

START_TEST(escapes_are_decoded_where_they_are_complete)
{
    static const struct {
        const char *text, *decoded;
    } rows[] = {{"a%20b", "a b"}, {"%7E%7e", "~~"}, {"%", "%"},     {"%4", "%4"},
                {"%4g", "%4g"},   {"%g4", "%g4"},   {"%%41", "%A"}, {"", ""}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[16];
        size_t len;

        strcpy(text, rows[i].text);
        len = uri_decode(text, strlen(text));
        ck_assert_msg(len == strlen(rows[i].decoded) && !memcmp(text, rows[i].decoded, len), "%s",
                      rows[i].text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uri");
    TCase *t = tcase_create("uri");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_reference_is_resolved_as_rfc_3986_says, 0, COUNT(references));
    tcase_add_test(t, what_does_not_fit_is_not_resolved);
    tcase_add_test(t, a_nul_is_a_character_like_others);
    tcase_add_test(t, the_fragment_is_what_follows_the_first_hash);
    tcase_add_test(t, escapes_are_decoded_where_they_are_complete);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
