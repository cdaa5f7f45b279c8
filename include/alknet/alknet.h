/* libalknet: one registry of operations, callable in every way people call things.
 *
 * OWNERSHIP
 *   registry     built by one thread, frozen, then shared read-only by any number of nodes and
 *                threads.
 *   node         limits, counters, identity provider, log; shared by its dispatchers on any
 *                threads.
 *   dispatcher   one per loop; owns its connections, its calls and its timers. It and all of its
 *                objects belong to the thread that runs that loop.
 *   connection   owns its output queue, its pending and running calls, its overlay.
 *   call         owns its memory and its child calls. Reference counted, so that a language with a
 *                garbage collector can hold one: once it has ended, every function on it says
 *                ALK_EENDED.
 *   application  owns what its `void *ud` points to until the on_end or ud_free that goes with it.
 *
 * CALLBACKS run on the dispatcher's thread, from alk_dispatcher_turn, never inside another function
 * of this library, so that no user code is re-entered by surprise. Exceptions are named at their
 * place.
 *
 * STRINGS are UTF-8. Functions take pointer and length; members of option structs end with NUL, and
 * NULL means "not given". What the library hands out lives as long as the object it was asked from,
 * unless said otherwise. JSON is text here; alknet/yyjson.h has the parsed form.
 *
 * TIMES are milliseconds where a name ends in _ms, else nanoseconds of one monotonic clock.
 *
 * RETURN VALUES are 0 or an ALK_E code below, which is negative; each comment lists its codes.
 * ALK_EINVAL is a programmer's mistake. ALK_ENOMEM leaves everything as it was.
 *
 * STRUCTS begin with size, the sizeof of whoever made them, so that program and library may be of
 * different versions.
 *   From the program. Begin one with alk_X_init(&x, sizeof x), which sets size and the defaults;
 *   one that has no such function has zeros for defaults and begins with {.size = sizeof x}. What a
 *   smaller struct lacks has its default. Every function that takes one says ALK_EINVAL when size
 *   was never set, or when a larger one sets what this library does not know; the function's error
 *   text, or else the log (event "misuse"), names the struct.
 *   Filled for the program, by functions that take its size: what the library does not know is 0.
 *   Shown to callbacks: what lies behind size is not there.
 *
 * ABI: while the version is 0.x, the SONAME changes with each minor version. Within one, from its
 * release on, functions stay as they are, and structs grow at their end only. A program runs with
 * each release of the minor version that it was built for: with a newer one always, with an older
 * one if it uses nothing newer. From 1.0 on, the same holds within a major version.
 *
 * The library keeps no global state, installs no signal handler, writes to no stream, runs no
 * loop. */
#ifndef ALKNET_ALKNET_H
#define ALKNET_ALKNET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ALK_API __attribute__((visibility("default")))
#else
#define ALK_API
#endif

/* ---- errors ---------------------------------------------------------------------------------- */

#define ALK_OK 0
#define ALK_EINVAL (-1)      /* an argument or a state that the comment of the function forbids */
#define ALK_ENOMEM (-2)      /* out of memory */
#define ALK_EAGAIN (-3)      /* would block: nothing was taken; on_drain follows */
#define ALK_EENDED (-4)      /* the call has ended */
#define ALK_EEXIST (-5)      /* the name is taken */
#define ALK_ENOENT (-6)      /* there is no such thing */
#define ALK_EFROZEN (-7)     /* the registry is frozen, or (where that is needed) is not yet */
#define ALK_ESCHEMA (-8)     /* a JSON Schema does not compile */
#define ALK_EJSON (-9)       /* not JSON, or JSON beyond the limits */
#define ALK_ECONFIG (-10)    /* a configuration is wrong */
#define ALK_ELIMIT (-11)     /* a limit of alk_limits is reached */
#define ALK_ECLOSED (-12)    /* the connection, dispatcher or server is closed or closing */
#define ALK_ESYSTEM (-13)    /* the operating system refused; an error text says why */
#define ALK_ECOLLISION (-14) /* two imported operations would get the same local name */
#define ALK_EREMOTE (-15)    /* the remote answered with an error or with nonsense */

/* English, static, never NULL. */
ALK_API const char *alk_strerror(int err);
/* "ALK_EINVAL"; for an unknown code "ALK_E?". */
ALK_API const char *alk_err_name(int err);
#define ALK_VERSION "0.1.0"
/* ALK_VERSION of the library that is running. */
ALK_API const char *alk_version(void);

typedef struct alk_registry alk_registry;
typedef struct alk_node alk_node;
typedef struct alk_dispatcher alk_dispatcher;
typedef struct alk_connection alk_connection;
typedef struct alk_call alk_call;
typedef struct alk_value alk_value;
typedef struct alk_identity alk_identity;
typedef struct alk_identities alk_identities;
typedef struct alk_capabilities alk_capabilities;

/* ---- values and faults ----------------------------------------------------------------------- */

/* The JSON text, compact, NUL behind its *len bytes; numbers as they came. Made on first use.
 * NULL when out of memory. Lives as long as the value: an input as long as its call, an event
 * until its callback returns. */
ALK_API const char *alk_value_text(const alk_value *value, size_t *len);

/* What is at a JSON pointer (RFC 6901) in the value: "/a" is its member a, "/a/0" the first item of
 * that, "" the value itself. Where there is nothing, or something of another type: NULL, or
 * otherwise. A string is UTF-8, lives as long as the value, and may have a U+0000 in it; a NUL is
 * behind it. An integer is a whole number that fits, also 2.0. */
