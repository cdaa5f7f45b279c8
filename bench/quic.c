/* QUIC in one process on one core:  quic PAIRS CALLS, and idle connections:  quic idle URL COUNT
 *
 * Client and server are on one loop and speak over loopback. Beside the library's runs, in turn with them, there are those of
 * bare ngtcp2 with GnuTLS, with the same keys, batches and sockets, which echoes bytes of the length of the library's
 * envelopes on one stream or on one for each echo, and knows of no call; and a UDP echo on libuv. What a line says is CPU time
 * of both sides together, since they share the core, and for one call at a time the median of its time. Handshakes are full and
 * mutual with raw keys, in memory, without a socket. A line of JSON for each pair.
 *
 * Idle: COUNT connections to URL, as nobody, which stay until standard input ends. */
#include "client.h"

#include "base/host.h"
#include "wire/quic.h"
#include "wire/quic_tls.h"

#include <alknet/uv.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <unistd.h>

#define IN_FLIGHT 64
#define HANDSHAKES 100
#define INPUT                                                                                      \
    "{\"text\":\"a call of a usual length, as one has "                                            \
    "them\",\"n\":12345,\"list\":[1,2,3,4,5,6,7,8]}"
#define BYTES 260 /* of the library's request with its frame; checked */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static char folder[64], server_key[96], client_key[96];
static char server_print[ALK_TLS_FINGERPRINT], client_print[ALK_TLS_FINGERPRINT];
static alk_tls *server_tls, *client_tls;

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void make_keys(void)
{
    alk_tls_options o;
    char err[200];

    snprintf(folder, sizeof folder, "/tmp/alknet-bench.XXXXXX");
    must(mkdtemp(folder));
    snprintf(server_key, sizeof server_key, "%s/server", folder);
    snprintf(client_key, sizeof client_key, "%s/client", folder);
    if (alk_key_new(server_key, server_print, err, sizeof err) ||
        alk_key_new(client_key, client_print, err, sizeof err))
        fail("%s", err);
    alk_tls_options_init(&o, sizeof o);
    o.raw_key = server_key;
    if (alk_tls_new(&server_tls, &o, err, sizeof err))
        fail("%s", err);
    o.raw_key = client_key;
    o.client = 1;
    o.pin = server_print;
    if (alk_tls_new(&client_tls, &o, err, sizeof err))
        fail("%s", err);
    unlink(server_key);
    unlink(client_key);
    rmdir(folder);
}

/* ---- the library ----------------------------------------------------------------------------- */

static struct ours {
    uv_loop_t uv;
    alk_loop *server, *client;
    alk_connection *conn;
    uint64_t begun, *times;
    int calls, done, total, in_flight;
} ours;

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return alk_call_reply(call, text, len);
}

static void begin_call(void);

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)ud;
    if (fault)
        fail("%s: %s", fault->code, fault->message);
    if (ours.times)
        ours.times[ours.done] = now_ns() - ours.begun;
    ours.done++;
    if (ours.calls < ours.total)
        begin_call();
}

static void begin_call(void)
{
    alk_call_options o;

    alk_call_options_init(&o, sizeof o);
    o.on_end = on_end;
    ours.calls++;
    ours.begun = ours.times ? now_ns() : 0;
    if (alk_connection_call(ours.conn, "demo/echo", 9, INPUT, sizeof INPUT - 1, &o, NULL))
        fail("a call does not begin");
}

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    (void)x;
    (void)ud;
    if (e->state == ALK_DIAL_FAILED)
        fail("%s", e->message);
    if (e->state == ALK_DIAL_OPEN)
        ours.conn = e->connection;
}

