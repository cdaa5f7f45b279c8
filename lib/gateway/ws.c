/* Upgrades to WebSocket (RFC 6455, section 4.2), for the event gateways and for the sessions of
 * /alknet/call. An upgrade has three steps, each of which may answer otherwise and so end it: the
 * head is checked, one of the node's sessions is taken, the upgrade is granted. Once it is granted,
 * the connection's record belongs to whoever speaks on it, who gives the session back and calls
 * gate_conn_fini when the stream is gone. */
#include "gateway/ws.h"

#include "gateway/gateway_int.h"
#include "wire/ws_handshake.h"

#include <string.h>

#define TENANT_MAX 256u
#define TOKEN_MAX 1024u /* in base64url */

/* ---- the request's head ---------------------------------------------------------------------- */

/* The next element of a comma-separated list (RFC 9110, 5.6.1), which may have empty ones; false:
 * there is none left. */
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

/* Whether a list-valued field, in one or several, has the element, whatever its case. */
static bool has_element(const struct http_request *q, const char *name, const char *element)
{
    for (size_t i = 0; i < q->header_count; i++) {
        struct str rest = q->headers[i].value, e;

        while (str_is(q->headers[i].name, name) && next_element(&rest, &e)) {
            if (gate_same_name(e, str_of(element)))
                return true;
        }
    }
    return false;
}

/* Browsers cannot set Authorization on a WebSocket, so a token may come as a subprotocol. One that
 * is presented in both ways must be the same: two parties might else each believe another one. Its
 * length is bounded before it is decoded, since anybody can send it. */
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
    else if (r->token.p && !str_eq(r->token, one))
        r->offer.fault = "more than one token is presented";
    else
        r->token = one;
}

/* Case matters here: subprotocols are compared as they are (RFC 6455, 4.1). A client that offers a
 * token and not our protocol would have to take the token for the answer's subprotocol, which would
 * send it back. */
void ws_read_offer(struct alk_request *r, const char *protocol)
{
    const struct http_request *q = &r->x->req;

    for (size_t i = 0; i < q->header_count; i++) {
        struct str rest = q->headers[i].value, e;

        while (str_is(q->headers[i].name, "sec-websocket-protocol") && next_element(&rest, &e)) {
            if (str_is(e, protocol))
                r->offer.protocol = true;
            else if (e.n > sizeof WS_TOKEN_PREFIX - 1 && str_starts(e, WS_TOKEN_PREFIX))
                offer_token(r, (struct str){e.p + sizeof WS_TOKEN_PREFIX - 1,
                                            e.n - (sizeof WS_TOKEN_PREFIX - 1)});
        }
    }
    if (r->offer.bearer && !r->offer.protocol)
        r->offer.fault = "a token is offered without the protocol that goes with it";
}

/* RFC 6455, 4.2.1, before it matters who asks: what is wrong is told as what it is.
 *
 * A query is refused because it is where a token would end up by mistake: addresses are logged by
 * proxies and kept by browsers. */
bool ws_head_ok(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;
    const struct http_header *version = request_field(q, "sec-websocket-version");
    const struct http_header *key = request_field(q, "sec-websocket-key");
    const char *fault = NULL;
    bool extended = q->protocol.p != NULL; /* RFC 8441, 5: no key, no Upgrade, no Connection */

    if (r->x->early) {
        /* They may be frames, and must not be read as a request. */
        r->x->ops->close_after(r->x);
        reply_error(r, 400, "bytes came before the upgrade was granted");
        return false;
    }
    if (extended ? !str_is(q->protocol, "websocket")
                 : !q->minor || !has_element(q, "upgrade", "websocket")) {
        reply_error(r, 426, "upgrade: only websocket is spoken here");
        return false;
    }
    if (!extended && !has_element(q, "connection", "upgrade"))
        fault = "connection: must have upgrade";
    else if (!version)
        fault = "sec-websocket-version: one is needed";
    else if (!extended && (!key || !ws_key_valid(key->value.p, key->value.n)))
        fault = "sec-websocket-key: one of 16 bytes in base64 is needed";
    else if (q->has_body)
        fault = "an upgrade has no body";
    else if (q->query.p)
        fault = "query: there is none here; a token belongs in a header";
    else
        fault = r->offer.fault;
    if (fault) {
        reply_error(r, 400, "%s", fault);
        return false;
    }
    if (!str_is(version->value, "13")) {
        reply_error(r, 426, "sec-websocket-version: must be 13");
        return false;
    }
    return true;
}

/* ---- granting -------------------------------------------------------------------------------- */

/* After all checks: one that is refused must not have held a place. A stream of a connection that
 * goes on beside it gets a record of its own. */
bool ws_admit(struct alk_request *r)
{
    if (!r->g->d->draining && node_session_take(r->g->d->node)) {
        r->stream = r->x->multiplexed ? gate_conn_branch(r->conn) : r->conn;
        if (r->stream)
            return true;
        node_session_give(r->g->d->node);
    }
    reply_error(r, 503, "no more sessions are taken");
    return false;
}

void ws_dismiss(struct alk_request *r)
{
    node_session_give(r->g->d->node);
    if (r->stream != r->conn)
        gate_conn_fini(r->stream);
    r->stream = NULL;
}

/* Without memory there is no tenant, as without the field: the embedder has to live with none
 * anyway. */
struct str ws_tenant(struct alk_request *r, struct mem *mem)
{
    struct str name = r->g->tenant_header;
    const struct http_header *h = name.n ? request_field(&r->x->req, name.p) : NULL;
    struct str s = STR_NONE;

    if (h && h->value.n <= TENANT_MAX && (s.p = mem_dup(mem, h->value.p, h->value.n)))
        s.n = h->value.n;
    return s;
}

/* 0: the bytes of the answer are in the engine, and the stream goes on with `next` at once. */
bool ws_grant(struct alk_request *r, struct engine *next)
{
    const struct http_header *key = request_field(&r->x->req, "sec-websocket-key");
    char accept[WS_ACCEPT_SIZE + 1];
    bool keyed = !r->x->req.protocol.p;

    if (keyed)
        ws_accept(key->value.p, accept);
    if (reply_upgrade(r, next, keyed ? (struct str){accept, WS_ACCEPT_SIZE} : STR_NONE)) {
        reply_error(r, 503, "out of memory");
        return false;
    }
    COUNT(r->g->d, ws_upgrades);
    return true;
}
