/* The peer table: which connections reach which peer, newest first. A connection is in it by its establishment alone. */
#ifndef ALK_CORE_PEERS_H
#define ALK_CORE_PEERS_H

#include "core/connection.h"

struct peer {
    struct list link;  /* in the dispatcher's table */
    struct list conns; /* by of_peer */
    size_t len;
    char id[];
};

/* Enters a connection whose identity is a peer's; false: out of memory. */
bool peers_attach(alk_connection *c);
void peers_detach(alk_connection *c);
struct peer *peers_find(struct alk_dispatcher *d, struct str id);
/* The newest connection of the peer that serves name. */
bool peer_serves(struct peer *p, struct str name, struct target *out);
/* The first peer that serves name. */
bool peers_serve(struct alk_dispatcher *d, struct str name, struct target *out);

/* import.c: imports as the remote announced, or as auto_import asks. */
void import_soon(alk_connection *c);
/* Likewise, and answers the call when it has been done. 0, or ALK_ENOMEM. */
int import_announced(alk_call *call);
void import_due(struct timer *t, uint64_t now);

#endif
