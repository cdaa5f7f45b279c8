/* A gateway: its options, its life, its connections. It is a service (wire/transport.h): the
 * transport asks it for an engine for each stream that it accepts, and the engine tells request.c
 * of each request.
 *
 * A gateway belongs to one dispatcher and is used on that one's thread alone. It outlives its
 * connections, since the loop closes them first; the dispatcher outlives it by a reference. Options
 * and routes are in its arena, since they live as long as it does and none of them is ever taken
 * back. */
#include "gateway/gateway_int.h"

#include "base/buf.h"
#include "gateway/engine_limits.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- options --------------------------------------------------------------------------------- */

static const alk_gateway_options options_defaults = {
    .size = sizeof(alk_gateway_options), .websocket = 1, .mcp = ALK_MCP_FIXED};
static const struct abi abi_gateway_options =
    ABI(alk_gateway_options, session_ud, &options_defaults);

void alk_gateway_options_init(alk_gateway_options *o, size_t size)
{
    abi_fill(&abi_gateway_options, o, size, &options_defaults);
}

static int complain(char *err, size_t err_size, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int complain(char *err, size_t err_size, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (err && err_size)
        vsnprintf(err, err_size, fmt, ap);
    va_end(ap);
    return rc;
}

/* Not tolower: names of hosts and of header fields are ASCII, and the locale has no say in them. */
static void to_lower(char *s)
{
    for (; *s; s++)
        *s = *s >= 'A' && *s <= 'Z' ? (char)(*s + 'a' - 'A') : *s;
}

/* A JSON array of names; "*" among hosts stands for every one. What an entry says is in the arena,
 * as its place points to it. */
static int read_names(struct alk_gateway *g, const char *what, const char *json, place_read *read,
                      struct name_list *out, char *err, size_t err_size)
{
    struct json_error je;
    struct msg *m;
    yyjson_val *v;
    size_t i, n;
    int rc;

    if (!json)
        return ALK_OK;
    m = msg_new(&g->d->messages, NULL);
    if (!m)
        return ALK_ENOMEM;
    rc = msg_parse(m, json, strlen(json), &je);
    rc = rc ? complain(err, err_size, rc, "%s: %s", what, je.text)
         : !yyjson_is_arr(m->value.val)
             ? complain(err, err_size, ALK_EINVAL, "%s: must be an array", what)
             : ALK_OK;
    if (!rc) {
        out->places =
            arena_alloc(&g->arena, (yyjson_arr_size(m->value.val) + 1) * sizeof *out->places);
        rc = out->places ? ALK_OK : ALK_ENOMEM;
    }
    yyjson_arr_foreach(rc ? NULL : m->value.val, i, n, v)
    {
        struct str s = {yyjson_get_str(v), yyjson_get_len(v)};
        const char *fault = s.p ? NULL : "must be a string";

        if (s.p && read == host_entry && str_is(s, "*")) {
            out->any = true;
            continue;
        }
        if (s.p && !(s.p = arena_dup(&g->arena, s.p, s.n))) {
            rc = ALK_ENOMEM;
            break;
        }
        if (!fault)
            fault = read(s, &out->places[out->count]);
        if (fault) {
            rc = complain(err, err_size, ALK_EINVAL, "%s/%zu: %s", what, i, fault);
            break;
        }
        out->count++;
    }
    msg_free(m);
    return rc;
}

/* A copy: the options of the caller need not outlive its call. What is absent becomes the empty
 * text, so that nobody has to ask again whether there is one. */
static int keep(struct alk_gateway *g, const char *s, struct str *out)
{
    *out = (struct str){s ? arena_dup(&g->arena, s, strlen(s)) : "", s ? strlen(s) : 0};
    return out->p ? ALK_OK : ALK_ENOMEM;
}

/* Who distributes requests asks this, and is to stop sending before the listeners close; so it is
 * answered in the drain as well, and needs no token. */
static void serve_health(struct alk_request *r)
{
    if (r->g->d->draining || r->g->d->leaving)
        reply(r, 503, "text/plain", "draining\n", 9, NULL, 0);
    else
        reply(r, 200, "text/plain", "ok", 2, NULL, 0);
}

static int read_options(struct alk_gateway *g, const alk_gateway_options *o, char *err,
                        size_t err_size)
{
    alk_gateway_options own;
    struct str health;
    int rc;

    o = abi_take(&abi_gateway_options, &own, o, err, err_size);
    if (!o)
        return ALK_EINVAL;
    if (o->mcp > ALK_MCP_DIRECT)
        return complain(err, err_size, ALK_EINVAL, "mcp: unknown");
    if (o->decoy > ALK_DECOY_REDIRECT)
        return complain(err, err_size, ALK_EINVAL, "decoy: unknown");
    if (o->decoy != ALK_DECOY_NOT_FOUND && (!o->decoy_target || !*o->decoy_target))
        return complain(err, err_size, ALK_EINVAL, "decoy_target: missing");
    /* It goes into Location as it is: with a line end in it, whoever could set it would write
     * header fields, or an answer of his own. */
    for (const char *p = o->decoy_target; p && *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return complain(err, err_size, ALK_EINVAL, "decoy_target: has a control character");
    }
    /* The tenant is given to the embedder, who may log it or pass it on: a token must not go that
     * way. */
    if (o->tenant_header && (!strcasecmp(o->tenant_header, "authorization") ||
                             !strcasecmp(o->tenant_header, "sec-websocket-protocol")))
        return complain(err, err_size, ALK_EINVAL, "tenant_header: that one may hold a token");
    if (o->health_path && *o->health_path != '/')
        return complain(err, err_size, ALK_EINVAL, "health_path: must begin with '/'");
    g->decoy = o->decoy;
    g->stealth = o->stealth != 0;
    g->ready = true;
    g->websocket = o->websocket != 0;
    g->metrics = o->metrics != 0;
    g->anonymous_peers = o->anonymous_peers != 0;
    g->mcp = o->mcp;
    g->hooks = (struct session_hooks){o->on_connect, o->on_disconnect, o->session_ud};
    if ((rc = keep(g, o->tenant_header, &g->tenant_header)) ||
        (rc = keep(g, o->decoy_target, &g->decoy_target)) ||
        (rc = keep(g, o->health_path ? o->health_path : "/healthz", &health)) ||
        (rc = read_names(g, "hosts", o->hosts, host_entry, &g->hosts, err, err_size)) ||
        (rc = read_names(g, "origins", o->origins, origin_entry, &g->origins, err, err_size)) ||
        (rc = read_names(g, "trusted_proxies", o->trusted_proxies, proxy_entry, &g->proxies, err,
                         err_size)))
        return rc;
    g->health =
        (struct route){.method = STR("GET"), .path = health, .serve = serve_health, .health = true};
    to_lower((char *)g->tenant_header.p);
    return ALK_OK;
}

/* Once a second, not once and for all: any thread may change the limits of a node. The engines read
 * these copies through a pointer, at each use. */
static void read_limits(struct alk_gateway *g)
{
    const alk_node *n = g->d->node;

    http_limits(n, &g->limits);
    session_limits(n, &g->ws_limits);
    events_limits(g);
}

/* ---- connections ----------------------------------------------------------------------------- */

/* What comes through a trusted proxy is not counted: all of it has the one address of the proxy,
 * which would then be a limit for everybody behind it. */
bool gate_conn_admit(struct gate_conn *c)
{
    alk_node *n = c->g->d->node;
    char key[ADDRESS_MAX_BYTES];
    size_t len = address_key(c->remote, key);

    c->is_proxy = proxy_listed(&c->g->proxies, c->remote);
    c->account = account_get(&c->g->d->accounts, false, (struct str){key, len});
    if (!c->account)
        return false;
    c->opened = !c->is_proxy && account_open(c->account, LIMIT(n, connections_per_address));
    return c->opened || c->is_proxy;
}

/* Out of memory it is the account of the client before. */
struct account *gate_payer(struct gate_conn *c, const char *client)
{
    char key[ADDRESS_MAX_BYTES];
    struct str name = {key, 0};
    struct account *other;

    if (!c->is_proxy)
        return c->account;
    name.n = address_key(client, key);
    if ((!c->client ||
         !str_eq(name, (struct str){c->client->share->name, c->client->share->len})) &&
        (other = account_get(&c->g->d->accounts, false, name))) {
        account_unref(c->client);
        c->client = other;
    }
    return c->client ? c->client : c->account;
}

/* The last that happens to a connection, from its engine or from whoever took it over in an
 * upgrade. The engine has closed each exchange by then, and each request with it. */
void gate_conn_fini(void *ud)
{
    struct gate_conn *c = ud;
    struct alk_gateway *g = c->g;

    assert(list_empty(&c->requests));
    gate_forget_token(c);
    credential_unref(c->user);
    if (c->opened)
        account_close(c->account);
    account_unref(c->account);
    account_unref(c->client);
    account_unref(c->paying);
    alk_tls_unref(c->tls);
    list_del(&c->link);
    list_del(&c->busy);
    if (c->http)
        COUNT(g->d, http_closed);
    if (c->counted)
        node_connection_give(g->d->node);
    mem_free(&g->mem, c);
}

struct gate_conn *gate_conn_branch(const struct gate_conn *c)
{
    struct alk_gateway *g = c->g;
    struct gate_conn *b = mem_zalloc(&g->mem, sizeof *b);

    if (!b)
        return NULL;
    b->g = g;
    list_init(&b->requests);
    list_init(&b->busy);
    list_push(&g->conns, &b->link);
    b->account = account_ref(c->account);
    b->local_is_ip = c->local_is_ip;
    b->local_is_near = c->local_is_near;
    b->is_proxy = c->is_proxy;
    memcpy(b->remote, c->remote, sizeof b->remote);
    b->local = c->local;
    b->opened =
        !b->is_proxy && account_open(b->account, LIMIT(g->d->node, connections_per_address));
    if (b->opened || b->is_proxy)
        return b;
    gate_conn_fini(b);
    return NULL;
}

/* One client has one address, whichever listener it comes by. */
void gate_conn_name(struct gate_conn *c, const char *address)
{
    struct ip ip;

    if (ip_parse(str_of(address), &ip))
        ip_text(&ip, c->remote);
    else
        snprintf(c->remote, sizeof c->remote, "%s", address);
}

/* NULL: over a limit, or out of memory. Nothing is answered: an answer would need an engine. */
static struct gate_conn *admit(struct alk_gateway *g, struct mem *mem, const char *address)
{
    struct gate_conn *c;

    /* Before anything else is done for it: of a flood, what is refused must cost least. */
    if (!node_connection_take(g->d->node))
        return NULL;
    c = mem_zalloc(&g->mem, sizeof *c);
    if (!c) {
        node_connection_give(g->d->node);
        return NULL;
    }
    c->g = g;
    c->mem = mem;
    c->counted = true;
    list_init(&c->requests);
    list_init(&c->busy);
    list_push(&g->conns, &c->link);
    gate_conn_name(c, address);
    if (gate_conn_admit(c))
        return c;
    gate_conn_fini(c);
    return NULL;
}

static struct engine *open_conn(struct alk_gateway *g, struct mem *mem, const struct peer_info *p,
                                uint64_t now)
{
    struct gate_conn *c = admit(g, mem, p->address);

    if (!c)
        return NULL;
    c->local_is_ip = ip_parse(str_of(p->local), &c->local);
    c->local_is_near = c->local_is_ip ? ip_is_loopback(&c->local) : !strcmp(p->local, "unix");
    if (c->is_proxy || !p->proxy_header) {
        /* A proxy speaks for others, who are not to have its rights. */
        c->has_uid = p->uid && !c->is_proxy;
        c->uid = c->has_uid ? *p->uid : 0;
        c->engine = stream_open(c, p, now);
    }
    if (!c->engine) {
        gate_conn_fini(c);
        return NULL;
    }
    COUNT(g->d, http_connections);
    c->http = true;
    return c->engine;
}

static bool accept_quic(struct service *s, struct quic_conn *q, const char *address,
                        const struct quic_events **events, void **ud, uint64_t now)
{
    struct alk_gateway *g = container_of(s, struct alk_gateway, service);
    struct gate_conn *c = g->d->draining ? NULL : admit(g, &g->mem, address);

    (void)now;
    if (c && g->above.serve_quic(c, q, events, ud))
        return true;
    if (c)
        gate_conn_fini(c);
    COUNT(g->d, http_refused);
    return false;
}

static struct engine *accept_conn(struct service *s, struct mem *mem, const struct peer_info *p,
                                  uint64_t now)
{
    struct alk_gateway *g = container_of(s, struct alk_gateway, service);
    struct engine *e = open_conn(g, mem, p, now);

    if (!e)
        COUNT(g->d, http_refused);
    return e;
}

/* What waits for the clients, for the metrics. Only connections on the busy list are looked at, and
 * those that have nothing queued leave it here: so the many idle ones cost nothing.
 *
 * The dispatcher's sum is that of all its gateways, hence the difference; readers are on other
 * threads, hence the atomic store. */
static void measure(struct alk_gateway *g)
{
    uint64_t sum = 0;

    list_each_safe(l, &g->busy)
    {
        const struct engine *e = container_of(l, struct gate_conn, busy)->engine;
        size_t bytes = e ? e->out.len + e->inflight : 0;

        if (!bytes)
            list_del(l);
        sum += bytes;
    }
    __atomic_store_n(&g->d->counts.http_queued, g->d->counts.http_queued + sum - g->queued,
                     __ATOMIC_RELAXED);
    g->queued = sum;
}

/* Once a second, from the loop. The date is formatted once for all answers of that second. */
static void tick(struct service *s, const char *date, uint64_t now)
{
    struct alk_gateway *g = container_of(s, struct alk_gateway, service);

    (void)now;
    snprintf(g->limits.date, sizeof g->limits.date, "%s", date);
    read_limits(g);
    measure(g);
}

static struct mem *service_mem(struct service *s)
{
    return &container_of(s, struct alk_gateway, service)->mem;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* From arena_init on, alk_gateway_free undoes as much as there is. */
int gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o,
                const struct gateway_above *above, char *err, size_t err_size)
{
    struct alk_gateway *g = mem_zalloc(&d->mem, sizeof *g);
    int rc;

    *out = NULL;
    if (err && err_size)
        *err = 0;
    if (!g)
        return ALK_ENOMEM;
    d->refs++;
    g->d = d;
    g->service.accept = accept_conn;
    g->service.accept_quic = accept_quic;
    g->service.tick = tick;
    g->service.mem = service_mem;
    g->above = *above;
    mem_init(&g->mem, d->node->realloc, d->node->realloc_ud);
    arena_init(&g->arena, &g->mem, 1024);
    list_init(&g->conns);
    list_init(&g->busy);
    list_init(&g->events);
    ws_pool_init(&g->ws_pool, &g->mem);
    rc = read_options(g, o, err, err_size);
    if (rc) {
        alk_gateway_free(g);
        return rc;
    }
    read_limits(g);
    *out = g;
    return ALK_OK;
}

/* No listener has it any more, and no connection: see alknet/gateway.h. */
void alk_gateway_free(alk_gateway *g)
{
    struct alk_dispatcher *d;

    if (!g)
        return;
    d = g->d;
    assert(list_empty(&g->conns) && list_empty(&g->busy));
    measure(g);
    events_free(g);
    if (g->mcp_service)
        g->above.mcp_free(g);
    mem_free(&g->mem, g->custom);
    mem_free(&g->mem, g->spare);
    arena_fini(&g->arena);
    ws_pool_fini(&g->ws_pool);
    assert(g->mem.live == 0);
    mem_free(&d->mem, g);
    dispatcher_unref(d);
}

/* Read by /readyz alone: a gateway that is not ready serves all the same, it only asks to be
 * spared. */
void alk_gateway_set_ready(alk_gateway *g, int ready)
{
    g->ready = ready != 0;
}
