/* The HTTP gateway: the fixed routes that front a registry, plus the embedder's own raw routes.
 * Owned by one dispatcher's thread. Routes, statuses and headers: docs/http.md. RFC 9110, RFC
 * 9112. */
#ifndef ALKNET_GATEWAY_H
#define ALKNET_GATEWAY_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_gateway alk_gateway;
typedef struct alk_request alk_request;

#define ALK_DECOY_NOT_FOUND 0
#define ALK_DECOY_STATIC_SITE 1
#define ALK_DECOY_REDIRECT 2

#define ALK_MCP_NONE 0
#define ALK_MCP_FIXED 1  /* four tools that front the registry: search, schema, call, batch */
#define ALK_MCP_DIRECT 2 /* these, and a tool for each operation that the caller may call */

/* A WebSocket session at /alknet/call, or a TLS stream of the call protocol (ALPN alknet/call);
 * valid during the callback. Of a client of an event gateway, too: alk_client_session. Absent
 * strings are NULL. */
typedef struct alk_session {
    uint32_t size;                /* set by the library */
    alk_connection *connection;   /* the handle: alk_connection_ref keeps it; NULL: of a client */
    const alk_identity *identity; /* NULL: nobody, on a TLS stream without a certificate */
    const char *tenant;           /* the tenant header's value */
    const char *traceparent;      /* of the upgrade request */
    const char *remote;           /* the client's address */
} alk_session;

typedef struct alk_gateway_options {
    uint32_t size;            /* set by alk_gateway_options_init */
    uint32_t decoy;           /* ALK_DECOY_NOT_FOUND */
    const char *decoy_target; /* the directory, or the URL to redirect to */
    uint32_t stealth;        /* 1: without a valid token every route but health_path is the decoy */
    const char *health_path; /* "/healthz" */
    /* JSON array of hosts that are served besides the addresses listened on: "app.example" at any
     * port, "app.example:8443"; "*" = any. Here and below, an entry that could never match is
     * ALK_EINVAL. NULL: none, but for loopback names where the listener is local. */
    const char *hosts;
    /* JSON array: allow-list of foreign origins, "https://app.example". */
    const char *origins;
    /* JSON array of numeric addresses and networks, "10.0.0.0/8", or "unix" for whoever comes by a
     * Unix-domain socket: what they say in Forwarded (RFC 7239) about the client's address counts
     * for limits and the log; of others it is ignored. */
    const char *trusted_proxies;
    /* 1 (default): GET /alknet/call upgrades to a session, and TLS streams may speak the call
     * protocol. */
    uint32_t websocket;
    /* 1: this gateway serves GET /metrics (the node's, for Prometheus, whoever asks) and
     * health_path, and nothing else: for a listener of its own. */
    uint32_t metrics;
    /* Name of a header of upgrade requests, which is on the session; one of more than 256 bytes,
     * or twice, is none. NULL: none. Not authorization, not sec-websocket-protocol. */
    const char *tenant_header;
    /* A session exists: before the first of its calls. */
    void (*on_connect)(void *ud, const alk_session *s);
    /* It has ended, once for each on_connect; code: the close code of RFC 6455, 1006 without
     * one. */
    void (*on_disconnect)(void *ud, const alk_session *s, int code);
    void *session_ud;
    /* 1: who shows a key or certificate that belongs to nobody is served as nobody, over QUIC and
     * alknet/call over TLS. 0 (default): is refused. */
    uint32_t anonymous_peers;
    /* What /mcp serves (docs/mcp.md): ALK_MCP_FIXED (default), ALK_MCP_DIRECT, or ALK_MCP_NONE. */
    uint32_t mcp;
} alk_gateway_options;

ALK_API void alk_gateway_options_init(alk_gateway_options *o, size_t size);
/* o: NULL for the defaults. ALK_EINVAL (err, when given, says what), ALK_EJSON, ALK_ENOMEM. */
ALK_API int alk_gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o,
                            char *err, size_t err_size);
/* After the loop that served it is closed. */
ALK_API void alk_gateway_free(alk_gateway *g);
/* /readyz says 200 from now on (1, the default) or 503 (0). */
ALK_API void alk_gateway_set_ready(alk_gateway *g, int ready);

/* ---- custom routes --------------------------------------------------------------------------- */

/* A raw request on a custom route; belongs to the library; lives until on_close has returned.
 * The body has been read, up to body_bytes. */
