/* What the contract says and no other file looks at: routes of the embedder, seen from the wire of a gateway without a loop;
 * the effort that a schema may cost; what a call that has failed keeps of its id. */
#include "gateway/gateway_int.h"
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- a gateway and one client ------------------------------------------------------------------ */

#define TOKEN "alk_0123456789abcdef0123456789abcdef"

/* One client of a gateway; what it gets is in got. room: bytes that the wire takes, -1 all. */
struct site_client {
    struct world *w;
    alk_gateway *g;
    struct engine *e;
    struct mem mem;
    struct buf got;
    alk_identities *ids;
    alk_identity_provider provider;
    struct served later;
    bool woken;
    long room;
};

static void note(struct engine *e, void *ud)
{
    (void)e;
    ((struct site_client *)ud)->woken = true;
}

static void open_gateway(struct site_client *s)
{
    char hash[65], config[300];
    alk_operation op;

    memset(s, 0, sizeof *s);
    s->room = -1;
    s->w = world_new();
    s->ids = alk_identities_new();
    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(config, sizeof config,
             "{\"keys\":[{\"prefix\":\"alk_0123\",\"hash\":\"%s\",\"scopes\":[\"t:x\"]}]}", hash);
    ck_assert_int_eq(alk_identities_load(s->ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
    alk_identities_provider(s->ids, &s->provider, sizeof s->provider);
    s->w->options.identities = &s->provider;
    world_add(s->w, "t/later", ALK_QUERY, serve_later, &s->later);
    alk_operation_init(&op, sizeof op);
    op.name = "t/scoped";
    op.handler = serve_echo;
    op.access_control = "{\"required_scopes\":[\"t:x\"]}";
    world_add_full(s->w, &op);
    op.name = "t/hidden";
    op.visibility = ALK_INTERNAL_ONLY;
    op.access_control = NULL;
    world_add_full(s->w, &op);
    world_start(s->w);
    ck_assert_int_eq(alk_gateway_new(&s->g, s->w->d, NULL, NULL, 0), ALK_OK);
    mem_init(&s->mem, NULL, NULL);
    buf_init(&s->got, &s->mem);
}

static void go(struct site_client *s)
{
    for (int i = 0; i < 100; i++) {
        size_t n = s->e->out.len;

        world_turn(s->w);
        n = s->room >= 0 && (size_t)s->room < n ? (size_t)s->room : n;
        if (n) {
            ck_assert_int_eq(buf_append(&s->got, buf_at(&s->e->out), n), 0);
            buf_consume(&s->e->out, n);
            s->room -= s->room >= 0 ? (long)n : 0;
            s->woken = true;
        }
        if (!s->woken && i)
            return;
        s->woken = false;
        s->e->ops->drained(s->e, s->w->now);
    }
    ck_abort_msg("never at rest");
}

static void dial(struct site_client *s)
{
    const struct peer_info who = {.address = "127.0.0.1", .local = "127.0.0.1"};

    s->e = gateway_service(s->g)->accept(gateway_service(s->g), &s->mem, &who, s->w->now);
    ck_assert_ptr_nonnull(s->e);
    s->e->wake = note;
    s->e->wake_ud = s;
}

/* Sends a request; what came back is in got, with its NUL. */
static const char *tell(struct site_client *s, const char *request)
{
    buf_truncate(&s->got, 0);
    s->e->ops->feed(s->e, request, strlen(request), s->w->now);
    while (s->e->successor)
        s->e = engine_succeed(s->e);
    go(s);
    ck_assert_int_eq(buf_append(&s->got, "", 1), 0);
    return buf_at(&s->got);
}

static void hang_up(struct site_client *s)
{
    s->e->ops->fini(s->e);
    s->e = NULL;
    world_turn(s->w);
}

static void close_gateway(struct site_client *s)
{
    if (s->e)
        hang_up(s);
    buf_fini(&s->got);
    ck_assert_uint_eq(s->mem.live, 0);
    served_free(&s->later);
    alk_gateway_free(s->g);
    world_free(s->w);
    alk_identities_free(s->ids);
}

static bool starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* ---- routes of the embedder -------------------------------------------------------------------- */

#define HEAD(line, more) line " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"

/* What a route's handler saw, and what it is to do. */
struct seen {
    alk_request *request;
    int calls, closes, complete, drains, answer; /* answer: what the handler returns */
    char text[400];
    struct asked asked;
};

static void on_close(alk_request *r, int complete, void *ud)
{
    struct seen *seen = ud;

    ck_assert_ptr_eq(seen->request, r);
    seen->request = NULL;
    seen->closes++;
    seen->complete = complete;
}

static int keep(alk_request *r, void *ud)
{
    struct seen *seen = ud;
    const alk_identity *who = alk_request_identity(r);
    size_t body_len, query_len, mine_len, secret_len;
    const char *body = alk_request_body(r, &body_len), *query = alk_request_query(r, &query_len);
    const char *mine = alk_request_header(r, "x-mine", &mine_len);
    const char *secret = alk_request_header(r, "authorization", &secret_len);

    seen->request = r;
    seen->calls++;
    alk_request_on_close(r, on_close, seen);
    snprintf(seen->text, sizeof seen->text, "%.*s|%.*s|%.*s|%s|%s", (int)body_len, body,
             (int)query_len, query ? query : "", (int)mine_len, mine ? mine : "",
             who ? alk_identity_id(who) : "nobody", secret ? "secret" : "none");
    return seen->answer;
}

static void add_route(struct site_client *s, const char *method, const char *path,
                      uint32_t authenticated, struct seen *seen)
{
    const alk_route route = {sizeof route, authenticated, method, path, keep, seen};

    ck_assert_int_eq(alk_gateway_add_route(s->g, &route), ALK_OK);
}

START_TEST(a_route_gets_the_request_and_streams_its_answer)
{
    struct site_client s;
    struct seen seen = {.calls = 0};
    const char *got;

    open_gateway(&s);
    add_route(&s, "PUT", "/hook", 0, &seen);
    dial(&s);
    got = tell(&s, HEAD("PUT /hook?a=%20b",
                        "X-Mine: yes\r\nContent-Length: 5\r\nAuthorization: Bearer " TOKEN
                        "\r\n") "hello");
    ck_assert_str_eq(got, "");
    ck_assert_str_eq(seen.text, "hello|a=%20b|yes|alk_0123|none");
    ck_assert_int_eq(alk_response_write(seen.request, "x", 1), ALK_EINVAL);
    ck_assert_int_eq(
        alk_response_start(seen.request, 201, TEXT("X-Answer: 1\r\nContent-Type: text/plain\r\n")),
        ALK_OK);
    ck_assert_int_eq(alk_response_start(seen.request, 201, "", 0), ALK_EINVAL);
    ck_assert_int_eq(alk_response_write(seen.request, "one", 3), ALK_OK);
    got = tell(&s, "");
    ck_assert(starts(got, "HTTP/1.1 201 Created\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "\r\nX-Answer: 1\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "\r\nX-Request-Id: "));
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\n3\r\none\r\n"));
    ck_assert_int_eq(seen.closes, 0);
    ck_assert_int_eq(alk_response_write(seen.request, "two", 3), ALK_OK);
    ck_assert_int_eq(alk_response_end(seen.request), ALK_OK);
    ck_assert_str_eq(tell(&s, ""), "3\r\ntwo\r\n0\r\n\r\n");
    ck_assert_int_eq(seen.closes, 1);
    ck_assert_int_eq(seen.complete, 1);
    close_gateway(&s);
}
END_TEST

START_TEST(a_route_sets_no_header_that_is_the_librarys)
{
    static const char *const bad[] = {"Content-Length: 5\r\n",
                                      "transfer-encoding: chunked\r\n",
                                      "Connection: close\r\n",
                                      "X-Request-Id: 1\r\n",
                                      "X A: 1\r\n",
                                      "X-A: 1",
                                      "X-A: 1\r\n\r\nbody",
                                      "X-A: a\x01\r\n",
                                      ": 1\r\n"};
    struct site_client s;
    struct seen seen = {.calls = 0};

    open_gateway(&s);
    add_route(&s, "GET", "/hook", 0, &seen);
    dial(&s);
    tell(&s, HEAD("GET /hook", ""));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(alk_response_start(seen.request, 200, TEXT(bad[i])) == ALK_EINVAL, "%s",
                      bad[i]);
    ck_assert_int_eq(alk_response_start(seen.request, 199, "", 0), ALK_EINVAL);
    ck_assert_int_eq(alk_response_start(seen.request, 204, "", 0), ALK_OK);
    ck_assert_int_eq(alk_response_end(seen.request), ALK_OK);
    ck_assert(starts(tell(&s, ""), "HTTP/1.1 204 "));
    close_gateway(&s);
}
END_TEST

START_TEST(no_route_takes_a_reserved_path_or_one_that_is_taken)
{
    static const char *const reserved[] = {"/call",   "/batch",      "/subscribe", "/search",
                                           "/schema", "/healthz",    "/readyz",    "/openapi.json",
                                           "/mcp",    "/alknet/call"};
    struct site_client s;
    struct seen seen = {.calls = 0};
    alk_route route = {sizeof route, 0, "DELETE", NULL, keep, &seen};

    open_gateway(&s);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        route.path = reserved[i];
        ck_assert_msg(alk_gateway_add_route(s.g, &route) == ALK_EEXIST, "%s", reserved[i]);
    }
    route.path = "/v1/models";
    ck_assert_int_eq(alk_gateway_add_route(s.g, &route), ALK_OK);
    ck_assert_int_eq(alk_gateway_add_route(s.g, &route), ALK_EEXIST);
    route.method = "GET";
    ck_assert_int_eq(alk_gateway_add_route(s.g, &route), ALK_OK);
    route.path = "no-slash";
    ck_assert_int_eq(alk_gateway_add_route(s.g, &route), ALK_EINVAL);
    close_gateway(&s);
}
END_TEST

START_TEST(method_and_raw_path_of_a_route_must_match_exactly)
{
    static const char *const other[] = {HEAD("POST /hook", "Content-Length: 0\r\n"),
                                        HEAD("PUT /hook", "Content-Length: 0\r\n"),
                                        HEAD("GET /hook/", ""),
                                        HEAD("GET /Hook", ""),
                                        HEAD("GET /hoo%6b", ""),
                                        HEAD("GET //hook", "")};
    struct site_client s;
    struct seen seen = {.calls = 0};

    open_gateway(&s);
    add_route(&s, "GET", "/hook", 0, &seen);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        const char *got;

        dial(&s);
        got = tell(&s, other[i]);
        ck_assert_msg(starts(got, "HTTP/1.1 404 ") && !strstr(got, "{"), "%s%s", other[i], got);
        hang_up(&s);
    }
    ck_assert_int_eq(seen.calls, 0);
    close_gateway(&s);
}
END_TEST

