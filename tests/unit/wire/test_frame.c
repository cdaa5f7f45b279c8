/* The decoder and the encoder of length-prefixed frames: every way to cut a stream gives the same
 * frames, every fault is found at the earliest byte, and what is held in memory is bounded by
 * what has come. */
#include "wire/frame.h"

#include "base/buf.h"
#include "support/memory.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

struct reader {
    struct memory memory;
    struct mem mem, own;
    struct frame_decoder f;
    struct buf got; /* each frame, with a '|' behind it */
    int frames, stop_at;
    uint32_t next_limit; /* set by the callback; 0: not */
};

static int on_frame(void *ud, const char *data, size_t len)
{
    struct reader *r = ud;

    ck_assert(!buf_append(&r->got, data, len) && !buf_append(&r->got, "|", 1));
    if (r->next_limit)
        frame_set_limit(&r->f, r->next_limit);
    return ++r->frames == r->stop_at;
}

static void reader_init(struct reader *r, uint32_t limit)
{
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, memory_realloc, &r->memory);
    mem_init(&r->own, NULL, NULL);
    buf_init(&r->got, &r->own);
    frame_init(&r->f, &r->mem, limit, on_frame, r);
}

static void reader_fini(struct reader *r)
{
    frame_fini(&r->f);
    buf_fini(&r->got);
    ck_assert_uint_eq(r->memory.live, 0);
    ck_assert_uint_eq(r->mem.live, 0);
}

static void got(struct reader *r, const char *text)
{
    ck_assert_uint_eq(r->got.len, strlen(text));
    ck_assert(!r->got.len || !memcmp(buf_at(&r->got), text, r->got.len));
}

#define FEED(r, bytes) frame_feed(&(r)->f, bytes, sizeof(bytes) - 1)
#define THREE "\0\0\0\1a\0\0\0\5hello\0\0\0\2\0\xff"

START_TEST(a_stream_gives_the_same_frames_wherever_it_is_cut)
{
    static const char in[] = THREE, want[] = "a|hello|\0\xff|";
    size_t n = sizeof in - 1;

    for (size_t i = 0; i <= n; i++) {
        for (size_t k = i; k <= n; k++) {
            struct reader r;

            reader_init(&r, 5);
            ck_assert_int_eq(frame_feed(&r.f, in, i), FRAME_OK);
            ck_assert_int_eq(frame_feed(&r.f, in + i, k - i), FRAME_OK);
            ck_assert_int_eq(frame_feed(&r.f, in + k, n - k), FRAME_OK);
            ck_assert_int_eq(frame_end(&r.f), FRAME_OK);
            ck_assert_uint_eq(r.got.len, sizeof want - 1);
            ck_assert_mem_eq(buf_at(&r.got), want, sizeof want - 1);
            reader_fini(&r);
        }
    }
}
END_TEST

START_TEST(a_stream_of_single_bytes_gives_each_frame_at_its_last_byte)
{
    static const char in[] = THREE;
    struct reader r;

    reader_init(&r, 5);
    for (size_t i = 0; i < sizeof in - 1; i++) {
        ck_assert_int_eq(frame_feed(&r.f, in + i, 1), FRAME_OK);
        ck_assert_int_eq(r.frames, (i >= 4) + (i >= 13) + (i >= 19));
    }
    reader_fini(&r);
}
END_TEST

START_TEST(long_frames_survive_any_size_of_feed)
{
    static const size_t steps[] = {1, 7, 4095, 4096, 4097, 70000};
    static char in[4 + 70000];
    size_t n = sizeof in;

    for (size_t i = 4; i < n; i++)
        in[i] = (char)(i * 31);
    frame_encode((uint8_t *)in, n - 4);
    for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
        struct reader r;

        reader_init(&r, 70000);
        for (size_t at = 0, step; at < n; at += step) {
            step = n - at < steps[k] ? n - at : steps[k];
            ck_assert_int_eq(frame_feed(&r.f, in + at, step), FRAME_OK);
        }
        ck_assert_uint_eq(r.got.len, 70001);
        ck_assert_mem_eq(buf_at(&r.got), in + 4, 70000);
        ck_assert_uint_le(r.memory.largest, 70000);
        reader_fini(&r);
    }
}
END_TEST

