/* A call connection with its far end in the test's hand: the exact bytes of every envelope that it sends, what it makes of
 * every one that it gets, right or wrong, early, late or twice, and how it ends. */
#include "support/suite.h"
#include "support/wire.h"

#include <stdio.h>
#include <string.h>

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

/* Asks the remote; the id of the request that went out is in id. */
static void asking(struct node *n, struct asked *a, bool stream, char id[64])
{
    const char *envelope;

    if (stream)
        ask_stream(a, n->r->conn, "x/y", "null");
    else
        ask(a, n->r->conn, "x/y", "null");
    envelope = wire_next(n->r);
    must(envelope && strstr(envelope, "\"call.requested\""));
    snprintf(id, 64, "%s", wire_id(envelope));
}

/* Feeds an envelope of that type and id. */
static void feed(struct node *n, const char *type, const char *id, const char *payload)
{
    char text[2000];

    must(snprintf(text, sizeof text, "{\"type\":\"%s\",\"id\":\"%s\",\"payload\":%s}", type, id,
                  payload) < (int)sizeof text);
    ck_assert_int_eq(wire_feed(n->r, text), ALK_OK);
}

static char *repeated(const char *piece, size_t times, const char *before, const char *behind)
{
    size_t n = strlen(piece);
    char *s = malloc(strlen(before) + n * times + strlen(behind) + 1), *p = s;

    must(s);
    p += sprintf(p, "%s", before);
    for (size_t i = 0; i < times; i++, p += n)
        memcpy(p, piece, n);
    strcpy(p, behind);
    return s;
}

/* ---- framing ----------------------------------------------------------------------------------- */

#define BEGIN "{\"type\":\"call.aborted\",\"id\":"

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
        feed(&n, types[i], "1", "{\"operationId\":\"t/echo\"}");
    feed(&n, "other", "1", "null");
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
        feed(&n, "call.requested", "1", payloads[i]);
        wire_expect(n.r, FAULT("1", "INVALID_INPUT", "/operationId: must be a string", "false"));
    }
    node_fini(&n);
}
END_TEST

/* ---- limits of messages ------------------------------------------------------------------------ */

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
        alk_connection_options o;
        struct node n;
        struct wire *r;
        char *fits, *large;

        node_add(&n);
        n.w->limits.frame_bytes = cases[i].frame;
        n.w->limits.anonymous_bytes = cases[i].anonymous;
        node_start(&n);
        alk_connection_options_init(&o);
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
    n.w->limits.message_budget = 200000;
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

START_TEST(a_message_beyond_the_nodes_budget_closes_its_connection_and_no_other)
{
    struct node n;
    struct wire *other;
    alk_limits l;
    char *big = repeated("x", 80000,
                         "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":"
                         "\"t/query\",\"input\":\"",
                         "\"}}");

    node_init(&n);
    other = wire_open(n.w, NULL);
    ck_assert_int_eq(wire_feed(other, big), ALK_OK);
    /* Room for one more like it. */
    alk_node_get_limits(n.w->node, &l);
    l.message_budget = (uint32_t)(world_stats(n.w).message_bytes * 5 / 2);
    ck_assert_int_eq(alk_node_set_limits(n.w->node, &l), ALK_OK);
    *(strstr(big, "\"1\"") + 1) = '2';
    ck_assert_int_eq(wire_feed(n.r, big), ALK_OK);
    *(strstr(big, "\"2\"") + 1) = '3';
    ck_assert_int_eq(wire_feed(n.r, big), ALK_ELIMIT);
    world_turn(n.w);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_LIMIT);
    ck_assert_int_eq(other->closes, 0);
    served_free(&n.query);
    world_turn(n.w);
    wire_free(other);
    world_turn(n.w);
    ck_assert_uint_eq(world_stats(n.w).message_bytes, 0);
    free(big);
    node_fini(&n);
}
END_TEST

/* ---- what we request --------------------------------------------------------------------------- */

START_TEST(a_request_has_exactly_the_members_that_it_needs)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct node n;
    struct asked a, b;
    alk_connection_options o;
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

    alk_connection_options_init(&o);
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
        alk_call_options o;

        alk_call_options_init(&o);
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
    alk_call_options o;
    alk_call *call = (alk_call *)&n;
    char *deep;

    node_init(&n);
    alk_call_options_init(&o);
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
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("a"), TEXT(deep), &o, NULL), ALK_ELIMIT);
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
        asking(&n, &a[i], false, id);
    asked_options(&more, &o);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("x"), TEXT("1"), &o, &more.call),
                     ALK_ELIMIT);
    feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("x"), TEXT("1"), &o, &more.call), ALK_OK);
    asked_free(&a[2]);
    asked_drop(&a[0], n.w);
    asked_drop(&a[1], n.w);
    asked_drop(&more, n.w);
    node_fini(&n);
}
END_TEST

/* ---- how our calls end ------------------------------------------------------------------------- */

