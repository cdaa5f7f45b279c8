/* The closing handshake of RFC 6455, section 7, begun by the remote, by us, by both at once, by nobody; and
 * what ends a session without one. In each test the application hears of the end exactly once, or not at
 * all when it closed. */
#include "support/suite.h"
#include "unit/wire/ws_wire.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SECOND (1000 * WS_MS)

/* ---- the remote begins ------------------------------------------------------------------------- */

static const struct {
    const char *script, *saw, *sent;
} closes[] = {
    {"x", "close 1005\n", "close\n"},
    {"x=1000", "close 1000\n", "close 1000\n"},
    {"x=1000 done", "close 1000\n", "close 1000\n"},
    {"x=1000 \xe1\xbd\xb9", "close 1000\n", "close 1000\n"},
    {"x:a", "close 1002\n", "close 1002\n"},
    {"x:\xff", "close 1002\n", "close 1002\n"},
    {"x=1000 \xe1\xbd", "close 1007\n", "close 1007\n"},
    {"x=1000 \xed\xa0\x80 surrogate", "close 1007\n", "close 1007\n"},
    {"x=3000 \xff", "close 1007\n", "close 1007\n"},
    {"x*126", "close 1002\n", "close 1002\n"},
    {"x-=1000", "close 1002\n", "close 1002\n"},
    {"x=1000|t:behind", "close 1000\n", "close 1000\n"},
    {"x=1000|p:behind", "close 1000\n", "close 1000\n"},
    {"x=1000|x=1001", "close 1000\n", "close 1000\n"},
    {"x=1000|3:nonsense", "close 1000\n", "close 1000\n"},
    {"t:a|x=1000", "text a\nclose 1000\n", "close 1000\n"},
    {"p:1|x=1000", "close 1000\n", "pong 1\nclose 1000\n"},
    {"t-:a|x=1000|c:b", "close 1000\n", "close 1000\n"},
    {"t-*70000|p|x=1001", "close 1001\n", "pong\nclose 1001\n"},
};

START_TEST(a_close_is_answered)
{
    for (size_t i = 0; i < COUNT(closes); i++) {
        EVERY_WIRE(w)
        {
            say(w, closes[i].script);
            ck_assert_msg(!strcmp(saw(w), closes[i].saw), "%s: %s", closes[i].script, saw(w));
            ck_assert_msg(!strcmp(sent(w), closes[i].sent), "%s: %s", closes[i].script, sent(w));
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        }
    }
}
END_TEST

static bool valid(int code)
{
    static const int codes[] = {1000, 1001, 1002, 1003, 1007, 1008,
                                1009, 1010, 1011, 1012, 1013, 1014};

    for (size_t i = 0; i < COUNT(codes); i++) {
        if (code == codes[i])
            return true;
    }
    return code >= 3000 && code <= 4999;
}

/* All 65536 of them. */
START_TEST(each_code_is_echoed_or_refused)
{
    for (int client = 0; client < 2; client++) {
        for (int code = 0; code < 65536; code++) {
            struct ws_wire *w = ws_wire_open(ws_wire_new(client));
            int want = valid(code) ? code : 1002;
            char heard[40];

            say_bytes(w, FIN | CLOSE, (uint8_t[]){(uint8_t)(code >> 8), (uint8_t)code}, 2);
            snprintf(heard, sizeof heard, "close %d\n", want);
            must(!strcmp(saw(w), heard) && !strcmp(sent(w), heard));
            ws_wire_free(w);
        }
    }
}
END_TEST

START_TEST(a_reason_may_be_of_every_length)
{
    for (size_t n = 0; n <= 123; n++) {
        EVERY_WIRE(w)
        {
            char payload[125] = {'\3', '\350'};

            memset(payload + 2, 'r', n);
            say_bytes(w, FIN | CLOSE, payload, n + 2);
            ck_assert_str_eq(sent(w), "close 1000\n");
        }
    }
}
END_TEST

/* What the application sent before goes out before the answer. */
START_TEST(a_close_is_answered_behind_what_is_queued)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));

    w->stuck = true;
    ck_assert_int_eq(ws_send(w->ws, true, "queued", 6), 0);
    say(w, "p:1|x=1000");
    ck_assert_int_eq(ws_send(w->ws, true, "late", 4), 0);
    w->stuck = false;
    ws_wire_go_on(w);
    ck_assert_str_eq(sent(w), "text queued\npong 1\nclose 1000\n");
    ws_wire_free(w);
}
END_TEST

/* ---- we begin ---------------------------------------------------------------------------------- */

START_TEST(we_close_and_the_remote_answers)
{
    EVERY_WIRE(w)
    {
        ws_we_close(w, WS_GOING_AWAY, "maintenance");
        ck_assert_str_eq(sent(w), "close 1001\n");
        ck_assert_mem_eq(w->got.data + w->got.len - 11, "maintenance", 11); /* unmasked by sent */
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        say(w, "x=1001");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "close 1001\n");
    }
}
END_TEST

