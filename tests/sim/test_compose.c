/* Composition: what a handler reaches when it calls others, whom it acts as, and how the calls below it live and end. The
 * handlers here answer later (struct served), so that the test makes their nested calls and sees every step. */
#include "sim/compose.h"

#define EVERYTHING "{\"allowed_ops\":[\"x/*\",\"y/*\"]}"
#define COMPOSER "{\"label\":\"composer\",\"scopes\":[\"x:use\"]}"
#define MIB (1u << 20)

struct node {
    struct world *w;
    struct wire *client;
    struct served root; /* of the operation x/root, which may reach all of x/ and y/ */
};

/* One node with x/root; more operations are added by the test before node_start. */
static struct node *node_new_(void)
{
    struct node *n = calloc(1, sizeof *n);

    ck_assert_ptr_nonnull(n);
    n->w = world_new();
    add_op(n->w, &(struct op){.name = "x/root",
                              .handler = serve_later,
                              .ud = &n->root,
                              .authority = COMPOSER,
                              .environment = EVERYTHING});
    return n;
}

/* Starts it and calls x/root as a client of its own. */
static void node_start(struct node *n, const char *extra)
{
    alk_connection_options o;

    world_start(n->w);
    side_options(
        &o, &(struct side){.id = "client", .scopes = "[\"client:only\"]", .kind = ALK_KIND_KEY});
    n->client = wire_open(n->w, &o);
    alk_identity_unref(o.identity);
    wire_request_with(n->client, "root", "x/root", "null", extra ? extra : "");
    world_turn(n->w);
    ck_assert_int_eq(n->root.starts, 1);
}

static void node_free(struct node *n)
{
    wire_free(n->client);
    served_free(&n->root);
    expect_idle(n->w);
    world_free(n->w);
    free(n);
}

static void expect_nested(struct node *n, const char *operation, const alk_call_options *o,
                          const char *outcome)
{
    struct asked a;

    nest(&a, &n->root, operation, "null", o);
    world_turn(n->w);
    ck_assert_str_eq(asked_outcome(&a), outcome);
    asked_free(&a);
}

/* ---- reachability ------------------------------------------------------------------------------ */

START_TEST(without_an_environment_nothing_is_reachable)
{
    struct world *w = world_new();
    struct served root = {0}, open = {0};
    struct wire *client;
    struct asked a;

    add_op(w, &(struct op){
                  .name = "x/root", .handler = serve_later, .ud = &root, .authority = COMPOSER});
    world_add(w, "x/open", ALK_QUERY, serve_later, &open);
    world_start(w);
    client = wire_open(w, NULL);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    nest(&a, &root, "x/open", "null", NULL);
    world_turn(w);
    ck_assert_str_eq(asked_outcome(&a), "fault NOT_FOUND: operation not found: x/open");
    ck_assert_int_eq(a.retryable, 0);
    ck_assert_int_eq(open.starts, 0);
    asked_free(&a);
    wire_free(client);
    served_free(&root);
    world_free(w);
}
END_TEST

START_TEST(an_environment_names_operations_and_whole_namespaces)
{
    static const struct {
        const char *name;
        bool found;
    } rows[] = {
        {"a/one", true},    {"/a/one", true},   {"a/two", false}, {"a/one/more", false},
        {"b/any", true},    {"b/c/deep", true}, {"b", false},     {"bb/any", false},
        {"c/star*", false}, {"b/", false},      {"", false},      {"a/on", false},
    };
    struct world *w = world_new();
    struct served root = {0};
    struct wire *client;
    struct asked a;

    add_op(w, &(struct op){.name = "x/root",
                           .handler = serve_later,
                           .ud = &root,
                           .environment = "{\"allowed_ops\":[\"a/one\",\"b/*\"]}"});
    for (size_t i = 0; i < 7; i++) {
        if (rows[i].name[0] != '/')
            world_add(w, rows[i].name, ALK_QUERY, serve_echo, NULL);
    }
    world_add(w, "bb/any", ALK_QUERY, serve_echo, NULL);
    world_start(w);
    client = wire_open(w, NULL);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nest(&a, &root, rows[i].name, "7", NULL);
        world_turn(w);
        ck_assert_msg(a.ends == 1 && (rows[i].found ? a.why == ALK_END_OK
                                                    : a.code && !strcmp(a.code, "NOT_FOUND")),
                      "%s: %s", rows[i].name, asked_outcome(&a));
        asked_free(&a);
    }
    wire_free(client);
    served_free(&root);
    world_free(w);
}
END_TEST

START_TEST(internal_operations_are_reached_by_nested_calls_only)
{
    struct node *n = node_new_();

    add_op(n->w, &(struct op){
                     .name = "x/internal", .visibility = ALK_INTERNAL_ONLY, .handler = serve_echo});
    node_start(n, NULL);
    expect_nested(n, "x/internal", NULL, "ok null");
    wire_request(n->client, "2", "x/internal", "null");
    wire_expect_error(n->client, "2", "NOT_FOUND", "operation not found: x/internal");
    /* Nothing in a request makes it nested. */
    wire_request_with(n->client, "3", "x/internal", "null",
                      ",\"internal\":true,\"parent_request_id\":\"root\"");
    wire_expect_error(n->client, "3", "NOT_FOUND", "operation not found: x/internal");
    node_free(n);
}
END_TEST

