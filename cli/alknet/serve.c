/* `serve`: operations of this machine, for a hub to call: each call runs a command (run.h). The
 * session is made again whenever it is lost, and the operations are announced again. It ends by a
 * signal, or when the hub does not want it. */
#include "commands.h"
#include "hub.h"
#include "input.h"
#include "run.h"
#include "tls.h"

#include <alknet/yyjson.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_MAX 65536u /* as much as others import */
#define NEVER_MS UINT32_MAX

struct serve {
    struct cli *cli;
    struct hub hub;
    struct runner runner;
    alk_registry *registry;
    alk_identity *identity; /* what the hub is here; NULL: nobody */
    bool served;            /* it has been, once */
    bool over;
    int outcome;
};

/* ---- what is served -------------------------------------------------------------------------- */

static int read_type(const char *name, const char *type, alk_operation *op)
{
    op->type = !*type || !strcmp(type, "query") ? ALK_QUERY
               : !strcmp(type, "mutation")      ? ALK_MUTATION
               : !strcmp(type, "subscription")  ? ALK_SUBSCRIPTION
                                                : 0;
    op->handler = op->type == ALK_SUBSCRIPTION ? run_stream : run_single;
    if (op->type)
        return OUTCOME_OK;
    complain("%s: the type is query, mutation or subscription, not '%s'", name, type);
    return OUTCOME_USAGE;
}

/* operand: NAME or NAME:TYPE. */
static int add_operation(struct serve *s, const char *operand, const char *schema)
{
    const struct options *o = s->cli->options;
    const char *colon = strrchr(operand, ':');
    char *name = xstrndup(operand, colon ? (size_t)(colon - operand) : strlen(operand));
    alk_operation op;
    int rc;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.description = o->description;
    op.input_schema = schema;
    op.output_schema = o->text ? "{\"type\":\"string\"}" : NULL;
    op.error_schemas = RUN_ERRORS;
    op.ud = &s->runner;
    rc = read_type(name, colon ? colon + 1 : "", &op);
    if (!rc && (rc = alk_registry_add(s->registry, &op))) {
        complain("%s: %s", name,
                 rc == ALK_EEXIST ? "is given twice" : alk_registry_error(s->registry));
        rc = OUTCOME_USAGE;
    }
    free(name);
    return rc;
}

static int add_operations(struct serve *s)
{
    const struct options *o = s->cli->options;
    struct buffer schema = {0};
    int rc = OUTCOME_OK;

    if (o->input_schema)
        rc = input_file(&schema, o->input_schema, SCHEMA_MAX, false);
    for (int i = 0; i < o->operand_count && !rc; i++)
        rc = add_operation(s, o->operands[i], o->input_schema ? buffer_text(&schema) : NULL);
    buffer_free(&schema);
    return rc;
}

/* Scopes make an identity whose name says what it is. */
static int read_identity(struct serve *s)
{
    const char *text = s->cli->options->as, *end;
    struct buffer json = {0};

    if (!text)
        return OUTCOME_OK;
    if (*text == '{') {
        buffer_puts(&json, text);
    } else {
        buffer_puts(&json, "{\"id\":\"hub\",\"scopes\":[");
        for (const char *at = text; *at; at = end + (*end == ',')) {
            end = at + strcspn(at, ",");
            buffer_puts(&json, at == text ? "" : ",");
            buffer_json_string(&json, at, (size_t)(end - at));
        }
        buffer_puts(&json, "],\"resources\":{}}");
    }
    s->identity = alk_identity_new(buffer_text(&json), json.len);
    buffer_free(&json);
    if (s->identity)
        return OUTCOME_OK;
    complain("--as takes SCOPE,... or {\"id\":ID,\"scopes\":[...],\"resources\":{...}}");
    return OUTCOME_USAGE;
}

/* ---- the session ----------------------------------------------------------------------------- */

