/* Envelopes as they come and go: every framing error, the limits of messages, and the exact bytes
 * of our requests. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

#define BEGIN "{\"type\":\"call.aborted\",\"id\":"

/* ---- framing --------------------------------------------------------------------------------- */

START_TEST(every_framing_error_closes_the_connection_as_a_protocol_error)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
#define BAD(bytes) {bytes, sizeof(bytes) - 1}
        BAD(""),
        BAD(" "),
        BAD("nonsense"),
        BAD("[]"),
        BAD("\"call.aborted\""),
        BAD("null"),
        BAD("{}"),
        BAD("{\"id\":\"1\",\"payload\":{}}"),
        BAD("{\"type\":5,\"id\":\"1\",\"payload\":{}}"),
        BAD("{\"type\":null,\"id\":\"1\",\"payload\":{}}"),
        BAD(BEGIN "\"1\"}"),
        BAD("{\"type\":\"call.aborted\",\"payload\":{}}"),
        BAD(BEGIN "1,\"payload\":{}}"),
        BAD(BEGIN "null,\"payload\":{}}"),
        BAD(BEGIN "\"\",\"payload\":{}}"),
        BAD(BEGIN "\"1\",\"payload\":{}"),
        BAD(BEGIN "\"1\",\"payload\":{}} "
                  "{}"),
        BAD(BEGIN "\"\xff\",\"payload\":{}}"),
        BAD(BEGIN "\"1\",\"payload\":\"\xc3\"}"),
        BAD(BEGIN "\"\\ud800\",\"payload\":{}}"),
        BAD(BEGIN "\"1\",\"payload\":{\"x\":\"\\udc00\"}}"),
        BAD(BEGIN "\"1\",\"payload\":{},\"id\":\"1\"}"),
        BAD(BEGIN "\"1\",\"payload\":{\"a\":{\"b\":1,\"b\":2}}}"),
        BAD("\0" BEGIN "\"1\",\"payload\":{}}"),
        BAD(BEGIN "\"1\",\"payload\":{}}\0"),
        BAD("\xef\xbb\xbf" BEGIN "\"1\",\"payload\":{}}"),
        BAD(BEGIN "\"1\",\"payload\":{}/* */}"),
        /* An unknown type is ignored, but only in a valid envelope. */
        BAD("{\"type\":\"other\",\"payload\":{}}"),
        BAD("{\"type\":\"other\",\"id\":\"1\"}"),
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct node n;
        struct wire *other;

        node_init(&n);
        other = wire_open(n.w, NULL);
        wire_request(n.r, "1", "t/query", "null");
        world_turn(n.w);
        ck_assert_msg(wire_feed_bytes(n.r, bad[i].bytes, bad[i].len) == ALK_EJSON, "%s",
                      bad[i].bytes);
        ck_assert_int_eq(wire_feed(n.r, BEGIN "\"1\",\"payload\":{}}"), ALK_ECLOSED);
        ck_assert_int_eq(n.r->closes, 0);
        world_turn(n.w);
        ck_assert_int_eq(n.r->closes, 1);
        ck_assert_int_eq(n.r->close_code, ALK_CLOSE_PROTOCOL);
        ck_assert_int_eq(n.query.ends, 1);
        ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
        ck_assert_uint_eq(n.r->count, 0);
        wire_request(other, "1", "t/echo", "1");
        wire_expect(other, RESPONDED("1", "1"));
        wire_free(other);
        node_fini(&n);
    }
}
END_TEST

START_TEST(an_id_may_have_256_bytes_and_no_more)
{
    struct node n;
    char *fits = repeated("i", 256, BEGIN "\"", "\",\"payload\":{}}");
    char *large = repeated("i", 257, BEGIN "\"", "\",\"payload\":{}}");

    node_init(&n);
    ck_assert_int_eq(wire_feed(n.r, fits), ALK_OK);
    ck_assert_int_eq(wire_feed(n.r, large), ALK_EJSON);
    free(fits);
    free(large);
    node_fini(&n);
}
END_TEST

