/* The daemon's certificates: made at the first start where none is configured, watched for their
 * end. */
#ifndef ALK_CLI_ALKNETD_TLS_H
#define ALK_CLI_ALKNETD_TLS_H

#include "config/config.h"
#include "log.h"

#include <alknet/tls.h>

/* *out is NULL when no listener has TLS. log NULL: nothing is made. */
int tls_open(alk_tls **out, const struct config *cfg, struct log *log, struct config_error *err);
/* Reads the files of the listeners (tls, or NULL) and of connect again. 0, or -1 with the reason in
 * err; then nothing has changed. */
int tls_reload(alk_tls *tls, const struct config *cfg, struct config_error *err);
/* Says when their certificates end, louder the nearer that is. */
void tls_tell(const alk_tls *tls, const struct config *cfg, struct log *log, int64_t unix_time);

#endif
