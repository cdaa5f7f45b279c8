/* Readers that are slow, or gone: a producer is held back and resumed, memory stays bounded, who takes nothing is cut,
 * and a client that leaves at any step ends its call and nobody else's. */
#include "support/suite.h"
#include "uv/rig.h"

#include "core/dispatcher.h"
#include "uv/conn.h"

#include <sys/ioctl.h>

#define FLOOD POST_HEAD("/subscribe", "23") "\r\n{\"operation\":\"t/flood\"}"
#define BIG(n) POST_HEAD("/call", "37") "\r\n{\"operation\":\"t/big\",\"input\":" n "}"

static struct client a, b;

/* ---- backpressure ------------------------------------------------------------------------------ */

static void read_all(struct rig *r)
{
    client_open(&a, NULL, r->port);
    client_send(&a, FLOOD);
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
}

/* Nothing else happens on the loop: the values must move by themselves. */
START_TEST(a_flood_that_is_read_comes_whole)
{
    struct rig *r = rig_new();

    r->limits.queue_high = _i & 2 ? 4096 : 16384; /* which the socket takes at once */
    r->flood.left = 1500;
    r->flood.from_timer = _i & 1;
    rig_start(r);
    rig_script(r, read_all);
    ck_assert_int_eq(r->flood.emitted, 1500);
    ck_assert_int_gt(r->flood.drains, 0);
    ck_assert_int_eq(r->flood.why, ALK_END_OK);
    rig_free(r);
}
END_TEST

static long count(const struct client *c, const char *text)
{
    long n = 0;

    for (const char *p = c->body; (p = strstr(p, text)); p++)
        n++;
    return n;
}

static void read_slowly(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, FLOOD);
    for (int i = 0; i < 30; i++) {
        client_take(&a, 1000);
        usleep(1000);
    }
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_eq(count(&a, "data: "), 2000);
    client_close(&a);
}

/* Work without end, of which one piece is longer than a turn. */
static struct busy {
    struct task task;
    alk_dispatcher *d;
} busy;

static void work(struct task *t)
{
    for (uint64_t since = now_ms(); now_ms() < since + 12;)
        ;
    task_post(&busy.d->schedule, t);
}

START_TEST(a_reader_gets_on_while_the_dispatcher_always_has_more_to_do)
{
    struct rig *r = rig_new();

    r->limits.queue_high = 65536;
    r->flood.left = 500;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, FLOOD);
    rig_until(r, r->flood.refused);
    busy.d = r->d;
    task_init(&busy.task, work);
    task_post(&r->d->schedule, &busy.task);
    ck_assert_int_eq(client_answer(&a), 200);
    list_del(&busy.task.link);
    ck_assert_int_eq(r->flood.emitted, 500);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_slow_reader_holds_the_producer_back_and_misses_nothing)
{
    struct rig *r = rig_new();

    r->limits.queue_high = 65536;
    r->flood.left = 2000;
    rig_start(r);
    rig_script(r, read_slowly);
    ck_assert_int_eq(r->flood.emitted, 2000);
    ck_assert_int_ge(r->flood.refused, 2);
    ck_assert_int_eq(r->flood.refused, r->flood.drains);
    ck_assert_int_eq(r->flood.ends, 1);
    rig_free(r);
}
END_TEST

/* Unread bytes of the rig's only connection, all of which its client has sent (a Unix socket has no buffer of the sender's). */
static size_t unread(const struct rig *r)
{
    const struct conn *c = container_of(r->l->conns.next, struct conn, link);
    uv_os_fd_t fd;
    int n;

    ck_assert_int_eq(uv_fileno(&c->h.handle, &fd), 0);
    ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
    return (size_t)n;
}

