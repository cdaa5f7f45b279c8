/* Each allocation of the translation fails in turn: a pattern is compiled and matches as it does, or is refused for want of
 * memory. PCRE2 takes its memory itself. */
#include "oom/oom.h"

static void *oom_calloc(size_t count, size_t size)
{
    void *p = oom_realloc(NULL, count * size);

    return p ? memset(p, 0, count * size) : NULL;
}

#define calloc oom_calloc
#define realloc oom_realloc
#define free oom_free
#include "host/regex.c"
#include "host/regex_chars.c"
#include "host/regex_ecma.c"
#undef calloc
#undef realloc
#undef free

static const struct {
    const char *pattern, *subject, *fault; /* of the pattern, or NULL */
} rows[] = {
    {"^(?<y>\\d{4})-[\\s\\p{Lu}a-zä]+\\k<y>$", "1999-A b1999", NULL},
    {"", "x", NULL},
    {"[a]", "a", NULL},
    {"a{", NULL, "lone { at byte 1"},
    {"[^]", "a", NULL},
    {"(a+", NULL, "unclosed group at byte 3"},
};

static size_t row;

static bool compiled_scenario(void)
{
    const char *pattern = rows[row].pattern, *subject = rows[row].subject;
    char err[REGEX_ERROR_MAX] = "";
    void *re;

    arm();
    re = regex_new(pattern, strlen(pattern), err);
    must(!re || !rows[row].fault);
    must(re || (failed() && strstr(err, "out of memory")) || !strcmp(err, rows[row].fault));
    disarm();
    if (re)
        must(regex_match(re, subject, strlen(subject), 10000) == HOST_REGEX_YES);
    regex_free(re);
    return rows[row].fault || re;
}

START_TEST(a_pattern_is_compiled_or_memory_is_short)
{
    row = (size_t)_i;
    exhaust(compiled_scenario);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("oom_regex");
    TCase *tcase = tcase_create("oom_regex");
    SRunner *runner = srunner_create(suite);
    int failures;

    tcase_add_loop_test(tcase, a_pattern_is_compiled_or_memory_is_short, 0,
                        sizeof rows / sizeof rows[0]);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
