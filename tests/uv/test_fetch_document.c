/* What programs have of the loop's HTTP client: documents (alk_loop_fetch) and options (alk_loop_set_http). */
#include "support/suite.h"
#include "uv/fetch_rig.h"

static struct upstream up;
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

/* ---- documents --------------------------------------------------------------------------------- */

static struct document {
    int done, rc;
    char body[200], why[300];
    size_t len;
    struct rig *close;
} doc;

static void on_done(void *ud, int rc, const char *body, size_t len, const char *why)
{
    struct document *d = ud;

    must(!d->done && (rc == ALK_OK) == (why == NULL) && (rc == ALK_OK || !len));
    d->done++;
    d->rc = rc;
    d->len = len;
    snprintf(d->body, sizeof d->body, "%.*s", len < 200 ? (int)len : 199, body);
    snprintf(d->why, sizeof d->why, "%s", why ? why : "");
    if (d->close)
        rig_close(d->close);
}

static int fetch(struct rig *r, const char *url, const char *headers, size_t most)
{
    memset(&doc, 0, offsetof(struct document, close));
    return alk_loop_fetch(r->l, url, headers, most, 0, on_done, &doc);
}

static void fetched(struct rig *r, size_t most, int rc, const char *why)
{
    ck_assert_int_eq(fetch(r, up_url(&up, "/doc"), NULL, most), ALK_OK);
    ck_assert_int_eq(doc.done, 0);
    rig_until(r, doc.done);
    ck_assert_msg(doc.rc == rc && strstr(doc.why, why), "%d: %s", doc.rc, doc.why);
}

START_TEST(a_document_is_fetched)
{
    struct rig *r = begin(OK("5", "hello"));

    ck_assert_int_eq(fetch(r, up_url(&up, "/doc?v=1"), "Accept: text/x\r\nX-A: b\r\n", 5), ALK_OK);
    rig_until(r, doc.done);
    ck_assert_msg(doc.rc == ALK_OK, "%s", doc.why);
    ck_assert_str_eq(doc.body, "hello");
    ck_assert(!strncmp(up.last, "GET /doc?v=1 HTTP/1.1\r\n", 23));
    ck_assert(up_line(&up, "Accept: text/x") && up_line(&up, "X-A: b"));
    up.script = OK("0", "");
    fetched(r, 1, ALK_OK, "");
    ck_assert_uint_eq(doc.len, 0);
    end(r);
}
END_TEST

START_TEST(a_document_that_is_none_says_why)
{
    struct rig *r = begin("HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello");

    fetched(r, 100, ALK_EREMOTE, "the answer is 404");
    up.script = "HTTP/1.1 400 Bad\r\nContent-Length: 1000000000\r\n\r\nhello";
    fetched(r, 100, ALK_EREMOTE, "the answer is 400");
    up.script = "HTTP/1.1 204 No\r\n\r\n";
    fetched(r, 100, ALK_EREMOTE, "the answer is 204");
    up.script = OK("6", "hello!");
    fetched(r, 5, ALK_ELIMIT, "larger than allowed");
    up.script = "HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\n\r\n";
    fetched(r, 100, ALK_EREMOTE, "a redirect leads elsewhere");
    up.script = "hello\n";
    fetched(r, 100, ALK_EREMOTE, "HTTP/0.9");
    ck_assert_int_eq(fetch(r, "http://127.1:1/", NULL, 100), ALK_OK);
    rig_until(r, doc.done);
    ck_assert_int_eq(doc.rc, ALK_EREMOTE);
    ck_assert_ptr_nonnull(strstr(doc.why, "not public"));
    end(r);
}
END_TEST

static const char *const bad_lines[] = {
    "X",         "X: a",           "X: a\n",         ": a\r\n",     "X: a\r\n\r\n", "X: a\r\nY",
    "X\r\n",     "X: a\r\n b\r\n", "X: a\rb\r\n",    "X: \x01\r\n", "X: a\x7f\r\n", "X Y: a\r\n",
    "X : a\r\n", " X: a\r\n",      "X: a\nY: b\r\n", "\r\n"};

