/* Calls of imported MCP tools, with a server that says exactly what the test has it say: what it receives, what callers
 * get, and that a server which means harm, or says nothing, costs no more than the call. */
#include "uv/mcp_rig.h"

#include "support/suite.h"

#define JSON "Content-Type: application/json\r\n"
#define OF_EVENTS OK_HEAD "Content-Type: text/event-stream\r\n"
#define NOTE(method, params)                                                                       \
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"params\":{" params "}}\n\n"

/* ---- results ----------------------------------------------------------------------------------- */

START_TEST(a_call_sends_its_arguments_and_returns_the_blocks)
{
    struct mcp_rig *x = mcp_rig_new();

    x->events = _i;
    x->tools = TOOL("a", "") ",{\"name\":\"b\",\"inputSchema\":{}}";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(mcp_called(x, "up/a", "{\"n\":1.10}",
                                "\"output\":[{\"type\":\"text\",\"text\":\"hello\"}]"),
                     200);
    ck_assert(strstr(x->called, "\"name\":\"a\",\"arguments\":{\"n\":1.10}"));
    ck_assert(strstr(x->called, "\r\nMcp-Name: a\r\n"));
    ck_assert(strstr(x->called, "\r\nMcp-Method: tools/call\r\n"));
    ck_assert(!strstr(x->called, "progressToken"));
    ck_assert_int_eq(mcp_called(x, "up/b", "null", "hello"), 200);
    ck_assert(strstr(x->called, "\"arguments\":{}"));
    ck_assert_int_eq(mcp_called(x, "up/b", "7", "INVALID_INPUT"), 422);
    ck_assert_int_eq(x->calls, 2);
    mcp_rig_free(x);
}
END_TEST

START_TEST(structured_content_comes_before_blocks)
{
    struct mcp_rig *x = mcp_rig_open(false);

    x->result = "\"structuredContent\":{\"n\":1e400}," TEXTS("hello");
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "\"output\":{\"n\":1e400}"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_tool_that_fails_says_why_in_its_blocks)
{
    struct mcp_rig *x = mcp_rig_open(false);

    x->result = "\"isError\":true,\"content\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":"
                "\"no\\u0000such city\"}]";
    ck_assert_int_eq(
        mcp_called(
            x, "up/a", "{}",
            "\"code\":\"MCP_TOOL_ERROR\",\"message\":\"no\\u0000such city\",\"retryable\":false,"
            "\"details\":[{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"no\\u0000such "
            "city\"}]"),
        500);
    x->result = "\"isError\":true,\"content\":[]";
    mcp_called(x, "up/a", "{}", "\"message\":\"the tool failed\"");
    mcp_rig_free(x);
}
END_TEST

static const struct {
    const char *result, *error, *call, *has;
    int status;
} failures[] = {
    {NULL, "{\"code\":-32603,\"message\":\"hidden\"}", NULL,
     "\"code\":\"INTERNAL\",\"message\":\"the server answered an error\"", 500},
    {NULL, "{\"code\":-32602,\"message\":\"hidden\"}", NULL, "\"code\":\"INTERNAL\"", 500},
    {"\"content\":7", NULL, NULL, "the tool's result has no content", 500},
    {"\"resultType\":\"input_required\",\"x\":1", NULL,
     OK_HEAD JSON "Content-Length: "
                  "78\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"resultType\":\"input_"
                  "required\",\"content\":[]}}",
     "the tool asks for more than it can be given here", 500},
    {NULL, NULL, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nhidden",
     "\"code\":\"UNAUTHORIZED\"", 502},
    {NULL, NULL, "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nhidden",
     "\"code\":\"UNAUTHORIZED\"", 502},
    {NULL, NULL, "HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nhidden", "the server answered 500",
     500},
    {NULL, NULL, "HTTP/1.1 404 Oh\r\nContent-Length: 6\r\n\r\nhidden", "the server answered 404",
     500},
    {NULL, NULL, OK_HEAD JSON "Content-Length: 2\r\n\r\n{]", "not JSON", 500},
    {NULL, NULL, OK_HEAD JSON "Content-Length: 4\r\n\r\nnull", "no message of JSON-RPC", 500},
    {NULL, NULL, OK_HEAD JSON "Content-Length: 400\r\n\r\n{", "the server's answer is incomplete",
     500},
    {NULL, NULL, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
     "the server answered nothing in place of JSON", 500},
    {NULL, NULL,
     OF_EVENTS "Content-Length: 44\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n\n",
     "the server answered another request", 500},
    {NULL, NULL,
     OF_EVENTS
     "Content-Length: 46\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"3\",\"result\":{}}\n\n",
     "the server answered another request", 500},
    {NULL, NULL, OF_EVENTS "Content-Length: 9\r\n\r\ndata: [\n\n", "not JSON", 500},
    {NULL, NULL, OF_EVENTS "Content-Length: 28\r\n\r\nevent: ping\ndata: [\n\n: end\n\n",
     "the server's stream ended before its answer", 500},
};
#define FAILURES (int)(sizeof failures / sizeof failures[0])

