/* From a name to an operation: what the node has itself, and what remotes serve, in the overlays of
 * their connections. Only whether it is there is decided here; who may call it is decided in
 * start.c and deputy.c. */
#ifndef ALK_CORE_RESOLVE_H
#define ALK_CORE_RESOLVE_H

#include "core/call.h"
#include "core/line.h"
#include "core/peers.h"

/* Finds name in the node's registry, and behind it in what was discovered. */
bool node_serves(struct alk_dispatcher *d, struct str name, struct target *out);
/* Finds name in what the connection's remote serves. */
bool connection_find(alk_connection *c, struct str name, struct target *out);
/* Likewise of a connection of another dispatcher. */
bool line_target(struct line *l, struct str name, struct target *out);
/* In what that peer serves, whichever dispatcher has it. */
bool peer_target(struct alk_dispatcher *d, const struct peer *p, struct str name,
                 struct target *out);
/* Likewise of the peer of that id. */
bool peer_find(struct alk_dispatcher *d, struct str id, struct str name, struct target *out);
/* The first peer that serves name: of those that are attached here, then of other hubs. */
bool peers_serve(struct alk_dispatcher *d, struct str name, struct target *out);
/* In what peers of other hubs serve: of the sets that have name, all but the first `skip` ones; the
 * first of their peers that is accepted (accept NULL: any). */
bool elsewhere_serves(struct alk_dispatcher *d, struct str name, unsigned skip, peer_accept *accept,
                      const void *ud, struct target *out);
void target_hold(const struct target *t);
void target_drop(struct target *t);

#endif
