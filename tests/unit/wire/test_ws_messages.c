/* Messages of RFC 6455: fragmentation and the control frames in between (5.4, 5.5), text (8.1), and the
 * limits on size, fragments, memory and control frames; for a server and for a client, whole and in single
 * bytes. */
#include "support/suite.h"
#include "unit/wire/ws_wire.h"

#define SECOND (1000 * WS_MS)

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct row {
    const char *script, *saw, *sent;
};

/* Each row ends with the connection open, or closed by us with what the remote did wrong. */
static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        EVERY_WIRE(w)
        {
            say(w, rows[i].script);
            ck_assert_msg(!strcmp(saw(w), rows[i].saw), "%s: %s", rows[i].script, saw(w));
            ck_assert_msg(!strcmp(sent(w), rows[i].sent), "%s: %s", rows[i].script, sent(w));
            ck_assert_int_eq(w->e->closing, w->over ? ENGINE_FLUSH_AND_CLOSE : ENGINE_OPEN);
            ck_assert_uint_eq(w->charged, 0);
        }
    }
}

#define P125                                                                                       \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"  \
    "1234567890123456789012345678901234"

/* ---- pings and pongs --------------------------------------------------------------------------- */

static const struct row pings[] = {
    {"p", "", "pong\n"},
    {"p:hello", "", "pong hello\n"},
    {"p:\xff\xfe\x01", "", "pong \xff\xfe\x01\n"},
    {"p:" P125, "", "pong " P125 "\n"},
    {"o", "", ""},
    {"o:unasked", "", ""},
    {"o:unasked|p:1", "", "pong 1\n"},
    {"p:0|p:1|p:2|p:3|p:4|p:5|p:6|p:7|p:8|p:9", "",
     "pong 0\npong 1\npong 2\npong 3\npong 4\npong 5\npong 6\npong 7\npong 8\npong 9\n"},
    {"p:1|t:a|p:2|b:c|p", "text a\nbinary c\n", "pong 1\npong 2\npong\n"},
    {"p-", "close 1002\n", "close 1002\n"},
    {"p-:hello|c: world", "close 1002\n", "close 1002\n"},
    {"o-:hello|c: world", "close 1002\n", "close 1002\n"},
    {"p*126", "close 1002\n", "close 1002\n"},
    {"p:1|o*126|p:2", "close 1002\n", "pong 1\nclose 1002\n"},
};

START_TEST(pings_are_answered)
{
    check_rows(pings, COUNT(pings));
}
END_TEST

START_TEST(a_ping_of_every_length_is_answered)
{
    EVERY_WIRE(w)
    {
        char data[125];

        for (size_t n = 0; n <= sizeof data; n++) {
            char want[140];

            w->now += 1000 * WS_MS;
            memset(data, 'a' + (int)(n % 26), n);
            say_bytes(w, FIN | PING, data, n);
            snprintf(want, sizeof want, "pong%s%.*s\n", n ? " " : "", (int)n, data);
            ck_assert_str_eq(sent(w), want);
            forget(w);
        }
    }
}
END_TEST

START_TEST(pings_are_answered_while_nothing_else_goes_out)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));

    w->stuck = true;
    say(w, "p:1|t:a|p:2");
    ck_assert_uint_eq(w->e->out.len, 6);
    w->stuck = false;
    ws_wire_go_on(w);
    ck_assert_str_eq(sent(w), "pong 1\npong 2\n");
    ws_wire_free(w);
}
END_TEST

/* ---- fragmentation ----------------------------------------------------------------------------- */

