/* Where a call begins: what a nested one may not have from its parent, how long it may run, and who is counted. */
#include "sim/composer.h"

static alk_capabilities *secrets(void)
{
    alk_capabilities *c = alk_capabilities_new();

    ck_assert_int_eq(alk_capabilities_set(c, "key", "secret", 6), ALK_OK);
    ck_assert_int_eq(alk_capabilities_set(c, "other", "thing", 5), ALK_OK);
    return c;
}

static const char *secret(const struct served *s, const char *name)
{
    size_t len;
    const char *p = alk_call_capability(s->call, name, &len);

    return p ? p : "none";
}

/* x/root with secrets, and x/child; o.capabilities names what is handed down. */
struct family {
    struct world *w;
    struct wire *client;
    struct served root, child;
    alk_capabilities *secrets;
    alk_call_options o;
};

static void family_start(struct family *f, uint32_t root_type, uint32_t child_provenance)
{
    alk_connection_options o;

    memset(f, 0, sizeof *f);
    f->w = world_new();
    f->secrets = secrets();
    f->o = (alk_call_options){.size = sizeof f->o};
    add_op(f->w, &(struct op){.name = "x/root",
                              .type = root_type,
                              .handler = serve_later,
                              .ud = &f->root,
                              .environment = EVERYTHING,
                              .capabilities = f->secrets});
    add_op(f->w, &(struct op){.name = "x/child",
                              .handler = serve_later,
                              .ud = &f->child,
                              .provenance = child_provenance});
    world_start(f->w);
    side_options(&o, &(struct side){.id = "client"});
    f->client = wire_open(f->w, &o);
    alk_identity_unref(o.identity);
    wire_request(f->client, "1", "x/root", "null");
    world_turn(f->w);
    ck_assert_int_eq(f->root.starts, 1);
}

static void family_free(struct family *f)
{
    wire_abort(f->client, "1");
    world_turn(f->w);
    served_free(&f->root);
    served_free(&f->child);
    wire_free(f->client);
    world_free(f->w);
    alk_capabilities_free(f->secrets);
}

START_TEST(secrets_are_handed_down_by_name_however_the_names_are_spaced)
{
    static const struct {
        const char *names, *key, *other;
    } rows[] = {{"key", "secret", "none"},         {" key ", "secret", "none"},
                {"other  key", "secret", "thing"}, {"", "none", "none"},
                {"   ", "none", "none"},           {"ke keys", "none", "none"}};
    struct family f;

    family_start(&f, ALK_QUERY, ALK_LOCAL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct asked a;

        f.o.capabilities = rows[i].names;
        nest(&a, &f.root, "x/child", "null", &f.o);
        world_turn(f.w);
        ck_assert_str_eq(secret(&f.child, "key"), rows[i].key);
        ck_assert_str_eq(secret(&f.child, "other"), rows[i].other);
        served_reply(&f.child, "1");
        world_turn(f.w);
        asked_free(&a);
    }
    family_free(&f);
}
END_TEST

/* Wherever it lies: the code is not this node's own. */
START_TEST(no_secret_goes_to_what_says_that_it_is_of_a_session_or_a_remote)
{
    static const uint32_t provenances[] = {ALK_SESSION, ALK_FROM_CALL};

    for (size_t i = 0; i < 2; i++) {
        struct family f;
        struct asked a;

        family_start(&f, ALK_QUERY, provenances[i]);
        f.o.capabilities = "key";
        nest(&a, &f.root, "x/child", "null", &f.o);
        world_turn(f.w);
        ck_assert_int_eq(f.child.starts, 1);
        ck_assert_str_eq(secret(&f.child, "key"), "none");
        asked_drop(&a, f.w);
        family_free(&f);
    }
}
END_TEST

/* A parent that was imported and has a handler of this program: its secrets are in the set of its connection, which a new
 * import replaces while the child runs. */