START_TEST(an_envelope_deeper_than_the_limit_is_a_framing_error)
{
    struct node n;
    char *fits, *deep;

    node_add(&n);
    n.w->limits.json_depth = 10;
    node_start(&n);
    fits = repeated("[", 8, BEGIN "\"1\",\"payload\":{\"x\":", "]]]]]]]]}}");
    deep = repeated("[", 9, BEGIN "\"1\",\"payload\":{\"x\":", "]]]]]]]]]}}");
    ck_assert_int_eq(wire_feed(n.r, fits), ALK_OK);
    ck_assert_int_eq(wire_feed(n.r, deep), ALK_EJSON);
    world_turn(n.w);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_PROTOCOL);
    free(fits);
    free(deep);
    node_fini(&n);
}
END_TEST

START_TEST(members_may_come_in_any_order_and_unknown_ones_are_ignored)
{
    struct node n;

    node_init(&n);
    ck_assert_int_eq(
        wire_feed(n.r,
                  " {\"extra\":[1],\"payload\":{\"zzz\":{\"a\":1},\"input\":[7],\"operationId\":"
                  "\"t/echo\"},\n\t\"id\" : \"1\" ,\"type\":\"call.requested\"} "),
        ALK_OK);
    wire_expect(n.r, RESPONDED("1", "[7]"));
    node_fini(&n);
}
END_TEST

START_TEST(a_valid_envelope_of_unknown_type_is_ignored)
{
    static const char *const types[] = {"call.paused", "", "CALL.REQUESTED", "call.requested ",
                                        "call.request"};
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        node_feed(&n, types[i], "1", "{\"operationId\":\"t/echo\"}");
    node_feed(&n, "other", "1", "null");
    wire_expect_nothing(n.r);
    wire_request(n.r, "2", "t/echo", "1");
    wire_expect(n.r, RESPONDED("2", "1"));
    ck_assert_uint_eq(world_stats(n.w).discarded, 0);
    node_fini(&n);
}
END_TEST

START_TEST(a_request_without_a_string_as_operation_is_invalid_input)
{
    static const char *const payloads[] = {
        "{}", "{\"operationId\":5}", "{\"operationId\":null}", "null",
        "[]", "\"t/echo\"",          "{\"operationId\":{}}"};
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        node_feed(&n, "call.requested", "1", payloads[i]);
        wire_expect(n.r, FAULT("1", "INVALID_INPUT", "/operationId: must be a string", "false"));
    }
    node_fini(&n);
}
END_TEST

/* ---- limits of messages ---------------------------------------------------------------------- */

START_TEST(a_message_above_its_limit_closes_the_connection_as_a_limit)
{
    static const struct {
        uint32_t option, frame, anonymous;
        bool identity;
        size_t most;
    } cases[] = {
        {0, 5000, 100000, true, 5000},    {3000, 5000, 100000, true, 3000},
        {0, 5000, 2000, false, 2000},     {0, 5000, 100000, false, 5000},
        {1000, 5000, 2000, false, 1000},  {0, 5000, 2000, true, 5000},
        {9000, 5000, 100000, true, 9000},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        alk_connection_options o = {.size = sizeof o};
        struct node n;
        struct wire *r;
        char *fits, *large;

        node_add(&n);
        n.w->limits.frame_bytes = cases[i].frame;
        n.w->limits.anonymous_bytes = cases[i].anonymous;
        node_start(&n);
        o.message_bytes = cases[i].option;
        if (cases[i].identity)
            o.identity = identity_of("me", "[]");
        r = wire_open(n.w, &o);
        alk_identity_unref(o.identity);
        fits = repeated(" ", cases[i].most - strlen(BEGIN "\"1\",\"payload\":{}}"),
                        BEGIN "\"1\",\"payload\":{}", "}");
        large = repeated(" ", cases[i].most + 1 - strlen(BEGIN "\"1\",\"payload\":{}}"),
                         BEGIN "\"1\",\"payload\":{}", "}");
        ck_assert_int_eq(wire_feed(r, fits), ALK_OK);
        ck_assert_int_eq(wire_feed(r, large), ALK_ELIMIT);
        ck_assert_int_eq(wire_feed(r, fits), ALK_ECLOSED);
        world_turn(n.w);
        ck_assert_int_eq(r->close_code, ALK_CLOSE_LIMIT);
        free(fits);
        free(large);
        wire_free(r);
        node_fini(&n);
    }
}
END_TEST

