/* TLS against mbedTLS as it is: versions, tickets, certificates that are wrong, and what a remote
 * may do that ours does not. */
#include "tls_raw.h"

static alk_tls *server_of(struct wire *w, const char *pairs, uint32_t ask, uint32_t tickets)
{
    alk_tls_options o;

    alk_tls_options_init(&o, sizeof o);
    o.certificates = pairs ? pairs : wire_pairs(w, "s");
    o.client_certificates = ask;
    o.tickets = tickets;
    return make_tls(&o);
}

static struct wire *start(void)
{
    struct wire *w = wire_new();

    wire_sign(w, "s", "[\"localhost\"]");
    return w;
}

static const mbedtls_ssl_protocol_version versions[] = {MBEDTLS_SSL_VERSION_TLS1_2,
                                                        MBEDTLS_SSL_VERSION_TLS1_3};

static void client_init(struct raw *r, int version)
{
    raw_init(r, MBEDTLS_SSL_IS_CLIENT);
    mbedtls_ssl_conf_min_tls_version(&r->conf, versions[version]);
    mbedtls_ssl_conf_max_tls_version(&r->conf, versions[version]);
}

/* ---- versions -------------------------------------------------------------------------------- */

START_TEST(both_versions_are_spoken)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct raw r;

    client_init(&r, _i);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    ck_assert(r.done && w->server.in);
    ck_assert_str_eq(w->server.alpn, "");
    ck_assert_str_eq(mbedtls_ssl_get_version(&r.ssl), _i ? "TLSv1.3" : "TLSv1.2");
    side_say(&w->server, "words", 5);
    raw_run(&r, &w->server);
    ck_assert_uint_eq(r.got.len, 5);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* A ClientHello of 1.1 or 1.0, without extensions. */
START_TEST(older_versions_are_refused_with_the_alert)
{
    static const unsigned char head[] = {22, 3, 1, 0, 45, 1, 0, 0, 41, 3},
                               suites[] = {0, 0, 2, 0xc0, 0x2f, 1, 0};
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    unsigned char hello[50] = {0};

    memcpy(hello, head, sizeof head);
    hello[10] = (unsigned char)(2 - _i);
    memcpy(hello + 43, suites, sizeof suites);
    raw_accept(w, server);
    w->server.e->ops->feed(w->server.e, (char *)hello, sizeof hello, w->now);
    ck_assert_int_eq(w->server.e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_str_eq(w->server.why, "no version of TLS in common");
    ck_assert_uint_eq(w->server.e->out.len, 7);
    ck_assert_int_eq(buf_at(&w->server.e->out)[0], 21);
    ck_assert_int_eq(buf_at(&w->server.e->out)[6], 70);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* ---- tickets --------------------------------------------------------------------------------- */

/* Its ticket is left in session. Whether the server showed its certificate, which takes more bytes
 * than all the rest. */
static bool shakes_in_full(struct wire *w, alk_tls *server, int version,
                           mbedtls_ssl_session *session, bool resume, struct raw_pair *own)
{
    struct raw r;
    bool full;

    client_init(&r, version);
    if (own)
        ck_assert(!mbedtls_ssl_conf_own_cert(&r.conf, &own->crt, &own->key));
    raw_start(&r, "localhost");
    ck_assert(!resume || !mbedtls_ssl_set_session(&r.ssl, session));
    raw_accept(w, server);
    raw_run(&r, &w->server);
    ck_assert_msg(r.done && w->server.in, "%x %s", -r.error, w->server.why);
    full = mbedtls_ssl_get_peer_cert(&r.ssl) != NULL && r.received > 600;
    if (!resume)
        ck_assert(!mbedtls_ssl_get_session(&r.ssl, session));
    raw_free(&r);
    return full;
}

START_TEST(a_session_is_resumed_also_behind_a_reload)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, _i < 2);
    mbedtls_ssl_session session;

    mbedtls_ssl_session_init(&session);
    ck_assert(shakes_in_full(w, server, _i % 2, &session, false, NULL));
    wire_close(w);
    ck_assert_int_eq(shakes_in_full(w, server, _i % 2, &session, true, NULL), _i >= 2);
    wire_close(w);
    ck_assert_int_eq(alk_tls_reload(server, NULL, 0), ALK_OK);
    ck_assert_int_eq(shakes_in_full(w, server, _i % 2, &session, true, NULL), _i >= 2);
    mbedtls_ssl_session_free(&session);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

START_TEST(a_resumed_session_is_nobodys)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, ALK_TLS_ASK_ALL, 1);
    mbedtls_ssl_session session;
    struct raw_pair own;

    mbedtls_ssl_session_init(&session);
    raw_ec_key(&own.key);
    raw_sign(&own, NULL, "CN=me", NULL, -1, 1);
    ck_assert(shakes_in_full(w, server, _i, &session, false, NULL));
    wire_close(w);
    ck_assert(!shakes_in_full(w, server, _i, &session, true, &own));
    ck_assert_str_eq(w->server.fingerprint, "");
    mbedtls_ssl_session_free(&session);
    raw_pair_free(&own);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

