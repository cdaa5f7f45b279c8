/* Chaos without a loop, and so the same for each seed: two dispatchers of one node, connections
 * between them and to robots, which are remotes that say whatever they like. The clock is the
 * test's. */
#include "soak/chaos_check.h"

#define LINKS 10u
#define ASKED 8u

/* What a robot was asked and has not answered. */
struct asked {
    char id[40];
    uint64_t stream;
    char what; /* of the operation: 'l' services/list, 's' services/schema, or another */
    char name[64];
};

/* One end that the test holds: a robot's, or one of a pair. */
struct link {
    alk_connection *c; /* a reference; NULL: unused */
    bool robot, linked, slow;
    unsigned at; /* of the dispatcher */
    unsigned count, imports, imported;
    struct asked asked[ASKED];
};

static struct link links[LINKS];
static uint64_t now, streams;

/* ---- the robot's link ------------------------------------------------------------------------ */

static bool member(const char *envelope, size_t len, const char *key, char *out, size_t size)
{
    const char *p = memmem(envelope, len, key, strlen(key)), *end;

    if (!p)
        return false;
    p += strlen(key);
    end = memchr(p, '"', (size_t)(envelope + len - p));
    if (!end || (size_t)(end - p) >= size)
        return false;
    memcpy(out, p, (size_t)(end - p));
    out[end - p] = 0;
    return true;
}

static void lose(struct link *l)
{
    if (!l->linked)
        return;
    l->linked = false;
    alk_connection_lost(l->c);
}

static int robot_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct link *l = ud;
    struct asked *a;
    char name[64];

    CHECK(l->c && l->linked);
    if (l->slow)
        return ALK_EAGAIN;
    if (one_in(300)) {
        lose(l);
        return ALK_OK;
    }
    if (one_in(300))
        return ALK_ESYSTEM;
    if (strncmp(envelope, "{\"type\":\"call.requested\"", 24))
        return ALK_OK;
    a = &l->asked[l->count++ % ASKED];
    memset(a, 0, sizeof *a);
    if (!member(envelope, len, "\"id\":\"", a->id, sizeof a->id) ||
        !member(envelope, len, "\"operationId\":\"/", name, sizeof name))
        return ALK_OK;
    a->stream = stream;
    a->what = !strcmp(name, "services/list") ? 'l' : !strcmp(name, "services/schema") ? 's' : 'c';
    member(envelope, len, "\"name\":\"", a->name, sizeof a->name);
    return ALK_OK;
}

static void robot_flush(void *ud)
{
    struct link *l = ud;

    CHECK(l->c && l->linked);
    if (one_in(500))
        lose(l);
}

static void robot_pause(void *ud, uint64_t stream, int paused)
{
    struct link *l = ud;

    (void)stream, (void)paused;
    CHECK(l->c && l->linked);
}

static uint64_t robot_open_stream(void *ud)
{
    struct link *l = ud;

    CHECK(l->c && l->linked);
    if (one_in(200))
        lose(l);
    return ++streams;
}

static void robot_close(void *ud, int code)
{
    struct link *l = ud;

    (void)code;
    CHECK(l->c && l->linked);
    l->linked = false;
}

/* ---- what robots say ------------------------------------------------------------------------- */

static void feed(struct link *l, uint64_t stream, const char *text)
{
    alk_connection_feed(l->c, stream, text, strlen(text));
}

/* From few ids, so that they meet: in use, aborted before, over. */
static void robot_request(struct link *l)
{
    static char text[30000];
    const char *name = PICK(names);
    char more[200] = "";

    if (one_in(8))
        snprintf(more, sizeof more, ",\"auth_token\":\"%s\"",
                 one_in(4) ? "alk_nobody" : PICK(tokens));
    else if (one_in(4))
        strcpy(more, ",\"forwarded_for\":{\"id\":\"z\",\"scopes\":[],\"resources\":{}},\"hops\":2");
    else if (one_in(4))
        snprintf(more, sizeof more, ",\"timeout_ms\":%u", 1 + pick(300));
    snprintf(text, sizeof text,
             "{\"type\":\"call.requested\",\"id\":\"%u\",\"payload\":{\"operationId\":\"/%s\","
             "\"input\":%s%s}}",
             pick(60), name, some_input(name), more);
    feed(l, pick(3), text);
}

