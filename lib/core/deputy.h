/* What others than its callers ask of peers/call, which deputy.c implements. */
#ifndef ALK_CORE_DEPUTY_H
#define ALK_CORE_DEPUTY_H

#include "core/call.h"

/* To how many of the operations that were imported from c peers/call leads some caller. -1: it is
 * not enabled. */
int64_t deputy_reaches(const alk_connection *c);

#endif
