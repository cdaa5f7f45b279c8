/* Many threads of a program at one host, which is stopped at some moment: whatever they do, each id
 * has one end. Also run with the thread sanitizer. */
#include "host_rig.h"

#include <pthread.h>
#include <unistd.h>

#define CALLERS 3
#define ANSWERERS 2
#define EACH 1500
#define IDS (4 * CALLERS * EACH)

struct ids {
    uint64_t id[IDS];
    size_t count; /* atomic */
};

struct party {
    alk_host *h;
    struct ids begun, ended, to_answer, up;
    size_t answered; /* atomic: of to_answer */
    int over;        /* atomic */
    unsigned round;
    bool sessions; /* others dial it */
    int port;      /* of whom it dials */
};

static void note(struct ids *ids, uint64_t id)
{
    size_t at = __atomic_fetch_add(&ids->count, 1, __ATOMIC_RELAXED);

    ck_assert_uint_lt(at, IDS);
    __atomic_store_n(&ids->id[at], id, __ATOMIC_RELEASE);
}

static uint64_t noted(struct ids *ids, size_t at)
{
    return at < IDS ? __atomic_load_n(&ids->id[at], __ATOMIC_ACQUIRE) : 0;
}

static uint64_t any_of(struct ids *ids, unsigned *seed)
{
    size_t count = __atomic_load_n(&ids->count, __ATOMIC_RELAXED);

    return count ? noted(ids, (size_t)rand_r(seed) % count) : 0;
}

static void expected(int rc)
{
    ck_assert_msg(rc == ALK_OK || rc == ALK_EENDED || rc == ALK_ECLOSED || rc == ALK_EINVAL ||
                      rc == ALK_EAGAIN,
                  "%s", alk_err_name(rc));
}

static void one_call(struct party *p, unsigned *seed)
{
    alk_host_call_options o = {.size = sizeof o, .stream = (uint32_t)rand_r(seed) % 2};
    uint64_t id;
    int rc;

    if (rand_r(seed) % 2)
        o.identity = NAMED;
    if (rand_r(seed) % 4 == 0)
        o.parent = any_of(&p->to_answer, seed);
    rc = alk_host_call(p->h, o.stream ? "demo/tick" : "demo/add", o.stream ? 9 : 8, "[1]", 3, &o,
                       &id);
    expected(rc);
    if (rc == ALK_OK)
        note(&p->begun, id);
}

static void *call_much(void *ud)
{
    struct party *p = ud;
    unsigned seed = p->round * 31 + (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < EACH; i++) {
        one_call(p, &seed);
        if (rand_r(&seed) % 3 == 0)
            expected(alk_host_abort(p->h, any_of(&p->begun, &seed)));
        if (rand_r(&seed) % 5 == 0)
            expected(alk_host_pause(p->h, any_of(&p->begun, &seed), rand_r(&seed) % 2));
    }
    return NULL;
}

/* To a session, of whichever worker, on its own or for the call. */
static void call_back(struct party *p, uint64_t id, unsigned *seed)
{
    uint64_t session = any_of(&p->up, seed), call;
    alk_host_call_options o = {
        .size = sizeof o, .stream = (uint32_t)rand_r(seed) % 2, .connection = session};
    int rc;

    if (rand_r(seed) % 2)
        o.parent = id;
    rc = alk_host_call(p->h, o.stream ? "demo/tick" : "demo/add", o.stream ? 9 : 8, "[1]", 3, &o,
                       &call);
    expected(rc);
    if (rc == ALK_OK)
        note(&p->begun, call);
    if (rand_r(seed) % 64 == 0)
        expected(alk_host_abort(p->h, session));
}

static void answer(struct party *p, uint64_t id, unsigned *seed)
{
    if (p->sessions)
        call_back(p, id, seed);
    switch (rand_r(seed) % 4) {
    case 0:
        expected(alk_host_fail(p->h, id, TEXT("{\"code\":\"X\",\"details\":[1,2]}")));
        break;
    case 1:
        break; /* never */
    default:
        for (int i = rand_r(seed) % 5; i > 0; i--)
            expected(alk_host_emit(p->h, id, "[1]", 3));
        expected(alk_host_reply(p->h, id, "3", 1));
        expected(alk_host_complete(p->h, id));
        break;
    }
}

