/* Shared by the files of the gateway:
 *   gateway.c        options, the gateway's life, connections
 *   streams.c        what speaks on a connection: TLS, HTTP/1.1 and 2, the call protocol
 *   request.c        the life of a request: what is asked of its head, its body, its calls
 *   engine_limits.c  the limits of engines; its header is engine_limits.h
 *   check.c          tokens, hosts, origins
 *   names.c          how these are read and compared; its header is names.h
 *   routes.c         the fixed routes: requests into calls
 *   reply.c          answers: values, faults, the decoy's look
 *   status.c         codes and HTTP's statuses
 *   openapi.c        what all of this is, as OpenAPI; its header is openapi.h
 *   openapi_errors.c the part of it that operations have: their errors
 *   batch.c          /batch
 *   static_site.c    the decoy's static site
 *   custom.c         the embedder's routes
 *   ws.c             upgrades to WebSocket; its header is ws.h
 *   events.c         the embedder's event gateways: their routes and the lives of their clients
 *   event_client.c   what the embedder does with a client
 *
 * A request lives from on_head to on_close of its exchange, and beyond it as long as a call of it
 * does. After on_close its exchange is NULL and its calls have been aborted. */
#ifndef ALK_GATEWAY_GATEWAY_INT_H
#define ALK_GATEWAY_GATEWAY_INT_H

#include "core/call.h"
#include "gateway/names.h"
#include "wire/h1.h"
#include "wire/transport.h"
#include "wire/ws.h"

#define WHY_SIZE 96u             /* of a text that says what is wrong with a request */
#define RESPONSE_HEADERS_MAX 32u /* that a custom route may set */
#define JSON_TYPE "application/json"
/* A static struct str; C allows no compound literal there. */
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
#define STR(literal) ((struct str)STR_INIT(literal))

struct route {
    struct str method, path;
    /* Runs when the whole request has been read. */
    void (*serve)(struct alk_request *r);
    bool json;          /* has a body, which must be application/json */
    bool event_get;     /* a GET whose answer is a stream: no HEAD */
    bool health;        /* for probes: whoever asks is answered, with any token or none */
    bool authenticated; /* wants an identity */
    bool mcp;           /* where MCP is served */
    /* The subprotocol of a route that upgrades to WebSocket; NULL: it does not. */
    const char *protocol;
    int (*handler)(alk_request *r, void *ud); /* of a custom route */
    void *ud;
};

struct gate_conn;

/* What call connections are made by: handed in, since they stand above the gateway. */
struct gateway_above {
    /* Upgrades a request of /alknet/call. */
    void (*serve_session)(struct alk_request *r);
    /* The engine of a stream that speaks the call protocol (ALPN alknet/call), for a client whose
     * certificate has that fingerprint, "": none. NULL: refused, or out of memory; c stays. */
    struct engine *(*serve_calls)(struct gate_conn *c, const char *fingerprint, uint64_t now);
    /* Likewise a connection of QUIC, which begins: false: out of memory. */
    bool (*serve_quic)(struct gate_conn *c, struct quic_conn *q, const struct quic_events **events,
                       void **ud);
    /* MCP at /mcp. close: the request is gone; free: a gateway that has mcp_service is. */
    void (*mcp_serve)(struct alk_request *r);
    void (*mcp_close)(struct alk_request *r);
    void (*mcp_free)(struct alk_gateway *g);
};

struct alk_gateway {
    struct service service; /* first: see below */
    struct alk_dispatcher *d;
    struct mem mem;
    struct arena arena; /* options and routes */
    struct name_list hosts, origins, proxies;
    uint32_t decoy;
    struct str decoy_target;
    bool stealth, ready, websocket;
    bool anonymous_peers;
    bool metrics;                    /* serves nothing else */
    uint32_t mcp;                    /* ALK_MCP_... */
    struct mcp_service *mcp_service; /* NULL: not needed yet */
    struct str tenant_header;
    struct session_hooks {
        void (*on_connect)(void *ud, const alk_session *s);
        void (*on_disconnect)(void *ud, const alk_session *s, int code);
        void *ud;
    } hooks;
    struct route health;
    struct route *custom; /* fixed before the first request: requests point into it */
    size_t custom_count;
    struct list events; /* event gateways */
    struct http_limits limits;
    struct ws_limits ws_limits;
    struct ws_pool ws_pool;
    struct list conns;
    struct list busy;          /* connections that may have something queued */
    uint64_t queued;           /* bytes, as last measured */
    struct alk_request *spare; /* one to use again */
    struct gateway_above above;
};

/* The transport takes the one for the other. */
_Static_assert(offsetof(struct alk_gateway, service) == 0, "a gateway begins with its service");

