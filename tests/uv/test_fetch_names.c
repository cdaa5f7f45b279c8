/* Where the loop's HTTP client goes: which addresses are public, where a name may lead, and what it does when one leads
 * elsewhere, later, or to several places. Names are looked up here. */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "uv/http_int.h"

#include <dlfcn.h>
#include <netdb.h>

static struct upstream up;
static struct got a, many[40];

/* ---- the table --------------------------------------------------------------------------------- */

static const struct {
    const char *host, *to;
    bool may;
} leads[] = {
    {"127.0.0.1", "127.0.0.1", true},
    {"127.0.0.1", "127.0.0.2", false},
    {"10.1.2.3", "10.1.2.3", true},
    {"169.254.169.254", "169.254.169.254", true},
    {"[::1]", "::1", true},
    {"[::1]", "127.0.0.1", false},
    {"[::ffff:127.0.0.1]", "127.0.0.1", true},
    {"[fe80::1]", "fe80::1", true},
    {"8.8.8.8", "8.8.4.4", false},
    {"127.1", "127.0.0.1", false},
    {"0x7f.1", "127.0.0.1", false},
    {"0177.0.0.1", "127.0.0.1", false},
    {"2130706433", "127.0.0.1", false},
    {"127.0.0.01", "127.0.0.1", false},
    {"localhost", "127.0.0.1", true},
    {"localhost", "127.1.2.3", true},
    {"localhost", "::1", true},
    {"localhost", "10.0.0.1", false},
    {"localhost", "8.8.8.8", false},
    {"api.localhost", "127.0.0.1", true},
    {"api.localhost", "192.168.0.1", false},
    {"notlocalhost", "127.0.0.1", false},
    {"localhost.example", "127.0.0.1", false},
    {".localhost", "127.0.0.1", false},
    {"service.example", "8.8.8.8", true},
    {"service.example", "127.0.0.1", false},
    {"service.example", "10.0.0.1", false},
    {"service.example", "fe80::1", false},
    {"service.example", "::ffff:127.0.0.1", false},
    {"service.example", "2606:4700::1", true},
    {"ip6-localhost", "::1", false},
};

START_TEST(a_name_leads_to_public_addresses_only)
{
    for (size_t i = 0; i < sizeof leads / sizeof leads[0]; i++) {
        struct ip ip;

        ck_assert(ip_parse(str_of(leads[i].to), &ip));
        ck_assert_msg(origin_may_lead(str_of(leads[i].host), &ip) == leads[i].may, "%s to %s",
                      leads[i].host, leads[i].to);
    }
}
END_TEST

static const struct {
    const char *url, *origin, *host; /* origin NULL: it is none */
} origins[] = {
    {"http://a/", "http://a:80", "a"},
    {"http://a", "http://a:80", "a"},
    {"http://a?x", "http://a:80", "a"},
    {"http://a#x", "http://a:80", "a"},
    {"https://a/", "https://a:443", "a"},
    {"HTTPS://A.Example:443/P", "https://a.example:443", "a.example"},
    {"http://a.:80/", "http://a:80", "a"},
    {"http://a:0080/", "http://a:80", "a"},
    {"http://a:/", "http://a:80", "a"},
    {"http://a:65535/", "http://a:65535", "a"},
    {"http://[::1]/", "http://[::1]:80", "[::1]"},
    {"http://[::1]:8080/", "http://[::1]:8080", "[::1]"},
    {"http://127.0.0.1:1/x:y@z", "http://127.0.0.1:1", "127.0.0.1"},
    {"http://a/@b", "http://a:80", "a"},
    {"", NULL, NULL},
    {"http:", NULL, NULL},
    {"http://", NULL, NULL},
    {"http:///a", NULL, NULL},
    {"http://:80/", NULL, NULL},
    {"http://u@a/", NULL, NULL},
    {"http://u:p@a/", NULL, NULL},
    {"http://a\\@b/", NULL, NULL},
    {"http://a:x/", NULL, NULL},
    {"http://a:80x/", NULL, NULL},
    {"http://a:-1/", NULL, NULL},
    {"http://a:65536/", NULL, NULL},
    {"http://a:99999999999999999999/", NULL, NULL},
    {"http://a:0/", NULL, NULL},
    {"ftp://a/", NULL, NULL},
    {"file:///a", NULL, NULL},
    {"//a/", NULL, NULL},
    {"a", NULL, NULL},
    {"httpx://a/", NULL, NULL},
    {" http://a/", NULL, NULL},
};