START_TEST(a_length_of_zero_is_an_error)
{
    struct reader r;

    reader_init(&r, 5);
    ck_assert_int_eq(FEED(&r, "\0\0\0\1a\0\0\0"), FRAME_OK);
    ck_assert_int_eq(FEED(&r, "\0"), FRAME_EMPTY);
    got(&r, "a|");
    ck_assert_str_eq(frame_error(FRAME_EMPTY), "a frame of length 0");
    reader_fini(&r);
}
END_TEST

START_TEST(a_length_above_the_limit_is_an_error_before_any_of_the_frame)
{
    struct reader r;

    reader_init(&r, 5);
    ck_assert_int_eq(FEED(&r, "\0\0\0\5hello\0\0\0\6"), FRAME_TOO_LONG);
    got(&r, "hello|");
    reader_fini(&r);
    reader_init(&r, 64u << 20);
    ck_assert_int_eq(FEED(&r, "\xff\xff\xff\xff"), FRAME_TOO_LONG);
    ck_assert_uint_eq(r.memory.count, 0);
    reader_fini(&r);
}
END_TEST

START_TEST(a_length_that_lies_costs_no_more_memory_than_what_has_come)
{
    struct reader r;

    reader_init(&r, 64u << 20);
    ck_assert_int_eq(FEED(&r, "\x04\0\0\0" /* 64 MiB */ "0123456789"), FRAME_OK);
    ck_assert_uint_le(r.memory.largest, 4096);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(FEED(&r, "0123456789"), FRAME_OK);
    ck_assert_uint_le(r.memory.largest, 2 * 10010);
    ck_assert_uint_eq(r.memory.live, 1);
    ck_assert_int_eq(frame_end(&r.f), FRAME_TRUNCATED);
    ck_assert_uint_eq(r.memory.live, 0);
    reader_fini(&r);
}
END_TEST

START_TEST(no_memory_is_held_between_frames)
{
    struct reader r;

    reader_init(&r, 100);
    ck_assert_int_eq(FEED(&r, "\0\0\0\5hel"), FRAME_OK);
    ck_assert_uint_eq(r.memory.live, 1);
    ck_assert_int_eq(FEED(&r, "lo\0\0"), FRAME_OK);
    ck_assert_uint_eq(r.memory.live, 0);
    got(&r, "hello|");
    reader_fini(&r);
}
END_TEST

START_TEST(a_frame_that_is_fed_whole_needs_no_memory)
{
    struct reader r;

    reader_init(&r, 100);
    ck_assert_int_eq(FEED(&r, THREE), FRAME_OK);
    ck_assert_int_eq(r.frames, 3);
    ck_assert_uint_eq(r.memory.count, 0);
    reader_fini(&r);
}
END_TEST

START_TEST(the_end_within_a_frame_is_an_error_and_between_frames_it_is_not)
{
    static const char in[] = "\0\0\0\2ab\0\0\0\1c";

    for (size_t n = 0; n <= sizeof in - 1; n++) {
        struct reader r;

        reader_init(&r, 5);
        ck_assert_int_eq(frame_feed(&r.f, in, n), FRAME_OK);
        ck_assert_int_eq(frame_end(&r.f), n == 0 || n == 6 || n == 11 ? FRAME_OK : FRAME_TRUNCATED);
        reader_fini(&r);
    }
}
END_TEST

START_TEST(a_new_limit_holds_from_the_next_length_on)
{
    struct reader r;

    reader_init(&r, 5);
    ck_assert_int_eq(FEED(&r, "\0\0\0\5he"), FRAME_OK);
    frame_set_limit(&r.f, 4);
    ck_assert_int_eq(FEED(&r, "llo\0\0\0\4four"), FRAME_OK);
    ck_assert_int_eq(FEED(&r, "\0\0\0\5"), FRAME_TOO_LONG);
    got(&r, "hello|four|");
    reader_fini(&r);
}
END_TEST

START_TEST(a_limit_set_by_the_callback_holds_for_the_very_next_frame)
{
    struct reader r;

    reader_init(&r, 1);
    r.next_limit = 5;
    ck_assert_int_eq(FEED(&r, "\0\0\0\1a\0\0\0\5hello\0\0\0\6"), FRAME_TOO_LONG);
    got(&r, "a|hello|");
    reader_fini(&r);
}
END_TEST

