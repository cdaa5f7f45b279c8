/* Event gateways: WebSocket routes of the embedder that speak text events. See events.h for the
 * order in which things happen to a client.
 *
 * What a client sends waits, at most WAITING_MAX events or WAITING_BYTES of them, before its socket
 * is read no further, so that a handler that takes its time costs no more than that; until then a
 * client that leaves is noticed.
 *
 * A client is freed with its last reference, which may be the application's. So three ends are
 * apart: `code` is set (nothing goes to it any more), on_disconnect has returned (the application
 * has been told), the stream is gone (its events and its connection are let go of). */
#include "gateway/events.h"

#include "gateway/ws.h"
#include "wire/ws_handshake.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define WAITING_MAX 16u
#define WAITING_BYTES 65536u

struct event_handler {
    struct map_node node;
    alk_event_handler fn;
    void *ud;
};

/* By the id that the application knows it by, which stands in its lines of calls as well. */
static void client_log(const struct alk_client *c, uint32_t level, const char *event,
                       const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = level, .event = event, .message = what};

    e.request_id = c->id;
    e.identity = c->by ? c->by->who->id.p : NULL;
    e.remote = c->remote;
    node_log(c->d->node, &e);
}

/* ---- the end of a client --------------------------------------------------------------------- */

/* An event is in the arena of its message. */
static void event_free(struct event *e)
{
    if (e)
        msg_free(e->msg);
}

static struct event *take_event(struct alk_client *c)
{
    struct event *e = container_of(c->waiting.next, struct event, link);

    list_del(&e->link);
    c->waiting_count--;
    c->waiting_bytes -= e->bytes;
    return e;
}

/* Each holds a part of the node's message budget: none is kept for a client that has gone. */
static void drop_waiting(struct alk_client *c)
{
    while (!list_empty(&c->waiting))
        event_free(take_event(c));
}

/* The first code is the last: callers have looked at c->code, or are the engine, which says it
 * once. */
static void over(struct alk_client *c, int code)
{
    c->code = code;
    task_post(&c->d->schedule, &c->task);
}

/* What waits is dropped at once, not in the turn: nobody is to handle an event of one that was
 * thrown out. */
void client_end(struct alk_client *c, int code, const char *why)
{
    ws_close(c->ws, code, why);
    drop_waiting(c);
    over(c, code);
}

/* What came before it fell behind was sent in good faith, and is handled. */
void client_evict(struct alk_client *c, const char *why)
{
    COUNT(c->d, ws_evictions);
    COUNT(c->d, slow_consumers);
    client_log(c, ALK_LOG_WARN, "client.evicted", why);
    ws_close(c->ws, WS_TRY_AGAIN, why);
    over(c, WS_TRY_AGAIN);
}

/* The memory is the dispatcher's, not the gateway's: an application may keep a client beyond both
 * the gateway and its loop. */
static void client_destroy(struct alk_client *c)
{
    struct alk_dispatcher *d = c->d;

    assert(!c->ws && !c->events && !c->current && list_empty(&c->calls) &&
           list_empty(&c->waiting) && list_empty(&c->link) && list_empty(&c->task.link));
    credential_unref(c->by);
    account_unref(c->payer);
    mem_free(&d->mem, (char *)c->tenant.p);
    mem_free(&d->mem, c);
    dispatcher_unref(d);
}

alk_client *alk_client_ref(alk_client *c)
{
    c->refs++;
    return c;
}

void alk_client_unref(alk_client *c)
{
    if (c && --c->refs == 0)
        client_destroy(c);
}

/* While it is on the lists, its events can be reached from the application, by id or by
 * send_all. */
static void unlist(struct alk_client *c)
{
    map_del(&c->events->clients, &c->by_id);
    list_del(&c->link);
    list_del(&c->on_by.link);
}

/* ---- what is due ----------------------------------------------------------------------------- */

static void failed(const struct alk_client *c, const struct event_handler *h, int rc)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "event.failed"};

    COUNT(c->d, ws_handler_errors);
    e.message = alk_strerror(rc);
    e.request_id = c->id;
    e.operation = h->node.key;
    e.outcome = alk_err_name(rc);
    e.identity = c->by ? c->by->who->id.p : NULL;
    e.remote = c->remote;
    node_log(c->d->node, &e);
}

/* Also when there is none. */
static void finish_event(struct alk_client *c)
{
    event_free(c->current);
    c->current = NULL;
}

/* ALK_EAGAIN means that the handler goes on by itself and says alk_client_next later; it may have
 * said so before it returned, which is why `next` is looked at. */
