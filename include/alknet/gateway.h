/* The HTTP gateway: the fixed routes that front a registry, plus the embedder's own raw routes.
 * Owned by one dispatcher's thread. Routes, statuses and headers: docs/http.md. RFC 9110, RFC 9112. */
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

/* A WebSocket session at /alknet/call; valid during the callback. Absent strings are NULL. */
typedef struct alk_session {
    uint32_t size;
    alk_connection *connection;   /* the handle: alk_connection_ref keeps it */
    const alk_identity *identity; /* never NULL */
    const char *tenant;           /* the tenant header's value */
    const char *traceparent;      /* of the upgrade request */
    const char *remote;           /* the client's address */
} alk_session;

typedef struct alk_gateway_options {
    uint32_t size;
    uint32_t decoy;           /* ALK_DECOY_NOT_FOUND */
    const char *decoy_target; /* the directory, or the URL to redirect to */
    uint32_t stealth;        /* 1: without a valid token every route but health_path is the decoy */
    const char *health_path; /* "/healthz" */
    /* JSON array of host names that are served besides the addresses listened on; "*" = any. NULL: loopback
     * names and numeric addresses. */
    const char *hosts;
    /* JSON array: allow-list of foreign origins, "https://app.example". */
    const char *origins;
    /* JSON array of numeric addresses: what they say in Forwarded (RFC 7239) about the client's address counts
     * for limits and the log; of others it is ignored. */
    const char *trusted_proxies;
    uint32_t websocket; /* 1 (default): GET /alknet/call upgrades to a session */
    /* Name of a header of upgrade requests; up to 256 bytes of it are on the session. NULL: none. */
    const char *tenant_header;
    /* A session exists: before the first of its calls. */
    void (*on_connect)(void *ud, const alk_session *s);
    /* It has ended, once for each on_connect; code: the close code of RFC 6455, 1006 without one. */
    void (*on_disconnect)(void *ud, const alk_session *s, int code);
    void *session_ud;
} alk_gateway_options;

ALK_API void alk_gateway_options_init(alk_gateway_options *o);
/* o: NULL for the defaults. ALK_EINVAL (err, when given, says what), ALK_EJSON, ALK_ENOMEM. */
ALK_API int alk_gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o,
                            char *err, size_t err_size);
/* After the loop that served it is closed. */
ALK_API void alk_gateway_free(alk_gateway *g);
/* /readyz says 200 from now on (1, the default) or 503 (0). */
ALK_API void alk_gateway_set_ready(alk_gateway *g, int ready);

/* ---- custom routes ----------------------------------------------------------------------------- */

/* A raw request on a custom route; belongs to the library; lives until on_close has returned.
 * The body has been read, up to body_bytes. */
typedef struct alk_route {
    uint32_t size;
    uint32_t authenticated; /* 1: requests without identity get 401 */
    const char *method;     /* exact */
    const char *path;       /* exact; a reserved path is ALK_EEXIST */
    /* Answers now or later. Negative without having started an answer: 500. */
    int (*handler)(alk_request *request, void *ud);
    void *ud;
} alk_route;

/* Before the first server is opened. ALK_EEXIST, ALK_EINVAL (also when one is open), ALK_ENOMEM. */
ALK_API int alk_gateway_add_route(alk_gateway *g, const alk_route *route);
ALK_API const char *alk_request_body(const alk_request *r, size_t *len);
/* name in lower case; NULL when absent. Authorization is never given out. */
ALK_API const char *alk_request_header(const alk_request *r, const char *name, size_t *len);
/* Raw; NULL when there is none. */
ALK_API const char *alk_request_query(const alk_request *r, size_t *len);
ALK_API const alk_identity *alk_request_identity(const alk_request *r);
ALK_API alk_dispatcher *alk_request_dispatcher(const alk_request *r);
/* fn runs once: the answer is out (complete 1) or the client is gone (0). */
ALK_API void alk_request_on_close(alk_request *r,
                                  void (*fn)(alk_request *r, int complete, void *ud), void *ud);
/* fn runs once after an ALK_EAGAIN of alk_response_write. */
ALK_API void alk_request_on_drain(alk_request *r, void (*fn)(alk_request *r, void *ud), void *ud);
/* headers: "Name: value\r\n" lines. ALK_EINVAL (a second time, a bad status, a header that the library sets), ALK_ENOMEM. */
ALK_API int alk_response_start(alk_request *r, int status, const char *headers, size_t len);
/* ALK_EAGAIN above the high-water mark: nothing taken. ALK_EINVAL (not started, ended), ALK_ENOMEM. */
ALK_API int alk_response_write(alk_request *r, const void *data, size_t len);
ALK_API int alk_response_end(alk_request *r);
/* Calls an operation with the request's identity through the same checks as every route; aborted when the client goes.
 * o->traceparent is the request's own. ALK_EJSON, ALK_EINVAL, ALK_ELIMIT (the message budget), ALK_ENOMEM. */
ALK_API int alk_request_call(alk_request *r, const char *operation, size_t operation_len,
                             const char *input, size_t input_len, const alk_call_options *o,
                             alk_call **out);

#ifdef __cplusplus
}
#endif

#endif