START_TEST(what_cannot_be_asked_for_is_refused)
{
    struct rig *r = begin(OK("5", "hello"));

    for (size_t i = 0; i < sizeof bad_lines / sizeof bad_lines[0]; i++)
        ck_assert_msg(fetch(r, up_url(&up, "/"), bad_lines[i], 5) == ALK_EINVAL, "%s",
                      bad_lines[i]);
    ck_assert_int_eq(fetch(r, up_url(&up, "/"), NULL, 0), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "ftp://127.0.0.1/", NULL, 5), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "file:///etc/passwd", NULL, 5), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "http://u@127.0.0.1/", NULL, 5), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "http://127.0.0.1/\r\nX: y", NULL, 5), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "http://127.0.0.1/a b", NULL, 5), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, "doc", NULL, 5), ALK_EINVAL);
    rig_steps(r, 10);
    ck_assert_int_eq(doc.done, 0);
    ck_assert_int_eq(up.connections, 0);
    end(r);
}
END_TEST

START_TEST(a_document_ends_with_its_loop)
{
    struct rig *r = begin(_i ? OK_HEAD "Content-Length: 10\r\n\r\nhello" : NULL);

    ck_assert_int_eq(fetch(r, up_url(&up, "/"), NULL, 100), ALK_OK);
    rig_until(r, up.requests);
    rig_steps(r, 10);
    rig_close(r);
    ck_assert_int_eq(doc.done, 1);
    ck_assert_int_eq(doc.rc, ALK_ECLOSED);
    ck_assert_str_eq(doc.why, "the loop closes");
    end(r);
}
END_TEST

START_TEST(who_is_told_of_a_document_may_close_the_loop)
{
    static const char *const scripts[] = {OK("5", "hello"),
                                          "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello",
                                          OK("9", "too large"), "oops"};
    struct rig *r = begin(scripts[_i]);

    doc.close = r;
    ck_assert_int_eq(fetch(r, up_url(&up, "/"), NULL, 5), ALK_OK);
    rig_until(r, r->closed);
    ck_assert_int_eq(doc.done, 1);
    doc.close = NULL;
    end(r);
}
END_TEST

/* ---- options ----------------------------------------------------------------------------------- */

static void refused(void (*change)(alk_http_options *o), int rc, const char *why)
{
    struct rig *r = fetch_rig_new();
    alk_http_options o = fetch_defaults();
    char err[200];

    change(&o);
    ck_assert_int_eq(alk_loop_set_http(r->l, &o, err, sizeof err), rc);
    ck_assert_msg(strstr(err, why), "%s", err);
    ck_assert_int_eq(alk_loop_set_http(r->l, &o, NULL, 0), rc);
    memset(err, '!', sizeof err);
    ck_assert_int_eq(alk_loop_set_http(r->l, &o, err, 5), rc);
    ck_assert_uint_eq(strlen(err), 4);
    o = fetch_defaults();
    fetch_options(r, &o);
    rig_free(r);
}

#define CHANGE(name, ...)                                                                          \
    static void name(alk_http_options *o)                                                          \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }

CHANGE(no_connect, o->connect_ms = 0)
CHANGE(no_idle, o->idle_ms = 0)
CHANGE(no_host, o->host_connections = 0)
CHANGE(many_host, o->host_connections = 65537)
CHANGE(no_all, o->connections = 0)
CHANGE(one_for_all, o->connections = 1)
CHANGE(many_all, o->connections = 65537)
CHANGE(no_bytes, o->response_bytes = 0)
CHANGE(no_header, o->header_bytes = 1023)
CHANGE(many_retries, o->retries = 11)
CHANGE(https_proxy, o->proxy = "https://127.0.0.1:1")
CHANGE(no_proxy_host, o->proxy = "http://")
CHANGE(bad_proxy, o->proxy = "http://a:b:c")
CHANGE(control_proxy, o->proxy = "http://a\r\nb")
CHANGE(half_certificate, o->certificate_file = "/etc/passwd")
CHANGE(half_key, o->key_file = "/etc/passwd")
CHANGE(control_agent, o->user_agent = "a\r\nX: y")
CHANGE(no_ca, o->ca_file = "/nowhere/ca.pem")
CHANGE(folder_ca, o->ca_file = "/etc")
CHANGE(no_certificate, o->certificate_file = o->key_file = "/nowhere/x.pem")
CHANGE(no_size, o->size = 0)

