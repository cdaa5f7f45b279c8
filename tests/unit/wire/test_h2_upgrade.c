/* Streams that carry an engine: extended CONNECT (RFC 8441). The engine here sends back what it is fed,
 * and does what some letters say. */
#include "unit/wire/h2_wire.h"
#include "base/list.h"

#define CONNECT(path)                                                                              \
    ":method CONNECT\n:protocol websocket\n:scheme http\n:path " path "\n:authority a.example\n"
#define GET(path) REQUEST("GET", path)
#define KIB 1024u

static char big[1 << 20];

/* ---- an engine --------------------------------------------------------------------------------- */

struct echo {
    struct engine e;
    struct wire *w;
    size_t fed;
    int eofs, drains, timeouts, flushes, stalls;
    bool successor; /* it came behind another one */
};

static struct echo *last;  /* that was made */
static struct echo *first; /* that "G" lets read */
static int echoes;         /* that live */

static struct engine *echo_new(struct wire *w);

static void echo_feed(struct engine *e, const char *p, size_t n, uint64_t now)
{
    struct echo *x = container_of(e, struct echo, e);

    must(!e->closing && n && now == x->w->now);
    x->fed += n;
    buf_append(&e->out, p, n);
    switch (*p) {
    case 'C':
        e->closing = ENGINE_FLUSH_AND_CLOSE;
        break;
    case 'R':
        e->closing = ENGINE_RESET;
        break;
    case 'S':
        e->reading = false;
        break;
    case 'N':
        e->successor = echo_new(x->w);
        container_of(e->successor, struct echo, e)->successor = true;
        break;
    case 'T':
        e->deadline = now + 50 * MS;
        break;
    case 'G':
        first->e.reading = true;
        first->e.wake(&first->e, first->e.wake_ud);
        break;
    case 'W':
        e->wake(e, e->wake_ud);
    }
}