/* Everything but the calls is made and unmade here; CPU time of the calls is what is returned. */
static uint64_t run_ours(int total, int in_flight, bool each, uint64_t *times)
{
    alk_registry *reg = alk_registry_new();
    alk_identities *ids = alk_identities_new();
    alk_identity_provider provider;
    alk_operation op;
    alk_node *node;
    alk_node_options no;
    alk_dispatcher *d[2];
    alk_gateway *gateway;
    alk_server *server;
    alk_server_options so;
    alk_dial_options o;
    alk_dialer *dialer;
    char json[256], url[160], err[200] = "";
    uint64_t cpu;

    memset(&ours, 0, sizeof ours);
    uv_loop_init(&ours.uv);
    alk_operation_init(&op, sizeof op);
    op.name = "demo/echo";
    op.handler = echo;
    snprintf(json, sizeof json, "{\"peers\":[{\"peer_id\":\"me\",\"fingerprints\":[\"%s\"]}]}",
             client_print);
    alk_node_options_init(&no, sizeof no);
    alk_server_options_init(&so, sizeof so);
    if (alk_registry_add(reg, &op) || alk_registry_freeze(reg) ||
        alk_identities_load(ids, json, strlen(json), 0, NULL, err, sizeof err))
        fail("the node: %s", err);
    alk_identities_provider(ids, &provider, sizeof provider);
    no.identities = &provider;
    if (alk_node_new(&node, reg, &no) || alk_dispatcher_new(&d[0], node) ||
        alk_dispatcher_new(&d[1], node) || alk_loop_open(&ours.server, &ours.uv, d[0]) ||
        alk_loop_open(&ours.client, &ours.uv, d[1]) ||
        alk_gateway_new(&gateway, d[0], NULL, NULL, 0))
        fail("the node");
    so.gateway = gateway;
    so.tls = server_tls;
    so.quic = 1;
    if (alk_server_open(&server, ours.server, &so, err, sizeof err))
        fail("%s", err);
    snprintf(url, sizeof url, "alknet://127.0.0.1:%d", alk_server_port(server));
    alk_dial_options_init(&o, sizeof o);
    o.url = url;
    o.tls = client_tls;
    o.on_event = on_dial;
    o.stream_per_call = each;
    if (alk_dial(&dialer, ours.client, &o, err, sizeof err))
        fail("%s", err);
    while (!ours.conn)
        uv_run(&ours.uv, UV_RUN_ONCE);
    /* Warm, and not counted. */
    ours.total = total / 10 + in_flight;
    for (int i = 0; i < in_flight; i++)
        begin_call();
    while (ours.done < ours.total)
        uv_run(&ours.uv, UV_RUN_ONCE);
    ours.calls = ours.done = 0;
    ours.total = total;
    ours.times = times;
    cpu = cpu_ns();
    for (int i = 0; i < in_flight; i++)
        begin_call();
    while (ours.done < ours.total)
        uv_run(&ours.uv, UV_RUN_ONCE);
    cpu = cpu_ns() - cpu;
    alk_loop_close(ours.client, NULL, NULL);
    alk_loop_close(ours.server, NULL, NULL);
    uv_run(&ours.uv, UV_RUN_DEFAULT);
    uv_loop_close(&ours.uv);
    alk_gateway_free(gateway);
    alk_node_unref(node);
    alk_identities_unref(ids);
    alk_registry_unref(reg);
    return cpu;
}

/* ---- bare ngtcp2 ----------------------------------------------------------------------------- */

struct bare {
    int fd;
    ngtcp2_conn *ng;
    struct quic_tls *tls;
    struct sockaddr_in local, remote;
    bool server, each, confirmed, closed;
    int64_t stream;       /* the one for all */
    uint64_t unsent;      /* bytes on it */
    uint64_t came;        /* bytes, of all streams */
    int64_t waiting[256]; /* streams with an echo to send */
    unsigned first, count;
    int calls, done, total;
};

static uint8_t payload[1 << 16];
static struct mem memory;

static uint64_t stamp(void)
{
    return now_ns();
}

static int bare_cid(ngtcp2_conn *ng, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                    size_t len, void *ud)
{
    (void)ng;
    (void)ud;
    cid->datalen = len;
    host_default()->random(cid->data, len);
    host_default()->random(token->data, sizeof token->data);
    return 0;
}

