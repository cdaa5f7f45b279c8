/* A hub and two spokes in one process. The spokes connect to the hub and serve greet/hello; the hub imports what they serve and
 * calls each of them by its name, for a client that knows only the hub. Over a network it is the same, with another link. */
#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

enum { HUB, PARIS, ROME, NODES };

static int hello(alk_call *call, void *ud)
{
    return alk_call_reply(call, ud, strlen(ud));
}

static void pass_on(alk_call *child, const alk_value *value, void *ud)
{
    size_t len;
    const char *json = alk_value_text(value, &len);

    (void)child;
    alk_call_reply(ud, json, len);
}

/* Its input is the name of a city. What became of the nested call would come in on_end. */
static int ask(alk_call *call, void *ud)
{
    alk_call_options o = {
        .size = sizeof o, .on_event = pass_on, .ud = call, .selector = ALK_SELECT_PEER};
    size_t len;
    const char *city = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    o.peer = city && strstr(city, "rome") ? "rome" : "paris";
    return alk_call_invoke(call, "greet/hello", 11, "null", 4, &o, NULL);
}

static void print(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call;
    printf("%s says %s\n", (const char *)ud, alk_value_text(value, &len));
}

static alk_dispatcher *start(const char *name, alk_handler handler, const char *environment,
                             const char *ud)
{
    alk_operation op = {.size = sizeof op,
                        .type = ALK_QUERY,
                        .visibility = ALK_EXTERNAL,
                        .name = name,
                        .handler = handler,
                        .environment = environment,
                        .ud = (void *)ud};
    alk_registry *reg = alk_registry_new();
    alk_dispatcher *d = NULL;
    alk_node *node = NULL;

    if (reg && !alk_registry_add(reg, &op) && !alk_registry_freeze(reg) &&
        !alk_node_new(&node, reg, NULL))
        alk_dispatcher_new(&d, node);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return d;
}

static void run(alk_dispatcher *const *d)
{
    for (int i = 0; i < 20 * NODES; i++)
        alk_dispatcher_turn(d[i % NODES], 0);
}

int main(void)
{
    alk_dispatcher *d[NODES] = {start("hub/ask", ask, "{\"allowed_ops\":[\"greet/*\"]}", NULL),
                                start("greet/hello", hello, NULL, "\"bonjour\""),
                                start("greet/hello", hello, NULL, "\"ciao\"")};
    const char *const ids[NODES] = {"{\"id\":\"client\"}", "{\"id\":\"paris\"}",
                                    "{\"id\":\"rome\"}"};
    alk_connection *to[NODES], *from[NODES]; /* [HUB]: from a client, in the hub's own dispatcher */
    alk_import_options all = {.size = sizeof all};

    for (int i = 0; i < NODES; i++) {
        alk_identity *who = alk_identity_new(ids[i], strlen(ids[i]));
        alk_connection_options hub = {.size = sizeof hub},
                               spoke = {.size = sizeof spoke, .identity = who};

        spoke.kind = i == HUB ? ALK_KIND_KEY : ALK_KIND_PEER;
        if (!d[i] || alk_pair_open(d[HUB], &spoke, &to[i], d[i], &hub, &from[i]) ||
            (i != HUB && alk_connection_import(to[i], &all, NULL, NULL)))
            return 1;
        alk_identity_unref(who);
    }
    run(d);
    for (int i = PARIS; i < NODES; i++) {
        alk_call_options o = {
            .size = sizeof o, .on_event = print, .ud = i == PARIS ? "paris" : "rome"};
        const char *input = i == PARIS ? "\"paris\"" : "\"rome\"";

        if (alk_connection_call(from[HUB], "hub/ask", 7, input, strlen(input), &o, NULL))
            return 1;
    }
    run(d);
    for (int i = 0; i < NODES; i++) {
        alk_connection_unref(to[i]);
        alk_connection_unref(from[i]);
    }
    for (int i = 0; i < NODES; i++)
        alk_dispatcher_free(d[i]);
    return 0;
}
