/* The loop's HTTP client (wire/fetch.h), on libcurl's multi interface: what its files share.
 *
 *   http.c           the client: libcurl's handles, its steps and times in the loop
 *   http_sockets.c   its descriptors
 *   http_request.c   one request: when it is sent, and what follows from how it went
 *   http_send.c      what is sent of it
 *   http_answer.c    what comes of it: for whom an answer is, and what it says
 *   http_origins.c   URLs and addresses: where requests may go, and which origins asked for a pause
 *   http_hosts.c     how many requests an origin is sent at a time
 *   http_options.c   what is configured
 *   http_fetch.c     alk_loop_fetch
 *
 * All of it, libcurl and the events of requests, happens within the loop's turn (http_step): what
 * libuv says of sockets and of time is noted until then, so that whoever is called may close the
 * loop. libcurl forbids to be called from inside of its own callbacks; what is asked for there, as
 * to cancel a request, is noted as well, and done before libcurl goes on with anything else.
 *
 * There are two pools of connections. Event streams have one of their own, since they last: they
 * take no connection from other requests, and a stream that nobody reads does not hold back others
 * that share its connection, as it would in libcurl's HTTP/2. */
#ifndef ALK_UV_HTTP_INT_H
#define ALK_UV_HTTP_INT_H

#include "base/abi.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/ip.h"
#include "base/map.h"
#include "uv/plumbing.h"
#include "wire/fetch.h"

#include <curl/curl.h>

#define ORIGIN_MAX 300u
#define HELD_MAX 256u                 /* origins that have asked for a pause */
#define HELD_WAIT (5 * SECOND)        /* of it, what a request waits for */
#define HELD_LONGEST (86400 * SECOND) /* Retry-After: more is cut */
#define REDIRECTS_MAX 5u
#define DISCARD_MAX 65536u  /* of a body that nobody wants: more, and the connection is closed, */
#define DISCARD_TIME SECOND /* or later */
#define SPARE_MAX 64u       /* of libcurl's handles, kept by each pool */
#define REST (120 * SECOND) /* without a request, until all connections are closed */
#define COPIED_MAX 65536u   /* of a body: more is read from where it is */
#define DOCUMENT_TIME (300 * SECOND)

struct http_client;

struct http_options {
    alk_http_options o; /* its strings are in memory */
    char *agent_line;   /* "User-Agent: ..."; NULL: there is none */
    struct arena memory;
};

/* One of libcurl's handles: its constant options point here, so that only those are set for each
 * request that are its own. */
struct http_easy {
    CURL *curl;
    struct fetch *x; /* whose it is */
    struct http_easy *next;
    char error[CURL_ERROR_SIZE];
};

struct http_pool {
    struct http_client *c;
    struct map hosts; /* of origins with requests under way */
    CURLM *multi;     /* NULL: there has been no request */
    uint64_t wake;    /* when libcurl wants to be called; UINT64_MAX: not */
    struct http_easy *spare;
    unsigned spares;
    bool streams;
};

struct http_host {
    struct http_pool *pool;
    struct map_node by_origin;
    struct list queue; /* of requests */
    unsigned running;
    bool http2; /* requests share a connection */
    char origin[ORIGIN_MAX];
};

/* Of a descriptor that libcurl listens to, or has. Those of connections stay between requests,
 * since to stop listening and to start again would cost two calls of the kernel for each request.
 * But libcurl closes some without a word: a connection that has not come about. So one is kept only
 * when it has been used; others go when libcurl does not listen any more. */
struct http_socket {
    uv_poll_t poll;
    struct alk_loop *l;
    struct http_pool *pool;
    struct map_node by_fd;
    struct list ready;        /* for the next step */
    const struct fetch *user; /* of those who listen, the last; not to be looked into */
    curl_socket_t fd;
    int events;  /* that are asked for */
    int came;    /* CURL_CSELECT_ */
    bool wanted; /* libcurl listens */
    bool kept;
    bool http2;
    bool idle; /* no request uses it, and none that has gone before is answered on it any more */
};

enum { REQUEST_NEW, REQUEST_WAITING, REQUEST_RUNNING };

/* Why libcurl's result is not what it says. */
enum {
    SPOILED_NOT,
    SPOILED_LARGE,   /* more came than may */
    SPOILED_REFUSED, /* it may not go there: why says where */
    SPOILED_LOST,    /* it would be sent a second time */
    SPOILED_LENGTH,  /* nobody can say where the answer ends */
    SPOILED_UPGRADE, /* what comes is another protocol */
    SPOILED_MEMORY,
};

