/* What is asked of every request before anything else looks at it: whose token it has, whether its host is served here, whether
 * its origin may speak to us. */
#include "gateway/gateway.h"

#include "base/hex.h"
#include "base/swar.h"

#include <stdio.h>
#include <string.h>

#define MINUTE (UINT64_C(60) * SECOND)
#define TOKEN_KEEP 256u /* a longer token is looked up at each request */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* IPv6 clients own a whole /64: they are counted by their first four groups. */
size_t gate_rate_key(const char *address, char out[64])
{
    size_t n = strlen(address), groups = 0;
    const char *gap = strstr(address, "::");

    if (!strchr(address, ':') || (gap && gap - address < 2)) {
        memcpy(out, address, n + 1);
        return n;
    }
    for (n = 0; address[n] && groups < 4 && &address[n] != gap; n++)
        groups += address[n] == ':';
    memcpy(out, address, n);
    out[n] = 0;
    return n;
}

void gate_forget_token(struct gate_conn *c)
{
    if (c->token)
        mem_wipe(c->token, c->token_len);
    mem_free(&c->g->mem, c->token);
    alk_identity_unref(c->identity);
    c->token = NULL;
    c->identity = NULL;
}

/* ---- who asks ---------------------------------------------------------------------------------- */

alk_identity *gate_identify(struct gate_conn *c, struct str token)
{
    struct alk_dispatcher *d = c->g->d;
    alk_identity *who = NULL;
    uint64_t generation =
        d->node->has_identities ? d->node->identities.generation(d->node->identities.ud) : 0;

    if (c->token && c->generation == generation && c->token_len == token.n &&
        swar_equal(c->token, token.p, token.n))
        return alk_identity_ref(c->identity);
    if (!node_identify(d->node, token.p, token.n, &who))
        return NULL;
    gate_forget_token(c);
    if (token.n <= TOKEN_KEEP && (c->token = mem_dup(&c->g->mem, token.p, token.n))) {
        c->token_len = token.n;
        c->identity = alk_identity_ref(who);
        c->generation = generation;
    }
    return who;
}

void request_log(struct alk_request *r, const char *event, const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = event, .message = what};

    e.request_id = r->id;
    e.remote = r->client;
    node_log(r->g->d->node, &e);
}

/* ---- the client behind a proxy ----------------------------------------------------------------- */

static const char *last_of(const char *p, char c, size_t n)
{
    while (n && p[n - 1] != c)
        n--;
    return n ? p + n - 1 : NULL;
}

/* The address of one for= value: without quotes, brackets and port; empty when it is no address. */
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
            return (struct str){"", 0};
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
        if (part.n > 4 && gate_same_name((struct str){part.p, 4}, "for=", 4))
            return (struct str){part.p + 4, part.n - 4};
    }
    return (struct str){NULL, 0};
}

/* Forwarded is read from its end: each proxy adds whom it got the request from, so the last one that no trusted proxy
 * is, is the client. Of several fields the last one counts, which is what the nearest proxy has written. */
void request_read_client(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;
    struct str list = {NULL, 0};

    memcpy(r->client, r->conn->remote, sizeof r->client);
    for (size_t i = 0; r->conn->is_proxy && i < q->header_count; i++) {
        if (q->headers[i].name.n == 9 && !memcmp(q->headers[i].name.p, "forwarded", 9))
            list = (struct str){q->headers[i].value.p, q->headers[i].value.n};
    }
    while (list.n) {
        const char *comma = last_of(list.p, ',', list.n);
        struct str e =
            comma ? (struct str){comma + 1, list.n - (size_t)(comma - list.p) - 1} : list;
        struct str who = element_for(e);

        list.n = comma ? (size_t)(comma - list.p) : 0;
        who = who.p ? node_address(who) : (struct str){"", 0};
        if (!who.n || who.n >= sizeof r->client)
            return;
        memcpy(r->client, who.p, who.n);
        r->client[who.n] = 0;
        if (!gate_listed(&r->g->proxies, who))
            return;
    }
}

/* The field of that name when there is exactly one. */
const struct http_header *request_field(const struct http_request *q, const char *name, size_t n)
{
    const struct http_header *h = http_find(q, name, n);

    for (const struct http_header *o = h ? h + 1 : NULL; o && o < q->headers + q->header_count;
         o++) {
        if (o->name.n == n && !memcmp(o->name.p, name, n))
            return NULL;
    }
    return h;
}

