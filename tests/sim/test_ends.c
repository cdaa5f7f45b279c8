/* How calls end: by their deadline, on a clock that the test moves; by an abort; by the end of
 * the dispatcher; and that each of them ends exactly once, told from a turn and never within
 * another function. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* The remote has requested t/query as "1" and t/stream as "2". */
static void node_init_serving(struct node *n)
{
    node_init(n);
    node_serve(n, "1", "t/query");
    node_serve(n, "2", "t/stream");
}

/* ---- deadlines ------------------------------------------------------------------------------- */

START_TEST(a_single_result_has_thirty_seconds_and_not_one_more)
{
    struct node n;

    node_init(&n);
    node_serve(&n, "1", "t/query");
    ck_assert_uint_eq(context_of(n.query.call).deadline, n.w->now + 30000 * MS);
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
    node_serve(&n, "1", "t/query");
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
        ck_assert_msg(context_of(n.query.call).deadline == n.w->now + cases[i].ms * MS, "%s",
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
    node_serve(&n, "1", "t/stream");
    ck_assert_uint_eq(context_of(n.stream.call).deadline, UINT64_MAX);
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
    node_serve(&n, "1", "t/query");
    ck_assert_uint_eq(context_of(n.query.call).deadline, n.w->now + 500 * MS);
    alk_node_get_limits(n.w->node, &l, sizeof l);
    l.deadline_ms = 100;
    ck_assert_int_eq(alk_node_set_limits(n.w->node, &l), ALK_OK);
    node_serve(&n, "2", "t/query");
    ck_assert_uint_eq(context_of(n.query.call).deadline, n.w->now + 100 * MS);
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

/* ---- cancellation ---------------------------------------------------------------------------- */

START_TEST(an_aborted_call_ends_at_once_and_nothing_is_sent_for_it)
{
    struct node n;

    node_init_serving(&n);
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
    node_serve(&n, "ok", "t/query");
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("ok", "1"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_OK);
    node_serve(&n, "aborted", "t/query");
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

    node_init_serving(&n);
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
    alk_call_options o = {.size = sizeof o};

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
    ck_assert_int_eq(alk_call_invoke(call, TEXT("t/echo"), TEXT("1"), &o, NULL), ALK_EENDED);
    ck_assert_str_eq(alk_call_id(call), "the-id");
    ck_assert_str_eq(alk_call_operation(call), "t/stream");
    ck_assert_str_eq(alk_value_text(alk_call_input(call), &len), "[1,2.50]");
    ck_assert_ptr_null(alk_call_identity(call));
    ck_assert_ptr_null(context_of(call).traceparent);
    ck_assert_ptr_null(alk_call_capability(call, "x", &len));
    ck_assert_uint_eq(world_stats(n.w).calls, 1);
    served_free(&n.stream);
    ck_assert_uint_eq(world_stats(n.w).calls, 0);
    world_free(n.w);
}
END_TEST

static int owns_and_closes(void *ud, const alk_identity *who, const char *type)
{
    struct node *n = ud;

    (void)who;
    (void)type;
    alk_connection_close(n->r->conn, ALK_CLOSE_IDENTITY);
    return 1;
}

START_TEST(a_call_whose_ownership_check_closes_the_connection_does_not_start)
{
    struct node n;
    alk_ownership_provider p = {.size = sizeof p, .owns_any = owns_and_closes, .ud = &n};
    alk_connection_options o = {.size = sizeof o};
    alk_operation op;

    node_add(&n);
    alk_operation_init(&op, sizeof op);
    op.name = "t/owned";
    op.handler = serve_later;
    op.ud = &n.query;
    op.access_control = "{\"resource_type\":\"doc\",\"resource_action\":\"read\"}";
    world_add_full(n.w, &op);
    n.w->options.ownership = &p;
    world_start(n.w);
    o.identity = identity_of("a", "[]");
    n.r = wire_open(n.w, &o);
    alk_identity_unref((alk_identity *)o.identity);
    ck_assert_int_eq(wire_feed(n.r, "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{"
                                    "\"operationId\":\"t/owned\"}}"),
                     ALK_ECLOSED);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(n.query.starts, 0);
    ck_assert_uint_eq(world_stats(n.w).calls, 0);
    node_fini(&n);
}
END_TEST

static void on_log(void *ud, const alk_log_event *e)
{
    struct node *n = ud;

    if (n->r && !strcmp(e->event, "call"))
        alk_connection_close(n->r->conn, ALK_CLOSE_IDENTITY);
}

START_TEST(a_log_may_close_the_connection_of_a_call_that_ends)
{
    struct node n;

    node_add(&n);
    n.w->options.log = on_log;
    n.w->options.log_ud = &n;
    node_start(&n);
    node_serve(&n, "1", "t/query");
    wire_request(n.r, "2", "t/echo", "1");
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    node_fini(&n);
}
END_TEST

/* ---- draining -------------------------------------------------------------------------------- */

static void on_told(alk_call *call, void *ud)
{
    (void)call;
    ++*(int *)ud;
}

START_TEST(while_draining_what_runs_goes_on_and_what_is_new_is_busy)
{
    struct node n;
    alk_connection *c;
    alk_connection_options o = {.size = sizeof o};
    alk_link link = {.size = sizeof link};
    int told = 0;

    node_init_serving(&n);
    ck_assert_int_eq(alk_call_on_shutdown(n.stream.call, on_told, &told), ALK_OK);
    alk_dispatcher_drain(n.w->d);
    wire_request(n.r, "3", "t/echo", "1");
    wire_expect(n.r, FAULT("3", "BUSY", "shutting down", "true"));
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ECLOSED);
    ck_assert_ptr_null(c);
    ck_assert_int_eq(told, 1);
    served_reply(&n.query, "1");
    served_emit(&n.stream, "2");
    ck_assert_int_eq(alk_call_complete(n.stream.call), ALK_OK);
    wire_expect(n.r, RESPONDED("1", "1"));
    wire_expect(n.r, RESPONDED("2", "2"));
    wire_expect(n.r, COMPLETED("2"));
    ck_assert_int_eq(n.r->closes, 1); /* with its last call */
    node_fini(&n);
}
END_TEST

/* Its caller can follow it elsewhere; a completion would say that there is nothing to follow. */
START_TEST(a_subscription_whose_handler_is_not_told_ends_when_the_drain_begins)
{
    struct node n;

    node_init_serving(&n);
    served_emit(&n.stream, "1");
    wire_expect(n.r, RESPONDED("2", "1"));
    wire_request(n.r, "3", "t/stream", "null"); /* accepted, and not started */
    alk_dispatcher_drain(n.w->d);
    wire_expect(n.r, FAULT("2", "BUSY", "shutting down", "true"));
    wire_expect(n.r, FAULT("3", "BUSY", "shutting down", "true"));
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.stream.starts, 1);
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_FAULT);
    ck_assert_int_eq(n.r->closes, 0);
    served_reply(&n.query, "1");
    wire_expect(n.r, RESPONDED("1", "1"));
    ck_assert_int_eq(n.r->closes, 1);
    node_fini(&n);
}
END_TEST

