/* Each allocation of the QUIC engine fails once, or from then on: the connection ends, or does
 * without, and all memory comes back. */
#include "quic_wire.h"

static char big[30000];

static int echo(struct peer *p, struct heard *h, const char *data, size_t len)
{
    h->frames++;
    return quic_send(p->c, h->id, data, len) ? QUIC_BROKEN : QUIC_TAKEN;
}

static void stream_of(struct peer *p, int how)
{
    uint64_t s;

    if (!p || !p->c || !p->readies || !quic_open_stream(p->c, &s) ||
        quic_send(p->c, s, big, sizeof big))
        return;
    if (how == 0)
        quic_finish(p->c, s);
    else if (how == 1)
        quic_pause(p->c, s);
}

/* A handshake, streams of both sides, a frame in pieces and one that is held up, a new address, new
 * keys, a reset and a close. */
static void everything(struct wire *w)
{
    struct quic_address other = address_of(0x0a000007u, 50007);
    struct peer *near, *far;

    near = wire_dial(w, NULL, w->server_print);
    wire_run(w, 200 * MS);
    far = wire_far(w);
    for (int i = 0; i < 3; i++) {
        stream_of(near, i);
        stream_of(far, i);
        wire_run(w, 50 * MS);
    }
    if (near && near->c && near->readies) {
        quic_migrate(near->c, &other, w->now);
        stream_of(near, 0);
        wire_run(w, 200 * MS);
    }
    if (near && near->c)
        quic_update_keys(near->c, w->now);
    stream_of(near, 0);
    wire_run(w, 100 * MS);
    if (near && near->c)
        quic_resume(near->c, 4);
    if (far && far->c)
        quic_reset(far->c, 1, 3);
    wire_run(w, 100 * MS);
    if (near && near->c)
        quic_close(near->c, 0, "done");
    wire_run(w, 100 * MS);
}

static struct wire *scene(bool server, long fail_at, bool fail_on, bool busy)
{
    struct wire *w = wire_new();
    struct end *e = server ? &w->server : &w->client;

    if (busy)
        w->server.limits.handshakes = 3; /* a Retry goes before the handshake */
    w->server.on_frame = echo;
    e->fail_at = fail_at;
    e->fail_on = fail_on;
    wire_open(w);
    return w;
}

/* false: there were not so many. */
static bool fails(bool server, long fail_at, bool fail_on, bool busy)
{
    struct wire *w = scene(server, fail_at, fail_on, busy);
    struct end *e = server ? &w->server : &w->client;
    bool failed;

    if (w->server.q && w->client.q)
        everything(w);
    failed = e->allocations >= fail_at;
    e->fail_at = 0;
    e->fail_on = false;
    /* Who has failed goes on with others. */
    if (w->server.q && w->client.q)
        wire_connect(w);
    wire_free(w);
    return failed;
}

/* Each alone (0), or it and all behind it (1). */
static void each_fails(bool server, bool fail_on)
{
    long n = 1;

    while (fails(server, n, fail_on, false))
        n++;
    ck_assert_int_ge(n, 80);
}

START_TEST(any_allocation_of_a_server_may_fail)
{
    each_fails(true, _i);
}
END_TEST

START_TEST(any_allocation_of_a_client_may_fail)
{
    each_fails(false, _i);
}
END_TEST

START_TEST(any_allocation_of_a_retry_may_fail)
{
    for (long n = 1; n < 40; n++) {
        fails(true, n, _i, true);
        fails(false, n, _i, true);
    }
}
END_TEST

/* What is kept of a connection that says nothing is little. */
START_TEST(an_idle_connection_holds_little)
{
    struct wire *w = wire_new();
    size_t before;

    wire_open(w);
    wire_connect(w);
    wire_run(w, 5000 * MS);
    before = w->server.bytes;
    for (int i = 0; i < 10; i++)
        wire_connect(w);
    wire_run(w, 5000 * MS);
    ck_assert_uint_le((w->server.bytes - before) / 10, 40000);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic memory");
    TCase *t = tcase_create("memory");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, any_allocation_of_a_server_may_fail, 0, 2);
    tcase_add_loop_test(t, any_allocation_of_a_client_may_fail, 0, 2);
    tcase_add_loop_test(t, any_allocation_of_a_retry_may_fail, 0, 2);
    tcase_add_test(t, an_idle_connection_holds_little);
    suite_add_tcase(s, t);
    return run_suite(s);
}