/* The bearer token of the one Authorization field; false: there is something else. */
static bool bearer(const struct http_request *q, struct str *out)
{
    static const char scheme[] = "bearer ";
    const struct http_header *found = request_field(q, "authorization", 13);

    *out = (struct str){NULL, 0};
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

/* In stealth, a request whose token is not looked up costs what one with a wrong token does. */
static void work_for_nobody(struct alk_gateway *g)
{
    static const char nobody[] = "alk_000000000000000000000000000000000";
    alk_identity *unused = NULL;

    if (g->stealth)
        node_identify(g->d->node, nobody, sizeof nobody - 1, &unused);
    alk_identity_unref(unused);
}

bool request_authenticate(struct alk_request *r, bool *busy)
{
    struct alk_gateway *g = r->g;
    uint32_t limit = LIMIT(g->d->node, auth_failures_per_minute);
    char key[64];
    size_t n = gate_rate_key(r->client, key);
    bool one = bearer(&r->x->req, &r->token), by_header = r->token.p != NULL;
    bool upgrade = r->route && r->route->protocol;

    /* In stealth, what is offered costs the same on every path. */
    if (upgrade || g->stealth) {
        ws_read_offer(r, upgrade ? r->route->protocol : WS_CALL_PROTOCOL);
        one = one && !r->offer.fault;
    }
    *busy = false;
    if (one && !r->token.p) {
        work_for_nobody(g);
        return true;
    }
    if (limit && !rate_check(&g->d->node->failures, key, n, limit, MINUTE, g->d->now)) {
        *busy = true;
        work_for_nobody(g);
        return false;
    }
    if (!one) {
        r->token = (struct str){"", 0};
        work_for_nobody(g);
    } else if (upgrade) {
        r->kind = (uint32_t)node_identify(g->d->node, r->token.p, r->token.n, &r->identity);
    } else {
        r->identity = gate_identify(r->conn, r->token);
    }
    if (r->identity && !upgrade && !by_header) {
        alk_identity_unref(r->identity);
        r->identity = NULL;
        r->token = (struct str){NULL, 0};
        return true;
    }
    if (r->identity)
        return true;
    if (limit)
        rate_take(&g->d->node->failures, key, n, limit, MINUTE, g->d->now);
    COUNT(g->d, auth_failures);
    request_log(r, "auth.failed", "the presented token does not resolve");
    return false;
}

/* ---- hosts and origins ------------------------------------------------------------------------- */

bool gate_same_name(struct str a, const char *b, size_t n)
{
    if (a.n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (lower(a.p[i]) != lower(b[i]))
            return false;
    }
    return true;
}

bool gate_listed(const struct name_list *l, struct str name)
{
    for (size_t i = 0; i < l->count; i++) {
        if (gate_same_name(name, l->names[i].p, l->names[i].n))
            return true;
    }
    return false;
}

/* Without the port; an IPv6 literal without its brackets. */
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
    if ((name.n == strlen(local) && !memcmp(name.p, local, name.n)) ||
        gate_listed(&r->g->hosts, name))
        return true;
    return c->local_is_loopback &&
           (gate_same_name(name, "localhost", 9) || gate_same_name(name, "127.0.0.1", 9) ||
            gate_same_name(name, "::1", 3));
}

/* Same host: the origin's authority is the Host. */
bool request_origin_allowed(struct alk_request *r)
{
    const struct http_header *h = http_find(&r->x->req, "origin", 6);
    const char *authority;
    size_t n;

    if (!h)
        return true;
    r->origin = (struct str){h->value.p, h->value.n};
    if (!request_field(&r->x->req, "origin", 6))
        return false;
    if (gate_listed(&r->g->origins, r->origin)) {
        r->cors = true;
        return true;
    }
    n = h->value.n > 7 && !memcmp(h->value.p, "http://", 7)    ? 7
        : h->value.n > 8 && !memcmp(h->value.p, "https://", 8) ? 8
                                                               : 0;
    authority = h->value.p + n;
    return n && r->x->req.host.n &&
           gate_same_name((struct str){authority, h->value.n - n}, r->x->req.host.p,
                          r->x->req.host.n);
}
