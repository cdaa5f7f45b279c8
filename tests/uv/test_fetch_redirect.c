/* Where the loop's HTTP client is led: redirects, within the origin and elsewhere, and proxies, by the options and by the
 * environment. */
#include "support/suite.h"
#include "uv/fetch_rig.h"

#include <sys/stat.h>

static struct upstream up, other;
static struct got a;

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

/* ---- redirects --------------------------------------------------------------------------------- */

static char moved[110000];

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

/* A body of it that is long, or has no end, is not waited for: as little as it takes to know. */
START_TEST(the_body_of_a_redirect_is_not_waited_for)
{
    static const char *const lengths[] = {"Content-Length: 1000000000\r\n", "", ""};
    static const size_t bytes[] = {100, 100, 100000};
    struct rig *r = begin_moving(302, "/end");
    uint64_t since = now_ms();
    char *p = strstr(moved, "Content-Length");

    p += sprintf(p, "%s\r\n", lengths[_i]);
    memset(p, 'x', bytes[_i]);
    p[bytes[_i]] = 0;
    got_get(&a, r, up_url(&up, "/start"));
    got_ok(&a, "end");
    ck_assert_uint_lt(now_ms() - since, _i == 1 ? 2000 : 900);
    ck_assert_int_eq(up.connections, 2);
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
    Suite *suite = suite_create("fetch_redirect");
    TCase *t = tcase_create("fetch_redirect");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, redirects_are_followed_where_the_method_allows);
    tcase_add_test(t, relative_redirects_lead_within_the_origin);
    tcase_add_test(t, the_same_origin_may_be_written_otherwise);
    tcase_add_test(t, five_redirects_are_followed_and_no_more);
    tcase_add_test(t, a_redirect_elsewhere_is_refused_and_nothing_is_sent_there);
    tcase_add_test(t, a_redirect_that_says_nowhere_is_an_answer);
    tcase_add_loop_test(t, the_body_of_a_redirect_is_not_waited_for, 0, 3);
    tcase_add_test(t, the_environment_is_not_asked);
    tcase_add_test(t, a_configured_proxy_is_asked_and_what_it_is_told_goes_no_further);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
