/* A publish/subscribe bus, as the engines of a cluster see it. It may drop, repeat and reorder what
 * it carries, and it carries anybody's messages.
 *
 * All callbacks run on the loop's thread, from a turn, never from inside of a function of the
 * table. */
#ifndef ADAPT_BUS_H
#define ADAPT_BUS_H

#include <stdbool.h>
#include <stddef.h>

struct bus;

struct bus_ops {
    /* Copies. 0; ALK_EAGAIN: too much waits to leave; ALK_ECLOSED: not connected. */
    int (*publish)(struct bus *b, const char *subject, const void *data, size_t len);
    /* Exactly that subject; a subscription survives reconnects. 0; ALK_ENOMEM. */
    int (*subscribe)(struct bus *b, const char *subject);
    void (*unsubscribe)(struct bus *b, const char *subject);
};

struct bus {
    const struct bus_ops *ops;
    /* Set by who uses it. The subject and the data live as long as the call. */
    void (*on_message)(void *ud, const char *subject, const void *data, size_t len);
    /* why: of down, for the log. Up again: messages may have been lost. */
    void (*on_state)(void *ud, bool up, const char *why);
    void *ud;
};

#endif
