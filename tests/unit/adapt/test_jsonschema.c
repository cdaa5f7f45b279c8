/* Operations that are described by JSON Schemas alone. */
#include "unit/gateway/http_rig.h"

#include "core/registry.h"
#include "support/suite.h"
#include "support/wire.h"

#include <alknet/openapi.h>

/* text has ' for ". */
static int import(alk_registry *reg, const char *text)
{
    char *json = strdup(text);
    int rc;

    must(json);
    for (char *p = json; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    rc = alk_registry_import_jsonschema(reg, TEXT(json));
    free(json);
    return rc;
}

static void imported(alk_registry *reg, const char *text)
{
    ck_assert_msg(import(reg, text) == ALK_OK, "%s", alk_registry_error(reg));
    ck_assert_str_eq(alk_registry_error(reg), "");
}

/* How many there are beside those that each registry has. */
static size_t count(const alk_registry *reg)
{
    return reg->by_name.count - 4;
}

/* ---- what is taken --------------------------------------------------------------------------- */

START_TEST(a_name_is_enough)
{
    alk_registry *reg = alk_registry_new();
    const struct operation *op;

    imported(reg, "[{'name':'/t/x'}]");
    op = registry_find(reg, TEXT("t/x"));
    ck_assert_ptr_nonnull(op);
    ck_assert_uint_eq(op->type, ALK_QUERY);
    ck_assert_uint_eq(op->visibility, ALK_INTERNAL_ONLY);
    ck_assert_uint_eq(op->provenance, ALK_FROM_JSONSCHEMA);
    ck_assert(!op->handler);
    imported(reg, "[]");
    ck_assert_uint_eq(count(reg), 1);
    alk_registry_unref(reg);
}
END_TEST

START_TEST(it_is_external_only_together_with_a_rule)
{
    static const struct {
        const char *json;
        uint32_t visibility;
    } cases[] = {
        {"[{'name':'t','visibility':'external'}]", ALK_INTERNAL_ONLY},
        {"[{'name':'t','visibility':'external','access_control':null}]", ALK_INTERNAL_ONLY},
        {"[{'name':'t','access_control':{}}]", ALK_INTERNAL_ONLY},
        {"[{'name':'t','visibility':null,'access_control':{}}]", ALK_INTERNAL_ONLY},
        {"[{'name':'t','visibility':'internal','access_control':{}}]", ALK_INTERNAL_ONLY},
        {"[{'name':'t','visibility':'external','access_control':{}}]", ALK_EXTERNAL},
        {"[{'name':'t','visibility':'external','access_control':{'authenticated':true}}]",
         ALK_EXTERNAL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        alk_registry *reg = alk_registry_new();

        imported(reg, cases[i].json);
        ck_assert_uint_eq(registry_find(reg, "t", 1)->visibility, cases[i].visibility);
        alk_registry_unref(reg);
    }
}
END_TEST

/* Everything, and nothing but what has to be there. */
START_TEST(what_services_schema_answers_can_be_pasted)
{
    struct world *w = world_new(), *copy = world_new();
    alk_registry *reg = w->reg;
    alk_connection_options o = {.size = sizeof o};
    struct wire *r, *again;
    char answer[2][4000], json[8200];

    imported(reg,
             "[{'name':'t/full','op_type':'subscription','visibility':'external','description':'d "
             "\\u00e9',"
             "'input_schema':{'type':'object','properties':{'n':{'maximum':1e400}}},'output_schema'"
             ":{'type':'number'},"
             "'error_schemas':[{'code':'A','description':'d','schema':{'type':'object'},'http_"
             "status':409},{'code':'B'}],"
             "'access_control':{'required_scopes':['s'],'required_scopes_any':['t','u'],'resource_"
             "type':'f',"
             "'resource_action':'r','authenticated':true},'resource_id_path':'/id'},"
             "{'name':'t/bare','visibility':'external','access_control':{}}]");
    world_start(w);
    o.identity = alk_identity_new(
        TEXT("{\"id\":\"x\",\"scopes\":[\"s\",\"t\"],\"resources\":{\"f\":[\"r\"]}}"));
    r = wire_open(w, &o);
    for (int i = 0; i < 2; i++) {
        const char *got, *from;

        wire_request(r, "1", "services/schema",
                     i ? "{\"name\":\"t/bare\"}" : "{\"name\":\"t/full\"}");
        got = wire_next(r);
        from = strstr(got, "\"output\":");
        ck_assert_ptr_nonnull(from);
        snprintf(answer[i], sizeof answer[i], "%.*s", (int)strlen(from) - 11, from + 9);
    }
    snprintf(json, sizeof json, "[%s,%s]", answer[0], answer[1]);
    ck_assert_msg(alk_registry_import_jsonschema(copy->reg, TEXT(json)) == ALK_OK, "%s: %s",
                  alk_registry_error(copy->reg), json);
    world_start(copy);
    again = wire_open(copy, &o);
    for (int i = 0; i < 2; i++) {
        wire_request(again, "1", "services/schema",
                     i ? "{\"name\":\"t/bare\"}" : "{\"name\":\"t/full\"}");
        ck_assert_ptr_nonnull(strstr(wire_next(again), answer[i]));
    }
    alk_identity_unref(o.identity);
    wire_free(r);
    wire_free(again);
    world_free(w);
    world_free(copy);
}
END_TEST

/* ---- what is called -------------------------------------------------------------------------- */

#define DESCRIBED                                                                                  \
    "[{'name':'t/"                                                                                 \
    "x','visibility':'external','access_control':{},'input_schema':{'type':'number'}},"            \
    "{'name':'t/s','op_type':'subscription','visibility':'external','access_control':{}},"         \
    "{'name':'t/in'}]"

START_TEST(a_call_of_it_is_internal_once_it_is_allowed_and_its_input_fits)
{
    struct world *w = world_new();
    struct wire *r;

    imported(w->reg, DESCRIBED);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/x", "1");
    wire_expect(r, FAULT("1", "INTERNAL", "internal error", "false"));
    wire_request(r, "2", "t/x", "\"1\"");
    wire_expect_error(r, "2", "INVALID_INPUT", "input: expected number, got string (type)");
    wire_request(r, "3", "t/s", "1");
    wire_expect(r, FAULT("3", "INTERNAL", "internal error", "false"));
    wire_request(r, "4", "t/in", "1");
    wire_expect_error(r, "4", "NOT_FOUND", "operation not found: t/in");
    ck_assert_uint_eq(world_stats(w).calls, 0);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(over_http_a_call_of_it_is_500)
{
    struct http s;
    const char *got;

    http_new(&s);
    imported(s.w->reg, DESCRIBED);
    http_start(&s);
    got = http_post(&s, "/call", "", "{\"operation\":\"t/x\",\"input\":1}");
    ck_assert_int_eq(http_status(got), 500);
    ck_assert_ptr_nonnull(
        strstr(got, "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"));
    got = http_post(&s, "/subscribe", "", "{\"operation\":\"t/s\",\"input\":1}");
    ck_assert_int_eq(http_status(got), 200);
    ck_assert_ptr_nonnull(strstr(got, "event: error"));
    http_free(&s);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static const struct {
    const char *json;
    int rc;
    const char *error;
} refused[] = {
    {"", ALK_EJSON, NULL},
    {"[{'name':'t/y'}", ALK_EJSON, NULL},
    {"[{'name':'t/y','name':'t/z'}]", ALK_EJSON, NULL},
    {"{'name':'t/y'}", ALK_EINVAL, "must be an array of operations"},
    {"null", ALK_EINVAL, "must be an array of operations"},
    {"['t/y']", ALK_EINVAL, "/0: must be an object"},
    {"[{'name':'t/y'},{}]", ALK_EINVAL, "/1/name: missing"},
    {"[{'name':null}]", ALK_EINVAL, "/0/name: missing"},
    {"[{'name':5}]", ALK_EINVAL, "/0/name: must be a string without NUL"},
    {"[{'name':'t/y\\u0000z'}]", ALK_EINVAL, "/0/name: must be a string without NUL"},
    {"[{'name':'t/y','colour':1}]", ALK_EINVAL, "/0/colour: unknown member"},
    {"[{'name':'t/y','handler':1}]", ALK_EINVAL, "/0/handler: unknown member"},
    {"[{'name':'t/y','op_type':'notification'}]", ALK_EINVAL,
     "/0/op_type: must be query, mutation or subscription"},
    {"[{'name':'t/y','op_type':1}]", ALK_EINVAL, "/0/op_type: must be a string without NUL"},
    {"[{'name':'t/y','visibility':'public'}]", ALK_EINVAL,
     "/0/visibility: must be internal or external"},
    {"[{'name':'t/y','description':['d']}]", ALK_EINVAL,
     "/0/description: must be a string without NUL"},
    {"[{'name':'t/y','description':'d\\u0000'}]", ALK_EINVAL,
     "/0/description: must be a string without NUL"},
    {"[{'name':'t/y','namespace':'s'}]", ALK_EINVAL,
     "/0/namespace: must be the first segment of the name"},
    {"[{'name':'t','namespace':'t/y'}]", ALK_EINVAL,
     "/0/namespace: must be the first segment of the name"},
    {"[{'name':'t/y','resource_id_path':1}]", ALK_EINVAL,
     "/0/resource_id_path: must be a string without NUL"},
    {"[{'name':'t/y','resource_id_path':'/id'}]", ALK_EINVAL,
     "operation t/y: resource_id_path: needs a resource_type in access_control"},
    {"[{'name':'t/y','error_schemas':{}}]", ALK_EINVAL, "/0/error_schemas: must be an array"},
    {"[{'name':'t/y','error_schemas':[{'code':'A'},{'code':'B','status':4}]}]", ALK_EINVAL,
     "/0/error_schemas/1/status: unknown member"},
    {"[{'name':'t/y','error_schemas':[5]}]", ALK_EINVAL,
     "operation t/y: error_schemas/0/code: must be a string"},
    {"[{'name':'t/y','access_control':{'required_scope':['a']}}]", ALK_EINVAL,
     "operation t/y: access_control/required_scope: unknown member"},
    {"[{'name':'t/y','access_control':[]}]", ALK_EINVAL,
     "operation t/y: access_control: must be an object"},
    {"[{'name':'t/y','input_schema':{'type':5}}]", ALK_ESCHEMA, NULL},
    {"[{'name':'t/y','output_schema':{'type':5}}]", ALK_ESCHEMA, NULL},
    {"[{'name':'t y'}]", ALK_EINVAL, NULL},
    {"[{'name':'services/y'}]", ALK_EINVAL,
     "operation services/y: services/ and peers/ are reserved"},
    {"[{'name':'t/y'},{'name':'t/there'}]", ALK_EEXIST, "operation t/there: the name is taken"},
    {"[{'name':'t/y'},{'name':'/t/y'}]", ALK_EEXIST, "operation t/y: the name is taken"},
};

START_TEST(what_is_refused_is_named_with_its_place_and_nothing_is_added)
{
    alk_registry *reg = alk_registry_new();

    imported(reg, "[{'name':'t/there','description':'the first'}]");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int rc = import(reg, refused[i].json);
        const char *error = alk_registry_error(reg);

        ck_assert_msg(rc == refused[i].rc, "%s: %s, %s", refused[i].json, alk_err_name(rc), error);
        ck_assert_str_ne(error, "");
        if (refused[i].error)
            ck_assert_str_eq(error, refused[i].error);
        ck_assert_uint_eq(count(reg), 1);
    }
    /* None of them has taken a name. */
    imported(reg, "[{'name':'t/y'},{'name':'t/z'}]");
    ck_assert_uint_eq(count(reg), 3);
    ck_assert_str_eq(registry_find(reg, TEXT("t/there"))->description, "the first");
    alk_registry_unref(reg);
}
END_TEST

START_TEST(a_frozen_registry_takes_none)
{
    alk_registry *reg = alk_registry_new();

    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    ck_assert_int_eq(import(reg, "[{'name':'t/y'}]"), ALK_EFROZEN);
    ck_assert_str_eq(alk_registry_error(reg), "");
    ck_assert_uint_eq(count(reg), 0);
    alk_registry_unref(reg);
}
END_TEST

MAIN("jsonschema", a_name_is_enough, it_is_external_only_together_with_a_rule,
     what_services_schema_answers_can_be_pasted,
     a_call_of_it_is_internal_once_it_is_allowed_and_its_input_fits, over_http_a_call_of_it_is_500,
     what_is_refused_is_named_with_its_place_and_nothing_is_added, a_frozen_registry_takes_none)
