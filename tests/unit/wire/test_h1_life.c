/* The life of an HTTP/1.1 connection: pipelining, backpressure, draining, its ends, its memory. */
#include "h1_wire.h"

#define HOST "Host: a.example\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST "\r\n"
#define POST "POST /p HTTP/1.1\r\n" HOST
#define SMALL POST "Content-Length: 5\r\n\r\nhello"
#define STRUCT_MAX 600

static struct wire *opened(enum mode mode)
{
    struct wire *w = wire_new(mode);

    ck_assert(wire_open(w));
    return w;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void finish(struct wire *w)
{
    wire_turn(w);
    wire_take(w, SIZE_MAX);
}

static bool is_idle(struct wire *w)
{
    return w->mem.live == 1 && w->bytes <= STRUCT_MAX && w->e->closing == ENGINE_OPEN;
}

/* Feeds n numbered requests at once, without taking the output. */
static void feed_many(struct wire *w, int n, const char *rest)
{
    struct buf b;

    buf_init(&b, &w->own);
    for (int i = 0; i < n; i++)
        buf_printf(&b, "POST /%d HTTP/1.1\r\n" HOST "%s", i, rest);
    wire_feed_only(w, buf_at(&b), b.len);
    buf_fini(&b);
}

static void check_order(const char *got, int n)
{
    for (int i = 0; i < n; i++) {
        char line[32];

        snprintf(line, sizeof line, "\r\n\r\nPOST /%d ", i);
        got = strstr(got, line);
        ck_assert_msg(got != NULL, "no answer %d", i);
    }
}

/* ---- pipelining ---- */

START_TEST(pipelined_requests_are_answered_in_order_and_at_once)
{
    for (int mode = MODE_ECHO; mode <= MODE_LATER; mode++) {
        struct wire *w = opened((enum mode)mode);

        feed_many(w, 64, "Content-Length: 5\r\n\r\nhello");
        ck_assert_int_eq(w->closed, 64);
        buf_append(&w->e->out, "", 1);
        ck_assert_int_eq(count(buf_at(&w->e->out), "HTTP/1.1 200 OK\r\n"), 64);
        check_order(buf_at(&w->e->out), 64);
        wire_take(w, SIZE_MAX);
        ck_assert(is_idle(w));
        wire_free(w);
    }
}
END_TEST

START_TEST(pipelined_requests_need_few_allocations)
{
    for (int mode = MODE_ECHO; mode <= MODE_LATER; mode++) {
        struct wire *w = opened((enum mode)mode);
        long before = w->allocations;

        feed_many(w, 64, "Content-Length: 5\r\n\r\nhello");
        wire_take(w, SIZE_MAX);
        ck_assert_int_le(w->allocations - before, 12);
        wire_free(w);
    }
}
END_TEST

START_TEST(requests_run_strictly_one_after_the_other)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, "GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_str_eq(wire_log(w), "head /1\n");
    wire_text(w, GET);
    ck_assert_str_eq(wire_log(w), "head /1\n");
    respond(w->x, 200, "", 0);
    ck_assert_str_eq(wire_log(w), "head /1\n"); /* not from inside end() */
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /1\nclose 1\nhead /2\n");
    respond(w->x, 200, "", 0);
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /1\nclose 1\nhead /2\nclose 1\nhead /\n");
    wire_free(w);
}
END_TEST

START_TEST(a_body_waits_until_it_is_asked_for)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, SMALL);
    ck_assert_str_eq(wire_log(w), "head /p\n");
    w->x->ops->read_body(w->x, 5);
    ck_assert_str_eq(wire_log(w), "head /p\n");
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /p\nend\n");
    ck_assert_uint_eq(w->body.len, 5);
    wire_free(w);
}
END_TEST

