/* The peer table: which connections reach which peer, newest first. It is the node's: what one
 * thread attaches, all of them find. A peer is there as long as one of its connections is, or
 * somebody who holds it.
 *
 * What others see of a connection is its member. That has no part of the connection which only the
 * connection's own thread may touch, but for the pointer by which this thread finds it again. */
#ifndef ALK_CORE_PEERS_H
#define ALK_CORE_PEERS_H

#include "base/host.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"
#include "core/port.h"

/* Of one peer, so many connections are looked through for what it serves, the newest ones. A peer
 * may open as many as it likes, and whoever calls may ask for a name that none of them serves. */
#define PEER_NEWEST 256u

struct overlay;

/* Not the connection's identity but its id alone: two connections with other scopes are one
 * peer. */
struct peer {
    struct map_node by_id;
    struct list link;    /* in the table */
    struct list members; /* struct member */
    unsigned holds;      /* whoever has it in hand, and walks that stand on it */
    size_t len;
    char id[];
};

struct member {
    struct peer *of;             /* written by its thread; NULL: not attached any more */
    struct list link;            /* under the table's mutex, like sets */
    struct overlay *sets[2];     /* references: what was registered by hand, what was imported */
    struct port *at;             /* a reference: of the thread whose connection it is */
    struct alk_connection *conn; /* for that thread alone; NULL: it is shut */
    uint32_t pending;            /* atomic: calls of this node to it that have not ended */
    int refs;                    /* atomic */
};

struct peer_table {
    const struct host *host;
    struct mem mem;    /* the C library's: whichever thread is the last one frees */
    void *mutex;       /* for all that follows */
    struct list peers; /* in the order of their first connection, which `any` goes by */
    struct map by_id;
};

static inline struct str peer_id(const struct peer *p)
{
    return (struct str){p->id, p->len};
}

/* false: out of memory. */
bool peers_init(struct peer_table *t, const struct host *host, const uint64_t *seed);
/* No peer is left. */
void peers_fini(struct peer_table *t);
/* A member for that connection, on its thread, with what it serves. NULL: out of memory. */
struct member *peers_attach(struct peer_table *t, struct str id, struct port *at,
                            struct alk_connection *conn, struct overlay *const sets[2]);
/* It serves something else. */
void peers_update(struct peer_table *t, struct member *m, struct overlay *const sets[2]);
/* The connection has it no more. */
void peers_detach(struct peer_table *t, struct member *m);
struct member *member_ref(struct member *m);
void member_unref(struct member *m);

/* Held; NULL: it is not attached. */
struct peer *peers_find(struct peer_table *t, struct str id);
/* Goes through the table, while any thread attaches and detaches. The next one is held, and `at`
 * is let go. at NULL: to the first. NULL: none is left. */
struct peer *peers_next(struct peer_table *t, struct peer *at);
void peers_release(struct peer_table *t, struct peer *p);

/* What its newest members serve: at most 2 * PEER_NEWEST sets, each with a reference, in the order
 * in which names are looked for. */
size_t peer_sets(struct peer_table *t, const struct peer *p, struct overlay **sets);
/* Calls to it that have not ended. */
uint64_t peer_pending(struct peer_table *t, const struct peer *p);

struct operation;
/* Where a name leads to. */
struct found {
    const struct operation *op;
    struct overlay *set;   /* a reference */
    struct member *member; /* a reference */
};
/* The newest connection of the peer that serves name, of its PEER_NEWEST. */
bool peer_serves(struct peer_table *t, const struct peer *p, struct str name, struct found *out);

#endif
