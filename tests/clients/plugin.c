/* What the table of cases asks of a server besides alknetd's demo operations.
 *
 *   cases/text_of    the input's JSON, as a string: what has really come
 *   cases/say        {"text"}: what that text is the JSON of
 *   cases/fail       {"code", "message"?, "details"?, "retryable"?}: fails with these
 *   cases/wait       never answers
 *   cases/backwards  {"n", "of"}: answers n when that many calls wait, the last one first
 *   cases/count      subscription, {"to"?, "fail"?, "pad"?, "open"?}: 0, 1, ... up to below "to", as fast as they are taken; then the
 *                    end, or CASES_STOPPED, or, with "open", nothing. With "pad" they are texts of so many x
 *   cases/running    how many calls of cases/wait and cases/count run
 *   cases/close      closes the caller's connection
 *   cases/revoke     empties the file of identities, which the configuration of the plugin names, and has alknetd read it again
 *   cases/call_back  {"operation", "input"? | "text"?, "stream"?, "take"?, "hold"?, "timeout_ms"?, "direct"?}: calls what the
 *                    caller serves under ui/, with an input or the JSON of one, and answers {"values", "end"}: true, the error, or
 *                    "left" after "take" values; {"texts", "end"} where a text was given. "hold": nobody reads on behind the first
 *                    value. "direct": whatever this node knows of the operation, the client decides */
#include <alknet/plugin.h>
#include <alknet/yyjson.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;

/* The daemon has one loop, so all of this belongs to one thread. */
static struct {
    unsigned running;
    alk_call *held[64]; /* by cases/backwards */
    size_t held_count;
} server;

static yyjson_val *member(alk_call *call, const char *name)
{
    return yyjson_obj_get(alk_value_yyjson(alk_call_input(call)), name);
}

static int reply_built(alk_call *call, yyjson_mut_doc *doc, yyjson_mut_val *value)
{
    int rc = value ? alk_call_output_built(call, value) : ALK_ENOMEM;

    yyjson_mut_doc_free(doc);
    return rc;
}

/* ---- at once --------------------------------------------------------------------------------- */

static int text_of(alk_call *call, void *ud)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return reply_built(call, doc, yyjson_mut_strn(doc, text, len));
}

static int say(alk_call *call, void *ud)
{
    yyjson_val *text = member(call, "text");

    (void)ud;
    return alk_call_reply(call, yyjson_get_str(text), yyjson_get_len(text));
}

static int fail(alk_call *call, void *ud)
{
    yyjson_val *message = member(call, "message"), *details = member(call, "details");
    char *text = details ? yyjson_val_write(details, 0, NULL) : NULL;
    alk_fault fault = {.size = sizeof fault,
                       .retryable = yyjson_get_bool(member(call, "retryable")),
                       .code = yyjson_get_str(member(call, "code")),
                       .code_len = yyjson_get_len(member(call, "code")),
                       .message = message ? yyjson_get_str(message) : "as asked",
                       .message_len = yyjson_get_len(message),
                       .details = text};
    int rc = alk_call_fail(call, &fault);

    (void)ud;
    free(text);
    return rc;
}

static int tell_running(alk_call *call, void *ud)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%u", server.running);

    (void)ud;
    return alk_call_reply(call, text, (size_t)n);
}

static int hang_up(alk_call *call, void *ud)
{
    (void)ud;
    alk_connection_close(alk_call_connection(call), ALK_CLOSE_SHUTDOWN);
    return 0;
}

static int take_back(alk_call *call, void *ud)
{
    FILE *file = fopen(ud, "w");

    if (!file || fputs("{}\n", file) < 0 || fclose(file) != 0)
        return ALK_ESYSTEM;
    kill(getpid(), SIGHUP);
    return alk_call_reply(call, "true", 4);
}

/* ---- later ----------------------------------------------------------------------------------- */

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    free(ud);
    server.running--;
}

static int wait_for_ever(alk_call *call, void *ud)
{
    int rc = alk_call_on_end(call, on_end, NULL);

    (void)ud;
    if (rc == 0)
        server.running++;
    return rc;
}

