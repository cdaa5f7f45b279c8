/* Peers that break QUIC: each violation ends the connection with the code that RFC 9000 gives it,
 * and what is no violation does not. */
#include "quic_raw_wire.h"

struct violation {
    const char *name, *frames;
    size_t len;
    uint64_t code;
};

#define FRAMES(name, bytes, code)                                                                  \
    {                                                                                              \
        name, bytes, sizeof bytes - 1, code                                                        \
    }

static const struct violation violations[] = {
    FRAMES("no frame of that type", "\x3f", NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("a stream's frame beyond the packet", "\x0a\x00\x7f\xff", NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("an acknowledgement of what was not sent", "\x02\x80\x01\x00\x00\x00\x00\x00",
           NGTCP2_PROTOCOL_VIOLATION),
    FRAMES("an acknowledgement below zero", "\x02\x01\x00\x00\x05", NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("HANDSHAKE_DONE of a client", "\x1e", NGTCP2_PROTOCOL_VIOLATION),
    FRAMES("NEW_TOKEN of a client", "\x07\x01x", NGTCP2_PROTOCOL_VIOLATION),
    FRAMES("a stream beyond its window", "\x0e\x00\xc0\x00\x01\x00\x00\x00\x00\x00\x01x",
           NGTCP2_FLOW_CONTROL_ERROR),
    FRAMES("more streams than allowed", "\x0a\x80\x00\x10\x00\x01x", NGTCP2_STREAM_LIMIT_ERROR),
    FRAMES("a stream of one direction", "\x0a\x02\x01x", NGTCP2_STREAM_LIMIT_ERROR),
    FRAMES("a stream of ours that is not open", "\x0a\x41\x01\x01x", NGTCP2_STREAM_STATE_ERROR),
    FRAMES("a window of a stream of ours that is not open", "\x11\x41\x01\x05",
           NGTCP2_STREAM_STATE_ERROR),
    FRAMES("STOP_SENDING of a stream of ours that is not open", "\x05\x41\x01\x00",
           NGTCP2_STREAM_STATE_ERROR),
    FRAMES("a reset below what has come", "\x0a\x0c\x05hello\x04\x0c\x00\x02",
           NGTCP2_FINAL_SIZE_ERROR),
    FRAMES("two ends of a stream", "\x0b\x0c\x05hello\x0f\x0c\x00\x07helloho",
           NGTCP2_FINAL_SIZE_ERROR),
    FRAMES("data behind the end of a stream", "\x0b\x0c\x05hello\x0e\x0c\x05\x01x",
           NGTCP2_FINAL_SIZE_ERROR),
    FRAMES("MAX_STREAMS beyond all streams", "\x12\xd0\x00\x00\x00\x00\x00\x00\x01",
           NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("STREAMS_BLOCKED beyond all streams", "\x16\xd0\x00\x00\x00\x00\x00\x00\x01",
           NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("an id taken back that was not given", "\x19\x3f", NGTCP2_PROTOCOL_VIOLATION),
    FRAMES("an id that takes back itself",
           "\x18\x01\x02\x04"
           "abcd"
           "0123456789abcdef",
           NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("an id of no bytes",
           "\x18\x01\x00\x00"
           "0123456789abcdef",
           NGTCP2_FRAME_ENCODING_ERROR),
    FRAMES("more ids than allowed",
           "\x18\x05\x00\x04"
           "abcd"
           "0123456789abcdef"
           "\x18\x06\x00\x04"
           "abce"
           "0123456789abcdeg"
           "\x18\x07\x00\x04"
           "abcf"
           "0123456789abcdeh"
           "\x18\x08\x00\x04"
           "abcg"
           "0123456789abcdei"
           "\x18\x09\x00\x04"
           "abch"
           "0123456789abcdej",
           NGTCP2_CONNECTION_ID_LIMIT_ERROR),
    FRAMES("a number of an id given twice",
           "\x18\x01\x00\x04"
           "abcd"
           "0123456789abcdef",
           NGTCP2_PROTOCOL_VIOLATION),
    FRAMES("TLS behind the handshake that is none", "\x06\x00\x05\xee\x00\x00\x01x", 0x100 + 10),
    FRAMES("TLS behind the handshake, far away", "\x06\xc0\x00\x00\x00\x10\x00\x00\x00\x05hello",
           NGTCP2_CRYPTO_BUFFER_EXCEEDED),
};

enum { VIOLATIONS = sizeof violations / sizeof violations[0] };

/* What the engine said with its close. */
static uint64_t close_code(const struct raw *r)
{
    return ngtcp2_conn_get_ccerr(r->ng)->error_code;
}

START_TEST(frames_that_must_not_be_end_the_connection)
{
    const struct violation *v = &violations[_i];
    struct raw *r;
    struct wire *w = raw_wire(&r);

    raw_frames(r, RAW_SHORT, raw_open(r), (const uint8_t *)v->frames, v->len);
    raw_run(w, r, 100 * MS);
    ck_assert_int_eq(r->replace, RAW_NONE);
    ck_assert_msg(r->over && r->failed == NGTCP2_ERR_DRAINING, "%s: goes on", v->name);
    ck_assert_msg(close_code(r) == v->code, "%s: 0x%llx", v->name,
                  (unsigned long long)close_code(r));
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert_int_eq(w->far->code, -1);
    raw_end(w, r);
}
END_TEST

static const struct violation harmless[] = {
    FRAMES("nothing but padding", "", 0),
    FRAMES("PING", "\x01", 0),
    FRAMES("a path response to no challenge",
           "\x1b"
           "12345678",
           0),
    FRAMES("a path challenge",
           "\x1a"
           "12345678",
           0),
    FRAMES("DATA_BLOCKED", "\x14\x05", 0),
    FRAMES("STREAMS_BLOCKED", "\x16\x05\x17\x00", 0),
    FRAMES("STREAM_DATA_BLOCKED", "\x15\x0c\x05", 0),
    FRAMES("a window that shrinks", "\x10\x00\x11\x0c\x00\x12\x00", 0),
    FRAMES("a stream reset before it began", "\x04\x0c\x05\x00", 0),
    FRAMES("a stream reset twice", "\x04\x0c\x05\x00\x04\x0c\x05\x00", 0),
    FRAMES("STOP_SENDING before anything", "\x05\x0c\x05", 0),
    FRAMES("a stream that ends twice at one place",
           "\x0b\x0c\x05"
           "\0\0\0\1x"
           "\x0b\x0c\x05"
           "\0\0\0\1x",
           0),
    FRAMES("an empty stream", "\x0b\x0c\x00", 0),
};

enum { HARMLESS = sizeof harmless / sizeof harmless[0] };

START_TEST(frames_that_may_be_do_not_end_the_connection)
{
    const struct violation *v = &harmless[_i];
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t s;

    for (s = 0; s < 12;)
        s = raw_open(r);
    raw_frames(r, RAW_SHORT, 0, (const uint8_t *)v->frames, v->len);
    raw_run(w, r, 100 * MS);
    ck_assert_msg(!r->over && !w->far->overs, "%s: %s", v->name, w->far->why);
    s = raw_open(r);
    raw_say(r, s, "\0\0\0\5hello", 9, false);
    raw_run(w, r, 100 * MS);
    ck_assert(got(w->far, (uint64_t)s, "hello"));
    raw_end(w, r);
}
END_TEST

START_TEST(closes_of_the_remote_are_told_as_they_are)
{
    static const struct violation closes[] = {
        FRAMES("the QUIC error 0x7: bad\?\?thing",
               "\x1c\x07\x00\x0a"
               "bad\x1b\x80thing",
               0),
        FRAMES("closed by the remote", "\x1d\x03\x00", 3),
        FRAMES("closed by the remote: why", "\x1d\x00\x03why", 0),
        FRAMES("does not know the connection any more", "\x1c\x00\x00\x00", 0),
    };
    struct raw *r;
    struct wire *w = raw_wire(&r);

    raw_frames(r, RAW_SHORT, raw_open(r), (const uint8_t *)closes[_i].frames, closes[_i].len);
    raw_run(w, r, 100 * MS);
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert_int_eq(w->far->code, closes[_i].frames[0] == 0x1d ? (int64_t)closes[_i].code : -1);
    ck_assert_msg(strstr(w->far->why, closes[_i].name) != NULL, "%s", w->far->why);
    raw_end(w, r);
}
END_TEST

/* ---- within the handshake -------------------------------------------------------------------- */

/* code 0: it is dropped without an answer. */
static void in_handshake(int kind, const char *frames, size_t len, uint64_t code)
{
    struct wire *w = wire_new();
    struct raw *r;

    wire_open(w);
    r = raw_of_wire(w);
    raw_begin(w, r);
    raw_frames(r, kind, 0, (const uint8_t *)frames, len);
    raw_run(w, r, 500 * MS);
    ck_assert_int_eq(r->replace, RAW_NONE);
    w->far = wire_far(w);
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert_int_eq(w->far->readies, 0);
    ck_assert_int_eq(r->over, code != 0);
    if (code)
        ck_assert_uint_eq(close_code(r), code);
    else
        ck_assert_uint_eq(w->server.sent, 0);
    raw_end(w, r);
}

START_TEST(frames_that_must_not_be_in_a_handshake)
{
    in_handshake(RAW_INITIAL, "\x0a\x00\x01x", 4, 0);
    in_handshake(RAW_INITIAL, "\x1e", 1, 0);
    in_handshake(RAW_INITIAL, "\x3f", 1, 0);
    in_handshake(RAW_INITIAL, "\x01", 1, 0);
    in_handshake(RAW_INITIAL, "\x06\x00\x05\x09\x00\x00\x01x", 8, 0x100 + 10);
    in_handshake(RAW_HANDSHAKE, "\x10\x05", 2, NGTCP2_PROTOCOL_VIOLATION);
    in_handshake(RAW_HANDSHAKE, "\x3f", 1, NGTCP2_FRAME_ENCODING_ERROR);
}
END_TEST

enum { PAYLOAD, EXPONENT, STREAMS, PARAMETERS };

START_TEST(transport_parameters_that_must_not_be)
{
    struct wire *w = wire_new();
    struct raw *r;

    wire_open(w);
    r = raw_of_wire(w);
    if (_i == PAYLOAD)
        r->params.max_udp_payload_size = 1199;
    else if (_i == EXPONENT)
        r->params.ack_delay_exponent = 21;
    else
        r->params.initial_max_streams_bidi = (1ull << 60) + 1;
    raw_begin(w, r);
    raw_run(w, r, 500 * MS);
    ck_assert(r->over);
    ck_assert_uint_eq(close_code(r), NGTCP2_TRANSPORT_PARAMETER_ERROR);
    w->far = wire_far(w);
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert_int_eq(w->far->readies, 0);
    raw_end(w, r);
}
END_TEST

/* ---- a remote that gives little -------------------------------------------------------------- */

START_TEST(a_remote_without_windows_is_waited_for)
{
    static char big[100000];
    struct wire *w = wire_new();
    struct raw *r;
    uint64_t s;

    wire_open(w);
    r = raw_of_wire(w);
    r->params.initial_max_stream_data_bidi_remote = 100;
    r->params.initial_max_data = 100;
    r->params.initial_max_streams_bidi = 1;
    raw_begin(w, r);
    raw_run(w, r, 100 * MS);
    w->far = wire_far(w);
    s = open_stream(w->far);
    ck_assert(!quic_open_stream(w->far->c, &s));
    ck_assert_int_eq(quic_send(w->far->c, 1, big, sizeof big), 0);
    raw_run(w, r, 2000 * MS);
    /* It gives back what it has read, a hundred bytes at a time. */
    ck_assert_uint_ge(raw_stream(r, 1)->len, 1000);
    ck_assert_uint_ge(raw_stream(r, 1)->len + quic_queued_all(w->far->c), sizeof big + 4 - 200);
    ck_assert_int_eq(w->far->overs, 0);
    raw_end(w, r);
}
END_TEST

START_TEST(no_stream_at_all_may_be_opened)
{
    struct wire *w = wire_new();
    struct raw *r;
    uint64_t s;

    wire_open(w);
    r = raw_of_wire(w);
    r->params.initial_max_streams_bidi = 0;
    raw_begin(w, r);
    raw_run(w, r, 100 * MS);
    ck_assert(!quic_open_stream(wire_far(w)->c, &s));
    raw_end(w, r);
}
END_TEST

/* Holes in a stream: what lies behind them is kept within the window, and the order is right. */
START_TEST(what_comes_out_of_order_waits)
{
    static const uint8_t behind[] = "\x0e\x0c\x05\x04"
                                    "ello",
                         before[] = "\x0e\x0c\x00\x05"
                                    "\0\0\0\5h";
    struct raw *r;
    struct wire *w = raw_wire(&r);

    raw_frames(r, RAW_SHORT, raw_open(r), behind, sizeof behind - 1);
    raw_run(w, r, 100 * MS);
    ck_assert_uint_eq(peer_stream(w->far, 12)->frames, 0);
    raw_frames(r, RAW_SHORT, raw_open(r), before, sizeof before - 1);
    raw_run(w, r, 100 * MS);
    ck_assert(got(w->far, 12, "hello"));
    raw_end(w, r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic raw");
    TCase *t = tcase_create("raw");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, frames_that_must_not_be_end_the_connection, 0, VIOLATIONS);
    tcase_add_loop_test(t, frames_that_may_be_do_not_end_the_connection, 0, HARMLESS);
    tcase_add_loop_test(t, closes_of_the_remote_are_told_as_they_are, 0, 4);
    tcase_add_test(t, frames_that_must_not_be_in_a_handshake);
    tcase_add_loop_test(t, transport_parameters_that_must_not_be, 0, PARAMETERS);
    tcase_add_test(t, a_remote_without_windows_is_waited_for);
    tcase_add_test(t, no_stream_at_all_may_be_opened);
    tcase_add_test(t, what_comes_out_of_order_waits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