START_TEST(who_shows_a_certificate_shows_it_each_time)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, ALK_TLS_ASK_ALL, 1);
    mbedtls_ssl_session session;
    struct raw_pair own;

    mbedtls_ssl_session_init(&session);
    raw_ec_key(&own.key);
    raw_sign(&own, NULL, "CN=me", NULL, -1, 1);
    ck_assert(shakes_in_full(w, server, _i, &session, false, &own));
    ck_assert_uint_eq(strlen(w->server.fingerprint), strlen("SHA256:") + 64);
    wire_close(w);
    ck_assert(shakes_in_full(w, server, _i, &session, true, &own));
    ck_assert_uint_eq(strlen(w->server.fingerprint), strlen("SHA256:") + 64);
    mbedtls_ssl_session_free(&session);
    raw_pair_free(&own);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* ---- certificates ---------------------------------------------------------------------------- */

/* Our client trusts the authority "ca", and dials localhost. */
START_TEST(a_client_says_what_is_wrong_with_a_server)
{
    static const struct {
        const char *subject, *san;
        int from, to;
        bool alone;
        const char *why;
    } cases[] = {{"CN=x", "localhost", -1, 1, false, ""},
                 {"CN=localhost", NULL, -1, 1, false, ""},
                 {"CN=localhost", "other", -1, 1, false, "for another name"},
                 {"CN=x", "localhost", -9, -2, false, "has expired"},
                 {"CN=x", "localhost", 2, 9, false, "not yet valid"},
                 {"CN=x", "localhost", -1, 1, true, "signed by itself"}};
    struct wire *w = wire_new();
    struct raw_pair ca, own;
    alk_tls_options o;
    alk_tls *client;
    struct raw r;

    raw_ec_key(&ca.key);
    raw_sign(&ca, NULL, "CN=ca", NULL, -10, 10);
    raw_ec_key(&own.key);
    raw_sign(&own, cases[_i].alone ? NULL : &ca, cases[_i].subject, cases[_i].san, cases[_i].from,
             cases[_i].to);
    raw_write(w, "ca", &ca);
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.ca_file = wire_path(w, "ca.crt");
    client = make_tls(&o);
    raw_init(&r, MBEDTLS_SSL_IS_SERVER);
    ck_assert(!mbedtls_ssl_conf_own_cert(&r.conf, &own.crt, &own.key));
    raw_start(&r, NULL);
    raw_connect(w, client, "localhost");
    raw_run(&r, &w->client);
    ck_assert_int_eq(w->client.in != NULL, !*cases[_i].why);
    ck_assert_msg(strstr(w->client.why, cases[_i].why), "%s", w->client.why);
    ck_assert_int_eq(r.done, !*cases[_i].why);
    raw_free(&r);
    raw_pair_free(&ca);
    raw_pair_free(&own);
    alk_tls_unref(client);
    wire_free(w);
}
END_TEST

