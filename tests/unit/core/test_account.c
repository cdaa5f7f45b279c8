/* Who may have how much of the message budget, and how many connections are open from each address,
 * for more addresses than the table has slots. */
#include "core/account.h"
#include "base/buf.h"
#include "support/must.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MANY (3 * SHARE_SLOTS)
#define BUDGET 1600000u
#define HALF (BUDGET / 2)
#define EIGHTH (BUDGET / 8)

static struct budget budget;
static uint32_t limit = BUDGET;

static void start(void)
{
    static const uint64_t seed[2] = {1, 2};

    memset(&budget, 0, sizeof budget);
    budget_init(&budget, &limit, seed);
}

static struct account *account(struct accounts *all, bool identified, unsigned i)
{
    char name[ADDRESS_MAX_BYTES];
    struct account *a;

    snprintf(name, sizeof name, "10.0.%u.%u", i / 256, i % 256);
    a = account_get(all, identified, str_of(name));
    must(a);
    return a;
}

static bool take(struct account *a, size_t bytes)
{
    return meter_resize(&a->meter, 0, bytes);
}

static void give(struct account *a, size_t bytes)
{
    meter_resize(&a->meter, bytes, 0);
}

static void nothing_is_left(struct accounts *all)
{
    accounts_fini(all);
    for (size_t i = 0; i < SHARE_SLOTS; i++)
        ck_assert_ptr_null(budget.slots[i]);
    ck_assert_uint_eq(budget.bytes, 0);
    ck_assert_uint_eq(budget.strangers, 0);
    ck_assert_uint_eq(all->mem->live, 0);
}