START_TEST(an_origin_is_scheme_host_and_port)
{
    char out[ORIGIN_MAX], url[2 * ORIGIN_MAX] = "http://";
    struct str host;

    for (size_t i = 0; i < sizeof origins / sizeof origins[0]; i++) {
        bool is = origin_of(origins[i].url, out, &host);

        ck_assert_msg(is == (origins[i].origin != NULL), "%s", origins[i].url);
        if (!is)
            continue;
        ck_assert_str_eq(out, origins[i].origin);
        ck_assert_msg(str_is(host, origins[i].host), "%s", origins[i].url);
    }
    memset(url + 7, 'a', ORIGIN_MAX - 16);
    ck_assert(origin_of(url, out, &host));
    ck_assert_uint_eq(strlen(out), 7 + ORIGIN_MAX - 16 + 3);
    url[7 + ORIGIN_MAX - 16] = 'a';
    ck_assert(!origin_of(url, out, &host));
}
END_TEST

static const struct {
    const char *list, *host;
    bool without;
} direct[] = {
    {"a.example", "a.example", true},
    {"a.example", "x.a.example", true},
    {".a.example", "a.example", true},
    {".a.example", "x.a.example", true},
    {"a.example", "ba.example", false},
    {"a.example", "example", false},
    {"x, a.example,y", "a.example", true},
    {" a.example ", "a.example", true},
    {"A.Example", "a.example", true},
    {"*", "anything", true},
    {"*.example", "a.example", false},
    {"", "a", false},
    {",", "a", false},
    {".", "a", false},
    {"10.0.0.1", "10.0.0.1", true},
    {"[::1]", "[::1]", true},
    {NULL, "a", false},
};

START_TEST(no_proxy_is_a_list_of_names_with_all_below_them)
{
    for (size_t i = 0; i < sizeof direct / sizeof direct[0]; i++)
        ck_assert_msg(origin_without_proxy(direct[i].list, str_of(direct[i].host)) ==
                          direct[i].without,
                      "%s, %s", direct[i].list, direct[i].host);
}
END_TEST

/* ---- names ------------------------------------------------------------------------------------- */

/* What a name leads to, by address; those that are not here do not exist. */
static const char *name, *to[3];
static int lookups, inside; /* begun; under way */
static uv_sem_t *held;      /* a lookup waits for it */

static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* In place of the system's, for libcurl as well. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **out)
{
    struct addrinfo numeric = hints ? *hints : (struct addrinfo){0}, **at = out;

    if (!name || strcmp(node, name))
        return EAI_NONAME;
    __atomic_add_fetch(&lookups, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED);
    if (held)
        uv_sem_wait(held);
    __atomic_sub_fetch(&inside, 1, __ATOMIC_RELAXED);
    numeric.ai_flags = AI_NUMERICHOST;
    *out = NULL;
    for (int i = 0; i < 3 && to[i]; i++) {
        if (real(to[i], service, &numeric, at))
            return EAI_NONAME;
        while (*at)
            at = &(*at)->ai_next;
    }
    return *out ? 0 : EAI_NONAME;
}

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

static const char *url_of(const char *host, const char *path)
{
    static char url[300];

    snprintf(url, sizeof url, "http://%s:%d%s", host, up.port, path);
    return url;
}

START_TEST(a_name_that_leads_within_is_refused_and_nothing_is_sent)
{
    static const char *const hosts[] = {
        "service.example", "127.1",      "0x7f.1", "0177.0.0.1",
        "2130706433",      "127.0.0.1.", "0",      "service.example."};
    static const char *const leading[] = {"127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"};
    struct rig *r = begin(OK("2", "ok"));

    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            name = hosts[i];
            to[0] = leading[k];
            got_get(&a, r, url_of(hosts[i], "/?key=sesame"));
            if (!strcmp(hosts[i], "127.0.0.1.") && a.outcome == FETCH_DONE) {
                /* That is an address, with a dot. */
                continue;
            }
            got_not(&a, FETCH_REFUSED, "which is not public");
            ck_assert_ptr_null(strstr(a.why, "sesame"));
            ck_assert_int_eq(a.heads, 0);
        }
    }
    rig_steps(r, 20);
    ck_assert_int_le(up.connections, 1);
    end(r);
}
END_TEST

START_TEST(whoever_asks_for_it_reaches_any_address)
{
    struct rig *r = begin(OK("2", "ok"));
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));

    name = "service.example";
    to[0] = "127.0.0.1";
    rq.private_addresses = true;
    got_all(&a, r, &rq);
    got_ok(&a, "ok");
    rq.url = url_of("127.1", "/");
    got_all(&a, r, &rq);
    got_ok(&a, "ok");
    end(r);
}
END_TEST

