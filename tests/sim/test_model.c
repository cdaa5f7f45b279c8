/* Random sequences of everything that can happen to calls on two and three nodes: calls, nested calls, answers, values, aborts,
 * pauses, deadlines, slow and lost links, streams that overtake each other, frames in pieces, short memory, hooks that do all of this
 * themselves. Beside the nodes stands a small model: a record for each call with what was done to it, from which follows what
 * must have ended, what must still be pending, and how often each hook has run.
 *
 * The rules, once everything has arrived and every loop has turned:
 *   - each side of a call that has ended has run its hook once, each other side never;
 *   - the two sides end together, except that what continues goes on without its caller;
 *   - what was answered, aborted, cancelled, lost, late, or is below what has ended, has ended;
 *   - nothing else has ended, unless memory was short;
 *   - children's callbacks have run before their parent's hook; values arrive in order, none is missing.
 *
 * ALK_MODEL_STEPS (200,000) and ALK_MODEL_SEED set the length and the beginning; what fails prints its seed. */
#include "sim/model_link.h"

#include "core/node.h"
#include "core/services.h"

#include <stdarg.h>
#include <time.h>

#define NODES_MAX 3
#define LINKS_MAX 3
#define POOL 192
#define DEPTH_MAX 50
#define CHECK_EVERY 300 /* steps, about */
#define LIFE_STEPS 6000 /* of one set of nodes */
#define HOPS_MAX 8
#define LOCAL (-1)

#ifndef MODEL_STEPS
#define MODEL_STEPS 200000
#endif
#ifndef MODEL_SEED
#define MODEL_SEED 1
#endif

struct rec {
    unsigned n; /* its number, in its input; 0: not in use */
    /* the caller's side */
    int node, link,
        parent;     /* link LOCAL: nested, in the same node; parent: a record's index or -1 */
    unsigned epoch; /* of the link */
    alk_call *call;
    bool stream, composer, abort_called, paused, judged;
    bool down, lost, from_orphan,
        must_end; /* no link when it was made; the link went; made below an orphan */
    int policy, hops;
    int ends, why, values;
    char code[40], message[64];
    /* the executing side */
    alk_call *run;
    bool started, answered, failed, blocked, orphan, run_judged, run_must_end;
    int run_node, depth, run_ends, run_why, seq, refusals, drains;
};

struct model {
    uint64_t seed, random;
    uint64_t step;
    int nodes, links;
    struct world *w[NODES_MAX];
    struct net net[LINKS_MAX];
    struct rec pool[POOL];
    unsigned numbers;
    uint64_t now;
    bool short_memory, oom, cancelled[NODES_MAX], in_hook, quiet;
    unsigned long made, ended[5], runs, hooks, losses, ooms, checks;
};

static struct model m;
static uint64_t host_seed;
static const char *const op_names[] = {"x/query", "x/stream", "x/compose", "x/composing_stream"};
static const char *const node_names[] = {"n0", "n1", "n2"};

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            broken(__LINE__, #cond, __VA_ARGS__);                                                  \
    } while (0)

