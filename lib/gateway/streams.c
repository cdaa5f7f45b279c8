/* What speaks on an accepted stream. Up to three engines have it one after the other, or one within
 * the other:
 *   front  reads a PROXY header where there must be one, and in clear tells HTTP/2's preface from
 *          a request of HTTP/1.1
 *   tls    its handshake agrees by ALPN on what is spoken inside of it
 *   h1, h2, or calls: frames of the call protocol, by whom lib/adapt stands
 *
 * The connection's record is made before any of them, so that whoever is over a limit costs no
 * handshake, and is handed from one to the next: it goes with the last. */
#include "gateway/gateway_int.h"

#include "wire/front.h"
#include "wire/h2.h"
#include "wire/tls.h"

/* What a listener with TLS has to offer, by preference (RFC 7301). In stealth there are no calls:
 * that they are spoken would be told before it is known who asks. */
static const char *const protocols[] = {ALPN_CALL, "h2", "http/1.1", NULL};
#define WITHOUT_CALLS (protocols + 1)

static struct engine *speak_http(struct gate_conn *c, bool h2, uint64_t now)
{
    struct alk_gateway *g = c->g;
    struct meter *m = &c->account->meter;
    struct h1 *one;
    struct h2 *two;

    if (h2) {
        two = h2_new(c->mem, &request_app, c, gate_conn_fini, &g->limits, now);
        if (!two)
            return NULL;
        COUNT(g->d, http2_connections);
        h2_charge(two, m);
        return h2_engine(two);
    }
    one = h1_new(c->mem, &request_app, c, gate_conn_fini, &g->limits, now);
    if (!one)
        return NULL;
    h1_charge(one, m);
    return h1_engine(one);
}

/* Debug: strangers make as many of these as they like. */
static void tell(const struct gate_conn *c, const char *event, const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_DEBUG, .event = event};

    e.message = what;
    e.remote = c->remote;
    node_log(c->g->d->node, &e);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static struct engine *on_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct gate_conn *c = ud;

    COUNT(c->g->d, tls_handshakes);
    c->secure = true;
    c->engine = NULL;
    if (str_is(info->alpn, ALPN_CALL))
        return c->g->above.serve_calls(c, info->fingerprint, now);
    c->engine = speak_http(c, str_is(info->alpn, "h2"), now);
    return c->engine;
}

static void on_failed(void *ud, const char *why)
{
    struct gate_conn *c = ud;

    COUNT(c->g->d, tls_failures);
    tell(c, "tls.failed", why);
}

static struct engine *speak_tls(struct gate_conn *c, uint64_t now)
{
    static const struct tls_app app = {on_ready, on_failed, gate_conn_fini};
    struct alk_gateway *g = c->g;
    struct tls_config *cfg = tls_current(c->tls);
    bool calls = g->websocket && !g->stealth;
    struct engine *e = tls_accept(c->mem, cfg, calls ? protocols : WITHOUT_CALLS, &app, c,
                                  &c->account->meter, now + g->limits.header_timeout);

    tls_config_unref(cfg);
    return e;
}

/* ---- the first bytes ------------------------------------------------------------------------- */

/* A trusted proxy says whose connection it is: from here on it is that one's, and counts for its
 * address. */
static bool on_client(void *ud, const char *address, uint64_t now)
{
    struct gate_conn *c = ud;

    (void)now;
    if (!address)
        return true;
    account_unref(c->account);
    c->account = NULL;
    gate_conn_name(c, address);
    return gate_conn_admit(c);
}

static void on_refused(void *ud, const char *why)
{
    tell(ud, "proxy_header.failed", why);
}

static struct engine *on_chosen(void *ud, bool h2, uint64_t now)
{
    struct gate_conn *c = ud;

    c->engine = c->tls ? speak_tls(c, now) : speak_http(c, h2, now);
    return c->engine;
}

struct engine *stream_open(struct gate_conn *c, const struct peer_info *p, uint64_t now)
{
    static const struct front_app app = {on_client, on_chosen, on_refused, gate_conn_fini};
    struct alk_gateway *g = c->g;

    c->tls = p->tls ? alk_tls_ref(p->tls) : NULL;
    if (c->tls && !p->proxy_header)
        return speak_tls(c, now);
    return front_new(c->mem, p->proxy_header, !c->tls, &app, c, now + g->limits.header_timeout);
}
