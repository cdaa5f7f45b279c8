/* What holds a stream of the QUIC engine back, and what it holds: windows, pauses, rooms, how many
 * there may be, who says nothing, and who pays. */
#include "quic_raw_wire.h"

/* ---- windows --------------------------------------------------------------------------------- */

START_TEST(a_paused_stream_holds_back_only_itself)
{
    char *p = pattern(MIB);
    struct wire *w = wire_connected();
    uint64_t held = open_stream(w->near), free_one = open_stream(w->near);

    say(w->near, held, "first");
    wire_run(w, 100 * MS);
    quic_pause(w->far->c, held);
    for (unsigned i = 0; i < MIB; i += KIB) {
        ck_assert_int_eq(quic_send(w->near->c, held, p + i, KIB), 0);
        ck_assert_int_eq(quic_send(w->near->c, free_one, p + i, KIB), 0);
    }
    wire_until(w, peer_stream(w->far, free_one)->got.len == MIB);
    wire_run(w, 1000 * MS);
    ck_assert(got(w->far, held, "first"));
    /* The window of the one is used up, and no more is kept of it here. */
    ck_assert_uint_ge(quic_queued(w->near->c, held), 700 * KIB);
    ck_assert_uint_le(w->server.bytes, 2500 * KIB);
    quic_resume(w->far->c, held);
    wire_until(w, peer_stream(w->far, held)->got.len == MIB + 5);
    ck_assert_int_eq(memcmp(buf_at(&peer_stream(w->far, held)->got) + 5, p, MIB), 0);
    free(p);
    wire_free(w);
}
END_TEST

static unsigned refusals;

static int take_late(struct peer *p, struct heard *h, const char *data, size_t len)
{
    if (refusals) {
        refusals--;
        return QUIC_LATER;
    }
    return keep_frame(p, h, data, len);
}

START_TEST(a_frame_that_is_wanted_later_comes_again)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near), other = open_stream(w->near);

    w->server.on_frame = take_late;
    refusals = 3;
    say(w->near, s, "one");
    say(w->near, s, "two");
    quic_finish(w->near->c, s);
    wire_run(w, 30 * MS);
    ck_assert_uint_eq(peer_stream(w->far, s)->frames, 0);
    wire_run(w, 1000 * MS);
    ck_assert(got(w->far, s, "onetwo"));
    ck_assert_int_eq(peer_stream(w->far, s)->ended, 1);
    say(w->near, other, "three");
    wire_run(w, 100 * MS);
    ck_assert(got(w->far, other, "three"));
    wire_free(w);
}
END_TEST

/* Nothing of it is left outside of the decoder then: with an end behind it (1) and without. */
START_TEST(a_frame_in_pieces_that_is_wanted_later_comes_again)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    w->server.on_frame = take_late;
    refusals = 2;
    raw_say(r, id, hello, 6, false);
    raw_run(w, r, 50 * MS);
    raw_say(r, id, hello + 6, sizeof hello - 6, _i);
    raw_run(w, r, 30 * MS);
    ck_assert_uint_eq(heard(w, id)->frames, 0);
    raw_run(w, r, 1000 * MS);
    ck_assert(got(w->far, (uint64_t)id, "hello"));
    ck_assert_int_eq(heard(w, id)->ended, _i);
    ck_assert_int_eq(heard(w, id)->lost, 0);
    raw_end(w, r);
}
END_TEST

static int pause_at_once(struct peer *p, struct heard *h, const char *data, size_t len)
{
    quic_pause(p->c, h->id);
    return keep_frame(p, h, data, len);
}

START_TEST(a_pause_from_within_a_frame_holds_the_next)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    w->server.on_frame = pause_at_once;
    raw_say(r, id, "\0\0\0\1x\0\0\0\1y\0\0\0\1z", 15, true);
    raw_run(w, r, 100 * MS);
    for (unsigned n = 1; n <= 3; n++) {
        ck_assert_uint_eq(heard(w, id)->frames, n);
        ck_assert_int_eq(heard(w, id)->ended, n == 3);
        quic_resume(w->far->c, (uint64_t)id);
        raw_run(w, r, 100 * MS);
    }
    ck_assert(got(w->far, (uint64_t)id, "xyz"));
    raw_end(w, r);
}
END_TEST

