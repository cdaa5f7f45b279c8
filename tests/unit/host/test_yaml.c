/* YAML to JSON text: what scalars are, what documents become, what is refused and why, lines, and
 * that neither aliases nor anchors nor depth cost more than the limits say. */
#include "host/yaml.h"

#include "base/json.h"
#include "support/memory.h"
#include "support/suite.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

struct pair {
    const char *in, *out;
};

static const struct yaml_limits limits = {
    .depth = 8,
    .values = 1000,
    .anchors = 20,
    .alias_values = 500,
    .bytes = 10000,
    .alias_bytes = 5000,
};

static void check_text(const char *in, const char *want)
{
    struct memory memory = {0};
    struct yaml_error err = {0, ""};
    struct yaml_text t;
    struct mem mem;
    int rc;

    mem_init(&mem, memory_realloc, &memory);
    rc = yaml_read(&t, &mem, in, strlen(in), &limits, true, true, &err);
    ck_assert_msg(rc == 0, "%s: %s", in, err.text);
    ck_assert_msg(t.json.len == strlen(want) && !memcmp(buf_at(&t.json), want, t.json.len),
                  "%s: got %.*s, want %s", in, (int)t.json.len, buf_at(&t.json), want);
    ck_assert(json_compact(buf_at(&t.json), t.json.len));
    yaml_fini(&t);
    ck_assert_uint_eq(memory.live, 0);
}

/* want begins with the line. */
static void check_refused_by(const struct yaml_limits *l, const char *in, size_t len,
                             const char *want)
{
    struct memory memory = {0};
    struct yaml_error err = {0, ""};
    struct yaml_text t;
    struct mem mem;
    char says[256];
    int rc;

    mem_init(&mem, memory_realloc, &memory);
    rc = yaml_read(&t, &mem, in, len, l, true, false, &err);
    yaml_fini(&t);
    ck_assert_msg(rc == ALK_EJSON, "%.60s: %d", in, rc);
    snprintf(says, sizeof says, "%u: %s", err.line, err.text);
    ck_assert_msg(!strncmp(says, want, strlen(want)), "%.60s: says \"%s\", want \"%s\"", in, says,
                  want);
    ck_assert_uint_eq(memory.live, 0);
}

static const struct pair scalars[] = {
    {"no", "\"no\""},
    {"yes", "\"yes\""},
    {"on", "\"on\""},
    {"true", "true"},
    {"FALSE", "false"},
    {"tRue", "\"tRue\""},
    {"~", "null"},
    {"Null", "null"},
    {"nULL", "\"nULL\""},
    {"a:", "{\"a\":null}"},
    {"017", "17"},
    {"0o17", "15"},
    {"0x1F", "31"},
    {"0o", "\"0o\""},
    {"0xg", "\"0xg\""},
    {"0x0", "0"},
    {"0o1777777777777777777777", "18446744073709551615"},
    {"0xffffffffffffffff", "18446744073709551615"},
    {"-12", "-12"},
    {"+12", "12"},
    {"-0", "-0"},
    {"000", "0"},
    {"1_000", "\"1_000\""},
    {"190:20:30", "\"190:20:30\""},
    {"0b11", "\"0b11\""},
    {".5", "0.5"},
    {"5.", "5.0"},
    {"5.e1", "5.0e1"},
    {"-.5e+3", "-0.5e+3"},
    {"1e3", "1e3"},
    {"1e", "\"1e\""},
    {"e3", "\"e3\""},
    {".", "\".\""},
    {"+", "\"+\""},
    {"-.", "\"-.\""},
    {"1.2.3", "\"1.2.3\""},
    {"1.10", "1.10"},
    {"123456789012345678901234567890", "123456789012345678901234567890"},
    {"1e400", "1e400"},
    {"\"12\"", "\"12\""},
    {"'true'", "\"true\""},
    {"!!str 12", "\"12\""},
    {"! 12", "\"12\""},
    {"!!int \"12\"", "12"},
    {"!!float 12", "12"},
    {"!!null ''", "null"},
    {"!!map {a: 1}", "{\"a\":1}"},
    {"!!seq [1]", "[1]"},
    {"\"a\\\"\\\\\\n\\0\\u00e9\"", "\"a\\\"\\\\\\n\\u0000\xc3\xa9\""},
    {"!!str \"1\\0\"", "\"1\\u0000\""},
    {"2024-01-01", "\"2024-01-01\""},
    {"+.x", "\"+.x\""},
    {".info", "\".info\""},
    {"%YAML 1.2\n---\n1", "1"},
    {"\xef\xbb\xbf"
     "a: 1",
     "{\"a\":1}"},
};

