/* The loop's HTTP client over TLS, with the library's own server on the same loop: HTTP/2 and what shares its connection,
 * whom it trusts, and what it shows of itself. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/conn.h"
#include "uv/fetch_rig.h"
#include "wire/tls.h"

#define KEPT 100

static struct upstream up;
static struct got a, b, many[KEPT];
static char dir[64], certificate[100], key[100];
static alk_tls *tls;

/* ---- the server -------------------------------------------------------------------------------- */

static alk_request *kept[KEPT];
static int keeps, aborted;
static int served;
static size_t seen_body;
static bool flooding;

static void on_close(alk_request *q, int complete, void *ud)
{
    (void)ud;
    aborted += !complete;
    for (int i = 0; i < keeps; i++) {
        if (kept[i] == q)
            kept[i] = NULL;
    }
}

static void answer(alk_request *q, const char *text)
{
    must(!alk_response_start(q, 200, "", 0));
    must(!alk_response_write(q, text, strlen(text)));
    must(!alk_response_end(q));
}

static int route_now(alk_request *q, void *ud)
{
    (void)ud;
    served++;
    alk_request_body(q, &seen_body);
    answer(q, "now");
    return ALK_OK;
}

static int route_later(alk_request *q, void *ud)
{
    (void)ud;
    must(keeps < KEPT);
    kept[keeps++] = q;
    alk_request_on_close(q, on_close, NULL);
    return ALK_OK;
}

static void flood(alk_request *q, void *ud)
{
    static const char block[16384];

    (void)ud;
    while (!alk_response_write(q, block, sizeof block))
        continue;
    flooding = true;
}

static int route_flood(alk_request *q, void *ud)
{
    alk_request_on_close(q, on_close, ud);
    alk_request_on_drain(q, flood, ud);
    must(!alk_response_start(q, 200, "", 0));
    flood(q, ud);
    return ALK_OK;
}

static void add(struct rig *r, const char *method, const char *path,
                int (*fn)(alk_request *, void *))
{
    alk_route route = {sizeof route, 0, method, path, fn, NULL};

    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_OK);
}

static void make_key(const char *names)
{
    char err[200];

    ck_assert_msg(!alk_tls_self_sign(certificate, key, names, 2, err, sizeof err), "%s", err);
}

static void remove_all(void)
{
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert(!system(command));
}

static struct rig *begin_as(const char *names, uint32_t ask)
{
    struct rig *r = rig_new();
    char pairs[300], err[200];
    alk_tls_options o;

    strcpy(dir, "/tmp/alknet-fetch-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(certificate, sizeof certificate, "%s/cert", dir);
    snprintf(key, sizeof key, "%s/key", dir);
    make_key(names);
    alk_tls_options_init(&o, sizeof o);
    snprintf(pairs, sizeof pairs, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]", certificate, key);
    o.certificates = pairs;
    o.client_certificates = ask;
    ck_assert_msg(!alk_tls_new(&tls, &o, err, sizeof err), "%s", err);
    r->listen.tls = tls;
    rig_start_bare(r);
    add(r, "GET", "/now", route_now);
    add(r, "POST", "/now", route_now);
    add(r, "GET", "/later", route_later);
    add(r, "GET", "/flood", route_flood);
    rig_serve(r);
    keeps = aborted = served = 0;
    flooding = false;
    return r;
}

/* Trusts the server. */
static struct rig *begin(alk_http_options *o)
{
    struct rig *r = begin_as("[\"localhost\",\"127.0.0.1\"]", ALK_TLS_ASK_ALL);

    *o = fetch_defaults();
    o->ca_file = certificate;
    return r;
}

static void end(struct rig *r)
{
    got_free(&a);
    got_free(&b);
    rig_free(r);
    alk_tls_unref(tls);
    remove_all();
}

static const char *url_of(const struct rig *r, const char *path)
{
    static char url[200];

    snprintf(url, sizeof url, "https://127.0.0.1:%d%s", r->port, path);
    return url;
}

static uint64_t counted(struct rig *r, size_t member)
{
    return *(uint64_t *)(void *)((char *)&r->d->counts.metrics + member);
}
#define COUNTED(r, name) counted(r, offsetof(struct metrics, name))

/* ---- HTTP/2 ------------------------------------------------------------------------------------ */

static void start_later(struct rig *r, int n)
{
    struct fetch_request rq = asking("GET", url_of(r, "/later"));

    for (int i = 0; i < n; i++)
        got_start(&many[i], r, &rq);
    rig_until(r, keeps == n);
}

static void answer_all(int n)
{
    for (int i = 0; i < n; i++) {
        if (kept[i])
            answer(kept[i], "later");
    }
}

START_TEST(many_requests_share_one_connection)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    fetch_options(r, &o);
    for (int round = 0; round < 2; round++) {
        keeps = 0;
        start_later(r, 64);
        answer_all(64);
        for (int i = 0; i < 64; i++) {
            got_wait(&many[i]);
            got_ok(&many[i], "later");
            ck_assert_int_eq(many[i].heads, 1);
            got_free(&many[i]);
        }
    }
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 1);
    ck_assert_uint_eq(COUNTED(r, http2_connections), 1);
    end(r);
}
END_TEST

