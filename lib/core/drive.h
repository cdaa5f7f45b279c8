/* What this library's own loop layer asks of a dispatcher beside the public functions
 * (alk_dispatcher_turn, _now, _next): with these it needs to know no structure of the core. */
#ifndef ALK_CORE_DRIVE_H
#define ALK_CORE_DRIVE_H

#include "base/mem.h"

#include <alknet/alknet.h>
#include <stdbool.h>

/* Keeps d's memory, and that of its mem, valid beyond alk_dispatcher_free: sockets are closed
 * later. */
alk_dispatcher *dispatcher_ref(alk_dispatcher *d);
void dispatcher_unref(alk_dispatcher *d);
/* loop: what alk_call_loop finds again; NULL: it is gone. clock: for durations in the log. */
void dispatcher_set_loop(alk_dispatcher *d, void *loop, uint64_t (*clock)(void));
void *dispatcher_loop(const alk_dispatcher *d);
/* What another thread of the node calls when it has something for d, whose turn is due then. With
 * NULL that is over, once this has returned. */
void dispatcher_set_wake(alk_dispatcher *d, void (*wake)(void *ud), void *ud);
/* The node's allocator, with a count of its own. */
void dispatcher_mem(const alk_dispatcher *d, struct mem *out);
const alk_node *dispatcher_node(const alk_dispatcher *d);
/* It is about to drain: /healthz says no from now on, while calls are still taken, so that whoever
 * balances the load has time to send them elsewhere. */
void dispatcher_leave(alk_dispatcher *d);
/* The two steps of alk_dispatcher_drain. The first does nothing where it drains already. */
void dispatcher_drain(alk_dispatcher *d);
void dispatcher_cancel_all(alk_dispatcher *d);
/* While it drains: closes the connections that have nothing to do, as each is closed when its
 * last call has ended. */
void connections_rest(alk_dispatcher *d);
/* The turn ended because it has taken its time: see core/turn.c. */
bool dispatcher_late(const alk_dispatcher *d);
/* Some call has not ended, by whatever way it came. */
bool dispatcher_busy(const alk_dispatcher *d);
/* Call connections that are not closed yet. */
uint32_t dispatcher_connections(const alk_dispatcher *d);

/* A connection was closed because its remote reads too slowly: it is counted and logged. */
void dispatcher_slow_consumer(alk_dispatcher *d, const char *remote, const char *why);

#endif
