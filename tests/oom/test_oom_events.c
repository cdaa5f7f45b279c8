/* Each allocation fails in turn: an event gateway, on an engine that is fed by hand. A client is told what it should be, or
 * loses an event or its connection; its callbacks come in order all the same, and nothing is lost. */
#include "oom/oom.h"

#include "wire/transport.h"

#define NOW UINT64_C(1000000000000)
#define UPGRADE                                                                                    \
    "GET /feed HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"       \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"                 \
    "Authorization: Bearer alk_someone\r\nX-Tenant: acme\r\n\r\n"

struct server {
    alk_registry *reg;
    alk_identity *who;
    alk_node *node;
    alk_dispatcher *d;
    alk_gateway *g;
    alk_events *ev;
    struct engine *e;
    bool woken;
    int connects, disconnects, calls, ends;
    char got[4000];
    size_t len;
};

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    const struct server *s = ud;

    (void)token, (void)len;
    *out = alk_identity_ref(s->who);
    return ALK_KIND_KEY;
}

static int by_fingerprint(void *ud, const char *fingerprint, size_t len, alk_identity **out)
{
    (void)ud, (void)fingerprint, (void)len, (void)out;
    return ALK_KIND_NONE;
}

static uint64_t generation(void *ud)
{
    (void)ud;
    return 1;
}

static int reply_input(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static void on_connect(alk_client *c, void *ud)
{
    struct server *s = ud;

    s->connects++;
    must(alk_events_count(s->ev) == 1);
    (void)alk_client_send(c, TEXT("welcome"), TEXT("[1.50]"));
}

static void on_disconnect(alk_client *c, int code, void *ud)
{
    struct server *s = ud;

    must(code && s->connects == 1 && !s->disconnects);
    must(alk_client_send(c, TEXT("x"), TEXT("1")) == ALK_ECLOSED);
    s->disconnects++;
}

static int on_all(alk_client *c, const alk_value *data, void *ud)
{
    struct server *s = ud;
    size_t len;
    const char *text = alk_value_text(data, &len);

    (void)c;
    return text ? alk_events_send_all(s->ev, TEXT("told"), text, len, NULL) : ALK_ENOMEM;
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    if (text)
        (void)alk_client_send(ud, TEXT("called"), text, len);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct server *s = alk_client_data(ud);

    (void)call, (void)why, (void)fault;
    s->ends++;
    must(!alk_client_next(ud) || s->disconnects);
}

static int on_call(alk_client *c, const alk_value *data, void *ud)
{
    struct server *s = ud;
    alk_call_options o = {.size = sizeof o};
    size_t len;
    const char *text = alk_value_text(data, &len);
    int rc;

    if (!text)
        return ALK_ENOMEM;
    alk_client_set_data(c, s);
    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = c;
    rc = alk_client_call(c, TEXT("t/echo"), text, len, &o, NULL);
    s->calls += !rc;
    return rc ? rc : ALK_EAGAIN;
}

static void node_open(struct server *s)
{
    const alk_identity_provider provider = {.size = sizeof(alk_identity_provider),
                                            .by_token = by_token,
                                            .by_fingerprint = by_fingerprint,
                                            .generation = generation,
                                            .ud = s};
    alk_node_options o;
    alk_operation op;

    memset(s, 0, sizeof *s);
    alk_operation_init(&op, sizeof op);
    op.name = "t/echo";
    op.handler = reply_input;
    s->reg = alk_registry_new();
    s->who = alk_identity_new(TEXT("{\"id\":\"someone\",\"scopes\":[]}"));
    must(s->reg && s->who && !alk_registry_add(s->reg, &op) && !alk_registry_freeze(s->reg));
    alk_node_options_init(&o, sizeof o);
    o.identities = &provider;
    must(!alk_node_new(&s->node, s->reg, &o) && !alk_dispatcher_new(&s->d, s->node));
}

static int gateway_open(struct server *s)
{
    alk_gateway_options o;
    alk_events_options e = {.size = sizeof e};
    int rc;

    alk_gateway_options_init(&o, sizeof o);
    o.tenant_header = "x-tenant";
    e.path = "/feed";
    e.on_connect = on_connect;
    e.on_disconnect = on_disconnect;
    e.ud = s;
    rc = alk_gateway_new(&s->g, s->d, &o, NULL, 0);
    if (!rc)
        rc = alk_gateway_add_events(&s->ev, s->g, &e);
    if (!rc)
        rc = alk_events_on(s->ev, "all", on_all, s);
    return rc ? rc : alk_events_on(s->ev, "call", on_call, s);
}

static void on_wake(struct engine *e, void *ud)
{
    struct server *s = ud;

    (void)e;
    s->woken = true;
}

static void run(struct server *s)
{
    for (int i = 0; i < 60 && s->e; i++) {
        while (s->e->successor)
            s->e = engine_succeed(s->e);
        alk_dispatcher_turn(s->d, NOW);
        if (s->e->out.len) {
            must(s->len + s->e->out.len < sizeof s->got);
            memcpy(s->got + s->len, buf_at(&s->e->out), s->e->out.len);
            s->len += s->e->out.len;
            buf_consume(&s->e->out, s->e->out.len);
            s->woken = true;
        }
        if (s->woken) {
            s->woken = false;
            s->e->ops->drained(s->e, NOW);
        }
        if (s->e->closing && !s->e->out.len) {
            s->e->ops->fini(s->e);
            s->e = NULL;
        }
    }
}

static void feed(struct server *s, const char *bytes, size_t n)
{
    if (s->e)
        s->e->ops->feed(s->e, bytes, n, NOW);
    run(s);
}

/* One text frame, masked with zeros. */
static void feed_event(struct server *s, const char *text)
{
    size_t n = strlen(text);
    char frame[130];

    must(n < 120);
    memcpy(frame, "\x81\x80\0\0\0\0", 6);
    frame[1] = (char)(0x80 | n);
    memcpy(frame + 6, text, n);
    feed(s, frame, n + 6);
}

static bool connect(struct server *s)
{
    const struct peer_info peer = {.address = "127.0.0.1", .local = "127.0.0.1"};
    struct service *service = gateway_service(s->g);

    s->e = service->accept(service, service->mem(service), &peer, NOW);
    must(s->e || failed());
    if (!s->e)
        return false;
    s->e->wake = on_wake;
    s->e->wake_ud = s;
    feed(s, TEXT(UPGRADE));
    must(s->connects || failed());
    return s->connects;
}

static bool got(const struct server *s, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= s->len; i++) {
        if (!memcmp(s->got + i, text, n))
            return true;
    }
    must(failed());
    return false;
}

