/* Two nodes that call each other both ways: over the in-process pair, and over two pipes of small
 * capacity, where what is written waits until the other side has been given it. */
#include "support/suite.h"
#include "support/world.h"

#include <stdio.h>
#include <string.h>

struct side {
    struct world *w;
    alk_connection *c;
    struct served query, stream;
};

/* A producer that emits as fast as it may: the numbers from 0 on, each with some padding. */
struct producer {
    int total, sent, blocked;
    const char *padding;
};

static void produce(alk_call *call, void *ud)
{
    struct producer *p = ud;
    char value[2000];

    for (; p->sent < p->total; p->sent++) {
        int rc;

        snprintf(value, sizeof value, "[%d,\"%s\"]", p->sent, p->padding);
        rc = alk_call_emit(call, TEXT(value));
        if (rc == ALK_EAGAIN) {
            p->blocked++;
            return;
        }
        must(rc == ALK_OK);
    }
    must(alk_call_complete(call) == ALK_OK);
}

static int serve_producer(alk_call *call, void *ud)
{
    must(alk_call_on_drain(call, produce, ud) == ALK_OK);
    produce(call, ud);
    return ALK_OK;
}

/* The subscriber's side: values must come in order. */
struct consumer {
    alk_call *call;
    int values, ends, why;
    char code[64];
};

static void consume(alk_call *call, const alk_value *value, void *ud)
{
    struct consumer *c = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    must(text && !c->ends && atoi(text + 1) == c->values);
    c->values++;
}

static void consumed(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct consumer *c = ud;

    (void)call;
    c->ends++;
    c->why = why;
    snprintf(c->code, sizeof c->code, "%s", fault ? fault->code : "");
}

static void subscribe(struct consumer *c, alk_connection *conn)
{
    alk_call_options o = {.size = sizeof o};

    memset(c, 0, sizeof *c);
    o.stream = 1;
    o.on_event = consume;
    o.on_end = consumed;
    o.ud = c;
    ck_assert_int_eq(alk_connection_call(conn, TEXT("t/produce"), TEXT("null"), &o, &c->call),
                     ALK_OK);
}

static void side_add(struct side *s, struct producer *p)
{
    memset(s, 0, sizeof *s);
    s->w = world_new();
    world_add(s->w, "t/query", ALK_QUERY, serve_later, &s->query);
    world_add(s->w, "t/stream", ALK_SUBSCRIPTION, serve_later, &s->stream);
    world_add(s->w, "t/echo", ALK_QUERY, serve_echo, NULL);
    if (p)
        world_add(s->w, "t/produce", ALK_SUBSCRIPTION, serve_producer, p);
}

static void pair_start(struct side *a, struct side *b)
{
    alk_connection_options o = {.size = sizeof o};

    world_start(a->w);
    world_start(b->w);
    ck_assert_int_eq(alk_pair_open(a->w->d, &o, &a->c, b->w->d, &o, &b->c), ALK_OK);
}

static void pair_init(struct side *a, struct side *b)
{
    side_add(a, NULL);
    side_add(b, NULL);
    pair_start(a, b);
}

static void side_fini(struct side *s)
{
    alk_connection_unref(s->c);
    served_free(&s->query);
    served_free(&s->stream);
    world_free(s->w);
}

static void pair_fini(struct side *a, struct side *b)
{
    side_fini(a);
    side_fini(b);
}

/* ---- calls ----------------------------------------------------------------------------------- */

