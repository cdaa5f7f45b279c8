/* text/event-stream, read in every cut: what is an event, what is nothing, and where a consumer may stop. */
#include "support/memory.h"
#include "support/suite.h"
#include "wire/sse.h"

#include <stdio.h>

#define TEXT(s) s, sizeof(s) - 1
#define MAX 100

struct reader {
    struct memory memory;
    struct mem mem;
    struct sse s;
    char got[4096]; /* "name|data;" of each event, a NUL as '0' */
    size_t len;
    bool stops; /* behind each event */
};

static void say(struct reader *r, struct str s, char end)
{
    for (size_t i = 0; i < s.n; i++)
        r->got[r->len++] = s.p[i] ? s.p[i] : '0';
    r->got[r->len++] = end;
    r->got[r->len] = 0;
}

static int on_event(void *ud, struct str name, struct str data)
{
    struct reader *r = ud;

    say(r, name, '|');
    say(r, data, ';');
    return r->stops;
}

static void reader_init(struct reader *r)
{
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, memory_realloc, &r->memory);
    sse_init(&r->s, &r->mem, MAX, on_event, r);
}

static void reader_fini(struct reader *r)
{
    sse_fini(&r->s);
    ck_assert_uint_eq(r->memory.live, 0);
}

/* One piece in a block of its own size; what is left when the consumer stops comes again. */
static int feed(struct reader *r, const char *p, size_t n)
{
    int rc = SSE_STOPPED;

    while (rc == SSE_STOPPED) {
        char *copy = malloc(n ? n : 1);
        size_t taken;

        memcpy(copy, p, n);
        rc = sse_feed(&r->s, copy, n, &taken);
        free(copy);
        ck_assert(taken <= n && (rc || taken == n));
        ck_assert(rc != SSE_STOPPED ||
                  (r->stops && (p[taken - 1] == '\n' || p[taken - 1] == '\r')));
        p += taken;
        n -= taken;
    }
    return rc;
}

/* In pieces of `step`, or of random sizes when it is 0. */
static int feed_cut(struct reader *r, const char *p, size_t n, size_t step)
{
    int rc = SSE_OK;

    for (size_t at = 0, piece; !rc && at < n; at += piece) {
        piece = step ? step : 1 + (size_t)rand() % 7;
        piece = piece < n - at ? piece : n - at;
        rc = feed(r, p + at, piece);
    }
    return rc;
}

static const struct {
    const char *in;
    size_t n;
    const char *out;
    bool boundary;
} streams[] = {
    {TEXT(""), "", true},
    {TEXT("data: a\n\n"), "|a;", true},
    {TEXT("data:a\r\rdata: b\r\n\r\ndata:  c\n\n"), "|a;|b;| c;", true},
    {TEXT("data: a\r\ndata: b\r\n\r\n"), "|a\nb;", true},
    {TEXT("data: YHOO\ndata: +2\ndata: 10\n\n"), "|YHOO\n+2\n10;", true},
    {TEXT(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
          "event\n\n"),
     "|first event;|second event;| third event;", true},
    {TEXT("data\n\ndata\ndata\n\ndata:"), "|;|\n;", false},
    {TEXT("data:test\n\ndata: test\n\n"), "|test;|test;", true},
    {TEXT("event: error\ndata: {\"a\":1}\n\ndata: b\n\n"), "error|{\"a\":1};|b;", true},
    {TEXT("event: a\nevent: b\ndata: 1\n\nevent\ndata: 2\n\nevent: c\nevent:\ndata: 3\n\n"),
     "b|1;|2;|3;", true},
    {TEXT("data: 1\nevent: late\n\n"), "late|1;", true},
    {TEXT("event: nothing\n\ndata: 1\n\n"), "|1;", true},
    {TEXT("\xEF\xBB\xBF"
          "data: bom\n\n"),
     "|bom;", true},
    {TEXT("\xEF\xBB\xBF\xEF\xBB\xBF"
          "data: boms\n\n"),
     "", true},
    {TEXT("data: a\n\n\xEF\xBB\xBF"
          "data: b\n\n"),
     "|a;", true},
    {TEXT("\xEF\xBB\xBF\ndata: b\n\n"), "|b;", true},
    {TEXT("\xEF\xBB"
          "data: b\n\n"),
     "", true},
    {TEXT("DATA: a\n data: b\ndata : c\nDa: d\n\n"), "", true},
    {TEXT("retry: 5\nid: 7\nfoo: bar\n:\n: x\n\n"), "", true},
    {TEXT("data: a:b: c\n\n"), "|a:b: c;", true},
    {TEXT("data: a\0b\n\n"), "|a0b;", true},
    {TEXT("data: \xff\xfe\n\n"), "|\xff\xfe;", true},
    {TEXT("data: lost"), "", false},
    {TEXT("data: lost\n"), "", false},
    {TEXT("data: kept\n\ndata: lost\n"), "|kept;", false},
    {TEXT("data: kept\r\n\r"), "|kept;", true},
    {TEXT("event: x\n"), "", false},
    {TEXT("da"), "", false},
    {TEXT("\n\r\n\r\r\n\n"), "", true},
    {TEXT("data: a\n\r\ndata: b\r\r\ndata: c\r\n\n"), "|a;|b;|c;", true},
};

