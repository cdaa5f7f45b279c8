/* The bundled identity provider: peers and API keys from configuration.
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
#include "core/registry.h"

#include "base/arena.h"
#include "base/host.h"
#include "base/json.h"
#include "base/spin.h"
#include "base/swar.h"
#include "core/node.h"

#include <stdio.h>
#include <string.h>

#define TOKEN_MIN 24u
#define TOKEN_MAX 4096u
#define PREFIX_LEN 8u
#define MAX_ENTRIES 100000u
#define FAR_FUTURE INT64_MAX

/* What one credential proves: a peer's token (key: its hash), an API key (its prefix), a
 * fingerprint. */
struct entry {
    struct map_node node;
    struct list link; /* of the table's identities; the same entry stands for the id itself */
    uint8_t hash[32];
    int64_t expires;
    int kind; /* and flags */
    alk_identity *who;
};

struct table {
    int refs; /* atomic */
    struct mem mem;
    struct arena arena;
    uint64_t seed[2];
    struct map ids, hashes, peers, keys, prints;
    struct list owned; /* entries of ids, each with its reference */
};

struct alk_identities {
    int refs; /* atomic */
    char lock;
    struct table *table;
    uint64_t generation; /* atomic */
    int64_t now;         /* atomic */
};

struct loader {
    struct table *t;
    const alk_registry *reserved;
    char *err;
    size_t err_size;
};

/* The nodes are in the arena; map_fini wants an empty map. */
static void empty(struct map *m)
{
    struct map_node *n;

    while ((n = map_any(m)))
        map_del(m, n);
    map_fini(m);
}

/* On the C library's allocator, like identities: whichever thread drops the last reference
 * frees. */
