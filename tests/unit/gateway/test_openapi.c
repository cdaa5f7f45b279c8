/* The document of the gateway: what of the caller's operations is in it, and that it stays small and whole whatever they
 * declare. */
#include "http_rig.h"

#include "base/json.h"
#include "gateway/openapi.h"
#include "support/suite.h"

#define DOCUMENT REQUEST("GET /openapi.json", "")
#define DOCUMENT_FOR_KEY REQUEST("GET /openapi.json", BEARER)
#define MOVED "#/components/schemas/details1"

/* ---- helpers ----------------------------------------------------------------------------------- */

static int nothing(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_reply(call, TEXT("null"));
}

static void declare(struct http *s, const char *name, uint32_t type, const char *access,
                    const char *errors)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = nothing;
    op.access_control = access;
    op.error_schemas = errors;
    world_add_full(s->w, &op);
}

/* [{"code":CODE,"schema":SCHEMA,"http_status":409}], of one operation t/one. */
static void declare_schema(struct http *s, const char *schema)
{
    char errors[20000];

    ck_assert_int_lt(
        snprintf(errors, sizeof errors,
                 "[{\"code\":\"ODD\",\"description\":\"\",\"schema\":%s,\"http_status\":409}]",
                 schema),
        (int)sizeof errors);
    declare(s, "t/one", ALK_QUERY, NULL, errors);
}

/* What refers to somewhere leads there. */
static void check_refs(yyjson_val *root, yyjson_val *in)
{
    yyjson_val *key, *v;
    size_t i, n;

    yyjson_arr_foreach(in, i, n, v) check_refs(root, v);
    yyjson_obj_foreach(in, i, n, key, v)
    {
        check_refs(root, v);
        if (!yyjson_equals_str(key, "$ref") || !yyjson_is_str(v))
            continue;
        ck_assert_msg(yyjson_get_str(v)[0] == '#' &&
                          json_pointer(root, yyjson_get_str(v) + 1, yyjson_get_len(v) - 1),
                      "%s", yyjson_get_str(v));
    }
}

/* The document; good until the next. */
static yyjson_val *document(struct http *s, const char *request)
{
    static yyjson_doc *doc;
    const char *got = http_say(s, request), *body = strstr(got, "\r\n\r\n");

    yyjson_doc_free(doc);
    doc = NULL;
    ck_assert_msg(http_status(got) == 200, "%s", got);
    doc = yyjson_read(body + 4, strlen(body + 4), YYJSON_READ_BIGNUM_AS_RAW);
    ck_assert_ptr_nonnull(doc);
    check_refs(yyjson_doc_get_root(doc), yyjson_doc_get_root(doc));
    return yyjson_doc_get_root(doc);
}

static yyjson_val *at(yyjson_val *doc, const char *pointer)
{
    yyjson_val *v = json_pointer(doc, TEXT(pointer));

    ck_assert_msg(v != NULL, "%s", pointer);
    return v;
}

/* The alternatives of a status of /call; NULL: it is not there. */
static yyjson_val *alternatives(yyjson_val *doc, int status)
{
    char pointer[120];

    snprintf(pointer, sizeof pointer,
             "/paths/~1call/post/responses/%d/content/application~1json/schema/anyOf", status);
    return json_pointer(doc, TEXT(pointer));
}

/* That of a code; NULL: there is none. */
static yyjson_val *code_in(yyjson_val *doc, int status, const char *code)
{
    yyjson_val *v;
    size_t i, n;

    yyjson_arr_foreach(alternatives(doc, status), i, n, v)
    {
        if (yyjson_equals_str(json_pointer(v, TEXT("/properties/code/const")), code))
            return v;
    }
    return NULL;
}

static bool has_details(yyjson_val *doc, const char *code)
{
    yyjson_val *c = code_in(doc, 409, code);

    ck_assert_ptr_nonnull(c);
    return json_pointer(c, TEXT("/properties/details")) != NULL;
}

static const char *text(yyjson_val *v)
{
    static char *last;

    free(last);
    last = yyjson_val_write(v, 0, NULL);
    return last;
}

/* ---- the document ------------------------------------------------------------------------------ */