START_TEST(a_call_resolves_on_its_first_answer)
{
    static const struct {
        const char *type, *payload, *outcome;
    } cases[] = {
        {"call.responded", "{\"output\":{\"a\":1.0}}", "ok {\"a\":1.0}"},
        {"call.responded", "{}", "ok null"},
        {"call.responded", "{\"output\":null,\"more\":1}", "ok null"},
        {"call.responded", "[]", "ok null"},
        {"call.completed", "{}", "fault INTERNAL: no result"},
        {"call.completed", "null", "fault INTERNAL: no result"},
        {"call.aborted", "{}", "fault INTERNAL: aborted by the remote"},
        {"call.error", "{\"code\":\"E\",\"message\":\"m\",\"retryable\":true}", "fault E: m"},
        {"call.error",
         "{\"code\":\"NOT_FOUND\",\"message\":\"\",\"retryable\":false,\"details\":[1]}",
         "fault NOT_FOUND: "},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node n;
        struct asked a;
        char id[64];

        node_init(&n);
        asking(&n, &a, false, id);
        feed(&n, cases[i].type, id, cases[i].payload);
        ck_assert_int_eq(a.ends + a.values, 0);
        wire_expect_nothing(n.r);
        ck_assert_str_eq(asked_outcome(&a), cases[i].outcome);
        ck_assert_int_eq(a.ends, 1);
        asked_free(&a);
        node_fini(&n);
    }
}
END_TEST

START_TEST(a_remote_fault_arrives_whole)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, false, id);
    feed(&n, "call.error", id,
         "{\"code\":\"X_Y\",\"message\":\"m\\n\",\"retryable\":true,\"details\":{\"n\":1.50}}");
    world_turn(n.w);
    ck_assert_str_eq(a.code, "X_Y");
    ck_assert_str_eq(a.message, "m\n");
    ck_assert_str_eq(a.details, "{\"n\":1.50}");
    ck_assert_int_eq(a.retryable, 1);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_malformed_error_counts_as_internal)
{
    static const char *const payloads[] = {
        "null",
        "[]",
        "{}",
        "{\"code\":5,\"message\":\"m\",\"retryable\":false}",
        "{\"code\":\"\",\"message\":\"m\",\"retryable\":false}",
        "{\"message\":\"m\",\"retryable\":true}",
        "{\"code\":\"E\",\"message\":null,\"retryable\":true}",
        "{\"code\":\"E\",\"message\":\"m\",\"retryable\":1}",
        "{\"code\":\"E\",\"message\":\"m\"}",
        "{\"code\":\"E\\u0000F\",\"message\":\"m\",\"retryable\":false}",
    };

    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        struct node n;
        struct asked a;
        char id[64];

        node_init(&n);
        asking(&n, &a, false, id);
        feed(&n, "call.error", id, payloads[i]);
        world_turn(n.w);
        ck_assert_msg(a.code && !strcmp(a.code, "INTERNAL"), "%s: %s", payloads[i],
                      asked_outcome(&a));
        ck_assert_int_eq(a.retryable, 0);
        ck_assert_int_eq(n.r->closes, 0);
        asked_free(&a);
        node_fini(&n);
    }
}
END_TEST

START_TEST(a_subscription_delivers_until_completed_error_or_aborted)
{
    static const struct {
        const char *type, *payload, *outcome;
    } ends[] = {
        {"call.completed", "{}", "ok 1 [2] null"},
        {"call.error", "{\"code\":\"E\",\"message\":\"m\",\"retryable\":false}",
         "fault E: m 1 [2] null"},
        {"call.aborted", "{}", "fault INTERNAL: aborted by the remote 1 [2] null"},
    };

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        for (int turns = 0; turns < 2; turns++) {
            struct node n;
            struct asked a;
            char id[64];

            node_init(&n);
            asking(&n, &a, true, id);
            feed(&n, "call.responded", id, "{\"output\":1}");
            if (turns) {
                world_advance(n.w, 3600 * 1000);
                ck_assert_str_eq(a.text, "1");
            }
            feed(&n, "call.responded", id, "{\"output\":[2]}");
            feed(&n, "call.responded", id, "{}");
            feed(&n, ends[i].type, id, ends[i].payload);
            feed(&n, "call.responded", id, "{\"output\":\"late\"}");
            wire_expect_nothing(n.r);
            ck_assert_str_eq(asked_outcome(&a), ends[i].outcome);
            ck_assert_int_eq(a.ends, 1);
            ck_assert_uint_eq(world_stats(n.w).discarded, 1);
            asked_free(&a);
            node_fini(&n);
        }
    }
}
END_TEST