struct fetch {
    struct http_client *c;
    struct list link;                  /* of all */
    struct list due;                   /* for the next step */
    struct list queued;                /* at its host */
    struct heap_node at;               /* when it is looked at */
    const struct fetch_events *events; /* NULL: cancelled */
    void *ud;
    struct fetch_request rq; /* its texts are behind this struct, but for the body */
    char *text;              /* there */
    size_t text_bytes;
    struct curl_slist *lines; /* of the head; there too */
    char *moved;              /* by a redirect; NULL: it is at rq.url */
    struct str host;          /* in origin */
    struct http_pool *pool;
    struct http_host *slot; /* NULL: it has none, and waits for one if it is in the queue */
    struct http_easy *easy; /* NULL: it is not under way */
    struct buf head;        /* of the present answer */
    uint64_t heard;         /* when something last came, or went */
    uint64_t hold;          /* Retry-After of the present answer: until when; 0: none */
    uint64_t hold_ends;     /* until when it waits for others' pauses; 0: it has not yet */
    uint64_t discard_ends;
    size_t header_bytes, body_bytes, discarded;
    size_t sent_bytes; /* of the body, as far as it is read from where it is */
    curl_off_t uploaded;
    curl_socket_t fd; /* what libcurl has listened to last */
    int status;
    uint8_t state, spoiled;
    uint8_t redirects, attempts;
    bool in_head;  /* between a status line and the empty line */
    bool answered; /* the head of its answer is complete */
    bool told;     /* and has been given to the caller */
    bool discard;  /* this answer is not for the caller */
    bool paused, resume;
    bool redirected, again; /* why it is not */
    bool valid;             /* its URL is one */
    bool proxied;
    bool http2;    /* so it is answered */
    bool opened;   /* it has opened a socket of its own */
    bool resolves; /* libcurl has asked for a name */
    bool sending;  /* a connection was there */
    bool barred;   /* an address that its name leads to is not allowed */
    bool left;     /* cancelled, and only there still until the name is known */
    char origin[ORIGIN_MAX];
    char why[CURL_ERROR_SIZE];
};

struct http_client {
    struct alk_loop *l;
    struct http_options options;
    struct http_pool pools[2];
    struct list requests, due;
    struct list ready; /* sockets */
    struct heap times; /* of requests */
    struct map sockets, held;
    struct list held_order; /* as they were noted */
    uv_timer_t timer;
    uint64_t armed;   /* when it fires; UINT64_MAX: it does not */
    uint64_t rest_at; /* when the last connections are closed, if nobody wants anything by then */
    uint64_t seed[2];
};

/* http.c */
int http_pool_open(struct http_pool *p);
/* Something of it is to be done in the next step. */
void http_due(struct fetch *x);
/* A handle with all that is constant set. NULL: out of memory. */
struct http_easy *http_easy_take(struct http_pool *p);
void http_easy_give(struct http_pool *p, struct http_easy *e);
struct fetch *http_request_of(CURL *curl);

/* http_sockets.c */
void http_sockets_listen(struct http_pool *p);
bool http_sockets_prepare(const struct http_pool *p, struct http_easy *e);
/* Something has come that nobody listens to. */
void http_socket_unasked(struct http_socket *s);
/* The answer to x is complete. */
void http_socket_rests(struct fetch *x);
/* What x has opened last is a connection, and it is going to be sent there. */
void http_socket_connected(struct fetch *x);
/* It was sent, and libcurl has let go of it before its answer was complete. */
void http_socket_left(struct fetch *x);
/* An answer comes on what x was sent on. */
void http_socket_answers(struct fetch *x, bool http2);

/* http_request.c */
struct fetch *http_request_new(struct http_client *c, const struct fetch_request *rq,
                               const struct fetch_events *events, void *ud);
/* What is due of it: it is sent, goes on, or is over. */
void http_request_step(struct fetch *x, uint64_t now);
/* Its time has come: to be sent again, or to be over. */
void http_request_look(struct fetch *x, uint64_t now);
/* libcurl is done with it. */
void http_request_done(struct fetch *x, CURLcode rc, uint64_t now);
/* The loop closes. */
void http_request_close(struct fetch *x);
const char *http_request_url(const struct fetch *x);
char *http_copy(struct http_client *c, struct str s);
void http_wipe(struct http_client *c, char *s);
bool http_request_may_repeat(const struct fetch *x);
/* Its present answer is not for the caller. */
void http_request_discard(struct fetch *x);

/* http_send.c */
/* What a request's texts take behind its struct, and before that, the nodes of its lines. */
size_t http_texts_size(const struct fetch_request *rq, size_t *nodes);
void http_texts_put(struct fetch *x, struct curl_slist *nodes);
/* false: with why. */
bool http_request_may_reach(struct fetch *x, const struct ip *to);
/* Those of libcurl's callbacks that send. */
bool http_request_prepare(struct http_easy *e);
/* What a handle has that is this request's own. */
CURLcode http_request_set(const struct fetch *x);

/* http_answer.c: and those that are called for what comes. */
bool http_answer_prepare(struct http_easy *e);

/* http_hosts.c */
/* ALK_EAGAIN: it is due when there is room for it; ALK_ENOMEM. */
int http_slot_take(struct fetch *x);
/* Also of a request that has none, or waits for it. */
void http_slot_give(struct fetch *x);
/* It has been sent on a connection on which another is. */
void http_slot_shared(struct fetch *x);

/* http_options.c: checks and copies. As alk_loop_set_http. */
int http_options_read(struct http_options *own, struct mem *mem, const alk_http_options *o,
                      char *err, size_t size);
void http_options_fini(struct http_options *own);

/* http_origins.c */
/* "https://host:port" of a URL without user, in lower case, the port always there and no dot behind
 * the name; host: where its name is in it. false: it is none of http or https. */
bool origin_of(const char *url, char out[ORIGIN_MAX], struct str *host);
/* Whether a name may lead to an address: an address that is configured as one to itself, localhost
 * to loopback, others to what is routed publicly. */
bool origin_may_lead(struct str host, const struct ip *to);
bool origin_without_proxy(const char *no_proxy, struct str host);
/* Until when that origin is to be left alone; 0: it is not. */
uint64_t held_until(struct http_client *c, const char *origin, uint64_t now);
void held_note(struct http_client *c, const char *origin, uint64_t until);
void held_fini(struct http_client *c);

#endif
