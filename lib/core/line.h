/* A connection as the other dispatchers of its node see it, for whoever wants to call its remote
 * from there. It has no part of the connection which only the connection's own thread may touch, but
 * for the pointer by which this thread finds it again. It is made when somebody wants it
 * (connection_line), and stays for whoever holds it, who is there no longer than the node. */
#ifndef ALK_CORE_LINE_H
#define ALK_CORE_LINE_H

#include "core/account.h"
#include "core/operation.h"
#include "core/port.h"

struct alk_connection;
struct overlay;

struct line {
    int refs;                     /* atomic */
    struct port *at;              /* a reference */
    struct alk_connection *conn;  /* for its thread alone; NULL: it is shut */
    void *ud;                     /* likewise, of whoever wanted it */
    bool shut;                    /* atomic: what conn says, for other threads */
    struct hold payer;            /* who pays for what comes by it */
    char lock;                    /* a spin lock, for what follows */
    char peer[PEER_ID_MAX_BYTES]; /* whose connection it is, with a NUL if there is room */
    struct overlay *sets[2];      /* references, as of a member (peers.h) */
};

/* NULL: out of memory. */
struct line *line_new(struct port *at, struct alk_connection *conn, const struct account *payer);
struct line *line_ref(struct line *l);
/* NULL is fine. */
void line_unref(struct line *l);
/* What the remote serves, and as which peer; id.p NULL: as none. */
void line_show(struct line *l, struct str id, struct overlay *const sets[2]);
/* Its connection is gone, on the thread of that. */
void line_shut(struct line *l);
bool line_is_shut(const struct line *l);
/* Whether it is of that peer. */
bool line_is_of(struct line *l, struct str id);
/* Finds name in what the remote serves; *set gets a reference. NULL: it does not serve it. */
const struct operation *line_find(struct line *l, struct str name, struct overlay **set);

#endif
