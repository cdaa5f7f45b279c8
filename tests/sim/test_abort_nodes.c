/* Abort across three nodes: whatever ends the root, every leaf's hook has run within one turn of each loop, root first. */
#include "sim/compose.h"

#define EVERYTHING "{\"allowed_ops\":[\"x/*\"]}"
#define IN_FLIGHT 1000

struct three {
    struct world *w[3]; /* root, middle, leaf */
    alk_connection *down[2], *up[2];
    struct wire *client;
    int leaves, ended, ended_why[8], results;
    int middle, middle_ended;
};

static void leaf_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct three *t = ud;

    (void)call;
    (void)fault;
    t->ended++;
    t->ended_why[why]++;
}

static int leaf_start(alk_call *call, void *ud)
{
    struct three *t = ud;

    t->leaves++;
    return alk_call_on_end(call, leaf_end, t);
}

static void middle_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct three *t = ud;

    (void)call;
    (void)why;
    (void)fault;
    t->middle_ended++;
}

static int middle_start(alk_call *call, void *ud)
{
    struct three *t = ud;
    alk_call_options o = {.size = sizeof o};

    t->middle++;
    alk_call_on_end(call, middle_end, t);
    o.selector = ALK_SELECT_PEER;
    o.peer = "leaf";
    return alk_call_invoke(call, TEXT("x/leaf"), TEXT("1"), &o, NULL);
}

static void root_result(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct three *t = ud;

    (void)call;
    (void)why;
    (void)fault;
    t->results++;
}

static int root_start(alk_call *call, void *ud)
{
    alk_call_options o = {.size = sizeof o};

    o.selector = ALK_SELECT_PEER;
    o.peer = "middle";
    o.on_end = root_result;
    o.ud = ud;
    for (int i = 0; i < IN_FLIGHT; i++)
        ck_assert_int_eq(alk_call_invoke(call, TEXT("x/middle"), TEXT("1"), &o, NULL), ALK_OK);
    return ALK_OK;
}

static void three_turn(struct three *t)
{
    for (int i = 0; i < 3; i++)
        alk_dispatcher_turn(t->w[i]->d, t->w[i]->now);
}

static struct three *three_start(const char *extra)
{
    static const char *const names[] = {"root", "middle", "leaf"};
    struct three *t = calloc(1, sizeof *t);

    ck_assert_ptr_nonnull(t);
    for (int i = 0; i < 3; i++) {
        t->w[i] = world_new();
        t->w[i]->options.log_level = ALK_LOG_WARN;
    }
    add_op(
        t->w[0],
        &(struct op){.name = "x/root", .handler = root_start, .ud = t, .environment = EVERYTHING});
    add_op(t->w[1],
           &(struct op){
               .name = "x/middle", .handler = middle_start, .ud = t, .environment = EVERYTHING});
    add_op(t->w[2], &(struct op){.name = "x/leaf", .handler = leaf_start, .ud = t});
    /* One caller may have less than half of what a remote takes. */
    for (int i = 0; i < 3; i++) {
        t->w[i]->limits.connection_calls = 4096;
        world_start(t->w[i]);
    }
    for (int i = 0; i < 2; i++) {
        join(t->w[i], &(struct side){.id = names[i + 1], .kind = ALK_KIND_PEER}, &t->down[i],
             t->w[i + 1], &(struct side){.id = names[i], .kind = ALK_KIND_PEER}, &t->up[i]);
        import_all(t->w[i], t->w[i + 1], t->down[i], 1);
    }
    t->client = wire_open(t->w[0], NULL);
    wire_request_with(t->client, "1", "x/root", "null", extra);
    settle(t->w, 3);
    ck_assert_int_eq(t->middle, IN_FLIGHT);
    ck_assert_int_eq(t->leaves, IN_FLIGHT);
    return t;
}

static void three_free(struct three *t)
{
    ck_assert_int_eq(t->results, IN_FLIGHT);
    wire_free(t->client);
    for (int i = 0; i < 2; i++) {
        alk_connection_unref(t->down[i]);
        alk_connection_unref(t->up[i]);
    }
    for (int i = 0; i < 3; i++)
        world_free(t->w[i]);
    free(t);
}

static void expect_all_ended(struct three *t)
{
    ck_assert_int_eq(t->ended, IN_FLIGHT);
    ck_assert_int_eq(t->middle_ended, IN_FLIGHT);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(world_stats(t->w[i]).calls, 0);
}

START_TEST(an_abort_at_the_root_reaches_every_leaf_within_one_turn_of_each_loop)
{
    struct three *t = three_start("");

    wire_abort(t->client, "1");
    three_turn(t);
    expect_all_ended(t);
    ck_assert_int_eq(t->ended_why[ALK_END_ABORTED], IN_FLIGHT);
    three_free(t);
}
END_TEST

START_TEST(a_client_that_goes_away_ends_every_leaf_within_one_turn_of_each_loop)
{
    struct three *t = three_start("");

    alk_connection_lost(t->client->conn);
    three_turn(t);
    expect_all_ended(t);
    ck_assert_int_eq(t->ended_why[ALK_END_ABORTED], IN_FLIGHT);
    three_free(t);
}
END_TEST

START_TEST(the_roots_deadline_ends_every_leaf_and_the_caller_sees_timeout)
{
    struct three *t = three_start(",\"timeout_ms\":50");

    for (int i = 0; i < 3; i++)
        t->w[i]->now += 50 * MS;
    three_turn(t);
    expect_all_ended(t);
    wire_expect_error(t->client, "1", "TIMEOUT", "the deadline has passed");
    three_free(t);
}
END_TEST

START_TEST(a_middle_that_is_lost_ends_both_sides)
{
    struct three *t = three_start("");

    alk_connection_close(t->down[0], ALK_CLOSE_SHUTDOWN);
    three_turn(t);
    ck_assert_int_eq(t->ended, IN_FLIGHT);
    ck_assert_int_eq(t->middle_ended, IN_FLIGHT);
    ck_assert_uint_eq(world_stats(t->w[1]).calls, 0);
    ck_assert_uint_eq(world_stats(t->w[2]).calls, 0);
    ck_assert_int_eq(t->results, IN_FLIGHT);
    /* The root itself still runs: its handler may judge. */
    ck_assert_uint_eq(world_stats(t->w[0]).calls, 1);
    wire_abort(t->client, "1");
    three_turn(t);
    expect_all_ended(t);
    three_free(t);
}
END_TEST

START_TEST(cancelling_the_first_node_ends_every_leaf)
{
    struct three *t = three_start("");

    alk_dispatcher_drain(t->w[0]->d);
    alk_dispatcher_drain(t->w[0]->d);
    three_turn(t);
    expect_all_ended(t);
    wire_expect_error(t->client, "1", "BUSY", "shutting down");
    three_free(t);
}
END_TEST

MAIN("abort_nodes", an_abort_at_the_root_reaches_every_leaf_within_one_turn_of_each_loop,
     a_client_that_goes_away_ends_every_leaf_within_one_turn_of_each_loop,
     the_roots_deadline_ends_every_leaf_and_the_caller_sees_timeout,
     a_middle_that_is_lost_ends_both_sides, cancelling_the_first_node_ends_every_leaf)
