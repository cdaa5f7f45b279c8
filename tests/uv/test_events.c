/* Event gateways: what is an event, in which order things happen, and what is sent to whom. */
#include "support/suite.h"
#include "uv/events_rig.h"

static struct client a, b, c;

/* ---- gateways ---------------------------------------------------------------------------------- */

static int add_at(struct feed *f, const char *path)
{
    alk_events_options o = f->o;
    alk_events *ev;

    o.path = path;
    return alk_gateway_add_events(&ev, f->r->g, &o);
}

static int serve_nothing(alk_request *r, void *ud)
{
    (void)r, (void)ud;
    return ALK_OK;
}

START_TEST(a_gateway_takes_a_path_that_is_free_before_the_first_server)
{
    static const char *const reserved[] = {"/call",   "/batch",   "/alknet/call", "/readyz",
                                           "/search", "/healthz", "/mcp",         "/openapi.json"};
    struct feed *f = feed_new();
    alk_route route = {sizeof route, 0, "GET", "/feed", serve_nothing, NULL};

    feed_add(f);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        ck_assert_msg(add_at(f, reserved[i]) == ALK_EEXIST, "%s", reserved[i]);
    ck_assert_int_eq(add_at(f, "/feed"), ALK_EEXIST);
    ck_assert_int_eq(alk_gateway_add_route(f->r->g, &route), ALK_EEXIST);
    route.method = "POST";
    ck_assert_int_eq(alk_gateway_add_route(f->r->g, &route), ALK_OK);
    route.method = "GET";
    route.path = "/taken";
    ck_assert_int_eq(alk_gateway_add_route(f->r->g, &route), ALK_OK);
    ck_assert_int_eq(add_at(f, "/taken"), ALK_EEXIST);
    ck_assert_int_eq(add_at(f, NULL), ALK_EINVAL);
    ck_assert_int_eq(add_at(f, ""), ALK_EINVAL);
    ck_assert_int_eq(add_at(f, "feed"), ALK_EINVAL);
    ck_assert_int_eq(add_at(f, "/other"), ALK_OK);
    rig_serve(f->r);
    ck_assert_int_eq(add_at(f, "/late"), ALK_EINVAL);
    feed_free(f);
}
END_TEST