START_TEST(it_has_the_routes_that_front_the_registry_and_no_others)
{
    static const char *const routes[] = {"/search/get", "/schema/get",     "/call/post",
                                         "/batch/post", "/subscribe/post", "/subscribe/get"};
    yyjson_val *doc, *paths, *methods, *key;
    struct http s;
    size_t i, n, sum = 0;

    http_new(&s);
    http_start(&s);
    doc = document(&s, DOCUMENT);
    ck_assert_str_eq(yyjson_get_str(at(doc, "/openapi")), "3.1.0");
    ck_assert_str_eq(yyjson_get_str(at(doc, "/info/version")), GATEWAY_CONTRACT);
    ck_assert_str_eq(yyjson_get_str(at(doc, "/servers/0/url")), "/");
    paths = at(doc, "/paths");
    yyjson_obj_foreach(paths, i, n, key, methods) sum += yyjson_obj_size(methods);
    ck_assert_uint_eq(sum, sizeof routes / sizeof *routes);
    for (i = 0; i < sizeof routes / sizeof *routes; i++) {
        char pointer[60];

        snprintf(pointer, sizeof pointer, "/paths/~1%s/operationId", routes[i] + 1);
        at(doc, pointer);
    }
    ck_assert_ptr_nonnull(strstr(http_got(&s), "\r\nCache-Control: no-store\r\n"));
    http_free(&s);
}
END_TEST

START_TEST(another_query_is_told_what_is_allowed)
{
    static const char *const bad[] = {"version",      "version=",      "version=3",
                                      "version=3.0",  "version=3.1.0", "version=3.2&version=3.2",
                                      "Version=3.2",  "v=3.2",         "version=3%2E2",
                                      "&version=3.2", "version=3.2&"};
    struct http s;

    http_new(&s);
    http_start(&s);
    ck_assert_str_eq(
        yyjson_get_str(at(document(&s, REQUEST("GET /openapi.json?version=3.1", "")), "/openapi")),
        "3.1.0");
    ck_assert_str_eq(
        yyjson_get_str(at(document(&s, REQUEST("GET /openapi.json?version=3.2", "")), "/openapi")),
        "3.2.0");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char request[200];
        const char *got;

        snprintf(request, sizeof request, "GET /openapi.json?%s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        got = http_say(&s, request);
        ck_assert_msg(http_status(got) == 400 && strstr(got, "version=3.1 and version=3.2"), "%s",
                      got);
    }
    http_free(&s);
}
END_TEST

START_TEST(only_3_2_describes_single_events)
{
    static const char item[] =
        "/paths/~1subscribe/post/responses/200/content/text~1event-stream/itemSchema";
    struct http s;

    http_new(&s);
    http_start(&s);
    ck_assert_ptr_null(json_pointer(document(&s, DOCUMENT), TEXT(item)));
    at(document(&s, REQUEST("GET /openapi.json?version=3.2", "")), item);
    http_free(&s);
}
END_TEST

START_TEST(a_token_is_wanted_where_strangers_see_the_decoy)
{
    struct http s;

    http_new(&s);
    http_start(&s);
    ck_assert_str_eq(text(at(document(&s, DOCUMENT_FOR_KEY), "/security")), "[{},{\"bearer\":[]}]");
    http_free(&s);
    http_new(&s);
    s.options.stealth = 1;
    http_start(&s);
    ck_assert_int_eq(http_status(http_say(&s, DOCUMENT)), 404);
    ck_assert_str_eq(text(at(document(&s, DOCUMENT_FOR_KEY), "/security")), "[{\"bearer\":[]}]");
    http_free(&s);
}
END_TEST

START_TEST(the_most_calls_of_a_batch_are_those_of_the_limits)
{
    struct http s;

    http_new(&s);
    s.w->limits.batch = 7;
    http_start(&s);
    ck_assert_uint_eq(
        yyjson_get_uint(at(document(&s, DOCUMENT), "/components/schemas/Calls/maxItems")), 7);
    http_free(&s);
}
END_TEST

START_TEST(it_is_let_in_as_a_call_is)
{
    struct http s;

    http_new(&s);
    s.w->limits.calls_per_second = 1;
    http_start(&s);
    document(&s, DOCUMENT_FOR_KEY);
    ck_assert_int_eq(http_status(http_say(&s, DOCUMENT_FOR_KEY)), 429);
    document(&s, DOCUMENT);
    alk_dispatcher_drain(s.w->d);
    ck_assert_int_eq(http_status(http_say(&s, DOCUMENT)), 503);
    http_free(&s);
}
END_TEST

