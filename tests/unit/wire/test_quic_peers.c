/* Peers whose TLS is not ours: another ALPN or none, keys of another kind, and servers that misuse
 * what a client takes from them. */
#include "quic_raw_wire.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#define NO_APPLICATION_PROTOCOL (0x100 + 120)

enum { OURS, OTHER_ALPN, NO_ALPN, OTHER_KEY };

/* The TLS of the bare side, in place of the one that the engine would make. */
static struct {
    ngtcp2_crypto_conn_ref ref;
    gnutls_session_t session;
    gnutls_certificate_credentials_t shows;
} theirs;

static ngtcp2_conn *their_conn(ngtcp2_crypto_conn_ref *ref)
{
    return ((struct raw *)ref->user_data)->ng;
}

static void show_key(const char *file)
{
    gnutls_datum_t pem, spki;
    gnutls_privkey_t key;
    gnutls_pubkey_t public;

    ck_assert_int_eq(gnutls_load_file(file, &pem), 0);
    gnutls_privkey_init(&key);
    gnutls_pubkey_init(&public);
    ck_assert_int_eq(gnutls_privkey_import_x509_raw(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0), 0);
    ck_assert_int_eq(gnutls_pubkey_import_privkey(public, key, 0, 0), 0);
    ck_assert_int_eq(gnutls_pubkey_export2(public, GNUTLS_X509_FMT_PEM, &spki), 0);
    gnutls_certificate_allocate_credentials(&theirs.shows);
    ck_assert_int_eq(gnutls_certificate_set_rawpk_key_mem(theirs.shows, &spki, &pem,
                                                          GNUTLS_X509_FMT_PEM, NULL, 0, NULL, 0, 0),
                     0);
    gnutls_privkey_deinit(key);
    gnutls_pubkey_deinit(public);
    gnutls_free(pem.data);
    gnutls_free(spki.data);
}

static void change_tls(struct wire *w, struct raw *r, int how)
{
    static const gnutls_datum_t h3 = {(unsigned char *)(uintptr_t) "h3", 2},
                                ours = {(unsigned char *)(uintptr_t) "alknet/call", 11};
    char print[ALK_TLS_FINGERPRINT];

    ck_assert_int_eq(gnutls_init(&theirs.session, (r->server ? GNUTLS_SERVER : GNUTLS_CLIENT) |
                                                      GNUTLS_NO_TICKETS | GNUTLS_ENABLE_RAWPK),
                     0);
    gnutls_priority_set_direct(theirs.session,
                               "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:"
                               "%DISABLE_TLS13_COMPAT_MODE:-CTYPE-ALL:+CTYPE-CLI-RAWPK:"
                               "+CTYPE-SRV-RAWPK",
                               NULL);
    theirs.ref = (ngtcp2_crypto_conn_ref){their_conn, r};
    gnutls_session_set_ptr(theirs.session, &theirs.ref);
    if (how == OTHER_KEY)
        wire_sign(w, "ecdsa", print);
    show_key(how == OTHER_KEY ? wire_path(w, "ecdsa", "pem") : wire_path(w, "server", "key"));
    gnutls_credentials_set(theirs.session, GNUTLS_CRD_CERTIFICATE, theirs.shows);
    if (how != NO_ALPN)
        gnutls_alpn_set_protocols(theirs.session, how == OTHER_ALPN ? &h3 : &ours, 1, 0);
    if (r->server)
        ngtcp2_crypto_gnutls_configure_server_session(theirs.session);
    else
        ngtcp2_crypto_gnutls_configure_client_session(theirs.session);
    ngtcp2_conn_set_tls_native_handle(r->ng, theirs.session);
}

static void finish(struct wire *w, struct raw *r)
{
    raw_free(r);
    if (theirs.session) {
        gnutls_deinit(theirs.session);
        gnutls_certificate_free_credentials(theirs.shows);
    }
    w->nobody = NULL;
    wire_free(w);
}

START_TEST(a_client_of_another_kind_is_refused)
{
    struct wire *w = wire_new();
    struct raw *r;

    wire_open(w);
    r = raw_of_wire(w);
    raw_begin(w, r);
    change_tls(w, r, _i);
    raw_run(w, r, 500 * MS);
    w->far = wire_far(w);
    ck_assert_int_eq(w->far->readies, _i == OURS);
    ck_assert_int_eq(w->far->overs, _i != OURS);
    ck_assert_int_eq(r->over, _i != OURS);
    if (_i == OTHER_ALPN || _i == NO_ALPN)
        ck_assert_uint_eq(ngtcp2_conn_get_ccerr(r->ng)->error_code, NO_APPLICATION_PROTOCOL);
    else if (_i == OTHER_KEY)
        ck_assert_str_eq(w->far->why, "a raw key that is no Ed25519 key");
    finish(w, r);
}
END_TEST

/* ---- servers --------------------------------------------------------------------------------- */

static int server_kind;
static alk_tls *raw_server_tls;

static void raw_server_came(struct wire *w, const struct packet *p)
{
    struct raw *r = w->ud;

    if (!same_address(&p->to, &r->local))
        return;
    if (!r->ng) {
        ck_assert_int_eq(raw_serve(r, raw_server_tls, p->data, p->len, w->now), 0);
        change_tls(w, r, server_kind);
    }
    raw_feed(r, p->data, p->len, w->now);
    raw_flush(w, r);
}

/* The engine dials a bare server of that kind. */
static struct raw *dial_raw(struct wire *w, int kind)
{
    struct quic_address local = address_of(RAW_HOST, 4433);
    struct quic_target to = {
        .local = &w->client.address, .remote = &local, .host = "raw", .any = true};
    struct raw *r = raw_new(&raw_host, &local, &w->client.address);

