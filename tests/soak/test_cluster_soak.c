/* A hundred hubs with a hundred thousand peers on a fake bus: peers come, go and serve something
 * else, hubs are killed and start anew, messages are lost, and some hubs are cut off from each other
 * for a while. Clients call peers all the while: each call ends once. When it has been quiet, each
 * directory is equal to the truth, and each call reaches its peer. Three hubs have the whole
 * directory; the others announce, and answer. Prints what an announcement, a look-up and a
 * peer cost.
 *
 * ALK_SOAK_SEED sets the beginning; what fails prints its seed. */
#include "adapt/cluster_int.h"
#include "core/dispatcher.h"
#include "support/wire.h"
#include "support/suite.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define HUBS 100
#define WHOLE 3 /* of them have the directory */
#define EACH 1000
#define KINDS 10
#define QUEUE 65536
#define SUBJECT 300

extern int alk_registry_enable_cluster(alk_registry *reg);
extern size_t __sanitizer_get_current_allocated_bytes(void);

struct peer_here {
    struct member *m; /* NULL: not attached */
    int kind;         /* what it serves; 0: nothing */
};

struct hub {
    struct bus bus;
    struct world *w;
    struct cluster *cl; /* NULL: it is not there */
    struct pair_identity *identity;
    struct overlay *sets[KINDS];
    struct wire *client; /* of those that have the directory */
    unsigned long calls, answers, results;
    struct peer_here peers[EACH];
    char name[16];
    char subjects[2000][SUBJECT];
    int subscribed;
    uint64_t starts_at; /* of one that is not there */
};

static struct {
    struct hub hub[HUBS];
    struct mem mem;
    alk_identities *ids;
    alk_identity_provider provider;
    struct {
        int from;
        char subject[SUBJECT];
        uint8_t *data;
        size_t len;
    } queue[QUEUE];
    unsigned put, got;
    uint64_t now, random, seed;
    int lose;         /* of a thousand messages */
    int cut;          /* hubs from there on do not hear those before; 0: none is cut off */
    uint64_t hearing; /* ns, of all that announcements took */
    unsigned long heard, bytes;
} s;

static uint64_t rnd(uint64_t n)
{
    s.random = s.random * 6364136223846793005u + 1442695040888963407u;
    return (s.random >> 33) % n;
}

static uint64_t cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- the bus ---------------------------------------------------------------------------------- */

static int publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    struct hub *h = container_of(b, struct hub, bus);
    unsigned at = s.put++ % QUEUE;

    must(s.put - s.got < QUEUE && strlen(subject) < SUBJECT);
    s.queue[at].from = (int)(h - s.hub);
    snprintf(s.queue[at].subject, SUBJECT, "%s", subject);
    must((s.queue[at].data = malloc(len)));
    memcpy(s.queue[at].data, data, len);
    s.queue[at].len = len;
    return ALK_OK;
}

static int find(const struct hub *h, const char *subject)
{
    for (int i = 0; i < h->subscribed; i++) {
        if (!strcmp(h->subjects[i], subject))
            return i;
    }
    return -1;
}

static int subscribe(struct bus *b, const char *subject)
{
    struct hub *h = container_of(b, struct hub, bus);

    must(h->subscribed < 2000);
    snprintf(h->subjects[h->subscribed++], SUBJECT, "%s", subject);
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    struct hub *h = container_of(b, struct hub, bus);
    int i = find(h, subject);

    must(i >= 0);
    memmove(h->subjects[i], h->subjects[--h->subscribed], SUBJECT);
}

static const struct bus_ops bus_ops = {
    .publish = publish, .subscribe = subscribe, .unsubscribe = unsubscribe};

static bool hears(int to, int from, const char *subject)
{
    const struct hub *h = &s.hub[to];

    if (!h->cl || (s.cut && (to < s.cut) != (from < s.cut)) || find(h, subject) < 0)
        return false;
    return to < WHOLE || !strstr(subject, ".announce");
}

static bool deliver(void)
{
    unsigned at = s.got % QUEUE;
    bool announced = s.put != s.got && strstr(s.queue[at].subject, ".announce");

    if (s.put == s.got)
        return false;
    for (int i = 0; i < HUBS; i++) {
        struct bus *b = &s.hub[i].bus;
        uint64_t began;

        if (!hears(i, s.queue[at].from, s.queue[at].subject) || (int)rnd(1000) < s.lose)
            continue;
        began = cpu();
        b->on_message(b->ud, s.queue[at].subject, s.queue[at].data, s.queue[at].len);
        if (announced) {
            s.hearing += cpu() - began;
            s.heard++;
            s.bytes += s.queue[at].len;
        }
    }
    free(s.queue[at].data);
    s.got++;
    return true;
}

