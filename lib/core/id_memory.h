/* Call ids that are remembered for 30 s, bounded in number: the oldest goes first. For ids of
 * calls that a connection does not have, but may still hear of. Forgetting one must cost no more
 * than a message dropped or a call run for nobody. */
#ifndef ALK_CORE_ID_MEMORY_H
#define ALK_CORE_ID_MEMORY_H

#include "base/map.h"
#include "core/identity.h"

/* A map to find an id and a list for their age. An entry is one block with its id. */
struct id_memory {
    struct map map;
    struct list order;
};

/* seed: secret, and valid for as long as the memory. */
void memory_init(struct id_memory *m, struct mem *mem, const uint64_t *seed);
/* Forgets what has expired at now, and all but the newest `most`. */
void memory_trim(struct id_memory *m, uint64_t now, size_t most);
/* false: out of memory. */
bool memory_add(struct id_memory *m, struct str id, uint64_t now, size_t most);
/* Whether it was there; then it is forgotten. */
bool memory_take(struct id_memory *m, struct str id, uint64_t now);

#endif
