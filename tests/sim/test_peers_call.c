/* peers/call and peers/subscribe: the deputy that clients of a hub use to reach its peers. It has more rights than most who
 * ask it, so everything that is not granted by the configuration, by the caller's own identity and by the deputy's authority
 * together must look like an operation that does not exist, and must not run. */
#include "sim/compose.h"

#define ALLOW_ALL                                                                                  \
    "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"doc:*\"]},\"allow\":[{\"peer\":\"*\","     \
    "\"operations\":[\"ops/*\",\"services/*\",\"peers/*\"]}]}"
#define ALLOW                                                                                      \
    "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"ops:read\",\"deputy:only\"],"              \
    "\"resources\":{\"doc\":[\"1\",\"2\"]}},"                                                      \
    "\"allow\":[{\"peer\":\"spoke\",\"operations\":[\"ops/*\",\"one/exact\"]},"                    \
    "{\"peer\":\"second\",\"operations\":[\"twin/op\"]}]}"
#define ALL_SCOPES "[\"ops:*\",\"deputy:only\",\"caller:only\",\"peers:*\",\"one:x\"]"

struct deputies {
    struct world *hub, *spoke, *other;
    struct world *all[3];
    alk_connection *to_spoke, *from_spoke, *to_other, *from_other, *to_browser, *from_browser;
    struct wire *client;
    struct served open, read, exact, unlisted, local, internal, deputy_only, caller_only, doc,
        stream, browser, other_op, session, twin_a, twin_b;
    alk_registry *session_ops;
};

static const struct side hub_side = {.id = "hub",
                                     .scopes =
                                         "[\"ops:*\",\"deputy:only\",\"caller:only\",\"doc:*\"]",
                                     .kind = ALK_KIND_PEER};
static const struct side spoke_side = {.id = "spoke", .kind = ALK_KIND_PEER};
static const struct side other_side = {.id = "second", .kind = ALK_KIND_PEER};
static const struct side browser_side = {.id = "browser", .kind = ALK_KIND_KEY};

static void add(struct world *w, const char *name, struct served *s, const char *access)
{
    add_op(w, &(struct op){.name = name, .handler = serve_later, .ud = s, .access = access});
}

static void add_spoke_ops(struct deputies *t)
{
    add(t->spoke, "ops/open", &t->open, NULL);
    add(t->spoke, "ops/read", &t->read, "{\"required_scopes\":[\"ops:read\"]}");
    add(t->spoke, "ops/deputy", &t->deputy_only, "{\"required_scopes\":[\"deputy:only\"]}");
    add(t->spoke, "ops/caller", &t->caller_only, "{\"required_scopes\":[\"caller:only\"]}");
    add(t->spoke, "one/exact", &t->exact, NULL);
    add(t->spoke, "one/unlisted", &t->unlisted, NULL);
    add(t->spoke, "twin/op", &t->twin_a, NULL);
    add_op(t->spoke, &(struct op){.name = "ops/stream",
                                  .type = ALK_SUBSCRIPTION,
                                  .handler = serve_later,
                                  .ud = &t->stream});
}

static struct deputies *start(const char *config)
{
    struct deputies *t = calloc(1, sizeof *t);
    alk_operation op;

