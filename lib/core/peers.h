/* The peer table: which connections reach which peer, newest first, and which other hubs of a
 * cluster, behind them. It is the node's: what one thread attaches, all of them find. A peer is
 * there as long as one of its connections is, or somebody who holds it.
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
struct operation;

/* Not the connection's identity but its id alone: two connections with other scopes are one
 * peer. */
struct peer {
    struct map_node by_id;
    struct list link;    /* in one of the table's two lists */
    struct list change;  /* in `changed` of the table */
    struct list members; /* struct member */
    unsigned holds;      /* whoever has it in hand, and walks that stand on it */
    bool attached;       /* which of the two; it may belong in the other while it is held */
    size_t len;
    char id[];
};

/* Another hub, by its name and by whoever reaches it. */
struct other_hub {
    int refs;    /* atomic */
    void *agent; /* of the cluster's thread alone; NULL: it is gone */
    size_t len;
    char name[];
};

/* What peers of other hubs serve: one for all that serve the same. Of the cluster's, which puts it
 * in and takes it out again. */
struct shared_set {
    struct overlay *ops;  /* a reference of the owner's; NULL: not known yet */
    struct list members;  /* under the table's mutex, like */
    struct offer *offers; /* one for each operation */
};

struct member {
    struct peer *of;             /* written by its thread; NULL: not attached any more */
    struct list link, of_set;    /* under the table's mutex, like sets */
    struct overlay *sets[2];     /* references: what was registered by hand, what was imported */
    struct port *at;             /* a reference: of the thread whose connection it is */
    struct alk_connection *conn; /* for that thread alone; NULL: it is shut, or a hub's */
    struct other_hub *hub;       /* a reference; NULL: attached to this one */
    uint32_t pending;            /* atomic: calls of this node to it that have not ended */
    int refs;                    /* atomic */
};

struct peer_table {
    const struct host *host;
    struct mem mem;        /* the C library's: whichever thread is the last one frees */
    void *mutex;           /* for all that follows */
    struct list attached;  /* in the order of their first connection, which `any` goes by */
    struct list elsewhere; /* attached to other hubs alone */
    struct map by_id;
    struct map offered; /* the names of all operations */
    bool uncounted;     /* but not of all connections to this hub */
    /* Who is to hear of what changes among those that are attached; port NULL: nobody. */
    struct list changed;
    struct port *watcher; /* a reference */
    struct parcel *news;  /* the watcher's, sent when something has changed */
    bool news_out;        /* it is on its way */
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
                            struct alk_connection *conn, struct overlay *const sets[2],
                            uint64_t now);
/* It serves something else. */
void peers_update(struct peer_table *t, struct member *m, struct overlay *const sets[2],
                  uint64_t now);
/* The connection has it no more. */
void peers_detach(struct peer_table *t, struct member *m, uint64_t now);
/* The same for a peer that is attached to another hub, on the cluster's thread. It serves nothing
 * yet. */
struct member *peers_attach_elsewhere(struct peer_table *t, struct str id, struct port *at,
                                      struct other_hub *hub);
/* set: one that is in; NULL: nothing. */
void peers_serve_elsewhere(struct peer_table *t, struct member *m, struct shared_set *set);
/* With its ops, and no members. false: out of memory. */
bool peers_add_set(struct peer_table *t, struct shared_set *set);
/* Its hub cannot be reached at once: another one of the peer is tried first next time, and another
 * set for whoever serves what op is named. */
void peers_put_last(struct peer_table *t, struct member *m, struct shared_set *set,
                    const struct operation *op);
/* It has no members any more. */
void peers_drop_set(struct peer_table *t, struct shared_set *set);
struct member *member_ref(struct member *m);
void member_unref(struct member *m);
/* NULL: out of memory. */
struct other_hub *other_hub_new(struct str name, void *agent);
/* NULL is fine. */
void other_hub_unref(struct other_hub *h);

/* Held; NULL: it is not attached. */
struct peer *peers_find(struct peer_table *t, struct str id);
/* Goes through the table, while any thread attaches and detaches. The next one is held, and `at`
 * is let go. at NULL: to the first. NULL: none is left. attached: of those that are attached here
 * alone; else behind them those of other hubs. */
struct peer *peers_next(struct peer_table *t, struct peer *at, bool attached);
void peers_release(struct peer_table *t, struct peer *p);

/* What its newest members serve: at most 2 * PEER_NEWEST sets, each with a reference, in the order
 * in which names are looked for. */
size_t peer_sets(struct peer_table *t, const struct peer *p, struct overlay **sets);
/* Likewise of the connections to this hub alone. */
size_t peer_sets_here(struct peer_table *t, const struct peer *p, struct overlay **sets);
/* A reference on the hub that it is attached to; NULL: this one. */
struct other_hub *peer_hub(struct peer_table *t, const struct peer *p);
/* Calls to it that have not ended. */
uint64_t peer_pending(struct peer_table *t, const struct peer *p);

/* Where a name leads to. */
struct found {
    const struct operation *op;
    struct overlay *set;   /* a reference */
    struct member *member; /* a reference */
};
/* The newest connection of the peer that serves name, of its PEER_NEWEST. */
bool peer_serves(struct peer_table *t, const struct peer *p, struct str name, struct found *out);
/* false: no connection to this hub serves it, so that they need not be looked through. */
bool peers_have(struct peer_table *t, struct str name);
/* Under the mutex: calls nothing. */
typedef bool peer_accept(const struct peer *p, const void *ud);
/* Of other hubs' peers: see elsewhere_serves. PEER_NEWEST sets are tried, and of each as many of its
 * peers. */
bool peers_elsewhere(struct peer_table *t, struct str name, unsigned skip, peer_accept *accept,
                     const void *ud, struct found *out);

/* From here on news is sent to the port when one that is attached has come, gone, or serves
 * something else; watcher NULL: no more. Whether the last watcher's news is on its way still. */
bool peers_watch(struct peer_table *t, struct port *watcher, struct parcel *news);
/* The news has come: what changes from here on is told by another. */
void peers_news_came(struct peer_table *t);
/* The next one that has changed, held; NULL: none. */
struct peer *peers_changed(struct peer_table *t);
/* One that could not be told is among them again. */
void peers_change_stays(struct peer_table *t, struct peer *p);
/* As if all that are attached had changed, for a watcher that has just begun. */
void peers_all_changed(struct peer_table *t, uint64_t now);
/* Whether it is attached here. */
bool peer_is_here(struct peer_table *t, const struct peer *p);

#endif
