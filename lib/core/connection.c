/* Implements connection.h: the life of a connection, its queues, and the calls that it holds. What comes in is inbound.c's. */
#include "core/connection.h"

#include "core/envelope.h"
#include "core/overlay.h"
#include "core/peers.h"

#include <assert.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------- */

static const alk_connection_options options_defaults = {.size = sizeof(alk_connection_options)};
static const struct abi abi_connection_options =
    ABI(alk_connection_options, session, &options_defaults);
static const struct abi abi_link = ABI_PLAIN(alk_link, ud);

void alk_connection_options_init(alk_connection_options *o, size_t size)
{
    abi_fill(&abi_connection_options, o, size, &options_defaults);
}

static bool copy_option(struct mem *mem, char **out, const char *s)
{
    *out = s ? mem_dup(mem, s, strlen(s)) : NULL;
    return !s || *out;
}

static void free_secret(struct mem *mem, char *s)
{
    if (s)
        mem_wipe(s, strlen(s));
    mem_free(mem, s);
}

void connection_log(const alk_connection *c, uint32_t level, const char *event, const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = level, .event = event, .message = what};

    e.remote = c->remote;
    e.identity = c->identity ? c->identity->id.p : NULL;
    node_log(c->d->node, &e);
}

static void destroy(alk_connection *c)
{
    struct mem *mem = &c->d->mem;
    struct alk_dispatcher *d = c->d;

    /* Calls that waited for an import have ended, and may not have been told yet. */
    while (!list_empty(&c->announced))
        list_del(c->announced.next);
    memory_trim(&c->early, UINT64_MAX, 0);
    memory_trim(&c->resolved, UINT64_MAX, 0);
    map_fini(&c->early.map);
    map_fini(&c->resolved.map);
    map_fini(&c->pending);
    map_fini(&c->running);
    queue_free(c);
    overlay_unref(c->imported);
    overlay_unref(c->registered);
    alk_registry_unref(c->session);
    alk_identity_unref(c->identity);
    free_secret(mem, c->token);
    free_secret(mem, c->by_token);
    mem_free(mem, c->by_fingerprint);
    mem_free(mem, c->import_prefix);
    mem_free(mem, c->import_filter);
    mem_free(mem, c->remote);
    if (c->counted)
        node_connection_give(d->node);
    mem_free(mem, c);
    dispatcher_unref(d);
}

int alk_connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                        const alk_connection_options *o)
{
    alk_connection_options own_options;
    alk_link own_link;
    alk_connection *c;
    int rc = ALK_ENOMEM;

    *out = NULL;
    o = node_take(d->node, &abi_connection_options, &own_options, o);
    link = node_take(d->node, &abi_link, &own_link, link);
    if (!o || !link)
        return ALK_EINVAL;
    if (d->draining)
        return ALK_ECLOSED;
    c = mem_zalloc(&d->mem, sizeof *c);
    if (!c)
        return ALK_ENOMEM;
    d->refs++;
    c->d = d;
    c->refs = 2; /* the dispatcher's and the caller's */
    c->closing = -1;
    c->link = *link;
    list_init(&c->all);
    list_init(&c->dirty);
    list_init(&c->backlog);
    list_init(&c->streams);
    list_init(&c->shared.link);
    buf_init(&c->shared.out, &d->mem);
    list_init(&c->waiting);
    map_init(&c->pending, &d->mem, d->node->seed);
    map_init(&c->running, &d->mem, d->node->seed);
    memory_init(&c->early, &d->mem, d->node->seed);
    memory_init(&c->resolved, &d->mem, d->node->seed);
    c->kind = o->kind;
    list_init(&c->of_peer);
    list_init(&c->announced);
    timer_init(&c->import_timer, import_due);
    c->session = o->session ? alk_registry_ref(o->session) : NULL;
    c->identity = o->identity ? alk_identity_ref(o->identity) : NULL;
    c->message_bytes = o->message_bytes;
    if (!copy_option(&d->mem, &c->token, o->token) ||
        !copy_option(&d->mem, &c->remote, o->remote) ||
        !copy_option(&d->mem, &c->by_token, o->by_token) ||
        !copy_option(&d->mem, &c->by_fingerprint, o->by_fingerprint) ||
        !copy_option(&d->mem, &c->import_prefix, o->namespace_prefix) ||
        !copy_option(&d->mem, &c->import_filter, o->operation_filter))
        goto fail;
    rc = ALK_ELIMIT;
    c->counted = node_connection_take(d->node);
    if (!c->counted)
        goto fail;
    c->websocket = o->websocket != 0;
    c->no_auto_import = o->no_auto_import != 0;
    if (!peers_attach(c)) {
        rc = ALK_ENOMEM;
        goto fail;
    }
    list_push(&d->connections, &c->all);
    d->stats.connections++;
    COUNT(d, connections);
    connection_log(c, ALK_LOG_DEBUG, "connection.open", NULL);
    *out = c;
    return ALK_OK;
fail:
    destroy(c);
    return rc;
}