START_TEST(each_address_has_its_own_count)
{
    static struct account *open[MANY][2];
    struct accounts all;
    struct mem mem;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    for (unsigned i = 0; i < MANY; i++) {
        open[i][0] = account(&all, false, i);
        open[i][1] = account(&all, false, i);
        ck_assert_ptr_eq(open[i][0]->share, open[i][1]->share);
        ck_assert(account_open(open[i][0], 2) && account_open(open[i][1], 2));
        ck_assert(!account_open(open[i][0], 2));
        ck_assert(account_open(open[i][0], 0));
        account_close(open[i][0]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        account_close(open[i][1]);
        account_unref(open[i][1]);
        ck_assert(account_open(open[i][0], 2));
        account_unref(open[i][0]);
    }
    nothing_is_left(&all);
}
END_TEST

START_TEST(an_identity_and_an_address_of_one_name_are_two)
{
    struct accounts all;
    struct mem mem;
    struct account *a, *b;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    a = account(&all, false, 1);
    b = account(&all, true, 1);
    ck_assert_ptr_ne(a->share, b->share);
    account_unref(a);
    account_unref(b);
    nothing_is_left(&all);
}
END_TEST

static bool begin(struct account *a, size_t bytes)
{
    return meter_grow(&a->meter, 0, bytes, true);
}

/* From a half of its eighth on one begins nothing new; above its eighth it takes nothing but what
 * little something needs that is here. */
START_TEST(one_has_an_eighth)
{
    struct accounts all;
    struct mem mem;
    struct account *a, *other;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    a = account(&all, true, 1);
    other = account(&all, true, 1);
    ck_assert(begin(a, EIGHTH / 2) && begin(other, 20000));
    ck_assert(!begin(a, METER_MIN) && !begin(other, METER_MIN));
    ck_assert(take(a, EIGHTH / 2) && !account_has_room(other, 1) && !take(other, METER_MIN));
    ck_assert(take(a, METER_MIN - 1)); /* not counted */
    ck_assert(meter_resize(&a->meter, EIGHTH, EIGHTH + METER_MIN - 1));
    ck_assert(!meter_resize(&a->meter, EIGHTH + METER_MIN - 1, EIGHTH + 2 * METER_MIN));
    give(a, EIGHTH + METER_MIN - 1);
    ck_assert(begin(a, METER_MIN));
    give(a, METER_MIN);
    give(other, 20000);
    account_unref(a);
    account_unref(other);
    nothing_is_left(&all);
}
END_TEST

START_TEST(strangers_have_a_half_and_identities_all)
{
    struct account *strangers[5], *known[4];
    struct accounts all;
    struct mem mem;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    for (unsigned i = 0; i < 5; i++)
        strangers[i] = account(&all, false, i);
    for (unsigned i = 0; i < 4; i++) {
        known[i] = account(&all, true, i);
        ck_assert(take(strangers[i], EIGHTH));
    }
    ck_assert_uint_eq(budget.strangers, HALF);
    ck_assert(!take(strangers[4], METER_MIN) && !account_has_room(strangers[4], METER_MIN));
    /* What a stranger's message still needs to be answered is little, and is given. */
    ck_assert(meter_resize(&strangers[0]->meter, EIGHTH, EIGHTH + 100));
    ck_assert(!meter_resize(&strangers[0]->meter, EIGHTH + 100, EIGHTH + 100 + METER_MIN));
    give(strangers[0], EIGHTH + 100);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(take(known[i], EIGHTH));
    ck_assert(take(strangers[4], EIGHTH) && !take(known[0], METER_MIN));
    for (unsigned i = 0; i < 4; i++) {
        give(known[i], EIGHTH);
        give(strangers[i + 1], EIGHTH);
        account_unref(known[i]);
    }
    for (unsigned i = 0; i < 5; i++)
        account_unref(strangers[i]);
    nothing_is_left(&all);
}
END_TEST

/* From three quarters on: of one's own part, of the strangers', or of all. */
START_TEST(whose_part_is_nearly_used_up_is_pressed)
{
    struct account *a[5], *known;
    struct accounts all;
    struct mem mem;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    for (unsigned i = 0; i < 5; i++)
        a[i] = account(&all, false, i);
    known = account(&all, true, 0);
    ck_assert(!meter_pressed(NULL) && !meter_pressed(&a[0]->meter));
    ck_assert(take(a[0], EIGHTH - 1000));
    ck_assert(meter_pressed(&a[0]->meter) && !meter_pressed(&a[1]->meter));
    ck_assert(take(a[1], EIGHTH) && take(a[2], EIGHTH) && take(a[3], 20000));
    ck_assert(meter_pressed(&a[4]->meter) && !meter_pressed(&known->meter));
    ck_assert(take(known, BUDGET / 2));
    ck_assert(meter_pressed(&known->meter));
    give(known, BUDGET / 2);
    give(a[0], EIGHTH - 1000);
    give(a[1], EIGHTH);
    give(a[2], EIGHTH);
    give(a[3], 20000);
    for (unsigned i = 0; i < 5; i++)
        account_unref(a[i]);
    account_unref(known);
    nothing_is_left(&all);
}
END_TEST

/* A buffer that changes its payer, and two that change their memory. */
START_TEST(memory_that_changes_hands_is_charged_to_who_has_it)
{
    struct account *a, *b;
    struct buf x, y;
    struct accounts all;
    struct mem mem;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    a = account(&all, true, 1);
    b = account(&all, true, 2);
    buf_init(&x, &mem);
    buf_init(&y, &mem);
    buf_charge(&x, &a->meter);
    buf_charge(&y, &b->meter);
    ck_assert_ptr_nonnull(buf_reserve(&x, 100000));
    ck_assert_uint_ge(a->share->bytes, 100000);
    buf_swap(&x, &y);
    ck_assert_uint_eq(a->share->bytes, 0);
    ck_assert_uint_eq(b->share->bytes, y.cap);
    buf_charge(&y, &a->meter);
    ck_assert_uint_eq(b->share->bytes, 0);
    ck_assert_uint_eq(a->share->bytes, y.cap);
    buf_charge(&y, NULL);
    ck_assert_uint_eq(budget.bytes, 0);
    buf_charge(&y, &a->meter);
    ck_assert_ptr_null(buf_reserve(&y, 2 * BUDGET));
    buf_fini(&y);
    account_unref(a);
    account_unref(b);
    nothing_is_left(&all);
}
END_TEST

START_TEST(the_key_of_an_address_is_its_network)
{
    static const struct {
        const char *address, *key;
    } cases[] = {
        {"10.1.2.3", "10.1.2.3"},
        {"unix", "unix"},
        {"", ""},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:"},
        {"2001:db8::1", "2001:db8"},
        {"::1", "::1"},
        {"fe80::1:2:3:4", "fe80"},
        /* Whatever the host's part is, one network has one key. */
        {"2001:db8:1:2::6", "2001:db8:1:2:"},
        {"2001:db8:1:2:3::", "2001:db8:1:2:"},
        {"2001:db8:1::6", "2001:db8:1"},
        {"2001:db8:1:0:3:4:5:6", "2001:db8:1"},
        {"2001:db8:0:0:3::", "2001:db8"},
        {"2001:db8:0:10:3::", "2001:db8:0:10:"},
    };
    char key[ADDRESS_MAX_BYTES], longest[200];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_uint_eq(address_key(cases[i].address, key), strlen(cases[i].key));
        ck_assert_str_eq(key, cases[i].key);
    }
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    ck_assert_uint_eq(address_key(longest, key), ADDRESS_MAX_BYTES - 1);
}
END_TEST

static void *take_and_give(void *ud)
{
    struct accounts all;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    for (unsigned i = 0; i < 20000; i++) {
        struct account *a = account(&all, i % 2, i % 3);

        must(account_open(a, 1000));
        must(take(a, METER_MIN));
        give(a, METER_MIN);
        account_close(a);
        account_unref(a);
    }
    accounts_fini(&all);
    must(!mem.live);
    return ud;
}

START_TEST(threads_share_the_counts)
{
    pthread_t threads[4];
    struct accounts all;
    struct mem mem;

    start();
    mem_init(&mem, NULL, NULL);
    accounts_init(&all, &budget, &mem);
    for (int i = 0; i < 4; i++)
        must(!pthread_create(&threads[i], NULL, take_and_give, NULL));
    for (int i = 0; i < 4; i++)
        must(!pthread_join(threads[i], NULL));
    nothing_is_left(&all);
}
END_TEST

MAIN("account", each_address_has_its_own_count, an_identity_and_an_address_of_one_name_are_two,
     one_has_an_eighth, strangers_have_a_half_and_identities_all,
     whose_part_is_nearly_used_up_is_pressed, memory_that_changes_hands_is_charged_to_who_has_it,
     the_key_of_an_address_is_its_network, threads_share_the_counts)