START_TEST(head_has_the_headers_alone)
{
    struct http s;
    const char *got;

    http_new(&s);
    http_start(&s);
    got = http_say(&s, REQUEST("HEAD /openapi.json", ""));
    ck_assert_int_eq(http_status(got), 200);
    ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Type: application/json\r\n"));
    ck_assert_str_eq(strstr(got, "\r\n\r\n"), "\r\n\r\n");
    http_free(&s);
}
END_TEST

/* ---- names ------------------------------------------------------------------------------------- */

START_TEST(names_are_those_that_the_caller_may_call)
{
    static const char single[] = "/components/schemas/OperationName/examples",
                      streams[] = "/components/schemas/SubscriptionName/examples";
    alk_operation op;
    struct http s;

    http_new(&s);
    declare(&s, "t/open", ALK_QUERY, NULL, NULL);
    declare(&s, "t/closed", ALK_MUTATION, "{\"authenticated\":true}", NULL);
    declare(&s, "t/stream", ALK_SUBSCRIPTION, NULL, NULL);
    declare(&s, "t/scoped", ALK_QUERY, "{\"required_scopes\":[\"x:y\"]}", NULL);
    alk_operation_init(&op, sizeof op);
    op.name = "t/inner";
    op.visibility = ALK_INTERNAL_ONLY;
    op.handler = nothing;
    world_add_full(s.w, &op);
    http_start(&s);
    ck_assert_str_eq(text(at(document(&s, DOCUMENT), single)),
                     "[\"services/list\",\"services/schema\",\"t/open\"]");
    ck_assert_str_eq(
        text(at(document(&s, DOCUMENT_FOR_KEY), single)),
        "[\"services/announce\",\"services/list\",\"services/schema\",\"t/closed\",\"t/open\"]");
    ck_assert_str_eq(text(at(document(&s, DOCUMENT), streams)), "[\"t/stream\"]");
    ck_assert_str_eq(
        yyjson_get_str(at(document(&s, DOCUMENT), "/paths/~1subscribe/post/requestBody/content/"
                                                  "application~1json/example/operation")),
        "t/stream");
    http_free(&s);
}
END_TEST