/* Of two primes that are no secret. slow: its public exponent is as long as the key, for it and
 * the private one change places. */
static void rsa_key(mbedtls_pk_context *key, bool slow)
{
    static const char *const primes[] = {
        "F52AA805ED04F50106F54686B621ADCCE9A30F9174DAB470D674DB0AF53643AC"
        "A31461919EBEDBC02D62A2A8A0BC9CC363E9CB253FF76111A578FCB97B596DDB"
        "718EAF300410C293177890EBD27C1514BD72AAC6AC081C5E310BAA06E92951DB"
        "555EE3A48AADDB3CD610ED4ED19487397383BAE7F3BB334953BFFBB80A7A7097",
        "C7C6D718F6E63D0CA2764C7624695EEACFDEE9D53ADBE6E2CDB0C9AB9337FFE6"
        "B337C5330A6C96004A3DD11824755C234F8457832ACD03D5A23E9B19698AA924"
        "56D2BCF139E0892F365425FA5D0A6E6D73505A7C46B26B57EE8F021A6589DB12"
        "157718B94196C076ED616733038EF446493EB2FDEFC9206B3AA2029BD6FFC1A1"};
    mbedtls_rsa_context usual;
    mbedtls_mpi p, q, e;

    mbedtls_rsa_init(&usual);
    mbedtls_mpi_init(&p);
    mbedtls_mpi_init(&q);
    mbedtls_mpi_init(&e);
    mbedtls_pk_init(key);
    ck_assert(!mbedtls_mpi_read_string(&p, 16, primes[0]) &&
              !mbedtls_mpi_read_string(&q, 16, primes[1]) && !mbedtls_mpi_lset(&e, 65537));
    ck_assert(!mbedtls_rsa_import(&usual, NULL, &p, &q, NULL, &e) && !mbedtls_rsa_complete(&usual));
    ck_assert(!slow || !mbedtls_rsa_export(&usual, NULL, NULL, NULL, &e, NULL));
    ck_assert(!mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)));
    ck_assert(!mbedtls_rsa_import(mbedtls_pk_rsa(*key), NULL, &p, &q, NULL, &e));
    ck_assert(!mbedtls_rsa_complete(mbedtls_pk_rsa(*key)));
    mbedtls_mpi_free(&p);
    mbedtls_mpi_free(&q);
    mbedtls_mpi_free(&e);
    mbedtls_rsa_free(&usual);
}

/* An ordinary one of RSA is taken (0); so is not one whose signatures take as long as it likes
 * (1), in neither version. */
START_TEST(a_client_cannot_make_its_certificate_slow)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, ALK_TLS_ASK_ALL, 1);
    struct raw_pair own;
    struct raw r;

    rsa_key(&own.key, _i & 1);
    raw_sign(&own, NULL, "CN=slow", NULL, -1, 1);
    client_init(&r, _i / 2);
    ck_assert(!mbedtls_ssl_conf_own_cert(&r.conf, &own.crt, &own.key));
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    ck_assert_int_eq(w->server.in != NULL, !(_i & 1));
    ck_assert_int_eq(w->server.fails, _i & 1);
    raw_free(&r);
    raw_pair_free(&own);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* By alternative names, exact and with a wildcard for one label; by the subject's name where there
 * are none; else the first. */
