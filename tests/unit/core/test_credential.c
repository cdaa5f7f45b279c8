/* Credentials: whom each kind of proof is asked of, when it is asked again, and who hears of what has changed. */
#include "core/credential.h"
#include "core/node.h"
#include "support/suite.h"
#include "support/world.h"

/* What the provider answers, and how often each of its functions was asked. */
struct answers {
    alk_identity *who;
    int kind, tokens, prints, peers, users;
    uint64_t generation;
    alk_identity_provider p;
};

static int give(struct answers *a, alk_identity **out)
{
    if (a->who)
        *out = alk_identity_ref(a->who);
    return a->kind;
}

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    struct answers *a = ud;

    ck_assert(len == 6 && !memcmp(token, "secret", 6));
    a->tokens++;
    return give(a, out);
}

static int by_fingerprint(void *ud, const char *print, size_t len, alk_identity **out)
{
    struct answers *a = ud;

    ck_assert(len == 5 && !memcmp(print, "print", 5));
    a->prints++;
    return give(a, out);
}

static int by_peer(void *ud, const char *id, size_t len, alk_identity **out)
{
    struct answers *a = ud;

    ck_assert(len == 4 && !memcmp(id, "peer", 4));
    a->peers++;
    return give(a, out);
}

static int by_uid(void *ud, uint32_t uid, alk_identity **out)
{
    struct answers *a = ud;

    ck_assert_uint_eq(uid, 1000);
    a->users++;
    return give(a, out);
}

static const uint32_t user = 1000;
static const struct str uid = {(const char *)&user, sizeof user};

static uint64_t generation(void *ud)
{
    return ((struct answers *)ud)->generation;
}

static struct world *start(struct answers *a)
{
    struct world *w = world_new();

    memset(a, 0, sizeof *a);
    a->who = identity_of("a", "[]");
    a->kind = ALK_KIND_PEER;
    a->generation = 1;
    a->p = (alk_identity_provider){.size = sizeof a->p,
                                   .by_token = by_token,
                                   .by_fingerprint = by_fingerprint,
                                   .generation = generation,
                                   .ud = a,
                                   .by_peer = by_peer,
                                   .by_uid = by_uid};
    w->options.identities = &a->p;
    world_start(w);
    world_turn(w);
    return w;
}

static void stop(struct world *w, struct answers *a)
{
    alk_identity_unref(a->who);
    world_free(w);
}

static void answer(struct answers *a, const char *id, int kind)
{
    alk_identity_unref(a->who);
    a->who = id ? identity_of(id, "[\"new\"]") : NULL;
    a->kind = kind;
    a->generation++;
}

static struct credential *proved(struct world *w)
{
    struct credential *c;

    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_TOKEN, str_of("secret")), ALK_OK);
    return c;
}

/* Takes note, and then does to the credentials what the test wants. */
struct noted {
    struct watcher w;
    int told;
    bool gone;
    struct watcher *takes_out;
    struct credential *gives_up;
};

static void on_changed(struct watcher *w, bool gone)
{
    struct noted *n = container_of(w, struct noted, w);
    struct credential *c = n->gives_up;

    n->told++;
    n->gone = gone;
    if (n->takes_out)
        list_del(&n->takes_out->link);
    n->gives_up = NULL;
    credential_unref(c);
}

static void watch(struct noted *n, struct credential *c)
{
    memset(n, 0, sizeof *n);
    list_init(&n->w.link);
    n->w.changed = on_changed;
    credential_watch(c, &n->w);
}

START_TEST(each_proof_is_asked_of_its_own_function)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c;

    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_TOKEN, str_of("secret")), ALK_OK);
    ck_assert_ptr_eq(credential_identity(c), a.who);
    ck_assert_uint_eq(c->kind, ALK_KIND_PEER);
    credential_unref(c);
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_FINGERPRINT, str_of("print")), ALK_OK);
    credential_unref(c);
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_PEER, str_of("peer")), ALK_OK);
    credential_unref(c);
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_UID, uid), ALK_OK);
    ck_assert(!credential_is(c, uid));
    credential_unref(c);
    ck_assert(a.tokens == 1 && a.prints == 1 && a.peers == 1 && a.users == 1);
    answer(&a, NULL, ALK_KIND_NONE);
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_TOKEN, str_of("secret")), ALK_ENOENT);
    ck_assert_ptr_null(c);
    ck_assert_ptr_null(credential_identity(NULL));
    credential_unref(NULL);
    stop(w, &a);
}
END_TEST

