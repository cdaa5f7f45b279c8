/* Frames of RFC 6455, section 5.2, one by one: lengths in every form, masks, reserved bits and opcodes; for
 * a server and for a client, whole and in single bytes. */
#include "support/suite.h"
#include "unit/wire/ws_wire.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- lengths ----------------------------------------------------------------------------------- */

static const size_t lengths[] = {0, 1, 125, 126, 127, 128, 4095, 4096, 65535, 65536, 65537, 200000};

static char *pattern(size_t n)
{
    char *p = malloc(n + 1);

    must(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i * 7 % 26);
    return p;
}

START_TEST(a_message_of_every_length_arrives)
{
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *data = pattern(lengths[i]);

        EVERY_WIRE(w)
        {
            for (int first = TEXT; first <= BINARY; first++) {
                say_bytes(w, FIN | first, data, lengths[i]);
                ck_assert_int_eq(w->messages, first);
                ck_assert_uint_eq(w->last.len, lengths[i]);
                ck_assert_mem_eq(text_of(&w->last), data, lengths[i]);
                ck_assert_int_eq(*saw(w), first == TEXT ? 't' : 'b');
                forget(w);
                ck_assert_uint_eq(w->charged, 0);
            }
            ck_assert_str_eq(sent(w), "");
            ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        }
        free(data);
    }
}
END_TEST

START_TEST(a_message_of_every_length_is_sent)
{
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *data = pattern(lengths[i]);

        EVERY_WIRE(w)
        {
            struct ws_frame f;
            size_t n;

            ck_assert_int_eq(ws_send(w->ws, variant & 2, data, lengths[i]), 0);
            ws_wire_settle(w);
            n = get_frame((uint8_t *)w->got.data, w->got.len, w->client, &f);
            ck_assert_uint_eq(n, w->got.len);
            ck_assert_int_eq(f.opcode, variant & 2 ? TEXT : BINARY);
            ck_assert(f.fin);
            ck_assert_uint_eq(f.n, lengths[i]);
            ck_assert_mem_eq(f.data, data, f.n);
        }
        free(data);
    }
}
END_TEST

START_TEST(many_frames_come_in_one_piece)
{
    EVERY_WIRE(w)
    {
        struct buf b;

        buf_init(&b, &w->own);
        for (int i = 0; i < 1000; i++)
            put_script(w, &b, i % 3 ? "t:a|b:bc" : "b*126|t-:x|c:y");
        ws_feed(w, buf_at(&b), b.len);
        buf_fini(&b);
        ck_assert_int_eq(w->messages, 2000);
        ck_assert_uint_eq(w->pool_mem.live, 1);
        ck_assert(!strncmp(saw(w), "binary of 126\ntext xy\ntext a\nbinary bc\ntext a\n", 46));
    }
}
END_TEST

/* A frame may be cut anywhere, and its neighbours with it. */
START_TEST(every_cut_into_three_gives_the_same)
{
    for (int client = 0; client < 2; client++) {
        struct ws_wire *w = ws_wire_open(ws_wire_new(client));
        struct buf b;

        buf_init(&b, &w->own);
        put_script(w, &b, "t-:ab|p:1|c*130|b:cd");
        for (size_t i = 0; i <= b.len; i++) {
            for (size_t j = i; j <= b.len; j++) {
                ws_feed(w, buf_at(&b), i);
                ws_feed(w, buf_at(&b) + i, j - i);
                ws_feed(w, buf_at(&b) + j, b.len - j);
                must(!strcmp(saw(w), "text of 132\nbinary cd\n") && !strcmp(sent(w), "pong 1\n"));
                forget(w);
                w->now += 1000 * WS_MS;
            }
        }
        buf_fini(&b);
        ws_wire_free(w);
    }
}
END_TEST

/* ---- heads that are refused -------------------------------------------------------------------- */

/* Feeds a head as a remote of that role would write it (mask: as needed), and a few bytes of payload. */
static void feed_head(struct ws_wire *w, int first, int form, uint64_t length, size_t payload)
{
    uint8_t head[14 + 8] = {(uint8_t)first,
                            (uint8_t)((w->client ? 0 : 0x80) | (form == 0   ? (int)length
                                                                : form == 2 ? 126
                                                                            : 127))};
    size_t n = 2;

    for (int i = form; i-- > 0;)
        head[n++] = (uint8_t)(length >> 8 * i);
    n += w->client ? 0 : 4; /* a mask of zero */
    ws_feed(w, head, n + payload);
}