static bool deliver_all(void)
{
    bool any = false;

    while (deliver())
        any = true;
    return any;
}

/* ---- hubs ------------------------------------------------------------------------------------- */

static void start(int i)
{
    struct hub *h = &s.hub[i];
    struct cluster_options o = {
        .bus = &h->bus, .name = h->name, .prefix = "soak", .identity = h->identity};

    must(!cluster_new(&h->cl, h->w->d, &o));
    h->bus.on_state(h->bus.ud, true, NULL);
}

/* Without a word. */
static void kill_hub(int i, uint64_t ms)
{
    struct hub *h = &s.hub[i];

    h->cl->up = false;
    cluster_close(h->cl);
    h->cl = NULL;
    must(!h->subscribed);
    h->starts_at = s.now + ms * MILLI;
}

static struct peer_table *table(int i)
{
    return &s.hub[i].w->node->peers;
}

static void attach(int i, int k, int kind)
{
    struct hub *h = &s.hub[i];
    struct overlay *const sets[2] = {NULL, kind ? h->sets[kind] : NULL};
    char id[32];

    snprintf(id, sizeof id, "peer-%d-%d", i, k);
    h->peers[k].kind = kind;
    if (h->peers[k].m)
        peers_update(table(i), h->peers[k].m, sets, h->w->d->now);
    else
        h->peers[k].m = peers_attach(table(i), str_of(id), h->w->d->port, NULL, sets, h->w->d->now);
    must(h->peers[k].m);
}

static void detach(int i, int k)
{
    struct hub *h = &s.hub[i];

    if (h->peers[k].m)
        peers_detach(table(i), h->peers[k].m, h->w->d->now);
    h->peers[k].m = NULL;
}

/* An operation of its own for each kind. */
static struct overlay *make_set(struct hub *h, int kind)
{
    struct overlay *set = overlay_new(&h->w->d->mem, h->w->node->seed);
    struct operation *made;
    struct op_diag diag;
    alk_operation op;
    char name[32];

    snprintf(name, sizeof name, "soak/kind%d", kind);
    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.provenance = ALK_FROM_CALL;
    op.handler = serve_echo;
    must(set && !operation_new(&made, &op, h->w->node->host, &set->mem, true, &diag));
    must(!overlay_fill(set, &made, 1, NULL, 0));
    return set;
}

static void make_hub(int i)
{
    static const char deputy[] = "{\"authority\":{\"label\":\"deputy\",\"scopes\":[]},\"allow\":"
                                 "[{\"peer\":\"*\",\"operations\":[\"soak/*\"]}]}";
    alk_connection_options o = {.size = sizeof o, .kind = ALK_KIND_KEY};
    struct hub *h = &s.hub[i];

    h->bus.ops = &bus_ops;
    h->w = world_new();
    h->w->options.log_level = ALK_LOG_ERROR;
    h->w->options.identities = &s.provider;
    must(!alk_registry_enable_cluster(h->w->reg));
    must(!alk_registry_enable_peers(h->w->reg, TEXT(deputy)));
    h->w->now += (uint64_t)i * 60 * SECOND;
    world_start(h->w);
    for (int k = 1; k < KINDS; k++)
        h->sets[k] = make_set(h, k);
    if (i >= WHOLE)
        return;
    o.identity = identity_of("client", "[\"peers:*\"]");
    h->client = wire_open(h->w, &o);
    alk_identity_unref((alk_identity *)o.identity);
}

/* A key for each, of the text of its number. */
static void make_identities(void)
{
    static const char *const digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char json[100 * HUBS * 3];
    char print[ALK_TLS_FINGERPRINT], pem[200];
    size_t n = (size_t)snprintf(json, sizeof json, "{\"peers\":[");

    for (int i = 0; i < HUBS; i++) {
        struct hub *h = &s.hub[i];

        snprintf(h->name, sizeof h->name, "hub%d", i);
        snprintf(pem, sizeof pem,
                 "-----BEGIN PRIVATE KEY-----\n"
                 "MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB%c%cEB\n"
                 "-----END PRIVATE KEY-----\n",
                 digits[i / 64], digits[i % 64]);
        must(!pair_identity_new(&h->identity, &s.mem, TEXT(pem)));
        pair_fingerprint(pair_identity_public(h->identity), print);
        n += (size_t)snprintf(json + n, sizeof json - n,
                              "%s{\"peer_id\":\"%s\",\"fingerprints\":[\"%s\"],"
                              "\"scopes\":[\"peers:*\"]}",
                              i ? "," : "", h->name, print);
    }
    snprintf(json + n, sizeof json - n, "]}");
    must((s.ids = alk_identities_new()));
    must(!alk_identities_load(s.ids, TEXT(json), 0, NULL, NULL, 0));
    alk_identities_provider(s.ids, &s.provider, sizeof s.provider);
}