static uint64_t other_stream;

static int resume_the_other(struct peer *p, struct heard *h, const char *data, size_t len)
{
    if (h->id != other_stream)
        quic_resume(p->c, other_stream);
    return keep_frame(p, h, data, len);
}

/* From the telling of one stream another is resumed, and nothing else wakes the connection. */
START_TEST(a_resume_from_within_a_frame_takes_effect)
{
    struct wire *w = wire_connected();
    uint64_t one = open_stream(w->near), two = open_stream(w->near);

    say(w->near, one, "1");
    say(w->near, two, "2");
    wire_run(w, 1000 * MS);
    quic_pause(w->far->c, one);
    quic_pause(w->far->c, two);
    say(w->near, one, "3");
    say(w->near, two, "4");
    wire_run(w, 1000 * MS);
    w->server.on_frame = resume_the_other;
    other_stream = two;
    quic_resume(w->far->c, one);
    wire_run(w, 1 * MS);
    ck_assert(got(w->far, one, "13"));
    ck_assert(got(w->far, two, "24"));
    wire_free(w);
}
END_TEST

/* A remote that never reads: the sender waits, and hears of room once there is some. */
START_TEST(room_is_told_at_half_of_the_mark)
{
    char *p = pattern(MIB);
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    quic_set_mark(w->near->c, 128 * KIB);
    say(w->near, s, "x");
    wire_run(w, 100 * MS);
    quic_pause(w->far->c, s);
    ck_assert_int_eq(quic_send(w->near->c, s, p, MIB), 0);
    wire_run(w, 2000 * MS);
    ck_assert_uint_eq(peer_stream(w->near, s)->rooms, 0);
    ck_assert_uint_ge(quic_queued(w->near->c, s), MIB - 256 * KIB - 64);
    quic_resume(w->far->c, s);
    wire_until(w, peer_stream(w->near, s)->rooms);
    ck_assert_uint_le(quic_queued(w->near->c, s), 64 * KIB);
    wire_run(w, 1000 * MS);
    ck_assert_uint_eq(peer_stream(w->near, s)->rooms, 1);
    ck_assert_uint_eq(peer_stream(w->far, s)->got.len, MIB + 1);
    free(p);
    wire_free(w);
}
END_TEST

START_TEST(progress_is_what_the_remote_acknowledges)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near), before;

    say(w->near, s, "hello");
    wire_run(w, 200 * MS);
    before = quic_progress(w->near->c);
    ck_assert_uint_eq(before, 4 + strlen("hello"));
    ck_assert(!quic_awaits(w->near->c));
    w->server.deaf = true;
    say(w->near, s, "hello");
    wire_run(w, 500 * MS);
    ck_assert_uint_eq(quic_progress(w->near->c), before);
    ck_assert(quic_awaits(w->near->c));
    wire_free(w);
}
END_TEST

START_TEST(nothing_is_awaited_of_a_stream_that_is_held_back)
{
    char *p = pattern(MIB);
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    say(w->near, s, "x");
    wire_run(w, 100 * MS);
    quic_pause(w->far->c, s);
    ck_assert_int_eq(quic_send(w->near->c, s, p, MIB), 0);
    ck_assert(quic_awaits(w->near->c));
    wire_run(w, 1000 * MS);
    ck_assert_uint_ge(quic_queued_all(w->near->c), 500 * KIB);
    ck_assert(!quic_awaits(w->near->c));
    quic_reset(w->near->c, s, 0);
    ck_assert(!quic_awaits(w->near->c));
    say(w->near, open_stream(w->near), "x");
    ck_assert(quic_awaits(w->near->c));
    wire_run(w, 1000 * MS);
    ck_assert(!quic_awaits(w->near->c));
    free(p);
    wire_free(w);
}
END_TEST

