/* Plugins: loaded in the order of the configuration, unloaded together. */
#ifndef ALK_SERVE_PLUGINS_H
#define ALK_SERVE_PLUGINS_H

#include "config/config.h"

struct plugins {
    void **handles;
    size_t count;
};

/* Loads what cfg names and lets each register. Returns 0, or -1 with the reason in err; call
 * plugins_close in both cases, after the registry is gone. */
int plugins_open(struct plugins *p, const struct config *cfg, alk_registry *reg,
                 struct config_error *err);
void plugins_close(struct plugins *p);

#endif