static void *answer_much(void *ud)
{
    struct party *p = ud;
    unsigned seed = p->round * 17 + (unsigned)(uintptr_t)pthread_self();

    while (!__atomic_load_n(&p->over, __ATOMIC_ACQUIRE)) {
        size_t at = __atomic_load_n(&p->answered, __ATOMIC_RELAXED);
        uint64_t id = noted(&p->to_answer, at);

        if (!id)
            usleep(200);
        else if (__atomic_compare_exchange_n(&p->answered, &at, at + 1, false, __ATOMIC_RELAXED,
                                             __ATOMIC_RELAXED))
            answer(p, id, &seed);
    }
    return NULL;
}

static void *watch(void *ud)
{
    struct party *p = ud;

    for (;;) {
        alk_host_event e[64];
        size_t n;

        ck_assert_msg(alk_host_wait(p->h, 30000) == 1, "no event came");
        n = alk_host_drain(p->h, e, sizeof *e, 64);
        for (size_t i = 0; i < n; i++) {
            if (e[i].kind == ALK_HOST_CALL) {
                note(&p->begun, e[i].id);
                note(&p->to_answer, e[i].id);
            } else if (e[i].kind == ALK_HOST_UP && p->sessions) {
                note(&p->begun, e[i].id);
                note(&p->up, e[i].id);
            } else if (e[i].kind == ALK_HOST_END) {
                note(&p->ended, e[i].id);
            } else if (e[i].kind == ALK_HOST_STOPPED) {
                ck_assert_uint_eq(i, n - 1);
                __atomic_store_n(&p->over, 1, __ATOMIC_RELEASE);
            }
        }
        alk_host_release(p->h, e, sizeof *e, n);
        if (__atomic_load_n(&p->over, __ATOMIC_ACQUIRE))
            return NULL;
    }
}

