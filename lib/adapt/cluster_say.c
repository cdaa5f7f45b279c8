/* What this hub says to the others. A message is a signature, the key of it, and JSON. What changes
 * is collected for a tenth of a second, so that ten thousand peers that come and go are a few
 * announcements; what was announced is kept, so that only real changes are told. */
#include "adapt/cluster_int.h"

#include <stdio.h>
#include <string.h>

#define CHANGES_MAX 4096u /* of one go */

/* ---- messages -------------------------------------------------------------------------------- */

static int begin(struct cluster *cl, const char *kind)
{
    char text[256];
    uint64_t age = (cl->d->now - cl->begun) / MILLI;

    buf_truncate(&cl->json, 0);
    snprintf(text, sizeof text,
             "{\"kind\":\"%s\",\"hub\":\"%s\",\"boot\":\"%s\",\"age_ms\":%llu,\"said\":%llu,"
             "\"version\":%llu",
             kind, cl->name, cl->boot, (unsigned long long)age, (unsigned long long)++cl->said,
             (unsigned long long)cl->version);
    return buf_puts(&cl->json, text);
}

/* What cannot be sent now is missed by all, who ask for it by its version. */
static bool publish(struct cluster *cl, const char *subject, int rc)
{
    struct str text;
    uint8_t signature[PAIR_SIGNATURE];

    if (rc || buf_puts(&cl->json, "}"))
        return false;
    text = (struct str){buf_at(&cl->json), cl->json.len};
    buf_truncate(&cl->out, 0);
    return pair_sign(cl->identity, text, signature) &&
           !buf_append(&cl->out, signature, sizeof signature) &&
           !buf_append(&cl->out, pair_identity_public(cl->identity), PAIR_KEY) &&
           !buf_append(&cl->out, text.p, text.n) &&
           !cl->bus->ops->publish(cl->bus, subject, buf_at(&cl->out), cl->out.len);
}

static int put_peer(struct buf *b, const struct own_peer *p, bool first)
{
    return buf_puts(b, first ? "[\"" : ",[\"") | buf_append(b, p->id, p->len) |
           buf_puts(b, "\",\"") | buf_puts(b, p->hash) | buf_puts(b, "\"]");
}

/* ---- what is attached here ------------------------------------------------------------------- */

/* Of each operation its specification, in the order of the names. Any thread may be the first one
 * that needs it; the others at that time reckon for themselves. */
