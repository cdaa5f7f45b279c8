/* What becomes of an OpenAPI document: names, kinds, inputs, errors, servers, security; and what of it is left out, in words. */
#include "unit/adapt/openapi_import_rig.h"

#define OK "'responses':{'200':{'description':'','content':{'application/json':{}}}}"
#define GET(rest) "{'get':{" rest OK "}}"

static void tell(void *ud, const char *name, uint32_t type, const char *method, const char *base,
                 const char *path)
{
    char *out = ud;
    size_t n = strlen(out);

    snprintf(out + n, 512 - n, "%s %u %s %s %s\n", name, type, method, base, path);
}

static struct imported *imported(const char *version, const char *paths, const char *components)
{
    struct imported *i = import_begin();

    import_doc(i, version, paths, components);
    ck_assert_msg(i->rc == 0, "%s", i->err);
    return i;
}

/* ---- names ------------------------------------------------------------------------------------ */

START_TEST(an_operation_id_is_the_name_behind_the_prefix)
{
    static const struct {
        const char *id, *name;
    } rows[] = {
        {"listPets", "x/listPets"},   {"repos/get", "x/repos/get"}, {"a b:c", "x/a_b_c"},
        {"/a//b/", "x/a/b"},          {"../up", "x/__/up"},         {"./here", "x/_/here"},
        {"__proto__", "x/__proto__"}, {"\\u00fc", "x/__"},          {"/", "x/_"},
        {"a\\u0000b", "x/a_b"},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        char paths[512];
        struct imported *i;

        snprintf(paths, sizeof paths, "'/a':{'get':{'operationId':'%s'," OK "}}", rows[k].id);
        i = imported("3.1.0", paths, "");
        ck_assert_uint_eq(i->count, 1);
        imported_op(i, rows[k].name);
        import_end(i);
    }
}
END_TEST

START_TEST(without_an_operation_id_the_name_is_of_method_and_literal_segments)
{
    struct imported *i = imported(
        "3.1.0",
        "'/':" GET("") ",'/pets/{id}/toys':{'parameters':[{'name':'id','in':'path','required':true,"
                       "'schema':{'type':'string'}}],'delete':{" OK "}},'/{all}':" GET(""),
        "");

    imported_op(i, "x/get_root");
    imported_op(i, "x/delete_pets_toys");
    imported_op(i, "x/get_root_2");
    ck_assert_uint_eq(i->count, 3);
    import_end(i);
}
END_TEST

/* The one whose id is a name keeps it, wherever it stands. */
START_TEST(names_that_collide_are_numbered_and_exact_ones_stay)
{
    struct imported *i = imported(
        "3.1.0",
        "'/a':" GET("'operationId':'a b',") ",'/b':" GET("'operationId':'a:b',") ",'/c':" GET(
            "'operationId':'a_b',") ",'/d':" GET("'operationId':'a_b',"),
        "");

    ck_assert_str_eq(imported_plan(i, "x/a_b")->pieces[0].literal.p, "/c");
    ck_assert_str_eq(imported_plan(i, "x/a_b_2")->pieces[0].literal.p, "/a");
    ck_assert_str_eq(imported_plan(i, "x/a_b_3")->pieces[0].literal.p, "/b");
    ck_assert_str_eq(imported_plan(i, "x/a_b_4")->pieces[0].literal.p, "/d");
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1a/get: the name is taken: it is x/a_b_2"));
    import_end(i);
}
END_TEST

START_TEST(an_operation_id_of_ten_kilobytes_is_cut_and_stays_its_own)
{
    char *paths = malloc(40000), id[10001];
    struct imported *i;
    size_t n = 0, ours = 0;

    memset(id, 'a', 10000);
    id[10000] = 0;
    n += (size_t)sprintf(paths + n, "'/a':{'get':{'operationId':'%s'," OK "}},", id);
    id[9999] = 'b';
    sprintf(paths + n, "'/b':{'get':{'operationId':'%s'," OK "}}", id);
    i = imported("3.1.0", paths, "");
    ck_assert_uint_eq(i->count, 2);
    for (size_t k = 0; k <= i->reg->by_name.mask; k++) {
        for (struct map_node *m = i->reg->by_name.slots[k]; m; m = m->next)
            ours += m->len == NAME_MAX_BYTES && !memcmp(m->key, "x/aaaaaaaa", 10);
    }
    ck_assert_uint_eq(ours, 2);
    import_end(i);
    free(paths);
}
END_TEST

START_TEST(many_operations_of_one_name_are_no_square)
{
    char *paths = malloc(2u << 20);
    struct imported *i;
    size_t n = 0;

    for (int k = 0; k < 10000; k++)
        n += (size_t)sprintf(paths + n, "%s'/p%d':{'get':{'operationId':'same'," OK "}}",
                             k ? "," : "", k);
    i = imported("3.1.0", paths, "");
    ck_assert_uint_eq(i->count, 10000);
    imported_op(i, "x/same_10000");
    import_end(i);
    free(paths);
}
END_TEST