typedef struct alk_route {
    uint32_t size;          /* sizeof(alk_route) */
    uint32_t authenticated; /* 1: requests without identity get 401 */
    const char *method;     /* exact */
    const char *path;       /* exact; a reserved path is ALK_EEXIST */
    /* Answers now or later. Negative without having started an answer: 500. */
    int (*handler)(alk_request *request, void *ud);
    void *ud;
} alk_route;

/* Before the first server is opened. ALK_EEXIST, ALK_EINVAL (also when one is open, and of a
 * gateway for metrics), ALK_ENOMEM. */
ALK_API int alk_gateway_add_route(alk_gateway *g, const alk_route *route);
ALK_API const char *alk_request_body(const alk_request *r, size_t *len);
/* name in lower case; NULL when absent. Authorization is never given out. */
ALK_API const char *alk_request_header(const alk_request *r, const char *name, size_t *len);
/* Raw; NULL when there is none. */
ALK_API const char *alk_request_query(const alk_request *r, size_t *len);
/* Of the token; NULL: none. Valid as long as the request. */
ALK_API const alk_identity *alk_request_identity(const alk_request *r);
/* fn runs once: the answer is out (complete 1) or the client is gone (0). */
ALK_API void alk_request_on_close(alk_request *r,
                                  void (*fn)(alk_request *r, int complete, void *ud), void *ud);
/* fn runs once after an ALK_EAGAIN of alk_response_write. */
ALK_API void alk_request_on_drain(alk_request *r, void (*fn)(alk_request *r, void *ud), void *ud);
/* headers: "Name: value\r\n" lines. ALK_EINVAL (a second time, a bad status, a header that the
 * library sets), ALK_ENOMEM. */
ALK_API int alk_response_start(alk_request *r, int status, const char *headers, size_t len);
/* ALK_EAGAIN above the high-water mark: nothing taken. ALK_EINVAL (not started, ended),
 * ALK_ENOMEM. */
ALK_API int alk_response_write(alk_request *r, const void *data, size_t len);
/* ALK_EINVAL (not started, ended, or the client is gone). */
ALK_API int alk_response_end(alk_request *r);
/* Calls an operation with the request's identity through the same checks as every route; aborted
 * when the client goes. o->traceparent is the request's own. ALK_EJSON, ALK_EINVAL (the client
 * is gone), ALK_ELIMIT (the message budget), ALK_ENOMEM. */
ALK_API int alk_request_call(alk_request *r, const char *operation, size_t operation_len,
                             const char *input, size_t input_len, const alk_call_options *o,
                             alk_call **out);

/* ---- event gateways -------------------------------------------------------------------------- */

/* A WebSocket route of the embedder's that speaks text messages {"event": string, "data": any},
 * and the registry of its clients. Lives as long as the gateway. Those of one path, of gateways on
 * several loops of one node, are one: what is sent on one reaches the clients of all, in order. The
 * clients of a loop that was held up, so that too much waited for it, are closed (1013), as slow
 * ones are. A client may offer the
 * subprotocol alknet.events.v1, which is then selected, and with it its token, as at
 * /alknet/call. Sockets count against limits.websocket_sessions like every other.
 *
 * Life of a client: it is registered; on_connect runs; its events are handled in the order of their
 * arrival, one at a time; on_disconnect runs once; it is unregistered.
 *
 * Events that had arrived when the socket ended are still handled. There are three exceptions:
 * alk_client_close ended the socket, a revoked token ended it, or an event was not done yet. In
 * each of them what waits is dropped.
 *
 * In a graceful stop a client is closed (1001) when its events and calls are done. The URL of an
 * upgrade has no query (400). A text message that is no such object, one with an unknown event, and
 * a binary one are ignored; a missing data is null. */
typedef struct alk_events alk_events;
/* One socket. Valid in callbacks, and up to its on_disconnect; alk_client_ref keeps the handle,
 * of which every function then says ALK_ECLOSED. */
typedef struct alk_client alk_client;

