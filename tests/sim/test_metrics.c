/* What a node counts: where it is counted, how dispatchers come and go, and the two forms in which it is told. */
#include "core/metrics.h"

#include "core/node.h"
#include "sim/compose.h"
#include "support/node.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ----------------------------------------------------------------------------------- */

static char *text_of(struct world *w)
{
    struct totals t;
    struct buf b;
    char *s;

    buf_init(&b, &w->mem);
    node_totals(w->node, &t);
    ck_assert_int_eq(metrics_text(&b, &t), 0);
    s = strndup(buf_at(&b), b.len);
    buf_fini(&b);
    ck_assert_ptr_nonnull(s);
    return s;
}

/* The value of a series, which must be there once. */
static unsigned long long value(struct world *w, const char *series)
{
    char *text = text_of(w), line[256], *at, *end;
    unsigned long long v;

    snprintf(line, sizeof line, "\nalknet_%s ", series);
    at = strstr(text, line);
    ck_assert_msg(at && !strstr(at + 1, line), "%s is not there once", series);
    v = strtoull(at + strlen(line), &end, 10);
    ck_assert_int_eq(*end, '\n');
    free(text);
    return v;
}

static unsigned long long of_kind(struct world *w, const char *family, const char *kind)
{
    char series[128];

    snprintf(series, sizeof series, "%s{kind=\"%s\"}", family, kind);
    return value(w, series);
}

/* outcome: "ok", or the code of a fault after a colon. */
static unsigned long long ended(struct world *w, const char *kind, const char *outcome)
{
    char series[128];

    if (*outcome == ':')
        snprintf(series, sizeof series,
                 "calls_ended_total{kind=\"%s\",outcome=\"fault\",code=\"%s\"}", kind, outcome + 1);
    else
        snprintf(series, sizeof series, "calls_ended_total{kind=\"%s\",outcome=\"%s\"}", kind,
                 outcome);
    return value(w, series);
}

static unsigned long long all_ended(struct world *w, const char *kind)
{
    static const char *const outcomes[] = {
        "ok",         "aborted",    "timeout",        "closed",
        ":NOT_FOUND", ":FORBIDDEN", ":INVALID_INPUT", ":INVALID_OPERATION_TYPE",
        ":TIMEOUT",   ":BUSY",      ":INTERNAL",      ":other"};
    unsigned long long sum = 0;

    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        sum += ended(w, kind, outcomes[i]);
    return sum;
}

/* One call of that kind has ended so; none runs. */
static void expect_one(struct world *w, const char *kind, const char *outcome)
{
    ck_assert_msg(ended(w, kind, outcome) == 1, "no %s of %s", outcome, kind);
    ck_assert_uint_eq(all_ended(w, kind), 1);
    ck_assert_uint_eq(of_kind(w, "calls_started_total", kind), 1);
    ck_assert_uint_eq(of_kind(w, "calls_running", kind), 0);
}

/* ---- calls ------------------------------------------------------------------------------------- */

static int refuse(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_ESYSTEM;
}

