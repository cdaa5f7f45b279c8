/* What requests carry: bodies of each kind, and the credentials of a call, which nothing in an input can take the place of. */
#include "unit/adapt/openapi_rig.h"

static struct request_rig r;

static struct oas_plan plan_of(uint8_t body, const char *content_type)
{
    static const struct oas_piece piece = {INIT("/t"), -1};

    return (struct oas_plan){.method = "POST",
                             .base = S(RIG_BASE),
                             .pieces = &piece,
                             .piece_count = 1,
                             .body = body,
                             .content_type = str_of(content_type)};
}

/* expected NULL: refused, at that place. */
static void check_body(const struct oas_plan *plan, const char *input, const char *expected,
                       const char *place)
{
    rig_build(&r, plan, input);
    if (expected) {
        ck_assert_msg(r.rc == ALK_OK, "%s: %s %s", input, r.why.path, r.why.text);
        ck_assert(r.rq.has_body);
        ck_assert_uint_eq(r.rq.body.len, strlen(expected));
        ck_assert_msg(!*expected || !memcmp(buf_at(&r.rq.body), expected, strlen(expected)), "%.*s",
                      (int)r.rq.body.len, buf_at(&r.rq.body));
    } else {
        ck_assert_msg(r.rc == ALK_EINVAL, "%s", input);
        ck_assert(!place || !strcmp(r.why.path, place));
    }
    rig_fini(&r);
}

/* ---- bodies ------------------------------------------------------------------------------------ */

START_TEST(a_json_body_is_compact_and_exact)
{
    struct oas_plan plan = plan_of(BODY_JSON, "application/vnd.x+json");

    check_body(
        &plan,
        "{\"body\": { \"a\" : [ 1.10, -0, 1e400, 18446744073709551615, \"\\u0000\\\"\\u00e9/\" ], "
        "\"\": [] , \"b\": {} } }",
        "{\"a\":[1.10,-0,1e400,18446744073709551615,\"\\u0000\\\"\xc3\xa9/\"],\"\":[],\"b\":{}}",
        NULL);
    ck_assert_str_eq(r.headers, "Content-Type: application/vnd.x+json\r\n");
    check_body(&plan, "{\"body\":null}", "null", NULL);
    check_body(&plan, "{\"body\":false}", "false", NULL);
    check_body(&plan, "{\"body\":\"x\"}", "\"x\"", NULL);
}
END_TEST

START_TEST(no_body_is_no_body)
{
    static const char *const inputs[] = {NULL, "{}", "{\"body\":null}"};

    for (uint8_t body = BODY_NONE; body <= BODY_BINARY; body++) {
        struct oas_plan plan = plan_of(body, "x/y");

        for (size_t i = 0; i < COUNT(inputs); i++) {
            ck_assert_int_eq(rig_build(&r, &plan, inputs[i]), ALK_OK);
            ck_assert_int_eq(r.rq.has_body, body == BODY_JSON && i == 2);
            ck_assert(r.rq.has_body || !*r.headers);
            rig_fini(&r);
        }
    }
}
END_TEST

START_TEST(a_form_is_encoded_as_the_document_says)
{
    static const struct oas_part parts[] = {
        {.name = INIT("pipes"), .style = STYLE_PIPE},
        {.name = INIT("comma"), .style = STYLE_FORM},
        {.name = INIT("out"), .style = STYLE_FORM, .explode = true},
        {.name = INIT("deep"), .style = STYLE_DEEP},
        {.name = INIT("free"), .style = STYLE_FORM, .explode = true, .reserved = true},
        {.name = INIT("json"), .json = true},
    };
    struct oas_plan plan = plan_of(BODY_FORM, "application/x-www-form-urlencoded");

    check_body(&plan,
               "{\"body\":{\"a b\":\"c&d=e+f "
               "g\",\"n\":1.50,\"nil\":null,\"l\":[1,null,{\"x\":1}],\"o\":{\"y\":[]}}}",
               "a%20b=c%26d%3De%2Bf%20g&n=1.50&l=1&l=%7B%22x%22%3A1%7D&o=%7B%22y%22%3A%5B%5D%7D",
               NULL);
    ck_assert_str_eq(r.headers, "Content-Type: application/x-www-form-urlencoded\r\n");
    plan.parts = parts;
    plan.part_count = COUNT(parts);
    check_body(&plan,
               "{\"body\":{\"pipes\":[1,2],\"comma\":[\"a,\",\"b\"],\"out\":{\"x\":1,\"y\":\"&\"},"
               "\"deep\":{\"z\":1},"
               "\"free\":\"a/b&\",\"json\":[1,2]}}",
               "pipes=1%7C2&comma=a%2C,b&x=1&y=%26&deep%5Bz%5D=1&free=a/b%26&json=%5B1%2C2%5D",
               NULL);
    check_body(&plan, "{\"body\":{}}", "", NULL);
    check_body(&plan, "{\"body\":[1]}", NULL, "/body");
    check_body(&plan, "{\"body\":{\"comma\":[1,[2]]}}", NULL, "/body/comma/1");
}
END_TEST

