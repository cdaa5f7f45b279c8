/* The loop's HTTP client, when all goes well: what is sent, how connections are shared, which redirects are followed, how
 * a proxy is used, and that nothing but the options says so. */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "uv/http_int.h"

#include <sys/stat.h>

static struct upstream up, other;
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
             "GET /a/b?c=d%%20e&f HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: alknet/" ALK_VERSION
             "\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
             up.port);
    ck_assert_str_eq(up.last, whole);
    ck_assert_int_eq(a.heads, 1);
    ck_assert_str_eq(a.headers, "content-length: 5\r\n");
    ck_assert_str_eq(a.url, up.url);
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

/* ---- redirects --------------------------------------------------------------------------------- */

static char moved[9000];

static void answer_moved(struct up_conn *c)
{
    if (strstr(c->u->last, " /end HTTP"))
        up_send(c, OK("3", "end"));
    else
        up_send(c, moved);
}

static void move_to(int status, const char *location)
{
    snprintf(moved, sizeof moved,
             "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved", status,
             location);
}

static struct rig *begin_moving(int status, const char *location)
{
    struct rig *r = begin(NULL);

    up.answer = answer_moved;
    move_to(status, location);
    return r;
}

START_TEST(redirects_are_followed_where_the_method_allows)
{
    static const int statuses[] = {301, 302, 303, 307, 308, 300, 304, 305, 306, 309};
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    struct rig *r = begin_moving(200, "/end");

    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        for (size_t k = 0; k < 5; k++) {
            struct fetch_request rq = asking(methods[k], up_url(&up, "/start"));
            bool safe = k < 2, follow = i < 3 ? safe : i < 5;
            char line[100];

            rq.body = safe || k == 4 ? STR_NONE : text("body");
            move_to(statuses[i], "/end");
            /* What a 304 has of a body is not one. */
            if (statuses[i] == 304)
                strcpy(strstr(moved, "Content-Length"), "Content-Length: 0\r\n\r\n");
            if (k == 1)
                strcpy(strstr(moved, "\r\n\r\n"), "\r\n\r\n");
            got_all(&a, r, &rq);
            ck_assert_msg(a.outcome == FETCH_DONE, "%d %s: %s", statuses[i], methods[k], a.why);
            ck_assert_int_eq(a.heads, 1);
            if (k == 1 && follow) {
                /* What comes now is the answer to a HEAD: begin anew. */
                up_stop(&up);
                up_start(&up, r, NULL);
                up.answer = answer_moved;
                continue;
            }
            ck_assert_msg(a.status == (follow ? 200 : statuses[i]), "%d %s: %d", statuses[i],
                          methods[k], a.status);
            snprintf(line, sizeof line, "%s %s HTTP/1.1\r\n", methods[k],
                     follow ? "/end" : "/start");
            ck_assert(!strncmp(up.last, line, strlen(line)));
            ck_assert_str_eq(strstr(up.last, "\r\n\r\n") + 4, rq.body.p ? "body" : "");
            if (follow)
                ck_assert_str_eq(a.body, "end");
        }
    }
    end(r);
}
END_TEST

START_TEST(relative_redirects_lead_within_the_origin)
{
    static const char *const ways[] = {"/end",     "end",       "./end",         "../end",
                                       "x/../end", "/end#part", "?x=1/../../end"};
    struct rig *r = begin_moving(302, "");

    for (size_t i = 0; i < 6; i++) {
        move_to(302, ways[i]);
        got_get(&a, r, up_url(&up, "/start"));
        got_ok(&a, "end");
        ck_assert_str_eq(a.url, up_url(&up, "/end"));
        ck_assert_ptr_null(strchr(up.last, '#'));
    }
    end(r);
}
END_TEST

/* The credential is sent again, since it is the same origin: its name in other letters, its port, a dot behind it. */
START_TEST(the_same_origin_may_be_written_otherwise)
{
    static const char *const ways[] = {"http://LocalHost:%d/end", "HTTP://localhost:0%d/end",
                                       "//localhost:%d/end", "http:/localhost:%d/end"};
    struct rig *r = begin_moving(302, "");
    struct fetch_request rq;
    char url[100], location[100];

    snprintf(url, sizeof url, "http://localhost:%d/start", up.port);
    rq = asking("GET", url);
    rq.headers = text("Authorization: Bearer secret\r\n");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        int before = up.requests;

        snprintf(location, sizeof location, ways[i], up.port);
        move_to(307, location);
        got_all(&a, r, &rq);
        got_ok(&a, "end");
        ck_assert(up_line(&up, "Authorization: Bearer secret"));
        ck_assert_int_eq(up.requests, before + 2);
    }
    end(r);
}
END_TEST

