/* What is asked of every request before anything else looks at it: whose token it has, whether its
 * host is served here, whether its origin may speak to us, and from which address it really comes.
 *
 * Three attackers are in mind. One guesses tokens: failures are counted by address. One has a page
 * in somebody's browser: its origin is not ours (CSRF), or its name leads to our address, in which
 * case the Host is not ours (DNS rebinding). One probes for what is here: in stealth, no answer and
 * no time may tell. */
#include "gateway/gateway_int.h"

#include "base/hex.h"
#include "gateway/ws.h"
#include "wire/ws_handshake.h"

#include <stdio.h>
#include <string.h>

/* Not tolower: the locale has no say in a protocol. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

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

/* The address of one for= value (RFC 7239, 6): without quotes, brackets and port. Empty when it is
 * none, as "unknown" and the hidden names, "_x", are: then nobody is to be counted or logged under
 * it. */
static struct str node_address(struct str v)
{
    const char *end;

    if (v.n > 1 && v.p[0] == '"' && v.p[v.n - 1] == '"')
        v = (struct str){v.p + 1, v.n - 2};
    if (v.n && v.p[0] == '[') {
        end = memchr(v.p, ']', v.n);
        v = (struct str){v.p + 1, end ? (size_t)(end - v.p - 1) : 0};
    } else {
        end = memchr(v.p, ':', v.n);
        v.n = end ? (size_t)(end - v.p) : v.n;
    }
    for (size_t i = 0; i < v.n; i++) {
        if (hex_value(v.p[i]) < 0 && v.p[i] != '.' && v.p[i] != ':')
            return STR("");
    }
    return v;
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

        list.n = comma ? (size_t)(comma - list.p) : 0;
        who = who.p ? node_address(who) : STR("");
        if (!who.n || who.n >= sizeof r->client)
            return;
        memcpy(r->client, who.p, who.n);
        r->client[who.n] = 0;
        if (!gate_listed(&r->g->proxies, who))
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
    static const char scheme[] = "bearer ";
    const struct http_header *found = request_field(q, "authorization");

    *out = STR_NONE;
    if (!found)
        return !http_find(q, "authorization", 13);
    if (found->value.n < sizeof scheme)
        return false;
    for (size_t i = 0; i < sizeof scheme - 1; i++) {
        if (lower(found->value.p[i]) != scheme[i])
            return false;
    }
    *out = (struct str){found->value.p + sizeof scheme - 1, found->value.n - (sizeof scheme - 1)};
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

/* A token that resolves is good however often others have failed from its address. */
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
    if (!rc || (one && !r->token.p))
        return AUTH_OK;
    if (!one)
        r->token = STR("");
    if (rc == ALK_ENOMEM)
        return AUTH_NO_MEMORY;
    request_log(r, "auth.failed", "the presented token does not resolve");
    return credential_failed(g->d, r->client) ? AUTH_FAILED : AUTH_BUSY;
}

/* ---- hosts and origins ----------------------------------------------------------------------- */

/* Names of hosts and of header fields are the same in any case (RFC 9110, 4.2.3 and 5.1). */
bool gate_same_name(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

bool gate_listed(const struct name_list *l, struct str name)
{
    for (size_t i = 0; i < l->count; i++) {
        if (gate_same_name(name, l->names[i]))
            return true;
    }
    return false;
}

/* Without the port, which a proxy may have changed; an IPv6 literal without its brackets. */
static struct str host_name(struct str host)
{
    const char *end;

    if (host.n && host.p[0] == '[') {
        end = memchr(host.p, ']', host.n);
        return end ? (struct str){host.p + 1, (size_t)(end - host.p - 1)} : (struct str){host.p, 0};
    }
    end = memchr(host.p, ':', host.n);
    return (struct str){host.p, end ? (size_t)(end - host.p) : host.n};
}

/* What keeps DNS rebinding out: a page of evil.example, whose name then leads to our address, is of
 * our origin for the browser, but says Host: evil.example.
 *
 * An address that was listened on is always a right name, since no name leads a browser to say it.
 * Who came to a loopback address may call it by the names of that. HTTP/1.0 may come without Host,
 * and no browser speaks it. */
bool request_host_served(const struct alk_request *r)
{
    const struct gate_conn *c = r->conn;
    struct str host = r->x->req.host;
    struct str name;
    const char *local = c->local;

    if (r->g->hosts.any || (!host.n && r->x->req.minor == 0))
        return true;
    name = host_name(host);
    if (!strncmp(local, "::ffff:", 7))
        local += 7;
    if (str_is(name, local) || gate_listed(&r->g->hosts, name))
        return true;
    return c->local_is_loopback && (gate_same_name(name, STR("localhost")) ||
                                    str_is(name, "127.0.0.1") || str_is(name, "::1"));
}

/* A page can make a browser get anything without an Origin, as an image, and a GET that starts a
 * subscription does something. What is no browser, or an old one, does not say from where it asks
 * (W3C Fetch Metadata). */
static bool of_same_origin(const struct http_request *q)
{
    const struct http_header *h = http_find(q, "sec-fetch-site", 14);

    return !h || str_is(h->value, "same-origin") || str_is(h->value, "none");
}

/* Same origin: its authority is the Host. The scheme is not compared, since TLS may end before us.
 * An Origin that is "null", or comes twice, is nobody's.
 *
 * What has no Origin is no page's, or comes without a token and cannot be read by the page: there
 * is no cookie here with which a browser could lend its user's rights. */
bool request_origin_allowed(struct alk_request *r)
{
    const struct http_header *h = http_find(&r->x->req, "origin", 6);
    struct str authority;

    if (!h)
        return !r->route || !r->route->event_get || of_same_origin(&r->x->req);
    r->origin = h->value;
    if (!request_field(&r->x->req, "origin"))
        return false;
    if (gate_listed(&r->g->origins, r->origin)) {
        r->cors = true;
        return true;
    }
    authority = h->value;
    if (str_starts(authority, "http://"))
        authority = (struct str){authority.p + 7, authority.n - 7};
    else if (str_starts(authority, "https://"))
        authority = (struct str){authority.p + 8, authority.n - 8};
    else
        return false;
    return authority.n && gate_same_name(authority, r->x->req.host);
}
