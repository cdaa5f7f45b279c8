/* Hosts from outside: what events come, in which order, and what each submission says. */
#include "host_rig.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADD 1
#define TICK 2

static alk_host *served(void)
{
    alk_host *h = host_of("{}");

    host_adds(h, "demo/add", ALK_QUERY, ADD);
    host_adds(h, "demo/tick", ALK_SUBSCRIPTION, TICK);
    host_starts(h);
    return h;
}

START_TEST(a_call_comes_and_is_answered)
{
    alk_host *h = served();
    alk_host_call_options o = {.size = sizeof o, .tag = 77, .identity = NAMED};
    uint64_t id = host_calls(h, "demo/add", "{\"a\": 1}", &o);
    alk_host_event e = host_expects(h, ALK_HOST_CALL, 0);
    uint64_t call = e.id;

    ck_assert_uint_eq(e.tag, ADD);
    ck_assert_uint_eq(e.type, ALK_QUERY);
    ck_assert_str_eq(e.operation, "demo/add");
    ck_assert_str_eq(e.text, "{\"a\":1}");
    ck_assert_uint_eq(e.text_len, 7);
    ck_assert_uint_gt(e.timeout_ms, 29000);
    ck_assert_uint_le(e.timeout_ms, 30000);
    ck_assert_str_eq(e.identity, NAMED);
    ck_assert_str_eq(e.originator, NAMED);
    ck_assert_uint_eq(e.connection, 0);
    ck_assert_ptr_nonnull(e.request_id);
    ck_assert_ptr_null(e.parent_id);
    host_gives(h, &e);
    host_replies(h, call, " {\"sum\": 3}");
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    e = host_expects(h, ALK_HOST_END, id);
    ck_assert_uint_eq(e.tag, 77);
    ck_assert_int_eq(e.rc, ALK_END_OK);
    ck_assert_str_eq(e.text, "{\"sum\":3}");
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

START_TEST(a_subscription_has_its_values_in_order)
{
    alk_host *h = served();
    uint64_t id = host_subscribes(h, "demo/tick", "null");
    uint64_t call = host_serves(h, TICK);

    for (int i = 0; i < 100; i++) {
        char text[16];

        snprintf(text, sizeof text, "%d", i);
        ck_assert_int_eq(alk_host_emit(h, call, TEXT(text)), ALK_OK);
    }
    ck_assert_int_eq(alk_host_complete(h, call), ALK_OK);
    int values = 0, ends = 0;
    while (ends < 2) {
        alk_host_event e = host_next(h);

        if (e.kind == ALK_HOST_VALUE) {
            ck_assert_uint_eq(e.id, id);
            ck_assert_int_eq(atoi(e.text), values++);
        } else {
            ck_assert_uint_eq(e.kind, ALK_HOST_END);
            ck_assert_int_eq(e.rc, ALK_END_OK);
            ck_assert_ptr_null(e.text);
            ends++;
        }
        host_gives(h, &e);
    }
    ck_assert_int_eq(values, 100);
    host_ends(h);
}
END_TEST

static const struct {
    const char *fault, *told;
} faults[] = {
    {"{\"code\":\"NOT_ENOUGH\",\"message\":\"m\",\"retryable\":true,\"details\":{\"left\":1}}",
     "{\"code\":\"NOT_ENOUGH\",\"message\":\"m\",\"retryable\":true,\"details\":{\"left\":1}}"},
    {"{\"code\":\"X\"}", "{\"code\":\"X\",\"message\":\"\",\"retryable\":false}"},
    {"{\"code\":\"BUSY\",\"message\":\"m\",\"retryable\":true}",
     "{\"code\":\"INTERNAL\",\"message\":\"m\",\"retryable\":false}"},
    {"{\"code\":\"INVALID_INPUT\",\"message\":\"m\",\"details\":[1]}",
     "{\"code\":\"INVALID_INPUT\",\"message\":\"m\",\"retryable\":false,\"details\":[1]}"},
    {"{\"message\":\"m\"}",
     "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"},
    {"[]", "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"},
    {"", "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"},
    {"{", "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}"},
};

START_TEST(a_failure_is_told_as_it_is)
{
    alk_host *h = served();
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);

    ck_assert_int_eq(alk_host_fail(h, call, TEXT(faults[_i].fault)), ALK_OK);
    host_sees(h, ALK_HOST_END, call, ALK_END_FAULT, faults[_i].told);
    host_sees(h, ALK_HOST_END, id, ALK_END_FAULT, faults[_i].told);
    host_ends(h);
}
END_TEST

static const char *const no_json[] = {"", "{", "nan", "\"\xff\"", "1 2", "{\"a\":1,\"a\":2}"};

START_TEST(what_is_no_json_fails_its_call_at_once)
{
    alk_host *h = served();
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);
    const char *internal =
        "{\"code\":\"INTERNAL\",\"message\":\"internal error\",\"retryable\":false}";

    host_replies(h, call, no_json[_i]);
    host_sees(h, ALK_HOST_END, call, ALK_END_FAULT, internal);
    host_sees(h, ALK_HOST_END, id, ALK_END_FAULT, internal);
    id = host_subscribes(h, "demo/tick", "1");
    call = host_serves(h, TICK);
    ck_assert_int_eq(alk_host_emit(h, call, TEXT(no_json[_i])), ALK_OK);
    host_sees(h, ALK_HOST_END, call, ALK_END_FAULT, internal);
    host_sees(h, ALK_HOST_END, id, ALK_END_FAULT, internal);
    host_ends(h);
}
END_TEST

