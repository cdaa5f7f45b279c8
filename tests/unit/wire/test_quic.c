/* The handshake of the QUIC engine: who proves what to whom, and when either side is told. */
#include "quic_wire.h"

static void open_server(struct wire *w, const char *key, const char *pair)
{
    alk_tls *t = wire_tls(w, false, key, pair, NULL);

    end_open(&w->server, t);
    end_open(&w->client, NULL);
    alk_tls_unref(t);
}

static void agreed(struct wire *w, struct peer *near, const char *server, const char *client)
{
    struct peer *far;

    wire_until(w, near->readies || near->overs);
    ck_assert_msg(near->readies, "%s", near->why);
    far = wire_far(w);
    ck_assert_str_eq(near->fingerprint, server);
    ck_assert_str_eq(far->fingerprint, client);
    ck_assert_str_eq(far->address, "10.0.0.1");
    ck_assert(!near->overs && !far->overs);
}

/* The client says why, and the server hears an alert. */
static void refused(struct wire *w, struct peer *near, const char *why)
{
    wire_until(w, near->overs);
    ck_assert_int_eq(near->readies, 0);
    ck_assert_int_eq(near->code, -1);
    ck_assert_msg(strstr(near->why, why) != NULL, "%s", near->why);
    wire_run(w, 100 * MS);
    ck_assert(!wire_far(w) || wire_far(w)->overs == 1);
    ck_assert(!wire_far(w) || !wire_far(w)->readies);
}

START_TEST(raw_keys_prove_both_sides)
{
    struct wire *w = wire_new();

    wire_open(w);
    agreed(w, wire_dial(w, NULL, w->server_print), w->server_print, w->client_print);
    wire_free(w);
}
END_TEST

START_TEST(a_client_may_show_nothing)
{
    struct wire *w = wire_new();

    wire_open(w);
    agreed(w, wire_dial(w, wire_tls(w, true, NULL, NULL, NULL), w->server_print), w->server_print,
           "");
    wire_free(w);
}
END_TEST

START_TEST(a_certificate_is_verified_by_name_and_anchor)
{
    char print[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "server", print);
    wire_sign(w, "other", other);
    open_server(w, NULL, "server");
    agreed(w, wire_dial(w, wire_tls(w, true, "client", NULL, "server"), NULL), print,
           w->client_print);
    refused(w, wire_dial(w, wire_tls(w, true, "client", NULL, "other"), NULL), "NOT trusted");
    wire_free(w);
}
END_TEST

START_TEST(a_certificate_is_verified_by_its_fingerprint)
{
    char print[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "server", print);
    wire_sign(w, "other", other);
    open_server(w, NULL, "server");
    agreed(w, wire_dial(w, wire_tls(w, true, NULL, "other", "other"), print), print, other);
    refused(w, wire_dial(w, wire_tls(w, true, NULL, "other", "other"), other),
            "the server is another");
    wire_free(w);
}
END_TEST

START_TEST(a_server_with_both_shows_what_is_pinned)
{
    char print[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "server", print);
    open_server(w, "server", "server");
    agreed(w, wire_dial(w, NULL, print), print, w->client_print);
    agreed(w, wire_dial(w, NULL, w->server_print), w->server_print, w->client_print);
    wire_free(w);
}
END_TEST

START_TEST(another_key_than_the_pinned_one_is_refused)
{
    struct wire *w = wire_new();

    wire_open(w);
    refused(w, wire_dial(w, NULL, w->client_print), "the server is another");
    ck_assert_ptr_nonnull(
        strstr(container_of(w->client.peers.next, struct peer, link)->why, w->server_print));
    wire_free(w);
}
END_TEST

START_TEST(a_raw_key_that_nothing_vouches_for_is_refused)
{
    char print[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "other", print);
    wire_open(w);
    refused(w, wire_dial(w, wire_tls(w, true, "client", NULL, "other"), NULL), "nothing vouches");
    agreed(w, wire_dial(w, NULL, "any"), w->server_print, w->client_print);
    wire_free(w);
}
END_TEST

START_TEST(a_certificate_in_place_of_a_pinned_key_is_refused)
{
    char print[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "server", print);
    open_server(w, NULL, "server");
    refused(w, wire_dial(w, NULL, w->server_print), "");
    wire_free(w);
}
END_TEST

START_TEST(a_key_in_place_of_a_pinned_certificate_is_refused)
{
    char print[ALK_TLS_FINGERPRINT];
    struct wire *w = wire_new();

    wire_sign(w, "server", print);
    wire_open(w);
    refused(w, wire_dial(w, NULL, print), "");
    wire_free(w);
}
END_TEST

