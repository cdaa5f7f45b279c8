/* Graceful stop: what runs is finished, nothing new is begun, on_drained comes once; a second call ends it at once. */
#include "support/suite.h"
#include "uv/rig.h"

static struct client a, b, c;
static void (*deed)(struct rig *r);

static void drain(struct rig *r)
{
    alk_loop_drain(r->l, rig_on_drained, r);
}

/* ---- on_drained -------------------------------------------------------------------------------- */

START_TEST(an_empty_loop_drains)
{
    struct rig *r = rig_new();

    rig_start_bare(r);
    drain(r);
    ck_assert_int_eq(r->drained, 0);
    /* The drain itself keeps the loop alive until it is done. */
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(r->drained, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_server_drains)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_steps(r, 2);
    drain(r);
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(r->drained, 1);
    ck_assert_int_ne(client_try(&a, &r->uv, r->port, 0), 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

static void closed_when_drained(void *ud)
{
    rig_on_drained(ud);
    rig_close(ud);
}

static void finish_and_leave(struct rig *r)
{
    client_open(&a, NULL, r->port);
    client_send(&a, GET("/healthz"));
    ck_assert_int_eq(client_answer(&a), 200);
    rig_do(r, deed);
    client_ended(&a);
    client_close(&a);
}

static void drain_and_close(struct rig *r)
{
    alk_loop_drain(r->l, closed_when_drained, r);
}

START_TEST(on_drained_may_close_the_loop)
{
    struct rig *r = rig_new();

    rig_start(r);
    deed = drain_and_close;
    rig_script(r, finish_and_leave);
    for (int i = 0; !r->closed && i < 3; i++)
        uv_run(&r->uv, UV_RUN_DEFAULT);
    ck_assert_int_eq(r->drained, 1);
    ck_assert_int_eq(r->drained_at_close, 1);
    rig_free(r);
}
END_TEST

START_TEST(uv_run_returns_when_the_last_client_has_left)
{
    struct rig *r = rig_new();

    rig_start(r);
    deed = drain;
    rig_script(r, finish_and_leave);
    /* The script's end may have stopped the loop first. */
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(r->drained, 1);
    rig_free(r);
}
END_TEST

START_TEST(on_drained_may_be_missing)
{
    struct rig *r = rig_new();

    rig_start(r);
    alk_loop_drain(r->l, NULL, NULL);
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    rig_free(r);
}
END_TEST

/* ---- the order of events ----------------------------------------------------------------------- */

START_TEST(a_running_handler_finishes)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    rig_client(r, &b); /* idle */
    rig_steps(r, 2);
    drain(r);
    client_ended(&b);
    client_nothing(&a, 30);
    ck_assert_int_eq(r->drained, 0);
    ck_assert_int_eq(r->later.ends, 0);
    served_reply(&r->later, "\"finished\"");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":\"finished\"}"));
    ck_assert_str_eq(client_header(&a, "Connection"), "close");
    client_ended(&a);
    ck_assert_int_eq(r->later.why, ALK_END_OK);
    client_close(&a);
    client_close(&b);
    rig_until(r, r->drained);
    rig_steps(r, 5);
    ck_assert_int_eq(r->drained, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_dispatcher_that_drains_already_drains_with_its_loop)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    alk_dispatcher_drain(r->d);
    drain(r);
    rig_steps(r, 5);
    ck_assert_int_eq(r->later.ends, 0);
    alk_dispatcher_drain(r->d);
    ck_assert_int_eq(client_answer(&a), 503);
    ck_assert_int_eq(r->later.why, ALK_END_CLOSED);
    client_close(&a);
    rig_until(r, r->drained);
    rig_free(r);
}
END_TEST