static void comes_to(const struct ids *ids, size_t count)
{
    for (int i = 0; i < 10000 && __atomic_load_n(&ids->count, __ATOMIC_RELAXED) < count; i++)
        usleep(1000);
    ck_assert_uint_ge(__atomic_load_n(&ids->count, __ATOMIC_RELAXED), count);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void same_ids(struct ids *a, struct ids *b)
{
    ck_assert_uint_eq(a->count, b->count);
    qsort(a->id, a->count, sizeof *a->id, by_number);
    qsort(b->id, b->count, sizeof *b->id, by_number);
    for (size_t i = 0; i < a->count; i++) {
        ck_assert_uint_eq(a->id[i], b->id[i]);
        ck_assert(i == 0 || a->id[i] != a->id[i - 1]);
    }
}

/* In some rounds all that can be done is done before the stop, in others hardly anything. */
static void stop(struct party *p, unsigned round)
{
    usleep(round % 4 ? round * 2500 : 200000);
    if (round % 3 == 0)
        alk_host_stop(p->h, 1);
    if (round % 3 == 0)
        usleep(3000);
    alk_host_stop(p->h, 0);
}

START_TEST(whatever_threads_do_each_id_ends_once)
{
    const char *config = "{\"limits\":{\"drain_ms\":500}}";
    alk_host_options o = {.size = sizeof o,
                          .config = config,
                          .config_len = strlen(config),
                          .queue_events = _i % 2 ? 0 : 200};
    struct party *p = calloc(1, sizeof *p);
    pthread_t threads[CALLERS + ANSWERERS + 1];
    size_t n = 0;

    p->round = (unsigned)_i;
    p->h = host_made(&o);
    host_adds(p->h, "demo/add", ALK_QUERY, 1);
    host_adds(p->h, "demo/tick", ALK_SUBSCRIPTION, 2);
    host_starts(p->h);
    pthread_create(&threads[n++], NULL, watch, p);
    for (int i = 0; i < CALLERS; i++)
        pthread_create(&threads[n++], NULL, call_much, p);
    for (int i = 0; i < ANSWERERS; i++)
        pthread_create(&threads[n++], NULL, answer_much, p);
    stop(p, p->round);
    while (n)
        pthread_join(threads[--n], NULL);
    alk_host_free(p->h);
    same_ids(&p->begun, &p->ended);
    free(p);
}
END_TEST

/* ---- connections ----------------------------------------------------------------------------- */

static void dial_one(struct party *p, unsigned *seed)
{
    char entry[256], err[640];
    uint64_t id;
    int rc;

    snprintf(entry, sizeof entry,
             "{\"url\":\"ws://127.0.0.1:%d\",\"token\":\"" TOKEN "\",\"reconnect\":%s}", p->port,
             rand_r(seed) % 2 ? "true" : "false");
    rc = alk_host_dial(p->h, TEXT(entry), 9, &id, err, sizeof err);
    expected(rc);
    if (rc)
        return;
    note(&p->begun, id);
    if (rand_r(seed) % 2)
        usleep((unsigned)rand_r(seed) % 3000);
    for (int i = 0; i < 3; i++) {
        alk_host_call_options o = {.size = sizeof o, .connection = id};
        uint64_t call;

        rc = alk_host_call(p->h, TEXT("demo/add"), "1", 1, &o, &call);
        expected(rc);
        if (rc == ALK_OK)
            note(&p->begun, call);
    }
    if (rand_r(seed) % 4)
        expected(alk_host_abort(p->h, id));
}

static void *dial_much(void *ud)
{
    struct party *p = ud;
    unsigned seed = p->round * 13 + (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < 60; i++)
        dial_one(p, &seed);
    return NULL;
}

static void *reload_much(void *ud)
{
    struct party *p = ud;

    for (int i = 0; i < 40; i++) {
        expected(alk_host_reload(p->h, TEXT(p->sessions ? with_listener() : "{}")));
        usleep(1000);
    }
    return NULL;
}

static void *stop_soon(void *ud)
{
    struct party *p = ud;
    unsigned seed = p->round * 7 + (unsigned)(uintptr_t)pthread_self();

    usleep(20000 * (p->round % 4));
    expected(alk_host_stop(p->h, rand_r(&seed) % 2));
    expected(alk_host_stop(p->h, 0));
    return NULL;
}

static struct party *party_of(unsigned round, const alk_host_options *o)
{
    struct party *p = calloc(1, sizeof *p);

    p->round = round;
    p->h = host_made(o);
    p->sessions = o->sessions;
    host_adds(p->h, "demo/add", ALK_QUERY, 1);
    host_starts(p->h);
    return p;
}

static void end_party(struct party *p)
{
    alk_host_free(p->h);
    same_ids(&p->begun, &p->ended);
    free(p);
}

START_TEST(connections_come_and_go_between_reloads_until_several_stop_it)
{
    static void *(*const works[])(void *) = {dial_much, dial_much, reload_much, stop_soon,
                                             stop_soon};
    char text[600];
    alk_host_options o = {.size = sizeof o, .config = text, .log_events = 1, .sessions = 1};
    pthread_t threads[16];
    size_t n = 0;

    snprintf(text, sizeof text, "{\"log\":{\"level\":\"debug\"},%s", with_listener() + 1);
    o.config_len = strlen(text);
    o.workers = _i % 2 ? 3 : 1;
    struct party *s = party_of((unsigned)_i, &o);
    o = (alk_host_options){.size = sizeof o, .log_events = 1};
    struct party *c = party_of((unsigned)_i, &o);
    alk_host_event e;
    do {
        e = host_next(s->h);
        c->port = e.kind == ALK_HOST_LISTENING ? atoi(strstr(e.text, "\"port\":") + 7) : 0;
        host_gives(s->h, &e);
    } while (!c->port);
    pthread_create(&threads[n++], NULL, watch, s);
    pthread_create(&threads[n++], NULL, answer_much, s);
    pthread_create(&threads[n++], NULL, reload_much, s);
    pthread_create(&threads[n++], NULL, watch, c);
    pthread_create(&threads[n++], NULL, answer_much, c);
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        pthread_create(&threads[n++], NULL, works[i], c);
    pthread_create(&threads[n++], NULL, stop_soon, s);
    while (n)
        pthread_join(threads[--n], NULL);
    end_party(c);
    end_party(s);
}
END_TEST

/* ---- calls in both directions ------------------------------------------------------------------ */

#define DIALLED 12

static uint64_t dialled[DIALLED];

static void *call_over_connections(void *ud)
{
    struct party *p = ud;
    unsigned seed = p->round * 11 + (unsigned)(uintptr_t)pthread_self();

    for (int i = 0; i < EACH / 2; i++) {
        alk_host_call_options o = {.size = sizeof o,
                                   .stream = (uint32_t)rand_r(&seed) % 2,
                                   .connection = dialled[(unsigned)rand_r(&seed) % DIALLED]};
        uint64_t id;
        int rc = alk_host_call(p->h, o.stream ? "demo/tick" : "demo/add", o.stream ? 9 : 8, "[1]",
                               3, &o, &id);

        expected(rc);
        if (rc == ALK_OK)
            note(&p->begun, id);
        if (rand_r(&seed) % 8 == 0)
            expected(alk_host_abort(p->h, any_of(&p->begun, &seed)));
        if (i % 50 == 0)
            usleep(3000);
    }
    return NULL;
}

/* Each call is answered and has its caller called, over connections of all workers, which go and come
 * again meanwhile. */
START_TEST(callers_are_called_back_while_connections_go)
{
    const char *config = with_listener();
    alk_host_options o = {.size = sizeof o,
                          .config = config,
                          .config_len = strlen(config),
                          .workers = 3,
                          .sessions = 1};
    struct party *s = calloc(1, sizeof *s), *c = calloc(1, sizeof *c);
    struct party *both[] = {s, c};
    pthread_t threads[16];
    size_t n = 0;

    s->h = host_made(&o);
    c->h = host_of("{}");
    s->sessions = true;
    for (int i = 0; i < 2; i++) {
        both[i]->round = (unsigned)_i;
        host_adds(both[i]->h, "demo/add", ALK_QUERY, 1);
        host_adds(both[i]->h, "demo/tick", ALK_SUBSCRIPTION, 2);
        host_starts(both[i]->h);
    }
    c->port = host_listens(s->h);
    for (int i = 0; i < DIALLED; i++) {
        char entry[256], err[640];

        snprintf(entry, sizeof entry,
                 "{\"url\":\"ws://127.0.0.1:%d\",\"token\":\"" TOKEN "\",\"announce\":%s}", c->port,
                 i % 2 ? "true" : "false");
        ck_assert_int_eq(alk_host_dial(c->h, TEXT(entry), 0, &dialled[i], err, sizeof err), ALK_OK);
        note(&c->begun, dialled[i]);
    }
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[n++], NULL, watch, both[i]);
        for (int k = 0; k < ANSWERERS; k++)
            pthread_create(&threads[n++], NULL, answer_much, both[i]);
    }
    comes_to(&s->up, DIALLED);
    for (int k = 0; k < 2; k++)
        pthread_create(&threads[n++], NULL, call_over_connections, c);
    comes_to(&s->to_answer, 1);
    comes_to(&c->to_answer, _i % 4 ? 0 : 5);
    stop(both[_i % 2], (unsigned)_i);
    stop(both[1 - _i % 2], (unsigned)_i);
    while (n)
        pthread_join(threads[--n], NULL);
    end_party(s);
    end_party(c);
}
END_TEST

