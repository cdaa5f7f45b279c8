/* `mcp URL`: the tools of an MCP server, and calls of them. They are imported as alknetd would, into
 * a node of this process, and called over a connection within it; addresses that are not public are
 * fine, since whoever names one here means it.
 *
 * The loop is run until what is waited for has come, which has a time limit in each case: for the list
 * the user's and the library's, for a call the node's deadline. */
#include "commands.h"
#include "http.h"
#include "input.h"

#include <alknet/mcp.h>
#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "mcp"
#define NAME_WIDTH_MAX 40
#define WHY_MAX 600

struct session {
    uv_loop_t uv;
    alk_node *node;
    alk_dispatcher *server, *client;
    alk_loop *loops[2]; /* of server, and of client */
    alk_connection *ends[2];
    alk_mcp *mcp;
    uv_timer_t late; /* for the list */
    struct reply reply;
    bool listed, ended;
    int why; /* of the call */
    char text[WHY_MAX];
};

/* ---- the server's tools ---------------------------------------------------------------------- */

static void on_warning(void *ud, const char *tool, const char *text)
{
    (void)ud;
    remark("warning: %s: %s", tool, text);
}

static void on_tools(void *ud, alk_mcp *m, int rc, const char *why)
{
    struct session *s = ud;
    alk_registry *reg = rc || s->listed ? NULL : alk_registry_new();

    if (s->listed)
        return;
    s->listed = true;
    if (!rc)
        rc = reg ? alk_registry_import_mcp(reg, m, NULL, on_warning, NULL, s->text, sizeof s->text)
                 : ALK_ENOMEM;
    if (!rc)
        rc = alk_registry_freeze(reg);
    if (!rc)
        rc = alk_node_set_discovered(s->node, PREFIX, reg);
    alk_registry_unref(reg);
    if (rc && !*s->text)
        snprintf(s->text, sizeof s->text, "%s", why ? why : alk_strerror(rc));
}

static void on_late(uv_timer_t *t)
{
    struct session *s = t->data;

    s->listed = true;
    snprintf(s->text, sizeof s->text, "the server did not answer in time");
}

static int open_loop(struct session *s, int i, alk_dispatcher **d)
{
    int rc = alk_dispatcher_new(d, s->node);

    if (!rc && (rc = alk_loop_open(&s->loops[i], &s->uv, *d)))
        alk_dispatcher_free(*d);
    return rc;
}

static int open_node(struct session *s, const struct options *o)
{
    alk_registry *reg = alk_registry_new();
    alk_node_options node;
    alk_limits limits;
    int rc = reg ? alk_registry_freeze(reg) : ALK_ENOMEM;

    alk_limits_init(&limits, sizeof limits);
    limits.deadline_ms =
        o->timeout_ms == TIMEOUT_UNSET ? ANSWER_TIMEOUT_MS : (uint32_t)o->timeout_ms;
    limits.json_values = VALUES_MAX;
    limits.json_depth = DEPTH_MAX;
    limits.output_bytes = ANSWER_MAX;
    limits.message_budget = UINT32_MAX;
    alk_node_options_init(&node, sizeof node);
    node.limits = &limits;
    if (!rc)
        rc = alk_node_new(&s->node, reg, &node);
    alk_registry_unref(reg);
    return rc;
}

static int open_server(struct session *s, const struct cli *cli)
{
    alk_capabilities *secrets = cli->settings->token ? alk_capabilities_new() : NULL;
    alk_http_options http;
    alk_mcp_options o = {.size = sizeof o};
    int rc = ALK_OK;

    alk_http_options_init(&http, sizeof http);
    http.ca_file = cli->options->ca_file;
    o.is_public = 1;
    o.namespace_prefix = PREFIX;
    o.url = cli->settings->url;
    o.private_addresses = 1;
    o.on_tools = on_tools;
    o.ud = s;
    if (secrets) {
        rc = alk_capabilities_set(secrets, PREFIX, cli->settings->token,
                                  strlen(cli->settings->token));
        o.capabilities = secrets;
    }
    if (!rc)
        rc = alk_loop_set_http(s->loops[0], &http, s->text, sizeof s->text);
    if (!rc)
        rc = alk_mcp_open(&s->mcp, s->loops[0], &o, s->text, sizeof s->text);
    alk_capabilities_free(secrets);
    return rc;
}

