/* Imports between two nodes: what list-peers and services/schema show of them, who is called, and what happens when a peer comes
 * back. */
#include "core/peers.h"
#include "sim/compose.h"

struct nodes {
    struct world *hub, *spoke, *all[2];
    alk_connection *to, *from;
    struct served later, stream;
    struct wire *client;
};

static struct nodes *nodes_start(uint32_t kind, uint32_t auto_import)
{
    struct nodes *n = calloc(1, sizeof *n);
    alk_connection_options o;

    ck_assert_ptr_nonnull(n);
    n->all[0] = n->hub = world_new();
    n->all[1] = n->spoke = world_new();
    n->hub->options.auto_import = auto_import;
    add_op(n->spoke, &(struct op){.name = "s/later",
                                  .handler = serve_later,
                                  .ud = &n->later,
                                  .input = "{\"type\":\"object\"}",
                                  .access = "{\"required_scopes\":[\"s:use\"]}"});
    add_op(n->spoke, &(struct op){.name = "s/stream",
                                  .type = ALK_SUBSCRIPTION,
                                  .handler = serve_later,
                                  .ud = &n->stream});
    add_op(
        n->spoke,
        &(struct op){.name = "s/internal", .visibility = ALK_INTERNAL_ONLY, .handler = serve_echo});
    add_op(n->spoke, &(struct op){.name = "s/forbidden",
                                  .handler = serve_echo,
                                  .access = "{\"required_scopes\":[\"s:root\"]}"});
    world_add(n->hub, "h/local", ALK_MUTATION, serve_echo, NULL);
    world_start(n->hub);
    world_start(n->spoke);
    join(n->hub, &(struct side){.id = "spoke", .kind = kind}, &n->to, n->spoke,
         &(struct side){.id = "hub", .scopes = "[\"s:use\"]", .kind = ALK_KIND_PEER}, &n->from);
    settle(n->all, 2);
    settle_after(n->all, 2, 1);
    side_options(&o, &(struct side){.id = "client", .scopes = "[\"peers:list\",\"s:use\"]"});
    n->client = wire_open(n->hub, &o);
    alk_identity_unref(o.identity);
    return n;
}

static void nodes_free(struct nodes *n)
{
    wire_free(n->client);
    served_free(&n->later);
    served_free(&n->stream);
    alk_connection_unref(n->to);
    alk_connection_unref(n->from);
    settle(n->all, 2);
    world_free(n->hub);
    world_free(n->spoke);
    free(n);
}

#define LIST_PEERS_LOCAL                                                                           \
    "{\"peer_id\":\"local\",\"operations\":[{\"name\":\"h/"                                        \
    "local\",\"namespace\":\"h\",\"op_type\":\"mutation\"},"

START_TEST(list_peers_shows_what_the_caller_may_call_of_each_peer)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 1);
    const char *e;

    wire_request(n->client, "1", "services/list-peers", "{}");
    e = wire_next(n->client);
    ck_assert_ptr_nonnull(strstr(e, "{\"peers\":[" LIST_PEERS_LOCAL));
    ck_assert_ptr_nonnull(
        strstr(e, "{\"peer_id\":\"spoke\",\"operations\":["
                  "{\"name\":\"s/later\",\"namespace\":\"s\",\"op_type\":\"query\"},"
                  "{\"name\":\"s/stream\",\"namespace\":\"s\",\"op_type\":\"subscription\"}]}]}"));
    nodes_free(n);
}
END_TEST

START_TEST(services_schema_with_a_peer_gives_the_imported_specification)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 1);

    wire_request(n->client, "1", "services/schema", "{\"name\":\"/s/later\",\"peer\":\"spoke\"}");
    wire_expect(
        n->client,
        RESPONDED("1",
                  "{\"name\":\"s/"
                  "later\",\"namespace\":\"s\",\"op_type\":\"query\",\"visibility\":\"internal\","
                  "\"input_schema\":{\"type\":\"object\"},\"output_schema\":null,\"error_schemas\":"
                  "[],\"access_control\":"
                  "{\"required_scopes\":[\"s:use\"],\"required_scopes_any\":null,\"resource_type\":"
                  "null,\"resource_action\":null}}"));
    wire_request(n->client, "2", "services/schema", "{\"name\":\"s/later\"}");
    wire_expect_error(n->client, "2", "NOT_FOUND", "operation not found: s/later");
    wire_request(n->client, "3", "services/schema", "{\"name\":\"s/later\",\"peer\":\"other\"}");
    wire_expect_error(n->client, "3", "NOT_FOUND", "operation not found: s/later");
    wire_request(n->client, "4", "services/schema", "{\"name\":\"h/local\",\"peer\":\"spoke\"}");
    wire_expect_error(n->client, "4", "NOT_FOUND", "operation not found: h/local");
    wire_request(n->client, "5", "services/schema", "{\"name\":\"s/internal\",\"peer\":\"spoke\"}");
    wire_expect_error(n->client, "5", "NOT_FOUND", "operation not found: s/internal");
    nodes_free(n);
}
END_TEST

