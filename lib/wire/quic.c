/* The endpoint of QUIC: whose a datagram is, who may open a connection, what is to be sent next.
 *
 * Somebody who has not proved to be where he says he is costs little: a connection while few
 * handshakes are under way, else a Retry, which costs no memory. What is sent to him is never more
 * than three times what came from there (RFC 9000, 8.1; ngtcp2 sees to it for connections), and
 * what belongs to no connection is answered with less than came. */
#include "wire/quic_int.h"

#include "base/ip.h"
#include "base/time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define RETRY_VALID (10 * SECOND)
#define TOKEN_VALID (24 * 3600 * SECOND)
#define TOKENS_MAX 64u
#define TOKEN_BYTES_MAX 512u
#define RESETS_A_SECOND 100u
/* A stateless reset is shorter than the packet that it answers, or two nodes that know nothing of
 * each other would go on for ever (RFC 9000, 10.3.3). */
#define RESET_LEAST 21u
#define RESET_MOST 42u

/* What a server gave for the next time (RFC 9000, 8.1.3). */
struct quic_token {
    struct list link;
    char *host;
    char *token;
    size_t len;
};

struct quic *quic_new(const struct quic_options *o)
{
    struct quic *q = mem_zalloc(o->mem, sizeof *q);

    if (!q)
        return NULL;
    q->mem = o->mem;
    quic_memory(q);
    q->host = o->host;
    q->app = o->app;
    q->limits = o->limits;
    q->mark = o->mark;
    list_init(&q->conns);
    list_init(&q->ready);
    list_init(&q->replies);
    list_init(&q->tokens);
    map_init(&q->cids, q->mem, q->seed);
    if (o->host->random(q->seed, sizeof q->seed)) {
        mem_free(q->mem, q);
        return NULL;
    }
    q->tls = o->tls ? alk_tls_ref(o->tls) : NULL;
    return q;
}

static void drop_reply(struct quic *q, struct quic_reply *r)
{
    list_del(&r->link);
    q->reply_count--;
    mem_free(q->mem, r);
}

static void drop_token(struct quic *q, struct quic_token *t)
{
    list_del(&t->link);
    q->token_count--;
    mem_free(q->mem, t->host);
    mem_free(q->mem, t->token);
    mem_free(q->mem, t);
}

void quic_free(struct quic *q)
{
    if (!q)
        return;
    q->inside = true; /* nobody is woken any more */
    while (!list_empty(&q->conns)) {
        struct quic_conn *c = container_of(q->conns.next, struct quic_conn, link);

        quic_conn_over(c, -1, "the endpoint is closed", c->now);
        quic_conn_free(c);
    }
    while (!list_empty(&q->replies))
        drop_reply(q, container_of(q->replies.next, struct quic_reply, link));
    while (!list_empty(&q->tokens))
        drop_token(q, container_of(q->tokens.next, struct quic_token, link));
    assert(!q->handshakes && !q->deadlines.root && list_empty(&q->ready));
    map_fini(&q->cids);
    alk_tls_unref(q->tls);
    mem_free(q->mem, q);
}

void quic_drain(struct quic *q)
{
    q->draining = true;
}

void quic_close_all(struct quic *q, uint64_t code, const char *why)
{
    list_each(l, &q->conns) quic_close(container_of(l, struct quic_conn, link), code, why);
}

static void wake(struct quic *q)
{
    if (!q->inside)
        q->app->wake(q->app->ud);
}

void quic_note(struct quic_conn *c)
{
    if (!list_empty(&c->ready))
        return;
    list_push(&c->q->ready, &c->ready);
    wake(c->q);
}

ngtcp2_addr quic_ng_addr(const struct quic_address *a)
{
    return (ngtcp2_addr){(ngtcp2_sockaddr *)(uintptr_t)a->bytes, a->len};
}

void quic_address_text(const struct quic_address *a, char out[QUIC_ADDRESS_TEXT])
{
    const ngtcp2_sockaddr_union *u = (const ngtcp2_sockaddr_union *)(const void *)a->bytes;
    struct ip ip;

    if (a->len == sizeof u->in)
        ip = ip_of_v4((const uint8_t *)&u->in.sin_addr);
    else
        memcpy(ip.b, &u->in6.sin6_addr, sizeof ip.b);
    ip_text(&ip, out);
}

/* ---- connection ids -------------------------------------------------------------------------- */

int quic_make_cid(const struct quic *q, bool server, uint8_t *to, size_t len)
{
    if (q->host->random(to, len))
        return -1;
    if (server)
        to[0] = q->mark;
    return 0;
}

