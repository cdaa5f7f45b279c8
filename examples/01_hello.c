#include <alknet/uv.h> /* the smallest server: one operation, for anyone on this machine */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int hello(alk_call *call, void *ud)
{
    size_t len;
    const char *name = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return name ? alk_call_reply(call, name, len) : ALK_ENOMEM;
}

int main(int argc, char **argv)
{
    alk_registry *registry = alk_registry_new();
    alk_operation op;
    alk_node *node;
    alk_dispatcher *dispatcher;
    alk_loop *loop;
    alk_server_options listen;
    alk_server *server;

    signal(SIGPIPE, SIG_IGN); /* clients come and go */
    alk_operation_init(&op, sizeof op);
    op.name = "demo/hello";
    op.input_schema = "{\"type\":\"string\",\"maxLength\":80}";
    op.handler = hello;
    alk_server_options_init(&listen, sizeof listen);
    listen.port = argc > 1 ? (uint32_t)atoi(argv[1]) : 4781;
    if (!registry || alk_registry_add(registry, &op) || alk_registry_freeze(registry) ||
        alk_node_new(&node, registry, NULL) || alk_dispatcher_new(&dispatcher, node) ||
        alk_loop_open(&loop, uv_default_loop(), dispatcher) ||
        alk_gateway_new(&listen.gateway, dispatcher, NULL, NULL, 0) ||
        alk_server_open(&server, loop, &listen, NULL, 0))
        return 1;
    printf("listening on port %d\n", alk_server_port(server));
    return fflush(stdout) || uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