#define PART(name, type, value)                                                                    \
    "--" RIG_BOUNDARY "\r\nContent-Disposition: form-data; name=\"" name                           \
    "\"\r\nContent-Type: " type "\r\n\r\n" value "\r\n"
#define END "--" RIG_BOUNDARY "--\r\n"
#define TEXT_TYPE "text/plain; charset=utf-8"

START_TEST(a_multipart_body_has_a_part_for_each_value)
{
    static const struct oas_part parts[] = {
        {.name = INIT("file"), .binary = true},
        {.name = INIT("image"), .binary = true, .content_type = INIT("image/png")},
        {.name = INIT("meta"), .json = true, .content_type = INIT("application/x+json")},
        {.name = INIT("note"), .content_type = INIT("text/markdown")},
    };
    struct oas_plan plan = plan_of(BODY_MULTIPART, "multipart/form-data");

    check_body(
        &plan,
        "{\"body\":{\"a\":\"b\",\"n\":7,\"l\":[\"x\",null,[1],{\"y\":2}],\"o\":{},\"nil\":null}}",
        PART("a", TEXT_TYPE, "b") PART("n", TEXT_TYPE, "7") PART("l", TEXT_TYPE, "x")
            PART("l", "application/json", "[1]") PART("l", "application/json", "{\"y\":2}")
                PART("o", "application/json", "{}") END,
        NULL);
    ck_assert_str_eq(r.headers, "Content-Type: multipart/form-data; boundary=" RIG_BOUNDARY "\r\n");
    plan.parts = parts;
    plan.part_count = COUNT(parts);
    check_body(&plan,
               "{\"body\":{\"file\":[\"AQID\",\"\"],\"image\":\"DQo\",\"meta\":[1, "
               "\"x\"],\"note\":\"# \\r\\n--\"}}",
               PART("file\"; filename=\"file", "application/octet-stream", "\1\2\3")
                   PART("file\"; filename=\"file", "application/octet-stream", "")
                       PART("image\"; filename=\"image", "image/png", "\r\n")
                           PART("meta", "application/x+json", "[1,\"x\"]")
                               PART("note", "text/markdown", "# \r\n--") END,
               NULL);
    check_body(&plan, "{\"body\":{}}", END, NULL);
    check_body(&plan, "{\"body\":\"x\"}", NULL, "/body");
    check_body(&plan, "{\"body\":{\"file\":\"*\"}}", NULL, "/body/file");
    check_body(&plan, "{\"body\":{\"file\":[\"AQID\",\"A\"]}}", NULL, "/body/file/1");
    check_body(&plan, "{\"body\":{\"image\":{}}}", NULL, "/body/image");
}
END_TEST

START_TEST(no_name_gets_out_of_a_part)
{
    struct oas_plan plan = plan_of(BODY_MULTIPART, "multipart/form-data");

    check_body(
        &plan, "{\"body\":{\"a\\\"; filename=\\\"x\\r\\n\\r\\n--\\u0000\\u007f%22\\\\\\u00e9\":1}}",
        PART("a%22; filename=%22x%0D%0A%0D%0A--%00%7F%22\\\xc3\xa9", TEXT_TYPE, "1") END, NULL);
}
END_TEST

START_TEST(text_and_bytes_are_sent_as_they_are)
{
    struct oas_plan plan = plan_of(BODY_TEXT, "text/csv");

    check_body(&plan, "{\"body\":\"a,b\\r\\n\\u00e9\"}", "a,b\r\n\xc3\xa9", NULL);
    ck_assert_str_eq(r.headers, "Content-Type: text/csv\r\n");
    check_body(&plan, "{\"body\":12}", "12", NULL);
    check_body(&plan, "{\"body\":\"\"}", "", NULL);
    check_body(&plan, "{\"body\":[]}", NULL, "/body");
    plan = plan_of(BODY_BINARY, "image/png");
    check_body(&plan, "{\"body\":\"aGk=\"}", "hi", NULL);
    check_body(&plan, "{\"body\":\"aGk\"}", "hi", NULL);
    check_body(&plan, "{\"body\":\"\"}", "", NULL);
    check_body(&plan, "{\"body\":\"a?==\"}", NULL, "/body");
    ck_assert_str_eq(r.why.text, "is not base64");
    check_body(&plan, "{\"body\":7}", NULL, "/body");
}
END_TEST

