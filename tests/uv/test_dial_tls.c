/* Dialling over TLS: framed envelopes to a hub, a WebSocket to the rig's gateway, each inside of
 * TLS that the test's listener makes; whom the remote proves to be, and every way in which a
 * handshake ends badly. */
#include "host/crypto.h"
#include "uv/dial_rig.h"
#include "wire/tls.h"

#include <mbedtls/ssl.h>

struct secure {
    struct dialled *t;
    struct service front; /* of the listener */
    alk_tls *server, *client;
    const char *const *alpn;
    char certificate[80], key[80], fingerprint[ALK_TLS_FINGERPRINT];
    alk_identity_provider provider;
    int known, asked; /* known: by_fingerprint tells the rig's identity, of that kind */
};

/* ---- the listener ---------------------------------------------------------------------------- */

static const char *const all[] = {ALPN_CALL, "http/1.1", NULL}, *const http[] = {"http/1.1", NULL};

static struct engine *on_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct secure *s = ud;
    struct service *gateway = gateway_service(s->t->r->g);
    struct peer_info p = {.address = "127.0.0.1", .local = "127.0.0.1"};

    return str_is(info->alpn, ALPN_CALL) ? hub_session(s->t, NULL)
                                         : gateway->accept(gateway, gateway->mem(gateway), &p, now);
}

static void on_failed(void *ud, const char *why)
{
    (void)ud;
    (void)why;
}

static void on_fini(void *ud)
{
    (void)ud;
}

static struct engine *front_accept(struct service *front, struct mem *mem,
                                   const struct peer_info *p, uint64_t now)
{
    static const struct tls_app app = {on_ready, on_failed, on_fini};
    struct secure *s = container_of(front, struct secure, front);
    struct tls_config *c = tls_current(s->server);
    struct engine *e = tls_accept(mem, c, s->alpn, &app, s, NULL, now + 10 * SECOND);

    (void)p;
    tls_config_unref(c);
    return e;
}

static struct mem *front_mem(struct service *front)
{
    struct service *gateway = gateway_service(container_of(front, struct secure, front)->t->r->g);

    return gateway->mem(gateway);
}

/* ---- the rig --------------------------------------------------------------------------------- */

static int by_fingerprint(void *ud, const char *fingerprint, size_t len, alk_identity **out)
{
    struct secure *s = ud;

    s->asked++;
    must(len == strlen(s->fingerprint) && !memcmp(fingerprint, s->fingerprint, len));
    if (s->known)
        *out = alk_identity_ref(s->t->r->who);
    return s->known;
}

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    return rig_by_token(((struct secure *)ud)->t->r, token, len, out);
}

static alk_tls *tls_of(const alk_tls_options *o)
{
    char err[200];
    alk_tls *out;

    ck_assert_msg(!alk_tls_new(&out, o, err, sizeof err), "%s", err);
    return out;
}

/* Trusts the server's own certificate. Everything can be changed until begin. */
static struct secure *start(void)
{
    struct secure *s = calloc(1, sizeof *s);
    alk_tls_options o;
    char pairs[300], err[200];

    ck_assert_ptr_nonnull(s);
    s->t = dialled_new();
    s->front = s->t->hub;
    s->front.accept = front_accept;
    s->front.mem = front_mem;
    s->alpn = all;
    snprintf(s->certificate, sizeof s->certificate, "%s/cert", s->t->dir);
    snprintf(s->key, sizeof s->key, "%s/key", s->t->dir);
    ck_assert_msg(!alk_tls_self_sign(s->certificate, s->key, "[\"localhost\",\"127.0.0.1\"]", 2,
                                     err, sizeof err),
                  "%s", err);
    snprintf(pairs, sizeof pairs, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]", s->certificate,
             s->key);
    alk_tls_options_init(&o, sizeof o);
    o.certificates = pairs;
    s->server = tls_of(&o);
    ck_assert_int_eq(alk_tls_fingerprint(s->server, s->fingerprint, NULL), ALK_OK);
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.ca_file = s->certificate;
    s->client = tls_of(&o);
    s->t->o.tls = s->client;
    s->provider = *s->t->r->options.identities;
    s->provider.by_token = by_token;
    s->provider.by_fingerprint = by_fingerprint;
    s->provider.ud = s;
    s->t->r->options.identities = &s->provider;
    return s;
}

