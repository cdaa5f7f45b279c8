/* One attempt of a dialer: the stream, the handshakes that the URL's scheme asks for, the session.
 *
 * An engine belongs to its transport and cannot be freed from here. So what is given up is told to
 * reset and forgotten, and what it still says is recognised by the dialer's state being another. */
#include "adapt/dial_int.h"

#include "adapt/framed.h"
#include "adapt/quic_link.h"
#include "base/time.h"
#include "base/utf8.h"
#include "gateway/engine_limits.h"
#include "wire/tls.h"
#include "wire/ws_handshake.h"
#include "wire/ws_opening.h"

#include <stdio.h>
#include <string.h>

#define UNKNOWN_PEER "the peer %s is not known here, or disabled"

struct dial_session {
    struct session s;
    struct alk_dialer *x; /* a reference */
};

/* ---- the session ----------------------------------------------------------------------------- */

/* Of a connection that has been given up, nobody wants to hear the end. */
static void on_over(struct session *s, struct str why)
{
    struct dial_session *ds = container_of(s, struct dial_session, s);
    struct alk_dialer *x = ds->x;
    char shown[MESSAGE_MAX];

    if (x->state != OPEN || x->conn != s->conn)
        return;
    x->code = s->code;
    utf8_show(shown, sizeof shown, why.p, why.n);
    if (s->code == WS_LOST)
        dial_say(x, "the connection was lost%s%s", why.n ? ": " : "", shown);
    else if (s->code == WS_NO_STATUS)
        dial_say(x, "closed by the remote");
    else
        dial_say(x, "closed with %d%s%s", s->code, why.n ? ": " : "", shown);
    dial_ended(x);
}

/* Always comes, for each session that was opened: here the reference goes that open_session
 * took. */
static void on_gone(struct session *s)
{
    struct dial_session *ds = container_of(s, struct dial_session, s);
    struct alk_dialer *x = ds->x;

    session_fini(s);
    mem_free(x->t->mem, ds);
    dialer_unref(x);
}

/* The remote's identity is the configured one, without any proof, as it was this side that chose
 * whom to dial; or it is whom the certificate of its TLS belongs to. The core imports by itself
 * what a remote announces; with o.import the dialer does it, so that it is told when. The
 * connection is referenced beyond its end, since LOST hands it out once more. */
static struct session *open_session(struct alk_dialer *x, struct quic_conn *q)
{
    struct dial_session *ds;
    alk_connection_options o = {.size = sizeof o};
    int rc = ALK_ENOMEM;

    /* Asked again: the connection hears only of what is still to change. */
    if (!credential_good(x->by)) {
        dial_say(x, UNKNOWN_PEER, x->by->who->id.p);
        return NULL;
    }
    ds = mem_zalloc(x->t->mem, sizeof *ds);
    o.token = x->o.request_token;
    o.namespace_prefix = x->o.namespace_prefix;
    o.operation_filter = x->o.operation_filter;
    o.no_auto_import = x->o.import;
    o.remote = x->url.remote;
    if (ds) {
        ds->x = x;
        ds->s.d = x->d;
        ds->s.client = true;
        ds->s.on_over = on_over;
        ds->s.on_gone = on_gone;
        rc = q               ? quic_link_open(&ds->s, x->t->mem, q, &o, x->by, x->o.stream_per_call)
             : x->url.framed ? framed_open(&ds->s, x->t->mem, &o, x->by)
                             : session_open(&ds->s, x->t->mem, &x->pool, &x->limits, &o, x->by);
    }
    if (rc) {
        mem_free(x->t->mem, ds);
        dial_say(x, "%s", alk_strerror(rc));
        return NULL;
    }
    x->refs++;
    x->conn = alk_connection_ref(ds->s.conn);
    return &ds->s;
}

/* ---- an attempt ------------------------------------------------------------------------------ */

/* The session is what goes on from here, on a stream or on a connection of QUIC (q). NULL: it could
 * not be opened, and the attempt is over. */
static struct session *begin(struct alk_dialer *x, struct quic_conn *q, uint64_t now)
{
    struct session *s = open_session(x, q);

