/* How many connections are open from each address, for more addresses than the table has slots. */
#include "core/address.h"
#include "support/must.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MANY (3 * ADDRESS_SLOTS)
#define TEXT(s) (s), strlen(s)

static const uint64_t seed[2] = {1, 2};
static struct address_table table;

static struct address *take(unsigned i, uint32_t limit)
{
    char text[ADDRESS_MAX_BYTES];

    snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
    return address_take(&table, TEXT(text), limit);
}

START_TEST(each_address_has_its_own_count)
{
    static struct address *open[MANY][2];

    addresses_init(&table, seed);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            must((open[i][0] = take(i, 2)));
            must((open[i][1] = take(i, 2)) == open[i][0]);
            must(!take(i, 2));
        }
        for (unsigned i = 0; i < MANY; i++) {
            address_give(&table, open[i][1]);
            must(take(i, 2) == open[i][0]);
            address_give(&table, open[i][0]);
            address_give(&table, open[i][0]);
        }
        addresses_fini(&table);
    }
}
END_TEST

static void *take_and_give(void *ud)
{
    for (unsigned i = 0; i < 20000; i++) {
        struct address *a = take(i % 3, 1000), *b = take(i % 3, 1000);

        must(a && a == b);
        address_give(&table, a);
        address_give(&table, b);
    }
    return ud;
}

START_TEST(threads_share_the_counts)
{
    pthread_t threads[4];

    addresses_init(&table, seed);
    for (int i = 0; i < 4; i++)
        must(!pthread_create(&threads[i], NULL, take_and_give, NULL));
    for (int i = 0; i < 4; i++)
        must(!pthread_join(threads[i], NULL));
    addresses_fini(&table);
}
END_TEST

MAIN("address", each_address_has_its_own_count, threads_share_the_counts)