bool quic_add_cid(struct quic_conn *c, const uint8_t *bytes, size_t len)
{
    struct quic *q = c->q;
    struct quic_cid *id;

    if (map_find(&q->cids, (const char *)bytes, len) || !(id = mem_zalloc(q->mem, sizeof *id)))
        return false;
    memcpy(id->bytes, bytes, len);
    id->c = c;
    id->node.key = (const char *)id->bytes;
    id->node.len = len;
    list_init(&id->link);
    if (map_add(&q->cids, &id->node)) {
        mem_free(q->mem, id);
        return false;
    }
    list_push(&c->cids, &id->link);
    return true;
}

void quic_drop_cid(struct quic_cid *id)
{
    struct quic *q = id->c->q;

    list_del(&id->link);
    map_del(&q->cids, &id->node);
    mem_free(q->mem, id);
}

/* ---- tokens of servers ----------------------------------------------------------------------- */

static struct quic_token *find_token(const struct quic *q, const char *host)
{
    list_each(l, &q->tokens)
    {
        struct quic_token *t = container_of(l, struct quic_token, link);

        if (!strcmp(t->host, host))
            return t;
    }
    return NULL;
}

/* One for each server, the newest; without room for it the next connection does without. */
void quic_token_keep(struct quic *q, const char *host, const uint8_t *token, size_t len)
{
    struct quic_token *t = find_token(q, host);

    if (t)
        drop_token(q, t);
    if (len > TOKEN_BYTES_MAX)
        return;
    if (q->token_count == TOKENS_MAX)
        drop_token(q, container_of(q->tokens.next, struct quic_token, link));
    t = mem_zalloc(q->mem, sizeof *t);
    if (!t)
        return;
    list_init(&t->link);
    list_push(&q->tokens, &t->link);
    q->token_count++;
    t->host = mem_dup(q->mem, host, strlen(host));
    t->token = mem_dup(q->mem, token, len);
    t->len = len;
    if (!t->host || !t->token)
        drop_token(q, t);
}

/* ---- packets of no connection ---------------------------------------------------------------- */

static struct quic_reply *reply_to(struct quic *q, const struct quic_datagram *d)
{
    struct quic_reply *r = q->reply_count < REPLIES_MAX ? mem_zalloc(q->mem, sizeof *r) : NULL;

    if (!r)
        return NULL;
    r->local = d->local;
    r->remote = d->remote;
    list_init(&r->link);
    return r;
}

static void send_reply(struct quic *q, struct quic_reply *r, ngtcp2_ssize n)
{
    if (n <= 0) {
        mem_free(q->mem, r);
        return;
    }
    r->len = (size_t)n;
    list_push(&q->replies, &r->link);
    q->reply_count++;
    wake(q);
}

static void negotiate_version(struct quic *q, const struct quic_datagram *d,
                              const ngtcp2_version_cid *v)
{
    static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1};
    struct quic_reply *r;
    uint8_t random = 0;

    if (d->len < NGTCP2_MAX_UDP_PAYLOAD_SIZE || !(r = reply_to(q, d)))
        return;
    q->host->random(&random, sizeof random);
    send_reply(q, r,
               ngtcp2_pkt_write_version_negotiation(r->data, sizeof r->data, random, v->scid,
                                                    v->scidlen, v->dcid, v->dcidlen, versions, 1));
}

static bool may_reset(struct quic *q, uint64_t now)
{
    if (now - q->resets_at >= SECOND) {
        q->resets_at = now;
        q->resets = 0;
    }
    return q->resets++ < RESETS_A_SECOND;
}

/* A short packet of a connection that is not known, as after a restart: the remote hears that it is
 * of no use to go on. */
static void reset(struct quic *q, const struct quic_datagram *d, const ngtcp2_version_cid *v,
                  uint64_t now)
{
    ngtcp2_stateless_reset_token token;
    struct quic_keys *k;
    struct quic_reply *r;
    ngtcp2_cid cid;
    uint8_t random[RESET_MOST];
    size_t n = d->len - 1 < sizeof random ? d->len - 1 : sizeof random;

    if (n < RESET_LEAST || !may_reset(q, now) || !(r = reply_to(q, d)))
        return;
    k = tls_current_keys(q->tls);
    ngtcp2_cid_init(&cid, v->dcid, v->dcidlen);
    if (q->host->random(random, sizeof random) ||
        ngtcp2_crypto_generate_stateless_reset_token(token.data, quic_keys_secret(k), 32, &cid))
        n = 0;
    quic_keys_unref(k);
    send_reply(q, r,
               n ? ngtcp2_pkt_write_stateless_reset2(r->data, n, &token, random,
                                                     n - NGTCP2_STATELESS_RESET_TOKENLEN)
                 : 0);
}