/* More is there than a turn reads of one connection, so that others get their turn in between. */
START_TEST(a_turn_reads_one_buffer_of_a_connection)
{
    static const char head[] = POST_HEAD("/call", "300000") "\r\n";
    static const char junk[4 * READ_BUFFER];
    int size = sizeof junk;
    char dir[] = "/tmp/alknet-flow.XXXXXX", path[64];
    struct rig *r = rig_new();
    size_t left;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    r->listen.unix_path = path;
    rig_start(r);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    ck_assert(!setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    client_send(&a, head);
    rig_until(r, !list_empty(&r->l->conns) && !unread(r));
    client_offer(&a, junk, sizeof junk);
    ck_assert_uint_gt(left = unread(r), 2 * READ_BUFFER);
    while (left) {
        size_t before = left;

        uv_run(&r->uv, UV_RUN_NOWAIT);
        left = unread(r);
        ck_assert_uint_eq(before - left, before < READ_BUFFER ? before : READ_BUFFER);
    }
    client_close(&a);
    rig_free(r);
    rmdir(dir);
}
END_TEST

/* In the sockets, and beyond them queue_high and one value. */
START_TEST(what_waits_for_a_reader_is_bounded)
{
    struct rig *r = rig_new();

    r->limits.queue_high = 65536;
    r->flood.left = 1000000;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, FLOOD);
    rig_until(r, r->flood.refused);
    rig_steps(r, 100);
    ck_assert_int_lt(r->flood.emitted, 500); /* thousands of bytes */
    rig_client(r, &b);                       /* others are served */
    client_send(&b, CALL_ECHO);
    ck_assert_int_eq(client_answer(&b), 200);
    client_close(&a);
    rig_until(r, r->flood.ends);
    ck_assert_int_eq(r->flood.why, ALK_END_ABORTED);
    client_close(&b);
    rig_free(r);
}
END_TEST

START_TEST(a_large_answer_reaches_a_slow_reader_whole)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, BIG("3000000") CALL_ECHO);
    for (int i = 0; i < 20; i++) {
        client_take(&a, 500);
        rig_steps(r, 1);
    }
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_uint_gt(a.body_len, 3000000);
    ck_assert_int_eq(strspn(strstr(a.body, "bbbbbbbbbbbbb"), "b"), 3000000);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":7}"));
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- time-outs --------------------------------------------------------------------------------- */

/* Cut: an event stream (0), a large answer (1). The node has room for one connection, so that another client is served
 * only when this one, which reads nothing until then, has been cut. */
static void take_nothing(struct rig *r)
{
    uint64_t since = now_ms();

    rig_narrow_client(r, &a, true);
    client_send(&a, r->ud ? BIG("9000000") : FLOOD);
    client_wait(&a, since, "the first bytes");
    for (bool served = false; !served;) {
        must(now_ms() < since + CLIENT_PATIENCE);
        usleep(20000);
        client_open(&b, NULL, r->port);
        send(b.fd, TEXT(GET("/healthz")), MSG_NOSIGNAL);
        while (!b.ended && !(served = b.len > 0)) {
            client_take(&b, 100);
            client_step(&b, POLLIN);
        }
        client_close(&b);
    }
    ck_assert_uint_ge(now_ms() - since, 149);
    client_ended(&a);
    ck_assert_ptr_null(memmem(a.in, a.len, "\r\n0\r\n\r\n", 7));
    ck_assert_uint_lt(a.len, 9000000);
    client_close(&a);
}

START_TEST(a_reader_that_takes_nothing_is_cut)
{
    struct rig *r = rig_new();

    r->limits.write_timeout_ms = 150;
    r->limits.connections = 1;
    r->flood.left = 1000000;
    r->ud = _i ? r : NULL;
    rig_start(r);
    rig_script(r, take_nothing);
    if (!_i) {
        ck_assert_int_eq(r->flood.ends, 1);
        ck_assert_int_eq(r->flood.why, ALK_END_ABORTED);
    }
    rig_free(r);
}
END_TEST

static void take_a_little(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, BIG("9000000"));
    /* Much longer than the time-out. */
    for (uint64_t since = now_ms(); now_ms() < since + 800; usleep(10000)) {
        client_take(&a, 20000);
        must(!a.ended);
    }
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
}

