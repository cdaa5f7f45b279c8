/* An MCP server of raw bytes (fetch_rig.h) that speaks either era, as the test has it, a client of it, and a gateway at
 * which the imported tools are called: each time that tools are listed, they take the place of those before. */
#ifndef TESTS_UV_MCP_RIG_H
#define TESTS_UV_MCP_RIG_H

#include "uv/fetch_rig.h"

#include <alknet/mcp.h>
#include <alknet/openapi.h>

#define TOOL(name, more) "{\"name\":\"" name "\",\"inputSchema\":{\"type\":\"object\"}" more "}"
#define TEXTS(text) "\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}]"

struct mcp_rig {
    struct rig *r;
    struct upstream up;
    alk_mcp_options o;
    alk_mcp *m;
    alk_registry *reg; /* what was imported last */
    size_t imported;
    int told, rc, warnings;
    char why[600], warned[2000];
    void *ud;                 /* the test's */
    bool close_at_once, keep; /* in on_tools; do not import there */
    /* ---- the server */
    bool sessions;           /* the era of 2025 */
    bool changes;            /* it says that it tells of changes */
    bool events;             /* answers are events */
    bool lingers, ends_late; /* and the stream does not end, or a little later */
    uv_timer_t end;
    bool wrong_id;
    bool mute;                   /* cancelled calls are not answered */
    const char *version;         /* that it answers to initialize */
    const char *tools;           /* of tools/list */
    const char *next;            /* the cursor behind them; NULL: none */
    const char *result;          /* of tools/call: the members of result */
    const char *error;           /* of tools/call: in place of a result */
    const char *before;          /* events before the answer to tools/call */
    const char *discover, *list; /* whole answers in place of the usual ones */
    const char *call;            /* likewise; "": none comes */
    int session;                 /* its number: sN */
    int discovers, hellos, greetings, lists, calls, cancels, listens, resumes, replies;
    char called[4000]; /* the last tools/call */
    char cancelled[1000], replied[1000];
    struct up_conn *stream; /* of a listener, or of a call that is not answered */
    /* true: it has been answered */
    bool (*on_call)(struct mcp_rig *x, struct up_conn *c);
    bool (*on_list)(struct mcp_rig *x, struct up_conn *c);
    void (*on_resume)(struct mcp_rig *x, struct up_conn *c);
    void (*on_listen)(struct mcp_rig *x, struct up_conn *c);
};

static inline long long mcp_id(const struct upstream *u)
{
    const char *id = strstr(u->last, "\"id\":");

    return id ? atoll(id + 5) : 0;
}

static inline void mcp_say(struct up_conn *c, const char *status, const char *headers,
                           const char *body)
{
    size_t size = strlen(body) + strlen(headers) + 300;
    char *text = malloc(size);

    must(text);
    snprintf(text, size, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
             strlen(body), body);
    up_send(c, text);
    free(text);
}

static inline void mcp_chunk(struct up_conn *c, const char *text)
{
    char *chunk = malloc(strlen(text) + 30);

    must(chunk);
    sprintf(chunk, "%zx\r\n%s\r\n", strlen(text), text);
    up_send(c, chunk);
    free(chunk);
}

