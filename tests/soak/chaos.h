/* What the chaos tests share. Everything that can happen to a node happens at random moments: calls
 * come and go, are answered, aborted and held, identities and limits are replaced, memory runs
 * short. What a test of its own brings (links, sockets) is in `act`, which callbacks run as well.
 *
 * Beside each step stands the check: what is shut is in no table, the tables agree with each other,
 * each call has one end. After the last of the node's objects is gone no memory is left, and no
 * gauge of the metrics.
 *
 * ALK_CHAOS_SECONDS (10) and ALK_CHAOS_SEED set the length and the beginning; what fails prints its
 * seed. A life, from the making of a node to its end, has a seed of its own, which is the one that
 * is printed: so a failure is repeated in the time of one life. */
#ifndef TESTS_SOAK_CHAOS_H
#define TESTS_SOAK_CHAOS_H

#include "core/connection.h"
#include "core/node.h"
#include "support/memory.h"
#include "support/suite.h"

#include <alknet/alknet.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT(s) (s), strlen(s)
#define MS UINT64_C(1000000)
#define TOKENS 6u
#define PEERS 4u
#define POOL 96u
#define NODES 2u

/* The caller's side of a call, and the handler's. */
struct want {
    bool used, stream;
    alk_call *call; /* a reference; NULL: none was kept */
    int ends, values;
};

struct run {
    bool used, stream;
    alk_call *call; /* a reference */
    int ends;
};

/* The identities, one member of which a reload changes. An owner from PEERS on: a key, nobody. */
struct config {
    unsigned owner[TOKENS], scopes[PEERS];
    bool enabled[PEERS], may_forward[PEERS], websocket[PEERS], expires;
};

static struct chaos {
    uint64_t seed, random, step, lives, steps;
    struct memory memory;
    alk_registry *reg;
    alk_identities *ids;
    alk_identity_provider provider;
    struct config config;
    alk_node *node;
    alk_dispatcher *d[NODES];
    struct want wants[POOL];
    struct run runs[POOL];
    unsigned depth;
    bool quiet; /* hooks do nothing */
    unsigned long calls, hooks, reloads, shortages;
    void (*act)(void);                        /* something small, also from within callbacks */
    alk_connection *(*some_connection)(void); /* NULL: there is none */
} here;

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x))                                                                                  \
            chaos_broken(__FILE__, __LINE__, #x);                                                  \
    } while (0)

static inline void chaos_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, what);
    abort();
}

