/* Abort: the whole tree below a call ends, children first, each exactly once, whatever its shape, whatever its hooks do, and
 * across nodes. Large trees are ended on a small stack, since a remote chooses their shape. */
#include "sim/compose.h"

#include <pthread.h>

#define EVERYTHING "{\"allowed_ops\":[\"x/*\"]}"
#define LARGE 10000
#define SMALL_STACK (256u << 10)

/* ---- large trees ----------------------------------------------------------------------------- */

struct tree {
    struct world *w;
    struct wire *client;
    int depth, breadth; /* wanted: a chain below the root, and leaves beside it */
    int starts, ends, results, others;
    int *order; /* the level that ended, in the order of ends; leaves are -1 */
};

struct level {
    struct tree *t;
    int level;
};

static void level_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct level *l = ud;

    (void)call;
    (void)fault;
    l->t->order[l->t->ends++] = l->level;
    l->t->others += why != ALK_END_ABORTED;
    free(l);
}

static void level_result(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct tree *t = ud;

    (void)call;
    (void)fault;
    t->results++;
    t->others += why != ALK_END_ABORTED;
}

static void down(alk_call *call, struct tree *t, const char *operation, int level)
{
    alk_call_options o = {.size = sizeof o};
    char input[16];

    o.on_end = level_result;
    o.ud = t;
    snprintf(input, sizeof input, "%d", level);
    ck_assert_int_eq(alk_call_invoke(call, TEXT(operation), TEXT(input), &o, NULL), ALK_OK);
}

/* Its input is its level: the root makes the leaves, each level the next one. */
static int level_start(alk_call *call, void *ud)
{
    struct tree *t = ud;
    struct level *l = malloc(sizeof *l);
    size_t len;

    ck_assert_ptr_nonnull(l);
    *l = (struct level){t, atoi(alk_value_text(alk_call_input(call), &len))};
    t->starts++;
    ck_assert_int_eq(alk_call_on_end(call, level_end, l), ALK_OK);
    if (l->level == 0) {
        for (int i = 0; i < t->breadth; i++)
            down(call, t, "x/node", -1);
    }
    if (l->level >= 0 && l->level < t->depth)
        down(call, t, "x/node", l->level + 1);
    return ALK_OK;
}

static struct tree *tree_grow(int depth, int breadth)
{
    struct tree *t = calloc(1, sizeof *t);

    ck_assert_ptr_nonnull(t);
    t->depth = depth;
    t->breadth = breadth;
    t->order = calloc((size_t)(depth + breadth + 1), sizeof *t->order);
    t->w = world_new();
    t->w->options.log_level = ALK_LOG_WARN;
    t->w->limits.call_depth = (uint32_t)depth + 1;
    t->w->limits.call_children = (uint32_t)(depth + breadth + 1);
    add_op(t->w, &(struct op){
                     .name = "x/node", .handler = level_start, .ud = t, .environment = EVERYTHING});
    world_start(t->w);
    t->client = wire_open(t->w, NULL);
    wire_request(t->client, "root", "x/node", "0");
    world_turn(t->w);
    ck_assert_int_eq(t->starts, depth + breadth + 1);
    ck_assert_uint_eq(world_stats(t->w).calls, (uint64_t)(depth + breadth + 1));
    return t;
}

static void tree_check(struct tree *t)
{
    int level = t->depth;

    ck_assert_int_eq(t->ends, t->starts);
    ck_assert_int_eq(t->results, t->starts - 1);
    ck_assert_int_eq(t->others, 0);
    ck_assert_uint_eq(world_stats(t->w).calls, 0);
    for (int i = 0; i < t->ends; i++) {
        if (t->order[i] >= 0)
            ck_assert_int_eq(t->order[i], level--);
    }
    ck_assert_int_eq(t->order[t->ends - 1], 0);
    wire_free(t->client);
    world_free(t->w);
    free(t->order);
    free(t);
}

