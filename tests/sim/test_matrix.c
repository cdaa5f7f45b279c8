/* The access matrix: every kind of caller, of composing handler and of child, every visibility and access rule, every way to
 * reach an operation or to see it. What must come of each combination is computed by the few functions under "the oracle", from
 * the rules alone; they know nothing of how the library decides. */
#include "sim/compose.h"

/* ---- the dimensions ---------------------------------------------------------------------------- */

enum { OPEN, AUTHENTICATED, SCOPE, ANY_SCOPE, RESOURCE, RULES };
enum { WEAK, EXACT, WILDCARD, STRENGTHS }; /* what an identity holds of what the rules ask for */
enum { CHILD_LEAF, CHILD_STRONG, CHILDREN };
enum { BY_LAYERS, BY_ANY, BY_PEER, BY_CONNECTION, SELECTORS };
enum { OUT_OK, OUT_NOT_FOUND, OUT_FORBIDDEN, OUT_NO_IDENTITY, OUT_OTHER };

struct who {
    bool exists;
    int strength;
    uint32_t kind;
    bool peers_scopes; /* holds peers:call and peers:list */
};

struct target_op {
    bool external;
    int rule, child;
};

static const char *const outcome_names[] = {"ok", "NOT_FOUND", "FORBIDDEN",
                                            "authentication required", "something else"};
static const char *const rule_names[] = {"open", "authenticated", "scope", "any", "resource"};
static const char *const rules[] = {NULL, "{\"authenticated\":true}",
                                    "{\"required_scopes\":[\"s:use\"]}",
                                    "{\"required_scopes_any\":[\"other:thing\",\"s:use\"]}",
                                    "{\"resource_type\":\"doc\",\"resource_action\":\"read\"}"};

/* ---- the oracle -------------------------------------------------------------------------------- */

static int passes(int rule, const struct who *who)
{
    if (rule == OPEN)
        return OUT_OK;
    if (!who->exists)
        return OUT_NO_IDENTITY;
    if (rule == AUTHENTICATED)
        return OUT_OK;
    return who->strength != WEAK ? OUT_OK : OUT_FORBIDDEN;
}

/* Directly from the wire: internal operations do not exist, the caller's identity is checked. */
static int expect_wire(const struct target_op *op, bool imported, const struct who *caller)
{
    return imported || !op->external ? OUT_NOT_FOUND : passes(op->rule, caller);
}

/* From a handler: visibility, the original caller and the child's own authority do not matter, the composer's does. */
static int expect_nested(const struct target_op *op, bool imported, int selector,
                         const struct who *composer)
{
    if (!imported && selector != BY_LAYERS)
        return OUT_NOT_FOUND; /* the registry is no peer's */
    return passes(op->rule, composer);
}

static int expect_deputy(const struct target_op *op, bool imported, const struct who *caller,
                         const struct who *deputy)
{
    if (!caller->exists)
        return OUT_NO_IDENTITY;
    if (!caller->peers_scopes)
        return OUT_FORBIDDEN;
    return imported && passes(op->rule, caller) == OUT_OK && passes(op->rule, deputy) == OUT_OK
               ? OUT_OK
               : OUT_NOT_FOUND;
}

static bool expect_listed(const struct target_op *op, bool imported, const struct who *caller)
{
    return !imported && op->external && passes(op->rule, caller) == OUT_OK;
}

static int expect_list_peers(const struct who *caller)
{
    return !caller->exists ? OUT_NO_IDENTITY : caller->peers_scopes ? OUT_OK : OUT_FORBIDDEN;
}

/* For peers, visibility aside; without the right to see peers there is nothing to see. */
static int expect_peer_schema(const struct target_op *op, bool imported, const struct who *caller)
{
    return imported && caller->exists && caller->peers_scopes && passes(op->rule, caller) == OUT_OK
               ? OUT_OK
               : OUT_NOT_FOUND;
}

