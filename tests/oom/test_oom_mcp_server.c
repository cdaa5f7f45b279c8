/* Each allocation fails in turn: the MCP server. A request of it has the right answer, an answer that
 * says that it failed, or none because the connection ends; nothing crashes and nothing is lost. */
#include "oom/gateway_rig.h"

#include <alknet/openapi.h>

#define META                                                                                       \
    "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","                       \
    "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"t\",\"version\":\"1\"},"                   \
    "\"io.modelcontextprotocol/clientCapabilities\":{}"
#define CALL(name) "Mcp-Method: tools/call\r\nMcp-Name: " name "\r\n"

static int add_mirrored(alk_registry *reg)
{
    return add(reg, "t/mirrored", ALK_QUERY, echo,
               "{\"type\":\"object\",\"properties\":{\"region\":{\"type\":\"string\","
               "\"x-mcp-header\":\"Region\"}}}");
}

static void mcp_open(struct server *s, uint32_t mcp)
{
    node_open(s, add_mirrored);
    must(!gateway_open(s, mcp));
}

static void put_request(char out[4096], const char *fields, const char *body)
{
    int n = snprintf(out, 4096, "POST /mcp HTTP/1.1\r\n" HEAD "%sContent-Length: %zu\r\n\r\n%s",
                     fields, strlen(body), body);

    must(n < 4096);
}

/* One message with these fields of its head beside the usual ones. */
static bool posted(struct server *s, const char *fields, const char *body, const char *text)
{
    char request[4096];

    put_request(request, fields, body);
    return says(s, request, text);
}

static bool told(uint32_t mcp, const char *fields, const char *body, const char *text)
{
    struct server s;
    bool good;

    mcp_open(&s, mcp);
    arm();
    good = posted(&s, fields, body, text);
    server_close(&s);
    return good;
}

/* A request of each era. meta: members of _meta, with a comma before them. */
static bool asked(uint32_t mcp, bool stateless, const char *method, const char *params,
                  const char *fields, const char *text)
{
    char body[2048], head[512];

    snprintf(body, sizeof body,
             "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"%s\",\"params\":{%s%s%s}}", method,
             params, *params && stateless ? "," : "", stateless ? META "}" : "");
    snprintf(head, sizeof head, "%s%s%s%s", stateless ? "MCP-Protocol-Version: 2026-07-28\r\n" : "",
             stateless && !strstr(fields, "Mcp-Method") ? "Mcp-Method: " : "",
             stateless && !strstr(fields, "Mcp-Method") ? method : "",
             stateless && !strstr(fields, "Mcp-Method") ? "\r\n" : "");
    strcat(head, fields);
    return told(mcp, head, body, text);
}

static bool called(bool stateless, const char *params, const char *fields, const char *text)
{
    return asked(ALK_MCP_DIRECT, stateless, "tools/call", params, stateless ? fields : "", text);
}

/* ---- what is not a tool's ---------------------------------------------------------------------- */

SCENARIO(a_session_is_opened_or_fails)
{
    return asked(ALK_MCP_FIXED, false, "initialize", "\"protocolVersion\":\"2025-11-25\"", "",
                 "Mcp-Session-Id: ");
}

SCENARIO(what_the_server_can_is_told_or_fails)
{
    return asked(ALK_MCP_DIRECT, true, "server/discover", "", "", "\"listChanged\":true");
}

SCENARIO(fixed_tools_are_listed_or_that_fails)
{
    return asked(ALK_MCP_FIXED, true, "tools/list", "", "", "\"ttlMs\":3600000");
}

SCENARIO(direct_tools_are_listed_or_that_fails)
{
    return asked(ALK_MCP_DIRECT, true, "tools/list", "", "", "\"name\":\"t_strict\"");
}

SCENARIO(a_session_lists_direct_tools_or_that_fails)
{
    return asked(ALK_MCP_DIRECT, false, "tools/list", "", "", "\"name\":\"t_strict\"");
}

SCENARIO(another_revision_is_refused_or_that_fails)
{
    return told(ALK_MCP_FIXED, "MCP-Protocol-Version: 2020-01-01\r\n",
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
                "\"requested\":\"2020-01-01\"");
}

SCENARIO(what_is_no_json_is_told_or_fails)
{
    return told(ALK_MCP_FIXED, "", "{\"jsonrpc\":", "-32700");
}

SCENARIO(a_tool_that_is_not_there_is_told_or_fails)
{
    return called(true, "\"name\":\"t_none\"", CALL("t_none"), "\"there is no such tool\"");
}

