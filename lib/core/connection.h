/* A call connection: one session with one remote, over whatever link. It reads envelopes into calls and
 * writes calls' results into envelopes; it holds what runs here for the remote, what we wait for, and the bytes
 * that the link has not taken yet, per stream of the link. */
#ifndef ALK_CORE_CONNECTION_H
#define ALK_CORE_CONNECTION_H

#include "base/buf.h"
#include "core/call.h"
#include "core/id_memory.h"

/* What one stream of the link has not taken yet: host-order lengths of four bytes, each with its envelope. */
struct stream {
    struct list link;
    uint64_t id;
    struct buf out;
};

struct alk_connection {
    struct alk_dispatcher *d;
    struct list all, dirty, backlog; /* in the dispatcher's lists */
    alk_link link;
    alk_identity *identity;
    uint32_t kind; /* and flags, as the provider said */
    char *token, *remote;
    char *by_token, *by_fingerprint; /* how the identity was proved; NULL: vouched for */
    uint32_t message_bytes;
    struct map pending;                    /* our calls, by id */
    struct map running;                    /* the remote's */
    struct stream shared;                  /* stream 0 */
    struct list streams, waiting;          /* streams with something queued, shared included */
    struct id_memory early;                /* aborts that came before their request */
    struct id_memory resolved;             /* our calls that have their one result */
    struct overlay *imported, *registered; /* what the remote serves; NULL: nothing known */
    struct import *import;                 /* under way */
    struct timer import_timer;
    char *import_prefix, *import_filter; /* of imports that the remote asks for */
    uint64_t import_at;                  /* the start of the last one */
    struct list announced;               /* calls that wait for the next import */
    bool import_again;
    alk_registry *session;
    struct peer *peer; /* attached; NULL: not a peer */
    struct list of_peer;
    int refs;
    uint32_t auth_failures;
    int closing;       /* -1: open; else the code */
    uint64_t over_max; /* the turn in which more than queue_max was found queued; 0: it is not */
    bool lost, ended, counted, websocket, no_auto_import;
};

/* Ends what runs and what is pending, at once; the link is closed with that code in the coming turn. why: for the log, a
 * warning; NULL: nothing is wrong. */
void connection_shut(alk_connection *c, int code, const char *why);
void connection_log(const alk_connection *c, uint32_t level, const char *event, const char *what);
/* What waits for the remote on a stream, in our queue or the link's. */
size_t connection_queued(const alk_connection *c, uint64_t stream);
/* Undoes alk_connection_open at once, for whoever opened it and holds its only other reference. */
void connection_abandon(alk_connection *c);
const char *connection_remote(const alk_connection *c);
bool connection_may_run(const alk_connection *c);
/* The call has ended: takes it from the connection's lists. */
void connection_unlist(alk_call *call);
/* After that: tells a remote that still works for nobody, and lets go of the connection. */
void connection_leave(alk_call *call);
/* The largest envelope that either side may send. */
uint32_t connection_message_limit(const alk_connection *c);
/* Holds the remote of a subscription back, on the stream that it has for itself. */
void connection_hold_back(alk_call *call, bool yes);
struct outgoing {
    struct str operation; /* checked */
    const char *input;
    size_t input_len;
    const alk_call_options *o;
    alk_call *parent; /* the forwarding call; NULL: the node's own act */
};
/* As alk_connection_call. */
int connection_call(alk_connection *c, const struct outgoing *out, alk_call **call);
/* Sends what is queued, finishes what is closing. */
void connections_flush(struct alk_dispatcher *d);
void connections_close_all(struct alk_dispatcher *d);
/* The identity provider's answers may have changed: closes connections whose credential no longer resolves. */
void connections_recheck(struct alk_dispatcher *d);

#endif