START_TEST(the_table_of_events_is_fixed_at_the_start)
{
    struct feed *f = feed_new();

    feed_add(f);
    ck_assert_int_eq(alk_events_on(f->ev, "say", feed_on_echo, f), ALK_EEXIST);
    ck_assert_int_eq(alk_events_on(f->ev, "", feed_on_say, f), ALK_EINVAL);
    ck_assert_int_eq(alk_events_on(f->ev, NULL, feed_on_say, f), ALK_EINVAL);
    ck_assert_int_eq(alk_events_on(f->ev, "none", NULL, f), ALK_EINVAL);
    ck_assert_int_eq(alk_events_on(f->ev, "a name with blanks", feed_on_say, f), ALK_OK);
    rig_serve(f->r);
    ck_assert_int_eq(alk_events_on(f->ev, "late", feed_on_say, f), ALK_EINVAL);
    rig_client(f->r, &a);
    client_send(&a, CONNECT);
    ck_assert_int_eq(client_head(&a), 101);
    wsc_text(&a, EVENT("a name with blanks", "1"));
    feed_until(f, 1, "say 1");
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(two_gateways_have_clients_of_their_own)
{
    struct feed *f = feed_new(), other = {.r = f->r};
    alk_events_options o;

    feed_add(f);
    o = f->o;
    o.path = "/other";
    o.ud = &other;
    ck_assert_int_eq(alk_gateway_add_events(&other.ev, f->r->g, &o), ALK_OK);
    rig_serve(f->r);
    feed_connect(f, &a, CONNECT);
    ck_assert_int_eq(wsc_try(f->r, &b, WS_UPGRADE("/other", "")), 101);
    ck_assert_int_eq(other.connects, 1);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    ck_assert_uint_eq(alk_events_count(other.ev), 1);
    ck_assert_ptr_null(alk_events_find(f->ev, TEXT(alk_client_id(other.clients[1]))));
    wsc_text(&b, EVENT("say", "1")); /* of the other table */
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "say 2");
    ck_assert_str_eq(other.said, "1 connect\n");
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* ---- upgrades ---------------------------------------------------------------------------------- */

START_TEST(the_subprotocol_is_selected_when_it_is_offered)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    ck_assert_str_eq(client_header(&a, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ck_assert_ptr_null(client_header(&a, "Sec-WebSocket-Protocol"));
    client_close(&a);
    feed_connect(f, &a, WS_UPGRADE("/feed", "Sec-WebSocket-Protocol: chat, alknet.events.v1\r\n"));
    ck_assert_str_eq(client_header(&a, "Sec-WebSocket-Protocol"), "alknet.events.v1");
    client_close(&a);
    feed_free(f);
}
END_TEST

/* base64url of RIG_TOKEN */
#define TOKEN_OFFER                                                                                \
    "Sec-WebSocket-Protocol: alknet.events.v1, "                                                   \
    "alknet.bearer.YWxrX3Rva2VuX29mX3RoZV90ZXN0cw\r\n"

START_TEST(the_client_is_whoever_the_token_proves)
{
    static const struct {
        const char *request, *who;
    } cases[] = {
        {CONNECT, NULL},
        {CONNECT_AS_TESTER, "tester"},
        {WS_UPGRADE("/feed", TOKEN_OFFER), "tester"},
    };
    struct feed *f = feed_start();
    const alk_identity *who;

    feed_connect(f, &a, cases[_i].request);
    ck_assert_ptr_null(strstr(a.head, "bearer"));
    who = feed_session(f->clients[1]).identity;
    ck_assert_pstr_eq(who ? alk_identity_id(who) : NULL, cases[_i].who);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(a_refused_upgrade_makes_no_client)
{
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {401, WS_UPGRADE("/feed", "Authorization: Bearer alk_nobody_has_this_token\r\n")},
        {401, WS_UPGRADE("/mine", "")},
        {403, WS_UPGRADE("/feed", "Origin: http://elsewhere.example\r\n")},
        {400, WS_UPGRADE("/feed?token=" RIG_TOKEN, "")},
        {400, WS_UPGRADE("/feed", "Sec-WebSocket-Protocol: alknet.bearer.YWxr\r\n")},
        {426, GET("/feed")},
        {404, WS_UPGRADE("/feed/", "")},
    };
    struct feed *f = feed_new(), mine = {.r = f->r};

    feed_add(f);
    f->o.path = "/mine";
    f->o.authenticated = 1;
    f->o.ud = &mine;
    ck_assert_int_eq(alk_gateway_add_events(&mine.ev, f->r->g, &f->o), ALK_OK);
    rig_serve(f->r);
    ck_assert_int_eq(wsc_try(f->r, &a, cases[_i].request), cases[_i].status);
    ck_assert_int_eq(f->connects, 0);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_refused, cases[_i].status != 404);
    client_close(&a);
    ck_assert_int_eq(
        wsc_try(f->r, &a, WS_UPGRADE("/mine", "Authorization: Bearer " RIG_TOKEN "\r\n")), 101);
    ck_assert_int_eq(mine.connects, 1);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_upgrades, 1);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(frames_before_the_grant_make_no_client)
{
    struct feed *f = feed_new();

    f->r->limits.websocket_sessions = 1;
    feed_serve(f);
    ck_assert_int_eq(wsc_try(f->r, &a, CONNECT "\x81\x80mask"), 400);
    ck_assert_int_eq(f->connects, 0);
    client_close(&a);
    feed_connect(f, &a, CONNECT);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(in_stealth_only_a_token_finds_the_gateway)
{
    struct feed *f = feed_new();

    f->r->gate.stealth = 1;
    feed_serve(f);
    ck_assert_int_eq(wsc_try(f->r, &a, CONNECT), 404);
    ck_assert_ptr_null(client_header(&a, "X-Request-Id"));
    client_close(&a);
    ck_assert_int_eq(f->connects, 0);
    feed_connect(f, &a, CONNECT_AS_TESTER);
    client_close(&a);
    feed_free(f);
}
END_TEST

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

START_TEST(tenant_trace_and_address_are_those_of_the_upgrade)
{
    struct feed *f = feed_new();
    alk_client *one, *two;
    alk_session s;

    f->r->gate.tenant_header = "x-tenant";
    feed_serve(f);
    feed_connect(f, &a,
                 WS_UPGRADE("/feed", "X-Tenant: acme\r\nAuthorization: Bearer " RIG_TOKEN
                                     "\r\ntraceparent: " TRACE "\r\n"));
    feed_connect(f, &b, CONNECT);
    one = f->clients[1];
    two = f->clients[2];
    s = feed_session(one);
    ck_assert_ptr_null(s.connection);
    ck_assert_str_eq(s.tenant, "acme");
    ck_assert_str_eq(s.traceparent, TRACE);
    ck_assert_str_eq(s.remote, "127.0.0.1");
    ck_assert_int_eq(alk_identity_has_scope(s.identity, "t:secret", 8), 1);
    s = feed_session(two);
    ck_assert_ptr_null(s.tenant);
    ck_assert_ptr_null(s.traceparent);
    ck_assert_uint_eq(strlen(alk_client_id(one)), 36);
    ck_assert_str_ne(alk_client_id(one), alk_client_id(two));
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* ---- events in --------------------------------------------------------------------------------- */

START_TEST(things_happen_in_order)
{
    struct feed *f = feed_start();
    char id[40];

    ck_assert_uint_eq(alk_events_count(f->ev), 0);
    feed_connect(f, &a, CONNECT);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    strcpy(id, alk_client_id(f->clients[1]));
    ck_assert_ptr_eq(alk_events_find(f->ev, TEXT(id)), f->clients[1]);
    wsc_text(&a, EVENT("say", "1"));
    wsc_text(&a, EVENT("say", "{\"two\":[2.50,1e400]}"));
    wsc_text(&a, EVENT("say", "\"3\""));
    wsc_close(&a, 1000);
    ck_assert_int_eq(wsc_closed(&a), 1000);
    rig_until(f->r, f->disconnects);
    ck_assert_str_eq(f->said, "1 connect\n1 say 1\n1 say {\"two\":[2.50,1e400]}\n1 say \"3\"\n"
                              "1 disconnect 1000\n");
    ck_assert_uint_eq(alk_events_count(f->ev), 0);
    ck_assert_ptr_null(alk_events_find(f->ev, TEXT(id)));
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_messages_in, 3);
    client_close(&a);
    feed_free(f);
}
END_TEST

/* In one write, so that it has left before the first of them is looked at. */
START_TEST(events_of_one_that_has_left_are_handled)
{
    static const char all[] =
        "\x81\x98\0\0\0\0" EVENT("say", "1") "\x81\x98\0\0\0\0" EVENT("say", "2");
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    client_send_bytes(&a, all, sizeof all - 1);
    client_close(&a);
    rig_until(f->r, f->disconnects);
    ck_assert_str_eq(f->said, "1 connect\n1 say 1\n1 say 2\n1 disconnect 1006\n");
    feed_free(f);
}
END_TEST

static const struct {
    int frame;
    const char *text;
} ignored[] = {
    {WSC_TEXT, ""},
    {WSC_TEXT, "say"},
    {WSC_TEXT, "{\"event\":\"say\",\"data\":1"},
    {WSC_TEXT, "[\"say\",1]"},
    {WSC_TEXT, "{}"},
    {WSC_TEXT, "{\"data\":1}"},
    {WSC_TEXT, "{\"event\":1,\"data\":1}"},
    {WSC_TEXT, "{\"event\":null,\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"\",\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"Say\",\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"say \",\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"say\\u0000\",\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"nobody handles this\",\"data\":1}"},
    {WSC_TEXT, "{\"event\":\"say\",\"data\":1,\"data\":2}"},
    {WSC_TEXT, "{\"event\":\"say\",\"event\":\"say\",\"data\":2}"},
    {WSC_TEXT, "{\"event\":\"say\",\"data\":\"\\ud800\"}"},
    {WSC_TEXT, "{\"event\":\"say\",\"data\":NaN}"},
    {WSC_TEXT, "{\"event\":\"say\",\"data\":[[[[[[[[1]]]]]]]]}"},
    {WSC_BINARY, "{\"event\":\"say\",\"data\":1}"},
    {WSC_BINARY, ""},
};

START_TEST(what_is_no_event_is_ignored)
{
    struct feed *f = feed_new();

    f->r->limits.json_depth = 8;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    wsc_frame(&a, (uint8_t)(0x80 | ignored[_i].frame), TEXT(ignored[_i].text));
    wsc_text(&a, EVENT("say", "5"));
    feed_until(f, 1, "say 5");
    ck_assert_str_eq(f->said, "1 connect\n1 say 5\n");
    ck_assert_uint_eq(feed_stats(f).discarded, 1);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_messages_in, 2);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_handler_errors, 0);
    client_nothing(&a, 10);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(missing_data_is_null_and_other_members_are_nothing)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_text(&a, "{\"event\":\"say\"}");
    wsc_text(&a,
             " {\"id\":7, \"data\":{\"event\":\"echo\"}, \"event\":\"\\u0073ay\", \"more\":{}} ");
    feed_until(f, 1, "say {\"event\":\"echo\"}");
    ck_assert_str_eq(f->said, "1 connect\n1 say null\n1 say {\"event\":\"echo\"}\n");
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(a_message_in_fragments_is_one_event)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    wsc_frame(&a, WSC_TEXT, TEXT("{\"event\":\"s"));
    wsc_frame(&a, 0x80 | WSC_PING, TEXT("between"));
    wsc_frame(&a, 0, TEXT("ay\",\"data\""));
    wsc_frame(&a, 0x80, TEXT(":1}"));
    feed_until(f, 1, "say 1");
    ck_assert_int_eq(wsc_next(&a), WSC_PONG);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(a_failing_handler_is_counted_and_logged_and_nothing_more)
{
    struct feed *f = feed_start();

    feed_connect(f, &a, CONNECT);
    f->rc = ALK_ENOENT;
    wsc_text(&a, EVENT("say", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "say 2");
    f->rc = ALK_OK;
    wsc_text(&a, EVENT("echo", "3"));
    wsc_expect(&a, EVENT("echo", "3"));
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_handler_errors, 2);
    ck_assert_str_eq(f->log, "event.failed ALK_ENOENT say\nevent.failed ALK_ENOENT say\n");
    ck_assert_int_eq(f->disconnects, 0);
    client_close(&a);
    feed_free(f);
}
END_TEST

/* ---- handlers that go on ----------------------------------------------------------------------- */

START_TEST(the_next_event_waits_for_the_one_before)
{
    struct feed *f = feed_start();
    size_t len;

    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_EINVAL);
    wsc_text(&a, EVENT("later", "\"kept\""));
    wsc_text(&a, EVENT("say", "2"));
    wsc_text(&a, EVENT("later", "3"));
    feed_until(f, 1, "later \"kept\"");
    rig_steps(f->r, 20);
    ck_assert_str_eq(f->said, "1 connect\n2 connect\n1 later \"kept\"\n");
    ck_assert_str_eq(alk_value_text(f->data, &len), "\"kept\"");
    /* Others are not held up. */
    wsc_text(&b, EVENT("say", "9"));
    feed_until(f, 2, "say 9");
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_OK);
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_EINVAL);
    ck_assert_ptr_null(strstr(f->said, "say 2")); /* not from within */
    feed_until(f, 1, "later 3");
    ck_assert_ptr_nonnull(strstr(f->said, "1 say 2\n1 later 3\n"));
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_handler_errors, 0);
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_OK);
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