START_TEST(while_the_delay_runs_all_is_served_but_health)
{
    struct rig *r = rig_new();

    r->limits.drain_delay_ms = 200;
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    drain(r);
    rig_client(r, &b);
    client_send(&b, GET("/healthz"));
    ck_assert_int_eq(client_answer(&b), 503);
    client_send(&b, CALL_ECHO);
    ck_assert_int_eq(client_answer(&b), 200);
    rig_client(r, &c);
    client_send(&c, CALL_ECHO);
    ck_assert_int_eq(client_answer(&c), 200);
    ck_assert_int_eq(r->drained, 0);
    client_ended(&b); /* after the delay */
    client_ended(&c);
    client_close(&b);
    client_close(&c);
    ck_assert_int_ne(client_try(&c, &r->uv, r->port, 0), 0);
    client_close(&c);
    served_reply(&r->later, "1");
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
    rig_until(r, r->drained == 1);
    rig_free(r);
}
END_TEST

START_TEST(what_is_pipelined_behind_the_running_request_is_not_begun)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER CALL_ECHO CALL_ECHO);
    rig_until(r, r->later.starts);
    drain(r);
    rig_steps(r, 5);
    served_reply(&r->later, "\"only\"");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":\"only\"}"));
    ck_assert_str_eq(client_header(&a, "Connection"), "close");
    client_ended(&a);
    ck_assert_uint_eq(a.len, 0);
    ck_assert(!a.was_reset);
    client_close(&a);
    rig_until(r, r->drained == 1);
    rig_free(r);
}
END_TEST

START_TEST(a_request_that_is_half_here_gets_busy)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    /* What arrives together is read together. */
    client_send(&a, GET("/readyz") POST_HEAD("/call", "32") "\r\n{\"operation\":");
    ck_assert_int_eq(client_answer(&a), 200);
    drain(r);
    rig_steps(r, 5);
    client_send(&a, "\"t/echo\",\"input\":7}");
    ck_assert_int_eq(client_answer(&a), 503);
    ck_assert_ptr_nonnull(strstr(a.body, "\"BUSY\""));
    client_ended(&a);
    client_close(&a);
    rig_until(r, r->drained == 1);
    rig_free(r);
}
END_TEST

static void finish_early(alk_call *call, void *ud)
{
    ++*(int *)ud;
    must(!alk_call_reply(call, TEXT("\"early\"")));
}

START_TEST(a_handler_that_is_told_finishes_early)
{
    struct rig *r = rig_new();
    int told = 0;

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    ck_assert_int_eq(alk_call_on_shutdown(r->later.call, finish_early, &told), ALK_OK);
    rig_steps(r, 10);
    ck_assert_int_eq(told, 0);
    drain(r);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":\"early\"}"));
    client_close(&a);
    rig_until(r, r->drained == 1);
    ck_assert_int_eq(told, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_subscription_whose_handler_is_not_told_ends_with_busy)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, SUBSCRIBE_STREAM);
    rig_until(r, r->stream.starts);
    drain(r);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "event: error\ndata: {\"code\":\"BUSY\","
                                         "\"message\":\"shutting down\",\"retryable\":true}"));
    client_ended(&a);
    client_close(&a);
    rig_until(r, r->drained == 1);
    ck_assert_int_eq(r->stream.why, ALK_END_FAULT);
    rig_free(r);
}
END_TEST

/* ---- the end of patience ----------------------------------------------------------------------- */

static void on_told(alk_call *call, void *ud)
{
    (void)call;
    ++*(int *)ud;
}

START_TEST(at_drain_ms_what_still_runs_is_cancelled)
{
    struct rig *r = rig_new();
    uint64_t since;
    int told = 0;

    r->limits.drain_ms = 200;
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_client(r, &b);
    client_send(&b, SUBSCRIBE_STREAM);
    rig_until(r, r->later.starts && r->stream.starts);
    ck_assert_int_eq(alk_call_on_shutdown(r->stream.call, on_told, &told), ALK_OK);
    since = now_ms();
    drain(r);
    ck_assert_int_eq(client_answer(&a), 503);
    ck_assert_uint_ge(now_ms() - since, 199);
    ck_assert_ptr_nonnull(strstr(a.body, "shutting down"));
    ck_assert_int_eq(client_answer(&b), 200);
    ck_assert_ptr_nonnull(strstr(b.body, "event: error\ndata: {\"code\":\"BUSY\""));
    ck_assert_int_eq(r->later.why, ALK_END_CLOSED);
    ck_assert_int_eq(r->stream.why, ALK_END_CLOSED);
    ck_assert_int_eq(told, 1);
    client_ended(&a);
    client_ended(&b);
    client_close(&a);
    client_close(&b);
    rig_until(r, r->drained == 1);
    rig_free(r);
}
END_TEST

