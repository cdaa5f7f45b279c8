/* One QUIC connection: what ngtcp2 is told and what it asks for, and its life.
 *
 * ngtcp2 is entered from feed, pull and expire alone. Its callbacks hand frames on and note all
 * else, which is told behind them (tell), so that whoever is told finds the connection in a state
 * of its own and may do anything with it. After the end nothing of ngtcp2 is left: a closed
 * connection keeps the ids by which packets find it, and the one packet that answers them, until
 * three probe timeouts have passed (RFC 9000, 10.2). */
#include "wire/quic_int.h"

#include "base/time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define TIMER_STEP MILLI /* what a timer of the loop can tell apart */
#define CID_LIMIT 4u     /* ids that the remote may have of us: enough to migrate */
#define ACK_EVERY 8u /* packets; RFC 9000, 13.2.2 suggests two, where each costs a packet more */
#define PAYLOAD_MOST                                                                               \
    1452u /* of a packet, in IPv6 over Ethernet: what the search for more ends at */

/* ---- beginnings ------------------------------------------------------------------------------ */

struct quic_conn *quic_conn_new(struct quic *q, const struct quic_address *local,
                                const struct quic_address *remote)
{
    struct quic_conn *c = mem_zalloc(q->mem, sizeof *c);

    if (!c)
        return NULL;
    c->q = q;
    c->local = *local;
    c->remote = *remote;
    heap_node_init(&c->timer);
    list_init(&c->ready);
    list_init(&c->cids);
    list_init(&c->all);
    list_init(&c->sending);
    list_init(&c->look);
    list_init(&c->late);
    map_init(&c->streams, q->mem, q->seed);
    list_init(&c->link);
    list_push(&q->conns, &c->link);
    return c;
}

static void settings_of(const struct quic_conn *c, ngtcp2_settings *s, uint64_t now)
{
    ngtcp2_settings_default(s);
    s->initial_ts = now;
    s->rand_ctx.native_handle = (void *)(uintptr_t)c->q->host;
    s->max_tx_udp_payload_size = PAYLOAD_MOST;
    s->handshake_timeout = c->q->limits->handshake_timeout;
    s->ack_thresh = ACK_EVERY;
}

static void params_of(const struct quic_conn *c, ngtcp2_transport_params *p)
{
    const struct quic_limits *l = c->q->limits;

    ngtcp2_transport_params_default(p);
    p->initial_max_stream_data_bidi_local = l->stream_window;
    p->initial_max_stream_data_bidi_remote = l->stream_window;
    p->initial_max_data = l->window;
    p->initial_max_streams_bidi = l->streams;
    p->max_idle_timeout = l->idle_timeout;
    p->active_connection_id_limit = CID_LIMIT;
    p->grease_quic_bit = 1;
}

static int random_cid(struct quic_conn *c, ngtcp2_cid *cid)
{
    uint8_t bytes[CID_BYTES];

    if (quic_make_cid(c->q, c->server, bytes, sizeof bytes))
        return -1;
    ngtcp2_cid_init(cid, bytes, sizeof bytes);
    return 0;
}

static ngtcp2_path path_of(const struct quic_address *local, const struct quic_address *remote)
{
    return (ngtcp2_path){quic_ng_addr(local), quic_ng_addr(remote), NULL};
}

static void begun(struct quic_conn *c, uint64_t now)
{
    c->now = now;
    quic_tls_attach(c->tls, c->ng);
    ngtcp2_conn_set_keep_alive_timeout(c->ng, c->q->limits->keep_alive);
}

/* Packets find it by the id that the client has chosen, until it knows ours. */
int quic_conn_serve(struct quic_conn *c, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *odcid,
                    ngtcp2_token_type token_type, struct quic_keys *k, uint64_t now)
{
    ngtcp2_path path = path_of(&c->local, &c->remote);
    ngtcp2_settings s;
    ngtcp2_transport_params p;
    ngtcp2_stateless_reset_token token;
    ngtcp2_cid scid;

    c->server = true;
    memcpy(c->secret, quic_keys_secret(k), sizeof c->secret);
    settings_of(c, &s, now);
    params_of(c, &p);
    if (hd->tokenlen) {
        s.token = hd->token;
        s.tokenlen = hd->tokenlen;
        s.token_type = token_type;
    }
    p.original_dcid = odcid ? *odcid : hd->dcid;
    p.original_dcid_present = 1;
    if (odcid) {
        p.retry_scid = hd->dcid;
        p.retry_scid_present = 1;
    }
    if (random_cid(c, &scid) || ngtcp2_crypto_generate_stateless_reset_token(
                                    token.data, c->secret, sizeof c->secret, &scid))
        return -1;
    memcpy(p.stateless_reset_token, token.data, sizeof p.stateless_reset_token);
    p.stateless_reset_token_present = 1;
    c->tls = quic_tls_accept(c->q->mem, k);
    if (!c->tls || !quic_add_cid(c, scid.data, scid.datalen) ||
        !quic_add_cid(c, hd->dcid.data, hd->dcid.datalen) ||
        ngtcp2_conn_server_new(&c->ng, &hd->scid, &scid, &path, hd->version, &quic_callbacks, &s,
                               &p, &c->q->ng_mem, c))
        return -1;
    begun(c, now);
    return 0;
}