    end_open(&w->client, NULL);
    server_kind = kind;
    w->ud = r;
    w->nobody = raw_server_came;
    raw_server_tls = wire_tls(w, false, "server", NULL, NULL);
    to.tls = keys.client_tls;
    w->near = peer_new(&w->client, NULL);
    w->near->c = quic_connect(w->client.q, &to, &peer_events, w->near, w->now);
    wire_run(w, 25 * MS);
    ck_assert_ptr_nonnull(r->ng);
    raw_run(w, r, 500 * MS);
    return r;
}

START_TEST(a_server_of_another_kind_is_refused)
{
    struct wire *w = wire_new();
    struct raw *r = dial_raw(w, _i);

    ck_assert_int_eq(w->near->readies, _i == OURS);
    ck_assert_int_eq(w->near->overs, _i != OURS);
    if (_i == OTHER_ALPN || _i == NO_ALPN)
        ck_assert_str_eq(w->near->why, "the remote does not speak alknet/call");
    else if (_i == OTHER_KEY)
        ck_assert_str_eq(w->near->why, "a raw key that is no Ed25519 key");
    alk_tls_unref(raw_server_tls);
    finish(w, r);
}
END_TEST

struct violation {
    const char *frames;
    size_t len;
    uint64_t code;
};

#define FRAMES(bytes, code)                                                                        \
    {                                                                                              \
        bytes, sizeof bytes - 1, code                                                              \
    }

static const struct violation violations[] = {
    FRAMES("\x07\x00", NGTCP2_FRAME_ENCODING_ERROR),        /* a token of no bytes */
    FRAMES("\x0a\x41\x00\x01x", NGTCP2_STREAM_STATE_ERROR), /* a stream of the client's */
    FRAMES("\x0a\x80\x00\x10\x01\x01x", NGTCP2_STREAM_LIMIT_ERROR),
    FRAMES("\x0e\x01\xc0\x00\x01\x00\x00\x00\x00\x00\x01x", NGTCP2_FLOW_CONTROL_ERROR),
    FRAMES("\x3f", NGTCP2_FRAME_ENCODING_ERROR),
};

START_TEST(frames_that_a_server_must_not_send_end_the_connection)
{
    const struct violation *v = &violations[_i];
    struct wire *w = wire_new();
    struct raw *r = dial_raw(w, OURS);

    raw_frames(r, RAW_SHORT, raw_open(r), (const uint8_t *)v->frames, v->len);
    raw_run(w, r, 100 * MS);
    ck_assert(r->over);
    ck_assert_uint_eq(ngtcp2_conn_get_ccerr(r->ng)->error_code, v->code);
    ck_assert_int_eq(w->near->overs, 1);
    alk_tls_unref(raw_server_tls);
    finish(w, r);
}
END_TEST

/* One token is kept for each server, the newest, and none that is long. */
START_TEST(tokens_of_servers_are_few_and_short)
{
    uint8_t frames[900] = {0x01};
    struct wire *w = wire_new();
    struct raw *r = dial_raw(w, OURS);
    int64_t s = raw_open(r);
    size_t before;

    raw_run(w, r, 1000 * MS);
    before = w->client.bytes;
    frames[0] = 0x07;
    for (int i = 0; i < 200; i++) {
        frames[1] = i % 2 ? 0x43 : 0x41;
        frames[2] = i % 2 ? 0x60 : 0x90;
        frames[3] = (uint8_t)i;
        raw_frames(r, RAW_SHORT, s, frames, sizeof frames);
        raw_run(w, r, 50 * MS);
        ck_assert_int_eq(r->replace, RAW_NONE);
    }
    ck_assert_int_eq(w->near->overs, 0);
    raw_run(w, r, 1000 * MS);
    ck_assert_uint_le(w->client.bytes, before + 8000);
    alk_tls_unref(raw_server_tls);
    finish(w, r);
}
END_TEST

/* The beginning of a client's hello has not come, or is lost: it is asked to prove its address, and
 * nothing is kept for it meanwhile. */
START_TEST(a_hello_that_begins_in_the_middle_is_answered_by_a_retry)
{
    static const uint8_t middle[] = "\x06\x43\xe8\x05hello";
    struct quic_address from = address_of(RAW_HOST, 6000);
    struct wire *w = wire_new();
    struct raw *r;
    struct quic_batch b;
    uint8_t buf[2000];

    wire_open(w);
    r = raw_of_wire(w);
    raw_begin(w, r);
    raw_frames(r, RAW_INITIAL, 0, middle, sizeof middle - 1);
    {
        size_t n = raw_pull(r, buf, 1252, w->now);
        struct quic_datagram d = {
            .local = w->server.address, .remote = from, .data = buf, .len = n};

        quic_feed(w->server.q, &d, w->now);
    }
    ck_assert(quic_empty(w->server.q));
    ck_assert_uint_ge(quic_pull(w->server.q, buf, sizeof buf, &b, w->now), 1);
    ck_assert_uint_eq(buf[0] & 0xf0, 0xf0);
    finish(w, r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic peers");
    TCase *t = tcase_create("peers");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_client_of_another_kind_is_refused, OURS, OTHER_KEY + 1);
    tcase_add_loop_test(t, a_server_of_another_kind_is_refused, OURS, OTHER_KEY + 1);
    tcase_add_loop_test(t, frames_that_a_server_must_not_send_end_the_connection, 0,
                        (int)(sizeof violations / sizeof violations[0]));
    tcase_add_test(t, tokens_of_servers_are_few_and_short);
    tcase_add_test(t, a_hello_that_begins_in_the_middle_is_answered_by_a_retry);
    suite_add_tcase(s, t);
    return run_suite(s);
}