START_TEST(events_are_the_same_in_every_cut)
{
    struct reader r;

    srand(7);
    for (size_t step = 0; step <= streams[_i].n + 20; step++) {
        for (int stops = 0; stops < 2; stops++) {
            reader_init(&r);
            r.stops = stops;
            ck_assert_int_eq(feed_cut(&r, streams[_i].in, streams[_i].n, step > 20 ? step - 20 : 0),
                             SSE_OK);
            ck_assert_str_eq(r.got, streams[_i].out);
            ck_assert_int_eq(sse_at_boundary(&r.s), streams[_i].boundary);
            reader_fini(&r);
        }
    }
}
END_TEST

START_TEST(a_stopped_consumer_gets_the_next_event_with_the_next_feed)
{
    static const char in[] = "data: a\r\n\r\ndata: b\n\nda";
    struct reader r;
    size_t taken, at = 0;

    reader_init(&r);
    r.stops = true;
    ck_assert_int_eq(sse_feed(&r.s, in, sizeof in - 1, &taken), SSE_STOPPED);
    ck_assert_uint_eq(taken, 10); /* not yet the last LF */
    ck_assert_str_eq(r.got, "|a;");
    at += taken;
    ck_assert_int_eq(sse_feed(&r.s, in + at, sizeof in - 1 - at, &taken), SSE_STOPPED);
    ck_assert_uint_eq(taken, 10);
    ck_assert_str_eq(r.got, "|a;|b;");
    at += taken;
    ck_assert_int_eq(sse_feed(&r.s, in + at, sizeof in - 1 - at, &taken), SSE_OK);
    ck_assert_uint_eq(taken, 2);
    ck_assert_int_eq(sse_feed(&r.s, TEXT("ta: c\n\n"), &taken), SSE_STOPPED);
    ck_assert_str_eq(r.got, "|a;|b;|c;");
    reader_fini(&r);
}
END_TEST

/* How many bytes of each kind make the stream below; MAX is the limit of an event with its present line. */
static size_t make(char *to, const char *head, size_t n, const char *tail)
{
    size_t len = strlen(head);

    memcpy(to, head, len);
    memset(to + len, 'x', n);
    strcpy(to + len + n, tail);
    return len + n + strlen(tail);
}

static const struct {
    const char *head, *tail;
    size_t most; /* of x between them */
} bounds[] = {
    {"data: ", "\n\n", MAX - 6},
    {"data: 12345\ndata: ", "\n\n", MAX - 5 - 6},
    {"event: 12345\ndata: ", "\n\n", MAX - 5 - 6},
    {":", "\ndata: a\n\n", MAX - 1},
    {"data: a\n\nunknown: ", "\n\n", MAX - 9},
    {"event:", "\n\n", MAX - 6},
};

START_TEST(an_event_is_bounded_in_every_cut)
{
    char in[300];
    struct reader r;

    for (size_t more = 0; more < 3; more++) {
        size_t n = make(in, bounds[_i].head, bounds[_i].most + more, bounds[_i].tail);

        for (size_t step = 1; step <= n; step++) {
            size_t taken;

            reader_init(&r);
            ck_assert_int_eq(feed_cut(&r, in, n, step), more ? SSE_TOO_LARGE : SSE_OK);
            ck_assert_int_eq(sse_feed(&r.s, TEXT("data: b\n\n"), &taken),
                             more ? SSE_TOO_LARGE : SSE_OK);
            reader_fini(&r);
        }
    }
}
END_TEST