START_TEST(a_reader_that_takes_a_little_is_not_cut)
{
    struct rig *r = rig_new();

    r->limits.write_timeout_ms = 250;
    rig_start(r);
    rig_script(r, take_a_little);
    rig_free(r);
}
END_TEST

static void send_and_wait(struct rig *r)
{
    uint64_t since;

    client_open(&a, NULL, r->port);
    client_send(&a, r->ud);
    since = now_ms();
    client_ended(&a);
    ck_assert_uint_ge(now_ms() - since, 140);
    ck_assert_uint_lt(now_ms() - since, 5000);
    client_close(&a);
}

START_TEST(requests_that_do_not_come_end_on_an_idle_loop)
{
    static char *const said[] = {"", "GET /healthz HTTP/1.1\r\nHo", GET("/healthz"),
                                 POST_HEAD("/call", "23") "\r\n{\"oper"};
    struct rig *r = rig_new();

    r->limits.header_timeout_ms = r->limits.body_timeout_ms = r->limits.keepalive_ms = 150;
    r->ud = said[_i];
    rig_start(r);
    rig_script(r, send_and_wait);
    rig_free(r);
}
END_TEST

static void listen_for_beats(struct rig *r)
{
    client_open(&a, NULL, r->port);
    client_send(&a, SUBSCRIBE_STREAM);
    ck_assert_int_eq(client_head(&a), 200);
    for (int i = 0; i < 3; i++)
        client_chunk(&a);
    ck_assert_str_eq(a.body, ":\n\n:\n\n:\n\n");
    client_close(&a);
}

START_TEST(an_idle_event_stream_has_a_heartbeat)
{
    struct rig *r = rig_new();

    r->limits.heartbeat_ms = 50;
    rig_start(r);
    rig_script(r, listen_for_beats);
    rig_free(r);
}
END_TEST

/* ---- a client that leaves ---------------------------------------------------------------------- */

/* Ends the client at the step, by a close (0) or a reset (1); then another one is served. */
static void leave(struct rig *r, bool reset)
{
    if (reset)
        client_reset(&a);
    else
        client_close(&a);
    rig_client(r, &b);
    client_send(&b, CALL_ECHO);
    ck_assert_int_eq(client_answer(&b), 200);
    client_close(&b);
}

static const char *const steps[] = {"",
                                    "GET /he",
                                    GET("/healthz"),
                                    POST_HEAD("/call", "23"),
                                    POST_HEAD("/call", "23") "\r\n",
                                    POST_HEAD("/call", "23") "\r\n{\"operation\"",
                                    CALL_ECHO,
                                    CALL_ECHO CALL_ECHO "POST /call",
                                    "nonsense\r\n\r\n",
                                    POST_HEAD("/call", "2300000") "\r\n{\"operation\""};

START_TEST(a_client_leaves_at_a_step_of_its_request)
{
    struct rig *r = rig_new();
    alk_stats stats = {.size = sizeof stats};

    rig_start(r);
    for (int i = 0; i < 4; i++) {
        rig_client(r, &a);
        client_send(&a, steps[_i]);
        for (int k = 0; k < i; k++)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        leave(r, i % 2);
    }
    rig_steps(r, 10);
    alk_dispatcher_stats(r->d, &stats, sizeof stats);
    ck_assert_uint_eq(stats.calls, 0);
    ck_assert_uint_eq(stats.message_bytes, 0);
    rig_free(r);
}
END_TEST

START_TEST(a_client_leaves_before_its_answer)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, _i & 2 ? SUBSCRIBE_STREAM : CALL_LATER);
    rig_until(r, r->later.starts || r->stream.starts);
    leave(r, _i & 1);
    rig_until(r, r->later.ends || r->stream.ends);
    ck_assert_int_eq(_i & 2 ? r->stream.why : r->later.why, ALK_END_ABORTED);
    ck_assert_int_eq(alk_call_reply(_i & 2 ? r->stream.call : r->later.call, TEXT("1")),
                     ALK_EENDED);
    rig_steps(r, 5);
    ck_assert_int_eq(r->later.ends + r->stream.ends, 1);
    rig_free(r);
}
END_TEST