START_TEST(every_check_of_a_request_comes_before_a_route)
{
    struct site_client s;
    struct seen open = {.calls = 0}, closed = {.calls = 0};

    open_gateway(&s);
    add_route(&s, "GET", "/open", 0, &open);
    add_route(&s, "GET", "/closed", 1, &closed);
    dial(&s);
    ck_assert_ptr_nonnull(
        strstr(tell(&s, HEAD("GET /closed", "")), "\r\nWWW-Authenticate: Bearer\r\n"));
    ck_assert(starts(tell(&s, HEAD("GET /open", "Authorization: Bearer alk_wrong\r\n")),
                     "HTTP/1.1 401 "));
    ck_assert(starts(tell(&s, HEAD("GET /open", "Origin: https://elsewhere.example\r\n")),
                     "HTTP/1.1 403 "));
    ck_assert(
        starts(tell(&s, "GET /open HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n"), "HTTP/1.1 421 "));
    ck_assert_int_eq(open.calls + closed.calls, 0);
    ck_assert_str_eq(tell(&s, HEAD("GET /closed", "Authorization: Bearer " TOKEN "\r\n")), "");
    ck_assert_str_eq(closed.text, "|||alk_0123|none");
    close_gateway(&s);
    ck_assert_int_eq(closed.closes, 1);
    ck_assert_int_eq(closed.complete, 0);
}
END_TEST