START_TEST(five_redirects_are_followed_and_no_more)
{
    struct rig *r = begin_moving(302, "/again");

    got_get(&a, r, up_url(&up, "/start"));
    got_not(&a, FETCH_REFUSED, "more than 5 redirects");
    ck_assert_int_eq(up.requests, 6);
    ck_assert_int_eq(a.heads, 0);
    end(r);
}
END_TEST

/* %d is the port of a server that must hear nothing. */
static const char *const elsewhere[] = {
    "http://127.0.0.1:%d/",
    "https://127.0.0.1:%d/",
    "http://127.0.0.2:%d/",
    "http://localhost:%d/",
    "http://[::1]:%d/",
    "http://0.0.0.0:%d/",
    "http://2130706433:%d/",
    "http://0x7f.1:%d/",
    "http://0177.0.0.1:%d/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "//127.0.0.1:%d/",
    "//localhost:%d/",
    "/\\127.0.0.1:%d/../\\evil",
    "http:/127.0.0.1:%d/",
    "http:///127.0.0.1:%d/",
    "http:\\\\127.0.0.1:%d/",
    "http://user@127.0.0.1:%d/",
    "http://user:pass@127.0.0.1:%d/",
    "http://127.0.0.1:%d@127.0.0.1/",
    "http://127.0.0.1\\@127.0.0.1:%d/",
    "http://127.0.0.1#@127.0.0.1:%d/",
    "http://127.0.0.1?@127.0.0.1:%d/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "ftp://127.0.0.1:%d/",
    "gopher://127.0.0.1:%d/",
    "dict://127.0.0.1:%d/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://127.0.0.1:%d/",
    "http://",
    "https://",
    "://",
    ":",
    "http://%%31%%32%%37.0.0.1:%d/",
    "http://127.0.0.1.:%d/",
    "http://[::ffff:127.0.0.1]:%d/",
    "http://127.0.0.1:%d\t/",
    "http://127.0.0.1:\t%d/",
    "ht\ttp://127.0.0.1:%d/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:80x/",
    "http:// 127.0.0.1:%d/",
    "http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:%d/",
};

START_TEST(a_redirect_elsewhere_is_refused_and_nothing_is_sent_there)
{
    struct rig *r = begin_moving(302, "");

    up_start(&other, r, OK("4", "evil"));
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
        for (int status = 302; status <= 307; status += 5) {
            struct fetch_request rq = asking("GET", up_url(&up, "/start?key=sesame"));
            char location[200];
            int before = up.requests;

            snprintf(location, sizeof location, elsewhere[i], other.port);
            move_to(status, location);
            rq.headers = text("Authorization: Bearer secret\r\n");
            rq.idempotent = rq.private_addresses = true;
            got_all(&a, r, &rq);
            /* Or, where it is taken for a path, too often followed. */
            ck_assert_msg(a.outcome == FETCH_REFUSED, "%s: %d %s", location, a.outcome, a.why);
            ck_assert_int_eq(a.heads, 0);
            ck_assert_int_eq(up.requests - before, strstr(a.why, "more than 5") ? 6 : 1);
            ck_assert_ptr_null(strstr(a.why, "sesame"));
            ck_assert_ptr_null(strstr(a.why, "secret"));
        }
    }
    rig_steps(r, 20);
    ck_assert_int_eq(other.connections, 0);
    up_stop(&other);
    end(r);
}
END_TEST

START_TEST(a_redirect_that_says_nowhere_is_an_answer)
{
    struct rig *r = begin("HTTP/1.1 302 Found\r\nContent-Length: 1\r\n\r\nx");

    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_int_eq(a.status, 302);
    ck_assert_str_eq(a.body, "x");
    up.script = "HTTP/1.1 302 Found\r\nLocation: \r\nContent-Length: 1\r\n\r\nx";
    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_int_eq(a.status, 302);
    end(r);
}
END_TEST

/* A long or endless body of it is not waited for. */
START_TEST(the_body_of_a_redirect_is_not_waited_for)
{
    struct rig *r = begin_moving(302, "/end");
    char *p = strstr(moved, "Content-Length");

    strcpy(p, _i ? "\r\nsome of it" : "Content-Length: 1000000000\r\n\r\n");
    if (!_i) {
        memset(p + strlen(p), 'x', 7000);
        moved[sizeof moved - 1] = 0;
    }
    got_get(&a, r, up_url(&up, "/start"));
    got_ok(&a, "end");
    end(r);
}
END_TEST

/* ---- environment and proxy --------------------------------------------------------------------- */

