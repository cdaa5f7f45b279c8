/* Implements id_memory.h. All ids are remembered for the same time, so the list in the order of
 * their arrival is also that in which they expire: there is no timer, what is over goes when
 * something comes. A remote chooses the ids, so their number is bounded by whoever adds, their
 * length by what an envelope may have (ID_MAX_BYTES), and the map's hash is keyed. */
#include "core/id_memory.h"

#include "base/time.h"

#include <string.h>

/* An abort and its request, or two answers to one call, are not further apart than this on a
 * connection that works. */
#define REMEMBER (30 * SECOND)

struct known_id {
    struct map_node node;
    struct list order;
    uint64_t until;
    char id[];
};

void memory_init(struct id_memory *m, struct mem *mem, const uint64_t *seed)
{
    map_init(&m->map, mem, seed);
    list_init(&m->order);
}

static void memory_drop(struct id_memory *m, struct known_id *k)
{
    map_del(&m->map, &k->node);
    list_del(&k->order);
    mem_free(m->map.mem, k);
}

void memory_trim(struct id_memory *m, uint64_t now, size_t most)
{
    while (!list_empty(&m->order)) {
        struct known_id *k = container_of(m->order.next, struct known_id, order);

        if (k->until > now && m->map.count <= most)
            return;
        memory_drop(m, k);
    }
}

bool memory_add(struct id_memory *m, struct str id, uint64_t now, size_t most)
{
    struct known_id *k;

    memory_trim(m, now, most - 1);
    /* The first time counts: an id that is named again and again still expires. */
    if (map_find(&m->map, id.p, id.n))
        return true;
    k = mem_alloc(m->map.mem, sizeof *k + id.n);
    if (!k)
        return false;
    memcpy(k->id, id.p, id.n);
    k->node.key = k->id;
    k->node.len = id.n;
    k->until = now + REMEMBER;
    if (map_add(&m->map, &k->node)) {
        mem_free(m->map.mem, k);
        return false;
    }
    list_push(&m->order, &k->order);
    return true;
}

bool memory_take(struct id_memory *m, struct str id, uint64_t now)
{
    struct map_node *n;

    memory_trim(m, now, SIZE_MAX);
    n = map_find(&m->map, id.p, id.n);
    if (n)
        memory_drop(m, container_of(n, struct known_id, node));
    return n != NULL;
}
