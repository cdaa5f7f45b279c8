/* Sessions at /alknet/call under strain: floods that stop at the marks and go on, announcements that outlive their
 * connection, the order of the first call, what counts as an eviction, and whom the secrets of an upgrade are shown to. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/ws_client.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#define TOKEN "Authorization: Bearer " RIG_TOKEN "\r\n"
#define SESSION WS_UPGRADE("/alknet/call", TOKEN)
#define REQUEST(id, operation)                                                                     \
    "{\"type\":\"call.requested\",\"id\":\"" id "\",\"payload\":{\"operationId\":\"/" operation    \
    "\",\"input\":7}}"

static struct client a;

static void request(const char *envelope)
{
    wsc_frame(&a, 0x80 | WSC_BINARY, envelope, strlen(envelope));
}

static void connect_session(struct rig *r)
{
    ck_assert_int_eq(wsc_try(r, &a, SESSION), 101);
}

/* ---- floods ------------------------------------------------------------------------------------ */

/* Emits digits, which rig's flood, whose values are strings, cannot. */
static void digits_go(alk_call *call, void *ud)
{
    long *left = ud;
    int rc = ALK_OK;

    while (*left && !(rc = alk_call_emit(call, "7", 1)))
        --*left;
    must(rc == ALK_OK || rc == ALK_EAGAIN);
    if (!rc)
        must(!alk_call_complete(call));
}

static int serve_digits(alk_call *call, void *ud)
{
    must(!alk_call_on_drain(call, digits_go, ud));
    digits_go(call, ud);
    return ALK_OK;
}

static void request_big(int id)
{
    char text[200];

    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%d\",\"payload\":{\"operationId\":\"/t/"
             "big\",\"input\":1000000}}",
             id);
    request(text);
}

/* Until the subscription's end: how many values came. */
static long values(void)
{
    for (long n = 0;; n++) {
        must(wsc_next(&a) == WSC_BINARY);
        if (strstr(a.body, "\"call.completed\""))
            return n;
        must(strstr(a.body, "\"call.responded\""));
    }
}

