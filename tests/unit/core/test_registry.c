/* The registry: which operations it takes, what it says of those that it does not, freezing,
 * sharing, and that what an application hands over is freed exactly once whatever happens. */
#include "core/registry.h"
#include "support/node.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int nothing(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

static void count_free(void *ud)
{
    ++*(int *)ud;
}

static alk_operation operation(const char *name)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.handler = nothing;
    return op;
}

/* The code of adding op to a fresh registry; error gets the registry's words. */
static int added(const alk_operation *op, char error[512])
{
    alk_registry *reg = alk_registry_new();
    int rc;

    ck_assert_ptr_nonnull(reg);
    rc = alk_registry_add(reg, op);
    snprintf(error, 512, "%s", alk_registry_error(reg));
    alk_registry_unref(reg);
    return rc;
}

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(names_are_segments_joined_by_slashes)
{
    static const char *const good[] = {
        "a",     "fs/readFile", "a/b/c/d",      "/fs/readFile", "A-Z_a.z~0/9", "...",
        "a/..b", "a/.b/c.",     "service/list", "peer/x",       "local/x",
    };
    static const char *const bad[] = {
        "",      "/",   "//a",        "a/",    "a//b",        "a/./b", "a/../b",
        ".",     "..",  "../a",       "a b",   "a/b ",        "a:b",   "a\\b",
        "a/%62", "a?b", "a/\xc3\xa9", "a/b\n", "a/b/../../c", "a*",    "a/*",
    };
    char error[512];

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        alk_operation op = operation(good[i]);

        ck_assert_msg(added(&op, error) == ALK_OK, "%s: %s", good[i], error);
        ck_assert_str_eq(error, "");
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        alk_operation op = operation(bad[i]);

        ck_assert_msg(added(&op, error) == ALK_EINVAL, "%s", bad[i]);
        ck_assert_ptr_nonnull(
            strstr(error, ": name: must be segments of A-Z a-z 0-9 _ . ~ - joined by '/'"));
    }
}
END_TEST

START_TEST(names_have_at_most_256_bytes)
{
    char name[300] = "", error[512];
    alk_operation op = operation(name);

    memset(name, 'n', sizeof name);
    name[256] = 0;
    ck_assert_int_eq(added(&op, error), ALK_OK);
    memcpy(name, "/n", 2);
    name[256] = 'n';
    name[257] = 0;
    ck_assert_int_eq(added(&op, error), ALK_OK);
    name[0] = 'n';
    ck_assert_int_eq(added(&op, error), ALK_EINVAL);
}
END_TEST

START_TEST(the_librarys_own_namespaces_are_reserved)
{
    static const char *const names[] = {"services/x", "peers/call", "/services/list", "services",
                                        "peers"};
    char error[512];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        alk_operation op = operation(names[i]);

        ck_assert_int_eq(added(&op, error), ALK_EINVAL);
        ck_assert_ptr_nonnull(strstr(error, ": services/ and peers/ are reserved"));
    }
}
END_TEST

START_TEST(a_name_twice_is_an_error_with_and_without_slash)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op = operation("t/x");

    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EEXIST);
    ck_assert_str_eq(alk_registry_error(reg), "operation t/x: the name is taken");
    op.name = "/t/x";
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EEXIST);
    op.name = "t/X";
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_str_eq(alk_registry_error(reg), "");
    alk_registry_unref(reg);
}
END_TEST

/* ---- what is refused, and with which words --------------------------------------------------- */

enum member { NONE, DESCRIPTION, INPUT, OUTPUT, ERRORS, ACCESS, PATH, AUTHORITY, ENVIRONMENT };

