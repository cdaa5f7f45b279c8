/* An intrusive pairing heap of deadlines: insertion cannot fail and costs nothing, removal of any
 * node is logarithmic on average. The root has the smallest key. A node in no heap has key
 * HEAP_NONE. Nodes lie in their owners, who remove them before they go. */
#ifndef ALK_BASE_HEAP_H
#define ALK_BASE_HEAP_H

#include <stdint.h>

#define HEAP_NONE UINT64_MAX

struct heap_node {
    struct heap_node *child, *next;
    struct heap_node *prev; /* the left sibling, or the parent of a first child */
    uint64_t key;           /* a time in ns */
};

struct heap {
    struct heap_node *root;
};

static inline void heap_node_init(struct heap_node *n)
{
    n->key = HEAP_NONE;
}
/* n is in no heap. key is not HEAP_NONE. */
void heap_insert(struct heap *h, struct heap_node *n, uint64_t key);
/* Harmless for a node that is in no heap. */
void heap_remove(struct heap *h, struct heap_node *n);

#endif
