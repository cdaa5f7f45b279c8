/* Streams of the QUIC engine: frames in any cuts, windows, pauses, and all of their ends. */
#include "quic_raw_wire.h"

/* ---- frames ---------------------------------------------------------------------------------- */

START_TEST(frames_go_both_ways_on_streams_of_both_sides)
{
    struct wire *w = wire_connected();
    uint64_t near = open_stream(w->near), far = open_stream(w->far);

    ck_assert_uint_eq(near, 0);
    ck_assert_uint_eq(far, 1);
    say(w->near, near, "one");
    say(w->far, far, "two");
    wire_run(w, 100 * MS);
    say(w->far, near, "three");
    say(w->near, far, "four");
    wire_run(w, 100 * MS);
    ck_assert(got(w->far, near, "one") && got(w->near, near, "three"));
    ck_assert(got(w->near, far, "two") && got(w->far, far, "four"));
    wire_free(w);
}
END_TEST

START_TEST(a_stream_ends_on_each_side_by_itself)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    say(w->near, s, "question");
    quic_finish(w->near->c, s);
    ck_assert_int_eq(quic_send(w->near->c, s, "x", 1), -1);
    wire_run(w, 100 * MS);
    ck_assert_int_eq(peer_stream(w->far, s)->ended, 1);
    ck_assert_int_eq(peer_stream(w->near, s)->ended, 0);
    say(w->far, s, "answer");
    quic_finish(w->far->c, s);
    wire_run(w, 100 * MS);
    ck_assert(got(w->near, s, "answer"));
    ck_assert_int_eq(peer_stream(w->near, s)->ended, 1);
    ck_assert_int_eq(quic_send(w->near->c, s, "x", 1), -1);
    ck_assert_int_eq(peer_stream(w->near, s)->lost + peer_stream(w->far, s)->lost, 0);
    wire_free(w);
}
END_TEST

/* Three frames, as two pieces with a packet of its own for each. */
START_TEST(a_cut_at_any_byte_changes_nothing)
{
    static const char bytes[] = "\0\0\0\5hello\0\0\0\1x\0\0\0\3abc";
    size_t len = sizeof bytes - 1;
    struct raw *r;
    struct wire *w = raw_wire(&r);

    for (size_t cut = 0; cut <= len; cut++) {
        int64_t id = raw_open(r);

        raw_say(r, id, bytes, cut, false);
        raw_run(w, r, 50 * MS);
        raw_say(r, id, bytes + cut, len - cut, true);
        raw_run(w, r, 50 * MS);
        ck_assert(got(w->far, (uint64_t)id, "helloxabc"));
        ck_assert_uint_eq(heard(w, id)->frames, 3);
        ck_assert_int_eq(heard(w, id)->ended, 1);
        ck_assert_int_eq(heard(w, id)->lost, 0);
        quic_finish(w->far->c, (uint64_t)id);
    }
    raw_end(w, r);
}
END_TEST

START_TEST(a_frame_in_single_bytes_is_one_frame)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    for (size_t i = 0; i < sizeof hello; i++) {
        raw_say(r, id, hello + i, 1, false);
        raw_run(w, r, 25 * MS);
    }
    ck_assert(got(w->far, (uint64_t)id, "hello"));
    ck_assert_uint_eq(heard(w, id)->frames, 1);
    raw_end(w, r);
}
END_TEST

START_TEST(sixteen_mebibytes_are_one_frame)
{
    size_t n = 16 * MIB;
    char *p = pattern(n);
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    w->server.frame_limit = 16 * MIB;
    ck_assert_int_eq(quic_send(w->near->c, s, p, n), 0);
    ck_assert_uint_eq(quic_queued(w->near->c, s), n + 4);
    ck_assert_uint_eq(quic_queued_all(w->near->c), n + 4);
    quic_finish(w->near->c, s);
    wire_until(w, peer_stream(w->far, s)->ended);
    ck_assert_uint_eq(peer_stream(w->far, s)->frames, 1);
    ck_assert_uint_eq(peer_stream(w->far, s)->got.len, n);
    ck_assert_int_eq(memcmp(buf_at(&peer_stream(w->far, s)->got), p, n), 0);
    ck_assert_uint_eq(quic_queued_all(w->near->c), 0);
    wire_run(w, 1000 * MS);
    /* What has been acknowledged is kept no longer. */
    ck_assert_uint_le(w->client.bytes, 256 * KIB);
    free(p);
    wire_free(w);
}
END_TEST