static void *grow_and_abort(void *shape)
{
    const int *s = shape;
    struct tree *t = tree_grow(s[0], s[1]);

    wire_abort(t->client, "root");
    world_turn(t->w);
    wire_expect_nothing(t->client);
    tree_check(t);
    return NULL;
}

static void on_small_stack(void *(*fn)(void *), void *ud)
{
    pthread_attr_t attr;
    pthread_t thread;

    ck_assert_int_eq(pthread_attr_init(&attr), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, SMALL_STACK), 0);
    ck_assert_int_eq(pthread_create(&thread, &attr, fn, ud), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

START_TEST(a_chain_of_10000_levels_is_aborted_on_a_small_stack)
{
    on_small_stack(grow_and_abort, (int[]){LARGE, 0});
}
END_TEST

START_TEST(a_root_with_10000_children_is_aborted_on_a_small_stack)
{
    on_small_stack(grow_and_abort, (int[]){0, LARGE});
}
END_TEST

START_TEST(a_tree_both_deep_and_broad_is_aborted_on_a_small_stack)
{
    on_small_stack(grow_and_abort, (int[]){LARGE, LARGE});
}
END_TEST

static void *grow_and_lose(void *ud)
{
    struct tree *t = tree_grow(LARGE / 4, LARGE / 4);

    (void)ud;
    t->others--; /* the root's own end: its connection is closed */
    alk_connection_lost(t->client->conn);
    world_turn(t->w);
    tree_check(t);
    return NULL;
}

START_TEST(a_lost_connection_ends_a_large_tree_too)
{
    on_small_stack(grow_and_lose, NULL);
}
END_TEST

static void *grow_and_free(void *ud)
{
    struct tree *t = tree_grow(LARGE / 4, LARGE / 4);
    struct wire *r = t->client;

    (void)ud;
    alk_connection_unref(r->conn);
    world_free(t->w); /* asserts that nothing is left */
    ck_assert_int_eq(t->ends, t->starts);
    ck_assert_int_eq(t->results, t->starts - 1);
    ck_assert_int_eq(r->closes, 1);
    for (size_t i = 0; i < r->count; i++)
        free(r->sent[i]);
    free(r->sent);
    free(r->streams);
    free(r);
    free(t->order);
    free(t);
    return NULL;
}

START_TEST(freeing_the_dispatcher_ends_a_large_tree_too)
{
    on_small_stack(grow_and_free, NULL);
}
END_TEST

/* ---- hooks that interfere -------------------------------------------------------------------- */

#define CHILDREN 5

struct scene;

struct actor {
    struct scene *scene;
    int index, ends, results, why;
    alk_call *call;  /* the executing side's, a reference */
    alk_call *child; /* the calling side's, a reference */
    int *data;       /* freed by its hook */
};

/* root with five children; the hook of one of them does something. */
struct scene {
    struct world *w;
    struct wire *client;
    struct served root;
    struct actor actor[CHILDREN];
    int bad; /* whose hooks act: its index */
    void (*act)(struct actor *a);
    bool acts_as_caller; /* in on_end of the options, else of the handler */
    struct asked more[2];
    int mores;
};

static void actor_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct actor *a = ud;

    (void)fault;
    ck_assert_ptr_eq(call, a->call);
    a->ends++;
    a->why = why;
    free(a->data);
    a->data = NULL;
    if (a->index == a->scene->bad && !a->scene->acts_as_caller)
        a->scene->act(a);
}

static void actor_result(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct actor *a = ud;

    (void)call;
    (void)why;
    (void)fault;
    a->results++;
    if (a->index == a->scene->bad && a->scene->acts_as_caller)
        a->scene->act(a);
}

static int actor_start(alk_call *call, void *ud)
{
    struct scene *s = ud;
    size_t len;
    struct actor *a = &s->actor[atoi(alk_value_text(alk_call_input(call), &len))];

    a->call = alk_call_ref(call);
    a->data = malloc(sizeof *a->data);
    return alk_call_on_end(call, actor_end, a);
}