START_TEST(reading_stops_when_some_kilobytes_are_kept)
{
    struct wire *w = opened(MODE_HOLD);
    char junk[1000];
    size_t fed = 0;

    memset(junk, 'j', sizeof junk);
    wire_text(w, POST "Content-Length: 90000\r\n\r\n");
    for (; w->e->reading && fed < 1000000; fed += sizeof junk)
        wire_feed(w, junk, sizeof junk);
    ck_assert_uint_eq(fed, 5 * sizeof junk);
    w->x->ops->read_body(w->x, 90000);
    wire_turn(w);
    ck_assert(w->e->reading);
    ck_assert_uint_eq(w->body.len, fed);
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_reads_nothing_gets_no_further_requests_run)
{
    struct wire *w = opened(MODE_ECHO);

    w->limits.write_high = 1000;
    feed_many(w, 64, "\r\n");
    ck_assert_int_gt(w->closed, 2);
    ck_assert_int_lt(w->closed, 20);
    ck_assert_uint_lt(w->e->out.len, 1200);
    ck_assert_uint_eq(w->e->deadline, 0);
    while (w->e->out.len)
        wire_take(w, 100);
    ck_assert_int_eq(w->closed, 64);
    check_order(wire_got(w), 64);
    ck_assert(is_idle(w));
    wire_free(w);
}
END_TEST

START_TEST(bytes_behind_the_last_request_are_ignored)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, "GET / HTTP/1.1\r\nConnection: close\r\n" HOST "\r\n" GET);
    wire_text(w, GET);
    ck_assert_str_eq(wire_log(w), "head /\nend\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert(w->e->reading);
    wire_free(w);
}
END_TEST

START_TEST(good_answers_go_out_before_that_to_a_bad_request)
{
    struct wire *w = opened(MODE_LATER);

    wire_text(w, GET SMALL "GET / HTTP/1.1\r\n\r\n" GET);
    ck_assert_str_eq(wire_log(w),
                     "head /\nend\nclose 1\nhead /p\nend\nclose 1\nerror 400 no Host\nclose 1\n");
    ck_assert_int_eq(count(wire_got(w), "HTTP/1.1 200 OK"), 2);
    ck_assert_int_eq(count(wire_got(w), "HTTP/1.1 400 Bad Request"), 1);
    wire_free(w);
}
END_TEST

/* ---- memory ---- */

