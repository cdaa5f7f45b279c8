/* Hubs on a fake bus, in one process: each has a world and a clock of its own, and the clocks are
 * an hour apart. What is published waits in the bus; the test delivers it, or has `fate` say what
 * becomes of each message: how many times it arrives, and changed how. All that was ever said is
 * kept, so that it can be said again. A hub has pairs alone, or a whole cluster's engine
 * (`clustered`). */
#ifndef TESTS_UNIT_ADAPT_CLUSTER_RIG_H
#define TESTS_UNIT_ADAPT_CLUSTER_RIG_H

#include "adapt/cluster.h"
#include "adapt/cluster_pair_int.h"
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

#ifndef HUBS
#define HUBS 3
#endif
#define RIG_SAID_MAX 60000

struct rig_said {
    int from;
    char subject[SUBJECT_MAX];
    uint8_t *data;
    size_t len;
};

struct rig_hub {
    struct bus bus;
    struct rig *r;
    int i;
    struct node n; /* its world; r is not used */
    alk_identities *ids;
    alk_identity_provider provider;
    struct pair_identity *identity;
    const char *name;
    struct pairs *p;
    struct cluster *cl;
    alk_connection *conn[HUBS]; /* to whom; NULL: none */
    int ups, gones, refused;    /* refused: the bus still says ALK_EAGAIN so often */
    const char *refuse_at;      /* likewise to every second message of that subject; NULL: none */
    unsigned refusals;
    char why[100];
    char subjects[200][SUBJECT_MAX];
    int subscribed;
    bool unwanted, dead; /* dead: nothing of it leaves or arrives any more */
    bool mute;           /* what it says is lost */
    bool down;           /* a cluster's bus */
    int muted;           /* whose messages do not arrive; -1: nobody's */
};

struct rig {
    struct rig_hub hub[HUBS];
    struct mem mem;
    struct rig_said *said;
    int count, delivered;
    /* How often it arrives; 1 unless changed. */
    int (*fate)(struct rig *r, struct rig_said *m, int number);
    int target, turn; /* for fate */
    bool spoiled, clustered;
};

static const char *const rig_names[] = {"alpha", "beta", "gamma", "delta"};
static const char *const rig_keys[] = {
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n"
    "-----END PRIVATE KEY-----\n",
};

/* ---- the bus --------------------------------------------------------------------------------- */

static inline int rig_publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    struct rig_hub *h = container_of(b, struct rig_hub, bus);
    struct rig *r = h->r;
    struct rig_said *m = &r->said[r->count];

    if (h->mute)
        return ALK_OK;
    if (h->down)
        return ALK_ECLOSED;
    if (h->refused) {
        h->refused--;
        return ALK_EAGAIN;
    }
    if (h->refuse_at && strstr(subject, h->refuse_at) && h->refusals++ % 2)
        return ALK_EAGAIN;
    must(r->count < RIG_SAID_MAX && strlen(subject) < SUBJECT_MAX && len);
    m->from = h->i;
    snprintf(m->subject, sizeof m->subject, "%s", subject);
    must((m->data = malloc(len)));
    memcpy(m->data, data, len);
    m->len = len;
    r->count++;
    return ALK_OK;
}

static inline int rig_find(const struct rig_hub *h, const char *subject)
{
    for (int i = 0; i < h->subscribed; i++) {
        if (!strcmp(h->subjects[i], subject))
            return i;
    }
    return -1;
}

static inline int rig_subscribe(struct bus *b, const char *subject)
{
    struct rig_hub *h = container_of(b, struct rig_hub, bus);

    must(h->subscribed < 200 && rig_find(h, subject) < 0);
    snprintf(h->subjects[h->subscribed++], SUBJECT_MAX, "%s", subject);
    return ALK_OK;
}

static inline void rig_unsubscribe(struct bus *b, const char *subject)
{
    struct rig_hub *h = container_of(b, struct rig_hub, bus);
    int i = rig_find(h, subject);

    must(i >= 0);
    memmove(h->subjects[i], h->subjects[--h->subscribed], SUBJECT_MAX);
}