/* A name is repeated for each item of its array: a short input is a long body. */
START_TEST(a_body_stays_within_its_limit)
{
    struct oas_plan plan = plan_of(BODY_FORM, "application/x-www-form-urlencoded");
    size_t at;
    char *input = malloc(700000);

    must(input);
    for (plan.body = BODY_FORM; plan.body <= BODY_MULTIPART; plan.body++) {
        at = (size_t)sprintf(input, "{\"body\":{\"");
        memset(input + at, 'k', 100000);
        at += 100000;
        at += (size_t)sprintf(input + at, "\":[1");
        while (at < 600000)
            at += (size_t)sprintf(input + at, ",1");
        strcpy(input + at, "]}}");
        check_body(&plan, input, NULL, NULL);
        ck_assert_str_eq(r.why.text, "is too long to be sent");
        ck_assert_uint_le(r.memory.largest, 2 * OAS_BODY_MAX);
    }
    free(input);
}
END_TEST

/* ---- credentials ------------------------------------------------------------------------------- */

static const struct oas_credential
    bearer = {.show = SHOW_BEARER, .scheme = "s/bearer", .otherwise = "s"},
    basic = {.show = SHOW_BASIC, .scheme = "s/basic"},
    header = {.show = SHOW_KEY, .in = IN_HEADER, .name = INIT("X-Key"), .scheme = "s/header"},
    query = {.show = SHOW_KEY, .in = IN_QUERY, .name = INIT("key"), .scheme = "s/query"},
    cookie = {.show = SHOW_KEY, .in = IN_COOKIE, .name = INIT("sid"), .scheme = "s/cookie"};

static void check_shown(const struct oas_plan *plan, const char *input, const char *const *secrets,
                        const char *target, const char *headers)
{
    rig_build_short(&r, plan, input, secrets, 0);
    ck_assert_msg(r.rc == ALK_OK, "%s %s", r.why.path, r.why.text);
    ck_assert_str_eq(rig_target(&r, plan), target);
    ck_assert_str_eq(r.headers, headers);
    rig_fini(&r);
}

START_TEST(a_secret_is_shown_as_its_scheme_says)
{
    static const char *const secrets[] = {"s/bearer=tok",  "s/basic=Aladdin:open sesame",
                                          "s/header=k/1",  "s/query=a&b=/+",
                                          "s/cookie=c%/=", NULL};
    static const char *const otherwise[] = {"s=fallback", NULL};
    struct oas_requirement one = {&bearer, 1};
    struct oas_plan plan = plan_of(BODY_NONE, NULL);

    plan.security = &one;
    plan.security_count = 1;
    check_shown(&plan, NULL, secrets, "/t", "Authorization: Bearer tok\r\n");
    check_shown(&plan, NULL, otherwise, "/t", "Authorization: Bearer fallback\r\n");
    one.credentials = &basic;
    check_shown(&plan, NULL, secrets, "/t",
                "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n");
    check_shown(&plan, NULL, otherwise, "/t", "");
    one.credentials = &header;
    check_shown(&plan, NULL, secrets, "/t", "X-Key: k/1\r\n");
    one.credentials = &query;
    check_shown(&plan, NULL, secrets, "/t?key=a%26b%3D%2F%2B", "");
    one.credentials = &cookie;
    check_shown(&plan, NULL, secrets, "/t", "Cookie: sid=c%/=\r\n");
}
END_TEST

START_TEST(the_first_alternative_whose_secrets_are_there_is_used)
{
    const struct oas_credential both[] = {header, query};
    const struct oas_requirement security[] = {{NULL, 0}, {both, 2}, {&cookie, 1}, {&bearer, 1}};
    static const char *const all[] = {"s/header=h", "s/query=q", "s/cookie=c", "s/bearer=b", NULL};
    static const char *const half[] = {"s/header=h", "s/cookie=", "s/bearer=b", NULL};
    static const char *const none[] = {"other=x", NULL};
    struct oas_plan plan = plan_of(BODY_NONE, NULL);

    plan.security = security;
    plan.security_count = COUNT(security);
    check_shown(&plan, NULL, all, "/t?key=q", "X-Key: h\r\n");
    check_shown(&plan, NULL, half, "/t", "Authorization: Bearer b\r\n");
    check_shown(&plan, NULL, none, "/t", "");
}
END_TEST