/* Below 126 bytes a frame is smaller than the core reckons: its mark is reached where the socket's is not. */
START_TEST(values_of_any_size_arrive_to_the_last)
{
    static const size_t sizes[] = {1, 3, 100, 1000};
    static const uint32_t marks[] = {4096, 65536, 262144};
    struct rig *r = rig_new();
    size_t size = sizes[_i / 3];
    long count = 2 * (long)(marks[_i % 3] / (size + 60)) + 500, digits = count;

    r->limits.queue_high = marks[_i % 3];
    r->flood.size = size;
    r->flood.left = count;
    rig_add(r, "t/digits", ALK_SUBSCRIPTION, serve_digits, &digits, NULL);
    rig_start(r);
    connect_session(r);
    request(size == 1 ? REQUEST("a", "t/digits") : REQUEST("a", "t/flood"));
    ck_assert_int_eq(values(), count);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_flood_goes_on_when_the_mark_is_lowered_at_run_time)
{
    struct rig *r = rig_new();

    r->flood.size = 1000;
    r->flood.left = 600;
    r->flood.from_timer = true; /* and the mark is lowered before */
    rig_start(r);
    connect_session(r);
    request(REQUEST("a", "t/flood"));
    rig_until(r, r->flood.call);
    r->limits.queue_high = 4096;
    ck_assert_int_eq(alk_node_set_limits(r->node, &r->limits), ALK_OK);
    ck_assert_int_eq(values(), 600);
    ck_assert_int_gt(r->flood.refused, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* It is told of the room also where nothing of its own is under way: an answer has filled the socket. */
START_TEST(a_subscription_that_begins_at_a_full_socket_goes_on)
{
    struct rig *r = rig_new();

    r->flood.left = 600;
    r->flood.from_timer = true;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, SESSION);
    ck_assert_int_eq(client_head(&a), 101);
    request_big(0); /* a megabyte, of which queue_high and more waits */
    request(REQUEST("a", "t/flood"));
    rig_steps(r, 20);
    ck_assert_ptr_null(r->flood.call);
    ck_assert_int_eq(wsc_next(&a), WSC_BINARY);
    ck_assert_int_eq(values(), 600);
    client_close(&a);
    rig_free(r);
}
END_TEST

#define FLOOD_COUNT 600
#define FLOOD_MS                                                                                   \
    4000 /* it takes a few; a loop that sleeps at each mark takes three times as long */

static void time_flood(struct rig *r)
{
    uint64_t since;

    ck_assert_int_eq(client_try(&a, NULL, r->port, 0), 0);
    client_send(&a, SESSION);
    ck_assert_int_eq(client_head(&a), 101);
    request(REQUEST("a", "t/flood"));
    since = now_ms();
    ck_assert_int_eq(values(), FLOOD_COUNT);
    ck_assert_uint_lt(now_ms() - since, FLOOD_MS);
    client_close(&a);
}

/* Nothing wakes the loop but what it has written itself. */
START_TEST(a_loop_that_is_left_alone_does_not_sleep_at_a_small_mark)
{
    struct rig *r = rig_new();

    r->limits.queue_high = 4096;
    r->flood.size = 100;
    r->flood.left = FLOOD_COUNT;
    rig_start(r);
    rig_script(r, time_flood);
    rig_free(r);
}
END_TEST

/* ---- announcements ----------------------------------------------------------------------------- */

#define ANNOUNCE                                                                                   \
    "{\"type\":\"call.requested\",\"id\":\"n%d\",\"payload\":{\"operationId\":\"/services/"        \
    "announce\",\"input\":{}}}"
#define ANNOUNCEMENTS 60 /* the first is imported at once, the others wait */

static void announce(int from, int to)
{
    char text[200];

    for (int i = from; i < to; i++) {
        snprintf(text, sizeof text, ANNOUNCE, i);
        request(text);
    }
}

/* All announced; those behind the first wait until they are due. */
static void announce_all(struct rig *r)
{
    char id[64], text[200];
    const char *p;

    announce(0, 1);
    ck_assert_int_eq(wsc_next(&a), WSC_BINARY);
    p = strstr(a.body, "\"id\":\"");
    must(p && strstr(a.body, "services/list"));
    ck_assert_int_eq(sscanf(p, "\"id\":\"%63[^\"]", id), 1);
    snprintf(text, sizeof text,
             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":{\"operations\":"
             "[]}}}",
             id);
    request(text);
    ck_assert_int_eq(wsc_next(&a), WSC_BINARY);
    ck_assert_ptr_nonnull(strstr(a.body, "\"id\":\"n0\""));
    announce(1, ANNOUNCEMENTS);
    rig_steps(r, 20);
}

static int nop(alk_call *call, void *ud)
{
    (void)call;
    ++*(int *)ud;
    return ALK_OK; /* answers never */
}

START_TEST(the_loop_may_close_while_announcements_wait)
{
    struct rig *r = rig_new();

    rig_start(r);
    connect_session(r);
    announce_all(r);
    rig_close(r);
    rig_until(r, r->closed);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* More calls end at once than are told in one turn (4,096), those that announced among them. */
START_TEST(a_client_may_leave_while_announcements_and_many_calls_wait)
{
    struct rig *r = rig_new();
    int running = 0;
    char text[200];

    rig_add(r, "t/hold", ALK_QUERY, nop, &running, NULL);
    r->limits.connection_calls = 10000;
    rig_start(r);
    connect_session(r);
    for (int i = 0; i < 9000; i++) {
        snprintf(text, sizeof text,
                 "{\"type\":\"call.requested\",\"id\":\"h%d\",\"payload\":{\"operationId\":\"/t/"
                 "hold\"}}",
                 i);
        request(text);
    }
    rig_until(r, running == 9000);
    announce_all(r);
    if (_i)
        client_reset(&a);
    else
        client_close(&a);
    rig_until(r, !r->d->stats.connections && !r->d->stats.calls);
    rig_free(r);
}
END_TEST

/* ---- the order of the first ---------------------------------------------------------------------- */

static char order[200];

static void on_connect(void *ud, const alk_session *s)
{
    alk_stats stats;

    (void)s;
    strcat(order, "connect ");
    alk_dispatcher_stats(((struct rig *)ud)->d, &stats, sizeof stats);
    must(!stats.calls_total); /* nothing of it has been taken yet */
}

static void on_disconnect(void *ud, const alk_session *s, int code)
{
    (void)ud, (void)s, (void)code;
    strcat(order, "disconnect ");
}

static int serve_noted(alk_call *call, void *ud)
{
    (void)ud;
    strcat(order, "call ");
    return alk_call_reply(call, "1", 1);
}

/* Requests of n bytes, the last of them the upgrade. */
static void fill_with_requests(char *to, size_t n)
{
    static const char get[] = GET("/healthz"),
                      last[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
    size_t room = n - strlen(SESSION), at = 0;

    while (at + 2 * sizeof get + sizeof last < room) {
        memcpy(to + at, get, strlen(get));
        at += strlen(get);
    }
    memcpy(to + at, last, strlen(last));
    memset(to + at + strlen(last), 'x', room - at - strlen(last));
    memcpy(to + room - 4, "\r\n\r\n", 4);
    memcpy(to + room, SESSION, strlen(SESSION));
}

/* All that was sent is in the server's socket, unread. */
static void await_delivery(void)
{
    uint64_t since = now_ms();
    int unsent = 1;

    while (unsent) {
        ck_assert_int_eq(ioctl(a.fd, SIOCOUTQ, &unsent), 0);
        if (now_ms() > since + CLIENT_PATIENCE)
            ck_abort_msg("%d bytes are not delivered", unsent);
        usleep(500);
    }
}

/* libuv reads again at once when a read has filled the buffer: the frame would come in the same poll. */
START_TEST(a_frame_right_behind_a_full_read_waits_for_the_answer)
{
    static char requests[READ_BUFFER];
    struct rig *r = rig_new();
    int answers = 0;

    *order = 0;
    rig_add(r, "t/noted", ALK_QUERY, serve_noted, NULL, NULL);
    r->gate.on_connect = on_connect;
    r->gate.on_disconnect = on_disconnect;
    r->gate.session_ud = r;
    rig_start(r);
    rig_buffer(r, SO_RCVBUF, 4 * READ_BUFFER);
    rig_client(r, &a);
    a.uv = NULL; /* nothing is read before all is there */
    fill_with_requests(requests, sizeof requests);
    client_send_bytes(&a, requests, sizeof requests);
    request(REQUEST("1", "t/noted"));
    await_delivery();
    a.uv = &r->uv;
    while (client_head(&a) == 200) {
        const char *n = client_header(&a, "Content-Length");

        client_fill(&a, strtoul(n, NULL, 10), "a body");
        client_drop(&a, strtoul(n, NULL, 10));
        answers++;
    }
    ck_assert_int_eq(a.status, 101);
    ck_assert_int_gt(answers, 1000);
    ck_assert_int_eq(wsc_next(&a), WSC_BINARY);
    ck_assert_str_eq(a.body,
                     "{\"type\":\"call.responded\",\"id\":\"1\",\"payload\":{\"output\":1}}");
    ck_assert_str_eq(order, "connect call ");
    client_close(&a);
    rig_free(r);
    ck_assert_str_eq(order, "connect call disconnect ");
}
END_TEST

/* ---- evictions --------------------------------------------------------------------------------- */

START_TEST(a_message_that_is_refused_for_lack_of_room_is_no_eviction)
{
    static char big[200000];
    struct rig *r = rig_new();

    r->limits.message_budget = 100000;
    r->limits.body_timeout_ms = 200;
    rig_start(r);
    connect_session(r);
    memset(big, ' ', sizeof big);
    wsc_frame(&a, 0x80 | WSC_BINARY, big, sizeof big);
    ck_assert_int_eq(wsc_closed(&a), 1013);
    wsc_close(&a, 1013);
    rig_until(r, !r->d->stats.connections);
    ck_assert_uint_eq(r->d->counts.metrics.ws_evictions, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_client_that_says_1013_itself_is_no_eviction)
{
    struct rig *r = rig_new();

    rig_start(r);
    connect_session(r);
    wsc_close(&a, 1013);
    ck_assert_int_eq(wsc_closed(&a), 1013);
    rig_until(r, !r->d->stats.connections);
    ck_assert_uint_eq(r->d->counts.metrics.ws_evictions, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* It takes nothing for evict_ms while a subscription waits. */
START_TEST(a_client_that_does_not_read_is_one_eviction)
{
    struct rig *r = rig_new();

    r->limits.evict_ms = 50;
    r->flood.size = 100000;
    r->flood.left = 1000;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a, SESSION);
    ck_assert_int_eq(client_head(&a), 101);
    request(REQUEST("a", "t/flood"));
    rig_until(r, !r->d->stats.connections);
    ck_assert_uint_eq(r->d->counts.metrics.ws_evictions, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- secrets of the upgrade -------------------------------------------------------------------- */

static int look(alk_request *q, void *ud)
{
    size_t n = 1;

    must(!alk_request_header(q, "sec-websocket-protocol", &n) && n == 0);
    must(!alk_request_header(q, "authorization", &n) && n == 0);
    must(alk_request_header(q, "x-other", &n) && n == 2);
    ++*(int *)ud;
    must(!alk_response_start(q, 204, "", 0));
    return alk_response_end(q);
}

START_TEST(a_route_is_not_shown_what_may_hold_a_token)
{
    struct rig *r = rig_new();
    int looks = 0;
    alk_route route = {sizeof route, 0, "GET", "/hook", look, &looks};

    rig_start_bare(r);
    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_OK);
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, "GET /hook HTTP/1.1\r\nHost: localhost\r\n" TOKEN
                    "SEC-WebSocket-Protocol: alknet.call.v1, alknet.bearer.QUJD\r\n"
                    "X-Other: ok\r\n\r\n");
    ck_assert_int_eq(client_answer(&a), 204);
    ck_assert_int_eq(looks, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_tenant_is_not_read_from_what_may_hold_a_token)
{
    static const char *const wrong[] = {"authorization", "Authorization", "sec-websocket-protocol",
                                        "Sec-WebSocket-Protocol"};
    struct rig *r = rig_new();

    rig_start(r);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        alk_gateway_options o;
        alk_gateway *g;
        char err[200];

        alk_gateway_options_init(&o, sizeof o);
        o.tenant_header = wrong[i];
        ck_assert_int_eq(alk_gateway_new(&g, r->d, &o, err, sizeof err), ALK_EINVAL);
        ck_assert_ptr_nonnull(strstr(err, "tenant_header"));
    }
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_life");
    TCase *t = tcase_create("session_life");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, values_of_any_size_arrive_to_the_last, 0, 12);
    tcase_add_test(t, a_flood_goes_on_when_the_mark_is_lowered_at_run_time);
    tcase_add_test(t, a_subscription_that_begins_at_a_full_socket_goes_on);
    tcase_add_test(t, a_loop_that_is_left_alone_does_not_sleep_at_a_small_mark);
    tcase_add_test(t, the_loop_may_close_while_announcements_wait);
    tcase_add_loop_test(t, a_client_may_leave_while_announcements_and_many_calls_wait, 0, 2);
    tcase_add_test(t, a_frame_right_behind_a_full_read_waits_for_the_answer);
    tcase_add_test(t, a_message_that_is_refused_for_lack_of_room_is_no_eviction);
    tcase_add_test(t, a_client_that_says_1013_itself_is_no_eviction);
    tcase_add_test(t, a_client_that_does_not_read_is_one_eviction);
    tcase_add_test(t, a_route_is_not_shown_what_may_hold_a_token);
    tcase_add_test(t, a_tenant_is_not_read_from_what_may_hold_a_token);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
