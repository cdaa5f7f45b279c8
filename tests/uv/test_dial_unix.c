/* Dialling over Unix-domain sockets: a WebSocket to the rig's own gateway, and framed envelopes to
 * a hub. */
#include "uv/dial_rig.h"

static struct dialled *start(const char *scheme)
{
    struct dialled *t = dialled_new();

    snprintf(t->path, sizeof t->path, "%s/a socket", t->dir);
    snprintf(t->url, sizeof t->url, "%s:%s", scheme, t->path);
    t->r->listen.unix_path = t->path;
    return t;
}

/* ---- facts ----------------------------------------------------------------------------------- */

START_TEST(a_websocket_goes_over_a_unix_domain_socket)
{
    struct dialled *t = start("ws+unix");

    t->o.token = RIG_TOKEN;
    rig_start(t->r);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    ck_assert_str_eq(t->log, "open ready ");
    call(t, alk_dialer_connection(t->x), "t/secret", "[7]");
    rig_until(t->r, t->answers == 1);
    finish(t);
}
END_TEST

START_TEST(framed_envelopes_go_both_ways_over_a_unix_domain_socket)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    ck_assert_str_eq(t->log, "open ready ");
    call(t, alk_dialer_connection(t->x), "t/echo", "[7]");
    rig_until(t->r, t->answers == 1);
    call(t, t->there->conn, "t/echo", "[8]");
    rig_until(t->r, t->answers == 2);
    call(t, t->there->conn, "t/secret", "[8]");
    rig_until(t->r, t->faults == 1);
    ck_assert_str_eq(t->message, "FORBIDDEN: authentication required");
    finish(t);
}
END_TEST

/* Above what a WebSocket takes, and in many pieces. */
START_TEST(a_large_value_comes_whole)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    call(t, alk_dialer_connection(t->x), "t/big", "9000000");
    rig_until(t->r, t->answers == 1);
    ck_assert_uint_eq(t->answered, 9000002);
    finish(t);
}
END_TEST

/* A stream that nobody reads fast enough gets its values in the end, and each of them. */
START_TEST(a_flood_comes_whole)
{
    struct dialled *t = start("alknet+unix");
    alk_call_options o = {.size = sizeof o};

    t->r->flood.left = 20000;
    start_hub(t);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = t;
    o.stream = 1;
    ck_assert_int_eq(
        alk_connection_call(alk_dialer_connection(t->x), "t/flood", 7, "1", 1, &o, NULL), ALK_OK);
    rig_until(t->r, t->answers == 20000);
    ck_assert_int_gt(t->r->flood.drains, 0);
    ck_assert_int_eq(t->faults, 0);
    finish(t);
}
END_TEST

START_TEST(a_connection_that_the_remote_closes_is_dialled_again)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    alk_connection_close(t->there->conn, ALK_CLOSE_SHUTDOWN);
    rig_until(t->r, strstr(t->log, "lost"));
    ck_assert_int_eq(t->said_code, 1001);
    ck_assert_int_eq(t->code, 1005);
    ck_assert_str_eq(t->message, "closed by the remote");
    rig_until(t->r, !strcmp(t->log, "open ready lost open ready "));
    ck_assert_int_eq(t->opened, 2);
    finish(t);
}
END_TEST

START_TEST(a_dialer_that_closes_ends_the_stream)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    alk_dialer_close(t->x);
    rig_until(t->r, t->gone == 1);
    ck_assert_int_eq(t->said_code, 1005);
    rig_until(t->r, t->freed == 1);
    ck_assert_str_eq(t->log, "open ready ");
    finish(t);
}
END_TEST

START_TEST(an_attempt_can_be_given_up_at_once)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    rig_until(t->r, !alk_dialer_connection(t->x));
    uv_run(&t->r->uv, UV_RUN_NOWAIT);
    alk_dialer_close(t->x);
    rig_until(t->r, t->freed == 1);
    finish(t);
}
END_TEST

START_TEST(why_there_is_no_connection_is_told)
{
    struct dialled *t = start("alknet+unix");

    rig_start_bare(t->r);
    dial(t);
    rig_until(t->r, strstr(t->log, "failed"));
    ck_assert_str_eq(t->message, "no such file or directory");
    /* It comes about when there is somebody. */
    t->r->listen.gateway = (alk_gateway *)(void *)&t->hub;
    rig_serve(t->r);
    rig_until(t->r, strstr(t->log, "ready"));
    finish(t);
}
END_TEST

START_TEST(without_memory_it_is_tried_again)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    dial(t);
    atomic_store(&t->r->starve, true);
    rig_until(t->r, strstr(t->log, "failed"));
    ck_assert_str_eq(t->message, "out of memory");
    atomic_store(&t->r->starve, false);
    rig_until(t->r, strstr(t->log, "ready"));
    finish(t);
}
END_TEST

MAIN("dial_unix", a_websocket_goes_over_a_unix_domain_socket,
     framed_envelopes_go_both_ways_over_a_unix_domain_socket, a_large_value_comes_whole,
     a_flood_comes_whole, a_connection_that_the_remote_closes_is_dialled_again,
     a_dialer_that_closes_ends_the_stream, an_attempt_can_be_given_up_at_once,
     why_there_is_no_connection_is_told, without_memory_it_is_tried_again)