START_TEST(what_comes_behind_our_close_is_dropped)
{
    static const char *const scripts[] = {"t:a|b*70000|p:1|t-:a|c-:b|p|c:c|x=1000", "t-:a|x",
                                          "x=1000 bye|t:a", "o|x=4000"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            ws_we_close(w, WS_NORMAL, "");
            ck_assert_int_eq(ws_send(w->ws, true, "late", 4), 0);
            ws_close(w->ws, WS_POLICY, "again");
            say(w, scripts[i]);
            ck_assert_str_eq(saw(w), "");
            ck_assert_str_eq(sent(w), "close 1000\n");
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        }
    }
}
END_TEST

/* The rest of a message that had begun may come before the answer (section 5.5.1). */
START_TEST(the_remote_may_finish_its_message_before_it_answers)
{
    EVERY_WIRE(w)
    {
        w->limits.close = SECOND;
        say(w, "t-*20000|p");
        ck_assert_uint_gt(w->charged, 0);
        ws_we_close(w, WS_NORMAL, "");
        ck_assert_uint_eq(w->charged, 0);
        say(w, "c-*20000|p|c:b");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        say(w, "t:c|x=1000");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "pong\nclose 1000\n");
    }
}
END_TEST

START_TEST(we_close_in_the_middle_of_a_frame)
{
    for (size_t at = 1; at < 130; at++) {
        EVERY_WIRE(w)
        {
            struct buf b;

            buf_init(&b, &w->own);
            put_script(w, &b, "t-*130|c:x|x=1000");
            ws_feed(w, buf_at(&b), at);
            ws_we_close(w, WS_NORMAL, "");
            ws_feed(w, buf_at(&b) + at, b.len - at);
            buf_fini(&b);
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            ck_assert_str_eq(saw(w), "");
            ck_assert_str_eq(sent(w), "close 1000\n");
        }
    }
}
END_TEST

START_TEST(a_remote_that_breaks_the_rules_behind_our_close_is_cut)
{
    static const char *const scripts[] = {"3", "t!1", "c:x", "p-", "x:a", "b-|b"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            ws_we_close(w, WS_NORMAL, "");
            say(w, scripts[i]);
            ck_assert_str_eq(saw(w), "");
            ck_assert_str_eq(sent(w), "close 1000\n");
            ck_assert_int_ne(w->e->closing, ENGINE_OPEN);
        }
    }
}
END_TEST

START_TEST(both_close_at_once)
{
    EVERY_WIRE(w)
    {
        w->stuck = true;
        ws_we_close(w, WS_NORMAL, "");
        say(w, "x=1001");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        w->stuck = false;
        ws_wire_go_on(w);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "close 1000\n");
    }
}
END_TEST

/* Our close frame has not been written when the time is up. */
START_TEST(a_close_that_is_never_answered_is_a_reset)
{
    EVERY_WIRE(w)
    {
        w->limits.close = SECOND;
        w->limits.ping = SECOND / 2;
        w->stuck = variant & 2;
        ws_we_close(w, WS_GOING_AWAY, "");
        ck_assert_uint_eq(w->e->deadline, w->now + SECOND);
        ws_sleep(w, SECOND - 1);
        say(w, "t:a|p|t-:b");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ws_sleep(w, 1);
        ck_assert_int_eq(w->e->closing, ENGINE_RESET);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), w->stuck ? "" : "close 1001\n");
    }
}
END_TEST

/* ---- from inside ------------------------------------------------------------------------------- */

static void close_and_read(struct ws_wire *w, const char *data, size_t len)
{
    ws_app_closes(w, WS_POLICY, "no more");
    ck_assert_int_eq(ws_send(w->ws, true, "late", 4), 0);
    /* The message is valid still. */
    must(len == w->last.len && !memcmp(data, buf_at(&w->last), len));
}

START_TEST(the_application_closes_in_a_message)
{
    static const char *const scripts[] = {"t:a", "t-:a|c:b", "b*40000", "t-*40000|c*40000",
                                          "t-:a|c"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            w->then = close_and_read;
            say(w, scripts[i]);
            say(w, "t:behind|p");
            ck_assert_int_eq(w->messages, 1);
            ck_assert_str_eq(sent(w), "close 1008\n");
            ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
            say(w, "x=1008");
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            ck_assert_uint_eq(w->charged, 0);
        }
    }
}
END_TEST

static void answer(struct ws_wire *w, const char *data, size_t len)
{
    ck_assert_int_eq(ws_send(w->ws, true, data, len), 0);
}

START_TEST(the_application_answers_in_a_message)
{
    EVERY_WIRE(w)
    {
        w->then = answer;
        say(w, "t:a|t-:b|c:c|p:1|t|x=1000");
        ck_assert_str_eq(sent(w), "text a\ntext bc\npong 1\ntext\nclose 1000\n");
        ck_assert_int_eq(w->wakes, 0);
    }
}
END_TEST

/* ---- the stream is lost ------------------------------------------------------------------------ */

