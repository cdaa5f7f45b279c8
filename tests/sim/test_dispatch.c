/* The dispatcher, seen from outside: the order of its checks, every protocol code, what a handler may do and
 * when, deadlines on a clock that the test moves, and that each call has exactly one end. Calls come as envelopes over a
 * link in the test's hand; what goes back is compared byte by byte. */
#include "support/suite.h"
#include "support/wire.h"

#include <alknet/yyjson.h>

#include <stdio.h>
#include <string.h>

/* A world with the operations that most tests use. */
struct node {
    struct world *w;
    struct wire *r;
    struct served query, stream;
};

static void node_add(struct node *n)
{
    memset(n, 0, sizeof *n);
    n->w = world_new();
    world_add(n->w, "t/query", ALK_QUERY, serve_later, &n->query);
    world_add(n->w, "t/stream", ALK_SUBSCRIPTION, serve_later, &n->stream);
    world_add(n->w, "t/echo", ALK_MUTATION, serve_echo, NULL);
}

static void node_start(struct node *n)
{
    world_start(n->w);
    n->r = wire_open(n->w, NULL);
}

static void node_init(struct node *n)
{
    node_add(n);
    node_start(n);
}

static void node_fini(struct node *n)
{
    served_free(&n->query);
    served_free(&n->stream);
    wire_free(n->r);
    world_free(n->w);
}

/* Requests t/query or t/stream with that id; its handler has run. */
static void started(struct node *n, const char *id, const char *operation)
{
    wire_request(n->r, id, operation, "null");
    wire_expect_nothing(n->r);
}

/* ---- the order of the checks ------------------------------------------------------------------- */

START_TEST(checks_come_in_the_order_lookup_visibility_access_input_handler)
{
    struct world *w = world_new();
    struct served s = {.starts = 0};
    alk_connection_options o;
    struct wire *nobody, *other, *holder;
    alk_operation op;

    alk_operation_init(&op);
    op.name = "t/x";
    op.handler = serve_later;
    op.ud = &s;
    op.access_control = "{\"required_scopes\":[\"a\"]}";
    op.input_schema = "{\"type\":\"object\"}";
    world_add_full(w, &op);
    op.name = "t/hidden";
    op.visibility = ALK_INTERNAL_ONLY;
    world_add_full(w, &op);
    world_start(w);
    alk_connection_options_init(&o);
    nobody = wire_open(w, &o);
    o.identity = identity_of("other", "[\"b\"]");
    other = wire_open(w, &o);
    alk_identity_unref(o.identity);
    o.identity = identity_of("holder", "[\"a\"]");
    holder = wire_open(w, &o);
    alk_identity_unref(o.identity);

    /* Each request is wrong in all that comes later, too. */
    wire_request(nobody, "1", "/t/none", "5");
    wire_expect(nobody, FAULT("1", "NOT_FOUND", "operation not found: t/none", "false"));
    wire_request(nobody, "2", "/t/hidden", "5");
    wire_expect(nobody, FAULT("2", "NOT_FOUND", "operation not found: t/hidden", "false"));
    wire_request(holder, "3", "/t/hidden", "{}");
    wire_expect(holder, FAULT("3", "NOT_FOUND", "operation not found: t/hidden", "false"));
    wire_request(nobody, "4", "/t/x", "5");
    wire_expect(nobody, FAULT("4", "FORBIDDEN", "authentication required", "false"));
    wire_request(other, "5", "/t/x", "5");
    wire_expect(other, FAULT("5", "FORBIDDEN", "not allowed to call t/x", "false"));
    wire_request(holder, "6", "/t/x", "5");
    wire_expect_error(holder, "6", "INVALID_INPUT", "input: expected object, got integer (type)");
    ck_assert_int_eq(s.starts, 0);
    wire_request(holder, "7", "/t/x", "{}");
    wire_expect_nothing(holder);
    ck_assert_int_eq(s.starts, 1);
    served_free(&s);
    wire_free(nobody);
    wire_free(other);
    wire_free(holder);
    world_free(w);
}
END_TEST

START_TEST(a_draining_dispatcher_is_busy_before_it_looks_anything_up)
{
    struct node n;

    node_init(&n);
    alk_dispatcher_drain(n.w->d);
    wire_request(n.r, "1", "t/none", "null");
    wire_expect(n.r, FAULT("1", "BUSY", "shutting down", "true"));
    node_fini(&n);
}
END_TEST

/* ---- lookup ------------------------------------------------------------------------------------ */

