/* What the parts of a client of an MCP server share.
 *
 *   mcp_server.c     where the server is, what it is sent with each request, and which era it speaks:
 *                    shared by the client and by all operations, on whatever threads
 *   mcp_exchange.c   one request and what comes back, as JSON or as events
 *   mcp_note.c       what needs no answer
 *   mcp_hello.c      initialize: a session is opened
 *   mcp_client.c     alk_mcp: negotiates, lists, looks again; with mcp_listen.c, which is told that
 *                    the list has changed
 *   mcp_list.c       the tools as they were listed
 *   mcp_import.c     tools become operations
 *   mcp_headers.c    arguments that a tool wants as headers too
 *   mcp_tool_call.c  a call of one
 *
 * What a server sends is bounded in each place by a limit that has a name, here or in the node. */
#ifndef ALK_ADAPT_MCP_CLIENT_H
#define ALK_ADAPT_MCP_CLIENT_H

#include "adapt/mcp.h"
#include "base/json.h"
#include "base/time.h"
#include "core/dispatcher.h"
#include "core/registry.h"
#include "wire/fetch.h"
#include "wire/sse.h"
#include "wire/transport.h"

#include <alknet/mcp.h>

#define MCP_TOOLS 16384u            /* of one server */
#define MCP_LIST_BYTES (32u << 20)  /* of their names, descriptions and schemas in sum */
#define MCP_PAGES 1000u             /* of one list */
#define MCP_CURSOR_BYTES 16384u     /* of one cursor */
#define MCP_TEXT_BYTES 16384u       /* of a description; more is cut */
#define MCP_SESSION_BYTES 1024u     /* of a session's id */
#define MCP_HEADER_BYTES 8192u      /* of an argument that goes into a header too */
#define MCP_RESUMES 100u            /* of one stream */
#define MCP_NOTE_BYTES 65536u       /* of what a server says beside answers */
#define MCP_WHY 512u                /* of what is told to a person; more is cut */
#define MCP_ANSWER_NS (30 * SECOND) /* for each answer that is no call's */
#define MCP_LINGER_NS (50 * MILLI)  /* for the end of a stream that has given its answer */
#define MCP_REPLY_NS (100 * MILLI)  /* from one answer to a request of the server's to the next */
#define MCP_NOTE_NS (5 * SECOND)    /* for the answer to a notification */
#define MCP_NOTES 8u                /* of them under way: calls need connections, too */
#define MCP_RETRY_MIN_NS SECOND     /* and twice that for each failure more, up to */
#define MCP_RETRY_MAX_NS (60 * SECOND)
#define MCP_CHANGE_NS (250 * MILLI) /* how long more changes of the list are waited for */
#define MCP_LOOK_NS (300 * SECOND)  /* after so long a server that tells of none is asked again */
#define MCP_LIST_NS SECOND          /* from one listing to the next, however often it changes */
#define MCP_RENEW_NS (10 * MILLI)   /* how often is looked whether a session is there again */

/* ---- mcp_server.c ------------------------------------------------------------------------------ */

enum { ERA_UNKNOWN, ERA_STATELESS, ERA_SESSIONS };

struct mcp_era {
    uint8_t kind;
    uint32_t generation; /* grows with each negotiation */
    char version[16];
    char session[MCP_SESSION_BYTES + 1]; /* "": the server has given none */
};

/* Lives as long as the client and the last operation. All but what is under the lock is only
 * read. */
struct mcp_server {
    int refs; /* atomic */
    struct mem mem;
    struct arena arena;
    const char *url, *prefix;
    struct str headers; /* "Name: value\r\n" lines of every request; has the token: wiped */
    yyjson_val *filter; /* NULL: none */
    uint32_t response_bytes;
    bool private_addresses;
    uint64_t ids;   /* atomic: of the last request */
    uint32_t notes; /* atomic: of MCP_NOTES */
    char lock;      /* of what follows */
    struct mcp_era era;
    bool renewing;     /* somebody opens a session again, for all */
    uint32_t renewals; /* how often that has ended */
};

int mcp_server_new(struct mcp_server **out, const alk_mcp_options *o, char *err, size_t err_size);
struct mcp_server *mcp_server_ref(struct mcp_server *s);
void mcp_server_unref(struct mcp_server *s);
bool mcp_server_wants(const struct mcp_server *s, struct str tool);
void mcp_server_era(struct mcp_server *s, struct mcp_era *out);
/* The generation is the server's affair. */
void mcp_server_set_era(struct mcp_server *s, const struct mcp_era *era);