alk_connection *alk_connection_ref(alk_connection *c)
{
    c->refs++;
    return c;
}

void alk_connection_unref(alk_connection *c)
{
    if (c && --c->refs == 0)
        destroy(c);
}

const alk_identity *alk_connection_identity(const alk_connection *c)
{
    return c->identity;
}

const char *connection_remote(const alk_connection *c)
{
    return c->remote;
}

static void make_dirty(alk_connection *c)
{
    if (list_empty(&c->dirty))
        list_push(&c->d->dirty, &c->dirty);
}

void connection_shut(alk_connection *c, int code, const char *why)
{
    struct map_node *n;

    if (c->closing >= 0)
        return;
    c->closing = code;
    while ((n = map_any(&c->running)))
        call_end(container_of(n, alk_call, by_id), ALK_END_CLOSED, NULL);
    while ((n = map_any(&c->pending)))
        call_end(container_of(n, alk_call, by_id), ALK_END_FAULT, &fault_closed);
    peers_detach(c);
    list_del(&c->backlog);
    timer_clear(&c->d->schedule, &c->import_timer);
    connection_log(c, why ? ALK_LOG_WARN : ALK_LOG_DEBUG, "connection.close", why);
    make_dirty(c);
}

void alk_connection_close(alk_connection *c, int code)
{
    connection_shut(c, code, NULL);
}

void alk_connection_lost(alk_connection *c)
{
    c->lost = true;
    connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
}

static void bury(alk_connection *c)
{
    if (c->ended)
        return;
    c->ended = true;
    list_del(&c->all);
    c->d->stats.connections--;
    COUNT(c->d, connections_closed);
    if (!c->lost)
        c->link.close(c->link.ud, c->closing);
    alk_connection_unref(c);
}

void connection_abandon(alk_connection *c)
{
    c->lost = true;
    connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
    list_del(&c->dirty);
    bury(c);
    alk_connection_unref(c);
}

void connections_close_all(struct alk_dispatcher *d)
{
    while (!list_empty(&d->connections)) {
        alk_connection *c = container_of(d->connections.next, alk_connection, all);

        connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
        list_del(&c->dirty);
        bury(c);
    }
}

static void change_kind(alk_connection *c, uint32_t kind)
{
    c->kind = kind;
    peers_detach(c);
    /* Out of memory, it is a peer again at its next connection. */
    peers_attach(c);
}

void connections_recheck(struct alk_dispatcher *d)
{
    const alk_identity_provider *p = &d->node->identities;

    list_each(l, &d->connections)
    {
        alk_connection *c = container_of(l, alk_connection, all);
        alk_identity *now = NULL;
        uint32_t kind;
        bool same;

        if (!c->by_token && !c->by_fingerprint)
            continue;
        kind = (uint32_t)(c->by_token ? p->by_token(p->ud, c->by_token, strlen(c->by_token), &now)
                                      : p->by_fingerprint(p->ud, c->by_fingerprint,
                                                          strlen(c->by_fingerprint), &now));
        same = now && c->identity && !strcmp(now->id.p, c->identity->id.p) &&
               (kind & 0xf) == (c->kind & 0xf);
        if (same) {
            alk_identity_unref(c->identity);
            c->identity = now;
            if (kind != c->kind)
                change_kind(c, kind);
            continue;
        }
        alk_identity_unref(now);
        connection_shut(c, ALK_CLOSE_IDENTITY, "the credential no longer resolves");
    }
}