START_TEST(scalars_follow_the_core_schema)
{
    check_text(scalars[_i].in, scalars[_i].out);
}
END_TEST

static const struct pair documents[] = {
    {"a: 1\nb:\n  - x\n  - {y: [1, 2], z: {}}\n  - []\n",
     "{\"a\":1,\"b\":[\"x\",{\"y\":[1,2],\"z\":{}},[]]}"},
    {"1: a\nno: b\ntrue: c\n~: d\n.inf: e\n",
     "{\"1\":\"a\",\"no\":\"b\",\"true\":\"c\",\"~\":\"d\",\".inf\":\"e\"}"},
    {"a: |\n  x\n  y\nb: >-\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\"}"},
    {"a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n",
     "{\"a\":{\"b\":[1]},\"c\":{\"b\":[1]},\"d\":[{\"b\":[1]},{\"b\":[1]}]}"},
    {"- &x one\n- *x\n- &x two\n- *x\n", "[\"one\",\"one\",\"two\",\"two\"]"},
    {"- &x [&x 1, *x]\n- *x\n", "[[1,1],1]"},
    {"- &a [1]\n- &b [*a, *a]\n- [*b]\n", "[[1],[[1],[1]],[[[1],[1]]]]"},
    {"[a: 1, b: 2]", "[{\"a\":1},{\"b\":2}]"},
    {"- &e\n- *e\n- &n 017\n- *n\n", "[null,null,17,17]"},
    {"a: &x {b: 1}\nc:\n  <<: *x\n", "{\"a\":{\"b\":1},\"c\":{\"<<\":{\"b\":1}}}"},
    {"a: 1\na: 2\n", "{\"a\":1,\"a\":2}"},
    {"{\"a\": [1, true, \"x\\u0041\"]}", "{\"a\":[1,true,\"xA\"]}"},
};

START_TEST(documents_become_compact_json)
{
    check_text(documents[_i].in, documents[_i].out);
}
END_TEST

static const struct pair refused[] = {
    {"a: .inf\n", "1: a number must be finite"},
    {"a:\n- -.INF\n", "2: a number must be finite"},
    {"a: .nan\n", "1: a number must be finite"},
    {"a: !secret 1\n", "1: tag \"!secret\" is not of YAML's core schema"},
    {"a: !!binary aGk=\n", "1: tag \"tag:yaml.org,2002:binary\""},
    {"a: !!set {b}\n", "1: tag \"tag:yaml.org,2002:set\""},
    {"a: !!int x\n", "1: tag \"tag:yaml.org,2002:int\""},
    {"a: !!bool 1\n", "1: tag "},
    {"a: !!null 1\n", "1: tag "},
    {"a: !!float x\n", "1: tag "},
    {"--- 1\n--- 2\n", "2: more than one document"},
    {"%YAML 1.1\n---\n1\n", "1: the document must be YAML 1.2"},
    {"", "0: there is nothing in it"},
    {"# nothing\n", "0: there is nothing in it"},
    {"a: *x\n", "1: there is no anchor \"x\" above"},
    {"a: &x [*x]\n", "1: alias \"x\" lies inside its anchor"},
    {"? [a]\n: 1\n", "1: the name of a member must be a string"},
    {"? {a: 1}\n: 1\n", "1: the name of a member must be a string"},
    {"a: &x y\n*x : 1\n", "2: an alias cannot be the name of a member"},
    {"&x a: 1\n", "1: the name of a member cannot have an anchor"},
    {"a: 1\nb: [1,\nc: 2\n", "2: a list whose \"]\", or a comma, is missing"},
    {"a: 1\n\tb: 2\n", "2: "},
    {"a: 1\r\"x", "2: "},
    {"a: \"\\ud800\"\n", "1: "},
    {"a: 0x10000000000000000\n", "1: the number does not fit 64 bits"},
    {"a: 0o2000000000000000000000\n", "1: the number does not fit 64 bits"},
    {"b: 1\na: \xff\n", "2: invalid leading UTF-8 octet (0xff at byte 4 of the line)"},
    {"\xff\xfe"
     "a",
     "1: invalid leading UTF-8 octet"},
};

