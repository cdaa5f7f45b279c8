/* The life of a WebSocket engine by a clock that the test holds: pings, silence, holding back,
 * backpressure, a remote that does not read, draining. */
#include "support/suite.h"
#include "unit/wire/ws_wire.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SECOND (1000 * WS_MS)

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

/* As a transport with these limits from the start. */
static struct ws_wire *timed(bool client, uint64_t ping, uint64_t idle, uint64_t close)
{
    struct ws_wire *w = ws_wire_new(client);

    w->limits.ping = ping;
    w->limits.idle = idle;
    w->limits.close = close;
    return ws_wire_open(w);
}

/* ---- pings and silence ------------------------------------------------------------------------- */

START_TEST(without_times_nothing_happens)
{
    EVERY_WIRE(w)
    {
        ck_assert_uint_eq(w->e->deadline, 0);
        ck_assert_uint_eq(w->e->patience, 0);
        say(w, "t:a");
        w->now += 1000000 * SECOND;
        w->e->ops->timeout(w->e, w->now);
        say(w, "t:b|x");
        ck_assert_str_eq(saw(w), "text a\ntext b\nclose 1005\n");
    }
}
END_TEST

START_TEST(pings_go_out_at_intervals)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = timed(client, 10 * SECOND, 0, 0);

        ck_assert_uint_eq(w->e->deadline, w->now + 10 * SECOND);
        for (int i = 1; i < 10; i++) {
            ws_sleep(w, 10 * SECOND - 1);
            ck_assert_int_eq(count(sent(w), "ping\n"), i - 1);
            say(w, "t:a|o"); /* does not move them */
            ws_sleep(w, 1);
            ck_assert_int_eq(count(sent(w), "ping\n"), i);
        }
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(missed_pings_are_skipped)
{
    struct ws_wire *w = timed(false, 10 * SECOND, 0, 0);

    w->now += 75 * SECOND;
    w->e->ops->timeout(w->e, w->now);
    ws_wire_settle(w);
    ck_assert_str_eq(sent(w), "ping\n");
    ck_assert_uint_eq(w->e->deadline, w->now + 10 * SECOND);
    ws_wire_free(w);
}
END_TEST

START_TEST(a_timeout_too_early_does_nothing)
{
    struct ws_wire *w = timed(false, 10 * SECOND, 20 * SECOND, SECOND);

    w->now += 10 * SECOND - 1;
    w->e->ops->timeout(w->e, w->now);
    ws_wire_settle(w);
    ck_assert_str_eq(sent(w), "");
    ws_we_close(w, WS_NORMAL, "");
    w->now += SECOND - 1;
    w->e->ops->timeout(w->e, w->now);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    w->now += 1;
    w->e->ops->timeout(w->e, w->now);
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    w->e->ops->timeout(w->e, w->now + 1);
    ws_wire_free(w);
}
END_TEST

START_TEST(silence_ends_the_session)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = timed(client, 10 * SECOND, 35 * SECOND, 5 * SECOND);

        ws_sleep(w, 35 * SECOND - 1);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "ping\nping\nping\n");
        ws_sleep(w, 1);
        ck_assert_str_eq(saw(w), "close 1001\n");
        ck_assert_str_eq(sent(w), "ping\nping\nping\nclose 1001\n");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ws_sleep(w, 5 * SECOND);
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
        ck_assert_str_eq(saw(w), "close 1001\n");
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(an_idle_session_that_answers_the_close_ends_well)
{
    struct ws_wire *w = timed(false, 0, 35 * SECOND, 5 * SECOND);

    ws_sleep(w, 35 * SECOND);
    say(w, "t:late|x=1001");
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(saw(w), "close 1001\n");
    ck_assert_str_eq(sent(w), "close 1001\n");
    ws_wire_free(w);
}
END_TEST

