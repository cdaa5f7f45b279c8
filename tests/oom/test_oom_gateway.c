/* Each allocation fails in turn: the HTTP gateway, on an engine that is fed by hand. What comes
 * out is the right answer, an error answer, or the end of the connection; nothing crashes and
 * nothing is lost. */
#include "oom/gateway_rig.h"

static void server_open(struct server *s)
{
    node_open(s, NULL);
    must(!gateway_open(s, ALK_MCP_NONE));
}

/* The whole scenario of one request that is answered with a text in it. */
static bool asked(const char *request, const char *text)
{
    struct server s;
    bool good;

    server_open(&s);
    arm();
    good = says(&s, request, text);
    server_close(&s);
    return good;
}

SCENARIO(a_gateway_is_made_or_not)
{
    struct server s;
    bool good;

    node_open(&s, NULL);
    arm();
    good = ok(gateway_open(&s, ALK_MCP_NONE));
    server_close(&s);
    return good;
}

SCENARIO(health_is_told_or_the_connection_ends)
{
    return asked(GET("/healthz"), "200 OK");
}

SCENARIO(a_call_is_answered_or_fails)
{
    return asked(POST("/call", "44") "{\"operation\":\"/t/echo\",\"input\":{\"a\":[1.50]}}",
                 "\"output\":{\"a\":[1.50]}}");
}

/* Its body leaves no room for the call in the memory that they share. */
SCENARIO(a_call_that_does_not_fit_beside_its_body_is_answered_or_fails)
{
    char request[4000], *p = request;

    p += sprintf(p, "%s", POST("/call", "2929") "{\"operation\":\"/t/echo\",\"input\":\"");
    memset(p, 'x', 2895);
    strcpy(p + 2895, "\"}");
    return asked(request, "xxx\"}");
}

SCENARIO(a_chunked_call_is_answered_or_fails)
{
    return asked("POST /call HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\n\r\n"
                 "14\r\n{\"operation\":\"t/echo\r\n11\r\n\",\"input\":[1.50]}\r\n0\r\n\r\n",
                 "\"output\":[1.50]}");
}

SCENARIO(an_unknown_operation_is_told_or_fails)
{
    return asked(POST("/call", "22") "{\"operation\":\"t/none\"}", "404 ");
}

SCENARIO(an_invalid_input_is_told_or_fails)
{
    return asked(POST("/call", "34") "{\"operation\":\"t/strict\",\"input\":5}", "422 ");
}

SCENARIO(malformed_json_is_told_or_fails)
{
    return asked(POST("/call", "4") "nul}", "400 ");
}

SCENARIO(a_token_that_does_not_resolve_is_told_or_fails)
{
    return asked("GET /search HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
                 "alk_nobodys_token_0123456789\r\n\r\n",
                 "401 ");
}

SCENARIO(a_batch_is_answered_in_order_or_fails)
{
    return asked(POST("/batch",
                      "101") "[{\"operation\":\"t/echo\",\"input\":1},{\"operation\":\"t/none\"},5,"
                             "{\"operation\":\"t/echo\",\"input\":\"last\"}]      ",
                 "\"output\":\"last\"}]}");
}

SCENARIO(a_subscription_streams_to_its_end_or_fails)
{
    return asked(POST("/subscribe", "23") "{\"operation\":\"t/count\"}", "[5]");
}

SCENARIO(a_search_is_answered_or_fails)
{
    return asked(GET("/search?q=t%2F&limit=2"), "\"next_cursor\"");
}

SCENARIO(a_schema_is_answered_or_fails)
{
    return asked(GET("/schema?name=t%2Fstrict"), "\"input_schema\":{\"type\":\"string\"}");
}

SCENARIO(the_document_is_answered_whole_or_fails)
{
    return asked(GET("/openapi.json"),
                 ",\"details1\":{\"items\":{\"$ref\":\"#/components/schemas/details1\"}},"
                 "\"details2\":{\"type\":\"string\"}}}}");
}

SCENARIO(the_decoy_is_shown_or_the_connection_ends)
{
    return asked(GET("/nothing"), "https://example.com/");
}

SCENARIO(a_custom_route_answers_or_fails)
{
    return asked(POST("/custom", "8") "[\"body\"]", "X-Custom: yes\r\n");
}

SCENARIO(a_client_that_leaves_takes_its_call_along)
{
    struct server s;
    alk_stats stats = {.size = sizeof stats};
    bool good = false;

    server_open(&s);
    arm();
    if (connect(&s)) {
        s.e->ops->feed(s.e, TEXT(POST("/call", "22") "{\"operation\":\"t/hold\"}"), s.now);
        while (s.e->successor)
            s.e = engine_succeed(s.e);
        run(&s);
        alk_dispatcher_stats(s.d, &stats, sizeof stats);
        good = stats.calls == 1;
        hang_up(&s);
        alk_dispatcher_stats(s.d, &stats, sizeof stats);
        must(stats.calls == 0);
    }
    must(good || failed());
    server_close(&s);
    return good;
}

SCENARIO(pipelined_requests_are_answered_or_the_connection_ends)
{
    struct server s;
    bool good = false;

    server_open(&s);
    arm();
    if (connect(&s)) {
        s.e->ops->feed(
            s.e,
            TEXT(POST("/call", "32") "{\"operation\":\"t/echo\",\"input\":1}" GET("/healthz")
                     POST("/call", "32") "{\"operation\":\"t/echo\",\"input\":2}"),
            s.now);
        while (s.e->successor)
            s.e = engine_succeed(s.e);
        run(&s);
        good = strstr(s.got, "\"output\":1}") && strstr(s.got, "\"output\":2}");
    }
    must(good || failed());
    server_close(&s);
    return good;
}

SCENARIO(a_user_of_this_machine_is_who_asks_or_the_request_fails)
{
    static const uint32_t uid = 7;
    struct server s;
    bool good;

    server_open(&s);
    s.uid = &uid;
    arm();
    good =
        says(&s, "POST /custom HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8\r\n\r\n[\"body\"]",
             "X-Custom: yes\r\n");
    server_close(&s);
    return good;
}

MAIN("oom_gateway", a_gateway_is_made_or_not, health_is_told_or_the_connection_ends,
     a_call_is_answered_or_fails, a_call_that_does_not_fit_beside_its_body_is_answered_or_fails,
     a_chunked_call_is_answered_or_fails, an_unknown_operation_is_told_or_fails,
     an_invalid_input_is_told_or_fails, malformed_json_is_told_or_fails,
     a_token_that_does_not_resolve_is_told_or_fails, a_batch_is_answered_in_order_or_fails,
     a_subscription_streams_to_its_end_or_fails, a_search_is_answered_or_fails,
     a_schema_is_answered_or_fails, the_document_is_answered_whole_or_fails,
     the_decoy_is_shown_or_the_connection_ends, a_custom_route_answers_or_fails,
     a_client_that_leaves_takes_its_call_along,
     pipelined_requests_are_answered_or_the_connection_ends,
     a_user_of_this_machine_is_who_asks_or_the_request_fails)