static void bare_rand(uint8_t *to, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)ctx;
    host_default()->random(to, len);
}

static int bare_challenge(ngtcp2_conn *ng, ngtcp2_path_challenge_data *data, void *ud)
{
    (void)ng;
    (void)ud;
    return host_default()->random(data->data, sizeof data->data);
}

static int bare_completed(ngtcp2_conn *ng, void *ud)
{
    struct bare *b = ud;

    (void)ng;
    b->confirmed |= b->server;
    return 0;
}

static int bare_confirmed(ngtcp2_conn *ng, void *ud)
{
    (void)ng;
    ((struct bare *)ud)->confirmed = true;
    return 0;
}

static void bare_queue(struct bare *b, int64_t id)
{
    b->waiting[(b->first + b->count++) % 256] = id;
}

static int bare_data(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t offset,
                     const uint8_t *data, size_t len, void *ud, void *stream)
{
    struct bare *b = ud;

    (void)offset;
    (void)data;
    (void)stream;
    ngtcp2_conn_extend_max_stream_offset(ng, id, len);
    ngtcp2_conn_extend_max_offset(ng, len);
    b->came += len;
    if (b->each) {
        if (b->server && (flags & NGTCP2_STREAM_DATA_FLAG_FIN))
            bare_queue(b, id);
        b->done += !b->server && (flags & NGTCP2_STREAM_DATA_FLAG_FIN);
    } else if (b->server) {
        b->stream = id;
        b->unsent += len;
    } else {
        b->done = (int)(b->came / BYTES);
    }
    return 0;
}

static int bare_close(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t code, void *ud,
                      void *stream)
{
    (void)flags;
    (void)code;
    (void)ud;
    (void)stream;
    if (!ngtcp2_conn_is_local_stream2(ng, id))
        ngtcp2_conn_extend_max_streams_bidi(ng, 1);
    return 0;
}

static const ngtcp2_callbacks bare_callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = bare_completed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = bare_data,
    .stream_close = bare_close,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = bare_rand,
    .update_key = ngtcp2_crypto_update_key_cb,
    .handshake_confirmed = bare_confirmed,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .get_new_connection_id2 = bare_cid,
    .get_path_challenge_data2 = bare_challenge,
};

static void bare_new(struct bare *b, const uint8_t *first, size_t len)
{
    struct quic_keys *k = tls_current_keys(b->server ? server_tls : client_tls);
    ngtcp2_path path = {
        {(void *)&b->local, sizeof b->local}, {(void *)&b->remote, sizeof b->remote}, NULL};
    ngtcp2_settings s;
    ngtcp2_transport_params p;
    ngtcp2_cid dcid = {.datalen = 12}, scid = {.datalen = 12};
    ngtcp2_pkt_hd hd;

    ngtcp2_settings_default(&s);
    s.initial_ts = stamp();
    s.ack_thresh = 8;
    s.max_tx_udp_payload_size = 1452;
    ngtcp2_transport_params_default(&p);
    p.initial_max_stream_data_bidi_local = p.initial_max_stream_data_bidi_remote = 256u << 10;
    p.initial_max_data = 1u << 20;
    p.initial_max_streams_bidi = 1024;
    host_default()->random(scid.data, 12);
    host_default()->random(dcid.data, 12);
    b->stream = -1;
    if (b->server) {
        if (ngtcp2_accept(&hd, first, len))
            fail("no Initial");
        p.original_dcid = hd.dcid;
        p.original_dcid_present = 1;
        b->tls = quic_tls_accept(&memory, k);
        if (ngtcp2_conn_server_new(&b->ng, &hd.scid, &scid, &path, hd.version, &bare_callbacks, &s,
                                   &p, NULL, b))
            fail("ngtcp2");
    } else {
        b->tls = quic_tls_connect(&memory, k, "127.0.0.1", server_print, false);
        if (ngtcp2_conn_client_new(&b->ng, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
                                   &bare_callbacks, &s, &p, NULL, b))
            fail("ngtcp2");
    }
    quic_tls_attach(b->tls, b->ng);
    quic_keys_unref(k);
}