static void table_unref(struct table *t)
{
    struct mem plain;

    if (!t || __atomic_fetch_sub(&t->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    mem_init(&plain, NULL, NULL);
    list_each(l, &t->owned) alk_identity_unref(container_of(l, struct entry, link)->who);
    empty(&t->ids);
    empty(&t->hashes);
    empty(&t->peers);
    empty(&t->keys);
    empty(&t->prints);
    arena_fini(&t->arena);
    mem_free(&plain, t);
}

/* A new reference; NULL: nothing has been loaded. The lock covers the moment between reading the
 * pointer and counting, in which the last other reference could go. */
static struct table *table_get(alk_identities *ids)
{
    struct table *t;

    spin_lock(&ids->lock);
    t = ids->table;
    if (t)
        __atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
    spin_unlock(&ids->lock);
    return t;
}

/* Says where, in the words of a JSON pointer: a configuration may have thousands of entries. */
static int bad(struct loader *l, const char *list, size_t index, const char *member,
               const char *what)
{
    if (l->err)
        snprintf(l->err, l->err_size, "/%s/%zu%s%s: %s", list, index, *member ? "/" : "", member,
                 what);
    return ALK_ECONFIG;
}

/* Lower case only: one hash has one form, so that the same token cannot be entered twice. */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hash(const char *s, size_t len, uint8_t out[32])
{
    if (len != 64)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

/* In the two forms in which a provider is asked for one, see alk_identity_provider. */
static bool parse_fingerprint(struct str s)
{
    uint8_t unused[32];

    return (str_starts(s, "ed25519:") && parse_hash(s.p + 8, s.n - 8, unused)) ||
           (str_starts(s, "SHA256:") && parse_hash(s.p + 7, s.n - 7, unused));
}

/* RFC 3339 in UTC: 2027-01-31T12:00:00Z. By hand: timegm is not in C11, and strptime knows locales.
 * 24:00 and other zones are not taken, a leap second is. The days come out by the well-known
 * formula over eras of 400 years, in which the calendar repeats. */
static bool parse_time(const char *s, size_t len, int64_t *out)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
    static const uint8_t month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int f[6] = {0}, field = 0;
    int64_t y, era, yoe, doy;

    if (len != sizeof shape - 1)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (shape[i] == 'd' ? s[i] < '0' || s[i] > '9' : shape[i] != s[i])
            return false;
        if (shape[i] == 'd')
            f[field] = f[field] * 10 + (s[i] - '0');
        else
            field++;
    }
    if (f[1] < 1 || f[1] > 12 || f[2] < 1 || f[2] > month_days[f[1] - 1] || f[3] > 23 ||
        f[4] > 59 || f[5] > 60 ||
        (f[1] == 2 && f[2] == 29 && (f[0] % 4 || (f[0] % 100 == 0 && f[0] % 400))))
        return false;
    /* Days of the civil calendar, years counted from March. */
    y = f[0] - (f[1] <= 2);
    era = y / 400;
    yoe = y - era * 400;
    doy = (153 * (f[1] + (f[1] > 2 ? -3 : 9)) + 2) / 5 + f[2] - 1;
    *out = ((era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468) * 24 + f[3]) * 3600 +
           f[4] * 60 + f[5];
    return true;
}

/* Adds an entry under a key that is copied. ALK_ENOMEM, ALK_EEXIST. */
static int enter(struct table *t, struct map *m, const void *key, size_t len, const struct entry *e,
                 struct entry **out)
{
    struct entry *n;

    if (map_find(m, key, len))
        return ALK_EEXIST;
    n = arena_alloc(&t->arena, sizeof *n);
    if (!n)
        return ALK_ENOMEM;
    *n = *e;
    n->node.key = arena_dup(&t->arena, key, len);
    n->node.len = len;
    if (!n->node.key || map_add(m, &n->node))
        return ALK_ENOMEM;
    if (out)
        *out = n;
    return ALK_OK;
}

/* Makes the identity and claims its id. An id is claimed once, among peers, keys and the
 * authorities of operations alike: whoever is written into a rule of access or a log must be one
 * and the same. The entry in ids owns the reference; all others borrow it, and go with the
 * table. */
static int own(struct loader *l, const char *list, size_t at, const char *member, struct str id,
               yyjson_val *o, alk_identity **who)
{
    struct table *t = l->t;
    struct entry *e;
    const char *why;
    int rc;

    if (map_find(&t->ids, id.p, id.n) ||
        (l->reserved && registry_has_authority(l->reserved, id.p, id.n)))
        return bad(l, list, at, member, "the id is taken");
    *who = identity_make(id.p, id.n, yyjson_obj_get(o, "scopes"), yyjson_obj_get(o, "resources"),
                         &why);
    if (!*who)
        return strcmp(why, "out of memory") ? bad(l, list, at, "", why) : ALK_ENOMEM;
    rc = enter(t, &t->ids, id.p, id.n, &(struct entry){.who = *who}, &e);
    if (rc) {
        alk_identity_unref(*who);
        return rc;
    }
    list_push(&t->owned, &e->link);
    return ALK_OK;
}

/* Of peers and keys together: a token that is both would have two answers, and which one came first
 * would be left to the order of lookups. */
static int enter_hash(struct loader *l, const char *list, size_t at, const char *member,
                      const struct entry *e)
{
    int rc = enter(l->t, &l->t->hashes, e->hash, sizeof e->hash, e, NULL);

    return rc == ALK_EEXIST ? bad(l, list, at, member, "the same token twice") : rc;
}

static int add_peer_hashes(struct loader *l, yyjson_val *arr, size_t at, int kind,
                           alk_identity *who)
{
    yyjson_val *v;
    size_t i, n;
    int rc;

    if (arr && !yyjson_is_arr(arr))
        return bad(l, "peers", at, "auth_token_hashes", "must be an array");
    yyjson_arr_foreach(arr, i, n, v)
    {
        struct entry e = {.kind = kind, .expires = FAR_FUTURE, .who = who};

        if (!yyjson_is_str(v) || !parse_hash(yyjson_get_str(v), yyjson_get_len(v), e.hash))
            return bad(l, "peers", at, "auth_token_hashes", "must be lower-case hex SHA-256");
        if ((rc = enter_hash(l, "peers", at, "auth_token_hashes", &e)) ||
            (rc = enter(l->t, &l->t->peers, e.hash, sizeof e.hash, &e, NULL)))
            return rc;
    }
    return ALK_OK;
}

static int add_peer_prints(struct loader *l, yyjson_val *arr, size_t at, int kind,
                           alk_identity *who)
{
    struct entry e = {.kind = kind, .expires = FAR_FUTURE, .who = who};
    yyjson_val *v;
    size_t i, n;
    int rc;

    if (arr && !yyjson_is_arr(arr))
        return bad(l, "peers", at, "fingerprints", "must be an array");
    yyjson_arr_foreach(arr, i, n, v)
    {
        if (!yyjson_is_str(v) || !parse_fingerprint(json_string(v)))
            return bad(l, "peers", at, "fingerprints",
                       "must be ed25519: or SHA256: and 64 lower-case hex digits");
        rc = enter(l->t, &l->t->prints, yyjson_get_str(v), yyjson_get_len(v), &e, NULL);
        if (rc)
            return rc == ALK_EEXIST
                       ? bad(l, "peers", at, "fingerprints", "the same fingerprint twice")
                       : rc;
    }
    return ALK_OK;
}

/* A flag that is "yes" or 1 is refused, not taken for true: with flags of rights, a guess is wrong
 * on one of two sides. */
static int check_flag(struct loader *l, yyjson_val *o, size_t at, const char *name)
{
    yyjson_val *v = yyjson_obj_get(o, name);

    return v && !yyjson_is_bool(v) ? bad(l, "peers", at, name, "must be true or false") : 0;
}

/* What is only for people is checked all the same, so that a member in the wrong place is found. */
static int check_text(struct loader *l, const char *list, yyjson_val *o, size_t at,
                      const char *name)
{
    yyjson_val *v = yyjson_obj_get(o, name);

    return v && !yyjson_is_str(v) ? bad(l, list, at, name, "must be a string") : 0;
}

/* Members that are unknown are refused: a misspelled "scopes" or "enabled" would grant or leave
 * rights unseen. */
static int add_peer(struct loader *l, yyjson_val *o, size_t at)
{
    static const char *const known[] = {
        "peer_id",      "fingerprints", "auth_token_hashes", "scopes",    "resources",
        "display_name", "enabled",      "may_forward",       "websocket", NULL};
    const char *unknown;
    alk_identity *who;
    struct str id;
    int rc, kind = ALK_KIND_PEER;

    if (!yyjson_is_obj(o))
        return bad(l, "peers", at, "", "must be an object");
    if ((unknown = json_unknown_member(o, known)))
        return bad(l, "peers", at, unknown, "unknown member");
    id.p = json_str(o, "peer_id", &id.n);
    if (!id.p || !peer_id_valid(id.p, id.n))
        return bad(l, "peers", at, "peer_id",
                   "must be 1 to 64 of A-Z a-z 0-9 _ . - and not \"local\"");
    if ((rc = check_flag(l, o, at, "enabled")) || (rc = check_flag(l, o, at, "may_forward")) ||
        (rc = check_flag(l, o, at, "websocket")) ||
        (rc = check_text(l, "peers", o, at, "display_name")) ||
        (rc = own(l, "peers", at, "peer_id", id, o, &who)))
        return rc;
    if (yyjson_is_true(yyjson_obj_get(o, "may_forward")))
        kind |= ALK_PEER_MAY_FORWARD;
    if (yyjson_is_true(yyjson_obj_get(o, "websocket")))
        kind |= ALK_PEER_WEBSOCKET;
    /* A disabled peer's credentials are checked like others, and prove nothing. */
    if (yyjson_is_false(yyjson_obj_get(o, "enabled")))
        kind = ALK_KIND_NONE;
    rc = add_peer_hashes(l, yyjson_obj_get(o, "auth_token_hashes"), at, kind, who);
    return rc ? rc : add_peer_prints(l, yyjson_obj_get(o, "fingerprints"), at, kind, who);
}

/* The prefix is in the clear, for logs and for the lookup: 8 of 36 characters leave enough that
 * nobody knows. */
static int add_key(struct loader *l, yyjson_val *o, size_t at)
{
    static const char *const known[] = {"prefix",      "hash",       "scopes",
                                        "description", "expires_at", NULL};
    struct entry e = {.kind = ALK_KIND_KEY, .expires = FAR_FUTURE};
    struct str prefix, hash, until;
    const char *unknown;
    int rc;

    if (!yyjson_is_obj(o))
        return bad(l, "keys", at, "", "must be an object");
    if ((unknown = json_unknown_member(o, known)))
        return bad(l, "keys", at, unknown, "unknown member");
    prefix.p = json_str(o, "prefix", &prefix.n);
    hash.p = json_str(o, "hash", &hash.n);
    until.p = json_str(o, "expires_at", &until.n);
    if (!prefix.p || prefix.n != PREFIX_LEN)
        return bad(l, "keys", at, "prefix", "must be the token's first 8 characters");
    if (!hash.p || !parse_hash(hash.p, hash.n, e.hash))
        return bad(l, "keys", at, "hash", "must be lower-case hex SHA-256");
    if (yyjson_obj_get(o, "expires_at") && (!until.p || !parse_time(until.p, until.n, &e.expires)))
        return bad(l, "keys", at, "expires_at", "must be a time like 2027-01-31T12:00:00Z");
    if ((rc = check_text(l, "keys", o, at, "description")) ||
        (rc = own(l, "keys", at, "prefix", prefix, o, &e.who)) ||
        (rc = enter_hash(l, "keys", at, "hash", &e)))
        return rc;
    return enter(l->t, &l->t->keys, prefix.p, prefix.n, &e, NULL);
}

/* MAX_ENTRIES bounds what a wrong file can cost; it is far above what one is meant to hold. */
static int fill_table(struct loader *l, yyjson_val *root)
{
    static const char *const known[] = {"peers", "keys", NULL};
    yyjson_val *peers = yyjson_obj_get(root, "peers"), *keys = yyjson_obj_get(root, "keys"), *v;
    size_t i, n;
    int rc = 0;

    if (!yyjson_is_obj(root) || json_unknown_member(root, known) ||
        (peers && !yyjson_is_arr(peers)) || (keys && !yyjson_is_arr(keys)) ||
        yyjson_arr_size(peers) > MAX_ENTRIES || yyjson_arr_size(keys) > MAX_ENTRIES) {
        if (l->err)
            snprintf(l->err, l->err_size,
                     "must be an object with the arrays peers and keys, of at most %u entries",
                     MAX_ENTRIES);
        return ALK_ECONFIG;
    }
    yyjson_arr_foreach(peers, i, n, v)
    {
        if ((rc = add_peer(l, v, i)))
            return rc;
    }
    yyjson_arr_foreach(keys, i, n, v)
    {
        if ((rc = add_key(l, v, i)))
            return rc;
    }
    return 0;
}

/* Each table has a seed of its own, so that no choice of ids and prefixes fills one slot. */
static struct table *table_new(void)
{
    struct mem plain;
    struct table *t;

    mem_init(&plain, NULL, NULL);
    t = mem_zalloc(&plain, sizeof *t);
    if (!t)
        return NULL;
    t->refs = 1;
    mem_init(&t->mem, NULL, NULL);
    arena_init(&t->arena, &t->mem, 1024);
    list_init(&t->owned);
    map_init(&t->ids, &t->mem, t->seed);
    map_init(&t->hashes, &t->mem, t->seed);
    map_init(&t->peers, &t->mem, t->seed);
    map_init(&t->keys, &t->mem, t->seed);
    map_init(&t->prints, &t->mem, t->seed);
    host_default()->random(t->seed, sizeof t->seed);
    return t;
}

/* The parsed document is gone when this returns: everything that stays is copied into the table. */
static int build_table(struct loader *l, const char *json, size_t len)
{
    static const struct json_limits limits = {16, 10 * 1000 * 1000};
    struct mem mem;
    struct arena arena;
    struct json_error je;
    yyjson_doc *doc;
    yyjson_alc alc;
    char *copy;
    int rc = ALK_ENOMEM;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 4096);
    alc = arena_alc(&arena);
    copy = arena_alloc(&arena, len + JSON_PADDING);
    l->t = table_new();
    if (copy && l->t) {
        memcpy(copy, json, len);
        rc = json_parse(copy, len, &limits, &alc, &doc, &je);
        if (rc == JSON_OK) {
            rc = fill_table(l, yyjson_doc_get_root(doc));
        } else {
            if (l->err)
                snprintf(l->err, l->err_size, "%s", je.text);
            rc = json_err(rc);
        }
    }
    arena_fini(&arena);
    return rc;
}

