/* The embedder's own routes: what the gateway lets through to them, what they may answer, and their calls. */
#include "support/suite.h"
#include "uv/rig.h"

#define AS_TESTER "Authorization: Bearer " RIG_TOKEN "\r\n"
#define REQUEST(method, target, more)                                                              \
    method " " target " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"

/* One custom route: what its handler saw and does. */
struct hook {
    alk_request *request; /* until on_close */
    int starts, closes, complete, drains;
    int rc;     /* what the handler returns */
    int status; /* > 0: it answers at once with it, headers and text */
    const char *headers, *text;
    char seen[400];            /* what the handler read of the request */
    long left, wrote, refused; /* blocks to stream, and streamed */
};

static struct client a;

static void on_close(alk_request *r, int complete, void *ud)
{
    struct hook *h = ud;

    h->closes++;
    h->complete = complete;
    h->request = NULL;
    /* Nothing is accepted any more. */
    must(alk_response_start(r, 200, "", 0) == ALK_EINVAL);
    must(alk_response_write(r, "x", 1) == ALK_EINVAL);
    must(alk_response_end(r) == ALK_EINVAL);
}

static void look(struct hook *h, alk_request *r)
{
    size_t body, query, token, type;
    const char *b_ = alk_request_body(r, &body), *q = alk_request_query(r, &query);
    const char *t = alk_request_header(r, "authorization", &token);
    const char *c = alk_request_header(r, "x-kind", &type);
    const alk_identity *who = alk_request_identity(r);

    snprintf(h->seen, sizeof h->seen, "body=%.*s query=%.*s authorization=%.*s x-kind=%.*s who=%s",
             (int)(body > 100 ? 100 : body), b_, q ? (int)query : 1, q ? q : "-",
             t ? (int)token : 1, t ? t : "-", c ? (int)type : 1, c ? c : "-",
             who ? alk_identity_id(who) : "-");
}

static int serve(alk_request *r, void *ud)
{
    struct hook *h = ud;

    h->starts++;
    h->request = r;
    look(h, r);
    alk_request_on_close(r, on_close, h);
    if (h->status > 0) {
        must(!alk_response_start(r, h->status, TEXT(h->headers ? h->headers : "")));
        must(!alk_response_write(r, TEXT(h->text ? h->text : "")));
        must(!alk_response_end(r));
    }
    return h->rc;
}

static int add(struct rig *r, const char *method, const char *path, uint32_t authenticated,
               struct hook *h)
{
    alk_route route = {sizeof route, authenticated, method, path, serve, h};

    return alk_gateway_add_route(r->g, &route);
}

/* A rig with GET and POST /hook. */
static struct rig *rig_with(struct hook *h)
{
    struct rig *r = rig_new();

    memset(h, 0, sizeof *h);
    rig_start_bare(r);
    ck_assert_int_eq(add(r, "POST", "/hook", 0, h), ALK_OK);
    ck_assert_int_eq(add(r, "GET", "/hook", 0, h), ALK_OK);
    return r;
}

/* ---- registration and routing ------------------------------------------------------------------ */

START_TEST(reserved_paths_are_refused_for_every_method)
{
    static const char *const reserved[] = {"/call",        "/batch",       "/subscribe", "/search",
                                           "/schema",      "/readyz",      "/healthz",   "/mcp",
                                           "/alknet/call", "/openapi.json"};
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    struct hook h;
    struct rig *r = rig_with(&h);

    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        for (size_t k = 0; k < 4; k++)
            ck_assert_msg(add(r, methods[k], reserved[i], 0, &h) == ALK_EEXIST, "%s", reserved[i]);
    }
    ck_assert_int_eq(add(r, "POST", "/hook", 0, &h), ALK_EEXIST);
    ck_assert_int_eq(add(r, "PUT", "/hook", 0, &h), ALK_OK);
    ck_assert_int_eq(add(r, "POST", "/call/", 0, &h), ALK_OK);
    rig_free(r);
}
END_TEST

START_TEST(the_health_path_is_reserved_wherever_it_is)
{
    struct rig *r = rig_new();
    struct hook h = {.starts = 0};

    r->gate.health_path = "/alive";
    rig_start_bare(r);
    ck_assert_int_eq(add(r, "GET", "/alive", 0, &h), ALK_EEXIST);
    rig_free(r);
}
END_TEST

