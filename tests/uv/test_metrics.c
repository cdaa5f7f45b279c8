/* What a gateway counts: event gateways, what waits for their clients, and a gateway that serves nothing but the metrics. */
#include "core/node.h"

#include "support/suite.h"
#include "uv/events_rig.h"

static struct client a, b;

static struct totals collect(const struct rig *r)
{
    struct totals t;

    node_totals(r->node, &t);
    return t;
}

START_TEST(handlers_of_events_that_fail_are_counted)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("say", "1"));
    feed_until(f, 1, "say 1");
    ck_assert_uint_eq(collect(f->r).sum.ws_handler_errors, 0);
    f->rc = ALK_ENOENT;
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "say 2");
    f->rc = ALK_OK;
    wsc_text(&a, EVENT("nobody", "3"));
    wsc_text(&a, EVENT("echo", "4"));
    wsc_expect(&a, EVENT("echo", "4"));
    ck_assert_uint_eq(collect(f->r).sum.ws_handler_errors, 1);
    ck_assert_uint_eq(collect(f->r).sum.discarded, 1);
    ck_assert_uint_eq(collect(f->r).sum.ws_messages_in, 4);
    ck_assert_uint_eq(collect(f->r).sum.ws_messages_out, 1);
    ck_assert_uint_eq(feed_stats(f).discarded, 1);
    client_close(&a);
    rig_until(f->r, f->disconnects == 1);
    feed_free(f);
}
END_TEST

START_TEST(sockets_of_event_gateways_are_counted)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    ck_assert_int_eq(wsc_try(f->r, &b, WS_UPGRADE("/feed", "Origin: https://evil\r\n")), 403);
    ck_assert_uint_eq(collect(f->r).sum.ws_upgrades, 1);
    ck_assert_uint_eq(collect(f->r).sum.ws_refused, 1);
    ck_assert_uint_eq(collect(f->r).sessions, 1);
    ck_assert_uint_eq(collect(f->r).sum.http_connections, 2);
    ck_assert_uint_eq(collect(f->r).http_connections, 1);
    ck_assert_uint_eq(collect(f->r).sum.connections, 0);
    client_close(&a);
    client_close(&b);
    rig_until(f->r, !collect(f->r).sessions && !collect(f->r).http_connections);
    feed_free(f);
}
END_TEST

START_TEST(what_waits_for_a_client_is_measured)
{
    struct feed *f = feed_new();
    size_t n = 12u << 20;
    char *text = malloc(n + 1);

    must(text);
    memset(text, '1', n);
    text[n] = 0;
    text[0] = text[n - 1] = '"';
    f->o.queue_bytes = 32u << 20;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    ck_assert_uint_eq(collect(f->r).queued, 0);
    ck_assert_int_eq(alk_client_send(f->clients[1], TEXT("x"), text, n), ALK_OK);
    rig_until(f->r, collect(f->r).queued > 1u << 20);
    client_close(&a);
    rig_until(f->r, f->disconnects == 1 && !collect(f->r).queued);
    free(text);
    feed_free(f);
}
END_TEST

static int serve_nothing(alk_request *r, void *ud)
{
    (void)r, (void)ud;
    return ALK_OK;
}

START_TEST(a_gateway_for_metrics_takes_no_routes)
{
    struct rig *r = rig_new();
    alk_route route = {sizeof route, 0, "GET", "/mine", serve_nothing, NULL};
    alk_events_options o = {.size = sizeof o};
    alk_events *ev;

    r->gate.metrics = 1;
    rig_start_bare(r);
    o.path = "/feed";
    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_EINVAL);
    ck_assert_int_eq(alk_gateway_add_events(&ev, r->g, &o), ALK_EINVAL);
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/metrics"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(client_header(&a, "content-type"), METRICS_TEXT_TYPE);
    ck_assert_ptr_nonnull(strstr(a.body, "\nalknet_http_connections_total 1\n"));
    client_send(&a, GET("/mine"));
    ck_assert_int_eq(client_answer(&a), 404);
    client_send(&a, CALL_ECHO);
    ck_assert_int_eq(client_answer(&a), 404);
    client_close(&a);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", "")), 404);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(in_stealth_metrics_are_for_holders_of_a_token)
{
    struct rig *r = rig_new();

    r->gate.metrics = 1;
    r->gate.stealth = 1;
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, GET("/metrics"));
    ck_assert_int_eq(client_answer(&a), 404);
    client_send(&a, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " RIG_TOKEN
                    "\r\n\r\n");
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
    rig_free(r);
}
END_TEST

MAIN("metrics", handlers_of_events_that_fail_are_counted, sockets_of_event_gateways_are_counted,
     what_waits_for_a_client_is_measured, a_gateway_for_metrics_takes_no_routes,
     in_stealth_metrics_are_for_holders_of_a_token)
