/* Calls that a custom route makes: the same checks as on every route, their results to its callbacks, their end with
 * the client. */
#include "support/suite.h"
#include "uv/rig.h"

#define AS_TESTER "Authorization: Bearer " RIG_TOKEN "\r\n"
#define HOOK(more) "GET /hook HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"

/* A route that calls one operation and answers with its outcome. */
struct hook {
    struct rig *r;
    alk_request *request;
    const char *operation, *input;
    alk_call_options o;
    alk_call *call; /* a reference */
    int rc, values, ends, why, closes, complete;
    bool inside; /* the handler's frame */
    bool answers, refused;
    char text[300]; /* values, and the fault */
};

static struct client a;

static bool revoked;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    return revoked ? ALK_KIND_NONE : rig_by_token(ud, token, len, out);
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return revoked;
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct hook *h = ud;
    size_t len, n = strlen(h->text);

    (void)call;
    must(!h->inside && !h->ends);
    h->values++;
    snprintf(h->text + n, sizeof h->text - n, "%s ", alk_value_text(value, &len));
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct hook *h = ud;
    size_t n = strlen(h->text);

    (void)call;
    must(!h->inside);
    h->ends++;
    h->why = why;
    if (fault)
        snprintf(h->text + n, sizeof h->text - n, "%s: %s", fault->code, fault->message);
    if (h->closes || !h->answers)
        return;
    if (alk_response_start(h->request, 200, TEXT("Content-Type: text/plain\r\n"))) {
        h->refused = true; /* the client is gone; on_close follows */
        return;
    }
    must(!alk_response_write(h->request, TEXT(h->text)));
    must(!alk_response_end(h->request));
}

static void on_close(alk_request *r, int complete, void *ud)
{
    struct hook *h = ud;

    (void)r;
    h->closes++;
    h->complete = complete;
}

static int serve(alk_request *r, void *ud)
{
    struct hook *h = ud;

    h->request = r;
    h->inside = true;
    alk_request_on_close(r, on_close, h);
    h->rc = alk_request_call(r, TEXT(h->operation), TEXT(h->input), &h->o, &h->call);
    h->inside = false;
    return h->rc;
}

static struct rig *rig_with(struct hook *h, const char *operation, const char *input)
{
    struct rig *r = rig_new();
    const alk_identity_provider provider = {.size = sizeof provider,
                                            .by_token = by_token,
                                            .by_fingerprint = rig_by_fingerprint,
                                            .generation = generation,
                                            .ud = r};
    alk_route route = {sizeof route, 0, "GET", "/hook", serve, h};

    memset(h, 0, sizeof *h);
    h->r = r;
    h->operation = operation;
    h->input = input;
    h->answers = true;
    h->o = (alk_call_options){.size = sizeof h->o};
    h->o.on_event = on_value;
    h->o.on_end = on_end;
    h->o.ud = h;
    revoked = false;
    r->options.identities = &provider;
    rig_start_bare(r);
    ck_assert_int_eq(alk_gateway_add_route(r->g, &route), ALK_OK);
    rig_serve(r);
    rig_client(r, &a);
    return r;
}

static void finish(struct rig *r, struct hook *h)
{
    if (h->call)
        alk_call_unref(h->call);
    if (a.fd > 0)
        client_close(&a);
    rig_free(r);
}

static const struct {
    const char *operation, *input, *more, *outcome;
    int why;
} outcomes[] = {
    {"t/echo", "{\"a\":1}", "", "{\"a\":1} ", ALK_END_OK},
    {"/t/echo", "[1.50,\"\"]", "", "[1.50,\"\"] ", ALK_END_OK},
    {"services/list", "{\"limit\":1}", "", NULL, ALK_END_OK},
    {"t/secret", "1", AS_TESTER, "1 ", ALK_END_OK},
    {"t/secret", "1", "", "FORBIDDEN: ", ALK_END_FAULT},
    {"t/other", "1", AS_TESTER, "FORBIDDEN: ", ALK_END_FAULT},
    {"t/none", "1", "", "NOT_FOUND: ", ALK_END_FAULT},
    {"", "1", "", "NOT_FOUND: ", ALK_END_FAULT},
    {"t/stream", "1", "", "INVALID_OPERATION_TYPE: ", ALK_END_FAULT},
};

