/* How a QUIC connection goes on and ends: other addresses, new keys, silence, closes of either
 * side, and what may be asked of it when it is over. */
#include "quic_raw_wire.h"

static void talk(struct wire *w)
{
    uint64_t s = open_stream(w->near);

    say(w->near, s, "ping");
    quic_finish(w->near->c, s);
    wire_until(w, peer_stream(w->far, s)->ended);
    ck_assert(got(w->far, s, "ping"));
    say(w->far, s, "pong");
    quic_finish(w->far->c, s);
    wire_until(w, peer_stream(w->near, s)->ended);
    ck_assert(got(w->near, s, "pong"));
}

/* ---- addresses ------------------------------------------------------------------------------- */

START_TEST(a_client_behind_another_address_goes_on)
{
    char text[QUIC_ADDRESS_TEXT];
    struct wire *w = wire_connected();

    talk(w);
    ck_assert_str_eq(quic_remote(w->far->c, text), "10.0.0.1");
    w->client.shown = address_of(0x0a000001u, 50001);
    talk(w);
    w->client.shown = address_of(0x0a000005u, 50002);
    talk(w);
    wire_run(w, 1000 * MS);
    talk(w);
    ck_assert_str_eq(quic_remote(w->far->c, text), "10.0.0.5");
    ck_assert_int_eq(w->far->readies, 1);
    ck_assert(!w->near->overs && !w->far->overs);
    wire_free(w);
}
END_TEST

START_TEST(a_client_moves_to_another_address_of_its_own)
{
    char text[QUIC_ADDRESS_TEXT];
    struct quic_address other = address_of(0x0a000007u, 50007);
    struct wire *w = wire_connected();

    talk(w);
    wire_run(w, 100 * MS);
    ck_assert_int_eq(quic_migrate(w->near->c, &other, w->now), 0);
    talk(w);
    wire_run(w, 1000 * MS);
    ck_assert_str_eq(quic_remote(w->far->c, text), "10.0.0.7");
    w->client.address = w->client.shown = other;
    talk(w);
    ck_assert_int_eq(quic_migrate(w->far->c, &w->server.address, w->now), -1);
    talk(w);
    ck_assert(!w->near->overs && !w->far->overs);
    wire_free(w);
}
END_TEST

/* By a NAT first, under the same id, and by itself before the way back has been given up. ngtcp2
 * 1.24 counts the id that it retires for this twice, and ends the connection: both know it then. */
START_TEST(a_client_that_moves_twice_in_a_moment_is_not_left_half_alive)
{
    struct quic_address other = address_of(0x0a000007u, 50007);
    struct wire *w = wire_connected();

    talk(w);
    wire_run(w, 100 * MS);
    w->client.shown = address_of(0x0a000001u, 50001);
    talk(w);
    ck_assert_int_eq(quic_migrate(w->near->c, &other, w->now), 0);
    w->client.address = w->client.shown = other;
    talk(w);
    wire_run(w, 1000 * MS);
    ck_assert_int_eq(w->near->overs, w->far->overs);
    if (!w->near->overs)
        talk(w);
    wire_free(w);
}
END_TEST

static size_t to_liar, from_liar;

static void count_bytes(struct wire *w, const struct packet *p)
{
    (void)w;
    to_liar += p->len;
}

static unsigned lies;

/* The packet comes from another address before it comes from its own. */
static bool lie(struct wire *w, struct packet *p)
{
    struct quic_address liar = address_of(0x0c000001u, 7);

    if (lies && same_address(&p->to, &w->server.shown) &&
        same_address(&p->from, &w->client.shown)) {
        struct packet *copy = malloc(sizeof *copy + p->len);

        lies--;
        from_liar += p->len;
        memcpy(copy, p, sizeof *p + p->len);
        copy->from = liar;
        end_feed(&w->server, copy);
        end_flush(&w->server);
        free(copy);
    }
    return true;
}

