/* A call: one type for the wire's, the gateway's, nested ones and our own outgoing ones.
 *
 * It has up to two sides. The executing side (op, handler, input) exists when the operation runs
 * here. The side that gets the results is a sink: the connection's envelopes, the gateway's
 * response, or the callbacks of whoever called. An outgoing call has no op: its results come from a
 * connection.
 *
 *   CHECKING   being looked at by call_start; what ends now was refused, and its handler never
 *              hears of it
 *   QUEUED     accepted: its handler is started in the coming turn (outgoing: its deadline runs
 *              from then on)
 *   RUNNING    its handler has been called, or the remote has it
 *   ENDED      over, for the reason `why`; nothing but telling it is left
 *   TOLD       the handler has heard of the end
 *   DONE       the caller has too, behind its last value; the life reference is gone
 *
 * A state only ever grows, in one function. call_end is the only way to ENDED and takes the whole
 * subtree along, children first. A call leaves its parent's list and its connection's maps when it
 * ends; its memory goes with the last reference.
 *
 * References. The life reference is the call's own, from call_new to DONE. The ready list has one
 * while the call is in it. Whoever calls may hold more, through alk_call_ref. A call holds its root
 * and its dispatcher, never its parent: a parent that ends lets go of its children first, so
 * `parent` is never a dangling pointer. */
#ifndef ALK_CORE_CALL_H
#define ALK_CORE_CALL_H

#include "core/credential.h"
#include "core/operation.h"

#include <assert.h>

enum call_state { CALL_CHECKING, CALL_QUEUED, CALL_RUNNING, CALL_ENDED, CALL_TOLD, CALL_DONE };
/* Whose word a fault is: a handler's, a host's program's, another loop's, which has looked at it. */
enum fault_source { FAULT_OF_HANDLER, FAULT_OF_HOST, FAULT_OF_LOOP };
enum call_want { WANT_ANY, WANT_SINGLE, WANT_STREAM };
/* Of emit: it may; it was refused and on_drain is owed; there is room again and on_drain is due. */
enum call_room { ROOM_FREE, ROOM_NONE, ROOM_AGAIN };
/* To the caller: it waits for the result; it has given the call up and is to be told so; it has
 * been told. */
enum call_tie { TIE_CALLER, TIE_CUT, TIE_NONE };

/* Where results go. A sink runs in the frame of whoever answers or ends the call, which may be a
 * handler. So it calls no function of the application: it writes, or it queues. */
struct call_sink {
    /* The handler is about to run; NULL: not interested. */
    void (*started)(struct alk_call *c);
    /* One value; final: the only one of a query or mutation. 0, ALK_EAGAIN (never for a final
     * one), ALK_ENOMEM, ALK_ELIMIT (larger than the remote may be sent). */
    int (*value)(struct alk_call *c, const char *text, size_t len, bool final);
    /* The call has ended: c->why, c->fault. Also for a call that was refused, within call_start.
     * It may close the connection that the call came by. */
    void (*end)(struct alk_call *c);
};

/* What the connection that a call came by, or goes by, does for it. */
struct call_carrier {
    /* It ends: first of all, since what follows may close the connection, which ends all that it
     * still lists. */
    void (*unlist)(struct alk_call *c);
    /* Its end is on its way: lets go of the connection. */
    void (*leave)(struct alk_call *c);
    /* Holds the remote of a subscription back, on the stream that it has for itself. */
    void (*hold_back)(struct alk_call *c, bool yes);
};

struct line;
struct overlay;

/* Strings in here lie in the message's arena, or in what the call holds a reference to, unless the
 * member says otherwise. Whoever needs one for longer than the call copies it. */