static void begin(struct secure *s, const char *scheme, const char *host)
{
    struct rig *r = s->t->r;

    rig_start_bare(r);
    r->listen.gateway = (alk_gateway *)(void *)&s->front;
    rig_serve(r);
    snprintf(s->t->url, sizeof s->t->url, "%s://%s:%d", scheme, host, r->port);
    dial(s->t);
    /* The dialer has its own. */
    alk_tls_unref(s->client);
    s->client = NULL;
}

static void end(struct secure *s)
{
    unlink(s->certificate);
    unlink(s->key);
    finish(s->t);
    alk_tls_unref(s->client);
    alk_tls_unref(s->server);
    free(s);
}

static void begin_call(struct secure *s)
{
    begin(s, "alknet+tls", "127.0.0.1");
    /* In TLS 1.3 the client is done first. */
    rig_until(s->t->r, strstr(s->t->log, "ready") && s->t->there);
    ck_assert_str_eq(s->t->log, "open ready ");
}

static void fails(struct secure *s, const char *scheme, const char *host, const char *why)
{
    begin(s, scheme, host);
    rig_until(s->t->r, strstr(s->t->log, "failed"));
    ck_assert_str_eq(s->t->message, why);
    end(s);
}

/* ---- facts ----------------------------------------------------------------------------------- */

START_TEST(framed_envelopes_go_both_ways_over_tls)
{
    struct secure *s = start();

    begin_call(s);
    call(s->t, alk_dialer_connection(s->t->x), "t/echo", "[7]");
    rig_until(s->t->r, s->t->answers == 1);
    call(s->t, s->t->there->conn, "t/echo", "[8]");
    rig_until(s->t->r, s->t->answers == 2);
    call(s->t, alk_dialer_connection(s->t->x), "t/big", "9000000");
    rig_until(s->t->r, s->t->answers == 3);
    ck_assert_uint_eq(s->t->answered, 9000002);
    /* The certificate belongs to nobody here. */
    ck_assert_int_eq(s->asked, 1);
    call(s->t, s->t->there->conn, "t/secret", "[8]");
    rig_until(s->t->r, s->t->faults == 1);
    ck_assert_str_eq(s->t->message, "FORBIDDEN: authentication required");
    end(s);
}
END_TEST

START_TEST(a_flood_comes_whole)
{
    struct secure *s = start();
    alk_call_options o = {.size = sizeof o};

    s->t->r->flood.left = 20000;
    begin_call(s);
    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = s->t;
    o.stream = 1;
    ck_assert_int_eq(
        alk_connection_call(alk_dialer_connection(s->t->x), "t/flood", 7, "1", 1, &o, NULL),
        ALK_OK);
    rig_until(s->t->r, s->t->answers == 20000);
    ck_assert_int_gt(s->t->r->flood.drains, 0);
    ck_assert_int_eq(s->t->faults, 0);
    end(s);
}
END_TEST

START_TEST(the_remote_is_whom_its_fingerprint_belongs_to)
{
    struct secure *s = start();

    s->known = ALK_KIND_PEER;
    begin_call(s);
    call(s->t, s->t->there->conn, "t/secret", "[8]");
    rig_until(s->t->r, s->t->answers == 1);
    ck_assert_str_eq(alk_identity_id(alk_connection_identity(alk_dialer_connection(s->t->x))),
                     "tester");
    end(s);
}
END_TEST

START_TEST(what_the_options_say_of_the_remote_comes_before_its_fingerprint)
{
    struct secure *s = start();

    s->known = ALK_KIND_PEER;
    s->t->o.identity = s->t->r->who;
    s->t->o.kind = ALK_KIND_KEY;
    begin_call(s);
    ck_assert_int_eq(s->asked, 0);
    end(s);
}
END_TEST

START_TEST(a_websocket_goes_over_tls)
{
    struct secure *s = start();

    s->t->o.token = RIG_TOKEN;
    begin(s, "wss", "localhost");
    rig_until(s->t->r, strstr(s->t->log, "ready"));
    call(s->t, alk_dialer_connection(s->t->x), "t/secret", "[7]");
    rig_until(s->t->r, s->t->answers == 1);
    end(s);
}
END_TEST

START_TEST(a_gateways_refusal_is_told_from_inside_of_tls)
{
    struct secure *s = start();

    s->t->o.token = "alk_another_token_of_nobody";
    fails(s, "wss", "localhost", "HTTP 401: the presented token is not valid");
}
END_TEST

