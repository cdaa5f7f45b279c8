/* Calls that cross from one dispatcher of the node to another, since the connection that serves
 * them belongs to that one, or the operation does. Resolved and checked is a call where it came
 * from; there it is an ordinary call, whose handler is this. The other dispatcher runs the
 * operation, for the same originator, until the same deadline, with as many hops, and what comes of
 * it goes back: values with backpressure, the end. An abort goes there.
 *
 * Nothing of one dispatcher is touched by the other's thread: what both have is the crossing, and
 * what they say to each other goes through ports (port.h). */
#ifndef ALK_CORE_CROSS_H
#define ALK_CORE_CROSS_H

#include "core/call.h"

/* In place of the handler of a call whose operation is another dispatcher's (call->far). As a
 * handler: 0, or a code that ends it. */
int cross(alk_call *call);
/* That of the connection by which a call that runs has come, perhaps to another dispatcher. NULL: by
 * none, or nobody has wanted one. */
struct line *cross_line(const alk_call *call);

#endif
