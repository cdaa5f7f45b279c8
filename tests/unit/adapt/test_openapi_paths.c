/* Values that try to leave their segment of a path, or the origin: none does. Each URL that is built here is judged by the
 * rig's own reader of URLs. */
#include "unit/adapt/openapi_rig.h"

static struct request_rig r;

/* Paths with the parameters a and b. */
static const struct {
    const char *pieces[6]; /* "a" and "b": the parameters */
} templates[] = {
    {{"/", "a"}},
    {{"/users/", "a"}},
    {{"/users/", "a", "/things"}},
    {{"/x-", "a"}},
    {{"/", "a", ".json"}},
    {{"/.", "a"}},
    {{"/..", "a", "/x"}},
    {{"/", "a", "b"}},
    {{"/", "a", "/", "b"}},
    {{"/q/", "a", ".", "b", "/"}},
    {{"a"}},
    {{"a", "/x"}},
    {{"/", "a", "-", "b"}},
    {{"//", "a"}},
    {{"/x/", "a", ";v=", "b"}},
};

struct made {
    struct oas_plan plan;
    struct oas_param params[2];
    struct oas_piece pieces[6];
};

static struct made *make(size_t template, uint8_t style, bool explode, struct str base)
{
    static struct made m;
    const char *const *p = templates[template].pieces;

    m = (struct made){.plan = {.method = "GET", .base = base}};
    m.params[0] = (struct oas_param){S("a"), S("a"), IN_PATH, style, explode, false, true};
    m.params[1] = (struct oas_param){S("b"), S("b"), IN_PATH, style, explode, false, true};
    for (; m.plan.piece_count < 6 && p[m.plan.piece_count]; m.plan.piece_count++) {
        const char *text = p[m.plan.piece_count];
        int param = !strcmp(text, "a") ? 0 : !strcmp(text, "b") ? 1 : -1;

        m.pieces[m.plan.piece_count] = (struct oas_piece){str_of(text), param};
    }
    m.plan.pieces = m.pieces;
    m.plan.params = m.params;
    m.plan.param_count = 2;
    return &m;
}

/* As values of JSON strings. Those that would lead out where they are a segment alone. */
static const char *const leaving[] = {
    ".",
    "..",
    "../",
    "../admin",
    "../../../../etc/passwd",
    "a/../../b",
    "a/..",
    "a/./b",
    "./a",
    "/..",
    "/../x",
    "..\\\\",
    "..\\\\..\\\\admin",
    "a\\\\..\\\\b",
    "%2e",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "..%2f",
    "..%2F..%2Fadmin",
    "%2e%2e%2f",
    "a%2f%2e%2e",
    "a%2f..%2fb",
    "..%5c",
    "..%5Cx",
    "%252e%252e",
    "%252e%252E%252f",
    "..%252f",
    "%25252e%25252e%25252f",
    "%%32e%2e",
    "%2%65%2e",
    "..;",
    "..;/admin",
    "..;a=b",
    "..%3b/x",
    "..?x",
    "..#x",
    "..%3f",
    "..%23",
    "..\\u0000",
    "..%00",
    "a/..%00/b",
    ".\\r\\n.",
    "..\\t/",
    ".%0d%0a./x",
    "",
    "\\u0000",
    "a\\u0000b",
};

/* Those that stay where they are, and how they are written. */
static const struct {
    const char *value, *written;
} staying[] = {
    {"a/b", "a%2Fb"},
    {"//evil.example", "%2F%2Fevil.example"},
    {"/", "%2F"},
    {"\\\\\\\\evil.example\\\\x", "%5C%5Cevil.example%5Cx"},
    {"@evil.example", "%40evil.example"},
    {"user:pw@evil.example", "user%3Apw%40evil.example"},
    {"evil.example:80", "evil.example%3A80"},
    {"http://169.254.169.254/latest", "http%3A%2F%2F169.254.169.254%2Flatest"},
    {"?admin=1", "%3Fadmin%3D1"},
    {"#", "%23"},
    {"x?y#z", "x%3Fy%23z"},
    {"%2f", "%252f"},
    {"%", "%25"},
    {"a\\r\\nHost: evil", "a%0D%0AHost%3A%20evil"},
    {" ", "%20"},
    {"a&b=c+d", "a%26b%3Dc%2Bd"},
    {"...", "..."},
    {"....", "...."},
    {"..a", "..a"},
    {"a..", "a.."},
    {".hidden", ".hidden"},
    {"a.b", "a.b"},
    {"..%zz", "..%25zz"},
    {"[::1]", "%5B%3A%3A1%5D"},
    {";v=1", "%3Bv%3D1"},
    {"\\u00e9\\u20ac", "%C3%A9%E2%82%AC"},
    {"\\u2025", "%E2%80%A5"},
    {"\\uff0e\\uff0e\\uff0f", "%EF%BC%8E%EF%BC%8E%EF%BC%8F"},
    {"-._~", "-._~"},
    {"'\\\"<>`{|}^", "%27%22%3C%3E%60%7B%7C%7D%5E"},
    {"!$()*,", "%21%24%28%29%2A%2C"},
    {"evil.example.", "evil.example."},
};

