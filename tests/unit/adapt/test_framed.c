/* Call connections of framed envelopes: what comes in any cut, every framing error, limits, time,
 * backpressure and budgets, and ends of either side. */
#include "unit/adapt/framed_rig.h"

#define REQUEST(id, operation, input)                                                              \
    "{\"type\":\"call.requested\",\"id\":\"" id "\",\"payload\":{\"operationId\":\"" operation     \
    "\",\"input\":" input "}}"
#define BEGIN "{\"type\":\"call.aborted\",\"id\":"

static char *big_request(int bytes)
{
    return repeated("x", bytes,
                    "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":"
                    "\"t/stream\",\"input\":\"",
                    "\"}}");
}

/* ---- what comes ------------------------------------------------------------------------------ */

START_TEST(requests_are_answered_wherever_the_stream_is_cut)
{
    static const size_t cuts[] = {0, 1, 2, 3, 5, 64, 100};
    struct framed_rig r;
    char frames[1000];
    size_t n = 0;

    for (int i = 0; i < 3; i++) {
        static const char *const texts[] = {REQUEST("1", "t/echo", "[1]"),
                                            REQUEST("2", "t/echo", "\"two\""),
                                            REQUEST("3", "/t/echo", "null")};
        size_t len = strlen(texts[i]);

        frame_encode((uint8_t *)frames + n, len);
        memcpy(frames + n + FRAME_HEAD, texts[i], len);
        n += FRAME_HEAD + len;
    }
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        framed_rig_init(&r, NULL);
        r.cut = cuts[i];
        ck_assert_uint_eq(framed_rig_bytes(&r, frames, n), n);
        framed_rig_expect(&r, RESPONDED("1", "[1]"));
        framed_rig_expect(&r, RESPONDED("2", "\"two\""));
        framed_rig_expect(&r, RESPONDED("3", "null"));
        ck_assert_ptr_null(framed_rig_next(&r));
        ck_assert_uint_eq(r.memory.live, 1); /* the engine: nothing is kept between frames */
        framed_rig_fini(&r);
        ck_assert_int_eq(r.s.code, WS_LOST);
    }
}
END_TEST

START_TEST(both_sides_call_each_other)
{
    struct framed_rig r;
    struct asked a;
    char text[300];
    const char *sent;

    framed_rig_init(&r, "hub");
    ask(&a, r.s.conn, "x/y", "[7]");
    sent = framed_rig_next(&r);
    ck_assert(sent && strstr(sent, "\"operationId\":\"/x/y\",\"input\":[7]"));
    snprintf(text, sizeof text,
             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":8}}",
             wire_id(sent));
    framed_rig_say(&r, text);
    ck_assert_str_eq(asked_outcome(&a), "ok 8");
    framed_rig_say(&r, REQUEST("1", "t/query", "null"));
    served_reply(&r.n.query, "9");
    framed_rig_expect(&r, RESPONDED("1", "9"));
    asked_free(&a);
    framed_rig_fini(&r);
}
END_TEST

#define BYTES(s) s, sizeof(s) - 1

static const struct {
    const char *bytes;
    size_t len;
    int code;
    const char *log;
    bool framed; /* still to be */
} bad_streams[] = {
    {BYTES("\0\0\0\0"), WS_PROTOCOL, "a frame of length 0", false},
    {BYTES("\1\0\0\1"), WS_TRY_AGAIN, "a frame above the limit", false},
    {BYTES("\xff\xff\xff\xff"), WS_TRY_AGAIN, "a frame above the limit", false},
    {BYTES("GET / HTTP/1.1\r\n\r\n"), WS_TRY_AGAIN, "a frame above the limit", false},
    {BYTES("x"), WS_PROTOCOL, "connection.close", true},
    {BYTES("{}"), WS_PROTOCOL, "connection.close", true},
    {BYTES("\xff"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"1\",\"payload\":\"\xff\"}"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"\\ud800\",\"payload\":{}}"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"1\",\"payload\":{},\"id\":\"1\"}"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"\",\"payload\":{}}"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"1\"}"), WS_PROTOCOL, "connection.close", true},
    {BYTES("{\"type\":\"call.aborted\",\"payload\":{}}"), WS_PROTOCOL, "connection.close", true},
    {BYTES("{\"id\":\"1\",\"payload\":{}}"), WS_PROTOCOL, "connection.close", true},
    {BYTES(BEGIN "\"1\",\"payload\":[[[[[[[[[[]]]]]]]]]]}"), WS_PROTOCOL, "connection.close", true},
};

