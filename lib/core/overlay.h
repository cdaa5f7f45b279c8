/* The operations that the remote of one connection serves, so that we can call them. A set is
 * immutable, shared by the connection, the peer table and the calls that run through it on whatever
 * thread, so that a new set takes its place at once: a call that runs keeps the operation that it
 * was checked against. */
#ifndef ALK_CORE_OVERLAY_H
#define ALK_CORE_OVERLAY_H

#include "core/account.h"
#include "core/operation.h"

enum { DIGEST_NONE, DIGEST_BEING_MADE, DIGEST_MADE };

/* Operations of two connections are never in one set, also of one peer: which of them serves a
 * name is decided call by call (resolve.c). */
struct overlay {
    struct mem mem;     /* of its operations too: whichever thread is the last one frees them */
    struct hold payer;  /* of nobody: the program, which registered them itself */
    size_t kept;        /* bytes that are charged to it, see account_keep */
    struct map by_name; /* local names */
    struct operation **sorted;
    int refs; /* atomic */
    /* Of what it has, made by whoever first needs it. */
    int digested; /* atomic */
    uint8_t digest[32];
};

/* One that is being made, for nobody else to see yet: it has an allocator for its operations, which
 * is of the same kind. NULL: out of memory. */
struct overlay *overlay_new(const struct mem *like, const uint64_t *seed);
/* Takes the count operations over, and what is charged for them; on failure (ALK_ENOMEM,
 * ALK_EEXIST: two of one name) they stay the caller's. */
int overlay_fill(struct overlay *o, struct operation **ops, size_t count,
                 const struct account *payer, size_t kept);
struct overlay *overlay_ref(struct overlay *o);
/* NULL is fine. */
void overlay_unref(struct overlay *o);
/* NULL: it has none of that name, or is NULL itself. */
const struct operation *overlay_find(const struct overlay *o, struct str name);

#endif
