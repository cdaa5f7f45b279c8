/* What is asked of every request before anything else looks at it: whose token it has, whether its
 * host is served here, whether its origin may speak to us, and from which address it really comes.
 *
 * Three attackers are in mind. One guesses tokens: failures are counted by address. One has a page
 * in somebody's browser: its origin is not ours (CSRF), or its name leads to our address, in which
 * case the Host is not ours (DNS rebinding). One probes for what is here: in stealth, no answer and
 * no time may tell. */
#include "gateway/gateway_int.h"

#include "gateway/ws.h"
#include "wire/ws_handshake.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 100 /* bytes of a name in an answer */

void gate_forget_token(struct gate_conn *c)
{
    credential_unref(c->by);
    c->by = NULL;
}

/* ---- who asks -------------------------------------------------------------------------------- */

/* 0: r->by is whom the token proves; ALK_ENOENT, ALK_ENOMEM. To look one up costs a hash. */
static int identify(struct alk_request *r, struct str token)
{
    struct gate_conn *c = r->conn;
    int rc;

    if (!c->by || !credential_is(c->by, token) || !credential_good(c->by)) {
        struct credential *by;

        rc = credential_prove(&by, r->g->d, PROOF_TOKEN, token);
        if (rc)
            return rc;
        gate_forget_token(c);
        c->by = by;
    }
    r->by = credential_ref(c->by);
    return ALK_OK;
}

/* Whoever connected, by the word of the kernel. What he proves is asked again whenever that may
 * have changed: the connection is not his who was somebody once. 0 also where he is nobody;
 * ALK_ENOMEM. */
static int identify_user(struct alk_request *r)
{
    struct gate_conn *c = r->conn;
    struct str uid = {(const char *)&c->uid, sizeof c->uid};
    int rc;

    if (!c->has_uid)
        return ALK_OK;
    if (!c->user || !credential_good(c->user)) {
        credential_unref(c->user);
        rc = credential_prove(&c->user, r->g->d, PROOF_UID, uid);
        if (rc)
            return rc == ALK_ENOENT ? ALK_OK : rc;
    }
    r->by = credential_ref(c->user);
    return ALK_OK;
}

void request_log(struct alk_request *r, const char *event, const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = event, .message = what};

    e.request_id = r->id;
    e.remote = r->client;
    node_log(r->g->d->node, &e);
}

/* ---- the client behind a proxy --------------------------------------------------------------- */

/* memrchr, which is not in C11. */
static const char *last_of(const char *p, char c, size_t n)
{
    while (n && p[n - 1] != c)
        n--;
    return n ? p + n - 1 : NULL;
}

/* The address of one for= value (RFC 7239, 6): without quotes, brackets and port. false when it is
 * none, as "unknown" and the hidden names, "_x", are: then nobody is to be counted or logged under
 * it. */
static bool node_address(struct str v, struct ip *out)
{
    struct place p;

    if (v.n > 1 && v.p[0] == '"' && v.p[v.n - 1] == '"')
        v = (struct str){v.p + 1, v.n - 2};
    if (!place_of_host(v, &p) || !p.is_ip)
        return false;
    *out = p.ip;
    return true;
}

/* The for= of one element "for=a;proto=b"; p is NULL when there is none. */
static struct str element_for(struct str e)
{
    while (e.n) {
        const char *semi = memchr(e.p, ';', e.n);
        struct str part = {e.p, semi ? (size_t)(semi - e.p) : e.n};

        e = semi ? (struct str){semi + 1, e.n - part.n - 1} : (struct str){e.p, 0};
        while (part.n && *part.p == ' ')
            part = (struct str){part.p + 1, part.n - 1};
        if (part.n > 4 && gate_same_name((struct str){part.p, 4}, STR("for=")))
            return (struct str){part.p + 4, part.n - 4};
    }
    return STR_NONE;
}

/* Forwarded is read from its end: each proxy adds whom it got the request from, so the last one
 * that no trusted proxy is, is the client. What stands before it has been written by the client
 * himself, who could make it name anybody.
 *
 * Of several fields the last one counts, which is what the nearest proxy has written. Nothing of it
 * counts on a connection that is not a trusted proxy's. */
