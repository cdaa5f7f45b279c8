/* Between a loop's layer (lib/uv), which has the sockets, and whoever speaks on them (the gateway,
 * the dialers): what each side needs of the other, as tables of functions, so that neither knows
 * the other's files and another loop's layer can take the place of ours.
 *
 *   listeners   a service gives each accepted stream its engine; the gateway is one.
 *   dialers     a transport connects streams for whoever wants to speak on them; the loop is one.
 *   files       the loop reads files for the gateway, without blocking.
 *   fetcher     the loop sends requests over HTTP for importers: wire/fetch.h.
 *
 * The public types hide both tables as their first member: an alk_gateway begins with its struct
 * service, an alk_loop with its struct transport. */
#ifndef ALK_WIRE_TRANSPORT_H
#define ALK_WIRE_TRANSPORT_H

#include "base/list.h"
#include "wire/bus.h"
#include "wire/engine.h"

#include <alknet/dial.h>
#include <alknet/gateway.h>
#include <alknet/tls.h>

/* One accepted connection; the strings need not outlive the call. */
struct peer_info {
    const char *address; /* of the remote: numeric, without port; "unix" for a Unix-domain socket */
    const char *local;   /* to which it came: likewise */
    alk_tls *tls;        /* of the listener; NULL: clear */
    bool proxy_header;   /* it begins with one, if it is a trusted proxy's */
    const uint32_t *uid; /* the user at the other end, where that is to count; NULL: not known */
};

/* ---- files ----------------------------------------------------------------------------------- */

/* The largest piece: few reads for a large file, and still little for each client. */
#define FILE_PIECE 65536u

struct file_reader;

struct file_events {
    /* found: a regular file of size bytes is open. Otherwise there is none that may be read, and
     * nothing follows. */
    void (*opened)(void *ud, bool found, uint64_t size);
    /* The piece that was asked for; len 0: the file could not be read on. */
    void (*piece)(void *ud, const char *data, size_t len);
};

/* Reads files below one directory, without blocking the loop. */
struct file_service {
    /* path: relative segments joined by '/', none of them "." or "..". No symbolic link is
     * followed. NULL: out of memory. The events come later, from the loop. */
    struct file_reader *(*open)(void *ud, const char *root, const char *path,
                                const struct file_events *events, void *events_ud);
    void (*next)(struct file_reader *f);
    /* Valid at any time; no event follows. */
    void (*close)(struct file_reader *f);
    void *ud;
};

/* ---- listeners ------------------------------------------------------------------------------- */

struct quic_conn;
struct quic_events;

struct service {
    /* The engine of an accepted connection; NULL: refused, or out of memory. */
    struct engine *(*accept)(struct service *s, struct mem *mem, const struct peer_info *p,
                             uint64_t now);
    /* Somebody opens a connection of QUIC from that address: its events; false: refused, or out of
     * memory. */
    bool (*accept_quic)(struct service *s, struct quic_conn *c, const char *address,
                        const struct quic_events **events, void **ud, uint64_t now);
    /* Once a second: the time of day as HTTP's Date, and now. */
    void (*tick)(struct service *s, const char *date, uint64_t now);
    struct mem *(*mem)(struct service *s);
    const struct file_service *files; /* set by the listener's loop */
};

static inline struct service *gateway_service(alk_gateway *g)
{
    return (struct service *)(void *)g;
}

/* ---- dialers --------------------------------------------------------------------------------- */

/* The longest path of a Unix-domain socket. */
#define SOCKET_PATH_MAX 107u

struct destination {
    const char *path; /* of a Unix-domain socket; NULL: a host and a port */
    const char *host; /* a name or a numeric address */
    uint32_t port;
};

struct connecting;
struct fetcher;

struct connect_events {
    /* Connected. The engine that speaks on it; NULL: the stream is closed. */
    struct engine *(*connected)(void *ud, uint64_t now);
    /* why: static or valid during the call. */
    void (*failed)(void *ud, const char *why);
};

struct quic_connecting;

struct quic_connect_events {
    /* The server has taken us. false: the connection is not wanted, and closed. Else it is adopted
     * (quic_adopt). fingerprint: of what the server has shown. */
    bool (*connected)(void *ud, struct quic_conn *c, const char *fingerprint, uint64_t now);
    /* why: valid during the call. */
    void (*failed)(void *ud, const char *why);
};

/* A member of whoever makes connections of his own on a transport. */
struct dialing {
    struct list link;
    /* The loop closes: make no more, and take link out of its list. */
    void (*close)(struct dialing *x);
};

struct transport {
    alk_dispatcher *d;
    struct mem *mem;     /* of the engines on its streams */
    struct list dialers; /* struct dialing */
    bool leaving;        /* takes no new dialer: it drains or closes */
    /* One of the events follows, from the loop. NULL: out of memory. to need not outlive the
     * call. */
    struct connecting *(*connect)(struct transport *t, const struct destination *to,
                                  const struct connect_events *events, void *events_ud);
    /* Valid before an event; none follows. */
    void (*cancel)(struct connecting *x);
    /* Likewise of QUIC. pin: the fingerprint that the server must have; NULL: what tls says. */
    struct quic_connecting *(*connect_quic)(struct transport *t, const struct destination *to,
                                            const char *pin, alk_tls *tls,
                                            const struct quic_connect_events *events,
                                            void *events_ud);
    void (*cancel_quic)(struct quic_connecting *x);
    struct fetcher *fetcher; /* requests over HTTP to others: wire/fetch.h */
    /* A bus over NATS, which tells how it goes. ALK_ENOMEM, ALK_ESYSTEM (err says why). */
    int (*open_bus)(struct transport *t, const struct nats_options *o, struct bus **out, char *err,
                    size_t size);
    /* A dialer is there (1) or gone (-1): the loop goes on as long as there are any. */
    void (*hold)(struct transport *t, int change);
};

static inline struct transport *loop_transport(alk_loop *l)
{
    return (struct transport *)(void *)l;
}

#endif
