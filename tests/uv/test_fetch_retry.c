/* When the loop's HTTP client sends a request again: after which failures, how often, how soon; and how long it leaves alone
 * who has asked for that (Retry-After). */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "core/dispatcher.h"
#include "uv/http_int.h"

#include <fcntl.h>

static struct upstream up, other;
static struct got a, b, many[40];

static struct rig *begin(const char *script)
{
    struct rig *r = fetch_rig_new();

    up_start(&up, r, script);
    return r;
}

static struct rig *begin_with(uint32_t retries, const char *script)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();

    o.retries = retries;
    fetch_options(r, &o);
    up_start(&up, r, script);
    return r;
}

static void end(struct rig *r)
{
    got_free(&a);
    got_free(&b);
    up_stop(&up);
    rig_free(r);
}

static uint64_t counted(struct rig *r, size_t member)
{
    return *(uint64_t *)(void *)((char *)&r->d->counts.metrics + member);
}
#define COUNTED(r, name) counted(r, offsetof(struct metrics, name))

/* ---- what fails -------------------------------------------------------------------------------- */

static int until; /* so many requests fail */
static void (*failing)(struct up_conn *c);

static void answer_at_last(struct up_conn *c)
{
    if (c->u->requests <= until)
        failing(c);
    else
        up_send(c, OK("2", "ok"));
}

static void fail_closed(struct up_conn *c)
{
    up_close(c);
}

static void fail_reset(struct up_conn *c)
{
    up_reset(c);
}

static void fail_in_head(struct up_conn *c)
{
    up_send_then(c, "HTTP/1.1 200 OK\r\nA: b\r\n", 23, up_close);
}

static void fail_500(struct up_conn *c)
{
    up_send(c, "HTTP/1.1 500 Internal\r\nContent-Length: 4\r\n\r\noops");
}

static void fail_502(struct up_conn *c)
{
    up_send(c, "HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n4\r\noops\r\n0\r\n\r\n");
}

static void fail_503(struct up_conn *c)
{
    up_send(c, "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\noops");
}

static void fail_504(struct up_conn *c)
{
    up_send_then(c, "HTTP/1.1 504 Late\r\n\r\noops", 25, up_close);
}

static void fail_429(struct up_conn *c)
{
    up_send(c, "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\noops");
}

static void (*const fails[])(struct up_conn *c) = {fail_closed, fail_reset, fail_in_head, fail_500,
                                                   fail_502,    fail_503,   fail_504,     fail_429};
#define FAILS (int)(sizeof fails / sizeof fails[0])
#define ERRORS 3 /* of them, without an answer */

START_TEST(a_request_that_may_be_repeated_is_sent_again)
{
    struct rig *r = begin(NULL);

    up.answer = answer_at_last;
    failing = fails[_i];
    until = 2;
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    ck_assert_int_eq(a.heads, 1);
    ck_assert_int_eq(up.requests, 3);
    ck_assert_uint_eq(COUNTED(r, http_client_retries), 2);
    ck_assert_uint_eq(COUNTED(r, http_client_requests), 1);
    ck_assert_uint_eq(COUNTED(r, http_client_failures), 0);
    end(r);
}
END_TEST

/* One attempt and so many more; then what came last is the answer. */
START_TEST(as_often_as_is_allowed)
{
    for (uint32_t retries = 0; retries < 3; retries++) {
        struct rig *r = begin_with(retries, NULL);

        up.answer = answer_at_last;
        failing = fails[_i];
        until = 100;
        got_get(&a, r, up_url(&up, "/"));
        ck_assert_int_eq(up.requests, (int)retries + 1);
        if (_i < ERRORS) {
            ck_assert_int_eq(a.outcome, FETCH_FAILED);
            ck_assert_int_eq(a.heads, 0);
        } else {
            ck_assert_int_eq(a.outcome, FETCH_DONE);
            ck_assert_int_ge(a.status, 429);
            ck_assert_str_eq(a.body, "oops");
        }
        end(r);
    }
}
END_TEST

START_TEST(what_may_not_be_repeated_is_sent_once)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("POST", up_url(&up, "/"));

    up.answer = answer_at_last;
    failing = fails[_i];
    until = 100;
    rq.body = str_of("{}");
    got_all(&a, r, &rq);
    ck_assert_int_eq(a.outcome, _i < ERRORS ? FETCH_FAILED : FETCH_DONE);
    rig_steps(r, 20);
    ck_assert_int_eq(up.requests, 1);
    end(r);
}
END_TEST