    ck_assert_ptr_nonnull(t);
    t->all[0] = t->hub = world_new();
    t->all[1] = t->spoke = world_new();
    t->all[2] = t->other = world_new();
    if (config)
        ck_assert_int_eq(alk_registry_enable_peers(t->hub->reg, TEXT(config)), ALK_OK);
    add(t->hub, "ops/local", &t->local, NULL);
    add_op(t->hub, &(struct op){.name = "ops/internal",
                                .visibility = ALK_INTERNAL_ONLY,
                                .handler = serve_later,
                                .ud = &t->internal});
    add_spoke_ops(t);
    add(t->other, "ops/elsewhere", &t->other_op, NULL);
    add(t->other, "twin/op", &t->twin_b, NULL);
    t->session_ops = alk_registry_new();
    op_fill(&op, &(struct op){.name = "ops/session", .handler = serve_later, .ud = &t->session});
    ck_assert_int_eq(alk_registry_add(t->session_ops, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(t->session_ops), ALK_OK);
    for (int i = 0; i < 3; i++)
        world_start(t->all[i]);
    join(t->hub, &spoke_side, &t->to_spoke, t->spoke, &hub_side, &t->from_spoke);
    import_all(t->hub, t->spoke, t->to_spoke, 8);
    join(t->hub, &other_side, &t->to_other, t->other, &hub_side, &t->from_other);
    import_all(t->hub, t->other, t->to_other, 2);
    join(t->hub, &browser_side, &t->to_browser, t->other, &hub_side, &t->from_browser);
    op_fill(&op, &(struct op){.name = "ops/browser"});
    ck_assert_int_eq(alk_connection_register_imported(t->to_browser, &op, 1), ALK_OK);
    return t;
}

static void open_client(struct deputies *t, const char *id, const char *scopes,
                        const char *resources)
{
    alk_connection_options o = {.size = sizeof o};
    char json[512];

    snprintf(json, sizeof json, "{\"id\":\"%s\",\"scopes\":%s,\"resources\":%s}", id, scopes,
             resources ? resources : "{}");
    o.identity = alk_identity_new(TEXT(json));
    o.kind = ALK_KIND_KEY;
    o.session = t->session_ops;
    ck_assert_ptr_nonnull(o.identity);
    t->client = wire_open(t->hub, &o);
    alk_identity_unref(o.identity);
}

static void close_client(struct deputies *t)
{
    wire_free(t->client);
    t->client = NULL;
    settle(t->all, 3);
}

static struct served *served_at(struct deputies *t, size_t i)
{
    struct served *const all[] = {&t->open,    &t->read,     &t->exact,       &t->unlisted,
                                  &t->local,   &t->internal, &t->deputy_only, &t->caller_only,
                                  &t->doc,     &t->stream,   &t->browser,     &t->other_op,
                                  &t->session, &t->twin_a,   &t->twin_b};

