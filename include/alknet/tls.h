/* TLS 1.2 and 1.3 (RFC 5246, RFC 8446) for listeners and dialled connections: certificates, keys,
 * and whom to trust. One alk_tls serves any number of servers, dialers, loops and threads.
 *
 * What a client and a server agree on by ALPN (RFC 7301): "alknet/call" is a call connection of
 * framed envelopes, "h2" and "http/1.1" the gateway; without ALPN it is HTTP/1.1, and a client
 * whose list has none of these gets the alert. */
#ifndef ALKNET_TLS_H
#define ALKNET_TLS_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_tls alk_tls;

#define ALK_TLS_ASK_CALLS 0 /* of clients of alknet/call alone */
#define ALK_TLS_ASK_ALL 1
#define ALK_TLS_ASK_NOBODY 2

#define ALK_TLS_FINGERPRINT 73 /* bytes of "ed25519:" and 64 hexadecimal digits, with the NUL */

typedef struct alk_tls_options {
    uint32_t size;   /* set by alk_tls_options_init */
    uint32_t client; /* 1: for alk_dial; 0 (default): for alk_server_open */
    /* JSON array of {"certificate": FILE, "key": FILE}, PEM, ECDSA or RSA. The certificate's chain
     * is in its file, leaf first. A server has at least one: by the name that a client asks for
     * (SNI, RFC 6066), else the first. A client has at most one. A key that others than its owner
     * can read is refused, and one that does not fit its certificate. */
    const char *certificates;
    /* Server: who is asked for a certificate, ALK_TLS_ASK_. None is required, and none is verified
     * but by its fingerprint, which the identity provider is asked for. */
    uint32_t client_certificates;
    uint32_t tickets;    /* Server: 1 (default): sessions are resumed (RFC 8446, 2.2; RFC 5077) */
    const char *ca_file; /* Client: trust anchors, PEM; NULL: the system's */
    /* Client: the server's certificate has this fingerprint, "SHA256:" and 64 hexadecimal digits,
     * or its raw key has, "ed25519:" and as many; in place of trust anchors, name and times. NULL:
     * those are verified, and a raw key is refused. */
    const char *pin;
    uint32_t insecure; /* Client: 1: any certificate will do. Whoever is on the way can then read */
    /* An Ed25519 private key, PKCS #8 in PEM, which is shown as it is (RFC 7250), over QUIC alone.
     * A client shows this in place of a certificate; a server may have certificates as well, for
     * clients that cannot take a raw key, and all that is for streams needs one. NULL: none. */
    const char *raw_key;
} alk_tls_options;

ALK_API void alk_tls_options_init(alk_tls_options *o, size_t size);
/* Reads the files. ALK_EINVAL (err, when given, says what and in which file), ALK_EJSON,
 * ALK_ESYSTEM (a file cannot be read), ALK_ENOMEM. */
ALK_API int alk_tls_new(alk_tls **out, const alk_tls_options *o, char *err, size_t err_size);
/* Reads the files again: new connections get what they hold now. After a failure nothing has
 * changed; codes as of alk_tls_new. From any thread. */
ALK_API int alk_tls_reload(alk_tls *t, char *err, size_t err_size);
ALK_API alk_tls *alk_tls_ref(alk_tls *t);
ALK_API void alk_tls_unref(alk_tls *t);
/* Of its raw key, "ed25519:" and the key, or else of its first certificate, "SHA256:" and the
 * SHA-256 of its DER; in lower-case hexadecimal. expires (may be NULL): when the certificate ends
 * that is the first to do so, Unix time in seconds; 0: it has none. ALK_ENOENT: it has neither. */
ALK_API int alk_tls_fingerprint(const alk_tls *t, char out[ALK_TLS_FINGERPRINT], int64_t *expires);
/* Makes a key (ECDSA, P-256) and a certificate that it signs itself, in two files that do not exist
 * yet, the key's with mode 0600. names: JSON array of host names and numeric addresses. ALK_EEXIST,
 * ALK_EINVAL, ALK_EJSON, ALK_ESYSTEM, ALK_ENOMEM. */
ALK_API int alk_tls_self_sign(const char *certificate_file, const char *key_file, const char *names,
                              uint32_t days, char *err, size_t err_size);

/* Makes an Ed25519 private key in a file that does not exist yet, with mode 0600, and tells its
 * fingerprint. ALK_EEXIST, ALK_ESYSTEM, ALK_ENOMEM. */
ALK_API int alk_key_new(const char *file, char out[ALK_TLS_FINGERPRINT], char *err,
                        size_t err_size);
/* Of what is in a file, in PEM: a private or public Ed25519 key, or a certificate. ALK_EINVAL (it
 * is none of these), ALK_ESYSTEM, ALK_ENOMEM. */
ALK_API int alk_key_fingerprint(const char *file, char out[ALK_TLS_FINGERPRINT], char *err,
                                size_t err_size);

#ifdef __cplusplus
}
#endif

#endif