/* ---- mcp_exchange.c ---------------------------------------------------------------------------- */

enum {
    MCP_RESULT,  /* result */
    MCP_ERROR,   /* code, message, data: the server's; status */
    MCP_STATUS,  /* status alone, which is no success */
    MCP_NOTHING, /* what: for a caller, and why: for the log, or "" */
    MCP_LATE,    /* likewise: the deadline has passed */
    MCP_HELD,    /* it has asked to be left alone: retry_after_ms */
    MCP_MEMORY,  /* full: the payer may not have so much */
};

/* Valid until the exchange begins again or ends. */
struct mcp_answer {
    int kind, status;
    yyjson_val *result, *data;
    int64_t code;
    struct str message;
    const char *what, *why;
    uint64_t retry_after_ms;
    bool full;
};

/* Belongs to whoever asks, one after the other. An answer comes from the loop, when nothing is
 * under way any more, and is the last thing that is done with x. */
struct mcp_exchange {
    struct mcp_server *server;
    struct alk_dispatcher *d;
    struct fetcher *fetcher;
    struct meter *meter; /* NULL: nobody pays */
    /* A notification, or a request of the server's, beside the answer; NULL: dropped. In a session
     * requests are answered already: ping, and that all others are not known here. */
    void (*on_message)(void *ud, struct str method, yyjson_val *params);
    void (*on_answer)(void *ud, const struct mcp_answer *a);
    void *ud;
    struct fetch *fetch;      /* NULL: none is under way */
    struct buf headers, body; /* what is sent; of the body, all but its two last braces */
    struct buf text;          /* what came, where it is no event */
    struct buf session;       /* that the answer named */
    struct sse sse;
    struct arena arena; /* what came, parsed */
    struct task task;
    struct timer timer;
    struct mcp_answer answer;
    char what[200], why[200];
    char type[64];
    size_t most; /* bytes of what is taken of an answer, or of each event of it */
    uint64_t id, deadline;
    uint64_t replied_at; /* to a request of the server's */
    struct buf last_id;  /* of the events of a stream that was cut; empty: none is to go on */
    uint32_t resumes;    /* how often one has been asked for again */
    uint32_t generation; /* of the era that it was asked in */
    int status;
    uint8_t kind;
    bool in_session; /* it named one */
    bool events, got;
};

/* MCP_LISTEN: a request whose answer has no end by itself, as that of MCP_GET. */
enum { MCP_REQUEST, MCP_NOTE, MCP_LISTEN, MCP_GET };

void mcp_exchange_init(struct mcp_exchange *x, struct mcp_server *server, struct alk_dispatcher *d,
                       struct meter *meter, void *ud);
/* Nothing follows. */
void mcp_exchange_stop(struct mcp_exchange *x);
void mcp_exchange_fini(struct mcp_exchange *x);
/* Begins the body, {"jsonrpc","id","method","params":{"_meta", to which members of params may be
 * appended, and the headers. MCP_GET has no body, and no method. progress: it is wanted. ALK_ENOMEM. */
int mcp_begin(struct mcp_exchange *x, int kind, const struct mcp_era *era, const char *method,
              bool progress);
/* A line more; a value that cannot be a header as it is goes as =?base64?...?=. ALK_ENOMEM. */
int mcp_put_header(struct mcp_exchange *x, const char *prefix, struct str name, struct str value);
/* most: 0: the server's limit. An answer follows, unless ALK_ENOMEM. */
int mcp_send(struct mcp_exchange *x, uint64_t deadline, size_t most, bool idempotent,
             const char *traceparent);
/* What is wrong with an answer that is no MCP_RESULT, as a code and as a line for a person. */
int mcp_failure(const struct mcp_answer *a, const char *asked, char why[MCP_WHY]);

/* ---- mcp_note.c -------------------------------------------------------------------------------- */

/* Notifies the server, whatever comes of it, unless too much of that is under way. */
void mcp_notify(struct mcp_server *server, struct alk_dispatcher *d, const char *method,
                const char *params);
/* To a request of the server's that came in x: ping is answered, all others are not known here. */
void mcp_reply(struct mcp_exchange *x, struct str method, yyjson_val *id);

/* ---- mcp_hello.c ------------------------------------------------------------------------------- */

struct mcp_hello {
    struct mcp_exchange x;
    struct mcp_era era;
    bool changes; /* the server tells when its tools change */
    /* rc 0: era is the server's from here on. The last thing that is done with h. */
    void (*on_done)(void *ud, int rc, const char *why);
    void *ud;
};

