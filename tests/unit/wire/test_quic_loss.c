/* QUIC on networks that lose, double, reorder, mark and have little room: 10,000 frames echo on
 * each, none lost, none doubled, in the order of their stream. */
#include "quic_wire.h"

#include <time.h>

enum { FRAMES = 10000, STREAMS = 20 };

static unsigned came_back;

/* A frame says which of its stream it is, and is as long as that makes it. */
static size_t make_frame(char *to, unsigned n)
{
    size_t len = 8 + n * 7919u % 600;

    memset(to, 'a' + (int)(n % 26), len);
    memcpy(to, &n, sizeof n);
    return len;
}

static int echo(struct peer *p, struct heard *h, const char *data, size_t len)
{
    h->frames++;
    return quic_send(p->c, h->id, data, len) ? QUIC_BROKEN : QUIC_TAKEN;
}

static int count(struct peer *p, struct heard *h, const char *data, size_t len)
{
    char want[700];

    (void)p;
    must(len == make_frame(want, (unsigned)h->frames++) && !memcmp(data, want, len));
    came_back++;
    return QUIC_TAKEN;
}

static struct wire *lossy(unsigned loss, unsigned twice, unsigned late)
{
    struct wire *w = wire_new();

    w->loss = loss;
    w->twice = twice;
    w->late = late;
    wire_open(w);
    w->server.on_frame = echo;
    w->client.on_frame = count;
    return w;
}

static void all_echo(struct wire *w)
{
    uint64_t id[STREAMS], begun;
    char frame[700];

    wire_connect(w);
    begun = w->now;
    for (int i = 0; i < STREAMS; i++)
        id[i] = open_stream(w->near);
    for (unsigned n = 0; n < FRAMES / STREAMS; n++) {
        for (int i = 0; i < STREAMS; i++)
            must(!quic_send(w->near->c, id[i], frame, make_frame(frame, n)));
    }
    for (int i = 0; i < STREAMS; i++)
        quic_finish(w->near->c, id[i]);
    wire_until(w, came_back == FRAMES || w->near->overs);
    ck_assert_uint_eq(came_back, FRAMES);
    for (int i = 0; i < STREAMS; i++) {
        ck_assert_uint_eq(peer_stream(w->far, id[i])->frames, FRAMES / STREAMS);
        wire_until(w, peer_stream(w->far, id[i])->ended);
        quic_finish(w->far->c, id[i]);
        wire_until(w, peer_stream(w->near, id[i])->ended);
        ck_assert_int_eq(peer_stream(w->near, id[i])->lost + peer_stream(w->far, id[i])->lost, 0);
    }
    ck_assert_uint_le(w->now - begun, 120000 * MS);
}

START_TEST(a_network_that_loses)
{
    static const unsigned loss[] = {0, 10, 50, 200};
    struct wire *w = lossy(loss[_i], 0, 0);

    all_echo(w);
    ck_assert(w->lost || !_i);
    wire_free(w);
}
END_TEST

START_TEST(a_network_that_doubles)
{
    struct wire *w = lossy(0, 300, 0);

    all_echo(w);
    wire_free(w);
}
END_TEST

START_TEST(a_network_that_reorders)
{
    struct wire *w = lossy(0, 0, 300);

    all_echo(w);
    wire_free(w);
}
END_TEST

START_TEST(a_network_that_does_all_of_it)
{
    struct wire *w = lossy(50, 100, 200);

    w->seed += (uint64_t)_i * 7919;
    all_echo(w);
    wire_free(w);
}
END_TEST

START_TEST(a_path_of_1200_bytes)
{
    struct wire *w = lossy(0, 0, 0);

    w->mtu = 1200;
    all_echo(w);
    /* What was tried above that is all that was lost. */
    ck_assert_uint_ge(w->lost, 1);
    ck_assert_uint_le(w->lost, 40);
    wire_free(w);
}
END_TEST

START_TEST(a_wide_path_is_found)
{
    struct wire *w = lossy(0, 0, 0);

    all_echo(w);
    ck_assert_uint_ge(w->server.sent / w->server.datagrams, 1000);
    ck_assert_uint_eq(w->lost, 0);
    wire_free(w);
}
END_TEST

START_TEST(packets_are_made_in_small_buffers_as_well)
{
    struct wire *w = lossy(20, 0, 0);

    w->pull = 1500;
    all_echo(w);
    wire_free(w);
}
END_TEST

START_TEST(packets_are_marked_and_marks_slow_them_down)
{
    struct wire *w = lossy(0, 0, 0), *slow;
    uint64_t begun = w->now, fast;

    all_echo(w);
    fast = w->now - begun;
    ck_assert_uint_ge(w->server.marked, w->server.datagrams / 2);
    wire_free(w);
    came_back = 0;
    slow = lossy(0, 0, 0);
    slow->congested = true;
    begun = slow->now;
    all_echo(slow);
    ck_assert_uint_ge(slow->now - begun, 2 * fast);
    ck_assert_uint_eq(slow->lost, 0);
    wire_free(slow);
}
END_TEST

