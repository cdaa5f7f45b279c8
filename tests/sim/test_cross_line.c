/* A program that selects a connection of another dispatcher reaches its remote as one of its own: what comes of each call, and
 * what the remote sees, is compared word for word. */
#include "core/connection.h"
#include "core/cross.h"
#include "core/dispatcher.h"
#include "core/forward.h"
#include "core/line.h"
#include "core/registry.h"
#include "core/resolve.h"
#include "sim/cross.h"
#include "support/node.h"

static struct served poor, pinned;

static struct rig *start_with(bool crosses, const struct side *side)
{
    struct rig *r = rig_prepare();

    memset(&poor, 0, sizeof poor);
    memset(&pinned, 0, sizeof pinned);
    add_op(r->near, &(struct op){.name = "x/poor",
                                 .handler = serve_later,
                                 .ud = &poor,
                                 .authority = "{\"label\":\"poor\",\"scopes\":[]}",
                                 .environment = "{\"allowed_ops\":[\"p/*\"]}"});
    add_op(r->near,
           &(struct op){.name = "x/pinned",
                        .handler = serve_later,
                        .ud = &pinned,
                        .authority = "{\"label\":\"pinned\",\"scopes\":[\"p:use\"]}",
                        .environment = "{\"peer_pinned\":[\"spoke/p/query\",\"other/p/mutate\"]}"});
    rig_start(r, crosses, false);
    if (side) {
        wire_free(r->peer);
        r->peer = wire_of(r->far, side, false);
        ck_assert_ptr_nonnull(connection_line(r->peer->conn));
        serve_by_hand(r->peer->conn, &r->hand);
    } else {
        ck_assert_ptr_nonnull(connection_line(r->peer->conn));
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"x/root", "x/poor", "x/pinned"};

        wire_request(r->client, names[i], names[i], "{}");
    }
    see(r);
    return r;
}

static void finish(struct rig *r)
{
    served_free(&poor);
    served_free(&pinned);
    rig_free(r);
}

/* A nested call of s's to what the peer serves, by its connection. */
static void select_peer(struct rig *r, struct asked *a, const struct served *s, const char *name,
                        bool stream, uint32_t timeout_ms)
{
    struct line *l = r->peer->conn->line;
    const bool crosses = r->far != r->near;
    alk_call_options o;

    asked_options(a, &o);
    o.stream = stream;
    o.timeout_ms = timeout_ms;
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = crosses ? NULL : r->peer->conn;
    ck_assert_int_eq(call_invoke(s->call, NULL, crosses ? l : NULL,
                                 (struct str){name, strlen(name)}, TEXT("{\"a\":[1.50]}"), &o,
                                 &a->call),
                     ALK_OK);
    see(r);
}

static void put_outcome(struct rig *r, struct asked *a)
{
    see(r);
    put_line(&r->out, "outcome ", asked_outcome(a));
    put_line(&r->out, "details ", a->details ? a->details : "none");
    asked_drop(a, r->near);
    see(r);
}

static void refused(struct rig *r, const struct served *s, const char *name, bool stream)
{
    struct asked a;

    select_peer(r, &a, s, name, stream, 0);
    put_outcome(r, &a);
}

typedef void scenario(struct rig *r);

static char *told(scenario *run, bool crosses, const struct side *side)
{
    struct rig *r = start_with(crosses, side);
    char *text;

    run(r);
    *buf_reserve(&r->out, 1) = 0;
    text = strdup(buf_at(&r->out));
    finish(r);
    return text;
}

static void compare(scenario *run, const struct side *side, const char *const *parts)
{
    char *apart = told(run, true, side), *together = told(run, false, side);

    ck_assert_str_eq(apart, together);
    for (; *parts; parts++)
        ck_assert_msg(strstr(apart, *parts) != NULL, "%s is not in %s", *parts, apart);
    free(apart);
    free(together);
}

static void outcomes(struct rig *r)
{
    struct asked a;

    select_peer(r, &a, &r->root, "p/query", false, 0);
    answer_value(r, 0, "{\"b\":2.50}");
    put_outcome(r, &a);
    select_peer(r, &a, &r->root, "/p/mutate", false, 0);
    answer(r, 1, "error",
           "{\"code\":\"OWN\",\"message\":\"m\",\"details\":[1],\"retryable\":true}");
    put_outcome(r, &a);
    select_peer(r, &a, &r->root, "p/stream", true, 0);
    for (int i = 0; i < 3; i++)
        answer_value(r, 2, "7");
    answer(r, 2, "completed", "{}");
    put_outcome(r, &a);
    select_peer(r, &a, &r->root, "p/stream", true, 0);
    alk_call_abort(a.call);
    put_outcome(r, &a);
    select_peer(r, &a, &r->root, "p/query", false, 500);
    see_after(r, 600);
    put_outcome(r, &a);
    select_peer(r, &a, &r->root, "p/hand", false, 0);
    served_reply(&r->hand, "\"by hand\"");
    put_outcome(r, &a);
}

