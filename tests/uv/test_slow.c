/* Readers that are slower than what is written for them: what they have taken holds no memory, and who is too slow is
 * cut. */
#include "support/suite.h"
#include "core/dispatcher.h"
#include "uv/conn.h"
#include "uv/rig.h"

#include <malloc.h>

#define BIG(n) POST_HEAD("/call", "37") "\r\n{\"operation\":\"t/big\",\"input\":" n "}"
#define SIZE 4000000u

static struct client a;
static atomic_size_t held; /* bytes of all blocks */

static void *counted_realloc(void *ud, void *p, size_t size)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    void *q = rig_realloc(ud, p, size);

    if (q || !size)
        atomic_fetch_add(&held, (q ? malloc_usable_size(q) : 0) - before);
    return q;
}

static struct rig *counted_rig(void)
{
    struct rig *r = rig_new();

    r->options.realloc = counted_realloc;
    return r;
}

/* The sockets hold a bit of what the server has let go of. */
START_TEST(what_a_reader_has_taken_holds_no_memory)
{
    struct rig *r = counted_rig();
    size_t idle;

    rig_start(r);
    rig_narrow_client(r, &a, false);
    rig_steps(r, 5);
    idle = atomic_load(&held);
    client_send(&a, BIG("4000000"));
    client_until(&a, "HTTP/1.1 200");
    rig_steps(r, 20);
    ck_assert_uint_gt(atomic_load(&held) - idle, SIZE / 4 * 3);
    for (unsigned quarter = 1; quarter < 4; quarter++) {
        client_fill(&a, quarter * (SIZE / 4), "a quarter");
        rig_steps(r, 20);
        ck_assert_uint_lt(atomic_load(&held) - idle, (4 - quarter) * (SIZE / 4) / 3 * 4 + 65536);
    }
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_eq(strspn(strstr(a.body, "bbbbbbbbbbbbb"), "b"), SIZE);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- too slow ---------------------------------------------------------------------------------- */

/* Takes so many bytes in a millisecond, also where it was not let run for a while; the time in which
 * it was cut, or the answer came whole. */
static uint64_t read_at(size_t per_ms)
{
    uint64_t since = now_ms(), taken = 0, due;

    while (!a.ended && !memmem(a.in, a.len, "b\"}", 3)) {
        must(now_ms() < since + CLIENT_PATIENCE);
        usleep(5000);
        due = (now_ms() - since) * per_ms;
        client_take(&a, due - taken);
        taken = due;
    }
    return now_ms() - since;
}

static void read_below_the_rate(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, BIG("4000000"));
    ck_assert_uint_ge(read_at(100), 250);
    ck_assert(a.ended);
    client_close(&a);
}

static void read_above_the_rate(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, BIG("1200000"));
    ck_assert_uint_ge(read_at(1600), 600);
    ck_assert(!a.ended);
    client_close(&a);
}

START_TEST(a_reader_below_the_rate_is_cut_and_one_above_it_is_not)
{
    struct rig *r = counted_rig();

    r->limits.write_timeout_ms = _i ? 500 : 250;
    r->limits.write_rate = 200000;
    rig_start(r);
    rig_script(r, _i ? read_above_the_rate : read_below_the_rate);
    ck_assert_uint_eq(r->d->counts.metrics.slow_consumers, _i ? 0 : 1);
    ck_assert_uint_eq(r->d->counts.metrics.ws_evictions, 0);
    rig_free(r);
}
END_TEST

/* What is left is less than what a window asks for: any byte will do. */
static void read_the_end_slowly(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, BIG("1000000"));
    read_at(400);
    ck_assert(!a.ended);
    client_close(&a);
}

START_TEST(less_than_the_rate_will_do_where_less_waits)
{
    struct rig *r = counted_rig();

    r->limits.write_timeout_ms = 250;
    r->limits.write_rate = 8000000;
    rig_start(r);
    rig_script(r, read_the_end_slowly);
    ck_assert_uint_eq(r->d->counts.metrics.slow_consumers, 0);
    rig_free(r);
}
END_TEST

/* ---- memory is short --------------------------------------------------------------------------- */

static struct client readers[4];

/* Readers 0 to 3 take the more the higher their number. Each holds about 4 MB, and there is room for
 * two (0), or for all (1). */
START_TEST(the_slowest_go_first_when_memory_is_short)
{
    struct rig *r = counted_rig();
    uint64_t since;

    /* An eighth for their one address; from three quarters of that on, it is short. */
    r->limits.message_budget = (_i ? 64u : 13u) * 8 * 1000000;
    rig_start(r);
    for (int i = 0; i < 4; i++) {
        rig_narrow_client(r, &readers[i], false);
        client_send(&readers[i], BIG("4000000"));
        client_until(&readers[i], "HTTP/1.1 200");
    }
    ck_assert_uint_gt(r->node->budget.bytes, 12000000);
    since = now_ms();
    while (now_ms() < since + 1500) {
        for (int i = 1; i < 4; i++)
            client_take(&readers[i], (size_t)i * 1000);
        rig_steps(r, 5);
    }
    ck_assert_uint_eq(r->d->counts.metrics.slow_consumers, _i ? 0 : 2);
    ck_assert(_i || r->node->budget.bytes <= 9750000);
    for (int i = 0; i < 4; i++) {
        if (!_i && i < 2) {
            client_ended(&readers[i]);
            ck_assert_uint_lt(readers[i].len, SIZE);
        } else {
            ck_assert_int_eq(client_answer(&readers[i]), 200);
        }
        client_close(&readers[i]);
    }
    rig_steps(r, 20);
    ck_assert_uint_eq(r->node->budget.bytes, 0);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slow");
    TCase *t = tcase_create("slow");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, what_a_reader_has_taken_holds_no_memory);
    tcase_add_loop_test(t, a_reader_below_the_rate_is_cut_and_one_above_it_is_not, 0, 2);
    tcase_add_test(t, less_than_the_rate_will_do_where_less_waits);
    tcase_add_loop_test(t, the_slowest_go_first_when_memory_is_short, 0, 2);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
