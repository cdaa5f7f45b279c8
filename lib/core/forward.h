/* Forwarding: the handler of an imported operation calls the remote that serves it. From there on
 * it is a call like any other, and so are its abort, its deadline and its faults. */
#ifndef ALK_CORE_FORWARD_H
#define ALK_CORE_FORWARD_H

#include "core/call.h"

/* The handler: calls ud, the remote's name for it, through the connection by whose overlay the
 * call was resolved. */
int forward(alk_call *call, void *ud);
/* For a call whose operation nobody has said anything of: it goes by the call's connection, by the
 * name of the call. */
const struct operation *forward_unknown(bool stream);
/* As a handler does: the results of operation at c are call's. operation: as it stands between the
 * quotes of an envelope. */
int forward_over(alk_call *call, alk_connection *c, struct str operation, struct str input);
/* The remote's name, escaped for JSON, for forward and its ud_free; NULL: out of memory. */
char *forward_name(struct str remote);
void forward_name_free(void *ud);

#endif
