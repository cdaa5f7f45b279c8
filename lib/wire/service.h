/* What a listener needs of whoever speaks on the connections that it accepts, and what it offers to them. */
#ifndef ALK_WIRE_SERVICE_H
#define ALK_WIRE_SERVICE_H

#include "wire/engine.h"

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

#endif
