/* The WebSocket transport: one session for all that a command asks for, made with its first
 * request. */
#ifndef ALK_CLI_ALKNET_WS_H
#define ALK_CLI_ALKNET_WS_H

#include "remote.h"

#define WS_AT_ONCE 32u        /* calls of a batch */
#define WS_BUSY_PAUSE_MS 1000 /* before a hub that was busy is asked again */

/* Memory that runs out ends the program. */
struct remote *ws_open(const struct options *o, const struct settings *s);

#endif