START_TEST(an_idle_connection_holds_only_its_struct)
{
    struct wire *w = opened(MODE_LATER);

    ck_assert(is_idle(w));
    for (int i = 0; i < 3; i++) {
        wire_text(w, SMALL);
        ck_assert(is_idle(w));
        wire_text(w, POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\r\n");
        ck_assert(is_idle(w));
    }
    wire_free(w);
}
END_TEST

/* Everything once, with one allocation failing, or it and all behind it. */
static bool scenario(long fail_at, bool fail_on)
{
    struct wire *w = wire_new(MODE_LATER);
    bool failed;

    w->fail_at = fail_at;
    w->fail_on = fail_on;
    if (wire_open(w)) {
        wire_text(w, GET SMALL GET);
        wire_text(w, POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
        wire_text(w, "lo\r\n0\r\n\r\nGET /a-longer-path HT");
        wire_text(w, "TP/1.1\r\n" HOST "Long: ");
        for (int i = 0; i < 30; i++)
            wire_text(w, "0123456789012345678901234567890123456789\r\nX: ");
        wire_text(w, "\r\n\r\n");
        w->mode = MODE_HOLD;
        wire_text(w, POST "Expect: 100-continue\r\nContent-Length: 10000\r\n\r\n");
        if (w->x) {
            w->x->ops->read_body(w->x, 100000);
            wire_turn(w);
        }
        if (w->x && w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN) == 0) {
            for (int i = 0; i < 100 && w->x->ops->write(w->x, wire_got(w), 100) == 0; i++)
                ;
            w->x->ops->end(w->x);
        }
        wire_turn(w);
    }
    failed = w->allocations >= w->fail_at;
    if (failed && w->e) {
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
        ck_assert_uint_eq(w->e->deadline, 0);
        ck_assert_ptr_null(w->x);
    }
    wire_free(w);
    return failed;
}

START_TEST(an_allocation_that_fails_resets_the_connection)
{
    long n = 1;

    while (scenario(n, false) + scenario(n, true))
        n++;
    ck_assert_int_gt(n, 12);
    ck_assert_int_lt(n, 200);
}
END_TEST

/* ---- backpressure ---- */

START_TEST(writable_comes_once_for_each_time_the_output_was_full)
{
    struct wire *w = opened(MODE_HOLD);
    char data[1000];

    memset(data, 'd', sizeof data);
    w->limits.write_high = 10000;
    wire_text(w, GET);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    for (int round = 1; round <= 3; round++) {
        while (w->x->ops->queued(w->x) <= 10000)
            w->x->ops->write(w->x, data, sizeof data);
        ck_assert_uint_eq(w->x->ops->queued(w->x), w->e->out.len);
        wire_turn(w);
        wire_take(w, w->e->out.len - 5001);
        ck_assert_int_eq(w->writable, round - 1);
        wire_take(w, 1);
        ck_assert_int_eq(w->writable, round);
        wire_take(w, 1);
        wire_take(w, SIZE_MAX);
        ck_assert_int_eq(w->writable, round);
    }
    w->x->ops->write(w->x, data, sizeof data);
    finish(w);
    ck_assert_int_eq(w->writable, 3);
    wire_free(w);
}
END_TEST

START_TEST(bytes_that_the_transport_holds_are_queued)
{
    struct wire *w = opened(MODE_HOLD);

    w->limits.write_high = 10;
    wire_text(w, GET GET);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    wire_turn(w);
    wire_hand_over(w);
    ck_assert_uint_eq(w->x->ops->queued(w->x), w->e->inflight);
    wire_written(w, w->e->inflight - 6);
    ck_assert_int_eq(w->writable, 0);
    wire_written(w, 1);
    ck_assert_int_eq(w->writable, 1);
    w->x->ops->write(w->x, "0123456789", 10);
    w->x->ops->end(w->x);
    wire_turn(w);
    wire_hand_over(w);
    ck_assert_int_eq(w->opened, 1); /* the next request waits for the wire */
    wire_written(w, w->e->inflight);
    ck_assert_int_eq(w->opened, 2);
    wire_free(w);
}
END_TEST

START_TEST(writable_does_not_come_behind_the_end)
{
    struct wire *w = opened(MODE_HOLD);

    w->limits.write_high = 10;
    wire_text(w, GET);
    respond(w->x, 200, "0123456789", 10);
    wire_take(w, SIZE_MAX);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\n");
    wire_free(w);
}
END_TEST

START_TEST(writable_is_not_for_the_next_exchange)
{
    struct wire *w = opened(MODE_HOLD);

    w->limits.write_high = 1000;
    wire_text(w, GET GET);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    for (int i = 0; i < 100; i++)
        w->x->ops->write(w->x, "0123456789", 10);
    w->x->ops->end(w->x);
    finish(w);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\nhead /\n");
    wire_free(w);
}
END_TEST

/* ---- ends ---- */

START_TEST(eof_of_an_idle_connection_closes_it)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, GET "GE");
    wire_forget(w);
    w->e->ops->eof(w->e, w->now);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(wire_log(w), "");
    wire_free(w);
}
END_TEST

START_TEST(empty_lines_behind_a_body_are_no_request)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, SMALL "\r\n\r\n\r\n");
    w->e->ops->eof(w->e, w->now);
    finish(w);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(wire_log(w), "head /p\nend\nclose 1\n");
    ck_assert_int_eq(count(wire_got(w), "HTTP/1.1"), 1);
    wire_free(w);
}
END_TEST

START_TEST(eof_leaves_what_runs_and_what_waits_its_answers)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, SMALL GET GET "GE");
    w->x->ops->read_body(w->x, 100);
    finish(w);
    w->e->ops->eof(w->e, w->now);
    ck_assert_str_eq(wire_log(w), "head /p\nend\n");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        respond(w->x, 200, "x", 1);
        finish(w);
    }
    ck_assert_str_eq(wire_log(w), "head /p\nend\nclose 1\nhead /\nclose 1\nhead /\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_eq(count(wire_got(w), "\r\n\r\nx"), 3);
    wire_free(w);
}
END_TEST

