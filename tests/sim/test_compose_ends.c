/* How nested calls end: with their parent, alone, or not yet (continue-running). */
#include "sim/composer.h"

struct policies {
    struct composer *n;
    struct served keep, plain, inner, inner_plain, late;
    struct asked a_keep, a_plain, a_inner, a_inner_plain, a_late;
};

/* root → keep (continue-running) → inner (inherits), inner_plain (abort-dependents); root → plain. */
static struct policies *policies_start(void)
{
    struct policies *p = calloc(1, sizeof *p);
    alk_call_options o = {.size = sizeof o};

    ck_assert_ptr_nonnull(p);
    p->n = composer_new();
    add_op(p->n->w, &(struct op){.name = "x/keep",
                                 .handler = serve_later,
                                 .ud = &p->keep,
                                 .environment = EVERYTHING});
    add_op(p->n->w, &(struct op){.name = "x/plain", .handler = serve_later, .ud = &p->plain});
    add_op(p->n->w, &(struct op){.name = "x/inner",
                                 .handler = serve_later,
                                 .ud = &p->inner,
                                 .environment = EVERYTHING});
    add_op(p->n->w,
           &(struct op){.name = "x/inner_plain", .handler = serve_later, .ud = &p->inner_plain});
    add_op(p->n->w, &(struct op){.name = "x/late", .handler = serve_later, .ud = &p->late});
    composer_start(p->n, NULL);
    o.policy = ALK_CONTINUE_RUNNING;
    nest(&p->a_keep, &p->n->root, "x/keep", "null", &o);
    nest(&p->a_plain, &p->n->root, "x/plain", "null", NULL);
    world_turn(p->n->w);
    nest(&p->a_inner, &p->keep, "x/inner", "null", NULL);
    o.policy = ALK_ABORT_DEPENDENTS;
    nest(&p->a_inner_plain, &p->keep, "x/inner_plain", "null", &o);
    world_turn(p->n->w);
    return p;
}

static void policies_free(struct policies *p)
{
    asked_free(&p->a_keep);
    asked_free(&p->a_plain);
    asked_free(&p->a_inner);
    asked_free(&p->a_inner_plain);
    served_free(&p->keep);
    served_free(&p->plain);
    served_free(&p->inner);
    served_free(&p->inner_plain);
    served_free(&p->late);
    composer_free(p->n);
    free(p);
}

START_TEST(children_end_with_their_parent_unless_they_continue)
{
    struct policies *p = policies_start();

    wire_abort(p->n->client, "root");
    world_turn(p->n->w);
    ck_assert_int_eq(p->n->root.why, ALK_END_ABORTED);
    ck_assert_int_eq(p->plain.ends, 1);
    ck_assert_int_eq(p->plain.why, ALK_END_ABORTED);
    ck_assert_str_eq(asked_outcome(&p->a_plain), "aborted");
    /* What continues goes on; whoever called it hears its end now, once. */
    ck_assert_int_eq(p->keep.ends, 0);
    ck_assert_str_eq(asked_outcome(&p->a_keep), "aborted");
    ck_assert_int_eq(p->inner.ends, 0);
    ck_assert_int_eq(p->inner_plain.ends, 0);
    served_reply(&p->inner, "5");
    world_turn(p->n->w);
    ck_assert_str_eq(asked_outcome(&p->a_inner), "ok 5");
    served_reply(&p->keep, "6");
    world_turn(p->n->w);
    ck_assert_int_eq(p->keep.ends, 1);
    ck_assert_int_eq(p->keep.why, ALK_END_OK);
    ck_assert_int_eq(p->a_keep.ends, 1);
    ck_assert_int_eq(p->a_keep.values, 0);
    ck_assert_str_eq(asked_outcome(&p->a_inner_plain), "aborted");
    wire_expect_nothing(p->n->client);
    policies_free(p);
}
END_TEST

START_TEST(what_continues_may_not_begin_anything)
{
    struct policies *p = policies_start();
    struct asked deep;

    served_reply(&p->n->root, "1");
    world_turn(p->n->w);
    wire_expect(p->n->client, RESPONDED("root", "1"));
    nest(&p->a_late, &p->keep, "x/late", "null", NULL);
    nest(&deep, &p->inner, "x/late", "null", NULL); /* below one that continues */
    world_turn(p->n->w);
    ck_assert_str_eq(asked_outcome(&p->a_late), "fault INTERNAL: parent aborted");
    ck_assert_str_eq(asked_outcome(&deep), "fault INTERNAL: parent aborted");
    ck_assert_int_eq(p->late.starts, 0);
    asked_free(&p->a_late);
    asked_free(&deep);
    ck_assert_int_eq(served_fail(&p->keep, "X", "x", NULL), ALK_OK);
    world_turn(p->n->w);
    /* inner was called under the inherited policy: it continues too. */
    ck_assert_int_eq(p->inner.ends, 0);
    ck_assert_int_eq(p->inner_plain.ends, 1);
    served_reply(&p->inner, "1");
    policies_free(p);
}
END_TEST

