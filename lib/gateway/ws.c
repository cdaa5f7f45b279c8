/* Upgrades to WebSocket (RFC 6455, section 4.2), and what /alknet/call becomes: a session, a call connection with the
 * identity of the token in the upgrade. Once upgraded, the connection's record belongs to the session. */
#include "gateway/gateway.h"
#include "adapt/session.h"
#include "wire/ws_handshake.h"

#include <assert.h>
#include <string.h>

#define TENANT_MAX 256u
#define TOKEN_MAX 1024u /* in base64url */
#define BEARER "alknet.bearer."

/* ---- the request's head ------------------------------------------------------------------------ */

/* The next element of a comma-separated list; false: there is none. */
static bool next_element(struct str *rest, struct str *out)
{
    while (rest->n) {
        const char *comma = memchr(rest->p, ',', rest->n);
        struct str e = {rest->p, comma ? (size_t)(comma - rest->p) : rest->n};

        *rest = comma ? (struct str){comma + 1, rest->n - e.n - 1} : (struct str){rest->p, 0};
        while (e.n && (*e.p == ' ' || *e.p == '\t'))
            e = (struct str){e.p + 1, e.n - 1};
        while (e.n && (e.p[e.n - 1] == ' ' || e.p[e.n - 1] == '\t'))
            e.n--;
        if (e.n) {
            *out = e;
            return true;
        }
    }
    return false;
}

static bool named(const struct http_header *h, const char *name, size_t n)
{
    return h->name.n == n && !memcmp(h->name.p, name, n);
}

/* Whether a list-valued field, in one or several, has the element, whatever its case. */
static bool has_element(const struct http_request *q, const char *name, const char *element)
{
    for (size_t i = 0; i < q->header_count; i++) {
        struct str rest = {q->headers[i].value.p, q->headers[i].value.n}, e;

        while (named(&q->headers[i], name, strlen(name)) && next_element(&rest, &e)) {
            if (gate_same_name(e, element, strlen(element)))
                return true;
        }
    }
    return false;
}

static void offer_token(struct alk_request *r, struct str encoded)
{
    struct str one = {encoded.p, TOKEN_MAX}; /* of a longer one: nobody's */
    char *token;

    r->offer.bearer = true;
    if (encoded.n <= TOKEN_MAX) {
        token = arena_alloc(&r->msg->arena, encoded.n + 1);
        one = (struct str){token, token ? ws_token_decode(encoded.p, encoded.n, token) : 0};
    }
    if (!one.n)
        r->offer.fault = "a subprotocol's token is not base64url";
    else if (r->token.p && (r->token.n != one.n || memcmp(r->token.p, one.p, one.n)))
        r->offer.fault = "two different tokens";
    else
        r->token = one;
}

void ws_read_offer(struct alk_request *r, const char *protocol)
{
    const struct http_request *q = &r->x->req;

    for (size_t i = 0; i < q->header_count; i++) {
        struct str rest = {q->headers[i].value.p, q->headers[i].value.n}, e;

        while (named(&q->headers[i], "sec-websocket-protocol", 22) && next_element(&rest, &e)) {
            if (e.n == strlen(protocol) && !memcmp(e.p, protocol, e.n))
                r->offer.protocol = true;
            else if (e.n > sizeof BEARER - 1 && !memcmp(e.p, BEARER, sizeof BEARER - 1))
                offer_token(r, (struct str){e.p + sizeof BEARER - 1, e.n - (sizeof BEARER - 1)});
        }
    }
    if (r->offer.bearer && !r->offer.protocol)
        r->offer.fault = "a token is offered without the protocol that goes with it";
}

bool ws_head_ok(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;
    const struct http_header *version = request_field(q, "sec-websocket-version", 21);
    const struct http_header *key = request_field(q, "sec-websocket-key", 17);
    const char *fault = NULL;

    if (r->x->early) {
        /* They may be frames, and must not be read as a request. */
        r->x->ops->close_after(r->x);
        reply_error(r, 400, ALK_INVALID_INPUT, "bytes came before the upgrade was granted");
        return false;
    }
    if (!q->minor || !has_element(q, "upgrade", "websocket")) {
        reply_error(r, 426, ALK_INVALID_INPUT, "upgrade: only websocket is spoken here");
        return false;
    }
    if (!has_element(q, "connection", "upgrade"))
        fault = "connection: must have upgrade";
    else if (!version)
        fault = "sec-websocket-version: one is needed";
    else if (!key || !ws_key_valid(key->value.p, key->value.n))
        fault = "sec-websocket-key: one of 16 bytes in base64 is needed";
    else if (q->has_body)
        fault = "an upgrade has no body";
    else if (q->query.p)
        fault = "query: there is none here; a token belongs into a header";
    else
        fault = r->offer.fault;
    if (fault) {
        reply_error(r, 400, ALK_INVALID_INPUT, "%s", fault);
        return false;
    }
    if (version->value.n != 2 || memcmp(version->value.p, "13", 2)) {
        reply_error(r, 426, ALK_INVALID_INPUT, "sec-websocket-version: must be 13");
        return false;
    }
    return true;
}

/* ---- granting ---------------------------------------------------------------------------------- */