static const struct {
    enum member member;
    const char *value;
    int rc;
    const char *error; /* behind "operation t/x: "; a '*' at its end stands for anything */
} refused[] = {
    {DESCRIPTION, "caf\xe9", ALK_EINVAL, "description: must be UTF-8"},
    {INPUT, "{", ALK_EJSON, "input_schema: *"},
    {INPUT, "", ALK_EJSON, "input_schema: *"},
    {INPUT, "{\"type\":\"object\",\"type\":\"object\"}", ALK_EJSON,
     "input_schema: duplicate member \"type\""},
    {INPUT, "{\"type\":\"objekt\"}", ALK_ESCHEMA, "input_schema/type: *"},
    {INPUT, "{\"properties\":{\"a\":{\"minimum\":\"1\"}}}", ALK_ESCHEMA,
     "input_schema/properties/a/minimum: *"},
    {INPUT, "{\"$ref\":\"#/$defs/none\"}", ALK_ESCHEMA, "input_schema/$ref: *"},
    {INPUT, "{\"$ref\":\"https://example.com/schema\"}", ALK_ESCHEMA, "input_schema/$ref: *"},
    {INPUT, "{\"pattern\":\"(\"}", ALK_ESCHEMA, "input_schema/pattern: *"},
    {INPUT, "[]", ALK_ESCHEMA, "input_schema: *"},
    {OUTPUT, "{\"required\":[1]}", ALK_ESCHEMA, "output_schema/required*"},
    {OUTPUT, "nul", ALK_EJSON, "output_schema: *"},
    {ERRORS, "{}", ALK_EINVAL, "error_schemas: must be an array of at most 256"},
    {ERRORS, "[5]", ALK_EINVAL, "error_schemas/0: must be an object"},
    {ERRORS, "[{}]", ALK_EINVAL, "error_schemas/0/code: must be a string"},
    {ERRORS, "[{\"code\":\"A\"},{\"code\":\"\"}]", ALK_EINVAL,
     "error_schemas/1/code: must be a string"},
    {ERRORS, "[{\"code\":5}]", ALK_EINVAL, "error_schemas/0/code: must be a string"},
    {ERRORS, "[{\"code\":\"A\"},{\"code\":\"A\"}]", ALK_EINVAL,
     "error_schemas/1/code: \"A\" twice"},
    {ERRORS, "[{\"code\":\"B\"},{\"code\":\"A\"},{\"code\":\"C\"},{\"code\":\"A\"}]", ALK_EINVAL,
     "error_schemas/3/code: \"A\" twice"},
    {ERRORS, "[{\"code\":\"A\",\"http_status\":200}]", ALK_EINVAL,
     "error_schemas/0/http_status: must be 400 to 599"},
    {ERRORS, "[{\"code\":\"A\",\"http_status\":600}]", ALK_EINVAL,
     "error_schemas/0/http_status: must be 400 to 599"},
    {ERRORS, "[{\"code\":\"A\",\"http_status\":\"404\"}]", ALK_EINVAL,
     "error_schemas/0/http_status: must be 400 to 599"},
    {ERRORS, "[{\"code\":\"A\",\"status\":404}]", ALK_EINVAL,
     "error_schemas/0/status: unknown member"},
    {ERRORS, "[{\"code\":\"A\",\"schema\":{\"type\":7}}]", ALK_ESCHEMA,
     "error_schemas/0/schema/type: *"},
    {ERRORS, "[{\"code\":\"A\",\"description\":1}]", ALK_EINVAL,
     "error_schemas/0/description: must be a string"},
    {ERRORS, "[", ALK_EJSON, "error_schemas: *"},
    {ACCESS, "[]", ALK_EINVAL, "access_control: must be an object"},
    {ACCESS, "{\"scopes\":[]}", ALK_EINVAL, "access_control/scopes: unknown member"},
    {ACCESS, "{\"required_scopes\":\"a\"}", ALK_EINVAL,
     "access_control/required_scopes: must be an array of strings"},
    {ACCESS, "{\"required_scopes\":[\"a\",1]}", ALK_EINVAL,
     "access_control/required_scopes/1: must be a string"},
    {ACCESS, "{\"required_scopes\":[\"\"]}", ALK_EINVAL,
     "access_control/required_scopes/0: must be a string"},
    {ACCESS, "{\"required_scopes_any\":[]}", ALK_EINVAL,
     "access_control/required_scopes_any: must not be empty"},
    {ACCESS, "{\"required_scopes_any\":{}}", ALK_EINVAL,
     "access_control/required_scopes_any: must be an array of strings"},
    {ACCESS, "{\"resource_type\":5}", ALK_EINVAL, "access_control/resource_type: must be a string"},
    {ACCESS, "{\"resource_type\":\"a\\u0000b\"}", ALK_EINVAL,
     "access_control/resource_type: must be a string without NUL"},
    {ACCESS, "{\"resource_action\":\"read\"}", ALK_EINVAL,
     "access_control/resource_action: needs a resource_type"},
    {ACCESS, "{\"authenticated\":1}", ALK_EINVAL,
     "access_control/authenticated: must be true or false"},
    {ACCESS, "{\"authenticated\":true", ALK_EJSON, "access_control: *"},
    {PATH, "/a", ALK_EINVAL, "resource_id_path: needs a resource_type in access_control"},
    {AUTHORITY, "5", ALK_EINVAL, "authority: must be an object"},
    {AUTHORITY, "{}", ALK_EINVAL, "authority/label: must be a string of 1 to 256 bytes"},
    {AUTHORITY, "{\"label\":\"\"}", ALK_EINVAL,
     "authority/label: must be a string of 1 to 256 bytes"},
    {AUTHORITY, "{\"label\":\"a\\u0000b\"}", ALK_EINVAL, "authority/label: *"},
    {AUTHORITY, "{\"label\":\"a\",\"id\":\"b\"}", ALK_EINVAL, "authority/id: unknown member"},
    {AUTHORITY, "{\"label\":\"a\",\"scopes\":[1]}", ALK_EINVAL, "authority: scopes*"},
    {AUTHORITY, "{\"label\":\"a\",\"resources\":{\"x\":[],\"y\":1}}", ALK_EINVAL,
     "authority: resources*"},
    {ENVIRONMENT, "[]", ALK_EINVAL, "environment: must be an object"},
    {ENVIRONMENT, "{\"ops\":[]}", ALK_EINVAL, "environment/ops: unknown member"},
    {ENVIRONMENT, "{\"allowed_ops\":[\"*\"]}", ALK_EINVAL,
     "environment/allowed_ops: \"*\" is no operation name"},
    {ENVIRONMENT, "{\"allowed_ops\":[\"a/b*\"]}", ALK_EINVAL,
     "environment/allowed_ops: \"a/b*\" is no operation name"},
    {ENVIRONMENT, "{\"allowed_ops\":[\"a b\"]}", ALK_EINVAL,
     "environment/allowed_ops: \"a b\" is no operation name"},
    {ENVIRONMENT, "{\"peer_pinned\":[\"x\"]}", ALK_EINVAL,
     "environment/peer_pinned: \"x\" is not peer/operation"},
    {ENVIRONMENT, "{\"peer_pinned\":[\"local/x\"]}", ALK_EINVAL,
     "environment/peer_pinned: \"local/x\" is not peer/operation"},
    {ENVIRONMENT, "{\"peer_pinned\":[\"a~/x\"]}", ALK_EINVAL,
     "environment/peer_pinned: \"a~/x\" is not peer/operation"},
    {ENVIRONMENT, "{\"peer_pinned\":[\"a/x/*\"]}", ALK_EINVAL,
     "environment/peer_pinned: \"a/x/*\" is not peer/operation"},
};