/* The list and the specifications are right, as a rule. */
static void robot_answer(struct link *l)
{
    static const char *const types[] = {"call.responded", "call.error", "call.completed",
                                        "call.aborted", "call.responded"};
    const struct asked a = l->asked[pick(ASKED)];
    char text[1000], payload[600] = "{\"output\":{\"v\":1}}";
    const char *type = PICK(types);

    if (!*a.id)
        return;
    if (a.what != 'c' && !one_in(10))
        type = types[0];
    if (a.what == 'l')
        snprintf(payload, sizeof payload,
                 "{\"output\":{\"operations\":[{\"name\":\"r/one\"},{\"name\":\"r/many\"}%s]}}",
                 one_in(20) ? ",{\"name\":\"r/one\"}" : "");
    if (a.what == 's')
        snprintf(payload, sizeof payload,
                 "{\"output\":{\"name\":\"%s\",\"namespace\":\"r\",\"op_type\":\"%s\","
                 "\"visibility\":\"external\",\"input_schema\":null,\"output_schema\":null,"
                 "\"error_schemas\":[],\"access_control\":{\"required_scopes\":[]}}}",
                 a.name, !strcmp(a.name, "r/many") ? "subscription" : "query");
    if (!strcmp(type, "call.error"))
        strcpy(payload, "{\"code\":\"X\",\"message\":\"no\",\"retryable\":false}");
    snprintf(text, sizeof text, "{\"type\":\"%s\",\"id\":\"%s\",\"payload\":%s}", type, a.id,
             payload);
    feed(l, a.stream, text);
}

static void robot_says(struct link *l)
{
    static const char *const odd[] = {"{\"type\":\"call.unheard\",\"id\":\"1\",\"payload\":{}}",
                                      "{\"type\":\"call.responded\",\"id\":\"1\",\"payload\":{}}",
                                      "{", ""};
    char text[100];

    switch (pick(16)) {
    case 0:
    case 1:
        snprintf(text, sizeof text, "{\"type\":\"call.aborted\",\"id\":\"%u\",\"payload\":{}}",
                 pick(60));
        feed(l, 0, text);
        break;
    case 2:
        if (one_in(10))
            feed(l, 0, PICK(odd));
        break;
    case 3:
        l->slow = one_in(3);
        if (!l->slow)
            alk_connection_writable(l->c);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        robot_request(l);
        break;
    default:
        robot_answer(l);
        break;
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static struct link *unused(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        if (!links[i].c)
            return &links[i];
    }
    return NULL;
}

static struct link *some_link(void)
{
    struct link *l = &links[pick(LINKS)];

    return l->c ? l : NULL;
}

static alk_connection *some_connection(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        const struct link *l = some_link();

        if (l && l->at == 0)
            return l->c;
    }
    return NULL;
}

static void register_by_hand(alk_connection *c)
{
    static const char *const served[] = {"x/c/later", "x/c/stream", "x/c/hand"};
    alk_operation ops[3];

    for (size_t i = 0; i < 3; i++) {
        alk_operation_init(&ops[i], sizeof ops[i]);
        ops[i].name = served[i];
    }
    ops[1].type = ALK_SUBSCRIPTION;
    ops[2].handler = serve;
    ops[2].environment = "{\"allowed_ops\":[\"x/*\"]}";
    alk_connection_register_imported(c, ops, 3);
}

/* One that is not gone, or is just going. */
static bool some_dispatcher(unsigned *at)
{
    *at = pick(NODES);
    if (!here.d[*at])
        *at = !*at;
    return here.d[*at] != NULL;
}

static void open_robot(void)
{
    alk_link how = {.size = sizeof how,
                    .send = robot_send,
                    .flush = robot_flush,
                    .pause = robot_pause,
                    .close = robot_close};
    struct link *l = unused();
    alk_connection_options o;
    char print[80];

    unsigned at;

    if (!l || !some_dispatcher(&at))
        return;
    memset(l, 0, sizeof *l);
    how.ud = l;
    if (one_in(2))
        how.open_stream = robot_open_stream;
    connection_options(&o, print);
    l->robot = true;
    l->at = at;
    l->linked = !alk_connection_open(&l->c, here.d[l->at], &how, &o);
    CHECK(l->linked == (l->c != NULL));
    if (l->c && one_in(3))
        register_by_hand(l->c);
    alk_identity_unref(o.identity);
}

static void open_pair(void)
{
    struct link *a = unused(), *b;
    alk_connection_options ao, bo;
    alk_connection *ac, *bc;
    char print[2][80];
    unsigned one, other;

    if (!a || !some_dispatcher(&one) || !some_dispatcher(&other))
        return;
    connection_options(&ao, print[0]);
    connection_options(&bo, print[1]);
    if (!alk_pair_open(here.d[one], &ao, &ac, here.d[other], &bo, &bc)) {
        *a = (struct link){.c = ac, .at = one};
        b = unused();
        if (b)
            *b = (struct link){.c = bc, .at = other};
        else
            alk_connection_unref(bc);
        if (one_in(3))
            register_by_hand(ac);
    }
    alk_identity_unref(ao.identity);
    alk_identity_unref(bo.identity);
}