START_TEST(a_call_is_answered_once_and_as_its_type_has_it)
{
    alk_host *h = served();
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);

    ck_assert_int_eq(alk_host_emit(h, call, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_host_complete(h, call), ALK_EINVAL);
    ck_assert_int_eq(alk_host_abort(h, call), ALK_EINVAL);
    ck_assert_int_eq(alk_host_pause(h, call, 1), ALK_EINVAL);
    ck_assert_int_eq(alk_host_reply(h, id, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_host_fail(h, id, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_host_pause(h, id, 1), ALK_EINVAL);
    host_replies(h, call, "2");
    ck_assert_int_eq(alk_host_reply(h, call, "3", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_fail(h, call, TEXT("{\"code\":\"X\"}")), ALK_EENDED);
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_sees(h, ALK_HOST_END, id, ALK_END_OK, "2");
    ck_assert_int_eq(alk_host_reply(h, call, "3", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_abort(h, id), ALK_EENDED);
    /* Ids that nobody has been given. */
    ck_assert_int_eq(alk_host_reply(h, 0, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_reply(h, UINT64_MAX, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_abort(h, call ^ 1), ALK_EENDED);
    id = host_subscribes(h, "demo/tick", "1");
    call = host_serves(h, TICK);
    ck_assert_int_eq(alk_host_reply(h, call, "1", 1), ALK_EINVAL);
    ck_assert_int_eq(alk_host_complete(h, call), ALK_OK);
    ck_assert_int_eq(alk_host_emit(h, call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_complete(h, call), ALK_EENDED);
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_sees(h, ALK_HOST_END, id, ALK_END_OK, NULL);
    host_ends(h);
}
END_TEST

START_TEST(an_abort_reaches_the_call_and_each_ends_once)
{
    alk_host *h = served();
    const char *aborted = "{\"code\":\"ABORTED\",\"message\":\"aborted\",\"retryable\":false}";
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);

    ck_assert_int_eq(alk_host_abort(h, id), ALK_OK);
    ck_assert_int_eq(alk_host_abort(h, id), ALK_EENDED);
    host_sees(h, ALK_HOST_END, call, ALK_END_ABORTED, aborted);
    host_sees(h, ALK_HOST_END, id, ALK_END_ABORTED, aborted);
    ck_assert_int_eq(alk_host_reply(h, call, "1", 1), ALK_EENDED);
    ck_assert_int_eq(alk_host_wait(h, 50), 0);
    host_ends(h);
}
END_TEST

START_TEST(a_deadline_ends_both_sides)
{
    alk_host *h = served();
    alk_host_call_options o = {.size = sizeof o, .timeout_ms = 20};
    uint64_t id = host_calls(h, "demo/add", "1", &o), call = host_serves(h, ADD);
    alk_host_event e = host_expects(h, ALK_HOST_END, call);

    ck_assert_int_eq(e.rc, ALK_END_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(e.text, "\"TIMEOUT\""));
    host_gives(h, &e);
    e = host_expects(h, ALK_HOST_END, id);
    ck_assert_int_eq(e.rc, ALK_END_TIMEOUT);
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

static const struct {
    const char *operation, *input, *says;
    uint32_t stream;
    const char *peer;
} refused[] = {
    {"demo/none", "1", "\"NOT_FOUND\"", 0, NULL},
    {"demo/add", "1", "\"NOT_FOUND\"", 0, "nobody"},
    {"demo/add", "{", "\"INVALID_INPUT\"", 0, NULL},
    {"demo/add", "1", "\"INVALID_OPERATION_TYPE\"", 1, NULL},
};

START_TEST(what_speaks_against_a_call_is_its_end)
{
    alk_host *h = served();
    alk_host_call_options o = {
        .size = sizeof o, .stream = refused[_i].stream, .peer = refused[_i].peer};
    uint64_t id = host_calls(h, refused[_i].operation, refused[_i].input, &o);
    alk_host_event e = host_expects(h, ALK_HOST_END, id);

    ck_assert_int_eq(e.rc, ALK_END_FAULT);
    ck_assert_msg(strstr(e.text, refused[_i].says) != NULL, "%s", e.text);
    host_gives(h, &e);
    host_ends(h);
}
END_TEST

START_TEST(access_is_asked_for_whoever_calls)
{
    alk_host *h = host_of("{}");
    alk_host_call_options as = {.size = sizeof as, .identity = NAMED};
    char err[256];
    alk_operation op;
    alk_host_event e;

    alk_operation_init(&op, sizeof op);
    op.name = "demo/guarded";
    op.access_control = "{\"required_scopes\":[\"a:b\"]}";
    ck_assert_int_eq(alk_host_add(h, &op, 5, err, sizeof err), ALK_OK);
    host_starts(h);
    uint64_t id = host_calls(h, "demo/guarded", "1", NULL);
    e = host_expects(h, ALK_HOST_END, id);
    ck_assert_msg(strstr(e.text, "\"FORBIDDEN\"") != NULL, "%s", e.text);
    host_gives(h, &e);
    for (int i = 0; i < 3; i++) {
        id = host_calls(h, "demo/guarded", "1", &as);
        uint64_t call = host_serves(h, 5);

        host_replies(h, call, "1");
        host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
        host_sees(h, ALK_HOST_END, id, ALK_END_OK, "1");
    }
    as.identity = "{\"id\":1}";
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/guarded"), "1", 1, &as, &id), ALK_EJSON);
    host_ends(h);
}
END_TEST

START_TEST(options_are_looked_at)
{
    alk_host *h = served();
    alk_host_call_options o = {.size = sizeof o, .stream = 2};
    uint64_t id;

    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EINVAL);
    o = (alk_host_call_options){.size = sizeof o, .policy = 9};
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EINVAL);
    o = (alk_host_call_options){.size = sizeof o, .traceparent = "x"};
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EINVAL);
    o = (alk_host_call_options){.size = 0};
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EINVAL);
    ck_assert_int_eq(alk_host_call(h, TEXT("demo add"), "1", 1, NULL, &id), ALK_EINVAL);
    ck_assert_int_eq(alk_host_call(h, "demo\0add", 8, "1", 1, NULL, &id), ALK_EINVAL);
    o = (alk_host_call_options){.size = sizeof o, .parent = 12345};
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EENDED);
    o = (alk_host_call_options){.size = sizeof o, .connection = 12345};
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, &o, &id), ALK_EENDED);
    host_ends(h);
}
END_TEST

START_TEST(nested_calls_run_with_their_parent)
{
    alk_host *h = host_of("{}");
    alk_host_call_options o = {.size = sizeof o};
    char err[256];
    alk_operation op;
    alk_host_event e;

    alk_operation_init(&op, sizeof op);
    op.name = "demo/outer";
    op.authority = "{\"label\":\"outer\",\"scopes\":[\"in:use\"]}";
    op.environment = "{\"allowed_ops\":[\"demo/inner\"]}";
    ck_assert_int_eq(alk_host_add(h, &op, 1, err, sizeof err), ALK_OK);
    alk_operation_init(&op, sizeof op);
    op.name = "demo/inner";
    op.visibility = ALK_INTERNAL_ONLY;
    op.access_control = "{\"required_scopes\":[\"in:use\"]}";
    ck_assert_int_eq(alk_host_add(h, &op, 2, err, sizeof err), ALK_OK);
    host_starts(h);
    uint64_t id = host_calls(h, "demo/outer", "1", NULL);
    o.parent = host_serves(h, 1);
    uint64_t nested = host_calls(h, "demo/inner", "2", &o);
    e = host_expects(h, ALK_HOST_CALL, 0);
    uint64_t inner = e.id;
    ck_assert_uint_eq(e.tag, 2);
    ck_assert_ptr_nonnull(e.parent_id);
    ck_assert_msg(strstr(e.identity, "\"handler:outer\"") != NULL, "%s", e.identity);
    host_gives(h, &e);
    /* The parent's end is the child's, and both are told of on both sides. */
    ck_assert_int_eq(alk_host_abort(h, id), ALK_OK);
    bool seen[4] = {false};
    const uint64_t ids[] = {inner, nested, o.parent, id};
    for (int i = 0; i < 4; i++) {
        e = host_expects(h, ALK_HOST_END, 0);
        ck_assert_int_eq(e.rc, ALK_END_ABORTED);
        for (int k = 0; k < 4; k++) {
            if (ids[k] == e.id) {
                ck_assert(!seen[k]);
                seen[k] = true;
            }
        }
        host_gives(h, &e);
    }
    ck_assert(seen[0] && seen[1] && seen[2] && seen[3]);
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/inner"), "2", 1, &o, &nested), ALK_EENDED);
    host_ends(h);
}
END_TEST