struct alk_call {
    struct alk_dispatcher *d;
    const struct operation *op;
    const struct call_sink *sink;
    void *sink_ud;
    struct msg *msg; /* holds this struct */
    /* Lies in msg, like everything that came with the request. */
    struct alk_value input;
    struct str name, id, traceparent;
    /* In the dispatcher's list of all calls, until it is freed; in that of those with something
     * due, or its payer's of those to be started, each of which holds a reference. */
    struct list link, ready;
    /* Not a reference. A parent that ends lets go of each child first, so it is never stale; NULL
     * says that this one is a root, or has become one. */
    struct alk_call *parent;
    /* Also of children that have ended, while values of theirs wait. */
    struct list children, sibling;
    /* The deadline. It is set while the call runs, and cleared by its end, so it never fires on
     * one that is gone. */
    struct timer timer;
    /* deadline is absolute, and at first the parent's; timeout is how long the call may take
     * itself, and is added when it starts. */
    uint64_t deadline, timeout;
    uint64_t began; /* by call_clock; 0: its handler has not been started */
    /* References. identity is what was checked, and stays, whatever the credential proves later. */
    alk_identity *identity, *originator;
    /* That of the request, when it is not its connection's, which would end it in any case. */
    struct watcher on_by;
    struct credential *by; /* a reference; NULL: nobody's, or of a nested or outgoing call */

    struct alk_call *root;         /* of a nested call; a reference */
    uint32_t live;                 /* of a root call: calls below it that have memory */
    alk_connection *via;           /* whose overlay op is of; a reference */
    struct member *member;         /* likewise, of a peer; a reference */
    struct line *line;             /* likewise, of another dispatcher; a reference */
    struct overlay *set;           /* that overlay; a reference */
    alk_registry *discovered;      /* that op is of, when it was found outside; a reference */
    alk_registry *session;         /* a reference */
    const struct secret **granted; /* handed down by the parent */
    size_t granted_count;
    struct str claim; /* forwarded_for, as JSON */

    /* Of an incoming or outgoing call of the wire; a reference, until it has ended. */
    alk_connection *conn;
    const struct call_carrier *carrier; /* NULL without conn */
    struct map_node by_id;
    struct origin *origin; /* of an outgoing call that is somebody's */
    uint64_t stream;
    struct list waiting;           /* for room: in the list of its stream, see queue_await */
    struct call_stream *on_stream; /* call_streams.h; NULL: none is looked at */
    struct list of_stream;

    /* Functions of the application. Only run.c calls them. */
    alk_end_fn on_end; /* of the executing side */
    void *on_end_ud;
    alk_drain_fn on_drain;
    void *on_drain_ud;

    alk_drain_fn on_shutdown;
    void *on_shutdown_ud;
    /* Of one that runs elsewhere: it begins nothing new from here on. */
    void (*on_alone)(struct alk_call *c);

    alk_event_fn on_event; /* of the calling side, for sink_callbacks */
    alk_end_fn on_result;
    void *result_ud;
    /* Messages that wait for the caller. They may outlive the end, and then hold its telling
     * back. */
    struct list events;
    size_t event_bytes;
    size_t kept_bytes; /* of them, what who asked pays for in sum; see call_keep */

    const char *remote;   /* for the log */
    struct str parent_id; /* of a nested call */
    const char *note;     /* for the log: what the caller does not learn; NULL: nothing */
    /* Valid once the call has ended with a fault; details may stand here before (call_refuse). */
    alk_fault fault;
    uint64_t values;
    /* depth counts calls within calls here, hops the nodes before this one. Both only ever grow on
     * the way down, so every circle has an end. */
    uint32_t depth, hops;
    int refs;
    /* Small on purpose: the call shares the first chunk of its message's arena with a small
     * request (MSG_ARENA). */
    uint16_t small; /* what its connection has counted for it */
    uint8_t state;
    uint8_t why;         /* it ended, for the caller; what the caller did meanwhile may change it */
    uint8_t handler_why; /* and for the handler, which is told what made it end */
    uint8_t kind;        /* enum call_kind */
    uint8_t want, policy;
    uint8_t room, tie;
    bool refused;      /* it ended before its handler could start */
    bool over_rate;    /* that, since its caller has made too many calls per second */
    bool to_shut_down; /* on_shutdown is due */
    bool of_session;   /* op is of the session's registry */
    bool far;          /* member, line or op is another dispatcher's */
    bool far_child;    /* it has come from another one, where it is a handler's */
    bool remote_done;  /* outgoing: the remote has ended it, and needs no abort */
    bool own_stream;   /* its stream carries this call alone */
    bool held_back;    /* and is paused */
    bool paused;       /* no events: the caller asked for it */
    bool untaken;      /* no events: the forwarder had no room for the first */
};

