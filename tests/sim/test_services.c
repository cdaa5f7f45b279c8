/* What a node tells about its operations, what a handler can ask about its call, and the
 * counters. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- discovery ------------------------------------------------------------------------------- */

START_TEST(services_list_filters_sorts_and_pages)
{
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.handler = serve_echo;
    op.name = "b/two";
    op.description = "Counts APPLES";
    world_add_full(w, &op);
    op.name = "b/one";
    op.type = ALK_SUBSCRIPTION;
    op.description = NULL;
    world_add_full(w, &op);
    op.name = "a";
    op.type = ALK_MUTATION;
    world_add_full(w, &op);
    op.name = "b/secret";
    op.access_control = "{\"authenticated\":true}";
    world_add_full(w, &op);
    op.name = "b/hidden";
    op.access_control = NULL;
    op.visibility = ALK_INTERNAL_ONLY;
    world_add_full(w, &op);
    world_start(w);
    r = wire_open(w, NULL);
#define A "{\"name\":\"a\",\"namespace\":\"a\",\"op_type\":\"mutation\"}"
#define B1 "{\"name\":\"b/one\",\"namespace\":\"b\",\"op_type\":\"subscription\"}"
#define B2                                                                                         \
    "{\"name\":\"b/two\",\"namespace\":\"b\",\"op_type\":\"query\",\"description\":\"Counts "      \
    "APPLES\"}"
    wire_request(r, "1", "services/list", "{\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("1", "{\"operations\":[" B1 "," B2 "]}"));
    wire_request(r, "2", "services/list", "{\"q\":\"apple\"}");
    wire_expect(r, RESPONDED("2", "{\"operations\":[" B2 "]}"));
    wire_request(r, "3", "services/list", "{\"q\":\"B/O\"}");
    wire_expect(r, RESPONDED("3", "{\"operations\":[" B1 "]}"));
    wire_request(r, "4", "services/list", "{\"op_type\":\"mutation\"}");
    wire_expect(r, RESPONDED("4", "{\"operations\":[" A "]}"));
    wire_request(r, "5", "services/list", "{\"limit\":2}");
    wire_expect(r, RESPONDED("5", "{\"operations\":[" A "," B1 "],\"next_cursor\":\"b/one\"}"));
    wire_request(r, "6", "services/list", "{\"limit\":1,\"cursor\":\"b/one\"}");
    wire_expect(r, RESPONDED("6", "{\"operations\":[" B2 "],\"next_cursor\":\"b/two\"}"));
    wire_request(r, "7", "services/list", "{\"limit\":2.0,\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("7", "{\"operations\":[" B1 "," B2 "]}"));
    wire_request(r, "8", "services/list", "{\"limit\":1.0,\"namespace\":\"b\"}");
    wire_expect(r, RESPONDED("8", "{\"operations\":[" B1 "],\"next_cursor\":\"b/one\"}"));
    wire_request(r, "9", "services/list", "{\"limit\":0}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "INVALID_INPUT"));
    wire_request(r, "10", "services/list", "{\"op_type\":\"other\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "INVALID_INPUT"));
    wire_request(r, "11", "services/list", "{\"cursor\":\"zzz\"}");
    wire_expect(r, RESPONDED("11", "{\"operations\":[]}"));
    wire_free(r);
    world_free(w);
}
END_TEST

/* Every part of texts of two letters, as a naive look finds it. */
START_TEST(services_list_finds_each_part_and_no_other)
{
    static const char description[] = "aabaaabaabBabaaab";
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.handler = serve_echo;
    op.name = "t/x";
    op.description = description;
    world_add_full(w, &op);
    world_start(w);
    r = wire_open(w, NULL);
    for (unsigned n = 1; n <= 8; n++) {
        for (unsigned bits = 0; bits < 1u << n; bits++) {
            char part[9] = "", request[64];
            bool there = false;

            for (unsigned i = 0; i < n; i++)
                part[i] = bits >> i & 1 ? 'b' : 'A';
            for (size_t i = 0; i + n < sizeof description; i++)
                there |= !strncasecmp(description + i, part, n);
            snprintf(request, sizeof request, "{\"q\":\"%s\",\"namespace\":\"t\"}", part);
            wire_request(r, "1", "services/list", request);
            ck_assert_msg(!!strstr(wire_next(r), "t/x") == there, "%s", part);
        }
    }
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(services_schema_gives_the_whole_specification_to_whom_may_call_it)
{
    struct world *w = world_new();
    alk_connection_options o = {.size = sizeof o};
    struct wire *nobody, *holder;
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.handler = serve_echo;
    op.name = "t/full";
    op.type = ALK_MUTATION;
    op.description = "All of it";
    op.input_schema = "{ \"type\": \"object\" }";
    op.output_schema = "true";
    op.error_schemas = "[{\"code\":\"E\",\"description\":\"d\",\"schema\":{},\"http_status\":409},{"
                       "\"code\":\"F\"}]";
    op.access_control = "{\"required_scopes\":[\"a\"],\"required_scopes_any\":[\"b\",\"c\"],"
                        "\"resource_type\":\"f\","
                        "\"resource_action\":\"r\",\"authenticated\":true}";
    op.resource_id_path = "/id";
    world_add_full(w, &op);
    alk_operation_init(&op, sizeof op);
    op.handler = serve_echo;
    op.name = "t/bare";
    world_add_full(w, &op);
    op.name = "t/hidden";
    op.visibility = ALK_INTERNAL_ONLY;
    world_add_full(w, &op);
    world_start(w);
    nobody = wire_open(w, NULL);
    o.identity = alk_identity_new(
        TEXT("{\"id\":\"x\",\"scopes\":[\"a\",\"b\"],\"resources\":{\"f\":[\"1\"]}}"));
    holder = wire_open(w, &o);
    alk_identity_unref(o.identity);
    wire_request(holder, "1", "services/schema", "{\"name\":\"/t/full\"}");
    wire_expect(
        holder,
        RESPONDED(
            "1",
            "{\"name\":\"t/full\",\"namespace\":\"t\",\"op_type\":\"mutation\",\"visibility\":"
            "\"external\",\"input_schema\":{\"type\":\"object\"},\"output_schema\":true,"
            "\"error_schemas\":[{\"code\":\"E\",\"description\":\"d\",\"schema\":{},"
            "\"http_status\":409},{\"code\":\"F\",\"description\":\"\",\"schema\":null,"
            "\"http_status\":null}],\"access_control\":{\"required_scopes\":[\"a\"],"
            "\"required_scopes_any\":[\"b\",\"c\"],\"resource_type\":\"f\",\"resource_action\":"
            "\"r\",\"authenticated\":true},\"resource_id_path\":\"/id\",\"description\":"
            "\"All of it\"}"));
    wire_request(nobody, "2", "services/schema", "{\"name\":\"t/bare\",\"peer\":\"local\"}");
    wire_expect(
        nobody,
        RESPONDED("2",
                  "{\"name\":\"t/bare\",\"namespace\":\"t\",\"op_type\":\"query\",\"visibility\":"
                  "\"external\",\"input_schema\":null,\"output_schema\":null,\"error_schemas\":[],"
                  "\"access_control\":{\"required_scopes\":[],\"required_scopes_any\":null,"
                  "\"resource_type\":null,\"resource_action\":null}}"));
    wire_request(nobody, "3", "services/schema", "{\"name\":\"t/full\"}");
    wire_expect(nobody, FAULT("3", "NOT_FOUND", "operation not found: t/full", "false"));
    wire_request(holder, "4", "services/schema", "{\"name\":\"t/hidden\"}");
    wire_expect(holder, FAULT("4", "NOT_FOUND", "operation not found: t/hidden", "false"));
    wire_request(holder, "5", "services/schema", "{\"name\":\"t/bare\",\"peer\":\"other\"}");
    wire_expect(holder, FAULT("5", "NOT_FOUND", "operation not found: t/bare", "false"));
    wire_request(holder, "6", "services/schema", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(holder), "INVALID_INPUT"));
    wire_free(nobody);
    wire_free(holder);
    world_free(w);
}
END_TEST

START_TEST(a_deeply_nested_schema_can_be_described_or_is_not_registered)
{
    struct world *w = world_new();
    struct wire *r;
    alk_operation op;
    char schema[4000];

    for (int levels = 60; levels < 130; levels += 4) {
        char name[16], *p = schema;

        for (int i = 0; i < levels; i++)
            p += sprintf(p, "{\"not\":");
        p += sprintf(p, "{}");
        memset(p, '}', (size_t)levels);
        p[levels] = 0;
        snprintf(name, sizeof name, "t/d%d", levels);
        alk_operation_init(&op, sizeof op);
        op.name = name;
        op.handler = serve_echo;
        op.input_schema = schema;
        if (alk_registry_add(w->reg, &op) != ALK_OK)
            ck_assert_int_gt(levels, 90);
    }
    world_start(w);
    r = wire_open(w, NULL);
    for (int levels = 60; levels < 130; levels += 4) {
        char input[64];

        snprintf(input, sizeof input, "{\"name\":\"t/d%d\"}", levels);
        wire_request(r, "1", "services/schema", input);
        ck_assert_ptr_null(strstr(wire_next(r), "INTERNAL"));
    }
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- what a handler can ask ------------------------------------------------------------------ */

START_TEST(a_handler_sees_id_name_identity_and_trace_of_its_call)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct node n;
    alk_connection_options o = {.size = sizeof o};
    struct wire *r;
    char extra[128];
    alk_identity *who = identity_of("me", "[\"a\"]");

    node_add(&n);
    node_start(&n);
    o.identity = who;
    r = wire_open(n.w, &o);
    snprintf(extra, sizeof extra, ",\"traceparent\":\"%s\"", trace);
    wire_request_with(r, "a-\\u00e9", "/t/query", "null", extra);
    wire_expect_nothing(r);
    ck_assert_str_eq(alk_call_id(n.query.call), "a-\xc3\xa9");
    ck_assert_str_eq(alk_call_operation(n.query.call), "t/query");
    ck_assert_ptr_eq(alk_call_identity(n.query.call), who);
    ck_assert_ptr_eq(context_of(n.query.call).originator, who);
    ck_assert_str_eq(context_of(n.query.call).traceparent, trace);
    ck_assert_ptr_null(context_of(n.query.call).forwarded_for);
    served_reply(&n.query, "1");
    wire_expect(r, RESPONDED("a-\xc3\xa9", "1"));
    alk_identity_unref(who);
    wire_free(r);
    node_fini(&n);
}
END_TEST

START_TEST(a_malformed_traceparent_is_ignored)
{
    static const char *const bad[] = {
        "\"\"",
        "5",
        "\"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01\"",
        "\"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"",
        "\"00-00000000000000000000000000000000-00f067aa0ba902b7-01\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7\"",
        "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x\"",
        "\"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"",
    };
    struct node n;

    node_init(&n);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char extra[128];

        snprintf(extra, sizeof extra, ",\"traceparent\":%s", bad[i]);
        wire_request_with(n.r, "1", "t/query", "null", extra);
        wire_expect_nothing(n.r);
        ck_assert_msg(!context_of(n.query.call).traceparent, "%s", bad[i]);
        served_reply(&n.query, "1");
        wire_expect(n.r, RESPONDED("1", "1"));
    }
    node_fini(&n);
}
END_TEST

/* ---- numbers --------------------------------------------------------------------------------- */

START_TEST(counters_tell_what_happened)
{
    struct node n;
    alk_stats s;

    node_init(&n);
    wire_request(n.r, "1", "t/echo", "1");
    wire_request(n.r, "2", "t/none", "1");
    wire_request(n.r, "3", "t/query", "1");
    world_turn(n.w);
    s = world_stats(n.w);
    ck_assert_uint_eq(s.connections, 1);
    ck_assert_uint_eq(s.calls, 1);
    ck_assert_uint_eq(s.calls_total, 3);
    ck_assert_uint_eq(s.calls_refused, 1);
    ck_assert_uint_eq(s.calls_failed, 1);
    ck_assert_uint_gt(s.memory_blocks, 0);
    served_fail(&n.query, "X", "x", NULL);
    world_turn(n.w);
    served_free(&n.query);
    s = world_stats(n.w);
    ck_assert_uint_eq(s.calls, 0);
    ck_assert_uint_eq(s.calls_failed, 2);
    ck_assert_uint_eq(s.calls_refused, 1);
    node_fini(&n);
}
END_TEST

START_TEST(ten_thousand_calls_one_after_the_other_take_no_more_memory_than_one)
{
    struct node n;
    uint64_t blocks = 0;

    node_init(&n);
    n.w->options.log = NULL;
    for (int i = 0; i < 10000; i++) {
        wire_request(n.r, "1", "t/echo", "{\"a\":[1,2,3]}");
        must(wire_next(n.r));
        free(n.r->sent[0]);
        n.r->count = n.r->read = 0;
        buf_consume(&n.w->log, n.w->log.len);
        if (i == 10)
            blocks = world_stats(n.w).memory_blocks;
    }
    ck_assert_uint_eq(world_stats(n.w).memory_blocks, blocks);
    node_fini(&n);
}
END_TEST

START_TEST(a_turn_that_has_more_to_do_says_now)
{
    struct node n;
    uint64_t next;

    node_add(&n);
    n.w->limits.connection_calls = 100000;
    n.w->limits.message_budget = UINT32_MAX; /* so many at once are more than a caller's part */
    node_start(&n);
    for (int i = 0; i < 70000; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request(n.r, id, "t/echo", "1");
    }
    next = alk_dispatcher_turn(n.w->d, n.w->now);
    ck_assert(n.r->count == 70000 || next == n.w->now);
    world_turn(n.w);
    ck_assert_uint_eq(n.r->count, 70000);
    node_fini(&n);
}
END_TEST

MAIN("services", services_list_filters_sorts_and_pages, services_list_finds_each_part_and_no_other,
     services_schema_gives_the_whole_specification_to_whom_may_call_it,
     a_deeply_nested_schema_can_be_described_or_is_not_registered,
     a_handler_sees_id_name_identity_and_trace_of_its_call, a_malformed_traceparent_is_ignored,
     counters_tell_what_happened,
     ten_thousand_calls_one_after_the_other_take_no_more_memory_than_one,
     a_turn_that_has_more_to_do_says_now)