static void on_held_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    size_t n = 0;

    (void)why;
    (void)fault;
    (void)ud;
    for (size_t i = 0; i < server.held_count; i++) {
        if (server.held[i] != call)
            server.held[n++] = server.held[i];
    }
    server.held_count = n;
}

static int backwards(alk_call *call, void *ud)
{
    size_t of = yyjson_get_uint(member(call, "of"));
    int rc = alk_call_on_end(call, on_held_end, NULL);

    (void)ud;
    if (rc == 0 && server.held_count == sizeof server.held / sizeof *server.held)
        rc = ALK_ELIMIT;
    if (rc < 0)
        return rc;
    server.held[server.held_count++] = call;
    if (server.held_count < of)
        return 0;
    while (server.held_count && rc == 0) {
        alk_call *last = server.held[--server.held_count];

        rc = alk_call_output_yyjson(last, member(last, "n"));
    }
    return rc;
}

struct count {
    uint64_t n, to;
    size_t pad;
};

static void on_room(alk_call *call, void *ud);

static int count_on(alk_call *call, struct count *c)
{
    static const alk_fault stopped = {.size = sizeof stopped,
                                      .retryable = 1,
                                      .code = "CASES_STOPPED",
                                      .message = "as asked",
                                      .details = "{\"why\":\"as asked\"}"};

    for (; c->n < c->to; c->n++) {
        char text[4096];
        int len = snprintf(text, sizeof text, "%llu", (unsigned long long)c->n);

        if (c->pad) {
            memset(text, 'x', c->pad + 2);
            text[0] = text[c->pad + 1] = '"';
            len = (int)c->pad + 2;
        }
        int rc = alk_call_emit(call, text, (size_t)len);

        if (rc == ALK_EAGAIN)
            return alk_call_on_drain(call, on_room, c);
        if (rc < 0)
            return rc;
    }
    if (yyjson_get_bool(member(call, "open")))
        return 0;
    return yyjson_get_bool(member(call, "fail")) ? alk_call_fail(call, &stopped)
                                                 : alk_call_complete(call);
}

static void on_room(alk_call *call, void *ud)
{
    count_on(call, ud);
}

static int count(alk_call *call, void *ud)
{
    yyjson_val *to = member(call, "to");
    struct count *c = calloc(1, sizeof *c);
    int rc = c ? alk_call_on_end(call, on_end, c) : ALK_ENOMEM;

    (void)ud;
    if (rc) {
        free(c);
        return rc;
    }
    server.running++;
    c->to = to ? yyjson_get_uint(to) : UINT64_MAX;
    c->pad = yyjson_get_uint(member(call, "pad"));
    rc = count_on(call, c);
    return rc == ALK_EENDED ? 0 : rc;
}

/* ---- by calling back ------------------------------------------------------------------------- */

struct back {
    alk_call *caller; /* outlives the call that it makes */
    yyjson_mut_doc *doc;
    yyjson_mut_val *values;
    uint64_t take;
    bool texts, hold;
};

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct back *b = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    if (b->texts)
        yyjson_mut_arr_add_strncpy(b->doc, b->values, text, len);
    else
        yyjson_mut_arr_append(b->values, yyjson_val_mut_copy(b->doc, alk_value_yyjson(value)));
    if (yyjson_mut_arr_size(b->values) == b->take)
        alk_call_abort(call);
    else if (b->hold)
        alk_call_pause(call, 1);
}

static yyjson_mut_val *error_of(yyjson_mut_doc *doc, const alk_fault *fault)
{
    yyjson_mut_val *error = yyjson_mut_obj(doc);
    yyjson_doc *details =
        fault->details ? yyjson_read(fault->details, strlen(fault->details), 0) : NULL;

    yyjson_mut_obj_add_strncpy(doc, error, "code", fault->code, fault->code_len);
    yyjson_mut_obj_add_strncpy(doc, error, "message", fault->message, fault->message_len);
    yyjson_mut_obj_add_bool(doc, error, "retryable", fault->retryable);
    if (details)
        yyjson_mut_obj_add_val(doc, error, "details",
                               yyjson_val_mut_copy(doc, yyjson_doc_get_root(details)));
    yyjson_doc_free(details);
    return error;
}

