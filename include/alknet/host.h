/* A loop for programs that have none of libuv's: everything that a configuration of alknetd can say
 * (docs/configuration.md), run on threads of the library, and two queues between it and the
 * program. Made for bindings of other languages; alknetd itself is a program on it.
 *
 * THREADS. Every function may be called from any thread at any time between alk_host_new and
 * alk_host_free; only the events have one reader at a time. Nothing of the program is called from
 * the library's threads, unless it has given functions itself (alk_host_options.log, and handlers
 * that it has put into alk_host_registry). The library's threads block all signals. Nothing waits
 * for the program, so that stopping never hangs on it; nothing but alk_host_wait and alk_host_free
 * waits for the loop. A stop has to wait for names that are being looked up.
 *
 * TOWARDS THE LIBRARY. A submission copies what it is given, queues it and returns; the loop acts on
 * it soon, in the order of submission. It says ALK_EENDED when what the id stands for is known to be
 * over; what is over by the time the loop comes to it is dropped without a word, since its end is an
 * event of its own. ALK_ECLOSED: the host has not started, is stopping, or is the parent's of a
 * process that has forked: a child can do nothing with it, and frees it without harm.
 * ALK_EAGAIN: the queue is full; nothing was taken, and an event ALK_HOST_ROOM follows. Answers,
 * ends and aborts always find room.
 *
 * TOWARDS THE PROGRAM. Events, in an order that keeps that of each call. Every call, of the program
 * and to it, every dialled connection and every session is an id from its beginning to its event
 * ALK_HOST_END, of which there is exactly one, whatever happens, a stop included; an id is used
 * once. The last event of all is ALK_HOST_STOPPED. While more events or bytes wait than the options
 * allow, the program's subscriptions are paused, new calls to it get BUSY, and new sessions that it
 * would hear of are closed; ends always find room. */
#ifndef ALKNET_HOST_H
#define ALKNET_HOST_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_host alk_host;

typedef struct alk_host_options {
    uint32_t size;    /* sizeof(alk_host_options); what is 0 has its default */
    uint32_t workers; /* in place of the configuration's; 0: as that says */
    /* The configuration; NULL: what is in file, else {}. Members are alknetd's. Without `listen` nothing is listened on.
     * `demo`, `core_dumps` and, of `log`, `format` and `file` are refused unless daemon is 1. */
    const char *config;
    size_t config_len;
    /* What messages call it, and relative to whose folder its paths are; YAML, or JSON when it ends
     * in ".json". It is read if there is no config, and must then be of root or of who runs this,
     * and nobody else may write to it. NULL: JSON, paths are relative to the working directory. */
    const char *file;
    uint32_t queue_events; /* 16,384: events that may wait */
    uint32_t queue_bytes;  /* 64 MiB: likewise, what they hold */
    uint32_t log_events;   /* 1: what is logged comes as ALK_HOST_LOG, if there is no log */
    uint32_t sessions;     /* 1: ALK_HOST_UP and ALK_HOST_END of connections that others open */
    uint32_t daemon;
    uint32_t check; /* 1: alk_host_start tries all that can be tried without effect, and no more */
    uint32_t sockets; /* listening sockets handed over, descriptors from 3 on, for `listen` */
    /* As in alk_node_options. */
    void (*log)(void *ud, const alk_log_event *event);
    void *log_ud;
} alk_host_options;

/* Reads the configuration and all files that it names. ALK_ECONFIG with file, line and place in err
 * ("FILE:3: limits.batch: ..."), ALK_EINVAL, ALK_ESYSTEM, ALK_ENOMEM. err may be NULL. */
ALK_API int alk_host_new(alk_host **out, const alk_host_options *o, char *err, size_t err_size);
/* Stops at once if it has not stopped, waits until its threads have ended, frees what nobody has
 * fetched. Events that were fetched are given back before. NULL is fine. */
ALK_API void alk_host_free(alk_host *h);
/* The text of a member of the configuration, JSON; NULL: it does not say, or the host has been
 * started. Lives as long as h. */
ALK_API const char *alk_host_config(alk_host *h, const char *member, size_t *len);
/* Until it starts: for operations with handlers in C, which with several workers run on the thread of
 * each, and for importers. The host's own. */
ALK_API alk_registry *alk_host_registry(alk_host *h);
/* An operation that the program serves through its events; op->handler must be NULL. tag comes with
 * each of its calls. Before the start. As alk_registry_add, with the reason in err. */
ALK_API int alk_host_add(alk_host *h, const alk_operation *op, uint64_t tag, char *err,
                         size_t err_size);