/* ---- the nodes --------------------------------------------------------------------------------- */

struct matrix {
    struct world *hub, *spoke, *all[2];
    alk_connection *peer, *peer_far, *browser, *browser_far;
    struct who deputy;
    int runs, expected_runs, checked, wrong;
};

static int run_handler(alk_call *call, void *ud)
{
    struct matrix *m = ud;

    m->runs++;
    return alk_call_reply(call, TEXT("\"ran\""));
}

static void child_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    alk_call *call = ud;
    char text[400];

    (void)child;
    if (fault)
        snprintf(text, sizeof text, "\"%s: %.200s\"", fault->code, fault->message);
    else
        snprintf(text, sizeof text, why == ALK_END_OK ? "\"ran\"" : "\"ended\"");
    alk_call_reply(call, TEXT(text));
    alk_call_unref(call);
}

/* Its input is "SELECTOR OPERATION"; it answers with what came of it. */
static int compose_handler(alk_call *call, void *ud)
{
    struct matrix *m = ud;
    size_t len;
    char text[200];
    alk_call_options o = {.size = sizeof o};

    snprintf(text, sizeof text, "%s", alk_value_text(alk_call_input(call), &len) + 1);
    text[strlen(text) - 1] = 0;
    o.selector = (uint32_t)(text[0] - '0');
    o.peer = "spoke";
    o.connection = m->browser;
    o.on_end = child_end;
    o.ud = alk_call_ref(call);
    return alk_call_invoke(call, TEXT(text + 2), TEXT("null"), &o, NULL);
}

static void op_name_of(char out[64], const struct target_op *op, bool imported)
{
    snprintf(out, 64, "%s/%s_%s_%d", imported ? "p" : "s", op->external ? "external" : "internal",
             rule_names[op->rule], op->child);
}

static const char *rights(const struct who *who)
{
    static const char *const texts[] = {
        "\"scopes\":[%s\"other:use\"],\"resources\":{\"doc\":[\"write\"]}",
        "\"scopes\":[%s\"s:use\"],\"resources\":{\"doc\":[\"read\"]}",
        "\"scopes\":[%s\"s:*\"],\"resources\":{\"doc\":[\"write\",\"read\"]}"};
    static char text[200];

    snprintf(text, sizeof text, texts[who->strength],
             who->peers_scopes ? "\"peers:call\",\"peers:list\"," : "");
    return text;
}

static void each_op(struct matrix *m, void (*fn)(struct matrix *, const struct target_op *, void *),
                    void *ud)
{
    for (int external = 0; external < 2; external++) {
        for (int rule = 0; rule < RULES; rule++) {
            for (int child = 0; child < CHILDREN; child++)
                fn(m, &(struct target_op){external, rule, child}, ud);
        }
    }
}

static void fill_target(struct matrix *m, alk_operation *out, const struct target_op *op,
                        const char *name, bool imported)
{
    op_fill(out, &(struct op){.name = name,
                              .visibility = op->external ? ALK_EXTERNAL : ALK_INTERNAL_ONLY,
                              .access = rules[op->rule],
                              .handler = imported ? NULL : run_handler,
                              .ud = m,
                              .authority = op->child == CHILD_STRONG
                                               ? "{\"label\":\"child\",\"scopes\":[\"s:*\"],"
                                                 "\"resources\":{\"doc\":[\"read\"]}}"
                                               : NULL});
}

static void add_local(struct matrix *m, const struct target_op *op, void *ud)
{
    alk_operation full;
    char name[64];

    (void)ud;
    op_name_of(name, op, false);
    fill_target(m, &full, op, name, false);
    world_add_full(m->hub, &full);
    op_name_of(name, op, true);
    add_op(m->spoke, &(struct op){.name = name, .handler = run_handler, .ud = m});
}

struct hand {
    alk_operation ops[2 * RULES * CHILDREN];
    char names[2 * RULES * CHILDREN][64];
    size_t count;
};