/* ---- handlers on all workers ------------------------------------------------------------------- */

#define CHAIN 400 /* calls of the program's that a handler makes, one after the other */
#define CHAINS 12

static struct {
    unsigned made, failed;        /* atomic: of the calls within handlers */
    unsigned served, ended, late; /* late: behind ALK_HOST_DRAINED */
} chains;

struct chain {
    alk_call *call; /* a reference */
    int left;
};

static void go_on(struct chain *c);

static void on_link(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct chain *c = ud;

    (void)call;
    (void)fault;
    __atomic_add_fetch(&chains.failed, why != ALK_END_OK, __ATOMIC_RELAXED);
    if (why == ALK_END_OK && --c->left) {
        go_on(c);
        return;
    }
    alk_call_reply(c->call, "1", 1);
    alk_call_unref(c->call);
    free(c);
}

static void go_on(struct chain *c)
{
    alk_call_options o = {.size = sizeof o, .on_end = on_link, .ud = c};

    __atomic_add_fetch(&chains.made, 1, __ATOMIC_RELAXED);
    ck_assert_int_eq(alk_call_invoke(c->call, TEXT("demo/add"), "[1]", 3, &o, NULL), ALK_OK);
}

static int make_chain(alk_call *call, void *ud)
{
    struct chain *c = malloc(sizeof *c);

    (void)ud;
    ck_assert_ptr_nonnull(c);
    *c = (struct chain){alk_call_ref(call), CHAIN};
    go_on(c);
    return ALK_OK;
}

static void *serve_chains(void *ud)
{
    alk_host *h = ud;
    bool drained = false;

    for (;;) {
        alk_host_event e[64];
        size_t n;
        bool over = false;

        ck_assert_int_eq(alk_host_wait(h, 30000), 1);
        n = alk_host_drain(h, e, sizeof *e, 64);
        for (size_t i = 0; i < n; i++) {
            if (e[i].kind == ALK_HOST_CALL) {
                chains.late += drained;
                __atomic_add_fetch(&chains.served, 1, __ATOMIC_RELAXED);
                expected(alk_host_reply(h, e[i].id, "3", 1));
            }
            chains.ended += e[i].kind == ALK_HOST_END;
            drained |= e[i].kind == ALK_HOST_DRAINED;
            over |= e[i].kind == ALK_HOST_STOPPED;
        }
        alk_host_release(h, e, sizeof *e, n);
        if (over)
            return NULL;
    }
}