static struct scene *scene_start(int bad, void (*act)(struct actor *), bool as_caller)
{
    struct scene *s = calloc(1, sizeof *s);

    ck_assert_ptr_nonnull(s);
    s->bad = bad;
    s->act = act;
    s->acts_as_caller = as_caller;
    s->w = world_new();
    add_op(s->w, &(struct op){.name = "x/root",
                              .handler = serve_later,
                              .ud = &s->root,
                              .environment = EVERYTHING});
    add_op(s->w,
           &(struct op){
               .name = "x/actor", .handler = actor_start, .ud = s, .environment = EVERYTHING});
    add_op(s->w, &(struct op){.name = "x/echo", .handler = serve_echo});
    world_start(s->w);
    s->client = wire_open(s->w, NULL);
    wire_request(s->client, "root", "x/root", "0");
    world_turn(s->w);
    for (int i = 0; i < CHILDREN; i++) {
        alk_call_options o = {.size = sizeof o};
        char input[16];

        s->actor[i].scene = s;
        s->actor[i].index = i;
        o.on_end = actor_result;
        o.ud = &s->actor[i];
        snprintf(input, sizeof input, "%d", i);
        ck_assert_int_eq(
            alk_call_invoke(s->root.call, TEXT("x/actor"), TEXT(input), &o, &s->actor[i].child),
            ALK_OK);
    }
    world_turn(s->w);
    return s;
}

static void scene_free(struct scene *s)
{
    world_turn(s->w);
    for (int i = 0; i < CHILDREN; i++) {
        struct actor *a = &s->actor[i];

        ck_assert_int_eq(a->ends, 1);
        ck_assert_int_eq(a->results, 1);
        alk_call_unref(a->call);
        alk_call_unref(a->child);
    }
    ck_assert_int_eq(s->root.ends, 1);
    served_free(&s->root);
    wire_free(s->client);
    for (int i = 0; i < s->mores; i++) {
        ck_assert_int_eq(s->more[i].ends, s->more[i].call != NULL);
        asked_free(&s->more[i]);
    }
    expect_idle(s->w);
    world_free(s->w);
    free(s);
}

/* Ends the tree in every way in which trees end, with each child as the one that acts, on either side. */
/* Everything is cancelled. */
static void drain_twice(alk_dispatcher *d)
{
    alk_dispatcher_drain(d);
    alk_dispatcher_drain(d);
}

static void in_every_way(void (*act)(struct actor *))
{
    for (int way = 0; way < 6; way++) {
        for (int bad = 0; bad < CHILDREN; bad += 2) {
            for (int side = 0; side < 2; side++) {
                struct scene *s = scene_start(bad, act, side == 1);

                if (way == 0)
                    wire_abort(s->client, "root");
                else if (way == 1)
                    world_advance(s->w, 30000);
                else if (way == 2)
                    alk_connection_lost(s->client->conn);
                else if (way == 3)
                    served_reply(&s->root, "1");
                else if (way == 4)
                    drain_twice(s->w->d);
                else
                    ck_assert_int_eq(alk_call_abort(s->actor[bad].child), ALK_OK);
                world_turn(s->w);
                if (way == 5 && s->root.ends == 0)
                    wire_abort(s->client, "root");
                scene_free(s);
            }
        }
    }
}

static void abort_siblings(struct actor *a)
{
    for (int i = 0; i < CHILDREN; i++) {
        struct actor *other = &a->scene->actor[i];
        int rc = alk_call_abort(other->child);

        ck_assert(rc == ALK_OK || rc == ALK_EENDED);
        if (i == a->index)
            ck_assert_int_eq(rc, ALK_EENDED);
    }
}

START_TEST(a_hook_may_abort_its_siblings)
{
    in_every_way(abort_siblings);
}
END_TEST