START_TEST(any_frame_is_a_sign_of_life)
{
    static const char *const scripts[] = {"p", "o", "o:x", "t:a", "b*70000", "t-|c", "t-:a|c-|c"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        struct ws_wire *w = timed(i & 1, 0, 10 * SECOND, SECOND);

        for (int n = 0; n < 20; n++) {
            ws_sleep(w, 10 * SECOND - 1);
            say(w, scripts[i]);
        }
        ck_assert_int_eq(count(saw(w), "close"), 0);
        ws_sleep(w, 10 * SECOND);
        ck_assert_int_eq(count(saw(w), "close 1001\n"), 1);
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(a_fragment_is_a_sign_of_life)
{
    struct ws_wire *w = timed(false, 0, 10 * SECOND, SECOND);

    say(w, "t-:a");
    for (int n = 0; n < 20; n++) {
        ws_sleep(w, 10 * SECOND - 1);
        say(w, "c-:b");
    }
    ws_sleep(w, 10 * SECOND);
    ck_assert_str_eq(saw(w), "close 1001\n");
    ws_wire_free(w);
}
END_TEST

START_TEST(half_a_frame_is_none)
{
    static const char *const scripts[] = {"t*100", "p:hello", "b*70000", "x=1000"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            struct ws_wire *w = timed(false, 0, 10 * SECOND, SECOND);
            struct buf b;
            size_t half;

            buf_init(&b, &w->own);
            put_script(w, &b, scripts[i]);
            half = b.len < 900 ? b.len - 1 : 900;
            ws_sleep(w, 5 * SECOND);
            if (!bytewise)
                ws_feed(w, buf_at(&b), half);
            for (size_t at = 0; bytewise && at < half; at++) {
                ws_feed(w, buf_at(&b) + at, 1);
                ws_sleep(w, SECOND / 1000);
            }
            ws_sleep(w, 5 * SECOND);
            ck_assert_str_eq(saw(w), "close 1001\n");
            ck_assert_str_eq(sent(w), "close 1001\n");
            ws_sleep(w, SECOND);
            ck_assert_int_eq(w->e->closing, ENGINE_RESET);
            buf_fini(&b);
            ws_wire_free(w);
        }
    }
}
END_TEST

/* However it is cut: what counts is how much has come. */
START_TEST(a_long_frame_that_goes_on_is_a_sign_of_life)
{
    static const size_t cuts[] = {1, 100, 536, 1023, 1024, 1448, 9000};

    for (size_t i = 0; i < COUNT(cuts); i++) {
        struct ws_wire *w = timed(i & 1, 0, 10 * SECOND, SECOND);
        struct buf b;

        buf_init(&b, &w->own);
        put_script(w, &b, "b*200000");
        for (size_t at = 0; at < b.len; at += cuts[i]) {
            ws_feed(w, buf_at(&b) + at, b.len - at < cuts[i] ? b.len - at : cuts[i]);
            ws_sleep(w, cuts[i] * (SECOND / 180)); /* 180 bytes a second */
            if (cuts[i] > 1448)
                break;
        }
        buf_fini(&b);
        ck_assert_str_eq(saw(w), cuts[i] > 1448 ? "close 1001\n" : "binary of 200000\n");
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(a_touch_is_a_sign_of_life)
{
    struct ws_wire *w = timed(false, 0, 10 * SECOND, SECOND);

    for (int n = 0; n < 20; n++) {
        ws_sleep(w, 10 * SECOND - 1);
        ws_touch(w->ws, w->now);
    }
    ck_assert_str_eq(saw(w), "");
    ws_sleep(w, 10 * SECOND);
    ck_assert_str_eq(saw(w), "close 1001\n");
    ws_wire_free(w);
}
END_TEST

START_TEST(what_we_send_is_none_of_the_remote)
{
    struct ws_wire *w = timed(false, 3 * SECOND, 10 * SECOND, SECOND);

    for (int n = 0; n < 10; n++) {
        ck_assert_int_eq(ws_send(w->ws, true, "a", 1), 0);
        ws_wire_settle(w);
        ws_sleep(w, SECOND);
    }
    ck_assert_str_eq(saw(w), "close 1001\n");
    ws_wire_free(w);
}
END_TEST

START_TEST(limits_may_change)
{
    struct ws_wire *w = timed(false, 0, 0, 0);

    w->limits.ping = SECOND;
    w->limits.message_bytes = 3;
    say(w, "t:abc");
    ws_sleep(w, 3 * SECOND);
    ck_assert_int_ge(count(sent(w), "ping\n"), 3);
    w->limits.message_bytes = 2;
    say(w, "t:abc");
    ck_assert_str_eq(saw(w), "text abc\nclose 1009\n");
    ws_wire_free(w);
}
END_TEST

/* ---- holding back ------------------------------------------------------------------------------ */

static void hold(struct ws_wire *w, const char *data, size_t len)
{
    (void)data;
    (void)len;
    ws_hold(w->ws, true);
}

static void go_on(struct ws_wire *w)
{
    ws_hold(w->ws, false);
    ws_wire_go_on(w);
}

START_TEST(messages_wait_while_they_are_held)
{
    EVERY_WIRE(w)
    {
        ws_hold(w->ws, true);
        ck_assert(!w->e->reading);
        say(w, "t:a|p:1|t:b|t-:c");
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "");
        go_on(w);
        ck_assert(w->e->reading);
        ck_assert_str_eq(saw(w), "text a\ntext b\n");
        ck_assert_str_eq(sent(w), "pong 1\n");
        say(w, "c:d");
        ck_assert_str_eq(saw(w), "text a\ntext b\ntext cd\n");
    }
}
END_TEST

START_TEST(one_message_at_a_time)
{
    EVERY_WIRE(w)
    {
        w->then = hold;
        say(w, "t:a|p:1|t-:b|c:b|b*300|x=1000");
        for (int i = 1; i <= 3; i++) {
            ck_assert_int_eq(w->messages, i);
            ck_assert(!w->e->reading);
            ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
            go_on(w);
        }
        ck_assert_str_eq(saw(w), "text a\ntext bb\nbinary of 300\nclose 1000\n");
        ck_assert_str_eq(sent(w), "pong 1\nclose 1000\n");
    }
}
END_TEST

/* What is kept comes first, in order, wherever the bytes were cut. */
START_TEST(what_is_kept_is_not_overtaken)
{
    for (size_t cut = 1; cut < 40; cut++) {
        struct ws_wire *w = ws_wire_open(ws_wire_new(cut & 1));
        struct buf b;

        buf_init(&b, &w->own);
        put_script(w, &b, "t:0|t:1|t-:2|p|c:2|t:3");
        ws_hold(w->ws, true);
        ws_wire_settle(w);
        for (size_t at = 0; at < b.len; at += cut) {
            /* A transport that has read already. */
            ws_feed_piece(w, buf_at(&b) + at, b.len - at < cut ? b.len - at : cut);
            if (at > b.len / 2)
                go_on(w);
        }
        go_on(w);
        buf_fini(&b);
        ck_assert_str_eq(saw(w), "text 0\ntext 1\ntext 22\ntext 3\n");
        ck_assert_uint_eq(w->mem.live, 1);
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(what_is_kept_may_be_bad)
{
    static const struct {
        const char *script;
        int code;
    } rows[] = {{"t:a|3:x|t:b", 1002}, {"t:\xff|t:b", 1007}, {"t-:b|x=1001|t", 1001}, {"c", 1002}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        EVERY_WIRE(w)
        {
            char heard[30];

            w->then = hold;
            say(w, "t:0");
            w->then = NULL;
            w->e->reading = true; /* a transport that has read already */
            say(w, rows[i].script);
            w->e->reading = false;
            forget(w);
            go_on(w);
            snprintf(heard, sizeof heard, "close %d\n", rows[i].code);
            ck_assert_str_eq(sent(w), heard);
            ck_assert_int_eq(w->code, rows[i].code);
            ck_assert_uint_eq(w->mem.live, 1);
            say(w, "t:behind");
            ws_eof(w);
        }
    }
}
END_TEST

START_TEST(we_close_while_they_are_held)
{
    EVERY_WIRE(w)
    {
        ws_hold(w->ws, true);
        ws_wire_settle(w);
        ws_feed_piece(w, "", 1);
        ws_we_close(w, WS_NORMAL, "");
        ck_assert(w->e->reading);
        ws_hold(w->ws, true);
        ck_assert(w->e->reading);
        ck_assert_str_eq(sent(w), "close 1000\n");
        ck_assert_str_eq(saw(w), "");
    }
}
END_TEST

/* It may well speak, but is not read. */
START_TEST(one_who_is_held_back_is_not_idle)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = timed(client, 7 * SECOND, 10 * SECOND, SECOND);

        say(w, "t:a");
        ws_hold(w->ws, true);
        ws_wire_settle(w);
        for (int i = 0; i < 10; i++)
            ws_sleep(w, 9 * SECOND);
        ck_assert_str_eq(saw(w), "text a\n");
        ck_assert_int_eq(count(sent(w), "ping\n"), 12);
        go_on(w);
        ws_sleep(w, 10 * SECOND - 1);
        ck_assert_str_eq(saw(w), "text a\n");
        ws_sleep(w, 1);
        ck_assert_str_eq(saw(w), "text a\nclose 1001\n");
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(one_who_is_held_back_without_pings_is_not_idle)
{
    for (uint64_t held = SECOND; held < 40 * SECOND; held += SECOND) {
        struct ws_wire *w = timed(false, 0, 10 * SECOND, SECOND);

        ws_hold(w->ws, true);
        ws_wire_settle(w);
        ws_sleep(w, held);
        go_on(w);
        ws_sleep(w, 10 * SECOND - 1);
        ck_assert_str_eq(saw(w), "");
        ws_sleep(w, 1);
        ck_assert_str_eq(saw(w), "close 1001\n");
        ws_wire_free(w);
    }
}
END_TEST

/* ---- a remote that does not read --------------------------------------------------------------- */

START_TEST(the_application_hears_when_the_output_has_shrunk)
{
    EVERY_WIRE(w)
    {
        char data[500] = {0};

        w->limits.write_high = 1000;
        w->stuck = true;
        ck_assert_int_eq(ws_send(w->ws, false, data, 400), 0);
        ws_wire_settle(w);
        ws_wire_take(w, SIZE_MAX);
        ck_assert_int_eq(w->writable, 0);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(ws_send(w->ws, false, data, sizeof data), 0);
        ck_assert_uint_gt(ws_queued(w->ws), 1500);
        ws_notify(w->ws, 500);
        ws_wire_settle(w);
        ws_wire_take(w, ws_queued(w->ws) - 501);
        ck_assert_int_eq(w->writable, 0);
        ws_wire_take(w, 1);
        ck_assert_int_eq(w->writable, 1);
        ws_wire_take(w, SIZE_MAX);
        ck_assert_int_eq(w->writable, 1);
        ck_assert_uint_eq(ws_queued(w->ws), 0);
        ck_assert_uint_eq(w->mem.live, 1);
    }
}
END_TEST

START_TEST(what_the_transport_holds_is_queued)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));
    char data[2000] = {0};

    w->limits.write_high = 1000;
    w->limits.evict = 7;
    ck_assert_int_eq(ws_send(w->ws, false, data, sizeof data), 0);
    ws_notify(w->ws, 500);
    w->stuck = true;
    ws_wire_settle(w);
    w->e->inflight = w->e->out.len;
    ws_wire_take(w, SIZE_MAX);
    ck_assert_uint_eq(ws_queued(w->ws), 2004);
    ck_assert_uint_eq(w->e->patience, 7);
    ck_assert_int_eq(w->writable, 0);
    w->e->inflight = 500;
    w->e->ops->drained(w->e, w->now);
    ck_assert_int_eq(w->writable, 1);
    ck_assert_uint_eq(w->e->patience, 0);
    w->e->inflight = 0;
    ws_wire_free(w);
}
END_TEST

START_TEST(many_sends_wake_once)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));

    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(ws_send(w->ws, true, "a", 1), 0);
    ck_assert_int_eq(w->wakes, 1);
    ws_wire_settle(w);
    ck_assert_int_eq(ws_send(w->ws, true, "a", 1), 0);
    ck_assert_int_eq(w->wakes, 2);
    ws_wire_settle(w);
    ck_assert_int_eq(count(sent(w), "text a\n"), 11);
    ws_wire_free(w);
}
END_TEST

