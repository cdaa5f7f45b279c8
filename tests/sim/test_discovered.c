/* What is found outside while a node runs: a registry for each source, behind the node's own,
 * swapped while calls run. */
#include "sim/composer.h"

#include <alknet/openapi.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- registries that were found -------------------------------------------------------------- */

static int freed; /* operations of found_registry, by their ud_free */

static void count_free(void *ud)
{
    (void)ud;
    freed++;
}

static int serve_name(alk_call *call, void *ud)
{
    return alk_call_reply(call, TEXT((const char *)ud));
}

static alk_registry *unfrozen(const struct op *ops, size_t n)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op;

    ck_assert_ptr_nonnull(reg);
    for (size_t i = 0; i < n; i++) {
        op_fill(&op, &ops[i]);
        op.ud_free = count_free;
        if (!op.handler)
            op.handler = serve_name;
        ck_assert_msg(alk_registry_add(reg, &op) == ALK_OK, "%s", alk_registry_error(reg));
    }
    return reg;
}

static alk_registry *registry_of(const struct op *ops, size_t n)
{
    alk_registry *reg = unfrozen(ops, n);

    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    return reg;
}

/* The source has what is in ops, which answers with its ud, and nobody else holds that. */
static void find_ops(struct world *w, const char *source, const struct op *ops, size_t n)
{
    alk_registry *reg = registry_of(ops, n);

    ck_assert_int_eq(alk_node_set_discovered(w->node, source, reg), ALK_OK);
    alk_registry_unref(reg);
}

#define FIND(w, source, ...)                                                                       \
    find_ops(w, source, (struct op[]){__VA_ARGS__},                                                \
             sizeof((struct op[]){__VA_ARGS__}) / sizeof(struct op))
#define OP(name_, answer_)                                                                         \
    {                                                                                              \
        .name = (name_), .ud = (void *)(answer_)                                                   \
    }

static void lose(struct world *w, const char *source)
{
    ck_assert_int_eq(alk_node_set_discovered(w->node, source, NULL), ALK_OK);
}

static struct world *started(void)
{
    struct world *w = world_new();

    world_start(w);
    return w;
}

static void expect(struct wire *r, const char *operation, const char *output)
{
    char wanted[300];

    snprintf(wanted, sizeof wanted, RESPONDED("1", "%s"), output);
    wire_request(r, "1", operation, "null");
    wire_expect(r, wanted);
}

static void expect_none(struct wire *r, const char *operation)
{
    char wanted[300];

    snprintf(wanted, sizeof wanted, "1 NOT_FOUND: operation not found: %s", operation);
    wire_request(r, "1", operation, "null");
    ck_assert_str_eq(wire_error(r), wanted);
}