/* What servers write goes to the log alone. */
START_TEST(what_goes_wrong_with_a_call_is_said_by_its_kind)
{
    struct mcp_rig *x = mcp_rig_open(false);
    struct client c;

    x->result = failures[_i].result;
    x->error = failures[_i].error;
    x->call = failures[_i].call;
    mcp_ask(x, &c, "up/a", "{}");
    rig_until(x->r, x->calls);
    if (x->call && strstr(x->call, "Content-Length: 400"))
        for (struct up_conn *u = x->up.all; u; u = u->next)
            up_close(u);
    client_answer(&c);
    ck_assert_msg(strstr(c.body, failures[_i].has) != NULL && !strstr(c.body, "hidden"), "%s",
                  c.body);
    ck_assert_int_eq(c.status, failures[_i].status);
    client_close(&c);
    x->call = x->error = NULL;
    x->result = TEXTS("hello");
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_wrong_id_is_no_answer)
{
    struct mcp_rig *x = mcp_rig_open(_i & 1);

    x->wrong_id = true;
    x->events = _i & 2;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "the server answered another request"), 500);
    mcp_rig_free(x);
}
END_TEST

START_TEST(what_is_beside_the_answer_is_passed_over)
{
    struct mcp_rig *x = mcp_rig_open(false);

    x->events = true;
    x->before =
        ": comment\r\n\r\n" NOTE("notifications/progress", "\"progressToken\":3,\"progress\":1")
            NOTE("notifications/message",
                 "\"level\":\"info\"") "data: "
                                       "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"sampling/"
                                       "createMessage\"}\n\n"
                                       "event: endpoint\ndata: /else\n\n";
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_stream_that_does_not_end_does_not_hold_its_answer_up)
{
    struct mcp_rig *x = mcp_rig_open(false);
    uint64_t since;

    x->events = x->lingers = true;
    since = now_ms();
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    ck_assert_int_lt(now_ms() - since, 1000);
    rig_until(x->r, !x->up.open);
    mcp_rig_free(x);
}
END_TEST

#define HEADER(name, type, header)                                                                 \
    "\"" name "\":{\"type\":\"" type "\",\"x-mcp-header\":\"" header "\"}"
#define SCHEMA(name, more) "{\"name\":\"" name "\",\"inputSchema\":{\"type\":\"object\"," more "}}"

