/* The change from HTTP/1.1 to WebSocket on one connection: the 101, what was queued before it, bytes that
 * come too early, and the engine that goes on. The wire changes engines as a transport does, behind each
 * call. */
#include "unit/wire/h1_wire.h"
#include "unit/wire/ws_wire.h"

#define HOST "Host: a.example\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define UPGRADE                                                                                    \
    "GET /ws HTTP/1.1\r\n" HOST                                                                    \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                   \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define HEAD_101                                                                                   \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"            \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

/* ---- the session ------------------------------------------------------------------------------- */

struct session {
    struct wire *w; /* its wire */
    struct mem mem; /* of the pool */
    struct ws_pool pool;
    struct ws_limits limits;
    struct ws *ws;
    int messages, closes, finis;
};

static int on_message(struct ws *ws, bool text, const char *data, size_t len, void *ud)
{
    struct session *s = ud;

    s->messages++;
    must(!ws_send(ws, text, data, len));
    return 0;
}

static void no_event(struct ws *ws, void *ud)
{
    (void)ws;
    (void)ud;
}

static void on_close(struct ws *ws, int code, struct str reason, void *ud)
{
    struct session *s = ud;

    (void)ws;
    (void)code;
    (void)reason;
    s->closes++;
}

static void on_fini(void *ud)
{
    struct session *s = ud;

    s->finis++;
    s->w->finished = true;
}

static const struct ws_app session_app = {
    .on_message = on_message,
    .on_writable = no_event,
    .on_drain = no_event,
    .on_close = on_close,
    .fini = on_fini,
};

static struct session *session_new(struct wire *w)
{
    struct session *s = calloc(1, sizeof *s);

    must(s);
    mem_init(&s->mem, NULL, NULL);
    ws_pool_init(&s->pool, &s->mem);
    s->w = w;
    s->limits = (struct ws_limits){
        .message_bytes = 1000, .fragments = 10, .controls = 10, .write_high = 1000};
    s->ws = ws_new(&w->mem, &s->pool, false, &session_app, s, &s->limits, w->now);
    must(s->ws);
    return s;
}

static void session_free(struct session *s)
{
    ws_pool_fini(&s->pool);
    must(s->mem.live == 0);
    free(s);
}

static int grant(struct wire *w, struct session *s)
{
    const struct http_header h = {{"Sec-WebSocket-Accept", 20},
                                  {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28}};

    return w->x->ops->upgrade(w->x, &h, 1, ws_engine(s->ws));
}

/* As a transport behind each call of an engine. */
static void change(struct wire *w)
{
    if (w->e->successor)
        w->e = engine_succeed(w->e);
}

static void turn(struct wire *w)
{
    wire_turn(w);
    change(w);
    wire_take(w, SIZE_MAX);
}

static struct wire *opened(enum mode mode)
{
    struct wire *w = wire_new(mode);

    ck_assert(wire_open(w));
    return w;
}

/* An open exchange that asks for an upgrade. */
static struct wire *asked(void)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, UPGRADE);
    ck_assert_ptr_nonnull(w->x);
    ck_assert(!w->x->early);
    return w;
}

static void say_frame(struct wire *w, int first, const char *text)
{
    struct buf b;

    buf_init(&b, &w->own);
    put_frame(&b, first, (const uint8_t *)"mask", text, strlen(text));
    wire_feed(w, buf_at(&b), b.len);
    buf_fini(&b);
}

/* ---- granted ----------------------------------------------------------------------------------- */

START_TEST(the_101_goes_out_and_the_session_goes_on)
{
    struct wire *w = asked();
    struct session *s = session_new(w);

    ck_assert_int_eq(grant(w, s), 0);
    turn(w);
    ck_assert_ptr_eq(w->e, ws_engine(s->ws));
    ck_assert_str_eq(wire_got(w), HEAD_101);
    ck_assert_str_eq(wire_log(w), "head /ws\nclose 1\n");
    ck_assert(!w->finished);
    ck_assert_uint_eq(w->mem.live, 1);
    wire_forget(w);
    say_frame(w, FIN | TEXT, "hello");
    say_frame(w, FIN | PING, "x");
    ck_assert_str_eq(wire_got(w), "\x81\x05hello\x8a\x01x");
    ck_assert_int_eq(s->messages, 1);
    wire_free(w);
    ck_assert_int_eq(s->closes, 1);
    ck_assert_int_eq(s->finis, 1);
    session_free(s);
}
END_TEST

/* Inside of on_head, as an application does that decides at once. */
static struct session *coming;

static void grant_on_head(struct http_exchange *x, void *ud)
{
    struct wire *w = ud;

    app_on_head(x, ud);
    if (x->req.path.n != 3 || memcmp(x->req.path.p, "/ws", 3) != 0)
        return;
    if (x->early)
        respond(x, 400, "early", 5);
    else
        must(!grant(w, coming));
}

static struct wire *granting(void)
{
    static struct http_app app;
    struct wire *w = wire_new(MODE_HOLD);
    struct h1 *h;

