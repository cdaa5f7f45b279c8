/* Shared by the files of the HTTP/2 engine: h2.c (order of events, timers, the connection's end),
 * h2_session.c (nghttp2's events and memory), h2_head.c (fields into a request), h2_stream.c (the
 * life of an exchange), h2_write.c (responses out), h2_tunnel.c (a stream that carries an engine).
 *
 * Invariants:
 *  - nghttp2 is entered by feed and flush alone. Its events note what they find; the application is
 *    called from them only with a head and with pieces of a body, which would have to be copied
 *    otherwise, and when the client resets a stream. All else that concerns a stream happens in its
 *    step, for which it is in `due`.
 *  - A stream is `linked` while nghttp2 knows it, `open` while its exchange lives. It is freed when
 *    it is neither and carries no engine. nghttp2 keeps a pointer to it while it is linked.
 *  - Timers are set in steps, since only then it is known what time it is.
 *  - The connection's window is given back at once for all that comes; a stream's only when
 *    somebody has taken it. So one that is not read holds up nobody, and holds 64 KiB at most. */
#ifndef ALK_WIRE_H2_INT_H
#define ALK_WIRE_H2_INT_H

#include "base/heap.h"
#include "base/list.h"
#include "wire/h2.h"
#include "wire/http_head.h"

#include <nghttp2/nghttp2.h>

/* Which time-out of the connection runs. FRESH: there was no request yet. */
enum { TIMER_NONE, TIMER_FRESH, TIMER_HEAD, TIMER_IDLE };
/* HELD: nobody has asked for it. DONE: on_body_end has run, or nobody will be told. */
enum { BODY_HELD, BODY_ASKED, BODY_DONE };
/* DONE: by the application. CUT: it ends without its end. UPGRADED: the stream carries an
 * engine. */
enum { RESPONSE_NONE, RESPONSE_BODY, RESPONSE_DONE, RESPONSE_CUT, RESPONSE_UPGRADED };

/* A bucket of tokens, as the time at which it is full again. */
struct h2_bucket {
    uint64_t full_at;
};

struct h2 {
    struct engine e;
    nghttp2_session *session;
    const struct http_app *app;
    void *ud;
    void (*conn_fini)(void *ud);
    const struct http_limits *limits;
    struct list live; /* streams with an exchange or an engine */
    struct list rest; /* the others: their head is on its way, or they are about to leave nghttp2 */
    struct list due;  /* streams that want a step */
    struct heap timers; /* of streams */
    struct meter *meter;
    struct list blocks;   /* of nghttp2's memory */
    size_t held, charged; /* by nghttp2; of that, what the meter counts */
    uint64_t now;         /* of the entry that runs */
    uint64_t deadline;    /* of timer */
    uint64_t drain_at;    /* when the last GOAWAY is due; 0: it is not, or has been sent */
    struct h2_bucket resets, idle;
    int32_t head_stream; /* whose header block is on its way; 0: none */
    uint8_t timer;
    bool seen; /* a request has come */
    bool running, woken;
    bool receiving;  /* nghttp2 takes what came */
    bool terminated; /* GOAWAY is on its way: nothing else counts any more */
    bool leaving;    /* a graceful end has been asked for */
    bool draining;   /* and clients have been told */
};

