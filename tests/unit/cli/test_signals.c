/* Which signals are the start's, and which come to a daemon that serves. */
#include "alknetd/signals.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

static int watched, told[2];

static void begin(void)
{
    signals_hold();
    watched = signals_watch();
    ck_assert_int_ge(watched, 0);
    signals_release();
    ck_assert_int_eq(pipe(told), 0);
    signals_start(told[0]);
}

static void terminate(void)
{
    struct pollfd fd = {.fd = watched, .events = POLLIN};
    int number;

    kill(getpid(), SIGTERM);
    ck_assert_int_eq(poll(&fd, 1, 20000), 1);
    ck_assert_int_eq(signals_count(&number), 1);
    ck_assert_int_eq(number, SIGTERM);
}

START_TEST(before_anything_is_told_it_is_the_starts)
{
    begin();
    terminate();
    ck_assert(signals_early());
}
END_TEST

/* The thread that starts the host has yet to return. */
START_TEST(once_the_host_tells_that_it_listens_it_drains)
{
    begin();
    ck_assert_int_eq(write(told[1], "", 1), 1);
    terminate();
    ck_assert(!signals_early());
}
END_TEST

START_TEST(behind_the_start_it_drains)
{
    begin();
    signals_started();
    terminate();
    ck_assert(!signals_early());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("signals");
    TCase *t = tcase_create("start");
    SRunner *r;
    int failed;

    tcase_add_test(t, before_anything_is_told_it_is_the_starts);
    tcase_add_test(t, once_the_host_tells_that_it_listens_it_drains);
    tcase_add_test(t, behind_the_start_it_drains);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
