/* Each allocation fails in turn: registries, identities, nodes, connections, calls in all their
 * forms. Nothing crashes, nothing is lost, what cannot be done says ALK_ENOMEM, and each call
 * that was begun has exactly one end. */
#include "oom/oom.h"

#include <alknet/openapi.h>
#include <alknet/yyjson.h>

#define NOW UINT64_C(1000000000000)
#define MS UINT64_C(1000000)

/* ---- a node and its far end ------------------------------------------------------------------ */

/* The calls that a test answers itself. */
static alk_call *held[8];
static int held_count, held_ends;

static void on_held_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    (void)ud;
    held_ends++;
}

static int hold(alk_call *call, void *ud)
{
    (void)ud;
    must(held_count < 8 && alk_call_on_end(call, on_held_end, NULL) == ALK_OK);
    held[held_count++] = alk_call_ref(call);
    return ALK_OK;
}

static void let_go(void)
{
    while (held_count)
        alk_call_unref(held[--held_count]);
}

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

/* Emits 1 to 40 and completes; goes on after each drain. */
static void count_on(alk_call *call, void *ud)
{
    int *n = ud, rc = ALK_OK;
    char text[16];

    for (; *n < 40 && !rc; *n += rc == ALK_OK) {
        snprintf(text, sizeof text, "%d", *n + 1);
        rc = alk_call_emit(call, TEXT(text));
    }
    if (rc == ALK_ENOMEM) {
        alk_fault f = {.size = sizeof f, .code = "NO_MEMORY", .message = "while counting"};

        alk_call_fail(call, &f);
    } else if (rc == ALK_OK) {
        alk_call_complete(call);
    }
}

static int counted;

static int count(alk_call *call, void *ud)
{
    counted = 0;
    return alk_call_on_drain(call, count_on, ud) ? ALK_EENDED : (count_on(call, ud), ALK_OK);
}

struct result {
    int values, ends, why;
    char code[40], text[200];
};

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct result *r = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    must(r->ends == 0);
    r->values++;
    snprintf(r->text, sizeof r->text, "%s", text ? text : "");
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct result *r = ud;

    (void)call;
    r->ends++;
    r->why = why;
    snprintf(r->code, sizeof r->code, "%s", fault ? fault->code : "");
    must(!fault || (fault->code && fault->message));
}

static alk_call_options options_for(struct result *r, bool stream)
{
    alk_call_options o = {.size = sizeof o};

    memset(r, 0, sizeof *r);
    o.stream = stream;
    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = r;
    return o;
}

/* Calls others: input is the operation's name. */
static struct result nested;

static void on_nested_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    on_end(child, why, fault, &nested);
    if (why == ALK_END_OK)
        alk_call_reply(ud, TEXT(nested.text));
    else if (fault)
        alk_call_fail(ud, fault);
    alk_call_unref(ud);
}

static int compose(alk_call *call, void *ud)
{
    yyjson_val *in = alk_value_yyjson(alk_call_input(call));
    alk_call_options o = options_for(&nested, false);
    int rc;

    (void)ud;
    if (!in)
        return ALK_ENOMEM;
    o.on_end = on_nested_end;
    o.ud = alk_call_ref(call);
    o.on_event = NULL;
    o.capabilities = "t other";
    strcpy(nested.text, "\"done\"");
    rc = alk_call_invoke(call, yyjson_get_str(in), yyjson_get_len(in), "[1]", 3, &o, NULL);
    if (rc)
        alk_call_unref(call);
    return rc;
}

static int add(alk_registry *reg, const char *name, uint32_t type, alk_handler handler, void *ud)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.ud = ud;
    return alk_registry_add(reg, &op);
}

static void no_log(void *ud, const alk_log_event *e)
{
    (void)ud;
    must(!e->message || strlen(e->message) < 10000);
}

struct side {
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_connection *c;
    uint64_t now;
    /* of the wire */
    int sent, closes, room;
    char last[4000];
};

static alk_limits limits;

static bool side_open(struct side *s)
{
    alk_operation op;
    alk_node_options o;
    alk_capabilities *caps;

    memset(s, 0, sizeof *s);
    s->now = NOW;
    s->room = -1;
    s->reg = alk_registry_new();
    must(s->reg);
    must(!add(s->reg, "t/echo", ALK_QUERY, echo, NULL) &&
         !add(s->reg, "t/hold", ALK_QUERY, hold, NULL) &&
         !add(s->reg, "t/stream", ALK_SUBSCRIPTION, hold, NULL) &&
         !add(s->reg, "t/count", ALK_SUBSCRIPTION, count, &counted));
    alk_operation_init(&op, sizeof op);
    op.name = "t/strict";
    op.handler = echo;
    op.input_schema =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"b\"]}";
    op.output_schema = "{\"type\":\"object\"}";
    op.access_control = "{\"authenticated\":true}";
    must(!alk_registry_add(s->reg, &op));
    alk_operation_init(&op, sizeof op);
    op.name = "t/unique";
    op.handler = echo;
    op.input_schema = "{\"uniqueItems\":true,\"unevaluatedItems\":{\"type\":\"integer\"}}";
    must(!alk_registry_add(s->reg, &op));
    alk_operation_init(&op, sizeof op);
    op.name = "t/compose";
    op.handler = compose;
    op.authority = "{\"label\":\"composer\",\"scopes\":[\"a\"]}";
    op.environment = "{\"allowed_ops\":[\"t/*\",\"far/*\"]}";
    caps = alk_capabilities_new();
    must(caps && !alk_capabilities_set(caps, "t", "secret", 6));
    op.capabilities = caps;
    must(!alk_registry_add(s->reg, &op));
    alk_capabilities_free(caps);
    must(!alk_registry_freeze(s->reg));
    alk_limits_init(&limits, sizeof limits);
    limits.queue_high = 300;
    alk_node_options_init(&o, sizeof o);
    o.limits = &limits;
    o.log = no_log;
    o.log_level = ALK_LOG_DEBUG;
    o.debug_outputs = 1;
    must(!alk_node_new(&s->node, s->reg, &o));
    return !alk_dispatcher_new(&s->d, s->node);
}

