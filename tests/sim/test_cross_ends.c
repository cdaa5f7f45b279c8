/* Calls that cross, while something goes away or does not move: either dispatcher at each step of a call, the connection, the
 * operations, the caller. Each call has one end, memory and charges come back, and others go on. Also backpressure, which
 * must hold the peer back however many dispatchers lie between. */
#include "core/connection.h"
#include "core/port.h"
#include "sim/composer.h"
#include "sim/cross.h"
#include "support/node.h"

/* ---- something goes, at each step ------------------------------------------------------------ */

enum loss {
    NOTHING,
    THE_PEER,
    THE_FAR,
    THE_NEAR,
    THE_CLIENT,
    THE_CALL,
    FAR_DRAINS,
    FAR_STOPS,
    LOSSES
};
#define STEPS 9

static void end_dispatcher(struct world *w, struct wire **wire)
{
    alk_connection_unref((*wire)->conn);
    alk_dispatcher_free(w->d);
    w->d = NULL;
    wire_forget(*wire);
    *wire = NULL;
}

static void lose(struct rig *r, enum loss loss)
{
    switch (loss) {
    case NOTHING:
        break;
    case THE_PEER:
        alk_connection_lost(r->peer->conn);
        break;
    case THE_FAR:
        end_dispatcher(r->far, &r->peer);
        break;
    case THE_NEAR:
        end_dispatcher(r->near, &r->client);
        break;
    case THE_CLIENT:
        alk_connection_lost(r->client->conn);
        break;
    case THE_CALL:
        wire_abort(r->client, "1");
        break;
    case FAR_STOPS:
        alk_dispatcher_drain(r->far->d);
        alk_dispatcher_drain(r->far->d);
        break;
    default:
        alk_dispatcher_drain(r->far->d);
    }
}

static int count_sent(const struct wire *w, const char *what)
{
    int n = 0;

    for (size_t i = 0; w && i < w->count; i++)
        n += strstr(w->sent[i], what) != NULL;
    return n;
}

/* The peer answers at once; its values come one by one, step by step. */
static void peer_answers(struct rig *r, const char *operation)
{
    static int said;

    if (r->hand.call && !r->hand.ends && r->hand.starts == 1) {
        alk_call_reply(r->hand.call, TEXT("\"by hand\""));
        return;
    }
    if (!r->peer || r->peer->closes)
        return;
    put_sent(r, r->peer, "peer ");
    if (!r->asks) {
        said = 0;
    } else if (strcmp(operation, "p/stream")) {
        if (!said++)
            answer_value(r, 0, "\"result\"");
    } else if (said++ < 3) {
        answer_value(r, 0, "\"value\"");
    } else {
        answer(r, 0, "completed", "{}");
    }
}

static void check_ends(struct rig *r, enum loss loss, bool stream)
{
    int values = count_sent(r->client, "\"call.responded\",\"id\":\"1\"");
    int ends = count_sent(r->client, "\"call.error\",\"id\":\"1\"") +
               count_sent(r->client, "\"call.completed\",\"id\":\"1\"");

    if (!stream)
        ends += values;
    if (loss == THE_CALL || loss == THE_CLIENT || loss == THE_NEAR)
        ck_assert_int_le(ends, 1);
    else
        ck_assert_int_eq(ends, 1);
    if (loss == NOTHING && stream)
        ck_assert_int_eq(values, 3);
    if (loss == FAR_DRAINS && count_sent(r->client, "call.error"))
        ck_assert_int_eq(count_sent(r->client, "\"code\":\"BUSY\""), 1);
}

static void run_with(const char *operation, enum loss loss, int when, bool far_first)
{
    struct rig *r = rig_new(true);

    call(r, "1", operation, "[1]", "");
    for (int step = 0; step < STEPS + 12; step++) {
        struct world *w = (step % 2 != 0) != far_first ? r->far : r->near;

        if (step == when)
            lose(r, loss);
        if (w->d)
            world_turn(w);
        peer_answers(r, operation);
    }
    check_ends(r, loss, !strcmp(operation, "p/stream"));
    /* Whoever is still there has a node that works. */
    if (loss != THE_NEAR && loss != THE_CLIENT) {
        wire_request(r->client, "after", "x/root", "1");
        rig_settle(r);
        served_reply(&r->root, "2");
        rig_settle(r);
        ck_assert_int_eq(count_sent(r->client, "\"call.responded\",\"id\":\"after\""), 1);
    }
    rig_free(r);
}