void request_read_client(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;
    struct str list = STR_NONE;

    memcpy(r->client, r->conn->remote, sizeof r->client);
    for (size_t i = 0; r->conn->is_proxy && i < q->header_count; i++) {
        if (str_is(q->headers[i].name, "forwarded"))
            list = q->headers[i].value;
    }
    while (list.n) {
        const char *comma = last_of(list.p, ',', list.n);
        struct str e =
            comma ? (struct str){comma + 1, list.n - (size_t)(comma - list.p) - 1} : list;
        struct str who = element_for(e);

        struct ip address;

        list.n = comma ? (size_t)(comma - list.p) : 0;
        if (!who.p || !node_address(who, &address))
            return;
        ip_text(&address, r->client);
        if (!proxy_listed(&r->g->proxies, r->client))
            return;
    }
}

/* Two fields of a name that may come once are an attack: two parties, one of them a proxy, would
 * each read another one. So they count as none. */
const struct http_header *request_field(const struct http_request *q, const char *name)
{
    const struct http_header *h = http_find(q, name, strlen(name));

    for (const struct http_header *o = h ? h + 1 : NULL; o && o < q->headers + q->header_count;
         o++) {
        if (str_eq(o->name, h->name))
            return NULL;
    }
    return h;
}

/* The bearer token of the one Authorization field (RFC 6750, 2.1); false: there is something else,
 * which is then as good as a wrong token. Tokens in the query or in the body are not taken: they
 * end in logs. */
static bool bearer(const struct http_request *q, struct str *out)
{
    static const struct str scheme = STR_INIT("bearer ");
    const struct http_header *found = request_field(q, "authorization");

    *out = STR_NONE;
    if (!found)
        return !http_find(q, "authorization", 13);
    if (found->value.n <= scheme.n ||
        !gate_same_name((struct str){found->value.p, scheme.n}, scheme))
        return false;
    *out = (struct str){found->value.p + scheme.n, found->value.n - scheme.n};
    while (out->n && *out->p == ' ')
        *out = (struct str){out->p + 1, out->n - 1};
    return true;
}

/* In stealth, a request whose token is not looked up costs what one with a wrong token does.
 * Otherwise the time of the answer would tell a probe that a gateway is here, and that its address
 * is counted as busy. */
static void work_for_nobody(struct alk_gateway *g)
{
    static const char nobody[] = "alk_000000000000000000000000000000000";
    struct credential *unused = NULL;

    if (g->stealth)
        credential_prove(&unused, g->d, PROOF_TOKEN, (struct str){nobody, sizeof nobody - 1});
    credential_unref(unused);
}

/* A token that resolves is good however often others have failed from its address. Without one, it
 * is the user at the other end who asks, where the listener knows him. */
enum auth request_authenticate(struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    bool one = bearer(&r->x->req, &r->token), by_header = r->token.p != NULL;
    bool upgrade = r->route && r->route->protocol;
    int rc = ALK_ENOENT;

    /* In stealth, what is offered costs the same on every path. */
    if (upgrade || g->stealth) {
        ws_read_offer(r, upgrade ? r->route->protocol : WS_CALL_PROTOCOL);
        one = one && !r->offer.fault;
    }
    if (one && r->token.p)
        rc = identify(r, r->token);
    else
        work_for_nobody(g);
    /* Offered as a subprotocol on a path that is no upgrade: looked up above for the sake of its
     * time only, and then as if it had not been there. */
    if (r->by && !upgrade && !by_header) {
        credential_unref(r->by);
        r->by = NULL;
        r->token = STR_NONE;
    }
    if (one && !r->token.p)
        rc = identify_user(r);
    if (!rc)
        return AUTH_OK;
    if (!one)
        r->token = STR("");
    if (rc == ALK_ENOMEM)
        return AUTH_NO_MEMORY;
    request_log(r, "auth.failed",
                one ? credential_why(r->token) : "what was presented is no bearer token");
    return credential_failed(g->d, r->client) ? AUTH_FAILED : AUTH_BUSY;
}