START_TEST(without_it_they_have_the_connections_of_their_host)
{
    alk_http_options o;
    struct rig *r = begin(&o);
    struct fetch_request rq = asking("GET", url_of(r, "/later"));

    o.no_http2 = 1;
    o.host_connections = 7;
    fetch_options(r, &o);
    for (int i = 0; i < 20; i++)
        got_start(&many[i], r, &rq);
    rig_until(r, keeps == 7);
    for (int done = 0; done < 20;) {
        answer_all(keeps);
        uv_run(&r->uv, UV_RUN_NOWAIT);
        done = 0;
        for (int i = 0; i < 20; i++)
            done += many[i].ends;
    }
    for (int i = 0; i < 20; i++) {
        got_ok(&many[i], "later");
        got_free(&many[i]);
    }
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 7);
    ck_assert_uint_eq(COUNTED(r, http2_connections), 0);
    end(r);
}
END_TEST

START_TEST(a_cancelled_request_takes_no_other_with_it)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    fetch_options(r, &o);
    start_later(r, 9);
    for (int i = 0; i < 9; i += 2)
        got_cancel(&many[i]);
    rig_until(r, aborted == 5);
    rig_steps(r, 20);
    answer_all(9);
    for (int i = 1; i < 9; i += 2) {
        got_wait(&many[i]);
        got_ok(&many[i], "later");
        got_free(&many[i]);
    }
    ck_assert_int_eq(aborted, 5);
    got_get(&a, r, url_of(r, "/now"));
    got_ok(&a, "now");
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 1);
    end(r);
}
END_TEST

/* Its server hears of it at once, also when there is nobody else on the connection. */
START_TEST(a_lonely_request_is_cancelled_at_once)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    fetch_options(r, &o);
    for (int i = 0; i < 4; i++) {
        keeps = aborted = 0;
        start_later(r, 1);
        got_cancel(&many[0]);
        rig_until(r, aborted == 1);
        if (i == 1) {
            got_get(&a, r, url_of(r, "/now"));
            got_ok(&a, "now");
        }
    }
    end(r);
}
END_TEST

/* Neither does one whose time is over, or whose answer is too large. */
START_TEST(a_failed_request_takes_no_other_with_it)
{
    alk_http_options o;
    struct rig *r = begin(&o);
    struct fetch_request rq;

    fetch_options(r, &o);
    start_later(r, 3);
    rq = asking("GET", url_of(r, "/flood"));
    rq.response_bytes = 100000;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TOO_LARGE, "larger");
    rq = asking("GET", url_of(r, "/later"));
    rq.deadline = uv_hrtime() + 50 * MILLI;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    rig_until(r, aborted == 2);
    answer_all(3);
    for (int i = 0; i < 3; i++) {
        got_wait(&many[i]);
        got_ok(&many[i], "later");
        got_free(&many[i]);
    }
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 1);
    end(r);
}
END_TEST

START_TEST(bodies_of_every_size_arrive)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 300000};
    alk_http_options o;
    struct rig *r = begin(&o);
    char *body = calloc(1, 300000);

    o.no_http2 = (uint32_t)_i;
    fetch_options(r, &o);
    for (int i = 0; i < 5; i++) {
        struct fetch_request rq = asking("POST", url_of(r, "/now"));

        rq.body = (struct str){body, sizes[i]};
        got_all(&a, r, &rq);
        got_ok(&a, "now");
        ck_assert_uint_eq(seen_body, sizes[i]);
    }
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 1);
    ck_assert_uint_eq(COUNTED(r, http2_connections), !_i);
    free(body);
    end(r);
}
END_TEST

