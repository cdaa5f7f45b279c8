/* The loop's HTTP client and its requests' lives: held back, cancelled, and the loop closed at every moment; several loops;
 * documents (alk_loop_fetch) and options (alk_loop_set_http). */
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

/* A body that turns out too large when it goes on. */
START_TEST(too_much_is_seen_behind_a_pause)
{
    struct rig *r = begin(OK("20", "aaaaaaaaaabbbbbbbbbb"));
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    rq.response_bytes = 19;
    up.script = OK_HEAD "Content-Length: 20\r\n\r\naaaaaaaaaa";
    a.refuse = true;
    got_start(&a, r, &rq);
    rig_until(r, a.refusals);
    up_send(up.all, "bbbbbbbbbb");
    rig_steps(r, 20);
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