/* Somebody on the way sends the client's packets from an address that is not his. */
START_TEST(a_false_address_gets_three_times_what_came_from_it_and_the_client_goes_on)
{
    static char big[200000];
    char text[QUIC_ADDRESS_TEXT];
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    w->nobody = count_bytes;
    say(w->near, s, "give me much");
    wire_run(w, 100 * MS);
    w->filter = lie;
    lies = 1;
    say(w->near, s, "more");
    wire_run(w, 11 * MS);
    ck_assert_uint_eq(lies, 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(quic_send(w->far->c, s, big, sizeof big), 0);
    wire_until(w, peer_stream(w->near, s)->frames == 5);
    wire_run(w, 5000 * MS);
    ck_assert_uint_le(to_liar, 3 * from_liar);
    ck_assert_str_eq(quic_remote(w->far->c, text), "10.0.0.1");
    ck_assert(!w->near->overs && !w->far->overs);
    wire_free(w);
}
END_TEST

/* Closed while the false address is looked at: it gets no more than before, and the client hears of
 * it when it says something. */
START_TEST(a_close_is_repeated_to_where_it_is_asked_for)
{
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near);

    w->nobody = count_bytes;
    say(w->near, s, "hello");
    wire_run(w, 100 * MS);
    w->filter = lie;
    lies = 1;
    say(w->near, s, "more");
    wire_run(w, 10 * MS);
    ck_assert_uint_eq(lies, 0);
    quic_close(w->far->c, 1, "good-bye");
    say(w->near, s, "are you there?");
    wire_run(w, 100 * MS);
    ck_assert_int_eq(w->near->overs, 1);
    ck_assert_int_eq(w->near->code, 1);
    ck_assert_uint_le(to_liar, 3 * from_liar);
    wire_free(w);
}
END_TEST

/* ---- keys ------------------------------------------------------------------------------------ */

START_TEST(keys_are_renewed_by_either_side)
{
    struct wire *w = wire_connected();

    talk(w);
    for (int i = 0; i < 10; i++) {
        struct peer *p = i % 3 ? w->near : w->far;

        /* The next keys are made with the first packet behind a while. */
        wire_run(w, 2000 * MS);
        talk(w);
        ck_assert(quic_update_keys(p->c, w->now));
        ck_assert(!quic_update_keys(p->c, w->now));
        talk(w);
    }
    ck_assert(!w->near->overs && !w->far->overs);
    wire_free(w);
}
END_TEST

START_TEST(keys_are_not_renewed_before_the_handshake_is_over)
{
    struct wire *w = wire_new();
    struct peer *p;

    wire_open(w);
    p = wire_dial(w, NULL, w->server_print);
    ck_assert(!quic_update_keys(p->c, w->now));
    ck_assert_int_eq(quic_migrate(p->c, &w->client.address, w->now), -1);
    wire_free(w);
}
END_TEST

/* ---- silence --------------------------------------------------------------------------------- */

START_TEST(who_is_silent_is_given_up)
{
    struct wire *w = wire_connected();
    uint64_t begun = w->now;

    wire_run(w, 29000 * MS);
    ck_assert(!w->near->overs && !w->far->overs);
    wire_run(w, 3000 * MS);
    ck_assert(w->near->overs == 1 && w->far->overs == 1);
    ck_assert_str_eq(w->near->why, "the remote is not heard any more");
    ck_assert_int_eq(w->far->code, -1);
    ck_assert_uint_ge(w->near->over_at - begun, 30000 * MS);
    ck_assert(quic_empty(w->server.q) && quic_empty(w->client.q));
    ck_assert_uint_eq(quic_deadline(w->server.q), NEVER);
    wire_free(w);
}
END_TEST

START_TEST(keep_alive_keeps_a_silent_connection)
{
    struct wire *w = wire_new();

    w->client.limits.keep_alive = 10000 * MS;
    wire_open(w);
    wire_connect(w);
    wire_run(w, 300000 * MS);
    ck_assert(!w->near->overs && !w->far->overs);
    talk(w);
    w->server.deaf = true;
    wire_run(w, 100000 * MS);
    ck_assert_int_eq(w->near->overs, 1);
    wire_free(w);
}
END_TEST

