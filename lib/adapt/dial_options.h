/* What a program asks of a dialer: checked, and copied to where the dialer keeps it. */
#ifndef ALK_ADAPT_DIAL_OPTIONS_H
#define ALK_ADAPT_DIAL_OPTIONS_H

#include "base/arena.h"
#include "wire/transport.h"

/* The parts of a URL; its strings are in the arena. */
struct dial_url {
    struct destination to;
    const char *remote;     /* what the log calls it: as the URL has it, without a request's path */
    const char *host_field; /* the Host of the request */
    const char *path;       /* of the request */
    bool tls;
    bool framed; /* no request: framed envelopes */
    bool quic;
    const char *pin; /* the fragment of a QUIC URL; NULL: none */
};

/* Makes own and url of o. All strings that stay are copied into arena, o->identity and o->tls
 * are referenced, and own->tls is set where the URL needs one;
 * own->url and own->size mean nothing then. ALK_EINVAL (err, when given, says what), ALK_ENOMEM, or
 * as alk_tls_new.
 * After any result dial_options_fini undoes it, and after a failure own->ud_free is NULL: the
 * caller keeps its ud. */
int dial_options_read(alk_dial_options *own, struct dial_url *url, struct arena *arena,
                      const alk_dial_options *o, char *err, size_t size);
/* Before the arena goes. */
void dial_options_fini(alk_dial_options *own);

#endif
