/* Who comes to a QUIC endpoint without a connection: floods from addresses that are not theirs,
 * tokens, garbage, other versions, and packets of connections that it has forgotten. */
#include "quic_raw_wire.h"

/* ---- strangers ------------------------------------------------------------------------------- */

static void feed_from(struct wire *w, const struct quic_address *from, const uint8_t *data,
                      size_t len)
{
    struct quic_datagram d = {
        .local = w->server.address, .remote = *from, .data = data, .len = len};

    quic_feed(w->server.q, &d, w->now);
}

static struct quic_address stranger(unsigned n)
{
    return address_of(0x0c000000u + n, 1000);
}

/* An Initial as far as its header goes. */
static size_t make_initial(uint8_t buf[1200], uint32_t version)
{
    static const uint8_t head[] = {0xc3, 0, 0, 0, 0, 12};

    host_random(buf, 1200);
    memcpy(buf, head, sizeof head);
    for (int i = 0; i < 4; i++)
        buf[1 + i] = (uint8_t)(version >> (24 - 8 * i));
    buf[18] = 8;
    buf[27] = 0; /* no token */
    buf[28] = 0x40 | 1170 >> 8;
    buf[29] = 1170 & 255;
    return 1200;
}

/* n handshakes that do not come on, each from an address of its own. */
static void fill(struct wire *w, unsigned n)
{
    uint8_t buf[1252];

    for (unsigned i = 0; i < n; i++) {
        struct quic_address from = stranger(i);
        struct raw *r = raw_new(&raw_host, &from, &w->server.address);

        ck_assert_int_eq(raw_dial(r, keys.client_tls, w->now), 0);
        feed_from(w, &from, buf, raw_pull(r, buf, sizeof buf, w->now));
        raw_free(r);
    }
}

static unsigned peers(const struct end *e)
{
    unsigned n = 0;

    list_each(l, &e->peers) n++;
    return n;
}

/* ---- what is counted on the way -------------------------------------------------------------- */

static unsigned retries;

static bool watch(struct wire *w, struct packet *p)
{
    (void)w;
    retries += (p->data[0] & 0xf0) == 0xf0;
    return true;
}

/* ---- Retry ----------------------------------------------------------------------------------- */

START_TEST(from_a_quarter_of_the_handshakes_on_addresses_are_proved)
{
    struct wire *w = wire_new();

    wire_open(w);
    w->filter = watch;
    fill(w, 15);
    ck_assert_uint_eq(peers(&w->server), 15);
    wire_connect(w);
    ck_assert_uint_eq(retries, 0);
    fill(w, 1);
    ck_assert_uint_eq(peers(&w->server), 17);
    wire_connect(w);
    ck_assert_uint_eq(retries, 0); /* it had a token */
    fill(w, 10);
    ck_assert_uint_eq(peers(&w->server), 18);
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_proves_its_address_gets_in)
{
    struct wire *w = wire_new();

    wire_open(w);
    w->filter = watch;
    fill(w, 100);
    ck_assert_uint_eq(peers(&w->server), 16);
    wire_connect(w);
    ck_assert_uint_eq(retries, 1);
    say(w->near, open_stream(w->near), "hello");
    wire_run(w, 100 * MS);
    ck_assert(got(w->far, 0, "hello"));
    wire_free(w);
}
END_TEST

START_TEST(a_new_token_spares_the_retry_for_a_day_from_that_address)
{
    struct wire *w = wire_new();

    wire_open(w);
    wire_connect(w);
    wire_run(w, 100 * MS);
    w->filter = watch;
    fill(w, 16);
    wire_connect(w);
    ck_assert_uint_eq(retries, 0);
    w->client.shown = address_of(0x0a000003u, 50000);
    wire_connect(w);
    ck_assert_uint_eq(retries, 1);
    /* The token of that connection is for the new address. */
    wire_run(w, 100 * MS);
    w->client.shown = w->client.address;
    wire_connect(w);
    ck_assert_uint_eq(retries, 2);
    wire_run(w, 25 * 3600 * 1000 * MS);
    fill(w, 16);
    wire_connect(w);
    ck_assert_uint_eq(retries, 3);
    wire_free(w);
}
END_TEST