static const struct row fragments[] = {
    {"t-:frag|c:ment", "text fragment\n", ""},
    {"b-:frag|c:ment", "binary fragment\n", ""},
    {"t-:a|c-:b|c-:c|c:d", "text abcd\n", ""},
    {"t-|c", "text \n", ""},
    {"t-|c-|c-|c", "text \n", ""},
    {"t-|c-:middle|c", "text middle\n", ""},
    {"b-:first|c-|c", "binary first\n", ""},
    {"t-|c-|c:last", "text last\n", ""},
    {"t-:a|c:b|t:c|b-:d|c:e", "text ab\ntext c\nbinary de\n", ""},
    {"t-*70000|c-*126|c*4096", "text of 74222\n", ""},
    {"t-:a|p|c:b", "text ab\n", "pong\n"},
    {"t-:a|p:1|c-:b|p:2|o:3|c-:c|p:4|c:d|p:5", "text abcd\n", "pong 1\npong 2\npong 4\npong 5\n"},
    {"b-:a|o:1|o|p|c:b", "binary ab\n", "pong\n"},
    {"t-:a|x=1000", "close 1000\n", "close 1000\n"},
    {"t-:a|c-:b|x=1001 bye|c:c", "close 1001\n", "close 1001\n"},
    /* a continuation of nothing */
    {"c", "close 1002\n", "close 1002\n"},
    {"c:x", "close 1002\n", "close 1002\n"},
    {"c-|t:a", "close 1002\n", "close 1002\n"},
    {"c-:x|t:a", "close 1002\n", "close 1002\n"},
    {"t:a|c:x", "text a\nclose 1002\n", "close 1002\n"},
    {"t-:a|c:b|c:x", "text ab\nclose 1002\n", "close 1002\n"},
    {"t-:a|c:b|c-:x", "text ab\nclose 1002\n", "close 1002\n"},
    {"p|c:x", "close 1002\n", "pong\nclose 1002\n"},
    /* a message within a message */
    {"t-:a|t:b", "close 1002\n", "close 1002\n"},
    {"t-:a|t-:b|c:c", "close 1002\n", "close 1002\n"},
    {"t-:a|b:b", "close 1002\n", "close 1002\n"},
    {"b-:a|b-:b", "close 1002\n", "close 1002\n"},
    {"b-|t", "close 1002\n", "close 1002\n"},
    {"t-:a|p:x|t:b", "close 1002\n", "pong x\nclose 1002\n"},
    {"t-:a|c-:b|b:c", "close 1002\n", "close 1002\n"},
};

START_TEST(fragments_become_messages)
{
    check_rows(fragments, COUNT(fragments));
}
END_TEST

START_TEST(a_message_may_have_so_many_frames)
{
    EVERY_WIRE(w)
    {
        w->limits.controls = 1000;
        for (int round = 0; round < 3; round++) {
            say(w, "t-:0");
            for (uint32_t i = 2; i < w->limits.fragments; i++)
                say(w, "c-:1|p");
            say(w, "c:2");
            ck_assert_uint_eq(w->last.len, w->limits.fragments);
            ck_assert_int_eq(w->messages, round + 1);
            w->now += 1000 * WS_MS;
        }
        forget(w);
        say(w, "b-:0");
        for (uint32_t i = 1; i < w->limits.fragments; i++)
            say(w, "c-:1");
        ck_assert_str_eq(sent(w), "");
        say(w, "c:2");
        ck_assert_str_eq(saw(w), "close 1008\n");
        ck_assert_str_eq(sent(w), "close 1008\n");
    }
}
END_TEST

/* Only small ones count: of others the message's size bounds the number. The last may be of any
 * size. */
START_TEST(a_message_may_have_any_number_of_large_frames)
{
    EVERY_WIRE(w)
    {
        say(w, "b-*512");
        for (uint32_t i = 0; i < 3 * w->limits.fragments; i++)
            say(w, "c-*512");
        for (uint32_t i = 1; i < w->limits.fragments; i++)
            say(w, "c-*511");
        ck_assert_str_eq(saw(w), "");
        say(w, "c:2");
        ck_assert_uint_eq(w->last.len, 512 * (3 * w->limits.fragments + 1) +
                                           511 * (w->limits.fragments - 1) + 1);
        ck_assert_int_eq(w->messages, 1);
        forget(w);
        say(w, "b-*512|c-*512");
        for (uint32_t i = 0; i < w->limits.fragments; i++)
            say(w, "c-*511");
        ck_assert_str_eq(saw(w), "");
        say(w, "c-*511");
        ck_assert_str_eq(saw(w), "close 1008\n");
        ck_assert_str_eq(w->reason, "a message in more than 100 fragments of less than 512 bytes");
    }
}
END_TEST