static void set_member(alk_operation *op, enum member member, const char *value)
{
    const char **members[] = {[DESCRIPTION] = &op->description, [INPUT] = &op->input_schema,
                              [OUTPUT] = &op->output_schema,    [ERRORS] = &op->error_schemas,
                              [ACCESS] = &op->access_control,   [PATH] = &op->resource_id_path,
                              [AUTHORITY] = &op->authority,     [ENVIRONMENT] = &op->environment};

    if (member != NONE)
        *members[member] = value;
}

static bool matches(const char *text, const char *pattern)
{
    size_t n = strlen(pattern);

    return n && pattern[n - 1] == '*' ? !strncmp(text, pattern, n - 1) : !strcmp(text, pattern);
}

START_TEST(what_is_refused_is_named_with_its_member_and_place)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        alk_operation op = operation("/t/x");
        char error[512];
        int freed = 0, rc;

        op.ud = &freed;
        op.ud_free = count_free;
        set_member(&op, refused[i].member, refused[i].value);
        rc = added(&op, error);
        ck_assert_msg(rc == refused[i].rc, "%s: %s (%s)", refused[i].value, alk_err_name(rc),
                      error);
        ck_assert_int_eq(freed, 1);
        ck_assert_msg(!strncmp(error, "operation t/x: ", 15) ||
                          !strncmp(error, "operation /t/x: ", 16),
                      "%s", error);
        ck_assert_msg(matches(strstr(error, ": ") + 2, refused[i].error), "%s: %s",
                      refused[i].value, error);
    }
}
END_TEST

