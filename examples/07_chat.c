/* A chat with rooms: an event gateway at /chat, and the page that talks to it as the static site.
 *
 *   07_chat [PORT] [DIRECTORY]        of the page, "examples/chat"; then open http://localhost:4787/
 *
 *   from a client   {"event":"name","data":"Ada"}  {"event":"room","data":"kitchen"}  {"event":"say","data":"hello"}
 *   to a room       {"event":"people","data":["Ada","guest 2"]}   {"event":"said","data":{"from":"Ada","text":"hello"}}
 *
 * Names, rooms and texts are JSON strings all the way, so that nothing here has to quote anything. */
#include <alknet/uv.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEOPLE 256
#define NAME 80 /* bytes of a name or a room, as JSON */

struct member {
    struct member *next;
    alk_client *client;
    char name[NAME], room[NAME];
};

static struct {
    alk_loop *loop;
    alk_gateway *gateway;
    alk_events *events;
    struct member *members;
    unsigned guests;
    uv_signal_t interrupt, terminate;
} chat;

static void tell(const char *room, const char *event, const char *json)
{
    const char *ids[PEOPLE];
    size_t n = 0;

    for (const struct member *m = chat.members; m; m = m->next) {
        if (!strcmp(m->room, room))
            ids[n++] = alk_client_id(m->client);
    }
    alk_events_send_many(chat.events, ids, n, event, strlen(event), json, strlen(json), NULL);
}

static void tell_people(const char *room)
{
    char list[PEOPLE * (NAME + 1) + 3] = "[", *to = list + 1;

    for (const struct member *m = chat.members; m; m = m->next) {
        if (!strcmp(m->room, room))
            to += sprintf(to, "%s%s", to == list + 1 ? "" : ",", m->name);
    }
    strcpy(to, "]");
    tell(room, "people", list);
}

static void on_connect(alk_client *client, void *ud)
{
    struct member *m = calloc(1, sizeof *m);

    (void)ud;
    if (!m) {
        alk_client_close(client, 1013);
        return;
    }
    m->client = client;
    snprintf(m->name, NAME, "\"guest %u\"", ++chat.guests);
    strcpy(m->room, "\"lobby\"");
    m->next = chat.members;
    chat.members = m;
    alk_client_set_data(client, m);
    tell_people(m->room);
}

static void on_disconnect(alk_client *client, int code, void *ud)
{
    struct member *m = alk_client_data(client), **at = &chat.members;

    (void)code, (void)ud;
    if (!m)
        return;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    tell_people(m->room);
    free(m);
}

/* Copies a JSON string that is neither empty nor too long. */
static int take_name(const alk_value *data, char out[NAME])
{
    size_t len;
    const char *text = alk_value_text(data, &len);

    if (!text)
        return ALK_ENOMEM;
    if (*text != '"' || len < 3 || len >= NAME)
        return ALK_EINVAL;
    memcpy(out, text, len + 1);
    return ALK_OK;
}

static int on_name(alk_client *client, const alk_value *data, void *ud)
{
    struct member *m = alk_client_data(client);
    int rc = take_name(data, m->name);

    (void)ud;
    if (!rc)
        tell_people(m->room);
    return rc;
}

static int on_room(alk_client *client, const alk_value *data, void *ud)
{
    struct member *m = alk_client_data(client);
    char left[NAME];
    int rc;

    (void)ud;
    strcpy(left, m->room);
    rc = take_name(data, m->room);
    if (!rc) {
        tell_people(left);
        tell_people(m->room);
    }
    return rc;
}

static int on_say(alk_client *client, const alk_value *data, void *ud)
{
    const struct member *m = alk_client_data(client);
    size_t len;
    const char *text = alk_value_text(data, &len);
    char *said = text ? malloc(len + NAME + 30) : NULL;

    (void)ud;
    if (!said)
        return ALK_ENOMEM;
    sprintf(said, "{\"from\":%s,\"text\":%s}", m->name, text);
    tell(m->room, "said", said);
    free(said);
    return ALK_OK;
}

/* ---- the program ------------------------------------------------------------------------------- */

static void on_closed(void *ud)
{
    alk_gateway_free(ud);
}

static void on_drained(void *ud)
{
    (void)ud;
    alk_loop_close(chat.loop, on_closed, chat.gateway);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)s, (void)number;
    alk_loop_drain(chat.loop, on_drained, NULL); /* everyone is told, with 1001 */
    uv_close((uv_handle_t *)&chat.interrupt, NULL);
    uv_close((uv_handle_t *)&chat.terminate, NULL);
}

int main(int argc, char **argv)
{
    alk_events_options events = {.size = sizeof events};
    alk_gateway_options site;
    alk_node_options options;
    alk_limits limits;
    alk_server_options listen;
    alk_registry *registry = alk_registry_new();
    alk_dispatcher *dispatcher;
    alk_server *server;
    alk_node *node;
    char why[200] = "out of memory";

    alk_limits_init(&limits, sizeof limits);
    limits.websocket_sessions = PEOPLE;
    alk_node_options_init(&options, sizeof options);
    options.limits = &limits;
    alk_gateway_options_init(&site, sizeof site);
    site.decoy = ALK_DECOY_STATIC_SITE;
    site.decoy_target = argc > 2 ? argv[2] : "examples/chat";
    events.path = "/chat";
    events.message_bytes = 4096;
    events.on_connect = on_connect;
    events.on_disconnect = on_disconnect;
    alk_server_options_init(&listen, sizeof listen);
    listen.port = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 4787;
    signal(SIGPIPE, SIG_IGN);
    if (!registry || alk_registry_freeze(registry) || alk_node_new(&node, registry, &options) ||
        alk_dispatcher_new(&dispatcher, node) ||
        alk_loop_open(&chat.loop, uv_default_loop(), dispatcher) ||
        alk_gateway_new(&chat.gateway, dispatcher, &site, why, sizeof why) ||
        alk_gateway_add_events(&chat.events, chat.gateway, &events) ||
        alk_events_on(chat.events, "name", on_name, NULL) ||
        alk_events_on(chat.events, "room", on_room, NULL) ||
        alk_events_on(chat.events, "say", on_say, NULL)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    listen.gateway = chat.gateway;
    if (alk_server_open(&server, chat.loop, &listen, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    uv_signal_init(uv_default_loop(), &chat.interrupt);
    uv_signal_init(uv_default_loop(), &chat.terminate);
    uv_signal_start(&chat.interrupt, on_signal, SIGINT);
    uv_signal_start(&chat.terminate, on_signal, SIGTERM);
    printf("listening on port %d\n", alk_server_port(server));
    fflush(stdout);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    alk_node_unref(node);
    alk_registry_unref(registry);
    return uv_loop_close(uv_default_loop()) ? 1 : 0;
}