/* Says the state in the log, for whoever looks at single calls. */
void call_trace(const alk_call *c);

/* The one way to change it. */
static inline void call_set_state(alk_call *c, enum call_state state)
{
    assert(state > c->state);
    c->state = (uint8_t)state;
    if (c->d->node->log_level >= ALK_LOG_DEBUG)
        call_trace(c);
}

static inline bool call_ended(const alk_call *c)
{
    return c->state >= CALL_ENDED;
}

/* Keeps values as messages until the turn, when the caller's functions run. It has backpressure of
 * its own: what waits counts against queue_high. */
extern const struct call_sink sink_callbacks;

extern const struct abi abi_call_options;
extern const alk_fault fault_internal, fault_timeout, fault_busy, fault_closed, fault_shutdown,
    fault_rate, fault_slow, fault_orphan, fault_revoked, fault_full;

/* What a name resolved to. What remotes serve has references, and is let go by target_drop; for the
 * rest that does nothing. */
struct target {
    const struct operation *op;
    alk_connection *via;   /* NULL: here */
    struct member *member; /* found by the peer table; has no via where it is another thread's */
    struct line *line;     /* a connection of another dispatcher, which has no via */
    struct overlay *set;
    alk_registry *discovered; /* no reference; NULL: it was not found outside */
    bool session;             /* of the session's registry */
};

/* Of a call that has come from another dispatcher, where it was let in. */
struct errand {
    alk_identity *identity, *originator; /* NULL: nobody */
    alk_registry *session;               /* NULL: none */
    uint64_t deadline;
    uint32_t hops, depth;
    uint8_t policy;
    bool nested; /* it is a handler's affair there */
    bool drains; /* so does the dispatcher that it is from: what runs there may finish */
};

/* What a call begins with; it lives in the frame of whoever starts the call. What is said to be in
 * msg stays there for the call; of everything else call_start takes a reference or a copy. */
struct request {
    struct msg *msg; /* taken over */
    struct str name;
    yyjson_val *input;     /* in msg; NULL is null, or text */
    struct str text;       /* in msg; the input, unparsed, of an errand */
    struct str id;         /* in msg */
    struct credential *by; /* who asks; NULL: nobody, or a nested call */
    const struct call_sink *sink;
    void *sink_ud;
    alk_connection *conn; /* NULL: none */
    uint64_t stream;
    alk_call *parent;                /* nested: context comes from it */
    const struct target *target;     /* resolved already: by peers/call, or a route's own */
    const alk_call_options *options; /* nested */
    struct line *line;               /* nested: what to select by, in place of a connection */
    const struct errand *errand;     /* it has come from another dispatcher, with a target */
    struct str claim;                /* in msg */
    struct str traceparent;          /* in msg */
    struct str parent_id;            /* in msg; of an errand */
    const char *remote;  /* for the log; outlives the call's end; NULL: the connection's */
    uint32_t timeout_ms; /* 0: none given */
    uint32_t hops;
    uint8_t want;
    bool own; /* the node's own program asks, and not somebody outside */
    /* Without conn, and with a sink of one's own: it ends when `by` is gone, as an exchange does by
     * which others come. */
    bool unattended;
};

/* start.c: the one way to start an operation: builds the call's context, resolves, checks,
 * queues. Its outcome, refusal included, goes to the sink. NULL: out of memory, and the sink has
 * heard nothing. A refused call has ended when this returns. */