/* ---- sending ----------------------------------------------------------------------------------- */

size_t connection_queued(const alk_connection *c, uint64_t stream)
{
    size_t ours = queue_bytes(c, stream);

    return c->link.queued ? ours + c->link.queued(c->link.ud, stream) : ours;
}

static void room(alk_connection *c)
{
    size_t low = LIMIT(c->d->node, queue_high) / 2;

    list_each_safe(l, &c->waiting)
    {
        alk_call *call = container_of(l, alk_call, waiting);

        if (connection_queued(c, call->stream) <= low)
            call_room(call);
    }
}

uint32_t connection_message_limit(const alk_connection *c)
{
    return c->message_bytes ? c->message_bytes : LIMIT(c->d->node, frame_bytes);
}

/* The link has a turn of the loop to pass on what came at once; then who does not read is cut. */
static void check_queue(alk_connection *c)
{
    size_t most = queue_most(c);

    if (c->link.queued)
        most += c->link.queued(c->link.ud, 0);
    if (most && list_empty(&c->backlog))
        list_push(&c->d->backlog, &c->backlog);
    if (most <= (size_t)LIMIT(c->d->node, queue_max) + connection_message_limit(c)) {
        c->over_max = 0;
    } else if (!c->over_max || c->over_max == c->d->turns) {
        c->over_max = c->d->turns;
        make_dirty(c);
    } else {
        if (c->websocket)
            COUNT(c->d, ws_evictions);
        connection_shut(c, ALK_CLOSE_LIMIT, "the remote does not read");
    }
}

static void flush(alk_connection *c)
{
    int rc;

    if (!c->lost && !c->ended) {
        rc = queue_send(c);
        if (rc && rc != ALK_EAGAIN)
            connection_shut(c, ALK_CLOSE_SHUTDOWN, "the link failed");
        else if (c->closing < 0)
            check_queue(c);
    }
    if (c->closing >= 0) {
        bury(c);
        return;
    }
    room(c);
}

void connections_flush(struct alk_dispatcher *d)
{
    struct list now;

    list_init(&now);
    list_splice(&now, &d->dirty);
    while (!list_empty(&now)) {
        alk_connection *c = container_of(now.next, alk_connection, dirty);

        list_del(&c->dirty);
        alk_connection_ref(c);
        flush(c);
        /* What was queued meanwhile, also by the link itself, is for the next round. */
        if (c->ended)
            list_del(&c->dirty);
        else if (c->closing >= 0)
            make_dirty(c);
        alk_connection_unref(c);
    }
}

void alk_connection_writable(alk_connection *c)
{
    if (c->closing < 0)
        make_dirty(c);
}

/* ---- calls come and go ------------------------------------------------------------------------- */

bool connection_may_run(const alk_connection *c)
{
    return c->running.count < LIMIT(c->d->node, connection_calls);
}

void connection_unlist(alk_call *call)
{
    if (call->outgoing)
        map_del(&call->conn->pending, &call->by_id);
    else if (!call->refused)
        map_del(&call->conn->running, &call->by_id);
}

static void rest(alk_connection *c)
{
    if (!c->running.count && !c->pending.count)
        connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
}

void connections_rest(struct alk_dispatcher *d)
{
    list_each_safe(l, &d->connections) rest(container_of(l, alk_connection, all));
}

void connection_leave(alk_call *call)
{
    alk_connection *c = call->conn;
    bool works_on = !call->remote_done;

    if (call->held_back)
        connection_hold_back(call, false);
    call->conn = NULL;
    if (c->d->draining && !call->refused)
        rest(c);
    if (call->outgoing && works_on && c->closing < 0 && envelope_aborted(c, call->stream, call->id))
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an abort");
    alk_connection_unref(c);
}