static void answer_late(struct actor *a)
{
    alk_fault f = {.size = sizeof f, .code = "LATE", .message = "late"};

    ck_assert_int_eq(alk_call_reply(a->call, TEXT("1")), ALK_EENDED);
    ck_assert_int_eq(alk_call_emit(a->call, TEXT("1")), ALK_EENDED);
    ck_assert_int_eq(alk_call_complete(a->call), ALK_EENDED);
    ck_assert_int_eq(alk_call_fail(a->call, &f), ALK_EENDED);
    ck_assert_int_eq(alk_call_on_drain(a->call, NULL, NULL), ALK_EENDED);
    ck_assert_int_eq(alk_call_on_end(a->call, actor_end, a), ALK_EENDED);
    ck_assert_int_eq(alk_call_pause(a->child, 1), ALK_EENDED);
    for (int i = 0; i < CHILDREN; i++)
        alk_call_reply(a->scene->actor[i].call, TEXT("2"));
}

START_TEST(a_hook_may_answer_late_and_answer_for_others)
{
    in_every_way(answer_late);
}
END_TEST

static void end_the_root(struct actor *a)
{
    alk_call_reply(a->scene->root.call, TEXT("\"from a hook\""));
}

START_TEST(a_hook_may_end_its_own_parent)
{
    in_every_way(end_the_root);
}
END_TEST

static void let_go(struct actor *a)
{
    alk_call_unref(a->call);
    alk_call_unref(a->child);
    a->call = a->child = NULL;
}

START_TEST(a_hook_may_drop_its_references)
{
    in_every_way(let_go);
}
END_TEST

static void start_more(struct actor *a)
{
    struct scene *s = a->scene;
    alk_call_options o;
    int rc;

    if (s->mores)
        return;
    asked_options(&s->more[0], &o);
    ck_assert_int_eq(alk_call_invoke(a->call, TEXT("x/echo"), TEXT("1"), &o, NULL), ALK_EENDED);
    asked_free(&s->more[0]);
    asked_options(&s->more[0], &o);
    rc = alk_call_invoke(s->root.call, TEXT("x/echo"), TEXT("1"), &o, &s->more[0].call);
    ck_assert(rc == ALK_OK || rc == ALK_EENDED);
    ck_assert_int_eq(rc == ALK_OK, s->root.ends == 0 && s->more[0].call != NULL);
    asked_options(&s->more[1], &o);
    rc = alk_connection_call(s->client->conn, TEXT("x/echo"), TEXT("1"), &o, &s->more[1].call);
    ck_assert(rc == ALK_OK || rc == ALK_ECLOSED);
    s->mores = 2;
}

START_TEST(a_hook_may_start_new_calls)
{
    in_every_way(start_more);
}
END_TEST

static void close_connection(struct actor *a)
{
    alk_connection_close(a->scene->client->conn, ALK_CLOSE_SHUTDOWN);
}

START_TEST(a_hook_may_close_the_connection)
{
    in_every_way(close_connection);
}
END_TEST

static void lose_connection(struct actor *a)
{
    alk_connection_lost(a->scene->client->conn);
}

START_TEST(a_hook_may_find_the_connection_lost)
{
    in_every_way(lose_connection);
}
END_TEST

static void cancel_all(struct actor *a)
{
    drain_twice(a->scene->w->d);
}

START_TEST(a_hook_may_cancel_everything)
{
    in_every_way(cancel_all);
}
END_TEST

static void nothing(struct actor *a)
{
    (void)a;
}

START_TEST(hooks_run_once_in_every_way_of_ending)
{
    in_every_way(nothing);
}
END_TEST

/* ---- children first, also when the parent stood in the queue already ------------------------- */