START_TEST(a_key_of_another_kind_is_no_raw_key)
{
    char print[ALK_TLS_FINGERPRINT], why[200] = "";
    struct wire *w = wire_new();
    alk_tls_options o;
    alk_tls *t;

    wire_sign(w, "server", print);
    alk_tls_options_init(&o, sizeof o);
    o.raw_key = wire_path(w, "server", "pem");
    ck_assert_int_eq(alk_tls_new(&t, &o, why, sizeof why), ALK_EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "is no Ed25519 key"));
    wire_free(w);
}
END_TEST

/* Only packets with a short header are kept back: HANDSHAKE_DONE among them. */
static bool only_long_headers(struct wire *w, struct packet *p)
{
    return !same_address(&p->to, &w->client.shown) || p->data[0] & 0x80;
}

START_TEST(a_client_is_ready_when_the_server_has_accepted_it)
{
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    w->filter = only_long_headers;
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, wire_far(w) && wire_far(w)->readies);
    wire_run(w, 1000 * MS);
    ck_assert_int_eq(near->readies, 0);
    w->filter = NULL;
    wire_until(w, near->readies);
    wire_free(w);
}
END_TEST

static bool nothing_to_client(struct wire *w, struct packet *p)
{
    return !same_address(&p->to, &w->client.shown);
}

START_TEST(a_handshake_that_does_not_come_on_is_given_up_by_both)
{
    struct wire *w = wire_new();
    uint64_t begun = w->now;
    struct peer *near;

    wire_open(w);
    w->filter = nothing_to_client;
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, near->overs && wire_far(w) && wire_far(w)->overs);
    ck_assert_str_eq(near->why, "the handshake timed out");
    ck_assert_str_eq(wire_far(w)->why, "the handshake timed out");
    ck_assert_uint_ge(near->over_at - begun, 10000 * MS);
    ck_assert_uint_le(near->over_at - begun, 11000 * MS);
    ck_assert(quic_empty(w->client.q) && quic_empty(w->server.q));
    wire_free(w);
}
END_TEST

START_TEST(a_server_that_wants_nobody_does_not_answer)
{
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    if (_i)
        quic_drain(w->server.q);
    else
        w->server.refuse = true;
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, near->overs);
    ck_assert_uint_eq(w->server.sent, 0);
    ck_assert_str_eq(near->why, "the handshake timed out");
    wire_free(w);
}
END_TEST

START_TEST(who_only_dials_accepts_nobody)
{
    struct wire *w = wire_new();

    end_open(&w->server, NULL);
    end_open(&w->client, NULL);
    wire_dial(w, NULL, w->server_print);
    wire_run(w, 20000 * MS);
    ck_assert_uint_eq(w->server.sent, 0);
    wire_free(w);
}
END_TEST

/* It is asked for by each connection, and those that are there go on with theirs. */
START_TEST(a_key_that_was_replaced_is_shown_from_then_on)
{
    struct wire *w = wire_new();
    alk_tls *t = wire_tls(w, false, "server", NULL, NULL);
    char print[ALK_TLS_FINGERPRINT], why[200];
    struct peer *first;

    end_open(&w->server, t);
    end_open(&w->client, NULL);
    first = wire_dial(w, NULL, w->server_print);
    agreed(w, first, w->server_print, w->client_print);
    ck_assert_int_eq(unlink(wire_path(w, "server", "key")), 0);
    wire_key(w, "server", print);
    ck_assert_int_eq(alk_tls_reload(t, why, sizeof why), 0);
    agreed(w, wire_dial(w, NULL, print), print, w->client_print);
    refused(w, wire_dial(w, NULL, w->server_print), "the server is another");
    say(first, open_stream(first), "hello");
    wire_run(w, 100 * MS);
    ck_assert_int_eq(first->overs, 0);
    alk_tls_unref(t);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic");
    TCase *t = tcase_create("handshake");

    tcase_add_test(t, raw_keys_prove_both_sides);
    tcase_add_test(t, a_client_may_show_nothing);
    tcase_add_test(t, a_certificate_is_verified_by_name_and_anchor);
    tcase_add_test(t, a_certificate_is_verified_by_its_fingerprint);
    tcase_add_test(t, a_server_with_both_shows_what_is_pinned);
    tcase_add_test(t, another_key_than_the_pinned_one_is_refused);
    tcase_add_test(t, a_raw_key_that_nothing_vouches_for_is_refused);
    tcase_add_test(t, a_certificate_in_place_of_a_pinned_key_is_refused);
    tcase_add_test(t, a_key_in_place_of_a_pinned_certificate_is_refused);
    tcase_add_test(t, a_key_of_another_kind_is_no_raw_key);
    tcase_add_test(t, a_client_is_ready_when_the_server_has_accepted_it);
    tcase_add_test(t, a_handshake_that_does_not_come_on_is_given_up_by_both);
    tcase_add_loop_test(t, a_server_that_wants_nobody_does_not_answer, 0, 2);
    tcase_add_test(t, who_only_dials_accepts_nobody);
    tcase_add_test(t, a_key_that_was_replaced_is_shown_from_then_on);
    suite_add_tcase(s, t);
    return run_suite(s);
}