static void side_close(struct side *s)
{
    alk_connection_unref(s->c);
    alk_dispatcher_free(s->d);
    let_go();
    alk_node_unref(s->node);
    alk_registry_unref(s->reg);
}

static void turn(struct side *s)
{
    for (int i = 0; i < 100 && alk_dispatcher_turn(s->d, s->now) <= s->now; i++)
        ;
}

static int wire_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct side *s = ud;
    yyjson_doc *doc;

    (void)stream;
    if (!s->room)
        return ALK_EAGAIN;
    s->room -= s->room > 0;
    s->sent++;
    /* Whatever was missing, what leaves is whole. */
    doc = yyjson_read(envelope, len, YYJSON_READ_NUMBER_AS_RAW);
    must(doc && yyjson_obj_size(yyjson_doc_get_root(doc)) == 3);
    yyjson_doc_free(doc);
    snprintf(s->last, sizeof s->last, "%.*s", (int)len, envelope);
    return ALK_OK;
}

static void wire_close(void *ud, int code)
{
    struct side *s = ud;

    (void)code;
    s->closes++;
}

static uint64_t wire_stream(void *ud)
{
    (void)ud;
    return 7;
}

static void wire_pause(void *ud, uint64_t stream, int paused)
{
    (void)ud;
    (void)stream;
    (void)paused;
}

static int wire_open(struct side *s, const alk_connection_options *o)
{
    alk_connection_options none = {.size = sizeof none};
    alk_link link = {.size = sizeof link,
                     .send = wire_send,
                     .pause = wire_pause,
                     .close = wire_close,
                     .open_stream = wire_stream,
                     .ud = s};

    return alk_connection_open(&s->c, s->d, &link, o ? o : &none);
}

/* A connection in the test's hand, made before arm. */
static void with_wire(struct side *s)
{
    must(side_open(s) && !wire_open(s, NULL));
}

/* false: the connection has closed, which only want of memory may cause. */
static bool feed(struct side *s, const char *envelope)
{
    int rc = alk_connection_feed(s->c, 0, TEXT(envelope));

    must(rc == ALK_OK || (failed() && (rc == ALK_ELIMIT || rc == ALK_ECLOSED)));
    return rc == ALK_OK;
}

static bool request(struct side *s, const char *id, const char *operation, const char *input)
{
    char text[2000];

    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"%s\","
             "\"input\":%s,"
             "\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}",
             id, operation, input);
    return feed(s, text);
}

/* Requests, turns, and says whether the last envelope has that text in it. */
static bool answered(struct side *s, const char *operation, const char *input, const char *text)
{
    int before = s->sent;
    bool came;

    s->last[0] = 0;
    if (!request(s, "id", operation, input))
        return false;
    turn(s);
    came = strstr(s->last, text) != NULL;
    /* A handler of the test that had no memory for its answer may still be waiting. */
    if (s->sent == before && !s->closes && !strncmp(operation, "t/", 2)) {
        s->now += 30000 * MS;
        turn(s);
    }
    /* Something must have come of it: an answer, or the end of the connection. */
    must(came || (failed() && (s->sent > before || s->closes)));
    return came;
}

/* ---- registry, identities, nodes ------------------------------------------------------------- */

SCENARIO(a_registry_is_made_or_not)
{
    alk_registry *reg;

    arm();
    reg = alk_registry_new();
    must(reg || failed());
    alk_registry_unref(reg);
    return reg;
}

static void count_free(void *ud)
{
    ++*(int *)ud;
}

