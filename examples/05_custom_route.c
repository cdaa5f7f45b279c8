/* A webhook beside operations: a shop's server sends plain POST requests to /hooks/paid, and the route turns each
 * into a call of orders/paid, through the same checks as everyone's.
 *
 *   05_custom_route [PORT] [--once]        --once: serve one webhook, then stop gracefully
 *   curl -d order=17 http://localhost:4785/hooks/paid
 *   curl http://localhost:4785/call -H 'Content-Type: application/json' -d '{"operation":"orders/count"}' */
#include <alknet/uv.h>

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct shop {
    alk_loop *loop;
    alk_gateway *gateway;
    unsigned paid;
    int once;
} shop;

/* ---- operations -------------------------------------------------------------------------------- */

static int orders_paid(alk_call *call, void *ud)
{
    struct shop *s = ud;
    char answer[64];
    int n = snprintf(answer, sizeof answer, "{\"paid_so_far\":%u}", ++s->paid);

    return alk_call_reply(call, answer, (size_t)n);
}

static int orders_count(alk_call *call, void *ud)
{
    const struct shop *s = ud;
    char answer[16];
    int n = snprintf(answer, sizeof answer, "%u", s->paid);

    return alk_call_reply(call, answer, (size_t)n);
}

static int add_operation(alk_registry *registry, const char *name, uint32_t type,
                         const char *schema, alk_handler handler)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.input_schema = schema;
    op.handler = handler;
    op.ud = &shop;
    return alk_registry_add(registry, &op);
}

/* ---- the webhook ------------------------------------------------------------------------------- */

/* What became of one request; lives until both the call and the request have ended. */
struct hook {
    alk_request *request; /* NULL: the sender is gone */
    char *output;
    int call_runs;
};

static void hook_unless_used(struct hook *h)
{
    if (h->request || h->call_runs)
        return;
    free(h->output);
    free(h);
}

static void on_closed(void *ud)
{
    alk_gateway_free(ud);
}

static void on_drained(void *ud)
{
    struct shop *s = ud;

    alk_loop_close(s->loop, on_closed, s->gateway);
}

static void on_request_close(alk_request *request, int complete, void *ud)
{
    struct hook *h = ud;

    (void)request;
    (void)complete;
    h->request = NULL;
    hook_unless_used(h);
    if (shop.once)
        alk_loop_drain(shop.loop, on_drained, &shop);
}

static void answer(alk_request *request, int status, const char *text)
{
    static const char headers[] = "Content-Type: text/plain; charset=utf-8\r\n";

    /* What fails here has reset the connection, and on_request_close follows. */
    if (!alk_response_start(request, status, headers, sizeof headers - 1) &&
        !alk_response_write(request, text, strlen(text)))
        alk_response_end(request);
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct hook *h = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    if (text && (h->output = malloc(len + 2))) {
        memcpy(h->output, text, len);
        memcpy(h->output + len, "\n", 2);
    }
}

static void on_call_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct hook *h = ud;

    (void)call;
    h->call_runs = 0;
    if (!h->request)
        hook_unless_used(h);
    else if (why == ALK_END_OK && h->output)
        answer(h->request, 200, h->output);
    else if (fault && !strcmp(fault->code, ALK_INVALID_INPUT))
        answer(h->request, 422, "this is no order\n");
    else
        answer(h->request, 500, "not taken, please send it again\n");
}

/* The number behind "order=", which is the whole form; NULL: there is none. */
static const char *order_of(const char *body, size_t len, size_t *digits)
{
    static const char name[] = "order=";
    size_t n = sizeof name - 1;

    if (len <= n || memcmp(body, name, n) || (body[n] == '0' && len > n + 1))
        return NULL;
    for (size_t i = n; i < len; i++) {
        if (!isdigit((unsigned char)body[i]))
            return NULL;
    }
    *digits = len - n;
    return body + n;
}

static int hook_paid(alk_request *request, void *ud)
{
    struct hook *h = calloc(1, sizeof *h);
    size_t len, digits;
    const char *body = alk_request_body(request, &len), *order;
    alk_call_options o = {.size = sizeof o};
    int rc;

    (void)ud;
    if (!h)
        return ALK_ENOMEM;
    h->request = request;
    alk_request_on_close(request, on_request_close, h);
    order = order_of(body, len, &digits);
    if (!order) {
        answer(request, 400, "the body must be order=NUMBER\n");
        return ALK_OK;
    }
    o.on_event = on_value;
    o.on_end = on_call_end;
    o.ud = h;
    h->call_runs = 1;
    rc = alk_request_call(request, "orders/paid", 11, order, digits, &o, NULL);
    h->call_runs = rc == ALK_OK;
    return rc;
}

/* ---- the program ------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const char order[] = "{\"type\":\"integer\",\"minimum\":1,\"maximum\":999999}";
    const alk_route route = {
        .size = sizeof route, .method = "POST", .path = "/hooks/paid", .handler = hook_paid};
    alk_registry *registry = alk_registry_new();
    alk_node *node;
    alk_dispatcher *dispatcher;
    alk_server_options listen;
    alk_server *server;
    char why[200] = "out of memory";

    alk_server_options_init(&listen, sizeof listen);
    listen.port = 4785;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--once"))
            shop.once = 1;
        else
            listen.port = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    /* A client that hangs up is an error of the write, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    if (!registry || add_operation(registry, "orders/paid", ALK_MUTATION, order, orders_paid) ||
        add_operation(registry, "orders/count", ALK_QUERY, NULL, orders_count) ||
        alk_registry_freeze(registry) || alk_node_new(&node, registry, NULL) ||
        alk_dispatcher_new(&dispatcher, node) ||
        alk_loop_open(&shop.loop, uv_default_loop(), dispatcher) ||
        alk_gateway_new(&shop.gateway, dispatcher, NULL, why, sizeof why) ||
        alk_gateway_add_route(shop.gateway, &route)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    listen.gateway = shop.gateway;
    if (alk_server_open(&server, shop.loop, &listen, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("listening on port %d\n", alk_server_port(server));
    fflush(stdout);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    alk_node_unref(node);
    alk_registry_unref(registry);
    return uv_loop_close(uv_default_loop()) ? 1 : 0;
}