    app = wire_app;
    app.on_head = grant_on_head;
    h = h1_new(&w->mem, &app, w, wire_conn_fini, &w->limits, w->now);
    ck_assert_ptr_nonnull(h);
    w->e = h1_engine(h);
    w->e->wake = wire_wake;
    w->e->wake_ud = w;
    coming = session_new(w);
    return w;
}

START_TEST(a_request_may_be_cut_anywhere)
{
    static const char text[] = UPGRADE;

    for (size_t at = 1; at < sizeof text; at++) {
        struct wire *w = granting();

        wire_feed(w, text, at);
        if (at < sizeof text - 1) {
            ck_assert_ptr_null(w->e->successor);
            wire_feed(w, text + at, sizeof text - 1 - at);
        }
        turn(w);
        ck_assert_str_eq(wire_got(w), HEAD_101);
        ck_assert_ptr_eq(w->e, ws_engine(coming->ws));
        wire_free(w);
        session_free(coming);
    }
}
END_TEST

START_TEST(the_timers_of_http_are_over)
{
    struct wire *w = granting();

    wire_text(w, UPGRADE);
    turn(w);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_sleep(w, 10000 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    coming->limits.ping = 5 * MS;
    say_frame(w, FIN | PONG, "");
    wire_forget(w);
    wire_sleep(w, 12 * MS);
    ck_assert_mem_eq(wire_got(w), "\x89\0\x89\0", 4);
    wire_free(w);
    session_free(coming);
}
END_TEST

START_TEST(requests_before_it_are_answered_first)
{
    struct wire *w = granting();

    w->mode = MODE_ECHO;
    wire_feed_only(w, GET("/1") GET("/2") UPGRADE, strlen(GET("/1") GET("/2") UPGRADE));
    ck_assert_ptr_eq(w->e->successor, ws_engine(coming->ws));
    turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GET /1 "));
    ck_assert_ptr_nonnull(strstr(strstr(wire_got(w), "GET /1 "), "GET /2 "));
    ck_assert_str_eq(strstr(wire_got(w), "HTTP/1.1 101"), HEAD_101);
    wire_free(w);
    session_free(coming);
}
END_TEST

/* The answers before it are with the transport, in part and in whole. */
START_TEST(what_is_not_written_goes_along)
{
    struct wire *w = granting();

    w->mode = MODE_ECHO;
    wire_feed_only(w, GET("/1"), strlen(GET("/1")));
    w->e->inflight = w->e->out.len;
    buf_append(&w->got, buf_at(&w->e->out), w->e->out.len);
    buf_consume(&w->e->out, w->e->out.len);
    wire_feed_only(w, GET("/2"), strlen(GET("/2")));
    wire_feed_only(w, UPGRADE, strlen(UPGRADE));
    change(w);
    ck_assert_ptr_eq(w->e, ws_engine(coming->ws));
    ck_assert_uint_gt(w->e->inflight, 0);
    ck_assert_uint_eq(ws_queued(coming->ws), w->e->inflight + w->e->out.len);
    wire_written(w, w->e->inflight);
    ck_assert_uint_eq(ws_queued(coming->ws), w->e->out.len);
    ck_assert_int_eq(ws_send(coming->ws, true, "behind", 6), 0);
    wire_take(w, SIZE_MAX);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "GET /2 "));
    ck_assert_str_eq(strstr(wire_got(w), "HTTP/1.1 101"), HEAD_101 "\x81\x06"
                                                                   "behind");
    wire_free(w);
    session_free(coming);
}
END_TEST

/* Outside of a callback, the transport is told. */
START_TEST(it_may_be_granted_later)
{
    struct wire *w = asked();
    struct session *s = session_new(w);

    wire_sleep(w, 10000 * MS);
    ck_assert(!w->woken);
    ck_assert_int_eq(grant(w, s), 0);
    ck_assert(w->woken);
    turn(w);
    ck_assert_str_eq(wire_got(w), HEAD_101);
    wire_free(w);
    session_free(s);
}
END_TEST

START_TEST(a_field_cannot_break_the_head)
{
    struct wire *w = asked();
    struct session *s = session_new(w);
    const struct http_header h = {{"X", 1}, {"a\r\nSet-Cookie: b\n", 17}};

    ck_assert_int_eq(w->x->ops->upgrade(w->x, &h, 1, ws_engine(s->ws)), 0);
    turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "\r\nX: a  Set-Cookie: b \r\n\r\n"));
    wire_free(w);
    session_free(s);
}
END_TEST

/* ---- refused ----------------------------------------------------------------------------------- */

START_TEST(bytes_behind_the_head_are_early)
{
    static const char text[] = UPGRADE "\x81\x80mask";

    for (size_t n = sizeof UPGRADE; n < sizeof text; n++) {
        struct wire *w = granting();

        wire_feed(w, text, n);
        ck_assert_ptr_null(w->e->successor);
        ck_assert_ptr_nonnull(strstr(wire_got(w), "HTTP/1.1 400 "));
        ck_assert_ptr_null(strstr(wire_got(w), "101"));
        ws_discard(coming->ws);
        wire_free(w);
        session_free(coming);
    }
}
END_TEST

