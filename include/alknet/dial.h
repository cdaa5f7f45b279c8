/* Connections that this side opens: a call connection over WebSocket (RFC 6455), or over a stream
 * of framed envelopes, kept open. A dialer belongs to the thread of its loop. */
#ifndef ALKNET_DIAL_H
#define ALKNET_DIAL_H

#include <alknet/alknet.h>
#include <alknet/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_loop alk_loop; /* alknet/uv.h */
typedef struct alk_dialer alk_dialer;

#define ALK_DIAL_OPEN 1 /* connected: calls may be made */
/* And what was to be imported and announced is; message: what failed of it, or NULL. Again when it
 * was announced anew, because something was found meanwhile (alk_node_set_discovered). */
#define ALK_DIAL_READY 2
#define ALK_DIAL_LOST 3   /* the connection has ended */
#define ALK_DIAL_FAILED 4 /* none came about */

/* Valid during the callback. */
typedef struct alk_dial_event {
    uint32_t size; /* set by the library */
    uint32_t state;
    alk_connection *connection; /* OPEN, READY, LOST: the handle */
    /* LOST: the close code of RFC 6455, or the one that says the same of a framed stream. 1005: the
     * remote has just closed, 1006: the connection was cut. */
    int32_t code;
    int32_t status;      /* FAILED: the HTTP status of the answer; 0: there was none */
    const char *message; /* what happened, for a person */
    /* LOST, FAILED: when it will be tried again, unless the dispatcher drains by then; UINT64_MAX:
     * never. */
    uint64_t retry_ms;
    /* OPEN, over TLS and QUIC: of the key or certificate that the remote has shown. NULL: none. */
    const char *fingerprint;
    /* READY: what services/announce answered, JSON: who can call what is served here, see its
     * output_schema. NULL: nothing was announced, or the answer is longer than 1 KiB. */
    const char *announced;
} alk_dial_event;

typedef struct alk_dial_options {
    uint32_t size;      /* set by alk_dial_options_init */
    uint32_t reconnect; /* 1 (default): again after each loss and failure */
    /* alknet://host[:port][#fingerprint]: over QUIC, port 4780 by default; the fingerprint,
     * ed25519:… or SHA256:…, is the server's (alk_tls_options.pin). ws://host[:port][/path] and,
     * over TLS, wss://: ports 80 and 443 and path /alknet/call by default.
     * alknet+tls://host[:port]: framed envelopes over TLS, port 4780 by default. ws+unix:PATH and
     * alknet+unix:PATH: over a Unix-domain socket, to which PATH leads. */
    const char *url;
    const char *token; /* Authorization: Bearer of the upgrade, where there is one; NULL: none */
    const char *request_token;    /* sent as auth_token with each request; NULL: none */
    const alk_identity *identity; /* what the remote is here: it calls with that; NULL: nobody */
    uint32_t kind;                /* of identity: ALK_KIND_ and its flags */
    uint32_t import;              /* 1: import what the remote serves, after each connect */
    const char *namespace_prefix; /* as in alk_import_options; of later announcements too */
    const char *operation_filter; /* likewise */
    uint32_t announce; /* 1: tell the remote that operations are served here, after each connect */
    uint32_t connect_timeout_ms; /* 10,000: to resolve, connect and upgrade */
    uint32_t retry_min_ms;       /* 250; the time between attempts doubles, and is half random, */
    uint32_t retry_max_ms;       /* 30,000: up to this */
    /* From the dispatcher's turn. NULL: nobody is told. */
    void (*on_event)(alk_dialer *dialer, const alk_dial_event *event, void *ud);
    void (*ud_free)(void *ud); /* once, when the dialer is gone; not when alk_dial failed */
    void *ud;
    /* In place of identity and kind: the remote is this peer. The identity provider is asked by
     * that id (by_peer) at each attempt, and whenever its answers change: a peer that is gone or
     * disabled is not dialled, and its connection is closed. Without both, over TLS, the remote is
     * whom the fingerprint of its certificate belongs to (by_fingerprint), if to anybody. */
    const char *peer_id;
    /* For alknet, wss and alknet+tls, a client's; a reference is kept. NULL: one without a
     * certificate, which trusts whom the system trusts. */
    alk_tls *tls;
    /* Over QUIC: 1: each call has a stream of its own, so that a lost packet holds up its own call
     * alone; 0 (default): calls share one, and each subscription has its own. */
    uint32_t stream_per_call;
    /* After a connection that was open, the first attempt begins at a random time within this:
     * those whom a server loses at one moment do not come back at one. 0 (default): after about
     * retry_min_ms. */
    uint32_t spread_ms;
} alk_dial_options;

ALK_API void alk_dial_options_init(alk_dial_options *o, size_t size);
/* Opens a connection and, unless told otherwise, keeps it open; the first attempt begins in the
 * coming turn. Copies what o points to. The loop owns it, and goes on until it is closed.
 * ALK_EINVAL (err, when given, says what), ALK_ECLOSED (draining or closing), ALK_ENOMEM. */
ALK_API int alk_dial(alk_dialer **out, alk_loop *l, const alk_dial_options *o, char *err,
                     size_t err_size);
/* Closes its connection (1000) and makes no more. ud_free follows, from the loop. */
ALK_API void alk_dialer_close(alk_dialer *dialer);
/* The present connection; NULL: none. */
ALK_API alk_connection *alk_dialer_connection(const alk_dialer *dialer);

#ifdef __cplusplus
}
#endif

#endif
