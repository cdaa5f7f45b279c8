/* What is there many times: operations, peers' connections, credentials. */
#include "cost/cost.h"
#include "sim/cross.h"

#include <alknet/openapi.h>

/* A world with so many operations x/op0000000, …, each with this schema. */
static struct world *world_with(size_t operations, const char *schema)
{
    struct world *w = world_new();

    for (size_t i = 0; i < operations; i++) {
        char name[32];

        snprintf(name, sizeof name, "x/op%07zu", i);
        add_op(w, &(struct op){.name = name,
                               .handler = serve_echo,
                               .input = schema,
                               .access = "{\"required_scopes\":[\"x:use\"]}"});
    }
    return w;
}

static struct world *world_of(size_t operations)
{
    return world_with(operations, "{\"type\":\"object\"}");
}

static struct wire *client_of(struct world *w)
{
    alk_connection_options o;
    struct wire *r;

    side_options(&o, &(struct side){.id = "client", .scopes = "[\"peers:list\",\"x:use\"]"});
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    return r;
}

MEASURED static const char *measured_request(struct wire *r, const char *operation,
                                             const char *input)
{
    wire_request(r, "1", operation, input);
    return wire_next(r);
}

/* ---- listings -------------------------------------------------------------------------------- */

static void list_whole(size_t n)
{
    struct world *w = world_of(n);
    struct wire *r;

    world_start(w);
    r = client_of(w);
    must(strlen(measured_request(r, "services/list", "{}")) > 40 * n);
    wire_free(r);
    world_free(w);
}

/* A registry that was found, with n operations. A third of them is in all. */
static alk_registry *found_registry(size_t number, size_t n)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op;

    for (size_t i = 0; i < n; i++) {
        char name[40];

        snprintf(name, sizeof name, "x/op%07zu", i % 3 ? number * n + i : i);
        op_fill(&op, &(struct op){.name = name, .handler = serve_echo});
        must(alk_registry_add(reg, &op) == ALK_OK);
    }
    must(alk_registry_freeze(reg) == ALK_OK);
    return reg;
}

static void list_found(size_t sources, size_t operations)
{
    struct world *w = world_of(operations);
    struct wire *r;

    world_start(w);
    for (size_t i = 0; i < sources; i++) {
        alk_registry *reg = found_registry(i, operations);
        char source[32];

        snprintf(source, sizeof source, "%zu", i);
        must(alk_node_set_discovered(w->node, source, reg) == ALK_OK);
        alk_registry_unref(reg);
    }
    r = client_of(w);
    must(strlen(measured_request(r, "services/list", "{}")) > 20 * sources * operations);
    wire_free(r);
    world_free(w);
}

static void list_sources(size_t n)
{
    list_found(n, 40);
}

static void list_found_operations(size_t n)
{
    list_found(4, n);
}

MEASURED static size_t measured_pages(struct wire *r)
{
    char input[100] = "{\"limit\":4}";
    size_t pages = 0;

    for (;; pages++) {
        const char *page, *next;

        wire_request(r, "1", "services/list", input);
        page = wire_next(r);
        next = page ? strstr(page, "\"next_cursor\":\"") : NULL;
        if (!next)
            return pages;
        /* x/op and seven digits. */
        snprintf(input, sizeof input, "{\"limit\":4,\"cursor\":\"%.11s\"}", next + 15);
    }
}

static void list_pages(size_t n)
{
    struct world *w = world_of(n);
    struct wire *r;

    world_start(w);
    r = client_of(w);
    must(measured_pages(r) >= n / 4);
    wire_free(r);
    world_free(w);
}

/* Connections of one peer, each of which serves the same three operations and two of its own. */
static void list_peers(size_t n)
{
    struct world *w = world_new();
    struct wire **peers = calloc(n, sizeof *peers), *r;

    must(peers);
    world_start(w);
    for (size_t i = 0; i < n; i++) {
        char names[5][32];
        alk_connection_options o;
        alk_operation ops[5];

        side_options(&o, &(struct side){.id = "peer", .kind = ALK_KIND_PEER});
        o.no_auto_import = 1;
        peers[i] = wire_open(w, &o);
        alk_identity_unref(o.identity);
        for (size_t k = 0; k < 5; k++) {
            snprintf(names[k], sizeof names[k], "x/op%07zu", k < 3 ? k : 5 * i + k);
            op_fill(&ops[k], &(struct op){.name = names[k]});
        }
        must(alk_connection_register_imported(peers[i]->conn, ops, 5) == ALK_OK);
    }
    r = client_of(w);
    must(strlen(measured_request(r, "services/list-peers", "{}")) > 100 * n);
    for (size_t i = 0; i < n; i++)
        wire_free(peers[i]);
    wire_free(r);
    world_free(w);
    free(peers);
}

/* ---- peers ------------------------------------------------------------------------------------ */

