/* Each allocation fails in turn while calls cross from one dispatcher of a node to another: each call has one end, and all
 * that was charged and allocated comes back. */
#include "oom/oom.h"

#include <stdio.h>

#define NOW UINT64_C(1000000000000)

struct end {
    alk_connection *c;
    int room, asked, values, ends, closes;
    bool lost;   /* something that it said was not taken */
    char id[64]; /* of what it was asked last */
    char last[400];
};

struct rig {
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *near, *far;
    struct end client, peer;
    alk_call *hand; /* a reference */
};

static int on_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct end *e = ud;
    const char *id;

    (void)stream;
    if (!e->room)
        return ALK_EAGAIN;
    snprintf(e->last, sizeof e->last, "%.*s", (int)len, envelope);
    id = strstr(e->last, "\"id\":\"");
    must(id);
    if (strstr(e->last, "call.requested")) {
        e->asked++;
        snprintf(e->id, sizeof e->id, "%.36s", id + 6);
    }
    e->values += strstr(e->last, "call.responded") != NULL;
    e->ends += strstr(e->last, "call.error") || strstr(e->last, "call.completed");
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)code;
    ((struct end *)ud)->closes++;
}

static int by_hand(alk_call *call, void *ud)
{
    ((struct rig *)ud)->hand = alk_call_ref(call);
    return ALK_OK;
}

static void open_end(struct end *e, alk_dispatcher *d, const char *identity)
{
    alk_connection_options o = {.size = sizeof o, .kind = ALK_KIND_PEER};
    alk_link link = {.size = sizeof link, .send = on_send, .close = on_close, .ud = e};

    e->room = 1;
    o.identity = alk_identity_new(identity, strlen(identity));
    must(o.identity && !alk_connection_open(&e->c, d, &link, &o));
    alk_identity_unref(o.identity);
}

static void serve(struct rig *r)
{
    static const char *const names[] = {"p/query", "p/stream", "p/hand"};
    alk_operation ops[3];

    for (size_t i = 0; i < 3; i++) {
        alk_operation_init(&ops[i], sizeof ops[i]);
        ops[i].name = names[i];
        ops[i].type = i == 1 ? ALK_SUBSCRIPTION : ALK_QUERY;
        ops[i].handler = i == 2 ? by_hand : NULL;
        ops[i].ud = i == 2 ? r : NULL;
    }
    must(!alk_connection_register_imported(r->peer.c, ops, 3));
}

static void turn(struct rig *r)
{
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 20 && alk_dispatcher_turn(r->near, NOW) <= NOW; i++)
            ;
        for (int i = 0; i < 20 && alk_dispatcher_turn(r->far, NOW) <= NOW; i++)
            ;
    }
}

static void set_up(struct rig *r)
{
    static const char deputy[] = "{\"authority\":{\"label\":\"deputy\"},\"allow\":[{\"peer\":\"*\","
                                 "\"operations\":[\"p/*\"]}]}";
    static alk_limits limits;
    alk_node_options o;

    memset(r, 0, sizeof *r);
    r->reg = alk_registry_new();
    must(r->reg && !alk_registry_enable_peers(r->reg, TEXT(deputy)) &&
         !alk_registry_freeze(r->reg));
    alk_limits_init(&limits, sizeof limits);
    limits.queue_high = 1024;
    alk_node_options_init(&o, sizeof o);
    o.limits = &limits;
    must(!alk_node_new(&r->node, r->reg, &o) && !alk_dispatcher_new(&r->near, r->node) &&
         !alk_dispatcher_new(&r->far, r->node));
    open_end(&r->client, r->near,
             "{\"id\":\"client\",\"scopes\":[\"peers:call\"],\"resources\":{}}");
    open_end(&r->peer, r->far, "{\"id\":\"spoke\",\"scopes\":[],\"resources\":{}}");
    serve(r);
    turn(r);
}

static void feed(struct end *e, const char *text)
{
    int rc = alk_connection_feed(e->c, 0, TEXT(text));

    must(rc == ALK_OK || failed());
    e->lost |= rc != ALK_OK;
}

/* The client calls, through the deputy. */
static void call(struct rig *r, const char *operation, const char *input)
{
    char *text = malloc(strlen(input) + 300);

    sprintf(text,
            "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"peers/%s\","
            "\"input\":{\"peer\":\"spoke\",\"operation\":\"%s\",\"input\":%s},\"timeout_ms\":9000,"
            "\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}",
            strcmp(operation, "p/stream") ? "call" : "subscribe", operation, input);
    feed(&r->client, text);
    free(text);
    turn(r);
}

static void answer(struct rig *r, const char *type, const char *payload)
{
    char *text = malloc(strlen(payload) + 200);

    sprintf(text, "{\"type\":\"call.%s\",\"id\":\"%s\",\"payload\":%s}", type, r->peer.id, payload);
    if (r->peer.asked && !r->peer.closes)
        feed(&r->peer, text);
    free(text);
    turn(r);
}