    if (!s) {
        dial_ended(x);
        return NULL;
    }
    x->state = OPEN;
    x->opened_at = now;
    x->to_open = true;
    timer_clear(&x->d->schedule, &x->timer);
    task_post(&x->d->schedule, &x->task);
    return s;
}

static struct engine *go_on(struct alk_dialer *x, uint64_t now)
{
    struct session *s = begin(x, NULL, now);

    return s ? s->engine : NULL;
}

/* The answer to the upgrade was right. If the attempt has been given up meanwhile, no engine goes
 * on and the stream closes; then, as after a failure, the opening keeps its reference until
 * opening_fini. */
static struct engine *opened(void *ud, uint64_t now)
{
    struct alk_dialer *x = ud;
    struct engine *e;

    x->opening = NULL;
    e = x->state == OPENING ? go_on(x, now) : NULL;
    if (e)
        dialer_unref(x); /* the opening's */
    return e;
}

/* The error object of a gateway says more than a status. The body is a stranger's: bounded by the
 * limit given to the opening, parsed within the limits of messages, and any other than an object
 * with a message is left out. */
static void read_refusal(struct alk_dialer *x, const char *what, const char *body)
{
    struct msg *m = msg_new(&x->d->messages, x->by ? x->by->account : NULL);
    struct str message = STR_NONE;
    char shown[MESSAGE_MAX];

    if (m && *body && !msg_parse(m, body, strlen(body), NULL))
        message.p = json_str(m->value.val, "message", &message.n);
    if (!message.p)
        message = str_of(what);
    utf8_show(shown, sizeof shown, message.p, message.n);
    if (x->status)
        dial_say(x, "HTTP %d: %s", x->status, shown);
    else
        dial_say(x, "%s", what);
    if (m)
        msg_free(m);
}

static void refused(void *ud, int status, const char *what, const char *body)
{
    struct alk_dialer *x = ud;

    x->opening = NULL;
    if (x->state != OPENING)
        return;
    x->status = status;
    read_refusal(x, what, body);
    dial_ended(x);
}

static void opening_fini(void *ud)
{
    dialer_unref(ud);
}

/* A handshake's engine begins, and knows the dialer; NULL: it could not be made. */
static struct engine *opening(struct alk_dialer *x)
{
    if (!x->opening) {
        dial_say(x, "out of memory");
        dial_ended(x);
        return NULL;
    }
    x->refs++;
    x->state = OPENING;
    return x->opening;
}

/* header_bytes limits the answer like the head of a request. */
static struct engine *upgrade(struct alk_dialer *x)
{
    static const struct ws_opening_app app = {opened, refused, opening_fini};
    struct ws_request rq = {.host = x->url.host_field,
                            .path = x->url.path,
                            .token = x->o.token,
                            .protocol = WS_CALL_PROTOCOL,
                            .answer_bytes = LIMIT(x->d->node, header_bytes)};

    x->opening = ws_opening_new(x->t->mem, &rq, &app, x);
    return opening(x);
}

static struct engine *speak(struct alk_dialer *x, uint64_t now)
{
    return x->url.framed ? go_on(x, now) : upgrade(x);
}

/* Who the remote is, when the options do not say: it has proved the key of its certificate. false:
 * out of memory. */
static bool recognize(struct alk_dialer *x, const char *fingerprint)
{
    snprintf(x->fingerprint, sizeof x->fingerprint, "%s", fingerprint);
    if (x->by || !*fingerprint)
        return true;
    return credential_prove(&x->by, x->d, PROOF_FINGERPRINT, str_of(fingerprint)) != ALK_ENOMEM;
}

/* An HTTP server that knows nothing of ALPN is one of HTTP/1.1; framed envelopes must not be said
 * to anybody who has not agreed to them. When nothing goes on inside, the reference goes in
 * opening_fini. */
static struct engine *secured(void *ud, const struct tls_info *info, uint64_t now)
{
    struct alk_dialer *x = ud;
    struct engine *e = NULL;

    x->opening = NULL;
    if (x->state != OPENING)
        return NULL;
    if (x->url.framed && !str_is(info->alpn, ALPN_CALL)) {
        dial_say(x, "the server does not speak " ALPN_CALL);
        dial_ended(x);
    } else if (!recognize(x, info->fingerprint)) {
        dial_say(x, "out of memory");
        dial_ended(x);
    } else if ((e = speak(x, now))) {
        dialer_unref(x);
    }
    return e;
}