START_TEST(what_was_sent_long_ago_holds_nothing_back)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near), begun;
    char *p = calloc(1, 40000);

    for (int i = 0; i < 2000; i++) {
        must(!quic_send(w->near->c, s, p, 600));
        wire_run(w, 30 * MS);
    }
    begun = w->now;
    must(!quic_send(w->near->c, s, p, 40000));
    wire_until(w, peer_stream(w->far, s)->frames == 2001);
    ck_assert_uint_le(w->now - begun, 10 * w->delay);
    free(p);
    wire_free(w);
}
END_TEST

/* What arrives at one time has left at one. */
struct bursts {
    uint64_t at;
    size_t bytes, most, all;
};

static bool count_burst(struct wire *w, struct packet *p)
{
    struct bursts *b = w->ud;

    if (same_address(&p->to, &w->client.address))
        return true;
    b->bytes = (p->at == b->at ? b->bytes : 0) + p->len;
    b->at = p->at;
    b->all += p->len;
    b->most = b->bytes > b->most ? b->bytes : b->most;
    return true;
}

START_TEST(a_wide_window_does_not_leave_at_once)
{
    struct wire *w = wire_connected();
    struct bursts b = {0};
    size_t one = 200000;
    uint64_t s = open_stream(w->near);
    char *p = calloc(1, one);

    for (unsigned i = 0; i < 20; i++) {
        must(!quic_send(w->near->c, s, p, one));
        wire_until(w, peer_stream(w->far, s)->frames == i + 1);
    }
    wire_run(w, 1000 * MS);
    w->ud = &b;
    w->filter = count_burst;
    must(!quic_send(w->near->c, s, p, one));
    wire_run(w, 2 * w->delay);
    /* The window lets all of it leave within a round trip. */
    ck_assert_uint_ge(b.all, one);
    ck_assert_uint_le(b.most, one / 2);
    free(p);
    wire_free(w);
}
END_TEST

START_TEST(a_handshake_survives_losses)
{
    struct wire *w = lossy(250, 100, 100);

    w->seed += (uint64_t)_i * 104729;
    host_seed += (uint64_t)_i;
    w->client.limits.handshake_timeout = w->server.limits.handshake_timeout = 100000 * MS;
    wire_connect(w);
    wire_free(w);
}
END_TEST

/* Of processor time, for as many small frames on a path of 200 ms that takes them all. */
static double cost(size_t bytes)
{
    char frame[1000] = {0};
    struct wire *w = wire_new();
    uint64_t s;
    clock_t begun;

    w->delay = 200 * MS;
    w->server.limits.window = w->server.limits.stream_window = 1u << 30;
    wire_open(w);
    w->near = wire_dial(w, NULL, w->server_print);
    wire_until(w, w->near->readies);
    s = open_stream(w->near);
    begun = clock();
    for (size_t n = 0; n < bytes; wire_step(w, w->now + 1000 * MS)) {
        for (; n < bytes && quic_queued(w->near->c, s) < 65536; n += sizeof frame)
            ck_assert_int_eq(quic_send(w->near->c, s, frame, sizeof frame), 0);
        end_flush(&w->client);
    }
    begun = clock() - begun;
    wire_free(w);
    return (double)begun;
}

/* Four times as much, most of it on its way at once. */
START_TEST(what_is_on_its_way_is_not_gone_through_for_each_packet)
{
    double few = cost(16u << 20), many = cost(64u << 20);

    ck_assert_msg(many < 12 * few, "%g against %g", many, few);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic loss");
    TCase *t = tcase_create("loss");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_network_that_loses, 0, 4);
    tcase_add_test(t, a_network_that_doubles);
    tcase_add_test(t, a_network_that_reorders);
    tcase_add_loop_test(t, a_network_that_does_all_of_it, 0, 3);
    tcase_add_test(t, a_path_of_1200_bytes);
    tcase_add_test(t, a_wide_path_is_found);
    tcase_add_test(t, packets_are_made_in_small_buffers_as_well);
    tcase_add_test(t, packets_are_marked_and_marks_slow_them_down);
    tcase_add_test(t, what_was_sent_long_ago_holds_nothing_back);
    tcase_add_test(t, a_wide_window_does_not_leave_at_once);
    tcase_add_loop_test(t, a_handshake_survives_losses, 0, 20);
    tcase_add_test(t, what_is_on_its_way_is_not_gone_through_for_each_packet);
    suite_add_tcase(s, t);
    return run_suite(s);
}
