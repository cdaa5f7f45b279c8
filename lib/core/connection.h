/* A call connection: one session with one remote, over whatever link. It reads envelopes into
 * calls and writes calls' results into envelopes; it holds what runs here for the remote, what we
 * wait for, and what the link has not taken yet.
 *
 * It dies in two steps. connection_shut, at any moment, ends its calls, takes it out of the peer
 * table and remembers the close code; from then on nothing is listed, started, armed or attached
 * for it. In the coming turn it is buried: the link is closed, and the dispatcher's reference
 * goes. Handles and calls may hold it in memory for longer. */
#ifndef ALK_CORE_CONNECTION_H
#define ALK_CORE_CONNECTION_H

#include "core/call.h"
#include "core/credential.h"
#include "core/id_memory.h"
#include "core/line.h"
#include "core/origin.h"
#include "core/peers.h"
#include "core/queue.h"

struct overlay;
struct import;

/* The maps hold no references: a call takes itself out when it ends (call_carrier), and holds the
 * connection until then. So a connection is never freed while something runs by it. */
struct alk_connection {
    struct alk_dispatcher *d;
    struct list all, backlog; /* in the dispatcher's lists */
    /* What goes out. It has the link, and nobody else calls that, but for its end and for
     * pauses. */
    struct queue queue;
    /* References; NULL: nobody. by is that of the establishment. request_by is the last one that
     * came in a request, as the next one will mostly be the same. */
    struct credential *by, *request_by;
    struct watcher on_by;
    struct account *account; /* a reference: who pays for what comes and goes */
    /* token is what we send, never what was received. */
    char *token, *remote;
    char *why; /* of closing; NULL: none, or out of memory */
    /* Two maps, since each side chooses the ids of its own calls: the same id may stand in both. */
    struct map pending;                    /* our calls, by id */
    struct map running;                    /* the remote's */
    struct map streams;                    /* call_streams.h */
    struct origins origins;                /* for whom ours are */
    struct meter_sum small;                /* of requests that run */
    struct id_memory early;                /* aborts that came before their request */
    struct id_memory resolved;             /* our calls that have their one result */
    struct overlay *imported, *registered; /* what the remote serves; NULL: nothing known */
    struct import *import;                 /* under way */
    struct timer import_timer;
    char *import_prefix, *import_filter; /* of imports that the remote asks for */
    uint64_t import_at;                  /* the start of the last one */
    struct list announced;               /* calls that wait for the next import */
    bool import_again;
    /* Given when the connection is opened; each of its calls takes a reference. */
    alk_registry *session;
    struct member *peer; /* a reference; NULL: it is none of a peer */
    struct line *line;   /* a reference; NULL: nobody has wanted it */
    /* The dispatcher's until it is buried, one for each handle, one for each call that has not
     * ended, and the import's. */
    int refs;
    /* Never reset: a client that tries tokens could otherwise put a good one in between. */
    uint32_t auth_failures;
    int closing; /* -1: open; else the code */
    /* ended: buried. counted: it has a place of limits.connections to give back. */
    bool ended, counted, websocket, no_auto_import;
    bool of_hub; /* of a pair of hubs, which is no peer in the table */
};

/* Ends what runs and what is pending, at once; the link is closed with that code in the coming
 * turn. why: for the log, a warning, and for the remote; NULL: nothing is wrong. */
void connection_shut(alk_connection *c, int code, const char *why);
#define CLOSE_WHY_MAX 123u /* bytes: what a close frame has room for (RFC 6455, section 5.5) */
/* What the remote of one that is shut is told with the code, at most CLOSE_WHY_MAX bytes. */
const char *connection_why(const alk_connection *c);
void connection_log(const alk_connection *c, uint32_t level, const char *event, const char *what);
extern const struct abi abi_connection_options;

/* As alk_connection_open, by a credential that is known already (NULL: nobody's), in place of what
 * the options say of that. */
int connection_open_by(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                       const alk_connection_options *o, struct credential *by);
/* Likewise, but for the peer table. */
int connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                    const alk_connection_options *o, struct credential *by);
/* Measures what waits for the remotes of d's connections. */
void connections_sample(struct alk_dispatcher *d);
/* Undoes alk_connection_open at once, for whoever opened it and holds its only other reference. */
void connection_abandon(alk_connection *c);
const char *connection_remote(const alk_connection *c);
/* The largest envelope that the remote may send now. */
uint32_t connection_message_limit(const alk_connection *c);
bool connection_may_run(const alk_connection *c);
/* Whether its account has room for what runs, when many small requests do. */
bool connection_has_room(const alk_connection *c);
/* The call hears of it (call_make_room) when its stream has room again. false: out of memory. */
bool connection_await(alk_connection *c, alk_call *call);
/* The remote's call begins: it is listed, and holds c until it has ended. false: out of memory. */
bool connection_list(alk_connection *c, alk_call *call);
/* Likewise one of ours; and undone, when its request could not be sent. */
bool connection_list_outgoing(alk_connection *c, alk_call *call);
void connection_forget(alk_call *call);
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
/* Others see how many of our calls it has. */
void connection_tell_pending(const alk_connection *c);
/* attach.c */
/* What the connection was made a peer by has changed, or is gone. */
void connection_recheck(struct watcher *w, bool gone);
/* It serves something else: others see it so too. */
void connection_serves(alk_connection *c);
/* It is none of a peer any more; harmless where it was none. */
void connection_detach(alk_connection *c);
/* What other dispatchers see of it; NULL: out of memory. */
struct line *connection_line(alk_connection *c);

#endif
