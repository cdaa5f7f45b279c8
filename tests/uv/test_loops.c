/* Three loops on three threads, of one node, whose peers come and go on each of them, announce, are revoked, and are called
 * from everywhere; a loop stops and begins again meanwhile. Each call has one end, values are in order, and nothing is
 * left. Also run with the thread sanitizer. */
#include "core/node.h"
#include "support/suite.h"

#include <alknet/uv.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOPS 3
#define PAIRS 4
#define ASKS 64
#define PEERS 6
#define VALUES 300
#define TEXT(s) (s), strlen(s)

static alk_node *hub_node, *spoke_node;
static atomic_long live, begun, ended, good, kept_values;
static atomic_uint enabled, flags, generation;

static void *counted_realloc(void *ud, void *p, size_t size)
{
    void *q;

    (void)ud;
    if (!size) {
        atomic_fetch_sub(&live, p != NULL);
        free(p);
        return NULL;
    }
    q = realloc(p, size);
    atomic_fetch_add(&live, q && !p);
    return q;
}

/* ---- identities: the token of peer pN is alk_pN ---------------------------------------------- */

static alk_identity *peer_identity(unsigned n)
{
    char json[100];

    snprintf(json, sizeof json, "{\"id\":\"p%u\",\"scopes\":[\"peers:*\"],\"resources\":{}}", n);
    return alk_identity_new(TEXT(json));
}

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    unsigned n = len == 6 ? (unsigned)(token[5] - '0') : PEERS;

    (void)ud;
    *out = n < PEERS && (atomic_load(&enabled) >> n & 1) ? peer_identity(n) : NULL;
    if (!*out)
        return ALK_KIND_NONE;
    return ALK_KIND_PEER | (atomic_load(&flags) >> n & 1 ? ALK_PEER_MAY_FORWARD : 0);
}

static int by_fingerprint(void *ud, const char *fingerprint, size_t len, alk_identity **out)
{
    (void)ud, (void)fingerprint, (void)len;
    *out = NULL;
    return ALK_KIND_NONE;
}

static uint64_t generation_of(void *ud)
{
    (void)ud;
    return atomic_load(&generation);
}

/* ---- what spokes serve ----------------------------------------------------------------------- */

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return alk_call_reply(call, text, len);
}

static int never(alk_call *call, void *ud)
{
    (void)call, (void)ud;
    return ALK_OK;
}

static int refuse(alk_call *call, void *ud)
{
    const alk_fault f = {.size = sizeof f,
                         .code = "REFUSED",
                         .message = "as it was asked to",
                         .details = "{\"a\":[1,2,3]}"};

    (void)ud;
    return alk_call_fail(call, &f);
}

static void count_on(alk_call *call, void *ud)
{
    int *n = ud, rc = ALK_OK;
    char text[2100];

    while (*n < VALUES && !rc) {
        snprintf(text, sizeof text, "[%d,\"%*d\"]", *n, *n % 10 ? 10 : 2000, 0);
        rc = alk_call_emit(call, TEXT(text));
        *n += !rc;
    }
    if (!rc)
        alk_call_complete(call);
}

static void count_ends(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)why, (void)fault;
    free(ud);
}

static int count(alk_call *call, void *ud)
{
    int *n = calloc(1, sizeof *n);

    (void)ud;
    alk_call_on_end(call, count_ends, n);
    alk_call_on_drain(call, count_on, n);
    count_on(call, n);
    return ALK_OK;
}

static void add(alk_registry *reg, const char *name, uint32_t type, alk_handler handler)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
}

/* ---- a loop ---------------------------------------------------------------------------------- */

struct ask {
    bool used, stream;
    alk_call *call; /* a reference, until it has ended */
    int values;
};

struct one {
    alk_connection *hub, *spoke; /* references; NULL: unused */
};

struct looper {
    pthread_t thread;
    uv_loop_t uv;
    uv_timer_t tick;
    alk_dispatcher *hub, *spoke;
    alk_loop *hub_loop, *spoke_loop;
    struct one pairs[PAIRS];
    struct ask asks[ASKS];
    unsigned seed;
    atomic_bool stop;
    int closed;
};

