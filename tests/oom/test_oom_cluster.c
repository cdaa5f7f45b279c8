/* Each allocation fails in turn: two hubs announce what is attached to them, fetch what that serves,
 * and call it. Whatever is missing, each call ends once, and once there is memory both know what
 * there is. */
#include "oom/oom.h"

#include "adapt/cluster_int.h"

#define QUEUE_MAX 400

/* alknet/cluster.h is of the loop. */
extern int alk_registry_enable_cluster(alk_registry *reg);

struct end {
    struct bus bus;
    struct cluster *cl;
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_identities *ids;
    alk_identity_provider provider;
    char subjects[20][CLUSTER_SUBJECT + 40];
    int subscribed;
};

static struct {
    struct end end[2];
    struct {
        char subject[CLUSTER_SUBJECT + 40];
        uint8_t data[SAID_MAX];
        size_t len;
    } queue[QUEUE_MAX];
    int put, got;
    uint64_t now;
    alk_connection *spoke, *client;
    char request[64]; /* that the spoke has got; "": none */
    int answers;      /* that the client has got */
    bool good;        /* the last of them was a result */
} r;

static struct pair_identity *keys[2];
static struct mem own;
static const char *const names[] = {"a", "b"};
static const char *const pems[] = {
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n"
    "-----END PRIVATE KEY-----\n",
};

/* ---- the bus ----------------------------------------------------------------------------------- */

static int publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    (void)b;
    must(r.put < QUEUE_MAX && len <= sizeof r.queue[0].data);
    snprintf(r.queue[r.put].subject, sizeof r.queue[0].subject, "%s", subject);
    memcpy(r.queue[r.put].data, data, len);
    r.queue[r.put++].len = len;
    return ALK_OK;
}

static int find(const struct end *e, const char *subject)
{
    for (int i = 0; i < e->subscribed; i++) {
        if (!strcmp(e->subjects[i], subject))
            return i;
    }
    return -1;
}

static int subscribe(struct bus *b, const char *subject)
{
    struct end *e = container_of(b, struct end, bus);

    must(e->subscribed < 20);
    snprintf(e->subjects[e->subscribed++], sizeof e->subjects[0], "%s", subject);
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    struct end *e = container_of(b, struct end, bus);
    int i = find(e, subject);

    must(i >= 0);
    memmove(e->subjects[i], e->subjects[--e->subscribed], sizeof e->subjects[0]);
}

static const struct bus_ops bus_ops = {
    .publish = publish, .subscribe = subscribe, .unsubscribe = unsubscribe};

static void run(uint64_t ms)
{
    for (uint64_t until = r.now + ms * MILLI; r.now <= until; r.now += 50 * MILLI) {
        do {
            for (int i = 0; i < 2; i++) {
                for (int k = 0; k < 100 && alk_dispatcher_turn(r.end[i].d, r.now) <= r.now; k++)
                    ;
            }
            for (int i = 0; r.got < r.put && i < 2; i++) {
                struct bus *b = &r.end[i].bus;

                if (find(&r.end[i], r.queue[r.got].subject) >= 0)
                    b->on_message(b->ud, r.queue[r.got].subject, r.queue[r.got].data,
                                  r.queue[r.got].len);
            }
        } while (r.got < r.put && ++r.got);
        r.put = r.got = 0;
    }
}

/* ---- connections ------------------------------------------------------------------------------- */

static int id_length(const char *id, const char *end)
{
    const char *quote = memchr(id, '"', (size_t)(end - id));

    must(quote);
    return (int)(quote - id);
}

static int to_spoke(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    const char *id = memmem(envelope, len, "\"id\":\"", 6);

    (void)ud;
    (void)stream;
    must(id);
    if (memmem(envelope, len, "call.requested", 14))
        snprintf(r.request, sizeof r.request, "%.*s", id_length(id + 6, envelope + len), id + 6);
    return ALK_OK;
}

