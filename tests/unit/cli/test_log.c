/* The daemon's log lines: their form, what is escaped, and that a reader who does not read stops
 * nothing. */
#include "alknetd/log.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yyjson.h>

static char path[] = "/tmp/test_log.XXXXXX";
static char content[1 << 20];

static void make_file(void)
{
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void remove_file(void)
{
    unlink(path);
}

static struct log *opened(uint32_t json, uint32_t level)
{
    struct log *log;
    char err[256];
    ck_assert_int_eq(log_open(&log, json, level, path, err, sizeof err), 0);
    return log;
}

static const char *written(struct log *log)
{
    log_close(log);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    content[fread(content, 1, sizeof content - 1, f)] = 0;
    fclose(f);
    return content;
}

/* The only line there is, without its time. */
static const char *one_line(struct log *log, uint32_t json)
{
    const char *text = written(log);
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    content[strlen(text) - 1] = 0;
    if (json) {
        yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
        ck_assert_msg(doc != NULL, "no JSON: %s", text);
        yyjson_doc_free(doc);
    }
    const char *time = json ? text + 9 : text;
    int year, month, day, hour, minute, second, ms, end = 0;
    sscanf(time, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute, &second,
           &ms, &end);
    ck_assert_int_eq(end, 24);
    return time + end;
}

static const alk_log_event full = {.size = sizeof full,
                                   .level = ALK_LOG_INFO,
                                   .event = "call",
                                   .message = "m",
                                   .request_id = "r1",
                                   .identity = "alk_abcd",
                                   .operation = "demo/add",
                                   .outcome = "ok",
                                   .remote = "127.0.0.1",
                                   .claim = "c",
                                   .duration_us = 1002003,
                                   .count = 7,
                                   .message_len = 1,
                                   .request_id_len = 2,
                                   .operation_len = 8,
                                   .outcome_len = 2};

START_TEST(an_event_is_one_json_line)
{
    struct log *log = opened(1, ALK_LOG_INFO);
    log_event(log, &full);
    ck_assert_str_eq(
        one_line(log, 1),
        "\",\"level\":\"info\",\"event\":\"call\",\"operation\":\"demo/add\","
        "\"outcome\":\"ok\",\"duration_ms\":1002.003,\"count\":7,\"request_id\":\"r1\","
        "\"identity\":\"alk_abcd\",\"claim\":\"c\",\"remote\":\"127.0.0.1\","
        "\"message\":\"m\"}");
}
END_TEST

START_TEST(an_event_is_one_human_line)
{
    struct log *log = opened(0, ALK_LOG_INFO);
    log_event(log, &full);
    ck_assert_str_eq(one_line(log, 0),
                     " info  call operation=\"demo/add\" outcome=\"ok\" 1002.003 ms count=7 "
                     "request_id=\"r1\" identity=\"alk_abcd\" claim=\"c\" remote=\"127.0.0.1\" "
                     "message=\"m\"");
}
END_TEST

START_TEST(absent_fields_are_left_out)
{
    struct log *log = opened(1, ALK_LOG_INFO);
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_ERROR, .event = "x"};
    log_event(log, &e);
    ck_assert_str_eq(one_line(log, 1), "\",\"level\":\"error\",\"event\":\"x\"}");
}
END_TEST