static void retry(struct quic *q, const struct quic_datagram *d, const ngtcp2_pkt_hd *hd,
                  struct quic_keys *k, uint64_t now)
{
    struct quic_reply *r = reply_to(q, d);
    ngtcp2_addr remote = quic_ng_addr(&d->remote);
    uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2], bytes[CID_BYTES];
    ngtcp2_cid scid;
    ngtcp2_ssize n = -1;

    if (!r)
        return;
    if (!quic_make_cid(q, true, bytes, sizeof bytes)) {
        ngtcp2_cid_init(&scid, bytes, sizeof bytes);
        n = ngtcp2_crypto_generate_retry_token2(token, quic_keys_secret(k), 32, hd->version,
                                                remote.addr, remote.addrlen, &scid, &hd->dcid, now);
    }
    if (n > 0)
        n = ngtcp2_crypto_write_retry(r->data, sizeof r->data, hd->version, &hd->scid, &scid,
                                      &hd->dcid, token, (size_t)n);
    send_reply(q, r, n);
}

/* Whoever has a token of a Retry that is none of ours, or is too old, cannot go on with it. */
static void refuse_token(struct quic *q, const struct quic_datagram *d, const ngtcp2_pkt_hd *hd)
{
    struct quic_reply *r = reply_to(q, d);

    if (r)
        send_reply(q, r,
                   ngtcp2_crypto_write_connection_close(r->data, sizeof r->data, hd->version,
                                                        &hd->scid, &hd->dcid, NGTCP2_INVALID_TOKEN,
                                                        NULL, 0));
}

/* ---- new connections ------------------------------------------------------------------------- */

enum { ADDRESS_UNKNOWN, ADDRESS_PROVED, ADDRESS_BY_RETRY, TOKEN_BAD };

/* Whether the client has proved its address by a token. */
static int look_at_token(const struct quic_datagram *d, const ngtcp2_pkt_hd *hd,
                         const struct quic_keys *k, ngtcp2_cid *odcid, uint64_t now)
{
    ngtcp2_addr remote = quic_ng_addr(&d->remote);
    const uint8_t *secret = quic_keys_secret(k);

    if (!hd->tokenlen)
        return ADDRESS_UNKNOWN;
    if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2)
        return ngtcp2_crypto_verify_retry_token2(odcid, hd->token, hd->tokenlen, secret, 32,
                                                 hd->version, remote.addr, remote.addrlen,
                                                 &hd->dcid, RETRY_VALID, now)
                   ? TOKEN_BAD
                   : ADDRESS_BY_RETRY;
    if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR &&
        ngtcp2_crypto_verify_regular_token2(NULL, 0, hd->token, hd->tokenlen, secret, 32,
                                            remote.addr, remote.addrlen, TOKEN_VALID, now) >= 0)
        return ADDRESS_PROVED;
    return ADDRESS_UNKNOWN;
}

static void open_conn(struct quic *q, const struct quic_datagram *d, const ngtcp2_pkt_hd *hd,
                      int proof, const ngtcp2_cid *odcid, struct quic_keys *k, uint64_t now)
{
    char address[QUIC_ADDRESS_TEXT];
    struct quic_conn *c = quic_conn_new(q, &d->local, &d->remote);
    ngtcp2_token_type type =
        proof == ADDRESS_BY_RETRY ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
    ngtcp2_pkt_hd first = *hd;

    if (!c)
        return;
    if (proof == ADDRESS_UNKNOWN)
        first.tokenlen = 0;
    q->handshakes++;
    c->counted = true;
    quic_address_text(&d->remote, address);
    if (!q->app->accept(q->app->ud, c, address, &c->events, &c->ud, now)) {
        c->events = NULL;
        quic_conn_free(c);
        return;
    }
    if (quic_conn_serve(c, &first, proof == ADDRESS_BY_RETRY ? odcid : NULL, type, k, now)) {
        quic_conn_over(c, -1, "out of memory", now);
        quic_conn_free(c);
        return;
    }
    if (quic_conn_feed(c, d, now))
        retry(q, d, hd, k, now);
}

static void accept_conn(struct quic *q, const struct quic_datagram *d, uint64_t now)
{
    uint32_t most = q->limits->handshakes;
    struct quic_keys *k;
    ngtcp2_pkt_hd hd;
    ngtcp2_cid odcid;
    int proof;

    if (!q->tls || q->draining || ngtcp2_accept(&hd, d->data, d->len))
        return;
    k = tls_current_keys(q->tls);
    proof = look_at_token(d, &hd, k, &odcid, now);
    if (proof == TOKEN_BAD)
        refuse_token(q, d, &hd);
    else if (proof == ADDRESS_UNKNOWN && q->handshakes >= most / 4)
        retry(q, d, &hd, k, now);
    else if (q->handshakes < most)
        open_conn(q, d, &hd, proof, &odcid, k, now);
    quic_keys_unref(k);
}