START_TEST(a_subscription_may_complete_without_a_value)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, true, id);
    feed(&n, "call.completed", id, "{}");
    world_turn(n.w);
    ck_assert_str_eq(asked_outcome(&a), "ok");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(our_deadline_fails_the_call_and_tells_the_remote)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    asking(&n, &a, false, id);
    ck_assert_uint_eq(n.w->next, n.w->now + 30000 * MS);
    world_advance(n.w, 29999);
    ck_assert_str_eq(asked_outcome(&a), "running");
    world_advance(n.w, 1);
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    ck_assert_int_eq(a.why, ALK_END_TIMEOUT);
    ck_assert_str_eq(a.code, "TIMEOUT");
    ck_assert_int_eq(a.retryable, 1);
    /* What comes now is late. */
    feed(&n, "call.responded", id, "{\"output\":1}");
    wire_expect_nothing(n.r);
    ck_assert_int_eq(a.values, 0);
    asked_free(&a);
    asking(&n, &a, true, id);
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    asked_drop(&a, n.w);
    node_fini(&n);
}
END_TEST

START_TEST(aborting_our_call_tells_the_remote_and_no_value_comes_any_more)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    asking(&n, &a, true, id);
    feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    feed(&n, "call.responded", id, "{\"output\":2}");
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_EENDED);
    feed(&n, "call.responded", id, "{\"output\":3}");
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "aborted 1");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

static void abort_self(struct asked *a)
{
    ck_assert_int_eq(alk_call_abort(a->call), ALK_OK);
}

START_TEST(aborting_from_the_value_callback_drops_the_values_behind_it)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, true, id);
    a.on_value = abort_self;
    for (int i = 0; i < 5; i++)
        feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    ck_assert_str_eq(asked_outcome(&a), "aborted 1");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_resolved_call_that_gets_another_value_aborts_it_once)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    asking(&n, &a, false, id);
    feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    world_advance(n.w, 29000);
    feed(&n, "call.responded", id, "{\"output\":2}");
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    feed(&n, "call.responded", id, "{\"output\":3}");
    feed(&n, "call.completed", id, "{}");
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_resolved_call_is_forgotten_after_thirty_seconds)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, false, id);
    feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    world_advance(n.w, 30001);
    feed(&n, "call.responded", id, "{\"output\":2}");
    wire_expect_nothing(n.r);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(answers_to_nothing_pending_are_discarded_and_counted)
{
    struct node n;

    node_init(&n);
    feed(&n, "call.responded", "unknown", "{\"output\":1}");
    feed(&n, "call.completed", "unknown", "{}");
    feed(&n, "call.error", "unknown", "{\"code\":\"E\",\"message\":\"m\",\"retryable\":false}");
    wire_expect_nothing(n.r);
    ck_assert_uint_eq(world_stats(n.w).discarded, 3);
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

/* ---- ids --------------------------------------------------------------------------------------- */

START_TEST(both_sides_may_use_the_same_id_at_the_same_time)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    asking(&n, &a, false, id);
    wire_request(n.r, id, "t/query", "null");
    world_turn(n.w);
    ck_assert_int_eq(n.query.starts, 1);
    /* An abort means the remote's own call while there is one. */
    wire_abort(n.r, id);
    world_turn(n.w);
    ck_assert_int_eq(n.query.why, ALK_END_ABORTED);
    ck_assert_str_eq(asked_outcome(&a), "running");
    wire_request(n.r, id, "t/query", "null");
    world_turn(n.w);
    served_reply(&n.query, "\"ours\"");
    snprintf(want, sizeof want, RESPONDED("%s", "\"ours\""), id);
    wire_expect(n.r, want);
    feed(&n, "call.responded", id, "{\"output\":\"theirs\"}");
    world_turn(n.w);
    ck_assert_str_eq(asked_outcome(&a), "ok \"theirs\"");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_request_with_an_id_in_use_is_dropped_counted_and_does_no_harm)
{
    struct node n;

    node_init(&n);
    wire_request(n.r, "1", "t/query", "null");
    wire_request(n.r, "1", "t/echo", "2");
    wire_expect_nothing(n.r);
    wire_request(n.r, "1", "t/none", "2");
    feed(&n, "call.requested", "1", "{}");
    wire_expect_nothing(n.r);
    ck_assert_uint_eq(world_stats(n.w).discarded, 3);
    ck_assert(world_logged(n.w, "request.dropped"));
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect_nothing(n.r);
    node_fini(&n);
}
END_TEST

START_TEST(an_abort_that_comes_before_its_request_keeps_it_from_starting)
{
    struct node n;

    node_init(&n);
    wire_abort(n.r, "1");
    world_advance(n.w, 29000);
    ck_assert_int_eq(
        wire_feed_on(
            n.r, 7,
            "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/query\"}}"),
        ALK_OK);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.query.starts, 0);
    /* It was for one request. */
    wire_request(n.r, "1", "t/echo", "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    node_fini(&n);
}
END_TEST

