/* A QUIC connection straight on ngtcp2, for what the engine would never do itself: bytes of a
 * stream in any cuts, any transport parameters, and any frames in packets of any kind.
 *
 * Frames are put in where ngtcp2 encrypts a packet: what it has written there, which must be at
 * least as long, is replaced. ngtcp2 goes on as if it had sent its own. */
#ifndef TESTS_SUPPORT_QUIC_RAW_H
#define TESTS_SUPPORT_QUIC_RAW_H

#include "base/list.h"
#include "wire/quic.h"
#include "wire/quic_tls.h"

#include <stdlib.h>
#include <string.h>

#define RAW_STREAMS 64u

enum { RAW_NONE, RAW_INITIAL, RAW_HANDSHAKE, RAW_SHORT };

struct raw_stream {
    bool reset, stopped, fin;
    uint64_t reset_code, stop_code;
    size_t len; /* of what has come */
    uint8_t head[64];
};

/* Bytes of a stream; kept until the end, since ngtcp2 points into them. */
struct raw_bytes {
    struct list link;
    int64_t stream;
    size_t len, sent;
    bool fin, done;
    uint8_t data[];
};

struct raw {
    ngtcp2_conn *ng;
    struct quic_tls *tls;
    struct mem mem;
    const struct host *host;
    struct quic_address local, remote;
    struct list bytes;
    struct raw_stream streams[RAW_STREAMS]; /* by id / 4 of those that it has opened */
    int replace;                            /* RAW_: in the next packet of that kind */
    const uint8_t *frames;
    size_t frames_len;
    bool completed, confirmed, over, server;
    int failed; /* of ngtcp2 */
    ngtcp2_transport_params params;
};

static inline struct raw *raw_of(void *ud)
{
    return ud;
}

static inline struct raw_stream *raw_stream(struct raw *r, int64_t id)
{
    return &r->streams[(uint64_t)id / 4 % RAW_STREAMS];
}

static inline void raw_rand(uint8_t *to, size_t len, const ngtcp2_rand_ctx *ctx)
{
    const struct host *host = ctx->native_handle;

    host->random(to, len);
}

static inline int raw_new_cid(ngtcp2_conn *ng, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                              size_t len, void *ud)
{
    (void)ng;
    cid->datalen = len;
    raw_of(ud)->host->random(cid->data, len);
    raw_of(ud)->host->random(token->data, sizeof token->data);
    return 0;
}

static inline int raw_challenge(ngtcp2_conn *ng, ngtcp2_path_challenge_data *data, void *ud)
{
    (void)ng;
    raw_of(ud)->host->random(data->data, sizeof data->data);
    return 0;
}

static inline int raw_completed(ngtcp2_conn *ng, void *ud)
{
    (void)ng;
    raw_of(ud)->completed = true;
    return 0;
}

static inline int raw_confirmed(ngtcp2_conn *ng, void *ud)
{
    (void)ng;
    raw_of(ud)->confirmed = true;
    return 0;
}

static inline int raw_data(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t offset,
                           const uint8_t *data, size_t len, void *ud, void *stream)
{
    struct raw_stream *s = raw_stream(ud, id);

    (void)offset;
    (void)stream;
    for (size_t i = 0; i < len && s->len + i < sizeof s->head; i++)
        s->head[s->len + i] = data[i];
    s->len += len;
    s->fin |= flags & NGTCP2_STREAM_DATA_FLAG_FIN;
    ngtcp2_conn_extend_max_stream_offset(ng, id, len);
    ngtcp2_conn_extend_max_offset(ng, len);
    return 0;
}

static inline int raw_reset(ngtcp2_conn *ng, int64_t id, uint64_t size, uint64_t code, void *ud,
                            void *stream)
{
    struct raw_stream *s = raw_stream(ud, id);

    (void)ng;
    (void)size;
    (void)stream;
    s->reset = true;
    s->reset_code = code;
    return 0;
}

static inline int raw_stopped(ngtcp2_conn *ng, int64_t id, uint64_t code, void *ud, void *stream)
{
    struct raw_stream *s = raw_stream(ud, id);

    (void)ng;
    (void)stream;
    s->stopped = true;
    s->stop_code = code;
    return 0;
}

