/* Each allocation fails in turn while a nested call begins, with inputs of every length in front of what it keeps: it runs as
 * it does with enough memory, or fails, and its parent hears of it once. */
#include "oom/oom.h"

#define NOW UINT64_C(1000000000000)
#define TRACE "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
#define LONGEST 4600

static alk_call *root;
static int children, secrets_seen;

static int hold(alk_call *call, void *ud)
{
    (void)ud;
    root = alk_call_ref(call);
    return ALK_OK;
}

static int child(alk_call *call, void *ud)
{
    alk_call_context x;
    size_t len;

    (void)ud;
    children++;
    secrets_seen += alk_call_capability(call, "key", &len) != NULL;
    alk_call_get_context(call, &x, sizeof x);
    must(x.traceparent ? !strcmp(x.traceparent, TRACE) : failed());
    return alk_call_reply(call, TEXT("true"));
}

static int take_all(void *ud, uint64_t stream, const char *data, size_t len)
{
    (void)ud, (void)stream, (void)data, (void)len;
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud, (void)code;
}

struct outcome {
    int values, ends, why;
    char code[40];
};

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    (void)call, (void)value;
    ((struct outcome *)ud)->values++;
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct outcome *r = ud;

    (void)call;
    r->ends++;
    r->why = why;
    snprintf(r->code, sizeof r->code, "%s", fault ? fault->code : "");
}

struct rig {
    alk_capabilities *secrets;
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_connection *c;
};

static void rig_open(struct rig *r)
{
    static const char request[] =
        "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"t/root\"}}";
    alk_link link = {.size = sizeof link, .send = take_all, .close = on_close};
    alk_connection_options co = {.size = sizeof co};
    alk_operation op;

    children = secrets_seen = 0;
    r->secrets = alk_capabilities_new();
    must(!alk_capabilities_set(r->secrets, "key", "secret", 6));
    r->reg = alk_registry_new();
    alk_operation_init(&op, sizeof op);
    op.name = "t/root";
    op.handler = hold;
    op.environment = "{\"allowed_ops\":[\"t/*\"]}";
    op.capabilities = r->secrets;
    must(!alk_registry_add(r->reg, &op));
    op.name = "t/child";
    op.handler = child;
    op.capabilities = NULL;
    must(!alk_registry_add(r->reg, &op) && !alk_registry_freeze(r->reg));
    must(!alk_node_new(&r->node, r->reg, NULL) && !alk_dispatcher_new(&r->d, r->node));
    must(!alk_connection_open(&r->c, r->d, &link, &co));
    alk_dispatcher_turn(r->d, NOW);
    must(!alk_connection_feed(r->c, 0, request, sizeof request - 1));
    for (int i = 0; i < 5; i++)
        alk_dispatcher_turn(r->d, NOW);
    must(root);
}

static void rig_close(struct rig *r)
{
    alk_call_unref(root);
    root = NULL;
    alk_connection_close(r->c, 1000);
    for (int i = 0; i < 5; i++)
        alk_dispatcher_turn(r->d, NOW);
    alk_connection_unref(r->c);
    alk_dispatcher_free(r->d);
    alk_node_unref(r->node);
    alk_registry_unref(r->reg);
    alk_capabilities_free(r->secrets);
}

static size_t pad;
static const char *names;

static bool nested_scenario(void)
{
    char input[LONGEST + 3];
    struct outcome out = {0};
    alk_call_options o = {.size = sizeof o};
    struct rig r;
    int rc;

    rig_open(&r);
    memset(input, 'x', pad + 2);
    input[0] = input[pad + 1] = '"';
    input[pad + 2] = 0;
    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = &out;
    o.capabilities = names;
    o.traceparent = TRACE;
    arm();
    rc = alk_call_invoke(root, TEXT("t/child"), TEXT(input), &o, NULL);
    must(!rc || (rc == ALK_ENOMEM && failed()));
    disarm();
    for (int i = 0; i < 5; i++)
        alk_dispatcher_turn(r.d, NOW);
    must(out.ends == !rc && children == out.values && secrets_seen == out.values);
    must(rc || out.values || (failed() && !strcmp(out.code, ALK_INTERNAL)));
    rig_close(&r);
    return !rc && out.values;
}

START_TEST(a_nested_call_begins_or_fails_once)
{
    names = "key";
    for (pad = 0; pad < LONGEST; pad += 16)
        exhaust(nested_scenario);
}
END_TEST

START_TEST(a_list_of_secrets_that_needs_memory_of_its_own_is_read_or_the_call_fails)
{
    static char many[4000];

    memset(many, ' ', sizeof many - 1);
    memcpy(many + 2000, "key", 3);
    names = many;
    pad = 0;
    exhaust(nested_scenario);
}
END_TEST

MAIN("oom_start", a_nested_call_begins_or_fails_once,
     a_list_of_secrets_that_needs_memory_of_its_own_is_read_or_the_call_fails)