static void over(struct serve *s, int outcome)
{
    s->over = true;
    s->outcome = outcome;
}

/* What the hub says of them: it can make a peer of who serves, or not, and lead callers to it, or
 * not, and without saying so it looks as if nobody called. */
static void say_reach(const struct serve *s, yyjson_val *told)
{
    yyjson_val *passed = yyjson_obj_get(told, "peers_call");
    const char *url = s->cli->settings->url;
    const char *kind = yyjson_get_str(yyjson_obj_get(told, "kind"));
    const char *peer = yyjson_get_str(yyjson_obj_get(told, "peer_id"));
    uint64_t imported = yyjson_get_uint(yyjson_obj_get(told, "imported"));
    uint64_t reached = yyjson_get_uint(passed);

    if (imported < (uint64_t)s->cli->options->operand_count)
        complain("%s: the hub has taken over %" PRIu64 " of %d operations", url, imported,
                 s->cli->options->operand_count);
    if (peer && yyjson_is_null(passed))
        complain(
            "%s: it is peer '%s' there, but peers/call is not enabled (peers_call in the hub's "
            "configuration): only handlers of the hub can call it",
            url, peer);
    else if (peer && reached && reached == imported)
        complain("%s: it is peer '%s' there: who has the scope peers:call can call it (--peer %s)",
                 url, peer, peer);
    else if (peer)
        complain("%s: it is peer '%s' there, but peers_call in the hub's configuration leads to "
                 "%" PRIu64 " of %" PRIu64 " operations",
                 url, peer, reached, imported);
    else
        complain("%s: only operations that are called in this session can call it: %s", url,
                 !strcmp(kind, "peer") ? "over WebSocket a peer needs websocket: true in its entry "
                                         "in the hub's configuration"
                 : !strcmp(kind, "key")
                     ? "the token is of one of the hub's keys, and not of a peer"
                     : "a token makes no peer here, a certificate or a key does");
}

/* A hub that says nothing of that is another than ours. */
static void read_reach(const struct serve *s, const char *announced)
{
    char why[WHY_SIZE];
    yyjson_doc *doc = announced ? json_read(announced, strlen(announced), why) : NULL;
    yyjson_val *told = yyjson_doc_get_root(doc);

    if (yyjson_is_uint(yyjson_obj_get(told, "imported")) &&
        yyjson_is_str(yyjson_obj_get(told, "kind")))
        say_reach(s, told);
    yyjson_doc_free(doc);
}

static void on_ready(struct serve *s, const char *wrong, const char *announced)
{
    const struct options *o = s->cli->options;
    const char *url = s->cli->settings->url;
    struct buffer names = {0};

    if (wrong) {
        complain("%s: %s", url, wrong);
        if (strstr(wrong, "not allowed to call services/announce"))
            complain("that takes a peer's token, or the scope that announce_scope in the hub's "
                     "configuration names");
        if (!s->served)
            over(s, OUTCOME_REMOTE);
        return;
    }
    s->served = true;
    if (o->quiet)
        return;
    for (int i = 0; i < o->operand_count; i++)
        buffer_printf(&names, "%s%s", i ? ", " : "", o->operands[i]);
    complain("%s: serving %.*s", url, (int)names.len, buffer_text(&names));
    buffer_free(&names);
    read_reach(s, announced);
}

/* --timeout is for what runs here, not for what the hub is asked while a session begins. */
static void set_deadline(struct serve *s, bool serving)
{
    int64_t ms = s->cli->options->timeout_ms;
    alk_limits limits;

    alk_limits_init(&limits, sizeof limits);
    if (serving && ms >= 0)
        limits.deadline_ms = ms ? (uint32_t)ms : NEVER_MS;
    alk_node_set_limits(s->hub.node, &limits);
}

