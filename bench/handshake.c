/* What a TLS handshake costs a server:  handshake [SECONDS for each row]
 *
 * Both sides are in this process and pass bytes through memory: no socket, no scheduler. The client
 * is mbedTLS as it is. The server is either mbedTLS as it is, or the library's engine with its
 * configuration; the two take turns, handshake by handshake, so that whatever else the machine does
 * hits both. Only the server's steps are counted, by the CPU time of the thread.
 *
 * The last row is what an idle connection keeps resident. */
#include "base/buf.h"
#include "base/list.h"
#include "wire/tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define IDLE 1000

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "handshake: %s\n", what);
    exit(1);
}

static uint64_t cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int random_bytes(void *ud, unsigned char *to, size_t n)
{
    (void)ud;
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : -1;
}

static struct mem mem;
static struct buf to_server, to_client;
static char folder[] = "/tmp/handshake.XXXXXX", certificate[64], key[64];

static int put(void *ud, const unsigned char *p, size_t n)
{
    return buf_append(ud, p, n) ? -1 : (int)n;
}

static int get(struct buf *from, unsigned char *p, size_t n)
{
    n = n < from->len ? n : from->len;
    if (!n)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(p, buf_at(from), n);
    buf_consume(from, n);
    return (int)n;
}

static int client_put(void *ud, const unsigned char *p, size_t n)
{
    (void)ud;
    return put(&to_server, p, n);
}

static int client_get(void *ud, unsigned char *p, size_t n)
{
    (void)ud;
    return get(&to_client, p, n);
}

static int server_put(void *ud, const unsigned char *p, size_t n)
{
    (void)ud;
    return put(&to_client, p, n);
}

static int server_get(void *ud, unsigned char *p, size_t n)
{
    (void)ud;
    return get(&to_server, p, n);
}

/* ---- mbedTLS's server ---- */

static struct {
    mbedtls_ssl_config conf;
    mbedtls_x509_crt crt;
    mbedtls_pk_context pk;
    mbedtls_ssl_ticket_context tickets;
    mbedtls_ssl_context ssl;
} bare;

static void bare_set_up(void)
{
    mbedtls_ssl_config_init(&bare.conf);
    mbedtls_x509_crt_init(&bare.crt);
    mbedtls_pk_init(&bare.pk);
    mbedtls_ssl_ticket_init(&bare.tickets);
    must(!mbedtls_x509_crt_parse_file(&bare.crt, certificate) &&
             !mbedtls_pk_parse_keyfile(&bare.pk, key, NULL, random_bytes, NULL) &&
             !mbedtls_ssl_ticket_setup(&bare.tickets, random_bytes, NULL,
                                       MBEDTLS_CIPHER_AES_256_GCM, 86400) &&
             !mbedtls_ssl_config_defaults(&bare.conf, MBEDTLS_SSL_IS_SERVER,
                                          MBEDTLS_SSL_TRANSPORT_STREAM,
                                          MBEDTLS_SSL_PRESET_DEFAULT) &&
             !mbedtls_ssl_conf_own_cert(&bare.conf, &bare.crt, &bare.pk),
         "no server");
    mbedtls_ssl_conf_rng(&bare.conf, random_bytes, NULL);
    mbedtls_ssl_conf_session_tickets_cb(&bare.conf, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &bare.tickets);
}

static void bare_begin(void)
{
    mbedtls_ssl_init(&bare.ssl);
    must(!mbedtls_ssl_setup(&bare.ssl, &bare.conf), "no memory");
    mbedtls_ssl_set_bio(&bare.ssl, NULL, server_put, server_get, NULL);
}

static bool bare_step(void)
{
    int rc = mbedtls_ssl_handshake(&bare.ssl);

    must(!rc || rc == MBEDTLS_ERR_SSL_WANT_READ, "the server has failed");
    return !rc;
}

static void bare_end(void)
{
    mbedtls_ssl_free(&bare.ssl);
}

/* ---- the library's ---- */

static alk_tls *tls;
static struct engine *engine;
static bool is_ready;

