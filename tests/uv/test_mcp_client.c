/* An MCP server is found out about and its tools are listed, with a server that says exactly what the test has it say, in
 * either era: what it is asked, what becomes of its tools, and when it is asked again. */
#include "uv/mcp_rig.h"
#include "core/registry.h"

#include "base/time.h"
#include "support/suite.h"

#include <time.h>

static uint64_t ahead; /* ns; of the loop's clock, which is libuv's but for this */

uint64_t uv_hrtime(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec + ahead;
}

/* ---- negotiation ------------------------------------------------------------------------------- */

START_TEST(a_stateless_server_is_asked_as_the_revision_says)
{
    struct mcp_rig *x = mcp_rig_open(false);

    ck_assert_int_eq(x->discovers, 1);
    ck_assert_int_eq(x->hellos, 0);
    ck_assert(up_line(&x->up, "MCP-Protocol-Version: 2026-07-28"));
    ck_assert(up_line(&x->up, "Mcp-Method: tools/list"));
    ck_assert(up_line(&x->up, "Accept: application/json, text/event-stream"));
    ck_assert(up_line(&x->up, "Content-Type: application/json"));
    ck_assert(!strstr(x->up.last, "Mcp-Session-Id"));
    ck_assert(strstr(x->up.last, "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\""));
    ck_assert(strstr(x->up.last, "\"io.modelcontextprotocol/clientCapabilities\":{}"));
    ck_assert(strstr(x->up.last, "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"alknet\""));
    ck_assert_int_eq(x->imported, 1);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_server_of_sessions_is_greeted_once)
{
    struct mcp_rig *x = mcp_rig_open(true);

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    ck_assert_int_eq(x->discovers, 1);
    ck_assert_int_eq(x->hellos, 1);
    ck_assert_int_eq(x->greetings, 1);
    ck_assert(strstr(x->called, "\r\nMcp-Session-Id: s1\r\n"));
    ck_assert(strstr(x->called, "\r\nMCP-Protocol-Version: 2025-11-25\r\n"));
    ck_assert(!strstr(x->called, "Mcp-Method"));
    ck_assert(!strstr(x->called, "io.modelcontextprotocol"));
    mcp_rig_free(x);
}
END_TEST

START_TEST(all_requests_one_after_another_take_one_connection)
{
    struct mcp_rig *x = mcp_rig_open(false);

    x->events = x->ends_late = true;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    ck_assert_int_eq(x->up.connections, 1);
    mcp_rig_free(x);
}
END_TEST

#define JSON "Content-Type: application/json\r\n"

static const char *const old_servers[] = {
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
    OK_HEAD JSON
    "Content-Length: "
    "63\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}",
    "HTTP/1.1 400 Bad Request\r\n" JSON "Content-Length: "
    "99\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32022,\"message\":\"no\","
    "\"data\":{\"supported\":[\"2025-11-25\"]}}}",
    OK_HEAD JSON
    "Content-Length: "
    "70\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"supportedVersions\":[\"2027-01-01\"]}}",
    OK_HEAD JSON "Content-Length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
};
#define OLD_SERVERS (int)(sizeof old_servers / sizeof old_servers[0])

START_TEST(who_does_not_know_discovery_is_greeted)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = true;
    x->discover = old_servers[_i];
    x->version = _i % 2 ? "2025-06-18" : "2025-11-25";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s", x->why);
    ck_assert_int_eq(x->hellos, 1);
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    ck_assert(strstr(x->called, _i % 2 ? "MCP-Protocol-Version: 2025-06-18"
                                       : "MCP-Protocol-Version: 2025-11-25"));
    mcp_rig_free(x);
}
END_TEST

/* Once: with another refusal it would go on for ever. */
START_TEST(a_version_that_is_refused_and_named_is_tried_again_once)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = true;
    x->discover =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 102\r\n\r\n"
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32022,\"message\":\"no\",\"data\":{"
        "\"supported\":"
        "[\"2026-07-28\"]}}}";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s", x->why);
    ck_assert_int_eq(x->discovers, 2);
    ck_assert_int_eq(x->hellos, 1);
    mcp_rig_free(x);
}
END_TEST

