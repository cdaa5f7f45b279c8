/* TLS 1.3 for QUIC on GnuTLS, by ngtcp2's own helper for it.
 *
 * Each session offers exactly one kind of credential of its own, since GnuTLS sends none when a
 * client has two kinds. Who is at the other end is judged in the verify function, which sees each
 * handshake: there is no resumption. A server takes whatever its client proves to have and lets
 * others judge the fingerprint; a client compares it with the one it expects, or verifies a
 * certificate by its trust anchors. A raw key without a fingerprint to compare proves nothing, and
 * is refused. */
#include "wire/quic_tls.h"

#include "base/ip.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without the compatibility mode of TLS 1.3, which RFC 9001, 8.4 forbids. */
#define PRIORITY                                                                                   \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"      \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:%DISABLE_TLS13_COMPAT_MODE:-CTYPE-ALL"

/* What the server of a session may show. */
enum { SHOWS_CERTIFICATE, SHOWS_KEY, SHOWS_EITHER, SHOWS };

struct quic_keys {
    int refs; /* atomic */
    bool client, raw, certificates;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority[SHOWS];
    uint8_t secret[32];
    char fingerprint[ALK_TLS_FINGERPRINT];
};

struct quic_tls {
    ngtcp2_crypto_conn_ref ref; /* what GnuTLS keeps of the session's owner */
    ngtcp2_conn *conn;
    struct mem *mem;
    struct quic_keys *k;
    gnutls_session_t session;
    bool client, any;
    char pin[ALK_TLS_FINGERPRINT];
    char fingerprint[ALK_TLS_FINGERPRINT];
    char host[256];
    char reason[192];
};

static int complain(char *err, size_t err_size, const char *name, const char *what)
{
    if (err && err_size)
        snprintf(err, err_size, "%s: %s", name, what);
    return ALK_EINVAL;
}

static int gnutls_failed(int rc, char *err, size_t err_size, const char *name)
{
    return rc == GNUTLS_E_MEMORY_ERROR ? ALK_ENOMEM
                                       : complain(err, err_size, name, gnutls_strerror(rc));
}

static void hex(char *to, const char *prefix, const uint8_t bytes[32])
{
    size_t n = strlen(prefix);

    memcpy(to, prefix, n);
    for (unsigned i = 0; i < 32; i++)
        snprintf(to + n + (size_t)2 * i, 3, "%02x", bytes[i]);
}

static void of_certificate(const gnutls_datum_t *der, char out[ALK_TLS_FINGERPRINT])
{
    uint8_t hash[32];

    gnutls_hash_fast(GNUTLS_DIG_SHA256, der->data, der->size, hash);
    hex(out, "SHA256:", hash);
}

/* false: it is no Ed25519 key. */
static bool of_public_key(gnutls_pubkey_t key, char out[ALK_TLS_FINGERPRINT])
{
    gnutls_ecc_curve_t curve;
    gnutls_datum_t x = {NULL, 0};
    bool good = gnutls_pubkey_get_pk_algorithm(key, NULL) == GNUTLS_PK_EDDSA_ED25519 &&
                !gnutls_pubkey_export_ecc_raw(key, &curve, &x, NULL) && x.size == 32;

    if (good)
        hex(out, "ed25519:", x.data);
    gnutls_free(x.data);
    return good;
}