static unsigned pick(struct looper *l, unsigned n)
{
    return (unsigned)rand_r(&l->seed) % n;
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct ask *a = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    ck_assert(a->used && call == a->call);
    if (a->stream)
        ck_assert_int_eq(atoi(text + 1), a->values);
    a->values++;
    atomic_fetch_add(&kept_values, 1);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct ask *a = ud;

    (void)fault;
    ck_assert(a->used && call == a->call);
    if (why == ALK_END_OK) {
        ck_assert_int_eq(a->values, a->stream ? VALUES : 1);
        atomic_fetch_add(&good, 1);
    }
    atomic_fetch_add(&ended, 1);
    a->used = false;
    a->call = NULL;
    alk_call_unref(call);
}

/* Through the deputy of the hub, to whatever loop has the peer. */
static void ask(struct looper *l, alk_connection *c)
{
    static const char *const names[] = {"p/echo",  "p/echo", "p/count", "p/count",
                                        "p/never", "p/fail", "p/none"};
    const char *name = names[pick(l, sizeof names / sizeof *names)];
    struct ask *a = &l->asks[pick(l, ASKS)];
    alk_call_options o = {.size = sizeof o, .on_event = on_value, .on_end = on_end, .ud = a};
    char input[200], peer[32] = "";

    if (a->used)
        return;
    *a = (struct ask){.used = true, .stream = !strcmp(name, "p/count")};
    if (pick(l, 3))
        snprintf(peer, sizeof peer, "\"peer\":\"p%u\",", pick(l, PEERS));
    snprintf(input, sizeof input, "{%s\"operation\":\"%s\",\"input\":[%u]}", peer, name,
             pick(l, 1000));
    o.stream = a->stream;
    o.timeout_ms = pick(l, 4) ? 500 : 1 + pick(l, 20);
    if (alk_connection_call(c, a->stream ? "peers/subscribe" : "peers/call", a->stream ? 15 : 10,
                            TEXT(input), &o, &a->call))
        a->used = false;
    else
        atomic_fetch_add(&begun, 1);
}

static void open_pair(struct looper *l, struct one *p, unsigned n)
{
    char token[] = "alk_p0";
    alk_connection_options hub = {.size = sizeof hub, .kind = ALK_KIND_PEER, .by_token = token},
                           spoke = {.size = sizeof spoke};

    token[5] = (char)('0' + n);
    hub.identity = peer_identity(n);
    ck_assert_int_eq(alk_pair_open(l->hub, &hub, &p->hub, l->spoke, &spoke, &p->spoke), ALK_OK);
    alk_identity_unref(hub.identity);
}

static void close_pair(struct one *p)
{
    alk_connection_close(p->spoke, ALK_CLOSE_SHUTDOWN);
    alk_connection_unref(p->hub);
    alk_connection_unref(p->spoke);
    *p = (struct one){0};
}

static void announce_ended(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call, (void)why, (void)fault, (void)ud;
}

static void announce(alk_connection *c)
{
    alk_call_options o = {.size = sizeof o, .on_end = announce_ended};

    alk_connection_call(c, TEXT("services/announce"), "{}", 2, &o, NULL);
}

static void on_closed(void *ud)
{
    ((struct looper *)ud)->closed++;
}

static void close_all(struct looper *l)
{
    uv_close((uv_handle_t *)&l->tick, NULL);
    for (int i = 0; i < PAIRS; i++) {
        alk_connection_unref(l->pairs[i].hub);
        alk_connection_unref(l->pairs[i].spoke);
    }
    alk_loop_close(l->hub_loop, on_closed, l);
    alk_loop_close(l->spoke_loop, on_closed, l);
}

static void on_tick(uv_timer_t *t)
{
    struct looper *l = t->data;

    if (atomic_load(&l->stop)) {
        close_all(l);
        return;
    }
    for (int i = 0; i < 12; i++) {
        struct one *p = &l->pairs[pick(l, PAIRS)];
        struct ask *a = &l->asks[pick(l, ASKS)];

        if (!p->hub)
            open_pair(l, p, pick(l, PEERS));
        else if (!pick(l, 300))
            close_pair(p);
        else if (!pick(l, 200))
            announce(p->spoke);
        else if (a->used && !pick(l, 8))
            alk_call_abort(a->call);
        else
            ask(l, p->spoke);
    }
}