static void bare_free(struct bare *b)
{
    if (b->ng)
        ngtcp2_conn_del(b->ng);
    quic_tls_free(b->tls);
    b->ng = NULL;
    b->tls = NULL;
}

static ngtcp2_ssize bare_write(ngtcp2_conn *ng, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                               uint8_t *dest, size_t len, ngtcp2_tstamp ts, void *ud)
{
    struct bare *b = ud;
    ngtcp2_ssize n, taken;

    for (;;) {
        uint64_t bytes = b->each ? BYTES : b->unsent < sizeof payload ? b->unsent : sizeof payload;
        ngtcp2_vec v = {payload, (size_t)bytes};
        int64_t id = b->each ? (b->count ? b->waiting[b->first % 256] : -1)
                     : bytes ? b->stream
                             : -1;
        uint32_t flags =
            id < 0 ? 0
                   : NGTCP2_WRITE_STREAM_FLAG_MORE | (b->each ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0u);

        taken = -1;
        n = ngtcp2_conn_writev_stream(ng, path, pi, dest, len, &taken, flags, id, &v,
                                      id < 0 ? 0 : 1, ts);
        if (taken >= 0 && id >= 0 && b->each && taken == BYTES) {
            b->first++;
            b->count--;
        } else if (taken > 0 && !b->each) {
            b->unsent -= (uint64_t)taken;
        } else if (taken > 0) {
            fail("a message was cut");
        }
        if (n != NGTCP2_ERR_WRITE_MORE)
            return n;
    }
}

static void bare_send(struct bare *b)
{
    static uint8_t buf[65000];
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi;
    size_t segment;

    if (!b->ng)
        return;
    ngtcp2_path_storage_zero(&ps);
    for (;;) {
        ngtcp2_ssize n = ngtcp2_conn_write_aggregate_pkt2(b->ng, &ps.path, &pi, buf, sizeof buf,
                                                          &segment, bare_write, 0, stamp());
        struct iovec part = {buf, (size_t)n};
        _Alignas(struct cmsghdr) char control[64] = {0};
        struct msghdr m = {.msg_name = &b->remote,
                           .msg_namelen = sizeof b->remote,
                           .msg_iov = &part,
                           .msg_iovlen = 1};

        if (n < 0)
            fail("ngtcp2 writes: %s", ngtcp2_strerror((int)n));
        if (!n)
            break;
        if ((size_t)n > segment) {
            struct cmsghdr *c = (struct cmsghdr *)(void *)control;
            uint16_t size = (uint16_t)segment;

            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof size);
            memcpy(CMSG_DATA(c), &size, sizeof size);
            m.msg_control = control;
            m.msg_controllen = CMSG_SPACE(sizeof size);
        }
        if (sendmsg(b->fd, &m, 0) < 0)
            fail("sendmsg: %s", strerror(errno));
    }
}

static void bare_take(struct bare *b, const uint8_t *data, size_t len)
{
    ngtcp2_path path = {
        {(void *)&b->local, sizeof b->local}, {(void *)&b->remote, sizeof b->remote}, NULL};
    ngtcp2_pkt_info pi = {0};
    int rc;

    if (!b->ng)
        bare_new(b, data, len);
    rc = ngtcp2_conn_read_pkt(b->ng, &path, &pi, data, len, stamp());
    if (rc)
        fail("ngtcp2 reads: %s", ngtcp2_strerror(rc));
}