START_TEST(a_route_that_fails_without_an_answer_is_an_internal_error)
{
    struct site_client s;
    struct seen seen = {.answer = ALK_ESYSTEM};
    const char *got;

    open_gateway(&s);
    add_route(&s, "GET", "/hook", 0, &seen);
    dial(&s);
    got = tell(&s, HEAD("GET /hook", ""));
    ck_assert(starts(got, "HTTP/1.1 500 "));
    ck_assert_ptr_nonnull(
        strstr(got, "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"));
    ck_assert_int_eq(seen.closes, 1);
    close_gateway(&s);
}
END_TEST

static void on_room(alk_request *r, void *ud)
{
    (void)r;
    ((struct seen *)ud)->drains++;
}

START_TEST(a_route_whose_client_does_not_read_is_told_to_wait_and_then_to_go_on)
{
    static char piece[10000];
    struct site_client s;
    struct seen seen = {.calls = 0};
    size_t taken = 0;

    memset(piece, 'x', sizeof piece);
    open_gateway(&s);
    add_route(&s, "GET", "/hook", 0, &seen);
    dial(&s);
    tell(&s, HEAD("GET /hook", ""));
    alk_request_on_drain(seen.request, on_room, &seen);
    ck_assert_int_eq(alk_response_start(seen.request, 200, "", 0), ALK_OK);
    s.room = 0;
    while (alk_response_write(seen.request, piece, sizeof piece) == ALK_OK) {
        taken += sizeof piece;
        ck_assert_uint_lt(taken, 1 << 20);
    }
    ck_assert_int_eq(alk_response_write(seen.request, piece, 1), ALK_EAGAIN);
    ck_assert_uint_gt(taken, 256 << 10);
    s.room = 10000;
    tell(&s, "");
    ck_assert_int_eq(seen.drains, 0);
    s.room = -1;
    tell(&s, "");
    ck_assert_int_eq(seen.drains, 1);
    ck_assert_int_eq(alk_response_write(seen.request, piece, 1), ALK_OK);
    hang_up(&s);
    ck_assert_int_eq(seen.closes, 1);
    ck_assert_int_eq(seen.complete, 0);
    close_gateway(&s);
}
END_TEST