/* The generation is raised after the swap: whoever sees the new number sees the new table. Who saw
 * the old number with the new table asks once too often, which is no harm. */
int alk_identities_load(alk_identities *ids, const char *json, size_t len, int64_t unix_time,
                        const alk_registry *reserved, char *err, size_t err_size)
{
    struct loader l = {.reserved = reserved, .err = err_size ? err : NULL, .err_size = err_size};
    struct table *old;
    int rc;

    if (l.err)
        *err = 0;
    rc = build_table(&l, json, len);
    if (rc) {
        table_unref(l.t);
        return rc;
    }
    alk_identities_tick(ids, unix_time);
    spin_lock(&ids->lock);
    old = ids->table;
    ids->table = l.t;
    spin_unlock(&ids->lock);
    __atomic_fetch_add(&ids->generation, 1, __ATOMIC_RELEASE);
    table_unref(old);
    return 0;
}

/* The generation changes with the time as well when a key expires in between, so that what came by
 * the key ends. Any thread may call it; the exchange makes each moment belong to one of them. */
void alk_identities_tick(alk_identities *ids, int64_t unix_time)
{
    int64_t before = __atomic_exchange_n(&ids->now, unix_time, __ATOMIC_RELAXED);
    struct table *t = table_get(ids);

    for (size_t i = 0; t && i <= t->keys.mask; i++) {
        for (struct map_node *n = t->keys.slots[i]; n; n = n->next) {
            int64_t expires = container_of(n, struct entry, node)->expires;

            if (expires > before && expires <= unix_time)
                __atomic_fetch_add(&ids->generation, 1, __ATOMIC_RELEASE);
        }
    }
    table_unref(t);
}

