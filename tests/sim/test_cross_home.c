/* Operations that run at one dispatcher of the node, as those of a host's program do: what callers at another one see is what
 * they see there, word for word, and so is what the handler learns of them. */
#include "core/call.h"
#include "core/connection.h"
#include "core/dispatcher.h"
#include "core/registry.h"
#include "sim/cross.h"
#include "support/node.h"

static struct served later, stream;
static alk_dispatcher *ran_at;

static int context(alk_call *call, void *ud)
{
    alk_call_context c;
    char text[600];
    size_t len;

    (void)ud;
    ran_at = call->d;
    alk_call_get_context(call, &c, sizeof c);
    len =
        (size_t)snprintf(text, sizeof text,
                         "{\"id\":\"%s\",\"who\":%s,\"for\":%s,\"first\":\"%s\",\"trace\":\"%s\"}",
                         alk_call_id(call), alk_identity_json(alk_call_identity(call), &len),
                         c.forwarded_for ? c.forwarded_for : "null", alk_identity_id(c.originator),
                         c.traceparent ? c.traceparent : "");
    return alk_call_reply(call, text, len);
}

static int small(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_reply(call, "true", 4);
}

/* As a host does for its program: that may say INVALID_INPUT, which a handler may not. */
static int invalid(alk_call *call, void *ud)
{
    static const alk_fault f = {.size = sizeof f,
                                .code = ALK_INVALID_INPUT,
                                .message = "by the program",
                                .details = "{\"a\":[1]}"};

    return call_fail(call, &f, ud ? FAULT_OF_HOST : FAULT_OF_HANDLER);
}

static void add_home(struct rig *r, const struct op *op)
{
    alk_operation out;

    op_fill(&out, op);
    ck_assert_int_eq(registry_add_at_home(r->near->reg, &out), ALK_OK);
}

static struct rig *start(bool crosses)
{
    struct rig *r = rig_prepare();
    static int yes;

    memset(&later, 0, sizeof later);
    memset(&stream, 0, sizeof stream);
    ran_at = NULL;
    add_home(r, &(struct op){.name = "h/echo",
                             .handler = serve_echo,
                             .input = "{\"type\":\"object\"}",
                             .access = "{\"required_scopes\":[\"p:use\"]}"});
    add_home(r, &(struct op){.name = "h/hidden",
                             .handler = serve_echo,
                             .access = "{\"required_scopes\":[\"h:none\"]}"});
    add_home(r, &(struct op){.name = "h/context", .handler = context});
    add_home(r, &(struct op){.name = "h/small", .handler = small});
    add_home(r, &(struct op){.name = "h/invalid", .handler = invalid, .ud = &yes});
    add_home(r, &(struct op){.name = "h/wrong", .handler = invalid});
    add_home(r, &(struct op){.name = "h/later", .handler = serve_later, .ud = &later});
    add_home(r, &(struct op){.name = "h/stream",
                             .type = ALK_SUBSCRIPTION,
                             .handler = serve_later,
                             .ud = &stream});
    add_op(r->near, &(struct op){.name = "x/home",
                                 .handler = serve_later,
                                 .ud = &later,
                                 .authority = "{\"label\":\"composer\",\"scopes\":[]}",
                                 .environment = "{\"allowed_ops\":[\"h/*\"]}"});
    rig_start(r, crosses, false);
    r->near->node->home = port_ref(r->far->d->port);
    return r;
}

static void finish(struct rig *r)
{
    served_free(&later);
    served_free(&stream);
    rig_free(r);
}

static void ask_home(struct rig *r, const char *id, const char *operation, const char *input,
                     const char *extra)
{
    wire_request_with(r->client, id, operation, input, extra);
    see(r);
}

/* ---- the comparison -------------------------------------------------------------------------- */

typedef void scenario(struct rig *r);

static char *told(scenario *run, bool crosses)
{
    struct rig *r = start(crosses);
    char *text;

    run(r);
    *buf_reserve(&r->out, 1) = 0;
    text = strdup(buf_at(&r->out));
    finish(r);
    return text;
}

static void compare(scenario *run, const char *const *parts)
{
    char *apart = told(run, true), *together = told(run, false);

    ck_assert_str_eq(apart, together);
    for (; *parts; parts++)
        ck_assert_msg(strstr(apart, *parts) != NULL, "%s is not in %s", *parts, apart);
    free(apart);
    free(together);
}

