/* A service that describes itself by OpenAPI becomes operations: trip/advice asks two of them, one
 * with what the other has answered. So that this program needs nothing else, the service is here
 * too, as two raw routes of a gateway; it is reached over HTTP like any other. */
#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char document[] =
    "openapi: 3.1.0\n"
    "info: {title: Weather, version: '1'}\n"
    "paths:\n"
    "  /places:\n"
    "    get:\n"
    "      operationId: find\n"
    "      parameters: [{name: name, in: query, required: true, schema: {type: string}}]\n"
    "      responses: {'200': {description: where, content: {application/json: {}}}}\n"
    "  /forecast:\n"
    "    get:\n"
    "      operationId: forecast\n"
    "      parameters:\n"
    "        - {name: at, in: query, required: true, explode: false,\n"
    "           schema: {type: array, items: {type: number}, minItems: 2, maxItems: 2}}\n"
    "      responses: {'200': {description: soon, content: {application/json: {}}}}\n";

/* ---- the service ----------------------------------------------------------------------------- */

static int answer(alk_request *r, void *json)
{
    size_t len;
    const char *query = alk_request_query(r, &len);

    printf("the service is asked %.*s\n", (int)len, query ? query : "");
    alk_response_start(r, 200, "Content-Type: application/json\r\n", 32);
    alk_response_write(r, json, strlen(json));
    return alk_response_end(r);
}

/* ---- what is made of it ---------------------------------------------------------------------- */

static void on_forecast(alk_call *child, const alk_value *value, void *trip)
{
    size_t len;
    const char *json = alk_value_text(value, &len);

    (void)child;
    alk_call_reply(trip, json, len);
}

static void on_end(alk_call *child, int why, const alk_fault *fault, void *trip)
{
    alk_fault mine = {.size = sizeof mine,
                      .code = "NO_ADVICE",
                      .message = fault ? fault->message : "no answer",
                      .message_len = fault ? fault->message_len : 0};

    (void)child;
    if (why != ALK_END_OK)
        alk_call_fail(trip, &mine);
}

/* The place's coordinates, an array, are the other operation's input as they are. */
static void on_place(alk_call *child, const alk_value *value, void *trip)
{
    alk_call_options o = {.size = sizeof o};
    char input[256];
    size_t len;
    int n;

    (void)child;
    o.on_event = on_forecast;
    o.on_end = on_end;
    o.ud = trip;
    n = snprintf(input, sizeof input, "{\"at\":%.200s}", alk_value_text(value, &len));
    alk_call_invoke(trip, "weather/forecast", 16, input, (size_t)n, &o, NULL);
}

static int advice(alk_call *call, void *ud)
{
    alk_call_options o = {.size = sizeof o};
    size_t len;
    const char *input = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    o.on_event = on_place;
    o.on_end = on_end;
    o.ud = call;
    return alk_call_invoke(call, "weather/find", 12, input, len, &o, NULL);
}

/* ---- the program ----------------------------------------------------------------------------- */

static void print(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call, (void)ud;
    printf("the advice is %s\n", alk_value_text(value, &len));
}

static void stop(alk_call *call, int why, const alk_fault *fault, void *net)
{
    (void)call;
    if (why != ALK_END_OK)
        printf("no advice: %s\n", fault ? fault->message : "");
    alk_loop_close(net, NULL, NULL);
}

static void warn(void *ud, const char *pointer, const char *text)
{
    (void)ud;
    printf("%s: %s\n", pointer, text);
}

/* What is found while the node runs is beside its own operations. */
static int import(alk_node *node, int port)
{
    alk_registry *found = alk_registry_new();
    alk_openapi_options o = {.size = sizeof o};
    char base[64], err[256] = "";
    int rc;

    snprintf(base, sizeof base, "http://127.0.0.1:%d", port);
    o.namespace_prefix = "weather";
    o.base_url = base;
    o.on_warning = warn;
    rc = alk_registry_import_openapi(found, document, strlen(document), &o, NULL, err, sizeof err);
    if (rc == 0 && (rc = alk_registry_freeze(found)) == 0)
        rc = alk_node_set_discovered(node, "weather", found);
    alk_registry_unref(found);
    if (rc)
        fprintf(stderr, "the import failed: %s\n", *err ? err : alk_strerror(rc));
    return rc;
}

int main(void)
{
    alk_route places = {.size = sizeof places, .method = "GET", .path = "/places"},
              forecast = places;
    alk_connection_options side = {.size = sizeof side};
    alk_call_options o = {.size = sizeof o, .on_event = print, .on_end = stop};
    alk_registry *reg = alk_registry_new();
    alk_connection *client, *server;
    alk_server_options listen;
    alk_server *service;
    alk_dispatcher *d;
    alk_operation op;
    alk_gateway *g;
    alk_node *node;
    alk_loop *net;
    uv_loop_t loop;

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    alk_operation_init(&op, sizeof op);
    op.name = "trip/advice";
    op.environment = "{\"allowed_ops\":[\"weather/*\"]}";
    op.handler = advice;
    places.handler = forecast.handler = answer;
    places.ud = "[52.5,13.4]";
    forecast.path = "/forecast";
    forecast.ud = "{\"weather\":\"sunny\",\"degrees\":21.50}";
    alk_server_options_init(&listen, sizeof listen);
    if (!reg || alk_registry_add(reg, &op) || alk_registry_freeze(reg) ||
        alk_node_new(&node, reg, NULL) || alk_dispatcher_new(&d, node) ||
        alk_loop_open(&net, &loop, d) || alk_gateway_new(&g, d, NULL, NULL, 0) ||
        alk_gateway_add_route(g, &places) || alk_gateway_add_route(g, &forecast))
        return 1;
    listen.gateway = g;
    o.ud = net;
    if (alk_server_open(&service, net, &listen, NULL, 0) ||
        import(node, alk_server_port(service)) ||
        alk_pair_open(d, &side, &client, d, &side, &server) ||
        alk_connection_call(client, "trip/advice", 11, "{\"name\":\"Berlin\"}", 17, &o, NULL))
        return 1;
    alk_connection_unref(client);
    alk_connection_unref(server);
    uv_run(&loop, UV_RUN_DEFAULT);
    alk_gateway_free(g);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return uv_loop_close(&loop);
}