START_TEST(values_that_would_leave_their_segment_are_refused)
{
    char input[200];

    for (size_t t = 0; t < COUNT(templates); t++) {
        struct made *m = make(t, STYLE_SIMPLE, false, S(RIG_BASE));

        snprintf(input, sizeof input, "{\"a\":\"%s\",\"b\":\"ok\"}", leaving[_i]);
        ck_assert_msg(rig_build(&r, &m->plan, input) == ALK_EINVAL, "%s", input);
        ck_assert_str_eq(r.why.path, "/a");
        rig_fini(&r);
    }
}
END_TEST

/* As an item, a name or a value of each style. */
START_TEST(parts_of_values_leave_no_more_than_values)
{
    static const char *const forms[] = {"[\"%s\"]",       "[\"x\",\"%s\"]", "[\"%s\",\"x\"]",
                                        "{\"k\":\"%s\"}", "{\"%s\":\"v\"}", "\"%s\""};
    char value[100], input[200];

    for (size_t i = 0; i < COUNT(forms) * 6; i++) {
        uint8_t style = (uint8_t)(STYLE_SIMPLE + i % 3);
        struct made *m = make(0, style, i / 3 % 2, S(RIG_BASE));
        int rc;

        snprintf(value, sizeof value, forms[i / 6], leaving[_i]);
        snprintf(input, sizeof input, "{\"a\":%s}", value);
        rc = rig_build(&r, &m->plan, input);
        /* What is empty has something of its style around it. */
        ck_assert_msg(rc == ALK_EINVAL || (!*leaving[_i] && strcmp(rig_target(&r, &m->plan), "/")),
                      "%s", input);
        rig_fini(&r);
    }
}
END_TEST

START_TEST(values_that_stay_are_encoded)
{
    char input[200], expected[200];

    for (size_t t = 0; t < 2; t++) {
        struct made *m = make(t, STYLE_SIMPLE, false, S(RIG_BASE));

        snprintf(input, sizeof input, "{\"a\":\"%s\"}", staying[_i].value);
        snprintf(expected, sizeof expected, "%s%s", templates[t].pieces[0], staying[_i].written);
        ck_assert_msg(rig_build(&r, &m->plan, input) == ALK_OK, "%s: %s", input, r.why.text);
        ck_assert_str_eq(rig_target(&r, &m->plan), expected);
        rig_fini(&r);
    }
}
END_TEST

/* What is allowed is judged by the rig: each value in each template at each base. */
START_TEST(no_value_leaves_any_template_at_any_base)
{
    static const char *const bases[] = {"http://h", "https://h:1/a/b", "http://[::1]:80/v1",
                                        "http://127.0.0.1"};
    char input[200];

    for (size_t i = 0; i < COUNT(bases) * COUNT(templates) * COUNT(staying); i += 3) {
        size_t t = i / COUNT(bases) % COUNT(templates), other = i / COUNT(bases) / COUNT(templates);

        for (uint8_t style = STYLE_SIMPLE; style <= STYLE_MATRIX; style++) {
            struct made *m = make(t, style, other & 1, str_of(bases[i % COUNT(bases)]));

            snprintf(input, sizeof input, "{\"a\":\"%s\",\"b\":[\"%s\"]}", staying[_i].value,
                     staying[other].value);
            rig_build(&r, &m->plan, input);
            rig_fini(&r);
        }
    }
}
END_TEST

