/* What the files of a host share. A host has two threads of the library's: the main one, which runs
 * the service (service.h) on a loop of its own, and the first worker's, on which the program's calls
 * run. The program's threads meet them in three places, each under a lock that is held for a few
 * instructions: the queue of events, an inbox for each of the two, and the table of ids, whose
 * entries are also looked at with atomics. */
#ifndef ALK_SERVE_HOST_INT_H
#define ALK_SERVE_HOST_INT_H

#include "base/list.h"
#include "base/map.h"
#include "core/dispatcher.h"
#include "core/line.h"
#include "base/str.h"
#include "serve/service.h"

#include <alknet/host.h>
#include <alknet/uv.h>
#include <stdbool.h>

/* The C library's allocator, since what crosses threads has no dispatcher's. */
void *host_alloc(size_t size);
void *host_zalloc(size_t size);
void host_free(void *p);

/* ---- events ---------------------------------------------------------------------------------- */

struct event {
    struct list link;
    alk_host_event e;
    const alk_identity *identities[2]; /* references, whose texts e shows */
    size_t bytes;                      /* that it counts for in the queue */
    char text[];
};

struct events {
    uv_mutex_t lock;
    uv_cond_t come;
    struct list waiting;
    size_t count, bytes;         /* of what waits */
    size_t count_max, bytes_max; /* the marks */
    uint64_t dropped;            /* lines of the log */
    int fds[2];                  /* a pipe with one byte in it while events wait; -1: none */
    bool signalled, over;        /* over: the last one was put */
    bool above;                  /* somebody waits for half of them (host_low) */
};

int events_init(struct events *q, const alk_host_options *o);
void events_fini(struct events *q);
/* With room for a text of len bytes and its NUL. NULL: out of memory. */
struct event *event_new(uint32_t kind, const char *text, size_t len);
/* The JSON of an identity, which *keep holds. */
const char *event_show(const alk_identity **keep, const alk_identity *who);
void event_free(struct event *ev);
/* Puts a list of events behind those that wait, and tells the program. */
void events_put(struct events *q, struct list *list, size_t count, size_t bytes);
void events_put_one(struct events *q, struct event *ev);
/* Likewise a line of the log, which is dropped above the marks. */
void events_put_log(struct events *q, struct event *ev);
/* What waits was of a start that has failed. */
void events_drop(struct events *q);
/* The last one: nobody waits any longer than for it. */
void events_put_last(struct events *q, struct event *ev);
/* More waits than the options allow, with that much on its way; when it is half of that, the loop
 * hears of it (host_low). */
bool events_above(struct events *q, size_t more, size_t more_bytes);

/* ---- ids ------------------------------------------------------------------------------------- */

/* CALLED: a call to the program. CALLING: one of its own. */
enum subject_kind { SUBJECT_CALLED, SUBJECT_CALLING, SUBJECT_DIAL, SUBJECT_SESSION };

/* In one word, so that a thread which finds an id good marks that id and no later one:
 *   the id's generation | what its emits on their way weigh | the kind | the flags */
#define SUBJECT_LIVE 1u
#define SUBJECT_ANSWERED 2u     /* the program has said the last that it may */
#define SUBJECT_BLOCKED 4u      /* emits are refused until ALK_HOST_ROOM */
#define SUBJECT_SUBSCRIPTION 8u /* of a call */
#define SUBJECT_PAUSED 16u      /* by the program, */
#define SUBJECT_PAUSING 32u     /* and the loop has still to hear of it */
#define SUBJECT_KIND_SHIFT 6u
#define SUBJECT_KIND(word) ((enum subject_kind)((word) >> SUBJECT_KIND_SHIFT & 3u))
#define SUBJECT_EMIT_SHIFT 8u
#define SUBJECT_EMITS(word) ((word) >> SUBJECT_EMIT_SHIFT & 0xffffu)
#define SUBJECT_GENERATION_SHIFT 24u
/* Of one call, that the loop has not passed on. Each counts as one, and as one more for each 4 KiB
 * that it has, so that it is a MiB at most and the last one. */
#define EMITS_MAX 256u
#define EMIT_BYTES 4096u

