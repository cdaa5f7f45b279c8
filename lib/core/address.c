/* Implements address.h: a hash table under a spin lock, which is held for one look-up. Connections
 * come and go far more rarely than calls, so one lock for all threads of a node is enough. An
 * address is in the table while connections from it are open, so there are never more of them than
 * connections. The table has a fixed size, since to let it grow one would have to allocate under
 * the lock. */
#include "core/address.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/spin.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

struct address {
    struct address *next;
    uint64_t hash;
    size_t len;
    uint32_t open;
    char text[ADDRESS_MAX_BYTES];
};

void addresses_init(struct address_table *t, const uint64_t *seed)
{
    t->seed = seed;
}

void addresses_fini(struct address_table *t)
{
    for (size_t i = 0; i < ADDRESS_SLOTS; i++)
        assert(!t->slots[i]);
}

static struct address **slot(struct address_table *t, uint64_t hash)
{
    return &t->slots[hash % ADDRESS_SLOTS];
}

static struct address *find(struct address_table *t, const struct address *like)
{
    struct address *a = *slot(t, like->hash);

    while (a &&
           (a->hash != like->hash || a->len != like->len || memcmp(a->text, like->text, like->len)))
        a = a->next;
    return a;
}

static void enter(struct address_table *t, struct address *a)
{
    struct address **at = slot(t, a->hash);

    a->next = *at;
    *at = a;
}

static void drop(struct address_table *t, struct address *a)
{
    struct address **at = slot(t, a->hash);

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
}

/* Made before the lock is taken, and freed if the address is there already. Entered under the same
 * lock that has looked for it, or two threads would enter it twice. limit is not 0, which means
 * that there is none and that nobody asks: so what was just entered is never refused, and no entry
 * stays without a connection. */
struct address *address_take(struct address_table *t, const char *text, size_t len, uint32_t limit)
{
    struct address *fresh, *a;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    fresh = mem_zalloc(&plain, sizeof *fresh);
    if (!fresh)
        return NULL;
    memcpy(fresh->text, text, len);
    fresh->len = len;
    fresh->hash = map_hash(t->seed, text, len);
    spin_lock(&t->lock);
    a = find(t, fresh);
    if (!a) {
        enter(t, fresh);
        a = fresh;
    }
    if (a->open >= limit)
        a = NULL;
    else
        a->open++;
    spin_unlock(&t->lock);
    if (a != fresh)
        mem_free(&plain, fresh);
    return a;
}

void address_give(struct address_table *t, struct address *a)
{
    struct mem plain;
    bool gone;

    spin_lock(&t->lock);
    gone = --a->open == 0;
    if (gone)
        drop(t, a);
    spin_unlock(&t->lock);
    mem_init(&plain, NULL, NULL);
    if (gone)
        mem_free(&plain, a);
}
