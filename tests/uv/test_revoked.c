/* What becomes of a request that runs when its token proves something else by then. */
#include "support/suite.h"
#include "uv/rig.h"

#define AS_TESTER "Authorization: Bearer " RIG_TOKEN "\r\n\r\n"
#define ECHO_AS_TESTER POST_HEAD("/call", "32") AS_TESTER "{\"operation\":\"t/echo\",\"input\":7}"
#define LATER_AS_TESTER POST_HEAD("/call", "23") AS_TESTER "{\"operation\":\"t/later\"}"
#define STREAM_AS_TESTER POST_HEAD("/subscribe", "24") AS_TESTER "{\"operation\":\"t/stream\"}"

static struct client a;

/* What the token proves at the moment. */
static struct proof {
    const char *identity; /* NULL: nobody */
    int kind;
} proof;
static uint64_t generation;

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    (void)ud, (void)token, (void)len;
    if (!proof.identity)
        return ALK_KIND_NONE;
    *out = alk_identity_new(TEXT(proof.identity));
    return proof.kind;
}

static uint64_t generation_of(void *ud)
{
    (void)ud;
    return generation;
}

static const struct {
    struct proof before, after;
    bool kept;
} cases[] = {
    {{"{\"id\":\"one\"}", ALK_KIND_KEY}, {NULL, ALK_KIND_NONE}, false},
    {{"{\"id\":\"one\"}", ALK_KIND_KEY}, {"{\"id\":\"two\"}", ALK_KIND_KEY}, false},
    {{"{\"id\":\"one\"}", ALK_KIND_PEER}, {"{\"id\":\"one\"}", ALK_KIND_KEY}, false},
    {{"{\"id\":\"one\"}", ALK_KIND_KEY}, {"{\"id\":\"one\"}", ALK_KIND_PEER}, false},
    {{"{\"id\":\"one\"}", ALK_KIND_KEY},
     {"{\"id\":\"one\",\"scopes\":[\"s\"]}", ALK_KIND_KEY},
     true},
    {{"{\"id\":\"one\"}", ALK_KIND_PEER},
     {"{\"id\":\"one\"}", ALK_KIND_PEER | ALK_PEER_WEBSOCKET},
     true},
};

static const alk_identity_provider provider = {.size = sizeof(alk_identity_provider),
                                               .by_token = by_token,
                                               .by_fingerprint = rig_by_fingerprint,
                                               .generation = generation_of};

static struct rig *start(const struct proof *first)
{
    struct rig *r = rig_new();

    proof = *first;
    r->options.identities = &provider;
    rig_start(r);
    client_open(&a, &r->uv, r->port);
    return r;
}

static void revoke_token(void)
{
    proof = cases[0].after;
    generation++;
}

static void finish(struct rig *r)
{
    client_close(&a);
    rig_free(r);
}

/* On a connection that has resolved the token before, and so remembers it. */
START_TEST(a_stream_lasts_as_long_as_its_token_proves_the_same_identity)
{
    struct rig *r = start(&cases[_i].before);

    client_send(&a, ECHO_AS_TESTER);
    ck_assert_int_eq(client_answer(&a), 200);
    client_send(&a, STREAM_AS_TESTER);
    ck_assert_int_eq(client_head(&a), 200);
    rig_until(r, r->stream.starts);
    served_emit(&r->stream, "1");
    client_body_until(&a, "data: 1\n\n");
    proof = cases[_i].after;
    generation++;
    if (cases[_i].kept) {
        rig_steps(r, 20);
        served_emit(&r->stream, "2");
        client_body_until(&a, "data: 2\n\n");
    } else {
        client_ended(&a);
        ck_assert_uint_eq(a.len, 0); /* no proper end */
        rig_until(r, r->stream.ends);
        ck_assert_int_eq(r->stream.why, ALK_END_ABORTED);
    }
    finish(r);
}
END_TEST

/* Not even what it began with its right: who has been thrown out hears nothing more. */
START_TEST(a_call_that_runs_is_ended_when_its_token_proves_nobody)
{
    struct rig *r = start(&cases[0].before);

    client_send(&a, LATER_AS_TESTER);
    rig_until(r, r->later.starts);
    revoke_token();
    ck_assert_int_eq(client_answer(&a), 401);
    rig_until(r, r->later.ends);
    ck_assert_int_eq(r->later.why, ALK_END_ABORTED);
    client_send(&a, LATER_AS_TESTER);
    ck_assert_int_eq(client_answer(&a), 401);
    finish(r);
}
END_TEST

START_TEST(a_body_that_is_on_its_way_calls_nothing_when_its_token_proves_nobody)
{
    struct rig *r = start(&cases[0].before);

    client_send(&a, POST_HEAD("/call", "23") AS_TESTER "{\"operation\"");
    rig_steps(r, 20);
    revoke_token();
    client_send(&a, ":\"t/later\"}");
    ck_assert_int_eq(client_answer(&a), 401);
    rig_steps(r, 20);
    ck_assert_int_eq(r->later.starts, 0);
    finish(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("revoked");
    TCase *t = tcase_create("core");
    SRunner *runner = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, a_stream_lasts_as_long_as_its_token_proves_the_same_identity, 0,
                        sizeof cases / sizeof cases[0]);
    tcase_add_test(t, a_call_that_runs_is_ended_when_its_token_proves_nobody);
    tcase_add_test(t, a_body_that_is_on_its_way_calls_nothing_when_its_token_proves_nobody);
    suite_add_tcase(s, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