static const struct {
    const char *discover, *why;
    int rc;
} refusals[] = {
    {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
     "server/discover: the server answered 401", ALK_ECONFIG},
    {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
     "server/discover: the server answered 403", ALK_ECONFIG},
    {OK_HEAD "Content-Type: text/html\r\nContent-Length: 4\r\n\r\n<a/>",
     "text/html in place of JSON", ALK_EREMOTE},
    {OK_HEAD JSON "Content-Length: 1\r\n\r\n{", "not JSON", ALK_EREMOTE},
    {OK_HEAD JSON "Content-Length: 2\r\n\r\n[]", "no message of JSON-RPC", ALK_EREMOTE},
    {OK_HEAD JSON "Content-Length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
     "another request", ALK_EREMOTE},
    {OK_HEAD JSON "Content-Length: 24\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1}", "has no result",
     ALK_EREMOTE},
    {OK_HEAD "Content-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n: hello\n\n",
     "stream ended before", ALK_EREMOTE},
};
#define REFUSALS (int)(sizeof refusals / sizeof refusals[0])

START_TEST(why_a_server_is_of_no_use_is_told_and_it_is_asked_again)
{
    struct mcp_rig *x = mcp_rig_new();

    x->discover = refusals[_i].discover;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, refusals[_i].rc);
    ck_assert_msg(strstr(x->why, refusals[_i].why) != NULL, "%s", x->why);
    ck_assert_int_eq(alk_registry_import_mcp(x->r->reg, x->m, NULL, NULL, NULL, NULL, 0),
                     ALK_EFROZEN);
    x->discover = NULL;
    mcp_wait(x, 2);
    ck_assert_int_eq(x->rc, 0);
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_found_when_it_comes)
{
    struct mcp_rig *x = mcp_rig_new();
    struct upstream other;
    char url[100], err[100];

    up_start(&other, x->r, NULL);
    snprintf(url, sizeof url, "%s", up_url(&other, "/mcp"));
    up_deaf(&other);
    x->o.url = url;
    ck_assert_int_eq(alk_mcp_open(&x->m, x->r->l, &x->o, err, sizeof err), ALK_OK);
    mcp_wait(x, 2);
    ck_assert_int_eq(x->rc, ALK_EREMOTE);
    ck_assert_msg(strstr(x->why, "cannot be reached") != NULL, "%s", x->why);
    up_stop(&other);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_revision_that_is_not_spoken_here_is_named)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = true;
    x->version = "2024-11-05";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, ALK_EREMOTE);
    ck_assert_msg(strstr(x->why, "2024-11-05") && strstr(x->why, "2025-06-18"), "%s", x->why);
    mcp_rig_free(x);
}
END_TEST

START_TEST(the_token_and_the_headers_go_with_each_request)
{
    struct mcp_rig *x = mcp_rig_new();
    alk_capabilities *caps = alk_capabilities_new();

    ck_assert_int_eq(alk_capabilities_set(caps, "up", "sesame", 6), ALK_OK);
    x->o.capabilities = caps;
    x->o.headers = "{\"X-Of-Mine\":\"1\"}";
    mcp_open(x);
    alk_capabilities_free(caps);
    mcp_wait(x, 1);
    ck_assert(up_line(&x->up, "Authorization: Bearer sesame") && up_line(&x->up, "X-Of-Mine: 1"));
    mcp_called(x, "up/a", "{}", "hello");
    ck_assert(strstr(x->called, "\r\nAuthorization: Bearer sesame\r\n"));
    mcp_rig_free(x);
}
END_TEST

