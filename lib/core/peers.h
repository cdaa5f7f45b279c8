/* The peer table: which connections reach which peer, newest first. An entry is there as long as a
 * member is, or a walk that stands on it; members are part of their connections, which take them
 * out when they are shut. Whoever else keeps no entry beyond the present function. */
#ifndef ALK_CORE_PEERS_H
#define ALK_CORE_PEERS_H

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

/* Of one peer, so many connections are looked through for what it serves, the newest ones. A peer
 * may open as many as it likes, and whoever calls may ask for a name that none of them serves. */
#define PEER_NEWEST 256u

/* Not the connection's identity but its id alone: two connections with other scopes are one
 * peer. */
struct peer {
    struct map_node by_id;
    struct list link;    /* in the table */
    struct list members; /* struct peer_member */
    unsigned walks;      /* that stand on it */
    size_t len;
    char id[];
};

struct peer_member {
    struct peer *of; /* NULL: not attached */
    struct list link;
};

struct peer_table {
    struct mem *mem;
    struct list peers; /* in the order of their first connection, which `any` goes by */
    struct map by_id;
};

static inline struct str peer_id(const struct peer *p)
{
    return (struct str){p->id, p->len};
}

void peers_init(struct peer_table *t, struct mem *mem, const uint64_t *seed);
/* false: out of memory. */
bool peers_attach(struct peer_table *t, struct peer_member *m, struct str id);
/* Harmless for one that is not attached. */
void peers_detach(struct peer_table *t, struct peer_member *m);
struct peer *peers_find(const struct peer_table *t, struct str id);
/* Goes through the table while code of others runs, which may detach any member. at NULL: to the
 * first. NULL: none is left. A walk that is not gone through to its end is ended by peers_stop. */
struct peer *peers_next(struct peer_table *t, struct peer *at);
void peers_stop(struct peer_table *t, struct peer *at);

#endif
