/* Pairs of hubs: a call connection between this hub and another one, over a bus that may drop,
 * repeat and reorder, and that is not trusted with identities (bus.h).
 *
 * Subjects: PREFIX.hub.NAME takes openings, PREFIX.pair.NAME.TOKEN what one pair sends to that
 * hub; TOKEN is chosen by NAME, for this pair alone. An opening is three messages, OPEN, ACCEPT and
 * CONFIRM; each side proves the Ed25519 key that the other's configuration has for its name as a
 * fingerprint of a peer. Who opens has a pair once something has come that the other has sealed,
 * who answers once CONFIRM is here.
 *
 * Then each message is sealed and numbered. What does not open is a stranger's and is dropped, a
 * number that has been is a repetition and is dropped, and one too high means that something is
 * missing: that ends the pair, and with it each call under way is told. So nothing is delivered
 * twice, and nothing is lost silently. Credit bounds what is under way, in each direction.
 *
 * Everything runs on the dispatcher's thread, by its timers. Nothing is published from
 * pairs_want. */
#ifndef ALK_ADAPT_CLUSTER_PAIR_H
#define ALK_ADAPT_CLUSTER_PAIR_H

#include "wire/bus.h"
#include "core/connection.h"
#include "wire/pair_crypto.h"

#define HUB_NAME_MAX 64u     /* [A-Za-z0-9_-] */
#define BUS_PREFIX_MAX 128u  /* tokens of such characters, joined by dots */
#define PAIR_OVERHEAD 29u    /* bytes of a message beside its envelope */
#define PAIR_WINDOW 1048576u /* bytes of envelopes that may be under way to us */
#define PAIR_HALF_OPEN 64u   /* openings of one hub that were answered and not confirmed */

struct pairs;

struct pairs_events {
    /* A pair was asked for, and an attempt has failed: whether it is still wanted. */
    bool (*wanted)(void *ud, const char *name);
    /* c is there until gone; who keeps it longer references it. */
    void (*up)(void *ud, const char *name, alk_connection *c);
    /* why: for a person. */
    void (*gone)(void *ud, const char *name, const char *why);
};

/* From inside of events, pairs_want is the one function that may be called. */
struct pairs_options {
    struct bus *bus;
    const char *name;                     /* of this hub */
    const char *prefix;                   /* of subjects */
    const struct pair_identity *identity; /* outlives the pairs */
    const struct pairs_events *events;
    void *ud;
};

struct pairs_stats {
    uint64_t up, half_open;
    uint64_t refused;    /* openings by somebody else than the peer of that name */
    uint64_t over;       /* openings beyond what is answered */
    uint64_t strange;    /* messages that are nobody's, or not to be understood */
    uint64_t duplicates; /* messages that had been here */
    uint64_t lost;       /* pairs: a message was missing, or nothing was heard any more */
};

/* Whose key it is: 0, with a reference on what it proves; ALK_ENOENT: not the peer's of that name. */
int pairs_prove(struct pairs *p, const uint8_t key[PAIR_KEY], const char *name,
                struct credential **by);
/* Whether it can name a hub, and be a prefix. */
bool hub_name_good(const char *name);
bool bus_prefix_good(const char *prefix);

/* name and prefix are good. Subscribes to PREFIX.hub.NAME. The bus counts as down until
 * pairs_bus_state. 0, ALK_ENOMEM. */
int pairs_new(struct pairs **out, alk_dispatcher *d, const struct pairs_options *o);
/* Before the dispatcher goes: each pair ends, and no event tells it. */
void pairs_close(struct pairs *p);
/* A pair to that hub is to be opened, if there is none. 0; ALK_EINVAL: no other hub has that name;
 * ALK_ENOMEM. */
int pairs_want(struct pairs *p, const char *name);
/* That hub was heard otherwise, for the first time or again: earlier attempts count no more. */
void pairs_heard(struct pairs *p, const char *name);
/* What the bus says. Subjects that are not of pairs are ignored. */
void pairs_message(struct pairs *p, const char *subject, const void *data, size_t len);
/* Each pair ends, whichever it is: messages may have been lost. */
void pairs_bus_state(struct pairs *p, bool up);
const struct pairs_stats *pairs_stats(const struct pairs *p);
/* Of all that are up: the sum of the bytes that the others have not said to have taken, and the
 * longest time since one was heard, in nanoseconds. */
void pairs_measure(const struct pairs *p, uint64_t *under_way, uint64_t *lag);

#endif