static void add_imported(struct matrix *m, const struct target_op *op, void *ud)
{
    struct hand *h = ud;

    op_name_of(h->names[h->count], op, true);
    fill_target(m, &h->ops[h->count], op, h->names[h->count], true);
    h->count++;
}

static const struct who composers[] = {{.exists = false},
                                       {.exists = true, .strength = WEAK},
                                       {.exists = true, .strength = EXACT},
                                       {.exists = true, .strength = WILDCARD}};

static struct matrix *matrix_start(int deputy_strength)
{
    static const struct side hub = {.id = "hub", .kind = ALK_KIND_PEER};
    struct matrix *m = calloc(1, sizeof *m);
    struct hand hand = {.count = 0};
    char text[500];

    ck_assert_ptr_nonnull(m);
    m->deputy = (struct who){.exists = true, .strength = deputy_strength};
    m->all[0] = m->hub = world_new();
    m->all[1] = m->spoke = world_new();
    m->hub->options.log_level = m->spoke->options.log_level = ALK_LOG_ERROR;
    snprintf(text, sizeof text,
             "{\"authority\":{\"label\":\"deputy\",%s},\"allow\":[{\"peer\":\"*\",\"operations\":["
             "\"p/*\",\"s/*\"]}]}",
             rights(&m->deputy));
    ck_assert_int_eq(alk_registry_enable_peers(m->hub->reg, TEXT(text)), ALK_OK);
    each_op(m, add_local, NULL);
    for (size_t i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof name, "c/%u", (unsigned)i);
        snprintf(text, sizeof text, "{\"label\":\"composer%u\",%s}", (unsigned)i,
                 rights(&composers[i]));
        add_op(m->hub, &(struct op){.name = name,
                                    .handler = compose_handler,
                                    .ud = m,
                                    .authority = composers[i].exists ? text : NULL,
                                    .environment = "{\"allowed_ops\":[\"s/*\",\"p/*\"]}"});
    }
    world_start(m->hub);
    world_start(m->spoke);
    join(m->hub, &(struct side){.id = "spoke", .kind = ALK_KIND_PEER}, &m->peer, m->spoke, &hub,
         &m->peer_far);
    join(m->hub, &(struct side){.id = "browser", .kind = ALK_KIND_KEY}, &m->browser, m->spoke, &hub,
         &m->browser_far);
    each_op(m, add_imported, &hand);
    ck_assert_int_eq(alk_connection_register_imported(m->peer, hand.ops, hand.count), ALK_OK);
    ck_assert_int_eq(alk_connection_register_imported(m->browser, hand.ops, hand.count), ALK_OK);
    return m;
}

static void matrix_free(struct matrix *m)
{
    ck_assert_int_eq(m->wrong, 0);
    ck_assert_int_eq(m->runs, m->expected_runs);
    expect_idle(m->hub);
    expect_idle(m->spoke);
    alk_connection_unref(m->peer);
    alk_connection_unref(m->peer_far);
    alk_connection_unref(m->browser);
    alk_connection_unref(m->browser_far);
    world_free(m->hub);
    world_free(m->spoke);
    free(m);
}

/* ---- asking ------------------------------------------------------------------------------------ */

static const char *ask_wire(struct matrix *m, struct wire *r, const char *operation,
                            const char *input)
{
    static unsigned number;
    char id[16];
    const char *e;

    snprintf(id, sizeof id, "q%u", ++number);
    wire_request(r, id, operation, input);
    for (int i = 0; i < 3; i++) {
        world_turn(m->hub);
        world_turn(m->spoke);
    }
    e = wire_next(r);
    ck_assert_ptr_nonnull(e);
    return e;
}

