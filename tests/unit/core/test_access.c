/* Access control: every combination of identity, rule, resources, input and ownership provider is
 * called through a dispatcher and compared with the rules of the specification (5.3), which are
 * written here once more, plainly. */
#include "support/node.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* ---- the combinations ------------------------------------------------------------------------ */

static const char *const required_sets[][3] = {
    {NULL}, {"a:read"}, {"a:read", "b:x"}, {"a"}, {"a:"}};
static const char *const any_sets[][3] = {{NULL}, {"c:y"}, {"a:write", "c:y"}};
/* The scopes of who calls; the first stands for nobody. */
static const char *const held_sets[][5] = {
    {NULL},
    {NULL},
    {"a:read"},
    {"a:*"},
    {"a:read", "b:*"},
    {"a:read", "b:x", "c:y"},
    {"a"},
    {"a:write"},
    {"*"},
    {"a:"},
    {":*"},
    {"a:rea", "a:readx", "A:READ"},
    {"a:", "a", "b:*", "a:re*"},
};
static const char *const owned_sets[] = {
    "{}",
    "{\"file\":[]}",
    "{\"file\":[\"1\"]}",
    "{\"file\":[\"read\"]}",
    "{\"dir\":[\"1\",\"read\"],\"file\":[\"9\"]}",
    "{\"file\":[\"-7\",\"18446744073709551615\",\"read\",\"1\"]}",
};
static const char *const inputs[] = {
    "{\"id\":\"1\"}",
    "{\"id\":1}",
    "{\"id\":\"2\"}",
    "{\"id\":-7}",
    "{\"id\":18446744073709551615}",
    "{\"id\":1.0}",
    "{\"id\":true}",
    "{\"id\":null}",
    "{\"id\":[\"1\"]}",
    "{\"id\":\"\"}",
    "{\"id\":\"1\\u0000\"}",
    "{}",
    "\"1\"",
    "null",
};
/* What the pointer yields in each, as the id that is asked for; NULL: no string or integer. */
static const char *const ids[] = {"1",  "1",  "2",  "-7", "18446744073709551615",
                                  NULL, NULL, NULL, NULL, "",
                                  NULL, NULL, NULL, NULL};

enum { PROVIDER_NONE, PROVIDER_OWNS, PROVIDER_OWNS_ANY, PROVIDER_OTHER, PROVIDERS };
enum {
    RESOURCE_NONE,
    RESOURCE_TYPE,
    RESOURCE_ACTION,
    RESOURCE_PATH,
    RESOURCE_ACTION_PATH,
    RESOURCES
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct rule {
    unsigned required, any, authenticated, resource;
};

#define RULES (COUNT(required_sets) * COUNT(any_sets) * 2 * RESOURCES)

static struct rule rule_of(size_t i)
{
    struct rule r = {.required = i % COUNT(required_sets)};

