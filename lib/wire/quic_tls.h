/* What the QUIC engine wants of a TLS 1.3 implementation (RFC 9001), which quic_tls.c provides on
 * GnuTLS; another helper of ngtcp2 can take its place. Both sides may show an Ed25519 key as it is
 * (RFC 7250) or a certificate. Sessions are not resumed and nothing is sent early (0-RTT): both
 * would run calls of somebody who has not proved who he is this time. */
#ifndef ALK_WIRE_QUIC_TLS_H
#define ALK_WIRE_QUIC_TLS_H

#include "wire/tls.h"

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

/* What a side shows and whom it trusts: immutable, counted, used by any thread. */
struct quic_keys;
/* Of the settings' pairs, raw key, trust anchors and `client`. With neither pairs nor raw key a
 * client shows nothing. ALK_EINVAL (err says what, and in which file), ALK_ENOMEM. */
int quic_keys_new(struct quic_keys **out, const struct tls_settings *s, char *err, size_t err_size);
struct quic_keys *quic_keys_ref(struct quic_keys *k);
void quic_keys_unref(struct quic_keys *k);
/* Of the raw key, or else of the first certificate; "": there is neither. */
const char *quic_keys_fingerprint(const struct quic_keys *k);
/* 32 bytes that only who has the private key knows, the same after each start: from them come the
 * tokens of address validation and of stateless resets (RFC 9000, 8.1 and 10.3). */
const uint8_t *quic_keys_secret(const struct quic_keys *k);

/* Of one connection; k is referenced. NULL: out of memory. */
struct quic_tls *quic_tls_accept(struct mem *mem, struct quic_keys *k);
/* host: the name or numeric address that is dialled. pin: the fingerprint that the server must
 * have; NULL: a certificate that is good for host, by k's trust anchors. any: whatever it shows
 * will do. */
struct quic_tls *quic_tls_connect(struct mem *mem, struct quic_keys *k, const char *host,
                                  const char *pin, bool any);
void quic_tls_free(struct quic_tls *t);
/* Before the handshake; the connection finds its TLS by ref, and TLS its connection by it. */
void quic_tls_attach(struct quic_tls *t, ngtcp2_conn *conn);
/* Of what the remote has shown: "ed25519:" or "SHA256:" and 64 hexadecimal digits; "": nothing. */
const char *quic_tls_fingerprint(const struct quic_tls *t);
/* Why the remote was refused, for a person; "": it was not. */
const char *quic_tls_reason(const struct quic_tls *t);

/* As alk_key_new and alk_key_fingerprint, with texts for files. */
int quic_key_new(struct buf *pem);
int quic_key_fingerprint(const struct tls_text *pem, char out[ALK_TLS_FINGERPRINT]);

#endif