START_TEST(flags_and_handler_are_checked)
{
    static const struct {
        uint32_t type, visibility, provenance;
        alk_handler handler;
        int rc;
        const char *error;
    } cases[] = {
        {0, ALK_EXTERNAL, ALK_LOCAL, nothing, ALK_EINVAL,
         "type: must be query, mutation or subscription"},
        {4, ALK_EXTERNAL, ALK_LOCAL, nothing, ALK_EINVAL,
         "type: must be query, mutation or subscription"},
        {ALK_QUERY, 0, ALK_LOCAL, nothing, ALK_EINVAL, "visibility: must be external or internal"},
        {ALK_QUERY, 3, ALK_LOCAL, nothing, ALK_EINVAL, "visibility: must be external or internal"},
        {ALK_QUERY, ALK_EXTERNAL, 6, nothing, ALK_EINVAL, "provenance: unknown"},
        {ALK_QUERY, ALK_EXTERNAL, ALK_LOCAL, NULL, ALK_EINVAL, "handler: missing"},
        {ALK_QUERY, ALK_EXTERNAL, ALK_FROM_JSONSCHEMA, NULL, ALK_OK, NULL},
        {ALK_MUTATION, ALK_INTERNAL_ONLY, ALK_FROM_OPENAPI, nothing, ALK_OK, NULL},
        {ALK_SUBSCRIPTION, ALK_EXTERNAL, ALK_FROM_MCP, nothing, ALK_OK, NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        alk_operation op = operation("t/x");
        char error[512];

        op.type = cases[i].type;
        op.visibility = cases[i].visibility;
        op.provenance = cases[i].provenance;
        op.handler = cases[i].handler;
        ck_assert_int_eq(added(&op, error), cases[i].rc);
        if (cases[i].error)
            ck_assert_str_eq(error + strlen("operation t/x: "), cases[i].error);
    }
}
END_TEST

START_TEST(resource_paths_are_json_pointers)
{
    static const struct {
        const char *path;
        int rc;
    } cases[] = {{"", ALK_OK},         {"/", ALK_OK},        {"/a/0", ALK_OK},
                 {"/~0~1", ALK_OK},    {"a", ALK_EINVAL},    {"#/a", ALK_EINVAL},
                 {"/~", ALK_EINVAL},   {"/a~2", ALK_EINVAL}, {"/\xc3\xa9", ALK_OK},
                 {"/\xff", ALK_EINVAL}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        alk_operation op = operation("t/x");
        char error[512];

        op.access_control = "{\"resource_type\":\"file\"}";
        op.resource_id_path = cases[i].path;
        ck_assert_msg(added(&op, error) == cases[i].rc, "%s: %s", cases[i].path, error);
        ck_assert_str_eq(
            error, cases[i].rc ? "operation t/x: resource_id_path: must be a JSON pointer" : "");
    }
}
END_TEST

START_TEST(an_operation_without_a_name_is_refused)
{
    alk_operation op = operation(NULL);
    char error[512];

    ck_assert_int_eq(added(&op, error), ALK_EINVAL);
    ck_assert_str_eq(error, "operation (no name): name: missing");
}
END_TEST

START_TEST(optional_members_may_be_null_as_services_schema_writes_them)
{
    alk_operation op = operation("t/x");
    char error[512];

    op.error_schemas =
        "[{\"code\":\"A\",\"description\":\"d\",\"schema\":null,\"http_status\":null}]";
    op.access_control =
        "{\"required_scopes\":[],\"required_scopes_any\":null,\"resource_type\":null,"
        "\"resource_action\":null}";
    ck_assert_msg(added(&op, error) == ALK_OK, "%s", error);
}
END_TEST

static const struct {
    enum member member;
    size_t most;
    const char *before, *piece, *last, *error;
} lists[] = {
    {ACCESS, 256, "{\"required_scopes\":[", "\"a\",", "\"a\"]}",
     "access_control/required_scopes: must be at most 256 strings"},
    {ACCESS, 256, "{\"required_scopes_any\":[", "\"a\",", "\"a\"]}",
     "access_control/required_scopes_any: must be at most 256 strings"},
    {ENVIRONMENT, 4096, "{\"allowed_ops\":[", "\"a/b\",", "\"a/b\"]}",
     "environment/allowed_ops: must be at most 4096 strings"},
    {ENVIRONMENT, 4096, "{\"peer_pinned\":[", "\"a/b\",", "\"a/b\"]}",
     "environment/peer_pinned: must be at most 4096 strings"},
};

START_TEST(lists_of_names_have_limits)
{
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (size_t more = 0; more < 2; more++) {
            alk_operation op = operation("t/x");
            char error[512], *text;
            int rc;

            text =
                repeated(lists[i].piece, lists[i].most - 1 + more, lists[i].before, lists[i].last);
            set_member(&op, lists[i].member, text);
            rc = added(&op, error);
            free(text);
            ck_assert_int_eq(rc, more ? ALK_EINVAL : ALK_OK);
            ck_assert_str_eq(more ? strstr(error, ": ") + 2 : lists[i].error, lists[i].error);
        }
    }
}
END_TEST

