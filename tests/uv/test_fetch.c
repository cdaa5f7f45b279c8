/* The loop's HTTP client, when all goes well: what is sent, and how connections are shared. */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "uv/http_int.h"

static struct upstream up;
static struct got a, many[300];

static struct rig *begin(const char *script)
{
    struct rig *r = fetch_rig_new();

    up_start(&up, r, script);
    return r;
}

static void end(struct rig *r)
{
    got_free(&a);
    up_stop(&up);
    rig_free(r);
}

static struct str text(const char *s)
{
    return str_of(s);
}

/* ---- what is sent ------------------------------------------------------------------------------ */

START_TEST(a_get_has_the_lines_that_it_needs_and_no_others)
{
    struct rig *r = begin(OK("5", "hello"));
    char whole[500];

    got_get(&a, r, up_url(&up, "/a/b?c=d%20e&f"));
    got_ok(&a, "hello");
    snprintf(whole, sizeof whole,
             "GET /a/b?c=d%%20e&f HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n"
             "User-Agent: alknet/" ALK_VERSION "\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
             up.port);
    ck_assert_str_eq(up.last, whole);
    ck_assert_int_eq(a.heads, 1);
    ck_assert_str_eq(a.headers, "content-length: 5\r\n");
    ck_assert_str_eq(a.url, up.url);
    end(r);
}
END_TEST

START_TEST(lines_of_the_caller_take_the_place_of_the_clients)
{
    struct rig *r = begin(OK("0", ""));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    rq.headers = text("user-agent: theirs/1\r\naccept-encoding: identity\r\n");
    got_all(&a, r, &rq);
    got_ok(&a, "");
    ck_assert(up_line(&up, "user-agent: theirs/1") && up_line(&up, "accept-encoding: identity"));
    ck_assert_ptr_null(strstr(up.last, "User-Agent"));
    ck_assert_ptr_null(strstr(up.last, "Accept-Encoding"));
    end(r);
}
END_TEST

