/* What ends when a credential is taken away, and what does not begin: by the connection's own, and by
 * one that came in a request. */
#include "core/credential.h"
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* Two tokens, each of which proves what is said here; NULL: nobody. */
static struct token {
    const char *text, *identity;
    int kind, asked;
} tokens[2];
static uint64_t generation;

static int by_token(void *ud, const char *text, size_t len, alk_identity **out)
{
    (void)ud;
    for (size_t i = 0; i < 2; i++) {
        struct token *t = &tokens[i];

        if (strlen(t->text) != len || memcmp(t->text, text, len) != 0)
            continue;
        t->asked++;
        if (!t->identity)
            return ALK_KIND_NONE;
        *out = alk_identity_new(TEXT(t->identity));
        return t->kind;
    }
    return ALK_KIND_NONE;
}

static int by_fingerprint(void *ud, const char *text, size_t len, alk_identity **out)
{
    (void)ud, (void)text, (void)len, (void)out;
    return ALK_KIND_NONE;
}

static uint64_t generation_of(void *ud)
{
    (void)ud;
    return generation;
}

static const alk_identity_provider provider = {.size = sizeof(alk_identity_provider),
                                               .by_token = by_token,
                                               .by_fingerprint = by_fingerprint,
                                               .generation = generation_of};

static int revoke_second(alk_call *call, void *ud)
{
    (void)ud;
    tokens[1].identity = NULL;
    generation++;
    return alk_call_reply(call, TEXT("1"));
}

/* n->r came by the first token. */
static void start(struct node *n)
{
    alk_connection_options o = {.size = sizeof o};

    tokens[0] = (struct token){"first", "{\"id\":\"one\"}", ALK_KIND_KEY, 0};
    tokens[1] = (struct token){"second", "{\"id\":\"two\"}", ALK_KIND_KEY, 0};
    node_add(n);
    world_add(n->w, "t/revoke", ALK_QUERY, revoke_second, NULL);
    n->w->options.identities = &provider;
    world_start(n->w);
    o.by_token = tokens[0].text;
    o.identity = alk_identity_new(TEXT(tokens[0].identity));
    o.kind = ALK_KIND_KEY;
    n->r = wire_open(n->w, &o);
    alk_identity_unref(o.identity);
}

static void ask_by_second(struct node *n, const char *id, const char *operation)
{
    wire_request_with(n->r, id, operation, "null", ",\"auth_token\":\"second\"");
}

#define REVOKED(id)                                                                                \
    "{\"type\":\"call.error\",\"id\":\"" id                                                        \
    "\",\"payload\":{\"code\":\"FORBIDDEN\",\"message\":\"the credential has been "                \
    "revoked\",\"retryable\":false}}"

static void revoke(size_t token)
{
    tokens[token].identity = NULL;
    generation++;
}

START_TEST(a_call_by_its_own_token_ends_with_that_and_the_others_go_on)
{
    struct node n;

    start(&n);
    ask_by_second(&n, "a", "t/stream");
    wire_request(n.r, "b", "t/query", "null");
    world_turn(n.w);
    ck_assert_int_eq(n.stream.starts + n.query.starts, 2);
    revoke(1);
    wire_expect(n.r, REVOKED("a"));
    ck_assert_int_eq(n.stream.ends, 1);
    ck_assert_int_eq(n.stream.why, ALK_END_FAULT);
    ck_assert_int_eq(n.query.ends, 0);
    ck_assert_int_eq(n.r->closes, 0);
    node_fini(&n);
}
END_TEST

START_TEST(a_connection_ends_with_its_credential_and_all_its_calls_do)
{
    struct node n;

    start(&n);
    ask_by_second(&n, "a", "t/stream");
    wire_request(n.r, "b", "t/query", "null");
    world_turn(n.w);
    revoke(0);
    world_turn(n.w);
    ck_assert_int_eq(n.r->closes, 1);
    ck_assert_int_eq(n.r->close_code, ALK_CLOSE_IDENTITY);
    ck_assert_int_eq(n.stream.why + n.query.why, 2 * ALK_END_CLOSED);
    node_fini(&n);
}
END_TEST