START_TEST(arguments_go_into_headers_where_the_tool_says_so)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = _i;
    x->tools = SCHEMA(
        "a",
        "\"properties\":{" HEADER("s", "string", "S") "," HEADER("n", "integer", "Num") "," HEADER(
            "b", "boolean",
            "B") ",\"o~/\":{\"properties\":{" HEADER("in", "string",
                                                     "Inner") "}}," HEADER("no", "string",
                                                                           "No") "}");
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->imported, 1);
    mcp_called(x, "up/a",
               "{\"s\":\"a b\",\"n\":42,\"b\":false,\"o~/\":{\"in\":\" h\u00fc \"},\"x\":1}",
               "hello");
    if (_i) {
        ck_assert(!strstr(x->called, "Mcp-Param-"));
    } else {
        ck_assert(up_line(&x->up, "Mcp-Param-S: a b") && up_line(&x->up, "Mcp-Param-Num: 42") &&
                  up_line(&x->up, "Mcp-Param-B: false"));
        ck_assert(up_line(&x->up, "Mcp-Param-Inner: =?base64?IGjDvCA=?="));
        ck_assert(!strstr(x->called, "Mcp-Param-No"));
        mcp_called(x, "up/a", "{\"s\":\"\",\"n\":-7.0,\"no\":\"=?base64?eA==?=\"}", "hello");
        ck_assert(up_line(&x->up, "Mcp-Param-S: =?base64?\?=") &&
                  up_line(&x->up, "Mcp-Param-Num: -7") &&
                  up_line(&x->up, "Mcp-Param-No: =?base64?PT9iYXNlNjQ/ZUE9PT89?="));
        mcp_called(x, "up/a", "{\"n\":9007199254740993}", "hello");
        ck_assert(!strstr(x->called, "Mcp-Param-"));
    }
    mcp_rig_free(x);
}
END_TEST

START_TEST(an_argument_that_is_too_long_for_a_header_is_invalid)
{
    struct mcp_rig *x = mcp_rig_new();
    char *text = malloc(9000 + 300);
    struct client c;
    int n;

    x->tools = SCHEMA("a", "\"properties\":{" HEADER("s", "string", "S") "}");
    mcp_open(x);
    mcp_wait(x, 1);
    n = sprintf(text, "POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                      "application/json\r\nContent-Length: 9037\r\n\r\n"
                      "{\"operation\":\"up/a\",\"input\":{\"s\":\"");
    memset(text + n, 's', 9000);
    strcpy(text + n + 9000, "\"}}");
    rig_client(x->r, &c);
    client_send(&c, text);
    ck_assert_int_eq(client_answer(&c), 422);
    ck_assert(strstr(c.body, "longer than 8192 bytes"));
    ck_assert_int_eq(x->calls, 0);
    client_close(&c);
    free(text);
    mcp_rig_free(x);
}
END_TEST

static const char *const misplaced[] = {
    SCHEMA("a", "\"x-mcp-header\":\"A\""),
    SCHEMA("a", "\"properties\":{" HEADER("s", "string", "") "}"),
    SCHEMA("a", "\"properties\":{" HEADER("s", "string", "a b") "}"),
    SCHEMA("a", "\"properties\":{" HEADER("s", "string", "a\\r\\nB: c") "}"),
    SCHEMA("a", "\"properties\":{" HEADER("s", "number", "A") "}"),
    SCHEMA("a", "\"properties\":{" HEADER("s", "object", "A") "}"),
    SCHEMA("a", "\"properties\":{" HEADER("s", "string", "Aa") "," HEADER("t", "string", "aA") "}"),
    SCHEMA("a", "\"anyOf\":[{\"properties\":{" HEADER("s", "string", "A") "}}]"),
    SCHEMA("a", "\"$defs\":{" HEADER("s", "string", "A") "}"),
    SCHEMA("a", "\"properties\":{\"l\":{\"items\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}"),
};
#define MISPLACED (int)(sizeof misplaced / sizeof misplaced[0])