START_TEST(what_json_cannot_say_is_refused_with_its_line)
{
    check_refused_by(&limits, refused[_i].in, strlen(refused[_i].in), refused[_i].out);
}
END_TEST

START_TEST(values_know_their_line_also_behind_an_alias)
{
    static const char in[] = "\na: [1,\n  \"x,]}\\\"\",\n  {b :\n null}]\n\nc: &x\n  - 1\nd: *x\n";
    static const uint32_t lines[] = {2, 2, 2, 2, 3, 4, 4, 5, 7, 7, 8, 9, 7, 8};
    struct yaml_text t;
    struct yaml_error err;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    ck_assert_int_eq(yaml_read(&t, &mem, in, strlen(in), &limits, true, false, &err), 0);
    ck_assert_int_eq(t.values, COUNT(lines));
    for (int i = 0; i < COUNT(lines); i++)
        ck_assert_msg(t.lines[i] == lines[i], "value %d is on line %u", i, t.lines[i]);
    yaml_fini(&t);
    ck_assert_int_eq(yaml_read(&t, &mem, in, strlen(in), &limits, false, false, &err), 0);
    ck_assert_ptr_null(t.lines);
    yaml_fini(&t);
}
END_TEST

/* Each limit with what just keeps it, and one more. */
START_TEST(each_limit_holds_where_it_says)
{
    static const struct {
        struct yaml_limits limits;
        const char *keeps, *exceeds, *says;
    } cases[] = {
        {{3, 100, 9, 99, 999, 999}, "[[[1]]]", "[[[[1]]]]", "1: nested deeper than 3"},
        {{3, 100, 9, 99, 999, 999}, "[&x [[]], *x]", "[&x [[]], [*x]]", "1: nested deeper than 3"},
        {{3, 100, 9, 99, 999, 999},
         "[&x [1], &y [*x], *y]",
         "[&x [1], &y [*x], [*y]]",
         "1: nested deeper than 3"},
        {{9, 5, 9, 99, 999, 999}, "{a: 1, b: 2}", "{a: 1, b: 2, c}", "1: more than 5 values"},
        {{9, 7, 9, 99, 999, 999}, "[&x [1, 2], *x]", "[&x [1, 2], *x, 1]", "1: more than 7 values"},
        {{9, 7, 9, 99, 999, 999},
         "[&x [1, 2], *x]",
         "[&x [1, 2], *x, *x]",
         "1: more than 7 values"},
        {{9, 100, 2, 99, 999, 999}, "[&x 1, &y 1]", "[&x 1, &x 1, &x 1]", "1: more than 2 anchors"},
        {{9, 100, 9, 3, 999, 999},
         "[&x 1, *x, *x, *x]",
         "[&x 1, *x, *x, *x, *x]",
         "1: aliases stand for more than 3 values"},
        {{9, 100, 9, 99, 999, 9},
         "[&x 123, *x, *x, *x]",
         "[&x 123, *x, *x, *x, *x]",
         "1: aliases stand for more than 9 bytes"},
        {{9, 100, 9, 99, 7, 999}, "[12, 34]", "[12, 345]", "1: more than 7 bytes as JSON"},
        {{9, 100, 9, 99, 8, 999}, "\"\\0\"", "\"\\0\\0\"", "1: more than 8 bytes as JSON"},
        {{9, 100, 9, 99, 9, 999}, "[&x 12,*x,1]", "[&x 12,*x,*x]", "1: more than 9 bytes as JSON"},
    };
    struct yaml_error err = {0, ""};
    struct yaml_text t;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    for (int i = 0; i < COUNT(cases); i++) {
        int rc = yaml_read(&t, &mem, cases[i].keeps, strlen(cases[i].keeps), &cases[i].limits, true,
                           false, &err);

        ck_assert_msg(rc == 0, "%s: %s", cases[i].keeps, err.text);
        yaml_fini(&t);
        check_refused_by(&cases[i].limits, cases[i].exceeds, strlen(cases[i].exceeds),
                         cases[i].says);
    }
}
END_TEST

