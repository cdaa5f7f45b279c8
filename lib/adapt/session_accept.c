/* Sessions that are accepted: what the gateway's /alknet/call becomes, a call connection with the
 * identity of the token in the upgrade, and TLS streams of the call protocol, with that of the
 * client's certificate. Its embedder hears of it from the dispatcher's turn: on_connect
 * first, on_disconnect once it is over. The record goes when both its stream is gone and
 * on_disconnect has returned, whichever comes last. */
#include "adapt/framed.h"
#include "adapt/quic_link.h"
#include "adapt/session.h"
#include "gateway/gateway_int.h"
#include "gateway/ws.h"

#include <stdio.h>
#include <string.h>

/* Made in the upgrade, freed when its stream is gone and on_disconnect has run. */
struct accepted {
    struct session s;
    struct gate_conn *conn;
    struct quic_conn *quic; /* NULL: it is a byte stream's */
    struct task hello, bye;
    alk_identity *identity;
    struct str tenant;
    char trace[56];
    bool waits;       /* for bye, with its stream gone */
    bool upgraded;    /* holds one of the node's WebSocket sessions */
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
    if (a->upgraded)
        node_session_give(g->d->node);
    mem_free(&g->mem, a);
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
static void on_over(struct session *s, struct str why)
{
    struct accepted *a = container_of(s, struct accepted, s);

    (void)why;
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

/* With that credential, which the connection watches: a session outlives many changes of
 * configuration. */
static int open_session(struct accepted *a, const char *remote, struct credential *by)
{
    struct gate_conn *c = a->conn;
    struct alk_gateway *g = c->g;
    alk_connection_options o = {.size = sizeof o};
    int rc;

    o.remote = remote;
    a->was_counted = c->counted;
    /* One connection, counted once: the call connection takes its own place. Ours is given back
     * first, so that the last one of the node can be upgraded too. Another thread may take it in
     * between: then this one is refused, and its connection goes on uncounted. */
    if (a->was_counted)
        node_connection_give(g->d->node);
    rc = a->quic       ? quic_link_open(&a->s, &g->mem, a->quic, &o, by, false)
         : a->upgraded ? session_open(&a->s, &g->mem, &g->ws_pool, &g->ws_limits, &o, by)
                       : framed_open(&a->s, &g->mem, &o, by);
    c->counted = rc && a->was_counted && node_connection_take(g->d->node);
    return rc;
}

/* NULL: out of memory. */
static struct accepted *accepted_new(struct gate_conn *c, bool upgraded)
{
    struct accepted *a = mem_zalloc(&c->g->mem, sizeof *a);

    if (!a)
        return NULL;
    a->s.d = c->g->d;
    a->s.on_over = on_over;
    a->s.on_gone = on_gone;
    a->conn = c;
    a->upgraded = upgraded;
    task_init(&a->hello, say_hello);
    task_init(&a->bye, say_bye);
    return a;
}

/* Like an event gateway's upgrade: everything is made before it is granted, and undone if it is
 * not. */
void serve_session(struct alk_request *r)
{
    struct alk_gateway *g = r->g;
    struct accepted *a;

    if (!ws_admit(r))
        return;
    a = accepted_new(r->stream, true);
    if (!a || open_session(a, r->client, r->by)) {
        mem_free(&g->mem, a);
        ws_dismiss(r);
        reply_error(r, 503, "no more sessions are taken");
        return;
    }
    a->identity = alk_identity_ref(r->identity);
    a->tenant = ws_tenant(r, &g->mem);
    memcpy(a->trace, r->trace, sizeof a->trace);
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

/* Whom the certificate proves; *by NULL: nobody, who has shown none. One that was shown and belongs
 * to nobody is refused: its owner takes himself for somebody. */
static bool prove(struct gate_conn *c, const char *fingerprint, struct credential **by)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "auth.failed"};
    char text[128];
    int rc;

    *by = NULL;
    if (!*fingerprint)
        return true;
    rc = credential_prove(by, c->g->d, PROOF_FINGERPRINT, str_of(fingerprint));
    if (rc == ALK_ENOENT && c->g->anonymous_peers)
        return true;
    if (rc == ALK_ENOENT) {
        snprintf(text, sizeof text, "nobody known here has %s", fingerprint);
        e.message = text;
        e.remote = c->remote;
        node_log(c->g->d->node, &e);
        credential_failed(c->g->d, c->remote);
    }
    return !rc;
}

struct engine *serve_calls(struct gate_conn *c, const char *fingerprint, uint64_t now)
{
    struct alk_gateway *g = c->g;
    struct accepted *a = NULL;
    struct credential *by;

    (void)now;
    if (g->d->draining || !prove(c, fingerprint, &by))
        return NULL;
    a = accepted_new(c, false);
    if (!a || open_session(a, c->remote, by)) {
        mem_free(&g->mem, a);
        credential_unref(by);
        return NULL;
    }
    if (by)
        a->identity = alk_identity_ref(by->who);
    credential_unref(by);
    c->http = false;
    COUNT(g->d, http_closed);
    task_post(&g->d->schedule, &a->hello);
    return a->s.engine;
}

/* ---- QUIC ------------------------------------------------------------------------------------ */

/* Who is refused hears why by the close code, and goes with the connection. */
static void quic_ready(void *ud, const char *fingerprint, uint64_t now)
{
    struct accepted *a = ud;
    struct alk_gateway *g = a->conn->g;
    struct credential *by;

    (void)now;
    COUNT(g->d, tls_handshakes);
    if (!prove(a->conn, fingerprint, &by)) {
        quic_close(a->quic, ALK_CLOSE_IDENTITY, "nobody known here has that key");
        return;
    }
    if (open_session(a, a->conn->remote, by)) {
        quic_close(a->quic, ALK_CLOSE_LIMIT, "no more connections are taken");
    } else {
        if (by)
            a->identity = alk_identity_ref(by->who);
        task_post(&g->d->schedule, &a->hello);
    }
    credential_unref(by);
}

/* Before there is a session: what came was no handshake, or it is refused. */
static void quic_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    struct accepted *a = ud;
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_DEBUG, .event = "tls.failed"};

    (void)now;
    if (code < 0) {
        COUNT(a->conn->g->d, tls_failures);
        e.message = why;
        e.remote = a->conn->remote;
        node_log(a->conn->g->d->node, &e);
    }
    session_free(a);
}

bool serve_quic(struct gate_conn *c, struct quic_conn *q, const struct quic_events **events,
                void **ud)
{
    static const struct quic_events opening = {.ready = quic_ready, .over = quic_over};
    struct accepted *a = accepted_new(c, false);

    if (!a)
        return false;
    a->quic = q;
    *events = &opening;
    *ud = a;
    return true;
}
