/* Implements pair_crypto.h. GnuTLS and mbedTLS allocate by themselves; what is secret is wiped
 * here, or by them. */
#include "wire/pair_crypto.h"

#include "host/crypto.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <mbedtls/ecp.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_BYTES 12u /* of GCM */

struct pair_identity {
    struct mem *mem;
    gnutls_privkey_t key;
    uint8_t public[PAIR_KEY];
};

struct pair_cipher {
    struct mem *mem;
    gnutls_aead_cipher_hd_t h;
};

static gnutls_datum_t datum(const void *p, size_t n)
{
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)p, (unsigned)n};
}

/* ---- who a hub is ---------------------------------------------------------------------------- */

static int read_public(struct pair_identity *k)
{
    gnutls_ecc_curve_t curve;
    gnutls_datum_t x = {NULL, 0};
    gnutls_pubkey_t key;
    int rc = gnutls_pubkey_init(&key);

    if (rc)
        return rc;
    rc = gnutls_pubkey_import_privkey(key, k->key, 0, 0);
    if (!rc && gnutls_pubkey_get_pk_algorithm(key, NULL) != GNUTLS_PK_EDDSA_ED25519)
        rc = GNUTLS_E_INVALID_REQUEST;
    if (!rc)
        rc = gnutls_pubkey_export_ecc_raw(key, &curve, &x, NULL);
    if (!rc)
        memcpy(k->public, x.data, PAIR_KEY);
    gnutls_free(x.data);
    gnutls_pubkey_deinit(key);
    return rc;
}

int pair_identity_new(struct pair_identity **out, struct mem *mem, const char *pem, size_t len)
{
    struct pair_identity *k = mem_zalloc(mem, sizeof *k);
    gnutls_datum_t text = datum(pem, len);
    int rc;

    *out = NULL;
    if (!k)
        return ALK_ENOMEM;
    k->mem = mem;
    if (gnutls_privkey_init(&k->key)) {
        mem_free(mem, k);
        return ALK_ENOMEM;
    }
    rc = gnutls_privkey_import_x509_raw(k->key, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (!rc)
        rc = read_public(k);
    if (rc) {
        pair_identity_free(k);
        return rc == GNUTLS_E_MEMORY_ERROR ? ALK_ENOMEM : ALK_EINVAL;
    }
    *out = k;
    return ALK_OK;
}

void pair_identity_free(struct pair_identity *k)
{
    gnutls_privkey_deinit(k->key);
    mem_free(k->mem, k);
}

const uint8_t *pair_identity_public(const struct pair_identity *k)
{
    return k->public;
}

bool pair_sign(const struct pair_identity *k, struct str data, uint8_t signature[PAIR_SIGNATURE])
{
    gnutls_datum_t text = datum(data.p, data.n), made = {NULL, 0};
    bool good = !gnutls_privkey_sign_data2(k->key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &made) &&
                made.size == PAIR_SIGNATURE;

    if (good)
        memcpy(signature, made.data, PAIR_SIGNATURE);
    gnutls_free(made.data);
    return good;
}

bool pair_verify(const uint8_t key[PAIR_KEY], struct str data,
                 const uint8_t signature[PAIR_SIGNATURE])
{
    gnutls_datum_t x = datum(key, PAIR_KEY), text = datum(data.p, data.n);
    gnutls_datum_t shown = datum(signature, PAIR_SIGNATURE);
    gnutls_pubkey_t k;
    bool good;

    if (gnutls_pubkey_init(&k))
        return false;
    good = !gnutls_pubkey_import_ecc_raw(k, GNUTLS_ECC_CURVE_ED25519, &x, NULL) &&
           gnutls_pubkey_verify_data2(k, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &shown) >= 0;
    gnutls_pubkey_deinit(k);
    return good;
}

void pair_fingerprint(const uint8_t key[PAIR_KEY], char out[ALK_TLS_FINGERPRINT])
{
    char *to = out + snprintf(out, ALK_TLS_FINGERPRINT, "ed25519:");

    for (unsigned i = 0; i < PAIR_KEY; i++)
        to += snprintf(to, 3, "%02x", key[i]);
}

/* ---- the keys of a pair ---------------------------------------------------------------------- */

static int noise(void *ud, unsigned char *out, size_t n)
{
    (void)ud;
    return crypto_random(out, n);
}

/* out is secret times the point; NULL: the base point. */
static bool multiply(const uint8_t secret[PAIR_KEY], const uint8_t *point, uint8_t out[PAIR_KEY])
{
    mbedtls_ecp_group curve;
    mbedtls_ecp_point from, to;
    mbedtls_mpi factor;
    uint8_t clamped[PAIR_KEY];
    size_t n;
    bool good;

    memcpy(clamped, secret, PAIR_KEY);
    clamped[0] &= 248;
    clamped[31] = (uint8_t)((clamped[31] & 127) | 64);
    mbedtls_ecp_group_init(&curve);
    mbedtls_ecp_point_init(&from);
    mbedtls_ecp_point_init(&to);
    mbedtls_mpi_init(&factor);
    good = !mbedtls_ecp_group_load(&curve, MBEDTLS_ECP_DP_CURVE25519) &&
           !mbedtls_mpi_read_binary_le(&factor, clamped, PAIR_KEY) &&
           (!point || !mbedtls_ecp_point_read_binary(&curve, &from, point, PAIR_KEY)) &&
           !mbedtls_ecp_mul(&curve, &to, &factor, point ? &from : &curve.G, noise, NULL) &&
           !mbedtls_ecp_point_write_binary(&curve, &to, MBEDTLS_ECP_PF_UNCOMPRESSED, &n, out,
                                           PAIR_KEY);
    mbedtls_mpi_free(&factor);
    mbedtls_ecp_point_free(&to);
    mbedtls_ecp_point_free(&from);
    mbedtls_ecp_group_free(&curve);
    mem_wipe(clamped, sizeof clamped);
    return good;
}

bool pair_ephemeral(uint8_t secret[PAIR_KEY], uint8_t key[PAIR_KEY])
{
    return !crypto_random(secret, PAIR_KEY) && multiply(secret, NULL, key);
}

/* A point of small order would make the secret known to everybody (RFC 7748, section 6.1). */
bool pair_agree(const uint8_t secret[PAIR_KEY], const uint8_t theirs[PAIR_KEY],
                uint8_t shared[PAIR_KEY])
{
    uint8_t any = 0;

    if (!multiply(secret, theirs, shared))
        return false;
    for (unsigned i = 0; i < PAIR_KEY; i++)
        any |= shared[i];
    return any != 0;
}

bool pair_derive(const uint8_t shared[PAIR_KEY], struct str salt, struct str info,
                 uint8_t out[PAIR_KEY])
{
    gnutls_datum_t secret = datum(shared, PAIR_KEY), with = datum(salt.p, salt.n);
    gnutls_datum_t what = datum(info.p, info.n);
    uint8_t key[PAIR_KEY];
    gnutls_datum_t extracted = datum(key, sizeof key);
    bool good = !gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &secret, &with, key) &&
                !gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &extracted, &what, out, PAIR_KEY);

    mem_wipe(key, sizeof key);
    return good;
}

