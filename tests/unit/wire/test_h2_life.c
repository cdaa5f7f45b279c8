/* The life of streams and of an HTTP/2 connection: answers, flow control, time, the end. */
#include "unit/wire/h2_wire.h"

#define GET(path) REQUEST("GET", path)
#define POST(path) REQUEST("POST", path)
#define KIB 1024u

static char big[1 << 20];

/* An exchange that the test answers by itself. */
static struct http_exchange *held(struct wire *w, uint32_t id)
{
    int i = w->opened;

    say_headers(w, id, END_STREAM, GET("/hold"));
    ck_assert_int_eq(w->opened, i + 1);
    return w->x[i];
}

static void start(struct http_exchange *x, uint64_t length)
{
    must(!x->ops->start(x, 200, NULL, 0, length));
}

/* ---- answers ----------------------------------------------------------------------------------- */

START_TEST(an_answer_has_the_fields_of_http_2)
{
    static const struct http_header h[] = {
        {{"Content-Type", 12}, {"a/b", 3}}, {{"Connection", 10}, {"close", 5}},
        {{"Keep-Alive", 10}, {"1", 1}},     {{"Transfer-Encoding", 17}, {"chunked", 7}},
        {{"Upgrade", 7}, {"x", 1}},         {{"X", 1}, {"a\r\nb", 4}},
    };
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    strcpy(w->limits.date, "today");
    must(!x->ops->start(x, 404, h, 6, 3));
    must(!x->ops->write(x, "abc", 3));
    x->ops->end(x);
    ck_assert_str_eq(wire_got(w), "");
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=404 date=today content-type=a/b x=a  b "
                                  "content-length=3\nDATA 1 abc END\n");
    ck_assert_str_eq(wire_log(w), "head /hold\nclose /hold 1\n");
    wire_free(w);
}
END_TEST

/* Nothing is written that nobody may read, whatever the application writes. */
START_TEST(some_answers_have_no_body)
{
    static const int statuses[] = {204, 304, 200};
    static const char *const got[] = {"HEADERS 1 :status=204 END\n", "HEADERS 1 :status=304 END\n",
                                      "HEADERS 1 :status=200 content-length=3 END\n"};
    struct wire *w = opened();

    say_headers(w, 1, END_STREAM, _i == 2 ? REQUEST("HEAD", "/hold") : REQUEST("GET", "/hold"));
    must(!w->x[0]->ops->start(w->x[0], statuses[_i], NULL, 0, 3));
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), got[_i]);
    ck_assert_ptr_nonnull(w->x[0]); /* the application has not ended it */
    must(!w->x[0]->ops->write(w->x[0], "abc", 3));
    w->x[0]->ops->end(w->x[0]);
    ck_assert_int_eq(w->closed, 0);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /hold\nclose /hold 1\n");
    wire_free(w);
}
END_TEST

START_TEST(an_answer_of_unknown_length_goes_out_as_it_comes)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    start(x, HTTP_LENGTH_UNKNOWN);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=200\n");
    for (int i = 0; i < 2; i++) {
        wire_forget(w);
        must(!x->ops->write(x, "abc", 3));
        ck_assert_uint_eq(x->ops->queued(x), 3);
        wire_turn(w);
        ck_assert_uint_eq(x->ops->queued(x), 0);
        ck_assert_str_eq(wire_got(w), "DATA 1 abc\n");
    }
    wire_forget(w);
    x->ops->end(x);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "DATA 1  END\n");
    ck_assert_str_eq(wire_log(w), "close /hold 1\n");
    wire_free(w);
}
END_TEST

START_TEST(a_reset_is_seen_by_the_client_and_concerns_one_stream)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    held(w, 3);
    start(x, 10);
    must(!x->ops->write(x, "abc", 3));
    x->ops->reset(x);
    ck_assert_int_eq(x->ops->write(x, "abc", 3), -1);
    ck_assert_int_eq(w->closed, 0);
    wire_turn(w);
    ck_assert_str_eq(strstr(wire_got(w), "RST"), "RST 1 2\n");
    ck_assert_int_eq(w->closed, 1);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 0\n"));
    respond(w->x[1], 200, "ok", 2);
    wire_turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 ok END\n"));
    wire_free(w);
}
END_TEST