/* It was opened by who may; who may not does not get it, and does not hurt it. */
START_TEST(a_connection_to_within_is_not_shared)
{
    struct rig *r = begin(OK("2", "ok"));
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));

    name = "service.example";
    to[0] = "127.0.0.1";
    for (int i = 0; i < 6; i++) {
        rq.private_addresses = i % 2 == 0;
        rq.idempotent = i > 3;
        got_all(&a, r, &rq);
        if (rq.private_addresses)
            got_ok(&a, "ok");
        else
            got_not(&a, FETCH_REFUSED, "service.example leads to 127.0.0.1, which is not public");
    }
    ck_assert_int_eq(up.requests, 3);
    end(r);
}
END_TEST

/* The first answer of the name server would be allowed, the second is the one that is used. */
START_TEST(what_counts_is_the_address_that_is_used)
{
    struct rig *r = begin(OK("2", "ok"));

    name = "service.example";
    to[0] = "127.0.0.1";
    to[1] = "10.0.0.1";
    to[2] = "::1";
    got_get(&a, r, url_of("service.example", "/"));
    got_not(&a, FETCH_REFUSED, "not public");
    got_get(&a, r, url_of("localhost", "/"));
    got_ok(&a, "ok");
    got_get(&a, r, url_of("x.localhost", "/"));
    got_ok(&a, "ok");
    end(r);
}
END_TEST

/* Of several addresses the next is tried when nobody is at one. The first does not answer for a while, as its queue is
 * full, and then is gone. */
START_TEST(each_address_of_a_name_is_tried)
{
    struct rig *r = begin(OK("2", "ok"));
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)up.port)};
    int fill[4], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, "127.0.0.5", &at.sin_addr);
    ck_assert(!bind(fd, (struct sockaddr *)&at, sizeof at) && !listen(fd, 0));
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, sizeof at);
    }
    name = "service.example";
    to[0] = "127.0.0.5";
    to[1] = "127.0.0.6";
    to[2] = "127.0.0.1";
    rq.private_addresses = true;
    got_start(&a, r, &rq);
    rig_steps(r, 100);
    close(fd);
    got_wait(&a);
    got_ok(&a, "ok");
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    ck_assert_int_eq(up.connections, 1);
    end(r);
}
END_TEST

START_TEST(an_address_reaches_itself)
{
    struct rig *r = fetch_rig_new();

    up_start_at(&up, r, OK("2", "ok"), "127.0.0.9");
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    up_stop(&up);
    up_start_at(&up, r, OK("2", "ok"), "::1");
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    end(r);
}
END_TEST

START_TEST(a_redirect_to_the_name_with_a_dot_is_the_same_origin)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));
    char moved[200];

    snprintf(
        moved, sizeof moved,
        "HTTP/1.1 302 Found\r\nLocation: http://SERVICE.example.:%d/\r\nContent-Length: 0\r\n\r\n",
        up.port);
    up.script = moved;
    name = "service.example";
    to[0] = "127.0.0.1";
    rq.private_addresses = true;
    got_start(&a, r, &rq);
    rig_until(r, up.requests == 1);
    name = "SERVICE.example.";
    up.script = OK("2", "ok");
    got_wait(&a);
    got_ok(&a, "ok");
    ck_assert_int_eq(up.requests, 2);
    end(r);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_named)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", "http://nowhere.example/?key=sesame");

    got_all(&a, r, &rq);
    got_not(&a, FETCH_FAILED, "nowhere.example");
    ck_assert_ptr_null(strstr(a.why, "sesame"));
    end(r);
}
END_TEST

static const char *const no_urls[] = {
    "ftp://127.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/",
    "http:///x",        "127.0.0.1",          ""};

START_TEST(what_is_no_url_is_refused)
{
    struct rig *r = begin(NULL);

    for (size_t i = 0; i < sizeof no_urls / sizeof no_urls[0]; i++) {
        got_get(&a, r, no_urls[i]);
        got_not(&a, FETCH_REFUSED, "the URL is none of http or https");
    }
    end(r);
}
END_TEST

/* ---- slow names -------------------------------------------------------------------------------- */

static void let_go(uv_sem_t *sem, int n)
{
    while (n--)
        uv_sem_post(sem);
}

/* Threads that look names up are on their way, and the process must not end under them. */
static void threads_end(void)
{
    while (__atomic_load_n(&inside, __ATOMIC_RELAXED))
        usleep(1000);
    usleep(50000);
}