START_TEST(what_has_been_imported_is_told_and_nothing_of_what_has_not)
{
    static const char paths[] =
        "'/b/{id}':{'get':{'operationId':'b'," OK
        "},'post':{'operationId':'no','parameters':[{}]," OK "}},'/a':{'head':{" OK
        "},'post':{'operationId':'s','servers':[{'url':'/v2/'}],'responses':{"
        "'200':{'description':'','content':{'text/event-stream':{}}}}}}";
    static const char want[] = "x/b 1 GET https://api.example /b/{id}\n"
                               "x/s 3 POST https://api.example/v2 /a\n"
                               "x/head_a 1 HEAD https://api.example /a\n";
    struct imported *i = import_begin();
    char told[512] = "";

    i->o.base_url = NULL;
    i->o.document_url = "https://api.example/x.json";
    i->o.on_warning = NULL;
    i->o.on_operation = tell;
    i->o.ud = told;
    import_doc(i, "3.1.0", paths, "");
    ck_assert_str_eq(told, want);
    ck_assert_uint_eq(i->count, 3);
    import_doc(i, "3.1.0", paths, "");
    ck_assert_int_eq(i->rc, ALK_EEXIST);
    ck_assert_str_eq(told, want);
    import_end(i);
}
END_TEST

/* ---- kinds ------------------------------------------------------------------------------------ */

START_TEST(methods_and_event_streams_make_the_kind)
{
    struct imported *i = imported(
        "3.2.0",
        "'/a':{'get':{" OK "},'head':{" OK "},'post':{" OK "},'query':{" OK "},"
        "'additionalOperations':{'COPY':{" OK "}},"
        "'put':{'responses':{'200':{'description':'','content':{'text/event-stream':{}}}}},"
        "'patch':{'responses':{'default':{'description':'','content':{'text/event-stream':{}}}}}}",
        "");

    ck_assert_int_eq(imported_op(i, "x/get_a")->type, ALK_QUERY);
    ck_assert_int_eq(imported_op(i, "x/head_a")->type, ALK_QUERY);
    ck_assert_int_eq(imported_op(i, "x/post_a")->type, ALK_MUTATION);
    ck_assert_int_eq(imported_op(i, "x/query_a")->type, ALK_MUTATION);
    ck_assert_int_eq(imported_op(i, "x/copy_a")->type, ALK_MUTATION);
    ck_assert_int_eq(imported_op(i, "x/put_a")->type, ALK_SUBSCRIPTION);
    ck_assert_int_eq(imported_op(i, "x/patch_a")->type, ALK_MUTATION);
    ck_assert(imported_plan(i, "x/get_a")->idempotent);
    ck_assert(!imported_plan(i, "x/post_a")->idempotent);
    ck_assert_int_eq(imported_op(i, "x/get_a")->provenance, ALK_FROM_OPENAPI);
    ck_assert(imported_op(i, "x/get_a")->forwards);
    import_end(i);
}
END_TEST

START_TEST(an_operation_may_stand_behind_a_reference)
{
    struct imported *i = imported(
        "3.1.0",
        "'/a':{'get':{'$ref':'#/components/x-ops/one'},'put':{'$ref':'#/components/x-ops/none'}}",
        "'x-ops':{'one':{'operationId':'one'," OK "}}");

    ck_assert_uint_eq(i->count, 1);
    imported_op(i, "x/one");
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1a/put: "));
    import_end(i);
}
END_TEST

START_TEST(requests_that_show_secrets_or_open_tunnels_are_not_made)
{
    struct imported *i = imported(
        "3.2.0",
        "'/a':{'trace':{" OK "},'additionalOperations':{'CONNECT':{" OK "},'A B':{" OK "}}}", "");

    ck_assert_uint_eq(i->count, 0);
    ck_assert_uint_eq(i->warned, 3);
    import_end(i);
}
END_TEST

/* ---- who may call ----------------------------------------------------------------------------- */

START_TEST(what_is_imported_is_internal_without_a_rule)
{
    struct imported *i = imported("3.1.0", "'/a':" GET(""), "");

    ck_assert_int_eq(imported_op(i, "x/get_a")->visibility, ALK_INTERNAL_ONLY);
    import_end(i);

    i = import_begin();
    i->o.access_control = "{\"required_scopes\":[\"pets\"]}";
    import_doc(i, "3.1.0", "'/a':" GET(""), "");
    ck_assert_int_eq(imported_op(i, "x/get_a")->visibility, ALK_EXTERNAL);
    ck_spec(i, "x/get_a", "/access_control/required_scopes", "['pets']");
    import_end(i);

    i = import_begin();
    i->o.is_public = 1;
    import_doc(i, "3.1.0", "'/a':" GET(""), "");
    ck_assert_int_eq(imported_op(i, "x/get_a")->visibility, ALK_EXTERNAL);
    i->o.access_control = "{}";
    import_doc(i, "3.1.0", "'/b':" GET(""), "");
    ck_assert_int_eq(i->rc, ALK_EINVAL);
    import_end(i);
}
END_TEST

/* ---- input ------------------------------------------------------------------------------------ */

START_TEST(parameters_of_path_and_operation_and_behind_references_are_properties)
{
    struct imported *i = imported(
        "3.1.0",
        "'/p/"
        "{id}':{'parameters':[{'name':'id','in':'path','required':true,'schema':{'type':'string'}},"
        "{'name':'n','in':'query','schema':{'type':'string'}},{'$ref':'#/components/parameters/"
        "Page'}],"
        "'get':{'operationId':'o','summary':'a\\u0000b','description':'All of "
        "it.','deprecated':true,'parameters':[{'name':'n','in':'query','required':true,"
        "'description':'how many','schema':{'type':'integer'}}]," OK "}}",
        "'parameters':{'Page':{'name':'page','in':'query','deprecated':true,'schema':{'type':'"
        "integer','minimum':1}}}");

    ck_spec(i, "x/o", "/input_schema",
            "{'type':'object','description':'All of "
            "it.','deprecated':true,'properties':{'id':{'type':'string'},"
            "'n':{'type':'integer','description':'how "
            "many'},'page':{'type':'integer','minimum':1,'deprecated':true}},"
            "'required':['id','n'],'additionalProperties':false}");
    ck_spec(i, "x/o", "/description", "'a\\u0000b'");
    ck_assert_uint_eq(i->warned, 0);
    import_end(i);
}
END_TEST