    return i < sizeof all / sizeof all[0] ? all[i] : NULL;
}

static int runs(struct deputies *t)
{
    struct served *s;
    int n = 0;

    for (size_t i = 0; (s = served_at(t, i)); i++)
        n += s->starts;
    return n;
}

static void stop(struct deputies *t)
{
    struct served *s;

    if (t->client)
        close_client(t);
    for (size_t i = 0; (s = served_at(t, i)); i++)
        served_free(s);
    alk_connection_unref(t->to_spoke);
    alk_connection_unref(t->from_spoke);
    alk_connection_unref(t->to_other);
    alk_connection_unref(t->from_other);
    alk_connection_unref(t->to_browser);
    alk_connection_unref(t->from_browser);
    for (int i = 0; i < 3; i++)
        world_free(t->all[i]);
    alk_registry_unref(t->session_ops);
    free(t);
}

/* Asks the deputy, settles, and says what came. Static buffer of wire_error. */
static const char *reach(struct deputies *t, const char *deputy, const char *input)
{
    static int number;
    char id[16];

    snprintf(id, sizeof id, "r%d", ++number);
    wire_request(t->client, id, deputy, input);
    settle(t->all, 3);
    return wire_error(t->client);
}

/* It is what a name that nobody has gives, to the letter, and nothing ran. */
static void expect_not_found(struct deputies *t, const char *deputy, const char *peer,
                             const char *operation, const char *input, const char *shown)
{
    char text[1200], want[600];
    const char *got;
    int before = runs(t);

    if (peer)
        snprintf(text, sizeof text, "{\"peer\":\"%s\",\"operation\":\"%s\",\"input\":%s}", peer,
                 operation, input);
    else
        snprintf(text, sizeof text, "{\"operation\":\"%s\",\"input\":%s}", operation, input);
    got = reach(t, deputy, text);
    snprintf(want, sizeof want, "NOT_FOUND: operation not found: %s", shown);
    ck_assert_ptr_nonnull(strchr(got, ' '));
    ck_assert_msg(!strcmp(strchr(got, ' ') + 1, want), "%s of %s at %s: %s", deputy, operation,
                  peer ? peer : "any", got);
    ck_assert_ptr_null(strstr(t->client->sent[t->client->count - 1], "details"));
    ck_assert_msg(runs(t) == before, "%s ran", operation);
}

static const char *const deputies[] = {"peers/call", "peers/subscribe"};

START_TEST(what_the_configuration_does_not_name_looks_as_if_it_did_not_exist)
{
    static const struct {
        const char *peer, *operation;
    } rows[] = {
        {"spoke", "one/unlisted"},
        {NULL, "one/unlisted"}, /* a peer's, not listed */
        {"second", "ops/elsewhere"},
        {NULL, "ops/elsewhere"}, /* listed for another peer only */
        {"second", "one/exact"},
        {"spoke", "twin/op"}, /* rules crossed */
        {"spoke", "ops/nothing"},
        {NULL, "ops/nothing"}, /* listed, served by nobody */
        {"spoke", "ops/local"},
        {NULL, "ops/local"}, /* the registry's */
        {"local", "ops/local"},
        {"", "ops/local"}, /* no peers */
        {NULL, "ops/internal"},
        {"local", "ops/internal"}, /* the registry's, internal */
        {NULL, "ops/session"},
        {"client", "ops/session"}, /* the session's */
        {NULL, "ops/browser"},
        {"browser", "ops/browser"}, /* of a connection that is no peer */
        {NULL, "services/list"},
        {"spoke", "services/list"},
        {"spoke", "services/schema"},
        {"local", "services/list"},
        {NULL, "peers/call"},
        {"spoke", "peers/call"},
        {"nobody", "ops/open"},
        {"SPOKE", "ops/open"},
        {"spoke ", "ops/open"},
        {"*", "ops/open"},
        {"spoke/ops", "open"},
        {NULL, "spoke/ops/open"},
        {"spoke", "ops/*"},
        {"spoke", "ops/"},
        {"spoke", "ops"},
        {"spoke", "ops/../one/exact"},
        {"spoke", "one/exact/x"},
        {"spoke", "one/exac"},
        {"spoke", "OPS/OPEN"},
        {"spoke", ""},
    };
    struct deputies *t = start(ALLOW);

    open_client(t, "client", ALL_SCOPES, NULL);
    for (size_t d = 0; d < 2; d++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            expect_not_found(t, deputies[d], rows[i].peer, rows[i].operation, "null",
                             rows[i].operation);
    }
    stop(t);
}
END_TEST

START_TEST(one_leading_slash_goes_and_no_more)
{
    struct deputies *t = start(ALLOW);

    open_client(t, "client", ALL_SCOPES, NULL);
    expect_not_found(t, "peers/call", "spoke", "//ops/open", "null", "/ops/open");
    expect_not_found(t, "peers/call", "spoke", "/services/list", "null", "services/list");
    reach(t, "peers/call", "{\"peer\":\"spoke\",\"operation\":\"/ops/open\"}");
    ck_assert_int_eq(t->open.starts, 1);
    stop(t);
}
END_TEST

START_TEST(the_callers_identity_and_the_deputys_authority_must_both_pass)
{
    struct deputies *t = start(ALLOW);

    /* Of ops:read both have it; each has one that the other lacks. */
    open_client(t, "client", "[\"peers:call\",\"ops:read\",\"caller:only\"]", NULL);
    expect_not_found(t, "peers/call", "spoke", "ops/deputy", "null", "ops/deputy");
    expect_not_found(t, "peers/call", "spoke", "ops/caller", "null", "ops/caller");
    reach(t, "peers/call", "{\"peer\":\"spoke\",\"operation\":\"ops/read\"}");
    ck_assert_int_eq(t->read.starts, 1);
    close_client(t);
    open_client(t, "client2", "[\"peers:call\"]", NULL);
    expect_not_found(t, "peers/call", "spoke", "ops/read", "null", "ops/read");
    ck_assert_int_eq(t->read.starts, 1);
    stop(t);
}
END_TEST

START_TEST(resources_of_both_are_checked_against_the_inner_input)
{
    struct deputies *t = start(ALLOW);
    alk_operation op;
    struct wire *peer;
    alk_connection_options o = {.size = sizeof o};

    o.identity = identity_of("spoke", "[]");
    o.kind = ALK_KIND_PEER;
    peer = wire_open(t->hub, &o);
    alk_identity_unref(o.identity);
    op_fill(&op, &(struct op){.name = "ops/doc",
                              .access = "{\"resource_type\":\"doc\",\"resource_action\":\"read\"}",
                              .resource_id_path = "/id"});
    ck_assert_int_eq(alk_connection_register_imported(peer->conn, &op, 1), ALK_OK);
    open_client(t, "client", "[\"peers:call\"]", "{\"doc\":[\"2\",\"3\"]}");
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "{\"id\":\"1\"}",
                     "ops/doc"); /* the deputy's only */
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "{\"id\":\"3\"}",
                     "ops/doc"); /* the caller's only */
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "{\"id\":\"4\"}", "ops/doc");
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "{}", "ops/doc");
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "null", "ops/doc");
    expect_not_found(t, "peers/call", "spoke", "ops/doc", "{\"id\":[\"2\"]}", "ops/doc");
    /* An id beside the inner input is not the one that counts. */
    wire_request(t->client, "x", "peers/call", "{\"operation\":\"ops/doc\",\"id\":\"2\"}");
    ck_assert_ptr_nonnull(strstr(wire_error(t->client), "INVALID_INPUT"));
    wire_expect_nothing(peer);
    wire_request(t->client, "y", "peers/call",
                 "{\"operation\":\"ops/doc\",\"input\":{\"id\":\"2\"}}");
    ck_assert_ptr_nonnull(
        strstr(wire_next(peer), "\"operationId\":\"/ops/doc\",\"input\":{\"id\":\"2\"}"));
    wire_free(peer);
    stop(t);
}
END_TEST