START_TEST(who_cannot_be_asked_proves_nobody)
{
    struct answers a;
    struct world *w = world_new();
    alk_identity *who = identity_of("b", "[]");
    struct credential *c;

    world_start(w);
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_TOKEN, str_of("secret")), ALK_ENOENT);
    ck_assert_ptr_null(c);
    /* Vouched for by this program: good without anybody to ask. */
    c = credential_known(w->d, PROOF_VOUCHED, STR_NONE, who, ALK_KIND_KEY);
    ck_assert(c && credential_good(c) && c->who == who);
    credentials_sweep(w->d);
    credential_unref(c);
    alk_identity_unref(who);
    world_free(w);
    w = start(&a);
    w->node->identities.by_peer = NULL;
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_PEER, str_of("peer")), ALK_ENOENT);
    w->node->identities.by_uid = NULL;
    ck_assert_int_eq(credential_prove(&c, w->d, PROOF_UID, uid), ALK_ENOENT);
    stop(w, &a);
}
END_TEST

START_TEST(nothing_is_asked_again_before_something_has_changed)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c = proved(w);
    struct noted n;

    watch(&n, c);
    ck_assert(credential_good(c) && credential_good(c) && credential_good(NULL));
    credentials_sweep(w->d);
    ck_assert_int_eq(a.tokens, 1);
    answer(&a, "a", ALK_KIND_PEER);
    ck_assert(credential_good(c) && credential_good(c));
    ck_assert_int_eq(a.tokens, 2);
    ck_assert_ptr_eq(c->who, a.who);
    ck_assert(alk_identity_has_scope(c->who, "new", 3));
    credentials_sweep(w->d);
    ck_assert_int_eq(a.tokens, 2);
    ck_assert_int_eq(n.told, 0);
    list_del(&n.w.link);
    credential_unref(c);
    stop(w, &a);
}
END_TEST

START_TEST(who_watches_is_told_of_other_flags_and_of_the_end)
{
    static const struct {
        const char *id;
        int kind;
        int told;
        bool gone;
    } rows[] = {
        {"a", ALK_KIND_PEER, 0, false}, {"a", ALK_KIND_PEER | ALK_PEER_MAY_FORWARD, 1, false},
        {"a", ALK_KIND_KEY, 1, true},   {"b", ALK_KIND_PEER, 1, true},
        {NULL, ALK_KIND_NONE, 1, true}, {NULL, ALK_KIND_PEER, 1, true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int by_sweep = 0; by_sweep < 2; by_sweep++) {
            struct answers a;
            struct world *w = start(&a);
            struct credential *c = proved(w);
            struct noted n;

            watch(&n, c);
            answer(&a, rows[i].id, rows[i].kind);
            if (by_sweep)
                credentials_sweep(w->d);
            ck_assert_int_eq(credential_good(c), !rows[i].gone);
            ck_assert_int_eq(n.told, rows[i].told);
            ck_assert_int_eq(n.gone, rows[i].gone);
            ck_assert_str_eq(alk_identity_id(c->who), "a");
            /* What has gone stays gone, and nobody is asked about it. */
            answer(&a, "a", ALK_KIND_PEER);
            a.tokens = 0;
            ck_assert_int_eq(credential_good(c), !rows[i].gone);
            ck_assert_int_eq(a.tokens, !rows[i].gone);
            list_del(&n.w.link);
            credential_unref(c);
            stop(w, &a);
        }
    }
}
END_TEST

START_TEST(what_was_vouched_for_is_never_asked_about)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c = credential_known(w->d, PROOF_VOUCHED, STR_NONE, a.who, ALK_KIND_PEER);

    answer(&a, NULL, ALK_KIND_NONE);
    credentials_sweep(w->d);
    ck_assert(credential_good(c));
    ck_assert(a.tokens == 0 && a.prints == 0 && a.peers == 0);
    credential_unref(c);
    stop(w, &a);
}
END_TEST

/* The first takes the second out; the third gives up the only reference. */
START_TEST(who_is_told_may_take_others_out_and_let_go)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c = proved(w);
    struct noted first, second, third;

    watch(&first, c);
    watch(&second, c);
    watch(&third, c);
    first.takes_out = &second.w;
    third.takes_out = &third.w;
    third.gives_up = c;
    answer(&a, "a", ALK_KIND_PEER | ALK_PEER_MAY_FORWARD);
    credential_ref(c);
    credentials_sweep(w->d);
    ck_assert(first.told == 1 && second.told == 0 && third.told == 1);
    /* The last reference goes from within what is told of its end. */
    first.takes_out = &first.w;
    first.gives_up = c;
    answer(&a, NULL, ALK_KIND_NONE);
    credentials_sweep(w->d);
    ck_assert(first.told == 2 && first.gone && second.told == 0 && third.told == 1);
    stop(w, &a);
}
END_TEST