START_TEST(parameters_of_one_name_in_two_places_are_two_properties)
{
    struct imported *i = imported(
        "3.1.0",
        "'/p/"
        "{id}':{'post':{'operationId':'o','parameters':[{'name':'id','in':'path','required':true,'"
        "schema':{}},"
        "{'name':'id','in':'query','schema':{}},{'name':'body','in':'query','schema':{}},{'name':'"
        "id','in':'cookie','schema':{}}],"
        "'requestBody':{'content':{'application/json':{'schema':{'type':'integer'}}}}," OK "}}",
        "");

    ck_spec(i, "x/o", "/input_schema/properties",
            "{'id':{},'query_id':{},'query_body':{},'cookie_id':{},'body':{'type':'integer'}}");
    import_end(i);
}
END_TEST

START_TEST(headers_that_a_request_has_of_itself_are_no_parameters)
{
    struct imported *i = imported(
        "3.1.0",
        "'/p':{'get':{'operationId':'o','parameters':[{'name':'Accept','in':'header','schema':{}},"
        "{'name':'content-type','in':'header','schema':{}},{'name':'AUTHORIZATION','in':'header','"
        "schema':{}},"
        "{'name':'Host','in':'header','schema':{}},{'name':'Transfer-Encoding','in':'header','"
        "schema':{}},"
        "{'name':'a\\r\\nb','in':'header','schema':{}},{'name':'a;b','in':'cookie','schema':{}},"
        "{'name':'X-Ok','in':'header','schema':{}}]," OK "}}",
        "");

    ck_spec(i, "x/o", "/input_schema/properties", "{'X-Ok':{}}");
    ck_assert_uint_eq(i->warned, 4);
    import_end(i);
}
END_TEST

START_TEST(a_parameter_in_the_place_of_a_credential_is_none)
{
    struct imported *i =
        imported("3.1.0",
                 "'/"
                 "p':{'get':{'operationId':'o','security':[{'k':[]}],'parameters':[{'name':'x-KEY',"
                 "'in':'header','schema':{}},"
                 "{'name':'X-Key','in':'query','schema':{}}]," OK "}}",
                 "'securitySchemes':{'k':{'type':'apiKey','in':'header','name':'X-Key'}}");

    ck_spec(i, "x/o", "/input_schema/properties", "{'X-Key':{}}");
    ck_assert_int_eq(imported_plan(i, "x/o")->params[0].in, IN_QUERY);
    import_end(i);
}
END_TEST

START_TEST(styles_are_those_of_their_places)
{
    static const struct {
        const char *param;
        int style;
        bool explode;
    } rows[] = {
        {"'in':'query','schema':{}", STYLE_FORM, true},
        {"'in':'query','explode':false,'schema':{}", STYLE_FORM, false},
        {"'in':'query','style':'spaceDelimited','schema':{}", STYLE_SPACE, false},
        {"'in':'query','style':'pipeDelimited','explode':true,'schema':{}", STYLE_PIPE, true},
        {"'in':'query','style':'deepObject','explode':true,'schema':{}", STYLE_DEEP, true},
        {"'in':'query','style':'matrix','schema':{}", STYLE_FORM, true},
        {"'in':'query','content':{'application/json':{'schema':{}}}", STYLE_JSON, true},
        {"'in':'header','schema':{}", STYLE_SIMPLE, false},
        {"'in':'header','explode':true,'schema':{}", STYLE_SIMPLE, true},
        {"'in':'cookie','schema':{}", STYLE_FORM, true},
        {"'in':'cookie','style':'cookie','schema':{}", STYLE_COOKIE, true},
        {"'in':'path','required':true,'schema':{}", STYLE_SIMPLE, false},
        {"'in':'path','required':true,'style':'label','schema':{}", STYLE_LABEL, false},
        {"'in':'path','required':true,'style':'matrix','explode':true,'schema':{}", STYLE_MATRIX,
         true},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        const struct oas_param *p;
        struct imported *i;
        char paths[512];

        snprintf(paths, sizeof paths,
                 "'/p%s':{'get':{'operationId':'o','parameters':[{'name':'n',%s}]," OK "}}",
                 strstr(rows[k].param, "'path'") ? "/{n}" : "", rows[k].param);
        i = imported("3.2.0", paths, "");
        p = &imported_plan(i, "x/o")->params[0];
        ck_assert_msg(p->style == rows[k].style && p->explode == rows[k].explode, "%s: %d %d",
                      rows[k].param, p->style, p->explode);
        import_end(i);
    }
}
END_TEST

START_TEST(a_path_parameter_that_is_not_described_is_a_string)
{
    struct imported *i = imported("3.1.0", "'/p/{id}.{ext}':" GET("'operationId':'o',"), "");

    ck_spec(i, "x/o", "/input_schema/required", "['id','ext']");
    ck_assert_uint_eq(imported_plan(i, "x/o")->piece_count, 4);
    ck_assert_uint_eq(i->warned, 2);
    import_end(i);
}
END_TEST