/* ALK_ENOMEM. */
int mcp_hello_start(struct mcp_hello *h);
/* Whether capabilities have tools.listChanged. */
bool mcp_tells_changes(yyjson_val *capabilities);

/* ---- mcp_headers.c ----------------------------------------------------------------------------- */

/* Those of an input schema. *why: static, what is wrong with them; NULL: nothing. ALK_ENOMEM. */
int mcp_headers_read(struct buf *out, yyjson_val *schema, const char **why);
/* ALK_EINVAL: a value is too long for a header; ALK_ENOMEM. */
int mcp_headers_put(struct mcp_exchange *x, struct str headers, yyjson_val *arguments);

/* ---- mcp_list.c -------------------------------------------------------------------------------- */

struct mcp_entry {
    struct str name;        /* with a NUL, as the others */
    struct str description; /* p NULL: there is none, as with the others */
    const char *input, *output;
    struct str headers; /* mcp_headers.c */
    const char *wrong;  /* with them; NULL: nothing */
    bool read_only;
};

struct mcp_list {
    struct arena arena;
    struct mcp_entry *entries;
    size_t count, cap;
    size_t bytes; /* of MCP_LIST_BYTES */
    struct str *cursors;
    size_t pages, cursor_cap;
};

void mcp_list_init(struct mcp_list *l, struct mem *mem);
void mcp_list_fini(struct mcp_list *l);
/* Adds a page. *next: the cursor of the page behind it; p NULL: this was the last one. ALK_EREMOTE,
 * ALK_ELIMIT, ALK_ENOMEM, with why. */
int mcp_list_add(struct mcp_list *l, const struct mcp_server *server, yyjson_val *result,
                 struct arena *scratch, struct str *next, char why[MCP_WHY]);
bool mcp_list_same(const struct mcp_list *a, const struct mcp_list *b);

/* ---- mcp_client.c ------------------------------------------------------------------------------ */

enum { MCP_WAITING, MCP_DISCOVERING, MCP_GREETING, MCP_LISTING };

struct alk_mcp {
    struct alk_dispatcher *d; /* a reference */
    struct transport *t;
    struct dialing dialing;
    struct mcp_server *server; /* a reference */
    alk_mcp_options o;         /* its strings are the server's, or in the arena */
    struct arena arena;
    struct mcp_exchange x;
    struct mcp_hello hello;
    struct mcp_list list, next; /* what import takes, and what is being listed */
    struct timer timer;         /* while WAITING: when it is asked again; else not set */
    uint64_t delay, listed_at;  /* ns; listed_at: when the last listing began */
    int refs;                   /* the owner's, and one for each callback on the stack */
    uint32_t imports;           /* how many there have been */
    uint8_t state;
    bool closed;   /* by the loop, or by the owner */
    bool known;    /* the era: there is no need to negotiate */
    bool has;      /* list is one */
    bool failed;   /* that was told last */
    bool again;    /* the list has changed since it is being listed */
    bool insisted; /* it was asked again in the version that it refused, and named */
    bool expired;  /* the session is gone, and was, when it was listed before */
    /* mcp_listen.c */
    struct mcp_exchange listen;
    struct timer reopen;
    uint64_t listen_delay, listened_at;
    bool changes; /* the server tells of changes */
};

/* The list has changed, or may have. */
void mcp_changed(struct alk_mcp *m);
/* It is not told when that is: it is listed again after MCP_LOOK_NS, unless it is sooner. */
void mcp_look_later(struct alk_mcp *m);

/* ---- mcp_listen.c ------------------------------------------------------------------------------ */

void mcp_listen_init(struct alk_mcp *m);
/* Unless it does already. */
void mcp_listen(struct alk_mcp *m);
void mcp_listen_stop(struct alk_mcp *m);
void mcp_listen_fini(struct alk_mcp *m);
/* Half of *delay, which doubles, and a random part of the other half. */
uint64_t mcp_next_delay(struct alk_dispatcher *d, uint64_t *delay);

/* ---- mcp_tool_call.c --------------------------------------------------------------------------- */

/* The user data of one operation. */
struct mcp_tool {
    struct mcp_server *server; /* a reference */
    const char *name;          /* as the server knows it */
    struct str headers;        /* mcp_headers.c */
    uint32_t import;           /* by which of the client's imports it came */
    bool read_only;
};

int mcp_tool_call(alk_call *call, void *ud);

#endif
