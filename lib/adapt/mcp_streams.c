/* What lasts longer than a message of MCP: sessions, calls that can be cancelled, and streams on
 * which clients hear that the list of tools has changed: GET, of a session, or a request of the
 * stateless revision for that.
 *
 * A session is an id that its owner has, and holds nothing; it is good on any connection and thread
 * of the node. A call can be cancelled by a message on the thread that runs it; a client that closes
 * the call's answer cancels it anywhere. */
#include "adapt/mcp_serve.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/time.h"
#include "core/discovered.h"
#include "core/session_ids.h"

#include <stdio.h>
#include <string.h>

/* ---- the gateway's part ---------------------------------------------------------------------- */

static void on_look(struct timer *t, uint64_t now);

struct mcp_service *mcp_service(struct alk_gateway *g)
{
    struct mcp_service *s = g->mcp_service;

    if (s)
        return s;
    s = mem_zalloc(&g->mem, sizeof *s);
    if (!s)
        return NULL;
    map_init(&s->running, &g->mem, g->d->node->seed);
    map_init(&s->tools, &g->mem, g->d->node->seed);
    arena_init(&s->arena, &g->mem, 4096);
    list_init(&s->streams);
    timer_init(&s->look, on_look);
    s->changes = discovery_changes(&g->d->node->discovery);
    s->g = g;
    g->mcp_service = s;
    return s;
}

void mcp_free(struct alk_gateway *g)
{
    struct mcp_service *s = g->mcp_service;

    timer_clear(&g->d->schedule, &s->look);
    mcp_index_free(s);
    map_fini(&s->tools);
    map_fini(&s->running);
    mem_free(&g->mem, s);
}

/* ---- sessions -------------------------------------------------------------------------------- */

/* Whose sessions those of a request are. */
static struct str owner(const struct alk_request *r)
{
    return (struct str){r->payer->share->name, r->payer->share->len};
}

static struct str session_header(const struct mcp *x)
{
    const struct http_header *h = request_field(&x->r->x->req, "mcp-session-id");

    return h ? h->value : STR_NONE;
}

