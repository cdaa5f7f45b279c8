/* Event gateways: how clients end, what the node has to say, and calls on behalf of a client. */
#include "support/suite.h"
#include "uv/events_rig.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct client a, b, c;

/* ---- ends -------------------------------------------------------------------------------------- */

START_TEST(the_close_code_of_the_client_is_told)
{
    static const int codes[] = {1000, 1001, 3000, 4999};
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_close(&a, codes[_i]);
    ck_assert_int_eq(wsc_closed(&a), codes[_i]);
    client_ended(&a);
    client_close(&a);
    feed_connect(f, &a, CONNECT);
    wsc_frame(&a, 0x80 | WSC_CLOSE, "", 0);
    ck_assert_int_eq(wsc_closed(&a), 1005);
    client_close(&a);
    feed_connect(f, &a, CONNECT);
    wsc_frame(&a, WSC_CLOSE, "", 0);
    ck_assert_int_eq(wsc_closed(&a), 1002);
    client_close(&a);
    feed_connect(f, &a, CONNECT);
    client_reset(&a);
    feed_until(f, 4, "disconnect 1006");
    ck_assert_ptr_nonnull(strstr(f->said, "2 disconnect 1005\n"));
    ck_assert_ptr_nonnull(strstr(f->said, "3 disconnect 1002\n"));
    ck_assert_int_eq(f->disconnects, 4);
    feed_free(f);
}
END_TEST

static void close_now(struct feed *f, alk_client *client)
{
    alk_client_ref(client);
    must(alk_client_close(client, 4001) == ALK_OK);
    must(alk_client_close(client, 4001) == ALK_ECLOSED);
    must(alk_client_send(client, TEXT("x"), TEXT("1")) == ALK_ECLOSED);
    must(alk_events_find(f->ev, TEXT(alk_client_id(client))) == client);
    alk_client_unref(client);
}

/* From on_connect (0), a handler (1), one that goes on (2), or from outside (3). */
START_TEST(a_client_can_be_closed_from_everywhere)
{
    struct feed *f = feed_start();

    f->at_connect = _i == 0 ? close_now : NULL;
    f->at_event = _i == 1 || _i == 2 ? close_now : NULL;
    f->rc = _i == 2 ? ALK_EAGAIN : _i == 1 ? ALK_ECLOSED : ALK_OK;
    ck_assert_int_eq(wsc_try(f->r, &a, CONNECT), 101);
    if (_i) {
        wsc_text(&a, EVENT("say", "1"));
        wsc_text(&a, EVENT("say", "2")); /* not handled any more when it came along */
    }
    if (_i == 3) {
        feed_until(f, 1, "say 2");
        close_now(f, f->clients[1]);
        ck_assert_int_eq(f->disconnects, 0); /* not from within */
    }
    ck_assert_int_eq(wsc_closed(&a), 4001);
    ck_assert_str_eq(f->said, _i == 0   ? "1 connect\n1 disconnect 4001\n"
                              : _i == 3 ? "1 connect\n1 say 1\n1 say 2\n1 disconnect 4001\n"
                                        : "1 connect\n1 say 1\n1 disconnect 4001\n");
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_handler_errors, 0);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(only_codes_that_may_be_sent_are_taken)
{
    static const int bad[] = {0, -1, 999, 1002, 1004, 1005, 1006, 1007, 1012, 1015, 2999, 5000};
    static const int good[] = {1000, 1001, 1008, 1011, 1013, 3000, 4999};
    struct feed *f = feed_start();

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        feed_connect(f, &a, CONNECT);
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
            ck_assert_int_eq(alk_client_close(f->clients[i + 1], bad[k]), ALK_EINVAL);
        ck_assert_int_eq(alk_client_close(f->clients[i + 1], good[i]), ALK_OK);
        ck_assert_int_eq(wsc_closed(&a), good[i]);
        client_close(&a);
    }
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 0);
    feed_free(f);
}
END_TEST

/* Closes (0), resets (1), or goes on and does not answer the close (2): its slot is free in any case. */
START_TEST(one_that_leaves_during_its_event_is_gone_at_once)
{
    struct feed *f = feed_new();

    f->r->limits.websocket_sessions = 1;
    f->r->limits.close_ms = 50;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "later 1");
    if (_i == 0)
        wsc_close(&a, 1000);
    else if (_i == 1)
        client_reset(&a);
    else
        ck_assert_int_eq(alk_client_close(f->clients[1], 1000), ALK_OK);
    rig_until(f->r, f->disconnects);
    rig_steps(f->r, 100);
    ck_assert_str_eq(f->said, _i == 1 ? "1 connect\n1 later 1\n1 disconnect 1006\n"
                                      : "1 connect\n1 later 1\n1 disconnect 1000\n");
    if (_i != 1)
        client_close(&a);
    feed_connect(f, &a, CONNECT);
    client_close(&a);
    feed_free(f);
}
END_TEST