START_TEST(many_streams_have_their_turns)
{
    enum { N = 50, SIZE = 200000 };
    uint64_t id[N];
    char *p = pattern(SIZE);
    struct wire *w = wire_connected();
    size_t least = SIZE, most = 0;

    for (int i = 0; i < N; i++) {
        id[i] = open_stream(w->near);
        for (int j = 0; j < SIZE; j += 1000)
            ck_assert_int_eq(quic_send(w->near->c, id[i], p + j, 1000), 0);
    }
    wire_until(w, peer_stream(w->far, id[0])->got.len >= SIZE / 2);
    for (int i = 0; i < N; i++) {
        size_t n = peer_stream(w->far, id[i])->got.len;

        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    ck_assert_uint_ge(least, SIZE / 4);
    ck_assert_uint_le(most, SIZE * 3 / 4);
    for (int i = 0; i < N; i++) {
        wire_until(w, peer_stream(w->far, id[i])->got.len == SIZE);
        ck_assert_int_eq(memcmp(buf_at(&peer_stream(w->far, id[i])->got), p, SIZE), 0);
    }
    free(p);
    wire_free(w);
}
END_TEST

/* What comes in one packet with the end of the handshake, or before it. */
START_TEST(frames_never_come_before_ready)
{
    struct wire *w = wire_new();
    struct raw *r;
    int64_t id;

    wire_open(w);
    r = raw_of_wire(w);
    raw_begin(w, r);
    while (!r->completed) {
        raw_flush(w, r);
        ck_assert(wire_step(w, w->now + 1000 * MS));
        if ((id = r->ng ? raw_open(r) : -1) >= 0)
            raw_say(r, id, hello, sizeof hello, true);
    }
    raw_run(w, r, 200 * MS);
    w->far = wire_far(w);
    ck_assert_uint_ge(heard(w, 0)->frames, 1);
    raw_end(w, r);
}
END_TEST

/* ---- broken streams -------------------------------------------------------------------------- */

static void breaks(const char *bytes, size_t len, bool fin, uint64_t code)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t bad = raw_open(r), good = raw_open(r);

    raw_say(r, bad, bytes, len, fin);
    raw_run(w, r, 100 * MS);
    ck_assert_int_eq(heard(w, bad)->lost, 1);
    ck_assert(raw_stream(r, bad)->reset);
    ck_assert_uint_eq(raw_stream(r, bad)->reset_code, code);
    if (!fin) {
        ck_assert(raw_stream(r, bad)->stopped);
        ck_assert_uint_eq(raw_stream(r, bad)->stop_code, code);
    }
    ck_assert_int_eq(quic_send(w->far->c, (uint64_t)bad, "x", 1), -1);
    raw_say(r, good, hello, sizeof hello, false);
    raw_run(w, r, 100 * MS);
    ck_assert(got(w->far, (uint64_t)good, "hello"));
    ck_assert_int_eq(w->far->overs, 0);
    raw_end(w, r);
}

START_TEST(a_stream_that_ends_within_a_frame_is_reset)
{
    breaks("\0\0\0\5hell", 8, true, 1);
    breaks("\0\0", 2, true, 1);
}
END_TEST

START_TEST(a_frame_of_no_bytes_is_reset)
{
    breaks("\0\0\0\0", 4, false, 1);
    breaks("\0\0\0\1x\0\0\0\0", 9, false, 1);
}
END_TEST

START_TEST(a_frame_above_the_limit_is_reset_at_its_length)
{
    breaks("\xff\xff\xff\xff", 4, false, 1);
    breaks("\0\x10\0\1", 4, false, 1);
}
END_TEST

