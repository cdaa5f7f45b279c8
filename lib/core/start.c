/* The one place where a call begins, for every transport. The order is fixed: context, admission,
 * lookup, visibility, access control, operation type, input schema, handler.
 *
 * Admission comes first, since it is cheap: who asks too often must not make the node work. Lookup
 * and visibility are one step: from the wire an internal operation does not exist. It is
 * NOT_FOUND, word for word like a name that nobody has, and never FORBIDDEN; else a stranger could
 * learn what is inside by trying names. Access comes before type and schema, so that the faults of
 * those two tell nothing to who may not call. The schema is last because it costs most, and only
 * who may call can make the node pay for it.
 *
 * Access may have to read the input before the schema has seen it (resource_id_path). So it trusts
 * nothing in there: see owns_named in access.c. */
#include "core/call.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/overlay.h"
#include "core/resolve.h"
#include "schema/schema.h"

#include <string.h>

/* Nodes that a call may pass through. Nodes that import from each other can forward a call in a
 * circle; it ends here, and not only at its deadline. */
#define HOPS_MAX 8u

/* Only for calls from outside. A nested one was let in with its root: what runs may finish while
 * the node drains, and a caller pays once for what it asks, however much that takes. */
static bool admitted(alk_call *c)
{
    struct alk_dispatcher *d = c->d;
    uint32_t rate = LIMIT(d->node, calls_per_second);

    if (d->draining) {
        call_end(c, ALK_END_FAULT, &fault_shutdown);
        return false;
    }
    /* The call is in the connection's list already, so it counts itself. */
    if (c->conn && !connection_may_run(c->conn)) {
        call_end(c, ALK_END_FAULT, &fault_busy);
        return false;
    }
    if (c->conn && !connection_has_room(c->conn)) {
        call_end(c, ALK_END_FAULT, &fault_full);
        return false;
    }
    /* By identity and not by connection, so that more connections do not give more calls. A caller
     * without one has nothing to be counted by; the gateway's limits by address are for those. It
     * stands behind the other two: a call that is refused anyway takes no token. */
    if (rate && c->identity &&
        !rate_take(&d->node->calls, c->identity->id.p, c->identity->id.n, rate, SECOND, d->now)) {
        c->over_rate = true;
        call_end(c, ALK_END_FAULT, &fault_rate);
        return false;
    }
    return true;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A pattern ends with its slash, a name never does: that tells the two apart. "ns/" does not stand
 * for itself, so the name must be longer. */
static bool in_environment(const struct environment *env, struct str name)
{
    for (size_t i = 0; i < env->allowed_count; i++) {
        struct str a = env->allowed[i];

        if (a.p[a.n - 1] == '/' ? name.n > a.n && !memcmp(a.p, name.p, a.n)
                                : name.n == a.n && !memcmp(a.p, name.p, a.n))
            return true;
    }
    return false;
}

/* The next peer to which name is pinned, from *at on. A name may be pinned to several peers; they
 * are tried in the order of the registration. */
static bool next_pin(const struct environment *env, struct str name, size_t *at, struct str *peer)
{
    while (*at < env->pinned_count) {
        struct str p = env->pinned[(*at)++];
        /* A peer's id has no slash, so the first one ends it; registration has seen that there is
         * one. */
        const char *slash = memchr(p.p, '/', p.n);
        size_t id = (size_t)(slash - p.p);

        if (p.n - id == name.n + 1 && !memcmp(slash + 1, name.p, name.n)) {
            *peer = (struct str){p.p, id};
            return true;
        }
    }
    return false;
}

/* The connection that is selected, which may be another dispatcher's, is of that peer. */
static bool is_of(const struct request *rq, struct str peer)
{
    const alk_connection *c = rq->options->connection;

    return rq->line ? line_is_of(rq->line, peer) : c->peer && str_eq(peer_id(c->peer->of), peer);
}

static bool by_connection(const struct request *rq, struct str name, struct target *t)
{
    return rq->line ? line_target(rq->line, name, t)
                    : connection_find(rq->options->connection, name, t);
}

/* A pinned name is reachable on its peers and nowhere else: with the pin the author of the handler
 * has said who may do this work. A local operation, or another peer that happens to serve that
 * name, must not take its place. Selectors narrow the choice and never widen it. A peer that is not
 * connected serves nothing: there is no waiting for it. Of a connection the table's entry counts,
 * which only an attached one has. */
static bool on_pinned_peer(alk_call *c, const struct environment *env, const struct request *rq,
                           struct target *t, bool *pinned)
{
    const alk_call_options *o = rq->options;
    struct str peer;
    size_t at = 0;

    *pinned = false;
    while (next_pin(env, c->name, &at, &peer)) {
        *pinned = true;
        if (o->selector == ALK_SELECT_PEER && !str_is(peer, o->peer))
            continue;
        if (o->selector == ALK_SELECT_CONNECTION && !is_of(rq, peer))
            continue;
        if (o->selector == ALK_SELECT_CONNECTION ? by_connection(rq, c->name, t)
                                                 : peer_find(c->d, peer, c->name, t))
            return true;
    }
    return false;
}

/* The node's own operations win, then those of the session, which the node trusts, then those of
 * remotes. So nobody can put an operation of his in the place of a local one. */
static bool in_layers(alk_call *c, struct target *t)
{
    const struct operation *op;

    if (node_serves(c->d, c->name, t))
        return true;
    op = c->session ? registry_find(c->session, c->name.p, c->name.n) : NULL;
    if (op) {
        *t = (struct target){.op = op, .session = true};
        return true;
    }
    return peers_serve(c->d, c->name, t);
}

/* What the handler's environment does not have looks as if nobody had it, like everything that
 * cannot be reached. Visibility is not looked at: internal operations are there for handlers. */
static bool nested_target(alk_call *c, const struct request *rq, struct target *t)
{
    const alk_call_options *o = rq->options;
    const struct environment *env = c->parent->op->env;
    bool pinned;

    if (!env)
        return false;
    if (on_pinned_peer(c, env, rq, t, &pinned))
        return true;
    if (pinned || !in_environment(env, c->name))
        return false;
    switch (o->selector) {
    case ALK_SELECT_ANY:
        return peers_serve(c->d, c->name, t);
    case ALK_SELECT_PEER:
        return peer_find(c->d, str_of(o->peer), c->name, t);
    case ALK_SELECT_CONNECTION:
        return by_connection(rq, c->name, t);
    default:
        return in_layers(c, t);
    }
}

/* The node's own alone. A remote does not reach what other remotes serve, nor what the session has:
 * only a handler calls those, within its environment, or peers/call by its rules. */
static bool wire_target(alk_call *c, struct target *t)
{
    return node_serves(c->d, c->name, t) && t->op->visibility == ALK_EXTERNAL &&
           c->hops <= HOPS_MAX;
}

/* The one place where a name becomes an operation. A call by peers/call comes with its target,
 * which was found and checked by the rules of the deputy; so does a route that is no operation of
 * the registry. */
static bool resolved(alk_call *c, const struct request *rq)
{
    struct target t = {.op = NULL};

    if (rq->target) {
        t = *rq->target;
        target_hold(&t);
    } else if (!(c->parent ? nested_target(c, rq, &t) : wire_target(c, &t))) {
        call_not_found(c, c->name);
        return false;
    }
    c->op = t.op;
    c->of_session = t.session;
    /* An import may swap the set, and the connection may close, while the call runs. The operation
     * lies in the set's memory; an operation of the registry lives as long as the node. */
    c->via = t.via;
    c->member = t.member;
    c->line = t.line;
    c->far = (t.member && t.member->at != c->d->port) || (t.line && t.line->at != c->d->port) ||
             (t.op->at_home && c->d->node->home != c->d->port);
    c->set = t.set;
    /* Likewise what was discovered: the registry, not the set, since that holds the others too. */
    if (t.discovered)
        c->discovered = alk_registry_ref(t.discovered);
    return true;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* The fault says that access is denied, not which scope is missing: rules are for those who may
 * see them, in services/schema. */
static bool allowed(alk_call *c)
{
    switch (access_check(c->op, c->identity, c->input.val, node_ownership(c->d->node))) {
    case ACCESS_OK:
        return !call_ended(c); /* the ownership provider may have closed its connection */
    case ACCESS_UNAUTHENTICATED:
        call_refuse(c, ALK_FORBIDDEN, "authentication required");
        return false;
    default:
        call_refuse(c, ALK_FORBIDDEN, "not allowed to call %s", op_name(c->op).p);
        return false;
    }
}

/* An envelope does not say whether its sender wants one result or many (WANT_ANY). HTTP routes and
 * callers in this process do, and could not handle the other kind. */
static bool type_fits(alk_call *c)
{
    bool stream = c->op->type == ALK_SUBSCRIPTION;

    if (c->want == WANT_ANY || stream == (c->want == WANT_STREAM))
        return true;
    call_refuse(c, ALK_INVALID_OPERATION_TYPE,
                stream ? "%s is a subscription" : "%s is not a subscription", op_name(c->op).p);
    return false;
}

/* NULL when out of memory: the fault then goes without details, which is better than no fault. */
static const char *report_json(alk_call *c, const struct schema_report *r)
{
    struct buf b;
    const char *text = NULL;
    int rc;

    buf_init(&b, &c->d->mem);
    rc = buf_puts(&b, "{\"errors\":[");
    for (int i = 0; i < r->count; i++) {
        const struct schema_error *e = &r->errors[i];

        rc |= buf_puts(&b, i ? ",{\"path\":" : "{\"path\":") |
              buf_json_string(&b, e->path, strlen(e->path));
        rc |= buf_puts(&b, ",\"keyword\":") | buf_json_string(&b, e->keyword, strlen(e->keyword));
        rc |= buf_puts(&b, ",\"message\":") | buf_json_string(&b, e->message, strlen(e->message));
        rc |= buf_puts(&b, "}");
    }
    rc |= buf_puts(&b, "]}");
    if (!rc)
        text = arena_dup(&c->msg->arena, buf_at(&b), b.len);
    buf_fini(&b);
    return text;
}

/* Of the output nothing is checked here: it is this node's own word, and debug_outputs is there
 * for tests. */
static bool input_fits(alk_call *c)
{
    struct schema_report r;

    if (!c->op->input)
        return true;
    switch (schema_check(c->op->input, c->input.val, LIMIT(c->d->node, schema_steps),
                         &c->msg->arena, &r)) {
    case 0:
        return true;
    case SCHEMA_ENOMEM:
        call_end(c, ALK_END_FAULT, &fault_internal);
        return false;
    /* A caller can choose an input that makes a harmless schema take very long: patterns,
     * alternatives within alternatives. schema_steps bounds what one input may cost. */
    case SCHEMA_TOO_COMPLEX:
        call_refuse(c, ALK_INVALID_INPUT, "too complex");
        return false;
    default:
        c->fault.details = report_json(c, &r);
        call_refuse(c, ALK_INVALID_INPUT, "%s: %s (%s)",
                    *r.errors[0].path ? r.errors[0].path : "input", r.errors[0].message,
                    r.errors[0].keyword);
        return false;
    }
}

/* A result that nobody has limited is limited by the node, or a handler that forgets a call would
 * hold it for ever. A subscription may go on: its caller ends it. */
static void set_timeout(alk_call *c, const struct request *rq)
{
    uint32_t asked_ms = rq->timeout_ms;
    uint32_t own = c->op->type == ALK_SUBSCRIPTION ? 0 : LIMIT(c->d->node, deadline_ms);

    /* A handler may give its child more than the default, never more than itself (its deadline is
     * the child's as well), and so may the node's program; a caller from outside only less. */
    if ((c->parent || rq->own) && asked_ms)
        own = asked_ms == ALK_NO_TIMEOUT ? 0 : asked_ms;
    c->timeout = own ? own * MILLI : UINT64_MAX;
    if (asked_ms && asked_ms != ALK_NO_TIMEOUT && asked_ms * MILLI < c->timeout)
        c->timeout = asked_ms * MILLI;
}

/* A copy: the call may outlive the connection. */
static void keep_remote(alk_call *c, const char *remote)
{
    if (remote && logs_calls(c->d->node))
        c->remote = arena_dup(&c->msg->arena, remote, strlen(remote));
}

/* What a nested call has from its parent: whom it acts as, for whom in the end, how long, in what
 * session.
 *
 * It acts as the parent's authority and never as the parent's caller. So a handler cannot be
 * talked into using rights of its caller that it was not given itself, and what it can reach is to
 * be read in its registration. A parent without authority makes calls as nobody. */
static bool inherit(alk_call *c, alk_call *parent, const alk_call_options *o)
{
    const alk_identity *who = parent->op->authority;

    c->identity = who ? alk_identity_ref(who) : NULL;
    c->originator = parent->originator ? alk_identity_ref(parent->originator) : NULL;
    c->session = parent->session ? alk_registry_ref(parent->session) : NULL;
    c->deadline = parent->deadline;
    c->hops = parent->hops;
    keep_remote(c, parent->remote);
    c->policy = o->policy != ALK_POLICY_INHERIT ? (uint8_t)o->policy : parent->policy;
    if (!call_adopt(parent, c)) {
        call_refuse(c, ALK_BUSY, "too many nested calls");
        return false;
    }
    /* A call that goes on without its caller finishes what it has begun and begins nothing new;
     * the same goes for all that is below it. */
    for (const alk_call *up = parent; up; up = up->parent) {
        if (up->tie != TIE_CALLER) {
            call_end(c, ALK_END_FAULT, &fault_orphan);
            return false;
        }
    }
    return true;
}

/* The secrets that the parent hands down by name, for operations that run here and are this node's
 * own. Code of a session and of remotes must not see them, whatever the parent asks for: it does
 * not know who will serve a name. Names that the parent has no secret for are passed over. */
static bool grant(alk_call *c, const char *names)
{
    /* As many as there can be: each takes a byte and the space behind it. */
    size_t most = strlen(names) / 2 + 1, len;

    if (c->via || c->member || c->line || c->of_session || c->op->provenance == ALK_SESSION ||
        c->op->provenance == ALK_FROM_CALL)
        return true;
    /* The parent's secrets live as long as its operation: an imported one as long as its set. */
    if (c->parent->set)
        c->set = overlay_ref(c->parent->set);
    c->granted = arena_alloc(&c->msg->arena, most * sizeof *c->granted);
    if (!c->granted) {
        call_end(c, ALK_END_FAULT, &fault_internal);
        return false;
    }
    for (const char *p = names; *p; p += len) {
        const struct secret *s;

        p += strspn(p, " ");
        len = strcspn(p, " ");
        s = len ? call_secret(c->parent, p, len) : NULL;
        if (s)
            c->granted[c->granted_count++] = s;
    }
    return true;
}

static void on_revoked(struct watcher *w, bool gone)
{
    if (gone)
        call_end(container_of(w, alk_call, on_by), ALK_END_FAULT, &fault_revoked);
}

/* hops is what the remote says. A number that is too high makes its own call fail; one that is too
 * low is added to by each honest node on the way. */
static bool from_wire(alk_call *c, const struct request *rq)
{
    /* Asked now, as it may have gone since it came: while a body was read, or a batch ran. */
    bool good = credential_good(rq->by);

    if (rq->by) {
        c->by = credential_ref(rq->by);
        c->identity = alk_identity_ref(rq->by->who);
        c->originator = alk_identity_ref(rq->by->who);
    }
    c->session = rq->conn && rq->conn->session ? alk_registry_ref(rq->conn->session) : NULL;
    keep_remote(c, rq->conn ? connection_remote(rq->conn) : rq->remote);
    c->hops = rq->hops;
    c->policy = ALK_ABORT_DEPENDENTS;
    if (!good) {
        call_end(c, ALK_END_FAULT, &fault_revoked);
        return false;
    }
    /* What is answered by a connection or an exchange ends with that; the rest is told here. */
    if (rq->by &&
        (rq->conn ? rq->conn->by != rq->by : rq->sink == &sink_callbacks || rq->unattended)) {
        c->on_by.changed = on_revoked;
        credential_watch(rq->by, &c->on_by);
    }
    /* The program's own, to a remote that it has: as without a crossing. */
    return (rq->target && rq->target->line) || admitted(c);
}

/* It was let in where it came from. Here it is a root, for whoever asked there, and as deep. */
static bool from_other(alk_call *c, const struct request *rq)
{
    const struct errand *e = rq->errand;

    c->identity = e->identity ? alk_identity_ref(e->identity) : NULL;
    c->originator = e->originator ? alk_identity_ref(e->originator) : NULL;
    c->session = e->session ? alk_registry_ref(e->session) : NULL;
    c->parent_id = rq->parent_id;
    c->deadline = e->deadline;
    c->hops = e->hops;
    c->depth = e->depth;
    c->policy = e->policy;
    c->far_child = e->nested;
    keep_remote(c, rq->remote);
    /* A handler that runs elsewhere has nobody else for an operation of this one alone; and a remote
     * that is there is reached, as from here. */
    if (!c->d->draining || e->drains || rq->target->line || (e->nested && rq->target->op->at_home))
        return resolved(c, rq);
    call_end(c, ALK_END_FAULT, &fault_shutdown);
    return false;
}

/* A refused call is a call like others: it is counted, logged and answered through its sink. It
 * has ended but is still valid when this returns, since its life reference goes in the turn. */
alk_call *call_start(struct alk_dispatcher *d, const struct request *rq)
{
    alk_call *c = call_new(d, rq->msg);

    if (!c) {
        msg_free(rq->msg);
        return NULL;
    }
    c->kind = rq->parent ? CALL_NESTED : rq->errand ? CALL_CROSSED : CALL_INCOMING;
    c->name = name_strip(rq->name.p, rq->name.n);
    c->input.text = rq->text.p;
    c->input.len = rq->text.n;
    if (!rq->text.p)
        c->input.val = rq->input ? rq->input : (yyjson_val *)&value_null;
    c->id = rq->id;
    c->sink = rq->sink;
    c->sink_ud = rq->sink_ud;
    c->stream = rq->stream;
    c->claim = rq->claim;
    c->traceparent = rq->traceparent;
    c->want = rq->want;
    /* Before the checks: a refusal is answered by way of the connection too, and its id is in use
     * from now on. */
    if (rq->conn && !connection_list(rq->conn, c)) {
        call_discard(c);
        return NULL;
    }
    /* Behind the only failure that ends no call, so that every call that is counted here is also
     * counted as ended. */
    COUNT(d, calls[c->kind]);
    if (rq->errand) {
        c->timeout = UINT64_MAX;
        if (from_other(c, rq))
            call_queue(c);
        return c;
    }
    if (!(rq->parent ? inherit(c, rq->parent, rq->options) : from_wire(c, rq)) ||
        !resolved(c, rq) || !allowed(c) || !type_fits(c) || !input_fits(c) ||
        (rq->parent && rq->options->capabilities && !grant(c, rq->options->capabilities)))
        return c;
    set_timeout(c, rq);
    call_queue(c);
    return c;
}

/* ---- nested calls ---------------------------------------------------------------------------- */

/* Both limits protect from operations that call each other without end. `live` counts what has
 * memory, not what runs: a handler that holds children which have ended pays for them too. */
bool call_adopt(alk_call *parent, alk_call *c)
{
    const alk_node *node = parent->d->node;
    alk_call *root = parent->root ? parent->root : parent;

    assert(!call_ended(parent));
    if (root->live >= LIMIT(node, call_children) || parent->depth >= LIMIT(node, call_depth))
        return false;
    root->live++;
    c->root = alk_call_ref(root);
    c->depth = parent->depth + 1;
    c->parent = parent;
    list_push(&parent->children, &c->sibling);
    return true;
}

/* A selector without what it selects by would be another selector. */
static bool options_valid(const alk_call_options *o, const struct line *line)
{
    return o->selector <= ALK_SELECT_CONNECTION && o->policy <= ALK_CONTINUE_RUNNING &&
           (o->selector != ALK_SELECT_PEER || o->peer) &&
           (o->selector != ALK_SELECT_CONNECTION || o->connection || line);
}

/* All that lives as long as the call is in its message; the caller's strings may go when this
 * returns. */
static int invoke_parsed(alk_call *parent, const struct target *target, struct line *line,
                         struct str operation, struct msg *m, const alk_call_options *o,
                         alk_call **out)
{
    struct request rq = {.msg = m,
                         .input = m->value.val,
                         .parent = parent,
                         .target = target,
                         .line = line,
                         .options = o,
                         .sink = &sink_callbacks,
                         .want = o->stream ? WANT_STREAM : WANT_SINGLE,
                         .timeout_ms = o->timeout_ms};
    char *id = arena_alloc(&m->arena, ID_SIZE);
    alk_call *c;

    rq.name = (struct str){arena_dup(&m->arena, operation.p, operation.n), operation.n};
    rq.traceparent = o->traceparent ? str_of(o->traceparent) : parent->traceparent;
    /* Lost when out of memory, like parent_id below: both are for records only. */
    if (rq.traceparent.p)
        rq.traceparent.p = arena_dup(&m->arena, rq.traceparent.p, rq.traceparent.n);
    if (!id || !rq.name.p) {
        msg_free(m);
        return ALK_ENOMEM;
    }
    dispatcher_id(parent->d, id);
    rq.id = (struct str){id, ID_SIZE - 1};
    c = call_start(parent->d, &rq);
    if (!c)
        return ALK_ENOMEM;
    /* A copy, since the parent may go first. The callbacks can be set after the start: they run in
     * the turn and never from in here. */
    c->parent_id = (struct str){arena_dup(&m->arena, parent->id.p, parent->id.n), parent->id.n};
    c->on_event = o->on_event;
    c->on_result = o->on_end;
    c->result_ud = o->ud;
    if (out)
        *out = alk_call_ref(c);
    return ALK_OK;
}

int call_invoke(alk_call *parent, const struct target *target, struct line *line,
                struct str operation, const char *input, size_t input_len,
                const alk_call_options *o, alk_call **out)
{
    struct msg *m;
    int rc;

    if (out)
        *out = NULL;
    if (call_ended(parent))
        return ALK_EENDED;
    /* Only what a handler runs can compose: an outgoing call has no operation here whose authority
     * counts. */
    if (!parent->op || parent->state < CALL_RUNNING || !options_valid(o, line))
        return ALK_EINVAL;
    m = msg_new(&parent->d->messages, parent->msg->payer);
    if (!m)
        return ALK_ENOMEM;
    rc = msg_parse(m, input, input_len, NULL);
    if (rc) {
        msg_free(m);
        return rc;
    }
    return invoke_parsed(parent, target, line, operation, m, o, out);
}

int alk_call_invoke(alk_call *call, const char *operation, size_t operation_len, const char *input,
                    size_t input_len, const alk_call_options *o, alk_call **out)
{
    alk_call_options own;

    if (out)
        *out = NULL;
    o = node_take(call->d->node, &abi_call_options, &own, o);
    return o ? call_invoke(call, NULL, NULL, (struct str){operation, operation_len}, input,
                           input_len, o, out)
             : ALK_EINVAL;
}