START_TEST(nothing_of_an_input_stands_where_a_credential_does)
{
    const struct oas_credential three[] = {header, query, cookie};
    const struct oas_requirement security = {three, 3};
    static const char *const secrets[] = {"s/header=h", "s/query=q", "s/cookie=c", NULL};
    static const struct oas_param params[] = {
        {.name = INIT("x_key"), .member = INIT("h"), .in = IN_HEADER, .style = STYLE_SIMPLE},
        {.name = INIT("KEY"), .member = INIT("q"), .in = IN_QUERY, .style = STYLE_FORM},
        {.name = INIT("list"),
         .member = INIT("l"),
         .in = IN_QUERY,
         .style = STYLE_FORM,
         .explode = true},
        {.name = INIT("sid"), .member = INIT("c"), .in = IN_COOKIE, .style = STYLE_FORM},
        {.name = INIT("raw"), .member = INIT("r"), .in = IN_COOKIE, .style = STYLE_COOKIE},
        {.name = INIT("all"), .member = INIT("s"), .in = IN_QUERYSTRING, .style = STYLE_FORM},
    };
    struct oas_plan plan = plan_of(BODY_NONE, NULL);

    plan.security = &security;
    plan.security_count = 1;
    plan.params = params;
    plan.param_count = COUNT(params);
    plan.headers = S("x-key: default\r\nA: b\r\n");
    check_shown(
        &plan,
        "{\"h\":\"evil\",\"q\":[\"e\",\"v\"],\"l\":{\"key\":1,\"b\":2,\"Key\":3},\"c\":\"evil\","
        "\"r\":{\"x\":1,\"SID\":2},\"s\":{\"key\":[1,2],\"z\":3}}",
        secrets, "/t?b=2&z=3&key=q", "A: b\r\nX-Key: h\r\nCookie: x=1; sid=c\r\n");
    plan.headers = STR_NONE;
    check_shown(&plan, "{\"h\":\"evil\",\"s\":\"KEY\"}", secrets, "/t?key=q",
                "X-Key: h\r\nCookie: sid=c\r\n");
    plan.headers = S("x-key: default\r\nA: b\r\n");
    check_shown(&plan, "{\"h\":\"mine\",\"q\":1,\"c\":2}", NULL, "/t?KEY=1",
                "x-key: default\r\nA: b\r\nCookie: sid=2\r\n");
}
END_TEST

START_TEST(a_required_parameter_is_there_when_its_credential_is)
{
    static const struct oas_credential three[] = {
        {.show = SHOW_KEY, .in = IN_HEADER, .name = INIT("X-Key"), .scheme = "s"},
        {.show = SHOW_KEY, .in = IN_QUERY, .name = INIT("key"), .scheme = "s"},
        {.show = SHOW_KEY, .in = IN_COOKIE, .name = INIT("sid"), .scheme = "s"}};
    static const struct oas_requirement security = {three, 3};
    static const struct oas_param params[] = {
        {.name = INIT("X-Key"), .member = INIT("h"), .in = IN_HEADER, .required = true},
        {.name = INIT("key"),
         .member = INIT("q"),
         .in = IN_QUERY,
         .style = STYLE_FORM,
         .required = true},
        {.name = INIT("sid"),
         .member = INIT("c"),
         .in = IN_COOKIE,
         .style = STYLE_FORM,
         .required = true},
    };
    static const char *const secrets[] = {"s=q", NULL};
    struct oas_plan plan = plan_of(BODY_NONE, NULL);

    plan.security = &security;
    plan.security_count = 1;
    plan.params = params;
    plan.param_count = COUNT(params);
    check_shown(&plan, "{}", secrets, "/t?key=q", "X-Key: q\r\nCookie: sid=q\r\n");
    ck_assert_int_eq(rig_build(&r, &plan, "{}"), ALK_EINVAL);
    rig_fini(&r);
}
END_TEST

START_TEST(a_deep_name_is_no_credential_either)
{
    static const struct oas_credential odd = {
        .show = SHOW_KEY, .in = IN_QUERY, .name = INIT("a[key]"), .scheme = "s"};
    static const struct oas_requirement security = {&odd, 1};
    static const struct oas_param param = {
        .name = INIT("a"), .member = INIT("a"), .in = IN_QUERY, .style = STYLE_DEEP};
    static const char *const secrets[] = {"s=q", NULL};
    struct oas_plan plan = plan_of(BODY_NONE, NULL);

    plan.security = &security;
    plan.security_count = 1;
    plan.params = &param;
    plan.param_count = 1;
    check_shown(&plan, "{\"a\":{\"key\":1,\"b\":2}}", secrets, "/t?a%5Bb%5D=2&a%5Bkey%5D=q", "");
}
END_TEST