    i /= COUNT(required_sets);
    r.any = i % COUNT(any_sets);
    i /= COUNT(any_sets);
    r.authenticated = i % 2;
    r.resource = (unsigned)(i / 2);
    return r;
}

/* ---- the rules of the specification ---------------------------------------------------------- */

static bool holds(const char *const *held, const char *scope)
{
    for (; *held; held++) {
        const char *colon = strchr(*held, ':');
        size_t ns = colon ? (size_t)(colon - *held) : 0;

        if (!strcmp(*held, scope))
            return true;
        if (colon && !strcmp(colon, ":*") && !strncmp(*held, scope, ns + 1) && scope[ns + 1])
            return true;
    }
    return false;
}

/* Whether the list of that type has the item; item NULL: anything. */
static bool in_resources(const char *owned, const char *type, const char *item)
{
    char key[40], quoted[64];
    const char *list, *end;

    snprintf(key, sizeof key, "\"%s\":[", type);
    list = strstr(owned, key);
    if (!list)
        return false;
    list += strlen(key);
    end = strchr(list, ']');
    if (!item)
        return end != list;
    snprintf(quoted, sizeof quoted, "\"%s\"", item);
    list = strstr(list, quoted);
    return list && list < end;
}

static const char *expected(const struct rule *r, const char *const *held, bool nobody,
                            const char *owned, int provider, const char *id)
{
    const char *const *required = required_sets[r->required], *const *any = any_sets[r->any];
    bool one = !*any, yes = true;

    if (!*required && !*any && !r->authenticated && r->resource == RESOURCE_NONE)
        return "ok";
    if (nobody)
        return "authentication required";
    for (; *required; required++)
        yes = yes && holds(held, *required);
    for (; *any; any++)
        one = one || holds(held, *any);
    if (r->resource == RESOURCE_PATH || r->resource == RESOURCE_ACTION_PATH) {
        if (!id)
            yes = false;
        else if (provider != PROVIDER_NONE)
            yes = yes && provider == PROVIDER_OWNS && !strcmp(id, "1");
        else
            yes = yes && in_resources(owned, "file", id);
    } else if (r->resource != RESOURCE_NONE) {
        if (provider != PROVIDER_NONE)
            yes = yes && provider == PROVIDER_OWNS_ANY;
        else
            yes =
                yes && in_resources(owned, "file", r->resource == RESOURCE_ACTION ? "read" : NULL);
    }
    return yes && one ? "ok" : "forbidden";
}

/* ---- the world ------------------------------------------------------------------------------- */

struct ownership {
    int mode, asked;
};

static int owns(void *ud, const alk_identity *who, const char *type, const char *id,
                const char *action)
{
    struct ownership *o = ud;

    o->asked++;
    must(!strcmp(alk_identity_id(who), "someone"));
    must(!strcmp(type, "file"));
    must(!strcmp(action, "") || !strcmp(action, "read"));
    return o->mode == PROVIDER_OWNS ? !strcmp(id, "1") : o->mode == PROVIDER_OTHER ? 2 : 0;
}

static int owns_any(void *ud, const alk_identity *who, const char *type)
{
    struct ownership *o = ud;

    o->asked++;
    must(!strcmp(alk_identity_id(who), "someone"));
    must(!strcmp(type, "file"));
    return o->mode == PROVIDER_OWNS_ANY ? 1 : o->mode == PROVIDER_OTHER ? -1 : 0;
}

static void put_list(char *out, const char *const *items)
{
    strcat(out, "[");
    for (size_t i = 0; items[i]; i++) {
        strcat(out, i ? ",\"" : "\"");
        strcat(out, items[i]);
        strcat(out, "\"");
    }
    strcat(out, "]");
}

static void add_rule(struct world *w, size_t i)
{
    struct rule r = rule_of(i);
    char name[32], access[400] = "{\"required_scopes\":";
    alk_operation op;

    snprintf(name, sizeof name, "t/r%zu", i);
    put_list(access, required_sets[r.required]);
    if (r.any) {
        strcat(access, ",\"required_scopes_any\":");
        put_list(access, any_sets[r.any]);
    }
    if (r.authenticated)
        strcat(access, ",\"authenticated\":true");
    if (r.resource != RESOURCE_NONE)
        strcat(access, ",\"resource_type\":\"file\"");
    if (r.resource == RESOURCE_ACTION || r.resource == RESOURCE_ACTION_PATH)
        strcat(access, ",\"resource_action\":\"read\"");
    strcat(access, "}");
    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.handler = serve_echo;
    op.access_control = access;
    if (r.resource == RESOURCE_PATH || r.resource == RESOURCE_ACTION_PATH)
        op.resource_id_path = "/id";
    world_add_full(w, &op);
}

static struct world *world_with(int provider, struct ownership *o)
{
    struct world *w = world_new();
    alk_ownership_provider p = {.size = sizeof p, .owns = owns, .owns_any = owns_any, .ud = o};

