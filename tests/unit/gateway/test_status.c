/* Which status a fault of an operation has, and when a client is told to come again. */
#include "http_rig.h"

#include "support/suite.h"

struct failure {
    const char *code, *details;
};

static int serve_failure(alk_call *call, void *ud)
{
    const struct failure *how = ud;
    alk_fault f = {
        .size = sizeof f, .code = how->code, .message = "as asked", .details = how->details};

    return alk_call_fail(call, &f);
}

static void fail_start(struct http *s, struct failure *how)
{
    alk_operation op;

    http_new(s);
    alk_operation_init(&op, sizeof op);
    op.name = "t/fail";
    op.handler = serve_failure;
    op.ud = how;
    op.error_schemas =
        "[{\"code\":\"OTHER\",\"http_status\":410},{\"code\":\"GONE\",\"http_status\":401},"
        "{\"code\":\"SILENT\"}]";
    world_add_full(s->w, &op);
    http_start(s);
}

static const struct {
    const char *code;
    int status;
} codes[] = {
    {"HTTP_404", 404}, {"HTTP_400", 400}, {"HTTP_409", 409}, {"HTTP_451", 451}, {"HTTP_500", 500},
    {"HTTP_599", 599}, {"HTTP_401", 502}, {"HTTP_413", 502}, {"HTTP_200", 502}, {"HTTP_302", 502},
    {"HTTP_600", 500}, {"HTTP_000", 500}, {"HTTP_4", 500},   {"HTTP_4:4", 500}, {"HTTP_4/4", 500},
    {"HTTP_40a", 500}, {"HTTP_40.", 500}, {"HTTP_a00", 500}, {"HTTX_404", 500}, {"OTHER", 410},
    {"GONE", 502},     {"SILENT", 500},   {"UNKNOWN", 500},
};

START_TEST(a_code_has_its_status_where_it_cannot_be_taken_for_the_gateways)
{
    struct failure how = {0};
    struct http s;

    fail_start(&s, &how);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        const char *got;

        how.code = codes[i].code;
        got = http_post(&s, "/call", "", "{\"operation\":\"t/fail\"}");
        ck_assert_msg(http_status(got) == codes[i].status, "%s: %s", codes[i].code, got);
        ck_assert_ptr_nonnull(strstr(got, codes[i].code));
    }
    http_free(&s);
}
END_TEST

static const struct {
    const char *details, *retry; /* NULL: not said */
} retries[] = {
    {"{\"retry_after\":0}", "0"},
    {"{\"retry_after\":1.5}", "2"},
    {"{\"retry_after\":120}", "120"},
    {"{\"retry_after\":-1}", NULL},
    {"{\"retry_after\":1e300}", NULL},
    {"{\"retry_after\":[1]}", NULL},
    {"{\"other\":1}", NULL},
    {"[1]", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:49:37 GMT\"}", "Sun, 06 Nov 1994 08:49:37 GMT"},
    {"{\"retry_after\":\"Mon, 29 Feb 2016 23:59:60 GMT\"}", "Mon, 29 Feb 2016 23:59:60 GMT"},
    {"{\"retry_after\":\"Tue, 29 Feb 2000 00:00:00 GMT\"}", "Tue, 29 Feb 2000 00:00:00 GMT"},
    {"{\"retry_after\":\"Sat, 28 Feb 2026 00:00:00 GMT\"}", "Sat, 28 Feb 2026 00:00:00 GMT"},
    {"{\"retry_after\":\"Sat, 29 Feb 2025 00:00:00 GMT\"}", NULL},
    {"{\"retry_after\":\"Sat, 29 Feb 1900 00:00:00 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 31 Apr 2024 00:00:00 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 00 Nov 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 0x Nov 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 0/ Nov 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sux, 06 Nov 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nox 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 19x4 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 24:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 xx:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:60:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:x0:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:49:61 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:49:x1 GMT\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:49:37 CET\"}", NULL},
    {"{\"retry_after\":\"Sun; 06 Nov 1994 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"Sunday, 06-Nov-94 08:49:37 GMT\"}", NULL},
    {"{\"retry_after\":\"\\r\\nX: 1\"}", NULL},
    {"{\"retry_after\":\"Sun, 06 Nov 1994 08:49:37\\r\\nX\"}", NULL},
};

START_TEST(a_time_that_makes_sense_is_when_to_come_again)
{
    struct failure how = {0};
    struct http s;

    fail_start(&s, &how);
    for (size_t i = 0; i < sizeof retries / sizeof retries[0]; i++) {
        char want[80];
        const char *got, *field;

        how = (struct failure){"HTTP_503", retries[i].details};
        got = http_post(&s, "/call", "", "{\"operation\":\"t/fail\"}");
        field = strstr(got, "\r\nRetry-After: ");
        ck_assert_msg(!field == !retries[i].retry, "%s: %s", retries[i].details, got);
        snprintf(want, sizeof want, "\r\nRetry-After: %s\r\n",
                 retries[i].retry ? retries[i].retry : "");
        ck_assert_msg(!field || !strncmp(field, want, strlen(want)), "%s: %s", retries[i].details,
                      got);
    }
    http_free(&s);
}
END_TEST

MAIN("status", a_code_has_its_status_where_it_cannot_be_taken_for_the_gateways,
     a_time_that_makes_sense_is_when_to_come_again)