START_TEST(paths_that_would_lead_elsewhere_are_left_out)
{
    static const char *const paths[] = {"/a?b=c", "/a/../b", "/./a",     "/a/%2e%2E/b", "/a/.%2e",
                                        "/a/{",   "a",       "//h/../x", "/{}"};

    for (size_t k = 0; k < sizeof paths / sizeof paths[0]; k++) {
        char text[256];
        struct imported *i;

        snprintf(text, sizeof text, "'%s':%s,'/fine':%s", paths[k], GET(""),
                 GET("'operationId':'fine',"));
        i = imported("3.1.0", text, "");
        ck_assert_msg(i->count == 1 && i->warned == 1, "%s: %zu %s", paths[k], i->count,
                      i->warnings);
        imported_op(i, "x/fine");
        import_end(i);
    }
}
END_TEST

START_TEST(bodies_are_of_the_media_type_that_says_most)
{
    static const struct {
        const char *content;
        int kind;
        const char *type, *schema;
    } rows[] = {
        {"'text/plain':{},'application/json':{'schema':{'type':'object'}}", BODY_JSON,
         "application/json", "{'type':'object'}"},
        {"'application/vnd.x+json':{}", BODY_JSON, "application/vnd.x+json", "{}"},
        {"'*/*':{'schema':{'type':'array'}}", BODY_JSON, "application/json", "{'type':'array'}"},
        {"'application/"
         "x-www-form-urlencoded':{'schema':{'type':'object','properties':{'a':{'type':'string'}}}}",
         BODY_FORM, "application/x-www-form-urlencoded",
         "{'type':'object','properties':{'a':{'type':'string'}}}"},
        {"'multipart/form-data':{}", BODY_MULTIPART, "multipart/form-data", "{'type':'object'}"},
        {"'text/markdown':{'schema':{'type':'string','maxLength':4}}", BODY_TEXT, "text/markdown",
         "{'type':'string'}"},
        {"'image/*':{}", BODY_BINARY, "application/octet-stream",
         "{'type':'string','contentEncoding':'base64'}"},
        {"'application/zip':{'schema':{'type':'string','format':'binary'}}", BODY_BINARY,
         "application/zip", "{'type':'string','contentEncoding':'base64'}"},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct imported *i;
        char text[512];

        snprintf(
            text, sizeof text,
            "'/p':{'post':{'operationId':'o','requestBody':{'required':true,'content':{%s}}," OK
            "}}",
            rows[k].content);
        i = imported("3.1.0", text, "");
        ck_assert_int_eq(imported_plan(i, "x/o")->body, rows[k].kind);
        ck_assert_str_eq(imported_plan(i, "x/o")->content_type.p, rows[k].type);
        ck_spec(i, "x/o", "/input_schema/properties/body", rows[k].schema);
        ck_spec(i, "x/o", "/input_schema/required", "['body']");
        import_end(i);
    }
}
END_TEST

START_TEST(parts_of_forms_are_as_the_document_says)
{
    struct imported *i =
        imported("3.0.3",
                 "'/p':{'post':{'operationId':'o','requestBody':{'content':{'multipart/"
                 "form-data':{'schema':{'$ref':'#/components/schemas/U'},"
                 "'encoding':{'meta':{'contentType':'application/"
                 "json'},'logo':{'contentType':'image/png, image/jpeg'}}}}}," OK "}}",
                 "'schemas':{'U':{'type':'object','properties':{'f':{'type':'string','format':'"
                 "binary'},'many':{'type':'array','items':{'type':'string',"
                 "'format':'binary'}},'meta':{'type':'object'},'logo':{'type':'string','format':'"
                 "binary'},'t':{'type':'string'}}}}");
    const struct oas_plan *plan = imported_plan(i, "x/o");

    ck_assert_uint_eq(plan->part_count, 5);
    ck_assert(plan->parts[0].binary && plan->parts[1].binary && plan->parts[3].binary);
    ck_assert_str_eq(plan->parts[0].content_type.p, "application/octet-stream");
    ck_assert(plan->parts[2].json && !plan->parts[2].binary);
    ck_assert_str_eq(plan->parts[3].content_type.p, "image/png");
    ck_assert(!plan->parts[4].binary && !plan->parts[4].content_type.p);
    import_end(i);
}
END_TEST

/* ---- answers ---------------------------------------------------------------------------------- */

START_TEST(the_output_is_of_the_first_success_that_is_json)
{
    static const struct {
        const char *responses, *output;
    } rows[] = {
        {"'201':{'description':'','content':{'application/"
         "json':{'schema':{'type':'integer'}}}},'200':{'description':'',"
         "'content':{'application/json':{'schema':{'type':'string'}}}}",
         "{'allOf':[{'type':'string'}]}"},
        {"'200':{'description':''},'2XX':{'description':'','content':{'application/"
         "hal+json':{'schema':{'type':'array'}}}}",
         "{'allOf':[{'type':'array'}]}"},
        {"'default':{'description':'','content':{'application/json':{'schema':{'type':'null'}}}}",
         "{'allOf':[{'type':'null'}]}"},
        {"'200':{'description':'','content':{'text/plain':{'schema':{'type':'integer'}}}}",
         "{'type':'string'}"},
        {"'200':{'description':'','content':{'text/html':{},'application/"
         "json':{'schema':{'type':'number'}}}}",
         "{'allOf':[{'type':'number'}]}"},
        {"'200':{'description':'','content':{'image/png':{}}}",
         "{'type':'object','properties':{'content_type':{'type':'string'},'base64':{'type':'string'"
         ",'contentEncoding':'base64'}}}"},
        {"'204':{'description':''}", "null"},
        {"'200':{'description':'','content':{'text/"
         "event-stream':{'itemSchema':{'properties':{'data':{'contentSchema':{'type':'boolean'}}}}}"
         "}}",
         "{'allOf':[{'type':'boolean'}]}"},
        {"'200':{'description':'','content':{'text/"
         "event-stream':{'schema':{'type':'integer'}},'application/"
         "json':{'schema':{'type':'string'}}}}",
         "{'allOf':[{'type':'integer'}]}"},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct imported *i;
        char text[1024];

        snprintf(text, sizeof text, "'/p':{'get':{'operationId':'o','responses':{%s}}}",
                 rows[k].responses);
        i = imported("3.2.0", text, "");
        ck_spec(i, "x/o", "/output_schema", rows[k].output);
        import_end(i);
    }
}
END_TEST