START_TEST(lookup_access_type_and_input_are_checked_in_this_order)
{
    struct node *n = node_new_();
    alk_call_options stream;

    add_op(n->w, &(struct op){.name = "x/denied",
                              .handler = serve_echo,
                              .access = "{\"required_scopes\":[\"other:one\"]}",
                              .input = "{\"type\":\"string\"}"});
    add_op(n->w, &(struct op){.name = "x/typed",
                              .handler = serve_echo,
                              .access = "{\"required_scopes\":[\"x:use\"]}",
                              .input = "{\"type\":\"string\"}"});
    add_op(n->w, &(struct op){.name = "x/stream",
                              .type = ALK_SUBSCRIPTION,
                              .handler = serve_later,
                              .ud = &n->root});
    node_start(n, NULL);
    alk_call_options_init(&stream);
    stream.stream = 1;
    expect_nested(n, "x/denied", &stream, "fault FORBIDDEN: not allowed to call x/denied");
    expect_nested(n, "x/typed", &stream,
                  "fault INVALID_OPERATION_TYPE: x/typed is not a subscription");
    expect_nested(n, "x/stream", NULL, "fault INVALID_OPERATION_TYPE: x/stream is a subscription");
    {
        struct asked a;

        nest(&a, &n->root, "x/typed", "7", NULL);
        world_turn(n->w);
        ck_assert_str_eq(a.code, "INVALID_INPUT");
        ck_assert_ptr_nonnull(strstr(a.details, "\"keyword\":\"type\""));
        asked_free(&a);
        nest(&a, &n->root, "x/typed", "\"seven\"", NULL);
        world_turn(n->w);
        ck_assert_str_eq(asked_outcome(&a), "ok \"seven\"");
        asked_free(&a);
    }
    node_free(n);
}
END_TEST

START_TEST(a_nested_call_that_cannot_begin_says_so_at_once)
{
    struct node *n = node_new_();
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/echo", ALK_QUERY, serve_echo, NULL);
    node_start(n, NULL);
    asked_options(&a, &o);
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("{"), &o, NULL), ALK_EJSON);
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT(""), &o, NULL), ALK_EJSON);
    o.selector = ALK_SELECT_PEER;
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    o.selector = ALK_SELECT_CONNECTION;
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    o.selector = 7;
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    o.selector = 0;
    o.policy = 7;
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    o.policy = 0;
    served_reply(&n->root, "1");
    ck_assert_int_eq(alk_call_invoke(n->root.call, TEXT("x/echo"), TEXT("1"), &o, NULL),
                     ALK_EENDED);
    world_turn(n->w);
    ck_assert_int_eq(a.ends, 0);
    asked_free(&a);
    node_free(n);
}
END_TEST

/* ---- who, for whom ----------------------------------------------------------------------------- */

START_TEST(the_composers_authority_is_checked_not_the_callers_nor_the_childs)
{
    struct node *n = node_new_();
    struct served child = {0}, leaf = {0};
    struct asked a, b;

    add_op(n->w, &(struct op){.name = "x/callers",
                              .handler = serve_echo,
                              .access = "{\"required_scopes\":[\"client:only\"]}"});
    add_op(n->w, &(struct op){.name = "x/own",
                              .handler = serve_echo,
                              .access = "{\"required_scopes\":[\"own:scope\"]}",
                              .authority = "{\"label\":\"own\",\"scopes\":[\"own:scope\"]}"});
    add_op(n->w, &(struct op){.name = "x/mine",
                              .handler = serve_later,
                              .ud = &child,
                              .access = "{\"required_scopes\":[\"x:use\"]}",
                              .authority = "{\"label\":\"child\",\"scopes\":[\"y:use\"]}",
                              .environment = EVERYTHING});
    add_op(n->w, &(struct op){.name = "y/leaf",
                              .handler = serve_later,
                              .ud = &leaf,
                              .access = "{\"required_scopes\":[\"y:use\"]}"});
    node_start(n, NULL);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(n->root.call)), "client");
    expect_nested(n, "x/callers", NULL, "fault FORBIDDEN: not allowed to call x/callers");
    expect_nested(n, "x/own", NULL, "fault FORBIDDEN: not allowed to call x/own");
    expect_nested(n, "y/leaf", NULL, "fault FORBIDDEN: not allowed to call y/leaf");
    nest(&a, &n->root, "x/mine", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(child.call)), "handler:composer");
    ck_assert_str_eq(alk_identity_id(alk_call_originator(child.call)), "client");
    nest(&b, &child, "y/leaf", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(leaf.call)), "handler:child");
    ck_assert_str_eq(alk_identity_id(alk_call_originator(leaf.call)), "client");
    served_reply(&leaf, "1");
    world_turn(n->w);
    served_reply(&child, "2");
    world_turn(n->w);
    ck_assert_str_eq(asked_outcome(&a), "ok 2");
    ck_assert_str_eq(asked_outcome(&b), "ok 1");
    asked_free(&a);
    asked_free(&b);
    served_free(&child);
    served_free(&leaf);
    node_free(n);
}
END_TEST

START_TEST(a_composer_without_authority_is_nobody)
{
    struct world *w = world_new();
    struct served root = {0};
    struct wire *client;
    struct asked a;
    alk_connection_options o;

    add_op(w,
           &(struct op){
               .name = "x/root", .handler = serve_later, .ud = &root, .environment = EVERYTHING});
    add_op(w, &(struct op){
                  .name = "x/any", .handler = serve_echo, .access = "{\"authenticated\":true}"});
    world_start(w);
    side_options(&o, &(struct side){.id = "client", .scopes = "[\"x:*\"]"});
    client = wire_open(w, &o);
    alk_identity_unref(o.identity);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    nest(&a, &root, "x/any", "null", NULL);
    world_turn(w);
    ck_assert_str_eq(asked_outcome(&a), "fault FORBIDDEN: authentication required");
    asked_free(&a);
    wire_free(client);
    served_free(&root);
    world_free(w);
}
END_TEST