START_TEST(two_thousand_operations_make_it_no_larger_than_a_hundred)
{
    struct http s;
    size_t some = 0;

    for (unsigned count = 200; count <= 2000; count *= 10) {
        char name[40], errors[200];
        yyjson_val *doc;

        http_new(&s);
        for (unsigned i = 0; i < count; i++) {
            snprintf(name, sizeof name, "%s/%04u", i % 2 ? "single" : "stream", i);
            snprintf(errors, sizeof errors,
                     "[{\"code\":\"E%04u\",\"description\":\"\",\"schema\":{\"const\":%u},"
                     "\"http_status\":409}]",
                     i + 1000, i + 1000);
            declare(&s, name, i % 2 ? ALK_QUERY : ALK_SUBSCRIPTION, NULL, errors);
        }
        http_start(&s);
        doc = document(&s, DOCUMENT);
        ck_assert_uint_eq(yyjson_arr_size(at(doc, "/components/schemas/OperationName/examples")),
                          100);
        ck_assert_uint_eq(yyjson_arr_size(at(doc, "/components/schemas/SubscriptionName/examples")),
                          100);
        some = some ? some : s.got.len;
        ck_assert_uint_eq(s.got.len, some);
        http_free(&s);
    }
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------ */

START_TEST(declared_errors_are_merged_by_status)
{
    struct http s;
    yyjson_val *doc, *v;

    http_new(&s);
    declare(&s, "t/a", ALK_QUERY, NULL,
            "[{\"code\":\"GONE\",\"description\":\"It went.\",\"schema\":{\"type\":\"string\"},"
            "\"http_status\":410},"
            "{\"code\":\"HTTP_409\",\"description\":\"\"},{\"code\":\"HTTP_404\"},"
            "{\"code\":\"ODD\",\"http_status\":401},{\"code\":\"PLAIN\"},{\"code\":\"TIMEOUT\"}]");
    declare(&s, "t/b", ALK_MUTATION, NULL,
            "[{\"code\":\"GONE\",\"description\":\"Otherwise.\",\"schema\":{\"type\":\"integer\"},"
            "\"http_status\":410},"
            "{\"code\":\"TAKEN\",\"schema\":{\"type\":\"string\"},\"http_status\":409},"
            "{\"code\":\"PLAIN\",\"http_status\":409}]");
    http_start(&s);
    doc = document(&s, DOCUMENT);
    ck_assert_str_eq(
        text(alternatives(doc, 410)),
        "[{\"title\":\"GONE\",\"description\":\"It went.\",\"allOf\":[{\"$ref\":"
        "\"#/components/schemas/Error\"}],\"properties\":{\"code\":{\"const\":\"GONE\"},"
        "\"details\":{\"anyOf\":[{\"$ref\":\"#/components/schemas/details1\"},"
        "{\"$ref\":\"#/components/schemas/details2\"}]}}},{\"$ref\":\"#/components/schemas/"
        "Error\"}]");
    ck_assert_str_eq(text(at(doc, "/components/schemas/details2")), "{\"type\":\"integer\"}");
    ck_assert_uint_eq(yyjson_arr_size(alternatives(doc, 409)), 4);
    ck_assert_ptr_nonnull(code_in(doc, 409, "HTTP_409"));
    ck_assert_ptr_nonnull(code_in(doc, 409, "PLAIN"));
    v = code_in(doc, 409, "TAKEN");
    ck_assert_str_eq(text(at(v, "/properties/details")),
                     "{\"$ref\":\"#/components/schemas/details1\"}");
    ck_assert_ptr_nonnull(code_in(doc, 404, "HTTP_404"));
    ck_assert_uint_eq(yyjson_arr_size(alternatives(doc, 404)), 3);
    ck_assert_ptr_nonnull(code_in(doc, 502, "ODD"));
    ck_assert_ptr_nonnull(code_in(doc, 500, "PLAIN"));
    ck_assert_ptr_null(code_in(doc, 504, "TIMEOUT"));
    ck_assert_ptr_null(json_pointer(doc, TEXT("/components/schemas/details3")));
    http_free(&s);
}
END_TEST

/* The test above says what is shown; this one, to whom. */
START_TEST(errors_are_those_of_what_the_caller_can_call_there)
{
    struct http s;

    http_new(&s);
    declare(&s, "t/closed", ALK_QUERY, "{\"authenticated\":true}",
            "[{\"code\":\"CLOSED\",\"http_status\":409}]");
    declare(&s, "t/scoped", ALK_QUERY, "{\"required_scopes\":[\"x:y\"]}",
            "[{\"code\":\"SCOPED\",\"http_status\":409}]");
    declare(&s, "t/stream", ALK_SUBSCRIPTION, NULL, "[{\"code\":\"STREAM\",\"http_status\":409}]");
    http_start(&s);
    ck_assert_ptr_null(alternatives(document(&s, DOCUMENT), 409));
    ck_assert_ptr_nonnull(code_in(document(&s, DOCUMENT_FOR_KEY), 409, "CLOSED"));
    /* With NO_CONNECTION of services/announce. */
    ck_assert_uint_eq(yyjson_arr_size(alternatives(document(&s, DOCUMENT_FOR_KEY), 409)), 3);
    http_free(&s);
}
END_TEST

START_TEST(every_answer_of_call_that_an_operation_can_have_too_allows_any_code)
{
    static const int passed_on[] = {400, 403, 404, 422, 429, 500, 501, 503, 504, 505},
                     own[] = {401, 408, 413, 414, 415, 417, 421, 431};
    struct http s;
    yyjson_val *doc;

    http_new(&s);
    http_start(&s);
    doc = document(&s, DOCUMENT);
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++)
        ck_assert_msg(yyjson_arr_size(alternatives(doc, passed_on[i])) == 2, "%d", passed_on[i]);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char pointer[80];

        snprintf(pointer, sizeof pointer, "/paths/~1call/post/responses/%d/$ref", own[i]);
        at(doc, pointer);
    }
    at(doc, "/paths/~1call/post/responses/default");
    http_free(&s);
}
END_TEST