static const struct {
    const char *url, *prefix, *headers, *filter, *access, *why;
} wrong[] = {
    {"ftp://h/", "up", NULL, NULL, NULL, "url: must begin"},
    {"http:///mcp", "up", NULL, NULL, NULL, "url: must have a host"},
    {"http://me@h/mcp", "up", NULL, NULL, NULL, "no user"},
    {"http://h/m cp", "up", NULL, NULL, NULL, "printable"},
    {"http://h/mcp", NULL, NULL, NULL, NULL, "namespace_prefix"},
    {"http://h/mcp", "services", NULL, NULL, NULL, "namespace_prefix"},
    {"http://h/mcp", "up", "{\"Mcp-Name\":\"a\"}", NULL, NULL, "\"Mcp-Name\" cannot be set"},
    {"http://h/mcp", "up", "{\"A\":\"a\\r\\nB: c\"}", NULL, NULL, "\"A\" cannot be set"},
    {"http://h/mcp", "up", "[]", NULL, NULL, "headers: must be an object"},
    {"http://h/mcp", "up", NULL, "{\"tags\":[]}", NULL, "unknown member \"tags\""},
    {"http://h/mcp", "up", NULL, "{\"include\":[1]}", NULL, "tool_filter/include"},
    {"http://h/mcp", "up", NULL, NULL, "{}", "is_public: there is an access rule"},
};
#define WRONG (int)(sizeof wrong / sizeof wrong[0])

START_TEST(what_is_wrong_with_options_is_said)
{
    struct mcp_rig *x = mcp_rig_new();
    char err[300];

    x->o.url = wrong[_i].url;
    x->o.namespace_prefix = wrong[_i].prefix;
    x->o.headers = wrong[_i].headers;
    x->o.tool_filter = wrong[_i].filter;
    x->o.access_control = wrong[_i].access;
    ck_assert_int_eq(alk_mcp_open(&x->m, x->r->l, &x->o, err, sizeof err), ALK_EINVAL);
    ck_assert_msg(strstr(err, wrong[_i].why) != NULL, "%s", err);
    mcp_rig_free(x);
}
END_TEST

/* ---- listing ----------------------------------------------------------------------------------- */

static bool page(struct mcp_rig *x, struct up_conn *c)
{
    static const char *const tools[] = {TOOL("a", ""), TOOL("b", ""), TOOL("c", "")};
    static const char *const next[] = {"p2", "p \\u00fc\\\"", NULL};
    int n = strstr(x->up.last, "\"cursor\":\"p2\"")             ? 1
            : strstr(x->up.last, "\"cursor\":\"p \u00fc\\\"\"") ? 2
                                                                : 0;

    x->tools = tools[n];
    x->next = next[n];
    mcp_list(x, c);
    return true;
}

START_TEST(all_pages_are_asked_for)
{
    struct mcp_rig *x = mcp_rig_new();

    x->on_list = page;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s", x->why);
    ck_assert_int_eq(x->imported, 3);
    ck_assert_int_eq(mcp_called(x, "up/c", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(cursors_in_a_circle_end_the_listing)
{
    struct mcp_rig *x = mcp_rig_new();

    x->next = "again";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, ALK_EREMOTE);
    ck_assert_str_eq(x->why, "tools/list: the server's pages lead in a circle");
    ck_assert_int_eq(x->lists, 2);
    mcp_rig_free(x);
}
END_TEST

static bool endless(struct mcp_rig *x, struct up_conn *c)
{
    static char next[20];

    snprintf(next, sizeof next, "p%d", x->lists);
    x->next = next;
    mcp_list(x, c);
    return true;
}

START_TEST(pages_without_end_are_not_asked_for)
{
    struct mcp_rig *x = mcp_rig_new();

    x->tools = "";
    x->on_list = endless;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, ALK_ELIMIT);
    ck_assert_str_eq(x->why, "tools/list: there are more than 1000 pages");
    ck_assert_int_eq(x->lists, 1000);
    mcp_rig_free(x);
}
END_TEST

static char *many(size_t count, const char *more)
{
    char *text = malloc(count * (60 + strlen(more)) + 1), *p = text;

    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < count; i++)
        p += sprintf(p, "%s{\"name\":\"t%zu\",\"inputSchema\":{\"type\":\"object\"}%s}",
                     i ? "," : "", i, more);
    return text;
}

