/* Event gateways: a token that is revoked while nothing happens, a graceful stop with work under way, and what is no
 * eviction. */
#include "support/suite.h"
#include "uv/events_rig.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static struct client a, b;

/* ---- revoked on an idle loop ------------------------------------------------------------------- */

static bool revoked;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    return revoked ? ALK_KIND_NONE : rig_by_token(ud, token, len, out);
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return revoked ? 2 : 1;
}

START_TEST(a_revoked_client_of_an_idle_loop_is_closed_soon)
{
    struct feed *f = feed_new();
    alk_identity_provider p = {.size = sizeof(alk_identity_provider),
                               .by_token = by_token,
                               .by_fingerprint = rig_by_fingerprint,
                               .generation = generation,
                               .ud = f->r};
    uint64_t next;

    f->r->options.identities = &p;
    f->r->limits.ping_ms = 0;
    f->r->limits.idle_ms = 0;
    feed_serve(f);
    feed_connect(f, &a, CONNECT_AS_TESTER);
    rig_steps(f->r, 20);
    /* The loop is to come back without any of the clients' doing. */
    next = alk_dispatcher_turn(f->r->d, f->r->d->now);
    ck_assert_uint_le(next, f->r->d->now + UINT64_C(1000000000));
    revoked = true;
    for (int rounds = 0; !f->disconnects && rounds < 20; rounds++)
        uv_run(&f->r->uv, UV_RUN_ONCE); /* sleeps until the loop's own timer */
    ck_assert_str_eq(f->said, "1 connect\n1 disconnect 1008\n");
    ck_assert_int_eq(wsc_closed(&a), 1008);
    client_close(&a);
    feed_free(f);
}
END_TEST

/* ---- a graceful stop --------------------------------------------------------------------------- */

struct outcome {
    int ends, why;
};

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct outcome *o = ud;

    (void)call, (void)fault;
    o->ends++;
    o->why = why;
}

static void call(struct feed *f, alk_client *c)
{
    alk_call_options o = {.size = sizeof o};

    o.on_end = on_end;
    o.ud = f->ud;
    must(!alk_client_call(c, TEXT("t/later"), TEXT("1"), &o, NULL));
}

static void stop(struct feed *f)
{
    alk_loop_drain(f->r->l, rig_on_drained, f->r);
    rig_until(f->r, f->r->d->draining);
    rig_steps(f->r, 20);
}

START_TEST(a_call_of_a_client_is_finished_in_a_graceful_stop)
{
    struct feed *f = feed_start();
    struct outcome o = {.ends = 0};

    f->ud = &o;
    f->at_event = call;
    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    wsc_text(&a, EVENT("say", "2"));
    rig_until(f->r, f->r->later.call);
    stop(f);
    ck_assert_int_eq(wsc_closed(&b), 1001); /* nothing of it runs */
    ck_assert_str_eq(f->said, "1 connect\n2 connect\n1 say 2\n2 disconnect 1001\n");
    ck_assert_int_eq(o.ends, 0);
    ck_assert_int_eq(f->r->drained, 0);
    must(!alk_call_reply(f->r->later.call, "1", 1));
    ck_assert_int_eq(wsc_closed(&a), 1001);
    ck_assert_int_eq(o.ends, 1);
    ck_assert_int_eq(o.why, ALK_END_OK);
    client_close(&a);
    client_close(&b);
    rig_until(f->r, f->r->drained);
    ck_assert_ptr_nonnull(strstr(f->said, "1 disconnect 1001\n"));
    feed_free(f);
}
END_TEST

/* And those behind it. */
START_TEST(an_event_of_a_client_is_finished_in_a_graceful_stop)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "later 1");
    stop(f);
    ck_assert_str_eq(f->said, "1 connect\n1 later 1\n");
    must(!alk_client_send(f->clients[1], TEXT("still"), TEXT("1")));
    must(!alk_client_next(f->clients[1]));
    wsc_expect(&a, EVENT("still", "1"));
    ck_assert_int_eq(wsc_closed(&a), 1001);
    client_close(&a);
    rig_until(f->r, f->r->drained);
    ck_assert_str_eq(f->said, "1 connect\n1 later 1\n1 say 2\n1 disconnect 1001\n");
    feed_free(f);
}
END_TEST

static void drain(void *ud)
{
    struct rig *r = ud;

    alk_loop_drain(r->l, rig_on_drained, r);
}