START_TEST(a_child_has_an_id_of_its_own_and_its_parents_trace)
{
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    static const char other[] = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    struct node *n = node_new_();
    struct served child = {0};
    struct asked a, b;
    alk_call_options o;
    char id[64];

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, ",\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"");
    ck_assert_ptr_null(alk_call_parent_id(n->root.call));
    nest(&a, &n->root, "x/child", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(alk_call_parent_id(child.call), "root");
    ck_assert_str_eq(alk_call_traceparent(child.call), trace);
    ck_assert_uint_eq(strlen(alk_call_id(child.call)), 36);
    snprintf(id, sizeof id, "%s", alk_call_id(child.call));
    served_reply(&child, "1");
    alk_call_options_init(&o);
    o.traceparent = other;
    nest(&b, &n->root, "x/child", "null", &o);
    world_turn(n->w);
    ck_assert_str_ne(alk_call_id(child.call), id);
    ck_assert_str_eq(alk_call_traceparent(child.call), other);
    asked_free(&a);
    served_reply(&child, "1");
    world_turn(n->w);
    asked_free(&b);
    served_free(&child);
    node_free(n);
}
END_TEST

/* ---- capabilities ------------------------------------------------------------------------------ */

static const char *secret(const struct served *s, const char *name)
{
    size_t len;
    const char *p = alk_call_capability(s->call, name, &len);

    ck_assert_uint_eq(len, p ? strlen(p) : 0);
    return p ? p : "-";
}

static alk_capabilities *caps(const char *a, const char *b)
{
    alk_capabilities *c = alk_capabilities_new();

    ck_assert_int_eq(alk_capabilities_set(c, a, a, strlen(a)), ALK_OK);
    if (b)
        ck_assert_int_eq(alk_capabilities_set(c, b, b, strlen(b)), ALK_OK);
    return c;
}

START_TEST(a_child_has_its_own_capabilities_and_those_named_by_its_parent)
{
    struct world *w = world_new();
    struct served root = {0}, child = {0}, grandchild = {0}, session = {0};
    alk_capabilities *of_root = caps("k1", "k2"), *of_child = caps("k3", "k1");
    alk_registry *session_ops = alk_registry_new();
    alk_connection_options co;
    alk_call_options o;
    struct asked a, b, c;
    struct wire *client;
    alk_operation op;

    add_op(w, &(struct op){.name = "x/root",
                           .handler = serve_later,
                           .ud = &root,
                           .environment = EVERYTHING,
                           .capabilities = of_root});
    add_op(w, &(struct op){.name = "x/child",
                           .handler = serve_later,
                           .ud = &child,
                           .environment = EVERYTHING,
                           .capabilities = of_child});
    add_op(w, &(struct op){.name = "x/grandchild", .handler = serve_later, .ud = &grandchild});
    world_start(w);
    op_fill(&op, &(struct op){.name = "x/session", .handler = serve_later, .ud = &session});
    ck_assert(!alk_registry_add(session_ops, &op) && !alk_registry_freeze(session_ops));
    side_options(&co, &(struct side){.id = "client", .session = session_ops});
    client = wire_open(w, &co);
    alk_identity_unref(co.identity);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    alk_call_options_init(&o);
    o.capabilities = "k2 missing";
    nest(&a, &root, "x/child", "null", &o);
    nest(&c, &root, "x/session", "null", &o);
    world_turn(w);
    ck_assert_str_eq(secret(&child, "k1"), "k1");
    ck_assert_str_eq(secret(&child, "k2"), "k2");
    ck_assert_str_eq(secret(&child, "k3"), "k3");
    ck_assert_str_eq(secret(&child, "missing"), "-");
    ck_assert_int_eq(session.starts, 1);
    ck_assert_str_eq(secret(&session, "k2"), "-");
    o.capabilities = "k2";
    nest(&b, &child, "x/grandchild", "null", &o);
    world_turn(w);
    ck_assert_str_eq(secret(&grandchild, "k2"), "k2");
    ck_assert_str_eq(secret(&grandchild, "k1"), "-");
    ck_assert_str_eq(secret(&grandchild, "k3"), "-");
    wire_abort(client, "1");
    world_turn(w);
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    served_free(&root);
    served_free(&child);
    served_free(&grandchild);
    served_free(&session);
    wire_free(client);
    world_free(w);
    alk_registry_unref(session_ops);
    alk_capabilities_free(of_root);
    alk_capabilities_free(of_child);
}
END_TEST

START_TEST(a_child_does_not_get_what_was_not_named)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_capabilities *none = caps("own", NULL);
    struct asked a;

    add_op(n->w,
           &(struct op){
               .name = "x/child", .handler = serve_later, .ud = &child, .capabilities = none});
    node_start(n, NULL);
    nest(&a, &n->root, "x/child", "{\"capabilities\":\"own\"}", NULL);
    world_turn(n->w);
    ck_assert_str_eq(secret(&child, "own"), "own");
    ck_assert_str_eq(secret(&n->root, "own"), "-");
    served_reply(&child, "1");
    world_turn(n->w);
    asked_free(&a);
    served_free(&child);
    alk_capabilities_free(none);
    node_free(n);
}
END_TEST

/* ---- layers and selectors ---------------------------------------------------------------------- */

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
    alk_call_options o;
    struct asked a;
    const char *got;

    alk_call_options_init(&o);
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

/* ---- deadlines and limits ---------------------------------------------------------------------- */

START_TEST(the_parents_earlier_deadline_ends_the_child_and_the_caller_sees_timeout)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, ",\"timeout_ms\":100");
    alk_call_options_init(&o);
    o.timeout_ms = 5000;
    nest(&a, &n->root, "x/child", "null", &o);
    world_turn(n->w);
    ck_assert_uint_eq(alk_call_deadline(child.call), alk_call_deadline(n->root.call));
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
    node_free(n);
}
END_TEST

START_TEST(a_child_has_30_seconds_under_a_subscription_and_its_own_time_when_that_is_given)
{
    struct world *w = world_new();
    struct served root = {0}, child = {0};
    struct wire *client;
    alk_call_options o;
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
    ck_assert_uint_eq(alk_call_deadline(root.call), UINT64_MAX);
    nest(&a, &root, "x/child", "null", NULL);
    world_turn(w);
    ck_assert_uint_eq(alk_call_deadline(child.call), w->now + 30000 * MS);
    world_advance(w, 30000);
    ck_assert_str_eq(asked_outcome(&a), "timeout TIMEOUT: the deadline has passed");
    ck_assert_int_eq(a.retryable, 1);
    ck_assert_int_eq(child.why, ALK_END_TIMEOUT);
    ck_assert_int_eq(root.ends, 0);
    alk_call_options_init(&o);
    o.timeout_ms = 20;
    nest(&b, &root, "x/child", "null", &o);
    world_turn(w);
    world_advance(w, 20);
    ck_assert_str_eq(b.code, "TIMEOUT");
    o.timeout_ms = 60000;
    nest(&c, &root, "x/child", "null", &o);
    world_turn(w);
    ck_assert_uint_eq(alk_call_deadline(child.call), w->now + 60000 * MS);
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
    struct node *n = node_new_();
    struct served child = {0};
    struct asked a[5];

    n->w->limits.call_children = 3;
    world_add(n->w, "x/echo", ALK_QUERY, serve_echo, NULL);
    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, NULL);
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
    node_free(n);
}
END_TEST