static gnutls_datum_t datum(const struct tls_text *t)
{
    return (gnutls_datum_t){(unsigned char *)t->text, (unsigned)t->len};
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int public_of(gnutls_pubkey_t *out, const gnutls_datum_t *pem)
{
    gnutls_privkey_t key;
    int rc = gnutls_privkey_init(&key);

    *out = NULL;
    if (rc)
        return rc;
    rc = gnutls_privkey_import_x509_raw(key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (!rc)
        rc = gnutls_pubkey_init(out);
    if (!rc)
        rc = gnutls_pubkey_import_privkey(*out, key, 0, 0);
    gnutls_privkey_deinit(key);
    return rc;
}

static int take_raw_key(struct quic_keys *k, const struct tls_text *raw, char *err, size_t size)
{
    gnutls_datum_t pem = datum(raw), spki = {NULL, 0};
    gnutls_pubkey_t key;
    int rc = public_of(&key, &pem);

    if (!rc && !of_public_key(key, k->fingerprint)) {
        gnutls_pubkey_deinit(key);
        return complain(err, size, raw->name, "is no Ed25519 key");
    }
    if (!rc)
        rc = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_PEM, &spki);
    if (!rc)
        rc = gnutls_certificate_set_rawpk_key_mem(k->credentials, &spki, &pem, GNUTLS_X509_FMT_PEM,
                                                  NULL, 0, NULL, 0, 0);
    gnutls_pubkey_deinit(key);
    gnutls_free(spki.data);
    if (rc < 0)
        return gnutls_failed(rc, err, size, raw->name);
    k->raw = true;
    return ALK_OK;
}

static int take_pair(struct quic_keys *k, const struct tls_pair *p, char *err, size_t size)
{
    gnutls_datum_t certificate = datum(&p->certificate), key = datum(&p->key), der;
    int i = gnutls_certificate_set_x509_key_mem2(k->credentials, &certificate, &key,
                                                 GNUTLS_X509_FMT_PEM, NULL, 0);

    if (i < 0)
        return gnutls_failed(i, err, size, p->certificate.name);
    k->certificates = true;
    if (!*k->fingerprint && !gnutls_certificate_get_crt_raw(k->credentials, (unsigned)i, 0, &der))
        of_certificate(&der, k->fingerprint);
    return ALK_OK;
}

/* The same key gives the same secret, whatever else has changed. */
static void make_secret(struct quic_keys *k, const struct tls_settings *s)
{
    static const char what[] = "alknet/call tokens";
    const struct tls_text *key = s->raw_key.text ? &s->raw_key : s->count ? &s->pairs[0].key : NULL;

    if (key)
        gnutls_hmac_fast(GNUTLS_MAC_SHA256, key->text, key->len, what, sizeof what, k->secret);
    else
        gnutls_rnd(GNUTLS_RND_KEY, k->secret, sizeof k->secret);
}

/* Of what the client shows, and the server. */
static int make_priority(gnutls_priority_t *out, const struct quic_keys *k, int shows)
{
    static const char *const server[] = {":+CTYPE-SRV-X509", ":+CTYPE-SRV-RAWPK",
                                         ":+CTYPE-SRV-X509:+CTYPE-SRV-RAWPK"};
    const char *client = !k->client ? ":+CTYPE-CLI-RAWPK:+CTYPE-CLI-X509"
                         : k->raw   ? ":+CTYPE-CLI-RAWPK"
                                    : ":+CTYPE-CLI-X509";
    char text[512];

    snprintf(text, sizeof text, "%s%s%s", PRIORITY, client, server[shows]);
    return gnutls_priority_init(out, text, NULL);
}

static int verify(gnutls_session_t session);

static int fill(struct quic_keys *k, const struct tls_settings *s, char *err, size_t size)
{
    int rc = gnutls_certificate_allocate_credentials(&k->credentials);

    if (rc)
        return ALK_ENOMEM;
    k->client = s->client;
    gnutls_certificate_set_verify_function(k->credentials, verify);
    if (s->raw_key.text && (rc = take_raw_key(k, &s->raw_key, err, size)))
        return rc;
    for (size_t i = 0; i < s->count; i++) {
        if ((rc = take_pair(k, &s->pairs[i], err, size)))
            return rc;
    }
    if (s->ca.text) {
        gnutls_datum_t ca = datum(&s->ca);

        rc = gnutls_certificate_set_x509_trust_mem(k->credentials, &ca, GNUTLS_X509_FMT_PEM);
        if (rc <= 0)
            return complain(err, size, s->ca.name, "has no certificate");
    }
    for (int i = 0; i < SHOWS; i++) {
        rc = make_priority(&k->priority[i], k, i);
        if (rc)
            return gnutls_failed(rc, err, size, "priorities");
    }
    make_secret(k, s);
    return ALK_OK;
}

int quic_keys_new(struct quic_keys **out, const struct tls_settings *s, char *err, size_t err_size)
{
    struct quic_keys *k = calloc(1, sizeof *k);
    int rc;

    *out = NULL;
    if (!k)
        return ALK_ENOMEM;
    k->refs = 1;
    rc = fill(k, s, err, err_size);
    if (rc)
        quic_keys_unref(k);
    else
        *out = k;
    return rc;
}

struct quic_keys *quic_keys_ref(struct quic_keys *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void quic_keys_unref(struct quic_keys *k)
{
    if (!k || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL))
        return;
    for (int i = 0; i < SHOWS; i++) {
        if (k->priority[i])
            gnutls_priority_deinit(k->priority[i]);
    }
    if (k->credentials)
        gnutls_certificate_free_credentials(k->credentials);
    mem_wipe(k->secret, sizeof k->secret);
    free(k);
}

const char *quic_keys_fingerprint(const struct quic_keys *k)
{
    return k->fingerprint;
}

const uint8_t *quic_keys_secret(const struct quic_keys *k)
{
    return k->secret;
}

/* ---- who is at the other end ----------------------------------------------------------------- */

static int refuse(struct quic_tls *t, const char *why)
{
    snprintf(t->reason, sizeof t->reason, "%s", why);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/* The fingerprint of what the remote has shown, and proves in the same handshake to have the
 * private key of. */
static int read_shown(struct quic_tls *t, int type)
{
    unsigned count = 0;
    const gnutls_datum_t *shown = gnutls_certificate_get_peers(t->session, &count);
    gnutls_pubkey_t key;
    bool good;

    /* A server asks and does not insist. */
    if (!shown || !count)
        return t->client ? refuse(t, "nothing was shown") : 0;
    if (type != GNUTLS_CRT_RAWPK) {
        of_certificate(shown, t->fingerprint);
        return 0;
    }
    if (gnutls_pubkey_init(&key))
        return GNUTLS_E_MEMORY_ERROR;
    good = !gnutls_pubkey_import(key, shown, GNUTLS_X509_FMT_DER) &&
           of_public_key(key, t->fingerprint);
    gnutls_pubkey_deinit(key);
    return good ? 0 : refuse(t, "a raw key that is no Ed25519 key");
}

static int verify_chain(struct quic_tls *t)
{
    gnutls_datum_t text = {NULL, 0};
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers3(t->session, t->host, &status);

    if (rc)
        return refuse(t, gnutls_strerror(rc));
    if (!status)
        return 0;
    rc = gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
    refuse(t, rc ? "the certificate is not trusted" : (const char *)text.data);
    gnutls_free(text.data);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

static ngtcp2_conn *conn_of_ref(ngtcp2_crypto_conn_ref *ref)
{
    struct quic_tls *t = ref->user_data;

    return t->conn;
}

static int verify(gnutls_session_t session)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);
    struct quic_tls *t = ref->user_data;
    int type = (int)gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS);
    int rc = read_shown(t, type);

    if (rc || !t->client || t->any)
        return rc;
    if (*t->pin) {
        char why[192];

        if (!strcmp(t->pin, t->fingerprint))
            return 0;
        snprintf(why, sizeof why, "the server is another: %s", t->fingerprint);
        return refuse(t, why);
    }
    if (type == GNUTLS_CRT_RAWPK) {
        char why[192];

        snprintf(why, sizeof why, "the server shows a key that nothing vouches for: %s",
                 t->fingerprint);
        return refuse(t, why);
    }
    return verify_chain(t);
}