START_TEST(other_answers_are_errors_by_their_status)
{
    struct imported *i = imported("3.1.0",
                                  "'/"
                                  "p':{'get':{'operationId':'o','responses':{'200':{'description':'"
                                  "'},'304':{'description':'same'},"
                                  "'404':{'$ref':'#/components/responses/"
                                  "N'},'4XX':{'description':''},'default':{'description':''},"
                                  "'503':{'description':'','content':{'text/plain':{}}}}}}",
                                  "'responses':{'N':{'description':'none','content':{'application/"
                                  "problem+json':{'schema':{'type':'object'}}}}}");

    ck_spec(i, "x/o", "/error_schemas",
            "[{'code':'HTTP_304','description':'same','schema':null,'http_status':null},"
            "{'code':'HTTP_404','description':'none','schema':{'allOf':[{'type':'object'}]},'http_"
            "status':404},"
            "{'code':'HTTP_503','description':'','schema':null,'http_status':503}]");
    import_end(i);
}
END_TEST

START_TEST(accept_lists_what_is_known)
{
    struct imported *i = imported("3.1.0",
                                  "'/"
                                  "a':{'get':{'operationId':'a','responses':{'200':{'description':'"
                                  "','content':{'application/json; v=1':{},"
                                  "'Text/CSV':{}}},'201':{'description':'','content':{'application/"
                                  "json':{}}}}}},'/b':{'get':{'operationId':'b',"
                                  "'responses':{'200':{'description':'','content':{'application/"
                                  "json':{},'text/event-stream':{},'a\\r\\nb/c':{}}}}}},"
                                  "'/c':{'get':{'operationId':'c'}}",
                                  "");

    ck_assert_str_eq(imported_plan(i, "x/a")->headers.p,
                     "Accept: application/json, text/csv, */*;q=0.1\r\n");
    ck_assert_str_eq(imported_plan(i, "x/b")->headers.p,
                     "Accept: text/event-stream, application/json, */*;q=0.1\r\n");
    ck_assert_str_eq(imported_plan(i, "x/c")->headers.p, "Accept: */*;q=0.1\r\n");
    import_end(i);

    i = import_begin();
    i->o.default_headers = "{\"Accept\":\"application/vnd.github+json\",\"X-A\":\"1\"}";
    import_doc(i, "3.1.0", "'/c':{'get':{'operationId':'c'}}", "");
    ck_assert_str_eq(imported_plan(i, "x/c")->headers.p,
                     "Accept: application/vnd.github+json\r\nX-A: 1\r\n");
    import_end(i);
}
END_TEST

/* ---- servers ---------------------------------------------------------------------------------- */

struct server_row {
    const char *configured, *url, *servers, *variables;
    const char *base; /* or the beginning of what is wrong */
};

static const struct server_row servers[] = {
    {"https://API.Example:443/v1/", NULL, "[{'url':'https://evil.example'}]", NULL,
     "https://api.example/v1"},
    {"http://h.:8080", NULL, "[]", NULL, "http://h:8080"},
    {"http://[::1]:80/a", NULL, "[]", NULL, "http://[::1]/a"},
    {NULL, NULL, "[{'url':'https://a.example/x/'},{'url':'https://b.example'}]", NULL,
     "https://a.example/x"},
    {NULL, NULL,
     "[{'url':'https://{r}.a.example/"
     "{v}','variables':{'r':{'default':'eu'},'v':{'default':'v1'}}}]",
     NULL, "https://eu.a.example/v1"},
    {NULL, NULL,
     "[{'url':'https://{r}.a.example','variables':{'r':{'default':'eu','enum':['eu','us']}}}]",
     "{\"r\":\"us\"}", "https://us.a.example"},
    {NULL, NULL,
     "[{'url':'https://{r}.a.example','variables':{'r':{'default':'eu','enum':['eu','us']}}}]",
     "{\"r\":\"evil.example/\"}", "base_url: is needed, since the server's variable r"},
    {NULL, "https://h.example/docs/openapi.json", "[{'url':'/v2'}]", NULL, "https://h.example/v2"},
    {NULL, "https://h.example/docs/openapi.json", "[{'url':'../v3'}]", NULL,
     "https://h.example/v3"},
    {NULL, "https://h.example/docs/openapi.json?x=1", "[]", NULL, "https://h.example"},
    {NULL, "https://h.example/docs/openapi.json", "[{'url':'https://evil.example'}]", NULL,
     "base_url: is needed, since the document of"},
    {NULL, "https://h.example/docs/openapi.json", "[{'url':'//evil.example'}]", NULL,
     "base_url: is needed, since the document of"},
    {NULL, "https://h.example/docs/openapi.json", "[{'url':'http://h.example'}]", NULL,
     "base_url: is needed, since the document of"},
    {NULL, NULL, "[{'url':'/v2'}]", NULL, "base_url: is needed, since"},
    {NULL, NULL, "[]", NULL, "base_url: is needed, since"},
    {"file:///etc/passwd", NULL, "[]", NULL, "base_url: must begin with"},
    {"https://u:p@h", NULL, "[]", NULL, "base_url: must not have a user"},
    {"https://h/?q", NULL, "[]", NULL, "base_url: must not have a query"},
    {"https://h/a/../b", NULL, "[]", NULL, "base_url: must not have dot"},
    {"https://h/a/%2e%2E", NULL, "[]", NULL, "base_url: must not have dot"},
    {"https://h\\evil", NULL, "[]", NULL, "base_url: has no valid host"},
    {"https://h:0", NULL, "[]", NULL, "base_url: has no valid port"},
    {"https://h:99999", NULL, "[]", NULL, "base_url: has no valid port"},
    {"https:///x", NULL, "[]", NULL, "base_url: has no valid host"},
    {"https://h/ x", NULL, "[]", NULL, "base_url: has characters"},
};