START_TEST(a_tool_whose_headers_are_wrong_is_left_out)
{
    struct mcp_rig *x = mcp_rig_new();
    char tools[1000];

    snprintf(tools, sizeof tools, "%s," TOOL("b", ""), misplaced[_i]);
    x->tools = tools;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->imported, 1);
    ck_assert_msg(strstr(x->warned, "[a] x-mcp-header") != NULL, "%s", x->warned);
    ck_assert_int_eq(mcp_called(x, "up/b", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

/* ---- ends -------------------------------------------------------------------------------------- */

START_TEST(a_server_that_hangs_costs_the_call_its_time)
{
    struct mcp_rig *x = mcp_rig_open(false);
    struct client c;

    x->call = "";
    rig_client(x->r, &c);
    client_send(&c, "POST /call HTTP/1.1\r\nHost: localhost\r\nX-Timeout-Ms: 300\r\nContent-Type: "
                    "application/json\r\n"
                    "Content-Length: 31\r\n\r\n{\"operation\":\"up/a\",\"input\":{}}");
    rig_until(x->r, x->calls);
    x->call = NULL;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    ck_assert_int_eq(client_answer(&c), 504);
    client_close(&c);
    mcp_rig_free(x);
}
END_TEST

START_TEST(who_gives_a_call_up_cancels_the_request)
{
    struct mcp_rig *x = mcp_rig_open(_i);
    struct client c;

    x->call = "";
    mcp_ask(x, &c, "up/a", "{}");
    rig_until(x->r, x->calls);
    client_reset(&c);
    rig_until(x->r, x->stream->ended);
    if (_i) {
        char wanted[100];

        rig_until(x->r, x->cancels == 1);
        snprintf(wanted, sizeof wanted, "\"requestId\":%s", strstr(x->called, "\"id\":") + 5);
        *strchr(wanted, ',') = 0;
        ck_assert(strstr(x->cancelled, wanted) && !strstr(x->cancelled, "\"id\":"));
    } else {
        rig_steps(x->r, 100);
        ck_assert_int_eq(x->cancels, 0);
    }
    mcp_rig_free(x);
}
END_TEST

/* Each of them holds a connection for as long as its answer may take, and calls need those. */
START_TEST(a_server_that_answers_no_cancellation_hears_of_so_many_only)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->call = "";
    x->mute = true;
    for (int i = 1; i <= 20; i++) {
        struct client c;

        mcp_ask(x, &c, "up/a", "{}");
        rig_until(x->r, x->calls == i);
        client_reset(&c);
        rig_until(x->r, x->stream->ended);
    }
    rig_steps(x->r, 100);
    ck_assert_int_eq(x->cancels, 8);
    x->call = NULL;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_server_that_answers_cancellations_hears_of_all)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->call = "";
    for (int i = 1; i <= 20; i++) {
        struct client c;

        mcp_ask(x, &c, "up/a", "{}");
        rig_until(x->r, x->calls == i);
        client_reset(&c);
        rig_until(x->r, x->cancels == i);
    }
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_loop_that_closes_ends_its_calls)
{
    struct mcp_rig *x = mcp_rig_open(_i & 1);
    struct client c;

    x->events = _i & 2;
    x->call = "";
    mcp_ask(x, &c, "up/a", "{}");
    rig_until(x->r, x->calls);
    rig_close(x->r);
    for (int i = 0; i < 5; i++)
        uv_run(&x->r->uv, UV_RUN_NOWAIT);
    client_close(&c);
    mcp_rig_free(x);
}
END_TEST

/* ---- sessions ---------------------------------------------------------------------------------- */

START_TEST(a_session_that_has_expired_is_opened_again_once_for_all)
{
    struct mcp_rig *x = mcp_rig_open(true);
    struct client c[8];

    x->session++; /* it is forgotten */
    for (int i = 0; i < 8; i++)
        mcp_ask(x, &c[i], "up/a", "{}");
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(client_answer(&c[i]), 200);
        client_close(&c[i]);
    }
    ck_assert_int_eq(x->hellos, 2);
    ck_assert_int_eq(x->discovers, 1);
    ck_assert_int_eq(x->calls, 8);
    ck_assert(strstr(x->called, "Mcp-Session-Id: s3"));
    mcp_rig_free(x);
}
END_TEST

static void on_other_value(alk_call *call, const alk_value *value, void *ud)
{
    size_t n;

    (void)call;
    *(int *)ud += strstr(alk_value_text(value, &n), "hello") ? 1 : 1000;
}