static void *run(void *ud)
{
    struct looper *l = ud;

    ck_assert_int_eq(uv_run(&l->uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(l->closed, 2);
    ck_assert_int_eq(uv_loop_close(&l->uv), 0);
    return NULL;
}

static void prepare(struct looper *l, unsigned seed, uv_timer_cb tick)
{
    memset(l, 0, sizeof *l);
    l->seed = seed;
    ck_assert_int_eq(uv_loop_init(&l->uv), 0);
    ck_assert_int_eq(alk_dispatcher_new(&l->hub, hub_node), ALK_OK);
    ck_assert_int_eq(alk_dispatcher_new(&l->spoke, spoke_node), ALK_OK);
    ck_assert_int_eq(alk_loop_open(&l->hub_loop, &l->uv, l->hub), ALK_OK);
    ck_assert_int_eq(alk_loop_open(&l->spoke_loop, &l->uv, l->spoke), ALK_OK);
    uv_timer_init(&l->uv, &l->tick);
    l->tick.data = l;
    uv_timer_start(&l->tick, tick, 1, 1);
}

static void begin(struct looper *l, unsigned seed)
{
    prepare(l, seed, on_tick);
    ck_assert_int_eq(pthread_create(&l->thread, NULL, run, l), 0);
}

static void end(struct looper *l)
{
    atomic_store(&l->stop, true);
    ck_assert_int_eq(pthread_join(l->thread, NULL), 0);
    for (int i = 0; i < ASKS; i++)
        ck_assert(!l->asks[i].used);
}

/* ---- the test -------------------------------------------------------------------------------- */

static void node_of(alk_node **out, alk_registry *reg, const alk_identity_provider *who)
{
    alk_node_options o;

    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    alk_node_options_init(&o, sizeof o);
    o.realloc = counted_realloc;
    o.identities = who;
    o.auto_import = who != NULL;
    ck_assert_int_eq(alk_node_new(out, reg, &o), ALK_OK);
    alk_registry_unref(reg);
}

static void nodes(void)
{
    static const char deputy[] = "{\"authority\":{\"label\":\"deputy\"},\"allow\":[{\"peer\":\"*\","
                                 "\"operations\":[\"p/*\"]}]}";
    const alk_identity_provider who = {.size = sizeof who,
                                       .by_token = by_token,
                                       .by_fingerprint = by_fingerprint,
                                       .generation = generation_of};
    alk_registry *hub = alk_registry_new(), *spoke = alk_registry_new();

    atomic_store(&enabled, UINT32_MAX);
    ck_assert_int_eq(alk_registry_enable_peers(hub, TEXT(deputy)), ALK_OK);
    node_of(&hub_node, hub, &who);
    add(spoke, "p/echo", ALK_QUERY, echo);
    add(spoke, "p/never", ALK_QUERY, never);
    add(spoke, "p/fail", ALK_QUERY, refuse);
    add(spoke, "p/count", ALK_SUBSCRIPTION, count);
    node_of(&spoke_node, spoke, NULL);
}

/* Rights come and go, and so do flags. */
static void reload(unsigned round)
{
    atomic_store(&enabled, round % 8 == 7 ? ~(1u << (round / 8 % PEERS)) : UINT32_MAX);
    atomic_store(&flags, round % 2 ? 0x2a : 0x15);
    atomic_fetch_add(&generation, 1);
}

static void reload_for(unsigned ms)
{
    static unsigned round;

    for (unsigned i = 0; i < ms / 20; i++) {
        usleep(20000);
        reload(round++);
    }
}

START_TEST(calls_cross_between_loops_while_everything_comes_and_goes)
{
    static struct looper loops[LOOPS];
    struct totals t;

    nodes();
    for (unsigned i = 0; i < LOOPS; i++)
        begin(&loops[i], 1 + i);
    reload_for(1200);
    end(&loops[2]);
    reload_for(600);
    begin(&loops[2], 17);
    reload_for(1200);
    for (unsigned i = 0; i < LOOPS; i++)
        end(&loops[i]);
    ck_assert_int_eq(atomic_load(&begun), atomic_load(&ended));
    node_totals(hub_node, &t);
    ck_assert_uint_gt(t.sum.calls[CALL_CROSSED], 50);
    ck_assert_uint_gt(t.sum.ended[CALL_CROSSED][ALK_END_OK], 5);
    ck_assert_int_gt(atomic_load(&good), 5);
    for (unsigned i = 0; i < CALL_KINDS; i++)
        ck_assert_uint_eq(t.running[i], 0);
    ck_assert_uint_eq(t.message_bytes, 0);
    printf("loops: %ld calls, %ld of them good, %llu crossed, %ld values\n", atomic_load(&begun),
           atomic_load(&good), (unsigned long long)t.sum.calls[CALL_CROSSED],
           atomic_load(&kept_values));
    alk_node_unref(hub_node);
    alk_node_unref(spoke_node);
    ck_assert_int_eq(atomic_load(&live), 0);
}
END_TEST

/* ---- wake-ups -------------------------------------------------------------------------------- */

#define CALLS 5000

/* One call after the other, and nothing else moves: if no wake-up comes, a deadline passes. */
struct chain {
    struct looper loops[2];
    int left, good;
};

static void stop_loop(void *ud)
{
    close_all(ud);
}

static void next_call(struct chain *chain);

static void on_chain_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct chain *chain = ud;

    (void)call, (void)fault;
    chain->good += why == ALK_END_OK;
    next_call(chain);
}

static void next_call(struct chain *chain)
{
    static const char input[] = "{\"peer\":\"p1\",\"operation\":\"p/echo\",\"input\":1}";
    alk_call_options o = {
        .size = sizeof o, .on_end = on_chain_end, .ud = chain, .timeout_ms = 3000};

    if (chain->left-- && chain->good == CALLS - 1 - chain->left) {
        ck_assert_int_eq(alk_connection_call(chain->loops[0].pairs[0].spoke, TEXT("peers/call"),
                                             TEXT(input), &o, NULL),
                         ALK_OK);
        return;
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(alk_loop_post(chain->loops[i].hub_loop, stop_loop, &chain->loops[i]),
                         ALK_OK);
}

/* Keeps the loop alive. */
static void much_later(uv_timer_t *t)
{
    (void)t;
    ck_abort_msg("it stands still");
}

/* Until the peer has been imported; then there is no timer that is due. */
static void try_first(uv_timer_t *t);

static void on_first_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct looper *l = ud;

    (void)call, (void)fault;
    if (why == ALK_END_OK)
        next_call((struct chain *)l);
    else
        uv_timer_start(&l->tick, try_first, 5, 0);
}

static void try_first(uv_timer_t *t)
{
    struct looper *l = t->data;
    static const char input[] = "{\"peer\":\"p1\",\"operation\":\"p/echo\",\"input\":1}";
    alk_call_options o = {.size = sizeof o, .on_end = on_first_end, .ud = l};

    uv_timer_start(t, much_later, 50000, 0);
    if (!l->pairs[0].hub)
        open_pair(l, &l->pairs[0], 0);
    ck_assert_int_eq(
        alk_connection_call(l->pairs[0].spoke, TEXT("peers/call"), TEXT(input), &o, NULL), ALK_OK);
}

static void connect_peer(uv_timer_t *t)
{
    struct looper *l = t->data;

    uv_timer_start(t, much_later, 50000, 0);
    open_pair(l, &l->pairs[0], 1);
}

START_TEST(no_wake_up_is_lost)
{
    static struct chain chain = {.left = CALLS};

    nodes();
    prepare(&chain.loops[0], 1, try_first);
    prepare(&chain.loops[1], 2, connect_peer);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&chain.loops[i].thread, NULL, run, &chain.loops[i]), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(chain.loops[i].thread, NULL), 0);
    ck_assert_int_eq(chain.good, CALLS);
    alk_node_unref(hub_node);
    alk_node_unref(spoke_node);
    ck_assert_int_eq(atomic_load(&live), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loops");
    TCase *tcase = tcase_create("loops");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, no_wake_up_is_lost);
    tcase_add_test(tcase, calls_cross_between_loops_while_everything_comes_and_goes);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