/* A request with a body, too. */
START_TEST(a_body_is_sent_again_whole)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("PUT", up_url(&up, "/"));
    size_t n = _i ? 200000 : 5;
    char *body = malloc(n);

    memset(body, 'b', n);
    up.answer = answer_at_last;
    failing = fail_503;
    until = 2;
    rq.idempotent = true;
    rq.body = (struct str){body, n};
    got_all(&a, r, &rq);
    got_ok(&a, "ok");
    ck_assert_int_eq(up.requests, 3);
    ck_assert(!memcmp(up.last + up.last_len - n, body, n));
    free(body);
    end(r);
}
END_TEST

static const char *const final_ones[] = {
    "HTTP/1.1 400 Bad\r\nContent-Length: 4\r\n\r\noops",
    "HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\noops",
    "HTTP/1.1 408 Late\r\nContent-Length: 4\r\n\r\noops",
    "HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\noops",
    "HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 4\r\n\r\noops"};

START_TEST(an_answer_that_would_not_change_is_the_answer)
{
    struct rig *r = begin(final_ones[_i]);

    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_str_eq(a.body, "oops");
    ck_assert_int_eq(up.requests, 1);
    end(r);
}
END_TEST

/* The caller has heard of it. */
START_TEST(nothing_is_repeated_behind_the_head)
{
    struct rig *r = begin(NULL);

    up.answer = answer_at_last;
    until = 0;
    up.script = OK_HEAD "Content-Length: 10\r\n\r\nhalf";
    up.answer = NULL;
    {
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        rq.idempotent = true;
        got_start(&a, r, &rq);
    }
    rig_until(r, a.len == 4);
    up_close(up.all);
    got_wait(&a);
    got_not(&a, FETCH_FAILED, "6 bytes");
    ck_assert_int_eq(up.requests, 1);
    end(r);
}
END_TEST

/* And with descriptors of connections that have failed nothing is mixed up. */
START_TEST(a_refused_connection_is_tried_again)
{
    struct rig *r = begin(OK("2", "ok"));
    char url[100];
    uint64_t since = now_ms();

    up_start(&other, r, OK("5", "other"));
    snprintf(url, sizeof url, "%s", up_url(&other, "/"));
    up_stop(&other);
    for (int i = 0; i < 3; i++) {
        got_get(&a, r, url);
        got_not(&a, FETCH_FAILED, "connect");
        got_get(&a, r, up_url(&up, "/"));
        got_ok(&a, "ok");
    }
    ck_assert_uint_eq(COUNTED(r, http_client_retries), 6);
    ck_assert_uint_eq(COUNTED(r, http_client_failures), 3);
    ck_assert_uint_lt(now_ms() - since, 3000);
    end(r);
}
END_TEST

START_TEST(a_server_that_comes_back_is_reached)
{
    struct rig *r = begin_with(10, OK("2", "ok"));
    struct fetch_request rq;
    struct sockaddr_in at;
    int port = up.port;

    up_stop(&up);
    memset(&up, 0, sizeof up);
    snprintf(many[0].why, sizeof many[0].why, "http://127.0.0.1:%d/", port);
    rq = asking("GET", many[0].why);
    rq.idempotent = true;
    got_start(&a, r, &rq);
    rig_until(r, COUNTED(r, http_client_retries) >= 2);
    up_start(&up, r, OK("2", "ok"));
    uv_close((uv_handle_t *)&up.tcp, NULL);
    uv_run(&r->uv, UV_RUN_NOWAIT);
    uv_tcp_init(&r->uv, &up.tcp);
    up.tcp.data = &up;
    uv_ip4_addr("127.0.0.1", port, &at);
    ck_assert_int_eq(uv_tcp_bind(&up.tcp, (struct sockaddr *)&at, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&up.tcp, 10, up_accept), 0);
    got_wait(&a);
    got_ok(&a, "ok");
    end(r);
}
END_TEST

/* ---- how soon ---------------------------------------------------------------------------------- */

START_TEST(the_waits_are_short_and_not_the_same)
{
    struct rig *r = begin_with(3, NULL);
    uint64_t since = now_ms(), first = UINT64_MAX, last = 0;

    up.answer = answer_at_last;
    failing = fail_502;
    until = 1000;
    for (int i = 0; i < 20; i++) {
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        rq.idempotent = true;
        got_start(&many[i], r, &rq);
    }
    for (int i = 0; i < 20; i++) {
        got_wait(&many[i]);
        ck_assert_int_eq(many[i].status, 502);
        /* 100, 200 and 400 ms at most. */
        ck_assert_uint_lt(many[i].ended_at - since, 1500);
        first = many[i].ended_at < first ? many[i].ended_at : first;
        last = many[i].ended_at > last ? many[i].ended_at : last;
        got_free(&many[i]);
    }
    ck_assert_uint_gt(last - first, 5);
    ck_assert_int_eq(up.requests, 80);
    end(r);
}
END_TEST