struct subject {
    uint64_t word; /* atomic */
    uint64_t tag;
    alk_host *h;
    uint32_t index;
    /* Of the loop's thread, once it knows the id. */
    bool room_wanted;  /* ALK_HOST_ROOM is owed */
    bool lost;         /* a value, for want of memory */
    struct event *end; /* kept for it, so that it needs no memory */
    alk_call *call;    /* a reference */
    struct list held;  /* struct command: answers that wait for room */
    struct list link;  /* among the host's streams */
    alk_dialer *dialer;
    struct line *line; /* of its connection; a reference */
    struct map_node by_line;
    struct visit *visit; /* of a session; a reference */
    struct dial *dial;   /* what it is dialled with */
    bool known;          /* its line is in the host's map */
    bool told;           /* and the program has heard of it */
    struct subject *next_free;
};

struct subjects {
    uv_mutex_t lock;
    struct subject **chunks; /* atomic pointers */
    uint32_t used;           /* those that were ever used */
    struct subject *free;
};

int subjects_init(struct subjects *s);
void subjects_fini(struct subjects *s);
/* With its event for the end. NULL: out of memory, or of ids. */
struct subject *subject_new(alk_host *h, enum subject_kind kind, uint32_t flags, uint64_t tag);
/* Its id is over; nobody finds it any more. */
void subject_free(struct subject *s);
uint64_t subject_id(const struct subject *s);
/* NULL: over, or never given. From any thread; what is found may be over the next moment, but for
 * the loop's own thread: *word is what the functions below begin with. */
struct subject *subject_find(struct subjects *all, uint64_t id, uint64_t *word);
/* The program says the last that it may. ALK_EENDED: it has, or the id is over. */
int subject_answer(struct subject *s, uint64_t id, uint64_t word);
/* One emit more, of len bytes, is on its way. ALK_EENDED; ALK_EAGAIN: it is blocked;
 * SUBJECT_NOW_BLOCKED: it has just become so, since there are enough, or full says so. */
#define SUBJECT_NOW_BLOCKED 1
int subject_emit(struct subject *s, uint64_t id, uint64_t word, size_t len, bool full);
/* 1: the loop has to be told; 0: it will be. ALK_EENDED. */
int subject_pause(struct subject *s, uint64_t id, uint64_t word, bool paused);
/* For the loop: the flags are taken away. */
uint64_t subject_clear(struct subject *s, uint64_t flags);
void subject_emitted(struct subject *s, size_t len);

/* ---- inboxes --------------------------------------------------------------------------------- */

enum command_kind {
    COMMAND_REPLY,
    COMMAND_EMIT,
    COMMAND_COMPLETE,
    COMMAND_FAIL,
    COMMAND_ROOM, /* the program wants to know when there is some */
    COMMAND_CALL,
    COMMAND_PAUSE,
    COMMAND_ABORT,
    COMMAND_DIAL,
    COMMAND_RELOAD,
};

/* Of COMMAND_CALL beside its input; the texts lie behind that. */
struct call_command {
    uint32_t stream, timeout_ms, policy;
    uint64_t parent, connection;
    struct str operation;
    const char *peer, *traceparent;
    alk_identity *identity; /* a reference */
};

struct command {
    struct list link;
    enum command_kind kind;
    uint64_t id; /* of a subject; of COMMAND_RELOAD, 1: the file is to be read */
    struct call_command *call;
    struct event *told; /* of COMMAND_RELOAD: kept for it */
    size_t len;
    char text[];
};

/* From the program's threads to a loop's. */
struct inbox {
    uv_mutex_t lock;
    uv_async_t async;
    struct list list;
    size_t count, bytes;
    bool open, woken;
    struct event *room; /* owed for something that has no id and was refused, since it was full */
};

/* NULL: out of memory. */
struct command *command_new(enum command_kind kind, uint64_t id, const char *text, size_t len);
void command_free(struct command *c);
int inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);
int inbox_open(struct inbox *in, uv_loop_t *loop, uv_async_cb fn, void *ud);
/* Nothing is taken any more; the handle closes. out gets what was not looked at. */
void inbox_close(struct inbox *in, struct list *out);
/* c is the inbox's in any case. bounded: ALK_EAGAIN when it is full. ALK_ECLOSED, ALK_ENOMEM. */
int inbox_put(alk_host *h, struct inbox *in, struct command *c, bool bounded);
bool inbox_full(alk_host *h, struct inbox *in);
/* Takes what is there, unless out still holds something. ALK_HOST_ROOM if somebody waits for it. */
struct event *inbox_take(struct inbox *in, struct list *out);
/* What was taken is done, but for what is left: whether to come again. */
void inbox_again(struct inbox *in, bool left);
void inbox_wake(struct inbox *in);