START_TEST(whatever_goes_at_whatever_step_each_call_has_one_end)
{
    static const char *const operations[] = {"p/query", "p/stream", "p/hand"};

    for (size_t i = 0; i < 3; i++) {
        for (int when = 0; when < STEPS; when++) {
            run_with(operations[i], (enum loss)_i, when, false);
            run_with(operations[i], (enum loss)_i, when, true);
        }
    }
}
END_TEST

/* Both at once, in either order, with calls on their way in both directions. */
START_TEST(both_dispatchers_may_go_one_after_the_other)
{
    for (int i = 0; i < 2 * STEPS; i++) {
        struct rig *r = rig_new(true);

        call(r, "1", "p/query", "1", "");
        call(r, "2", "p/stream", "1", "");
        call(r, "3", "p/hand", "1", "");
        for (int step = 0; step < i / 2; step++) {
            world_turn(step % 2 ? r->far : r->near);
            peer_answers(r, "p/stream");
        }
        lose(r, i % 2 ? THE_FAR : THE_NEAR);
        lose(r, i % 2 ? THE_NEAR : THE_FAR);
        rig_free(r);
    }
}
END_TEST

/* A node that drains as a whole lets finish what runs, also where that crosses; one dispatcher that
 * drains alone takes nothing from others. */
START_TEST(in_a_drain_of_all_what_runs_may_finish)
{
    for (int all = 0; all < 2; all++) {
        struct rig *r = rig_new(true);
        struct asked nested;
        alk_call_options o;

        wire_request(r->client, "1", "x/root", "1");
        /* The peer's connection has something to do, and so stays. */
        call(r, "2", "p/query", "1", "");
        see(r);
        ck_assert_uint_eq(r->asks, 1);
        if (all)
            alk_dispatcher_drain(r->near->d);
        alk_dispatcher_drain(r->far->d);
        asked_options(&nested, &o);
        ck_assert_int_eq(
            alk_call_invoke(r->root.call, TEXT("p/query"), TEXT("1"), &o, &nested.call), ALK_OK);
        see(r);
        ck_assert_uint_eq(r->asks, all ? 2 : 1);
        if (all)
            answer_value(r, 1, "\"result\"");
        answer_value(r, 0, "\"first\"");
        see(r);
        ck_assert_msg(strstr(asked_outcome(&nested), all ? "result" : "BUSY"), "%s",
                      asked_outcome(&nested));
        asked_free(&nested);
        served_reply(&r->root, "2");
        see(r);
        rig_free(r);
    }
}
END_TEST

/* ---- backpressure ---------------------------------------------------------------------------- */

static struct rig *slow_rig(void)
{
    struct rig *r = rig_prepare();

    rig_start(r, true, true);
    return r;
}

/* What the peer could say until it was held back. */
static int fill(struct rig *r, const char *format, int from)
{
    int n = from;

    for (; !r->peer->pauses || r->peer->resumes == r->peer->pauses; n++) {
        size_t size = strlen(format) + 32;
        char *text = malloc(size), *envelope = malloc(size + 200);

        ck_assert_int_lt(n, from + 2000000);
        snprintf(text, size, format, n);
        snprintf(envelope, size + 200,
                 "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}",
                 r->asked[0], text);
        ck_assert_int_eq(wire_feed_on(r->peer, r->peer->streams[0], envelope), ALK_OK);
        free(text);
        free(envelope);
        world_turn(r->far);
        world_turn(r->near);
    }
    return n;
}

static void check_order(struct rig *r, int *next)
{
    for (; r->client->read < r->client->count; r->client->read++) {
        const char *at = strstr(r->client->sent[r->client->read], "\"output\":[");

        if (!at)
            continue;
        ck_assert_int_eq(atoi(at + 10), *next);
        ++*next;
    }
}

static void slow_caller(const char *format, uint64_t most)
{
    struct rig *r = slow_rig();
    int next = 0, n = 0;

    call(r, "1", "p/stream", "1", "");
    see(r);
    ck_assert_uint_eq(r->asks, 1);
    for (int round = 0; round < 3; round++) {
        r->client->room = 0;
        n = fill(r, format, n);
        rig_settle(r);
        ck_assert_uint_le(world_stats(r->near).message_bytes, most);
        r->client->room = -1;
        alk_connection_writable(r->client->conn);
        rig_settle(r);
        check_order(r, &next);
        ck_assert_int_eq(next, n);
        ck_assert_int_eq(r->peer->resumes, r->peer->pauses);
    }
    answer(r, 0, "completed", "{}");
    rig_settle(r);
    ck_assert_int_eq(count_sent(r->client, "call.completed"), 1);
    rig_free(r);
}