static const struct {
    const char *name;
    int first, form;
    uint64_t length;
    size_t payload;
    int code;
} bad_heads[] = {
    {"0 in 2 bytes", FIN | BINARY, 2, 0, 0, 1002},
    {"125 in 2 bytes", FIN | BINARY, 2, 125, 1, 1002},
    {"0 in 8 bytes", FIN | BINARY, 8, 0, 0, 1002},
    {"125 in 8 bytes", FIN | TEXT, 8, 125, 0, 1002},
    {"126 in 8 bytes", FIN | BINARY, 8, 126, 0, 1002},
    {"65535 in 8 bytes", FIN | BINARY, 8, 65535, 0, 1002},
    {"2^20 + 1", FIN | BINARY, 8, (1 << 20) + 1, 0, 1009},
    {"4 GiB - 1", FIN | TEXT, 8, UINT64_C(0xffffffff), 0, 1009},
    {"4 GiB", FIN | BINARY, 8, UINT64_C(0x100000000), 0, 1009},
    {"4 GiB, to be continued", BINARY, 8, UINT64_C(0x100000000), 0, 1009},
    {"4 GiB of nothing", FIN | CONT, 8, UINT64_C(0x100000000), 0, 1009},
    {"2^63 - 1", FIN | BINARY, 8, INT64_MAX, 0, 1009},
    {"2^63", FIN | BINARY, 8, UINT64_C(1) << 63, 0, 1002},
    {"2^64 - 1", FIN | BINARY, 8, UINT64_MAX, 0, 1002},
    {"ping of 126", FIN | PING, 2, 126, 0, 1002},
    {"ping of 65536", FIN | PING, 8, 65536, 0, 1002},
    {"ping of 2^63 - 1", FIN | PING, 8, INT64_MAX, 0, 1002},
    {"pong of 126", FIN | PONG, 2, 126, 0, 1002},
    {"close of 126", FIN | CLOSE, 2, 126, 0, 1002},
    {"ping, to be continued", PING, 0, 0, 0, 1002},
    {"ping of 5, to be continued", PING, 0, 5, 0, 1002},
    {"pong, to be continued", PONG, 0, 0, 0, 1002},
    {"close, to be continued", CLOSE, 0, 2, 0, 1002},
};

START_TEST(a_bad_length_is_refused_at_the_head)
{
    for (size_t i = 0; i < COUNT(bad_heads); i++) {
        EVERY_WIRE(w)
        {
            char want[40], heard[40];

            say(w, "t:before");
            feed_head(w, bad_heads[i].first, bad_heads[i].form, bad_heads[i].length,
                      bad_heads[i].payload);
            snprintf(want, sizeof want, "text before\nclose %d\n", bad_heads[i].code);
            snprintf(heard, sizeof heard, "close %d\n", bad_heads[i].code);
            ck_assert_msg(!strcmp(saw(w), want), "%s: %s", bad_heads[i].name, saw(w));
            ck_assert_msg(!strcmp(sent(w), heard), "%s: %s", bad_heads[i].name, sent(w));
            ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
            say(w, "t:behind|x=1000");
            ck_assert_str_eq(saw(w), want);
            ck_assert_str_eq(sent(w), heard);
        }
    }
}
END_TEST

/* A head that announces much takes no memory for it. */
START_TEST(an_announced_length_takes_no_memory)
{
    EVERY_WIRE(w)
    {
        size_t before = w->bytes;

        w->limits.message_bytes = UINT32_MAX;
        feed_head(w, FIN | BINARY, 8, UINT32_MAX, 8);
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ck_assert_uint_le(w->peak - before, 1024);
        ck_assert_uint_eq(w->charged, 0);
    }
}
END_TEST

/* ---- reserved bits, opcodes, masks ------------------------------------------------------------- */

