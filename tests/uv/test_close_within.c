/* alk_loop_close from within every kind of callback, while other connections of the loop are at all stages: on_closed
 * comes once, every call and every request ends once, everything comes back. */
#include "support/suite.h"
#include "uv/rig.h"

enum {
    IN_HANDLER,
    IN_HANDLER_BEHIND_REPLY,
    IN_CALL_END,
    IN_CALL_TIMEOUT,
    IN_CALL_DRAIN,
    IN_CALL_SHUTDOWN,
    IN_NESTED_EVENT,
    IN_NESTED_END,
    IN_ROUTE,
    IN_ROUTE_BEHIND_ANSWER,
    IN_ROUTE_DRAIN,
    IN_ROUTE_CALL_EVENT,
    IN_ROUTE_CALL_END,
    IN_REQUEST_CLOSE,
    IN_REQUEST_LOST,
    IN_DRAINED,
    IN_POST,
    IN_TIMER,
    PLACES
};

/* What each place is reached by. */
static const char *const requests[PLACES] = {
    [IN_HANDLER] = "/call",         [IN_HANDLER_BEHIND_REPLY] = "/call",
    [IN_CALL_END] = "/call",        [IN_CALL_TIMEOUT] = "/call",
    [IN_CALL_DRAIN] = "/subscribe", [IN_CALL_SHUTDOWN] = "/call",
    [IN_NESTED_EVENT] = "/call",    [IN_NESTED_END] = "/call",
    [IN_ROUTE] = "/hook",           [IN_ROUTE_BEHIND_ANSWER] = "/hook",
    [IN_ROUTE_DRAIN] = "/hook",     [IN_ROUTE_CALL_EVENT] = "/hook",
    [IN_ROUTE_CALL_END] = "/hook",  [IN_REQUEST_CLOSE] = "/hook",
    [IN_REQUEST_LOST] = "/hook",
};

struct scene {
    struct rig *r;
    int place;
    int starts, ends, closes;
    uv_timer_t timer;
};

static struct client a, others[5];

static void here(struct scene *s, int place)
{
    if (s->place == place && !s->r->closing)
        rig_close(s->r);
}

/* ---- operations -------------------------------------------------------------------------------- */

static void on_call_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct scene *s = ud;

    (void)call;
    (void)fault;
    s->ends++;
    here(s, why == ALK_END_TIMEOUT ? IN_CALL_TIMEOUT : IN_CALL_END);
}

static void on_call_drain(alk_call *call, void *ud)
{
    (void)call;
    here(ud, IN_CALL_DRAIN);
}

static void on_call_shutdown(alk_call *call, void *ud)
{
    (void)call;
    here(ud, IN_CALL_SHUTDOWN);
}

static void on_nested_event(alk_call *call, const alk_value *value, void *ud)
{
    (void)call;
    (void)value;
    here(ud, IN_NESTED_EVENT);
}

static void on_nested_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    here(ud, IN_NESTED_END);
}

static int serve_place(alk_call *call, void *ud)
{
    struct scene *s = ud;
    alk_call_options o;

    s->starts++;
    must(!alk_call_on_end(call, on_call_end, s));
    must(!alk_call_on_shutdown(call, on_call_shutdown, s));
    here(s, IN_HANDLER);
    if (s->place == IN_HANDLER_BEHIND_REPLY) {
        must(!alk_call_reply(call, TEXT("1")));
        here(s, IN_HANDLER_BEHIND_REPLY);
    }
    if (s->place == IN_NESTED_EVENT || s->place == IN_NESTED_END) {
        o = (alk_call_options){.size = sizeof o};
        o.on_event = on_nested_event;
        o.on_end = on_nested_end;
        o.ud = s;
        must(!alk_call_invoke(call, TEXT("t/echo"), TEXT("1"), &o, NULL));
    }
    return ALK_OK;
}

static int serve_many(alk_call *call, void *ud)
{
    struct scene *s = ud;
    int rc;

    s->starts++;
    must(!alk_call_on_end(call, on_call_end, s));
    must(!alk_call_on_drain(call, on_call_drain, s));
    while (!(rc = alk_call_emit(call, TEXT("\"some text that takes a little room\""))))
        ;
    must(rc == ALK_EAGAIN);
    return ALK_OK;
}

/* ---- the route --------------------------------------------------------------------------------- */

static void on_request_close(alk_request *r, int complete, void *ud)
{
    struct scene *s = ud;

    (void)r;
    s->closes++;
    here(s, complete ? IN_REQUEST_CLOSE : IN_REQUEST_LOST);
}

static void on_request_drain(alk_request *r, void *ud)
{
    (void)r;
    here(ud, IN_ROUTE_DRAIN);
}

static void on_route_event(alk_call *call, const alk_value *value, void *ud)
{
    (void)call;
    (void)value;
    here(ud, IN_ROUTE_CALL_EVENT);
}

static void on_route_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    here(ud, IN_ROUTE_CALL_END);
}