static void nothing(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static void plain_feed(struct engine *e, const char *p, size_t n, uint64_t now)
{
    (void)e;
    (void)p;
    (void)n;
    (void)now;
}

static void plain_fini(struct engine *e)
{
    mem_free(&mem, e);
}

static struct engine *ready(void *ud, const struct tls_info *info, uint64_t now)
{
    static const struct engine_ops ops = {.feed = plain_feed,
                                          .eof = nothing,
                                          .timeout = nothing,
                                          .drained = nothing,
                                          .fini = plain_fini};
    struct engine *e = mem_zalloc(&mem, sizeof *e);

    (void)ud;
    (void)info;
    (void)now;
    must(e != NULL, "no memory");
    is_ready = true;
    e->ops = &ops;
    e->reading = true;
    buf_init(&e->out, &mem);
    return e;
}

static void failed(void *ud, const char *why)
{
    (void)ud;
    must(0, why);
}

static void gone(void *ud)
{
    (void)ud;
}

static void wake(struct engine *e, void *ud)
{
    (void)e;
    (void)ud;
}

static void ours_set_up(void)
{
    char json[200], why[200] = "no configuration";
    alk_tls_options o;

    alk_tls_options_init(&o, sizeof o);
    snprintf(json, sizeof json, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]", certificate, key);
    o.certificates = json;
    must(!alk_tls_new(&tls, &o, why, sizeof why), why);
}

static void ours_begin(void)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    static const struct tls_app app = {ready, failed, gone};
    struct tls_config *c = tls_current(tls);

    is_ready = false;
    engine = tls_accept(&mem, c, alpn, &app, NULL, NULL, 0);
    must(engine != NULL, "no memory");
    engine->wake = wake;
    tls_config_unref(c);
}

static bool ours_step(void)
{
    if (to_server.len) {
        engine->ops->feed(engine, buf_at(&to_server), to_server.len, 1);
        buf_consume(&to_server, to_server.len);
    }
    engine_flush(engine, 1);
    if (engine->out.len) {
        must(!buf_append(&to_client, buf_at(&engine->out), engine->out.len), "no memory");
        buf_consume(&engine->out, engine->out.len);
        engine->ops->drained(engine, 1);
    }
    return is_ready;
}

static void ours_end(void)
{
    engine->ops->fini(engine);
}

/* ---- the client ---- */

struct server {
    void (*begin)(void);
    bool (*step)(void);
    void (*end)(void);
};

static const struct server servers[] = {{bare_begin, bare_step, bare_end},
                                        {ours_begin, ours_step, ours_end}};

static mbedtls_ssl_config client_conf;

/* What the server's side of one handshake took, in ns. The session is resumed if it is given, and
 * kept if there is a place for it. The server's side stays if it has no end. */
static uint64_t shake(const struct server *s, mbedtls_ssl_session *resumed,
                      mbedtls_ssl_session *kept)
{
    mbedtls_ssl_context c;
    uint64_t spent = 0, at;
    bool here = false, there = false;
    unsigned char byte;
    int rc;

    buf_consume(&to_server, to_server.len);
    buf_consume(&to_client, to_client.len);
    mbedtls_ssl_init(&c);
    must(!mbedtls_ssl_setup(&c, &client_conf) && !mbedtls_ssl_set_hostname(&c, "localhost") &&
             (!resumed || !mbedtls_ssl_set_session(&c, resumed)),
         "no client");
    mbedtls_ssl_set_bio(&c, NULL, client_put, client_get, NULL);
    at = cpu();
    s->begin();
    spent += cpu() - at;
    for (int i = 0; i < 20 && !(here && there); i++) {
        rc = here ? 0 : mbedtls_ssl_handshake(&c);
        must(!rc || rc == MBEDTLS_ERR_SSL_WANT_READ, "the client has failed");
        here = !rc;
        at = cpu();
        there = there || s->step();
        spent += cpu() - at;
    }
    must(here && there, "the handshake does not end");
    if (kept) {
        /* In TLS 1.3 the ticket comes later: the first call sees it, the second one takes it. */
        mbedtls_ssl_read(&c, &byte, 1);
        mbedtls_ssl_read(&c, &byte, 1);
        must(!mbedtls_ssl_get_session(&c, kept), "there is no session to be kept");
    }
    at = cpu();
    if (s->end)
        s->end();
    spent += cpu() - at;
    mbedtls_ssl_free(&c);
    return spent;
}