static const char *route_calls(struct site_client *s, struct seen *seen, const char *operation)
{
    alk_call_options o;

    asked_free(&seen->asked);
    asked_options(&seen->asked, &o);
    ck_assert_int_eq(
        alk_request_call(seen->request, TEXT(operation), TEXT("5"), &o, &seen->asked.call), ALK_OK);
    world_turn(s->w);
    return asked_outcome(&seen->asked);
}

START_TEST(a_routes_call_passes_the_checks_of_every_call_and_ends_with_the_client)
{
    struct site_client s;
    struct seen seen = {.calls = 0};

    open_gateway(&s);
    add_route(&s, "GET", "/hook", 0, &seen);
    dial(&s);
    tell(&s, HEAD("GET /hook", ""));
    ck_assert_str_eq(route_calls(&s, &seen, "t/scoped"),
                     "fault FORBIDDEN: authentication required");
    ck_assert_str_eq(route_calls(&s, &seen, "t/hidden"),
                     "fault NOT_FOUND: operation not found: t/hidden");
    hang_up(&s);
    dial(&s);
    tell(&s, HEAD("GET /hook", "Authorization: Bearer " TOKEN "\r\n"));
    ck_assert_str_eq(route_calls(&s, &seen, "t/scoped"), "ok 5");
    ck_assert_str_eq(route_calls(&s, &seen, "t/later"), "running");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(s.later.call)), "alk_0123");
    ck_assert_int_eq(s.later.ends, 0);
    hang_up(&s);
    ck_assert_str_eq(asked_outcome(&seen.asked), "aborted");
    ck_assert_int_eq(s.later.ends, 1);
    ck_assert_int_eq(s.later.why, ALK_END_ABORTED);
    asked_free(&seen.asked);
    close_gateway(&s);
}
END_TEST

