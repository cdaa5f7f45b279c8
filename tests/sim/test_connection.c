/* A connection's identity, by which token it came and what becomes of it when that is revoked;
 * and its end. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

#define BEGIN "{\"type\":\"call.aborted\",\"id\":"

/* ---- identity -------------------------------------------------------------------------------- */

#define TOKEN_A "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "alk_BBBBbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PRINT "ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A node whose peer "a" has TOKEN_A and a fingerprint, and whose key alk_BBBB is TOKEN_B. */
struct guarded {
    struct node n;
    alk_identities *ids;
    alk_identity_provider p;
};

static void configure(struct guarded *g, const char *a_members, const char *b_members, int64_t now)
{
    char a[65], b[65], config[1000];

    alk_token_hash(TEXT(TOKEN_A), a);
    alk_token_hash(TEXT(TOKEN_B), b);
    snprintf(
        config, sizeof config,
        "{\"peers\":[{\"peer_id\":\"a\",\"auth_token_hashes\":[\"%s\"],\"fingerprints\":[\"" PRINT
        "\"]%s}],"
        "\"keys\":[{\"prefix\":\"alk_BBBB\",\"hash\":\"%s\"%s}]}",
        a, a_members, b, b_members);
    ck_assert_int_eq(alk_identities_load(g->ids, TEXT(config), now, NULL, NULL, 0), ALK_OK);
}

static void guarded_init(struct guarded *g)
{
    alk_operation op;

    g->ids = alk_identities_new();
    ck_assert_ptr_nonnull(g->ids);
    alk_identities_provider(g->ids, &g->p, sizeof g->p);
    configure(g, ",\"scopes\":[\"s\"]", "", 0);
    node_add(&g->n);
    alk_operation_init(&op, sizeof op);
    op.name = "t/scoped";
    op.handler = serve_later;
    op.ud = &g->n.query;
    op.access_control = "{\"required_scopes\":[\"s\"]}";
    world_add_full(g->n.w, &op);
    g->n.w->options.identities = &g->p;
    node_start(&g->n);
}

static void guarded_fini(struct guarded *g)
{
    node_fini(&g->n);
    alk_identities_free(g->ids);
}

/* A connection that came by that credential. */
static struct wire *open_by(struct guarded *g, const char *token, const char *print)
{
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who = NULL;
    struct wire *r;

    o.kind = (uint32_t)(token ? g->p.by_token(g->p.ud, TEXT(token), &who)
                              : g->p.by_fingerprint(g->p.ud, TEXT(print), &who));
    ck_assert_ptr_nonnull(who);
    o.identity = who;
    o.by_token = token;
    o.by_fingerprint = print;
    r = wire_open(g->n.w, &o);
    alk_identity_unref(who);
    return r;
}