/* ---- calls ------------------------------------------------------------------------------------- */

SCENARIO(an_operation_is_called_by_the_fixed_tool_or_fails)
{
    return called(
        true,
        "\"name\":\"call\",\"arguments\":{\"operation\":\"/t/echo\",\"input\":{\"a\":[1.50]}}",
        CALL("call"), "\"structuredContent\":{\"a\":[1.50]}");
}

SCENARIO(an_operation_is_called_directly_or_fails)
{
    return called(true, "\"name\":\"t_echo\",\"arguments\":{\"input\":[1.50]}", CALL("t_echo"),
                  "\"structuredContent\":{\"input\":[1.50]}");
}

SCENARIO(a_session_calls_directly_or_fails)
{
    return called(false, "\"name\":\"t_strict\",\"arguments\":{\"input\":\"a\"}", "",
                  "\"structuredContent\":{\"result\":\"a\"}");
}

SCENARIO(an_input_that_is_wrong_is_told_or_fails)
{
    return called(true, "\"name\":\"t_strict\",\"arguments\":{\"input\":5}", CALL("t_strict"),
                  "\"isError\":true");
}

SCENARIO(an_argument_that_a_header_says_again_is_taken_or_fails)
{
    return called(true, "\"name\":\"t_mirrored\",\"arguments\":{\"region\":\"eu\"}",
                  CALL("t_mirrored") "Mcp-Param-Region: =?base64?ZXU=?=\r\n",
                  "\"structuredContent\":{\"region\":\"eu\"}");
}

SCENARIO(an_argument_that_a_header_says_otherwise_is_refused_or_fails)
{
    return called(true, "\"name\":\"t_mirrored\",\"arguments\":{\"region\":\"eu\"}",
                  CALL("t_mirrored") "Mcp-Param-Region: us\r\n", "-32020");
}

SCENARIO(operations_are_found_or_that_fails)
{
    return called(true, "\"name\":\"search\",\"arguments\":{\"query\":\"strict\"}", CALL("search"),
                  "t/strict");
}

SCENARIO(an_operation_is_described_or_that_fails)
{
    return called(true, "\"name\":\"schema\",\"arguments\":{\"name\":\"t/strict\"}", CALL("schema"),
                  "\"input_schema\":{\"type\":\"string\"}");
}

SCENARIO(a_batch_is_answered_in_order_or_fails)
{
    return called(
        true,
        "\"name\":\"batch\",\"arguments\":{\"calls\":[{\"operation\":\"t/echo\",\"input\":1},"
        "{\"operation\":\"t/none\"},5,{\"operation\":\"t/echo\",\"input\":\"last\"}]}",
        CALL("batch"), "\"output\":\"last\"}]");
}

/* ---- streams ----------------------------------------------------------------------------------- */

SCENARIO(a_subscription_tells_of_progress_to_its_end_or_fails)
{
    return told(ALK_MCP_DIRECT, CALL("t_count") "MCP-Protocol-Version: 2026-07-28\r\n",
                "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/"
                "call\",\"params\":{\"name\":\"t_count\"," META ",\"progressToken\":\"p\"}}}",
                "\"structuredContent\":{\"result\":[5]}");
}

SCENARIO(a_subscription_gives_as_many_values_as_were_asked_for_or_fails)
{
    return told(
        ALK_MCP_DIRECT, "",
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"t_count\","
        "\"_meta\":{\"io.alknet/values\":2,\"progressToken\":1}}}",
        "\"structuredContent\":{\"result\":[2]}");
}

/* A call that takes long, of which its client hears once in a while. */
SCENARIO(a_call_that_goes_on_is_told_of_or_ends)
{
    struct server s;
    bool good;

    mcp_open(&s, ALK_MCP_DIRECT);
    arm();
    good = posted(
        &s, "",
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"t_hold\","
        "\"_meta\":{\"progressToken\":1}}}",
        "");
    if (good && s.e) {
        s.now += 15001 * MS;
        run(&s);
        good = strstr(s.got, "\"progress\":1") != NULL;
        s.now += 15001 * MS;
        run(&s);
        good &= strstr(s.got, "\"TIMEOUT\\\"") != NULL;
    }
    must(good || failed());
    server_close(&s);
    return good;
}

/* The id of the session that an answer has opened. */
static bool session_of(const struct server *s, char out[64])
{
    const char *at = strstr(s->got, "Mcp-Session-Id: ");

    if (at)
        snprintf(out, 64, "%.*s", (int)strcspn(at, "\r") + 2, at);
    return at != NULL;
}