START_TEST(who_may_not_use_the_deputy_is_told_so_whatever_is_asked_for)
{
    struct deputies *t = start(ALLOW);

    open_client(t, "client", "[\"ops:*\",\"peers:list\"]", NULL);
    for (size_t d = 0; d < 2; d++) {
        ck_assert_ptr_nonnull(
            strstr(reach(t, deputies[d], "{\"operation\":\"ops/open\"}"), "FORBIDDEN"));
        ck_assert_ptr_nonnull(
            strstr(reach(t, deputies[d], "{\"operation\":\"ops/nothing\"}"), "FORBIDDEN"));
    }
    close_client(t);
    t->client = wire_open(t->hub, NULL);
    ck_assert_ptr_nonnull(strstr(reach(t, "peers/call", "{\"operation\":\"ops/open\"}"),
                                 "FORBIDDEN: authentication required"));
    ck_assert_int_eq(runs(t), 0);
    stop(t);
}
END_TEST

START_TEST(without_configuration_the_deputy_does_not_exist)
{
    struct deputies *t = start(NULL);

    open_client(t, "client", "[\"peers:*\"]", NULL);
    ck_assert_ptr_nonnull(strstr(reach(t, "peers/call", "{\"operation\":\"ops/open\"}"),
                                 "NOT_FOUND: operation not found: peers/call"));
    ck_assert_ptr_nonnull(strstr(reach(t, "peers/subscribe", "{\"operation\":\"ops/open\"}"),
                                 "NOT_FOUND: operation not found: peers/subscribe"));
    stop(t);
}
END_TEST

START_TEST(reserved_names_stay_out_of_reach_even_when_registered_by_hand_and_allowed)
{
    struct deputies *t = start(ALLOW_ALL);
    static const char *const names[] = {"services/list", "services/x", "peers/call", "services",
                                        "peers"};
    alk_connection_options o = {.size = sizeof o};
    struct wire *peer;

    o.identity = identity_of("evil", "[]");
    o.kind = ALK_KIND_PEER;
    peer = wire_open(t->hub, &o);
    alk_identity_unref(o.identity);
    open_client(t, "client", ALL_SCOPES, NULL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        alk_operation op;

        op_fill(&op, &(struct op){.name = names[i]});
        /* Whether it refuses them or never looks there is its own affair. */
        alk_connection_register_imported(peer->conn, &op, 1);
        expect_not_found(t, "peers/call", "evil", names[i], "null", names[i]);
        expect_not_found(t, "peers/call", NULL, names[i], "null", names[i]);
        wire_expect_nothing(peer);
    }
    wire_free(peer);
    stop(t);
}
END_TEST

