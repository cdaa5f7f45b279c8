/* The seam of tls.h on mbedTLS 3.6: connections. Configurations are in tls_mbedtls_config.c, what
 * both share in tls_mbedtls.h; no other file knows mbedTLS.
 *
 * A client's certificate is asked for when it is known what will be spoken, behind the ClientHello.
 * Whoever is asked may show none; what is shown is not verified by any authority, but its owner has
 * to prove that he has the key (the handshake does not end otherwise), and its fingerprint is taken
 * when it is shown. A resumed session has none, so whoever shows one gets no ticket: he would come
 * back with it as nobody.
 *
 * Of a server, all that there is to be found wrong is found while its certificate is looked at, so
 * that a client whose server is a wrong one neither says who it is nor ends the handshake. */
#include "wire/tls_mbedtls.h"

#include "host/crypto.h"

#include <mbedtls/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    mbedtls_ssl_context ssl;
    struct tls_config *config;
    struct tls_io io;
    mbedtls_ssl_config conf; /* the configuration's, with an ALPN list of its own */
    bool server;
    struct ip address; /* by_address: host is this one, and no name that could be sent */
    bool by_address;
    bool self_signed, not_pinned; /* what was wrong with the remote's certificate */
    uint32_t flags;               /* and with its chain */
    int error;
    char fingerprint[ALK_TLS_FINGERPRINT];
};

int tls_random(void *ud, unsigned char *to, size_t len)
{
    (void)ud;
    return crypto_random(to, len) ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : 0;
}

static void take_fingerprint(const mbedtls_x509_crt *crt, char out[ALK_TLS_FINGERPRINT])
{
    uint8_t hash[32];

    crypto_sha256(crt->raw.p, crt->raw.len, hash);
    memcpy(out, "SHA256:", 7);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(out + 7 + 2 * i, 3, "%02x", hash[i]);
}

/* ---- ciphertext ------------------------------------------------------------------------------ */

static int on_put(void *ud, const unsigned char *data, size_t len)
{
    struct tls *t = ud;

    return t->io.put(t->io.ud, data, len) ? MBEDTLS_ERR_SSL_ALLOC_FAILED : (int)len;
}

static int on_get(void *ud, unsigned char *to, size_t size)
{
    struct tls *t = ud;
    size_t n = t->io.get(t->io.ud, to, size);

    return n ? (int)n : MBEDTLS_ERR_SSL_WANT_READ;
}

/* ---- certificates ---------------------------------------------------------------------------- */

/* Addresses are compared as bytes (RFC 9525, 6.5), with those that the certificate has. */
static bool has_address(const mbedtls_x509_crt *crt, const struct ip *a)
{
    size_t n = ip_is_v4(a) ? 4 : 16;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s && s->buf.p; s = s->next) {
        if (s->buf.tag == SAN_ADDRESS && s->buf.len == n && !memcmp(s->buf.p, a->b + 16 - n, n))
            return true;
    }
    return false;
}

static bool signs_itself(const mbedtls_x509_crt *crt)
{
    return crt->issuer_raw.len == crt->subject_raw.len &&
           !memcmp(crt->issuer_raw.p, crt->subject_raw.p, crt->issuer_raw.len);
}

/* 0, or what ends the handshake whoever is trusted. */
static int judge_server(struct tls *t, const mbedtls_x509_crt *crt, uint32_t *flags)
{
    const char *pin = t->config->pin;

    t->self_signed = signs_itself(crt);
    t->not_pinned = *pin && strcmp(pin, t->fingerprint) != 0;
    if (t->by_address && !t->config->trusts_any && !has_address(crt, &t->address))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return t->not_pinned ? MBEDTLS_ERR_X509_FATAL_ERROR : 0;
}

/* An empty one: over TLS 1.2 it has been promised before the certificate came (RFC 5077, 3.3). */
static int write_no_ticket(void *ud, const mbedtls_ssl_session *session, unsigned char *start,
                           const unsigned char *end, size_t *len, uint32_t *lifetime)
{
    (void)ud;
    (void)session;
    (void)start;
    (void)end;
    *len = 0;
    *lifetime = 0;
    return 0;
}

static void refuse_tickets(struct tls *t)
{
    mbedtls_ssl_conf_new_session_tickets(&t->conf, 0);
    mbedtls_ssl_conf_session_tickets_cb(&t->conf, write_no_ticket, NULL, NULL);
}

/* Called for each certificate of the chain that the remote shows, its own last. */
static int on_verify(void *ud, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct tls *t = ud;
    int rc = 0;

    if (t->server || t->config->trusts_any)
        *flags = 0;
    if (depth == 0) {
        take_fingerprint(crt, t->fingerprint);
        if (t->server)
            refuse_tickets(t);
        else
            rc = judge_server(t, crt, flags);
    }
    t->flags |= *flags;
    return rc;
}