/* The link's memory goes when nobody can call it any more. */
static void forget(struct link *l)
{
    alk_connection *c = l->c;

    if (l->linked || l->imports)
        return;
    memset(l, 0, sizeof *l);
    alk_connection_unref(c);
}

static void on_imported(alk_connection *c, int rc, size_t count, const char *message, void *ud)
{
    struct link *l = ud;

    (void)message;
    CHECK(l->c == c && l->imports && (!rc || !count));
    l->imports--;
    hook();
}

static void import(struct link *l)
{
    alk_import_options o = {.size = sizeof o};

    o.namespace_prefix = one_in(2) ? "x" : NULL;
    l->imports += !alk_connection_import(l->c, &o, on_imported, l);
}

static void call_out(struct link *l)
{
    const char *name = PICK(names), *input = some_input(name);
    alk_call_options o;
    struct want *w = want_new(&o);
    alk_call *call;
    int rc;

    if (!w)
        return;
    rc = alk_connection_call(l->c, TEXT(name), TEXT(input), &o, &call);
    want_made(w, rc, call);
}

static void act_link(struct link *l)
{
    switch (pick(32)) {
    case 0:
        if (one_in(6))
            alk_connection_close(l->c, (int)pick(4));
        break;
    case 1:
        if (l->robot && one_in(6))
            lose(l);
        break;
    case 2:
        alk_connection_writable(l->c);
        break;
    case 3:
        import(l);
        break;
    case 4:
        register_by_hand(l->c);
        break;
    case 5:
        if (l->c->closing >= 0)
            forget(l);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
        call_out(l);
        break;
    default:
        for (unsigned i = pick(4); l->robot && i; i--)
            robot_says(l);
        break;
    }
}

/* Within callbacks, also of connections: everything but turns. */
static void act(void)
{
    struct link *l = some_link();

    if (one_in(2))
        act_common();
    else if (l)
        act_link(l);
    else if (one_in(3))
        open_robot();
}

/* ---- a life ---------------------------------------------------------------------------------- */

static void turn(unsigned i)
{
    uint64_t next;

    if (!here.d[i])
        return;
    next = alk_dispatcher_turn(here.d[i], now);
    if (next != UINT64_MAX && next > now && one_in(8))
        now = next;
}

/* The second one comes and goes; what leads to it is lost. */
static void restart_other(void)
{
    if (here.d[1])
        alk_dispatcher_free(here.d[1]);
    here.d[1] = NULL;
    if (one_in(3))
        return;
    alk_dispatcher_new(&here.d[1], here.node);
    if (here.d[1])
        alk_dispatcher_now(here.d[1], now);
}

static void step(void)
{
    unsigned what = pick(100);

    if (one_in(100))
        act_shortage();
    if (what < 30) {
        turn(pick(NODES));
    } else if (what < 34) {
        open_robot();
    } else if (what < 36) {
        open_pair();
    } else if (what < 37 && one_in(10)) {
        restart_other();
    } else if (what < 38) {
        now += pick(3) ? pick(20) * MS : 1000 * MS;
    } else {
        for (unsigned i = pick(8); i; i--)
            act();
    }
    if (one_in(4) || what < 30)
        shortage_over();
    check();
    here.step++;
    here.steps++;
}

static void end(void)
{
    bool early = one_in(2);

    shortage_over();
    if (one_in(2))
        alk_dispatcher_drain(here.d[0]);
    for (unsigned i = pick(60); i; i--)
        step();
    shortage_over();
    for (unsigned i = 0; early && i < LINKS; i++) {
        if (links[i].c && links[i].c->closing >= 0)
            forget(&links[i]);
    }
    for (unsigned i = 0; i < NODES; i++) {
        alk_dispatcher_free(here.d[i]);
        here.d[i] = NULL;
        if (here.d[1])
            check();
    }
    here.quiet = true;
    for (unsigned i = 0; i < LINKS; i++) {
        CHECK(!links[i].linked && !links[i].imports);
        if (links[i].c)
            forget(&links[i]);
    }
    drop_calls();
    node_down();
}

static void life(void)
{
    memset(links, 0, sizeof links);
    here.act = act;
    here.some_connection = some_connection;
    now = 1000000 * MS;
    node_up();
    CHECK(!alk_dispatcher_new(&here.d[1], here.node));
    for (unsigned i = 100 + pick(4000); i; i--)
        step();
    end();
}

START_TEST(whatever_happens_nothing_is_left_and_nothing_dangles)
{
    chaos_lives("chaos", life);
}
END_TEST

int main(void)
{
    return chaos("chaos", whatever_happens_nothing_is_left_and_nothing_dangles);
}