static void handle_next(struct alk_client *c)
{
    const struct event_handler *h;
    int rc;

    c->current = take_event(c);
    h = c->current->handler;
    c->next = false;
    c->handling = true;
    rc = h->fn(c, &c->current->msg->value, h->ud);
    c->handling = false;
    if (rc == ALK_EAGAIN && !c->next)
        return;
    /* That the client has left is not the handler's failure. */
    if (rc && rc != ALK_EAGAIN && !(rc == ALK_ECLOSED && c->code))
        failed(c, h, rc);
    finish_event(c);
}

/* Before on_connect, which may look for the client and send to it. */
static void greet(struct alk_client *c)
{
    struct alk_events *ev = c->events;

    c->greeted = true;
    channel_count(ev->seat, ++ev->count);
    client_log(c, ALK_LOG_DEBUG, "client.open", NULL);
    if (ev->on_connect)
        ev->on_connect(c, ev->ud);
}

/* on_disconnect has the client as it was: on its lists, with its event and its calls. What follows
 * is in the order in which it could still be reached.
 *
 * One that was never greeted has not been heard of, and is not said goodbye to. */
static void part(struct alk_client *c)
{
    struct alk_events *ev = c->events;

    c->parted = true;
    if (c->greeted) {
        client_log(c, ALK_LOG_DEBUG, "client.close", NULL);
        if (ev->on_disconnect)
            ev->on_disconnect(c, c->code, ev->ud);
        channel_count(ev->seat, --ev->count);
    }
    unlist(c);
    client_abort_calls(c);
    finish_event(c);
    drop_waiting(c);
}

/* The stream is gone, so nothing comes from below any more. The application may have more
 * references. */
static void release(struct alk_client *c)
{
    struct gate_conn *conn = c->conn;

    c->events = NULL;
    c->conn = NULL;
    list_del(&c->task.link);
    node_session_give(c->d->node);
    gate_conn_fini(conn);
    alk_client_unref(c);
}

/* While draining: one of which nothing runs any more is closed. Others are when their last call or
 * event has ended. */
static void rest(struct alk_client *c)
{
    if (!c->d->draining || c->code || c->current || c->call_count || !list_empty(&c->waiting))
        return;
    ws_close(c->ws, WS_GOING_AWAY, fault_shutdown.message);
    over(c, WS_GOING_AWAY);
}

/* The one task of a client: whatever is due, from the top, so that the order holds whatever came
 * first. Handlers run here and nowhere else; they may end the client, drop it, or post this task
 * again, hence the reference.
 *
 * The socket is read again at half of what stopped it, so that it does not change its mind with
 * each event. */
static void step(struct task *t)
{
    struct alk_client *c = container_of(t, struct alk_client, task);

    alk_client_ref(c);
    if (!c->greeted && !c->code)
        greet(c);
    while (c->greeted && !c->current && !list_empty(&c->waiting))
        handle_next(c);
    if (c->ws && c->waiting_count <= WAITING_MAX / 2 && c->waiting_bytes <= WAITING_BYTES / 2)
        ws_hold(c->ws, false);
    rest(c);
    if (c->code && !c->parted)
        part(c);
    if (!c->ws)
        release(c);
    alk_client_unref(c);
}

/* From inside the handler it is only noted: the handler's message must not be freed under it. */
int alk_client_next(alk_client *c)
{
    if (c->code)
        return ALK_ECLOSED;
    if (!c->current || c->next)
        return ALK_EINVAL;
    if (c->handling) {
        c->next = true;
        return ALK_OK;
    }
    finish_event(c);
    task_post(&c->d->schedule, &c->task);
    return ALK_OK;
}

/* ---- the engine's application ---------------------------------------------------------------- */

/* NULL: not an event that somebody handles, or no memory for it. Both are passed over: the protocol
 * has no answer to an event, so there is nobody to tell. Only data is kept as the value, so a
 * handler sees no name but its own. */
static struct event *read_event(struct alk_client *c, struct msg *m)
{
    yyjson_val *data = yyjson_obj_get(m->value.val, "data");
    size_t len;
    const char *name = json_str(m->value.val, "event", &len);
    struct map_node *n = name ? map_find(&c->events->handlers, name, len) : NULL;
    struct event *e = n ? arena_zalloc(&m->arena, sizeof *e) : NULL;

    if (!e)
        return NULL;
    m->value.val = data ? data : (yyjson_val *)&value_null;
    e->msg = m;
    e->handler = container_of(n, struct event_handler, node);
    list_init(&e->link);
    return e;
}

/* From the engine: only queued. A binary message, or one that is no JSON, is passed over as an
 * unknown event is; what there is no room for in the budget comes again, and for want of memory the
 * client ends, which would otherwise miss an event without a trace.
 *
 * The message is counted by its bytes on the wire, which is what the sender knows. */