/* Whichever loop finds it gone first opens it for the other. */
START_TEST(loops_share_a_session_and_open_it_again_once)
{
    struct mcp_rig *x = mcp_rig_open(true);
    alk_connection *one, *other;
    alk_connection_options o = {.size = sizeof o};
    alk_call_options co = {.size = sizeof co};
    alk_dispatcher *d;
    alk_loop *l;
    uv_loop_t uv;
    uv_timer_t alive; /* it has nothing else to run for */
    struct client c;
    int values = 0;

    ck_assert(!uv_loop_init(&uv) && !alk_dispatcher_new(&d, x->r->node) &&
              !alk_loop_open(&l, &uv, d));
    uv_timer_init(&uv, &alive);
    uv_timer_start(&alive, mcp_end, 1000000, 0);
    ck_assert_int_eq(alk_pair_open(d, &o, &one, d, &o, &other), ALK_OK);
    co.on_event = on_other_value;
    co.ud = &values;
    for (int round = 1; round <= 3; round++) {
        x->session++; /* it is forgotten */
        mcp_ask(x, &c, "up/a", "{}");
        ck_assert_int_eq(alk_connection_call(one, "up/a", 4, "{}", 2, &co, NULL), ALK_OK);
        rig_until(x->r, (uv_run(&uv, UV_RUN_NOWAIT), values == round));
        ck_assert_int_eq(client_answer(&c), 200);
        client_close(&c);
        ck_assert_int_eq(x->hellos, 1 + round);
        ck_assert_int_eq(x->calls, 2 * round);
    }
    alk_connection_unref(one);
    alk_connection_unref(other);
    uv_close((uv_handle_t *)&alive, NULL);
    alk_loop_close(l, NULL, NULL);
    uv_run(&uv, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&uv), 0);
    mcp_rig_free(x);
}
END_TEST

static bool forget(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    mcp_say(c, "404 Not Found", "", "");
    return true;
}

START_TEST(a_server_that_forgets_every_session_is_asked_twice)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->on_call = forget;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "the server answered 404"), 500);
    ck_assert_int_eq(x->calls, 2);
    ck_assert_int_eq(x->hellos, 2);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_session_that_cannot_be_opened_again_fails_all_that_wait)
{
    struct mcp_rig *x = mcp_rig_open(true);
    struct client c[4];

    x->session++;
    x->version = "2024-11-05";
    for (int i = 0; i < 4; i++)
        mcp_ask(x, &c[i], "up/a", "{}");
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(client_answer(&c[i]), 500);
        ck_assert(
            strstr(c[i].body, "the server's session has expired, and no other can be opened"));
        client_close(&c[i]);
    }
    ck_assert_int_le(x->hellos, 3);
    ck_assert_int_eq(x->calls, 0);
    mcp_rig_free(x);
}
END_TEST

START_TEST(who_gives_up_while_he_opens_the_session_leaves_it_to_the_next)
{
    struct mcp_rig *x = mcp_rig_open(true);
    struct client first, second;

    x->session++;
    x->up.answer = NULL; /* says nothing */
    mcp_ask(x, &first, "up/a", "{}");
    rig_until(x->r, mcp_is(x, "tools/call"));
    x->up.answer = mcp_serve;
    mcp_serve(x->up.all->closed ? x->up.all->next : x->up.all); /* 404 */
    x->up.answer = NULL;
    rig_until(x->r, mcp_is(x, "initialize"));
    x->up.answer = mcp_serve;
    mcp_ask(x, &second, "up/a", "{}");
    rig_steps(x->r, 100);
    ck_assert_int_eq(x->hellos, 1);
    client_close(&first);
    ck_assert_int_eq(client_answer(&second), 200);
    client_close(&second);
    ck_assert_int_eq(x->hellos, 2);
    mcp_rig_free(x);
}
END_TEST

static long long asked; /* the id of the call whose stream is cut */

static bool cut(struct mcp_rig *x, struct up_conn *c)
{
    asked = mcp_id(&x->up);
    mcp_stream(c);
    mcp_chunk(c, "id: 1\nretry: 10\ndata:\n\nid: 2\n");
    up_send(c, "0\r\n\r\n");
    return true;
}

