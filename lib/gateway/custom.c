/* Custom routes: raw requests for the embedder, after the checks that every request gets. Its
 * functions run from the dispatcher's turn, never from inside the engine or one of its own calls:
 * it may do in them whatever it likes, and none of ours is on the stack.
 *
 * One task of the request serves for all three of them (handler, on_drain, on_close), since only
 * one can be due: the handler comes first, on_drain wants an answer that has been started, and
 * behind on_close there is none of either. */
#include "gateway/gateway_int.h"

#include <stdio.h>
#include <string.h>

/* Room may have been made use of, or the request closed, since it was queued. */
static void run_drain(struct task *t)
{
    struct alk_request *r = container_of(t, struct alk_request, task);
    void (*fn)(alk_request *, void *) = r->on_drain;

    if (!r->x || !r->blocked)
        return;
    r->blocked = false;
    if (fn)
        fn(r, r->on_drain_ud);
}

/* The client may have left, or an error may have been answered, since it was queued. */
static void run_handler(struct task *t)
{
    struct alk_request *r = container_of(t, struct alk_request, task);
    int rc;

    if (!r->x || r->ended)
        return;
    task_init(&r->task, run_drain);
    rc = r->route->handler(r, r->route->ud);
    /* A handler that fails without an answer; one that has begun must end by itself. */
    if (rc && r->x && !r->started)
        reply_error(r, 500, "%s", fault_internal.message);
}

/* Called from the engine's frame, when the body is whole. */
static void serve_custom(struct alk_request *r)
{
    task_init(&r->task, run_handler);
    task_post(&r->g->d->schedule, &r->task);
}

/* Before the first server: requests point into the array, which moves when it grows. */
int route_add(struct alk_gateway *g, const struct route *route)
{
    struct route *all, *n;

    if (g->metrics || g->service.files || !route->method.n || !str_starts(route->path, "/"))
        return ALK_EINVAL;
    for (size_t i = 0; i < gateway_route_count; i++) {
        if (str_eq(gateway_routes[i].path, route->path))
            return ALK_EEXIST;
    }
    if (str_eq(route->path, g->health.path))
        return ALK_EEXIST;
    for (size_t i = 0; i < g->custom_count; i++) {
        if (str_eq(g->custom[i].path, route->path) && str_eq(g->custom[i].method, route->method))
            return ALK_EEXIST;
    }
    all = mem_realloc(&g->mem, g->custom, (g->custom_count + 1) * sizeof *all);
    if (!all)
        return ALK_ENOMEM;
    g->custom = all;
    n = &all[g->custom_count];
    *n = *route;
    n->method.p = arena_dup(&g->arena, route->method.p, route->method.n);
    n->path.p = arena_dup(&g->arena, route->path.p, route->path.n);
    if (!n->method.p || !n->path.p)
        return ALK_ENOMEM;
    g->custom_count++;
    return ALK_OK;
}

static const struct abi abi_route = ABI_PLAIN(alk_route, ud);

int alk_gateway_add_route(alk_gateway *g, const alk_route *route)
{
    struct route r = {.serve = serve_custom};
    alk_route own;

    route = node_take(g->d->node, &abi_route, &own, route);
    if (!route || !route->handler)
        return ALK_EINVAL;
    r.method = str_of(route->method);
    r.path = str_of(route->path);
    r.authenticated = route->authenticated != 0;
    r.handler = route->handler;
    r.ud = route->ud;
    return route_add(g, &r);
}

/* A call of a route. It keeps the request, and so everything that its callbacks may use. */
struct custom_call {
    struct list link;
    struct alk_request *r;
    alk_call *call; /* a reference */
    alk_call_options o;
};

/* call_end tells nobody from inside: on_result comes in the turn, so the list stays as it is. */
static void abort_calls(struct alk_request *r)
{
    list_each(l, &r->calls)
    {
        alk_call *c = container_of(l, struct custom_call, link)->call;

        if (!call_ended(c))
            call_end(c, ALK_END_ABORTED, NULL);
    }
}