/* One connection: what its requests share. An upgrade does not end it: whoever then speaks on the
 * stream has it, until the stream is gone. */
struct gate_conn {
    struct alk_gateway *g;
    struct mem *mem; /* of its engines */
    struct list link, requests;
    /* References. account is of its address, and pays for what has no better payer; client, behind
     * a trusted proxy, is of the address that asked last; paying is who pays for the output that
     * waits. by is the last credential that was presented, as most clients present the same with
     * each request. */
    struct account *account, *client, *paying;
    struct credential *by;
    struct credential *user; /* of uid; NULL: not asked for yet, or nobody */
    uint32_t uid;            /* who is at the other end */
    bool has_uid, is_proxy;
    bool local_is_ip, local_is_near; /* near: nobody comes to it from another machine */
    bool http;                       /* not a WebSocket by now */
    /* Holds one of the node's connections, to be given back at the end. An upgrade to a session
     * leaves that to the call connection, which counts itself. */
    bool counted, opened; /* opened: it counts for its address */
    bool secure;          /* its TLS has been agreed on */
    alk_tls *tls;         /* a reference; NULL: in clear */
    /* Whose output counts as what waits for clients; NULL: it is a session's, whose call connection
     * counts it. */
    struct engine *engine;
    struct list busy;
    struct ip local; /* to which it came, unless by a Unix-domain socket */
    char remote[64];
};

struct batch;
struct site;
struct mcp;
struct mcp_service;

/* One request; see request.c for its life. */
struct alk_request {
    struct alk_gateway *g;
    struct gate_conn *conn;
    struct list link;          /* in conn->requests */
    struct http_exchange *x;   /* NULL once closed */
    struct gate_conn *stream;  /* of an upgrade: what it takes over */
    const struct route *route; /* NULL: the decoy */
    /* References; by is NULL for nobody. identity is what by proved when the request came: the
     * embedder may hold it as long as the request. */
    struct account *payer;
    struct credential *by;
    const alk_identity *identity;
    struct watcher on_by;
    struct str token; /* as presented; in the exchange, or in the arena of msg */
    struct offer {    /* of subprotocols */
        bool protocol, bearer;
        const char *fault;
    } offer;
    struct str origin, traceparent;
    char id[ID_SIZE];
    char trace[56];  /* a copy of traceparent */
    char client[64]; /* the address that asks: the connection's, or what its trusted proxy says */
    uint32_t timeout_ms;
    struct msg *msg; /* the body, then of the call */
    char *body;
    size_t body_len, body_cap;
    alk_call *call; /* a reference, while it runs */
    struct batch *batch;
    struct site *site;
    struct mcp *mcp;
    struct timer heartbeat;
    struct task task;
    struct list calls; /* of a custom route */
    void (*on_close)(alk_request *r, int complete, void *ud);
    void *on_close_ud;
    void (*on_drain)(alk_request *r, void *ud);
    void *on_drain_ud;
    int refs; /* the exchange, and each call */
    bool cors, started, ended, blocked, complete;
};

/* gateway.c */
int gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o,
                const struct gateway_above *above, char *err, size_t err_size);
/* A connection is gone, or the WebSocket that it became. */
void gate_conn_fini(void *ud);
/* The record of a stream within c, for whoever speaks on it as on a connection, and counted as one
 * of its address; NULL: over that limit, or out of memory. */
struct gate_conn *gate_conn_branch(const struct gate_conn *c);
/* Whose connection it is. */
void gate_conn_name(struct gate_conn *c, const char *address);
/* Whether the address that c->remote is may have one more connection, which c is then. */
bool gate_conn_admit(struct gate_conn *c);
/* Who pays for what that client asks while nobody is identified. */
struct account *gate_payer(struct gate_conn *c, const char *client);
/* Something is being written to it. */
static inline void gate_busy(struct gate_conn *c)
{
    if (list_empty(&c->busy))
        list_push(&c->g->busy, &c->busy);
}

/* streams.c */
/* The first engine of an accepted connection; NULL: out of memory. gate_conn_fini follows from the
 * last one. */
struct engine *stream_open(struct gate_conn *c, const struct peer_info *p, uint64_t now);

/* request.c */
extern const struct http_app request_app;

/* A call for a request. */
struct invocation {
    struct msg *msg; /* taken over */
    struct str operation;
    yyjson_val *input;           /* in msg, as operation is */
    const char *id;              /* of ID_SIZE */
    const struct target *target; /* NULL: looked up */
    const struct call_sink *sink;
    void *sink_ud;
    uint32_t timeout_ms; /* 0, ALK_NO_TIMEOUT: none; the request may have a shorter one */
    uint8_t want;
};