int tls_on_hello(mbedtls_ssl_context *ssl)
{
    struct tls *t = mbedtls_ssl_get_user_data_p(ssl);
    const char *alpn = mbedtls_ssl_get_alpn_protocol(ssl);
    uint32_t ask = t->config->ask;
    bool asks =
        ask == ALK_TLS_ASK_ALL || (ask == ALK_TLS_ASK_CALLS && alpn && !strcmp(alpn, TLS_CALLS));

    mbedtls_ssl_set_hs_authmode(ssl, asks ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE);
    return tls_choose_pair(t->config, ssl);
}

/* ---- a connection ---------------------------------------------------------------------------- */

/* An address is never sent as a name (RFC 6066, 3). */
static int set_host(struct tls *t, const char *host)
{
    t->by_address = ip_parse(str_of(host), &t->address);
    return mbedtls_ssl_set_hostname(&t->ssl, t->by_address ? NULL : host);
}

struct tls *tls_new(struct tls_config *c, const char *host, const char *const *alpn,
                    const struct tls_io *io)
{
    struct tls *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->config = tls_config_ref(c);
    t->io = *io;
    t->conf = c->conf;
    t->server = !host;
    mbedtls_ssl_init(&t->ssl);
    if (mbedtls_ssl_conf_alpn_protocols(&t->conf, (const char **)(uintptr_t)alpn) ||
        mbedtls_ssl_setup(&t->ssl, &t->conf) || (host && set_host(t, host))) {
        tls_free(t);
        return NULL;
    }
    mbedtls_ssl_set_user_data_p(&t->ssl, t);
    mbedtls_ssl_set_bio(&t->ssl, t, on_put, on_get, NULL);
    mbedtls_ssl_set_verify(&t->ssl, on_verify, t);
    return t;
}

void tls_free(struct tls *t)
{
    mbedtls_ssl_free(&t->ssl);
    tls_config_unref(t->config);
    free(t);
}

static int failed(struct tls *t, int rc)
{
    t->error = rc;
    return TLS_FAILED;
}

static bool wants(int rc)
{
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

/* mbedTLS keeps what a handshake of TLS 1.3 has needed until the connection ends: 14 KiB, most of
 * them an output for the largest message. What it does behind one of 1.2 itself gives them back; it
 * is exported, but in no header of the public ones. */
void mbedtls_ssl_handshake_wrapup_free_hs_transform(mbedtls_ssl_context *ssl);

int tls_handshake(struct tls *t)
{
    int rc = mbedtls_ssl_handshake(&t->ssl);

    if (wants(rc))
        return TLS_WANT;
    if (rc)
        return failed(t, rc);
    if (mbedtls_ssl_get_version_number(&t->ssl) == MBEDTLS_SSL_VERSION_TLS1_3)
        mbedtls_ssl_handshake_wrapup_free_hs_transform(&t->ssl);
    return TLS_DONE;
}

int tls_read(struct tls *t, char *to, size_t size)
{
    int rc = mbedtls_ssl_read(&t->ssl, (unsigned char *)to, size);
    if (rc > 0)
        return rc;
    if (!rc || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return TLS_CLOSED;
    return wants(rc) ? TLS_WANT : failed(t, rc);
}

int tls_write(struct tls *t, const char *data, size_t len)
{
    int rc = mbedtls_ssl_write(&t->ssl, (const unsigned char *)data, len);

    return rc > 0 ? rc : failed(t, rc);
}

void tls_say_goodbye(struct tls *t)
{
    mbedtls_ssl_close_notify(&t->ssl);
}

struct str tls_alpn(const struct tls *t)
{
    const char *alpn = mbedtls_ssl_get_alpn_protocol(&t->ssl);

    return alpn ? str_of(alpn) : STR_NONE;
}

const char *tls_fingerprint(const struct tls *t)
{
    return t->fingerprint;
}

/* What is wrong with a server's certificate, or NULL. What can be done about it comes first. */
static const char *server_fault(const struct tls *t)
{
    if (t->not_pinned)
        return "the server's certificate is not the pinned one";
    if (t->flags & MBEDTLS_X509_BADCERT_EXPIRED)
        return "the server's certificate has expired";
    if (t->flags & MBEDTLS_X509_BADCERT_FUTURE)
        return "the server's certificate is not yet valid";
    if (t->flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
        return t->self_signed ? "the server's certificate is signed by itself, and is not trusted"
                              : "the server's certificate is not signed by an authority that is "
                                "trusted here";
    if (t->flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
        return "the server's certificate is for another name";
    return NULL;
}

void tls_reason(const struct tls *t, char *to, size_t size)
{
    const char *fault = t->server ? NULL : server_fault(t);

    if (fault)
        snprintf(to, size, "%s", fault);
    else if (t->error == MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL)
        snprintf(to, size, "no protocol in common (ALPN)");
    else if (t->error == MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION)
        snprintf(to, size, "no version of TLS in common");
    else if (t->error == MBEDTLS_ERR_SSL_INVALID_RECORD)
        snprintf(to, size, "the remote does not speak TLS");
    else if (t->error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        snprintf(to, size, "the remote has refused the handshake");
    else
        mbedtls_strerror(t->error, to, size);
}