static inline uint64_t next_random(void)
{
    uint64_t z = (here.random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t pick(uint32_t n)
{
    return (uint32_t)(next_random() % n);
}

static inline bool one_in(uint32_t n)
{
    return pick(n) == 0;
}

#define PICK(array) ((array)[pick(sizeof(array) / sizeof(array)[0])])

/* What a callback of the application may do: anything that is no turn. */
static inline void hook(void)
{
    if (here.quiet || here.depth > 1 || !one_in(5))
        return;
    here.depth++;
    here.hooks++;
    here.act();
    here.depth--;
}

/* ---- identities ------------------------------------------------------------------------------ */

static const char *const tokens[TOKENS] = {
    "alk_TOK0aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "alk_TOK1aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "alk_TOK2aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "alk_TOK3aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "alk_TOK4aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "alk_TOK5aaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
static const char *const scope_lists[] = {"[]", "[\"c:*\"]", "[\"c:*\",\"peers:call\"]",
                                          "[\"c:*\",\"peers:*\",\"metrics:list\"]"};

static inline void fingerprint(unsigned peer, char out[80])
{
    snprintf(out, 80, "ed25519:%064u", peer);
}

/* The tokens of one owner, as hashes: a list of strings for a peer, objects for keys. */
static inline int put_tokens(char *to, size_t size, unsigned owner)
{
    const struct config *c = &here.config;
    bool key = owner == PEERS;
    char hash[65];
    int n = 0;

    for (unsigned i = 0; i < TOKENS; i++) {
        if (c->owner[i] != owner)
            continue;
        alk_token_hash(TEXT(tokens[i]), hash);
        n += key ? snprintf(to + n, size - (size_t)n,
                            "%s{\"prefix\":\"%.8s\",\"hash\":\"%s\",\"scopes\":[\"c:*\"]%s}",
                            n ? "," : "", tokens[i], hash,
                            c->expires ? ",\"expires_at\":\"2001-09-09T01:46:40Z\"" : "")
                 : snprintf(to + n, size - (size_t)n, "%s\"%s\"", n ? "," : "", hash);
    }
    return n;
}

static inline void load_identities(void)
{
    const struct config *c = &here.config;
    char json[6000], print[80];
    int n = snprintf(json, sizeof json, "{\"peers\":[");

    for (unsigned i = 0; i < PEERS; i++) {
        fingerprint(i, print);
        n += snprintf(json + n, sizeof json - (size_t)n,
                      "%s{\"peer_id\":\"p%u\",\"fingerprints\":[\"%s\"],\"scopes\":%s,\"enabled\":"
                      "%s,\"may_forward\":%s,\"websocket\":%s,\"auth_token_hashes\":[",
                      i ? "," : "", i, print, scope_lists[c->scopes[i]],
                      c->enabled[i] ? "true" : "false", c->may_forward[i] ? "true" : "false",
                      c->websocket[i] ? "true" : "false");
        n += put_tokens(json + n, sizeof json - (size_t)n, i);
        n += snprintf(json + n, sizeof json - (size_t)n, "]}");
    }
    n += snprintf(json + n, sizeof json - (size_t)n, "],\"keys\":[");
    n += put_tokens(json + n, sizeof json - (size_t)n, PEERS);
    n += snprintf(json + n, sizeof json - (size_t)n, "]}");
    CHECK(alk_identities_load(here.ids, json, (size_t)n, 0, NULL, NULL, 0) == ALK_OK);
}

/* Mostly the flags, which leave connections open. */
static inline void act_reload(void)
{
    struct config *c = &here.config;
    unsigned peer = pick(PEERS);

    here.reloads++;
    switch (pick(12)) {
    case 0:
        c->owner[pick(TOKENS)] = pick(PEERS + 2);
        break;
    case 1:
        c->enabled[peer] = !c->enabled[peer] || one_in(4);
        break;
    case 2:
        c->scopes[peer] = pick(sizeof scope_lists / sizeof scope_lists[0]);
        break;
    case 3:
        c->expires = one_in(2);
        break;
    case 4:
        alk_identities_tick(here.ids, one_in(4) ? INT64_C(1500000000) : 0);
        return;
    case 5:
    case 6:
    case 7:
        c->websocket[peer] = !c->websocket[peer];
        break;
    default:
        c->may_forward[peer] = !c->may_forward[peer];
        break;
    }
    load_identities();
}

/* Options by a credential, or by somebody who vouches, or by nobody. Free with
 * alk_identity_unref(o->identity). */
static inline void connection_options(alk_connection_options *o, char print[80])
{
    static const char *const prefixes[] = {"x", "x", "x/y", NULL};
    alk_identity *who = NULL;
    unsigned how = pick(8);

    *o = (alk_connection_options){.size = sizeof *o};
    fingerprint(pick(PEERS), print);
    if (how < 5) {
        o->by_token = PICK(tokens);
        o->kind = (uint32_t)here.provider.by_token(here.provider.ud, TEXT(o->by_token), &who);
    } else if (how < 6) {
        o->by_fingerprint = print;
        o->kind = (uint32_t)here.provider.by_fingerprint(here.provider.ud, TEXT(print), &who);
    } else if (how < 7) {
        who = alk_identity_new(TEXT("{\"id\":\"p0\",\"scopes\":[\"c:*\",\"peers:*\"]}"));
        o->kind = one_in(3) ? ALK_KIND_KEY : ALK_KIND_PEER;
    }
    if (!who)
        o->by_token = o->by_fingerprint = NULL;
    o->identity = who;
    o->websocket = one_in(2);
    o->namespace_prefix = PICK(prefixes);
    o->token = one_in(3) ? PICK(tokens) : NULL;
    o->remote = "chaos";
    o->no_auto_import = one_in(4);
    o->session = one_in(4) ? here.reg : NULL;
}

/* ---- the caller's side ----------------------------------------------------------------------- */

static inline void on_want_event(alk_call *call, const alk_value *value, void *ud)
{
    struct want *w = ud;
    size_t len;

    CHECK(w->used && !w->ends && (!w->call || w->call == call));
    CHECK(++w->values == 1 || w->stream);
    alk_value_text(value, &len);
    hook();
}

static inline void on_want_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct want *w = ud;

    CHECK(w->used && !w->ends && (!w->call || w->call == call));
    CHECK((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT));
    w->ends++;
    hook();
}

/* NULL: as many are waited for as there may be. */
static inline struct want *want_new(alk_call_options *o)
{
    static const uint32_t times[] = {0, 0, 1, 50, 3000, ALK_NO_TIMEOUT};

    for (unsigned i = 0, at = pick(POOL); i < POOL / 2; i++, at = (at + 1) % POOL) {
        struct want *w = &here.wants[at];

        if (w->used)
            continue;
        *w = (struct want){.used = true, .stream = one_in(2)};
        *o = (alk_call_options){.size = sizeof *o};
        o->stream = w->stream;
        o->timeout_ms = PICK(times);
        o->on_event = on_want_event;
        o->on_end = on_want_end;
        o->ud = w;
        return w;
    }
    return NULL;
}

/* Of a call that could not be made nothing is heard. */
static inline void want_made(struct want *w, int rc, alk_call *call)
{
    here.calls++;
    if (rc) {
        CHECK(!call && !w->ends);
        w->used = false;
    } else if (one_in(4)) {
        alk_call_unref(call);
    } else {
        w->call = call;
    }
}

static inline void act_want(void)
{
    struct want *w = &here.wants[pick(POOL)];

    while (!w->used && w > here.wants)
        w--;
    if (!w->used)
        return;
    if (w->ends && one_in(2)) {
        alk_call *call = w->call;

        *w = (struct want){0};
        alk_call_unref(call);
    } else if (w->call && one_in(4)) {
        alk_call_pause(w->call, one_in(3));
    } else if (w->call && one_in(3)) {
        alk_call_abort(w->call);
    }
}

/* ---- the handler's side ---------------------------------------------------------------------- */

static const char *const names[] = {"c/later",         "c/stream",      "c/scoped",
                                    "c/owned",         "c/echo",        "x/c/later",
                                    "x/c/stream",      "x/c/echo",      "x/y/c/stream",
                                    "peers/call",      "peers/call",    "x/r/one",
                                    "peers/subscribe", "services/list", "services/announce",
                                    "x/r/many",        "metrics/list",  "services/list-peers",
                                    "x/c/hand"};

/* What some remote is likely to serve. */
static inline const char *some_remote_name(void)
{
    static const char *const served[] = {"x/c/later", "x/c/stream", "x/c/hand"};

    return one_in(3) ? PICK(names) : PICK(served);
}

/* Bounded by the caller's buffer; one that is long has some 20 kB. */
static inline const char *some_input(const char *name)
{
    static char text[24000];

    if (!strncmp(name, "peers/", 6)) {
        snprintf(text, sizeof text, "{%s\"operation\":\"%s\",\"input\":{\"id\":\"1\"}}",
                 one_in(2) ? "" : "\"peer\":\"p1\",", some_remote_name());
    } else if (!strncmp(name, "services/", 9) || !strncmp(name, "metrics/", 8)) {
        strcpy(text, "{}");
    } else if (one_in(20)) {
        memset(text, 'v', 20000);
        text[0] = text[19999] = '"';
        text[20000] = 0;
    } else {
        strcpy(text, one_in(2) ? "{\"id\":\"1\"}" : "null");
    }
    return text;
}

static inline void nest(alk_call *call)
{
    bool outside = one_in(2);
    const char *name = outside ? some_remote_name() : PICK(names), *input = some_input(name);
    alk_call_options o;
    struct want *w = want_new(&o);
    alk_call *child = NULL;
    int rc;

    if (!w)
        return;
    o.selector = outside ? ALK_SELECT_ANY : pick(4);
    o.peer = one_in(2) ? "p0" : "p1";
    o.connection = here.some_connection();
    o.policy = pick(3);
    rc = alk_call_invoke(call, TEXT(name), TEXT(input), &o, &child);
    want_made(w, rc, child);
}

static inline void on_run_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct run *r = ud;

    CHECK(r->used && r->call == call && !r->ends);
    CHECK((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT));
    r->ends++;
    hook();
}

static inline void on_run_drain(alk_call *call, void *ud)
{
    struct run *r = ud;

    CHECK(r->used && r->call == call && !r->ends);
    hook();
}

static inline void answer(alk_call *call, bool stream)
{
    alk_fault f = {.size = sizeof f, .code = "CHAOS", .message = "no"};
    const char *value = some_input("");

    if (one_in(8))
        alk_call_fail(call, &f);
    else if (!stream)
        alk_call_reply(call, TEXT(value));
    else if (one_in(6))
        alk_call_complete(call);
    else
        alk_call_emit(call, TEXT(value));
}

/* The ud of an operation says whether it is a subscription. */
static inline int serve(alk_call *call, void *ud)
{
    bool stream = ud != NULL;

    if (one_in(16))
        return ALK_EINVAL;
    for (unsigned i = 0, at = pick(POOL); i < POOL / 2; i++, at = (at + 1) % POOL) {
        struct run *r = &here.runs[at];

        if (r->used)
            continue;
        *r = (struct run){.used = true, .stream = stream, .call = alk_call_ref(call)};
        CHECK(alk_call_on_end(call, on_run_end, r) == ALK_OK);
        CHECK(alk_call_on_drain(call, on_run_drain, r) == ALK_OK);
        alk_call_on_shutdown(call, on_run_drain, r);
        for (unsigned k = pick(4); k; k--)
            nest(call);
        hook();
        if (one_in(4))
            answer(call, stream);
        return ALK_OK;
    }
    if (!stream)
        answer(call, false);
    else
        alk_call_complete(call);
    return ALK_OK;
}

static inline void act_run(void)
{
    struct run *r = &here.runs[pick(POOL)];

    while (!r->used && r > here.runs)
        r--;
    if (!r->used)
        return;
    if (r->ends && one_in(2)) {
        alk_call *call = r->call;

        *r = (struct run){0};
        alk_call_unref(call);
    } else if (one_in(4)) {
        nest(r->call);
    } else {
        answer(r->call, r->stream);
    }
}

/* ---- the node -------------------------------------------------------------------------------- */

static inline void act_limits(void)
{
    alk_limits l;

    alk_limits_init(&l, sizeof l);
    if (one_in(2)) {
        l.connection_calls = 1 + pick(40);
        l.queue_high = 1000 + pick(20000);
        l.queue_max = 1000 + pick(60000);
        l.deadline_ms = 1 + pick(5000);
        l.call_children = 1 + pick(20);
        l.call_depth = 1 + pick(8);
        l.import_fanout = pick(4);
        l.connections = one_in(4) ? 1 + pick(12) : 0;
        l.websocket_sessions = one_in(4) ? 1 + pick(6) : 0;
        l.connections_per_address = one_in(4) ? 1 + pick(12) : 0;
        l.calls_per_second = one_in(4) ? 1 + pick(100) : 0;
        l.message_budget = one_in(2) ? 20000 + pick(1000000) : l.message_budget;
        l.anonymous_bytes = one_in(8) ? 100 : l.anonymous_bytes;
        l.heartbeat_ms = 1 + pick(50);
        l.evict_ms = 1 + pick(100);
        l.ping_ms = 1 + pick(200);
        l.idle_ms = 20 + pick(2000);
        l.close_ms = 1 + pick(50);
        l.drain_ms = 1 + pick(60);
        l.drain_delay_ms = pick(3) * 5;
    }
    CHECK(alk_node_set_limits(here.node, &l) == ALK_OK);
}

/* For the rest of the step, or for one allocation. */
static inline void act_shortage(void)
{
    here.shortages++;
    here.memory.failed = false;
    here.memory.fail_in = 1 + pick(60);
    here.memory.fail_all = one_in(4);
}

static inline void shortage_over(void)
{
    here.memory.failed = false;
    here.memory.fail_in = 0;
}

static inline void act_common(void)
{
    unsigned what = pick(64);

    if (what < 30)
        act_run();
    else if (what < 55)
        act_want();
    else if (what < 58)
        act_reload();
    else if (what < 62)
        act_limits();
    else if (what < 63 && here.d[0] && one_in(20))
        dispatcher_cancel_all(here.d[0]);
}

static inline void add_operations(void)
{
    static const struct {
        const char *name, *access, *resource;
        uint32_t type;
    } ops[] = {
        {"c/later", NULL, NULL, ALK_QUERY},
        {"c/echo", NULL, NULL, ALK_MUTATION},
        {"c/stream", NULL, NULL, ALK_SUBSCRIPTION},
        {"c/scoped", "{\"required_scopes\":[\"c:use\"]}", NULL, ALK_QUERY},
        {"c/owned", "{\"resource_type\":\"doc\",\"resource_action\":\"r\"}", "/id", ALK_QUERY},
    };

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        alk_operation op;

        alk_operation_init(&op, sizeof op);
        op.name = ops[i].name;
        op.type = ops[i].type;
        op.access_control = ops[i].access;
        op.resource_id_path = ops[i].resource;
        op.authority = "{\"label\":\"chaos\",\"scopes\":[\"c:*\",\"peers:*\",\"metrics:*\"],"
                       "\"resources\":{\"doc\":[\"1\"]}}";
        op.environment = "{\"allowed_ops\":[\"c/*\",\"x/*\",\"peers/*\",\"services/*\","
                         "\"metrics/*\"],\"peer_pinned\":[\"p0/x/c/later\"]}";
        op.handler = serve;
        op.ud = ops[i].type == ALK_SUBSCRIPTION ? &here : NULL;
        CHECK(alk_registry_add(here.reg, &op) == ALK_OK);
    }
    CHECK(!alk_registry_enable_peers(
        here.reg, TEXT("{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"c:*\"],\"resources\":{"
                       "\"doc\":[\"1\"]}},\"allow\":[{\"peer\":\"*\",\"operations\":[\"c/*\","
                       "\"x/*\"]}]}")));
    CHECK(!alk_registry_enable_metrics(here.reg));
    CHECK(!alk_registry_freeze(here.reg));
}

