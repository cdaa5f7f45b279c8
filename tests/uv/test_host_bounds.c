/* What one party can do to the others at a host: a program that fetches nothing, a remote that
 * floods, one that reads nothing. */
#include "host_rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK 2

static int flood(alk_call *call, void *ud);

static void go_on(alk_call *call, void *ud)
{
    flood(call, ud);
}

/* Never ends, and always has a value. */
static int flood(alk_call *call, void *ud)
{
    int rc;

    while ((rc = alk_call_emit(call, "1", 1)) == ALK_OK)
        ;
    return rc == ALK_EAGAIN ? alk_call_on_drain(call, go_on, ud) : rc;
}

START_TEST(a_subscription_that_floods_leaves_others_their_turn)
{
    alk_host_options o = {.size = sizeof o, .queue_events = 16};
    alk_host *h = host_made(&o);
    alk_operation op;
    uint64_t ids[4];
    int values[4] = {0};

    alk_operation_init(&op, sizeof op);
    op.name = "demo/flood";
    op.type = ALK_SUBSCRIPTION;
    op.handler = flood;
    ck_assert_int_eq(alk_registry_add(alk_host_registry(h), &op), ALK_OK);
    host_starts(h);
    for (int i = 0; i < 4; i++)
        ids[i] = host_subscribes(h, "demo/flood", "null");
    for (int i = 0; i < 4000; i++) {
        alk_host_event e = host_expects(h, ALK_HOST_VALUE, 0);

        for (int k = 0; k < 4; k++)
            values[k] += e.id == ids[k];
        host_gives(h, &e);
    }
    for (int k = 0; k < 4; k++)
        ck_assert_msg(values[k] > 400, "%d: %d of 4000", k, values[k]);
    host_ends(h);
}
END_TEST

START_TEST(what_waits_for_a_slow_reader_is_bounded_by_its_size)
{
    enum { SIZE = 500000 };
    static char large[SIZE];
    alk_host *h = host_of("{}");
    int sent = 0;

    host_adds(h, "demo/tick", ALK_SUBSCRIPTION, TICK);
    host_starts(h);
    uint64_t id = host_subscribes(h, "demo/tick", "null"), call = host_serves(h, TICK);
    memset(large, 'x', sizeof large);
    large[0] = large[SIZE - 1] = '"';
    ck_assert_int_eq(alk_host_pause(h, id, 1), ALK_OK);
    while (alk_host_emit(h, call, large, sizeof large) == ALK_OK) {
        usleep(2000);
        sent++;
    }
    ck_assert_int_le(sent, 8);
    ck_assert_int_eq(alk_host_pause(h, id, 0), ALK_OK);
    for (bool room = false; !room || sent;) {
        alk_host_event e = host_next(h);

        room |= e.kind == ALK_HOST_ROOM;
        sent -= e.kind == ALK_HOST_VALUE;
        host_gives(h, &e);
    }
    ck_assert_int_eq(alk_host_emit(h, call, "1", 1), ALK_OK);
    host_sees(h, ALK_HOST_VALUE, id, 0, "1");
    host_ends(h);
}
END_TEST

/* One who asks for a session. */
static int asks_for_one(int port)
{
    static const char request[] =
        "GET /alknet/call HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Authorization: Bearer " TOKEN "\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(write(fd, request, sizeof request - 1), (ssize_t)sizeof request - 1);
    return fd;
}

/* Whether it was let in. */
static bool upgrades(int port)
{
    char answer[16] = "";
    int fd = asks_for_one(port);

    ck_assert_int_gt(read(fd, answer, sizeof answer - 1), 0);
    close(fd);
    return !strncmp(answer, "HTTP/1.1 101", 12);
}

