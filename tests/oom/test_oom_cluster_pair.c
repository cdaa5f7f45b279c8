/* Each allocation fails in turn: two hubs open a pair, call each other, hold a stream back. Whatever
 * is missing, each call ends once, both hubs agree in the end, and a pair comes about once there is
 * memory. */
#include "oom/oom.h"

#include "adapt/cluster_pair_int.h"

#define MS UINT64_C(1000000)
#define QUEUE_MAX 400

struct end {
    struct bus bus;
    struct pairs *p;
    alk_registry *reg;
    alk_node *node;
    alk_dispatcher *d;
    alk_identities *ids;
    alk_identity_provider provider;
    alk_connection *conn;
    char subjects[20][SUBJECT_MAX];
    int subscribed;
};

static struct {
    struct end end[2];
    struct {
        char subject[SUBJECT_MAX];
        uint8_t data[40000];
        size_t len;
    } queue[QUEUE_MAX];
    int said, heard;
    uint64_t now;
    int ends, values;
    alk_call *held;
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
    must(r.said < QUEUE_MAX && len <= sizeof r.queue[0].data);
    snprintf(r.queue[r.said].subject, SUBJECT_MAX, "%s", subject);
    memcpy(r.queue[r.said].data, data, len);
    r.queue[r.said++].len = len;
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
    snprintf(e->subjects[e->subscribed++], SUBJECT_MAX, "%s", subject);
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    struct end *e = container_of(b, struct end, bus);
    int i = find(e, subject);

    must(i >= 0);
    memmove(e->subjects[i], e->subjects[--e->subscribed], SUBJECT_MAX);
}

static const struct bus_ops bus_ops = {
    .publish = publish, .subscribe = subscribe, .unsubscribe = unsubscribe};

static bool wanted(void *ud, const char *name)
{
    (void)ud;
    (void)name;
    return true;
}

static void on_up(void *ud, const char *name, alk_connection *c)
{
    (void)name;
    must(!((struct end *)ud)->conn);
    ((struct end *)ud)->conn = c;
}

static void on_gone(void *ud, const char *name, const char *why)
{
    (void)name;
    (void)why;
    must(((struct end *)ud)->conn);
    ((struct end *)ud)->conn = NULL;
}

static const struct pairs_events events = {wanted, on_up, on_gone};

/* ---- two hubs ---------------------------------------------------------------------------------- */

static int hold(alk_call *call, void *ud)
{
    (void)ud;
    alk_call_unref(r.held);
    r.held = alk_call_ref(call);
    return ALK_OK;
}

static void on_event(alk_call *call, const alk_value *v, void *ud)
{
    (void)call;
    (void)v;
    (void)ud;
    r.values++;
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    must(!*(int *)ud);
    *(int *)ud = 1;
    r.ends++;
}

static void end_open(struct end *e, int i, const char *known)
{
    alk_node_options no;
    alk_operation op;
    struct pairs_options o = {
        .bus = &e->bus, .name = names[i], .prefix = "x", .identity = keys[i], .events = &events};

    e->bus.ops = &bus_ops;
    e->reg = alk_registry_new();
    alk_operation_init(&op, sizeof op);
    op.name = "t/stream";
    op.type = ALK_SUBSCRIPTION;
    op.handler = hold;
    must(e->reg && !alk_registry_add(e->reg, &op) && !alk_registry_freeze(e->reg));
    must((e->ids = alk_identities_new()));
    must(!alk_identities_load(e->ids, TEXT(known), 0, NULL, NULL, 0));
    alk_identities_provider(e->ids, &e->provider, sizeof e->provider);
    alk_node_options_init(&no, sizeof no);
    no.identities = &e->provider;
    must(!alk_node_new(&e->node, e->reg, &no) && !alk_dispatcher_new(&e->d, e->node));
    alk_dispatcher_turn(e->d, r.now);
    o.ud = e;
    must(!pairs_new(&e->p, e->d, &o));
    pairs_bus_state(e->p, true);
}