static int open_session(struct session *s, const struct cli *cli)
{
    int rc = open_node(s, cli->options);

    if (!rc)
        rc = open_loop(s, 0, &s->server);
    if (!rc)
        rc = open_loop(s, 1, &s->client);
    if (!rc)
        rc = alk_pair_open(s->client, NULL, &s->ends[0], s->server, NULL, &s->ends[1]);
    if (!rc)
        rc = open_server(s, cli);
    if (rc && !*s->text)
        snprintf(s->text, sizeof s->text, "%s", alk_strerror(rc));
    if (cli->options->timeout_ms > 0)
        uv_timer_start(&s->late, on_late, (uint64_t)cli->options->timeout_ms, 0);
    while (!rc && !s->listed)
        uv_run(&s->uv, UV_RUN_ONCE);
    uv_timer_stop(&s->late);
    if (!*s->text)
        return OUTCOME_OK;
    complain("%s: %s", cli->settings->url, s->text);
    return rc == ALK_EINVAL ? OUTCOME_USAGE : OUTCOME_CONNECTION;
}

static void close_session(struct session *s)
{
    if (s->mcp)
        alk_mcp_close(s->mcp);
    for (int i = 0; i < 2; i++) {
        if (s->ends[i])
            alk_connection_close(s->ends[i], 1000);
        alk_connection_unref(s->ends[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (s->loops[i])
            alk_loop_close(s->loops[i], NULL, NULL);
    }
    uv_close((uv_handle_t *)&s->late, NULL);
    uv_run(&s->uv, UV_RUN_DEFAULT);
    uv_loop_close(&s->uv);
    alk_node_unref(s->node);
    reply_free(&s->reply);
}

/* ---- a call ---------------------------------------------------------------------------------- */

static yyjson_val *parse(struct session *s)
{
    char why[WHY_SIZE];

    s->reply.doc = json_read(buffer_text(&s->reply.text), s->reply.text.len, why);
    if (!s->reply.doc)
        reply_problem(&s->reply, "the answer is not JSON: %s", why);
    return yyjson_doc_get_root(s->reply.doc);
}

static void on_output(alk_call *call, const alk_value *value, void *ud)
{
    struct session *s = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    buffer_append(&s->reply.text, text, text ? len : 0);
    s->reply.output = parse(s);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct session *s = ud;

    (void)call;
    s->ended = true;
    s->why = why;
    if (fault && !s->reply.doc) {
        remote_put_fault(&s->reply.text, fault);
        s->reply.fault = parse(s);
    }
}

static int call(struct session *s, const char *operation, const struct buffer *input)
{
    alk_call_options o = {.size = sizeof o};
    int rc;

    o.on_event = on_output;
    o.on_end = on_end;
    o.ud = s;
    rc = alk_connection_call(s->ends[0], operation, strlen(operation), buffer_text(input),
                             input->len, &o, NULL);
    if (rc)
        return command_report(reply_problem(&s->reply, "%s", alk_strerror(rc)), &s->reply);
    while (!s->ended)
        uv_run(&s->uv, UV_RUN_ONCE);
    if (s->why == ALK_END_OK && s->reply.output)
        return OUTCOME_OK;
    return command_report(s->reply.fault ? OUTCOME_REMOTE : OUTCOME_CONNECTION, &s->reply);
}

static int call_tool(struct cli *cli, struct session *s)
{
    const struct options *o = cli->options;
    struct buffer name = {0}, input = {0};
    int rc = input_operands(&input, o->operands + 1, o->operand_count - 1);

    buffer_puts(&name, PREFIX "/");
    buffer_puts(&name, o->operands[0]);
    if (rc == OUTCOME_OK)
        rc = call(s, buffer_text(&name), &input);
    if (rc == OUTCOME_OK && print_value(&cli->printer, s->reply.output))
        rc = OUTCOME_CONNECTION;
    buffer_free(&name);
    buffer_free(&input);
    return rc;
}

/* ---- the list -------------------------------------------------------------------------------- */

static const char *tool_of(yyjson_val *operation)
{
    return yyjson_get_str(yyjson_obj_get(operation, "name")) + strlen(PREFIX "/");
}

static void put_row(struct buffer *out, yyjson_val *operation, int width)
{
    const char *name = tool_of(operation);
    size_t start = out->len;
    int used;

    print_plain(out, name, strlen(name));
    used = (int)(out->len - start);
    buffer_printf(out, "%*s  %-8s  ", used < width ? width - used : 0, "",
                  yyjson_get_str(yyjson_obj_get(operation, "op_type")));
    print_first_line(out, yyjson_obj_get(operation, "description"));
    buffer_puts(out, "\n");
}

static int print_lines(struct cli *cli, yyjson_val *operations)
{
    struct buffer *out = &cli->printer.text;
    yyjson_val *operation;
    int width = 0;
    size_t i, n;

    yyjson_arr_foreach(operations, i, n, operation)
    {
        size_t len = strlen(tool_of(operation));

        width = len <= NAME_WIDTH_MAX && (int)len > width ? (int)len : width;
    }
    yyjson_arr_foreach(operations, i, n, operation)
    {
        if (cli->printer.format != FORMAT_RAW) {
            put_row(out, operation, width);
            continue;
        }
        print_plain(out, tool_of(operation), strlen(tool_of(operation)));
        buffer_puts(out, "\n");
    }
    return print_flush(&cli->printer);
}

static int print_json(struct cli *cli, yyjson_val *operations)
{
    struct buffer text = {0};
    yyjson_val *operation;
    size_t i, n;

    buffer_puts(&text, "{\"tools\":[");
    yyjson_arr_foreach(operations, i, n, operation)
    {
        static const char *const members[] = {"description", "op_type"};

        buffer_puts(&text, i ? ",{\"name\":" : "{\"name\":");
        buffer_json_string(&text, tool_of(operation), strlen(tool_of(operation)));
        for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
            yyjson_val *v = yyjson_obj_get(operation, members[k]);

            if (!v)
                continue;
            buffer_printf(&text, ",\"%s\":", members[k]);
            buffer_json_string(&text, yyjson_get_str(v), yyjson_get_len(v));
        }
        buffer_puts(&text, "}");
    }
    buffer_puts(&text, "]}");
    return print_made(&cli->printer, &text);
}

static int list_tools(struct cli *cli, struct session *s)
{
    struct buffer input = {0};
    yyjson_val *operations;
    int rc;

    buffer_puts(&input, "{\"namespace\":\"" PREFIX "\"}");
    rc = call(s, "services/list", &input);
    operations = yyjson_obj_get(s->reply.output, "operations");
    if (rc == OUTCOME_OK && (cli->printer.format == FORMAT_JSON ? print_json(cli, operations)
                                                                : print_lines(cli, operations)))
        rc = OUTCOME_CONNECTION;
    buffer_free(&input);
    return rc;
}

int command_mcp(struct cli *cli)
{
    struct session s = {.text = ""};
    int rc;

    if (strcmp(cli->settings->scheme, "http") != 0 && strcmp(cli->settings->scheme, "https") != 0) {
        complain("%s: an MCP server has a URL of http or https", cli->settings->url);
        return OUTCOME_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&s.uv)) {
        complain("there is no loop");
        return OUTCOME_CONNECTION;
    }
    uv_timer_init(&s.uv, &s.late);
    s.late.data = &s;
    rc = open_session(&s, cli);
    if (rc == OUTCOME_OK)
        rc = cli->options->operand_count ? call_tool(cli, &s) : list_tools(cli, &s);
    close_session(&s);
    return rc;
}
