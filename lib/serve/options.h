/* What whoever runs a service gives to it, and is told of it. */
#ifndef ALK_SERVE_OPTIONS_H
#define ALK_SERVE_OPTIONS_H

#include "config/config.h"
#include "serve/say.h"

#include <alknet/gateway.h>
#include <alknet/uv.h>

#define SERVICE_FIRST_SOCKET 3 /* of those that are handed over */

/* The functions may be NULL. */
struct service_options {
    struct config *cfg; /* the service's from here on, also on failure */
    alk_registry *reg;  /* not frozen; likewise */
    /* Of the calling thread, on which nothing else is active before the service is open. It is kept
     * alive until every worker has ended. */
    uv_loop_t *loop;
    struct sayer log;
    uint32_t sockets; /* listening ones handed over, from SERVICE_FIRST_SOCKET on; 0: as cfg says */
    /* For whoever rides on the first worker, before its thread starts: just before its loop gets
     * the library's handles, and right behind that. ALK_E fails the opening. */
    int (*on_worker)(void *ud, uv_loop_t *loop, alk_dispatcher *d);
    void (*on_net)(void *ud, alk_loop *net);
    /* After on_worker has returned 0, once: all calls have ended and the dispatcher is gone, and
     * the handles on that loop are to be closed. On the worker's thread, or on the opening one when
     * the opening fails. */
    void (*on_gone)(void *ud);
    /* On the session's worker's thread; code 0: it begins, else how it has ended. */
    void (*on_session)(void *ud, const alk_session *s, int code);
    /* On the opening thread. port 0: address is a path, and scheme is NULL. */
    void (*on_listening)(void *ud, const char *address, int port, const char *scheme);
    /* On the first worker's thread: a graceful stop has begun; no call runs any more. A stop at
     * once has neither. */
    void (*on_draining)(void *ud);
    void (*on_drained)(void *ud);
    void (*on_stopped)(void *ud); /* on loop's thread: every worker's thread has ended */
    void *ud;
};

#endif