static void broken(int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

static void broken(int line, const char *cond, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr,
            "model: seed %llu, step %llu, line %d: %s is false: ", (unsigned long long)m.seed,
            (unsigned long long)m.step, line, cond);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

static uint32_t pick(uint32_t n)
{
    return below(&m.random, n);
}

static const char *show(const struct rec *r)
{
    static char text[400];

    snprintf(text, sizeof text,
             "call %u: node %d link %d parent %d policy %d stream %d hops %d; abort %d lost %d "
             "paused %d; ends %d why %d %s (%s) values %d; "
             "started %d at %d answered %d failed %d ends %d why %d seq %d orphan %d; oom %d",
             r->n, r->node, r->link, r->parent, r->policy, r->stream, r->hops, r->abort_called,
             r->lost, r->paused, r->ends, r->why, r->code, r->message, r->values, r->started,
             r->run_node, r->answered, r->failed, r->run_ends, r->run_why, r->seq, r->orphan,
             m.oom);
    return text;
}

/* ---- records ----------------------------------------------------------------------------------- */

static int index_of(const struct rec *r)
{
    return (int)(r - m.pool);
}

static struct rec *rec_new(void)
{
    for (unsigned i = 0, at = pick(POOL); i < POOL; i++, at = (at + 1) % POOL) {
        struct rec *r = &m.pool[at];

        if (!r->n) {
            memset(r, 0, sizeof *r);
            r->n = ++m.numbers * POOL + at;
            r->parent = -1;
            return r;
        }
    }
    return NULL;
}

static void rec_free(struct rec *r)
{
    alk_call_unref(r->call);
    alk_call_unref(r->run);
    for (int i = 0; i < POOL; i++) {
        if (m.pool[i].n && m.pool[i].parent == index_of(r))
            m.pool[i].parent = -2; /* had one, which is gone */
    }
    memset(r, 0, sizeof *r);
}

/* A random one that fits, or NULL. */
static struct rec *some(bool (*fits)(const struct rec *))
{
    for (unsigned i = 0, at = pick(POOL); i < POOL; i++, at = (at + 1) % POOL) {
        if (m.pool[at].n && fits(&m.pool[at]))
            return &m.pool[at];
    }
    return NULL;
}

static bool runs(const struct rec *r)
{
    return r->started && !r->run_ends;
}

static bool wanted(const struct rec *r)
{
    return r->call && !r->ends;
}

static bool composes(const struct rec *r)
{
    return runs(r) && r->composer && r->depth < DEPTH_MAX;
}

static bool streams(const struct rec *r)
{
    return runs(r) && r->stream;
}

static bool any(const struct rec *r)
{
    (void)r;
    return true;
}

/* Local ancestors that go on without their own parent. */
static bool below_orphan(const struct rec *r)
{
    while (!r->orphan && r->link == LOCAL && r->parent >= 0)
        r = &m.pool[r->parent];
    return r->orphan;
}

/* ---- callbacks --------------------------------------------------------------------------------- */

static void act_small(void);

static void maybe_act_in_hook(void)
{
    if (m.in_hook || m.quiet || pick(8))
        return;
    m.in_hook = true;
    m.hooks++;
    act_small();
    m.in_hook = false;
}

static void on_want_event(alk_call *call, const alk_value *value, void *ud)
{
    struct rec *r = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);
    int v;

    (void)call;
    CHECK(!r->ends, "%s", show(r));
    CHECK(!r->paused, "%s", show(r));
    r->values++;
    if (!text) {
        CHECK(m.oom, "%s", show(r));
        return;
    }
    CHECK(sscanf(text, "{\"v\":%d,", &v) == 1, "%s", text);
    CHECK(r->stream ? v == r->values : v == 0 && r->values == 1, "value %d: %s", v, show(r));
    maybe_act_in_hook();
}

static void on_want_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct rec *r = ud;

    (void)call;
    CHECK(!r->ends, "%s", show(r));
    CHECK((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT), "why %d: %s", why,
          show(r));
    r->ends++;
    r->why = why;
    m.ended[why]++;
    if (fault) {
        snprintf(r->code, sizeof r->code, "%s", fault->code);
        snprintf(r->message, sizeof r->message, "%s", fault->message);
    }
    maybe_act_in_hook();
}

static void on_run_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct rec *r = ud;

    CHECK(call == r->run, "%s", show(r));
    CHECK(!r->run_ends, "%s", show(r));
    CHECK((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT), "why %d: %s", why,
          show(r));
    r->run_ends++;
    r->run_why = why;
    if (why == ALK_END_ABORTED && r->link == LOCAL && r->policy == ALK_CONTINUE_RUNNING)
        CHECK(r->abort_called || r->answered || r->failed, "%s", show(r));
    for (int i = 0; i < POOL; i++) {
        struct rec *child = &m.pool[i];

        if (!child->n || !child->call || child->parent != index_of(r))
            continue;
        CHECK(child->ends == 1, "children first: of %u: %s", r->n, show(child));
        if (child->link == LOCAL && runs(child)) {
            CHECK(child->policy == ALK_CONTINUE_RUNNING, "%s", show(child));
            child->orphan = true;
        }
    }
    maybe_act_in_hook();
}