ALK_API const char *alk_value_string(const alk_value *value, const char *pointer, size_t *len);
ALK_API int64_t alk_value_integer(const alk_value *value, const char *pointer, int64_t otherwise);
ALK_API double alk_value_number(const alk_value *value, const char *pointer, double otherwise);
ALK_API int alk_value_bool(const alk_value *value, const char *pointer, int otherwise);

/* What a remote, a handler or the dispatcher reports as the failure of a call. */
typedef struct alk_fault {
    uint32_t size;      /* sizeof(alk_fault), set by whoever makes one */
    uint32_t retryable; /* 0 or 1 */
    const char *code;   /* a protocol code below, or an operation's own */
    const char *message;
    const char *details; /* JSON text or NULL */
    /* Of code and message, which may have a U+0000 in them where they are a remote's words. What the
     * library shows has them set; 0: up to the first NUL. */
    size_t code_len, message_len;
} alk_fault;

/* Protocol codes. Only the library makes them; a handler that fails with one is reported as
 * INTERNAL. */
#define ALK_NOT_FOUND "NOT_FOUND"
#define ALK_FORBIDDEN "FORBIDDEN"
#define ALK_INVALID_INPUT "INVALID_INPUT"
#define ALK_INVALID_OPERATION_TYPE "INVALID_OPERATION_TYPE"
#define ALK_TIMEOUT "TIMEOUT"
#define ALK_BUSY "BUSY"
#define ALK_INTERNAL "INTERNAL"

/* ---- capabilities: outbound credentials of one registration ---------------------------------- */

/* Secrets by name. Nothing prints, serializes or sends them; their memory is overwritten when
 * freed. */
ALK_API alk_capabilities *alk_capabilities_new(void);
ALK_API void alk_capabilities_free(alk_capabilities *caps);
/* Copies secret; replaces an earlier one. ALK_EINVAL (empty name), ALK_ENOMEM. */
ALK_API int alk_capabilities_set(alk_capabilities *caps, const char *name, const void *secret,
                                 size_t len);

/* ---- registry -------------------------------------------------------------------------------- */

#define ALK_QUERY 1
#define ALK_MUTATION 2
#define ALK_SUBSCRIPTION 3

#define ALK_INTERNAL_ONLY 1 /* callable by other operations only */
#define ALK_EXTERNAL 2      /* callable from the wire, subject to access control */

#define ALK_LOCAL 0
#define ALK_FROM_OPENAPI 1
#define ALK_FROM_MCP 2
#define ALK_FROM_CALL 3
#define ALK_FROM_JSONSCHEMA 4
#define ALK_SESSION 5

/* Runs an operation. Started from the dispatcher's queue, never inside another handler's frame.
 * It answers, now or later, with alk_call_reply, alk_call_fail, or (subscriptions) any number of
 * alk_call_emit and then alk_call_complete. Returns 0, also when it answers later; a negative
 * ALK_E code, without having answered, makes the library fail the call with INTERNAL "internal
 * error". A handler that answers later learns of cancellation through alk_call_on_end, or holds
 * a reference. */
typedef int (*alk_handler)(alk_call *call, void *ud);

typedef struct alk_operation {
    uint32_t size;       /* set by alk_operation_init */
    uint32_t type;       /* ALK_QUERY (default), ALK_MUTATION, ALK_SUBSCRIPTION */
    uint32_t visibility; /* ALK_EXTERNAL (default), ALK_INTERNAL_ONLY */
    uint32_t provenance; /* ALK_LOCAL (default) ... */
    /* Segments of [A-Za-z0-9_.~-] joined by '/', at most 256 bytes; one leading '/' is dropped. */
    const char *name;
    const char *description;
    const char *input_schema;  /* JSON Schema 2020-12 or draft-07 ($schema); NULL = anything */
    const char *output_schema; /* described, not enforced */
    /* [{"code","description","schema","http_status"?}, ...], at most 256 */
    const char *error_schemas;
    /* {"required_scopes":[],"required_scopes_any":[],"resource_type":"","resource_action":"",
     *  "authenticated":true}, all optional, at most 256 scopes each; NULL = anyone, even without
     *  identity */
    const char *access_control;
    const char *resource_id_path; /* RFC 6901 pointer into the input */
    /* Whom the handler acts as when it calls others: {"label","scopes":[],"resources":{}} */
    const char *authority;
    /* What it may call: {"allowed_ops":["ns/op","ns/ *"],"peer_pinned":["peer/ns/op"]},
     * without the space; at most 4,096 each. */
    const char *environment;
    const alk_capabilities *capabilities; /* copied */
    alk_handler handler;
    void *ud;
    /* Called once, when the registration is gone or could not be added, on whichever thread lets go
     * of it last. */
    void (*ud_free)(void *ud);
    /* 0: up to the first NUL; else that many bytes, a U+0000 among them too. */
    size_t description_len, resource_id_path_len;
} alk_operation;

ALK_API void alk_operation_init(alk_operation *op, size_t size);

/* NULL when out of memory. The caller holds one reference. */
ALK_API alk_registry *alk_registry_new(void);
ALK_API alk_registry *alk_registry_ref(alk_registry *reg);
ALK_API void alk_registry_unref(alk_registry *reg);
/* Copies everything but ud. ALK_EINVAL (name, type, missing handler, resource path, access
 * control, error schemas, authority, environment), ALK_ESCHEMA, ALK_EJSON, ALK_EEXIST,
 * ALK_EFROZEN, ALK_ENOMEM. The names services/... and peers/... are the library's own. Of an
 * operation that was not initialised, ud_free does not run. */