/* Events arrive one by one. */
static inline void mcp_stream(struct up_conn *c)
{
    must(!uv_tcp_nodelay(&c->tcp, 1));
    up_send(c, OK_HEAD "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static inline void mcp_end(uv_timer_t *t)
{
    up_send(t->data, "0\r\n\r\n");
}

/* member: "result":{...} or "error":{...}. */
static inline void mcp_answer(struct mcp_rig *x, struct up_conn *c, const char *headers,
                              const char *before, const char *member)
{
    size_t size = strlen(member) + 200;
    char *text = malloc(size), lines[300];

    must(text);
    snprintf(text, size, "%s{\"jsonrpc\":\"2.0\",\"id\":%lld,%s}%s", x->events ? "data: " : "",
             mcp_id(&x->up) + x->wrong_id, member, x->events ? "\n\n" : "");
    snprintf(lines, sizeof lines, "%sContent-Type: application/json\r\n", headers);
    if (x->events) {
        mcp_stream(c);
        mcp_chunk(c, "event: message\nid: 1\ndata:\n\n");
        if (before)
            mcp_chunk(c, before);
        mcp_chunk(c, text);
        x->end.data = c;
        if (x->ends_late)
            uv_timer_start(&x->end, mcp_end, 10, 0);
        else if (!x->lingers)
            up_send(c, "0\r\n\r\n");
    } else {
        mcp_say(c, "200 OK", lines, text);
    }
    free(text);
}

static inline bool mcp_is(struct mcp_rig *x, const char *method)
{
    char text[100];

    snprintf(text, sizeof text, "\"method\":\"%s\"", method);
    return strstr(x->up.last, text) != NULL;
}

static inline void mcp_list(struct mcp_rig *x, struct up_conn *c)
{
    size_t size = strlen(x->tools) + 500;
    char *text = malloc(size), next[200] = "";

    must(text);
    if (x->next)
        snprintf(next, sizeof next, ",\"nextCursor\":\"%s\"", x->next);
    snprintf(text, size,
             "\"result\":{\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"public\","
             "\"tools\":[%s]%s}",
             x->tools, next);
    x->lists++;
    mcp_answer(x, c, "", NULL, text);
    free(text);
}

static inline void mcp_call(struct mcp_rig *x, struct up_conn *c)
{
    char *text;
    size_t size = (x->result ? strlen(x->result) : 0) + 500;

    x->calls++;
    snprintf(x->called, sizeof x->called, "%s", x->up.last);
    if (x->on_call && x->on_call(x, c))
        return;
    if (x->call && !*x->call) {
        x->stream = c;
        return;
    }
    if (x->call) {
        up_send(c, x->call);
        return;
    }
    text = malloc(size);
    must(text);
    if (x->error)
        snprintf(text, size, "\"error\":%s", x->error);
    else
        snprintf(text, size, "\"result\":{\"resultType\":\"complete\",%s}", x->result);
    mcp_answer(x, c, "", x->before, text);
    free(text);
}

static inline void mcp_discovered(struct mcp_rig *x, struct up_conn *c)
{
    x->discovers++;
    if (x->discover)
        up_send(c, x->discover);
    else if (x->sessions)
        mcp_say(c, "400 Bad Request", "Content-Type: application/json\r\n",
                "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":\"no "
                "session\"},\"id\":null}");
    else
        mcp_answer(
            x, c, "", NULL,
            x->changes
                ? "\"result\":{\"resultType\":\"complete\",\"supportedVersions\":[\"2026-07-28\"],"
                  "\"capabilities\":{\"tools\":{\"listChanged\":true}}}"
                : "\"result\":{\"resultType\":\"complete\",\"supportedVersions\":[\"2026-07-28\"],"
                  "\"capabilities\":{\"tools\":{}}}");
}

static inline void mcp_initialized(struct mcp_rig *x, struct up_conn *c)
{
    char text[500], session[100];

    x->hellos++;
    x->session++;
    snprintf(session, sizeof session, "Mcp-Session-Id: s%d\r\n", x->session);
    snprintf(
        text, sizeof text,
        "\"result\":{\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{\"listChanged\":%s}},"
        "\"serverInfo\":{\"name\":\"t\",\"version\":\"1\"}}",
        x->version, x->changes ? "true" : "false");
    mcp_answer(x, c, session, NULL, text);
}

static inline void mcp_serve(struct up_conn *c)
{
    struct mcp_rig *x = c->u->ud;
    char session[100];

    snprintf(session, sizeof session, "Mcp-Session-Id: s%d", x->session);
    if (mcp_is(x, "server/discover")) {
        mcp_discovered(x, c);
    } else if (mcp_is(x, "initialize")) {
        mcp_initialized(x, c);
    } else if (x->sessions && !up_line(&x->up, session)) {
        mcp_say(c, "404 Not Found", "Content-Type: application/json\r\n",
                "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32001,\"message\":\"Session not "
                "found\"},\"id\":null}");
    } else if (mcp_is(x, "notifications/initialized")) {
        x->greetings++;
        mcp_say(c, "202 Accepted", "", "");
    } else if (strstr(x->up.last, "not known here") || strstr(x->up.last, "\"result\":{}}")) {
        x->replies++;
        snprintf(x->replied, sizeof x->replied, "%s", x->up.last);
        mcp_say(c, "202 Accepted", "", "");
    } else if (mcp_is(x, "notifications/cancelled")) {
        x->cancels++;
        snprintf(x->cancelled, sizeof x->cancelled, "%s", x->up.last);
        if (!x->mute)
            mcp_say(c, "202 Accepted", "", "");
    } else if (mcp_is(x, "tools/list")) {
        if (x->list) {
            x->lists++;
            up_send(c, x->list);
        } else if (!x->on_list || !x->on_list(x, c)) {
            mcp_list(x, c);
        }
    } else if (mcp_is(x, "tools/call")) {
        mcp_call(x, c);
    } else if (strstr(x->up.last, "\r\nLast-Event-ID: ")) {
        x->resumes++;
        x->on_resume(x, c);
    } else if (mcp_is(x, "subscriptions/listen") || !strncmp(x->up.last, "GET ", 4)) {
        x->listens++;
        if (x->on_listen) {
            x->on_listen(x, c);
        } else if (x->changes) {
            mcp_stream(c);
            x->stream = c;
        } else {
            mcp_say(c, "405 Method Not Allowed", "", "");
        }
    } else {
        mcp_say(c, "404 Not Found", "", "");
    }
}

/* ---- the client -------------------------------------------------------------------------------- */

static inline void mcp_warned(void *ud, const char *tool, const char *text)
{
    struct mcp_rig *x = ud;
    size_t n = strlen(x->warned);

    x->warnings++;
    snprintf(x->warned + n, sizeof x->warned - n, "[%s] %s\n", tool, text);
}

static inline void mcp_import(struct mcp_rig *x)
{
    char err[300];
    int rc;

    alk_registry_unref(x->reg);
    x->reg = alk_registry_new();
    ck_assert_ptr_nonnull(x->reg);
    x->warnings = 0;
    *x->warned = 0;
    rc = alk_registry_import_mcp(x->reg, x->m, &x->imported, mcp_warned, x, err, sizeof err);
    ck_assert_msg(!rc, "%s: %s", alk_err_name(rc), err);
    ck_assert_int_eq(alk_registry_freeze(x->reg), ALK_OK);
    ck_assert_int_eq(alk_node_set_discovered(x->r->node, "mcp", x->reg), ALK_OK);
}

static inline void mcp_told(void *ud, alk_mcp *m, int rc, const char *why)
{
    struct mcp_rig *x = ud;

    x->told++;
    x->rc = rc;
    snprintf(x->why, sizeof x->why, "%s", why ? why : "");
    if (!rc && !x->keep)
        mcp_import(x);
    if (x->close_at_once) {
        alk_mcp_close(m);
        x->m = NULL;
    }
}

static inline struct mcp_rig *mcp_rig_new(void)
{
    struct mcp_rig *x = calloc(1, sizeof *x);

    ck_assert_ptr_nonnull(x);
    x->r = fetch_rig_new();
    rig_serve(x->r);
    up_start(&x->up, x->r, NULL);
    x->up.answer = mcp_serve;
    x->up.ud = x;
    uv_timer_init(&x->r->uv, &x->end);
    x->version = "2025-11-25";
    x->tools = TOOL("a", ",\"description\":\"The first\"");
    x->result = TEXTS("hello");
    x->o = (alk_mcp_options){.size = sizeof x->o};
    x->o.namespace_prefix = "up";
    x->o.is_public = 1;
    x->o.private_addresses = 1;
    x->o.on_tools = mcp_told;
    x->o.ud = x;
    return x;
}

static inline void mcp_open(struct mcp_rig *x)
{
    char err[300];

    x->o.url = up_url(&x->up, "/mcp");
    ck_assert_msg(!alk_mcp_open(&x->m, x->r->l, &x->o, err, sizeof err), "%s", err);
}

/* Until something was told so many times. */
static inline void mcp_wait(struct mcp_rig *x, int told)
{
    rig_until(x->r, x->told >= told);
}

static inline struct mcp_rig *mcp_rig_open(bool sessions)
{
    struct mcp_rig *x = mcp_rig_new();

    x->sessions = sessions;
    mcp_open(x);
    mcp_wait(x, 1);
    ck_assert_msg(!x->rc, "%s: %s", alk_err_name(x->rc), x->why);
    return x;
}

/* A call at the gateway. */
static inline void mcp_ask(struct mcp_rig *x, struct client *c, const char *operation,
                           const char *input)
{
    char body[2000], text[2400];

    snprintf(body, sizeof body, "{\"operation\":\"%s\",\"input\":%s}", operation, input);
    snprintf(text, sizeof text,
             "POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    rig_client(x->r, c);
    client_send(c, text);
}

/* Its status; the answer has the text. */
static inline int mcp_called(struct mcp_rig *x, const char *operation, const char *input,
                             const char *has)
{
    struct client c;
    int status;

    mcp_ask(x, &c, operation, input);
    status = client_answer(&c);
    ck_assert_msg(strstr(c.body, has) != NULL, "%d %s has no %s", status, c.body, has);
    client_close(&c);
    return status;
}

static inline void mcp_rig_free(struct mcp_rig *x)
{
    struct rig *r = x->r;

    if (x->m)
        alk_mcp_close(x->m);
    uv_close((uv_handle_t *)&x->end, NULL);
    up_stop(&x->up);
    ck_assert_int_eq(alk_node_set_discovered(r->node, "mcp", NULL), ALK_OK);
    alk_registry_unref(x->reg);
    free(x);
    rig_free(r);
}

#endif
