/* For whom a node calls a remote, and how much of the remote each may have. A remote takes a limited
 * number of calls from this node (the limit of both is taken to be connection_calls), and what one
 * caller keeps open there, as subscriptions, would be missing to all others. So an eighth is kept for
 * the node's own calls, and of the rest each caller may have as many as are still free: one alone half
 * of it, two a third each. A caller is whoever pays for the call that is forwarded (account.h). */
#ifndef ALK_CORE_ORIGIN_H
#define ALK_CORE_ORIGIN_H

#include "core/connection.h"

/* Whether one more call on c may begin for that payer; NULL: the node itself. */
bool origin_may_take(const alk_connection *c, const struct account *payer);
/* It begins; false: out of memory. */
bool origin_take(alk_connection *c, alk_call *call);
/* Harmless for a call that has taken none. */
void origin_give(alk_connection *c, alk_call *call);

#endif