START_TEST(an_operation_declares_at_most_256_errors)
{
    for (size_t n = 256; n <= 257; n++) {
        alk_operation op = operation("t/x");
        char *text = malloc(n * 20 + 3), *p = text, error[512];

        must(text);
        for (size_t i = 0; i < n; i++)
            p += sprintf(p, "%c{\"code\":\"E%zu\"}", i ? ',' : '[', i);
        strcpy(p, "]");
        op.error_schemas = text;
        ck_assert_int_eq(added(&op, error), n > 256 ? ALK_EINVAL : ALK_OK);
        ck_assert_ptr_nonnull(
            strstr(error, n > 256 ? "error_schemas: must be an array of at most 256" : ""));
        free(text);
    }
}
END_TEST

/* ---- what others describe -------------------------------------------------------------------- */

START_TEST(schemas_that_do_not_compile_are_errors_of_who_wrote_them_and_shown_of_others)
{
    static const enum member members[] = {INPUT, OUTPUT, ERRORS};

    for (uint32_t provenance = ALK_LOCAL; provenance <= ALK_SESSION; provenance++) {
        bool imported = provenance >= ALK_FROM_OPENAPI && provenance <= ALK_FROM_CALL;

        for (size_t i = 0; i < 3; i++) {
            alk_operation op = operation("t/x");
            char error[512];
            int rc;

            op.provenance = provenance;
            set_member(&op, members[i],
                       members[i] == ERRORS ? "[{\"code\":\"E\",\"schema\":{\"type\":5}}]"
                                            : "{\"type\":5}");
            rc = added(&op, error);
            ck_assert_int_eq(rc, imported ? ALK_OK : ALK_ESCHEMA);
            /* The input's would have been enforced. */
            ck_assert_int_eq(!*error, imported && members[i] != INPUT);
        }
    }
}
END_TEST