START_TEST(too_many_values_close_the_connection)
{
    struct node n;
    char *fits, *many;

    node_add(&n);
    n.w->limits.json_values = 1000;
    node_start(&n);
    /* The envelope has 7 values beside those of the array. */
    fits = repeated("0,", 992, BEGIN "\"1\",\"payload\":[", "0]}");
    many = repeated("0,", 1000, BEGIN "\"1\",\"payload\":[", "0]}");
    ck_assert_int_eq(wire_feed(n.r, fits), ALK_OK);
    ck_assert_int_lt(wire_feed(n.r, many), 0);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    free(fits);
    free(many);
    node_fini(&n);
}
END_TEST

START_TEST(messages_are_charged_to_the_nodes_budget_while_they_live)
{
    struct node n;
    char *big = repeated("x", 40000,
                         "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":"
                         "\"t/query\",\"input\":\"",
                         "\"}}");

    node_add(&n);
    n.w->limits.message_budget = 1000000;
    node_start(&n);
    ck_assert_int_eq(wire_feed(n.r, big), ALK_OK);
    world_turn(n.w);
    ck_assert_uint_ge(world_stats(n.w).message_bytes, 40000);
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    served_free(&n.query);
    world_turn(n.w);
    ck_assert_uint_eq(world_stats(n.w).message_bytes, 0);
    free(big);
    node_fini(&n);
}
END_TEST

static int feed_request(struct wire *r, const char *id, const char *operation, int bytes)
{
    char head[200], *text;
    int rc;

    snprintf(head, sizeof head,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"%s\","
             "\"input\":\"",
             id, operation);
    text = repeated("x", bytes, head, "\"}}");
    rc = wire_feed(r, text);
    free(text);
    return rc;
}

/* Not closed: it has done nothing wrong, and what it has sent comes again. */
START_TEST(a_message_beyond_the_nodes_budget_is_taken_later)
{
    struct node n;
    struct wire *known;
    alk_connection_options o = {.size = sizeof o};
    alk_limits l;

    node_init(&n);
    o.identity = identity_of("known", "[]");
    known = wire_open(n.w, &o);
    alk_identity_unref(o.identity);
    ck_assert_int_eq(feed_request(n.r, "1", "t/query", 80000), ALK_OK);
    /* Strangers have a half. */
    alk_node_get_limits(n.w->node, &l, sizeof l);
    l.message_budget = (uint32_t)(world_stats(n.w).message_bytes * 2 + 550000);
    ck_assert_int_eq(alk_node_set_limits(n.w->node, &l), ALK_OK);
    ck_assert_int_eq(feed_request(n.r, "2", "t/query", 80000), ALK_EAGAIN);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 0);
    /* And those with an identity have another. */
    ck_assert_int_eq(feed_request(known, "3", "t/stream", 80000), ALK_OK);
    world_turn(n.w);
    wire_abort(n.r, "1");
    served_free(&n.query);
    world_turn(n.w);
    ck_assert_int_eq(feed_request(n.r, "2", "t/query", 80000), ALK_OK);
    served_free(&n.stream);
    wire_free(known);
    node_fini(&n);
}
END_TEST

/* ---- what we request ------------------------------------------------------------------------- */

START_TEST(a_request_has_exactly_the_members_that_it_needs)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct node n;
    struct asked a, b;
    alk_connection_options o = {.size = sizeof o};
    alk_call_options co;
    struct wire *r;
    char want[600];
    const char *got;

    node_init(&n);
    ask(&a, n.r->conn, "/x/y", " { \"a\" : 1.50 } ");
    got = wire_next(n.r);
    snprintf(want, sizeof want,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"/x/"
             "y\",\"input\":{\"a\":1.50}}}",
             wire_id(got));
    ck_assert_str_eq(got, want);

    o.token = "alk_to\"ken";
    r = wire_open(n.w, &o);
    asked_options(&b, &co);
    co.timeout_ms = 1234;
    co.traceparent = trace;
    ck_assert_int_eq(alk_connection_call(r->conn, TEXT("x"), TEXT("null"), &co, NULL), ALK_OK);
    got = wire_next(r);
    snprintf(want, sizeof want,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"/"
             "x\",\"input\":null,"
             "\"auth_token\":\"alk_to\\\"ken\",\"timeout_ms\":1234,\"traceparent\":\"%s\"}}",
             wire_id(got), trace);
    ck_assert_str_eq(got, want);
    asked_drop(&a, n.w);
    wire_free(r);
    ck_assert_int_eq(b.ends, 1);
    asked_free(&b);
    node_fini(&n);
}
END_TEST

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

