/* Whole hubs on a bus that may drop, repeat, reorder and change what it carries, and with strangers
 * on it: who knows of whose peers, and how calls reach them. */
#define HUBS 4
#include "adapt/cluster_int.h"
#include "unit/adapt/cluster_rig.h"

#define CHANGES ".announce"

/* alknet/cluster.h, whose sockets have names of the pairs. */
extern int alk_registry_enable_cluster(alk_registry *reg);

/* ---- hubs, spokes, clients ------------------------------------------------------------------- */

static void prepare(struct rig *r)
{
    static const char deputy[] =
        "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"x:*\"]},\"allow\":[{\"peer\":\"*\","
        "\"operations\":[\"x/*\"]}]}";

    rig_prepare(r);
    r->clustered = true;
    for (int i = 0; i < HUBS; i++) {
        ck_assert_int_eq(alk_registry_enable_peers(r->hub[i].n.w->reg, TEXT(deputy)), ALK_OK);
        ck_assert_int_eq(alk_registry_enable_cluster(r->hub[i].n.w->reg), ALK_OK);
    }
}

/* All have joined. */
static void init(struct rig *r)
{
    prepare(r);
    rig_start(r);
    rig_advance(r, 4000);
    for (int i = 0; i < HUBS; i++)
        ck_assert_int_eq(r->hub[i].cl->state, CLUSTER_JOINED);
}

typedef struct wire *opener(struct world *w, const alk_connection_options *o);

static struct wire *open_as(struct rig_hub *h, const char *id, const char *scopes, uint32_t kind,
                            opener *open)
{
    alk_connection_options o = {.size = sizeof o, .kind = kind};
    alk_identity *who = identity_of(id, scopes);
    struct wire *w;

    o.identity = who;
    w = open(h->n.w, &o);
    alk_identity_unref(who);
    return w;
}

static struct wire *client(struct rig *r, int hub)
{
    return open_as(&r->hub[hub], "caller", "[\"peers:*\",\"x:*\"]", ALK_KIND_KEY, wire_open);
}

/* A peer that serves these (NULL: nothing); an operation "x/stream" is a subscription. */
static struct wire *spoke(struct rig *r, int hub, const char *id, const char *const *ops)
{
    struct wire *w = open_as(&r->hub[hub], id, "[]", ALK_KIND_PEER, wire_open);
    alk_operation op[8];
    size_t n = 0;

    for (; ops && ops[n]; n++) {
        alk_operation_init(&op[n], sizeof op[n]);
        op[n].name = ops[n];
        op[n].type = !strcmp(ops[n], "x/stream") ? ALK_SUBSCRIPTION : ALK_QUERY;
        if (!strcmp(ops[n], "x/secret"))
            op[n].access_control = "{\"required_scopes\":[\"y:secret\"]}";
    }
    if (n)
        ck_assert_int_eq(alk_connection_register_imported(w->conn, op, n), ALK_OK);
    return w;
}

static const char *const x_echo[] = {"x/echo", NULL};
static const char *const x_both[] = {"x/echo", "x/stream", NULL};

/* Who is seen at a hub, sorted: "ID@HUB[OPERATION …] …". Static buffer. */
static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *seen(struct rig *r, int hub)
{
    static char out[8192];
    char lines[64][200];
    struct peer_table *t = &r->hub[hub].n.w->node->peers;
    struct peer *p = NULL;
    size_t n = 0;

    while ((p = peers_next(t, p, false))) {
        struct overlay *sets[2 * PEER_NEWEST];
        struct other_hub *of = peer_hub(t, p);
        size_t count = peer_sets(t, p, sets);
        int at = snprintf(lines[n], sizeof lines[n], "%.*s", (int)p->len, p->id);

        if (of)
            at += snprintf(lines[n] + at, sizeof lines[n] - (size_t)at, "@%s", of->name);
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < sets[i]->by_name.count; k++)
                at += snprintf(lines[n] + at, sizeof lines[n] - (size_t)at, "[%s]",
                               op_name(sets[i]->sorted[k]).p);
            overlay_unref(sets[i]);
        }
        other_hub_unref(of);
        must(++n < 64);
    }
    qsort(lines, n, sizeof lines[0], by_text);
    *out = 0;
    for (size_t i = 0; i < n; i++)
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", i ? " " : "", lines[i]);
    return out;
}

static size_t known(struct rig *r, int hub)
{
    struct peer_table *t = &r->hub[hub].n.w->node->peers;
    struct peer *p = NULL;
    size_t n = 0;

    while ((p = peers_next(t, p, false)))
        n++;
    return n;
}

/* How many messages there have been since `from` whose subject has that in it. */
static int said(const struct rig *r, int from, const char *subject)
{
    int n = 0;

    for (int i = from; i < r->count; i++)
        n += strstr(r->said[i].subject, subject) != NULL;
    return n;
}

/* The number of the last message on such a subject with this text in it, from that hub. */
static int last_said(const struct rig *r, int from, const char *subject, const char *text)
{
    for (int i = r->count - 1; i >= 0; i--) {
        const struct rig_said *m = &r->said[i];

        if (m->from == from && strstr(m->subject, subject) &&
            memmem(m->data, m->len, text, strlen(text)))
            return i;
    }
    ck_abort_msg("nobody has said %s", text);
    return -1;
}

/* Signed by that hub's key. */
static void forge(struct rig *r, int key, const char *subject, const char *text)
{
    uint8_t m[SAID_MAX + 1000];
    struct rig_hub *h = &r->hub[key];
    size_t n = strlen(text);

    must(n + PAIR_SIGNATURE + PAIR_KEY <= sizeof m);
    must(pair_sign(h->identity, str_of(text), m));
    memcpy(m + PAIR_SIGNATURE, pair_identity_public(h->identity), PAIR_KEY);
    memcpy(m + PAIR_SIGNATURE + PAIR_KEY, text, n);
    rig_say(r, -1, subject, m, PAIR_SIGNATURE + PAIR_KEY + n);
}

/* An envelope with the id of the request. Static buffer. */
static const char *respond(const char *request, const char *type, const char *payload)
{
    static char text[2000];

    must(request && strstr(request, "\"call.requested\""));
    must(snprintf(text, sizeof text, "{\"type\":\"%s\",\"id\":\"%s\",\"payload\":%s}", type,
                  wire_id(request), payload) < (int)sizeof text);
    return text;
}

/* What the next envelope to a spoke says is answered so. */
static void answer(struct rig *r, struct wire *w, const char *type, const char *payload)
{
    rig_run(r);
    ck_assert_int_eq(wire_feed(w, respond(wire_next(w), type, payload)), ALK_OK);
    rig_run(r);
}

static void call(struct wire *c, const char *id, const char *peer, const char *operation)
{
    char input[300];

    snprintf(input, sizeof input, "{\"peer\":\"%s\",\"operation\":\"%s\",\"input\":[1]}", peer,
             operation);
    wire_request(c, id, "peers/call", input);
}

#define EXPECT_SEEN(r, hub, text) ck_assert_str_eq(seen(r, hub), text)

/* ---- who is there ---------------------------------------------------------------------------- */

START_TEST(what_is_attached_to_one_hub_is_seen_at_all)
{
    struct rig r;
    struct wire *a, *b;
    int mark;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    b = spoke(&r, 1, "s2", x_both);
    rig_advance(&r, 2000);
    EXPECT_SEEN(&r, 0, "s1[x/echo] s2@beta[x/echo][x/stream]");
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo] s2[x/echo][x/stream]");
    EXPECT_SEEN(&r, 2, "s1@alpha[x/echo] s2@beta[x/echo][x/stream]");
    EXPECT_SEEN(&r, 3, "s1@alpha[x/echo] s2@beta[x/echo][x/stream]");
    mark = r.count;
    wire_free(a);
    rig_advance(&r, 300);
    EXPECT_SEEN(&r, 0, "s2@beta[x/echo][x/stream]");
    EXPECT_SEEN(&r, 2, "s2@beta[x/echo][x/stream]");
    /* One word for one change. */
    ck_assert_int_eq(said(&r, mark, CHANGES), 1);
    ck_assert_int_eq(said(&r, mark, ".state."), 0);
    /* It serves something else. */
    wire_free(b);
    b = spoke(&r, 1, "s2", x_echo);
    rig_advance(&r, 2000);
    EXPECT_SEEN(&r, 0, "s2@beta[x/echo]");
    wire_free(b);
    b = spoke(&r, 1, "s2", NULL);
    rig_advance(&r, 2000);
    EXPECT_SEEN(&r, 3, "s2@beta");
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* What comes and goes within a tenth of a second is no change; many changes are few words, and what
 * does not change is not said again. */
START_TEST(an_announcement_has_what_has_changed)
{
    struct rig r;
    struct wire *w[600];
    char id[30];
    int mark;
    size_t bytes = 0;

    init(&r);
    mark = r.count;
    for (int i = 0; i < 600; i++) {
        snprintf(id, sizeof id, "s%d", i);
        w[i] = spoke(&r, 0, id, i % 2 ? x_echo : NULL);
    }
    rig_advance(&r, 300);
    ck_assert_int_eq(said(&r, mark, CHANGES), 2);
    ck_assert_int_eq(said(&r, mark, ".ask."), 0);
    for (int i = 1; i < HUBS; i++)
        ck_assert_uint_eq(known(&r, i), 600);
    rig_advance(&r, 2000);
    mark = r.count;
    wire_free(w[7]);
    w[7] = spoke(&r, 0, "s7", x_echo);
    wire_free(w[8]);
    rig_advance(&r, 300);
    ck_assert_int_eq(said(&r, mark, CHANGES), 1);
    for (int i = mark; i < r.count; i++)
        bytes += strstr(r.said[i].subject, CHANGES) ? r.said[i].len : 0;
    ck_assert_uint_lt(bytes, 400);
    ck_assert_uint_eq(known(&r, 3), 599);
    /* And a set of operations is fetched once. */
    ck_assert_uint_eq(other_find(r.hub[1].cl, str_of("alpha"))->sets.count, 1);
    for (int i = 0; i < 600; i++) {
        if (i != 8)
            wire_free(w[i]);
    }
    rig_fini(&r);
}
END_TEST