static void next_at_once(struct feed *f, alk_client *client)
{
    size_t len;

    must(alk_client_next(client) == ALK_OK);
    must(alk_client_next(client) == ALK_EINVAL);
    must(alk_value_text(f->data, &len));
}

/* Whether the handler then says that it goes on (0) or not (1). */
START_TEST(a_handler_may_be_done_before_it_returns)
{
    struct feed *f = feed_start();

    f->rc = _i ? ALK_OK : ALK_EAGAIN;
    f->at_event = next_at_once;
    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("say", "1"));
    wsc_text(&a, EVENT("say", "2"));
    feed_until(f, 1, "say 2");
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_handler_errors, 0);
    client_close(&a);
    feed_free(f);
}
END_TEST

#define FLOOD 2000

static void count_up(struct feed *f, alk_client *client)
{
    int *next = f->ud;
    size_t len;

    (void)client;
    must(atoi(alk_value_text(f->data, &len)) == *next);
    ++*next;
    f->said[0] = 0;
}

/* Sends what the sockets take until so many messages have come in, and for a while longer, which brings no more of them: how
 * many bytes have gone. */
static size_t send_until(struct feed *f, const char *p, size_t n, uint64_t messages)
{
    const uint64_t *in = &f->r->d->counts.metrics.ws_messages_in;
    uint64_t since;
    size_t sent = 0;

    rig_until(f->r, (sent += client_offer(&a, p + sent, n - sent), *in >= messages));
    for (since = now_ms(); now_ms() < since + 30; rig_steps(f->r, 1))
        sent += client_offer(&a, p + sent, n - sent);
    ck_assert_uint_eq(*in, messages);
    ck_assert_uint_gt(sent, n / 2); /* much more than those */
    return sent;
}

