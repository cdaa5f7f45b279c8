/* Two endpoints of the QUIC engine and a network between them, with a clock of its own.
 *
 * The network delays, loses, doubles and reorders as a seed decides, drops what is above its MTU,
 * and can show one end under another address (a NAT). Time goes on from one arrival or deadline to
 * the next. What arrives at an address that nobody has goes to `nobody`. */
#ifndef ALK_TEST_QUIC_WIRE_H
#define ALK_TEST_QUIC_WIRE_H

#include "quic_end.h"

struct packet {
    struct list link;
    uint64_t at;
    struct quic_address from, to;
    unsigned ecn;
    size_t len;
    uint8_t data[];
};

struct wire {
    struct end server, client;
    struct list packets; /* by time of arrival */
    uint64_t now, delay, seed;
    unsigned loss, twice, late; /* of 1,000 */
    bool congested;             /* the network marks all that may be marked */
    size_t mtu, lost, pull;     /* pull: bytes of the buffer that packets are made in */
    void (*nobody)(struct wire *w, const struct packet *p);
    /* false: it does not arrive. */
    bool (*filter)(struct wire *w, struct packet *p);
    void *ud;
    struct peer *near, *far; /* client and server of wire_connect */
    char folder[64], server_print[ALK_TLS_FINGERPRINT], client_print[ALK_TLS_FINGERPRINT];
};

static inline bool chance(struct wire *w, unsigned of_thousand)
{
    return of_thousand && next_random(&w->seed) % 1000 < of_thousand;
}

/* ---- the network ----------------------------------------------------------------------------- */

static inline void packet_drop(struct packet *p)
{
    list_del(&p->link);
    free(p);
}

static inline void wire_put(struct wire *w, const struct quic_address *from,
                            const struct quic_address *to, unsigned ecn, const void *data,
                            size_t len, uint64_t at)
{
    struct packet *p = malloc(sizeof *p + len);
    struct list *l = w->packets.prev;

    *p = (struct packet){.at = at, .from = *from, .to = *to, .ecn = ecn, .len = len};
    memcpy(p->data, data, len);
    while (l != &w->packets && container_of(l, struct packet, link)->at > at)
        l = l->prev;
    list_init(&p->link);
    list_push_front(l, &p->link);
}

static inline void wire_send(struct wire *w, const struct end *e, const struct quic_batch *b,
                             const uint8_t *data, size_t len)
{
    const struct quic_address *from = same_address(&b->local, &e->address) ? &e->shown : &b->local;
    uint64_t at = w->now + w->delay;
    unsigned ecn = b->ecn;

    if (len > w->mtu || chance(w, w->loss)) {
        w->lost++;
        return;
    }
    if (w->congested && ecn)
        ecn = 3;
    if (chance(w, w->late))
        at += next_random(&w->seed) % (4 * w->delay);
    wire_put(w, from, &b->remote, ecn, data, len, at);
    if (chance(w, w->twice))
        wire_put(w, from, &b->remote, ecn, data, len, at + next_random(&w->seed) % w->delay);
}

/* As lib/uv/udp.c does it: behind each turn all that there is. */
static inline void end_flush(struct end *e)
{
    static uint8_t buf[64000];
    struct quic_batch b;
    size_t n;

    if (!e->q)
        return;
    e->woken = false;
    while ((n = quic_pull(e->q, buf, e->w->pull, &b, e->w->now))) {
        must(n == b.len && b.segment && b.segment <= 1452 && n <= e->w->pull);
        for (size_t at = 0, k; at < n; at += k) {
            k = n - at < b.segment ? n - at : b.segment;
            e->sent += k;
            e->datagrams++;
            e->marked += b.ecn != 0;
            wire_send(e->w, e, &b, buf + at, k);
        }
    }
    must(!quic_wants(e->q));
}

static inline void end_feed(struct end *e, const struct packet *p)
{
    struct quic_datagram d = {.local = e->address, .remote = p->from, .ecn = p->ecn, .len = p->len};
    uint8_t *copy = malloc(p->len ? p->len : 1); /* of just that size: reading on is seen */

    if (!same_address(&p->to, &e->shown))
        d.local = p->to;
    memcpy(copy, p->data, p->len);
    d.data = copy;
    quic_feed(e->q, &d, e->w->now);
    memset(copy, 0xdd, p->len);
    free(copy);
}