/* Neighbours are served meanwhile, and what it cost is given back. */
START_TEST(more_tools_than_the_limit_are_refused)
{
    struct mcp_rig *x = mcp_rig_new();
    char *tools = many(100000, "");

    x->tools = tools;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, ALK_ELIMIT);
    ck_assert_str_eq(x->why, "tools/list: there are more than 16384 tools");
    ck_assert_int_eq(mcp_called(x, "t/echo", "7", "7"), 200);
    mcp_rig_free(x);
    free(tools);
}
END_TEST

START_TEST(as_many_tools_as_the_limit_are_taken)
{
    struct mcp_rig *x = mcp_rig_new();
    char *tools = many(16384, "");

    x->tools = tools;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s", x->why);
    ck_assert_int_eq(x->imported, 16384);
    ck_assert_int_eq(mcp_called(x, "up/t16383", "{}", "hello"), 200);
    mcp_rig_free(x);
    free(tools);
}
END_TEST

static bool large_pages(struct mcp_rig *x, struct up_conn *c)
{
    char *description = malloc(1 << 20), *more = malloc((1 << 20) + 100), name[20];

    memset(description, 'd', (1 << 20) - 1);
    description[(1 << 20) - 1] = 0;
    sprintf(more, "{\"name\":\"t%d\",\"inputSchema\":{\"description\":\"%s\"}}", x->lists,
            description);
    snprintf(name, sizeof name, "p%d", x->lists);
    x->tools = more;
    x->next = name;
    mcp_list(x, c);
    x->tools = "";
    x->next = NULL;
    free(description);
    free(more);
    return true;
}

START_TEST(more_text_than_the_limit_is_refused)
{
    struct mcp_rig *x = mcp_rig_new();

    x->on_list = large_pages;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->rc, ALK_ELIMIT);
    ck_assert_str_eq(x->why, "tools/list: the tools have more text than 32 MiB");
    ck_assert_int_eq(x->lists, 32);
    mcp_rig_free(x);
}
END_TEST

/* ---- import ------------------------------------------------------------------------------------ */