struct escape {
    const char *in, *json, *human;
};
static const struct escape escapes[] = {
    {"a\nb\tc\r", "a\\u000ab\\u0009c\\u000d", "a\\u000ab\\u0009c\\u000d"},
    {"\x1b[31m\x7f", "\\u001b[31m\\u007f", "\\u001b[31m\\u007f"},
    {"\xc2\x9b"
     "1m",
     "\\u009b1m", "\\u009b1m"},
    {"\"\\", "\\\"\\\\", "\\\"\\\\"},
    {"\xff\xc0\x80", "\\ufffd\\ufffd\\ufffd", "\\xff\\xc0\\x80"},
    {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd", "\\xed\\xa0\\x80"},
    {"\xe2\x80\xae"
     "x\xe2\x80\xa8",
     "\\u202ex\\u2028", "\\u202ex\\u2028"},
    {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80",
     "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"},
    {"\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd", "\\xf0\\x9f\\x98"},
};

START_TEST(what_a_terminal_would_act_on_is_escaped)
{
    const struct escape *e = &escapes[_i];
    for (uint32_t json = 0; json <= 1; json++) {
        char want[128];
        alk_log_event event = {.level = ALK_LOG_INFO,
                               .event = "e",
                               .operation = e->in,
                               .operation_len = strlen(e->in)};
        ck_assert_int_eq(truncate(path, 0), 0);
        struct log *log = opened(json, ALK_LOG_INFO);
        log_event(log, &event);
        snprintf(want, sizeof want, json ? ",\"operation\":\"%s\"}" : " operation=\"%s\"",
                 json ? e->json : e->human);
        ck_assert_ptr_nonnull(strstr(one_line(log, json), want));
    }
}
END_TEST

START_TEST(a_nul_does_not_end_a_text)
{
    const alk_log_event event = {.level = ALK_LOG_INFO,
                                 .event = "e",
                                 .request_id = "\0",
                                 .request_id_len = 1,
                                 .message = "a\0b",
                                 .message_len = 3};
    struct log *log = opened(1, ALK_LOG_INFO);
    log_event(log, &event);
    ck_assert_ptr_nonnull(
        strstr(one_line(log, 1), ",\"request_id\":\"\\u0000\",\"message\":\"a\\u0000b\"}"));
}
END_TEST

START_TEST(long_fields_are_cut_and_the_line_stays_whole)
{
    static char huge[100000];
    memset(huge, '\x01', sizeof huge - 1);
    alk_log_event e = {.level = ALK_LOG_INFO,
                       .event = huge,
                       .message = huge,
                       .request_id = huge,
                       .identity = huge,
                       .operation = huge,
                       .outcome = huge,
                       .remote = huge,
                       .claim = huge,
                       .duration_us = UINT64_MAX,
                       .count = UINT64_MAX,
                       .message_len = sizeof huge - 1,
                       .request_id_len = sizeof huge - 1,
                       .operation_len = sizeof huge - 1,
                       .outcome_len = sizeof huge - 1};
    struct log *log = opened(1, ALK_LOG_INFO);
    log_event(log, &e);
    const char *line = one_line(log, 1);
    ck_assert_uint_le(strlen(content) + 1, LOG_LINE_MAX);
    ck_assert_ptr_nonnull(strstr(line, "\xe2\x80\xa6\"}"));
}
END_TEST

START_TEST(what_is_below_the_level_is_not_written)
{
    struct log *log = opened(1, ALK_LOG_WARN);
    log_event(log, &full);
    log_say(log, ALK_LOG_DEBUG, "d", "no");
    ck_assert_str_eq(written(log), "");
}
END_TEST

static void check_listener(int json, const char *address, uint32_t port, const char *scheme,
                           const char *want)
{
    struct log *log = opened(json, ALK_LOG_INFO);

    log_event(log, &(alk_log_event){.level = ALK_LOG_INFO,
                                    .event = "listening",
                                    .address = address,
                                    .scheme = scheme,
                                    .port = port});
    ck_assert_str_eq(one_line(log, json), want);
    ck_assert_int_eq(truncate(path, 0), 0);
}

START_TEST(a_listener_has_the_port_as_a_number_or_a_path)
{
    check_listener(1, "::1", 4780, "http",
                   "\",\"level\":\"info\",\"event\":\"listening\","
                   "\"address\":\"::1\",\"port\":4780}");
    check_listener(0, "::1", 4780, "http",
                   " info  listening address=\"::1\" port=4780 http://[::1]:4780");
    check_listener(0, "127.0.0.1", 443, "https",
                   " info  listening address=\"127.0.0.1\" port=443 https://127.0.0.1:443");
    check_listener(0, "/run/s", 0, NULL, " info  listening path=\"/run/s\"");
}
END_TEST

START_TEST(a_session_has_its_code_and_what_the_upgrade_said)
{
    struct log *log = opened(1, ALK_LOG_INFO);

    log_event(log, &(alk_log_event){.level = ALK_LOG_INFO,
                                    .event = "session.close",
                                    .identity = "me",
                                    .tenant = "acme",
                                    .traceparent = "00-1-2-01",
                                    .remote = "::1",
                                    .code = 1001});
    ck_assert_str_eq(one_line(log, 1),
                     "\",\"level\":\"info\",\"event\":\"session.close\",\"code\":1001,"
                     "\"identity\":\"me\",\"tenant\":\"acme\",\"traceparent\":\"00-1-2-01\","
                     "\"remote\":\"::1\"}");
}
END_TEST

START_TEST(a_file_that_was_moved_is_opened_anew)
{
    char err[256], moved[64];
    struct log *log = opened(1, ALK_LOG_INFO);
    log_say(log, ALK_LOG_INFO, "first", "x");
    snprintf(moved, sizeof moved, "%s.1", path);
    ck_assert_int_eq(rename(path, moved), 0);
    ck_assert_int_eq(log_reopen(log, err, sizeof err), 0);
    log_say(log, ALK_LOG_INFO, "second", "x");
    const char *text = written(log);
    ck_assert_ptr_nonnull(strstr(text, "second"));
    ck_assert_ptr_null(strstr(text, "first"));
    unlink(moved);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_says_why)
{
    struct log *log;
    char err[256] = "";
    ck_assert_int_eq(log_open(&log, 1, 3, "/nonexistent/x.log", err, sizeof err), ALK_ESYSTEM);
    ck_assert_str_eq(err, "/nonexistent/x.log: No such file or directory");
    ck_assert_ptr_null(log);
}
END_TEST

/* Standard error as a pipe (0), a stream socket (1) or a datagram socket (2). */
static void standard_error_to(int kind, int ends[2])
{
    if (kind == 0)
        ck_assert_int_eq(pipe(ends), 0);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, kind == 1 ? SOCK_STREAM : SOCK_DGRAM, 0, ends), 0);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
}