static int on_message(struct ws *w, bool text, const char *data, size_t len, void *ud)
{
    struct alk_client *c = ud;
    struct msg *m = text ? msg_new(&c->d->messages, c->payer) : NULL;
    struct event *e = NULL;
    int rc = text && !m ? ALK_ENOMEM : m ? msg_parse(m, data, len, NULL) : ALK_EJSON;

    if (rc == ALK_ELIMIT && m->arena.refused) {
        msg_free(m);
        return ALK_EAGAIN;
    }
    COUNT(c->d, ws_messages_in);
    if (!rc)
        e = read_event(c, m);
    if (!e) {
        if (m)
            msg_free(m);
        if (rc == ALK_ENOMEM)
            client_evict(c, "out of memory for a message");
        else
            COUNT(c->d, discarded);
        return 0;
    }
    e->bytes = len;
    list_push(&c->waiting, &e->link);
    c->waiting_count++;
    c->waiting_bytes += len;
    if (c->waiting_count >= WAITING_MAX || c->waiting_bytes >= WAITING_BYTES)
        ws_hold(w, true);
    if (!c->current)
        task_post(&c->d->schedule, &c->task);
    return 0;
}

/* Nobody waits for room: a client that does not read is evicted, not held back (see behind, in
 * event_client.c). */
static void on_writable(struct ws *w, void *ud)
{
    (void)w;
    (void)ud;
}

static void on_drain(struct ws *w, void *ud)
{
    (void)w;
    rest(ud);
}

/* The engine cuts by itself who takes nothing of what is unsent: that is an eviction as well. */
static void on_close(struct ws *w, int code, struct str reason, void *ud)
{
    struct alk_client *c = ud;

    (void)w;
    (void)reason;
    if (ws_stalled(c->ws)) {
        COUNT(c->d, ws_evictions);
        client_log(c, ALK_LOG_WARN, "client.evicted", NULL);
    }
    over(c, code);
}

/* conn->engine would dangle: what is measured of the connection is nothing from here on. */
static void on_fini(void *ud)
{
    struct alk_client *c = ud;

    c->ws = NULL;
    c->conn->engine = NULL;
    task_post(&c->d->schedule, &c->task);
}

static const struct ws_app app = {.on_message = on_message,
                                  .on_writable = on_writable,
                                  .on_drain = on_drain,
                                  .on_close = on_close,
                                  .fini = on_fini};

/* ---- upgrades -------------------------------------------------------------------------------- */

/* Not to go on: whoever it was is nobody now, or somebody else. */
static void on_revoked(struct watcher *w, bool gone)
{
    struct alk_client *c = container_of(w, struct alk_client, on_by);

    if (!gone || c->code)
        return;
    client_log(c, ALK_LOG_WARN, "client.revoked", "its token no longer resolves");
    client_end(c, WS_POLICY, "the credential no longer resolves");
}

/* NULL: out of memory. Everything is made before the upgrade is granted: behind it there is no
 * status left in which to say no. */
static struct alk_client *client_new(struct alk_events *ev, struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    struct alk_client *c = mem_zalloc(&g->d->mem, sizeof *c);

    if (!c)
        return NULL;
    g->d->refs++;
    c->d = g->d;
    c->refs = 1;
    list_init(&c->link);
    list_init(&c->waiting);
    list_init(&c->calls);
    task_init(&c->task, step);
    dispatcher_id(g->d, c->id);
    memcpy(c->trace, r->trace, sizeof c->trace);
    memcpy(c->remote, r->client, sizeof c->remote);
    list_init(&c->on_by.link);
    c->payer = account_ref(r->payer);
    c->by_id.key = c->id;
    c->by_id.len = ID_SIZE - 1;
    c->tenant = ws_tenant(r, &g->d->mem);
    c->ws = ws_new(&g->mem, &g->ws_pool, false, &app, c, &ev->limits[r->by != NULL], g->d->now);
    if (!c->ws)
        goto fail;
    ws_charge(c->ws, &c->payer->meter);
    if (map_add(&ev->clients, &c->by_id)) {
        ws_discard(c->ws);
        c->ws = NULL;
        goto fail;
    }
    c->events = ev;
    c->conn = r->stream;
    if (r->by) {
        c->by = credential_ref(r->by);
        c->on_by.changed = on_revoked;
        credential_watch(c->by, &c->on_by);
    }
    list_push(&ev->all, &c->link);
    return c;
fail:
    alk_client_unref(c);
    return NULL;
}