ALK_API int alk_registry_add(alk_registry *reg, const alk_operation *op);
/* From now on read-only; required before a node can use it. Idempotent. ALK_ENOMEM. */
ALK_API int alk_registry_freeze(alk_registry *reg);
/* Why the last alk_registry_add or import failed: names the operation, the member and the place. ""
 * when it did not, or was ALK_EFROZEN. */
ALK_API const char *alk_registry_error(const alk_registry *reg);

/* ---- identity -------------------------------------------------------------------------------- */

#define ALK_KIND_NONE 0
#define ALK_KIND_PEER 1 /* an addressable node */
#define ALK_KIND_KEY 2  /* the holder of a token */

/* Immutable, reference counted, thread-safe. From {"id","scopes":[],"resources":{type:[]}}, with at
 * most 4,096 scopes, types and resources in all. NULL when malformed or out of memory. */
ALK_API alk_identity *alk_identity_new(const char *json, size_t len);
ALK_API alk_identity *alk_identity_ref(const alk_identity *id);
ALK_API void alk_identity_unref(const alk_identity *id);
ALK_API const char *alk_identity_id(const alk_identity *id);
/* 1 when held, also through "ns:*"; else 0. */
ALK_API int alk_identity_has_scope(const alk_identity *id, const char *scope, size_t len);
/* The JSON form; lives as long as the identity. */
ALK_API const char *alk_identity_json(const alk_identity *id, size_t *len);

/* Flags beside ALK_KIND_PEER. */
#define ALK_PEER_MAY_FORWARD 0x10 /* its forwarded_for is believed for records */
#define ALK_PEER_WEBSOCKET 0x20   /* it counts as a peer over WebSocket too */

/* Who a credential belongs to. Called on any dispatcher's thread, in the middle of other work: must
 * not block, and calls nothing of this library but functions of identities. A hit stores a new
 * reference and returns its kind; ALK_KIND_NONE otherwise. generation changes whenever an answer
 * may have changed; what came by a credential that belongs to nobody now is then closed. */
typedef struct alk_identity_provider {
    uint32_t size; /* sizeof(alk_identity_provider) */
    int (*by_token)(void *ud, const char *token, size_t len, alk_identity **out);
    /* "ed25519:<64 hex>" or "SHA256:<64 hex>" */
    int (*by_fingerprint)(void *ud, const char *fingerprint, size_t len, alk_identity **out);
    uint64_t (*generation)(void *ud);
    void *ud;
    /* The peer of that id; NULL: none is known by its id alone. For remotes that this node chooses
     * itself (alk_dial_options.peer_id). */
    int (*by_peer)(void *ud, const char *peer_id, size_t len, alk_identity **out);
    /* A user of this machine, who is at the other end of a Unix-domain socket
     * (alk_server_options.peer_credentials); NULL: none is known. */
    int (*by_uid)(void *ud, uint32_t uid, alk_identity **out);
} alk_identity_provider;

/* The bundled provider: peers, API keys and users from a configuration that is replaced
 * atomically.
 * {"peers":[{"peer_id","fingerprints":[],"auth_token_hashes":[],"scopes":[],"resources":{},
 *   "display_name"?,"enabled"?,"may_forward"?,"websocket"?}],
 *  "keys":[{"prefix","hash","scopes":[],"description"?,"expires_at"? (RFC 3339, UTC)}],
 *  "users":[{"uid","scopes":[],"resources":{},"description"?}]}
 * A user's id is "unix:<uid>", and its kind that of a key. */
ALK_API alk_identities *alk_identities_new(void);
ALK_API void alk_identities_free(alk_identities *ids);
/* Replaces everything or, on failure, nothing; err (may be NULL) then says what is wrong and
 * where, err_size bytes at most with its NUL. unix_time: the seconds since 1970 to which
 * expires_at is compared, see alk_identities_tick. reserved: NULL, or a registry whose
 * composition authorities' ids must not appear. ALK_EJSON, ALK_ECONFIG, ALK_ENOMEM. Thread-safe. */
ALK_API int alk_identities_load(alk_identities *ids, const char *json, size_t len,
                                int64_t unix_time, const alk_registry *reserved, char *err,
                                size_t err_size);
/* Tells the time, so that keys expire; whoever owns ids does it now and then. Thread-safe. */
ALK_API void alk_identities_tick(alk_identities *ids, int64_t unix_time);
/* Fills an interface to it; valid as long as ids. size: sizeof *out. */
ALK_API void alk_identities_provider(alk_identities *ids, alk_identity_provider *out, size_t size);

#define ALK_TOKEN_SIZE 48 /* of a new one, with the NUL */
/* Bytes of a token. One that is shorter or longer is nobody's, even where its hash is known. */
#define ALK_TOKEN_MIN 24
#define ALK_TOKEN_MAX 4096
/* A new token: "alk_" and 192 random bits. ALK_ESYSTEM (no randomness). */
ALK_API int alk_token_new(char out[ALK_TOKEN_SIZE]);
/* Lower-case hex SHA-256 with a NUL, as the configuration stores it. */
ALK_API void alk_token_hash(const char *token, size_t len, char out[65]);

/* Who owns what; 1 = yes. Without one, identities' own resources decide. Called on any thread,
 * in the middle of a check: must not block, and calls nothing of this library but functions of
 * identities. */
typedef struct alk_ownership_provider {
    uint32_t size; /* sizeof(alk_ownership_provider) */
    int (*owns)(void *ud, const alk_identity *who, const char *type, const char *id,
                const char *action);
    int (*owns_any)(void *ud, const alk_identity *who, const char *type);
    void *ud;
} alk_ownership_provider;

