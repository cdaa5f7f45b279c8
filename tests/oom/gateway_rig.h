/* A gateway on an engine that is fed by hand, whose operations and whose node are set up before
 * allocations fail. What comes out is text; it is the right answer, an error answer, or the end of
 * the connection. */
#ifndef TESTS_OOM_GATEWAY_RIG_H
#define TESTS_OOM_GATEWAY_RIG_H

#include "oom/oom.h"

#include "wire/transport.h"

#include <alknet/gateway.h>

#define NOW UINT64_C(1000000000000)
#define MS UINT64_C(1000000)
#define TOKEN "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEAD                                                                                       \
    "Host: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer " TOKEN "\r\n"
#define POST(path, length) "POST " path " HTTP/1.1\r\n" HEAD "Content-Length: " length "\r\n\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HEAD "\r\n"

struct server {
    alk_registry *reg;
    alk_identities *ids;
    alk_node *node;
    alk_dispatcher *d;
    alk_gateway *g;
    struct engine *e;
    struct mem mem;
    const uint32_t *uid; /* of the client */
    uint64_t now;
    bool woken;
    char got[65536];
    size_t len;
};

static inline int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static inline int hold(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_OK;
}

static inline int count(alk_call *call, void *ud)
{
    (void)ud;
    for (int i = 1; i <= 5; i++) {
        char text[16];
        int rc;

        snprintf(text, sizeof text, "[%d]", i);
        rc = alk_call_emit(call, TEXT(text));
        if (rc)
            return rc;
    }
    return alk_call_complete(call);
}

/* A custom route: calls t/echo with the request's body and answers with what comes back, in two
 * pieces. */
static inline void on_value(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    if (text && !alk_response_start(ud, 200, TEXT("X-Custom: yes\r\n")) &&
        !alk_response_write(ud, text, len / 2) &&
        !alk_response_write(ud, text + len / 2, len - len / 2))
        alk_response_end(ud);
}

static inline int custom(alk_request *r, void *ud)
{
    alk_call_options o = {.size = sizeof o};
    const char *body;
    size_t len;

    (void)ud;
    o.on_event = on_value;
    o.ud = r;
    body = alk_request_body(r, &len);
    return alk_request_call(r, TEXT("t/echo"), body, len, &o, NULL);
}

static inline int add(alk_registry *reg, const char *name, uint32_t type, alk_handler handler,
                      const char *schema)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.input_schema = schema;
    return alk_registry_add(reg, &op);
}

static inline int add_with_errors(alk_registry *reg)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = "t/fail";
    op.handler = hold;
    op.error_schemas = "[{\"code\":\"A\",\"description\":\"a\",\"http_status\":409,\"schema\":"
                       "{\"items\":{\"$ref\":\"#\"}}},{\"code\":\"B\",\"http_status\":409,"
                       "\"schema\":{\"type\":\"string\"}}]";
    return alk_registry_add(reg, &op);
}

/* more (may be NULL) adds operations. */
static inline void node_open(struct server *s, int (*more)(alk_registry *reg))
{
    alk_identity_provider p;
    alk_node_options o;
    char hash[65], config[300];

    memset(s, 0, sizeof *s);
    s->now = NOW;
    mem_init(&s->mem, NULL, NULL);
    s->reg = alk_registry_new();
    s->ids = alk_identities_new();
    must(s->reg && s->ids);
    must(!add(s->reg, "t/echo", ALK_QUERY, echo, NULL) &&
         !add(s->reg, "t/hold", ALK_QUERY, hold, NULL) &&
         !add(s->reg, "t/count", ALK_SUBSCRIPTION, count, NULL) &&
         !add(s->reg, "t/strict", ALK_QUERY, echo, "{\"type\":\"string\"}") &&
         !add_with_errors(s->reg) && !(more && more(s->reg)) && !alk_registry_freeze(s->reg));
    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(config, sizeof config,
             "{\"keys\":[{\"prefix\":\"alk_AAAA\",\"hash\":\"%s\"}],\"users\":[{\"uid\":7}]}",
             hash);
    must(!alk_identities_load(s->ids, TEXT(config), 0, NULL, NULL, 0));
    alk_identities_provider(s->ids, &p, sizeof p);
    alk_node_options_init(&o, sizeof o);
    o.identities = &p;
    must(!alk_node_new(&s->node, s->reg, &o) && !alk_dispatcher_new(&s->d, s->node));
}

