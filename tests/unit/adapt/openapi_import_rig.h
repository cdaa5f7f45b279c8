/* An import for tests: documents with single quotes in place of double ones, the warnings as lines, and what services/schema would say of an operation. */
#ifndef TESTS_UNIT_ADAPT_OPENAPI_IMPORT_RIG_H
#define TESTS_UNIT_ADAPT_OPENAPI_IMPORT_RIG_H

#include "adapt/openapi_int.h"
#include "schema/schema.h"
#include "support/suite.h"

#include <alknet/openapi.h>
#include <stdio.h>
#include <string.h>

struct imported {
    alk_registry *reg;
    alk_openapi_options o;
    size_t count;
    int rc;
    char err[512];
    char warnings[65536]; /* "POINTER: TEXT\n" */
    unsigned warned;
};

static inline void import_warned(void *ud, const char *pointer, const char *text)
{
    struct imported *i = ud;
    size_t n = strlen(i->warnings);

    i->warned++;
    snprintf(i->warnings + n, sizeof i->warnings - n, "%s: %s\n", pointer, text);
}

static inline struct imported *import_begin(void)
{
    struct imported *i = calloc(1, sizeof *i);

    ck_assert_ptr_nonnull(i);
    i->reg = alk_registry_new();
    i->o = (alk_openapi_options){.size = sizeof i->o};
    i->o.namespace_prefix = "x";
    i->o.base_url = "https://api.example/v1";
    i->o.on_warning = import_warned;
    i->o.ud = i;
    return i;
}

static inline char *double_quoted(const char *text)
{
    char *copy = strdup(text);

    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return copy;
}

static inline void import_text(struct imported *i, const char *text)
{
    char *copy = double_quoted(text);

    i->rc = alk_registry_import_openapi(i->reg, copy, strlen(copy), &i->o, &i->count, i->err,
                                        sizeof i->err);
    free(copy);
}

/* A document of that version with these paths and components. */
static inline void import_doc(struct imported *i, const char *version, const char *paths,
                              const char *components)
{
    size_t n = strlen(paths) + strlen(components) + 256;
    char *text = malloc(n);

    snprintf(text, n,
             "{'openapi':'%s','info':{'title':'t','version':'1'},'paths':{%s},"
             "'components':{%s}}",
             version, paths, components);
    import_text(i, text);
    free(text);
}

static inline const struct operation *imported_op(const struct imported *i, const char *name)
{
    const struct operation *op = registry_find(i->reg, name, strlen(name));

    ck_assert_msg(op != NULL, "no operation %s; warnings: %s%s", name, i->warnings, i->err);
    return op;
}

static inline const struct oas_plan *imported_plan(const struct imported *i, const char *name)
{
    return &((struct oas_operation *)imported_op(i, name)->ud)->plan;
}

/* What its specification says of a member, as compact JSON with single quotes; for free. */
static inline char *imported_spec(const struct imported *i, const char *name, const char *pointer)
{
    const struct operation *op = imported_op(i, name);
    yyjson_doc *doc = yyjson_read(op->spec_json.p, op->spec_json.n, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *v;
    char *text;

    ck_assert_ptr_nonnull(doc);
    v = yyjson_doc_ptr_get(doc, pointer);
    ck_assert_msg(v != NULL, "%s has no %s: %s", name, pointer, op->spec_json.p);
    text = yyjson_val_write(v, 0, NULL);
    for (char *p = text; *p; p++)
        *p = *p == '"' ? '\'' : *p;
    yyjson_doc_free(doc);
    return text;
}

static inline void ck_spec(const struct imported *i, const char *name, const char *pointer,
                           const char *want)
{
    char *got = imported_spec(i, name, pointer);

    ck_assert_msg(!strcmp(got, want), "%s %s\n is   %s\n want %s\n warnings: %s", name, pointer,
                  got, want, i->warnings);
    free(got);
}

static inline void import_end(struct imported *i)
{
    alk_registry_unref(i->reg);
    free(i);
}

#endif
