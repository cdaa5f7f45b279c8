/* Descriptors: a connection is one, and their number is limited. */
#ifndef ALK_SERVE_DESCRIPTORS_H
#define ALK_SERVE_DESCRIPTORS_H

#include "config/config.h"
#include "serve/say.h"

struct descriptors {
    uint64_t limit;
    uint32_t room; /* for connections, dialled ones and those to other services among them */
};

/* With what is open already, and before the first connection. sockets: as in service_options.
 * Returns 0, or -1 with the reason in err: there is no room. */
int descriptors_count(struct descriptors *d, const struct config *cfg, uint32_t sockets,
                      struct config_error *err);
/* Lowers limits.connections of cfg to what there is room for, and says so. start: what was read at
 * the start, which may be cfg. */
void descriptors_fit(const struct descriptors *d, struct config *cfg, const struct config *start,
                     const struct sayer *sayer);

#endif