START_TEST(names_are_found_with_and_without_one_leading_slash)
{
    struct node n;

    node_init(&n);
    wire_request(n.r, "1", "/t/echo", "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_request(n.r, "2", "t/echo", "2");
    wire_expect(n.r, RESPONDED("2", "2"));
    wire_request(n.r, "3", "//t/echo", "3");
    wire_expect(n.r, FAULT("3", "NOT_FOUND", "operation not found: /t/echo", "false"));
    wire_request(n.r, "4", "/t/echo/", "4");
    wire_expect(n.r, FAULT("4", "NOT_FOUND", "operation not found: t/echo/", "false"));
    wire_request(n.r, "5", "", "5");
    wire_expect(n.r, FAULT("5", "NOT_FOUND", "operation not found: ", "false"));
    wire_request(n.r, "6", "T/echo", "6");
    wire_expect(n.r, FAULT("6", "NOT_FOUND", "operation not found: T/echo", "false"));
    node_fini(&n);
}
END_TEST

START_TEST(a_name_that_is_not_found_is_told_cut_to_256_bytes_and_as_valid_json)
{
    struct node n;
    char name[700], want[900];

    node_init(&n);
    memset(name, 'x', 699);
    name[699] = 0;
    wire_request(n.r, "1", name, "null");
    snprintf(want, sizeof want, FAULT("1", "NOT_FOUND", "operation not found: %.256s", "false"),
             name);
    wire_expect(n.r, want);
    /* Two-byte characters, of which one would be split. */
    for (int i = 1; i < 600; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    name[601] = 0;
    wire_request(n.r, "2", name, "null");
    snprintf(want, sizeof want, FAULT("2", "NOT_FOUND", "operation not found: %.255s", "false"),
             name);
    wire_expect(n.r, want);
    wire_request(n.r, "3", "a\\\"b\\nc", "null");
    wire_expect(n.r, FAULT("3", "NOT_FOUND", "operation not found: a\\\"b\\nc", "false"));
    node_fini(&n);
}
END_TEST

START_TEST(more_than_eight_hops_are_not_found)
{
    struct node n;

    node_init(&n);
    wire_request_with(n.r, "1", "t/echo", "1", ",\"hops\":8");
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_request_with(n.r, "2", "t/echo", "1", ",\"hops\":9");
    wire_expect(n.r, FAULT("2", "NOT_FOUND", "operation not found: t/echo", "false"));
    wire_request_with(n.r, "3", "t/echo", "1", ",\"hops\":18446744073709551615");
    wire_expect(n.r, FAULT("3", "NOT_FOUND", "operation not found: t/echo", "false"));
    wire_request_with(n.r, "4", "t/echo", "1", ",\"hops\":4294967304");
    wire_expect(n.r, FAULT("4", "NOT_FOUND", "operation not found: t/echo", "false"));
    /* Malformed ones are ignored. */
    wire_request_with(n.r, "5", "t/echo", "1", ",\"hops\":\"9\"");
    wire_expect(n.r, RESPONDED("5", "1"));
    wire_request_with(n.r, "6", "t/echo", "1", ",\"hops\":-9");
    wire_expect(n.r, RESPONDED("6", "1"));
    node_fini(&n);
}
END_TEST

/* ---- input ------------------------------------------------------------------------------------- */

START_TEST(an_input_that_does_not_match_is_told_with_pointer_keyword_and_details)
{
    struct world *w = world_new();
    alk_operation op;
    struct wire *r;
    const char *answer, *at;
    int errors = 0;

    alk_operation_init(&op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.input_schema =
        "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"type\":\"array\","
        "\"items\":{\"type\":\"integer\"}}}}";
    world_add_full(w, &op);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/x", "{\"a\":[1,\"two\"]}");
    wire_expect(
        r,
        "{\"type\":\"call.error\",\"id\":\"1\",\"payload\":{\"code\":\"INVALID_INPUT\",\"message\":"
        "\"/a/1: expected integer, got string "
        "(type)\",\"retryable\":false,\"details\":{\"errors\":["
        "{\"path\":\"/a/1\",\"keyword\":\"type\",\"message\":\"expected integer, got "
        "string\"}]}}}");
    wire_request(r, "2", "t/x", "{}");
    answer = wire_next(r);
    ck_assert_ptr_nonnull(strstr(answer, "{\"path\":\"\",\"keyword\":\"required\",\"message\":"));
    wire_request(r, "3", "t/x",
                 "{\"a\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}");
    answer = wire_next(r);
    for (at = answer; (at = strstr(at, "{\"path\":")); at++)
        errors++;
    ck_assert_int_eq(errors, 8);
    wire_request(r, "4", "t/x", "{\"a\":[1,2]}");
    wire_expect(r, RESPONDED("4", "{\"a\":[1,2]}"));
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(an_input_that_takes_too_much_to_check_is_too_complex)
{
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;
    char input[8200] = "[";

    for (int i = 0; i < 2000; i++)
        snprintf(input + strlen(input), 8, "%s%d", i ? "," : "", i % 10);
    strcat(input, "]");
    alk_operation_init(&op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.input_schema = "{\"items\":{\"type\":\"integer\"}}";
    world_add_full(w, &op);
    w->limits.schema_steps = 100;
    world_start(w);
    r = wire_open(w, NULL);
    wire_request(r, "1", "t/x", input);
    wire_expect(r, FAULT("1", "INVALID_INPUT", "too complex", "false"));
    wire_request(r, "2", "t/x", "[1]");
    wire_expect(r, RESPONDED("2", "[1]"));
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(an_input_reaches_the_handler_as_it_came)
{
    static const char *const inputs[] = {
        "null",
        "{\"b\":1,\"a\":[1.10,1e400,-0,18446744073709551616,9007199254740993]}",
        "\"\\u0000\\n\xc3\xa9\"",
        "[]",
        "false",
    };
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        char want[300];

        wire_request(n.r, "1", "t/echo", inputs[i]);
        snprintf(want, sizeof want, RESPONDED("1", "%s"), inputs[i]);
        wire_expect(n.r, want);
    }
    /* A missing input is null. */
    ck_assert_int_eq(
        wire_feed(
            n.r,
            "{\"type\":\"call.requested\",\"id\":\"2\",\"payload\":{\"operationId\":\"/t/echo\"}}"),
        ALK_OK);
    wire_expect(n.r, RESPONDED("2", "null"));
    node_fini(&n);
}
END_TEST

/* ---- answers ----------------------------------------------------------------------------------- */

START_TEST(a_handler_runs_in_a_turn_and_never_within_feed)
{
    struct node n;

    node_init(&n);
    wire_request(n.r, "1", "t/query", "null");
    ck_assert_int_eq(n.query.starts, 0);
    ck_assert_uint_eq(n.r->count, 0);
    world_turn(n.w);
    ck_assert_int_eq(n.query.starts, 1);
    node_fini(&n);
}
END_TEST

START_TEST(an_answer_may_come_later_and_comes_once)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    world_advance(n.w, 1000);
    served_reply(&n.query, " { \"a\" : [ 1 , 2 ] } ");
    ck_assert_uint_eq(n.r->count, 0);
    ck_assert_int_eq(n.query.ends, 0);
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(served_fail(&n.query, "X", "x", NULL), ALK_EENDED);
    wire_expect(n.r, RESPONDED("1", "{\"a\":[1,2]}"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_OK);
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(a_subscription_answers_with_values_and_completes)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/stream");
    served_emit(&n.stream, "1");
    served_emit(&n.stream, "{ }");
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect(n.r, RESPONDED("1", "{}"));
    world_advance(n.w, 3600 * 1000);
    served_emit(&n.stream, "null");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    ck_assert_int_eq(alk_call_emit(n.stream.call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_EENDED);
    wire_expect(n.r, RESPONDED("1", "null"));
    wire_expect(n.r, COMPLETED("1"));
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_OK);
    node_fini(&n);
}
END_TEST

START_TEST(a_subscription_may_complete_without_a_value_and_fail_after_some)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/stream");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, COMPLETED("1"));
    started(&n, "2", "t/stream");
    served_emit(&n.stream, "1");
    ck_assert_int_eq(served_fail(&n.stream, "GONE", "no more", NULL), ALK_OK);
    wire_expect(n.r, RESPONDED("2", "1"));
    wire_expect(n.r, FAULT("2", "GONE", "no more", "false"));
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.stream.ends, 2);
    ck_assert_int_eq(n.stream.why, ALK_END_FAULT);
    ck_assert_str_eq(n.stream.code, "GONE");
    node_fini(&n);
}
END_TEST

START_TEST(the_wrong_kind_of_answer_is_refused_and_the_call_goes_on)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    ck_assert_int_eq(alk_call_emit(n.query.call, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_call_complete(n.query.call), ALK_EINVAL);
    ck_assert_int_eq(alk_call_reply(n.stream.call, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_call_abort(n.query.call), ALK_EINVAL);
    ck_assert_int_eq(alk_call_pause(n.query.call, 1), ALK_EINVAL);
    wire_expect_nothing(n.r);
    served_reply(&n.query, "1");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect(n.r, COMPLETED("2"));
    node_fini(&n);
}
END_TEST

START_TEST(an_answer_that_is_not_json_is_refused_and_the_call_goes_on)
{
    static const char *const bad[] = {
        "", "{", "nul", "1 2", "\"\xff\"", "\"\\ud800\"", "{\"a\":1,\"a\":1}", "01"};
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(bad[i])), ALK_EJSON);
        ck_assert_int_eq(alk_call_emit(n.stream.call, TEXT(bad[i])), ALK_EJSON);
        ck_assert_int_eq(served_fail(&n.query, "X", "x", bad[i]), ALK_EJSON);
    }
    wire_expect_nothing(n.r);
    served_reply(&n.query, "\"good\"");
    wire_expect(n.r, RESPONDED("1", "\"good\""));
    node_fini(&n);
}
END_TEST

static int built_reply(alk_call *call, void *ud)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    int rc;

    yyjson_mut_obj_add_int(doc, root, "n", *(int *)ud);
    yyjson_mut_obj_add_strcpy(doc, root, "s", "\xc3\xa9\n");
    rc = alk_call_reply_built(call, root);
    yyjson_mut_doc_free(doc);
    return rc;
}

