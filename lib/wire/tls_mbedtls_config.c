/* The seam of tls.h on mbedTLS 3.6: configurations, tickets, and the certificate that signs itself.
 *
 * What is agreed on is the intersection of two lists, and ours is short: TLS 1.2 and 1.3, ECDHE,
 * AEAD. mbedTLS itself is built with nothing else (pkgconfig/mbedtls_config.h). */
#include "wire/tls_mbedtls.h"

#include <mbedtls/base64.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform_time.h>
#include <mbedtls/platform_util.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICKET_SECONDS 43200u /* a key's time; one before it is still taken */
#define PEM_MAX 4096u
#define CHAIN_MAX 16000u /* what fits into a message, with what goes around it */

static const int suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
                             MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
                             MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                             MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                             MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                             MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                             0};
static const uint16_t groups[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

/* ---- tickets --------------------------------------------------------------------------------- */

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->refs = 1;
    mbedtls_ssl_ticket_init(&t->context);
    if (mbedtls_ssl_ticket_setup(&t->context, tls_random, NULL, MBEDTLS_CIPHER_AES_256_GCM,
                                 TICKET_SECONDS)) {
        tls_tickets_unref(t);
        return NULL;
    }
    return t;
}

void tls_tickets_unref(struct tls_tickets *t)
{
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
        return;
    mbedtls_ssl_ticket_free(&t->context);
    free(t);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int complain(char *err, size_t err_size, const char *file, const char *what)
{
    if (err && err_size)
        snprintf(err, err_size, "%s: %s", file, what);
    return ALK_EINVAL;
}

/* mbedTLS's code as a fault of that file. */
static int blame(char *err, size_t err_size, const char *file, const char *what, int rc)
{
    char why[128], text[256];

    mbedtls_strerror(rc, why, sizeof why);
    snprintf(text, sizeof text, "%s (%s)", what, why);
    return complain(err, err_size, file, text);
}

static size_t chain_bytes(const mbedtls_x509_crt *crt)
{
    size_t n = 0;

    for (; crt; crt = crt->next)
        n += crt->raw.len;
    return n;
}

/* A positive result counts those that were not understood: of a bundle of many that is no fault, of
 * a chain it is one. */
static int read_pair(struct tls_keyed *k, const struct tls_pair *p, char *err, size_t err_size)
{
    int rc = mbedtls_x509_crt_parse(&k->crt, (unsigned char *)p->certificate.text,
                                    p->certificate.len + 1);

    if (rc)
        return blame(err, err_size, p->certificate.name, "holds no certificate in PEM", rc);
    if (chain_bytes(&k->crt) > CHAIN_MAX)
        return complain(err, err_size, p->certificate.name,
                        "holds a chain of more than 16000 bytes, which no handshake can show");
    rc = mbedtls_pk_parse_key(&k->key, (unsigned char *)p->key.text, p->key.len + 1, NULL, 0,
                              tls_random, NULL);
    if (rc)
        return blame(err, err_size, p->key.name, "holds no private key in PEM", rc);
    if (!mbedtls_pk_can_do(&k->key, MBEDTLS_PK_ECDSA) &&
        !mbedtls_pk_can_do(&k->key, MBEDTLS_PK_RSA))
        return complain(err, err_size, p->key.name, "is neither an ECDSA nor an RSA key");
    if (mbedtls_pk_check_pair(&k->crt.pk, &k->key, tls_random, NULL))
        return complain(err, err_size, p->key.name,
                        "does not fit the certificate that it is to be the key of");
    return ALK_OK;
}

static int read_pairs(struct tls_config *c, const struct tls_settings *s, char *err,
                      size_t err_size)
{
    int rc = ALK_OK;

    c->pairs = calloc(s->count + 1, sizeof *c->pairs);
    if (!c->pairs)
        return ALK_ENOMEM;
    for (; c->count < s->count && !rc; c->count++) {
        struct tls_keyed *k = &c->pairs[c->count];

        mbedtls_x509_crt_init(&k->crt);
        mbedtls_pk_init(&k->key);
        rc = read_pair(k, &s->pairs[c->count], err, err_size);
    }
    return rc;
}

static int read_ca(struct tls_config *c, const struct tls_settings *s, char *err, size_t err_size)
{
    int rc;

    if (!s->ca.text)
        return ALK_OK;
    rc = mbedtls_x509_crt_parse(&c->ca, (unsigned char *)s->ca.text, s->ca.len + 1);
    return rc < 0 ? blame(err, err_size, s->ca.name, "holds no certificate in PEM", rc) : ALK_OK;
}

/* ---- a configuration ------------------------------------------------------------------------- */

/* Called before a client's chain is looked at, for each certificate that is: with it (the rest of
 * the chain is behind it), for those who might have signed it. There is nobody. It is the place to
 * refuse what would take long: of a public exponent as long as the key, one signature takes as long
 * as many handshakes. */
static int on_client_chain(void *ud, const mbedtls_x509_crt *crt, mbedtls_x509_crt **candidates)
{
    (void)ud;
    *candidates = NULL;
    for (; crt; crt = crt->next) {
        unsigned char exponent[4];

        if (mbedtls_pk_get_type(&crt->pk) == MBEDTLS_PK_RSA &&
            mbedtls_rsa_export_raw(mbedtls_pk_rsa(crt->pk), NULL, 0, NULL, 0, NULL, 0, NULL, 0,
                                   exponent, sizeof exponent))
            return -1;
    }
    return 0;
}

static int set_up_server(struct tls_config *c, const struct tls_settings *s)
{
    int rc = mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_SERVER,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);

    mbedtls_ssl_conf_cert_cb(&c->conf, tls_on_hello);
    mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_ca_cb(&c->conf, on_client_chain, NULL);
    /* Also the size of the buffer that a connection keeps. */
    mbedtls_ssl_conf_max_frag_len(&c->conf, MBEDTLS_SSL_MAX_FRAG_LEN_2048);
    c->ask = s->ask;
    if (!rc)
        rc = mbedtls_ssl_conf_own_cert(&c->conf, &c->pairs[0].crt, &c->pairs[0].key);
    if (s->tickets) {
        __atomic_add_fetch(&s->tickets->refs, 1, __ATOMIC_RELAXED);
        c->tickets = s->tickets;
        mbedtls_ssl_conf_session_tickets_cb(&c->conf, mbedtls_ssl_ticket_write,
                                            mbedtls_ssl_ticket_parse, &c->tickets->context);
    }
    return rc;
}

