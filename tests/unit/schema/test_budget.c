/* Steps run out at each place: a schema is compiled, and a value judged, as they are with plenty, or the answer is
 * SCHEMA_TOO_COMPLEX; and more steps never make that answer come back. */
#include "schemas.h"

#include "judge.h"
#include "support/memory.h"

#define PLENTY 1000000u

struct given {
    struct mem mem;
    struct arena arena;
    yyjson_val *others[2], *schema, *value;
    struct schema_options options;
};

static void given_init(struct given *g, const struct row *row)
{
    mem_init(&g->mem, NULL, NULL);
    arena_init(&g->arena, &g->mem, 4096);
    for (int i = 0; i < 2; i++)
        g->others[i] = parse(&g->arena, others[i]);
    g->schema = parse(&g->arena, row->schema);
    g->value = row->value ? parse(&g->arena, row->value) : NULL;
    g->options = (struct schema_options){
        .host = host_default(), .mem = &g->mem, .resolve = resolve, .ud = g->others};
}

static void given_fini(struct given *g)
{
    arena_fini(&g->arena);
    ck_assert_uint_eq(g->mem.live, 0);
}

static int compiled(struct given *g, uint32_t steps)
{
    struct schema_diag diag;
    struct schema *s;
    int rc;

    g->options.max_steps = steps;
    rc = schema_compile(&s, g->schema, &g->options, &diag);
    ck_assert_int_eq(rc == SCHEMA_OK, s != NULL);
    if (rc == SCHEMA_TOO_COMPLEX)
        ck_assert_str_eq(diag.text, "the schema is too complex");
    schema_free(s);
    return rc;
}

START_TEST(a_schema_is_compiled_right_or_is_too_complex)
{
    const struct row *row = &schemas[_i];
    int wanted = row->value ? SCHEMA_OK : row->verdict, rc;
    struct given g;
    bool done = false;

    given_init(&g, row);
    ck_assert_int_eq(compiled(&g, PLENTY), wanted);
    for (uint32_t steps = 1; steps < PLENTY && !(done && steps > 3000); steps += 1 + steps / 500) {
        rc = compiled(&g, steps);
        ck_assert_msg(rc == wanted || (rc == SCHEMA_TOO_COMPLEX && !done), "%s in %u steps: %d",
                      row->schema, steps, rc);
        done = rc == wanted;
    }
    ck_assert(done);
    given_fini(&g);
}
END_TEST

/* The report of an invalid value has what is left of the steps: it may be cut, the verdict may not. */
START_TEST(a_value_is_judged_right_or_is_too_complex)
{
    const struct row *row = &schemas[_i];
    struct schema_report report;
    struct schema_diag diag;
    struct arena scratch;
    struct schema *s;
    struct given g;
    bool done = false;
    int rc, quiet;

    given_init(&g, row);
    if (row->value) {
        ck_assert_int_eq(schema_compile(&s, g.schema, &g.options, &diag), SCHEMA_OK);
        for (uint32_t steps = 0; steps < 3000; steps++) {
            arena_init(&scratch, &g.mem, 256);
            quiet = schema_check(s, g.value, steps, &scratch, NULL);
            report.count = 0;
            rc = schema_check(s, g.value, steps, &scratch, &report);
            ck_assert_msg(quiet == row->verdict || (quiet == SCHEMA_TOO_COMPLEX && !done),
                          "%s of %s in %u steps: %d", row->value, row->schema, steps, quiet);
            ck_assert_int_eq(rc, quiet);
            ck_assert_int_eq(report.count > 0, rc == SCHEMA_INVALID);
            done = quiet == row->verdict;
            arena_fini(&scratch);
        }
        ck_assert(done);
        schema_free(s);
    }
    given_fini(&g);
}
END_TEST

/* Which members have been looked at is marked in the check itself, and in the scratch memory where they are many; which may
 * not be there. */
START_TEST(a_value_of_many_members_is_judged_right_or_memory_is_short)
{
    static char text[200000];
    const struct row row = {
        "{\"allOf\":[{\"patternProperties\":{\"^m\":true}},{\"properties\":{\"m1\":true}}],"
        "\"unevaluatedProperties\":false}",
        text, SCHEMA_OK};
    bool failed = true;

    for (int extra = 0; extra < 2; extra++) {
        struct schema_diag diag;
        struct schema *s;
        struct given g;
        size_t n = 1;

        strcpy(text, "{");
        for (int i = 0; i < 9000; i++)
            n += (size_t)sprintf(text + n, "%s\"m%d\":0", i ? "," : "", i);
        strcpy(text + n, extra ? ",\"x\":0}" : "}");
        given_init(&g, &row);
        ck_assert_int_eq(schema_compile(&s, g.schema, &g.options, &diag), SCHEMA_OK);
        failed = true;
        for (long nth = 1; failed; nth++) {
            struct memory memory = {.fail_in = nth};
            struct schema_report report = {0};
            struct arena scratch;
            struct mem mem;
            int rc;

            ck_assert_int_lt(nth, 100);
            mem_init(&mem, memory_realloc, &memory);
            arena_init(&scratch, &mem, 64);
            rc = schema_check(s, g.value, PLENTY, &scratch, &report);
            failed = memory.failed;
            ck_assert(rc == (extra ? SCHEMA_INVALID : SCHEMA_OK) ||
                      (failed && rc == SCHEMA_ENOMEM));
            ck_assert_int_eq(report.count > 0, rc == SCHEMA_INVALID);
            if (rc == SCHEMA_INVALID && !failed)
                ck_assert_str_eq(report.errors[0].path, "/x");
            arena_fini(&scratch);
            ck_assert_uint_eq(memory.live, 0);
        }
        schema_free(s);
        given_fini(&g);
    }
}
END_TEST

static int no_random(void *out, size_t len)
{
    (void)out, (void)len;
    return -1;
}

START_TEST(a_schema_is_not_compiled_without_random_bytes)
{
    struct host host = *host_default();
    struct schema_diag diag;
    struct schema *s;
    struct given g;

    host.random = no_random;
    given_init(&g, &schemas[0]);
    g.options.host = &host;
    ck_assert_int_eq(schema_compile(&s, g.schema, &g.options, &diag), SCHEMA_INVALID);
    ck_assert_ptr_null(s);
    ck_assert_str_eq(diag.text, "no random bytes");
    given_fini(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema_budget");
    TCase *t = tcase_create("schema_budget");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_schema_is_compiled_right_or_is_too_complex, 0,
                        sizeof schemas / sizeof schemas[0]);
    tcase_add_loop_test(t, a_value_is_judged_right_or_is_too_complex, 0,
                        sizeof schemas / sizeof schemas[0]);
    tcase_add_test(t, a_value_of_many_members_is_judged_right_or_memory_is_short);
    tcase_add_test(t, a_schema_is_not_compiled_without_random_bytes);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