static bool open_session(struct server *s, char out[64])
{
    return posted(s, "",
                  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{"
                  "\"protocolVersion\":\"2025-11-25\"}}",
                  "200 OK") &&
           session_of(s, out);
}

SCENARIO(a_call_is_cancelled_in_its_session_or_goes_on)
{
    struct server s;
    struct engine *waiting;
    char session[64], request[4096];
    bool good;

    mcp_open(&s, ALK_MCP_DIRECT);
    must(open_session(&s, session));
    hang_up(&s);
    arm();
    if ((good = connect(&s))) {
        put_request(request, session,
                    "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/"
                    "call\",\"params\":{\"name\":\"t_hold\"}}");
        s.e->ops->feed(s.e, TEXT(request), s.now);
        while (s.e->successor)
            s.e = engine_succeed(s.e);
        run(&s);
    }
    waiting = s.e;
    s.e = NULL;
    good = posted(&s, session,
                  "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
                  "cancelled\",\"params\":{\"requestId\":7}}",
                  "202 ") &&
           good;
    hang_up(&s);
    s.e = waiting;
    s.len = 0;
    s.got[0] = 0;
    run(&s);
    good &= strstr(s.got, "\"cancelled\"") != NULL;
    must(good || failed());
    server_close(&s);
    return good;
}

/* The stream is open, and what was discovered changes. */
static bool hears(struct server *s)
{
    alk_registry *reg = alk_registry_new();
    bool good = reg && ok(add(reg, "new/tool", ALK_QUERY, echo, NULL)) &&
                ok(alk_registry_freeze(reg)) && ok(alk_node_set_discovered(s->node, "new", reg));

    alk_registry_unref(reg);
    s->now += 1000 * MS;
    run(s);
    good &= strstr(s->got, "notifications/tools/list_changed") != NULL;
    must(good || failed());
    return good;
}

SCENARIO(who_listens_hears_of_changes_or_not)
{
    struct server s;
    bool good;

    mcp_open(&s, ALK_MCP_DIRECT);
    arm();
    good = posted(&s, "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n",
                  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscriptions/listen\",\"params\":{"
                  "\"notifications\":{\"toolsListChanged\":true}," META "}}}",
                  "subscriptions/acknowledged");
    good &= hears(&s);
    server_close(&s);
    return good;
}

SCENARIO(a_session_hears_of_changes_or_not)
{
    struct server s;
    char session[64], request[300];
    bool good;

    mcp_open(&s, ALK_MCP_DIRECT);
    must(open_session(&s, session));
    hang_up(&s);
    snprintf(request, sizeof request,
             "GET /mcp HTTP/1.1\r\n" HEAD "Accept: text/event-stream\r\n%s\r\n", session);
    arm();
    good = says(&s, request, "text/event-stream");
    good &= hears(&s);
    server_close(&s);
    return good;
}

SCENARIO(a_session_is_ended_or_stays)
{
    struct server s;
    char session[64], request[300];
    bool good;

    mcp_open(&s, ALK_MCP_DIRECT);
    must(open_session(&s, session));
    hang_up(&s);
    snprintf(request, sizeof request, "DELETE /mcp HTTP/1.1\r\n" HEAD "%s\r\n", session);
    arm();
    good = says(&s, request, "204 ");
    server_close(&s);
    return good;
}

MAIN("oom_mcp_server", a_session_is_opened_or_fails, what_the_server_can_is_told_or_fails,
     fixed_tools_are_listed_or_that_fails, direct_tools_are_listed_or_that_fails,
     a_session_lists_direct_tools_or_that_fails, another_revision_is_refused_or_that_fails,
     what_is_no_json_is_told_or_fails, a_tool_that_is_not_there_is_told_or_fails,
     an_operation_is_called_by_the_fixed_tool_or_fails, an_operation_is_called_directly_or_fails,
     a_session_calls_directly_or_fails, an_input_that_is_wrong_is_told_or_fails,
     an_argument_that_a_header_says_again_is_taken_or_fails,
     an_argument_that_a_header_says_otherwise_is_refused_or_fails,
     operations_are_found_or_that_fails, an_operation_is_described_or_that_fails,
     a_batch_is_answered_in_order_or_fails, a_subscription_tells_of_progress_to_its_end_or_fails,
     a_subscription_gives_as_many_values_as_were_asked_for_or_fails,
     a_call_that_goes_on_is_told_of_or_ends, a_call_is_cancelled_in_its_session_or_goes_on,
     who_listens_hears_of_changes_or_not, a_session_hears_of_changes_or_not,
     a_session_is_ended_or_stays)
