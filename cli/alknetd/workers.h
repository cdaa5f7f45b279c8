/* The loops that serve: each a thread with its own dispatcher, gateway and listening sockets, over
 * one node.
 *
 * Everything is made and, after the threads have ended, freed by the thread that calls these
 * functions; in between a worker's objects belong to its thread, and the two talk through an
 * asynchronous handle of libuv in either direction. */
#ifndef ALK_CLI_ALKNETD_WORKERS_H
#define ALK_CLI_ALKNETD_WORKERS_H

#include "config/config.h"
#include "dial.h"
#include "log.h"
#include "tls.h"

#include <alknet/tls.h>
#include <stdbool.h>
#include <uv.h>

struct workers;

struct workers_options {
    const struct config *cfg;
    alk_node *node;
    struct log *log;
    uv_loop_t *loop; /* of the calling thread; kept alive until every worker has stopped */
    const struct listener_tls *tls;
    const struct dials *dials; /* for the first worker */
    bool ready;                /* false: /readyz waits for workers_ready */
    int sockets;               /* handed over, from SYSTEMD_FIRST_FD; 0: listen as cfg says */
};

/* Listens and starts the threads. Returns 0, or -1 with the reason in err. */
int workers_open(struct workers **out, const struct workers_options *o, struct config_error *err);
/* As dials_replace, for the first worker; ALK_ECLOSED: they have been told to stop. */
int workers_dial(struct workers *ws, struct dials **dials, struct dials *next);
/* /readyz is 200 from here on. ALK_ECLOSED: they have been told to stop; ALK_ENOMEM: of some, and it
 * may be asked for again. */
int workers_ready(struct workers *ws);
/* The first time drains, the second time ends at once; after that it does nothing. */
void workers_stop(struct workers *ws);
/* Once loop has ended. */
void workers_free(struct workers *ws);
/* The gateway and http parts of cfg, without a socket: 0, or -1 with the reason in err. The loop
 * must run until what this has opened there is closed. */
int workers_check(const struct config *cfg, alk_node *node, uv_loop_t *loop,
                  struct config_error *err);

#endif
