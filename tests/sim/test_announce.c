/* services/announce answers, and the log says, who can call what was imported: as a peer or not, through peers/call or
 * not. Whoever announces has no other way to learn that it would wait for calls in vain. */
#include "sim/compose.h"

#define DEPUTY(peer, operation)                                                                    \
    "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"a:use\"]},\"allow\":[{\"peer\":\"" peer    \
    "\",\"operations\":[\"" operation "\"]}]}"
#define ANSWER(kind, peer, peers_call)                                                             \
    "ok {\"imported\":3,\"kind\":\"" kind "\",\"peer_id\":" peer ",\"peers_call\":" peers_call "}"
#define NO_PEER "import.done - - of no peer: only who has this connection calls them "

/* Of a spoke that is who it is at the hub. It serves a/open, a/scoped, for which the deputy has the scope, and b/other, for
 * which it has not. */
static void expect(const struct side *spoke_side, const char *deputy, const char *answer,
                   const char *log)
{
    static const struct side hub_side = {.id = "hub", .scopes = "[\"a:use\",\"b:use\"]"};
    static const struct op ops[] = {
        {.name = "a/open", .handler = serve_later},
        {.name = "a/scoped", .handler = serve_later, .access = "{\"required_scopes\":[\"a:use\"]}"},
        {.name = "b/other", .handler = serve_later, .access = "{\"required_scopes\":[\"b:use\"]}"}};
    struct world *hub = world_new(), *spoke = world_new(), *both[] = {hub, spoke};
    alk_connection *to_spoke, *to_hub;
    struct asked a;

    hub->options.debug_outputs = 1; /* the answer is as its schema says */
    if (deputy)
        ck_assert_int_eq(alk_registry_enable_peers(hub->reg, TEXT(deputy)), ALK_OK);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        add_op(spoke, &ops[i]);
    world_start(hub);
    world_start(spoke);
    join(hub, spoke_side, &to_spoke, spoke, &hub_side, &to_hub);
    ask(&a, to_hub, "services/announce", "{}");
    settle(both, 2);
    settle_after(both, 2, 1);
    ck_assert_str_eq(asked_outcome(&a), answer);
    ck_assert_msg(world_logged(hub, log), "%.*s", (int)hub->log.len, (char *)buf_at(&hub->log));
    asked_free(&a);
    alk_connection_unref(to_spoke);
    alk_connection_unref(to_hub);
    world_free(hub);
    world_free(spoke);
}

START_TEST(a_peer_learns_to_how_many_of_its_operations_peers_call_leads)
{
    static const struct side peer = {.id = "spoke", .kind = ALK_KIND_PEER};
    static const struct {
        const char *deputy, *answer, *log;
    } cases[] = {
        {DEPUTY("*", "a/*"), ANSWER("peer", "\"spoke\"", "2"), "of a peer: peers/call (2 of 3), "},
        {DEPUTY("spoke", "a/open"), ANSWER("peer", "\"spoke\"", "1"), "peers/call (1 of 3), "},
        {DEPUTY("spoke", "b/*"), ANSWER("peer", "\"spoke\"", "0"), "peers/call (0 of 3), "},
        {DEPUTY("other", "a/*"), ANSWER("peer", "\"spoke\"", "0"), "peers/call (0 of 3), "},
        {NULL, ANSWER("peer", "\"spoke\"", "null"), "peers/call is not enabled spoke "},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(&peer, cases[i].deputy, cases[i].answer, cases[i].log);
}
END_TEST

START_TEST(who_is_no_peer_learns_that_and_what_it_is)
{
    static const struct side key = {.id = "key", .kind = ALK_KIND_KEY};
    static const struct side websocket = {.id = "spoke", .kind = ALK_KIND_PEER, .websocket = 1};

    expect(&key, DEPUTY("*", "a/*"), ANSWER("key", "null", "0"), NO_PEER "key");
    expect(&websocket, DEPUTY("*", "a/*"), ANSWER("peer", "null", "0"), NO_PEER "spoke");
    expect(&websocket, NULL, ANSWER("peer", "null", "null"), NO_PEER "spoke");
}
END_TEST

START_TEST(over_websocket_the_entrys_word_makes_it_a_peer)
{
    static const struct side spoke = {
        .id = "spoke", .kind = ALK_KIND_PEER | ALK_PEER_WEBSOCKET, .websocket = 1};

    expect(&spoke, DEPUTY("*", "a/*"), ANSWER("peer", "\"spoke\"", "2"), "peers/call (2 of 3), ");
}
END_TEST

MAIN("announce", a_peer_learns_to_how_many_of_its_operations_peers_call_leads,
     who_is_no_peer_learns_that_and_what_it_is, over_websocket_the_entrys_word_makes_it_a_peer)
