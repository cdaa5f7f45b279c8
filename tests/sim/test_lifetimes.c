/* Who outlives whom: what is shut, or lost, gets nothing new, in whatever frame it happens, and nobody looks at what is
 * gone. */
#include "core/node.h"
#include "sim/compose.h"
#include "support/node.h"

/* ---- a link that notices its own end --------------------------------------------------------- */

struct failing {
    alk_connection *c;
    int sends, flushes, opens;
    bool lose_in_send, lose_in_open;
};

static int failing_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct failing *f = ud;

    (void)stream, (void)envelope, (void)len;
    f->sends++;
    if (f->lose_in_send)
        alk_connection_lost(f->c);
    return ALK_OK;
}

static void failing_flush(void *ud)
{
    ((struct failing *)ud)->flushes++;
}

static void failing_pause(void *ud, uint64_t stream, int paused)
{
    (void)ud, (void)stream, (void)paused;
}

static void failing_close(void *ud, int code)
{
    (void)ud, (void)code;
    ck_abort_msg("a lost link is not closed");
}

static uint64_t failing_open_stream(void *ud)
{
    struct failing *f = ud;

    f->opens++;
    if (f->lose_in_open)
        alk_connection_lost(f->c);
    return 7;
}

static void failing_start(struct failing *f, struct world *w)
{
    const alk_link link = {.size = sizeof link,
                           .send = failing_send,
                           .flush = failing_flush,
                           .pause = failing_pause,
                           .close = failing_close,
                           .open_stream = failing_open_stream,
                           .ud = f};
    alk_connection_options o = {.size = sizeof o};

    ck_assert_int_eq(alk_connection_open(&f->c, w->d, &link, &o), ALK_OK);
}

START_TEST(a_link_that_is_lost_while_it_sends_is_not_called_again)
{
    struct world *w = world_new();
    struct failing f = {.lose_in_send = true};
    struct asked a, b;

    world_start(w);
    failing_start(&f, w);
    ask(&a, f.c, "x/y", "1");
    ask(&b, f.c, "x/y", "2");
    world_turn(w);
    ck_assert_int_eq(f.sends, 1);
    ck_assert_int_eq(f.flushes, 0);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    ck_assert_str_eq(asked_outcome(&b), "fault INTERNAL: connection closed");
    asked_free(&a);
    asked_free(&b);
    alk_connection_unref(f.c);
    world_free(w);
}
END_TEST