static void outcomes(struct rig *r)
{
    ask_home(r, "1", "h/echo", "{\"a\":[1.50,\"\\u0000\"]}", "");
    ask_home(r, "2", "h/echo", "[]", "");
    ask_home(r, "3", "h/hidden", "{}", "");
    ask_home(r, "4", "h/none", "{}", "");
    ask_home(r, "5", "h/invalid", "{}", "");
    ask_home(r, "6", "h/wrong", "{}", "");
    ask_home(r, "7", "h/later", "{}", "");
    served_reply(&later, "\"late\"");
    see(r);
    ask_home(r, "8", "h/later", "{}", "");
    served_fail(&later, "OWN", "of its own", "[2]");
    see(r);
}

START_TEST(each_outcome_is_the_same)
{
    static const char *const parts[] = {"{\"output\":{\"a\":[1.50,\"\\u0000\"]}}",
                                        "\"id\":\"2\",\"payload\":{\"code\":\"INVALID_INPUT\"",
                                        "not allowed to call h/hidden",
                                        "operation not found: h/none",
                                        "\"INVALID_INPUT\",\"message\":\"by the program\"",
                                        "\"id\":\"6\",\"payload\":{\"code\":\"INTERNAL\"",
                                        "{\"output\":\"late\"}",
                                        "\"OWN\"",
                                        NULL};

    compare(outcomes, parts);
}
END_TEST

