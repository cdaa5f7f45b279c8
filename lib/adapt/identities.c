/* The bundled identity provider: peers, API keys and users from configuration.
 *
 * A table is immutable; alk_identities_load builds a new one and swaps the pointer under a spin
 * lock that readers hold only while they take a reference. So a reader has one table from its
 * lookup to its answer, whatever is loaded meanwhile, and a configuration that is wrong changes
 * nothing.
 *
 * Tokens are looked up by their SHA-256: peers by the whole hash, keys by their prefix and then a
 * comparison of hashes in constant time. Tokens are long and random, so a hash without salt and
 * without stretching cannot be turned back, and the time of a map's lookup by hash tells nothing of
 * use. Every stored string is the configuration's, none is a token.
 *
 * Time comes from outside, by alk_identities_tick: the library has no clock of its own, and a test
 * can make a key expire. */
#include "adapt/identity_table.h"

#include "base/host.h"
#include "base/spin.h"
#include "base/swar.h"
#include "core/credential.h"

struct alk_identities {
    char lock;
    struct identity_table *table;
    uint64_t generation; /* atomic */
    int64_t now;         /* atomic */
};

/* A new reference; NULL: nothing has been loaded. The lock covers the moment between reading the
 * pointer and counting, in which the last other reference could go. */
static struct identity_table *table_get(alk_identities *ids)
{
    struct identity_table *t;

    spin_lock(&ids->lock);
    t = ids->table;
    if (t)
        __atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
    spin_unlock(&ids->lock);
    return t;
}

/* The generation is raised after the swap: whoever sees the new number sees the new table. Who saw
 * the old number with the new table asks once too often, which is no harm. */
int alk_identities_load(alk_identities *ids, const char *json, size_t len, int64_t unix_time,
                        const alk_registry *reserved, char *err, size_t err_size)
{
    struct identity_table *loaded, *old;
    int rc = identity_table_load(&loaded, json, len, reserved, err, err_size);

    if (rc)
        return rc;
    alk_identities_tick(ids, unix_time);
    spin_lock(&ids->lock);
    old = ids->table;
    ids->table = loaded;
    spin_unlock(&ids->lock);
    __atomic_fetch_add(&ids->generation, 1, __ATOMIC_RELEASE);
    identity_table_unref(old);
    return 0;
}

/* The generation changes with the time as well when a key expires in between, so that what came by
 * the key ends. Any thread may call it; the exchange makes each moment belong to one of them. */
void alk_identities_tick(alk_identities *ids, int64_t unix_time)
{
    int64_t before = __atomic_exchange_n(&ids->now, unix_time, __ATOMIC_RELAXED);
    struct identity_table *t = table_get(ids);

    for (size_t i = 0; t && i <= t->keys.mask; i++) {
        for (struct map_node *n = t->keys.slots[i]; n; n = n->next) {
            int64_t expires = container_of(n, struct identity_entry, node)->expires;

            if (expires > before && expires <= unix_time)
                __atomic_fetch_add(&ids->generation, 1, __ATOMIC_RELEASE);
        }
    }
    identity_table_unref(t);
}

/* Valid as long as the table is referenced. */
static const struct identity_entry *entry_at(const struct map *m, const void *key, size_t len)
{
    struct map_node *n = map_find(m, key, len);

    return n ? container_of(n, struct identity_entry, node) : NULL;
}

/* Called for each request that is not remembered. Length is judged first: it bounds what is hashed
 * for a stranger. Below ALK_TOKEN_MIN a token is refused even if somebody entered its hash: a hash
 * without salt protects only what cannot be guessed.
 *
 * A disabled peer's entry is found and proves nothing, as an expired key does. */
static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    alk_identities *ids = ud;
    int64_t now = __atomic_load_n(&ids->now, __ATOMIC_RELAXED);
    const struct identity_entry *hit;
    struct identity_table *t;
    uint8_t hash[32];
    int kind = ALK_KIND_NONE;

    if (len < ALK_TOKEN_MIN || len > ALK_TOKEN_MAX || !(t = table_get(ids)))
        return ALK_KIND_NONE;
    host_default()->sha256(token, len, hash);
    hit = entry_at(&t->peers, hash, sizeof hash);
    if (!hit) {
        hit = entry_at(&t->keys, token, IDENTITY_PREFIX_LEN);
        if (hit && (!swar_equal((const char *)hit->hash, (const char *)hash, sizeof hash) ||
                    hit->expires <= now))
            hit = NULL;
    }
    if (hit && hit->kind) {
        kind = hit->kind;
        *out = alk_identity_ref(hit->who);
    }
    identity_table_unref(t);
    return kind;
}

/* The transport has seen the key proved: here it is only looked up. A disabled peer's kind is
 * ALK_KIND_NONE, as nobody's. */
static int by_fingerprint(void *ud, const char *fp, size_t len, alk_identity **out)
{
    struct identity_table *t = table_get(ud);
    const struct identity_entry *hit = t ? entry_at(&t->prints, fp, len) : NULL;
    int kind = hit ? hit->kind : ALK_KIND_NONE;

    if (kind)
        *out = alk_identity_ref(hit->who);
    identity_table_unref(t);
    return kind;
}

static int by_peer(void *ud, const char *id, size_t len, alk_identity **out)
{
    struct identity_table *t = table_get(ud);
    const struct identity_entry *hit = t ? entry_at(&t->ids, id, len) : NULL;
    int kind = hit && (hit->kind & KIND_MASK) == ALK_KIND_PEER ? hit->kind : ALK_KIND_NONE;

    if (kind)
        *out = alk_identity_ref(hit->who);
    identity_table_unref(t);
    return kind;
}

static int by_uid(void *ud, uint32_t uid, alk_identity **out)
{
    struct identity_table *t = table_get(ud);
    const struct identity_entry *hit = t ? entry_at(&t->users, &uid, sizeof uid) : NULL;
    int kind = hit ? hit->kind : ALK_KIND_NONE;

    if (hit)
        *out = alk_identity_ref(hit->who);
    identity_table_unref(t);
    return kind;
}

/* Looked at in each turn of each dispatcher, so it is a plain number and needs no lock. */
static uint64_t generation(void *ud)
{
    return __atomic_load_n(&((alk_identities *)ud)->generation, __ATOMIC_ACQUIRE);
}

/* On the C library's allocator: it is shared between nodes and threads, each with a memory of its
 * own. Without a table nobody is known, which is the safe beginning. */
alk_identities *alk_identities_new(void)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    return mem_zalloc(&plain, sizeof(alk_identities));
}

void alk_identities_free(alk_identities *ids)
{
    struct mem plain;

    if (!ids)
        return;
    mem_init(&plain, NULL, NULL);
    identity_table_unref(ids->table);
    mem_free(&plain, ids);
}

void alk_identities_provider(alk_identities *ids, alk_identity_provider *out, size_t size)
{
    const alk_identity_provider p = {sizeof p, by_token, by_fingerprint, generation,
                                     ids,      by_peer,  by_uid};

    abi_fill(&abi_identity_provider, out, size, &p);
}