/* Each is cut off when the server has begun the handshake: at once, or behind a Retry. */
START_TEST(above_the_limit_nobody_is_answered)
{
    struct raw *r[5];
    struct wire *w = wire_new();

    w->server.limits.handshakes = 4;
    wire_open(w);
    for (unsigned i = 0; i < 5; i++) {
        r[i] = raw_of_wire(w);
        r[i]->local = address_of(RAW_HOST + 2 * i, 6000);
        raw_begin(w, r[i]);
        w->server.sent = 0;
        raw_flush(w, r[i]);
        wire_run(w, i ? 35 * MS : 15 * MS);
        ck_assert_uint_eq(peers(&w->server), i < 4 ? i + 1 : 4);
        if (i == 4) /* what answers is a Retry, and the retransmissions are the others' */
            ck_assert_uint_le(w->server.sent, 300);
        w->nobody = NULL;
    }
    for (unsigned i = 0; i < 5; i++)
        raw_free(r[i]);
    wire_free(w);
}
END_TEST

/* A raw client that has got its Retry, and the Initial with which it answers. */
static struct raw *retried(struct wire *w, uint8_t second[1252])
{
    struct raw *r = raw_of_wire(w);
    uint8_t buf[1252];
    size_t n;

    fill(w, 16);
    end_flush(&w->server);
    raw_begin(w, r);
    n = raw_pull(r, buf, sizeof buf, w->now);
    feed_from(w, &r->local, buf, n);
    w->nobody = NULL;
    {
        static uint8_t out[2000];
        struct quic_batch b;

        n = quic_pull(w->server.q, out, sizeof out, &b, w->now);
        ck_assert_uint_eq(out[0] & 0xf0, 0xf0);
        raw_feed(r, out, n, w->now);
    }
    ck_assert(!r->over);
    ck_assert_uint_eq(raw_pull(r, second, 1252, w->now), 1200);
    return r;
}

/* What the server says to the packet goes to r. */
static void answer(struct wire *w, struct raw *r, const uint8_t *data,
                   const struct quic_address *from)
{
    static uint8_t out[2000];
    struct quic_batch b;
    size_t n;

    feed_from(w, from, data, 1200);
    while ((n = quic_pull(w->server.q, out, sizeof out, &b, w->now))) {
        if (same_address(&b.remote, from))
            raw_feed(r, out, n, w->now);
    }
}

enum { GOOD, OLD, FOREIGN, ALTERED, CUT, OTHER_ID, TOKENS };

START_TEST(a_token_that_is_not_right_is_refused)
{
    struct wire *w = wire_new();
    uint8_t second[1252], *token_len = second + 1 + 4 + 1 + 12 + 1 + 12;
    struct quic_address from;
    struct raw *r;
    unsigned before;

    wire_open(w);
    w->server.limits.handshake_timeout = 100000 * MS; /* so that it is full all the time */
    r = retried(w, second);
    from = r->local;
    before = peers(&w->server);
    ck_assert_uint_eq(token_len[0] & 0xc0, 0x40);
    if (_i == OLD)
        wire_run(w, 10001 * MS);
    else if (_i == FOREIGN)
        from = address_of(RAW_HOST + 4, 6000);
    else if (_i == ALTERED)
        token_len[20] ^= 1;
    else if (_i == CUT)
        token_len[1] -= 4;
    else if (_i == OTHER_ID)
        second[6] ^= 1;
    answer(w, r, second, &from);
    if (_i == GOOD) {
        ck_assert_uint_eq(peers(&w->server), before + 1);
        ck_assert(!r->over);
    } else {
        ck_assert_uint_eq(peers(&w->server), before);
    }
    if (_i == OLD || _i == ALTERED || _i == FOREIGN) {
        ck_assert(r->over);
        ck_assert_int_eq(r->failed, NGTCP2_ERR_DRAINING);
        ck_assert_uint_eq(ngtcp2_conn_get_ccerr(r->ng)->error_code, NGTCP2_INVALID_TOKEN);
    }
    raw_free(r);
    wire_free(w);
}
END_TEST

