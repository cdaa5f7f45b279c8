/* Implements connection.h: the life of a connection, what it sends, and the calls that it holds.
 * What comes in is inbound.c's, what we call outgoing.c's, and whom it makes a peer attach.c's.
 *
 * Where an answer or an abort cannot be sent for want of memory, the connection is shut. The other
 * side would wait for ever for what is missing, or work for nobody; a connection that has ended
 * tells it all at once. */
#include "core/connection.h"

#include "base/utf8.h"
#include "core/call_streams.h"
#include "core/envelope.h"
#include "core/overlay.h"

#include <assert.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------------ */

const struct abi abi_connection_options = ABI_PLAIN(alk_connection_options, session);
static const struct abi abi_link = ABI_PLAIN(alk_link, ud);

/* Options are the caller's, and often on its stack. */
static bool copy_option(struct mem *mem, char **out, const char *s)
{
    *out = s ? mem_dup(mem, s, strlen(s)) : NULL;
    return !s || *out;
}

/* Tokens must not stay in freed memory, where a later overread would find them. */
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
    e.identity = c->by ? c->by->who->id.p : NULL;
    node_log(c->d->node, &e);
}

/* The last reference has gone, so it is shut and buried, or was never opened: nothing lists it,
 * and no call holds it. */
static void destroy(alk_connection *c)
{
    struct mem *mem = &c->d->mem;
    struct alk_dispatcher *d = c->d;

    /* Calls that waited for an import have ended, and may not have been told yet: their on_end
     * takes them out of a list whose head goes now. */
    while (!list_empty(&c->announced))
        list_del(c->announced.next);
    assert(list_empty(&c->all) && list_empty(&c->backlog) && list_empty(&c->queue.dirty) &&
           !c->peer && !c->import && !timer_is_set(&c->import_timer));
    memory_trim(&c->early, UINT64_MAX, 0);
    memory_trim(&c->resolved, UINT64_MAX, 0);
    map_fini(&c->early.map);
    map_fini(&c->resolved.map);
    map_fini(&c->pending);
    map_fini(&c->running);
    map_fini(&c->streams);
    origins_fini(&c->origins);
    queue_fini(&c->queue);
    line_unref(c->line);
    overlay_unref(c->imported);
    overlay_unref(c->registered);
    alk_registry_unref(c->session);
    assert(list_empty(&c->on_by.link));
    credential_unref(c->by);
    credential_unref(c->request_by);
    account_unref(c->account);
    free_secret(mem, c->token);
    mem_free(mem, c->import_prefix);
    mem_free(mem, c->import_filter);
    mem_free(mem, c->remote);
    mem_free(mem, c->why);
    if (c->counted)
        node_connection_give(d->node);
    mem_free(mem, c);
    dispatcher_unref(d);
}

/* Nothing in here can fail, so that destroy may follow at any moment behind it. */
static void init(alk_connection *c, alk_dispatcher *d, const alk_link *link,
                 const alk_connection_options *o, struct credential *by)
{
    d->refs++;
    c->d = d;
    c->refs = 2; /* the dispatcher's and the caller's */
    /* Open. A code of 0 is ALK_CLOSE_SHUTDOWN. */
    c->closing = -1;
    c->queue.all_dirty = &d->dirty;
    c->queue.mem = &d->mem;
    c->queue.spare = &d->spare_out;
    c->queue.node = d->node;
    c->queue.link = *link;
    c->queue.message_bytes = o->message_bytes;
    queue_init(&c->queue);
    list_init(&c->all);
    list_init(&c->backlog);
    list_init(&c->announced);
    map_init(&c->pending, &d->mem, d->node->seed);
    map_init(&c->running, &d->mem, d->node->seed);
    map_init(&c->streams, &d->mem, d->node->seed);
    origins_init(&c->origins, &d->mem, d->node->seed);
    memory_init(&c->early, &d->mem, d->node->seed);
    memory_init(&c->resolved, &d->mem, d->node->seed);
    heap_node_init(&c->import_timer.node);
    c->session = o->session ? alk_registry_ref(o->session) : NULL;
    list_init(&c->on_by.link);
    c->on_by.changed = connection_recheck;
    c->by = by ? credential_ref(by) : NULL;
    c->websocket = o->websocket != 0;
    c->no_auto_import = o->no_auto_import != 0;
}

/* Without identity, its address pays; who has no address either, shares one account with others
 * like that. */
static struct account *payer(alk_connection *c)
{
    char key[ADDRESS_MAX_BYTES];
    size_t n = address_key(c->remote ? c->remote : "", key);

    return c->by ? account_ref(c->by->account)
                 : account_get(&c->d->accounts, false, (struct str){key, n});
}

int connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                    const alk_connection_options *o, struct credential *by)
{
    alk_link own_link;
    alk_connection *c;

    *out = NULL;
    /* There is no link by default. */
    link = link ? node_take(d->node, &abi_link, &own_link, link) : NULL;
    if (!link)
        return ALK_EINVAL;
    /* A connection that opened now would be closed by its first call. */
    if (d->draining)
        return ALK_ECLOSED;
    c = mem_zalloc(&d->mem, sizeof *c);
    if (!c)
        return ALK_ENOMEM;
    init(c, d, link, o, by);
    if (!copy_option(&d->mem, &c->token, o->token) ||
        !copy_option(&d->mem, &c->remote, o->remote) ||
        !copy_option(&d->mem, &c->import_prefix, o->namespace_prefix) ||
        !copy_option(&d->mem, &c->import_filter, o->operation_filter) || !(c->account = payer(c))) {
        destroy(c);
        return ALK_ENOMEM;
    }
    c->queue.meter = &c->account->meter;
    /* Last, so that what fails before it has nothing to give back. */
    c->counted = node_connection_take(d->node);
    if (!c->counted) {
        destroy(c);
        return ALK_ELIMIT;
    }
    if (by)
        credential_watch(by, &c->on_by);
    /* Not a peer yet: see attach.c. */
    list_push(&d->connections, &c->all);
    d->stats.connections++;
    COUNT(d, connections);
    connection_log(c, ALK_LOG_DEBUG, "connection.open", NULL);
    *out = c;
    return ALK_OK;
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
    return credential_identity(c->by);
}

const char *connection_remote(const alk_connection *c)
{
    return c->remote;
}

/* The first step of a connection's death; it is safe from anywhere, also from within a call's
 * sink. The first code stays: what follows is a consequence of it.
 *
 * `closing` is set before anything else, so that calls which end here send no answers and no
 * aborts. Ending one call can end others of the list, so the first is taken again and again. The
 * remote's calls go first: their children may be our calls on this very connection, and end with
 * them as aborted. Then nothing finds the connection any more: no peer, no timer, no import. The
 * link itself is left alone until the turn, since its own code may be what called us. */
void connection_shut(alk_connection *c, int code, const char *why)
{
    struct map_node *n;

    if (c->closing >= 0)
        return;
    c->closing = code;
    if (why)
        c->why = mem_dup(&c->d->mem, why, utf8_cut(why, strlen(why), CLOSE_WHY_MAX));
    while ((n = map_any(&c->running)))
        call_end(container_of(n, alk_call, by_id), ALK_END_CLOSED, NULL);
    while ((n = map_any(&c->pending)))
        call_end(container_of(n, alk_call, by_id), ALK_END_FAULT, &fault_closed);
    if (c->line)
        line_shut(c->line);
    connection_detach(c);
    list_del(&c->on_by.link);
    list_del(&c->backlog);
    timer_clear(&c->d->schedule, &c->import_timer);
    connection_log(c, why ? ALK_LOG_WARN : ALK_LOG_DEBUG, "connection.close", why);
    queue_wake(&c->queue);
}

const char *connection_why(const alk_connection *c)
{
    return c->why ? c->why : c->d->draining ? fault_shutdown.message : "";
}

void alk_connection_close(alk_connection *c, int code)
{
    connection_shut(c, code, NULL);
}

/* There is nobody to whom a code could be told. */
void alk_connection_lost(alk_connection *c)
{
    c->queue.lost = true;
    connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
}

/* The second step, from the turn, or when the dispatcher goes. close is the last call on the
 * link, which may free what its ud points to. Whoever holds the handle keeps the memory and no
 * more. */
static void bury(alk_connection *c)
{
    if (c->ended)
        return;
    c->ended = true;
    list_del(&c->all);
    c->d->stats.connections--;
    COUNT(c->d, connections_closed);
    if (!c->queue.lost)
        c->queue.link.close(c->queue.link.ud, c->closing);
    alk_connection_unref(c);
}

void connection_abandon(alk_connection *c)
{
    c->queue.lost = true;
    connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
    list_del(&c->queue.dirty);
    bury(c);
    alk_connection_unref(c);
}

/* The dispatcher goes, and with it the turn that would bury them. Each is taken out of the list by
 * bury. */
