/* Each allocation fails in turn: a client of an MCP server, the import of its tools, and calls of them, to a server on the
 * same loop that has all the memory it wants. Why there are no tools is told, an import is whole or not there, each call
 * ends once, and nothing is left. */
#include "oom/upstream.h"

#include "core/registry.h"
#include "uv/http_int.h"

#include <alknet/mcp.h>
#include <alknet/openapi.h>
#include <signal.h>
#include <unistd.h>

#define GIVEN_UP 20000 /* steps of the loop */

/* ---- the server -------------------------------------------------------------------------------- */

static const char *say(struct conn *c, const char *head, const char *result)
{
    const char *id = strstr(c->in, "\"id\":");
    char body[2000] = "";

    if (*result)
        snprintf(body, sizeof body, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{%s}}",
                 id ? atoi(id + 5) : 0, result);
    snprintf(c->out, sizeof c->out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", head,
             strlen(body), body);
    return c->out;
}

#define TOOLS                                                                                      \
    "\"tools\":[{\"name\":\"a\",\"description\":\"d\",\"inputSchema\":{\"type\":\"object\","       \
    "\"properties\":{\"h\":{\"type\":\"string\",\"x-mcp-header\":\"H\"}}},\"outputSchema\":{}},"   \
    "{\"name\":\"b c\",\"inputSchema\":{}},{\"name\":\"e\",\"inputSchema\":{\"type\":7}}]"
#define JSON "200 OK\r\nContent-Type: application/json"

static const char *answer(struct conn *c)
{
    struct server *s = c->s;
    char known[40], named[100];

    snprintf(known, sizeof known, "Mcp-Session-Id: s%d\r\n", s->session);
    snprintf(named, sizeof named, JSON "\r\nMcp-Session-Id: s%d", s->session);
    if (strstr(c->in, "\"server/discover\""))
        return say(c, s->session ? "404 Not Found" : JSON,
                   s->session ? "" : "\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{}");
    if (strstr(c->in, "\"initialize\""))
        return say(c, named, "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}");
    if (s->session && !strstr(c->in, known))
        return say(c, "404 Not Found", "");
    if (strstr(c->in, "\"tools/list\""))
        return say(c, JSON,
                   strstr(c->in, "\"cursor\"") ? "\"tools\":[]" : TOOLS ",\"nextCursor\":\"n\"");
    if (strstr(c->in, "\"tools/call\""))
        return say(c, JSON,
                   strstr(c->in, "\"fail\"")
                       ? "\"isError\":true,\"content\":[{\"text\":\"no\"}]"
                       : "\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]");
    return say(c, "202 Accepted", "");
}

/* ---- the loop ---------------------------------------------------------------------------------- */

static struct world {
    uv_loop_t uv;
    alk_registry *reg, *found;
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;
    alk_connection *one, *other;
    struct server server;
    alk_mcp *m;
    int closed, told, rc, ended;
    bool good; /* the call */
} w;

static void begin(int session)
{
    alk_connection_options o = {.size = sizeof o};

    signal(SIGPIPE, SIG_IGN);
    memset(&w, 0, sizeof w);
    must(!uv_loop_init(&w.uv));
    w.reg = alk_registry_new();
    must(w.reg && !alk_registry_freeze(w.reg) && !alk_node_new(&w.node, w.reg, NULL) &&
         !alk_dispatcher_new(&w.d, w.node) && !alk_loop_open(&w.l, &w.uv, w.d));
    must(!alk_pair_open(w.d, &o, &w.one, w.d, &o, &w.other));
    server_open(&w.server, &w.uv, answer);
    w.server.session = session;
}

static void on_closed(void *ud)
{
    (void)ud;
    w.closed++;
}

static void finish(void)
{
    if (w.m)
        alk_mcp_close(w.m);
    must(!alk_node_set_discovered(w.node, "mcp", NULL));
    alk_registry_unref(w.found);
    alk_loop_close(w.l, on_closed, NULL);
    uv_close((uv_handle_t *)&w.server.tcp, NULL);
    for (int i = 0; i < GIVEN_UP && (!w.closed || w.server.open); i++)
        uv_run(&w.uv, UV_RUN_NOWAIT);
    must(w.closed == 1 && !w.server.open);
    uv_run(&w.uv, UV_RUN_DEFAULT);
    must(!uv_loop_close(&w.uv));
    alk_connection_unref(w.one);
    alk_connection_unref(w.other);
    alk_node_unref(w.node);
    alk_registry_unref(w.reg);
}

