/* No name of a member twice in one object: found however it is written, wherever the two are, at a
 * cost of memory that is bounded. */
#include "base/arena.h"
#include "base/json.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* The status, and the bytes that the document took in its arena. */
static int parse(const char *text, size_t *bytes)
{
    static const struct json_limits limits = {128, 1000000};
    size_t len = strlen(text);
    char *copy = malloc(len + JSON_PADDING);
    struct json_error err;
    struct mem mem;
    struct arena arena;
    yyjson_alc alc;
    yyjson_doc *doc;
    int rc;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, len);
    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 256);
    alc = arena_alc(&arena);
    rc = json_parse(copy, len, &limits, &alc, &doc, &err);
    ck_assert(rc != JSON_EDUPLICATE || !strncmp(err.text, "duplicate member \"", 18));
    *bytes = arena.bytes;
    arena_fini(&arena);
    free(copy);
    return rc;
}

static int status_of(const char *text)
{
    size_t bytes;

    return parse(text, &bytes);
}

START_TEST(a_member_twice_is_refused_however_many_there_are_and_however_it_is_written)
{
    static const char *const twice[] = {
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"b\":2,\"\\u0061\":3}",
        "{\"\":1,\"\":1}",
        "[{\"x\":{\"k\":[],\"k\":{}}}]",
        "{\"\\u00e9\":1,\"\xc3\xa9\":2}",
        "{\"a\\u0000b\":1,\"a\\u0000b\":2}",
    };
    static const char *const once[] = {
        "{\"a\":1,\"A\":1}",        "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}",
        "{\"a\":1,\"a\\u0000\":1}", "{\"a\\u0000b\":1,\"a\\u0000c\":2}",
        "[{\"a\":1},{\"a\":1}]",
    };

    for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++)
        ck_assert_msg(status_of(twice[i]) == JSON_EDUPLICATE, "%s", twice[i]);
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        ck_assert_msg(status_of(once[i]) == JSON_OK, "%s", once[i]);
}
END_TEST

START_TEST(a_duplicate_is_found_at_any_two_places_of_a_large_object)
{
    for (int n = 2; n <= 40; n += n < 14 ? 1 : 13) {
        for (int a = 0; a < n; a++) {
            for (int b = a; b < n; b++) {
                char text[1000] = "{";

                for (int i = 0; i < n; i++)
                    snprintf(text + strlen(text), 40, "%s\"k%d\":%d", i ? "," : "", i == b ? a : i,
                             i);
                strcat(text, "}");
                ck_assert_int_eq(status_of(text), a == b ? JSON_OK : JSON_EDUPLICATE);
            }
        }
    }
}
END_TEST

/* A member twice among so many, the first and second at these places, the second written with an
 * escape; far: in an object behind others of all sizes. */
static int twice_among(size_t n, size_t first, size_t second, bool far)
{
    char *text = malloc(n * 24 + 4096), *p = text;
    int rc;

    ck_assert_ptr_nonnull(text);
    *p++ = '[';
    for (size_t size = 0; far && size < 40; size += 5) {
        *p++ = '{';
        for (size_t i = 0; i < size; i++)
            p += sprintf(p, "%s\"m%zu\":0", i ? "," : "", i);
        p += sprintf(p, "},");
    }
    *p++ = '{';
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, i == second ? "%s\"\\u006d%zu\":0" : "%s\"m%zu\":0", i ? "," : "",
                     i == second ? first : i);
    strcpy(p, "}]");
    rc = status_of(text);
    free(text);
    return rc;
}

START_TEST(a_duplicate_among_many_is_found_also_behind_other_objects)
{
    static const size_t sizes[] = {13, 21, 22, 100, 1000, 30000};
    static const uint64_t seeds[][2] = {{0, 0}, {1, UINT64_MAX}, {UINT64_C(0x123456789abcdef), 42}};

    for (size_t k = 0; k < 3; k++) {
        json_seed(seeds[k]);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t n = sizes[i];

            for (int far = 0; far < 2; far++) {
                ck_assert_int_eq(twice_among(n, 0, n - 1, far), JSON_EDUPLICATE);
                ck_assert_int_eq(twice_among(n, n - 2, n - 1, far), JSON_EDUPLICATE);
                ck_assert_int_eq(twice_among(n, n / 2, n / 2 + 1, far), JSON_EDUPLICATE);
                ck_assert_int_eq(twice_among(n, n, n, far), JSON_OK);
            }
        }
    }
}
END_TEST

/* The same text with arrays in place of objects has no names to compare. */
START_TEST(memory_for_names_is_that_of_the_largest_object)
{
    static const char names[] = "{}:";
    static char text[200000];
    size_t objects, arrays;
    char *p = text + sprintf(text, "[1");

    for (int n = 0; n < 500; n++) {
        for (int i = 0; i < 20; i++)
            p += sprintf(p, "%s\"m%02d\":0", i ? "," : ",{", i);
        *p++ = '}';
    }
    strcpy(p, "]");
    ck_assert_int_eq(parse(text, &objects), JSON_OK);
    for (p = text; *p; p++) {
        const char *which = strchr(names, *p);

        if (which)
            *p = "[],"[which - names];
    }
    ck_assert_int_eq(parse(text, &arrays), JSON_OK);
    ck_assert_uint_le(objects, arrays + 4096 + 64);
}
END_TEST

MAIN("json_duplicates", a_member_twice_is_refused_however_many_there_are_and_however_it_is_written,
     a_duplicate_is_found_at_any_two_places_of_a_large_object,
     a_duplicate_among_many_is_found_also_behind_other_objects,
     memory_for_names_is_that_of_the_largest_object)
