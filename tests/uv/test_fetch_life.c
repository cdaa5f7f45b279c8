/* The loop's HTTP client and its requests' lives: held back, cancelled, and the loop closed at every moment; several loops. */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "uv/gzip.h"
#include "uv/http_int.h"

static struct upstream up;
static struct got a, b, many[100];

static struct rig *begin(const char *script)
{
    struct rig *r = fetch_rig_new();

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

/* ---- held back --------------------------------------------------------------------------------- */

#define LARGE (10u << 20)

static char *sending;
static size_t sending_len;
static uint64_t sending_sum;

static char byte_at(size_t i)
{
    return (char)((i ^ i >> 8 ^ i >> 16) * 31);
}

static void answer_sending(struct up_conn *c)
{
    up_send_then(c, sending, sending_len, NULL);
}

enum { PLAIN, CHUNKED, GZIP, GZIP_CHUNKED, KINDS };

static void chunk(char **to, const char *bytes, size_t n)
{
    *to += sprintf(*to, "%zx\r\n", n);
    memcpy(*to, bytes, n);
    *to += n;
    *to += sprintf(*to, "\r\n");
}

/* An answer of LARGE bytes in one of four ways, and the sum of what it says. */
static void make(int kind)
{
    char *body = malloc(LARGE), *packed = body, *to;
    size_t n = LARGE;

    sending_sum = 0;
    for (size_t i = 0; i < LARGE; i++) {
        body[i] = kind < GZIP ? byte_at(i) : (char)('a' + i % 7);
        sending_sum = sending_sum * 31 + (unsigned char)body[i];
    }
    if (kind >= GZIP)
        packed = gzip(body, LARGE, 7, &n);
    sending = to = malloc(2 * n + 1000);
    to += sprintf(to, OK_HEAD "%s", kind >= GZIP ? "Content-Encoding: gzip\r\n" : "");
    if (kind == CHUNKED || kind == GZIP_CHUNKED) {
        to += sprintf(to, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0, size = 1; at < n; at += size, size = size * 7 % 5003 + 1)
            chunk(&to, packed + at, size < n - at ? size : n - at);
        to += sprintf(to, "0\r\n\r\n");
    } else {
        to += sprintf(to, "Content-Length: %zu\r\n\r\n", n);
        memcpy(to, packed, n);
        to += n;
    }
    sending_len = (size_t)(to - sending);
    if (packed != body)
        free(packed);
    free(body);
}

static unsigned dice;

static bool rarely(void)
{
    dice = dice * 1103515245 + 12345;
    return dice >> 16 & 1;
}

static void refuse_sometimes(struct got *g)
{
    g->refuse = rarely();
}

/* Refusals at random, resumed from a timer's worth of steps later, or at once, or twice. */
START_TEST(what_was_not_taken_comes_again_in_order)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    make(_i % KINDS);
    up.answer = answer_sending;
    a.forget = true;
    a.on_data = refuse_sometimes;
    rq.stream = _i >= KINDS && _i % KINDS < GZIP;
    got_start(&a, r, &rq);
    for (long steps = 0, seen = 0; !a.ends; steps++) {
        must(steps < 10000000);
        uv_run(&r->uv, UV_RUN_NOWAIT);
        if (a.refusals == seen || !a.x)
            continue;
        if (steps % 3 == 0)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        seen = a.refusals;
        a.refuse = false;
        if (a.x)
            got_resume(&a);
        if (a.x && steps % 5 == 0)
            got_resume(&a);
    }
    ck_assert_msg(a.outcome == FETCH_DONE, "%s", a.why);
    ck_assert_uint_eq(a.len, LARGE);
    ck_assert_uint_eq(a.sum, sending_sum);
    ck_assert_int_gt(a.refusals, 50);
    free(sending);
    end(r);
}
END_TEST

static long sent;

static void send_more(struct up_conn *c)
{
    static const char block[65536];

    sent += sizeof block;
    up_send_then(c, block, sizeof block, send_more);
}

static void answer_endless(struct up_conn *c)
{
    up_send(c, OK_HEAD "\r\n");
    send_more(c);
}