START_TEST(codes_with_one_status_are_limited)
{
    char errors[8000] = "[";
    struct http s;
    yyjson_val *doc;

    http_new(&s);
    for (unsigned i = 0; i < CODES_MAX + 5; i++)
        sprintf(errors + strlen(errors), "%s{\"code\":\"E%u\",\"http_status\":409}", i ? "," : "",
                i);
    strcat(errors, "]");
    declare(&s, "t/one", ALK_QUERY, NULL, errors);
    declare(&s, "t/two", ALK_QUERY, NULL, "[{\"code\":\"OTHER\",\"http_status\":410}]");
    http_start(&s);
    doc = document(&s, DOCUMENT);
    ck_assert_uint_eq(yyjson_arr_size(alternatives(doc, 409)), CODES_MAX + 1);
    ck_assert_ptr_nonnull(code_in(doc, 409, "E31"));
    ck_assert_ptr_null(code_in(doc, 409, "E32"));
    ck_assert_ptr_nonnull(code_in(doc, 410, "OTHER"));
    http_free(&s);
}
END_TEST

START_TEST(codes_of_all_are_limited)
{
    struct http s;
    yyjson_val *doc;
    size_t sum = 0;

    http_new(&s);
    for (int status = 510; status < 530; status++) {
        char name[20], errors[4000] = "[";

        for (unsigned i = 0; i < 20; i++)
            sprintf(errors + strlen(errors), "%s{\"code\":\"E%u\",\"http_status\":%d}",
                    i ? "," : "", i, status);
        snprintf(name, sizeof name, "t/%d", status);
        strcat(errors, "]");
        declare(&s, name, ALK_QUERY, NULL, errors);
    }
    http_start(&s);
    doc = document(&s, DOCUMENT);
    for (int status = 510; status < 530; status++)
        sum += alternatives(doc, status) ? yyjson_arr_size(alternatives(doc, status)) - 1 : 0;
    ck_assert_uint_eq(sum, ALL_CODES_MAX);
    http_free(&s);
}
END_TEST

START_TEST(odd_characters_stay_and_long_texts_are_cut)
{
    char errors[4000], description[DESCRIPTION_MAX + 10], code[CODE_MAX + 2];
    struct http s;
    yyjson_val *doc, *v;

    http_new(&s);
    memset(description, 'x', sizeof description);
    strcpy(description + DESCRIPTION_MAX - 1, "\xc3\xa9y"); /* a character across the end */
    memset(code, 'c', sizeof code - 1);
    code[sizeof code - 1] = 0;
    snprintf(errors, sizeof errors,
             "[{\"code\":\"a'@v\\\"\\\\/~1\\n\xe2\x80\xa8\",\"description\":\"%s\","
             "\"http_status\":409},{\"code\":\"%s\",\"http_status\":410},"
             "{\"code\":\"%s\",\"http_status\":410}]",
             description, code, code + 1);
    declare(&s, "t/one", ALK_QUERY, NULL, errors);
    http_start(&s);
    doc = document(&s, DOCUMENT);
    v = yyjson_arr_get_first(alternatives(doc, 409));
    ck_assert_str_eq(text(at(v, "/properties/code/const")), "\"a'@v\\\"\\\\/~1\\n\xe2\x80\xa8\"");
    ck_assert_uint_eq(yyjson_get_len(at(v, "/description")), DESCRIPTION_MAX - 1);
    ck_assert_uint_eq(yyjson_arr_size(alternatives(doc, 410)), 2);
    ck_assert_ptr_nonnull(code_in(doc, 410, code + 1));
    http_free(&s);
}
END_TEST

/* ---- schemas of details ------------------------------------------------------------------------ */

static const struct {
    const char *schema, *moved;
} movable[] = {
    {"{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#\"}}}",
     "{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"" MOVED "\"}}}"},
    {"{\"$defs\":{\"a\":{\"items\":{\"$ref\":\"#/$defs/a\"}}},\"$ref\":\"#/$defs/a\"}",
     "{\"$defs\":{\"a\":{\"items\":{\"$ref\":\"" MOVED "/$defs/a\"}}},\"$ref\":\"" MOVED
     "/$defs/a\"}"},
    {"{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#/anyOf/0\"}]}",
     "{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"" MOVED "/anyOf/0\"}]}"},
    /* Names that look like keywords. */
    {"{\"properties\":{\"$ref\":{\"type\":\"string\"},\"$id\":{},\"const\":{\"$ref\":\"#\"}}}",
     "{\"properties\":{\"$ref\":{\"type\":\"string\"},\"$id\":{},\"const\":{\"$ref\":\"" MOVED
     "\"}}}"},
    /* Numbers and text as they came. */
    {"{\"const\":[1.10,1e400,123456789012345678901234567890,\"\\u0000\xc3\xa9\"]}",
     "{\"const\":[1.10,1e400,123456789012345678901234567890,\"\\u0000\xc3\xa9\"]}"},
    {"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"string\"}",
     "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"string\"}"},
};