/* Patience is for what is above the mark, and for the end. */
START_TEST(one_who_takes_nothing_is_evicted)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = ws_wire_new(client);
        char data[2000] = {0};

        w->limits.write_high = 1000;
        w->limits.evict = 10 * SECOND;
        w->limits.close = 3 * SECOND;
        ws_wire_open(w);
        w->stuck = true;
        ck_assert_int_eq(ws_send(w->ws, false, data, 900), 0);
        ws_wire_settle(w);
        ck_assert_uint_eq(w->e->patience, 0);
        ck_assert_int_eq(ws_send(w->ws, false, data, sizeof data), 0);
        ws_wire_settle(w);
        ck_assert_uint_eq(w->e->patience, 10 * SECOND);
        w->e->ops->stalled(w->e, w->now);
        ck_assert_str_eq(saw(w), "close 1013\n");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ck_assert_uint_eq(w->e->patience, 3 * SECOND);
        ck_assert_uint_eq(w->e->deadline, w->now + 3 * SECOND);
        if (client) {
            ws_wire_take(w, SIZE_MAX);
            ck_assert(strstr(sent(w), "close 1013\n"));
        }
        w->e->ops->stalled(w->e, w->now);
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
        ck_assert_str_eq(saw(w), "close 1013\n");
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(the_last_words_are_not_awaited_for_ever)
{
    EVERY_WIRE(w)
    {
        w->limits.close = 3 * SECOND;
        w->stuck = true;
        say(w, "x=1000");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_uint_eq(w->e->patience, 3 * SECOND);
        w->e->ops->stalled(w->e, w->now);
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
        ck_assert_str_eq(saw(w), "close 1000\n");
    }
}
END_TEST

