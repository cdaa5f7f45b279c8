/* Sessions at /alknet/call, seen by the program that serves them: hooks, handles, counting. */
#include "core/node.h"
#include "support/suite.h"
#include "uv/ws_client.h"

#define TOKEN "Authorization: Bearer " RIG_TOKEN "\r\n"
#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define REQUEST(id, operation)                                                                     \
    "{\"type\":\"call.requested\",\"id\":\"" id "\",\"payload\":{\"operationId\":\"/" operation    \
    "\",\"input\":7}}"

static struct client a, b;

struct seen {
    char log[400], tenant[300], trace[60], remote[70], identity[40];
    int connects, disconnects, code, calls;
    alk_connection *handle; /* a reference */
    bool close_at_once;
    alk_connection *of_call;
};

static void on_connect(void *ud, const alk_session *s)
{
    struct seen *x = ud;

    must(s->size == sizeof *s && s->connection);
    strcat(x->log, "connect ");
    snprintf(x->tenant, sizeof x->tenant, "%s", s->tenant ? s->tenant : "-");
    snprintf(x->trace, sizeof x->trace, "%s", s->traceparent ? s->traceparent : "-");
    snprintf(x->remote, sizeof x->remote, "%s", s->remote);
    snprintf(x->identity, sizeof x->identity, "%s", alk_identity_id(s->identity));
    x->connects++;
    x->handle = alk_connection_ref(s->connection);
    if (x->close_at_once)
        alk_connection_close(s->connection, ALK_CLOSE_IDENTITY);
}

static void on_disconnect(void *ud, const alk_session *s, int code)
{
    struct seen *x = ud;

    must(s->connection == x->handle);
    must(!strcmp(s->tenant ? s->tenant : "-", x->tenant));
    strcat(x->log, "disconnect ");
    x->disconnects++;
    x->code = code;
    alk_connection_unref(x->handle);
    x->handle = NULL;
}

static int serve_noted(alk_call *call, void *ud)
{
    struct seen *x = ud;

    strcat(x->log, "call ");
    x->calls++;
    x->of_call = alk_call_connection(call);
    return alk_call_reply(call, "1", 1);
}

static struct rig *start(struct seen *x)
{
    struct rig *r = rig_new();

    memset(x, 0, sizeof *x);
    rig_add(r, "t/noted", ALK_QUERY, serve_noted, x, NULL);
    r->gate.on_connect = on_connect;
    r->gate.on_disconnect = on_disconnect;
    r->gate.session_ud = x;
    r->gate.tenant_header = "x-tenant";
    r->limits.close_ms = 200;
    return r;
}

static void finish(struct rig *r, struct seen *x)
{
    client_close(&a);
    rig_free(r);
    ck_assert_int_eq(x->connects, x->disconnects);
}

static void request(const char *envelope)
{
    wsc_frame(&a, 0x80 | WSC_BINARY, envelope, strlen(envelope));
}

START_TEST(the_hooks_know_who_where_and_what_for)
{
    struct seen x;
    struct rig *r = start(&x);

    rig_start(r);
    ck_assert_int_eq(
        wsc_try(r, &a,
                WS_UPGRADE("/alknet/call", TOKEN "X-Tenant: acme\r\ntraceparent: " TRACE "\r\n")),
        101);
    rig_until(r, x.connects);
    ck_assert_str_eq(x.identity, "tester");
    ck_assert_str_eq(x.tenant, "acme");
    ck_assert_str_eq(x.trace, TRACE);
    ck_assert_str_eq(x.remote, "127.0.0.1");
    wsc_close(&a, 4321);
    rig_until(r, x.disconnects);
    ck_assert_int_eq(x.code, 4321);
    ck_assert_int_eq(wsc_closed(&a), 4321);
    finish(r, &x);
}
END_TEST

START_TEST(a_tenant_that_is_missing_twice_or_too_long_is_none)
{
    static char much[600];
    static const char twice[] =
        WS_UPGRADE("/alknet/call", TOKEN "X-Tenant: a\r\nX-Tenant: b\r\ntraceparent: x\r\n");
    const char *requests[] = {WS_UPGRADE("/alknet/call", TOKEN), twice, much};

    snprintf(much, sizeof much,
             "GET /alknet/call HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: "
             "Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n" TOKEN
             "X-Tenant: %0257d\r\n\r\n",
             1);
    for (int i = 0; i < 3; i++) {
        struct seen x;
        struct rig *r = start(&x);

        rig_start(r);
        ck_assert_int_eq(wsc_try(r, &a, requests[i]), 101);
        rig_until(r, x.connects);
        ck_assert_str_eq(x.tenant, "-");
        ck_assert_str_eq(x.trace, "-");
        finish(r, &x);
    }
}
END_TEST

