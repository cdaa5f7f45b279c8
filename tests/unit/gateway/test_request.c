/* What is asked of every request before its route serves it, and how queries and bodies are read. */
#include "http_rig.h"

#include "support/suite.h"

static struct served later;

static int emit_two(alk_call *call, void *ud)
{
    (void)ud;
    ck_assert_int_eq(alk_call_emit(call, TEXT("1")), ALK_OK);
    ck_assert_int_eq(alk_call_emit(call, TEXT("2")), ALK_OK);
    return alk_call_complete(call);
}

static void echo_start(struct http *s)
{
    http_new(s);
    s->options.origins = "[\"https://app.example\"]";
    world_add(s->w, "t/echo", ALK_QUERY, serve_echo, NULL);
    world_add(s->w, "t/later", ALK_QUERY, serve_later, &later);
    world_add(s->w, "t/two", ALK_SUBSCRIPTION, emit_two, NULL);
    world_add(s->w, "t/stream", ALK_SUBSCRIPTION, serve_later, &later);
    http_start(s);
}

/* A value of a stream, in chunks. */
#define DATA(digit) "6\r\ndata: \r\n1\r\n" digit "\r\n2\r\n\n\n\r\n"
#define CORS "Origin: https://app.example\r\n"
#define ASKS "Access-Control-Request-Method: POST\r\n"