START_TEST(a_million_empty_fragments_end_soon)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = ws_wire_open(ws_wire_new(client));
        struct buf b;

        buf_init(&b, &w->own);
        put_script(w, &b, "t-");
        for (int i = 0; i < 1000; i++)
            put_script(w, &b, "c-");
        for (int i = 0; i < 1000; i++)
            ws_feed(w, buf_at(&b), b.len);
        buf_fini(&b);
        ck_assert_str_eq(saw(w), "close 1008\n");
        ck_assert_str_eq(sent(w), "close 1008\n");
        ck_assert_uint_le(w->peak, 1024);
        ws_wire_free(w);
    }
}
END_TEST

/* No limit: they are not kept, and what is between them is served. */
START_TEST(a_million_empty_fragments_take_no_memory)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));
    struct buf b;

    w->limits.fragments = UINT32_MAX;
    buf_init(&b, &w->own);
    for (int i = 0; i < 1000; i++)
        put_script(w, &b, "c-");
    say(w, "t-:a");
    for (int i = 0; i < 1000; i++)
        ws_feed(w, buf_at(&b), b.len);
    say(w, "p:x|c:b");
    buf_fini(&b);
    ck_assert_str_eq(saw(w), "text ab\n");
    ck_assert_str_eq(sent(w), "pong x\n");
    ck_assert_uint_le(w->peak, 2048);
    ws_wire_free(w);
}
END_TEST

/* ---- text -------------------------------------------------------------------------------------- */

static const char *const good_texts[] = {
    "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!",
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
    "\x7f",
    "\xc2\x80",
    "\xdf\xbf",
    "\xe0\xa0\x80",
    "\xed\x9f\xbf",
    "\xee\x80\x80",
    "\xef\xbf\xbd",
    "\xef\xbf\xbe",
    "\xef\xbf\xbf",
    "\xf0\x90\x80\x80",
    "\xf0\x9f\xbf\xbf",
    "\xf4\x8f\xbf\xbf",
    "\xf4\x8f\xbf\xbe|",
};

static const char *const bad_texts[] = {
    "\x80",
    "\xbf",
    "\x80\xbf",
    "\xc0\xaf",
    "\xc1\xbf",
    "\xc2",
    "\xc2 ",
    "\xc2\xc2\x80",
    "\xe0\x80\xaf",
    "\xe0\x9f\xbf",
    "\xe0\xa0",
    "\xe1\xbd",
    "\xed\xa0\x80",
    "\xed\xaf\xbf",
    "\xed\xb0\x80",
    "\xed\xbf\xbf",
    "\xed\xa0\x80\xed\xb0\x80",
    "\xf0\x80\x80\xaf",
    "\xf0\x8f\xbf\xbf",
    "\xf0\x90\x80",
    "\xf4\x90\x80\x80",
    "\xf5\x80\x80\x80",
    "\xf7\xbf\xbf\xbf",
    "\xf8\x88\x80\x80\x80",
    "\xfb\xbf\xbf\xbf\xbf",
    "\xfc\x84\x80\x80\x80\x80",
    "\xfd\xbf\xbf\xbf\xbf\xbf",
    "\xfe",
    "\xff",
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
    "good text until the last byte\xe2\x82",
};