/* A frame of it has found no room in the connection's output before. */
START_TEST(a_reset_in_the_middle_of_a_long_answer_is_clean)
{
    struct wire *w = opened();
    struct http_exchange *x;

    say_setting(w, 4, 1 << 30);
    say_u32(w, WINDOW_UPDATE, 0, 1 << 30);
    x = held(w, 1);
    held(w, 3);
    wire_forget(w);
    w->stuck = true;
    start(x, sizeof big);
    must(!x->ops->write(x, big, sizeof big));
    x->ops->end(x);
    wire_turn(w);
    if (_i)
        x->ops->reset(x);
    else
        say_u32(w, RST_STREAM, 1, 8);
    wire_turn(w);
    ck_assert_ptr_null(w->x[0]);
    w->stuck = false;
    respond(w->x[1], 200, "ok", 2);
    wire_turn(w);
    ck_assert_int_eq(strstr(wire_got(w), "RST 1 2\n") != NULL, _i);
    ck_assert_uint_le(w->data, 100 * KIB);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 ok END\n"));
    wire_free(w);
}
END_TEST

START_TEST(an_error_behind_the_beginning_of_an_answer_is_a_reset)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/hold"));
    w->x[0]->ops->read_body(w->x[0], 3);
    start(w->x[0], HTTP_LENGTH_UNKNOWN);
    wire_turn(w);
    say_data(w, 1, 0, "four");
    ck_assert_str_eq(wire_log(w), "head /hold\nclose /hold 0\n");
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=200\nRST 1 1\n");
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_resets_cancels_its_exchange_alone)
{
    struct wire *w = opened();

    held(w, 1);
    held(w, 3);
    say_u32(w, RST_STREAM, 1, 8);
    ck_assert_ptr_null(w->x[0]);
    ck_assert_ptr_nonnull(w->x[1]);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 0\n"));
    wire_free(w);
}
END_TEST

/* In the same piece of input as the request: the call is not begun. */
START_TEST(a_request_that_is_reset_at_once_does_not_end)
{
    struct wire *w = opened();
    struct buf b;

    buf_init(&b, &w->own);
    put_headers(w, &b, 1, END_STREAM, GET("/p"));
    put_u32(&b, RST_STREAM, 0, 1, 8);
    wire_feed_buf(w, &b);
    ck_assert_str_eq(wire_log(w), "head /p\nclose /p 0\n");
    ck_assert_str_eq(wire_got(w), "");
    wire_free(w);
}
END_TEST

/* ---- flow control ------------------------------------------------------------------------------ */

START_TEST(a_stream_without_window_waits_and_the_others_go_on)
{
    struct wire *w = opened();
    struct http_exchange *x;

    say_u32(w, WINDOW_UPDATE, 0, 1 << 20);
    wire_forget(w);
    x = held(w, 1);
    start(x, 100 * KIB);
    must(!x->ops->write(x, big, 100 * KIB));
    x->ops->end(x);
    wire_turn(w);
    ck_assert_uint_eq(w->data, 65535);
    ck_assert_uint_eq(x->ops->queued(x), 100 * KIB - 65535);
    ck_assert_int_eq(w->closed, 0);
    say_headers(w, 3, END_STREAM, GET("/p"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 GET /p  @a.example  END\n"));
    say_u32(w, WINDOW_UPDATE, 1, 100 * KIB);
    ck_assert_int_eq(w->closed, 2);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 1\n"));
    wire_free(w);
}
END_TEST

/* An upload that is not read holds its own window and no more; the connection's is given back. */
START_TEST(an_upload_that_nobody_reads_holds_up_nobody)
{
    struct wire *w = opened();
    struct buf b;

    say_u32(w, WINDOW_UPDATE, 0, 1 << 24);
    say_headers(w, 1, 0, POST("/hold"));
    buf_init(&b, &w->own);
    for (int i = 0; i < 4; i++)
        put_frame(&b, DATA, 0, 1, big, i == 3 ? 16383 : 16384);
    wire_feed_buf(w, &b);
    ck_assert_ptr_null(strstr(wire_got(w), "WINDOW 1"));
    ck_assert_uint_le(w->bytes, 180 * KIB);
    for (uint32_t id = 3; id < 103; id += 2) {
        buf_init(&b, &w->own);
        put_headers(w, &b, id, 0, POST("/p"));
        put_frame(&b, DATA, END_STREAM, id, big, 16384);
        wire_feed_buf(w, &b);
    }
    ck_assert_int_eq(w->closed, 50);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "WINDOW 0 "));
    ck_assert_ptr_null(strstr(wire_got(w), "WINDOW 1"));
    w->x[0]->ops->read_body(w->x[0], 1 << 20);
    wire_turn(w);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "body 65535\n"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "WINDOW 1 65535\n"));
    wire_free(w);
}
END_TEST