static void on_refused(struct serve *s, const char *why)
{
    const struct settings *settings = s->cli->settings;

    if (!s->hub.status) {
        complain("cannot reach %s: %s", settings->url, why);
        complain("%s", tls_hint(why));
        over(s, OUTCOME_CONNECTION);
        return;
    }
    complain("%s refuses the session: %s", settings->url, why);
    if (!settings->token)
        complain("%s", settings->no_token);
    over(s, OUTCOME_REMOTE);
}

static void on_event(void *ud, const alk_dial_event *e)
{
    struct serve *s = ud;
    const struct settings *settings = s->cli->settings;

    set_deadline(s, e->state == ALK_DIAL_READY);
    if (e->state == ALK_DIAL_OPEN && !s->cli->options->quiet) {
        complain("%s: connected", settings->url);
    } else if (e->state == ALK_DIAL_READY) {
        on_ready(s, e->message, e->announced);
    } else if (e->state != ALK_DIAL_OPEN && hub_refused(&s->hub)) {
        on_refused(s, e->message);
    } else if (e->state != ALK_DIAL_OPEN && !s->cli->options->quiet) {
        if (e->retry_ms == UINT64_MAX)
            complain("%s: %s", settings->url, e->message);
        else
            complain("%s: %s; trying again in %.1f s", settings->url, e->message,
                     (double)e->retry_ms / 1000);
    }
}

static int dial(struct serve *s)
{
    alk_dial_options o;

    hub_dial_options(&s->hub, &o);
    o.reconnect = 1;
    o.announce = 1;
    o.identity = s->identity;
    o.kind = s->identity ? ALK_KIND_KEY : ALK_KIND_NONE;
    s->hub.on_event = on_event;
    s->hub.ud = s;
    return hub_dial(&s->hub, &o);
}

/* Calls end with BUSY, so that their callers may go elsewhere, and commands with their calls; a
 * second signal makes an end of them. */
static void finish(struct serve *s)
{
    for (int i = 0; i < 2; i++)
        alk_loop_drain(s->hub.loop, NULL, NULL);
    hub_step(&s->hub, NULL, 0);
    hub_hang_up(&s->hub);
    s->hub.caught = 0;
    while (!TAILQ_EMPTY(&s->runner.jobs)) {
        hub_step(&s->hub, NULL, -1);
        if (s->hub.caught)
            runner_kill(&s->runner);
        s->hub.caught = 0;
    }
}

static void serve(struct serve *s)
{
    hub_init(&s->hub, s->cli->options, s->cli->settings, s->registry, NULL);
    hub_guard(&s->hub);
    s->outcome = dial(s);
    if (!s->outcome) {
        while (!s->over && !s->hub.caught)
            hub_step(&s->hub, NULL, -1);
        finish(s);
    }
    hub_fini(&s->hub);
    hub_release(&s->hub);
}

int command_serve(struct cli *cli)
{
    struct serve s = {.cli = cli};
    const struct options *o = cli->options;
    int rc;

    if (!remote_lasts(cli->settings)) {
        complain("%s: serve needs a session, as ws://HOST:PORT has", cli->settings->url);
        return OUTCOME_USAGE;
    }
    s.registry = alk_registry_new();
    runner_init(&s.runner, o->rest);
    s.runner.most = o->concurrency;
    s.runner.text = o->text;
    s.runner.quiet = o->quiet;
    s.runner.verbose = o->verbose;
    rc = read_identity(&s);
    if (!rc)
        rc = add_operations(&s);
    if (!rc && !runner_finds_command(&s.runner)) {
        complain("there is no command '%s'", o->rest[0]);
        rc = OUTCOME_USAGE;
    }
    if (!rc && alk_registry_freeze(s.registry)) {
        complain("out of memory");
        rc = OUTCOME_CONNECTION;
    }
    if (!rc) {
        serve(&s);
        rc = s.outcome;
    }
    alk_registry_unref(s.registry);
    alk_identity_unref(s.identity);
    runner_fini(&s.runner);
    return rc;
}
