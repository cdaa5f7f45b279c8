/* What the files of the WebSocket transport share. */
#ifndef ALK_CLI_ALKNET_WS_INT_H
#define ALK_CLI_ALKNET_WS_INT_H

#include "hub.h"
#include "ws.h"

struct ws {
    struct remote remote;
    struct hub hub;
    char *called; /* the operation that is known to be no subscription, or NULL */
};

/* Every request begins with ws_begin and ends with ws_end. Between them, hub_step takes signals.
 * ws_begin opens a session if there is none. ws_end ends the program if a signal came. */
int ws_begin(struct ws *w, struct reply *reply);
void ws_end(struct ws *w);
/* How a session ended that is over, or about to be. */
int ws_lost(struct ws *w, struct reply *reply, bool subscribed);
/* Whether that end of a call is the session's, of which the hub has said nothing. */
bool ws_ended_by_loss(const struct ws *w, int why, const alk_fault *fault);
/* As alk_call_options has it. */
uint32_t ws_timeout(const struct ws *w);
/* What is wrong with a call that the library does not send, as a fault; text has room for
 * PROBLEM_MAX bytes. */
alk_fault ws_unsent(int rc, const char *op, char *text);
/* Parses reply->text into reply->doc and returns its root; NULL after a problem. */
yyjson_val *ws_parse(struct reply *reply);
int ws_batch(struct remote *r, const struct buffer *calls, struct reply *reply);

#endif
