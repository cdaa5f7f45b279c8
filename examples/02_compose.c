/* A handler that calls others: shop/offer asks stock/count and stock/price side by side. Clients cannot call those two: they
 * are internal, and want a scope that only shop/offer's own authority holds. When the caller aborts, or one of the two fails,
 * the other one ends as well. */
#include <alknet/alknet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct offer {
    alk_call *call;
    char count[64], price[64];
};

static void on_part(alk_call *child, const alk_value *value, void *ud)
{
    struct offer *o = ud;
    size_t n;
    const char *json = alk_value_text(value, &n);

    snprintf(strstr(alk_call_operation(child), "count") ? o->count : o->price, 64, "%s", json ? json : "null");
}

static void on_part_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    struct offer *o = ud;
    alk_fault failed = {sizeof failed, 0, "NO_OFFER", fault ? fault->message : "aborted", NULL};
    char text[200];
    int n = snprintf(text, sizeof text, "{\"count\":%s,\"price\":%s}", o->count, o->price);

    (void)child;
    if (why != ALK_END_OK)
        alk_call_fail(o->call, &failed); /* ALK_EENDED where the offer itself was aborted */
    else if (*o->count && *o->price)
        alk_call_reply(o->call, text, (size_t)n);
}

/* Comes once, after the ends of both parts. */
static void on_offer_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)why, (void)fault;
    free(ud);
}

static int offer(alk_call *call, void *ud)
{
    struct offer *o = calloc(1, sizeof *o);
    alk_call_options part = {.size = sizeof part, .on_event = on_part, .on_end = on_part_end, .ud = o};
    int rc = o ? alk_call_on_end(call, on_offer_end, o) : ALK_ENOMEM;

    (void)ud;
    if (!rc) {
        o->call = call;
        rc = alk_call_invoke(call, "stock/count", 11, "\"tea\"", 5, &part, NULL);
    }
    return rc ? rc : alk_call_invoke(call, "stock/price", 11, "\"tea\"", 5, &part, NULL);
}

static int stock(alk_call *call, void *ud)
{
    return alk_call_reply(call, ud, strlen(ud));
}

static void print(alk_call *call, const alk_value *value, void *ud)
{
    size_t n;

    (void)ud;
    printf("%s: %s\n", alk_call_operation(call), alk_value_text(value, &n));
}

int main(void)
{
    static const char access[] = "{\"required_scopes\":[\"stock:read\"]}";
    alk_operation ops[3];
    alk_registry *reg = alk_registry_new();
    alk_connection_options side;
    alk_connection *client, *server;
    alk_call_options call;
    alk_dispatcher *d;
    alk_node *node;

    for (int i = 0; i < 3; i++) {
        alk_operation_init(&ops[i]);
        ops[i].name = i == 0 ? "shop/offer" : i == 1 ? "stock/count" : "stock/price";
        ops[i].handler = i ? stock : offer;
        ops[i].ud = i == 1 ? "12" : "4.50";
        ops[i].visibility = i ? ALK_INTERNAL_ONLY : ALK_EXTERNAL;
        ops[i].access_control = i ? access : NULL;
    }
    ops[0].authority = "{\"label\":\"shop\",\"scopes\":[\"stock:read\"]}";
    ops[0].environment = "{\"allowed_ops\":[\"stock/*\"]}";
    alk_connection_options_init(&side);
    alk_call_options_init(&call);
    call.on_event = print;
    for (int i = 0; i < 3; i++)
        if (!reg || alk_registry_add(reg, &ops[i]))
            return 1;
    if (alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) || alk_dispatcher_new(&d, node) ||
        alk_pair_open(d, &side, &client, d, &side, &server) ||
        alk_connection_call(client, "shop/offer", 10, "null", 4, &call, NULL))
        return 1;
    for (int i = 0; i < 10; i++)
        alk_dispatcher_turn(d, 1);
    alk_connection_unref(client);
    alk_connection_unref(server);
    alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return 0;
}