static void bare_receive(struct bare *b)
{
    static uint8_t buf[32][2048];
    struct mmsghdr heads[32];
    struct iovec parts[32];
    int n;

    for (int i = 0; i < 32; i++) {
        parts[i] = (struct iovec){buf[i], sizeof buf[i]};
        heads[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    n = recvmmsg(b->fd, heads, 32, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        bare_take(b, buf[i], heads[i].msg_len);
    if (b->ng && ngtcp2_conn_get_expiry2(b->ng) <= stamp())
        ngtcp2_conn_handle_expiry(b->ng, stamp());
}

static void bare_socket(struct bare *b)
{
    socklen_t n = sizeof b->local;

    b->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    b->local =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (b->fd < 0 || bind(b->fd, (struct sockaddr *)&b->local, n) ||
        getsockname(b->fd, (struct sockaddr *)&b->local, &n))
        fail("socket: %s", strerror(errno));
}

static void bare_ask(struct bare *c)
{
    while (c->calls < c->total && c->calls - c->done < IN_FLIGHT) {
        int64_t id;

        if (c->each) {
            if (ngtcp2_conn_open_bidi_stream(c->ng, &id, NULL))
                return;
            bare_queue(c, id);
        } else {
            if (c->stream < 0 && ngtcp2_conn_open_bidi_stream(c->ng, &c->stream, NULL))
                return;
            c->unsent += BYTES;
        }
        c->calls++;
    }
}

static void bare_turn(struct bare *s, struct bare *c)
{
    bare_receive(s);
    bare_send(s);
    bare_receive(c);
    if (c->confirmed)
        bare_ask(c);
    bare_send(c);
}

static uint64_t run_bare(int total, bool each)
{
    struct bare s = {.server = true, .each = each},
                c = {.each = each, .total = total / 10 + IN_FLIGHT};
    uint64_t cpu;

    bare_socket(&s);
    bare_socket(&c);
    s.remote = c.local;
    c.remote = s.local;
    bare_new(&c, NULL, 0);
    while (c.done < c.total)
        bare_turn(&s, &c);
    c.total += total;
    cpu = cpu_ns();
    while (c.done < c.total)
        bare_turn(&s, &c);
    cpu = cpu_ns() - cpu;
    bare_free(&s);
    bare_free(&c);
    close(s.fd);
    close(c.fd);
    return cpu;
}

/* ---- handshakes ------------------------------------------------------------------------------ */

static uint64_t bare_handshakes(void)
{
    uint64_t cpu = cpu_ns();

    for (int i = 0; i < HANDSHAKES; i++) {
        struct bare s = {.server = true}, c = {0}, *from = &c, *to = &s, *other;
        static uint8_t buf[1500];

        s.remote.sin_family = c.remote.sin_family = s.local.sin_family = c.local.sin_family =
            AF_INET;
        bare_new(&c, NULL, 0);
        while (!c.confirmed || !s.confirmed) {
            ngtcp2_path_storage ps;
            ngtcp2_pkt_info pi;
            ngtcp2_ssize n;

            ngtcp2_path_storage_zero(&ps);
            while ((n = ngtcp2_conn_write_pkt(from->ng, &ps.path, &pi, buf, sizeof buf, stamp())) >
                   0)
                bare_take(to, buf, (size_t)n);
            if (n < 0)
                fail("ngtcp2 writes: %s", ngtcp2_strerror((int)n));
            other = from;
            from = to;
            to = other;
        }
        bare_free(&s);
        bare_free(&c);
    }
    return cpu_ns() - cpu;
}

struct shake {
    bool ready;
};

static void on_ready(void *ud, const char *fingerprint, uint64_t now)
{
    (void)now;
    ((struct shake *)ud)->ready = *fingerprint != 0;
}

static void on_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    (void)ud;
    (void)code;
    (void)why;
    (void)now;
}

static void on_streams(void *ud)
{
    (void)ud;
}

static const struct quic_events shake_events = {
    .ready = on_ready, .streams = on_streams, .over = on_over};

static bool shake_accept(void *ud, struct quic_conn *c, const char *address,
                         const struct quic_events **events, void **conn_ud, uint64_t now)
{
    (void)c;
    (void)address;
    (void)now;
    *events = &shake_events;
    *conn_ud = ud;
    return true;
}

static void shake_wake(void *ud)
{
    (void)ud;
}

static void pass(struct quic *from, struct quic *to)
{
    static uint8_t buf[65536];
    struct quic_batch b;
    size_t n;

    while ((n = quic_pull(from, buf, sizeof buf, &b, stamp()))) {
        for (size_t at = 0; at < n; at += b.segment) {
            struct quic_datagram d = {.local = b.remote,
                                      .remote = b.local,
                                      .data = buf + at,
                                      .len = n - at < b.segment ? n - at : b.segment};

            quic_feed(to, &d, stamp());
        }
    }
}

static uint64_t our_handshakes(void)
{
    struct quic_limits limits = {1024,        1024,        256u << 10,  1u << 20,
                                 10 * SECOND, 30 * SECOND, 10 * SECOND, 30 * SECOND};
    struct shake there = {0};
    struct quic_app app = {shake_accept, shake_wake, &there};
    struct quic_options so = {&memory, host_default(), &app, &limits, server_tls},
                        co = {&memory, host_default(), &app, &limits, NULL};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = 1},
                       b = {.sin_family = AF_INET, .sin_port = 2};
    struct quic_address local = {.len = sizeof a}, remote = {.len = sizeof b};
    struct quic *server = quic_new(&so);
    uint64_t cpu = cpu_ns();

    memcpy(local.bytes, &a, sizeof a);
    memcpy(remote.bytes, &b, sizeof b);
    for (int i = 0; i < HANDSHAKES; i++) {
        struct quic *client = quic_new(&co);
        struct shake here = {0};
        struct quic_target to = {&local, &remote, "127.0.0.1", server_print, false, client_tls};
        struct quic_conn *c = quic_connect(client, &to, &shake_events, &here, stamp());

        there.ready = false;
        while (!here.ready || !there.ready) {
            pass(client, server);
            pass(server, client);
        }
        quic_close(c, 0, "");
        pass(client, server);
        quic_free(client);
    }
    cpu = cpu_ns() - cpu;
    quic_free(server);
    return cpu;
}

/* ---- UDP ------------------------------------------------------------------------------------- */

static struct udp_run {
    uv_loop_t uv;
    uv_udp_t server, client;
    struct sockaddr_in to;
    uint64_t begun, *times;
    int done, total;
} udp;

static void udp_alloc(uv_handle_t *h, size_t size, uv_buf_t *out)
{
    static char buf[65536];

    (void)h;
    (void)size;
    *out = uv_buf_init(buf, sizeof buf);
}

static void udp_ask(void)
{
    uv_buf_t b = uv_buf_init((char *)payload, BYTES);

    udp.begun = now_ns();
    if (uv_udp_try_send(&udp.client, &b, 1, (struct sockaddr *)&udp.to) < 0)
        fail("UDP");
}

static void udp_received(uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                         unsigned flags)
{
    uv_buf_t b = uv_buf_init(buf->base, (unsigned)(n > 0 ? n : 0));

    (void)flags;
    if (n <= 0)
        return;
    if (h == &udp.server) {
        uv_udp_try_send(h, &b, 1, from);
        return;
    }
    udp.times[udp.done++] = now_ns() - udp.begun;
    if (udp.done < udp.total)
        udp_ask();
    else
        uv_stop(&udp.uv);
}

static void run_udp(int total, uint64_t *times)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int n = sizeof udp.to;

    memset(&udp, 0, sizeof udp);
    udp.total = total;
    udp.times = times;
    uv_loop_init(&udp.uv);
    uv_udp_init(&udp.uv, &udp.server);
    uv_udp_init(&udp.uv, &udp.client);
    if (uv_udp_bind(&udp.server, (struct sockaddr *)&a, 0) ||
        uv_udp_bind(&udp.client, (struct sockaddr *)&a, 0) ||
        uv_udp_getsockname(&udp.server, (struct sockaddr *)&udp.to, &n))
        fail("UDP");
    uv_udp_recv_start(&udp.server, udp_alloc, udp_received);
    uv_udp_recv_start(&udp.client, udp_alloc, udp_received);
    udp_ask();
    uv_run(&udp.uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&udp.server, NULL);
    uv_close((uv_handle_t *)&udp.client, NULL);
    uv_run(&udp.uv, UV_RUN_DEFAULT);
    uv_loop_close(&udp.uv);
}