static int set_up_client(struct tls_config *c, const struct tls_settings *s)
{
    int rc = mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_CLIENT,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);

    c->trusts_any = s->pin || s->insecure;
    if (s->pin)
        snprintf(c->pin, sizeof c->pin, "%s", s->pin);
    mbedtls_ssl_conf_ca_chain(&c->conf, &c->ca, NULL);
    mbedtls_ssl_conf_authmode(&c->conf, c->trusts_any ? MBEDTLS_SSL_VERIFY_OPTIONAL
                                                      : MBEDTLS_SSL_VERIFY_REQUIRED);
    if (!rc && c->count)
        rc = mbedtls_ssl_conf_own_cert(&c->conf, &c->pairs[0].crt, &c->pairs[0].key);
    return rc;
}

int tls_config_new(struct tls_config **out, const struct tls_settings *s, char *err,
                   size_t err_size)
{
    struct tls_config *c = calloc(1, sizeof *c);
    int rc;

    *out = NULL;
    if (!c)
        return ALK_ENOMEM;
    c->refs = 1;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_x509_crt_init(&c->ca);
    rc = psa_crypto_init() ? ALK_ENOMEM : read_pairs(c, s, err, err_size);
    if (!rc)
        rc = read_ca(c, s, err, err_size);
    if (!rc && (s->client ? set_up_client(c, s) : set_up_server(c, s)))
        rc = ALK_ENOMEM;
    if (rc) {
        tls_config_unref(c);
        return rc;
    }
    mbedtls_ssl_conf_rng(&c->conf, tls_random, NULL);
    mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_ciphersuites(&c->conf, suites);
    mbedtls_ssl_conf_groups(&c->conf, groups);
    mbedtls_ssl_conf_tls13_key_exchange_modes(
        &c->conf, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
                      MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
    *out = c;
    return ALK_OK;
}

struct tls_config *tls_config_ref(struct tls_config *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void tls_config_unref(struct tls_config *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
        return;
    mbedtls_ssl_config_free(&c->conf);
    for (size_t i = 0; i < c->count; i++) {
        mbedtls_x509_crt_free(&c->pairs[i].crt);
        mbedtls_pk_free(&c->pairs[i].key);
    }
    free(c->pairs);
    mbedtls_x509_crt_free(&c->ca);
    tls_tickets_unref(c->tickets);
    free(c);
}

/* Of the proleptic Gregorian calendar, in days from 1970-01-01. */
static int64_t days_from(int year, int month, int day)
{
    int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t tls_config_expires(const struct tls_config *c)
{
    int64_t first = 0;

    for (size_t i = 0; i < c->count; i++) {
        const mbedtls_x509_time *t = &c->pairs[i].crt.valid_to;
        int64_t at =
            days_from(t->year, t->mon, t->day) * 86400 + t->hour * 3600 + t->min * 60 + t->sec;

        if (!first || at < first)
            first = at;
    }
    return first;
}

/* ---- names ----------------------------------------------------------------------------------- */

static char lower(unsigned char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
}

static bool same(const unsigned char *a, const unsigned char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (lower(a[i]) != lower(b[i]))
            return false;
    }
    return true;
}

/* A wildcard stands for one whole label, the first (RFC 9525, 6.3). */
static bool name_fits(const mbedtls_x509_buf *pattern, struct str name)
{
    const unsigned char *p = pattern->p, *n = (const unsigned char *)name.p;
    const char *dot;

    if (pattern->len == name.n && same(p, n, name.n))
        return true;
    if (pattern->len < 3 || p[0] != '*' || p[1] != '.')
        return false;
    dot = memchr(name.p, '.', name.n);
    if (!dot || dot == name.p)
        return false;
    n = (const unsigned char *)dot;
    return name.n - (size_t)(dot - name.p) == pattern->len - 1 && same(p + 1, n, pattern->len - 1);
}

/* By its alternative names; where it has none, by the name of its subject. */
static bool certificate_fits(const mbedtls_x509_crt *crt, struct str name)
{
    const mbedtls_x509_name *cn;

    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s && s->buf.p; s = s->next) {
        if (s->buf.tag == SAN_NAME && name_fits(&s->buf, name))
            return true;
    }
    if (mbedtls_x509_crt_has_ext_type(crt, MBEDTLS_X509_EXT_SUBJECT_ALT_NAME))
        return false;
    cn = mbedtls_asn1_find_named_data(&crt->subject, MBEDTLS_OID_AT_CN,
                                      MBEDTLS_OID_SIZE(MBEDTLS_OID_AT_CN));
    return cn && name_fits(&cn->val, name);
}

/* Several may fit, of different kinds of key: then the handshake takes the one that the client
 * understands. */
int tls_choose_pair(struct tls_config *c, mbedtls_ssl_context *ssl)
{
    struct str name;
    int rc = 0;

    name.p = (const char *)mbedtls_ssl_get_hs_sni(ssl, &name.n);
    for (size_t i = 0; name.p && i < c->count && !rc; i++) {
        if (certificate_fits(&c->pairs[i].crt, name))
            rc = mbedtls_ssl_set_hs_own_cert(ssl, &c->pairs[i].crt, &c->pairs[i].key);
    }
    return rc;
}

/* ---- a certificate of one's own -------------------------------------------------------------- */

/* YYYYMMDDhhmmss, as mbedTLS wants it. */
static void put_time(char out[16], mbedtls_time_t at)
{
    struct tm tm;

    mbedtls_platform_gmtime_r(&at, &tm);
    strftime(out, 16, "%Y%m%d%H%M%S", &tm);
}

/* In the order in which they come; out has room for all. */
static void put_names(mbedtls_x509_san_list *out, struct ip *addresses, const struct str *names,
                      size_t count)
{
    static const struct ip none;

    for (size_t i = 0; i < count; i++) {
        mbedtls_x509_san_list *one = &out[i];
        bool v4;

        one->next = i + 1 < count ? one + 1 : NULL;
        addresses[i] = none;
        if (ip_parse(names[i], &addresses[i])) {
            v4 = ip_is_v4(&addresses[i]);
            one->node.type = MBEDTLS_X509_SAN_IP_ADDRESS;
            one->node.san.unstructured_name.p = addresses[i].b + (v4 ? 12 : 0);
            one->node.san.unstructured_name.len = v4 ? 4 : 16;
        } else {
            one->node.type = MBEDTLS_X509_SAN_DNS_NAME;
            one->node.san.unstructured_name.p = (unsigned char *)(uintptr_t)names[i].p;
            one->node.san.unstructured_name.len = names[i].n;
        }
    }
}

/* It may sign others, so that clients take it as a trust anchor; it is the only one that it ever
 * signs. */
static int write_certificate(mbedtls_pk_context *key, mbedtls_x509_san_list *names, uint32_t days,
                             unsigned char *pem)
{
    mbedtls_x509write_cert w;
    mbedtls_time_t now = mbedtls_time(NULL);
    char from[16], to[16];
    unsigned char serial[16];
    int rc;

    put_time(from, now - 3600);
    put_time(to, now + (mbedtls_time_t)days * 86400);
    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, key);
    mbedtls_x509write_crt_set_issuer_key(&w, key);
    rc = tls_random(NULL, serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 1;
    if (rc || (rc = mbedtls_x509write_crt_set_serial_raw(&w, serial, sizeof serial)) ||
        (rc = mbedtls_x509write_crt_set_subject_name(&w, "CN=alknet")) ||
        (rc = mbedtls_x509write_crt_set_issuer_name(&w, "CN=alknet")) ||
        (rc = mbedtls_x509write_crt_set_validity(&w, from, to)) ||
        (rc = mbedtls_x509write_crt_set_basic_constraints(&w, 1, 0)) ||
        (rc = mbedtls_x509write_crt_set_key_usage(&w, MBEDTLS_X509_KU_DIGITAL_SIGNATURE |
                                                          MBEDTLS_X509_KU_KEY_CERT_SIGN)) ||
        (rc = mbedtls_x509write_crt_set_subject_alternative_name(&w, names)) ||
        (rc = mbedtls_x509write_crt_pem(&w, pem, PEM_MAX, tls_random, NULL)))
        rc = rc == MBEDTLS_ERR_BASE64_BUFFER_TOO_SMALL ? ALK_ELIMIT : ALK_ENOMEM;
    mbedtls_x509write_crt_free(&w);
    return rc;
}

int tls_self_sign(const struct str *names, size_t count, uint32_t days, struct buf *certificate,
                  struct buf *key)
{
    mbedtls_x509_san_list *list = calloc(count + 1, sizeof *list);
    struct ip *addresses = calloc(count + 1, sizeof *addresses);
    mbedtls_pk_context pk;
    unsigned char pem[PEM_MAX];
    int rc = ALK_ENOMEM;

    mbedtls_pk_init(&pk);
    if (list && addresses && !psa_crypto_init() &&
        !mbedtls_pk_setup(&pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) &&
        !mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(pk), tls_random, NULL)) {
        put_names(list, addresses, names, count);
        rc = write_certificate(&pk, list, days, pem);
        if (!rc && buf_puts(certificate, (char *)pem))
            rc = ALK_ENOMEM;
        if (!rc && (mbedtls_pk_write_key_pem(&pk, pem, sizeof pem) || buf_puts(key, (char *)pem)))
            rc = ALK_ENOMEM;
    }
    mem_wipe(pem, sizeof pem);
    mbedtls_pk_free(&pk);
    free(list);
    free(addresses);
    return rc;
}