START_TEST(a_parent_that_waits_for_its_drain_callback_still_ends_after_its_children)
{
    struct world *w = world_new();
    struct served root = {0}, child = {0};
    struct wire *client;
    struct asked a;
    char text[4096];

    add_op(w, &(struct op){.name = "x/root",
                           .type = ALK_SUBSCRIPTION,
                           .handler = serve_later,
                           .ud = &root,
                           .environment = EVERYTHING});
    world_add(w, "x/child", ALK_QUERY, serve_later, &child);
    world_start(w);
    client = wire_open(w, NULL);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    nest(&a, &root, "x/child", "null", NULL);
    world_turn(w);
    memset(text, '1', sizeof text);
    text[0] = text[sizeof text - 2] = '"';
    text[sizeof text - 1] = 0;
    client->room = 0;
    while (alk_call_emit(root.call, TEXT(text)) == ALK_OK)
        ;
    world_turn(w);
    client->room = -1;
    alk_connection_writable(client->conn);
    alk_dispatcher_turn(w->d, w->now); /* sent: room again */
    wire_abort(client, "1");
    world_turn(w);
    ck_assert_int_eq(child.ends, 1);
    ck_assert_int_eq(root.ends, 1);
    ck_assert_int_lt(child.order, root.order);
    ck_assert_int_lt(a.order, root.order);
    asked_free(&a);
    served_free(&root);
    served_free(&child);
    wire_free(client);
    world_free(w);
}
END_TEST

struct sudden {
    int *state; /* the handler's own, freed in its on_end */
    int child_ends, root_ends;
};

static void sudden_child_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct sudden *s = ud;

    (void)call;
    (void)fault;
    ck_assert_int_eq(why, ALK_END_ABORTED);
    ck_assert_int_eq(s->root_ends, 0);
    *s->state += ++s->child_ends;
}

static void sudden_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct sudden *s = ud;

    (void)call;
    (void)why;
    (void)fault;
    s->root_ends++;
    free(s->state);
}

static int invoke_and_give_up(alk_call *call, void *ud)
{
    struct sudden *s = ud;
    alk_call_options o = {.size = sizeof o};

    s->state = calloc(1, sizeof *s->state);
    alk_call_on_end(call, sudden_end, s);
    o.on_end = sudden_child_end;
    o.ud = s;
    ck_assert_int_eq(alk_call_invoke(call, TEXT("x/child"), TEXT("1"), &o, NULL), ALK_OK);
    return ALK_ESYSTEM;
}

START_TEST(a_handler_that_fails_after_invoking_hears_of_its_child_before_its_own_end)
{
    struct world *w = world_new();
    struct sudden s = {NULL, 0, 0};
    struct served child = {0};
    struct wire *client;

    add_op(w, &(struct op){.name = "x/root",
                           .handler = invoke_and_give_up,
                           .ud = &s,
                           .environment = EVERYTHING});
    world_add(w, "x/child", ALK_QUERY, serve_later, &child);
    world_start(w);
    client = wire_open(w, NULL);
    wire_request(client, "1", "x/root", "null");
    wire_expect_error(client, "1", "INTERNAL", "internal error");
    ck_assert_int_eq(s.child_ends, 1);
    ck_assert_int_eq(s.root_ends, 1);
    ck_assert_int_eq(child.starts, 0);
    wire_free(client);
    world_free(w);
}
END_TEST

MAIN("abort", a_chain_of_10000_levels_is_aborted_on_a_small_stack,
     a_root_with_10000_children_is_aborted_on_a_small_stack,
     a_tree_both_deep_and_broad_is_aborted_on_a_small_stack,
     a_lost_connection_ends_a_large_tree_too, freeing_the_dispatcher_ends_a_large_tree_too,
     a_hook_may_abort_its_siblings, a_hook_may_answer_late_and_answer_for_others,
     a_hook_may_end_its_own_parent, a_hook_may_drop_its_references, a_hook_may_start_new_calls,
     a_hook_may_close_the_connection, a_hook_may_find_the_connection_lost,
     a_hook_may_cancel_everything, hooks_run_once_in_every_way_of_ending,
     a_parent_that_waits_for_its_drain_callback_still_ends_after_its_children,
     a_handler_that_fails_after_invoking_hears_of_its_child_before_its_own_end)
