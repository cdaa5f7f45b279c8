/* A pairing heap: a tree in which no node is less than its parent, kept as lists of children.
 *
 * Timers are set and cleared far more often than they fire, so the operation to make cheap is the
 * insertion: it is one comparison. Memory lies in the owners, so setting a timer cannot fail.
 * Balance comes from melding the children of a removed node in pairs. Nothing here recurses:
 * timers that are set in falling order make a tree as deep as they are many. */
#include "base/heap.h"

#include <stddef.h>

/* The root with the smaller key takes the other as its first child. Equal keys: a stays above b. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    struct heap_node *t;

    if (!a)
        return b;
    if (!b)
        return a;
    if (b->key < a->key) {
        t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

/* Two passes: melds neighbours left to right, then the results right to left. One pass alone would
 * make a chain of n siblings into a root with n children again, and each removal linear. */
static struct heap_node *meld_siblings(struct heap_node *first)
{
    struct heap_node *stack = NULL, *root = NULL;

    while (first) {
        struct heap_node *a = first, *b = a->next;

        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = meld(a, b);
        a->next = stack;
        stack = a;
    }
    while (stack) {
        struct heap_node *a = stack;

        stack = a->next;
        a->next = NULL;
        root = meld(root, a);
    }
    return root;
}

void heap_insert(struct heap *h, struct heap_node *n, uint64_t key)
{
    n->child = n->next = n->prev = NULL;
    n->key = key;
    h->root = meld(h->root, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    /* A timer that is not set may be cleared: owners need no flag of their own. */
    if (n->key == HEAP_NONE)
        return;
    if (n == h->root) {
        h->root = meld_siblings(n->child);
    } else {
        if (n->prev->child == n)
            n->prev->child = n->next;
        else
            n->prev->next = n->next;
        if (n->next)
            n->next->prev = n->prev;
        h->root = meld(h->root, meld_siblings(n->child));
    }
    n->key = HEAP_NONE;
}