static int drop_changes(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    return !(strstr(m->subject, CHANGES) && memmem(m->data, m->len, "\"change\"", 8) &&
             r->target-- > 0);
}

START_TEST(who_has_missed_a_change_asks_for_the_state)
{
    struct rig r;
    struct wire *a, *b;
    int mark;

    init(&r);
    r.fate = drop_changes;
    r.target = 1;
    a = spoke(&r, 0, "s1", x_echo);
    rig_advance(&r, 1000);
    EXPECT_SEEN(&r, 1, "");
    mark = r.count;
    b = spoke(&r, 0, "s2", NULL);
    rig_advance(&r, 2000);
    for (int i = 1; i < HUBS; i++)
        EXPECT_SEEN(&r, i, "s1@alpha[x/echo] s2@alpha");
    ck_assert_int_eq(said(&r, mark, ".ask.alpha"), HUBS - 1);
    /* The last one: the next word that it is there tells. */
    r.target = 1;
    wire_free(b);
    rig_advance(&r, 1000);
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo] s2@alpha");
    rig_advance(&r, 11000);
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo]");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* ---- states ---------------------------------------------------------------------------------- */

#define MANY 1300 /* three parts */

static struct wire *many[MANY];

static void attach_many(struct rig *r, int hub)
{
    char id[30];

    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "m%d", i);
        many[i] = spoke(r, hub, id, NULL);
    }
}

static void free_many(void)
{
    for (int i = 0; i < MANY; i++)
        wire_free(many[i]);
}

/* Only gamma's; parts are told apart by their turn. */
static int lose_some_parts(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    if (!strstr(m->subject, ".state.gamma"))
        return 1;
    return r->turn++ % 3 != r->target || r->turn > 6;
}

static int repeat_parts(struct rig *r, struct rig_said *m, int number)
{
    (void)r;
    (void)number;
    return strstr(m->subject, ".state.") ? 3 : 1;
}

START_TEST(a_state_that_does_not_leave_is_asked_for_again)
{
    struct rig r;

    prepare(&r);
    for (int i = 0; i < HUBS; i++)
        world_start(r.hub[i].n.w);
    attach_many(&r, 0);
    rig_join(&r.hub[0]);
    rig_join(&r.hub[2]);
    r.hub[0].refuse_at = ".state.gamma";
    rig_advance(&r, 3500);
    ck_assert_uint_lt(known(&r, 2), MANY);
    r.hub[0].refuse_at = NULL;
    rig_advance(&r, 4000);
    ck_assert_uint_eq(known(&r, 2), MANY);
    free_many();
    rig_fini(&r);
}
END_TEST

START_TEST(a_state_comes_in_parts)
{
    for (int lost = -2; lost < 3; lost++) {
        struct rig r;
        int mark;

        prepare(&r);
        world_start(r.hub[0].n.w);
        attach_many(&r, 0);
        rig_join(&r.hub[0]);
        for (int i = 1; i < HUBS; i++)
            rig_hub_start(&r.hub[i]);
        r.fate = lost == -2 ? repeat_parts : lose_some_parts;
        r.target = lost;
        mark = r.count;
        rig_advance(&r, 4000);
        ck_assert_uint_eq(known(&r, 1), MANY);
        ck_assert_uint_eq(known(&r, 3), MANY);
        if (lost < 0)
            ck_assert_int_eq(said(&r, mark, ".state.gamma"), HUBS + 1);
        rig_advance(&r, 4000);
        ck_assert_uint_eq(known(&r, 2), MANY);
        free_many();
        rig_fini(&r);
    }
}
END_TEST

/* More parts than a hub may say otherwise in a second. */
START_TEST(a_state_of_many_parts_comes_whole)
{
    struct rig r;
    struct wire *a;
    struct peer_table *t;
    struct overlay *const none[2] = {NULL, NULL};
    struct member **m = calloc(60000, sizeof *m);
    char id[30];

    prepare(&r);
    rig_hub_start(&r.hub[0]);
    for (int i = 1; i < HUBS; i++)
        world_start(r.hub[i].n.w);
    t = &r.hub[0].n.w->node->peers;
    for (int i = 0; i < 60000; i++) {
        snprintf(id, sizeof id, "m%d", i);
        m[i] = peers_attach(t, str_of(id), r.hub[0].n.w->d->port, NULL, none, r.hub[0].n.w->now);
    }
    rig_advance(&r, 4000);
    rig_join(&r.hub[1]);
    rig_advance(&r, 4000);
    ck_assert_uint_eq(r.hub[1].cl->peers, 60000);
    /* What is said meanwhile is not lost. */
    a = spoke(&r, 0, "s1", x_echo);
    rig_advance(&r, 1000);
    ck_assert_uint_eq(r.hub[1].cl->peers, 60001);
    wire_free(a);
    for (int i = 0; i < 60000; i++)
        peers_detach(t, m[i], r.hub[0].n.w->now);
    free(m);
    rig_advance(&r, 4000);
    ck_assert_uint_eq(r.hub[1].cl->peers, 0);
    rig_fini(&r);
}
END_TEST

/* Ten thousand come in each second, and as many go. What is said of them is bounded, nobody is
 * forgotten or stays behind, and who stays is called meanwhile. */
START_TEST(peers_that_come_and_go_all_the_time_are_known_in_the_end)
{
    enum { AT_ONCE = 1000, TENTHS = 30 };
    static struct member *m[AT_ONCE];
    struct overlay *const none[2] = {NULL, NULL};
    struct rig r;
    struct wire *s, *c;
    struct peer_table *t;
    uint64_t now;
    int mark;
    char id[30];

    init(&r);
    s = spoke(&r, 0, "stays", x_echo);
    c = client(&r, 1);
    rig_advance(&r, 2000);
    call(c, "0", "stays", "x/echo");
    answer(&r, s, "call.responded", "{\"output\":0}");
    wire_expect(c, RESPONDED("0", "0"));
    t = &r.hub[0].n.w->node->peers;
    mark = r.count;
    for (int tenth = 0; tenth < TENTHS; tenth++) {
        now = r.hub[0].n.w->now;
        for (int i = 0; i < AT_ONCE; i++) {
            if (tenth)
                peers_detach(t, m[i], now);
            snprintf(id, sizeof id, "m%d", tenth * AT_ONCE + i);
            m[i] = peers_attach(t, str_of(id), r.hub[0].n.w->d->port, NULL, none, now);
        }
        rig_advance(&r, 100);
        if (tenth % 10 == 5) {
            call(c, "1", "stays", "x/echo");
            answer(&r, s, "call.responded", "{\"output\":1}");
            wire_expect(c, RESPONDED("1", "1"));
        }
    }
    /* 2,000 changes in each tenth of a second, 500 in each of them at most, and beats. */
    ck_assert_int_le(said(&r, mark, CHANGES), TENTHS * (2 * AT_ONCE / (int)SAID_PEERS + 1) + HUBS);
    rig_advance(&r, 2000);
    ck_assert_uint_eq(known(&r, 1), AT_ONCE + 1);
    ck_assert_uint_eq(known(&r, 2), AT_ONCE + 1);
    ck_assert_uint_eq(r.hub[1].cl->dropped, 0);
    for (int i = 0; i < AT_ONCE; i++)
        peers_detach(t, m[i], r.hub[0].n.w->now);
    rig_advance(&r, 1000);
    EXPECT_SEEN(&r, 1, "stays@alpha[x/echo]");
    wire_free(c);
    wire_free(s);
    rig_fini(&r);
}
END_TEST

/* What is more than a hub may have is left out, and the rest stays. */
START_TEST(what_is_too_much_is_left_out)
{
    struct rig r;
    struct wire *a;
    struct other *h;
    char id[40], hash[HEX_MAX];

    init(&r);
    a = spoke(&r, 1, "s1", x_echo);
    rig_advance(&r, 2000);
    h = other_find(r.hub[0].cl, str_of("beta"));
    for (unsigned i = 0; i < HUB_SETS_MAX + 10; i++) {
        snprintf(id, sizeof id, "various%u", i);
        snprintf(hash, sizeof hash, "%032x", i);
        ck_assert(other_serves(h, str_of(id), str_of(hash)));
    }
    ck_assert_uint_eq(h->sets.count, HUB_SETS_MAX);
    ck_assert(world_logged(r.hub[0].n.w, "cluster.incomplete - - beta: what its peers serve is too "
                                         "various"));
    h->quiet_until = 0;
    r.hub[0].cl->peers += PEERS_MAX - 5000;
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(id, sizeof id, "p%u", i);
        ck_assert(other_serves(h, str_of(id), str_of("")));
    }
    ck_assert_uint_eq(h->entries.count, 5000);
    r.hub[0].cl->peers -= PEERS_MAX - 5000;
    ck_assert(world_logged(r.hub[0].n.w, "beta: it has more peers than there is room for"));
    buf_truncate(&r.hub[0].n.w->log, 0);
    r.hub[0].cl->peers += PEERS_MAX - 5000;
    ck_assert(other_serves(h, str_of("another"), str_of("")));
    r.hub[0].cl->peers -= PEERS_MAX - 5000;
    ck_assert(!world_logged(r.hub[0].n.w, "cluster.incomplete"));
    /* A state without them. */
    hear_state_of(h);
    rig_run(&r);
    EXPECT_SEEN(&r, 0, "s1@beta[x/echo]");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* ---- starts, and what was said before --------------------------------------------------------- */

/* Without a word, as one that is killed; the world stays. */
static void kill_hub(struct rig *r, int hub)
{
    r->hub[hub].down = true;
    rig_leave(&r->hub[hub]);
    r->hub[hub].down = false;
}