START_TEST(an_error_is_final)
{
    struct reader r;

    reader_init(&r, 5);
    ck_assert_int_eq(FEED(&r, "\0\0\0\0"), FRAME_EMPTY);
    ck_assert_int_eq(FEED(&r, "\0\0\0\1a"), FRAME_EMPTY);
    ck_assert_int_eq(frame_end(&r.f), FRAME_EMPTY);
    got(&r, "");
    reader_fini(&r);
}
END_TEST

START_TEST(a_callback_that_stops_gets_no_more_frames)
{
    struct reader r;

    for (int split = 0; split < 2; split++) {
        reader_init(&r, 5);
        r.stop_at = 2;
        ck_assert_int_eq(frame_feed(&r.f, THREE, split ? 6 : 9), FRAME_OK);
        ck_assert_int_eq(
            frame_feed(&r.f, THREE + (split ? 6 : 9), sizeof THREE - 1 - (split ? 6 : 9)),
            FRAME_STOPPED);
        got(&r, "a|hello|");
        ck_assert_int_eq(FEED(&r, "\0\0\0\1a"), FRAME_STOPPED);
        ck_assert_int_eq(r.frames, 2);
        reader_fini(&r);
    }
}
END_TEST

START_TEST(each_failing_allocation_is_an_error_without_a_leak)
{
    for (long k = 1;; k++) {
        struct reader r;
        char piece[3000];
        uint8_t head[FRAME_HEAD];
        int rc;

        memset(piece, 'x', sizeof piece);
        frame_encode(head, 4 * sizeof piece);
        reader_init(&r, 1 << 20);
        r.memory.fail_in = k;
        rc = frame_feed(&r.f, head, sizeof head);
        for (int i = 0; i < 4 && !rc; i++)
            rc = frame_feed(&r.f, piece, sizeof piece);
        ck_assert_int_eq(rc, r.memory.failed ? FRAME_ENOMEM : FRAME_OK);
        ck_assert_int_eq(r.frames, r.memory.failed ? 0 : 1);
        ck_assert_uint_eq(r.memory.live, 0);
        reader_fini(&r);
        if (!r.memory.failed) {
            ck_assert_int_gt(k, 1);
            return;
        }
    }
}
END_TEST

START_TEST(the_length_is_four_bytes_big_endian)
{
    static const struct {
        size_t len;
        const char *bytes;
    } cases[] = {
        {1, "\0\0\0\1"},       {255, "\0\0\0\xff"},        {256, "\0\0\1\0"},
        {0x10203, "\0\1\2\3"}, {0x7f000000, "\x7f\0\0\0"}, {UINT32_MAX, "\xff\xff\xff\xff"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t out[FRAME_HEAD];

        frame_encode(out, cases[i].len);
        ck_assert_mem_eq(out, cases[i].bytes, 4);
    }
}
END_TEST

START_TEST(every_error_has_a_text_of_its_own)
{
    for (int a = FRAME_STOPPED; a <= FRAME_OK; a++) {
        for (int b = FRAME_STOPPED; b < a; b++)
            ck_assert_str_ne(frame_error(a), frame_error(b));
    }
}
END_TEST

MAIN("frame", a_stream_gives_the_same_frames_wherever_it_is_cut,
     a_stream_of_single_bytes_gives_each_frame_at_its_last_byte,
     long_frames_survive_any_size_of_feed, a_length_of_zero_is_an_error,
     a_length_above_the_limit_is_an_error_before_any_of_the_frame,
     a_length_that_lies_costs_no_more_memory_than_what_has_come, no_memory_is_held_between_frames,
     a_frame_that_is_fed_whole_needs_no_memory,
     the_end_within_a_frame_is_an_error_and_between_frames_it_is_not,
     a_new_limit_holds_from_the_next_length_on,
     a_limit_set_by_the_callback_holds_for_the_very_next_frame, an_error_is_final,
     a_callback_that_stops_gets_no_more_frames, each_failing_allocation_is_an_error_without_a_leak,
     the_length_is_four_bytes_big_endian, every_error_has_a_text_of_its_own)