START_TEST(each_outcome_is_the_same)
{
    static const char *const parts[] = {"outcome ok {\"b\":2.50}",
                                        "outcome fault OWN: m",
                                        "details [1]",
                                        "outcome ok 7 7 7",
                                        "outcome aborted",
                                        "outcome timeout",
                                        "outcome ok \"by hand\"",
                                        NULL};

    compare(outcomes, NULL, parts);
}
END_TEST

static void refusals(struct rig *r)
{
    refused(r, &r->root, "p/none", false);
    refused(r, &r->root, "x/root", false);
    refused(r, &r->root, "services/list", false);
    refused(r, &r->root, "s/own", false);
    refused(r, &r->root, "p/stream", false);
    refused(r, &r->root, "p/query", true);
    refused(r, &poor, "p/query", false);
    refused(r, &pinned, "p/mutate", false);
    refused(r, &pinned, "p/stream", true);
    ck_assert_uint_eq(r->asks, 0);
}

START_TEST(what_is_refused_is_refused_before_it_crosses)
{
    static const char *const parts[] = {"NOT_FOUND: operation not found: p/none",
                                        "NOT_FOUND: operation not found: x/root",
                                        "INVALID_OPERATION_TYPE", "FORBIDDEN", NULL};

    compare(refusals, NULL, parts);
}
END_TEST

static void ask_pinned(struct rig *r)
{
    struct asked a;

    select_peer(r, &a, &pinned, "p/query", false, 0);
    if (r->asks)
        answer_value(r, 0, "1");
    put_outcome(r, &a);
}

/* As a peer's; of another one, and of none. */
START_TEST(a_pin_holds_for_connections_of_others)
{
    static const struct side other = {.id = "other", .kind = ALK_KIND_PEER},
                             none = {.id = "spoke", .kind = ALK_KIND_KEY},
                             spok = {.id = "spok", .kind = ALK_KIND_PEER};
    static const char *const reached[] = {"outcome ok 1", NULL}, *const not [] = {"NOT_FOUND",
                                                                                  NULL};

    compare(ask_pinned, NULL, reached);
    compare(ask_pinned, &other, not );
    compare(ask_pinned, &none, not );
    compare(ask_pinned, &spok, not );
}
END_TEST

START_TEST(who_is_no_peer_is_reached_by_its_connection)
{
    static const struct side none = {.id = "spoke", .kind = ALK_KIND_KEY};
    static const char *const parts[] = {"outcome ok {\"b\":2.50}", NULL};

    compare(outcomes, &none, parts);
}
END_TEST

static void after_the_end(struct rig *r)
{
    struct asked a;

    select_peer(r, &a, &r->root, "p/query", false, 0);
    alk_connection_close(r->peer->conn, ALK_CLOSE_SHUTDOWN);
    put_outcome(r, &a);
    refused(r, &r->root, "p/query", false);
}

START_TEST(a_connection_that_is_shut_serves_nothing)
{
    static const char *const parts[] = {"outcome fault INTERNAL: connection closed",
                                        "NOT_FOUND: operation not found: p/query", NULL};

    compare(after_the_end, NULL, parts);
}
END_TEST

/* As one is that went while its opening was still to be told. */
START_TEST(one_that_was_shut_before_anybody_wanted_it_leads_nowhere)
{
    struct rig *r = start_with(true, NULL);
    struct wire *late = wire_of(r->far, &peer_side, false);
    struct line *l;

    serve_by_hand(late->conn, &r->hand);
    alk_connection_close(late->conn, ALK_CLOSE_SHUTDOWN);
    l = line_ref(connection_line(late->conn));
    ck_assert_ptr_null(l->conn);
    see(r);
    wire_free(late);
    ck_assert_ptr_null(l->conn);
    line_unref(l);
    finish(r);
}
END_TEST

START_TEST(one_that_is_shut_while_a_call_is_under_way_fails_it)
{
    struct rig *r = start_with(true, NULL);
    alk_call_options o;
    struct asked a;

    asked_options(&a, &o);
    o.selector = ALK_SELECT_CONNECTION;
    ck_assert_int_eq(call_invoke(r->root.call, NULL, r->peer->conn->line, str_of("p/query"),
                                 TEXT("{}"), &o, &a.call),
                     ALK_OK);
    world_turn(r->near);
    alk_connection_close(r->peer->conn, ALK_CLOSE_SHUTDOWN);
    see(r);
    ck_assert_str_eq(asked_outcome(&a), "fault INTERNAL: connection closed");
    asked_drop(&a, r->near);
    finish(r);
}
END_TEST