static int parsed_reply(alk_call *call, void *ud)
{
    yyjson_val *in = alk_value_yyjson(alk_call_input(call));

    (void)ud;
    ck_assert(yyjson_is_obj(in));
    ck_assert_double_eq(alk_value_double(yyjson_obj_get(in, "d")), 1.5);
    return alk_call_reply_yyjson(call, yyjson_obj_get(in, "reply"));
}

START_TEST(parsed_and_built_values_are_written_as_they_are)
{
    struct node n;
    int number = -42;

    node_add(&n);
    world_add(n.w, "t/built", ALK_QUERY, built_reply, &number);
    world_add(n.w, "t/parsed", ALK_QUERY, parsed_reply, NULL);
    node_start(&n);
    wire_request(n.r, "1", "t/built", "null");
    wire_expect(n.r, RESPONDED("1", "{\"n\":-42,\"s\":\"\xc3\xa9\\n\"}"));
    wire_request(n.r, "2", "t/parsed", "{\"d\":1.5,\"reply\":[1.50,null]}");
    wire_expect(n.r, RESPONDED("2", "[1.50,null]"));
    node_fini(&n);
}
END_TEST

/* ---- failures ---------------------------------------------------------------------------------- */

START_TEST(a_handlers_own_fault_goes_out_whole)
{
    struct node n;
    alk_fault f = {.size = sizeof f,
                   .retryable = 7,
                   .code = "OWN",
                   .message = "a \"b\"\n",
                   .details = "{ \"x\": 1.0 }"};

    node_init(&n);
    started(&n, "1", "t/query");
    ck_assert_int_eq(alk_call_fail(n.query.call, &f), ALK_OK);
    wire_expect(n.r, "{\"type\":\"call.error\",\"id\":\"1\",\"payload\":{\"code\":\"OWN\","
                     "\"message\":\"a \\\"b\\\"\\n\","
                     "\"retryable\":true,\"details\":{\"x\":1.0}}}");
    ck_assert_int_eq(n.query.why, ALK_END_FAULT);
    ck_assert_str_eq(n.query.code, "OWN");
    started(&n, "2", "t/query");
    ck_assert_int_eq(served_fail(&n.query, "", "x", NULL), ALK_EINVAL);
    ck_assert_int_eq(served_fail(&n.query, NULL, "x", NULL), ALK_EINVAL);
    ck_assert_int_eq(served_fail(&n.query, "A", NULL, NULL), ALK_OK);
    wire_expect(n.r, FAULT("2", "A", "", "false"));
    node_fini(&n);
}
END_TEST

START_TEST(a_handler_that_uses_a_protocol_code_fails_with_internal)
{
    static const char *const codes[] = {
        ALK_NOT_FOUND, ALK_FORBIDDEN, ALK_INVALID_INPUT, ALK_INVALID_OPERATION_TYPE,
        ALK_TIMEOUT,   ALK_BUSY,      ALK_INTERNAL};
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        alk_fault f = {.size = sizeof f, .retryable = 1, .code = codes[i], .message = "mine"};
        const char *answer;

        started(&n, "1", "t/query");
        ck_assert_int_eq(alk_call_fail(n.query.call, &f), ALK_OK);
        answer = wire_next(n.r);
        ck_assert_ptr_nonnull(strstr(answer, "\"code\":\"INTERNAL\""));
        ck_assert_ptr_nonnull(strstr(answer, "\"retryable\":false"));
    }
    ck_assert(world_logged(n.w, "handler t/query"));
    node_fini(&n);
}
END_TEST

START_TEST(a_fault_that_is_not_utf8_still_leaves_as_json)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    if (served_fail(&n.query, "X\xff", "caf\xe9 \xe2\x82", NULL) == ALK_OK) {
        wire_expect(
            n.r, FAULT("1", "X\xef\xbf\xbd", "caf\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd", "false"));
    } else {
        wire_expect_nothing(n.r);
    }
    node_fini(&n);
}
END_TEST

static int returns(alk_call *call, void *ud)
{
    (void)call;
    return *(int *)ud;
}

static int replies_and_returns(alk_call *call, void *ud)
{
    alk_call_reply(call, "1", 1);
    return *(int *)ud;
}

START_TEST(a_negative_return_is_an_internal_error_of_which_only_the_log_knows_more)
{
    struct node n;
    int rc = ALK_ESYSTEM;

    node_add(&n);
    world_add(n.w, "t/bad", ALK_QUERY, returns, &rc);
    world_add(n.w, "t/late", ALK_QUERY, replies_and_returns, &rc);
    node_start(&n);
    wire_request(n.r, "1", "t/bad", "null");
    wire_expect(n.r, FAULT("1", "INTERNAL", "internal error", "false"));
    ck_assert(world_logged(n.w, "handler t/bad - ALK_ESYSTEM") ||
              world_logged(n.w, "handler t/bad - the operating system refused"));
    /* Once it has answered, its return changes nothing. */
    wire_request(n.r, "2", "t/late", "null");
    wire_expect(n.r, RESPONDED("2", "1"));
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(an_operation_without_handler_is_an_internal_error)
{
    struct node n;
    alk_operation op;

    node_add(&n);
    alk_operation_init(&op);
    op.name = "t/described";
    op.provenance = ALK_FROM_JSONSCHEMA;
    world_add_full(n.w, &op);
    node_start(&n);
    wire_request(n.r, "1", "t/described", "null");
    wire_expect(n.r, FAULT("1", "INTERNAL", "internal error", "false"));
    node_fini(&n);
}
END_TEST

/* ---- limits of outputs ------------------------------------------------------------------------- */

/* A JSON string of n bytes, quotes included. */
static char *string_of(size_t n)
{
    char *s = malloc(n + 1);

    must(s);
    memset(s, 'x', n);
    s[0] = s[n - 1] = '"';
    s[n] = 0;
    return s;
}

START_TEST(an_output_above_its_limit_fails_the_call)
{
    struct node n;
    char *fits = string_of(1000), *large = string_of(1001);

    node_add(&n);
    n.w->limits.output_bytes = 1000;
    node_start(&n);
    started(&n, "1", "t/query");
    served_reply(&n.query, fits);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"1\""));
    started(&n, "2", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(large)), ALK_ELIMIT);
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    wire_expect(n.r, FAULT("2", "INTERNAL", "output too large", "false"));
    started(&n, "3", "t/stream");
    served_emit(&n.stream, fits);
    ck_assert_int_eq(alk_call_emit(n.stream.call, TEXT(large)), ALK_ELIMIT);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"3\""));
    wire_expect(n.r, FAULT("3", "INTERNAL", "output too large", "false"));
    /* What counts is the compact form. */
    started(&n, "4", "t/query");
    fits[0] = '1';
    memset(fits + 1, ' ', 999);
    served_reply(&n.query, fits);
    wire_expect(n.r, RESPONDED("4", "1"));
    free(fits);
    free(large);
    node_fini(&n);
}
END_TEST