/* Queues of the client's connection, of the call, on the way, of the peer's call: each up to its mark, 256 KiB, with what
 * belongs to the values. */
START_TEST(a_slow_caller_holds_the_peer_back_and_nothing_is_lost)
{
    char *large = repeated("x", 60000, "[%d,\"", "\"]");

    slow_caller(large, 2 << 20);
    free(large);
    slow_caller("[%d]", 2 << 20);
}
END_TEST

/* The largest value is taken alone, and passes. */
START_TEST(a_value_beyond_the_mark_passes)
{
    char *huge = repeated("x", 1 << 20, "[%d,\"", "\"]");

    slow_caller(huge, 8 << 20);
    free(huge);
}
END_TEST

START_TEST(who_is_slow_and_goes_leaves_nothing)
{
    for (int i = 0; i < 4; i++) {
        struct rig *r = slow_rig();
        char *large = repeated("x", 60000, "[%d,\"", "\"]");

        call(r, "1", "p/stream", "1", "");
        see(r);
        r->client->room = 0;
        fill(r, large, 0);
        free(large);
        if (i == 0)
            wire_abort(r->client, "1");
        else
            lose(r, i == 1 ? THE_CLIENT : i == 2 ? THE_NEAR : THE_FAR);
        rig_settle(r);
        if (r->client)
            r->client->room = -1;
        if (i != 2)
            alk_connection_writable(r->client->conn);
        rig_settle(r);
        rig_free(r);
    }
}
END_TEST

/* The budget is the caller's: of values that are too small to be counted each, it pays the sum. */
START_TEST(values_on_their_way_are_charged_to_who_asked)
{
    struct rig *r = slow_rig();
    uint64_t before;

    call(r, "1", "p/stream", "1", "");
    see(r);
    before = world_stats(r->near).message_bytes;
    for (int i = 0; i < 2000; i++) {
        char envelope[300];

        snprintf(envelope, sizeof envelope,
                 "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":[%d]}}",
                 r->asked[0], i);
        ck_assert_int_eq(wire_feed_on(r->peer, r->peer->streams[0], envelope), ALK_OK);
        world_turn(r->far);
    }
    ck_assert_uint_ge(world_stats(r->near).message_bytes, before + 65536);
    rig_settle(r);
    answer(r, 0, "completed", "{}");
    rig_settle(r);
    ck_assert_uint_eq(world_stats(r->near).message_bytes, 0);
    rig_free(r);
}
END_TEST

/* ---- a loop that does not turn --------------------------------------------------------------- */

START_TEST(a_loop_that_is_held_up_takes_no_more_and_others_go_on)
{
    struct rig *r = rig_new(true);
    struct world *third = view_new(r->near);
    struct wire *other =
        wire_of(third, &(struct side){.id = "third", .kind = ALK_KIND_PEER}, false);

    serve_by_hand(other->conn, &r->hand);
    call(r, "1", "p/query", "1", "");
    world_turn(r->near);
    r->near->now += PORT_STALE - 1;
    call(r, "2", "p/query", "1", "");
    world_turn(r->near);
    ck_assert_uint_eq(r->client->count, 0);
    r->near->now += 1;
    call(r, "3", "p/query", "1", "");
    wire_expect(r->client, FAULT("3", "BUSY", "the loop that serves it is held up", "true"));
    wire_request(r->client, "4", "peers/call",
                 "{\"peer\":\"third\",\"operation\":\"p/query\",\"input\":4}");
    world_turn(r->near);
    third->now = r->near->now;
    ck_assert_ptr_nonnull(strstr(wire_next(other), "\"input\":4"));
    /* It moves again, and has all that it took. */
    see(r);
    ck_assert_uint_eq(r->asks, 2);
    answer_value(r, 0, "\"first\"");
    answer_value(r, 1, "\"second\"");
    call(r, "5", "p/query", "1", "");
    see(r);
    ck_assert_uint_eq(r->asks, 3);
    ck_assert_int_eq(count_sent(r->client, "\"second\""), 1);
    wire_free(other);
    rig_settle(r);
    ck_assert_int_eq(count_sent(r->client, "\"call.error\",\"id\":\"4\""), 1);
    view_free(third);
    rig_free(r);
}
END_TEST