START_TEST(incoming_calls_are_counted_by_outcome)
{
    static const struct {
        const char *operation, *input, *extra, *outcome;
        int refused;
    } cases[] = {
        {"t/echo", "1", "", "ok", 0},
        {"t/none", "1", "", ":NOT_FOUND", 1},
        {"t/scoped", "1", "", ":FORBIDDEN", 1},
        {"t/strict", "1", "", ":INVALID_INPUT", 1},
        {"t/refuse", "1", "", ":INTERNAL", 0},
        {"t/query", "1", ",\"timeout_ms\":10", "timeout", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node n;

        node_add(&n);
        add_op(n.w, &(struct op){.name = "t/scoped",
                                 .handler = serve_later,
                                 .ud = &n.query,
                                 .access = "{\"authenticated\":true}"});
        add_op(n.w, &(struct op){.name = "t/strict",
                                 .handler = serve_later,
                                 .ud = &n.query,
                                 .input = "{\"type\":\"object\"}"});
        world_add(n.w, "t/refuse", ALK_QUERY, refuse, NULL);
        node_start(&n);
        wire_request_with(n.r, "1", cases[i].operation, cases[i].input, cases[i].extra);
        world_turn(n.w);
        world_advance(n.w, 20);
        expect_one(n.w, "incoming", cases[i].outcome);
        ck_assert_uint_eq(value(n.w, "calls_refused_total"), (unsigned)cases[i].refused);
        ck_assert_uint_eq(value(n.w, "handler_errors_total"),
                          !strcmp(cases[i].operation, "t/refuse"));
        node_fini(&n);
    }
}
END_TEST

START_TEST(a_request_without_an_operation_is_a_call_that_was_refused)
{
    struct node n;

    node_init(&n);
    node_feed(&n, "call.requested", "1", "{}");
    expect_one(n.w, "incoming", ":INVALID_INPUT");
    ck_assert_uint_eq(value(n.w, "calls_refused_total"), 1);
    node_fini(&n);
}
END_TEST

START_TEST(ends_that_others_bring_about_are_counted)
{
    struct node n;

    node_init(&n);
    node_serve(&n, "1", "t/query");
    ck_assert_uint_eq(of_kind(n.w, "calls_running", "incoming"), 1);
    wire_abort(n.r, "1");
    expect_one(n.w, "incoming", "aborted");
    node_fini(&n);

    node_init(&n);
    node_serve(&n, "1", "t/stream");
    served_fail(&n.stream, "MINE", "m", NULL);
    world_turn(n.w);
    expect_one(n.w, "incoming", ":other");
    node_fini(&n);

    node_init(&n);
    node_serve(&n, "1", "t/query");
    alk_connection_lost(n.r->conn);
    world_turn(n.w);
    expect_one(n.w, "incoming", "closed");
    node_fini(&n);

    node_init(&n);
    alk_dispatcher_drain(n.w->d);
    wire_request(n.r, "1", "t/query", "1");
    world_turn(n.w);
    expect_one(n.w, "incoming", ":BUSY");
    node_fini(&n);
}
END_TEST

START_TEST(nested_calls_are_a_kind_of_their_own)
{
    struct node n;
    struct served parent = {0};
    struct asked a, b;
    alk_call_options o = {.size = sizeof o};

    node_add(&n);
    add_op(n.w, &(struct op){.name = "t/parent",
                             .handler = serve_later,
                             .ud = &parent,
                             .authority = "{\"label\":\"p\"}",
                             .environment = "{\"allowed_ops\":[\"t/*\"]}"});
    node_start(&n);
    node_serve(&n, "1", "t/parent");
    nest(&a, &parent, "t/echo", "1", NULL);
    o.stream = 1;
    nest(&b, &parent, "t/echo", "1", &o);
    world_turn(n.w);
    ck_assert_uint_eq(ended(n.w, "nested", "ok"), 1);
    ck_assert_uint_eq(ended(n.w, "nested", ":INVALID_OPERATION_TYPE"), 1);
    ck_assert_uint_eq(all_ended(n.w, "nested"), 2);
    ck_assert_uint_eq(all_ended(n.w, "incoming"), 0);
    ck_assert_uint_eq(of_kind(n.w, "calls_running", "incoming"), 1);
    served_reply(&parent, "1");
    world_turn(n.w);
    expect_one(n.w, "incoming", "ok");
    asked_free(&a);
    asked_free(&b);
    served_free(&parent);
    node_fini(&n);
}
END_TEST

START_TEST(outgoing_calls_are_a_kind_of_their_own)
{
    static const struct {
        const char *type, *payload, *outcome;
    } cases[] = {
        {"call.responded", "{\"output\":1}", "ok"},
        {"call.error", "{\"code\":\"TIMEOUT\",\"message\":\"m\",\"retryable\":true}", ":TIMEOUT"},
        {"call.error", "{\"code\":\"THEIRS\",\"message\":\"m\",\"retryable\":true}", ":other"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node n;
        struct asked a;
        char id[64];

        node_init(&n);
        node_ask(&n, &a, false, id);
        ck_assert_uint_eq(of_kind(n.w, "calls_running", "outgoing"), 1);
        node_feed(&n, cases[i].type, id, cases[i].payload);
        world_turn(n.w);
        expect_one(n.w, "outgoing", cases[i].outcome);
        asked_free(&a);
        node_fini(&n);
    }
}
END_TEST

START_TEST(a_call_that_could_not_be_made_is_not_counted)
{
    struct node n;
    struct asked a;
    alk_call_options o = {.size = sizeof o};
    char id[64];

    node_add(&n);
    n.w->limits.connection_calls = 1;
    node_start(&n);
    node_ask(&n, &a, false, id);
    ck_assert_int_eq(alk_connection_call(n.r->conn, TEXT("x/y"), TEXT("1"), &o, NULL), ALK_ELIMIT);
    ck_assert_uint_eq(of_kind(n.w, "calls_started_total", "outgoing"), 1);
    asked_drop(&a, n.w);
    node_fini(&n);
}
END_TEST

/* ---- the rest of a connection ------------------------------------------------------------------ */

START_TEST(connections_envelopes_and_tokens_are_counted)
{
    struct node n;
    struct wire *second;

    node_init(&n);
    second = wire_open(n.w, NULL);
    ck_assert_uint_eq(value(n.w, "connections_total"), 2);
    ck_assert_uint_eq(value(n.w, "connections_open"), 2);
    wire_free(second);
    world_turn(n.w);
    ck_assert_uint_eq(value(n.w, "connections_total"), 2);
    ck_assert_uint_eq(value(n.w, "connections_open"), 1);
    node_feed(&n, "call.responded", "none", "{}");
    node_feed(&n, "call.completed", "none", "{}");
    ck_assert_uint_eq(value(n.w, "envelopes_discarded_total"), 2);
    wire_request_with(n.r, "1", "t/echo", "1", ",\"auth_token\":\"alk_nobodys\"");
    world_turn(n.w);
    ck_assert_uint_eq(value(n.w, "auth_failures_total"), 1);
    node_fini(&n);
}
END_TEST

START_TEST(what_waits_for_a_remote_is_measured_once_a_second)
{
    struct node n;

    node_init(&n);
    n.r->room = 0;
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    node_serve(&n, "1", "t/stream");
    served_emit(&n.stream, "\"0123456789\"");
    world_turn(n.w);
    world_advance(n.w, 1000);
    ck_assert_uint_gt(value(n.w, "queued_bytes"), 50);
    ck_assert_uint_lt(value(n.w, "queued_bytes"), 200);
    ck_assert_uint_eq(n.w->next, n.w->now + 1000 * MS);
    n.r->room = -1;
    alk_connection_writable(n.r->conn);
    world_advance(n.w, 999);
    ck_assert_uint_gt(value(n.w, "queued_bytes"), 50);
    world_advance(n.w, 1);
    ck_assert_uint_eq(value(n.w, "queued_bytes"), 0);
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    node_fini(&n);
}
END_TEST

START_TEST(what_waited_is_gone_with_the_connection)
{
    struct node n;

    node_init(&n);
    n.r->room = 0;
    node_serve(&n, "1", "t/stream");
    served_emit(&n.stream, "\"0123456789\"");
    world_turn(n.w);
    world_advance(n.w, 1000);
    ck_assert_uint_gt(value(n.w, "queued_bytes"), 0);
    alk_connection_lost(n.r->conn);
    world_turn(n.w);
    world_advance(n.w, 1000);
    ck_assert_uint_eq(value(n.w, "queued_bytes"), 0);
    ck_assert_uint_eq(n.w->next, UINT64_MAX);
    node_fini(&n);
}
END_TEST

START_TEST(held_messages_are_told)
{
    struct node n;
    char *input = repeated("x", 40000, "\"", "\"");

    node_init(&n);
    wire_request(n.r, "1", "t/query", input);
    world_turn(n.w);
    ck_assert_uint_ge(value(n.w, "message_bytes"), 40000);
    served_reply(&n.query, "1");
    world_turn(n.w);
    served_free(&n.query);
    ck_assert_uint_eq(value(n.w, "message_bytes"), 0);
    free(input);
    node_fini(&n);
}
END_TEST

/* ---- several dispatchers ----------------------------------------------------------------------- */

START_TEST(a_dispatcher_that_is_gone_leaves_its_counts)
{
    struct node n;
    struct world other;
    struct wire *r;

    node_init(&n);
    other = *n.w;
    ck_assert_int_eq(alk_dispatcher_new(&other.d, n.w->node), ALK_OK);
    r = wire_open(&other, NULL);
    wire_request(r, "1", "t/echo", "1");
    wire_request(r, "2", "t/none", "1");
    wire_request(n.r, "1", "t/echo", "1");
    world_turn(&other);
    world_turn(n.w);
    for (int gone = 0; gone < 2; gone++) {
        ck_assert_uint_eq(of_kind(n.w, "calls_started_total", "incoming"), 3);
        ck_assert_uint_eq(ended(n.w, "incoming", "ok"), 2);
        ck_assert_uint_eq(ended(n.w, "incoming", ":NOT_FOUND"), 1);
        ck_assert_uint_eq(value(n.w, "connections_total"), 2);
        ck_assert_uint_eq(value(n.w, "connections_open"), gone ? 1 : 2);
        if (!gone) {
            wire_free(r);
            alk_dispatcher_free(other.d);
        }
    }
    node_fini(&n);
}
END_TEST

struct reader {
    struct world *w;
    int stop; /* atomic */
    uint64_t rounds;
    bool backwards;
};

static void *read_on(void *ud)
{
    struct reader *r = ud;
    uint64_t last = 0;

    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
        struct totals t;
        uint64_t now;

        node_totals(r->w->node, &t);
        now = t.sum.calls[CALL_INCOMING] + t.sum.ended[CALL_INCOMING][ALK_END_OK];
        r->backwards |= now < last;
        last = now;
        r->rounds++;
    }
    return NULL;
}

START_TEST(another_thread_reads_while_calls_run_and_dispatchers_come_and_go)
{
    struct node n;
    struct reader reader = {0};
    pthread_t thread;

    node_init(&n);
    reader.w = n.w;
    ck_assert_int_eq(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < 300; i++) {
        struct world other = *n.w;
        struct wire *r;

        ck_assert_int_eq(alk_dispatcher_new(&other.d, n.w->node), ALK_OK);
        r = wire_open(&other, NULL);
        wire_request(r, "1", "t/echo", "1");
        world_turn(&other);
        wire_free(r);
        alk_dispatcher_free(other.d);
        wire_request(n.r, "1", "t/echo", "1");
        must(wire_next(n.r));
    }
    __atomic_store_n(&reader.stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    ck_assert_uint_gt(reader.rounds, 0);
    ck_assert(!reader.backwards);
    ck_assert_uint_eq(ended(n.w, "incoming", "ok"), 600);
    ck_assert_uint_eq(value(n.w, "connections_open"), 1);
    node_fini(&n);
}
END_TEST

/* ---- the two forms ----------------------------------------------------------------------------- */

static struct wire *open_as(struct world *w, const char *scopes)
{
    alk_connection_options o = {.size = sizeof o};
    struct wire *r;

    o.identity = identity_of("reader", scopes);
    o.kind = ALK_KIND_KEY;
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    return r;
}

/* debug_outputs makes an output that does not match its schema INTERNAL. */
START_TEST(the_operation_tells_the_same_as_the_text)
{
    struct node n;
    struct wire *r;
    const char *got;
    char *text;
    yyjson_doc *doc;
    yyjson_val *metrics, *m;
    size_t i, max, lines = 0;

    node_add(&n);
    ck_assert_int_eq(alk_registry_enable_metrics(n.w->reg), ALK_OK);
    n.w->options.debug_outputs = 1;
    node_start(&n);
    r = open_as(n.w, "[\"metrics:list\"]");
    wire_request(r, "1", "t/echo", "1");
    wire_expect(r, RESPONDED("1", "1"));
    wire_request(r, "2", "metrics/list", "{}");
    got = wire_next(r);
    ck_assert_ptr_nonnull(strstr(got, "\"call.responded\""));
    doc = yyjson_read(got, strlen(got), 0);
    metrics = yyjson_ptr_get(yyjson_doc_get_root(doc), "/payload/output/metrics");
    text = text_of(n.w);
    yyjson_arr_foreach(metrics, i, max, m)
    {
        yyjson_val *labels = yyjson_obj_get(m, "labels"), *k, *v;
        const char *name = yyjson_get_str(yyjson_obj_get(m, "name"));
        char line[256];
        int len = snprintf(line, sizeof line, "\n%s%s",
                           strncmp(name, "process_", 8) ? "alknet_" : "", name);
        size_t j, count;

        yyjson_obj_foreach(labels, j, count, k, v)
        {
            len += snprintf(line + len, sizeof line - (size_t)len, "%s%s=\"%s\"", j ? "," : "{",
                            yyjson_get_str(k), yyjson_get_str(v));
        }
        len += snprintf(line + len, sizeof line - (size_t)len, "%s ", labels ? "}" : "");
        ck_assert_msg(strstr(text, line) != NULL, "%s is not in the text", line + 1);
        /* All but the call that asks stands still. What is in seconds has digits behind a point. */
        snprintf(line + len, sizeof line - (size_t)len, "%llu\n",
                 (unsigned long long)yyjson_get_uint(yyjson_obj_get(m, "value")));
        if (!strstr(line, "incoming") && !strstr(line, "process_") && !strstr(line, "_sum") &&
            !strstr(line, "lag_seconds"))
            ck_assert_msg(strstr(text, line) != NULL, "%s is not in the text", line + 1);
    }
    for (const char *p = text; *p; p++)
        lines += p[0] == '\n' && p[1] && p[1] != '#';
    ck_assert_uint_eq(yyjson_arr_size(metrics), lines);
    yyjson_doc_free(doc);
    free(text);
    wire_free(r);
    node_fini(&n);
}
END_TEST

START_TEST(the_operation_needs_its_scope)
{
    struct node n;
    struct wire *r;

    node_add(&n);
    ck_assert_int_eq(alk_registry_enable_metrics(n.w->reg), ALK_OK);
    node_start(&n);
    wire_request(n.r, "1", "metrics/list", "{}");
    wire_expect_error(n.r, "1", "FORBIDDEN", "authentication required");
    r = open_as(n.w, "[\"metrics:read\"]");
    wire_request(r, "1", "metrics/list", "{}");
    wire_expect_error(r, "1", "FORBIDDEN", "not allowed to call metrics/list");
    wire_free(r);
    r = open_as(n.w, "[\"metrics:*\"]");
    wire_request(r, "1", "metrics/list", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "\"ws_upgrades_refused_total\""));
    wire_free(r);
    node_fini(&n);
}
END_TEST

START_TEST(the_operation_is_there_once_and_before_freezing)
{
    struct node n;

    node_add(&n);
    ck_assert_int_eq(alk_registry_enable_metrics(n.w->reg), ALK_OK);
    ck_assert_int_eq(alk_registry_enable_metrics(n.w->reg), ALK_EEXIST);
    node_start(&n);
    ck_assert_int_eq(alk_registry_enable_metrics(n.w->reg), ALK_EFROZEN);
    node_fini(&n);

    node_init(&n);
    wire_request(n.r, "1", "metrics/list", "{}");
    wire_expect_error(n.r, "1", "NOT_FOUND", "operation not found: metrics/list");
    node_fini(&n);
}
END_TEST

MAIN("metrics", incoming_calls_are_counted_by_outcome,
     a_request_without_an_operation_is_a_call_that_was_refused,
     ends_that_others_bring_about_are_counted, nested_calls_are_a_kind_of_their_own,
     outgoing_calls_are_a_kind_of_their_own, a_call_that_could_not_be_made_is_not_counted,
     connections_envelopes_and_tokens_are_counted,
     what_waits_for_a_remote_is_measured_once_a_second, what_waited_is_gone_with_the_connection,
     held_messages_are_told, a_dispatcher_that_is_gone_leaves_its_counts,
     another_thread_reads_while_calls_run_and_dispatchers_come_and_go,
     the_operation_tells_the_same_as_the_text, the_operation_needs_its_scope,
     the_operation_is_there_once_and_before_freezing)