/* ---- queues ---------------------------------------------------------------------------------- */

START_TEST(emits_wait_for_a_reader_who_is_paused)
{
    alk_host *h = served();
    uint64_t id = host_subscribes(h, "demo/tick", "null"), call = host_serves(h, TICK);
    char large[20002];
    int sent = 0, come = 0, rc;

    memset(large, 'x', sizeof large);
    large[0] = large[sizeof large - 2] = '"';
    large[sizeof large - 1] = 0;
    ck_assert_int_eq(alk_host_pause(h, id, 1), ALK_OK);
    while ((rc = alk_host_emit(h, call, TEXT(large))) == ALK_OK && sent < 100000)
        sent++;
    ck_assert_int_eq(rc, ALK_EAGAIN);
    ck_assert_int_eq(alk_host_emit(h, call, TEXT(large)), ALK_EAGAIN);
    ck_assert_int_le(sent, 1000);
    ck_assert_int_eq(alk_host_wait(h, 50), 0);
    ck_assert_int_eq(alk_host_pause(h, id, 0), ALK_OK);
    for (bool room = false; !room || come < sent;) {
        alk_host_event e = host_next(h);

        room |= e.kind == ALK_HOST_ROOM;
        come += e.kind == ALK_HOST_VALUE;
        ck_assert_uint_eq(e.id, e.kind == ALK_HOST_ROOM ? call : id);
        host_gives(h, &e);
    }
    ck_assert_int_eq(alk_host_emit(h, call, "1", 1), ALK_OK);
    host_sees(h, ALK_HOST_VALUE, id, 0, "1");
    /* What waits for room has an end, too. */
    ck_assert_int_eq(alk_host_pause(h, id, 1), ALK_OK);
    while (alk_host_emit(h, call, TEXT(large)) == ALK_OK)
        ;
    ck_assert_int_eq(alk_host_abort(h, id), ALK_OK);
    alk_host_event e = host_expects(h, ALK_HOST_END, call);
    host_gives(h, &e);
    host_sees(h, ALK_HOST_END, id, ALK_END_ABORTED,
              "{\"code\":\"ABORTED\",\"message\":\"aborted\",\"retryable\":false}");
    host_ends(h);
}
END_TEST

START_TEST(a_queue_that_nobody_drains_is_bounded)
{
    alk_host_options o = {.size = sizeof o, .queue_events = 16};
    alk_host *h = host_made(&o);
    uint64_t ids[64];
    int busy = 0, calls = 0;

    host_adds(h, "demo/add", ALK_QUERY, ADD);
    host_starts(h);
    for (int i = 0; i < 64; i++) {
        int rc;

        while ((rc = alk_host_call(h, TEXT("demo/add"), "1", 1, NULL, &ids[i])) == ALK_EAGAIN)
            usleep(1000);
        ck_assert_int_eq(rc, ALK_OK);
    }
    usleep(50000);
    for (int ends = 0; ends < 64;) {
        alk_host_event e = host_next(h);

        if (e.kind == ALK_HOST_CALL) {
            calls++;
            host_replies(h, e.id, "1");
        } else if (e.kind == ALK_HOST_END && e.tag == 0) {
            ends++;
            busy += e.rc == ALK_END_FAULT && strstr(e.text, "\"BUSY\"") != NULL;
        }
        host_gives(h, &e);
    }
    ck_assert_int_ge(busy, 20);
    ck_assert_int_eq(calls + busy, 64);
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = 0;
    while (!call) {
        alk_host_event e = host_next(h);

        call = e.kind == ALK_HOST_CALL ? e.id : 0;
        host_gives(h, &e);
    }
    host_replies(h, call, "7");
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_sees(h, ALK_HOST_END, id, ALK_END_OK, "7");
    host_ends(h);
}
END_TEST

static int emit_numbers(alk_call *call, void *ud);
static void emit_more(alk_call *call, void *ud)
{
    emit_numbers(call, ud);
}

static int emit_numbers(alk_call *call, void *ud)
{
    int *n = ud, rc;

    while (*n < 20000) {
        char text[16];

        snprintf(text, sizeof text, "%d", *n);
        rc = alk_call_emit(call, TEXT(text));
        if (rc == ALK_EAGAIN)
            return alk_call_on_drain(call, emit_more, ud);
        ++*n;
    }
    return alk_call_complete(call);
}

START_TEST(subscriptions_are_paused_while_nobody_drains)
{
    alk_host_options o = {.size = sizeof o, .queue_events = 64};
    alk_host *h = host_made(&o);
    alk_operation op;
    int n = 0, come = 0;

    alk_operation_init(&op, sizeof op);
    op.name = "demo/numbers";
    op.type = ALK_SUBSCRIPTION;
    op.handler = emit_numbers;
    op.ud = &n;
    ck_assert_int_eq(alk_registry_add(alk_host_registry(h), &op), ALK_OK);
    host_starts(h);
    uint64_t id = host_subscribes(h, "demo/numbers", "null");
    usleep(100000);
    /* All in one array, so it cannot be more than waited. */
    static alk_host_event all[20100];
    size_t waited = alk_host_drain(h, all, sizeof *all, 20100);
    ck_assert_uint_le(waited, 65);
    for (size_t i = 0; i < waited; i++)
        ck_assert_int_eq(atoi(all[i].text), come++);
    alk_host_release(h, all, sizeof *all, waited);
    for (;;) {
        alk_host_event e = host_expects(h, come < 20000 ? ALK_HOST_VALUE : ALK_HOST_END, id);

        if (e.kind == ALK_HOST_VALUE)
            ck_assert_int_eq(atoi(e.text), come++);
        host_gives(h, &e);
        if (e.kind == ALK_HOST_END)
            break;
    }
    host_ends(h);
}
END_TEST

START_TEST(submissions_are_bounded_and_go_on)
{
    alk_host_options o = {.size = sizeof o, .queue_events = 4};
    alk_host *h = host_made(&o);
    int again = 0, rooms = 0, ends = 0, started = 0;

    host_adds(h, "demo/add", ALK_QUERY, ADD);
    host_starts(h);
    for (int i = 0; i < 20000; i++) {
        uint64_t id;
        int rc = alk_host_call(h, TEXT("demo/none"), "1", 1, NULL, &id);

        again += rc == ALK_EAGAIN;
        started += rc == ALK_OK;
        ck_assert(rc == ALK_OK || rc == ALK_EAGAIN);
    }
    ck_assert_int_gt(again, 0);
    while (!rooms || ends < started) {
        alk_host_event e = host_next(h);

        rooms += e.kind == ALK_HOST_ROOM && e.id == 0;
        ends += e.kind == ALK_HOST_END;
        host_gives(h, &e);
    }
    ck_assert_int_eq(ends, started);
    host_ends(h);
}
END_TEST

static bool readable(alk_host *h)
{
    struct pollfd p = {.fd = alk_host_fd(h), .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* More than the loop does at once, and some that come while it is at it. */
START_TEST(submissions_that_come_in_between_have_their_turn)
{
    enum { ROUNDS = 20, CALLS = 4000 };
    alk_host *h = host_of("{}");

    host_starts(h);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CALLS; i++)
            host_calls(h, "no/such", "1", NULL);
        for (int i = 0; i < CALLS; i++) {
            alk_host_event e = host_expects(h, ALK_HOST_END, 0);

            host_gives(h, &e);
        }
    }
    host_ends(h);
}
END_TEST