static const struct entry *entry_at(const struct map *m, const void *key, size_t len)
{
    struct map_node *n = map_find(m, key, len);

    return n ? container_of(n, struct entry, node) : NULL;
}

/* Called for each request that is not remembered. Length is judged first: it bounds what is hashed
 * for a stranger, and below TOKEN_MIN no token can be good, nor has PREFIX_LEN bytes.
 *
 * A disabled peer's entry is found and proves nothing, as an expired key does. */
static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    alk_identities *ids = ud;
    int64_t now = __atomic_load_n(&ids->now, __ATOMIC_RELAXED);
    const struct entry *hit;
    struct table *t;
    uint8_t hash[32];
    int kind = ALK_KIND_NONE;

    if (len < TOKEN_MIN || len > TOKEN_MAX || !(t = table_get(ids)))
        return ALK_KIND_NONE;
    host_default()->sha256(token, len, hash);
    hit = entry_at(&t->peers, hash, sizeof hash);
    if (!hit) {
        hit = entry_at(&t->keys, token, PREFIX_LEN);
        if (hit && (!swar_equal((const char *)hit->hash, (const char *)hash, sizeof hash) ||
                    hit->expires <= now))
            hit = NULL;
    }
    if (hit && hit->kind) {
        kind = hit->kind;
        *out = alk_identity_ref(hit->who);
    }
    table_unref(t);
    return kind;
}