START_TEST(malformed_routes_are_refused)
{
    struct hook h;
    struct rig *r = rig_with(&h);
    alk_route route = {sizeof route, 0, "GET", "/none", NULL, NULL};

    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_EINVAL);
    ck_assert_int_eq(add(r, "", "/x", 0, &h), ALK_EINVAL);
    ck_assert_int_eq(add(r, NULL, "/x", 0, &h), ALK_EINVAL);
    ck_assert_int_eq(add(r, "GET", "", 0, &h), ALK_EINVAL);
    ck_assert_int_eq(add(r, "GET", NULL, 0, &h), ALK_EINVAL);
    ck_assert_int_eq(add(r, "GET", "hook", 0, &h), ALK_EINVAL);
    rig_free(r);
}
END_TEST

START_TEST(routes_come_before_the_first_server)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    rig_serve(r);
    ck_assert_int_eq(add(r, "GET", "/late", 0, &h), ALK_EINVAL);
    rig_free(r);
}
END_TEST

START_TEST(method_and_path_must_match_exactly)
{
    static const char *const others[] = {"PUT /hook",  "GET /hook/",   "GET /Hook",
                                         "GET /hoo",   "GET /hook%20", "GET /%68ook",
                                         "GET //hook", "DELETE /hook"};
    struct hook h;
    struct rig *r = rig_with(&h);
    char request[200];

    h.status = 200;
    h.text = "mine";
    rig_serve(r);
    rig_client(r, &a);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: localhost\r\n\r\n", others[i]);
        client_send(&a, request);
        ck_assert_int_eq(client_answer(&a), 404);
        ck_assert_str_eq(a.body, "404\n");
    }
    ck_assert_int_eq(h.starts, 0);
    client_send(&a, GET("/hook"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(a.body, "mine");
    ck_assert_ptr_nonnull(client_header(&a, "X-Request-Id"));
    ck_assert_ptr_nonnull(client_header(&a, "Date"));
    ck_assert_int_eq(h.starts, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- what the handler sees --------------------------------------------------------------------- */

START_TEST(the_request_is_given_out_without_its_token)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    h.status = 200;
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, REQUEST("POST", "/hook?a=%20b&c",
                            AS_TESTER "X-Kind: push\r\nContent-Length: 4\r\n") "{no}");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(h.seen, "body={no} query=a=%20b&c authorization=- x-kind=push who=tester");
    client_send(&a, REQUEST("POST", "/hook",
                            "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(h.seen, "body=abcde query=- authorization=- x-kind=- who=-");
    client_send(&a, GET("/hook?"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(h.seen, "body= query= authorization=- x-kind=- who=-");
    ck_assert_int_eq(h.closes, 3);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_wrong_token_is_refused_on_any_route)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, REQUEST("GET", "/hook", "Authorization: Bearer alk_wrong\r\n"));
    ck_assert_int_eq(client_answer(&a), 401);
    client_send(&a, REQUEST("GET", "/hook", "Origin: https://elsewhere.example\r\n"));
    ck_assert_int_eq(client_answer(&a), 403);
    client_send(&a, "GET /hook HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
    ck_assert_int_eq(client_answer(&a), 421);
    ck_assert_int_eq(h.starts, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(an_authenticated_route_wants_an_identity)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    ck_assert_int_eq(add(r, "GET", "/mine", 1, &h), ALK_OK);
    h.status = 200;
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/mine"));
    ck_assert_int_eq(client_answer(&a), 401);
    ck_assert_str_eq(client_header(&a, "WWW-Authenticate"), "Bearer");
    ck_assert_int_eq(h.starts, 0);
    client_send(&a, REQUEST("GET", "/mine", AS_TESTER));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_eq(h.starts, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* Announced (0) or found out (1); with an identity the larger limit counts. */
START_TEST(a_body_over_the_limit_does_not_reach_the_handler)
{
    struct hook h;
    struct rig *r = rig_new();

    memset(&h, 0, sizeof h);
    r->limits.anonymous_bytes = 10;
    r->limits.body_bytes = 20;
    rig_start_bare(r);
    ck_assert_int_eq(add(r, "POST", "/hook", 0, &h), ALK_OK);
    h.status = 200;
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, REQUEST("POST", "/hook", "Content-Length: 10\r\n") "0123456789");
    ck_assert_int_eq(client_answer(&a), 200);
    client_send(&a, _i ? REQUEST("POST", "/hook",
                                 "Transfer-Encoding: chunked\r\n") "b\r\n0123456789a\r\n0\r\n\r\n"
                       : REQUEST("POST", "/hook", "Content-Length: 11\r\n") "0123456789a");
    ck_assert_int_eq(client_answer(&a), 413);
    ck_assert_int_eq(h.starts, 1);
    client_ended(&a);
    client_close(&a);
    rig_client(r, &a);
    client_send(&a, REQUEST("POST", "/hook", AS_TESTER "Content-Length: 11\r\n") "0123456789a");
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- answers ----------------------------------------------------------------------------------- */

START_TEST(a_handler_that_fails_answers_500)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    h.rc = ALK_ENOMEM;
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook"));
    ck_assert_int_eq(client_answer(&a), 500);
    ck_assert_ptr_nonnull(strstr(a.body, "\"INTERNAL\""));
    rig_until(r, h.closes == 1);
    ck_assert_int_eq(h.complete, 1);
    /* Not when it has answered. */
    h.status = 202;
    h.text = "taken";
    client_send(&a, GET("/hook"));
    ck_assert_int_eq(client_answer(&a), 202);
    ck_assert_str_eq(a.body, "taken");
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(head_gets_the_headers_of_get)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    h.status = 200;
    h.headers = "Content-Type: text/x-mine\r\n";
    h.text = "a body";
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, REQUEST("HEAD", "/hook", "") GET("/hook"));
    a.next_is_head = true;
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(client_header(&a, "Content-Type"), "text/x-mine");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(a.body, "a body");
    client_close(&a);
    rig_free(r);
}
END_TEST

static const struct {
    int status;
    const char *headers;
} refused[] = {
    {200, "X: a\r\nInjected\r\n"},
    {200, "X: a\nSet-Cookie: b\r\n"},
    {200, "X: a\rb\r\n"},
    {200, "X: a\r\n\r\n<body>"},
    {200, "X: a"},
    {200, "X: a\r"},
    {200, ": a\r\n"},
    {200, "X Y: a\r\n"},
    {200, "X : a\r\n"},
    {200, " X: a\r\n"},
    {200, "X: \x7f\r\n"},
    {200, "X: \x01\r\n"},
    {200, "Content-Length: 3\r\n"},
    {200, "content-length: 3\r\n"},
    {200, "TRANSFER-ENCODING: chunked\r\n"},
    {200, "Connection: close\r\n"},
    {200, "Keep-Alive: 5\r\n"},
    {200, "Date: now\r\n"},
    {200, "X-Request-Id: 1\r\n"},
    {200, "traceparent: 1\r\n"},
    {199, ""},
    {101, ""},
    {0, ""},
    {-1, ""},
    {600, ""},
};

START_TEST(headers_that_would_break_the_answer_are_refused)
{
    struct hook h;
    struct rig *r = rig_with(&h);
    char many[40 * 12] = "";

    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook"));
    rig_until(r, h.request);
    ck_assert_int_eq(alk_response_start(h.request, refused[_i].status, TEXT(refused[_i].headers)),
                     ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(h.request, 200, "X: a\0b\r\n", 8), ALK_EINVAL);
    for (int i = 0; i < 33; i++)
        strcat(many, "X-Many: 1\r\n");
    ck_assert_int_eq(alk_response_start(h.request, 200, TEXT(many)), ALK_EINVAL);
    /* A refusal leaves everything as it was. */
    ck_assert_int_eq(alk_response_write(h.request, "x", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_response_end(h.request), ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(h.request, 200, TEXT("X: b\r\n")), ALK_OK);
    ck_assert_int_eq(alk_response_start(h.request, 200, TEXT("X: c\r\n")), ALK_EINVAL);
    ck_assert_int_eq(alk_response_end(h.request), ALK_OK);
    ck_assert_int_eq(alk_response_end(h.request), ALK_EINVAL);
    ck_assert_int_eq(alk_response_write(h.request, "x", 1), ALK_EINVAL);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(client_header(&a, "X"), "b");
    ck_assert_uint_eq(a.body_len, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(an_answer_has_room_for_its_own_headers)
{
    struct hook h;
    struct rig *r = rig_with(&h);
    char many[40 * 20] = "";

    for (int i = 0; i < 32; i++)
        sprintf(many + strlen(many), "X-Many-%02d: %d\r\n", i, i * i);
    h.status = 200;
    h.headers = many;
    rig_serve(r);
    rig_client(r, &a);
    client_send(
        &a, REQUEST("GET", "/hook",
                    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(client_header(&a, "X-Many-00"), "0");
    ck_assert_str_eq(client_header(&a, "X-Many-31"), "961");
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(statuses_without_a_body_get_none)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    h.status = _i ? 304 : 204;
    h.text = "must not be seen";
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook") CALL_ECHO);
    ck_assert_int_eq(client_answer(&a), h.status);
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(an_old_client_gets_the_body_up_to_the_end)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    h.status = 200;
    h.text = "old";
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, "GET /hook HTTP/1.0\r\nHost: localhost\r\n\r\n");
    client_ended(&a);
    ck_assert_ptr_null(strstr(a.in, "chunked"));
    ck_assert_str_eq(strstr(a.in, "\r\n\r\n"), "\r\n\r\nold");
    ck_assert_int_eq(h.complete, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook?1") CALL_ECHO GET("/hook?2") GET("/healthz"));
    for (int i = 1; i <= 2; i++) {
        char text[20];

        rig_until(r, h.request);
        rig_steps(r, 5);
        ck_assert_int_eq(h.starts, i); /* one after the other */
        snprintf(text, sizeof text, "nr %d", i);
        ck_assert_int_eq(alk_response_start(h.request, 200, "", 0), ALK_OK);
        ck_assert_int_eq(alk_response_write(h.request, TEXT(text)), ALK_OK);
        ck_assert_int_eq(alk_response_end(h.request), ALK_OK);
        ck_assert_int_eq(client_answer(&a), 200);
        ck_assert_str_eq(a.body, text);
        ck_assert_int_eq(client_answer(&a), 200); /* of the echo, then of health */
    }
    ck_assert_str_eq(a.body, "ok");
    ck_assert_int_eq(h.closes, 2);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- streams ----------------------------------------------------------------------------------- */

static void stream(alk_request *r, void *ud)
{
    struct hook *h = ud;
    char block[1000];
    int rc = ALK_OK;

    memset(block, 's', sizeof block);
    while (h->left && !(rc = alk_response_write(r, block, sizeof block))) {
        h->left--;
        h->wrote++;
    }
    if (!rc) {
        must(!alk_response_end(r));
        return;
    }
    must(rc == ALK_EAGAIN);
    must(alk_response_write(r, "x", 1) == ALK_EAGAIN); /* nothing in between */
    h->refused++;
}

static void stream_more(alk_request *r, void *ud)
{
    ((struct hook *)ud)->drains++;
    stream(r, ud);
}

static int serve_stream(alk_request *r, void *ud)
{
    struct hook *h = ud;

    h->starts++;
    h->request = r;
    alk_request_on_close(r, on_close, h);
    alk_request_on_drain(r, stream_more, h);
    must(!alk_response_start(r, 200, TEXT("Content-Type: text/plain\r\n")));
    stream(r, h);
    return ALK_OK;
}

static struct rig *rig_streaming(struct hook *h, uint32_t queue_high)
{
    struct rig *r = rig_new();
    alk_route route = {sizeof route, 0, "GET", "/stream", serve_stream, h};

    memset(h, 0, sizeof *h);
    h->left = 1000000;
    r->limits.queue_high = queue_high;
    rig_start_bare(r);
    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_OK);
    rig_serve(r);
    return r;
}

static void read_stream(struct rig *r)
{
    rig_narrow_client(r, &a, true);
    client_send(&a, GET("/stream"));
    usleep(50000);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_uint_eq(a.body_len, 5000000);
    ck_assert_int_eq(strspn(a.body, "s"), 5000000);
    client_close(&a);
}

START_TEST(a_streaming_answer_is_held_back_and_resumed)
{
    static const uint32_t high[] = {4096, 32768, 262144};
    struct hook h;
    struct rig *r = rig_streaming(&h, high[_i]);

    h.left = 5000;
    rig_script(r, read_stream);
    ck_assert_int_eq(h.wrote, 5000);
    ck_assert_int_gt(h.refused, 0);
    ck_assert_int_eq(h.drains, h.refused);
    ck_assert_int_eq(h.closes, 1);
    ck_assert_int_eq(h.complete, 1);
    rig_free(r);
}
END_TEST

/* By a function that is given when the client has long read everything. */
START_TEST(on_drain_may_come_late)
{
    struct hook h;
    struct rig *r = rig_with(&h);
    size_t wrote = 0;

    r->limits.queue_high = 8192;
    ck_assert_int_eq(alk_node_set_limits(r->node, &r->limits), ALK_OK);
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook"));
    rig_until(r, h.request);
    ck_assert_int_eq(alk_response_start(h.request, 200, "", 0), ALK_OK);
    while (!alk_response_write(h.request, "some bytes", 10))
        wrote += 10;
    ck_assert_int_eq(client_head(&a), 200);
    while (a.body_len < wrote)
        client_chunk(&a);
    rig_steps(r, 20);
    h.left = 3;
    alk_request_on_drain(h.request, stream_more, &h);
    ck_assert_int_eq(h.drains, 0); /* not from within */
    while (!a.whole)
        client_chunk(&a);
    ck_assert_int_eq(h.drains, 1);
    ck_assert_uint_eq(a.body_len, wrote + 3000);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* The client closes (0), resets (1), or is cut by the end of the loop (2). */
START_TEST(a_client_that_leaves_a_stream_closes_it_once)
{
    struct hook h;
    struct rig *r = rig_streaming(&h, 32768);

    rig_narrow_client(r, &a, false);
    client_send(&a, GET("/stream"));
    rig_until(r, h.refused);
    rig_steps(r, 10);
    ck_assert_int_eq(h.closes, 0);
    if (_i == 0)
        client_close(&a);
    else if (_i == 1)
        client_reset(&a);
    else
        rig_close(r);
    rig_until(r, h.closes);
    rig_steps(r, 10);
    ck_assert_int_eq(h.closes, 1);
    ck_assert_int_eq(h.complete, 0);
    if (_i == 2)
        client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_client_that_leaves_before_the_answer_closes_it_once)
{
    struct hook h;
    struct rig *r = rig_with(&h);

    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook"));
    rig_until(r, h.request);
    if (_i == 0)
        client_close(&a);
    else if (_i == 1)
        client_reset(&a);
    else
        rig_close(r);
    rig_until(r, h.closes);
    rig_steps(r, 5);
    ck_assert_int_eq(h.closes, 1);
    ck_assert_int_eq(h.complete, 0);
    if (_i == 2)
        client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_drain_waits_for_an_answer_and_then_cuts_it)
{
    struct hook h;
    struct rig *r = rig_new();

    memset(&h, 0, sizeof h);
    r->limits.drain_ms = 50;
    rig_start_bare(r);
    ck_assert_int_eq(add(r, "GET", "/hook", 0, &h), ALK_OK);
    rig_serve(r);
    rig_client(r, &a);
    client_send(&a, GET("/hook"));
    rig_until(r, h.request);
    alk_loop_drain(r->l, rig_on_drained, r);
    rig_steps(r, 20);
    ck_assert_int_eq(h.closes, 0);
    client_ended(&a);
    ck_assert_int_eq(h.closes, 1);
    ck_assert_int_eq(h.complete, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("routes");
    TCase *t = tcase_create("routes");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, reserved_paths_are_refused_for_every_method);
    tcase_add_test(t, the_health_path_is_reserved_wherever_it_is);
    tcase_add_test(t, malformed_routes_are_refused);
    tcase_add_test(t, routes_come_before_the_first_server);
    tcase_add_test(t, method_and_path_must_match_exactly);
    tcase_add_test(t, the_request_is_given_out_without_its_token);
    tcase_add_test(t, a_wrong_token_is_refused_on_any_route);
    tcase_add_test(t, an_authenticated_route_wants_an_identity);
    tcase_add_loop_test(t, a_body_over_the_limit_does_not_reach_the_handler, 0, 2);
    tcase_add_test(t, a_handler_that_fails_answers_500);
    tcase_add_test(t, head_gets_the_headers_of_get);
    tcase_add_loop_test(t, headers_that_would_break_the_answer_are_refused, 0,
                        sizeof refused / sizeof refused[0]);
    tcase_add_test(t, an_answer_has_room_for_its_own_headers);
    tcase_add_loop_test(t, statuses_without_a_body_get_none, 0, 2);
    tcase_add_test(t, an_old_client_gets_the_body_up_to_the_end);
    tcase_add_test(t, pipelined_requests_are_answered_in_order);
    tcase_add_loop_test(t, a_streaming_answer_is_held_back_and_resumed, 0, 3);
    tcase_add_test(t, on_drain_may_come_late);
    tcase_add_loop_test(t, a_client_that_leaves_a_stream_closes_it_once, 0, 3);
    tcase_add_loop_test(t, a_client_that_leaves_before_the_answer_closes_it_once, 0, 3);
    tcase_add_test(t, a_drain_waits_for_an_answer_and_then_cuts_it);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