static void pass(uint64_t ms)
{
    for (uint64_t until = s.now + ms * MILLI; s.now < until; s.now += 50 * MILLI) {
        for (int i = 0; i < HUBS; i++) {
            struct hub *h = &s.hub[i];

            h->w->now += 50 * MILLI;
            if (!h->cl && s.now >= h->starts_at)
                start(i);
        }
        do {
            for (int i = 0; i < HUBS; i++)
                world_turn(s.hub[i].w);
        } while (deliver_all());
    }
}

/* ---- calls ------------------------------------------------------------------------------------ */

/* Of some peer, for what it serves by the truth. */
static void some_call(int at, int of)
{
    const struct hub *peers = &s.hub[of];
    struct hub *h = &s.hub[at];
    int k = (int)rnd(EACH);
    char id[32], input[200];

    if (!peers->peers[k].m || !peers->peers[k].kind)
        return;
    snprintf(id, sizeof id, "c%lu", h->calls++);
    snprintf(input, sizeof input,
             "{\"peer\":\"peer-%d-%d\",\"operation\":\"soak/kind%d\",\"input\":[]}", of, k,
             peers->peers[k].kind);
    wire_request(h->client, id, "peers/call", input);
}

static void count_answers(int at)
{
    struct hub *h = &s.hub[at];
    const char *e;

    while ((e = wire_next(h->client))) {
        h->answers++;
        h->results += strstr(e, "call.responded") != NULL;
    }
    ck_assert_uint_le(h->answers, h->calls);
}

/* Each has an answer by now. good: a result. */
static void calls_have_ended(bool good)
{
    for (int i = 0; i < WHOLE; i++) {
        struct hub *h = &s.hub[i];

        count_answers(i);
        printf("hub%d: %lu calls, %lu results\n", i, h->calls, h->results);
        if (h->answers != h->calls || (good && h->results != h->calls))
            ck_abort_msg("seed %llu: hub%d: %lu calls, %lu answers, %lu results",
                         (unsigned long long)s.seed, i, h->calls, h->answers, h->results);
        h->calls = h->answers = h->results = 0;
    }
}

/* ---- the truth -------------------------------------------------------------------------------- */

static void differs(int at, int of, const char *what, int k)
{
    ck_abort_msg("seed %llu: hub%d about hub%d: %s (%d)", (unsigned long long)s.seed, at, of, what,
                 k);
}

static void compare(int at, int of)
{
    const struct hub *h = &s.hub[of];
    struct other *o = other_find(s.hub[at].cl, str_of(h->name));
    size_t attached = 0;
    char name[32], id[32];

    if (!o)
        differs(at, of, "is not known", 0);
    for (int k = 0; k < EACH; k++) {
        struct map_node *n;
        const struct entry *e;

        snprintf(id, sizeof id, "peer-%d-%d", of, k);
        n = map_find(&o->entries, id, strlen(id));
        if (!n != !h->peers[k].m)
            differs(at, of, n ? "has a peer too much" : "lacks a peer", k);
        if (!n)
            continue;
        attached++;
        e = container_of(n, struct entry, by_id);
        if (!e->set != !h->peers[k].kind)
            differs(at, of, "a peer serves what it does not", k);
        if (!e->set)
            continue;
        snprintf(name, sizeof name, "soak/kind%d", h->peers[k].kind);
        if (!e->set->shared.ops || !overlay_find(e->set->shared.ops, str_of(name)))
            differs(at, of, "what a peer serves is not here", k);
        if (e->m->sets[1] != e->set->shared.ops)
            differs(at, of, "what a peer serves is not in the table", k);
    }
    if (attached != o->entries.count || o->sets.count >= KINDS)
        differs(at, of, "has more than it has", (int)o->entries.count);
}

static void compare_all(void)
{
    for (int at = 0; at < WHOLE; at++) {
        for (int of = 0; of < HUBS; of++) {
            if (of != at)
                compare(at, of);
        }
    }
}

/* ---- what it costs ---------------------------------------------------------------------------- */

