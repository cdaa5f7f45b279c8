/* Event gateways of one path on two loops of a node are one: what is sent on one reaches the clients of both. Both loops are on
 * one thread here, so that the test decides which of them moves. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/events_rig.h"

/* The second loop, with a gateway and a server of its own. */
struct second {
    uv_loop_t uv;
    alk_dispatcher *d;
    alk_loop *l;
    alk_gateway *g;
    alk_server *s;
    alk_events *ev;
    bool closed;
    int clients;
    char ids[2][40]; /* of its clients, in their order */
};

static struct client a, b, c;

static void on_closed(void *ud)
{
    ((struct second *)ud)->closed = true;
}

static void on_connect(alk_client *client, void *ud)
{
    struct second *x = ud;

    must(x->clients < 2);
    snprintf(x->ids[x->clients++], sizeof x->ids[0], "%s", alk_client_id(client));
}

static void second_open(struct second *x, struct feed *f)
{
    alk_events_options o = {.size = sizeof o};
    alk_server_options listen = f->r->listen;
    char err[200];

    memset(x, 0, sizeof *x);
    o.path = f->o.path;
    o.on_connect = on_connect;
    o.ud = x;
    ck_assert_int_eq(uv_loop_init(&x->uv), 0);
    ck_assert_int_eq(alk_dispatcher_new(&x->d, f->r->node), ALK_OK);
    ck_assert_int_eq(alk_loop_open(&x->l, &x->uv, x->d), ALK_OK);
    ck_assert_int_eq(alk_gateway_new(&x->g, x->d, &f->r->gate, err, sizeof err), ALK_OK);
    ck_assert_int_eq(alk_gateway_add_events(&x->ev, x->g, &o), ALK_OK);
    listen.gateway = x->g;
    ck_assert_int_eq(alk_server_open(&x->s, x->l, &listen, err, sizeof err), ALK_OK);
}

static void second_close(struct second *x)
{
    alk_loop_close(x->l, on_closed, x);
    for (int i = 0; i < 10000 && !x->closed; i++)
        uv_run(&x->uv, UV_RUN_NOWAIT);
    ck_assert(x->closed);
    alk_gateway_free(x->g);
    ck_assert_int_eq(uv_loop_close(&x->uv), 0);
}

static void both(struct second *x, struct feed *f, int ms)
{
    for (uint64_t since = now_ms(); now_ms() < since + (uint64_t)ms; usleep(200)) {
        uv_run(&f->r->uv, UV_RUN_NOWAIT);
        uv_run(&x->uv, UV_RUN_NOWAIT);
    }
}

static void second_connect(struct second *x, struct client *to)
{
    client_open(to, &x->uv, alk_server_port(x->s));
    client_send(to, CONNECT);
    ck_assert_int_eq(client_head(to), 101);
}

static void feed_two(struct second *x, struct feed **f)
{
    *f = feed_start();
    second_open(x, *f);
    feed_connect(*f, &a, CONNECT);
    second_connect(x, &b);
    second_connect(x, &c);
}

static void stop_two(struct second *x, struct feed *f)
{
    client_close(&a);
    client_close(&b);
    client_close(&c);
    second_close(x);
    feed_free(f);
}

