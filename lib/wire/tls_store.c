/* The public alk_tls: options and files in, a configuration (tls.h) out, which a reload replaces as
 * a whole. Who begins a connection takes a reference to the present one, under a lock that is held
 * for a few instructions. */
#include "base/abi.h"
#include "base/json.h"
#include "base/spin.h"
#include "host/files.h"
#include "wire/pair_crypto.h"
#include "wire/quic_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_FILE_MAX (4u << 20) /* a bundle of trust anchors has 200 KiB */
#define PAIRS_MAX 256u
#define NAMES_MAX 64u
#define DAYS_MAX 36500u

struct alk_tls {
    char lock;                 /* of the next two */
    struct tls_config *config; /* NULL: it is for QUIC alone */
    struct quic_keys *keys;
    struct tls_tickets *tickets;
    /* A copy of the options. */
    struct tls_pair *pairs; /* with names, and without texts */
    size_t count;
    char *ca_file, *pin, *raw_key;
    uint32_t ask;
    bool client, insecure;
    int refs; /* atomic */
};

static const alk_tls_options options_defaults = {.size = sizeof(alk_tls_options), .tickets = 1};
static const struct abi abi_tls_options = ABI(alk_tls_options, insecure, &options_defaults);

void alk_tls_options_init(alk_tls_options *o, size_t size)
{
    abi_fill(&abi_tls_options, o, size, &options_defaults);
}

static int complain(char *err, size_t err_size, const char *what)
{
    if (err && err_size)
        snprintf(err, err_size, "%s", what);
    return ALK_EINVAL;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int read_text(struct tls_text *t, bool secret, char *err, size_t err_size)
{
    return file_read(t->name, secret, PEM_FILE_MAX, &t->text, &t->len, err, err_size);
}

static void free_text(struct tls_text *t)
{
    file_free(t->text, t->len);
    t->text = NULL;
}

/* Where the usual systems keep their trust anchors. */
static const char *system_anchors(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
                                        "/etc/ssl/ca-bundle.pem"};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        FILE *f = fopen(files[i], "re");

        if (f) {
            fclose(f);
            return files[i];
        }
    }
    return NULL;
}

static int read_anchors(const struct alk_tls *t, struct tls_text *ca, char *err, size_t err_size)
{
    if (!t->client || t->pin || t->insecure)
        return ALK_OK;
    ca->name = t->ca_file ? t->ca_file : system_anchors();
    if (!ca->name)
        return complain(err, err_size,
                        "this system has no file of trusted certificates that is "
                        "known here: name one");
    return read_text(ca, false, err, err_size);
}

static bool is_raw(const char *pin)
{
    return !strncmp(pin, "ed25519:", 8);
}

/* Streams know certificates alone. */
static bool for_streams(const struct alk_tls *t)
{
    return t->client ? !t->pin || !is_raw(t->pin) : t->count > 0;
}

/* What the files hold now. */
static int make(struct tls_config **out, struct quic_keys **keys, const struct alk_tls *t,
                char *err, size_t err_size)
{
    struct tls_pair *pairs = calloc(t->count + 1, sizeof *pairs);
    struct tls_settings s = {.client = t->client,
                             .insecure = t->insecure,
                             .pairs = pairs,
                             .count = t->count,
                             .pin = t->pin,
                             .ask = t->ask,
                             .tickets = t->tickets};
    int rc = pairs ? ALK_OK : ALK_ENOMEM;

    *out = NULL;
    *keys = NULL;
    for (size_t i = 0; i < t->count && !rc; i++) {
        pairs[i] = t->pairs[i];
        rc = read_text(&pairs[i].certificate, false, err, err_size);
        if (!rc)
            rc = read_text(&pairs[i].key, true, err, err_size);
    }
    if (!rc)
        rc = read_anchors(t, &s.ca, err, err_size);
    s.raw_key.name = t->raw_key;
    if (!rc && t->raw_key)
        rc = read_text(&s.raw_key, true, err, err_size);
    if (!rc && for_streams(t))
        rc = tls_config_new(out, &s, err, err_size);
    if (!rc)
        rc = quic_keys_new(keys, &s, err, err_size);
    if (rc) {
        tls_config_unref(*out);
        *out = NULL;
    }
    for (size_t i = 0; pairs && i < t->count; i++) {
        free_text(&pairs[i].certificate);
        free_text(&pairs[i].key);
    }
    free_text(&s.ca);
    free_text(&s.raw_key);
    free(pairs);
    return rc;
}