/* Opens all, in the order of the configuration, and starts the threads; once. When it returns, an
 * ALK_HOST_LISTENING waits for each listener; calls may come, and be answered, before. ALK_ECONFIG,
 * ALK_ESYSTEM and others with the reason in err: nothing is open then, and no event comes. */
ALK_API int alk_host_start(alk_host *h, char *err, size_t err_size);
/* Takes a configuration in place of the one before, NULL: what is in the file of the options now.
 * ALK_HOST_RELOADED says what came of it: ALK_ECLOSED, where it was not taken before a stop.
 * ALK_EINVAL (NULL without a file), ALK_EAGAIN, ALK_ECLOSED,
 * ALK_ENOMEM. */
ALK_API int alk_host_reload(alk_host *h, const char *config, size_t len);
/* graceful 1: as alk_loop_drain, ALK_HOST_DRAINING at once. 0: at once, also after a graceful one
 * has begun. ALK_HOST_STOPPED follows in the end. ALK_ECLOSED: it is not running. */
ALK_API int alk_host_stop(alk_host *h, int graceful);

/* ---- events ---------------------------------------------------------------------------------- */

/* Somebody calls an operation of alk_host_add: id, tag, type, operation, text (the input), and what
 * is known of the caller. The program answers with alk_host_reply, or alk_host_emit and then
 * alk_host_complete, or alk_host_fail, now or later. */
#define ALK_HOST_CALL 1
/* A value of a subscription that the program has: id, tag, text. */
#define ALK_HOST_VALUE 2
/* id and tag are over: rc is ALK_END_. Of a call of the program, text is its result, null for a
 * subscription; of any other end that is no success, text is {"code","message","retryable",
 * "details"?}. Of a call to the program it says what the caller was told: what an answer that was
 * no JSON has become, or that the call was aborted (ALK_END_ABORTED, code "ABORTED") and work on it
 * can end. Of a connection: rc is the close code of RFC 6455 or, of one that never opened, the HTTP
 * status or 0; text as above, or null when the program has closed it. */
#define ALK_HOST_END 3
/* There is room again after ALK_EAGAIN: for that id, or id 0 for what has none yet. Not of an id that
 * has ended meanwhile. */
#define ALK_HOST_ROOM 4
/* A dialled connection (id, tag) or a session (id; tag 0) is open, before the first call that comes
 * by it: identity, address; of a dialled one, what was to be imported and announced is; text: what
 * failed of that, a plain text, or null. */
#define ALK_HOST_UP 5
/* A dialled connection is lost, or an attempt failed; it is tried again in timeout_ms. rc: the close
 * code, or the HTTP status, or 0; text: {"code","message","retryable"}. Where it is not tried again,
 * ALK_HOST_END comes in its place. */
#define ALK_HOST_DOWN 6
/* text: {"address","port","scheme","url"}, or {"path"} of a Unix-domain socket. */
#define ALK_HOST_LISTENING 7
/* rc: the level, ALK_LOG_; text: {"event",...}, members as in alk_log_event. What comes above the
 * mark is dropped; tag: how many were before this one. */
#define ALK_HOST_LOG 8
/* rc: 0, with the members as text that have changed and are only read at the start,
 * {"message":"listen, log"}, or null; or a code and {"message"}: then nothing has changed. */
#define ALK_HOST_RELOADED 9
/* A graceful stop has begun: time to finish. Subscriptions that the program serves end with BUSY. */
#define ALK_HOST_DRAINING 10
#define ALK_HOST_DRAINED 11 /* and is over: no call runs any more */
#define ALK_HOST_STOPPED 12

/* Strings end with NUL, and are NULL where there is none. They live until the event is released. */
typedef struct alk_host_event {
    uint32_t kind;
    int32_t rc;
    uint64_t id;
    uint64_t tag;
    const char *text; /* JSON */
    size_t text_len;
    void *memory;        /* the library's */
    uint32_t type;       /* ALK_QUERY, ALK_MUTATION, ALK_SUBSCRIPTION */
    uint32_t timeout_ms; /* until its deadline; UINT32_MAX: none */
    uint64_t connection; /* by which the call came, for calls to its other end; 0: none */
    const char *operation;
    const char *request_id, *parent_id;
    const char *identity, *originator; /* JSON, as alk_call_identity, alk_call_context */
    const char *forwarded_for;         /* JSON: said by a peer, not proved */
    const char *traceparent;
    const char *address; /* of a connection; of an HTTP request if calls are logged */
    size_t request_id_len, parent_id_len; /* a caller may put a U+0000 into them */
} alk_host_event;

/* A descriptor that is readable while events wait, for poll, epoll, asyncio's add_reader. It is not
 * to be read from. -1: none could be had. It lives as long as h. */
ALK_API int alk_host_fd(alk_host *h);
/* Waits until an event waits, or the time is over; UINT32_MAX: for ever. 1: one waits. 0: none; also
 * when the stop is over and all is fetched. */