/* In the delay (0), or while waiting for the last call (1). */
START_TEST(a_second_call_cancels_at_once)
{
    struct rig *r = rig_new();

    r->limits.drain_delay_ms = _i ? 0 : 600000;
    r->limits.drain_ms = 600000;
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    drain(r);
    rig_steps(r, 20);
    ck_assert_int_eq(r->later.ends, 0);
    drain(r);
    ck_assert_int_eq(client_answer(&a), 503);
    ck_assert_int_eq(r->later.why, ALK_END_CLOSED);
    client_ended(&a);
    client_close(&a);
    rig_until(r, r->drained);
    rig_steps(r, 5);
    ck_assert_int_eq(r->drained, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_third_call_changes_nothing)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    for (int i = 0; i < 5; i++)
        drain(r);
    ck_assert_int_eq(client_answer(&a), 503);
    client_close(&a);
    rig_until(r, r->drained);
    drain(r);
    rig_steps(r, 20);
    ck_assert_int_eq(r->drained, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_client_that_reads_nothing_does_not_hold_the_drain)
{
    struct rig *r = rig_new();

    r->limits.drain_ms = 50;
    r->flood.left = 1000000;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, POST_HEAD("/subscribe", "23") "\r\n{\"operation\":\"t/flood\"}");
    rig_until(r, r->flood.refused);
    rig_steps(r, 10);
    drain(r);
    rig_until(r, r->drained == 1);
    ck_assert_int_eq(r->flood.ends, 1);
    ck_assert_int_eq(r->flood.why, ALK_END_FAULT);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_loop_is_closed_while_it_drains)
{
    struct rig *r = rig_new();

    r->limits.drain_delay_ms = _i ? 0 : 100;
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    drain(r);
    rig_steps(r, 5);
    rig_close(r);
    rig_until(r, r->closed);
    ck_assert_int_eq(r->later.ends, 1);
    ck_assert_int_eq(r->drained, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(no_server_opens_on_a_draining_or_closing_loop)
{
    struct rig *r = rig_new();
    alk_server *s;

    r->limits.drain_delay_ms = 600000;
    rig_start(r);
    drain(r);
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, NULL, 0), ALK_ECLOSED);
    ck_assert_ptr_null(s);
    rig_close(r);
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, NULL, 0), ALK_ECLOSED);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("drain");
    TCase *t = tcase_create("drain");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, an_empty_loop_drains);
    tcase_add_test(t, a_server_drains);
    tcase_add_test(t, on_drained_may_close_the_loop);
    tcase_add_test(t, uv_run_returns_when_the_last_client_has_left);
    tcase_add_test(t, on_drained_may_be_missing);
    tcase_add_test(t, a_running_handler_finishes);
    tcase_add_test(t, a_dispatcher_that_drains_already_drains_with_its_loop);
    tcase_add_test(t, while_the_delay_runs_all_is_served_but_health);
    tcase_add_test(t, what_is_pipelined_behind_the_running_request_is_not_begun);
    tcase_add_test(t, a_request_that_is_half_here_gets_busy);
    tcase_add_test(t, a_handler_that_is_told_finishes_early);
    tcase_add_test(t, a_subscription_whose_handler_is_not_told_ends_with_busy);
    tcase_add_test(t, at_drain_ms_what_still_runs_is_cancelled);
    tcase_add_loop_test(t, a_second_call_cancels_at_once, 0, 2);
    tcase_add_test(t, a_third_call_changes_nothing);
    tcase_add_test(t, a_client_that_reads_nothing_does_not_hold_the_drain);
    tcase_add_loop_test(t, a_loop_is_closed_while_it_drains, 0, 2);
    tcase_add_test(t, no_server_opens_on_a_draining_or_closing_loop);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