static const struct {
    const char *request;
    int status;
    const char *text;
} requests[] = {
    /* queries */
    {REQUEST("GET /search?q=echo", ""), 200, "t/echo"},
    {REQUEST("GET /search?q=%65cho&", ""), 200, "t/echo"},
    {REQUEST("GET /search?&&q=zz+z", ""), 200, "\"operations\":[]"},
    {REQUEST("GET /search?limit=1", ""), 200, "next_cursor"},
    {REQUEST("GET /search?limit=01", ""), 422, "limit"},
    {REQUEST("GET /search?limit=1a", ""), 422, "limit"},
    {REQUEST("GET /search?limit=", ""), 422, "limit"},
    {REQUEST("GET /search?limit=0", ""), 422, "limit"},
    {REQUEST("GET /search?limit=.1", ""), 422, "limit"},
    {REQUEST("GET /search?limit=1234567890123456", ""), 422, "limit"},
    {REQUEST("GET /search?q=%", ""), 400, "query: q: malformed"},
    {REQUEST("GET /search?q=%4", ""), 400, "query: q: malformed"},
    {REQUEST("GET /search?q=%g4", ""), 400, "query: q: malformed"},
    {REQUEST("GET /search?q=%4g", ""), 400, "query: q: malformed"},
    {REQUEST("GET /search?%q=1", ""), 400, "query: the name of a parameter is malformed"},
    {REQUEST("GET /search?q=%FF", ""), 400, "query: q: malformed, or not UTF-8"},
    {REQUEST("GET /search?p=1", ""), 400, "query: p: unknown parameter"},
    {REQUEST("GET /search?=1", ""), 400, "query: : unknown parameter"},
    {REQUEST("GET /search?q", ""), 200, "operations"},
    {REQUEST("GET /search?q=a&q=b", ""), 400, "query: q: more than one"},
    {REQUEST("GET /search?q=a&limit=2&%71=b", ""), 400, "query: q: more than one"},
    {REQUEST("GET /schema?name=t/echo", ""), 200, "t/echo"},
    {REQUEST("GET /subscribe?operation=t/two", "Accept: text/event-stream\r\n"), 200, DATA("1")},
    {REQUEST("GET /subscribe?operation=t/two&input=[1]", ""), 200, DATA("1")},
    {REQUEST("GET /subscribe?input=1", ""), 400, "query: operation is missing"},
    {REQUEST("GET /subscribe?operation=t/two&input={", ""), 400, "query: input: "},
    {REQUEST("GET /subscribe?operation=t/none", ""), 404, "NOT_FOUND"},
    {REQUEST("HEAD /search", ""), 200, ""},
    {REQUEST("HEAD /subscribe?operation=t/two", ""), 404, ""},
    {REQUEST("HEAD /call", ""), 404, ""},
    {REQUEST("HEAD /alknet/call", ""), 404, ""},
    /* preflights */
    {REQUEST("OPTIONS /call", CORS ASKS), 204, "Access-Control-Allow-Methods"},
    {REQUEST("OPTIONS /none", CORS ASKS), 404, ""},
    {REQUEST("OPTIONS /call", CORS), 404, ""},
    {REQUEST("OPTIONS /call", ASKS), 404, ""},
    {REQUEST("OPTIONS /call", "Origin: https://else.example\r\n" ASKS), 403, ""},
    /* tokens and timeouts */
    {REQUEST("GET /search", BEARER), 200, ""},
    {REQUEST("GET /search", "Authorization: Bearer alk_none_none_none_none_none_none_none\r\n"),
     401, "not valid"},
    {REQUEST("GET /search", "X-Timeout-Ms: 1000\r\n"), 200, ""},
    {REQUEST("GET /search", "X-Timeout-Ms: 10 00\r\n"), 200, ""},
    {REQUEST("GET /search", "X-Timeout-Ms: a\r\n"), 200, ""},
    {REQUEST("GET /search", "X-Timeout-Ms:\r\n"), 200, ""},
    {REQUEST("GET /search", "X-Timeout-Ms: 1000000000\r\n"), 200, ""},
    {REQUEST("GET /search", "Content-Encoding: gzip\r\n"), 415, "content-encoding"},
    /* the type of a body */
    {REQUEST("POST /call", "Content-Type: application/json \t; charset=utf-8\r\nContent-Length: "
                           "22\r\n") "{\"operation\":\"t/echo\"}",
     200, "\"output\":{}"},
    {REQUEST(
         "POST /call",
         "Content-Type: Application/JSON\r\nContent-Length: 22\r\n") "{\"operation\":\"t/echo\"}",
     200, "\"output\":{}"},
    {REQUEST("POST /call", "Content-Type: ;\r\nContent-Length: 2\r\n") "{}", 415, "content-type"},
    {REQUEST("POST /call", "Content-Type: text/plain\r\nContent-Length: 2\r\n") "{}", 415,
     "content-type"},
    {REQUEST("POST /call", "Content-Length: 2\r\n") "{}", 415, "content-type"},
    {REQUEST("POST /call", "Content-Type: application/json\r\n"), 400, "body: missing"},
    {REQUEST("POST /call", "Content-Type: application/json\r\nContent-Length: 0\r\n"), 400,
     "body: missing"},
    {REQUEST("POST /call", "Content-Type: application/json\r\nContent-Length: 2\r\n") "{]", 400,
     "body: "},
    {REQUEST("POST /call", "Content-Type: application/json\r\nContent-Length: 2\r\n") "{}", 400,
     "/operation: must be a string"},
    {REQUEST("POST /call",
             "Content-Type: application/json\r\nContent-Length: 19\r\n") "{\"operation\":[1,2]}",
     400, "/operation: must be a string"},
};

START_TEST(a_request_is_served_or_told_what_is_wrong)
{
    struct http s;

    echo_start(&s);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const char *got = http_say(&s, requests[i].request);

        ck_assert_msg(http_status(got) == requests[i].status, "%s%s", requests[i].request, got);
        ck_assert_msg(strstr(got, requests[i].text) != NULL, "%s%s", requests[i].request, got);
        http_hang_up(&s);
    }
    http_free(&s);
}
END_TEST

/* Of the header and what the call asks for, the shorter deadline counts. */
START_TEST(a_client_may_shorten_the_deadline_of_its_call)
{
    static const struct {
        const char *field;
        uint64_t ms;
    } rows[] = {{"X-Timeout-Ms: 100\r\n", 100},
                {"X-Timeout-Ms: 0\r\n", 30000},
                {"X-Timeout-Ms: 99999999\r\n", 30000}};
    struct http s;

    echo_start(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_str_eq(http_post(&s, "/call", rows[i].field, "{\"operation\":\"t/later\"}"), "");
        world_advance(s.w, rows[i].ms - 1);
        ck_assert_str_eq(http_got(&s), "");
        buf_truncate(&s.got, 0);
        world_advance(s.w, 2);
        ck_assert_int_eq(http_status(http_got(&s)), 504);
        http_hang_up(&s);
    }
    served_free(&later);
    http_free(&s);
}
END_TEST