/* Short: a name is asked for in the middle of a check, and so is memory. */
static inline int owns(void *ud, const alk_identity *who, const char *type, const char *id,
                       const char *action)
{
    (void)ud, (void)who, (void)type, (void)id, (void)action;
    return (int)pick(2);
}

static inline int owns_any(void *ud, const alk_identity *who, const char *type)
{
    return owns(ud, who, type, "", "");
}

/* A node with everything that both tests have in common; d[0] is made. */
static inline void node_up(void)
{
    static const alk_ownership_provider ownership = {sizeof ownership, owns, owns_any, NULL};
    alk_node_options o;

    here.reg = alk_registry_new();
    here.ids = alk_identities_new();
    CHECK(here.reg && here.ids);
    add_operations();
    alk_identities_provider(here.ids, &here.provider, sizeof here.provider);
    for (unsigned i = 0; i < TOKENS; i++)
        here.config.owner[i] = i < PEERS ? i : pick(PEERS + 1);
    for (unsigned i = 0; i < PEERS; i++) {
        here.config.enabled[i] = true;
        here.config.websocket[i] = one_in(2);
        here.config.scopes[i] = 3;
    }
    load_identities();
    alk_node_options_init(&o, sizeof o);
    o.identities = &here.provider;
    o.ownership = one_in(2) ? &ownership : NULL;
    o.realloc = memory_realloc;
    o.realloc_ud = &here.memory;
    o.auto_import = one_in(3) != 0;
    o.forwarded_for = pick(3);
    CHECK(alk_node_new(&here.node, here.reg, &o) == ALK_OK);
    CHECK(alk_dispatcher_new(&here.d[0], here.node) == ALK_OK);
}