START_TEST(an_early_abort_is_forgotten_after_thirty_seconds)
{
    struct node n;

    node_init(&n);
    wire_abort(n.r, "1");
    world_advance(n.w, 30001);
    wire_request(n.r, "1", "t/echo", "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    node_fini(&n);
}
END_TEST

START_TEST(no_more_than_256_early_aborts_are_remembered_and_the_oldest_goes_first)
{
    struct node n;
    char id[16], want[100];
    uint64_t blocks;

    node_init(&n);
    for (int i = 0; i <= 256; i++) {
        snprintf(id, sizeof id, "%d", i);
        wire_abort(n.r, id);
    }
    wire_request(n.r, "0", "t/echo", "1");
    wire_expect(n.r, RESPONDED("0", "1"));
    for (int i = 1; i <= 256; i++) {
        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, "t/echo", "1");
    }
    wire_expect_nothing(n.r);
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "x%d", i);
        wire_abort(n.r, id);
    }
    blocks = world_stats(n.w).memory_blocks;
    for (int i = 0; i < 10000; i++) {
        snprintf(id, sizeof id, "y%d", i);
        wire_abort(n.r, id);
    }
    ck_assert_uint_le(world_stats(n.w).memory_blocks, blocks + 1);
    snprintf(want, sizeof want, "%s", RESPONDED("x9", "1"));
    wire_request(n.r, "x9", "t/echo", "1");
    wire_expect(n.r, want);
    node_fini(&n);
}
END_TEST

/* ---- identity ---------------------------------------------------------------------------------- */

#define TOKEN_A "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "alk_BBBBbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PRINT "ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A node whose peer "a" has TOKEN_A and a fingerprint, and whose key alk_BBBB is TOKEN_B. */
struct guarded {
    struct node n;
    alk_identities *ids;
    alk_identity_provider p;
};

static void configure(struct guarded *g, const char *a_members, const char *b_members, int64_t now)
{
    char a[65], b[65], config[1000];

    alk_token_hash(TEXT(TOKEN_A), a);
    alk_token_hash(TEXT(TOKEN_B), b);
    snprintf(
        config, sizeof config,
        "{\"peers\":[{\"peer_id\":\"a\",\"auth_token_hashes\":[\"%s\"],\"fingerprints\":[\"" PRINT
        "\"]%s}],"
        "\"keys\":[{\"prefix\":\"alk_BBBB\",\"hash\":\"%s\"%s}]}",
        a, a_members, b, b_members);
    ck_assert_int_eq(alk_identities_load(g->ids, TEXT(config), now, NULL, NULL, 0), ALK_OK);
}

static void guarded_init(struct guarded *g)
{
    alk_operation op;

    g->ids = alk_identities_new();
    ck_assert_ptr_nonnull(g->ids);
    alk_identities_provider(g->ids, &g->p);
    configure(g, ",\"scopes\":[\"s\"]", "", 0);
    node_add(&g->n);
    alk_operation_init(&op);
    op.name = "t/scoped";
    op.handler = serve_later;
    op.ud = &g->n.query;
    op.access_control = "{\"required_scopes\":[\"s\"]}";
    world_add_full(g->n.w, &op);
    g->n.w->options.identities = &g->p;
    node_start(&g->n);
}

static void guarded_fini(struct guarded *g)
{
    node_fini(&g->n);
    alk_identities_unref(g->ids);
}

/* A connection that came by that credential. */
static struct wire *open_by(struct guarded *g, const char *token, const char *print)
{
    alk_connection_options o;
    alk_identity *who = NULL;
    struct wire *r;

    alk_connection_options_init(&o);
    o.kind = (uint32_t)(token ? g->p.by_token(g->p.ud, TEXT(token), &who)
                              : g->p.by_fingerprint(g->p.ud, TEXT(print), &who));
    ck_assert_ptr_nonnull(who);
    o.identity = who;
    o.by_token = token;
    o.by_fingerprint = print;
    r = wire_open(g->n.w, &o);
    alk_identity_unref(who);
    return r;
}

