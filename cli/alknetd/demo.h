/* Operations to try the daemon with: one of each kind. What they are: docs/configuration.md. */
#ifndef ALK_CLI_ALKNETD_DEMO_H
#define ALK_CLI_ALKNETD_DEMO_H

#include "log.h"

/* log may be NULL; it must outlive the registry. ALK_E as alk_registry_add. */
int demo_add(alk_registry *reg, struct log *log);

#endif