static void on_run_drain(alk_call *call, void *ud)
{
    struct rec *r = ud;

    CHECK(call == r->run && !r->run_ends, "%s", show(r));
    CHECK(++r->drains <= r->refusals, "%s", show(r));
    r->blocked = false;
    maybe_act_in_hook();
}

static int handler(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);
    struct world *w = ud;
    struct rec *r;
    unsigned n = 0;

    if (!text) {
        CHECK(m.oom, "no text of an input");
        return ALK_ENOMEM;
    }
    CHECK(sscanf(text, "{\"n\":%u", &n) == 1, "%s", text);
    r = &m.pool[n % POOL];
    CHECK(r->n == n, "%u is a record that is over", n);
    CHECK(!r->started, "%s", show(r));
    CHECK(r->hops <= HOPS_MAX, "%s", show(r));
    CHECK((context_of(call).parent_id != NULL) == (r->link == LOCAL), "%s", show(r));
    r->started = true;
    m.runs++;
    r->run = alk_call_ref(call);
    for (r->run_node = 0; m.w[r->run_node] != w; r->run_node++)
        ;
    r->depth = r->link == LOCAL && r->parent >= 0 ? m.pool[r->parent].depth + 1 : 0;
    CHECK(alk_call_on_end(call, on_run_end, r) == ALK_OK &&
              alk_call_on_drain(call, on_run_drain, r) == ALK_OK,
          "%s", show(r));
    maybe_act_in_hook();
    return ALK_OK;
}

/* ---- actions ----------------------------------------------------------------------------------- */

static void fill(struct rec *r, alk_call_options *o, char input[64], const char **operation)
{
    unsigned kind = pick(4);

    *o = (alk_call_options){.size = sizeof *o};
    r->stream = kind & 1;
    r->composer = kind >= 2;
    *operation = op_names[kind];
    o->stream = r->stream;
    o->on_event = on_want_event;
    o->on_end = on_want_end;
    o->ud = r;
    if (!pick(4))
        o->timeout_ms = 1 + pick(3000);
    snprintf(input, 64, "{\"n\":%u}", r->n);
}

static void made(struct rec *r, int rc)
{
    if (rc) {
        CHECK(rc == ALK_ENOMEM ? m.oom : rc == ALK_ECLOSED || rc == ALK_EENDED, "%d: %s", rc,
              show(r));
        CHECK(!r->call && !r->ends && !r->started, "%s", show(r));
        memset(r, 0, sizeof *r);
        return;
    }
    CHECK(r->call != NULL, "%s", show(r));
    m.made++;
}

/* Whether the side's connection can be called. */
static bool side_open(const struct net *n, int side)
{
    return n->ends[side].open;
}

static void act_call(void)
{
    struct net *n = &m.net[pick((uint32_t)m.links)];
    int side = (int)pick(2), rc;
    struct rec *r;
    alk_call_options o;
    const char *operation;
    char input[64];

    if (!n->ends[side].conn || !(r = rec_new()))
        return;
    fill(r, &o, input, &operation);
    r->node = n->ends[side].node;
    r->link = (int)(n - m.net);
    r->epoch = n->epoch;
    r->policy = ALK_ABORT_DEPENDENTS;
    rc = alk_connection_call(n->ends[side].conn, TEXT(operation), TEXT(input), &o, &r->call);
    if (rc == ALK_ECLOSED)
        CHECK(m.oom || !side_open(n, side), "%s", show(r));
    made(r, rc);
}

static int link_between(int a, int b, int *side)
{
    for (int i = 0; i < m.links; i++) {
        for (*side = 0; *side < 2; ++*side) {
            if (m.net[i].ends[*side].node == a && m.net[i].ends[!*side].node == b)
                return i;
        }
    }
    return LOCAL;
}

