/* Timers and tasks, which run what other code has set, and may set, clear or post anything while
 * they run. */
#include "core/schedule.h"
#include "support/suite.h"

#define NOW UINT64_C(1000)

struct ticker {
    struct timer timer;
    struct task task;
    struct schedule *s;
    struct ticker *other;
    int runs;
    uint64_t again; /* when it sets itself anew */
};

static void on_timer(struct timer *t, uint64_t now)
{
    struct ticker *x = container_of(t, struct ticker, timer);

    ck_assert_uint_eq(now, NOW);
    if (++x->runs > 10)
        ck_abort_msg("it runs on and on");
    timer_set(x->s, &x->timer, x->again);
    if (x->other)
        timer_clear(x->s, &x->other->timer);
}

static void on_task(struct task *t)
{
    struct ticker *x = container_of(t, struct ticker, task);

    x->runs++;
    task_post(x->s, &x->task);
    if (x->other)
        list_del(&x->other->task.link);
}

static void ticker_init(struct ticker *x, struct schedule *s)
{
    *x = (struct ticker){.s = s, .again = UINT64_MAX};
    timer_init(&x->timer, on_timer);
    task_init(&x->task, on_task);
}

START_TEST(a_timer_that_sets_itself_for_now_waits_for_the_next_turn)
{
    struct schedule s;
    struct ticker x;

    schedule_init(&s);
    ticker_init(&x, &s);
    x.again = NOW;
    timer_set(&s, &x.timer, NOW - 1);
    schedule_expire(&s, NOW);
    ck_assert_int_eq(x.runs, 1);
    ck_assert_uint_eq(schedule_next(&s), NOW + 1);
}
END_TEST

START_TEST(a_timer_that_clears_another_which_is_due_is_heeded)
{
    struct schedule s;
    struct ticker x, y;

    schedule_init(&s);
    ticker_init(&x, &s);
    ticker_init(&y, &s);
    x.other = &y;
    timer_set(&s, &x.timer, NOW - 1);
    timer_set(&s, &y.timer, NOW);
    schedule_expire(&s, NOW);
    ck_assert_int_eq(x.runs, 1);
    ck_assert_int_eq(y.runs, 0);
    ck_assert_uint_eq(schedule_next(&s), UINT64_MAX);
}
END_TEST

START_TEST(a_time_before_the_last_turn_is_kept_outside_of_one)
{
    struct schedule s;
    struct ticker x;

    schedule_init(&s);
    ticker_init(&x, &s);
    schedule_expire(&s, NOW);
    timer_set(&s, &x.timer, NOW - 1);
    ck_assert_uint_eq(schedule_next(&s), NOW - 1);
}
END_TEST

START_TEST(what_a_task_posts_runs_the_next_time)
{
    struct schedule s;
    struct ticker x, y;

    schedule_init(&s);
    ticker_init(&x, &s);
    ticker_init(&y, &s);
    x.other = &y;
    task_post(&s, &x.task);
    task_post(&s, &x.task);
    task_post(&s, &y.task);
    schedule_run(&s);
    ck_assert_int_eq(x.runs, 1);
    ck_assert_int_eq(y.runs, 0);
    schedule_run(&s);
    ck_assert_int_eq(x.runs, 2);
}
END_TEST

MAIN("schedule", a_timer_that_sets_itself_for_now_waits_for_the_next_turn,
     a_timer_that_clears_another_which_is_due_is_heeded,
     a_time_before_the_last_turn_is_kept_outside_of_one, what_a_task_posts_runs_the_next_time)