/* Nobody reads the stream: it has a connection of its own, and others go on. */
START_TEST(a_stream_that_is_held_back_holds_back_no_other)
{
    alk_http_options o;
    struct rig *r = begin(&o);
    struct fetch_request rq = asking("GET", url_of(r, "/flood"));

    fetch_options(r, &o);
    rq.stream = true;
    b.refuse = true;
    got_start(&b, r, &rq);
    rig_until(r, b.refusals && flooding);
    rig_steps(r, 50);
    for (int i = 0; i < 10; i++) {
        got_get(&a, r, url_of(r, "/now"));
        got_ok(&a, "now");
    }
    ck_assert_int_eq(b.refusals, 1);
    ck_assert_uint_eq(COUNTED(r, http2_connections), 1);
    ck_assert_uint_eq(COUNTED(r, tls_handshakes), 2);
    got_cancel(&b);
    rig_until(r, aborted == 1);
    end(r);
}
END_TEST

/* The server ends: with its connections, in the middle. */
START_TEST(a_connection_that_ends_ends_all_of_its_requests)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    fetch_options(r, &o);
    start_later(r, 8);
    list_each_safe(n, &r->l->conns) conn_close(container_of(n, struct conn, link));
    for (int i = 0; i < 8; i++) {
        got_wait(&many[i]);
        got_not(&many[i], FETCH_FAILED, "");
        ck_assert_str_ne(many[i].why, "");
        got_free(&many[i]);
    }
    got_get(&a, r, url_of(r, "/now"));
    got_ok(&a, "now");
    end(r);
}
END_TEST

START_TEST(the_loop_closes_with_requests_on_it)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    fetch_options(r, &o);
    start_later(r, 8);
    rig_close(r);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(many[i].ends, 1);
        got_free(&many[i]);
    }
    end(r);
}
END_TEST

/* ---- trust ------------------------------------------------------------------------------------- */

START_TEST(a_server_that_nobody_vouches_for_is_sent_nothing)
{
    alk_http_options o;
    struct rig *r = begin(&o);
    struct fetch_request rq = asking("GET", url_of(r, "/now?key=sesame"));

    o.ca_file = _i ? certificate : NULL;
    if (_i) {
        remove(certificate);
        remove(key);
        make_key("[\"localhost\",\"127.0.0.1\"]");
    }
    fetch_options(r, &o);
    rq.idempotent = true;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_FAILED, "certificate");
    ck_assert_ptr_null(strstr(a.why, "sesame"));
    ck_assert_int_eq(served, 0);
    ck_assert_uint_eq(COUNTED(r, http_client_retries), 0);
    end(r);
}
END_TEST

START_TEST(a_server_of_another_name_is_sent_nothing)
{
    struct rig *r = begin_as("[\"service.example\"]", ALK_TLS_ASK_ALL);
    alk_http_options o = fetch_defaults();

    o.ca_file = certificate;
    fetch_options(r, &o);
    got_get(&a, r, url_of(r, "/now"));
    got_not(&a, FETCH_FAILED, "certificate");
    ck_assert_int_eq(served, 0);
    end(r);
}
END_TEST

/* A listener that notes what it is shown, and then is the gateway. */
static struct front {
    struct service service;
    struct rig *r;
    char shown[ALK_TLS_FINGERPRINT];
} front;

static struct engine *on_ready(void *ud, const struct tls_info *info, uint64_t now)
{
    struct service *gateway = gateway_service(front.r->g);
    struct peer_info p = {.address = "127.0.0.1", .local = "127.0.0.1"};

    (void)ud;
    snprintf(front.shown, sizeof front.shown, "%s", info->fingerprint);
    return gateway->accept(gateway, &front.r->l->mem, &p, now);
}

static void on_failed(void *ud, const char *why)
{
    (void)ud;
    (void)why;
}

static void on_fini(void *ud)
{
    (void)ud;
}

static struct engine *front_accept(struct service *s, struct mem *mem, const struct peer_info *p,
                                   uint64_t now)
{
    static const struct tls_app app = {on_ready, on_failed, on_fini};
    static const char *const alpn[] = {"http/1.1", NULL};
    struct tls_config *c = tls_current(tls);
    struct engine *e = tls_accept(mem, c, alpn, &app, s, NULL, now + 10 * SECOND);

    (void)p;
    tls_config_unref(c);
    return e;
}

