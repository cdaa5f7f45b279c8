/* Each request is a call on the session, awaited step by step. Outcomes and messages are those of
 * the HTTP transport: what the hub says about a call is OUTCOME_REMOTE, a session that does not
 * come about or ends too early is OUTCOME_CONNECTION.
 *
 * A deadline that --timeout sets is kept here as well as by the hub, and here it is over first, so
 * that TIMEOUT is an answer like any other; without one, the hub's own is awaited, and no answer
 * within ANSWER_TIMEOUT_MS is none. A signal ends what runs: the hub is told of each call that it
 * need not go on with, then the program ends by it. */
#include "ws_int.h"
#include "http.h"
#include "input.h"
#include "print.h"
#include "tls.h"

#include <alknet/alknet.h>
#include <alknet/yyjson.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOST_MESSAGE "connection closed" /* the library's, of a call whose session is over */
#define SERVICES "/services/"            /* nobody subscribes to these */

/* One call and what has come of it. */
struct exchange {
    struct ws *ws;
    struct reply *reply;
    alk_call *call; /* a reference */
    int (*on_value)(void *ud, yyjson_val *value);
    void *ud;
    uint64_t began;
    bool over, stopped;
    int why;
};

static const char *url_of(const struct ws *w)
{
    return w->remote.settings->url;
}

/* ---- the session ----------------------------------------------------------------------------- */

/* By what the library says. */
static const char *hint_of(const char *message)
{
    if (strstr(message, "does not speak TLS"))
        return HINT_NO_TLS;
    if (strstr(message, "connection refused"))
        return remote_hint(ECONNREFUSED);
    if (strstr(message, "no such file"))
        return remote_hint(ENOENT);
    if (strstr(message, "permission denied"))
        return remote_hint(EACCES);
    if (strstr(message, "unknown node"))
        return HINT_NO_HOST;
    return tls_hint(message);
}

/* Why there is none. */
static int no_session(const struct ws *w, struct reply *reply)
{
    const struct hub *h = &w->hub;

    if (!h->status) {
        reply->hint = hint_of(h->message);
        return reply_problem(reply, "cannot reach %s: %s", url_of(w), h->message);
    }
    if (h->status == 400 && !tls_spoken(w->remote.settings))
        reply->hint = HINT_TLS;
    if (h->status != 401 && h->status != 403 && h->status != 429 && h->status != 503)
        return reply_problem(reply, "%s gives no session: %s", url_of(w), h->message);
    reply_problem(reply, "%s refuses the session: %s", url_of(w), h->message);
    if (h->status == 401 && !w->remote.settings->token)
        reply->hint = w->remote.settings->no_token;
    return OUTCOME_REMOTE;
}

static void tell_again(const struct ws *w)
{
    complain("%s: %s; trying again in %.1f s", url_of(w), w->hub.message,
             (double)w->hub.retry_ms / 1000);
}

/* Waits for the session that a dialer makes again after each failure. */
static void await_session(struct ws *w)
{
    struct hub *h = &w->hub;
    unsigned told = h->failures;

    while (h->state == HUB_DIALLING && !h->caught) {
        hub_step(h, NULL, -1);
        if (h->failures == told)
            continue;
        told = h->failures;
        if (hub_refused(h))
            return;
        if (h->state == HUB_DIALLING && !w->remote.options->quiet)
            tell_again(w);
    }
}

/* Makes a session unless there is one. */
static int session(struct ws *w, struct reply *reply)
{
    struct hub *h = &w->hub;
    alk_dial_options o;

    if (h->state == HUB_DOWN) {
        hub_dial_options(h, &o);
        o.reconnect = w->remote.options->reconnect;
        if (hub_dial(h, &o))
            return OUTCOME_USAGE;
    }
    await_session(w);
    if (h->caught)
        return OUTCOME_CONNECTION;
    return h->state == HUB_OPEN ? OUTCOME_OK : no_session(w, reply);
}

int ws_begin(struct ws *w, struct reply *reply)
{
    hub_guard(&w->hub);
    return session(w, reply);
}