START_TEST(a_hub_that_starts_anew_is_known_by_what_it_says_now)
{
    struct rig r;
    struct wire *a, *b;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    rig_advance(&r, 2000);
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo]");
    kill_hub(&r, 0);
    wire_free(a);
    b = spoke(&r, 0, "s2", x_both);
    rig_join(&r.hub[0]);
    rig_advance(&r, 5000);
    for (int i = 1; i < HUBS; i++)
        EXPECT_SEEN(&r, i, "s2@alpha[x/echo][x/stream]");
    wire_free(b);
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_is_not_heard_is_gone_with_its_peers)
{
    struct rig r;
    struct wire *a, *b;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    b = spoke(&r, 1, "s2", NULL);
    rig_advance(&r, 12000);
    r.hub[0].dead = true;
    rig_advance(&r, 19000);
    EXPECT_SEEN(&r, 2, "s1@alpha[x/echo] s2@beta");
    ck_assert(world_logged(r.hub[2].n.w, "cluster.hub - - alpha: is here"));
    rig_advance(&r, 13000);
    EXPECT_SEEN(&r, 2, "s2@beta");
    ck_assert(world_logged(r.hub[2].n.w, "cluster.hub - - alpha: is not heard any more"));
    rig_advance(&r, 40000);
    ck_assert_ptr_null(other_find(r.hub[2].cl, str_of("alpha")));
    /* It was a partition. */
    r.hub[0].dead = false;
    r.hub[0].n.w->now += 72000 * MS;
    rig_advance(&r, 13000);
    EXPECT_SEEN(&r, 2, "s1@alpha[x/echo] s2@beta");
    EXPECT_SEEN(&r, 0, "s1[x/echo] s2@beta");
    wire_free(a);
    wire_free(b);
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_leaves_is_gone_at_once)
{
    struct rig r;
    struct wire *a;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    rig_advance(&r, 2000);
    rig_leave(&r.hub[0]);
    rig_run(&r);
    for (int i = 1; i < HUBS; i++) {
        EXPECT_SEEN(&r, i, "");
        ck_assert(world_logged(r.hub[i].n.w, "cluster.hub - - alpha: has left"));
    }
    wire_free(a);
    rig_fini(&r);
}
END_TEST

static void replay_all(struct rig *r, int until)
{
    for (int i = 0; i < until; i++) {
        rig_say_again(r, i);
        if (i % 20 == 0)
            rig_advance(r, 50);
    }
}