START_TEST(a_secret_that_cannot_be_sent_is_not_told)
{
    static const char *const bad[] = {"geheim\n", "ge\r\nheim: x", "geheim\x7f",
                                      "geheim\t", " geheim",       "geheim "};
    static const char *const bad_cookies[] = {"geheim;",  "ge,heim",  "ge heim",
                                              "geheim\"", "geheim\\", "geheim\xc3\xa9"};
    const struct oas_credential *all[] = {&bearer, &basic, &header, &query, &cookie};
    struct oas_plan plan = plan_of(BODY_NONE, NULL);
    struct oas_requirement one = {NULL, 1};

    plan.security = &one;
    plan.security_count = 1;
    for (size_t i = 0; i < COUNT(all) * COUNT(bad); i++) {
        char secret[64];
        const char *const secrets[] = {secret, NULL};

        for (int cookies = 0; cookies < 2; cookies++) {
            one.credentials = cookies ? &cookie : all[i % COUNT(all)];
            snprintf(secret, sizeof secret, "%s=%s", one.credentials->scheme,
                     (cookies ? bad_cookies : bad)[i / COUNT(all)]);
            ck_assert_int_eq(rig_build_short(&r, &plan, NULL, secrets, 0), ALK_EINVAL);
            ck_assert_ptr_null(strstr(r.why.text, "heim"));
            ck_assert_ptr_nonnull(strstr(r.why.text, one.credentials->scheme));
            ck_assert_str_eq(r.why.path, "");
            rig_fini(&r);
        }
    }
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------------ */

static const char everything[] = "{\"p\":\"a/"
                                 "b\",\"q\":{\"x\":[1,{\"y\":2}]},\"h\":[\"a\",\"b\"],\"c\":\"d\","
                                 "\"body\":{\"file\":\"AQID\",\"o\":{\"k\":[1]}}}";

static struct oas_plan plan_of_everything(void)
{
    static const struct oas_part part = {.name = INIT("file"), .binary = true};
    static const struct oas_piece pieces[] = {{INIT("/x/"), -1}, {{NULL, 0}, 0}};
    static const struct oas_param params[] = {
        {.name = INIT("p"), .member = INIT("p"), .in = IN_PATH, .style = STYLE_SIMPLE},
        {.name = INIT("q"), .member = INIT("q"), .in = IN_QUERY, .style = STYLE_JSON},
        {.name = INIT("h"), .member = INIT("h"), .in = IN_HEADER, .style = STYLE_SIMPLE},
        {.name = INIT("c"), .member = INIT("c"), .in = IN_COOKIE, .style = STYLE_FORM},
    };
    static const struct oas_requirement security = {&basic, 1};
    struct oas_plan plan = plan_of(BODY_MULTIPART, "multipart/form-data");

    plan.pieces = pieces;
    plan.piece_count = COUNT(pieces);
    plan.params = params;
    plan.param_count = COUNT(params);
    plan.parts = &part;
    plan.part_count = 1;
    plan.security = &security;
    plan.security_count = 1;
    return plan;
}

START_TEST(want_of_memory_is_told_and_nothing_leaks)
{
    static const char *const secrets[] = {"s/basic=a:b", NULL};
    struct oas_plan plan = plan_of_everything();
    bool failed = true;

    for (long n = 1; failed; n++) {
        int rc = rig_build_short(&r, &plan, everything, secrets, n);

        failed = r.memory.failed;
        ck_assert_int_eq(rc, failed ? ALK_ENOMEM : ALK_OK);
        ck_assert(failed || n > 4);
        rig_fini(&r);
    }
}
END_TEST

MAIN("openapi body", a_json_body_is_compact_and_exact, no_body_is_no_body,
     a_form_is_encoded_as_the_document_says, a_multipart_body_has_a_part_for_each_value,
     no_name_gets_out_of_a_part, text_and_bytes_are_sent_as_they_are, a_body_stays_within_its_limit,
     a_secret_is_shown_as_its_scheme_says, the_first_alternative_whose_secrets_are_there_is_used,
     nothing_of_an_input_stands_where_a_credential_does,
     a_required_parameter_is_there_when_its_credential_is, a_deep_name_is_no_credential_either,
     a_secret_that_cannot_be_sent_is_not_told, want_of_memory_is_told_and_nothing_leaks)
