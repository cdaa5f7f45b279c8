/* The dispatcher, seen from outside: the order of its checks, every protocol code, what a handler
 * may answer and what it may not. Calls come as envelopes over a link in the test's hand; what
 * goes back is compared byte by byte. */
#include "support/node.h"
#include "support/suite.h"

#include <alknet/yyjson.h>

#include <stdio.h>
#include <string.h>

/* ---- the order of the checks ----------------------------------------------------------------- */

START_TEST(checks_come_in_the_order_lookup_visibility_access_input_handler)
{
    struct world *w = world_new();
    struct served s = {.starts = 0};
    alk_connection_options o = {.size = sizeof o};
    struct wire *nobody, *other, *holder;
    alk_operation op;

    alk_operation_init(&op, sizeof op);
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

/* ---- lookup ---------------------------------------------------------------------------------- */

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

/* ---- input ----------------------------------------------------------------------------------- */

START_TEST(an_input_that_does_not_match_is_told_with_pointer_keyword_and_details)
{
    struct world *w = world_new();
    alk_operation op;
    struct wire *r;
    const char *answer, *at;
    int errors = 0;

    alk_operation_init(&op, sizeof op);
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
    alk_operation_init(&op, sizeof op);
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

/* ---- answers --------------------------------------------------------------------------------- */

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
    node_serve(&n, "1", "t/query");
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
    node_serve(&n, "1", "t/stream");
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
    node_serve(&n, "1", "t/stream");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, COMPLETED("1"));
    node_serve(&n, "2", "t/stream");
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
    node_serve(&n, "1", "t/query");
    node_serve(&n, "2", "t/stream");
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
    node_serve(&n, "1", "t/query");
    node_serve(&n, "2", "t/stream");
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
    rc = alk_call_output_built(call, root);
    yyjson_mut_doc_free(doc);
    return rc;
}

static int parsed_reply(alk_call *call, void *ud)
{
    yyjson_val *in = alk_value_yyjson(alk_call_input(call));

    (void)ud;
    ck_assert(yyjson_is_obj(in));
    ck_assert_double_eq(alk_value_double(yyjson_obj_get(in, "d")), 1.5);
    return alk_call_output_yyjson(call, yyjson_obj_get(in, "reply"));
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

START_TEST(a_subscription_goes_on_behind_parsed_and_built_values)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *built = yyjson_mut_sint(doc, -42);
    struct node n;
    struct asked a;

    node_init(&n);
    wire_request(n.r, "1", "t/stream", "[1.50,null]");
    world_turn(n.w);
    ck_assert_int_eq(alk_call_output_built(n.stream.call, built), ALK_OK);
    ck_assert_int_eq(
        alk_call_output_yyjson(n.stream.call, alk_value_yyjson(alk_call_input(n.stream.call))),
        ALK_OK);
    wire_expect(n.r, RESPONDED("1", "-42"));
    wire_expect(n.r, RESPONDED("1", "[1.50,null]"));
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, COMPLETED("1"));
    ck_assert_int_eq(alk_call_output_built(n.stream.call, built), ALK_EENDED);
    ask(&a, n.r->conn, "x/y", "null");
    ck_assert_int_eq(alk_call_output_built(a.call, built), ALK_EINVAL); /* not served here */
    asked_drop(&a, n.w);
    yyjson_mut_doc_free(doc);
    node_fini(&n);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

START_TEST(a_handlers_own_fault_goes_out_whole)
{
    struct node n;
    alk_fault f = {.size = sizeof f,
                   .retryable = 7,
                   .code = "OWN",
                   .message = "a \"b\"\n",
                   .details = "{ \"x\": 1.0 }"};

    node_init(&n);
    node_serve(&n, "1", "t/query");
    ck_assert_int_eq(alk_call_fail(n.query.call, &f), ALK_OK);
    wire_expect(n.r, "{\"type\":\"call.error\",\"id\":\"1\",\"payload\":{\"code\":\"OWN\","
                     "\"message\":\"a \\\"b\\\"\\n\","
                     "\"retryable\":true,\"details\":{\"x\":1.0}}}");
    ck_assert_int_eq(n.query.why, ALK_END_FAULT);
    ck_assert_str_eq(n.query.code, "OWN");
    node_serve(&n, "2", "t/query");
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

        node_serve(&n, "1", "t/query");
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
    node_serve(&n, "1", "t/query");
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
    alk_operation_init(&op, sizeof op);
    op.name = "t/described";
    op.provenance = ALK_FROM_JSONSCHEMA;
    world_add_full(n.w, &op);
    node_start(&n);
    wire_request(n.r, "1", "t/described", "null");
    wire_expect(n.r, FAULT("1", "INTERNAL", "internal error", "false"));
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
     parsed_and_built_values_are_written_as_they_are,
     a_subscription_goes_on_behind_parsed_and_built_values, a_handlers_own_fault_goes_out_whole,
     a_handler_that_uses_a_protocol_code_fails_with_internal,
     a_fault_that_is_not_utf8_still_leaves_as_json,
     a_negative_return_is_an_internal_error_of_which_only_the_log_knows_more,
     an_operation_without_handler_is_an_internal_error)