int quic_conn_dial(struct quic_conn *c, const struct quic_target *to, struct quic_keys *k,
                   const struct str *token, uint64_t now)
{
    ngtcp2_path path = path_of(&c->local, &c->remote);
    ngtcp2_settings s;
    ngtcp2_transport_params p;
    ngtcp2_cid dcid, scid;

    memcpy(c->secret, quic_keys_secret(k), sizeof c->secret);
    c->host = mem_dup(c->q->mem, to->host, strlen(to->host));
    settings_of(c, &s, now);
    params_of(c, &p);
    if (token->n) {
        s.token = (const uint8_t *)token->p;
        s.tokenlen = token->n;
        s.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
    }
    c->tls = quic_tls_connect(c->q->mem, k, to->host, to->pin, to->any);
    if (!c->host || !c->tls || random_cid(c, &dcid) || random_cid(c, &scid) ||
        !quic_add_cid(c, scid.data, scid.datalen) ||
        ngtcp2_conn_client_new(&c->ng, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &quic_callbacks,
                               &s, &p, &c->q->ng_mem, c))
        return -1;
    begun(c, now);
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void drop_session(struct quic_conn *c)
{
    quic_streams_free(c);
    if (c->ng)
        ngtcp2_conn_del(c->ng);
    c->ng = NULL;
    quic_tls_free(c->tls);
    c->tls = NULL;
}

void quic_conn_free(struct quic_conn *c)
{
    struct quic *q = c->q;

    assert(c->told || !c->events);
    drop_session(c);
    /* What has failed counts as long as something is left of it, or failures would pile up. */
    q->handshakes -= c->counted;
    heap_remove(&q->deadlines, &c->timer);
    list_del(&c->ready);
    list_del(&c->link);
    while (!list_empty(&c->cids))
        quic_drop_cid(container_of(c->cids.next, struct quic_cid, link));
    mem_wipe(c->secret, sizeof c->secret);
    mem_free(q->mem, c->host);
    mem_free(q->mem, c->farewell);
    mem_free(q->mem, c);
}

/* Everything of the session is gone before anybody is told: whoever pays for it may go then. */
void quic_conn_over(struct quic_conn *c, int64_t code, const char *why, uint64_t now)
{
    char text[sizeof c->why];

    if (c->told)
        return;
    c->told = true;
    c->state = QUIC_CLOSING;
    snprintf(text, sizeof text, "%s", why);
    drop_session(c);
    if (c->events)
        c->events->over(c->ud, code, text, now);
}

static void arm(struct quic_conn *c, uint64_t at)
{
    heap_remove(&c->q->deadlines, &c->timer);
    if (at != UINT64_MAX)
        heap_insert(&c->q->deadlines, &c->timer, at);
}

/* For so long packets for it may still be on their way. */
static void linger(struct quic_conn *c, uint8_t state, uint64_t pto, uint64_t now)
{
    c->state = state;
    list_del(&c->ready);
    arm(c, now + 3 * pto);
}

/* What a remote says of its reasons is shown to people: in printable ASCII. */
static void remote_reason(char *to, size_t size, const ngtcp2_ccerr *e)
{
    size_t n = 0;

    for (size_t i = 0; i < e->reasonlen && n + 1 < size; i++)
        to[n++] = e->reason[i] >= 0x20 && e->reason[i] < 0x7f ? (char)e->reason[i] : '?';
    to[n] = 0;
}

static void remote_closed(struct quic_conn *c, uint64_t now)
{
    const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr2(c->ng);
    uint64_t pto = ngtcp2_conn_get_pto2(c->ng);
    char said[100], why[160];
    int64_t code = -1;

    remote_reason(said, sizeof said, e);
    if (e->type == NGTCP2_CCERR_TYPE_APPLICATION) {
        code = e->error_code <= INT64_MAX ? (int64_t)e->error_code : -1;
        snprintf(why, sizeof why, "closed by the remote%s%s", *said ? ": " : "", said);
    } else if (e->error_code == NGTCP2_NO_ERROR && e->type == NGTCP2_CCERR_TYPE_TRANSPORT &&
               !e->frame_type) {
        snprintf(why, sizeof why, "the remote does not know the connection any more%s%s",
                 *said ? ": " : "", said);
    } else {
        snprintf(why, sizeof why, "the remote closed with the QUIC error 0x%llx%s%s",
                 (unsigned long long)e->error_code, *said ? ": " : "", said);
    }
    quic_conn_over(c, code, why, now);
    linger(c, QUIC_DRAINING, pto, now);
}

static void take_address(struct quic_address *to, const ngtcp2_addr *from)
{
    to->len = (uint32_t)from->addrlen;
    memcpy(to->bytes, from->addr, from->addrlen);
}

/* Writes the close and keeps it, since it has to be said again whenever something still comes. */
static size_t say_close(struct quic_conn *c, const ngtcp2_ccerr *e, int64_t code, const char *why,
                        uint8_t *buf, size_t size, struct quic_batch *out, uint64_t now)
{
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi;
    ngtcp2_ssize n;
    uint64_t pto = ngtcp2_conn_get_pto2(c->ng);

    ngtcp2_path_storage_zero(&ps);
    n = ngtcp2_conn_write_connection_close(c->ng, &ps.path, &pi, buf,
                                           size < FAREWELL_MAX ? size : FAREWELL_MAX, e, now);
    quic_conn_over(c, code, why, now);
    linger(c, QUIC_CLOSING, pto, now);
    if (n <= 0)
        return 0;
    c->farewell = mem_alloc(c->q->mem, (size_t)n);
    if (c->farewell) {
        memcpy(c->farewell, buf, (size_t)n);
        c->farewell_len = (uint16_t)n;
        c->answer_at = 1;
    }
    *out = (struct quic_batch){.segment = (size_t)n, .len = (size_t)n};
    take_address(&out->local, &ps.path.local);
    take_address(&out->remote, &ps.path.remote);
    return (size_t)n;
}

/* An error of the protocol, of TLS, or of this side: what is to be said of it is kept until the
 * next pull. */
static void fail(struct quic_conn *c, int rc)
{
    if (c->failed || c->close_asked)
        return;
    c->failed = rc;
    ngtcp2_ccerr_default(&c->error);
    if (rc == NGTCP2_ERR_CRYPTO) {
        ngtcp2_ccerr_set_tls_alert(&c->error, ngtcp2_conn_get_tls_alert2(c->ng), NULL, 0);
        snprintf(c->why, sizeof c->why, "%s",
                 *quic_tls_reason(c->tls) ? quic_tls_reason(c->tls) : "the TLS handshake failed");
    } else {
        ngtcp2_ccerr_set_liberr(&c->error, rc, NULL, 0);
        snprintf(c->why, sizeof c->why, "%s",
                 rc == NGTCP2_ERR_RECV_VERSION_NEGOTIATION
                     ? "the server speaks other versions of QUIC alone"
                     : ngtcp2_strerror(rc));
    }
    quic_note(c);
}

void quic_close(struct quic_conn *c, uint64_t code, const char *why)
{
    if (c->close_asked || c->failed || c->state >= QUIC_CLOSING)
        return;
    c->close_asked = true;
    c->close_code = code;
    snprintf(c->why, sizeof c->why, "%s", why);
    quic_note(c);
}

void quic_drop(struct quic_conn *c, const char *why)
{
    if (c->dropped || c->state >= QUIC_CLOSING)
        return;
    c->dropped = true;
    snprintf(c->why, sizeof c->why, "%s", why);
    quic_note(c);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* A token for the client's next time: then its address needs no proof. */
static void give_token(struct quic_conn *c, uint64_t now)
{
    uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];
    ngtcp2_addr remote = quic_ng_addr(&c->remote);
    ngtcp2_ssize n = ngtcp2_crypto_generate_regular_token2(
        token, c->secret, sizeof c->secret, remote.addr, remote.addrlen, NULL, 0, now);

    if (n > 0)
        ngtcp2_conn_submit_new_token(c->ng, token, (size_t)n);
}

/* Behind each step into ngtcp2. What is told may note the connection again. */
static void tell(struct quic_conn *c, uint64_t now)
{
    if (c->fresh && !quic_leaves(c)) {
        c->fresh = false;
        c->state = QUIC_OPEN;
        if (c->counted)
            c->q->handshakes--;
        c->counted = false;
        if (c->server)
            give_token(c, now);
        c->events->ready(c->ud, quic_tls_fingerprint(c->tls), now);
    }
    if (c->state != QUIC_OPEN || quic_leaves(c))
        return;
    if (c->more_streams)
        c->events->streams(c->ud);
    c->more_streams = false;
    quic_streams_settle(c, now);
}

static void rearm(struct quic_conn *c)
{
    uint64_t at = ngtcp2_conn_get_expiry2(c->ng);

    if (c->retry_at && c->retry_at < at)
        at = c->retry_at;
    if (c->sweep_at && c->sweep_at < at)
        at = c->sweep_at;
    if (c->held_to > c->now && !list_empty(&c->sending) && c->held_to < at)
        at = c->held_to;
    if (at != c->timer.key)
        arm(c, at);
}

/* One answer for the first packet that comes for a closed connection, then for each twice as many.
 * It goes where the packet came from, which may be new and is not proved: so to no packet of less
 * than a third of it. */
static void stray(struct quic_conn *c, const struct quic_datagram *d)
{
    if (c->state != QUIC_CLOSING || !c->farewell || 3 * d->len < c->farewell_len ||
        ++c->strays < c->answer_at)
        return;
    c->answer_at *= 2;
    c->strays = 0;
    c->say_again = true;
    c->local = d->local;
    c->remote = d->remote;
    quic_note(c);
}

bool quic_conn_feed(struct quic_conn *c, const struct quic_datagram *d, uint64_t now)
{
    ngtcp2_path path = path_of(&d->local, &d->remote);
    ngtcp2_pkt_info pi = {.ecn = (uint8_t)d->ecn};
    int rc;

    if (c->state >= QUIC_CLOSING) {
        stray(c, d);
        return false;
    }
    if (quic_leaves(c))
        return false;
    c->now = now;
    rc = ngtcp2_conn_read_pkt(c->ng, &path, &pi, d->data, d->len, now);
    if (rc == NGTCP2_ERR_DRAINING) {
        remote_closed(c, now);
        return false;
    }
    if (rc == NGTCP2_ERR_DROP_CONN || rc == NGTCP2_ERR_RETRY) {
        quic_conn_over(c, -1, "the handshake was not one", now);
        quic_conn_free(c);
        return rc == NGTCP2_ERR_RETRY;
    }
    if (rc)
        fail(c, rc);
    tell(c, now);
    quic_note(c);
    return false;
}

void quic_conn_expire(struct quic_conn *c, uint64_t now)
{
    int rc;

    if (c->state >= QUIC_CLOSING) {
        quic_conn_free(c);
        return;
    }
    c->now = now;
    rc = ngtcp2_conn_get_expiry2(c->ng) <= now ? ngtcp2_conn_handle_expiry(c->ng, now) : 0;
    if (rc == NGTCP2_ERR_IDLE_CLOSE || rc == NGTCP2_ERR_HANDSHAKE_TIMEOUT) {
        quic_conn_over(c, -1,
                       rc == NGTCP2_ERR_IDLE_CLOSE ? "the remote is not heard any more"
                                                   : "the handshake timed out",
                       now);
        quic_conn_free(c);
        return;
    }
    if (rc)
        fail(c, rc);
    tell(c, now);
    quic_note(c);
    /* Until the pull that follows. */
    arm(c, UINT64_MAX);
}

static size_t say_again(struct quic_conn *c, uint8_t *buf, struct quic_batch *out)
{
    size_t n = c->say_again ? c->farewell_len : 0;

    c->say_again = false;
    list_del(&c->ready);
    if (!n)
        return 0;
    memcpy(buf, c->farewell, n);
    *out = (struct quic_batch){.local = c->local, .remote = c->remote, .segment = n, .len = n};
    return n;
}

/* What was sent counts at 1.25 times the congestion window in a round trip (RFC 9002, 7.7). Who is
 * ahead of that by more than ten packets, and by more than a timer can tell, has to wait with what
 * is on streams: less is not paced, which on a timer of milliseconds would cost most of the
 * throughput. ngtcp2's own pacing would count what was sent long ago as sent now. */
static void pace(struct quic_conn *c, size_t sent, uint64_t now)
{
    ngtcp2_conn_info info;
    uint64_t ahead, ten;

    ngtcp2_conn_get_conn_info2(c->ng, &info);
    ten = 10 * PAYLOAD_MOST * info.smoothed_rtt * 4 / 5 / info.cwnd;
    ahead = c->paced_to > now ? c->paced_to - now : 0;
    ahead += sent * info.smoothed_rtt * 4 / 5 / info.cwnd;
    c->paced_to = now + ahead;
    ten = ten > TIMER_STEP ? ten : TIMER_STEP;
    c->held_to = ahead > ten ? c->paced_to - ten : 0;
}

static size_t write_packets(struct quic_conn *c, uint8_t *buf, size_t size, struct quic_batch *out,
                            uint64_t now)
{
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi = {0};
    size_t segment = 0, most = ngtcp2_conn_get_send_quantum2(c->ng);
    ngtcp2_ssize n;

    ngtcp2_path_storage_zero(&ps);
    n = ngtcp2_conn_write_aggregate_pkt2(c->ng, &ps.path, &pi, buf, size < most ? size : most,
                                         &segment, quic_write_packet, 0, now);
    if (n < 0)
        fail(c, (int)n);
    if (n <= 0)
        return 0;
    if (c->state == QUIC_OPEN)
        pace(c, (size_t)n, now);
    take_address(&out->local, &ps.path.local);
    take_address(&out->remote, &ps.path.remote);
    c->local = out->local;
    c->remote = out->remote;
    out->ecn = pi.ecn;
    out->segment = segment;
    out->len = (size_t)n;
    return (size_t)n;
}

size_t quic_conn_pull(struct quic_conn *c, uint8_t *buf, size_t size, struct quic_batch *out,
                      uint64_t now)
{
    size_t n;

    if (c->state >= QUIC_CLOSING)
        return say_again(c, buf, out);
    c->now = now;
    if (c->dropped) {
        quic_conn_over(c, -1, c->why, now);
        quic_conn_free(c);
        return 0;
    }
    tell(c, now);
    if (!c->failed && !c->close_asked) {
        n = write_packets(c, buf, size, out, now);
        if (n)
            return n;
    }
    if (c->close_asked)
        ngtcp2_ccerr_set_application_error(&c->error, c->close_code, (const uint8_t *)c->why,
                                           strlen(c->why));
    if (c->close_asked || c->failed)
        return say_close(c, &c->error, c->close_asked ? (int64_t)c->close_code : -1, c->why, buf,
                         size, out, now);
    if (c->state != QUIC_OPEN || list_empty(&c->look))
        list_del(&c->ready);
    rearm(c);
    return 0;
}

/* ---- what is asked of it --------------------------------------------------------------------- */

const char *quic_remote(const struct quic_conn *c, char out[QUIC_ADDRESS_TEXT])
{
    quic_address_text(&c->remote, out);
    return out;
}

void quic_adopt(struct quic_conn *c, const struct quic_events *events, void *ud)
{
    c->events = events;
    c->ud = ud;
}

void quic_set_mark(struct quic_conn *c, size_t mark)
{
    c->mark = mark;
}

bool quic_open_stream(struct quic_conn *c, uint64_t *stream)
{
    struct quic_stream *s;
    int64_t id;

    if (c->state != QUIC_OPEN || quic_leaves(c) || ngtcp2_conn_open_bidi_stream(c->ng, &id, NULL))
        return false;
    s = quic_stream_new(c, id);
    if (!s || ngtcp2_conn_set_stream_user_data(c->ng, id, s)) {
        fail(c, NGTCP2_ERR_NOMEM);
        return false;
    }
    *stream = (uint64_t)id;
    return true;
}

size_t quic_queued_all(const struct quic_conn *c)
{
    return c->queued;
}

uint64_t quic_progress(const struct quic_conn *c)
{
    return c->progress;
}

bool quic_awaits(const struct quic_conn *c)
{
    return c->flying || !list_empty(&c->sending);
}

int quic_migrate(struct quic_conn *c, const struct quic_address *local, uint64_t now)
{
    ngtcp2_path path = path_of(local, &c->remote);

    if (c->state != QUIC_OPEN || c->server ||
        ngtcp2_conn_initiate_immediate_migration(c->ng, &path, now))
        return -1;
    quic_note(c);
    return 0;
}

bool quic_update_keys(struct quic_conn *c, uint64_t now)
{
    bool begun_now = c->state == QUIC_OPEN && !ngtcp2_conn_initiate_key_update(c->ng, now);

    if (begun_now)
        quic_note(c);
    return begun_now;
}