START_TEST(eof_in_a_body_cancels)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, POST "Content-Length: 5\r\n\r\nhell");
    w->e->ops->eof(w->e, w->now);
    ck_assert_str_eq(wire_log(w), "head /p\nclose 0\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_text(w, "o" GET);
    ck_assert_str_eq(wire_log(w), "head /p\nclose 0\n");
    wire_free(w);
}
END_TEST

START_TEST(who_waits_behind_its_eof_is_asked_for_once)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET);
    w->e->ops->eof(w->e, w->now);
    ck_assert_uint_eq(w->e->deadline, w->now + 5000 * MS);
    w->now = w->e->deadline;
    w->e->ops->timeout(w->e, w->now);
    ck_assert_uint_eq(w->e->deadline, 0);
    respond(w->x, 200, "x", 1);
    finish(w);
    ck_assert_int_eq(count(wire_got(w), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), 1);
    wire_free(w);
}
END_TEST

/* Also when more than what runs had been asked for. */
START_TEST(an_eof_behind_a_request_that_waits_is_seen)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET GET);
    ck_assert(w->e->reading);
    w->e->ops->eof(w->e, w->now);
    ck_assert_uint_eq(w->e->deadline, w->now + 5000 * MS);
    respond(w->x, 200, "x", 1);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\nhead /\n");
    respond(w->x, 200, "y", 1);
    finish(w);
    ck_assert_int_eq(count(wire_got(w), "HTTP/1.1 200 OK\r\n"), 2);
    wire_free(w);
}
END_TEST

START_TEST(version_1_0_has_no_answers_before_the_answer)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, "GET / HTTP/1.0\r\n\r\n");
    w->e->ops->eof(w->e, w->now);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_free(w);
}
END_TEST

START_TEST(eof_behind_a_whole_answer_lets_it_out)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET);
    respond(w->x, 200, "x", 1);
    w->e->ops->eof(w->e, w->now);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    finish(w);
    ck_assert_int_eq(count(wire_got(w), "\r\n\r\nx"), 1);
    wire_free(w);
}
END_TEST

START_TEST(eof_in_the_middle_of_an_answer_is_told)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET);
    w->x->ops->start(w->x, 200, NULL, 0, 5);
    w->e->ops->eof(w->e, w->now);
    ck_assert_str_eq(wire_log(w), "head /\nhalf closed\n");
    w->x->ops->write(w->x, "hello", 5);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_int_eq(count(wire_got(w), "\r\n\r\nhello"), 1);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(fini_closes_an_open_exchange_once)
{
    static const char *const inputs[] = {"", "GE", GET, SMALL, POST "Content-Length: 5\r\n\r\nhe"};

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct wire *w = opened(MODE_HOLD);

        wire_text(w, inputs[i]);
        if (w->x)
            w->x->ops->start(w->x, 200, NULL, 0, 5);
        w->woken = false;
        w->e->ops->fini(w->e);
        w->e = NULL;
        ck_assert_int_eq(w->closed, i < 2 ? 0 : 1);
        ck_assert(w->finished && !w->woken);
        wire_free(w);
    }
}
END_TEST

START_TEST(an_operation_wakes_the_transport_once)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET);
    ck_assert(!w->woken);
    w->x->ops->start(w->x, 200, NULL, 0, 2);
    ck_assert(w->woken);
    w->woken = false;
    w->x->ops->write(w->x, "xx", 2);
    w->x->ops->end(w->x);
    ck_assert(!w->woken);
    w->woken = true;
    finish(w);
    ck_assert_int_eq(w->closed, 1);
    w->mode = MODE_ECHO;
    w->e->ops->feed(w->e, GET, strlen(GET), w->now);
    ck_assert_int_eq(w->opened, 2);
    ck_assert(!w->woken); /* the transport looks at the engine anyway */
    wire_free(w);
}
END_TEST