/* Says it in two fragments, cut behind at bytes; at > n: in a frame for each byte. */
static void say_cut(struct ws_wire *w, const char *text, size_t at)
{
    size_t n = strlen(text);

    if (at <= n) {
        say_bytes(w, TEXT, text, at);
        say_bytes(w, FIN | CONT, text + at, n - at);
        return;
    }
    for (size_t i = 0; i < n; i++)
        say_bytes(w, i ? CONT : TEXT, text + i, 1);
    say_text(w, FIN | CONT, "");
}

START_TEST(text_arrives_however_it_is_cut)
{
    for (size_t i = 0; i < COUNT(good_texts); i++) {
        EVERY_WIRE(w)
        {
            size_t n = strlen(good_texts[i]);

            for (size_t at = 0; at <= n + 1; at++) {
                say_cut(w, good_texts[i], at);
                ck_assert_int_eq(w->messages, at + 1);
                ck_assert_str_eq(text_of(&w->last), good_texts[i]);
            }
            say_text(w, FIN | TEXT, good_texts[i]);
            ck_assert_str_eq(text_of(&w->last), good_texts[i]);
            ck_assert_str_eq(sent(w), "");
        }
    }
}
END_TEST

START_TEST(text_that_is_not_utf_8_is_refused_however_it_is_cut)
{
    for (size_t i = 0; i < COUNT(bad_texts); i++) {
        for (size_t at = 0; at <= strlen(bad_texts[i]) + 2; at++) {
            EVERY_WIRE(w)
            {
                if (at == strlen(bad_texts[i]) + 2)
                    say_text(w, FIN | TEXT, bad_texts[i]);
                else
                    say_cut(w, bad_texts[i], at);
                say(w, "t:behind|p");
                ck_assert_str_eq(saw(w), "close 1007\n");
                ck_assert_str_eq(sent(w), "close 1007\n");
                ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            }
        }
    }
}
END_TEST

START_TEST(binary_messages_and_pings_need_not_be_utf_8)
{
    for (size_t i = 0; i < COUNT(bad_texts); i++) {
        EVERY_WIRE(w)
        {
            say_text(w, FIN | BINARY, bad_texts[i]);
            ck_assert_str_eq(text_of(&w->last), bad_texts[i]);
            say_text(w, BINARY, bad_texts[i]);
            say_text(w, FIN | PING, bad_texts[i]);
            say_text(w, FIN | CONT, bad_texts[i]);
            ck_assert_uint_eq(w->last.len, 2 * strlen(bad_texts[i]));
            ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        }
    }
}
END_TEST

START_TEST(text_may_have_nul_bytes)
{
    EVERY_WIRE(w)
    {
        say_bytes(w, FIN | TEXT, "a\0b\0", 4);
        ck_assert_uint_eq(w->last.len, 4);
        ck_assert_mem_eq(buf_at(&w->last), "a\0b\0", 4);
    }
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------------ */

static const struct row sizes[] = {
    {"t*1000", "text of 1000\n", ""},
    {"b*1000|t*1000", "binary of 1000\ntext of 1000\n", ""},
    {"t*1001", "close 1009\n", "close 1009\n"},
    {"b-*1001", "close 1009\n", "close 1009\n"},
    {"t-*999|c*1", "text of 1000\n", ""},
    {"t-*1000|c-|p|c", "text of 1000\n", "pong\n"},
    {"t-*1000|c*1", "close 1009\n", "close 1009\n"},
    {"t-*1|c-*999|c-*1|p", "close 1009\n", "close 1009\n"},
    {"b-*500|c-*300|c*200|b*1000", "binary of 1000\nbinary of 1000\n", ""},
    {"b-*500|c-*300|c*201|b*1000", "close 1009\n", "close 1009\n"},
};

START_TEST(messages_have_a_size_limit)
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        EVERY_WIRE(w)
        {
            w->limits.message_bytes = 1000;
            say(w, sizes[i].script);
            ck_assert_msg(!strcmp(saw(w), sizes[i].saw), "%s: %s", sizes[i].script, saw(w));
            ck_assert_msg(!strcmp(sent(w), sizes[i].sent), "%s: %s", sizes[i].script, sent(w));
        }
    }
}
END_TEST