START_TEST(a_token_in_the_payload_replaces_the_identity_for_that_request)
{
    struct guarded g;
    struct wire *b;

    guarded_init(&g);
    wire_request(g.n.r, "1", "t/scoped", "null");
    wire_expect(g.n.r, FAULT("1", "FORBIDDEN", "authentication required", "false"));
    wire_request_with(g.n.r, "2", "t/scoped", "null", ",\"auth_token\":\"" TOKEN_A "\"");
    wire_expect_nothing(g.n.r);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
    ck_assert_ptr_null(alk_connection_identity(g.n.r->conn));
    wire_request(g.n.r, "3", "t/scoped", "null");
    wire_expect(g.n.r, FAULT("3", "FORBIDDEN", "authentication required", "false"));
    /* Also to less than the connection has. */
    b = open_by(&g, TOKEN_A, NULL);
    wire_request_with(b, "4", "t/scoped", "null", ",\"auth_token\":\"" TOKEN_B "\"");
    wire_expect(b, FAULT("4", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 0);
    wire_free(b);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_token_that_does_not_resolve_changes_nothing_and_the_tenth_closes)
{
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    a = open_by(&g, TOKEN_A, NULL);
    for (int i = 1; i < 10; i++) {
        wire_request_with(a, "1", "t/scoped", "null",
                          ",\"auth_token\":\"alk_nothing_that_anybody_knows\"");
        wire_expect_nothing(a);
        ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
        served_reply(&g.n.query, "1");
        wire_expect(a, RESPONDED("1", "1"));
        /* Good ones in between do not make up for it, ones that are no string do not count. */
        wire_request_with(a, "1", "t/echo", "1", ",\"auth_token\":\"" TOKEN_B "\"");
        wire_expect(a, RESPONDED("1", "1"));
        wire_request_with(a, "1", "t/echo", "1", ",\"auth_token\":5");
        wire_expect(a, RESPONDED("1", "1"));
    }
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 9);
    ck_assert_int_eq(
        wire_feed(
            a, "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/echo\","
               "\"auth_token\":\"\"}}"),
        ALK_ECLOSED);
    world_turn(g.n.w);
    ck_assert_int_eq(a->closes, 1);
    ck_assert_int_eq(a->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_uint_eq(world_stats(g.n.w).auth_failures, 10);
    ck_assert_int_eq(g.n.r->closes, 0);
    ck_assert(!world_logged(g.n.w, "alk_nothing"));
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_credential_that_no_longer_resolves_closes_its_connections_and_no_others)
{
    struct guarded g;
    struct wire *token, *print, *key, *vouched;
    alk_connection_options o = {.size = sizeof o};

    guarded_init(&g);
    token = open_by(&g, TOKEN_A, NULL);
    print = open_by(&g, NULL, PRINT);
    key = open_by(&g, TOKEN_B, NULL);
    o.identity = identity_of("a", "[]");
    vouched = wire_open(g.n.w, &o);
    alk_identity_unref(o.identity);
    wire_request(token, "1", "t/query", "null");
    world_turn(g.n.w);
    configure(&g, ",\"enabled\":false", "", 0);
    ck_assert_int_eq(token->closes, 0);
    world_turn(g.n.w);
    ck_assert_int_eq(token->closes, 1);
    ck_assert_int_eq(token->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(print->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(g.n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(key->closes + vouched->closes + g.n.r->closes, 0);
    wire_request(key, "1", "t/echo", "1");
    wire_expect(key, RESPONDED("1", "1"));
    wire_free(token);
    wire_free(print);
    wire_free(key);
    wire_free(vouched);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_credential_that_now_proves_somebody_else_closes_its_connections)
{
    struct guarded g;
    struct wire *token, *print;
    char hash[65], config[400];

    guarded_init(&g);
    token = open_by(&g, TOKEN_A, NULL);
    print = open_by(&g, NULL, PRINT);
    alk_token_hash(TEXT(TOKEN_A), hash);
    snprintf(config, sizeof config,
             "{\"peers\":[{\"peer_id\":\"other\",\"auth_token_hashes\":[\"%s\"]},{\"peer_id\":"
             "\"a\",\"fingerprints\":"
             "[\"" PRINT "\"]}]}",
             hash);
    ck_assert_int_eq(alk_identities_load(g.ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
    world_turn(g.n.w);
    ck_assert_int_eq(token->closes, 1);
    ck_assert_int_eq(token->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(print->closes, 0);
    wire_free(token);
    wire_free(print);
    guarded_fini(&g);
}
END_TEST

/* A key's id is its prefix, which is a good name of a peer too. */
START_TEST(a_credential_that_now_proves_another_kind_closes_its_connections)
{
    struct guarded g;
    struct wire *token;
    char hash[65], config[400];

    guarded_init(&g);
    alk_token_hash(TEXT(TOKEN_B), hash);
    snprintf(config, sizeof config,
             "{\"peers\":[{\"peer_id\":\"alk_BBBB\",\"auth_token_hashes\":[\"%s\"]}]}", hash);
    ck_assert_int_eq(alk_identities_load(g.ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
    token = open_by(&g, TOKEN_B, NULL);
    configure(&g, "", "", 0);
    world_turn(g.n.w);
    ck_assert_int_eq(token->closes, 1);
    ck_assert_int_eq(token->close_code, ALK_CLOSE_IDENTITY);
    wire_free(token);
    guarded_fini(&g);
}
END_TEST

START_TEST(a_key_that_expires_closes_its_connections)
{
    struct guarded g;
    struct wire *key;

    guarded_init(&g);
    configure(&g, "", ",\"expires_at\":\"1970-01-01T00:01:00Z\"", 0);
    key = open_by(&g, TOKEN_B, NULL);
    alk_identities_tick(g.ids, 59);
    world_turn(g.n.w);
    ck_assert_int_eq(key->closes, 0);
    alk_identities_tick(g.ids, 60);
    world_turn(g.n.w);
    ck_assert_int_eq(key->closes, 1);
    ck_assert_int_eq(key->close_code, ALK_CLOSE_IDENTITY);
    wire_free(key);
    guarded_fini(&g);
}
END_TEST

/* Whether the connection's remote is listed as a peer; it asks itself. */
static bool is_peer(struct wire *r, const char *id)
{
    const char *answer;

    wire_request(r, id, "services/list-peers", "{}");
    answer = wire_next(r);
    ck_assert_ptr_nonnull(answer);
    ck_assert_ptr_nonnull(strstr(answer, "\"peer_id\":\"local\""));
    return strstr(answer, "\"peer_id\":\"a\"") != NULL;
}

START_TEST(a_peer_over_websocket_is_one_as_long_as_its_entry_says_so)
{
    const char *scopes = ",\"scopes\":[\"peers:list\"]",
               *both = ",\"scopes\":[\"peers:list\"],\"websocket\":true";
    struct guarded g;
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who = NULL;
    struct wire *first, *second;

    guarded_init(&g);
    configure(&g, scopes, "", 0);
    o.kind = (uint32_t)g.p.by_token(g.p.ud, TEXT(TOKEN_A), &who);
    o.identity = who;
    o.by_token = TOKEN_A;
    o.websocket = 1;
    first = wire_open(g.n.w, &o);
    second = wire_open(g.n.w, &o);
    alk_identity_unref(who);
    ck_assert(!is_peer(first, "1"));
    for (int i = 0; i < 3; i++) {
        configure(&g, both, "", 0);
        world_turn(g.n.w);
        ck_assert(is_peer(first, "2") && is_peer(second, "2"));
        configure(&g, scopes, "", 0);
        world_turn(g.n.w);
        ck_assert(!is_peer(first, "3") && !is_peer(second, "3"));
    }
    ck_assert_int_eq(first->closes + second->closes, 0);
    wire_free(first);
    wire_free(second);
    guarded_fini(&g);
}
END_TEST

START_TEST(new_scopes_hold_from_the_next_call_on)
{
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request(a, "1", "t/scoped", "null");
    wire_expect_nothing(a);
    configure(&g, "", "", 0);
    world_turn(g.n.w);
    wire_request(a, "2", "t/scoped", "null");
    wire_expect(a, FAULT("2", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    /* What runs goes on. */
    served_reply(&g.n.query, "1");
    wire_expect(a, RESPONDED("1", "1"));
    ck_assert_int_eq(a->closes, 0);
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

START_TEST(forwarded_for_counts_only_from_a_peer_that_may_forward_and_never_for_access)
{
    static const char claim[] =
        ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":[\"s\"],\"resources\":{}}";
    static const char *const malformed[] = {
        ",\"forwarded_for\":5",
        ",\"forwarded_for\":{\"id\":\"a\"}",
        ",\"forwarded_for\":{\"id\":5,\"scopes\":[],\"resources\":{}}",
        ",\"forwarded_for\":{\"id\":[1,2],\"scopes\":[],\"resources\":{}}",
        ",\"forwarded_for\":{\"id\":{\"a\":1},\"scopes\":[],\"resources\":{}}",
        ",\"forwarded_for\":{\"id\":12345678901234567890123,\"scopes\":[],\"resources\":{}}",
        ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":{},\"resources\":{}}"};
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    configure(&g, "", "", 0);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request_with(a, "1", "t/query", "null", claim);
    wire_expect_nothing(a);
    ck_assert_ptr_null(context_of(g.n.query.call).forwarded_for);
    ck_assert_uint_eq(world_stats(g.n.w).discarded, 1);
    wire_free(a);
    configure(&g, ",\"may_forward\":true", "", 0);
    a = open_by(&g, TOKEN_A, NULL);
    wire_request_with(a, "1", "t/query", "null", claim);
    wire_expect_nothing(a);
    ck_assert_str_eq(context_of(g.n.query.call).forwarded_for,
                     "{\"id\":\"a\",\"scopes\":[\"s\"],\"resources\":{}}");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(g.n.query.call)), "a");
    ck_assert_str_eq(alk_identity_id(context_of(g.n.query.call).originator), "a");
    wire_request_with(a, "2", "t/scoped", "null", claim);
    wire_expect(a, FAULT("2", "FORBIDDEN", "not allowed to call t/scoped", "false"));
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        wire_request_with(a, "3", "t/query", "null", malformed[i]);
        wire_expect_nothing(a);
        ck_assert_ptr_null(context_of(g.n.query.call).forwarded_for);
        served_reply(&g.n.query, "1");
        wire_expect(a, RESPONDED("3", "1"));
    }
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

/* Two million bytes in the worst order: a list of strings that ends with one value that is none. */
START_TEST(a_forwarded_for_of_many_members_is_ignored_at_once)
{
    static const char *const ends[] = {"\"s\"]", "[0]]"};
    static const size_t counts[] = {4096, 450000};
    struct guarded g;
    struct wire *a;

    guarded_init(&g);
    configure(&g, ",\"may_forward\":true", "", 0);
    a = open_by(&g, TOKEN_A, NULL);
    for (size_t i = 0; i < 4; i++) {
        char *claim = repeated("\"s\",", counts[i / 2],
                               ",\"forwarded_for\":{\"id\":\"a\",\"scopes\":[", ends[i % 2]);
        char *whole = repeated("", 0, claim, ",\"resources\":{}}");

        wire_request_with(a, "1", "t/query", "null", whole);
        wire_expect_nothing(a);
        ck_assert_ptr_null(context_of(g.n.query.call).forwarded_for);
        ck_assert_uint_eq(world_stats(g.n.w).discarded, i + 1);
        served_reply(&g.n.query, "1");
        wire_expect(a, RESPONDED("1", "1"));
        free(claim);
        free(whole);
    }
    wire_free(a);
    guarded_fini(&g);
}
END_TEST

/* ---- the end of a connection ----------------------------------------------------------------- */

START_TEST(a_lost_connection_fails_what_is_pending_and_cancels_what_runs)
{
    struct node n;
    struct asked a, b;
    char id[64];

    node_init(&n);
    node_ask(&n, &a, false, id);
    node_ask(&n, &b, true, id);
    node_feed(&n, "call.responded", id, "{\"output\":1}");
    wire_request(n.r, "1", "t/query", "null");
    wire_request(n.r, "2", "t/stream", "null");
    world_turn(n.w);
    node_feed(&n, "call.responded", id, "{\"output\":2}");
    wire_request(n.r, "3", "t/echo", "null");
    alk_connection_lost(n.r->conn);
    ck_assert_int_eq(a.ends + b.ends + n.query.ends, 0);
    ck_assert_int_eq(alk_call_reply(n.query.call, "1", 1), ALK_EENDED);
    wire_expect_nothing(n.r);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    ck_assert_str_eq(asked_outcome(&b), "fault INTERNAL: connection closed 1 2");
    ck_assert_int_eq(a.retryable, 0);
    ck_assert_int_eq(n.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(n.stream.why, ALK_END_CLOSED);
    /* The link is gone: it is not closed again. */
    ck_assert_int_eq(n.r->closes, 0);
    ck_assert_uint_eq(world_stats(n.w).connections, 0);
    ck_assert_int_eq(wire_feed(n.r, BEGIN "\"1\",\"payload\":{}}"), ALK_ECLOSED);
    alk_connection_writable(n.r->conn);
    alk_connection_lost(n.r->conn);
    world_turn(n.w);
    asked_free(&a);
    asked_free(&b);
    node_fini(&n);
}
END_TEST

START_TEST(a_connection_is_closed_once_with_the_code_of_its_first_reason)
{
    struct node n;

    node_init(&n);
    alk_connection_close(n.r->conn, ALK_CLOSE_IDENTITY);
    alk_connection_close(n.r->conn, ALK_CLOSE_SHUTDOWN);
    ck_assert_int_eq(wire_feed(n.r, "nonsense"), ALK_ECLOSED);
    world_turn(n.w);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_IDENTITY);
    node_fini(&n);
}
END_TEST

START_TEST(a_handle_outlives_its_connection_and_its_dispatcher)
{
    struct world *w = world_new();
    alk_connection *c;
    alk_call_options o = {.size = sizeof o};
    struct wire *r;

    world_start(w);
    r = wire_open(w, NULL);
    c = alk_connection_ref(r->conn);
    wire_free(r);
    ck_assert_int_eq(alk_connection_call(c, TEXT("a"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    alk_dispatcher_free(w->d);
    ck_assert_int_eq(alk_connection_call(c, TEXT("a"), TEXT("1"), &o, NULL), ALK_ECLOSED);
    ck_assert_ptr_null(alk_connection_identity(c));
    ck_assert_uint_gt(w->memory.live, 0);
    alk_connection_unref(c);
    alk_node_unref(w->node);
    alk_registry_unref(w->reg);
    ck_assert_uint_eq(w->memory.live, 0);
    buf_fini(&w->log);
    free(w);
}
END_TEST

START_TEST(no_more_connections_than_the_node_may_have)
{
    struct node n;
    struct wire *second;
    alk_connection *c;
    alk_connection_options o = {.size = sizeof o};
    alk_link link = {.size = sizeof link};

    node_add(&n);
    n.w->limits.connections = 2;
    node_start(&n);
    second = wire_open(n.w, NULL);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ELIMIT);
    ck_assert_ptr_null(c);
    wire_free(second);
    second = wire_open(n.w, NULL);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, &link, &o), ALK_ELIMIT);
    wire_free(second);
    node_fini(&n);
}
END_TEST

START_TEST(a_connection_needs_a_link)
{
    struct node n;
    alk_connection *c;

    node_init(&n);
    ck_assert_int_eq(alk_connection_open(&c, n.w->d, NULL, NULL), ALK_EINVAL);
    ck_assert_ptr_null(c);
    node_fini(&n);
}
END_TEST

MAIN("connection", a_token_in_the_payload_replaces_the_identity_for_that_request,
     a_token_that_does_not_resolve_changes_nothing_and_the_tenth_closes,
     a_credential_that_no_longer_resolves_closes_its_connections_and_no_others,
     a_credential_that_now_proves_somebody_else_closes_its_connections,
     a_credential_that_now_proves_another_kind_closes_its_connections,
     a_key_that_expires_closes_its_connections,
     a_peer_over_websocket_is_one_as_long_as_its_entry_says_so,
     new_scopes_hold_from_the_next_call_on,
     forwarded_for_counts_only_from_a_peer_that_may_forward_and_never_for_access,
     a_forwarded_for_of_many_members_is_ignored_at_once,
     a_lost_connection_fails_what_is_pending_and_cancels_what_runs,
     a_connection_is_closed_once_with_the_code_of_its_first_reason,
     a_handle_outlives_its_connection_and_its_dispatcher,
     no_more_connections_than_the_node_may_have, a_connection_needs_a_link)