static void check_refused(struct ws_wire *w, const char *name)
{
    ck_assert_msg(!strcmp(saw(w), "text before\nclose 1002\n"), "%s: %s", name, saw(w));
    ck_assert_msg(!strcmp(sent(w), "close 1002\n"), "%s: %s", name, sent(w));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_eq(w->code, WS_PROTOCOL);
}

START_TEST(reserved_bits_are_refused)
{
    static const char kinds[] = "tbxpo", *const payloads[] = {"", ":some text", "*200"};

    for (int rsv = 1; rsv < 8; rsv++) {
        for (size_t kind = 0; kind < sizeof kinds - 1; kind++) {
            for (size_t i = 0; i < COUNT(payloads); i++) {
                char script[60];

                if (strchr("xpo", kinds[kind]) && i == 2)
                    continue;
                snprintf(script, sizeof script, "t:before|%c!%d%s|p:behind", kinds[kind], rsv,
                         payloads[i]);
                EVERY_WIRE(w)
                {
                    say(w, script);
                    check_refused(w, script);
                }
            }
        }
    }
}
END_TEST

START_TEST(reserved_bits_of_a_continuation_are_refused)
{
    EVERY_WIRE(w)
    {
        say(w, "t:before|t-:a|c!4:b|p:behind");
        check_refused(w, "continuation");
    }
}
END_TEST

START_TEST(reserved_opcodes_are_refused)
{
    static const char kinds[] = "34567BCDEF", *const forms[] = {"", ":some text", "-", "-:x"};

    for (size_t kind = 0; kind < sizeof kinds - 1; kind++) {
        for (size_t i = 0; i < COUNT(forms); i++) {
            char script[60];

            snprintf(script, sizeof script, "t:before|%c%s|p:behind", kinds[kind], forms[i]);
            EVERY_WIRE(w)
            {
                say(w, script);
                check_refused(w, script);
            }
        }
    }
}
END_TEST

START_TEST(a_frame_with_the_wrong_mask_is_refused)
{
    static const int firsts[] = {FIN | TEXT, BINARY, FIN | PING, FIN | PONG, FIN | CLOSE};

    for (size_t i = 0; i < COUNT(firsts); i++) {
        for (size_t n = 0; n < 5; n += 2) {
            EVERY_WIRE(w)
            {
                struct buf b;

                say(w, "t:before");
                buf_init(&b, &w->own);
                put_frame(&b, firsts[i], w->client ? (const uint8_t *)"mask" : NULL, "\3\350ab", n);
                ws_feed(w, buf_at(&b), b.len);
                buf_fini(&b);
                check_refused(w, "mask");
            }
        }
    }
}
END_TEST

START_TEST(a_continuation_with_the_wrong_mask_is_refused)
{
    EVERY_WIRE(w)
    {
        struct buf b;

        say(w, "t:before|t-:a");
        buf_init(&b, &w->own);
        put_frame(&b, FIN | CONT, w->client ? (const uint8_t *)"mask" : NULL, "b", 1);
        ws_feed(w, buf_at(&b), b.len);
        buf_fini(&b);
        check_refused(w, "mask");
    }
}
END_TEST

/* Many more keys than one helping of random bytes has: none comes twice, and the payload is not in clear. */
START_TEST(a_client_masks_each_frame_with_a_fresh_key)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(true));
    uint32_t keys[500];
    size_t at = 0, zeros = 0;

    for (size_t i = 0; i < COUNT(keys); i++)
        ck_assert_int_eq(ws_send(w->ws, false, "in clear", 8), 0);
    ws_wire_settle(w);
    ck_assert_ptr_null(memmem(w->got.data, w->got.len, "in clear", 8));
    for (size_t i = 0; i < COUNT(keys); i++) {
        struct ws_frame f;

        at += get_frame((uint8_t *)w->got.data + at, w->got.len - at, true, &f);
        ck_assert_mem_eq(f.data, "in clear", 8);
        memcpy(&keys[i], f.key, 4);
        zeros += keys[i] == 0;
        for (size_t j = 0; j < i; j++)
            must(keys[j] != keys[i] || i - j > 64); /* a chance of 1 in 10^4 otherwise */
    }
    ck_assert_uint_eq(at, w->got.len);
    ck_assert_uint_le(zeros, 1);
    ws_wire_free(w);
}
END_TEST

