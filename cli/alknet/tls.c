/* libcurl can pin a server's key, and not its certificate. So the certificate is looked at when the
 * handshake is over and before the request, with its token, is sent: whoever cannot show the
 * pinned one gets nothing. */
#include "tls.h"
#include "print.h"
#include "remote.h"

#include <alknet/alknet.h>
#include <stdlib.h>
#include <string.h>

#define PIN_PREFIX "SHA256:"
#define KEY_PREFIX "ed25519:"
#define CERTIFICATE_MAX 65536u /* in DER */

bool tls_spoken(const struct settings *s)
{
    return !strcmp(s->scheme, "https") || !strcmp(s->scheme, "wss") ||
           !strcmp(s->scheme, "alknet+tls") || !strcmp(s->scheme, "alknet");
}

static int misuse(const char *what)
{
    complain("%s", what);
    return OUTCOME_USAGE;
}

static bool is_pin(const char *pin, const char *prefix)
{
    size_t n = strlen(prefix);

    return !strncmp(pin, prefix, n) && strlen(pin) == n + 64 &&
           strspn(pin + n, "0123456789abcdef") == 64;
}

int tls_check(const struct options *o, const struct settings *s)
{
    if (!tls_spoken(s)) {
        if (!o->ca_file && !o->certificate && !o->key && !o->pin && !o->insecure)
            return OUTCOME_OK;
        complain("%s: --cacert, --cert, --key, --pin and --insecure are for https://, wss://, "
                 "alknet:// and alknet+tls://",
                 s->url);
        return OUTCOME_USAGE;
    }
    if (!o->certificate != !o->key && !(s->authority && o->key))
        return misuse("--cert and --key go together");
    if (o->pin && (o->ca_file || o->insecure))
        return misuse("--pin stands in place of --cacert and --insecure");
    if (o->pin && !is_pin(o->pin, PIN_PREFIX) && !(s->authority && is_pin(o->pin, KEY_PREFIX)))
        return misuse(s->authority
                          ? "a pin is ed25519: or SHA256: and 64 hexadecimal digits in lower case"
                          : "a pin is SHA256: and 64 hexadecimal digits in lower case");
    if (s->pin && !is_pin(s->pin, PIN_PREFIX) && !is_pin(s->pin, KEY_PREFIX))
        return misuse(
            "behind # must be ed25519: or SHA256: and 64 hexadecimal digits in lower case");
    if (s->pin && o->pin && strcmp(s->pin, o->pin))
        return misuse("--pin and the URL name different fingerprints");
    if (o->insecure && !o->quiet)
        complain("%s: its certificate is not verified: whoever is on the way can read and alter "
                 "everything",
                 s->url);
    return OUTCOME_OK;
}

const char *tls_hint(const char *message)
{
    static const char refused[] = "TLS: the server's certificate ";
    static const struct {
        const char *what, *hint;
    } hints[] = {
        {"not the pinned", "either the server has a new certificate, whose fingerprint its log "
                           "says, or somebody else answers"},
        {"another name", "use a name that it is for, or give its fingerprint by --pin"},
        {"signed by",
         "to trust it, give its authority's file by --cacert, or its fingerprint by --pin: the "
         "server's log says that"},
        {"", "the server needs a new certificate, unless the clock here is wrong"},
    };
    size_t i = 0;

    if (strstr(message, "a key that nothing vouches for"))
        return "if its log says the same fingerprint, give it by --pin or behind # in the URL, or "
               "put the line 'HOST:PORT FINGERPRINT' into known_peers (see alknet(1))";
    if (strstr(message, "the server is another"))
        return "either the server has a new key, whose fingerprint its log says, or somebody else "
               "answers";
    if (strncmp(message, refused, sizeof refused - 1))
        return NULL;
    while (!strstr(message, hints[i].what))
        i++;
    return hints[i].hint;
}

alk_tls *tls_client(const struct options *o, const struct settings *s)
{
    struct buffer certificates = {0};
    alk_tls_options to;
    alk_tls *tls;
    char why[512] = "";
    int rc;

    alk_tls_options_init(&to, sizeof to);
    to.client = 1;
    to.ca_file = o->ca_file;
    to.pin = o->pin ? o->pin : s->pin;
    to.insecure = o->insecure;
    if (s->authority && !o->certificate)
        to.raw_key = o->key;
    if (o->certificate) {
        buffer_puts(&certificates, "[{\"certificate\":");
        buffer_json_string(&certificates, o->certificate, strlen(o->certificate));
        buffer_puts(&certificates, ",\"key\":");
        buffer_json_string(&certificates, o->key, strlen(o->key));
        buffer_puts(&certificates, "}]");
        to.certificates = buffer_text(&certificates);
    }
    rc = alk_tls_new(&tls, &to, why, sizeof why);
    if (rc)
        complain("%s", *why ? why : alk_strerror(rc));
    buffer_free(&certificates);
    return rc ? NULL : tls;
}

