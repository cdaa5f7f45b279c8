/* The gateway between an HTTP engine and the dispatcher. What is asked of every request is asked here, in one order:
 * name of the host, origin, token, route, body; so that no route can forget it. */
#include "gateway/gateway.h"

#include "adapt/session.h"
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BODY_START 4096u

/* ---- options ----------------------------------------------------------------------------------- */

static const alk_gateway_options options_defaults = {.size = sizeof(alk_gateway_options),
                                                     .websocket = 1};
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

static void to_lower(char *s)
{
    for (; *s; s++)
        *s = *s >= 'A' && *s <= 'Z' ? (char)(*s + 'a' - 'A') : *s;
}

/* A JSON array of names, kept in lower case. */
static int read_names(struct alk_gateway *g, const char *what, const char *json,
                      struct name_list *out, char *err, size_t err_size)
{
    struct json_error je;
    struct msg *m;
    yyjson_val *v;
    size_t i, n;
    int rc;

    if (!json)
        return ALK_OK;
    m = msg_new(&g->d->messages);
    if (!m)
        return ALK_ENOMEM;
    rc = msg_parse(m, json, strlen(json), &je);
    rc = rc ? complain(err, err_size, rc, "%s: %s", what, je.text)
         : !yyjson_is_arr(m->value.val)
             ? complain(err, err_size, ALK_EINVAL, "%s: must be an array", what)
             : ALK_OK;
    if (!rc) {
        out->names =
            arena_alloc(&g->arena, (yyjson_arr_size(m->value.val) + 1) * sizeof *out->names);
        rc = out->names ? ALK_OK : ALK_ENOMEM;
    }
    yyjson_arr_foreach(rc ? NULL : m->value.val, i, n, v)
    {
        char *s = arena_dup(&g->arena, yyjson_get_str(v), yyjson_get_len(v));

        if (!yyjson_is_str(v) || !s) {
            rc = s ? complain(err, err_size, ALK_EINVAL, "%s/%zu: must be a string", what, i)
                   : ALK_ENOMEM;
            break;
        }
        to_lower(s);
        out->any |= !strcmp(s, "*");
        out->names[out->count++] = (struct str){s, yyjson_get_len(v)};
    }
    msg_free(m);
    return rc;
}

static int keep(struct alk_gateway *g, const char *s, struct str *out)
{
    *out = (struct str){s ? arena_dup(&g->arena, s, strlen(s)) : "", s ? strlen(s) : 0};
    return out->p ? ALK_OK : ALK_ENOMEM;
}

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
    if (o->decoy > ALK_DECOY_REDIRECT)
        return complain(err, err_size, ALK_EINVAL, "decoy: unknown");
    if (o->decoy != ALK_DECOY_NOT_FOUND && (!o->decoy_target || !*o->decoy_target))
        return complain(err, err_size, ALK_EINVAL, "decoy_target: missing");
    for (const char *p = o->decoy_target; p && *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return complain(err, err_size, ALK_EINVAL, "decoy_target: has a control character");
    }
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
    g->hooks = (struct session_hooks){o->on_connect, o->on_disconnect, o->session_ud};
    if ((rc = keep(g, o->tenant_header, &g->tenant_header)) ||
        (rc = keep(g, o->decoy_target, &g->decoy_target)) ||
        (rc = keep(g, o->health_path ? o->health_path : "/healthz", &health)) ||
        (rc = read_names(g, "hosts", o->hosts, &g->hosts, err, err_size)) ||
        (rc = read_names(g, "origins", o->origins, &g->origins, err, err_size)) ||
        (rc = read_names(g, "trusted_proxies", o->trusted_proxies, &g->proxies, err, err_size)))
        return rc;
    g->health = (struct route){.method = "GET",
                               .method_len = 3,
                               .path = health.p,
                               .path_len = health.n,
                               .serve = serve_health,
                               .health = true};
    to_lower((char *)g->tenant_header.p);
    return ALK_OK;
}