SCENARIO(an_operation_with_every_member_is_added_or_not)
{
    alk_registry *reg = alk_registry_new();
    alk_capabilities *caps = alk_capabilities_new();
    alk_operation op;
    int freed = 0;
    bool good;

    must(reg && caps && !alk_capabilities_set(caps, "a", "secret", 6) &&
         !alk_capabilities_set(caps, "b", "x", 1));
    alk_operation_init(&op, sizeof op);
    op.name = "/t/x";
    op.description = "does it";
    op.input_schema =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/"
        "d\"},\"b\":{\"pattern\":\"^a+$\"}},"
        "\"$defs\":{\"d\":{\"enum\":[1,2,{\"x\":[]}]}},\"anyOf\":[{\"minProperties\":1},true]}";
    op.output_schema = "{\"type\":[\"string\",\"null\"]}";
    op.error_schemas = "[{\"code\":\"A\",\"description\":\"d\",\"schema\":{\"type\":\"object\"},"
                       "\"http_status\":409},"
                       "{\"code\":\"B\"}]";
    op.access_control = "{\"required_scopes\":[\"a\"],\"required_scopes_any\":[\"b\",\"c\"],"
                        "\"resource_type\":\"f\"}";
    op.resource_id_path = "/a";
    op.authority = "{\"label\":\"l\",\"scopes\":[\"s\"],\"resources\":{\"t\":[\"1\",\"2\"]}}";
    op.environment = "{\"allowed_ops\":[\"a/b\",\"c/*\"],\"peer_pinned\":[\"p/a/b\"]}";
    op.capabilities = caps;
    op.handler = echo;
    op.ud = &freed;
    op.ud_free = count_free;
    arm();
    good = ok(alk_registry_add(reg, &op));
    must(freed == !good);
    must(good || strstr(alk_registry_error(reg), "out of memory"));
    good &= ok(alk_registry_freeze(reg));
    disarm();
    alk_capabilities_free(caps);
    alk_registry_unref(reg);
    must(freed == 1);
    return good;
}

SCENARIO(many_operations_are_added_or_not)
{
    alk_registry *reg = alk_registry_new();
    bool good = true;

    arm();
    for (int i = 0; i < 12; i++) {
        char name[16];

        snprintf(name, sizeof name, "t/x%d", i);
        good &= ok(add(reg, name, ALK_QUERY, echo, NULL));
    }
    good &= ok(alk_registry_freeze(reg));
    alk_registry_unref(reg);
    return good;
}

SCENARIO(descriptions_are_imported_all_or_none)
{
    static const char json[] =
        "[{\"name\":\"d/"
        "a\",\"input_schema\":{\"type\":\"object\"},\"error_schemas\":[{\"code\":\"A\"}]},"
        "{\"name\":\"d/b\"},{\"name\":\"d/c\",\"access_control\":{\"required_scopes\":[\"s\"]}}]";
    alk_registry *reg = alk_registry_new();
    bool good;

    arm();
    good = ok(alk_registry_import_jsonschema(reg, TEXT(json)));
    disarm();
    must(!strcmp(alk_registry_error(reg), "") == good);
    must(alk_registry_import_jsonschema(reg, TEXT(json)) == (good ? ALK_EEXIST : ALK_OK));
    alk_registry_unref(reg);
    return good;
}

SCENARIO(an_identity_is_made_or_not)
{
    alk_identity *who;

    arm();
    who = alk_identity_new(
        TEXT("{\"id\":\"me\",\"scopes\":[\"a\",\"b:*\"],\"resources\":{\"t\":[\"1\"],\"u\":[]}}"));
    must(who || failed());
    alk_identity_unref(who);
    return who;
}