/* ---- draining ---- */

START_TEST(drain_closes_an_idle_connection)
{
    static const char *const inputs[] = {"", GET, "\r\n"};

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct wire *w = opened(MODE_ECHO);

        wire_text(w, inputs[i]);
        w->e->ops->drain(w->e, w->now);
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        wire_free(w);
    }
}
END_TEST

START_TEST(drain_lets_the_running_request_finish_and_starts_no_other)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET GET);
    w->e->ops->drain(w->e, w->now);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    respond(w->x, 200, "x", 1);
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\n");
    ck_assert_int_eq(count(wire_got(w), "Connection: close\r\n"), 1);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(drain_in_the_middle_of_an_answer_closes_behind_it)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, GET);
    w->x->ops->start(w->x, 200, NULL, 0, 1);
    w->e->ops->drain(w->e, w->now);
    w->x->ops->write(w->x, "x", 1);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(drain_serves_a_request_that_has_begun_to_arrive)
{
    struct wire *w = opened(MODE_ECHO);

    wire_text(w, "GET / HT");
    w->e->ops->drain(w->e, w->now);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_text(w, "TP/1.1\r\n" HOST "\r\n" GET);
    ck_assert_str_eq(wire_log(w), "head /\nend\nclose 1\n");
    ck_assert_int_eq(count(wire_got(w), "Connection: close\r\n"), 1);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h1 life");
    TCase *t = tcase_create("life");

    suite_add_tcase(s, t);
    tcase_add_test(t, pipelined_requests_are_answered_in_order_and_at_once);
    tcase_add_test(t, pipelined_requests_need_few_allocations);
    tcase_add_test(t, requests_run_strictly_one_after_the_other);
    tcase_add_test(t, a_body_waits_until_it_is_asked_for);
    tcase_add_test(t, reading_stops_when_some_kilobytes_are_kept);
    tcase_add_test(t, a_client_that_reads_nothing_gets_no_further_requests_run);
    tcase_add_test(t, bytes_behind_the_last_request_are_ignored);
    tcase_add_test(t, good_answers_go_out_before_that_to_a_bad_request);
    tcase_add_test(t, an_idle_connection_holds_only_its_struct);
    tcase_add_test(t, an_allocation_that_fails_resets_the_connection);
    tcase_add_test(t, writable_comes_once_for_each_time_the_output_was_full);
    tcase_add_test(t, bytes_that_the_transport_holds_are_queued);
    tcase_add_test(t, writable_does_not_come_behind_the_end);
    tcase_add_test(t, writable_is_not_for_the_next_exchange);
    tcase_add_test(t, eof_of_an_idle_connection_closes_it);
    tcase_add_test(t, empty_lines_behind_a_body_are_no_request);
    tcase_add_test(t, eof_leaves_what_runs_and_what_waits_its_answers);
    tcase_add_test(t, eof_in_a_body_cancels);
    tcase_add_test(t, who_waits_behind_its_eof_is_asked_for_once);
    tcase_add_test(t, an_eof_behind_a_request_that_waits_is_seen);
    tcase_add_test(t, version_1_0_has_no_answers_before_the_answer);
    tcase_add_test(t, eof_behind_a_whole_answer_lets_it_out);
    tcase_add_test(t, eof_in_the_middle_of_an_answer_is_told);
    tcase_add_test(t, fini_closes_an_open_exchange_once);
    tcase_add_test(t, an_operation_wakes_the_transport_once);
    tcase_add_test(t, drain_closes_an_idle_connection);
    tcase_add_test(t, drain_lets_the_running_request_finish_and_starts_no_other);
    tcase_add_test(t, drain_in_the_middle_of_an_answer_closes_behind_it);
    tcase_add_test(t, drain_serves_a_request_that_has_begun_to_arrive);
    return run_suite(s);
}
