/* Serves over TLS: HTTP/1.1, HTTP/2, WebSocket and alknet/call on one port. The certificate is one
 * that it signs itself at the first start and keeps; who calls knows it by its fingerprint, which
 * is printed. SIGHUP reads the files again, for connections to come.
 *
 *   09_tls [PORT [CERTIFICATE KEY]]
 *   alknet -u https://localhost:4789 --pin SHA256:... call demo/hello
 *   curl --cacert 09_tls.crt https://localhost:4789/call -H 'Content-Type: application/json' \
 *       -d '{"operation":"demo/hello"}' */
#include <alknet/uv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int hello(alk_call *call, void *ud)
{
    static const char answer[] = "\"hello, and nobody else has heard it\"";

    (void)ud;
    return alk_call_reply(call, answer, sizeof answer - 1);
}

static int make_tls(alk_tls **out, const char *certificate, const char *key, char *err, size_t size)
{
    char files[512];
    alk_tls_options o;
    int rc = alk_tls_self_sign(certificate, key, "[\"localhost\",\"127.0.0.1\"]", 365, err, size);

    if (rc && rc != ALK_EEXIST)
        return rc;
    snprintf(files, sizeof files, "[{\"certificate\":\"%s\",\"key\":\"%s\"}]", certificate, key);
    alk_tls_options_init(&o, sizeof o);
    o.certificates = files;
    return alk_tls_new(out, &o, err, size);
}

static void on_hangup(uv_signal_t *s, int number)
{
    char err[200];

    (void)number;
    if (alk_tls_reload(s->data, err, sizeof err))
        fprintf(stderr, "nothing has changed: %s\n", err);
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
    uv_signal_t hangup;
    char err[200] = "", fingerprint[ALK_TLS_FINGERPRINT];

    signal(SIGPIPE, SIG_IGN);
    alk_operation_init(&op, sizeof op);
    op.name = "demo/hello";
    op.handler = hello;
    alk_server_options_init(&listen, sizeof listen);
    listen.port = argc > 1 ? (uint32_t)atoi(argv[1]) : 4789;
    if (make_tls(&listen.tls, argc > 3 ? argv[2] : "09_tls.crt", argc > 3 ? argv[3] : "09_tls.key",
                 err, sizeof err) ||
        !registry || alk_registry_add(registry, &op) || alk_registry_freeze(registry) ||
        alk_node_new(&node, registry, NULL) || alk_dispatcher_new(&dispatcher, node) ||
        alk_loop_open(&loop, uv_default_loop(), dispatcher) ||
        alk_gateway_new(&listen.gateway, dispatcher, NULL, err, sizeof err) ||
        alk_server_open(&server, loop, &listen, err, sizeof err))
        return fprintf(stderr, "%s\n", err), 1;
    uv_signal_init(uv_default_loop(), &hangup);
    hangup.data = listen.tls;
    uv_signal_start(&hangup, on_hangup, SIGHUP);
    alk_tls_fingerprint(listen.tls, fingerprint, NULL);
    printf("listening on port %d, %s\n", alk_server_port(server), fingerprint);
    return fflush(stdout) || uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