/* Behind a good request, whose answer still goes out; what follows the error is not looked at. */
START_TEST(every_framing_error_ends_the_connection)
{
    struct framed_rig r;
    char in[400];
    size_t n = strlen(REQUEST("1", "t/echo", "1")), head = FRAME_HEAD + n, at = head;
    size_t len = bad_streams[_i].len;

    framed_rig_prepare(&r);
    r.n.w->limits.json_depth = 9;
    framed_rig_start(&r, "known");
    framed_rig_say(&r, REQUEST("0", "t/query", "1"));
    frame_encode((uint8_t *)in, n);
    memcpy(in + FRAME_HEAD, REQUEST("1", "t/echo", "1"), n);
    if (bad_streams[_i].framed) {
        frame_encode((uint8_t *)in + at, len);
        at += FRAME_HEAD;
    }
    memcpy(in + at, bad_streams[_i].bytes, len);
    at += len;
    memcpy(in + at, in, head);
    framed_rig_bytes(&r, in, head);
    framed_rig_expect(&r, RESPONDED("1", "1"));
    framed_rig_bytes(&r, in + head, at);
    ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_eq(r.s.code, bad_streams[_i].code);
    ck_assert_int_eq(r.n.query.ends, 1);
    ck_assert_int_eq(r.n.query.why, ALK_END_CLOSED);
    ck_assert(world_logged(r.n.w, bad_streams[_i].log));
    ck_assert_ptr_null(framed_rig_next(&r));
    /* It stays so, whatever comes. */
    framed_rig_say(&r, REQUEST("2", "t/echo", "1"));
    ck_assert_ptr_null(framed_rig_next(&r));
    framed_rig_fini(&r);
}
END_TEST

START_TEST(a_stranger_may_send_less_unless_it_answers)
{
    struct framed_rig r;
    struct asked a;
    char *answer, head[200];

    framed_rig_prepare(&r);
    r.n.w->limits.anonymous_bytes = 3000;
    r.client = true;
    framed_rig_start(&r, NULL);
    ask(&a, r.s.conn, "x/y", "1");
    snprintf(head, sizeof head,
             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":\"",
             wire_id(framed_rig_next(&r)));
    answer = repeated("x", 5000, head, "\"}}");
    framed_rig_say(&r, answer);
    ck_assert_int_eq(a.values, 1);
    ck_assert(!r.over);
    framed_rig_say(&r, answer);
    ck_assert(r.over && world_logged(r.n.w, "a frame above the limit"));
    asked_free(&a);
    framed_rig_fini(&r);
    free(answer);
}
END_TEST

START_TEST(a_known_remote_may_send_frames_up_to_the_limit)
{
    struct framed_rig r;
    char *text = big_request(4000);

    framed_rig_prepare(&r);
    r.n.w->limits.anonymous_bytes = 3000;
    r.n.w->limits.frame_bytes = (uint32_t)strlen(text);
    framed_rig_start(&r, "known");
    framed_rig_say(&r, text);
    ck_assert(!r.over);
    ck_assert_int_eq(r.n.stream.starts, 1);
    framed_rig_frame(&r, text, strlen(text) + 1);
    ck_assert(r.over && world_logged(r.n.w, "a frame above the limit"));
    framed_rig_fini(&r);
    free(text);
}
END_TEST

/* ---- the end --------------------------------------------------------------------------------- */