static bool digest(alk_dispatcher *d, struct overlay *set, uint8_t out[32])
{
    const struct host *host = d->node->host;
    size_t count = set->by_name.count;
    int none = DIGEST_NONE;
    uint8_t *all;

    if (__atomic_load_n(&set->digested, __ATOMIC_ACQUIRE) == DIGEST_MADE) {
        memcpy(out, set->digest, sizeof set->digest);
        return true;
    }
    all = mem_alloc(&d->mem, 32 * count);
    if (!all)
        return false;
    for (size_t i = 0; i < count; i++)
        host->sha256(set->sorted[i]->spec_json.p, set->sorted[i]->spec_json.n, all + 32 * i);
    host->sha256(all, 32 * count, out);
    mem_free(&d->mem, all);
    if (__atomic_compare_exchange_n(&set->digested, &none, DIGEST_BEING_MADE, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        memcpy(set->digest, out, sizeof set->digest);
        __atomic_store_n(&set->digested, DIGEST_MADE, __ATOMIC_RELEASE);
    }
    return true;
}

bool say_hash(alk_dispatcher *d, struct overlay *const *sets, size_t count, char hash[HEX_MAX])
{
    uint8_t digests[2 * PEER_NEWEST][32], sum[32];
    size_t n = 0;

    *hash = 0;
    for (size_t i = 0; i < count; i++) {
        if (sets[i]->by_name.count && !digest(d, sets[i], digests[n++]))
            return false;
    }
    if (!n)
        return true;
    d->node->host->sha256(digests, 32 * n, sum);
    for (size_t i = 0; i < (HEX_MAX - 1) / 2; i++)
        snprintf(hash + 2 * i, 3, "%02x", sum[i]);
    return true;
}

/* false: out of memory. */
static bool hash_of(struct cluster *cl, const struct peer *p, char hash[HEX_MAX])
{
    struct overlay *sets[2 * PEER_NEWEST];
    size_t count = peer_sets_here(&cl->d->node->peers, p, sets);
    bool good = say_hash(cl->d, sets, count, hash);

    for (size_t i = 0; i < count; i++)
        overlay_unref(sets[i]);
    return good;
}

static void own_free(struct cluster *cl, struct own_peer *p)
{
    map_del(&cl->own, &p->by_id);
    list_del(&p->link);
    mem_free(&cl->d->mem, p);
}

static struct own_peer *own_find(struct cluster *cl, struct str id)
{
    struct map_node *n = map_find(&cl->own, id.p, id.n);

    return n ? container_of(n, struct own_peer, by_id) : NULL;
}

static struct own_peer *own_add(struct cluster *cl, struct str id)
{
    struct own_peer *p = mem_zalloc(&cl->d->mem, sizeof *p + id.n);

    if (!p)
        return NULL;
    p->len = id.n;
    memcpy(p->id, id.p, id.n);
    p->by_id.key = p->id;
    p->by_id.len = id.n;
    if (map_add(&cl->own, &p->by_id)) {
        mem_free(&cl->d->mem, p);
        return NULL;
    }
    list_push(&cl->own_list, &p->link);
    return p;
}

/* What is to be announced. What has no room in it is missed by all, who ask for it. */
struct change {
    struct buf add, gone;
    unsigned count;
    int rc;
};

/* What has changed of it. false: out of memory, and nothing is done. */
static bool take_change(struct cluster *cl, const struct peer *peer, struct change *c)
{
    struct own_peer *p = own_find(cl, peer_id(peer));
    char hash[HEX_MAX];

    /* An id of a program's own provider may be anything. */
    if (!peer_id_valid(peer->id, peer->len))
        return true;
    if (!peer_is_here(&cl->d->node->peers, peer)) {
        if (!p)
            return true;
        c->rc |= buf_puts(&c->gone, c->gone.len ? ",\"" : "\"") |
                 buf_append(&c->gone, p->id, p->len) | buf_puts(&c->gone, "\"");
        own_free(cl, p);
        c->count++;
        return true;
    }
    if (!hash_of(cl, peer, hash))
        return false;
    if (p && !strcmp(p->hash, hash))
        return true;
    if (!p && !(p = own_add(cl, peer_id(peer))))
        return false;
    memcpy(p->hash, hash, sizeof hash);
    c->rc |= put_peer(&c->add, p, !c->add.len);
    c->count++;
    return true;
}

static int put_all(struct buf *b, const struct buf *from)
{
    return from->len ? buf_append(b, buf_at(from), from->len) : 0;
}

static void say_change(struct cluster *cl, const struct change *c)
{
    uint64_t from = cl->version++;
    int rc = c->rc | begin(cl, "change") |
             buf_printf(&cl->json, ",\"from\":%llu,\"peers\":[", (unsigned long long)from) |
             put_all(&cl->json, &c->add) | buf_puts(&cl->json, "],\"gone\":[") |
             put_all(&cl->json, &c->gone) | buf_puts(&cl->json, "]");

    if (cl->state == CLUSTER_JOINED)
        publish(cl, cl->announce, rc);
}

/* One announcement of what has changed. *again: out of memory, what is left is for later. true:
 * there may be more. */
static bool say_some(struct cluster *cl, bool *again)
{
    struct peer_table *peers = &cl->d->node->peers;
    struct change c = {.count = 0};
    struct peer *p = NULL;

    buf_init(&c.add, &cl->d->mem);
    buf_init(&c.gone, &cl->d->mem);
    for (unsigned looks = 0; looks < SAID_PEERS && !*again; looks++) {
        p = peers_changed(peers);
        if (!p)
            break;
        *again = !take_change(cl, p, &c);
        if (*again)
            peers_change_stays(peers, p);
        peers_release(peers, p);
    }
    if (c.count)
        say_change(cl, &c);
    buf_fini(&c.add);
    buf_fini(&c.gone);
    return p != NULL;
}

static void say_changes(struct timer *t, uint64_t now)
{
    struct cluster *cl = container_of(t, struct cluster, change);
    bool more = true, again = false;

    for (unsigned n = 0; more && !again && n < CHANGES_MAX; n += SAID_PEERS)
        more = say_some(cl, &again);
    if (more)
        timer_set(&cl->d->schedule, &cl->change, now + (again ? SECOND : CHANGES_EVERY));
}

static void on_news(struct parcel *p, struct alk_dispatcher *d)
{
    struct news *news = container_of(p, struct news, parcel);
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    if (!news->cl) {
        mem_free(&plain, news);
        return;
    }
    peers_news_came(&d->node->peers);
    if (!timer_is_set(&news->cl->change))
        timer_set(&d->schedule, &news->cl->change, d->now + CHANGES_EVERY);
}

/* What is attached already is announced with the first changes. */
bool say_begin(struct cluster *cl)
{
    struct peer_table *peers = &cl->d->node->peers;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    cl->news = mem_zalloc(&plain, sizeof *cl->news);
    if (!cl->news)
        return false;
    cl->news->cl = cl;
    cl->news->parcel.deliver = on_news;
    timer_init(&cl->change, say_changes);
    peers_watch(peers, cl->d->port, &cl->news->parcel);
    peers_all_changed(peers, cl->d->now);
    return true;
}

void say_free(struct cluster *cl)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    if (cl->news) {
        cl->news->cl = NULL;
        if (!peers_watch(&cl->d->node->peers, NULL, NULL))
            mem_free(&plain, cl->news);
        timer_clear(&cl->d->schedule, &cl->change);
    }
    while (!list_empty(&cl->own_list))
        own_free(cl, container_of(cl->own_list.next, struct own_peer, link));
    map_fini(&cl->own);
}

