/* Sessions that are named in each request: whose they are, when they end, and what a client costs
 * that opens many of them. */
#include "core/session_ids.h"
#include "base/host.h"
#include "base/map.h"
#include "core/node.h"
#include "support/suite.h"
#include "support/world.h"

#include <pthread.h>
#include <stdio.h>

#define IDLE_NS (SESSION_IDLE_MS * MS)
#define ALICE str_of("alice")
#define BOB str_of("bob")

struct id {
    uint8_t bytes[SESSION_ID_BYTES];
};

static struct world *w;
static void start(void)
{
    w = world_new();
    world_start(w);
}

static struct id opened(struct str owner, uint64_t now)
{
    struct id id;

    ck_assert_int_eq(http_session_open(w->node, owner, now, id.bytes), ALK_OK);
    return id;
}

static bool finds(struct str owner, uint64_t now, const struct id *id)
{
    return http_session_find(w->node, owner, now, id->bytes);
}

START_TEST(one_is_its_owners_and_nobody_elses)
{
    struct id id, other;

    start();
    id = opened(ALICE, w->now);
    other = opened(BOB, w->now);
    ck_assert(memcmp(id.bytes, other.bytes, sizeof id.bytes) != 0);
    ck_assert(finds(ALICE, w->now, &id) && finds(BOB, w->now, &other));
    ck_assert(!finds(BOB, w->now, &id) && !finds(ALICE, w->now, &other));
    ck_assert(!finds(str_of(""), w->now, &id));
    ck_assert(!http_session_end(w->node, BOB, w->now, id.bytes));
    ck_assert(finds(ALICE, w->now, &id));
    world_free(w);
}
END_TEST

static uint64_t set_of(const char *name)
{
    return map_hash(w->node->seed, name, strlen(name)) % SESSION_SETS;
}

/* Somebody whose sessions are in Alice's set; another for each of his first letters. */
static struct str beside_alice(char name[16], char letter)
{
    unsigned i = 0;

    do
        snprintf(name, 16, "%c%u", letter, i++);
    while (set_of(name) != set_of("alice"));
    return str_of(name);
}

START_TEST(owners_of_one_set_have_each_its_own)
{
    struct id id;
    struct str other;
    char name[16];

    start();
    other = beside_alice(name, 'b');
    id = opened(ALICE, w->now);
    ck_assert(!finds(other, w->now, &id));
    ck_assert(!http_session_end(w->node, other, w->now, id.bytes));
    ck_assert(finds(ALICE, w->now, &id));
    world_free(w);
}
END_TEST

START_TEST(nobodys_is_one_too)
{
    struct id id;

    start();
    id = opened(STR_NONE, w->now);
    ck_assert(finds(STR_NONE, w->now, &id) && finds(str_of(""), w->now, &id));
    ck_assert(!finds(ALICE, w->now, &id));
    world_free(w);
}
END_TEST

START_TEST(one_that_was_not_given_is_not_found)
{
    struct id none = {{0}}, id;

    start();
    ck_assert(!finds(ALICE, w->now, &none));
    ck_assert(!http_session_end(w->node, ALICE, w->now, none.bytes));
    id = opened(ALICE, w->now);
    ck_assert(!finds(ALICE, w->now, &none));
    id.bytes[SESSION_ID_BYTES - 1] ^= 1;
    ck_assert(!finds(ALICE, w->now, &id));
    world_free(w);
}
END_TEST

START_TEST(one_that_was_ended_is_gone)
{
    struct id id, other;

    start();
    id = opened(ALICE, w->now);
    other = opened(ALICE, w->now);
    ck_assert(http_session_end(w->node, ALICE, w->now, id.bytes));
    ck_assert(!finds(ALICE, w->now, &id));
    ck_assert(!http_session_end(w->node, ALICE, w->now, id.bytes));
    ck_assert(finds(ALICE, w->now, &other));
    world_free(w);
}
END_TEST

