/* How many connections are open from one address, over all threads of a node: a limit for each
 * loop would let in as many times more as there are loops. The key is a text that the gateway
 * makes of an address, IPv6 by its /64, since whoever has one address there has all of them. */
#ifndef ALK_CORE_ADDRESS_H
#define ALK_CORE_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#define ADDRESS_MAX_BYTES 64u
#define ADDRESS_SLOTS 1024u

struct address;

struct address_table {
    char lock;
    const uint64_t *seed; /* two words, secret */
    struct address *slots[ADDRESS_SLOTS];
};

/* t is zeros. */
void addresses_init(struct address_table *t, const uint64_t *seed);
/* Every connection must be gone. */
void addresses_fini(struct address_table *t);
/* One more from the address, at most limit; NULL: too many, or out of memory. */
struct address *address_take(struct address_table *t, const char *text, size_t len, uint32_t limit);
void address_give(struct address_table *t, struct address *a);

#endif