/* GnuTLS minds a list without ours, and not that there is none (RFC 9001, 8.1). */
static int check_alpn(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                      const gnutls_datum_t *message)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);
    gnutls_datum_t alpn;

    (void)type;
    (void)when;
    (void)incoming;
    (void)message;
    if (!gnutls_alpn_get_selected_protocol(session, &alpn) && alpn.size == sizeof ALPN_CALL - 1 &&
        !memcmp(alpn.data, ALPN_CALL, alpn.size))
        return 0;
    refuse(ref->user_data, "the remote does not speak " ALPN_CALL);
    return GNUTLS_E_NO_APPLICATION_PROTOCOL;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static struct quic_tls *tls_new_session(struct mem *mem, struct quic_keys *k, unsigned flags,
                                        int shows)
{
    static const gnutls_datum_t alpn = {(unsigned char *)(uintptr_t)ALPN_CALL,
                                        sizeof ALPN_CALL - 1};
    struct quic_tls *t = mem_zalloc(mem, sizeof *t);

    if (!t)
        return NULL;
    t->mem = mem;
    t->k = quic_keys_ref(k);
    t->ref.get_conn = conn_of_ref;
    t->ref.user_data = t;
    flags |= GNUTLS_NO_TICKETS | GNUTLS_ENABLE_RAWPK;
    if (gnutls_init(&t->session, flags)) {
        t->session = NULL;
        quic_tls_free(t);
        return NULL;
    }
    gnutls_session_set_ptr(t->session, &t->ref);
    if (gnutls_priority_set(t->session, k->priority[shows]) ||
        gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, k->credentials) ||
        gnutls_alpn_set_protocols(t->session, &alpn, 1, GNUTLS_ALPN_MANDATORY)) {
        quic_tls_free(t);
        return NULL;
    }
    return t;
}

struct quic_tls *quic_tls_accept(struct mem *mem, struct quic_keys *k)
{
    struct quic_tls *t = tls_new_session(mem, k, GNUTLS_SERVER,
                                         !k->raw           ? SHOWS_CERTIFICATE
                                         : k->certificates ? SHOWS_EITHER
                                                           : SHOWS_KEY);

