/* What a hub serves, as a service of NATS (its ADR-32), for clients that know nothing of alknet:
 *
 *   PREFIX.services.HUB.demo.echo   a request is a call of demo/echo, its payload the input (none is
 *                                   {}), the answer's the output
 *   $SRV.PING, .INFO, .STATS        with .HUB and .HUB.ID: the service's name is the hub's
 *
 * A dot in an operation's name is "%2E" there. A call that fails is answered with the headers of
 * such services: the status that it has over HTTP as the number, and code and message; the payload
 * has the whole fault.
 *
 * Who asks is not known, as NATS is not trusted with identities: all of them call as nobody, or as
 * whom one token of the hub's own stands for, and that decides what they may call. Subscriptions are
 * not there: a service answers once. */
#ifndef ALK_ADAPT_CLUSTER_OFFER_H
#define ALK_ADAPT_CLUSTER_OFFER_H

#include "base/str.h"
#include "wire/bus.h"

#define SERVICE_CALLS_MAX 1024u          /* that run for them */
#define SERVICE_LISTINGS 50u             /* answers to $SRV, in a second */
#define SERVICE_LISTING_BYTES (1u << 20) /* of one, where the broker carries more */

struct alk_dispatcher;
struct offering;

struct offering_options {
    struct bus *bus;    /* of its own, so that who asks too much holds up nobody else */
    const char *name;   /* of the hub, and */
    const char *prefix; /* of the cluster's subjects: good ones (cluster_pair.h) */
    const char *token;  /* as whom they call; NULL: nobody. Copied, and wiped in the end */
};

/* 0, ALK_ESYSTEM (no randomness), ALK_ENOMEM. */
int offering_new(struct offering **out, struct alk_dispatcher *d, const struct offering_options *o);
/* From here on it is asked, and until then; calls that run go on. The log says what comes of it
 * (services.up, services.down, services.failed, services.token). */
void offering_begin(struct offering *of);
void offering_end(struct offering *of);
/* Before the dispatcher goes, and before the bus is closed: calls that run end, and are answered. */
void offering_close(struct offering *s);

#endif