/* Also when the next attempt would come later. */
START_TEST(the_deadline_ends_the_waiting)
{
    struct rig *r = begin_with(10, NULL);
    struct fetch_request rq = asking("GET", up_url(&up, "/"));
    uint64_t since = now_ms();

    up.answer = answer_at_last;
    failing = fail_502;
    until = 1000;
    rq.idempotent = true;
    rq.deadline = uv_hrtime() + 700 * MILLI;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    ck_assert_uint_ge(now_ms() - since, 699);
    ck_assert_uint_lt(now_ms() - since, 900);
    ck_assert_int_gt(up.requests, 1);
    rq.deadline = uv_hrtime() - 1;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    end(r);
}
END_TEST

/* Who waits for a connection has a deadline too. */
START_TEST(the_deadline_ends_the_waiting_for_a_connection)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();
    struct fetch_request rq;
    uint64_t since;

    o.host_connections = 1;
    fetch_options(r, &o);
    up_start(&up, r, NULL);
    rq = asking("GET", up_url(&up, "/"));
    got_start(&b, r, &rq);
    rig_until(r, up.requests == 1);
    rq.deadline = uv_hrtime() + 100 * MILLI;
    since = now_ms();
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    ck_assert_uint_lt(now_ms() - since, 300);
    ck_assert_int_eq(up.requests, 1);
    got_cancel(&b);
    end(r);
}
END_TEST

/* A listener whose queue is full: the kernel does not answer. */
START_TEST(a_connection_that_does_not_come_about_is_given_up)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[4];
    struct fetch_request rq;
    char url[100];
    uint64_t since;

    o.connect_ms = 150;
    o.retries = 1;
    fetch_options(r, &o);
    up_start(&up, r, NULL);
    ck_assert(!bind(fd, (struct sockaddr *)&at, len) && !listen(fd, 0));
    ck_assert(!getsockname(fd, (struct sockaddr *)&at, &len));
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, len);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    rq = asking("GET", url);
    rq.idempotent = _i;
    since = now_ms();
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "");
    ck_assert_str_ne(a.why, "");
    ck_assert_uint_ge(now_ms() - since, _i ? 300 : 149);
    ck_assert_uint_lt(now_ms() - since, 1500);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
    end(r);
}
END_TEST

/* ---- pauses ------------------------------------------------------------------------------------ */

#define BUSY(status, after)                                                                        \
    "HTTP/1.1 " status " Busy\r\nRetry-After: " after "\r\nContent-Length: 4\r\n\r\noops"

static void in_an_hour(char *to, size_t size, int seconds)
{
    time_t t = time(NULL) + seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(to, size,
             "HTTP/1.1 503 Busy\r\nRetry-After: %a, %d %b %Y %H:%M:%S GMT\r\nContent-Length: "
             "4\r\n\r\noops",
             &tm);
}

static const struct {
    const char *answer; /* NULL: an hour from now, as a date */
    uint64_t from, to;  /* seconds */
} pauses[] = {
    {BUSY("503", "60"), 59, 60},
    {BUSY("429", "60"), 59, 60},
    {BUSY("429", " 60 "), 59, 60},
    {BUSY("503", "99999999"), 86399, 86400},
    {BUSY("503", "99999999999999999999999999"), 86399, 86400},
    {NULL, 3595, 3600},
    {BUSY("503", "Sun, 01 Jan 2090 00:00:00 GMT"), 86399, 86400},
    {BUSY("503", "0"), 0, 0},
    {BUSY("503", "-5"), 0, 0},
    {BUSY("503", "1.5"), 0, 0},
    {BUSY("503", "60s"), 0, 0},
    {BUSY("503", "soon"), 0, 0},
    {BUSY("503", ""), 0, 0},
    {BUSY("503", "Thu, 01 Jan 1970 00:00:00 GMT"), 0, 0},
    {BUSY("500", "60"), 0, 0},
    {BUSY("200", "60"), 0, 0},
};

