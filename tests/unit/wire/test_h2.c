/* Requests of HTTP/2: what is taken, what is refused, how bodies come, however the bytes are cut. */
#include "unit/wire/h2_wire.h"

#define GET(path) REQUEST("GET", path)
#define POST(path) REQUEST("POST", path)
#define EXTRA "HEADERS 1 :status=200 x-type=t content-length=%zu\nDATA 1 %s END\n"

static void expect_answer(struct wire *w, const char *text)
{
    struct buf b;

    buf_init(&b, &w->own);
    buf_printf(&b, EXTRA, strlen(text), text);
    ck_assert_str_eq(wire_got(w), text_of(&b));
    buf_fini(&b);
}

START_TEST(settings_are_announced)
{
    struct wire *w = wire_new();

    ck_assert(wire_start(w));
    wire_feed(w, PREFACE, PREFACE_LEN);
    ck_assert_str_eq(wire_got(w), "SETTINGS\nSETTINGS ACK\nWINDOW 0 983041\n");
    wire_free(w);
}
END_TEST

START_TEST(a_request_is_answered_however_it_is_cut)
{
    static const size_t cuts[] = {0, 1, 2, 7, 30};
    struct wire *w = wire_new();

    w->cut = cuts[_i];
    wire_connect(w);
    say_headers(w, 1, END_STREAM, GET("/p?q=1"));
    expect_answer(w, "GET /p q=1 @a.example ");
    ck_assert_str_eq(wire_log(w), "head /p\nend /p\nclose /p 1\n");
    wire_forget(w);
    say_headers(w, 3, 0, POST("/p") "content-length 5\n");
    say_data(w, 3, 0, "he");
    say_data(w, 3, END_STREAM, "llo");
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 POST /p  @a.example hello END\n"));
    ck_assert_str_eq(wire_log(w), "head /p\nend /p\nclose /p 1\n");
    wire_free(w);
}
END_TEST

START_TEST(a_request_has_what_the_application_needs)
{
    struct wire *w = opened();
    const struct http_request *r;

    say_headers(w, 1, 0, POST("/hold?x") "content-length 12\naccept a\n");
    r = &w->x[0]->req;
    ck_assert(str_is(r->method, "POST") && str_is(r->path, "/hold") && str_is(r->query, "x"));
    ck_assert(str_is(r->host, "a.example") && r->minor == 2 && !r->protocol.p);
    ck_assert(r->has_body && !r->chunked && r->content_length == 12);
    ck_assert_uint_eq(r->header_count, 2);
    ck_assert(str_is(http_find(r, "accept", 6)->value, "a"));
    say_headers(w, 3, 0, POST("/hold"));
    ck_assert(w->x[1]->req.has_body && w->x[1]->req.chunked);
    say_headers(w, 5, END_STREAM, POST("/hold"));
    ck_assert(!w->x[2]->req.has_body && !w->x[2]->req.chunked);
    wire_free(w);
}
END_TEST