START_TEST(what_is_added_can_be_removed_until_the_registry_is_frozen)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op = operation("t/x");
    int first = 0, second = 0;

    op.ud = &first;
    op.ud_free = count_free;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    op.name = "t/y";
    op.ud = &second;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    registry_remove(reg, TEXT("t/x"));
    ck_assert_int_eq(first, 1);
    ck_assert_int_eq(second, 0);
    op.name = "t/x";
    op.ud = &first;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    registry_remove(reg, TEXT("t/y"));
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    ck_assert_ptr_nonnull(registry_find(reg, TEXT("t/x")));
    ck_assert_ptr_null(registry_find(reg, TEXT("t/y")));
    alk_registry_unref(reg);
    ck_assert_int_eq(first, 2);
    ck_assert_int_eq(second, 1);
}
END_TEST

static int fail_with(alk_call *call, void *ud)
{
    alk_fault f = {.size = sizeof f, .retryable = 1, .code = ud, .message = "as the service says"};

    return alk_call_fail(call, &f);
}

START_TEST(a_forwarder_passes_protocol_codes_on_and_has_no_reserved_name)
{
    static const char *const codes[] = {
        ALK_NOT_FOUND, ALK_FORBIDDEN, ALK_INVALID_INPUT, ALK_TIMEOUT,
        ALK_BUSY,      ALK_INTERNAL,  "HTTP_503",        ALK_INVALID_OPERATION_TYPE};
    struct world *w = world_new();
    alk_operation op = operation("services/x");
    struct wire *r;
    int freed = 0;

    op.ud = &freed;
    op.ud_free = count_free;
    ck_assert_int_eq(registry_add_forwarder(w->reg, &op), ALK_EINVAL);
    ck_assert_str_eq(alk_registry_error(w->reg),
                     "operation services/x: services/ and peers/ are reserved");
    ck_assert_int_eq(freed, 1);
    op.handler = fail_with;
    op.ud_free = NULL;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char name[16];

        snprintf(name, sizeof name, "t/%zu", i);
        op.name = name;
        op.ud = (void *)codes[i];
        ck_assert_int_eq(registry_add_forwarder(w->reg, &op), ALK_OK);
    }
    world_start(w);
    r = wire_open(w, NULL);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char name[16], wanted[100];

        snprintf(name, sizeof name, "t/%zu", i);
        snprintf(wanted, sizeof wanted, "1 %s: as the service says", codes[i]);
        wire_request(r, "1", name, "null");
        ck_assert_str_eq(wire_error(r), wanted);
    }
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- freezing and sharing -------------------------------------------------------------------- */

START_TEST(a_frozen_registry_takes_no_more_and_freezing_again_is_harmless)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op = operation("t/x");
    int freed = 0;

    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    op.name = "t/y";
    op.ud = &freed;
    op.ud_free = count_free;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EFROZEN);
    ck_assert_int_eq(freed, 1);
    alk_registry_unref(reg);
}
END_TEST

START_TEST(a_node_needs_a_frozen_registry)
{
    alk_registry *reg = alk_registry_new();
    alk_node_options o;
    alk_node *node;

    alk_node_options_init(&o, sizeof o);
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_EFROZEN);
    ck_assert_ptr_null(node);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_OK);
    alk_registry_unref(reg);
    alk_node_unref(node);
}
END_TEST

START_TEST(ud_free_runs_when_the_last_reference_goes_and_not_before)
{
    alk_registry *reg = alk_registry_new(), *again;
    alk_operation op = operation("t/x");
    alk_node_options o;
    alk_node *node;
    int freed = 0;

    op.ud = &freed;
    op.ud_free = count_free;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    again = alk_registry_ref(reg);
    ck_assert_ptr_eq(again, reg);
    alk_node_options_init(&o, sizeof o);
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_OK);
    alk_registry_unref(reg);
    alk_registry_unref(again);
    ck_assert_int_eq(freed, 0);
    alk_node_unref(node);
    ck_assert_int_eq(freed, 1);
}
END_TEST