START_TEST(an_origin_is_left_alone_as_long_as_it_asks)
{
    char date[200];
    struct rig *r;
    bool held = pauses[_i].to != 0;

    in_an_hour(date, sizeof date, 3600);
    r = begin_with(0, pauses[_i].answer ? pauses[_i].answer : date);
    up_start(&other, r, OK("2", "ok"));
    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_str_eq(a.body, "oops");
    for (int i = 0; i < 3; i++) {
        int connections = up.connections;
        uint64_t since = now_ms();

        got_get(&a, r, up_url(&up, "/"));
        if (!held) {
            ck_assert_int_eq(a.outcome, FETCH_DONE);
            continue;
        }
        got_not(&a, FETCH_HELD, "left alone");
        ck_assert_uint_lt(now_ms() - since, 500);
        ck_assert_uint_gt(a.retry_after_ms, pauses[_i].from * 1000 - 500);
        ck_assert_uint_le(a.retry_after_ms, pauses[_i].to * 1000);
        ck_assert_int_eq(up.requests, 1);
        ck_assert_int_eq(up.connections, connections);
    }
    ck_assert_uint_eq(COUNTED(r, http_client_held), held ? 3 : 0);
    got_get(&a, r, up_url(&other, "/"));
    got_ok(&a, "ok");
    up_stop(&other);
    end(r);
}
END_TEST

/* By all requests, also those that may not be repeated: nothing of them has been sent. */
START_TEST(a_short_pause_is_waited_for)
{
    struct rig *r = begin_with(0, BUSY("503", "1"));
    uint64_t since;
    struct fetch_request rq = asking("POST", up_url(&up, "/"));

    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.status, 503);
    since = now_ms();
    up.script = OK("2", "ok");
    got_start(&b, r, &rq);
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    got_wait(&b);
    got_ok(&b, "ok");
    ck_assert_uint_ge(now_ms() - since, 950);
    ck_assert_uint_lt(now_ms() - since, 2000);
    end(r);
}
END_TEST

START_TEST(a_pause_is_waited_for_before_a_request_is_repeated)
{
    struct rig *r = begin(NULL);
    uint64_t since = now_ms();

    until = 1;
    up.script = BUSY("429", "1");
    got_get(&a, r, up_url(&up, "/"));
    /* Three of them, with a second between. */
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_int_eq(a.status, 429);
    ck_assert_int_eq(up.requests, 3);
    ck_assert_uint_ge(now_ms() - since, 1990);
    end(r);
}
END_TEST

START_TEST(a_long_pause_is_the_answer_at_once)
{
    struct rig *r = begin(BUSY("503", "6"));
    uint64_t since = now_ms();

    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_int_eq(a.status, 503);
    ck_assert_int_eq(up.requests, 1);
    ck_assert_uint_lt(now_ms() - since, 1000);
    end(r);
}
END_TEST

/* Nor one that is longer than the caller waits. */
START_TEST(a_pause_behind_the_deadline_is_not_waited_for)
{
    struct rig *r = begin(BUSY("503", "3"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));
    uint64_t since = now_ms();

    rq.idempotent = true;
    rq.deadline = uv_hrtime() + SECOND;
    got_all(&a, r, &rq);
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_int_eq(a.status, 503);
    rq.deadline = uv_hrtime() + SECOND;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_HELD, "left alone");
    ck_assert_uint_gt(a.retry_after_ms, 2000);
    ck_assert_uint_lt(now_ms() - since, 500);
    end(r);
}
END_TEST

/* A service that goes on asking for a little more is not waited for without end. */
START_TEST(pauses_that_follow_each_other_are_waited_for_a_while_only)
{
    struct rig *r = begin_with(0, NULL);
    struct http_client *c = r->l->http;
    struct fetch_request rq = asking("GET", up_url(&up, "/"));
    uint64_t since = now_ms();
    char origin[100];

    snprintf(origin, sizeof origin, "http://127.0.0.1:%d", up.port);
    held_note(c, origin, uv_hrtime() + SECOND);
    got_start(&a, r, &rq);
    while (!a.ends) {
        uv_run(&r->uv, UV_RUN_NOWAIT);
        held_note(c, origin, uv_hrtime() + SECOND);
        ck_assert_uint_lt(now_ms() - since, 8000);
        usleep(1000);
    }
    got_not(&a, FETCH_HELD, "left alone");
    ck_assert_int_eq(up.requests, 0);
    end(r);
}
END_TEST

