/* The life of a request, from on_head to on_close of its exchange, and beyond it as long as a call
 * of it runs. What is asked of every request is asked here, in one order, so that no route can
 * forget any of it: token, stealth, an upgrade's head, name of the host, origin, route, body.
 *
 * A request has one reference for its exchange and one for each call that runs for it. The client
 * may leave first: r->x is NULL from on_close on, and so a sink looks at it before it answers. An
 * answer is given once: `started` and `ended` say how far it is, and whoever finds `ended` says
 * nothing more. */
#include "gateway/gateway_int.h"

#include "base/utf8.h"
#include "gateway/ws.h"
#include "wire/ws_handshake.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BODY_START 4096u
/* Announced bodies up to this size get their room at once. */
#define BODY_AHEAD 8192u
/* The most that is made room for beyond what has come: no smaller steps, which no meter would look
 * at. */
#define BODY_MORE METER_MIN

/* ---- references ------------------------------------------------------------------------------ */

/* The last one that was freed is used again: on a busy connection, a request costs no
 * allocation. */
static struct alk_request *request_new(struct http_exchange *x, struct gate_conn *c)
{
    struct alk_gateway *g = c->g;
    struct alk_request *r = g->spare ? g->spare : mem_alloc(&g->mem, sizeof *r);

    if (!r)
        return NULL;
    g->spare = NULL;
    /* A used one has the last caller's identity, token and trace in it: nothing of it may be seen
     * again. */
    memset(r, 0, sizeof *r);
    r->msg = msg_new(&g->d->messages, c->account);
    if (!r->msg) {
        mem_free(&g->mem, r);
        return NULL;
    }
    r->msg->arena.begins = true;
    r->refs = 1;
    r->g = g;
    r->conn = c;
    r->payer = account_ref(c->account);
    r->x = x;
    x->data = r;
    list_push(&c->requests, &r->link);
    list_init(&r->task.link);
    list_init(&r->calls);
    list_init(&r->on_by.link);
    timer_init(&r->heartbeat, event_heartbeat);
    dispatcher_id(g->d, r->id);
    return r;
}