static void read_limits(struct alk_gateway *g)
{
    const alk_node *n = g->d->node;

    g->limits.header_bytes = LIMIT(n, header_bytes);
    g->limits.header_count = LIMIT(n, header_count);
    g->limits.url_bytes = LIMIT(n, url_bytes);
    g->limits.header_timeout = LIMIT(n, header_timeout_ms) * MILLI;
    g->limits.body_timeout = LIMIT(n, body_timeout_ms) * MILLI;
    g->limits.keepalive_timeout = LIMIT(n, keepalive_ms) * MILLI;
    g->limits.write_timeout = LIMIT(n, write_timeout_ms) * MILLI;
    g->limits.write_high = LIMIT(n, queue_high);
    session_limits(n, &g->ws_limits);
    events_limits(g);
}

/* ---- connections ------------------------------------------------------------------------------- */

static const struct http_app gateway_app;

/* Whether its address may have one more. What comes through a trusted proxy is not counted, all of it has one address. */
static bool admit_address(struct gate_conn *c)
{
    alk_node *n = c->g->d->node;
    uint32_t limit = LIMIT(n, connections_per_address);
    char key[ADDRESS_MAX_BYTES];
    size_t len;

    if (!limit || c->is_proxy)
        return true;
    len = gate_rate_key(c->remote, key);
    c->address = address_take(&n->addresses, key, len, limit);
    return c->address != NULL;
}

void gate_conn_fini(void *ud)
{
    struct gate_conn *c = ud;
    struct alk_gateway *g = c->g;

    assert(list_empty(&c->requests));
    gate_forget_token(c);
    if (c->address)
        address_give(&g->d->node->addresses, c->address);
    list_del(&c->link);
    list_del(&c->busy);
    if (c->http)
        COUNT(g->d, http_closed);
    if (c->counted)
        node_connection_give(g->d->node);
    mem_free(&g->mem, c);
}

static struct engine *open_conn(struct alk_gateway *g, struct mem *mem, const struct peer_info *p,
                                uint64_t now)
{
    struct gate_conn *c;
    struct h1 *h;

    if (!node_connection_take(g->d->node))
        return NULL;
    c = mem_zalloc(&g->mem, sizeof *c);
    if (!c) {
        node_connection_give(g->d->node);
        return NULL;
    }
    c->g = g;
    c->counted = true;
    list_init(&c->requests);
    list_init(&c->busy);
    list_push(&g->conns, &c->link);
    /* One client has one address, whichever listener it comes by. */
    snprintf(c->remote, sizeof c->remote, "%s",
             !strncmp(p->address, "::ffff:", 7) && strchr(p->address, '.') ? p->address + 7
                                                                           : p->address);
    snprintf(c->local, sizeof c->local, "%s", p->local);
    c->local_is_loopback = !strncmp(p->local, "127.", 4) || !strcmp(p->local, "::1") ||
                           !strncmp(p->local, "::ffff:127.", 11) || !strcmp(p->local, "unix");
    c->is_proxy = gate_listed(&g->proxies, (struct str){c->remote, strlen(c->remote)});
    h = admit_address(c) ? h1_new(mem, &gateway_app, c, gate_conn_fini, &g->limits, now) : NULL;
    if (!h) {
        gate_conn_fini(c);
        return NULL;
    }
    COUNT(g->d, http_connections);
    c->http = true;
    c->engine = h1_engine(h);
    return c->engine;
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

/* What waits for the clients. */
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
    __atomic_store_n(&g->d->http_queued, g->d->http_queued + sum - g->queued, __ATOMIC_RELAXED);
    g->queued = sum;
}

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

struct service *gateway_service(alk_gateway *g)
{
    return &g->service;
}

/* ---- routing ----------------------------------------------------------------------------------- */

static bool route_is(const struct route *route, const struct http_request *q)
{
    bool head = q->method.n == 4 && !memcmp(q->method.p, "HEAD", 4);

    if (route->path_len != q->path.n || memcmp(route->path, q->path.p, q->path.n))
        return false;
    /* A server that has GET has HEAD (RFC 9110, 9.1). */
    if (head)
        return route->method_len == 3 && !memcmp(route->method, "GET", 3) && !route->event_get &&
               !route->protocol;
    return route->method_len == q->method.n && !memcmp(route->method, q->method.p, q->method.n);
}