START_TEST(only_so_much_waits_for_a_loop)
{
    struct rig *r = rig_prepare();
    unsigned busy = 0;

    r->near->limits.connection_calls = 2 * PORT_WAITING_MAX;
    r->near->limits.message_budget = UINT32_MAX;
    r->near->options.log = NULL;
    rig_start(r, true, false);
    for (unsigned i = 0; i < PORT_WAITING_MAX + 10; i++) {
        char id[16];

        snprintf(id, sizeof id, "%u", i);
        call(r, id, "p/query", "1", "");
        if (i % 64 == 0)
            world_turn(r->near);
    }
    world_turn(r->near);
    for (; r->client->read < r->client->count; r->client->read++)
        busy +=
            strstr(r->client->sent[r->client->read], "the loop that serves it is held up") != NULL;
    ck_assert_uint_eq(busy, 10);
    alk_connection_lost(r->client->conn);
    rig_free(r);
}
END_TEST

/* ---- who serves ------------------------------------------------------------------------------ */

/* Of one id on both dispatchers the newest is asked, from wherever; when it goes, the other. */
START_TEST(the_newest_connection_is_asked_whichever_dispatcher_has_it)
{
    struct rig *r = rig_new(true);
    struct wire *newer = wire_of(r->near, &peer_side, false);

    serve_by_hand(newer->conn, &r->hand);
    call(r, "1", "p/query", "1", "");
    see(r);
    ck_assert_int_eq(count_sent(newer, "call.requested"), 1);
    ck_assert_int_eq(count_sent(r->peer, "call.requested"), 0);
    alk_connection_lost(newer->conn);
    call(r, "2", "p/query", "2", "");
    see(r);
    ck_assert_int_eq(count_sent(r->peer, "call.requested"), 1);
    ck_assert_int_eq(count_sent(r->client, "connection closed"), 1);
    answer_value(r, 0, "\"older\"");
    see(r);
    ck_assert_int_eq(count_sent(r->client, "\"older\""), 1);
    wire_free(newer);
    rig_free(r);
}
END_TEST

/* With a spoke that is a node: the hub imports again while calls are on their way. */
START_TEST(a_call_keeps_the_operation_that_it_was_checked_against)
{
    struct rig *r = rig_new(true);
    struct world *spoke = world_new(), *far_and_spoke[] = {r->far, spoke};
    alk_connection *to, *from;
    struct imported im = {0};
    alk_import_options o = {.size = sizeof o};
    struct served later = {0};

    add_op(spoke, &(struct op){.name = "p/later", .handler = serve_later, .ud = &later});
    world_start(spoke);
    join(r->far, &(struct side){.id = "node", .kind = ALK_KIND_PEER}, &to, spoke,
         &(struct side){.id = "hub", .kind = ALK_KIND_PEER}, &from);
    import_all(r->far, spoke, to, 1);
    r->near->now = r->far->now;
    for (int i = 0; i < 2; i++) {
        wire_request(r->client, i ? "2" : "1", "peers/call",
                     "{\"peer\":\"node\",\"operation\":\"p/later\",\"input\":1}");
        world_turn(r->near);
        if (i)
            rig_settle(r);
        settle_after(far_and_spoke, i ? 2 : 0, 1000);
        ck_assert_int_eq(alk_connection_import(to, &o, on_imported, &im), ALK_OK);
        settle(far_and_spoke, 2);
        ck_assert_int_eq(im.done, i + 1);
        ck_assert_int_eq(later.starts, i + 1);
        served_reply(&later, "[\"done\"]");
        settle(far_and_spoke, 2);
        rig_settle(r);
        ck_assert_int_eq(count_sent(r->client, "[\"done\"]"), i + 1);
    }
    served_free(&later);
    alk_connection_close(to, ALK_CLOSE_SHUTDOWN);
    settle(far_and_spoke, 2);
    alk_connection_unref(to);
    alk_connection_unref(from);
    world_free(spoke);
    rig_free(r);
}
END_TEST