static inline int raw_kind(const uint8_t *head)
{
    if (!(head[0] & 0x80))
        return RAW_SHORT;
    return (head[0] & 0x30) == 0 ? RAW_INITIAL : (head[0] & 0x30) == 0x20 ? RAW_HANDSHAKE : 0;
}

/* The helper gives no owner to this function, so there is one at a time that replaces. */
static struct raw *raw_replacing;

static inline int raw_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                              const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plain, size_t len,
                              const uint8_t *nonce, size_t nonce_len, const uint8_t *head,
                              size_t head_len)
{
    struct raw *r = raw_replacing;
    uint8_t other[2048];

    if (r && r->replace == raw_kind(head) && len >= r->frames_len && len <= sizeof other) {
        memset(other, 0, len);
        if (r->frames_len)
            memcpy(other, r->frames, r->frames_len);
        plain = other;
        r->replace = RAW_NONE;
    }
    return ngtcp2_crypto_encrypt_cb(dest, aead, ctx, plain, len, nonce, nonce_len, head, head_len);
}

static const ngtcp2_callbacks raw_callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = raw_completed,
    .handshake_confirmed = raw_confirmed,
    .encrypt = raw_encrypt,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = raw_data,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = raw_rand,
    .update_key = ngtcp2_crypto_update_key_cb,
    .stream_reset = raw_reset,
    .recv_stop_sending = raw_stopped,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .get_new_connection_id2 = raw_new_cid,
    .get_path_challenge_data2 = raw_challenge,
};

/* The parameters may be changed before it begins. */
static inline struct raw *raw_new(const struct host *host, const struct quic_address *local,
                                  const struct quic_address *remote)
{
    struct raw *r = calloc(1, sizeof *r);

    r->host = host;
    r->local = *local;
    r->remote = *remote;
    list_init(&r->bytes);
    mem_init(&r->mem, NULL, NULL);
    ngtcp2_transport_params_default(&r->params);
    r->params.initial_max_stream_data_bidi_local = 1 << 20;
    r->params.initial_max_stream_data_bidi_remote = 1 << 20;
    r->params.initial_max_data = 1 << 24;
    r->params.initial_max_streams_bidi = 100;
    return r;
}

static inline ngtcp2_path raw_path(const struct raw *r)
{
    return (ngtcp2_path){
        {(ngtcp2_sockaddr *)(uintptr_t)r->local.bytes, r->local.len},
        {(ngtcp2_sockaddr *)(uintptr_t)r->remote.bytes, r->remote.len},
        NULL,
    };
}

static inline void raw_settings(const struct raw *r, ngtcp2_settings *s, uint64_t now)
{
    ngtcp2_settings_default(s);
    s->initial_ts = now;
    s->rand_ctx.native_handle = (void *)(uintptr_t)r->host;
    s->no_pmtud = 1;
}

static inline void raw_cid(const struct raw *r, ngtcp2_cid *cid)
{
    cid->datalen = 12;
    r->host->random(cid->data, cid->datalen);
}

/* Whatever the server shows will do. */
static inline int raw_dial(struct raw *r, alk_tls *tls, uint64_t now)
{
    struct quic_keys *k = tls_current_keys(tls);
    ngtcp2_path path = raw_path(r);
    ngtcp2_settings s;
    ngtcp2_cid dcid, scid;

    raw_settings(r, &s, now);
    raw_cid(r, &dcid);
    raw_cid(r, &scid);
    r->tls = quic_tls_connect(&r->mem, k, "localhost", NULL, true);
    quic_keys_unref(k);
    if (!r->tls || ngtcp2_conn_client_new(&r->ng, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
                                          &raw_callbacks, &s, &r->params, NULL, r))
        return -1;
    quic_tls_attach(r->tls, r->ng);
    return 0;
}