void ws_end(struct ws *w)
{
    if (w->hub.caught)
        hub_die(&w->hub);
    hub_release(&w->hub);
}

int ws_lost(struct ws *w, struct reply *reply, bool subscribed)
{
    struct hub *h = &w->hub;

    /* Why the session has ended is told after the ends of its calls. */
    for (int i = 0; i < HUB_CLOSE_MS && h->state == HUB_OPEN && !h->caught; i++)
        hub_step(h, NULL, 1);
    if (subscribed)
        return reply_problem(reply, "the subscription ended early, without completion: %s",
                             h->message);
    return reply_problem(reply, "no whole answer from %s: %s", url_of(w), h->message);
}

/* ---- a call ---------------------------------------------------------------------------------- */

yyjson_val *ws_parse(struct reply *reply)
{
    char why[WHY_SIZE];

    reply->doc = json_read(buffer_text(&reply->text), reply->text.len, why);
    if (!reply->doc)
        reply_problem(reply, "the answer is not JSON: %s", why);
    return yyjson_doc_get_root(reply->doc);
}

static void give_fault(struct reply *reply, const alk_fault *f)
{
    remote_put_fault(&reply->text, f);
    reply->fault = ws_parse(reply);
}

static void on_output(alk_call *call, const alk_value *value, void *ud)
{
    struct exchange *x = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    buffer_append(&x->reply->text, text, text ? len : 0);
    x->reply->output = ws_parse(x->reply);
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct exchange *x = ud;
    yyjson_val *v = alk_value_yyjson(value);

    (void)call;
    if (!x->stopped && v && x->on_value(x->ud, v))
        x->stopped = true;
}

bool ws_ended_by_loss(const struct ws *w, int why, const alk_fault *fault)
{
    if (why == ALK_END_CLOSED)
        return true;
    return why == ALK_END_FAULT && !hub_connection(&w->hub) && !strcmp(fault->code, ALK_INTERNAL) &&
           !strcmp(fault->message, LOST_MESSAGE);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct exchange *x = ud;

    (void)call;
    x->over = true;
    x->why = ws_ended_by_loss(x->ws, why, fault) ? ALK_END_CLOSED : why;
    if (fault && x->why != ALK_END_CLOSED && !x->reply->doc)
        give_fault(x->reply, fault);
}

uint32_t ws_timeout(const struct ws *w)
{
    int64_t ms = w->remote.options->timeout_ms;

    return ms == TIMEOUT_UNSET ? 0 : ms == 0 ? ALK_NO_TIMEOUT : (uint32_t)ms;
}

alk_fault ws_unsent(int rc, const char *op, char *text)
{
    alk_fault f = {.size = sizeof f, .code = ALK_INVALID_INPUT, .message = text};

    /* No remote can have an operation of that name. */
    if (rc == ALK_EINVAL) {
        f.code = ALK_NOT_FOUND;
        snprintf(text, PROBLEM_MAX, "operation not found: %s", op + (*op == '/'));
    } else {
        snprintf(text, PROBLEM_MAX, "the input cannot be sent: %s", alk_strerror(rc));
    }
    return f;
}

static int start(struct exchange *x, const char *op, const struct buffer *input)
{
    struct ws *w = x->ws;
    char why[PROBLEM_MAX];
    alk_call_options o = {.size = sizeof o};
    alk_fault f;
    int rc;

    if (w->remote.options->verbose)
        remark("> %s %s at %s, %s token", x->on_value ? "subscribe" : "call", op, url_of(w),
               w->remote.settings->token ? "with a" : "without a");
    o.stream = x->on_value != NULL;
    o.timeout_ms = ws_timeout(w);
    o.on_event = x->on_value ? on_value : on_output;
    o.on_end = on_end;
    o.ud = x;
    x->began = uv_hrtime();
    rc = alk_connection_call(hub_connection(&w->hub), op, strlen(op), buffer_text(input),
                             input->len, &o, &x->call);
    if (!rc)
        return OUTCOME_OK;
    if (rc == ALK_ECLOSED)
        return ws_lost(w, x->reply, x->on_value != NULL);
    f = ws_unsent(rc, op, why);
    give_fault(x->reply, &f);
    return OUTCOME_REMOTE;
}