/* ---- options --------------------------------------------------------------------------------- */

static char *copy(yyjson_val *v)
{
    return yyjson_is_str(v) && strlen(yyjson_get_str(v)) == yyjson_get_len(v)
               ? strdup(yyjson_get_str(v))
               : NULL;
}

static int take_pair(struct tls_pair *p, yyjson_val *v, char *err, size_t err_size)
{
    yyjson_val *certificate = yyjson_obj_get(v, "certificate"), *key = yyjson_obj_get(v, "key");

    if (!yyjson_is_str(certificate) || !yyjson_is_str(key) || yyjson_obj_size(v) != 2)
        return complain(err, err_size,
                        "certificates: each is {\"certificate\": FILE, \"key\": FILE}");
    p->certificate.name = copy(certificate);
    p->key.name = copy(key);
    return p->certificate.name && p->key.name ? ALK_OK : ALK_ENOMEM;
}

static int take_pairs(struct alk_tls *t, const char *json, char *err, size_t err_size)
{
    yyjson_doc *doc = json ? yyjson_read(json, strlen(json), 0) : NULL;
    yyjson_val *list = yyjson_doc_get_root(doc), *v;
    size_t i, n;
    int rc = ALK_OK;

    if (json && !doc)
        rc = complain(err, err_size, "certificates: is no JSON") ? ALK_EJSON : 0;
    else if (json && !yyjson_is_arr(list))
        rc = complain(err, err_size, "certificates: must be an array");
    else if (yyjson_arr_size(list) > (t->client ? 1 : PAIRS_MAX))
        rc = complain(err, err_size, "certificates: there are too many");
    else if (!t->client && !yyjson_arr_size(list) && !t->raw_key)
        rc = complain(err, err_size, "certificates: a server needs one, or a raw key");
    else if (!(t->pairs = calloc(yyjson_arr_size(list) + 1, sizeof *t->pairs)))
        rc = ALK_ENOMEM;
    yyjson_arr_foreach(rc ? NULL : list, i, n, v)
    {
        rc = take_pair(&t->pairs[t->count++], v, err, err_size);
        if (rc)
            break;
    }
    yyjson_doc_free(doc);
    return rc;
}

bool tls_is_pin(const char *s)
{
    size_t n = !strncmp(s, "SHA256:", 7) ? 7 : is_raw(s) ? 8 : 0;

    return n && strlen(s) == n + 64 && strspn(s + n, "0123456789abcdef") == 64;
}

static int take_options(struct alk_tls *t, const alk_tls_options *o, char *err, size_t err_size)
{
    t->client = o->client != 0;
    t->insecure = o->insecure != 0;
    t->ask = o->client_certificates;
    if (t->ask > ALK_TLS_ASK_NOBODY)
        return complain(err, err_size, "client_certificates: unknown");
    if (o->pin && !tls_is_pin(o->pin))
        return complain(err, err_size,
                        "pin: must be SHA256: or ed25519:, and 64 hexadecimal digits in lower "
                        "case");
    if ((o->raw_key && !(t->raw_key = strdup(o->raw_key))) ||
        (o->ca_file && !(t->ca_file = strdup(o->ca_file))) ||
        (o->pin && !(t->pin = strdup(o->pin))) ||
        (!t->client && o->tickets && !(t->tickets = tls_tickets_new())))
        return ALK_ENOMEM;
    return take_pairs(t, o->certificates, err, err_size);
}