START_TEST(references_of_a_schema_mean_what_they_meant)
{
    for (size_t i = 0; i < sizeof movable / sizeof *movable; i++) {
        struct http s;
        yyjson_val *doc;
        const char *found;

        http_new(&s);
        declare_schema(&s, movable[i].schema);
        http_start(&s);
        doc = document(&s, DOCUMENT);
        ck_assert_str_eq(text(at(code_in(doc, 409, "ODD"), "/properties/details")),
                         "{\"$ref\":\"" MOVED "\"}");
        found = strstr(http_got(&s), "\"details1\":");
        ck_assert_ptr_nonnull(found);
        ck_assert_msg(!strncmp(found + 11, movable[i].moved, strlen(movable[i].moved)), "%s",
                      found);
        http_free(&s);
    }
}
END_TEST

static const char *const immovable[] = {
    "{\"$id\":\"https://a.example/s\",\"type\":\"string\"}",
    "{\"$defs\":{\"a\":{\"$anchor\":\"here\"}},\"$ref\":\"#here\"}",
    "{\"$defs\":{\"a\":{\"$anchor\":\"here\"}}}",
    "{\"$dynamicAnchor\":\"here\"}",
    "{\"$defs\":{\"a\":{\"$dynamicAnchor\":\"here\"}},\"$dynamicRef\":\"#here\"}",
    "{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}",
    "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"items\":[{}]}",
    "{\"properties\":{\"a b\":{},\"c\":{\"$ref\":\"#/properties/a%20b\"}}}",
    "{\"properties\":{\"a b\":{},\"c\":{\"$ref\":\"#/properties/a b\"}}}",
    "{\"const\":{\"$ref\":\"#/nowhere\"}}",
    "{\"examples\":[{\"$ref\":\"#\"}]}",
    "{\"x\":{\"properties\":{\"a\":{\"$ref\":\"#\"}}},\"$ref\":\"#/x\"}",
    "true",
    "{}",
    "null",
};

START_TEST(what_would_mean_something_else_is_described_as_anything)
{
    for (size_t i = 0; i < sizeof immovable / sizeof *immovable; i++) {
        struct http s;
        yyjson_val *doc;

        http_new(&s);
        declare_schema(&s, immovable[i]);
        declare(&s, "t/two", ALK_QUERY, NULL,
                "[{\"code\":\"ODD\",\"schema\":{\"type\":\"string\"},\"http_status\":409},"
                "{\"code\":\"EVEN\",\"schema\":{\"type\":\"string\"},\"http_status\":409}]");
        http_start(&s);
        doc = document(&s, DOCUMENT);
        ck_assert_msg(!has_details(doc, "ODD"), "%s", immovable[i]);
        ck_assert(has_details(doc, "EVEN"));
        http_free(&s);
    }
}
END_TEST

/* Schemas of others are kept for display, whatever they are. */
START_TEST(what_is_no_proper_schema_is_described_as_anything)
{
    static const char *const schemas[] = {"{\"$ref\":\"#/nowhere\"}",
                                          "{\"$ref\":\"#/title\",\"title\":\"\"}",
                                          "[1]",
                                          "5",
                                          "{\"properties\":{\"a\":{\"required\":true}}}",
                                          "{\"items\":[{}]}",
                                          "{\"allOf\":{}}",
                                          "{\"enum\":{}}",
                                          "{\"minimum\":\"1\"}",
                                          "{\"title\":1}",
                                          "{\"$defs\":[]}",
                                          "{\"properties\":5}",
                                          "{\"type\":5}",
                                          "{\"readOnly\":0}"};

    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        alk_operation op;
        char errors[200];
        struct http s;

        http_new(&s);
        snprintf(errors, sizeof errors, "[{\"code\":\"ODD\",\"schema\":%s,\"http_status\":409}]",
                 schemas[i]);
        alk_operation_init(&op, sizeof op);
        op.name = "t/one";
        op.handler = nothing;
        op.provenance = ALK_FROM_OPENAPI;
        op.error_schemas = errors;
        world_add_full(s.w, &op);
        http_start(&s);
        ck_assert_msg(!has_details(document(&s, DOCUMENT), "ODD"), "%s", schemas[i]);
        http_free(&s);
    }
}
END_TEST