/* ---- limits ---------------------------------------------------------------------------------- */

typedef struct alk_limits {
    uint32_t size;              /* set by alk_limits_init */
    uint32_t frame_bytes;       /* 16 MiB; at most 64 MiB */
    uint32_t websocket_bytes;   /* 4 MiB */
    uint32_t body_bytes;        /* 4 MiB: HTTP bodies */
    uint32_t anonymous_bytes;   /* 1 MiB: each of the three without identity */
    uint32_t output_bytes;      /* 16 MiB: one output, else INTERNAL "output too large" */
    uint32_t json_values;       /* 1,000,000 in one message, member names counted */
    uint32_t json_depth;        /* 128; at most 1,024 */
    uint32_t schema_steps;      /* 200,000: effort of checking one input */
    uint32_t message_budget;    /* 256 MiB: messages of 16 KiB and more that the node holds */
    uint32_t header_bytes;      /* 32 KiB */
    uint32_t header_count;      /* 100 */
    uint32_t url_bytes;         /* 8 KiB */
    uint32_t connection_calls;  /* 1,024 running ones of a connection, and as many of ours */
    uint32_t call_children;     /* 16,384 per root call */
    uint32_t call_depth;        /* 64 */
    uint32_t batch;             /* 128 */
    uint32_t import_fanout;     /* 32 */
    uint32_t queue_high;        /* 256 KiB of a stream: emit blocks above, on_drain below half */
    uint32_t queue_max;         /* 1 MiB beyond one message, of a stream: closed above */
    uint32_t connections;       /* 0 = unlimited: connections of a node */
    uint32_t deadline_ms;       /* 30,000: single results */
    uint32_t header_timeout_ms; /* 10,000 */
    uint32_t body_timeout_ms;   /* 30,000 */
    uint32_t keepalive_ms;      /* 75,000: idle HTTP connections */
    uint32_t write_timeout_ms;  /* 60,000: a reader that takes nothing */
    uint32_t heartbeat_ms;      /* 15,000: comments in an idle event stream */
    uint32_t drain_ms;          /* 30,000 */
    uint32_t drain_delay_ms;    /* 0: still accepting, health is already 503 */
    uint32_t connections_per_address;  /* 0 = unlimited: open ones; IPv6 by /64 */
    uint32_t auth_failures_per_minute; /* 60: per address, then 429 or close; 0 = unlimited */
    uint32_t calls_per_second;         /* 0 = unlimited: per identity, then BUSY (HTTP 429) */
    uint32_t websocket_sessions;       /* 0 = unlimited: WebSockets of a node, then 503 */
    uint32_t websocket_fragments;      /* 1,024 of less than 512 bytes in one message */
    uint32_t websocket_controls;       /* 1,024 control frames in a minute */
    uint32_t ping_ms;                  /* 20,000: WebSocket pings; 0 = none */
    uint32_t idle_ms;                  /* 90,000: a WebSocket that sends nothing; 0 = for ever */
    uint32_t close_ms;                 /* 5,000: for the remote to answer a close */
    uint32_t evict_ms;      /* 10,000: a WebSocket that takes nothing of more than queue_high */
    uint32_t write_rate;    /* 1,024 bytes per second, of more that waits over HTTP; 0 = any rate */
    uint32_t http2_streams; /* 128: requests of an HTTP/2 connection at a time */
    uint32_t http2_resets;  /* 200 of its streams ended by an error in a minute, then GOAWAY */
    uint32_t quic_handshakes;    /* 1,024 of clients, of each loop; a Retry from a quarter on */
    uint32_t quic_streams;       /* 1,024 that the remote of a QUIC connection may have open */
    uint32_t quic_stream_window; /* 256 KiB of a stream that came and was not taken */
    uint32_t quic_window;        /* 1 MiB, likewise of a QUIC connection */
    uint32_t quic_idle_ms;       /* 30,000: a QUIC connection whose remote is not heard */
    uint32_t quic_keep_alive_ms; /* 10,000: a silent one says that it is there; 0 = never */
} alk_limits;

ALK_API void alk_limits_init(alk_limits *limits, size_t size);

/* ---- node ------------------------------------------------------------------------------------ */

#define ALK_LOG_ERROR 1
#define ALK_LOG_WARN 2
#define ALK_LOG_INFO 3
#define ALK_LOG_DEBUG 4

#define ALK_FORWARD_ID 0   /* its id, with empty lists */
#define ALK_FORWARD_FULL 1 /* scopes and resources too */
#define ALK_FORWARD_NONE 2

/* One event. Absent strings are NULL. Never holds a token. Valid during the callback. */
typedef struct alk_log_event {
    uint32_t size; /* set by the library */
    uint32_t level;
    const char *event; /* "call", "auth.failed", "connection.open", ... */
    const char *message;
    const char *request_id;
    const char *identity;
    const char *operation;
    const char *outcome; /* "ok", "aborted", or the fault's code */
    const char *remote;  /* address or name of the connection */
    const char *claim;   /* forwarded_for as JSON: said by a peer, not proved */
    uint64_t duration_us;
    uint64_t count;      /* values sent, for subscriptions */
    const char *address; /* of a listener: a host, or the path of a Unix-domain socket */
    const char *scheme;  /* of its URL */
    const char *tenant;  /* of a session, as in alk_session */
    const char *traceparent;
    uint32_t port; /* of a listener; 0: none */
    uint32_t code; /* the close code of a session that has ended; 0: none */
    /* Of what may be a remote's words, and then have a U+0000 in it. */
    size_t message_len, request_id_len, operation_len, outcome_len;
} alk_log_event;

