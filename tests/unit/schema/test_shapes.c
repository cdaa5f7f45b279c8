/* What a keyword's value must look like, and what an identifier, an anchor, a dialect and a reference may be: each mistake is
 * named with its place. */
#include "schemas.h"

#include "judge.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static const struct {
    const char *schema, *path, *text;
} refused[] = {
    /* shapes */
    {"[]", "", "must be a schema: an object or a boolean"},
    {"{\"not\":1}", "/not", "must be a schema: an object or a boolean"},
    {"{\"allOf\":{}}", "/allOf", "must be an array of at least one schema"},
    {"{\"anyOf\":[]}", "/anyOf", "must be an array of at least one schema"},
    {"{\"oneOf\":[true,1]}", "/oneOf/1", "must be a schema: an object or a boolean"},
    {"{\"required\":\"a\"}", "/required", "must be an array of strings"},
    {"{\"required\":[1]}", "/required", "must be an array of strings"},
    {"{\"required\":[\"a\",\"b\",\"a\"]}", "/required", "\"a\" is there twice"},
    {"{\"dependentRequired\":{\"x\":1}}", "/dependentRequired/x", "must be an array of strings"},
    {"{\"properties\":[]}", "/properties", "must be an object"},
    {"{\"properties\":{\"a\":1}}", "/properties/a", "must be a schema: an object or a boolean"},
    {"{\"$vocabulary\":{\"http://x/\":1}}", "/$vocabulary/http:~1~1x~1", "must be a boolean"},
    {"{\"type\":[]}", "/type", "must name at least one type"},
    {"{\"type\":[\"string\",\"strin\"]}", "/type", "unknown type \"strin\""},
    {"{\"type\":[\"null\",\"null\"]}", "/type", "\"null\" is there twice"},
    {"{\"type\":[1]}", "/type", "must be a string or an array of strings"},
    {"{\"type\":1}", "/type", "must be a string or an array of strings"},
    {"{\"enum\":1}", "/enum", "must be an array"},
    {"{\"uniqueItems\":1}", "/uniqueItems", "must be a boolean"},
    {"{\"pattern\":1}", "/pattern", "must be a string"},
    {"{\"$ref\":1}", "/$ref", "must be a string"},
    {"{\"$anchor\":1}", "/$anchor", "must be the name of an anchor"},
    {"{\"$anchor\":\"\"}", "/$anchor", "must be the name of an anchor"},
    {"{\"$anchor\":\"1a\"}", "/$anchor", "must be the name of an anchor"},
    {"{\"$anchor\":\"a{\"}", "/$anchor", "must be the name of an anchor"},
    {"{\"$anchor\":\"a\\u0000\"}", "/$anchor", "must be the name of an anchor"},
    {"{\"$dynamicAnchor\":\"a b\"}", "/$dynamicAnchor", "must be the name of an anchor"},
    {"{\"maxLength\":\"1\"}", "/maxLength", "must be a non-negative integer"},
    {"{\"maxLength\":-1}", "/maxLength", "must be a non-negative integer"},
    {"{\"maxLength\":1.5}", "/maxLength", "must be a non-negative integer"},
    {"{\"maximum\":\"1\"}", "/maximum", "must be a number"},
    {"{\"multipleOf\":0}", "/multipleOf", "must be above 0"},
    {"{\"multipleOf\":-0.5}", "/multipleOf", "must be above 0"},
    {"{\"multipleOf\":12345678901234567891}", "/multipleOf", "has too many digits"},
    /* identifiers and anchors */
    {"{\"$id\":1}", "/$id", "must be a string"},
    {"{\"$id\":\"http://x/#a\"}", "/$id", "must not have a fragment"},
    {"{\"$defs\":{\"a\":{\"$id\":\"http://x/\"},\"b\":{\"$id\":\"http://x/\"}}}", "/$defs/b/$id",
     "the identifier is used twice"},
    {"{\"$defs\":{\"a\":{\"$anchor\":\"x\"},\"b\":{\"$anchor\":\"x\"}}}", "/$defs/b/$anchor",
     "the anchor is used twice"},
    {"{\"$id\":\"http://x/" X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100 "\"}", "/$id",
     "the URI is longer than 1024 bytes"},
    /* dialects */
    {"{\"$schema\":1}", "/$schema", "must be a string"},
    {"{\"$schema\":\"http://x/\"}", "/$schema", "unknown dialect \"http://x/\""},
    {"{\"$schema\":\"http://json-schema.org/draft-04/schema#\"}", "/$schema",
     "unsupported dialect \"http://json-schema.org/draft-04/schema\""},
    {"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema#x\"}", "/$schema",
     "unknown dialect \"https://json-schema.org/draft/2020-12/schema\""},
    {"{\"$schema\":\"meta:none\"}", "/$schema", "unknown dialect \"meta:none\""},
    {"{\"$schema\":\"meta:old\"}", "/$schema", "unsupported dialect \"meta:old\""},
    {"{\"$schema\":\"meta:needs\"}", "/$schema",
     "the metaschema requires the vocabulary \"http://x/vocab\""},
    {"{\"$defs\":{\"a\":{" D7 "}}}", "/$defs/a/$schema",
     "the dialect changes only together with $id"},
    {"{\"$defs\":{\"a\":{\"$schema\":\"meta:few\"}}}", "/$defs/a/$schema",
     "the dialect changes only together with $id"},
    /* references */
    {"{\"$ref\":\"#none\"}", "/$ref", "cannot resolve \"#none\""},
    {"{\"$ref\":\"#/a\"}", "/$ref", "cannot resolve \"#/a\""},
    {"{\"$ref\":\"#/type/x\",\"type\":\"null\"}", "/$ref", "cannot resolve \"#/type/x\""},
    {"{\"$ref\":\"#/allOf/1\",\"allOf\":[true]}", "/$ref", "cannot resolve \"#/allOf/1\""},
    {"{\"$ref\":\"#/allOf/\",\"allOf\":[true]}", "/$ref", "cannot resolve \"#/allOf/\""},
    {"{\"$ref\":\"#/allOf/00\",\"allOf\":[true]}", "/$ref", "cannot resolve \"#/allOf/00\""},
    {"{\"$ref\":\"#/allOf/0000000000\",\"allOf\":[true]}", "/$ref",
     "cannot resolve \"#/allOf/0000000000\""},
    {"{\"$ref\":\"#/allOf/a\",\"allOf\":[true]}", "/$ref", "cannot resolve \"#/allOf/a\""},
    {"{\"$ref\":\"#/allOf/-\",\"allOf\":[true]}", "/$ref", "cannot resolve \"#/allOf/-\""},
    {"{\"$ref\":\"#/$defs/a~2\",\"$defs\":{\"a~2\":1}}", "/$defs/a~02",
     "must be a schema: an object or a boolean"},
    {"{\"$ref\":\"#/x\",\"x\":1}", "/x", "must be a schema: an object or a boolean"},
    {"{\"$ref\":\"doc:broken\"}", "doc:broken#/prefixItems/0/minimum", "must be a number"},
    {"{\"$ref\":\"many:0\"}", "many:63#/$ref", "more than 64 other documents are referred to"},
};

