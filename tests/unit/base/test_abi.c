/* A struct that has grown between the program's version and the library's, in either direction. */
#include "base/abi.h"
#include "support/suite.h"

#include <string.h>

struct first {
    uint32_t size;
    uint32_t colour;
    const char *name;
};

/* How it is here. */
struct grown {
    uint32_t size;
    uint32_t colour; /* 7 */
    const char *name;
    uint32_t weight; /* 9 */
    const char *label;
};

/* How it will be. */
struct next {
    struct grown now;
    uint64_t wish;
};

static const struct grown defaults = {.size = sizeof defaults, .colour = 7, .weight = 9};
static const struct abi abi = {.name = "grown",
                               .start = "grown_init",
                               .size = sizeof(struct grown),
                               .first = sizeof(struct first),
                               .defaults = &defaults};

static char why[100];

static const struct grown *take(const void *theirs, struct grown *own)
{
    memset(own, 0x5a, sizeof *own);
    strcpy(why, "none");
    return abi_take(&abi, own, theirs, why, sizeof why);
}

START_TEST(a_shorter_one_is_initialised_within_its_size)
{
    struct {
        struct first o;
        char guard[64];
    } program;

    memset(&program, 0x5a, sizeof program);
    abi_fill(&abi, &program, sizeof program.o, &defaults);
    ck_assert_uint_eq(program.o.size, sizeof(struct first));
    ck_assert_uint_eq(program.o.colour, 7);
    ck_assert_ptr_null(program.o.name);
    for (size_t i = 0; i < sizeof program.guard; i++)
        ck_assert_int_eq(program.guard[i], 0x5a);
}
END_TEST

START_TEST(a_longer_one_is_initialised_with_zeros_behind_what_is_known)
{
    struct next o;

    memset(&o, 0x5a, sizeof o);
    abi_fill(&abi, &o, sizeof o, &defaults);
    ck_assert_uint_eq(o.now.size, sizeof o);
    ck_assert_uint_eq(o.now.weight, 9);
    ck_assert_uint_eq(o.wish, 0);
}
END_TEST

START_TEST(members_that_a_shorter_one_lacks_have_their_defaults)
{
    struct first o = {sizeof o, 1, "n"};
    struct grown own;
    const struct grown *taken = take(&o, &own);

    ck_assert_ptr_eq(taken, &own);
    ck_assert_uint_eq(taken->size, sizeof own);
    ck_assert_uint_eq(taken->colour, 1);
    ck_assert_str_eq(taken->name, "n");
    ck_assert_uint_eq(taken->weight, 9);
    ck_assert_ptr_null(taken->label);
    ck_assert_str_eq(why, "none");
}
END_TEST

START_TEST(one_of_the_same_size_is_read_where_it_lies)
{
    struct grown o = {.size = sizeof o, .weight = 0}, own;

    ck_assert_ptr_eq(take(&o, &own), &o);
    ck_assert_ptr_eq(take(NULL, &own), &defaults);
}
END_TEST

START_TEST(a_longer_one_may_ask_for_what_is_known_only)
{
    struct next o = {.now = {.size = sizeof o, .colour = 1, .weight = 2, .label = "l"}};
    struct grown own;
    const struct grown *taken = take(&o, &own);

    ck_assert_ptr_eq(taken, &own);
    ck_assert_uint_eq(taken->size, sizeof own);
    ck_assert_uint_eq(taken->weight, 2);
    ck_assert_str_eq(taken->label, "l");
    for (size_t i = 0; i < sizeof o.wish; i++) {
        o.wish = UINT64_C(1) << 8 * i;
        ck_assert_ptr_null(take(&o, &own));
        ck_assert_str_eq(why, "grown: sets what only a newer library knows");
        ck_assert_uint_eq(own.colour, 1);
    }
}
END_TEST

START_TEST(one_that_was_not_initialised_is_refused)
{
    static const uint32_t sizes[] = {
        0, 1, 4, sizeof(struct first) - 1, 4097, 0xa5a5a5a5u, UINT32_MAX,
    };
    struct grown o = {.colour = 1}, own;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        o.size = sizes[i];
        ck_assert_ptr_null(take(&o, &own));
        ck_assert_str_eq(why, "grown: not initialised (grown_init)");
        ck_assert_uint_eq(own.colour, 7); /* nothing of it is trusted */
    }
    ck_assert_ptr_null(abi_take(&abi, &own, &o, NULL, 0));
}
END_TEST

MAIN("abi", a_shorter_one_is_initialised_within_its_size,
     a_longer_one_is_initialised_with_zeros_behind_what_is_known,
     members_that_a_shorter_one_lacks_have_their_defaults,
     one_of_the_same_size_is_read_where_it_lies, a_longer_one_may_ask_for_what_is_known_only,
     one_that_was_not_initialised_is_refused)
