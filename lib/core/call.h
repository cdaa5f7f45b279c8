/* A call: one type for the wire's, the gateway's, nested ones and our own outgoing ones.
 *
 * It has up to two sides. The executing side (op, handler, input) exists when the operation runs here. The
 * side that gets the results is a sink: the connection's envelopes, the gateway's response, or the
 * callbacks of whoever called. An outgoing call has no op: its results come from a connection.
 *
 *   NEW → RUNNING (inside its handler) → PENDING | STREAMING → ENDED(why)
 *
 * call_end is the only way to ENDED and takes the whole subtree along, children first. A call leaves its
 * parent's list and its connection's maps when it ends; its memory goes with the last reference. */
#ifndef ALK_CORE_CALL_H
#define ALK_CORE_CALL_H

#include "core/dispatcher.h"

enum call_state { CALL_NEW, CALL_RUNNING, CALL_PENDING, CALL_STREAMING, CALL_ENDED };
enum call_want { WANT_ANY, WANT_SINGLE, WANT_STREAM };

struct call_sink {
    /* The handler is about to run; NULL: not interested. */
    void (*started)(struct alk_call *c);
    /* One value; final: the only one of a query or mutation. 0, ALK_EAGAIN (never for a final one), ALK_ENOMEM. */
    int (*value)(struct alk_call *c, const char *text, size_t len, bool final);
    /* The call has ended: c->why, c->fault. */
    void (*end)(struct alk_call *c);
};

struct alk_call {
    struct alk_dispatcher *d;
    const struct operation *op;
    const struct call_sink *sink;
    void *sink_ud;
    struct msg *msg; /* holds this struct */
    struct alk_value input;
    struct str name, id, traceparent;
    struct list link, ready;
    struct alk_call *parent;
    struct list children, sibling;
    struct timer timer;
    uint64_t deadline, timeout, started;
    uint64_t began; /* as started, for the log */
    alk_identity *identity, *originator;

    struct alk_call *root;         /* of a nested call; a reference */
    uint32_t live;                 /* of a root call: calls below it that have memory */
    alk_connection *via;           /* whose overlay op is of; a reference */
    struct overlay *set;           /* that overlay; a reference */
    alk_registry *session;         /* a reference */
    const struct secret **granted; /* handed down by the parent */
    size_t granted_count;
    struct str claim; /* forwarded_for, as JSON */

    alk_connection *conn; /* of an incoming or outgoing call of the wire */
    struct map_node by_id;
    uint64_t stream;
    struct list waiting; /* in the connection's list of calls that wait for room */

    alk_end_fn on_end; /* of the executing side */
    void *on_end_ud;
    alk_drain_fn on_drain;
    void *on_drain_ud;

    alk_drain_fn on_shutdown;
    void *on_shutdown_ud;

    alk_event_fn on_event; /* of the calling side, for sink_callbacks */
    alk_end_fn on_result;
    void *result_ud;
    struct list events; /* messages */
    size_t event_bytes;

    const char *remote;    /* for the log */
    const char *parent_id; /* of a nested call */
    const char *note;      /* for the log: what the caller does not learn; NULL: nothing */
    alk_fault fault;
    uint64_t values;
    uint32_t depth, hops;
    int refs;
    uint8_t state, why, want;
    uint8_t kind; /* CALL_INCOMING, CALL_NESTED, CALL_OUTGOING */
    uint8_t policy;
    uint8_t handler_why; /* what the handler is told; why is what the caller is */
    bool to_start, to_drain, to_shut_down, blocked, outgoing, delivered, refused;
    bool remote_done; /* outgoing: the remote has ended it */
    bool told;        /* the handler has heard of the end */
    bool requeue;  /* detached and then ended: the end follows behind those that ended before it */
    bool orphan;   /* goes on after its parent's end */
    bool detached; /* its caller is to be told so */
    bool of_session;
    bool paused, hold; /* no events: asked by the caller; the forwarder has no room for the first */
    bool own_stream, held_back; /* a stream that carries this call alone; it is paused */
};