/* A circle: the peer calls back what leads to it. Hops end it. */
START_TEST(a_circle_of_nodes_ends)
{
    struct rig *r = rig_new(true);
    int hops = 0;

    call(r, "1", "p/query", "1", "");
    for (int i = 0; i < 20; i++) {
        const char *e, *at;
        char extra[32], id[16];

        rig_settle(r);
        if (r->peer->read == r->peer->count)
            break;
        e = r->peer->sent[r->peer->read++];
        at = strstr(e, "\"hops\":");
        ck_assert_ptr_nonnull(at);
        hops = atoi(at + 7);
        snprintf(extra, sizeof extra, ",\"hops\":%d", hops);
        snprintf(id, sizeof id, "c%d", i);
        call(r, id, "p/query", "1", extra);
    }
    ck_assert_int_eq(hops, 9);
    ck_assert_int_eq(count_sent(r->client, "NOT_FOUND"), 1);
    rig_free(r);
}
END_TEST

/* A peer whose flags change stays where it is: others find it all the while. */
static uint32_t kind_now;
static uint64_t generation_now;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    (void)ud;
    (void)token;
    (void)len;
    *out = kind_now ? identity_of("spoke", "[]") : NULL;
    return (int)kind_now;
}

static int by_fingerprint(void *ud, const char *fp, size_t len, alk_identity **out)
{
    (void)ud;
    (void)fp;
    (void)len;
    *out = NULL;
    return ALK_KIND_NONE;
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return generation_now;
}

/* With a connection of the spoke more, whose kind is kind_now's. */
static struct rig *start_flagged(struct wire **peer, uint32_t kind, bool websocket)
{
    static const alk_identity_provider provider = {.size = sizeof provider,
                                                   .by_token = by_token,
                                                   .by_fingerprint = by_fingerprint,
                                                   .generation = generation};
    struct rig *r = rig_prepare();

    kind_now = kind;
    generation_now = 1;
    r->near->options.identities = &provider;
    rig_start(r, true, false);
    *peer =
        wire_of(r->far,
                &(struct side){
                    .id = "spoke", .kind = kind, .websocket = websocket, .by_token = "alk_token"},
                false);
    serve_by_hand((*peer)->conn, &r->hand);
    return r;
}

static void reflag(struct rig *r, uint32_t kind)
{
    kind_now = kind;
    generation_now++;
    rig_settle(r);
}

START_TEST(a_peer_that_is_reflagged_is_there_all_the_while_and_a_revoked_one_is_not)
{
    struct wire *peer;
    struct rig *r = start_flagged(&peer, ALK_KIND_PEER, false);

    call(r, "1", "p/query", "1", "");
    world_turn(r->near);
    reflag(r, ALK_KIND_PEER | ALK_PEER_MAY_FORWARD);
    ck_assert_int_eq(count_sent(peer, "call.requested"), 1);
    call(r, "2", "p/query", "1", "");
    world_turn(r->near);
    reflag(r, ALK_KIND_NONE);
    ck_assert_int_eq(peer->closes, 1);
    ck_assert_int_eq(count_sent(r->client, "connection closed"), 2);
    wire_free(peer);
    rig_free(r);
}
END_TEST

START_TEST(a_line_says_as_which_peer_its_connection_is_there)
{
    const struct str spoke = str_of("spoke");
    struct wire *peer;
    struct rig *r = start_flagged(&peer, ALK_KIND_PEER | ALK_PEER_WEBSOCKET, true);
    struct line *l = line_ref(connection_line(peer->conn));

    ck_assert(line_is_of(l, spoke) && !line_is_of(l, str_of("spok")) && !line_is_of(l, str_of("")));
    reflag(r, ALK_KIND_PEER);
    ck_assert(!line_is_of(l, spoke) && !line_is_of(l, str_of("")) && l->conn);
    reflag(r, ALK_KIND_PEER | ALK_PEER_WEBSOCKET);
    ck_assert(line_is_of(l, spoke));
    reflag(r, ALK_KIND_NONE);
    ck_assert(!line_is_of(l, spoke) && !l->conn);
    wire_free(peer);
    line_unref(l);
    rig_free(r);
}
END_TEST