START_TEST(the_descriptor_is_readable_while_events_wait)
{
    alk_host *h = served();
    alk_host_event e[3];

    ck_assert(!readable(h));
    host_calls(h, "demo/none", "1", NULL);
    host_calls(h, "demo/none", "1", NULL);
    ck_assert_int_eq(alk_host_wait(h, LONG_MS), 1);
    usleep(50000);
    ck_assert(readable(h));
    ck_assert(readable(h));
    ck_assert_uint_eq(alk_host_drain(h, e, sizeof *e, 1), 1);
    ck_assert(readable(h));
    ck_assert_uint_eq(alk_host_drain(h, e + 1, sizeof *e, 2), 1);
    ck_assert(!readable(h));
    ck_assert_uint_eq(alk_host_drain(h, e + 2, sizeof *e, 1), 0);
    alk_host_release(h, e, sizeof *e, 2);
    alk_host_release(h, e, sizeof *e, 2); /* a second time is harmless */
    host_ends(h);
}
END_TEST

START_TEST(a_program_with_a_smaller_or_larger_event_reads_its_part)
{
    struct older {
        uint32_t kind;
        int32_t rc;
        uint64_t id, tag;
        const char *text;
        size_t text_len;
        void *memory;
    } small[2];
    struct newer {
        alk_host_event e;
        uint64_t more;
    } large;
    alk_host *h = served();

    uint64_t id = host_calls(h, "demo/none", "1", NULL);
    ck_assert_int_eq(alk_host_wait(h, LONG_MS), 1);
    ck_assert_uint_eq(alk_host_drain(h, (void *)small, sizeof *small, 2), 1);
    ck_assert_uint_eq(small[0].id, id);
    alk_host_release(h, (void *)small, sizeof *small, 1);
    id = host_calls(h, "demo/none", "1", NULL);
    memset(&large, 0xff, sizeof large);
    ck_assert_int_eq(alk_host_wait(h, LONG_MS), 1);
    ck_assert_uint_eq(alk_host_drain(h, (void *)&large, sizeof large, 1), 1);
    ck_assert_uint_eq(large.e.id, id);
    ck_assert_uint_eq(large.more, 0);
    alk_host_release(h, (void *)&large, sizeof large, 1);
    host_ends(h);
}
END_TEST

/* ---- connections ----------------------------------------------------------------------------- */

static alk_host *server(int *port)
{
    alk_host_options o = {.size = sizeof o, .sessions = 1};
    const char *config = with_listener();

    o.config = config;
    o.config_len = strlen(config);
    alk_host *h = host_made(&o);
    host_adds(h, "demo/add", ALK_QUERY, ADD);
    host_adds(h, "demo/tick", ALK_SUBSCRIPTION, TICK);
    host_starts(h);
    *port = host_listens(h);
    return h;
}

static uint64_t dials(alk_host *h, int port, const char *more)
{
    char entry[256], err[640] = "";
    uint64_t id = 0;

    snprintf(entry, sizeof entry, "{\"url\":\"ws://127.0.0.1:%d\",\"token\":\"" TOKEN "\"%s}", port,
             more);
    ck_assert_msg(alk_host_dial(h, TEXT(entry), 9, &id, err, sizeof err) == ALK_OK, "%s", err);
    return id;
}

START_TEST(calls_go_both_ways_over_a_dialled_connection)
{
    int port;
    alk_host *s = server(&port), *c = host_of("{}");
    alk_host_event e;

    host_adds(c, "back/ask", ALK_QUERY, 4);
    host_starts(c);
    uint64_t conn = dials(c, port, "");
    e = host_expects(c, ALK_HOST_UP, conn);
    ck_assert_uint_eq(e.tag, 9);
    host_gives(c, &e);
    e = host_expects(s, ALK_HOST_UP, 0);
    uint64_t session = e.id;
    ck_assert_ptr_nonnull(strstr(e.identity, "demo:use"));
    host_gives(s, &e);

    alk_host_call_options to = {.size = sizeof to, .connection = conn};
    uint64_t id = host_calls(c, "demo/add", "[1,2]", &to);
    e = host_expects(s, ALK_HOST_CALL, 0);
    ck_assert_uint_eq(e.connection, session);
    ck_assert_ptr_nonnull(strstr(e.identity, "demo:use"));
    uint64_t call = e.id;
    host_gives(s, &e);

    alk_host_call_options back = {.size = sizeof back, .connection = session};
    uint64_t asks = host_calls(s, "back/ask", "5", &back);
    uint64_t asked = host_serves(c, 4);
    host_replies(c, asked, "6");
    host_sees(s, ALK_HOST_END, asks, ALK_END_OK, "6");
    host_sees(c, ALK_HOST_END, asked, ALK_END_OK, NULL);

    host_replies(s, call, "3");
    host_sees(c, ALK_HOST_END, id, ALK_END_OK, "3");
    host_sees(s, ALK_HOST_END, call, ALK_END_OK, NULL);

    ck_assert_int_eq(alk_host_abort(c, conn), ALK_OK);
    host_sees(c, ALK_HOST_END, conn, 1000, NULL);
    e = host_expects(s, ALK_HOST_END, session);
    host_gives(s, &e);
    ck_assert_int_eq(alk_host_call(c, TEXT("demo/add"), "1", 1, &to, &id), ALK_EENDED);
    host_ends(c);
    host_ends(s);
}
END_TEST

/* ---- several workers ------------------------------------------------------------------------- */

/* A host with workers, and another one with connections to it, so many that each of its loops has
 * some. */
#define WORKERS 3
#define CONNECTIONS 12

static struct {
    alk_host *s, *c;
    int port;
    uint64_t dialled[CONNECTIONS], sessions[CONNECTIONS];
} many;

static void adds_with(alk_host *h, const char *name, const char *authority, const char *environment)
{
    char err[256] = "";
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.authority = authority;
    op.environment = environment;
    ck_assert_msg(alk_host_add(h, &op, ADD, err, sizeof err) == ALK_OK, "%s", err);
}

/* more: members of the entry that is dialled. */
static void start_many(const char *more)
{
    alk_host_options o = {.size = sizeof o, .workers = WORKERS, .sessions = 1};
    const char *config = with_listener();
    alk_host_event e;
    int port;

    o.config = config;
    o.config_len = strlen(config);
    many.s = host_made(&o);
    many.c = host_of("{}");
    host_adds(many.s, "demo/tick", ALK_SUBSCRIPTION, TICK);
    adds_with(many.s, "demo/add", "{\"label\":\"adder\",\"scopes\":[\"a:b\"]}",
              "{\"allowed_ops\":[\"back/*\"]}");
    host_adds(many.c, "back/ask", ALK_QUERY, 4);
    host_adds(many.c, "back/watch", ALK_SUBSCRIPTION, 5);
    host_starts(many.s);
    port = many.port = host_listens(many.s);
    host_starts(many.c);
    for (int i = 0; i < CONNECTIONS; i++) {
        many.dialled[i] = dials(many.c, port, more);
        e = host_expects(many.s, ALK_HOST_UP, 0);
        many.sessions[i] = e.connection;
        ck_assert_uint_eq(e.id, e.connection);
        ck_assert_ptr_nonnull(strstr(e.identity, "demo:use"));
        ck_assert_str_eq(e.address, "127.0.0.1");
        host_gives(many.s, &e);
        e = host_expects(many.c, ALK_HOST_UP, many.dialled[i]);
        host_gives(many.c, &e);
    }
}