/* Both forms of naming the host, and both at once. */
START_TEST(the_host_is_authority_or_host)
{
    static const char *const fields[] = {":authority b:80\n", "host b:80\n",
                                         ":authority b:80\nhost b:80\n"};
    struct wire *w = opened();
    struct buf b;

    buf_init(&b, &w->own);
    buf_printf(&b, ":method GET\n:scheme http\n:path /p\n%s", fields[_i]);
    say_headers(w, 1, END_STREAM, text_of(&b));
    expect_answer(w, "GET /p  @b:80 ");
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* What the application is told, or that nghttp2 has reset the stream. */
static const struct {
    const char *fields, *log, *got;
} wrong[] = {
    {":method GET\n:scheme http\n:path /\n:authority a\nhost b\n",
     "error 400 :authority and Host differ\n", ":status=400"},
    {":method GET\n:scheme http\n:path /\n:authority u@a\n",
     "error 400 malformed :authority or Host\n", ":status=400"},
    {":method GET\n:scheme http\n:path /\n:authority a:99999\n",
     "error 400 malformed :authority or Host\n", ":status=400"},
    {":method GET\n:scheme http\n:path /\nhost a b\n", "", "RST 1 1\n"},
    {":method GET\n:scheme ftp\n:path /\n:authority a\n", "error 400 scheme not supported\n",
     ":status=400"},
    {":method GET\n:scheme http\n:path /a#b\n:authority a\n", "error 400", ":status=400"},
    {":method GET\n:scheme http\n:path *\n:authority a\n", "", "RST 1 1\n"},
    {":method GET\n:scheme http\n:path a\n:authority a\n", "", "RST 1 1\n"},
    {":method GET\n:scheme http\n:path \n:authority a\n", "", "RST 1 1\n"},
    {":method GET\n:scheme http\n:path /a b\n:authority a\n", "", "RST 1 1\n"},
    {":method CONNECT\n:authority a:1\n", "error 501", ":status=501"},
    {":method PRI\n:scheme http\n:path /\n:authority a\n", "error 501", ":status=501"},
    {":method G T\n:scheme http\n:path /\n:authority a\n", "", "RST 1 1\n"},
    {":method GET\n:scheme http\n:path /\n", "", "RST 1 1\n"},
    {":method GET\n:path /\n:authority a\n", "", "RST 1 1\n"},
    {":method GET\n:scheme http\n:authority a\n", "", "RST 1 1\n"},
    {":scheme http\n:path /\n:authority a\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") ":authority a\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "host a.example\nhost a.example\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "x y\n:late z\n", "", "RST 1 1\n"},
    {":other a\n" REQUEST("GET", "/"), "", "RST 1 1\n"},
    {REQUEST("GET", "/") "Upper y\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "connection close\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "keep-alive 1\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "upgrade h2c\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "proxy-connection close\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "transfer-encoding chunked\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "te gzip\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "content-length 5\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "content-length x\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "content-length 0\ncontent-length 0\n", "", "RST 1 1\n"},
    {REQUEST("GET", "/") "x a\rb\n", "error 400 malformed header field\n", ":status=400"},
    {REQUEST("GET", "/") "x  a\n", "error 400 malformed header field\n", ":status=400"},
    {REQUEST("GET", "/") "x:y a\n", "error 400 malformed header field\n", ":status=400"},
    {REQUEST("GET", "/") "expect 200-ok\n", "error 417", ":status=417"},
    {REQUEST("GET", "/") ":protocol websocket\n", "", "RST 1 1\n"},
};

START_TEST(a_wrong_head_is_refused_and_the_connection_goes_on)
{
    for (size_t cut = 0; cut < 2; cut++) {
        struct wire *w = wire_new();

        w->cut = cut;
        wire_connect(w);
        say_headers(w, 1, END_STREAM, wrong[_i].fields);
        ck_assert_msg(strstr(wire_got(w), wrong[_i].got), "%s", wire_got(w));
        ck_assert_msg(!strncmp(wire_log(w), wrong[_i].log, strlen(wrong[_i].log)), "%s",
                      wire_log(w));
        ck_assert_int_eq(w->opened, *wrong[_i].log != 0);
        wire_forget(w);
        say_headers(w, 3, END_STREAM, GET("/p"));
        ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 GET /p  @a.example  END\n"));
        wire_free(w);
    }
}
END_TEST

START_TEST(what_is_allowed_is_not_refused)
{
    static const char *const fields[] = {
        ":method OPTIONS\n:scheme http\n:path *\n:authority a\n",
        REQUEST("GET", "/") "te trailers\n",
        REQUEST("GET", "/") "content-length 0\n",
        REQUEST("GET", "/") "priority u=1, i\n",
        REQUEST("PROPFIND", "/"),
        ":method GET\n:scheme https\n:path /\n:authority [::1]:8080\n",
        REQUEST("GET", "/") "x \n",
    };
    struct wire *w = opened();

    say_headers(w, 1, END_STREAM, fields[_i]);
    ck_assert_ptr_nonnull(strstr(wire_got(w), ":status=200"));
    wire_free(w);
}
END_TEST

START_TEST(cookie_crumbs_are_one_field)
{
    struct wire *w = opened();
    const struct http_request *r;

    say_headers(w, 1, END_STREAM,
                REQUEST("GET", "/hold") "a 1\ncookie b=1\nc 2\ncookie d=2\ncookie e=3\nf 4\n");
    r = &w->x[0]->req;
    ck_assert_uint_eq(r->header_count, 4);
    ck_assert(str_is(r->headers[1].name, "cookie"));
    ck_assert(str_is(r->headers[1].value, "b=1; d=2; e=3"));
    ck_assert(str_is(r->headers[3].name, "f") && str_is(r->headers[3].value, "4"));
    wire_free(w);
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------------ */

START_TEST(a_target_has_its_limit)
{
    struct wire *w = opened();
    struct buf b;

    for (size_t n = 255; n <= 256; n++) {
        buf_init(&b, &w->own);
        buf_printf(&b, ":method GET\n:scheme http\n:authority a\n:path /%0*d\n", (int)n, 1);
        say_headers(w, n == 255 ? 1 : 3, END_STREAM, text_of(&b));
        ck_assert_ptr_nonnull(strstr(wire_got(w), n == 255 ? ":status=200" : ":status=414"));
        wire_forget(w);
        buf_fini(&b);
    }
    wire_free(w);
}
END_TEST

START_TEST(fields_have_a_number)
{
    struct wire *w = opened();
    struct buf b;

    for (int n = 40; n <= 41; n++) {
        buf_init(&b, &w->own);
        buf_puts(&b, REQUEST("GET", "/hold"));
        for (int i = 0; i < n; i++)
            buf_printf(&b, "x%d v\n", i);
        say_headers(w, n == 40 ? 1 : 3, END_STREAM, text_of(&b));
        if (n == 40)
            ck_assert_uint_eq(w->x[0]->req.header_count, 40);
        else
            ck_assert_ptr_nonnull(strstr(wire_log(w), "error 431 too many header fields\n"));
        buf_fini(&b);
    }
    wire_free(w);
}
END_TEST

START_TEST(fields_have_a_size)
{
    struct wire *w = opened();
    struct buf b;

    for (int n = 3000; n <= 4100; n += 1100) {
        buf_init(&b, &w->own);
        buf_printf(&b, REQUEST("GET", "/hold") "x %0*d\n", n, 1);
        say_headers(w, n == 3000 ? 1 : 3, END_STREAM, text_of(&b));
        ck_assert_int_eq(strstr(wire_log(w), "error 431 header too long\n") != NULL, n != 3000);
        buf_fini(&b);
    }
    wire_free(w);
}
END_TEST

/* In pieces of CONTINUATION. */
START_TEST(a_header_block_may_come_in_pieces)
{
    struct wire *w = opened();
    struct buf block, b;

    buf_init(&block, &w->own);
    buf_init(&b, &w->own);
    put_fields(&block, GET("/p"));
    put_frame(&b, HEADERS, END_STREAM, 1, buf_at(&block), 5);
    put_frame(&b, CONTINUATION, 0, 1, buf_at(&block) + 5, 20);
    put_frame(&b, CONTINUATION, END_HEADERS, 1, buf_at(&block) + 25, block.len - 25);
    wire_feed_buf(w, &b);
    expect_answer(w, "GET /p  @a.example ");
    buf_fini(&block);
    wire_free(w);
}
END_TEST

/* ---- bodies ------------------------------------------------------------------------------------ */

START_TEST(a_body_that_does_not_match_its_length_is_a_reset)
{
    static const char *const bodies[] = {"hell", "hello!"};
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/p") "content-length 5\n");
    say_data(w, 1, END_STREAM, bodies[_i]);
    ck_assert_str_eq(wire_got(w), "RST 1 1\n");
    ck_assert_str_eq(wire_log(w), "head /p\nclose /p 0\n");
    wire_free(w);
}
END_TEST

START_TEST(a_body_above_the_limit_is_413)
{
    struct wire *w = opened();

    w->body_limit = 4;
    say_headers(w, 1, 0, POST("/p") "content-length 5\n");
    ck_assert_str_eq(wire_log(w), "head /p\nerror 413 body too large\nclose /p 1\n");
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 body too large END\n"));
    wire_forget(w);
    say_headers(w, 3, 0, POST("/p"));
    say_data(w, 3, 0, "hell");
    say_data(w, 3, 0, "o");
    ck_assert_str_eq(wire_log(w), "head /p\nerror 413 body too large\nclose /p 1\n");
    wire_free(w);
}
END_TEST

START_TEST(a_body_that_nobody_reads_waits_and_is_then_read)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/hold"));
    say_data(w, 1, 0, "abc");
    say_data(w, 1, END_STREAM, "de");
    ck_assert_str_eq(wire_log(w), "head /hold\n");
    w->x[0]->ops->read_body(w->x[0], 5);
    ck_assert(w->woken);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /hold\nbody 5\nend /hold\n");
    respond(w->x[0], 200, "ok", 2);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /hold\nbody 5\nend /hold\nclose /hold 1\n");
    wire_free(w);
}
END_TEST

/* It is asked for between two pieces, within one piece of input. */
START_TEST(what_waits_of_a_body_comes_before_what_follows)
{
    struct wire *w = opened();
    struct buf b;

    say_headers(w, 1, 0, POST("/hold"));
    say_data(w, 1, 0, "abc");
    buf_init(&b, &w->own);
    put_headers(w, &b, 3, END_STREAM, GET("/ask"));
    put_frame(&b, DATA, END_STREAM, 1, "de", 2);
    wire_feed_buf(w, &b);
    ck_assert_str_eq(wire_log(w), "head /hold\nhead /ask\nbody 5\nend /hold\n");
    wire_free(w);
}
END_TEST

START_TEST(an_answer_before_the_body_stops_it)
{
    struct wire *w = opened();

    w->limits.keepalive_timeout = 0;
    say_headers(w, 1, 0, POST("/ignore"));
    ck_assert_str_eq(strstr(wire_got(w), "DATA"), "DATA 1 ignored END\n");
    ck_assert_str_eq(wire_log(w), "head /ignore\nclose /ignore 1\n");
    say_data(w, 1, _i ? 0 : END_STREAM, "late");
    wire_sleep(w, 999 * MS);
    ck_assert_ptr_null(strstr(wire_got(w), "RST"));
    wire_sleep(w, 1 * MS);
    ck_assert_int_eq(strstr(wire_got(w), "RST 1 0\n") != NULL, _i);
    if (_i)
        say_data(w, 1, 0, "later");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    say_headers(w, 3, END_STREAM, GET("/p"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 GET /p  @a.example  END\n"));
    wire_free(w);
}
END_TEST

/* The stream is there until its client ends it, the exchange is not. */
START_TEST(an_error_behind_an_answer_is_nobodys)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/ignore"));
    ck_assert_str_eq(wire_log(w), "head /ignore\nclose /ignore 1\n");
    wire_forget(w);
    say_headers(w, 1, END_STREAM, "x a\rb\n");
    ck_assert_str_eq(wire_log(w), "");
    ck_assert_str_eq(wire_got(w), "");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(trailers_end_a_body_and_are_dropped)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/p"));
    say_data(w, 1, 0, "body");
    say_headers(w, 1, END_STREAM, "x-trailer 1\n");
    expect_answer(w, "POST /p  @a.example body");
    wire_free(w);
}
END_TEST

START_TEST(who_waits_for_leave_to_send_gets_it)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/hold") "expect 100-Continue\n");
    ck_assert_str_eq(wire_got(w), "");
    w->x[0]->ops->read_body(w->x[0], 10);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=100\n");
    say_data(w, 1, END_STREAM, "b");
    respond(w->x[0], 200, "", 0);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=100\n"
                                  "HEADERS 1 :status=200 x-type=t content-length=0 END\n");
    wire_forget(w);
    say_headers(w, 3, 0, POST("/hold") "expect 100-continue\n");
    say_data(w, 3, END_STREAM, "b");
    w->x[1]->ops->read_body(w->x[1], 10);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "");
    wire_free(w);
}
END_TEST