static void act_invoke(void)
{
    struct rec *p = some(composes), *r;
    alk_call_options o;
    const char *operation;
    char input[64];
    int to, side;

    if (!p || !(r = rec_new()))
        return;
    fill(r, &o, input, &operation);
    r->node = p->run_node;
    r->parent = index_of(p);
    r->link = LOCAL;
    r->hops = p->hops;
    to = (int)pick((uint32_t)m.nodes);
    if (to != r->node) {
        r->link = link_between(r->node, to, &side);
        r->epoch = m.net[r->link].epoch;
        r->hops++;
        r->down = !side_open(&m.net[r->link], side);
        o.selector =
            pick(2) || !m.net[r->link].ends[side].conn ? ALK_SELECT_PEER : ALK_SELECT_CONNECTION;
        o.peer = node_names[to];
        o.connection = m.net[r->link].ends[side].conn;
    }
    o.policy = pick(3);
    /* A run that came by the wire is a root: its own policy is the default. */
    r->policy = o.policy ? (int)o.policy : p->link == LOCAL ? p->policy : ALK_ABORT_DEPENDENTS;
    r->from_orphan = below_orphan(p);
    made(r, alk_call_invoke(p->run, TEXT(operation), TEXT(input), &o, &r->call));
}

static void act_answer(void)
{
    struct rec *r = some(pick(8) ? runs : any);
    alk_fault f = {.size = sizeof f, .code = "OWN", .message = "own"};
    int rc;

    if (!r || !r->run)
        return;
    if (!pick(4)) {
        rc = alk_call_fail(r->run, &f);
        r->failed |= rc == ALK_OK;
    } else if (r->stream) {
        rc = alk_call_complete(r->run);
        r->answered |= rc == ALK_OK;
    } else {
        rc = alk_call_reply(r->run, TEXT("{\"v\":0,\"x\":1}"));
        r->answered |= rc == ALK_OK;
    }
    CHECK(rc == ALK_OK || rc == ALK_EENDED || (rc == ALK_ENOMEM && m.oom), "%d: %s", rc, show(r));
    if (r->run_ends)
        CHECK(rc == ALK_EENDED, "%d: %s", rc, show(r));
}

static void act_emit(void)
{
    static char pad[6000];
    char text[6100];
    struct rec *r = some(streams);
    int rc, many = 1 + (int)pick(4);

    if (!r)
        return;
    memset(pad, 'x', sizeof pad - 1);
    for (int i = 0; i < many; i++) {
        snprintf(text, sizeof text, "{\"v\":%d,\"pad\":\"%.*s\"}", r->seq + 1,
                 (int)(pick(4) ? pick(20) : pick(6000)), pad);
        rc = alk_call_emit(r->run, TEXT(text));
        CHECK(rc == ALK_OK || rc == ALK_EENDED || rc == ALK_EAGAIN || (rc == ALK_ENOMEM && m.oom),
              "%d: %s", rc, show(r));
        r->seq += rc == ALK_OK;
        r->refusals += rc == ALK_EAGAIN;
        r->blocked |= rc == ALK_EAGAIN;
    }
}

static void act_abort(void)
{
    struct rec *r = some(pick(8) ? wanted : any);
    int rc;

    if (!r || !r->call)
        return;
    rc = alk_call_abort(r->call);
    CHECK(rc == ALK_OK || rc == ALK_EENDED || rc == ALK_EINVAL, "%d: %s", rc, show(r));
    /* It may have ended, with values that nobody has taken: those are dropped. */
    r->abort_called |= rc == ALK_OK || (rc == ALK_EENDED && !r->ends);
    if (r->ends)
        CHECK(rc != ALK_OK, "%s", show(r));
}

static void act_pause(void)
{
    struct rec *r = some(wanted);
    int on = (int)pick(2);

    if (r && alk_call_pause(r->call, on) == ALK_OK)
        r->paused = on;
}

static void mark_lost(const struct net *n)
{
    for (int i = 0; i < POOL; i++) {
        struct rec *r = &m.pool[i];

        if (r->n && r->link == (int)(n - m.net) && r->epoch == n->epoch)
            r->lost = true;
    }
}

static void on_closed(struct net *n, int side, void *ud)
{
    (void)side;
    (void)ud;
    mark_lost(n);
}