START_TEST(header_lines_arrive_as_they_are)
{
    struct rig *r = begin(OK("0", ""));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    rq.headers = text("X-One: 1;2 \"q\"\r\nX-Empty: \r\nX-Bare:\r\nx-lower: \xc3\xa9; a=b\r\n"
                      "Authorization: Bearer secret\r\nCookie: a=b; c=d\r\nAccept: text/x\r\n");
    rq.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    got_all(&a, r, &rq);
    got_ok(&a, "");
    ck_assert(up_line(&up, "X-One: 1;2 \"q\""));
    ck_assert(up_line(&up, "X-Empty:"));
    ck_assert(up_line(&up, "X-Bare:"));
    ck_assert(up_line(&up, "x-lower: \xc3\xa9; a=b"));
    ck_assert(up_line(&up, "Authorization: Bearer secret"));
    ck_assert(up_line(&up, "Cookie: a=b; c=d"));
    ck_assert(up_line(&up, "Accept: text/x"));
    ck_assert(up_line(&up, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    ck_assert_ptr_null(strstr(up.last, "*/*"));
    end(r);
}
END_TEST

struct sending {
    const char *method, *body; /* NULL: none */
    const char *headers;
    const char *length; /* that has to be said; NULL: nothing */
    const char *type;
};

static const struct sending sendings[] = {
    {"GET", NULL, "", NULL, NULL},
    {"DELETE", NULL, "", NULL, NULL},
    {"OPTIONS", NULL, "", NULL, NULL},
    {"PUT", NULL, "", "Content-Length: 0", NULL},
    {"POST", NULL, "", "Content-Length: 0", NULL},
    {"PATCH", NULL, "", "Content-Length: 0", NULL},
    {"POST", "", "", "Content-Length: 0", NULL},
    {"POST", "{\"a\":1}", "", "Content-Length: 7", NULL},
    {"POST", "{\"a\":1}", "Content-Type: application/json\r\n", "Content-Length: 7",
     "Content-Type: application/json"},
    {"PUT", "xyz", "content-type: text/x\r\n", "Content-Length: 3", "content-type: text/x"},
    {"DELETE", "why", "", "Content-Length: 3", NULL},
    {"GET", "odd", "", "Content-Length: 3", NULL},
    {"PURGE", NULL, "", NULL, NULL},
    {"QUERY", "q", "", "Content-Length: 1", NULL},
};
#define SENDINGS (int)(sizeof sendings / sizeof sendings[0])

START_TEST(a_body_and_its_lines_are_those_of_the_caller)
{
    struct rig *r = begin(OK("0", ""));

    /* Twice, so that nothing of one request is left for another. */
    for (int i = 0; i < 2 * SENDINGS; i++) {
        const struct sending *s = &sendings[i % SENDINGS];
        struct fetch_request rq = asking(s->method, up_url(&up, "/thing"));
        char first[64];
        const char *body;

        rq.headers = text(s->headers);
        rq.body = str_of(s->body);
        got_all(&a, r, &rq);
        got_ok(&a, "");
        snprintf(first, sizeof first, "%s /thing HTTP/1.1\r\n", s->method);
        ck_assert_msg(!strncmp(up.last, first, strlen(first)), "%d: %s", i, up.last);
        body = strstr(up.last, "\r\n\r\n") + 4;
        ck_assert_str_eq(body, s->body ? s->body : "");
        ck_assert_msg(s->length ? up_line(&up, s->length) : !strcasestr(up.last, "content-length:"),
                      "%d: %s", i, up.last);
        ck_assert_msg(s->type ? up_line(&up, s->type) : !strcasestr(up.last, "content-type:"),
                      "%d: %s", i, up.last);
        ck_assert_ptr_null(strcasestr(up.last, "transfer-encoding:"));
        ck_assert_ptr_null(strcasestr(up.last, "expect:"));
    }
    ck_assert_int_eq(up.connections, 1);
    end(r);
}
END_TEST

START_TEST(a_head_has_an_answer_without_a_body)
{
    struct rig *r = begin(OK_HEAD "X-A: b\r\n\r\n");

    for (int i = 0; i < 3; i++) {
        struct fetch_request rq = asking("HEAD", up_url(&up, "/h"));

        rq.body = i == 1 ? text("ignored") : STR_NONE;
        got_all(&a, r, &rq);
        got_ok(&a, "");
        ck_assert(!strncmp(up.last, "HEAD /h HTTP/1.1\r\n", 18));
        ck_assert_str_eq(a.headers, "x-a: b\r\n");
        up.script = OK("2", "ok");
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "ok");
        up.script = OK_HEAD "X-A: b\r\n\r\n";
    }
    end(r);
}
END_TEST

START_TEST(a_large_body_arrives_whole)
{
    struct rig *r = begin(OK("0", ""));
    size_t n = _i ? 3000000 : 65536;
    char *body = malloc(n), length[64];
    struct fetch_request rq = asking("POST", up_url(&up, "/"));

    for (size_t i = 0; i < n; i++)
        body[i] = (char)('a' + i * 7 % 26);
    rq.body = (struct str){body, n};
    got_all(&a, r, &rq);
    got_ok(&a, "");
    snprintf(length, sizeof length, "Content-Length: %zu", n);
    ck_assert(up_line(&up, length));
    ck_assert_uint_gt(up.last_len, n);
    ck_assert(!memcmp(up.last + up.last_len - n, body, n));
    ck_assert_ptr_null(strstr(up.last, "Expect"));
    free(body);
    end(r);
}
END_TEST

START_TEST(a_path_is_not_tidied)
{
    static const char *const paths[] = {"/a/../b", "/./x", "/%2e%2e/y", "/a//b", "/?q=/../", "/;p"};
    struct rig *r = begin(OK("0", ""));

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char line[64];

        got_get(&a, r, up_url(&up, paths[i]));
        got_ok(&a, "");
        snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", paths[i]);
        ck_assert_msg(!strncmp(up.last, line, strlen(line)), "%s", up.last);
    }
    end(r);
}
END_TEST

START_TEST(no_cookie_is_kept)
{
    struct rig *r = begin(OK_HEAD "Set-Cookie: s=1; Path=/\r\nContent-Length: 0\r\n\r\n");

    for (int i = 0; i < 3; i++) {
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "");
        ck_assert_ptr_null(strcasestr(up.last, "cookie"));
    }
    end(r);
}
END_TEST

/* ---- connections ------------------------------------------------------------------------------- */

START_TEST(requests_one_after_another_use_one_connection)
{
    struct rig *r = begin(OK("2", "ok"));

    for (int i = 0; i < 50; i++) {
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "ok");
    }
    ck_assert_int_eq(up.connections, 1);
    ck_assert_int_eq(up.requests, 50);
    end(r);
}
END_TEST

static void start_many(struct rig *r, int n)
{
    for (int i = 0; i < n; i++) {
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        got_free(&many[i]);
        got_start(&many[i], r, &rq);
    }
}

static void free_many(int n)
{
    for (int i = 0; i < n; i++)
        got_free(&many[i]);
}