START_TEST(bytes_behind_a_pipelined_head_are_early)
{
    struct wire *w = granting();

    w->mode = MODE_ECHO;
    wire_text(w, GET("/1") UPGRADE "\x81");
    ck_assert_ptr_null(w->e->successor);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "HTTP/1.1 400 "));
    ws_discard(coming->ws);
    wire_free(w);
    session_free(coming);
}
END_TEST

/* While it is thought about. */
START_TEST(bytes_before_the_101_are_early)
{
    struct wire *w = asked();

    wire_text(w, "\x81");
    ck_assert_ptr_nonnull(w->x);
    ck_assert(w->x->early);
    respond(w->x, 400, "early", 5);
    wire_turn(w);
    wire_free(w);
}
END_TEST

START_TEST(the_next_request_is_early_but_itself_is_not)
{
    struct wire *w = opened(MODE_HOLD);

    wire_text(w, UPGRADE GET("/1"));
    ck_assert(w->x->early);
    respond(w->x, 426, "", 0);
    turn(w);
    ck_assert_str_eq(wire_log(w), "head /ws\nclose 1\nhead /1\n");
    ck_assert(!w->x->early);
    respond(w->x, 200, "", 0);
    turn(w);
    wire_text(w, UPGRADE);
    ck_assert(!w->x->early);
    wire_free(w);
}
END_TEST

START_TEST(a_connection_that_ends_is_not_upgraded)
{
    struct wire *w = asked();
    struct session *s = session_new(w);

    w->x->ops->reset(w->x);
    ck_assert_int_eq(grant(w, s), -1);
    turn(w);
    ck_assert_ptr_null(w->e->successor);
    ck_assert_str_eq(wire_log(w), "head /ws\nclose 0\n");
    ck_assert_str_eq(wire_got(w), "");
    ws_discard(s->ws);
    wire_free(w);
    session_free(s);
}
END_TEST

START_TEST(without_memory_the_application_still_owns_the_session)
{
    struct wire *w = asked();
    struct session *s = session_new(w);

    w->fail_at = w->allocations + 1;
    ck_assert_int_eq(grant(w, s), -1);
    ck_assert_ptr_null(w->e->successor);
    ws_discard(s->ws);
    respond(w->x, 503, "later", 5);
    turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "HTTP/1.1 503 "));
    ck_assert_int_eq(s->finis, 0);
    wire_free(w);
    session_free(s);
}
END_TEST

/* ---- not asked for ----------------------------------------------------------------------------- */

/* Who ignores the wish serves the request, and the next, as HTTP. */
START_TEST(a_wish_that_is_ignored_changes_nothing)
{
    static const char *const requests[] = {
        UPGRADE,
        "POST /ws HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Content-Length: 5\r\n\r\nhello",
        "POST /ws HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /ws HTTP/1.1\r\n" HOST "Connection: Upgrade, keep-alive\r\nUpgrade: h2c\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            struct wire *w = opened(MODE_ECHO);
            size_t n = strlen(requests[i]);

            for (size_t at = 0; at < n; at += bytewise ? 1 : n)
                wire_feed(w, requests[i] + at, bytewise ? 1 : n);
            wire_text(w, GET("/next"));
            ck_assert_str_eq(wire_log(w), "head /ws\nend\nclose 1\nhead /next\nend\nclose 1\n");
            ck_assert_ptr_nonnull(strstr(wire_got(w), i % 3 ? "@a.example hello" : "GET /ws "));
            ck_assert_ptr_nonnull(strstr(wire_got(w), "GET /next "));
            wire_free(w);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h1_upgrade");
    TCase *t = tcase_create("all");

    suite_add_tcase(s, t);
    tcase_add_test(t, the_101_goes_out_and_the_session_goes_on);
    tcase_add_test(t, a_request_may_be_cut_anywhere);
    tcase_add_test(t, the_timers_of_http_are_over);
    tcase_add_test(t, requests_before_it_are_answered_first);
    tcase_add_test(t, what_is_not_written_goes_along);
    tcase_add_test(t, it_may_be_granted_later);
    tcase_add_test(t, a_field_cannot_break_the_head);
    tcase_add_test(t, bytes_behind_the_head_are_early);
    tcase_add_test(t, bytes_behind_a_pipelined_head_are_early);
    tcase_add_test(t, bytes_before_the_101_are_early);
    tcase_add_test(t, the_next_request_is_early_but_itself_is_not);
    tcase_add_test(t, a_connection_that_ends_is_not_upgraded);
    tcase_add_test(t, without_memory_the_application_still_owns_the_session);
    tcase_add_test(t, a_wish_that_is_ignored_changes_nothing);
    return run_suite(s);
}