START_TEST(a_token_in_a_request_or_a_websocket_makes_no_peer)
{
    struct deputies *t = start(ALLOW_ALL);
    struct side browser = {.id = "wsnode", .kind = ALK_KIND_PEER, .websocket = 1};
    alk_connection *a, *b, *a2, *b2;
    alk_operation op;

    join(t->hub, &browser, &a, t->other, &hub_side, &b);
    op_fill(&op, &(struct op){.name = "ops/ws"});
    ck_assert_int_eq(alk_connection_register_imported(a, &op, 1), ALK_OK);
    open_client(t, "client", ALL_SCOPES, NULL);
    expect_not_found(t, "peers/call", "wsnode", "ops/ws", "null", "ops/ws");
    expect_not_found(t, "peers/call", NULL, "ops/ws", "null", "ops/ws");
    /* With the entry's word it is one. */
    browser.kind |= ALK_PEER_WEBSOCKET;
    join(t->hub, &browser, &a2, t->other, &hub_side, &b2);
    ck_assert_int_eq(alk_connection_register_imported(a2, &op, 1), ALK_OK);
    ck_assert_ptr_nonnull(
        strstr(reach(t, "peers/call", "{\"peer\":\"wsnode\",\"operation\":\"ops/ws\"}"),
               "NOT_FOUND: operation not found: ops/ws")); /* the remote's answer */
    ck_assert_uint_eq(world_stats(t->other).calls_refused, 1);
    alk_connection_unref(a);
    alk_connection_unref(b);
    alk_connection_unref(a2);
    alk_connection_unref(b2);
    stop(t);
}
END_TEST

START_TEST(calls_and_streams_pass_through_with_their_values_and_faults)
{
    struct deputies *t = start(ALLOW);
    size_t len;

    open_client(t, "client", ALL_SCOPES, NULL);
    wire_request(t->client, "1", "peers/call",
                 "{\"peer\":\"spoke\",\"operation\":\"ops/open\",\"input\":{\"n\":1.50}}");
    settle(t->all, 3);
    ck_assert_str_eq(alk_value_text(alk_call_input(t->open.call), &len), "{\"n\":1.50}");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(t->open.call)), "hub");
    served_reply(&t->open, "[18446744073709551615,1e400]");
    settle(t->all, 3);
    wire_expect(t->client, RESPONDED("1", "[18446744073709551615,1e400]"));
    wire_request(t->client, "2", "peers/call", "{\"operation\":\"one/exact\"}");
    settle(t->all, 3);
    ck_assert_int_eq(served_fail(&t->exact, "NO_PAPER", "tray 2", "{\"tray\":2}"), ALK_OK);
    settle(t->all, 3);
    wire_expect(t->client, "{\"type\":\"call.error\",\"id\":\"2\",\"payload\":{\"code\":\"NO_"
                           "PAPER\",\"message\":\"tray 2\","
                           "\"retryable\":false,\"details\":{\"tray\":2}}}");
    wire_request(t->client, "3", "peers/subscribe", "{\"operation\":\"ops/stream\",\"input\":[]}");
    settle(t->all, 3);
    served_emit(&t->stream, "1");
    served_emit(&t->stream, "2");
    settle(t->all, 3);
    wire_expect(t->client, RESPONDED("3", "1"));
    wire_expect(t->client, RESPONDED("3", "2"));
    ck_assert_int_eq(alk_call_complete(t->stream.call), ALK_OK);
    settle(t->all, 3);
    wire_expect(t->client, COMPLETED("3"));
    for (int i = 0; i < 2; i++) {
        served_free(&t->open);
        served_free(&t->exact);
        served_free(&t->stream);
    }
    expect_idle(t->hub);
    expect_idle(t->spoke);
    stop(t);
}
END_TEST

START_TEST(the_wrong_form_for_the_type_is_said)
{
    struct deputies *t = start(ALLOW);

    open_client(t, "client", ALL_SCOPES, NULL);
    ck_assert_ptr_nonnull(
        strstr(reach(t, "peers/call", "{\"operation\":\"ops/stream\"}"), "INVALID_OPERATION_TYPE"));
    ck_assert_ptr_nonnull(strstr(reach(t, "peers/subscribe", "{\"operation\":\"ops/open\"}"),
                                 "INVALID_OPERATION_TYPE"));
    ck_assert_int_eq(runs(t), 0);
    stop(t);
}
END_TEST

START_TEST(without_a_peer_named_the_allowed_one_is_taken)
{
    struct deputies *t = start(ALLOW);

    /* Both serve twin/op, the configuration names it for the second only. */
    open_client(t, "client", ALL_SCOPES, NULL);
    reach(t, "peers/call", "{\"operation\":\"twin/op\"}");
    ck_assert_int_eq(t->twin_a.starts, 0);
    ck_assert_int_eq(t->twin_b.starts, 1);
    stop(t);
}
END_TEST