SCENARIO(capabilities_are_set_replaced_or_left)
{
    alk_capabilities *caps;
    bool good;

    arm();
    caps = alk_capabilities_new();
    good = caps != NULL;
    for (int i = 0; i < 6 && caps; i++)
        good &= ok(alk_capabilities_set(caps, i % 2 ? "a" : i % 3 ? "b" : "c", "secret", 6));
    alk_capabilities_free(caps);
    return good;
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"

SCENARIO(a_configuration_that_cannot_be_loaded_leaves_the_old_one)
{
    static const char config[] =
        "{\"peers\":[{\"peer_id\":\"p\",\"auth_token_hashes\":[\"" HASH "0\",\"" HASH
        "1\"],\"fingerprints\":[\"ed25519:" HASH
        "0\"],\"scopes\":[\"a\"],\"resources\":{\"t\":[\"x\"]}},{\"peer_id\":\"q\"},{\"peer_id\":"
        "\"r\"}],\"keys\":[{\"prefix\":"
        "\"alk_AAAA\",\"hash\":\"" HASH
        "2\",\"scopes\":[\"b\"]},{\"prefix\":\"alk_BBBB\",\"hash\":\"" HASH "3\"}]}";
    alk_identities *ids = alk_identities_new();
    alk_identity_provider p;
    alk_identity *who = NULL;
    char err[200];
    bool good;

    must(ids && !alk_identities_load(ids, TEXT(config), 0, NULL, NULL, 0));
    alk_identities_provider(ids, &p, sizeof p);
    arm();
    good = ok(alk_identities_load(ids, TEXT(config), 0, NULL, err, sizeof err));
    must(p.by_fingerprint(p.ud, TEXT("ed25519:" HASH "0"), &who) == ALK_KIND_PEER && who);
    alk_identity_unref(who);
    alk_identities_free(ids);
    return good;
}

SCENARIO(an_identity_provider_is_made_or_not)
{
    alk_identities *ids;

    arm();
    ids = alk_identities_new();
    must(ids || failed());
    alk_identities_free(ids);
    return ids;
}

SCENARIO(node_and_dispatcher_are_made_or_not)
{
    alk_registry *reg = alk_registry_new();
    alk_node_options o;
    alk_node *node;
    alk_dispatcher *d = NULL;
    bool good;

    must(reg && !alk_registry_freeze(reg));
    alk_node_options_init(&o, sizeof o);
    arm();
    good = ok(alk_node_new(&node, reg, &o)) && ok(alk_dispatcher_new(&d, node));
    must(good == (d != NULL));
    alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    return good;
}

SCENARIO(peers_are_enabled_or_not)
{
    alk_registry *reg = alk_registry_new();
    bool good;

    arm();
    good = ok(alk_registry_enable_peers(
        reg, TEXT("{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"a\"]},\"allow\":["
                  "{\"peer\":\"p\",\"operations\":[\"a/b\",\"c/*\"]},{\"peer\":\"*\","
                  "\"operations\":[]}]}")));
    alk_registry_unref(reg);
    return good;
}

/* ---- connections ----------------------------------------------------------------------------- */

SCENARIO(a_connection_of_a_peer_is_opened_or_not)
{
    struct side s;
    alk_connection_options o = {.size = sizeof o};
    bool good;

    must(side_open(&s));
    o.identity = alk_identity_new(TEXT("{\"id\":\"p\"}"));
    o.kind = ALK_KIND_PEER;
    o.token = "alk_token";
    o.by_token = "alk_other";
    o.by_fingerprint = "ed25519:x";
    o.remote = "192.0.2.1";
    arm();
    good = ok(wire_open(&s, &o));
    must(good == (s.c != NULL));
    if (good)
        turn(&s);
    side_close(&s);
    alk_identity_unref(o.identity);
    return good;
}

SCENARIO(a_pair_is_opened_or_not)
{
    struct side a, b;
    alk_connection_options o = {.size = sizeof o};
    bool good;

    must(side_open(&a) && side_open(&b));
    o.remote = "pair";
    arm();
    good = ok(alk_pair_open(a.d, &o, &a.c, b.d, &o, &b.c));
    must(good == (a.c && b.c));
    turn(&a);
    turn(&b);
    side_close(&a);
    side_close(&b);
    return good;
}

/* ---- calls from the wire --------------------------------------------------------------------- */

SCENARIO(an_echo_is_answered_or_fails)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = answered(&s, "t/echo", "{\"a\":[1,2.50]}", "{\"output\":{\"a\":[1,2.50]}}");
    good = answered(&s, "t/echo", "\"again\"", "\"again\"") && good;
    side_close(&s);
    return good;
}

SCENARIO(a_large_echo_is_answered_or_fails)
{
    struct side s;
    char input[1900];
    bool good;

    memset(input, 'x', sizeof input);
    input[0] = input[1800] = '"';
    input[1801] = 0;
    with_wire(&s);
    arm();
    good = answered(&s, "t/echo", input, "call.responded");
    side_close(&s);
    return good;
}

SCENARIO(refusals_are_told_or_the_connection_ends)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = answered(&s, "t/none", "null", "NOT_FOUND");
    good = answered(&s, "t/strict", "null", "FORBIDDEN") && good;
    good = answered(&s, "t/compose", "5", "INTERNAL") && good;
    side_close(&s);
    return good;
}

SCENARIO(an_invalid_input_is_told_with_or_without_details)
{
    struct side s;
    alk_connection_options o = {.size = sizeof o};
    bool good;

    must(side_open(&s));
    o.identity = alk_identity_new(TEXT("{\"id\":\"p\"}"));
    must(!wire_open(&s, &o));
    alk_identity_unref(o.identity);
    arm();
    good = answered(&s, "t/strict", "{\"a\":\"x\"}", "INVALID_INPUT");
    good = good && strstr(s.last, "\"details\"");
    good = answered(&s, "t/strict", "{\"b\":1}", "\"b\":1") && good;
    side_close(&s);
    return good;
}

SCENARIO(a_request_without_operation_is_told_or_the_connection_ends)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = feed(&s, "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{}}");
    turn(&s);
    good = good && strstr(s.last, "INVALID_INPUT");
    side_close(&s);
    return good;
}

/* Requests t/hold or t/stream before arm; its call is held[0]. */
static void with_held(struct side *s, const char *operation)
{
    with_wire(s);
    held_ends = 0;
    must(request(s, "held", operation, "null"));
    turn(s);
    must(held_count == 1);
}

SCENARIO(a_later_reply_is_sent_or_can_be_tried_again)
{
    struct side s;
    bool good;

    with_held(&s, "t/hold");
    arm();
    good = ok(alk_call_reply(held[0], TEXT("{\"a\":1}")));
    if (!good) {
        disarm();
        must(!alk_call_reply(held[0], TEXT("{\"a\":1}")) || s.closes == 0);
    }
    turn(&s);
    must(held_ends == 1);
    must(strstr(s.last, "{\"a\":1}") || failed());
    side_close(&s);
    return good;
}

