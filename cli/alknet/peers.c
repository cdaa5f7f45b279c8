/* Implements peers.h. A node refuses what has to do with peers in the same words whether it is not
 * enabled, not allowed or not there, so whoever gets such an answer is told what can be the matter
 * and where it is configured. */
#include "peers.h"
#include "input.h"

#include <string.h>

#define SCHEMA "/services/schema"
#define LIST_PEERS "/services/list-peers"

void peers_wrap(struct buffer *input, const char *peer, const struct buffer *operation)
{
    struct buffer inner = *input;

    *input = (struct buffer){0};
    buffer_puts(input, "{");
    if (peer) {
        buffer_puts(input, "\"peer\":");
        buffer_json_string(input, peer, strlen(peer));
        buffer_puts(input, ",");
    }
    buffer_puts(input, "\"operation\":");
    buffer_json_string(input, buffer_text(operation), operation->len);
    buffer_puts(input, ",\"input\":");
    buffer_append(input, buffer_text(&inner), inner.len);
    buffer_puts(input, "}");
    buffer_free(&inner);
}

const char *peers_id(yyjson_val *peer)
{
    const char *id = yyjson_get_str(yyjson_obj_get(peer, "peer_id"));

    return id ? id : "";
}

bool peers_failed_by(const struct reply *failed, const char *code)
{
    return yyjson_equals_str(yyjson_obj_get(failed->fault, "code"), code);
}

int peers_fetch(struct cli *cli, struct reply *reply, yyjson_val **peers)
{
    struct buffer input = {0};
    int rc;

    buffer_puts(&input, "{}");
    rc = cli->remote->ops->call(cli->remote, LIST_PEERS, &input, reply);
    buffer_free(&input);
    *peers = yyjson_obj_get(reply->output, "peers");
    if (rc == OUTCOME_OK && reply->output && !yyjson_is_arr(*peers)) {
        *peers = NULL;
        return reply_problem(reply, "the remote's list has no \"peers\"");
    }
    return rc;
}

void peers_explain_list(const struct reply *failed)
{
    if (peers_failed_by(failed, "FORBIDDEN"))
        complain("to see peers takes the scope peers:list, of an entry of keys or peers in the "
                 "configuration of alknetd");
}

/* Whether the node has op, and we may call it. */
static bool serves(struct cli *cli, const char *op, bool *known)
{
    struct buffer input = {0};
    struct reply reply = {0};
    int rc;

    buffer_puts(&input, "{\"name\":");
    buffer_json_string(&input, op, strlen(op));
    buffer_puts(&input, "}");
    rc = cli->remote->ops->call(cli->remote, SCHEMA, &input, &reply);
    *known = rc == OUTCOME_OK || rc == OUTCOME_REMOTE;
    reply_free(&reply);
    buffer_free(&input);
    return rc == OUTCOME_OK;
}

static void explain_passing(struct cli *cli, const char *op, bool forbidden)
{
    const char *peer = cli->options->peer;
    bool known, has = serves(cli, op, &known);

    if (!known)
        return;
    if (!has && forbidden)
        complain("to call peers takes the scope peers:call, of an entry of keys or peers in the "
                 "configuration of alknetd");
    else if (!has)
        complain("%s is not enabled there: peers_call in the configuration of alknetd does that",
                 op + 1);
    else if (!forbidden && peer)
        complain("peer '%s' is not connected, or does not serve it, or you may not call it: see "
                 "peers_call in the configuration of alknetd",
                 peer);
    else if (!forbidden)
        complain("no connected peer serves it, or you may not call it: see peers_call in the "
                 "configuration of alknetd");
}

void peers_explain(struct cli *cli, const char *op, const struct reply *failed)
{
    const struct options *o = cli->options;
    bool forbidden = peers_failed_by(failed, "FORBIDDEN");

    if ((!o->peer && !o->any_peer) || (!forbidden && !peers_failed_by(failed, "NOT_FOUND")))
        return;
    if (o->command != COMMAND_DESCRIBE)
        explain_passing(cli, op, forbidden);
    else
        complain("peer '%s' is not connected, or does not serve it, or you may not see it: see the "
                 "scopes peers:list and peers:call, and the rules of the operation",
                 o->peer);
}
