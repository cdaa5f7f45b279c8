/* Passing the results of one call on as the results of another: values with backpressure, the end
 * with its fault. For forwarding and for peers/call, where the one who asks and the one who
 * answers must not notice that something is in between. */
#ifndef ALK_CORE_RELAY_H
#define ALK_CORE_RELAY_H

#include "core/call.h"

/* Made before the child, since its options name the relay; so there is a moment without a child,
 * and relay_free for when none comes. */
struct relay;

/* Makes the relay to call and fills the options of the child that is about to be made.
 * ALK_ENOMEM. */
int relay_new(struct relay **out, alk_call *call, alk_call_options *o);
/* The child is made (its reference is taken over); from now on the relay frees itself at the
 * child's end. */
void relay_begin(struct relay *r, alk_call *child);
/* There is no child. */
void relay_free(struct relay *r);

#endif
