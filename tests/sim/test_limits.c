/* The limits of outputs and of calls, and what a slow reader does to a subscription: it stops,
 * and goes on. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* A JSON string of n bytes, quotes included. */
static char *string_of(size_t n)
{
    return repeated("x", n - 2, "\"", "\"");
}

/* n arrays in each other. */
static char *nested(size_t n)
{
    char *open = repeated("[", n, "", ""), *whole = repeated("]", n, open, "");

    free(open);
    return whole;
}

/* ---- limits of outputs ----------------------------------------------------------------------- */

START_TEST(an_output_above_its_limit_fails_the_call)
{
    struct node n;
    char *fits = string_of(1000), *large = string_of(1001);

    node_add(&n);
    n.w->limits.output_bytes = 1000;
    node_start(&n);
    node_serve(&n, "1", "t/query");
    served_reply(&n.query, fits);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"1\""));
    node_serve(&n, "2", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(large)), ALK_ELIMIT);
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    wire_expect(n.r, FAULT("2", "INTERNAL", "output too large", "false"));
    node_serve(&n, "3", "t/stream");
    served_emit(&n.stream, fits);
    ck_assert_int_eq(alk_call_emit(n.stream.call, TEXT(large)), ALK_ELIMIT);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"3\""));
    wire_expect(n.r, FAULT("3", "INTERNAL", "output too large", "false"));
    /* What counts is the compact form. */
    node_serve(&n, "4", "t/query");
    fits[0] = '1';
    memset(fits + 1, ' ', 999);
    served_reply(&n.query, fits);
    wire_expect(n.r, RESPONDED("4", "1"));
    free(fits);
    free(large);
    node_fini(&n);
}
END_TEST

START_TEST(an_output_whose_envelope_would_be_nested_too_deep_fails_the_call)
{
    struct node n;
    char *fits = nested(120), *deep = nested(127);

    node_init(&n);
    node_serve(&n, "1", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(fits)), ALK_OK);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.responded\",\"id\":\"1\""));
    node_serve(&n, "2", "t/query");
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(deep)), ALK_ELIMIT);
    wire_expect(n.r, FAULT("2", "INTERNAL", "output too large", "false"));
    free(fits);
    free(deep);
    node_fini(&n);
}
END_TEST

START_TEST(what_was_read_of_a_refused_output_is_given_back)
{
    struct node n;
    char *broken = repeated("x", 100000, "\"", "");
    uint64_t before;

    node_init(&n);
    node_serve(&n, "1", "t/query");
    served_reply(&n.query, "[1, 2]");
    wire_expect(n.r, RESPONDED("1", "[1,2]"));
    node_serve(&n, "2", "t/query");
    before = world_stats(n.w).memory_blocks;
    ck_assert_int_eq(alk_call_reply(n.query.call, TEXT(broken)), ALK_EJSON);
    ck_assert_uint_eq(world_stats(n.w).memory_blocks, before);
    free(broken);
    node_fini(&n);
}
END_TEST

START_TEST(outputs_of_ones_own_are_checked_against_their_schema_when_that_is_asked_for)
{
    static const struct {
        uint32_t debug, provenance;
    } cases[] = {{0, ALK_LOCAL}, {1, ALK_LOCAL}, {1, ALK_FROM_OPENAPI}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node n;
        alk_operation op;

        node_add(&n);
        n.w->options.debug_outputs = cases[i].debug;
        alk_operation_init(&op, sizeof op);
        op.provenance = cases[i].provenance;
        op.name = "t/number";
        op.handler = serve_echo;
        op.output_schema = "{\"type\":\"number\"}";
        world_add_full(n.w, &op);
        node_start(&n);
        wire_request(n.r, "1", "t/number", "5");
        wire_expect(n.r, RESPONDED("1", "5"));
        wire_request(n.r, "2", "t/number", "\"five\"");
        if (cases[i].debug && cases[i].provenance == ALK_LOCAL)
            wire_expect(n.r, FAULT("2", "INTERNAL", "internal error", "false"));
        else
            wire_expect(n.r, RESPONDED("2", "\"five\""));
        node_fini(&n);
    }
}
END_TEST

/* ---- limits of calls ------------------------------------------------------------------------- */