static inline int gateway_open(struct server *s, uint32_t mcp)
{
    alk_gateway_options o;
    alk_route route = {.size = sizeof route,
                       .authenticated = 1,
                       .method = "POST",
                       .path = "/custom",
                       .handler = custom};
    char err[200];
    int rc;

    alk_gateway_options_init(&o, sizeof o);
    o.mcp = mcp;
    o.decoy = ALK_DECOY_REDIRECT;
    o.decoy_target = "https://example.com/";
    o.hosts = "[\"a.example\",\"127.0.0.1\"]";
    o.origins = "[\"https://app.example\"]";
    o.trusted_proxies = "[\"192.0.2.1\"]";
    rc = alk_gateway_new(&s->g, s->d, &o, err, sizeof err);
    return rc ? rc : alk_gateway_add_route(s->g, &route);
}

static inline void on_wake(struct engine *e, void *ud)
{
    struct server *s = ud;

    (void)e;
    s->woken = true;
}

/* Takes the engine's output, turns the dispatcher, and wakes the engine as a transport does. */
static inline void run(struct server *s)
{
    for (int i = 0; i < 60 && s->e; i++) {
        alk_dispatcher_turn(s->d, s->now);
        if (s->e->out.len) {
            must(s->len + s->e->out.len < sizeof s->got);
            memcpy(s->got + s->len, buf_at(&s->e->out), s->e->out.len);
            s->len += s->e->out.len;
            s->got[s->len] = 0;
            buf_consume(&s->e->out, s->e->out.len);
            s->woken = true;
        }
        if (s->woken) {
            s->woken = false;
            s->e->ops->drained(s->e, s->now);
        }
        if (s->e->closing && !s->e->out.len) {
            s->e->ops->fini(s->e);
            s->e = NULL;
        }
    }
}

static inline void hang_up(struct server *s)
{
    if (s->e)
        s->e->ops->fini(s->e);
    s->e = NULL;
    for (int i = 0; i < 10; i++)
        alk_dispatcher_turn(s->d, s->now);
}

static inline void server_close(struct server *s)
{
    hang_up(s);
    must(s->mem.live == 0);
    alk_gateway_free(s->g);
    alk_dispatcher_free(s->d);
    alk_node_unref(s->node);
    alk_identities_free(s->ids);
    alk_registry_unref(s->reg);
}

static inline bool connect(struct server *s)
{
    const struct peer_info peer = {.address = "127.0.0.1", .local = "127.0.0.1", .uid = s->uid};
    struct service *service = gateway_service(s->g);

    s->len = 0;
    s->got[0] = 0;
    s->e = service->accept(service, &s->mem, &peer, s->now);
    must(s->e || failed());
    if (!s->e)
        return false;
    s->e->wake = on_wake;
    s->e->wake_ud = s;
    return true;
}

/* Sends a request on a new connection. Whether the answer has that text in it. */
static inline bool says(struct server *s, const char *request, const char *text)
{
    bool came;

    if (!connect(s))
        return false;
    s->e->ops->feed(s->e, TEXT(request), s->now);
    while (s->e->successor)
        s->e = engine_succeed(s->e);
    run(s);
    came = strstr(s->got, text) != NULL;
    /* A call whose handler had no memory for its answer ends by its deadline. */
    if (!came && s->e && !s->len) {
        s->now += 31000 * MS;
        run(s);
    }
    must(came || failed());
    must(!s->len || !strncmp(s->got, "HTTP/1.1 ", 9));
    return came;
}

#endif