bool ws_admit(struct alk_request *r)
{
    if (!r->g->d->draining && node_session_take(r->g->d->node))
        return true;
    reply_error(r, 503, ALK_BUSY, "no more sessions are taken");
    return false;
}

struct str ws_tenant(struct alk_request *r, struct mem *mem)
{
    struct str name = r->g->tenant_header;
    const struct http_header *h = name.n ? request_field(&r->x->req, name.p, name.n) : NULL;
    struct str s = {NULL, 0};

    if (h && h->value.n <= TENANT_MAX && (s.p = mem_dup(mem, h->value.p, h->value.n)))
        s.n = h->value.n;
    return s;
}

bool ws_grant(struct alk_request *r, struct engine *next)
{
    const struct http_header *key = request_field(&r->x->req, "sec-websocket-key", 17);
    char accept[WS_ACCEPT_SIZE + 1];

    ws_accept(key->value.p, accept);
    if (reply_upgrade(r, next, (struct str){accept, WS_ACCEPT_SIZE})) {
        reply_error(r, 503, ALK_BUSY, "out of memory");
        return false;
    }
    COUNT(r->g->d, ws_upgrades);
    return true;
}

/* ---- sessions ---------------------------------------------------------------------------------- */

struct gate_session {
    struct session s;
    struct gate_conn *conn;
    struct task hello, bye;
    alk_identity *identity;
    struct str tenant;
    char trace[56];
    bool waits; /* for bye, with its stream gone */
};

static void session_free(struct gate_session *gs)
{
    struct gate_conn *conn = gs->conn;
    struct alk_gateway *g = conn->g;

    list_del(&gs->hello.link);
    list_del(&gs->bye.link);
    alk_identity_unref(gs->identity);
    mem_free(&g->mem, (char *)gs->tenant.p);
    mem_free(&g->mem, gs);
    node_session_give(g->d->node);
    gate_conn_fini(conn);
}

static alk_session describe(const struct gate_session *gs)
{
    return (alk_session){.size = sizeof(alk_session),
                         .connection = gs->s.conn,
                         .identity = gs->identity,
                         .tenant = gs->tenant.p,
                         .traceparent = *gs->trace ? gs->trace : NULL,
                         .remote = connection_remote(gs->s.conn)};
}

static void say_hello(struct task *t)
{
    struct gate_session *gs = container_of(t, struct gate_session, hello);
    const struct session_hooks *h = &gs->conn->g->hooks;
    alk_session s = describe(gs);

    if (h->on_connect)
        h->on_connect(h->ud, &s);
}

static void say_bye(struct task *t)
{
    struct gate_session *gs = container_of(t, struct gate_session, bye);
    const struct session_hooks *h = &gs->conn->g->hooks;
    alk_session s = describe(gs);

    if (h->on_disconnect)
        h->on_disconnect(h->ud, &s, gs->s.code);
    if (gs->waits) {
        session_fini(&gs->s);
        session_free(gs);
    }
}

static void on_over(struct session *s)
{
    struct gate_session *gs = container_of(s, struct gate_session, s);

    task_post(&s->d->schedule, &gs->bye);
}

static void on_gone(struct session *s)
{
    struct gate_session *gs = container_of(s, struct gate_session, s);

    gs->waits = !list_empty(&gs->bye.link);
    if (gs->waits)
        return;
    session_fini(s);
    session_free(gs);
}

static int open_session(struct gate_session *gs, struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    char *token = arena_dup(&r->msg->arena, r->token.p, r->token.n);
    alk_connection_options o;
    int rc;

    if (!token)
        return ALK_ENOMEM;
    alk_connection_options_init(&o);
    o.identity = r->identity;
    o.kind = r->kind;
    o.by_token = token;
    o.remote = r->client;
    /* One connection, counted once. */
    node_connection_give(g->d->node);
    rc = session_open(&gs->s, &g->mem, &g->ws_pool, &g->ws_limits, &o);
    mem_wipe(token, r->token.n);
    r->conn->counted = rc && node_connection_take(g->d->node);
    return rc;
}

void serve_session(struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    struct gate_session *gs;

    if (!ws_admit(r))
        return;
    gs = mem_zalloc(&g->mem, sizeof *gs);
    if (gs) {
        gs->s.d = g->d;
        gs->s.on_over = on_over;
        gs->s.on_gone = on_gone;
    }
    if (!gs || open_session(gs, r)) {
        mem_free(&g->mem, gs);
        node_session_give(g->d->node);
        reply_error(r, 503, ALK_BUSY, "no more sessions are taken");
        return;
    }
    gs->conn = r->conn;
    gs->identity = alk_identity_ref(r->identity);
    gs->tenant = ws_tenant(r, &g->mem);
    memcpy(gs->trace, r->trace, sizeof gs->trace);
    task_init(&gs->hello, say_hello);
    task_init(&gs->bye, say_bye);
    if (!ws_grant(r, ws_engine(gs->s.ws))) {
        session_abandon(&gs->s);
        r->conn->counted = node_connection_take(g->d->node);
        alk_identity_unref(gs->identity);
        mem_free(&g->mem, (char *)gs->tenant.p);
        mem_free(&g->mem, gs);
        node_session_give(g->d->node);
        return;
    }
    gate_forget_token(r->conn);
    mem_wipe((char *)r->token.p, r->token.n);
    task_post(&g->d->schedule, &gs->hello);
}