typedef struct alk_node_options {
    uint32_t size; /* set by alk_node_options_init */
    /* 1: outputs that break output_schema are logged and INTERNAL; not those of imported
     * operations, whose schemas are shown only */
    uint32_t debug_outputs;
    const alk_identity_provider *identities; /* copied; NULL: nobody is known */
    const alk_ownership_provider *ownership; /* copied */
    const alk_limits *limits;                /* copied; NULL: the defaults */
    /* realloc-shaped: (ud, NULL, n) allocates, (ud, p, 0) frees. Called on any dispatcher's
     * thread, and on that of alk_node_set_discovered. NULL: libc. */
    void *(*realloc)(void *ud, void *ptr, size_t size);
    void *realloc_ud;
    /* On the thread where it happens, in the middle of it: calls nothing of this library. */
    void (*log)(void *ud, const alk_log_event *event);
    void *log_ud;
    uint32_t log_level;     /* ALK_LOG_INFO: one line per call; ALK_LOG_WARN: only what is wrong */
    uint32_t forwarded_for; /* what remotes learn of the originator: ALK_FORWARD_ID */
    uint32_t auto_import;   /* 1: import what a peer serves when it connects */
    /* What a key needs beside being one to have its operations imported (services/announce); NULL:
     * nothing. Copied. */
    const char *announce_scope;
    /* d has something to do that another dispatcher of the node has sent it: its owner calls
     * alk_dispatcher_turn soon. On any thread, and calls nothing of this library. Not for one on a
     * libuv loop, which wakes by itself. NULL: they must be turned at intervals. */
    void (*on_wake)(void *ud, alk_dispatcher *d);
    void *on_wake_ud;
} alk_node_options;

ALK_API void alk_node_options_init(alk_node_options *o, size_t size);
/* reg must be frozen; the node holds a reference. o: NULL for the defaults. ALK_EFROZEN,
 * ALK_EINVAL (a limit beyond its bound, forwarded_for), ALK_ESYSTEM (no randomness), ALK_ENOMEM. */
ALK_API int alk_node_new(alk_node **out, alk_registry *reg, const alk_node_options *o);
ALK_API void alk_node_unref(alk_node *node);
/* Takes effect on what starts afterwards. Thread-safe. ALK_EINVAL (a limit beyond its bound). */
ALK_API int alk_node_set_limits(alk_node *node, const alk_limits *limits);
/* size: sizeof *out. Thread-safe. */
ALK_API void alk_node_get_limits(const alk_node *node, alk_limits *out, size_t size);

/* ---- dispatcher ------------------------------------------------------------------------------ */

/* ALK_ENOMEM. On a libuv loop, alk_loop_open (alknet/uv.h) drives it; otherwise the owner calls
 * turn.
 *
 * A node may have several, each on a thread of its own: peers that are attached to one are reached
 * from all. A call to a peer of another one crosses over to that, with its deadline, backpressure
 * and abort, and fails with BUSY where that has not turned for a second. So all dispatchers of a
 * node are told the time of one clock. */
ALK_API int alk_dispatcher_new(alk_dispatcher **out, alk_node *node);
/* Ends all calls (ALK_END_CLOSED), runs their callbacks, closes the connections, frees. Not from
 * a callback. */
ALK_API void alk_dispatcher_free(alk_dispatcher *d);
/* Does everything that is due at now: starts handlers, runs callbacks, expires deadlines, sends.
 * Returns the time at which to call again at the latest (UINT64_MAX: when something happens).
 * Not from a callback. */
ALK_API uint64_t alk_dispatcher_turn(alk_dispatcher *d, uint64_t now);
/* For a loop of one's own (epoll, asyncio, Qt, GLib). All times are nanoseconds of one monotonic
 * clock.
 *   after it has waited   alk_dispatcher_now(d, t), then alk_connection_feed for what has arrived;
 *   before it waits       next = alk_dispatcher_turn(d, t), then write what the links were given;
 *                         next = alk_dispatcher_next(d), since writing may have made room; wait
 *                         until then.
 * alk_dispatcher_now tells the time between turns. alk_dispatcher_next is when the coming turn is
 * due at the latest: not after now when something waits for it, UINT64_MAX when nothing does until
 * something arrives. */
ALK_API void alk_dispatcher_now(alk_dispatcher *d, uint64_t now);
ALK_API uint64_t alk_dispatcher_next(const alk_dispatcher *d);
/* From now on new calls from outside get BUSY, and no connection opens. What runs goes on, except
 * subscriptions whose handlers did not ask to be told (alk_call_on_shutdown): they end with BUSY.
 * Each connection is closed when its last call has ended. While it drains, the same again cancels
 * everything that runs (ALK_END_CLOSED; callers see BUSY "shutting down"). */
ALK_API void alk_dispatcher_drain(alk_dispatcher *d);

typedef struct alk_stats {
    uint32_t size; /* set by the library */
    uint32_t connections;
    uint64_t calls; /* live: not yet ended, or ended and still referenced */
    uint64_t calls_total;
    uint64_t calls_refused; /* before their handler */
    uint64_t calls_failed;
    uint64_t discarded; /* answers to nothing pending, duplicate ids, ignored claims and events */
    uint64_t auth_failures;
    uint64_t memory_blocks; /* live blocks of this dispatcher */
    uint64_t message_bytes; /* of the node: charged to the message budget */
} alk_stats;

/* size: sizeof *out. */
ALK_API void alk_dispatcher_stats(const alk_dispatcher *d, alk_stats *out, size_t size);