/* ---- calls of the program's own -------------------------------------------------------------- */

/* As a host makes them: by whatever name, as the node's own act. */
static void ask_unknown(struct rig *r, struct asked *a, const char *name, bool stream)
{
    struct target t = {.op = forward_unknown(stream), .line = r->peer->conn->line};
    struct msg *m = msg_new(&r->near->d->messages, NULL);
    struct request rq = {.msg = m,
                         .sink = &sink_callbacks,
                         .target = &t,
                         .want = stream ? WANT_STREAM : WANT_SINGLE,
                         .own = true};
    alk_call_options o;
    alk_call *call;

    asked_options(a, &o);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(msg_parse(m, TEXT("{\"a\":[1.50]}"), NULL), ALK_OK);
    rq.input = m->value.val;
    rq.name = str_of(name);
    rq.id = str_of("an id");
    call = call_start(r->near->d, &rq);
    ck_assert_ptr_nonnull(call);
    call->on_event = o.on_event;
    call->on_result = o.on_end;
    call->result_ud = o.ud;
    a->call = alk_call_ref(call);
    see(r);
}

static void expect_unknown(struct rig *r, struct asked *a, const char *outcome)
{
    see(r);
    ck_assert_str_eq(asked_outcome(a), outcome);
    asked_drop(a, r->near);
}

START_TEST(whatever_a_remote_has_is_called_by_its_name)
{
    struct rig *r = start_with(true, NULL);
    struct asked a;

    ask_unknown(r, &a, "any/thing", false);
    ck_assert_uint_eq(r->asks, 1);
    *buf_reserve(&r->out, 1) = 0;
    ck_assert_ptr_nonnull(strstr(buf_at(&r->out), "\"operationId\":\"/any/thing\""));
    ck_assert_ptr_nonnull(strstr(buf_at(&r->out), "\"input\":{\"a\":[1.50]}"));
    ck_assert_ptr_null(strstr(buf_at(&r->out), "forwarded_for"));
    answer_value(r, 0, "{\"b\":2.50}");
    expect_unknown(r, &a, "ok {\"b\":2.50}");
    ask_unknown(r, &a, "any/thing", false);
    answer(r, 1, "error", "{\"code\":\"FORBIDDEN\",\"message\":\"m\",\"retryable\":false}");
    expect_unknown(r, &a, "fault FORBIDDEN: m");
    ask_unknown(r, &a, "any/stream", true);
    answer_value(r, 2, "1");
    answer_value(r, 2, "2");
    answer(r, 2, "completed", "{}");
    expect_unknown(r, &a, "ok 1 2");
    *buf_reserve(&r->near->log, 1) = 0;
    ck_assert_ptr_nonnull(strstr(buf_at(&r->near->log), "any/stream"));
    finish(r);
}
END_TEST

/* By the connection where it is this loop's. */
static void ask_own(struct rig *r, struct asked *a, const char *name, bool stream)
{
    alk_call_options o;

    if (r->far != r->near) {
        ask_unknown(r, a, name, stream);
        return;
    }
    asked_options(a, &o);
    o.stream = stream;
    ck_assert_int_eq(alk_connection_call(r->peer->conn, name, strlen(name), TEXT("{\"a\":[1.50]}"),
                                         &o, &a->call),
                     ALK_OK);
    see(r);
}

/* It is the remote's affair how long it goes on. */
START_TEST(what_a_remote_was_asked_goes_on_in_a_drain)
{
    for (int crosses = 0; crosses < 2; crosses++) {
        struct rig *r = start_with(crosses, NULL);
        struct asked a;

        ask_own(r, &a, "any/stream", true);
        dispatcher_drain(r->near->d);
        dispatcher_drain(r->far->d);
        see(r);
        answer_value(r, 0, "1");
        answer(r, 0, "completed", "{}");
        expect_unknown(r, &a, "ok 1");
        finish(r);
    }
}
END_TEST

/* Each loop begins to drain when it hears of it. */
START_TEST(a_remote_whose_loop_drains_first_is_reached)
{
    for (int k = 0; k < 4; k++) {
        struct rig *r = start_with(k % 2, NULL);
        struct asked a, other;

        ask_own(r, &other, "any/other", false);
        dispatcher_drain(r->far->d);
        if (k / 2)
            select_peer(r, &a, &r->root, "p/query", false, 0);
        else
            ask_own(r, &a, "any/thing", false);
        ck_assert_uint_eq(r->asks, 2);
        answer_value(r, 1, "1");
        expect_unknown(r, &a, "ok 1");
        answer_value(r, 0, "1");
        expect_unknown(r, &other, "ok 1");
        finish(r);
    }
}
END_TEST

