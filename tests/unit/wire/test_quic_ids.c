/* Endpoints that share an address with others: the first byte of a server's ids is its mark, and
 * what belongs to no connection here is passed on, once. */
#include "quic_raw_wire.h"

#define MARK 7

static unsigned seen, long_ids, retries;

/* The server is w's: its ids are in what it sends with a long header, and in what it is sent with a
 * short one. */
static bool watch(struct wire *w, struct packet *p)
{
    const uint8_t *scid = p->data + 6 + p->data[5];

    if (same_address(&p->to, &w->server.address)) {
        must(p->data[0] & 0x80 || p->data[1] == MARK);
        seen += !(p->data[0] & 0x80);
    } else if (p->data[0] & 0x80) {
        must(scid[0] == 12 && scid[1] == MARK);
        long_ids++;
        retries += (p->data[0] & 0xf0) == 0xf0;
    }
    return true;
}

static void talk(struct wire *w)
{
    uint64_t s = open_stream(w->near);

    say(w->near, s, "hello");
    wire_run(w, 500 * MS);
    ck_assert(got(w->far, s, "hello"));
}

START_TEST(all_ids_of_a_server_have_its_mark)
{
    struct wire *w = wire_new();

    w->server.mark = MARK;
    w->filter = watch;
    wire_open(w);
    wire_connect(w);
    wire_run(w, 500 * MS);
    ck_assert_uint_ge(long_ids, 1);
    for (unsigned i = 0; i < 6; i++) {
        struct quic_address other = address_of(0x0a000005u + 2 * i, 50007);

        ck_assert_int_eq(quic_migrate(w->near->c, &other, w->now), 0);
        seen = 0;
        talk(w);
        ck_assert_uint_ge(seen, 1);
        w->client.address = w->client.shown = other;
    }
    ck_assert(!w->near->overs && !w->far->overs);
    wire_free(w);
}
END_TEST

START_TEST(a_retry_leads_to_the_one_that_asked)
{
    struct wire *w = wire_new();

    w->server.mark = MARK;
    w->server.limits.handshakes = 1;
    w->filter = watch;
    wire_open(w);
    wire_connect(w);
    ck_assert_uint_eq(retries, 1);
    talk(w);
    wire_free(w);
}
END_TEST

START_TEST(a_clients_ids_have_no_mark)
{
    unsigned marked = 0;
    struct wire *w = wire_new();

    w->client.mark = MARK;
    wire_open(w);
    for (unsigned i = 0; i < 40; i++) {
        uint8_t buf[2000];
        struct quic_batch b;

        ck_assert_ptr_nonnull(wire_dial(w, NULL, w->server_print));
        ck_assert_uint_ge(quic_pull(w->client.q, buf, sizeof buf, &b, w->now), 1200);
        marked += buf[6] == MARK;
        marked += buf[7 + buf[5]] == MARK;
    }
    ck_assert_uint_le(marked, 5);
    wire_free(w);
}
END_TEST

/* ---- passing on ------------------------------------------------------------------------------ */

static struct {
    unsigned calls, mark;
    bool begins, takes;
} asked;

static bool on_pass(void *ud, const struct quic_datagram *d, unsigned mark, bool begins)
{
    (void)ud;
    must(!d->passed && d->len);
    asked.calls++;
    asked.mark = mark;
    asked.begins = begins;
    return asked.takes;
}

static size_t answer(struct wire *w, const uint8_t *data, size_t len, bool passed)
{
    struct quic_datagram d = {.local = w->server.address,
                              .remote = address_of(RAW_HOST, 6000),
                              .data = data,
                              .len = len,
                              .passed = passed};
    static uint8_t out[2000];
    struct quic_batch b;

    memset(&asked, 0, offsetof(__typeof__(asked), takes));
    quic_feed(w->server.q, &d, w->now);
    return quic_pull(w->server.q, out, sizeof out, &b, w->now);
}

START_TEST(what_belongs_to_nobody_here_is_passed_on_once)
{
    struct wire *w = wire_new();
    uint8_t stray[60] = {0x40, 3};

    w->server.pass = on_pass;
    wire_open(w);
    asked.takes = true;
    ck_assert_uint_eq(answer(w, stray, sizeof stray, false), 0);
    ck_assert_uint_eq(asked.calls, 1);
    ck_assert_uint_eq(asked.mark, 3);
    ck_assert(!asked.begins);
    ck_assert_uint_eq(answer(w, stray, sizeof stray, true), 42);
    ck_assert_uint_eq(asked.calls, 0);
    asked.takes = false;
    ck_assert_uint_eq(answer(w, stray, sizeof stray, false), 42);
    ck_assert_uint_eq(asked.calls, 1);
    ck_assert_uint_eq(answer(w, stray, 5, false), 0); /* it has no whole id */
    ck_assert_uint_eq(asked.calls, 0);
    wire_free(w);
}
END_TEST

START_TEST(what_begins_a_connection_is_passed_on_as_such)
{
    struct wire *w = wire_new();
    uint8_t buf[1252];
    struct raw *r;

    w->server.pass = on_pass;
    wire_open(w);
    r = raw_of_wire(w);
    ck_assert_int_eq(raw_dial(r, keys.client_tls, w->now), 0);
    ck_assert_uint_eq(raw_pull(r, buf, sizeof buf, w->now), 1200);
    asked.takes = true;
    ck_assert_uint_eq(answer(w, buf, 1200, false), 0);
    ck_assert(asked.begins);
    ck_assert_uint_eq(asked.mark, buf[6]);
    ck_assert(list_empty(&w->server.peers));
    /* Too short to begin one. */
    ck_assert_uint_eq(answer(w, buf, 1000, false), 0);
    ck_assert(asked.calls == 1 && !asked.begins);
    ck_assert_uint_ge(answer(w, buf, 1200, true), 1200);
    ck_assert(!list_empty(&w->server.peers) && !asked.calls);
    /* And now it is its own. */
    answer(w, buf, 1200, false);
    ck_assert_uint_eq(asked.calls, 0);
    raw_free(r);
    wire_free(w);
}
END_TEST

START_TEST(what_is_its_own_is_not_passed_on)
{
    struct wire *w = wire_new();

    w->server.pass = on_pass;
    wire_open(w);
    wire_connect(w);
    ck_assert_uint_eq(asked.calls, 1); /* the first packet */
    w->client.shown = address_of(0x0a000003u, 50000);
    talk(w);
    ck_assert_uint_eq(asked.calls, 1);
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic ids");
    TCase *t = tcase_create("ids");

    tcase_add_test(t, all_ids_of_a_server_have_its_mark);
    tcase_add_test(t, a_retry_leads_to_the_one_that_asked);
    tcase_add_test(t, a_clients_ids_have_no_mark);
    tcase_add_test(t, what_belongs_to_nobody_here_is_passed_on_once);
    tcase_add_test(t, what_begins_a_connection_is_passed_on_as_such);
    tcase_add_test(t, what_is_its_own_is_not_passed_on);
    suite_add_tcase(s, t);
    return run_suite(s);
}
