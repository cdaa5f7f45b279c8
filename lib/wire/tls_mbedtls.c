/* The seam of tls.h on mbedTLS 3.6: connections. Configurations are in tls_mbedtls_config.c, what
 * both share in tls_mbedtls.h; no other file knows mbedTLS.
 *
 * A client's certificate is asked for when it is known what will be spoken, behind the ClientHello.
 * Whoever is asked may show none; what is shown is not verified by any authority, but its owner has
 * to prove that he has the key (the handshake does not end otherwise), and its fingerprint is taken
 * when it is shown. So a session that is resumed has none. */
#include "wire/tls_mbedtls.h"

#include "base/ip.h"
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
    char *host;              /* NULL: a server */
    bool by_address;         /* host is one, and no name that could be sent */
    int error;
    uint32_t flags; /* what was wrong with the remote's chain */
    char fingerprint[ALK_TLS_FINGERPRINT];
};

int tls_random(void *ud, unsigned char *to, size_t len)
{
    (void)ud;
    return crypto_random(to, len) ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : 0;
}

void tls_take_fingerprint(const mbedtls_x509_crt *crt, char out[ALK_TLS_FINGERPRINT])
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

/* Called for each certificate that the remote shows, its own last. */
static int on_verify(void *ud, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct tls *t = ud;

    t->flags |= *flags;
    if (depth == 0)
        tls_take_fingerprint(crt, t->fingerprint);
    if (!t->host || t->config->trusts_any)
        *flags = 0;
    return 0;
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

/* An address is never sent as a name (RFC 6066, 3), and is compared when the handshake is over. */
static int set_host(struct tls *t, const char *host)
{
    struct ip address;

    t->host = strdup(host);
    if (!t->host)
        return -1;
    t->by_address = ip_parse(str_of(host), &address);
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
    free(t->host);
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

/* What the handshake has not compared: 0, or the error. */
static int judge(struct tls *t)
{
    const struct tls_config *c = t->config;
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&t->ssl);

    if (*c->pin && strcmp(c->pin, t->fingerprint))
        return TLS_ERROR_PIN;
    if (!t->by_address || c->trusts_any)
        return 0;
    return mbedtls_x509_crt_verify((mbedtls_x509_crt *)(uintptr_t)crt, (mbedtls_x509_crt *)&c->ca,
                                   NULL, t->host, &t->flags, NULL, NULL);
}

int tls_handshake(struct tls *t)
{
    int rc = mbedtls_ssl_handshake(&t->ssl);

    if (wants(rc))
        return TLS_WANT;
    if (!rc && t->host && (rc = judge(t)))
        mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                       MBEDTLS_SSL_ALERT_MSG_BAD_CERT);
    return rc ? failed(t, rc) : TLS_DONE;
}

int tls_read(struct tls *t, char *to, size_t size)
{
    int rc;

    do
        rc = mbedtls_ssl_read(&t->ssl, (unsigned char *)to, size);
    while (rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET);
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

/* What can be done about it comes first. */
void tls_reason(const struct tls *t, char *to, size_t size)
{
    static const struct {
        uint32_t flag;
        const char *text;
    } faults[] = {
        {MBEDTLS_X509_BADCERT_EXPIRED, "the server's certificate has expired"},
        {MBEDTLS_X509_BADCERT_FUTURE, "the server's certificate is not yet valid"},
        {MBEDTLS_X509_BADCERT_NOT_TRUSTED,
         "the server's certificate is not signed by an authority that is trusted here"},
        {MBEDTLS_X509_BADCERT_CN_MISMATCH, "the server's certificate is for another name"},
    };

    for (size_t i = 0; t->host && !t->config->trusts_any && i < sizeof faults / sizeof faults[0];
         i++) {
        if (t->flags & faults[i].flag) {
            snprintf(to, size, "%s", faults[i].text);
            return;
        }
    }
    if (t->error == TLS_ERROR_PIN)
        snprintf(to, size, "the server's certificate is not the pinned one");
    else if (t->error == MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL)
        snprintf(to, size, "no protocol in common (ALPN)");
    else if (t->error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
        snprintf(to, size, "the remote has refused the handshake");
    else
        mbedtls_strerror(t->error, to, size);
}