/* ---- calls: the callee's side ---------------------------------------------------------------- */

#define ALK_END_OK 0      /* answered, or completed */
#define ALK_END_FAULT 1   /* failed, by handler or remote or dispatcher */
#define ALK_END_ABORTED 2 /* the caller, or a parent's end, aborted it */
#define ALK_END_TIMEOUT 3 /* its deadline passed */
/* Its dispatcher is gone, or the connection that it came by. A call of ours to a remote that is
 * gone ends with ALK_END_FAULT, INTERNAL "connection closed". */
#define ALK_END_CLOSED 4

/* The input; never NULL. */
ALK_API const alk_value *alk_call_input(const alk_call *call);
/* Answers a query or mutation. ALK_EENDED, ALK_EJSON (then the call still runs), ALK_ELIMIT (the
 * call has failed with "output too large"), ALK_EINVAL (a subscription), ALK_ENOMEM. */
ALK_API int alk_call_reply(alk_call *call, const char *json, size_t len);
/* One value of a subscription. ALK_EAGAIN: nothing taken, emit again from on_drain. Else as
 * reply. */
ALK_API int alk_call_emit(alk_call *call, const char *json, size_t len);
/* Ends a subscription. ALK_EENDED, ALK_EINVAL (not a subscription). */
ALK_API int alk_call_complete(alk_call *call);
/* Ends the call with a fault of the operation's own. ALK_EENDED, ALK_EINVAL (no code; a call
 * that is not served here), ALK_EJSON (details; the call still runs), ALK_ENOMEM. */
ALK_API int alk_call_fail(alk_call *call, const alk_fault *fault);
/* fn runs once, when the call has ended for whatever reason, also after the handler's own
 * answer: the place to stop work and to free what the handler keeps. fault is NULL unless why is
 * ALK_END_FAULT or ALK_END_TIMEOUT. ALK_EENDED: it will not run. */
typedef void (*alk_end_fn)(alk_call *call, int why, const alk_fault *fault, void *ud);
ALK_API int alk_call_on_end(alk_call *call, alk_end_fn fn, void *ud);
/* fn runs once after each ALK_EAGAIN, when there is room again. ALK_EENDED. */
typedef void (*alk_drain_fn)(alk_call *call, void *ud);
ALK_API int alk_call_on_drain(alk_call *call, alk_drain_fn fn, void *ud);

/* fn runs once when the dispatcher begins to drain, soon if it does already: time to finish, at
 * drain_ms the call is cancelled. A subscription without fn ends when the drain begins, with BUSY
 * "shutting down", retryable, so that its caller can resume elsewhere; complete says that there
 * will be no more values anywhere. It has the shape of alk_drain_fn. ALK_EENDED, ALK_EINVAL (no
 * handler runs it). */
ALK_API int alk_call_on_shutdown(alk_call *call, alk_drain_fn fn, void *ud);

ALK_API alk_call *alk_call_ref(alk_call *call);
ALK_API void alk_call_unref(alk_call *call);
/* The request's id, as the caller chose it. */
ALK_API const char *alk_call_id(const alk_call *call);
/* Without leading slash; "" when none was found. */
ALK_API const char *alk_call_operation(const alk_call *call);
/* The identity that access control looks at. For a call from the wire it is the caller's. For a
 * nested call it is the authority of the operation whose handler makes the call. NULL: nobody. */
ALK_API const alk_identity *alk_call_identity(const alk_call *call);
/* The secret of that name: of this registration, or handed down by the parent; NULL when there
 * is none. */
ALK_API const char *alk_call_capability(const alk_call *call, const char *name, size_t *len);
/* The call connection that the request came by, to call back what its remote serves; NULL for
 * calls of HTTP requests, for nested calls, and once the call has ended. */
ALK_API alk_connection *alk_call_connection(const alk_call *call);

/* What a call is part of. Lives as long as the call. */
typedef struct alk_call_context {
    uint32_t size;         /* set by the library */
    const char *parent_id; /* of the call that invoked it; NULL for a root call */
    /* The root call's identity, for records and display, never for decisions. NULL: nobody. */
    const alk_identity *originator;
    /* Of a peer that may forward, as JSON: whom it says it calls for. For records, never for
     * decisions. NULL: none. */
    const char *forwarded_for;
    const char *traceparent; /* W3C, as received; NULL: none */
    uint64_t deadline;       /* nanoseconds; UINT64_MAX: none */
    size_t id_len;           /* of alk_call_id: a caller may put a U+0000 into it */
    size_t parent_id_len;
} alk_call_context;

/* size: sizeof *out. */
ALK_API void alk_call_get_context(const alk_call *call, alk_call_context *out, size_t size);

/* ---- calls: the caller's side ---------------------------------------------------------------- */

typedef void (*alk_event_fn)(alk_call *call, const alk_value *value, void *ud);

#define ALK_NO_TIMEOUT UINT32_MAX

/* Where alk_call_invoke looks. Of a peer, on its 256 newest connections, and there on the newest
 * that serves it. */
#define ALK_SELECT_LAYERS 0     /* registry, then the session's overlay, then attached peers */
#define ALK_SELECT_ANY 1        /* attached peers only: the first that serves it */
#define ALK_SELECT_PEER 2       /* that peer or NOT_FOUND */
#define ALK_SELECT_CONNECTION 3 /* what the remote of that connection serves */

/* What a nested call does when its parent ends first. */
#define ALK_POLICY_INHERIT 0   /* the parent's policy; of a root call: ALK_ABORT_DEPENDENTS */
#define ALK_ABORT_DEPENDENTS 1 /* it is aborted */
#define ALK_CONTINUE_RUNNING 2 /* what has started goes on, without results and without new calls */