START_TEST(a_call_for_which_a_link_opens_no_stream_since_it_is_lost_is_refused)
{
    struct world *w = world_new();
    struct failing f = {.lose_in_open = true};
    struct asked a;
    alk_call_options o;

    world_start(w);
    failing_start(&f, w);
    asked_options(&a, &o);
    o.stream = 1;
    ck_assert_int_eq(alk_connection_call(f.c, TEXT("x/y"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    world_turn(w);
    ck_assert_int_eq(f.opens, 1);
    ck_assert_int_eq(a.ends, 0);
    ck_assert_uint_eq(world_stats(w).calls, 0);
    ck_assert_uint_eq(world_stats(w).connections, 0);
    asked_free(&a);
    alk_connection_unref(f.c);
    world_free(w);
}
END_TEST

static int serve_through(alk_call *call, void *ud)
{
    struct failing *f = ud;
    alk_call_options o = {.size = sizeof o};

    o.stream = 1;
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = f->c;
    return alk_call_invoke(call, TEXT("x/y"), TEXT("1"), &o, NULL);
}

START_TEST(a_forwarded_call_whose_caller_ends_with_that_link_is_not_counted_as_one_of_ours)
{
    struct world *w = world_new();
    struct failing f = {.lose_in_open = true};
    alk_operation op;
    struct totals t;

    add_op(w, &(struct op){.name = "t/through",
                           .type = ALK_SUBSCRIPTION,
                           .handler = serve_through,
                           .ud = &f,
                           .environment = "{\"allowed_ops\":[\"x/*\"]}"});
    world_start(w);
    failing_start(&f, w);
    op_fill(&op, &(struct op){.name = "x/y", .type = ALK_SUBSCRIPTION});
    ck_assert_int_eq(alk_connection_register_imported(f.c, &op, 1), ALK_OK);
    ck_assert_int_eq(alk_connection_feed(f.c, 0,
                                         TEXT("{\"type\":\"call.requested\",\"id\":\"1\","
                                              "\"payload\":{\"operationId\":\"/t/through\"}}")),
                     ALK_OK);
    world_turn(w);
    ck_assert_int_eq(f.opens, 1);
    node_totals(w->node, &t);
    for (unsigned i = 0; i < OUTCOMES; i++)
        ck_assert_uint_eq(t.sum.ended[CALL_OUTGOING][i], 0);
    ck_assert_uint_eq(t.sum.calls[CALL_OUTGOING], 0);
    ck_assert_uint_eq(t.sum.calls[CALL_NESTED], 1);
    expect_idle(w);
    alk_connection_unref(f.c);
    world_free(w);
}
END_TEST

/* ---- the order of ends ----------------------------------------------------------------------- */

static char ids_done[2000];

static void log_done(void *ud, const alk_log_event *e)
{
    (void)ud;
    if (strcmp(e->event, "call.state") || strcmp(e->message, "done"))
        return;
    strcat(strcat(ids_done, e->request_id), " ");
}

START_TEST(without_memory_for_an_abort_the_child_is_told_before_its_parents)
{
    struct world *w = world_new();
    struct served root = {0};
    struct asked nested;
    struct wire *r;
    alk_operation op;
    alk_call_options o;
    char outgoing[64], inner[64], order[200];

    add_op(w, &(struct op){.name = "t/root",
                           .handler = serve_later,
                           .ud = &root,
                           .environment = "{\"allowed_ops\":[\"x/*\"]}"});
    w->options.log = log_done;
    world_start(w);
    /* What is queued on a stream of its own needs memory. */
    r = wire_open_streams(w, NULL);
    op_fill(&op, &(struct op){.name = "x/y", .type = ALK_SUBSCRIPTION});
    ck_assert_int_eq(alk_connection_register_imported(r->conn, &op, 1), ALK_OK);
    wire_request(r, "root", "t/root", "null");
    world_turn(w);
    asked_options(&nested, &o);
    o.stream = 1;
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = r->conn;
    nest(&nested, &root, "x/y", "1", &o);
    snprintf(inner, sizeof inner, "%s", alk_call_id(nested.call));
    snprintf(outgoing, sizeof outgoing, "%s", wire_id(wire_next(r)));
    *ids_done = 0;
    w->memory.failed = false;
    w->memory.fail_in = 1;
    w->memory.fail_all = true;
    ck_assert_int_eq(alk_call_abort(nested.call), ALK_OK);
    ck_assert(w->memory.failed);
    w->memory.fail_in = 0;
    w->memory.failed = false;
    world_turn(w);
    snprintf(order, sizeof order, "%s %s root ", outgoing, inner);
    ck_assert_str_eq(ids_done, order);
    ck_assert_int_eq(r->closes, 1);
    ck_assert_int_eq(root.ends, 1);
    asked_free(&nested);
    served_free(&root);
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- walks through the peers ----------------------------------------------------------------- */

/* Three peers, each with a connection, and an ownership provider that closes the first two. */
struct owners {
    struct wire *peers[3], *client;
    int asked;
};

static int close_and_deny(struct owners *o)
{
    int i = o->asked++;

    if (i < 2)
        alk_connection_close(o->peers[i]->conn, ALK_CLOSE_SHUTDOWN);
    return i >= 2;
}

static int owners_owns(void *ud, const alk_identity *who, const char *type, const char *id,
                       const char *action)
{
    (void)who, (void)type, (void)id, (void)action;
    return close_and_deny(ud);
}

static int owners_owns_any(void *ud, const alk_identity *who, const char *type)
{
    (void)who, (void)type;
    return close_and_deny(ud);
}

static const char *const owners_calls[][3] = {
    {"peers/call", "{\"operation\":\"x/y\",\"input\":{\"id\":\"1\"}}", NULL},
    {"services/list-peers", "{}",
     "{\"peer_id\":\"p0\",\"operations\":[]},{\"peer_id\":\"p1\",\"operations\":[]},"
     "{\"peer_id\":\"p2\",\"operations\":[{\"name\":\"x/y\""},
};

START_TEST(a_walk_through_the_peers_outlives_those_that_a_provider_closes)
{
    struct owners o = {.asked = 0};
    alk_ownership_provider provider = {sizeof provider, owners_owns, owners_owns_any, &o};
    struct world *w = world_new();
    alk_connection_options co;
    alk_operation op;
    const char *said;

    w->options.ownership = &provider;
    ck_assert(!alk_registry_enable_peers(
        w->reg, TEXT("{\"authority\":{\"label\":\"d\"},\"allow\":[{\"peer\":\"*\","
                     "\"operations\":[\"x/y\"]}]}")));
    world_start(w);
    op_fill(&op, &(struct op){.name = "x/y",
                              .access = "{\"resource_type\":\"doc\",\"resource_action\":\"r\"}",
                              .resource_id_path = "/id"});
    for (int i = 0; i < 3; i++) {
        const char *const peer_names[] = {"p0", "p1", "p2"};

        side_options(&co, &(struct side){.id = peer_names[i], .kind = ALK_KIND_PEER});
        o.peers[i] = wire_open(w, &co);
        alk_identity_unref(co.identity);
        ck_assert(!alk_connection_register_imported(o.peers[i]->conn, &op, 1));
    }
    side_options(&co, &(struct side){.id = "me", .kind = ALK_KIND_KEY, .scopes = "[\"peers:*\"]"});
    o.client = wire_open(w, &co);
    alk_identity_unref(co.identity);
    wire_request(o.client, "1", owners_calls[_i][0], owners_calls[_i][1]);
    world_turn(w);
    ck_assert_int_eq(o.peers[0]->closes, 1);
    ck_assert_int_eq(o.peers[1]->closes, 1);
    said = wire_next(owners_calls[_i][2] ? o.client : o.peers[2]);
    ck_assert_ptr_nonnull(said);
    ck_assert_msg(strstr(said, owners_calls[_i][2] ? owners_calls[_i][2] : "\"/x/y\""), "%s", said);
    wire_free(o.client);
    for (int i = 0; i < 3; i++)
        wire_free(o.peers[i]);
    world_free(w);
}
END_TEST

/* ---- messages -------------------------------------------------------------------------------- */

START_TEST(the_large_answer_to_a_call_that_is_paused_is_kept_and_remembered)
{
    char *value = repeated("v", 20000, "{\"output\":\"", "\"}"), *text;
    size_t size = strlen(value) + 200;
    struct node n;
    struct asked a;
    char id[64];

    node_init(&n);
    node_ask(&n, &a, false, id);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    text = malloc(size);
    must(text);
    snprintf(text, size, "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":%s}", id, value);
    ck_assert_int_eq(wire_feed(n.r, text), ALK_OK);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    wire_expect_nothing(n.r);
    ck_assert_int_eq(a.values, 1);
    ck_assert_int_eq(a.why, ALK_END_OK);
    /* Who sends a second one is told to stop. */
    ck_assert_int_eq(wire_feed(n.r, text), ALK_OK);
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"call.aborted\""));
    free(value);
    free(text);
    asked_free(&a);
    node_fini(&n);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lifetimes");
    TCase *t = tcase_create("lifetimes");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, a_link_that_is_lost_while_it_sends_is_not_called_again);
    tcase_add_test(t, a_call_for_which_a_link_opens_no_stream_since_it_is_lost_is_refused);
    tcase_add_test(t,
                   a_forwarded_call_whose_caller_ends_with_that_link_is_not_counted_as_one_of_ours);
    tcase_add_test(t, without_memory_for_an_abort_the_child_is_told_before_its_parents);
    tcase_add_loop_test(t, a_walk_through_the_peers_outlives_those_that_a_provider_closes, 0, 2);
    tcase_add_test(t, the_large_answer_to_a_call_that_is_paused_is_kept_and_remembered);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