START_TEST(our_ids_are_random_uuids_and_never_repeat)
{
    enum { CALLS = 3000 };
    static char *ids[CALLS];
    struct node n;
    struct asked a[1];

    node_add(&n);
    n.w->limits.connection_calls = CALLS;
    node_start(&n);
    for (int i = 0; i < CALLS; i++) {
        alk_call_options o = {.size = sizeof o};

        must(alk_connection_call(n.r->conn, "x", 1, "1", 1, &o, NULL) == ALK_OK);
    }
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, CALLS);
    for (int i = 0; i < CALLS; i++) {
        const char *id = wire_id(n.r->sent[i]);

        must(strlen(id) == 36 && strspn(id, "0123456789abcdef-") == 36 && id[8] == '-' &&
             id[13] == '-' && id[18] == '-' && id[23] == '-' && id[14] == '4' &&
             strchr("89ab", id[19]));
        ids[i] = malloc(37);
        must(ids[i]);
        strcpy(ids[i], id);
    }
    qsort(ids, CALLS, sizeof *ids, by_text);
    for (int i = 0; i < CALLS; i++)
        must(i == 0 || strcmp(ids[i], ids[i - 1]));
    for (int i = 0; i < CALLS; i++)
        free(ids[i]);
    (void)a;
    node_fini(&n);
}
END_TEST

START_TEST(a_call_is_refused_at_once_for_what_can_be_seen_at_once)
{
    struct node n;
    alk_call_options o = {.size = sizeof o};
    alk_call *call = (alk_call *)&n;
    char *deep;

    node_init(&n);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT(""), TEXT("1"), &o, &call), ALK_EINVAL);
    ck_assert_ptr_null(call);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a b"), TEXT("1"), &o, NULL), ALK_EINVAL);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("//a"), TEXT("1"), &o, NULL), ALK_EINVAL);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a"), TEXT(""), &o, NULL), ALK_EJSON);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a"), TEXT("{\"a\":1,\"a\":1}"), &o, NULL),
                     ALK_EJSON);
    deep = repeated("[", 127, "",
                    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
                    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a"), TEXT(deep), &o, NULL), ALK_EJSON);
    free(deep);
    alk_connection_close(n.r->conn, ALK_CLOSE_SHUTDOWN);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(more_calls_of_ours_than_a_connection_may_have_are_a_limit)
{
    struct node n;
    struct asked a[3], more;
    alk_call_options o;
    char id[64];

    node_add(&n);
    n.w->limits.connection_calls = 3;
    node_start(&n);
    for (int i = 0; i < 3; i++)
        node_ask(&n, &a[i], false, id);
    asked_options(&more, &o);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("x"), TEXT("1"), &o, &more.call),
                     ALK_ELIMIT);
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("x"), TEXT("1"), &o, &more.call), ALK_OK);
    asked_free(&a[2]);
    asked_drop(&a[0], n.w);
    asked_drop(&a[1], n.w);
    asked_drop(&more, n.w);
    node_fini(&n);
}
END_TEST

MAIN("envelopes", every_framing_error_closes_the_connection_as_a_protocol_error,
     an_id_may_have_256_bytes_and_no_more, an_envelope_deeper_than_the_limit_is_a_framing_error,
     members_may_come_in_any_order_and_unknown_ones_are_ignored,
     a_valid_envelope_of_unknown_type_is_ignored,
     a_request_without_a_string_as_operation_is_invalid_input,
     a_message_above_its_limit_closes_the_connection_as_a_limit,
     too_many_values_close_the_connection, messages_are_charged_to_the_nodes_budget_while_they_live,
     a_message_beyond_the_nodes_budget_is_taken_later,
     a_request_has_exactly_the_members_that_it_needs, our_ids_are_random_uuids_and_never_repeat,
     a_call_is_refused_at_once_for_what_can_be_seen_at_once,
     more_calls_of_ours_than_a_connection_may_have_are_a_limit)