/* Until the call has ended, a signal has come, or nobody takes its values. */
static void await(struct exchange *x, struct outlet *out)
{
    struct hub *h = &x->ws->hub;

    hub_step(h, out, 0);
    while (!x->over && !x->stopped && !h->caught && !(out && out->error))
        hub_step(h, out, -1);
    if (!x->over)
        alk_call_abort(x->call);
    while (!x->over)
        hub_step(h, NULL, 0);
}

static void tell(const struct exchange *x)
{
    static const char *const ends[] = {"ok", "error", "aborted", "timeout", "closed"};

    remark("< %s, %.1f ms, request %s", ends[x->why], (double)(uv_hrtime() - x->began) / 1e6,
           alk_call_id(x->call));
}

static int judge(const struct exchange *x)
{
    struct reply *reply = x->reply;

    if (x->ws->remote.options->verbose)
        tell(x);
    switch (x->why) {
    case ALK_END_OK:
        return reply->output || x->on_value ? OUTCOME_OK : OUTCOME_CONNECTION;
    case ALK_END_TIMEOUT:
        if (x->ws->remote.options->timeout_ms != TIMEOUT_UNSET)
            return OUTCOME_REMOTE;
        return reply_problem(reply, "no answer from %s within %g s", url_of(x->ws),
                             (double)ANSWER_TIMEOUT_MS / 1000);
    case ALK_END_FAULT:
        return OUTCOME_REMOTE;
    case ALK_END_CLOSED:
        return ws_lost(x->ws, reply, x->on_value != NULL);
    default:
        return OUTCOME_CONNECTION;
    }
}

/* A request does not say whether it is for one value or for many: whoever subscribes to what is no
 * subscription would wait for ever. What the hub does not describe is left to the request
 * itself. */
static int check_type(struct exchange *x, const char *op)
{
    struct exchange ask = {.ws = x->ws};
    alk_fault f = {.size = sizeof f, .code = ALK_INVALID_OPERATION_TYPE};
    char text[PROBLEM_MAX];
    struct reply spec = {0};
    struct buffer input = {0};
    bool stream;
    int rc;

    buffer_puts(&input, "{\"name\":");
    buffer_json_string(&input, op, strlen(op));
    buffer_puts(&input, "}");
    ask.reply = &spec;
    rc = start(&ask, "/services/schema", &input);
    if (rc == OUTCOME_OK) {
        await(&ask, NULL);
        rc = judge(&ask);
    }
    alk_call_unref(ask.call);
    stream = yyjson_equals_str(yyjson_obj_get(spec.output, "op_type"), "subscription");
    if (rc == OUTCOME_OK && yyjson_obj_get(spec.output, "op_type") && stream != !!x->on_value) {
        snprintf(text, sizeof text, "%s is %s subscription", op + 1, stream ? "a" : "not a");
        f.message = text;
        give_fault(x->reply, &f);
        rc = OUTCOME_REMOTE;
    } else if (rc == OUTCOME_CONNECTION) {
        reply_problem(x->reply, "%s", spec.problem);
        x->why = ask.why;
    } else {
        rc = OUTCOME_OK;
    }
    reply_free(&spec);
    buffer_free(&input);
    return rc;
}

static int run(struct exchange *x, const char *op, const struct buffer *input, struct outlet *out)
{
    struct ws *w = x->ws;
    bool known = w->called && !x->on_value && !strcmp(w->called, op);
    int rc = ws_begin(w, x->reply);

    if (rc == OUTCOME_OK && strncmp(op, SERVICES, strlen(SERVICES)) && !known) {
        rc = check_type(x, op);
        if (rc == OUTCOME_OK && !x->on_value) {
            free(w->called);
            w->called = xstrndup(op, strlen(op));
        }
    }
    if (rc == OUTCOME_OK)
        rc = start(x, op, input);
    if (rc == OUTCOME_OK) {
        await(x, out);
        rc = judge(x);
    }
    alk_call_unref(x->call);
    return rc;
}