    *o = (struct ownership){.mode = provider};
    for (size_t i = 0; i < RULES; i++)
        add_rule(w, i);
    w->options.log = NULL;
    w->options.ownership = provider == PROVIDER_NONE ? NULL : &p;
    world_start(w);
    return w;
}

static struct wire *connect_as(struct world *w, const char *const *held, bool nobody,
                               const char *owned)
{
    char json[400] = "{\"id\":\"someone\",\"scopes\":";
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who = NULL;
    struct wire *r;

    put_list(json, held);
    strcat(json, ",\"resources\":");
    strcat(json, owned);
    strcat(json, "}");
    if (!nobody)
        who = alk_identity_new(TEXT(json));
    ck_assert(nobody || who);
    o.identity = who;
    r = wire_open(w, &o);
    alk_identity_unref(who);
    return r;
}

static const char *outcome(struct wire *r, size_t rule, const char *input)
{
    char name[32];
    const char *answer;

    snprintf(name, sizeof name, "/t/r%zu", rule);
    wire_request(r, name, name, input);
    answer = wire_next(r);
    must(answer);
    if (strstr(answer, "\"call.responded\""))
        return "ok";
    must(strstr(answer, "\"code\":\"FORBIDDEN\""));
    must(strstr(answer, "\"retryable\":false"));
    return strstr(answer, "\"authentication required\"") ? "authentication required" : "forbidden";
}

static size_t compare_all_rules(struct wire *r, const char *const *held, bool nobody,
                                const char *owned, int provider)
{
    size_t n = 0;

    for (size_t i = 0; i < RULES; i++) {
        struct rule rule = rule_of(i);
        bool by_id = rule.resource == RESOURCE_PATH || rule.resource == RESOURCE_ACTION_PATH;

        for (size_t k = 0; k < (by_id ? COUNT(inputs) : 1); k++, n++) {
            const char *want = expected(&rule, held, nobody, owned, provider, ids[k]);
            const char *got = outcome(r, i, inputs[k]);

            ck_assert_msg(
                !strcmp(want, got),
                "rule %zu (required %u any %u authenticated %u resource %u), first scope %s, "
                "resources %s, provider %d, input %s: %s instead of %s",
                i, rule.required, rule.any, rule.authenticated, rule.resource,
                nobody  ? "(nobody)"
                : *held ? *held
                        : "(none)",
                owned, provider, inputs[k], got, want);
        }
    }
    return n;
}

static void compare_all(int provider)
{
    struct ownership o;
    struct world *w = world_with(provider, &o);
    size_t n = 0;

    ck_assert_uint_eq(COUNT(ids), COUNT(inputs));
    for (size_t h = 0; h < COUNT(held_sets); h++) {
        for (size_t k = 0; k < (h ? COUNT(owned_sets) : 1); k++) {
            struct wire *r = connect_as(w, held_sets[h], h == 0, owned_sets[k]);

            n += compare_all_rules(r, held_sets[h], h == 0, owned_sets[k], provider);
            wire_free(r);
        }
    }
    ck_assert_uint_gt(n, 50000);
    ck_assert_int_eq(o.asked > 0, provider != PROVIDER_NONE);
    world_free(w);
}

START_TEST(every_combination_without_a_provider_follows_the_rules)
{
    compare_all(PROVIDER_NONE);
}
END_TEST

START_TEST(every_combination_with_a_provider_that_owns_follows_the_rules)
{
    compare_all(PROVIDER_OWNS);
}
END_TEST

START_TEST(every_combination_with_a_provider_that_owns_any_follows_the_rules)
{
    compare_all(PROVIDER_OWNS_ANY);
}
END_TEST

START_TEST(only_the_answer_1_of_a_provider_is_a_yes)
{
    compare_all(PROVIDER_OTHER);
}
END_TEST

/* ---- listings -------------------------------------------------------------------------------- */

/* Of rules that need no input, services/list shows exactly those that may be called. */
static void compare_listing(int provider)
{
    struct ownership o;
    struct world *w = world_with(provider, &o);

    for (size_t h = 0; h < COUNT(held_sets); h++) {
        for (size_t k = 0; k < (h ? COUNT(owned_sets) : 1); k++) {
            struct wire *r = connect_as(w, held_sets[h], h == 0, owned_sets[k]);
            const char *list;

            wire_request(r, "list", "services/list", "{\"namespace\":\"t\"}");
            list = wire_next(r);
            ck_assert_ptr_nonnull(list);
            for (size_t i = 0; i < RULES; i++) {
                struct rule rule = rule_of(i);
                char entry[40];
                bool may = !strcmp(
                    expected(&rule, held_sets[h], h == 0, owned_sets[k], provider, NULL), "ok");

                if (rule.resource == RESOURCE_PATH || rule.resource == RESOURCE_ACTION_PATH)
                    continue;
                snprintf(entry, sizeof entry, "\"t/r%zu\"", i);
                must((strstr(list, entry) != NULL) == may);
            }
            wire_free(r);
        }
    }
    world_free(w);
}

START_TEST(listings_show_what_may_be_called)
{
    for (int p = 0; p < PROVIDERS; p++)
        compare_listing(p);
}
END_TEST

/* ---- scopes ---------------------------------------------------------------------------------- */

START_TEST(scopes_match_exactly_except_for_a_namespace_held_whole)
{
    static const struct {
        const char *held, *asked;
        int has;
    } cases[] = {
        {"a", "a", 1},           {"a", "A", 0},         {"a", "ab", 0},
        {"ab", "a", 0},          {"a:b", "a:b", 1},     {"a:*", "a:b", 1},
        {"a:*", "a:b:c", 1},     {"a:*", "a:*", 1},     {"a:*", "a", 0},
        {"a:b:*", "a:b:c", 0},   {"a:b:*", "a:b:*", 1}, {"a:*", "ab:c", 0},
        {"a:*", "b:c", 0},       {"a:*", "A:b", 0},     {"a:b*", "a:bc", 0},
        {"*", "a", 0},           {"*", "*", 1},         {"*:*", "a:b", 0},
        {"a:b", "a:*", 0},       {"a", "a:*", 0},       {"a*", "ab", 0},
        {"a:*x", "a:yx", 0},     {"a:* ", "a:b", 0},    {"fs:*", "fs:read", 1},
        {"fs:*", "fsx:read", 0}, {"f:*", "fs:read", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char scopes[64];
        alk_identity *who;

        snprintf(scopes, sizeof scopes, "[\"x\",\"%s\"]", cases[i].held);
        who = identity_of("id", scopes);
        ck_assert_msg(alk_identity_has_scope(who, TEXT(cases[i].asked)) == cases[i].has,
                      "%s asked %s", cases[i].held, cases[i].asked);
        alk_identity_unref(who);
    }
}
END_TEST

START_TEST(a_scope_asked_for_is_bytes_with_a_length)
{
    alk_identity *who = identity_of("id", "[\"a\\u0000b\",\"\"]");

    ck_assert_int_eq(alk_identity_has_scope(who, "a\0b", 3), 1);
    ck_assert_int_eq(alk_identity_has_scope(who, "a\0c", 3), 0);
    ck_assert_int_eq(alk_identity_has_scope(who, "a", 1), 0);
    ck_assert_int_eq(alk_identity_has_scope(who, "", 0), 1);
    alk_identity_unref(who);
}
END_TEST

START_TEST(an_identity_needs_an_id_and_lists_of_strings)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"id\":5}",
        "{\"id\":\"\"}",
        "{\"id\":\"a\",\"scopes\":\"x\"}",
        "{\"id\":\"a\",\"scopes\":[1]}",
        "{\"id\":\"a\",\"scopes\":{}}",
        "{\"id\":\"a\",\"resources\":[]}",
        "{\"id\":\"a\",\"resources\":{\"t\":\"x\"}}",
        "{\"id\":\"a\",\"resources\":{\"t\":[null]}}",
        "{\"id\":\"a\",\"resources\":{\"t\":[],\"t\":[]}}",
        "{\"id\":\"a\",\"id\":\"a\"}",
        "{\"id\":\"a\",\"admin\":true}",
        "{\"id\":\"\xff\"}",
        "{\"id\":\"a\"} x",
    };
    static const char whole[] = "{\"id\":\"a\\\"b\",\"scopes\":[\"s:1\",\"\xc3\xa9\"],"
                                "\"resources\":{\"t\":[\"1\"],\"u\":[]}}";
    alk_identity *who;
    size_t len;

