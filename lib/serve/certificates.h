/* Certificates and keys: made at the first start where none is configured, watched for their end. */
#ifndef ALK_SERVE_CERTIFICATES_H
#define ALK_SERVE_CERTIFICATES_H

#include "config/config.h"
#include "serve/dials.h"
#include "serve/say.h"

#include <alknet/tls.h>

/* What listeners show; NULL: none of that kind is there. */
struct listener_tls {
    alk_tls *streams, *quic;
};

/* Of cfg. sayer NULL: cfg is only tried, and nothing is made. */
int certificates_open(struct listener_tls *out, struct config *cfg, const struct sayer *sayer,
                      struct config_error *err);
void certificates_close(struct listener_tls *t);
/* The connections of cfg get what they lacked, with the node's key that start has, which may be cfg
 * itself; one that has none takes that of cfg. sayer as above. Returns 0, or -1 with the reason in
 * err. */
int certificates_connect(struct config *cfg, struct config *start, const struct sayer *sayer,
                         struct config_error *err);
/* Reads the files of the listeners and of dials again. 0, or -1 with the reason in err; then
 * nothing has changed. */
int certificates_reload(const struct listener_tls *t, const struct config *cfg,
                        const struct dials *dials, struct config_error *err);
/* Says when their certificates end, louder the nearer that is, and which keys there are. */
void certificates_tell(const struct listener_tls *t, const struct dials *dials,
                       const struct sayer *sayer, int64_t unix_time);

#endif
