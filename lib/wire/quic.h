/* QUIC version 1 (RFC 9000, 9001, 9002) for the ALPN alknet/call, on ngtcp2: datagrams and time in,
 * datagrams and a deadline out, no loop and no socket.
 *
 * A struct quic is what speaks on one UDP socket: a server with all of its connections, or a client
 * with its one. Each connection has bidirectional streams of frames (wire/frame.h), and whoever
 * uses it gets whole frames and gives whole frames.
 *
 * The transport (lib/uv/udp.c, a fake wire in tests) drives it:
 *   quic_feed      a datagram has arrived. Nothing of it is kept.
 *   quic_timeout   now >= quic_deadline.
 *   quic_pull      what is to be sent now, until there is no more. Packets are made in here, since
 *                  what is in them depends on losses and windows of the moment; so it is called
 *                  once a turn, behind everything else, and only while the socket takes more.
 * When something is to be pulled that was not before, outside of these, it calls wake, which only
 * notes.
 *
 * The events of a connection run inside feed, timeout and pull. From them, and from anywhere else,
 * all functions on connections may be called; none of them calls back. A connection ends in one
 * way: `over`, once, last, also after quic_close and in quic_free. What is left of it here then
 * only answers what still comes for it (RFC 9000, 10.2). */
#ifndef ALK_WIRE_QUIC_H
#define ALK_WIRE_QUIC_H

#include "base/host.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/str.h"

#include <alknet/tls.h>

#define QUIC_ADDRESS_TEXT 64u /* a numeric address, without port */

/* A socket address as the system has it: struct sockaddr_in or sockaddr_in6. */
struct quic_address {
    _Alignas(8) unsigned char bytes[28];
    uint32_t len;
};

struct quic_datagram {
    struct quic_address local, remote;
    unsigned ecn; /* the two bits of RFC 3168 */
    const uint8_t *data;
    size_t len;
    bool passed; /* another endpoint has passed it on (quic_app.pass) */
};

/* One or more datagrams for one path: all have `segment` bytes but the last, which may have
 * less. */
struct quic_batch {
    struct quic_address local, remote;
    unsigned ecn;
    size_t segment, len;
};

/* Times in ns. */
struct quic_limits {
    uint32_t handshakes; /* of clients, under way; from a quarter of it on, who comes must prove its
                               address first (RFC 9000, 8.1.2), and above it nobody is answered */
    uint32_t streams;    /* that the remote may have open at a time */
    uint32_t stream_window; /* bytes of a stream that may come and not be taken */
    uint32_t window;        /* likewise of a connection */
    uint64_t handshake_timeout, idle_timeout, keep_alive;
    uint64_t frame_timeout; /* for a frame that has begun, or the first of a stream, to come on */
};

struct quic;
struct quic_conn;

enum { QUIC_TAKEN, QUIC_LATER, QUIC_BROKEN };

struct quic_events {
    /* Server: who is at the other end has been proved (fingerprint "": nobody has shown anything).
     * Client: the server has accepted us, which is later than what TLS calls the end of the
     * handshake. */
    void (*ready)(void *ud, const char *fingerprint, uint64_t now);
    /* One whole frame of a stream, valid during the call. QUIC_LATER: it comes again after
     * quic_resume, and nothing of that stream meanwhile. QUIC_BROKEN: the stream is reset, and
     * `lost` follows. */
    int (*frame)(void *ud, uint64_t stream, const char *data, size_t len);
    /* The largest frame that may come now. */
    uint32_t (*limit)(void *ud);
    /* The remote has ended its side of the stream, between two frames. */
    void (*ended)(void *ud, uint64_t stream);
    /* The stream is of no use any more: reset by either side, or broken. */
    void (*lost)(void *ud, uint64_t stream);
    /* At most half of the mark waits on a stream that was above it (quic_set_mark). */
    void (*room)(void *ud, uint64_t stream);
    /* The remote allows more streams than it did. */
    void (*streams)(void *ud);
    /* The connection has ended: by the remote with its application's code, or ours; code -1: it was
     * cut, or never came about. why: for a person, valid during the call. */
    void (*over)(void *ud, int64_t code, const char *why, uint64_t now);
};

struct quic_app {
    /* Somebody opens a connection from that address. false: not now; else *events and *ud are
     * its. */
    bool (*accept)(void *ud, struct quic_conn *c, const char *address,
                   const struct quic_events **events, void **conn_ud, uint64_t now);
    void (*wake)(void *ud);
    /* NULL: it is the only endpoint on its address. Else, where a packet that was not passed belongs
     * to no connection here: mark is the first byte of its id, begins: it may begin a connection.
     * true: another endpoint has it, and nothing of it is kept here. */
    bool (*pass)(void *ud, const struct quic_datagram *d, unsigned mark, bool begins);
    void *ud;
};