static int by_fingerprint(void *ud, const char *fp, size_t len, alk_identity **out)
{
    struct table *t = table_get(ud);
    const struct entry *hit = t ? entry_at(&t->prints, fp, len) : NULL;
    int kind = hit ? hit->kind : ALK_KIND_NONE;

    if (kind)
        *out = alk_identity_ref(hit->who);
    table_unref(t);
    return kind;
}

static uint64_t generation(void *ud)
{
    return __atomic_load_n(&((alk_identities *)ud)->generation, __ATOMIC_ACQUIRE);
}

alk_identities *alk_identities_new(void)
{
    struct mem plain;
    alk_identities *ids;

    mem_init(&plain, NULL, NULL);
    ids = mem_zalloc(&plain, sizeof *ids);
    if (ids)
        ids->refs = 1;
    return ids;
}

alk_identities *alk_identities_ref(alk_identities *ids)
{
    __atomic_fetch_add(&ids->refs, 1, __ATOMIC_RELAXED);
    return ids;
}

void alk_identities_unref(alk_identities *ids)
{
    struct mem plain;

    if (!ids || __atomic_fetch_sub(&ids->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    mem_init(&plain, NULL, NULL);
    table_unref(ids->table);
    mem_free(&plain, ids);
}

void alk_identities_provider(alk_identities *ids, alk_identity_provider *out, size_t size)
{
    const alk_identity_provider p = {sizeof p, by_token, by_fingerprint, generation, ids};

    abi_fill(&abi_identity_provider, out, size, &p);
}