static char *nested(size_t n)
{
    char *s = malloc(2 * n + 1);

    must(s);
    memset(s, '[', n);
    memset(s + n, ']', n);
    s[2 * n] = 0;
    return s;
}

START_TEST(an_output_whose_envelope_would_be_nested_too_deep_fails_the_call)
{
    struct node n;
    char *fits = nested(120), *deep = nested(127);

    node_init(&n);
    started(&n, "1", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(fits)), ALK_OK);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"1\""));
    started(&n, "2", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(deep)), ALK_ELIMIT);
    wire_expect(n.r, FAULT("2", "INTERNAL", "output too large", "false"));
    free(fits);
    free(deep);
    node_fini(&n);
}
END_TEST

START_TEST(outputs_are_checked_against_their_schema_when_that_is_asked_for)
{
    for (int debug = 0; debug < 2; debug++) {
        struct node n;
        alk_operation op;

        node_add(&n);
        n.w->options.debug_outputs = (uint32_t)debug;
        alk_operation_init(&op);
        op.name = "t/number";
        op.handler = serve_echo;
        op.output_schema = "{\"type\":\"number\"}";
        world_add_full(n.w, &op);
        node_start(&n);
        wire_request(n.r, "1", "t/number", "5");
        wire_expect(n.r, RESPONDED("1", "5"));
        wire_request(n.r, "2", "t/number", "\"five\"");
        if (debug)
            wire_expect(n.r, FAULT("2", "INTERNAL", "internal error", "false"));
        else
            wire_expect(n.r, RESPONDED("2", "\"five\""));
        node_fini(&n);
    }
}
END_TEST

/* ---- deadlines --------------------------------------------------------------------------------- */

START_TEST(a_single_result_has_thirty_seconds_and_not_one_more)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    ck_assert_uint_eq(alk_call_deadline(n.query.call), n.w->now + 30000 * MS);
    ck_assert_uint_eq(n.w->next, n.w->now + 30000 * MS);
    world_advance(n.w, 29999);
    ck_assert_uint_eq(n.r->count, 0);
    world_advance(n.w, 1);
    wire_expect(n.r, FAULT("1", "TIMEOUT", "the deadline has passed", "true"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_TIMEOUT);
    ck_assert_str_eq(n.query.code, "TIMEOUT");
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(an_answer_takes_the_deadline_away)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    world_advance(n.w, 60000);
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(the_callers_time_shortens_the_deadline_and_never_lengthens_it)
{
    static const struct {
        const char *extra;
        uint64_t ms;
    } cases[] = {
        {",\"timeout_ms\":250", 250},
        {",\"timeout_ms\":29999", 29999},
        {",\"timeout_ms\":30001", 30000},
        {",\"timeout_ms\":4294967294", 30000},
        {",\"timeout_ms\":4294967295", 30000},
        {",\"timeout_ms\":4294967297", 30000},
        {",\"timeout_ms\":-1", 30000},
        {",\"timeout_ms\":\"5\"", 30000},
        {",\"timeout_ms\":null", 30000},
        {",\"timeout_ms\":18446744073709551616", 30000},
        {",\"timeout_ms\":1", 1},
    };
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wire_request_with(n.r, "1", "t/query", "null", cases[i].extra);
        wire_expect_nothing(n.r);
        ck_assert_msg(alk_call_deadline(n.query.call) == n.w->now + cases[i].ms * MS, "%s",
                      cases[i].extra);
        world_advance(n.w, cases[i].ms - 1);
        wire_expect_nothing(n.r);
        world_advance(n.w, 1);
        wire_expect(n.r, FAULT("1", "TIMEOUT", "the deadline has passed", "true"));
    }
    node_fini(&n);
}
END_TEST

START_TEST(a_subscription_has_no_deadline_unless_its_caller_wants_one)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/stream");
    ck_assert_uint_eq(alk_call_deadline(n.stream.call), UINT64_MAX);
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, COMPLETED("1"));
    wire_request_with(n.r, "2", "t/stream", "null", ",\"timeout_ms\":100");
    wire_expect_nothing(n.r);
    served_emit(&n.stream, "1");
    wire_expect(n.r, RESPONDED("2", "1"));
    world_advance(n.w, 100);
    wire_expect(n.r, FAULT("2", "TIMEOUT", "the deadline has passed", "true"));
    ck_assert_int_eq(n.stream.why, ALK_END_TIMEOUT);
    node_fini(&n);
}
END_TEST

START_TEST(the_default_deadline_is_a_limit_of_the_node)
{
    struct node n;
    alk_limits l;

    node_add(&n);
    n.w->limits.deadline_ms = 500;
    node_start(&n);
    started(&n, "1", "t/query");
    ck_assert_uint_eq(alk_call_deadline(n.query.call), n.w->now + 500 * MS);
    alk_node_get_limits(n.w->node, &l);
    l.deadline_ms = 100;
    ck_assert_int_eq(alk_node_set_limits(n.w->node, &l), ALK_OK);
    started(&n, "2", "t/query");
    ck_assert_uint_eq(alk_call_deadline(n.query.call), n.w->now + 100 * MS);
    world_advance(n.w, 100);
    wire_expect(n.r, FAULT("2", "TIMEOUT", "the deadline has passed", "true"));
    wire_expect_nothing(n.r);
    world_advance(n.w, 400);
    wire_expect(n.r, FAULT("1", "TIMEOUT", "the deadline has passed", "true"));
    node_fini(&n);
}
END_TEST

START_TEST(deadlines_pass_in_their_order)
{
    static const int order[] = {50, 10, 40, 20, 30};
    struct node n;

    node_init(&n);
    for (int i = 0; i < 5; i++) {
        char id[8], extra[32];

        snprintf(id, sizeof id, "%d", order[i]);
        snprintf(extra, sizeof extra, ",\"timeout_ms\":%d", order[i]);
        wire_request_with(n.r, id, "t/query", "null", extra);
        wire_expect_nothing(n.r);
    }
    ck_assert_uint_eq(n.w->next, n.w->now + 10 * MS);
    world_advance(n.w, 45);
    wire_expect_error(n.r, "10", "TIMEOUT", "the deadline has passed");
    wire_expect_error(n.r, "20", "TIMEOUT", "the deadline has passed");
    wire_expect_error(n.r, "30", "TIMEOUT", "the deadline has passed");
    wire_expect_error(n.r, "40", "TIMEOUT", "the deadline has passed");
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

/* ---- cancellation ------------------------------------------------------------------------------ */

START_TEST(an_aborted_call_ends_at_once_and_nothing_is_sent_for_it)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    served_emit(&n.stream, "1");
    wire_expect(n.r, RESPONDED("2", "1"));
    wire_abort(n.r, "1");
    wire_abort(n.r, "2");
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_call_emit(n.stream.call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(n.query.ends + n.stream.ends, 0);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_ABORTED);
    ck_assert_str_eq(n.query.code, "");
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_ABORTED);
    world_advance(n.w, 60000);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.query.ends, 1);
    node_fini(&n);
}
END_TEST

