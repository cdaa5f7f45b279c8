/* What is told to several dispatchers of a node at once. A channel has a name, and a seat for each
 * dispatcher that listens; who has a seat tells all others. A notice is one piece of memory,
 * whoever gets it, and arrives in the order in which its teller has told. It is delivered from the
 * turn of each dispatcher.
 *
 * A dispatcher that is held up does not collect notices without end: above NOTICES_BYTES, or where
 * its port takes nothing, it is told once that it has missed some. */
#ifndef ALK_CORE_CHANNEL_H
#define ALK_CORE_CHANNEL_H

#include "base/str.h"
#include "core/port.h"

#define NOTICES_BYTES (16u << 20) /* that wait at one seat */

struct notice {
    int refs; /* atomic */
    size_t len;
    char data[];
};

/* NULL: out of memory. */
struct notice *notice_new(size_t len);
void notice_unref(struct notice *n);

/* n NULL: some were missed. */
typedef void notice_fn(void *ud, const struct notice *n);

struct seat;

/* Of a node. */
struct channels {
    const struct host *host;
    void *mutex; /* for all that follows */
    struct list all;
};

/* false: out of memory. */
bool channels_init(struct channels *cs, const struct host *host);
void channels_fini(struct channels *cs);
/* At the dispatcher of that port. NULL: out of memory. */
struct seat *channel_join(struct channels *cs, struct str name, struct port *at, notice_fn *fn,
                          void *ud);
/* Nothing is delivered any more. On the dispatcher's thread, or when it is gone. */
void channel_leave(struct seat *s);
/* Tells all others; n stays the caller's. */
void channel_tell(struct seat *s, struct notice *n, uint64_t now);
/* What each seat says of itself, in sum. */
void channel_count(struct seat *s, size_t count);
size_t channel_sum(struct seat *s);

#endif