/* The loop that runs the program's calls is idle now and then, and others are not. */
START_TEST(what_handlers_do_on_any_worker_ends_well_in_a_graceful_stop)
{
    const char *config = with_listener();
    alk_host_options o = {
        .size = sizeof o, .workers = 3, .config = config, .config_len = strlen(config)};
    alk_host *s = host_made(&o), *c = host_of("{}");
    uint64_t conn[CHAINS];
    unsigned results = 0;
    pthread_t thread;
    alk_operation op;
    int port;

    memset(&chains, 0, sizeof chains);
    host_adds(s, "demo/add", ALK_QUERY, 1);
    alk_operation_init(&op, sizeof op);
    op.name = "demo/chain";
    op.handler = make_chain;
    op.authority = "{\"label\":\"chain\",\"scopes\":[]}";
    op.environment = "{\"allowed_ops\":[\"demo/add\"]}";
    ck_assert_int_eq(alk_registry_add(alk_host_registry(s), &op), ALK_OK);
    host_starts(s);
    port = host_listens(s);
    host_starts(c);
    pthread_create(&thread, NULL, serve_chains, s);
    for (int i = 0; i < CHAINS; i++) {
        char entry[256], err[640];
        alk_host_event e;

        snprintf(entry, sizeof entry,
                 "{\"url\":\"ws://127.0.0.1:%d\",\"token\":\"" TOKEN "\",\"reconnect\":false}",
                 port);
        ck_assert_int_eq(alk_host_dial(c, TEXT(entry), 0, &conn[i], err, sizeof err), ALK_OK);
        e = host_expects(c, ALK_HOST_UP, conn[i]);
        host_gives(c, &e);
    }
    for (int i = 0; i < CHAINS; i++) {
        alk_host_call_options to = {.size = sizeof to, .connection = conn[i], .tag = 1};

        host_calls(c, "demo/chain", "1", &to);
    }
    while (__atomic_load_n(&chains.served, __ATOMIC_RELAXED) < CHAINS * 5)
        usleep(1000);
    ck_assert_int_eq(alk_host_stop(s, 1), ALK_OK);
    pthread_join(thread, NULL);
    for (int ends = 0; ends < 2 * CHAINS;) { /* of the calls, and of the connections */
        alk_host_event e = host_next(c);

        ends += e.kind == ALK_HOST_END;
        results += e.kind == ALK_HOST_END && e.tag == 1 && e.rc == ALK_END_OK;
        host_gives(c, &e);
    }
    host_ends(c);
    alk_host_free(s);
    ck_assert_uint_eq(chains.failed, 0);
    ck_assert_uint_eq(chains.made, CHAINS * CHAIN);
    ck_assert_uint_eq(chains.served, chains.ended);
    ck_assert_uint_eq(chains.late, 0);
    ck_assert_uint_gt(results, 0);
}
END_TEST

static void *start_it(void *ud)
{
    host_starts(ud);
    return NULL;
}

/* What may be asked only until the start says so afterwards, and does no harm meanwhile. */
START_TEST(a_start_meets_what_comes_before_it)
{
    for (unsigned k = 0; k < 20; k++) {
        alk_host *h = host_of("{\"log\":{\"level\":\"warn\"}}");
        pthread_t thread;
        const char *text;
        size_t len;

        pthread_create(&thread, NULL, start_it, h);
        do {
            char err[100], name[20];
            alk_operation op;

            alk_operation_init(&op, sizeof op);
            snprintf(name, sizeof name, "demo/x%zu", len = (size_t)rand());
            op.name = name;
            alk_host_add(h, &op, 1, err, sizeof err);
            text = alk_host_config(h, "log", &len);
        } while (text);
        pthread_join(thread, NULL);
        host_ends(h);
    }
}
END_TEST

/* Without anybody who looks at the events. */
START_TEST(a_host_is_freed_at_any_moment)
{
    for (unsigned k = 0; k < 20; k++) {
        alk_host *h = host_of("{}");

        host_adds(h, "demo/add", ALK_QUERY, 1);
        host_starts(h);
        for (unsigned i = 0; i < k * 20; i++)
            host_calls(h, "demo/add", "1", NULL);
        if (k % 2)
            usleep(k * 100);
        alk_host_free(h);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host_threads");
    TCase *t = tcase_create("host_threads");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, whatever_threads_do_each_id_ends_once, 0, 12);
    tcase_add_loop_test(t, connections_come_and_go_between_reloads_until_several_stop_it, 0, 12);
    tcase_add_loop_test(t, callers_are_called_back_while_connections_go, 0, 12);
    tcase_add_loop_test(t, what_handlers_do_on_any_worker_ends_well_in_a_graceful_stop, 0, 6);
    tcase_add_test(t, a_start_meets_what_comes_before_it);
    tcase_add_test(t, a_host_is_freed_at_any_moment);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