START_TEST(the_base_url_is_configured_or_the_documents_first_server)
{
    const struct server_row *r = &servers[_i];
    struct imported *i = import_begin();
    char text[1024];

    i->o.base_url = r->configured;
    i->o.document_url = r->url;
    i->o.server_variables = r->variables;
    snprintf(text, sizeof text, "{'openapi':'3.1.0','servers':%s,'paths':{'/p':%s}}", r->servers,
             GET("'operationId':'o',"));
    import_text(i, text);
    if (!strncmp(r->base, "http", 4)) {
        ck_assert_msg(i->rc == 0, "%s", i->err);
        ck_assert_str_eq(imported_plan(i, "x/o")->base.p, r->base);
    } else {
        ck_assert_int_eq(i->rc, ALK_EINVAL);
        ck_assert_msg(!strncmp(i->err, r->base, strlen(r->base)), "%s, not %s", i->err, r->base);
    }
    import_end(i);
}
END_TEST

START_TEST(servers_of_operations_are_used_within_the_origin_alone)
{
    struct imported *i = import_begin();

    i->o.base_url = NULL;
    import_text(i, "{'openapi':'3.1.0','servers':[{'url':'https://h.example/v1'}],'paths':{'/"
                   "a':{'servers':[{'url':'https://h.example/v2'}],"
                   "'get':{'operationId':'a'},'post':{'operationId':'b','servers':[{'url':'https://"
                   "evil.example'}]},"
                   "'put':{'operationId':'c','servers':[{'url':'https://h.example'}]}}}}");
    ck_assert_str_eq(imported_plan(i, "x/a")->base.p, "https://h.example/v2");
    ck_assert_str_eq(imported_plan(i, "x/c")->base.p, "https://h.example");
    ck_assert_uint_eq(i->count, 2);
    ck_assert_ptr_nonnull(
        strstr(i->warnings, "/paths/~1a/post: its server is elsewhere: https://evil.example"));
    import_end(i);
}
END_TEST

/* ---- security --------------------------------------------------------------------------------- */

START_TEST(security_schemes_become_credentials)
{
    struct imported *i = imported("3.1.0",
                                  "'/"
                                  "a':{'get':{'operationId':'a','security':[{'b':[]},{'k':[],'u':[]"
                                  "},{'o':['r']},{'digest':[]},{}]," OK "}}",
                                  "'securitySchemes':{'b':{'type':'http','scheme':'Bearer'},'k':{'"
                                  "type':'apiKey','in':'query','name':'key'},"
                                  "'u':{'type':'http','scheme':'basic'},'o':{'type':'oauth2','"
                                  "flows':{}},'digest':{'type':'http','scheme':'digest'}}");
    const struct oas_plan *plan = imported_plan(i, "x/a");

    ck_assert_uint_eq(plan->security_count, 4);
    ck_assert_int_eq(plan->security[0].credentials[0].show, SHOW_BEARER);
    ck_assert_str_eq(plan->security[0].credentials[0].scheme, "x/b");
    ck_assert_str_eq(plan->security[0].credentials[0].otherwise, "x");
    ck_assert_uint_eq(plan->security[1].count, 2);
    ck_assert_int_eq(plan->security[1].credentials[0].show, SHOW_KEY);
    ck_assert_int_eq(plan->security[1].credentials[0].in, IN_QUERY);
    ck_assert_int_eq(plan->security[1].credentials[1].show, SHOW_BASIC);
    ck_assert_int_eq(plan->security[2].credentials[0].show, SHOW_BEARER);
    ck_assert_uint_eq(plan->security[3].count, 0);
    ck_assert_uint_eq(i->warned, 1);
    import_end(i);
}
END_TEST

START_TEST(security_that_is_configured_takes_the_place_of_the_documents)
{
    struct imported *i = import_begin();
    const struct oas_plan *plan;

    i->o.auth = "{\"type\":\"api_key\",\"in\":\"header\",\"name\":\"X-Token\"}";
    import_doc(i, "3.1.0", "'/a':{'get':{'operationId':'a','security':[{'b':[]}]," OK "}}",
               "'securitySchemes':{'b':{'type':'http','scheme':'bearer'}}");
    plan = imported_plan(i, "x/a");
    ck_assert_uint_eq(plan->security_count, 1);
    ck_assert_str_eq(plan->security[0].credentials[0].name.p, "X-Token");
    ck_assert_str_eq(plan->security[0].credentials[0].scheme, "x");
    import_end(i);
}
END_TEST

/* ---- filter and options ----------------------------------------------------------------------- */