/* Each gets a copy of its own, so that a byte read behind it is seen. */
static inline void rig_say(struct rig *r, int from, const char *subject, const void *data,
                           size_t len)
{
    if (from >= 0 && r->hub[from].dead)
        return;
    for (int i = 0; i < HUBS; i++) {
        struct rig_hub *h = &r->hub[i];
        void *copy;

        if (h->dead || h->down || (!h->p && !h->cl) || rig_find(h, subject) < 0 ||
            (from >= 0 && h->muted == from))
            continue;
        must((copy = malloc(len)));
        memcpy(copy, data, len);
        if (h->cl)
            h->bus.on_message(h->bus.ud, subject, copy, len);
        else
            pairs_message(h->p, subject, copy, len);
        free(copy);
    }
}

static inline void rig_say_again(struct rig *r, int number)
{
    rig_say(r, -1, r->said[number].subject, r->said[number].data, r->said[number].len);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static inline void rig_turn(struct rig *r)
{
    for (int i = 0; i < HUBS; i++) {
        if (!r->hub[i].dead)
            world_turn(r->hub[i].n.w);
    }
}

static inline bool rig_deliver(struct rig *r)
{
    int number = r->delivered, times = 1;
    struct rig_said m;

    if (number == r->count)
        return false;
    r->delivered++;
    if (r->fate)
        times = r->fate(r, &r->said[number], number);
    m = r->said[number];
    for (; times > 0; times--)
        rig_say(r, m.from, m.subject, m.data, m.len);
    return true;
}

static inline void rig_run(struct rig *r)
{
    do
        rig_turn(r);
    while (rig_deliver(r));
}

static inline void rig_advance(struct rig *r, uint64_t ms)
{
    for (uint64_t step; ms; ms -= step) {
        step = ms < 50 ? ms : 50;
        for (int i = 0; i < HUBS; i++)
            r->hub[i].n.w->now += step * MS;
        rig_run(r);
    }
}

/* ---- hubs ------------------------------------------------------------------------------------ */

static inline int rig_index(const char *name)
{
    for (int i = 0; i < HUBS; i++) {
        if (!strcmp(rig_names[i], name))
            return i;
    }
    return -1;
}

static inline bool rig_wanted(void *ud, const char *name)
{
    (void)name;
    return !((struct rig_hub *)ud)->unwanted;
}

static inline void rig_up(void *ud, const char *name, alk_connection *c)
{
    struct rig_hub *h = ud;
    int i = rig_index(name);

    must(i >= 0 && !h->conn[i] && c->closing < 0);
    h->conn[i] = c;
    h->ups++;
}

static inline void rig_gone(void *ud, const char *name, const char *why)
{
    struct rig_hub *h = ud;
    int i = rig_index(name);

    must(i >= 0 && h->conn[i] && h->conn[i]->closing >= 0);
    must(!h->conn[i]->running.count && !h->conn[i]->pending.count);
    h->conn[i] = NULL;
    h->gones++;
    snprintf(h->why, sizeof h->why, "%s", why);
}

static const struct bus_ops rig_bus_ops = {
    .publish = rig_publish, .subscribe = rig_subscribe, .unsubscribe = rig_unsubscribe};
static const struct pairs_events rig_events = {rig_wanted, rig_up, rig_gone};

/* The others' entries, with the keys of those. */
static inline void rig_know(struct rig_hub *h, const int keys[HUBS])
{
    char json[2000], print[ALK_TLS_FINGERPRINT];
    size_t n = (size_t)snprintf(json, sizeof json, "{\"peers\":[");

    for (int i = 0; i < HUBS; i++) {
        struct pair_identity *k;

        if (keys[i] < 0)
            continue;
        must(!pair_identity_new(&k, &h->r->mem, TEXT(rig_keys[keys[i]])));
        pair_fingerprint(pair_identity_public(k), print);
        pair_identity_free(k);
        n += (size_t)snprintf(json + n, sizeof json - n,
                              "%s{\"peer_id\":\"%s\",\"fingerprints\":[\"%s\"],"
                              "\"scopes\":[\"peers:*\"],\"may_forward\":true}",
                              json[n - 1] == '[' ? "" : ",", rig_names[i], print);
    }
    snprintf(json + n, sizeof json - n, "]}");
    ck_assert_int_eq(alk_identities_load(h->ids, TEXT(json), 0, NULL, NULL, 0), ALK_OK);
}

/* In its world, which has started. */
static inline void rig_join(struct rig_hub *h)
{
    const struct cluster_options o = {
        .bus = &h->bus, .prefix = "t.alknet", .name = h->name, .identity = h->identity};

    ck_assert_int_eq(cluster_new(&h->cl, h->n.w->d, &o), ALK_OK);
    h->bus.on_state(h->bus.ud, !h->down, h->down ? "it is not there yet" : NULL);
}

static inline void rig_leave(struct rig_hub *h)
{
    cluster_close(h->cl);
    h->cl = NULL;
    ck_assert_int_eq(h->subscribed, 0);
}

static inline void rig_bus(struct rig_hub *h, bool up)
{
    h->down = !up;
    h->bus.on_state(h->bus.ud, up, up ? NULL : "the broker has gone");
}

static inline void rig_hub_start(struct rig_hub *h)
{
    struct pairs_options o = {.bus = &h->bus, .prefix = "t.alknet", .events = &rig_events, .ud = h};

    world_start(h->n.w);
    if (h->r->clustered) {
        rig_join(h);
        return;
    }
    o.name = rig_names[h->i];
    o.identity = h->identity;
    ck_assert_int_eq(pairs_new(&h->p, h->n.w->d, &o), ALK_OK);
    pairs_bus_state(h->p, true);
}

/* Limits and operations can be changed before rig_start. */
static inline void rig_prepare(struct rig *r)
{
    int all[HUBS];

    for (int i = 0; i < HUBS; i++)
        all[i] = i;
    memset(r, 0, sizeof *r);
    mem_init(&r->mem, NULL, NULL);
    must((r->said = calloc(RIG_SAID_MAX, sizeof *r->said)));
    for (int i = 0; i < HUBS; i++) {
        struct rig_hub *h = &r->hub[i];

        h->r = r;
        h->i = i;
        h->name = rig_names[i];
        h->muted = -1;
        h->bus.ops = &rig_bus_ops;
        node_add(&h->n);
        h->n.w->now += (uint64_t)i * 3600000 * MS;
        must((h->ids = alk_identities_new()));
        rig_know(h, all);
        alk_identities_provider(h->ids, &h->provider, sizeof h->provider);
        h->n.w->options.identities = &h->provider;
        must(!pair_identity_new(&h->identity, &r->mem, TEXT(rig_keys[i])));
    }
}

static inline void rig_start(struct rig *r)
{
    for (int i = 0; i < HUBS; i++)
        rig_hub_start(&r->hub[i]);
    rig_run(r);
}

static inline void rig_init(struct rig *r)
{
    rig_prepare(r);
    rig_start(r);
}

/* A pair of 0 and 1, opened by 0. */
static inline void rig_pair(struct rig *r)
{
    rig_init(r);
    ck_assert_int_eq(pairs_want(r->hub[0].p, rig_names[1]), ALK_OK);
    rig_run(r);
    must(r->hub[0].conn[1] && r->hub[1].conn[0]);
}

/* Both know of the same one. */
static inline bool rig_joined(struct rig *r, int a, int b)
{
    struct asked asked;
    bool good;

    if (!r->hub[a].conn[b] || !r->hub[b].conn[a])
        return false;
    ask(&asked, r->hub[a].conn[b], "t/echo", "[1]");
    rig_run(r);
    good = !strcmp(asked_outcome(&asked), "ok [1]");
    asked_drop(&asked, r->hub[a].n.w);
    return good && r->hub[a].p->stats.up == 1 && r->hub[b].p->stats.up == 1;
}

static inline struct pair *rig_side(struct rig *r, int a, int b)
{
    struct hub *h = hub_get(r->hub[a].p, str_of(rig_names[b]));

    return hub_up(h);
}

/* All memory comes back, and nothing is subscribed to any more. */
static inline void rig_fini(struct rig *r)
{
    for (int i = 0; i < HUBS; i++) {
        struct rig_hub *h = &r->hub[i];

        h->dead = false;
        if (h->p)
            pairs_close(h->p);
        if (h->cl)
            rig_leave(h);
        ck_assert_int_eq(h->subscribed, 0);
        world_turn(h->n.w);
        served_free(&h->n.query);
        served_free(&h->n.stream);
        world_turn(h->n.w);
        ck_assert_uint_eq(world_stats(h->n.w).message_bytes, 0);
        ck_assert_uint_eq(world_stats(h->n.w).connections, 0);
        world_free(h->n.w);
        alk_identities_free(h->ids);
        pair_identity_free(h->identity);
    }
    for (int i = 0; i < r->count; i++)
        free(r->said[i].data);
    free(r->said);
    ck_assert_uint_eq(r->mem.live, 0);
}

#endif
