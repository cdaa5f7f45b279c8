/* The exact bytes of the HTTP/1.1 engine's responses, and how they go with the body of the request. */
#include "h1_wire.h"

#include <signal.h>

#define HOST "Host: a.example\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST /p HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* ---- responses ---- */

static struct wire *held(const char *request)
{
    struct wire *w = wire_new(MODE_HOLD);

    ck_assert(wire_open(w));
    wire_text(w, request);
    ck_assert_ptr_nonnull(w->x);
    return w;
}

static void finish(struct wire *w)
{
    wire_turn(w);
    wire_take(w, SIZE_MAX);
}

START_TEST(a_response_of_known_length_is_exact)
{
    struct wire *w = held(GET HOST "\r\n");
    struct http_header h[] = {{{"A", 1}, {"1", 1}}, {{"Set-Thing", 9}, {"", 0}}};

    strcpy(w->limits.date, "Sun, 06 Nov 1994 08:49:37 GMT");
    ck_assert_int_eq(w->x->ops->start(w->x, 200, h, 2, 5), 0);
    w->x->ops->write(w->x, "he", 2);
    w->x->ops->write(w->x, "llo", 3);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w),
                     "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: 1\r\n"
                     "Set-Thing: \r\nContent-Length: 5\r\n\r\nhello");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

static void stream(struct wire *w, int status)
{
    w->x->ops->start(w->x, status, NULL, 0, HTTP_LENGTH_UNKNOWN);
    w->x->ops->write(w->x, "0123456789abcdef!", 17);
    w->x->ops->write(w->x, "", 0);
    w->x->ops->write(w->x, "x", 1);
    w->x->ops->end(w->x);
    finish(w);
}

#define STREAMED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

START_TEST(a_response_of_unknown_length_is_chunked)
{
    struct wire *w = held(GET HOST "\r\n");

    stream(w, 200);
    ck_assert_str_eq(wire_got(w), STREAMED "11\r\n0123456789abcdef!\r\n1\r\nx\r\n0\r\n\r\n");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_response_of_unknown_length_to_1_0_is_held_until_it_has_one)
{
    struct wire *w = held("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

    ck_assert(!w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN));
    ck_assert(!w->x->ops->write(w->x, "0123456789abcdef", 16));
    wire_turn(w);
    wire_take(w, SIZE_MAX);
    ck_assert_str_eq(wire_got(w), "");
    ck_assert(!w->x->ops->write(w->x, "!x", 2));
    w->x->ops->end(w->x);
    wire_turn(w);
    wire_take(w, SIZE_MAX);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n"
                                  "Connection: keep-alive\r\n\r\n0123456789abcdef!x");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_response_to_1_0_that_is_too_large_to_be_held_is_none)
{
    static char data[65536];
    struct wire *w = held("GET / HTTP/1.0\r\n\r\n");

    ck_assert(!w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN));
    for (int i = 0; i < 16; i++)
        ck_assert(!w->x->ops->write(w->x, data, sizeof data));
    ck_assert(w->x->ops->write(w->x, data, 1) < 0);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "");
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    wire_free(w);
}
END_TEST

START_TEST(head_has_the_fields_of_get_and_no_body)
{
    struct wire *w = held("HEAD / HTTP/1.1\r\n" HOST "\r\n");

    stream(w, 200);
    ck_assert_str_eq(wire_got(w), STREAMED);
    wire_forget(w);
    wire_text(w, "HEAD / HTTP/1.1\r\n" HOST "\r\n");
    respond(w->x, 404, "nothing", 7);
    finish(w);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"
                                  "Content-Length: 7\r\n\r\n");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(responses_204_and_304_have_neither_body_nor_length)
{
    struct wire *w = held(GET HOST "\r\n");

    stream(w, 204);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 204 No Content\r\n\r\n");
    wire_forget(w);
    wire_text(w, GET HOST "\r\n");
    w->x->ops->start(w->x, 304, NULL, 0, 9);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 304 Not Modified\r\n\r\n");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_line_break_in_a_response_field_becomes_a_space)
{
    struct wire *w = held(GET HOST "\r\n");
    struct http_header h = {{"Location", 8}, {"/a\r\nSet-Cookie: x\0y", 19}};

    w->x->ops->start(w->x, 302, &h, 1, 0);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 302 Found\r\nLocation: /a  Set-Cookie: x y\r\n"
                                  "Content-Length: 0\r\n\r\n");
    wire_free(w);
}
END_TEST

