/* The program of the scenarios: cost NAME N runs one, cost alone lists them with their sizes. What
 * they share with other tests expects to be run by Check, so each is a test of it. */
#include "cost/cost.h"

#include "support/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct scenario *const all[] = {cost_json, cost_schema, cost_calls,   cost_peers,
                                             cost_http, cost_ws,     cost_streams, cost_openapi};
static const struct scenario *chosen;
static size_t size;

char *cost_list(const char *before, const char *piece, const char *sep, size_t n,
                const char *behind)
{
    size_t most = strlen(before) + n * (7 * strlen(piece) + strlen(sep)) + strlen(behind) + 1;
    char *text = malloc(most), *p = text;

    must(text);
    p += sprintf(p, "%s", before);
    for (size_t i = 0; i < n; i++) {
        p += sprintf(p, "%s", i ? sep : "");
        for (const char *c = piece; *c; c++)
            p += *c == '#' ? sprintf(p, "%07zu", i) : sprintf(p, "%c", *c);
    }
    strcpy(p, behind);
    return text;
}

START_TEST(the_scenario)
{
    chosen->run(size);
}
END_TEST

static int run(void)
{
    Suite *suite = suite_create(chosen->name);
    TCase *tcase = tcase_create(chosen->name);
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, the_scenario);
    suite_add_tcase(suite, tcase);
    /* In this process, where callgrind counts. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (const struct scenario *s = all[i]; s->name; s++) {
            if (argc < 2)
                printf("%s %zu\n", s->name, s->n);
            else if (!strcmp(s->name, argv[1]))
                chosen = s;
        }
    }
    if (argc < 2)
        return EXIT_SUCCESS;
    if (!chosen || !size) {
        fprintf(stderr, "usage: cost [NAME N]\n");
        return EXIT_FAILURE;
    }
    return run();
}