typedef struct alk_events_options {
    uint32_t size;          /* sizeof(alk_events_options) */
    uint32_t authenticated; /* 1: upgrades without identity get 401 */
    const char *path;       /* exact; a reserved path is ALK_EEXIST */
    /* Of a received message; 0: websocket_bytes. Without identity, anonymous_bytes at most. */
    uint32_t message_bytes;
    /* How much may wait for one client, beyond one message; 0: queue_max. A client that reads too
     * slowly for it is closed (1013). Others do not notice. */
    uint32_t queue_bytes;
    void (*on_connect)(alk_client *c, void *ud);
    /* code: the close code of RFC 6455, 1005 and 1006 included. Not without on_connect's having
     * been called. */
    void (*on_disconnect)(alk_client *c, int code, void *ud);
    void *ud;
} alk_events_options;

/* Before the first server is opened. ALK_EEXIST, ALK_EINVAL (also when one is open, and of a
 * gateway for metrics), ALK_ENOMEM. */
ALK_API int alk_gateway_add_events(alk_events **out, alk_gateway *g, const alk_events_options *o);

/* Returns 0 when the event is done, or ALK_EAGAIN when it goes on: it is then done when
 * alk_client_next is called, or at on_disconnect. Until an event is done its data stays valid, and
 * no other event of this client is handled. Other codes are failures: they are logged and counted,
 * and the client goes on. */
typedef int (*alk_event_handler)(alk_client *c, const alk_value *data, void *ud);
/* Before the first server is opened. ALK_EEXIST, ALK_EINVAL (also when one is open, and an empty
 * name), ALK_ENOMEM. */
ALK_API int alk_events_on(alk_events *ev, const char *event, alk_event_handler fn, void *ud);
/* Ends the event whose handler said, or is about to say, ALK_EAGAIN. ALK_EINVAL (there is none),
 * ALK_ECLOSED. */
ALK_API int alk_client_next(alk_client *c);

/* Queues one event. ALK_EINVAL (event is empty or not UTF-8), ALK_EJSON, ALK_ELIMIT
 * (output_bytes), ALK_ECLOSED (it has ended, or has been evicted by this), ALK_ENOMEM. */
ALK_API int alk_client_send(alk_client *c, const char *event, size_t event_len, const char *json,
                            size_t json_len);
/* To those of the ids that are connected. sent (may be NULL): to how many of this loop's; other
 * loops send to theirs in a turn of their own. ALK_EINVAL, ALK_EJSON, ALK_ELIMIT: to nobody;
 * ALK_ENOMEM: not to all. */
ALK_API int alk_events_send_many(alk_events *ev, const char *const *ids, size_t count,
                                 const char *event, size_t event_len, const char *json,
                                 size_t json_len, size_t *sent);
/* Likewise, to every client. */
ALK_API int alk_events_send_all(alk_events *ev, const char *event, size_t event_len,
                                const char *json, size_t json_len, size_t *sent);
/* The registered client of that id on this loop; NULL: there is none. */
ALK_API alk_client *alk_events_find(const alk_events *ev, const char *id, size_t len);
/* Registered ones, of all loops. */
ALK_API size_t alk_events_count(const alk_events *ev);

/* Counts as a sign of life, for limits.idle_ms. ALK_ECLOSED. */
ALK_API int alk_client_touch(alk_client *c);
/* code: 1000, 1001, 1008, 1011, 1013 or 3000 to 4999, else ALK_EINVAL. ALK_ECLOSED.
 * on_disconnect follows. */
ALK_API int alk_client_close(alk_client *c, int code);
/* Calls an operation with the client's identity through the same checks as every route; aborted
 * behind on_disconnect. o->traceparent, or else the client's. ALK_ECLOSED, ALK_EJSON, ALK_EINVAL
 * (o->traceparent), ALK_ELIMIT (the message budget; connection_calls of this client running),
 * ALK_ENOMEM. */
ALK_API int alk_client_call(alk_client *c, const char *operation, size_t operation_len,
                            const char *input, size_t input_len, const alk_call_options *o,
                            alk_call **out);
ALK_API alk_client *alk_client_ref(alk_client *c);
ALK_API void alk_client_unref(alk_client *c);
/* A random UUID. */
ALK_API const char *alk_client_id(const alk_client *c);
/* Who it is, of its upgrade request. The identity is replaced when the provider's answers change:
 * keep it with alk_identity_ref. size: sizeof *out. Also after the end. */
ALK_API void alk_client_session(const alk_client *c, alk_session *out, size_t size);
/* The application's own; NULL at first. Also after the end. */
ALK_API void alk_client_set_data(alk_client *c, void *data);
ALK_API void *alk_client_data(const alk_client *c);

#ifdef __cplusplus
}
#endif

#endif
