/* Compiles a schema and checks a value by it. */
#ifndef TESTS_UNIT_SCHEMA_JUDGE_H
#define TESTS_UNIT_SCHEMA_JUDGE_H

#include "base/json.h"
#include "schema/schema.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct judged {
    struct mem mem;
    struct arena arena;
    struct schema *schema;
    struct schema_diag diag;
    struct schema_report report;
    int compiled, verdict;
};

static inline yyjson_val *parse(struct arena *a, const char *text)
{
    static const struct json_limits limits = {1000, 10000000};
    yyjson_alc alc = arena_alc(a);
    size_t len = strlen(text);
    char *copy = arena_alloc(a, len + JSON_PADDING);
    struct json_error err;
    yyjson_doc *doc;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, len);
    ck_assert_msg(!json_parse(copy, len, &limits, &alc, &doc, &err), "%s: %s", text, err.text);
    return yyjson_doc_get_root(doc);
}

static inline void judge(struct judged *j, const char *schema, const char *value, uint32_t steps)
{
    struct schema_options o = {.host = host_default(), .mem = &j->mem};

    mem_init(&j->mem, NULL, NULL);
    arena_init(&j->arena, &j->mem, 4096);
    memset(&j->report, 0, sizeof j->report);
    j->schema = NULL;
    j->compiled = schema_compile(&j->schema, parse(&j->arena, schema), &o, &j->diag);
    j->verdict = -1;
    if (!j->compiled && value)
        j->verdict = schema_check(j->schema, parse(&j->arena, value), steps, &j->arena, &j->report);
}

static inline void judged_free(struct judged *j)
{
    schema_free(j->schema);
    arena_fini(&j->arena);
    ck_assert_uint_eq(j->mem.live, 0);
}

#endif