static void the_rest(struct mcp_rig *x, struct up_conn *c)
{
    char text[300];

    ck_assert(up_line(&x->up, "Last-Event-ID: 1") && up_line(&x->up, "Mcp-Session-Id: s1") &&
              up_line(&x->up, "Accept: text/event-stream") &&
              up_line(&x->up, "MCP-Protocol-Version: 2025-11-25"));
    mcp_stream(c);
    snprintf(text, sizeof text,
             "data: {\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{" TEXTS("the rest") "}}\n\n",
             asked);
    mcp_chunk(c, text);
    up_send(c, "0\r\n\r\n");
}

static void cut_again(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    mcp_stream(c);
    mcp_chunk(c, "id: 1\nretry: 1\ndata:\n\n");
    up_send(c, "0\r\n\r\n");
}

static void gone(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    mcp_say(c, "404 Not Found", "", "");
}

START_TEST(a_stream_that_is_cut_goes_on_where_it_was)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->on_call = cut;
    x->on_resume = the_rest;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "the rest"), 200);
    ck_assert_int_eq(x->resumes, 1);
    ck_assert_int_eq(x->calls, 1);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_stream_that_is_always_cut_is_given_up)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->on_call = cut;
    x->on_resume = cut_again;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "the server's stream ended before its answer"),
                     500);
    ck_assert_int_eq(x->resumes, 100);
    mcp_rig_free(x);
}
END_TEST

/* It may have been made. */
START_TEST(a_call_whose_stream_is_gone_is_not_made_again)
{
    struct mcp_rig *x = mcp_rig_open(true);

    x->on_call = cut;
    x->on_resume = gone;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "the server answered 404"), 500);
    ck_assert_int_eq(x->calls, 1);
    ck_assert_int_eq(x->hellos, 1);
    mcp_rig_free(x);
}
END_TEST

START_TEST(who_gives_up_a_call_whose_stream_is_cut_is_heard)
{
    struct mcp_rig *x = mcp_rig_open(true);
    struct client c;

    x->on_call = cut;
    x->on_resume = cut_again;
    mcp_ask(x, &c, "up/a", "{}");
    rig_until(x->r, x->calls);
    client_reset(&c);
    rig_until(x->r, x->cancels == 1);
    mcp_rig_free(x);
}
END_TEST

static bool asks(struct mcp_rig *x, struct up_conn *c)
{
    const char *question = x->ud;

    mcp_stream(c);
    for (int i = 0; i < 100; i++)
        mcp_chunk(c, question);
    x->stream = c;
    return true;
}

/* The first of a hundred. */
START_TEST(a_request_of_the_servers_is_answered_in_a_session)
{
    static const char *const questions[] = {
        "data: {\"jsonrpc\":\"2.0\",\"id\":\"q\\\"\",\"method\":\"ping\"}\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":-7,\"method\":\"roots/list\"}\n\n"};
    struct mcp_rig *x = mcp_rig_open(_i < 2);
    struct client c;

    x->on_call = asks;
    x->ud = (void *)questions[_i & 1];
    mcp_ask(x, &c, "up/a", "{}");
    rig_until(x->r, x->calls);
    if (_i < 2)
        rig_until(x->r, x->replies);
    rig_steps(x->r, 50);
    ck_assert_int_le(x->replies, _i < 2 ? 3 : 0);
    if (_i < 2)
        ck_assert_msg(
            strstr(x->replied, _i ? "{\"jsonrpc\":\"2.0\",\"id\":-7,\"error\":{\"code\":-32601,"
                                    "\"message\":\"not known here\"}}"
                                  : "{\"jsonrpc\":\"2.0\",\"id\":\"q\\\"\",\"result\":{}}") != NULL,
            "%s", x->replied);
    client_close(&c);
    mcp_rig_free(x);
}
END_TEST

/* ---- progress ---------------------------------------------------------------------------------- */