START_TEST(a_token_in_the_payload_replaces_the_identity_for_that_request)
{
    struct guarded g;
    struct wire *b;

    guarded_init(&g);
    wire_request(g.n.r, "1", "t/scoped", "null");
    wire_expect(g.n.r, FAULT("1", "FORBIDDEN", "authentication required", "false"));
    wire_request_with(g.n.r, "2", "t/scoped", "null", ",\"auth_token\":\"" TOKEN_A "\"");
    wire_expect_nothing(g.n.r);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
    ck_assert_ptr_null(alk_connection_identity(g.n.r->conn));
    wire_request(g.n.r, "3", "t/scoped", "null");
    wire_expect(g.n.r, FAULT("3", "FORBIDDEN", "authentication required", "false"));
    /* Also to less than the connection has. */
    b = open_by(&g, TOKEN_A, NULL);
    wire_request_with(b, "4", "t/scoped", "null", ",\"auth_token\":\"" TOKEN_B "\"");
    wire_expect(b, FAULT("4", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 0);
    wire_free(b);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_token_that_does_not_resolve_changes_nothing_and_the_tenth_closes)
{
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    a = open_by(&g, TOKEN_A, NULL);
    for (int i = 1; i < 10; i++) {
        wire_request_with(a, "1", "t/scoped", "null",
                          ",\"auth_token\":\"alk_nothing_that_anybody_knows\"");
        wire_expect_nothing(a);
        ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
        served_reply(&g.n.query, "1");
        wire_expect(a, RESPONDED("1", "1"));
        /* Good ones in between do not make up for it, ones that are no string do not count. */
        wire_request_with(a, "1", "t/echo", "1", ",\"auth_token\":\"" TOKEN_B "\"");
        wire_expect(a, RESPONDED("1", "1"));
        wire_request_with(a, "1", "t/echo", "1", ",\"auth_token\":5");
        wire_expect(a, RESPONDED("1", "1"));
    }
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 9);
    ck_assert_int_eq(
        wire_feed(
            a, "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/echo\","
               "\"auth_token\":\"\"}}"),
        ALK_ECLOSED);
    world_turn(g.n.w);
    ck_assert_int_eq(a->closes, 1);
    ck_assert_int_eq(a->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 10);
    ck_assert_int_eq(g.n.r->closes, 0);
    ck_assert(!world_logged(g.n.w, "alk_nothing"));
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_credential_that_no_longer_resolves_closes_its_connections_and_no_others)
{
    struct guarded g;
    struct wire *token, *print, *key, *vouched;
    alk_connection_options o;

    guarded_init(&g);
    token = open_by(&g, TOKEN_A, NULL);
    print = open_by(&g, NULL, PRINT);
    key = open_by(&g, TOKEN_B, NULL);
    alk_connection_options_init(&o);
    o.identity = identity_of("a", "[]");
    vouched = wire_open(g.n.w, &o);
    alk_identity_unref(o.identity);
    wire_request(token, "1", "t/query", "null");
    world_turn(g.n.w);
    configure(&g, ",\"enabled\":false", "", 0);
    ck_assert_int_eq(token->closes, 0);
    world_turn(g.n.w);
    ck_assert_int_eq(token->closes, 1);
    ck_assert_int_eq(token->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(print->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(g.n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(key->closes + vouched->closes + g.n.r->closes, 0);
    wire_request(key, "1", "t/echo", "1");
    wire_expect(key, RESPONDED("1", "1"));
    wire_free(token);
    wire_free(print);
    wire_free(key);
    wire_free(vouched);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_key_that_expires_closes_its_connections)
{
    struct guarded g;
    struct wire *key;

    guarded_init(&g);
    configure(&g, "", ",\"expires_at\":\"1970-01-01T00:01:00Z\"", 0);
    key = open_by(&g, TOKEN_B, NULL);
    alk_identities_tick(g.ids, 59);
    world_turn(g.n.w);
    ck_assert_int_eq(key->closes, 0);
    alk_identities_tick(g.ids, 60);
    world_turn(g.n.w);
    ck_assert_int_eq(key->closes, 1);
    ck_assert_int_eq(key->close_code, ALK_CLOSE_IDENTITY);
    wire_free(key);
    guarded_fini(&g);
}
END_TEST

START_TEST(new_scopes_hold_from_the_next_call_on)
{
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request(a, "1", "t/scoped", "null");
    wire_expect_nothing(a);
    configure(&g, "", "", 0);
    world_turn(g.n.w);
    wire_request(a, "2", "t/scoped", "null");
    wire_expect(a, FAULT("2", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    /* What runs goes on. */
    served_reply(&g.n.query, "1");
    wire_expect(a, RESPONDED("1", "1"));
    ck_assert_int_eq(a->closes, 0);
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

START_TEST(forwarded_for_counts_only_from_a_peer_that_may_forward_and_never_for_access)
{
    static const char claim[] =
        ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":[\"s\"],\"resources\":{}}";
    static const char *const malformed[] = {
        ",\"forwarded_for\":5", ",\"forwarded_for\":{\"id\":\"a\"}",
        ",\"forwarded_for\":{\"id\":5,\"scopes\":[],\"resources\":{}}",
        ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":{},\"resources\":{}}"};
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    configure(&g, "", "", 0);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request_with(a, "1", "t/query", "null", claim);
    wire_expect_nothing(a);
    ck_assert_ptr_null(alk_call_forwarded_for(g.n.query.call));
    ck_assert_uint_eq(world_stats(g.n.w).discarded, 1);
    wire_free(a);
    configure(&g, ",\"may_forward\":true", "", 0);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request_with(a, "1", "t/query", "null", claim);
    wire_expect_nothing(a);
    ck_assert_str_eq(alk_call_forwarded_for(g.n.query.call),
                     "{\"id\":\"a\",\"scopes\":[\"s\"],\"resources\":{}}");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
    ck_assert_str_eq(alk_identity_id(alk_call_originator(g.n.query.call)), "a");
    wire_request_with(a, "2", "t/scoped", "null", claim);
    wire_expect(a, FAULT("2", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        wire_request_with(a, "3", "t/query", "null", malformed[i]);
        wire_expect_nothing(a);
        ck_assert_ptr_null(alk_call_forwarded_for(g.n.query.call));
        served_reply(&g.n.query, "1");
        wire_expect(a, RESPONDED("3", "1"));
    }
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

/* ---- the end of a connection ------------------------------------------------------------------- */

START_TEST(a_lost_connection_fails_what_is_pending_and_cancels_what_runs)
{
    struct node n;
    struct asked a, b;
    char id[64];

    node_init(&n);
    asking(&n, &a, false, id);
    asking(&n, &b, true, id);
    feed(&n, "call.responded", id, "{\"output\":1}");
    wire_request(n.r, "1", "t/query", "null");
    wire_request(n.r, "2", "t/stream", "null");
    world_turn(n.w);
    feed(&n, "call.responded", id, "{\"output\":2}");
    wire_request(n.r, "3", "t/echo", "null");
    alk_connection_lost(n.r->conn);
    ck_assert_int_eq(a.ends + b.ends + n.query.ends, 0);
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    ck_assert_str_eq(asked_outcome(&b), "fault INTERNAL: connection closed 1 2");
    ck_assert_int_eq(a.retryable, 0);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.stream.why, ALK_END_CLOSED);
    /* The link is gone: it is not closed again. */
    ck_assert_int_eq(n.r->closes, 0);
    ck_assert_uint_eq(world_stats(n.w).connections, 0);
    ck_assert_int_eq(wire_feed(n.r, BEGIN "\"1\",\"payload\":{}}"), ALK_ECLOSED);
    alk_connection_writable(n.r->conn);
    alk_connection_lost(n.r->conn);
    world_turn(n.w);
    asked_free(&a);
    asked_free(&b);
    node_fini(&n);
}
END_TEST

START_TEST(a_connection_is_closed_once_with_the_code_of_its_first_reason)
{
    struct node n;

    node_init(&n);
    alk_connection_close(n.r->conn, ALK_CLOSE_IDENTITY);
    alk_connection_close(n.r->conn, ALK_CLOSE_SHUTDOWN);
    ck_assert_int_eq(wire_feed(n.r, "nonsense"), ALK_ECLOSED);
    world_turn(n.w);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_IDENTITY);
    node_fini(&n);
}
END_TEST

START_TEST(a_handle_outlives_its_connection_and_its_dispatcher)
{
    struct world *w = world_new();
    alk_connection *c;
    alk_call_options o;
    struct wire *r;

    world_start(w);
    r = wire_open(w, NULL);
    c = alk_connection_ref(r->conn);
    wire_free(r);
    alk_call_options_init(&o);
    ck_assert_int_eq(alk_connection_call(c, TEXT("a"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    alk_dispatcher_free(w->d);
    ck_assert_int_eq(alk_connection_call(c, TEXT("a"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    ck_assert_ptr_null(alk_connection_identity(c));
    ck_assert_uint_gt(w->memory.live, 0);
    alk_connection_unref(c);
    alk_node_unref(w->node);
    alk_registry_unref(w->reg);
    ck_assert_uint_eq(w->memory.live, 0);
    buf_fini(&w->log);
    free(w);
}
END_TEST

START_TEST(no_more_connections_than_the_node_may_have)
{
    struct node n;
    struct wire *second;
    alk_connection *c;
    alk_connection_options o;
    alk_link link = {.size = sizeof link};

    node_add(&n);
    n.w->limits.connections = 2;
    node_start(&n);
    second = wire_open(n.w, NULL);
    alk_connection_options_init(&o);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ELIMIT);
    ck_assert_ptr_null(c);
    wire_free(second);
    second = wire_open(n.w, NULL);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ELIMIT);
    wire_free(second);
    node_fini(&n);
}
END_TEST

/* ---- the link ---------------------------------------------------------------------------------- */

START_TEST(everything_of_one_turn_is_sent_in_order_and_flushed_once)
{
    struct node n;

    node_init(&n);
    for (int i = 0; i < 20; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, "t/echo", "1");
    }
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 20);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(atoi(wire_id(n.r->sent[i])), i);
    ck_assert_int_eq(n.r->flushes, 1);
    node_fini(&n);
}
END_TEST

START_TEST(a_link_needs_only_send_and_close)
{
    struct node n;
    struct wire *r;

    node_init(&n);
    r = wire_open_plain(n.w, NULL);
    wire_request(r, "1", "t/echo", "1");
    wire_expect(r, RESPONDED("1", "1"));
    wire_free(r);
    node_fini(&n);
}
END_TEST

START_TEST(what_a_slow_link_does_not_take_waits_and_keeps_its_order)
{
    struct node n;

    node_init(&n);
    n.r->room = 3;
    for (int i = 0; i < 10; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, "t/echo", "1");
    }
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 3);
    n.r->room = 4;
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 3);
    alk_connection_writable(n.r->conn);
    ck_assert_uint_eq(n.r->count, 3);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 7);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 10);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(atoi(wire_id(n.r->sent[i])), i);
    node_fini(&n);
}
END_TEST

START_TEST(a_link_that_fails_loses_the_connection)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, false, id);
    n.r->send_error = ALK_ESYSTEM;
    wire_request(n.r, "1", "t/echo", "1");
    world_turn(n.w);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_remote_that_asks_and_never_reads_is_cut_off)
{
    struct node n;
    char *input = repeated("x", 1000, "\"", "\"");
    int i = 0;

    node_add(&n);
    n.w->limits.queue_high = 5000;
    n.w->limits.queue_max = 20000;
    n.w->limits.frame_bytes = 30000;
    node_start(&n);
    n.r->room = 0;
    for (; i < 1000 && !n.r->closes; i++) {
        char id[16], request[1200];

        snprintf(id, sizeof id, "%d", i);
        snprintf(request, sizeof request,
                 "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"t/"
                 "echo\",\"input\":%s}}",
                 id, input);
        if (wire_feed(n.r, request))
            break;
        world_turn(n.w);
    }
    /* 50,000 bytes may wait: 20,000 and one message. */
    ck_assert_int_ge(i, 45);
    ck_assert_int_le(i, 52);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_LIMIT);
    free(input);
    node_fini(&n);
}
END_TEST