static void act_lose(void)
{
    struct net *n = &m.net[pick((uint32_t)m.links)];
    struct end *e = &n->ends[pick(2)];

    if (!e->open || !e->conn)
        return;
    m.losses++;
    if (pick(2)) {
        link_lose(e);
        return;
    }
    mark_lost(n);
    e->open = false; /* its link is closed in the coming turn */
    alk_connection_close(e->conn, ALK_CLOSE_SHUTDOWN);
}

/* The other side notices, or the two come together again. */
static void act_notice(struct net *n)
{
    alk_dispatcher *d[2];
    const char *names[2];
    alk_operation ops[4];

    for (int side = 0; side < 2; side++) {
        struct end *e = &n->ends[side];

        if (e->open && !far_end(e)->open)
            link_lose(e);
    }
    if (n->ends[0].open)
        return;
    for (int side = 0; side < 2; side++) {
        int node = n->ends[side].node;
        struct memory *mem = &m.w[node]->memory;

        alk_connection_unref(n->ends[side].conn);
        n->ends[side].conn = NULL;
        d[side] = m.w[node]->d;
        names[side] = node_names[node];
        mem->fail_in = 0;
        mem->failed = false;
        for (size_t i = n->ends[side].count; i--;)
            lane_drop(&n->ends[side], i);
        alk_dispatcher_turn(d[side], m.now); /* the old one is gone for good */
    }
    for (int i = 0; i < 4; i++)
        op_fill(&ops[i],
                &(struct op){.name = op_names[i], .type = i & 1 ? ALK_SUBSCRIPTION : ALK_QUERY});
    n->with_streams = pick(2);
    n->reroute = pick(2);
    link_open(n, d, names, ops, 4);
}

static void act_cancel(void)
{
    int node = (int)pick((uint32_t)m.nodes);

    m.cancelled[node] = true;
    for (int i = 0; i < POOL; i++) {
        struct rec *r = &m.pool[i];

        if (r->n && r->call && r->node == node)
            r->must_end = true;
        if (r->n && r->started && r->run_node == node)
            r->run_must_end = true;
    }
    dispatcher_cancel_all(m.w[node]->d);
}

static void act_small(void)
{
    switch (pick(6)) {
    case 0:
        act_abort();
        break;
    case 1:
        act_emit();
        break;
    case 2:
        act_invoke();
        break;
    case 3:
        if (!pick(40))
            act_lose();
        break;
    case 4:
        act_pause();
        break;
    default:
        act_answer();
        break;
    }
}

static void act_move(void)
{
    static const size_t pieces[] = {1, 1, 3, 10, 100, 1000, 4096};
    struct net *n = &m.net[pick((uint32_t)m.links)];
    struct end *e = &n->ends[pick(2)];
    size_t most = pieces[pick(7)];

    if (!e->count)
        return;
    for (int i = 0; i < 8 && e->count; i++)
        link_move(e, e->lanes[pick((uint32_t)e->count)], most);
}

static void act_turn(int node)
{
    alk_dispatcher_turn(m.w[node]->d, m.now);
}

static void step(void)
{
    uint32_t dice = pick(1000);

    if (dice < 120)
        act_call();
    else if (dice < 220)
        act_invoke();
    else if (dice < 300)
        act_answer();
    else if (dice < 360)
        act_emit();
    else if (dice < 400)
        act_abort();
    else if (dice < 440)
        act_pause();
    else if (dice < 690)
        act_move();
    else if (dice < 950)
        act_turn((int)pick((uint32_t)m.nodes));
    else if (dice < 975)
        m.now += pick(50) * MS;
    else if (dice < 982)
        m.net[pick((uint32_t)m.links)].capacity[pick(2)] = pick(2) ? 0 : pick(20000);
    else if (dice < 985)
        act_lose();
    else if (dice < 990)
        act_notice(&m.net[pick((uint32_t)m.links)]);
    else if (dice < 991)
        act_cancel();
    else if (dice < 994 && m.short_memory) {
        struct memory *mem = &m.w[pick((uint32_t)m.nodes)]->memory;

        m.oom = true;
        m.ooms++;
        mem->failed = false;
        mem->fail_all = pick(4) == 0;
        mem->fail_in = 1 + (long)pick(20);
    } else if (dice < 997) {
        struct memory *mem = &m.w[pick((uint32_t)m.nodes)]->memory;

        mem->failed = mem->fail_all = false;
        mem->fail_in = 0;
    }
}