/* ---- floods ---------------------------------------------------------------------------------- */

enum { FLOOD = 100000 };

static unsigned *answered; /* bytes, by stranger */

static void to_stranger(struct wire *w, const struct packet *p)
{
    uint32_t host;

    (void)w;
    memcpy(&host, p->to.bytes + 4, 4);
    host = ntohl(host) - 0x0c000000u;
    ck_assert_uint_lt(host, FLOOD);
    answered[host] += (unsigned)p->len;
}

START_TEST(a_flood_from_false_addresses_gets_little_and_stops_nobody)
{
    struct wire *w = wire_new();
    uint8_t buf[1200];
    unsigned most = 0, silent = 0;

    answered = calloc(FLOOD, sizeof *answered);
    wire_open(w);
    w->nobody = to_stranger;
    fill(w, 16);
    for (unsigned i = 16; i < FLOOD; i++) {
        struct quic_address from = stranger(i);

        feed_from(w, &from, buf, make_initial(buf, 1));
        if (i % 32 == 0)
            wire_run(w, MS / 10);
        if (i == FLOOD / 2)
            w->near = wire_dial(w, NULL, w->server_print);
    }
    ck_assert_int_eq(w->near->readies, 1);
    ck_assert_uint_le(w->server.peak, 4096 * KIB);
    wire_run(w, 60000 * MS);
    for (unsigned i = 0; i < FLOOD; i++) {
        most = answered[i] > most ? answered[i] : most;
        silent += !answered[i];
    }
    ck_assert_uint_le(most, 3 * 1200);
    ck_assert_uint_le(silent, FLOOD / 2);
    for (unsigned i = 16; i < FLOOD; i++)
        ck_assert_uint_le(answered[i], 1200);
    free(answered);
    wire_free(w);
}
END_TEST

START_TEST(what_cannot_be_deciphered_leaves_nothing)
{
    struct wire *w = wire_new();
    uint8_t buf[1200];

    wire_open(w);
    for (unsigned i = 0; i < 1000; i++) {
        struct quic_address from = stranger(i);

        feed_from(w, &from, buf, make_initial(buf, 1));
        end_flush(&w->server);
    }
    ck_assert(quic_empty(w->server.q));
    ck_assert_uint_eq(w->server.sent, 0);
    wire_connect(w);
    wire_free(w);
}
END_TEST

/* Its first flight is one that TLS refuses: that ends at once, and what is left of it counts. */
START_TEST(handshakes_that_fail_at_once_do_not_pile_up)
{
    static const uint8_t no_hello[] = {0x06, 0, 8, 1, 0, 0, 4, 9, 9, 9, 9};
    struct wire *w = wire_new();
    uint8_t buf[1252];
    unsigned i;

    wire_open(w);
    w->filter = watch;
    w->nobody = to_stranger;
    answered = calloc(FLOOD, sizeof *answered);
    for (i = 0; i < 400; i++) {
        struct quic_address from = stranger(i);
        struct raw *r = raw_new(&raw_host, &from, &w->server.address);

        ck_assert_int_eq(raw_dial(r, keys.client_tls, w->now), 0);
        raw_frames(r, RAW_INITIAL, 0, no_hello, sizeof no_hello);
        feed_from(w, &from, buf, raw_pull(r, buf, sizeof buf, w->now));
        wire_run(w, MS);
        raw_free(r);
    }
    ck_assert_uint_le(peers(&w->server), 16);
    ck_assert_uint_le(w->server.bytes, 64 * KIB);
    wire_connect(w);
    ck_assert_uint_eq(retries, 1);
    wire_run(w, 60000 * MS);
    ck_assert(quic_empty(w->server.q));
    for (i = 0; i < 400; i++)
        ck_assert_uint_le(answered[i], 3600);
    free(answered);
    wire_free(w);
}
END_TEST

