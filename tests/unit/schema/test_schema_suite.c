/* The official JSON Schema test suite: every required test of draft 2020-12 and of draft-07, and some of the optional
 * ones. The suite is not part of the project; without it these tests are skipped. */
#include "base/json.h"
#include "schema/schema.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMOTES "http://localhost:1234/"
#define STEPS 200000u
#define MAX_FILES 128

static char suite[512];

struct document {
    struct arena arena;
    yyjson_doc *doc;
    struct document *next;
};

static struct mem document_mem;

struct run {
    const char *dialect;
    struct document *remotes; /* read for the schema at hand */
    int count, failed;
};

static bool have_suite(void)
{
    const char *data = getenv("ALKNET_TEST_DATA");
    char probe[600];
    FILE *f;

    snprintf(suite, sizeof suite, "%s/json-schema-test-suite", data ? data : "../shared/data");
    snprintf(probe, sizeof probe, "%s/LICENSE", suite);
    f = fopen(probe, "r");
    if (!f) {
        printf("SKIP: no JSON Schema test suite in %s\n", suite);
        return false;
    }
    fclose(f);
    return true;
}

static struct document *read_document(const char *path)
{
    static const struct json_limits limits = {128, 1000000};
    FILE *f = fopen(path, "r");
    struct document *d;
    struct json_error err;
    yyjson_alc alc;
    char *text;
    long size;