/* Many at once, in one piece. */
START_TEST(streams_run_side_by_side)
{
    struct wire *w = opened();
    struct buf b;

    buf_init(&b, &w->own);
    for (uint32_t i = 0; i < 100; i++)
        put_headers(w, &b, 2 * i + 1, END_STREAM, GET("/hold"));
    wire_feed_buf(w, &b);
    ck_assert_int_eq(w->live, 100);
    for (int i = 99; i >= 0; i--)
        respond(w->x[i], 200, "ok", 2);
    wire_turn(w);
    ck_assert_int_eq(w->closed, 100);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 199 ok END\n"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 ok END\n"));
    wire_free(w);
}
END_TEST

/* PING, PRIORITY, PRIORITY_UPDATE and what nobody knows. */
START_TEST(frames_that_concern_no_request_are_harmless)
{
    struct wire *w = opened();

    say(w, PING, 0, 0, "12345678", 8);
    ck_assert_str_eq(wire_got(w), "PING ACK 12345678\n");
    say(w, PING, ACK, 0, "12345678", 8);
    say(w, PRIORITY, 0, 5, "\0\0\0\3\20", 5);
    say(w, 0x10, 0, 0, "\0\0\0\1u=1", 7);
    say(w, 0xfa, 0xff, 7, "whatever", 8);
    wire_forget(w);
    say_headers(w, 1, END_STREAM, GET("/p"));
    expect_answer(w, "GET /p  @a.example ");
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2");
    TCase *t = tcase_create("all");

    suite_add_tcase(s, t);
    tcase_add_test(t, settings_are_announced);
    tcase_add_loop_test(t, a_request_is_answered_however_it_is_cut, 0, 5);
    tcase_add_test(t, a_request_has_what_the_application_needs);
    tcase_add_loop_test(t, the_host_is_authority_or_host, 0, 3);
    tcase_add_loop_test(t, a_wrong_head_is_refused_and_the_connection_goes_on, 0,
                        sizeof wrong / sizeof *wrong);
    tcase_add_loop_test(t, what_is_allowed_is_not_refused, 0, 7);
    tcase_add_test(t, cookie_crumbs_are_one_field);
    tcase_add_test(t, a_target_has_its_limit);
    tcase_add_test(t, fields_have_a_number);
    tcase_add_test(t, fields_have_a_size);
    tcase_add_test(t, a_header_block_may_come_in_pieces);
    tcase_add_loop_test(t, a_body_that_does_not_match_its_length_is_a_reset, 0, 2);
    tcase_add_test(t, a_body_above_the_limit_is_413);
    tcase_add_test(t, a_body_that_nobody_reads_waits_and_is_then_read);
    tcase_add_test(t, what_waits_of_a_body_comes_before_what_follows);
    tcase_add_loop_test(t, an_answer_before_the_body_stops_it, 0, 2);
    tcase_add_test(t, an_error_behind_an_answer_is_nobodys);
    tcase_add_test(t, trailers_end_a_body_and_are_dropped);
    tcase_add_test(t, who_waits_for_leave_to_send_gets_it);
    tcase_add_test(t, streams_run_side_by_side);
    tcase_add_test(t, frames_that_concern_no_request_are_harmless);
    return run_suite(s);
}