alk_call *call_start(struct alk_dispatcher *d, const struct request *rq);
/* A nested call; errors as alk_call_invoke. target: see struct request; line: of another
 * dispatcher, in place of the options' connection. Both may be NULL. */
int call_invoke(alk_call *parent, const struct target *target, struct line *line,
                struct str operation, const char *input, size_t input_len,
                const alk_call_options *o, alk_call **out);
/* Makes c a child of parent; false: its root has as many as it may, or the depth is reached. */
bool call_adopt(alk_call *parent, alk_call *c);

/* call.c: the life of a call, and its end. */
/* A call without an executing side, for a connection to fill with results. */
alk_call *call_new(struct alk_dispatcher *d, struct msg *msg);
/* One that could not be started: nobody hears of it. */
void call_discard(alk_call *c);
/* It is accepted. */
void call_queue(alk_call *c);
/* Ends c and everything below it. fault may be NULL; its strings live as long as the call's
 * message or forever. */
void call_end(alk_call *c, int why, const alk_fault *fault);
/* A fault of a code, with a message that is kept in the call. */
void call_refuse(alk_call *c, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* NOT_FOUND "operation not found: NAME", name cut to a bounded length. */
void call_not_found(alk_call *c, struct str name);
/* A warning in the log about what the handler of c did. */
void call_log_handler(const alk_call *c, const char *what);
/* Whether each call gets a line in the log. */
bool logs_calls(const alk_node *n);
/* For durations: exact where a line of the log will say it, else of the turn. */
uint64_t call_clock(const alk_call *c);
/* For a call that has ended, with values that its caller has not taken yet, when the caller will
 * not take them any more: they are dropped, and the caller hears of the end with that reason. */
void call_hurry(alk_call *c, int why);
/* Something is to be done for it in the coming turn. */
void call_ready(alk_call *c);
/* Its caller goes on without it, or has its results: it is nobody's child. */
void call_unlink_child(alk_call *c);
/* It goes on without its caller: it and those below it begin nothing new, wherever they run. */
void call_alone(alk_call *c);

/* run.c: what is due for calls. */
/* Starts handlers and runs callbacks until nothing is left or the turn has had enough; false:
 * there is more. */
bool calls_run(struct alk_dispatcher *d);
static inline bool calls_due(const struct alk_dispatcher *d)
{
    return !list_empty(&d->ready) || !list_empty(&d->starters);
}
/* Finishes a call of a remote at once, which has ended before its start. A remote can send such
 * requests faster than turns come, and no limit counts what has ended. */
void call_done(alk_call *c);
/* A value for sink_callbacks: takes m over, whose value is what on_event gets. */
void call_event(alk_call *c, struct msg *m, size_t bytes);
/* A copy of the text as a value that has to wait, for call_event with its msg_size. The call's
 * payer pays for all of these in sum; where it has none, other does for each. NULL: out of memory,
 * or there is no room. */
struct msg *call_keep(alk_call *c, struct account *other, const char *text, size_t len);
/* There is room again below half of the high-water mark: on_drain follows if emit was refused. */
void call_make_room(alk_call *c);
/* The dispatcher drains: a handler that asked for it is told; a subscription whose handler did not
 * ends with BUSY. */
void call_shutdown(alk_call *c);

/* handler.c: as alk_call_fail; by_host: for a program that runs handlers of its own. */
int call_fail(alk_call *call, const alk_fault *fault, enum fault_source by);
/* The secret of that name that c may use, or NULL. */
const struct secret *call_secret(const alk_call *c, const char *name, size_t len);

/* output.c: what a handler answers. */
/* A value of another call passes through: ALK_EAGAIN as emit. */
int call_pass(alk_call *c, const alk_value *value);
#define ANSWER_VALUES 8u /* of an answer, beside its output */
/* What a value may be so that the envelope around it, with that many other values, is still
 * within the limits. */
struct json_limits envelope_limits(const alk_node *n, uint32_t other_values);
/* A well-formed W3C traceparent. */
bool traceparent_valid(struct str s);

#endif