static void open_both(void)
{
    char known[500], print[2][ALK_TLS_FINGERPRINT];

    memset(&r, 0, sizeof r.end);
    r.said = r.heard = r.ends = r.values = 0;
    r.held = NULL;
    r.now = 1000000 * MS;
    mem_init(&own, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        must(!pair_identity_new(&keys[i], &own, TEXT(pems[i])));
        pair_fingerprint(pair_identity_public(keys[i]), print[i]);
    }
    snprintf(known, sizeof known,
             "{\"peers\":[{\"peer_id\":\"a\",\"fingerprints\":[\"%s\"]},"
             "{\"peer_id\":\"b\",\"fingerprints\":[\"%s\"]}]}",
             print[0], print[1]);
    for (int i = 0; i < 2; i++)
        end_open(&r.end[i], i, known);
}

static void run(uint64_t ms)
{
    for (uint64_t until = r.now + ms * MS; r.now <= until; r.now += 100 * MS) {
        do {
            for (int i = 0; i < 2; i++) {
                for (int k = 0; k < 100 && alk_dispatcher_turn(r.end[i].d, r.now) <= r.now; k++)
                    ;
            }
            for (int i = 0; r.heard < r.said && i < 2; i++) {
                if (find(&r.end[i], r.queue[r.heard].subject) >= 0)
                    pairs_message(r.end[i].p, r.queue[r.heard].subject, r.queue[r.heard].data,
                                  r.queue[r.heard].len);
            }
        } while (r.heard < r.said && ++r.heard);
        r.said = r.heard = 0;
    }
}

static void close_both(void)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = &r.end[i];

        pairs_close(e->p);
        must(!e->subscribed);
        alk_dispatcher_turn(e->d, r.now);
    }
    alk_call_unref(r.held);
    for (int i = 0; i < 2; i++) {
        alk_dispatcher_free(r.end[i].d);
        alk_node_unref(r.end[i].node);
        alk_registry_unref(r.end[i].reg);
        alk_identities_free(r.end[i].ids);
        pair_identity_free(keys[i]);
    }
}

/* ---- scenarios --------------------------------------------------------------------------------- */

SCENARIO(a_pair_opens_when_there_is_memory)
{
    bool good;

    open_both();
    arm();
    good = ok(pairs_want(r.end[0].p, "b"));
    run(0);
    good &= r.end[0].conn != NULL && r.end[1].conn != NULL;
    must(good || failed());
    disarm();
    must(!pairs_want(r.end[0].p, "b"));
    run(5000);
    must(r.end[0].conn && r.end[1].conn);
    close_both();
    return good;
}

SCENARIO(calls_end_once_and_both_sides_agree)
{
    static char text[30000];
    alk_call_options o = {.size = sizeof o, .stream = 1, .on_event = on_event, .on_end = on_end};
    alk_call *call = NULL;
    int ended = 0, rc;
    bool good;

    open_both();
    must(!pairs_want(r.end[1].p, "a"));
    run(0);
    must(r.end[0].conn && r.end[1].conn);
    memset(text, 'x', sizeof text);
    text[0] = text[sizeof text - 1] = '"';
    o.ud = &ended;
    arm();
    rc = alk_connection_call(r.end[0].conn, TEXT("t/stream"), TEXT("1"), &o, &call);
    good = ok(rc);
    run(0);
    if (!rc && !ended)
        alk_call_pause(call, 1);
    for (int i = 0; i < 30 && r.held; i++) {
        alk_call_emit(r.held, text, sizeof text);
        run(0);
    }
    if (!rc && !ended)
        alk_call_pause(call, 0);
    run(100);
    good &= r.values > 10 && !ended;
    must(good || failed());
    disarm();
    run(3000);
    must((r.end[0].conn != NULL) == (r.end[1].conn != NULL));
    if (!rc && !ended)
        alk_call_abort(call);
    run(0);
    must(rc || ended);
    alk_call_unref(call);
    must(!pairs_want(r.end[1].p, "a"));
    run(5000);
    must(r.end[0].conn && r.end[1].conn);
    close_both();
    return good;
}

MAIN("oom_cluster_pair", a_pair_opens_when_there_is_memory, calls_end_once_and_both_sides_agree)