START_TEST(ud_free_runs_once_for_a_name_that_is_taken)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op = operation("t/x");
    int first = 0, second = 0;

    op.ud = &first;
    op.ud_free = count_free;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    op.ud = &second;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_EEXIST);
    ck_assert_int_eq(first, 0);
    ck_assert_int_eq(second, 1);
    alk_registry_unref(reg);
    ck_assert_int_eq(first, 1);
    ck_assert_int_eq(second, 1);
}
END_TEST

START_TEST(unref_of_nothing_is_harmless)
{
    alk_registry_unref(NULL);
    alk_node_unref(NULL);
    alk_dispatcher_free(NULL);
    alk_identity_unref(NULL);
    alk_identities_free(NULL);
    alk_capabilities_free(NULL);
    alk_connection_unref(NULL);
    alk_call_unref(NULL);
}
END_TEST

START_TEST(texts_are_copied)
{
    struct world *w = world_new();
    char name[] = "t/x", schema[] = "{\"type\":\"string\"}", description[] = "says x";
    alk_operation op = operation(name);
    struct wire *r;

    op.input_schema = schema;
    op.description = description;
    world_add_full(w, &op);
    memset(name, 'z', 3);
    memset(schema, 'z', 5);
    memset(description, 'z', 5);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "services/list", "{\"namespace\":\"t\"}");
    wire_expect(
        r, RESPONDED("1",
                     "{\"operations\":[{\"name\":\"t/x\",\"namespace\":\"t\",\"op_type\":\"query\","
                     "\"description\":\"says x\"}]}"));
    wire_request(r, "2", "t/x", "5");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "\"INVALID_INPUT\""));
    wire_free(r);
    world_free(w);
}
END_TEST

static void *hold_and_drop(void *reg)
{
    for (int i = 0; i < 20000; i++) {
        alk_node_options o;
        alk_node *node;

        if (i % 100) {
            alk_registry_unref(alk_registry_ref(reg));
            continue;
        }
        alk_node_options_init(&o, sizeof o);
        if (alk_node_new(&node, reg, &o))
            return reg;
        alk_node_unref(node);
    }
    return NULL;
}

START_TEST(threads_share_a_frozen_registry)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op = operation("t/x");
    pthread_t threads[4];
    int freed = 0;

    op.ud = &freed;
    op.ud_free = count_free;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_and_drop, reg), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;

        ck_assert_int_eq(pthread_join(threads[i], &bad), 0);
        ck_assert_ptr_null(bad);
    }
    ck_assert_int_eq(freed, 0);
    alk_registry_unref(reg);
    ck_assert_int_eq(freed, 1);
}
END_TEST

/* ---- node and errors ------------------------------------------------------------------------- */

