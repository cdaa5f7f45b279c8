/* A session: a call connection over a byte stream, whichever side opened it; the link between the
 * two. Its envelopes are the messages of a WebSocket, or they are framed (framed.h). */
#ifndef ALK_ADAPT_SESSION_H
#define ALK_ADAPT_SESSION_H

#include "core/connection.h"
#include "wire/ws.h"

struct alk_request;
struct gate_conn;

struct session {
    struct alk_dispatcher *d;
    struct ws *ws; /* of a WebSocket */
    struct engine *engine;
    alk_connection *conn; /* a reference */
    int code;             /* why it ended: a close code of RFC 6455; 0: it has not */
    /* The session is over; from the engine, or from the connection's turn. Once. why: what was said
     * with the code, of either side's. */
    void (*on_over)(struct session *s, struct str why);
    /* The byte stream is gone, always, last: the owner frees s, after session_fini. */
    void (*on_gone)(struct session *s);
    bool client;
};

/* Opens the connection, by that credential (NULL: nobody's), and the engine of a WebSocket.
 * o->websocket and o->message_bytes are set here. 0, or as alk_connection_open. The callbacks,
 * client and d are set before; after a failure there is nothing to undo. */
int session_open(struct session *s, struct mem *mem, struct ws_pool *pool,
                 const struct ws_limits *limits, alk_connection_options *o, struct credential *by);
/* Undoes session_open for an engine that no transport has; on_over and on_gone do not run. */
void session_abandon(struct session *s);
/* Lets go of the connection. */
void session_fini(struct session *s);

/* For what is between engine and connection. */
/* It has ended, with that code: on_over, once. */
void session_over(struct session *s, int code, struct str why);
/* The close code of RFC 6455 for one of ALK_CLOSE_. */
int session_code(const struct session *s, int code);

/* session_accept.c: makes the request of an upgrade a session; what the gateway calls for
 * /alknet/call. */
void serve_session(struct alk_request *r);
/* Likewise the engine of a stream that speaks the call protocol: struct gateway_above. */
struct engine *serve_calls(struct gate_conn *c, const char *fingerprint, uint64_t now);
struct quic_conn;
struct quic_events;
bool serve_quic(struct gate_conn *c, struct quic_conn *q, const struct quic_events **events,
                void **ud);

#endif