START_TEST(a_child_starts_in_the_same_turn_and_not_inside_the_callers_frame)
{
    struct node *n = node_new_();
    struct served child = {0};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, NULL);
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
    node_free(n);
}
END_TEST

/* ---- ends and policies ------------------------------------------------------------------------- */

struct policies {
    struct node *n;
    struct served keep, plain, inner, inner_plain, late;
    struct asked a_keep, a_plain, a_inner, a_inner_plain, a_late;
};

/* root → keep (continue-running) → inner (inherits), inner_plain (abort-dependents); root → plain. */
static struct policies *policies_start(void)
{
    struct policies *p = calloc(1, sizeof *p);
    alk_call_options o;

    ck_assert_ptr_nonnull(p);
    p->n = node_new_();
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
    node_start(p->n, NULL);
    alk_call_options_init(&o);
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
    node_free(p->n);
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
    alk_dispatcher_cancel_all(p->n->w->d);
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
    alk_connection_options o;
    alk_connection_options_init(&o);
    free(p->n->client->sent);
    free(p->n->client->streams);
    free(p->n->client);
    p->n->client = wire_open(p->n->w, &o);
    policies_free(p);
}
END_TEST

START_TEST(a_child_that_has_not_started_does_not_start_after_its_parents_end)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, NULL);
    alk_call_options_init(&o);
    o.policy = ALK_CONTINUE_RUNNING;
    nest(&a, &n->root, "x/child", "null", &o);
    served_reply(&n->root, "1");
    world_turn(n->w);
    ck_assert_int_eq(child.starts, 0);
    ck_assert_str_eq(asked_outcome(&a), "aborted");
    asked_free(&a);
    node_free(n);
}
END_TEST

START_TEST(a_childs_failure_is_its_parents_to_judge)
{
    struct node *n = node_new_();
    struct served child = {0};
    struct asked a;

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    node_start(n, NULL);
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
    node_free(n);
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

/* ---- streams ----------------------------------------------------------------------------------- */

static void stream_options(alk_call_options *o)
{
    alk_call_options_init(o);
    o->stream = 1;
}

START_TEST(a_nested_subscription_delivers_values_in_order_and_its_completion)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    node_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    for (int i = 0; i < 100; i++) {
        char text[16];

        snprintf(text, sizeof text, "%d", i);
        served_emit(&child, text);
        if (i % 7 == 0)
            world_turn(n->w);
    }
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, 100);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_OK);
    ck_assert_ptr_nonnull(strstr(a.text, "0 1 2 3"));
    ck_assert_ptr_nonnull(strstr(a.text, "97 98 99"));
    asked_free(&a);
    served_free(&child);
    node_free(n);
}
END_TEST

static char *big(size_t n)
{
    char *s = malloc(n + 1);

    ck_assert_ptr_nonnull(s);
    memset(s, 'x', n);
    s[0] = s[n - 1] = '"';
    s[n] = 0;
    return s;
}

START_TEST(a_paused_nested_subscription_pushes_back_and_drains_after_resume)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;
    char *text = big(10000);
    int taken = 0;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    node_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    while (alk_call_emit(child.call, TEXT(text)) == ALK_OK && taken < 1000)
        taken++;
    ck_assert_int_ge(taken, 20); /* 256 KiB, more or less a value */
    ck_assert_int_le(taken, 30);
    world_turn(n->w);
    ck_assert_int_eq(a.values, 0);
    ck_assert_int_eq(child.drains, 0);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, taken);
    ck_assert_int_eq(child.drains, 1);
    ck_assert_int_eq(alk_call_emit(child.call, TEXT(text)), ALK_OK);
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.values, taken + 1);
    ck_assert_int_eq(a.ends, 1);
    asked_free(&a);
    served_free(&child);
    free(text);
    node_free(n);
}
END_TEST

static void abort_itself(struct asked *a)
{
    alk_call_abort(a->call);
}

static void pause_itself(struct asked *a)
{
    alk_call_pause(a->call, 1);
}

START_TEST(a_subscriber_that_aborts_in_its_callback_gets_no_more_values)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    node_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    a.on_value = abort_itself;
    world_turn(n->w);
    for (int i = 0; i < 5; i++)
        served_emit(&child, "1");
    world_turn(n->w);
    ck_assert_int_eq(a.values, 1);
    ck_assert_str_eq(asked_outcome(&a), "aborted 1");
    ck_assert_int_eq(child.why, ALK_END_ABORTED);
    asked_free(&a);
    served_free(&child);
    node_free(n);
}
END_TEST

START_TEST(a_subscriber_that_pauses_in_its_callback_gets_one_value_at_a_time)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    node_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    a.on_value = pause_itself;
    world_turn(n->w);
    for (int i = 0; i < 5; i++)
        served_emit(&child, "1");
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    for (int i = 1; i <= 5; i++) {
        world_turn(n->w);
        ck_assert_int_eq(a.values, i);
        ck_assert_int_eq(a.ends, i == 5); /* nothing is kept any more: the end need not wait */
        alk_call_pause(a.call, 0);
    }
    ck_assert_str_eq(asked_outcome(&a), "ok 1 1 1 1 1");
    asked_free(&a);
    served_free(&child);
    node_free(n);
}
END_TEST