static void end_many(void)
{
    host_ends(many.c);
    host_ends(many.s);
}

/* The call that comes to the program of s by the i-th connection. */
static uint64_t called(uint64_t tag, int i, const char *input)
{
    alk_host_event e = host_expects(many.s, ALK_HOST_CALL, 0);
    uint64_t call = e.id;

    ck_assert_uint_eq(e.tag, tag);
    ck_assert_uint_eq(e.connection, many.sessions[i]);
    ck_assert_str_eq(e.text, input);
    ck_assert_ptr_nonnull(strstr(e.identity, "demo:use"));
    host_gives(many.s, &e);
    return call;
}

/* They run on the first worker's thread, to which the others' calls cross. */
START_TEST(calls_reach_the_program_by_whatever_worker)
{
    start_many("");
    for (int i = 0; i < CONNECTIONS; i++) {
        alk_host_call_options to = {.size = sizeof to, .connection = many.dialled[i]};
        uint64_t id = host_calls(many.c, "demo/add", "[1,2]", &to);
        uint64_t call = called(ADD, i, "[1,2]");
        alk_host_event e;
        host_replies(many.s, call, "3");
        host_sees(many.c, ALK_HOST_END, id, ALK_END_OK, "3");
        host_sees(many.s, ALK_HOST_END, call, ALK_END_OK, NULL);

        id = host_calls(many.c, "demo/add", "1", &to);
        call = called(ADD, i, "1");
        ck_assert_int_eq(
            alk_host_fail(many.s, call, TEXT("{\"code\":\"INVALID_INPUT\",\"message\":\"no\"}")),
            ALK_OK);
        host_sees(many.c, ALK_HOST_END, id, ALK_END_FAULT,
                  "{\"code\":\"INVALID_INPUT\",\"message\":\"no\",\"retryable\":false}");
        e = host_expects(many.s, ALK_HOST_END, call);
        host_gives(many.s, &e);

        to.stream = 1;
        id = host_calls(many.c, "demo/tick", "{}", &to);
        call = called(TICK, i, "{}");
        for (int n = 0; n < 3; n++) {
            ck_assert_int_eq(alk_host_emit(many.s, call, "7", 1), ALK_OK);
            host_sees(many.c, ALK_HOST_VALUE, id, 0, "7");
        }
        ck_assert_int_eq(alk_host_abort(many.c, id), ALK_OK);
        e = host_expects(many.c, ALK_HOST_END, id);
        host_gives(many.c, &e);
        e = host_expects(many.s, ALK_HOST_END, call);
        ck_assert_int_eq(e.rc, ALK_END_ABORTED);
        host_gives(many.s, &e);
    }
    end_many();
}
END_TEST

START_TEST(the_program_calls_back_by_whatever_worker)
{
    start_many("");
    for (int i = 0; i < CONNECTIONS; i++) {
        alk_host_call_options back = {.size = sizeof back, .connection = many.sessions[i]};
        uint64_t asks = host_calls(many.s, "back/ask", "{\"a\":[1]}", &back);
        alk_host_event e = host_expects(many.c, ALK_HOST_CALL, 0);
        uint64_t asked = e.id;
        ck_assert_uint_eq(e.connection, many.dialled[i]);
        ck_assert_str_eq(e.text, "{\"a\":[1]}");
        host_gives(many.c, &e);
        host_replies(many.c, asked, "6");
        host_sees(many.s, ALK_HOST_END, asks, ALK_END_OK, "6");
        host_sees(many.c, ALK_HOST_END, asked, ALK_END_OK, NULL);

        asks = host_calls(many.s, "back/ask", "1", &back);
        asked = host_serves(many.c, 4);
        ck_assert_int_eq(alk_host_fail(many.c, asked, TEXT("{\"code\":\"OWN\",\"details\":[7]}")),
                         ALK_OK);
        e = host_expects(many.s, ALK_HOST_END, asks);
        ck_assert_int_eq(e.rc, ALK_END_FAULT);
        ck_assert_ptr_nonnull(strstr(e.text, "\"code\":\"OWN\""));
        ck_assert_ptr_nonnull(strstr(e.text, "\"details\":[7]"));
        host_gives(many.s, &e);
        e = host_expects(many.c, ALK_HOST_END, asked);
        host_gives(many.c, &e);

        asks = host_calls(many.s, "back/nothing", "1", &back);
        e = host_expects(many.s, ALK_HOST_END, asks);
        ck_assert_ptr_nonnull(strstr(e.text, "NOT_FOUND"));
        host_gives(many.s, &e);

        back.stream = 1;
        asks = host_calls(many.s, "back/watch", "1", &back);
        asked = host_serves(many.c, 5);
        for (int n = 0; n < 3; n++) {
            ck_assert_int_eq(alk_host_emit(many.c, asked, "7", 1), ALK_OK);
            host_sees(many.s, ALK_HOST_VALUE, asks, 0, "7");
        }
        ck_assert_int_eq(alk_host_abort(many.s, asks), ALK_OK);
        e = host_expects(many.s, ALK_HOST_END, asks);
        ck_assert_int_eq(e.rc, ALK_END_ABORTED);
        host_gives(many.s, &e);
        host_sees(many.c, ALK_HOST_END, asked, ALK_END_ABORTED,
                  "{\"code\":\"ABORTED\",\"message\":\"aborted\",\"retryable\":false}");

        back.stream = 0;
        back.timeout_ms = 50;
        asks = host_calls(many.s, "back/ask", "1", &back);
        host_serves(many.c, 4);
        e = host_expects(many.s, ALK_HOST_END, asks);
        ck_assert_ptr_nonnull(strstr(e.text, "\"code\":\"TIMEOUT\"")); /* whoever says it first */
        host_gives(many.s, &e);
        e = host_expects(many.c, ALK_HOST_END, 0);
        host_gives(many.c, &e);
    }
    end_many();
}
END_TEST

/* As a child it runs within the environment of the operation, and reaches what the caller serves,
 * and nobody else. */