/* The loop goes on while a name is looked up, also when nobody wants it any more. */
START_TEST(a_name_that_takes_long_holds_up_nothing)
{
    struct rig *r = begin(OK("2", "ok"));
    uv_sem_t sem;
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));
    uint64_t since;

    name = "service.example";
    to[0] = "127.0.0.1";
    uv_sem_init(&sem, 0);
    held = &sem;
    rq.private_addresses = true;
    rq.deadline = uv_hrtime() + 100 * MILLI;
    since = now_ms();
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    ck_assert_uint_lt(now_ms() - since, 2000);
    rq.deadline = uv_hrtime() + 10 * SECOND;
    got_free(&a);
    got_start(&a, r, &rq);
    rig_until(r, __atomic_load_n(&lookups, __ATOMIC_RELAXED) == 2);
    got_cancel(&a);
    since = now_ms();
    rig_steps(r, 10);
    got_get(&a, r, up_url(&up, "/"));
    got_ok(&a, "ok");
    ck_assert_uint_lt(now_ms() - since, 2000);
    let_go(&sem, 2);
    rig_until(r, list_empty(&r->l->http->requests));
    ck_assert_int_eq(up.requests, 1);
    held = NULL;
    end(r);
    threads_end();
    uv_sem_destroy(&sem);
}
END_TEST

/* Requests for it come and go, cancelled or late: there are no more lookups at a time than connections. */
START_TEST(a_name_that_takes_long_is_not_asked_for_again_and_again)
{
    struct rig *r = begin(OK("2", "ok"));
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));
    uv_sem_t sem;

    name = "service.example";
    to[0] = "127.0.0.1";
    uv_sem_init(&sem, 0);
    held = &sem;
    rq.private_addresses = true;
    for (int i = 0; i < 200; i++) {
        got_free(&many[i % 40]);
        rq.deadline = uv_hrtime() + (i % 2 ? 10 * SECOND : 2 * MILLI);
        got_start(&many[i % 40], r, &rq);
        uv_run(&r->uv, UV_RUN_NOWAIT);
        uv_run(&r->uv, UV_RUN_NOWAIT);
        if (i % 2)
            got_cancel(&many[i % 40]);
        else
            got_wait(&many[i % 40]);
        uv_run(&r->uv, UV_RUN_NOWAIT);
    }
    rq.deadline = uv_hrtime() + 10 * SECOND;
    rig_steps(r, 20);
    ck_assert_int_ge(__atomic_load_n(&lookups, __ATOMIC_RELAXED), 1);
    ck_assert_int_le(__atomic_load_n(&lookups, __ATOMIC_RELAXED), 16);
    got_start(&a, r, &rq);
    let_go(&sem, 1000);
    got_wait(&a);
    got_ok(&a, "ok");
    rig_until(r, list_empty(&r->l->http->requests));
    ck_assert_int_eq(up.requests, 1);
    held = NULL;
    end(r);
    threads_end();
    uv_sem_destroy(&sem);
}
END_TEST

/* A program that has nothing else to do ends, and a loop closes. */
START_TEST(a_name_that_takes_long_keeps_nobody_waiting)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", url_of("service.example", "/"));
    uv_sem_t sem;
    uint64_t since = now_ms();

    name = "service.example";
    to[0] = "127.0.0.1";
    uv_sem_init(&sem, 0);
    held = &sem;
    got_start(&a, r, &rq);
    rig_until(r, __atomic_load_n(&lookups, __ATOMIC_RELAXED) == 1);
    if (_i) {
        got_cancel(&a);
        ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    }
    rig_close(r);
    rig_until(r, r->closed);
    ck_assert_int_eq(a.ends, !_i);
    ck_assert_uint_lt(now_ms() - since, 3000);
    end(r);
    let_go(&sem, 1);
    threads_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch_names");
    TCase *t = tcase_create("fetch_names");
    SRunner *runner;
    int failed;

    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_name_leads_to_public_addresses_only);
    tcase_add_test(t, an_origin_is_scheme_host_and_port);
    tcase_add_test(t, no_proxy_is_a_list_of_names_with_all_below_them);
    tcase_add_test(t, a_name_that_leads_within_is_refused_and_nothing_is_sent);
    tcase_add_test(t, whoever_asks_for_it_reaches_any_address);
    tcase_add_test(t, a_connection_to_within_is_not_shared);
    tcase_add_test(t, what_counts_is_the_address_that_is_used);
    tcase_add_test(t, each_address_of_a_name_is_tried);
    tcase_add_test(t, an_address_reaches_itself);
    tcase_add_test(t, a_redirect_to_the_name_with_a_dot_is_the_same_origin);
    tcase_add_test(t, a_name_that_does_not_exist_is_named);
    tcase_add_test(t, what_is_no_url_is_refused);
    tcase_add_test(t, a_name_that_takes_long_holds_up_nothing);
    tcase_add_test(t, a_name_that_takes_long_is_not_asked_for_again_and_again);
    tcase_add_loop_test(t, a_name_that_takes_long_keeps_nobody_waiting, 0, 2);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
