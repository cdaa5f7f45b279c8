/* The client's reader of text/event-stream: the same events come out however the bytes are cut. */
#include "alknet/events.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define STOP 7

/* Each event as NAME(DATA), one behind the other. */
static int note(void *ud, const char *name, struct buffer *data)
{
    struct buffer *seen = ud;

    buffer_printf(seen, "%s(", name);
    buffer_append(seen, buffer_text(data), data->len);
    buffer_puts(seen, ")");
    return strcmp(name, "stop") == 0 ? STOP : 0;
}

static void feed(const char *in, size_t len, size_t step, size_t first, const char *want,
                 int want_rc, bool boundary)
{
    struct buffer seen = {0};
    struct events e;
    int rc = 0;

    events_init(&e, 1024, note, &seen);
    for (size_t at = 0, n = first; at < len && rc == 0; at += n, n = step) {
        if (n > len - at)
            n = len - at;
        rc = events_feed(&e, in + at, n);
    }
    ck_assert_int_eq(rc, want_rc);
    ck_assert_str_eq(buffer_text(&seen), want);
    if (rc == 0)
        ck_assert_int_eq(events_at_boundary(&e), boundary);
    events_fini(&e);
    buffer_free(&seen);
}

static const struct {
    const char *in, *want;
    int rc;
    bool boundary;
} streams[] = {
    {"", "", 0, true},
    {"data: 1\n\n", "(1)", 0, true},
    {"data:1\n\ndata:  2\n\n", "(1)( 2)", 0, true},
    {"data: 1\r\n\r\ndata: 2\r\n\r\n", "(1)(2)", 0, true},
    {"data: 1\r\rdata: 2\r\r", "(1)(2)", 0, true},
    {"data: 1\r\n\rdata: 2\n\r\n", "(1)(2)", 0, true},
    {"\xEF\xBB\xBF"
     "data: 1\n\n",
     "(1)", 0, true},
    {"data: 1\n\n\xEF\xBB\xBF"
     "data: 2\n\n",
     "(1)", 0, true},
    {"data: [1,\ndata: 2]\n\n", "([1,\n2])", 0, true},
    {"data\n\n", "()", 0, true},
    {"data:\ndata:\n\n", "(\n)", 0, true},
    {": comment\n\n:\n\n", "", 0, true},
    {"data: 1\n: comment\n\n", "(1)", 0, true},
    {"id: 5\nretry: 10\nother: x\nDATA: x\ndata : x\n data: x\n\n", "", 0, true},
    {"event: error\ndata: {}\n\ndata: 1\n\n", "error({})(1)", 0, true},
    {"event: error\n\ndata: 1\n\n", "(1)", 0, true},
    {"event: one\nevent: two\ndata: 1\n\n", "two(1)", 0, true},
    {"event: stop\ndata: 1\n\ndata: 2\n\n", "stop(1)", STOP, true},
    {"event: a-name-that-is-far-longer-than-any-that-we-know\ndata: 1\n\n",
     "a-name-that-is-far-longer-than-(1)", 0, true},
    {"data: 1\n\ndata: 2\n", "(1)", 0, false},
    {"data: 1\n\ndata: 2", "(1)", 0, false},
    {"data: 1\n\n: half a comm", "(1)", 0, false},
};

START_TEST(every_cut_of_a_stream_gives_the_same_events)
{
    const char *in = streams[_i].in;
    size_t len = strlen(in);

    feed(in, len, 1, 1, streams[_i].want, streams[_i].rc, streams[_i].boundary);
    for (size_t cut = 0; cut <= len; cut++)
        feed(in, len, len, cut ? cut : len, streams[_i].want, streams[_i].rc, streams[_i].boundary);
}
END_TEST

START_TEST(an_event_over_the_limit_ends_the_feed)
{
    char in[2100];

    memset(in, 'x', sizeof in);
    memcpy(in, "data: ", 6);
    feed(in, 1024, 100, 100, "", 0, false);
    feed(in, 1025, 100, 100, "", EVENTS_TOO_LARGE, false);
    feed(in, 1025, 1025, 1025, "", EVENTS_TOO_LARGE, false);
    /* Two lines that are within it alone, and not together. */
    in[600] = '\n';
    memcpy(in + 601, "data: ", 6);
    in[1200] = '\n';
    feed(in, sizeof in, 7, 7, "", EVENTS_TOO_LARGE, false);
    /* A comment counts, and is forgotten behind its end. */
    memcpy(in, ":     ", 6);
    memcpy(in + 601, ":     ", 6);
    memcpy(in + 1201, "data: 1\n\n", 9);
    feed(in, 1210, 7, 7, "(1)", 0, true);
}
END_TEST

START_TEST(bytes_of_any_value_pass_through_the_data)
{
    static const char in[] = "data: a\0b\xff\n\n";
    struct buffer seen = {0};
    struct events e;

    events_init(&e, 1024, note, &seen);
    ck_assert_int_eq(events_feed(&e, in, sizeof in - 1), 0);
    ck_assert_uint_eq(seen.len, 6);
    ck_assert_int_eq(memcmp(buffer_text(&seen), "(a\0b\xff)", 6), 0);
    events_fini(&e);
    buffer_free(&seen);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alknet_events");
    TCase *events = tcase_create("events");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(events, every_cut_of_a_stream_gives_the_same_events, 0,
                        (int)(sizeof streams / sizeof *streams));
    tcase_add_test(events, an_event_over_the_limit_ends_the_feed);
    tcase_add_test(events, bytes_of_any_value_pass_through_the_data);
    suite_add_tcase(suite, events);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