/* While the socket takes nothing, no more than so many answers wait. */
START_TEST(answers_that_wait_are_few)
{
    struct wire *w = wire_new();
    uint8_t buf[1200];
    struct quic_address from = stranger(1);

    wire_open(w);
    for (unsigned i = 0; i < 1000; i++)
        feed_from(w, &from, buf, make_initial(buf, 0x1a2a3a4a));
    ck_assert_uint_le(w->server.bytes, 64 * KIB);
    end_flush(&w->server);
    ck_assert_uint_eq(w->server.datagrams, 64);
    wire_free(w);
}
END_TEST

START_TEST(garbage_is_of_no_effect)
{
    struct wire *w = wire_connected();
    struct quic_address from = stranger(1);
    static uint8_t buf[1500];
    uint64_t s = open_stream(w->near);

    wire_run(w, 100 * MS);
    for (unsigned i = 0; i < 20000; i++) {
        size_t n = next_random(&host_seed) % (sizeof buf + 1);

        host_random(buf, n < 40 ? n : 40);
        if (n > 5 && i % 2)
            memcpy(buf + 1, "\0\0\0\1", 4);
        feed_from(w, i % 3 ? &from : &w->client.address, buf, n);
        if (i % 16 == 0)
            wire_run(w, MS / 10);
    }
    ck_assert_uint_eq(peers(&w->server), 1);
    say(w->near, s, "hello");
    wire_run(w, 100 * MS);
    ck_assert(got(w->far, s, "hello"));
    wire_free(w);
}
END_TEST

static bool alter(struct wire *w, struct packet *p)
{
    if (chance(w, 300) && p->len)
        p->data[next_random(&w->seed) % p->len] ^= (uint8_t)(1u << next_random(&w->seed) % 8);
    else if (chance(w, 100) && p->len)
        p->len = next_random(&w->seed) % p->len;
    return true;
}

START_TEST(altered_packets_are_lost_packets)
{
    struct wire *w = wire_new();
    char text[600];

    memset(text, 't', sizeof text);
    wire_open(w);
    w->seed += (uint64_t)_i * 7919;
    w->client.limits.handshake_timeout = w->server.limits.handshake_timeout = 100000 * MS;
    wire_connect(w);
    w->filter = alter;
    for (int i = 0; i < 200; i++) {
        uint64_t s = open_stream(w->near);

        ck_assert_int_eq(quic_send(w->near->c, s, text, sizeof text), 0);
        quic_finish(w->near->c, s);
        quic_finish(w->far->c, s);
        wire_until(w, peer_stream(w->far, s)->ended);
        quic_finish(w->far->c, s);
        wire_until(w, peer_stream(w->near, s)->ended);
        ck_assert_uint_eq(peer_stream(w->far, s)->got.len, sizeof text);
    }
    wire_free(w);
}
END_TEST

/* ---- versions -------------------------------------------------------------------------------- */

START_TEST(another_version_is_told_ours)
{
    struct wire *w = wire_new();
    struct quic_address from = stranger(1);
    uint8_t buf[1200], out[2000];
    struct quic_batch b;
    size_t n;

    wire_open(w);
    make_initial(buf, 0x1a2a3a4a);
    feed_from(w, &from, buf, 1199);
    ck_assert_uint_eq(quic_pull(w->server.q, out, sizeof out, &b, w->now), 0);
    feed_from(w, &from, buf, 1200);
    n = quic_pull(w->server.q, out, sizeof out, &b, w->now);
    ck_assert_uint_eq(n, 1 + 4 + 1 + 8 + 1 + 12 + 4);
    ck_assert(out[0] & 0x80);
    ck_assert_int_eq(memcmp(out + 1, "\0\0\0\0", 4), 0);
    ck_assert_int_eq(memcmp(out + 6, buf + 19, 8), 0);
    ck_assert_int_eq(memcmp(out + 15, buf + 6, 12), 0);
    ck_assert_int_eq(memcmp(out + 27, "\0\0\0\1", 4), 0);
    ck_assert(same_address(&b.remote, &from) && same_address(&b.local, &w->server.address));
    ck_assert_uint_eq(peers(&w->server), 0);
    wire_free(w);
}
END_TEST