START_TEST(one_large_answer_may_wait_for_a_slow_link)
{
    struct node n;
    char *large = repeated("x", 3000000, "\"", "\"");

    node_init(&n);
    n.r->room = 0;
    wire_request(n.r, "1", "t/query", "null");
    world_turn(n.w);
    served_reply(&n.query, large);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 0);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    ck_assert_uint_gt(strlen(wire_next(n.r)), 3000000);
    free(large);
    node_fini(&n);
}
END_TEST

START_TEST(an_answer_goes_out_on_the_stream_of_its_request)
{
    struct node n;

    node_init(&n);
    for (uint64_t stream = 1; stream <= 5; stream++) {
        char request[200];

        snprintf(request, sizeof request,
                 "{\"type\":\"call.requested\",\"id\":\"%d\",\"payload\":{\"operationId\":\"t/"
                 "%s\",\"input\":1}}",
                 (int)stream, stream % 2 ? "echo" : "none");
        ck_assert_int_eq(wire_feed_on(n.r, stream << 40, request), ALK_OK);
    }
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(n.r->streams[i] >> 40, (uint64_t)atoi(wire_id(n.r->sent[i])));
    node_fini(&n);
}
END_TEST

START_TEST(an_answer_to_us_counts_from_whatever_stream_it_comes)
{
    struct node n;
    struct asked a;
    char id[64], text[200];

    node_init(&n);
    asking(&n, &a, false, id);
    snprintf(text, sizeof text, RESPONDED("%s", "1"), id);
    ck_assert_int_eq(wire_feed_on(n.r, 99, text), ALK_OK);
    world_turn(n.w);
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_stream_that_takes_nothing_does_not_hold_up_the_others)
{
    struct node n;

    node_init(&n);
    n.r->room = 0;
    ck_assert_int_eq(
        wire_feed_on(
            n.r, 1,
            "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/echo\"}}"),
        ALK_OK);
    ck_assert_int_eq(
        wire_feed_on(
            n.r, 2,
            "{\"type\":\"call.requested\",\"id\":\"2\",\"payload\":{\"operationId\":\"t/echo\"}}"),
        ALK_OK);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 0);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 2);
    node_fini(&n);
}
END_TEST