START_TEST(the_shorter_of_both_time_outs_is_that_of_both)
{
    struct wire *w = wire_new();

    w->client.limits.idle_timeout = 4000 * MS;
    wire_open(w);
    wire_connect(w);
    wire_run(w, 6000 * MS);
    ck_assert(w->near->overs == 1 && w->far->overs == 1);
    wire_free(w);
}
END_TEST

/* ---- closes ---------------------------------------------------------------------------------- */

START_TEST(a_close_tells_both_sides_its_code)
{
    static const uint64_t codes[] = {0, 1, 3, (1ull << 62) - 1};
    struct wire *w = wire_connected();
    struct peer *from = _i & 1 ? w->near : w->far, *to = _i & 1 ? w->far : w->near;
    uint64_t begun = w->now;

    talk(w);
    quic_close(from->c, codes[_i / 2], "enough\n\x1b[0m");
    quic_close(from->c, 77, "once is enough");
    ck_assert_int_eq(from->overs, 0);
    wire_run(w, 50 * MS);
    ck_assert_int_eq(from->overs, 1);
    ck_assert_int_eq(to->overs, 1);
    ck_assert_int_eq(from->code, (int64_t)codes[_i / 2]);
    ck_assert_int_eq(to->code, (int64_t)codes[_i / 2]);
    ck_assert_str_eq(to->why, "closed by the remote: enough??[0m");
    ck_assert_uint_le(to->over_at - begun, 200 * MS);
    ck_assert(!quic_empty(w->server.q) && !quic_empty(w->client.q));
    wire_run(w, 3000 * MS);
    ck_assert(quic_empty(w->server.q) && quic_empty(w->client.q));
    wire_free(w);
}
END_TEST

/* RFC 9000, 10.2.3: what the application says is not said before it is known who hears it. */
START_TEST(a_client_that_closes_within_the_handshake_says_no_more_than_that)
{
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, wire_far(w));
    quic_close(near->c, 3, "a secret reason");
    wire_run(w, 1000 * MS);
    ck_assert_int_eq(near->overs, 1);
    ck_assert_int_eq(near->code, 3);
    ck_assert_int_eq(wire_far(w)->overs, 1);
    ck_assert_int_eq(wire_far(w)->code, -1);
    ck_assert_str_eq(wire_far(w)->why, "the remote closed with the QUIC error 0xc");
    wire_free(w);
}
END_TEST

START_TEST(a_server_that_closes_within_the_handshake_is_heard)
{
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, wire_far(w));
    quic_close(wire_far(w)->c, 3, "x");
    wire_run(w, 1000 * MS);
    ck_assert_int_eq(near->overs, 1);
    ck_assert_int_eq(near->readies, 0);
    ck_assert_int_eq(wire_far(w)->overs, 1);
    wire_free(w);
}
END_TEST

START_TEST(a_dropped_connection_says_nothing)
{
    struct wire *w = wire_connected();
    size_t before;

    talk(w);
    wire_run(w, 1000 * MS);
    before = w->client.sent;
    quic_drop(w->near->c, "the network is gone");
    quic_drop(w->near->c, "again");
    wire_run(w, 1000 * MS);
    ck_assert_int_eq(w->near->overs, 1);
    ck_assert_int_eq(w->near->code, -1);
    ck_assert_str_eq(w->near->why, "the network is gone");
    ck_assert_uint_eq(w->client.sent, before);
    ck_assert(quic_empty(w->client.q));
    ck_assert_int_eq(w->far->overs, 0);
    wire_free(w);
}
END_TEST

static bool nothing_to_client(struct wire *w, struct packet *p)
{
    (void)w;
    return !same_address(&p->to, &w->client.shown);
}