/* One of an event that is not whole would skip it. */
START_TEST(the_last_id_and_the_time_to_wait_are_kept_where_they_are_wanted)
{
    static const char text[] =
        "id: one\n\nid: 2\nretry: 70\ndata: x\n\ndata: y\n\nretry: 1e3\nid: th\0ree\n\n"
        "retry: 99999999999999999999\nid: four\n";
    struct reader r;

    for (size_t step = 0; step < 5; step++) {
        reader_init(&r);
        r.s.keeps_ids = true;
        ck_assert_int_eq(feed_cut(&r, text, 58, step), SSE_OK);
        ck_assert_uint_eq(r.s.retry_ms, 70);
        ck_assert_int_eq(feed_cut(&r, text + 58, sizeof text - 1 - 58, step), SSE_OK);
        ck_assert(r.s.id.len == 1 && *buf_at(&r.s.id) == '2');
        ck_assert_uint_eq(r.s.retry_ms, SSE_RETRY_MAX_MS);
        ck_assert_str_eq(r.got, "|x;|y;");
        ck_assert_int_eq(feed_cut(&r, TEXT("\n"), step), SSE_OK);
        ck_assert(r.s.id.len == 4 && !memcmp(buf_at(&r.s.id), "four", 4));
        reader_fini(&r);
        reader_init(&r);
        ck_assert_int_eq(feed_cut(&r, text, sizeof text - 1, step), SSE_OK);
        ck_assert(!r.s.id.len && !r.s.retry_ms);
        reader_fini(&r);
    }
}
END_TEST

START_TEST(comments_may_go_on_for_ever)
{
    struct reader r;

    reader_init(&r);
    ck_assert_int_eq(feed(&r, TEXT("data: a\n")), SSE_OK);
    for (int i = 0; i < 10000; i++)
        ck_assert_int_eq(feed(&r, TEXT(": still there\r\n")), SSE_OK);
    ck_assert_int_eq(feed(&r, TEXT("\n")), SSE_OK);
    ck_assert_str_eq(r.got, "|a;");
    ck_assert_uint_lt(r.memory.largest, 1000);
    reader_fini(&r);
}
END_TEST

START_TEST(a_large_event_leaves_no_large_buffer)
{
    struct reader r;
    char *piece = malloc(1000);

    reader_init(&r);
    r.s.max = 1000000;
    memset(piece, 'x', 1000);
    ck_assert_int_eq(feed(&r, TEXT(":")), SSE_OK);
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(feed(&r, piece, 1000), SSE_OK);
    ck_assert_uint_gt(r.s.line.cap, 500000);
    ck_assert_int_eq(feed(&r, TEXT("\n")), SSE_OK);
    ck_assert_uint_lt(r.s.line.cap, 1000);
    reader_fini(&r);
    free(piece);
}
END_TEST

START_TEST(want_of_memory_is_an_error_that_stays)
{
    static const char in[] = "event: n\ndata: one\ndata: two\n\n";

    for (long n = 1; n <= 3; n++) {
        struct reader r;
        size_t taken;

        reader_init(&r);
        r.memory.fail_in = n;
        ck_assert_int_eq(feed_cut(&r, in, sizeof in - 1, 5), SSE_ENOMEM);
        ck_assert_int_eq(sse_feed(&r.s, TEXT("\n\n"), &taken), SSE_ENOMEM);
        ck_assert_str_eq(r.got, "");
        reader_fini(&r);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sse");
    TCase *tcase = tcase_create("sse");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tcase, events_are_the_same_in_every_cut, 0,
                        sizeof streams / sizeof streams[0]);
    tcase_add_test(tcase, a_stopped_consumer_gets_the_next_event_with_the_next_feed);
    tcase_add_loop_test(tcase, an_event_is_bounded_in_every_cut, 0,
                        sizeof bounds / sizeof bounds[0]);
    tcase_add_test(tcase, the_last_id_and_the_time_to_wait_are_kept_where_they_are_wanted);
    tcase_add_test(tcase, comments_may_go_on_for_ever);
    tcase_add_test(tcase, a_large_event_leaves_no_large_buffer);
    tcase_add_test(tcase, want_of_memory_is_an_error_that_stays);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
