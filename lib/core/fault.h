/* A fault as JSON: the one form that callers of every kind get to see. What goes in here is told
 * to a remote; what it must not know goes to the log in its place (alk_call.note). */
#ifndef ALK_CORE_FAULT_H
#define ALK_CORE_FAULT_H

#include "base/buf.h"

#include <alknet/alknet.h>

/* The members of its object, without the braces: in some places others stand beside them. 0, or -1
 * out of memory. */
int fault_put(struct buf *out, const alk_fault *f);

#endif