static int outcome(const char *e)
{
    if (strstr(e, "authentication required"))
        return strstr(e, "FORBIDDEN") ? OUT_NO_IDENTITY : OUT_OTHER;
    if (strstr(e, "NOT_FOUND"))
        return strstr(e, "operation not found: ") ? OUT_NOT_FOUND : OUT_OTHER;
    if (strstr(e, "FORBIDDEN"))
        return OUT_FORBIDDEN;
    return strstr(e, "\"output\":\"ran\"") ? OUT_OK : OUT_OTHER;
}

static void compare(struct matrix *m, int want, int got, const char *way, const char *name,
                    const struct who *caller, const struct who *second)
{
    m->checked++;
    if (want == got)
        return;
    m->wrong++;
    fprintf(stderr,
            "%s of %s by caller{%d %d kind %u peers %d}, composer or deputy{%d %d}: %s, not %s\n",
            way, name, caller->exists, caller->strength, caller->kind, caller->peers_scopes,
            second ? second->exists : -1, second ? second->strength : -1, outcome_names[got],
            outcome_names[want]);
}

struct asking {
    struct wire *r;
    struct who caller;
    char *list, *list_peers;
};

static void check_call(struct matrix *m, struct asking *a, const char *way, const char *operation,
                       const char *input, int want, const char *name, const struct who *second)
{
    m->expected_runs += want == OUT_OK;
    compare(m, want, outcome(ask_wire(m, a->r, operation, input)), way, name, &a->caller, second);
}

static void check_nested(struct matrix *m, struct asking *a, const struct target_op *op,
                         const char *name, bool imported)
{
    static const char *const ways[] = {"nested", "any peer", "named peer", "overlay"};

    for (size_t c = 0; c < 4; c++) {
        for (int s = 0; s < SELECTORS; s++) {
            char operation[16], input[100];

            snprintf(operation, sizeof operation, "c/%u", (unsigned)c);
            snprintf(input, sizeof input, "\"%d %s\"", s, name);
            check_call(m, a, ways[s], operation, input,
                       expect_nested(op, imported, s, &composers[c]), name, &composers[c]);
        }
    }
}

static void check_deputies(struct matrix *m, struct asking *a, const struct target_op *op,
                           const char *name, bool imported)
{
    static const char *const inputs[] = {
        "{\"operation\":\"%s\"}", "{\"peer\":\"spoke\",\"operation\":\"/%s\",\"input\":null}"};

    for (size_t i = 0; i < 2; i++) {
        char input[200];

        snprintf(input, sizeof input, i ? inputs[1] : inputs[0], name);
        check_call(m, a, "peers/call", "peers/call", input,
                   expect_deputy(op, imported, &a->caller, &m->deputy), name, &m->deputy);
        snprintf(input, sizeof input, "{\"peer\":\"browser\",\"operation\":\"%s\"}", name);
        check_call(m, a, "peers/call at a browser", "peers/call", input,
                   expect_deputy(op, false, &a->caller, &m->deputy), name, &m->deputy);
    }
}

static void check_seen(struct matrix *m, struct asking *a, const struct target_op *op,
                       const char *name, bool imported)
{
    char input[200], entry[100], want_name[100];
    const char *e;
    bool listed;

    snprintf(entry, sizeof entry, "{\"name\":\"%s\",", name);
    listed = expect_listed(op, imported, &a->caller);
    compare(m, listed ? OUT_OK : OUT_NOT_FOUND, strstr(a->list, entry) ? OUT_OK : OUT_NOT_FOUND,
            "list", name, &a->caller, NULL);
    snprintf(input, sizeof input, "{\"name\":\"%s\"}", name);
    snprintf(want_name, sizeof want_name, "\"output\":{\"name\":\"%s\"", name);
    e = ask_wire(m, a->r, "services/schema", input);
    compare(m, listed ? OUT_OK : OUT_NOT_FOUND, strstr(e, want_name) ? OUT_OK : outcome(e),
            "schema", name, &a->caller, NULL);
    snprintf(input, sizeof input, "{\"name\":\"%s\",\"peer\":\"spoke\"}", name);
    e = ask_wire(m, a->r, "services/schema", input);
    compare(m, expect_peer_schema(op, imported, &a->caller),
            strstr(e, want_name) ? OUT_OK : outcome(e), "schema with peer", name, &a->caller, NULL);
    snprintf(input, sizeof input, "{\"name\":\"%s\",\"peer\":\"browser\"}", name);
    compare(m, OUT_NOT_FOUND, outcome(ask_wire(m, a->r, "services/schema", input)),
            "schema at a browser", name, &a->caller, NULL);
    if (expect_list_peers(&a->caller) != OUT_OK)
        return;
    listed = imported ? passes(op->rule, &a->caller) == OUT_OK : listed;
    compare(m, listed ? OUT_OK : OUT_NOT_FOUND,
            strstr(a->list_peers, entry) ? OUT_OK : OUT_NOT_FOUND, "list-peers", name, &a->caller,
            NULL);
}