static void echo_eof(struct engine *e, uint64_t now)
{
    (void)now;
    container_of(e, struct echo, e)->eofs++;
    e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static void echo_timeout(struct engine *e, uint64_t now)
{
    must(e->deadline && now >= e->deadline);
    container_of(e, struct echo, e)->timeouts++;
    e->deadline = 0;
    buf_puts(&e->out, "timeout");
}

static void echo_drained(struct engine *e, uint64_t now)
{
    (void)e;
    (void)now;
}

static void echo_flush(struct engine *e, uint64_t now)
{
    (void)now;
    container_of(e, struct echo, e)->flushes++;
}

static void echo_drain(struct engine *e, uint64_t now)
{
    (void)now;
    container_of(e, struct echo, e)->drains++;
    buf_puts(&e->out, "bye");
    e->closing = ENGINE_FLUSH_AND_CLOSE;
}

static bool echo_stalled(struct engine *e, uint64_t now)
{
    (void)now;
    container_of(e, struct echo, e)->stalls++;
    e->closing = ENGINE_RESET;
    return true;
}

static void echo_fini(struct engine *e)
{
    buf_fini(&e->out);
    echoes--;
    free(container_of(e, struct echo, e));
}

static const struct engine_ops echo_ops = {
    .feed = echo_feed,
    .eof = echo_eof,
    .timeout = echo_timeout,
    .drained = echo_drained,
    .flush = echo_flush,
    .drain = echo_drain,
    .stalled = echo_stalled,
    .fini = echo_fini,
};

static struct engine *echo_new(struct wire *w)
{
    last = calloc(1, sizeof *last);
    last->w = w;
    last->e.ops = &echo_ops;
    last->e.reading = true;
    last->e.patience = 500 * MS;
    buf_init(&last->e.out, &w->mem);
    echoes++;
    return &last->e;
}

/* A connection with one such stream, 1. */
static struct wire *upgraded(void)
{
    struct wire *w = wire_new();

    w->granted = echo_new;
    wire_connect(w);
    say_headers(w, 1, 0, CONNECT("/upgrade"));
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=200\n");
    ck_assert_str_eq(wire_log(w), "head /upgrade\nclose /upgrade 1\n");
    ck_assert_int_eq(echoes, 1);
    wire_forget(w);
    return w;
}

static void finish(struct wire *w)
{
    wire_free(w);
    ck_assert_int_eq(echoes, 0);
}

/* ---- tests ------------------------------------------------------------------------------------- */

START_TEST(the_request_is_shown_as_a_get)
{
    struct wire *w = opened();
    const struct http_request *r;

    say_headers(w, 1, 0, CONNECT("/hold?q"));
    r = &w->x[0]->req;
    ck_assert(str_is(r->method, "GET") && str_is(r->protocol, "websocket"));
    ck_assert(str_is(r->path, "/hold") && str_is(r->query, "q") && !r->has_body);
    wire_free(w);
}
END_TEST

START_TEST(bytes_go_both_ways_however_they_are_cut)
{
    struct wire *w = upgraded();

    w->cut = (size_t)_i;
    say_data(w, 1, 0, "hello");
    say_data(w, 1, 0, "world");
    ck_assert_uint_eq(last->fed, 10);
    ck_assert_uint_eq(last->e.out.cap, 0); /* an idle one holds no buffer */
    if (!_i)
        ck_assert_str_eq(wire_got(w), "DATA 1 hello\nDATA 1 world\n");
    ck_assert_int_gt(last->flushes, 0);
    finish(w);
}
END_TEST

/* It is granted later, by somebody else's turn; bytes that came before wait. */
START_TEST(bytes_that_come_before_it_is_granted_wait)
{
    struct wire *w = opened();
    struct engine *e;

    say_headers(w, 1, 0, CONNECT("/hold"));
    w->x[0]->ops->read_body(w->x[0], 0);
    wire_turn(w);
    ck_assert_str_eq(wire_log(w), "head /hold\nend /hold\n");
    say_data(w, 1, 0, "early");
    e = echo_new(w);
    must(!w->x[0]->ops->upgrade(w->x[0], NULL, 0, e));
    say_data(w, 1, 0, "late");
    ck_assert_str_eq(wire_got(w), "HEADERS 1 :status=200\nDATA 1 earlylate\n");
    finish(w);
}
END_TEST

START_TEST(one_that_is_refused_is_answered)
{
    struct wire *w = opened();

    say_headers(w, 1, 0, CONNECT("/ignore"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 ignored END\n"));
    wire_free(w);
}
END_TEST

/* What the engine does not read waits, at most a window of it, and the others go on. */
START_TEST(an_engine_that_does_not_read_holds_the_client_back)
{
    struct wire *w = upgraded();
    size_t had;

    say_u32(w, WINDOW_UPDATE, 0, 1 << 20);
    say_u32(w, WINDOW_UPDATE, 1, 1 << 20);
    say_data(w, 1, 0, "S");
    wire_forget(w);
    for (int i = 0; i < 4; i++)
        say(w, DATA, 0, 1, big, i == 3 ? 16382 : 16384);
    ck_assert_uint_eq(last->fed, 1);
    ck_assert_ptr_null(strstr(wire_got(w), "WINDOW 1 "));
    say_headers(w, 3, END_STREAM, GET("/p"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 GET /p  @a.example  END\n"));
    had = w->bytes;
    last->e.reading = true;
    last->e.wake(&last->e, last->e.wake_ud);
    ck_assert(w->woken);
    wire_turn(w);
    ck_assert_uint_eq(last->fed, 65535);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "WINDOW 1 65535\n"));
    ck_assert_uint_lt(w->bytes, had);
    finish(w);
}
END_TEST

/* It is let go on between two pieces, within one piece of input. */
START_TEST(what_waits_for_it_comes_before_what_follows)
{
    struct wire *w = upgraded();
    struct buf b;

    say_data(w, 1, 0, "S");
    first = last;
    say_headers(w, 3, 0, CONNECT("/upgrade"));
    say_data(w, 1, 0, "one");
    buf_init(&b, &w->own);
    put_frame(&b, DATA, 0, 3, "G", 1);
    put_frame(&b, DATA, 0, 1, "two", 3);
    wire_feed_buf(w, &b);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 onetwo\n"));
    finish(w);
}
END_TEST

START_TEST(a_client_that_ignores_the_window_is_cut)
{
    struct wire *w = upgraded();

    say_data(w, 1, 0, "S");
    for (int i = 0; i < 5 && !w->e->closing; i++)
        say(w, DATA, 0, 1, big, 16384);
    ck_assert(strstr(wire_got(w), "RST 1 3\n") || strstr(wire_got(w), "GOAWAY 1 3\n"));
    ck_assert_int_eq(echoes, 0);
    finish(w);
}
END_TEST

START_TEST(its_output_waits_for_the_clients_window)
{
    struct wire *w = upgraded();

    say_u32(w, WINDOW_UPDATE, 0, 1 << 20);
    buf_append(&last->e.out, big, 100 * KIB);
    last->e.wake(&last->e, last->e.wake_ud);
    wire_turn(w);
    ck_assert_uint_eq(w->data, 65535);
    ck_assert_uint_eq(last->e.out.len, 100 * KIB - 65535);
    say_u32(w, WINDOW_UPDATE, 1, 100 * KIB);
    ck_assert_uint_eq(w->data, 100 * KIB);
    finish(w);
}
END_TEST

START_TEST(a_client_that_gives_no_window_is_a_slow_reader)
{
    struct wire *w = upgraded();

    buf_append(&last->e.out, big, 100 * KIB);
    last->e.wake(&last->e, last->e.wake_ud);
    wire_turn(w);
    wire_sleep(w, 600 * MS);
    ck_assert_int_eq(echoes, 1);
    wire_sleep(w, 500 * MS);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "RST 1 8\n"));
    ck_assert_int_eq(echoes, 0);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    finish(w);
}
END_TEST

START_TEST(an_end_of_the_engine_is_the_streams)
{
    struct wire *w = upgraded();

    say_data(w, 1, 0, _i ? "R" : "C");
    ck_assert_str_eq(wire_got(w), _i ? "RST 1 8\n" : "DATA 1 C END\n");
    ck_assert_int_eq(echoes, 0);
    say_data(w, 1, 0, "more");
    say_headers(w, 3, END_STREAM, GET("/p"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 GET /p  @a.example  END\n"));
    finish(w);
}
END_TEST

START_TEST(an_end_of_the_stream_is_the_engines)
{
    struct wire *w = upgraded();

    if (_i) {
        say_u32(w, RST_STREAM, 1, 8);
        ck_assert_str_eq(wire_got(w), "");
    } else {
        say_data(w, 1, END_STREAM, "bye");
        ck_assert_str_eq(wire_got(w), "DATA 1 bye END\n");
    }
    ck_assert_int_eq(echoes, 0);
    finish(w);
}
END_TEST

START_TEST(an_end_of_the_connection_is_the_engines)
{
    struct wire *w = upgraded();

    if (_i == 0)
        w->e->ops->eof(w->e, w->now);
    else if (_i == 1)
        w->e->ops->stalled(w->e, w->now);
    else if (_i == 2)
        say(w, DATA, 0, 0, "x", 1);
    if (_i < 3)
        ck_assert_int_eq(echoes, 0);
    finish(w);
}
END_TEST

START_TEST(a_successor_takes_the_stream_over)
{
    struct wire *w = upgraded();

    say_data(w, 1, 0, "Next");
    ck_assert(last->successor);
    ck_assert_int_eq(echoes, 1);
    say_data(w, 1, 0, "hello");
    ck_assert_uint_eq(last->fed, 5);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 Next\nDATA 1 hello\n"));
    finish(w);
}
END_TEST

START_TEST(its_deadline_is_kept)
{
    struct wire *w = upgraded();

    say_data(w, 1, 0, "T");
    wire_forget(w);
    wire_sleep(w, 49 * MS);
    ck_assert_int_eq(last->timeouts, 0);
    wire_sleep(w, 1 * MS);
    ck_assert_int_eq(last->timeouts, 1);
    ck_assert_str_eq(wire_got(w), "DATA 1 timeout\n");
    wire_sleep(w, 100000 * MS);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN); /* it is not idle */
    finish(w);
}
END_TEST

START_TEST(a_wake_from_inside_is_a_step_more)
{
    struct wire *w = upgraded();

    say_data(w, 1, 0, "W");
    ck_assert_str_eq(wire_got(w), "DATA 1 W\n");
    finish(w);
}
END_TEST

START_TEST(a_drain_reaches_it_once)
{
    struct wire *w = upgraded();

    w->e->ops->drain(w->e, w->now);
    wire_turn(w);
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 1 bye END\n"));
    ck_assert_int_eq(echoes, 0);
    say_headers(w, 3, 0, CONNECT("/upgrade"));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "DATA 3 bye END\n"));
    say(w, PING, ACK, 0, "goingout", 8);
    wire_sleep(w, 1000 * MS); /* the client has not ended its side */
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    finish(w);
}
END_TEST