START_TEST(a_call_passes_the_checks_of_every_route)
{
    struct hook h;
    struct rig *r = rig_with(&h, outcomes[_i].operation, outcomes[_i].input);
    char request[300];

    snprintf(request, sizeof request, "GET /hook HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
             outcomes[_i].more);
    client_send(&a, request);
    ck_assert_int_eq(client_answer(&a), 200);
    if (outcomes[_i].outcome)
        ck_assert_msg(!strncmp(a.body, outcomes[_i].outcome, strlen(outcomes[_i].outcome)), "%s",
                      a.body);
    ck_assert_int_eq(h.why, outcomes[_i].why);
    ck_assert_int_eq(h.ends, 1);
    ck_assert_int_eq(h.values, outcomes[_i].why == ALK_END_OK);
    rig_until(r, h.closes);
    ck_assert_int_eq(h.complete, 1);
    ck_assert(!h.refused);
    finish(r, &h);
}
END_TEST

START_TEST(input_that_is_not_json_is_the_callers_mistake)
{
    static const char *const inputs[] = {"", "{", "{\"a\":1,\"a\":2}", "nul"};
    struct hook h;
    struct rig *r = rig_with(&h, "t/echo", inputs[_i]);

    client_send(&a, HOOK(""));
    ck_assert_int_eq(client_answer(&a), 500); /* by what the handler returned */
    ck_assert_int_eq(h.rc, ALK_EJSON);
    ck_assert_ptr_null(h.call);
    ck_assert_int_eq(h.ends, 0);
    finish(r, &h);
}
END_TEST

START_TEST(a_subscription_brings_its_values)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/stream", "null");

    h.o.stream = 1;
    client_send(&a, HOOK(""));
    rig_until(r, r->stream.starts);
    served_emit(&r->stream, "1");
    served_emit(&r->stream, "[2]");
    ck_assert_int_eq(alk_call_complete(r->stream.call), ALK_OK);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_str_eq(a.body, "1 [2] ");
    ck_assert_int_eq(h.why, ALK_END_OK);
    finish(r, &h);
}
END_TEST

/* The client closes (0), resets (1), or the loop is closed (2). */
START_TEST(the_calls_of_a_client_that_leaves_are_aborted)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");

    client_send(&a, HOOK(""));
    rig_until(r, r->later.starts);
    if (_i == 0)
        client_close(&a);
    else if (_i == 1)
        client_reset(&a);
    else
        rig_close(r);
    rig_until(r, h.closes && h.ends && r->later.ends);
    rig_steps(r, 5);
    ck_assert_int_eq(h.closes, 1);
    ck_assert_int_eq(h.complete, 0);
    ck_assert_int_eq(h.ends, 1);
    ck_assert_int_eq(h.why, ALK_END_ABORTED);
    ck_assert_int_eq(r->later.why, ALK_END_ABORTED);
    finish(r, &h);
}
END_TEST

START_TEST(a_route_aborts_its_own_call)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");

    client_send(&a, HOOK(""));
    rig_until(r, r->later.starts);
    ck_assert_int_eq(alk_call_abort(h.call), ALK_OK);
    ck_assert_int_eq(client_answer(&a), 200); /* from on_end */
    ck_assert_int_eq(h.why, ALK_END_ABORTED);
    ck_assert_int_eq(r->later.why, ALK_END_ABORTED);
    ck_assert_int_eq(alk_call_abort(h.call), ALK_EENDED);
    finish(r, &h);
}
END_TEST