START_TEST(a_caller_that_is_revoked_ends_what_it_has_elsewhere)
{
    struct rig *r = rig_prepare();
    struct wire *caller;
    alk_connection_options o = {.size = sizeof o, .kind = ALK_KIND_KEY, .by_token = "alk_token"};
    const alk_identity_provider provider = {.size = sizeof provider,
                                            .by_token = by_token,
                                            .by_fingerprint = by_fingerprint,
                                            .generation = generation};

    kind_now = ALK_KIND_KEY;
    generation_now = 1;
    r->near->options.identities = &provider;
    rig_start(r, true, false);
    o.identity = identity_of("spoke", "[\"p:use\",\"peers:*\"]");
    caller = wire_open(r->near, &o);
    alk_identity_unref(o.identity);
    for (int i = 0; i < 2; i++) {
        wire_request(caller, i ? "2" : "1", "peers/call",
                     "{\"peer\":\"spoke\",\"operation\":\"p/query\",\"input\":1}");
        world_turn(r->near);
        if (!i)
            rig_settle(r);
    }
    kind_now = ALK_KIND_NONE;
    generation_now++;
    world_turn(r->near);
    rig_settle(r);
    ck_assert_int_eq(caller->closes, 1);
    ck_assert_int_eq(count_sent(r->peer, "call.requested"), 1);
    ck_assert_int_eq(count_sent(r->peer, "call.aborted"), 1);
    wire_free(caller);
    rig_free(r);
}
END_TEST

START_TEST(an_abort_before_the_delivery_leaves_the_peer_unasked)
{
    struct rig *r = rig_new(true);

    call(r, "1", "p/query", "1", "");
    call(r, "2", "p/hand", "1", "");
    world_turn(r->near);
    wire_abort(r->client, "1");
    wire_abort(r->client, "2");
    world_turn(r->near);
    rig_settle(r);
    ck_assert_uint_eq(r->peer->count, 0);
    ck_assert_int_eq(r->hand.starts, 0);
    ck_assert_uint_eq(r->client->count, 0);
    rig_free(r);
}
END_TEST

/* What one dispatcher's callers see of a peer, those of all others see. */
START_TEST(both_dispatchers_show_the_same_peers)
{
    struct rig *r = rig_new(true);
    struct wire *other = wire_of(
        r->far,
        &(struct side){.id = "other", .scopes = "[\"p:use\",\"peers:*\"]", .kind = ALK_KIND_KEY},
        false);
    struct wire *second =
        wire_of(r->near, &(struct side){.id = "second", .kind = ALK_KIND_PEER}, false);
    struct wire *const askers[] = {r->client, other};

    serve_by_hand(second->conn, &r->hand);
    for (int i = 0; i < 2; i++) {
        wire_request(askers[i], "1", "services/list-peers", "{}");
        wire_request(askers[i], "2", "services/schema",
                     "{\"name\":\"p/query\",\"peer\":\"spoke\"}");
        wire_request(askers[i], "3", "services/schema",
                     "{\"name\":\"p/query\",\"peer\":\"second\"}");
        rig_settle(r);
    }
    ck_assert_uint_eq(other->count, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(other->sent[i], r->client->sent[i]);
    ck_assert_ptr_nonnull(strstr(other->sent[0], "\"spoke\""));
    ck_assert_ptr_nonnull(strstr(other->sent[0], "\"second\""));
    ck_assert_ptr_nonnull(strstr(other->sent[2], "\"name\":\"p/query\""));
    wire_free(other);
    wire_free(second);
    rig_free(r);
}
END_TEST

int main(void)
{
    const TTest *const more[] = {
        a_caller_that_is_revoked_ends_what_it_has_elsewhere,
        an_abort_before_the_delivery_leaves_the_peer_unasked,
        both_dispatchers_show_the_same_peers,
        both_dispatchers_may_go_one_after_the_other,
        in_a_drain_of_all_what_runs_may_finish,
        a_slow_caller_holds_the_peer_back_and_nothing_is_lost,
        a_value_beyond_the_mark_passes,
        who_is_slow_and_goes_leaves_nothing,
        values_on_their_way_are_charged_to_who_asked,
        a_loop_that_is_held_up_takes_no_more_and_others_go_on,
        only_so_much_waits_for_a_loop,
        the_newest_connection_is_asked_whichever_dispatcher_has_it,
        a_call_keeps_the_operation_that_it_was_checked_against,
        a_circle_of_nodes_ends,
        a_peer_that_is_reflagged_is_there_all_the_while_and_a_revoked_one_is_not,
        a_line_says_as_which_peer_its_connection_is_there};
    Suite *suite = suite_create("cross_ends");
    TCase *tcase = tcase_create("cross_ends");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, whatever_goes_at_whatever_step_each_call_has_one_end, NOTHING,
                        LOSSES);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        tcase_add_test(tcase, more[i]);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