static bool echo_pressed(const struct engine *e)
{
    return e->out.len > 0;
}

/* By its own account of whose memory waits. */
START_TEST(it_says_whether_memory_is_short)
{
    static struct engine_ops own;
    struct wire *w = upgraded();

    own = echo_ops;
    own.pressed = echo_pressed;
    last->e.ops = &own;
    ck_assert(!w->e->ops->pressed(w->e));
    buf_puts(&last->e.out, "waits");
    ck_assert(w->e->ops->pressed(w->e));
    finish(w);
}
END_TEST

START_TEST(each_allocation_may_fail)
{
    for (long n = 1;; n++) {
        struct wire *w = wire_new();
        struct buf b;
        bool done;

        w->fail_at = n;
        w->granted = echo_new;
        buf_init(&b, &w->own);
        buf_append(&b, PREFACE, PREFACE_LEN);
        put_headers(w, &b, 1, 0, CONNECT("/upgrade"));
        put_headers(w, &b, 3, 0, CONNECT("/upgrade"));
        put_frame(&b, DATA, 0, 1, "hello", 5);
        put_frame(&b, DATA, 0, 3, "S", 1);
        put_frame(&b, DATA, 0, 3, big, 10000);
        put_frame(&b, DATA, END_STREAM, 1, "C", 1);
        if (wire_start(w)) {
            wire_feed(w, buf_at(&b), b.len);
            wire_sleep(w, 5000 * MS);
        } else {
            w->e = NULL;
        }
        buf_fini(&b);
        done = w->allocations < n;
        finish(w);
        if (done)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2 upgrade");
    TCase *t = tcase_create("all");

    memset(big, 'b', sizeof big);
    suite_add_tcase(s, t);
    tcase_add_test(t, the_request_is_shown_as_a_get);
    tcase_add_loop_test(t, bytes_go_both_ways_however_they_are_cut, 0, 4);
    tcase_add_test(t, bytes_that_come_before_it_is_granted_wait);
    tcase_add_test(t, one_that_is_refused_is_answered);
    tcase_add_test(t, an_engine_that_does_not_read_holds_the_client_back);
    tcase_add_test(t, what_waits_for_it_comes_before_what_follows);
    tcase_add_test(t, a_client_that_ignores_the_window_is_cut);
    tcase_add_test(t, its_output_waits_for_the_clients_window);
    tcase_add_test(t, a_client_that_gives_no_window_is_a_slow_reader);
    tcase_add_loop_test(t, an_end_of_the_engine_is_the_streams, 0, 2);
    tcase_add_loop_test(t, an_end_of_the_stream_is_the_engines, 0, 2);
    tcase_add_loop_test(t, an_end_of_the_connection_is_the_engines, 0, 4);
    tcase_add_test(t, a_successor_takes_the_stream_over);
    tcase_add_test(t, its_deadline_is_kept);
    tcase_add_test(t, a_wake_from_inside_is_a_step_more);
    tcase_add_test(t, a_drain_reaches_it_once);
    tcase_add_test(t, it_says_whether_memory_is_short);
    tcase_add_test(t, each_allocation_may_fail);
    return run_suite(s);
}