static void front_tick(struct service *s, const char *date, uint64_t now)
{
    (void)s;
    (void)date;
    (void)now;
}

static struct mem *front_mem(struct service *s)
{
    (void)s;
    return &front.r->l->mem;
}

START_TEST(a_certificate_is_shown_to_who_asks)
{
    alk_http_options o;
    struct rig *r = begin(&o);
    alk_gateway *gateway = r->g;
    char fingerprint[ALK_TLS_FINGERPRINT];

    if (_i) {
        o.certificate_file = certificate;
        o.key_file = key;
    }
    fetch_options(r, &o);
    front =
        (struct front){.service = {.accept = front_accept, .tick = front_tick, .mem = front_mem}};
    front.r = r;
    r->listen.gateway = (alk_gateway *)(void *)&front;
    r->listen.tls = NULL;
    rig_serve(r);
    r->listen.gateway = gateway;
    got_get(&a, r, url_of(r, "/now"));
    got_ok(&a, "now");
    ck_assert_int_eq(alk_tls_fingerprint(tls, fingerprint, NULL), ALK_OK);
    ck_assert_str_eq(front.shown, _i ? fingerprint : "");
    end(r);
}
END_TEST

/* Files that hold something else. */
START_TEST(a_file_that_is_no_certificate_is_named_by_its_kind)
{
    alk_http_options o;
    struct rig *r = begin(&o);

    if (_i)
        o.certificate_file = o.key_file = "/etc/passwd";
    else
        o.ca_file = "/etc/passwd";
    fetch_options(r, &o);
    got_get(&a, r, url_of(r, "/now"));
    ck_assert_int_eq(a.outcome, FETCH_FAILED);
    ck_assert_msg(strcasestr(a.why, "cert"), "%s", a.why);
    end(r);
}
END_TEST

/* ---- no TLS ------------------------------------------------------------------------------------ */

START_TEST(who_speaks_no_tls_is_sent_nothing)
{
    struct rig *r = fetch_rig_new();
    char url[100];

    up_start(&up, r, NULL);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", up.port);
    {
        struct fetch_request rq = asking("GET", url);

        got_start(&a, r, &rq);
    }
    rig_until(r, up.all && up.all->len);
    up_send(up.all, "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno");
    got_wait(&a);
    got_not(&a, FETCH_FAILED, "");
    ck_assert_str_ne(a.why, "");
    ck_assert_int_eq(a.heads, 0);
    got_free(&a);
    up_stop(&up);
    rig_free(r);
}
END_TEST

START_TEST(a_handshake_that_takes_too_long_is_given_up)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();
    char url[100];
    uint64_t since = now_ms();

    o.connect_ms = 150;
    fetch_options(r, &o);
    up_start(&up, r, NULL);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", up.port);
    {
        struct fetch_request rq = asking("GET", url);

        got_all(&a, r, &rq);
    }
    got_not(&a, FETCH_TIMED_OUT, "");
    ck_assert_uint_lt(now_ms() - since, 1000);
    got_free(&a);
    up_stop(&up);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch_tls");
    TCase *t = tcase_create("fetch_tls");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, many_requests_share_one_connection);
    tcase_add_test(t, without_it_they_have_the_connections_of_their_host);
    tcase_add_test(t, a_cancelled_request_takes_no_other_with_it);
    tcase_add_test(t, a_lonely_request_is_cancelled_at_once);
    tcase_add_test(t, a_failed_request_takes_no_other_with_it);
    tcase_add_loop_test(t, bodies_of_every_size_arrive, 0, 2);
    tcase_add_test(t, a_stream_that_is_held_back_holds_back_no_other);
    tcase_add_test(t, a_connection_that_ends_ends_all_of_its_requests);
    tcase_add_test(t, the_loop_closes_with_requests_on_it);
    tcase_add_loop_test(t, a_server_that_nobody_vouches_for_is_sent_nothing, 0, 2);
    tcase_add_test(t, a_server_of_another_name_is_sent_nothing);
    tcase_add_loop_test(t, a_certificate_is_shown_to_who_asks, 0, 2);
    tcase_add_loop_test(t, a_file_that_is_no_certificate_is_named_by_its_kind, 0, 2);
    tcase_add_test(t, who_speaks_no_tls_is_sent_nothing);
    tcase_add_test(t, a_handshake_that_takes_too_long_is_given_up);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