START_TEST(each_name_has_its_certificate)
{
    static const struct {
        const char *asked;
        int given;
    } cases[] = {{"localhost", 0}, {"a.example", 1},     {"A.Example", 1}, {"x.b.example", 2},
                 {"b.example", 0}, {"y.x.b.example", 0}, {"c.example", 3}, {"unknown", 0}};
    static const char *const names[] = {"s", "a", "b", "c"};
    struct wire *w = start();
    char pairs[2000] = "[", prints[4][ALK_TLS_FINGERPRINT];
    struct raw_pair c;
    alk_tls_options o;
    alk_tls *server, *client;

    wire_sign(w, "a", "[\"a.example\"]");
    wire_sign(w, "b", "[\"*.b.example\"]");
    raw_ec_key(&c.key);
    raw_sign(&c, NULL, "CN=c.example", NULL, -1, 1);
    raw_write(w, "c", &c);
    for (int i = 0; i < 4; i++) {
        const char *one = wire_pairs(w, names[i]);

        server = server_of(w, one, 0, 1);
        ck_assert_int_eq(alk_tls_fingerprint(server, prints[i], NULL), ALK_OK);
        alk_tls_unref(server);
        snprintf(pairs + strlen(pairs), sizeof pairs - strlen(pairs), "%s%.*s", i ? "," : "",
                 (int)strlen(one) - 2, one + 1);
    }
    strcat(pairs, "]");
    server = server_of(w, pairs, 0, 1);
    alk_tls_options_init(&o, sizeof o);
    o.client = o.insecure = 1;
    client = make_tls(&o);
    wire_open(w, server, client, cases[_i].asked, NULL);
    wire_run(w);
    ck_assert_str_eq(w->client.fingerprint, prints[cases[_i].given]);
    raw_pair_free(&c);
    alk_tls_unref(server);
    alk_tls_unref(client);
    wire_free(w);
}
END_TEST

