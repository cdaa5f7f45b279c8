/* The way out of a handler: every value that a call answers or emits, whether it is given as
 * text, parsed, built, or passes through from another call.
 *
 * What leaves must be JSON within the limits that receivers have, and compact: a receiver closes
 * its connection over less. A text is parsed once to know that; when it is compact already, its
 * own bytes go to the sink and are copied there, once, to where they leave from. Parsed and built
 * values are valid by what they are, and are written once. */
#include "core/call.h"

#include "schema/schema.h"

#include <alknet/yyjson.h>

/* Containers around an output: an envelope and its payload; in a batch of HTTP, the answer, its
 * list and the entry. */
#define ENVELOPE_DEPTH 3u

static const alk_fault fault_too_large = {
    .size = sizeof fault_too_large, .code = ALK_INTERNAL, .message = "output too large"};

struct json_limits envelope_limits(const alk_node *n, uint32_t other_values)
{
    uint32_t depth = LIMIT(n, json_depth), values = LIMIT(n, json_values);

    return (struct json_limits){depth > ENVELOPE_DEPTH ? depth - ENVELOPE_DEPTH : 1,
                                values > other_values ? values - other_values : 1};
}

/* With debug_outputs only: a copy is parsed for it. */
static bool output_matches(alk_call *c, struct str text)
{
    struct schema_report report;
    struct msg *m;
    bool ok = true;

    if (!c->d->node->debug_outputs || !c->op->output ||
        !(m = msg_new(&c->d->messages, c->msg->payer)))
        return true;
    if (!msg_parse(m, text.p, text.n, NULL))
        ok = schema_check(c->op->output, m->value.val, LIMIT(c->d->node, schema_steps), &m->arena,
                          &report) == 0;
    msg_free(m);
    return ok;
}

static int too_large(alk_call *c)
{
    call_log_handler(c, fault_too_large.message);
    call_end(c, ALK_END_FAULT, &fault_too_large);
    return ALK_ELIMIT;
}

/* A handler that was refused is refused until on_drain, even when there is room by now: values
 * must not overtake each other, and who ignores ALK_EAGAIN learns of it at once. */
static int may_output(const alk_call *c, bool final)
{
    if (call_ended(c))
        return ALK_EENDED;
    if (!c->op || final == (c->op->type == ALK_SUBSCRIPTION))
        return ALK_EINVAL;
    return !final && c->room == ROOM_NONE ? ALK_EAGAIN : ALK_OK;
}

/* To the sink. text is compact JSON within the limits of an envelope, but for its length. */
static int put(alk_call *c, struct str text, bool final)
{
    int rc;

    if (text.n > LIMIT(c->d->node, output_bytes))
        return too_large(c);
    /* A mistake of this node's own, so the caller gets an internal error and the log the reason. */
    if (!output_matches(c, text)) {
        call_log_handler(c, "the output does not match its schema");
        call_end(c, ALK_END_FAULT, &fault_internal);
        return ALK_OK;
    }
    /* Who asked holds too much already, of what was sent and not read: it is told so, and what it
     * asked for is dropped. */
    if (c->msg->payer && text.n >= METER_MIN && !account_has_room(c->msg->payer, text.n)) {
        call_end(c, ALK_END_FAULT, &fault_full);
        return ALK_OK;
    }
    rc = c->sink->value(c, text.p, text.n, final);
    /* Nothing was taken, and on_drain is owed. */
    if (rc == ALK_EAGAIN)
        c->room = ROOM_NONE;
    if (rc)
        return rc == ALK_ELIMIT ? too_large(c) : rc;
    if (final)
        call_end(c, ALK_END_OK, NULL);
    return ALK_OK;
}

