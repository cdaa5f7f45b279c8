/* What ngtcp2 asks for, and what it tells. Frames are handed on from in here; all else is noted in
 * the connection and told behind the step (tell, quic_conn.c), so that whoever is told finds
 * nothing of ngtcp2 on the stack. */
#include "wire/quic_int.h"

#include <string.h>

static struct quic_conn *of(void *ud)
{
    return ud;
}

static void *ng_malloc(size_t size, void *ud)
{
    return mem_alloc(ud, size);
}

static void ng_free(void *p, void *ud)
{
    mem_free(ud, p);
}

static void *ng_calloc(size_t n, size_t size, void *ud)
{
    return size && n > SIZE_MAX / size ? NULL : mem_zalloc(ud, n * size);
}

static void *ng_realloc(void *p, size_t size, void *ud)
{
    return mem_realloc(ud, p, size);
}

static void on_rand(uint8_t *to, size_t len, const ngtcp2_rand_ctx *ctx)
{
    const struct host *host = ctx->native_handle;

    if (host->random(to, len))
        memset(to, 0, len);
}

static int on_new_cid(ngtcp2_conn *ng, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                      size_t len, void *ud)
{
    struct quic_conn *c = of(ud);
    uint8_t bytes[NGTCP2_MAX_CIDLEN];

    (void)ng;
    if (quic_make_cid(c->q, c->server, bytes, len))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    ngtcp2_cid_init(cid, bytes, len);
    if (ngtcp2_crypto_generate_stateless_reset_token(token->data, c->secret, sizeof c->secret,
                                                     cid) ||
        !quic_add_cid(c, cid->data, cid->datalen))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static void drop_cid(struct quic_conn *c, const uint8_t *bytes, size_t len)
{
    struct map_node *n = map_find(&c->q->cids, (const char *)bytes, len);
    struct quic_cid *id = n ? container_of(n, struct quic_cid, node) : NULL;

    if (id && id->c == c)
        quic_drop_cid(id);
}

static int on_remove_cid(ngtcp2_conn *ng, const ngtcp2_cid *cid, void *ud)
{
    (void)ng;
    drop_cid(of(ud), cid->data, cid->datalen);
    return 0;
}

/* Of the ids of the remote's that are in use, it has told by what reset they are taken back.
 * Without memory for that, its reset is not known as such, and the connection ends by its
 * time-out. */
static int on_remote_cid(ngtcp2_conn *ng, ngtcp2_connection_id_status_type type, uint64_t seq,
                         const ngtcp2_cid *cid, const ngtcp2_stateless_reset_token *token, void *ud)
{
    struct quic_conn *c = of(ud);

    (void)ng;
    (void)seq;
    (void)cid;
    if (token && type == NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE)
        quic_add_cid(c, token->data, sizeof token->data);
    else if (token)
        drop_cid(c, token->data, sizeof token->data);
    return 0;
}

static int on_path_challenge(ngtcp2_conn *ng, ngtcp2_path_challenge_data *data, void *ud)
{
    (void)ng;
    return of(ud)->q->host->random(data->data, sizeof data->data) ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
}

/* A server knows its client by now; a client waits for handshake_confirmed. */
static int on_completed(ngtcp2_conn *ng, void *ud)
{
    struct quic_conn *c = of(ud);

    (void)ng;
    c->fresh |= c->server;
    return 0;
}

static int on_confirmed(ngtcp2_conn *ng, void *ud)
{
    struct quic_conn *c = of(ud);

    (void)ng;
    c->fresh |= !c->server;
    return 0;
}

static int on_new_token(ngtcp2_conn *ng, const uint8_t *token, size_t len, void *ud)
{
    struct quic_conn *c = of(ud);

    (void)ng;
    quic_token_keep(c->q, c->host, token, len);
    return 0;
}

static int on_stream_open(ngtcp2_conn *ng, int64_t id, void *ud)
{
    struct quic_conn *c = of(ud);
    bool room = quic_has_room(c);
    struct quic_stream *s = quic_stream_new(c, id);

    if (!s || ngtcp2_conn_set_stream_user_data(ng, id, s))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    if (!room)
        quic_stream_lost(s, RESET_LIMIT);
    return 0;
}

/* A stream without a record here was reset before it began. */
static int on_stream_data(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t offset,
                          const uint8_t *data, size_t len, void *ud, void *stream)
{
    (void)ng;
    (void)id;
    (void)offset;
    (void)ud;
    if (stream)
        quic_stream_came(stream, data, len, flags & NGTCP2_STREAM_DATA_FLAG_FIN);
    return 0;
}

static int on_acked(ngtcp2_conn *ng, int64_t id, uint64_t offset, uint64_t len, void *ud,
                    void *stream)
{
    (void)ng;
    (void)id;
    (void)ud;
    if (stream)
        quic_stream_acked(stream, offset + len);
    return 0;
}

static int on_stream_close(ngtcp2_conn *ng, uint32_t flags, int64_t id, uint64_t code, void *ud,
                           void *stream)
{
    (void)flags;
    (void)code;
    (void)ud;
    if (stream)
        quic_stream_forgotten(stream);
    else if (!ngtcp2_conn_is_local_stream2(ng, id))
        ngtcp2_conn_extend_max_streams_bidi(ng, 1);
    return 0;
}

static int on_stream_reset(ngtcp2_conn *ng, int64_t id, uint64_t size, uint64_t code, void *ud,
                           void *stream)
{
    (void)ng;
    (void)id;
    (void)size;
    (void)code;
    (void)ud;
    if (stream)
        quic_stream_lost(stream, 0);
    return 0;
}

static int on_stop_sending(ngtcp2_conn *ng, int64_t id, uint64_t code, void *ud, void *stream)
{
    (void)ng;
    (void)id;
    (void)code;
    (void)ud;
    if (stream)
        quic_stream_refused(stream);
    return 0;
}

static int on_stream_window(ngtcp2_conn *ng, int64_t id, uint64_t most, void *ud, void *stream)
{
    (void)ng;
    (void)id;
    (void)most;
    (void)ud;
    if (stream)
        quic_stream_unblocked(stream);
    return 0;
}

static int on_more_streams(ngtcp2_conn *ng, uint64_t most, void *ud)
{
    struct quic_conn *c = of(ud);

    (void)ng;
    (void)most;
    c->more_streams = true;
    return 0;
}

const ngtcp2_callbacks quic_callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = on_completed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = on_stream_data,
    .acked_stream_data_offset = on_acked,
    .stream_open = on_stream_open,
    .stream_close = on_stream_close,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = on_rand,
    .remove_connection_id = on_remove_cid,
    .update_key = ngtcp2_crypto_update_key_cb,
    .extend_max_local_streams_bidi = on_more_streams,
    .stream_reset = on_stream_reset,
    .extend_max_stream_data = on_stream_window,
    .handshake_confirmed = on_confirmed,
    .recv_new_token = on_new_token,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .get_new_connection_id2 = on_new_cid,
    .dcid_status2 = on_remote_cid,
    .get_path_challenge_data2 = on_path_challenge,
    .recv_stop_sending = on_stop_sending,
};

void quic_memory(struct quic *q)
{
    q->ng_mem = (ngtcp2_mem){q->mem, ng_malloc, ng_free, ng_calloc, ng_realloc};
}