struct h2_stream {
    struct h2 *h;
    struct http_exchange x;
    struct list link, due;
    struct heap_node timer;
    int32_t id;
    uint16_t error;   /* a status to raise; 0: none */
    const char *what; /* why */
    struct http_head *head;
    uint32_t pseudo;        /* fields of the head that are pseudo-header fields: they come first */
    size_t block;           /* bytes of header fields that have come, also of those dropped */
    size_t fields;          /* bytes of the fields that count towards header_bytes */
    struct buf in;          /* of the body, or for the engine: what nobody has taken yet */
    struct buf out;         /* of the response: what has no room in the connection's output yet */
    uint64_t body_left;     /* bytes that the limit still allows */
    uint64_t response_left; /* of a response with a length: bytes to write */
    uint64_t body_deadline, write_deadline; /* 0: none */
    uint64_t moved,
        waited;            /* bytes that left since, and that waited when, write_deadline was set */
    struct engine *tunnel; /* that it carries */
    uint8_t body, response;
    bool linked, open;
    bool whole;                /* its head is */
    bool remote_ended;         /* END_STREAM has come */
    bool sent;                 /* END_STREAM is in the output */
    bool deferred;             /* nghttp2 waits until there is something to send */
    bool expects;              /* the client waits for 100 Continue */
    bool bare;                 /* no body bytes go out */
    bool above;                /* `out` has been above limits->write_high */
    bool writable;             /* on_writable is due */
    bool eof_told, drain_told; /* to the engine */
};

/* h2.c */
/* Notes that the stream wants a step. */
void h2_touch(struct h2_stream *s);
/* Outside of a step, asks for one. */
void h2_wake(struct h2 *h);
/* GOAWAY with this code; what runs ends. */
void h2_terminate(struct h2 *h, uint32_t code);
/* Puts its timer where the earliest of its deadlines is. */
void h2_arm(struct h2_stream *s);
/* The last GOAWAY of a graceful end. */
void h2_drain_end(struct h2 *h);

/* h2_session.c */
/* 0, or -1: out of memory. Any failure of nghttp2 to get memory ends the connection with
 * ENGINE_RESET by itself, so what it returns is of interest only where something else depends on
 * it. */
int h2_session_open(struct h2 *h);
void h2_session_close(struct h2 *h);

/* h2_head.c */
/* Keeps a field of a request's head, or notes an error. */
void h2_head_add(struct h2_stream *s, struct str name, struct str value);
/* Behind the last field: fills x.req, or notes an error. last: nothing follows the head. */
void h2_head_judge(struct h2_stream *s, bool last);

/* h2_stream.c */
struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
void h2_stream_free(struct h2_stream *s);
/* The head is whole. */
void h2_stream_begin(struct h2_stream *s);
/* A piece of the body; also of what nobody wants any more. */
void h2_stream_input(struct h2_stream *s, const char *data, size_t len);
void h2_stream_step(struct h2_stream *s);
void h2_stream_expired(struct h2_stream *s, uint64_t now);
/* Whatever it carries ends now. It is not live any more, and freed if nghttp2 does not know it. */
void h2_stream_close(struct h2_stream *s);
/* It has nothing to live for any more, and goes as soon as nghttp2 lets it. */
void h2_stream_leave(struct h2_stream *s);
/* Keeps input that nobody takes now. */
void h2_stream_keep(struct h2_stream *s, const char *data, size_t len);
/* So much was taken, and goes back to the stream's window. */
void h2_consumed(struct h2_stream *s, size_t n);
/* Notes an error, whose first one counts; none does behind the end of the exchange. */
void h2_fail(struct h2_stream *s, int status, const char *what);
/* Ends it with RST_STREAM. */
void h2_cut(struct h2_stream *s, uint32_t code);

/* h2_write.c */
extern const struct http_exchange_ops h2_exchange_ops;
/* What waits to be sent on the stream. */
struct buf *h2_waiting(struct h2_stream *s);
/* There is something to send, or the end is. */
void h2_resume(struct h2_stream *s);
/* nghttp2's; ud is the h2. */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                 size_t length, nghttp2_data_source *source, void *ud);

/* h2_tunnel.c */
void h2_tunnel_begin(struct h2_stream *s, struct engine *next);
void h2_tunnel_input(struct h2_stream *s, const char *data, size_t len);
void h2_tunnel_step(struct h2_stream *s);
void h2_tunnel_fini(struct h2_stream *s);

static inline size_t h2_unsent(const struct h2 *h)
{
    return h->e.out.len + h->e.inflight;
}

#endif