/* ---- life ------------------------------------------------------------------------------------ */

int alk_tls_new(alk_tls **out, const alk_tls_options *o, char *err, size_t err_size)
{
    alk_tls_options own;
    struct alk_tls *t;
    int rc;

    *out = NULL;
    if (err && err_size)
        *err = 0;
    o = abi_take(&abi_tls_options, &own, o, err, err_size);
    if (!o)
        return ALK_EINVAL;
    t = calloc(1, sizeof *t);
    if (!t)
        return ALK_ENOMEM;
    t->refs = 1;
    rc = take_options(t, o, err, err_size);
    if (!rc)
        rc = make(&t->config, &t->keys, t, err, err_size);
    if (rc)
        alk_tls_unref(t);
    else
        *out = t;
    return rc;
}

alk_tls *alk_tls_ref(alk_tls *t)
{
    __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void alk_tls_unref(alk_tls *t)
{
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
        return;
    tls_config_unref(t->config);
    quic_keys_unref(t->keys);
    tls_tickets_unref(t->tickets);
    for (size_t i = 0; i < t->count; i++) {
        free((char *)(uintptr_t)t->pairs[i].certificate.name);
        free((char *)(uintptr_t)t->pairs[i].key.name);
    }
    free(t->pairs);
    free(t->ca_file);
    free(t->pin);
    free(t->raw_key);
    free(t);
}

struct tls_config *tls_current(alk_tls *t)
{
    struct tls_config *c;

    spin_lock(&t->lock);
    c = t->config ? tls_config_ref(t->config) : NULL;
    spin_unlock(&t->lock);
    return c;
}

struct quic_keys *tls_current_keys(alk_tls *t)
{
    struct quic_keys *k;

    spin_lock(&t->lock);
    k = quic_keys_ref(t->keys);
    spin_unlock(&t->lock);
    return k;
}

const char *tls_pin(const alk_tls *t)
{
    return t->pin;
}

bool tls_insecure(const alk_tls *t)
{
    return t->insecure;
}

bool tls_has_streams(const alk_tls *t)
{
    return for_streams(t);
}

int alk_tls_reload(alk_tls *t, char *err, size_t err_size)
{
    struct tls_config *next, *before;
    struct quic_keys *next_keys, *keys_before;
    int rc;

    if (err && err_size)
        *err = 0;
    rc = make(&next, &next_keys, t, err, err_size);
    if (rc)
        return rc;
    spin_lock(&t->lock);
    before = t->config;
    t->config = next;
    keys_before = t->keys;
    t->keys = next_keys;
    spin_unlock(&t->lock);
    tls_config_unref(before);
    quic_keys_unref(keys_before);
    return ALK_OK;
}

int64_t tls_expires(const alk_tls *t)
{
    struct tls_config *c = tls_current((alk_tls *)(uintptr_t)t);
    int64_t at = c ? tls_config_expires(c) : 0;

    tls_config_unref(c);
    return at;
}

int alk_tls_fingerprint(const alk_tls *t, char out[ALK_TLS_FINGERPRINT], int64_t *expires)
{
    struct quic_keys *k = tls_current_keys((alk_tls *)(uintptr_t)t);

    if (expires)
        *expires = tls_expires(t);
    snprintf(out, ALK_TLS_FINGERPRINT, "%s", quic_keys_fingerprint(k));
    quic_keys_unref(k);
    return *out ? ALK_OK : ALK_ENOENT;
}

/* ---- keys ------------------------------------------------------------------------------------ */

int alk_key_new(const char *file, char out[ALK_TLS_FINGERPRINT], char *err, size_t err_size)
{
    struct tls_text text = {.name = file};
    struct buf pem;
    struct mem mem;
    int rc;

    if (err && err_size)
        *err = 0;
    mem_init(&mem, NULL, NULL);
    buf_init(&pem, &mem);
    pem.secret = true;
    rc = quic_key_new(&pem);
    text.text = pem.len ? (char *)(uintptr_t)buf_at(&pem) : NULL;
    text.len = pem.len;
    if (!rc)
        rc = quic_key_fingerprint(&text, out);
    if (!rc)
        rc = file_write(file, 0600, buf_at(&pem), pem.len, err, err_size);
    buf_fini(&pem);
    return rc;
}

int alk_key_fingerprint(const char *file, char out[ALK_TLS_FINGERPRINT], char *err, size_t err_size)
{
    struct tls_text text = {.name = file};
    int rc;

    if (err && err_size)
        *err = 0;
    rc = read_text(&text, false, err, err_size);
    if (rc)
        return rc;
    rc = quic_key_fingerprint(&text, out);
    if (rc == ALK_EINVAL)
        complain(err, err_size, "is no Ed25519 key and no certificate in PEM");
    free_text(&text);
    return rc;
}

int pair_identity_read(struct pair_identity **out, struct mem *mem, const char *file, char *why,
                       size_t size)
{
    struct tls_text text = {.name = file};
    int rc = read_text(&text, true, why, size);

    *out = NULL;
    if (rc)
        return rc;
    rc = pair_identity_new(out, mem, text.text, text.len);
    if (rc == ALK_EINVAL)
        complain(why, size, "is no Ed25519 key in PEM");
    free_text(&text);
    return rc;
}

/* ---- a certificate of one's own -------------------------------------------------------------- */

/* As many as fit; 0: it is no list of names. */
static size_t take_names(yyjson_val *list, struct str names[NAMES_MAX])
{
    size_t i, n;
    yyjson_val *v;

    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > NAMES_MAX)
        return 0;
    yyjson_arr_foreach(list, i, n, v)
    {
        if (!yyjson_get_len(v) || yyjson_get_len(v) > 255)
            return 0;
        names[i] = (struct str){yyjson_get_str(v), yyjson_get_len(v)};
    }
    return n;
}

