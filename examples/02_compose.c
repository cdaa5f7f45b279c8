/* A handler that calls another: shop/offer asks stock/price. Clients cannot call that themselves: it is internal, and wants a
 * scope that only shop/offer's own authority holds. When the client aborts its call, the one below ends as well. */
#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

/* Both are about the nested call; ud is the call of shop/offer, which outlives it. */
static void on_price(alk_call *child, const alk_value *value, void *ud)
{
    char text[100];
    size_t len;
    const char *price = alk_value_text(value, &len);
    int n = snprintf(text, sizeof text, "{\"offer\":\"today only\",\"price\":%.40s}",
                     price ? price : "null");

    (void)child;
    alk_call_reply(ud, text, (size_t)n);
}

static void on_price_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    alk_fault mine = {.size = sizeof mine,
                      .code = "NO_OFFER",
                      .message = fault ? fault->message : "no price",
                      .message_len = fault ? fault->message_len : 0};

    (void)child;
    if (why != ALK_END_OK)
        alk_call_fail(ud, &mine); /* says ALK_EENDED when the offer itself was aborted: no matter */
}

static int offer(alk_call *call, void *ud)
{
    alk_call_options o = {.size = sizeof o};

    (void)ud;
    o.on_event = on_price;
    o.on_end = on_price_end;
    o.ud = call;
    return alk_call_invoke(call, "stock/price", 11, "\"tea\"", 5, &o, NULL);
}

static int price(alk_call *call, void *ud)
{
    (void)ud;
    printf("stock/price runs for %s\n", alk_identity_id(alk_call_identity(call)));
    return alk_call_reply(call, "4.50", 4);
}

static void print(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call, (void)ud;
    printf("the client gets %s\n", alk_value_text(value, &len));
}

int main(void)
{
    alk_operation a = {.size = sizeof a,
                       .type = ALK_QUERY,
                       .visibility = ALK_EXTERNAL,
                       .handler = offer},
                  b = a;
    alk_connection_options side = {.size =
                                       sizeof side}; /* neither side knows who the other one is */
    alk_call_options o = {.size = sizeof o, .on_event = print};
    alk_registry *reg = alk_registry_new();
    alk_connection *client, *server;
    alk_dispatcher *d;
    alk_node *node;

    a.name = "shop/offer";
    a.authority = "{\"label\":\"shop\",\"scopes\":[\"stock:read\"]}";
    a.environment = "{\"allowed_ops\":[\"stock/*\"]}";
    b.name = "stock/price";
    b.visibility = ALK_INTERNAL_ONLY;
    b.access_control = "{\"required_scopes\":[\"stock:read\"]}";
    b.handler = price;
    if (!reg || alk_registry_add(reg, &a) || alk_registry_add(reg, &b) ||
        alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) ||
        alk_dispatcher_new(&d, node) || alk_pair_open(d, &side, &client, d, &side, &server) ||
        alk_connection_call(client, "shop/offer", 10, "null", 4, &o, NULL))
        return 1;
    while (alk_dispatcher_turn(d, 0) ==
           0) /* a program with a loop calls this when something has come, or is due */
        ;
    alk_connection_unref(client);
    alk_connection_unref(server);
    alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return 0;
}
