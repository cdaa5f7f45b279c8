/* Implements account.h. Bytes are added first and looked at afterwards, without a lock: two threads
 * near a mark may both be refused where one would have fitted. A little early is right for a limit,
 * and never too late. The lock is for the table alone, where an account begins and ends. */
#include "core/account.h"

#include "base/spin.h"

#include <assert.h>
#include <string.h>

#define STRANGERS 2u /* the part of the budget that those without identity may have: a half */
#define ONE 8u       /* and one identity or address: an eighth */
#define PRESSED(x) ((x) / 4 * 3)

/* ---- shares ---------------------------------------------------------------------------------- */

void budget_init(struct budget *b, const uint32_t *limit, const uint64_t *seed)
{
    b->limit = limit;
    b->seed = seed;
}

/* IPv6 clients own a whole /64, and have a new address for each try if they like: they are counted
 * by their first four groups. A gap ("::") among these stands for zeros and ends the key, and so do
 * zeros that are written out because the host's part has a longer gap, or none. */
size_t address_key(const char *address, char out[ADDRESS_MAX_BYTES])
{
    size_t n = strnlen(address, ADDRESS_MAX_BYTES - 1), groups = 0;
    const char *gap = strstr(address, "::");
    bool zeros = false;

    if (strchr(address, ':') && !(gap && gap - address < 2)) {
        for (n = 0; address[n] && n < ADDRESS_MAX_BYTES - 1 && groups < 4 &&
                    (&address[n] != gap || groups == 3);
             n++)
            groups += address[n] == ':';
        for (; groups == 4 && n > 3 && !memcmp(address + n - 3, ":0:", 3); n -= 2)
            zeros = true;
        n -= zeros;
    }
    memcpy(out, address, n);
    out[n] = 0;
    return n;
}

/* Under the lock. */
static struct share *find(const struct budget *b, uint64_t hash, bool identified, struct str name)
{
    struct share *s = b->slots[hash % SHARE_SLOTS];

    while (s && (s->hash != hash || s->identified != identified || s->len != name.n ||
                 memcmp(s->name, name.p, name.n)))
        s = s->next;
    return s;
}

/* Made before it is known whether it is needed, since the table's lock is held for a look-up and no
 * longer. On the C library's allocator, as any thread may free it; a struct mem, which counts, is
 * one thread's. */
static struct share *share_get(struct budget *b, bool identified, struct str name)
{
    uint64_t hash = map_hash(b->seed, name.p, name.n);
    struct share *mine, *s;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    mine = mem_zalloc(&plain, sizeof *mine + name.n);
    if (!mine)
        return NULL;
    mine->hash = hash;
    mine->identified = identified;
    mine->len = name.n;
    memcpy(mine->name, name.p, name.n);
    spin_lock(&b->lock);
    s = find(b, hash, identified, name);
    if (!s) {
        s = mine;
        s->next = b->slots[hash % SHARE_SLOTS];
        b->slots[hash % SHARE_SLOTS] = s;
    }
    s->refs++;
    spin_unlock(&b->lock);
    if (s != mine)
        mem_free(&plain, mine);
    return s;
}

static void share_put(struct budget *b, struct share *s)
{
    struct share **at = &b->slots[s->hash % SHARE_SLOTS];
    struct mem plain;
    bool last;

    spin_lock(&b->lock);
    last = --s->refs == 0;
    if (last) {
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
    }
    spin_unlock(&b->lock);
    mem_init(&plain, NULL, NULL);
    if (last)
        mem_free(&plain, s);
}

/* ---- charging -------------------------------------------------------------------------------- */

static uint64_t limit_of(const struct account *a)
{
    return __atomic_load_n(a->of->budget->limit, __ATOMIC_RELAXED);
}

/* Of a number of the share's, and of those of the node. more may be negative, as unsigned numbers
 * wrap. */
static void count_at(struct budget *b, const struct share *s, uint64_t *of_share, uint64_t more)
{
    __atomic_add_fetch(of_share, more, __ATOMIC_RELAXED);
    __atomic_add_fetch(&b->bytes, more, __ATOMIC_RELAXED);
    if (!s->identified)
        __atomic_add_fetch(&b->strangers, more, __ATOMIC_RELAXED);
}

static void count(struct account *a, uint64_t *of_share, uint64_t more)
{
    count_at(a->of->budget, a->share, of_share, more);
}

static void force(struct meter *m, size_t bytes)
{
    struct account *a = container_of(m, struct account, meter);

    count(a, &a->share->bytes, bytes);
}

static void give(struct meter *m, size_t bytes)
{
    struct account *a = container_of(m, struct account, meter);

    count(a, &a->share->bytes, 0 - (uint64_t)bytes);
}

static uint64_t load(const uint64_t *number)
{
    return __atomic_load_n(number, __ATOMIC_RELAXED);
}

/* The marks that are everybody's. */
static bool within(const struct account *a, uint64_t budget)
{
    return load(&a->of->budget->bytes) <= budget &&
           (a->share->identified || load(&a->of->budget->strangers) <= budget / STRANGERS);
}

static bool has_room(const struct budget *b, const struct share *s, size_t bytes)
{
    uint64_t budget = __atomic_load_n(b->limit, __ATOMIC_RELAXED);

    return load(&s->bytes) <= budget / ONE && load(&b->bytes) + bytes <= budget &&
           (s->identified || load(&b->strangers) + bytes <= budget / STRANGERS);
}