/* The key first: a certificate without one is what the next start would stumble over. */
static int write_both(const char *certificate_file, const char *key_file, struct buf *certificate,
                      struct buf *key, char *err, size_t err_size)
{
    int rc = file_write(key_file, 0600, buf_at(key), key->len, err, err_size);

    if (rc)
        return rc;
    rc = file_write(certificate_file, 0644, buf_at(certificate), certificate->len, err, err_size);
    if (rc)
        remove(key_file);
    return rc;
}

int alk_tls_self_sign(const char *certificate_file, const char *key_file, const char *names,
                      uint32_t days, char *err, size_t err_size)
{
    yyjson_doc *doc = yyjson_read(names, strlen(names), 0);
    struct str list[NAMES_MAX];
    size_t count = take_names(yyjson_doc_get_root(doc), list);
    struct buf certificate, key;
    struct mem mem;
    int rc;

    if (err && err_size)
        *err = 0;
    mem_init(&mem, NULL, NULL);
    buf_init(&certificate, &mem);
    buf_init(&key, &mem);
    key.secret = true;
    if (!doc)
        rc = complain(err, err_size, "names: is no JSON") ? ALK_EJSON : 0;
    else if (!count)
        rc = complain(err, err_size, "names: must be an array of 1 to 64 host names and addresses");
    else if (!days || days > DAYS_MAX)
        rc = complain(err, err_size, "days: must be 1 to 36500");
    else
        rc = tls_self_sign(list, count, days, &certificate, &key);
    if (rc == ALK_ELIMIT)
        rc = complain(err, err_size, "names: are too long for a certificate");
    if (!rc)
        rc = write_both(certificate_file, key_file, &certificate, &key, err, err_size);
    buf_fini(&certificate);
    buf_fini(&key);
    yyjson_doc_free(doc);
    return rc;
}