/* ---- hosts and origins ----------------------------------------------------------------------- */

/* What keeps DNS rebinding out: a page of evil.example, whose name then leads to our address, is of
 * our origin for the browser, but says Host: evil.example.
 *
 * An address that was listened on is always a right name, since no name leads a browser to say it.
 * Who came to a loopback address may call it by the names of that. HTTP/1.0 may come without Host,
 * and no browser speaks it.
 *
 * Whoever scrapes metrics calls the node as its network does. An address is no name that could lead
 * elsewhere, and a name without a dot is not one that a stranger can have. */
bool request_host_served(const struct alk_request *r)
{
    static const struct ip v4 = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
                           v6 = {{[15] = 1}};
    const struct gate_conn *c = r->conn;
    const struct http_request *q = &r->x->req;
    struct place host;

    if (q->https && !c->secure && !c->is_proxy)
        return false;
    if (r->g->hosts.any || (!q->host.n && q->minor == 0))
        return true;
    if (!place_of_host(q->host, &host))
        return false;
    if (host_listed(&r->g->hosts, &host))
        return true;
    if (r->g->metrics && (host.is_ip || !memchr(host.name.p, '.', host.name.n)))
        return true;
    if (host.is_ip && c->local_is_ip && ip_equal(&host.ip, &c->local))
        return true;
    if (!c->local_is_near)
        return false;
    return host.is_ip ? ip_equal(&host.ip, &v4) || ip_equal(&host.ip, &v6)
                      : gate_same_name(host.name, STR("localhost"));
}

/* What a name is cut down to in an answer. */
static int shown(struct str s)
{
    return s.n < SHOWN_MAX ? (int)s.n : SHOWN_MAX;
}

void request_refuse_host(struct alk_request *r)
{
    struct str host = r->x->req.host;

    if (r->x->req.https && !r->conn->secure && !r->conn->is_proxy)
        reply_error(r, 421,
                    "target: https came in clear, and from no address of "
                    "\"gateway.trusted_proxies\"");
    else
        reply_error(r, 421, "host: %.*s is not served here; \"gateway.hosts\" adds it", shown(host),
                    host.p);
}

/* A page can make a browser get anything without an Origin, as an image, and a GET that starts a
 * subscription does something. What is no browser, or an old one, does not say from where it asks
 * (W3C Fetch Metadata). */
static bool of_same_origin(const struct http_request *q)
{
    const struct http_header *h = http_find(q, "sec-fetch-site", 14);

    return !h || str_is(h->value, "same-origin") || str_is(h->value, "none");
}

/* Same origin: its host and port are those of Host. The scheme is not compared, since TLS may end
 * before us. An Origin that is "null", or comes twice, is nobody's.
 *
 * What has no Origin is no page's, or comes without a token and cannot be read by the page: there
 * is no cookie here with which a browser could lend its user's rights. */
bool request_origin_allowed(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;
    const struct http_header *h = http_find(q, "origin", 6);
    struct place origin, host;

    if (!h)
        return !r->route || !r->route->event_get || of_same_origin(q);
    r->origin = h->value;
    if (!request_field(q, "origin") || !place_of_origin(r->origin, &origin))
        return false;
    if (origin_listed(&r->g->origins, &origin)) {
        r->cors = true;
        return true;
    }
    return place_of_host(q->host, &host) && origin_is_of_host(&origin, &host, r->conn->secure);
}

/* One that could be added is plain text: place_of_origin has seen to it. */
void request_refuse_origin(struct alk_request *r)
{
    struct place origin;

    if (!r->origin.p)
        reply_error(r, 403, "sec-fetch-site: a page of another site asks, and does not say which");
    else if (!request_field(&r->x->req, "origin"))
        reply_error(r, 403, "origin: more than one");
    else if (!place_of_origin(r->origin, &origin))
        reply_error(r, 403, "origin: not one of a site");
    else
        reply_error(r, 403,
                    "origin: %.*s is not the host's, nor allowed; \"gateway.origins\" adds it",
                    shown(r->origin), r->origin.p);
}