START_TEST(a_paused_child_ends_with_its_parent_even_if_it_has_completed)
{
    struct node *n = node_new_();
    struct served child = {0};
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/stream", ALK_SUBSCRIPTION, serve_later, &child);
    node_start(n, NULL);
    stream_options(&o);
    nest(&a, &n->root, "x/stream", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    served_emit(&child, "1");
    ck_assert_int_eq(alk_call_complete(child.call), ALK_OK);
    world_turn(n->w);
    ck_assert_int_eq(a.ends, 0);
    served_reply(&n->root, "1");
    world_turn(n->w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.values, 0);
    ck_assert_int_lt(a.order, n->root.order);
    asked_free(&a);
    served_free(&child);
    node_free(n);
}
END_TEST

/* ---- outgoing subscriptions on a wire ---------------------------------------------------------- */

static void feed_value(struct wire *r, uint64_t stream, const char *id, const char *text)
{
    size_t size = strlen(text) + 200;
    char *e = malloc(size);

    snprintf(e, size, "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}", id,
             text);
    wire_feed_on(r, stream, e);
    free(e);
}

START_TEST(a_paused_subscription_on_a_shared_stream_keeps_a_mebibyte_and_ends_as_too_slow)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;
    int i;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (i = 0; i < 15; i++)
        feed_value(r, 0, id, text);
    world_turn(w);
    ck_assert_int_eq(a.ends, 0);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.values, 15);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (i = 0; i < 17; i++)
        feed_value(r, 0, id, text);
    {
        char want[200];

        snprintf(want, sizeof want, "{\"type\":\"call.aborted\",\"id\":\"%s\",\"payload\":{}}", id);
        ck_assert_str_eq(wire_next(r), want);
    }
    alk_call_pause(a.call, 0); /* what was kept may still come before the end */
    world_turn(w);
    ck_assert_str_eq(a.code, "TOO_SLOW");
    ck_assert_int_eq(a.ends, 1);
    wire_expect_nothing(r);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(a_paused_subscription_on_a_stream_of_its_own_withholds_credit_and_gives_it_back)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open_streams(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_uint_eq(r->streams[0], WIRE_STREAMS);
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 5; i++)
        feed_value(r, WIRE_STREAMS, id, text);
    world_turn(w);
    ck_assert_int_eq(r->pauses, 1);
    ck_assert_uint_eq(r->last_paused, WIRE_STREAMS);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.values, 5);
    ck_assert_int_eq(r->resumes, 1);
    /* Held back again, and aborted: the stream must not stay shut. */
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 5; i++)
        feed_value(r, WIRE_STREAMS, id, text);
    world_turn(w);
    ck_assert_int_eq(r->pauses, 2);
    ck_assert_int_eq(alk_call_abort(a.call), ALK_OK);
    world_turn(w);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(r->resumes, 2);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(a_remote_that_answers_on_another_stream_is_bounded_too)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char id[64], *text = big(64 * 1024);
    alk_connection_options o;

    world_start(w);
    side_options(&o, &(struct side){.id = "remote"});
    r = wire_open_streams(w, &o);
    alk_identity_unref(o.identity);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(id, sizeof id, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (int i = 0; i < 100 && !a.ends; i++) {
        feed_value(r, 0, id, text);
        world_turn(w);
    }
    /* Its end is told, with what was kept, when it is resumed, or at once. */
    alk_call_pause(a.call, 0);
    world_turn(w);
    ck_assert_str_eq(a.code, "TOO_SLOW");
    ck_assert_int_le(a.values, 17);
    asked_free(&a);
    free(text);
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- forwarding -------------------------------------------------------------------------------- */

struct chain {
    struct world *hub;
    struct wire *client, *peer;
    struct served root;
};

/* A client calls x/root at the hub, whose handler reaches y/op at a peer that the test plays. */
static struct chain *chain_start(uint32_t forwarded_for, const char *token, const char *extra,
                                 uint32_t client_kind, bool streams)
{
    struct chain *c = calloc(1, sizeof *c);
    alk_connection_options o;
    alk_operation ops[2];

    ck_assert_ptr_nonnull(c);
    c->hub = world_new();
    c->hub->options.forwarded_for = forwarded_for;
    add_op(c->hub, &(struct op){.name = "x/root",
                                .handler = serve_later,
                                .ud = &c->root,
                                .authority = COMPOSER,
                                .environment = EVERYTHING});
    world_start(c->hub);
    side_options(&o, &(struct side){.id = "peer", .kind = ALK_KIND_PEER, .token = token});
    c->peer = streams ? wire_open_streams(c->hub, &o) : wire_open(c->hub, &o);
    alk_identity_unref(o.identity);
    op_fill(&ops[0], &(struct op){.name = "y/op"});
    op_fill(&ops[1], &(struct op){.name = "y/stream", .type = ALK_SUBSCRIPTION});
    ck_assert_int_eq(alk_connection_register_imported(c->peer->conn, ops, 2), ALK_OK);
    side_options(
        &o, &(struct side){.id = "client", .scopes = "[\"client:only\"]", .kind = client_kind});
    c->client = wire_open(c->hub, &o);
    alk_identity_unref(o.identity);
    wire_request_with(c->client, "root", "x/root", "null", extra ? extra : "");
    world_turn(c->hub);
    ck_assert_int_eq(c->root.starts, 1);
    return c;
}

static void chain_free(struct chain *c)
{
    wire_free(c->client);
    wire_free(c->peer);
    served_free(&c->root);
    expect_idle(c->hub);
    world_free(c->hub);
    free(c);
}

static void expect_forwarded(uint32_t mode, const char *extra, uint32_t kind, const char *want,
                             const char *never)
{
    struct chain *c = chain_start(mode, NULL, extra, kind, false);
    struct asked a;
    const char *e;

    nest(&a, &c->root, "y/op", "{\"a\":1}", NULL);
    e = wire_next(c->peer);
    ck_assert_ptr_nonnull(e);
    ck_assert_msg(strstr(e, want) != NULL, "%s", e);
    ck_assert_ptr_null(strstr(e, never));
    wire_abort(c->client, "root");
    world_turn(c->hub);
    ck_assert_ptr_nonnull(strstr(wire_next(c->peer), "call.aborted"));
    asked_free(&a);
    chain_free(c);
}

START_TEST(a_forwarded_call_tells_the_originator_as_configured)
{
    expect_forwarded(ALK_FORWARD_ID, NULL, ALK_KIND_KEY,
                     "\"operationId\":\"/y/op\",\"input\":{\"a\":1},"
                     "\"forwarded_for\":{\"id\":\"client\",\"scopes\":[],\"resources\":{}}",
                     "client:only");
    expect_forwarded(
        ALK_FORWARD_FULL, NULL, ALK_KIND_KEY,
        "\"forwarded_for\":{\"id\":\"client\",\"scopes\":[\"client:only\"],\"resources\":{}}",
        "auth_token");
    expect_forwarded(ALK_FORWARD_NONE, NULL, ALK_KIND_KEY, "\"input\":{\"a\":1},\"hops\":1",
                     "forwarded_for");
}
END_TEST

START_TEST(a_received_claim_is_never_passed_on)
{
    static const char claim[] =
        ",\"forwarded_for\":{\"id\":\"victim\",\"scopes\":[],\"resources\":{}}";

    expect_forwarded(ALK_FORWARD_FULL, claim, ALK_KIND_PEER | ALK_PEER_MAY_FORWARD,
                     "\"forwarded_for\":{\"id\":\"client\"", "victim");
    expect_forwarded(ALK_FORWARD_ID, claim, ALK_KIND_PEER, "\"forwarded_for\":{\"id\":\"client\"",
                     "victim");
}
END_TEST

START_TEST(a_forwarded_call_counts_hops_and_sends_the_time_that_is_left)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, "alk_secretsecretsecretsecret",
                                  ",\"hops\":6,\"timeout_ms\":5000", ALK_KIND_KEY, false);
    struct asked a;
    const char *e;

    world_advance(c->hub, 1000);
    nest(&a, &c->root, "y/op", "1", NULL);
    e = wire_next(c->peer);
    ck_assert_ptr_nonnull(strstr(e, "\"hops\":7,\"timeout_ms\":4000"));
    ck_assert_ptr_nonnull(strstr(e, "\"auth_token\":\"alk_secretsecretsecretsecret\""));
    ck_assert(!world_logged(c->hub, "alk_secret"));
    world_advance(c->hub, 4000);
    wire_expect_error(c->client, "root", "TIMEOUT", "the deadline has passed");
    ck_assert_ptr_nonnull(strstr(wire_next(c->peer), "call.aborted"));
    wire_expect_nothing(c->peer);
    asked_free(&a);
    chain_free(c);
}
END_TEST