START_TEST(clients_of_one_pool_do_not_share_keys)
{
    struct ws_wire *w = ws_wire_open(ws_wire_new(true)), *other = ws_wire_new(true);
    struct ws_frame f, g;

    other->pool = w->pool;
    ws_wire_open(other);
    ck_assert_int_eq(ws_send(w->ws, false, "a", 1), 0);
    ck_assert_int_eq(ws_send(other->ws, false, "a", 1), 0);
    ws_wire_settle(w);
    ws_wire_settle(other);
    ck_assert_uint_eq(get_frame((uint8_t *)w->got.data, w->got.len, true, &f), w->got.len);
    ck_assert_uint_eq(get_frame((uint8_t *)other->got.data, other->got.len, true, &g),
                      other->got.len);
    ck_assert_mem_ne(f.key, g.key, 4);
    ws_wire_free(other);
    ws_wire_free(w);
}
END_TEST

/* A key of zero, and payloads that a mask turns into what looks like heads. */
START_TEST(masks_of_the_remote_are_undone)
{
    static const char *const keys[] = {"\0\0\0\0", "\377\377\377\377", "\1\2\3\4",
                                       "\201\205\0\177"};
    struct ws_wire *w = ws_wire_open(ws_wire_new(false));

    for (size_t i = 0; i < COUNT(keys); i++) {
        for (size_t n = 0; n < 40; n++) {
            struct buf b;
            char *data = pattern(n);

            buf_init(&b, &w->own);
            put_frame(&b, FIN | BINARY, (const uint8_t *)keys[i], data, n);
            for (size_t cut = 1; cut < 8; cut++) {
                w->cut = cut;
                ws_feed(w, buf_at(&b), b.len);
                must(w->last.len == n && !memcmp(text_of(&w->last), data, n));
            }
            buf_fini(&b);
            free(data);
        }
    }
    ck_assert_int_eq(w->messages, COUNT(keys) * 40 * 7);
    ws_wire_free(w);
}
END_TEST

/* ---- what kind of message is taken ------------------------------------------------------------- */

START_TEST(where_text_is_not_spoken_it_is_refused_at_its_first_frame)
{
    static const char *const scripts[] = {"b:x|t:text|p", "b:x|t|p", "b:x|t-:te|p", "b:x|t*70000"};

    for (size_t i = 0; i < COUNT(scripts); i++) {
        EVERY_WIRE(w)
        {
            w->app.binary_only = true;
            say(w, scripts[i]);
            ck_assert_str_eq(saw(w), "binary x\nclose 1002\n");
            ck_assert_str_eq(sent(w), "close 1002\n");
        }
    }
}
END_TEST

/* ---- the sum of it ----------------------------------------------------------------------------- */

START_TEST(between_frames_an_engine_holds_its_struct_alone)
{
    EVERY_WIRE(w)
    {
        size_t idle = w->bytes;

        ck_assert_uint_le(idle, 512);
        say(w, "t*70000|b:x|p:y|t-:a|c*20000");
        ck_assert_int_eq(ws_send(w->ws, true, "hello", 5), 0);
        ws_wire_settle(w);
        ck_assert_uint_eq(w->mem.live, 1);
        ck_assert_uint_eq(w->bytes, idle);
        ck_assert_uint_le(w->pool_mem.live, 1);
        ck_assert_ptr_nonnull(w->pool->spare);
    }
}
END_TEST

MAIN("ws_frames", a_message_of_every_length_arrives, a_message_of_every_length_is_sent,
     many_frames_come_in_one_piece, every_cut_into_three_gives_the_same,
     a_bad_length_is_refused_at_the_head, an_announced_length_takes_no_memory,
     reserved_bits_are_refused, reserved_bits_of_a_continuation_are_refused,
     reserved_opcodes_are_refused, a_frame_with_the_wrong_mask_is_refused,
     a_continuation_with_the_wrong_mask_is_refused, a_client_masks_each_frame_with_a_fresh_key,
     clients_of_one_pool_do_not_share_keys, masks_of_the_remote_are_undone,
     where_text_is_not_spoken_it_is_refused_at_its_first_frame,
     between_frames_an_engine_holds_its_struct_alone)