static void server_close(struct server *s)
{
    if (s->e)
        s->e->ops->fini(s->e);
    for (int i = 0; i < 10; i++)
        alk_dispatcher_turn(s->d, NOW);
    must(s->connects == s->disconnects && s->calls == s->ends);
    must(!s->ev || alk_events_count(s->ev) == 0);
    alk_gateway_free(s->g);
    alk_dispatcher_free(s->d);
    alk_node_unref(s->node);
    alk_identity_unref(s->who);
    alk_registry_unref(s->reg);
}

SCENARIO(an_event_gateway_is_made_or_not)
{
    struct server s;
    bool good;

    node_open(&s);
    arm();
    good = ok(gateway_open(&s));
    server_close(&s);
    return good;
}

SCENARIO(a_client_is_greeted_or_refused)
{
    struct server s;
    bool good;

    node_open(&s);
    must(!gateway_open(&s));
    arm();
    good = connect(&s) && got(&s, "101 Switching") &&
           got(&s, "{\"event\":\"welcome\",\"data\":[1.50]}");
    server_close(&s);
    return good;
}

SCENARIO(an_event_is_handled_or_lost_or_ends_its_client)
{
    struct server s;
    bool good;

    node_open(&s);
    must(!gateway_open(&s) && connect(&s));
    arm();
    feed_event(&s, "{\"event\":\"all\",\"data\":{\"a\":1}}");
    feed_event(&s, "{\"event\":\"unknown\"}");
    feed_event(&s, "{\"event\":\"all\"}");
    good = got(&s, "{\"event\":\"told\",\"data\":{\"a\":1}}") &&
           got(&s, "{\"event\":\"told\",\"data\":null}");
    server_close(&s);
    return good;
}

SCENARIO(a_call_of_a_client_ends_in_any_case)
{
    struct server s;
    bool good;

    node_open(&s);
    must(!gateway_open(&s) && connect(&s));
    arm();
    feed_event(&s, "{\"event\":\"call\",\"data\":[7]}");
    feed_event(&s, "{\"event\":\"call\",\"data\":[8]}");
    good = got(&s, "{\"event\":\"called\",\"data\":[7]}") &&
           got(&s, "{\"event\":\"called\",\"data\":[8]}");
    server_close(&s);
    return good;
}

SCENARIO(a_client_that_is_closed_leaves_nothing)
{
    struct server s;
    bool good;

    node_open(&s);
    must(!gateway_open(&s) && connect(&s));
    arm();
    feed_event(&s, "{\"event\":\"call\",\"data\":[9]}");
    feed(&s, "\x88\x82\0\0\0\0\x03\xe8", 8);
    must(s.disconnects == 1);
    good = got(&s, "\x88\x02\x03\xe8") && got(&s, "{\"event\":\"called\",\"data\":[9]}");
    server_close(&s);
    return good;
}

MAIN("oom_events", an_event_gateway_is_made_or_not, a_client_is_greeted_or_refused,
     an_event_is_handled_or_lost_or_ends_its_client, a_call_of_a_client_ends_in_any_case,
     a_client_that_is_closed_leaves_nothing)
