/* The operations that the remote of one connection serves, so that we can call them. A set is
 * immutable, shared by the connection and by the calls that run through it, so that a new set
 * takes its place at once: a call that runs keeps the operation that it was checked against. */
#ifndef ALK_CORE_OVERLAY_H
#define ALK_CORE_OVERLAY_H

#include "core/account.h"
#include "core/operation.h"

/* Operations of two connections are never in one set, also of one peer: which of them serves a
 * name is decided call by call (resolve.c). */
struct overlay {
    struct mem *mem;
    struct account *payer; /* a reference; NULL: the program, which registered them itself */
    size_t kept;           /* bytes that are charged to it, see account_keep */
    struct map by_name;    /* local names */
    struct operation **sorted;
    int refs;
};

/* Takes the count operations over, and what is charged for them; on failure (ALK_ENOMEM,
 * ALK_EEXIST: two of one name) they stay the caller's. */
int overlay_new(struct overlay **out, struct mem *mem, const uint64_t *seed, struct operation **ops,
                size_t count, struct account *payer, size_t kept);
struct overlay *overlay_ref(struct overlay *o);
/* NULL is fine. */
void overlay_unref(struct overlay *o);
/* NULL: it has none of that name, or is NULL itself. */
const struct operation *overlay_find(const struct overlay *o, struct str name);

#endif
