/* Each allocation fails in turn: a schema is compiled and a value checked by it. Either comes out as it does with enough
 * memory, or as SCHEMA_ENOMEM; a verdict is never the wrong one. */
#include "oom/oom.h"

#include "unit/schema/schemas.h"

#define STEPS 100000u
static const struct row *row;

static yyjson_val *parse(struct arena *a, const char *text)
{
    static const struct json_limits limits = {100, 100000};
    yyjson_alc alc = arena_alc(a);
    size_t len = strlen(text);
    char *copy = arena_alloc(a, len + JSON_PADDING);
    yyjson_doc *doc;

    memcpy(copy, text, len);
    must(!json_parse(copy, len, &limits, &alc, &doc, NULL));
    return yyjson_doc_get_root(doc);
}

static bool judged_scenario(void)
{
    struct schema_options o = {.host = host_default(), .resolve = resolve};
    yyjson_val *roots[2], *schema, *value;
    struct arena given, scratch;
    struct schema_report report = {0};
    struct schema_diag diag;
    struct schema *s = NULL;
    struct mem mem;
    int rc;

    mem_init(&mem, NULL, NULL);
    arena_init(&given, &mem, 65536);
    for (int i = 0; i < 2; i++)
        roots[i] = parse(&given, others[i]);
    schema = parse(&given, row->schema);
    value = row->value ? parse(&given, row->value) : NULL;
    arena_init(&scratch, &mem, 64);
    o.mem = &mem;
    o.ud = roots;
    arm();
    rc = schema_compile(&s, schema, &o, &diag);
    must((rc == SCHEMA_OK) == (s != NULL) && (!rc || *diag.text));
    if (value && !rc) {
        rc = schema_check(s, value, STEPS, &scratch, &report);
        must(rc != SCHEMA_INVALID || report.count > 0);
    }
    must(rc == row->verdict || (rc == SCHEMA_ENOMEM && failed()));
    disarm();
    schema_free(s);
    arena_fini(&scratch);
    arena_fini(&given);
    return rc == row->verdict;
}

START_TEST(a_verdict_is_right_or_memory_is_short)
{
    row = &schemas[_i];
    exhaust(judged_scenario);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("oom_schema");
    TCase *tcase = tcase_create("oom_schema");
    SRunner *runner = srunner_create(suite);
    int failures;

    tcase_add_loop_test(tcase, a_verdict_is_right_or_memory_is_short, 0,
                        sizeof schemas / sizeof schemas[0]);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