/* The end of one credential is that of the next in the list, as when a connection closes its calls. */
START_TEST(a_sweep_goes_on_when_others_go_meanwhile)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *one = proved(w), *two = proved(w), *three = proved(w);
    struct noted n, last;

    watch(&n, one);
    watch(&last, three);
    n.takes_out = &n.w;
    n.gives_up = two;
    last.takes_out = &last.w;
    answer(&a, NULL, ALK_KIND_NONE);
    credentials_sweep(w->d);
    ck_assert(n.told == 1 && last.told == 1);
    ck_assert_int_eq(a.tokens, 5); /* two was not asked about */
    ck_assert(!credential_good(one) && !credential_good(three));
    credential_unref(one);
    credential_unref(three);
    stop(w, &a);
}
END_TEST

START_TEST(a_token_is_known_again_by_all_of_its_bytes)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c = proved(w), *print;

    ck_assert(credential_is(c, str_of("secret")));
    ck_assert(!credential_is(c, str_of("secre")));
    ck_assert(!credential_is(c, str_of("secrets")));
    ck_assert(!credential_is(c, str_of("Secret")));
    ck_assert(!credential_is(c, str_of("secreT")));
    ck_assert_int_eq(credential_prove(&print, w->d, PROOF_FINGERPRINT, str_of("print")), ALK_OK);
    ck_assert(!credential_is(print, str_of("print")));
    credential_unref(print);
    credential_unref(c);
    stop(w, &a);
}
END_TEST

START_TEST(a_reference_keeps_it)
{
    struct answers a;
    struct world *w = start(&a);
    struct credential *c = proved(w), *same = credential_ref(c);

    credential_unref(c);
    ck_assert_str_eq(alk_identity_id(credential_identity(same)), "a");
    credential_unref(same);
    stop(w, &a);
}
END_TEST

START_TEST(an_address_fails_so_often_in_a_minute)
{
    struct world *w = world_new();

    w->limits.auth_failures_per_minute = 3;
    world_start(w);
    for (int i = 0; i < 3; i++)
        ck_assert(credential_failed(w->d, "192.0.2.1"));
    ck_assert(!credential_failed(w->d, "192.0.2.1"));
    ck_assert(credential_failed(w->d, "192.0.2.2"));
    for (int i = 0; i < 10; i++)
        ck_assert(credential_failed(w->d, NULL));
    ck_assert_uint_eq(world_stats(w).auth_failures, 15);
    world_advance(w, 60000);
    ck_assert(credential_failed(w->d, "192.0.2.1"));
    world_free(w);
    w = world_new();
    w->limits.auth_failures_per_minute = 0;
    world_start(w);
    for (int i = 0; i < 100; i++)
        ck_assert(credential_failed(w->d, "192.0.2.1"));
    world_free(w);
}
END_TEST

START_TEST(a_credential_is_whole_or_there_is_no_memory)
{
    struct answers a;
    struct world *w = start(&a);
    bool failed = true;

    for (long nth = 1; failed; nth++) {
        struct credential *c;
        int rc;

        ck_assert_int_lt(nth, 20);
        w->memory.failed = false;
        w->memory.fail_in = nth;
        rc = credential_prove(&c, w->d, PROOF_TOKEN, str_of("secret"));
        failed = w->memory.failed;
        w->memory.fail_in = 0;
        w->memory.failed = false;
        ck_assert_int_eq(rc, failed ? ALK_ENOMEM : ALK_OK);
        ck_assert_int_eq(c != NULL, !failed);
        credential_unref(c);
    }
    stop(w, &a);
}
END_TEST

MAIN("credential", each_proof_is_asked_of_its_own_function, who_cannot_be_asked_proves_nobody,
     nothing_is_asked_again_before_something_has_changed,
     who_watches_is_told_of_other_flags_and_of_the_end, what_was_vouched_for_is_never_asked_about,
     who_is_told_may_take_others_out_and_let_go, a_sweep_goes_on_when_others_go_meanwhile,
     a_token_is_known_again_by_all_of_its_bytes, a_reference_keeps_it,
     an_address_fails_so_often_in_a_minute, a_credential_is_whole_or_there_is_no_memory)
