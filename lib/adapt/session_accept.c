/* What the gateway's /alknet/call becomes: a session, which is a call connection with the identity
 * of the token in the upgrade. Its embedder hears of it from the dispatcher's turn: on_connect
 * first, on_disconnect once it is over. The record goes when both its stream is gone and
 * on_disconnect has returned, whichever comes last. */
#include "adapt/session.h"
#include "gateway/gateway_int.h"
#include "gateway/ws.h"

#include <string.h>

/* Made in the upgrade, freed when its stream is gone and on_disconnect has run. */
struct accepted {
    struct session s;
    struct gate_conn *conn;
    struct task hello, bye;
    alk_identity *identity;
    struct str tenant;
    char trace[56];
    bool waits;       /* for bye, with its stream gone */
    bool was_counted; /* the stream's record was, before this took a place of its own */
};

/* The connection's record last: it may be the last that the gateway waits for. */
static void session_free(struct accepted *a)
{
    struct gate_conn *conn = a->conn;
    struct alk_gateway *g = conn->g;

    list_del(&a->hello.link);
    list_del(&a->bye.link);
    alk_identity_unref(a->identity);
    mem_free(&g->mem, (char *)a->tenant.p);
    mem_free(&g->mem, a);
    node_session_give(g->d->node);
    gate_conn_fini(conn);
}

/* On the stack of each hook: what an embedder wants to keep, it has to copy or to reference. */
static alk_session describe(const struct accepted *a)
{
    return (alk_session){.size = sizeof(alk_session),
                         .connection = a->s.conn,
                         .identity = a->identity,
                         .tenant = a->tenant.p,
                         .traceparent = *a->trace ? a->trace : NULL,
                         .remote = connection_remote(a->s.conn)};
}

/* Posted and not called from the upgrade: that happens inside an engine, where nothing of the
 * application may run. */
static void say_hello(struct task *t)
{
    struct accepted *a = container_of(t, struct accepted, hello);
    const struct session_hooks *h = &a->conn->g->hooks;
    alk_session s = describe(a);

    if (h->on_connect)
        h->on_connect(h->ud, &s);
}

/* `waits` is set when the stream went first. */
static void say_bye(struct task *t)
{
    struct accepted *a = container_of(t, struct accepted, bye);
    const struct session_hooks *h = &a->conn->g->hooks;
    alk_session s = describe(a);

    if (h->on_disconnect)
        h->on_disconnect(h->ud, &s, a->s.code);
    if (a->waits) {
        session_fini(&a->s);
        session_free(a);
    }
}

/* From inside the engine or the core: the embedder is told in the turn. on_connect has been told by
 * then, since its task was posted first. */
static void on_over(struct session *s)
{
    struct accepted *a = container_of(s, struct accepted, s);

    task_post(&s->d->schedule, &a->bye);
}

/* The hook may be still to come, and is given the connection: then it is say_bye that frees. */
static void on_gone(struct session *s)
{
    struct accepted *a = container_of(s, struct accepted, s);

    a->waits = !list_empty(&a->bye.link);
    if (a->waits)
        return;
    session_fini(s);
    session_free(a);
}

/* With the credential of the request, which the connection watches: a session outlives many changes
 * of configuration. */
static int open_session(struct accepted *a, struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    alk_connection_options o;
    int rc;

    alk_connection_options_init(&o, sizeof o);
    o.remote = r->client;
    a->was_counted = r->stream->counted;
    /* One connection, counted once: the call connection takes its own place. Ours is given back
     * first, so that the last one of the node can be upgraded too. Another thread may take it in
     * between: then this upgrade is refused, and its connection goes on uncounted. */
    if (a->was_counted)
        node_connection_give(g->d->node);
    rc = session_open(&a->s, &g->mem, &g->ws_pool, &g->ws_limits, &o, r->by);
    r->stream->counted = rc && a->was_counted && node_connection_take(g->d->node);
    return rc;
}

/* Like an event gateway's upgrade: everything is made before it is granted, and undone if it is
 * not. */
void serve_session(struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    struct accepted *a;

    if (!ws_admit(r))
        return;
    a = mem_zalloc(&g->mem, sizeof *a);
    if (a) {
        a->s.d = g->d;
        a->s.on_over = on_over;
        a->s.on_gone = on_gone;
    }
    if (!a || open_session(a, r)) {
        mem_free(&g->mem, a);
        ws_dismiss(r);
        reply_error(r, 503, "no more sessions are taken");
        return;
    }
    a->conn = r->stream;
    a->identity = alk_identity_ref(r->identity);
    a->tenant = ws_tenant(r, &g->mem);
    memcpy(a->trace, r->trace, sizeof a->trace);
    task_init(&a->hello, say_hello);
    task_init(&a->bye, say_bye);
    if (!ws_grant(r, a->s.engine)) {
        session_abandon(&a->s);
        a->conn->counted = a->was_counted && node_connection_take(g->d->node);
        alk_identity_unref(a->identity);
        mem_free(&g->mem, (char *)a->tenant.p);
        mem_free(&g->mem, a);
        ws_dismiss(r);
        return;
    }
    /* No request follows on this stream, so nothing of the token needs to stay with it, or in the
     * bytes of the upgrade's head. */
    gate_forget_token(a->conn);
    mem_wipe((char *)r->token.p, r->token.n);
    task_post(&g->d->schedule, &a->hello);
}