typedef struct alk_call_options {
    uint32_t size;       /* sizeof(alk_call_options) */
    uint32_t stream;     /* 0: one result. 1: a subscription */
    uint32_t timeout_ms; /* 0: the default (deadline_ms; none for subscriptions); ALK_NO_TIMEOUT */
    alk_event_fn on_event; /* each value; for a single result, the one, before on_end */
    alk_end_fn on_end;     /* once, always, unless starting the call failed */
    void *ud;
    const char *traceparent;
    /* For alk_call_invoke only: */
    uint32_t selector;          /* ALK_SELECT_ */
    uint32_t policy;            /* ALK_POLICY_INHERIT, ALK_ABORT_DEPENDENTS, ALK_CONTINUE_RUNNING */
    const char *peer;           /* for ALK_SELECT_PEER */
    alk_connection *connection; /* for ALK_SELECT_CONNECTION */
    /* Names of the parent's capabilities that the child gets beside its own, separated by
     * spaces; never handed to operations of a session or of a remote. */
    const char *capabilities;
} alk_call_options;

/* Calls another operation from a handler, under the authority and within the environment of the
 * handler's own registration. The child starts from the dispatcher's queue, gets the earlier of
 * its own and the parent's deadline, and ends at the latest with its parent (see
 * ALK_CONTINUE_RUNNING). What access control, environment or input say against it reaches on_end
 * as a fault. out may be NULL; otherwise the caller gets a reference. ALK_EENDED (the parent has
 * ended), ALK_EINVAL (not a call that runs here; an option), ALK_EJSON, ALK_ELIMIT (the message
 * budget), ALK_ENOMEM. */
ALK_API int alk_call_invoke(alk_call *call, const char *operation, size_t operation_len,
                            const char *input, size_t input_len, const alk_call_options *o,
                            alk_call **out);
/* 1: no on_event until resumed (0). A remote is held back where its stream carries this call
 * alone; elsewhere up to 1 MiB is kept, then the call ends with TOO_SLOW. ALK_EENDED, ALK_EINVAL
 * (not a call with on_event). */
ALK_API int alk_call_pause(alk_call *call, int paused);
/* Ends a call that one has made oneself, and everything below it; a remote is told. ALK_EENDED,
 * ALK_EINVAL (a call of somebody else's: a handler that gives up fails it). on_end follows with
 * ALK_END_ABORTED. */
ALK_API int alk_call_abort(alk_call *call);

/* ---- connections ----------------------------------------------------------------------------- */

#define ALK_CLOSE_SHUTDOWN 0
#define ALK_CLOSE_PROTOCOL 1
#define ALK_CLOSE_LIMIT 2
#define ALK_CLOSE_IDENTITY 3

/* How envelopes travel. The library calls these from alk_dispatcher_turn only. A link of one
 * stream ignores the stream's number. */
typedef struct alk_link {
    uint32_t size; /* sizeof(alk_link) */
    /* Takes one whole envelope; copies what it keeps. 0; ALK_EAGAIN takes nothing, and the link
     * calls alk_connection_writable once there is room; any other code closes the connection. */
    int (*send)(void *ud, uint64_t stream, const char *envelope, size_t len);
    /* After the last send of a turn; NULL when not needed. */
    void (*flush)(void *ud);
    /* Please read no more of a stream from open_stream (1), or go on (0); NULL when the link
     * cannot hold the remote back. */
    void (*pause)(void *ud, uint64_t stream, int paused);
    /* The connection is finished with the link: close with that ALK_CLOSE code. Last call on it. */
    void (*close)(void *ud, int code);
    /* A fresh stream for one subscription of ours, so that it can be paused alone; 0: there is none
     * now, and it shares stream 0. NULL: all do. */
    uint64_t (*open_stream)(void *ud);
    /* Bytes that it has taken and not passed on: they count for queue_high and queue_max. The
     * link calls alk_connection_writable when they have become at most half of queue_high. NULL:
     * 0. */
    size_t (*queued)(void *ud, uint64_t stream);
    void *ud;
    /* A link of many streams, which the remote may open too: no call runs on that stream any more,
     * the remote has ended its side (alk_connection_stream_end, or the stream is ours), and all
     * that is to be said on it has been sent. The link ends its own side. */
    void (*idle)(void *ud, uint64_t stream);
    uint32_t
        stream_per_call; /* 1: each call of ours has a stream of its own, not only subscriptions */
} alk_link;

typedef struct alk_connection_options {
    uint32_t size;                /* sizeof(alk_connection_options) */
    uint32_t kind;                /* of identity: what the provider said, flags included */
    const alk_identity *identity; /* vouched for by whoever opens it; NULL: none */
    const char *token;            /* sent as auth_token with each of our requests */
    /* The credential that proved identity; once it belongs to nobody, or to somebody else, the
     * connection is closed. NULL: vouched for. */
    const char *by_token, *by_fingerprint;
    const char *remote;     /* address or name, for the log */
    uint32_t message_bytes; /* largest envelope; 0: frame_bytes of the limits */
    uint32_t websocket;     /* 1: a peer counts as one only with ALK_PEER_WEBSOCKET */
    /* How what the remote announces, or auto_import finds, is imported; as in
     * alk_import_options. */
    const char *namespace_prefix, *operation_filter;
    uint32_t no_auto_import; /* 1: whoever opens it imports */
    /* Trusted operations that nested calls of this connection find after the registry; frozen. */
    alk_registry *session;
} alk_connection_options;