static const struct {
    const char *uri, *text;
} documents[] = {
    {"meta:none", "{}"},
    {"meta:old", "{\"$schema\":\"http://json-schema.org/draft-04/schema#\"}"},
    {"meta:needs", "{\"$schema\":\"" D2020 "/schema\",\"$vocabulary\":{\"http://x/vocab\":true}}"},
    {"meta:few", "{\"$schema\":\"" D2020 "/schema\",\"$vocabulary\":{\"" D2020
                 "/vocab/core\":true,\"http://x/vocab\":false}}"},
    {"meta:whole", "{\"$schema\":\"" D2020 "/schema\"}"},
    {"doc:broken", "{\"prefixItems\":[{\"minimum\":\"1\"}]}"},
};

/* Documents by name, and the chain many:0, many:1, …, each of which refers to the next. */
static yyjson_val *find_document(void *ud, const char *uri, size_t len)
{
    char text[80];
    struct judged *j = ud;

    for (size_t i = 0; i < COUNT(documents); i++) {
        if (len == strlen(documents[i].uri) && !memcmp(uri, documents[i].uri, len))
            return parse(&j->arena, documents[i].text);
    }
    if (len < 5 || memcmp(uri, "many:", 5))
        return NULL;
    snprintf(text, sizeof text, "{\"$ref\":\"many:%d\"}", atoi(uri + 5) + 1);
    return parse(&j->arena, text);
}

static void compile(struct judged *j, const char *schema, const char *dialect)
{
    struct schema_options o = {.host = host_default(),
                               .mem = &j->mem,
                               .resolve = find_document,
                               .ud = j,
                               .default_dialect = dialect};

    mem_init(&j->mem, NULL, NULL);
    arena_init(&j->arena, &j->mem, 4096);
    j->compiled = schema_compile(&j->schema, parse(&j->arena, schema), &o, &j->diag);
}

