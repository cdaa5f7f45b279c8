/* Operations that were found outside while the node runs, behind its own: a registry for each
 * source, swapped whole (alk_node_set_discovered).
 *
 * All sources together are one set, which never changes. The node has the present one, under a lock
 * of a few instructions; each dispatcher holds the one that it has seen last, and compares the two
 * pointers before it looks a name up, so that calls on different threads share nothing but that.
 * What a pointer is compared with is held, so no other set can have its address.
 *
 * A name is looked for in the node's registry first (resolve.c, walk.c), then here in one source
 * after the other. A set costs no more than there are sources, however much each of them has. */
#ifndef ALK_CORE_DISCOVERED_H
#define ALK_CORE_DISCOVERED_H

#include "core/registry.h"

#define SOURCES_MAX 256u
#define SOURCE_MAX_BYTES 256u

struct source {
    char *name;
    alk_registry *reg; /* a reference */
};

struct discovered {
    int refs; /* atomic */
    struct mem mem;
    struct source *sources; /* in the order in which they came */
    size_t count;
};

/* Of a node: its present set, NULL: nothing was found. */
struct discovery {
    struct discovered *set; /* a reference; written under the lock */
    uint64_t changes;       /* atomic: how often it was written */
    char lock;
};

/* Puts reg in the place of what source had; NULL: takes that away. The codes of
 * alk_node_set_discovered. */
int discovery_set(struct discovery *all, const struct mem *mem, const char *source,
                  alk_registry *reg);
/* Makes *seen the present set. */
void discovery_renew(struct discovery *all, struct discovered **seen);

/* The present set, NULL: nothing was found. It is held in *seen, until that is looked at again. */
static inline struct discovered *discovery_see(struct discovery *all, struct discovered **seen)
{
    if (__atomic_load_n(&all->set, __ATOMIC_RELAXED) != *seen)
        discovery_renew(all, seen);
    return *seen;
}

/* Changes with the set. */
static inline uint64_t discovery_changes(const struct discovery *all)
{
    return __atomic_load_n(&all->changes, __ATOMIC_RELAXED);
}

/* NULL is fine for both. */
struct discovered *discovered_ref(struct discovered *set);
void discovered_unref(struct discovered *set);
/* *of: its registry, which is held by the set. */
const struct operation *discovered_find(const struct discovered *set, struct str name,
                                        alk_registry **of);

#endif