/* From the first datagram of a client, which is to be fed then. */
static inline int raw_serve(struct raw *r, alk_tls *tls, const uint8_t *data, size_t len,
                            uint64_t now)
{
    struct quic_keys *k = tls_current_keys(tls);
    ngtcp2_path path = raw_path(r);
    ngtcp2_settings s;
    ngtcp2_pkt_hd hd;
    ngtcp2_cid scid;

    r->server = true;
    raw_settings(r, &s, now);
    raw_cid(r, &scid);
    if (!r->tls)
        r->tls = quic_tls_accept(&r->mem, k);
    quic_keys_unref(k);
    if (!r->tls || ngtcp2_accept(&hd, data, len))
        return -1;
    r->params.original_dcid = hd.dcid;
    r->params.original_dcid_present = 1;
    if (ngtcp2_conn_server_new(&r->ng, &hd.scid, &scid, &path, hd.version, &raw_callbacks, &s,
                               &r->params, NULL, r))
        return -1;
    quic_tls_attach(r->tls, r->ng);
    return 0;
}

static inline void raw_free(struct raw *r)
{
    if (r->ng)
        ngtcp2_conn_del(r->ng);
    quic_tls_free(r->tls);
    while (!list_empty(&r->bytes)) {
        struct raw_bytes *b = container_of(r->bytes.next, struct raw_bytes, link);

        list_del(&b->link);
        free(b);
    }
    free(r);
}

static inline void raw_feed(struct raw *r, const uint8_t *data, size_t len, uint64_t now)
{
    ngtcp2_path path = raw_path(r);
    ngtcp2_pkt_info pi = {0};
    int rc = r->over ? 0 : ngtcp2_conn_read_pkt(r->ng, &path, &pi, data, len, now);

    if (rc) {
        r->over = true;
        r->failed = rc;
    }
}

/* Of the stream's bytes, the next; without any, what else there is. One datagram. */
static inline size_t raw_pull(struct raw *r, uint8_t *buf, size_t size, uint64_t now)
{
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi;
    ngtcp2_ssize n, taken;

    if (r->over)
        return 0;
    ngtcp2_path_storage_zero(&ps);
    raw_replacing = r;
    list_each(l, &r->bytes)
    {
        struct raw_bytes *b = container_of(l, struct raw_bytes, link);

        if (b->done)
            continue;
        taken = -1;
        n = ngtcp2_conn_write_stream(r->ng, &ps.path, &pi, buf, size, &taken,
                                     b->fin ? NGTCP2_WRITE_STREAM_FLAG_FIN
                                            : NGTCP2_WRITE_STREAM_FLAG_NONE,
                                     b->stream, b->data + b->sent, b->len - b->sent, now);
        b->sent += taken > 0 ? (size_t)taken : 0;
        b->done = (taken >= 0 && b->sent == b->len) || n == NGTCP2_ERR_STREAM_SHUT_WR ||
                  n == NGTCP2_ERR_STREAM_NOT_FOUND;
        if (n > 0)
            return (size_t)n;
        if (n != NGTCP2_ERR_STREAM_DATA_BLOCKED && !b->done)
            break;
    }
    n = ngtcp2_conn_write_pkt(r->ng, &ps.path, &pi, buf, size, now);
    if (n < 0) {
        r->over = true;
        r->failed = (int)n;
    }
    return n > 0 ? (size_t)n : 0;
}

static inline int64_t raw_open(struct raw *r)
{
    int64_t id = -1;

    ngtcp2_conn_open_bidi_stream(r->ng, &id, NULL);
    return id;
}

static inline void raw_say(struct raw *r, int64_t stream, const void *data, size_t len, bool fin)
{
    struct raw_bytes *b = malloc(sizeof *b + len);

    *b = (struct raw_bytes){.stream = stream, .len = len, .fin = fin};
    if (len)
        memcpy(b->data, data, len);
    list_init(&b->link);
    list_push(&r->bytes, &b->link);
}

/* These frames, and PADDING behind them, in a packet of that kind: on stream `on` then, as far as
 * ngtcp2 knows, goes a kilobyte. frames: valid until then. */
static inline void raw_frames(struct raw *r, int kind, int64_t on, const uint8_t *frames,
                              size_t len)
{
    static const uint8_t filler[1000];

    r->replace = kind;
    r->frames = frames;
    r->frames_len = len;
    if (kind == RAW_SHORT)
        raw_say(r, on, filler, sizeof filler, false);
}

#endif