/* ---- what is made to be slow ---- */

static const struct yaml_limits wide = {
    .depth = 128,
    .values = 1000000,
    .anchors = 10000,
    .alias_values = 1000000,
    .bytes = 64u << 20,
    .alias_bytes = 64u << 20,
};

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

START_TEST(an_alias_bomb_costs_no_more_than_the_limit)
{
    char text[2000];
    struct memory memory = {0};
    struct yaml_error err;
    struct yaml_text t;
    struct mem mem;
    int n = sprintf(text, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");

    for (int i = 1; i < 12; i++) {
        n += sprintf(text + n, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            n += sprintf(text + n, "%s*a%d", k ? "," : "", i - 1);
        n += sprintf(text + n, "]\n");
    }
    check_refused_by(&wide, text, (size_t)n, "7: aliases stand for more than 1000000 values");
    mem_init(&mem, memory_realloc, &memory);
    ck_assert_int_eq(yaml_read(&t, &mem, text, (size_t)n, &wide, true, false, &err), ALK_EJSON);
    ck_assert_uint_gt(t.values, 500000);
    yaml_fini(&t);
    ck_assert_uint_lt(memory.largest, 16u << 20);
}
END_TEST

/* An anchor of a long text, said again and again: few values, many bytes. */
START_TEST(aliases_of_a_long_text_are_bounded_by_bytes)
{
    size_t size = 1u << 20, n = size;
    char *text = malloc(size + 1000);

    memset(text, 'x', size);
    memcpy(text, "- &x ", 5);
    for (int i = 0; i < 70; i++)
        n += (size_t)sprintf(text + n, "\n- *x");
    check_refused_by(&wide, text, n, "65: more than 67108864 bytes as JSON");
    free(text);
}
END_TEST

/* As many aliases as anchors: found by looking at each, they would take minutes. */
START_TEST(a_hundred_thousand_anchors_take_no_time_that_grows_with_their_square)
{
    struct yaml_limits l = wide;
    size_t size = 4u << 20, n = 0;
    char *text = malloc(size);
    struct yaml_error err = {0, ""};
    struct yaml_text t;
    struct mem mem;
    double begin;
    int rc;

    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(text + n, "- &a%d x\n", i);
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(text + n, "- *a%d\n", i);
    check_refused_by(&wide, text, n, "10001: more than 10000 anchors");
    l.anchors = 100000;
    mem_init(&mem, NULL, NULL);
    begin = cpu_seconds();
    rc = yaml_read(&t, &mem, text, n, &l, false, false, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert(cpu_seconds() - begin < 5);
    ck_assert_uint_eq(t.values, 200001);
    yaml_fini(&t);
    ck_assert_uint_eq(mem.live, 0);
    free(text);
}
END_TEST

/* libyaml compares each directive with all others. */
START_TEST(many_directives_are_refused_before_they_cost)
{
    size_t size = 8u << 20, n = 0;
    char *text = malloc(size);
    double begin = cpu_seconds();

    for (int i = 0; i < 200000; i++)
        n += (size_t)sprintf(text + n, "%%TAG !a%d! tag:b\n", i);
    n += (size_t)sprintf(text + n, "--- 1\n");
    check_refused_by(&wide, text, n, "0: more than 64 directives");
    n = (size_t)sprintf(text, "--- 1\n...\n");
    for (int i = 0; i < 200000; i++)
        n += (size_t)sprintf(text + n, "%%TAG !a%d! tag:b\xc2\x85", i);
    check_refused_by(&wide, text, n, "0: more than 64 directives");
    ck_assert(cpu_seconds() - begin < 5);
    n = 0;
    for (int i = 0; i < 64; i++)
        n += (size_t)sprintf(text + n, "%%TAG !a%d! tag:b\n", i);
    sprintf(text + n, "--- 50%% of it\n");
    check_text(text, "\"50% of it\"");
    free(text);
}
END_TEST

START_TEST(a_million_brackets_are_refused_at_once)
{
    static const char *const units[] = {"[", "{a: ", "- ", "[? ", "? "};
    size_t size = 1000000;
    char *text = malloc(size);
    double begin = cpu_seconds();

    for (int k = 0; k < COUNT(units); k++) {
        for (size_t i = 0, n = strlen(units[k]); i < size; i++)
            text[i] = units[k][i % n];
        check_refused_by(&wide, text, size, "1: ");
    }
    ck_assert(cpu_seconds() - begin < 5);
    free(text);
}
END_TEST

START_TEST(want_of_memory_is_told_and_nothing_leaks)
{
    static const char in[] = "a: &x [1, \"two\", {b: 3}]\nc: [*x, *x]\nd: &y e\nf: *y\n";
    struct yaml_error err;
    struct yaml_text t;
    struct mem mem;
    int rc = ALK_ENOMEM;

    for (long fail = 1; rc == ALK_ENOMEM; fail++) {
        struct memory memory = {.fail_in = fail};

        ck_assert_int_lt(fail, 100);
        mem_init(&mem, memory_realloc, &memory);
        rc = yaml_read(&t, &mem, in, strlen(in), &limits, true, true, &err);
        ck_assert_int_eq(rc, memory.failed ? ALK_ENOMEM : 0);
        yaml_fini(&t);
        if (rc)
            ck_assert_str_eq(err.text, "out of memory");
        ck_assert_uint_eq(memory.live, 0);
    }
}
END_TEST

/* ---- secrets ---- */

#define SECRET "correct-horse-battery-staple"

/* Looks at each block before it goes back. Nothing is moved by realloc. */
struct watcher {
    size_t seen;
};

static void *watch(void *ud, void *ptr, size_t size)
{
    struct watcher *w = ud;
    size_t *block = ptr ? (size_t *)ptr - 2 : NULL, *more;

    if (block) {
        for (size_t i = 0; i + sizeof SECRET - 1 <= block[0]; i++)
            w->seen += !memcmp((char *)ptr + i, SECRET, sizeof SECRET - 1);
    }
    more = size ? calloc(1, size + 2 * sizeof *more) : NULL;
    if (more && block)
        memcpy(more + 2, ptr, size < block[0] ? size : block[0]);
    if (more)
        more[0] = size;
    free(block);
    return more ? more + 2 : NULL;
}

static size_t secrets_left(const char *text, bool secret)
{
    struct watcher w = {0};
    struct yaml_error err;
    struct yaml_text t;
    struct mem mem;

    mem_init(&mem, watch, &w);
    (void)yaml_read(&t, &mem, text, strlen(text), &limits, true, secret, &err);
    yaml_fini(&t);
    ck_assert_uint_eq(mem.live, 0);
    return w.seen;
}

START_TEST(no_secret_is_left_in_memory_that_is_freed)
{
    static const char taken[] =
        "token: &t " SECRET "\nagain: [*t, *t]\nlong: \"" SECRET "\\0\\0\"\n";
    static const char broken[] = "token: " SECRET "\nb: [\n";

    ck_assert_uint_gt(secrets_left(taken, false), 0);
    ck_assert_uint_gt(secrets_left(broken, false), 0);
    ck_assert_uint_eq(secrets_left(taken, true), 0);
    ck_assert_uint_eq(secrets_left(broken, true), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("yaml");
    TCase *t = tcase_create("yaml");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, scalars_follow_the_core_schema, 0, COUNT(scalars));
    tcase_add_loop_test(t, documents_become_compact_json, 0, COUNT(documents));
    tcase_add_loop_test(t, what_json_cannot_say_is_refused_with_its_line, 0, COUNT(refused));
    tcase_add_test(t, values_know_their_line_also_behind_an_alias);
    tcase_add_test(t, each_limit_holds_where_it_says);
    tcase_add_test(t, an_alias_bomb_costs_no_more_than_the_limit);
    tcase_add_test(t, aliases_of_a_long_text_are_bounded_by_bytes);
    tcase_add_test(t, a_hundred_thousand_anchors_take_no_time_that_grows_with_their_square);
    tcase_add_test(t, many_directives_are_refused_before_they_cost);
    tcase_add_test(t, a_million_brackets_are_refused_at_once);
    tcase_add_test(t, want_of_memory_is_told_and_nothing_leaks);
    tcase_add_test(t, no_secret_is_left_in_memory_that_is_freed);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