START_TEST(who_sends_faster_than_is_handled_is_held_back)
{
    struct feed *f = feed_start();
    char text[100], *frames = malloc(FLOOD * sizeof text);
    size_t n = 0, sent;
    int next = 0;
    long before;

    must(frames);
    f->at_event = count_up;
    f->ud = &next;
    rig_buffer(f->r, SO_RCVBUF, 4 * READ_BUFFER);
    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "0"));
    feed_until(f, 1, "later 0");
    before = atomic_load(&f->r->live);
    for (int i = 0; i < FLOOD; i++) {
        snprintf(text, sizeof text, EVENT("say", "%d"), i);
        n += wsc_put(frames + n, 0x80 | WSC_TEXT, text, strlen(text));
    }
    sent = send_until(f, frames, n, 1 + 16);
    ck_assert_int_lt(atomic_load(&f->r->live), before + 60);
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_OK);
    client_send_bytes(&a, frames + sent, n - sent);
    rig_until(f->r, next == FLOOD);
    free(frames);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(large_events_wait_in_bounds)
{
    struct feed *f = feed_start();
    char *text = malloc(40100), *frames = malloc(5 * 40114);
    size_t n = 0, sent;

    must(text && frames);
    rig_buffer(f->r, SO_RCVBUF, 4 * READ_BUFFER);
    feed_connect(f, &a, CONNECT);
    wsc_text(&a, EVENT("later", "0"));
    feed_until(f, 1, "later 0");
    snprintf(text, 40100, EVENT("say", "[%040000d]"), 0);
    memset(text + 24, ' ', 39999);
    for (int i = 0; i < 5; i++)
        n += wsc_put(frames + n, 0x80 | WSC_TEXT, text, strlen(text));
    sent = send_until(f, frames, n, 1 + 2);
    ck_assert_int_eq(alk_client_next(f->clients[1]), ALK_OK);
    client_send_bytes(&a, frames + sent, n - sent);
    rig_until(f->r, f->r->d->counts.metrics.ws_messages_in == 6);
    wsc_text(&a, EVENT("echo", "1"));
    wsc_expect(&a, EVENT("echo", "1"));
    ck_assert_uint_eq(feed_stats(f).discarded, 0);
    free(text);
    free(frames);
    client_close(&a);
    feed_free(f);
}
END_TEST