/* Nine thousand bytes pass; more than a message of a handshake holds is refused with its file. */
START_TEST(a_chain_may_be_long_but_not_too_long)
{
    struct wire *w = wire_new();
    char why[300] = "", san[250];
    struct raw_pair own, other;
    alk_tls_options o;
    alk_tls *server, *client;

    memset(san, 'x', sizeof san - 1);
    san[sizeof san - 1] = 0;
    raw_ec_key(&own.key);
    raw_sign(&own, NULL, "CN=localhost", san, -1, 1);
    other.key = own.key;
    raw_sign(&other, NULL, "CN=other", san, -1, 1);
    raw_write(w, "s", &own);
    for (int i = 0; i < (_i ? 29 : 14); i++)
        raw_write(w, "s", &other);
    mbedtls_x509_crt_free(&other.crt);
    alk_tls_options_init(&o, sizeof o);
    o.certificates = wire_pairs(w, "s");
    ck_assert_int_eq(alk_tls_new(&server, &o, why, sizeof why), _i ? ALK_EINVAL : ALK_OK);
    ck_assert(!_i || strstr(why, "s.crt: holds a chain"));
    if (!_i) {
        alk_tls_options_init(&o, sizeof o);
        o.client = o.insecure = 1;
        client = make_tls(&o);
        wire_open(w, server, client, NULL, NULL);
        wire_run(w);
        ck_assert_uint_gt(w->server.sent, 9000);
        ck_assert(w->client.in && w->server.in);
        alk_tls_unref(client);
    }
    raw_pair_free(&own);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* ---- what a remote may do -------------------------------------------------------------------- */

START_TEST(a_goodbye_and_the_end_of_the_stream_are_one_end)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct raw r;

    client_init(&r, _i);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    mbedtls_ssl_write(&r.ssl, (const unsigned char *)"last", 4);
    mbedtls_ssl_close_notify(&r.ssl);
    mbedtls_ssl_write(&r.ssl, (const unsigned char *)"more", 4);
    w->server.e->ops->feed(w->server.e, buf_at(&r.out), r.out.len, w->now);
    ck_assert(side_got(&w->server, "last"));
    ck_assert_int_eq(w->server.eofs, 1);
    w->server.e->ops->feed(w->server.e, "junk", 4, w->now);
    w->server.e->ops->eof(w->server.e, w->now);
    ck_assert_int_eq(w->server.eofs, 1);
    ck_assert_int_eq(w->server.feeds, 1);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* It stops mbedTLS's reading, and is not followed by a further byte that would begin it again. */
START_TEST(a_warning_does_not_hold_up_what_is_behind_it)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct raw r;

    client_init(&r, _i);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    mbedtls_ssl_send_alert_message(&r.ssl, MBEDTLS_SSL_ALERT_LEVEL_WARNING,
                                   MBEDTLS_SSL_ALERT_MSG_USER_CANCELED);
    mbedtls_ssl_write(&r.ssl, (const unsigned char *)"behind", 6);
    w->server.e->ops->feed(w->server.e, buf_at(&r.out), r.out.len, w->now);
    ck_assert(side_got(&w->server, "behind"));
    ck_assert(w->server.e->reading && !w->server.e->closing);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* What comes in one piece is fed in one piece: 30 records here. */
START_TEST(a_read_is_a_feed)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct raw r;

    client_init(&r, _i);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    for (int i = 0; i < 30; i++)
        ck_assert_int_eq(mbedtls_ssl_write(&r.ssl, (const unsigned char *)"word", 4), 4);
    w->server.e->ops->feed(w->server.e, buf_at(&r.out), r.out.len, w->now);
    ck_assert_uint_eq(w->server.got.len, 120);
    ck_assert_int_eq(w->server.feeds, 1);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* ---- who pays -------------------------------------------------------------------------------- */

struct account {
    struct meter m;
    size_t taken, most;
};

static bool account_take(struct meter *m, size_t n, bool begins)
{
    struct account *a = container_of(m, struct account, m);

    (void)begins;
    if (a->taken + n > a->most)
        return false;
    a->taken += n;
    return true;
}

static void account_force(struct meter *m, size_t n)
{
    container_of(m, struct account, m)->taken += n;
}

static void account_give(struct meter *m, size_t n)
{
    struct account *a = container_of(m, struct account, m);

    ck_assert_uint_ge(a->taken, n);
    a->taken -= n;
}

static const struct meter_ops account_ops = {
    .take = account_take, .force = account_force, .give = account_give};

/* With room for it (0) and without (1). */
START_TEST(what_is_not_read_inside_is_paid_for)
{
    struct account a = {{&account_ops}, 0, _i ? 20000 : 100000};
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct tls_config *c = tls_current(server);
    unsigned char much[16000] = {0};
    struct raw r;

    client_init(&r, 1);
    raw_start(&r, "localhost");
    w->server.w = w;
    side_open(&w->server, w, tls_accept(&w->mem, c, ALL, &side_app, &w->server, &a.m, 0));
    tls_config_unref(c);
    raw_run(&r, &w->server);
    w->server.in->e.reading = false;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(mbedtls_ssl_write(&r.ssl, much, sizeof much), sizeof much);
    w->server.e->ops->feed(w->server.e, buf_at(&r.out), r.out.len, w->now);
    ck_assert_int_eq(w->server.e->closing, _i ? ENGINE_RESET : ENGINE_OPEN);
    if (!_i) {
        ck_assert(!w->server.e->reading);
        ck_assert_uint_ge(a.taken, 48000);
        w->server.in->e.reading = true;
        w->server.e->ops->drained(w->server.e, w->now);
        ck_assert_uint_eq(w->server.got.len, 48000);
    }
    ck_assert_uint_eq(a.taken, 0);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* The output's payer pays for the ciphertext; with nothing unsent there is neither memory nor a
 * payer, who may be gone then. */
START_TEST(an_empty_output_has_no_memory_and_no_payer)
{
    struct account a = {{&account_ops}, 0, 1000000};
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    char much[50000] = {0};
    struct engine *e;
    struct raw r;

    client_init(&r, _i);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    e = w->server.e;
    buf_charge(&w->server.in->e.out, &a.m);
    side_say(&w->server, much, sizeof much);
    engine_flush(e, w->now);
    ck_assert_ptr_eq(e->out.meter, &a.m);
    ck_assert_uint_ge(a.taken, sizeof much);
    ck_assert_uint_eq(w->server.in->e.out.cap, 0);
    buf_consume(&e->out, e->out.len);
    e->ops->drained(e, w->now);
    ck_assert_uint_eq(e->out.cap, 0);
    ck_assert_ptr_null(e->out.meter);
    ck_assert_uint_eq(a.taken, 0);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* With its engine its payer may go: what is still outside goes over to the successor's. */
START_TEST(who_paid_for_an_engine_that_is_succeeded_may_go)
{
    struct account *a = malloc(sizeof *a);
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    char much[50000] = {0};
    struct plain *next;
    struct engine *e;
    struct raw r;

    *a = (struct account){{&account_ops}, 0, 1000000};
    client_init(&r, 1);
    raw_start(&r, "localhost");
    raw_accept(w, server);
    raw_run(&r, &w->server);
    e = w->server.e;
    buf_charge(&w->server.in->e.out, &a->m);
    side_say(&w->server, much, sizeof much);
    engine_flush(e, w->now);
    ck_assert_uint_ge(a->taken, sizeof much);
    next = plain_new(&w->server);
    w->server.in->e.successor = &next->e;
    w->server.in = next;
    e->ops->drained(e, w->now);
    ck_assert_uint_eq(a->taken, 0);
    ck_assert_ptr_null(e->out.meter);
    free(a);
    buf_consume(&e->out, e->out.len);
    e->ops->drained(e, w->now);
    raw_free(&r);
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

/* ---- many ------------------------------------------------------------------------------------ */

/* Each has a key in PSA's store between its first two messages. */
START_TEST(many_handshakes_are_under_way_at_once)
{
    struct wire *w = start();
    alk_tls *server = server_of(w, NULL, 0, 1);
    struct raw r[100];

    for (int i = 0; i < 100; i++) {
        client_init(&r[i], 1);
        raw_start(&r[i], "localhost");
        raw_step(&r[i]);
        ck_assert_int_eq(r[i].error, 0);
    }
    for (int i = 0; i < 100; i++) {
        raw_accept(w, server);
        raw_run(&r[i], &w->server);
        ck_assert(r[i].done);
        wire_close(w);
        raw_free(&r[i]);
    }
    alk_tls_unref(server);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tls beside mbedTLS");
    TCase *t = tcase_create("tls");
    SRunner *r;
    int failures;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, both_versions_are_spoken, 0, 2);
    tcase_add_loop_test(t, older_versions_are_refused_with_the_alert, 0, 2);
    tcase_add_loop_test(t, a_session_is_resumed_also_behind_a_reload, 0, 4);
    tcase_add_loop_test(t, a_resumed_session_is_nobodys, 0, 2);
    tcase_add_loop_test(t, who_shows_a_certificate_shows_it_each_time, 0, 2);
    tcase_add_loop_test(t, a_client_says_what_is_wrong_with_a_server, 0, 6);
    tcase_add_loop_test(t, a_client_cannot_make_its_certificate_slow, 0, 4);
    tcase_add_loop_test(t, each_name_has_its_certificate, 0, 8);
    tcase_add_loop_test(t, a_chain_may_be_long_but_not_too_long, 0, 2);
    tcase_add_loop_test(t, a_goodbye_and_the_end_of_the_stream_are_one_end, 0, 2);
    tcase_add_loop_test(t, a_warning_does_not_hold_up_what_is_behind_it, 0, 2);
    tcase_add_loop_test(t, a_read_is_a_feed, 0, 2);
    tcase_add_loop_test(t, what_is_not_read_inside_is_paid_for, 0, 2);
    tcase_add_test(t, who_paid_for_an_engine_that_is_succeeded_may_go);
    tcase_add_loop_test(t, an_empty_output_has_no_memory_and_no_payer, 0, 2);
    tcase_add_test(t, many_handshakes_are_under_way_at_once);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failures = srunner_ntests_failed(r);
    srunner_free(r);
    return failures ? 1 : 0;
}
