/* An intrusive hash map from byte strings to nodes that live in their owners. Keys belong to the
 * nodes. SipHash-1-3 with a secret seed, since remotes choose the keys. A small map needs no memory
 * of its own, and an emptied one gives its memory back. */
#ifndef ALK_BASE_MAP_H
#define ALK_BASE_MAP_H

#include "base/list.h"
#include "base/mem.h"

#include <stdint.h>

#define MAP_INLINE 4u

struct map_node {
    struct map_node *next;
    const char *key; /* not copied: it lives as long as the node is in the map */
    size_t len;
    uint64_t hash;
};

struct map {
    struct mem *mem;
    const uint64_t *seed; /* two words, secret and random; outlives the map */
    struct map_node **slots, *small[MAP_INLINE];
    size_t mask, count;
    size_t first; /* no slot before it has a node */
};

uint64_t map_hash(const uint64_t seed[2], const void *key, size_t len);
void map_init(struct map *m, struct mem *mem, const uint64_t *seed);
/* The map must be empty. */
void map_fini(struct map *m);
struct map_node *map_find(const struct map *m, const char *key, size_t len);
/* n->key and n->len are set and not in the map. 0, or -1 when out of memory. */
int map_add(struct map *m, struct map_node *n);
/* n is in the map. */
void map_del(struct map *m, struct map_node *n);
/* Any node; NULL when empty. To empty a map, take one after the other. */
struct map_node *map_any(struct map *m);

#endif