START_TEST(tools_that_cannot_be_operations_are_left_out_and_the_others_come)
{
    struct mcp_rig *x = mcp_rig_new();

    x->tools = TOOL("a", "") "," TOOL("b c", "") "," TOOL("\\u0000", "") "," TOOL(
        "../d", "") "," TOOL("a", "") ","
                                      "{\"name\":\"e\",\"inputSchema\":{\"type\":17}}," TOOL(
                                          "ok/sub.tool-1", "") ",{\"name\":\"f\"}";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s", x->why);
    ck_assert_int_eq(x->imported, 3);
    ck_assert_int_eq(x->warnings, 5);
    ck_assert_msg(strstr(x->warned, "[b c] is left out") &&
                      strstr(x->warned, "[../d] is left out") &&
                      strstr(x->warned, "[a] the name is taken by another tool") &&
                      strstr(x->warned, "[e] operation up/e: input_schema/type"),
                  "%s", x->warned);
    ck_assert_int_eq(mcp_called(x, "up/ok/sub.tool-1", "{}", "hello"), 200);
    ck_assert_int_eq(mcp_called(x, "up/f", "{}", "hello"), 200);
    ck_assert_int_eq(mcp_called(x, "up/e", "{}", "NOT_FOUND"), 404);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_tool_becomes_an_operation_of_its_kind_with_its_schemas)
{
    struct mcp_rig *x = mcp_rig_new();

    x->tools =
        "{\"name\":\"a\",\"description\":\"Reads\\u0000\",\"inputSchema\":{\"type\":\"object\","
        "\"required\":[\"n\"]},"
        "\"annotations\":{\"readOnlyHint\":true}},"
        "{\"name\":\"b\",\"title\":\"Writes\",\"inputSchema\":{\"type\":\"object\"},"
        "\"outputSchema\":{\"type\":\"object\","
        "\"title\":\"Own\"}}";
    mcp_open(x);
    mcp_wait(x, 1);
    mcp_called(x, "services/schema", "{\"name\":\"up/a\"}", "\"op_type\":\"query\"");
    mcp_called(x, "services/schema", "{\"name\":\"up/a\"}", "\"x-mcp-content\":true");
    mcp_called(x, "services/schema", "{\"name\":\"up/a\"}", "\"description\":\"Reads\\u0000\"");
    mcp_called(x, "services/schema", "{\"name\":\"up/a\"}", "\"MCP_TOOL_ERROR\"");
    mcp_called(x, "services/schema", "{\"name\":\"up/b\"}", "\"op_type\":\"mutation\"");
    mcp_called(x, "services/schema", "{\"name\":\"up/b\"}", "\"title\":\"Own\"");
    mcp_called(x, "services/schema", "{\"name\":\"up/b\"}", "\"description\":\"Writes\"");
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "INVALID_INPUT"), 422);
    ck_assert_int_eq(x->calls, 0);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_filter_says_which_tools_are_wanted)
{
    struct mcp_rig *x = mcp_rig_new();

    x->tools = TOOL("get_a", "") "," TOOL("get_b", "") "," TOOL("set_a", "");
    x->o.tool_filter = "{\"include\":[\"get_*\"],\"exclude\":[\"*_b\"]}";
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_int_eq(x->imported, 1);
    ck_assert_int_eq(mcp_called(x, "up/get_a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

static int nobody(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_complete(call);
}

START_TEST(a_name_that_is_taken_undoes_the_import)
{
    struct mcp_rig *x = mcp_rig_new();
    alk_registry *reg = alk_registry_new();
    alk_operation op;
    char err[300];
    size_t count = 9;

    x->tools = TOOL("a", "") "," TOOL("b", "");
    x->o.progress = 1;
    mcp_open(x);
    mcp_wait(x, 1);
    alk_operation_init(&op, sizeof op);
    op.name = "up/b";
    op.handler = nobody;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_import_mcp(reg, x->m, &count, NULL, NULL, err, sizeof err),
                     ALK_EEXIST);
    ck_assert_msg(strstr(err, "up/b") != NULL, "%s", err);
    ck_assert_int_eq(count, 0);
    ck_assert(!registry_find(reg, "up/a", 4) && !registry_find(reg, "up/a/progress", 13) &&
              registry_find(reg, "up/b", 4));
    alk_registry_unref(reg);
    mcp_rig_free(x);
}
END_TEST

START_TEST(there_is_nothing_to_import_before_tools_are_listed)
{
    struct mcp_rig *x = mcp_rig_new();
    alk_registry *reg = alk_registry_new();
    char err[100];

    mcp_open(x);
    ck_assert_int_eq(alk_registry_import_mcp(reg, x->m, NULL, NULL, NULL, err, sizeof err),
                     ALK_EINVAL);
    ck_assert_str_eq(err, "no tools have been listed yet");
    alk_registry_unref(reg);
    mcp_rig_free(x);
}
END_TEST

/* ---- changes ----------------------------------------------------------------------------------- */

#define CHANGED "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n"

START_TEST(a_change_is_heard_and_listed)
{
    struct mcp_rig *x = mcp_rig_new();

    x->changes = true;
    x->sessions = _i;
    mcp_open(x);
    mcp_wait(x, 1);
    rig_until(x->r, x->listens == 1);
    if (!_i)
        ck_assert(strstr(x->up.last, "\"notifications\":{\"toolsListChanged\":true}"));
    x->tools = TOOL("b", "");
    mcp_chunk(x->stream, CHANGED);
    mcp_wait(x, 2);
    ck_assert_int_eq(x->rc, 0);
    ck_assert_int_eq(mcp_called(x, "up/b", "{}", "hello"), 200);
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "NOT_FOUND"), 404);
    ck_assert_int_eq(x->listens, 1);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_storm_of_changes_is_few_listings)
{
    struct mcp_rig *x = mcp_rig_new();

    x->changes = true;
    mcp_open(x);
    mcp_wait(x, 1);
    rig_until(x->r, x->listens == 1);
    for (int i = 0; i < 200; i++) {
        for (int k = 0; k < 100; k++)
            mcp_chunk(x->stream, CHANGED);
        rig_steps(x->r, 10);
    }
    ck_assert_int_ge(x->lists, 2);
    ck_assert_int_le(x->lists, 5);
    ck_assert_int_eq(x->told, 1);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_server_without_such_a_stream_is_not_asked_again)
{
    struct mcp_rig *x = mcp_rig_new();

    x->changes = true;
    x->sessions = _i;
    mcp_open(x);
    rig_until(x->r, x->hellos + x->discovers);
    rig_until(x->r, x->lists);
    x->changes = false;
    rig_until(x->r, x->listens == 1);
    rig_steps(x->r, 1500);
    ck_assert_int_eq(x->listens, 1);
    ck_assert_int_eq(x->told, 1);
    mcp_rig_free(x);
}
END_TEST