/* ---- the judgement ----------------------------------------------------------------------------- */

static void settle_all(void)
{
    size_t moved;
    int calm = 0;

    m.quiet = true;
    for (int i = 0; i < m.nodes; i++) {
        m.w[i]->memory.fail_in = 0;
        m.w[i]->memory.failed = m.w[i]->memory.fail_all = false;
    }
    for (int i = 0; i < m.links; i++)
        m.net[i].capacity[0] = m.net[i].capacity[1] = SIZE_MAX;
    for (int i = 0; i < POOL; i++) {
        if (m.pool[i].call && m.pool[i].paused && alk_call_pause(m.pool[i].call, 0) == ALK_OK)
            m.pool[i].paused = false;
    }
    for (int round = 0; calm < 12; round++) {
        CHECK(round < 3000, "it never becomes calm");
        moved = 0;
        for (int i = 0; i < m.nodes; i++)
            act_turn(i);
        for (int i = 0; i < m.links; i++) {
            if (!m.net[i].ends[0].open || !m.net[i].ends[1].open)
                act_notice(&m.net[i]);
            for (int side = 0; side < 2; side++) {
                struct end *e = &m.net[i].ends[side];

                for (size_t k = 0; k < e->count; k++)
                    moved += link_move(e, e->lanes[k], 4096);
                if (far_end(e)->wants_room && far_end(e)->open) {
                    far_end(e)->wants_room = false;
                    alk_connection_writable(far_end(e)->conn);
                }
            }
        }
        calm = moved ? 0 : calm + 1;
    }
    for (int i = 0; i < m.links; i++)
        lanes_tidy(&m.net[i]);
    m.quiet = false;
}

static bool is(const struct rec *r, const char *code, const char *message)
{
    return !strcmp(r->code, code) && (!message || !strcmp(r->message, message));
}

static bool parent_ended(const struct rec *r)
{
    return r->parent == -2 || (r->parent >= 0 && m.pool[r->parent].run_ends);
}

static bool late(const alk_call *call)
{
    return call && context_of(call).deadline <= m.now;
}

static int serving_node(const struct rec *r)
{
    const struct net *n = &m.net[r->link == LOCAL ? 0 : r->link];

    return r->link == LOCAL ? r->node : n->ends[n->ends[0].node == r->node].node;
}

/* Is there a reason for the caller's side to have ended as it did? */
static bool want_justified(const struct rec *r)
{
    switch (r->why) {
    case ALK_END_OK:
        return r->answered && r->values == (r->stream ? r->seq : 1);
    case ALK_END_ABORTED:
        return r->abort_called || parent_ended(r);
    case ALK_END_TIMEOUT:
        return late(r->call) && is(r, "TIMEOUT", NULL);
    case ALK_END_CLOSED:
        return m.cancelled[r->node];
    default:
        return (is(r, "OWN", "own") && r->failed) ||
               (is(r, "NOT_FOUND", NULL) && (r->hops > HOPS_MAX || r->down)) ||
               (is(r, "INTERNAL", "connection closed") && (r->lost || r->down)) ||
               (is(r, "INTERNAL", "parent aborted") &&
                (r->from_orphan || (r->parent >= 0 && below_orphan(&m.pool[r->parent])))) ||
               (is(r, "BUSY", "shutting down") && m.cancelled[serving_node(r)]) ||
               (is(r, "TIMEOUT", NULL) && (late(r->call) || late(r->run))) ||
               (is(r, "TOO_SLOW", NULL) && r->stream);
    }
}

static bool run_justified(const struct rec *r)
{
    switch (r->run_why) {
    case ALK_END_OK:
        return r->answered;
    case ALK_END_FAULT:
        return r->failed;
    case ALK_END_TIMEOUT:
        return late(r->run);
    case ALK_END_CLOSED:
        return r->lost || m.cancelled[r->run_node];
    default:
        return r->ends && (r->why != ALK_END_OK || r->answered) && !is(r, "OWN", NULL);
    }
}