START_TEST(limits_have_the_defaults_of_the_specification_and_bounds)
{
    alk_registry *reg = alk_registry_new();
    alk_node_options o;
    alk_limits l, got;
    alk_node *node;

    alk_limits_init(&l, sizeof l);
    ck_assert_uint_eq(l.frame_bytes, 16u << 20);
    ck_assert_uint_eq(l.websocket_bytes, 4u << 20);
    ck_assert_uint_eq(l.body_bytes, 4u << 20);
    ck_assert_uint_eq(l.anonymous_bytes, 1u << 20);
    ck_assert_uint_eq(l.json_values, 1000000);
    ck_assert_uint_eq(l.message_budget, 256u << 20);
    ck_assert_uint_eq(l.header_bytes, 32u << 10);
    ck_assert_uint_eq(l.header_count, 100);
    ck_assert_uint_eq(l.url_bytes, 8u << 10);
    ck_assert_uint_eq(l.json_depth, 128);
    ck_assert_uint_eq(l.connection_calls, 1024);
    ck_assert_uint_eq(l.call_children, 16384);
    ck_assert_uint_eq(l.call_depth, 64);
    ck_assert_uint_eq(l.batch, 128);
    ck_assert_uint_eq(l.import_fanout, 32);
    ck_assert_uint_eq(l.deadline_ms, 30000);
    ck_assert_uint_eq(l.header_timeout_ms, 10000);
    ck_assert_uint_eq(l.body_timeout_ms, 30000);
    ck_assert_uint_eq(l.keepalive_ms, 75000);
    ck_assert_uint_eq(l.drain_ms, 30000);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    alk_node_options_init(&o, sizeof o);
    o.limits = &l;
    l.frame_bytes = (64u << 20) + 1;
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_EINVAL);
    l.frame_bytes = 64u << 20;
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_OK);
    alk_node_get_limits(node, &got, sizeof got);
    ck_assert_uint_eq(got.frame_bytes, 64u << 20);
    l.json_depth = 1025;
    ck_assert_int_eq(alk_node_set_limits(node, &l), ALK_EINVAL);
    l.json_depth = 1024;
    l.frame_bytes = 1000;
    ck_assert_int_eq(alk_node_set_limits(node, &l), ALK_OK);
    l.size = offsetof(alk_limits, write_rate);
    ck_assert_int_eq(alk_node_set_limits(node, &l), ALK_EINVAL);
    alk_node_get_limits(node, &got, sizeof got);
    ck_assert_uint_eq(got.frame_bytes, 1000);
    ck_assert_uint_eq(got.json_depth, 1024);
    alk_node_unref(node);
    alk_registry_unref(reg);
}
END_TEST

START_TEST(every_error_code_has_a_name_and_a_text_of_its_own)
{
    for (int a = ALK_EREMOTE; a <= ALK_OK; a++) {
        for (int b = ALK_EREMOTE; b < a; b++) {
            ck_assert_str_ne(alk_strerror(a), alk_strerror(b));
            ck_assert_str_ne(alk_err_name(a), alk_err_name(b));
        }
        ck_assert_int_eq(strncmp(alk_err_name(a), a ? "ALK_E" : "ALK_OK", 5), 0);
    }
    ck_assert_str_eq(alk_err_name(ALK_EINVAL), "ALK_EINVAL");
    ck_assert_str_eq(alk_err_name(ALK_ESYSTEM), "ALK_ESYSTEM");
    ck_assert_str_eq(alk_err_name(ALK_EREMOTE), "ALK_EREMOTE");
    ck_assert_str_eq(alk_err_name(1), "ALK_E?");
    ck_assert_str_eq(alk_err_name(-1000), "ALK_E?");
    ck_assert_ptr_nonnull(alk_strerror(-1000));
    ck_assert_ptr_nonnull(alk_strerror(INT32_MIN));
    ck_assert_ptr_nonnull(alk_strerror(INT32_MAX));
    ck_assert_str_eq(alk_version(), ALK_VERSION);
}
END_TEST

MAIN("registry", names_are_segments_joined_by_slashes, names_have_at_most_256_bytes,
     the_librarys_own_namespaces_are_reserved, a_name_twice_is_an_error_with_and_without_slash,
     what_is_refused_is_named_with_its_member_and_place, flags_and_handler_are_checked,
     resource_paths_are_json_pointers, an_operation_without_a_name_is_refused,
     optional_members_may_be_null_as_services_schema_writes_them, lists_of_names_have_limits,
     an_operation_declares_at_most_256_errors,
     schemas_that_do_not_compile_are_errors_of_who_wrote_them_and_shown_of_others,
     what_is_added_can_be_removed_until_the_registry_is_frozen,
     a_forwarder_passes_protocol_codes_on_and_has_no_reserved_name,
     a_frozen_registry_takes_no_more_and_freezing_again_is_harmless, a_node_needs_a_frozen_registry,
     ud_free_runs_when_the_last_reference_goes_and_not_before,
     ud_free_runs_once_for_a_name_that_is_taken, unref_of_nothing_is_harmless, texts_are_copied,
     threads_share_a_frozen_registry, limits_have_the_defaults_of_the_specification_and_bounds,
     every_error_code_has_a_name_and_a_text_of_its_own)