/* The sockets are full, and nothing is kept anywhere else, nor does it time out. */
START_TEST(a_server_is_held_back_while_nobody_takes_what_it_sends)
{
    alk_http_options o = fetch_defaults();
    struct rig *r = fetch_rig_new();
    struct fetch_request rq;
    size_t before;
    long full = -1;

    o.idle_ms = 100;
    fetch_options(r, &o);
    up_start(&up, r, NULL);
    up.answer = answer_endless;
    rq = asking("GET", up_url(&up, "/"));
    rq.stream = true;
    a.refuse = a.forget = true;
    got_start(&a, r, &rq);
    rig_until(r, a.refusals);
    before = memory_used();
    while (sent != full) {
        full = sent;
        rig_steps(r, 50);
    }
    rig_steps(r, 300);
    ck_assert_int_eq(sent, full);
    ck_assert_int_eq(a.refusals, 1);
    ck_assert_int_eq(a.ends, 0);
    ck_assert_uint_lt(memory_used(), before + 300000);
    a.refuse = false;
    got_resume(&a);
    rig_until(r, sent > full + 10000000);
    got_cancel(&a);
    rig_until(r, !up.open);
    end(r);
}
END_TEST

/* Not even its end comes. */
START_TEST(the_end_waits_for_what_was_not_taken)
{
    struct rig *r = begin(NULL);
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    up.script = _i ? OK("5", "hello") : OK_HEAD "\r\nhello";
    a.refuse = true;
    got_start(&a, r, &rq);
    rig_until(r, a.refusals);
    if (!_i)
        up_close(up.all);
    rig_steps(r, 50);
    ck_assert_int_eq(a.ends, 0);
    got_resume(&a);
    rig_until(r, a.refusals == 2);
    rig_steps(r, 20);
    ck_assert_int_eq(a.ends, 0);
    a.refuse = false;
    got_resume(&a);
    got_wait(&a);
    got_ok(&a, "hello");
    end(r);
}
END_TEST

