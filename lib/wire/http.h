/* What HTTP/1.1 and HTTP/2 have in common, seen by the application above them (the gateway).
 *
 * An exchange is one request and its response. The engine owns it; it lives from on_head until
 * on_close has returned. The application may answer from inside any of its callbacks or later, but
 * never touches an exchange after on_close. The engine calls the application only from its own
 * feed / timeout / drained / fini, and never calls on_close from inside end:
 * a finished exchange is closed by the engine's next step (for HTTP/1.1 before the next pipelined
 * request is looked at), so the application is not re-entered. */
#ifndef ALK_WIRE_HTTP_H
#define ALK_WIRE_HTTP_H

#include "base/str.h"

#include <stdint.h>

struct engine;
struct meter;

struct http_header {
    struct str name;  /* lower case */
    struct str value; /* without surrounding white space */
};

/* Valid until on_close. Slices point into memory of the exchange. What a client chose is bounded by
 * http_limits, and nothing of it has been decoded. */
struct http_request {
    struct str method;
    struct str path;  /* raw: not decoded, from the first '/' up to '?'; "*" for OPTIONS * */
    struct str query; /* raw, without '?' ; p is NULL when there was none */
    struct str host;  /* the effective one: of an absolute-form target, else the Host field */
    const struct http_header *headers;
    size_t header_count;
    uint64_t content_length; /* 0 when chunked or absent */
    bool has_body;           /* a non-zero length, or chunked */
    bool chunked;
    bool https;    /* its target has the scheme https, where a target has one */
    uint8_t minor; /* HTTP/1.minor; 2 for HTTP/2 */
    /* Of an extended CONNECT (RFC 8441), whose method is shown as GET, which is what it asks for;
     * p is NULL when it is none. */
    struct str protocol;
};

struct http_exchange;

struct http_exchange_ops {
    /* Lets body bytes flow to on_body, at most limit in all (then on_error 413); sends 100 Continue
     * when the client waits for it. on_body_end follows, also where there is no body. Without this
     * call the body is not read, and the connection (multiplexed: the stream) closes after the
     * answer. Once. */
    void (*read_body)(struct http_exchange *x, uint64_t limit);
    /* Starts a response. The engine adds Date, Content-Length or chunked coding, and Connection.
     * length: of the body that follows, or HTTP_LENGTH_UNKNOWN. HEAD requests, 204 and 304 get no
     * body bytes, whatever is written. header names are written as given; HTTP/2 has them in lower
     * case and drops those that concern a connection. 0, or -1 out of memory (the engine then
     * resets the connection; multiplexed: the stream). */
    int (*start)(struct http_exchange *x, int status, const struct http_header *headers, size_t n,
                 uint64_t length);
    int (*write)(struct http_exchange *x, const char *data, size_t len);
    /* Ends the response. */
    void (*end)(struct http_exchange *x);
    /* Ends it as a visible failure: the body is cut, so that the client knows it is not whole. */
    void (*reset)(struct http_exchange *x);
    /* Bytes written and not yet taken by the wire; multiplexed: by the connection's output. */
    size_t (*queued)(const struct http_exchange *x);
    /* In place of start: the client's Upgrade is granted, with these headers, and the byte stream
     * (multiplexed: the exchange's) goes to next; the exchange is complete. Not when bytes came
     * early. -1: the connection is ending, or out of memory; the application still owns next, and
     * answers. */
    int (*upgrade)(struct http_exchange *x, const struct http_header *headers, size_t n,
                   struct engine *next);
    /* Who pays for the output from now on, also for what there is; m outlives the connection
     * (multiplexed: until on_close), or the next call. NULL: nobody counts. Without room, what is
     * written fails as without memory. */
    void (*charge)(struct http_exchange *x, struct meter *m);
    /* The connection closes after this response (Connection: close). Before start. */
    void (*close_after)(struct http_exchange *x);
};

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_exchange {
    const struct http_exchange_ops *ops;
    struct http_request req;
    bool early;       /* bytes came behind the head before it was answered: no upgrade */
    bool multiplexed; /* it has an output of its own, and others run on the connection beside it */
    void *data;       /* the application's */
};

/* Limits and times of a server; the engine reads them through the pointer at each use. */
struct http_limits {
    uint32_t header_bytes; /* of the fields with their line ends */
    uint32_t header_count, url_bytes;
    uint64_t header_timeout, body_timeout, keepalive_timeout; /* ns; 0: none */
    uint64_t write_timeout; /* ns without progress of a response; 0: none */
    uint32_t write_rate;    /* bytes per second of these, at least; 0: any */
    uint32_t write_high;    /* queued bytes; at half of it or below: on_writable */
    uint32_t streams;       /* HTTP/2: exchanges of a connection at a time */
    uint32_t resets;        /* HTTP/2: of these, ended in error by the client in a minute; 0: any */
    char date[32]; /* the value of Date, refreshed by the owner each second; "": none is sent */
};

/* The application. ud is the application's per-connection value from on_open. */
struct http_app {
    void (*on_head)(struct http_exchange *x, void *ud);
    /* A piece of the body; pieces sum up to at most the limit of read_body. */
    void (*on_body)(struct http_exchange *x, const char *data, size_t len, void *ud);
    void (*on_body_end)(struct http_exchange *x, void *ud);
    /* queued() was above write_high and is at most half of it again. */
    void (*on_writable)(struct http_exchange *x, void *ud);
    /* The request is wrong, too slow, or finds no room (503): status 400, 408, 413, 414, 417, 431,
     * 501, 503, 505; what says why, for a person. x->req may be partly filled (zeros). The
     * application answers, now; the connection (multiplexed: the stream) closes. When a response
     * had started already the engine just resets and this is not called; on_close is. */
    void (*on_error)(struct http_exchange *x, int status, const char *what, void *ud);
    /* HTTP/1: the client has ended its side while a response is under way. It reads on, or has
     * gone: what is written now finds out. */
    void (*on_half_closed)(struct http_exchange *x, void *ud);
    /* Once for every exchange, last. complete: the whole response went into the output. Otherwise
     * the client is gone or was cut: cancel what runs. */
    void (*on_close)(struct http_exchange *x, bool complete, void *ud);
};

/* The first one; name is in lower case. Requests have few fields, so a walk is enough. */
static inline const struct http_header *http_find(const struct http_request *r, const char *name,
                                                  size_t n)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (str_eq(r->headers[i].name, (struct str){name, n}))
            return &r->headers[i];
    }
    return NULL;
}

#endif