START_TEST(secrets_of_an_imported_parent_stay_as_long_as_its_child)
{
    struct composer *n = composer_new();
    struct served imported = {0}, child = {0};
    alk_capabilities *of_imported = secrets();
    alk_operation op;
    alk_call_options o = {.size = sizeof o};
    struct asked a, b;
    struct wire *remote;
    alk_connection_options co;

    add_op(n->w, &(struct op){.name = "x/child", .handler = serve_later, .ud = &child});
    composer_start(n, NULL);
    side_options(&co, &(struct side){.id = "remote", .kind = ALK_KIND_PEER});
    remote = wire_open(n->w, &co);
    alk_identity_unref(co.identity);
    op_fill(&op, &(struct op){.name = "y/imported",
                              .handler = serve_later,
                              .ud = &imported,
                              .environment = EVERYTHING,
                              .capabilities = of_imported});
    ck_assert_int_eq(alk_connection_register_imported(remote->conn, &op, 1), ALK_OK);
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = remote->conn;
    nest(&a, &n->root, "y/imported", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(imported.starts, 1);
    o = (alk_call_options){.size = sizeof o};
    o.capabilities = "key";
    o.policy = ALK_CONTINUE_RUNNING;
    nest(&b, &imported, "x/child", "null", &o);
    world_turn(n->w);
    ck_assert_int_eq(child.starts, 1);
    served_reply(&imported, "1");
    world_turn(n->w);
    served_free(&imported);
    asked_free(&a);
    wire_free(remote);
    world_turn(n->w);
    ck_assert_str_eq(secret(&child, "key"), "secret");
    served_reply(&child, "1");
    world_turn(n->w);
    served_free(&child);
    asked_free(&b);
    wire_abort(n->client, "root");
    world_turn(n->w);
    alk_capabilities_free(of_imported);
    composer_free(n);
}
END_TEST

START_TEST(a_child_runs_without_a_deadline_only_where_its_parent_does)
{
    static const struct {
        uint32_t parent, asked_ms;
        uint64_t ms; /* when it ends; 0: not within a day */
    } rows[] = {
        {ALK_SUBSCRIPTION, 0, 30000},       {ALK_SUBSCRIPTION, 500, 500},
        {ALK_SUBSCRIPTION, 50000, 50000},   {ALK_SUBSCRIPTION, ALK_NO_TIMEOUT, 0},
        {ALK_QUERY, ALK_NO_TIMEOUT, 30000}, {ALK_QUERY, 50000, 30000},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct family f;
        struct asked a;

        family_start(&f, rows[i].parent, ALK_LOCAL);
        f.o.timeout_ms = rows[i].asked_ms;
        nest(&a, &f.root, "x/child", "null", &f.o);
        world_turn(f.w);
        world_advance(f.w, rows[i].ms ? rows[i].ms - 1 : UINT64_C(86400000));
        ck_assert_msg(f.child.ends == 0, "%zu: too early", i);
        world_advance(f.w, 2);
        ck_assert_msg(f.child.ends == (rows[i].ms != 0), "%zu: not in time", i);
        asked_drop(&a, f.w);
        family_free(&f);
    }
}
END_TEST

START_TEST(only_what_a_handler_runs_can_compose)
{
    struct family f;
    struct asked outgoing, waiting;
    alk_call *child;

    family_start(&f, ALK_QUERY, ALK_LOCAL);
    ask(&outgoing, f.client->conn, "far/op", "1");
    ck_assert_int_eq(alk_call_invoke(outgoing.call, TEXT("x/child"), TEXT("1"), &f.o, &child),
                     ALK_EINVAL);
    ck_assert_ptr_null(child);
    nest(&waiting, &f.root, "x/child", "1", NULL); /* its handler has not run */
    ck_assert_int_eq(alk_call_invoke(waiting.call, TEXT("x/child"), TEXT("1"), &f.o, NULL),
                     ALK_EINVAL);
    asked_drop(&waiting, f.w);
    f.o.selector = ALK_SELECT_CONNECTION + 1;
    ck_assert_int_eq(alk_call_invoke(f.root.call, TEXT("x/child"), TEXT("1"), &f.o, NULL),
                     ALK_EINVAL);
    f.o.selector = ALK_SELECT_PEER;
    ck_assert_int_eq(alk_call_invoke(f.root.call, TEXT("x/child"), TEXT("1"), &f.o, NULL),
                     ALK_EINVAL);
    f.o.selector = ALK_SELECT_CONNECTION;
    ck_assert_int_eq(alk_call_invoke(f.root.call, TEXT("x/child"), TEXT("1"), &f.o, NULL),
                     ALK_EINVAL);
    f.o.selector = ALK_SELECT_LAYERS;
    f.o.policy = ALK_CONTINUE_RUNNING + 1;
    ck_assert_int_eq(alk_call_invoke(f.root.call, TEXT("x/child"), TEXT("1"), &f.o, NULL),
                     ALK_EINVAL);
    f.o.policy = ALK_POLICY_INHERIT;
    ck_assert_int_eq(alk_call_invoke(f.root.call, TEXT("x/child"), TEXT("{"), &f.o, NULL),
                     ALK_EJSON);
    ck_assert_int_eq(f.child.starts, 0);
    asked_drop(&outgoing, f.w);
    family_free(&f);
}
END_TEST

/* There is nothing to count them by; what limits them counts addresses. */
START_TEST(callers_without_identity_have_no_rate)
{
    struct world *w = world_new();
    alk_connection_options o;
    struct wire *somebody, *nobody;

    w->limits.calls_per_second = 1;
    world_add(w, "x/echo", ALK_QUERY, serve_echo, NULL);
    world_start(w);
    side_options(&o, &(struct side){.id = "client"});
    somebody = wire_open(w, &o);
    alk_identity_unref(o.identity);
    nobody = wire_open(w, NULL);
    wire_request(somebody, "1", "x/echo", "1");
    wire_expect(somebody, RESPONDED("1", "1"));
    wire_request(somebody, "2", "x/echo", "1");
    ck_assert_ptr_nonnull(strstr(wire_error(somebody), "2 BUSY"));
    for (int i = 0; i < 20; i++) {
        wire_request(nobody, "1", "x/echo", "1");
        wire_expect(nobody, RESPONDED("1", "1"));
    }
    wire_free(somebody);
    wire_free(nobody);
    world_free(w);
}
END_TEST

#define TOKEN "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* A node whose peer "a" has TOKEN, and a connection of a client without identity. */
struct asking {
    struct world *w;
    struct wire *client;
    struct served later;
    alk_identities *ids;
    alk_identity_provider p;
};

static void configure(struct asking *s, const char *members)
{
    char hash[65], config[300];

    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(config, sizeof config,
             "{\"peers\":[{\"peer_id\":\"a\",\"auth_token_hashes\":[\"%s\"]%s}]}", hash, members);
    ck_assert_int_eq(alk_identities_load(s->ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
}

static void asking_start(struct asking *s)
{
    memset(s, 0, sizeof *s);
    s->w = world_new();
    s->ids = alk_identities_new();
    alk_identities_provider(s->ids, &s->p, sizeof s->p);
    configure(s, "");
    s->w->options.identities = &s->p;
    world_add(s->w, "x/later", ALK_QUERY, serve_later, &s->later);
    world_start(s->w);
    s->client = wire_open(s->w, NULL);
}

static void asking_free(struct asking *s)
{
    served_free(&s->later);
    wire_free(s->client);
    world_free(s->w);
    alk_identities_free(s->ids);
}

START_TEST(a_call_by_a_token_of_its_own_ends_with_it)
{
    struct asking s;

    asking_start(&s);
    wire_request_with(s.client, "1", "x/later", "null", ",\"auth_token\":\"" TOKEN "\"");
    world_turn(s.w);
    ck_assert_str_eq(alk_identity_id(alk_call_identity(s.later.call)), "a");
    configure(&s, ",\"may_forward\":true");
    world_turn(s.w);
    ck_assert_int_eq(s.later.ends, 0);
    ck_assert_int_eq(alk_identities_load(s.ids, TEXT("{}"), 0, NULL, NULL, 0), ALK_OK);
    world_turn(s.w);
    ck_assert_int_eq(s.later.ends, 1);
    ck_assert_int_eq(s.later.why, ALK_END_FAULT);
    ck_assert_str_eq(s.later.code, ALK_FORBIDDEN);
    ck_assert_ptr_nonnull(strstr(wire_error(s.client), "1 FORBIDDEN"));
    ck_assert_int_eq(s.client->closes, 0);
    asking_free(&s);
}
END_TEST

/* What came in before the change is not begun behind it. */
START_TEST(no_call_begins_by_what_has_gone)
{
    struct asking s;
    struct wire *peer;
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who = NULL;

    asking_start(&s);
    o.kind = (uint32_t)s.p.by_token(s.p.ud, TEXT(TOKEN), &who);
    o.identity = who;
    o.by_token = TOKEN;
    peer = wire_open(s.w, &o);
    alk_identity_unref(who);
    ck_assert_int_eq(alk_identities_load(s.ids, TEXT("{}"), 0, NULL, NULL, 0), ALK_OK);
    ck_assert_int_eq(
        wire_feed(
            peer,
            "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{\"operationId\":\"x/later\"}}"),
        ALK_ECLOSED);
    world_turn(s.w);
    ck_assert_int_eq(s.later.starts, 0);
    ck_assert_int_eq(peer->closes, 1);
    ck_assert_int_eq(peer->close_code, ALK_CLOSE_IDENTITY);
    wire_free(peer);
    asking_free(&s);
}
END_TEST

MAIN("start", secrets_are_handed_down_by_name_however_the_names_are_spaced,
     no_secret_goes_to_what_says_that_it_is_of_a_session_or_a_remote,
     secrets_of_an_imported_parent_stay_as_long_as_its_child,
     a_child_runs_without_a_deadline_only_where_its_parent_does,
     only_what_a_handler_runs_can_compose, callers_without_identity_have_no_rate,
     a_call_by_a_token_of_its_own_ends_with_it, no_call_begins_by_what_has_gone)