/* Likewise, where only its validity is known. */
static int put_valid(alk_call *c, struct str text, bool final)
{
    const struct json_limits limits = envelope_limits(c->d->node, ANSWER_VALUES);

    return json_fits(text.p, text.n, &limits) ? put(c, text, final) : too_large(c);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* The document of a copy in the scratch arena; JSON_ statuses. */
static int parse(alk_call *c, struct str text, const struct json_limits *limits, yyjson_doc **doc)
{
    struct arena *scratch = &c->d->scratch;
    yyjson_alc alc = arena_alc(scratch);
    char *copy;

    arena_reset(scratch);
    copy = arena_alloc(scratch, text.n + JSON_PADDING);
    if (!copy)
        return JSON_ENOMEM;
    memcpy(copy, text.p, text.n);
    return json_parse(copy, text.n, limits, &alc, doc, NULL);
}

/* What is JSON by the node's own limits is too large to send; other text was never JSON. */
static int refuse_text(alk_call *c, struct str text, int status)
{
    const struct json_limits own = {LIMIT(c->d->node, json_depth), LIMIT(c->d->node, json_values)};
    yyjson_doc *doc;

    if (status == JSON_EDEPTH || status == JSON_EVALUES)
        status = parse(c, text, &own, &doc);
    return status ? json_err(status) : too_large(c);
}

static int output_text(alk_call *c, struct str text, bool final)
{
    const struct json_limits limits = envelope_limits(c->d->node, ANSWER_VALUES);
    yyjson_alc alc = arena_alc(&c->d->scratch);
    yyjson_doc *doc;
    int rc = may_output(c, final);

    if (rc)
        return rc;
    /* Compact text cannot be half as long, so this need not be looked at. */
    if (text.n / 2 > LIMIT(c->d->node, output_bytes))
        return too_large(c);
    rc = parse(c, text, &limits, &doc);
    if (!rc && !json_compact(text.p, text.n)) {
        text.p = yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, &alc, &text.n, NULL);
        rc = text.p ? JSON_OK : JSON_ENOMEM;
    }
    rc = rc ? refuse_text(c, text, rc) : put(c, text, final);
    arena_reset(&c->d->scratch);
    return rc;
}

int alk_call_reply(alk_call *call, const char *json, size_t len)
{
    return output_text(call, (struct str){json, len}, true);
}

int alk_call_emit(alk_call *call, const char *json, size_t len)
{
    return output_text(call, (struct str){json, len}, false);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* No parse: a value that yyjson holds is valid, and written compact. How deep it is, and how many
 * values it has, is looked at in the text. */
static int output_value(alk_call *c, const yyjson_val *value, const yyjson_mut_val *built)
{
    bool final = !c->op || c->op->type != ALK_SUBSCRIPTION;
    yyjson_alc alc = arena_alc(&c->d->scratch);
    struct str text = STR_NONE;
    int rc = may_output(c, final);

    if (rc)
        return rc;
    arena_reset(&c->d->scratch);
    text.p = value ? yyjson_val_write_opts(value, 0, &alc, &text.n, NULL)
                   : yyjson_mut_val_write_opts(built, 0, &alc, &text.n, NULL);
    return text.p ? put_valid(c, text, final) : ALK_ENOMEM;
}

int alk_call_output_yyjson(alk_call *call, const yyjson_val *value)
{
    return output_value(call, value, NULL);
}

int alk_call_output_built(alk_call *call, const yyjson_mut_val *value)
{
    return output_value(call, NULL, value);
}

/* The text that came, as it came: numbers keep their digits. It fitted the limits of whoever sent
 * it; here it must fit ours. */
int call_pass(alk_call *c, const alk_value *value)
{
    bool final = c->op->type != ALK_SUBSCRIPTION;
    int rc = may_output(c, final);
    struct str text;

    if (rc)
        return rc;
    text.p = alk_value_text(value, &text.n);
    return text.p ? put_valid(c, text, final) : ALK_ENOMEM;
}

/* A subscription alone: a query that completed without an answer would leave its caller with
 * nothing. */
int alk_call_complete(alk_call *call)
{
    if (call_ended(call))
        return ALK_EENDED;
    if (!call->op || call->op->type != ALK_SUBSCRIPTION)
        return ALK_EINVAL;
    call_end(call, ALK_END_OK, NULL);
    return ALK_OK;
}

/* ---- for C programs with yyjson -------------------------------------------------------------- */

yyjson_val *alk_value_yyjson(const alk_value *value)
{
    return value_parsed(value);
}

double alk_value_double(const yyjson_val *number)
{
    return json_double(number);
}