static uint64_t median(uint64_t *times, int n)
{
    qsort(times, (size_t)n, sizeof *times, compare_times);
    return times[n / 2];
}

/* ---- idle ------------------------------------------------------------------------------------ */

static int idle_open, idle_failed;

static void on_idle(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    (void)x;
    (void)ud;
    idle_open += e->state == ALK_DIAL_OPEN;
    idle_open -= e->state == ALK_DIAL_LOST;
    idle_failed += e->state == ALK_DIAL_FAILED;
}

static int hold_idle(const char *url, int count)
{
    alk_registry *reg = alk_registry_new();
    uv_loop_t uv;
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;
    alk_dial_options o;
    alk_dialer *x;
    char err[200], byte;

    uv_loop_init(&uv);
    if (alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) ||
        alk_dispatcher_new(&d, node) || alk_loop_open(&l, &uv, d))
        fail("the node");
    alk_dial_options_init(&o, sizeof o);
    o.url = url;
    o.reconnect = 0;
    o.on_event = on_idle;
    for (int i = 0; i < count; i++) {
        if (alk_dial(&x, l, &o, err, sizeof err))
            fail("%s", err);
        while (idle_open + idle_failed <= i)
            uv_run(&uv, UV_RUN_ONCE);
    }
    if (idle_failed)
        fail("%d of %d connections failed", idle_failed, count);
    for (uint64_t end = now_ns() + SECOND; now_ns() < end;)
        uv_run(&uv, UV_RUN_NOWAIT);
    printf("{\"held\":%d}\n", idle_open);
    fflush(stdout);
    if (read(0, &byte, 1) < 0)
        fail("standard input");
    printf("{\"open\":%d}\n", idle_open);
    return 0;
}