START_TEST(the_end_between_frames_is_a_close_and_within_one_a_fault)
{
    static const char in[] = "\0\0\0\x2d" BEGIN "\"1\",\"payload\":{}}";

    for (size_t n = 0; n < sizeof in; n++) {
        bool whole = n == 0 || n == sizeof in - 1;
        struct framed_rig r;

        framed_rig_init(&r, NULL);
        framed_rig_say(&r, REQUEST("0", "t/query", "1"));
        framed_rig_bytes(&r, in, n);
        ck_assert(!r.over);
        r.e->ops->eof(r.e, r.n.w->now);
        ck_assert_int_eq(r.s.code, whole ? WS_NO_STATUS : WS_PROTOCOL);
        ck_assert_int_eq(world_logged(r.n.w, "the stream ended within a frame"), !whole);
        ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
        framed_rig_run(&r);
        ck_assert_int_eq(r.n.query.why, ALK_END_CLOSED);
        framed_rig_fini(&r);
    }
}
END_TEST

START_TEST(a_close_lets_out_what_was_queued_before_it)
{
    struct framed_rig r;

    framed_rig_init(&r, NULL);
    r.stuck = true;
    framed_rig_say(&r, REQUEST("1", "t/echo", "1"));
    alk_connection_close(r.s.conn, ALK_CLOSE_IDENTITY);
    framed_rig_run(&r);
    ck_assert(r.over && r.e->out.len);
    ck_assert_int_eq(r.s.code, WS_POLICY);
    ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert(r.e->reading && r.e->patience);
    r.stuck = false;
    framed_rig_expect(&r, RESPONDED("1", "1"));
    ck_assert(!r.e->out.len && !r.e->out.data);
    framed_rig_fini(&r);
}
END_TEST

START_TEST(what_cannot_leave_within_close_ms_is_given_up)
{
    struct framed_rig r;

    framed_rig_init(&r, NULL);
    r.stuck = true;
    framed_rig_say(&r, REQUEST("1", "t/echo", "1"));
    alk_connection_close(r.s.conn, ALK_CLOSE_SHUTDOWN);
    framed_rig_run(&r);
    framed_rig_advance(&r, 4999);
    ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
    framed_rig_advance(&r, 1);
    ck_assert_int_eq(r.e->closing, ENGINE_RESET);
    framed_rig_fini(&r);
}
END_TEST

