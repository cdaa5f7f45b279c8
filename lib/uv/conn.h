/* One byte stream and the engine that speaks on it. */
#ifndef ALK_UV_CONN_H
#define ALK_UV_CONN_H

#include "uv/plumbing.h"

enum { CONN_OPEN, CONN_CONNECTING, CONN_LINGER, CONN_CLOSED };

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } h;
    struct alk_loop *l;
    struct engine *e;
    struct list link;
    struct list woken; /* in the loop's list of those to step */
    struct list dirty; /* in the loop's list of those to flush at the end of the turn */
    struct heap_node deadline;
    struct buf inflight; /* output that the socket did not take at once */
    size_t piece;        /* of it: what uv_write has */
    uv_write_t write;
    uv_shutdown_t shutdown;
    /* slow.c; while a write waits: */
    struct list writer;     /* in the loop's list of those */
    struct heap_node speed; /* among those that may have to go */
    uint64_t write_begun;   /* and what the remote had not taken then */
    size_t write_left;
    uint64_t gone_check;     /* of a remote that has ended its side: the next look; 0: it has not */
    uint64_t write_deadline; /* end of the window, 0: for ever; and the same at its begin */
    size_t window_left;
    size_t thrown; /* bytes that came behind our end */
    uint8_t state;
    bool reading, writing, eof;
};

/* One that will be connected; NULL: it could not be made. mem: of the engine to come. */
struct conn *conn_new(struct alk_loop *l, bool is_pipe, struct mem *mem);
/* It is connected, and e speaks on it. */
void conn_speak(struct conn *c, struct engine *e);

/* Accepts what waits on the server. */
void conn_accept(struct alk_server *s);
/* Tells the engine that there is room or something to go on with. */
void conn_step(struct conn *c, uint64_t now);
/* Writes what the engine has, closes when it is done. */
void conn_flush(struct conn *c);
void conn_close(struct conn *c);
void conn_drain(struct conn *c, uint64_t now);
void conn_deadline(struct heap_node *n, uint64_t now);
/* The address of its remote, for the log. */
void conn_remote(const struct conn *c, char out[64]);

/* slow.c */
/* A write begins to wait; nothing waits any more. */
void slow_begin(struct conn *c, uint64_t now);
void slow_end(struct conn *c);
/* The engine's patience begins anew, or ends. */
void slow_window(struct conn *c, uint64_t now);
/* Its window is over. */
void slow_judge(struct conn *c, uint64_t now);
/* The loop's shed_timer has fired. */
void slow_shed(struct alk_loop *l, uint64_t now);

#endif