START_TEST(a_filter_says_which_operations_come)
{
    static const struct {
        const char *filter;
        size_t count;
    } rows[] = {
        {"{}", 4},
        {"{\"include\":[\"pets/*\"]}", 2},
        {"{\"include\":[\"pets/*\"],\"exclude\":[\"*/delete\"]}", 1},
        {"{\"include\":[\"GET /*\"]}", 2},
        {"{\"methods\":[\"GET\",\"DELETE\"]}", 3},
        {"{\"tags\":[\"admin\"]}", 1},
        {"{\"include\":[]}", 0},
        {"{\"include\":[\"*a*a*a*a*a*a*a*a*a*a*b\"]}", 0},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct imported *i = import_begin();

        i->o.operation_filter = rows[k].filter;
        import_doc(
            i, "3.1.0",
            "'/a':{'get':{'operationId':'pets/list'," OK
            "},'delete':{'operationId':'pets/delete'," OK "}},"
            "'/b':{'get':{" OK
            "},'post':{'operationId':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','tags':['admin']," OK
            "}}",
            "");
        ck_assert_msg(i->rc == 0 && i->count == rows[k].count, "%s: %zu %s", rows[k].filter,
                      i->count, i->err);
        import_end(i);
    }
}
END_TEST

START_TEST(options_that_are_wrong_are_named)
{
    static const struct {
        const char *filter, *headers, *auth, *prefix, *err;
    } rows[] = {
        {"{\"inclued\":[]}", NULL, NULL, "x", "operation_filter: unknown member \"inclued\""},
        {"{\"include\":[1]}", NULL, NULL, "x",
         "operation_filter/include: must be an array of strings"},
        {"[]", NULL, NULL, "x", "operation_filter: must be an object"},
        {"{", NULL, NULL, "x", "operation_filter: "},
        {NULL, "{\"Host\":\"h\"}", NULL, "x", "default_headers: \"Host\" cannot be set"},
        {NULL, "{\"X\":\"a\\r\\nb\"}", NULL, "x",
         "default_headers/X: must be text without control characters"},
        {NULL, NULL, "{\"type\":\"magic\"}", "x", "auth/type: must be bearer, basic or api_key"},
        {NULL, NULL, "{\"type\":\"api_key\"}", "x", "auth: an api_key needs"},
        {NULL, NULL, "{\"type\":\"api_key\",\"in\":\"header\",\"name\":\"Host\"}", "x",
         "auth: an api_key needs"},
        {NULL, NULL, NULL, NULL, "namespace_prefix: must be"},
        {NULL, NULL, NULL, "a//b", "namespace_prefix: must be"},
        {NULL, NULL, NULL, "services", "namespace_prefix: must be"},
        {NULL, NULL, NULL, "peers/x", "namespace_prefix: must be"},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct imported *i = import_begin();

        i->o.operation_filter = rows[k].filter;
        i->o.default_headers = rows[k].headers;
        i->o.auth = rows[k].auth;
        i->o.namespace_prefix = rows[k].prefix;
        import_doc(i, "3.1.0", "'/a':" GET(""), "");
        ck_assert_int_eq(i->rc, ALK_EINVAL);
        ck_assert_msg(!strncmp(i->err, rows[k].err, strlen(rows[k].err)), "%s, not %s", i->err,
                      rows[k].err);
        import_end(i);
    }
}
END_TEST

/* ---- what is wrong ---------------------------------------------------------------------------- */

START_TEST(what_is_no_openapi_is_refused_with_the_reason)
{
    static const struct {
        const char *text;
        int rc;
        const char *err;
    } rows[] = {
        {"{'swagger':'2.0'}", ALK_EINVAL, "the document is of Swagger 2.0"},
        {"{'openapi':'4.0.0'}", ALK_EINVAL, "the document is no OpenAPI"},
        {"{}", ALK_EINVAL, "the document is no OpenAPI"},
        {"{'openapi':3}", ALK_EINVAL, "the document is no OpenAPI"},
        {"{'openapi':'3.1.0',", ALK_EJSON, ""},
    };

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        struct imported *i = import_begin();

        import_text(i, rows[k].text);
        ck_assert_int_eq(i->rc, rows[k].rc);
        ck_assert_msg(*i->err && !strncmp(i->err, rows[k].err, strlen(rows[k].err)), "%s", i->err);
        import_end(i);
    }
}
END_TEST

/* The rest comes. */
START_TEST(a_part_that_cannot_be_imported_is_left_out_with_pointer_and_reason)
{
    struct imported *i = imported(
        "3.1.0",
        "'/fine':" GET(
            "'operationId':'fine',") ",'/a':{'get':{'parameters':[{'$ref':'#/components/parameters/"
                                     "no'}]," OK "}},"
                                     "'/"
                                     "b':{'get':{'parameters':[{'name':'n','in':'query','schema':{'"
                                     "$ref':'https://evil.example/s.json'}}]," OK "}},"
                                     "'/"
                                     "c':{'get':{'operationId':'c','responses':{'200':{'"
                                     "description':'','content':{'application/"
                                     "json':{'schema':{'$ref':'file:///etc/passwd'}}}}}}},"
                                     "'/d':{'get':{'parameters':[{'name':'n'}]," OK
                                     "}},'/e':{'get':5},'/f':5,'/"
                                     "g':{'post':{'requestBody':{'content':{}}," OK "}},"
                                     "'/h':{'$ref':'#/components/pathItems/h'}",
        "'pathItems':{}");

    ck_assert_uint_eq(i->count, 2);
    imported_op(i, "x/fine");
    ck_spec(i, "x/c", "/output_schema", "null");
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1a/get/parameters/0: "));
    ck_assert_ptr_nonnull(strstr(i->warnings, "https://evil.example/s.json"));
    ck_assert_ptr_nonnull(strstr(i->warnings, "file:///etc/passwd"));
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1d/get/parameters/0: a parameter needs"));
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1e/get: is no object"));
    ck_assert_ptr_nonnull(
        strstr(i->warnings, "/paths/~1g/post/requestBody: its body has no content"));
    ck_assert_ptr_nonnull(strstr(i->warnings, "/paths/~1h: "));
    import_end(i);
}
END_TEST