/* ---- events out -------------------------------------------------------------------------------- */

static void greet(struct feed *f, alk_client *client)
{
    (void)f;
    must(!alk_client_send(client, TEXT("welcome"), TEXT("null")));
}

START_TEST(what_on_connect_sends_comes_first)
{
    struct feed *f = feed_start();

    f->at_connect = greet;
    feed_connect(f, &a, CONNECT);
    wsc_expect(&a, EVENT("welcome", "null"));
    client_close(&a);
    feed_free(f);
}
END_TEST

static void announce(struct feed *f, alk_client *client)
{
    size_t sent;
    char n[20];

    (void)client;
    snprintf(n, sizeof n, "%d", f->connects);
    must(!alk_events_send_all(f->ev, TEXT("there are"), TEXT(n), &sent));
    must(sent == (size_t)f->connects && alk_events_count(f->ev) == sent);
}

START_TEST(nothing_reaches_a_client_before_its_on_connect)
{
    struct feed *f = feed_start();

    f->at_connect = announce;
    rig_client(f->r, &a);
    rig_client(f->r, &b);
    rig_steps(f->r, 20);
    client_send(&a, CONNECT);
    client_send(&b, CONNECT); /* read in the same turn */
    ck_assert_int_eq(client_head(&a), 101);
    ck_assert_int_eq(client_head(&b), 101);
    rig_until(f->r, f->connects == 2);
    client_until(&a, "2}");
    client_until(&b, "2}");
    ck_assert_int_eq(!memmem(a.in, a.len, TEXT("1}")) + !memmem(b.in, b.len, TEXT("1}")), 1);
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(events_go_to_one_to_many_and_to_all)
{
    struct feed *f = feed_start();
    const char *ids[4];
    size_t sent;

    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    feed_connect(f, &c, CONNECT);
    ck_assert_int_eq(alk_client_send(f->clients[2], TEXT("one"), TEXT(" { \"n\" : 1.0 } ")),
                     ALK_OK);
    wsc_expect(&b, EVENT("one", "{\"n\":1.0}"));
    ids[0] = alk_client_id(f->clients[3]);
    ids[1] = "00000000-0000-4000-8000-000000000000";
    ids[2] = alk_client_id(f->clients[1]);
    ids[3] = "";
    ck_assert_int_eq(alk_events_send_many(f->ev, ids, 4, TEXT("many"), TEXT("[]"), &sent), ALK_OK);
    ck_assert_uint_eq(sent, 2);
    wsc_expect(&a, EVENT("many", "[]"));
    wsc_expect(&c, EVENT("many", "[]"));
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all \"\xc3\xa9\""), TEXT("true"), &sent),
                     ALK_OK);
    ck_assert_uint_eq(sent, 3);
    wsc_expect(&a, "{\"event\":\"all \\\"\xc3\xa9\\\"\",\"data\":true}");
    wsc_expect(&b, "{\"event\":\"all \\\"\xc3\xa9\\\"\",\"data\":true}");
    wsc_expect(&c, "{\"event\":\"all \\\"\xc3\xa9\\\"\",\"data\":true}");
    ck_assert_int_eq(alk_events_send_many(f->ev, NULL, 0, TEXT("none"), TEXT("1"), &sent), ALK_OK);
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("all"), TEXT("2"), NULL), ALK_OK);
    wsc_expect(&b, EVENT("all", "2"));
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_messages_out, 1 + 2 + 3 + 3);
    client_close(&a);
    client_close(&b);
    client_close(&c);
    feed_free(f);
}
END_TEST