/* The application lets go of its calls. */
static inline void drop_calls(void)
{
    for (unsigned i = 0; i < POOL; i++) {
        CHECK(!here.wants[i].used || here.wants[i].ends == 1);
        CHECK(!here.runs[i].used || here.runs[i].ends == 1);
        alk_call_unref(here.wants[i].call);
        alk_call_unref(here.runs[i].call);
    }
    memset(here.wants, 0, sizeof here.wants);
    memset(here.runs, 0, sizeof here.runs);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static inline uint64_t monotonic_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline unsigned chaos_seconds(void)
{
    const char *s = getenv("ALK_CHAOS_SECONDS");

    return s ? (unsigned)atoi(s) : 10;
}

static inline void say_seed(void)
{
    fprintf(stderr, "\nstep %llu of ALK_CHAOS_SEED=%llu\n", (unsigned long long)here.step,
            (unsigned long long)here.seed);
}

/* Of CHECK, of an assertion of the library, and of a life that does not end. */
static inline void on_abort(int signal)
{
    (void)signal;
    say_seed();
    _exit(1);
}

/* One after the other until the time is over. */
static inline void chaos_lives(const char *name, void (*life)(void))
{
    const char *given = getenv("ALK_CHAOS_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10)
                          : ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid()) % 1000000000u * 1000;
    uint64_t until = monotonic_ms() + chaos_seconds() * 1000u;

    signal(SIGABRT, on_abort);
    signal(SIGALRM, on_abort);
    alarm(chaos_seconds() + 30);
    __sanitizer_set_death_callback(say_seed);
    do {
        uint64_t lives = here.lives, steps = here.steps;

        memset(&here, 0, sizeof here);
        here.lives = lives + 1;
        here.steps = steps;
        here.seed = here.random = seed++;
        life();
    } while (monotonic_ms() < until);
    fprintf(stderr, "%s: %llu lives, %llu steps\n", name, (unsigned long long)here.lives,
            (unsigned long long)here.steps);
}

static inline int chaos(const char *name, const TTest *test)
{
    Suite *suite = suite_create(name);
    TCase *t = tcase_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, chaos_seconds() + 60);
    tcase_add_test(t, test);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