START_TEST(a_name_that_is_there_already_undoes_the_whole_import)
{
    struct imported *i = imported("3.1.0", "'/a':" GET("'operationId':'a',"), "");
    size_t before = i->reg->by_name.count;

    import_doc(i, "3.1.0", "'/b':" GET("'operationId':'b',") ",'/a':" GET("'operationId':'a',"),
               "");
    ck_assert_int_eq(i->rc, ALK_EEXIST);
    ck_assert_ptr_nonnull(strstr(i->err, "x/a"));
    ck_assert_uint_eq(i->reg->by_name.count, before);
    ck_assert_ptr_null(registry_find(i->reg, "x/b", 3));
    ck_assert_int_eq(alk_registry_freeze(i->reg), 0);
    import_doc(i, "3.1.0", "'/b':" GET("'operationId':'b',"), "");
    ck_assert_int_eq(i->rc, ALK_EFROZEN);
    import_end(i);
}
END_TEST

START_TEST(more_operations_than_the_limit_are_refused)
{
    char *paths = malloc(4u << 20);
    struct imported *i = import_begin();
    size_t n = 0;

    for (unsigned k = 0; k <= OAS_OPERATIONS; k++)
        n += (size_t)sprintf(paths + n, "%s'/p%u':{'get':{}}", k ? "," : "", k);
    import_doc(i, "3.1.0", paths, "");
    ck_assert_int_eq(i->rc, ALK_ELIMIT);
    ck_assert_ptr_nonnull(strstr(i->err, "16384 operations"));
    import_end(i);
    free(paths);
}
END_TEST

START_TEST(warnings_beyond_the_limit_are_counted_in_one)
{
    char *paths = malloc(1u << 20);
    struct imported *i = import_begin();
    size_t n = 0;

    for (unsigned k = 0; k < 1500; k++)
        n += (size_t)sprintf(paths + n, "%s'/p%u':{'get':5}", k ? "," : "", k);
    import_doc(i, "3.1.0", paths, "");
    ck_assert_int_eq(i->rc, 0);
    ck_assert_uint_eq(i->warned, OAS_WARNINGS + 1);
    import_end(i);
    free(paths);
}
END_TEST

START_TEST(an_operation_with_too_many_parameters_is_left_out)
{
    char *paths = malloc(1u << 20);
    struct imported *i = import_begin();
    size_t n = (size_t)sprintf(paths, "'/a':{'get':{'parameters':[");

    for (unsigned k = 0; k <= OAS_PARAMS; k++)
        n += (size_t)sprintf(paths + n, "%s{'name':'p%u','in':'query','schema':{}}", k ? "," : "",
                             k);
    sprintf(paths + n, "]}},'/b':{'get':{}}");
    import_doc(i, "3.1.0", paths, "");
    ck_assert_uint_eq(i->count, 1);
    ck_assert_ptr_nonnull(strstr(i->warnings, "has too many parameters"));
    import_end(i);
    free(paths);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        an_operation_id_is_the_name_behind_the_prefix,
        without_an_operation_id_the_name_is_of_method_and_literal_segments,
        names_that_collide_are_numbered_and_exact_ones_stay,
        an_operation_id_of_ten_kilobytes_is_cut_and_stays_its_own,
        many_operations_of_one_name_are_no_square,
        what_has_been_imported_is_told_and_nothing_of_what_has_not,
        methods_and_event_streams_make_the_kind,
        an_operation_may_stand_behind_a_reference,
        requests_that_show_secrets_or_open_tunnels_are_not_made,
        what_is_imported_is_internal_without_a_rule,
        parameters_of_path_and_operation_and_behind_references_are_properties,
        parameters_of_one_name_in_two_places_are_two_properties,
        headers_that_a_request_has_of_itself_are_no_parameters,
        a_parameter_in_the_place_of_a_credential_is_none,
        styles_are_those_of_their_places,
        a_path_parameter_that_is_not_described_is_a_string,
        paths_that_would_lead_elsewhere_are_left_out,
        bodies_are_of_the_media_type_that_says_most,
        parts_of_forms_are_as_the_document_says,
        the_output_is_of_the_first_success_that_is_json,
        other_answers_are_errors_by_their_status,
        accept_lists_what_is_known,
        servers_of_operations_are_used_within_the_origin_alone,
        security_schemes_become_credentials,
        security_that_is_configured_takes_the_place_of_the_documents,
        a_filter_says_which_operations_come,
        options_that_are_wrong_are_named,
        what_is_no_openapi_is_refused_with_the_reason,
        a_part_that_cannot_be_imported_is_left_out_with_pointer_and_reason,
        a_name_that_is_there_already_undoes_the_whole_import,
        more_operations_than_the_limit_are_refused,
        warnings_beyond_the_limit_are_counted_in_one,
        an_operation_with_too_many_parameters_is_left_out,
    };
    Suite *suite = suite_create("openapi_import");
    TCase *tcase = tcase_create("openapi_import");
    SRunner *runner = srunner_create(suite);
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, the_base_url_is_configured_or_the_documents_first_server, 0,
                        (int)(sizeof servers / sizeof servers[0]));
    tcase_set_timeout(tcase, 30);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