static int to_client(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    (void)ud;
    (void)stream;
    r.good = memmem(envelope, len, "call.responded", 14) != NULL;
    r.answers++;
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static alk_connection *attach(struct end *e, const char *json, uint32_t kind,
                              int (*send)(void *, uint64_t, const char *, size_t))
{
    const alk_link link = {.size = sizeof link, .send = send, .close = on_close};
    alk_connection_options o = {.size = sizeof o, .kind = kind};
    alk_identity *who = alk_identity_new(TEXT(json));
    alk_connection *c;

    must(who);
    o.identity = who;
    must(!alk_connection_open(&c, e->d, &link, &o));
    alk_identity_unref(who);
    return c;
}

static void detach(alk_connection **c)
{
    alk_connection_lost(*c);
    alk_connection_unref(*c);
    *c = NULL;
}

/* At b. */
static void attach_spoke(void)
{
    alk_operation op;

    r.spoke = attach(&r.end[1], "{\"id\":\"s\",\"scopes\":[]}", ALK_KIND_PEER, to_spoke);
    alk_operation_init(&op, sizeof op);
    op.name = "x/echo";
    op.type = ALK_QUERY;
    must(!alk_connection_register_imported(r.spoke, &op, 1));
}

static void answer(void)
{
    char text[200];

    if (!*r.request)
        return;
    snprintf(text, sizeof text,
             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":1}}", r.request);
    *r.request = 0;
    alk_connection_feed(r.spoke, 0, TEXT(text));
}

static void request(const char *id)
{
    char text[300];

    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":"
             "\"peers/call\",\"input\":{\"peer\":\"s\",\"operation\":\"x/echo\"}}}",
             id);
    alk_connection_feed(r.client, 0, TEXT(text));
}

/* ---- two hubs ---------------------------------------------------------------------------------- */

static void end_make(struct end *e, const char *known)
{
    static const char deputy[] = "{\"authority\":{\"label\":\"deputy\",\"scopes\":[]},\"allow\":"
                                 "[{\"peer\":\"*\",\"operations\":[\"x/*\"]}]}";
    alk_node_options no;

    e->bus.ops = &bus_ops;
    e->reg = alk_registry_new();
    must(e->reg && !alk_registry_enable_peers(e->reg, TEXT(deputy)));
    must(!alk_registry_enable_cluster(e->reg) && !alk_registry_freeze(e->reg));
    must((e->ids = alk_identities_new()));
    must(!alk_identities_load(e->ids, TEXT(known), 0, NULL, NULL, 0));
    alk_identities_provider(e->ids, &e->provider, sizeof e->provider);
    alk_node_options_init(&no, sizeof no);
    no.identities = &e->provider;
    must(!alk_node_new(&e->node, e->reg, &no) && !alk_dispatcher_new(&e->d, e->node));
    alk_dispatcher_turn(e->d, r.now);
}

static int end_join(int i)
{
    struct cluster_options o = {
        .bus = &r.end[i].bus, .name = names[i], .prefix = "x", .identity = keys[i]};
    int rc = cluster_new(&r.end[i].cl, r.end[i].d, &o);

    if (!rc)
        r.end[i].bus.on_state(r.end[i].bus.ud, true, NULL);
    return rc;
}

static void make_both(void)
{
    char known[500], print[2][ALK_TLS_FINGERPRINT];

    memset(&r.end, 0, sizeof r.end);
    r.put = r.got = r.answers = 0;
    *r.request = 0;
    r.now = 1000000 * MILLI;
    mem_init(&own, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        must(!pair_identity_new(&keys[i], &own, TEXT(pems[i])));
        pair_fingerprint(pair_identity_public(keys[i]), print[i]);
    }
    snprintf(known, sizeof known,
             "{\"peers\":[{\"peer_id\":\"a\",\"fingerprints\":[\"%s\"],\"scopes\":[\"peers:*\"]},"
             "{\"peer_id\":\"b\",\"fingerprints\":[\"%s\"],\"scopes\":[\"peers:*\"]}]}",
             print[0], print[1]);
    for (int i = 0; i < 2; i++)
        end_make(&r.end[i], known);
}

