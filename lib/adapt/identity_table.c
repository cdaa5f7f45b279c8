/* Implements identity_table.h: reads the configuration of identities.
 *
 * Everything is checked, and the first fault refuses the whole: half a configuration would be a set
 * of rights that nobody wrote. A fault is told with its place and never with its value, which could
 * be a token in the wrong member. What is entered are hashes, of long and random tokens; see
 * identities.c for what that protects.
 *
 * Entries, keys of maps and strings are in one arena that goes with the table; only identities have
 * counts of their own, since calls and connections keep them beyond it. */
#include "adapt/identity_table.h"

#include "base/host.h"
#include "base/json.h"
#include "core/node.h"
#include "core/registry.h"

#include <stdio.h>
#include <string.h>

#define MAX_ENTRIES 100000u
#define FAR_FUTURE INT64_MAX /* of what does not expire, so that there is one comparison for all */

#define HASH_FORM "must be lower-case hex SHA-256, as \"alknet token hash\" prints it"

struct loader {
    struct identity_table *t;
    const alk_registry *reserved;
    char *err;
    size_t err_size;
};

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

/* A SHA-256 and nothing else, so that a token that was pasted in its place is refused and not
 * entered as one. */
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
static int enter(struct identity_table *t, struct map *m, const void *key, size_t len,
                 const struct identity_entry *e, struct identity_entry **out)
{
    struct identity_entry *n;

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
               yyjson_val *o, int kind, alk_identity **who)
{
    struct identity_table *t = l->t;
    struct identity_entry *e;
    const char *why;
    int rc;

    if (map_find(&t->ids, id.p, id.n) ||
        (l->reserved && registry_has_authority(l->reserved, id.p, id.n)))
        return bad(l, list, at, member, "the id is taken");
    *who = identity_make(id.p, id.n, yyjson_obj_get(o, "scopes"), yyjson_obj_get(o, "resources"),
                         &why);
    if (!*who)
        return strcmp(why, "out of memory") ? bad(l, list, at, "", why) : ALK_ENOMEM;
    rc = enter(t, &t->ids, id.p, id.n, &(struct identity_entry){.who = *who, .kind = kind}, &e);
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
                      const struct identity_entry *e)
{
    int rc = enter(l->t, &l->t->hashes, e->hash, sizeof e->hash, e, NULL);

    return rc == ALK_EEXIST ? bad(l, list, at, member, "the same token twice") : rc;
}

/* Several for one peer, so that a token can be replaced while the old one still works. */
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
        struct identity_entry e = {.kind = kind, .expires = FAR_FUTURE, .who = who};

        if (!yyjson_is_str(v) || !parse_hash(yyjson_get_str(v), yyjson_get_len(v), e.hash))
            return bad(l, "peers", at, "auth_token_hashes", HASH_FORM);
        if ((rc = enter_hash(l, "peers", at, "auth_token_hashes", &e)) ||
            (rc = enter(l->t, &l->t->peers, e.hash, sizeof e.hash, &e, NULL)))
            return rc;
    }
    return ALK_OK;
}

/* For transports that know the remote's key: a fingerprint is public, and proves something only to
 * whoever has seen the key used. Of two peers with one key, which one it is could not be told. */
