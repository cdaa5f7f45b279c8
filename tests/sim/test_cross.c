/* What callers and a peer see of each other does not depend on which dispatcher of the node has the peer's connection: each
 * scenario runs with both on one dispatcher, then with the peer on another, and what was said is compared word for word. */
#include "sim/composer.h"
#include "sim/cross.h"
#include "support/node.h"

/* ---- the comparison -------------------------------------------------------------------------- */

typedef void (*scenario)(struct rig *r);

static void put_log(struct rig *r)
{
    struct buf *log = &r->near->log;
    const char *p, *end;

    *buf_reserve(log, 1) = 0;
    for (p = buf_at(log); *p; p = end + 1) {
        char line[1024];

        end = strchr(p, '\n');
        snprintf(line, sizeof line, "%.*s", (int)(end - p), p);
        /* What goes to the peer ends when its own dispatcher says so. Where a call and the one below
         * it have one deadline, either may be the first to notice. */
        if (!strncmp(line, "call ", 5) && !strstr(line, " - - -") &&
            !strstr(line, " aborted - handler:") && !strstr(line, " TIMEOUT - handler:"))
            put_line(&r->out, "log ", line);
    }
}

static char *told(scenario run, struct rig *r)
{
    char *text;

    run(r);
    see(r);
    put_log(r);
    *buf_reserve(&r->out, 1) = 0;
    text = strdup(buf_at(&r->out));
    rig_free(r);
    return text;
}

static void same(char *apart, char *together)
{
    size_t i = 0;

    while (apart[i] && apart[i] == together[i])
        i++;
    if (apart[i] != together[i]) {
        while (i && apart[i - 1] != '\n')
            i--;
        ck_abort_msg("with one dispatcher\n%.1500s\nwith two\n%.1500s", together + i, apart + i);
    }
    ck_assert(strstr(apart, "peer {"));
    free(apart);
    free(together);
}

static void compare(scenario run)
{
    char *together = told(run, rig_new(false));

    same(told(run, rig_new(true)), together);
}

#define SAME(name)                                                                                 \
    static void name##_scenario(struct rig *r);                                                    \
    START_TEST(name)                                                                               \
    {                                                                                              \
        compare(name##_scenario);                                                                  \
    }                                                                                              \
    END_TEST                                                                                       \
    static void name##_scenario(struct rig *r)

/* ---- values and ends ------------------------------------------------------------------------- */

static void pass_both_ways(struct rig *r, const char *value)
{
    size_t n = r->asks;

    call(r, n % 2 ? "a" : "b", n % 2 ? "p/query" : "p/mutate", value, "");
    see(r);
    if (n == r->asks)
        return;
    answer_value(r, n, value);
    see(r);
}

SAME(inputs_and_outputs_of_every_kind_pass)
{
    static const char *const values[] = {"null",
                                         "true",
                                         "-0",
                                         "-0.10e-400",
                                         "123456789012345678901234567890.50",
                                         "\"\"",
                                         "\"\\u0000\\u0001\\ud83d\\ude00\\\"\\\\\"",
                                         "{}",
                                         "[]",
                                         "{\"a\":{\"b\":[1,2.0,{\"c\":null}]},\"\":[[],{}]}"};
    char *deep;

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        pass_both_ways(r, values[i]);
    for (size_t depth = 120; depth <= 125; depth++) {
        char open[140], *close;

        memset(open, '[', depth);
        open[depth] = 0;
        close = repeated("]", depth, "", "");
        deep = repeated(close, 1, open, "");
        pass_both_ways(r, deep);
        free(deep);
        free(close);
    }
}

SAME(inputs_and_outputs_of_every_size_pass)
{
    static const size_t sizes[] = {16383, 16384, 262145, 1 << 20, 3 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *s = big(sizes[i]);

        pass_both_ways(r, s);
        free(s);
    }
}

SAME(faults_pass_with_code_details_and_whether_to_try_again)
{
    static const char *const faults[] = {
        "{\"code\":\"GONE\",\"message\":\"it is gone\",\"retryable\":false}",
        "{\"code\":\"GONE\",\"message\":\"\",\"retryable\":true,\"details\":{\"a\":[1,2]}}",
        "{\"code\":\"G\\u0000E\",\"message\":\"a\\u0000b\",\"retryable\":true,\"details\":null}",
        "{\"code\":\"NOT_FOUND\",\"message\":\"x\",\"retryable\":false}",
        "{\"code\":\"FORBIDDEN\",\"message\":\"x\",\"retryable\":false}",
        "{\"code\":\"INVALID_INPUT\",\"message\":\"x\",\"retryable\":false,\"details\":{\"errors\":"
        "[]}}",
        "{\"code\":\"INVALID_OPERATION_TYPE\",\"message\":\"x\",\"retryable\":false}",
        "{\"code\":\"TIMEOUT\",\"message\":\"x\",\"retryable\":true}",
        "{\"code\":\"BUSY\",\"message\":\"x\",\"retryable\":true}",
        "{\"code\":\"INTERNAL\",\"message\":\"x\",\"retryable\":false}",
        "{\"code\":7}",
        "{}"};
    char *text =
        repeated("long ", 2000, "{\"code\":\"LONG\",\"message\":\"", "\",\"retryable\":false}");

    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        size_t n = r->asks;

        call(r, "q", "p/query", "1", "");
        call(r, "s", "p/stream", "1", "");
        see(r);
        answer_value(r, n + 1, "\"first\"");
        answer(r, n, "error", faults[i]);
        answer(r, n + 1, "error", faults[i]);
        see(r);
    }
    call(r, "q", "p/query", "1", "");
    see(r);
    answer(r, r->asks - 1, "error", text);
    free(text);
}