START_TEST(one_that_is_used_lives_on_and_one_that_is_not_ends)
{
    struct id used, idle;
    uint64_t now;

    start();
    now = w->now;
    used = opened(ALICE, now);
    idle = opened(ALICE, now);
    for (int i = 0; i < 4; i++) {
        now += IDLE_NS / 2;
        ck_assert(finds(ALICE, now, &used));
    }
    ck_assert(!finds(ALICE, now, &idle));
    ck_assert(!http_session_end(w->node, ALICE, now, idle.bytes));
    ck_assert(finds(ALICE, now + IDLE_NS, &used));
    ck_assert(!finds(ALICE, now + 2 * IDLE_NS + 1, &used));
    world_free(w);
}
END_TEST

/* The first, which is used again, stays; the second goes for the one that is too many. */
START_TEST(a_full_set_forgets_the_one_that_was_not_used_for_longest)
{
    static struct id ids[SESSION_WAYS + 1];
    uint64_t now;

    start();
    now = w->now;
    for (size_t i = 0; i < SESSION_WAYS; i++)
        ids[i] = opened(ALICE, ++now);
    ck_assert(finds(ALICE, ++now, &ids[0]));
    ids[SESSION_WAYS] = opened(ALICE, ++now);
    ck_assert(!finds(ALICE, now, &ids[1]));
    for (size_t i = 0; i <= SESSION_WAYS; i++)
        ck_assert(i == 1 || finds(ALICE, ++now, &ids[i]));
    world_free(w);
}
END_TEST

START_TEST(one_that_has_ended_makes_room_before_any_other)
{
    static struct id ids[SESSION_WAYS];
    struct id last;
    uint64_t now;

    start();
    now = w->now;
    for (size_t i = 0; i < SESSION_WAYS; i++)
        ids[i] = opened(ALICE, ++now);
    ck_assert(http_session_end(w->node, ALICE, ++now, ids[SESSION_WAYS - 1].bytes));
    last = opened(ALICE, ++now);
    for (size_t i = 0; i + 1 < SESSION_WAYS; i++)
        ck_assert(finds(ALICE, ++now, &ids[i]));
    ck_assert(finds(ALICE, now, &last));
    world_free(w);
}
END_TEST

/* Also in a set that they share with him, wherever he began: with those who were there before him,
 * and with those who come when it is full. */
START_TEST(who_opens_many_ends_his_own)
{
    struct id bob, carol[2];
    char names[2][16];
    struct str b, c;
    uint64_t now;

    start();
    now = w->now;
    b = beside_alice(names[0], 'b');
    c = beside_alice(names[1], 'c');
    bob = opened(b, now);
    for (size_t i = 0; i < 10 * SESSION_WAYS; i++)
        opened(ALICE, ++now);
    ck_assert(finds(b, now, &bob));
    for (int i = 0; i < 2; i++)
        carol[i] = opened(c, ++now);
    for (size_t i = 0; i < 10 * SESSION_WAYS; i++)
        opened(ALICE, ++now);
    ck_assert(finds(b, now, &bob));
    ck_assert(finds(c, now, &carol[0]) && finds(c, now, &carol[1]));
    world_free(w);
}
END_TEST

/* A set of two is theirs by halves in the end, and the one that is used stays. */
START_TEST(who_has_fewer_can_have_more_of_a_full_set)
{
    static struct id ids[SESSION_WAYS];
    struct id used;
    struct str b;
    char name[16];
    uint64_t now;
    unsigned bobs = 0;

    start();
    now = w->now;
    b = beside_alice(name, 'b');
    for (size_t i = 0; i < SESSION_WAYS; i++)
        opened(ALICE, ++now);
    used = opened(b, ++now);
    for (size_t i = 0; i < SESSION_WAYS; i++) {
        ids[i] = opened(b, ++now);
        ck_assert(finds(b, ++now, &used));
    }
    for (size_t i = 0; i < SESSION_WAYS; i++)
        bobs += finds(b, now, &ids[i]);
    ck_assert_uint_eq(bobs + 1, SESSION_WAYS / 2);
    for (size_t i = 0; i < SESSION_WAYS; i++)
        opened(ALICE, ++now);
    ck_assert(finds(b, now, &used));
    world_free(w);
}
END_TEST