START_TEST(a_client_leaves_while_its_answer_waits_in_the_socket)
{
    struct rig *r = rig_new();

    r->flood.left = 1000000;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, _i & 2 ? FLOOD : BIG("9000000"));
    client_until(&a, "HTTP/1.1 200");
    rig_steps(r, 5);
    leave(r, _i & 1);
    if (_i & 2) {
        rig_until(r, r->flood.ends);
        ck_assert_int_eq(r->flood.why, ALK_END_ABORTED);
    }
    rig_free(r);
}
END_TEST

/* With a client that has asked and then ended its side. */
static struct rig *rig_asked_by_one_that_ends_its_side(void)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    ck_assert_int_eq(shutdown(a.fd, SHUT_WR), 0);
    rig_steps(r, 10);
    return r;
}

START_TEST(a_client_that_ends_its_side_gets_its_answer)
{
    struct rig *r = rig_asked_by_one_that_ends_its_side();

    ck_assert_int_eq(r->later.ends, 0);
    ck_assert_int_eq(alk_call_reply(r->later.call, TEXT("1")), ALK_OK);
    rig_steps(r, 5);
    ck_assert_int_eq(client_answer(&a), 200);
    client_ended(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_client_that_is_gone_behind_its_end_is_noticed)
{
    struct rig *r = rig_asked_by_one_that_ends_its_side();

    leave(r, true);
    rig_until(r, r->later.ends);
    ck_assert_int_eq(r->later.why, ALK_END_ABORTED);
    rig_free(r);
}
END_TEST

/* An error that closes is not lost to a reset, though the client has more to say. */
START_TEST(the_last_answer_reaches_a_client_that_goes_on_sending)
{
    struct rig *r = rig_new();
    char junk[65536];

    memset(junk, 'j', sizeof junk);
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, POST_HEAD("/call", "9000000") "\r\n");
    for (int i = 0; i < 8; i++)
        client_send_bytes(&a, junk, sizeof junk);
    ck_assert_int_eq(client_answer(&a), 413);
    client_ended(&a);
    ck_assert(!a.was_reset);
    client_close(&a);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("flow");
    TCase *t = tcase_create("flow");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_flood_that_is_read_comes_whole, 0, 4);
    tcase_add_test(t, a_reader_gets_on_while_the_dispatcher_always_has_more_to_do);
    tcase_add_test(t, a_slow_reader_holds_the_producer_back_and_misses_nothing);
    tcase_add_test(t, a_turn_reads_one_buffer_of_a_connection);
    tcase_add_test(t, what_waits_for_a_reader_is_bounded);
    tcase_add_test(t, a_large_answer_reaches_a_slow_reader_whole);
    tcase_add_loop_test(t, a_reader_that_takes_nothing_is_cut, 0, 2);
    tcase_add_test(t, a_reader_that_takes_a_little_is_not_cut);
    tcase_add_loop_test(t, requests_that_do_not_come_end_on_an_idle_loop, 0, 4);
    tcase_add_test(t, an_idle_event_stream_has_a_heartbeat);
    tcase_add_loop_test(t, a_client_leaves_at_a_step_of_its_request, 0,
                        sizeof steps / sizeof steps[0]);
    tcase_add_loop_test(t, a_client_leaves_before_its_answer, 0, 4);
    tcase_add_loop_test(t, a_client_leaves_while_its_answer_waits_in_the_socket, 0, 4);
    tcase_add_test(t, a_client_that_ends_its_side_gets_its_answer);
    tcase_add_test(t, a_client_that_is_gone_behind_its_end_is_noticed);
    tcase_add_test(t, the_last_answer_reaches_a_client_that_goes_on_sending);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
