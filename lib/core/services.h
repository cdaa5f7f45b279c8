/* The discovery operations, services/…, which every registry has. */
#ifndef ALK_CORE_SERVICES_H
#define ALK_CORE_SERVICES_H

#include "core/registry.h"

/* 0 or an ALK_E code. */
int services_register(alk_registry *reg);

#endif
