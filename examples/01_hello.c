/* The smallest server: one operation, callable by anyone on this machine.
 *   curl -d '{"operation":"demo/hello","input":{"name":"Ada"}}' -H 'Content-Type: application/json' \
 *        http://127.0.0.1:4781/call */
#include <alknet/uv.h>
#include <stdio.h>
#include <stdlib.h>

static int hello(alk_call *call, void *ud)
{
    size_t len;
    const char *input = alk_value_text(alk_call_input(call), &len);
    char answer[512];
    int n = snprintf(answer, sizeof answer, "{\"greeting\":\"hello\",\"to\":%.400s}", input);

    (void)ud;
    return alk_call_reply(call, answer, (size_t)n);
}

int main(int argc, char **argv)
{
    alk_registry *registry = alk_registry_new();
    alk_operation op;
    alk_node_options node_options;
    alk_gateway_options gateway_options;
    alk_server_options server_options;
    alk_node *node;
    alk_dispatcher *dispatcher;
    alk_loop *loop;
    alk_gateway *gateway;
    alk_server *server;
    char err[256] = "out of memory";

    alk_operation_init(&op);
    op.name = "demo/hello";
    op.input_schema = "{\"type\":\"object\",\"required\":[\"name\"],"
                      "\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":80}}}";
    op.handler = hello;
    alk_node_options_init(&node_options);
    alk_gateway_options_init(&gateway_options);
    alk_server_options_init(&server_options);
    server_options.port = argc > 1 ? (uint32_t)atoi(argv[1]) : 4781;
    if (!registry || alk_registry_add(registry, &op) || alk_registry_freeze(registry) ||
        alk_node_new(&node, registry, &node_options) || alk_dispatcher_new(&dispatcher, node) ||
        alk_loop_open(&loop, uv_default_loop(), dispatcher) ||
        alk_gateway_new(&gateway, dispatcher, &gateway_options, err, sizeof err))
        return 1;
    server_options.gateway = gateway;
    if (alk_server_open(&server, loop, &server_options, err, sizeof err)) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    printf("listening on port %d\n", alk_server_port(server));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