static void wait_for(const int *n)
{
    for (int i = 0; !*n; i++) {
        must(i < GIVEN_UP);
        uv_run(&w.uv, UV_RUN_NOWAIT);
        if (i > 100)
            usleep(500);
    }
}

static void on_tools(void *ud, alk_mcp *m, int rc, const char *why)
{
    (void)ud;
    (void)m;
    must((rc == ALK_OK) == !why);
    must(!rc || (failed() && (rc == ALK_ENOMEM || rc == ALK_EREMOTE)));
    w.told++;
    w.rc = rc;
}

static bool listed(void)
{
    alk_mcp_options o = {.size = sizeof o};
    char url[60], err[200];

    snprintf(url, sizeof url, "http://127.0.0.1:%d/mcp", w.server.port);
    o.url = url;
    o.namespace_prefix = "up";
    o.headers = "{\"X-A\":\"b\"}";
    o.tool_filter = "{\"exclude\":[\"none*\"]}";
    o.access_control = "{}";
    o.private_addresses = 1;
    o.progress = 1;
    o.on_tools = on_tools;
    if (!ok(alk_mcp_open(&w.m, w.l, &o, err, sizeof err)))
        return false;
    wait_for(&w.told);
    return w.rc == 0;
}

static bool imported(void)
{
    size_t before, count;
    char err[200] = "";
    int rc;

    w.found = alk_registry_new();
    if (!w.found)
        return false;
    before = w.found->by_name.count;
    rc = alk_registry_import_mcp(w.found, w.m, &count, NULL, NULL, err, sizeof err);
    must(w.found->by_name.count == before + (rc ? 0 : 2) && count == (rc ? 0 : 1) && (!rc || *err));
    return ok(rc);
}

static void ready(void)
{
    must(listed() && imported() && !alk_registry_freeze(w.found) &&
         !alk_node_set_discovered(w.node, "mcp", w.found));
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    size_t n;
    const char *text = alk_value_text(value, &n);

    (void)call;
    (void)ud;
    w.good = text && strstr(text, "hello");
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    must(!w.ended++);
    if (ud)
        w.good = fault && !strcmp(fault->code, "MCP_TOOL_ERROR") && fault->details;
}

static bool called(const char *name, const char *input, bool fails)
{
    alk_call_options o = {.size = sizeof o};

    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = fails ? &w : NULL;
    w.good = false;
    w.ended = 0;
    if (!ok_or_closed(
            alk_connection_call(w.one, name, strlen(name), input, strlen(input), &o, NULL)))
        return false;
    wait_for(&w.ended);
    must(w.good || failed());
    return w.good;
}

/* ---- scenarios --------------------------------------------------------------------------------- */

SCENARIO(tools_are_listed)
{
    bool good;

    begin(0);
    arm();
    good = listed();
    disarm();
    finish();
    return good;
}

SCENARIO(a_session_is_opened)
{
    bool good;

    begin(1);
    arm();
    good = listed();
    disarm();
    finish();
    return good;
}

SCENARIO(tools_are_imported)
{
    bool good;

    begin(0);
    must(listed());
    arm();
    good = imported();
    disarm();
    finish();
    return good;
}

SCENARIO(a_tool_is_called)
{
    bool good;

    begin(0);
    ready();
    arm();
    good = called("up/a", "{\"h\":\"\\u00fc\"}", false);
    disarm();
    finish();
    return good;
}

SCENARIO(a_tool_fails)
{
    bool good;

    begin(0);
    ready();
    arm();
    good = called("up/a", "{\"x\":\"fail\"}", true);
    disarm();
    finish();
    return good;
}

SCENARIO(a_tool_is_called_for_its_progress)
{
    bool good;

    begin(0);
    ready();
    arm();
    good = called("up/a/progress", "{}", false);
    disarm();
    finish();
    return good;
}

SCENARIO(a_session_is_opened_again)
{
    bool good;

    begin(1);
    ready();
    w.server.session = 2;
    arm();
    good = called("up/a", "{}", false);
    disarm();
    finish();
    return good;
}

MAIN("oom_mcp", tools_are_listed, a_session_is_opened, tools_are_imported, a_tool_is_called,
     a_tool_fails, a_tool_is_called_for_its_progress, a_session_is_opened_again)