/* NULL, or what is wrong: v has a member that is not in known. */
const char *request_unknown(yyjson_val *v, const char *const *known, char why[WHY_SIZE]);
/* Reads {"operation","input"?} into i, where they point into v; NULL, or what is wrong with it. */
const char *request_invocation(yyjson_val *v, struct invocation *i, char why[WHY_SIZE]);
/* As call_start. A call that starts holds a reference on r, which its end lets go by
 * request_unref. */
alk_call *request_start(struct alk_request *r, const struct invocation *i);
/* The one call of a whole request, whose message becomes the call's, and whose id is its own: what
 * comes of it is the answer. A call that was refused has answered, and has let go of r, before this
 * returns; NULL then, and where there was no memory, which has been answered. Else it is r->call. */
alk_call *request_call(struct alk_request *r, struct invocation *i);
void request_unref(struct alk_request *r);
/* How many bytes a body may have. */
uint64_t body_limit(const alk_node *n, bool identified);

/* check.c */
void gate_forget_token(struct gate_conn *c);
/* The field of that name when there is exactly one. */
const struct http_header *request_field(const struct http_request *q, const char *name);
/* AUTH_OK: the presented token resolves, or there is none. AUTH_FAILED: it does not; AUTH_BUSY:
 * likewise, and its address has failed too often. */
enum auth { AUTH_OK, AUTH_FAILED, AUTH_BUSY, AUTH_NO_MEMORY };
enum auth request_authenticate(struct alk_request *r);
/* Finds out who the client is. */
void request_read_client(struct alk_request *r);
bool request_host_served(const struct alk_request *r);
/* Same host, or on the allow-list (then r->cors). */
bool request_origin_allowed(struct alk_request *r);
/* The answers where one of the two is not so: what was compared, and what adds it. */
void request_refuse_host(struct alk_request *r);
void request_refuse_origin(struct alk_request *r);
void request_log(struct alk_request *r, const char *event, const char *what);

/* reply.c */
/* A whole response with the headers that every answer has. type may be NULL for no body. */
void reply(struct alk_request *r, int status, const char *type, const char *body, size_t len,
           const struct http_header *extra, size_t extra_count);
void reply_value(struct alk_request *r, const char *text, size_t len);
/* The fault of a call that has ended without a value. */
void reply_failure(struct alk_request *r, const alk_call *c);
/* A fault of the gateway's own, with the code that goes with the status. */
void reply_error(struct alk_request *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Starts a response of unknown length with the headers that every answer has. */
int reply_start(struct alk_request *r, int status, const struct http_header *extra,
                size_t extra_count);
void reply_decoy(struct alk_request *r);
/* What the decoy says to a request that it cannot read. */
void reply_decoy_error(struct alk_request *r, int status);

/* status.c */
/* The status of f, with which c has ended. */
int status_of_call(const alk_call *c, const alk_fault *f, bool identified);
/* That of an error which an operation declares; 0: its code is the protocol's own, which no
 * operation may use. */
int status_of_declared(const struct error_spec *e);
/* Of a text that msg_parse has not taken, for rc. No memory is our trouble and passes: 503. Too many
 * values are too large a body, however few its bytes: 413. */
int status_of_text(int rc, const struct json_error *je);
/* Whether operations may fail with it. */
bool status_passes(int status);
const char *code_of_status(int status);

/* routes.c */
extern const struct route gateway_routes[];
extern const size_t gateway_route_count;
extern const struct route metrics_route; /* of a gateway that serves nothing else */
/* The body as JSON; NULL: it has been answered. */
yyjson_val *parse_body(struct alk_request *r);
void event_heartbeat(struct timer *t, uint64_t now);

/* The one header of an upgrade that depends on the request (p NULL: it has none), and those of
 * every answer. 0: the exchange has ended. */
int reply_upgrade(struct alk_request *r, struct engine *next, struct str accept);

/* batch.c */
void serve_batch(struct alk_request *r);
/* Runs the calls of list, which lies in r's message. What is wrong with them, maybe in why; NULL:
 * done gets {"results":[]}, or NULL out of memory, and may have got it when this returns. */
typedef void batch_done(struct alk_request *r, const char *json, size_t len);
const char *batch_start(struct alk_request *r, yyjson_val *list, batch_done *done,
                        char why[WHY_SIZE]);
void batch_abort(struct alk_request *r);

/* static_site.c */
void site_serve(struct alk_request *r);
void site_more(struct alk_request *r);
void site_abort(struct alk_request *r);

/* custom.c */
/* Adds a copy of a route of the embedder's; errors as alk_gateway_add_route. */
int route_add(struct alk_gateway *g, const struct route *route);
void custom_close(struct alk_request *r, bool complete);

/* events.c */
/* The limits of the node, or of the gateway, have changed. */
void events_limits(struct alk_gateway *g);
void events_free(struct alk_gateway *g);

#endif
