/* The deadlines of an HTTP/1.1 connection, with a clock that the tests move. */
#include "h1_wire.h"

#define HOST "Host: a.example\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST "\r\n"
#define POST "POST /p HTTP/1.1\r\n" HOST

static struct wire *opened(enum mode mode)
{
    struct wire *w = wire_new(mode);

    ck_assert(wire_open(w));
    return w;
}

START_TEST(a_connection_that_sends_nothing_is_closed_without_a_word)
{
    struct wire *w = opened(MODE_ECHO);

    ck_assert_uint_eq(w->e->deadline, w->now + 200 * MS);
    wire_sleep(w, 199 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(wire_got(w), "");
    wire_free(w);
}
END_TEST

START_TEST(the_header_timeout_of_the_first_request_runs_from_the_accept)
{
    struct wire *w = opened(MODE_ECHO);
    uint64_t accepted = w->now;

    wire_sleep(w, 100 * MS);
    wire_text(w, "\r\n");
    ck_assert_uint_eq(w->e->deadline, accepted + 200 * MS);
    wire_text(w, "G");
    ck_assert_uint_eq(w->e->deadline, accepted + 200 * MS);
    wire_sleep(w, 100 * MS);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 408 "));
    wire_free(w);
}
END_TEST

START_TEST(a_timeout_before_the_deadline_does_nothing)
{
    struct wire *w = opened(MODE_ECHO);

    w->e->ops->timeout(w->e, w->now + 199 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_byte_now_and_then_does_not_extend_the_header_timeout)
{
    struct wire *w = opened(MODE_ECHO);

    for (int i = 0; GET[i] && !w->e->closing; i++) {
        wire_feed(w, &GET[i], 1);
        wire_sleep(w, 10 * MS);
    }
    ck_assert_uint_eq(w->now, 5200 * MS);
    ck_assert_str_eq(wire_log(w), "error 408 the header took too long\nclose 1\n");
    ck_assert_ptr_nonnull(strstr(wire_got(w), "HTTP/1.1 408 Request Timeout\r\n"));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(the_header_timeout_of_a_later_request_runs_from_its_first_byte)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, GET);
    ck_assert_uint_eq(w->e->deadline, w->now + 400 * MS);
    wire_sleep(w, 399 * MS);
    wire_text(w, "G");
    ck_assert_uint_eq(w->e->deadline, w->now + 200 * MS);
    wire_sleep(w, 100 * MS);
    wire_text(w, "ET / HTTP/1.1\r\n");
    wire_sleep(w, 99 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, MS);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 408 "));
    wire_free(w);
}
END_TEST

START_TEST(an_idle_connection_is_closed_without_a_word)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, GET);
    wire_forget(w);
    wire_sleep(w, 399 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(wire_got(w), "");
    ck_assert_str_eq(wire_log(w), "");
    wire_free(w);
}
END_TEST

START_TEST(the_keep_alive_timeout_runs_from_when_the_answer_is_out)
{
    struct wire *w = opened(MODE_ECHO);

    wire_feed_only(w, GET, strlen(GET));
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_sleep(w, 1000 * MS);
    wire_take(w, SIZE_MAX);
    ck_assert_uint_eq(w->e->deadline, w->now + 400 * MS);
    wire_free(w);
}
END_TEST

START_TEST(bytes_that_the_transport_holds_are_not_out)
{
    struct wire *w = opened(MODE_ECHO);
    size_t n;

    wire_feed_only(w, GET, strlen(GET));
    n = w->e->out.len;
    wire_hand_over(w);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_written(w, n - 1);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_written(w, 1);
    ck_assert_uint_eq(w->e->deadline, w->now + 400 * MS);
    wire_free(w);
}
END_TEST

START_TEST(a_byte_now_and_then_does_not_extend_the_body_timeout)
{
    struct wire *w = opened(MODE_ECHO);
    uint64_t begun = w->now;

    wire_text(w, POST "Content-Length: 500\r\n\r\n");
    while (!w->e->closing && w->now < begun + 10000 * MS) {
        wire_text(w, "x");
        wire_sleep(w, 10 * MS);
    }
    ck_assert_uint_eq(w->now, begun + 300 * MS);
    ck_assert_str_eq(wire_log(w), "head /p\nerror 408 the body took too long\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(the_body_timeout_of_each_request_is_its_own)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, POST "Content-Length: 5\r\n\r\n");
    wire_sleep(w, 200 * MS);
    wire_text(w, "hello" POST "Content-Length: 5\r\n\r\n");
    ck_assert_uint_eq(w->e->deadline, w->now + 300 * MS);
    wire_free(w);
}
END_TEST

START_TEST(the_body_timeout_runs_from_read_body)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, POST "Content-Length: 5\r\n\r\n");
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_sleep(w, 10000 * MS);
    w->x->ops->read_body(w->x, 5);
    wire_turn(w);
    ck_assert_uint_eq(w->e->deadline, w->now + 300 * MS);
    wire_text(w, "hello");
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_sleep(w, 10000 * MS);
    respond(w->x, 200, "", 0);
    wire_turn(w);
    wire_take(w, SIZE_MAX);
    ck_assert(w->mem.live == 1 && w->e->closing == ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_late_body_behind_a_begun_answer_resets)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, POST "Content-Length: 5\r\n\r\n");
    w->x->ops->read_body(w->x, 5);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    wire_turn(w);
    wire_sleep(w, 300 * MS);
    ck_assert_str_eq(wire_log(w), "head /p\nclose 0\n");
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    wire_free(w);
}
END_TEST

START_TEST(an_empty_line_alone_is_no_request)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, GET "\r\n");
    ck_assert(w->mem.live == 1 && w->e->closing == ENGINE_OPEN);
    wire_forget(w);
    wire_sleep(w, 400 * MS);
    ck_assert_str_eq(wire_got(w), "");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(a_timeout_of_zero_is_none)
{
    struct wire *w = wire_new(MODE_ECHO);

    w->limits.header_timeout = w->limits.keepalive_timeout = w->limits.body_timeout = 0;
    ck_assert(wire_open(w));
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_text(w, GET);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_text(w, POST "Content-Length: 5\r\n\r\n");
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h1 time");
    TCase *t = tcase_create("deadlines");

    suite_add_tcase(s, t);
    tcase_add_test(t, a_connection_that_sends_nothing_is_closed_without_a_word);
    tcase_add_test(t, the_header_timeout_of_the_first_request_runs_from_the_accept);
    tcase_add_test(t, a_timeout_before_the_deadline_does_nothing);
    tcase_add_test(t, a_byte_now_and_then_does_not_extend_the_header_timeout);
    tcase_add_test(t, the_header_timeout_of_a_later_request_runs_from_its_first_byte);
    tcase_add_test(t, an_idle_connection_is_closed_without_a_word);
    tcase_add_test(t, the_keep_alive_timeout_runs_from_when_the_answer_is_out);
    tcase_add_test(t, bytes_that_the_transport_holds_are_not_out);
    tcase_add_test(t, a_byte_now_and_then_does_not_extend_the_body_timeout);
    tcase_add_test(t, the_body_timeout_of_each_request_is_its_own);
    tcase_add_test(t, the_body_timeout_runs_from_read_body);
    tcase_add_test(t, a_late_body_behind_a_begun_answer_resets);
    tcase_add_test(t, an_empty_line_alone_is_no_request);
    tcase_add_test(t, a_timeout_of_zero_is_none);
    return run_suite(s);
}