START_TEST(more_than_the_window_ends_the_stream_or_the_connection)
{
    struct wire *w = opened();
    struct buf b;

    say_headers(w, 1, 0, POST("/hold"));
    buf_init(&b, &w->own);
    for (int i = 0; i < 5; i++)
        put_frame(&b, DATA, 0, 1, big, 16384);
    wire_feed_buf(w, &b);
    ck_assert(strstr(wire_got(w), "RST 1 3\n") || strstr(wire_got(w), "GOAWAY 1 3\n"));
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 0\n"));
    wire_free(w);
}
END_TEST

/* What waits stays with its stream, and the connection's output is small. */
START_TEST(an_output_that_is_not_taken_does_not_grow)
{
    struct wire *w = opened();
    struct http_exchange *x;

    say_setting(w, 4, 1 << 30);
    say_u32(w, WINDOW_UPDATE, 0, 1 << 30);
    wire_forget(w);
    x = held(w, 1);
    w->stuck = true;
    start(x, sizeof big);
    must(!x->ops->write(x, big, sizeof big));
    x->ops->end(x);
    wire_turn(w);
    ck_assert_uint_ge(w->e->out.len, H2_OUT_HIGH);
    ck_assert_uint_le(w->e->out.len, H2_OUT_HIGH + 16384 + 9);
    ck_assert_uint_gt(x->ops->queued(x), sizeof big - 90 * KIB);
    w->stuck = false;
    wire_turn(w);
    ck_assert_uint_eq(w->data, sizeof big);
    ck_assert_int_eq(w->writable, 0); /* it had ended */
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 1\n"));
    wire_free(w);
}
END_TEST

/* What is in the connection's output is complete, whether it is taken or not. */
START_TEST(an_answer_is_complete_when_it_is_in_the_output)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    w->stuck = true;
    respond(x, 200, "ok", 2);
    wire_turn(w);
    ck_assert_uint_gt(w->e->out.len, 0);
    ck_assert_str_eq(wire_log(w), "head /hold\nclose /hold 1\n");
    wire_free(w);
}
END_TEST

START_TEST(the_application_hears_when_there_is_room)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    start(x, HTTP_LENGTH_UNKNOWN);
    must(!x->ops->write(x, big, 65535 + 65536));
    wire_turn(w);
    ck_assert_int_eq(w->writable, 0);
    ck_assert_uint_eq(x->ops->queued(x), 65536);
    say_u32(w, WINDOW_UPDATE, 0, 1 << 20);
    say_u32(w, WINDOW_UPDATE, 1, 32767);
    ck_assert_int_eq(w->writable, 0);
    say_u32(w, WINDOW_UPDATE, 1, 1);
    ck_assert_int_eq(w->writable, 1);
    say_u32(w, WINDOW_UPDATE, 1, 40000);
    ck_assert_int_eq(w->writable, 1);
    wire_free(w);
}
END_TEST

