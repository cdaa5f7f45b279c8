/* The discovery operations, services/…, which every registry has: a remote can always ask what it
 * may call, whatever an application has registered. A session's registry has them as well, and
 * nobody reaches them there, as the node's come first. */
#ifndef ALK_CORE_SERVICES_H
#define ALK_CORE_SERVICES_H

#include "core/dispatcher.h"

/* 0 or an ALK_E code. */
int services_register(alk_registry *reg);

/* Whether its name or its description has that part, in any case. */
bool services_mentions(const struct operation *op, struct str part);

/* Asked before access is: what would not be visited. */
typedef bool service_wanted(const struct operation *op, void *ud);
/* 0: the walk goes on. op is good until that ends. */
typedef int service_visit(const struct operation *op, void *ud);
/* The one walk over what who (NULL: nobody) may call of this node, what was found outside included:
 * external operations, by name, from behind cursor on (p NULL: all). wanted may be NULL. What visit
 * returned that was not 0, or 0, or ALK_ENOMEM. */
int services_each(struct alk_dispatcher *d, const alk_identity *who, struct str cursor,
                  service_wanted *wanted, service_visit *visit, void *ud);

#endif
