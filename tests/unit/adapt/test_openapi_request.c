/* What requests say of parameters: every style of OpenAPI, and what stands in URLs, headers and cookies. */
#include "unit/adapt/openapi_rig.h"

static struct request_rig r;

/* A plan of /t, or of /{p} for a parameter of the path, and that one parameter. */
struct one {
    struct oas_plan plan;
    struct oas_param param;
    struct oas_piece pieces[2];
};

static struct one *one(uint8_t in, uint8_t style, bool explode)
{
    static struct one o;

    o = (struct one){.plan = {.method = "GET", .base = S(RIG_BASE)}};
    o.param = (struct oas_param){.name = S("color"), .member = S("c"), .in = in, .style = style};
    o.param.explode = explode;
    o.pieces[0] = (struct oas_piece){S("/t"), -1};
    o.plan.pieces = o.pieces;
    o.plan.piece_count = 1;
    if (in == IN_PATH) {
        o.pieces[0].literal = S("/");
        o.pieces[1] = (struct oas_piece){STR_NONE, 0};
        o.plan.piece_count = 2;
    }
    o.plan.params = &o.param;
    o.plan.param_count = 1;
    return &o;
}

/* Where the parameter went: the URL behind /t, a path, or the headers. */
static const char *written(const struct one *o)
{
    if (o->param.in == IN_HEADER || o->param.in == IN_COOKIE)
        return r.headers;
    return rig_target(&r, &o->plan) + (o->param.in == IN_PATH ? 1 : 2);
}

static void check_written(struct one *o, const char *input, const char *expected)
{
    rig_build(&r, &o->plan, input);
    if (expected) {
        ck_assert_msg(r.rc == ALK_OK, "%s: %s %s", input, r.why.path, r.why.text);
        ck_assert_str_eq(written(o), expected);
    } else {
        ck_assert_msg(r.rc == ALK_EINVAL, "%s: %s", input, r.rc ? "?" : written(o));
    }
    rig_fini(&r);
}

/* ---- the table of the specification ------------------------------------------------------------ */

/* expected: of the values below, in their order; NULL: refused. */
static const struct {
    uint8_t in, style;
    bool explode;
    const char *expected[6];
} table[] = {
    {IN_PATH,
     STYLE_MATRIX,
     false,
     {NULL, ";color", ";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150", NULL}},
    {IN_PATH,
     STYLE_MATRIX,
     true,
     {NULL, ";color", ";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150",
      NULL}},
    {IN_PATH,
     STYLE_LABEL,
     false,
     {NULL, NULL, ".blue", ".blue,black,brown", ".R,100,G,200,B,150", NULL}},
    {IN_PATH,
     STYLE_LABEL,
     true,
     {NULL, NULL, ".blue", ".blue.black.brown", ".R=100.G=200.B=150", NULL}},
    {IN_PATH,
     STYLE_SIMPLE,
     false,
     {NULL, NULL, "blue", "blue,black,brown", "R,100,G,200,B,150", NULL}},
    {IN_PATH,
     STYLE_SIMPLE,
     true,
     {NULL, NULL, "blue", "blue,black,brown", "R=100,G=200,B=150", NULL}},
    {IN_HEADER,
     STYLE_SIMPLE,
     false,
     {"", "color: \r\n", "color: blue\r\n", "color: blue,black,brown\r\n",
      "color: R,100,G,200,B,150\r\n", ""}},
    {IN_HEADER,
     STYLE_SIMPLE,
     true,
     {"", "color: \r\n", "color: blue\r\n", "color: blue,black,brown\r\n",
      "color: R=100,G=200,B=150\r\n", ""}},
    {IN_QUERY,
     STYLE_FORM,
     false,
     {"", "?color=", "?color=blue", "?color=blue,black,brown", "?color=R,100,G,200,B,150", ""}},
    {IN_QUERY,
     STYLE_FORM,
     true,
     {"", "?color=", "?color=blue", "?color=blue&color=black&color=brown", "?R=100&G=200&B=150",
      ""}},
    {IN_QUERY,
     STYLE_SPACE,
     false,
     {"", "?color=", "?color=blue", "?color=blue%20black%20brown",
      "?color=R%20100%20G%20200%20B%20150", ""}},
    {IN_QUERY,
     STYLE_SPACE,
     true,
     {"", "?color=", "?color=blue", "?color=blue&color=black&color=brown", "?R=100&G=200&B=150",
      ""}},
    {IN_QUERY,
     STYLE_PIPE,
     false,
     {"", "?color=", "?color=blue", "?color=blue%7Cblack%7Cbrown",
      "?color=R%7C100%7CG%7C200%7CB%7C150", ""}},
    {IN_QUERY,
     STYLE_PIPE,
     true,
     {"", "?color=", "?color=blue", "?color=blue&color=black&color=brown", "?R=100&G=200&B=150",
      ""}},
    {IN_QUERY,
     STYLE_DEEP,
     true,
     {"", "?color=", "?color=blue", "?color=blue&color=black&color=brown",
      "?color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150", ""}},
    {IN_COOKIE,
     STYLE_FORM,
     false,
     {"", "Cookie: color=\r\n", "Cookie: color=blue\r\n", "Cookie: color=blue,black,brown\r\n",
      "Cookie: color=R,100,G,200,B,150\r\n", ""}},
    {IN_COOKIE,
     STYLE_FORM,
     true,
     {"", "Cookie: color=\r\n", "Cookie: color=blue\r\n",
      "Cookie: color=blue; color=black; color=brown\r\n", "Cookie: R=100; G=200; B=150\r\n", ""}},
    {IN_COOKIE,
     STYLE_COOKIE,
     false,
     {"", "Cookie: color=\r\n", "Cookie: color=blue\r\n",
      "Cookie: color=blue; color=black; color=brown\r\n", "Cookie: R=100; G=200; B=150\r\n", ""}},
    {IN_COOKIE,
     STYLE_COOKIE,
     true,
     {"", "Cookie: color=\r\n", "Cookie: color=blue\r\n",
      "Cookie: color=blue; color=black; color=brown\r\n", "Cookie: R=100; G=200; B=150\r\n", ""}},
    {IN_QUERYSTRING, STYLE_FORM, true, {"", "?", "?blue", NULL, "?R=100&G=200&B=150", NULL}},
};