/* It has been read and not been looked at when the stop begins: both come in the same poll. */
START_TEST(an_event_that_has_come_before_a_graceful_stop_is_handled)
{
    struct feed *f = feed_start();
    uint64_t since = now_ms();
    int unsent = 1;

    feed_connect(f, &a, CONNECT);
    rig_steps(f->r, 5);
    wsc_text(&a, EVENT("echo", "1"));
    while (unsent && now_ms() < since + CLIENT_PATIENCE)
        ck_assert_int_eq(ioctl(a.fd, SIOCOUTQ, &unsent), 0);
    ck_assert_int_eq(alk_loop_post(f->r->l, drain, f->r), ALK_OK);
    wsc_expect(&a, EVENT("echo", "1")); /* it can still be answered */
    ck_assert_int_eq(wsc_closed(&a), 1001);
    client_close(&a);
    rig_until(f->r, f->r->drained);
    ck_assert_str_eq(f->said, "1 connect\n1 disconnect 1001\n");
    feed_free(f);
}
END_TEST

/* An event that calls, in the stop itself. */
START_TEST(a_call_that_an_event_makes_in_a_graceful_stop_ends_before_its_client)
{
    struct feed *f = feed_start();
    struct outcome o = {.ends = 0};

    f->ud = &o;
    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "1"));
    feed_until(f, 1, "later 1");
    call(f, f->clients[1]);
    rig_until(f->r, f->r->later.call);
    stop(f);
    must(!alk_call_reply(f->r->later.call, "1", 1));
    rig_until(f->r, o.ends);
    ck_assert_int_eq(o.why, ALK_END_OK);
    rig_steps(f->r, 10);
    ck_assert_int_eq(f->disconnects, 0); /* the event is not done */
    must(!alk_client_next(f->clients[1]));
    ck_assert_int_eq(wsc_closed(&a), 1001);
    client_close(&a);
    rig_until(f->r, f->r->drained);
    feed_free(f);
}
END_TEST

/* What is never done ends with the time of the stop. */
START_TEST(a_graceful_stop_of_clients_ends_at_its_time_out)
{
    struct feed *f = feed_new();
    struct outcome o = {.ends = 0};

    f->r->limits.drain_ms = 100;
    f->r->limits.close_ms = 100;
    f->ud = &o;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    wsc_text(&b, EVENT("later", "1"));
    feed_until(f, 2, "later 1");
    call(f, f->clients[1]);
    rig_until(f->r, f->r->later.call);
    alk_loop_drain(f->r->l, rig_on_drained, f->r);
    rig_until(f->r, f->r->drained);
    ck_assert_int_eq(f->disconnects, 2);
    ck_assert_int_eq(o.ends, 1);
    ck_assert_int_eq(o.why, ALK_END_CLOSED);
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* ---- evictions --------------------------------------------------------------------------------- */

START_TEST(a_message_that_is_refused_for_lack_of_room_is_no_eviction)
{
    static char text[40000];
    struct feed *f = feed_new();

    f->r->limits.message_budget = 30000;
    f->r->limits.body_timeout_ms = 200;
    feed_serve(f);
    memset(text, ' ', sizeof text);
    memcpy(text, TEXT(EVENT("say", "1")));
    feed_connect(f, &a, CONNECT);
    wsc_frame(&a, 0x80 | WSC_TEXT, text, sizeof text);
    ck_assert_int_eq(wsc_closed(&a), 1013);
    rig_until(f->r, f->disconnects);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 0);
    ck_assert_str_eq(f->log, "");
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(a_client_that_is_closed_with_1013_is_no_eviction)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    ck_assert_int_eq(alk_client_close(f->clients[1], 1013), ALK_OK);
    ck_assert_int_eq(wsc_closed(&a), 1013);
    wsc_close(&b, 1013);
    ck_assert_int_eq(wsc_closed(&b), 1013);
    rig_until(f->r, f->disconnects == 2);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 0);
    ck_assert_str_eq(f->log, "");
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

MAIN("events_life", a_revoked_client_of_an_idle_loop_is_closed_soon,
     a_call_of_a_client_is_finished_in_a_graceful_stop,
     an_event_of_a_client_is_finished_in_a_graceful_stop,
     an_event_that_has_come_before_a_graceful_stop_is_handled,
     a_call_that_an_event_makes_in_a_graceful_stop_ends_before_its_client,
     a_graceful_stop_of_clients_ends_at_its_time_out,
     a_message_that_is_refused_for_lack_of_room_is_no_eviction,
     a_client_that_is_closed_with_1013_is_no_eviction)