/* ---- the transport's side -------------------------------------------------------------------- */

/* Of a connection that is there, and not of its handshake (RFC 9000, section 17.3). */
static bool is_short(const struct quic_datagram *d)
{
    return !(d->data[0] & 0x80);
}

/* A stateless reset looks like a packet of somebody unknown, but for its last bytes. */
static struct map_node *find_reset(const struct quic *q, const struct quic_datagram *d)
{
    size_t n = NGTCP2_STATELESS_RESET_TOKENLEN;

    return d->len > n ? map_find(&q->cids, (const char *)d->data + d->len - n, n) : NULL;
}

static bool pass(const struct quic *q, const struct quic_datagram *d, const ngtcp2_version_cid *v)
{
    ngtcp2_pkt_hd hd;

    return q->app->pass && !d->passed && v->dcidlen &&
           q->app->pass(q->app->ud, d, v->dcid[0],
                        v->version && !ngtcp2_accept(&hd, d->data, d->len));
}

static void feed(struct quic *q, const struct quic_datagram *d, uint64_t now)
{
    ngtcp2_version_cid v;
    struct map_node *n;
    int rc = ngtcp2_pkt_decode_version_cid(&v, d->data, d->len, CID_BYTES);

    if (rc == NGTCP2_ERR_VERSION_NEGOTIATION) {
        if (q->tls && !q->draining)
            negotiate_version(q, d, &v);
        return;
    }
    if (rc)
        return;
    n = map_find(&q->cids, (const char *)v.dcid, v.dcidlen);
    if (!n && is_short(d))
        n = find_reset(q, d);
    if (n)
        quic_conn_feed(container_of(n, struct quic_cid, node)->c, d, now);
    else if (pass(q, d, &v))
        return;
    else if (v.version)
        accept_conn(q, d, now);
    else if (q->tls && is_short(d))
        reset(q, d, &v, now);
}

void quic_feed(struct quic *q, const struct quic_datagram *d, uint64_t now)
{
    if (d->len)
        feed(q, d, now);
}

size_t quic_pull(struct quic *q, uint8_t *buf, size_t size, struct quic_batch *out, uint64_t now)
{
    size_t n = 0;

    q->inside = true;
    if (!list_empty(&q->replies)) {
        struct quic_reply *r = container_of(q->replies.next, struct quic_reply, link);

        n = r->len;
        memcpy(buf, r->data, n);
        *out = (struct quic_batch){.local = r->local, .remote = r->remote, .segment = n, .len = n};
        drop_reply(q, r);
    }
    /* By turns: who has much to send goes to the end. */
    while (!n && !list_empty(&q->ready)) {
        struct quic_conn *c = container_of(q->ready.next, struct quic_conn, ready);

        /* It goes to the end before it has its turn, in which it may go altogether. */
        list_del(&c->ready);
        list_push(&q->ready, &c->ready);
        n = quic_conn_pull(c, buf, size, out, now);
    }
    q->inside = false;
    return n;
}

bool quic_wants(const struct quic *q)
{
    return !list_empty(&q->ready) || !list_empty(&q->replies);
}

uint64_t quic_deadline(const struct quic *q)
{
    return q->deadlines.root ? q->deadlines.root->key : UINT64_MAX;
}

void quic_timeout(struct quic *q, uint64_t now)
{
    struct heap_node *n;

    while ((n = q->deadlines.root) && n->key <= now)
        quic_conn_expire(container_of(n, struct quic_conn, timer), now);
}

bool quic_empty(const struct quic *q)
{
    return list_empty(&q->conns);
}

struct quic_conn *quic_connect(struct quic *q, const struct quic_target *to,
                               const struct quic_events *events, void *ud, uint64_t now)
{
    struct quic_conn *c = quic_conn_new(q, to->local, to->remote);
    struct quic_keys *k;
    struct quic_token *t;
    struct str token = STR_NONE;
    int rc;

    if (!c)
        return NULL;
    k = tls_current_keys(to->tls);
    t = find_token(q, to->host);
    if (t)
        token = (struct str){t->token, t->len};
    rc = quic_conn_dial(c, to, k, &token, now);
    quic_keys_unref(k);
    if (rc) {
        quic_conn_free(c);
        return NULL;
    }
    c->events = events;
    c->ud = ud;
    quic_note(c);
    return c;
}