SAME(a_subscription_has_its_values_in_order_and_its_end_behind_them)
{
    call(r, "1", "p/stream", "{\"from\":1}", "");
    call(r, "2", "p/stream", "{\"from\":2}", "");
    call(r, "3", "p/stream", "3", "");
    see(r);
    for (int i = 0; i < 500; i++) {
        char value[32];

        snprintf(value, sizeof value, "[%d]", i);
        answer_value(r, (size_t)i % 2, value);
        if (i % 100 == 0)
            see(r);
    }
    answer(r, 0, "completed", "{}");
    answer(r, 1, "error", "{\"code\":\"GONE\",\"message\":\"m\",\"retryable\":false}");
    answer(r, 2, "completed", "{}");
    see(r);
}

SAME(a_query_that_completes_without_a_value_has_no_result)
{
    call(r, "1", "p/query", "1", "");
    see(r);
    answer(r, 0, "completed", "{}");
}

/* ---- what goes along ------------------------------------------------------------------------- */

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SAME(hops_and_trace_and_who_asked_go_along)
{
    call(r, "1", "p/query", "1", ",\"hops\":3,\"traceparent\":\"" TRACE "\"");
    call(r, "2", "p/query", "1",
         ",\"hops\":7,\"forwarded_for\":{\"id\":\"other\",\"scopes\":[],\"resources\":{}}");
    call(r, "3", "p/query", "1", ",\"hops\":8");
    call(r, "4", "p/query", "1", ",\"hops\":9");
    call(r, "5", "p/stream", "1", ",\"hops\":2,\"timeout_ms\":70000");
}

SAME(a_handler_that_calls_is_who_calls)
{
    struct asked a, b, c;
    alk_call_options o;

    stream_options(&o);
    wire_request_with(r->client, "root", "x/root", "null", ",\"traceparent\":\"" TRACE "\"");
    see(r);
    nest(&a, &r->root, "p/query", "[1]", NULL);
    nest(&b, &r->root, "p/stream", "[2]", &o);
    nest(&c, &r->root, "p/nothing", "[3]", NULL);
    see(r);
    ck_assert_str_eq(asked_outcome(&c), "fault NOT_FOUND: operation not found: p/nothing");
    answer_value(r, 0, "\"one\"");
    answer_value(r, 1, "\"two\"");
    answer_value(r, 1, "\"three\"");
    answer(r, 1, "completed", "{}");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    put_line(&r->out, "b ", asked_outcome(&b));
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    served_reply(&r->root, "0");
}

static void say_context(struct rig *r)
{
    const alk_call_context x = context_of(r->hand.call);
    char text[1000];
    size_t len;

    snprintf(
        text, sizeof text,
        "id %s parent %s as %s for %s claim %s trace %s deadline %llu op %s input %s "
        "connection %d",
        alk_call_id(r->hand.call), x.parent_id ? x.parent_id : "-",
        alk_call_identity(r->hand.call) ? alk_identity_id(alk_call_identity(r->hand.call)) : "-",
        x.originator ? alk_identity_id(x.originator) : "-", x.forwarded_for ? x.forwarded_for : "-",
        x.traceparent ? x.traceparent : "-", (unsigned long long)(x.deadline - r->near->now),
        alk_call_operation(r->hand.call), alk_value_text(alk_call_input(r->hand.call), &len),
        alk_call_connection(r->hand.call) != NULL);
    put_line(&r->out, "hand ", text);
}