START_TEST(a_subscription_of_ours_has_a_stream_of_its_own_where_the_link_has_streams)
{
    struct node n;
    struct asked a, b, c;
    struct wire *r;

    node_init(&n);
    r = wire_open_streams(n.w, NULL);
    ask_stream(&a, r->conn, "x/a", "null");
    ask(&b, r->conn, "x/b", "null");
    ask_stream(&c, r->conn, "x/c", "null");
    world_turn(n.w);
    ck_assert_uint_eq(r->count, 3);
    for (int i = 0; i < 3; i++) {
        char which = strstr(r->sent[i], "\"/x/")[4];

        ck_assert_uint_eq(r->streams[i], which == 'b'   ? 0
                                         : which == 'a' ? WIRE_STREAMS
                                                        : WIRE_STREAMS + 1);
    }
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    world_turn(n.w);
    ck_assert_uint_eq(r->streams[3], WIRE_STREAMS);
    wire_free(r);
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    node_fini(&n);
}
END_TEST

/* Feeds n values of some 1,000 bytes to a subscription of ours. */
static void feed_values(struct wire *r, uint64_t stream, const char *id, int n)
{
    char *text = repeated("x", 1000, "{\"type\":\"call.responded\",\"payload\":{\"output\":\"",
                          "\"},\"id\":\"");
    char *whole = repeated(id, 1, text, "\"}");

    for (int i = 0; i < n; i++) {
        if (alk_connection_feed(r->conn, stream, TEXT(whole)) != ALK_OK)
            break;
        world_turn(r->world);
    }
    free(text);
    free(whole);
}