/* By the exchange, or by a call that has ended behind it. */
void request_unref(struct alk_request *r)
{
    if (--r->refs)
        return;
    assert(!r->x && !r->call && !r->batch && !r->site && !r->mcp && list_empty(&r->calls) &&
           list_empty(&r->link) && list_empty(&r->task.link) && !timer_is_set(&r->heartbeat));
    credential_unref(r->by);
    alk_identity_unref(r->identity);
    account_unref(r->payer);
    if (r->msg)
        msg_free(r->msg);
    if (r->g->spare)
        mem_free(&r->g->mem, r);
    else
        r->g->spare = r;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* 0 and ALK_NO_TIMEOUT ask for nothing: from outside, a deadline can only be shortened
 * (core/start.c), so neither of the two may lift the other. */
static uint32_t shorter(uint32_t a_ms, uint32_t b_ms)
{
    if (!a_ms || a_ms == ALK_NO_TIMEOUT)
        return b_ms;
    return b_ms && b_ms < a_ms ? b_ms : a_ms;
}

const char *request_unknown(yyjson_val *v, const char *const *known, char why[WHY_SIZE])
{
    yyjson_val *name = json_unknown_member(v, known);
    char shown[JSON_SHOWN];

    if (!name)
        return NULL;
    snprintf(why, WHY_SIZE, "/%s: unknown member", json_show(name, shown));
    return why;
}

/* A misspelled input would be an empty one, hence no unknown members. Operations describe objects
 * nearly always, so that is what a missing input is; on the wire, where callers are programs, it is
 * null. */
const char *request_invocation(yyjson_val *v, struct invocation *i, char why[WHY_SIZE])
{
    static const yyjson_val empty = {.tag = YYJSON_TYPE_OBJ, .uni = {.ofs = sizeof empty}};
    static const char *const known[] = {"operation", "input", NULL};
    const char *fault = request_unknown(v, known, why);

    if (fault)
        return fault;
    i->operation.p = json_str(v, "operation", &i->operation.n);
    i->input = yyjson_obj_get(v, "input");
    if (!i->input)
        i->input = (yyjson_val *)&empty;
    return i->operation.p ? NULL : "/operation: must be a string";
}

alk_call *request_start(struct alk_request *r, const struct invocation *i)
{
    struct arena *a = &i->msg->arena;
    struct request rq = {.msg = i->msg,
                         .name = i->operation,
                         .input = i->input,
                         .target = i->target,
                         .by = r->by,
                         .sink = i->sink,
                         .sink_ud = i->sink_ud,
                         .want = i->want,
                         .timeout_ms = shorter(i->timeout_ms, r->timeout_ms),
                         .remote = r->client};
    alk_call *c;

    /* Copies: the request's own may be gone before the call. */
    rq.id = (struct str){arena_dup(a, i->id, ID_SIZE - 1), ID_SIZE - 1};
    if (!rq.id.p) {
        msg_free(i->msg);
        return NULL;
    }
    if (r->traceparent.p)
        rq.traceparent =
            (struct str){arena_dup(a, r->traceparent.p, r->traceparent.n), r->traceparent.n};
    /* A refused call has let go of it when call_start returns. */
    r->refs++;
    c = call_start(r->g->d, &rq);
    if (!c)
        r->refs--;
    return c;
}

/* Only one that goes on is kept, to be aborted when the client leaves. */
alk_call *request_call(struct alk_request *r, struct invocation *i)
{
    alk_call *c;

    i->msg = r->msg;
    i->id = r->id;
    r->msg = NULL;
    c = request_start(r, i);
    if (!c)
        reply_error(r, 500, "%s", fault_internal.message);
    if (!c || call_ended(c))
        return NULL;
    r->call = alk_call_ref(c);
    return c;
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* Paths are compared byte by byte, as they came: to decode or normalize one before it is compared
 * is how %2e and // come past a check. No route needs an escape. */
static bool route_is(const struct route *route, const struct http_request *q)
{
    if (!str_eq(route->path, q->path))
        return false;
    /* A server that has GET has HEAD (RFC 9110, 9.1), but not where its answer is a stream. */
    if (str_is(q->method, "HEAD"))
        return str_is(route->method, "GET") && !route->event_get && !route->protocol;
    return str_eq(route->method, q->method);
}

/* The health path comes first: it is the one that can be anything, by configuration. Routes of the
 * embedder come last, so that none can stand in front of one of ours; route_add has refused them
 * already. */
static const struct route *find_route(const struct alk_gateway *g, const struct http_request *q)
{
    if (route_is(&g->health, q))
        return &g->health;
    if (g->metrics)
        return route_is(&metrics_route, q) ? &metrics_route : NULL;
    for (size_t i = 0; i < gateway_route_count; i++) {
        if (route_is(&gateway_routes[i], q) && (g->websocket || !gateway_routes[i].protocol) &&
            (g->mcp || !gateway_routes[i].mcp))
            return &gateway_routes[i];
    }
    for (size_t i = 0; i < g->custom_count; i++) {
        if (route_is(&g->custom[i], q))
            return &g->custom[i];
    }
    return NULL;
}

/* For preflights, which have OPTIONS as their method. Whether the method is right shows at the
 * request itself. */
static bool path_known(const struct alk_gateway *g, const struct http_request *q)
{
    if (g->metrics)
        return false;
    for (size_t i = 0; i < gateway_route_count; i++) {
        if (str_eq(gateway_routes[i].path, q->path))
            return true;
    }
    for (size_t i = 0; i < g->custom_count; i++) {
        if (str_eq(g->custom[i].path, q->path))
            return true;
    }
    return false;
}

/* What a page of an allowed origin may send. Cookies are no part of it: nothing here reads one, and
 * so no page can act with the rights of its visitor. */
static void reply_preflight(struct alk_request *r)
{
    static const struct http_header h[] = {
        {STR_INIT("Access-Control-Allow-Methods"), STR_INIT("GET, POST, PUT, PATCH, DELETE")},
        {STR_INIT("Access-Control-Allow-Headers"),
         STR_INIT("Authorization, Content-Type, X-Timeout-Ms, traceparent, Mcp-Session-Id, "
                  "MCP-Protocol-Version, Mcp-Method, Mcp-Name")},
        {STR_INIT("Access-Control-Max-Age"), STR_INIT("600")},
    };

    reply(r, 204, NULL, NULL, 0, h, sizeof h / sizeof h[0]);
}

/* Only for an origin of the allow-list: to others, the browser gets to see no permission, and does
 * not send what it wanted to. */
static bool is_preflight(const struct alk_request *r)
{
    const struct http_request *q = &r->x->req;

    return r->cors && str_is(q->method, "OPTIONS") &&
           http_find(q, "access-control-request-method", 29) && path_known(r->g, q);
}

/* Of a page of another origin, the browser sends text/plain or a form without asking first. To
 * insist on this type is what makes it ask (CSRF).
 *
 * Parameters, as charset=utf-8, are let pass: JSON has one encoding (RFC 8259, 8.1). */
static bool is_json(const struct http_request *q)
{
    const struct http_header *h = request_field(q, "content-type");
    const char *end = h ? memchr(h->value.p, ';', h->value.n) : NULL;
    struct str type = h ? h->value : STR_NONE;

    if (end)
        type.n = (size_t)(end - type.p);
    while (type.n && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    /* Nearly everyone writes it so, and each call pays for this. */
    return str_is(type, JSON_TYPE) || gate_same_name(type, STR(JSON_TYPE));
}

/* What is no number is as good as absent: a header of that name is a wish, not a part of the
 * request. Nine digits fit 32 bits. */
static void read_timeout(struct alk_request *r)
{
    const struct http_header *h = http_find(&r->x->req, "x-timeout-ms", 12);
    uint64_t ms = 0;

    if (!h || !h->value.n || h->value.n > 9)
        return;
    for (size_t i = 0; i < h->value.n; i++) {
        if (h->value.p[i] < '0' || h->value.p[i] > '9')
            return;
        ms = ms * 10 + (uint64_t)(h->value.p[i] - '0');
    }
    r->timeout_ms = (uint32_t)ms;
}

/* A trace that breaks the rules is as good as none (W3C Trace Context, 3.2): it would be copied
 * into the answer and into calls to others. */
static void read_trace(struct alk_request *r)
{
    const struct http_header *h = http_find(&r->x->req, "traceparent", 11);
    struct str s = h ? h->value : STR_NONE;

    if (!traceparent_valid(s))
        return;
    memcpy(r->trace, s.p, s.n);
    r->trace[s.n] = 0;
    r->traceparent = (struct str){r->trace, s.n};
}

/* Strangers get less: what is read for them is memory and work for nobody yet. */
uint64_t body_limit(const alk_node *n, bool identified)
{
    uint64_t most = LIMIT(n, body_bytes), anonymous = LIMIT(n, anonymous_bytes);

    return !identified && anonymous < most ? anonymous : most;
}

/* The checks of a request that is not a decoy's; true: go on with the body, or serve. The order is
 * that of what is given away: who has failed too often learns nothing of his next
 * token, and who has none learns nothing of the rest.
 *
 * A content coding is refused, not undone: a body of a few bytes may be the form of gigabytes. */
static bool acceptable(struct alk_request *r, enum auth auth)
{
    const struct http_request *q = &r->x->req;

    switch (auth) {
    case AUTH_OK:
        break;
    case AUTH_BUSY:
        reply_error(r, 429, "too many failed authentications from this address");
        return false;
    case AUTH_FAILED:
        reply_error(r, 401, "the presented token is not valid");
        return false;
    case AUTH_NO_MEMORY:
        reply_error(r, 503, "out of memory");
        return false;
    }
    if (r->route->authenticated && !r->by) {
        reply_error(r, 401, "authentication required");
        return false;
    }
    if (http_find(q, "content-encoding", 16)) {
        reply_error(r, 415, "content-encoding: none is supported");
        return false;
    }
    if (r->route->json && !is_json(q)) {
        reply_error(r, 415, "content-type: must be application/json");
        return false;
    }
    return true;
}

static void take_body(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;

    /* A larger one gets room, and is counted, as it comes: what is only announced takes nothing
     * from others. */
    if (q->content_length && q->content_length <= BODY_AHEAD) {
        r->body_cap = (size_t)q->content_length + JSON_PADDING;
        r->body = arena_alloc(&r->msg->arena, r->body_cap);
        if (!r->body) {
            reply_error(r, 503, "out of memory");
            return;
        }
    }
    r->x->ops->read_body(r->x, body_limit(r->g->d->node, r->by != NULL));
}

/* In stealth, whoever has no valid token sees nothing but the decoy and the health path, and that
 * only under a name that is served; who has one sees no sign of an unknown path either. */
static bool sees_decoy_only(struct alk_request *r)
{
    const struct alk_gateway *g = r->g;

    if (!g->stealth)
        return false;
    if (!r->route)
        return true;
    if (r->by)
        return false;
    return r->route != &g->health || !request_host_served(r) || !request_origin_allowed(r);
}

/* Whether it came to a name that is served, from a page that may ask; answers otherwise. An
 * upgrade's head goes first: what is none is told to be one, wherever it came to. */
static bool well_addressed(struct alk_request *r)
{
    if (r->route && r->route->protocol && !ws_head_ok(r))
        return false;
    if (!request_host_served(r)) {
        request_refuse_host(r);
        return false;
    }
    if (!request_origin_allowed(r)) {
        request_refuse_origin(r);
        return false;
    }
    return true;
}

/* Whoever has been revoked gets no more than a word: not even the rest of what was granted. What
 * has been answered whole is his. */
static void on_revoked(struct watcher *w, bool gone)
{
    struct alk_request *r = container_of(w, struct alk_request, on_by);

    if (!gone || r->ended)
        return;
    request_log(r, "request.revoked", "its token no longer resolves");
    if (!r->started) {
        reply_error(r, 401, "the presented token is not valid");
        return;
    }
    r->ended = true;
    r->x->ops->reset(r->x);
}

/* It is known now who asks. */
static void settle_payer(struct alk_request *r)
{
    struct account *payer = r->by ? r->by->account : gate_payer(r->conn, r->client);

    if (r->by) {
        r->identity = alk_identity_ref(r->by->who);
        r->on_by.changed = on_revoked;
        credential_watch(r->by, &r->on_by);
    }
    account_ref(payer);
    account_unref(r->payer);
    r->payer = payer;
    msg_charge(r->msg, payer);
    /* What an earlier request left unsent has its payer still, who then pays for this answer
     * too. */
    if (r->x->multiplexed) {
        r->x->ops->charge(r->x, &payer->meter);
    } else if (!r->x->ops->queued(r->x) && payer != r->conn->paying) {
        r->x->ops->charge(r->x, &payer->meter);
        account_unref(r->conn->paying);
        r->conn->paying = account_ref(payer);
    }
}

/* Who connects to a node that has no sessions is told so, but not in stealth. */
static bool is_unserved_session(const struct alk_request *r)
{
    const struct http_request *q = &r->x->req;

    return !r->g->websocket && !r->g->metrics && str_is(q->method, "GET") &&
           str_is(q->path, WS_CALL_PATH);
}

/* From here on there is an answer in every case, a reset being one. */
static void on_head(struct http_exchange *x, void *ud)
{
    struct alk_request *r = request_new(x, ud);
    enum auth auth;

    if (!r) {
        x->data = NULL;
        x->ops->reset(x);
        return;
    }
    request_read_client(r);
    read_trace(r);
    read_timeout(r);
    r->route = find_route(r->g, &x->req);
    /* In every case, and before anything is answered: whether a token is right must not show in the
     * time it takes. */
    auth = request_authenticate(r);
    settle_payer(r);
    if (sees_decoy_only(r)) {
        reply_decoy(r);
        return;
    }
    if (!well_addressed(r))
        return;
    if (is_preflight(r))
        reply_preflight(r);
    else if (is_unserved_session(r))
        reply_error(r, 404, "WebSocket is off here: \"gateway.websocket\" is false");
    else if (!r->route)
        reply_decoy(r);
    else if (r->route->health)
        r->route->serve(r);
    else if (!acceptable(r, auth))
        return;
    else if (x->req.has_body)
        take_body(r);
    else
        r->route->serve(r);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* By BODY_MORE beyond what is there, and at most to what was announced: who lets a body stall holds
 * little more than he has sent. Its payer has to have room for it. */
static bool grow_body(struct alk_request *r, size_t more)
{
    size_t need = r->body_len + more + JSON_PADDING, cap = r->body_cap ? r->body_cap : BODY_START;
    char *p;

    if (need <= r->body_cap)
        return true;
    cap += cap < BODY_MORE ? cap : BODY_MORE;
    if (cap < need)
        cap = need;
    if (r->x->req.content_length && cap > r->x->req.content_length + JSON_PADDING)
        cap = (size_t)r->x->req.content_length + JSON_PADDING;
    p = arena_realloc(&r->msg->arena, r->body, r->body_cap, cap);
    if (!p)
        return false;
    r->body = p;
    r->body_cap = cap;
    return true;
}

/* What comes behind an answer, as one that refuses the rest, is let pass: the engine closes. */
static void on_body(struct http_exchange *x, const char *data, size_t len, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (!r || r->ended)
        return;
    if (!grow_body(r, len)) {
        reply_error(r, 503, "too many messages are being received");
        return;
    }
    memcpy(r->body + r->body_len, data, len);
    r->body_len += len;
}

static void on_body_end(struct http_exchange *x, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    /* Asked again: a body may take its time. */
    if (r && !r->ended && credential_good(r->by))
        r->route->serve(r);
}

/* Only one of the three has ever filled the output: the site, the call of a stream, a route of the
 * embedder. */
static void on_writable(struct http_exchange *x, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (!r)
        return;
    if (r->site)
        site_more(r);
    else if (r->call)
        call_make_room(r->call);
    else if (r->on_drain && r->blocked)
        task_post(&r->g->d->schedule, &r->task);
}

/* Streams have signs of life: one is due now. */
static void on_half_closed(struct http_exchange *x, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (r && timer_is_set(&r->heartbeat))
        timer_set(&r->g->d->schedule, &r->heartbeat, r->g->d->now);
}

/* The engine cannot read the request. It may not have come to on_head, and then there is no record
 * yet.
 *
 * In stealth, who has not proved who he is gets the look of a plain server for this as well. */
static void on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    struct gate_conn *c = ud;
    struct alk_request *r = x->data;

    if (!r)
        r = request_new(x, c);
    if (!r) {
        x->ops->reset(x);
        return;
    }
    if (c->g->stealth && !r->by)
        reply_decoy_error(r, status);
    else
        reply_error(r, status, "%s", what);
}

/* In this order: nothing of the request writes any more (x is NULL), what is queued for it does not
 * run, then its calls are aborted, which may end them from within, and only then its reference
 * goes.
 *
 * The embedder's on_close comes last, in the dispatcher's turn (custom_close). */
static void on_close(struct http_exchange *x, bool complete, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (!r)
        return;
    x->data = NULL;
    r->x = NULL;
    r->ended = true;
    list_del(&r->link);
    list_del(&r->on_by.link);
    timer_clear(&r->g->d->schedule, &r->heartbeat);
    list_del(&r->task.link);
    if (r->site)
        site_abort(r);
    if (r->call)
        call_end(r->call, ALK_END_ABORTED, NULL);
    if (r->batch)
        batch_abort(r);
    if (r->mcp)
        r->g->above.mcp_close(r);
    custom_close(r, complete);
    request_unref(r);
}

const struct http_app request_app = {on_head,  on_body,        on_body_end, on_writable,
                                     on_error, on_half_closed, on_close};
