/* What the node's limits say of the engines: an HTTP connection, a WebSocket. */
#ifndef ALK_GATEWAY_ENGINE_LIMITS_H
#define ALK_GATEWAY_ENGINE_LIMITS_H

#include "wire/http.h"
#include "wire/ws.h"

#include <alknet/alknet.h>

/* All but the date, which is the owner's. */
void http_limits(const alk_node *n, struct http_limits *out);
void session_limits(const alk_node *n, struct ws_limits *out);

#endif