struct quic_options {
    struct mem *mem;
    const struct host *host;
    const struct quic_app *app;
    const struct quic_limits *limits; /* looked at for each connection; outlives it */
    alk_tls *tls;                     /* of the server; NULL: none. A reference is kept */
    uint8_t mark; /* the first byte of the ids of a server's connections; the others are random */
};

/* NULL: out of memory. */
struct quic *quic_new(const struct quic_options *o);
/* All connections are over at once, and nobody is told that is at the other end. */
void quic_free(struct quic *q);
/* No more connections are accepted. */
void quic_drain(struct quic *q);
/* quic_close for each connection. */
void quic_close_all(struct quic *q, uint64_t code, const char *why);

void quic_feed(struct quic *q, const struct quic_datagram *d, uint64_t now);
/* Into buf, of `size` bytes, at least 1,500. 0: nothing is to be sent now. */
size_t quic_pull(struct quic *q, uint8_t *buf, size_t size, struct quic_batch *out, uint64_t now);
/* Whether a pull may give something. */
bool quic_wants(const struct quic *q);
/* UINT64_MAX: none. */
uint64_t quic_deadline(const struct quic *q);
void quic_timeout(struct quic *q, uint64_t now);
/* Nothing is left, not even of connections that are over. */
bool quic_empty(const struct quic *q);

struct quic_target {
    const struct quic_address *local, *remote;
    const char *host; /* its name, or numeric address */
    const char *pin;  /* the fingerprint that it must have; NULL: see quic_tls_connect */
    bool any;         /* whatever it shows will do */
    alk_tls *tls;
};

/* Opens a connection. NULL: out of memory. */
struct quic_conn *quic_connect(struct quic *q, const struct quic_target *to,
                               const struct quic_events *events, void *ud, uint64_t now);
/* From here on these are told of it. */
void quic_adopt(struct quic_conn *c, const struct quic_events *events, void *ud);
/* With an application's code, at once; `over` follows. */
void quic_close(struct quic_conn *c, uint64_t code, const char *why);
/* It is over at once, and nothing is said to the remote: the transport knows that nobody is
 * there. */
void quic_drop(struct quic_conn *c, const char *why);
/* The remote's address as it is now; the text of it. */
const char *quic_remote(const struct quic_conn *c, char out[QUIC_ADDRESS_TEXT]);
void quic_address_text(const struct quic_address *a, char out[QUIC_ADDRESS_TEXT]);
/* Who pays for what is kept of the connection's streams; outlives it, or is changed before. */
void quic_charge(struct quic_conn *c, struct meter *m);
/* Above that many bytes of a stream that are not on their way, `room` is told of half of it. */
void quic_set_mark(struct quic_conn *c, size_t mark);

/* false: as many as the remote allows are open. */
bool quic_open_stream(struct quic_conn *c, uint64_t *stream);
/* Appends a frame to a stream: 0, or -1: the stream cannot take it (ended, reset), or out of
 * memory. */
int quic_send(struct quic_conn *c, uint64_t stream, const char *data, size_t len);
/* Behind what was sent, our side of the stream ends. */
void quic_finish(struct quic_conn *c, uint64_t stream);
/* Both of its sides end at once; `lost` is not told. */
void quic_reset(struct quic_conn *c, uint64_t stream, uint64_t code);
/* Nothing of the stream is handed on until it is resumed: its window holds the remote back. */
void quic_pause(struct quic_conn *c, uint64_t stream);
void quic_resume(struct quic_conn *c, uint64_t stream);
/* Bytes that are not on their way: of a stream, and of all. */
size_t quic_queued(struct quic_conn *c, uint64_t stream);
size_t quic_queued_all(const struct quic_conn *c);
/* Bytes that the remote has acknowledged so far: whether it goes on. */
uint64_t quic_progress(const struct quic_conn *c);
/* Whether it should go on: something is not acknowledged, or the connection's window holds back
 * what waits. What waits for the window of its own stream says nothing of the connection. */
bool quic_awaits(const struct quic_conn *c);
/* The address of this side has changed: the connection goes on from there (RFC 9000, 9). -1: not
 * now, or it is a server's, which stays where it is. */
int quic_migrate(struct quic_conn *c, const struct quic_address *local, uint64_t now);
/* New keys (RFC 9001, 6). false: not now. */
bool quic_update_keys(struct quic_conn *c, uint64_t now);

#endif