SAME(a_handler_of_the_program_for_a_peer_knows_what_it_would_know_anyway)
{
    struct asked a;

    wire_request_with(r->client, "root", "x/root", "null", ",\"traceparent\":\"" TRACE "\"");
    see(r);
    nest(&a, &r->root, "p/hand", "{\"n\":[1]}", NULL);
    see(r);
    say_context(r);
    served_reply(&r->hand, "\"by hand\"");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    asked_free(&a);
    served_reply(&r->root, "0");
    call(r, "2", "p/hand", "2", "");
    see(r);
    say_context(r);
    ck_assert_int_eq(served_fail(&r->hand, "BUSY", "not now", "{\"a\":1}"), ALK_OK);
    call(r, "3", "p/hand", "3", "");
    call(r, "4", "p/query", "4", "");
    see(r);
    ck_assert_int_eq(served_fail(&r->hand, "MINE", "no", "[2]"), ALK_OK);
    see(r);
    answer_value(r, 0, "1");
}

SAME(a_handler_of_the_program_for_a_peer_may_call_others)
{
    struct asked a, b;

    wire_request(r->client, "root", "x/root", "null");
    see(r);
    nest(&a, &r->root, "p/hand", "0", NULL);
    see(r);
    nest(&b, &r->hand, "p/query", "\"deeper\"", NULL);
    see(r);
    answer_value(r, 0, "\"from the peer\"");
    see(r);
    ck_assert_str_eq(asked_outcome(&b), "ok \"from the peer\"");
    asked_free(&b);
    nest(&b, &r->hand, "s/own", "\"of the session\"", NULL);
    see(r);
    ck_assert_str_eq(asked_outcome(&b), "ok \"of the session\"");
    asked_free(&b);
    served_reply(&r->hand, "1");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    asked_free(&a);
    served_reply(&r->root, "0");
}

/* ---- deadlines and aborts -------------------------------------------------------------------- */

SAME(deadlines_hold_to_the_millisecond)
{
    struct asked a;
    alk_call_options o = {.size = sizeof o, .timeout_ms = 20};

    call(r, "1", "p/query", "1", ",\"timeout_ms\":50");
    call(r, "2", "p/query", "1", "");
    call(r, "3", "p/stream", "1", ",\"timeout_ms\":60");
    call(r, "4", "p/stream", "1", "");
    wire_request_with(r->client, "root", "x/root", "null", ",\"timeout_ms\":1000");
    see(r);
    nest(&a, &r->root, "p/query", "1", &o);
    see(r);
    see_after(r, 19);
    see_after(r, 1);
    see_after(r, 29);
    see_after(r, 1);
    answer_value(r, 2, "\"still\"");
    see_after(r, 9);
    see_after(r, 1);
    see_after(r, 939);
    see_after(r, 1);
    put_line(&r->out, "a ", asked_outcome(&a));
    see_after(r, 29000);
    answer_value(r, 3, "\"for ever\"");
    see(r);
    wire_abort(r->client, "4");
    asked_free(&a);
}

SAME(an_abort_reaches_the_peer_whenever_it_comes)
{
    call(r, "1", "p/query", "1", "");
    call(r, "2", "p/stream", "1", "");
    call(r, "3", "p/stream", "1", "");
    call(r, "4", "p/hand", "1", "");
    see(r);
    answer_value(r, 1, "1");
    see(r);
    answer_value(r, 1, "2");
    wire_abort(r->client, "1");
    wire_abort(r->client, "2");
    wire_abort(r->client, "4");
    see(r);
    ck_assert_int_eq(r->hand.ends, 1);
    ck_assert_int_eq(r->hand.why, ALK_END_ABORTED);
    answer_value(r, 0, "\"late\"");
    answer_value(r, 1, "\"late\"");
    answer_value(r, 2, "\"last\"");
    answer(r, 2, "completed", "{}");
    see(r);
    wire_abort(r->client, "3");
    see(r);
}

SAME(the_end_of_a_handler_ends_what_it_has_called)
{
    struct asked a, b, c, d;
    alk_call_options o = {.size = sizeof o, .policy = ALK_CONTINUE_RUNNING}, s = o;

    s.stream = 1;
    wire_request(r->client, "root", "x/root", "null");
    see(r);
    nest(&a, &r->root, "p/query", "\"dependent\"", NULL);
    nest(&b, &r->root, "p/query", "\"goes on\"", &o);
    nest(&c, &r->root, "p/hand", "\"goes on\"", &o);
    nest(&d, &r->root, "p/stream", "\"goes on\"", &s);
    see(r);
    wire_abort(r->client, "root");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    put_line(&r->out, "b ", asked_outcome(&b));
    put_line(&r->out, "c ", asked_outcome(&c));
    put_line(&r->out, "d ", asked_outcome(&d));
    ck_assert_int_eq(r->hand.ends, 0);
    for (size_t i = 0; i < r->asks; i++)
        answer_value(r, i, "\"nobody hears\"");
    served_reply(&r->hand, "1");
    see(r);
    see_after(r, 30000);
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    asked_free(&d);
}