static void refuse(struct mcp_rig *x, struct up_conn *c)
{
    (void)x;
    mcp_say(c, "405 Method Not Allowed", "", "");
}

/* Whether it says that it tells of changes, and does not, or does not say so. */
START_TEST(a_server_that_tells_of_no_change_is_asked_after_five_minutes)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = _i & 1;
    x->changes = _i & 2;
    x->on_listen = refuse;
    mcp_open(x);
    mcp_wait(x, 1);
    rig_until(x->r, x->listens == (x->changes ? 1 : 0));
    rig_steps(x->r, 50);
    x->tools = TOOL("b", "");
    ahead = 290 * SECOND;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    rig_steps(x->r, 50);
    ck_assert_int_eq(x->told, 1);
    ahead = 301 * SECOND;
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_wait(x, 2);
    ck_assert_int_eq(mcp_called(x, "up/b", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

static void forget(struct mcp_rig *x, struct up_conn *c)
{
    x->session++;
    x->on_listen = NULL;
    mcp_say(c, "404 Not Found", "", "");
}

START_TEST(a_session_that_is_gone_when_its_stream_is_opened_is_opened_again)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = x->changes = true;
    x->on_listen = forget;
    mcp_open(x);
    rig_until(x->r, x->hellos == 2 && x->listens == 2);
    ck_assert_int_eq(x->told, 1);
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_stream_that_ends_is_opened_again_and_the_tools_are_listed)
{
    struct mcp_rig *x = mcp_rig_new();

    x->changes = true;
    mcp_open(x);
    mcp_wait(x, 1);
    rig_until(x->r, x->listens == 1);
    x->tools = TOOL("b", "");
    up_close(x->stream);
    mcp_wait(x, 2);
    rig_until(x->r, x->listens == 2);
    ck_assert_int_eq(mcp_called(x, "up/b", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

static void pour(struct up_conn *c)
{
    static char a[65536];

    memset(a, 'a', sizeof a);
    if (c->room > 0) {
        c->room -= (long)sizeof a;
        up_send_then(c, a, sizeof a, pour);
    }
}

static void endless_line(struct mcp_rig *x, struct up_conn *c)
{
    up_send(c, OK_HEAD "Content-Type: text/event-stream\r\n\r\ndata: ");
    c->room = 1L << 30;
    x->stream = c;
    pour(c);
}

static void endless_error(struct mcp_rig *x, struct up_conn *c)
{
    up_send(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n");
    c->room = 1L << 30;
    x->stream = c;
    pour(c);
}

START_TEST(a_stream_that_says_nothing_without_end_is_cut)
{
    struct mcp_rig *x = mcp_rig_new();
    size_t before;

    x->changes = true;
    x->on_listen = _i & 1 ? endless_line : endless_error;
    x->sessions = _i & 2;
    before = memory_used();
    mcp_open(x);
    mcp_wait(x, 1);
    rig_until(x->r, x->stream && x->stream->closed);
    ck_assert_int_gt(x->stream->room, (1L << 30) - (16L << 20));
    ck_assert_int_lt(memory_used(), before + (8 << 20));
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

/* ---- life -------------------------------------------------------------------------------------- */

START_TEST(a_client_may_be_closed_in_its_callback_and_what_it_imported_works_on)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = _i;
    x->close_at_once = true;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_ptr_null(x->m);
    ck_assert_int_eq(mcp_called(x, "up/a", "{}", "hello"), 200);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_client_may_be_closed_when_its_loop_has_closed)
{
    struct mcp_rig *x = mcp_rig_new();

    x->changes = true;
    mcp_open(x);
    if (_i)
        rig_until(x->r, x->listens == 1);
    rig_close(x->r);
    for (int i = 0; i < 5; i++)
        uv_run(&x->r->uv, UV_RUN_NOWAIT);
    ck_assert_int_eq(x->told, _i);
    mcp_rig_free(x);
}
END_TEST

START_TEST(a_loop_that_closes_takes_no_client)
{
    struct mcp_rig *x = mcp_rig_new();
    char err[100];

    x->o.url = "http://127.0.0.1:1/mcp";
    rig_close(x->r);
    ck_assert_int_eq(alk_mcp_open(&x->m, x->r->l, &x->o, err, sizeof err), ALK_ECLOSED);
    mcp_rig_free(x);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mcp_client");
    TCase *t = tcase_create("mcp_client");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_stateless_server_is_asked_as_the_revision_says);
    tcase_add_test(t, a_server_of_sessions_is_greeted_once);
    tcase_add_test(t, all_requests_one_after_another_take_one_connection);
    tcase_add_loop_test(t, who_does_not_know_discovery_is_greeted, 0, OLD_SERVERS);
    tcase_add_test(t, a_version_that_is_refused_and_named_is_tried_again_once);
    tcase_add_loop_test(t, why_a_server_is_of_no_use_is_told_and_it_is_asked_again, 0, REFUSALS);
    tcase_add_test(t, a_server_that_is_not_there_is_found_when_it_comes);
    tcase_add_test(t, a_revision_that_is_not_spoken_here_is_named);
    tcase_add_test(t, the_token_and_the_headers_go_with_each_request);
    tcase_add_loop_test(t, what_is_wrong_with_options_is_said, 0, WRONG);
    tcase_add_test(t, all_pages_are_asked_for);
    tcase_add_test(t, cursors_in_a_circle_end_the_listing);
    tcase_add_test(t, pages_without_end_are_not_asked_for);
    tcase_add_test(t, more_tools_than_the_limit_are_refused);
    tcase_add_test(t, as_many_tools_as_the_limit_are_taken);
    tcase_add_test(t, more_text_than_the_limit_is_refused);
    tcase_add_test(t, tools_that_cannot_be_operations_are_left_out_and_the_others_come);
    tcase_add_test(t, a_tool_becomes_an_operation_of_its_kind_with_its_schemas);
    tcase_add_test(t, a_filter_says_which_tools_are_wanted);
    tcase_add_test(t, a_name_that_is_taken_undoes_the_import);
    tcase_add_test(t, there_is_nothing_to_import_before_tools_are_listed);
    tcase_add_loop_test(t, a_change_is_heard_and_listed, 0, 2);
    tcase_add_test(t, a_storm_of_changes_is_few_listings);
    tcase_add_loop_test(t, a_server_without_such_a_stream_is_not_asked_again, 0, 2);
    tcase_add_loop_test(t, a_server_that_tells_of_no_change_is_asked_after_five_minutes, 0, 4);
    tcase_add_test(t, a_session_that_is_gone_when_its_stream_is_opened_is_opened_again);
    tcase_add_test(t, a_stream_that_ends_is_opened_again_and_the_tools_are_listed);
    tcase_add_loop_test(t, a_stream_that_says_nothing_without_end_is_cut, 0, 4);
    tcase_add_loop_test(t, a_client_may_be_closed_in_its_callback_and_what_it_imported_works_on, 0,
                        2);
    tcase_add_loop_test(t, a_client_may_be_closed_when_its_loop_has_closed, 0, 2);
    tcase_add_test(t, a_loop_that_closes_takes_no_client);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
