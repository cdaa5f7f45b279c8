/* Custom routes: what an embedder may do with a request in which order, on a wire that takes as much as the test wants. */
#include "http_rig.h"

#include "support/suite.h"

/* What the route's handler is to do, and what it was told. */
static struct {
    alk_request *r;
    int handled, closed, complete, drained;
    int answer; /* of the handler */
} route;

static struct served later;

static void on_close(alk_request *r, int complete, void *ud)
{
    (void)ud;
    ck_assert_ptr_eq(route.r, r);
    route.closed++;
    route.complete = complete;
}

static void on_drain(alk_request *r, void *ud)
{
    (void)ud;
    ck_assert_ptr_eq(route.r, r);
    route.drained++;
}

static int handle(alk_request *r, void *ud)
{
    (void)ud;
    route.r = r;
    route.handled++;
    alk_request_on_close(r, on_close, NULL);
    return route.answer;
}

static void custom_start(struct http *s)
{
    const alk_route get = {.size = sizeof get, .method = "GET", .path = "/own", .handler = handle};
    const alk_route post = {
        .size = sizeof post, .method = "POST", .path = "/own", .handler = handle};

    memset(&route, 0, sizeof route);
    http_new(s);
    world_add(s->w, "t/later", ALK_QUERY, serve_later, &later);
    http_start(s);
    ck_assert_int_eq(alk_gateway_add_route(s->g, &get), ALK_OK);
    ck_assert_int_eq(alk_gateway_add_route(s->g, &post), ALK_OK);
}

static void ask_route(struct http *s)
{
    ck_assert_str_eq(http_say(s, REQUEST("GET /own?a=b", "X-A: 1\r\n" BEARER)), "");
    ck_assert_int_eq(route.handled, 1);
}

START_TEST(a_route_needs_a_method_a_path_and_a_handler)
{
    struct http s;
    alk_route r = {.size = sizeof r, .method = "GET", .path = "/x", .handler = handle};
    alk_route bad[] = {r, r, r, r};

    custom_start(&s);
    bad[0].method = "";
    bad[1].path = "x";
    bad[2].handler = NULL;
    bad[3].size = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(alk_gateway_add_route(s.g, &bad[i]) == ALK_EINVAL, "%zu", i);
    ck_assert_int_eq(alk_gateway_add_route(s.g, NULL), ALK_EINVAL);
    ck_assert_int_eq(alk_gateway_add_route(s.g, &r), ALK_OK);
    ck_assert_int_eq(alk_gateway_add_route(s.g, &r), ALK_EEXIST);
    http_free(&s);
}
END_TEST

static const struct {
    const char *headers;
    int rc;
} headers[] = {
    {"", ALK_OK},
    {"X-A: 1\r\nX-B:\r\nX-C:  a\tb\r\n", ALK_OK},
    {"!#$%&'*+-.^_`|~09azAZ: \x80\xff\r\n", ALK_OK},
    {"X-A\r\n", ALK_EINVAL},
    {": 1\r\n", ALK_EINVAL},
    {"X-A: 1", ALK_EINVAL},
    {"X-A: 1\r", ALK_EINVAL},
    {"X-A: 1\n", ALK_EINVAL},
    {"X-A: 1\rX-B: 2\r\n", ALK_EINVAL},
    {"X A: 1\r\n", ALK_EINVAL},
    {"X@A: 1\r\n", ALK_EINVAL},
    {"X[A: 1\r\n", ALK_EINVAL},
    {"X{A: 1\r\n", ALK_EINVAL},
    {"X/A: 1\r\n", ALK_EINVAL},
    {"X-A: \x01\r\n", ALK_EINVAL},
    {"X-A: \x7f\r\n", ALK_EINVAL},
    {"X-A: \n\r\n", ALK_EINVAL},
    {"X-A: 1\r\n\r\n", ALK_EINVAL},
    {"CONTENT-length: 1\r\n", ALK_EINVAL},
    {"Keep-Alive: 1\r\n", ALK_EINVAL},
    {"Date: 1\r\n", ALK_EINVAL},
    {"traceparent: 1\r\n", ALK_EINVAL},
    {"Access-Control-Allow-Origin: *\r\n", ALK_EINVAL},
};

START_TEST(a_header_is_taken_whole_or_refused)
{
    struct http s;

    custom_start(&s);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        int rc;

        route.handled = 0;
        ask_route(&s);
        rc = alk_response_start(route.r, 200, TEXT(headers[i].headers));
        ck_assert_msg(rc == headers[i].rc, "%s: %d", headers[i].headers, rc);
        ck_assert(rc || strstr(http_got(&s), headers[i].headers) || i == 1);
        ck_assert(!rc || !*http_got(&s));
        http_hang_up(&s);
    }
    http_free(&s);
}
END_TEST

START_TEST(a_nul_in_the_name_of_a_header_is_refused)
{
    struct http s;

    custom_start(&s);
    ask_route(&s);
    ck_assert_int_eq(alk_response_start(route.r, 200, "X\0A: 1\r\n", 8), ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(route.r, 600, "", 0), ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(route.r, 599, "", 0), ALK_OK);
    http_free(&s);
}
END_TEST