static double lookup(const char *id)
{
    uint64_t began = cpu();

    for (int i = 0; i < 10000; i++) {
        struct peer *p = peers_find(table(0), str_of(id));

        if (p)
            peers_release(table(0), p);
    }
    return (double)(cpu() - began) / 10000;
}

static double any(const char *name)
{
    uint64_t began = cpu();
    struct found f;

    for (int i = 0; i < 2000; i++) {
        if (!peers_elsewhere(table(0), str_of(name), 0, NULL, NULL, &f))
            continue;
        overlay_unref(f.set);
        member_unref(f.member);
    }
    return (double)(cpu() - began) / 2000;
}

static void report(const char *what)
{
    printf("%s: %zu peers elsewhere; an announcement %.0f us of %.0f bytes (%lu of them); "
           "peer by id %.0f ns, any %.0f ns, any that nobody serves %.0f ns\n",
           what, s.hub[0].cl->peers, s.heard ? (double)s.hearing / 1000 / (double)s.heard : 0,
           s.heard ? (double)s.bytes / (double)s.heard : 0, s.heard, lookup("peer-99-1"),
           any("soak/kind3"), any("soak/nobody"));
    fflush(stdout);
    s.hearing = 0;
    s.heard = s.bytes = 0;
}

/* What hub0 knows goes, to see what it took, and is asked for again. */
static void forget(void)
{
    size_t bytes = __sanitizer_get_current_allocated_bytes(), peers = s.hub[0].cl->peers;

    list_each(l, &s.hub[0].cl->list) other_forget(container_of(l, struct other, link), NULL);
    bytes -= __sanitizer_get_current_allocated_bytes();
    printf("a peer of another hub takes %zu bytes\n", bytes / peers);
    ck_assert_uint_lt(bytes / peers, (64u << 20) / 100000);
}

/* ---- it ---------------------------------------------------------------------------------------- */

static void some_change(void)
{
    int i = (int)rnd(HUBS), k = (int)rnd(EACH);

    if (rnd(3))
        attach(i, k, (int)rnd(KINDS));
    else
        detach(i, k);
}

static void trouble(void)
{
    int i = (int)rnd(HUBS);

    s.lose = (int)rnd(4) ? 0 : 20;
    s.cut = rnd(3) ? 0 : (int)rnd(HUBS);
    for (int n = 0; n < 3; n++, i = (int)rnd(HUBS)) {
        if (s.hub[i].cl)
            kill_hub(i, rnd(40000));
    }
}

START_TEST(directories_are_equal_to_the_truth)
{
    const char *seed = getenv("ALK_SOAK_SEED");

    s.seed = s.random =
        seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
    mem_init(&s.mem, NULL, NULL);
    make_identities();
    for (int i = 0; i < HUBS; i++) {
        make_hub(i);
        start(i);
    }
    pass(4000);
    for (int i = 0; i < HUBS; i++) {
        for (int k = 0; k < EACH / 100; k++)
            attach(i, k, k % KINDS);
    }
    pass(15000);
    compare_all();
    report("few");
    for (int i = 0; i < HUBS; i++) {
        for (int k = 0; k < EACH; k++)
            attach(i, k, k % KINDS);
    }
    pass(15000);
    compare_all();
    report("many");
    forget();
    pass(15000);
    compare_all();
    for (int round = 0; round < 12; round++) {
        trouble();
        for (int n = 0; n < 40; n++) {
            for (int c = (int)rnd(30); c > 0; c--)
                some_change();
            for (int i = 0; i < WHOLE; i++)
                some_call(i, (int)rnd(HUBS));
            pass(100);
        }
    }
    s.lose = s.cut = 0;
    pass(75000);
    compare_all();
    report("troubled");
    calls_have_ended(false);
    for (int i = 0; i < WHOLE; i++) {
        for (int of = 0; of < HUBS; of++)
            some_call(i, of);
    }
    pass(4000);
    calls_have_ended(true);
    for (int i = 0; i < HUBS; i++) {
        struct hub *h = &s.hub[i];

        if (h->client)
            wire_free(h->client);
        cluster_close(h->cl);
        for (int k = 0; k < EACH; k++)
            detach(i, k);
        for (int k = 1; k < KINDS; k++)
            overlay_unref(h->sets[k]);
        world_turn(h->w);
        world_free(h->w);
        pair_identity_free(h->identity);
    }
    while (s.got != s.put)
        free(s.queue[s.got++ % QUEUE].data);
    alk_identities_free(s.ids);
}
END_TEST

MAIN("cluster_soak", directories_are_equal_to_the_truth)