/* Memory is taken and charged as bytes come, in powers of two, both blocks while there are two; a message of a single
 * piece takes none. */
START_TEST(memory_grows_with_what_has_come)
{
    for (int v = 0; v < 4; v++) {
        struct ws_wire *w = ws_wire_variant(v);
        struct buf b;

        buf_init(&b, &w->own);
        put_script(w, &b, "b-*200000|c-*150000|c*100000");
        for (size_t at = 0; at < b.len; at += 1000) {
            ws_feed(w, buf_at(&b) + at, b.len - at < 1000 ? b.len - at : 1000);
            ck_assert_uint_le(w->charged, at + 1000 < METER_MIN / 2 ? 0 : 2 * (at + 1000));
            ck_assert(!w->charged || w->charged >= METER_MIN);
            /* The allocator rounds a large block up to pages. */
            ck_assert_uint_le(w->bytes, (w->charged ? w->charged + 2 * 4096 : METER_MIN) + 1024);
        }
        buf_fini(&b);
        ck_assert_int_eq(w->messages, 1);
        ck_assert_uint_eq(w->last.len, 450000);
        ck_assert_uint_eq(w->charged, 0);
        ck_assert_uint_eq(w->charged_most, 524288 + 262144);
        ck_assert_uint_eq(w->mem.live, 1);
        ws_wire_free(w);
    }
}
END_TEST

START_TEST(a_small_message_is_not_charged)
{
    EVERY_WIRE(w)
    {
        w->charge_limit = 0;
        say(w, "b*8192|t-*4000|p|c-*4000|c*192|b*200");
        ck_assert_str_eq(saw(w), "binary of 8192\ntext of 8192\nbinary of 200\n");
    }
}
END_TEST

/* ---- no room ----------------------------------------------------------------------------------- */

/* The remote is held back, and what it said is taken when there is room, in order; its ping waits meanwhile. */
START_TEST(where_memory_is_refused_the_remote_waits)
{
    EVERY_WIRE(w)
    {
        w->limits.starve = SECOND;
        w->charge_limit = 32768 + 16384; /* for both blocks, while one grows into the other */
        say(w, "t-*8000|c*24768");
        ck_assert_str_eq(saw(w), "text of 32768\n");
        forget(w);
        say(w, "t-*20000|p|c-*20000|c:x|p:behind|t:next");
        ck_assert(!w->e->reading);
        ck_assert_str_eq(saw(w), "");
        ck_assert_str_eq(sent(w), "pong\n");
        ws_sleep(w, 990 * WS_MS);
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ck_assert_str_eq(saw(w), "");
        w->charge_limit = SIZE_MAX;
        ws_sleep(w, 60 * WS_MS);
        ws_wire_go_on(w);
        ck_assert(w->e->reading);
        ck_assert_str_eq(saw(w), "text of 40001\ntext next\n");
        ck_assert_str_eq(sent(w), "pong\npong behind\n");
        ck_assert_uint_eq(w->charged, 0);
    }
}
END_TEST

START_TEST(where_memory_is_refused_for_too_long_the_remote_may_try_again)
{
    EVERY_WIRE(w)
    {
        w->limits.starve = SECOND;
        w->charge_limit = 32768 + 16384;
        say(w, "t-*20000|p|c-*20000|c:x");
        ck_assert_str_eq(saw(w), "");
        ws_sleep(w, 1060 * WS_MS);
        ck_assert_str_eq(saw(w), "close 1013\n");
        ck_assert_str_eq(sent(w), "pong\nclose 1013\n");
        ck_assert_uint_eq(w->charged, 0);
        ws_wire_go_on(w);
        say(w, "x=1013");
        ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    }
}
END_TEST