START_TEST(a_mistake_in_a_schema_is_named_with_its_place)
{
    struct judged j;

    compile(&j, refused[_i].schema, NULL);
    ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
    ck_assert_ptr_null(j.schema);
    ck_assert_msg(!strcmp(j.diag.text, refused[_i].text), "%.80s: %s", refused[_i].schema,
                  j.diag.text);
    ck_assert_msg(!strcmp(j.diag.path, refused[_i].path), "%.80s: %s", refused[_i].schema,
                  j.diag.path);
    judged_free(&j);
}
END_TEST

static const struct {
    const char *schema, *value;
    bool valid;
} taken[] = {
    {"{\"$schema\":\"meta:whole\",\"type\":\"null\"}", "1", false},
    {"{\"$schema\":\"meta:few\",\"type\":\"null\"}", "1",
     true}, /* without the vocabulary that has type */
    {"{" D7
     ",\"$id\":\"http://x/#a\",\"properties\":{\"b\":{\"$ref\":\"#a\"}},\"type\":\"object\"}",
     "{\"b\":1}", false},
    {"{" D7 ",\"$ref\":\"#/definitions/"
     "a\",\"type\":\"null\",\"definitions\":{\"a\":{\"type\":\"string\"}}}",
     "\"x\"", true},
    {"{" D7 ",\"$ref\":\"#/definitions/a\",\"$id\":\"http://y/"
     "\",\"definitions\":{\"a\":{\"type\":\"string\"}}}",
     "1", false},
    {"{\"$defs\":{\"a~b/c\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a~0b~1c\"}", "1", false},
    {"{\"$defs\":{\"a~2\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a~2\"}", "1", false},
    {"{\"$defs\":{\"a~\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a~\"}", "1", false},
    {"{\"$defs\":{\"a b\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a%20b\"}", "1", false},
    {"{\"allOf\":[true,true,true,true,true,true,true,true,true,true,false],\"properties\":{\"a\":{"
     "\"$ref\":\"#/allOf/10\"}}}",
     "{}", false},
    {"{\"properties\":{\"a\":{\"$ref\":\"#/allOf/0\"}},\"allOf\":[{\"type\":\"object\"}]}",
     "{\"a\":1}", false},
    {"{\"$anchor\":\"Az_-.9\",\"properties\":{\"a\":{\"$ref\":\"#Az_-.9\"}},\"type\":\"object\"}",
     "{\"a\":1}", false},
    {"{\"$dynamicAnchor\":\"a\",\"$anchor\":\"a\",\"type\":\"null\"}", "1", false},
    {"{\"multipleOf\":0.5}", "1.25", false},
    {"{\"minLength\":2.0}", "\"a\"", false},
};

START_TEST(a_schema_is_read_as_its_dialect_says)
{
    struct judged j;

    compile(&j, taken[_i].schema, NULL);
    ck_assert_msg(j.compiled == SCHEMA_OK, "%s: %s", taken[_i].schema, j.diag.text);
    j.verdict = schema_check(j.schema, parse(&j.arena, taken[_i].value), 10000, &j.arena, NULL);
    ck_assert_msg(j.verdict == (taken[_i].valid ? SCHEMA_OK : SCHEMA_INVALID), "%s",
                  taken[_i].schema);
    judged_free(&j);
}
END_TEST

START_TEST(the_default_dialect_must_be_built_in)
{
    struct judged j;

    compile(&j, "{\"items\":[false]}", "http://json-schema.org/draft-07/schema#");
    ck_assert_int_eq(j.compiled, SCHEMA_OK);
    judged_free(&j);
    compile(&j, "{\"items\":[false]}", "https://json-schema.org/draft/2020-12/schema");
    ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
    judged_free(&j);
    compile(&j, "{}", "meta:whole");
    ck_assert_int_eq(j.compiled, SCHEMA_INVALID);
    ck_assert_str_eq(j.diag.text, "the default dialect is not supported");
    judged_free(&j);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shapes");
    TCase *t = tcase_create("shapes");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_mistake_in_a_schema_is_named_with_its_place, 0, COUNT(refused));
    tcase_add_loop_test(t, a_schema_is_read_as_its_dialect_says, 0, COUNT(taken));
    tcase_add_test(t, the_default_dialect_must_be_built_in);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
