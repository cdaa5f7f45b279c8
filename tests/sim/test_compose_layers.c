/* Where a nested call is looked for: registry, session, peers, one connection; and how deep and broad trees may be. */
#include "sim/composer.h"

/* ---- layers and selectors -------------------------------------------------------------------- */

/* A hub whose x/root composes; two peers and a browser serve names, some of which the hub or the session has as well. */
struct hub {
    struct world *w, *p1, *p2, *all[3];
    alk_connection *c1, *c1b, *c2, *c2b, *browser, *browserb;
    alk_registry *session;
    struct wire *client;
    struct served root, local, in_session, first, second;
};

static int serve_name(alk_call *call, void *ud)
{
    return alk_call_reply(call, TEXT((const char *)ud));
}

static void add_named(struct world *w, const char *name, const char *answer)
{
    add_op(w, &(struct op){.name = name, .handler = serve_name, .ud = (void *)answer});
}

static struct hub *hub_start(const char *environment)
{
    static const struct side hub = {.id = "hub", .kind = ALK_KIND_PEER};
    struct hub *h = calloc(1, sizeof *h);
    alk_connection_options o;
    alk_operation op;

    ck_assert_ptr_nonnull(h);
    h->all[0] = h->w = world_new();
    h->all[1] = h->p1 = world_new();
    h->all[2] = h->p2 = world_new();
    add_op(h->w, &(struct op){.name = "x/root",
                              .handler = serve_later,
                              .ud = &h->root,
                              .authority = COMPOSER,
                              .environment = environment});
    add_named(h->w, "x/everywhere", "\"registry\"");
    h->session = alk_registry_new();
    op_fill(&op, &(struct op){
                     .name = "x/everywhere", .handler = serve_name, .ud = (void *)"\"session\""});
    ck_assert_int_eq(alk_registry_add(h->session, &op), ALK_OK);
    op.name = "x/session";
    ck_assert_int_eq(alk_registry_add(h->session, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(h->session), ALK_OK);
    add_named(h->p1, "x/everywhere", "\"one\"");
    add_named(h->p1, "x/session", "\"one\"");
    add_named(h->p1, "x/peers", "\"one\"");
    add_named(h->p1, "x/only1", "\"one\"");
    add_named(h->p2, "x/everywhere", "\"two\"");
    add_named(h->p2, "x/peers", "\"two\"");
    add_named(h->p2, "x/only2", "\"two\"");
    for (int i = 0; i < 3; i++)
        world_start(h->all[i]);
    join(h->w, &(struct side){.id = "p1", .kind = ALK_KIND_PEER}, &h->c1, h->p1, &hub, &h->c1b);
    import_all(h->w, h->p1, h->c1, 4);
    join(h->w, &(struct side){.id = "p2", .kind = ALK_KIND_PEER}, &h->c2, h->p2, &hub, &h->c2b);
    import_all(h->w, h->p2, h->c2, 3);
    join(h->w, &(struct side){.id = "browser", .kind = ALK_KIND_KEY}, &h->browser, h->p2, &hub,
         &h->browserb);
    import_all(h->w, h->p2, h->browser, 3);
    side_options(&o, &(struct side){.id = "client", .session = h->session});
    h->client = wire_open(h->w, &o);
    alk_identity_unref(o.identity);
    wire_request(h->client, "1", "x/root", "null");
    world_turn(h->w);
    return h;
}

static void hub_free(struct hub *h)
{
    wire_free(h->client);
    served_free(&h->root);
    settle(h->all, 3);
    for (int i = 0; i < 3; i++)
        expect_idle(h->all[i]);
    alk_connection_unref(h->c1);
    alk_connection_unref(h->c1b);
    alk_connection_unref(h->c2);
    alk_connection_unref(h->c2b);
    alk_connection_unref(h->browser);
    alk_connection_unref(h->browserb);
    for (int i = 0; i < 3; i++)
        world_free(h->all[i]);
    alk_registry_unref(h->session);
    free(h);
}

static void expect_at(struct hub *h, const char *operation, uint32_t selector, const char *peer,
                      alk_connection *c, const char *want)
{
    alk_call_options o = {.size = sizeof o};
    struct asked a;
    const char *got;

    o.selector = selector;
    o.peer = peer;
    o.connection = c;
    nest(&a, &h->root, operation, "null", &o);
    settle(h->all, 3);
    got = a.code ? a.code : a.text;
    ck_assert_msg(a.ends == 1 && !strcmp(got, want), "%s (%u %s): %s, not %s", operation, selector,
                  peer ? peer : "-", got, want);
    asked_free(&a);
}

START_TEST(the_registry_comes_first_then_the_session_then_peers)
{
    struct hub *h = hub_start(EVERYTHING);

    expect_at(h, "x/everywhere", ALK_SELECT_LAYERS, NULL, NULL, "\"registry\"");
    expect_at(h, "x/session", ALK_SELECT_LAYERS, NULL, NULL, "\"session\"");
    expect_at(h, "x/only1", ALK_SELECT_LAYERS, NULL, NULL, "\"one\"");
    expect_at(h, "x/only2", ALK_SELECT_LAYERS, NULL, NULL, "\"two\"");
    expect_at(h, "x/nowhere", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND");
    expect_at(h, "z/elsewhere", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND");
    hub_free(h);
}
END_TEST

START_TEST(selectors_take_peers_one_peer_or_one_connection_and_never_fall_back)
{
    struct hub *h = hub_start(EVERYTHING);

    expect_at(h, "x/session", ALK_SELECT_ANY, NULL, NULL, "\"one\"");
    expect_at(h, "x/only2", ALK_SELECT_ANY, NULL, NULL, "\"two\"");
    expect_at(h, "x/root", ALK_SELECT_ANY, NULL, NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "p1", NULL, "\"one\"");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "p2", NULL, "\"two\"");
    expect_at(h, "x/session", ALK_SELECT_PEER, "p2", NULL, "NOT_FOUND");
    expect_at(h, "x/only1", ALK_SELECT_PEER, "p2", NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "p3", NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "local", NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "", NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_PEER, "browser", NULL, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_CONNECTION, NULL, h->c2, "\"two\"");
    expect_at(h, "x/everywhere", ALK_SELECT_CONNECTION, NULL, h->browser, "\"two\"");
    expect_at(h, "x/only1", ALK_SELECT_CONNECTION, NULL, h->browser, "NOT_FOUND");
    hub_free(h);
}
END_TEST

START_TEST(a_connection_that_is_closed_serves_nothing)
{
    struct hub *h = hub_start(EVERYTHING);

    alk_connection_close(h->browser, ALK_CLOSE_SHUTDOWN);
    expect_at(h, "x/only2", ALK_SELECT_CONNECTION, NULL, h->browser, "NOT_FOUND");
    settle(h->all, 3);
    expect_at(h, "x/only2", ALK_SELECT_CONNECTION, NULL, h->browser, "NOT_FOUND");
    expect_at(h, "x/only2", ALK_SELECT_ANY, NULL, NULL, "\"two\"");
    alk_connection_close(h->c2b, ALK_CLOSE_SHUTDOWN);
    settle(h->all, 3);
    expect_at(h, "x/only2", ALK_SELECT_ANY, NULL, NULL, "NOT_FOUND");
    expect_at(h, "x/only2", ALK_SELECT_PEER, "p2", NULL, "NOT_FOUND");
    hub_free(h);
}
END_TEST

START_TEST(the_environment_counts_for_every_selector)
{
    struct hub *h = hub_start("{\"allowed_ops\":[\"x/only1\"]}");

    expect_at(h, "x/only1", ALK_SELECT_ANY, NULL, NULL, "\"one\"");
    expect_at(h, "x/only2", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND");
    expect_at(h, "x/only2", ALK_SELECT_ANY, NULL, NULL, "NOT_FOUND");
    expect_at(h, "x/only2", ALK_SELECT_PEER, "p2", NULL, "NOT_FOUND");
    expect_at(h, "x/only2", ALK_SELECT_CONNECTION, NULL, h->c2, "NOT_FOUND");
    expect_at(h, "x/everywhere", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND");
    hub_free(h);
}
END_TEST

START_TEST(a_pinned_operation_is_reachable_on_its_peer_and_nowhere_else)
{
    /* x/everywhere is in the registry and on both peers; x/peers on both peers. */
    struct hub *h = hub_start("{\"allowed_ops\":[\"x/*\"],\"peer_pinned\":[\"p2/x/"
                              "everywhere\",\"p2/x/peers\",\"gone/x/only1\",\"browser/x/only2\"]}");

    expect_at(h, "x/everywhere", ALK_SELECT_LAYERS, NULL, NULL, "\"two\"");
    expect_at(h, "x/peers", ALK_SELECT_LAYERS, NULL, NULL, "\"two\"");
    expect_at(h, "x/peers", ALK_SELECT_ANY, NULL, NULL, "\"two\"");
    expect_at(h, "x/peers", ALK_SELECT_PEER, "p2", NULL, "\"two\"");
    expect_at(h, "x/peers", ALK_SELECT_PEER, "p1", NULL, "NOT_FOUND");
    expect_at(h, "x/peers", ALK_SELECT_CONNECTION, NULL, h->c2, "\"two\"");
    expect_at(h, "x/peers", ALK_SELECT_CONNECTION, NULL, h->c1, "NOT_FOUND");
    expect_at(h, "x/peers", ALK_SELECT_CONNECTION, NULL, h->browser, "NOT_FOUND");
    expect_at(h, "x/only1", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND"); /* its peer is not there */
    expect_at(h, "x/only2", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND"); /* a browser is no peer */
    expect_at(h, "x/session", ALK_SELECT_LAYERS, NULL, NULL, "\"session\"");
    hub_free(h);
}
END_TEST

START_TEST(a_name_pinned_only_needs_no_place_in_allowed_ops)
{
    struct hub *h = hub_start("{\"peer_pinned\":[\"p2/x/only2\",\"p1/x/peers\",\"p2/x/peers\"]}");

    expect_at(h, "x/only2", ALK_SELECT_LAYERS, NULL, NULL, "\"two\"");
    expect_at(h, "x/only1", ALK_SELECT_LAYERS, NULL, NULL, "NOT_FOUND");
    expect_at(h, "x/peers", ALK_SELECT_PEER, "p1", NULL, "\"one\"");
    expect_at(h, "x/peers", ALK_SELECT_PEER, "p2", NULL, "\"two\"");
    alk_connection_close(h->c1, ALK_CLOSE_SHUTDOWN);
    settle(h->all, 3);
    expect_at(h, "x/peers", ALK_SELECT_LAYERS, NULL, NULL, "\"two\"");
    hub_free(h);
}
END_TEST

/* ---- deadlines and limits -------------------------------------------------------------------- */

START_TEST(the_parents_earlier_deadline_ends_the_child_and_the_caller_sees_timeout)
{
    struct composer *n = composer_new();
    struct served child = {0};
    alk_call_options o = {.size = sizeof o};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n, ",\"timeout_ms\":100");
    o.timeout_ms = 5000;
    nest(&a, &n->root, "x/child", "null", &o);
    world_turn(n->w);
    ck_assert_uint_eq(context_of(child.call).deadline, context_of(n->root.call).deadline);
    world_advance(n->w, 99);
    ck_assert_int_eq(child.ends, 0);
    world_advance(n->w, 1);
    ck_assert_int_eq(child.ends, 1);
    ck_assert_int_eq(n->root.ends, 1);
    ck_assert_int_eq(n->root.why, ALK_END_TIMEOUT);
    ck_assert_int_lt(child.order, n->root.order);
    wire_expect_error(n->client, "root", "TIMEOUT", "the deadline has passed");
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

START_TEST(a_child_has_30_seconds_under_a_subscription_and_its_own_time_when_that_is_given)
{
    struct world *w = world_new();
    struct served root = {0}, child = {0};
    struct wire *client;
    alk_call_options o = {.size = sizeof o};
    struct asked a, b, c;

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
    ck_assert_uint_eq(context_of(root.call).deadline, UINT64_MAX);
    nest(&a, &root, "x/child", "null", NULL);
    world_turn(w);
    ck_assert_uint_eq(context_of(child.call).deadline, w->now + 30000 * MS);
    world_advance(w, 30000);
    ck_assert_str_eq(asked_outcome(&a), "timeout TIMEOUT: the deadline has passed");
    ck_assert_int_eq(a.retryable, 1);
    ck_assert_int_eq(child.why, ALK_END_TIMEOUT);
    ck_assert_int_eq(root.ends, 0);
    o.timeout_ms = 20;
    nest(&b, &root, "x/child", "null", &o);
    world_turn(w);
    world_advance(w, 20);
    ck_assert_str_eq(b.code, "TIMEOUT");
    o.timeout_ms = 60000;
    nest(&c, &root, "x/child", "null", &o);
    world_turn(w);
    ck_assert_uint_eq(context_of(child.call).deadline, w->now + 60000 * MS);
    wire_abort(client, "1");
    world_turn(w);
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    served_free(&root);
    served_free(&child);
    wire_free(client);
    world_free(w);
}
END_TEST

START_TEST(the_depth_of_the_tree_is_limited)
{
    struct world *w = world_new();
    struct served level[8];
    struct asked a[8];
    struct wire *client;
    char name[8][32];

    memset(level, 0, sizeof level);
    w->limits.call_depth = 5;
    for (int i = 0; i < 8; i++) {
        snprintf(name[i], sizeof name[i], "x/level%d", i);
        add_op(w, &(struct op){.name = name[i],
                               .handler = serve_later,
                               .ud = &level[i],
                               .environment = EVERYTHING});
    }
    world_start(w);
    client = wire_open(w, NULL);
    wire_request(client, "1", "x/level0", "null");
    world_turn(w);
    for (int i = 1; i <= 5; i++) {
        nest(&a[i], &level[i - 1], name[i], "null", NULL);
        world_turn(w);
        ck_assert_int_eq(level[i].starts, 1);
    }
    nest(&a[6], &level[5], name[6], "null", NULL);
    world_turn(w);
    ck_assert_str_eq(a[6].code, "BUSY");
    ck_assert_int_eq(level[6].starts, 0);
    ck_assert_int_eq(level[5].ends, 0);
    wire_abort(client, "1");
    world_turn(w);
    for (int i = 1; i <= 6; i++)
        asked_free(&a[i]);
    for (int i = 0; i < 8; i++)
        served_free(&level[i]);
    wire_free(client);
    world_free(w);
}
END_TEST

START_TEST(the_children_of_a_root_are_limited_and_the_ended_ones_do_not_count)
{
    struct composer *n = composer_new();
    struct served child = {0};
    struct asked a[5];

    n->w->limits.call_children = 3;
    world_add(n->w, "x/echo", ALK_QUERY, serve_echo, NULL);
    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n, NULL);
    for (int i = 0; i < 20; i++)
        expect_nested(n, "x/echo", NULL, "ok null");
    for (int i = 0; i < 4; i++)
        nest(&a[i], &n->root, "x/child", "null", NULL);
    world_turn(n->w);
    ck_assert_int_eq(child.starts, 3);
    ck_assert_str_eq(a[3].code, "BUSY");
    ck_assert_int_eq(a[3].retryable, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(a[i].ends, 0);
    served_reply(&n->root, "1");
    served_free(&child);
    world_turn(n->w);
    for (int i = 0; i < 4; i++)
        asked_free(&a[i]);
    composer_free(n);
}
END_TEST

START_TEST(a_child_starts_in_the_same_turn_and_not_inside_the_callers_frame)
{
    struct composer *n = composer_new();
    struct served child = {0};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n, NULL);
    nest(&a, &n->root, "x/child", "null", NULL);
    ck_assert_int_eq(child.starts, 0);
    alk_dispatcher_turn(n->w->d, n->w->now);
    ck_assert_int_eq(child.starts, 1);
    served_reply(&child, "1");
    ck_assert_int_eq(a.ends, 0);
    alk_dispatcher_turn(n->w->d, n->w->now);
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    asked_free(&a);
    served_free(&child);
    composer_free(n);
}
END_TEST

MAIN("compose_layers", the_registry_comes_first_then_the_session_then_peers,
     selectors_take_peers_one_peer_or_one_connection_and_never_fall_back,
     a_connection_that_is_closed_serves_nothing, the_environment_counts_for_every_selector,
     a_pinned_operation_is_reachable_on_its_peer_and_nowhere_else,
     a_name_pinned_only_needs_no_place_in_allowed_ops,
     the_parents_earlier_deadline_ends_the_child_and_the_caller_sees_timeout,
     a_child_has_30_seconds_under_a_subscription_and_its_own_time_when_that_is_given,
     the_depth_of_the_tree_is_limited,
     the_children_of_a_root_are_limited_and_the_ended_ones_do_not_count,
     a_child_starts_in_the_same_turn_and_not_inside_the_callers_frame)