static const struct route *find_route(const struct alk_gateway *g, const struct http_request *q)
{
    if (route_is(&g->health, q))
        return &g->health;
    if (g->metrics)
        return route_is(&metrics_route, q) ? &metrics_route : NULL;
    for (size_t i = 0; i < gateway_route_count; i++) {
        if (route_is(&gateway_routes[i], q) && (g->websocket || !gateway_routes[i].protocol))
            return &gateway_routes[i];
    }
    for (size_t i = 0; i < g->custom_count; i++) {
        if (route_is(&g->custom[i], q))
            return &g->custom[i];
    }
    return NULL;
}

static bool path_known(const struct alk_gateway *g, const struct http_request *q)
{
    if (g->metrics)
        return false;
    for (size_t i = 0; i < gateway_route_count; i++) {
        if (gateway_routes[i].path_len == q->path.n &&
            !memcmp(gateway_routes[i].path, q->path.p, q->path.n))
            return true;
    }
    for (size_t i = 0; i < g->custom_count; i++) {
        if (g->custom[i].path_len == q->path.n && !memcmp(g->custom[i].path, q->path.p, q->path.n))
            return true;
    }
    return false;
}

static void reply_preflight(struct alk_request *r)
{
    static const struct http_header h[] = {
        {{"Access-Control-Allow-Methods", 28}, {"GET, POST, PUT, PATCH, DELETE", 29}},
        {{"Access-Control-Allow-Headers", 28},
         {"Authorization, Content-Type, X-Timeout-Ms, traceparent", 54}},
        {{"Access-Control-Max-Age", 22}, {"600", 3}},
    };

    reply(r, 204, NULL, NULL, 0, h, sizeof h / sizeof h[0]);
}

static bool is_preflight(const struct alk_request *r)
{
    const struct http_request *q = &r->x->req;

    return r->cors && q->method.n == 7 && !memcmp(q->method.p, "OPTIONS", 7) &&
           http_find(q, "access-control-request-method", 29) && path_known(r->g, q);
}