START_TEST(options_that_are_wrong_are_named)
{
    refused(no_connect, ALK_EINVAL, "connect_ms");
    refused(no_idle, ALK_EINVAL, "idle_ms");
    refused(no_host, ALK_EINVAL, "host_connections");
    refused(many_host, ALK_EINVAL, "host_connections");
    refused(no_all, ALK_EINVAL, "connections");
    refused(one_for_all, ALK_EINVAL, "connections");
    refused(many_all, ALK_EINVAL, "connections");
    refused(no_bytes, ALK_EINVAL, "response_bytes");
    refused(no_header, ALK_EINVAL, "header_bytes");
    refused(many_retries, ALK_EINVAL, "retries");
    refused(https_proxy, ALK_EINVAL, "proxy");
    refused(no_proxy_host, ALK_EINVAL, "proxy");
    refused(bad_proxy, ALK_EINVAL, "proxy");
    refused(control_proxy, ALK_EINVAL, "proxy");
    refused(half_certificate, ALK_EINVAL, "certificate_file, key_file");
    refused(half_key, ALK_EINVAL, "certificate_file, key_file");
    refused(control_agent, ALK_EINVAL, "user_agent");
    refused(no_ca, ALK_ESYSTEM, "/nowhere/ca.pem");
    refused(folder_ca, ALK_ESYSTEM, "/etc");
    refused(no_certificate, ALK_ESYSTEM, "/nowhere/x.pem");
    refused(no_size, ALK_EINVAL, "alk_http_options");
}
END_TEST

START_TEST(options_are_set_once_and_before_the_first_request)
{
    struct rig *r = begin(OK("2", "ok"));
    alk_http_options o = fetch_defaults();
    char err[200];

    o.user_agent = "mine/1";
    fetch_options(r, &o);
    ck_assert_int_eq(alk_loop_set_http(r->l, &o, err, sizeof err), ALK_EINVAL);
    ck_assert_str_eq(err, "the client is in use already");
    got_get(&a, r, up_url(&up, "/"));
    ck_assert(up_line(&up, "User-Agent: mine/1"));
    end(r);
    r = begin(OK("2", "ok"));
    o.user_agent = NULL;
    fetch_options(r, &o);
    got_get(&a, r, up_url(&up, "/"));
    ck_assert_ptr_null(strcasestr(up.last, "user-agent"));
    end(r);
    r = begin(OK("2", "ok"));
    got_get(&a, r, up_url(&up, "/"));
    ck_assert_int_eq(alk_loop_set_http(r->l, NULL, err, sizeof err), ALK_EINVAL);
    rig_close(r);
    ck_assert_int_eq(alk_loop_set_http(r->l, NULL, err, sizeof err), ALK_EINVAL);
    ck_assert_int_eq(fetch(r, up_url(&up, "/"), NULL, 10), ALK_ECLOSED);
    end(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch_document");
    TCase *t = tcase_create("fetch_document");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_document_is_fetched);
    tcase_add_test(t, a_document_that_is_none_says_why);
    tcase_add_test(t, what_cannot_be_asked_for_is_refused);
    tcase_add_loop_test(t, a_document_ends_with_its_loop, 0, 2);
    tcase_add_loop_test(t, who_is_told_of_a_document_may_close_the_loop, 0, 4);
    tcase_add_test(t, options_that_are_wrong_are_named);
    tcase_add_test(t, options_are_set_once_and_before_the_first_request);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