static inline void wire_deliver(struct wire *w, struct packet *p)
{
    struct end *e = (p->to.bytes[7] & 1) ? &w->client : &w->server;

    list_del(&p->link);
    if (p->to.bytes[4] != 10) {
        if (w->nobody)
            w->nobody(w, p);
    } else if (e->q && !e->deaf && (!w->filter || w->filter(w, p))) {
        end_feed(e, p);
        end_flush(e);
    }
    free(p);
}

static inline uint64_t wire_next(const struct wire *w)
{
    uint64_t at =
        list_empty(&w->packets) ? NEVER : container_of(w->packets.next, struct packet, link)->at;
    uint64_t s = w->server.q ? quic_deadline(w->server.q) : NEVER;
    uint64_t c = w->client.q ? quic_deadline(w->client.q) : NEVER;

    at = s < at ? s : at;
    return c < at ? c : at;
}

static inline void end_expire(struct end *e)
{
    if (!e->q)
        return;
    if (quic_deadline(e->q) <= e->w->now)
        quic_timeout(e->q, e->w->now);
    end_flush(e);
}

/* One arrival or deadline; false: there is none until then. */
static inline bool wire_step(struct wire *w, uint64_t until)
{
    uint64_t at;

    end_flush(&w->client);
    end_flush(&w->server);
    at = wire_next(w);
    if (at > until) {
        if (until != NEVER && until > w->now)
            w->now = until;
        return false;
    }
    if (at > w->now)
        w->now = at;
    if (!list_empty(&w->packets) && container_of(w->packets.next, struct packet, link)->at <= at) {
        wire_deliver(w, container_of(w->packets.next, struct packet, link));
    } else {
        end_expire(&w->client);
        end_expire(&w->server);
    }
    return true;
}

static inline void wire_run(struct wire *w, uint64_t ns)
{
    uint64_t until = w->now + ns;

    while (wire_step(w, until))
        ;
}

/* Until the condition holds, for ten minutes at most. */
#define wire_until(w, condition)                                                                   \
    do {                                                                                           \
        uint64_t give_up = (w)->now + 600000 * MS;                                                 \
        while (!(condition) && wire_step(w, give_up))                                              \
            ;                                                                                      \
        ck_assert_msg(condition, "%s does not come about", #condition);                            \
    } while (0)

/* ---- keys ------------------------------------------------------------------------------------ */

static inline const char *wire_path(struct wire *w, const char *name, const char *type)
{
    static char paths[8][128];
    static unsigned next;
    char *p = paths[next++ % 8];

    snprintf(p, sizeof paths[0], "%s/%s.%s", w->folder, name, type);
    return p;
}

/* The Ed25519 key NAME.key. */
static inline void wire_key(struct wire *w, const char *name, char print[ALK_TLS_FINGERPRINT])
{
    char why[200] = "";

    ck_assert_msg(!alk_key_new(wire_path(w, name, "key"), print, why, sizeof why), "%s", why);
}

/* The certificate NAME.crt with its key NAME.pem. */
static inline void wire_sign(struct wire *w, const char *name, char print[ALK_TLS_FINGERPRINT])
{
    char why[200] = "";

    ck_assert_msg(!alk_tls_self_sign(wire_path(w, name, "crt"), wire_path(w, name, "pem"),
                                     "[\"localhost\"]", 30, why, sizeof why),
                  "%s", why);
    ck_assert_int_eq(alk_key_fingerprint(wire_path(w, name, "crt"), print, why, sizeof why), 0);
}

/* key, pair: names; NULL: none. trusts: whose certificate is a trust anchor. */
static inline alk_tls *wire_tls(struct wire *w, bool client, const char *key, const char *pair,
                                const char *trusts)
{
    char why[300] = "", pairs[300];
    alk_tls_options o;
    alk_tls *t;

    alk_tls_options_init(&o, sizeof o);
    o.client = client;
    if (key)
        o.raw_key = wire_path(w, key, "key");
    if (trusts)
        o.ca_file = wire_path(w, trusts, "crt");
    if (pair) {
        snprintf(pairs, sizeof pairs, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]",
                 wire_path(w, pair, "crt"), wire_path(w, pair, "pem"));
        o.certificates = pairs;
    }
    ck_assert_msg(!alk_tls_new(&t, &o, why, sizeof why), "%s", why);
    return t;
}