/* The names that a listing has, as "a b c", and the cursor behind it. Static buffers. */
static char cursor[64];
static const char *listed(struct wire *r, const char *input)
{
    static char names[4096];
    char *out = names;
    const char *p, *sent;

    wire_request(r, "1", "services/list", input);
    p = sent = wire_next(r);
    ck_assert_ptr_nonnull(strstr(p, "\"operations\":["));
    *out = 0;
    while ((p = strstr(p, "{\"name\":\""))) {
        p += 9;
        out += sprintf(out, "%s%.*s", out == names ? "" : " ", (int)strcspn(p, "\""), p);
        sent = p;
    }
    p = strstr(sent, "\"next_cursor\":\"");
    snprintf(cursor, sizeof cursor, "%.*s", p ? (int)strcspn(p + 15, "\"") : 0, p ? p + 15 : "");
    return names;
}

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(what_is_found_is_called_listed_and_described_until_it_is_lost)
{
    struct world *w = world_new();
    struct wire *r;
    alk_connection_options o;

    world_add(w, "b", ALK_QUERY, serve_echo, NULL);
    world_start(w);
    side_options(&o, &(struct side){.id = "me", .scopes = "[\"peers:list\"]"});
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    expect_none(r, "a/x");
    FIND(w, "s", OP("c/x", "1"), OP("a/x", "2"),
         {.name = "a/no", .access = "{\"required_scopes\":[\"z\"]}"});
    expect(r, "/a/x", "2");
    expect(r, "c/x", "1");
    wire_request(r, "1", "a/no", "null");
    wire_expect_error(r, "1", "FORBIDDEN", "not allowed to call a/no");
    ck_assert_str_eq(listed(r, "{\"limit\":3}"), "a/x b c/x");
    wire_request(r, "1", "services/schema", "{\"name\":\"/a/x\"}");
    ck_assert_ptr_nonnull(
        strstr(wire_next(r), "{\"name\":\"a/x\",\"namespace\":\"a\",\"op_type\":"));
    wire_request(r, "1", "services/schema", "{\"name\":\"a/x\",\"peer\":\"local\"}");
    ck_assert_ptr_nonnull(strstr(wire_next(r), "\"visibility\":\"external\""));
    wire_request(r, "1", "services/schema", "{\"name\":\"a/no\"}");
    wire_expect_error(r, "1", "NOT_FOUND", "operation not found: a/no");
    wire_request(r, "1", "services/list-peers", "{}");
    ck_assert_ptr_nonnull(strstr(wire_next(r),
                                 "\"local\",\"operations\":[{\"name\":\"a/x\",\"namespace\":\"a\","
                                 "\"op_type\":\"query\"},{\"name\":\"b\","));
    lose(w, "s");
    expect_none(r, "a/x");
    ck_assert_str_eq(listed(r, "{\"limit\":1}"), "b");
    wire_request(r, "1", "services/schema", "{\"name\":\"a/x\"}");
    wire_expect_error(r, "1", "NOT_FOUND", "operation not found: a/x");
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(names_of_the_registry_win_whatever_is_found)
{
    struct world *w = world_new();
    struct wire *r;

    add_op(w, &(struct op){.name = "t/a", .handler = serve_name, .ud = (void *)"\"own\""});
    add_op(w, &(struct op){
                  .name = "t/hidden", .handler = serve_name, .visibility = ALK_INTERNAL_ONLY});
    world_start(w);
    FIND(w, "s", OP("t/a", "\"found\""), OP("t/b", "\"found\""), OP("t/hidden", "\"found\""));
    r = wire_open(w, NULL);
    expect(r, "t/a", "\"own\"");
    expect(r, "t/b", "\"found\"");
    expect_none(r, "t/hidden");
    ck_assert_str_eq(listed(r, "{\"namespace\":\"t\"}"), "t/a t/b");
    wire_request(r, "1", "services/schema", "{\"name\":\"t/hidden\"}");
    wire_expect_error(r, "1", "NOT_FOUND", "operation not found: t/hidden");
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(of_two_sources_the_one_that_is_there_for_longer_has_a_name)
{
    struct world *w = started();
    struct wire *r = wire_open(w, NULL);

    FIND(w, "one", OP("t/a", "1"), OP("t/b", "1"));
    FIND(w, "two", OP("t/b", "2"), OP("t/c", "2"));
    expect(r, "t/a", "1");
    expect(r, "t/b", "1");
    expect(r, "t/c", "2");
    ck_assert_str_eq(listed(r, "{\"namespace\":\"t\"}"), "t/a t/b t/c");
    /* It keeps its place. */
    FIND(w, "one", OP("t/b", "3"));
    expect_none(r, "t/a");
    expect(r, "t/b", "3");
    FIND(w, "one", OP("t/a", "4"));
    expect(r, "t/b", "2");
    /* Who comes again comes last. */
    lose(w, "one");
    FIND(w, "one", OP("t/b", "5"));
    expect(r, "t/b", "2");
    lose(w, "two");
    expect(r, "t/b", "5");
    expect_none(r, "t/c");
    ck_assert_str_eq(listed(r, "{\"namespace\":\"t\"}"), "t/b");
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(what_every_registry_has_is_the_nodes_own)
{
    struct world *w = started();
    alk_registry *reg = alk_registry_new();
    alk_connection_options o;
    struct wire *r;

    side_options(&o, &(struct side){.id = "me", .scopes = "[\"peers:call\"]"});
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    ck_assert_int_eq(
        alk_registry_enable_peers(reg, TEXT("{\"authority\":{\"label\":\"d\"},\"allow\":[]}")),
        ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    ck_assert_int_eq(alk_node_set_discovered(w->node, "s", reg), ALK_OK);
    alk_registry_unref(reg);
    ck_assert_str_eq(listed(r, "{}"), "services/announce services/list services/schema");
    expect_none(r, "peers/call");
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(an_internal_operation_is_hidden_from_the_wire_and_there_for_handlers)
{
    struct composer *n = composer_new();

    composer_start(n, NULL);
    FIND(n->w, "s", {.name = "x/in", .ud = (void *)"1", .visibility = ALK_INTERNAL_ONLY},
         OP("y/out", "2"), OP("z/beyond", "3"),
         {.name = "x/rule", .ud = (void *)"4", .access = "{\"required_scopes\":[\"x:use\"]}"});
    expect_none(n->client, "x/in");
    ck_assert_str_eq(listed(n->client, "{\"namespace\":\"x\"}"), "x/root");
    wire_request(n->client, "1", "services/schema", "{\"name\":\"x/in\"}");
    wire_expect_error(n->client, "1", "NOT_FOUND", "operation not found: x/in");
    expect_nested(n, "x/in", NULL, "ok 1");
    expect_nested(n, "y/out", NULL, "ok 2");
    expect_nested(n, "z/beyond", NULL, "fault NOT_FOUND: operation not found: z/beyond");
    /* As the composer's authority, like every other. */
    expect_nested(n, "x/rule", NULL, "ok 4");
    wire_request(n->client, "1", "x/rule", "null");
    wire_expect_error(n->client, "1", "FORBIDDEN", "not allowed to call x/rule");
    lose(n->w, "s");
    expect_nested(n, "x/in", NULL, "fault NOT_FOUND: operation not found: x/in");
    composer_free(n);
}
END_TEST

START_TEST(what_is_found_comes_before_the_session_and_peers)
{
    struct world *w = world_new(), *peer = world_new(), *both[] = {w, peer};
    alk_registry *session =
        registry_of((struct op[]){OP("x/a", "\"session\""), OP("x/b", "\"session\"")}, 2);
    alk_connection *c, *back;
    alk_connection_options o;
    alk_call_options any = {.size = sizeof any};
    struct served root = {0};
    struct wire *client;
    static const struct {
        const char *name;
        bool any;
        const char *want;
    } cases[] = {{"x/a", false, "ok \"found\""},
                 {"x/b", false, "ok \"session\""},
                 {"x/c", false, "ok \"found\""},
                 {"x/d", false, "ok \"peer\""},
                 {"x/c", true, "ok \"peer\""}};

    add_op(w,
           &(struct op){
               .name = "x/root", .handler = serve_later, .ud = &root, .environment = EVERYTHING});
    add_op(peer, &(struct op){.name = "x/c", .handler = serve_name, .ud = (void *)"\"peer\""});
    add_op(peer, &(struct op){.name = "x/d", .handler = serve_name, .ud = (void *)"\"peer\""});
    world_start(w);
    world_start(peer);
    join(w, &(struct side){.id = "p", .kind = ALK_KIND_PEER}, &c, peer, &(struct side){.id = "hub"},
         &back);
    import_all(w, peer, c, 2);
    side_options(&o, &(struct side){.id = "client", .session = session});
    client = wire_open(w, &o);
    alk_identity_unref(o.identity);
    wire_request(client, "1", "x/root", "null");
    world_turn(w);
    FIND(w, "s", OP("x/a", "\"found\""), OP("x/c", "\"found\""));
    any.selector = ALK_SELECT_ANY;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asked a;

        nest(&a, &root, cases[i].name, "null", cases[i].any ? &any : NULL);
        settle(both, 2);
        ck_assert_str_eq(asked_outcome(&a), cases[i].want);
        asked_free(&a);
    }
    wire_free(client);
    served_free(&root);
    alk_connection_unref(c);
    alk_connection_unref(back);
    settle(both, 2);
    world_free(w);
    world_free(peer);
    alk_registry_unref(session);
}
END_TEST

/* ---- swaps ----------------------------------------------------------------------------------- */

START_TEST(calls_that_run_keep_what_they_were_started_with)
{
    struct world *w = started();
    struct wire *r = wire_open(w, NULL);
    struct served query = {0}, stream = {0};
    alk_capabilities *caps = alk_capabilities_new();
    const char *secret;
    size_t len;

    freed = 0;
    ck_assert_int_eq(alk_capabilities_set(caps, "t", TEXT("secret")), ALK_OK);
    FIND(w, "s", {.name = "t/q", .handler = serve_later, .ud = &query, .capabilities = caps},
         {.name = "t/s", .type = ALK_SUBSCRIPTION, .handler = serve_later, .ud = &stream},
         OP("t/x", "1"));
    alk_capabilities_free(caps);
    wire_request(r, "q", "t/q", "null");
    wire_request(r, "s", "t/s", "null");
    world_turn(w);
    served_emit(&stream, "1");
    wire_expect(r, RESPONDED("s", "1"));
    FIND(w, "s", OP("t/q", "\"new\""), OP("t/s", "\"new\""));
    expect(r, "t/q", "\"new\"");
    expect(r, "t/s", "\"new\"");
    expect_none(r, "t/x");
    ck_assert_int_eq(freed, 0);
    served_emit(&stream, "2");
    wire_expect(r, RESPONDED("s", "2"));
    secret = alk_call_capability(query.call, "t", &len);
    ck_assert_uint_eq(len, 6);
    ck_assert_int_eq(memcmp(secret, "secret", 6), 0);
    served_reply(&query, "3");
    wire_expect(r, RESPONDED("q", "3"));
    served_free(&query);
    ck_assert_int_eq(freed, 0);
    ck_assert_int_eq(alk_call_complete(stream.call), ALK_OK);
    wire_expect(r, COMPLETED("s"));
    ck_assert_int_eq(freed, 0); /* the test holds the call */
    served_free(&stream);
    world_turn(w);
    ck_assert_int_eq(freed, 3);
    lose(w, "s");
    ck_assert_int_eq(freed, 3); /* the dispatcher has not looked */
    world_turn(w);
    ck_assert_int_eq(freed, 5);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(other_sources_stay_as_they_are_when_one_is_swapped)
{
    struct world *w = started();
    struct wire *r = wire_open(w, NULL);

    freed = 0;
    FIND(w, "one", OP("t/a", "1"));
    FIND(w, "two", OP("t/b", "1"));
    for (int i = 0; i < 5; i++) {
        FIND(w, "two", OP("t/b", "2"));
        expect(r, "t/a", "1");
        ck_assert_int_eq(freed, i + 1);
    }
    wire_free(r);
    world_free(w);
    ck_assert_int_eq(freed, 7);
}
END_TEST

START_TEST(each_dispatcher_of_the_node_sees_a_swap_at_once)
{
    struct world *w = started(), other = *w;
    struct wire *r, *r2;

    ck_assert_int_eq(alk_dispatcher_new(&other.d, w->node), ALK_OK);
    r = wire_open(w, NULL);
    r2 = wire_open(&other, NULL);
    freed = 0;
    FIND(w, "s", OP("t/a", "1"));
    expect(r, "t/a", "1");
    expect(r2, "t/a", "1");
    FIND(w, "s", OP("t/a", "2"));
    expect(r2, "t/a", "2");
    ck_assert_int_eq(freed, 0); /* the first has not looked since */
    expect(r, "t/a", "2");
    ck_assert_int_eq(freed, 1);
    lose(w, "s");
    expect_none(r, "t/a");
    ck_assert_int_eq(freed, 1);
    world_turn(&other);
    ck_assert_int_eq(freed, 2);
    wire_free(r);
    wire_free(r2);
    alk_dispatcher_free(other.d);
    world_free(w);
}
END_TEST

/* An application's answer, asked in the middle of a listing: it takes all away, and makes the
 * dispatcher see it. */
struct taker {
    struct world *w;
    struct wire *r;
    int asked;
};

static int take_away(void *ud, const alk_identity *who, const char *type)
{
    struct taker *t = ud;

    (void)who;
    (void)type;
    if (!t->asked++) {
        lose(t->w, "s");
        wire_request(t->r, "nested", "t/none", "null");
        ck_assert_int_eq(freed, 0);
    }
    return 1;
}

START_TEST(a_provider_may_take_away_what_is_being_listed_or_described)
{
    static const char *const inputs[] = {"services/list", "services/schema", "services/list-peers",
                                         "t/b"};

    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct taker t = {.w = world_new()};
        alk_ownership_provider own = {.size = sizeof own, .owns_any = take_away, .ud = &t};
        alk_connection_options o;
        struct wire *r;

        t.w->options.ownership = &own;
        world_start(t.w);
        side_options(&o, &(struct side){.id = "me", .scopes = "[\"peers:list\"]"});
        r = wire_open(t.w, &o);
        t.r = wire_open(t.w, NULL);
        alk_identity_unref(o.identity);
        freed = 0;
        FIND(t.w, "s", OP("t/a", "1"),
             {.name = "t/b", .ud = (void *)"\"t/c\"", .access = "{\"resource_type\":\"f\"}"},
             OP("t/c", "1"));
        wire_request(r, "1", inputs[i],
                     i == 1 ? "{\"name\":\"t/b\"}"
                     : i    ? "{}"
                            : "{\"limit\":2,\"namespace\":\"t\"}");
        ck_assert_ptr_nonnull(strstr(wire_next(r), i == 1 ? "t/b"
                                                   : i    ? "t/c"
                                                          : "\"next_cursor\":\"t/b\""));
        ck_assert_int_eq(t.asked, 1);
        world_turn(t.w);
        ck_assert_int_eq(freed, 3);
        wire_free(r);
        wire_free(t.r);
        world_free(t.w);
    }
}
END_TEST

/* ---- listings -------------------------------------------------------------------------------- */

START_TEST(pages_go_through_the_registry_and_all_sources_in_one_order)
{
    struct world *w = world_new();
    char all[4096] = "", walked[4096] = "";
    struct wire *r;

    for (int i = 0; i < 40; i += 4) {
        char name[16];

        snprintf(name, sizeof name, "t/%02d", i);
        world_add(w, name, ALK_QUERY, serve_echo, NULL);
    }
    world_start(w);
    r = wire_open(w, NULL);
    for (int s = 0; s < 3; s++) {
        struct op ops[20];
        char names[20][16], source[16];
        size_t n = 0;

        /* What the registry has, what another source has, and some alone. */
        for (int i = 0; i < 40; i += s + 2) {
            snprintf(names[n], sizeof names[n], "t/%02d", i);
            ops[n] =
                (struct op){.name = names[n], .ud = (void *)"1", .type = i % 3 ? 0 : ALK_MUTATION};
            n++;
        }
        snprintf(source, sizeof source, "%d", s);
        find_ops(w, source, ops, n);
    }
    for (int i = 0; i < 40; i++) {
        if (!(i % 2) || !(i % 3))
            sprintf(all + strlen(all), "%st/%02d", *all ? " " : "", i);
    }
    ck_assert_str_eq(listed(r, "{\"namespace\":\"t\"}"), all);
    cursor[0] = 0;
    for (int pages = 0; pages < 40 && (!pages || *cursor); pages++) {
        char input[128];

        snprintf(input, sizeof input, "{\"namespace\":\"t\",\"limit\":3%s%s%s}",
                 *cursor ? ",\"cursor\":\"" : "", cursor, *cursor ? "\"" : "");
        sprintf(walked + strlen(walked), "%s%s", pages ? " " : "", listed(r, input));
    }
    ck_assert_str_eq(walked, all);
    ck_assert_str_eq(listed(r, "{\"namespace\":\"t\",\"cursor\":\"t/35\",\"op_type\":\"query\"}"),
                     "t/36 t/38");
    ck_assert_str_eq(listed(r, "{\"q\":\"T/1\",\"op_type\":\"mutation\"}"), "t/15 t/18");
    ck_assert_str_eq(listed(r, "{\"cursor\":\"t/39\"}"), "");
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(what_cannot_be_set_is_refused_and_changes_nothing)
{
    struct world *w = started();
    struct wire *r = wire_open(w, NULL);
    alk_registry *reg = unfrozen((struct op[]){OP("t/a", "2")}, 1);
    static const struct op composing[] = {{.name = "t/a", .authority = "{\"label\":\"a\"}"},
                                          {.name = "t/a", .environment = EVERYTHING}};
    char longest[258];

    FIND(w, "s", OP("t/a", "1"));
    ck_assert_int_eq(alk_node_set_discovered(w->node, "s", reg), ALK_EFROZEN);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    memset(longest, 's', 257);
    longest[257] = 0;
    ck_assert_int_eq(alk_node_set_discovered(w->node, "", reg), ALK_EINVAL);
    ck_assert_int_eq(alk_node_set_discovered(w->node, "\xff", reg), ALK_EINVAL);
    ck_assert_int_eq(alk_node_set_discovered(w->node, longest, reg), ALK_EINVAL);
    for (size_t i = 0; i < 2; i++) {
        alk_registry *bad = registry_of(&composing[i], 1);

        ck_assert_int_eq(alk_node_set_discovered(w->node, "s", bad), ALK_EINVAL);
        alk_registry_unref(bad);
    }
    lose(w, "never there");
    expect(r, "t/a", "1");
    longest[256] = 0;
    lose(w, "s");
    ck_assert_int_eq(alk_node_set_discovered(w->node, longest, reg), ALK_OK);
    expect(r, "t/a", "2");
    alk_registry_unref(reg);
    wire_free(r);
    world_free(w);
}
END_TEST

START_TEST(there_are_at_most_256_sources)
{
    struct world *w = started();
    struct wire *r = wire_open(w, NULL);
    char source[16];

    for (int i = 0; i < 256; i++) {
        snprintf(source, sizeof source, "s%d", i);
        FIND(w, source, OP("t/a", i ? "2" : "1"));
    }
    for (int again = 0; again < 2; again++) {
        alk_registry *reg = registry_of((struct op[]){OP("t/b", "3")}, 1);

        ck_assert_int_eq(alk_node_set_discovered(w->node, "one more", reg),
                         again ? ALK_OK : ALK_ELIMIT);
        alk_registry_unref(reg);
        expect(r, "t/a", "1");
        FIND(w, "s0", OP("t/a", "1"));
        lose(w, "s7");
    }
    expect(r, "t/b", "3");
    wire_free(r);
    world_free(w);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

#define LOOPS 3
#define SETTERS 2
#define SWAPS 400
#define BURST 40
#define LAST "answer 399"

/* One operation's answer; it is freed with its registration, so that one that is called too late is
 * seen by the sanitizer. */
struct answer {
    char text[32];
};

static int serve_answer(alk_call *call, void *ud)
{
    const struct answer *a = ud;

    return alk_call_reply(call, TEXT(a->text));
}

struct loop {
    alk_node *node;
    atomic_int *done;
    int bad, last; /* answers that are none, those of the last swap */
};

static int on_answer(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct loop *l = ud;
    char text[512];

    (void)stream;
    snprintf(text, sizeof text, "%.*s", (int)len, envelope);
    l->last += strstr(text, LAST) != NULL;
    l->bad += !strstr(text, "\"output\":\"answer ") && !strstr(text, "NOT_FOUND");
    return ALK_OK;
}

static void on_closed(void *ud, int code)
{
    (void)ud;
    (void)code;
}

/* 20 calls again and again, the last time when all has been swapped. */
static void *run_loop(void *ud)
{
    struct loop *l = ud;
    bool done = false;
    alk_link link = {.size = sizeof link, .send = on_answer, .close = on_closed, .ud = l};
    alk_connection_options o = {.size = sizeof o};
    alk_connection *c;
    alk_dispatcher *d;
    uint64_t now = WORLD_NOW;

    if (alk_dispatcher_new(&d, l->node) || alk_connection_open(&c, d, &link, &o)) {
        l->bad++;
        return NULL;
    }
    for (int i = 0; !done; i++) {
        done = *l->done;
        l->last = 0;
        for (int k = 0; k < 20; k++) {
            char request[200];

            snprintf(request, sizeof request,
                     "{\"type\":\"call.requested\",\"id\":\"%d/%d\",\"payload\":{"
                     "\"operationId\":\"/t/%d\",\"input\":null}}",
                     i, k, k % SETTERS);
            l->bad += alk_connection_feed(c, 0, TEXT(request)) != ALK_OK;
            if (k % 7 == 5)
                alk_dispatcher_turn(d, now += MS);
        }
    }
    alk_connection_close(c, ALK_CLOSE_SHUTDOWN);
    alk_dispatcher_turn(d, now);
    alk_connection_unref(c);
    alk_dispatcher_free(d);
    return NULL;
}

struct setter {
    alk_node *node;
    int number, bad;
};

static void *run_setter(void *ud)
{
    struct setter *s = ud;
    char name[8], source[16];

    snprintf(name, sizeof name, "t/%d", s->number);
    snprintf(source, sizeof source, "setter %d", s->number);
    for (int i = 0; i < SWAPS; i++) {
        struct answer *a = calloc(1, sizeof *a);
        alk_registry *reg = alk_registry_new();
        alk_operation op;

        snprintf(a->text, sizeof a->text, "\"answer %d\"", i);
        alk_operation_init(&op, sizeof op);
        op.name = name;
        op.handler = serve_answer;
        op.ud = a;
        op.ud_free = free;
        s->bad += alk_registry_add(reg, &op) || alk_registry_freeze(reg);
        for (int k = BURST; k--;)
            s->bad += alk_node_set_discovered(s->node, source, k % 10 ? NULL : reg) != ALK_OK;
        alk_registry_unref(reg);
    }
    return NULL;
}

START_TEST(sources_are_swapped_from_any_thread_while_others_call)
{
    alk_registry *reg = alk_registry_new();
    pthread_t loop_threads[LOOPS], setter_threads[SETTERS];
    struct loop loops[LOOPS] = {0};
    struct setter setters[SETTERS] = {0};
    alk_node_options o;
    atomic_int done = 0;
    alk_node *node;

    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    alk_node_options_init(&o, sizeof o);
    ck_assert_int_eq(alk_node_new(&node, reg, &o), ALK_OK);
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = (struct loop){.node = node, .done = &done};
        ck_assert_int_eq(pthread_create(&loop_threads[i], NULL, run_loop, &loops[i]), 0);
    }
    for (int i = 0; i < SETTERS; i++) {
        setters[i] = (struct setter){.node = node, .number = i};
        ck_assert_int_eq(pthread_create(&setter_threads[i], NULL, run_setter, &setters[i]), 0);
    }
    for (int i = 0; i < SETTERS; i++) {
        ck_assert_int_eq(pthread_join(setter_threads[i], NULL), 0);
        ck_assert_int_eq(setters[i].bad, 0);
    }
    done = 1;
    for (int i = 0; i < LOOPS; i++) {
        ck_assert_int_eq(pthread_join(loop_threads[i], NULL), 0);
        ck_assert_int_eq(loops[i].bad, 0);
        ck_assert_int_eq(loops[i].last, 20);
    }
    alk_node_unref(node);
    alk_registry_unref(reg);
}
END_TEST

MAIN("discovered", what_is_found_is_called_listed_and_described_until_it_is_lost,
     names_of_the_registry_win_whatever_is_found,
     of_two_sources_the_one_that_is_there_for_longer_has_a_name,
     what_every_registry_has_is_the_nodes_own,
     an_internal_operation_is_hidden_from_the_wire_and_there_for_handlers,
     what_is_found_comes_before_the_session_and_peers,
     calls_that_run_keep_what_they_were_started_with,
     other_sources_stay_as_they_are_when_one_is_swapped,
     each_dispatcher_of_the_node_sees_a_swap_at_once,
     a_provider_may_take_away_what_is_being_listed_or_described,
     pages_go_through_the_registry_and_all_sources_in_one_order,
     what_cannot_be_set_is_refused_and_changes_nothing, there_are_at_most_256_sources,
     sources_are_swapped_from_any_thread_while_others_call)
