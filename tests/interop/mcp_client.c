/* The client of the official conformance suite's client leg: `conformance client --command PROGRAM --scenario NAME`, which
 * appends the URL of its server. It imports the server's tools and calls those that the scenario wants to see called: what
 * MCP_CONFORMANCE_CONTEXT has in toolCalls, or those below. It prints what comes, and fails when nothing could be listed. */
#include <alknet/mcp.h>
#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <alknet/yyjson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PATIENCE_MS 20000

static const struct {
    const char *scenario, *operation, *input;
} wanted[] = {
    {"tools_call", "up/add_numbers", "{\"a\":5,\"b\":3}"},
    {"http-standard-headers", "up/test_headers", "{}"},
    {"http-standard-headers", "up/my-hyphenated-tool", "{}"},
    {"http-invalid-tool-headers", "up/valid_tool", "{\"region\":\"eu\"}"},
    {"http-invalid-tool-headers", "up/invalid_number_header", "{\"score\":1.5}"},
    {"sse-retry", "up/test_reconnection", "{}"},
    {"json-schema-2020-12-preservation", "services/schema",
     "{\"name\":\"up/json_schema_2020_12_tool\"}"},
};
#define WANTED (sizeof wanted / sizeof wanted[0])

struct client {
    uv_loop_t uv;
    uv_timer_t timer;
    alk_node *node;
    alk_loop *loop;
    alk_connection *one, *other;
    alk_mcp *m;
    yyjson_doc *context;
    char *echo; /* the input of the next call; NULL: what is wanted says */
    const char *scenario;
    size_t step;
    int status;
    bool begun;
};

static void next(struct client *c);

static void die(const char *what, const char *why)
{
    fprintf(stderr, "mcp_client: %s: %s\n", what, why);
    exit(1);
}

static void finish(struct client *c)
{
    if (uv_is_closing((uv_handle_t *)&c->timer))
        return;
    uv_close((uv_handle_t *)&c->timer, NULL);
    alk_mcp_close(c->m);
    alk_loop_close(c->loop, NULL, NULL);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    if (fault)
        printf("%d: %s: %s\n", why, fault->code, fault->message);
    next(ud);
}

static void on_value(alk_call *call, const alk_value *value, void *ud);

static void ask(struct client *c, const char *operation, const char *input)
{
    alk_call_options o = {.size = sizeof o};

    printf("%s %s\n", operation, input);
    o.on_event = on_value;
    o.on_end = on_end;
    o.ud = c;
    if (alk_connection_call(c->one, operation, strlen(operation), input, strlen(input), &o, NULL))
        die(operation, "cannot be called");
}

/* Of a specification: its tool's schema goes back to the server. */
static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    yyjson_val *schema = yyjson_obj_get(alk_value_yyjson(value), "input_schema");
    struct client *c = ud;
    char *text = schema ? yyjson_val_write(schema, 0, NULL) : NULL;
    size_t n;

    (void)call;
    printf("%s\n", alk_value_text(value, &n));
    if (!text)
        return;
    c->echo = malloc(strlen(text) + 20);
    if (!c->echo)
        die("schema", "out of memory");
    sprintf(c->echo, "{\"schema\":%s}", text);
    free(text);
}

/* Without those that are null, which the tools' schemas do not allow. */
static char *arguments_of(yyjson_val *call)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(call, "arguments"));
    yyjson_val *key;
    char *text;

    yyjson_mut_doc_set_root(doc, root);
    while ((key = yyjson_obj_iter_next(&it))) {
        yyjson_val *val = yyjson_obj_iter_get_val(key);

        if (!yyjson_is_null(val))
            yyjson_mut_obj_add(root, yyjson_val_mut_copy(doc, key), yyjson_val_mut_copy(doc, val));
    }
    text = yyjson_mut_write(doc, 0, NULL);
    yyjson_mut_doc_free(doc);
    if (!text)
        die("arguments", "out of memory");
    return text;
}