/* ---- the host -------------------------------------------------------------------------------- */

/* While it starts, calls come already, and can be answered. */
enum host_state { HOST_NEW, HOST_STARTING, HOST_RUNNING, HOST_STOPPED };
#define HOST_STOP_GRACEFUL 1u
#define HOST_STOP_NOW 2u

struct kept_text {
    struct list link;
    char text[];
};

struct alk_host {
    alk_host_options o;
    char *file;         /* of the configuration */
    struct config *cfg; /* until the start, and so is reg */
    alk_registry *reg;
    struct list texts; /* struct kept_text, of alk_host_config */
    uv_mutex_t lock;   /* of what comes before the start, of as_text and as */
    bool started;
    bool serves;    /* operations of the program's */
    unsigned *here; /* a page that a child of the process finds wiped */
    uint32_t state; /* atomic */
    uint32_t stop;  /* atomic: what is asked for, HOST_STOP_ */

    struct events events;
    struct event *last; /* ALK_HOST_STOPPED, kept for it */
    struct subjects subjects;
    struct inbox main_in, work_in;
    /* The identity that a call of the program's was made with last, as text too. */
    char *as_text;
    alk_identity *as;

    /* Of the main thread. */
    uv_loop_t loop;
    uv_thread_t thread;
    bool has_thread;
    bool stops_now;          /* was told to, and not to wait */
    struct service *service; /* from the start until h is freed */

    /* Of the first worker's. */
    alk_dispatcher *d;
    alk_loop *net;
    uv_prepare_t prepare;
    struct list commands; /* that were taken and not looked at */
    struct list staged;   /* events, until the loop waits */
    size_t staged_count, staged_bytes;
    struct list streams; /* subscriptions that the program has */
    bool streams_paused;
    uint32_t low;           /* atomic: the program has fetched much */
    struct map connections; /* subjects, by line */
    struct mem mem;
    uint64_t seed[2];
};

/* Whether this process made it. */
static inline bool host_is_here(const alk_host *h)
{
    return *h->here != 0;
}
/* Less waits for the program than half of what may. */
void host_low(alk_host *h);

/* Says text where err is given; returns rc. */
int host_complain(char *err, size_t size, int rc, const char *text);
/* Whether it has started, and this process may use it. */
bool host_runs(const alk_host *h);

/* host_work.c: on the first worker's thread. */
struct host_operation {
    alk_host *h;
    uint64_t tag;
};
int work_open(void *ud, uv_loop_t *loop, alk_dispatcher *d);
void work_net(void *ud, alk_loop *net);
void work_draining(void *ud);
void work_drained(void *ud);
void work_gone(void *ud);
/* The handler of what alk_host_add has registered; ud: struct host_operation. */
int work_serve(alk_call *call, void *ud);
void work_post(alk_host *h, struct event *ev);
/* The end of an id, whatever it is of, with the reason as text; fault NULL: without. */
void work_end(struct subject *s, int why, const alk_fault *fault);
/* Likewise of a call, with the reason that each end has. */
void work_end_call(struct subject *s, int why, const alk_fault *fault);
/* The program is behind with its events. */
bool work_above(alk_host *h);
/* The text of a fault as an event of that kind; NULL: out of memory. */
struct event *work_fault(uint32_t kind, const alk_fault *f);

/* host_calls.c: what commands say. */
void work_do(alk_host *h, struct command *c);
/* The program takes values again, or not. */
void work_pause_all(alk_host *h, bool paused);

/* host_dial.c */
/* On the thread of the session's worker. */
void work_session(void *ud, const alk_session *s, int code);
void work_dial(struct subject *s);
void work_hang_up(struct subject *s);
/* Closes a session. */
void work_dismiss(struct subject *s);
/* The connection that an id stands for now; NULL: none. */
struct line *work_line(alk_host *h, uint64_t id);
/* The id of a connection; 0: it has none. */
uint64_t work_line_id(alk_host *h, const struct line *l);

#endif