static int break_frame(struct peer *p, struct heard *h, const char *data, size_t len)
{
    (void)p;
    (void)data;
    (void)len;
    h->frames++;
    return QUIC_BROKEN;
}

START_TEST(a_frame_that_is_none_breaks_its_stream)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    w->server.on_frame = break_frame;
    raw_say(r, id, "\0\0\0\1x\0\0\0\1y", 10, false);
    raw_run(w, r, 100 * MS);
    ck_assert_uint_eq(heard(w, id)->frames, 1);
    ck_assert_int_eq(heard(w, id)->lost, 1);
    ck_assert_uint_eq(raw_stream(r, id)->reset_code, 1);
    raw_end(w, r);
}
END_TEST

static int reset_at_once(struct peer *p, struct heard *h, const char *data, size_t len)
{
    (void)data;
    (void)len;
    h->frames++;
    quic_reset(p->c, h->id, 7);
    return QUIC_TAKEN;
}

START_TEST(nothing_of_a_stream_comes_behind_its_reset)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    w->server.on_frame = reset_at_once;
    raw_say(r, id, "\0\0\0\1x\0\0\0\1y\0\0\0\1z", 15, true);
    raw_run(w, r, 100 * MS);
    ck_assert_uint_eq(heard(w, id)->frames, 1);
    ck_assert_int_eq(heard(w, id)->lost, 0);
    ck_assert_int_eq(heard(w, id)->ended, 0);
    ck_assert_uint_eq(raw_stream(r, id)->reset_code, 7);
    raw_end(w, r);
}
END_TEST

static bool lose_one(struct wire *w, struct packet *p)
{
    (void)p;
    w->filter = NULL;
    return false;
}

/* Also where it came too early, and waited for what stands before it. */
START_TEST(nothing_of_what_had_waited_comes_behind_its_reset)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    raw_run(w, r, 100 * MS);
    w->server.on_frame = reset_at_once;
    w->filter = lose_one;
    raw_say(r, id, "\0\0\0\1", 4, false);
    raw_run(w, r, MS);
    raw_say(r, id, "x\0\0\0\1y\0\0\0\1z", 11, false);
    raw_run(w, r, 3000 * MS);
    ck_assert(!w->filter);
    ck_assert_uint_eq(heard(w, id)->frames, 1);
    ck_assert_int_eq(heard(w, id)->lost, 0);
    ck_assert_uint_eq(raw_stream(r, id)->reset_code, 7);
    raw_end(w, r);
}
END_TEST

static bool abruptly;

static int close_at_once(struct peer *p, struct heard *h, const char *data, size_t len)
{
    (void)data;
    (void)len;
    h->frames++;
    if (abruptly)
        quic_drop(p->c, "enough");
    else
        quic_close(p->c, 3, "enough");
    return QUIC_TAKEN;
}

START_TEST(nothing_comes_behind_a_close)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r), other = raw_open(r);

    abruptly = _i;
    w->server.on_frame = close_at_once;
    raw_say(r, id, "\0\0\0\1x\0\0\0\1y\0\0\0\1z", 15, true);
    raw_say(r, other, hello, sizeof hello, true);
    raw_run(w, r, 100 * MS);
    ck_assert_uint_eq(heard(w, id)->frames, 1);
    ck_assert_uint_eq(heard(w, other)->frames, 0);
    ck_assert_int_eq(heard(w, id)->ended, 0);
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert_int_eq(w->far->code, _i ? -1 : 3);
    ck_assert_str_eq(w->far->why, "enough");
    raw_end(w, r);
}
END_TEST

/* ---- resets ---------------------------------------------------------------------------------- */

/* 0: before anything else; 1: within a frame; 2: behind one; 3: behind the end. */
START_TEST(a_reset_by_the_remote_is_told_once)
{
    static const size_t before[] = {0, 6, 9, 9};
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    if (before[_i])
        raw_say(r, id, hello, before[_i], _i == 3);
    raw_run(w, r, 100 * MS);
    ngtcp2_conn_shutdown_stream(r->ng, 0, id, 5);
    raw_run(w, r, 200 * MS);
    ck_assert_int_eq(heard(w, id)->lost, 1);
    ck_assert_uint_eq(heard(w, id)->frames, before[_i] == 9);
    ck_assert_int_eq(quic_send(w->far->c, (uint64_t)id, "x", 1), -1);
    ck_assert_int_eq(w->far->overs, 0);
    raw_end(w, r);
}
END_TEST