START_TEST(imported_operations_are_not_reachable_from_the_wire)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 1);

    wire_request(n->client, "1", "s/later", "{}");
    wire_expect_error(n->client, "1", "NOT_FOUND", "operation not found: s/later");
    wire_request(n->client, "2", "services/list", "{\"namespace\":\"s\"}");
    wire_expect(n->client, RESPONDED("2", "{\"operations\":[]}"));
    nodes_free(n);
}
END_TEST

START_TEST(a_connection_that_is_no_peer_is_in_no_list_and_is_called_by_its_handle)
{
    struct nodes *n = nodes_start(ALK_KIND_KEY, 1);
    struct asked a;

    wire_request(n->client, "1", "services/list-peers", "{}");
    ck_assert_ptr_null(strstr(wire_next(n->client), "spoke"));
    import_all(n->hub, n->spoke, n->to, 2);
    wire_request(n->client, "2", "services/list-peers", "{}");
    ck_assert_ptr_null(strstr(wire_next(n->client), "spoke"));
    wire_request(n->client, "3", "services/schema", "{\"name\":\"s/stream\",\"peer\":\"spoke\"}");
    wire_expect_error(n->client, "3", "NOT_FOUND", "operation not found: s/stream");
    ask(&a, n->to, "s/later", "{}");
    settle(n->all, 2);
    ck_assert_int_eq(n->later.starts, 1);
    served_reply(&n->later, "9");
    settle(n->all, 2);
    ck_assert_str_eq(asked_outcome(&a), "ok 9");
    asked_free(&a);
    nodes_free(n);
}
END_TEST

START_TEST(a_handle_is_not_checked_here_the_remote_decides)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 1);
    struct asked a, b;

    ask(&a, n->to, "s/forbidden", "1");
    ask(&b, n->to, "s/internal", "1");
    settle(n->all, 2);
    ck_assert_str_eq(asked_outcome(&a), "fault FORBIDDEN: not allowed to call s/forbidden");
    ck_assert_str_eq(asked_outcome(&b), "fault NOT_FOUND: operation not found: s/internal");
    asked_free(&a);
    asked_free(&b);
    nodes_free(n);
}
END_TEST

START_TEST(a_peer_that_reconnects_is_imported_again_at_once)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 1);

    alk_connection_close(n->from, ALK_CLOSE_SHUTDOWN);
    settle(n->all, 2);
    wire_request(n->client, "1", "services/list-peers", "{}");
    ck_assert_ptr_null(strstr(wire_next(n->client), "spoke"));
    alk_connection_unref(n->to);
    alk_connection_unref(n->from);
    join(n->hub, &(struct side){.id = "spoke", .kind = ALK_KIND_PEER}, &n->to, n->spoke,
         &(struct side){.id = "hub", .scopes = "[\"s:use\"]", .kind = ALK_KIND_PEER}, &n->from);
    settle(n->all, 2);
    settle_after(n->all, 2, 1);
    wire_request(n->client, "2", "services/list-peers", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(n->client),
                                 "{\"peer_id\":\"spoke\",\"operations\":[{\"name\":\"s/later\""));
    nodes_free(n);
}
END_TEST