START_TEST(a_call_comes_after_on_connect_and_has_the_handle)
{
    struct seen x;
    struct rig *r = start(&x);

    rig_start(r);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    request(REQUEST("1", "t/noted"));
    ck_assert_int_eq(wsc_next(&a), WSC_BINARY);
    ck_assert_str_eq(a.body,
                     "{\"type\":\"call.responded\",\"id\":\"1\",\"payload\":{\"output\":1}}");
    ck_assert_str_eq(x.log, "connect call ");
    ck_assert_ptr_eq(x.of_call, x.handle);
    rig_client(r, &b);
    client_send(&b, POST_HEAD("/call", "23") "\r\n{\"operation\":\"t/noted\"}");
    ck_assert_int_eq(client_answer(&b), 200);
    ck_assert_ptr_null(x.of_call);
    client_close(&b);
    finish(r, &x);
    ck_assert_str_eq(x.log, "connect call call disconnect ");
    ck_assert_int_eq(x.code, 1006);
}
END_TEST

START_TEST(a_refused_upgrade_runs_no_hook)
{
    struct seen x;
    struct rig *r = start(&x);

    r->limits.websocket_sessions = 1;
    rig_start(r);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", "")), 401);
    client_close(&a);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    rig_until(r, x.connects == 1);
    ck_assert_int_eq(wsc_try(r, &b, WS_UPGRADE("/alknet/call", TOKEN)), 503);
    ck_assert_ptr_nonnull(strstr(b.head, "Retry-After: 5\r\n"));
    client_close(&b);
    rig_steps(r, 5);
    ck_assert_int_eq(x.connects, 1);
    client_close(&a);
    rig_until(r, x.disconnects == 1);
    /* Its place is free again. */
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    finish(r, &x);
}
END_TEST

START_TEST(closing_from_on_connect)
{
    struct seen x;
    struct rig *r = start(&x);

    x.close_at_once = true;
    rig_start(r);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    ck_assert_int_eq(wsc_closed(&a), 1008);
    rig_until(r, x.disconnects);
    ck_assert_int_eq(x.code, 1008);
    /* The close is never answered: the server ends it. */
    client_ended(&a);
    finish(r, &x);
}
END_TEST

START_TEST(every_end_is_told_once)
{
    for (int way = 0; way < 5; way++) {
        static const int codes[] = {1006, 1005, 1002, 1001, 1002};
        struct seen x;
        struct rig *r = start(&x);

        rig_start(r);
        ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
        rig_until(r, x.connects);
        if (way == 0)
            client_close(&a);
        else if (way == 1)
            wsc_frame(&a, 0x80 | WSC_CLOSE, "", 0);
        else if (way == 2)
            wsc_text(&a, "hello");
        else if (way == 3)
            alk_connection_close(x.handle, ALK_CLOSE_SHUTDOWN);
        else
            request("[1]");
        rig_until(r, x.disconnects);
        ck_assert_int_eq(x.code, codes[way]);
        rig_steps(r, 3);
        finish(r, &x);
        ck_assert_int_eq(x.disconnects, 1);
    }
}
END_TEST

/* A session was one connection before its upgrade, and is one afterwards. */
START_TEST(a_session_is_one_connection)
{
    struct seen x;
    struct rig *r = start(&x);
    uint32_t *count;

    r->limits.connections = 2; /* room for counting it twice */
    rig_start(r);
    count = &r->node->connections;
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    rig_until(r, x.connects);
    ck_assert_uint_eq(*count, 1);
    wsc_close(&a, 1000);
    rig_until(r, x.disconnects);
    client_ended(&a);
    rig_until(r, *count == 0);
    finish(r, &x);
}
END_TEST

/* Nothing else happens on the loop, and still a credential that is gone closes its session soon. */
static int known = 1;
static uint64_t generation = 1;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    (void)token;
    (void)len;
    if (!known)
        return ALK_KIND_NONE;
    *out = alk_identity_ref(((struct rig *)ud)->who);
    return ALK_KIND_KEY;
}

static uint64_t now_generation(void *ud)
{
    (void)ud;
    return generation;
}

START_TEST(a_revoked_session_of_an_idle_loop_is_closed_soon)
{
    struct seen x;
    struct rig *r = start(&x);
    alk_identity_provider p = {.size = sizeof(alk_identity_provider),
                               .by_token = by_token,
                               .by_fingerprint = rig_by_fingerprint,
                               .generation = now_generation,
                               .ud = r};

    r->options.identities = &p;
    rig_start(r);
    ck_assert_int_eq(wsc_try(r, &a, WS_UPGRADE("/alknet/call", TOKEN)), 101);
    rig_until(r, x.connects);
    known = 0;
    generation = 2;
    for (int rounds = 0; !x.disconnects && rounds < 20; rounds++)
        uv_run(&r->uv, UV_RUN_ONCE); /* sleeps until the loop's own timer */
    ck_assert_int_eq(x.code, 1008);
    ck_assert_int_eq(wsc_closed(&a), 1008);
    finish(r, &x);
}
END_TEST

MAIN("session", the_hooks_know_who_where_and_what_for,
     a_tenant_that_is_missing_twice_or_too_long_is_none,
     a_call_comes_after_on_connect_and_has_the_handle, a_refused_upgrade_runs_no_hook,
     closing_from_on_connect, every_end_is_told_once, a_session_is_one_connection,
     a_revoked_session_of_an_idle_loop_is_closed_soon)