START_TEST(without_a_close_the_session_is_lost)
{
    static const char *const scripts[] = {"", "t:a", "t-:a", "t-*40000|c-:x|p"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            say(w, scripts[i]);
            forget(w);
            ws_eof(w);
            ck_assert_str_eq(saw(w), "close 1006\n");
            ck_assert_str_eq(sent(w), "");
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            ws_eof(w);
            say(w, "t:behind");
            ck_assert_str_eq(saw(w), "close 1006\n");
        }
    }
}
END_TEST

START_TEST(eof_in_the_middle_of_a_frame)
{
    for (size_t at = 0; at < 150; at++) {
        EVERY_WIRE(w)
        {
            struct buf b;

            buf_init(&b, &w->own);
            put_script(w, &b, "b*150");
            ws_feed(w, buf_at(&b), at);
            ws_eof(w);
            buf_fini(&b);
            ck_assert_str_eq(saw(w), "close 1006\n");
        }
    }
}
END_TEST

START_TEST(eof_behind_our_close_ends_it)
{
    EVERY_WIRE(w)
    {
        ws_we_close(w, WS_NORMAL, "");
        ws_eof(w);
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_str_eq(saw(w), "");
    }
}
END_TEST

START_TEST(eof_behind_the_end_changes_nothing)
{
    EVERY_WIRE(w)
    {
        say(w, variant & 1 ? "x=1000" : "3");
        forget(w);
        ws_eof(w);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "");
    }
}
END_TEST

/* Only that: not what else ends with 1013, and not a remote that says so. */
START_TEST(who_was_cut_for_not_reading_is_known)
{
    static const struct {
        const char *ours, *theirs;
        bool stalled;
    } rows[] = {{NULL, "x=1013", false},
                {NULL, "t:a", false},
                {"bye", "x=1000", false},
                {NULL, NULL, true},
                {"bye", NULL, false}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        EVERY_WIRE(w)
        {
            if (rows[i].ours)
                ws_we_close(w, WS_TRY_AGAIN, rows[i].ours);
            if (rows[i].theirs)
                say(w, rows[i].theirs);
            else
                w->e->ops->stalled(w->e, w->now);
            ws_wire_settle(w);
            ck_assert_int_eq(ws_stalled(w->ws), rows[i].stalled);
        }
    }
}
END_TEST

/* fini at any time; ws_wire_free and the callbacks check that each comes once. */
START_TEST(the_stream_may_vanish_at_any_byte)
{
    static const char script[] = "t:a|t-*130|p:x|c-*20000|c:b|x=1000 bye";

    for (int client = 0; client < 2; client++) {
        size_t whole = 1;

        for (size_t at = 0; at<whole; at += at> 200 && at + 100 < whole ? 97 : 1) {
            struct ws_wire *w = ws_wire_open(ws_wire_new(client));
            struct buf b;
            int want;

            buf_init(&b, &w->own);
            put_script(w, &b, script);
            whole = b.len + 1;
            w->cut = 1 + at % 50;
            ws_feed(w, buf_at(&b), at);
            want = at + 1 == whole ? 1000 : WS_LOST;
            buf_fini(&b);
            w->e->ops->fini(w->e);
            must(w->gone && w->code == want && w->charged == 0 && w->mem.live == 0);
            w->gone = w->over = false;
            ws_wire_open(w);
            ws_wire_free(w);
        }
    }
}
END_TEST

START_TEST(fini_behind_our_close_says_nothing)
{
    EVERY_WIRE(w)
    {
        ws_app_closes(w, WS_NORMAL, "");
        if (variant & 1)
            ws_wire_settle(w);
        ck_assert_str_eq(saw(w), "");
    }
}
END_TEST

START_TEST(an_engine_without_a_transport_is_discarded)
{
    struct ws_wire *w = ws_wire_new(false);
    struct ws *ws = ws_new(&w->mem, w->pool, false, &w->app, w, &w->limits, w->now);

    ck_assert_ptr_nonnull(ws);
    ws_discard(ws);
    ck_assert_uint_eq(w->mem.live, 0);
    ck_assert(!w->gone && !w->over);
    ws_wire_free(ws_wire_open(w));
}
END_TEST

MAIN("ws_close", a_close_is_answered, each_code_is_echoed_or_refused,
     a_reason_may_be_of_every_length, a_close_is_answered_behind_what_is_queued,
     we_close_and_the_remote_answers, what_comes_behind_our_close_is_dropped,
     the_remote_may_finish_its_message_before_it_answers, we_close_in_the_middle_of_a_frame,
     a_remote_that_breaks_the_rules_behind_our_close_is_cut, both_close_at_once,
     a_close_that_is_never_answered_is_a_reset, the_application_closes_in_a_message,
     the_application_answers_in_a_message, without_a_close_the_session_is_lost,
     eof_in_the_middle_of_a_frame, eof_behind_our_close_ends_it, eof_behind_the_end_changes_nothing,
     who_was_cut_for_not_reading_is_known, the_stream_may_vanish_at_any_byte,
     fini_behind_our_close_says_nothing, an_engine_without_a_transport_is_discarded)