START_TEST(readyz_says_what_the_embedder_says)
{
    struct site_client s;

    open_gateway(&s);
    dial(&s);
    ck_assert(starts(tell(&s, HEAD("GET /readyz", "")), "HTTP/1.1 200 "));
    alk_gateway_set_ready(s.g, 0);
    ck_assert(starts(tell(&s, HEAD("GET /readyz", "")), "HTTP/1.1 503 "));
    ck_assert(starts(tell(&s, HEAD("GET /healthz", "")), "HTTP/1.1 200 "));
    alk_gateway_set_ready(s.g, 1);
    ck_assert(starts(tell(&s, HEAD("GET /readyz", "")), "HTTP/1.1 200 "));
    close_gateway(&s);
}
END_TEST

/* ---- what a schema may cost -------------------------------------------------------------------- */

#define SECONDS_MAX 1.0 /* of processor time, sanitizers included; without them it is 50 ms */

/* The outcome of one input against one schema, and that it came soon. or: another one that will do; NULL: none. */
static void costs_little(const char *schema, const char *input, const char *want, const char * or)
{
    struct world *w = world_new();
    alk_operation op;
    struct wire *r;
    clock_t began;
    const char *got;

    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.input_schema = schema;
    world_add_full(w, &op);
    w->limits.anonymous_bytes = 4 << 20;
    world_start(w);
    r = wire_open(w, NULL);
    began = clock();
    wire_request(r, "1", "t/x", input);
    ck_assert_msg((double)(clock() - began) / CLOCKS_PER_SEC < SECONDS_MAX, "%s took %.0f ms",
                  schema, (double)(clock() - began) * 1000 / CLOCKS_PER_SEC);
    got = wire_error(r);
    ck_assert_msg(starts(got, want) || (or &&starts(got, or)), "%s: %.200s", schema, got);
    wire_free(r);
    world_free(w);
}

#define TOO_COMPLEX "1 INVALID_INPUT: too complex"
#define NO_MATCH "1 INVALID_INPUT: "
#define ANSWERED "{\"type\":\"call.responded\""

START_TEST(catastrophic_patterns_end_soon)
{
    static const char *const patterns[] = {"^(a+)+$",   "^(a|aa)+$",
                                           "^(a|a?)+$", "^(.*a){20}$",
                                           "(x+x+)+y",  "^(([a-z])+.)+[A-Z]([a-z])+$"};
    char schema[200];

    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char *input = repeated(strchr(patterns[i], 'x') ? "x" : "a", 5000, "\"", "!\"");

        snprintf(schema, sizeof schema, "{\"pattern\":\"%s\"}", patterns[i]);
        costs_little(schema, input, NO_MATCH, NULL);
        free(input);
    }
}
END_TEST