START_TEST(sessions_that_come_and_go_do_not_pile_up)
{
    const char *config = with_listener();
    alk_host_options o = {.size = sizeof o,
                          .config = config,
                          .config_len = strlen(config),
                          .queue_events = 32,
                          .sessions = 1,
                          .workers = (uint32_t)_i};
    alk_host *h = host_made(&o);
    alk_host_event all[1000];
    int ups = 0, ends = 0;

    host_starts(h);
    int port = host_listens(h);
    for (int i = 0; i < 300; i++)
        ck_assert(upgrades(port));
    usleep(100000);
    size_t n = alk_host_drain(h, all, sizeof *all, 1000);
    for (size_t i = 0; i < n; i++) {
        ups += all[i].kind == ALK_HOST_UP;
        ends += all[i].kind == ALK_HOST_END;
    }
    alk_host_release(h, all, sizeof *all, n);
    ck_assert_int_le(ups, 33);
    ck_assert_int_eq(ups, ends);
    ck_assert(upgrades(port));
    alk_host_event e = host_expects(h, ALK_HOST_UP, 0);
    uint64_t id = e.id;
    host_gives(h, &e);
    e = host_expects(h, ALK_HOST_END, id);
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

static int holds; /* atomic */

static int hold_up(alk_call *call, void *ud)
{
    (void)ud;
    __atomic_store_n(&holds, 1, __ATOMIC_RELEASE);
    usleep(3000000);
    return alk_call_reply(call, "1", 1);
}

/* A frame that closes with 1013, behind the answer to the request, of the size of an answer. */
static bool was_sent_away(int fd)
{
    const struct timeval soon = {.tv_usec = 100000};
    char text[1024];
    size_t n = 0;
    ssize_t more;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    while ((more = read(fd, text + n, sizeof text - n)) > 0)
        n += (size_t)more;
    return memmem(text, n, "\r\n\r\n\x88", 5) && memmem(text, n, "\x03\xf5", 2);
}

/* The loop that tells the program stands still: others take no more sessions for it, when it has not
 * looked for a second, and none of those that they took is forgotten. */
START_TEST(sessions_do_not_pile_up_for_a_loop_that_is_held_up)
{
    enum { MOST = 60 };
    const char *config = with_listener();
    alk_host_options o = {.size = sizeof o,
                          .config = config,
                          .config_len = strlen(config),
                          .sessions = 1,
                          .workers = 3};
    alk_host *h = host_made(&o);
    int fds[MOST], away = 0, n = 0, ups = 0, ends = 0;
    bool over = false;
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = "demo/wait";
    op.handler = hold_up;
    ck_assert_int_eq(alk_registry_add(alk_host_registry(h), &op), ALK_OK);
    host_starts(h);
    int port = host_listens(h);
    uint64_t id = host_calls(h, "demo/wait", "1", NULL);
    while (!__atomic_load_n(&holds, __ATOMIC_ACQUIRE))
        usleep(1000);
    while (n < MOST && !away && alk_host_wait(h, 0) == 0) {
        fds[n] = asks_for_one(port);
        away += was_sent_away(fds[n++]);
    }
    ck_assert_int_eq(away, 1);
    while (n)
        close(fds[--n]);
    while (!over) {
        alk_host_event e = host_next(h);

        ups += e.kind == ALK_HOST_UP;
        ends += e.kind == ALK_HOST_END && e.id != id;
        over = e.kind == ALK_HOST_STOPPED;
        if (e.id == id) {
            ck_assert_int_eq(e.rc, ALK_END_OK);
            ck_assert(upgrades(port));
            alk_host_stop(h, 0);
        }
        host_gives(h, &e);
    }
    ck_assert_int_gt(ups, 0);
    ck_assert_int_eq(ups, ends);
    alk_host_free(h);
}
END_TEST

/* What it would take to read them all is not waited for. */
START_TEST(a_stop_is_heard_between_reloads)
{
    enum { RELOADS = 1000 };
    alk_host *h = host_of("{}");
    int refused = 0, told = 0;

    host_starts(h);
    for (int i = 0; i < RELOADS; i++)
        ck_assert_int_eq(alk_host_reload(h, "{}", 2), ALK_OK);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_OK);
    for (uint32_t kind = 0; kind != ALK_HOST_STOPPED;) {
        alk_host_event e = host_next(h);

        kind = e.kind;
        told += kind == ALK_HOST_RELOADED;
        refused += kind == ALK_HOST_RELOADED && e.rc == ALK_ECLOSED;
        host_gives(h, &e);
    }
    ck_assert_int_eq(told, RELOADS);
    ck_assert_int_gt(refused, RELOADS / 2);
    alk_host_free(h);
}
END_TEST

/* In a process that has had no loop before. */
START_TEST(a_start_without_descriptors_fails_and_leaves_none_behind)
{
    struct rlimit before, few;
    int first = open("/dev/null", O_RDONLY), failed = 0;

    close(first);
    getrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 40; i++) {
        alk_host_options o = {.size = sizeof o};
        char err[640];
        alk_host *h;

        few = (struct rlimit){(rlim_t)(first + i), before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &few);
        int rc = alk_host_new(&h, &o, err, sizeof err);
        if (rc == ALK_OK)
            rc = alk_host_start(h, err, sizeof err);
        failed += rc != ALK_OK;
        alk_host_free(h);
        setrlimit(RLIMIT_NOFILE, &before);
    }
    ck_assert_int_gt(failed, 4);
    ck_assert_int_lt(failed, 40);
    /* libuv keeps the pipe of its first loop. */
    int next = open("/dev/null", O_RDONLY);
    close(next);
    ck_assert_int_le(next, first + 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host_bounds");
    TCase *t = tcase_create("host_bounds");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_subscription_that_floods_leaves_others_their_turn);
    tcase_add_test(t, what_waits_for_a_slow_reader_is_bounded_by_its_size);
    tcase_add_loop_test(t, sessions_that_come_and_go_do_not_pile_up, 1, 4);
    tcase_add_test(t, sessions_do_not_pile_up_for_a_loop_that_is_held_up);
    tcase_add_test(t, a_stop_is_heard_between_reloads);
    tcase_add_test(t, a_start_without_descriptors_fails_and_leaves_none_behind);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