/* It goes on though its caller has been told of its end. */
static bool continues(const struct rec *r)
{
    return r->policy == ALK_CONTINUE_RUNNING && r->why == ALK_END_ABORTED && !r->abort_called &&
           parent_ended(r);
}

static bool want_must_end(const struct rec *r)
{
    return r->abort_called || r->lost || r->must_end || r->down || r->from_orphan ||
           r->hops > HOPS_MAX || r->answered || r->failed || r->run_ends || parent_ended(r) ||
           late(r->call) || late(r->run);
}

static bool run_must_end(const struct rec *r)
{
    return r->answered || r->failed || r->lost || r->run_must_end || late(r->run) ||
           (r->ends && !continues(r));
}

static void judge(struct rec *r)
{
    CHECK(r->ends <= 1 && r->run_ends <= 1, "%s", show(r));
    CHECK(r->ends || !want_must_end(r), "the caller waits for ever: %s", show(r));
    CHECK(!r->started || r->run_ends || !run_must_end(r), "the handler runs for nobody: %s",
          show(r));
    if (!r->ends && !m.oom) {
        CHECK(r->started, "never started: %s", show(r));
        CHECK(!r->stream || r->values == r->seq, "values are missing: %s", show(r));
        CHECK(!r->blocked, "on_drain never came: %s", show(r));
    }
    if (r->ends && !r->judged)
        CHECK(m.oom || want_justified(r), "the caller's side ended for no reason: %s", show(r));
    if (r->run_ends && !r->run_judged)
        CHECK(m.oom || run_justified(r), "the handler's side ended for no reason: %s", show(r));
    r->judged |= r->ends;
    r->run_judged |= r->run_ends;
}

static void check_all(void)
{
    m.checks++;
    settle_all();
    for (int i = 0; i < POOL; i++) {
        if (m.pool[i].n)
            judge(&m.pool[i]);
    }
    for (int i = 0; i < POOL; i++) {
        struct rec *r = &m.pool[i];

        if (r->n && r->ends && (!r->started || r->run_ends))
            rec_free(r);
    }
    m.oom = false;
    memset(m.cancelled, 0, sizeof m.cancelled);
}

/* Ends all there is: then no table holds anything. */
static void check_empty(void)
{
    check_all();
    for (int i = 0; i < POOL; i++) {
        if (m.pool[i].n && m.pool[i].call && alk_call_abort(m.pool[i].call) == ALK_OK)
            m.pool[i].abort_called = true;
        if (m.pool[i].run && !m.pool[i].run_ends)
            m.pool[i].answered |=
                (m.pool[i].stream
                     ? alk_call_complete(m.pool[i].run)
                     : alk_call_reply(m.pool[i].run, TEXT("{\"v\":0,\"x\":1}"))) == ALK_OK;
    }
    check_all();
    for (int i = 0; i < POOL; i++)
        CHECK(!m.pool[i].n, "%s", show(&m.pool[i]));
    for (int i = 0; i < m.nodes; i++)
        CHECK(world_stats(m.w[i]).calls == 0, "node %d has %llu calls", i,
              (unsigned long long)world_stats(m.w[i]).calls);
}

/* ---- nodes come and go ------------------------------------------------------------------------- */

static int model_random(void *out, size_t len)
{
    unsigned char *p = out;

    while (len--)
        *p++ = (unsigned char)next_random(&host_seed);
    return 0;
}

static struct world *node_start(int i)
{
    static struct host host;
    struct world *w = world_new();

    host = *host_default();
    host.random = model_random;
    w->options.log_level = ALK_LOG_ERROR;
    w->limits.queue_high = 4096 + pick(8192);
    alk_registry_unref(w->reg);
    w->reg = registry_new(&host);
    ck_assert_ptr_nonnull(w->reg);
    ck_assert_int_eq(services_register(w->reg), ALK_OK);
    for (int k = 0; k < 4; k++)
        add_op(w, &(struct op){.name = op_names[k],
                               .type = k & 1 ? ALK_SUBSCRIPTION : ALK_QUERY,
                               .handler = handler,
                               .ud = w,
                               .environment = "{\"allowed_ops\":[\"x/*\"]}"});
    ck_assert_int_eq(alk_registry_freeze(w->reg), ALK_OK);
    ck_assert_int_eq(node_new(&w->node, w->reg, &w->options, &host), ALK_OK);
    ck_assert_int_eq(alk_dispatcher_new(&w->d, w->node), ALK_OK);
    (void)i;
    return w;
}