static void check_op(struct matrix *m, const struct target_op *op, void *ud)
{
    struct asking *a = ud;

    for (int imported = 0; imported < 2; imported++) {
        char name[64];

        op_name_of(name, op, imported);
        check_call(m, a, "wire", name, "null", expect_wire(op, imported, &a->caller), name, NULL);
        check_nested(m, a, op, name, imported);
        check_deputies(m, a, op, name, imported);
        check_seen(m, a, op, name, imported);
    }
}

static void check_caller(struct matrix *m, const struct who *caller)
{
    struct asking a = {.caller = *caller};
    alk_connection_options o = {.size = sizeof o};
    char json[400];
    const char *e;

    if (caller->exists) {
        snprintf(json, sizeof json, "{\"id\":\"caller\",%s}", rights(caller));
        o.identity = alk_identity_new(TEXT(json));
        o.kind = caller->kind;
        ck_assert_ptr_nonnull(o.identity);
    }
    a.r = wire_open(m->hub, &o);
    alk_identity_unref(o.identity);
    a.list = strdup(ask_wire(m, a.r, "services/list", "{}"));
    e = ask_wire(m, a.r, "services/list-peers", "{}");
    compare(m, expect_list_peers(caller), strstr(e, "\"peers\":[") ? OUT_OK : outcome(e),
            "list-peers", "itself", caller, NULL);
    ck_assert_ptr_null(strstr(e, "\"browser\""));
    a.list_peers = strdup(e);
    each_op(m, check_op, &a);
    wire_free(a.r);
    free(a.list);
    free(a.list_peers);
}

static void check_matrix(int deputy_strength)
{
    static const uint32_t kinds[] = {ALK_KIND_NONE, ALK_KIND_KEY, ALK_KIND_PEER};
    struct matrix *m = matrix_start(deputy_strength);

    check_caller(m, &(struct who){.exists = false});
    for (int strength = 0; strength < STRENGTHS; strength++) {
        for (size_t kind = 0; kind < 3; kind++) {
            for (int peers = 0; peers < 2; peers++)
                check_caller(m, &(struct who){true, strength, kinds[kind], peers});
        }
    }
    ck_assert_int_gt(m->checked, 15000);
    ck_assert_int_gt(m->expected_runs, 1000);
    matrix_free(m);
}

START_TEST(every_combination_is_as_the_rules_say_with_a_weak_deputy)
{
    check_matrix(WEAK);
}
END_TEST

START_TEST(every_combination_is_as_the_rules_say_with_a_deputy_that_may)
{
    check_matrix(EXACT);
}
END_TEST

START_TEST(every_combination_is_as_the_rules_say_with_a_deputy_that_may_all)
{
    check_matrix(WILDCARD);
}
END_TEST

MAIN("matrix", every_combination_is_as_the_rules_say_with_a_weak_deputy,
     every_combination_is_as_the_rules_say_with_a_deputy_that_may,
     every_combination_is_as_the_rules_say_with_a_deputy_that_may_all)