SCENARIO(a_fault_with_details_is_sent_or_can_be_tried_again)
{
    struct side s;
    alk_fault f = {
        .size = sizeof f, .code = "OWN", .message = "mine", .details = "{\"why\":[1,2,3]}"};
    bool good;

    with_held(&s, "t/hold");
    arm();
    good = ok(alk_call_fail(held[0], &f));
    if (!good) {
        disarm();
        must(!alk_call_fail(held[0], &f));
    }
    turn(&s);
    must(held_ends == 1);
    good = good && strstr(s.last, "\"OWN\"");
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(a_long_fault_is_sent_or_can_be_tried_again)
{
    struct side s;
    char message[3500];
    alk_fault f = {.size = sizeof f, .code = "OWN", .message = message};
    bool good;

    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 1] = 0;
    with_held(&s, "t/hold");
    arm();
    good = ok(alk_call_fail(held[0], &f));
    if (!good) {
        disarm();
        must(!alk_call_fail(held[0], &f));
    }
    turn(&s);
    must(held_ends == 1);
    good = good && strstr(s.last, "\"OWN\"");
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(an_input_that_needs_memory_to_be_checked_is_checked_or_fails)
{
    struct side s;
    char input[1900] = "[";
    bool good;

    for (int i = 0; i < 300; i++)
        snprintf(input + strlen(input), 8, i ? ",%d" : "%d", i);
    strcat(input, "]");
    with_wire(&s);
    arm();
    good = answered(&s, "t/unique", input, "call.responded");
    must(!strstr(s.last, "INVALID_INPUT"));
    side_close(&s);
    return good;
}

SCENARIO(parsed_and_built_replies_are_sent_or_can_be_tried_again)
{
    struct side s;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    bool good;

    with_held(&s, "t/stream");
    arm();
    good = ok(alk_call_output_built(held[0], yyjson_mut_str(doc, "built")));
    good = ok(alk_call_output_yyjson(held[0], alk_value_yyjson(alk_call_input(held[0])))) && good;
    turn(&s);
    good = good && s.sent == 2;
    must(good || failed());
    yyjson_mut_doc_free(doc);
    side_close(&s);
    return good;
}

SCENARIO(a_subscription_counts_to_its_end_or_fails)
{
    struct side s;
    bool good;

    with_wire(&s);
    s.room = 3;
    arm();
    good = request(&s, "1", "t/count", "null");
    turn(&s);
    s.room = -1;
    alk_connection_writable(s.c);
    turn(&s);
    good = good && s.sent == 41 && strstr(s.last, "call.completed");
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(aborts_take_effect_whatever_happens)
{
    struct side s;
    bool good = true;

    with_held(&s, "t/stream");
    arm();
    good = feed(&s, "{\"type\":\"call.aborted\",\"id\":\"held\",\"payload\":{}}");
    turn(&s);
    must(held_ends == 1);
    side_close(&s);
    return good;
}

SCENARIO(early_aborts_are_remembered_or_forgotten)
{
    struct side s;
    bool good = true;

    with_wire(&s);
    arm();
    for (int i = 0; i < 20; i++) {
        char text[100];

        snprintf(text, sizeof text, "{\"type\":\"call.aborted\",\"id\":\"%d\",\"payload\":{}}", i);
        good = feed(&s, text) && good;
    }
    if (good && request(&s, "5", "t/echo", "1")) {
        turn(&s);
        good = s.sent == 0;
    }
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(a_deadline_passes_whatever_happens)
{
    struct side s;
    bool good;

    with_held(&s, "t/hold");
    arm();
    s.now += 30000 * MS;
    turn(&s);
    good = strstr(s.last, "TIMEOUT");
    must(held_ends == 1 && (good || (failed() && s.closes == 1)));
    side_close(&s);
    return good;
}

SCENARIO(many_requests_at_once_are_answered_or_the_connection_ends)
{
    struct side s;
    bool good = true;

    with_wire(&s);
    arm();
    for (int i = 0; i < 12; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        good = request(&s, id, "t/echo", "1") && good;
    }
    turn(&s);
    good = good && s.sent == 12;
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(a_slow_link_gets_everything_or_the_connection_ends)
{
    struct side s;
    bool good = true;

    with_held(&s, "t/stream");
    s.room = 0;
    arm();
    for (int i = 0; i < 5; i++)
        good &= ok_or_closed(alk_call_emit(held[0], TEXT("1")));
    turn(&s);
    s.room = -1;
    alk_connection_writable(s.c);
    turn(&s);
    good = good && s.sent == 5;
    must(good || failed());
    side_close(&s);
    return good;
}

static void on_told(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
}

SCENARIO(draining_twice_needs_no_luck)
{
    struct side s;
    bool good;

    with_held(&s, "t/stream");
    must(!alk_call_on_shutdown(held[0], on_told, NULL));
    arm();
    alk_dispatcher_drain(s.d);
    good = answered(&s, "t/echo", "1", "shutting down");
    alk_dispatcher_drain(s.d);
    turn(&s);
    must(held_ends == 1);
    good = good && s.sent == 2;
    must(good || failed());
    side_close(&s);
    return good;
}

SCENARIO(draining_ends_subscriptions_without_luck)
{
    struct side s;
    bool good;

    with_held(&s, "t/stream");
    arm();
    alk_dispatcher_drain(s.d);
    turn(&s);
    must(held_ends == 1);
    good = s.sent == 1;
    must(good || failed());
    side_close(&s);
    return good;
}

/* The source has one operation of that name. */
static int find(struct side *s, const char *source, const char *name)
{
    alk_registry *reg = alk_registry_new();
    int rc = reg ? add(reg, name, ALK_QUERY, echo, NULL) : ALK_ENOMEM;

    rc = rc ? rc : alk_registry_freeze(reg);
    rc = rc ? rc : alk_node_set_discovered(s->node, source, reg);
    alk_registry_unref(reg);
    return rc;
}

SCENARIO(listings_are_told_or_fail)
{
    struct side s;
    bool good;

    with_wire(&s);
    must(!find(&s, "a", "t/found") && !find(&s, "b", "t/found"));
    arm();
    good =
        answered(&s, "services/list", "{\"q\":\"t/\",\"limit\":4}", "\"next_cursor\":\"t/found\"");
    side_close(&s);
    return good;
}

SCENARIO(what_is_found_takes_the_place_of_the_old_or_leaves_it)
{
    struct side s;
    bool good, old;

    with_wire(&s);
    must(!find(&s, "a", "f/old"));
    arm();
    good = ok(find(&s, "b", "f/other")) & ok(find(&s, "a", "f/new"));
    disarm();
    must(request(&s, "1", "f/old", "1"));
    turn(&s);
    old = strstr(s.last, "\"output\":1") != NULL;
    must(answered(&s, "f/new", "1", old ? "NOT_FOUND" : "\"output\":1") && !(good && old));
    side_close(&s);
    return good;
}

SCENARIO(a_specification_is_told_or_fails)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = answered(&s, "services/schema", "{\"name\":\"t/echo\"}", "\"input_schema\"");
    side_close(&s);
    return good;
}

START_TEST(the_end_of_a_dispatcher_comes_without_any_memory)
{
    struct side s;
    struct result r;
    alk_call_options o = options_for(&r, true);

    with_held(&s, "t/hold");
    must(!alk_connection_call(s.c, TEXT("x"), TEXT("1"), &o, NULL));
    must(request(&s, "new", "t/echo", "1"));
    nth = 1;
    with_all = true;
    arm();
    side_close(&s);
    must(held_ends == 1 && r.ends == 1);
    must(memory.live == 0);
}
END_TEST

/* ---- nested calls ---------------------------------------------------------------------------- */

SCENARIO(a_nested_call_is_made_or_fails_its_parent)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = answered(&s, "t/compose", "\"t/echo\"", "\"done\"");
    side_close(&s);
    return good;
}

SCENARIO(a_nested_call_that_is_refused_fails_its_parent)
{
    struct side s;
    bool good;

    with_wire(&s);
    arm();
    good = answered(&s, "t/compose", "\"t/none\"", "INTERNAL");
    good = answered(&s, "t/compose", "\"other/x\"", "INTERNAL") && good;
    side_close(&s);
    return good;
}

/* ---- our calls ------------------------------------------------------------------------------- */

/* Calls x/y; the id of the request that went out is in id. false: it could not be begun. */
static bool call(struct side *s, struct result *r, bool stream, char id[40], alk_call **out)
{
    alk_call_options o = options_for(r, stream);
    char *at;

    s->last[0] = id[0] = 0;
    o.timeout_ms = 1000;
    if (!ok_or_closed(alk_connection_call(s->c, TEXT("x/y"), TEXT("{\"a\":1}"), &o, out))) {
        turn(s);
        must(r->ends == 0);
        return false;
    }
    turn(s);
    at = strstr(s->last, "\"id\":\"");
    if (at && strstr(s->last, "call.requested"))
        snprintf(id, 40, "%.36s", at + 6);
    return *id;
}

static bool respond(struct side *s, const char *type, const char *id, const char *payload)
{
    char text[500];

    snprintf(text, sizeof text, "{\"type\":\"%s\",\"id\":\"%s\",\"payload\":%s}", type, id,
             payload);
    return feed(s, text);
}

SCENARIO(a_call_of_ours_resolves_or_fails)
{
    struct side s;
    struct result r;
    char id[40];
    bool begun, good;

    with_wire(&s);
    arm();
    begun = call(&s, &r, false, id, NULL);
    good = begun && respond(&s, "call.responded", id, "{\"output\":[1]}");
    turn(&s);
    good = good && respond(&s, "call.responded", id, "{\"output\":[2]}");
    turn(&s);
    good = good && r.ends == 1 && r.why == ALK_END_OK && !strcmp(r.text, "[1]") &&
           strstr(s.last, "call.aborted");
    must(good || failed());
    side_close(&s);
    must(!begun || r.ends == 1);
    return good;
}

SCENARIO(a_large_request_with_a_token_leaves_whole_or_not_at_all)
{
    struct side s;
    alk_connection_options o = {.size = sizeof o};
    struct result r;
    alk_call_options co = options_for(&r, false);
    char input[1500];
    bool begun, good;

    memset(input, 'x', sizeof input);
    input[0] = input[1400] = '"';
    input[1401] = 0;
    must(side_open(&s));
    o.token = "alk_\"token\"";
    must(!wire_open(&s, &o));
    co.timeout_ms = 10;
    co.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    arm();
    begun = ok(alk_connection_call(s.c, TEXT("x/y"), TEXT(input), &co, NULL));
    turn(&s);
    good = begun && s.sent == 1 && strstr(s.last, ",\"timeout_ms\":10,\"traceparent\":");
    must(good || failed());
    side_close(&s);
    must(r.ends == begun);
    return good;
}

SCENARIO(a_remote_fault_arrives_or_becomes_internal)
{
    struct side s;
    struct result r;
    char id[40];
    bool begun, good;

    with_wire(&s);
    arm();
    begun = call(&s, &r, false, id, NULL);
    good =
        begun &&
        respond(
            &s, "call.error", id,
            "{\"code\":\"OWN\",\"message\":\"m\",\"retryable\":true,\"details\":{\"a\":[1,2,3]}}");
    turn(&s);
    good = good && !strcmp(r.code, "OWN");
    must(good || failed());
    side_close(&s);
    must(!begun || (r.ends == 1 && (!strcmp(r.code, "OWN") || !strcmp(r.code, "INTERNAL"))));
    return good;
}

SCENARIO(a_subscription_of_ours_delivers_or_fails)
{
    struct side s;
    struct result r;
    char id[40];
    alk_call *c = NULL;
    bool begun, good;

    with_wire(&s);
    arm();
    begun = call(&s, &r, true, id, &c);
    if (c)
        alk_call_pause(c, 1);
    good = begun;
    for (int i = 0; i < 10 && good; i++)
        good = respond(&s, "call.responded", id, "{\"output\":[1]}");
    turn(&s);
    must(r.values == 0);
    if (c)
        alk_call_pause(c, 0);
    good = good && respond(&s, "call.completed", id, "{}");
    turn(&s);
    good = good && r.ends == 1 && r.why == ALK_END_OK && r.values == 10;
    must(good || failed());
    alk_call_unref(c);
    side_close(&s);
    must(!begun || r.ends == 1);
    return good;
}

SCENARIO(our_time_passes_and_we_abort_whatever_happens)
{
    struct side s;
    struct result r, q;
    char id[40];
    alk_call *c = NULL;
    bool begun, good;

    with_wire(&s);
    arm();
    begun = call(&s, &r, false, id, NULL);
    s.now += 1000 * MS;
    turn(&s);
    must(!begun || r.ends == 1);
    good = begun && r.why == ALK_END_TIMEOUT && strstr(s.last, "call.aborted");
    if (call(&s, &q, true, id, &c)) {
        alk_call_abort(c);
        turn(&s);
        must(q.ends == 1);
        good = good && q.why == ALK_END_ABORTED && strstr(s.last, "call.aborted");
    } else {
        good = false;
    }
    must(good || failed());
    alk_call_unref(c);
    side_close(&s);
    return good;
}

SCENARIO(a_lost_connection_ends_everything)
{
    struct side s;
    struct result r;
    char id[40];
    bool begun;

    with_held(&s, "t/hold");
    arm();
    begun = call(&s, &r, false, id, NULL);
    alk_connection_lost(s.c);
    turn(&s);
    must(held_ends == 1);
    must(!begun || (r.ends == 1 && !strcmp(r.code, "INTERNAL")));
    side_close(&s);
    return begun;
}

/* ---- pairs and imports ----------------------------------------------------------------------- */

static void with_pair(struct side *a, struct side *b)
{
    alk_connection_options o = {.size = sizeof o};

    must(side_open(a) && side_open(b));
    o.identity = alk_identity_new(TEXT("{\"id\":\"peer\",\"scopes\":[\"a\"]}"));
    o.kind = ALK_KIND_PEER;
    must(!alk_pair_open(a->d, &o, &a->c, b->d, &o, &b->c));
    alk_identity_unref(o.identity);
}

static void settle(struct side *a, struct side *b)
{
    for (int i = 0; i < 30; i++) {
        turn(a);
        turn(b);
    }
}

SCENARIO(a_call_over_a_pair_is_answered_or_fails)
{
    struct side a, b;
    struct result r;
    alk_call_options o = options_for(&r, false);
    bool begun, good;

    with_pair(&a, &b);
    arm();
    begun = ok(alk_connection_call(a.c, TEXT("t/echo"), TEXT("[7]"), &o, NULL));
    settle(&a, &b);
    good = begun && r.ends == 1 && r.why == ALK_END_OK && !strcmp(r.text, "[7]");
    must(good || failed());
    disarm();
    a.now = b.now += 40000 * MS;
    settle(&a, &b);
    must(r.ends == begun);
    side_close(&a);
    side_close(&b);
    return good;
}

SCENARIO(a_subscription_over_a_pair_delivers_or_fails)
{
    struct side a, b;
    struct result r;
    alk_call_options o = options_for(&r, true);
    bool begun, good;

    with_pair(&a, &b);
    arm();
    begun = ok(alk_connection_call(a.c, TEXT("t/count"), TEXT("null"), &o, NULL));
    settle(&a, &b);
    good = begun && r.ends == 1 && r.why == ALK_END_OK && r.values == 40;
    must(good || failed());
    side_close(&a);
    side_close(&b);
    must(r.ends == begun);
    return good;
}

static int imports, import_rc;
static size_t import_count;

static void on_import(alk_connection *c, int rc, size_t n, const char *message, void *ud)
{
    (void)c;
    (void)message;
    (void)ud;
    imports++;
    import_rc = rc;
    import_count = n;
}

SCENARIO(an_import_takes_the_place_of_the_old_or_leaves_it)
{
    struct side a, b;
    alk_import_options o = {.size = sizeof o};
    bool begun, good;

    with_pair(&a, &b);
    imports = 0;
    o.namespace_prefix = "far";
    o.operation_filter = "[\"t/echo\",\"t/strict\"]";
    arm();
    begun = ok(alk_connection_import(a.c, &o, on_import, NULL));
    settle(&a, &b);
    disarm();
    a.now = b.now += 40000 * MS;
    settle(&a, &b);
    must(imports == begun);
    good = begun && import_rc == ALK_OK && import_count == 2;
    must(good || failed());
    side_close(&a);
    side_close(&b);
    return good;
}

SCENARIO(an_imported_operation_is_called_or_fails)
{
    struct side a, b;
    alk_import_options o = {.size = sizeof o};
    struct result r;
    alk_call_options co = options_for(&r, false);
    bool begun, good;

    with_pair(&a, &b);
    o.namespace_prefix = "far";
    o.operation_filter = "[\"t/echo\"]";
    must(!alk_connection_import(a.c, &o, on_import, NULL));
    settle(&a, &b);
    must(import_rc == ALK_OK && import_count == 1);
    arm();
    /* b calls a's t/compose, which calls far/t/echo, which is b's t/echo. */
    begun = ok(alk_connection_call(b.c, TEXT("t/compose"), TEXT("\"far/t/echo\""), &co, NULL));
    settle(&a, &b);
    disarm();
    a.now = b.now += 40000 * MS;
    settle(&a, &b);
    must(r.ends == begun);
    good = begun && !strcmp(r.text, "\"done\"");
    must(good || failed());
    side_close(&a);
    side_close(&b);
    return good;
}

SCENARIO(operations_are_registered_by_hand_all_or_none)
{
    struct side s;
    alk_operation ops[3];
    bool good;

    with_wire(&s);
    for (int i = 0; i < 3; i++) {
        alk_operation_init(&ops[i], sizeof ops[i]);
        ops[i].name = i == 0 ? "r/a" : i == 1 ? "r/b" : "r/c";
        ops[i].provenance = ALK_FROM_CALL;
    }
    arm();
    good = ok(alk_connection_register_imported(s.c, ops, 3));
    disarm();
    must(alk_connection_register_imported(s.c, ops, 3) == (good ? ALK_EEXIST : ALK_OK));
    side_close(&s);
    return good;
}

MAIN("oom", a_registry_is_made_or_not, an_operation_with_every_member_is_added_or_not,
     many_operations_are_added_or_not, descriptions_are_imported_all_or_none,
     an_identity_is_made_or_not, capabilities_are_set_replaced_or_left,
     a_configuration_that_cannot_be_loaded_leaves_the_old_one, an_identity_provider_is_made_or_not,
     node_and_dispatcher_are_made_or_not, peers_are_enabled_or_not,
     a_connection_of_a_peer_is_opened_or_not, a_pair_is_opened_or_not, an_echo_is_answered_or_fails,
     a_large_echo_is_answered_or_fails, refusals_are_told_or_the_connection_ends,
     an_invalid_input_is_told_with_or_without_details,
     a_request_without_operation_is_told_or_the_connection_ends,
     a_later_reply_is_sent_or_can_be_tried_again,
     a_fault_with_details_is_sent_or_can_be_tried_again, a_long_fault_is_sent_or_can_be_tried_again,
     an_input_that_needs_memory_to_be_checked_is_checked_or_fails,
     parsed_and_built_replies_are_sent_or_can_be_tried_again,
     a_subscription_counts_to_its_end_or_fails, aborts_take_effect_whatever_happens,
     early_aborts_are_remembered_or_forgotten, a_deadline_passes_whatever_happens,
     many_requests_at_once_are_answered_or_the_connection_ends,
     a_slow_link_gets_everything_or_the_connection_ends, draining_twice_needs_no_luck,
     draining_ends_subscriptions_without_luck, listings_are_told_or_fail,
     what_is_found_takes_the_place_of_the_old_or_leaves_it, a_specification_is_told_or_fails,
     the_end_of_a_dispatcher_comes_without_any_memory, a_nested_call_is_made_or_fails_its_parent,
     a_nested_call_that_is_refused_fails_its_parent, a_call_of_ours_resolves_or_fails,
     a_large_request_with_a_token_leaves_whole_or_not_at_all,
     a_remote_fault_arrives_or_becomes_internal, a_subscription_of_ours_delivers_or_fails,
     our_time_passes_and_we_abort_whatever_happens, a_lost_connection_ends_everything,
     a_call_over_a_pair_is_answered_or_fails, a_subscription_over_a_pair_delivers_or_fails,
     an_import_takes_the_place_of_the_old_or_leaves_it, an_imported_operation_is_called_or_fails,
     operations_are_registered_by_hand_all_or_none)