/* Messages in one piece and in several, alone or with others behind them. */
START_TEST(a_message_that_is_not_taken_is_offered_again)
{
    static const char *const scripts[] = {
        "t:a|t:b", "t-:|c:a|t:b", "t-:a|c|t:b", "b*40000|t:b", "t-*9000|c*9000|t:b",
        "b|t:b",   "t:a",         "t-:a|c"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            struct ws_wire *other = ws_wire_open(ws_wire_new(variant & 1));

            say(other, scripts[i]);
            w->refuse = 3;
            say(w, scripts[i]);
            ck_assert_str_eq(saw(w), "");
            ck_assert(!w->e->reading);
            ws_sleep(w, 120 * WS_MS);
            ck_assert_int_eq(w->refusals, 3);
            ck_assert_str_eq(saw(w), "");
            ws_sleep(w, 50 * WS_MS);
            ws_wire_go_on(w);
            ck_assert(w->e->reading);
            ck_assert_str_eq(saw(w), saw(other));
            ck_assert_uint_eq(w->charged, 0);
            ws_wire_free(other);
        }
    }
}
END_TEST

/* Each message that is taken shows that there is room now and then. */
START_TEST(the_time_for_room_begins_anew_with_what_is_taken)
{
    EVERY_WIRE(w)
    {
        w->limits.starve = SECOND;
        for (int i = 0; i < 3; i++) {
            w->refuse = 19;
            say(w, "t:a");
            ws_sleep(w, 951 * WS_MS);
            ws_wire_go_on(w);
            ck_assert_int_eq(w->messages, i + 1);
        }
        w->refuse = 22;
        say(w, "t:a");
        ws_sleep(w, 1001 * WS_MS);
        ck_assert_int_eq(w->code, 1013);
    }
}
END_TEST

static void hold_it(struct ws_wire *w, const char *data, size_t len)
{
    (void)data;
    (void)len;
    ws_hold(w->ws, true);
}

START_TEST(a_hold_and_no_room_at_once)
{
    EVERY_WIRE(w)
    {
        w->limits.starve = SECOND;
        w->refuse = 1;
        w->then = hold_it;
        say(w, "t:a|t:b");
        ws_hold(w->ws, true);
        ws_wire_settle(w);
        ws_sleep(w, 5 * SECOND);
        ck_assert_str_eq(saw(w), "");
        ws_hold(w->ws, false);
        ws_wire_go_on(w);
        ck_assert_str_eq(saw(w), "text a\n");
        ck_assert(!w->e->reading);
        ws_hold(w->ws, false);
        ws_wire_go_on(w);
        ck_assert_str_eq(saw(w), "text a\ntext b\n");
    }
}
END_TEST

/* Not for its silence: we do not read what it says. */
START_TEST(who_waits_for_room_is_not_taken_for_dead)
{
    EVERY_WIRE(w)
    {
        w->limits.ping = 100 * WS_MS;
        w->limits.idle = 300 * WS_MS;
        w->refuse = 40;
        say(w, "t:a");
        ws_sleep(w, 1900 * WS_MS);
        ck_assert_str_eq(saw(w), "");
        ws_sleep(w, 150 * WS_MS);
        ck_assert_str_eq(saw(w), "text a\n");
        ws_sleep(w, 300 * WS_MS);
        ck_assert_int_eq(w->code, 1001);
    }
}
END_TEST

START_TEST(a_stream_that_ends_while_a_message_waits_for_room)
{
    EVERY_WIRE(w)
    {
        w->refuse = 5;
        say(w, "b*40000|t:b");
        if (variant & 1)
            ws_eof(w);
        else
            ws_we_close(w, WS_NORMAL, "");
        ck_assert_int_eq(w->messages, 0);
    }
}
END_TEST