START_TEST(the_environment_is_not_asked)
{
    char dir[] = "/tmp/alknet-fetch-XXXXXX", path[100], sink[100];
    struct rig *r = begin(OK("2", "ok"));
    FILE *f;

    up_start(&other, r, OK("4", "evil"));
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/.netrc", dir);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    fputs("machine 127.0.0.1 login me password secret\ndefault login me password secret\n", f);
    fclose(f);
    chmod(path, 0600);
    snprintf(sink, sizeof sink, "http://127.0.0.1:%d", other.port);
    setenv("HOME", dir, 1);
    setenv("http_proxy", sink, 1);
    setenv("HTTP_PROXY", sink, 1);
    setenv("HTTPS_PROXY", sink, 1);
    setenv("https_proxy", sink, 1);
    setenv("ALL_PROXY", sink, 1);
    setenv("all_proxy", sink, 1);
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    ck_assert_ptr_null(strcasestr(up.last, "authorization"));
    ck_assert_int_eq(other.connections, 0);
    unlink(path);
    rmdir(dir);
    up_stop(&other);
    end(r);
}
END_TEST

static alk_http_options with_proxy(char *proxy, size_t size)
{
    alk_http_options o = fetch_defaults();

    snprintf(proxy, size, "http://me:sesame@127.0.0.1:%d", other.port);
    o.proxy = proxy;
    o.no_proxy = "127.0.0.1, .internal";
    return o;
}

START_TEST(a_configured_proxy_is_asked_and_what_it_is_told_goes_no_further)
{
    struct rig *r = begin(OK("2", "ok"));
    char proxy[100];
    alk_http_options o;
    struct fetch_request rq;

    up_start(&other, r, OK("5", "proxy"));
    o = with_proxy(proxy, sizeof proxy);
    setenv("no_proxy", "*", 1);
    setenv("NO_PROXY", "*", 1);
    fetch_options(r, &o);
    got_get(&a, r, "http://service.example/x");
    got_ok(&a, "proxy");
    ck_assert(!strncmp(other.last, "GET http://service.example/x HTTP/1.1\r\n", 39));
    ck_assert(up_line(&other, "Proxy-Authorization: Basic bWU6c2VzYW1l"));
    ck_assert(up_line(&other, "Host: service.example"));
    got_get(&a, r, up_url(&up, "/direct"));
    got_ok(&a, "ok");
    ck_assert(!strncmp(up.last, "GET /direct HTTP/1.1\r\n", 22));
    ck_assert_ptr_null(strstr(up.last, "Proxy"));
    /* In a tunnel the credential of the service stays within. */
    rq = asking("GET", "https://secure.example/");
    rq.headers = text("Authorization: Bearer secret\r\n");
    other.script = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    got_all(&a, r, &rq);
    got_not(&a, FETCH_FAILED, "403");
    ck_assert(!strncmp(other.last, "CONNECT secure.example:443 HTTP/1.1\r\n", 37));
    ck_assert_ptr_null(strstr(other.last, "secret"));
    ck_assert_int_eq(a.heads, 0);
    up_stop(&other);
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
    tcase_add_test(t, header_lines_arrive_as_they_are);
    tcase_add_test(t, a_body_and_its_lines_are_those_of_the_caller);
    tcase_add_test(t, a_head_has_an_answer_without_a_body);
    tcase_add_loop_test(t, a_large_body_arrives_whole, 0, 2);
    tcase_add_test(t, a_path_is_not_tidied);
    tcase_add_test(t, no_cookie_is_kept);
    tcase_add_test(t, requests_one_after_another_use_one_connection);
    tcase_add_test(t, many_at_once_share_the_connections_of_their_host);
    tcase_add_test(t, who_waits_for_a_connection_gets_the_first_that_is_free);
    tcase_add_test(t, all_hosts_together_have_no_more_connections_than_allowed);
    tcase_add_test(t, a_kept_connection_that_the_server_closes_is_no_failure);
    tcase_add_test(t,
                   a_kept_connection_that_dies_under_a_request_is_no_failure_if_it_may_be_repeated);
    tcase_add_loop_test(t, what_may_not_be_repeated_is_sent_once, 0, 2);
    tcase_add_test(t, the_first_request_to_a_host_holds_up_no_other);
    tcase_add_test(t, event_streams_take_no_connection_from_others);
    tcase_add_test(t, connections_are_closed_when_nobody_needs_them_for_long);
    tcase_add_test(t, redirects_are_followed_where_the_method_allows);
    tcase_add_test(t, relative_redirects_lead_within_the_origin);
    tcase_add_test(t, the_same_origin_may_be_written_otherwise);
    tcase_add_test(t, five_redirects_are_followed_and_no_more);
    tcase_add_test(t, a_redirect_elsewhere_is_refused_and_nothing_is_sent_there);
    tcase_add_test(t, a_redirect_that_says_nowhere_is_an_answer);
    tcase_add_loop_test(t, the_body_of_a_redirect_is_not_waited_for, 0, 2);
    tcase_add_test(t, the_environment_is_not_asked);
    tcase_add_test(t, a_configured_proxy_is_asked_and_what_it_is_told_goes_no_further);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