static void on_back_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct back *b = ud;
    yyjson_mut_val *reply = yyjson_mut_obj(b->doc);

    (void)call;
    yyjson_mut_obj_add_val(b->doc, reply, b->texts ? "texts" : "values", b->values);
    yyjson_mut_obj_add_val(b->doc, reply, "end",
                           fault               ? error_of(b->doc, fault)
                           : why == ALK_END_OK ? yyjson_mut_bool(b->doc, true)
                                               : yyjson_mut_str(b->doc, "left"));
    reply_built(b->caller, b->doc, reply); /* where it has ended, nobody is told */
    alk_call_unref(b->caller);
    free(b);
}

static int call_back(alk_call *call, void *ud)
{
    yyjson_val *name = member(call, "operation"), *text = member(call, "text");
    yyjson_val *input = member(call, "input");
    char *written = input ? yyjson_val_write(input, 0, NULL) : NULL;
    const char *json = text ? yyjson_get_str(text) : written ? written : "null";
    struct back *b = calloc(1, sizeof *b);
    alk_call_options o = {.size = sizeof o};
    int rc;

    (void)ud;
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = alk_call_connection(call);
    o.stream = yyjson_get_bool(member(call, "stream"));
    o.timeout_ms = (uint32_t)yyjson_get_uint(member(call, "timeout_ms"));
    o.on_event = on_value;
    o.on_end = on_back_end;
    o.ud = b;
    b->doc = yyjson_mut_doc_new(NULL);
    b->values = yyjson_mut_arr(b->doc);
    b->take = yyjson_get_uint(member(call, "take"));
    b->texts = text != NULL;
    b->hold = yyjson_get_bool(member(call, "hold"));
    b->caller = alk_call_ref(call);
    if (yyjson_get_bool(member(call, "direct")))
        rc = alk_connection_call(o.connection, yyjson_get_str(name), yyjson_get_len(name), json,
                                 strlen(json), &o, NULL);
    else
        rc = alk_call_invoke(call, yyjson_get_str(name), yyjson_get_len(name), json, strlen(json),
                             &o, NULL);
    if (rc) {
        alk_call_unref(b->caller);
        yyjson_mut_doc_free(b->doc);
        free(b);
    }
    free(written);
    return rc;
}

/* ---- registration ---------------------------------------------------------------------------- */

static const alk_operation operations[] = {
    {.name = "cases/text_of", .handler = text_of},
    {.name = "cases/say",
     .handler = say,
     .description = "before\0behind",
     .description_len = sizeof "before\0behind" - 1},
    {.name = "cases/fail", .handler = fail},
    {.name = "cases/wait", .type = ALK_MUTATION, .handler = wait_for_ever},
    {.name = "cases/backwards", .handler = backwards},
    {.name = "cases/count",
     .type = ALK_SUBSCRIPTION,
     .input_schema = "{\"properties\":{\"pad\":{\"maximum\":4000}}}",
     .handler = count},
    {.name = "cases/running", .handler = tell_running},
    {.name = "cases/close", .type = ALK_MUTATION, .handler = hang_up},
    {.name = "cases/revoke", .type = ALK_MUTATION, .handler = take_back, .ud_free = free},
    {.name = "cases/call_back",
     .type = ALK_MUTATION,
     .authority = "{\"label\":\"cases\",\"scopes\":[\"ui:*\"],\"resources\":{}}",
     .environment = "{\"allowed_ops\":[\"ui/*\"]}",
     .handler = call_back},
};

int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
                        size_t err_size)
{
    yyjson_doc *doc = yyjson_read(config, config_len, 0);
    const char *file = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "identities"));
    int rc = file ? 0 : ALK_ECONFIG;

    if (!file)
        snprintf(err, err_size, "identities: must be the name of a file");
    for (size_t i = 0; rc == 0 && i < sizeof operations / sizeof *operations; i++) {
        alk_operation op = operations[i];

        op.size = sizeof op;
        op.visibility = ALK_EXTERNAL;
        op.type = op.type ? op.type : ALK_QUERY;
        op.ud = op.ud_free ? strdup(file) : NULL;
        rc = alk_registry_add(reg, &op);
    }
    yyjson_doc_free(doc);
    return rc;
}