static bool all_over(int n)
{
    for (int i = 0; i < n; i++) {
        if (!many[i].ends)
            return false;
    }
    return true;
}

START_TEST(many_at_once_share_the_connections_of_their_host)
{
    struct rig *r = begin(OK("2", "ok"));

    for (int round = 0; round < 3; round++) {
        start_many(r, 64);
        rig_until(r, all_over(64));
        for (int i = 0; i < 64; i++)
            got_ok(&many[i], "ok");
    }
    ck_assert_int_eq(up.requests, 192);
    ck_assert_int_eq(up.connections, 16);
    free_many(64);
    end(r);
}
END_TEST

/* The first 16 wait for ever; who comes 17th is not sent, and is when one of them is gone. */
START_TEST(who_waits_for_a_connection_gets_the_first_that_is_free)
{
    struct rig *r = begin(NULL);

    start_many(r, 20);
    rig_until(r, up.requests == 16);
    rig_steps(r, 50);
    ck_assert_int_eq(up.requests, 16);
    ck_assert_int_eq(up.connections, 16);
    for (struct up_conn *c = up.all; c; c = c->next)
        up_send(c, OK("1", "x"));
    rig_until(r, up.requests == 20);
    for (struct up_conn *c = up.all; c; c = c->next) {
        if (c->requests == 2)
            up_send(c, OK("1", "y"));
    }
    rig_until(r, all_over(20));
    for (int i = 0; i < 16; i++)
        got_ok(&many[i], "x");
    for (int i = 16; i < 20; i++)
        got_ok(&many[i], "y");
    ck_assert_int_eq(up.connections, 16);
    free_many(20);
    end(r);
}
END_TEST

static int last_number;

static void answer_in_order(struct up_conn *c)
{
    int number = atoi(c->u->last + strlen("GET /"));

    must(number > last_number);
    last_number = number;
    up_send(c, OK("2", "ok"));
}

/* Thousands of them: in order, for little memory, and none looks through the others. */
START_TEST(who_waits_for_a_connection_waits_in_line)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();
    struct got *all = calloc(4000, sizeof *all);
    size_t before;

    o.host_connections = 1;
    fetch_options(r, &o);
    up_start(&up, r, NULL);
    up.answer = answer_in_order;
    last_number = -1;
    before = memory_used();
    for (int i = 0; i < 4000; i++) {
        char path[20];
        struct fetch_request rq;

        snprintf(path, sizeof path, "/%d", i);
        rq = asking("GET", up_url(&up, path));
        got_start(&all[i], r, &rq);
    }
    rig_until(r, up.connections);
    ck_assert_uint_lt(memory_used() - before, 4000 * 2000);
    for (int i = 50; i < 4000; i += 100)
        got_cancel(&all[i]); /* they have left the line */
    for (int i = 0; i < 4000; i++) {
        if (i % 100 != 50)
            rig_until(r, all[i].ends);
        got_free(&all[i]);
    }
    ck_assert_int_eq(up.connections, 1);
    ck_assert_int_eq(up.requests, 3960);
    free(all);
    end(r);
}
END_TEST

static struct upstream hosts[6];

static int open_at_hosts(void)
{
    int n = 0;

    for (int i = 0; i < 6; i++)
        n += hosts[i].open;
    return n;
}

/* Eight: four for these, four for event streams. */
START_TEST(all_hosts_together_have_no_more_connections_than_allowed)
{
    struct rig *r = fetch_rig_new();
    alk_http_options o = fetch_defaults();
    int most = 0;

    o.connections = 8;
    fetch_options(r, &o);
    for (int i = 0; i < 6; i++)
        up_start(&hosts[i], r, OK("2", "ok"));
    for (int i = 0; i < 60; i++) {
        struct fetch_request rq = asking("GET", up_url(&hosts[i % 6], "/"));

        rq.private_addresses = i % 2 == 0;
        rq.stream = i % 3 == 0;
        got_start(&many[i], r, &rq);
    }
    while (!all_over(60)) {
        uv_run(&r->uv, UV_RUN_NOWAIT);
        if (open_at_hosts() > most)
            most = open_at_hosts();
    }
    for (int i = 0; i < 60; i++)
        got_ok(&many[i], "ok");
    ck_assert_int_le(most, 8);
    free_many(60);
    for (int i = 0; i < 6; i++)
        up_stop(&hosts[i]);
    rig_free(r);
}
END_TEST

static void answer_and_close(struct up_conn *c)
{
    up_send_then(c, OK("2", "ok"), strlen(OK("2", "ok")), up_close);
}

