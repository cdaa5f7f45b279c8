/* Serves an operation to a hub over WebSocket, and stays connected: what the hub's caller asks runs here.
 *
 *   06_spoke ws://127.0.0.1:4780 TOKEN
 *
 * When it is connected it asks the hub's demo/callback to call ui/hello, which is served here, to show the way round.
 * Ctrl-C ends it. */
#include <alknet/uv.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int hello(alk_call *call, void *ud)
{
    static const char answer[] = "{\"says\":\"hello from the spoke\"}";

    (void)ud;
    printf("ui/hello was called\n");
    return alk_call_reply(call, answer, sizeof answer - 1);
}

static void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    (void)ud;
    printf("the hub answered %.*s\n", (int)len, text ? text : "");
    fflush(stdout);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)ud;
    if (fault)
        printf("%s: %s\n", fault->code, fault->message);
    fflush(stdout);
}

/* What the hub imports a moment after it was told may be called from then on. */
static void on_dial(alk_dialer *dialer, const alk_dial_event *e, void *ud)
{
    static const char callback[] = "demo/callback", input[] = "{\"operation\":\"ui/hello\"}";
    alk_call_options o = {.size = sizeof o};

    (void)dialer;
    (void)ud;
    o.on_event = on_answer;
    o.on_end = on_end;
    if (e->state == ALK_DIAL_READY)
        alk_connection_call(e->connection, callback, strlen(callback), input, strlen(input), &o,
                            NULL);
    else if (e->state == ALK_DIAL_OPEN)
        printf("connected\n");
    else
        printf("%s; again in %llu ms\n", e->message, (unsigned long long)e->retry_ms);
    fflush(stdout);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    uv_close((uv_handle_t *)s, NULL);
    alk_loop_close(s->data, NULL, NULL);
}

int main(int argc, char **argv)
{
    alk_operation op;
    alk_dial_options dial;
    alk_registry *reg = alk_registry_new();
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;
    alk_dialer *dialer;
    uv_signal_t interrupt;
    char err[200] = "";

    if (argc != 3)
        return fprintf(stderr, "usage: %s URL TOKEN\n", argv[0]), 2;
    signal(SIGPIPE, SIG_IGN);
    alk_operation_init(&op, sizeof op);
    op.name = "ui/hello";
    op.handler = hello;
    alk_dial_options_init(&dial, sizeof dial);
    dial.url = argv[1];
    dial.token = argv[2];
    dial.announce = 1;
    dial.on_event = on_dial;
    if (alk_registry_add(reg, &op) || alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) ||
        alk_dispatcher_new(&d, node) || alk_loop_open(&l, uv_default_loop(), d) ||
        alk_dial(&dialer, l, &dial, err, sizeof err))
        return fprintf(stderr, "%s\n", err), 1;
    uv_signal_init(uv_default_loop(), &interrupt);
    interrupt.data = l;
    uv_signal_start(&interrupt, on_signal, SIGINT);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_loop_close(uv_default_loop());
    alk_node_unref(node);
    alk_registry_unref(reg);
    return 0;
}