START_TEST(large_and_deep_schemas_are_described_as_anything)
{
    char schema[SCHEMA_BYTES + 100];
    struct http s;

    for (int large = 0; large < 2; large++) {
        http_new(&s);
        /* Compact, as it is kept. */
        memset(schema, 'x', sizeof schema);
        memcpy(schema, "{\"title\":\"", 10);
        strcpy(schema + SCHEMA_BYTES - 2 + large, "\"}");
        declare_schema(&s, schema);
        http_start(&s);
        ck_assert_int_eq(has_details(document(&s, DOCUMENT), "ODD"), !large);
        http_free(&s);
    }
    for (unsigned depth = SCHEMA_DEPTH; depth <= SCHEMA_DEPTH + 1; depth++) {
        http_new(&s);
        schema[0] = 0;
        for (unsigned i = 1; i < depth; i++)
            strcat(schema, "{\"not\":");
        strcat(schema, "{\"type\":\"string\"}");
        for (unsigned i = 1; i < depth; i++)
            strcat(schema, "}");
        declare_schema(&s, schema);
        http_start(&s);
        ck_assert_int_eq(has_details(document(&s, DOCUMENT), "ODD"), depth == SCHEMA_DEPTH);
        http_free(&s);
    }
}
END_TEST

/* So many operations declare one code each, or all the same one, with schemas of their own. */
static yyjson_val *many_schemas(struct http *s, unsigned count, bool one_code)
{
    http_new(s);
    for (unsigned i = 0; i < count; i++) {
        char name[20], errors[100];

        snprintf(name, sizeof name, "t/%03u", i);
        snprintf(errors, sizeof errors,
                 "[{\"code\":\"E%u\",\"schema\":{\"const\":%u},\"http_status\":%u}]",
                 one_code ? 0 : i, i, one_code ? 409 : 510 + i / 8);
        declare(s, name, ALK_QUERY, NULL, errors);
    }
    http_start(s);
    return document(s, DOCUMENT);
}

START_TEST(schemas_of_one_code_and_of_all_are_limited)
{
    struct http s;
    yyjson_val *doc = many_schemas(&s, DETAILS_MAX, true);

    ck_assert_uint_eq(yyjson_arr_size(at(code_in(doc, 409, "E0"), "/properties/details/anyOf")),
                      DETAILS_MAX);
    http_free(&s);
    ck_assert(!has_details(many_schemas(&s, DETAILS_MAX + 1, true), "E0"));
    http_free(&s);
    doc = many_schemas(&s, SCHEMAS_MAX + 1, false);
    at(doc, "/components/schemas/details64");
    ck_assert_ptr_null(json_pointer(doc, TEXT("/components/schemas/details65")));
    ck_assert_ptr_nonnull(code_in(doc, 510 + SCHEMAS_MAX / 8, "E64"));
    http_free(&s);
}
END_TEST

MAIN("openapi", it_has_the_routes_that_front_the_registry_and_no_others,
     another_query_is_told_what_is_allowed, only_3_2_describes_single_events,
     a_token_is_wanted_where_strangers_see_the_decoy,
     the_most_calls_of_a_batch_are_those_of_the_limits, it_is_let_in_as_a_call_is,
     head_has_the_headers_alone, names_are_those_that_the_caller_may_call,
     two_thousand_operations_make_it_no_larger_than_a_hundred, declared_errors_are_merged_by_status,
     errors_are_those_of_what_the_caller_can_call_there,
     every_answer_of_call_that_an_operation_can_have_too_allows_any_code,
     codes_with_one_status_are_limited, codes_of_all_are_limited,
     odd_characters_stay_and_long_texts_are_cut, references_of_a_schema_mean_what_they_meant,
     what_would_mean_something_else_is_described_as_anything,
     what_is_no_proper_schema_is_described_as_anything,
     large_and_deep_schemas_are_described_as_anything, schemas_of_one_code_and_of_all_are_limited)