SAME(a_handler_for_a_peer_that_goes_on_alone_begins_nothing_new)
{
    struct asked a, b, c;
    alk_call_options o = {.size = sizeof o, .policy = ALK_CONTINUE_RUNNING};

    wire_request(r->client, "root", "x/root", "null");
    see(r);
    nest(&a, &r->root, "p/hand", "0", &o);
    see(r);
    nest(&b, &r->hand, "p/query", "\"before\"", NULL);
    see(r);
    wire_abort(r->client, "root");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    nest(&c, &r->hand, "p/query", "\"after\"", NULL);
    see(r);
    put_line(&r->out, "b ", asked_outcome(&b));
    put_line(&r->out, "c ", asked_outcome(&c));
    served_reply(&r->hand, "1");
    asked_free(&a);
    asked_free(&b);
    asked_free(&c);
    call(r, "q", "p/query", "1", "");
    see(r);
}

/* ---- the peer's connection ------------------------------------------------------------------- */

SAME(a_peer_that_goes_ends_a_query)
{
    call(r, "1", "p/query", "1", "");
    see(r);
    alk_connection_lost(r->peer->conn);
    see(r);
    call(r, "2", "p/query", "1", "");
    see(r);
}

SAME(a_peer_that_goes_ends_a_subscription_behind_its_values)
{
    call(r, "1", "p/stream", "1", "");
    call(r, "2", "p/hand", "1", "");
    see(r);
    answer_value(r, 0, "1");
    alk_connection_lost(r->peer->conn);
    see(r);
    served_reply(&r->hand, "\"by hand all the same\"");
    see(r);
}

SAME(what_runs_may_call_during_a_drain_and_nobody_else)
{
    struct asked a, b;

    wire_request(r->client, "root", "x/root", "null");
    see(r);
    nest(&a, &r->root, "p/query", "\"before\"", NULL);
    see(r);
    alk_dispatcher_drain(r->near->d);
    if (r->far != r->near)
        alk_dispatcher_drain(r->far->d);
    nest(&b, &r->root, "p/query", "\"meanwhile\"", NULL);
    call(r, "2", "p/query", "\"new\"", "");
    see(r);
    answer_value(r, 0, "1");
    answer_value(r, 1, "2");
    see(r);
    put_line(&r->out, "a ", asked_outcome(&a));
    put_line(&r->out, "b ", asked_outcome(&b));
    asked_free(&a);
    asked_free(&b);
    served_reply(&r->root, "3");
}

SAME(what_a_peer_serves_is_shown)
{
    wire_request(r->client, "1", "services/list-peers", "{}");
    wire_request(r->client, "2", "services/schema", "{\"name\":\"p/stream\",\"peer\":\"spoke\"}");
    wire_request(r->client, "3", "services/schema", "{\"name\":\"p/no\",\"peer\":\"spoke\"}");
    wire_request(r->client, "4", "services/schema", "{\"name\":\"p/query\"}");
    call(r, "5", "p/query", "1", "");
}

MAIN("cross", inputs_and_outputs_of_every_kind_pass, inputs_and_outputs_of_every_size_pass,
     faults_pass_with_code_details_and_whether_to_try_again,
     a_subscription_has_its_values_in_order_and_its_end_behind_them,
     a_query_that_completes_without_a_value_has_no_result, hops_and_trace_and_who_asked_go_along,
     a_handler_that_calls_is_who_calls,
     a_handler_of_the_program_for_a_peer_knows_what_it_would_know_anyway,
     a_handler_of_the_program_for_a_peer_may_call_others, deadlines_hold_to_the_millisecond,
     an_abort_reaches_the_peer_whenever_it_comes, the_end_of_a_handler_ends_what_it_has_called,
     a_handler_for_a_peer_that_goes_on_alone_begins_nothing_new, a_peer_that_goes_ends_a_query,
     a_peer_that_goes_ends_a_subscription_behind_its_values,
     what_runs_may_call_during_a_drain_and_nobody_else, what_a_peer_serves_is_shown)