/* To the first datagram of the client comes an answer of other versions (0), or of one that it has
 * offered, which is a lie (1). */
static bool other_versions(struct wire *w, struct packet *p)
{
    uint8_t vn[64] = {0x80, 0, 0, 0, 0};
    const uint8_t *dcid = p->data + 5, *scid = dcid + 1 + dcid[0];
    size_t n = 5;

    memcpy(vn + n, scid, 1u + scid[0]);
    n += 1u + scid[0];
    memcpy(vn + n, dcid, 1u + dcid[0]);
    n += 1u + dcid[0];
    memcpy(vn + n, w->ud ? "\0\0\0\1" : "\x1a\x2a\x3a\x4a", 4);
    wire_put(w, &p->to, &p->from, 0, vn, n + 4, w->now + w->delay);
    w->filter = NULL;
    return false;
}

START_TEST(a_server_of_other_versions_ends_the_attempt)
{
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    w->filter = other_versions;
    w->ud = _i ? w : NULL;
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, near->overs || near->readies);
    ck_assert_int_eq(near->readies, _i);
    ck_assert_int_eq(near->overs, !_i);
    wire_free(w);
}
END_TEST

/* ---- what was forgotten ---------------------------------------------------------------------- */

static void restart(struct wire *w)
{
    alk_tls *t = wire_tls(w, false, "server", NULL, NULL);

    wire_run(w, 100 * MS);
    end_close(&w->server);
    end_open(&w->server, t);
    alk_tls_unref(t);
}

START_TEST(a_server_that_was_restarted_says_that_it_knows_nothing)
{
    struct wire *w = wire_connected();
    uint64_t begun, s = open_stream(w->near);

    restart(w);
    begun = w->now;
    say(w->near, s, "are you there, in spite of everything that has come between us?");
    wire_until(w, w->near->overs);
    ck_assert_uint_le(w->near->over_at - begun, 100 * MS);
    ck_assert_int_eq(w->near->code, -1);
    ck_assert_ptr_nonnull(strstr(w->near->why, "does not know the connection any more"));
    wire_free(w);
}
END_TEST

START_TEST(a_reset_by_another_key_is_none)
{
    struct wire *w = wire_connected();
    char print[ALK_TLS_FINGERPRINT];

    wire_run(w, 100 * MS);
    unlink(wire_path(w, "server", "key"));
    wire_key(w, "server", print);
    restart(w);
    say(w->near, open_stream(w->near), "are you there, in spite of everything?");
    wire_run(w, 5000 * MS);
    ck_assert_uint_ge(w->server.datagrams, 1);
    ck_assert_int_eq(w->near->overs, 0);
    wire_until(w, w->near->overs);
    ck_assert_str_eq(w->near->why, "the remote is not heard any more");
    wire_free(w);
}
END_TEST