void connections_close_all(struct alk_dispatcher *d)
{
    while (!list_empty(&d->connections)) {
        alk_connection *c = container_of(d->connections.next, alk_connection, all);

        connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
        list_del(&c->queue.dirty);
        bury(c);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

static void has_room(struct list *waiting)
{
    call_make_room(container_of(waiting, alk_call, waiting));
}

/* Each call by its own stream: one that is held back by a slow subscription of another stream must
 * not wait for that. */
bool connection_await(alk_connection *c, alk_call *call)
{
    return !list_empty(&call->waiting) || queue_await(&c->queue, call->stream, &call->waiting);
}

/* The link has a turn of the loop to pass on what came at once; then who does not read is cut. A
 * handler that emits much in one go says nothing about the remote. One that does not read would
 * hold memory of the node for as long as it likes. */
static void check_queue(alk_connection *c)
{
    int state = queue_state(&c->queue, c->d->turns);

    if (state != QUEUE_EMPTY && list_empty(&c->backlog))
        list_push(&c->d->backlog, &c->backlog);
    if (state == QUEUE_OVER) {
        queue_wake(&c->queue);
    } else if (state == QUEUE_FULL) {
        COUNT(c->d, slow_consumers);
        if (c->websocket)
            COUNT(c->d, ws_evictions);
        connection_shut(c, ALK_CLOSE_LIMIT, "the remote does not read");
    }
}

/* Once a second, and of those alone that may have something queued: to keep a sum up to date at
 * every write would cost each message more than anybody gains. The sum is read by other threads. */
void connections_sample(struct alk_dispatcher *d)
{
    uint64_t sum = 0;

    list_each_safe(l, &d->backlog)
    {
        size_t bytes = queue_total(&container_of(l, alk_connection, backlog)->queue);

        if (!bytes)
            list_del(l);
        sum += bytes;
    }
    d->sampled_at = d->now;
    __atomic_store_n(&d->counts.queued, sum, __ATOMIC_RELAXED);
}

/* Also what is closing sends what it has: the fault that says why stands in front of the close. */
static void flush(alk_connection *c)
{
    int rc;

    if (!c->queue.lost && !c->ended) {
        rc = queue_send(&c->queue);
        if (rc && rc != ALK_EAGAIN)
            connection_shut(c, ALK_CLOSE_SHUTDOWN, "the link failed");
        else if (c->closing < 0)
            check_queue(c);
    }
    if (c->closing >= 0) {
        bury(c);
        return;
    }
    if (!list_empty(&c->queue.due))
        queue_room(&c->queue, LIMIT(c->d->node, queue_high) / 2, has_room);
}

/* Sending runs the link's code, which may lose the connection or drop the last handle of it: so it
 * is held meanwhile, and the list is taken from the front. */
void connections_flush(struct alk_dispatcher *d)
{
    struct list now;

    list_init(&now);
    list_splice(&now, &d->dirty);
    while (!list_empty(&now)) {
        alk_connection *c = container_of(now.next, alk_connection, queue.dirty);

        list_del(&c->queue.dirty);
        alk_connection_ref(c);
        flush(c);
        /* What was queued meanwhile, also by the link itself, is for the next round. */
        if (c->ended)
            list_del(&c->queue.dirty);
        else if (c->closing >= 0)
            queue_wake(&c->queue);
        alk_connection_unref(c);
    }
}

void alk_connection_writable(alk_connection *c)
{
    if (c->closing < 0)
        queue_writable(&c->queue);
}

/* ---- calls come and go ----------------------------------------------------------------------- */

/* Asked by a call that is listed already, so that as many as the limit may run. */
bool connection_may_run(const alk_connection *c)
{
    return c->running.count <= LIMIT(c->d->node, connection_calls);
}

bool connection_has_room(const alk_connection *c)
{
    return !c->small.paid || account_has_room(c->account, 0);
}

/* Both directions: a remote that still works for us is waited for. */
static void rest(alk_connection *c)
{
    if (!c->running.count && !c->pending.count)
        connection_shut(c, ALK_CLOSE_SHUTDOWN, NULL);
}

void connections_rest(alk_dispatcher *d)
{
    list_each_safe(l, &d->connections) rest(container_of(l, alk_connection, all));
}

static void give_origin(alk_connection *c, alk_call *call)
{
    if (call->origin)
        origins_give(&c->origins, call->origin);
    call->origin = NULL;
}

void connection_tell_pending(const alk_connection *c)
{
    if (c->peer)
        __atomic_store_n(&c->peer->pending, (uint32_t)c->pending.count, __ATOMIC_RELAXED);
}

/* The map gives its memory back when it is empty, so an idle connection has none. */
static void unlist(alk_call *call)
{
    alk_connection *c = call->conn;

    meter_add(&c->small, &c->account->meter, call->small, 0);
    call->small = 0;
    map_del(call->kind == CALL_OUTGOING ? &c->pending : &c->running, &call->by_id);
    if (call->kind == CALL_OUTGOING)
        connection_tell_pending(c);
    /* Behind what the call still says on it: that is queued before anything is sent. */
    if (call_stream_leave(&c->streams, call) && c->closing < 0)
        queue_finish(&c->queue, call->stream);
    give_origin(c, call);
}

/* Our side of a stream that a single result has for itself is ended with the request. */
static uint64_t abort_stream(const alk_call *call)
{
    return call->own_stream && call->want == WANT_SINGLE ? 0 : call->stream;
}

/* The end is on its way, so nothing needs the connection any more. A stream that is held back is
 * let go first, or the link would never read its end. In a drain the last call closes the
 * connection; a refused one does not, since the remote may have sent more, and each of them gets
 * its BUSY. A remote that still works for us is told to stop. */
static void leave(alk_call *call)
{
    alk_connection *c = call->conn;
    bool remote_works = call->kind == CALL_OUTGOING && !call->remote_done;

    if (call->held_back)
        call->carrier->hold_back(call, false);
    list_del(&call->waiting); /* of c, which may be gone before the call has been told */
    call->conn = NULL;
    call->carrier = NULL;
    if (c->d->draining && !call->refused)
        rest(c);
    if (remote_works && c->closing < 0 && envelope_aborted(&c->queue, abort_stream(call), call->id))
        connection_shut(c, ALK_CLOSE_LIMIT, "out of memory for an abort");
    alk_connection_unref(c);
}

/* A link that is about to be closed is asked for nothing. */
static void hold_back(alk_call *call, bool yes)
{
    const alk_connection *c = call->conn;

    call->held_back = yes;
    if (c->closing < 0)
        c->queue.link.pause(c->queue.link.ud, call->stream, yes);
}

/* The key is the call's own memory, so it lives as long as the call is listed. */
static bool carry(alk_connection *c, alk_call *call, struct map *calls)
{
    static const struct call_carrier carrier = {unlist, leave, hold_back};

    assert(c->closing < 0);
    call->by_id.key = call->id.p;
    call->by_id.len = call->id.n;
    if (map_add(calls, &call->by_id))
        return false;
    call->conn = alk_connection_ref(c);
    call->carrier = &carrier;
    if (!c->queue.link.idle || call_stream_join(&c->streams, call))
        return true;
    map_del(calls, &call->by_id);
    call->conn = NULL;
    call->carrier = NULL;
    alk_connection_unref(c);
    return false;
}

bool connection_list(alk_connection *c, alk_call *call)
{
    size_t bytes = call->msg->arena.bytes;

    if (!carry(c, call, &c->running))
        return false;
    call->small = (uint16_t)(bytes < METER_MIN ? bytes : 0);
    meter_add(&c->small, &c->account->meter, 0, call->small);
    return true;
}

bool connection_list_outgoing(alk_connection *c, alk_call *call)
{
    if (call->msg->payer && !(call->origin = origins_take(&c->origins, call->msg->payer)))
        return false;
    if (carry(c, call, &c->pending)) {
        connection_tell_pending(c);
        return true;
    }
    give_origin(c, call);
    return false;
}

static void stream_ended(alk_connection *c, uint64_t stream)
{
    struct call_stream *s = call_stream_find(&c->streams, stream);

    if (c->closing >= 0)
        return;
    if (s)
        s->ended = true;
    else
        queue_finish(&c->queue, stream);
}

/* By the stream's end, and not by the remote's word for it. */
static void lose(alk_call *call)
{
    static const alk_fault reset = {
        .size = sizeof reset, .code = ALK_INTERNAL, .message = "the stream was reset"};
    bool begun = call->state > CALL_QUEUED;

    if (call->kind == CALL_OUTGOING) {
        call->remote_done = true;
        call_end(call, ALK_END_FAULT, &reset);
        return;
    }
    call_end(call, ALK_END_ABORTED, NULL);
    if (!begun)
        call_done(call);
}

/* Ending one may end others, and the last takes the record with it: so it is found anew. */
static void stream_lost(alk_connection *c, uint64_t stream)
{
    struct call_stream *s;

    while (c->closing < 0 && (s = call_stream_find(&c->streams, stream)))
        lose(container_of(s->calls.next, alk_call, of_stream));
}

void alk_connection_stream_end(alk_connection *c, uint64_t stream, int lost)
{
    if (lost)
        stream_lost(c, stream);
    else
        stream_ended(c, stream);
}

/* Not by `leave`, which would abort at the remote what it has never heard of. */
void connection_forget(alk_call *call)
{
    alk_connection *c = call->conn;

    unlist(call);
    call->conn = NULL;
    call->carrier = NULL;
    alk_connection_unref(c);
}