/* ---- how many -------------------------------------------------------------------------------- */

START_TEST(no_more_streams_than_the_remote_allows)
{
    uint64_t id[100], s;
    struct wire *w = wire_connected();

    for (int i = 0; i < 100; i++)
        id[i] = open_stream(w->near);
    ck_assert(!quic_open_stream(w->near->c, &s));
    say(w->near, id[0], "hello");
    quic_finish(w->near->c, id[0]);
    wire_run(w, 200 * MS);
    ck_assert(!quic_open_stream(w->near->c, &s));
    w->near->more = 0;
    quic_finish(w->far->c, id[0]);
    wire_run(w, 200 * MS);
    ck_assert_uint_ge(w->near->more, 1);
    ck_assert(quic_open_stream(w->near->c, &s));
    wire_free(w);
}
END_TEST

/* A stream that was reset makes room as well, whoever did it. */
START_TEST(streams_come_and_go_without_end)
{
    struct wire *w = wire_connected();
    size_t bytes = 0;

    for (int i = 0; i < 1000; i++) {
        uint64_t s = open_stream(w->near);

        say(w->near, s, "hello");
        wire_run(w, 50 * MS);
        ck_assert(got(w->far, s, "hello"));
        if (i % 3 == 0) {
            quic_reset(w->far->c, s, 1);
        } else if (i % 3 == 1) {
            quic_reset(w->near->c, s, 1);
        } else {
            quic_finish(w->near->c, s);
            quic_finish(w->far->c, s);
        }
        wire_run(w, 100 * MS);
        for (int side = 0; side < 2; side++) {
            struct heard *h = peer_stream(side ? w->near : w->far, s);

            list_del(&h->link);
            buf_fini(&h->got);
            free(h);
        }
        if (i == 100)
            bytes = w->server.bytes + w->client.bytes;
    }
    ck_assert_uint_le(w->server.bytes + w->client.bytes, bytes + 8 * KIB);
    wire_free(w);
}
END_TEST

/* ---- what says nothing ----------------------------------------------------------------------- */

/* 0: half a length; 1: half a frame; 2: nothing but the stream, which is opened by a window. */
START_TEST(a_stream_that_does_not_come_on_is_swept)
{
    static const size_t said[] = {2, 6, 0};
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r);

    if (said[_i])
        raw_say(r, id, hello, said[_i], false);
    else
        ngtcp2_conn_extend_max_stream_offset(r->ng, id, 1 << 20);
    raw_run(w, r, 4000 * MS);
    ck_assert(!raw_stream(r, id)->reset && !raw_stream(r, id)->stopped);
    raw_run(w, r, 7000 * MS);
    ck_assert(raw_stream(r, id)->reset);
    ck_assert_uint_eq(raw_stream(r, id)->reset_code, 2);
    ck_assert_int_eq(heard(w, id)->lost, 1);
    ck_assert_int_eq(w->far->overs, 0);
    raw_end(w, r);
}
END_TEST

START_TEST(a_stream_between_two_frames_is_not_swept)
{
    struct raw *r;
    struct wire *w = raw_wire(&r);
    int64_t id = raw_open(r), slow = raw_open(r);

    raw_say(r, id, hello, sizeof hello, false);
    for (size_t i = 0; i < sizeof hello; i++) {
        raw_say(r, slow, hello + i, 1, false);
        raw_run(w, r, 3000 * MS);
    }
    ck_assert(got(w->far, (uint64_t)slow, "hello"));
    ck_assert_int_eq(heard(w, id)->lost + heard(w, slow)->lost, 0);
    raw_say(r, id, hello, sizeof hello, false);
    raw_run(w, r, 100 * MS);
    ck_assert(got(w->far, (uint64_t)id, "hellohello"));
    raw_end(w, r);
}
END_TEST

/* Our own stream waits for its answer as long as it likes. */
START_TEST(a_stream_that_waits_for_an_answer_is_not_swept)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    say(w->near, s, "question");
    wire_run(w, 25000 * MS);
    say(w->far, s, "answer");
    wire_run(w, 100 * MS);
    ck_assert(got(w->near, s, "answer"));
    wire_free(w);
}
END_TEST