START_TEST(more_running_calls_than_a_connection_may_have_are_busy)
{
    struct node n;
    struct wire *other;

    node_add(&n);
    n.w->limits.connection_calls = 3;
    node_start(&n);
    other = wire_open(n.w, NULL);
    node_serve(&n, "1", "t/stream");
    node_serve(&n, "2", "t/stream");
    node_serve(&n, "3", "t/query");
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

START_TEST(requests_that_end_before_their_start_take_no_memory_until_the_turn)
{
    struct node n;
    char id[16];
    size_t before;

    node_init(&n);
    wire_request(n.r, "first", "t/none", "null");
    before = n.w->memory.live;
    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, i % 3 ? "t/query" : "t/none", "null");
        if (i % 3)
            wire_abort(n.r, id);
    }
    ck_assert_uint_lt(n.w->memory.live, before + 100);
    wire_expect(n.r, FAULT("first", "NOT_FOUND", "operation not found: t/none", "false"));
    for (int i = 0; i < 3000; i += 3)
        ck_assert_ptr_nonnull(strstr(wire_next(n.r), "NOT_FOUND"));
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.query.starts, 0);
    node_fini(&n);
}
END_TEST

START_TEST(more_calls_in_a_second_than_an_identity_may_make_are_busy)
{
    struct node n;
    alk_connection_options o = {.size = sizeof o};
    struct wire *mine, *other;

    node_add(&n);
    n.w->limits.calls_per_second = 5;
    node_start(&n);
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

/* ---- backpressure ---------------------------------------------------------------------------- */

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
    node_serve(&n, "1", "t/stream");
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
    node_serve(&n, "1", "t/stream");
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

static int never(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

/* By several connections of one address, of which none has more than it may. */
START_TEST(many_small_requests_that_run_stay_within_a_part)
{
    struct world *w = world_new();
    struct wire *r[8];
    alk_connection_options o = {.size = sizeof o};
    char *input = string_of(2800), *text;
    int refused = 0;

    w->limits.message_budget = 8u << 20;
    world_add(w, "t/never", ALK_QUERY, never, NULL);
    world_start(w);
    o.remote = "192.0.2.1";
    text = repeated("", 0,
                    "{\"type\":\"call.requested\",\"payload\":{\"operationId\":\"t/never\","
                    "\"input\":",
                    input);
    for (int i = 0; i < 8; i++) {
        r[i] = wire_open(w, &o);
        for (int id = 0; id < 500; id++) {
            char tail[40], *whole;

            snprintf(tail, sizeof tail, "},\"id\":\"%d\"}", id);
            whole = repeated("", 0, text, tail);
            ck_assert_int_eq(wire_feed(r[i], whole), ALK_OK);
            free(whole);
            world_turn(w);
        }
        ck_assert_uint_le(world_stats(w).message_bytes, (1u << 20) + 8 * 65536);
        for (const char *e; (e = wire_next(r[i]));) {
            ck_assert_ptr_nonnull(
                strstr(e, "\"BUSY\",\"message\":\"the message budget is used up\""));
            refused++;
        }
    }
    ck_assert_uint_ge(world_stats(w).message_bytes, 1u << 20);
    ck_assert_int_gt(refused, 3000);
    for (int i = 0; i < 8; i++)
        wire_free(r[i]);
    ck_assert_uint_eq(world_stats(w).message_bytes, 0);
    free(input);
    free(text);
    world_free(w);
}
END_TEST

MAIN("limits", an_output_above_its_limit_fails_the_call,
     an_output_whose_envelope_would_be_nested_too_deep_fails_the_call,
     what_was_read_of_a_refused_output_is_given_back,
     outputs_of_ones_own_are_checked_against_their_schema_when_that_is_asked_for,
     more_running_calls_than_a_connection_may_have_are_busy,
     requests_that_end_before_their_start_take_no_memory_until_the_turn,
     more_calls_in_a_second_than_an_identity_may_make_are_busy,
     emit_takes_nothing_above_the_mark_and_one_drain_follows_below_half,
     a_blocked_subscription_that_is_aborted_gets_no_drain,
     every_blocked_subscription_gets_its_own_drain, many_small_requests_that_run_stay_within_a_part)
