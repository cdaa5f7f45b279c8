/* Schemas of OpenAPI as JSON Schema 2020-12: what is translated, what is left out, what references become. */
#include "unit/adapt/openapi_import_rig.h"

#define BODY(schema)                                                                               \
    "'/p':{'post':{'operationId':'o','requestBody':{'content':{'application/"                      \
    "json':{'schema':" schema "}}}," ANSWER("{}") "}}"
#define ANSWER(schema)                                                                             \
    "'responses':{'200':{'description':'','content':{'application/json':{'schema':" schema "}}}}"
#define REF(name) "{'$ref':'#/components/schemas/" name "'}"

static struct imported *with_body(const char *version, const char *schema, const char *components)
{
    struct imported *i = import_begin();
    char *paths = malloc(strlen(schema) + 512), *all = malloc(strlen(components) + 64);

    sprintf(paths, BODY("%s"), schema);
    sprintf(all, "'schemas':{%s}", components);
    import_doc(i, version, paths, all);
    ck_assert_msg(i->rc == 0, "%s", i->err);
    free(paths);
    free(all);
    return i;
}

/* ---- one schema ------------------------------------------------------------------------------- */

static const struct {
    const char *version, *from, *to;
} rows[] = {
    {"3.0.3", "{'type':'string','nullable':true}", "{'type':['string','null']}"},
    {"3.0.3", "{'type':'string','nullable':false}", "{'type':'string'}"},
    {"3.0.3", "{'type':'string','nullable':true,'enum':['a']}",
     "{'type':['string','null'],'enum':['a',null]}"},
    {"3.0.3", "{'type':'string','nullable':true,'enum':['a',null]}",
     "{'type':['string','null'],'enum':['a',null]}"},
    {"3.0.3", "{'nullable':true,'allOf':[{'type':'object'}]}",
     "{'anyOf':[{'type':'null'},{'allOf':[{'type':'object'}]}]}"},
    {"3.0.3",
     "{'type':'integer','minimum':1,'exclusiveMinimum':true,'maximum':9,'exclusiveMaximum':false}",
     "{'type':'integer','exclusiveMinimum':1,'maximum':9}"},
    {"3.0.3", "{'maximum':9,'exclusiveMaximum':true}", "{'exclusiveMaximum':9}"},
    {"3.1.0", "{'exclusiveMinimum':1,'minimum':0}", "{'exclusiveMinimum':1,'minimum':0}"},
    {"3.0.3", "{'type':'object','example':{'a':1},'xml':{},'externalDocs':{},'x-a':1,'title':'t'}",
     "{'type':'object','title':'t'}"},
    {"3.1.0",
     "{'$schema':'http://json-schema.org/draft-04/schema#','$id':'https://a/"
     "b','$comment':'c','type':['string','null'],'examples':[1]}",
     "{'type':['string','null']}"},
    {"3.1.0",
     "{'type':'array','items':{'type':'string','nullable':true},'contains':{'x-b':1},'maxItems':2}",
     "{'type':'array','items':{'type':['string','null']},'contains':{},'maxItems':2}"},
    {"3.1.0", "{'items':[{'x-a':1},true]}", "{'prefixItems':[{},true]}"},
    {"3.1.0",
     "{'properties':{'example':{'example':1},'$ref':{'type':'string'},'required':{},'x-a':{}},'"
     "additionalProperties':false}",
     "{'properties':{'example':{},'$ref':{'type':'string'},'required':{},'x-a':{}},'"
     "additionalProperties':false}"},
    {"3.1.0", "{'$ref':{'type':'string'}}", "{}"},
    {"3.1.0", "{'const':{'$ref':'#/no','example':1},'default':{'x-a':1},'enum':[{'$ref':'#/no'}]}",
     "{'const':{'$ref':'#/no','example':1},'default':{'x-a':1},'enum':[{'$ref':'#/no'}]}"},
    {"3.1.0",
     "{'if':{'x-a':1},'then':{'x-a':1},'else':false,'not':{'example':1},'dependentSchemas':{'a':{'"
     "x-a':1}},'patternProperties':{'^x':{'x-a':1}}}",
     "{'if':{},'then':{},'else':false,'not':{},'dependentSchemas':{'a':{}},'patternProperties':{'^"
     "x':{}}}"},
    {"3.1.0",
     "{'type':'object','required':['a','b'],'properties':{'a':{'readOnly':true},'b':{'writeOnly':"
     "true}}}",
     "{'type':'object','required':['b'],'properties':{'a':{'readOnly':true},'b':{'writeOnly':true}}"
     "}"},
    {"3.1.0", "{'required':['a','b'],'allOf':[{'allOf':[{'properties':{'a':{'readOnly':true}}}]}]}",
     "{'required':['b'],'allOf':[{'allOf':[{'properties':{'a':{'readOnly':true}}}]}]}"},
    {"3.1.0", "{'minimum':1.10,'maximum':1e400,'multipleOf':12345678901234567890}",
     "{'minimum':1.10,'maximum':1e400,'multipleOf':12345678901234567890}"},
    {"3.1.0", "{'description':'a\\u0000\\ud83d\\ude00\\\\b'}",
     "{'description':'a\\u0000\xf0\x9f\x98\x80\\\\b'}"},
    {"3.1.0", "true", "true"},
    {"3.1.0", "5", "{}"},
    {"3.1.0", "null", "{}"},
    {"3.1.0", "{'properties':5,'required':5,'allOf':5,'items':5}",
     "{'properties':{},'required':[],'allOf':[],'items':{}}"},
};