START_TEST(eight_hops_are_served_and_nine_are_not)
{
    struct world *w = world_new();
    struct wire *r;

    world_add(w, "x/echo", ALK_QUERY, serve_echo, NULL);
    world_start(w);
    r = wire_open(w, NULL);
    wire_request_with(r, "8", "x/echo", "1", ",\"hops\":8");
    wire_expect(r, RESPONDED("8", "1"));
    wire_request_with(r, "9", "x/echo", "1", ",\"hops\":9");
    wire_expect_error(r, "9", "NOT_FOUND", "operation not found: x/echo");
    wire_request_with(r, "big", "x/echo", "1", ",\"hops\":18446744073709551615");
    wire_expect_error(r, "big", "NOT_FOUND", "operation not found: x/echo");
    wire_request_with(r, "odd", "x/echo", "1", ",\"hops\":\"9\"");
    wire_expect(r, RESPONDED("odd", "1"));
    wire_free(r);
    world_free(w);
}
END_TEST

struct loop {
    const char *next;
    int runs, ends;
    char last[32];
};

static void loop_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    alk_call *call = ud;
    alk_fault f = {.size = sizeof f, .code = "LOOP", .message = fault ? fault->code : "no fault"};

    (void)child;
    (void)why;
    if (fault && !strcmp(fault->code, "LOOP"))
        f.message = fault->message;
    alk_call_fail(call, &f);
    alk_call_unref(call);
}

static int loop_handler(alk_call *call, void *ud)
{
    struct loop *l = ud;
    alk_call_options o;

    l->runs++;
    alk_call_options_init(&o);
    o.selector = ALK_SELECT_ANY;
    o.on_end = loop_end;
    o.ud = alk_call_ref(call);
    return alk_call_invoke(call, TEXT(l->next), TEXT("1"), &o, NULL);
}

START_TEST(a_loop_between_two_hubs_ends_at_the_eighth_hop)
{
    struct world *a = world_new(), *b = world_new(), *both[] = {a, b};
    struct loop la = {.next = "x/b"}, lb = {.next = "x/a"};
    alk_connection *ab, *ba;
    struct wire *client;

    add_op(a, &(struct op){
                  .name = "x/a", .handler = loop_handler, .ud = &la, .environment = EVERYTHING});
    add_op(b, &(struct op){
                  .name = "x/b", .handler = loop_handler, .ud = &lb, .environment = EVERYTHING});
    world_start(a);
    world_start(b);
    join(a, &(struct side){.id = "b", .kind = ALK_KIND_PEER}, &ab, b,
         &(struct side){.id = "a", .kind = ALK_KIND_PEER}, &ba);
    import_all(a, b, ab, 1);
    import_all(b, a, ba, 1);
    client = wire_open(a, NULL);
    wire_request(client, "1", "x/a", "1");
    settle(both, 2);
    /* Hops 0, 2, 4, 6, 8 at a and 1, 3, 5, 7 at b; the ninth is refused by b. */
    ck_assert_int_eq(la.runs, 5);
    ck_assert_int_eq(lb.runs, 4);
    wire_expect_error(client, "1", "LOOP", "NOT_FOUND");
    wire_free(client);
    expect_idle(a);
    expect_idle(b);
    alk_connection_unref(ab);
    alk_connection_unref(ba);
    world_free(a);
    world_free(b);
}
END_TEST

