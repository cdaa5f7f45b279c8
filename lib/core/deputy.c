/* peers/call and peers/subscribe, by which clients of a hub reach its peers.
 *
 * The two are a deputy: they act with an authority of their own for whoever may ask them. So an
 * operation is reached only if the configuration names it for that peer, the caller passes its
 * access control, and the authority does too; whatever fails looks like an operation that does not
 * exist.
 *
 * Each of the three protects from another thing: the first from a peer that serves more than was
 * agreed, the second from callers who would borrow the deputy's rights, the third from a
 * configuration of the hub that is wider than what the deputy was meant to do. */
#include "core/deputy.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/overlay.h"
#include "core/relay.h"
#include "core/resolve.h"

#include <string.h>

struct rule {
    struct str peer; /* "*": any */
    const struct str *patterns;
    size_t count;
};

/* The configuration, read once. It never changes, so calls read it without a lock on any thread. */
struct deputy {
    struct mem mem;
    struct arena arena;
    struct rule *rules;
    size_t count;
    int refs; /* of the two operations */
};

/* "ns/" with a star stands for what is below it, and not for "ns/" itself. */
static bool pattern_matches(struct str pattern, struct str name)
{
    if (pattern.n && pattern.p[pattern.n - 1] == '*')
        return name.n >= pattern.n && !memcmp(name.p, pattern.p, pattern.n - 1);
    return str_eq(pattern, name);
}

/* Rules only ever allow: their order does not matter, and none takes away what another gives. */
static bool rule_allows(const struct deputy *dep, const struct peer *p, struct str name)
{
    for (size_t i = 0; i < dep->count; i++) {
        const struct rule *r = &dep->rules[i];

        if (!str_is(r->peer, "*") && !str_eq(r->peer, peer_id(p)))
            continue;
        for (size_t k = 0; k < r->count; k++) {
            if (pattern_matches(r->patterns[k], name))
                return true;
        }
    }
    return false;
}

/* Asked anew for each call: rules about resources need the input, and the peer may serve something
 * else by now. */
static bool may_call(const alk_call *call, yyjson_val *input, struct target *out)
{
    const alk_ownership_provider *own = node_ownership(call->d->node);

    if (access_check(out->op, call->identity, input, own) == ACCESS_OK &&
        access_check(out->op, call->op->authority, input, own) == ACCESS_OK)
        return true;
    target_drop(out);
    return false;
}

static bool may_reach(const alk_call *call, const struct deputy *dep, const struct peer *p,
                      struct str name, yyjson_val *input, struct target *out)
{
    return rule_allows(dep, p, name) && peer_target(call->d, p, name, out) &&
           may_call(call, input, out);
}

/* Some input of some caller, as for listings. The set is held, since a provider of the application
 * is asked, which may close the connection. */
int64_t deputy_reaches(const alk_connection *c)
{
    const struct operation *call = registry_find(c->d->node->reg, "peers/call", 10);
    struct overlay *set;
    int64_t n = 0;

    if (!call)
        return -1;
    set = overlay_ref(c->imported);
    for (size_t i = 0; i < set->by_name.count && c->peer; i++)
        n += rule_allows(call->ud, c->peer->of, op_name(set->sorted[i])) &&
             access_may_call(set->sorted[i], call->authority, node_ownership(c->d->node));
    overlay_unref(set);
    return n;
}

/* With the target that was checked, and not by its name: to look it up again could find another
 * one. As a nested call it acts as the authority, and ends with the caller's. */
static int pass_on(alk_call *call, const struct target *t, struct str name, yyjson_val *input)
{
    struct alk_value v = {.val = input, .arena = &call->msg->arena};
    const char *text = "null";
    struct relay *relay;
    alk_call_options o;
    alk_call *child = NULL;
    size_t len = 4;
    int rc = relay_new(&relay, call, &o);

    if (rc)
        return rc;
    if (input)
        text = alk_value_text(&v, &len);
    rc = text ? call_invoke(call, t, NULL, name, text, len, &o, &child) : ALK_ENOMEM;
    if (!rc) {
        relay_begin(relay, child);
        return ALK_OK;
    }
    relay_free(relay);
    if (rc != ALK_ELIMIT)
        return rc;
    call_end(call, ALK_END_FAULT, &fault_full);
    return ALK_OK;
}

struct wish {
    const struct deputy *dep;
    struct str name;
};

static bool accepts(const struct peer *p, const void *ud)
{
    const struct wish *w = ud;

    return rule_allows(w->dep, p, w->name);
}

/* Without a peer's name: the first one that serves it and lets this caller, in the order of their
 * first connection. Which peers were passed over is not told. */
static bool find_target(const alk_call *call, const struct deputy *dep, struct str wanted,
                        struct str name, yyjson_val *input, struct target *out)
{
    struct peer_table *peers = &call->d->node->peers;
    struct peer *p = NULL;
    const struct wish wish = {dep, name};
    bool found = false;

    if (wanted.p)
        p = peers_find(peers, wanted);
    else if (peers_have(peers, name))
        p = peers_next(peers, NULL, true);
    while (p && !(found = may_reach(call, dep, p, name, input, out)) && !wanted.p)
        p = peers_next(peers, p, true);
    if (p)
        peers_release(peers, p);
    for (unsigned i = 0; !found && !wanted.p; i++) {
        if (!elsewhere_serves(call->d, name, i, accepts, &wish, out))
            break;
        found = may_call(call, input, out);
    }
    return found;
}