/* ---- libcurl --------------------------------------------------------------------------------- */

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Of what stands between the lines of a PEM text. */
static size_t from_base64(const char *text, size_t len, unsigned char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int v = sextet(text[i]);

        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    return n;
}

/* text: "Cert:" and the PEM text of it. */
static bool is_pinned(const char *text, const char *pin)
{
    static const char before[] = "-----BEGIN CERTIFICATE-----", after[] = "-----END CERTIFICATE";
    const char *begin = strstr(text, before), *end = begin ? strstr(begin, after) : NULL;
    unsigned char *der;
    char hash[65];
    size_t n;

    if (!end || (size_t)(end - begin) > CERTIFICATE_MAX / 3 * 4)
        return false;
    begin += sizeof before - 1;
    der = xcalloc(1, CERTIFICATE_MAX);
    n = from_base64(begin, (size_t)(end - begin), der);
    alk_token_hash((const char *)der, n, hash);
    free(der);
    return !strcmp(hash, pin + sizeof PIN_PREFIX - 1);
}

/* The server's own certificate comes first. */
static int check_pin(void *ud, char *remote, char *local, int remote_port, int local_port)
{
    struct tls_curl *x = ud;
    struct curl_certinfo *info = NULL;
    struct curl_slist *line = NULL;

    (void)remote;
    (void)local;
    (void)remote_port;
    if (!curl_easy_getinfo(x->curl, CURLINFO_CERTINFO, &info) && info && info->num_of_certs > 0)
        line = info->certinfo[0];
    /* One that is used again shows nothing anew, and has the port that it had. */
    if (!line && x->good_port == local_port)
        return CURL_PREREQFUNC_OK;
    x->good_port = 0;
    for (; line; line = line->next) {
        if (!strncmp(line->data, "Cert:", 5) && is_pinned(line->data, x->pin)) {
            x->good_port = local_port;
            return CURL_PREREQFUNC_OK;
        }
    }
    complain("the server's certificate is not the pinned one");
    complain("%s", tls_hint("TLS: the server's certificate is not the pinned one"));
    return CURL_PREREQFUNC_ABORT;
}

void tls_curl(struct tls_curl *x, CURL *curl, const struct options *o)
{
    *x = (struct tls_curl){.curl = curl, .pin = o->pin};
    if (o->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, o->ca_file);
    if (o->certificate) {
        curl_easy_setopt(curl, CURLOPT_SSLCERT, o->certificate);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, o->key);
    }
    if (o->insecure || o->pin) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (o->pin) {
        curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
        curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, check_pin);
        curl_easy_setopt(curl, CURLOPT_PREREQDATA, x);
    }
}

static size_t drop_answer(char *data, size_t size, size_t count, void *ud)
{
    (void)data;
    (void)ud;
    return size * count;
}

/* The handshake alone: no request is sent. */
int tls_fingerprint_of(const struct settings *s, const struct options *o,
                       char out[ALK_TLS_FINGERPRINT])
{
    static const char before[] = "-----BEGIN CERTIFICATE-----", after[] = "-----END CERTIFICATE";
    struct curl_certinfo *info = NULL;
    struct curl_slist *line = NULL;
    struct buffer url = {0};
    CURL *curl = curl_easy_init();
    long number = 0;
    CURLcode rc;

    *out = 0;
    buffer_printf(&url, "https%s", strchr(s->base, ':'));
    curl_easy_setopt(curl, CURLOPT_URL, buffer_text(&url));
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_answer);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (o->timeout_ms > 0)
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
    rc = curl_easy_perform(curl);
    if (rc == CURLE_OK && !curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info) && info &&
        info->num_of_certs > 0)
        line = info->certinfo[0];
    for (; line && !*out; line = line->next) {
        const char *begin = strncmp(line->data, "Cert:", 5) ? NULL : strstr(line->data, before);
        const char *end = begin ? strstr(begin, after) : NULL;
        unsigned char *der;
        char hash[65];

        if (!end || (size_t)(end - begin) > CERTIFICATE_MAX / 3 * 4)
            continue;
        begin += sizeof before - 1;
        der = xcalloc(1, CERTIFICATE_MAX);
        alk_token_hash((const char *)der, from_base64(begin, (size_t)(end - begin), der), hash);
        snprintf(out, ALK_TLS_FINGERPRINT, PIN_PREFIX "%s", hash);
        free(der);
    }
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
    if (!*out)
        complain("%s: %s", s->url,
                 !rc                                     ? "shows no certificate"
                 : rc == CURLE_COULDNT_CONNECT && number ? strerror((int)number)
                                                         : curl_easy_strerror(rc));
    if (rc == CURLE_SSL_CONNECT_ERROR)
        complain("%s", HINT_NO_TLS);
    curl_easy_cleanup(curl);
    buffer_free(&url);
    return *out ? OUTCOME_OK : OUTCOME_CONNECTION;
}