static bool next_of_context(struct client *c, yyjson_val *calls)
{
    yyjson_val *call = yyjson_arr_get(calls, c->step);
    char *input, operation[300];

    if (!call)
        return false;
    c->step++;
    input = arguments_of(call);
    snprintf(operation, sizeof operation, "up/%s", yyjson_get_str(yyjson_obj_get(call, "name")));
    ask(c, operation, input);
    free(input);
    return true;
}

static void next(struct client *c)
{
    yyjson_val *calls = yyjson_obj_get(yyjson_doc_get_root(c->context), "toolCalls");

    if (c->echo) {
        char *input = c->echo;

        c->echo = NULL;
        ask(c, "up/json_schema_echo", input);
        free(input);
        return;
    }
    if (next_of_context(c, calls))
        return;
    while (!calls && c->step < WANTED) {
        size_t i = c->step++;

        if (!strcmp(wanted[i].scenario, c->scenario)) {
            ask(c, wanted[i].operation, wanted[i].input);
            return;
        }
    }
    finish(c);
}

static void on_warning(void *ud, const char *tool, const char *text)
{
    (void)ud;
    printf("%s: %s\n", tool, text);
}

static void on_tools(void *ud, alk_mcp *m, int rc, const char *why)
{
    struct client *c = ud;
    alk_registry *reg;
    size_t count = 0;
    char err[300];

    printf("tools: %s %s\n", alk_err_name(rc), why ? why : "");
    if (rc || c->begun)
        return;
    c->begun = true;
    reg = alk_registry_new();
    if (!reg || alk_registry_import_mcp(reg, m, &count, on_warning, NULL, err, sizeof err) ||
        alk_registry_freeze(reg) || alk_node_set_discovered(c->node, "mcp", reg))
        die("import", err);
    alk_registry_unref(reg);
    printf("%zu operations\n", count);
    c->status = 0;
    next(c);
}

static void on_timer(uv_timer_t *t)
{
    finish(t->data);
}

int main(int argc, char **argv)
{
    struct client c = {.status = 1};
    const char *context = getenv("MCP_CONFORMANCE_CONTEXT");
    alk_registry *reg = alk_registry_new();
    alk_connection_options co = {.size = sizeof co};
    alk_mcp_options o = {.size = sizeof o};
    alk_dispatcher *d;
    char err[300];

    c.scenario = getenv("MCP_CONFORMANCE_SCENARIO") ? getenv("MCP_CONFORMANCE_SCENARIO") : "";
    if (argc < 2)
        die("arguments", "the URL of the server is missing");
    if (context)
        c.context = alk_json_read(context, strlen(context), 100, 100000, err, sizeof err);
    if (uv_loop_init(&c.uv) || !reg || alk_registry_freeze(reg) ||
        alk_node_new(&c.node, reg, NULL) || alk_dispatcher_new(&d, c.node) ||
        alk_loop_open(&c.loop, &c.uv, d))
        die("start", "out of memory");
    uv_timer_init(&c.uv, &c.timer);
    c.timer.data = &c;
    uv_timer_start(&c.timer, on_timer, PATIENCE_MS, 0);
    if (alk_pair_open(d, &co, &c.one, d, &co, &c.other))
        die("start", "out of memory");
    o.namespace_prefix = "up";
    o.url = argv[argc - 1];
    o.is_public = 1;
    o.private_addresses = 1;
    o.on_tools = on_tools;
    o.ud = &c;
    if (alk_mcp_open(&c.m, c.loop, &o, err, sizeof err))
        die(argv[argc - 1], err);
    uv_run(&c.uv, UV_RUN_DEFAULT);
    alk_connection_unref(c.one);
    alk_connection_unref(c.other);
    alk_node_unref(c.node);
    alk_registry_unref(reg);
    yyjson_doc_free(c.context);
    if (uv_loop_close(&c.uv))
        die("end", "something is left on the loop");
    return c.status;
}
