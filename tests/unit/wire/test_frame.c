/* The decoder and the encoder of length-prefixed frames: every way to cut a stream gives the same
 * frames, every fault is found at the earliest byte, and what is held in memory is bounded by
 * what has come. */
#include "wire/frame.h"

#include "base/buf.h"
#include "base/list.h"
#include "support/memory.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

struct reader {
    struct memory memory;
    struct mem mem, own;
    struct frame_decoder f;
    struct buf got;             /* each frame, with a '|' behind it */
    int frames, stop_at, later; /* later: so many times a frame is wanted later */
    uint32_t next_limit;        /* set by the callback; 0: not */
    struct meter meter;
    size_t charged, room;
};

static int on_frame(void *ud, const char *data, size_t len)
{
    struct reader *r = ud;

    ck_assert_uint_eq(r->charged, 0); /* the frame changes hands */
    if (r->later && r->later--)
        return FRAME_LATER;
    ck_assert(!buf_append(&r->got, data, len) && !buf_append(&r->got, "|", 1));
    if (r->next_limit)
        frame_set_limit(&r->f, r->next_limit);
    return ++r->frames == r->stop_at;
}

static void force(struct meter *m, size_t n)
{
    container_of(m, struct reader, meter)->charged += n;
}

static bool charge(struct meter *m, size_t n, bool begins)
{
    struct reader *r = container_of(m, struct reader, meter);

    (void)begins;
    if (r->charged + n > r->room)
        return false;
    force(m, n);
    return true;
}

static void give(struct meter *m, size_t n)
{
    struct reader *r = container_of(m, struct reader, meter);

    ck_assert_uint_ge(r->charged, n);
    r->charged -= n;
}

static const struct meter_ops meter_ops = {.take = charge, .force = force, .give = give};

static void reader_init(struct reader *r, uint32_t limit)
{
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, memory_realloc, &r->memory);
    mem_init(&r->own, NULL, NULL);
    buf_init(&r->got, &r->own);
    frame_init(&r->f, &r->mem, limit, on_frame, r);
    r->meter.ops = &meter_ops;
    r->room = SIZE_MAX;
    frame_charge(&r->f, &r->meter);
}

static void reader_fini(struct reader *r)
{
    frame_fini(&r->f);
    buf_fini(&r->got);
    ck_assert_uint_eq(r->charged, 0);
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

/* Wherever it is cut, and whichever of the frames it is: none is lost, and none comes twice. */
START_TEST(a_frame_that_is_wanted_later_comes_again)
{
    static const char in[] = THREE, want[] = "a|hello|\0\xff|";
    size_t n = sizeof in - 1;

    for (size_t cut = 1; cut <= n; cut++) {
        struct reader r;
        int held = 0;

        reader_init(&r, 5);
        for (size_t at = 0, step, used; at < n; at += used) {
            int rc;

            step = n - at < cut ? n - at : cut;
            if (!held && at + step > 6)
                r.later = held = 1;
            rc = frame_feed(&r.f, in + at, step);
            used = step - (rc ? r.f.rest : 0);
            ck_assert(rc == FRAME_OK || rc == FRAME_LATER);
            ck_assert(rc == FRAME_LATER || !r.f.rest);
            while (rc == FRAME_LATER && used == step)
                rc = frame_feed(&r.f, NULL, 0);
        }
        ck_assert(held && !r.later);
        ck_assert_int_eq(frame_end(&r.f), FRAME_OK);
        ck_assert_uint_eq(r.got.len, sizeof want - 1);
        ck_assert_mem_eq(buf_at(&r.got), want, sizeof want - 1);
        reader_fini(&r);
    }
}
END_TEST

START_TEST(a_body_that_finds_no_room_waits_for_it)
{
    static char in[4 + 70000];
    struct reader r;
    size_t at = 0;
    int waits = 0;

    for (size_t i = 4; i < sizeof in; i++)
        in[i] = (char)(i * 31);
    frame_encode((uint8_t *)in, sizeof in - 4);
    reader_init(&r, 70000);
    r.room = 0;
    while (at < sizeof in) {
        size_t step = sizeof in - at < 5000 ? sizeof in - at : 5000;
        int rc = frame_feed(&r.f, in + at, step);

        ck_assert_uint_le(r.charged, r.room);
        at += step;
        if (!rc)
            continue;
        ck_assert_int_eq(rc, FRAME_LATER);
        ck_assert_uint_eq(r.f.rest, step);
        at -= r.f.rest;
        r.room += 20000;
        waits++;
    }
    ck_assert_int_ge(waits, 5);
    ck_assert_uint_eq(r.got.len, 70001);
    ck_assert_mem_eq(buf_at(&r.got), in + 4, 70000);
    ck_assert_uint_eq(r.charged, 0);
    reader_fini(&r);
}
END_TEST

START_TEST(a_new_payer_takes_over_what_is_kept)
{
    static char in[40000];
    struct reader r;

    reader_init(&r, 70000);
    ck_assert_int_eq(FEED(&r, "\0\1\0\0"), FRAME_OK);
    ck_assert_int_eq(frame_feed(&r.f, in, sizeof in), FRAME_OK);
    ck_assert_uint_eq(r.charged, sizeof in);
    frame_charge(&r.f, NULL);
    ck_assert_uint_eq(r.charged, 0);
    frame_charge(&r.f, &r.meter);
    ck_assert_uint_eq(r.charged, sizeof in);
    reader_fini(&r);
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
     a_callback_that_stops_gets_no_more_frames, a_frame_that_is_wanted_later_comes_again,
     a_body_that_finds_no_room_waits_for_it, a_new_payer_takes_over_what_is_kept,
     each_failing_allocation_is_an_error_without_a_leak, the_length_is_four_bytes_big_endian,
     every_error_has_a_text_of_its_own)