START_TEST(all_and_some_are_reached_on_both_loops)
{
    const char *ids[3] = {NULL, "nobody", "01234567-0123-4123-8123-012345678901"};
    struct second x;
    struct feed *f;
    size_t sent;

    feed_two(&x, &f);
    ck_assert_uint_eq(alk_events_count(f->ev), 3);
    ck_assert_uint_eq(alk_events_count(x.ev), 3);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("1"), &sent), ALK_OK);
    ck_assert_uint_eq(sent, 1);
    ids[0] = x.ids[1];
    ck_assert_int_eq(alk_events_send_many(f->ev, ids, 3, TEXT("some"), TEXT("2"), &sent), ALK_OK);
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(alk_events_send_many(f->ev, NULL, 0, TEXT("none"), TEXT("3"), NULL), ALK_OK);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("4"), NULL), ALK_OK);
    ck_assert_int_eq(alk_events_send_all(x.ev, TEXT("back"), TEXT("5"), &sent), ALK_OK);
    ck_assert_uint_eq(sent, 2);
    ck_assert_ptr_null(alk_events_find(f->ev, TEXT(ids[0])));
    both(&x, f, 50);
    wsc_expect(&a, EVENT("all", "1"));
    wsc_expect(&a, EVENT("all", "4"));
    wsc_expect(&a, EVENT("back", "5"));
    wsc_expect(&b, EVENT("back", "5"));
    wsc_expect(&b, EVENT("all", "1"));
    wsc_expect(&b, EVENT("all", "4"));
    wsc_expect(&c, EVENT("back", "5"));
    wsc_expect(&c, EVENT("all", "1"));
    wsc_expect(&c, EVENT("some", "2"));
    wsc_expect(&c, EVENT("all", "4"));
    stop_two(&x, f);
}
END_TEST

/* What waits for it is bounded, and its clients learn that they have missed something. */
START_TEST(clients_of_a_loop_that_is_held_up_are_evicted_and_others_go_on)
{
    struct second x;
    struct feed *f;
    char *text = malloc(1u << 19);
    long live;

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', 1u << 19);
    text[0] = text[(1u << 19) - 1] = '"';
    feed_two(&x, &f);
    live = atomic_load(&f->r->live);
    for (int i = 0; i < 60; i++) {
        ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("much"), text, 1u << 19, NULL), ALK_OK);
        ck_assert_int_eq(wsc_next(&a), WSC_TEXT);
    }
    ck_assert_int_le(atomic_load(&f->r->live), live + 100);
    for (int i = 0; i < 1000 && alk_events_count(f->ev) > 1; i++)
        both(&x, f, 5);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    ck_assert_uint_eq(x.d->counts.metrics.ws_evictions, 2);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 0);
    free(text);
    stop_two(&x, f);
}
END_TEST

/* Where little waits, and for long: no client of that loop is slow, and none gets a part. */
START_TEST(clients_of_a_loop_that_stands_still_learn_that_they_have_missed_something)
{
    struct client *at[] = {&b, &c};
    struct second x;
    struct feed *f;

    feed_two(&x, &f);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("1"), NULL), ALK_OK);
    rig_steps(f->r, 1100);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("2"), NULL), ALK_OK);
    both(&x, f, 50);
    wsc_expect(&a, EVENT("all", "1"));
    wsc_expect(&a, EVENT("all", "2"));
    for (int i = 0; i < 2; i++) {
        wsc_expect(at[i], EVENT("all", "1"));
        ck_assert_int_eq(wsc_closed(at[i]), 1013);
        ck_assert_str_eq(at[i]->body + 2, "the loop was held up, and events were missed");
    }
    both(&x, f, 50);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    ck_assert_uint_eq(x.d->counts.metrics.ws_evictions, 2);
    stop_two(&x, f);
}
END_TEST

START_TEST(a_loop_that_goes_takes_its_clients_along_and_nothing_else)
{
    struct second x;
    struct feed *f;

    feed_two(&x, &f);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("1"), NULL), ALK_OK);
    second_close(&x);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("2"), NULL), ALK_OK);
    rig_steps(f->r, 20);
    wsc_expect(&a, EVENT("all", "1"));
    wsc_expect(&a, EVENT("all", "2"));
    client_close(&a);
    client_close(&b);
    client_close(&c);
    feed_free(f);
}
END_TEST

MAIN("events_loops", all_and_some_are_reached_on_both_loops,
     clients_of_a_loop_that_is_held_up_are_evicted_and_others_go_on,
     clients_of_a_loop_that_stands_still_learn_that_they_have_missed_something,
     a_loop_that_goes_takes_its_clients_along_and_nothing_else)
