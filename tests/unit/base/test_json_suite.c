/* JSONTestSuite, from json-test-suite/test_parsing in ALKNET_TEST_DATA or ../shared/data: every
 * y_ file parses, every n_ file is refused, no i_ file does harm. We refuse more than RFC 8259: a
 * member twice in one object. The two y_ files that have one are held to that rule instead. */
#include "base/arena.h"
#include "base/json.h"
#include "support/suite.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define FILES_LEAST 300 /* the suite has more; fewer means that it was not found whole */

static const struct json_limits limits = {128, 1000000};

static const char *folder(void)
{
    static char path[4096];
    const char *data = getenv("ALKNET_TEST_DATA");
    DIR *dir;

    snprintf(path, sizeof path, "%s/json-test-suite/test_parsing", data ? data : "../shared/data");
    dir = opendir(path);
    if (!dir)
        return NULL;
    closedir(dir);
    return path;
}

static char *read_file(const char *name, size_t *len)
{
    char path[4400];
    FILE *f;
    char *data;

    snprintf(path, sizeof path, "%s/%s", folder(), name);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    data = malloc(1 << 20);
    ck_assert_ptr_nonnull(data);
    *len = fread(data, 1, 1 << 20, f);
    ck_assert(feof(f) && !fclose(f));
    /* Cut to size, so that the sanitizer sees what is read behind the padding. */
    data = realloc(data, *len + JSON_PADDING);
    ck_assert_ptr_nonnull(data);
    return data;
}

/* The status; what parses must be written back to something that parses to the same text again. */
static int status_of(const char *name)
{
    struct mem mem;
    struct arena arena;
    struct json_error err;
    yyjson_alc alc;
    yyjson_doc *doc;
    size_t len;
    char *data = read_file(name, &len), *once;
    int rc;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 1024);
    alc = arena_alc(&arena);
    rc = json_parse(data, len, &limits, &alc, &doc, &err);
    if (rc == JSON_OK) {
        once = yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, &alc, &len, NULL);
        ck_assert_ptr_nonnull(once);
        data = realloc(data, len + JSON_PADDING);
        ck_assert_ptr_nonnull(data);
        memcpy(data, once, len);
        ck_assert_int_eq(json_parse(data, len, &limits, &alc, &doc, &err), JSON_OK);
        ck_assert_str_eq(yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, &alc, &len, NULL),
                         once);
    } else {
        ck_assert_uint_gt(strlen(err.text), 0);
    }
    arena_fini(&arena);
    ck_assert_uint_eq(mem.live, 0);
    free(data);
    return rc;
}

static void each(char kind, void (*check)(const char *name, int status))
{
    const char *path = folder();
    struct dirent *e;
    int files = 0;
    DIR *dir;

    if (!path) {
        printf(
            "SKIP: JSONTestSuite %c_: no json-test-suite in ALKNET_TEST_DATA or ../shared/data\n",
            kind);
        return;
    }
    dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while ((e = readdir(dir))) {
        files += strstr(e->d_name, ".json") != NULL;
        if (e->d_name[0] == kind && e->d_name[1] == '_')
            check(e->d_name, status_of(e->d_name));
    }
    closedir(dir);
    ck_assert_int_ge(files, FILES_LEAST);
}

static void must_parse(const char *name, int status)
{
    int want = strstr(name, "duplicated_key") ? JSON_EDUPLICATE : JSON_OK;

    ck_assert_msg(status == want, "%s: status %d", name, status);
}

static void must_not_parse(const char *name, int status)
{
    ck_assert_msg(status != JSON_OK && status != JSON_ENOMEM, "%s: status %d", name, status);
}

static void may_parse(const char *name, int status)
{
    bool surrogate = strstr(name, "surrogate") || strstr(name, "utf") || strstr(name, "UTF");

    ck_assert_msg(status != JSON_OK || !surrogate, "%s parses", name);
}

START_TEST(all_that_must_parse_parses_but_for_duplicate_members)
{
    each('y', must_parse);
}
END_TEST

START_TEST(all_that_must_not_parse_is_refused)
{
    each('n', must_not_parse);
}
END_TEST

START_TEST(what_may_parse_does_no_harm_and_is_utf8_when_it_does)
{
    each('i', may_parse);
}
END_TEST

MAIN("json_suite", all_that_must_parse_parses_but_for_duplicate_members,
     all_that_must_not_parse_is_refused, what_may_parse_does_no_harm_and_is_utf8_when_it_does)