START_TEST(a_call_to_the_program_asks_its_caller_by_whatever_worker)
{
    start_many(",\"announce\":true");
    for (int i = 0; i < CONNECTIONS; i++) {
        alk_host_call_options to = {.size = sizeof to, .connection = many.dialled[i]};
        uint64_t id = host_calls(many.c, "demo/add", "[1,2]", &to);
        uint64_t call = called(ADD, i, "[1,2]");
        alk_host_call_options back = {
            .size = sizeof back, .connection = many.sessions[i], .parent = call};
        static const char *const beyond[] = {"back/nothing", "demo/add", "services/list"};
        alk_host_event e;

        uint64_t asks = host_calls(many.s, "back/ask", "5", &back), asked;
        e = host_expects(many.c, ALK_HOST_CALL, 0);
        asked = e.id;
        ck_assert_uint_eq(e.connection, many.dialled[i]);
        host_gives(many.c, &e);
        host_replies(many.c, asked, "6");
        host_sees(many.s, ALK_HOST_END, asks, ALK_END_OK, "6");
        host_sees(many.c, ALK_HOST_END, asked, ALK_END_OK, NULL);

        for (size_t n = 0; n < sizeof beyond / sizeof *beyond; n++) {
            asks = host_calls(many.s, beyond[n], "5", &back);
            e = host_expects(many.s, ALK_HOST_END, asks);
            ck_assert_ptr_nonnull(strstr(e.text, "NOT_FOUND"));
            host_gives(many.s, &e);
        }
        back.stream = 1;
        asks = host_calls(many.s, "back/ask", "5", &back);
        e = host_expects(many.s, ALK_HOST_END, asks);
        ck_assert_ptr_nonnull(strstr(e.text, "INVALID_OPERATION_TYPE"));
        host_gives(many.s, &e);

        /* What goes on for the call ends with it. */
        asks = host_calls(many.s, "back/watch", "1", &back);
        asked = host_serves(many.c, 5);
        host_replies(many.s, call, "3");
        for (int n = 0; n < 2; n++) {
            e = host_expects(many.s, ALK_HOST_END, 0);
            ck_assert(e.id == asks || e.id == call);
            ck_assert_int_eq(e.rc, e.id == call ? ALK_END_OK : ALK_END_ABORTED);
            host_gives(many.s, &e);
        }
        for (int n = 0; n < 2; n++) {
            e = host_expects(many.c, ALK_HOST_END, 0);
            ck_assert(e.id == id || e.id == asked);
            host_gives(many.c, &e);
        }
    }
    end_many();
}
END_TEST

/* It is the other side's affair how long it goes on, within the time for a drain. */
START_TEST(what_callers_were_asked_goes_on_in_a_graceful_stop)
{
    uint64_t asked[CONNECTIONS];
    int values = 0, well = 0;
    bool draining = false;

    start_many("");
    for (int i = 0; i < CONNECTIONS; i++) {
        alk_host_call_options back = {
            .size = sizeof back, .connection = many.sessions[i], .stream = 1};

        host_calls(many.s, "back/watch", "1", &back);
        asked[i] = host_serves(many.c, 5);
    }
    ck_assert_int_eq(alk_host_stop(many.s, 1), ALK_OK);
    for (bool stopped = false; !stopped;) {
        alk_host_event e = host_next(many.s);

        draining |= e.kind == ALK_HOST_DRAINING;
        values += e.kind == ALK_HOST_VALUE;
        well += e.kind == ALK_HOST_END && e.rc == ALK_END_OK;
        stopped = e.kind == ALK_HOST_STOPPED;
        host_gives(many.s, &e);
        if (draining && asked[0]) {
            usleep(200000); /* until all of its loops have begun */
            for (int i = 0; i < CONNECTIONS; i++) {
                ck_assert_int_eq(alk_host_emit(many.c, asked[i], "7", 1), ALK_OK);
                ck_assert_int_eq(alk_host_complete(many.c, asked[i]), ALK_OK);
                asked[i] = 0;
            }
        }
    }
    ck_assert_int_eq(values, CONNECTIONS);
    ck_assert_int_eq(well, CONNECTIONS);
    alk_host_free(many.s);
    host_ends(many.c);
}
END_TEST

START_TEST(sessions_end_by_whatever_worker)
{
    start_many(",\"reconnect\":false");
    for (int i = 0; i < CONNECTIONS; i++) {
        alk_host_call_options back = {.size = sizeof back, .connection = many.sessions[i]};
        uint64_t asks = host_calls(many.s, "back/ask", "1", &back);
        uint64_t asked = host_serves(many.c, 4);
        alk_host_event e;

        /* Each side begins it in turn; the calls by it fail. */
        ck_assert_int_eq(i % 2 ? alk_host_abort(many.s, many.sessions[i])
                               : alk_host_abort(many.c, many.dialled[i]),
                         ALK_OK);
        for (int n = 0; n < 2; n++) {
            e = host_expects(many.s, ALK_HOST_END, 0);
            ck_assert(e.id == asks || e.id == many.sessions[i]);
            ck_assert_int_eq(e.rc, e.id == asks ? ALK_END_FAULT : i % 2 ? 1001 : 1000);
            ck_assert(e.id != asks || strstr(e.text, "connection closed"));
            host_gives(many.s, &e);
        }
        for (int n = 0; n < 2; n++) {
            e = host_expects(many.c, ALK_HOST_END, 0);
            ck_assert(e.id == asked || e.id == many.dialled[i]);
            host_gives(many.c, &e);
        }
        ck_assert_int_eq(alk_host_abort(many.s, many.sessions[i]), ALK_EENDED);
        ck_assert_int_eq(alk_host_call(many.s, TEXT("back/ask"), "1", 1, &back, &asks), ALK_EENDED);
    }
    end_many();
}
END_TEST

START_TEST(a_remote_that_goes_fails_what_runs)
{
    int port;
    alk_host *s = server(&port), *c = host_of("{}");
    alk_host_event e;

    host_starts(c);
    uint64_t conn = dials(c, port, ",\"reconnect\":false");
    e = host_expects(c, ALK_HOST_UP, conn);
    host_gives(c, &e);
    alk_host_call_options to = {.size = sizeof to, .connection = conn};
    uint64_t id = host_calls(c, "demo/add", "1", &to);
    e = host_expects(s, ALK_HOST_UP, 0);
    host_gives(s, &e);
    host_serves(s, ADD);
    host_ends(s);
    e = host_expects(c, ALK_HOST_END, id);
    ck_assert_int_eq(e.rc, ALK_END_FAULT);
    host_gives(c, &e);
    e = host_expects(c, ALK_HOST_END, conn);
    ck_assert_ptr_nonnull(e.text);
    host_gives(c, &e);
    host_ends(c);
}
END_TEST

START_TEST(an_attempt_that_fails_is_told_and_made_again)
{
    alk_host *c = host_of("{}");
    alk_host_event e;

    host_starts(c);
    uint64_t conn = dials(c, 1, "");
    for (int i = 0; i < 2; i++) {
        e = host_expects(c, ALK_HOST_DOWN, conn);
        ck_assert_uint_lt(e.timeout_ms, 60000);
        ck_assert_ptr_nonnull(strstr(e.text, "\"message\":"));
        host_gives(c, &e);
    }
    host_ends(c);
}
END_TEST