static char *big(const char *before, size_t n, const char *behind)
{
    char *s = malloc(strlen(before) + n + strlen(behind) + 1);

    strcpy(s, before);
    memset(s + strlen(before), 'x', n);
    strcpy(s + strlen(before) + n, behind);
    return s;
}

/* The client has an end or no connection, which only want of memory takes away. */
static bool tear_down(struct rig *r, bool good)
{
    alk_stats s;

    disarm();
    turn(r);
    must(r->client.ends + r->client.values >= 1 || r->client.closes || r->peer.closes ||
         r->client.lost || r->peer.lost);
    alk_call_unref(r->hand);
    r->hand = NULL;
    alk_connection_close(r->client.c, ALK_CLOSE_SHUTDOWN);
    alk_connection_close(r->peer.c, ALK_CLOSE_SHUTDOWN);
    turn(r);
    alk_dispatcher_stats(r->near, &s, sizeof s);
    must(s.message_bytes == 0 && s.calls == 0);
    alk_dispatcher_stats(r->far, &s, sizeof s);
    must(s.calls == 0);
    alk_connection_unref(r->client.c);
    alk_connection_unref(r->peer.c);
    alk_dispatcher_free(r->near);
    alk_dispatcher_free(r->far);
    alk_node_unref(r->node);
    alk_registry_unref(r->reg);
    return good;
}

SCENARIO(a_query_that_crosses_is_answered_or_fails)
{
    char *input = big("\"", 30000, "\""), *output = big("{\"output\":\"", 30000, "\"}");
    struct rig r;

    set_up(&r);
    arm();
    call(&r, "p/query", input);
    answer(&r, "responded", output);
    free(input);
    free(output);
    must(r.client.values + r.client.ends <= 1);
    return tear_down(&r, r.client.values == 1 && !r.client.closes);
}

SCENARIO(a_fault_crosses_or_becomes_another)
{
    struct rig r;

    set_up(&r);
    arm();
    call(&r, "p/query", "[1]");
    answer(&r, "error",
           "{\"code\":\"GONE\",\"message\":\"m\",\"retryable\":true,\"details\":{\"a\":[1]}}");
    must(r.client.values == 0 && r.client.ends <= 1);
    return tear_down(&r, strstr(r.client.last, "\"code\":\"GONE\",\"message\":\"m\",\"retryable\":"
                                               "true,\"details\":{\"a\":[1]}") != NULL);
}

SCENARIO(a_subscription_crosses_whole_or_fails)
{
    char *value = big("{\"output\":\"", 400, "\"}");
    struct rig r;

    set_up(&r);
    arm();
    call(&r, "p/stream", "[1]");
    r.client.room = 0;
    for (int i = 0; i < 12; i++)
        answer(&r, "responded", value);
    r.client.room = 1;
    alk_connection_writable(r.client.c);
    turn(&r);
    answer(&r, "completed", "{}");
    free(value);
    must(r.client.ends <= 1);
    must(!strstr(r.client.last, "call.completed") || r.client.values == 12);
    return tear_down(&r, r.client.values == 12 && r.client.ends == 1 &&
                             strstr(r.client.last, "call.completed"));
}

SCENARIO(a_handler_of_the_program_answers_or_fails)
{
    struct rig r;

    set_up(&r);
    arm();
    call(&r, "p/hand", "[1]");
    if (r.hand && alk_call_reply(r.hand, "2", 1) == ALK_ENOMEM) {
        must(failed());
        disarm();
        alk_call_reply(r.hand, "2", 1);
    }
    turn(&r);
    return tear_down(&r, r.client.values == 1);
}

SCENARIO(an_abort_crosses_whatever_happens)
{
    struct rig r;

    set_up(&r);
    arm();
    call(&r, "p/stream", "[1]");
    if (!r.client.closes && !r.client.ends)
        feed(&r.client, "{\"type\":\"call.aborted\",\"id\":\"1\",\"payload\":{}}");
    turn(&r);
    must(!r.peer.asked || r.peer.closes || strstr(r.peer.last, "call.aborted") || failed());
    r.client.ends++; /* it wants none */
    return tear_down(&r, r.peer.asked && strstr(r.peer.last, "call.aborted"));
}

/* With everything failing, calls that were under way are let go by either end. */
SCENARIO(a_dispatcher_goes_without_luck)
{
    struct rig r;

    set_up(&r);
    call(&r, "p/stream", "[1]");
    answer(&r, "responded", "{\"output\":1}");
    arm();
    alk_connection_lost(r.peer.c);
    turn(&r);
    return tear_down(&r, r.client.ends == 1);
}

MAIN("oom_cross", a_query_that_crosses_is_answered_or_fails, a_fault_crosses_or_becomes_another,
     a_subscription_crosses_whole_or_fails, a_handler_of_the_program_answers_or_fails,
     an_abort_crosses_whatever_happens, a_dispatcher_goes_without_luck)