static void contexts(struct rig *r)
{
    ask_home(r, "an id", "h/context", "{}",
             ",\"forwarded_for\":{\"id\":\"somebody\",\"scopes\":[],\"resources\":{}},"
             "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"");
    ck_assert_ptr_eq(ran_at, r->far->d);
}

START_TEST(the_handler_learns_the_same)
{
    static const char *const parts[] = {"\"id\":\"an id\",\"who\":{\"id\":\"client\"",
                                        "\"for\":{\"id\":\"somebody\"", "\"first\":\"client\"",
                                        "\"trace\":\"00-0af7", NULL};

    compare(contexts, parts);
}
END_TEST

/* What is paid for it is given back, as finish looks. */
static void large_claims(struct rig *r)
{
    char *claim =
        repeated("\"a:scope\",", 4000, ",\"forwarded_for\":{\"id\":\"somebody\",\"scopes\":[",
                 "\"z\"],\"resources\":{}}");

    ask_home(r, "1", "h/small", "{}", claim);
    ask_home(r, "2", "h/hidden", "{}", claim);
    free(claim);
}

START_TEST(large_claims_cross)
{
    static const char *const parts[] = {"{\"output\":true}", NULL};

    compare(large_claims, parts);
}
END_TEST

static void streams(struct rig *r)
{
    ask_home(r, "1", "h/stream", "{}", "");
    for (int i = 0; i < 3; i++)
        served_emit(&stream, i % 2 ? "1" : "{\"a\":0}");
    see(r);
    alk_call_complete(stream.call);
    see(r);
    ask_home(r, "2", "h/stream", "{}", "");
    served_emit(&stream, "7");
    see(r);
    wire_abort(r->client, "2");
    see(r);
    ck_assert_int_eq(stream.ends, 2);
    ck_assert_int_eq(stream.why, ALK_END_ABORTED);
    ask_home(r, "3", "h/later", "{}", ",\"timeout_ms\":500");
    see_after(r, 600);
    ck_assert_int_eq(later.ends, 1);
    ck_assert_int_eq(later.why, ALK_END_TIMEOUT);
}

START_TEST(values_aborts_and_deadlines_go_through)
{
    static const char *const parts[] = {"\"id\":\"1\",\"payload\":{\"output\":{\"a\":0}}",
                                        "call.completed", "TIMEOUT", NULL};

    compare(streams, parts);
}
END_TEST

/* What was let in has room there too. */
static void large_inputs(struct rig *r)
{
    alk_limits l = r->near->limits;

    l.message_budget = 8u << 20;
    ck_assert_int_eq(alk_node_set_limits(r->near->node, &l), ALK_OK);
    for (size_t size = 100000; size < 1000000 && r->client->conn->closing < 0; size += 100000) {
        char *text =
            repeated("x", size,
                     "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":"
                     "\"h/small\",\"input\":{\"a\":\"",
                     "\"}}}");

        wire_feed(r->client, text);
        rig_settle(r);
        ck_assert(!buf_printf(&r->out, "%zu: %.160s\n", size, wire_next(r->client)));
        free(text);
    }
}

START_TEST(inputs_of_every_size_are_taken_by_both_or_by_none)
{
    static const char *const parts[] = {"100000: {\"type\":\"call.responded\"",
                                        "900000: {\"type\":\"call.responded\"", NULL};

    compare(large_inputs, parts);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------ */

START_TEST(calls_end_with_the_dispatcher_that_runs_them)
{
    struct rig *r = start(true);

    ask_home(r, "1", "h/later", "{}", "");
    served_free(&later);
    wire_free(r->peer);
    r->peer = NULL;
    alk_dispatcher_free(r->far->d);
    r->far->d = NULL;
    rig_settle(r);
    wire_expect_error(r->client, "1", "BUSY", "shutting down");
    wire_request(r->client, "2", "h/later", "{}");
    rig_settle(r);
    wire_expect_error(r->client, "2", "BUSY", "shutting down");
    finish(r);
}
END_TEST

/* What has come to it in this moment is with it. */
static void free_home(struct rig *r)
{
    alk_dispatcher_free(r->far->d);
    r->far->d = NULL;
}

/* Let in before both drained, and under way when the one that was to run it closes. */
START_TEST(what_is_under_way_at_the_close_does_not_begin)
{
    struct rig *r = start(true);

    wire_free(r->peer);
    r->peer = NULL;
    wire_request(r->client, "1", "h/later", "{}");
    dispatcher_drain(r->near->d);
    dispatcher_drain(r->far->d);
    world_turn(r->near);
    free_home(r);
    ck_assert_int_eq(later.starts, 0);
    rig_settle(r);
    wire_expect_error(r->client, "1", "BUSY", "shutting down");
    finish(r);
}
END_TEST

START_TEST(however_much_is_under_way)
{
    enum { CLIENTS = 6, CALLS = 1000 };
    const struct side side = {.id = "client", .scopes = "[]", .kind = ALK_KIND_KEY};
    struct rig *r = start(true);
    struct wire *more[CLIENTS];

    wire_free(r->peer);
    r->peer = NULL;
    for (int k = 0; k < CLIENTS; k++) {
        more[k] = wire_of(r->near, &side, false);
        for (int i = 0; i < CALLS; i++) {
            char id[12];

            snprintf(id, sizeof id, "%d", i);
            wire_request(more[k], id, "h/later", "{}");
        }
    }
    for (int i = 0; i < 10; i++)
        world_turn(r->near);
    free_home(r);
    ck_assert_int_eq(later.starts, 0);
    for (int i = 0; i < 10; i++)
        rig_settle(r);
    for (int k = 0; k < CLIENTS; k++) {
        ck_assert_uint_eq(more[k]->count, CALLS);
        wire_free(more[k]);
    }
    finish(r);
}
END_TEST

/* A handler's own subscription is the handler's affair, wherever it runs. */
static void nested_subscription(struct rig *r)
{
    struct asked a = {0};

    wire_request(r->client, "1", "x/home", "{}");
    rig_settle(r);
    nest(&a, &later, "h/stream", "{}",
         &(alk_call_options){.size = sizeof(alk_call_options), .stream = 1});
    rig_settle(r);
    ck_assert_int_eq(stream.starts, 1);
    dispatcher_drain(r->near->d);
    dispatcher_drain(r->far->d);
    rig_settle(r);
    ck_assert_int_eq(stream.ends, 0);
    served_emit(&stream, "7");
    rig_settle(r);
    ck_assert_int_eq(a.values, 1);
    served_reply(&later, "\"the end\"");
    see(r);
    ck_assert_int_eq(stream.ends, 1);
    asked_free(&a);
}

START_TEST(a_nested_subscription_goes_on_in_a_drain)
{
    static const char *const parts[] = {"the end", NULL};

    compare(nested_subscription, parts);
}
END_TEST

START_TEST(calls_to_one_that_stands_still_are_busy)
{
    struct rig *r = start(true);
    bool busy = false;

    for (int i = 0; i < 40 && !busy; i++) {
        char id[12];
        const char *said;

        snprintf(id, sizeof id, "%d", i);
        wire_request(r->client, id, "h/echo", "{}");
        r->near->now += 250 * MS;
        world_turn(r->near);
        said = wire_next(r->client);
        busy = said && strstr(said, "the loop that serves it is held up");
    }
    ck_assert(busy);
    r->far->now = r->near->now;
    rig_settle(r);
    while (wire_next(r->client))
        ;
    ask_home(r, "again", "h/echo", "{}", "");
    ck_assert_ptr_nonnull(strstr(r->client->sent[r->client->read - 1], "call.responded"));
    finish(r);
}
END_TEST

MAIN("cross_home", each_outcome_is_the_same, the_handler_learns_the_same, large_claims_cross,
     values_aborts_and_deadlines_go_through, calls_end_with_the_dispatcher_that_runs_them,
     calls_to_one_that_stands_still_are_busy, what_is_under_way_at_the_close_does_not_begin,
     however_much_is_under_way, a_nested_subscription_goes_on_in_a_drain,
     inputs_of_every_size_are_taken_by_both_or_by_none)