/* The remote has not heard it and goes on: it is told again, less and less often. */
START_TEST(a_close_is_repeated_with_back_off)
{
    struct wire *w = wire_connected();
    uint8_t packet[60] = {0x40};
    struct quic_datagram d = {.local = w->server.address, .remote = w->client.address};
    struct packet *p;
    unsigned answers = 0;

    talk(w);
    wire_run(w, 100 * MS);
    w->filter = nothing_to_client;
    say(w->near, open_stream(w->near), "x");
    end_flush(&w->client);
    p = container_of(w->packets.next, struct packet, link);
    ck_assert_uint_le(p->len, sizeof packet);
    memcpy(packet, p->data, p->len);
    d.data = packet;
    d.len = p->len;
    quic_close(w->far->c, 2, "x");
    end_flush(&w->server);
    w->server.datagrams = 0;
    for (int i = 0; i < 1000; i++) {
        quic_feed(w->server.q, &d, w->now);
        end_flush(&w->server);
        if (i == 0)
            ck_assert_uint_eq(w->server.datagrams, 1);
    }
    answers = (unsigned)w->server.datagrams;
    ck_assert_uint_ge(answers, 5);
    ck_assert_uint_le(answers, 11);
    w->filter = NULL;
    wire_run(w, 100 * MS);
    ck_assert_int_eq(w->near->overs, 1);
    ck_assert_int_eq(w->near->code, 2);
    wire_free(w);
}
END_TEST

START_TEST(a_close_that_was_lost_is_heard_with_the_next_packet)
{
    struct wire *w = wire_connected();

    talk(w);
    wire_run(w, 1000 * MS);
    w->filter = nothing_to_client;
    quic_close(w->far->c, 2, "lost");
    wire_run(w, 15 * MS);
    w->filter = NULL;
    ck_assert_int_eq(w->near->overs, 0);
    say(w->near, open_stream(w->near), "x");
    wire_run(w, 25 * MS);
    ck_assert_int_eq(w->near->overs, 1);
    ck_assert_int_eq(w->near->code, 2);
    wire_free(w);
}
END_TEST

START_TEST(all_connections_are_closed_together)
{
    struct wire *w = wire_connected();
    struct peer *p[5];

    for (int i = 0; i < 5; i++) {
        wire_connect(w);
        p[i] = w->near;
    }
    quic_drain(w->server.q);
    quic_close_all(w->server.q, 0, "shutdown");
    wire_run(w, 50 * MS);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(p[i]->overs, 1);
        ck_assert_int_eq(p[i]->code, 0);
    }
    wire_run(w, 5000 * MS);
    ck_assert(quic_empty(w->server.q));
    wire_free(w);
}
END_TEST

/* ---- the end --------------------------------------------------------------------------------- */

/* All that may be asked of a connection, from the one event behind which nothing is. */
static void ask_everything(struct peer *p)
{
    char text[QUIC_ADDRESS_TEXT];
    uint64_t s = 0;

    ck_assert(!quic_open_stream(p->c, &s));
    ck_assert_int_eq(quic_send(p->c, 0, "x", 1), -1);
    quic_finish(p->c, 0);
    quic_pause(p->c, 0);
    quic_resume(p->c, 0);
    quic_reset(p->c, 0, 1);
    quic_set_mark(p->c, 5);
    quic_charge(p->c, NULL);
    ck_assert_uint_eq(quic_queued(p->c, 0), 0);
    ck_assert_uint_eq(quic_queued_all(p->c), 0);
    quic_remote(p->c, text);
    ck_assert(!quic_update_keys(p->c, p->end->w->now));
    ck_assert_int_eq(quic_migrate(p->c, &p->end->address, p->end->w->now), -1);
    quic_close(p->c, 5, "again");
    quic_drop(p->c, "again");
}

START_TEST(what_is_over_can_be_asked_anything)
{
    struct wire *w = wire_connected();

    talk(w);
    say(w->near, open_stream(w->near), "under way");
    w->client.on_over = w->server.on_over = ask_everything;
    if (_i == 0)
        quic_close(w->near->c, 1, "closed");
    else if (_i == 1)
        quic_drop(w->near->c, "dropped");
    else if (_i == 2)
        w->server.deaf = w->client.deaf = true;
    else
        end_close(&w->client);
    wire_run(w, 70000 * MS);
    if (_i < 3) {
        ck_assert_int_eq(w->near->overs, 1);
        ck_assert_int_eq(w->near->code, _i == 0 ? 1 : -1);
    }
    ck_assert_int_eq(w->far->overs, 1);
    ck_assert(quic_empty(w->server.q));
    wire_free(w);
}
END_TEST

