/* One node for tests of the core: its registry, one dispatcher, a clock that the test moves, and
 * every log event as a line of text. All memory of the dispatcher is counted; world_free asserts
 * that it came back.
 *
 * The callee's side of a call is a `served`: the handler serve_later keeps the call there and the
 * test answers it whenever it likes. The caller's side is an `asked`: what came of the call, as
 * text. Time starts at 1,000 s, so that zero is never now. */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include "base/buf.h"
#include "support/memory.h"
#include "support/must.h"

#include <alknet/alknet.h>
#include <check.h>

#define MS UINT64_C(1000000)
#define WORLD_NOW (UINT64_C(1000000) * MS)

/* Text and its length, as the library's functions take them. */
#define TEXT(s) (s), strlen(s)

struct world {
    struct memory memory;
    struct mem mem; /* for the helpers' own buffers */
    alk_registry *reg;
    alk_node_options options; /* changed by the test before world_start */
    alk_limits limits;
    alk_node *node;
    alk_dispatcher *d;
    uint64_t now, next; /* next: what the last turn returned */
    struct buf log;     /* a line "event outcome message" for each event */
};

/* A node that is not started: operations can be added, options and limits changed. */
struct world *world_new(void);
/* Freezes the registry, makes node and dispatcher. */
void world_start(struct world *w);
/* Ends everything and asserts that no memory of the dispatcher is left. */
void world_free(struct world *w);

/* Adds an operation that must be acceptable. Members of more (NULL: none) that are not zero
 * replace the defaults. */
void world_add(struct world *w, const char *name, uint32_t type, alk_handler handler, void *ud);
void world_add_full(struct world *w, const alk_operation *op);

/* Turns until nothing is due. */
void world_turn(struct world *w);
void world_advance(struct world *w, uint64_t ms);
/* Turns two worlds, one after the other, as often as a few calls between them need. Both get the
 * later clock. */
void world_settle(struct world *a, struct world *b);
/* … until *what is not 0, and then settles. */
void world_until(struct world *a, struct world *b, const int *what);
alk_stats world_stats(const struct world *w);
/* Whether the log has a line that contains text. */
bool world_logged(const struct world *w, const char *text);

/* ---- the callee's side */

struct served {
    alk_call *call; /* a reference, since the handler ran */
    int starts, ends, drains;
    int why;       /* ALK_END_ of on_end */
    char code[64]; /* of on_end's fault; "" */
    int order;     /* 1, 2, … in which on_end came, over all of the test */
};

/* A handler that answers later; ud is a struct served. */
int serve_later(alk_call *call, void *ud);
/* A handler that replies with its input. */
int serve_echo(alk_call *call, void *ud);
void served_free(struct served *s);
void served_reply(struct served *s, const char *json);
void served_emit(struct served *s, const char *json);
int served_fail(struct served *s, const char *code, const char *message, const char *details);

alk_call_context context_of(const alk_call *call);

/* ---- the caller's side */

struct asked {
    alk_call *call; /* a reference */
    int values, ends, why, retryable;
    char *text;                     /* all values, separated by a blank; "" */
    char *code, *message, *details; /* of the fault; NULL: none */
    int order;                      /* as in struct served */
    struct buf buf;
    struct mem mem;
    void (*on_value)(struct asked *a); /* called for each value; may be NULL */
    void *ud;
};

/* Options whose callbacks fill a, which is emptied. */
void asked_options(struct asked *a, alk_call_options *o);
/* Calls; must not fail. */
void ask(struct asked *a, alk_connection *c, const char *operation, const char *input);
void ask_stream(struct asked *a, alk_connection *c, const char *operation, const char *input);
void asked_free(struct asked *a);
/* Aborts it, turns, and frees. */
void asked_drop(struct asked *a, struct world *w);
/* "ok VALUES", or "fault CODE: MESSAGE", or "aborted", "timeout …", "closed", or "running".
 * Static buffer. */
const char *asked_outcome(const struct asked *a);

/* ---- identities */

/* A connection's options with that identity (JSON; NULL: none). Free with
 * alk_identity_unref(o->identity). */
alk_identity *identity_of(const char *id, const char *scopes);

#endif