static void subscribe(struct mcp_rig *x, struct client *c)
{
    rig_client(x->r, c);
    client_send(c,
                "POST /subscribe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Accept: text/event-stream\r\nContent-Length: "
                "40\r\n\r\n{\"operation\":\"up/a/progress\",\"input\":{}}");
}

static bool with_progress(struct mcp_rig *x, struct up_conn *c)
{
    char text[1000];
    long long id = mcp_id(&x->up);

    ck_assert(strstr(x->up.last, "\"progressToken\":"));
    mcp_stream(c);
    snprintf(text, sizeof text,
             NOTE("notifications/progress",
                  "\"progressToken\":%lld,\"progress\":0.50,\"total\":2,\"message\":\"half\"")
                 NOTE("notifications/progress", "\"progressToken\":%lld,\"progress\":9")
                     NOTE("notifications/progress", "\"progressToken\":%lld,\"progress\":\"x\""),
             id, id + 1, id);
    mcp_chunk(c, text);
    snprintf(text, sizeof text,
             "data: {\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{" TEXTS("hello") "}}\n\n", id);
    mcp_chunk(c, text);
    up_send(c, "0\r\n\r\n");
    return true;
}

START_TEST(progress_goes_to_who_subscribes_and_the_result_is_the_last_value)
{
    struct mcp_rig *x = mcp_rig_new();
    struct client c;

    x->sessions = _i;
    x->o.progress = 1;
    x->on_call = with_progress;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->imported, 1);
    subscribe(x, &c);
    ck_assert_int_eq(client_answer(&c), 200);
    ck_assert_msg(strstr(c.body, "{\"progress\":0.50,\"total\":2,\"message\":\"half\"}") &&
                      strstr(c.body, "{\"result\":[{\"type\":\"text\",\"text\":\"hello\"}]}") &&
                      !strstr(c.body, "\"progress\":9"),
                  "%s", c.body);
    client_close(&c);
    mcp_rig_free(x);
}
END_TEST

static bool flooded(struct mcp_rig *x, struct up_conn *c)
{
    long long id = mcp_id(&x->up);
    char *text = malloc(40000);

    must(text);
    mcp_stream(c);
    for (int i = 0; i < 400; i++) {
        int n = sprintf(text,
                        "data: "
                        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
                        "progress\",\"params\":{\"progressToken\":%lld,"
                        "\"progress\":%d,\"message\":\"",
                        id, i);

        memset(text + n, 'm', 30000);
        strcpy(text + n + 30000, "\"}}\n\n");
        mcp_chunk(c, text);
    }
    sprintf(text, "data: {\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":{" TEXTS("hello") "}}\n\n",
            id);
    mcp_chunk(c, text);
    up_send(c, "0\r\n\r\n");
    free(text);
    return true;
}

/* Twelve megabytes of progress for somebody who does not read. */
START_TEST(progress_that_finds_no_room_is_dropped_and_the_result_is_not)
{
    struct mcp_rig *x = mcp_rig_new();
    struct client c;

    x->o.progress = 1;
    x->on_call = flooded;
    mcp_open(x);
    mcp_wait(x, 1);
    rig_narrow_client(x->r, &c, false);
    client_send(&c,
                "POST /subscribe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Accept: text/event-stream\r\nContent-Length: "
                "40\r\n\r\n{\"operation\":\"up/a/progress\",\"input\":{}}");
    rig_until(x->r, x->calls);
    rig_steps(x->r, 500);
    ck_assert_int_eq(client_answer(&c), 200);
    ck_assert(strstr(c.body, "{\"result\":[{\"type\":\"text\",\"text\":\"hello\"}]}"));
    ck_assert_int_lt(c.body_len, 8 << 20);
    client_close(&c);
    mcp_rig_free(x);
}
END_TEST

/* ---- harm -------------------------------------------------------------------------------------- */

static void pour(struct up_conn *c)
{
    static char a[65536];

    memset(a, 'a', sizeof a);
    if (c->room > 0) {
        c->room -= sizeof a;
        up_send_then(c, a, sizeof a, pour);
    }
}