START_TEST(references_that_multiply_end_soon)
{
    /* Each level checks the value twice: 2^40 steps. */
    char schema[4000] = "{\"$ref\":\"#/$defs/d0\",\"$defs\":{";

    for (int i = 0; i < 40; i++)
        snprintf(schema + strlen(schema), 100,
                 "\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i,
                 i + 1, i + 1);
    strcat(schema, "\"d40\":{\"type\":\"string\"}}}");
    costs_little(schema, "\"s\"", TOO_COMPLEX, NULL);
}
END_TEST

START_TEST(references_that_lead_back_end_soon)
{
    struct world *w = world_new();
    alk_operation op;
    int rc;

    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.input_schema = "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/"
                      "b\"},\"b\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}]}}}";
    rc = alk_registry_add(w->reg, &op);
    world_start(w);
    world_free(w);
    if (rc) {
        ck_assert_int_eq(rc, ALK_ESCHEMA);
        return;
    }
    costs_little(op.input_schema, "1", TOO_COMPLEX, NULL);
}
END_TEST

START_TEST(unique_items_of_100000_end_soon)
{
    struct buf b;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    for (int kind = 0; kind < 3; kind++) {
        buf_init(&b, &mem);
        buf_puts(&b, "[");
        for (int i = 0; i < 100000; i++)
            buf_printf(&b,
                       kind == 0   ? "%s%d"
                       : kind == 1 ? "%s{\"a\":%d}"
                                   : "%s[[%d]]",
                       i ? "," : "", i);
        buf_append(&b, "]", 2);
        costs_little("{\"uniqueItems\":true}", buf_at(&b), TOO_COMPLEX, ANSWERED);
        buf_fini(&b);
    }
    ck_assert_uint_eq(mem.live, 0);
}
END_TEST

/* ---- calls of ours ----------------------------------------------------------------------------- */

START_TEST(the_name_of_a_call_goes_out_with_one_slash_however_it_was_given)
{
    struct node n;
    struct asked a;

    node_init(&n);
    ask(&a, n.r->conn, "/x/y", "1");
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"operationId\":\"/x/y\""));
    asked_drop(&a, n.w);
    while (wire_next(n.r))
        ;
    ask(&a, n.r->conn, "x/y", "1");
    ck_assert_ptr_nonnull(strstr(wire_next(n.r), "\"operationId\":\"/x/y\""));
    asked_drop(&a, n.w);
    node_fini(&n);
}
END_TEST

START_TEST(malformed_extras_of_a_request_are_ignored)
{
    static const char *const extras[] = {
        ",\"forwarded_for\":5",  ",\"forwarded_for\":{\"id\":5,\"scopes\":[],\"resources\":{}}",
        ",\"hops\":\"9\"",       ",\"hops\":-1",
        ",\"hops\":9.5",         ",\"hops\":null",
        ",\"timeout_ms\":\"1\"", ",\"timeout_ms\":-1",
        ",\"timeout_ms\":0.5",   ",\"timeout_ms\":18446744073709551616",
        ",\"traceparent\":7",    ",\"auth_token\":{}"};
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        wire_request_with(n.r, "1", "/t/echo", "1", extras[i]);
        wire_expect(n.r, RESPONDED("1", "1"));
    }
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

MAIN("contract", a_route_gets_the_request_and_streams_its_answer,
     a_route_sets_no_header_that_is_the_librarys,
     no_route_takes_a_reserved_path_or_one_that_is_taken,
     method_and_raw_path_of_a_route_must_match_exactly,
     every_check_of_a_request_comes_before_a_route,
     a_route_that_fails_without_an_answer_is_an_internal_error,
     a_route_whose_client_does_not_read_is_told_to_wait_and_then_to_go_on,
     a_routes_call_passes_the_checks_of_every_call_and_ends_with_the_client,
     readyz_says_what_the_embedder_says, catastrophic_patterns_end_soon,
     references_that_multiply_end_soon, references_that_lead_back_end_soon,
     unique_items_of_100000_end_soon,
     the_name_of_a_call_goes_out_with_one_slash_however_it_was_given,
     malformed_extras_of_a_request_are_ignored)