static bool is_json(const struct http_request *q)
{
    const struct http_header *h = request_field(q, "content-type", 12);
    const char *end = h ? memchr(h->value.p, ';', h->value.n) : NULL;
    struct str type = {h ? h->value.p : "", h ? h->value.n : 0};

    if (end)
        type.n = (size_t)(end - type.p);
    while (type.n && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    return (type.n == sizeof JSON_TYPE - 1 && !memcmp(type.p, JSON_TYPE, type.n)) ||
           gate_same_name(type, JSON_TYPE, sizeof JSON_TYPE - 1);
}

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

static void read_trace(struct alk_request *r)
{
    const struct http_header *h = http_find(&r->x->req, "traceparent", 11);
    struct str s = {h ? h->value.p : NULL, h ? h->value.n : 0};

    if (!traceparent_valid(s))
        return;
    memcpy(r->trace, s.p, s.n);
    r->trace[s.n] = 0;
    r->traceparent = (struct str){r->trace, s.n};
}

static uint64_t body_limit(const struct alk_request *r)
{
    const alk_node *n = r->g->d->node;
    uint64_t most = LIMIT(n, body_bytes), anonymous = LIMIT(n, anonymous_bytes);

    return !r->identity && anonymous < most ? anonymous : most;
}

/* The checks of a request that is not a decoy's; true: go on with the body or serve. */
static bool acceptable(struct alk_request *r, bool known_token, bool busy)
{
    const struct http_request *q = &r->x->req;

    if (busy) {
        reply_error(r, 429, ALK_BUSY, "too many failed authentications from this address");
        return false;
    }
    if (!known_token) {
        reply_error(r, 401, ALK_FORBIDDEN, "the presented token is not valid");
        return false;
    }
    if (r->route->authenticated && !r->identity) {
        reply_error(r, 401, ALK_FORBIDDEN, "authentication required");
        return false;
    }
    if (http_find(q, "content-encoding", 16)) {
        reply_error(r, 415, ALK_INVALID_INPUT, "content-encoding: none is supported");
        return false;
    }
    if (r->route->json && !is_json(q)) {
        reply_error(r, 415, ALK_INVALID_INPUT, "content-type: must be application/json");
        return false;
    }
    return true;
}

static void take_body(struct alk_request *r)
{
    const struct http_request *q = &r->x->req;

    /* A larger one gets room, and is counted, as it comes: what is only announced takes nothing from others. */
    if (q->content_length && q->content_length < BUDGET_MIN) {
        r->body_cap = (size_t)q->content_length + JSON_PADDING;
        r->body = arena_alloc(&r->msg->arena, r->body_cap);
        if (!r->body) {
            reply_error(r, 503, ALK_BUSY, "out of memory");
            return;
        }
    }
    r->x->ops->read_body(r->x, body_limit(r));
}

static struct alk_request *request_new(struct http_exchange *x, struct gate_conn *c)
{
    struct alk_gateway *g = c->g;
    struct alk_request *r = g->spare ? g->spare : mem_alloc(&g->mem, sizeof *r);

    if (!r)
        return NULL;
    g->spare = NULL;
    memset(r, 0, sizeof *r);
    r->msg = msg_new(&g->d->messages);
    if (!r->msg) {
        mem_free(&g->mem, r);
        return NULL;
    }
    r->refs = 1;
    r->g = g;
    r->conn = c;
    r->x = x;
    x->data = r;
    list_push(&c->requests, &r->link);
    list_init(&r->task.link);
    list_init(&r->calls);
    timer_init(&r->heartbeat, event_heartbeat);
    dispatcher_id(g->d, r->id);
    return r;
}

void request_unref(struct alk_request *r)
{
    if (--r->refs)
        return;
    assert(!r->x && !r->call && list_empty(&r->calls));
    alk_identity_unref(r->identity);
    if (r->msg)
        msg_free(r->msg);
    if (r->g->spare)
        mem_free(&r->g->mem, r);
    else
        r->g->spare = r;
}

static void on_head(struct http_exchange *x, void *ud)
{
    struct gate_conn *c = ud;
    struct alk_gateway *g = c->g;
    struct alk_request *r = request_new(x, c);
    bool known, busy, hidden;

    if (!r) {
        x->data = NULL;
        x->ops->reset(x);
        return;
    }
    request_read_client(r);
    read_trace(r);
    read_timeout(r);
    r->route = find_route(g, &x->req);
    known = request_authenticate(r, &busy);
    hidden = g->stealth && !r->identity && r->route != &g->health;
    if (hidden || (!r->route && g->stealth)) {
        reply_decoy(r);
        return;
    }
    if (g->stealth && !r->identity && (!request_host_served(r) || !request_origin_allowed(r))) {
        reply_decoy(r);
        return;
    }
    if (r->route && r->route->protocol && !ws_head_ok(r))
        return;
    if (!request_host_served(r)) {
        reply_error(r, 421, ALK_INVALID_INPUT, "host: this name is not served here");
        return;
    }
    if (!request_origin_allowed(r)) {
        reply_error(r, 403, ALK_FORBIDDEN, "origin: not on the allow-list");
        return;
    }
    if (is_preflight(r)) {
        reply_preflight(r);
        return;
    }
    if (!r->route) {
        reply_decoy(r);
        return;
    }
    if (r->route->health) {
        r->route->serve(r);
        return;
    }
    if (!acceptable(r, known, busy))
        return;
    if (x->req.has_body)
        take_body(r);
    else
        r->route->serve(r);
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static bool grow_body(struct alk_request *r, size_t more)
{
    struct alk_node *node = r->g->d->node;
    size_t need = r->body_len + more + JSON_PADDING, cap = r->body_cap ? r->body_cap : BODY_START;
    char *p;

    if (need <= r->body_cap)
        return true;
    while (cap < need)
        cap *= 2;
    if (r->x->req.content_length && cap > r->x->req.content_length + JSON_PADDING)
        cap = (size_t)r->x->req.content_length + JSON_PADDING;
    if (!node_budget_take(node, cap))
        return false;
    node_budget_give(node, r->msg->charged);
    r->msg->charged = cap;
    p = arena_realloc(&r->msg->arena, r->body, r->body_cap, cap);
    if (!p)
        return false;
    r->body = p;
    r->body_cap = cap;
    return true;
}

static void on_body(struct http_exchange *x, const char *data, size_t len, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (!r || r->ended)
        return;
    if (!grow_body(r, len)) {
        reply_error(r, 503, ALK_BUSY, "too many messages are being received");
        return;
    }
    memcpy(r->body + r->body_len, data, len);
    r->body_len += len;
}

static void on_body_end(struct http_exchange *x, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (r && !r->ended)
        r->route->serve(r);
}

static void on_writable(struct http_exchange *x, void *ud)
{
    struct alk_request *r = x->data;

    (void)ud;
    if (!r)
        return;
    if (r->site)
        site_more(r);
    else if (r->call)
        call_room(r->call);
    else if (r->on_drain && r->blocked)
        task_post(&r->g->d->schedule, &r->task);
}

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
    if (c->g->stealth && !r->identity)
        reply_decoy_error(r, status);
    else
        reply_error(r, status, ALK_INVALID_INPUT, "%s", what);
}

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
    timer_clear(&r->g->d->schedule, &r->heartbeat);
    list_del(&r->task.link);
    if (r->site)
        site_abort(r);
    if (r->call)
        call_end(r->call, ALK_END_ABORTED, NULL);
    if (r->batch)
        batch_abort(r);
    custom_close(r, complete);
    request_unref(r);
}