START_TEST(whether_another_attempt_may_help_is_said_by_the_reason)
{
    int port;
    alk_host *s = server(&port), *c = host_of("{}");
    char entry[128], err[640];
    uint64_t id;

    host_starts(c);
    id = dials(c, 1, ",\"reconnect\":false");
    alk_host_event e = host_expects(c, ALK_HOST_END, id);
    ck_assert_int_eq(e.rc, 0);
    ck_assert_msg(strstr(e.text, "\"retryable\":true") != NULL, "%s", e.text);
    host_gives(c, &e);
    snprintf(entry, sizeof entry,
             "{\"url\":\"ws://127.0.0.1:%d\",\"token\":\"alk_of_nobody_000000000000\","
             "\"reconnect\":false}",
             port);
    ck_assert_int_eq(alk_host_dial(c, TEXT(entry), 0, &id, err, sizeof err), ALK_OK);
    e = host_expects(c, ALK_HOST_END, id);
    ck_assert_int_eq(e.rc, 401);
    ck_assert_msg(strstr(e.text, "\"code\":\"UNAUTHORIZED\"") != NULL, "%s", e.text);
    ck_assert_msg(strstr(e.text, "\"retryable\":false") != NULL, "%s", e.text);
    host_gives(c, &e);
    host_ends(c);
    host_ends(s);
}
END_TEST

START_TEST(what_is_wrong_with_an_entry_is_said_at_once)
{
    alk_host *c = host_of("{}");
    char err[640];
    uint64_t id;

    host_starts(c);
    ck_assert_int_eq(alk_host_dial(c, TEXT("{\"url\":\"http://x\"}"), 0, &id, err, sizeof err),
                     ALK_ECONFIG);
    ck_assert_msg(strstr(err, "url") != NULL, "%s", err);
    ck_assert_int_eq(alk_host_dial(c, TEXT("{"), 0, &id, err, sizeof err), ALK_ECONFIG);
    host_ends(c);
}
END_TEST

/* ---- life ------------------------------------------------------------------------------------ */

START_TEST(a_graceful_stop_lets_calls_end)
{
    alk_host *h = served();
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);

    ck_assert_int_eq(alk_host_stop(h, 1), ALK_OK);
    host_sees(h, ALK_HOST_DRAINING, 0, 0, NULL);
    uint64_t late = host_calls(h, "demo/add", "1", NULL);
    alk_host_event e = host_expects(h, ALK_HOST_END, late);
    ck_assert_msg(strstr(e.text, "\"BUSY\"") != NULL, "%s", e.text);
    host_gives(h, &e);
    host_replies(h, call, "1");
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_sees(h, ALK_HOST_END, id, ALK_END_OK, "1");
    host_sees(h, ALK_HOST_DRAINED, 0, 0, NULL);
    host_sees(h, ALK_HOST_STOPPED, 0, 0, NULL);
    ck_assert_int_eq(alk_host_wait(h, UINT32_MAX), 0);
    ck_assert_int_eq(alk_host_reply(h, call, "1", 1), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, NULL, &id), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_ECLOSED);
    alk_host_free(h);
}
END_TEST

START_TEST(a_stop_ends_all_that_runs)
{
    alk_host *h = served();
    int ends = 0;

    host_calls(h, "demo/add", "1", NULL);
    host_serves(h, ADD);
    host_subscribes(h, "demo/tick", "1");
    host_serves(h, TICK);
    host_calls(h, "demo/add", "1", NULL);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_OK);
    for (;;) {
        alk_host_event e = host_next(h);

        if (e.kind == ALK_HOST_END) {
            ck_assert_int_ne(e.rc, ALK_END_OK);
            ck_assert_ptr_nonnull(e.text);
            ends++;
        } else if (e.kind == ALK_HOST_CALL) {
            ends--;
        }
        host_gives(h, &e);
        if (e.kind == ALK_HOST_STOPPED)
            break;
    }
    ck_assert_int_eq(ends, 5);
    alk_host_free(h);
}
END_TEST

START_TEST(what_never_started_is_freed)
{
    alk_host *h = host_of("{}");
    uint64_t id;

    host_adds(h, "demo/add", ALK_QUERY, ADD);
    ck_assert_int_eq(alk_host_call(h, TEXT("demo/add"), "1", 1, NULL, &id), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_reply(h, 1, "1", 1), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_stop(h, 1), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_reload(h, "{}", 2), ALK_ECLOSED);
    ck_assert_int_eq(alk_host_wait(h, 0), 0);
    alk_host_free(h);
    alk_host_free(NULL);
}
END_TEST

START_TEST(freeing_stops_what_runs)
{
    alk_host *h = served();

    for (int i = 0; i < 100; i++)
        host_calls(h, "demo/add", "1", NULL);
    alk_host_free(h);
}
END_TEST

START_TEST(a_start_is_made_once_and_says_what_is_wrong)
{
    char err[640] = "";
    int port;
    alk_host *s = server(&port), *h;
    char config[200];

    ck_assert_int_eq(alk_host_start(s, err, sizeof err), ALK_EINVAL);
    snprintf(config, sizeof config, "{\"listen\":[{\"host\":\"127.0.0.1\",\"port\":%d}]}", port);
    h = host_of(config);
    ck_assert_int_eq(alk_host_start(h, err, sizeof err), ALK_ECONFIG);
    ck_assert_msg(strstr(err, "address already in use") != NULL, "%s", err);
    ck_assert_int_eq(alk_host_wait(h, 0), 0);
    alk_host_free(h);
    host_ends(s);
}
END_TEST

static const struct {
    const char *config, *says;
} wrong[] = {
    {"{\"limits\":{\"batch\":\"x\"}}", "limits.batch"},
    {"{\"nope\":1}", "nope"},
    {"{\"demo\":true}", "demo: only alknetd has it"},
    {"{\"log\":{\"file\":\"x\"}}", "log.file: only alknetd has it"},
    {"{", "configuration:1"},
};

START_TEST(what_is_wrong_with_a_configuration_is_said)
{
    alk_host_options o = {
        .size = sizeof o, .config = wrong[_i].config, .config_len = strlen(wrong[_i].config)};
    char err[640] = "";
    alk_host *h;

    ck_assert_int_eq(alk_host_new(&h, &o, err, sizeof err), ALK_ECONFIG);
    ck_assert_ptr_null(h);
    ck_assert_msg(strstr(err, wrong[_i].says) != NULL, "%s", err);
    ck_assert_int_eq(alk_host_new(&h, &o, NULL, 0), ALK_ECONFIG);
    o.size = 3;
    ck_assert_int_eq(alk_host_new(&h, &o, err, sizeof err), ALK_EINVAL);
}
END_TEST

START_TEST(a_reload_takes_all_or_nothing)
{
    int port;
    alk_host *s = server(&port);
    alk_host_event e;

    ck_assert_int_eq(alk_host_reload(s, TEXT("{\"keys\":1}")), ALK_OK);
    e = host_expects(s, ALK_HOST_RELOADED, 0);
    ck_assert_int_eq(e.rc, ALK_ECONFIG);
    ck_assert_msg(strstr(e.text, "keys") != NULL, "%s", e.text);
    host_gives(s, &e);
    ck_assert_int_eq(alk_host_reload(s, TEXT(with_listener())), ALK_OK);
    e = host_expects(s, ALK_HOST_RELOADED, 0);
    ck_assert_int_eq(e.rc, ALK_OK);
    host_gives(s, &e);
    host_ends(s);
}
END_TEST

