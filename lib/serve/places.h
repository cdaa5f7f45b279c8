/* What a start needs of the file system, as far as that can be seen without touching it. */
#ifndef ALK_SERVE_PLACES_H
#define ALK_SERVE_PLACES_H

#include "config/config.h"

/* Whether what is to be written and bound has a place: the log, the key and the certificate that are
 * made, the sockets. 0, or -1 with the member that names one that has none. */
int places_check(const struct config *cfg, struct config_error *err);
/* Whether the site of the decoy is a folder. */
int places_check_site(const struct config *cfg, struct config_error *err);

#endif