static int ws_call(struct remote *r, const char *op, const struct buffer *input,
                   struct reply *reply)
{
    struct ws *w = (struct ws *)r;
    struct exchange x = {.ws = w, .reply = reply};
    int rc = run(&x, op, input, NULL);

    ws_end(w);
    return rc;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

/* Whether --reconnect makes up for that end. */
static bool again(struct exchange *x, int rc)
{
    struct ws *w = x->ws;
    bool busy = rc == OUTCOME_REMOTE &&
                yyjson_equals_str(yyjson_obj_get(x->reply->fault, "code"), ALK_BUSY);

    if (!w->remote.options->reconnect || x->stopped || w->hub.caught || hub_refused(&w->hub) ||
        !(busy || (rc == OUTCOME_CONNECTION && x->why == ALK_END_CLOSED)))
        return false;
    if (!w->remote.options->quiet) {
        if (busy)
            complain("%s is busy: %s; trying again in %.1f s", url_of(w),
                     yyjson_get_str(yyjson_obj_get(x->reply->fault, "message")),
                     WS_BUSY_PAUSE_MS / 1000.0);
        else
            tell_again(w);
    }
    if (busy)
        hub_pause(&w->hub, WS_BUSY_PAUSE_MS);
    reply_free(x->reply);
    return !w->hub.caught;
}

static int ws_subscribe(struct remote *r, const char *op, const struct buffer *input,
                        int (*print)(void *ud, yyjson_val *value), void *ud, struct reply *reply)
{
    struct ws *w = (struct ws *)r;
    struct exchange x;
    struct outlet out;
    int rc;

    outlet_init(&out, fileno(r->printer->out));
    r->printer->outlet = &out;
    do {
        x = (struct exchange){.ws = w, .reply = reply, .on_value = print, .ud = ud};
        rc = run(&x, op, input, &out);
    } while (again(&x, rc));
    while (out.waiting.len && !out.error && !w->hub.caught)
        hub_step(&w->hub, &out, -1);
    ws_end(w);
    r->printer->outlet = NULL;
    if (out.error) {
        r->printer->error = out.error;
        reply->problem[0] = 0;
        rc = OUTCOME_CONNECTION;
    }
    outlet_fini(&out);
    return rc;
}

/* ---- ping ------------------------------------------------------------------------------------ */

/* A WebSocket's own pings are not for callers: what is measured is a call that everybody may
 * make. */
static int ws_ping(struct remote *r, int64_t *us, struct reply *reply)
{
    static const char least[] = "{\"limit\":1}";
    uint64_t began = uv_hrtime();
    struct buffer input = {0};
    int rc;

    buffer_puts(&input, least);
    rc = ws_call(r, "/services/list", &input, reply);
    buffer_free(&input);
    *us = (int64_t)(uv_hrtime() - began) / 1000;
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void close_remote(struct remote *r)
{
    struct ws *w = (struct ws *)r;

    hub_fini(&w->hub);
    free(w->called);
    free(w);
}

static alk_registry *nothing_served(void)
{
    alk_registry *reg = alk_registry_new();

    if (!reg || alk_registry_freeze(reg)) {
        complain("out of memory");
        exit(OUTCOME_CONNECTION);
    }
    return reg;
}

struct remote *ws_open(const struct options *o, const struct settings *s)
{
    static const struct remote_ops ops = {ws_call, ws_subscribe, ws_batch,
                                          ws_ping, NULL,         close_remote};
    struct ws *w = xcalloc(1, sizeof *w);
    alk_registry *reg = nothing_served();
    alk_limits limits;

    alk_limits_init(&limits, sizeof limits);
    limits.frame_bytes = limits.websocket_bytes = ANSWER_MAX;
    limits.json_values = VALUES_MAX;
    limits.json_depth = DEPTH_MAX;
    limits.message_budget = UINT32_MAX;
    limits.deadline_ms = ANSWER_TIMEOUT_MS;
    w->remote = (struct remote){&ops, o, s, NULL};
    hub_init(&w->hub, o, s, reg, &limits);
    alk_registry_unref(reg);
    return &w->remote;
}