START_TEST(a_paused_subscription_keeps_a_mebibyte_and_is_too_slow_beyond)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    asking(&n, &a, true, id);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    feed_values(n.r, 0, id, 900);
    ck_assert_int_eq(a.values, 0);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n.w);
    ck_assert_int_eq(a.values, 900);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    feed_values(n.r, 0, id, 1200);
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n.w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_str_eq(a.code, "TOO_SLOW");
    ck_assert_int_eq(n.r->closes, 0);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_paused_subscription_with_its_own_stream_holds_that_stream_back)
{
    struct node n;
    struct asked a;
    struct wire *r;
    char id[64];

    node_init(&n);
    r = wire_open_streams(n.w, NULL);
    ask_stream(&a, r->conn, "x/y", "null");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    feed_values(r, WIRE_STREAMS, id, 100);
    ck_assert_int_eq(r->pauses, 0);
    feed_values(r, WIRE_STREAMS, id, 200);
    ck_assert_int_eq(r->pauses, 1);
    ck_assert_uint_eq(r->last_paused, WIRE_STREAMS);
    ck_assert_int_eq(a.values, 0);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n.w);
    ck_assert_int_eq(a.values, 300);
    ck_assert_int_eq(r->resumes, 1);
    ck_assert_int_eq(a.ends, 0);
    wire_free(r);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_subscription_that_is_not_paused_is_never_too_slow)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    asking(&n, &a, true, id);
    /* As one read of a socket may bring them: no turn in between. */
    for (int i = 0; i < 3000; i++)
        feed(&n, "call.responded", id, "{\"output\":1}");
    feed(&n, "call.completed", id, "{}");
    world_turn(n.w);
    ck_assert_int_eq(a.values, 3000);
    ck_assert_int_eq(a.why, ALK_END_OK);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

MAIN("connection", every_framing_error_closes_the_connection_as_a_protocol_error,
     an_id_may_have_256_bytes_and_no_more, an_envelope_deeper_than_the_limit_is_a_framing_error,
     members_may_come_in_any_order_and_unknown_ones_are_ignored,
     a_valid_envelope_of_unknown_type_is_ignored,
     a_request_without_a_string_as_operation_is_invalid_input,
     a_message_above_its_limit_closes_the_connection_as_a_limit,
     too_many_values_close_the_connection, messages_are_charged_to_the_nodes_budget_while_they_live,
     a_message_beyond_the_nodes_budget_closes_its_connection_and_no_other,
     a_request_has_exactly_the_members_that_it_needs, our_ids_are_random_uuids_and_never_repeat,
     a_call_is_refused_at_once_for_what_can_be_seen_at_once,
     more_calls_of_ours_than_a_connection_may_have_are_a_limit, a_call_resolves_on_its_first_answer,
     a_remote_fault_arrives_whole, a_malformed_error_counts_as_internal,
     a_subscription_delivers_until_completed_error_or_aborted,
     a_subscription_may_complete_without_a_value, our_deadline_fails_the_call_and_tells_the_remote,
     aborting_our_call_tells_the_remote_and_no_value_comes_any_more,
     aborting_from_the_value_callback_drops_the_values_behind_it,
     a_resolved_call_that_gets_another_value_aborts_it_once,
     a_resolved_call_is_forgotten_after_thirty_seconds,
     answers_to_nothing_pending_are_discarded_and_counted,
     both_sides_may_use_the_same_id_at_the_same_time,
     a_request_with_an_id_in_use_is_dropped_counted_and_does_no_harm,
     an_abort_that_comes_before_its_request_keeps_it_from_starting,
     an_early_abort_is_forgotten_after_thirty_seconds,
     no_more_than_256_early_aborts_are_remembered_and_the_oldest_goes_first,
     a_token_in_the_payload_replaces_the_identity_for_that_request,
     a_token_that_does_not_resolve_changes_nothing_and_the_tenth_closes,
     a_credential_that_no_longer_resolves_closes_its_connections_and_no_others,
     a_key_that_expires_closes_its_connections, new_scopes_hold_from_the_next_call_on,
     forwarded_for_counts_only_from_a_peer_that_may_forward_and_never_for_access,
     a_lost_connection_fails_what_is_pending_and_cancels_what_runs,
     a_connection_is_closed_once_with_the_code_of_its_first_reason,
     a_handle_outlives_its_connection_and_its_dispatcher,
     no_more_connections_than_the_node_may_have,
     everything_of_one_turn_is_sent_in_order_and_flushed_once, a_link_needs_only_send_and_close,
     what_a_slow_link_does_not_take_waits_and_keeps_its_order,
     a_link_that_fails_loses_the_connection, a_remote_that_asks_and_never_reads_is_cut_off,
     one_large_answer_may_wait_for_a_slow_link, an_answer_goes_out_on_the_stream_of_its_request,
     an_answer_to_us_counts_from_whatever_stream_it_comes,
     a_stream_that_takes_nothing_does_not_hold_up_the_others,
     a_subscription_of_ours_has_a_stream_of_its_own_where_the_link_has_streams,
     a_paused_subscription_keeps_a_mebibyte_and_is_too_slow_beyond,
     a_paused_subscription_with_its_own_stream_holds_that_stream_back,
     a_subscription_that_is_not_paused_is_never_too_slow)