START_TEST(both_sides_call_each_other_at_the_same_time)
{
    struct side a, b;
    struct asked of_a, of_b, stream;

    pair_init(&a, &b);
    ask(&of_a, a.c, "t/query", "null");
    ask(&of_b, b.c, "t/query", "null");
    ask_stream(&stream, a.c, "t/stream", "null");
    world_settle(a.w, b.w);
    ck_assert_int_eq(a.query.starts + b.query.starts + b.stream.starts, 3);
    served_reply(&a.query, "\"from a\"");
    served_reply(&b.query, "\"from b\"");
    served_emit(&b.stream, "1");
    served_emit(&b.stream, "2");
    world_settle(a.w, b.w);
    ck_assert_str_eq(asked_outcome(&of_a), "ok \"from b\"");
    ck_assert_str_eq(asked_outcome(&of_b), "ok \"from a\"");
    ck_assert_str_eq(stream.text, "1 2");
    ck_assert_int_eq(alk_call_complete(b.stream.call), ALK_OK);
    world_settle(a.w, b.w);
    ck_assert_str_eq(asked_outcome(&stream), "ok 1 2");
    asked_free(&of_a);
    asked_free(&of_b);
    asked_free(&stream);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(the_two_ends_may_belong_to_one_dispatcher)
{
    struct side s;
    alk_connection *other;
    alk_connection_options o = {.size = sizeof o};
    struct asked x, y;

    side_add(&s, NULL);
    world_start(s.w);
    ck_assert_int_eq(alk_pair_open(s.w->d, &o, &s.c, s.w->d, &o, &other), ALK_OK);
    ask(&x, s.c, "t/echo", "[1]");
    ask(&y, other, "t/echo", "[2]");
    world_turn(s.w);
    ck_assert_str_eq(asked_outcome(&x), "ok [1]");
    ck_assert_str_eq(asked_outcome(&y), "ok [2]");
    alk_connection_close(other, ALK_CLOSE_SHUTDOWN);
    world_turn(s.w);
    ck_assert_uint_eq(world_stats(s.w).connections, 0);
    asked_free(&x);
    asked_free(&y);
    alk_connection_unref(other);
    side_fini(&s);
}
END_TEST

START_TEST(each_side_vouches_for_the_other)
{
    struct side a, b;
    alk_connection_options to_b = {.size = sizeof to_b}, to_a = {.size = sizeof to_a};
    struct asked x, y;

    side_add(&a, NULL);
    side_add(&b, NULL);
    world_start(a.w);
    world_start(b.w);
    to_b.identity = identity_of("b-as-a-knows-it", "[]");
    to_a.identity = identity_of("a-as-b-knows-it", "[]");
    ck_assert_int_eq(alk_pair_open(a.w->d, &to_b, &a.c, b.w->d, &to_a, &b.c), ALK_OK);
    alk_identity_unref(to_b.identity);
    alk_identity_unref(to_a.identity);
    ask(&x, a.c, "t/query", "null");
    ask(&y, b.c, "t/query", "null");
    world_settle(a.w, b.w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(b.query.call)), "a-as-b-knows-it");
    ck_assert_str_eq(alk_identity_id(alk_call_identity(a.query.call)), "b-as-a-knows-it");
    ck_assert_str_eq(alk_identity_id(alk_connection_identity(a.c)), "b-as-a-knows-it");
    asked_drop(&x, a.w);
    asked_drop(&y, b.w);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(faults_of_the_other_side_arrive_as_they_are)
{
    static const char *const cases[][3] = {
        {"t/none", "null", "fault NOT_FOUND: operation not found: t/none"},
        {"t/query", "\"own\"", "fault OWN: mine"},
        {"t/query", "\"protocol\"", "fault INTERNAL: mine"},
    };
    struct side a, b;

    pair_init(&a, &b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asked x;
        int starts = b.query.starts;

        ask(&x, a.c, cases[i][0], cases[i][1]);
        world_settle(a.w, b.w);
        if (b.query.starts > starts)
            ck_assert_int_eq(served_fail(&b.query, i == 1 ? "OWN" : "BUSY", "mine", NULL), ALK_OK);
        world_settle(a.w, b.w);
        ck_assert_str_eq(asked_outcome(&x), cases[i][2]);
        asked_free(&x);
    }
    pair_fini(&a, &b);
}
END_TEST

START_TEST(an_abort_cancels_the_others_handler)
{
    struct side a, b;
    struct asked x;

    pair_init(&a, &b);
    ask_stream(&x, a.c, "t/stream", "null");
    world_settle(a.w, b.w);
    served_emit(&b.stream, "1");
    world_settle(a.w, b.w);
    ck_assert_int_eq(alk_call_abort(x.call), ALK_OK);
    world_settle(a.w, b.w);
    ck_assert_str_eq(asked_outcome(&x), "aborted 1");
    ck_assert_int_eq(b.stream.ends, 1);
    ck_assert_int_eq(b.stream.why, ALK_END_ABORTED);
    ck_assert_int_eq(alk_call_emit(b.stream.call, "2", 1), ALK_EENDED);
    asked_free(&x);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(the_callers_time_reaches_the_other_side)
{
    struct side a, b;
    struct asked x;
    alk_call_options o;

    pair_init(&a, &b);
    asked_options(&x, &o);
    o.timeout_ms = 500;
    ck_assert_int_eq(alk_connection_call(a.c, TEXT("t/query"), TEXT("null"), &o, &x.call), ALK_OK);
    world_settle(a.w, b.w);
    ck_assert_uint_eq(context_of(b.query.call).deadline, b.w->now + 500 * MS);
    a.w->now += 500 * MS;
    world_settle(a.w, b.w);
    ck_assert_int_eq(x.why, ALK_END_TIMEOUT);
    ck_assert_int_eq(b.query.ends, 1);
    ck_assert(b.query.why == ALK_END_TIMEOUT || b.query.why == ALK_END_ABORTED);
    asked_free(&x);
    pair_fini(&a, &b);
}
END_TEST

struct chain {
    struct side *s;
    int left, done;
};

static void on_link_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct chain *c = ud;
    alk_call_options o = {.size = sizeof o};

    (void)call;
    (void)fault;
    must(why == ALK_END_OK);
    c->done = --c->left == 0;
    if (c->done)
        return;
    o.on_end = on_link_end;
    o.ud = c;
    must(alk_connection_call(c->s->c, TEXT("t/echo"), TEXT("1"), &o, NULL) == ALK_OK);
}

START_TEST(the_end_of_one_call_may_start_the_next)
{
    struct side a, b;
    struct chain chain = {&a, 5000, 0};
    alk_call_options o = {.size = sizeof o};

    pair_init(&a, &b);
    o.on_end = on_link_end;
    o.ud = &chain;
    ck_assert_int_eq(alk_connection_call(a.c, TEXT("t/echo"), TEXT("1"), &o, NULL), ALK_OK);
    world_until(a.w, b.w, &chain.done);
    ck_assert_int_eq(chain.left, 0);
    pair_fini(&a, &b);
}
END_TEST

/* ---- many and large values ------------------------------------------------------------------- */

START_TEST(a_burst_of_small_values_arrives_whole)
{
    struct producer p = {.total = 20000, .padding = ""};
    struct side a, b;
    struct consumer c;

    side_add(&a, NULL);
    side_add(&b, &p);
    pair_start(&a, &b);
    subscribe(&c, a.c);
    world_until(a.w, b.w, &c.ends);
    ck_assert_msg(c.why == ALK_END_OK, "%d values, then %s", c.values, c.code);
    ck_assert_int_eq(c.values, 20000);
    ck_assert_int_eq(c.ends, 1);
    alk_call_unref(c.call);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(a_fast_producer_is_held_by_a_subscriber_that_pauses)
{
    char padding[1000];
    struct producer p = {.total = 50000, .padding = padding};
    struct side a, b;
    struct consumer c;
    int sent, values;

    memset(padding, 'x', sizeof padding - 1);
    padding[sizeof padding - 1] = 0;
    side_add(&a, NULL);
    side_add(&b, &p);
    pair_start(&a, &b);
    subscribe(&c, a.c);
    world_turn(a.w);
    world_turn(b.w);
    ck_assert_int_eq(alk_call_pause(c.call, 1), ALK_OK);
    world_settle(a.w, b.w);
    world_settle(a.w, b.w);
    sent = p.sent;
    values = c.values;
    ck_assert_int_lt(sent, 5000);
    world_settle(a.w, b.w);
    ck_assert_int_eq(p.sent, sent);
    ck_assert_int_eq(c.values, values);
    ck_assert_int_eq(c.ends, 0);
    ck_assert_int_eq(alk_call_pause(c.call, 0), ALK_OK);
    world_until(a.w, b.w, &c.ends);
    ck_assert_int_eq(c.why, ALK_END_OK);
    ck_assert_int_eq(c.values, 50000);
    alk_call_unref(c.call);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(a_large_value_goes_through_both_ways)
{
    size_t n = 10 << 20;
    char *large = malloc(n + 1);
    struct side a, b;
    alk_connection_options o = {.size = sizeof o};
    struct asked x, y;

    ck_assert_ptr_nonnull(large);
    memset(large, 'x', n);
    large[0] = large[n - 1] = '"';
    large[n] = 0;
    side_add(&a, NULL);
    side_add(&b, NULL);
    /* Each side holds it several times at once: as it came, as it goes, and while it is read. */
    a.w->limits.message_budget = b.w->limits.message_budget = 1u << 30;
    world_start(a.w);
    world_start(b.w);
    o.identity = identity_of("known", "[]");
    ck_assert_int_eq(alk_pair_open(a.w->d, &o, &a.c, b.w->d, &o, &b.c), ALK_OK);
    alk_identity_unref(o.identity);
    ask(&x, a.c, "t/echo", large);
    ask(&y, b.c, "t/echo", large);
    world_settle(a.w, b.w);
    ck_assert_int_eq(x.ends + y.ends, 2);
    ck_assert_str_eq(x.text, large);
    ck_assert_str_eq(y.text, large);
    asked_free(&x);
    asked_free(&y);
    free(large);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(a_large_answer_may_come_from_a_remote_without_identity)
{
    char *large = malloc(3000001);
    struct side a, b;
    struct asked x;

    ck_assert_ptr_nonnull(large);
    memset(large, 'x', 3000000);
    large[0] = large[2999999] = '"';
    large[3000000] = 0;
    pair_init(&a, &b);
    ask(&x, a.c, "t/query", "null");
    world_settle(a.w, b.w);
    served_reply(&b.query, large);
    world_settle(a.w, b.w);
    ck_assert_int_eq(x.ends, 1);
    ck_assert_str_eq(x.text, large);
    asked_free(&x);
    free(large);
    pair_fini(&a, &b);
}
END_TEST

/* A value that comes near a limit: 0 by depth, 1 by its number of values, 2 by its bytes. */
static void near_limit(char value[9000], int kind, int size)
{
    if (kind == 0) {
        memset(value, '[', (size_t)size);
        memset(value + size, ']', (size_t)size);
        value[2 * size] = 0;
        return;
    }
    strcpy(value, kind == 1 ? "[" : "\"");
    for (int i = 0; i < size; i++)
        strcat(value, kind == 1 ? (i ? ",0" : "0") : "x");
    strcat(value, kind == 1 ? "]" : "\"");
}

#define EACH_NEAR_LIMIT(kind, size)                                                                \
    for (int kind = 0; kind < 3; kind++)                                                           \
        for (int size = kind == 2 ? 7300 : 1; size < (kind == 2 ? 8300 : 80);                      \
             size += kind == 2 ? 23 : 1)

static void narrow(struct side *s)
{
    side_add(s, NULL);
    s->w->limits.json_depth = 20;
    s->w->limits.json_values = 60;
    s->w->limits.frame_bytes = 8000;
}

/* What a receiver would refuse is refused where it is made: the connection lives on, and the call
 * has its end. */
START_TEST(outputs_near_a_limit_never_cost_the_connection)
{
    struct side a, b;

    narrow(&a);
    narrow(&b);
    pair_start(&a, &b);
    EACH_NEAR_LIMIT(kind, size)
    {
        char value[9000];
        struct asked x;
        int rc;

        near_limit(value, kind, size);
        ask(&x, a.c, "t/query", "null");
        world_settle(a.w, b.w);
        rc = alk_call_reply(b.query.call, TEXT(value));
        if (rc == ALK_EJSON)
            must(alk_call_reply(b.query.call, "0", 1) == ALK_OK);
        else
            must(rc == ALK_OK || rc == ALK_ELIMIT);
        world_settle(a.w, b.w);
        ck_assert_msg(x.ends == 1 && (!x.code || !strcmp(x.message, "output too large")),
                      "kind %d size %d: %s", kind, size, asked_outcome(&x));
        asked_free(&x);
    }
    ck_assert_uint_eq(world_stats(a.w).connections, 1);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(faults_near_a_limit_never_cost_the_connection)
{
    struct side a, b;

    narrow(&a);
    narrow(&b);
    pair_start(&a, &b);
    EACH_NEAR_LIMIT(kind, size)
    {
        for (int where = 0; where < 2; where++) {
            char value[9000];
            struct asked x;
            int rc;

            near_limit(value, kind, size);
            ask(&x, a.c, "t/query", "null");
            world_settle(a.w, b.w);
            rc = served_fail(&b.query, "OWN", where ? value : "mine", where ? NULL : value);
            if (rc)
                must(served_fail(&b.query, "OWN", "mine", NULL) ==
                     (rc == ALK_ELIMIT ? ALK_EENDED : ALK_OK));
            world_settle(a.w, b.w);
            ck_assert_msg(x.ends == 1 && x.code && strcmp(x.message, "connection closed"),
                          "%s, kind %d size %d: %s", where ? "message" : "details", kind, size,
                          asked_outcome(&x));
            asked_free(&x);
        }
    }
    ck_assert_uint_eq(world_stats(a.w).connections, 1);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(inputs_near_a_limit_never_cost_the_connection)
{
    struct side a, b;
    alk_identities *ids = alk_identities_new();
    alk_identity_provider p;
    alk_connection_options o = {.size = sizeof o};
    char token[ALK_TOKEN_SIZE], hash[65], config[200];

    ck_assert_int_eq(alk_token_new(token), ALK_OK);
    alk_token_hash(TEXT(token), hash);
    snprintf(config, sizeof config, "{\"keys\":[{\"prefix\":\"%.8s\",\"hash\":\"%s\"}]}", token,
             hash);
    ck_assert_int_eq(alk_identities_load(ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
    alk_identities_provider(ids, &p, sizeof p);
    narrow(&a);
    narrow(&b);
    b.w->options.identities = &p;
    world_start(a.w);
    world_start(b.w);
    o.token = token;
    ck_assert_int_eq(alk_pair_open(a.w->d, &o, &a.c, b.w->d, &o, &b.c), ALK_OK);
    EACH_NEAR_LIMIT(kind, size)
    {
        alk_call_options co;
        char value[9000];
        struct asked x;
        int rc;

        near_limit(value, kind, size);
        asked_options(&x, &co);
        co.timeout_ms = 4000000000u;
        co.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        rc = alk_connection_call(a.c, TEXT("t/none"), TEXT(value), &co, &x.call);
        world_settle(a.w, b.w);
        if (rc == ALK_OK)
            ck_assert_msg(x.code && !strcmp(x.code, "NOT_FOUND"), "kind %d size %d: %s", kind, size,
                          asked_outcome(&x));
        else
            must(rc == ALK_EJSON || rc == ALK_ELIMIT);
        asked_free(&x);
    }
    ck_assert_uint_eq(world_stats(b.w).auth_failures, 0);
    pair_fini(&a, &b);
    alk_identities_free(ids);
}
END_TEST

/* ---- the end --------------------------------------------------------------------------------- */

START_TEST(closing_one_end_is_the_loss_of_the_other)
{
    struct side a, b;
    struct asked x, y;

    pair_init(&a, &b);
    ask(&x, a.c, "t/query", "null");
    ask(&y, b.c, "t/query", "null");
    world_settle(a.w, b.w);
    alk_connection_close(a.c, ALK_CLOSE_SHUTDOWN);
    world_settle(a.w, b.w);
    ck_assert_str_eq(asked_outcome(&x), "fault INTERNAL: connection closed");
    ck_assert_str_eq(asked_outcome(&y), "fault INTERNAL: connection closed");
    ck_assert_int_eq(a.query.why, ALK_END_CLOSED);
    ck_assert_int_eq(b.query.why, ALK_END_CLOSED);
    ck_assert_uint_eq(world_stats(a.w).connections + world_stats(b.w).connections, 0);
    asked_free(&x);
    asked_free(&y);
    pair_fini(&a, &b);
}
END_TEST

START_TEST(either_dispatcher_may_be_freed_first_in_the_middle_of_calls)
{
    for (int first = 0; first < 2; first++) {
        struct side s[2];
        struct asked x, y;

        pair_init(&s[0], &s[1]);
        ask(&x, s[0].c, "t/query", "null");
        ask(&y, s[1].c, "t/query", "null");
        world_settle(s[0].w, s[1].w);
        alk_call_unref(x.call);
        alk_call_unref(y.call);
        x.call = y.call = NULL;
        side_fini(&s[first]);
        ck_assert_int_eq((first ? &y : &x)->ends, 1);
        world_turn(s[!first].w);
        ck_assert_int_eq(x.ends + y.ends, 2);
        ck_assert_int_eq(s[!first].query.why, ALK_END_CLOSED);
        side_fini(&s[!first]);
        asked_free(&x);
        asked_free(&y);
    }
}
END_TEST

START_TEST(a_pair_that_cannot_be_opened_leaves_nothing)
{
    struct side a, b;
    alk_connection_options o = {.size = sizeof o};
    alk_connection *x = (alk_connection *)&a, *y = (alk_connection *)&b;

    side_add(&a, NULL);
    side_add(&b, NULL);
    world_start(a.w);
    world_start(b.w);
    alk_dispatcher_drain(b.w->d);
    ck_assert_int_eq(alk_pair_open(a.w->d, &o, &x, b.w->d, &o, &y), ALK_ECLOSED);
    ck_assert(!x && !y);
    ck_assert_int_eq(alk_pair_open(b.w->d, &o, &x, a.w->d, &o, &y), ALK_ECLOSED);
    ck_assert(!x && !y);
    world_settle(a.w, b.w);
    ck_assert_uint_eq(world_stats(a.w).connections + world_stats(b.w).connections, 0);
    pair_fini(&a, &b);
}
END_TEST

/* ---- over pipes of small capacity ------------------------------------------------------------ */

#define PIPE_BYTES 20000u

struct pipe_end {
    struct side *side;
    struct pipe_end *to;
    struct buf in; /* envelopes on their way to this end: length and bytes */
    struct mem mem;
    bool blocked;
};

static int pipe_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct pipe_end *e = ud;
    uint32_t n = (uint32_t)len;

    (void)stream;
    if (e->to->in.len && e->to->in.len + len > PIPE_BYTES) {
        e->blocked = true;
        return ALK_EAGAIN;
    }
    must(!buf_append(&e->to->in, &n, sizeof n) && !buf_append(&e->to->in, envelope, len));
    return ALK_OK;
}

static void pipe_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static void pipe_open(struct pipe_end *e, struct side *s, struct pipe_end *to)
{
    alk_link link = {.size = sizeof link, .send = pipe_send, .close = pipe_close, .ud = e};
    alk_connection_options o = {.size = sizeof o};

    memset(e, 0, sizeof *e);
    e->side = s;
    e->to = to;
    mem_init(&e->mem, NULL, NULL);
    buf_init(&e->in, &e->mem);
    ck_assert_int_eq(alk_connection_open(&s->c, s->w->d, &link, &o), ALK_OK);
}

/* Gives this end all that is on its way to it. */
static void pipe_deliver(struct pipe_end *e)
{
    while (e->in.len) {
        uint32_t n;

        memcpy(&n, buf_at(&e->in), sizeof n);
        must(alk_connection_feed(e->side->c, 0, buf_at(&e->in) + sizeof n, n) == ALK_OK);
        buf_consume(&e->in, sizeof n + n);
    }
    if (e->to->blocked) {
        e->to->blocked = false;
        alk_connection_writable(e->to->side->c);
    }
}

START_TEST(two_nodes_that_stream_to_each_other_over_small_pipes_both_finish)
{
    char padding[900];
    struct producer pa = {.total = 5000, .padding = padding},
                    pb = {.total = 5000, .padding = padding};
    struct side a, b;
    struct pipe_end to_a, to_b;
    struct consumer ca, cb;
    int i = 0;

    memset(padding, 'x', sizeof padding - 1);
    padding[sizeof padding - 1] = 0;
    side_add(&a, &pa);
    side_add(&b, &pb);
    a.w->limits.queue_high = b.w->limits.queue_high = 10000;
    world_start(a.w);
    world_start(b.w);
    pipe_open(&to_a, &a, &to_b);
    pipe_open(&to_b, &b, &to_a);
    subscribe(&ca, a.c);
    subscribe(&cb, b.c);
    for (; i < 100000 && !(ca.ends && cb.ends); i++) {
        world_turn(a.w);
        world_turn(b.w);
        pipe_deliver(&to_a);
        pipe_deliver(&to_b);
    }
    ck_assert_msg(ca.ends && cb.ends, "stuck after %d and %d values", ca.values, cb.values);
    ck_assert_int_eq(ca.values, 5000);
    ck_assert_int_eq(cb.values, 5000);
    ck_assert_int_eq(ca.why + cb.why, ALK_END_OK);
    ck_assert_int_gt(pa.blocked, 10);
    alk_call_unref(ca.call);
    alk_call_unref(cb.call);
    pair_fini(&a, &b);
    buf_fini(&to_a.in);
    buf_fini(&to_b.in);
}
END_TEST

MAIN("pair", both_sides_call_each_other_at_the_same_time, the_two_ends_may_belong_to_one_dispatcher,
     each_side_vouches_for_the_other, faults_of_the_other_side_arrive_as_they_are,
     an_abort_cancels_the_others_handler, the_callers_time_reaches_the_other_side,
     the_end_of_one_call_may_start_the_next, a_burst_of_small_values_arrives_whole,
     a_fast_producer_is_held_by_a_subscriber_that_pauses, a_large_value_goes_through_both_ways,
     a_large_answer_may_come_from_a_remote_without_identity,
     outputs_near_a_limit_never_cost_the_connection, faults_near_a_limit_never_cost_the_connection,
     inputs_near_a_limit_never_cost_the_connection, closing_one_end_is_the_loss_of_the_other,
     either_dispatcher_may_be_freed_first_in_the_middle_of_calls,
     a_pair_that_cannot_be_opened_leaves_nothing,
     two_nodes_that_stream_to_each_other_over_small_pipes_both_finish)
