/* What a listener needs of whoever speaks on the connections that it accepts, and what it offers to them. */
#ifndef ALK_WIRE_SERVICE_H
#define ALK_WIRE_SERVICE_H

#include "wire/engine.h"

#include <alknet/dial.h>
#include <alknet/gateway.h>

/* One accepted connection; the strings need not outlive the call. */
struct peer_info {
    const char *address; /* of the remote: numeric, without port; "unix" for a Unix-domain socket */
    const char *local;   /* to which it came: likewise */
};

struct file_reader;

struct file_events {
    /* found: a regular file of size bytes is open. Otherwise there is none that may be read, and nothing follows. */
    void (*opened)(void *ud, bool found, uint64_t size);
    /* The piece that was asked for; len 0: the file could not be read on. */
    void (*piece)(void *ud, const char *data, size_t len);
};

/* Reads files below one directory, without blocking the loop. */
struct file_service {
    /* path: relative segments joined by '/', none of them "." or "..". No symbolic link is followed. NULL: out of
     * memory. The events come later, from the loop. */
    struct file_reader *(*open)(void *ud, const char *root, const char *path,
                                const struct file_events *events, void *events_ud);
    void (*next)(struct file_reader *f);
    /* Valid at any time; no event follows. */
    void (*close)(struct file_reader *f);
    void *ud;
};

struct service {
    /* The engine of an accepted connection; NULL: refused, or out of memory. */
    struct engine *(*accept)(struct service *s, struct mem *mem, const struct peer_info *p,
                             uint64_t now);
    /* Once a second: the time of day as HTTP's Date, and now. */
    void (*tick)(struct service *s, const char *date, uint64_t now);
    struct mem *(*mem)(struct service *s);
    const struct file_service *files; /* set by the listener's loop */
};

struct service *gateway_service(alk_gateway *g);

struct connecting;

struct connect_events {
    /* Connected. The engine that speaks on it; NULL: the stream is closed. */
    struct engine *(*connected)(void *ud, uint64_t now);
    /* why: static or valid during the call. */
    void (*failed)(void *ud, const char *why);
};

/* Makes byte streams to others, without blocking the loop. */
struct connector {
    /* host: a name or a numeric address. One of the events follows, from the loop. NULL: out of memory. */
    struct connecting *(*connect)(struct connector *c, const char *host, uint32_t port,
                                  const struct connect_events *events, void *events_ud);
    /* Valid before an event; none follows. */
    void (*cancel)(struct connecting *x);
    /* A dialer is there (1) or gone (-1): the loop goes on as long as there are any. */
    void (*hold)(struct connector *c, int change);
    struct mem *mem;      /* of the engines on its streams */
    struct list *dialers; /* those that are open, by their first member */
};

/* As alk_dial. */
int dialer_new(alk_dialer **out, alk_dispatcher *d, struct connector *c, const alk_dial_options *o,
               char *err, size_t err_size);
/* The one in whose list this node is. */
alk_dialer *dialer_of(struct list *node);

#endif
