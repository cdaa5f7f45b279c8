/* Shared by the files of the gateway:
 *   gateway.c   options, connections, what is asked of every request's head, bodies, routing
 *   check.c     tokens, hosts, origins
 *   routes.c    the fixed routes: requests into calls
 *   reply.c     answers: values, faults and their statuses, the decoy's look
 *   batch.c     /batch
 *   site.c      the decoy's static site
 *   custom.c    the embedder's routes
 *   ws.c        upgrades to WebSocket, and the sessions at /alknet/call
 *   events.c    the embedder's event gateways: their routes and the lives of their clients
 *   client.c    what the embedder does with a client
 *
 * A request lives from on_head to on_close of its exchange, and beyond it as long as a call of it does. After on_close
 * its exchange is NULL and its calls have been aborted. */
#ifndef ALK_GATEWAY_GATEWAY_H
#define ALK_GATEWAY_GATEWAY_H

#include "core/call.h"
#include "wire/h1.h"
#include "wire/service.h"
#include "wire/ws.h"

#define RESPONSE_HEADERS_MAX 32u /* that a custom route may set */
#define JSON_TYPE "application/json"

struct route {
    const char *method, *path;
    size_t method_len, path_len;
    /* Runs when the whole request has been read. */
    void (*serve)(struct alk_request *r);
    bool json;      /* has a body, which must be application/json */
    bool event_get; /* a GET that calls */
    bool health;    /* no identity: probes */
    bool authenticated;
    const char
        *protocol; /* the subprotocol of a route that upgrades to WebSocket; NULL: it does not */
    int (*handler)(alk_request *r, void *ud); /* of a custom route */
    void *ud;
};

struct name_list {
    struct str *names;
    size_t count;
    bool any;
};

struct alk_gateway {
    struct service service;
    struct alk_dispatcher *d;
    struct mem mem;
    struct arena arena; /* options and routes */
    struct name_list hosts, origins, proxies;
    uint32_t decoy;
    struct str decoy_target;
    bool stealth, ready, websocket;
    bool metrics; /* serves nothing else */
    struct str tenant_header;
    struct session_hooks {
        void (*on_connect)(void *ud, const alk_session *s);
        void (*on_disconnect)(void *ud, const alk_session *s, int code);
        void *ud;
    } hooks;
    struct route health;
    struct route *custom;
    size_t custom_count;
    struct list events; /* event gateways */
    struct http_limits limits;
    struct ws_limits ws_limits;
    struct ws_pool ws_pool;
    struct list conns;
    struct list busy;          /* connections that may have something queued */
    uint64_t queued;           /* bytes, as last measured */
    struct alk_request *spare; /* one to use again */
    struct observer on_identities;
};

/* One connection. */
struct gate_conn {
    struct alk_gateway *g;
    struct list link, requests;
    struct address *address;
    bool local_is_loopback, is_proxy;
    bool counted; /* against the node's limit of connections */
    bool http;    /* not a WebSocket by now */
    struct engine *
        engine; /* whose output is measured here; NULL: that of a session is measured as its connection's */
    struct list busy;
    char *token; /* the last one that resolved, and to whom */
    size_t token_len;
    alk_identity *identity;
    uint64_t generation;
    char remote[64], local[64];
};

struct batch;
struct site;