START_TEST(a_call_aborted_before_its_turn_never_starts)
{
    struct node n;

    node_init(&n);
    wire_request(n.r, "1", "t/query", "null");
    wire_abort(n.r, "1");
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.query.starts, 0);
    ck_assert_uint_eq(world_stats(n.w).calls, 0);
    node_fini(&n);
}
END_TEST

START_TEST(on_end_runs_exactly_once_for_every_way_to_end)
{
    struct node n;

    node_init(&n);
    started(&n, "ok", "t/query");
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("ok", "1"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_OK);
    started(&n, "aborted", "t/query");
    wire_abort(n.r, "aborted");
    world_turn(n.w);
    ck_assert_int_eq(n.query.ends, 2);
    ck_assert_int_eq(n.query.why, ALK_END_ABORTED);
    wire_request(n.r, "lost", "t/query", "null");
    world_turn(n.w);
    alk_connection_lost(n.r->conn);
    ck_assert_int_eq(n.query.ends, 2);
    world_turn(n.w);
    ck_assert_int_eq(n.query.ends, 3);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_str_eq(n.query.code, "");
    world_advance(n.w, 60000);
    ck_assert_int_eq(n.query.ends, 3);
    node_fini(&n);
}
END_TEST

START_TEST(on_end_runs_when_the_dispatcher_is_freed)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    wire_request(n.r, "3", "t/query", "null"); /* never started */
    alk_dispatcher_free(n.w->d);
    ck_assert_int_eq(n.query.starts, 1);
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.r->closes, 1);
    /* A handle that is held stays valid, and says that it is over. */
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    ck_assert_str_eq(alk_call_id(n.query.call), "1");
    alk_call_unref(n.query.call);
    alk_call_unref(n.stream.call);
    alk_connection_unref(n.r->conn);
    alk_node_unref(n.w->node);
    alk_registry_unref(n.w->reg);
    ck_assert_uint_eq(n.w->memory.live, 0);
    buf_fini(&n.w->log);
    for (size_t i = 0; i < n.r->count; i++)
        free(n.r->sent[i]);
    free(n.r->sent);
    free(n.r->streams);
    free(n.r);
    free(n.w);
}
END_TEST

START_TEST(every_function_on_an_ended_call_says_so_and_nothing_crashes)
{
    struct node n;
    alk_call *call;
    size_t len;
    alk_call_options o;

    node_init(&n);
    wire_request_with(n.r, "the-id", "t/stream", "[1,2.50]", ",\"traceparent\":\"x\"");
    wire_expect_nothing(n.r);
    call = n.stream.call;
    wire_abort(n.r, "the-id");
    world_turn(n.w);
    wire_free(n.r);
    ck_assert_int_eq(alk_call_reply(call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_call_emit(call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_call_complete(call), ALK_EENDED);
    ck_assert_int_eq(served_fail(&n.stream, "A", "b", NULL), ALK_EENDED);
    ck_assert_int_eq(alk_call_abort(call), ALK_EENDED);
    ck_assert_int_eq(alk_call_pause(call, 1), ALK_EENDED);
    ck_assert_int_eq(alk_call_on_end(call, NULL, NULL), ALK_EENDED);
    ck_assert_int_eq(alk_call_on_drain(call, NULL, NULL), ALK_EENDED);
    alk_call_options_init(&o);
    ck_assert_int_eq(alk_call_invoke(call, TEXT("t/echo"), TEXT("1"), &o, NULL), ALK_EENDED);
    ck_assert_str_eq(alk_call_id(call), "the-id");
    ck_assert_str_eq(alk_call_operation(call), "t/stream");
    ck_assert_str_eq(alk_value_text(alk_call_input(call), &len), "[1,2.50]");
    ck_assert_ptr_null(alk_call_identity(call));
    ck_assert_ptr_null(alk_call_traceparent(call));
    ck_assert_ptr_null(alk_call_capability(call, "x", &len));
    ck_assert_ptr_eq(alk_call_dispatcher(call), n.w->d);
    ck_assert_uint_eq(world_stats(n.w).calls, 1);
    served_free(&n.stream);
    ck_assert_uint_eq(world_stats(n.w).calls, 0);
    world_free(n.w);
}
END_TEST

/* ---- draining and cancelling all --------------------------------------------------------------- */

START_TEST(while_draining_what_runs_goes_on_and_what_is_new_is_busy)
{
    struct node n;
    alk_connection *c;
    alk_connection_options o;
    alk_link link = {.size = sizeof link};

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    alk_dispatcher_drain(n.w->d);
    wire_request(n.r, "3", "t/echo", "1");
    wire_expect(n.r, FAULT("3", "BUSY", "shutting down", "true"));
    alk_connection_options_init(&o);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ECLOSED);
    ck_assert_ptr_null(c);
    served_reply(&n.query, "1");
    served_emit(&n.stream, "2");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect(n.r, RESPONDED("2", "2"));
    wire_expect(n.r, COMPLETED("2"));
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

START_TEST(cancelling_all_ends_handlers_and_tells_callers_that_it_shuts_down)
{
    struct node n;

    node_init(&n);
    started(&n, "1", "t/query");
    started(&n, "2", "t/stream");
    alk_dispatcher_cancel_all(n.w->d);
    ck_assert_int_eq(n.query.ends, 0);
    wire_expect(n.r, FAULT("1", "BUSY", "shutting down", "true"));
    wire_expect(n.r, FAULT("2", "BUSY", "shutting down", "true"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_CLOSED);
    /* It is no drain: new ones run. */
    wire_request(n.r, "3", "t/echo", "1");
    wire_expect(n.r, RESPONDED("3", "1"));
    node_fini(&n);
}
END_TEST

START_TEST(cancelling_all_tells_the_remotes_of_our_own_calls)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    ask(&a, n.r->conn, "x/y", "null");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(n.r)));
    alk_dispatcher_cancel_all(n.w->d);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "{\"type\":\"call.aborted\""));
    ck_assert_str_eq(wire_id(n.r->sent[n.r->read - 1]), id);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_CLOSED);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

/* ---- limits of calls --------------------------------------------------------------------------- */

