/* The daemon's certificates: made at the first start where none is configured, watched for their
 * end. */
#ifndef ALK_CLI_ALKNETD_TLS_H
#define ALK_CLI_ALKNETD_TLS_H

#include "config/config.h"
#include "dial.h"
#include "log.h"

#include <alknet/tls.h>

/* What listeners show; NULL: none of that kind is there. */
struct listener_tls {
    alk_tls *streams, *quic;
};

/* Of cfg. log NULL: nothing is made. */
int certificates_open(struct listener_tls *out, struct config *cfg, struct log *log,
                      struct config_error *err);
void certificates_close(struct listener_tls *t);
/* The connections of cfg get what they lacked, with the node's key that start has, which may be cfg
 * itself. log as above. Returns 0, or -1 with the reason in err. */
int certificates_connect(struct config *cfg, struct config *start, struct log *log,
                         struct config_error *err);
/* Reads the files of the listeners and of dials again. 0, or -1 with the reason in err; then
 * nothing has changed. */
int certificates_reload(const struct listener_tls *t, const struct config *cfg,
                        const struct dials *dials, struct config_error *err);
/* Says when their certificates end, louder the nearer that is, and which keys there are. */
void certificates_tell(const struct listener_tls *t, const struct dials *dials, struct log *log,
                       int64_t unix_time);

#endif
