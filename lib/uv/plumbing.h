/* What the files of this room share: the loop, its listeners, and what each file does for the
 * others. Handles of libuv are closed in a later turn, so everything here lives until its last
 * handle has said so; loop_check_end then looks whether the loop itself may go. */
#ifndef ALK_UV_PLUMBING_H
#define ALK_UV_PLUMBING_H

#include "base/heap.h"
#include "base/list.h"
#include "base/time.h"
#include "core/drive.h"
#include "wire/fetch.h"
#include "wire/transport.h"

#include <alknet/uv.h>

#define READ_BUFFER 65536u
/* Seconds of silence after which the kernel asks whether the remote is still there. Call
 * connections without pings have nothing else that would notice. */
#define KEEPALIVE_S 60u

struct conn;

struct alk_loop {
    struct transport transport; /* first: wire/transport.h */
    uv_loop_t *uv;
    alk_dispatcher *d;
    uint64_t now; /* of the present turn */
    struct mem mem;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t timer;
    uv_poll_t wake;  /* of wake_fd, an eventfd */
    uv_mutex_t lock; /* of posted */
    struct list posted, servers, closing_servers, conns, woken, dirty;
    struct list writers;   /* connections with a write under way */
    struct list udps;      /* sockets of QUIC */
    struct list buses;     /* over NATS */
    struct heap deadlines; /* of connections and of the two timers below */
    char *read_buffer;     /* one for all: whoever reads, uses it at once */
    uint64_t armed;        /* when the timer fires; UINT64_MAX: it does not */
    uint64_t date_at;
    char date[64];
    unsigned open_handles; /* of the loop's own */
    unsigned open_files, open_connects, open_udps;
    unsigned holds;       /* reasons for the application's loop to go on */
    struct conn *reserve; /* to accept, and close, what comes when memory is short */
    int wake_fd;
    bool woken_up; /* atomic: wake_fd has been written, and not been read yet */
    bool closing, wake_open;
    bool again;                /* loop_again */
    bool turning, close_asked; /* close was asked for inside a turn: it follows behind it */
    uint8_t drain;             /* DRAIN_ */
    struct heap_node drain_timer, shed_timer;
    void (*on_drained)(void *ud);
    void *on_drained_ud;
    void (*on_closed)(void *ud);
    void *on_closed_ud;
    struct file_service files;
    struct fetcher fetcher;
    struct http_client *http; /* NULL: there has been no request */
};

_Static_assert(offsetof(struct alk_loop, transport) == 0, "loop_transport relies on it");

enum { DRAIN_NO, DRAIN_DELAY, DRAIN_WAIT, DRAIN_CANCELLED, DRAIN_FORCED, DRAIN_DONE };

struct alk_server {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } h;
    struct alk_loop *l;
    struct list link;
    struct service *service;
    struct udp *udp; /* QUIC, in place of h; NULL: streams */
    alk_tls *tls;    /* NULL: clear */
    char *unlink_path;
    uint64_t device, inode; /* of the socket file */
    int port;
    bool is_pipe, closing, proxy_header;
    bool peer_credentials;  /* the user at the other end counts */
    uint64_t complained_at; /* of a connection that was not accepted */
    bool stalled;           /* a connection waits that could not be accepted for want of memory */
};

/* loop.c */
/* A handle of the loop, or a connection, is gone. */
void loop_check_end(struct alk_loop *l);
/* There is more to do: the loop must not wait before the next turn. */
void loop_again(struct alk_loop *l);
/* One reason more (1) or less (-1) for uv_run to go on. */
void loop_hold(struct alk_loop *l, int change);

/* server.c */
/* A connection is not served, by that code of libuv's. */
void server_accept_failed(struct alk_server *s, int rc);

/* dial.c */
void dial_init(struct alk_loop *l);

/* udp_dial.c */
void udp_dial_init(struct alk_loop *l);

/* files.c */
void files_init(struct alk_loop *l);

#endif