START_TEST(more_running_calls_than_a_connection_may_have_are_busy)
{
    struct node n;
    struct wire *other;

    node_add(&n);
    n.w->limits.connection_calls = 3;
    node_start(&n);
    other = wire_open(n.w, NULL);
    started(&n, "1", "t/stream");
    started(&n, "2", "t/stream");
    started(&n, "3", "t/query");
    wire_request(n.r, "4", "t/echo", "1");
    wire_expect(n.r, FAULT("4", "BUSY", "too many calls", "true"));
    wire_request(other, "4", "t/echo", "1");
    wire_expect(other, RESPONDED("4", "1"));
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("3", "1"));
    wire_request(n.r, "5", "t/echo", "1");
    wire_expect(n.r, RESPONDED("5", "1"));
    /* Refused ones take no place. */
    for (int i = 0; i < 10; i++) {
        wire_request(n.r, "6", "t/none", "1");
        wire_expect_error(n.r, "6", "NOT_FOUND", "operation not found: t/none");
    }
    wire_request(n.r, "7", "t/echo", "1");
    wire_expect(n.r, RESPONDED("7", "1"));
    wire_free(other);
    node_fini(&n);
}
END_TEST

START_TEST(more_calls_in_a_second_than_an_identity_may_make_are_busy)
{
    struct node n;
    alk_connection_options o;
    struct wire *mine, *other;

    node_add(&n);
    n.w->limits.calls_per_second = 5;
    node_start(&n);
    alk_connection_options_init(&o);
    o.identity = identity_of("me", "[]");
    mine = wire_open(n.w, &o);
    alk_identity_unref(o.identity);
    o.identity = identity_of("you", "[]");
    other = wire_open(n.w, &o);
    alk_identity_unref(o.identity);
    for (int i = 0; i < 5; i++) {
        wire_request(mine, "1", "t/echo", "1");
        wire_expect(mine, RESPONDED("1", "1"));
    }
    wire_request(mine, "2", "t/echo", "1");
    wire_expect(mine, FAULT("2", "BUSY", "too many calls per second", "true"));
    wire_request(other, "3", "t/echo", "1");
    wire_expect(other, RESPONDED("3", "1"));
    world_advance(n.w, 200);
    wire_request(mine, "4", "t/echo", "1");
    wire_expect(mine, RESPONDED("4", "1"));
    wire_request(mine, "5", "t/echo", "1");
    wire_expect_error(mine, "5", "BUSY", "too many calls per second");
    world_advance(n.w, 10000);
    for (int i = 0; i < 5; i++) {
        wire_request(mine, "6", "t/echo", "1");
        wire_expect(mine, RESPONDED("6", "1"));
    }
    wire_request(mine, "7", "t/echo", "1");
    wire_expect_error(mine, "7", "BUSY", "too many calls per second");
    wire_free(mine);
    wire_free(other);
    node_fini(&n);
}
END_TEST

/* ---- backpressure ------------------------------------------------------------------------------ */

/* The values that one run of emits takes before it would block. */
static int emit_until_blocked(struct served *s, const char *value, int most)
{
    int n = 0, rc;

    while (n < most && (rc = alk_call_emit(s->call, TEXT(value))) != ALK_EAGAIN) {
        must(rc == ALK_OK);
        n++;
    }
    return n;
}

START_TEST(emit_takes_nothing_above_the_mark_and_one_drain_follows_below_half)
{
    struct node n;
    char *value = string_of(1000);
    int taken;

    node_add(&n);
    n.w->limits.queue_high = 10000;
    node_start(&n);
    started(&n, "1", "t/stream");
    n.r->room = 0;
    taken = emit_until_blocked(&n.stream, value, 1000);
    ck_assert_int_ge(taken, 9);
    ck_assert_int_le(taken, 11);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(alk_call_emit(n.stream.call, "1", 1), ALK_EAGAIN);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.drains, 0);
    ck_assert_uint_eq(n.r->count, 0);
    /* Above half, nothing yet. */
    n.r->room = 2;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.drains, 0);
    ck_assert_int_eq(alk_call_emit(n.stream.call, "1", 1), ALK_EAGAIN);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.drains, 1);
    ck_assert_uint_eq(n.r->count, (unsigned)taken);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.drains, 1);
    served_emit(&n.stream, "1");
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, (unsigned)taken + 1);
    ck_assert_int_eq(n.stream.drains, 1);
    free(value);
    node_fini(&n);
}
END_TEST

START_TEST(a_blocked_subscription_that_is_aborted_gets_no_drain)
{
    struct node n;
    char *value = string_of(1000);

    node_add(&n);
    n.w->limits.queue_high = 10000;
    node_start(&n);
    started(&n, "1", "t/stream");
    n.r->room = 0;
    emit_until_blocked(&n.stream, value, 1000);
    wire_abort(n.r, "1");
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.drains, 0);
    ck_assert_int_eq(n.stream.ends, 1);
    free(value);
    node_fini(&n);
}
END_TEST

START_TEST(every_blocked_subscription_gets_its_own_drain)
{
    enum { STREAMS = 20 };
    struct world *w = world_new();
    struct served s[STREAMS];
    char *value = string_of(1000);
    struct wire *r;

    memset(s, 0, sizeof s);
    for (int i = 0; i < STREAMS; i++) {
        char name[16];

        snprintf(name, sizeof name, "t/s%d", i);
        world_add(w, name, ALK_SUBSCRIPTION, serve_later, &s[i]);
    }
    w->limits.queue_high = 10000;
    world_start(w);
    r = wire_open(w, NULL);
    for (int i = 0; i < STREAMS; i++) {
        char name[16];

        snprintf(name, sizeof name, "t/s%d", i);
        wire_request(r, name, name, "null");
    }
    world_turn(w);
    r->room = 0;
    for (int i = 0; i < STREAMS; i++)
        emit_until_blocked(&s[i], value, 1000);
    world_turn(w);
    r->room = -1;
    alk_connection_writable(r->conn);
    world_turn(w);
    for (int i = 0; i < STREAMS; i++) {
        ck_assert_int_eq(s[i].drains, 1);
        served_free(&s[i]);
    }
    free(value);
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- what a handler can ask -------------------------------------------------------------------- */

START_TEST(a_handler_sees_id_name_identity_and_trace_of_its_call)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct node n;
    alk_connection_options o;
    struct wire *r;
    char extra[128];
    alk_identity *who = identity_of("me", "[\"a\"]");

    node_add(&n);
    node_start(&n);
    alk_connection_options_init(&o);
    o.identity = who;
    r = wire_open(n.w, &o);
    snprintf(extra, sizeof extra, ",\"traceparent\":\"%s\"", trace);
    wire_request_with(r, "a-\\u00e9", "/t/query", "null", extra);
    wire_expect_nothing(r);
    ck_assert_str_eq(alk_call_id(n.query.call), "a-\xc3\xa9");
    ck_assert_str_eq(alk_call_operation(n.query.call), "t/query");
    ck_assert_ptr_eq(alk_call_identity(n.query.call), who);
    ck_assert_ptr_eq(alk_call_originator(n.query.call), who);
    ck_assert_str_eq(alk_call_traceparent(n.query.call), trace);
    ck_assert_ptr_null(alk_call_forwarded_for(n.query.call));
    served_reply(&n.query, "1");
    wire_expect(r, RESPONDED("a-\xc3\xa9", "1"));
    alk_identity_unref(who);
    wire_free(r);
    node_fini(&n);
}
END_TEST