extern const struct call_sink sink_callbacks;

extern const struct abi abi_call_options;
extern const alk_fault fault_internal, fault_timeout, fault_busy, fault_closed, fault_shutdown,
    fault_rate, fault_slow, fault_orphan;

/* What a name resolved to. */
struct target {
    const struct operation *op;
    alk_connection *via; /* NULL: here */
    struct overlay *set;
    bool session; /* of the session's registry */
};

struct request {
    struct msg *msg; /* taken over */
    struct str name;
    yyjson_val *input; /* in msg; NULL is null */
    struct str id;     /* in msg */
    const alk_identity *identity, *originator;
    const struct call_sink *sink;
    void *sink_ud;
    alk_connection *conn;
    uint64_t stream;
    alk_call *parent;                /* nested: context comes from it */
    const struct target *target;     /* nested: resolved already, by peers/call */
    const alk_call_options *options; /* nested */
    struct str claim;                /* in msg */
    struct str traceparent;          /* in msg */
    const char *remote;  /* for the log; outlives the call's end; NULL: the connection's */
    uint32_t timeout_ms; /* 0: none given */
    uint32_t hops;
    uint8_t want;
};

/* The one way to start an operation: builds the call's context, resolves, checks, queues. Its outcome, refusal
 * included, goes to the sink. NULL: out of memory, and the sink has heard nothing. A refused call
 * has ended when this returns. */
alk_call *call_start(struct alk_dispatcher *d, const struct request *rq);
/* A nested call; errors as alk_call_invoke. target may be NULL. */
int call_invoke(alk_call *parent, const struct target *target, struct str operation,
                const char *input, size_t input_len, const alk_call_options *o, alk_call **out);
/* Makes c a child of parent; false: its root has as many as it may, or the depth is reached. */
bool call_adopt(alk_call *parent, alk_call *c);
/* The secret of that name that c may use, or NULL. */
const struct secret *call_secret(const alk_call *c, const char *name, size_t len);
/* A value of another call passes through: ALK_EAGAIN as emit. */
int call_pass(alk_call *c, const alk_value *value);
#define ANSWER_VALUES 8u /* of an answer, beside its output */
/* What a value may be so that the envelope around it, with that many other values, is still within the limits. */
struct json_limits envelope_limits(const alk_node *n, uint32_t other_values);
/* A call without an executing side, for a connection to fill with results. */
alk_call *call_new(struct alk_dispatcher *d, struct msg *msg);
/* Ends c and everything below it. fault may be NULL; its strings live as long as the call's message or forever. */
void call_end(alk_call *c, int why, const alk_fault *fault);
/* A fault of a code, with a message that is kept in the call. */
void call_refuse(alk_call *c, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* NOT_FOUND "operation not found: NAME", name cut to a bounded length. */
void call_not_found(alk_call *c, struct str name);
/* A value for sink_callbacks: takes m over, whose value is what on_event gets. */
void call_event(alk_call *c, struct msg *m, size_t bytes);
/* A well-formed W3C traceparent. */
bool traceparent_valid(struct str s);
/* A warning in the log about what the handler of c did. */
void call_log_handler(const alk_call *c, const char *what);
/* Whether each call gets a line in the log. */
bool logs_calls(const alk_node *n);
/* The dispatcher drains: a handler that asked for it is told. */
void call_shutdown(alk_call *c);
/* One that has ended and waits for its caller to take its values, who will not: it ends without them. */
void call_hurry(alk_call *c, int why);
/* One that has ended, but whose values wait for a caller that will not take them, ends without. */
void call_cancel_waiting(alk_call *c);
/* Something is to be done for it in the coming turn. */
void call_ready(alk_call *c);
/* There is room again below half of the high-water mark: on_drain follows if emit was refused. */
void call_room(alk_call *c);
/* Starts handlers and runs callbacks until nothing is left or the turn has had enough; false: there is more. */
bool calls_run(struct alk_dispatcher *d);

#endif