static bool endless_line(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    up_send(c, OF_EVENTS "\r\ndata: \"");
    c->room = 1L << 30;
    pour(c);
    return true;
}

static bool endless_body(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    up_send(c, OK_HEAD JSON "\r\n\"");
    c->room = 1L << 30;
    pour(c);
    return true;
}

START_TEST(an_answer_without_end_is_cut)
{
    struct mcp_rig *x = mcp_rig_new();
    size_t before;

    x->on_call = _i ? endless_line : endless_body;
    x->o.response_bytes = 4 << 20;
    mcp_open(x);
    mcp_wait(x, 1);
    before = memory_used();
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "too large"), 500);
    ck_assert_int_lt(memory_used(), before + (8 << 20));
    rig_until(x->r, !x->up.open);
    x->on_call = NULL;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(json_that_is_too_deep_is_refused)
{
    struct mcp_rig *x = mcp_rig_open(false);
    char *deep = malloc(200100);

    x->events = _i;
    strcpy(deep, "\"content\":");
    memset(deep + 10, '[', 100000);
    memset(deep + 100010, ']', 100000);
    deep[200010] = 0;
    x->result = deep;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "too deep"), 500);
    x->result = TEXTS("hello");
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
    free(deep);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mcp_call");
    TCase *t = tcase_create("mcp_call");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_call_sends_its_arguments_and_returns_the_blocks, 0, 2);
    tcase_add_test(t, structured_content_comes_before_blocks);
    tcase_add_test(t, a_tool_that_fails_says_why_in_its_blocks);
    tcase_add_loop_test(t, what_goes_wrong_with_a_call_is_said_by_its_kind, 0, FAILURES);
    tcase_add_loop_test(t, a_wrong_id_is_no_answer, 0, 4);
    tcase_add_test(t, what_is_beside_the_answer_is_passed_over);
    tcase_add_test(t, a_stream_that_does_not_end_does_not_hold_its_answer_up);
    tcase_add_loop_test(t, arguments_go_into_headers_where_the_tool_says_so, 0, 2);
    tcase_add_test(t, an_argument_that_is_too_long_for_a_header_is_invalid);
    tcase_add_loop_test(t, a_tool_whose_headers_are_wrong_is_left_out, 0, MISPLACED);
    tcase_add_test(t, a_server_that_hangs_costs_the_call_its_time);
    tcase_add_loop_test(t, who_gives_a_call_up_cancels_the_request, 0, 2);
    tcase_add_loop_test(t, a_loop_that_closes_ends_its_calls, 0, 4);
    tcase_add_test(t, a_server_that_answers_no_cancellation_hears_of_so_many_only);
    tcase_add_test(t, a_server_that_answers_cancellations_hears_of_all);
    tcase_add_test(t, a_session_that_has_expired_is_opened_again_once_for_all);
    tcase_add_test(t, loops_share_a_session_and_open_it_again_once);
    tcase_add_test(t, a_server_that_forgets_every_session_is_asked_twice);
    tcase_add_test(t, a_session_that_cannot_be_opened_again_fails_all_that_wait);
    tcase_add_test(t, who_gives_up_while_he_opens_the_session_leaves_it_to_the_next);
    tcase_add_loop_test(t, a_request_of_the_servers_is_answered_in_a_session, 0, 4);
    tcase_add_test(t, a_stream_that_is_cut_goes_on_where_it_was);
    tcase_add_test(t, a_stream_that_is_always_cut_is_given_up);
    tcase_add_test(t, a_call_whose_stream_is_gone_is_not_made_again);
    tcase_add_test(t, who_gives_up_a_call_whose_stream_is_cut_is_heard);
    tcase_add_loop_test(t, progress_goes_to_who_subscribes_and_the_result_is_the_last_value, 0, 2);
    tcase_add_test(t, progress_that_finds_no_room_is_dropped_and_the_result_is_not);
    tcase_add_loop_test(t, an_answer_without_end_is_cut, 0, 2);
    tcase_add_loop_test(t, json_that_is_too_deep_is_refused, 0, 2);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