START_TEST(a_kept_connection_that_the_server_closes_is_no_failure)
{
    struct rig *r = begin(NULL);

    up.answer = answer_and_close;
    for (int i = 0; i < 10; i++) {
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "ok");
        /* Sometimes at once, sometimes when the end of the connection has come. */
        if (i % 2)
            rig_until(r, !up.open);
    }
    ck_assert_int_eq(up.requests, 10);
    end(r);
}
END_TEST

/* The second request on a connection ends it without an answer. */
static void answer_first(struct up_conn *c)
{
    if (c->requests == 1)
        up_send(c, OK("2", "ok"));
    else
        up_reset(c);
}

START_TEST(a_kept_connection_that_dies_under_a_request_is_no_failure_if_it_may_be_repeated)
{
    struct rig *r = begin(NULL);

    up.answer = answer_first;
    for (int i = 0; i < 4; i++) {
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "ok");
    }
    end(r);
}
END_TEST

START_TEST(what_may_not_be_repeated_is_sent_once)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("POST", up_url(&up, "/"));
    char *body = calloc(1, 200000);

    up.answer = answer_first;
    rq.body = _i ? (struct str){body, 200000} : text("{}");
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    got_all(&a, r, &rq);
    got_not(&a, FETCH_FAILED, "connection");
    ck_assert_int_eq(a.heads, 0);
    ck_assert_int_eq(up.requests, 2);
    got_all(&a, r, &rq);
    got_ok(&a, "ok");
    ck_assert_int_eq(up.requests, 3);
    free(body);
    end(r);
}
END_TEST

/* A service that does not answer must hold up nobody else's request. */
START_TEST(the_first_request_to_a_host_holds_up_no_other)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", up_url(&up, "/slow"));

    got_start(&many[0], r, &rq);
    rig_until(r, up.requests == 1);
    up.script = OK("2", "ok");
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    got_cancel(&many[0]);
    end(r);
}
END_TEST

/* Event streams last, and there may be many of them: other requests have connections all the same. */
START_TEST(event_streams_take_no_connection_from_others)
{
    struct rig *r = begin(OK_HEAD "Content-Type: text/event-stream\r\n\r\ndata: 1\n\n");

    for (int i = 0; i < 40; i++) {
        struct fetch_request rq = asking("GET", up_url(&up, "/events"));

        rq.stream = true;
        got_start(&many[i], r, &rq);
    }
    rig_until(r, up.requests == 40);
    up.script = OK("2", "ok");
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    for (int i = 0; i < 40; i++) {
        ck_assert_str_eq(many[i].body, "data: 1\n\n");
        got_cancel(&many[i]);
    }
    free_many(40);
    rig_until(r, up.open <= 1);
    end(r);
}
END_TEST

START_TEST(connections_are_closed_when_nobody_needs_them_for_long)
{
    struct rig *r = begin(OK("2", "ok"));

    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(up.open, 1);
    r->l->http->rest_at = 0;
    rig_until(r, !up.open);
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    ck_assert_int_eq(up.connections, 2);
    end(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch");
    TCase *t = tcase_create("fetch");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_get_has_the_lines_that_it_needs_and_no_others);
    tcase_add_test(t, lines_of_the_caller_take_the_place_of_the_clients);
    tcase_add_test(t, header_lines_arrive_as_they_are);
    tcase_add_test(t, a_body_and_its_lines_are_those_of_the_caller);
    tcase_add_test(t, a_head_has_an_answer_without_a_body);
    tcase_add_loop_test(t, a_large_body_arrives_whole, 0, 2);
    tcase_add_test(t, a_path_is_not_tidied);
    tcase_add_test(t, no_cookie_is_kept);
    tcase_add_test(t, requests_one_after_another_use_one_connection);
    tcase_add_test(t, many_at_once_share_the_connections_of_their_host);
    tcase_add_test(t, who_waits_for_a_connection_gets_the_first_that_is_free);
    tcase_add_test(t, who_waits_for_a_connection_waits_in_line);
    tcase_add_test(t, all_hosts_together_have_no_more_connections_than_allowed);
    tcase_add_test(t, a_kept_connection_that_the_server_closes_is_no_failure);
    tcase_add_test(t,
                   a_kept_connection_that_dies_under_a_request_is_no_failure_if_it_may_be_repeated);
    tcase_add_loop_test(t, what_may_not_be_repeated_is_sent_once, 0, 2);
    tcase_add_test(t, the_first_request_to_a_host_holds_up_no_other);
    tcase_add_test(t, event_streams_take_no_connection_from_others);
    tcase_add_test(t, connections_are_closed_when_nobody_needs_them_for_long);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