START_TEST(the_newest_connection_of_a_peer_is_the_one_that_is_shown_and_called)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 0);
    alk_connection *to, *from;
    alk_operation op;
    const char *e;

    import_all(n->hub, n->spoke, n->to, 2);
    join(n->hub, &(struct side){.id = "spoke", .kind = ALK_KIND_PEER}, &to, n->spoke,
         &(struct side){.id = "hub", .kind = ALK_KIND_PEER}, &from);
    op_fill(&op, &(struct op){.name = "s/stream", .type = ALK_MUTATION});
    ck_assert_int_eq(alk_connection_register_imported(to, &op, 1), ALK_OK);
    wire_request(n->client, "1", "services/list-peers", "{}");
    e = wire_next(n->client);
    ck_assert_ptr_nonnull(
        strstr(e, "{\"name\":\"s/stream\",\"namespace\":\"s\",\"op_type\":\"mutation\"}"));
    ck_assert_ptr_null(
        strstr(e, "{\"name\":\"s/stream\",\"namespace\":\"s\",\"op_type\":\"subscription\"}"));
    ck_assert_ptr_nonnull(strstr(e, "{\"name\":\"s/later\""));
    alk_connection_close(to, ALK_CLOSE_SHUTDOWN);
    wire_request(n->client, "2", "services/list-peers", "{}");
    ck_assert_ptr_nonnull(
        strstr(wire_next(n->client),
               "{\"name\":\"s/stream\",\"namespace\":\"s\",\"op_type\":\"subscription\"}"));
    alk_connection_unref(to);
    alk_connection_unref(from);
    nodes_free(n);
}
END_TEST

START_TEST(what_a_peer_serves_is_looked_for_on_its_newest_connections)
{
    struct world *w = world_new();
    struct wire *peers[PEER_NEWEST + 1], *client;
    alk_connection_options o;
    alk_operation op;

    world_start(w);
    side_options(&o, &(struct side){.id = "client", .scopes = "[\"peers:list\"]"});
    client = wire_open(w, &o);
    alk_identity_unref(o.identity);
    side_options(&o, &(struct side){.id = "spoke", .kind = ALK_KIND_PEER});
    o.no_auto_import = 1;
    for (size_t i = 0; i <= PEER_NEWEST; i++)
        peers[i] = wire_open(w, &o);
    alk_identity_unref(o.identity);
    op_fill(&op, &(struct op){.name = "s/oldest"});
    ck_assert_int_eq(alk_connection_register_imported(peers[0]->conn, &op, 1), ALK_OK);
    op_fill(&op, &(struct op){.name = "s/older"});
    ck_assert_int_eq(alk_connection_register_imported(peers[1]->conn, &op, 1), ALK_OK);
    wire_request(client, "1", "services/list-peers", "{}");
    ck_assert_ptr_null(strstr(wire_next(client), "s/oldest"));
    wire_request(client, "2", "services/schema", "{\"name\":\"s/oldest\",\"peer\":\"spoke\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(client), "NOT_FOUND"));
    wire_request(client, "3", "services/schema", "{\"name\":\"s/older\",\"peer\":\"spoke\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(client), "call.responded"));
    wire_free(peers[PEER_NEWEST]);
    wire_request(client, "4", "services/list-peers", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(client), "s/oldest"));
    wire_request(client, "5", "services/schema", "{\"name\":\"s/oldest\",\"peer\":\"spoke\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(client), "call.responded"));
    for (size_t i = 0; i < PEER_NEWEST; i++)
        wire_free(peers[i]);
    wire_free(client);
    world_free(w);
}
END_TEST

START_TEST(without_auto_import_a_peer_is_listed_with_nothing)
{
    struct nodes *n = nodes_start(ALK_KIND_PEER, 0);

    wire_request(n->client, "1", "services/list-peers", "{}");
    ck_assert_ptr_nonnull(
        strstr(wire_next(n->client), "{\"peer_id\":\"spoke\",\"operations\":[]}"));
    nodes_free(n);
}
END_TEST

MAIN("import_nodes", list_peers_shows_what_the_caller_may_call_of_each_peer,
     services_schema_with_a_peer_gives_the_imported_specification,
     imported_operations_are_not_reachable_from_the_wire,
     a_connection_that_is_no_peer_is_in_no_list_and_is_called_by_its_handle,
     a_handle_is_not_checked_here_the_remote_decides,
     a_peer_that_reconnects_is_imported_again_at_once,
     the_newest_connection_of_a_peer_is_the_one_that_is_shown_and_called,
     what_a_peer_serves_is_looked_for_on_its_newest_connections,
     without_auto_import_a_peer_is_listed_with_nothing)