START_TEST(a_second_drain_ends_handlers_and_tells_callers_that_it_shuts_down)
{
    struct node n;
    int told = 0;

    node_init_serving(&n);
    ck_assert_int_eq(alk_call_on_shutdown(n.stream.call, on_told, &told), ALK_OK);
    alk_dispatcher_drain(n.w->d);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(told, 1);
    alk_dispatcher_drain(n.w->d);
    ck_assert_int_eq(n.query.ends, 0);
    wire_expect(n.r, FAULT("1", "BUSY", "shutting down", "true"));
    wire_expect(n.r, FAULT("2", "BUSY", "shutting down", "true"));
    ck_assert_int_eq(n.query.ends, 1);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.r->closes, 1);
    node_fini(&n);
}
END_TEST

/* Of the last one by the end of the connection. */
START_TEST(a_second_drain_tells_the_remotes_of_our_own_calls)
{
    struct node n;
    struct asked a, last;
    char id[64];

    node_init(&n);
    ask(&a, n.r->conn, "x/y", "null");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(n.r)));
    ask(&last, n.r->conn, "x/y", "null");
    ck_assert_ptr_nonnull(wire_next(n.r));
    alk_dispatcher_drain(n.w->d);
    alk_dispatcher_drain(n.w->d);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "{\"type\":\"call.aborted\""));
    ck_assert_str_eq(wire_id(n.r->sent[n.r->read - 1]), id);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_CLOSED);
    ck_assert_int_eq(last.ends, 1);
    ck_assert_int_eq(last.why, ALK_END_CLOSED);
    asked_free(&a);
    asked_free(&last);
    node_fini(&n);
}
END_TEST

MAIN("ends", a_single_result_has_thirty_seconds_and_not_one_more, an_answer_takes_the_deadline_away,
     the_callers_time_shortens_the_deadline_and_never_lengthens_it,
     a_subscription_has_no_deadline_unless_its_caller_wants_one,
     the_default_deadline_is_a_limit_of_the_node, deadlines_pass_in_their_order,
     an_aborted_call_ends_at_once_and_nothing_is_sent_for_it,
     a_call_aborted_before_its_turn_never_starts, on_end_runs_exactly_once_for_every_way_to_end,
     on_end_runs_when_the_dispatcher_is_freed,
     every_function_on_an_ended_call_says_so_and_nothing_crashes,
     while_draining_what_runs_goes_on_and_what_is_new_is_busy,
     a_subscription_whose_handler_is_not_told_ends_when_the_drain_begins,
     a_second_drain_ends_handlers_and_tells_callers_that_it_shuts_down,
     a_second_drain_tells_the_remotes_of_our_own_calls,
     a_call_whose_ownership_check_closes_the_connection_does_not_start,
     a_log_may_close_the_connection_of_a_call_that_ends)
