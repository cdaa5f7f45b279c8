/* Implements session_ids.h. The table is made with the first session: most nodes have none. */
#include "core/session_ids.h"

#include "base/map.h"
#include "base/spin.h"
#include "core/node.h"

static uint64_t hash_of(const alk_node *n, struct str owner)
{
    uint64_t h = map_hash(n->seed, owner.p, owner.n);

    return h ? h : 1;
}

static struct mem mem_of(const alk_node *n)
{
    struct mem m;

    mem_init(&m, n->realloc, n->realloc_ud);
    return m;
}

/* Two threads may make one at once: one of the two goes. */
static struct session_ids *table(alk_node *n)
{
    struct session_ids *t = __atomic_load_n(&n->session_ids, __ATOMIC_ACQUIRE), *other = NULL;
    struct mem m = mem_of(n);

    if (t)
        return t;
    t = mem_zalloc(&m, sizeof *t);
    if (t && !__atomic_compare_exchange_n(&n->session_ids, &other, t, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE)) {
        mem_free(&m, t);
        t = other;
    }
    return t;
}

/* Each thread has a time of its own: one that is in a long turn is behind what others have
 * written. */
static bool ended(const struct session_id *s, uint64_t now)
{
    return !s->owner || (now > s->used && now - s->used > SESSION_IDLE_MS * 1000000ull);
}

/* One that is free; else, of the owner who has most in the set, the one that was not used for
 * longest. Of two who have as many it is the one who opens: nobody takes from who has less. */
static struct session_id *room_for(struct session_id *set, uint64_t owner, uint64_t now)
{
    struct {
        uint64_t owner;
        unsigned n;
    } tally[2 * SESSION_WAYS] = {{0}};
    struct session_id *last = set + SESSION_WAYS, *oldest = NULL;
    uint64_t whose = 0;
    unsigned most = 0;

    for (struct session_id *s = set; s < last; s++) {
        size_t i = s->owner / SESSION_SETS % (2 * SESSION_WAYS);

        if (ended(s, now))
            return s;
        while (tally[i].owner && tally[i].owner != s->owner)
            i = (i + 1) % (2 * SESSION_WAYS);
        tally[i].owner = s->owner;
        tally[i].n++;
        if (tally[i].n > most || (tally[i].n == most && s->owner == owner)) {
            most = tally[i].n;
            whose = s->owner;
        }
    }
    for (struct session_id *s = set; s < last; s++)
        if (s->owner == whose && (!oldest || s->used < oldest->used))
            oldest = s;
    return oldest;
}

int http_session_open(alk_node *n, struct str owner, uint64_t now, uint8_t id[SESSION_ID_BYTES])
{
    struct session_ids *t = table(n);
    uint64_t hash = hash_of(n, owner);
    struct session_id *s;

    if (!t)
        return ALK_ENOMEM;
    if (n->host->random(id, SESSION_ID_BYTES))
        return ALK_ESYSTEM;
    spin_lock(&t->lock);
    s = room_for(t->sets[hash % SESSION_SETS], hash, now);
    s->owner = hash;
    s->used = now;
    memcpy(s->id, id, SESSION_ID_BYTES);
    spin_unlock(&t->lock);
    return ALK_OK;
}

/* What is compared is not worth the time that it takes: an id alone opens nothing. */
static bool look(alk_node *n, struct str owner, uint64_t now, const uint8_t id[SESSION_ID_BYTES],
                 bool end)
{
    struct session_ids *t = __atomic_load_n(&n->session_ids, __ATOMIC_ACQUIRE);
    uint64_t hash = hash_of(n, owner);
    struct session_id *s, *last;

    if (!t)
        return false;
    s = t->sets[hash % SESSION_SETS];
    last = s + SESSION_WAYS;
    spin_lock(&t->lock);
    while (s < last && (s->owner != hash || memcmp(s->id, id, SESSION_ID_BYTES) || ended(s, now)))
        s++;
    if (s < last) {
        if (s->used < now)
            s->used = now;
        s->owner = end ? 0 : hash;
    }
    spin_unlock(&t->lock);
    return s < last;
}

bool http_session_find(alk_node *n, struct str owner, uint64_t now,
                       const uint8_t id[SESSION_ID_BYTES])
{
    return look(n, owner, now, id, false);
}

bool http_session_end(alk_node *n, struct str owner, uint64_t now,
                      const uint8_t id[SESSION_ID_BYTES])
{
    return look(n, owner, now, id, true);
}

void session_ids_free(alk_node *n)
{
    struct mem m = mem_of(n);

    mem_free(&m, n->session_ids);
}