/* ---- messages -------------------------------------------------------------------------------- */

struct pair_cipher *pair_cipher_new(struct mem *mem, const uint8_t key[PAIR_KEY])
{
    struct pair_cipher *c = mem_zalloc(mem, sizeof *c);
    gnutls_datum_t k = datum(key, PAIR_KEY);

    if (!c)
        return NULL;
    c->mem = mem;
    if (!gnutls_aead_cipher_init(&c->h, GNUTLS_CIPHER_AES_256_GCM, &k))
        return c;
    mem_free(mem, c);
    return NULL;
}

void pair_cipher_free(struct pair_cipher *c)
{
    if (!c)
        return;
    gnutls_aead_cipher_deinit(c->h);
    mem_free(c->mem, c);
}

static void write_number(uint8_t to[NUMBER_BYTES], uint64_t number)
{
    memset(to, 0, NUMBER_BYTES);
    for (unsigned i = NUMBER_BYTES; number; number >>= 8)
        to[--i] = (uint8_t)number;
}

bool pair_seal(struct pair_cipher *c, uint64_t number, struct str head, struct str first,
               struct str second, char *out)
{
    giovec_t plain[] = {{(void *)(uintptr_t)first.p, first.n},
                        {(void *)(uintptr_t)second.p, second.n}};
    giovec_t shown = {(void *)(uintptr_t)head.p, head.n};
    uint8_t nonce[NUMBER_BYTES];
    size_t n = first.n + second.n + PAIR_TAG;

    write_number(nonce, number);
    return !gnutls_aead_cipher_encryptv(c->h, nonce, sizeof nonce, &shown, 1, PAIR_TAG, plain, 2,
                                        out, &n);
}

bool pair_open(struct pair_cipher *c, uint64_t number, struct str head, struct str sealed,
               char *out)
{
    uint8_t nonce[NUMBER_BYTES];
    size_t n = sealed.n - PAIR_TAG;

    write_number(nonce, number);
    return !gnutls_aead_cipher_decrypt(c->h, nonce, sizeof nonce, head.p, head.n, PAIR_TAG,
                                       sealed.p, sealed.n, out, &n);
}
