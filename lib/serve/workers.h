/* The loops that serve: each a thread with its own dispatcher, gateway and listening sockets, over
 * one node.
 *
 * Everything is made and, after the threads have ended, freed by the thread that calls these
 * functions; in between a worker's objects belong to its thread, and the two talk through an
 * asynchronous handle of libuv in either direction. */
#ifndef ALK_SERVE_WORKERS_H
#define ALK_SERVE_WORKERS_H

#include "serve/certificates.h"
#include "serve/clusters.h"
#include "serve/dials.h"
#include "serve/options.h"

#include <stdbool.h>

struct workers;

struct workers_options {
    struct service_options *service;
    alk_node *node;
    const struct listener_tls *tls;
    const struct dials *dials;      /* for the first worker, like membership */
    struct membership **membership; /* what it holds changes by workers_rejoin */
    bool ready;                     /* false: /readyz waits for workers_ready */
};

/* Listens and starts the threads. Returns 0, or -1 with the reason in err. */
int workers_open(struct workers **out, const struct workers_options *o, struct config_error *err);
/* As dials_replace, for the first worker; ALK_ECLOSED: they have been told to stop. */
int workers_dial(struct workers *ws, struct dials **dials, struct dials *next);
/* As membership_replace, for the first worker; ALK_ECLOSED likewise. */
int workers_rejoin(struct workers *ws, struct membership *next);
/* /readyz is 200 from here on. ALK_ECLOSED: they have been told to stop; ALK_ENOMEM: of some, and it
 * may be asked for again. */
int workers_ready(struct workers *ws);
/* Drains; at_once, and any second time: without waiting for what runs. */
void workers_stop(struct workers *ws, bool at_once);
/* Once on_stopped has been called. */
void workers_free(struct workers *ws);
/* The gateway and http parts of cfg, without a socket: 0, or -1 with the reason in err. The loop
 * must run until what this has opened there is closed. */
int workers_check(const struct config *cfg, alk_node *node, uv_loop_t *loop,
                  struct config_error *err);

#endif
