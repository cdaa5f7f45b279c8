/* A connection and its link: order, a link that is slow or fails, a remote that does not read,
 * streams, and subscriptions that are paused. */
#include "core/dispatcher.h"
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* ---- the link -------------------------------------------------------------------------------- */

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

START_TEST(a_refused_stream_is_tried_again_when_the_link_is_writable_and_not_before)
{
    struct node n;

    node_init(&n);
    n.r->room = 0;
    wire_request(n.r, "1", "t/echo", "1");
    world_turn(n.w);
    n.r->room = -1;
    wire_request(n.r, "2", "t/echo", "2");
    wire_expect_nothing(n.r);
    ck_assert_int_eq(wire_feed_on(n.r, 7,
                                  "{\"type\":\"call.requested\",\"id\":\"3\",\"payload\":{"
                                  "\"operationId\":\"t/echo\",\"input\":3}}"),
                     ALK_OK);
    wire_expect(n.r, RESPONDED("3", "3"));
    alk_connection_writable(n.r->conn);
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect(n.r, RESPONDED("2", "2"));
    node_fini(&n);
}
END_TEST

START_TEST(a_link_that_fails_loses_the_connection)
{
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    node_ask(&n, &a, false, id);
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

/* The link fails while a handler waits for room, and nobody else holds the connection: it is gone
 * before the call has been told. */
START_TEST(a_call_that_waits_for_room_may_outlive_its_connection)
{
    struct node n;
    struct wire *r;

    node_add(&n);
    n.w->limits.queue_high = 1;
    node_start(&n);
    r = wire_open(n.w, NULL);
    wire_request(r, "1", "t/stream", "null");
    wire_expect_nothing(r);
    r->room = 0;
    served_emit(&n.stream, "1");
    ck_assert_int_eq(alk_call_emit(n.stream.call, TEXT("2")), ALK_EAGAIN);
    r->send_error = ALK_ESYSTEM;
    alk_connection_unref(r->conn);
    world_turn(n.w);
    ck_assert_int_eq(r->closes, 1);
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_CLOSED);
    r->conn = alk_connection_ref(n.r->conn);
    wire_free(r);
    node_fini(&n);
}
END_TEST

/* Calls that have started. */
static struct kept {
    alk_call *calls[60];
    size_t count;
} kept;

static int keep(alk_call *call, void *ud)
{
    struct kept *k = ud;

    ck_assert_uint_lt(k->count, sizeof k->calls / sizeof k->calls[0]);
    k->calls[k->count++] = alk_call_ref(call);
    return ALK_OK;
}

/* Answers them all, each with 1,000 bytes. */
static void answer_kept(struct kept *k)
{
    char *output = repeated("x", 1000, "\"", "\"");

    while (k->count) {
        alk_call *call = k->calls[--k->count];

        alk_call_reply(call, TEXT(output));
        alk_call_unref(call);
    }
    free(output);
}

static void node_that_keeps(struct node *n)
{
    kept.count = 0;
    node_add(n);
    world_add(n->w, "t/keep", ALK_QUERY, keep, &kept);
    n->w->limits.queue_high = 5000;
    n->w->limits.queue_max = 20000;
    n->w->limits.frame_bytes = 30000;
    node_start(n);
}

static void ask_to_keep(struct node *n, int from, int count)
{
    for (int i = from; i < from + count; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request(n->r, id, "t/keep", "null");
    }
    world_turn(n->w);
}

START_TEST(a_remote_that_asks_and_never_reads_is_cut_off)
{
    struct node n;
    alk_connection_options o = {.size = sizeof o};

    node_that_keeps(&n);
    wire_free(n.r);
    o.websocket = 1;
    n.r = wire_open(n.w, &o);
    n.r->room = 0;
    ask_to_keep(&n, 0, 60);
    ck_assert_uint_eq(kept.count, 60);
    answer_kept(&kept);
    /* 50,000 bytes may wait: 20,000 and one message. */
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_LIMIT);
    ck_assert_uint_eq(n.w->d->counts.metrics.ws_evictions, 1);
    ck_assert_uint_eq(n.w->d->counts.metrics.slow_consumers, 1);
    node_fini(&n);
}
END_TEST