/* What waits for the program is charged to who has sent it, on either loop. */
START_TEST(the_remote_pays_for_values_that_wait)
{
    enum { STREAMS = 8, SIZE = 900000 };

    for (int crosses = 0; crosses < 2; crosses++) {
        struct rig *r = start_with(crosses, NULL);
        char *large = repeated("x", SIZE, "\"", "\"");
        struct asked a[STREAMS];
        uint64_t before;

        for (int i = 0; i < STREAMS; i++) {
            ask_own(r, &a[i], "any/stream", true);
            alk_call_pause(a[i].call, 1);
        }
        before = world_stats(r->near).message_bytes;
        for (int i = 0; i < STREAMS; i++) {
            answer_value(r, (size_t)i, large);
            rig_settle(r);
        }
        ck_assert_uint_ge(world_stats(r->near).message_bytes - before, STREAMS * SIZE);
        for (int i = 0; crosses && i < STREAMS; i++) { /* and those that are under way */
            answer_value(r, (size_t)i, large);
            rig_settle(r);
        }
        /* which is counted in steps */
        ck_assert_uint_ge(world_stats(r->near).message_bytes - before + STREAMS * METER_STEP,
                          (1u + (unsigned)crosses) * STREAMS * SIZE);
        for (int i = 0; i < STREAMS; i++)
            asked_drop(&a[i], r->near);
        free(large);
        finish(r);
    }
}
END_TEST

/* A remote that is there is reached while it is. */
START_TEST(it_is_called_in_a_drain_and_not_behind_its_end)
{
    struct rig *r = start_with(true, NULL);
    struct asked a;

    dispatcher_drain(r->near->d);
    dispatcher_drain(r->far->d);
    ask_unknown(r, &a, "any/thing", false);
    ck_assert_uint_eq(r->asks, 1);
    answer_value(r, 0, "1");
    expect_unknown(r, &a, "ok 1");
    alk_connection_close(r->peer->conn, ALK_CLOSE_SHUTDOWN);
    ask_unknown(r, &a, "any/thing", false);
    expect_unknown(r, &a, "fault BUSY: shutting down");
    finish(r);
}
END_TEST

START_TEST(a_loop_that_is_gone_fails_it)
{
    struct rig *r = start_with(true, NULL);
    struct line *l = line_ref(r->peer->conn->line);
    struct target t;
    struct asked a;

    ask_unknown(r, &a, "any/thing", false);
    alk_connection_unref(r->peer->conn);
    alk_dispatcher_free(r->far->d);
    r->far->d = NULL;
    expect_unknown(r, &a, "fault BUSY: shutting down");
    ck_assert(!line_target(l, str_of("p/query"), &t));
    wire_forget(r->peer);
    r->peer = NULL;
    line_unref(l);
    finish(r);
}
END_TEST

/* ---- where it came by ------------------------------------------------------------------------ */

static struct line *came_by;

static int look(alk_call *call, void *ud)
{
    (void)ud;
    came_by = cross_line(call);
    return alk_call_reply(call, "1", 1);
}

START_TEST(a_call_that_has_crossed_says_by_which_connection_it_came)
{
    for (int crosses = 0; crosses < 2; crosses++) {
        struct rig *r = rig_prepare();
        alk_operation op;

        op_fill(&op, &(struct op){.name = "h/look", .handler = look});
        ck_assert_int_eq(registry_add_at_home(r->near->reg, &op), ALK_OK);
        rig_start(r, crosses, false);
        r->near->node->home = port_ref(r->far->d->port);
        for (int known = 0; known < 2; known++) {
            struct line *l = known ? connection_line(r->client->conn) : NULL;

            came_by = (void *)r;
            wire_request(r->client, "1", "h/look", "{}");
            see(r);
            ck_assert_ptr_eq(came_by, l);
            came_by = NULL; /* or a line that is left behind would be none that is lost */
        }
        rig_free(r);
    }
}
END_TEST

MAIN("cross_line", each_outcome_is_the_same, what_is_refused_is_refused_before_it_crosses,
     a_pin_holds_for_connections_of_others, who_is_no_peer_is_reached_by_its_connection,
     a_connection_that_is_shut_serves_nothing,
     one_that_was_shut_before_anybody_wanted_it_leads_nowhere,
     one_that_is_shut_while_a_call_is_under_way_fails_it,
     what_a_remote_was_asked_goes_on_in_a_drain, a_remote_whose_loop_drains_first_is_reached,
     the_remote_pays_for_values_that_wait, whatever_a_remote_has_is_called_by_its_name,
     it_is_called_in_a_drain_and_not_behind_its_end, a_loop_that_is_gone_fails_it,
     a_call_that_has_crossed_says_by_which_connection_it_came)