/* A server that knows nothing of ALPN: it says one thing, and reads until the other side closes. */
struct deaf {
    struct secure *s;
    int fd;
    pthread_t thread;
};

static int deaf_random(void *ud, unsigned char *to, size_t n)
{
    (void)ud;
    return crypto_random(to, n);
}

static int deaf_send(void *ud, const unsigned char *data, size_t n)
{
    return (int)send(*(int *)ud, data, n, MSG_NOSIGNAL);
}

static int deaf_receive(void *ud, unsigned char *to, size_t n)
{
    return (int)recv(*(int *)ud, to, n, 0);
}

static void deaf_load(const struct deaf *d, mbedtls_x509_crt *crt, mbedtls_pk_context *key)
{
    const char *const files[] = {d->s->certificate, d->s->key};

    for (int i = 0; i < 2; i++) {
        unsigned char text[4000] = {0};
        FILE *f = fopen(files[i], "r");
        size_t n;

        must(f);
        n = fread(text, 1, sizeof text - 1, f) + 1;
        fclose(f);
        must(!(i ? mbedtls_pk_parse_key(key, text, n, NULL, 0, deaf_random, NULL)
                 : mbedtls_x509_crt_parse(crt, text, n)));
    }
}

static void *deaf_run(void *ud)
{
    static const char refusal[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    struct deaf *d = ud;
    mbedtls_ssl_config conf;
    mbedtls_ssl_context ssl;
    mbedtls_x509_crt crt;
    mbedtls_pk_context key;
    int fd = accept(d->fd, NULL, NULL);
    unsigned char in[1000];
    int rc;

    mbedtls_ssl_config_init(&conf);
    mbedtls_ssl_init(&ssl);
    mbedtls_x509_crt_init(&crt);
    mbedtls_pk_init(&key);
    deaf_load(d, &crt, &key);
    must(!mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&conf, deaf_random, NULL);
    must(!mbedtls_ssl_conf_own_cert(&conf, &crt, &key) && !mbedtls_ssl_setup(&ssl, &conf));
    mbedtls_ssl_set_bio(&ssl, &fd, deaf_send, deaf_receive, NULL);
    must(!mbedtls_ssl_handshake(&ssl));
    mbedtls_ssl_write(&ssl, (const unsigned char *)refusal, sizeof refusal - 1);
    do
        rc = mbedtls_ssl_read(&ssl, in, sizeof in);
    while (rc > 0);
    close(fd);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&conf);
    mbedtls_x509_crt_free(&crt);
    mbedtls_pk_free(&key);
    return NULL;
}