static void keep(struct feed *f, alk_client *client)
{
    f->ud = alk_client_ref(client);
}

/* After its own end (0), or that of the loop (1). */
START_TEST(a_handle_that_is_kept_says_closed)
{
    struct feed *f = feed_start();
    alk_call_options o = {.size = sizeof o};
    alk_client *kept;
    alk_call *call = NULL;

    f->at_connect = keep;
    feed_connect(f, &a, CONNECT_AS_TESTER);
    kept = f->ud;
    if (_i)
        rig_close(f->r);
    client_close(&a);
    rig_until(f->r, _i ? f->r->closed : f->disconnects);
    rig_until(f->r, f->disconnects == 1);
    ck_assert_int_eq(alk_client_send(kept, TEXT("x"), TEXT("1")), ALK_ECLOSED);
    ck_assert_int_eq(alk_client_next(kept), ALK_ECLOSED);
    ck_assert_int_eq(alk_client_touch(kept), ALK_ECLOSED);
    ck_assert_int_eq(alk_client_close(kept, 1000), ALK_ECLOSED);
    ck_assert_int_eq(alk_client_call(kept, TEXT("t/echo"), TEXT("1"), &o, &call), ALK_ECLOSED);
    ck_assert_ptr_null(call);
    ck_assert_uint_eq(strlen(alk_client_id(kept)), 36);
    ck_assert_str_eq(alk_identity_id(feed_session(kept).identity), "tester");
    ck_assert_str_eq(feed_session(kept).remote, "127.0.0.1");
    ck_assert_int_eq(feed_number(kept), 1);
    alk_client_unref(kept);
    feed_free(f);
}
END_TEST

START_TEST(a_message_above_the_limit_closes)
{
    /* message_bytes, websocket_bytes, anonymous_bytes; what an anonymous and a known client may send */
    static const uint32_t cases[][5] = {{0, 1000, 500, 500, 1000},
                                        {0, 400, 500, 400, 400},
                                        {300, 1000, 500, 300, 300},
                                        {2000, 1000, 500, 500, 2000}};
    static char text[4000];
    struct feed *f = feed_new();

    f->o.message_bytes = cases[_i][0];
    f->r->limits.websocket_bytes = cases[_i][1];
    f->r->limits.anonymous_bytes = cases[_i][2];
    feed_serve(f);
    memset(text, ' ', sizeof text);
    memcpy(text, TEXT(EVENT("say", "1")));
    for (int known = 0; known < 2; known++) {
        feed_connect(f, &a, known ? CONNECT_AS_TESTER : CONNECT);
        wsc_frame(&a, 0x80 | WSC_TEXT, text, cases[_i][3 + known]);
        wsc_frame(&a, 0x80 | WSC_TEXT, text, cases[_i][3 + known] + 1);
        ck_assert_int_eq(wsc_closed(&a), 1009);
        client_close(&a);
    }
    ck_assert_str_eq(f->said, "1 connect\n1 say 1\n1 disconnect 1009\n"
                              "2 connect\n2 say 1\n2 disconnect 1009\n");
    feed_free(f);
}
END_TEST