/* ---- what else is said ----------------------------------------------------------------------- */

void say_beat(struct timer *t, uint64_t now)
{
    struct cluster *cl = container_of(t, struct cluster, beat);

    timer_set(&cl->d->schedule, &cl->beat, now + BEAT_EVERY);
    if (cl->up && cl->state == CLUSTER_JOINED)
        publish(cl, cl->announce, begin(cl, "beat"));
}

void say_leave(struct cluster *cl)
{
    publish(cl, cl->announce, begin(cl, "leave"));
}

static void to_hub(const struct cluster *cl, const char *what, const char *hub,
                   char out[CLUSTER_SUBJECT])
{
    snprintf(out, CLUSTER_SUBJECT, "%s.%s.%s", cl->prefix, what, hub);
}

static int put_to(struct cluster *cl, const char *to, const char *nonce)
{
    return buf_printf(&cl->json, ",\"to\":\"%s\",\"nonce\":\"%s\"", to, nonce);
}

void say_ask(struct cluster *cl, const char *to, const char *nonce)
{
    char subject[CLUSTER_SUBJECT];

    to_hub(cl, "ask", to, subject);
    publish(cl, subject, begin(cl, "ask") | put_to(cl, to, nonce));
}

void say_name(struct cluster *cl, const char *re, bool go)
{
    char subject[CLUSTER_SUBJECT];

    to_hub(cl, "ask", cl->name, subject);
    publish(cl, subject,
            begin(cl, "name") | put_to(cl, cl->name, cl->nonce) |
                buf_printf(&cl->json, ",\"re\":\"%s\",\"go\":%s", re, go ? "true" : "false"));
}

/* In parts, each good by itself. One that does not leave is asked for again. */
void say_state(struct cluster *cl, const char *to, const char *nonce)
{
    size_t parts = (cl->own.count + SAID_PEERS - 1) / SAID_PEERS + !cl->own.count;
    struct list *l = cl->own_list.next;
    char subject[CLUSTER_SUBJECT];

    to_hub(cl, "state", to, subject);
    for (size_t part = 0; part < parts; part++) {
        int rc = begin(cl, "state") | put_to(cl, to, nonce) |
                 buf_printf(&cl->json, ",\"part\":%zu,\"parts\":%zu,\"peers\":[", part, parts);

        for (size_t i = 0; i < SAID_PEERS && l != &cl->own_list; i++, l = l->next)
            rc |= put_peer(&cl->json, container_of(l, struct own_peer, link), !i);
        if (!publish(cl, subject, rc | buf_puts(&cl->json, "]")))
            return;
    }
}
