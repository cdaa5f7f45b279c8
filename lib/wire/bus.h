/* A publish/subscribe bus, as the engines of a cluster see it. It may drop, repeat and reorder what
 * it carries, and it carries anybody's messages.
 *
 * All callbacks run on the loop's thread, from a turn, never from inside of a function of the
 * table. */
#ifndef ALK_WIRE_BUS_H
#define ALK_WIRE_BUS_H

#include <stdbool.h>
#include <stddef.h>

struct bus;

/* Why a request has no answer, as services of NATS say it: a number and a line of text. Control
 * characters in it are blanked. */
struct bus_error {
    int number;
    const char *text;
};

struct bus_ops {
    /* Copies. 0; ALK_EAGAIN: too much waits to leave; ALK_ECLOSED: not connected;
     * ALK_ELIMIT: larger than it carries. */
    int (*publish)(struct bus *b, const char *subject, const void *data, size_t len);
    /* Exactly that subject; a subscription survives reconnects. 0; ALK_ENOMEM. */
    int (*subscribe)(struct bus *b, const char *subject);
    void (*unsubscribe)(struct bus *b, const char *subject);
    /* All subjects of that pattern (NATS: "*", ">"), for on_request, until unsubscribe of it.
     * Of those who serve by one queue, one gets each request; NULL: all do. 0; ALK_ENOMEM. */
    int (*serve)(struct bus *b, const char *pattern, const char *queue);
    /* As publish, to whom a request has named for the answer. error: it is none; NULL: it is. */
    int (*answer)(struct bus *b, const char *reply, const struct bus_error *error, const void *data,
                  size_t len);
    /* No callback comes any more, and b is gone. Also from within one. */
    void (*close)(struct bus *b);
};

struct bus {
    const struct bus_ops *ops;
    /* Set by who uses it. The subject and the data live as long as the call. */
    void (*on_message)(void *ud, const char *subject, const void *data, size_t len);
    /* What has come by serve; reply: where the answer is wanted; NULL: it is not. */
    void (*on_request)(void *ud, const char *subject, const char *reply, const void *data,
                       size_t len);
    /* why: of down, for the log. Up again: messages may have been lost. */
    void (*on_state)(void *ud, bool up, const char *why);
    void *ud;
    /* Set by the bus. */
    size_t unsent;  /* bytes of messages that wait to leave */
    size_t largest; /* message that it carries, as of its last coming up; 0: any */
};

/* All is copied. Who the program is there: user and password, or a token, or credentials, or a
 * seed, or nothing. */
struct nats_options {
    const char *const *servers; /* URLs: nats:// or tls://, without users */
    size_t server_count;        /* at least 1 */
    const char *name;           /* of the connections, for the broker's own lists */
    const char *user, *password;
    const char *token;
    const char *credentials;       /* a file with a JWT and a seed, read for each connection */
    const char *nkey_seed;         /* a file with the seed of a user's NKey, likewise */
    bool tls;                      /* for nats:// too */
    const char *ca;                /* a file; NULL: whom the system trusts */
    const char *certificate, *key; /* files; NULL: none is shown */
};

#endif
