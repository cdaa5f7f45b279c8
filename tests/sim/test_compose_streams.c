/* Nested and outgoing subscriptions: order, pauses, credit that is withheld, and what is kept for a slow subscriber. */
#include "sim/composer.h"

/* ---- nested ---------------------------------------------------------------------------------- */

START_TEST(a_nested_subscription_delivers_values_in_order_and_its_completion)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    composer_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    for (int i = 0; i < 100; i++) {
        char text[16];

        snprintf(text, sizeof text, "%d", i);
        served_emit(&child, text);
        if (i % 7 == 0)
            world_turn(n->w);
    }
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, 100);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_OK);
    ck_assert_ptr_nonnull(strstr(a.text, "0 1 2 3"));
    ck_assert_ptr_nonnull(strstr(a.text, "97 98 99"));
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

START_TEST(a_paused_nested_subscription_pushes_back_and_drains_after_resume)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o;
    struct asked a;
    char *text = big(10000);
    int taken = 0;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    composer_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    while (alk_call_emit(child.call, TEXT(text)) == ALK_OK && taken < 1000)
        taken++;
    ck_assert_int_ge(taken, 20); /* 256 KiB, more or less a value */
    ck_assert_int_le(taken, 30);
    world_turn(n->w);
    ck_assert_int_eq(a.values, 0);
    ck_assert_int_eq(child.drains, 0);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, taken);
    ck_assert_int_eq(child.drains, 1);
    ck_assert_int_eq(alk_call_emit(child.call, TEXT(text)), ALK_OK);
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, taken + 1);
    ck_assert_int_eq(a.ends, 1);
    asked_free(&a);
    served_free(&child);
    free(text);
    composer_free(n);
}
END_TEST

static void abort_itself(struct asked *a)
{
    alk_call_abort(a->call);
}

START_TEST(a_subscriber_that_aborts_in_its_callback_gets_no_more_values)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    composer_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    a.on_value = abort_itself;
    world_turn(n->w);
    for (int i = 0; i < 5; i++)
        served_emit(&child, "1");
    world_turn(n->w);
    ck_assert_int_eq(a.values, 1);
    ck_assert_str_eq(asked_outcome(&a), "aborted 1");
    ck_assert_int_eq(child.why, ALK_END_ABORTED);
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

START_TEST(a_subscriber_that_pauses_in_its_callback_gets_one_value_at_a_time)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    composer_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    a.on_value = pause_itself;
    world_turn(n->w);
    for (int i = 0; i < 5; i++)
        served_emit(&child, "1");
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    for (int i = 1; i <= 5; i++) {
        world_turn(n->w);
        ck_assert_int_eq(a.values, i);
        ck_assert_int_eq(a.ends, i == 5); /* nothing is kept any more: the end need not wait */
        alk_call_pause(a.call, 0);
    }
    ck_assert_str_eq(asked_outcome(&a), "ok 1 1 1 1 1");
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

START_TEST(a_paused_child_ends_with_its_parent_even_if_it_has_completed)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    composer_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    served_emit(&child, "1");
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.ends, 0);
    served_reply(&n->root, "1");
    world_turn(n->w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.values, 0);
    ck_assert_int_lt(a.order, n->root.order);
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

/* ---- outgoing, on a wire --------------------------------------------------------------------- */

START_TEST(a_paused_subscription_on_a_shared_stream_keeps_a_mebibyte_and_ends_as_too_slow)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;
    int i;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (i = 0; i < 15; i++)
        feed_value(r, 0, id, text);
    world_turn(w);
    ck_assert_int_eq(a.ends, 0);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.values, 15);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (i = 0; i < 17; i++)
        feed_value(r, 0, id, text);
    {
        char want[200];

        snprintf(want, sizeof want, "{\"type\":\"call.aborted\",\"id\":\"%s\",\"payload\":{}}", id);
        ck_assert_str_eq(wire_next(r), want);
    }
    alk_call_pause(a.call, 0); /* what was kept may still come before the end */
    world_turn(w);
    ck_assert_str_eq(a.code, "TOO_SLOW");
    ck_assert_int_eq(a.ends, 1);
    wire_expect_nothing(r);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(a_paused_subscription_on_a_stream_of_its_own_withholds_credit_and_gives_it_back)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open_streams(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_uint_eq(r->streams[0], WIRE_STREAMS);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 5; i++)
        feed_value(r, WIRE_STREAMS, id, text);
    world_turn(w);
    ck_assert_int_eq(r->pauses, 1);
    ck_assert_uint_eq(r->last_paused, WIRE_STREAMS);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.values, 5);
    ck_assert_int_eq(r->resumes, 1);
    /* Held back again, and aborted: the stream must not stay shut. */
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 5; i++)
        feed_value(r, WIRE_STREAMS, id, text);
    world_turn(w);
    ck_assert_int_eq(r->pauses, 2);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(r->resumes, 2);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(a_remote_that_answers_on_another_stream_is_bounded_too)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open_streams(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 100 && !a.ends; i++) {
        feed_value(r, 0, id, text);
        world_turn(w);
    }
    /* Its end is told, with what was kept, when it is resumed, or at once. */
    alk_call_pause(a.call, 0);
    world_turn(w);
    ck_assert_str_eq(a.code, "TOO_SLOW");
    ck_assert_int_le(a.values, 17);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

MAIN("compose_streams", a_nested_subscription_delivers_values_in_order_and_its_completion,
     a_paused_nested_subscription_pushes_back_and_drains_after_resume,
     a_subscriber_that_aborts_in_its_callback_gets_no_more_values,
     a_subscriber_that_pauses_in_its_callback_gets_one_value_at_a_time,
     a_paused_child_ends_with_its_parent_even_if_it_has_completed,
     a_paused_subscription_on_a_shared_stream_keeps_a_mebibyte_and_ends_as_too_slow,
     a_paused_subscription_on_a_stream_of_its_own_withholds_credit_and_gives_it_back,
     a_remote_that_answers_on_another_stream_is_bounded_too)