static struct wire *peer_of(struct world *w, const char *id)
{
    alk_connection_options o;
    alk_operation op;
    struct wire *r;

    side_options(&o, &(struct side){.id = id, .kind = ALK_KIND_PEER});
    o.no_auto_import = 1;
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    op_fill(&op, &(struct op){.name = "x/op"});
    must(alk_connection_register_imported(r->conn, &op, 1) == ALK_OK);
    return r;
}

MEASURED static void measured_lookups(struct wire *r, size_t n, bool one_peer)
{
    for (size_t i = 0; i < n; i++) {
        char input[100];

        snprintf(input, sizeof input, "{\"name\":\"x/%s\",\"peer\":\"peer%07zu\"}",
                 one_peer ? "none" : "op", one_peer ? 0 : i);
        wire_request(r, "1", "services/schema", input);
        must((strstr(wire_next(r), "call.error") != NULL) == one_peer);
    }
}

/* So many lookups of a name, with as many connections: of one peer, which does not serve it, or of
 * as many peers, each of which does. */
static void lookups(size_t n, bool one_peer)
{
    struct world *w = world_new();
    struct wire **peers = calloc(n, sizeof *peers), *r;

    must(peers);
    world_start(w);
    for (size_t i = 0; i < n; i++) {
        char id[32];

        snprintf(id, sizeof id, "peer%07zu", one_peer ? 0 : i);
        peers[i] = peer_of(w, id);
    }
    r = client_of(w);
    measured_lookups(r, n, one_peer);
    for (size_t i = 0; i < n; i++)
        wire_free(peers[i]);
    wire_free(r);
    world_free(w);
    free(peers);
}

static void many_peers(size_t n)
{
    lookups(n, false);
}

static void many_connections(size_t n)
{
    lookups(n, true);
}

/* ---- access ----------------------------------------------------------------------------------- */

MEASURED static void measured_checks(struct wire *r)
{
    for (int i = 0; i < 20; i++) {
        wire_request(r, "1", "x/op", "null");
        must(strstr(wire_next(r), "call.responded"));
    }
}

/* As many scopes are required as held. */
static void required_scopes(size_t n)
{
    char *access = cost_list("{\"required_scopes\":[", "\"s:#\"", ",", n, "]}");
    char *who = cost_list("{\"id\":\"client\",\"scopes\":[", "\"s:#\"", ",", n, "]}");
    struct world *w = world_new();
    alk_connection_options o = {.size = sizeof o};
    struct wire *r;

    add_op(w, &(struct op){.name = "x/op", .handler = serve_echo, .access = access});
    world_start(w);
    o.identity = alk_identity_new(TEXT(who));
    must(o.identity);
    r = wire_open(w, &o);
    alk_identity_unref(o.identity);
    measured_checks(r);
    wire_free(r);
    world_free(w);
    free(access);
    free(who);
}

MEASURED static void measured_add(struct world *w, const alk_operation *op)
{
    world_add_full(w, op);
}

static void error_codes(size_t n)
{
    char *errors = cost_list("[", "{\"code\":\"CODE_#\"}", ",", n, "]");
    struct world *w = world_new();
    alk_operation op;

    op_fill(&op, &(struct op){.name = "x/op", .handler = serve_echo});
    op.error_schemas = errors;
    measured_add(w, &op);
    world_free(w);
    free(errors);
}

/* ---- imports --------------------------------------------------------------------------------- */

MEASURED static void measured_import(struct world *a, struct world *b, alk_connection *c,
                                     struct imported *im)
{
    alk_import_options o = {.size = sizeof o};

    must(alk_connection_import(c, &o, on_imported, im) == ALK_OK);
    world_until(a, b, &im->done);
}

static void import_with(size_t n, const char *schema)
{
    struct world *hub = world_new(), *spoke = world_with(n, schema), *both[] = {hub, spoke};
    struct imported im = {0};
    alk_connection *to, *from;

    hub->options.auto_import = 0;
    world_start(hub);
    world_start(spoke);
    join(hub, &(struct side){.id = "spoke", .kind = ALK_KIND_PEER}, &to, spoke,
         &(struct side){.id = "hub", .scopes = "[\"x:use\"]", .kind = ALK_KIND_PEER}, &from);
    measured_import(hub, spoke, to, &im);
    must(im.rc == ALK_OK && im.count == n);
    alk_connection_unref(to);
    alk_connection_unref(from);
    settle(both, 2);
    world_free(hub);
    world_free(spoke);
}

static void import(size_t n)
{
    import_with(n, "{}");
}

static void import_large(size_t n)
{
    char *schema = cost_list("{\"enum\":[", "\"#\"", ",", 300, "]}");

    import_with(n, schema);
    free(schema);
}

/* ---- identities ------------------------------------------------------------------------------ */