START_TEST(every_style_writes_what_the_specification_says)
{
    static const char *const values[6] = {
        "{\"c\":null}",
        "{\"c\":\"\"}",
        "{\"c\":\"blue\"}",
        "{\"c\":[\"blue\",\"black\",\"brown\"]}",
        "{\"c\":{\"R\":100,\"G\":200,\"B\":150}}",
        "{\"c\":[null]}",
    };

    for (size_t i = 0; i < COUNT(values); i++) {
        /* An array as a whole query means nothing. */
        if (table[_i].in == IN_QUERYSTRING && !table[_i].expected[i])
            continue;
        check_written(one(table[_i].in, table[_i].style, table[_i].explode), values[i],
                      table[_i].expected[i]);
    }
}
END_TEST

START_TEST(a_value_with_content_is_its_json)
{
    static const char input[] =
        "{\"c\":{ \"a\" : [1, 2.50, \"\\u0001\\u00e9\", null, true], \"b\":{}}}";

    check_written(one(IN_QUERY, STYLE_JSON, false), input,
                  "?color=%7B%22a%22%3A%5B1%2C2.50%2C%22%5Cu0001%C3%A9%22%2Cnull%2Ctrue%5D%2C%22b%"
                  "22%3A%7B%7D%7D");
    check_written(one(IN_QUERYSTRING, STYLE_JSON, false), "{\"c\":[1,\"a&b\"]}",
                  "?%5B1%2C%22a%26b%22%5D");
    check_written(one(IN_PATH, STYLE_JSON, false), "{\"c\":[1]}", "%5B1%5D");
    check_written(one(IN_HEADER, STYLE_JSON, false), input,
                  "color: {\"a\":[1,2.50,\"\\u0001\xc3\xa9\",null,true],\"b\":{}}\r\n");
    check_written(one(IN_COOKIE, STYLE_JSON, false), "{\"c\":[1]}", "Cookie: color=%5B1%5D\r\n");
}
END_TEST

START_TEST(scalars_are_their_text)
{
    check_written(
        one(IN_QUERY, STYLE_FORM, true),
        "{\"c\":[\"s\",1,-9223372036854775808,18446744073709551615,1.10,-0,1e400,true,false,null]}",
        "?color=s&color=1&color=-9223372036854775808&color=18446744073709551615&color=1.10&color=-0"
        "&color=1e400&color=true&color=false");
    check_written(one(IN_QUERY, STYLE_FORM, false), "{\"c\":{\"a\":null,\"b\":1,\"c\":null}}",
                  "?color=b,1");
    check_written(one(IN_QUERY, STYLE_FORM, false), "{\"c\":{\"a\":null}}", "");
    check_written(one(IN_QUERY, STYLE_FORM, false), "{\"c\":{}}", "");
    check_written(one(IN_HEADER, STYLE_SIMPLE, true), "{\"c\":[]}", "");
    check_written(one(IN_COOKIE, STYLE_FORM, true), "{\"c\":{}}", "");
}
END_TEST