START_TEST(the_peer_lost_fails_the_child_and_the_client_lost_aborts_it)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    struct asked a, b;

    nest(&a, &c->root, "y/op", "1", NULL);
    ck_assert_ptr_nonnull(wire_next(c->peer));
    alk_connection_close(c->peer->conn, ALK_CLOSE_SHUTDOWN);
    world_turn(c->hub);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    ck_assert_int_eq(c->root.ends, 0);
    asked_free(&a);
    chain_free(c);
    c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    nest(&b, &c->root, "y/op", "1", NULL);
    ck_assert_ptr_nonnull(wire_next(c->peer));
    alk_connection_close(c->client->conn, ALK_CLOSE_SHUTDOWN);
    ck_assert_ptr_nonnull(strstr(wire_next(c->peer), "call.aborted"));
    ck_assert_int_eq(c->root.why, ALK_END_CLOSED);
    ck_assert_str_eq(asked_outcome(&b), "aborted");
    ck_assert_int_lt(b.order, c->root.order);
    asked_free(&b);
    chain_free(c);
}
END_TEST

START_TEST(the_limit_of_pending_calls_is_busy_for_a_forwarded_one)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    struct asked a, b, d;
    alk_limits l = c->hub->limits;
    alk_call_options o;

    l.connection_calls = 1;
    ck_assert_int_eq(alk_node_set_limits(c->hub->node, &l), ALK_OK);
    nest(&a, &c->root, "y/op", "1", NULL);
    nest(&b, &c->root, "y/op", "1", NULL);
    world_turn(c->hub);
    ck_assert_int_eq(a.ends, 0);
    ck_assert_str_eq(b.code, "BUSY");
    ck_assert_int_eq(b.retryable, 1);
    asked_options(&d, &o);
    ck_assert_int_eq(alk_connection_call(c->peer->conn, TEXT("y/op"), TEXT("1"), &o, NULL),
                     ALK_ELIMIT);
    ck_assert_int_eq(alk_connection_call(c->peer->conn, TEXT("y//op"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    wire_abort(c->client, "root");
    world_turn(c->hub);
    asked_free(&a);
    asked_free(&b);
    asked_free(&d);
    chain_free(c);
}
END_TEST

START_TEST(a_forwarded_stream_is_held_back_to_the_peer_by_a_slow_client)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, true);
    struct asked a;
    alk_call_options o;
    char id[64], *text = big(16 * 1024);
    int fed = 0;

    stream_options(&o);
    nest(&a, &c->root, "y/stream", "1", &o);
    snprintf(id, sizeof id, "%s", wire_id(wire_next(c->peer)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    while (!c->peer->pauses && fed < 1000) {
        feed_value(c->peer, WIRE_STREAMS, id, text);
        world_turn(c->hub);
        fed++;
    }
    /* At each of the two calls about 256 KiB. */
    ck_assert_int_le(fed, 40);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(c->hub);
    ck_assert_int_eq(a.values, fed);
    ck_assert_int_eq(c->peer->resumes, 1);
    wire_abort(c->client, "root");
    world_turn(c->hub);
    asked_free(&a);
    free(text);
    chain_free(c);
}
END_TEST

/* Values that go on through a relay which is never empty for long are not counted for ever. */
START_TEST(a_relay_that_keeps_up_in_the_end_is_not_too_slow)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    struct asked a;
    alk_call_options o;
    char id[64], *text = big(32 * 1024);

    stream_options(&o);
    nest(&a, &c->root, "y/stream", "1", &o);
    a.on_value = pause_itself; /* one value each time it is resumed */
    snprintf(id, sizeof id, "%s", wire_id(wire_next(c->peer)));
    for (int i = 0; i < 14; i++)
        feed_value(c->peer, 0, id, text);
    for (int i = 0; i < 200; i++) {
        world_turn(c->hub);
        ck_assert_int_eq(a.ends, 0);
        ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
        feed_value(c->peer, 0, id, text);
    }
    wire_abort(c->client, "root");
    world_turn(c->hub);
    asked_free(&a);
    free(text);
    chain_free(c);
}
END_TEST

START_TEST(values_and_completion_held_for_a_client_that_goes_away_leave_nothing_behind)
{
    struct world *w = world_new();
    struct wire *client, *peer;
    alk_connection_options o;
    alk_operation op;
    char id[64], *text = big(64 * 1024);

    ck_assert_int_eq(
        alk_registry_enable_peers(w->reg, TEXT("{\"authority\":{\"label\":\"d\"},\"allow\":[{"
                                               "\"peer\":\"*\",\"operations\":[\"y/*\"]}]}")),
        ALK_OK);
    world_start(w);
    side_options(&o, &(struct side){.id = "peer", .kind = ALK_KIND_PEER});
    peer = wire_open(w, &o);
    alk_identity_unref(o.identity);
    op_fill(&op, &(struct op){.name = "y/stream", .type = ALK_SUBSCRIPTION});
    ck_assert_int_eq(alk_connection_register_imported(peer->conn, &op, 1), ALK_OK);
    side_options(&o, &(struct side){.id = "client", .scopes = "[\"peers:call\"]"});
    client = wire_open(w, &o);
    alk_identity_unref(o.identity);
    for (int round = 0; round < 2; round++) {
        wire_request(client, round ? "b" : "a", "peers/subscribe", "{\"operation\":\"y/stream\"}");
        snprintf(id, sizeof id, "%s", wire_id(wire_next(peer)));
        client->room = 0;
        for (int i = 0; i < 12; i++) {
            feed_value(peer, 0, id, text);
            world_turn(w);
        }
        {
            char done[128];

            snprintf(done, sizeof done,
                     "{\"type\":\"call.completed\",\"id\":\"%s\",\"payload\":{}}", id);
            wire_feed(peer, done);
        }
        world_turn(w);
        ck_assert_uint_gt(world_stats(w).calls, 0);
        if (round)
            alk_connection_lost(client->conn);
        else
            wire_abort(client, "a");
        world_turn(w);
        ck_assert_uint_eq(world_stats(w).calls, 0);
        client->room = -1;
        alk_connection_writable(client->conn);
        world_turn(w);
    }
    free(text);
    wire_free(client);
    wire_free(peer);
    world_free(w);
}
END_TEST

START_TEST(faults_of_the_peer_pass_unchanged)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    static const char *const faults[][2] = {
        {"{\"code\":\"NO_PAPER\",\"message\":\"tray\",\"retryable\":true,\"details\":[1.0]}",
         "NO_PAPER"},
        {"{\"code\":\"FORBIDDEN\",\"message\":\"no\",\"retryable\":false}", "FORBIDDEN"},
        {"{\"code\":\"BUSY\",\"message\":\"later\",\"retryable\":true}", "BUSY"},
        {"{\"code\":\"WHAT_IS_THIS\",\"message\":\"\",\"retryable\":false}", "WHAT_IS_THIS"},
        {"{\"code\":7}", "INTERNAL"},
        {"[]", "INTERNAL"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct asked a;
        char text[512];

        nest(&a, &c->root, "y/op", "1", NULL);
        snprintf(text, sizeof text, "{\"type\":\"call.error\",\"id\":\"%s\",\"payload\":%s}",
                 wire_id(wire_next(c->peer)), faults[i][0]);
        ck_assert_int_eq(wire_feed(c->peer, text), ALK_OK);
        world_turn(c->hub);
        ck_assert_str_eq(a.code, faults[i][1]);
        if (i == 0) {
            ck_assert_int_eq(a.retryable, 1);
            ck_assert_str_eq(a.details, "[1.0]");
        }
        asked_free(&a);
    }
    chain_free(c);
}
END_TEST

START_TEST(an_ended_call_that_was_paused_does_not_keep_the_dispatcher)
{
    struct world *w = world_new();
    struct wire *r;
    struct asked a;
    char text[256];

    world_start(w);
    r = wire_open(w, NULL);
    ask_stream(&a, r->conn, "s/t", "1");
    snprintf(text, sizeof text, "%s", wire_id(wire_next(r)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    feed_value(r, 0, text, "1");
    {
        char done[400];

        snprintf(done, sizeof done, "{\"type\":\"call.completed\",\"id\":\"%s\",\"payload\":{}}",
                 text);
        wire_feed(r, done);
    }
    world_turn(w);
    ck_assert_int_eq(a.ends, 0);
    wire_free(r);
    alk_call_unref(a.call);
    a.call = NULL;
    world_free(w);
    ck_assert_int_eq(a.ends, 1);
    asked_free(&a);
}
END_TEST

MAIN("compose", without_an_environment_nothing_is_reachable,
     an_environment_names_operations_and_whole_namespaces,
     internal_operations_are_reached_by_nested_calls_only,
     lookup_access_type_and_input_are_checked_in_this_order,
     a_nested_call_that_cannot_begin_says_so_at_once,
     the_composers_authority_is_checked_not_the_callers_nor_the_childs,
     a_composer_without_authority_is_nobody, a_child_has_an_id_of_its_own_and_its_parents_trace,
     a_child_has_its_own_capabilities_and_those_named_by_its_parent,
     a_child_does_not_get_what_was_not_named, the_registry_comes_first_then_the_session_then_peers,
     selectors_take_peers_one_peer_or_one_connection_and_never_fall_back,
     a_connection_that_is_closed_serves_nothing, the_environment_counts_for_every_selector,
     a_pinned_operation_is_reachable_on_its_peer_and_nowhere_else,
     a_name_pinned_only_needs_no_place_in_allowed_ops,
     the_parents_earlier_deadline_ends_the_child_and_the_caller_sees_timeout,
     a_child_has_30_seconds_under_a_subscription_and_its_own_time_when_that_is_given,
     the_depth_of_the_tree_is_limited,
     the_children_of_a_root_are_limited_and_the_ended_ones_do_not_count,
     a_child_starts_in_the_same_turn_and_not_inside_the_callers_frame,
     children_end_with_their_parent_unless_they_continue, what_continues_may_not_begin_anything,
     what_continues_keeps_its_deadline, what_continues_ends_when_the_dispatcher_cancels,
     what_continues_outlives_the_connection_it_came_by,
     a_child_that_has_not_started_does_not_start_after_its_parents_end,
     a_childs_failure_is_its_parents_to_judge, a_child_can_be_aborted_alone,
     a_nested_subscription_delivers_values_in_order_and_its_completion,
     a_paused_nested_subscription_pushes_back_and_drains_after_resume,
     a_subscriber_that_aborts_in_its_callback_gets_no_more_values,
     a_subscriber_that_pauses_in_its_callback_gets_one_value_at_a_time,
     a_paused_child_ends_with_its_parent_even_if_it_has_completed,
     a_paused_subscription_on_a_shared_stream_keeps_a_mebibyte_and_ends_as_too_slow,
     a_paused_subscription_on_a_stream_of_its_own_withholds_credit_and_gives_it_back,
     a_remote_that_answers_on_another_stream_is_bounded_too,
     a_forwarded_call_tells_the_originator_as_configured, a_received_claim_is_never_passed_on,
     a_forwarded_call_counts_hops_and_sends_the_time_that_is_left,
     eight_hops_are_served_and_nine_are_not, a_loop_between_two_hubs_ends_at_the_eighth_hop,
     the_peer_lost_fails_the_child_and_the_client_lost_aborts_it,
     the_limit_of_pending_calls_is_busy_for_a_forwarded_one,
     a_forwarded_stream_is_held_back_to_the_peer_by_a_slow_client,
     a_relay_that_keeps_up_in_the_end_is_not_too_slow,
     values_and_completion_held_for_a_client_that_goes_away_leave_nothing_behind,
     faults_of_the_peer_pass_unchanged, an_ended_call_that_was_paused_does_not_keep_the_dispatcher)