static void fails_with_the_deaf(const char *scheme, const char *why)
{
    struct secure *s = start();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct deaf d = {.s = s, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    socklen_t n = sizeof at;

    ck_assert(!bind(d.fd, (struct sockaddr *)&at, sizeof at) && !listen(d.fd, 8));
    ck_assert(!getsockname(d.fd, (struct sockaddr *)&at, &n));
    ck_assert(!pthread_create(&d.thread, NULL, deaf_run, &d));
    rig_start_bare(s->t->r);
    s->t->o.reconnect = 0;
    snprintf(s->t->url, sizeof s->t->url, "%s://127.0.0.1:%d", scheme, ntohs(at.sin_port));
    dial(s->t);
    rig_until(s->t->r, strstr(s->t->log, "failed"));
    ck_assert_str_eq(s->t->message, why);
    rig_steps(s->t->r, 20);
    end(s);
    pthread_join(d.thread, NULL);
    close(d.fd);
}

/* HTTP/1.1 needs no agreement. */
START_TEST(framed_envelopes_are_said_only_to_who_agrees_to_them)
{
    struct secure *s = start();

    s->alpn = http;
    fails(s, "alknet+tls", "127.0.0.1", "TLS: the remote has refused the handshake");
    fails_with_the_deaf("alknet+tls", "the server does not speak alknet/call");
    fails_with_the_deaf("wss", "HTTP 404: the server refused the upgrade");
}
END_TEST

START_TEST(a_server_that_is_not_trusted_is_not_spoken_with)
{
    struct secure *s = start();
    alk_tls_options o;

    s->t->r->listen.host = "0.0.0.0";
    fails(s, "alknet+tls", "127.0.0.2", "TLS: the server's certificate is for another name");

    s = start();
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.pin = "SHA256:0000000000000000000000000000000000000000000000000000000000000000";
    alk_tls_unref(s->client);
    s->t->o.tls = s->client = tls_of(&o);
    begin(s, "wss", "127.0.0.1");
    rig_until(s->t->r, strstr(s->t->log, "failed"));
    ck_assert(!strncmp(s->t->message, "TLS: ", 5));
    end(s);

    s = start();
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.pin = s->fingerprint;
    alk_tls_unref(s->client);
    s->t->o.tls = s->client = tls_of(&o);
    begin_call(s);
    end(s);
}
END_TEST

/* Where a system has no anchors, there is no such dialer. */
START_TEST(by_default_those_are_trusted_whom_the_system_trusts)
{
    struct secure *s = start();
    char err[200] = "";
    int rc;

    alk_tls_unref(s->client);
    s->t->o.tls = s->client = NULL;
    rig_start_bare(s->t->r);
    s->t->r->listen.gateway = (alk_gateway *)(void *)&s->front;
    rig_serve(s->t->r);
    snprintf(s->t->url, sizeof s->t->url, "wss://127.0.0.1:%d", s->t->r->port);
    rc = alk_dial(&s->t->x, s->t->r->l, &s->t->o, err, sizeof err);
    if (rc) {
        ck_assert_int_eq(rc, ALK_EINVAL);
        ck_assert_ptr_nonnull(strstr(err, "trusted certificates"));
        s->t->freed = 1;
    } else {
        rig_until(s->t->r, strstr(s->t->log, "failed"));
        ck_assert_ptr_nonnull(strstr(s->t->message, "signed by itself"));
    }
    end(s);
}
END_TEST

START_TEST(closing_in_any_state_frees_once)
{
    for (int i = 0; i < 40; i++) {
        struct secure *s = start();
        struct dialled *t = s->t;

        begin(s, i % 2 ? "alknet+tls" : "wss", "127.0.0.1");
        for (int k = 0; k < i / 2; k++) {
            uv_run(&t->r->uv, UV_RUN_NOWAIT);
            usleep(200);
        }
        if (i % 4 < 2) {
            alk_dialer_close(t->x);
            rig_until(t->r, t->freed);
            rig_steps(t->r, 3);
        }
        end(s);
    }
}
END_TEST

START_TEST(a_server_that_says_nothing_is_given_up)
{
    struct secure *s = start();
    struct dialled *t = s->t;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;

    ck_assert(!bind(fd, (struct sockaddr *)&at, sizeof at) && !listen(fd, 8));
    ck_assert(!getsockname(fd, (struct sockaddr *)&at, &n));
    rig_start_bare(t->r);
    t->o.connect_timeout_ms = 200;
    snprintf(t->url, sizeof t->url, "alknet+tls://127.0.0.1:%d", ntohs(at.sin_port));
    dial(t);
    rig_until(t->r, strstr(t->log, "failed"));
    ck_assert_str_eq(t->message, "timed out");
    close(fd);
    end(s);
}
END_TEST

START_TEST(a_connection_that_the_remote_closes_is_dialled_again)
{
    struct secure *s = start();
    struct dialled *t = s->t;

    begin_call(s);
    alk_connection_close(t->there->conn, ALK_CLOSE_SHUTDOWN);
    rig_until(t->r, strstr(t->log, "lost"));
    ck_assert_int_eq(t->said_code, 1001);
    ck_assert_int_eq(t->code, 1005);
    rig_until(t->r, !strcmp(t->log, "open ready lost open ready "));
    end(s);
}
END_TEST

MAIN("dial_tls", framed_envelopes_go_both_ways_over_tls, a_flood_comes_whole,
     the_remote_is_whom_its_fingerprint_belongs_to,
     what_the_options_say_of_the_remote_comes_before_its_fingerprint, a_websocket_goes_over_tls,
     a_gateways_refusal_is_told_from_inside_of_tls,
     framed_envelopes_are_said_only_to_who_agrees_to_them,
     a_server_that_is_not_trusted_is_not_spoken_with,
     by_default_those_are_trusted_whom_the_system_trusts, closing_in_any_state_frees_once,
     a_server_that_says_nothing_is_given_up, a_connection_that_the_remote_closes_is_dialled_again)