/* After on_close, since that may still want to look at a call, or let it go on. */
static void run_close(struct task *t)
{
    struct alk_request *r = container_of(t, struct alk_request, task);

    r->on_close(r, r->complete, r->on_close_ud);
    if (!r->complete)
        abort_calls(r);
    request_unref(r);
}

/* The calls of a client that is gone are aborted, behind on_close. Both come from the turn: this is
 * the engine's frame, where nothing of the embedder may run.
 *
 * The reference keeps the request until then, beyond that of its exchange. */
void custom_close(struct alk_request *r, bool complete)
{
    if (!r->on_close && !complete)
        abort_calls(r);
    if (!r->on_close)
        return;
    r->complete = complete;
    r->refs++;
    task_init(&r->task, run_close);
    task_post(&r->g->d->schedule, &r->task);
}

/* Never NULL, so that nobody has to tell an empty body from none. It stays until the request goes,
 * which may be later than its exchange. */
const char *alk_request_body(const alk_request *r, size_t *len)
{
    *len = r->body_len;
    return r->body ? r->body : "";
}

/* Those two hold tokens. The identity is what they prove; who gets a token can act with it, and
 * might log it. */
const char *alk_request_header(const alk_request *r, const char *name, size_t *len)
{
    const struct http_header *h = NULL;

    if (r->x && strcmp(name, "authorization") && strcmp(name, "sec-websocket-protocol"))
        h = http_find(&r->x->req, name, strlen(name));
    *len = h ? h->value.n : 0;
    return h ? h->value.p : NULL;
}

/* In the exchange, and gone with it. */
const char *alk_request_query(const alk_request *r, size_t *len)
{
    *len = r->x ? r->x->req.query.n : 0;
    return r->x ? r->x->req.query.p : NULL;
}

const alk_identity *alk_request_identity(const alk_request *r)
{
    return r->identity;
}

/* A later one replaces it; none at all is right for who has nothing to free. */
void alk_request_on_close(alk_request *r, void (*fn)(alk_request *r, int complete, void *ud),
                          void *ud)
{
    r->on_close = fn;
    r->on_close_ud = ud;
}

void alk_request_on_drain(alk_request *r, void (*fn)(alk_request *r, void *ud), void *ud)
{
    r->on_drain = fn;
    r->on_drain_ud = ud;
    /* The room may have come before the function. */
    if (fn && r->blocked && r->x && r->x->ops->queued(r->x) <= r->g->limits.write_high / 2)
        task_post(&r->g->d->schedule, &r->task);
}

/* ---- responses ------------------------------------------------------------------------------- */

/* RFC 9110, 5.6.2. */
static bool token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* One "Name: value" line without its end. The names in `ours` are the engine's or the gateway's to
 * write: one twice, or a wrong length, would let a client and a proxy before it see two different
 * answers (RFC 9112, 11.2). Control characters in a value would do the same. */
static bool parse_line(const char *p, size_t n, struct http_header *out)
{
    static const char *const ours[] = {"content-length",
                                       "transfer-encoding",
                                       "connection",
                                       "date",
                                       "x-request-id",
                                       "keep-alive",
                                       "traceparent",
                                       "access-control-allow-origin",
                                       "access-control-expose-headers"};
    const char *colon = memchr(p, ':', n);
    size_t at;

    if (!colon || colon == p)
        return false;
    out->name = (struct str){p, (size_t)(colon - p)};
    for (size_t i = 0; i < out->name.n; i++) {
        if (!token_char(p[i]))
            return false;
    }
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (gate_same_name(out->name, str_of(ours[i])))
            return false;
    }
    at = out->name.n + 1;
    while (at < n && p[at] == ' ')
        at++;
    out->value = (struct str){p + at, n - at};
    for (; at < n; at++) {
        if (((unsigned char)p[at] < 0x20 && p[at] != '\t') || p[at] == 0x7f)
            return false;
    }
    return true;
}