/* However little room there is: a pong is short, and shows that we live. */
START_TEST(control_frames_go_out_without_room)
{
    static char big[16000];

    EVERY_WIRE(w)
    {
        w->stuck = true;
        must(!ws_send(w->ws, false, big, sizeof big));
        w->charge_limit = 0;
        ck_assert_int_eq(ws_send(w->ws, false, big, sizeof big), -1);
        for (int i = 0; i < 50; i++)
            say(w, "p:0123456789");
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ck_assert_uint_gt(w->e->out.len, sizeof big + 500);
        ck_assert_uint_gt(w->charged, 0);
    }
}
END_TEST

START_TEST(what_is_charged_comes_back_when_the_stream_is_lost)
{
    EVERY_WIRE(w)
    {
        say(w, "b-*50000");
        ck_assert_uint_ge(w->charged, 50000);
        ck_assert_uint_le(w->charged, 65536);
        if (variant & 1)
            ws_eof(w);
    }
}
END_TEST

START_TEST(a_flood_of_control_frames_is_refused)
{
    static const char *const floods[] = {"p:x", "o:x", "o|p"};

    for (size_t i = 0; i < COUNT(floods); i++) {
        EVERY_WIRE(w)
        {
            int said = 0;

            w->limits.controls = 10;
            w->now += variant * 54000 * WS_MS;
            say(w, "o");
            w->now += 60000 * WS_MS;
            while (!w->over && said++ < 100)
                say(w, floods[i]);
            ck_assert_int_eq(said, i == 2 ? 6 : 11);
            ck_assert_str_eq(saw(w), "close 1008\n");
            ck_assert(!strcmp(sent(w) + strlen(sent(w)) - 11, "close 1008\n"));
        }
    }
}
END_TEST

START_TEST(control_frames_are_counted_by_the_minute)
{
    EVERY_WIRE(w)
    {
        w->limits.controls = 10;
        for (int minute = 0; minute < 5; minute++) {
            for (int i = 0; i < 10; i++) {
                say(w, i & 1 ? "p" : "o");
                w->now += 600 * WS_MS;
            }
            ck_assert_str_eq(saw(w), "");
            w->now += 54000 * WS_MS;
        }
        say(w, "p|p|p|p|p|p|p|p|p|p|t:a|x=1000");
        ck_assert_str_eq(saw(w), "text a\nclose 1000\n");
    }
}
END_TEST

/* The output grows by no more than what the remote sends, and that by no more than the limit on control frames. */
START_TEST(pings_of_one_who_does_not_read_end)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));
    size_t fed = 0;

    w->stuck = true;
    for (int i = 0; i < 1000 && !w->over; i++, fed += 131)
        say(w, "p:" P125);
    ck_assert_str_eq(saw(w), "close 1008\n");
    ck_assert_uint_le(w->e->out.len, fed);
    ck_assert_uint_le(fed, 101 * 131);
    ws_wire_free(w);
}
END_TEST

MAIN("ws_messages", pings_are_answered, a_ping_of_every_length_is_answered,
     pings_are_answered_while_nothing_else_goes_out, fragments_become_messages,
     a_message_may_have_so_many_frames, a_message_may_have_any_number_of_large_frames,
     a_million_empty_fragments_end_soon, a_million_empty_fragments_take_no_memory,
     text_arrives_however_it_is_cut, text_that_is_not_utf_8_is_refused_however_it_is_cut,
     binary_messages_and_pings_need_not_be_utf_8, text_may_have_nul_bytes,
     messages_have_a_size_limit, memory_grows_with_what_has_come, a_small_message_is_not_charged,
     where_memory_is_refused_the_remote_waits,
     where_memory_is_refused_for_too_long_the_remote_may_try_again,
     a_message_that_is_not_taken_is_offered_again, the_time_for_room_begins_anew_with_what_is_taken,
     a_hold_and_no_room_at_once, who_waits_for_room_is_not_taken_for_dead,
     a_stream_that_ends_while_a_message_waits_for_room, control_frames_go_out_without_room,
     what_is_charged_comes_back_when_the_stream_is_lost, a_flood_of_control_frames_is_refused,
     control_frames_are_counted_by_the_minute, pings_of_one_who_does_not_read_end)