static bool read_id(struct str s, uint8_t id[SESSION_ID_BYTES])
{
    if (s.n != 2 * SESSION_ID_BYTES)
        return false;
    for (size_t i = 0; i < SESSION_ID_BYTES; i++) {
        int high = hex_value(s.p[2 * i]), low = hex_value(s.p[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void no_session(struct mcp *x)
{
    mcp_answer_error(x, 404, MCP_NO_SESSION, NULL, "there is no such session");
}

/* Who has none is served as well: nothing depends on it. */
bool mcp_session(struct mcp *x)
{
    struct alk_request *r = x->r;
    struct str said = session_header(x);
    uint8_t id[SESSION_ID_BYTES];

    if (!said.p && !http_find(&r->x->req, "mcp-session-id", 14))
        return true;
    if (read_id(said, id) && http_session_find(r->g->d->node, owner(r), r->g->d->now, id))
        return true;
    no_session(x);
    return false;
}

void mcp_serve_initialize(struct mcp *x)
{
    struct alk_request *r = x->r;
    struct str version = json_string(yyjson_obj_get(x->params, "protocolVersion"));
    struct http_header h = {STR("Mcp-Session-Id"), STR_NONE};
    char text[2 * SESSION_ID_BYTES + 1];
    uint8_t id[SESSION_ID_BYTES];
    struct buf b;
    int rc;

    if (!version.p) {
        mcp_answer_error(x, 200, MCP_INVALID_PARAMS, NULL,
                         "params/protocolVersion: must be a string");
        return;
    }
    if (http_session_open(r->g->d->node, owner(r), r->g->d->now, id)) {
        reply_error(r, 503, "out of memory");
        return;
    }
    for (size_t i = 0; i < SESSION_ID_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    h.value = (struct str){text, 2 * SESSION_ID_BYTES};
    rc = mcp_answer_begin(x, &b);
    rc |= buf_printf(&b,
                     "\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{%s}},"
                     "\"serverInfo\":" MCP_SERVER_INFO,
                     str_is(version, MCP_SESSIONS_OLD) ? MCP_SESSIONS_OLD : MCP_SESSIONS,
                     r->g->mcp == ALK_MCP_DIRECT ? "\"listChanged\":true" : "");
    mcp_answer_end(x, &b, rc, &h, 1);
}

/* ---- calls that can be cancelled ------------------------------------------------------------- */

/* SESSION ID. p NULL: there is no session, or no memory. */
static struct str key_of(const struct mcp *x, struct str id, struct arena *a)
{
    struct str session = session_header(x);
    char *p;

    if (!session.p || !id.p)
        return STR_NONE;
    p = arena_alloc(a, session.n + 1 + id.n);
    if (!p)
        return STR_NONE;
    memcpy(p, session.p, session.n);
    p[session.n] = ' ';
    memcpy(p + session.n + 1, id.p, id.n);
    return (struct str){p, session.n + 1 + id.n};
}

void mcp_run(struct mcp *x, struct arena *a)
{
    struct mcp_service *s = x->r->g->mcp_service;
    struct str key = x->stateless ? STR_NONE : key_of(x, x->id, a);

    if (!key.p || map_find(&s->running, key.p, key.n))
        return;
    x->running.key = key.p;
    x->running.len = key.n;
    if (map_add(&s->running, &x->running))
        x->running.key = NULL;
}

void mcp_forget(struct mcp *x)
{
    if (x->running.key)
        map_del(&x->r->g->mcp_service->running, &x->running);
    x->running.key = NULL;
}

void mcp_cancel(struct mcp *x)
{
    yyjson_alc alc = arena_alc(&x->r->msg->arena);
    yyjson_val *id = yyjson_obj_get(x->params, "requestId");
    struct str text = STR_NONE, key;
    struct map_node *n;
    alk_call *c;

    if (id)
        text.p = yyjson_val_write_opts(id, 0, &alc, &text.n, NULL);
    key = key_of(x, text, &x->r->msg->arena);
    n = key.p ? map_find(&x->r->g->mcp_service->running, key.p, key.n) : NULL;
    c = n ? container_of(n, struct mcp, running)->r->call : NULL;
    if (c && !call_ended(c))
        call_end(c, ALK_END_ABORTED, NULL);
}

/* ---- streams of changes ---------------------------------------------------------------------- */

/* A message without an id: that of the stream goes along in the stateless revision. more: of its
 * params, with a comma behind it. */
static void tell(struct mcp *x, const char *method, const char *more)
{
    struct buf b;
    int rc;

    buf_init(&b, &x->r->g->mem);
    rc = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"") | buf_puts(&b, method) |
         buf_puts(&b, "\"");
    if (x->stateless)
        rc |= buf_puts(&b, ",\"params\":{") | buf_puts(&b, more) |
              buf_puts(&b, "\"_meta\":{\"" MCP_META "subscriptionId\":") |
              buf_append(&b, x->id.p, x->id.n) | buf_puts(&b, "}}");
    rc |= buf_puts(&b, "}");
    mcp_answer_event(x, &b, rc);
    buf_fini(&b);
}

/* Whether the client is to hear that tools have changed, which only direct ones do. */
static bool hears(const struct mcp *x)
{
    yyjson_val *wanted = yyjson_obj_get(x->params, "notifications");

    return x->r->g->mcp == ALK_MCP_DIRECT &&
           (!x->stateless || yyjson_is_true(yyjson_obj_get(wanted, "toolsListChanged")));
}

/* Once a second, so however often something changes, a client hears of it no more often; one that is
 * behind does later. To write may close a stream, which leaves the list then. */
static void on_look(struct timer *t, uint64_t now)
{
    struct mcp_service *s = container_of(t, struct mcp_service, look);

    s->changes = discovery_changes(&s->g->d->node->discovery);
    list_each_safe(l, &s->streams)
    {
        struct mcp *x = container_of(l, struct mcp, stream);

        if (x->heard == s->changes || x->r->x->ops->queued(x->r->x))
            continue;
        x->heard = s->changes;
        tell(x, "notifications/tools/list_changed", "");
    }
    if (!list_empty(&s->streams))
        timer_set(&s->g->d->schedule, t, now + SECOND);
}

/* What has changed since it was looked at last may have done so after the client has listed. */
static void hear(struct mcp *x)
{
    struct mcp_service *s = x->r->g->mcp_service;

    x->heard = s->changes;
    list_push(&s->streams, &x->stream);
    if (!timer_is_set(&s->look))
        timer_set(&s->g->d->schedule, &s->look, s->g->d->now + SECOND);
}

static void listening(alk_call *c)
{
    struct mcp *x = c->sink_ud;
    struct alk_request *r = x->r;

    if (!mcp_answerable(x) || mcp_answer_stream(x))
        return;
    timer_set(&r->g->d->schedule, &r->heartbeat,
              r->g->d->now + LIMIT(r->g->d->node, heartbeat_ms) * MILLI);
    if (hears(x))
        hear(x);
    if (x->stateless)
        tell(x, "notifications/subscriptions/acknowledged",
             hears(x) ? "\"notifications\":{\"toolsListChanged\":true}," : "\"notifications\":{},");
}

/* The proper end of a stream that had to end, as the node's. */
static void end_stream(struct mcp *x)
{
    struct buf b;
    int rc;

    if (x->stateless) {
        rc =
            mcp_answer_begin(x, &b) |
            buf_puts(&b, "\"resultType\":\"complete\",\"_meta\":{\"" MCP_META "subscriptionId\":") |
            buf_append(&b, x->id.p, x->id.n) | buf_puts(&b, "}}}");
        mcp_answer_event(x, &b, rc);
        buf_fini(&b);
    }
    x->r->ended = true;
    x->r->x->ops->end(x->r->x);
}

static void listened(alk_call *c)
{
    struct mcp *x = c->sink_ud;

    if (mcp_answerable(x) && x->r->started)
        end_stream(x);
    else if (mcp_answerable(x))
        reply_failure(x->r, c);
    mcp_call_over(c, x);
}

static void finish(alk_call *c, void *ud)
{
    (void)ud;
    alk_call_complete(c);
}

static int listen(alk_call *c, void *ud)
{
    (void)ud;
    alk_call_on_shutdown(c, finish, NULL);
    return ALK_OK;
}

/* A call like others, so that it is let in, counted, and ended with the node. */
static void start_listening(struct mcp *x)
{
    static const struct operation operation = {.by_name = {.key = "mcp/listen", .len = 10},
                                               .type = ALK_SUBSCRIPTION,
                                               .visibility = ALK_EXTERNAL,
                                               .handler = listen};
    static const struct call_sink sink = {listening, NULL, listened};
    struct target t = {.op = &operation};

    mcp_call_start(x, op_name(t.op), &t, NULL, WANT_STREAM, &sink, ALK_NO_TIMEOUT);
}

void mcp_serve_listen(struct mcp *x)
{
    if (yyjson_is_obj(yyjson_obj_get(x->params, "notifications")))
        start_listening(x);
    else
        mcp_answer_error(x, 200, MCP_INVALID_PARAMS, NULL,
                         "params/notifications: must be an object");
}

static void only_post(struct mcp *x)
{
    static const struct http_header allow = {STR_INIT("Allow"), STR_INIT("POST")};

    reply(x->r, 405, NULL, NULL, 0, &allow, 1);
}

/* It is of a session, which it names. */
void mcp_serve_get(struct mcp *x)
{
    if (!http_find(&x->r->x->req, "mcp-session-id", 14))
        only_post(x);
    else if (mcp_session(x))
        start_listening(x);
}

void mcp_serve_delete(struct mcp *x)
{
    struct alk_request *r = x->r;
    uint8_t id[SESSION_ID_BYTES];

    if (!http_find(&r->x->req, "mcp-session-id", 14))
        only_post(x);
    else if (read_id(session_header(x), id) &&
             http_session_end(r->g->d->node, owner(r), r->g->d->now, id))
        reply(r, 204, NULL, NULL, 0, NULL, 0);
    else
        no_session(x);
}