static char *token_of(char text[64], size_t i)
{
    snprintf(text, 64, "k%07zu-a-token-of-many-bytes", i);
    return text;
}

/* A configuration with so many keys, each with an extra scope of that name. */
static char *keys(size_t n, const char *scope)
{
    char *text = malloc(n * 160 + 100), *p = text;

    must(text);
    p += sprintf(p, "{\"keys\":[");
    for (size_t i = 0; i < n; i++) {
        char token[64], hash[65];

        alk_token_hash(TEXT(token_of(token, i)), hash);
        p += sprintf(p, "%s{\"prefix\":\"k%07zu\",\"hash\":\"%s\",\"scopes\":[\"%s\"]}",
                     i ? "," : "", i, hash, scope);
    }
    strcpy(p, "]}");
    return text;
}

MEASURED static void measured_load(alk_identities *ids, const char *config, size_t n)
{
    alk_identity_provider p;

    alk_identities_provider(ids, &p, sizeof p);
    must(alk_identities_load(ids, TEXT(config), 0, NULL, NULL, 0) == ALK_OK);
    for (size_t i = 0; i < n; i++) {
        alk_identity *who = NULL;
        char token[64];

        must(p.by_token(p.ud, TEXT(token_of(token, i)), &who) == ALK_KIND_KEY);
        alk_identity_unref(who);
    }
}

static void identities(size_t n)
{
    alk_identities *ids = alk_identities_new();
    char *config = keys(n, "s");

    measured_load(ids, config, n);
    alk_identities_free(ids);
    free(config);
}

MEASURED static void measured_reload(struct world *w, alk_identities *ids, const char *config)
{
    must(alk_identities_load(ids, TEXT(config), 0, NULL, NULL, 0) == ALK_OK);
    world_turn(w);
}

static void reload(size_t n)
{
    alk_identities *ids = alk_identities_new();
    struct wire **all = calloc(n, sizeof *all);
    char *before = keys(n, "s"), *behind = keys(n, "t");
    struct world *w = world_new();
    alk_identity_provider p;

    must(all && ids && alk_identities_load(ids, TEXT(before), 0, NULL, NULL, 0) == ALK_OK);
    alk_identities_provider(ids, &p, sizeof p);
    w->options.identities = &p;
    world_start(w);
    for (size_t i = 0; i < n; i++) {
        alk_connection_options o = {.size = sizeof o};
        alk_identity *who = NULL;
        char token[64];

        o.by_token = token_of(token, i);
        o.kind = (uint32_t)p.by_token(p.ud, TEXT(token), &who);
        o.identity = who;
        all[i] = wire_open(w, &o);
        alk_identity_unref(who);
    }
    measured_reload(w, ids, behind);
    for (size_t i = 0; i < n; i++) {
        must(!all[i]->closes &&
             alk_identity_has_scope(alk_connection_identity(all[i]->conn), "t", 1));
        wire_free(all[i]);
    }
    world_free(w);
    alk_identities_free(ids);
    free(all);
    free(before);
    free(behind);
}

/* ---- calls ----------------------------------------------------------------------------------- */

MEASURED static void measured_calls(struct rig *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        call(r, "1", "p/query", "{\"a\":[1,2,3]}", "");
        world_turn(r->near);
        world_turn(r->far);
        r->asked[0] = (char *)wire_id(r->peer->sent[r->peer->count - 1]);
        answer_value(r, 0, "{\"b\":[4,5,6]}");
        world_turn(r->far);
        world_turn(r->near);
    }
}

static void calls_of_a_peer(size_t n, bool crosses)
{
    struct rig *r = rig_prepare();

    r->near->options.log = NULL;
    rig_start(r, crosses, false);
    r->asks = 1;
    measured_calls(r, n);
    must(r->client->count == n && strstr(r->client->sent[n - 1], "[4,5,6]"));
    r->asks = 0;
    rig_free(r);
}

static void calls_here(size_t n)
{
    calls_of_a_peer(n, false);
}

/* To another dispatcher of the node, and back. */
static void calls_that_cross(size_t n)
{
    calls_of_a_peer(n, true);
}

const struct scenario cost_peers[] = {
    {"services-list", list_whole, 200},
    {"services-list-pages", list_pages, 600},
    {"services-list-sources", list_sources, 40},
    {"services-list-found", list_found_operations, 100},
    {"services-list-peers", list_peers, 100},
    {"import", import, 100},
    {"required-scopes", required_scopes, 128},
    {"error-codes", error_codes, 128},
    {"peers-many", many_peers, 600},
    {"peer-connections", many_connections, 300},
    {"import-large", import_large, 20},
    {"identities", identities, 200},
    {"identities-reload", reload, 100},
    {"peer-calls", calls_here, 200},
    {"peer-calls-crossing", calls_that_cross, 200},
    {NULL, NULL, 0},
};
