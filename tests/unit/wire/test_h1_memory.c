/* What an HTTP/1.1 connection holds while it waits, whom that is charged to, and what is left of it in freed memory. */
#include "h1_wire.h"

#define ALLOWED 16384u /* beyond what the client has sent */
#define KIB 1024u
#define SECRET "alk_secret"

static size_t idle; /* of a connection that has sent nothing */

static struct wire *start(enum mode mode)
{
    struct wire *w = wire_new(mode);

    w->limits.header_bytes = 32 * KIB;
    w->limits.header_count = 100;
    ck_assert(wire_open(w));
    idle = w->bytes;
    return w;
}

#define within(w, sent) ck_assert_uint_le((w)->bytes, (sent) + ALLOWED)

/* Fields of 300 bytes, or of 4: pieces of them, down to single bytes. */
START_TEST(a_head_that_is_not_finished)
{
    static const size_t pieces[] = {1, 100, 1000, 16384, 65536};
    struct wire *w = start(MODE_HOLD);
    struct buf b;

    buf_init(&b, &w->own);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 98; i++)
        buf_printf(&b, "x%d:%*s\r\n", i, _i & 1 ? 300 : 1, "v");
    for (size_t at = 0, n; at < b.len; at += n) {
        n = pieces[_i / 2] < b.len - at ? pieces[_i / 2] : b.len - at;
        wire_feed(w, buf_at(&b) + at, n);
        within(w, at + n);
    }
    ck_assert_ptr_null(w->x);
    ck_assert(w->e->reading);
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* Little more is read; all of it is looked at when the call has been answered. */
START_TEST(junk_behind_a_running_call)
{
    static const size_t sizes[] = {1, 700, 33000, 65536};
    struct wire *w = start(MODE_HOLD);
    size_t n = sizes[_i];
    char *junk = malloc(n);

    memset(junk, 'j', n);
    wire_text(w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    w->x->ops->read_body(w->x, 10);
    wire_turn(w);
    ck_assert(w->e->reading);
    within(w, 27);
    wire_feed(w, junk, n);
    ck_assert_int_eq(w->e->reading, n < 4096);
    within(w, 27 + n);
    respond(w->x, 200, "ok", 2);
    wire_turn(w);
    ck_assert_int_eq(w->opened, n > 1 ? 2 : 1);
    ck_assert(w->e->reading);
    within(w, 27);
    free(junk);
    wire_free(w);
}
END_TEST

/* A body that nobody has asked for yet, or that has been asked for. */
START_TEST(a_body_that_stalls)
{
    struct wire *w = start(MODE_HOLD);
    char *half = malloc(16 * KIB);

    memset(half, 'b', 16 * KIB);
    wire_text(w, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32768\r\n\r\n");
    if (_i)
        w->x->ops->read_body(w->x, 32 * KIB);
    wire_feed(w, half, 16 * KIB);
    within(w, 16 * KIB);
    ck_assert_int_eq(w->e->reading, _i);
    if (!_i)
        w->x->ops->read_body(w->x, 32 * KIB);
    wire_turn(w);
    wire_feed(w, half, 16 * KIB);
    ck_assert_uint_eq(w->body.len, 32 * KIB);
    within(w, 0);
    free(half);
    wire_free(w);
}
END_TEST

/* Answers of a pipeline leave nothing behind either. */
START_TEST(a_pipeline_that_ends_idle)
{
    struct wire *w = start(MODE_LATER);
    struct buf b;

    buf_init(&b, &w->own);
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_feed(w, buf_at(&b), b.len);
    while (w->e->out.len)
        wire_take(w, SIZE_MAX);
    ck_assert_int_eq(w->closed, 1000);
    ck_assert_uint_eq(w->bytes, idle);
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* ---- who pays ---------------------------------------------------------------------------------- */

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

static const struct meter_ops ops = {.take = take, .force = force, .give = give};

static void send_head(struct wire *w, const char *end)
{
    struct buf b;

    buf_init(&b, &w->own);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 60; i++)
        buf_printf(&b, "x%d:%400s\r\n", i, "v");
    buf_puts(&b, end);
    wire_feed(w, buf_at(&b), b.len);
    buf_fini(&b);
}

START_TEST(heads_and_what_waits_are_charged)
{
    struct account a = {{&ops}, 0, SIZE_MAX}, b = a;
    struct wire *w = start(MODE_HOLD);
    char junk[40000];
    size_t held;

    memset(junk, 'j', sizeof junk);
    h1_charge((struct h1 *)w->e, &a.m);
    send_head(w, "\r\n");
    ck_assert_uint_ge(a.taken, 60 * 400);
    wire_feed(w, junk, sizeof junk);
    ck_assert_uint_ge(a.taken, 64000);
    ck_assert_uint_le(a.taken, 64000 + ALLOWED);
    held = a.taken;
    h1_charge((struct h1 *)w->e, &b.m);
    ck_assert_uint_eq(a.taken, 0);
    ck_assert_uint_eq(b.taken, held);
    h1_charge((struct h1 *)w->e, NULL);
    ck_assert_uint_eq(b.taken, 0);
    h1_charge((struct h1 *)w->e, &a.m);
    wire_free(w);
    ck_assert_uint_eq(a.taken, 0);
}
END_TEST

START_TEST(output_is_charged_from_the_moment_somebody_is_named)
{
    struct account a = {{&ops}, 0, SIZE_MAX}, b = a;
    struct wire *w = start(MODE_HOLD);
    char text[50000];

    memset(text, 't', sizeof text);
    wire_text(w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    w->x->ops->charge(w->x, &a.m);
    respond(w->x, 200, text, sizeof text);
    ck_assert_uint_ge(a.taken, sizeof text);
    w->x->ops->charge(w->x, &b.m);
    ck_assert_uint_eq(a.taken, 0);
    ck_assert_uint_ge(b.taken, sizeof text);
    wire_turn(w);
    wire_take(w, SIZE_MAX);
    ck_assert_uint_eq(b.taken, 0);
    wire_free(w);
}
END_TEST

/* 503, and the connection ends: a head (0), what waits behind a call (1). */
START_TEST(without_room_a_request_is_refused)
{
    struct account a = {{&ops}, 0, 20000};
    struct wire *w = start(MODE_HOLD);
    char junk[30000];

    memset(junk, 'j', sizeof junk);
    h1_charge((struct h1 *)w->e, &a.m);
    if (_i) {
        wire_text(w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_feed(w, junk, sizeof junk);
    } else {
        send_head(w, "\r\n");
    }
    ck_assert_ptr_nonnull(strstr(wire_log(w), "error 503 "));
    ck_assert_ptr_nonnull(strstr(wire_got(w), "HTTP/1.1 503 "));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_uint_eq(a.taken, 0);
    wire_free(w);
}
END_TEST

/* ---- tokens ------------------------------------------------------------------------------------ */

/* Looks at what is freed. */
static void *looking_realloc(void *ud, void *p, size_t n)
{
    void *q;

    if (p && !n) {
        size_t usable = malloc_usable_size(p);

        ck_assert_ptr_null(memmem(p, usable, SECRET, strlen(SECRET)));
    }
    ck_assert(!p || !n);
    q = wire_realloc(ud, p, n);
    /* What the test's own memory has left in the heap is not looked for. */
    if (q)
        memset(q, 0, malloc_usable_size(q));
    return q;
}

START_TEST(nothing_of_a_token_is_left_in_freed_memory)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " SECRET "\r\n";
    struct wire *w = wire_new(MODE_LATER);
    struct buf b;

    w->limits.header_bytes = 32 * KIB;
    mem_init(&w->mem, looking_realloc, w);
    ck_assert(wire_open(w));
    buf_init(&b, &w->own);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "%s\r\n", request);
    wire_feed(w, buf_at(&b), b.len); /* kept, one after the other */
    ck_assert_int_eq(w->closed, 20);
    wire_text(w, request); /* a head that grows */
    for (int i = 0; i < 30; i++)
        wire_text(w, "x: 01234567890123456789012345678901234567890123456789\r\n");
    wire_text(w, "\r\n");
    wire_text(w, request); /* and ends in the middle */
    buf_fini(&b);
    wire_free(w);
}
END_TEST

/* What there is room for goes on. */
START_TEST(the_number_of_fields_is_lowered_within_a_head)
{
    struct wire *w = start(MODE_HOLD);

    wire_text(w, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 20; i++)
        wire_text(w, "x: y\r\n");
    w->limits.header_count = 4;
    for (int i = 0; i < 60; i++)
        wire_text(w, "0123456789012345678901234567890123456789");
    ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
    wire_text(w, ": z\r\n\r\n");
    ck_assert_str_eq(wire_log(w), "head /\n");
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h1 memory");
    TCase *t = tcase_create("memory");

    tcase_add_loop_test(t, a_head_that_is_not_finished, 0, 10);
    tcase_add_loop_test(t, junk_behind_a_running_call, 0, 4);
    tcase_add_loop_test(t, a_body_that_stalls, 0, 2);
    tcase_add_test(t, a_pipeline_that_ends_idle);
    tcase_add_test(t, heads_and_what_waits_are_charged);
    tcase_add_test(t, output_is_charged_from_the_moment_somebody_is_named);
    tcase_add_loop_test(t, without_room_a_request_is_refused, 0, 2);
    tcase_add_test(t, the_number_of_fields_is_lowered_within_a_head);
    tcase_add_test(t, nothing_of_a_token_is_left_in_freed_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