    if (!f)
        return NULL;
    d = mem_zalloc(&document_mem, sizeof *d);
    arena_init(&d->arena, &document_mem, 16384);
    alc = arena_alc(&d->arena);
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    text = arena_alloc(&d->arena, (size_t)size + JSON_PADDING);
    ck_assert_uint_eq(fread(text, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    ck_assert_msg(json_parse(text, (size_t)size, &limits, &alc, &d->doc, &err) == JSON_OK, "%s: %s",
                  path, err.text);
    return d;
}

static void free_documents(struct document *d)
{
    while (d) {
        struct document *next = d->next;

        arena_fini(&d->arena);
        mem_free(&document_mem, d);
        d = next;
    }
}

static yyjson_val *resolve(void *ud, const char *uri, size_t len)
{
    struct run *run = ud;
    char path[1024];
    struct document *d;

    if (len < strlen(REMOTES) || memcmp(uri, REMOTES, strlen(REMOTES)) != 0)
        return NULL;
    snprintf(path, sizeof path, "%s/remotes/%.*s", suite, (int)(len - strlen(REMOTES)),
             uri + strlen(REMOTES));
    d = read_document(path);
    if (!d)
        return NULL;
    d->next = run->remotes;
    run->remotes = d;
    return yyjson_doc_get_root(d->doc);
}

static void run_test(struct run *run, const struct schema *s, yyjson_val *test, const char *where,
                     struct mem *mem)
{
    yyjson_val *data = yyjson_obj_get(test, "data");
    bool valid = yyjson_is_true(yyjson_obj_get(test, "valid"));
    struct schema_report report;
    struct arena scratch;
    int rc, quiet;

    arena_init(&scratch, mem, 1024);
    quiet = schema_check(s, data, STEPS, &scratch, NULL);
    report.count = 0;
    rc = schema_check(s, data, STEPS, &scratch, &report);
    run->count++;
    if (rc != quiet || rc != (valid ? SCHEMA_OK : SCHEMA_INVALID) ||
        (!valid &&
         (report.count < 1 || !*report.errors[0].message || !*report.errors[0].keyword))) {
        run->failed++;
        printf("%s: %s: %d, %d\n", where, yyjson_get_str(yyjson_obj_get(test, "description")), rc,
               quiet);
    }
    arena_fini(&scratch);
}

static void run_group(struct run *run, yyjson_val *group, const char *file)
{
    const char *name = yyjson_get_str(yyjson_obj_get(group, "description"));
    yyjson_val *tests = yyjson_obj_get(group, "tests"), *test;
    struct schema_options o = {
        .host = host_default(), .resolve = resolve, .ud = run, .default_dialect = run->dialect};
    struct schema_diag diag;
    struct schema *s;
    struct mem mem;
    char where[512];
    size_t i, n;

    mem_init(&mem, NULL, NULL);
    o.mem = &mem;
    snprintf(where, sizeof where, "%s: %s", file, name);
    if (schema_compile(&s, yyjson_obj_get(group, "schema"), &o, &diag)) {
        printf("%s: does not compile: %s: %s\n", where, diag.path, diag.text);
        run->failed++;
        run->count += (int)yyjson_arr_size(tests);
    }
    /* What was referred to may be gone once the schema is compiled. */
    free_documents(run->remotes);
    run->remotes = NULL;
    if (!s)
        return;
    yyjson_arr_foreach(tests, i, n, test)
    {
        run_test(run, s, test, where, &mem);
    }
    schema_free(s);
    ck_assert_uint_eq(mem.live, 0);
}

static void run_file(struct run *run, const char *folder, const char *file)
{
    char path[1024];
    struct document *d;
    size_t i, n;
    yyjson_val *group;

    snprintf(path, sizeof path, "%s/tests/%s/%s", suite, folder, file);
    d = read_document(path);
    ck_assert_msg(d != NULL, "%s is missing", path);
    yyjson_arr_foreach(yyjson_doc_get_root(d->doc), i, n, group)
    {
        run_group(run, group, file);
    }
    free_documents(d);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run_folder(struct run *run, const char *folder)
{
    char path[1024], *names[MAX_FILES];
    struct dirent *e;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof path, "%s/tests/%s", suite, folder);
    dir = opendir(path);
    ck_assert_msg(dir != NULL, "%s is missing", path);
    while ((e = readdir(dir))) {
        if (strstr(e->d_name, ".json") && count < MAX_FILES)
            names[count++] = strdup(e->d_name);
    }
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        run_file(run, folder, names[i]);
        free(names[i]);
    }
}

START_TEST(every_required_test_of_draft_2020_12_passes)
{
    struct run run = {.dialect = NULL};

    if (!have_suite())
        return;
    run_folder(&run, "draft2020-12");
    printf("draft2020-12: %d tests, %d failed\n", run.count, run.failed);
    ck_assert_int_ge(run.count, 1299);
    ck_assert_int_eq(run.failed, 0);
}
END_TEST

START_TEST(every_required_test_of_draft_07_passes)
{
    struct run run = {.dialect = "http://json-schema.org/draft-07/schema#"};

    if (!have_suite())
        return;
    run_folder(&run, "draft7");
    printf("draft7: %d tests, %d failed\n", run.count, run.failed);
    ck_assert_int_ge(run.count, 927);
    ck_assert_int_eq(run.failed, 0);
}
END_TEST

/* Big and small numbers, ECMA-262's regular expressions, references to and from places that are no schemas. */
START_TEST(optional_tests_on_what_is_supported_pass)
{
    static const char *const files[] = {
        "anchor.json",           "bignum.json",         "dynamicRef.json",
        "ecmascript-regex.json", "float-overflow.json", "id.json",
        "no-schema.json",        "non-bmp-regex.json",  "refOfUnknownKeyword.json",
        "unknownKeyword.json",
    };
    struct run run = {.dialect = NULL};

    if (!have_suite())
        return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        run_file(&run, "draft2020-12/optional", files[i]);
    printf("draft2020-12/optional: %d tests, %d failed\n", run.count, run.failed);
    ck_assert_int_ge(run.count, 100);
    ck_assert_int_eq(run.failed, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schema_suite");
    TCase *t = tcase_create("suite");
    SRunner *r;
    int failed;

    mem_init(&document_mem, NULL, NULL);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_required_test_of_draft_2020_12_passes);
    tcase_add_test(t, every_required_test_of_draft_07_passes);
    tcase_add_test(t, optional_tests_on_what_is_supported_pass);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