/* Single results as well as subscriptions; others' calls go on. */
START_TEST(no_call_of_a_remote_starts_while_it_has_more_to_read_than_it_may)
{
    struct node n;
    struct wire *other;

    node_that_keeps(&n);
    n.r->room = 0;
    ask_to_keep(&n, 0, 6);
    ck_assert_uint_eq(kept.count, 6);
    answer_kept(&kept);
    world_turn(n.w);
    ask_to_keep(&n, 10, 20);
    ck_assert_uint_eq(kept.count, 0);
    wire_abort(n.r, "12");
    other = wire_open(n.w, NULL);
    wire_request(other, "1", "t/keep", "null");
    world_turn(n.w);
    ck_assert_uint_eq(kept.count, 1);
    answer_kept(&kept);
    world_turn(n.w);
    wire_free(other);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_turn(n.w);
    ck_assert_uint_eq(kept.count, 19);
    answer_kept(&kept);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

static int feed_request(struct wire *r, const char *id)
{
    char text[200];

    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"t/keep\"}}",
             id);
    return wire_feed(r, text);
}

/* By caller, and not by connection: who opens more of them has no more turns. */
START_TEST(callers_take_turns)
{
    struct node n;
    struct wire *more, *known;
    alk_connection_options o = {.size = sizeof o};

    node_that_keeps(&n);
    more = wire_open(n.w, NULL);
    o.identity = identity_of("known", "[]");
    known = wire_open(n.w, &o);
    alk_identity_unref(o.identity);
    for (int i = 0; i < 10; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        ck_assert_int_eq(feed_request(n.r, id), ALK_OK);
        ck_assert_int_eq(feed_request(more, id), ALK_OK);
    }
    ck_assert_int_eq(feed_request(known, "a"), ALK_OK);
    ck_assert_int_eq(feed_request(known, "b"), ALK_OK);
    world_turn(n.w);
    ck_assert_uint_eq(kept.count, 22);
    for (size_t i = 0; i < kept.count; i++)
        ck_assert_int_eq(alk_call_identity(kept.calls[i]) != NULL, i == 1 || i == 3);
    answer_kept(&kept);
    wire_free(more);
    wire_free(known);
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
    node_ask(&n, &a, false, id);
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
    node_ask(&n, &a, true, id);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    feed_values(n.r, 0, id, 850);
    ck_assert_int_eq(a.values, 0);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n.w);
    ck_assert_int_eq(a.values, 850);
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
    node_ask(&n, &a, true, id);
    /* As one read of a socket may bring them: no turn in between. */
    for (int i = 0; i < 3000; i++)
        node_feed(&n, "call.responded", id, "{\"output\":1}");
    node_feed(&n, "call.completed", id, "{}");
    world_turn(n.w);
    ck_assert_int_eq(a.values, 3000);
    ck_assert_int_eq(a.why, ALK_END_OK);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

MAIN("link", everything_of_one_turn_is_sent_in_order_and_flushed_once,
     a_link_needs_only_send_and_close, what_a_slow_link_does_not_take_waits_and_keeps_its_order,
     a_refused_stream_is_tried_again_when_the_link_is_writable_and_not_before,
     a_link_that_fails_loses_the_connection, a_call_that_waits_for_room_may_outlive_its_connection,
     a_remote_that_asks_and_never_reads_is_cut_off,
     no_call_of_a_remote_starts_while_it_has_more_to_read_than_it_may, callers_take_turns,
     one_large_answer_may_wait_for_a_slow_link, an_answer_goes_out_on_the_stream_of_its_request,
     an_answer_to_us_counts_from_whatever_stream_it_comes,
     a_stream_that_takes_nothing_does_not_hold_up_the_others,
     a_subscription_of_ours_has_a_stream_of_its_own_where_the_link_has_streams,
     a_paused_subscription_keeps_a_mebibyte_and_is_too_slow_beyond,
     a_paused_subscription_with_its_own_stream_holds_that_stream_back,
     a_subscription_that_is_not_paused_is_never_too_slow)