struct alk_request {
    struct alk_gateway *g;
    struct gate_conn *conn;
    struct list link;          /* in conn->requests */
    struct http_exchange *x;   /* NULL once closed */
    const struct route *route; /* NULL: the decoy */
    alk_identity *identity;
    struct str token; /* as presented; in the exchange, or in the arena of msg */
    uint32_t kind;    /* of identity, with its flags */
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
/* A connection is gone, or the WebSocket that it became. */
void gate_conn_fini(void *ud);
void request_unref(struct alk_request *r);
/* Something is being written to it. */
static inline void gate_busy(struct gate_conn *c)
{
    if (list_empty(&c->busy))
        list_push(&c->g->busy, &c->busy);
}

/* check.c */
/* The key by which an address is counted; returns its length. */
size_t gate_rate_key(const char *address, char out[64]);
/* The identity that the token proves, a new reference; NULL: none. The connection remembers the last one. */
alk_identity *gate_identify(struct gate_conn *c, struct str token);
void gate_forget_token(struct gate_conn *c);
/* Equal but for the case of ASCII letters. */
bool gate_same_name(struct str a, const char *b, size_t n);
/* Whether the list has the name, whatever the case. */
bool gate_listed(const struct name_list *l, struct str name);
/* The field of that name when there is exactly one. */
const struct http_header *request_field(const struct http_request *q, const char *name, size_t n);
/* Resolves the presented token; false: one was presented and does not resolve, or its address has failed too often (*busy). */
bool request_authenticate(struct alk_request *r, bool *busy);
/* Finds out who the client is. */
void request_read_client(struct alk_request *r);
bool request_host_served(const struct alk_request *r);
/* Same host, or on the allow-list (then r->cors). */
bool request_origin_allowed(struct alk_request *r);
void request_log(struct alk_request *r, const char *event, const char *what);

/* reply.c */
/* A whole response with the headers that every answer has. type may be NULL for no body. */
void reply(struct alk_request *r, int status, const char *type, const char *body, size_t len,
           const struct http_header *extra, size_t extra_count);
void reply_value(struct alk_request *r, const char *text, size_t len);
/* op: what was called, for its declared statuses; may be NULL. */
void reply_fault(struct alk_request *r, const alk_fault *f, const struct operation *op);
/* The error object with a status that is not the code's own. */
void reply_error(struct alk_request *r, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Starts a response of unknown length with the headers that every answer has. */
int reply_start(struct alk_request *r, int status, const struct http_header *extra,
                size_t extra_count);
void reply_decoy(struct alk_request *r);
/* What the decoy says to a request that it cannot read. */
void reply_decoy_error(struct alk_request *r, int status);
int put_fault(struct buf *b, const alk_fault *f);

/* routes.c */
extern const struct route gateway_routes[];
extern const size_t gateway_route_count;
extern const struct route metrics_route; /* of a gateway that serves nothing else */
/* Starts a call of the request; m (taken over) and input as in struct request. The caller's sink releases the reference
 * that the call has on r; with NULL (out of memory), the caller does. */
alk_call *request_start(struct alk_request *r, struct msg *m, struct str operation,
                        yyjson_val *input, int want, const struct call_sink *sink, void *sink_ud,
                        const char *id);
/* The body as JSON; NULL: it has been answered. */
yyjson_val *parse_body(struct alk_request *r);
void event_heartbeat(struct timer *t, uint64_t now);

/* The one header of an upgrade that depends on the request, and those of every answer. 0: the exchange has ended. */
int reply_upgrade(struct alk_request *r, struct engine *next, struct str accept);

/* ws.c */
#define WS_CALL_PROTOCOL "alknet.call.v1"
/* Finds the token among the offered subprotocols, and what is wrong with them; token.p stays as it is without one. */
void ws_read_offer(struct alk_request *r, const char *protocol);
/* Whether the head is that of a proper upgrade; answers otherwise. */
bool ws_head_ok(struct alk_request *r);
/* Takes one of the node's sessions; answers otherwise. */
bool ws_admit(struct alk_request *r);
/* The request's one field of that name, copied; {NULL, 0}: none, or longer than TENANT_MAX. */
struct str ws_tenant(struct alk_request *r, struct mem *mem);
/* Grants the upgrade; false: it has been answered otherwise. */
bool ws_grant(struct alk_request *r, struct engine *next);
void serve_session(struct alk_request *r);

/* batch.c */
void serve_batch(struct alk_request *r);
void batch_abort(struct alk_request *r);

/* site.c */
void site_serve(struct alk_request *r);
void site_more(struct alk_request *r);
void site_abort(struct alk_request *r);

/* custom.c */
/* Adds a copy of a route of the embedder's, without its lengths; errors as alk_gateway_add_route. */
int route_add(struct alk_gateway *g, const struct route *route);
void custom_close(struct alk_request *r, bool complete);

/* events.c */
/* The limits of the node, or of the gateway, have changed. */
void events_limits(struct alk_gateway *g);
void events_free(struct alk_gateway *g);

#endif
