/* Upgrades to WebSocket, for those who speak on what comes out: the event gateways and lib/adapt's
 * sessions. */
#ifndef ALK_GATEWAY_WS_H
#define ALK_GATEWAY_WS_H

#include "base/str.h"
#include "wire/ws.h"

#include <alknet/alknet.h>

struct alk_request;

/* Finds the token among the offered subprotocols, and what is wrong with them; token.p stays as it
 * is without one. */
void ws_read_offer(struct alk_request *r, const char *protocol);
/* Whether the head is that of a proper upgrade; answers otherwise. */
bool ws_head_ok(struct alk_request *r);
/* Takes one of the node's sessions, and for the stream that is to be (r->stream) the record of a
 * connection; answers otherwise. */
bool ws_admit(struct alk_request *r);
/* Gives both back: the upgrade is not granted. */
void ws_dismiss(struct alk_request *r);
/* The request's one field with the tenant, copied; STR_NONE: none, or longer than TENANT_MAX. */
struct str ws_tenant(struct alk_request *r, struct mem *mem);
/* Grants the upgrade; false: it has been answered otherwise. */
bool ws_grant(struct alk_request *r, struct engine *next);

#endif
