/* A cluster of hubs over a bus (bus.h): who is there, what is attached to whom, and how a call
 * reaches a peer of another hub. Each hub announces on PREFIX.announce what changes among its
 * attached peers, and every ten seconds that it is there. Who has missed something asks for the
 * whole state. All of that is signed, and a start of a hub (boot) counts once it has answered a
 * nonce: so nobody can announce for another, or replay it.
 *
 * Peers of other hubs stand in the node's peer table behind those that are attached here. A call to
 * one goes over the pair with its hub (cluster_pair.h) to peers/call there, which authorizes it. */
#ifndef ALK_ADAPT_CLUSTER_H
#define ALK_ADAPT_CLUSTER_H

#include "wire/bus.h"
#include "core/dispatcher.h"
#include "wire/pair_crypto.h"

struct cluster;

struct cluster_options {
    struct bus *bus;                /* outlives it; its callbacks are set */
    const char *name;               /* of this hub, and */
    const char *prefix;             /* of subjects: good ones (cluster_pair.h) */
    struct pair_identity *identity; /* outlives it */
    /* It has joined, or refuses to be there; NULL: nobody is interested. */
    void (*on_joined)(void *ud, bool yes);
    void *ud;
};

/* 0, ALK_ESYSTEM (no randomness), ALK_ENOMEM. */
int cluster_new(struct cluster **out, alk_dispatcher *d, const struct cluster_options *o);
/* Before the dispatcher goes. The others are told. */
void cluster_close(struct cluster *cl);

#endif