/* The first does not keep the second waiting until all of it is out. */
START_TEST(streams_take_turns)
{
    struct wire *w = opened();
    struct http_exchange *x[2];
    const char *last, *first;

    say_setting(w, 4, 1 << 30);
    say_u32(w, WINDOW_UPDATE, 0, 1 << 30);
    x[0] = held(w, 1);
    say_headers(w, 3, END_STREAM, GET("/hold") "priority u=7\n");
    x[1] = w->x[1];
    wire_forget(w);
    for (int i = 0; i < 2; i++) {
        start(x[i], 300 * KIB);
        must(!x[i]->ops->write(x[i], big, 300 * KIB));
        x[i]->ops->end(x[i]);
    }
    wire_turn(w);
    ck_assert_int_eq(w->closed, 2);
    first = strstr(wire_got(w), "DATA 3");
    last = strstr(wire_got(w), "DATA 1 [12288] END");
    ck_assert_ptr_nonnull(first);
    ck_assert(!last || first < last);
    wire_free(w);
}
END_TEST

/* ---- time -------------------------------------------------------------------------------------- */

START_TEST(who_says_nothing_is_not_waited_for)
{
    struct wire *w = wire_new();

    ck_assert(wire_start(w));
    if (_i)
        wire_feed(w, PREFACE, _i == 1 ? 10 : PREFACE_LEN);
    wire_sleep(w, 199 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, 1 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 0 0\n"));
    wire_free(w);
}
END_TEST

/* Also when a frame comes now and then, which carries nothing. */
START_TEST(an_idle_connection_ends)
{
    struct wire *w = opened();

    say_headers(w, 1, END_STREAM, GET("/p"));
    for (int i = 0; i < 3; i++) {
        wire_sleep(w, 100 * MS);
        say(w, PING, 0, 0, "12345678", 8);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, 100 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 1 0\n"));
    wire_free(w);
}
END_TEST

START_TEST(a_running_exchange_keeps_the_connection)
{
    struct wire *w = opened();

    held(w, 1);
    wire_sleep(w, 100000 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_header_block_that_stalls_ends_the_connection)
{
    struct wire *w = opened();
    struct buf b;

    held(w, 1);
    buf_init(&b, &w->own);
    put_frame(&b, HEADERS, END_STREAM, 3, "\x82\x86", 2);
    wire_feed_buf(w, &b);
    wire_sleep(w, 199 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, 1 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 3 11\n"));
    ck_assert_str_eq(wire_log(w), "head /hold\nclose /hold 0\n");
    wire_free(w);
}
END_TEST

START_TEST(a_body_that_stalls_is_408_and_the_others_go_on)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, POST("/p"));
    held(w, 3);
    wire_sleep(w, 200 * MS);
    say_data(w, 1, 0, "a");
    wire_sleep(w, 99 * MS);
    ck_assert_int_eq(w->closed, 0);
    wire_sleep(w, 1 * MS);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 408 the body took too long\nclose /p 1\n"));
    ck_assert_int_eq(w->live, 1);
    wire_sleep(w, 100000 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

/* Window games: the client gives none, or a byte now and then while there is a rate. */
START_TEST(an_answer_that_nobody_lets_out_is_reset)
{
    struct wire *w = opened();
    struct http_exchange *x;

    w->limits.write_rate = _i ? 1000 : 0;
    say_setting(w, 4, 10);
    wire_forget(w);
    x = held(w, 1);
    start(x, 10 * KIB);
    must(!x->ops->write(x, big, 10 * KIB));
    x->ops->end(x);
    wire_turn(w);
    for (int i = 0; i < 4; i++) {
        wire_sleep(w, 100 * MS);
        if (_i)
            say_u32(w, WINDOW_UPDATE, 1, 1);
    }
    ck_assert_int_eq(w->closed, 0);
    wire_sleep(w, _i ? 100 * MS : 600 * MS); /* the first bytes went out at the beginning */
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 0\n"));
    ck_assert_msg(strstr(wire_got(w), "RST 1 8\n"), "%s", wire_got(w));
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(a_slow_reader_without_a_rate_is_waited_for)
{
    struct wire *w = opened();
    struct http_exchange *x;

    say_setting(w, 4, 10);
    x = held(w, 1);
    start(x, 10 * KIB);
    must(!x->ops->write(x, big, 10 * KIB));
    x->ops->end(x);
    wire_turn(w);
    for (int i = 0; i < 50; i++) {
        wire_sleep(w, 400 * MS);
        say_u32(w, WINDOW_UPDATE, 1, 1);
    }
    ck_assert_int_eq(w->closed, 0);
    say_u32(w, WINDOW_UPDATE, 1, 100000);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 1\n"));
    wire_free(w);
}
END_TEST

/* ---- the end ----------------------------------------------------------------------------------- */

START_TEST(a_drain_lets_what_runs_end)
{
    struct wire *w = opened();

    held(w, 1);
    w->e->ops->drain(w->e, w->now);
    wire_turn(w);
    ck_assert_str_eq(wire_got(w), "PING goingout\nGOAWAY 2147483647 0\n");
    wire_forget(w);
    held(w, 3); /* it was on its way */
    say(w, PING, ACK, 0, "goingout", 8);
    ck_assert_str_eq(wire_got(w), "GOAWAY 3 0\n");
    say_headers(w, 5, END_STREAM, GET("/hold"));
    ck_assert_int_eq(w->opened, 2);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    respond(w->x[0], 200, "ok", 2);
    respond(w->x[1], 200, "ok", 2);
    wire_turn(w);
    ck_assert_int_eq(w->closed, 2);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(a_drain_does_not_wait_for_an_acknowledgement_for_long)
{
    struct wire *w = opened();

    w->limits.keepalive_timeout = 0;
    say_headers(w, 1, END_STREAM, GET("/p"));
    w->e->ops->drain(w->e, w->now);
    wire_turn(w);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_sleep(w, 1000 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 1 0\n"));
    wire_free(w);
}
END_TEST

START_TEST(an_answer_that_asks_for_it_is_the_last)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    x->ops->close_after(x);
    respond(x, 401, "no", 2);
    wire_turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 2147483647 0\n"));
    say(w, PING, ACK, 0, "goingout", 8);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_goes_cancels_all)
{
    struct wire *w = opened();

    held(w, 1);
    say_headers(w, 3, 0, POST("/p"));
    if (_i == 0)
        w->e->ops->eof(w->e, w->now);
    else if (_i == 1)
        w->e->ops->stalled(w->e, w->now);
    else if (_i == 2)
        say(w, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    else
        say(w, DATA, 0, 0, "x", 1);
    ck_assert_int_eq(w->closed, _i == 2 ? 0 : 2);
    ck_assert_int_eq(w->e->closing, _i == 1   ? ENGINE_RESET
                                    : _i == 2 ? ENGINE_OPEN
                                              : ENGINE_FLUSH_AND_CLOSE);
    if (_i == 3)
        ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 3 1\n"));
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_has_said_goodbye_gets_its_answers)
{
    struct wire *w = opened();

    held(w, 1);
    say(w, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    respond(w->x[0], 200, "ok", 2);
    wire_turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 ok END\n"));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

/* What RFC 9113 calls a connection error, by its code; 0: of a stream, which is reset. Stream 1 is open. */
static const struct {
    int type, flags;
    uint32_t id;
    const char *payload;
    size_t n;
    int code;
    const char *reset;
} broken[] = {
    {DATA, 0, 0, "x", 1, 1, NULL},
    {DATA, 0, 5, "x", 1, 1, NULL}, /* idle */
    {DATA, PADDED, 1, "\x05xx", 3, 1, NULL},
    {HEADERS, END_HEADERS, 0, "\x82", 1, 1, NULL},
    {HEADERS, END_HEADERS, 2, "\x82", 1, 1, NULL}, /* even */
    {HEADERS, END_HEADERS | END_STREAM, 5, "\xff\xff\xff\xff\xff\xff", 6, 9, NULL},
    {HEADERS, END_HEADERS | END_STREAM, 5, "\x80", 1, 9, NULL},
    {RST_STREAM, 0, 0, "\0\0\0\x8", 4, 1, NULL},
    {RST_STREAM, 0, 5, "\0\0\0\x8", 4, 1, NULL},
    {RST_STREAM, 0, 1, "\0\0\0", 3, 6, NULL},
    {SETTINGS, 0, 1, "", 0, 1, NULL},
    {SETTINGS, ACK, 0, "\0\1\0\0\0\0", 6, 6, NULL},
    {SETTINGS, 0, 0, "\0\1\0", 3, 6, NULL},
    {SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, 1, NULL},
    {SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6, 3, NULL},
    {SETTINGS, 0, 0, "\0\5\0\0\0\1", 6, 1, NULL},
    {PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82", 5, 1, NULL},
    {PING, 0, 1, "12345678", 8, 1, NULL},
    {PING, 0, 0, "1234567", 7, 6, NULL},
    {GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0", 8, 1, NULL},
    {WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, 1, NULL},
    {WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, 3, NULL},
    {WINDOW_UPDATE, 0, 0, "\0\0\0", 3, 6, NULL},
    {WINDOW_UPDATE, 0, 5, "\0\0\0\1", 4, 1, NULL},
    {WINDOW_UPDATE, 0, 1, "\x7f\xff\xff\xff", 4, 0, "RST 1 3\n"},
    {CONTINUATION, END_HEADERS, 1, "\x82", 1, 1, NULL},
};

START_TEST(a_broken_rule_has_its_code)
{
    for (size_t cut = 0; cut < 2; cut++) {
        struct wire *w = wire_new();
        char goaway[32];

        w->cut = cut;
        wire_connect(w);
        say_headers(w, 1, 0, POST("/hold"));
        wire_forget(w);
        say(w, broken[_i].type, broken[_i].flags, broken[_i].id, broken[_i].payload, broken[_i].n);
        snprintf(goaway, sizeof goaway, " %d\n", broken[_i].code);
        if (broken[_i].reset) {
            ck_assert_str_eq(wire_got(w), broken[_i].reset);
            ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        } else {
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            ck_assert_msg(!strncmp(wire_got(w), "GOAWAY ", 7) && strstr(wire_got(w), goaway), "%s",
                          wire_got(w));
        }
        ck_assert_int_eq(w->live, 0);
        wire_free(w);
    }
}
END_TEST

/* A frame larger than we have said that we take, and one in the middle of a header block. */
START_TEST(frames_are_of_their_size_and_in_their_place)
{
    struct wire *w = opened();

    if (_i) {
        say(w, HEADERS, END_STREAM, 1, "\x82", 1);
        say(w, PING, 0, 0, "12345678", 8);
        ck_assert_str_eq(wire_got(w), "GOAWAY 1 1\n");
    } else {
        say_headers(w, 1, 0, POST("/hold"));
        say(w, DATA, 0, 1, big, 16385);
        ck_assert_ptr_nonnull(strstr(wire_got(w), "GOAWAY 1 6\n"));
    }
    wire_free(w);
}
END_TEST

/* A smaller first window takes back what is there: it may become negative. */
START_TEST(windows_follow_the_settings)
{
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    start(x, 1000);
    must(!x->ops->write(x, big, 500));
    wire_turn(w);
    say_setting(w, 4, 100);
    must(!x->ops->write(x, big, 500));
    x->ops->end(x);
    wire_turn(w);
    ck_assert_uint_eq(w->data, 500);
    say_u32(w, WINDOW_UPDATE, 1, 401);
    ck_assert_uint_eq(w->data, 501);
    say_setting(w, 4, 599);
    ck_assert_uint_eq(w->data, 1000);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "close /hold 1\n"));
    wire_free(w);
}
END_TEST

START_TEST(what_is_no_http_2_is_closed_without_a_word)
{
    struct wire *w = wire_new();

    ck_assert(wire_start(w));
    wire_feed(w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

/* A whole conversation, which ends after each byte in each way. */
static void converse(struct wire *w, struct buf *b)
{
    buf_append(b, PREFACE, PREFACE_LEN);
    put_frame(b, SETTINGS, ACK, 0, "", 0);
    put_headers(w, b, 1, 0, POST("/p"));
    put_headers(w, b, 3, END_STREAM, GET("/hold"));
    put_headers(w, b, 5, 0, POST("/hold"));
    put_frame(b, DATA, 0, 1, "body", 4);
    put_frame(b, DATA, 0, 5, "body", 4);
    put_headers(w, b, 7, 0, POST("/ignore"));
    put_frame(b, DATA, END_STREAM, 1, "", 0);
    put_u32(b, RST_STREAM, 0, 3, 8);
    put_headers(w, b, 9, END_STREAM, "x y\n");
}

START_TEST(a_connection_may_end_anywhere)
{
    for (size_t at = 0;; at++) {
        struct wire *w = wire_new();
        struct buf b;
        bool last;

        buf_init(&b, &w->own);
        converse(w, &b);
        last = at == b.len;
        ck_assert(wire_start(w));
        w->stuck = _i == 4;
        wire_feed(w, buf_at(&b), at);
        buf_fini(&b);
        if (_i == 1)
            w->e->ops->eof(w->e, w->now);
        else if (_i == 2)
            w->e->ops->drain(w->e, w->now);
        else if (_i == 3)
            wire_sleep(w, 10000 * MS);
        else if (_i == 5)
            w->e->ops->stalled(w->e, w->now);
        if (_i)
            wire_turn(w);
        wire_free(w);
        if (last)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2 life");
    TCase *t = tcase_create("all");

    memset(big, 'b', sizeof big);
    suite_add_tcase(s, t);
    tcase_add_test(t, an_answer_has_the_fields_of_http_2);
    tcase_add_loop_test(t, some_answers_have_no_body, 0, 3);
    tcase_add_test(t, an_answer_of_unknown_length_goes_out_as_it_comes);
    tcase_add_test(t, a_reset_is_seen_by_the_client_and_concerns_one_stream);
    tcase_add_loop_test(t, a_reset_in_the_middle_of_a_long_answer_is_clean, 0, 2);
    tcase_add_test(t, an_error_behind_the_beginning_of_an_answer_is_a_reset);
    tcase_add_test(t, a_client_that_resets_cancels_its_exchange_alone);
    tcase_add_test(t, a_request_that_is_reset_at_once_does_not_end);
    tcase_add_test(t, a_stream_without_window_waits_and_the_others_go_on);
    tcase_add_test(t, an_upload_that_nobody_reads_holds_up_nobody);
    tcase_add_test(t, more_than_the_window_ends_the_stream_or_the_connection);
    tcase_add_test(t, an_output_that_is_not_taken_does_not_grow);
    tcase_add_test(t, an_answer_is_complete_when_it_is_in_the_output);
    tcase_add_test(t, the_application_hears_when_there_is_room);
    tcase_add_test(t, streams_take_turns);
    tcase_add_loop_test(t, who_says_nothing_is_not_waited_for, 0, 3);
    tcase_add_test(t, an_idle_connection_ends);
    tcase_add_test(t, a_running_exchange_keeps_the_connection);
    tcase_add_test(t, a_header_block_that_stalls_ends_the_connection);
    tcase_add_test(t, a_body_that_stalls_is_408_and_the_others_go_on);
    tcase_add_loop_test(t, an_answer_that_nobody_lets_out_is_reset, 0, 2);
    tcase_add_test(t, a_slow_reader_without_a_rate_is_waited_for);
    tcase_add_test(t, a_drain_lets_what_runs_end);
    tcase_add_test(t, a_drain_does_not_wait_for_an_acknowledgement_for_long);
    tcase_add_test(t, an_answer_that_asks_for_it_is_the_last);
    tcase_add_loop_test(t, a_client_that_goes_cancels_all, 0, 4);
    tcase_add_test(t, a_client_that_has_said_goodbye_gets_its_answers);
    tcase_add_loop_test(t, a_broken_rule_has_its_code, 0, sizeof broken / sizeof *broken);
    tcase_add_loop_test(t, frames_are_of_their_size_and_in_their_place, 0, 2);
    tcase_add_test(t, windows_follow_the_settings);
    tcase_add_test(t, what_is_no_http_2_is_closed_without_a_word);
    tcase_add_loop_test(t, a_connection_may_end_anywhere, 0, 6);
    return run_suite(s);
}