bool account_has_room(const struct account *a, size_t bytes)
{
    return has_room(a->of->budget, a->share, bytes);
}

/* What is here gets what little it still needs, or all of it would have been for nothing. */
static bool take(struct meter *m, size_t bytes, bool begins)
{
    struct account *a = container_of(m, struct account, meter);
    uint64_t budget = limit_of(a), mine = budget / ONE;

    if (bytes >= METER_MIN && load(&a->share->bytes) > (begins ? mine / 2 : mine))
        return false;
    force(m, bytes);
    if (bytes < METER_MIN || within(a, budget))
        return true;
    give(m, bytes);
    return false;
}

bool account_keep(struct account *a, size_t from, size_t to)
{
    uint64_t budget = limit_of(a);

    count(a, &a->share->kept, (uint64_t)to - from);
    if (to <= from || (load(&a->share->kept) <= budget / ONE && within(a, budget)))
        return true;
    count(a, &a->share->kept, (uint64_t)from - to);
    return false;
}

static bool pressed(const struct meter *m)
{
    const struct account *a = container_of(m, const struct account, meter);
    uint64_t budget = limit_of(a);

    return load(&a->of->budget->bytes) > PRESSED(budget) ||
           load(&a->share->bytes) > PRESSED(budget / ONE) ||
           (!a->share->identified && load(&a->of->budget->strangers) > PRESSED(budget / STRANGERS));
}

/* ---- holds ----------------------------------------------------------------------------------- */

void hold_take(struct hold *h, const struct account *a)
{
    *h = (struct hold){a ? a->of->budget : NULL, a ? a->share : NULL};
    if (!a)
        return;
    spin_lock(&h->budget->lock);
    h->share->refs++;
    spin_unlock(&h->budget->lock);
}

void hold_drop(struct hold *h)
{
    if (h->share)
        share_put(h->budget, h->share);
    h->share = NULL;
}

bool hold_account(const struct hold *h, struct accounts *all, struct account **out)
{
    *out = h->share
               ? account_get(all, h->share->identified, (struct str){h->share->name, h->share->len})
               : NULL;
    return *out || !h->share;
}

void hold_force(const struct hold *h, size_t bytes)
{
    if (h->share && bytes >= METER_MIN)
        count_at(h->budget, h->share, &h->share->bytes, bytes);
}

void hold_give(const struct hold *h, size_t bytes)
{
    if (h->share && bytes >= METER_MIN)
        count_at(h->budget, h->share, &h->share->bytes, 0 - (uint64_t)bytes);
}

bool hold_has_room(const struct hold *h, size_t bytes)
{
    return !h->share || has_room(h->budget, h->share, bytes);
}

void hold_unkeep(const struct hold *h, size_t bytes)
{
    if (h->share)
        count_at(h->budget, h->share, &h->share->kept, 0 - (uint64_t)bytes);
}

/* ---- accounts -------------------------------------------------------------------------------- */

void accounts_init(struct accounts *all, struct budget *b, struct mem *mem)
{
    all->budget = b;
    all->mem = mem;
    map_init(&all->addresses, mem, b->seed);
    map_init(&all->identities, mem, b->seed);
}

void accounts_fini(struct accounts *all)
{
    map_fini(&all->addresses);
    map_fini(&all->identities);
}

static struct map *map_of(struct accounts *all, bool identified)
{
    return identified ? &all->identities : &all->addresses;
}

static struct account *make(struct accounts *all, bool identified, struct str name)
{
    static const struct meter_ops ops = {take, force, give, pressed};
    struct account *a = mem_alloc(all->mem, sizeof *a);
    struct share *s = a ? share_get(all->budget, identified, name) : NULL;

    if (!s) {
        mem_free(all->mem, a);
        return NULL;
    }
    *a = (struct account){.meter = {&ops}, .of = all, .share = s, .refs = 1};
    a->by_name.key = s->name;
    a->by_name.len = s->len;
    list_init(&a->starts);
    list_init(&a->link);
    if (!map_add(map_of(all, identified), &a->by_name))
        return a;
    share_put(all->budget, s);
    mem_free(all->mem, a);
    return NULL;
}

struct account *account_get(struct accounts *all, bool identified, struct str name)
{
    struct map_node *n = map_find(map_of(all, identified), name.p, name.n);

    return n ? account_ref(container_of(n, struct account, by_name)) : make(all, identified, name);
}

struct account *account_ref(struct account *a)
{
    a->refs++;
    return a;
}

void account_unref(struct account *a)
{
    if (!a || --a->refs)
        return;
    assert(list_empty(&a->starts));
    list_del(&a->link);
    map_del(map_of(a->of, a->share->identified), &a->by_name);
    share_put(a->of->budget, a->share);
    mem_free(a->of->mem, a);
}

bool account_open(struct account *a, uint32_t limit)
{
    if (__atomic_add_fetch(&a->share->open, 1, __ATOMIC_RELAXED) <= limit || !limit)
        return true;
    account_close(a);
    return false;
}

void account_close(struct account *a)
{
    __atomic_sub_fetch(&a->share->open, 1, __ATOMIC_RELAXED);
}
