/* The discovery operations, services/…, which every registry has: a remote can always ask what it
 * may call, whatever an application has registered. A session's registry has them as well, and
 * nobody reaches them there, as the node's come first. */
#ifndef ALK_CORE_SERVICES_H
#define ALK_CORE_SERVICES_H

#include "core/registry.h"

/* 0 or an ALK_E code. */
int services_register(alk_registry *reg);

#endif