static size_t read_what_is_there(int fd, char *into, size_t size)
{
    size_t len = 0;
    ssize_t n;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (len < size && (n = read(fd, into + len, size - len)) > 0)
        len += (size_t)n;
    return len;
}

static size_t lines_in(const char *text, size_t len, size_t *dropped)
{
    size_t count = 0;
    *dropped = 0;
    for (const char *p = text, *e; p < text + len; p = e + 1) {
        e = memchr(p, '\n', (size_t)(text + len - p));
        ck_assert_ptr_nonnull(e);
        yyjson_doc *doc = yyjson_read(p, (size_t)(e - p), 0);
        ck_assert_msg(doc != NULL, "a torn line: %.*s", (int)(e - p), p);
        yyjson_val *root = yyjson_doc_get_root(doc);
        if (yyjson_equals_str(yyjson_obj_get(root, "event"), "log.dropped"))
            *dropped += (size_t)yyjson_get_uint(yyjson_obj_get(root, "count"));
        else
            count++;
        yyjson_doc_free(doc);
    }
    return count;
}

START_TEST(a_reader_who_does_not_read_stops_nothing_and_learns_what_is_missing)
{
    enum { LINES = 5000 };
    int ends[2], saved = dup(STDERR_FILENO);
    struct log *log;
    char err[256];
    size_t dropped;
    standard_error_to(_i, ends);
    ck_assert_int_eq(log_open(&log, 1, ALK_LOG_INFO, NULL, err, sizeof err), 0);
    alarm(10);
    for (int i = 0; i < LINES; i++)
        log_say(log, ALK_LOG_INFO, "x", "%0200d", i);
    static char all[4 << 20];
    size_t len = read_what_is_there(ends[0], all, sizeof all);
    log_say(log, ALK_LOG_INFO, "x", "last");
    len += read_what_is_there(ends[0], all + len, sizeof all - len);
    alarm(0);
    dup2(saved, STDERR_FILENO);
    size_t there = lines_in(all, len, &dropped);
    ck_assert_uint_gt(dropped, 0);
    ck_assert_uint_eq(there + dropped, LINES + 1);
    log_close(log);
    close(ends[0]);
    close(ends[1]);
    close(saved);
}
END_TEST

START_TEST(a_shared_pipe_keeps_its_flags)
{
    int ends[2], saved = dup(STDERR_FILENO);
    struct log *log;
    char err[256];
    standard_error_to(0, ends);
    ck_assert_int_eq(log_open(&log, 1, ALK_LOG_INFO, NULL, err, sizeof err), 0);
    log_say(log, ALK_LOG_INFO, "x", "y");
    int flags = fcntl(ends[1], F_GETFL);
    log_close(log);
    dup2(saved, STDERR_FILENO);
    ck_assert_int_eq(flags & O_NONBLOCK, 0);
}
END_TEST

static void *say_a_thousand(void *log)
{
    for (int i = 0; i < 1000; i++)
        log_say(log, ALK_LOG_INFO, "x", "%0300d", i);
    return NULL;
}

START_TEST(lines_of_several_threads_do_not_mix)
{
    pthread_t threads[4];
    struct log *log = opened(1, ALK_LOG_INFO);
    size_t dropped;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, say_a_thousand, log), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_close(log);
    static char all[4 << 20];
    int fd = open(path, O_RDONLY);
    size_t len = read_what_is_there(fd, all, sizeof all);
    close(fd);
    ck_assert_uint_eq(lines_in(all, len, &dropped), 4000);
    ck_assert_uint_eq(dropped, 0);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("log");
    TCase *lines = tcase_create("lines"), *targets = tcase_create("targets");
    tcase_add_checked_fixture(lines, make_file, remove_file);
    tcase_add_test(lines, an_event_is_one_json_line);
    tcase_add_test(lines, an_event_is_one_human_line);
    tcase_add_test(lines, absent_fields_are_left_out);
    tcase_add_loop_test(lines, what_a_terminal_would_act_on_is_escaped, 0,
                        (int)(sizeof escapes / sizeof *escapes));
    tcase_add_test(lines, a_nul_does_not_end_a_text);
    tcase_add_test(lines, long_fields_are_cut_and_the_line_stays_whole);
    tcase_add_test(lines, what_is_below_the_level_is_not_written);
    tcase_add_test(lines, a_listener_has_the_port_as_a_number_or_a_path);
    tcase_add_test(lines, a_session_has_its_code_and_what_the_upgrade_said);
    tcase_add_test(lines, a_file_that_was_moved_is_opened_anew);
    tcase_add_test(lines, a_file_that_cannot_be_opened_says_why);
    tcase_add_test(lines, lines_of_several_threads_do_not_mix);
    tcase_add_loop_test(targets,
                        a_reader_who_does_not_read_stops_nothing_and_learns_what_is_missing, 0, 3);
    tcase_add_test(targets, a_shared_pipe_keeps_its_flags);
    suite_add_tcase(suite, lines);
    suite_add_tcase(suite, targets);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