static void close_when_ready(void *ud, const char *fingerprint, uint64_t now)
{
    struct peer *p = ud;

    peer_ready(ud, fingerprint, now);
    quic_close(p->c, 3, "not you");
}

START_TEST(who_is_refused_by_its_key_hears_so)
{
    struct quic_events events = peer_events;
    struct wire *w = wire_new();
    struct peer *near;

    wire_open(w);
    events.ready = close_when_ready;
    near = wire_dial(w, NULL, w->server_print);
    wire_until(w, wire_far(w));
    quic_adopt(wire_far(w)->c, &events, wire_far(w));
    wire_until(w, near->overs);
    ck_assert_int_eq(near->code, 3);
    ck_assert_str_eq(near->why, "closed by the remote: not you");
    ck_assert_int_eq(near->readies, 0);
    ck_assert_int_eq(wire_far(w)->overs, 1);
    wire_free(w);
}
END_TEST

/* Everything that there is, cut off behind so many steps. */
static bool steps(struct wire *w, int n)
{
    static char big[20000];
    uint64_t s;

    wire_open(w);
    w->near = wire_dial(w, NULL, w->server_print);
    for (int i = 0; i < n; i++) {
        struct peer *far = wire_far(w);

        if (w->near->readies && !w->near->overs && i % 3 == 0 && quic_open_stream(w->near->c, &s)) {
            quic_send(w->near->c, s, big, sizeof big);
            quic_finish(w->near->c, s);
        }
        if (far && far->readies && !far->overs && i % 4 == 0 && quic_open_stream(far->c, &s))
            quic_send(far->c, s, big, sizeof big);
        if (far && i == 60)
            quic_close(far->c, 1, "x");
        if (!wire_step(w, w->now + 60000 * MS))
            return false;
    }
    return true;
}

START_TEST(an_endpoint_is_freed_at_any_step)
{
    bool more = true;

    for (int n = 0; more && n < 200; n++) {
        struct wire *w = wire_new();

        more = steps(w, n);
        wire_free(w);
    }
    ck_assert(!more);
}
END_TEST

/* ---- the transport --------------------------------------------------------------------------- */

/* Whether the transport was woken since it was asked the last time. */
static bool woken(struct wire *w)
{
    bool was = w->client.woken;

    ck_assert_int_eq(was, quic_wants(w->client.q));
    end_flush(&w->client);
    wire_run(w, 1000 * MS);
    ck_assert(!quic_wants(w->client.q) && !w->client.woken);
    return was;
}

START_TEST(the_transport_is_woken_when_there_is_something_to_send)
{
    struct quic_address other = address_of(0x0a000007u, 50007);
    struct wire *w = wire_connected();
    uint64_t s = open_stream(w->near), second = open_stream(w->near);

    wire_run(w, 1000 * MS);
    woken(w);
    say(w->near, s, "x");
    ck_assert(woken(w));
    quic_pause(w->near->c, s);
    ck_assert(!woken(w));
    quic_resume(w->near->c, s);
    ck_assert(woken(w));
    quic_finish(w->near->c, s);
    ck_assert(woken(w));
    quic_reset(w->near->c, second, 1);
    ck_assert(woken(w));
    ck_assert(quic_update_keys(w->near->c, w->now));
    ck_assert(woken(w));
    ck_assert_int_eq(quic_migrate(w->near->c, &other, w->now), 0);
    ck_assert(woken(w));
    quic_close(w->near->c, 0, "x");
    ck_assert(woken(w));
    w->near = wire_dial(w, NULL, w->server_print);
    ck_assert(woken(w));
    quic_drop(w->near->c, "x");
    ck_assert(woken(w));
    ck_assert_int_eq(w->near->overs, 1);
    wire_free(w);
}
END_TEST