static int peers_invoke(alk_call *call, void *ud)
{
    yyjson_val *in = call->input.val, *input = yyjson_obj_get(in, "input");
    struct str wanted, name;
    struct target t;

    wanted.p = json_str(in, "peer", &wanted.n);
    name.p = json_str(in, "operation", &name.n);
    name = name_strip(name.p, name.n);
    if (find_target(call, ud, wanted, name, input, &t)) {
        int rc = pass_on(call, &t, name, input);

        target_drop(&t);
        return rc;
    }
    call_not_found(call, name);
    return ALK_OK;
}

/* Without atomics: the two operations come and go with their registry, which one thread builds and
 * one frees. */
static void deputy_unref(void *ud)
{
    struct deputy *dep = ud;
    struct mem plain;

    if (--dep->refs)
        return;
    arena_fini(&dep->arena);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, dep);
}

static int read_rule(struct deputy *dep, yyjson_val *v)
{
    static const char *const known[] = {"peer", "operations", NULL};
    yyjson_val *ops = yyjson_obj_get(v, "operations"), *item;
    struct rule *r = &dep->rules[dep->count];
    struct str *patterns;
    size_t i, n;

    /* A rule that is misspelled must not become a wider one, so nothing unknown is passed over. */
    r->peer.p = json_str(v, "peer", &r->peer.n);
    if (!r->peer.n || json_unknown_member(v, known) || !yyjson_is_arr(ops))
        return ALK_EINVAL;
    r->peer.p = arena_dup(&dep->arena, r->peer.p, r->peer.n);
    patterns = arena_alloc(&dep->arena, (yyjson_arr_size(ops) + 1) * sizeof *patterns);
    if (!r->peer.p || !patterns)
        return ALK_ENOMEM;
    yyjson_arr_foreach(ops, i, n, item)
    {
        struct str s = {yyjson_get_str(item), yyjson_get_len(item)};
        bool star;

        s = s.p ? name_strip(s.p, s.n) : s;
        star = s.p && s.n > 2 && s.p[s.n - 1] == '*' && s.p[s.n - 2] == '/';
        if (!s.p || !name_valid(s.p, star ? s.n - 2 : s.n))
            return ALK_EINVAL;
        patterns[i] = (struct str){arena_dup(&dep->arena, s.p, s.n), s.n};
        if (!patterns[i].p)
            return ALK_ENOMEM;
    }
    r->patterns = patterns;
    r->count = yyjson_arr_size(ops);
    dep->count++;
    return ALK_OK;
}

/* Strict like everything about rights. The texts stay in the arena, which is the deputy's for as
 * long as it lives. */
static int read_config(struct deputy *dep, const char *json, size_t len, const char **authority)
{
    static const struct json_limits limits = {16, 100000};
    static const char *const known[] = {"authority", "allow", NULL};
    yyjson_alc alc = arena_alc(&dep->arena);
    char *copy = arena_alloc(&dep->arena, len + JSON_PADDING);
    yyjson_val *root, *allow, *v;
    yyjson_doc *doc;
    size_t i, n;
    int rc;

    if (!copy)
        return ALK_ENOMEM;
    memcpy(copy, json, len);
    rc = json_parse(copy, len, &limits, &alc, &doc, NULL);
    if (rc)
        return json_err(rc);
    root = yyjson_doc_get_root(doc);
    allow = yyjson_obj_get(root, "allow");
    if (!yyjson_is_obj(yyjson_obj_get(root, "authority")) || !yyjson_is_arr(allow) ||
        json_unknown_member(root, known))
        return ALK_EINVAL;
    *authority = yyjson_val_write_opts(yyjson_obj_get(root, "authority"), 0, &alc, NULL, NULL);
    dep->rules = arena_alloc(&dep->arena, (yyjson_arr_size(allow) + 1) * sizeof *dep->rules);
    if (!*authority || !dep->rules)
        return ALK_ENOMEM;
    yyjson_arr_foreach(allow, i, n, v)
    {
        if ((rc = read_rule(dep, v)))
            return rc;
    }
    return ALK_OK;
}

int alk_registry_enable_peers(alk_registry *reg, const char *json, size_t len)
{
    static const char input[] = "{\"type\":\"object\",\"additionalProperties\":false,"
                                "\"required\":[\"operation\"],\"properties\":{\"peer\":{\"type\":"
                                "\"string\"},\"operation\":{\"type\":\"string\"},\"input\":true}}";
    struct mem plain;
    struct deputy *dep;
    const char *authority = NULL;
    alk_operation op;
    int rc;

    mem_init(&plain, NULL, NULL);
    dep = mem_zalloc(&plain, sizeof *dep);
    if (!dep)
        return ALK_ENOMEM;
    dep->refs = 1;
    mem_init(&dep->mem, NULL, NULL);
    arena_init(&dep->arena, &dep->mem, 1024);
    rc = read_config(dep, json, len, &authority);
    for (int stream = 0; !rc && stream < 2; stream++) {
        alk_operation_init(&op, sizeof op);
        op.name = stream ? "peers/subscribe" : "peers/call";
        op.description = stream ? "Subscribes to an operation of an attached peer"
                                : "Calls an operation of an attached peer";
        /* Nobody knows what is behind it, so it counts as something that changes things. */
        op.type = stream ? ALK_SUBSCRIPTION : ALK_MUTATION;
        op.input_schema = input;
        op.access_control = "{\"required_scopes\":[\"peers:call\"]}";
        op.authority = authority;
        op.handler = peers_invoke;
        op.ud = dep;
        op.ud_free = deputy_unref;
        dep->refs++;
        rc = registry_add_builtin(reg, &op);
    }
    /* Its own reference: from here on the operations have it, or, if one of them failed, nobody. */
    deputy_unref(dep);
    return rc;
}