static void life_start(void)
{
    static const int pairs[LINKS_MAX][2] = {{0, 1}, {1, 2}, {2, 0}};

    m.nodes = 2 + (int)pick(2);
    m.links = m.nodes == 2 ? 1 : 3;
    m.now = WORLD_NOW;
    m.short_memory = pick(2);
    for (int i = 0; i < m.nodes; i++)
        m.w[i] = node_start(i);
    for (int i = 0; i < m.nodes; i++)
        act_turn(i);
    for (int i = 0; i < m.links; i++) {
        struct net *n = &m.net[i];

        memset(n, 0, sizeof *n);
        mem_init(&n->mem, NULL, NULL);
        n->random = &m.random;
        n->closed = on_closed;
        n->capacity[0] = n->capacity[1] = 1u << 20;
        for (int side = 0; side < 2; side++) {
            n->ends[side].net = n;
            n->ends[side].side = side;
            n->ends[side].node = pairs[i][side];
        }
        act_notice(n);
    }
}

/* In the middle of everything: whatever is pending or running ends, once. */
static void life_stop(void)
{
    m.quiet = true;
    for (int i = 0; i < m.nodes; i++) {
        m.w[i]->memory.fail_in = 0;
        m.w[i]->memory.failed = m.w[i]->memory.fail_all = false;
    }
    for (int i = 0; i < m.nodes; i++) {
        alk_dispatcher_free(m.w[i]->d);
        m.w[i]->d = NULL;
    }
    for (int i = 0; i < m.links; i++) {
        for (int side = 0; side < 2; side++) {
            struct end *e = &m.net[i].ends[side];

            alk_connection_unref(e->conn);
            while (e->count)
                lane_drop(e, e->count - 1);
            free(e->lanes);
        }
        CHECK(m.net[i].mem.live == 0, "link %d keeps memory", i);
    }
    for (int i = 0; i < POOL; i++) {
        struct rec *r = &m.pool[i];

        if (!r->n)
            continue;
        CHECK(r->ends == 1, "%s", show(r));
        CHECK(!r->started || r->run_ends == 1, "%s", show(r));
        rec_free(r);
    }
    for (int i = 0; i < m.nodes; i++)
        world_free(m.w[i]);
    m.quiet = m.oom = false;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(calls_end_once_on_both_sides_whatever_happens)
{
    uint64_t steps = setting("ALK_MODEL_STEPS", MODEL_STEPS);
    uint64_t life_end;

    m.seed = setting("ALK_MODEL_SEED", MODEL_SEED);
    m.random = m.seed;
    host_seed = ~m.seed;
    while (m.step < steps) {
        life_start();
        life_end = m.step + LIFE_STEPS / 2 + pick(LIFE_STEPS);
        while (m.step < life_end && m.step < steps) {
            m.step++;
            step();
            if (!pick(CHECK_EVERY)) {
                check_all();
                if (!pick(8))
                    check_empty();
            }
        }
        if (pick(2))
            check_empty();
        life_stop();
    }
    fprintf(stderr,
            "model: seed %llu: %llu steps, %lu calls (%lu ok, %lu faults, %lu aborted, %lu late, "
            "%lu closed), %lu ran, %lu acts in hooks, "
            "%lu losses, %lu shortages of memory, %lu checks\n",
            (unsigned long long)m.seed, (unsigned long long)m.step, m.made, m.ended[0], m.ended[1],
            m.ended[2], m.ended[3], m.ended[4], m.runs, m.hooks, m.losses, m.ooms, m.checks);
    ck_assert_uint_gt(m.made, steps / 20);
    ck_assert_uint_gt(m.runs, steps / 40);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("model");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 280);
    tcase_add_test(tcase, calls_end_once_on_both_sides_whatever_happens);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
