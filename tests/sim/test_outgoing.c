/* Calls of ours, with the remote in the test's hand: how they end, what comes early, late or
 * twice, and ids. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* ---- how our calls end ----------------------------------------------------------------------- */

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
        node_ask(&n, &a, false, id);
        node_feed(&n, cases[i].type, id, cases[i].payload);
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
    node_ask(&n, &a, false, id);
    node_feed(
        &n, "call.error", id,
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
    };

    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        struct node n;
        struct asked a;
        char id[64];

        node_init(&n);
        node_ask(&n, &a, false, id);
        node_feed(&n, "call.error", id, payloads[i]);
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
            node_ask(&n, &a, true, id);
            node_feed(&n, "call.responded", id, "{\"output\":1}");
            if (turns) {
                world_advance(n.w, 3600 * 1000);
                ck_assert_str_eq(a.text, "1");
            }
            node_feed(&n, "call.responded", id, "{\"output\":[2]}");
            node_feed(&n, "call.responded", id, "{}");
            node_feed(&n, ends[i].type, id, ends[i].payload);
            node_feed(&n, "call.responded", id, "{\"output\":\"late\"}");
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
    node_ask(&n, &a, true, id);
    node_feed(&n, "call.completed", id, "{}");
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
    node_ask(&n, &a, false, id);
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
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    wire_expect_nothing(n.r);
    ck_assert_int_eq(a.values, 0);
    asked_free(&a);
    node_ask(&n, &a, true, id);
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
    node_ask(&n, &a, true, id);
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    node_feed(&n, "call.responded", id, "{\"output\":2}");
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_EENDED);
    node_feed(&n, "call.responded", id, "{\"output\":3}");
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
    node_ask(&n, &a, true, id);
    a.on_value = abort_self;
    for (int i = 0; i < 5; i++)
        node_feed(&n, "call.responded", id, "{\"output\":1}");
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
    node_ask(&n, &a, false, id);
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    world_advance(n.w, 29999);
    node_feed(&n, "call.responded", id, "{\"output\":2}");
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    node_feed(&n, "call.responded", id, "{\"output\":3}");
    node_feed(&n, "call.completed", id, "{}");
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(a_value_behind_an_error_is_aborted_once_too)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    node_ask(&n, &a, false, id);
    node_feed(&n, "call.error", id, "{\"code\":\"E\",\"message\":\"m\",\"retryable\":false}");
    world_turn(n.w);
    node_feed(&n, "call.responded", id, "{\"output\":2}");
    snprintf(want, sizeof want, ABORTED("%s"), id);
    wire_expect(n.r, want);
    node_feed(&n, "call.responded", id, "{\"output\":3}");
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "fault E: m");
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
    node_ask(&n, &a, false, id);
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    world_turn(n.w);
    world_advance(n.w, 30000);
    node_feed(&n, "call.responded", id, "{\"output\":2}");
    wire_expect_nothing(n.r);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

START_TEST(answers_to_nothing_pending_are_discarded_and_counted)
{
    struct node n;

    node_init(&n);
    node_feed(&n, "call.responded", "unknown", "{\"output\":1}");
    node_feed(&n, "call.completed", "unknown", "{}");
    node_feed(&n, "call.error", "unknown",
              "{\"code\":\"E\",\"message\":\"m\",\"retryable\":false}");
    wire_expect_nothing(n.r);
    ck_assert_uint_eq(world_stats(n.w).discarded, 3);
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

/* ---- ids ------------------------------------------------------------------------------------- */

START_TEST(both_sides_may_use_the_same_id_at_the_same_time)
{
    struct node n;
    struct asked a;
    char id[64], want[200];

    node_init(&n);
    node_ask(&n, &a, false, id);
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
    node_feed(&n, "call.responded", id, "{\"output\":\"theirs\"}");
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
    node_feed(&n, "call.requested", "1", "{}");
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
    world_advance(n.w, 29999);
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
    world_advance(n.w, 30000);
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

MAIN("outgoing", a_call_resolves_on_its_first_answer, a_remote_fault_arrives_whole,
     a_malformed_error_counts_as_internal, a_subscription_delivers_until_completed_error_or_aborted,
     a_subscription_may_complete_without_a_value, our_deadline_fails_the_call_and_tells_the_remote,
     aborting_our_call_tells_the_remote_and_no_value_comes_any_more,
     aborting_from_the_value_callback_drops_the_values_behind_it,
     a_resolved_call_that_gets_another_value_aborts_it_once,
     a_value_behind_an_error_is_aborted_once_too, a_resolved_call_is_forgotten_after_thirty_seconds,
     answers_to_nothing_pending_are_discarded_and_counted,
     both_sides_may_use_the_same_id_at_the_same_time,
     a_request_with_an_id_in_use_is_dropped_counted_and_does_no_harm,
     an_abort_that_comes_before_its_request_keeps_it_from_starting,
     an_early_abort_is_forgotten_after_thirty_seconds,
     no_more_than_256_early_aborts_are_remembered_and_the_oldest_goes_first)
