/* Handshakes per second of the server's time, in one process:  handshake CERTIFICATE KEY PAIRS
 *
 * Client and server are joined by two buffers in memory, and only what the server does is timed. The
 * client is bare mbedTLS always; the server is the library's engine (wire/tls_engine.c), or mbedTLS
 * bare with the same certificate, suites and groups: what a server of its own would cost. Resumed is a
 * handshake of the engine by a ticket of its own, in TLS 1.3 with a key exchange. Prints a line of
 * JSON for each pair, in nanoseconds of a handshake. */
#include "base/mem.h"
#include "client.h"
#include "wire/tls.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <stdbool.h>

#define HANDSHAKES 100
#define PIPE 32768u

struct pipe {
    unsigned char at[PIPE];
    size_t from, len, all; /* all: of this handshake */
};

static struct pipe to_server, to_client;
static size_t whole; /* what a server says in a full handshake */
static struct mem heap;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_bits;
static mbedtls_x509_crt crt;
static mbedtls_pk_context key;
static const int suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
                             MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0};
static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

static void check(int rc, const char *what)
{
    if (rc)
        fail("%s: -0x%04x", what, (unsigned)-rc);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- pipes ------------------------------------------------------------------------------------- */

static void pipe_put(struct pipe *p, const void *data, size_t len)
{
    if (p->from + p->len + len > PIPE)
        fail("a flight does not fit into a pipe");
    memcpy(p->at + p->from + p->len, data, len);
    p->len += len;
    p->all += len;
}

static void pipe_take(struct pipe *p, size_t n)
{
    p->len -= n;
    p->from = p->len ? p->from + n : 0;
}

static int get(struct pipe *p, unsigned char *to, size_t size)
{
    size_t n = size < p->len ? size : p->len;

    if (!n)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(to, p->at + p->from, n);
    pipe_take(p, n);
    return (int)n;
}

static int client_put(void *ud, const unsigned char *data, size_t len)
{
    (void)ud;
    pipe_put(&to_server, data, len);
    return (int)len;
}

static int client_get(void *ud, unsigned char *to, size_t size)
{
    (void)ud;
    return get(&to_client, to, size);
}

static int server_put(void *ud, const unsigned char *data, size_t len)
{
    (void)ud;
    pipe_put(&to_client, data, len);
    return (int)len;
}

static int server_get(void *ud, unsigned char *to, size_t size)
{
    (void)ud;
    return get(&to_server, to, size);
}

/* ---- mbedTLS ----------------------------------------------------------------------------------- */

static void configure(mbedtls_ssl_config *c, int endpoint)
{
    mbedtls_ssl_config_init(c);
    check(mbedtls_ssl_config_defaults(c, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT),
          "configuration");
    mbedtls_ssl_conf_rng(c, mbedtls_ctr_drbg_random, &random_bits);
    mbedtls_ssl_conf_authmode(c, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_ciphersuites(c, suites);
    mbedtls_ssl_conf_groups(c, groups);
}

static bool shake(mbedtls_ssl_context *ssl)
{
    int rc = mbedtls_ssl_handshake(ssl);

    if (rc != MBEDTLS_ERR_SSL_WANT_READ)
        check(rc, "handshake");
    return !rc;
}

/* ---- servers ----------------------------------------------------------------------------------- */

/* What is spoken inside the engine: nothing. */
static void idle_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    (void)e;
    (void)data;
    (void)len;
    (void)now;
}

static void idle_step(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static void idle_fini(struct engine *e)
{
    free(e);
}

static const struct engine_ops idle_ops = {.feed = idle_feed,
                                           .eof = idle_step,
                                           .timeout = idle_step,
                                           .drained = idle_step,
                                           .drain = idle_step,
                                           .fini = idle_fini};

static void wake(struct engine *e, void *ud)
{
    (void)e;
    (void)ud;
}

static struct engine *on_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct engine *inner = must(calloc(1, sizeof *inner));

    (void)info;
    (void)now;
    *(bool *)ud = true;
    inner->ops = &idle_ops;
    inner->reading = true;
    buf_init(&inner->out, &heap);
    return inner;
}

static void on_failed(void *ud, const char *why)
{
    (void)ud;
    fail("the engine's handshake: %s", why);
}

static void on_fini(void *ud)
{
    (void)ud;
}

static const struct tls_app app = {on_ready, on_failed, on_fini};

struct server {
    struct tls_config *ours;  /* NULL: bare */
    mbedtls_ssl_config *bare; /* NULL: ours */
    struct engine *engine;
    mbedtls_ssl_context ssl;
    bool done;
};

static void server_open(struct server *s)
{
    static const char *const alpn[] = {"http/1.1", NULL};

    s->done = false;
    if (s->ours) {
        s->engine = must(tls_accept(&heap, s->ours, alpn, &app, &s->done, NULL, 0));
        s->engine->wake = wake;
        return;
    }
    mbedtls_ssl_init(&s->ssl);
    check(mbedtls_ssl_setup(&s->ssl, s->bare), "setup");
    mbedtls_ssl_set_bio(&s->ssl, NULL, server_put, server_get, NULL);
}

static void server_step(struct server *s)
{
    struct engine *e = s->engine;

    if (!s->ours) {
        s->done = s->done || shake(&s->ssl);
        return;
    }
    e->ops->feed(e, (char *)to_server.at + to_server.from, to_server.len, 1);
    pipe_take(&to_server, to_server.len);
    e->ops->flush(e, 1);
    if (e->out.len)
        pipe_put(&to_client, buf_at(&e->out), e->out.len);
    buf_consume(&e->out, e->out.len);
    e->ops->drained(e, 1);
}

static void server_close(struct server *s)
{
    if (s->ours)
        s->engine->ops->fini(s->engine);
    else
        mbedtls_ssl_free(&s->ssl);
}

/* ---- handshakes -------------------------------------------------------------------------------- */

/* One; returns what the server took. session: to be resumed, or NULL; ticket: where the next one is
 * kept, or NULL. */
static uint64_t handshake(struct server *s, mbedtls_ssl_config *client,
                          const mbedtls_ssl_session *session, mbedtls_ssl_session *ticket)
{
    mbedtls_ssl_context ssl;
    bool done = false;
    uint64_t begun = cpu_ns(), took;
    unsigned char byte;

    server_open(s);
    took = cpu_ns() - begun;
    mbedtls_ssl_init(&ssl);
    check(mbedtls_ssl_setup(&ssl, client), "setup");
    mbedtls_ssl_set_hostname(&ssl, NULL);
    mbedtls_ssl_set_bio(&ssl, NULL, client_put, client_get, NULL);
    if (session)
        check(mbedtls_ssl_set_session(&ssl, session), "session");
    while (!done || !s->done) {
        done = done || shake(&ssl);
        begun = cpu_ns();
        server_step(s);
        took += cpu_ns() - begun;
    }
    if (ticket) {
        /* Behind the handshake in TLS 1.3; mbedTLS sees it in one call and takes it in the next. */
        for (int i = 0; i < 4; i++)
            if (mbedtls_ssl_read(&ssl, &byte, 1) != MBEDTLS_ERR_SSL_WANT_READ)
                break;
        check(mbedtls_ssl_get_session(&ssl, ticket), "ticket");
    }
    if (!session)
        whole = to_client.all;
    else if (to_client.all + crt.raw.len > whole)
        fail("a handshake that was to be resumed had a certificate in it: %zu bytes, %zu in full",
             to_client.all, whole);
    begun = cpu_ns();
    server_close(s);
    took += cpu_ns() - begun;
    mbedtls_ssl_free(&ssl);
    to_client.len = to_client.from = to_client.all = 0;
    to_server.len = to_server.from = 0;
    return took;
}

/* Nanoseconds of one, of HANDSHAKES. */
static double full(struct server *s, mbedtls_ssl_config *client)
{
    uint64_t sum = 0;

    for (int i = 0; i < HANDSHAKES; i++)
        sum += handshake(s, client, NULL, NULL);
    return (double)sum / HANDSHAKES;
}

static double resumed(struct server *s, mbedtls_ssl_config *client)
{
    mbedtls_ssl_session session;
    uint64_t sum = 0;

    mbedtls_ssl_session_init(&session);
    handshake(s, client, NULL, &session);
    for (int i = 0; i < HANDSHAKES; i++) {
        mbedtls_ssl_session next;

        mbedtls_ssl_session_init(&next);
        sum += handshake(s, client, &session, &next);
        mbedtls_ssl_session_free(&session);
        session = next;
    }
    mbedtls_ssl_session_free(&session);
    return (double)sum / HANDSHAKES;
}

/* ---- a run ------------------------------------------------------------------------------------- */

static void set_version(mbedtls_ssl_config *c, mbedtls_ssl_protocol_version v)
{
    mbedtls_ssl_conf_min_tls_version(c, v);
    mbedtls_ssl_conf_max_tls_version(c, v);
}

static struct tls_config *our_config(const char *certificate, const char *key_file)
{
    struct text c = read_file(certificate), k = read_file(key_file);
    struct tls_pair pair = {{certificate, c.at, c.len}, {key_file, k.at, k.len}};
    struct tls_settings settings = {.pairs = &pair, .count = 1, .tickets = must(tls_tickets_new())};
    struct tls_config *config;
    char err[256];

    if (tls_config_new(&config, &settings, err, sizeof err))
        fail("%s", err);
    return config;
}

int main(int argc, char **argv)
{
    static mbedtls_ssl_config client, server;
    struct server ours = {0}, bare = {.bare = &server};
    unsigned pairs;

    if (argc != 4)
        fail("handshake CERTIFICATE KEY PAIRS");
    pairs = number("PAIRS", argv[3], 1000);
    mem_init(&heap, NULL, NULL);
    ours.ours = our_config(argv[1], argv[2]);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_bits);
    check(mbedtls_ctr_drbg_seed(&random_bits, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
    mbedtls_x509_crt_init(&crt);
    mbedtls_pk_init(&key);
    check(mbedtls_x509_crt_parse_file(&crt, argv[1]), argv[1]);
    check(mbedtls_pk_parse_keyfile(&key, argv[2], NULL, mbedtls_ctr_drbg_random, &random_bits),
          argv[2]);
    configure(&client, MBEDTLS_SSL_IS_CLIENT);
    configure(&server, MBEDTLS_SSL_IS_SERVER);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &client, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    mbedtls_ssl_conf_tls13_key_exchange_modes(&client,
                                              MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ALL);
    check(mbedtls_ssl_conf_own_cert(&server, &crt, &key), "certificate");
    for (unsigned i = 0; i < pairs; i++) {
        double of[3][2];

        for (int v = 0; v < 2; v++) {
            set_version(&client, v ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2);
            if (i % 2)
                of[1][v] = full(&bare, &client);
            of[0][v] = full(&ours, &client);
            of[2][v] = resumed(&ours, &client);
            if (!(i % 2))
                of[1][v] = full(&bare, &client);
        }
        printf("{\"full12\":%.0f,\"full13\":%.0f,\"bare12\":%.0f,\"bare13\":%.0f,"
               "\"resumed12\":%.0f,\"resumed13\":%.0f}\n",
               of[0][0], of[0][1], of[1][0], of[1][1], of[2][0], of[2][1]);
    }
    return 0;
}