/* Undoes client_new, for an upgrade that was not granted: nobody has heard of the client. */
static void client_abandon(struct alk_client *c)
{
    unlist(c);
    ws_discard(c->ws);
    c->ws = NULL;
    c->events = NULL;
    alk_client_unref(c);
}

/* The connection, whose requests are over, forgets its credential: the client has it. */
static void serve_events(struct alk_request *r)
{
    struct alk_client *c;

    if (!ws_admit(r))
        return;
    c = client_new(r->route->ud, r);
    if (!c) {
        ws_dismiss(r);
        reply_error(r, 503, "no more sessions are taken");
        return;
    }
    if (!ws_grant(r, ws_engine(c->ws))) {
        client_abandon(c);
        ws_dismiss(r);
        return;
    }
    c->conn->engine = ws_engine(c->ws);
    gate_forget_token(c->conn);
    task_post(&c->d->schedule, &c->task);
}

/* ---- gateways -------------------------------------------------------------------------------- */

/* Engines read them through a pointer: a new limit holds from the next message on, also for clients
 * that are here. */
void events_limits(struct alk_gateway *g)
{
    uint32_t anonymous = LIMIT(g->d->node, anonymous_bytes);

    list_each(l, &g->events)
    {
        struct alk_events *ev = container_of(l, struct alk_events, link);

        ev->limits[1] = g->ws_limits;
        if (ev->message_bytes)
            ev->limits[1].message_bytes = ev->message_bytes;
        ev->limits[0] = ev->limits[1];
        if (ev->limits[0].message_bytes > anonymous)
            ev->limits[0].message_bytes = anonymous;
    }
}

static const struct abi abi_events_options = ABI_PLAIN(alk_events_options, ud);

int alk_gateway_add_events(alk_events **out, alk_gateway *g, const alk_events_options *o)
{
    struct route route = {
        .method = STR("GET"), .serve = serve_events, .protocol = WS_EVENTS_PROTOCOL};
    alk_events_options own;
    struct alk_events *ev;
    int rc;

    *out = NULL;
    o = node_take(g->d->node, &abi_events_options, &own, o);
    if (!o)
        return ALK_EINVAL;
    ev = mem_zalloc(&g->mem, sizeof *ev);
    if (!ev)
        return ALK_ENOMEM;
    route.path = str_of(o->path);
    route.authenticated = o->authenticated != 0;
    route.ud = ev;
    /* A path that cannot be one is for route_add to refuse. */
    if (o->path)
        ev->seat = channel_join(&g->d->node->channels, route.path, g->d->port, events_notice, ev);
    rc = o->path && !ev->seat ? ALK_ENOMEM : route_add(g, &route);
    if (rc) {
        if (ev->seat)
            channel_leave(ev->seat);
        mem_free(&g->mem, ev);
        return rc;
    }
    ev->g = g;
    map_init(&ev->handlers, &g->mem, g->d->node->seed);
    map_init(&ev->clients, &g->mem, g->d->node->seed);
    list_init(&ev->all);
    ev->message_bytes = o->message_bytes;
    ev->queue_bytes = o->queue_bytes;
    ev->on_connect = o->on_connect;
    ev->on_disconnect = o->on_disconnect;
    ev->ud = o->ud;
    list_push(&g->events, &ev->link);
    events_limits(g);
    *out = ev;
    return ALK_OK;
}

/* Before the first server, like a route: no lock and no copy is needed to find a handler. */
int alk_events_on(alk_events *ev, const char *event, alk_event_handler fn, void *ud)
{
    struct event_handler *h;
    size_t len = event ? strlen(event) : 0;

    if (!len || !fn || ev->g->service.files)
        return ALK_EINVAL;
    if (map_find(&ev->handlers, event, len))
        return ALK_EEXIST;
    h = arena_zalloc(&ev->g->arena, sizeof *h);
    if (!h)
        return ALK_ENOMEM;
    h->fn = fn;
    h->ud = ud;
    h->node.len = len;
    h->node.key = arena_dup(&ev->g->arena, event, len);
    return h->node.key && !map_add(&ev->handlers, &h->node) ? ALK_OK : ALK_ENOMEM;
}

/* The clients have gone with their connections. Handlers are in the gateway's arena, only the maps'
 * tables are not. */
void events_free(struct alk_gateway *g)
{
    while (!list_empty(&g->events)) {
        struct alk_events *ev = container_of(g->events.next, struct alk_events, link);
        struct map_node *n;

        assert(list_empty(&ev->all));
        channel_leave(ev->seat);
        while ((n = map_any(&ev->handlers)))
            map_del(&ev->handlers, n);
        map_fini(&ev->handlers);
        map_fini(&ev->clients);
        list_del(&ev->link);
        mem_free(&g->mem, ev);
    }
}