static const struct http_app gateway_app = {on_head,     on_body,  on_body_end,
                                            on_writable, on_error, on_close};

/* ---- life -------------------------------------------------------------------------------------- */

/* Streams of callers whose token no longer resolves end. */
static void recheck(struct observer *o)
{
    struct alk_gateway *g = container_of(o, struct alk_gateway, on_identities);

    list_each(l, &g->conns)
    {
        struct gate_conn *c = container_of(l, struct gate_conn, link);

        list_each(m, &c->requests)
        {
            struct alk_request *r = container_of(m, struct alk_request, link);
            alk_identity *who = r->identity && r->x ? gate_identify(c, r->token) : NULL;

            if (r->identity && r->x && !who && r->started && !r->ended) {
                request_log(r, "request.revoked", "its token no longer resolves");
                r->ended = true;
                r->x->ops->reset(r->x);
            }
            alk_identity_unref(who);
        }
    }
}

int alk_gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o, char *err,
                    size_t err_size)
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
    g->service.tick = tick;
    g->service.mem = service_mem;
    mem_init(&g->mem, d->node->realloc, d->node->realloc_ud);
    arena_init(&g->arena, &g->mem, 1024);
    list_init(&g->conns);
    list_init(&g->busy);
    list_init(&g->events);
    list_init(&g->on_identities.link);
    rc = ws_pool_init(&g->ws_pool, &g->mem) ? ALK_ENOMEM : read_options(g, o, err, err_size);
    if (rc) {
        alk_gateway_free(g);
        return rc;
    }
    read_limits(g);
    g->on_identities.fn = recheck;
    list_push(&d->observers, &g->on_identities.link);
    *out = g;
    return ALK_OK;
}

void alk_gateway_free(alk_gateway *g)
{
    struct alk_dispatcher *d;

    if (!g)
        return;
    d = g->d;
    assert(list_empty(&g->conns));
    list_del(&g->on_identities.link);
    measure(g);
    events_free(g);
    mem_free(&g->mem, g->custom);
    mem_free(&g->mem, g->spare);
    arena_fini(&g->arena);
    ws_pool_fini(&g->ws_pool);
    assert(g->mem.live == 0);
    mem_free(&d->mem, g);
    dispatcher_unref(d);
}

void alk_gateway_set_ready(alk_gateway *g, int ready)
{
    g->ready = ready != 0;
}