START_TEST(the_deadline_comes_also_to_who_does_not_take)
{
    struct rig *r = begin(OK("5", "hello"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    rq.deadline = uv_hrtime() + 100 * MILLI;
    a.refuse = true;
    got_all(&a, r, &rq);
    got_free(&a);
    a.refuse = true;
    rq.deadline = uv_hrtime() + 100 * MILLI;
    got_start(&a, r, &rq);
    got_wait(&a);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    ck_assert_int_eq(a.refusals, 1);
    end(r);
}
END_TEST

/* A body that turns out too large when it goes on, and whose end does not come. */
START_TEST(too_much_is_seen_behind_a_pause)
{
    struct rig *r =
        begin(OK_HEAD "Transfer-Encoding: chunked\r\n\r\na\r\naaaaaaaaaa\r\na\r\nbbbbbbbbbb\r\n");
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    rq.response_bytes = 19;
    a.refuse = true;
    got_start(&a, r, &rq);
    rig_until(r, a.refusals);
    a.refuse = false;
    got_resume(&a);
    got_wait(&a);
    got_not(&a, FETCH_TOO_LARGE, "larger");
    end(r);
}
END_TEST

START_TEST(a_resume_that_nobody_waits_for_does_nothing)
{
    struct rig *r = begin(OK_HEAD "Content-Length: 10\r\n\r\nhello");
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    got_start(&a, r, &rq);
    got_resume(&a);
    rig_until(r, a.len == 5);
    got_resume(&a);
    rig_steps(r, 10);
    a.refuse = true;
    up_send(up.all, "world");
    rig_until(r, a.refusals);
    rig_steps(r, 20);
    ck_assert_int_eq(a.refusals, 1);
    a.refuse = false;
    got_resume(&a);
    got_wait(&a);
    got_ok(&a, "helloworld");
    end(r);
}
END_TEST

/* ---- every moment ------------------------------------------------------------------------------ */

enum {
    BEFORE,
    CONNECTING,
    SENDING,
    WAITING,
    IN_HEAD,
    IN_DATA,
    PAUSED,
    RESUMED,
    RETRYING,
    QUEUED,
    MOMENTS
};

static char *big_body;

/* And the server reads again. */
static void body_goes(void)
{
    if (!big_body)
        return;
    free(big_body);
    big_body = NULL;
    uv_read_start((uv_stream_t *)&up.all->tcp, up_alloc, up_read);
}

/* a is at that moment. */
static void bring_to(struct rig *r, int moment)
{
    struct fetch_request rq = asking(moment == SENDING ? "POST" : "GET", up_url(&up, "/"));

    rq.idempotent = moment == RETRYING;
    up.script = NULL;
    if (moment == SENDING) {
        big_body = calloc(1, 10u << 20);
        rq.body = (struct str){big_body, 10u << 20};
    } else if (moment == IN_HEAD) {
        up.script = "HTTP/1.1 200 OK\r\nA: b\r\n";
    } else if (moment >= IN_DATA && moment <= RESUMED) {
        up.script = OK_HEAD "Content-Length: 10\r\n\r\nhello";
    } else if (moment == RETRYING) {
        up.script = "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
    } else if (moment == QUEUED) {
        for (int i = 0; i < 16; i++)
            got_start(&many[i], r, &rq);
    }
    a.refuse = moment == PAUSED || moment == RESUMED;
    got_start(&a, r, &rq);
    switch (moment) {
    case BEFORE:
        break;
    case CONNECTING:
        uv_run(&r->uv, UV_RUN_NOWAIT);
        break;
    case SENDING:
        rig_until(r, up.all && up.all->len > 100000);
        uv_read_stop((uv_stream_t *)&up.all->tcp);
        break;
    case IN_DATA:
        rig_until(r, a.len);
        break;
    case PAUSED:
    case RESUMED:
        rig_until(r, a.refusals);
        if (moment == RESUMED)
            got_resume(&a);
        break;
    case QUEUED:
        rig_until(r, up.requests == 16);
        break;
    default:
        rig_until(r, up.requests);
        rig_steps(r, 20);
    }
}

START_TEST(a_request_is_cancelled_at_every_moment)
{
    struct rig *r = begin(NULL);

    bring_to(r, _i);
    got_cancel(&a);
    body_goes();
    if (_i != RETRYING && _i != QUEUED)
        rig_until(r, !up.open);
    rig_steps(r, 20);
    ck_assert_int_eq(a.ends, 0);
    for (int i = 0; _i == QUEUED && i < 16; i++)
        got_cancel(&many[i]);
    up.script = OK("2", "ok");
    if (_i != RETRYING) {
        got_get(&b, r, up_url(&up, "/"));
        got_ok(&b, "ok");
    }
    end(r);
}
END_TEST

START_TEST(the_loop_is_closed_at_every_moment)
{
    struct rig *r = begin(NULL);

    bring_to(r, _i);
    rig_close(r);
    rig_until(r, r->closed);
    ck_assert_int_eq(a.ends, 1);
    got_not(&a, FETCH_FAILED, "the loop closes");
    body_goes();
    rig_until(r, !up.open);
    end(r);
}
END_TEST

/* Then the program ends by itself. */
START_TEST(a_cancelled_request_keeps_no_loop_alive)
{
    struct rig *r = begin(NULL);

    bring_to(r, _i);
    got_cancel(&a);
    for (int i = 0; _i == QUEUED && i < 16; i++)
        got_cancel(&many[i]);
    for (struct up_conn *c = up.all; c; c = c->next)
        uv_unref((uv_handle_t *)&c->tcp);
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    body_goes();
    for (struct up_conn *c = up.all; c; c = c->next)
        uv_ref((uv_handle_t *)&c->tcp);
    end(r);
}
END_TEST

/* ---- from within ------------------------------------------------------------------------------- */

static struct got *victim;

static void cancel_victim(struct got *g)
{
    (void)g;
    if (victim->x)
        got_cancel(victim);
}

static void close_loop(struct got *g)
{
    rig_close(g->r);
}

static void start_another(struct got *g)
{
    struct fetch_request rq = asking("GET", up_url(&up, "/another"));

    if (g->x || g->ends)
        got_start(&b, g->r, &rq);
}

static void hook(struct got *g, int place, void (*fn)(struct got *g))
{
    *(place == 0 ? &g->on_head : place == 1 ? &g->on_data : &g->on_end) = fn;
}

START_TEST(a_request_is_cancelled_from_within)
{
    struct rig *r = begin(OK("5", "hello"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    victim = &a;
    hook(&a, _i, cancel_victim);
    got_start(&a, r, &rq);
    rig_until(r, _i ? a.len : (size_t)a.heads);
    rig_steps(r, 20);
    ck_assert_int_eq(a.ends, 0);
    got_get(&b, r, up_url(&up, "/"));
    got_ok(&b, "hello");
    end(r);
}
END_TEST

static void cancel_and_free(struct got *g)
{
    (void)g;
    if (!victim->x)
        return;
    got_cancel(victim);
    free(big_body);
    big_body = NULL;
}

/* It may be sending its body, which goes with it, while more can be sent. */
START_TEST(another_is_cancelled_from_within_and_its_body_goes)
{
    static const size_t sizes[] = {1000, 65535, 65536, 4u << 20};

    for (int i = 0; i < 16; i++) {
        struct rig *r = begin(NULL);
        size_t n = sizes[i % 4];
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        got_start(&a, r, &rq);
        rig_until(r, up.requests == 1);
        victim = &b;
        hook(&a, _i, cancel_and_free);
        big_body = calloc(1, n);
        rq = asking("POST", up_url(&up, "/"));
        rq.body = (struct str){big_body, n};
        got_start(&b, r, &rq);
        if (i / 4 % 2)
            rig_until(r, up.connections == 2);
        for (int k = 0; i / 8 && k < 3; k++)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        up_send(up.all->next ? up.all->next : up.all, OK("5", "hello"));
        got_wait(&a);
        got_ok(&a, "hello");
        rig_steps(r, 5);
        if (b.x)
            cancel_and_free(&b);
        end(r);
    }
}
END_TEST

/* It waits for the connection on which the other is answered, and gets it before libcurl says so. */
START_TEST(who_is_cancelled_just_before_its_turn_sends_nothing)
{
    alk_http_options o = fetch_defaults();

    o.host_connections = 1;
    for (int i = 0; i < 2; i++) {
        struct rig *r = fetch_rig_new();
        size_t n = i ? 1u << 20 : 1000;
        struct fetch_request rq;

        fetch_options(r, &o);
        up_start(&up, r, NULL);
        rq = asking("GET", up_url(&up, "/"));
        got_start(&a, r, &rq);
        rig_until(r, up.requests == 1);
        victim = &b;
        hook(&a, _i, cancel_and_free);
        big_body = calloc(1, n);
        rq = asking("POST", up_url(&up, "/"));
        rq.body = (struct str){big_body, n};
        got_start(&b, r, &rq);
        for (int k = 0; k < 3; k++)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        up_send(up.all, OK("5", "hello"));
        got_wait(&a);
        got_ok(&a, "hello");
        rig_steps(r, 10);
        ck_assert_int_eq(up.requests, 1);
        ck_assert_uint_eq(up.all->len, 0);
        end(r);
    }
}
END_TEST

START_TEST(the_loop_is_closed_from_within)
{
    struct rig *r = begin(OK("5", "hello"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    hook(&a, _i, close_loop);
    got_start(&a, r, &rq);
    got_start(&b, r, &rq);
    rig_until(r, r->closed);
    ck_assert_int_eq(a.ends, 1);
    ck_assert_int_eq(b.ends, 1);
    end(r);
}
END_TEST

START_TEST(a_request_begins_from_within_another)
{
    struct rig *r = begin(OK("5", "hello"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    hook(&a, _i, start_another);
    got_start(&a, r, &rq);
    got_wait(&a);
    got_ok(&a, "hello");
    got_wait(&b);
    got_ok(&b, "hello");
    end(r);
}
END_TEST

static int rounds;

static void begin_again(struct got *g)
{
    struct fetch_request rq = asking("GET", "no URL");

    if (++rounds < 1000)
        got_start(memset(g + 1, 0, sizeof *g), g->r, &rq), g[1].on_end = begin_again;
}

/* One that ends at once begins the next: others have their turns. */
START_TEST(requests_that_end_at_once_starve_nobody)
{
    struct rig *r = begin(OK("2", "ok"));
    struct got *chain = calloc(1001, sizeof *chain);
    struct fetch_request rq = asking("GET", "no URL");
    int steps = 0;

    chain->on_end = begin_again;
    got_start(chain, r, &rq);
    while (rounds < 1000) {
        uv_run(&r->uv, UV_RUN_NOWAIT);
        steps++;
    }
    ck_assert_int_gt(steps, 100);
    rig_steps(r, 5);
    free(chain);
    end(r);
}
END_TEST

/* Beginnings, cancels, refusals, dead connections at random. */
static void answer_somehow(struct up_conn *c)
{
    switch (rand() % 8) {
    case 0:
        up_close(c);
        break;
    case 1:
        up_reset(c);
        break;
    case 2:
        up_send(c, OK_HEAD "Content-Length: 10\r\n\r\nhello");
        break;
    case 3:
        break;
    case 4:
        up_send_then(c, OK("5", "hello"), strlen(OK("5", "hello")), up_close);
        break;
    default:
        up_send(c, OK("5", "hello"));
    }
}

START_TEST(whatever_happens_everything_comes_back)
{
    struct rig *r = begin(NULL);

    srand((unsigned)_i);
    up.answer = answer_somehow;
    for (int i = 0; i < 3000; i++) {
        struct got *g = &many[rand() % 100];
        struct fetch_request rq = asking(rand() % 2 ? "GET" : "PUT", up_url(&up, "/"));

        rq.idempotent = rand() % 2;
        rq.stream = rand() % 4 == 0;
        rq.private_addresses = rand() % 2;
        rq.deadline = uv_hrtime() + (uint64_t)(rand() % 200) * MILLI;
        if (g->x && rand() % 2) {
            got_cancel(g);
        } else if (g->x) {
            g->refuse = !g->refuse;
            got_resume(g);
        } else {
            got_free(g);
            g->refuse = rand() % 4 == 0;
            got_start(g, r, &rq);
        }
        if (rand() % 3 == 0)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        if (rand() % 500 == 0)
            for (struct up_conn *c = up.all; c; c = c->next)
                up_close(c);
    }
    if (_i % 2) {
        for (int i = 0; i < 100; i++) {
            if (many[i].x)
                got_cancel(&many[i]);
        }
    }
    rig_close(r);
    rig_until(r, r->closed);
    for (int i = 0; i < 100; i++) {
        must(!many[i].x);
        got_free(&many[i]);
    }
    end(r);
}
END_TEST

/* ---- several loops ----------------------------------------------------------------------------- */

static void *one_loop(void *ud)
{
    struct rig *r = fetch_rig_new();
    struct upstream u;
    struct got g = {0};

    (void)ud;
    up_start(&u, r, OK("2", "ok"));
    for (int i = 0; i < 100; i++) {
        got_get(&g, r, up_url(&u, "/"));
        got_ok(&g, "ok");
    }
    got_free(&g);
    up_stop(&u);
    rig_free(r);
    return NULL;
}

START_TEST(each_loop_has_a_client_of_its_own)
{
    pthread_t threads[6];

    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, one_loop, NULL), 0);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fetch_life");
    TCase *t = tcase_create("fetch_life");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_was_not_taken_comes_again_in_order, 0, 2 * KINDS);
    tcase_add_test(t, a_server_is_held_back_while_nobody_takes_what_it_sends);
    tcase_add_loop_test(t, the_end_waits_for_what_was_not_taken, 0, 2);
    tcase_add_test(t, the_deadline_comes_also_to_who_does_not_take);
    tcase_add_test(t, too_much_is_seen_behind_a_pause);
    tcase_add_test(t, a_resume_that_nobody_waits_for_does_nothing);
    tcase_add_loop_test(t, a_request_is_cancelled_at_every_moment, 0, MOMENTS);
    tcase_add_loop_test(t, the_loop_is_closed_at_every_moment, 0, MOMENTS - 1);
    tcase_add_loop_test(t, a_cancelled_request_keeps_no_loop_alive, 0, MOMENTS);
    tcase_add_loop_test(t, a_request_is_cancelled_from_within, 0, 2);
    tcase_add_loop_test(t, another_is_cancelled_from_within_and_its_body_goes, 0, 3);
    tcase_add_loop_test(t, who_is_cancelled_just_before_its_turn_sends_nothing, 0, 2);
    tcase_add_loop_test(t, the_loop_is_closed_from_within, 0, 3);
    tcase_add_loop_test(t, a_request_begins_from_within_another, 0, 3);
    tcase_add_test(t, requests_that_end_at_once_starve_nobody);
    tcase_add_loop_test(t, whatever_happens_everything_comes_back, 0, 8);
    tcase_add_test(t, each_loop_has_a_client_of_its_own);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
