/* All operations of a node in the order of their names, as listings have them: its registry's and
 * those that were found outside. A name comes once: the node's own before all, of two sources' the
 * first one's, as a call would find it. */
#ifndef ALK_CORE_WALK_H
#define ALK_CORE_WALK_H

#include "core/discovered.h"

/* What is left of one registry. */
struct rest {
    const struct operation *const *at, *const *end;
    size_t rank; /* whose name it is when two have the same; 0 is the node's own */
};

struct walk {
    struct discovered *set;
    struct mem *mem;
    struct rest one, *rests; /* a heap, in which the first is the next */
    size_t count;
    const struct operation *last;
};

/* Begins behind that name; p NULL: with the first. It holds the set: what walk_next has returned
 * stays valid, whatever the application does meanwhile, until walk_end, which is owed in any case.
 * 0, or ALK_ENOMEM, and then there are none. w stays where it is. */
int walk_begin(struct walk *w, struct mem *mem, const alk_registry *own, struct discovered *set,
               struct str behind);
/* NULL behind the last. */
const struct operation *walk_next(struct walk *w);
void walk_end(struct walk *w);

#endif
