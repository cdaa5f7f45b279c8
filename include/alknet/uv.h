/* libalknet on a libuv loop that the application brings and runs. Everything here belongs to the
 * loop's thread, except alk_loop_post. libuv writes to sockets with write(2) and the library
 * installs no signal handler, so the application ignores SIGPIPE. */
#ifndef ALKNET_UV_H
#define ALKNET_UV_H

#include <alknet/alknet.h>
#include <alknet/dial.h>
#include <alknet/gateway.h>
#include <alknet/tls.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_server alk_server;

/* Drives d from loop. The handles that do so do not keep the loop alive on their own.
 * ALK_ENOMEM, ALK_ESYSTEM. */
ALK_API int alk_loop_open(alk_loop **out, uv_loop_t *loop, alk_dispatcher *d);
/* Closes its servers, ends all calls, frees the dispatcher, then (from the loop, when every
 * handle is closed) calls on_closed, which may be NULL. The loop must run until then. From any
 * callback on the loop's thread, once. */
ALK_API void alk_loop_close(alk_loop *l, void (*on_closed)(void *ud), void *ud);
/* Graceful stop: after drain_delay_ms no more accepting, new calls get BUSY, connections end
 * with their last call; at drain_ms what is left is cancelled. on_drained runs once, from the
 * loop. A second call cancels at once. */
ALK_API void alk_loop_drain(alk_loop *l, void (*on_drained)(void *ud), void *ud);
/* Runs fn on the loop's thread, soon. The only thread-safe function here. ALK_ECLOSED,
 * ALK_ENOMEM. */
ALK_API int alk_loop_post(alk_loop *l, void (*fn)(void *ud), void *ud);
/* The loop on which the call runs; NULL when its dispatcher is on none. */
ALK_API uv_loop_t *alk_call_loop(const alk_call *call);

typedef struct alk_server_options {
    uint32_t size;       /* set by alk_server_options_init */
    uint32_t reuse_port; /* 1: SO_REUSEPORT, so that several loops can listen on one port */
    const char *host;    /* numeric address; "127.0.0.1" by default; "::" is dual-stack */
    uint32_t port;       /* 0: the kernel chooses */
    /* A Unix-domain socket in place of host and port, in a directory that only trusted users may
     * write; an old socket file on which nobody listens is replaced, nothing else. */
    const char *unix_path;
    uint32_t unix_mode;   /* 0600 by default */
    int32_t fd;           /* a listening socket handed over (socket activation); -1: none */
    uint32_t backlog;     /* 4096 */
    alk_gateway *gateway; /* what speaks on accepted connections; must outlive the server */
    alk_tls *tls;         /* NULL: clear text. A reference is kept */
    /* 1: the gateway's trusted proxies begin each connection with a PROXY header (version 1 or 2),
     * which says whose it is; others are refused. */
    uint32_t proxy_protocol;
    /* 1: of a Unix-domain socket, who connects is the user that his process had when it did so
     * (alk_identity_provider.by_uid), as far as his requests have no token. */
    uint32_t peer_credentials;
    /* 1: QUIC, ALPN alknet/call, on a UDP socket of that host and port; tls is needed. */
    uint32_t quic;
} alk_server_options;

ALK_API void alk_server_options_init(alk_server_options *o, size_t size);
/* ALK_EINVAL, ALK_ESYSTEM (err, when given, says why), ALK_ECLOSED (draining or closing),
 * ALK_ENOMEM. The loop owns it. */
ALK_API int alk_server_open(alk_server **out, alk_loop *l, const alk_server_options *o, char *err,
                            size_t err_size);
/* 0 for a Unix-domain socket. */
ALK_API int alk_server_port(const alk_server *s);
/* The listening socket, the server's own; -1 once it is closed. A duplicate of it, as fd of another
 * loop's server, has both accept from it: for what cannot be bound twice, as a Unix-domain
 * socket. */
ALK_API int alk_server_fd(const alk_server *s);
/* Accepts no more; open connections go on. */
ALK_API void alk_server_close(alk_server *s);

#ifdef __cplusplus
}
#endif

#endif