static int add_peer_prints(struct loader *l, yyjson_val *arr, size_t at, int kind,
                           alk_identity *who)
{
    struct identity_entry e = {.kind = kind, .expires = FAR_FUTURE, .who = who};
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
 * rights unseen. A peer's id is what other nodes see, in the names of its operations, hence its
 * narrow alphabet; "local" stands for the node itself. */
static int add_peer(struct loader *l, yyjson_val *o, size_t at)
{
    static const char *const known[] = {
        "peer_id",      "fingerprints", "auth_token_hashes", "scopes",    "resources",
        "display_name", "enabled",      "may_forward",       "websocket", NULL};
    yyjson_val *unknown;
    char shown[JSON_SHOWN];
    alk_identity *who;
    struct str id;
    int rc, kind = ALK_KIND_PEER;

    if (!yyjson_is_obj(o))
        return bad(l, "peers", at, "", "must be an object");
    if ((unknown = json_unknown_member(o, known)))
        return bad(l, "peers", at, json_show(unknown, shown), "unknown member");
    id.p = json_str(o, "peer_id", &id.n);
    if (!id.p || !peer_id_valid(id.p, id.n))
        return bad(l, "peers", at, "peer_id",
                   "must be 1 to 64 of A-Z a-z 0-9 _ . - and not \"local\"");
    if ((rc = check_flag(l, o, at, "enabled")) || (rc = check_flag(l, o, at, "may_forward")) ||
        (rc = check_flag(l, o, at, "websocket")) ||
        (rc = check_text(l, "peers", o, at, "display_name")))
        return rc;
    if (yyjson_is_true(yyjson_obj_get(o, "may_forward")))
        kind |= ALK_PEER_MAY_FORWARD;
    if (yyjson_is_true(yyjson_obj_get(o, "websocket")))
        kind |= ALK_PEER_WEBSOCKET;
    /* A disabled peer's credentials are checked like others, and prove nothing. It keeps its id and
     * its tokens: nobody else can be given them meanwhile, and enabling it again cannot fail. */
    if (yyjson_is_false(yyjson_obj_get(o, "enabled")))
        kind = ALK_KIND_NONE;
    rc = own(l, "peers", at, "peer_id", id, o, kind, &who);
    if (rc)
        return rc;
    rc = add_peer_hashes(l, yyjson_obj_get(o, "auth_token_hashes"), at, kind, who);
    return rc ? rc : add_peer_prints(l, yyjson_obj_get(o, "fingerprints"), at, kind, who);
}

/* The prefix is in the clear, for logs and for the lookup: 8 of 36 characters leave enough that
 * nobody knows. It is the identity's id as well, so two keys cannot share one and the lookup has
 * one candidate, whose whole hash then decides. A time that has passed already is no fault: the
 * configuration may be older than the key's end. */
static int add_key(struct loader *l, yyjson_val *o, size_t at)
{
    static const char *const known[] = {"prefix",      "hash",       "scopes",
                                        "description", "expires_at", NULL};
    struct identity_entry e = {.kind = ALK_KIND_KEY, .expires = FAR_FUTURE};
    struct str prefix, hash, until;
    yyjson_val *unknown;
    char shown[JSON_SHOWN];
    int rc;

    if (!yyjson_is_obj(o))
        return bad(l, "keys", at, "", "must be an object");
    if ((unknown = json_unknown_member(o, known)))
        return bad(l, "keys", at, json_show(unknown, shown), "unknown member");
    prefix.p = json_str(o, "prefix", &prefix.n);
    hash.p = json_str(o, "hash", &hash.n);
    until.p = json_str(o, "expires_at", &until.n);
    if (!prefix.p || prefix.n != IDENTITY_PREFIX_LEN)
        return bad(l, "keys", at, "prefix", "must be the token's first 8 characters");
    if (!hash.p || !parse_hash(hash.p, hash.n, e.hash))
        return bad(l, "keys", at, "hash", HASH_FORM);
    if (yyjson_obj_get(o, "expires_at") && (!until.p || !parse_time(until.p, until.n, &e.expires)))
        return bad(l, "keys", at, "expires_at", "must be a time like 2027-01-31T12:00:00Z");
    if ((rc = check_text(l, "keys", o, at, "description")) ||
        (rc = own(l, "keys", at, "prefix", prefix, o, ALK_KIND_KEY, &e.who)) ||
        (rc = enter_hash(l, "keys", at, "hash", &e)))
        return rc;
    return enter(l->t, &l->t->keys, prefix.p, prefix.n, &e, NULL);
}

/* The kernel's word for every user that it has no number for here, as in a container; so it is
 * nobody's. */
#define UID_OF_OTHERS 65534u

/* The id can be no peer's, which have no colon, and a key's is compared with it as with any. */
static int add_user(struct loader *l, yyjson_val *o, size_t at)
{
    static const char *const known[] = {"uid", "scopes", "resources", "description", NULL};
    struct identity_entry e = {.kind = ALK_KIND_KEY, .expires = FAR_FUTURE};
    yyjson_val *unknown;
    char shown[JSON_SHOWN];
    char id[24];
    yyjson_val *v;
    uint32_t uid;
    double n;
    int rc;

    if (!yyjson_is_obj(o))
        return bad(l, "users", at, "", "must be an object");
    if ((unknown = json_unknown_member(o, known)))
        return bad(l, "users", at, json_show(unknown, shown), "unknown member");
    v = yyjson_obj_get(o, "uid");
    n = v && json_is_number(v) ? json_double(v) : -1;
    uid = n >= 0 && n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    if (uid != n || uid == UINT32_MAX || uid == UID_OF_OTHERS)
        return bad(l, "users", at, "uid", "must be the number of a user, and not 65534");
    snprintf(id, sizeof id, "unix:%u", uid);
    if ((rc = check_text(l, "users", o, at, "description")) ||
        (rc = own(l, "users", at, "uid", str_of(id), o, ALK_KIND_KEY, &e.who)))
        return rc;
    return enter(l->t, &l->t->users, &uid, sizeof uid, &e, NULL);
}

static bool is_list(yyjson_val *v)
{
    return !v || (yyjson_is_arr(v) && yyjson_arr_size(v) <= MAX_ENTRIES);
}

/* MAX_ENTRIES bounds what a wrong file can cost; it is far above what one is meant to hold. */
static int fill_table(struct loader *l, yyjson_val *root)
{
    static const char *const known[] = {"peers", "keys", "users", NULL};
    yyjson_val *peers = yyjson_obj_get(root, "peers"), *keys = yyjson_obj_get(root, "keys");
    yyjson_val *users = yyjson_obj_get(root, "users"), *v;
    size_t i, n;
    int rc = 0;

    if (!yyjson_is_obj(root) || json_unknown_member(root, known) || !is_list(peers) ||
        !is_list(keys) || !is_list(users)) {
        if (l->err)
            snprintf(l->err, l->err_size,
                     "must be an object with the arrays peers, keys and users, of at most %u "
                     "entries",
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
    yyjson_arr_foreach(users, i, n, v)
    {
        if ((rc = add_user(l, v, i)))
            return rc;
    }
    return 0;
}

/* Each table has a seed of its own, so that no choice of ids and prefixes fills one slot. */
static struct identity_table *table_new(void)
{
    struct mem plain;
    struct identity_table *t;

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
    map_init(&t->users, &t->mem, t->seed);
    host_default()->random(t->seed, sizeof t->seed);
    return t;
}

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
void identity_table_unref(struct identity_table *t)
{
    struct mem plain;

    if (!t || __atomic_fetch_sub(&t->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    mem_init(&plain, NULL, NULL);
    list_each(l, &t->owned) alk_identity_unref(container_of(l, struct identity_entry, link)->who);
    empty(&t->ids);
    empty(&t->hashes);
    empty(&t->peers);
    empty(&t->keys);
    empty(&t->prints);
    empty(&t->users);
    arena_fini(&t->arena);
    mem_free(&plain, t);
}

/* The parsed document is gone when this returns: everything that stays is copied into the table.
 * The text is copied first, because the parser reads behind its end and writes into it. */
int identity_table_load(struct identity_table **out, const char *json, size_t len,
                        const alk_registry *reserved, char *err, size_t err_size)
{
    static const struct json_limits limits = {16, 10 * 1000 * 1000};
    struct loader l = {.reserved = reserved, .err = err_size ? err : NULL, .err_size = err_size};
    struct mem mem;
    struct arena arena;
    struct json_error je;
    yyjson_doc *doc;
    yyjson_alc alc;
    char *copy;
    int rc = ALK_ENOMEM;

    if (l.err)
        *err = 0;
    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 4096);
    alc = arena_alc(&arena);
    copy = arena_alloc(&arena, len + JSON_PADDING);
    l.t = table_new();
    if (copy && l.t) {
        memcpy(copy, json, len);
        rc = json_parse(copy, len, &limits, &alc, &doc, &je);
        if (rc == JSON_OK) {
            rc = fill_table(&l, yyjson_doc_get_root(doc));
        } else {
            if (l.err)
                snprintf(l.err, l.err_size, "%s", je.text);
            rc = json_err(rc);
        }
    }
    arena_fini(&arena);
    if (rc)
        identity_table_unref(l.t);
    else
        *out = l.t;
    return rc;
}