static void close_both(void)
{
    if (r.client)
        detach(&r.client);
    if (r.spoke)
        detach(&r.spoke);
    for (int i = 0; i < 2; i++) {
        struct end *e = &r.end[i];

        if (e->cl)
            cluster_close(e->cl);
        must(!e->subscribed);
        alk_dispatcher_turn(e->d, r.now);
        alk_dispatcher_free(e->d);
        alk_node_unref(e->node);
        alk_registry_unref(e->reg);
        alk_identities_free(e->ids);
        pair_identity_free(keys[i]);
    }
}

/* a knows the spoke of b, and what it serves. */
static bool seen(void)
{
    struct peer_table *t = &r.end[0].node->peers;
    struct peer *p = peers_find(t, str_of("s"));
    struct overlay *sets[2 * PEER_NEWEST];
    size_t count = p ? peer_sets(t, p, sets) : 0;

    for (size_t i = 0; i < count; i++)
        overlay_unref(sets[i]);
    if (p)
        peers_release(t, p);
    return count == 1;
}

/* ---- scenarios --------------------------------------------------------------------------------- */

SCENARIO(a_cluster_is_joined_or_not)
{
    bool good;

    make_both();
    arm();
    good = ok(end_join(0));
    disarm();
    if (!good)
        must(!end_join(0));
    run(3000);
    must(r.end[0].cl->state == CLUSTER_JOINED);
    close_both();
    return good;
}

SCENARIO(what_is_attached_is_known_in_the_end)
{
    bool good;

    make_both();
    must(!end_join(0) && !end_join(1));
    run(4000);
    attach_spoke();
    arm();
    run(1200);
    good = seen();
    must(good || failed());
    disarm();
    run(14000);
    must(seen());
    /* And gone. */
    detach(&r.spoke);
    run(14000);
    must(!peers_find(&r.end[0].node->peers, str_of("s")));
    close_both();
    return good;
}

SCENARIO(a_whole_state_is_known_in_the_end)
{
    bool good;

    make_both();
    must(!end_join(1));
    attach_spoke();
    run(3000);
    must(!end_join(0));
    arm();
    run(11000);
    good = seen();
    must(good || failed());
    disarm();
    run(14000);
    must(seen());
    close_both();
    return good;
}

SCENARIO(a_call_ends_once)
{
    bool good;
    int answers;

    make_both();
    must(!end_join(0) && !end_join(1));
    attach_spoke();
    run(5000);
    must(seen());
    r.client =
        attach(&r.end[0], "{\"id\":\"c\",\"scopes\":[\"peers:*\"]}", ALK_KIND_KEY, to_client);
    arm();
    request("1");
    run(50);
    answer();
    run(3200);
    good = r.answers == 1 && r.good;
    must(r.answers <= 1 && (good || failed()));
    disarm();
    run(31000);
    must(r.answers == 1 || r.client->closing >= 0);
    if (r.client->closing >= 0) {
        detach(&r.client);
        r.client =
            attach(&r.end[0], "{\"id\":\"c\",\"scopes\":[\"peers:*\"]}", ALK_KIND_KEY, to_client);
    }
    /* Where there was no memory for a message, its connection was closed. */
    if (r.spoke->closing >= 0) {
        detach(&r.spoke);
        attach_spoke();
        run(14000);
    }
    must(seen());
    answers = r.answers;
    *r.request = 0;
    request("2");
    run(2000);
    answer();
    run(100);
    must(r.answers == answers + 1 && r.good);
    close_both();
    return good;
}

MAIN("oom_cluster", a_cluster_is_joined_or_not, what_is_attached_is_known_in_the_end,
     a_whole_state_is_known_in_the_end, a_call_ends_once)
