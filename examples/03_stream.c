/* A subscription that is faster than its subscriber. The handler emits until it is told to wait (ALK_EAGAIN) and goes on when
 * there is room again (on_drain); the subscriber pauses whenever it has had enough for now. Nothing piles up between them. */
#include <alknet/alknet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 100000
#define PORTION 1000

static int waits;

/* As many values as are taken; ud is the next one. */
static void emit(alk_call *call, void *ud)
{
    int *next = ud, rc = ALK_OK;

    while (*next <= COUNT && rc == ALK_OK) {
        char text[64];
        int n = snprintf(text, sizeof text, "{\"number\":%d,\"text\":\"some more bytes\"}", *next);

        rc = alk_call_emit(call, text, (size_t)n);
        *next += rc == ALK_OK;
    }
    waits += rc == ALK_EAGAIN;
    if (*next > COUNT)
        alk_call_complete(call);
}

/* Completed, aborted, lost: in any case the place to free. */
static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)why, (void)fault;
    free(ud);
}

static int numbers(alk_call *call, void *ud)
{
    int *next = calloc(1, sizeof *next);

    (void)ud;
    if (!next)
        return ALK_ENOMEM;
    *next = 1;
    alk_call_on_end(call, on_end, next);
    alk_call_on_drain(call, emit, next);
    emit(call, next);
    return ALK_OK;
}

static void on_number(alk_call *call, const alk_value *value, void *ud)
{
    int *received = ud, number = 0;
    size_t len;

    sscanf(alk_value_text(value, &len), "{\"number\":%d", &number);
    *received = number == *received + 1 ? number : COUNT + 1; /* in order, none missing */
    if (number % PORTION == 0)
        alk_call_pause(call, 1);
}

int main(void)
{
    int received = 0, pauses = 0;
    alk_operation op = {.size = sizeof op,
                        .type = ALK_SUBSCRIPTION,
                        .visibility = ALK_EXTERNAL,
                        .handler = numbers};
    alk_call_options o = {.size = sizeof o, .stream = 1, .on_event = on_number, .ud = &received};
    alk_connection_options side = {.size = sizeof side};
    alk_registry *reg = alk_registry_new();
    alk_connection *client, *server;
    alk_dispatcher *d;
    alk_call *call;
    alk_node *node;

    op.name = "demo/numbers";
    if (!reg || alk_registry_add(reg, &op) || alk_registry_freeze(reg) ||
        alk_node_new(&node, reg, NULL) || alk_dispatcher_new(&d, node) ||
        alk_pair_open(d, &side, &client, d, &side, &server) ||
        alk_connection_call(client, op.name, 12, "null", 4, &o, &call))
        return 1;
    for (; alk_call_pause(call, 0) == ALK_OK; pauses++)
        while (alk_dispatcher_turn(d, 0) == 0)
            ;
    printf("%d values in order; the handler had to wait: %s\n", received, waits ? "yes" : "no");
    alk_call_unref(call);
    alk_connection_unref(client);
    alk_connection_unref(server);
    alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return received == COUNT && pauses >= COUNT / PORTION ? 0 : 1;
}