START_TEST(what_continues_keeps_its_deadline)
{
    struct policies *p = policies_start();

    wire_abort(p->n->client, "root");
    world_turn(p->n->w);
    world_advance(p->n->w, 30000);
    ck_assert_int_eq(p->keep.ends, 1);
    ck_assert_int_eq(p->keep.why, ALK_END_TIMEOUT);
    ck_assert_int_eq(p->a_keep.ends, 1);
    policies_free(p);
}
END_TEST

START_TEST(what_continues_ends_when_the_dispatcher_cancels)
{
    struct policies *p = policies_start();

    wire_abort(p->n->client, "root");
    world_turn(p->n->w);
    alk_dispatcher_drain(p->n->w->d);
    world_turn(p->n->w);
    ck_assert_int_eq(p->keep.ends, 0);
    alk_dispatcher_drain(p->n->w->d);
    world_turn(p->n->w);
    ck_assert_int_eq(p->keep.ends, 1);
    ck_assert_int_eq(p->inner.ends, 1);
    ck_assert_int_eq(p->inner_plain.ends, 1);
    policies_free(p);
}
END_TEST

START_TEST(what_continues_outlives_the_connection_it_came_by)
{
    struct policies *p = policies_start();

    alk_connection_lost(p->n->client->conn);
    world_turn(p->n->w);
    alk_connection_unref(p->n->client->conn);
    world_turn(p->n->w);
    ck_assert_int_eq(p->n->root.why, ALK_END_CLOSED);
    ck_assert_int_eq(p->keep.ends, 0);
    served_reply(&p->inner, "1");
    served_reply(&p->keep, "1");
    world_turn(p->n->w); /* and is logged without it */
    ck_assert(world_logged(p->n->w, "call x/keep ok"));
    alk_connection_options o = {.size = sizeof o};
    free(p->n->client->sent);
    free(p->n->client->streams);
    free(p->n->client);
    p->n->client = wire_open(p->n->w, &o);
    policies_free(p);
}
END_TEST

START_TEST(a_child_that_has_not_started_does_not_start_after_its_parents_end)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o = {.size = sizeof o};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n, NULL);
    o.policy = ALK_CONTINUE_RUNNING;
    nest(&a, &n->root, "x/child", "null", &o);
    served_reply(&n->root, "1");
    world_turn(n->w);
    ck_assert_int_eq(child.starts, 0);
    ck_assert_str_eq(asked_outcome(&a), "aborted");
    asked_free(&a);
    composer_free(n);
}
END_TEST

START_TEST(a_childs_failure_is_its_parents_to_judge)
{
    struct composer *n = composer_new();
    struct served child = {0};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n, NULL);
    nest(&a, &n->root, "x/child", "null", NULL);
    world_turn(n->w);
    ck_assert_int_eq(served_fail(&child, "NO_PAPER", "tray 2", "{\"tray\":2}"), ALK_OK);
    world_turn(n->w);
    ck_assert_str_eq(asked_outcome(&a), "fault NO_PAPER: tray 2");
    ck_assert_str_eq(a.details, "{\"tray\":2}");
    ck_assert_int_eq(n->root.ends, 0);
    wire_expect_nothing(n->client);
    served_reply(&n->root, "1");
    wire_expect(n->client, RESPONDED("root", "1"));
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

START_TEST(a_child_can_be_aborted_alone)
{
    struct policies *p = policies_start();

    ck_assert_int_eq(alk_call_abort(p->a_plain.call), ALK_OK);
    ck_assert_int_eq(alk_call_abort(p->a_plain.call), ALK_EENDED);
    ck_assert_int_eq(p->plain.ends, 0); /* hooks run in the turn */
    world_turn(p->n->w);
    ck_assert_int_eq(p->plain.ends, 1);
    ck_assert_str_eq(asked_outcome(&p->a_plain), "aborted");
    ck_assert_int_eq(p->n->root.ends, 0);
    ck_assert_int_eq(alk_call_reply(p->plain.call, TEXT("1")), ALK_EENDED);
    wire_abort(p->n->client, "root");
    world_turn(p->n->w);
    served_reply(&p->keep, "1");
    world_turn(p->n->w);
    served_reply(&p->inner, "1");
    policies_free(p);
}
END_TEST

MAIN("compose_ends", children_end_with_their_parent_unless_they_continue,
     what_continues_may_not_begin_anything, what_continues_keeps_its_deadline,
     what_continues_ends_when_the_dispatcher_cancels,
     what_continues_outlives_the_connection_it_came_by,
     a_child_that_has_not_started_does_not_start_after_its_parents_end,
     a_childs_failure_is_its_parents_to_judge, a_child_can_be_aborted_alone)
