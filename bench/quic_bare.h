/* An echo on bare ngtcp2 with GnuTLS, client and server in one process, beside which the library's is measured.
 *
 * Keys, batches and sockets are the library's, and as many bytes go there and back as for a call with INPUT, in its frames. But it knows
 * of no call, compares nothing, and does nothing for a loss, another path or an end. */
#ifndef BENCH_QUIC_BARE_H
#define BENCH_QUIC_BARE_H

#include "client.h"

#include "base/host.h"
#include "wire/quic_tls.h"

#include <netinet/udp.h>
#include <stdbool.h>
#include <unistd.h>

#define IN_FLIGHT 64
#define HANDSHAKES 100
#define ID "a1c0b57e-0000-4a1c-8b2d-000000000000"
#define INPUT                                                                                      \
    "{\"text\":\"a call of a usual length, as one has "                                            \
    "them\",\"n\":12345,\"list\":[1,2,3,4,5,6,7,8]}"
#define REQUEST                                                                                    \
    "{\"type\":\"call.requested\",\"id\":\"" ID                                                    \
    "\",\"payload\":{\"operationId\":\"/demo/echo\",\"input\":" INPUT "}}"
#define ANSWER "{\"type\":\"call.responded\",\"id\":\"" ID "\",\"payload\":{\"output\":" INPUT "}}"
#define BYTES ((4 + sizeof REQUEST - 1 + 4 + sizeof ANSWER - 1) / 2)
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static char server_print[ALK_TLS_FINGERPRINT], client_print[ALK_TLS_FINGERPRINT];
static alk_tls *server_tls, *client_tls;

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

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
        if (taken >= 0 && id >= 0 && b->each && (size_t)taken == BYTES) {
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

/* ---- handshakes ---------------------------------------------------------- */

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

#endif