START_TEST(a_schema_is_translated)
{
    struct imported *i = with_body(rows[_i].version, rows[_i].from, "");

    ck_spec(i, "x/o", "/input_schema/properties/body", rows[_i].to);
    import_end(i);
}
END_TEST

/* ---- references ------------------------------------------------------------------------------- */

START_TEST(what_is_referred_to_is_written_once)
{
    struct imported *i =
        with_body("3.1.0", "{'oneOf':[" REF("A") "," REF("A") "," REF("B") "]}",
                  "'A':{'properties':{'b':" REF("B") "}},'B':{'type':'string'},'C':{}");

    ck_spec(i, "x/o", "/input_schema/properties/body",
            "{'oneOf':[{'$ref':'#/$defs/A'},{'$ref':'#/$defs/A'},{'$ref':'#/$defs/B'}]}");
    ck_spec(i, "x/o", "/input_schema/$defs",
            "{'A':{'properties':{'b':{'$ref':'#/$defs/B'}}},'B':{'type':'string'}}");
    import_end(i);
}
END_TEST

START_TEST(circles_stay_references_and_are_enforced)
{
    struct imported *i =
        with_body("3.0.3", REF("Node"),
                  "'Node':{'type':'object','required':['v'],'properties':{'v':{'type':'integer'},'"
                  "next':" REF("Node") ",'tree':{'type':'array','items':" REF(
                      "Other") "}}},'Other':{'nullable':true,'allOf':[" REF("Node") "]}");

    ck_spec(i, "x/o", "/input_schema/$defs/Other",
            "{'anyOf':[{'type':'null'},{'allOf':[{'$ref':'#/$defs/Node'}]}]}");
    ck_assert_ptr_nonnull(imported_op(i, "x/o")->input);
    ck_assert_uint_eq(i->warned, 0);
    import_end(i);
}
END_TEST

START_TEST(members_beside_a_reference_count_from_31_on)
{
    struct imported *i = with_body("3.0.3", "{'$ref':'#/components/schemas/A','maxLength':3}",
                                   "'A':{'type':'string'}");

    ck_spec(i, "x/o", "/input_schema/properties/body", "{'$ref':'#/$defs/A'}");
    import_end(i);
    i = with_body("3.1.0", "{'$ref':'#/components/schemas/A','maxLength':3}",
                  "'A':{'type':'string'}");
    ck_spec(i, "x/o", "/input_schema/properties/body", "{'$ref':'#/$defs/A','maxLength':3}");
    import_end(i);
}
END_TEST

START_TEST(a_reference_to_itself_alone_leaves_the_operation_out)
{
    static const char *const circles[] = {"'A':" REF("A"), "'A':" REF("B") ",'B':" REF("A")};

    for (size_t k = 0; k < 2; k++) {
        struct imported *i = with_body("3.1.0", REF("A"), circles[k]);

        ck_assert_uint_eq(i->count, 0);
        ck_assert_uint_eq(i->warned, 1);
        import_end(i);
    }
}
END_TEST

START_TEST(names_of_definitions_are_made_unique)
{
    struct imported *i = import_begin();

    import_text(i, "{'openapi':'3.1.0','paths':{'/"
                   "p':{'post':{'operationId':'o','requestBody':{'content':{'application/"
                   "json':{'schema':{'anyOf':["
                   "{'$ref':'#/components/schemas/a~1b'},{'$ref':'#/components/schemas/"
                   "a~0b'},{'$ref':'#/x-1/a'},{'$ref':'#/x-2/a'},{'$ref':'#/x-2/%20%7B'}]}}}}}}},"
                   "'components':{'schemas':{'a/"
                   "b':{'const':1},'a~b':{'const':2}}},'x-1':{'a':{'const':3}},'x-2':{'a':{'const':"
                   "4},' {':{'const':5}}}");
    ck_assert_int_eq(i->rc, 0);
    ck_spec(i, "x/o", "/input_schema/$defs",
            "{'a_1b':{'const':1},'a_0b':{'const':2},'a':{'const':3},'a_3':{'const':4},'_20_7B':{'"
            "const':5}}");
    import_end(i);
}
END_TEST