/* ALK_EINVAL (no link), ALK_ELIMIT (limits.connections), ALK_ECLOSED (draining), ALK_ENOMEM. The
 * dispatcher owns it; the caller holds a reference on the handle as well. */
ALK_API int alk_connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                                const alk_connection_options *o);
/* Delivers one whole envelope. A framing error or a limit closes the connection; with a link of
 * many streams (alk_link.idle) it concerns that stream alone, which the link then resets.
 * ALK_ECLOSED, and ALK_EJSON, ALK_ELIMIT when this one closed it. ALK_EAGAIN: the message budget
 * has no room for it; nothing was taken, and the same is to be delivered again a little later, or
 * the connection closed: whatever is behind it waits, so that nobody reads on meanwhile. */
ALK_API int alk_connection_feed(alk_connection *c, uint64_t stream, const char *envelope,
                                size_t len);
/* The link can take more. */
ALK_API void alk_connection_writable(alk_connection *c);
/* Of a link of many streams (alk_link.idle). lost 0, of any but stream 0: the remote has ended its
 * side of a stream, between two envelopes. lost 1: a stream is of no use any more, in either
 * direction: the remote's calls on it are cancelled, ours fail with INTERNAL. Nothing is sent on it
 * from then on; what the library still hands to the link for it may be dropped. */
ALK_API void alk_connection_stream_end(alk_connection *c, uint64_t stream, int lost);
/* Tells the connection that its link is gone: from here on the library does not touch the link. Our
 * pending calls fail with INTERNAL "connection closed"; the remote's calls are cancelled. */
ALK_API void alk_connection_lost(alk_connection *c);
/* Ends the calls in the same way, and closes the link with that code in the coming turn. */
ALK_API void alk_connection_close(alk_connection *c, int code);
ALK_API alk_connection *alk_connection_ref(alk_connection *c);
ALK_API void alk_connection_unref(alk_connection *c);
/* NULL: none. Replaced when the provider's answers change: keep it with alk_identity_ref. */
ALK_API const alk_identity *alk_connection_identity(const alk_connection *c);
/* Calls an operation that the remote serves. The node's own act: no local check, the remote
 * decides. out may be NULL; otherwise the caller gets a reference. ALK_ECLOSED, ALK_ELIMIT,
 * ALK_EJSON, ALK_EINVAL (name), ALK_ENOMEM. */
ALK_API int alk_connection_call(alk_connection *c, const char *operation, size_t operation_len,
                                const char *input, size_t input_len, const alk_call_options *o,
                                alk_call **out);
/* Two connections joined back to back within the process; the dispatchers must run on one
 * thread. a's options describe what b's side is to a. Errors as alk_connection_open. */
ALK_API int alk_pair_open(alk_dispatcher *a, const alk_connection_options *a_options,
                          alk_connection **a_out, alk_dispatcher *b,
                          const alk_connection_options *b_options, alk_connection **b_out);

/* ---- what a remote serves -------------------------------------------------------------------- */

typedef struct alk_import_options {
    uint32_t size;                /* sizeof(alk_import_options) */
    const char *namespace_prefix; /* local names are prefix/name; NULL: as they are */
    const char *operation_filter; /* JSON array of exact remote names; NULL: all */
} alk_import_options;

/* Makes the remote's operations callable: lists them, fetches their specifications, swaps the
 * connection's overlay at once. on_done runs once: 0 and the number imported, or ALK_ECOLLISION,
 * ALK_EREMOTE, ALK_ELIMIT (4,096 operations, 64 KiB a specification, 8 MiB in all), ALK_ECLOSED,
 * ALK_ENOMEM, with the old overlay kept; message (may be NULL) says more. ALK_ECLOSED,
 * ALK_EAGAIN (one is under way), ALK_EJSON, ALK_EINVAL, ALK_ENOMEM: it has not begun and on_done
 * does not run. */
ALK_API int alk_connection_import(alk_connection *c, const alk_import_options *o,
                                  void (*on_done)(alk_connection *c, int rc, size_t count,
                                                  const char *message, void *ud),
                                  void *ud);
/* Registers count operations of the remote by hand; their handlers, when NULL, forward. They
 * stay until the connection ends. All or none, once. ALK_EEXIST (a name twice, or it has been
 * done), ALK_ECLOSED, ALK_EINVAL, ALK_EJSON, ALK_ESCHEMA, ALK_ENOMEM. */
ALK_API int alk_connection_register_imported(alk_connection *c, const alk_operation *ops,
                                             size_t count);

/* Lets callers with the scope peers:call reach operations of attached peers through peers/call
 * and peers/subscribe.
 * {"authority":{"label","scopes":[],"resources":{}},
 *  "allow":[{"peer":"id","operations":["ns/op","ns/ *"]}]}, without the space; peer "*" is any.
 * Before freezing. ALK_EFROZEN, ALK_EJSON, ALK_EINVAL, ALK_EEXIST (twice), ALK_ENOMEM. */
ALK_API int alk_registry_enable_peers(alk_registry *reg, const char *json, size_t len);

/* ---- metrics --------------------------------------------------------------------------------- */

/* Adds the operation metrics/list, which needs the scope metrics:list: what the node counts,
 * over all of its dispatchers.
 * {"metrics":[{"name","type" ("counter" or "gauge"),"help","value","labels"?},...]}. Before
 * freezing. As alk_registry_add. */
ALK_API int alk_registry_enable_metrics(alk_registry *reg);

#ifdef __cplusplus
}
#endif

#endif