/* ---- the wire -------------------------------------------------------------------------------- */

#define SERVER_HOST 0x0a000002u
#define CLIENT_HOST 0x0a000001u

/* Keys and what is read of them are the same for all wires of a process: they take long to make. */
static struct {
    char folder[64], server[ALK_TLS_FINGERPRINT], client[ALK_TLS_FINGERPRINT];
    alk_tls *client_tls;
} keys;

static inline void keys_free(void)
{
    char command[100];

    alk_tls_unref(keys.client_tls);
    snprintf(command, sizeof command, "rm -rf %s", keys.folder);
    if (system(command))
        perror(command);
}

static inline void keys_make(struct wire *w)
{
    snprintf(keys.folder, sizeof keys.folder, "/tmp/quic.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(keys.folder));
    atexit(keys_free);
    memcpy(w->folder, keys.folder, sizeof w->folder);
    wire_key(w, "server", keys.server);
    wire_key(w, "client", keys.client);
    keys.client_tls = wire_tls(w, true, "client", NULL, NULL);
}

static inline struct wire *wire_new(void)
{
    struct wire *w = calloc(1, sizeof *w);

    w->now = 1000000 * MS;
    w->delay = 10 * MS;
    w->seed = 2463534242u;
    w->mtu = 1500;
    w->pull = 64000;
    list_init(&w->packets);
    end_init(&w->server, w, SERVER_HOST, 4433);
    end_init(&w->client, w, CLIENT_HOST, 50000);
    if (!keys.client_tls)
        keys_make(w);
    memcpy(w->folder, keys.folder, sizeof w->folder);
    memcpy(w->server_print, keys.server, sizeof w->server_print);
    memcpy(w->client_print, keys.client, sizeof w->client_print);
    return w;
}

static inline void wire_free(struct wire *w)
{
    end_close(&w->client);
    end_close(&w->server);
    while (!list_empty(&w->packets))
        packet_drop(container_of(w->packets.next, struct packet, link));
    free(w);
}

/* Both with a raw key of their own. */
static inline void wire_open(struct wire *w)
{
    alk_tls *t = wire_tls(w, false, "server", NULL, NULL);

    end_open(&w->server, t);
    end_open(&w->client, NULL);
    alk_tls_unref(t);
}

/* t NULL: the client's own. The reference to t is taken. pin "any": whatever is shown. */
static inline struct peer *wire_dial(struct wire *w, alk_tls *t, const char *pin)
{
    struct quic_target to = {.local = &w->client.address,
                             .remote = &w->server.shown,
                             .host = "localhost",
                             .any = pin && !strcmp(pin, "any")};
    struct peer *p = peer_new(&w->client, NULL);

    to.pin = to.any ? NULL : pin;
    to.tls = t ? t : alk_tls_ref(keys.client_tls);
    p->c = quic_connect(w->client.q, &to, &peer_events, p, w->now);
    alk_tls_unref(to.tls);
    if (p->c)
        return p;
    peer_free(p);
    return NULL;
}

/* The newest. */
static inline struct peer *wire_far(struct wire *w)
{
    return list_empty(&w->server.peers) ? NULL
                                        : container_of(w->server.peers.prev, struct peer, link);
}

static inline void wire_connect(struct wire *w)
{
    w->near = wire_dial(w, NULL, w->server_print);
    ck_assert_ptr_nonnull(w->near);
    wire_until(w, w->near->readies);
    w->far = wire_far(w);
    ck_assert_int_eq(w->far->readies, 1);
}

static inline struct wire *wire_connected(void)
{
    struct wire *w = wire_new();

    wire_open(w);
    wire_connect(w);
    return w;
}

static inline uint64_t open_stream(struct peer *p)
{
    uint64_t id = 0;

    must(quic_open_stream(p->c, &id));
    return id;
}

static inline void say(struct peer *p, uint64_t stream, const char *text)
{
    must(!quic_send(p->c, stream, text, strlen(text)));
}

static inline bool got(struct peer *p, uint64_t stream, const char *text)
{
    struct heard *h = peer_stream(p, stream);

    return h->got.len == strlen(text) &&
           !memcmp(h->got.len ? buf_at(&h->got) : "", text, h->got.len);
}

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    int failed;

    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
