/* Calls that go on to another node: what the remote is told, hops, loops, slow clients, faults, and losses at either side. */
#include "core/connection.h"
#include "sim/composer.h"

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
    alk_call_options o = {.size = sizeof o};

    l->runs++;
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

static uint64_t share_of(const struct wire *r)
{
    return r->conn->account->share->bytes;
}

static void expect_paid_by_client(int size)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    char id[64], *text = big(size);
    uint64_t sent = 0;
    alk_call_options o;
    struct asked a;

    stream_options(&o);
    nest(&a, &c->root, "y/stream", "1", &o);
    snprintf(id, sizeof id, "%s", wire_id(wire_next(c->peer)));
    ck_assert_int_eq(alk_call_pause(a.call, 1), ALK_OK);
    for (; sent < 800000; sent += strlen(text)) {
        feed_value(c->peer, 0, id, text);
        world_turn(c->hub);
        ck_assert_uint_eq(share_of(c->peer), 0);
    }
    ck_assert_int_eq(a.ends, 0);
    ck_assert_uint_ge(share_of(c->client), 700000);
    ck_assert_int_eq(alk_call_pause(a.call, 0), ALK_OK);
    world_turn(c->hub);
    ck_assert_uint_eq(a.values, sent / strlen(text));
    ck_assert_uint_eq(share_of(c->client), 0);
    wire_abort(c->client, "root");
    world_turn(c->hub);
    asked_free(&a);
    free(text);
    chain_free(c);
}

/* Not by the peer, which could be read no more for want of room. */
START_TEST(who_is_slow_pays_for_what_waits)
{
    expect_paid_by_client(1000);
    expect_paid_by_client(40000);
}
END_TEST

/* One that has used up its part is too slow, also with small values. */
START_TEST(values_that_wait_stay_within_a_part)
{
    struct chain *c = chain_start(ALK_FORWARD_NONE, NULL, NULL, ALK_KIND_KEY, false);
    char id[8][64], *text = big(1000);
    alk_call_options o;
    struct asked a[8];
    alk_limits l;

    alk_node_get_limits(c->hub->node, &l, sizeof l);
    l.message_budget = 8u << 20;
    ck_assert_int_eq(alk_node_set_limits(c->hub->node, &l), ALK_OK);
    stream_options(&o);
    for (int i = 0; i < 8; i++) {
        nest(&a[i], &c->root, "y/stream", "1", &o);
        snprintf(id[i], sizeof id[i], "%s", wire_id(wire_next(c->peer)));
        ck_assert_int_eq(alk_call_pause(a[i].call, 1), ALK_OK);
    }
    for (int n = 0; n < 900; n++) {
        for (int i = 0; i < 8; i++)
            feed_value(c->peer, 0, id[i], text);
        world_turn(c->hub);
        ck_assert_uint_le(share_of(c->client), (1u << 20) + 8 * METER_MIN);
    }
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(alk_call_pause(a[i].call, 0), ALK_OK);
        world_turn(c->hub);
        ck_assert_int_eq(a[i].ends, 1);
        ck_assert_str_eq(a[i].code, "TOO_SLOW");
        asked_free(&a[i]);
    }
    ck_assert_uint_eq(share_of(c->client), 0);
    wire_abort(c->client, "root");
    world_turn(c->hub);
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

MAIN("compose_forward", a_forwarded_call_tells_the_originator_as_configured,
     a_received_claim_is_never_passed_on,
     a_forwarded_call_counts_hops_and_sends_the_time_that_is_left,
     eight_hops_are_served_and_nine_are_not, a_loop_between_two_hubs_ends_at_the_eighth_hop,
     the_peer_lost_fails_the_child_and_the_client_lost_aborts_it,
     the_limit_of_pending_calls_is_busy_for_a_forwarded_one,
     a_forwarded_stream_is_held_back_to_the_peer_by_a_slow_client,
     a_relay_that_keeps_up_in_the_end_is_not_too_slow,
     values_and_completion_held_for_a_client_that_goes_away_leave_nothing_behind,
     who_is_slow_pays_for_what_waits, values_that_wait_stay_within_a_part,
     faults_of_the_peer_pass_unchanged, an_ended_call_that_was_paused_does_not_keep_the_dispatcher)