START_TEST(memory_is_taken_once_however_many_there_are)
{
    size_t before, with_one;
    uint64_t now;

    start();
    now = w->now;
    before = w->memory.live;
    opened(ALICE, now);
    with_one = w->memory.live;
    ck_assert_uint_gt(with_one, before);
    for (unsigned i = 0; i < 3 * SESSION_SETS * SESSION_WAYS; i++) {
        char name[16];

        snprintf(name, sizeof name, "%u", i);
        opened(str_of(name), ++now);
    }
    ck_assert_uint_eq(w->memory.live, with_one);
    world_free(w);
}
END_TEST

static int no_random(void *out, size_t len)
{
    (void)out;
    (void)len;
    return -1;
}

START_TEST(without_memory_or_randomness_there_is_none)
{
    const struct host *usual;
    struct host host;
    struct id id;

    start();
    w->memory.fail_in = 1;
    ck_assert_int_eq(http_session_open(w->node, ALICE, w->now, id.bytes), ALK_ENOMEM);
    usual = w->node->host;
    host = *usual;
    host.random = no_random;
    w->node->host = &host;
    ck_assert_int_eq(http_session_open(w->node, ALICE, w->now, id.bytes), ALK_ESYSTEM);
    w->node->host = usual;
    id = opened(ALICE, w->now);
    ck_assert(finds(ALICE, w->now, &id));
    world_free(w);
}
END_TEST

/* Each loop has a clock of its own, which is that of its turn. */
START_TEST(one_that_another_thread_has_used_just_now_has_not_ended)
{
    struct id id, more;

    start();
    id = opened(ALICE, w->now + MS);
    ck_assert(finds(ALICE, w->now, &id));
    ck_assert(finds(ALICE, w->now + MS, &id));
    more = opened(ALICE, w->now);
    ck_assert(finds(ALICE, w->now, &id) && finds(ALICE, w->now, &more));
    world_free(w);
}
END_TEST

/* ---- two threads ------------------------------------------------------------------------------- */

#define ROUNDS 20000

struct user {
    const char *name;
    bool leaves; /* every other one open */
};

static void *use(void *arg)
{
    const struct user *u = arg;
    uint64_t now = WORLD_NOW;

    for (int i = 0; i < ROUNDS; i++) {
        struct id id = opened(str_of(u->name), ++now);

        ck_assert(finds(str_of(u->name), now, &id));
        ck_assert((u->leaves && i % 2) ||
                  http_session_end(w->node, str_of(u->name), now, id.bytes));
    }
    return NULL;
}

/* Who leaves many open takes no room of others. */
START_TEST(threads_at_once_have_each_its_own)
{
    static char bob[16], carol[16];
    static struct user users[] = {{"alice", false}, {"alice", false}, {bob, true}, {carol, true}};
    pthread_t threads[4];

    start();
    beside_alice(bob, 'b');
    beside_alice(carol, 'c');
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    world_free(w);
}
END_TEST

START_TEST(a_thread_that_is_behind_does_not_make_one_older)
{
    struct id id;

    start();
    id = opened(ALICE, WORLD_NOW);
    ck_assert(finds(ALICE, WORLD_NOW + IDLE_NS, &id));
    ck_assert(finds(ALICE, WORLD_NOW, &id));
    ck_assert(finds(ALICE, WORLD_NOW + IDLE_NS + 1, &id));
    world_free(w);
}
END_TEST

MAIN("session_ids", one_is_its_owners_and_nobody_elses, owners_of_one_set_have_each_its_own,
     nobodys_is_one_too, one_that_was_not_given_is_not_found, one_that_was_ended_is_gone,
     one_that_is_used_lives_on_and_one_that_is_not_ends,
     a_full_set_forgets_the_one_that_was_not_used_for_longest,
     one_that_has_ended_makes_room_before_any_other, who_opens_many_ends_his_own,
     who_has_fewer_can_have_more_of_a_full_set, memory_is_taken_once_however_many_there_are,
     without_memory_or_randomness_there_is_none,
     one_that_another_thread_has_used_just_now_has_not_ended,
     a_thread_that_is_behind_does_not_make_one_older, threads_at_once_have_each_its_own)
