/* Chains of nodes in a table whose size is a power of two.
 *
 * Keys are chosen by remotes: request ids, names, tokens. With a known hash they could choose keys
 * of one chain and make each lookup linear; SipHash with a secret seed takes that away.
 * SipHash-1-3, with one round a word and three at the end, is what hash tables commonly use: half
 * the cost of 2-4, which is for signatures. The hash is kept in the node, so that growing reads no
 * keys. The table grows by four at a time and never shrinks while nodes are in it; an emptied map
 * goes back to its four inline slots, so a connection without calls holds no table. */
#include "base/map.h"

#include <assert.h>
#include <string.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ROTL(v[1], 13) ^ v[0];
    v[0] = ROTL(v[0], 32);
    v[2] += v[3];
    v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ROTL(v[1], 17) ^ v[2];
    v[2] = ROTL(v[2], 32);
}

/* SipHash-1-3; words are read in the byte order of the machine, since no hash leaves it. */
uint64_t map_hash(const uint64_t seed[2], const void *key, size_t len)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    const unsigned char *p = key;
    uint64_t word = 0;
    size_t left = len;

    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    if (left)
        memcpy(&word, p, left);
    word |= (uint64_t)len << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, struct mem *mem, const uint64_t *seed)
{
    memset(m, 0, sizeof *m);
    m->mem = mem;
    m->seed = seed;
    m->slots = m->small;
    m->mask = MAP_INLINE - 1;
}

/* Only when empty: the nodes of the old table would be lost. */
static void use_inline(struct map *m)
{
    if (m->slots == m->small)
        return;
    mem_free(m->mem, m->slots);
    memset(m->small, 0, sizeof m->small);
    m->slots = m->small;
    m->mask = MAP_INLINE - 1;
    m->first = 0;
}

void map_fini(struct map *m)
{
    assert(m->count == 0);
    use_inline(m);
}

/* The whole hash is compared before the key: other keys of the chain are told apart without being
 * read. */
struct map_node *map_find(const struct map *m, const char *key, size_t len)
{
    uint64_t hash;

    if (!m->count)
        return NULL;
    hash = map_hash(m->seed, key, len);
    for (struct map_node *n = m->slots[hash & m->mask]; n; n = n->next) {
        if (n->hash == hash && n->len == len && !memcmp(n->key, key, len))
            return n;
    }
    return NULL;
}

/* On failure the old table stays, and with it every node. */
static int grow(struct map *m)
{
    size_t size = (m->mask + 1) * 4;
    struct map_node **slots = mem_zalloc(m->mem, size * sizeof *slots);

    if (!slots)
        return -1;
    for (size_t i = 0; i <= m->mask; i++) {
        for (struct map_node *n = m->slots[i], *next; n; n = next) {
            next = n->next;
            n->next = slots[n->hash & (size - 1)];
            slots[n->hash & (size - 1)] = n;
        }
    }
    if (m->slots != m->small)
        mem_free(m->mem, m->slots);
    m->slots = slots;
    m->mask = size - 1;
    m->first = 0;
    return 0;
}

int map_add(struct map *m, struct map_node *n)
{
    size_t slot;

    /* More nodes than slots: chains are one node long on average, at most. */
    if (m->count > m->mask && grow(m))
        return -1;
    n->hash = map_hash(m->seed, n->key, n->len);
    slot = n->hash & m->mask;
    n->next = m->slots[slot];
    m->slots[slot] = n;
    m->count++;
    if (slot < m->first)
        m->first = slot;
    return 0;
}

/* Chains are short, so a link back in each node would not pay. */
void map_del(struct map *m, struct map_node *n)
{
    struct map_node **l = &m->slots[n->hash & m->mask];

    while (*l != n)
        l = &(*l)->next;
    *l = n->next;
    if (--m->count == 0)
        use_inline(m);
}

/* Taking out one after the other, until none is left, looks at each slot once: the search goes on
 * where the last one ended. From the start each time, it would take a time that grows with the
 * square of what remotes have put in. */
struct map_node *map_any(struct map *m)
{
    if (!m->count)
        return NULL;
    while (!m->slots[m->first])
        m->first++;
    return m->slots[m->first];
}