int main(int argc, char **argv)
{
    int pairs = argc > 1 ? atoi(argv[1]) : 7, calls = argc > 2 ? atoi(argv[2]) : 50000,
        few = calls / 10;
    uint64_t *times = must(calloc((size_t)few + 1, sizeof *times));

    mem_init(&memory, NULL, NULL);
    if (argc == 4 && !strcmp(argv[1], "idle"))
        return hold_idle(argv[2], atoi(argv[3]));
    make_keys();
    for (int i = 0; i < pairs; i++) {
        double shared = (double)run_ours(calls, IN_FLIGHT, false, NULL) / calls,
               bare_shared = (double)run_bare(calls, false) / calls;
        double each = (double)run_ours(calls, IN_FLIGHT, true, NULL) / calls,
               bare_each = (double)run_bare(calls, true) / calls;
        double hand = (double)our_handshakes() / HANDSHAKES,
               bare_hand = (double)bare_handshakes() / HANDSHAKES;
        uint64_t one, plain;

        run_ours(few, 1, false, times);
        one = median(times, few);
        run_udp(few, times);
        plain = median(times, few);
        printf("{\"shared\":%.0f,\"bare_shared\":%.0f,\"each\":%.0f,\"bare_each\":%.0f,"
               "\"handshake\":%.0f,\"bare_handshake\":%.0f,"
               "\"one\":%llu,\"udp\":%llu}\n",
               shared, bare_shared, each, bare_each, hand, bare_hand, (unsigned long long)one,
               (unsigned long long)plain);
        fflush(stdout);
    }
    free(times);
    alk_tls_unref(server_tls);
    alk_tls_unref(client_tls);
    return 0;
}