START_TEST(an_unknown_status_has_an_empty_phrase)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->start(w->x, 299, NULL, 0, 0);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w), "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n");
    wire_free(w);
}
END_TEST

START_TEST(reset_cuts_a_chunked_body)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    w->x->ops->write(w->x, "part", 4);
    wire_take(w, SIZE_MAX);
    w->x->ops->reset(w->x);
    ck_assert_int_eq(w->x->ops->write(w->x, "more", 4), -1);
    w->x->ops->end(w->x);
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    finish(w);
    ck_assert_str_eq(wire_got(w), STREAMED "4\r\npart\r\n");
    ck_assert_str_eq(wire_log(w), "head /\nclose 0\n");
    wire_free(w);
}
END_TEST

START_TEST(close_after_closes)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->close_after(w->x);
    respond(w->x, 200, "", 0);
    finish(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "Connection: close\r\n"));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

/* ---- bodies and 100 Continue ---- */

#define EXPECTING POST "Expect: 100-Continue\r\n"
#define INTERIM "HTTP/1.1 100 Continue\r\n\r\n"

START_TEST(an_unread_body_closes)
{
    struct wire *w = wire_new(MODE_IGNORE);

    ck_assert(wire_open(w));
    wire_text(w, POST "Content-Length: 5\r\n\r\nhello" GET HOST "\r\n");
    ck_assert_ptr_nonnull(strstr(wire_got(w), "Connection: close\r\n"));
    ck_assert_str_eq(wire_log(w), "head /p\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(an_answer_before_the_body_is_whole_closes)
{
    struct wire *w = held(POST "Content-Length: 5\r\n\r\nhe");

    w->x->ops->read_body(w->x, 5);
    wire_turn(w);
    ck_assert_uint_eq(w->body.len, 2);
    respond(w->x, 200, "", 0);
    finish(w);
    ck_assert_str_eq(wire_log(w), "head /p\nclose 1\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(an_answer_may_begin_before_the_body_is_whole)
{
    struct wire *w = held(POST "Content-Length: 5\r\n\r\nhe");

    w->x->ops->read_body(w->x, 5);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    w->x->ops->write(w->x, "x", 1);
    wire_text(w, "llo");
    ck_assert_str_eq(wire_log(w), "head /p\nend\n");
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w), STREAMED "1\r\nx\r\n0\r\n\r\n");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_bad_body_behind_a_begun_answer_resets)
{
    struct wire *w = held(CHUNKED);

    w->x->ops->read_body(w->x, 5);
    w->x->ops->start(w->x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN);
    wire_text(w, "x");
    ck_assert_str_eq(wire_log(w), "head /p\nclose 0\n");
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    wire_free(w);
}
END_TEST

START_TEST(continue_is_sent_when_the_body_is_asked_for)
{
    static const char *const length[] = {"Content-Length: 5\r\n\r\n",
                                         "Transfer-Encoding: chunked\r\n\r\n"};
    static const char *const body[] = {"hello", "5\r\nhello\r\n0\r\n\r\n"};

    for (int i = 0; i < 2; i++) {
        char request[256];
        struct wire *w;

        snprintf(request, sizeof request, EXPECTING "%s", length[i]);
        w = held(request);
        ck_assert_str_eq(wire_got(w), "");
        w->x->ops->read_body(w->x, 5);
        finish(w);
        ck_assert_str_eq(wire_got(w), INTERIM);
        w->mode = MODE_ECHO;
        wire_text(w, body[i]);
        ck_assert_str_eq(strstr(wire_got(w) + 25, "\r\n\r\n"), "\r\n\r\nPOST /p @a.example hello");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        wire_free(w);
    }
}
END_TEST

START_TEST(continue_is_not_sent_when_nobody_waits_for_it)
{
    static const char *const requests[] = {
        EXPECTING "Content-Length: 5\r\n\r\nh",
        EXPECTING "\r\n",
        "POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        EXPECTING "Content-Length: 6\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct wire *w = wire_new(MODE_ECHO);

        ck_assert(wire_open(w));
        w->body_limit = 5;
        wire_text(w, requests[i]);
        ck_assert_ptr_null(strstr(wire_got(w), "100"));
        wire_free(w);
    }
}
END_TEST

START_TEST(continue_is_not_sent_behind_an_answer)
{
    struct wire *w = held(EXPECTING "Content-Length: 5\r\n\r\n");

    w->x->ops->start(w->x, 401, NULL, 0, 0);
    w->x->ops->read_body(w->x, 5);
    wire_turn(w);
    w->x->ops->end(w->x);
    finish(w);
    ck_assert_str_eq(wire_got(w),
                     "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(an_expectation_ends_with_its_request)
{
    struct wire *w = held(EXPECTING "\r\n");

    respond(w->x, 200, "", 0);
    finish(w);
    wire_forget(w);
    wire_text(w, POST "Content-Length: 5\r\n\r\n");
    w->x->ops->read_body(w->x, 5);
    finish(w);
    ck_assert_str_eq(wire_got(w), "");
    wire_free(w);
}
END_TEST

START_TEST(a_request_without_a_body_ends_its_body_too)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->read_body(w->x, 0);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /\nend\n");
    respond(w->x, 200, "", 0);
    finish(w);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(the_application_sees_the_request)
{
    struct wire *w = held(POST "AuThorization:  Bearer  x \r\nEmpty:\r\nContent-Length: 3\r\n\r\n");
    const struct http_request *r = &w->x->req;

    ck_assert_uint_eq(r->header_count, 4);
    ck_assert_uint_eq(r->content_length, 3);
    ck_assert(r->has_body && !r->chunked && r->minor == 1);
    ck_assert_int_eq(memcmp(r->method.p, "POST", r->method.n), 0);
    ck_assert_ptr_null(http_find(r, "x", 1));
    ck_assert_uint_eq(http_find(r, "empty", 5)->value.n, 0);
    ck_assert_uint_eq(http_find(r, "authorization", 13)->value.n, 9);
    ck_assert_int_eq(memcmp(http_find(r, "authorization", 13)->value.p, "Bearer  x", 9), 0);
    wire_free(w);
}
END_TEST

/* ---- the application's mistakes ---- */

#ifndef NDEBUG
START_TEST(writing_more_than_declared_is_a_mistake)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->start(w->x, 200, NULL, 0, 1);
    w->x->ops->write(w->x, "ab", 2);
}
END_TEST

START_TEST(writing_less_than_declared_is_a_mistake)
{
    struct wire *w = held(GET HOST "\r\n");

    w->x->ops->start(w->x, 200, NULL, 0, 1);
    w->x->ops->end(w->x);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("h1 responses");
    TCase *t = tcase_create("responses");

    suite_add_tcase(s, t);
    tcase_add_test(t, a_response_of_known_length_is_exact);
    tcase_add_test(t, a_response_of_unknown_length_is_chunked);
    tcase_add_test(t, a_response_of_unknown_length_to_1_0_is_held_until_it_has_one);
    tcase_add_test(t, a_response_to_1_0_that_is_too_large_to_be_held_is_none);
    tcase_add_test(t, head_has_the_fields_of_get_and_no_body);
    tcase_add_test(t, responses_204_and_304_have_neither_body_nor_length);
    tcase_add_test(t, a_line_break_in_a_response_field_becomes_a_space);
    tcase_add_test(t, an_unknown_status_has_an_empty_phrase);
    tcase_add_test(t, reset_cuts_a_chunked_body);
    tcase_add_test(t, close_after_closes);
    tcase_add_test(t, an_unread_body_closes);
    tcase_add_test(t, an_answer_before_the_body_is_whole_closes);
    tcase_add_test(t, an_answer_may_begin_before_the_body_is_whole);
    tcase_add_test(t, a_bad_body_behind_a_begun_answer_resets);
    tcase_add_test(t, continue_is_sent_when_the_body_is_asked_for);
    tcase_add_test(t, continue_is_not_sent_when_nobody_waits_for_it);
    tcase_add_test(t, continue_is_not_sent_behind_an_answer);
    tcase_add_test(t, an_expectation_ends_with_its_request);
    tcase_add_test(t, a_request_without_a_body_ends_its_body_too);
    tcase_add_test(t, the_application_sees_the_request);
#ifndef NDEBUG
    tcase_add_test_raise_signal(t, writing_more_than_declared_is_a_mistake, SIGABRT);
    tcase_add_test_raise_signal(t, writing_less_than_declared_is_a_mistake, SIGABRT);
#endif
    return run_suite(s);
}