/* ---- who pays -------------------------------------------------------------------------------- */

struct account {
    struct meter m;
    size_t taken, most;
};

static bool take(struct meter *m, size_t n, bool begins)
{
    struct account *a = (struct account *)m;

    (void)begins;
    if (a->taken + n > a->most)
        return false;
    a->taken += n;
    return true;
}

static void force(struct meter *m, size_t n)
{
    ((struct account *)m)->taken += n;
}

static void give(struct meter *m, size_t n)
{
    ck_assert_uint_ge(((struct account *)m)->taken, n);
    ((struct account *)m)->taken -= n;
}

static bool pressed(const struct meter *m)
{
    (void)m;
    return false;
}

static const struct meter_ops account_ops = {
    .take = take, .force = force, .give = give, .pressed = pressed};

START_TEST(what_waits_is_charged)
{
    char *p = pattern(MIB);
    struct account out = {{&account_ops}, 0, SIZE_MAX}, in = out;
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    quic_charge(w->near->c, &out.m);
    quic_charge(w->far->c, &in.m);
    say(w->near, s, "x");
    wire_run(w, 100 * MS);
    quic_pause(w->far->c, s);
    ck_assert_int_eq(quic_send(w->near->c, s, p, MIB), 0);
    ck_assert_uint_ge(out.taken, MIB);
    wire_run(w, 1000 * MS);
    ck_assert_uint_ge(in.taken, 200 * KIB);
    quic_resume(w->far->c, s);
    wire_until(w, peer_stream(w->far, s)->got.len == MIB + 1);
    wire_run(w, 100 * MS);
    ck_assert_uint_eq(in.taken, 0);
    ck_assert_uint_eq(out.taken, 0);
    free(p);
    wire_free(w);
}
END_TEST

/* The connection's window is not given back for what nobody pays for, and all comes in the end. */
START_TEST(without_room_the_remote_is_held_back_and_nothing_is_lost)
{
    char *p = pattern(800 * KIB);
    struct account in = {{&account_ops}, 0, 0};
    struct wire *w = wire_connected();
    uint64_t s[4];

    quic_charge(w->far->c, &in.m);
    for (int i = 0; i < 4; i++) {
        s[i] = open_stream(w->near);
        ck_assert_int_eq(quic_send(w->near->c, s[i], p, 800 * KIB), 0);
    }
    wire_run(w, 3000 * MS);
    ck_assert_uint_le(w->server.bytes, 3 * MIB);
    ck_assert_uint_ge(quic_queued_all(w->near->c), MIB);
    in.most = SIZE_MAX;
    for (int i = 0; i < 4; i++) {
        wire_until(w, peer_stream(w->far, s[i])->got.len == 800 * KIB);
        ck_assert_int_eq(memcmp(buf_at(&peer_stream(w->far, s[i])->got), p, 800 * KIB), 0);
    }
    wire_run(w, 100 * MS);
    ck_assert_uint_le(in.taken, METER_STEP); /* of the streams themselves */
    free(p);
    wire_free(w);
}
END_TEST

/* What a stream had of the connection's window goes back with it. */
START_TEST(a_stream_that_is_reset_while_there_is_no_room_costs_no_window)
{
    char *p = pattern(400 * KIB);
    struct account in = {{&account_ops}, 0, 0};
    struct wire *w = wire_connected();
    uint64_t s[8], last;

    quic_charge(w->far->c, &in.m);
    for (int i = 0; i < 8; i++) {
        s[i] = open_stream(w->near);
        ck_assert_int_eq(quic_send(w->near->c, s[i], p, 400 * KIB), 0);
    }
    wire_run(w, 3000 * MS);
    for (int i = 0; i < 8; i++)
        quic_reset(w->near->c, s[i], 0);
    wire_run(w, 1000 * MS);
    ck_assert_uint_eq(in.taken, 0);
    in.most = SIZE_MAX;
    last = open_stream(w->near);
    say(w->near, last, "hello");
    wire_run(w, 1000 * MS);
    ck_assert(got(w->far, last, "hello"));
    free(p);
    wire_free(w);
}
END_TEST

