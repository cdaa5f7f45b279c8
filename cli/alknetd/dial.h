/* The connections that the daemon opens itself: `connect` of the configuration. */
#ifndef ALK_CLI_ALKNETD_DIAL_H
#define ALK_CLI_ALKNETD_DIAL_H

#include "config/config.h"
#include "log.h"

#include <alknet/uv.h>

/* Begins to dial from net, which owns the dialers. cfg and log outlive it. Returns 0, or -1 with
 * the reason in err. */
int dials_open(alk_loop *net, const struct config *cfg, struct log *log, struct config_error *err);

#endif
