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
    /* 1: QUIC, ALPN alknet/call, on a UDP socket of that host and port; tls is needed. Servers of up
     * to 256 loops of one node may share the port, each with the same tls: by reuse_port, or by a
     * duplicate of the first one's alk_server_fd. A packet comes to the loop that has its
     * connection, and other processes and nodes cannot have the port. */
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

/* ---- requests to other services -------------------------------------------------------------- */

/* The loop's HTTP client, over which imported operations reach their services: connections are kept
 * and shared, HTTP/2 where offered. What is sent goes to the origin that was configured and nowhere
 * else: redirects are followed within it (5 at most, GET and HEAD; 307 and 308 with any method),
 * and a host's name must lead to public addresses unless whoever asks allows others. Requests that
 * may be repeated are sent again after a connection error or a 5xx, with back-off and jitter;
 * Retry-After is obeyed for each host. Event streams have connections of their own, over HTTP/1.1:
 * they last, and one that nobody reads must not hold back others. */
typedef struct alk_http_options {
    uint32_t size;             /* set by alk_http_options_init */
    uint32_t connect_ms;       /* 10,000: to resolve, connect and shake hands */
    uint32_t idle_ms;          /* 60,000: an answer of which nothing comes for so long has failed */
    uint32_t retries;          /* 2 */
    uint32_t host_connections; /* 16: to one host at a time; other requests wait for one */
    uint32_t connections;      /* 256: in all, idle ones included; half of them for event streams */
    uint32_t response_bytes;   /* 16 MiB: of one answer, decoded; event streams have no end */
    uint32_t header_bytes;     /* 64 KiB: of the heads of one answer in sum */
    uint32_t no_http2;         /* 1: HTTP/1.1 only */
    /* "http://[user:password@]host:port", socks5h:// likewise; NULL: none, the environment is not
     * asked. */
    const char *proxy;
    const char *no_proxy; /* hosts that are reached without it, separated by commas */
    const char *ca_file;  /* PEM: whom to trust in place of whom the system trusts */
    const char *certificate_file, *key_file; /* PEM: shown to servers that ask for one */
    const char *user_agent;                  /* "alknet/VERSION" */
} alk_http_options;

ALK_API void alk_http_options_init(alk_http_options *o, size_t size);
/* Once, before the loop's first request. Copies what o points to; the files are read for each
 * connection. ALK_EINVAL (err, when given, says what; also a second time), ALK_ESYSTEM (a file
 * cannot be read), ALK_ENOMEM. */
ALK_API int alk_loop_set_http(alk_loop *l, const alk_http_options *o, char *err, size_t err_size);
/* Fetches a document: GET, from the origin of url, within five minutes. headers: "Name: value\r\n"
 * lines, or NULL. on_done runs once, from the loop: 0 with the body, whose status was 200; or
 * ALK_EREMOTE, ALK_ELIMIT (larger than most), ALK_ENOMEM, ALK_ECLOSED (the loop closes), with why.
 * private_addresses: 1: the host's name may lead to any address. ALK_EINVAL (url, headers),
 * ALK_ECLOSED, ALK_ENOMEM: on_done does not run. */
ALK_API int alk_loop_fetch(
    alk_loop *l, const char *url, const char *headers, size_t most, uint32_t private_addresses,
    void (*on_done)(void *ud, int rc, const char *body, size_t len, const char *why), void *ud);

#ifdef __cplusplus
}
#endif

#endif
