/* The letter box of a dispatcher: order, wake-ups, what it takes and what it refuses. */
#include "core/port.h"
#include "support/suite.h"

#define NOW (100 * SECOND)

struct letter {
    struct parcel parcel;
    unsigned number;
};

static struct port *box;
static unsigned wakes, got;

static void deliver(struct parcel *p, struct alk_dispatcher *d)
{
    ck_assert_ptr_null(d);
    ck_assert_uint_eq(container_of(p, struct letter, parcel)->number, got);
    got++;
}

/* Whoever is woken may look at once, on another thread. */
static void wake(void *ud)
{
    ck_assert_ptr_eq(ud, &wakes);
    ck_assert(port_has(box));
    wakes++;
}

static struct letter *letters(unsigned n)
{
    struct letter *all = calloc(n, sizeof *all);

    for (unsigned i = 0; i < n; i++)
        all[i] = (struct letter){.parcel.deliver = deliver, .number = i};
    wakes = got = 0;
    box = port_new(host_default());
    ck_assert_ptr_nonnull(box);
    port_set_wake(box, wake, &wakes);
    return all;
}

static void put_away(struct letter *all)
{
    port_close(box, NULL);
    port_unref(box);
    free(all);
}

START_TEST(parcels_are_delivered_in_order_and_the_first_one_wakes)
{
    struct letter *all = letters(5000);

    for (unsigned i = 0; i < 5000; i++)
        ck_assert_int_eq(port_send(box, &all[i].parcel, NOW, NULL), PORT_OK);
    ck_assert_uint_eq(wakes, 1);
    ck_assert_uint_eq(got, 0);
    port_take(box, NULL, NOW);
    ck_assert_uint_gt(got, 0);
    ck_assert_uint_lt(got, 5000);
    ck_assert(port_has(box));
    while (port_has(box))
        port_take(box, NULL, NOW);
    ck_assert_uint_eq(got, 5000);
    ck_assert_uint_eq(wakes, 1);
    all[0].number = got;
    ck_assert_int_eq(port_send(box, &all[0].parcel, NOW, NULL), PORT_OK);
    ck_assert_uint_eq(wakes, 2);
    put_away(all);
    ck_assert_uint_eq(got, 5001);
}
END_TEST

START_TEST(nothing_new_is_taken_by_one_that_is_held_up)
{
    struct letter *all = letters(5);

    ck_assert_int_eq(port_ask(box, &all[0].parcel, NOW, NULL), PORT_OK);
    ck_assert_int_eq(port_ask(box, &all[1].parcel, NOW + PORT_STALE - 1, NULL), PORT_OK);
    ck_assert_int_eq(port_ask(box, &all[2].parcel, NOW + PORT_STALE, NULL), PORT_BUSY);
    ck_assert_int_eq(port_send(box, &all[2].parcel, NOW + PORT_STALE, NULL), PORT_OK);
    port_take(box, NULL, NOW + PORT_STALE);
    ck_assert_int_eq(port_ask(box, &all[3].parcel, NOW + 10 * PORT_STALE, NULL), PORT_OK);
    put_away(all);
    ck_assert_uint_eq(got, 4);
}
END_TEST

START_TEST(only_so_many_wait_and_ends_are_taken_all_the_same)
{
    struct letter *all = letters(PORT_WAITING_MAX + 1);

    for (unsigned i = 0; i < PORT_WAITING_MAX; i++)
        ck_assert_int_eq(port_ask(box, &all[i].parcel, NOW, NULL), PORT_OK);
    ck_assert_int_eq(port_ask(box, &all[PORT_WAITING_MAX].parcel, NOW, NULL), PORT_BUSY);
    ck_assert_int_eq(port_send(box, &all[PORT_WAITING_MAX].parcel, NOW, NULL), PORT_OK);
    put_away(all);
    ck_assert_uint_eq(got, PORT_WAITING_MAX + 1);
}
END_TEST

START_TEST(one_that_is_closed_has_delivered_all_and_takes_nothing)
{
    struct letter *all = letters(3);

    ck_assert_int_eq(port_send(box, &all[0].parcel, NOW, NULL), PORT_OK);
    ck_assert_int_eq(port_ask(box, &all[1].parcel, NOW, NULL), PORT_OK);
    port_close(box, NULL);
    ck_assert_uint_eq(got, 2);
    ck_assert_int_eq(port_send(box, &all[2].parcel, NOW, NULL), PORT_CLOSED);
    ck_assert_int_eq(port_ask(box, &all[2].parcel, NOW, NULL), PORT_CLOSED);
    ck_assert(!port_has(box));
    put_away(all);
    ck_assert_uint_eq(got, 2);
}
END_TEST

static void take_at_once(void *ud)
{
    (void)ud;
    wakes++;
    port_take(box, NULL, NOW);
}

/* The sender has let go of the box by the time it wakes: who is awake does not wait for him. */
START_TEST(who_is_woken_may_take_at_once)
{
    struct letter *all = letters(2);

    port_set_wake(box, take_at_once, NULL);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(port_send(box, &all[i].parcel, NOW, NULL), PORT_OK);
        ck_assert_uint_eq(got, i + 1);
    }
    ck_assert_uint_eq(wakes, 2);
    put_away(all);
}
END_TEST

MAIN("port", parcels_are_delivered_in_order_and_the_first_one_wakes,
     nothing_new_is_taken_by_one_that_is_held_up, only_so_many_wait_and_ends_are_taken_all_the_same,
     one_that_is_closed_has_delivered_all_and_takes_nothing, who_is_woken_may_take_at_once)