/* Stack and time stay bounded. */
START_TEST(a_chain_of_twenty_thousand_references_is_walked)
{
    size_t count = 20000, n = 0;
    char *components = malloc(count * 80);
    struct imported *i;

    for (size_t k = 0; k < count; k++)
        n += (size_t)sprintf(components + n, "%s'S%zu':{'properties':{'n':" REF("S%zu") "}}",
                             k ? "," : "", k, k + 1 < count ? k + 1 : 0);
    i = with_body("3.1.0", REF("S0"), components);
    ck_assert_uint_eq(i->count + i->warned, 1);
    import_end(i);
    free(components);
}
END_TEST

START_TEST(an_operation_whose_schemas_are_too_large_is_left_out)
{
    char *components = malloc(3u << 20);
    struct imported *i;
    size_t n = 0;

    for (size_t k = 0; k < 30; k++) {
        n += (size_t)sprintf(components + n, "%s'S%zu':{'allOf':[" REF("S%zu") "],'description':'",
                             k ? "," : "", k, (k + 1) % 30);
        memset(components + n, 'd', 50000);
        n += 50000;
        n += (size_t)sprintf(components + n, "'}");
    }
    i = with_body("3.1.0", REF("S0"), components);
    ck_assert_uint_eq(i->count, 0);
    ck_assert_ptr_nonnull(strstr(i->warnings, "larger than 1048576 bytes"));
    import_end(i);
    free(components);
}
END_TEST

/* ---- discriminators --------------------------------------------------------------------------- */

static bool fits(const struct imported *i, const char *input)
{
    char *text = double_quoted(input);
    struct mem mem;
    struct arena arena;
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    int rc;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 4096);
    ck_assert_ptr_nonnull(imported_op(i, "x/o")->input);
    rc = schema_check(imported_op(i, "x/o")->input, yyjson_doc_get_root(doc), 100000, &arena, NULL);
    arena_fini(&arena);
    yyjson_doc_free(doc);
    free(text);
    return rc == SCHEMA_OK;
}

START_TEST(a_discriminator_tells_which_alternative_counts)
{
    struct imported *i = with_body(
        "3.0.3",
        "{'oneOf':[" REF("Cat") "," REF("Dog") "],'discriminator':{'propertyName':'kind','mapping':"
                                               "{'hund':'#/components/schemas/Dog','wau':'Dog'}}}",
        "'Cat':{'type':'object','properties':{'kind':{'type':'string'},'n':{'type':'integer'}}},"
        "'Dog':{'type':'object','properties':{'kind':{'type':'string'},'n':{'type':'integer','"
        "maximum':3}}}");

    ck_assert(fits(i, "{'body':{'kind':'Cat','n':5}}"));
    ck_assert(fits(i, "{'body':{'kind':'hund','n':3}}"));
    ck_assert(fits(i, "{'body':{'kind':'wau'}}"));
    ck_assert(!fits(i, "{'body':{'kind':'hund','n':5}}"));
    ck_assert(!fits(i, "{'body':{'kind':'Dog'}}"));
    ck_assert(!fits(i, "{'body':{'n':5}}"));
    import_end(i);
}
END_TEST

/* ---- directions ------------------------------------------------------------------------------- */

START_TEST(what_is_written_only_is_not_required_of_an_answer)
{
    struct imported *i = import_begin();

    import_doc(
        i, "3.0.3",
        "'/p':{'post':{'operationId':'o','requestBody':{'content':{'application/"
        "json':{'schema':" REF("U") "}}}," ANSWER(REF("U")) "}}",
        "'schemas':{'Id':{'type':'string','readOnly':true},'U':{'required':['id','password','name']"
        ",'properties':{'id':" REF("Id") ",'password':{'writeOnly':true},'name':{}}}}");
    ck_spec(i, "x/o", "/input_schema/$defs/U/required", "['password','name']");
    ck_spec(i, "x/o", "/output_schema/$defs/U/required", "['id','name']");
    ck_assert(fits(i, "{'body':{'password':'p','name':'n'}}"));
    ck_assert(!fits(i, "{'body':{'name':'n'}}"));
    import_end(i);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        what_is_referred_to_is_written_once,
        circles_stay_references_and_are_enforced,
        members_beside_a_reference_count_from_31_on,
        a_reference_to_itself_alone_leaves_the_operation_out,
        names_of_definitions_are_made_unique,
        a_chain_of_twenty_thousand_references_is_walked,
        an_operation_whose_schemas_are_too_large_is_left_out,
        a_discriminator_tells_which_alternative_counts,
        what_is_written_only_is_not_required_of_an_answer,
    };
    Suite *suite = suite_create("openapi_schema");
    TCase *tcase = tcase_create("openapi_schema");
    SRunner *runner = srunner_create(suite);
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, a_schema_is_translated, 0, (int)(sizeof rows / sizeof rows[0]));
    tcase_set_timeout(tcase, 30);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