#define MANY 60

/* What is small for each of them. */
START_TEST(what_many_streams_hold_is_charged)
{
    char *p = pattern(8 * KIB);
    struct account out = {{&account_ops}, 0, SIZE_MAX}, in = out;
    struct wire *w = wire_connected();
    uint64_t s[MANY];

    quic_charge(w->near->c, &out.m);
    for (int i = 0; i < MANY; i++) {
        s[i] = open_stream(w->near);
        say(w->near, s[i], "x");
    }
    wire_run(w, 200 * MS);
    w->server.deaf = true;
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(quic_send(w->near->c, s[i], p, 8 * KIB), 0);
    ck_assert_uint_ge(out.taken, (size_t)MANY * 16 * KIB);
    quic_charge(w->far->c, &in.m);
    ck_assert_uint_ge(in.taken, (size_t)MANY * 8 * KIB);
    w->server.deaf = false;
    wire_run(w, 1000 * MS);
    for (int i = 0; i < MANY; i++) {
        quic_finish(w->near->c, s[i]);
        quic_finish(w->far->c, s[i]);
    }
    wire_run(w, 1000 * MS);
    ck_assert_uint_eq(in.taken, 0);
    ck_assert_uint_eq(out.taken, 0);
    free(p);
    wire_free(w);
}
END_TEST

/* A few are always possible. */
START_TEST(without_room_a_connection_has_few_streams)
{
    struct account in = {{&account_ops}, 0, 0};
    struct wire *w = wire_connected();
    uint64_t s[MANY], more;
    int lost = 0;

    quic_charge(w->far->c, &in.m);
    for (int i = 0; i < MANY; i++) {
        s[i] = open_stream(w->near);
        say(w->near, s[i], "x");
    }
    wire_run(w, 500 * MS);
    for (int i = 0; i < MANY; i++)
        lost += peer_stream(w->near, s[i])->lost;
    ck_assert_int_ge(lost, MANY - 20);
    ck_assert_int_le(lost, MANY - 4);
    in.most = SIZE_MAX;
    more = open_stream(w->near);
    say(w->near, more, "x");
    wire_run(w, 500 * MS);
    ck_assert(got(w->far, more, "x"));
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic windows");
    TCase *t = tcase_create("windows");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_paused_stream_holds_back_only_itself);
    tcase_add_test(t, a_frame_that_is_wanted_later_comes_again);
    tcase_add_loop_test(t, a_frame_in_pieces_that_is_wanted_later_comes_again, 0, 2);
    tcase_add_test(t, a_pause_from_within_a_frame_holds_the_next);
    tcase_add_test(t, a_resume_from_within_a_frame_takes_effect);
    tcase_add_test(t, room_is_told_at_half_of_the_mark);
    tcase_add_test(t, progress_is_what_the_remote_acknowledges);
    tcase_add_test(t, nothing_is_awaited_of_a_stream_that_is_held_back);
    tcase_add_test(t, no_more_streams_than_the_remote_allows);
    tcase_add_test(t, streams_come_and_go_without_end);
    tcase_add_loop_test(t, a_stream_that_does_not_come_on_is_swept, 0, 3);
    tcase_add_test(t, a_stream_between_two_frames_is_not_swept);
    tcase_add_test(t, a_stream_that_waits_for_an_answer_is_not_swept);
    tcase_add_test(t, what_waits_is_charged);
    tcase_add_test(t, without_room_the_remote_is_held_back_and_nothing_is_lost);
    tcase_add_test(t, a_stream_that_is_reset_while_there_is_no_room_costs_no_window);
    tcase_add_test(t, what_many_streams_hold_is_charged);
    tcase_add_test(t, without_room_a_connection_has_few_streams);
    suite_add_tcase(s, t);
    return run_suite(s);
}