START_TEST(a_stream_of_a_revoked_token_is_cut_and_other_requests_are_not)
{
    struct http s;

    echo_start(&s);
    ck_assert_int_eq(
        http_status(http_post(&s, "/subscribe", BEARER, "{\"operation\":\"t/stream\"}")), 200);
    served_emit(&later, "1");
    buf_truncate(&s.got, 0);
    ck_assert_ptr_nonnull(strstr(http_got(&s), DATA("1")));
    ck_assert_int_eq(alk_identities_load(s.ids, TEXT("{}"), 0, NULL, NULL, 0), ALK_OK);
    world_advance(s.w, 1000);
    http_settle(&s);
    ck_assert_ptr_null(s.e);
    ck_assert_int_eq(later.ends, 1);
    ck_assert(world_logged(s.w, "request.revoked"));
    served_free(&later);
    http_free(&s);
}
END_TEST

/* A comment keeps proxies from cutting a stream on which nothing comes. */
START_TEST(a_silent_stream_has_a_heartbeat)
{
    struct http s;

    echo_start(&s);
    ck_assert_int_eq(http_status(http_post(&s, "/subscribe", "", "{\"operation\":\"t/stream\"}")),
                     200);
    buf_truncate(&s.got, 0);
    world_advance(s.w, 15000);
    ck_assert_ptr_nonnull(strstr(http_got(&s), ":\n\n"));
    s.room = 0;
    buf_truncate(&s.got, 0);
    served_emit(&later, "1");
    world_advance(s.w, 15000);
    http_settle(&s);
    s.room = -1;
    ck_assert_ptr_null(strstr(http_got(&s), ":\n\n"));
    ck_assert_ptr_nonnull(strstr(http_got(&s), DATA("1")));
    served_fail(&later, "GIVEN_UP", "no more", NULL);
    ck_assert_ptr_nonnull(strstr(http_got(&s), "event: error\ndata: {\"code\":\"GIVEN_UP\""));
    served_free(&later);
    http_free(&s);
}
END_TEST

START_TEST(a_call_of_a_client_that_leaves_is_aborted)
{
    struct http s;

    echo_start(&s);
    http_post(&s, "/call", "", "{\"operation\":\"t/later\"}");
    http_hang_up(&s);
    ck_assert_int_eq(later.ends, 1);
    ck_assert_int_eq(later.why, ALK_END_ABORTED);
    ck_assert_int_eq(alk_call_reply(later.call, TEXT("1")), ALK_EENDED);
    served_free(&later);
    http_free(&s);
}
END_TEST

START_TEST(in_stealth_everything_but_health_looks_like_nothing)
{
    struct http s;

    http_new(&s);
    s.options.stealth = 1;
    s.options.hosts = "[\"localhost\"]";
    http_start(&s);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /healthz", ""))), 200);
    ck_assert_int_eq(http_status(http_say(&s, "GET /healthz HTTP/1.1\r\nHost: other\r\n\r\n")),
                     404);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /healthz", CORS))), 404);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET https://localhost/healthz", ""))), 404);
    ck_assert_ptr_null(strstr(http_got(&s), "gateway."));
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /search", ""))), 404);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /search", BEARER))), 200);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /none", BEARER))), 404);
    ck_assert_int_eq(http_status(http_say(&s, "GET / HTTP/9.9\r\n\r\n")), 505);
    ck_assert_ptr_null(strstr(http_say(&s, "GET / HTTP/9.9\r\n\r\n"), "INVALID"));
    http_free(&s);
}
END_TEST

MAIN("request", a_request_is_served_or_told_what_is_wrong,
     a_client_may_shorten_the_deadline_of_its_call,
     a_stream_of_a_revoked_token_is_cut_and_other_requests_are_not, a_silent_stream_has_a_heartbeat,
     a_call_of_a_client_that_leaves_is_aborted, in_stealth_everything_but_health_looks_like_nothing)