/* A byte now and then is progress, but not for ever. */
START_TEST(the_last_words_end_in_time_even_if_they_are_taken_slowly)
{
    EVERY_WIRE(w)
    {
        w->limits.close = 3 * SECOND;
        w->stuck = true;
        say(w, "x=1000");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_uint_eq(w->e->deadline, w->now + 3 * SECOND);
        w->e->ops->drained(w->e, w->now + SECOND);
        w->e->ops->timeout(w->e, w->now + 3 * SECOND - 1);
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        w->e->ops->timeout(w->e, w->now + 3 * SECOND);
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    }
}
END_TEST

/* ---- draining ---------------------------------------------------------------------------------- */

START_TEST(a_graceful_stop_is_the_applications_affair)
{
    EVERY_WIRE(w)
    {
        w->e->ops->drain(w->e, w->now);
        ck_assert_str_eq(saw(w), "drain\n");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        say(w, "t:a");
        ck_assert_int_eq(ws_send(w->ws, true, "b", 1), 0);
        ws_we_close(w, WS_GOING_AWAY, "");
        w->e->ops->drain(w->e, w->now);
        say(w, "x=1001");
        w->e->ops->drain(w->e, w->now);
        ck_assert_str_eq(saw(w), "drain\ntext a\n");
        ck_assert_str_eq(sent(w), "text b\nclose 1001\n");
    }
}
END_TEST

MAIN("ws_life", without_times_nothing_happens, pings_go_out_at_intervals, missed_pings_are_skipped,
     a_timeout_too_early_does_nothing, silence_ends_the_session,
     an_idle_session_that_answers_the_close_ends_well, any_frame_is_a_sign_of_life,
     a_fragment_is_a_sign_of_life, half_a_frame_is_none,
     a_long_frame_that_goes_on_is_a_sign_of_life, a_touch_is_a_sign_of_life,
     what_we_send_is_none_of_the_remote, limits_may_change, messages_wait_while_they_are_held,
     one_message_at_a_time, what_is_kept_is_not_overtaken, what_is_kept_may_be_bad,
     we_close_while_they_are_held, one_who_is_held_back_is_not_idle,
     one_who_is_held_back_without_pings_is_not_idle,
     the_application_hears_when_the_output_has_shrunk, what_the_transport_holds_is_queued,
     many_sends_wake_once, one_who_takes_nothing_is_evicted,
     the_last_words_are_not_awaited_for_ever,
     the_last_words_end_in_time_even_if_they_are_taken_slowly,
     a_graceful_stop_is_the_applications_affair)