START_TEST(what_was_said_before_has_no_effect)
{
    struct rig r;
    struct wire *a, *b;
    int until;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    rig_advance(&r, 1000);
    b = spoke(&r, 0, "s2", NULL);
    rig_advance(&r, 1000);
    wire_free(a);
    rig_advance(&r, 1000);
    /* Of the same start. */
    replay_all(&r, r.count);
    for (int i = 1; i < HUBS; i++)
        EXPECT_SEEN(&r, i, "s2@alpha");
    /* Of one that is over, while another is there. */
    kill_hub(&r, 0);
    until = r.count;
    rig_join(&r.hub[0]);
    rig_advance(&r, 5000);
    replay_all(&r, until);
    for (int i = 1; i < HUBS; i++)
        EXPECT_SEEN(&r, i, "s2@alpha");
    ck_assert_int_eq(r.hub[0].cl->state, CLUSTER_JOINED);
    /* Of one that is not there any more. */
    until = r.count;
    rig_leave(&r.hub[0]);
    rig_advance(&r, 1000);
    replay_all(&r, until);
    for (int i = 1; i < HUBS; i++) {
        EXPECT_SEEN(&r, i, "");
        ck_assert_uint_lt(r.hub[i].cl->hubs.count, HUBS);
    }
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* Words of a start that is over are no reason to ask; of our own name, once a second. */
START_TEST(old_words_cost_little)
{
    struct rig r;
    int beat, mark;

    init(&r);
    beat = last_said(&r, 0, CHANGES, "\"beat\"");
    kill_hub(&r, 0);
    rig_join(&r.hub[0]);
    rig_advance(&r, 10000);
    mark = r.count;
    for (int i = 0; i < 200; i++) {
        rig_say_again(&r, beat);
        rig_advance(&r, 50);
    }
    ck_assert_int_eq(said(&r, mark, ".state."), 0);
    ck_assert_int_le(said(&r, mark, ".ask."), 11);
    ck_assert_int_le(said(&r, mark, CHANGES), 5 * HUBS);
    rig_fini(&r);
}
END_TEST

/* A question that was asked before is not answered again and again. */
START_TEST(old_questions_cost_little)
{
    struct rig r;
    int ask, mark;

    init(&r);
    ask = last_said(&r, 1, ".ask.alpha", "\"nonce\"");
    rig_advance(&r, 1000);
    mark = r.count;
    for (int i = 0; i < 200; i++) {
        rig_say_again(&r, ask);
        rig_advance(&r, 50);
    }
    ck_assert_int_eq(said(&r, mark, ".state.beta"), 0);
    rig_fini(&r);
}
END_TEST

/* ---- strangers -------------------------------------------------------------------------------- */

#define BY "{\"kind\":\"%s\",\"hub\":\"%s\",\"boot\":\"%s\",\"age_ms\":1,\"said\":%s,\"version\":%s"

static char *words(const char *kind, const char *hub, const char *boot, const char *more)
{
    static char out[2000];

    snprintf(out, sizeof out, BY "%s}", kind, hub, boot, "999999", "7", more);
    return out;
}

START_TEST(nobody_speaks_for_another_hub)
{
    struct rig r;
    struct wire *a;
    const char *boot;
    char peers[200];

    init(&r);
    a = spoke(&r, 1, "s1", NULL);
    rig_advance(&r, 1000);
    boot = r.hub[1].cl->boot;
    snprintf(peers, sizeof peers, ",\"from\":%llu,\"peers\":[[\"evil\",\"\"]],\"gone\":[\"s1\"]",
             (unsigned long long)r.hub[1].cl->version);
    /* With the key of another hub, and with one that is not known. */
    forge(&r, 2, "t.alknet.announce", words("change", "beta", boot, peers));
    forge(&r, 2, "t.alknet.announce", words("leave", "beta", boot, ""));
    rig_know(&r.hub[0], (const int[HUBS]){0, 1, 2, -1});
    forge(&r, 3, "t.alknet.announce", words("change", "beta", boot, peers));
    forge(&r, 3, "t.alknet.announce", words("beat", "nobody", boot, ""));
    forge(&r, 3, "t.alknet.announce", words("beat", "alpha", boot, ""));
    rig_advance(&r, 1000);
    EXPECT_SEEN(&r, 0, "s1@beta");
    ck_assert_ptr_null(other_find(r.hub[0].cl, str_of("nobody")));
    ck_assert_int_eq(r.hub[0].cl->state, CLUSTER_JOINED);
    ck_assert(world_logged(r.hub[0].n.w, "cluster.refused - - beta: no peer of that name has its "
                                         "key and the scope peers:list"));
    ck_assert(!world_logged(r.hub[0].n.w, "nobody: no peer"));
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* A peer that has a key and no more is no hub, or it could take the calls to others. */
START_TEST(a_spoke_is_no_hub)
{
    struct rig r;
    struct wire *a;
    char json[2000], print[ALK_TLS_FINGERPRINT];

    prepare(&r);
    pair_fingerprint(pair_identity_public(r.hub[1].identity), print);
    snprintf(json, sizeof json,
             "{\"peers\":[{\"peer_id\":\"beta\",\"fingerprints\":[\"%s\"],\"scopes\":[\"x:*\"]}]}",
             print);
    ck_assert_int_eq(alk_identities_load(r.hub[0].ids, TEXT(json), 0, NULL, NULL, 0), ALK_OK);
    rig_start(&r);
    a = spoke(&r, 1, "s1", NULL);
    rig_advance(&r, 13000);
    EXPECT_SEEN(&r, 0, "");
    EXPECT_SEEN(&r, 2, "s1@beta");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

START_TEST(a_bit_that_was_changed_is_noticed)
{
    struct rig r;
    struct wire *a;
    int number;

    init(&r);
    a = spoke(&r, 1, "s1", NULL);
    r.hub[0].muted = 1;
    rig_advance(&r, 200);
    number = last_said(&r, 1, CHANGES, "s1");
    for (size_t i = 0; i < r.said[number].len * 8; i += i < 800 ? 7 : 29) {
        struct rig_said *m = &r.said[number];

        m->data[i / 8] ^= (uint8_t)(1 << i % 8);
        rig_say(&r, -1, m->subject, m->data, m->len);
        m->data[i / 8] ^= (uint8_t)(1 << i % 8);
        if (i % 5 == 0)
            rig_advance(&r, 50);
    }
    EXPECT_SEEN(&r, 0, "");
    ck_assert_uint_gt(r.hub[0].cl->dropped, 100);
    rig_say_again(&r, number);
    EXPECT_SEEN(&r, 0, "s1@beta");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* By beta itself, which is known: what cannot be understood is dropped, or the state asked for. */
static const char *const odd[] = {
    ",\"from\":1,\"peers\":{},\"gone\":7",
    ",\"from\":\"1\",\"peers\":[[]],\"gone\":[[]]",
    ",\"from\":-1,\"peers\":[1,null,\"x\",[1,2],[\"x\"],[\"x\",1]],\"gone\":[null]",
    ",\"from\":18446744073709551615,\"peers\":[[\"e\",\"00\"]]",
    ",\"from\":1e300,\"peers\":[[\"local\",\"\"]]",
    ",\"peers\":[[\"a b\",\"\"],[\"\",\"\"],[\"../x\",\"\"]]",
    ",\"peers\":[[\"e\",\"ffffffffffffffffffffffffffffffff00\"]]",
    ",\"peers\":[[\"e\",\"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\"]]",
    ",\"deep\":[[[[[[[[[[]]]]]]]]]]",
    ",\"part\":-1,\"parts\":-1",
    ",\"to\":\"alpha\",\"nonce\":1",
};

START_TEST(nothing_odd_does_harm)
{
    struct rig r;
    struct wire *a;
    char text[SAID_MAX + 100];
    static const char *const kinds[] = {"change", "state", "ask", "beat", "leave!"};
    static const char *const subjects[] = {"t.alknet.announce", "t.alknet.state.alpha",
                                           "t.alknet.ask.alpha"};

    init(&r);
    a = spoke(&r, 1, "s1", NULL);
    rig_advance(&r, 1000);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            for (size_t s = 0; s < sizeof subjects / sizeof *subjects; s++) {
                snprintf(text, sizeof text, BY "%s}", kinds[k], "beta", r.hub[1].cl->boot,
                         "18446744073709551615", "18446744073709551615", odd[i]);
                forge(&r, 1, subjects[s], text);
                forge(&r, 1, subjects[s], words(kinds[k], "beta", "0", odd[i]));
                forge(&r, 1, subjects[s], words("", "a.b", r.hub[1].cl->boot, odd[i]));
                rig_advance(&r, 50);
            }
        }
        /* It is known anew, for what it says in earnest. */
        other_forget(other_find(r.hub[0].cl, str_of("beta")), NULL);
        rig_advance(&r, 12000);
        EXPECT_SEEN(&r, 0, "s1@beta");
    }
    for (size_t n = SAID_MAX - 120; n <= SAID_MAX + 10; n += 10) {
        memset(text, ' ', n);
        text[n] = 0;
        memcpy(text, "{", 1);
        forge(&r, 1, "t.alknet.announce", text);
    }
    forge(&r, 1, "t.alknet.announce", "");
    rig_say(&r, -1, "t.alknet.announce", "x", 1);
    rig_advance(&r, 200);
    EXPECT_SEEN(&r, 0, "s1@beta");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* Work and memory are bounded, and others go on. */
START_TEST(a_flood_is_dropped_and_others_go_on)
{
    static const char *const subjects[] = {"t.alknet.announce", "t.alknet.state.alpha",
                                           "t.alknet.ask.alpha"};
    struct rig r;
    struct wire *a;
    size_t live;
    int mark;

    init(&r);
    rig_advance(&r, 1000);
    live = r.hub[0].n.w->memory.live;
    mark = r.count;
    for (int i = 0; i < 1000; i++) {
        struct rig_hub *h = &r.hub[0];
        uint8_t m[400] = {0};
        /* Of beta by its name and key, of a name that is known with a key that is not, of one that
         * nobody knows. */
        const char *text = words("beat", i % 3 ? "beta" : "nobody", r.hub[1].cl->boot, "");

        memcpy(m + PAIR_SIGNATURE, pair_identity_public(r.hub[i % 2 ? 1 : 0].identity), PAIR_KEY);
        memcpy(m + PAIR_SIGNATURE + PAIR_KEY, text, strlen(text));
        h->bus.on_message(h->bus.ud, subjects[i % 3], m, PAIR_SIGNATURE + PAIR_KEY + strlen(text));
    }
    ck_assert_uint_le(r.hub[0].n.w->memory.live, live + 8);
    ck_assert_int_eq(r.count, mark);
    /* gamma and a hub that is new are heard in the middle of it. */
    a = spoke(&r, 2, "s1", NULL);
    rig_leave(&r.hub[3]);
    rig_join(&r.hub[3]);
    rig_advance(&r, 4000);
    EXPECT_SEEN(&r, 0, "s1@gamma");
    ck_assert_ptr_nonnull(other_find(r.hub[0].cl, str_of("delta")));
    /* beta itself says too much. */
    mark = r.count;
    for (int i = 0; i < 300; i++) {
        char nonce[100];

        snprintf(nonce, sizeof nonce,
                 ",\"to\":\"alpha\",\"nonce\":\"000000000000000000000000000%05d\"", i);
        forge(&r, 1, "t.alknet.ask.alpha", words("ask", "beta", r.hub[1].cl->boot, nonce));
    }
    ck_assert_int_le(said(&r, mark, ".state.beta"), 2);
    wire_free(a);
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_is_no_peer_any_more_is_gone)
{
    struct rig r;
    struct wire *a, *c;

    init(&r);
    a = spoke(&r, 1, "s1", x_echo);
    c = client(&r, 0);
    rig_advance(&r, 2000);
    call(c, "1", "s1", "x/echo");
    rig_run(&r);
    ck_assert_ptr_nonnull(wire_next(a));
    rig_know(&r.hub[0], (const int[HUBS]){0, -1, 2, 3});
    rig_advance(&r, 1100);
    wire_expect_error(c, "1", "INTERNAL", "connection closed");
    EXPECT_SEEN(&r, 0, "");
    ck_assert(world_logged(r.hub[0].n.w, "cluster.hub - - beta: is no peer any more"));
    EXPECT_SEEN(&r, 2, "s1@beta[x/echo]");
    rig_advance(&r, 100000);
    ck_assert_ptr_null(other_find(r.hub[0].cl, str_of("beta")));
    /* With another key it is nobody either. */
    rig_know(&r.hub[0], (const int[HUBS]){0, 2, -1, 3});
    rig_advance(&r, 12000);
    EXPECT_SEEN(&r, 0, "");
    rig_know(&r.hub[0], (const int[HUBS]){0, 1, 2, 3});
    rig_advance(&r, 14000);
    EXPECT_SEEN(&r, 0, "s1@beta[x/echo]");
    wire_free(a);
    wire_free(c);
    rig_fini(&r);
}
END_TEST

/* ---- two hubs with one name ------------------------------------------------------------------- */

/* delta is another beta, with that key. */
static void twin(struct rig *r, int key)
{
    struct rig_hub *h = &r->hub[3];

    prepare(r);
    h->name = "beta";
    pair_identity_free(h->identity);
    must(!pair_identity_new(&h->identity, &r->mem, TEXT(rig_keys[key])));
}

START_TEST(the_younger_of_two_with_one_name_refuses)
{
    struct rig r;
    struct wire *a, *b;

    twin(&r, 1);
    for (int i = 0; i < 3; i++)
        rig_hub_start(&r.hub[i]);
    world_start(r.hub[3].n.w);
    a = spoke(&r, 1, "s1", NULL);
    b = spoke(&r, 3, "s2", NULL);
    rig_advance(&r, 5000);
    rig_join(&r.hub[3]);
    rig_advance(&r, 5000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINED);
    ck_assert_int_eq(r.hub[3].cl->state, CLUSTER_REFUSED);
    ck_assert(world_logged(r.hub[3].n.w, "cluster.refused - - another hub has this name"));
    ck_assert(!world_logged(r.hub[3].n.w, "cluster.joined"));
    EXPECT_SEEN(&r, 0, "s1@beta");
    EXPECT_SEEN(&r, 3, "s2");
    /* It says nothing more, whatever comes. */
    buf_truncate(&r.hub[3].n.w->log, 0);
    rig_bus(&r.hub[3], false);
    rig_bus(&r.hub[3], true);
    rig_advance(&r, 12000);
    EXPECT_SEEN(&r, 0, "s1@beta");
    EXPECT_SEEN(&r, 3, "s2");
    ck_assert(!world_logged(r.hub[3].n.w, "cluster.refused"));
    wire_free(a);
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* Each message takes a few milliseconds, and the first ones may be lost. */
static int slow(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    for (int i = 0; i < HUBS; i++) {
        r->hub[i].n.w->now += (uint64_t)r->turn * MS;
        if (!r->hub[i].dead)
            world_turn(r->hub[i].n.w);
    }
    return !(strstr(m->subject, ".ask.beta") && r->target-- > 0);
}

START_TEST(of_two_that_start_at_once_one_refuses)
{
    for (int lost = 0; lost < 4; lost++) {
        for (int apart = -60; apart <= 60; apart += 20) {
            struct rig r;
            struct rig_hub *first, *second;
            struct wire *a, *b;
            int joined = 0;

            twin(&r, 1);
            r.turn = apart % 40 ? 1 : 9;
            r.target = lost;
            rig_hub_start(&r.hub[0]);
            world_start(r.hub[1].n.w);
            world_start(r.hub[2].n.w);
            world_start(r.hub[3].n.w);
            rig_advance(&r, 3000);
            a = spoke(&r, 1, "s1", NULL);
            b = spoke(&r, 3, "s2", NULL);
            r.fate = slow;
            first = &r.hub[apart < 0 ? 1 : 3];
            second = &r.hub[apart < 0 ? 3 : 1];
            rig_join(first);
            rig_advance(&r, (uint64_t)(apart < 0 ? -apart : apart));
            rig_join(second);
            rig_advance(&r, 16000);
            joined += first->cl->state == CLUSTER_JOINED;
            joined += second->cl->state == CLUSTER_JOINED;
            ck_assert_msg(joined == 1, "%d apart, %d lost: %d have joined", apart, lost, joined);
            ck_assert_int_eq(first->cl->state + second->cl->state,
                             CLUSTER_JOINED + CLUSTER_REFUSED);
            if (apart <= -60 || apart >= 60)
                ck_assert_int_eq(first->cl->state, CLUSTER_JOINED);
            /* Whichever the others have met first. */
            rig_advance(&r, 45000);
            EXPECT_SEEN(&r, 0, r.hub[1].cl->state == CLUSTER_JOINED ? "s1@beta" : "s2@beta");
            wire_free(a);
            wire_free(b);
            rig_fini(&r);
        }
    }
}
END_TEST

START_TEST(two_that_have_joined_apart_from_each_other_find_out)
{
    struct rig r;

    twin(&r, 1);
    rig_hub_start(&r.hub[0]);
    rig_hub_start(&r.hub[3]);
    world_start(r.hub[1].n.w);
    world_start(r.hub[2].n.w);
    r.hub[3].muted = 1;
    rig_advance(&r, 500);
    rig_join(&r.hub[1]);
    r.hub[1].muted = 3;
    rig_advance(&r, 5000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINED);
    ck_assert_int_eq(r.hub[3].cl->state, CLUSTER_JOINED);
    r.hub[1].muted = r.hub[3].muted = -1;
    rig_advance(&r, 12000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_REFUSED);
    ck_assert_int_eq(r.hub[3].cl->state, CLUSTER_JOINED);
    rig_fini(&r);
}
END_TEST

/* Whose key nobody has for that name is nobody: no reason to refuse, for either. */
START_TEST(a_name_with_another_key_is_a_strangers)
{
    struct rig r;
    struct wire *a, *b;

    twin(&r, 3);
    rig_start(&r);
    a = spoke(&r, 1, "s1", NULL);
    b = spoke(&r, 3, "s2", NULL);
    rig_advance(&r, 13000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINED);
    EXPECT_SEEN(&r, 0, "s1@beta");
    EXPECT_SEEN(&r, 1, "s1");
    wire_free(a);
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* An older start of the same hub, whose words somebody has kept, is none of another hub. */
START_TEST(a_hub_is_not_refused_by_its_own_past)
{
    struct rig r;
    int until;

    init(&r);
    rig_advance(&r, 60000);
    kill_hub(&r, 1);
    until = r.count;
    rig_join(&r.hub[1]);
    rig_run(&r);
    for (int i = 0; i < until; i++) {
        if (r.said[i].from == 1)
            rig_say_again(&r, i);
        rig_run(&r);
    }
    rig_advance(&r, 4000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINED);
    rig_fini(&r);
}
END_TEST

/* ---- the bus ---------------------------------------------------------------------------------- */

START_TEST(without_the_bus_a_hub_has_its_own_peers_and_waits_for_the_others)
{
    struct rig r;
    struct wire *a, *b, *c;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    b = spoke(&r, 1, "s2", x_echo);
    c = client(&r, 0);
    rig_advance(&r, 2000);
    call(c, "1", "s2", "x/echo");
    rig_run(&r);
    ck_assert_ptr_nonnull(wire_next(b));
    rig_bus(&r.hub[0], false);
    rig_run(&r);
    wire_expect_error(c, "1", "INTERNAL", "connection closed");
    ck_assert(world_logged(r.hub[0].n.w, "cluster.down - - the broker has gone"));
    rig_advance(&r, 40000);
    EXPECT_SEEN(&r, 0, "s1[x/echo] s2@beta[x/echo]");
    EXPECT_SEEN(&r, 1, "s2[x/echo]");
    call(c, "2", "s2", "x/echo");
    wire_expect(c, FAULT("2", "BUSY", "the peer's hub cannot be reached now", "true"));
    call(c, "3", "s1", "x/echo");
    answer(&r, a, "call.responded", "{\"output\":5}");
    wire_expect(c, RESPONDED("3", "5"));
    rig_bus(&r.hub[0], true);
    rig_advance(&r, 3000);
    ck_assert(world_logged(r.hub[0].n.w, "cluster.up"));
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo] s2[x/echo]");
    while (wire_next(b))
        ;
    call(c, "4", "s2", "x/echo");
    answer(&r, b, "call.responded", "{\"output\":6}");
    wire_expect(c, RESPONDED("4", "6"));
    wire_free(a);
    wire_free(b);
    wire_free(c);
    rig_fini(&r);
}
END_TEST

/* The whole of it goes, in the middle of a state. */
static int bus_goes(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    return !(strstr(m->subject, ".state.beta") && r->turn++ >= 1 && r->target);
}

START_TEST(half_a_state_is_not_taken_for_the_whole)
{
    struct rig r;

    prepare(&r);
    world_start(r.hub[0].n.w);
    attach_many(&r, 0);
    rig_join(&r.hub[0]);
    rig_hub_start(&r.hub[1]);
    world_start(r.hub[2].n.w);
    world_start(r.hub[3].n.w);
    r.fate = bus_goes;
    r.target = 1;
    rig_advance(&r, 2500);
    ck_assert_uint_lt(known(&r, 1), MANY);
    rig_bus(&r.hub[1], false);
    rig_advance(&r, 40000);
    r.target = 0;
    rig_bus(&r.hub[1], true);
    rig_advance(&r, 14000);
    ck_assert_uint_eq(known(&r, 1), MANY);
    free_many();
    rig_fini(&r);
}
END_TEST

START_TEST(a_hub_that_starts_without_the_bus_joins_when_it_comes)
{
    struct rig r;
    struct wire *a;

    prepare(&r);
    r.hub[1].down = true;
    rig_start(&r);
    a = spoke(&r, 1, "s1", x_echo);
    rig_advance(&r, 20000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINING);
    rig_bus(&r.hub[1], true);
    rig_advance(&r, 5000);
    ck_assert_int_eq(r.hub[1].cl->state, CLUSTER_JOINED);
    ck_assert(world_logged(r.hub[1].n.w, "cluster.joined - - beta"));
    EXPECT_SEEN(&r, 0, "s1@beta[x/echo]");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* ---- calls ------------------------------------------------------------------------------------ */

/* s1 at alpha, s2 and its caller at beta: a client of alpha, who calls s2. */
struct far {
    struct rig r;
    struct wire *c, *s;
};

static void far_init(struct far *f, const char *const *ops)
{
    init(&f->r);
    f->c = client(&f->r, 0);
    f->s = spoke(&f->r, 1, "s2", ops);
    rig_advance(&f->r, 2000);
}

static void far_fini(struct far *f)
{
    wire_free(f->c);
    wire_free(f->s);
    rig_fini(&f->r);
}

START_TEST(a_call_reaches_a_peer_of_another_hub)
{
    struct far f;
    const char *request;

    far_init(&f, x_echo);
    wire_request_with(f.c, "1", "peers/call",
                      "{\"peer\":\"s2\",\"operation\":\"x/echo\",\"input\":{\"a\":[1]}}",
                      ",\"timeout_ms\":5000");
    rig_run(&f.r);
    request = wire_next(f.s);
    ck_assert_ptr_nonnull(request);
    ck_assert_ptr_nonnull(strstr(request, "\"operationId\":\"/x/echo\",\"input\":{\"a\":[1]}"));
    ck_assert_ptr_nonnull(strstr(request, "\"hops\":2"));
    ck_assert_ptr_nonnull(strstr(request, "\"timeout_ms\":"));
    /* For its hub the caller is alpha, and the client is what alpha says. */
    ck_assert_ptr_nonnull(strstr(request, "\"forwarded_for\":{\"id\":\"alpha\""));
    wire_feed(f.s, respond(request, "call.responded", "{\"output\":7}"));
    rig_run(&f.r);
    wire_expect(f.c, RESPONDED("1", "7"));
    ck_assert(world_logged(f.r.hub[1].n.w,
                           "call peers/call ok - alpha {\"id\":\"caller\",\"scopes\":[]"));
    far_fini(&f);
}
END_TEST

/* Whatever of it finds no room any more: who asks learns that he asks for too much. */
START_TEST(a_call_for_which_there_is_no_room_is_busy)
{
    int done = 0, busy = 0;
    struct far f;
    alk_limits l;

    far_init(&f, x_echo);
    l = f.r.hub[0].n.w->limits;
    l.message_budget = 8u << 20;
    ck_assert_int_eq(alk_node_set_limits(f.r.hub[0].n.w->node, &l), ALK_OK);
    for (size_t size = 100000; size < 700000 && f.c->conn->closing < 0; size += 3000) {
        char *text =
            repeated("x", size,
                     "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":"
                     "\"peers/call\",\"input\":{\"peer\":\"s2\",\"operation\":\"x/echo\","
                     "\"input\":\"",
                     "\"}}}");
        const char *said;

        wire_feed(f.c, text);
        rig_run(&f.r);
        said = wire_next(f.s);
        if (said) {
            wire_feed(f.s, respond(said, "call.responded", "{\"output\":7}"));
            rig_run(&f.r);
        }
        said = wire_next(f.c);
        done += said && strstr(said, "call.responded");
        busy += said && strstr(said, "\"BUSY\"");
        ck_assert_msg(!said || !strstr(said, "\"INTERNAL\""), "%zu: %s", size, said);
        free(text);
    }
    ck_assert_int_gt(done, 5);
    ck_assert_int_gt(busy, 5);
    far_fini(&f);
}
END_TEST

START_TEST(results_and_faults_pass_unchanged)
{
    struct far f;

    far_init(&f, x_echo);
    call(f.c, "1", "s2", "x/echo");
    answer(&f.r, f.s, "call.responded", "{\"output\":{\"deep\":[{\"x\":\"\\u00e4\"}]}}");
    wire_expect(f.c, RESPONDED("1", "{\"deep\":[{\"x\":\"ä\"}]}"));
    call(f.c, "2", "s2", "x/echo");
    answer(&f.r, f.s, "call.error",
           "{\"code\":\"OUT_OF_PAPER\",\"message\":\"tray 2\",\"retryable\":true,"
           "\"details\":{\"tray\":2}}");
    wire_expect(f.c, "{\"type\":\"call.error\",\"id\":\"2\",\"payload\":{\"code\":\"OUT_OF_PAPER\","
                     "\"message\":\"tray 2\",\"retryable\":true,\"details\":{\"tray\":2}}}");
    /* What it does not serve, and who is not there. */
    call(f.c, "3", "s2", "x/other");
    rig_run(&f.r);
    wire_expect_error(f.c, "3", "NOT_FOUND", "operation not found: x/other");
    call(f.c, "4", "s9", "x/echo");
    rig_run(&f.r);
    wire_expect_error(f.c, "4", "NOT_FOUND", "operation not found: x/echo");
    wire_expect_nothing(f.s);
    far_fini(&f);
}
END_TEST

START_TEST(the_deadline_and_the_hops_go_along)
{
    struct far f;

    far_init(&f, x_echo);
    wire_request_with(f.c, "1", "peers/call", "{\"peer\":\"s2\",\"operation\":\"x/echo\"}",
                      ",\"timeout_ms\":700");
    rig_advance(&f.r, 600);
    wire_expect_nothing(f.c);
    ck_assert_ptr_nonnull(wire_next(f.s));
    rig_advance(&f.r, 200);
    wire_expect_error(f.c, "1", "TIMEOUT", "the deadline has passed");
    ck_assert_ptr_nonnull(strstr(wire_next(f.s), "call.aborted"));
    for (int hops = 5; hops < 9; hops++) {
        char extra[30], id[20];

        snprintf(extra, sizeof extra, ",\"hops\":%d", hops);
        snprintf(id, sizeof id, "%d", hops);
        wire_request_with(f.c, id, "peers/call", "{\"peer\":\"s2\",\"operation\":\"x/echo\"}",
                          extra);
        rig_run(&f.r);
        if (hops < 8)
            ck_assert_ptr_nonnull(wire_next(f.s));
        else
            wire_expect_error(f.c, "8", "NOT_FOUND", "operation not found: peers/call");
    }
    wire_expect_nothing(f.s);
    far_fini(&f);
}
END_TEST

START_TEST(an_abort_goes_to_the_peer)
{
    struct far f;

    far_init(&f, x_echo);
    call(f.c, "1", "s2", "x/echo");
    rig_run(&f.r);
    ck_assert_ptr_nonnull(wire_next(f.s));
    wire_abort(f.c, "1");
    rig_run(&f.r);
    ck_assert_ptr_nonnull(strstr(wire_next(f.s), "call.aborted"));
    /* And one that goes away, to the caller. */
    call(f.c, "2", "s2", "x/echo");
    rig_run(&f.r);
    wire_free(f.s);
    rig_run(&f.r);
    wire_expect_error(f.c, "2", "INTERNAL", "connection closed");
    f.s = spoke(&f.r, 1, "s2", x_echo);
    far_fini(&f);
}
END_TEST

/* other: the client's loop; NULL: it is the cluster's. */
static void run_both(struct rig *r, struct world *other)
{
    for (int i = 0; i < (other ? 4 : 1); i++) {
        rig_run(r);
        if (other)
            world_turn(other);
    }
}

static void hold_back(bool crossing)
{
    struct far f;
    struct world *w, other;
    char *text = repeated("x", 10000, "\"", "\""), id[64], value[11000];
    alk_operation op;
    uint64_t stream;
    int fed = 0, got = 0;
    const char *next;

    init(&f.r);
    w = f.r.hub[0].n.w;
    other = *w;
    if (crossing) {
        ck_assert_int_eq(alk_dispatcher_new(&other.d, w->node), ALK_OK);
        f.r.hub[0].n.w = &other;
    }
    f.c = client(&f.r, 0);
    f.r.hub[0].n.w = w;
    f.s = open_as(&f.r.hub[1], "s2", "[]", ALK_KIND_PEER, wire_open_streams);
    alk_operation_init(&op, sizeof op);
    op.name = "x/stream";
    op.type = ALK_SUBSCRIPTION;
    ck_assert_int_eq(alk_connection_register_imported(f.s->conn, &op, 1), ALK_OK);
    rig_advance(&f.r, 2000);
    other.now = w->now;
    wire_request(f.c, "1", "peers/subscribe", "{\"peer\":\"s2\",\"operation\":\"x/stream\"}");
    run_both(&f.r, crossing ? &other : NULL);
    snprintf(id, sizeof id, "%s", wire_id(wire_next(f.s)));
    stream = f.s->streams[f.s->read - 1];
    snprintf(value, sizeof value,
             "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}", id, text);
    f.c->room = 0;
    while (!f.s->pauses && fed < 2000) {
        ck_assert_int_eq(wire_feed_on(f.s, stream, value), ALK_OK);
        fed++;
        run_both(&f.r, crossing ? &other : NULL);
    }
    ck_assert_int_gt(fed, 50);
    ck_assert_int_lt(fed, 1000);
    f.c->room = -1;
    alk_connection_writable(f.c->conn);
    for (int i = 0; i < 20; i++) {
        rig_advance(&f.r, 50);
        other.now = w->now;
        run_both(&f.r, crossing ? &other : NULL);
    }
    ck_assert_int_eq(f.s->resumes, 1);
    snprintf(value, sizeof value, "{\"type\":\"call.completed\",\"id\":\"%s\",\"payload\":{}}", id);
    wire_feed_on(f.s, stream, value);
    run_both(&f.r, crossing ? &other : NULL);
    while ((next = wire_next(f.c)) && strstr(next, "call.responded"))
        got++;
    ck_assert_int_eq(got, fed);
    ck_assert_ptr_nonnull(next);
    ck_assert_ptr_nonnull(strstr(next, "call.completed"));
    free(text);
    if (crossing) {
        wire_free(f.c);
        alk_dispatcher_free(other.d);
        f.c = client(&f.r, 0);
    }
    far_fini(&f);
}

START_TEST(a_subscription_is_held_back_as_far_as_the_peer)
{
    hold_back(false);
    hold_back(true);
}
END_TEST

/* It is the other hub that says who may. */
START_TEST(the_other_hub_authorizes_it)
{
    static const char *const ops[] = {"x/echo", "x/secret", "w/echo", NULL};
    struct far f;
    char json[2000], print[ALK_TLS_FINGERPRINT];

    far_init(&f, ops);
    EXPECT_SEEN(&f.r, 0, "s2@beta[w/echo][x/echo][x/secret]");
    call(f.c, "1", "s2", "x/secret");
    call(f.c, "2", "s2", "w/echo");
    rig_run(&f.r);
    wire_expect_error(f.c, "1", "NOT_FOUND", "operation not found: x/secret");
    wire_expect_error(f.c, "2", "NOT_FOUND", "operation not found: w/echo");
    /* beta lets alpha see, and not call. */
    pair_fingerprint(pair_identity_public(f.r.hub[0].identity), print);
    snprintf(json, sizeof json,
             "{\"peers\":[{\"peer_id\":\"alpha\",\"fingerprints\":[\"%s\"],\"scopes\":"
             "[\"peers:list\"]}]}",
             print);
    ck_assert_int_eq(alk_identities_load(f.r.hub[1].ids, TEXT(json), 0, NULL, NULL, 0), ALK_OK);
    rig_advance(&f.r, 100);
    call(f.c, "3", "s2", "x/echo");
    rig_advance(&f.r, 100);
    wire_expect_error(f.c, "3", "FORBIDDEN", "not allowed to call peers/call");
    wire_expect_nothing(f.s);
    far_fini(&f);
}
END_TEST

static int no_openings(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    return !(strstr(m->subject, ".hub.") && r->target);
}

START_TEST(a_call_waits_for_its_hub_for_three_seconds)
{
    struct far f;

    init(&f.r);
    f.c = client(&f.r, 0);
    f.s = spoke(&f.r, 1, "s2", x_echo);
    rig_advance(&f.r, 2000);
    /* The pair that fetched is idle, and is closed. */
    rig_advance(&f.r, 64000);
    ck_assert_ptr_null(other_find(f.r.hub[0].cl, str_of("beta"))->conn);
    f.r.fate = no_openings;
    f.r.target = 1;
    call(f.c, "1", "s2", "x/echo");
    rig_advance(&f.r, 2000);
    call(f.c, "2", "s2", "x/echo");
    call(f.c, "3", "s2", "x/echo");
    wire_abort(f.c, "3");
    rig_run(&f.r);
    rig_advance(&f.r, 900);
    wire_expect_nothing(f.c);
    rig_advance(&f.r, 200);
    wire_expect(f.c, FAULT("1", "BUSY", "the peer's hub cannot be reached now", "true"));
    wire_expect_nothing(f.c);
    rig_advance(&f.r, 1700);
    wire_expect_nothing(f.c);
    rig_advance(&f.r, 300);
    wire_expect(f.c, FAULT("2", "BUSY", "the peer's hub cannot be reached now", "true"));
    /* It comes while one waits; earlier attempts are forgotten. */
    rig_advance(&f.r, 64000);
    call(f.c, "4", "s2", "x/echo");
    rig_advance(&f.r, 500);
    f.r.target = 0;
    rig_advance(&f.r, 2400);
    answer(&f.r, f.s, "call.responded", "{\"output\":4}");
    wire_expect(f.c, RESPONDED("4", "4"));
    far_fini(&f);
}
END_TEST

static int no_openings_to_beta(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    return !(strstr(m->subject, ".hub.beta") && r->target);
}

static void call_any(struct wire *c, const char *id, const char *how, const char *operation)
{
    char input[100];

    snprintf(input, sizeof input, "{\"operation\":\"%s\",\"input\":[1]}", operation);
    wire_request(c, id, how, input);
}

/* The operation alone that was called in vain, and the peer: a call waits for three seconds before
 * another hub is asked for anything else. */
START_TEST(a_hub_that_cannot_be_reached_is_asked_last)
{
    struct far f;
    struct wire *other, *twin;

    far_init(&f, x_both);
    other = spoke(&f.r, 2, "s3", x_both);
    rig_advance(&f.r, 2000);
    twin = spoke(&f.r, 3, "s2", x_both);
    rig_advance(&f.r, 2000);
    EXPECT_SEEN(&f.r, 0, "s2@beta[x/echo][x/stream][x/echo][x/stream] s3@gamma[x/echo][x/stream]");
    rig_advance(&f.r, 64000);
    f.r.fate = no_openings_to_beta;
    f.r.target = 1;
    call_any(f.c, "1", "peers/call", "x/echo");
    rig_run(&f.r);
    call_any(f.c, "2", "peers/call", "x/echo");
    answer(&f.r, other, "call.responded", "{\"output\":2}");
    wire_expect(f.c, RESPONDED("2", "2"));
    call_any(f.c, "3", "peers/subscribe", "x/stream");
    rig_run(&f.r);
    ck_assert_ptr_null(wire_next(other));
    call_any(f.c, "4", "peers/subscribe", "x/stream");
    answer(&f.r, other, "call.completed", "{}");
    wire_expect(f.c, "{\"type\":\"call.completed\",\"id\":\"4\",\"payload\":{}}");
    /* By now the peer is tried at delta first. */
    call(f.c, "5", "s2", "x/echo");
    answer(&f.r, twin, "call.responded", "{\"output\":5}");
    wire_expect(f.c, RESPONDED("5", "5"));
    rig_advance(&f.r, 3000);
    wire_expect(f.c, FAULT("1", "BUSY", "the peer's hub cannot be reached now", "true"));
    wire_expect(f.c, FAULT("3", "BUSY", "the peer's hub cannot be reached now", "true"));
    wire_expect_nothing(f.c);
    wire_free(other);
    wire_free(twin);
    far_fini(&f);
}
END_TEST

/* However long it was called in vain. */
START_TEST(a_hub_that_is_back_is_reached_at_once)
{
    struct far f;
    char id[20];

    far_init(&f, x_echo);
    kill_hub(&f.r, 1);
    for (int i = 0; i < 18; i++) {
        snprintf(id, sizeof id, "v%d", i);
        call(f.c, id, "s2", "x/echo");
        rig_advance(&f.r, 1000);
    }
    rig_join(&f.r.hub[1]);
    rig_advance(&f.r, 3500);
    while (wire_next(f.c) || wire_next(f.s))
        ;
    call(f.c, "1", "s2", "x/echo");
    rig_advance(&f.r, 1500);
    answer(&f.r, f.s, "call.responded", "{\"output\":1}");
    wire_expect(f.c, RESPONDED("1", "1"));
    far_fini(&f);
}
END_TEST

START_TEST(a_peer_that_moves_is_found_by_the_next_call)
{
    struct far f;
    struct wire *elsewhere, *here;

    far_init(&f, x_echo);
    /* At two hubs: where it was first. */
    elsewhere = spoke(&f.r, 2, "s2", x_echo);
    rig_advance(&f.r, 2000);
    EXPECT_SEEN(&f.r, 0, "s2@beta[x/echo][x/echo]");
    call(f.c, "1", "s2", "x/echo");
    answer(&f.r, f.s, "call.responded", "{\"output\":1}");
    wire_expect(f.c, RESPONDED("1", "1"));
    wire_free(f.s);
    rig_advance(&f.r, 200);
    EXPECT_SEEN(&f.r, 0, "s2@gamma[x/echo]");
    call(f.c, "2", "s2", "x/echo");
    answer(&f.r, elsewhere, "call.responded", "{\"output\":2}");
    wire_expect(f.c, RESPONDED("2", "2"));
    /* Here as well: then here. */
    here = spoke(&f.r, 0, "s2", x_echo);
    rig_advance(&f.r, 1000);
    EXPECT_SEEN(&f.r, 0, "s2[x/echo][x/echo]");
    EXPECT_SEEN(&f.r, 1, "s2@gamma[x/echo][x/echo]");
    call(f.c, "3", "s2", "x/echo");
    answer(&f.r, here, "call.responded", "{\"output\":3}");
    wire_expect(f.c, RESPONDED("3", "3"));
    wire_expect_nothing(elsewhere);
    wire_free(here);
    rig_run(&f.r);
    call(f.c, "4", "s2", "x/echo");
    answer(&f.r, elsewhere, "call.responded", "{\"output\":4}");
    wire_expect(f.c, RESPONDED("4", "4"));
    f.s = elsewhere;
    far_fini(&f);
}
END_TEST

START_TEST(a_peer_is_chosen_when_none_is_named)
{
    struct far f;
    struct wire *here;

    far_init(&f, x_echo);
    wire_request(f.c, "1", "peers/call", "{\"operation\":\"x/echo\",\"input\":1}");
    answer(&f.r, f.s, "call.responded", "{\"output\":1}");
    wire_expect(f.c, RESPONDED("1", "1"));
    here = spoke(&f.r, 0, "s1", x_echo);
    wire_request(f.c, "2", "peers/call", "{\"operation\":\"x/echo\",\"input\":1}");
    answer(&f.r, here, "call.responded", "{\"output\":2}");
    wire_expect(f.c, RESPONDED("2", "2"));
    wire_expect_nothing(f.s);
    wire_free(here);
    far_fini(&f);
}
END_TEST

/* So that peers which do not serve a name need not be looked through. */
START_TEST(names_that_are_served_here_are_known)
{
    struct rig r;
    struct peer_table *t;
    struct wire *a, *b, *c;

    init(&r);
    t = &r.hub[0].n.w->node->peers;
    a = spoke(&r, 1, "s2", x_both);
    rig_advance(&r, 2000);
    EXPECT_SEEN(&r, 0, "s2@beta[x/echo][x/stream]");
    ck_assert(!peers_have(t, str_of("x/echo")));
    b = spoke(&r, 0, "s1", x_echo);
    c = spoke(&r, 0, "s3", x_both);
    ck_assert(peers_have(t, str_of("x/echo")) && peers_have(t, str_of("x/stream")));
    wire_free(c);
    ck_assert(peers_have(t, str_of("x/echo")) && !peers_have(t, str_of("x/stream")));
    wire_free(a);
    wire_free(b);
    rig_advance(&r, 2000);
    ck_assert(!peers_have(t, str_of("x/echo")));
    ck_assert_uint_eq(t->offered.count, 0);
    rig_fini(&r);
}
END_TEST

static int serve_any(alk_call *c, void *ud)
{
    alk_call_options o = {.size = sizeof o, .selector = ALK_SELECT_ANY};
    struct asked *a = ud;

    asked_options(a, &o);
    o.selector = ALK_SELECT_ANY;
    ck_assert_int_eq(alk_call_invoke(c, TEXT("x/echo"), TEXT("null"), &o, &a->call), ALK_OK);
    return ALK_OK;
}

START_TEST(a_program_reaches_any_peer)
{
    struct far f;
    struct asked a;
    alk_operation op;

    prepare(&f.r);
    alk_operation_init(&op, sizeof op);
    op.name = "t/any";
    op.handler = serve_any;
    op.ud = &a;
    op.environment = "{\"allowed_ops\":[\"x/*\"]}";
    world_add_full(f.r.hub[0].n.w, &op);
    rig_start(&f.r);
    f.c = client(&f.r, 0);
    f.s = spoke(&f.r, 1, "s2", x_echo);
    rig_advance(&f.r, 4000);
    wire_request(f.c, "1", "t/any", "null");
    answer(&f.r, f.s, "call.responded", "{\"output\":1}");
    ck_assert_str_eq(asked_outcome(&a), "ok 1");
    wire_abort(f.c, "1");
    rig_run(&f.r);
    wire_free(f.c);
    rig_run(&f.r);
    asked_free(&a);
    f.c = client(&f.r, 0);
    far_fini(&f);
}
END_TEST

START_TEST(peers_of_other_hubs_are_listed_with_their_hub)
{
    struct far f;
    const char *list;

    far_init(&f, x_echo);
    wire_request(f.c, "1", "services/list-peers", "{}");
    rig_run(&f.r);
    list = wire_next(f.c);
    ck_assert_ptr_nonnull(
        strstr(list, "{\"peer_id\":\"s2\",\"hub\":\"beta\",\"operations\":[{\"name\":\"x/echo\""));
    wire_request(f.c, "2", "services/schema", "{\"name\":\"x/echo\",\"peer\":\"s2\"}");
    rig_run(&f.r);
    ck_assert_ptr_nonnull(strstr(wire_next(f.c), "\"output\":{\"name\":\"x/echo\""));
    far_fini(&f);
}
END_TEST

/* ---- what is fetched -------------------------------------------------------------------------- */

/* Fetched in pages; what it serves changes meanwhile. */
START_TEST(what_a_peer_serves_is_fetched_whole)
{
    struct rig r;
    struct wire *a, *b, *c;
    char names[600][40];
    alk_operation *ops = calloc(600, sizeof *ops);
    char *text = repeated("d", 900, "", "");
    const struct other *h;

    init(&r);
    for (int i = 0; i < 600; i++) {
        snprintf(names[i], sizeof names[i], "x/op%d", i);
        alk_operation_init(&ops[i], sizeof ops[i]);
        ops[i].name = names[i];
        ops[i].type = ALK_QUERY;
        ops[i].description = text;
    }
    a = spoke(&r, 1, "a", NULL);
    b = spoke(&r, 1, "b", NULL);
    c = spoke(&r, 1, "c", x_echo);
    ck_assert_int_eq(alk_connection_register_imported(a->conn, ops, 600), ALK_OK);
    ck_assert_int_eq(alk_connection_register_imported(b->conn, ops, 600), ALK_OK);
    rig_advance(&r, 150);
    h = other_find(r.hub[0].cl, str_of("beta"));
    ck_assert_uint_eq(h->sets.count, 2);
    rig_advance(&r, 3000);
    for (int i = 0; i < HUBS; i += 2) {
        struct peer_table *t = &r.hub[i].n.w->node->peers;
        struct peer *p = peers_find(t, str_of("b"));
        struct overlay *sets[2 * PEER_NEWEST];

        ck_assert_uint_eq(peer_sets(t, p, sets), 1);
        ck_assert_uint_eq(sets[0]->by_name.count, 600);
        overlay_unref(sets[0]);
        peers_release(t, p);
    }
    free(ops);
    free(text);
    wire_free(a);
    wire_free(b);
    wire_free(c);
    rig_fini(&r);
}
END_TEST

/* The peer by which a set is fetched serves something else by then, and its hub has not said so
 * yet: the others that have the set must not get that. */
static struct wire *changing, *changed;

static int change_before_fetch(struct rig *r, struct rig_said *m, int number)
{
    (void)number;
    if (changing && m->from == 0 && strstr(m->subject, ".pair.beta.")) {
        wire_free(changing);
        changing = NULL;
        changed = spoke(r, 1, "s1", x_both);
    }
    return 1;
}

START_TEST(a_set_is_that_which_was_announced)
{
    struct rig r;
    struct wire *b;

    init(&r);
    changing = spoke(&r, 1, "s1", x_echo);
    b = spoke(&r, 1, "s2", x_echo);
    r.fate = change_before_fetch;
    rig_advance(&r, 4000);
    EXPECT_SEEN(&r, 0, "s1@beta[x/echo][x/stream] s2@beta[x/echo]");
    wire_free(changed);
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* The peers of a set go while it is fetched, and there is another one. */
static int go_while_fetched(struct rig *r, struct rig_said *m, int number)
{
    struct other *h = other_find(r->hub[0].cl, str_of("beta"));

    (void)number;
    if (m->from == 1 && strstr(m->subject, ".pair.alpha.") && h->fetching && !r->spoiled) {
        other_lost(h, str_of("s1"));
        ck_assert_ptr_null(h->fetching);
        r->spoiled = true;
    }
    return 1;
}

START_TEST(a_set_that_goes_while_it_is_fetched_holds_up_no_other)
{
    struct rig r;
    struct wire *a, *b;

    init(&r);
    a = spoke(&r, 1, "s1", x_echo);
    b = spoke(&r, 1, "s2", x_both);
    r.fate = go_while_fetched;
    rig_advance(&r, 2000);
    ck_assert(r.spoiled);
    EXPECT_SEEN(&r, 0, "s2@beta[x/echo][x/stream]");
    wire_free(a);
    wire_free(b);
    rig_fini(&r);
}
END_TEST

/* It is said once a minute, and tried again as long as it is so. */
START_TEST(what_cannot_be_fetched_is_told)
{
    struct rig r;
    struct wire *a;
    char json[2000], print[ALK_TLS_FINGERPRINT];
    const char *scopes[] = {"[]", "[\"peers:list\"]"};

    init(&r);
    a = spoke(&r, 1, "s1", x_echo);
    for (int i = 0; i < 2; i++) {
        pair_fingerprint(pair_identity_public(r.hub[0].identity), print);
        snprintf(json, sizeof json,
                 "{\"peers\":[{\"peer_id\":\"alpha\",\"fingerprints\":[\"%s\"],\"scopes\":%s}]}",
                 print, scopes[i]);
        ck_assert_int_eq(alk_identities_load(r.hub[1].ids, TEXT(json), 0, NULL, NULL, 0), ALK_OK);
        rig_advance(&r, 3000);
        if (i == 0) {
            EXPECT_SEEN(&r, 0, "s1@beta");
            ck_assert(world_logged(r.hub[0].n.w,
                                   "cluster.incomplete - - beta: what its peers serve cannot be "
                                   "fetched: not allowed to call cluster/operations"));
            buf_truncate(&r.hub[0].n.w->log, 0);
        }
    }
    rig_advance(&r, 3000);
    ck_assert(!world_logged(r.hub[0].n.w, "cluster.incomplete"));
    EXPECT_SEEN(&r, 0, "s1@beta[x/echo]");
    wire_free(a);
    rig_fini(&r);
}
END_TEST

/* ---- closed ----------------------------------------------------------------------------------- */

START_TEST(a_cluster_is_closed_and_opened_in_one_process)
{
    struct rig r;
    struct wire *a, *b = NULL;

    init(&r);
    a = spoke(&r, 0, "s1", x_echo);
    /* The news of it is under way. */
    rig_leave(&r.hub[0]);
    b = spoke(&r, 0, "s2", NULL);
    rig_join(&r.hub[0]);
    rig_leave(&r.hub[0]);
    rig_join(&r.hub[0]);
    rig_advance(&r, 6000);
    EXPECT_SEEN(&r, 1, "s1@alpha[x/echo] s2@alpha");
    wire_free(b);
    wire_free(a);
    rig_advance(&r, 300);
    EXPECT_SEEN(&r, 1, "");
    rig_fini(&r);
}
END_TEST

/* After each number of messages. */
START_TEST(a_cluster_is_closed_in_the_middle_of_everything)
{
    for (int which = 0; which < 2; which++) {
        bool more = true;

        for (int after = which; more && after < 200; after += 3) {
            struct rig r;
            struct wire *a, *b, *c;
            int before;

            init(&r);
            c = client(&r, 0);
            a = spoke(&r, 1, "s2", x_both);
            b = spoke(&r, 0, "s1", x_echo);
            before = r.delivered;
            for (int ms = 0; r.delivered < before + after && ms < 400; ms++) {
                for (int i = 0; i < HUBS; i++)
                    r.hub[i].n.w->now += MS;
                rig_turn(&r);
                if (ms == 120) {
                    call(c, "1", "s2", "x/echo");
                    wire_request(c, "2", "peers/subscribe",
                                 "{\"peer\":\"s2\",\"operation\":\"x/stream\"}");
                }
                while (r.delivered < before + after && rig_deliver(&r))
                    rig_turn(&r);
            }
            more = r.delivered == before + after;
            rig_leave(&r.hub[which]);
            rig_advance(&r, 4000);
            EXPECT_SEEN(&r, 2, which ? "s1@alpha[x/echo]" : "s2@beta[x/echo][x/stream]");
            rig_join(&r.hub[which]);
            rig_advance(&r, 4000);
            EXPECT_SEEN(&r, 0, "s1[x/echo] s2@beta[x/echo][x/stream]");
            wire_free(a);
            wire_free(b);
            wire_free(c);
            rig_fini(&r);
        }
        ck_assert(!more);
    }
}
END_TEST

/* ---- another loop ----------------------------------------------------------------------------- */

START_TEST(calls_of_another_loop_cross_to_the_clusters)
{
    struct far f;
    struct world *w, other;

    far_init(&f, x_echo);
    w = f.r.hub[0].n.w;
    other = *w;
    ck_assert_int_eq(alk_dispatcher_new(&other.d, w->node), ALK_OK);
    wire_free(f.c);
    f.r.hub[0].n.w = &other;
    f.c = client(&f.r, 0);
    f.r.hub[0].n.w = w;
    call(f.c, "1", "s2", "x/echo");
    world_turn(&other);
    answer(&f.r, f.s, "call.responded", "{\"output\":1}");
    wire_expect(f.c, RESPONDED("1", "1"));
    call(f.c, "2", "s2", "x/echo");
    call(f.c, "3", "s2", "x/echo");
    world_turn(&other);
    rig_run(&f.r);
    ck_assert_ptr_nonnull(wire_next(f.s));
    wire_abort(f.c, "2");
    world_turn(&other);
    rig_run(&f.r);
    ck_assert_ptr_nonnull(wire_next(f.s));
    ck_assert_ptr_nonnull(strstr(wire_next(f.s), "call.aborted"));
    /* Its hub goes, with the call. */
    rig_leave(&f.r.hub[0]);
    world_turn(&other);
    rig_run(&f.r);
    wire_expect_error(f.c, "3", "INTERNAL", "connection closed");
    call(f.c, "4", "s2", "x/echo");
    wire_expect_error(f.c, "4", "NOT_FOUND", "operation not found: x/echo");
    wire_free(f.c);
    world_turn(&other);
    alk_dispatcher_free(other.d);
    f.c = client(&f.r, 0);
    far_fini(&f);
}
END_TEST

MAIN("cluster", what_is_attached_to_one_hub_is_seen_at_all, an_announcement_has_what_has_changed,
     who_has_missed_a_change_asks_for_the_state, a_state_that_does_not_leave_is_asked_for_again,
     a_state_comes_in_parts, a_state_of_many_parts_comes_whole, what_is_too_much_is_left_out,
     a_hub_that_starts_anew_is_known_by_what_it_says_now,
     a_hub_that_is_not_heard_is_gone_with_its_peers, a_hub_that_leaves_is_gone_at_once,
     peers_that_come_and_go_all_the_time_are_known_in_the_end, what_was_said_before_has_no_effect,
     old_words_cost_little, old_questions_cost_little, nobody_speaks_for_another_hub,
     a_spoke_is_no_hub, a_bit_that_was_changed_is_noticed, nothing_odd_does_harm,
     a_flood_is_dropped_and_others_go_on, a_hub_that_is_no_peer_any_more_is_gone,
     the_younger_of_two_with_one_name_refuses, of_two_that_start_at_once_one_refuses,
     two_that_have_joined_apart_from_each_other_find_out, a_name_with_another_key_is_a_strangers,
     a_hub_is_not_refused_by_its_own_past,
     without_the_bus_a_hub_has_its_own_peers_and_waits_for_the_others,
     half_a_state_is_not_taken_for_the_whole, a_hub_that_starts_without_the_bus_joins_when_it_comes,
     a_call_reaches_a_peer_of_another_hub, a_call_for_which_there_is_no_room_is_busy,
     results_and_faults_pass_unchanged, the_deadline_and_the_hops_go_along,
     an_abort_goes_to_the_peer, a_subscription_is_held_back_as_far_as_the_peer,
     the_other_hub_authorizes_it, a_call_waits_for_its_hub_for_three_seconds,
     a_hub_that_cannot_be_reached_is_asked_last, a_hub_that_is_back_is_reached_at_once,
     a_peer_that_moves_is_found_by_the_next_call, a_peer_is_chosen_when_none_is_named,
     names_that_are_served_here_are_known, a_program_reaches_any_peer,
     peers_of_other_hubs_are_listed_with_their_hub, what_a_peer_serves_is_fetched_whole,
     what_cannot_be_fetched_is_told, a_set_is_that_which_was_announced,
     a_set_that_goes_while_it_is_fetched_holds_up_no_other,
     a_cluster_is_closed_and_opened_in_one_process, a_cluster_is_closed_in_the_middle_of_everything,
     calls_of_another_loop_cross_to_the_clusters)