START_TEST(abort_by_the_client_reaches_the_peer)
{
    struct deputies *t = start(ALLOW);

    open_client(t, "client", ALL_SCOPES, NULL);
    wire_request(t->client, "1", "peers/subscribe", "{\"operation\":\"ops/stream\"}");
    wire_request(t->client, "2", "peers/call", "{\"operation\":\"ops/open\"}");
    settle(t->all, 3);
    wire_abort(t->client, "1");
    wire_abort(t->client, "2");
    settle(t->all, 3);
    ck_assert_int_eq(t->stream.ends, 1);
    ck_assert_int_eq(t->stream.why, ALK_END_ABORTED);
    ck_assert_int_eq(t->open.ends, 1);
    ck_assert_int_eq(t->open.why, ALK_END_ABORTED);
    wire_expect_nothing(t->client);
    expect_idle(t->hub);
    stop(t);
}
END_TEST

START_TEST(a_peer_that_leaves_ends_its_calls_and_its_names)
{
    struct deputies *t = start(ALLOW);

    open_client(t, "client", ALL_SCOPES, NULL);
    wire_request(t->client, "1", "peers/subscribe", "{\"operation\":\"ops/stream\"}");
    settle(t->all, 3);
    alk_connection_close(t->from_spoke, ALK_CLOSE_SHUTDOWN);
    settle(t->all, 3);
    wire_expect_error(t->client, "1", "INTERNAL", "connection closed");
    ck_assert_int_eq(t->stream.why, ALK_END_CLOSED);
    expect_not_found(t, "peers/call", "spoke", "ops/open", "null", "ops/open");
    stop(t);
}
END_TEST

START_TEST(a_lost_connection_of_a_peer_detaches_only_itself)
{
    struct deputies *t = start(ALLOW);
    alk_connection *a, *b;

    join(t->hub, &spoke_side, &a, t->spoke, &hub_side, &b);
    import_all(t->hub, t->spoke, a, 8);
    open_client(t, "client", ALL_SCOPES, NULL);
    reach(t, "peers/call", "{\"peer\":\"spoke\",\"operation\":\"ops/open\"}");
    ck_assert_int_eq(t->open.starts, 1);
    alk_connection_close(a, ALK_CLOSE_SHUTDOWN);
    settle(t->all, 3);
    ck_assert_int_eq(t->open.why, ALK_END_CLOSED);
    reach(t, "peers/call", "{\"peer\":\"spoke\",\"operation\":\"ops/open\"}");
    ck_assert_int_eq(t->open.starts, 2);
    alk_connection_unref(a);
    alk_connection_unref(b);
    stop(t);
}
END_TEST

/* ---- revocation -------------------------------------------------------------------------------- */

struct revocable {
    struct world *hub, *spoke;
    struct world *all[2];
    alk_identities *ids;
    alk_identity_provider provider;
    alk_connection *to_spoke, *from_spoke;
    struct wire *client;
    struct served stream, open;
    char client_token[ALK_TOKEN_SIZE], peer_token[ALK_TOKEN_SIZE];
};

static void configure(struct revocable *t, bool key, const char *scopes, bool peer)
{
    char json[1024], key_hash[65], peer_hash[65], err[200] = "";
    int n = 0;

    alk_token_hash(TEXT(t->client_token), key_hash);
    alk_token_hash(TEXT(t->peer_token), peer_hash);
    n = snprintf(json, sizeof json, "{\"peers\":[");
    if (peer)
        n += snprintf(
            json + n, sizeof json - (size_t)n,
            "{\"peer_id\":\"spoke\",\"auth_token_hashes\":[\"%s\"],\"scopes\":[],\"resources\":{}}",
            peer_hash);
    n += snprintf(json + n, sizeof json - (size_t)n, "],\"keys\":[");
    if (key)
        n += snprintf(json + n, sizeof json - (size_t)n,
                      "{\"prefix\":\"%.8s\",\"hash\":\"%s\",\"scopes\":%s}", t->client_token,
                      key_hash, scopes);
    snprintf(json + n, sizeof json - (size_t)n, "]}");
    ck_assert_msg(!alk_identities_load(t->ids, TEXT(json), 0, NULL, err, sizeof err), "%s", err);
}

static struct revocable *start_revocable(void)
{
    struct revocable *t = calloc(1, sizeof *t);
    struct side spoke = {.id = "spoke", .kind = ALK_KIND_PEER};
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who;
    char prefix[9];