    if (!t)
        return NULL;
    gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_REQUEST);
    gnutls_handshake_set_hook_function(t->session, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_POST,
                                       check_alpn);
    if (ngtcp2_crypto_gnutls_configure_server_session(t->session)) {
        quic_tls_free(t);
        return NULL;
    }
    return t;
}

static bool is_address(const char *host)
{
    struct ip ip;

    return ip_parse(str_of(host), &ip);
}

struct quic_tls *quic_tls_connect(struct mem *mem, struct quic_keys *k, const char *host,
                                  const char *pin, bool any)
{
    struct quic_tls *t = tls_new_session(mem, k, GNUTLS_CLIENT,
                                         !pin || any                    ? SHOWS_EITHER
                                         : !strncmp(pin, "ed25519:", 8) ? SHOWS_KEY
                                                                        : SHOWS_CERTIFICATE);

    if (!t)
        return NULL;
    /* Its choice stands in the message before. */
    gnutls_handshake_set_hook_function(t->session, GNUTLS_HANDSHAKE_CERTIFICATE_PKT,
                                       GNUTLS_HOOK_POST, check_alpn);
    t->client = true;
    t->any = any;
    snprintf(t->pin, sizeof t->pin, "%s", pin ? pin : "");
    snprintf(t->host, sizeof t->host, "%s", host);
    if ((!is_address(host) &&
         gnutls_server_name_set(t->session, GNUTLS_NAME_DNS, host, strlen(host))) ||
        ngtcp2_crypto_gnutls_configure_client_session(t->session)) {
        quic_tls_free(t);
        return NULL;
    }
    return t;
}

void quic_tls_free(struct quic_tls *t)
{
    if (!t)
        return;
    if (t->session)
        gnutls_deinit(t->session);
    quic_keys_unref(t->k);
    mem_free(t->mem, t);
}

void quic_tls_attach(struct quic_tls *t, ngtcp2_conn *conn)
{
    t->conn = conn;
    ngtcp2_conn_set_tls_native_handle(conn, t->session);
}

const char *quic_tls_fingerprint(const struct quic_tls *t)
{
    return t->fingerprint;
}

const char *quic_tls_reason(const struct quic_tls *t)
{
    return t->reason;
}

/* ---- files of keys --------------------------------------------------------------------------- */

int quic_key_new(struct buf *pem)
{
    gnutls_datum_t text = {NULL, 0};
    gnutls_x509_privkey_t key;
    int rc = gnutls_x509_privkey_init(&key);

    if (rc)
        return ALK_ENOMEM;
    rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_EDDSA_ED25519, 0, 0);
    if (!rc)
        rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                               &text);
    if (!rc && buf_append(pem, text.data, text.size))
        rc = GNUTLS_E_MEMORY_ERROR;
    if (text.data)
        mem_wipe(text.data, text.size);
    gnutls_free(text.data);
    gnutls_x509_privkey_deinit(key);
    return rc == GNUTLS_E_MEMORY_ERROR ? ALK_ENOMEM : rc ? ALK_ESYSTEM : ALK_OK;
}

static bool of_certificate_text(const gnutls_datum_t *pem, char out[ALK_TLS_FINGERPRINT])
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t der = {NULL, 0};
    bool good;

    if (gnutls_x509_crt_init(&crt))
        return false;
    good = !gnutls_x509_crt_import(crt, pem, GNUTLS_X509_FMT_PEM) &&
           !gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der);
    if (good)
        of_certificate(&der, out);
    gnutls_free(der.data);
    gnutls_x509_crt_deinit(crt);
    return good;
}

/* A certificate, a private key, or a public one: whatever the text is. */
int quic_key_fingerprint(const struct tls_text *pem, char out[ALK_TLS_FINGERPRINT])
{
    gnutls_datum_t text = datum(pem);
    gnutls_pubkey_t key;
    bool good;

    if (of_certificate_text(&text, out))
        return ALK_OK;
    good = !public_of(&key, &text) && of_public_key(key, out);
    gnutls_pubkey_deinit(key);
    if (good)
        return ALK_OK;
    if (gnutls_pubkey_init(&key))
        return ALK_ENOMEM;
    good = !gnutls_pubkey_import(key, &text, GNUTLS_X509_FMT_PEM) && of_public_key(key, out);
    gnutls_pubkey_deinit(key);
    return good ? ALK_OK : ALK_EINVAL;
}