static int serve_route(alk_request *r, void *ud)
{
    struct scene *s = ud;
    alk_call_options o;

    s->starts++;
    alk_request_on_close(r, on_request_close, s);
    alk_request_on_drain(r, on_request_drain, s);
    here(s, IN_ROUTE);
    switch (s->place) {
    case IN_ROUTE_CALL_EVENT:
    case IN_ROUTE_CALL_END:
        o = (alk_call_options){.size = sizeof o};
        o.on_event = on_route_event;
        o.on_end = on_route_end;
        o.ud = s;
        return alk_request_call(r, TEXT("t/echo"), TEXT("1"), &o, NULL);
    case IN_ROUTE_BEHIND_ANSWER:
    case IN_REQUEST_CLOSE:
        must(!alk_response_start(r, 200, "", 0) && !alk_response_end(r));
        here(s, IN_ROUTE_BEHIND_ANSWER);
        return ALK_OK;
    case IN_ROUTE_DRAIN:
        must(!alk_response_start(r, 200, "", 0));
        while (!alk_response_write(r, TEXT("some text that takes a little room")))
            ;
        return ALK_OK;
    default:
        return ALK_OK;
    }
}

/* ---- the scenes -------------------------------------------------------------------------------- */

static void in_drained(void *ud)
{
    struct scene *s = ud;

    s->r->drained++;
    here(s, IN_DRAINED);
}

static void in_post(void *ud)
{
    here(ud, IN_POST);
}

static void in_timer(uv_timer_t *t)
{
    uv_close((uv_handle_t *)t, NULL);
    here(t->data, IN_TIMER);
}

/* Connections at all stages, so that there is something to end. */
static void populate(struct rig *r)
{
    static const char *const said[] = {"", CALL_ECHO, SUBSCRIBE_STREAM, CALL_LATER CALL_ECHO,
                                       POST_HEAD("/call", "23") "\r\n{\"op"};

    for (int i = 0; i < 5; i++) {
        rig_client(r, &others[i]);
        client_send(&others[i], said[i]);
    }
    rig_until(r, r->later.starts && r->stream.starts);
}

static struct rig *rig_of(struct scene *s, int place)
{
    static const alk_route route = {
        .size = sizeof route, .method = "POST", .path = "/hook", .handler = serve_route};
    struct rig *r = rig_new();
    alk_route own = route;
    alk_operation op;

    memset(s, 0, sizeof *s);
    s->r = r;
    s->place = place;
    own.ud = s;
    alk_operation_init(&op, sizeof op);
    op.name = "t/place";
    op.handler = serve_place;
    op.ud = s;
    op.authority = "{\"label\":\"place\"}";
    op.environment = "{\"allowed_ops\":[\"t/*\"]}";
    ck_assert_int_eq(alk_registry_add(r->reg, &op), ALK_OK);
    rig_add(r, "t/many", ALK_SUBSCRIPTION, serve_many, s, NULL);
    r->limits.queue_high = 16384;
    rig_start_bare(r);
    ck_assert_int_eq(alk_gateway_add_route(r->g, &own), ALK_OK);
    rig_serve(r);
    rig_buffer(r, SO_SNDBUF, 65536); /* takes what has waited, unread as it is */
    populate(r);
    return r;
}

static void request(struct rig *r, const struct scene *s)
{
    const char *body =
        s->place == IN_CALL_DRAIN ? "{\"operation\":\"t/many\"}" : "{\"operation\":\"t/place\"}";
    char text[400];

    snprintf(text, sizeof text,
             "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
             "application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
             requests[s->place], strlen(body),
             s->place == IN_CALL_TIMEOUT ? "X-Timeout-Ms: 20\r\n" : "", body);
    rig_client(r, &a);
    client_send(&a, text);
    rig_until(r, s->starts || r->closing);
}

START_TEST(closing_from_within_a_callback)
{
    struct scene s;
    struct rig *r = rig_of(&s, _i);

    if (requests[_i])
        request(r, &s);
    if (_i == IN_CALL_END || _i == IN_REQUEST_LOST)
        client_close(&a);
    else if (_i == IN_CALL_SHUTDOWN || _i == IN_DRAINED)
        alk_loop_drain(r->l, in_drained, &s);
    if (_i == IN_DRAINED)
        alk_loop_drain(r->l, in_drained, &s); /* at once */
    if (_i == IN_POST)
        ck_assert_int_eq(alk_loop_post(r->l, in_post, &s), ALK_OK);
    if (_i == IN_TIMER) {
        uv_timer_init(&r->uv, &s.timer);
        s.timer.data = &s;
        uv_timer_start(&s.timer, in_timer, 5, 0);
    }
    rig_until(r, r->closing);
    rig_until(r, r->closed);
    ck_assert_int_eq(r->later.ends, 1);
    ck_assert_int_eq(r->stream.ends, 1);
    if (requests[_i]) {
        ck_assert_int_eq(s.starts, 1);
        ck_assert_int_eq(s.ends + s.closes, 1);
    }
    ck_assert_int_eq(r->drained, _i == IN_DRAINED);
    for (int i = 0; i < 5; i++) {
        client_ended(&others[i]);
        client_close(&others[i]);
    }
    if (requests[_i] && a.fd >= 0)
        client_close(&a);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("close_within");
    TCase *t = tcase_create("close_within");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(t, closing_from_within_a_callback, 0, PLACES);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
