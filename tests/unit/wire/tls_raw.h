/* A side that is mbedTLS as it is, for what our own engines never do: one version alone, tickets
 * that are kept, certificates that are wrong. It is put at the other end of one side of
 * tls_wire.h. */
#ifndef ALK_TEST_TLS_RAW_H
#define ALK_TEST_TLS_RAW_H

#include "tls_wire.h"

#include <mbedtls/pem.h>
#include <mbedtls/ssl.h>
#include <psa/crypto.h>
#include <sys/random.h>

static inline int raw_random(void *ud, unsigned char *to, size_t n)
{
    (void)ud;
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : -1;
}

/* ---- certificates ---------------------------------------------------------------------------- */

struct raw_pair {
    mbedtls_x509_crt crt;
    mbedtls_pk_context key;
};

static inline void raw_ec_key(mbedtls_pk_context *key)
{
    mbedtls_pk_init(key);
    ck_assert(!mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)));
    ck_assert(
        !mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), raw_random, NULL));
}

/* With p's key; signed by `by`, NULL: by itself. san NULL: it has no alternative names. Its days
 * are counted from now. */
static inline void raw_sign(struct raw_pair *p, struct raw_pair *by, const char *subject,
                            const char *san, int from_days, int to_days)
{
    mbedtls_x509write_cert w;
    mbedtls_x509_san_list name = {0};
    unsigned char der[4096], serial[] = {7};
    char issuer[100], times[2][16];
    time_t at;
    int n;

    mbedtls_x509_crt_init(&p->crt);
    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, &p->key);
    mbedtls_x509write_crt_set_issuer_key(&w, by ? &by->key : &p->key);
    for (int i = 0; i < 2; i++) {
        at = time(NULL) + (i ? to_days : from_days) * 86400;
        strftime(times[i], sizeof times[i], "%Y%m%d%H%M%S", gmtime(&at));
    }
    snprintf(issuer, sizeof issuer, "%s", subject);
    if (by)
        ck_assert_int_gt(mbedtls_x509_dn_gets(issuer, sizeof issuer, &by->crt.subject), 0);
    name.node.type = MBEDTLS_X509_SAN_DNS_NAME;
    name.node.san.unstructured_name.p = (unsigned char *)(uintptr_t)san;
    name.node.san.unstructured_name.len = san ? strlen(san) : 0;
    ck_assert(!mbedtls_x509write_crt_set_serial_raw(&w, serial, sizeof serial));
    ck_assert(!mbedtls_x509write_crt_set_subject_name(&w, subject));
    ck_assert(!mbedtls_x509write_crt_set_issuer_name(&w, issuer));
    ck_assert(!mbedtls_x509write_crt_set_validity(&w, times[0], times[1]));
    ck_assert(!mbedtls_x509write_crt_set_basic_constraints(&w, !by, -1));
    ck_assert(!san || !mbedtls_x509write_crt_set_subject_alternative_name(&w, &name));
    n = mbedtls_x509write_crt_der(&w, der, sizeof der, raw_random, NULL);
    ck_assert_int_gt(n, 0);
    ck_assert(!mbedtls_x509_crt_parse_der(&p->crt, der + sizeof der - n, (size_t)n));
    mbedtls_x509write_crt_free(&w);
}

static inline void raw_pair_free(struct raw_pair *p)
{
    mbedtls_x509_crt_free(&p->crt);
    mbedtls_pk_free(&p->key);
}

/* As PEM into the wire's folder. */
static inline void raw_write(struct wire *w, const char *name, const struct raw_pair *p)
{
    unsigned char pem[8192];
    char path[140];
    size_t n;
    FILE *f;

    ck_assert(!mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n",
                                        "-----END CERTIFICATE-----\n", p->crt.raw.p, p->crt.raw.len,
                                        pem, sizeof pem, &n));
    snprintf(path, sizeof path, "%s/%s.crt", w->folder, name);
    f = fopen(path, "a");
    ck_assert(f && fputs((char *)pem, f) >= 0 && !fclose(f));
    ck_assert(!mbedtls_pk_write_key_pem(&p->key, pem, sizeof pem));
    snprintf(path, sizeof path, "%s/%s.key", w->folder, name);
    f = fopen(path, "w");
    ck_assert(f && fputs((char *)pem, f) >= 0 && !fclose(f) && !chmod(path, 0600));
}