START_TEST(values_make_no_dots_together)
{
    static const struct {
        size_t template;
        uint8_t style;
        bool explode;
        const char *input;
    } cases[] = {
        {0, STYLE_LABEL, true, "{\"a\":\"\"}"},                 /* . */
        {0, STYLE_LABEL, true, "{\"a\":[\"\",\"\"]}"},          /* .. */
        {0, STYLE_LABEL, true, "{\"a\":[\"\",\"/x\"]}"},        /* ..%2Fx */
        {0, STYLE_LABEL, true, "{\"a\":[\"\",\";x\"]}"},        /* ..%3Bx */
        {5, STYLE_LABEL, false, "{\"a\":\"\"}"},                /* .. */
        {5, STYLE_LABEL, false, "{\"a\":\"\\u002fx\"}"},        /* ..%2Fx */
        {5, STYLE_SIMPLE, false, "{\"a\":\"/x\"}"},             /* .%2Fx */
        {5, STYLE_SIMPLE, false, "{\"a\":\";x\"}"},             /* .%3Bx */
        {6, STYLE_SIMPLE, false, "{\"a\":\"/x\"}"},             /* ..%2Fx */
        {6, STYLE_MATRIX, false, "{\"a\":\"x\"}"},              /* ..;a=x */
        {7, STYLE_LABEL, false, "{\"a\":\"\",\"b\":\"\"}"},     /* .. */
        {9, STYLE_LABEL, false, "{\"a\":\"x/\",\"b\":\"/y\"}"}, /* .x%2F..%2Fy */
        {7, STYLE_SIMPLE, false, "{\"a\":\"%2\",\"b\":\"e/x\"}"},
        {7, STYLE_SIMPLE, false, "{\"a\":\"%\",\"b\":\"2e%2e\"}"},
        {7, STYLE_SIMPLE, false, "{\"a\":\"x/\",\"b\":\"/y\"}"}, /* x%2F%2Fy is fine */
    };
    struct made *m = make(cases[_i].template, cases[_i].style, cases[_i].explode, S(RIG_BASE));
    int rc = rig_build(&r, &m->plan, cases[_i].input);

    ck_assert_msg(rc == (_i == 14 ? ALK_OK : ALK_EINVAL), "%s", cases[_i].input);
    rig_fini(&r);
}
END_TEST

START_TEST(a_path_without_a_slash_is_no_part_of_the_host)
{
    struct made *m = make(10, STYLE_SIMPLE, false, S("http://h"));

    ck_assert_int_eq(rig_build(&r, &m->plan, "{\"a\":\".evil.example\"}"), ALK_OK);
    ck_assert_str_eq(buf_at(&r.rq.url), "http://h/.evil.example");
    rig_fini(&r);
    m->pieces[0] = (struct oas_piece){S("@evil.example/"), -1};
    ck_assert_int_eq(rig_build(&r, &m->plan, "{}"), ALK_OK);
    ck_assert_str_eq(buf_at(&r.rq.url), "http://h/@evil.example/");
    rig_fini(&r);
    m->plan.piece_count = 0;
    ck_assert_int_eq(rig_build(&r, &m->plan, "{}"), ALK_OK);
    ck_assert_str_eq(buf_at(&r.rq.url), "http://h");
    rig_fini(&r);
}
END_TEST

/* Escapes within escapes are as many as the text is long. */
START_TEST(decoding_takes_linear_time)
{
    struct made *m = make(0, STYLE_SIMPLE, false, S(RIG_BASE));
    char *input = malloc(70000);
    size_t at = (size_t)sprintf(input, "{\"a\":\"%%");

    for (int i = 0; i < 10000; i++)
        at += (size_t)sprintf(input + at, "25");
    strcpy(input + at, "2e\"}");
    ck_assert_int_eq(rig_build(&r, &m->plan, input), ALK_EINVAL);
    ck_assert_str_eq(r.why.text, "would leave its segment of the path");
    rig_fini(&r);
    free(input);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openapi paths");
    TCase *tcase = tcase_create("openapi paths");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, values_that_would_leave_their_segment_are_refused, 0,
                        COUNT(leaving));
    tcase_add_loop_test(tcase, parts_of_values_leave_no_more_than_values, 0, COUNT(leaving));
    tcase_add_loop_test(tcase, values_that_stay_are_encoded, 0, COUNT(staying));
    tcase_add_loop_test(tcase, no_value_leaves_any_template_at_any_base, 0, COUNT(staying));
    tcase_add_loop_test(tcase, values_make_no_dots_together, 0, 15);
    tcase_add_test(tcase, a_path_without_a_slash_is_no_part_of_the_host);
    tcase_add_test(tcase, decoding_takes_linear_time);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