START_TEST(stop_sending_loses_the_stream)
{
    char *p = pattern(MIB);
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    raw_say(r, id, hello, sizeof hello, false);
    raw_run(w, r, 100 * MS);
    ck_assert_int_eq(quic_send(w->far->c, (uint64_t)id, p, MIB), 0);
    ngtcp2_conn_shutdown_stream_read(r->ng, 0, id, 5);
    raw_run(w, r, 200 * MS);
    ck_assert_int_eq(heard(w, id)->lost, 1);
    ck_assert(raw_stream(r, id)->reset);
    ck_assert_uint_eq(quic_queued_all(w->far->c), 0);
    ck_assert_uint_le(w->server.bytes, 512 * KIB);
    free(p);
    raw_end(w, r);
}
END_TEST

/* Who lets go of a stream's reader says so, and may answer what he has read. */
START_TEST(stop_sending_that_crosses_the_end_loses_nothing)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    uint64_t id = open_stream(w->far);

    say(w->far, id, "question");
    raw_run(w, r, 100 * MS);
    ngtcp2_conn_shutdown_stream_read(r->ng, 0, (int64_t)id, 0);
    quic_finish(w->far->c, id);
    raw_run(w, r, 100 * MS);
    raw_say(r, (int64_t)id, hello, sizeof hello, true);
    raw_run(w, r, 100 * MS);
    ck_assert(got(w->far, id, "hello"));
    ck_assert_int_eq(peer_stream(w->far, id)->ended, 1);
    ck_assert_int_eq(peer_stream(w->far, id)->lost, 0);
    raw_end(w, r);
}
END_TEST

START_TEST(a_reset_of_our_own_is_not_told_here)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    say(w->near, s, "hello");
    wire_run(w, 100 * MS);
    quic_reset(w->near->c, s, 9);
    quic_reset(w->near->c, s, 9);
    ck_assert_int_eq(quic_send(w->near->c, s, "x", 1), -1);
    wire_run(w, 200 * MS);
    ck_assert_int_eq(peer_stream(w->near, s)->lost, 0);
    ck_assert_int_eq(peer_stream(w->far, s)->lost, 1);
    ck_assert_uint_eq(quic_queued_all(w->near->c), 0);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic streams");
    TCase *t = tcase_create("streams");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, frames_go_both_ways_on_streams_of_both_sides);
    tcase_add_test(t, a_stream_ends_on_each_side_by_itself);
    tcase_add_test(t, a_cut_at_any_byte_changes_nothing);
    tcase_add_test(t, a_frame_in_single_bytes_is_one_frame);
    tcase_add_test(t, sixteen_mebibytes_are_one_frame);
    tcase_add_test(t, many_streams_have_their_turns);
    tcase_add_test(t, frames_never_come_before_ready);
    tcase_add_test(t, a_stream_that_ends_within_a_frame_is_reset);
    tcase_add_test(t, a_frame_of_no_bytes_is_reset);
    tcase_add_test(t, a_frame_above_the_limit_is_reset_at_its_length);
    tcase_add_test(t, a_frame_that_is_none_breaks_its_stream);
    tcase_add_test(t, nothing_of_a_stream_comes_behind_its_reset);
    tcase_add_test(t, nothing_of_what_had_waited_comes_behind_its_reset);
    tcase_add_loop_test(t, nothing_comes_behind_a_close, 0, 2);
    tcase_add_loop_test(t, a_reset_by_the_remote_is_told_once, 0, 4);
    tcase_add_test(t, stop_sending_loses_the_stream);
    tcase_add_test(t, stop_sending_that_crosses_the_end_loses_nothing);
    tcase_add_test(t, a_reset_of_our_own_is_not_told_here);
    suite_add_tcase(s, t);
    return run_suite(s);
}