    ck_assert_ptr_nonnull(t);
    ck_assert(!alk_token_new(t->client_token) && !alk_token_new(t->peer_token));
    t->ids = alk_identities_new();
    alk_identities_provider(t->ids, &t->provider, sizeof t->provider);
    configure(t, true, "[\"peers:call\"]", true);
    t->all[0] = t->hub = world_new();
    t->all[1] = t->spoke = world_new();
    t->hub->options.identities = &t->provider;
    ck_assert_int_eq(alk_registry_enable_peers(t->hub->reg, TEXT(ALLOW)), ALK_OK);
    add(t->spoke, "ops/open", &t->open, NULL);
    add_op(t->spoke, &(struct op){.name = "ops/stream",
                                  .type = ALK_SUBSCRIPTION,
                                  .handler = serve_later,
                                  .ud = &t->stream});
    world_start(t->hub);
    world_start(t->spoke);
    spoke.by_token = t->peer_token;
    join(t->hub, &spoke, &t->to_spoke, t->spoke, &hub_side, &t->from_spoke);
    import_all(t->hub, t->spoke, t->to_spoke, 2);
    snprintf(prefix, sizeof prefix, "%.8s", t->client_token);
    who = identity_of(prefix, "[\"peers:call\"]");
    o.identity = who;
    o.kind = ALK_KIND_KEY;
    o.by_token = t->client_token;
    t->client = wire_open(t->hub, &o);
    alk_identity_unref(who);
    wire_request(t->client, "1", "peers/subscribe", "{\"operation\":\"ops/stream\"}");
    wire_request(t->client, "2", "peers/call", "{\"operation\":\"ops/open\"}");
    settle(t->all, 2);
    ck_assert_int_eq(t->stream.starts, 1);
    ck_assert_int_eq(t->open.starts, 1);
    return t;
}

static void stop_revocable(struct revocable *t)
{
    wire_free(t->client);
    served_free(&t->stream);
    served_free(&t->open);
    alk_connection_unref(t->to_spoke);
    alk_connection_unref(t->from_spoke);
    settle(t->all, 2);
    world_free(t->hub);
    world_free(t->spoke);
    alk_identities_free(t->ids);
    free(t);
}

START_TEST(a_revoked_caller_loses_its_connection_and_what_runs_for_it_everywhere)
{
    struct revocable *t = start_revocable();

    configure(t, false, NULL, true);
    settle(t->all, 2);
    ck_assert_int_eq(t->client->closes, 1);
    ck_assert_int_eq(t->client->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(t->stream.ends, 1);
    ck_assert_int_eq(t->stream.why, ALK_END_ABORTED);
    ck_assert_int_eq(t->open.ends, 1);
    ck_assert_int_eq(t->open.why, ALK_END_ABORTED);
    expect_idle(t->hub);
    stop_revocable(t);
}
END_TEST

START_TEST(a_revoked_peer_is_detached_and_calls_through_it_fail)
{
    struct revocable *t = start_revocable();

    configure(t, true, "[\"peers:call\"]", false);
    settle(t->all, 2);
    ck_assert_int_eq(t->client->closes, 0);
    for (int i = 0; i < 2; i++) /* between the two calls there is no order */
        ck_assert_ptr_nonnull(strstr(wire_error(t->client), "INTERNAL: connection closed"));
    ck_assert_int_eq(t->stream.why, ALK_END_CLOSED);
    ck_assert_int_eq(t->open.why, ALK_END_CLOSED);
    wire_request(t->client, "3", "peers/call", "{\"operation\":\"ops/open\"}");
    wire_expect_error(t->client, "3", "NOT_FOUND", "operation not found: ops/open");
    expect_idle(t->hub);
    stop_revocable(t);
}
END_TEST

START_TEST(a_scope_that_was_taken_away_is_missing_from_the_next_call)
{
    struct revocable *t = start_revocable();

    configure(t, true, "[\"other:thing\"]", true);
    settle(t->all, 2);
    ck_assert_int_eq(t->client->closes, 0);
    wire_request(t->client, "3", "peers/call", "{\"operation\":\"ops/open\"}");
    ck_assert_ptr_nonnull(strstr(wire_error(t->client), "3 FORBIDDEN"));
    ck_assert_int_eq(t->open.starts, 1);
    stop_revocable(t);
}
END_TEST

START_TEST(a_malformed_configuration_of_the_deputy_is_refused)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"authority\":{\"label\":\"x\"}}",
        "{\"allow\":[]}",
        "{\"authority\":{\"label\":\"\"},\"allow\":[]}",
        "{\"authority\":{},\"allow\":[]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"\",\"operations\":[]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"operations\":[]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":[1,2],\"operations\":[]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[[1,2]]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[],\"x\":1}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\"}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[\"*\"]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[\"a/b*\"]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[\"\"]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[{\"peer\":\"a\",\"operations\":[7]}]}",
        "{\"authority\":{\"label\":\"x\"},\"allow\":[],\"deny\":[]}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        alk_registry *reg = alk_registry_new();

        ck_assert_msg(alk_registry_enable_peers(reg, TEXT(bad[i])) < 0, "%s", bad[i]);
        alk_registry_unref(reg);
    }
}
END_TEST

