/* Requests over HTTP to other servers: what the loop's layer (lib/uv) does for whoever asks a
 * foreign service (the importers of lib/adapt), as functions of struct transport, so that neither
 * knows the other's files.
 *
 * A request goes to the origin of its URL (RFC 6454) and nowhere else: a redirect is followed
 * within that origin only, and the address that the host's name leads to is looked at where the
 * socket is opened. So what a caller, a document or a server says can never send anything, and
 * least of all a credential, to a place that nobody has configured. */
#ifndef ALK_WIRE_FETCH_H
#define ALK_WIRE_FETCH_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct fetch;

struct fetch_request {
    const char *method; /* a token of RFC 9110 */
    /* Absolute, http or https, percent-encoded where it must be; no user, no fragment. */
    const char *url;
    /* "Name: value\r\n" lines without other control characters; may hold secrets: never logged, and
     * wiped. The client adds Host, Content-Length, User-Agent, Accept-Encoding. */
    struct str headers;
    struct str body;         /* p NULL: none. Not copied: valid until end, or fetch_cancel */
    const char *traceparent; /* NULL: none */
    uint64_t deadline;       /* of the loop's clock, ns; UINT64_MAX: none */
    size_t response_bytes;   /* what of a body is taken, decoded, at most; 0: the client's limit */
    bool idempotent;         /* it may be sent again after a connection error or a 5xx */
    /* The body has no end by itself: there is no limit on its sum. It has a connection of its own,
     * and is not compressed. */
    bool stream;
    bool private_addresses; /* the host's name may lead to any address, not only to public ones */
};

/* How it ended. */
enum {
    FETCH_DONE,      /* the whole answer is in */
    FETCH_FAILED,    /* no answer, or not all of it: why says what */
    FETCH_REFUSED,   /* nothing was sent there: an address or a redirect that is not allowed */
    FETCH_TOO_LARGE, /* response_bytes, or the headers' limit */
    FETCH_TIMED_OUT,
    FETCH_HELD, /* nothing was sent: that host has asked to be left alone (Retry-After) */
};

/* Of the last answer, after retries and redirects. Valid during the callback. */
struct fetch_head {
    int status;
    struct str content_type; /* as it came; p NULL: none */
    struct str headers;      /* "name: value\r\n" lines, names in lower case */
    struct str url;          /* where it came from */
};

/* The value of a header field, named in lower case; p NULL: there is none. */
struct str fetch_field(const struct fetch_head *h, const char *name);

/* Called from the loop, never inside fetch_start, fetch_resume or fetch_cancel. In each of them the
 * request may be cancelled. */
struct fetch_events {
    void (*head)(void *ud, const struct fetch_head *h);
    /* false: not taken; the same bytes come again after fetch_resume, perhaps with more behind
     * them, and the server is held back meanwhile. For streams: others that share a connection of
     * HTTP/2 would be held back as well, and of a compressed answer what is unfolded already waits
     * in memory, 64 MiB at most. */
    bool (*data)(void *ud, const char *data, size_t len);
    /* Once, the last. why: for a person, without secrets; NULL for FETCH_DONE. retry_after_ms: of
     * FETCH_HELD, how long still; else 0. */
    void (*end)(void *ud, int outcome, const char *why, uint64_t retry_after_ms);
};

/* The client of a loop. */
struct fetcher {
    /* One end follows, from the loop. NULL: out of memory, or the loop closes. rq is copied but for
     * its body. */
    struct fetch *(*start)(struct fetcher *f, const struct fetch_request *rq,
                           const struct fetch_events *events, void *ud);
    void (*resume)(struct fetch *x);
    /* Valid before the end; none follows. The connection of a request under way is closed. */
    void (*cancel)(struct fetch *x);
};

#endif