/* No turn has been since: whoever starts something asks. */
START_TEST(what_comes_before_the_next_turn_starts_nothing)
{
    struct node n;

    start(&n);
    ask_by_second(&n, "a", "t/echo");
    wire_expect(n.r, RESPONDED("a", "null"));
    revoke(1);
    ask_by_second(&n, "b", "t/query");
    world_turn(n.w);
    /* It fails like any token that is nobody's, and the call goes on as the connection's. */
    ck_assert_int_eq(n.query.starts, 1);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(n.query.call)), "one");
    ck_assert_uint_eq(world_stats(n.w).auth_failures, 1);
    revoke(0);
    ck_assert_int_eq(wire_feed(n.r, "{\"type\":\"call.requested\",\"id\":\"c\",\"payload\":"
                                    "{\"operationId\":\"t/stream\"}}"),
                     ALK_ECLOSED);
    world_turn(n.w);
    ck_assert_int_eq(n.stream.starts, 0);
    node_fini(&n);
}
END_TEST

/* In the queue already, and the one before it takes the right away. */
START_TEST(what_is_queued_when_its_credential_goes_does_not_start)
{
    struct node n;

    start(&n);
    wire_request(n.r, "a", "t/revoke", "null");
    ask_by_second(&n, "b", "t/query");
    wire_expect(n.r, RESPONDED("a", "1"));
    wire_expect(n.r, REVOKED("b"));
    ck_assert_int_eq(n.query.starts, 0);
    node_fini(&n);
}
END_TEST

START_TEST(one_that_has_gone_stays_gone)
{
    struct node n;
    struct credential *c;

    start(&n);
    ck_assert_int_eq(credential_prove(&c, n.w->d, PROOF_TOKEN, str_of("second")), ALK_OK);
    ck_assert(credential_good(c));
    revoke(1);
    ck_assert(!credential_good(c));
    tokens[1].identity = "{\"id\":\"two\"}";
    generation++;
    ck_assert(!credential_good(c));
    credential_unref(c);
    ck_assert_int_eq(credential_prove(&c, n.w->d, PROOF_TOKEN, str_of("second")), ALK_OK);
    credential_unref(c);
    node_fini(&n);
}
END_TEST

START_TEST(a_token_that_is_used_again_is_not_looked_up_again)
{
    struct node n;

    start(&n);
    for (int i = 0; i < 10; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        ask_by_second(&n, id, "t/echo");
        world_turn(n.w);
    }
    ck_assert_int_eq(tokens[1].asked, 1);
    generation++;
    ask_by_second(&n, "x", "t/echo");
    world_turn(n.w);
    ck_assert_int_eq(tokens[1].asked, 2);
    node_fini(&n);
}
END_TEST

/* Over all connections from there; who has a good one is not among them. */
START_TEST(wrong_tokens_are_charged_to_the_address_that_they_come_from)
{
    struct node n;
    alk_connection_options o = {.size = sizeof o};
    struct wire *other;

    tokens[0].text = tokens[1].text = "";
    node_add(&n);
    n.w->options.identities = &provider;
    n.w->limits.auth_failures_per_minute = 5;
    world_start(n.w);
    o.remote = "10.0.0.1";
    n.r = wire_open(n.w, &o);
    for (int i = 0; i < 5; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", i);
        wire_request_with(n.r, id, "t/echo", "null", ",\"auth_token\":\"wrong\"");
        world_turn(n.w);
    }
    ck_assert_int_eq(n.r->closes, 0);
    other = wire_open(n.w, &o);
    ck_assert_int_eq(wire_feed(other, "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":"
                                      "{\"operationId\":\"t/echo\",\"auth_token\":\"wrong\"}}"),
                     ALK_ECLOSED);
    world_turn(n.w);
    ck_assert_int_eq(other->close_code, ALK_CLOSE_IDENTITY);
    wire_free(other);
    o.remote = "10.0.0.2";
    other = wire_open(n.w, &o);
    wire_request_with(other, "1", "t/echo", "null", ",\"auth_token\":\"wrong\"");
    world_turn(n.w);
    ck_assert_int_eq(other->closes, 0);
    wire_free(other);
    node_fini(&n);
}
END_TEST

MAIN("revoked", a_call_by_its_own_token_ends_with_that_and_the_others_go_on,
     a_connection_ends_with_its_credential_and_all_its_calls_do,
     what_comes_before_the_next_turn_starts_nothing,
     what_is_queued_when_its_credential_goes_does_not_start, one_that_has_gone_stays_gone,
     a_token_that_is_used_again_is_not_looked_up_again,
     wrong_tokens_are_charged_to_the_address_that_they_come_from)