    for (size_t i = 0; i < COUNT(bad); i++)
        ck_assert_msg(!alk_identity_new(TEXT(bad[i])), "%s", bad[i]);
    who = alk_identity_new(TEXT(whole));
    ck_assert_ptr_nonnull(who);
    ck_assert_str_eq(alk_identity_id(who), "a\"b");
    ck_assert_str_eq(alk_identity_json(who, &len), whole);
    ck_assert_uint_eq(len, strlen(whole));
    alk_identity_unref(who);
    who = alk_identity_new(TEXT("{\"id\":\"a\"}"));
    ck_assert_ptr_nonnull(who);
    ck_assert_str_eq(alk_identity_json(who, &len), "{\"id\":\"a\",\"scopes\":[],\"resources\":{}}");
    alk_identity_unref(who);
}
END_TEST

/* With so many scopes and resources, and one type of them. */
static bool has_room(size_t scopes, size_t resources)
{
    char *head = repeated(",\"s\"", scopes - 1, "{\"id\":\"a\",\"scopes\":[\"s\"",
                          "],\"resources\":{\"t\":[\"r\"");
    char *whole = repeated(",\"r\"", resources - 1, head, "]}}");
    alk_identity *who = alk_identity_new(TEXT(whole));

    alk_identity_unref(who);
    free(head);
    free(whole);
    return who;
}

START_TEST(an_identity_has_at_most_4096_scopes_and_resources)
{
    ck_assert(has_room(4094, 1));
    ck_assert(has_room(1, 4094));
    ck_assert(has_room(2000, 2095));
    ck_assert(!has_room(4095, 1));
    ck_assert(!has_room(1, 4095));
    ck_assert(!has_room(2000, 2096));
    ck_assert(!has_room(40000, 40000));
}
END_TEST

MAIN("access", every_combination_without_a_provider_follows_the_rules,
     every_combination_with_a_provider_that_owns_follows_the_rules,
     every_combination_with_a_provider_that_owns_any_follows_the_rules,
     only_the_answer_1_of_a_provider_is_a_yes, listings_show_what_may_be_called,
     scopes_match_exactly_except_for_a_namespace_held_whole,
     a_scope_asked_for_is_bytes_with_a_length, an_identity_needs_an_id_and_lists_of_strings,
     an_identity_has_at_most_4096_scopes_and_resources)