/* ---- the side -------------------------------------------------------------------------------- */

struct raw {
    struct mem mem;
    struct buf in, out, got; /* in: from our side, out: to it */
    mbedtls_ssl_config conf;
    mbedtls_ssl_context ssl;
    bool done;
    int error;
    size_t received;
};

static inline int raw_put(void *ud, const unsigned char *p, size_t n)
{
    return buf_append(&((struct raw *)ud)->out, p, n) ? -1 : (int)n;
}

static inline int raw_get(void *ud, unsigned char *p, size_t n)
{
    struct buf *in = &((struct raw *)ud)->in;

    n = n < in->len ? n : in->len;
    if (!n)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(p, buf_at(in), n);
    buf_consume(in, n);
    return (int)n;
}

static inline void raw_init(struct raw *r, int endpoint)
{
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, NULL, NULL);
    buf_init(&r->in, &r->mem);
    buf_init(&r->out, &r->mem);
    buf_init(&r->got, &r->mem);
    ck_assert(!psa_crypto_init());
    mbedtls_ssl_config_init(&r->conf);
    mbedtls_ssl_init(&r->ssl);
    ck_assert(!mbedtls_ssl_config_defaults(&r->conf, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                           MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&r->conf, raw_random, NULL);
    mbedtls_ssl_conf_authmode(&r->conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &r->conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
}

/* Once the configuration is as it is to be. */
static inline void raw_start(struct raw *r, const char *host)
{
    ck_assert(!mbedtls_ssl_setup(&r->ssl, &r->conf));
    ck_assert(!host || !mbedtls_ssl_set_hostname(&r->ssl, host));
    mbedtls_ssl_set_bio(&r->ssl, r, raw_put, raw_get, NULL);
}

static inline void raw_free(struct raw *r)
{
    buf_fini(&r->in);
    buf_fini(&r->out);
    buf_fini(&r->got);
    mbedtls_ssl_free(&r->ssl);
    mbedtls_ssl_config_free(&r->conf);
}

static inline void raw_step(struct raw *r)
{
    unsigned char piece[16384];
    int rc = 0;

    if (!r->done && !r->error) {
        rc = mbedtls_ssl_handshake(&r->ssl);
        r->done = !rc;
    }
    while (r->done && (rc = mbedtls_ssl_read(&r->ssl, piece, sizeof piece)) != 0) {
        if (rc > 0)
            ck_assert_int_eq(buf_append(&r->got, piece, (size_t)rc), 0);
        else if (rc != MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET &&
                 !(rc == MBEDTLS_ERR_SSL_WANT_READ && r->in.len))
            break;
    }
    if (rc && rc != MBEDTLS_ERR_SSL_WANT_READ && !r->error)
        r->error = rc;
}

/* Until neither has anything for the other. */
static inline void raw_run(struct raw *r, struct side *s)
{
    for (int i = 0; i < 100; i++) {
        raw_step(r);
        while (s->e && s->woken) {
            s->woken = false;
            s->e->ops->drained(s->e, s->w->now);
        }
        if (s->e && r->out.len) {
            s->e->ops->feed(s->e, buf_at(&r->out), r->out.len, s->w->now);
            buf_consume(&r->out, r->out.len);
        }
        if (s->e)
            engine_flush(s->e, s->w->now);
        if (!s->e || !s->e->out.len)
            continue;
        r->received += s->e->out.len;
        ck_assert_int_eq(buf_append(&r->in, buf_at(&s->e->out), s->e->out.len), 0);
        buf_consume(&s->e->out, s->e->out.len);
        s->e->ops->drained(s->e, s->w->now);
    }
}

static inline void raw_accept(struct wire *w, alk_tls *server)
{
    struct tls_config *c = tls_current(server);

    w->server.w = w;
    side_open(&w->server, w,
              tls_accept(&w->mem, c, ALL, &side_app, &w->server, NULL, w->now + 1000 * MS));
    tls_config_unref(c);
}

static inline void raw_connect(struct wire *w, alk_tls *client, const char *host)
{
    struct tls_config *c = tls_current(client);

    w->client.w = w;
    side_open(&w->client, w,
              tls_connect(&w->mem, c, host, ALL, &side_app, &w->client, w->now + 1000 * MS));
    tls_config_unref(c);
}

#endif