/* All lines are read before anything is written: a wrong one costs nothing but the call. */
int alk_response_start(alk_request *r, int status, const char *headers, size_t len)
{
    struct http_header h[RESPONSE_HEADERS_MAX];
    const char *p = headers, *end = headers + len;
    size_t n = 0;

    if (!r->x || r->started || status < 200 || status > 599)
        return ALK_EINVAL;
    while (p < end) {
        const char *stop = memchr(p, '\r', (size_t)(end - p));

        if (!stop || stop + 1 >= end || stop[1] != '\n' || n == RESPONSE_HEADERS_MAX ||
            !parse_line(p, (size_t)(stop - p), &h[n]))
            return ALK_EINVAL;
        n++;
        p = stop + 2;
    }
    if (reply_start(r, status, h, n)) {
        r->x->ops->reset(r->x);
        return ALK_ENOMEM;
    }
    return ALK_OK;
}

/* Once refused, it stays refused until on_drain has been told, also when room comes before: a
 * handler that tries again in a loop would otherwise never get to see on_drain. Without on_drain,
 * half of the mark is room. */
int alk_response_write(alk_request *r, const void *data, size_t len)
{
    if (!r->x || !r->started || r->ended)
        return ALK_EINVAL;
    if (r->blocked && !r->on_drain && r->x->ops->queued(r->x) <= r->g->limits.write_high / 2)
        r->blocked = false;
    if (r->blocked || r->x->ops->queued(r->x) > r->g->limits.write_high) {
        r->blocked = true;
        return ALK_EAGAIN;
    }
    return r->x->ops->write(r->x, data, len) ? ALK_ENOMEM : ALK_OK;
}

int alk_response_end(alk_request *r)
{
    if (!r->x || !r->started || r->ended)
        return ALK_EINVAL;
    r->ended = true;
    r->x->ops->end(r->x);
    return ALK_OK;
}

/* ---- calls of a custom route ----------------------------------------------------------------- */

/* The embedder first: in its on_end it may still use the request. Its own reference goes last. */
static void on_result(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct custom_call *cc = ud;
    struct alk_request *r = cc->r;

    if (cc->o.on_end)
        cc->o.on_end(call, why, fault, cc->o.ud);
    list_del(&cc->link);
    alk_call_unref(cc->call);
    mem_free(&r->g->mem, cc);
    request_unref(r);
}

/* As it came: the message belongs to the call, and goes when this returns. */
static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct custom_call *cc = ud;

    if (cc->o.on_event)
        cc->o.on_event(call, value, cc->o.ud);
}

/* The message is the call's own: the request's has its body, which the embedder may read until
 * on_close. */
int alk_request_call(alk_request *r, const char *operation, size_t operation_len, const char *input,
                     size_t input_len, const alk_call_options *o, alk_call **out)
{
    struct alk_dispatcher *d = r->g->d;
    alk_call_options own;
    struct custom_call *cc;
    struct msg *m;
    char *name;
    alk_call *c;
    int rc;

    if (out)
        *out = NULL;
    o = node_take(d->node, &abi_call_options, &own, o);
    if (!r->x || !o)
        return ALK_EINVAL;
    m = msg_new(&d->messages, r->payer);
    if (!m)
        return ALK_ENOMEM;
    cc = mem_zalloc(&r->g->mem, sizeof *cc);
    name = arena_dup(&m->arena, operation, operation_len);
    rc = cc && name ? msg_parse(m, input, input_len, NULL) : ALK_ENOMEM;
    if (rc) {
        mem_free(&r->g->mem, cc);
        msg_free(m);
        return rc;
    }
    c = request_start(r, &(struct invocation){.msg = m,
                                              .operation = {name, operation_len},
                                              .input = m->value.val,
                                              .id = r->id,
                                              .sink = &sink_callbacks,
                                              .sink_ud = r,
                                              .timeout_ms = o->timeout_ms,
                                              .want = o->stream ? WANT_STREAM : WANT_SINGLE});
    if (!c) {
        mem_free(&r->g->mem, cc);
        return ALK_ENOMEM;
    }
    cc->r = r;
    cc->o = *o;
    cc->call = alk_call_ref(c);
    list_push(&r->calls, &cc->link);
    c->on_event = on_value;
    c->on_result = on_result;
    c->result_ud = cc;
    if (out)
        *out = alk_call_ref(c);
    return ALK_OK;
}