static void not_secured(void *ud, const char *why)
{
    struct alk_dialer *x = ud;

    x->opening = NULL;
    if (x->state != OPENING)
        return;
    dial_say(x, "TLS: %s", why);
    dial_ended(x);
}

/* The dialer's time limit is the handshake's. */
static struct engine *secure(struct alk_dialer *x)
{
    static const char *const framed[] = {ALPN_CALL, NULL}, *const http[] = {"http/1.1", NULL};
    static const struct tls_app app = {secured, not_secured, opening_fini};
    struct tls_config *c = tls_current(x->o.tls);

    x->opening =
        tls_connect(x->t->mem, c, x->url.to.host, x->url.framed ? framed : http, &app, x, 0);
    tls_config_unref(c);
    return opening(x);
}

/* The time limit of the attempt goes on until a session is open: a server that accepts and says
 * nothing must not hold it. */
static struct engine *connected(void *ud, uint64_t now)
{
    struct alk_dialer *x = ud;

    x->connecting = NULL;
    return x->url.tls ? secure(x) : speak(x, now);
}

/* The server has taken us, and has proved to be the one that was meant. */
static bool connected_quic(void *ud, struct quic_conn *c, const char *fingerprint, uint64_t now)
{
    struct alk_dialer *x = ud;

    x->connecting_quic = NULL;
    if (!recognize(x, fingerprint)) {
        dial_say(x, "out of memory");
        dial_ended(x);
        return false;
    }
    return begin(x, c, now) != NULL;
}

/* No name, no route, nobody listening. Nothing is left to stop. */
static void failed(void *ud, const char *why)
{
    struct alk_dialer *x = ud;

    x->connecting = NULL;
    x->connecting_quic = NULL;
    dial_say(x, "%s", why);
    dial_ended(x);
}

/* Asked anew for each attempt, so that a peer that has come back is dialled again. false: it is
 * told why not. */
static bool identify(struct alk_dialer *x)
{
    int rc = ALK_OK;

    credential_unref(x->by);
    x->by = NULL;
    if (x->o.peer_id)
        rc = credential_prove(&x->by, x->d, PROOF_PEER, str_of(x->o.peer_id));
    else if (x->o.identity &&
             !(x->by = credential_known(x->d, PROOF_VOUCHED, STR_NONE, x->o.identity, x->o.kind)))
        rc = ALK_ENOMEM;
    if (rc == ALK_ENOENT)
        dial_say(x, UNKNOWN_PEER, x->o.peer_id);
    else if (rc)
        dial_say(x, "out of memory");
    return !rc;
}

/* The limits are read anew, since they may change while the node runs. The timer covers all of an
 * attempt: names, addresses, handshake. */
void dial_attempt(struct alk_dialer *x)
{
    static const struct connect_events events = {connected, failed};
    static const struct quic_connect_events quic_events = {connected_quic, failed};

    x->status = x->code = 0;
    if (!identify(x)) {
        dial_ended(x);
        return;
    }
    x->state = CONNECTING;
    session_limits(x->d->node, &x->limits);
    timer_set(&x->d->schedule, &x->timer, x->d->now + x->o.connect_timeout_ms * MILLI);
    if (x->url.quic)
        x->connecting_quic =
            x->t->connect_quic(x->t, &x->url.to, x->url.pin, x->o.tls, &quic_events, x);
    else
        x->connecting = x->t->connect(x->t, &x->url.to, &events, x);
    if (!x->connecting && !x->connecting_quic)
        failed(x, "out of memory");
}

/* An engine belongs to its transport and cannot be freed from here: it is told to reset, and its
 * transport does that within the turn. The opening may still call back until then, so it is
 * forgotten here and its callbacks look at the state. */
void dial_stop(struct alk_dialer *x)
{
    if (x->connecting)
        x->t->cancel(x->connecting);
    x->connecting = NULL;
    if (x->connecting_quic)
        x->t->cancel_quic(x->connecting_quic);
    x->connecting_quic = NULL;
    if (x->opening) {
        x->opening->closing = ENGINE_RESET;
        x->opening->wake(x->opening, x->opening->wake_ud);
    }
    x->opening = NULL;
}