START_TEST(addresses_are_written_as_people_do)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};
    struct quic_address v4 = address_of(0xc0000201u, 443), v6 = {.len = sizeof in6};
    char text[QUIC_ADDRESS_TEXT];

    quic_address_text(&v4, text);
    ck_assert_str_eq(text, "192.0.2.1");
    ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr), 1);
    memcpy(v6.bytes, &in6, sizeof in6);
    quic_address_text(&v6, text);
    ck_assert_str_eq(text, "2001:db8::1");
    ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6.sin6_addr), 1);
    memcpy(v6.bytes, &in6, sizeof in6);
    quic_address_text(&v6, text);
    ck_assert_str_eq(text, "192.0.2.1");
}
END_TEST

/* ---- both at once ---------------------------------------------------------------------------- */

/* One endpoint dials and accepts on the same socket. */
START_TEST(an_endpoint_is_server_and_client_at_once)
{
    struct wire *w = wire_new();
    alk_tls *s = wire_tls(w, false, "server", NULL, NULL),
            *c = wire_tls(w, false, "client", NULL, NULL);
    struct quic_target to;
    struct peer *back;
    uint64_t id;

    end_open(&w->server, s);
    end_open(&w->client, c);
    wire_connect(w);
    back = peer_new(&w->server, NULL);
    to = (struct quic_target){.local = &w->server.address,
                              .remote = &w->client.address,
                              .host = "10.0.0.1",
                              .pin = w->client_print,
                              .tls = wire_tls(w, true, "server", NULL, NULL)};
    back->c = quic_connect(w->server.q, &to, &peer_events, back, w->now);
    alk_tls_unref(to.tls);
    wire_until(w, back->readies);
    ck_assert_str_eq(back->fingerprint, w->client_print);
    id = open_stream(back);
    say(back, id, "hello");
    wire_run(w, 100 * MS);
    ck_assert(got(container_of(w->client.peers.prev, struct peer, link), id, "hello"));
    talk(w);
    alk_tls_unref(s);
    alk_tls_unref(c);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic life");
    TCase *t = tcase_create("life");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_client_behind_another_address_goes_on);
    tcase_add_test(t, a_client_moves_to_another_address_of_its_own);
    tcase_add_test(t, a_client_that_moves_twice_in_a_moment_is_not_left_half_alive);
    tcase_add_test(t, a_false_address_gets_three_times_what_came_from_it_and_the_client_goes_on);
    tcase_add_test(t, a_close_is_repeated_to_where_it_is_asked_for);
    tcase_add_test(t, keys_are_renewed_by_either_side);
    tcase_add_test(t, keys_are_not_renewed_before_the_handshake_is_over);
    tcase_add_test(t, who_is_silent_is_given_up);
    tcase_add_test(t, keep_alive_keeps_a_silent_connection);
    tcase_add_test(t, the_shorter_of_both_time_outs_is_that_of_both);
    tcase_add_loop_test(t, a_close_tells_both_sides_its_code, 0, 8);
    tcase_add_test(t, a_client_that_closes_within_the_handshake_says_no_more_than_that);
    tcase_add_test(t, a_server_that_closes_within_the_handshake_is_heard);
    tcase_add_test(t, a_dropped_connection_says_nothing);
    tcase_add_test(t, a_close_is_repeated_with_back_off);
    tcase_add_test(t, a_close_that_was_lost_is_heard_with_the_next_packet);
    tcase_add_test(t, all_connections_are_closed_together);
    tcase_add_loop_test(t, what_is_over_can_be_asked_anything, 0, 4);
    tcase_add_test(t, who_is_refused_by_its_key_hears_so);
    tcase_add_test(t, an_endpoint_is_freed_at_any_step);
    tcase_add_test(t, the_transport_is_woken_when_there_is_something_to_send);
    tcase_add_test(t, addresses_are_written_as_people_do);
    tcase_add_test(t, an_endpoint_is_server_and_client_at_once);
    suite_add_tcase(s, t);
    return run_suite(s);
}
