/* Composition: what a handler reaches when it calls others, whom it acts as, and what secrets its children get. */
#include "sim/composer.h"

/* ---- reachability ---------------------------------------------------------------------------- */

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
    struct composer *n = composer_new();

    add_op(n->w, &(struct op){
                     .name = "x/internal", .visibility = ALK_INTERNAL_ONLY, .handler = serve_echo});
    composer_start(n, NULL);
    expect_nested(n, "x/internal", NULL, "ok null");
    wire_request(n->client, "2", "x/internal", "null");
    wire_expect_error(n->client, "2", "NOT_FOUND", "operation not found: x/internal");
    /* Nothing in a request makes it nested. */
    wire_request_with(n->client, "3", "x/internal", "null",
                      ",\"internal\":true,\"parent_request_id\":\"root\"");
    wire_expect_error(n->client, "3", "NOT_FOUND", "operation not found: x/internal");
    composer_free(n);
}
END_TEST

START_TEST(lookup_access_type_and_input_are_checked_in_this_order)
{
    struct composer *n = composer_new();
    alk_call_options stream = {.size = sizeof stream};

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
    composer_start(n, NULL);
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
    composer_free(n);
}
END_TEST

START_TEST(a_nested_call_that_cannot_begin_says_so_at_once)
{
    struct composer *n = composer_new();
    alk_call_options o;
    struct asked a;

    world_add(n->w, "x/echo", ALK_QUERY, serve_echo, NULL);
    composer_start(n, NULL);
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
    composer_free(n);
}
END_TEST

/* ---- who, for whom --------------------------------------------------------------------------- */

START_TEST(the_composers_authority_is_checked_not_the_callers_nor_the_childs)
{
    struct composer *n = composer_new();
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
    composer_start(n, NULL);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(n->root.call)), "client");
    expect_nested(n, "x/callers", NULL, "fault FORBIDDEN: not allowed to call x/callers");
    expect_nested(n, "x/own", NULL, "fault FORBIDDEN: not allowed to call x/own");
    expect_nested(n, "y/leaf", NULL, "fault FORBIDDEN: not allowed to call y/leaf");
    nest(&a, &n->root, "x/mine", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(child.call)), "handler:composer");
    ck_assert_str_eq(alk_identity_id(context_of(child.call).originator), "client");
    nest(&b, &child, "y/leaf", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(leaf.call)), "handler:child");
    ck_assert_str_eq(alk_identity_id(context_of(leaf.call).originator), "client");
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
    composer_free(n);
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
    struct composer *n = composer_new();
    struct served child = {0};
    struct asked a, b;
    alk_call_options o = {.size = sizeof o};
    char id[64];

    world_add(n->w, "x/child", ALK_QUERY, serve_later, &child);
    composer_start(n,
                   ",\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"");
    ck_assert_ptr_null(context_of(n->root.call).parent_id);
    nest(&a, &n->root, "x/child", "null", NULL);
    world_turn(n->w);
    ck_assert_str_eq(context_of(child.call).parent_id, "root");
    ck_assert_str_eq(context_of(child.call).traceparent, trace);
    ck_assert_uint_eq(strlen(alk_call_id(child.call)), 36);
    snprintf(id, sizeof id, "%s", alk_call_id(child.call));
    served_reply(&child, "1");
    o.traceparent = other;
    nest(&b, &n->root, "x/child", "null", &o);
    world_turn(n->w);
    ck_assert_str_ne(alk_call_id(child.call), id);
    ck_assert_str_eq(context_of(child.call).traceparent, other);
    asked_free(&a);
    served_reply(&child, "1");
    world_turn(n->w);
    asked_free(&b);
    served_free(&child);
    composer_free(n);
}
END_TEST

/* ---- capabilities ---------------------------------------------------------------------------- */

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
    alk_call_options o = {.size = sizeof o};
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
    struct composer *n = composer_new();
    struct served child = {0};
    alk_capabilities *none = caps("own", NULL);
    struct asked a;

    add_op(n->w,
           &(struct op){
               .name = "x/child", .handler = serve_later, .ud = &child, .capabilities = none});
    composer_start(n, NULL);
    nest(&a, &n->root, "x/child", "{\"capabilities\":\"own\"}", NULL);
    world_turn(n->w);
    ck_assert_str_eq(secret(&child, "own"), "own");
    ck_assert_str_eq(secret(&n->root, "own"), "-");
    served_reply(&child, "1");
    world_turn(n->w);
    asked_free(&a);
    served_free(&child);
    alk_capabilities_free(none);
    composer_free(n);
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
     a_child_does_not_get_what_was_not_named)