START_TEST(there_is_a_limit_of_headers)
{
    char many[4000] = "";
    struct http s;

    custom_start(&s);
    ask_route(&s);
    for (size_t i = 0; i < RESPONSE_HEADERS_MAX; i++)
        strcat(many, "X: 1\r\n");
    strcat(many, "X: 1\r\n");
    ck_assert_int_eq(alk_response_start(route.r, 200, TEXT(many)), ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(route.r, 200, many, strlen(many) - 6), ALK_OK);
    http_free(&s);
}
END_TEST

START_TEST(a_request_of_a_client_that_is_gone_gives_and_takes_nothing)
{
    struct http s;
    alk_call_options o = {.size = sizeof o};
    alk_call *call;
    size_t len;

    custom_start(&s);
    ask_route(&s);
    ck_assert_mem_eq(alk_request_query(route.r, &len), "a=b", 3);
    ck_assert_mem_eq(alk_request_header(route.r, "x-a", &len), "1", 1);
    ck_assert_ptr_null(alk_request_header(route.r, "x-b", &len));
    ck_assert_ptr_null(alk_request_header(route.r, "authorization", &len));
    ck_assert_ptr_null(alk_request_header(route.r, "sec-websocket-protocol", &len));
    ck_assert_str_eq(alk_identity_id(alk_request_identity(route.r)), "alk_0123");
    s.e->ops->fini(s.e); /* on_close is only queued */
    s.e = NULL;
    ck_assert_int_eq(route.closed, 0);
    ck_assert_ptr_null(alk_request_query(route.r, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_ptr_null(alk_request_header(route.r, "x-a", &len));
    ck_assert_str_eq(alk_request_body(route.r, &len), "");
    ck_assert_int_eq(alk_response_start(route.r, 200, "", 0), ALK_EINVAL);
    ck_assert_int_eq(alk_response_write(route.r, "x", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_response_end(route.r), ALK_EINVAL);
    alk_request_on_drain(route.r, on_drain, NULL);
    ck_assert_int_eq(alk_request_call(route.r, TEXT("t/later"), TEXT("1"), &o, &call), ALK_EINVAL);
    ck_assert_ptr_null(call);
    world_turn(s.w);
    ck_assert_int_eq(route.closed, 1);
    ck_assert_int_eq(route.complete, 0);
    ck_assert_int_eq(route.drained, 0);
    http_free(&s);
}
END_TEST

START_TEST(a_handler_that_fails_without_an_answer_has_500)
{
    struct http s;

    custom_start(&s);
    route.answer = -1;
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /own", ""))), 500);
    ck_assert_int_eq(route.closed, 1);
    ck_assert_int_eq(route.complete, 1);
    http_free(&s);
}
END_TEST

START_TEST(no_handler_runs_for_a_client_that_has_left)
{
    struct http s;

    custom_start(&s);
    http_dial(&s);
    s.e->ops->feed(s.e, TEXT(REQUEST("GET /own", "")), s.w->now);
    while (s.e->successor)
        s.e = engine_succeed(s.e);
    s.e->ops->fini(s.e);
    s.e = NULL;
    world_turn(s.w);
    ck_assert_int_eq(route.handled, 0);
    http_free(&s);
}
END_TEST

/* Writes until it is refused; what was taken. */
static size_t fill(void)
{
    static const char block[1000] = "";
    size_t n = 0;
    int rc;

    while ((rc = alk_response_write(route.r, block, sizeof block)) == ALK_OK)
        n += sizeof block;
    ck_assert_int_eq(rc, ALK_EAGAIN);
    return n;
}

START_TEST(who_was_refused_writes_again_behind_on_drain)
{
    struct http s;
    size_t first;

    custom_start(&s);
    ask_route(&s);
    s.room = 0;
    ck_assert_int_eq(alk_response_start(route.r, 200, "", 0), ALK_OK);
    alk_request_on_drain(route.r, on_drain, NULL);
    first = fill();
    ck_assert_uint_gt(first, 100000);
    world_turn(s.w);
    ck_assert_int_eq(route.drained, 0);
    s.room = -1;
    http_settle(&s);
    ck_assert_int_eq(route.drained, 1);
    ck_assert_uint_gt(fill(), 100000);
    http_settle(&s);
    ck_assert_int_eq(route.drained, 2);
    ck_assert_int_eq(alk_response_end(route.r), ALK_OK);
    ck_assert_int_eq(alk_response_end(route.r), ALK_EINVAL);
    ck_assert_int_eq(alk_response_write(route.r, "x", 1), ALK_EINVAL);
    http_settle(&s);
    ck_assert_int_eq(route.complete, 1);
    http_free(&s);
}
END_TEST

START_TEST(without_on_drain_half_of_the_mark_is_room)
{
    struct http s;

    custom_start(&s);
    ask_route(&s);
    s.room = 0;
    ck_assert_int_eq(alk_response_start(route.r, 200, "", 0), ALK_OK);
    fill();
    ck_assert_int_eq(alk_response_write(route.r, "x", 1), ALK_EAGAIN);
    s.room = 10000;
    http_settle(&s);
    ck_assert_int_eq(alk_response_write(route.r, "x", 1), ALK_EAGAIN);
    s.room = -1;
    http_settle(&s);
    ck_assert_int_eq(alk_response_write(route.r, "x", 1), ALK_OK);
    http_free(&s);
}
END_TEST

/* The function comes late: the room was there before it. */
START_TEST(on_drain_is_told_of_room_that_came_before_it)
{
    struct http s;

    custom_start(&s);
    ask_route(&s);
    s.room = 0;
    ck_assert_int_eq(alk_response_start(route.r, 200, "", 0), ALK_OK);
    fill();
    s.room = -1;
    http_settle(&s);
    alk_request_on_drain(route.r, on_drain, NULL);
    ck_assert_int_eq(route.drained, 0);
    alk_request_on_drain(route.r, NULL, NULL);
    world_turn(s.w);
    ck_assert_int_eq(route.drained, 0);
    fill();
    http_settle(&s);
    alk_request_on_drain(route.r, on_drain, NULL);
    world_turn(s.w);
    ck_assert_int_eq(route.drained, 1);
    http_free(&s);
}
END_TEST

START_TEST(a_call_of_a_route_is_aborted_when_the_client_goes)
{
    struct http s;
    struct asked a;
    alk_call_options o;
    alk_call *call;

    custom_start(&s);
    ask_route(&s);
    asked_options(&a, &o);
    ck_assert_int_eq(alk_request_call(route.r, TEXT("t/later"), TEXT("{"), &o, &call), ALK_EJSON);
    ck_assert_ptr_null(call);
    ck_assert_int_eq(alk_request_call(route.r, TEXT("t/later"), TEXT("1"), &o, &a.call), ALK_OK);
    world_turn(s.w);
    ck_assert_int_eq(later.starts, 1);
    http_hang_up(&s);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(a.why, ALK_END_ABORTED);
    ck_assert_int_eq(route.closed, 1);
    asked_free(&a);
    served_free(&later);
    http_free(&s);
}
END_TEST

START_TEST(a_call_without_callbacks_may_be_over_when_the_client_goes)
{
    struct http s;
    alk_call_options o = {.size = sizeof o};

    custom_start(&s);
    ask_route(&s);
    ck_assert_int_eq(alk_request_call(route.r, TEXT("t/later"), TEXT("1"), &o, NULL), ALK_OK);
    world_turn(s.w);
    served_reply(&later, "1");
    ck_assert_int_eq(alk_request_call(route.r, TEXT("t/none"), TEXT("1"), &o, NULL), ALK_OK);
    http_hang_up(&s);
    ck_assert_int_eq(route.closed, 1);
    served_free(&later);
    world_turn(s.w);
    ck_assert_uint_eq(world_stats(s.w).calls, 0);
    http_free(&s);
}
END_TEST

/* The shorter of the two counts, and 0 asks for nothing. */
START_TEST(a_call_of_a_route_has_the_shorter_deadline)
{
    static const struct {
        const char *field;
        uint32_t own, ms;
    } rows[] = {
        {"X-Timeout-Ms: 500\r\n", 200, 200},
        {"X-Timeout-Ms: 500\r\n", 700, 500},
        {"X-Timeout-Ms: 500\r\n", 0, 500},
        {"X-Timeout-Ms: 500\r\n", ALK_NO_TIMEOUT, 500},
        {"", 300, 300},
    };
    struct http s;

    custom_start(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct asked a;
        alk_call_options o;
        char request[200];

        snprintf(request, sizeof request, "GET /own HTTP/1.1\r\n" HOST "%s\r\n", rows[i].field);
        http_say(&s, request);
        asked_options(&a, &o);
        o.timeout_ms = rows[i].own;
        ck_assert_int_eq(alk_request_call(route.r, TEXT("t/later"), TEXT("1"), &o, &a.call),
                         ALK_OK);
        world_turn(s.w);
        world_advance(s.w, rows[i].ms - 1);
        ck_assert_int_eq(a.ends, 0);
        world_advance(s.w, 2);
        ck_assert_int_eq(a.ends, 1);
        ck_assert_int_eq(a.why, ALK_END_TIMEOUT);
        asked_free(&a);
        http_hang_up(&s);
    }
    served_free(&later);
    http_free(&s);
}
END_TEST

MAIN("custom", a_route_needs_a_method_a_path_and_a_handler, a_header_is_taken_whole_or_refused,
     a_nul_in_the_name_of_a_header_is_refused, there_is_a_limit_of_headers,
     a_request_of_a_client_that_is_gone_gives_and_takes_nothing,
     a_handler_that_fails_without_an_answer_has_500, no_handler_runs_for_a_client_that_has_left,
     who_was_refused_writes_again_behind_on_drain, without_on_drain_half_of_the_mark_is_room,
     on_drain_is_told_of_room_that_came_before_it,
     a_call_of_a_route_is_aborted_when_the_client_goes,
     a_call_without_callbacks_may_be_over_when_the_client_goes,
     a_call_of_a_route_has_the_shorter_deadline)