static const struct {
    int rc;
    const char *event, *json;
} unsendable[] = {
    {ALK_EINVAL, "", "1"},
    {ALK_EINVAL, "\xff", "1"},
    {ALK_EJSON, "x", ""},
    {ALK_EJSON, "x", "{\"a\":1"},
    {ALK_EJSON, "x", "1}"},
    {ALK_EJSON, "x", "[[[[[[[[[1]]]]]]]]]"},
    {ALK_EJSON, "x", "\"\xff\""},
    {ALK_EJSON, "x", "{\"a\":1,\"a\":2}"},
    {ALK_ELIMIT, "x", "\"0123456789012345678\""},
};

START_TEST(what_is_no_json_or_too_much_is_not_sent)
{
    struct feed *f = feed_new();
    const char *event = unsendable[_i].event, *json = unsendable[_i].json, *id;
    size_t sent = 7;

    f->r->limits.json_depth = 8;
    f->r->limits.output_bytes = 20;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    id = alk_client_id(f->clients[1]);
    ck_assert_int_eq(alk_client_send(f->clients[1], TEXT(event), TEXT(json)), unsendable[_i].rc);
    ck_assert_int_eq(alk_events_send_many(f->ev, &id, 1, TEXT(event), TEXT(json), &sent),
                     unsendable[_i].rc);
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT(event), TEXT(json), NULL), unsendable[_i].rc);
    ck_assert_int_eq(alk_client_send(f->clients[1], TEXT("x"), TEXT("\"012345678901234567\"")),
                     ALK_OK);
    wsc_expect(&a, EVENT("x", "\"012345678901234567\""));
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(without_memory_nothing_is_sent)
{
    struct feed *f = feed_start();
    const char *id;
    size_t sent = 7;

    feed_connect(f, &a, CONNECT);
    id = alk_client_id(f->clients[1]);
    atomic_store(&f->r->starve, true);
    ck_assert_int_eq(alk_client_send(f->clients[1], TEXT("x"), TEXT("1")), ALK_ENOMEM);
    ck_assert_int_eq(alk_events_send_many(f->ev, &id, 1, TEXT("x"), TEXT("1"), &sent), ALK_ENOMEM);
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(alk_events_send_all(f->ev, TEXT("x"), TEXT("1"), &sent), ALK_ENOMEM);
    atomic_store(&f->r->starve, false);
    ck_assert_int_eq(alk_client_send(f->clients[1], TEXT("x"), TEXT("2")), ALK_OK);
    wsc_expect(&a, EVENT("x", "2"));
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_messages_out, 1);
    client_close(&a);
    feed_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events");
    TCase *t = tcase_create("events");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, a_gateway_takes_a_path_that_is_free_before_the_first_server);
    tcase_add_test(t, the_table_of_events_is_fixed_at_the_start);
    tcase_add_test(t, two_gateways_have_clients_of_their_own);
    tcase_add_test(t, the_subprotocol_is_selected_when_it_is_offered);
    tcase_add_loop_test(t, the_client_is_whoever_the_token_proves, 0, 3);
    tcase_add_loop_test(t, a_refused_upgrade_makes_no_client, 0, 7);
    tcase_add_test(t, frames_before_the_grant_make_no_client);
    tcase_add_test(t, in_stealth_only_a_token_finds_the_gateway);
    tcase_add_test(t, tenant_trace_and_address_are_those_of_the_upgrade);
    tcase_add_test(t, things_happen_in_order);
    tcase_add_test(t, events_of_one_that_has_left_are_handled);
    tcase_add_loop_test(t, what_is_no_event_is_ignored, 0, sizeof ignored / sizeof ignored[0]);
    tcase_add_test(t, missing_data_is_null_and_other_members_are_nothing);
    tcase_add_test(t, a_message_in_fragments_is_one_event);
    tcase_add_test(t, a_failing_handler_is_counted_and_logged_and_nothing_more);
    tcase_add_test(t, the_next_event_waits_for_the_one_before);
    tcase_add_loop_test(t, a_handler_may_be_done_before_it_returns, 0, 2);
    tcase_add_test(t, who_sends_faster_than_is_handled_is_held_back);
    tcase_add_test(t, large_events_wait_in_bounds);
    tcase_add_test(t, what_on_connect_sends_comes_first);
    tcase_add_test(t, nothing_reaches_a_client_before_its_on_connect);
    tcase_add_test(t, events_go_to_one_to_many_and_to_all);
    tcase_add_loop_test(t, what_is_no_json_or_too_much_is_not_sent, 0,
                        sizeof unsendable / sizeof unsendable[0]);
    tcase_add_test(t, without_memory_nothing_is_sent);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