START_TEST(a_call_has_the_deadline_that_it_is_given)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");
    uint64_t since = now_ms();

    h.o.timeout_ms = 100;
    client_send(&a, HOOK(""));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_uint_ge(now_ms() - since, 99);
    ck_assert_int_eq(h.why, ALK_END_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(h.text, "TIMEOUT: "));
    finish(r, &h);
}
END_TEST

START_TEST(the_clients_deadline_holds_for_the_calls_of_its_request)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");

    h.o.timeout_ms = 60000;
    client_send(&a, HOOK("X-Timeout-Ms: 100\r\n"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_eq(h.why, ALK_END_TIMEOUT);
    finish(r, &h);
}
END_TEST

/* The answer is out before the call has ended. */
START_TEST(a_call_may_outlive_the_answer)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");

    h.answers = false;
    client_send(&a, HOOK(""));
    rig_until(r, r->later.starts);
    ck_assert_int_eq(alk_response_start(h.request, 202, "", 0), ALK_OK);
    ck_assert_int_eq(alk_response_end(h.request), ALK_OK);
    ck_assert_int_eq(client_answer(&a), 202);
    rig_until(r, h.closes);
    ck_assert_int_eq(h.complete, 1);
    ck_assert_int_eq(h.ends, 0);
    served_reply(&r->later, "5");
    rig_until(r, h.ends);
    ck_assert_str_eq(h.text, "5 ");
    ck_assert_int_eq(h.why, ALK_END_OK);
    finish(r, &h);
}
END_TEST

/* Before the answer (0), and behind it (1). */
START_TEST(a_call_ends_with_the_token_of_its_request)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/later", "null");

    h.answers = false;
    client_send(&a, HOOK(AS_TESTER));
    rig_until(r, r->later.starts);
    if (_i) {
        ck_assert_int_eq(alk_response_start(h.request, 202, "", 0), ALK_OK);
        ck_assert_int_eq(alk_response_end(h.request), ALK_OK);
        ck_assert_int_eq(client_answer(&a), 202);
    }
    revoked = true;
    rig_until(r, h.ends);
    ck_assert_str_eq(h.text, "FORBIDDEN: the credential has been revoked");
    rig_until(r, r->later.ends);
    if (!_i)
        ck_assert_int_eq(client_answer(&a), 401);
    rig_until(r, h.closes);
    finish(r, &h);
}
END_TEST

START_TEST(a_draining_loop_refuses_new_calls_of_routes)
{
    struct hook h;
    struct rig *r = rig_with(&h, "t/echo", "1");

    /* What arrives together is read together. */
    client_send(&a, GET("/readyz") "GET /hook HTTP/1.1\r\nHost: local");
    ck_assert_int_eq(client_answer(&a), 200);
    alk_loop_drain(r->l, rig_on_drained, r);
    rig_steps(r, 5);
    client_send(&a, "host\r\n\r\n");
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_msg(!strncmp(a.body, "BUSY: ", 6), "%s", a.body);
    finish(r, &h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route_calls");
    TCase *t = tcase_create("route_calls");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, a_call_passes_the_checks_of_every_route, 0,
                        sizeof outcomes / sizeof outcomes[0]);
    tcase_add_loop_test(t, input_that_is_not_json_is_the_callers_mistake, 0, 4);
    tcase_add_test(t, a_subscription_brings_its_values);
    tcase_add_loop_test(t, the_calls_of_a_client_that_leaves_are_aborted, 0, 3);
    tcase_add_test(t, a_route_aborts_its_own_call);
    tcase_add_test(t, a_call_has_the_deadline_that_it_is_given);
    tcase_add_test(t, the_clients_deadline_holds_for_the_calls_of_its_request);
    tcase_add_test(t, a_call_may_outlive_the_answer);
    tcase_add_loop_test(t, a_call_ends_with_the_token_of_its_request, 0, 2);
    tcase_add_test(t, a_draining_loop_refuses_new_calls_of_routes);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
