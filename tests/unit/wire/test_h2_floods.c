/* What a hostile client can make an HTTP/2 connection do, and what it holds for him. All of it ends in
 * GOAWAY with ENHANCE_YOUR_CALM (11), or costs no more than its bytes. */
#include "unit/wire/h2_wire.h"

#define GET(path) REQUEST("GET", path)
#define POST(path) REQUEST("POST", path)
#define KIB 1024u
#define SECRET "alk_secret_secret"

static char big[1 << 20];

static bool is_calmed(struct wire *w)
{
    return w->e->closing == ENGINE_FLUSH_AND_CLOSE && strstr(wire_got(w), " 11\n");
}

static struct http_exchange *held(struct wire *w, uint32_t id)
{
    say_headers(w, id, END_STREAM, GET("/hold"));
    return w->x[w->opened - 1];
}

/* ---- streams that end in error ----------------------------------------------------------------- */

START_TEST(rapid_reset_is_stopped)
{
    struct wire *w = opened();

    for (uint32_t id = 1; id < 2 * 20; id += 2) {
        held(w, id);
        say_u32(w, RST_STREAM, id, 8);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    held(w, 41);
    held(w, 43);
    say_u32(w, RST_STREAM, 41, 8);
    ck_assert(is_calmed(w));
    ck_assert_int_eq(w->closed, 22);
    wire_free(w);
}
END_TEST

/* The client breaks a rule on a stream of its own, so that we reset it. */
START_TEST(made_you_reset_is_stopped)
{
    struct wire *w = opened();
    uint32_t id;

    for (id = 1; w->e->closing == ENGINE_OPEN && id < 200; id += 2) {
        struct buf b;

        buf_init(&b, &w->own);
        put_headers(w, &b, id, _i ? 0 : END_STREAM,
                    _i ? POST("/hold") "content-length 1\n" : GET("/hold"));
        if (_i)
            put_frame(&b, DATA, END_STREAM, id, "ab", 2);
        else
            put_u32(&b, WINDOW_UPDATE, 0, id, 0x7fffffff);
        wire_feed_buf(w, &b);
    }
    ck_assert(is_calmed(w));
    ck_assert_uint_eq(id, 2 * 21 + 1);
    ck_assert_int_le(w->live_most, 2);
    wire_free(w);
}
END_TEST

/* In one piece: no more run than may at a time, and they are gone behind it. */
START_TEST(a_burst_of_resets_runs_no_more_than_its_streams)
{
    struct wire *w = wire_new();
    struct buf b;

    w->limits.streams = 10;
    wire_connect(w);
    buf_init(&b, &w->own);
    for (uint32_t id = 1; id < 400; id += 2) {
        put_headers(w, &b, id, END_STREAM, GET("/hold"));
        if (_i)
            put_u32(&b, WINDOW_UPDATE, 0, id, 0x7fffffff);
        else
            put_u32(&b, RST_STREAM, 0, id, 8);
    }
    wire_feed_buf(w, &b);
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_int_le(w->opened, 21);
    ck_assert_int_eq(w->live, 0);
    wire_free(w);
}
END_TEST

/* Those that are reset have ended before others take their places: by the client, in one piece of
 * input (0); by us, in a flush behind which input comes at once (1). */
START_TEST(what_is_reset_does_not_run_beside_what_follows)
{
    struct wire *w = wire_new();
    uint32_t n = _i ? 6 : 12;
    struct buf b;

    w->limits.streams = 3;
    w->limits.resets = 0;
    wire_connect(w);
    for (uint32_t id = 1; id < 12 * 8; id += n) {
        buf_init(&b, &w->own);
        for (uint32_t i = id; i < id + n; i += 2) {
            put_headers(w, &b, i, END_STREAM, GET("/hold"));
            if (_i)
                put_u32(&b, WINDOW_UPDATE, 0, i, 0x7fffffff);
            else
                put_u32(&b, RST_STREAM, 0, i, 8);
        }
        wire_feed_only(w, buf_at(&b), b.len);
        engine_flush(w->e, w->now);
        buf_fini(&b);
    }
    wire_turn(w);
    ck_assert_int_eq(w->opened, 6 * 8);
    ck_assert_int_le(w->live_most, 3);
    wire_free(w);
}
END_TEST

START_TEST(a_client_that_cancels_now_and_then_is_left_alone)
{
    struct wire *w = opened();

    w->limits.keepalive_timeout = 0;
    for (uint32_t id = 1; id < 400; id += 2) {
        held(w, id);
        say_u32(w, RST_STREAM, id, 8);
        wire_sleep(w, 3000 * MS);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(without_a_limit_resets_are_not_counted)
{
    struct wire *w = wire_new();

    w->limits.resets = 0;
    wire_connect(w);
    for (uint32_t id = 1; id < 800; id += 2) {
        held(w, id);
        say_u32(w, RST_STREAM, id, 8);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

START_TEST(what_we_reset_is_not_the_clients_fault)
{
    struct wire *w = opened();

    for (uint32_t id = 1; id < 200; id += 2) {
        struct http_exchange *x = held(w, id);

        x->ops->reset(x);
        wire_turn(w);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    ck_assert_int_eq(w->closed, 100);
    wire_free(w);
}
END_TEST

START_TEST(no_more_streams_than_announced)
{
    struct wire *w = wire_new();

    w->limits.streams = 3;
    wire_connect(w);
    for (uint32_t id = 1; id < 8; id += 2)
        held(w, id);
    ck_assert_int_eq(w->opened, 3);
    ck_assert_int_eq(w->live_most, 3);
    wire_free(w);
}
END_TEST

/* ---- frames that carry nothing ----------------------------------------------------------------- */

static void put_nothing(struct buf *b, int kind)
{
    switch (kind) {
    case 0:
        put_frame(b, PING, 0, 0, "12345678", 8);
        break;
    case 1:
        put_setting(b, 3, 100);
        break;
    case 2:
        put_frame(b, DATA, 0, 1, "", 0);
        break;
    case 3:
        put_u32(b, WINDOW_UPDATE, 0, 0, 1);
        break;
    case 4:
        put_frame(b, PRIORITY, 0, 3, "\0\0\0\0\20", 5);
        break;
    case 5:
        put_setting(b, 4, b->len & 1);
        break;
    default:
        put_frame(b, DATA, PADDED, 1, "\0", 1);
    }
}

START_TEST(a_flood_of_frames_is_stopped)
{
    struct wire *w = opened();
    struct http_exchange *x;
    size_t frames = 0, before;

    say_headers(w, 1, 0, POST("/hold"));
    x = w->x[0];
    must(!x->ops->start(x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN));
    wire_turn(w);
    before = w->bytes;
    while (w->e->closing == ENGINE_OPEN && frames < 100000) {
        struct buf b;

        buf_init(&b, &w->own);
        for (int i = 0; i < 100; i++, frames++)
            put_nothing(&b, _i);
        wire_feed_buf(w, &b);
        ck_assert_uint_le(w->bytes, before + 64 * KIB);
        buf_truncate(&w->got, w->got.len < 100 ? w->got.len : 0);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_uint_ge(frames, 4000);
    ck_assert_uint_le(frames, 4400);
    ck_assert_int_eq(w->live, 0);
    wire_free(w);
}
END_TEST

/* The same frames from one who does not read: they are acknowledged into a bounded queue. */
START_TEST(a_flood_without_reading_is_bounded)
{
    struct wire *w = opened();
    size_t before = w->bytes, frames = 0;

    w->stuck = true;
    while (w->e->reading && !w->e->closing && frames < 50000) {
        struct buf b;

        buf_init(&b, &w->own);
        for (int i = 0; i < 100; i++, frames++)
            put_nothing(&b, _i);
        wire_feed_buf(w, &b);
        ck_assert_uint_le(w->bytes, before + 512 * KIB);
    }
    ck_assert_uint_ge(frames, 4000);
    wire_sleep(w, 100 * MS);
    wire_free(w);
}
END_TEST

/* What it makes us say would only wait. */
START_TEST(who_does_not_read_is_not_read)
{
    struct wire *w = opened();
    struct http_exchange *x;
    int pings = 0;

    say_setting(w, 4, 1 << 30);
    say_u32(w, WINDOW_UPDATE, 0, 1 << 30);
    x = held(w, 1);
    w->stuck = true;
    must(!x->ops->start(x, 200, NULL, 0, sizeof big));
    must(!x->ops->write(x, big, sizeof big));
    wire_turn(w);
    for (; w->e->reading && pings < 1000; pings++)
        say(w, PING, 0, 0, "12345678", 8);
    ck_assert_int_ge(pings, 256);
    ck_assert_int_lt(pings, 300);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    w->stuck = false;
    wire_turn(w);
    ck_assert(w->e->reading);
    wire_free(w);
}
END_TEST

START_TEST(requests_may_come_with_other_frames)
{
    struct wire *w = opened();

    for (uint32_t id = 1; id < 2000; id += 2) {
        w->opened = w->closed = 0;
        for (int i = 0; i < 10; i++)
            say(w, PING, 0, 0, "12345678", 8);
        say_headers(w, id, END_STREAM, GET("/p"));
        buf_truncate(&w->got, 0);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

/* A client that works may also PING and open windows as it likes. */
START_TEST(frames_that_go_with_work_are_no_flood)
{
    struct wire *w = opened();
    struct http_exchange *x;

    say_u32(w, WINDOW_UPDATE, 0, 1 << 30);
    x = held(w, 1);
    say_u32(w, WINDOW_UPDATE, 1, 1 << 30);
    must(!x->ops->start(x, 200, NULL, 0, HTTP_LENGTH_UNKNOWN));
    for (int i = 0; i < 20000; i++) {
        must(!x->ops->write(x, big, 2000));
        wire_turn(w);
        say_u32(w, WINDOW_UPDATE, 0, 2000);
        say_u32(w, WINDOW_UPDATE, 1, 2000);
        say(w, PING, 0, 0, "12345678", 8);
        buf_truncate(&w->got, 0);
    }
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_free(w);
}
END_TEST

/* ---- header blocks ----------------------------------------------------------------------------- */

START_TEST(a_flood_of_continuations_is_stopped)
{
    struct wire *w = opened();
    size_t before = w->bytes;

    say(w, HEADERS, END_STREAM, 1, "\x82\x86", 2);
    for (int i = 0; i < 1000 && w->e->closing == ENGINE_OPEN; i++) {
        say(w, CONTINUATION, 0, 1, _i ? "\x00\x01x\x01y" : "", _i ? 5 : 0);
        ck_assert_uint_le(w->bytes, before + 128 * KIB);
    }
    ck_assert_int_ne(w->e->closing, ENGINE_OPEN);
    ck_assert_int_eq(w->opened, 0);
    wire_free(w);
}
END_TEST

/* A field of the dynamic table, named again and again by one byte: (0) as a head, (1) as a
 * trailer. */
START_TEST(an_hpack_bomb_costs_little)
{
    struct wire *w = opened();
    struct buf block, b;
    size_t before = w->bytes;

    buf_init(&block, &w->own);
    buf_init(&b, &w->own);
    put_fields(&block, _i ? POST("/hold") : GET("/hold"));
    if (_i) {
        put_frame(&b, HEADERS, END_HEADERS, 1, buf_at(&block), block.len);
        buf_truncate(&block, 0);
    }
    buf_append(&block, "\x40\x01x", 3);
    put_length(&block, 4000);
    memset(buf_reserve(&block, 4000), 'y', 4000);
    buf_commit(&block, 4000);
    memset(buf_reserve(&block, 10000), 0xbe, 10000);
    buf_commit(&block, 10000);
    put_frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, buf_at(&block), block.len);
    buf_fini(&block);
    wire_feed_buf(w, &b);
    ck_assert(is_calmed(w));
    ck_assert_uint_le(w->peak, before + 64 * KIB);
    wire_free(w);
}
END_TEST

/* A field as long as nghttp2 takes any, and nothing behind it. */
START_TEST(a_field_that_does_not_end_is_bounded)
{
    struct wire *w = opened();
    size_t before = w->bytes;
    struct buf b;

    buf_init(&b, &w->own);
    buf_append(&b, "\x00\x01x", 3);
    put_length(&b, 65000);
    memset(buf_reserve(&b, 60000), 'y', 60000);
    buf_commit(&b, 60000);
    say(w, HEADERS, 0, 1, buf_at(&b), 16384);
    for (int i = 1; i < 3; i++)
        say(w, CONTINUATION, 0, 1, buf_at(&b) + (ptrdiff_t)i * 16384, 16384);
    ck_assert_uint_le(w->bytes, before + 80 * KIB);
    wire_sleep(w, 200 * MS);
    ck_assert(is_calmed(w));
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------------ */

START_TEST(an_idle_connection_is_small)
{
    struct wire *w = opened();
    size_t idle;

    for (uint32_t id = 1; id < 20; id += 2)
        say_headers(w, id, END_STREAM, GET("/p"));
    buf_fini(&w->e->out); /* as the transport does */
    idle = w->bytes;
    for (uint32_t id = 21; id < 400; id += 2)
        say_headers(w, id, END_STREAM, GET("/p"));
    buf_fini(&w->e->out);
    ck_assert_uint_le(w->bytes, idle + 2 * KIB);
    ck_assert_uint_le(w->bytes, 26 * KIB);
    wire_free(w);
}
END_TEST

struct account {
    struct meter m;
    size_t taken, most;
};

static bool take(struct meter *m, size_t n, bool begins)
{
    struct account *a = (struct account *)m;

    (void)begins;
    if (a->taken + n > a->most)
        return false;
    a->taken += n;
    return true;
}

static void force(struct meter *m, size_t n)
{
    ((struct account *)m)->taken += n;
}

static void give(struct meter *m, size_t n)
{
    ck_assert_uint_ge(((struct account *)m)->taken, n);
    ((struct account *)m)->taken -= n;
}

static bool pressed(const struct meter *m)
{
    return ((const struct account *)m)->taken > 40000;
}

static const struct meter_ops meter_ops = {take, force, give, pressed};

START_TEST(what_comes_is_charged)
{
    struct account a = {{&meter_ops}, 0, SIZE_MAX}, b = a;
    struct wire *w = opened();
    struct buf in;
    size_t held_bytes;

    h2_charge(w->h, &a.m);
    ck_assert_uint_eq(a.taken, 0);
    say_headers(w, 1, 0, POST("/hold"));
    buf_init(&in, &w->own);
    for (int i = 0; i < 3; i++)
        put_frame(&in, DATA, 0, 1, big, 16384);
    wire_feed_buf(w, &in);
    ck_assert_uint_ge(a.taken, 48 * KIB);
    held_bytes = a.taken;
    h2_charge(w->h, &b.m);
    ck_assert_uint_eq(a.taken, 0);
    ck_assert_uint_eq(b.taken, held_bytes);
    h2_charge(w->h, NULL);
    ck_assert_uint_eq(b.taken, 0);
    h2_charge(w->h, &a.m);
    wire_free(w);
    ck_assert_uint_eq(a.taken, 0);
}
END_TEST

START_TEST(what_nghttp2_holds_is_charged)
{
    struct account a = {{&meter_ops}, 0, SIZE_MAX};
    struct wire *w = opened();
    struct buf b;

    h2_charge(w->h, &a.m);
    buf_init(&b, &w->own);
    buf_append(&b, "\x00\x01x", 3);
    put_length(&b, 65000);
    memset(buf_reserve(&b, 16000), 'y', 16000);
    buf_commit(&b, 16000);
    say(w, HEADERS, 0, 1, buf_at(&b), b.len);
    ck_assert_uint_ge(a.taken, 48 * KIB);
    buf_fini(&b);
    wire_free(w);
    ck_assert_uint_eq(a.taken, 0);
}
END_TEST

START_TEST(output_is_charged_to_who_asked)
{
    struct account a = {{&meter_ops}, 0, SIZE_MAX};
    struct wire *w = opened();
    struct http_exchange *x = held(w, 1);

    must(!x->ops->start(x, 200, NULL, 0, sizeof big));
    x->ops->charge(x, &a.m);
    must(!x->ops->write(x, big, 200 * KIB));
    ck_assert_uint_ge(a.taken, 200 * KIB);
    wire_turn(w);
    ck_assert(w->e->ops->pressed(w->e));
    say_u32(w, RST_STREAM, 1, 8);
    ck_assert_uint_eq(a.taken, 0);
    ck_assert(!w->e->ops->pressed(w->e));
    wire_free(w);
}
END_TEST

START_TEST(who_pays_for_output_may_go_in_on_close)
{
    static const struct account any = {{&meter_ops}, 0, SIZE_MAX};
    struct wire *w = opened();
    struct account *a = w->payer = malloc(sizeof *a);
    struct http_exchange *x = held(w, 1);

    *a = any;
    must(!x->ops->start(x, 200, NULL, 0, sizeof big));
    x->ops->charge(x, &a->m);
    must(!x->ops->write(x, big, 200 * KIB));
    say_u32(w, RST_STREAM, 1, 8);
    ck_assert_ptr_null(w->payer);
    wire_free(w);
}
END_TEST

START_TEST(without_room_a_body_is_refused)
{
    struct account a = {{&meter_ops}, 0, 20000};
    struct wire *w = opened();
    struct buf b;

    h2_charge(w->h, &a.m);
    say_headers(w, 1, 0, POST("/hold"));
    buf_init(&b, &w->own);
    for (int i = 0; i < 3; i++)
        put_frame(&b, DATA, 0, 1, big, 16384);
    wire_feed_buf(w, &b);
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 503 too much is being received\n"));
    ck_assert_uint_eq(a.taken, 0);
    wire_free(w);
}
END_TEST

/* A head of more than METER_MIN, and the cookie that its crumbs make (1). */
START_TEST(without_room_a_head_is_refused)
{
    struct account a = {{&meter_ops}, 0, 0};
    struct wire *w = wire_new();
    struct buf b;

    w->limits.header_bytes = 32 * KIB;
    wire_connect(w);
    h2_charge(w->h, &a.m);
    buf_init(&b, &w->own);
    buf_puts(&b, GET("/p"));
    for (int i = 0; i < (_i ? 9 : 14); i++)
        buf_printf(&b, _i ? "cookie %01000d\n" : "x%01000d v\n", i);
    say_headers(w, 1, END_STREAM, text_of(&b));
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 503 too much is being received\n"));
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    buf_fini(&b);
    wire_free(w);
}
END_TEST

START_TEST(without_room_for_nghttp2_the_connection_ends)
{
    struct account a = {{&meter_ops}, 0, 0};
    struct wire *w = opened();
    struct buf b;

    h2_charge(w->h, &a.m);
    held(w, 1);
    buf_init(&b, &w->own);
    buf_append(&b, "\x00\x01x", 3);
    put_length(&b, 65000);
    buf_append(&b, big, 16000);
    say(w, HEADERS, 0, 3, buf_at(&b), b.len);
    ck_assert_int_eq(w->e->closing, ENGINE_RESET);
    ck_assert_int_eq(w->live, 0);
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* Freed blocks are looked at before they go. */
static bool leaked;

static void *snooping(void *ud, void *p, size_t n)
{
    bool is_new = !p;

    if (p && !n && memmem(p, malloc_usable_size(p), SECRET, sizeof SECRET - 1))
        leaked = true;
    p = wire_realloc(ud, p, n);
    if (p && is_new) /* the test itself has freed some */
        memset(p, 0, malloc_usable_size(p));
    return p;
}

START_TEST(no_token_is_left_in_freed_memory)
{
    struct wire *w = wire_new();

    w->mem.realloc = snooping;
    wire_connect(w);
    for (uint32_t id = 1; id < 12; id += 2)
        say_headers(w, id, id % 4 == 1 ? END_STREAM : 0,
                    POST("/hold") "authorization " SECRET "\n");
    say_data(w, 3, 0, SECRET);
    say_u32(w, RST_STREAM, 5, 8);
    respond(w->x[0], 200, "ok", 2);
    wire_turn(w);
    wire_free(w);
    ck_assert(!leaked);
}
END_TEST

/* ---- failing memory ---------------------------------------------------------------------------- */

static void scenario(struct wire *w)
{
    struct buf b;

    buf_init(&b, &w->own);
    buf_append(&b, PREFACE, PREFACE_LEN);
    put_frame(&b, SETTINGS, ACK, 0, "", 0);
    put_headers(w, &b, 1, 0, POST("/p") "cookie a\ncookie b\n");
    put_frame(&b, DATA, END_STREAM, 1, "body", 4);
    put_headers(w, &b, 3, 0, POST("/hold") "expect 100-continue\n");
    put_headers(w, &b, 5, 0, POST("/hold"));
    put_frame(&b, DATA, 0, 5, big, 10000);
    put_headers(w, &b, 7, END_STREAM, ":method CONNECT\n:authority a:1\n");
    put_headers(w, &b, 9, 0, POST("/ignore"));
    put_headers(w, &b, 11, END_STREAM, GET("/hold"));
    put_frame(&b, PING, 0, 0, "12345678", 8);
    wire_feed_buf(w, &b);
    for (int i = 0; i < w->opened; i++) {
        if (w->x[i] && str_is(w->x[i]->req.method, "GET"))
            respond(w->x[i], 200, big, 1000);
        else if (w->x[i])
            w->x[i]->ops->read_body(w->x[i], 1 << 20);
    }
    wire_turn(w);
    if (!w->e->closing)
        say_u32(w, RST_STREAM, 3, 8);
    if (!w->e->closing)
        w->e->ops->drain(w->e, w->now);
    wire_turn(w);
    wire_sleep(w, 10000 * MS);
}

START_TEST(each_allocation_may_fail)
{
    for (long n = 1;; n++) {
        struct wire *w = wire_new();
        bool done;

        w->fail_at = n;
        w->fail_on = _i;
        if (wire_start(w))
            scenario(w);
        else
            w->e = NULL;
        done = w->allocations < n;
        wire_free(w);
        if (done)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2 floods");
    TCase *t = tcase_create("all");

    memset(big, 'b', sizeof big);
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, rapid_reset_is_stopped);
    tcase_add_loop_test(t, made_you_reset_is_stopped, 0, 2);
    tcase_add_loop_test(t, a_burst_of_resets_runs_no_more_than_its_streams, 0, 2);
    tcase_add_loop_test(t, what_is_reset_does_not_run_beside_what_follows, 0, 2);
    tcase_add_test(t, who_does_not_read_is_not_read);
    tcase_add_test(t, requests_may_come_with_other_frames);
    tcase_add_test(t, a_client_that_cancels_now_and_then_is_left_alone);
    tcase_add_test(t, without_a_limit_resets_are_not_counted);
    tcase_add_test(t, what_we_reset_is_not_the_clients_fault);
    tcase_add_test(t, no_more_streams_than_announced);
    tcase_add_loop_test(t, a_flood_of_frames_is_stopped, 0, 7);
    tcase_add_loop_test(t, a_flood_without_reading_is_bounded, 0, 2);
    tcase_add_test(t, frames_that_go_with_work_are_no_flood);
    tcase_add_loop_test(t, a_flood_of_continuations_is_stopped, 0, 2);
    tcase_add_loop_test(t, an_hpack_bomb_costs_little, 0, 2);
    tcase_add_test(t, a_field_that_does_not_end_is_bounded);
    tcase_add_test(t, an_idle_connection_is_small);
    tcase_add_test(t, what_comes_is_charged);
    tcase_add_test(t, what_nghttp2_holds_is_charged);
    tcase_add_test(t, output_is_charged_to_who_asked);
    tcase_add_test(t, who_pays_for_output_may_go_in_on_close);
    tcase_add_test(t, without_room_a_body_is_refused);
    tcase_add_loop_test(t, without_room_a_head_is_refused, 0, 2);
    tcase_add_test(t, without_room_for_nghttp2_the_connection_ends);
    tcase_add_test(t, no_token_is_left_in_freed_memory);
    tcase_add_loop_test(t, each_allocation_may_fail, 0, 2);
    return run_suite(s);
}