START_TEST(codes_say_why_it_ended)
{
    static const struct {
        int code, want, client;
    } rows[] = {{ALK_CLOSE_SHUTDOWN, WS_GOING_AWAY, 0},
                {ALK_CLOSE_SHUTDOWN, WS_NORMAL, 1},
                {ALK_CLOSE_PROTOCOL, WS_PROTOCOL, 0},
                {ALK_CLOSE_LIMIT, WS_TRY_AGAIN, 0},
                {ALK_CLOSE_IDENTITY, WS_POLICY, 1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct framed_rig r;

        framed_rig_prepare(&r);
        r.client = rows[i].client;
        framed_rig_start(&r, NULL);
        alk_connection_close(r.s.conn, rows[i].code);
        framed_rig_run(&r);
        ck_assert_int_eq(r.s.code, rows[i].want);
        framed_rig_fini(&r);
    }
}
END_TEST

START_TEST(a_drain_waits_for_the_last_call)
{
    struct framed_rig r;

    framed_rig_init(&r, NULL);
    framed_rig_say(&r, REQUEST("1", "t/query", "1"));
    alk_dispatcher_drain(r.n.w->d);
    r.e->ops->drain(r.e, r.n.w->now);
    framed_rig_run(&r);
    ck_assert(!r.over && !r.e->closing);
    served_reply(&r.n.query, "2");
    framed_rig_expect(&r, RESPONDED("1", "2"));
    connections_rest(r.n.w->d);
    framed_rig_run(&r);
    ck_assert(r.over);
    ck_assert_int_eq(r.s.code, WS_GOING_AWAY);
    framed_rig_fini(&r);
}
END_TEST

START_TEST(an_answer_above_the_limit_is_taken_back)
{
    struct framed_rig r;
    char *big = repeated("x", 2000, "\"", "\"");

    framed_rig_prepare(&r);
    r.n.w->limits.frame_bytes = 1000;
    framed_rig_start(&r, NULL);
    framed_rig_say(&r, REQUEST("1", "t/query", "1"));
    ck_assert_int_eq(alk_call_reply(r.n.query.call, big, strlen(big)), ALK_ELIMIT);
    framed_rig_expect(&r, FAULT("1", "INTERNAL", "output too large", "false"));
    framed_rig_say(&r, REQUEST("2", "t/echo", "2"));
    framed_rig_expect(&r, RESPONDED("2", "2"));
    framed_rig_fini(&r);
    free(big);
}
END_TEST

START_TEST(after_the_end_nothing_is_sent)
{
    struct framed_rig r;
    struct served *stream = &r.n.stream;

    framed_rig_init(&r, NULL);
    framed_rig_say(&r, REQUEST("1", "t/stream", "1"));
    r.e->ops->eof(r.e, r.n.w->now);
    ck_assert_int_eq(alk_call_emit(stream->call, TEXT("1")), ALK_EENDED);
    r.e->ops->eof(r.e, r.n.w->now);
    r.e->ops->drain(r.e, r.n.w->now);
    ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_eq(r.s.code, WS_NO_STATUS);
    ck_assert_ptr_null(framed_rig_next(&r));
    framed_rig_fini(&r);
}
END_TEST

/* ---- time ------------------------------------------------------------------------------------ */

START_TEST(a_stranger_has_header_timeout_for_its_first_frame)
{
    struct framed_rig r;

    framed_rig_init(&r, NULL);
    framed_rig_advance(&r, 9999);
    framed_rig_bytes(&r, "\0\0\0\x25" BEGIN, 10);
    ck_assert(!r.over);
    framed_rig_advance(&r, 1);
    ck_assert(r.over && world_logged(r.n.w, "a message did not come in time"));
    framed_rig_fini(&r);

    framed_rig_init(&r, NULL);
    framed_rig_say(&r, REQUEST("1", "t/echo", "1"));
    ck_assert_uint_eq(r.e->deadline, 0);
    framed_rig_advance(&r, 10000000);
    ck_assert(!r.over);
    framed_rig_fini(&r);
}
END_TEST

START_TEST(who_is_known_or_was_dialled_may_be_silent_for_ever)
{
    for (int client = 0; client < 2; client++) {
        struct framed_rig r;

        framed_rig_prepare(&r);
        r.client = client;
        framed_rig_start(&r, client ? NULL : "known");
        ck_assert_uint_eq(r.e->deadline, 0);
        framed_rig_fini(&r);
    }
}
END_TEST

START_TEST(a_frame_that_does_not_come_on_ends_the_connection)
{
    struct framed_rig r;
    char piece[1024];

    memset(piece, ' ', sizeof piece);
    framed_rig_init(&r, "known");
    framed_rig_bytes(&r, "\0", 1);
    framed_rig_advance(&r, 29999);
    framed_rig_bytes(&r, "\1\0\0", 3); /* few bytes are no sign of life */
    ck_assert(!r.over);
    framed_rig_advance(&r, 1);
    ck_assert(r.over);
    framed_rig_fini(&r);

    framed_rig_init(&r, "known");
    framed_rig_bytes(&r, "\0\1\0\0", 4);
    for (int i = 0; i < 60; i++) {
        framed_rig_advance(&r, 29999);
        framed_rig_bytes(&r, piece, sizeof piece);
        ck_assert(!r.over);
    }
    framed_rig_advance(&r, 30000);
    ck_assert(r.over);
    ck_assert_int_eq(r.s.code, WS_TRY_AGAIN);
    framed_rig_fini(&r);
}
END_TEST

/* ---- backpressure ---------------------------------------------------------------------------- */

START_TEST(values_wait_when_the_remote_does_not_take_them_and_go_on_when_it_does)
{
    struct framed_rig r;
    struct served *stream = &r.n.stream;
    int taken = 0, values = 0;

    framed_rig_prepare(&r);
    r.n.w->limits.queue_high = 1000;
    framed_rig_start(&r, NULL);
    framed_rig_say(&r, REQUEST("1", "t/stream", "null"));
    r.stuck = true;
    while (!alk_call_emit(stream->call, TEXT("\"xxxxxxxxxxxxxxxxxxxx\"")))
        taken++;
    framed_rig_run(&r);
    ck_assert_int_gt(taken, 5);
    ck_assert_int_lt(taken, 30);
    ck_assert_int_eq(stream->drains, 0);
    ck_assert_uint_gt(r.e->out.len, 1000);
    ck_assert_uint_eq(r.e->patience, 10000 * MS);
    /* In the transport's hand it counts as much. */
    r.e->inflight = r.e->out.len;
    ck_assert(!buf_append(&r.got, buf_at(&r.e->out), r.e->out.len));
    buf_consume(&r.e->out, r.e->out.len);
    r.woken = true;
    framed_rig_run(&r);
    ck_assert_int_eq(stream->drains, 0);
    r.e->inflight = 501;
    r.woken = true;
    framed_rig_run(&r);
    ck_assert_int_eq(stream->drains, 0);
    r.e->inflight = 500;
    r.woken = true;
    framed_rig_run(&r);
    ck_assert_int_eq(stream->drains, 1);
    ck_assert_uint_eq(r.e->patience, 0);
    r.e->inflight = 0;
    r.stuck = false;
    while (framed_rig_next(&r))
        values++;
    ck_assert_int_eq(values, taken);
    framed_rig_fini(&r);
}
END_TEST

START_TEST(a_remote_that_takes_nothing_is_cut)
{
    struct framed_rig r;

    framed_rig_prepare(&r);
    r.n.w->limits.queue_high = 10;
    framed_rig_start(&r, NULL);
    r.stuck = true;
    framed_rig_say(&r, REQUEST("0", "t/query", "1"));
    framed_rig_say(&r, REQUEST("1", "t/echo", "1"));
    ck_assert_uint_eq(r.e->patience, 10000 * MS);
    ck_assert(r.e->ops->stalled(r.e, r.n.w->now));
    ck_assert_int_eq(r.s.code, WS_TRY_AGAIN);
    ck_assert_int_eq(r.e->closing, ENGINE_RESET);
    framed_rig_run(&r);
    ck_assert_int_eq(r.n.query.why, ALK_END_CLOSED);
    ck_assert(!r.e->ops->stalled(r.e, r.n.w->now));
    framed_rig_fini(&r);
}
END_TEST

START_TEST(a_remote_with_too_much_queued_is_closed)
{
    struct framed_rig r;
    char *big = repeated("x", 900, "\"", "\"");

    framed_rig_prepare(&r);
    r.n.w->limits.queue_max = 2000;
    r.n.w->limits.frame_bytes = 1000;
    framed_rig_start(&r, NULL);
    r.stuck = true;
    for (int i = 0; i < 4 && !r.over; i++) {
        served_free(&r.n.query);
        framed_rig_say(&r, REQUEST("1", "t/query", "1"));
        if (r.n.query.call)
            served_reply(&r.n.query, big);
        framed_rig_run(&r);
    }
    ck_assert(r.over && world_logged(r.n.w, "the remote does not read"));
    ck_assert_uint_eq(r.n.w->d->counts.metrics.slow_consumers, 1);
    framed_rig_fini(&r);
    free(big);
}
END_TEST

/* ---- the budget ------------------------------------------------------------------------------ */

static void set_budget(struct framed_rig *r, uint32_t bytes)
{
    alk_limits l;

    alk_node_get_limits(r->n.w->node, &l, sizeof l);
    l.message_budget = bytes;
    ck_assert_int_eq(alk_node_set_limits(r->n.w->node, &l), ALK_OK);
}

START_TEST(what_comes_is_charged_while_it_comes)
{
    struct framed_rig r;
    char *big = big_request(200000);
    uint8_t head[FRAME_HEAD];

    framed_rig_init(&r, "known");
    frame_encode(head, strlen(big));
    framed_rig_bytes(&r, head, sizeof head);
    framed_rig_bytes(&r, big, 100000);
    ck_assert_uint_ge(world_stats(r.n.w).message_bytes, 100000);
    ck_assert_uint_le(world_stats(r.n.w).message_bytes, 200000);
    r.e->ops->eof(r.e, r.n.w->now);
    ck_assert_uint_eq(world_stats(r.n.w).message_bytes, 0);
    framed_rig_fini(&r);
    free(big);
}
END_TEST

/* In pieces of every kind: what has no room while it comes, when it is whole in the decoder, and
 * when it is whole in what was fed. Behind it comes another. */
START_TEST(a_frame_that_finds_no_room_is_taken_later)
{
    static const size_t cuts[] = {0, 1000, 17000, 50000};
    char *big = big_request(100000), *in;
    size_t n = strlen(big), small = strlen(REQUEST("2", "t/echo", "2")), fed = 0;
    struct framed_rig r;

    in = malloc(2 * FRAME_HEAD + n + small);
    ck_assert_ptr_nonnull(in);
    frame_encode((uint8_t *)in, n);
    memcpy(in + FRAME_HEAD, big, n);
    frame_encode((uint8_t *)in + FRAME_HEAD + n, small);
    memcpy(in + 2 * FRAME_HEAD + n, REQUEST("2", "t/echo", "2"), small);
    n += 2 * FRAME_HEAD + small;
    framed_rig_init(&r, "known");
    set_budget(&r, 100000);
    r.cut = cuts[_i];
    fed = framed_rig_bytes(&r, in, n);
    ck_assert(!r.over && !r.e->reading);
    ck_assert_uint_eq(r.e->deadline, r.n.w->now + 50 * MS);
    for (int i = 0; i < 100; i++)
        framed_rig_advance(&r, 50);
    ck_assert(!r.over && !r.e->reading && !r.n.stream.starts);
    set_budget(&r, 100000000);
    framed_rig_run(&r);
    ck_assert(!r.e->reading);
    framed_rig_advance(&r, 50);
    ck_assert(r.e->reading);
    framed_rig_bytes(&r, in + fed, n - fed);
    ck_assert_int_eq(r.n.stream.starts, 1);
    framed_rig_expect(&r, RESPONDED("2", "2"));
    ck_assert_uint_eq(r.e->deadline, 0);
    framed_rig_fini(&r);
    free(big);
    free(in);
}
END_TEST

/* While it was not read it could not say more. */
START_TEST(a_stranger_that_was_held_back_has_its_time_anew)
{
    struct framed_rig r;
    char *big = big_request(100000);
    uint8_t head[FRAME_HEAD];
    size_t n = strlen(big), fed;

    framed_rig_init(&r, NULL);
    set_budget(&r, 100000);
    frame_encode(head, n);
    framed_rig_bytes(&r, head, sizeof head);
    r.cut = 17000;
    fed = framed_rig_bytes(&r, big, n - 10);
    ck_assert(!r.e->reading);
    for (int i = 0; i < 220; i++)
        framed_rig_advance(&r, 50);
    ck_assert(!r.over);
    set_budget(&r, 100000000);
    framed_rig_advance(&r, 50);
    ck_assert(r.e->reading);
    framed_rig_bytes(&r, big + fed, n - 10 - fed);
    framed_rig_advance(&r, 9999);
    ck_assert(!r.over);
    framed_rig_advance(&r, 1);
    ck_assert(r.over);
    framed_rig_fini(&r);
    free(big);
}
END_TEST

START_TEST(a_frame_that_never_finds_room_ends_the_connection)
{
    struct framed_rig r;
    char *big = big_request(100000);

    framed_rig_init(&r, NULL);
    set_budget(&r, 100000);
    framed_rig_say(&r, big);
    ck_assert(!r.e->reading);
    for (int i = 0; i < 599; i++)
        framed_rig_advance(&r, 50);
    ck_assert(!r.over);
    framed_rig_advance(&r, 50);
    ck_assert(r.over && r.e->reading);
    ck_assert_int_eq(r.s.code, WS_TRY_AGAIN);
    ck_assert(world_logged(r.n.w, "too many messages are being received"));
    framed_rig_fini(&r);
    free(big);
}
END_TEST

START_TEST(the_end_while_a_frame_waits_for_room_is_a_close)
{
    struct framed_rig r;
    char *big = big_request(100000);

    framed_rig_init(&r, NULL);
    set_budget(&r, 100000);
    framed_rig_say(&r, big);
    ck_assert(!r.e->reading);
    r.e->ops->eof(r.e, r.n.w->now);
    ck_assert_int_eq(r.s.code, WS_NO_STATUS);
    framed_rig_fini(&r);
    free(big);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

/* A session with calls both ways and messages in pieces; false: it could not be opened. */
static bool scenario(struct framed_rig *r)
{
    char *big = big_request(20000);
    bool open = !framed_rig_open(r, NULL);

    if (!open) {
        free(big);
        return false;
    }
    r->cut = 3000;
    framed_rig_say(r, big);
    free(big);
    set_budget(r, 30000);
    big = repeated("x", 25000, BEGIN "\"2\",\"payload\":\"", "\"}");
    r->cut = 0;
    framed_rig_say(r, big);
    free(big);
    set_budget(r, 100000000);
    framed_rig_advance(r, 50);
    if (r->n.stream.call && !call_ended(r->n.stream.call))
        alk_call_emit(r->n.stream.call, TEXT("[1,2,3]"));
    framed_rig_run(r);
    framed_rig_say(r, REQUEST("3", "t/echo", "[3]"));
    r->stuck = true;
    framed_rig_say(r, REQUEST("4", "t/echo", "[4]"));
    framed_rig_say(r, "nonsense");
    r->stuck = false;
    framed_rig_run(r);
    return true;
}

/* Of the engine, and then of the dispatcher: either everything is answered, or the session has
 * ended. */
START_TEST(whichever_allocation_fails_nothing_is_lost_or_halved)
{
    bool failed = true;

    for (long nth = 1; failed; nth++) {
        struct framed_rig r;
        struct memory *m;

        ck_assert_int_lt(nth, 1000);
        framed_rig_prepare(&r);
        world_start(r.n.w);
        m = _i ? &r.n.w->memory : &r.memory;
        m->fail_in = nth;
        if (scenario(&r)) {
            int answers = 0;

            m->fail_in = 0;
            while (framed_rig_next(&r))
                answers++;
            ck_assert(r.over); /* by the nonsense, at the latest */
            ck_assert(m->failed || answers == 3);
            ck_assert_int_le(answers, 3);
            failed = m->failed;
            framed_rig_fini(&r);
        } else {
            ck_assert(m->failed);
            ck_assert_uint_eq(r.memory.live, 0);
            world_free(r.n.w);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("framed");
    TCase *t = tcase_create("framed");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, requests_are_answered_wherever_the_stream_is_cut);
    tcase_add_test(t, both_sides_call_each_other);
    tcase_add_loop_test(t, every_framing_error_ends_the_connection, 0,
                        (int)(sizeof bad_streams / sizeof bad_streams[0]));
    tcase_add_test(t, a_stranger_may_send_less_unless_it_answers);
    tcase_add_test(t, a_known_remote_may_send_frames_up_to_the_limit);
    tcase_add_test(t, the_end_between_frames_is_a_close_and_within_one_a_fault);
    tcase_add_test(t, a_close_lets_out_what_was_queued_before_it);
    tcase_add_test(t, what_cannot_leave_within_close_ms_is_given_up);
    tcase_add_test(t, codes_say_why_it_ended);
    tcase_add_test(t, a_drain_waits_for_the_last_call);
    tcase_add_test(t, an_answer_above_the_limit_is_taken_back);
    tcase_add_test(t, after_the_end_nothing_is_sent);
    tcase_add_test(t, a_stranger_has_header_timeout_for_its_first_frame);
    tcase_add_test(t, who_is_known_or_was_dialled_may_be_silent_for_ever);
    tcase_add_test(t, a_frame_that_does_not_come_on_ends_the_connection);
    tcase_add_test(t, values_wait_when_the_remote_does_not_take_them_and_go_on_when_it_does);
    tcase_add_test(t, a_remote_that_takes_nothing_is_cut);
    tcase_add_test(t, a_remote_with_too_much_queued_is_closed);
    tcase_add_test(t, what_comes_is_charged_while_it_comes);
    tcase_add_loop_test(t, a_frame_that_finds_no_room_is_taken_later, 0, 4);
    tcase_add_test(t, a_stranger_that_was_held_back_has_its_time_anew);
    tcase_add_test(t, a_frame_that_never_finds_room_ends_the_connection);
    tcase_add_test(t, the_end_while_a_frame_waits_for_room_is_a_close);
    tcase_add_loop_test(t, whichever_allocation_fails_nothing_is_lost_or_halved, 0, 2);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