START_TEST(control_frames_between_fragments_do_not_count)
{
    static const char filler[300] = "";
    struct feed *f = feed_new();
    char text[300];

    f->o.message_bytes = 300;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    memset(text, ' ', sizeof text);
    memcpy(text, TEXT(EVENT("say", "1")));
    wsc_frame(&a, WSC_TEXT, text, 250);
    wsc_frame(&a, 0x80 | WSC_PONG, filler, 100);
    wsc_frame(&a, 0x80 | WSC_PING, filler, 100);
    wsc_frame(&a, 0x80, text + 250, 50);
    feed_until(f, 1, "say 1");
    ck_assert_int_eq(wsc_next(&a), WSC_PONG);
    wsc_frame(&a, WSC_TEXT, text, 250);
    wsc_frame(&a, 0x80, text, 51);
    ck_assert_int_eq(wsc_closed(&a), 1009);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(a_message_for_which_the_node_has_no_room_closes)
{
    static char text[40000];
    struct feed *f = feed_new();

    f->r->limits.message_budget = 30000;
    f->r->limits.body_timeout_ms = 200;
    feed_serve(f);
    memset(text, ' ', sizeof text);
    memcpy(text, TEXT(EVENT("say", "1")));
    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    wsc_frame(&a, 0x80 | WSC_TEXT, text, sizeof text);
    ck_assert_int_eq(wsc_closed(&a), 1013);
    wsc_text(&b, EVENT("say", "2"));
    feed_until(f, 2, "say 2");
    ck_assert_ptr_nonnull(strstr(f->said, "1 disconnect 1013\n"));
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* ---- the node ---------------------------------------------------------------------------------- */

#define SESSION WS_UPGRADE("/alknet/call", "Authorization: Bearer " RIG_TOKEN "\r\n")

START_TEST(clients_and_sessions_have_one_cap)
{
    struct feed *f = feed_new();
    struct client d;

    f->r->limits.websocket_sessions = 2;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    ck_assert_int_eq(wsc_try(f->r, &b, SESSION), 101);
    ck_assert_int_eq(wsc_try(f->r, &c, CONNECT), 503);
    ck_assert_str_eq(client_header(&c, "Retry-After"), "5");
    ck_assert_int_eq(wsc_try(f->r, &d, SESSION), 503);
    client_close(&c);
    client_close(&d);
    client_close(&b);
    rig_until(f->r, !feed_stats(f).connections);
    rig_steps(f->r, 10);
    feed_connect(f, &b, CONNECT);
    client_close(&a);
    rig_until(f->r, f->disconnects == 1);
    rig_steps(f->r, 10);
    ck_assert_int_eq(wsc_try(f->r, &a, SESSION), 101);
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* Who the token proves at the moment: scopes, id. */
static struct {
    uint64_t generation;
    const char *identity; /* NULL: nobody */
    int kind;
} now_known;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    (void)ud, (void)token, (void)len;
    if (!now_known.identity)
        return ALK_KIND_NONE;
    *out = alk_identity_new(TEXT(now_known.identity));
    return now_known.kind;
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return now_known.generation;
}

/* Nobody has the token any more (0), or somebody else has (1), or a peer of that name (2). */
START_TEST(a_client_whose_token_is_revoked_is_closed)
{
    static const alk_identity_provider provider = {.size = sizeof(alk_identity_provider),
                                                   .by_token = by_token,
                                                   .by_fingerprint = rig_by_fingerprint,
                                                   .generation = generation,
                                                   .ud = NULL};
    struct feed *f = feed_new();

    now_known.identity = "{\"id\":\"one\",\"scopes\":[]}";
    now_known.kind = ALK_KIND_KEY;
    f->r->options.identities = &provider;
    feed_serve(f);
    feed_connect(f, &a, CONNECT_AS_TESTER);
    feed_connect(f, &b, CONNECT);
    wsc_text(&a, EVENT("later", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "later 1");
    now_known.identity = "{\"id\":\"one\",\"scopes\":[\"t:secret\"]}";
    now_known.generation++;
    rig_steps(f->r, 10);
    ck_assert_int_eq(alk_identity_has_scope(feed_session(f->clients[1]).identity, "t:secret", 8),
                     1);
    ck_assert_int_eq(f->disconnects, 0);
    now_known.identity = _i == 0   ? NULL
                         : _i == 1 ? "{\"id\":\"two\",\"scopes\":[]}"
                                   : "{\"id\":\"one\",\"scopes\":[]}";
    now_known.kind = _i == 2 ? ALK_KIND_PEER : ALK_KIND_KEY;
    now_known.generation++;
    ck_assert_int_eq(wsc_closed(&a), 1008);
    ck_assert_str_eq(f->said, "1 connect\n2 connect\n1 later 1\n1 disconnect 1008\n");
    ck_assert_str_eq(f->log, "client.revoked - -\n");
    wsc_text(&b, EVENT("echo", "1"));
    wsc_expect(&b, EVENT("echo", "1"));
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(a_drain_closes_every_client_and_takes_no_more)
{
    struct feed *f = feed_new();

    f->r->limits.drain_delay_ms = 30;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    wsc_text(&b, EVENT("later", "1"));
    feed_until(f, 2, "later 1");
    alk_loop_drain(f->r->l, rig_on_drained, f->r);
    feed_connect(f, &c, CONNECT); /* it is still accepting */
    ck_assert_int_eq(wsc_closed(&a), 1001);
    ck_assert_int_eq(wsc_closed(&c), 1001);
    rig_steps(f->r, 20);
    ck_assert_int_eq(f->disconnects, 2);
    ck_assert_int_eq(f->r->drained, 0);
    ck_assert_int_eq(alk_client_next(f->clients[2]), ALK_OK);
    ck_assert_int_eq(wsc_closed(&b), 1001);
    wsc_close(&a, 1001);
    wsc_close(&b, 1001);
    wsc_close(&c, 1001);
    client_close(&a);
    client_close(&b);
    client_close(&c);
    rig_until(f->r, f->r->drained);
    ck_assert_str_eq(f->said, "1 connect\n2 connect\n2 later 1\n3 connect\n1 disconnect 1001\n"
                              "3 disconnect 1001\n2 disconnect 1001\n");
    feed_free(f);
}
END_TEST

static void close_loop(struct feed *f, alk_client *client)
{
    (void)client;
    rig_close(f->r);
}

/* From outside (0), from on_connect (1), a handler (2), on_disconnect (3). */
START_TEST(the_loop_may_close_while_clients_are_connected)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "later 1");
    f->at_connect = _i == 1 ? close_loop : NULL;
    f->at_event = _i == 2 ? close_loop : NULL;
    f->at_disconnect = _i == 3 ? close_loop : NULL;
    rig_client(f->r, &b);
    client_send(&b, CONNECT);
    rig_until(f->r, f->connects == 2);
    if (_i != 1)
        wsc_text(&b, EVENT("say", "3"));
    if (_i == 0)
        rig_close(f->r);
    else if (_i == 3)
        client_reset(&b);
    rig_until(f->r, f->r->closed);
    ck_assert_int_eq(f->disconnects, 2);
    ck_assert_ptr_nonnull(strstr(f->said, "1 disconnect 1006\n"));
    ck_assert_ptr_null(strstr(f->said, "say 2"));
    client_close(&a);
    if (_i != 3)
        client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(an_upgrade_without_memory_is_refused_and_costs_nothing)
{
    struct feed *f = feed_new();

    f->r->limits.websocket_sessions = 1;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    client_close(&a);
    rig_until(f->r, f->disconnects);
    rig_client(f->r, &b); /* accepted, and its head read, before memory is short */
    client_send(&b, "GET /feed HTTP/1.1\r\nHost: localhost\r\n");
    rig_steps(f->r, 20);
    atomic_store(&f->r->starve, true);
    client_send(&b, strstr(CONNECT, "Upgrade: "));
    rig_steps(f->r, 20);
    atomic_store(&f->r->starve, false);
    ck_assert_int_eq(f->connects, 1);
    client_close(&b);
    feed_connect(f, &a, CONNECT);
    client_close(&a);
    feed_free(f);
}
END_TEST

/* ---- calls ------------------------------------------------------------------------------------- */

struct outcome {
    int values, ends, why;
    char text[200], code[40];
};

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct outcome *o = ud;
    size_t len;

    (void)call;
    o->values++;
    snprintf(o->text, sizeof o->text, "%s", alk_value_text(value, &len));
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct outcome *o = ud;

    (void)call;
    o->ends++;
    o->why = why;
    snprintf(o->code, sizeof o->code, "%s", fault ? fault->code : "");
}

static int call(struct feed *f, int n, const char *operation, const char *input, struct outcome *o)
{
    alk_call_options options = {.size = sizeof options};

    options.on_event = on_value;
    options.on_end = on_end;
    options.ud = o;
    return alk_client_call(f->clients[n], TEXT(operation), TEXT(input), &options, NULL);
}

START_TEST(calls_have_the_identity_of_the_client)
{
    struct feed *f = feed_start();
    struct outcome known = {.ends = 0}, nobody = known, wrong = known, none = known;

    feed_connect(f, &a, CONNECT_AS_TESTER);
    feed_connect(f, &b, CONNECT);
    ck_assert_int_eq(call(f, 1, "t/secret", "{\"a\":1}", &known), ALK_OK);
    ck_assert_int_eq(call(f, 1, "/t/other", "1", &wrong), ALK_OK);
    ck_assert_int_eq(call(f, 1, "t/no-such", "1", &none), ALK_OK);
    ck_assert_int_eq(call(f, 2, "t/secret", "1", &nobody), ALK_OK);
    ck_assert_int_eq(known.ends, 0); /* not from within */
    rig_until(f->r, known.ends && wrong.ends && none.ends && nobody.ends);
    ck_assert_int_eq(known.why, ALK_END_OK);
    ck_assert_str_eq(known.text, "{\"a\":1}");
    ck_assert_str_eq(wrong.code, "FORBIDDEN");
    ck_assert_str_eq(none.code, "NOT_FOUND");
    ck_assert_str_eq(nobody.code, "FORBIDDEN");
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(calls_end_behind_on_disconnect)
{
    struct feed *f = feed_new();
    struct outcome one = {.ends = 0}, two = one, stream = one;
    alk_call_options o = {.size = sizeof o};
    alk_call *running;

    f->r->limits.connection_calls = 3;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    o.stream = 1;
    o.on_end = on_end;
    o.ud = &stream;
    o.traceparent = TRACE;
    ck_assert_int_eq(alk_client_call(f->clients[1], TEXT("t/stream"), TEXT("1"), &o, &running),
                     ALK_OK);
    ck_assert_str_eq(context_of(running).traceparent, TRACE);
    o.traceparent = "nonsense";
    ck_assert_int_eq(alk_client_call(f->clients[1], TEXT("t/stream"), TEXT("1"), &o, NULL),
                     ALK_EINVAL);
    ck_assert_int_eq(call(f, 1, "t/later", "{", &one), ALK_EJSON);
    ck_assert_int_eq(call(f, 1, "t/later", "1", &one), ALK_OK);
    ck_assert_int_eq(call(f, 1, "t/echo", "1", &two), ALK_OK);
    ck_assert_int_eq(call(f, 1, "t/echo", "1", &two), ALK_ELIMIT);
    rig_until(f->r, two.ends && f->r->later.starts && f->r->stream.starts);
    ck_assert_int_eq(call(f, 1, "t/echo", "2", &two), ALK_OK);
    rig_until(f->r, two.ends == 2);
    ck_assert_int_eq(one.ends + stream.ends, 0);
    wsc_close(&a, 1000);
    rig_until(f->r, one.ends && stream.ends);
    ck_assert_int_eq(f->disconnects, 1);
    ck_assert_int_eq(one.why, ALK_END_ABORTED);
    ck_assert_int_eq(stream.why, ALK_END_ABORTED);
    ck_assert_int_eq(f->r->later.why, ALK_END_ABORTED);
    alk_call_unref(running);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(calls_carry_the_trace_of_the_upgrade_and_their_own_deadline)
{
    struct feed *f = feed_start();
    struct outcome late = {.ends = 0};
    alk_call_options o = {.size = sizeof o};
    alk_call *running;

    feed_connect(f, &a, WS_UPGRADE("/feed", "traceparent: " TRACE "\r\n"));
    o.timeout_ms = 30;
    o.on_end = on_end;
    o.ud = &late;
    ck_assert_int_eq(alk_client_call(f->clients[1], TEXT("t/later"), TEXT("1"), &o, &running),
                     ALK_OK);
    ck_assert_str_eq(context_of(running).traceparent, TRACE);
    rig_until(f->r, late.ends);
    ck_assert_int_eq(late.why, ALK_END_TIMEOUT);
    alk_call_unref(running);
    client_close(&a);
    feed_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events_ends");
    TCase *t = tcase_create("events_ends");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, the_close_code_of_the_client_is_told, 0, 4);
    tcase_add_loop_test(t, a_client_can_be_closed_from_everywhere, 0, 4);
    tcase_add_test(t, only_codes_that_may_be_sent_are_taken);
    tcase_add_loop_test(t, one_that_leaves_during_its_event_is_gone_at_once, 0, 3);
    tcase_add_loop_test(t, a_handle_that_is_kept_says_closed, 0, 2);
    tcase_add_loop_test(t, a_message_above_the_limit_closes, 0, 4);
    tcase_add_test(t, control_frames_between_fragments_do_not_count);
    tcase_add_test(t, a_message_for_which_the_node_has_no_room_closes);
    tcase_add_test(t, clients_and_sessions_have_one_cap);
    tcase_add_loop_test(t, a_client_whose_token_is_revoked_is_closed, 0, 3);
    tcase_add_test(t, a_drain_closes_every_client_and_takes_no_more);
    tcase_add_loop_test(t, the_loop_may_close_while_clients_are_connected, 0, 4);
    tcase_add_test(t, an_upgrade_without_memory_is_refused_and_costs_nothing);
    tcase_add_test(t, calls_have_the_identity_of_the_client);
    tcase_add_test(t, calls_end_behind_on_disconnect);
    tcase_add_test(t, calls_carry_the_trace_of_the_upgrade_and_their_own_deadline);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
