/* Peers of a node, which are reached through it: its operations services/list-peers, peers/call and
 * peers/subscribe, and what to say when they are not there. */
#ifndef ALK_CLI_ALKNET_PEERS_H
#define ALK_CLI_ALKNET_PEERS_H

#include "commands.h"

#define PEERS_CALL "/peers/call"
#define PEERS_SUBSCRIBE "/peers/subscribe"

/* Makes the input of an operation of a peer, NULL: of any, that of peers/call. */
void peers_wrap(struct buffer *input, const char *peer, const struct buffer *operation);
/* Asks for the list; *peers is its array, NULL: there is nothing to show. Reports nothing. */
int peers_fetch(struct cli *cli, struct reply *reply, yyjson_val **peers);
/* After the report of a failure in peers_fetch. */
void peers_explain_list(const struct reply *failed);
/* After the report: what of peers the failure of op may be about, as the options have it. It asks
 * the node whether it has the operation. */
void peers_explain(struct cli *cli, const char *op, const struct reply *failed);
/* Whether the failure has that code. */
bool peers_failed_by(const struct reply *failed, const char *code);
/* The id of an entry of the list; "": it has none. */
const char *peers_id(yyjson_val *peer);

#endif