static void row(const char *name, mbedtls_ssl_protocol_version version, bool resume, double seconds)
{
    mbedtls_ssl_session sessions[2];
    uint64_t spent[2] = {0, 0};
    unsigned n = 0;

    mbedtls_ssl_conf_min_tls_version(&client_conf, version);
    mbedtls_ssl_conf_max_tls_version(&client_conf, version);
    for (int i = 0; i < 2; i++) {
        mbedtls_ssl_session_init(&sessions[i]);
        shake(&servers[i], NULL, resume ? &sessions[i] : NULL);
    }
    for (; (double)(spent[0] + spent[1]) < seconds * 1e9; n++) {
        for (int i = 0; i < 2; i++) {
            int which = (int)(n & 1) ^ i;

            spent[which] += shake(&servers[which], resume ? &sessions[which] : NULL, NULL);
        }
    }
    printf("%-22s mbedTLS %7.1f us  %6.0f/s   ours %7.1f us  %6.0f/s   %.2f\n", name,
           (double)spent[0] / n / 1e3, 1e9 * n / (double)spent[0], (double)spent[1] / n / 1e3,
           1e9 * n / (double)spent[1], (double)spent[0] / (double)spent[1]);
    for (int i = 0; i < 2; i++)
        mbedtls_ssl_session_free(&sessions[i]);
}

static size_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;

    must(f && fscanf(f, "%*u %zu", &pages) == 1, "no /proc/self/statm");
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void idle_row(mbedtls_ssl_protocol_version version, const char *name)
{
    static const struct server stays[] = {{bare_begin, bare_step, NULL},
                                          {ours_begin, ours_step, NULL}};
    size_t each[2];

    mbedtls_ssl_conf_min_tls_version(&client_conf, version);
    mbedtls_ssl_conf_max_tls_version(&client_conf, version);
    for (int i = 0; i < 2; i++) {
        size_t before = resident();

        for (int n = 0; n < IDLE; n++)
            shake(&stays[i], NULL, NULL);
        each[i] = (resident() - before) / IDLE;
    }
    printf("%-22s mbedTLS %7zu bytes            ours %7zu bytes\n", name, each[0], each[1]);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    char why[200] = "no certificate";

    mem_init(&mem, NULL, NULL);
    buf_init(&to_server, &mem);
    buf_init(&to_client, &mem);
    must(mkdtemp(folder) && !psa_crypto_init(), "no folder");
    snprintf(certificate, sizeof certificate, "%s/crt", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    must(!alk_tls_self_sign(certificate, key, "[\"localhost\"]", 30, why, sizeof why), why);
    bare_set_up();
    ours_set_up();
    unlink(certificate);
    unlink(key);
    rmdir(folder);
    mbedtls_ssl_config_init(&client_conf);
    must(!mbedtls_ssl_config_defaults(&client_conf, MBEDTLS_SSL_IS_CLIENT,
                                      MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
         "no client");
    mbedtls_ssl_conf_rng(&client_conf, random_bytes, NULL);
    mbedtls_ssl_conf_authmode(&client_conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &client_conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    row("TLS 1.3, full", MBEDTLS_SSL_VERSION_TLS1_3, false, seconds);
    row("TLS 1.3, resumed", MBEDTLS_SSL_VERSION_TLS1_3, true, seconds);
    row("TLS 1.2, full", MBEDTLS_SSL_VERSION_TLS1_2, false, seconds);
    row("TLS 1.2, ticket", MBEDTLS_SSL_VERSION_TLS1_2, true, seconds);
    idle_row(MBEDTLS_SSL_VERSION_TLS1_3, "TLS 1.3, idle");
    idle_row(MBEDTLS_SSL_VERSION_TLS1_2, "TLS 1.2, idle");
    return 0;
}