START_TEST(deep_objects_go_deeper_than_the_specification)
{
    check_written(
        one(IN_QUERY, STYLE_DEEP, false),
        "{\"c\":{\"a\":{\"b\":{\"[x]\":1}},\"list\":[1,null,\"2&\"],\"none\":{},\"nil\":null}}",
        "?color%5Ba%5D%5Bb%5D%5B%5Bx%5D%5D=1&color%5Blist%5D=1&color%5Blist%5D=2%26");
    check_written(one(IN_QUERY, STYLE_DEEP, false), "{\"c\":{\"a\":[[1]]}}", NULL);
    check_written(one(IN_QUERY, STYLE_DEEP, false), "{\"c\":{\"a\":[{\"b\":1}]}}", NULL);
}
END_TEST

START_TEST(what_has_no_form_is_refused_with_its_place)
{
    static const struct {
        uint8_t in, style;
        bool explode;
        const char *input, *path;
    } cases[] = {
        {IN_QUERY, STYLE_FORM, true, "{\"c\":[1,[2]]}", "/c/1"},
        {IN_QUERY, STYLE_FORM, false, "{\"c\":[1,2,{}]}", "/c/2"},
        {IN_PATH, STYLE_SIMPLE, false, "{\"c\":{\"a/~\":{}}}", "/c/a~1~0"},
        {IN_HEADER, STYLE_SIMPLE, true, "{\"c\":{\"a\\u0000\":[1]}}", "/c/a\xef\xbf\xbd"},
        {IN_COOKIE, STYLE_COOKIE, true, "{\"c\":[\"a\",\"b;\"]}", "/c/1"},
        {IN_QUERY, STYLE_DEEP, true, "{\"c\":{\"a\":{\"b\":[0,[]]}}}", "/c/a/b/1"},
        {IN_PATH, STYLE_LABEL, false, "{}", "/c"},
        {IN_PATH, STYLE_LABEL, false, "{\"c\":[]}", "/c"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        rig_build(&r, &one(cases[i].in, cases[i].style, cases[i].explode)->plan, cases[i].input);
        ck_assert_int_eq(r.rc, ALK_EINVAL);
        ck_assert_str_eq(r.why.path, cases[i].path);
        rig_fini(&r);
    }
}
END_TEST

START_TEST(a_required_parameter_has_to_be_there)
{
    for (uint8_t in = IN_PATH; in <= IN_QUERYSTRING; in++) {
        struct one *o = one(in, in == IN_PATH || in == IN_HEADER ? STYLE_SIMPLE : STYLE_FORM, true);

        o->param.required = true;
        check_written(o, NULL, NULL);
        check_written(o, "null", NULL);
        check_written(o, "{}", NULL);
        check_written(o, "{\"c\":null,\"color\":1}", NULL);
        ck_assert_str_eq(r.why.path, "/c");
        ck_assert_str_eq(r.why.text, "is required");
        o->param.required = false;
        if (in != IN_PATH)
            check_written(o, "{\"other\":1}", "");
    }
    check_written(one(IN_QUERY, STYLE_FORM, true), "[]", NULL);
    ck_assert_str_eq(r.why.text, "must be an object");
}
END_TEST

/* ---- queries ----------------------------------------------------------------------------------- */

START_TEST(all_but_unreserved_characters_are_encoded_in_a_query)
{
    struct one *o = one(IN_QUERY, STYLE_FORM, false);

    check_written(
        o, "{\"c\":\"az AZ09-._~:/?#[]@!$&'()*+,;=%\\\"<>\\\\^`{|}\\u0000\\r\\n\\u00e9\\u007f\"}",
        "?color=az%20AZ09-._~%3A%2F%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2B%2C%3B%3D%25%22%3C%3E%5C%"
        "5E%60"
        "%7B%7C%7D%00%0D%0A%C3%A9%7F");
    check_written(o, "{\"c\":[\"a,b\",\"c\"]}", "?color=a%2Cb,c");
    check_written(o, "{\"c\":{\"a&b=\":\"=\"}}", "?color=a%26b%3D,%3D");
    o->param.explode = true;
    check_written(o, "{\"c\":{\"a&b=\":\"&x=1\"}}", "?a%26b%3D=%26x%3D1");
    o->param.name = S("a b&c[]=");
    check_written(o, "{\"c\":1}", "?a%20b%26c%5B%5D%3D=1");
    o->param.style = STYLE_DEEP;
    check_written(o, "{\"c\":{\"]=\":1}}", "?a%20b%26c%5B%5D%3D%5B%5D%3D%5D=1");
}
END_TEST

START_TEST(reserved_characters_that_are_allowed_change_no_structure)
{
    struct one *o = one(IN_QUERY, STYLE_FORM, true);

    o->param.reserved = true;
    check_written(o, "{\"c\":\":/?#[]@!$&'()*+,;= %41%zz%e%\"}",
                  "?color=:/?%23%5B%5D@!$%26'()*%2B,;%3D%20%41%25zz%25e%25");
    check_written(o, "{\"c\":{\"a/b\":\"c/d\"}}", "?a%2Fb=c/d");
    o->param.explode = false;
    check_written(o, "{\"c\":[\"a,b\",\"c/d\"]}", "?color=a%2Cb,c/d");
    check_written(o, "{\"c\":\"a,b\"}", "?color=a,b");
    o = one(IN_PATH, STYLE_SIMPLE, true);
    o->param.reserved = true;
    check_written(o, "{\"c\":\"a/b\"}", "a%2Fb");
}
END_TEST

/* No import makes them. */
START_TEST(a_style_that_its_place_does_not_have_lets_nothing_out)
{
    check_written(one(IN_QUERY, STYLE_COOKIE, true), "{\"c\":\"a&b#c\"}", "?color=a%26b%23c");
    check_written(one(IN_QUERY, STYLE_MATRIX, true), "{\"c\":[\"\",\"&\"]}", "?color=&color=%26");
    check_written(one(IN_QUERYSTRING, STYLE_MATRIX, true), "{\"c\":\"a&b\"}", "?a%26b");
    check_written(one(IN_PATH, STYLE_COOKIE, true), "{\"c\":\"a/../b\"}", NULL);
    check_written(one(IN_PATH, STYLE_DEEP, true), "{\"c\":{\"a\":\"/\"}}", "a=%2F");
    check_written(one(IN_HEADER, STYLE_COOKIE, true), "{\"c\":\"a\\n\"}", NULL);
}
END_TEST

START_TEST(a_query_may_be_one_value)
{
    check_written(
        one(IN_QUERYSTRING, STYLE_FORM, true),
        "{\"c\":{\"a b\":\"c&d\",\"list\":[1,{\"x\":[null]},null],\"o\":{\"y\":1},\"n\":null}}",
        "?a%20b=c%26d&list=1&list=%7B%22x%22%3A%5Bnull%5D%7D&o=%7B%22y%22%3A1%7D");
    check_written(one(IN_QUERYSTRING, STYLE_FORM, true), "{\"c\":\"x=1&y#\"}", "?x%3D1%26y%23");
}
END_TEST

/* ---- headers ----------------------------------------------------------------------------------- */

START_TEST(nothing_gets_out_of_a_header)
{
    static const char *const bad[] = {"a\\r\\nX-Evil: 1", "a\\n", "\\r",     "\\u0000",
                                      "a\\u0001b",        "\\t",  "\\u007f", "\\u001f"};
    char input[64];

    for (size_t i = 0; i < COUNT(bad); i++) {
        snprintf(input, sizeof input, "{\"c\":\"%s\"}", bad[i]);
        check_written(one(IN_HEADER, STYLE_SIMPLE, false), input, NULL);
        snprintf(input, sizeof input, "{\"c\":[\"a\",\"%s\"]}", bad[i]);
        check_written(one(IN_HEADER, STYLE_SIMPLE, false), input, NULL);
        snprintf(input, sizeof input, "{\"c\":{\"%s\":1}}", bad[i]);
        check_written(one(IN_HEADER, STYLE_SIMPLE, true), input, NULL);
    }
    check_written(one(IN_HEADER, STYLE_SIMPLE, false), "{\"c\":\" a\"}", NULL);
    check_written(one(IN_HEADER, STYLE_SIMPLE, false), "{\"c\":[\"a\",\"b \"]}", NULL);
    check_written(one(IN_HEADER, STYLE_JSON, false), "{\"c\":\"\\u007f\"}", NULL);
    check_written(one(IN_HEADER, STYLE_SIMPLE, false), "{\"c\":\"a b: \\\"\xc3\xa9\\\"; q=0\"}",
                  "color: a b: \"\xc3\xa9\"; q=0\r\n");
}
END_TEST

START_TEST(a_document_names_no_header_that_is_not_its_own)
{
    static const char *const refused[] = {
        "",
        "a b",
        "a:",
        "a\r\n",
        "\xc3\xa9",
        "Accept",
        "Content-Type",
        "authorization",
        "HOST",
        "Content-Length",
        "Content_Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Proxy-Authorization",
        "proxy_connection",
        "Cookie",
        "Set-Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "x_forwarded_host",
        "X-Real-IP",
        "X-HTTP-Method-Override",
        "X-Original-URL",
        "HTTP2-Settings",
        "traceparent",
        "User-Agent",
        "Accept-Encoding",
    };
    static const char *const allowed[] = {
        "X-Request-Id", "If-Match", "Accept-Language", "X-Forward", "Hosts",
        "Cookies",      "Prox",     "Idempotency-Key", "Range",     "a"};

    for (size_t i = 0; i < COUNT(refused); i++)
        ck_assert_msg(!oas_header_allowed(str_of(refused[i])), "%s", refused[i]);
    for (size_t i = 0; i < COUNT(allowed); i++)
        ck_assert_msg(oas_header_allowed(str_of(allowed[i])), "%s", allowed[i]);
}
END_TEST

START_TEST(the_headers_of_the_plan_come_once)
{
    struct one *o = one(IN_HEADER, STYLE_SIMPLE, false);

    o->plan.headers = S("Accept: application/json\r\nColor: red\r\nContent-Type: x/y\r\n");
    check_written(o, "{\"c\":\"blue\"}",
                  "Accept: application/json\r\nColor: red\r\nContent-Type: x/y\r\n");
    o->plan.body = BODY_TEXT;
    o->plan.content_type = S("text/plain");
    check_written(o, "{\"body\":\"b\"}",
                  "Accept: application/json\r\nColor: red\r\nContent-Type: text/plain\r\n");
    o = one(IN_COOKIE, STYLE_FORM, true);
    o->plan.headers = S("cookie:  a=1 \r\nAccept: */*\r\n");
    check_written(o, "{\"c\":\"blue\"}", "Accept: */*\r\nCookie: a=1; color=blue\r\n");
    check_written(o, "{}", "Accept: */*\r\nCookie: a=1\r\n");
}
END_TEST

/* ---- cookies ----------------------------------------------------------------------------------- */

START_TEST(nothing_gets_out_of_a_cookie)
{
    static const char *const bad[] = {";",   ",",      "\\\"",    "\\\\",    " ",
                                      "\\t", "\\r\\n", "\\u0000", "\\u007f", "\\u00e9"};
    char input[64];

    for (size_t i = 0; i < COUNT(bad); i++) {
        snprintf(input, sizeof input, "{\"c\":\"a%s\"}", bad[i]);
        check_written(one(IN_COOKIE, STYLE_COOKIE, true), input, NULL);
        snprintf(input, sizeof input, "{\"c\":{\"a%s\":1}}", bad[i]);
        check_written(one(IN_COOKIE, STYLE_COOKIE, true), input, NULL);
    }
    check_written(one(IN_COOKIE, STYLE_COOKIE, true), "{\"c\":{\"a=b\":1}}", NULL);
    check_written(one(IN_COOKIE, STYLE_COOKIE, true), "{\"c\":{\"\":1}}", NULL);
    check_written(one(IN_COOKIE, STYLE_COOKIE, true), "{\"c\":\"Hello%2C%20world!=\"}",
                  "Cookie: color=Hello%2C%20world!=\r\n");
    check_written(one(IN_COOKIE, STYLE_FORM, true), "{\"c\":\"Hello, world!;\\r\\n\"}",
                  "Cookie: color=Hello%2C%20world%21%3B%0D%0A\r\n");
    check_written(one(IN_COOKIE, STYLE_FORM, true), "{\"c\":{\"a; b\":\"=\"}}",
                  "Cookie: a%3B%20b=%3D\r\n");
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------------ */

static char *long_input(size_t n, char c)
{
    char *input = malloc(n + 16);

    must(input);
    memcpy(input, "{\"c\":\"", 6);
    memset(input + 6, c, n);
    strcpy(input + 6 + n, "\"}");
    return input;
}

START_TEST(what_is_too_long_is_refused_before_it_is_made)
{
    static const struct {
        uint8_t in, style;
        size_t head; /* what stands around the value, of the limit */
    } cases[] = {
        {IN_QUERY, STYLE_FORM, sizeof RIG_BASE - 1 + 9 + 1},
        {IN_PATH, STYLE_SIMPLE, sizeof RIG_BASE - 1 + 1 + 1},
        {IN_HEADER, STYLE_SIMPLE, 7 + 2},
        {IN_COOKIE, STYLE_FORM, 14 + 2},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct one *o = one(cases[i].in, cases[i].style, false);
        char *input = long_input(OAS_URL_MAX - 1 - cases[i].head, 'a');

        ck_assert_int_eq(rig_build(&r, &o->plan, input), ALK_OK);
        rig_fini(&r);
        free(input);
        input = long_input(OAS_URL_MAX - cases[i].head, 'a');
        ck_assert_int_eq(rig_build(&r, &o->plan, input), ALK_EINVAL);
        ck_assert_str_eq(r.why.text, "is too long to be sent");
        rig_fini(&r);
        free(input);
        input = long_input(20000000, '/');
        ck_assert_int_eq(rig_build(&r, &o->plan, input), ALK_EINVAL);
        ck_assert_uint_lt(r.memory.largest, 4 * OAS_URL_MAX);
        rig_fini(&r);
        free(input);
    }
}
END_TEST

START_TEST(repeated_names_stay_within_the_limit)
{
    struct one *o = one(IN_QUERY, STYLE_DEEP, false);
    size_t n = 2000000, at = 0;
    char *input = malloc(n + 100);

    must(input);
    at += (size_t)sprintf(input, "{\"c\":{\"");
    memset(input + at, 'k', 40000);
    at += 40000;
    at += (size_t)sprintf(input + at, "\":[1");
    while (at < n)
        at += (size_t)sprintf(input + at, ",1");
    strcpy(input + at, "]}}");
    check_written(o, input, NULL);
    ck_assert_uint_lt(r.memory.largest, 4 * OAS_URL_MAX);
    free(input);
}
END_TEST

START_TEST(values_as_deep_as_json_may_be_are_written)
{
    char input[20000];
    size_t at = (size_t)sprintf(input, "{\"c\":");

    for (int i = 0; i < 1022; i++)
        at += (size_t)sprintf(input + at, "{\"a\":");
    at += (size_t)sprintf(input + at, "1");
    memset(input + at, '}', 1023);
    input[at + 1023] = 0;
    ck_assert_int_eq(rig_build(&r, &one(IN_QUERY, STYLE_DEEP, false)->plan, input), ALK_OK);
    rig_fini(&r);
    ck_assert_int_eq(rig_build(&r, &one(IN_QUERY, STYLE_JSON, false)->plan, input), ALK_OK);
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openapi request");
    TCase *tcase = tcase_create("openapi request");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tcase, every_style_writes_what_the_specification_says, 0, COUNT(table));
    tcase_add_test(tcase, a_value_with_content_is_its_json);
    tcase_add_test(tcase, scalars_are_their_text);
    tcase_add_test(tcase, deep_objects_go_deeper_than_the_specification);
    tcase_add_test(tcase, what_has_no_form_is_refused_with_its_place);
    tcase_add_test(tcase, a_required_parameter_has_to_be_there);
    tcase_add_test(tcase, all_but_unreserved_characters_are_encoded_in_a_query);
    tcase_add_test(tcase, reserved_characters_that_are_allowed_change_no_structure);
    tcase_add_test(tcase, a_style_that_its_place_does_not_have_lets_nothing_out);
    tcase_add_test(tcase, a_query_may_be_one_value);
    tcase_add_test(tcase, nothing_gets_out_of_a_header);
    tcase_add_test(tcase, a_document_names_no_header_that_is_not_its_own);
    tcase_add_test(tcase, the_headers_of_the_plan_come_once);
    tcase_add_test(tcase, nothing_gets_out_of_a_cookie);
    tcase_add_test(tcase, what_is_too_long_is_refused_before_it_is_made);
    tcase_add_test(tcase, repeated_names_stay_within_the_limit);
    tcase_add_test(tcase, values_as_deep_as_json_may_be_are_written);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
