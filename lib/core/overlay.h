/* The operations that the remote of one connection serves, so that we can call them. A set is immutable, shared by the
 * connection and by the calls that run through it, so that a new set takes its place at once. */
#ifndef ALK_CORE_OVERLAY_H
#define ALK_CORE_OVERLAY_H

#include "core/call.h"

struct overlay {
    struct mem *mem;
    struct map by_name; /* local names */
    struct operation **sorted;
    int refs;
};

/* Takes the count operations over; on failure (ALK_ENOMEM, ALK_EEXIST: two of one name) they stay the caller's. */
int overlay_new(struct overlay **out, struct alk_dispatcher *d, struct operation **ops,
                size_t count);
struct overlay *overlay_ref(struct overlay *o);
/* NULL is fine. */
void overlay_unref(struct overlay *o);
/* The handler of an imported operation: calls ud, the remote's name for it, through the call's connection. */
int overlay_forward(alk_call *call, void *ud);
/* A copy of the remote's name, for overlay_forward and its ud_free; NULL: out of memory. */
char *overlay_remote_name(const char *name, size_t len);
void overlay_remote_name_free(void *ud);
/* Finds name in what the connection's remote serves. */
bool connection_find(alk_connection *c, struct str name, struct target *out);

#endif