START_TEST(a_registration_says_what_is_wrong)
{
    alk_host *h = host_of("{}");
    char err[256] = "";
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = "no name";
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_EINVAL);
    ck_assert_str_ne(err, "");
    op.name = "demo/x";
    op.input_schema = "{\"type\":1}";
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_ESCHEMA);
    op.input_schema = NULL;
    op.handler = emit_numbers;
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_EINVAL);
    op.handler = NULL;
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_OK);
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_EEXIST);
    /* A program that knows more members, and sets none of them. */
    struct newer {
        alk_operation op;
        uint64_t more;
    } newer = {.op = op};
    newer.op.size = sizeof newer;
    newer.op.name = "demo/newer";
    ck_assert_int_eq(alk_host_add(h, &newer.op, 0, err, sizeof err), ALK_OK);
    newer.more = 1;
    ck_assert_int_eq(alk_host_add(h, &newer.op, 0, err, sizeof err), ALK_EINVAL);
    host_starts(h);
    op.name = "demo/y";
    ck_assert_int_eq(alk_host_add(h, &op, 0, err, sizeof err), ALK_EFROZEN);
    host_ends(h);
}
END_TEST

START_TEST(members_of_the_configuration_can_be_read)
{
    alk_host *h = host_of("{\"log\":{\"level\":\"warn\"}}");
    size_t len;

    ck_assert_str_eq(alk_host_config(h, "log", &len), "{\"level\":\"warn\"}");
    ck_assert_uint_eq(len, 16);
    ck_assert_ptr_null(alk_host_config(h, "demo", &len));
    alk_host_free(h);
}
END_TEST

START_TEST(a_child_of_the_process_is_refused_and_the_parent_goes_on)
{
    alk_host *h = served();
    uint64_t id = host_calls(h, "demo/add", "1", NULL), call = host_serves(h, ADD);
    int status;
    pid_t child = fork();

    if (child == 0) {
        alk_host_event e;
        char err[100];
        bool good = alk_host_reply(h, call, "1", 1) == ALK_ECLOSED &&
                    alk_host_call(h, TEXT("demo/add"), "1", 1, NULL, &id) == ALK_ECLOSED &&
                    alk_host_abort(h, id) == ALK_ECLOSED && alk_host_stop(h, 0) == ALK_ECLOSED &&
                    alk_host_reload(h, "{}", 2) == ALK_ECLOSED && alk_host_fd(h) == -1 &&
                    !alk_host_registry(h) && alk_host_wait(h, UINT32_MAX) == 0 &&
                    alk_host_drain(h, &e, sizeof e, 1) == 0 &&
                    alk_host_start(h, err, sizeof err) == ALK_ECLOSED &&
                    alk_host_dial(h, "{}", 2, 0, &id, err, sizeof err) == ALK_ECLOSED;

        alk_host_free(h);
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    host_replies(h, call, "2");
    host_sees(h, ALK_HOST_END, call, ALK_END_OK, NULL);
    host_sees(h, ALK_HOST_END, id, ALK_END_OK, "2");
    host_ends(h);
}
END_TEST

START_TEST(what_is_logged_comes_as_events)
{
    const char *config = "{\"log\":{\"level\":\"info\"}}";
    alk_host_options o = {
        .size = sizeof o, .config = config, .config_len = strlen(config), .log_events = 1};
    alk_host *h = host_made(&o);
    bool logged = false, ended = false;

    host_starts(h);
    uint64_t id = host_calls(h, "demo/none", "1", NULL);
    while (!logged || !ended) {
        alk_host_event e = host_next(h);

        ended |= e.kind == ALK_HOST_END && e.id == id;
        logged |= e.kind == ALK_HOST_LOG && e.rc == ALK_LOG_INFO &&
                  strstr(e.text, "\"outcome\":\"NOT_FOUND\"") != NULL;
        host_gives(h, &e);
    }
    host_ends(h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host");
    TCase *t = tcase_create("host");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, a_call_comes_and_is_answered);
    tcase_add_test(t, a_subscription_has_its_values_in_order);
    tcase_add_loop_test(t, a_failure_is_told_as_it_is, 0, sizeof faults / sizeof *faults);
    tcase_add_loop_test(t, what_is_no_json_fails_its_call_at_once, 0,
                        sizeof no_json / sizeof *no_json);
    tcase_add_test(t, a_call_is_answered_once_and_as_its_type_has_it);
    tcase_add_test(t, an_abort_reaches_the_call_and_each_ends_once);
    tcase_add_test(t, a_deadline_ends_both_sides);
    tcase_add_loop_test(t, what_speaks_against_a_call_is_its_end, 0,
                        sizeof refused / sizeof *refused);
    tcase_add_test(t, access_is_asked_for_whoever_calls);
    tcase_add_test(t, options_are_looked_at);
    tcase_add_test(t, nested_calls_run_with_their_parent);
    tcase_add_test(t, emits_wait_for_a_reader_who_is_paused);
    tcase_add_test(t, a_queue_that_nobody_drains_is_bounded);
    tcase_add_test(t, subscriptions_are_paused_while_nobody_drains);
    tcase_add_test(t, submissions_are_bounded_and_go_on);
    tcase_add_test(t, submissions_that_come_in_between_have_their_turn);
    tcase_add_test(t, the_descriptor_is_readable_while_events_wait);
    tcase_add_test(t, a_program_with_a_smaller_or_larger_event_reads_its_part);
    tcase_add_test(t, calls_go_both_ways_over_a_dialled_connection);
    tcase_add_test(t, calls_reach_the_program_by_whatever_worker);
    tcase_add_test(t, the_program_calls_back_by_whatever_worker);
    tcase_add_test(t, a_call_to_the_program_asks_its_caller_by_whatever_worker);
    tcase_add_test(t, what_callers_were_asked_goes_on_in_a_graceful_stop);
    tcase_add_test(t, sessions_end_by_whatever_worker);
    tcase_add_test(t, a_remote_that_goes_fails_what_runs);
    tcase_add_test(t, an_attempt_that_fails_is_told_and_made_again);
    tcase_add_test(t, whether_another_attempt_may_help_is_said_by_the_reason);
    tcase_add_test(t, what_is_wrong_with_an_entry_is_said_at_once);
    tcase_add_test(t, a_graceful_stop_lets_calls_end);
    tcase_add_test(t, a_stop_ends_all_that_runs);
    tcase_add_test(t, what_never_started_is_freed);
    tcase_add_test(t, freeing_stops_what_runs);
    tcase_add_test(t, a_start_is_made_once_and_says_what_is_wrong);
    tcase_add_loop_test(t, what_is_wrong_with_a_configuration_is_said, 0,
                        sizeof wrong / sizeof *wrong);
    tcase_add_test(t, a_reload_takes_all_or_nothing);
    tcase_add_test(t, a_registration_says_what_is_wrong);
    tcase_add_test(t, members_of_the_configuration_can_be_read);
    tcase_add_test(t, a_child_of_the_process_is_refused_and_the_parent_goes_on);
    tcase_add_test(t, what_is_logged_comes_as_events);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
