/* Implements address.h: a map under a spin lock, which is held for one look-up. Connections
 * come and go far more rarely than calls, so one lock for all threads of a node is enough. An
 * address is in the map while connections from it are open, so the map is never larger than
 * their number. */
#include "core/address.h"

#include "base/spin.h"

#include <string.h>

struct address {
    struct map_node node;
    uint32_t open;
    char text[ADDRESS_MAX_BYTES];
};

void addresses_init(struct address_table *t, const uint64_t *seed)
{
    mem_init(&t->mem, NULL, NULL);
    map_init(&t->map, &t->mem, seed);
}

void addresses_fini(struct address_table *t)
{
    map_fini(&t->map);
}

static struct address *enter(struct address_table *t, const char *text, size_t len)
{
    struct address *a = mem_zalloc(&t->mem, sizeof *a);

    if (!a)
        return NULL;
    memcpy(a->text, text, len);
    a->node.key = a->text;
    a->node.len = len;
    if (map_add(&t->map, &a->node)) {
        mem_free(&t->mem, a);
        return NULL;
    }
    return a;
}

/* Entered under the same lock that has looked for it, or two threads would enter it twice. limit
 * is not 0, which means that there is none and that nobody asks: so what was just entered is never
 * refused, and no entry stays without a connection. */
struct address *address_take(struct address_table *t, const char *text, size_t len, uint32_t limit)
{
    struct map_node *n;
    struct address *a;

    spin_lock(&t->lock);
    n = map_find(&t->map, text, len);
    a = n ? container_of(n, struct address, node) : enter(t, text, len);
    if (a && a->open >= limit)
        a = NULL;
    if (a)
        a->open++;
    spin_unlock(&t->lock);
    return a;
}

void address_give(struct address_table *t, struct address *a)
{
    spin_lock(&t->lock);
    if (--a->open == 0) {
        map_del(&t->map, &a->node);
        mem_free(&t->mem, a);
    }
    spin_unlock(&t->lock);
}