/* How many of the calls that the client makes of the peer start there, of that many. */
static int starts_of(struct deputies *t, const char *id, int count)
{
    int before = t->stream.starts, busy = 0;

    open_client(t, id, ALL_SCOPES, NULL);
    for (int i = 0; i < count; i++) {
        char number[16];
        const char *got;

        snprintf(number, sizeof number, "%d", i);
        wire_request(t->client, number, "peers/subscribe", "{\"operation\":\"ops/stream\"}");
        settle(t->all, 3);
        while ((got = wire_next(t->client))) {
            ck_assert_msg(strstr(got, "\"code\":\"BUSY\"") != NULL, "%s", got);
            busy++;
        }
    }
    ck_assert_int_eq(t->stream.starts - before, count - busy);
    return count - busy;
}

/* Of 16, an eighth is the node's own; a caller may have as many as are free. */
START_TEST(one_caller_leaves_room_in_the_peers_table_for_others_and_for_the_node)
{
    struct deputies *t = start(ALLOW_ALL);
    struct wire *first, *second;
    struct imported im = {0};
    alk_import_options io = {.size = sizeof io};
    alk_limits l;

    alk_node_get_limits(t->hub->node, &l, sizeof l);
    l.connection_calls = 16;
    ck_assert_int_eq(alk_node_set_limits(t->hub->node, &l), ALK_OK);
    ck_assert_int_eq(starts_of(t, "greedy", 12), 7);
    first = t->client;
    ck_assert_int_eq(starts_of(t, "modest", 3), 3);
    second = t->client;
    /* The same caller by another connection is the same caller. */
    ck_assert_int_eq(starts_of(t, "greedy", 1), 0);
    close_client(t);
    ck_assert_int_eq(alk_connection_import(t->to_spoke, &io, on_imported, &im), ALK_OK);
    settle(t->all, 3);
    ck_assert_int_eq(im.rc, ALK_OK);
    ck_assert_int_eq(im.done, 1);
    wire_free(first);
    settle(t->all, 3);
    ck_assert_int_eq(starts_of(t, "greedy", 4), 4);
    close_client(t);
    t->client = second;
    stop(t);
}
END_TEST

MAIN("peers_call", what_the_configuration_does_not_name_looks_as_if_it_did_not_exist,
     one_leading_slash_goes_and_no_more,
     the_callers_identity_and_the_deputys_authority_must_both_pass,
     resources_of_both_are_checked_against_the_inner_input,
     who_may_not_use_the_deputy_is_told_so_whatever_is_asked_for,
     without_configuration_the_deputy_does_not_exist,
     reserved_names_stay_out_of_reach_even_when_registered_by_hand_and_allowed,
     a_token_in_a_request_or_a_websocket_makes_no_peer,
     calls_and_streams_pass_through_with_their_values_and_faults,
     the_wrong_form_for_the_type_is_said, without_a_peer_named_the_allowed_one_is_taken,
     abort_by_the_client_reaches_the_peer, a_peer_that_leaves_ends_its_calls_and_its_names,
     a_lost_connection_of_a_peer_detaches_only_itself,
     a_revoked_caller_loses_its_connection_and_what_runs_for_it_everywhere,
     a_revoked_peer_is_detached_and_calls_through_it_fail,
     a_scope_that_was_taken_away_is_missing_from_the_next_call,
     a_malformed_configuration_of_the_deputy_is_refused,
     one_caller_leaves_room_in_the_peers_table_for_others_and_for_the_node)