START_TEST(a_malformed_traceparent_is_ignored)
{
    static const char *const bad[] = {
        "\"\"",
        "5",
        "\"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01\"",
        "\"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"",
        "\"00-00000000000000000000000000000000-00f067aa0ba902b7-01\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x\"",
        "\"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"",
    };
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char extra[128];

        snprintf(extra, sizeof extra, ",\"traceparent\":%s", bad[i]);
        wire_request_with(n.r, "1", "t/query", "null", extra);
        wire_expect_nothing(n.r);
        ck_assert_msg(!alk_call_traceparent(n.query.call), "%s", bad[i]);
        served_reply(&n.query, "1");
        wire_expect(n.r, RESPONDED("1", "1"));
    }
    node_fini(&n);
}
END_TEST

/* ---- discovery --------------------------------------------------------------------------------- */

START_TEST(services_list_filters_sorts_and_pages)
{
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;

    alk_operation_init(&op);
    op.handler = serve_echo;
    op.name = "b/two";
    op.description = "Counts APPLES";
    world_add_full(w, &op);
    op.name = "b/one";
    op.type = ALK_SUBSCRIPTION;
    op.description = NULL;
    world_add_full(w, &op);
    op.name = "a";
    op.type = ALK_MUTATION;
    world_add_full(w, &op);
    op.name = "b/secret";
    op.access_control = "{\"authenticated\":true}";
    world_add_full(w, &op);
    op.name = "b/hidden";
    op.access_control = NULL;
    op.visibility = ALK_INTERNAL_ONLY;
    world_add_full(w, &op);
    world_start(w);
    r = wire_open(w, NULL);
#define A "{\"name\":\"a\",\"namespace\":\"a\",\"op_type\":\"mutation\"}"
#define B1 "{\"name\":\"b/one\",\"namespace\":\"b\",\"op_type\":\"subscription\"}"
#define B2                                                                                         \
    "{\"name\":\"b/two\",\"namespace\":\"b\",\"op_type\":\"query\",\"description\":\"Counts "      \
    "APPLES\"}"
    wire_request(r, "1", "services/list", "{\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("1", "{\"operations\":[" B1 "," B2 "]}"));
    wire_request(r, "2", "services/list", "{\"q\":\"apple\"}");
    wire_expect(r, RESPONDED("2", "{\"operations\":[" B2 "]}"));
    wire_request(r, "3", "services/list", "{\"q\":\"B/O\"}");
    wire_expect(r, RESPONDED("3", "{\"operations\":[" B1 "]}"));
    wire_request(r, "4", "services/list", "{\"op_type\":\"mutation\"}");
    wire_expect(r, RESPONDED("4", "{\"operations\":[" A "]}"));
    wire_request(r, "5", "services/list", "{\"limit\":2}");
    wire_expect(r, RESPONDED("5", "{\"operations\":[" A "," B1 "],\"next_cursor\":\"b/one\"}"));
    wire_request(r, "6", "services/list", "{\"limit\":1,\"cursor\":\"b/one\"}");
    wire_expect(r, RESPONDED("6", "{\"operations\":[" B2 "],\"next_cursor\":\"b/two\"}"));
    wire_request(r, "7", "services/list", "{\"limit\":2.0,\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("7", "{\"operations\":[" B1 "," B2 "]}"));
    wire_request(r, "8", "services/list", "{\"limit\":1.0,\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("8", "{\"operations\":[" B1 "],\"next_cursor\":\"b/one\"}"));
    wire_request(r, "9", "services/list", "{\"limit\":0}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "INVALID_INPUT"));
    wire_request(r, "10", "services/list", "{\"op_type\":\"other\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "INVALID_INPUT"));
    wire_request(r, "11", "services/list", "{\"cursor\":\"zzz\"}");
    wire_expect(r, RESPONDED("11", "{\"operations\":[]}"));
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(services_schema_gives_the_whole_specification_to_whom_may_call_it)
{
    struct world *w = world_new();
    alk_connection_options o;
    struct wire *nobody, *holder;
    alk_operation op;

    alk_operation_init(&op);
    op.handler = serve_echo;
    op.name = "t/full";
    op.type = ALK_MUTATION;
    op.description = "All of it";
    op.input_schema = "{ \"type\": \"object\" }";
    op.output_schema = "true";
    op.error_schemas = "[{\"code\":\"E\",\"description\":\"d\",\"schema\":{},\"http_status\":409},{"
                       "\"code\":\"F\"}]";
    op.access_control = "{\"required_scopes\":[\"a\"],\"required_scopes_any\":[\"b\",\"c\"],"
                        "\"resource_type\":\"f\","
                        "\"resource_action\":\"r\",\"authenticated\":true}";
    op.resource_id_path = "/id";
    world_add_full(w, &op);
    alk_operation_init(&op);
    op.handler = serve_echo;
    op.name = "t/bare";
    world_add_full(w, &op);
    op.name = "t/hidden";
    op.visibility = ALK_INTERNAL_ONLY;
    world_add_full(w, &op);
    world_start(w);
    nobody = wire_open(w, NULL);
    alk_connection_options_init(&o);
    o.identity = alk_identity_new(
        TEXT("{\"id\":\"x\",\"scopes\":[\"a\",\"b\"],\"resources\":{\"f\":[\"1\"]}}"));
    holder = wire_open(w, &o);
    alk_identity_unref(o.identity);
    wire_request(holder, "1", "services/schema", "{\"name\":\"/t/full\"}");
    wire_expect(
        holder,
        RESPONDED(
            "1",
            "{\"name\":\"t/full\",\"namespace\":\"t\",\"op_type\":\"mutation\",\"visibility\":"
            "\"external\",\"input_schema\":{\"type\":\"object\"},\"output_schema\":true,"
            "\"error_schemas\":[{\"code\":\"E\",\"description\":\"d\",\"schema\":{},"
            "\"http_status\":409},{\"code\":\"F\",\"description\":\"\",\"schema\":null,"
            "\"http_status\":null}],\"access_control\":{\"required_scopes\":[\"a\"],"
            "\"required_scopes_any\":[\"b\",\"c\"],\"resource_type\":\"f\",\"resource_action\":"
            "\"r\",\"authenticated\":true},\"resource_id_path\":\"/id\",\"description\":"
            "\"All of it\"}"));
    wire_request(nobody, "2", "services/schema", "{\"name\":\"t/bare\",\"peer\":\"local\"}");
    wire_expect(
        nobody,
        RESPONDED("2",
                  "{\"name\":\"t/bare\",\"namespace\":\"t\",\"op_type\":\"query\",\"visibility\":"
                  "\"external\",\"input_schema\":null,\"output_schema\":null,\"error_schemas\":[],"
                  "\"access_control\":{\"required_scopes\":[],\"required_scopes_any\":null,"
                  "\"resource_type\":null,\"resource_action\":null}}"));
    wire_request(nobody, "3", "services/schema", "{\"name\":\"t/full\"}");
    wire_expect(nobody, FAULT("3", "NOT_FOUND", "operation not found: t/full", "false"));
    wire_request(holder, "4", "services/schema", "{\"name\":\"t/hidden\"}");
    wire_expect(holder, FAULT("4", "NOT_FOUND", "operation not found: t/hidden", "false"));
    wire_request(holder, "5", "services/schema", "{\"name\":\"t/bare\",\"peer\":\"other\"}");
    wire_expect(holder, FAULT("5", "NOT_FOUND", "operation not found: t/bare", "false"));
    wire_request(holder, "6", "services/schema", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(holder), "INVALID_INPUT"));
    wire_free(nobody);
    wire_free(holder);
    world_free(w);
}
END_TEST

START_TEST(a_deeply_nested_schema_can_be_described_or_is_not_registered)
{
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;
    char schema[4000];

    for (int levels = 60; levels < 130; levels += 4) {
        char name[16], *p = schema;

        for (int i = 0; i < levels; i++)
            p += sprintf(p, "{\"not\":");
        p += sprintf(p, "{}");
        memset(p, '}', (size_t)levels);
        p[levels] = 0;
        snprintf(name, sizeof name, "t/d%d", levels);
        alk_operation_init(&op);
        op.name = name;
        op.handler = serve_echo;
        op.input_schema = schema;
        if (alk_registry_add(w->reg, &op) != ALK_OK)
            ck_assert_int_gt(levels, 90);
    }
    world_start(w);
    r = wire_open(w, NULL);
    for (int levels = 60; levels < 130; levels += 4) {
        char input[64];

        snprintf(input, sizeof input, "{\"name\":\"t/d%d\"}", levels);
        wire_request(r, "1", "services/schema", input);
        ck_assert_ptr_null(strstr(wire_next(r), "INTERNAL"));
    }
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- numbers ----------------------------------------------------------------------------------- */

START_TEST(counters_tell_what_happened)
{
    struct node n;
    alk_stats s;

    node_init(&n);
    wire_request(n.r, "1", "t/echo", "1");
    wire_request(n.r, "2", "t/none", "1");
    wire_request(n.r, "3", "t/query", "1");
    world_turn(n.w);
    s = world_stats(n.w);
    ck_assert_uint_eq(s.connections, 1);
    ck_assert_uint_eq(s.calls, 1);
    ck_assert_uint_eq(s.calls_total, 3);
    ck_assert_uint_eq(s.calls_refused, 1);
    ck_assert_uint_eq(s.calls_failed, 1);
    ck_assert_uint_gt(s.memory_blocks, 0);
    served_fail(&n.query, "X", "x", NULL);
    world_turn(n.w);
    served_free(&n.query);
    s = world_stats(n.w);
    ck_assert_uint_eq(s.calls, 0);
    ck_assert_uint_eq(s.calls_failed, 2);
    ck_assert_uint_eq(s.calls_refused, 1);
    node_fini(&n);
}
END_TEST

START_TEST(ten_thousand_calls_one_after_the_other_take_no_more_memory_than_one)
{
    struct node n;
    uint64_t blocks = 0;

    node_init(&n);
    n.w->options.log = NULL;
    for (int i = 0; i < 10000; i++) {
        wire_request(n.r, "1", "t/echo", "{\"a\":[1,2,3]}");
        must(wire_next(n.r));
        free(n.r->sent[0]);
        n.r->count = n.r->read = 0;
        buf_consume(&n.w->log, n.w->log.len);
        if (i == 10)
            blocks = world_stats(n.w).memory_blocks;
    }
    ck_assert_uint_eq(world_stats(n.w).memory_blocks, blocks);
    node_fini(&n);
}
END_TEST

START_TEST(a_turn_that_has_more_to_do_says_now)
{
    struct node n;
    uint64_t next;

    node_add(&n);
    n.w->limits.connection_calls = 100000;
    node_start(&n);
    for (int i = 0; i < 70000; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, "t/echo", "1");
    }
    next = alk_dispatcher_turn(n.w->d, n.w->now);
    ck_assert(n.r->count == 70000 || next == n.w->now);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 70000);
    node_fini(&n);
}
END_TEST

MAIN("dispatch", checks_come_in_the_order_lookup_visibility_access_input_handler,
     a_draining_dispatcher_is_busy_before_it_looks_anything_up,
     names_are_found_with_and_without_one_leading_slash,
     a_name_that_is_not_found_is_told_cut_to_256_bytes_and_as_valid_json,
     more_than_eight_hops_are_not_found,
     an_input_that_does_not_match_is_told_with_pointer_keyword_and_details,
     an_input_that_takes_too_much_to_check_is_too_complex, an_input_reaches_the_handler_as_it_came,
     a_handler_runs_in_a_turn_and_never_within_feed, an_answer_may_come_later_and_comes_once,
     a_subscription_answers_with_values_and_completes,
     a_subscription_may_complete_without_a_value_and_fail_after_some,
     the_wrong_kind_of_answer_is_refused_and_the_call_goes_on,
     an_answer_that_is_not_json_is_refused_and_the_call_goes_on,
     parsed_and_built_values_are_written_as_they_are, a_handlers_own_fault_goes_out_whole,
     a_handler_that_uses_a_protocol_code_fails_with_internal,
     a_fault_that_is_not_utf8_still_leaves_as_json,
     a_negative_return_is_an_internal_error_of_which_only_the_log_knows_more,
     an_operation_without_handler_is_an_internal_error, an_output_above_its_limit_fails_the_call,
     an_output_whose_envelope_would_be_nested_too_deep_fails_the_call,
     outputs_are_checked_against_their_schema_when_that_is_asked_for,
     a_single_result_has_thirty_seconds_and_not_one_more, an_answer_takes_the_deadline_away,
     the_callers_time_shortens_the_deadline_and_never_lengthens_it,
     a_subscription_has_no_deadline_unless_its_caller_wants_one,
     the_default_deadline_is_a_limit_of_the_node, deadlines_pass_in_their_order,
     an_aborted_call_ends_at_once_and_nothing_is_sent_for_it,
     a_call_aborted_before_its_turn_never_starts, on_end_runs_exactly_once_for_every_way_to_end,
     on_end_runs_when_the_dispatcher_is_freed,
     every_function_on_an_ended_call_says_so_and_nothing_crashes,
     while_draining_what_runs_goes_on_and_what_is_new_is_busy,
     cancelling_all_ends_handlers_and_tells_callers_that_it_shuts_down,
     cancelling_all_tells_the_remotes_of_our_own_calls,
     more_running_calls_than_a_connection_may_have_are_busy,
     more_calls_in_a_second_than_an_identity_may_make_are_busy,
     emit_takes_nothing_above_the_mark_and_one_drain_follows_below_half,
     a_blocked_subscription_that_is_aborted_gets_no_drain,
     every_blocked_subscription_gets_its_own_drain,
     a_handler_sees_id_name_identity_and_trace_of_its_call, a_malformed_traceparent_is_ignored,
     services_list_filters_sorts_and_pages,
     services_schema_gives_the_whole_specification_to_whom_may_call_it,
     a_deeply_nested_schema_can_be_described_or_is_not_registered, counters_tell_what_happened,
     ten_thousand_calls_one_after_the_other_take_no_more_memory_than_one,
     a_turn_that_has_more_to_do_says_now)