START_TEST(a_later_word_of_the_origin_counts)
{
    struct rig *r = begin_with(0, BUSY("503", "1"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    got_start(&a, r, &rq);
    rig_until(r, a.ends);
    got_free(&a);
    /* It waits, and is answered with a longer pause. */
    up.script = BUSY("503", "60");
    got_all(&a, r, &rq);
    ck_assert_int_eq(a.status, 503);
    got_all(&a, r, &rq);
    got_not(&a, FETCH_HELD, "left alone");
    end(r);
}
END_TEST

/* The oldest are forgotten. */
START_TEST(the_table_of_pauses_is_bounded)
{
    struct rig *r = begin(OK("2", "ok"));
    uint64_t now = uv_hrtime();
    struct http_client *c;
    char origin[100];

    got_get(&a, r, up_url(&up, "/"));
    c = r->l->http;
    for (int i = 0; i < 1000; i++) {
        snprintf(origin, sizeof origin, "http://%d.example:80", i);
        held_note(c, origin, now + 60 * SECOND);
        held_note(c, origin, now + 90 * SECOND);
        ck_assert_uint_le(c->held.count, HELD_MAX);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(origin, sizeof origin, "http://%d.example:80", i);
        ck_assert_int_eq(held_until(c, origin, now) == now + 90 * SECOND,
                         i >= 1000 - (int)HELD_MAX);
    }
    ck_assert_uint_eq(held_until(c, origin, now + 91 * SECOND), 0);
    ck_assert_uint_eq(c->held.count, HELD_MAX - 1);
    end(r);
}
END_TEST

/* ---- metrics ----------------------------------------------------------------------------------- */

START_TEST(what_becomes_of_requests_is_counted)
{
    struct rig *r = begin(BUSY("503", "60"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    got_start(&a, r, &rq);
    got_start(&b, r, &rq);
    ck_assert_uint_eq(COUNTED(r, http_client_requests), 2);
    ck_assert_uint_eq(COUNTED(r, http_client_ended), 0);
    got_cancel(&b);
    got_wait(&a);
    ck_assert_uint_eq(COUNTED(r, http_client_ended), 2);
    got_all(&a, r, &rq);
    got_not(&a, FETCH_HELD, "");
    rq.url = "http://127.1/";
    got_all(&a, r, &rq);
    got_not(&a, FETCH_REFUSED, "");
    rq.url = "http://127.0.0.1:1/";
    got_all(&a, r, &rq);
    got_not(&a, FETCH_FAILED, "");
    got_start(&b, r, &rq);
    got_cancel(&b);
    rig_steps(r, 5);
    ck_assert_uint_eq(COUNTED(r, http_client_requests), 6);
    ck_assert_uint_eq(COUNTED(r, http_client_ended), 6);
    ck_assert_uint_eq(COUNTED(r, http_client_held), 1);
    ck_assert_uint_eq(COUNTED(r, http_client_refused), 1);
    ck_assert_uint_eq(COUNTED(r, http_client_failures), 1);
    ck_assert_uint_eq(COUNTED(r, http_client_retries), 0);
    end(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch_retry");
    TCase *t = tcase_create("fetch_retry");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_request_that_may_be_repeated_is_sent_again, 0, FAILS);
    tcase_add_loop_test(t, as_often_as_is_allowed, 0, FAILS);
    tcase_add_loop_test(t, what_may_not_be_repeated_is_sent_once, 0, FAILS);
    tcase_add_loop_test(t, a_body_is_sent_again_whole, 0, 2);
    tcase_add_loop_test(t, an_answer_that_would_not_change_is_the_answer, 0, 5);
    tcase_add_test(t, nothing_is_repeated_behind_the_head);
    tcase_add_test(t, a_refused_connection_is_tried_again);
    tcase_add_test(t, a_server_that_comes_back_is_reached);
    tcase_add_test(t, the_waits_are_short_and_not_the_same);
    tcase_add_test(t, the_deadline_ends_the_waiting);
    tcase_add_test(t, the_deadline_ends_the_waiting_for_a_connection);
    tcase_add_loop_test(t, a_connection_that_does_not_come_about_is_given_up, 0, 2);
    tcase_add_loop_test(t, an_origin_is_left_alone_as_long_as_it_asks, 0,
                        (int)(sizeof pauses / sizeof pauses[0]));
    tcase_add_test(t, a_short_pause_is_waited_for);
    tcase_add_test(t, a_pause_is_waited_for_before_a_request_is_repeated);
    tcase_add_test(t, a_long_pause_is_the_answer_at_once);
    tcase_add_test(t, a_pause_behind_the_deadline_is_not_waited_for);
    tcase_add_test(t, pauses_that_follow_each_other_are_waited_for_a_while_only);
    tcase_add_test(t, a_later_word_of_the_origin_counts);
    tcase_add_test(t, the_table_of_pauses_is_bounded);
    tcase_add_test(t, what_becomes_of_requests_is_counted);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