ALK_API int alk_host_wait(alk_host *h, uint32_t timeout_ms);
/* Fetches up to max events into out, an array of structs of event_size bytes; how many. Without
 * waiting. */
ALK_API size_t alk_host_drain(alk_host *h, alk_host_event *out, size_t event_size, size_t max);
/* Gives their memory back, in any order, on any thread, before alk_host_free. */
ALK_API void alk_host_release(alk_host *h, alk_host_event *events, size_t event_size, size_t count);

/* ---- answers --------------------------------------------------------------------------------- */

/* The result of a query or mutation; the value is JSON text. What is none, or too large, fails the
 * call with INTERNAL. ALK_EENDED (also: answered already), ALK_EINVAL (a subscription), ALK_ECLOSED,
 * ALK_ENOMEM. */
ALK_API int alk_host_reply(alk_host *h, uint64_t id, const char *json, size_t len);
/* A value of a subscription. ALK_EAGAIN: the caller reads too slowly. Else as alk_host_reply. */
ALK_API int alk_host_emit(alk_host *h, uint64_t id, const char *json, size_t len);
/* The end of a subscription. ALK_EENDED, ALK_EINVAL, ALK_ECLOSED, ALK_ENOMEM. */
ALK_API int alk_host_complete(alk_host *h, uint64_t id);
/* Ends the call with {"code","message"?,"retryable"?,"details"?}. Of the protocol's own codes a
 * program has INVALID_INPUT, since what the schema lets pass may be nothing that its language can
 * take, and INTERNAL; others become INTERNAL. What is no such object is INTERNAL too. ALK_EENDED, ALK_EINVAL (not a
 * call to the program), ALK_ECLOSED, ALK_ENOMEM. */
ALK_API int alk_host_fail(alk_host *h, uint64_t id, const char *json, size_t len);

/* ---- calls ----------------------------------------------------------------------------------- */

typedef struct alk_host_call_options {
    uint32_t size;       /* sizeof(alk_host_call_options); what is 0 has its default */
    uint32_t stream;     /* 1: a subscription */
    uint32_t timeout_ms; /* 0: the default; ALK_NO_TIMEOUT */
    uint32_t policy;     /* ALK_POLICY_, of a call with a parent */
    uint64_t tag;        /* comes with its events */
    /* Whom it calls. The first that is given counts:
     *   connection  what the remote of a dialled connection or of a session serves; with a parent, as
     *               ALK_SELECT_CONNECTION
     *   peer        what the peer of that id serves; with a parent, as ALK_SELECT_PEER
     *   neither     what is registered here, then what peers serve */
    uint64_t connection;
    const char *peer;
    /* A call to the program, as whose child it runs: under the authority and within the environment
     * of its operation, and not longer than it. 0: none. */
    uint64_t parent;
    /* Without a parent, as whom: the JSON of an identity, as alk_identity_new; NULL: nobody. For
     * what is registered here; remotes know this node by its connection. */
    const char *identity;
    const char *traceparent;
} alk_host_call_options;

/* Calls an operation; o may be NULL. What access, schemas or the remote say against it is its
 * ALK_HOST_END. ALK_EINVAL (an option, no name), ALK_EJSON (the identity), ALK_EENDED (parent or
 * connection is over), ALK_EAGAIN, ALK_ECLOSED, ALK_ENOMEM. */
ALK_API int alk_host_call(alk_host *h, const char *operation, size_t operation_len,
                          const char *input, size_t input_len, const alk_host_call_options *o,
                          uint64_t *id);
/* As alk_call_pause, of a subscription that the program has. ALK_EENDED, ALK_EINVAL, ALK_ECLOSED,
 * ALK_ENOMEM. */
ALK_API int alk_host_pause(alk_host *h, uint64_t id, int paused);
/* Ends a call of the program's, or closes a dialled connection or a session. ALK_HOST_END follows.
 * ALK_EENDED, ALK_EINVAL (a call to the program: fail it), ALK_ECLOSED, ALK_ENOMEM. */
ALK_API int alk_host_abort(alk_host *h, uint64_t id);
/* Opens a connection and keeps it open: an entry of the configuration's `connect`, JSON, that may
 * have besides: "token" in place of token_file, "reconnect": false, "announce": true. ALK_ECONFIG and
 * others with the reason in err, ALK_EAGAIN, ALK_ECLOSED, ALK_ENOMEM. Only where there is a single
 * worker. */
ALK_API int alk_host_dial(alk_host *h, const char *json, size_t len, uint64_t tag, uint64_t *id,
                          char *err, size_t err_size);

#ifdef __cplusplus
}
#endif

#endif