START_TEST(resets_are_shorter_than_what_they_answer_and_few)
{
    struct wire *w = wire_new();
    struct quic_address from = stranger(1);
    uint8_t buf[1200] = {0x40}, out[2000];
    struct quic_batch b;
    unsigned count = 0;

    wire_open(w);
    for (size_t n = 1; n < 1200; n++) {
        size_t back;

        host_random(buf + 1, n - 1);
        w->now += 20 * MS;
        feed_from(w, &from, buf, n);
        back = quic_pull(w->server.q, out, sizeof out, &b, w->now);
        ck_assert_uint_lt(back, n);
        ck_assert(back == 0 || (back >= 21 && !(out[0] & 0x80)));
        ck_assert_int_eq(back > 0, n >= 22);
    }
    w->now += 2000 * MS;
    for (unsigned i = 0; i < 10000; i++) {
        host_random(buf + 1, 99);
        feed_from(w, &from, buf, 100);
        count += quic_pull(w->server.q, out, sizeof out, &b, w->now) > 0;
        w->now += MS / 10;
    }
    ck_assert_uint_le(count, 200);
    ck_assert_uint_ge(count, 100);
    wire_free(w);
}
END_TEST

/* That answer to a client is none to a server, whatever is in it: ids of other versions have up to
 * 255 bytes, more than those of ours. */
START_TEST(a_version_negotiation_is_nothing_to_a_server)
{
    struct wire *w = wire_connected();
    struct quic_address from = stranger(1);
    uint8_t buf[1200], out[2000];
    struct quic_batch b;
    uint64_t s;

    wire_run(w, 100 * MS);
    while (quic_pull(w->server.q, out, sizeof out, &b, w->now))
        ;
    for (unsigned n = 0; n < 256; n++) {
        host_random(buf, sizeof buf);
        buf[0] |= 0x80;
        memset(buf + 1, 0, 4);
        buf[5] = (uint8_t)n;
        buf[6 + n] = (uint8_t)(n % 2 ? n : 8);
        w->now += 20 * MS;
        feed_from(w, n % 3 ? &from : &w->client.address, buf, sizeof buf);
        ck_assert_uint_eq(quic_pull(w->server.q, out, sizeof out, &b, w->now), 0);
    }
    s = open_stream(w->near);
    say(w->near, s, "hello");
    wire_run(w, 100 * MS);
    ck_assert(got(w->far, s, "hello"));
    wire_free(w);
}
END_TEST

START_TEST(a_drained_endpoint_keeps_its_connections_and_takes_no_more)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);
    struct peer *late;

    quic_drain(w->server.q);
    late = wire_dial(w, NULL, w->server_print);
    say(w->near, s, "hello");
    wire_run(w, 11000 * MS);
    ck_assert(got(w->far, s, "hello"));
    ck_assert_int_eq(late->readies, 0);
    ck_assert_uint_eq(peers(&w->server), 1);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic doors");
    TCase *t = tcase_create("doors");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, from_a_quarter_of_the_handshakes_on_addresses_are_proved);
    tcase_add_test(t, a_client_that_proves_its_address_gets_in);
    tcase_add_test(t, a_new_token_spares_the_retry_for_a_day_from_that_address);
    tcase_add_test(t, above_the_limit_nobody_is_answered);
    tcase_add_loop_test(t, a_token_that_is_not_right_is_refused, 0, TOKENS);
    tcase_add_test(t, a_flood_from_false_addresses_gets_little_and_stops_nobody);
    tcase_add_test(t, what_cannot_be_deciphered_leaves_nothing);
    tcase_add_test(t, handshakes_that_fail_at_once_do_not_pile_up);
    tcase_add_test(t, answers_that_wait_are_few);
    tcase_add_test(t, garbage_is_of_no_effect);
    tcase_add_loop_test(t, altered_packets_are_lost_packets, 0, 5);
    tcase_add_test(t, another_version_is_told_ours);
    tcase_add_loop_test(t, a_server_of_other_versions_ends_the_attempt, 0, 2);
    tcase_add_test(t, a_server_that_was_restarted_says_that_it_knows_nothing);
    tcase_add_test(t, a_reset_by_another_key_is_none);
    tcase_add_test(t, resets_are_shorter_than_what_they_answer_and_few);
    tcase_add_test(t, a_version_negotiation_is_nothing_to_a_server);
    tcase_add_test(t, a_drained_endpoint_keeps_its_connections_and_takes_no_more);
    suite_add_tcase(s, t);
    return run_suite(s);
}
