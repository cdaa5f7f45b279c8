/* Implements services.h, and the operation metrics/list. What a caller sees is what access control
 * lets it call: a listing is no way to learn of what is out of reach, and what is hidden here is
 * NOT_FOUND there.
 *
 * Answers are put together from texts that operations have ready (operation_json.c), since anybody
 * may ask for a listing, as often as for anything else, and it has all there is. */
#include "core/services.h"

#include "base/buf.h"
#include "core/announce.h"
#include "core/connection.h"
#include "core/import.h"
#include "core/overlay.h"
#include "core/resolve.h"
#include "core/walk.h"

#include <string.h>

#define LIST_INPUT                                                                                 \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"                         \
    "\"q\":{\"type\":\"string\",\"description\":\"substring of name or description, any case\"},"  \
    "\"namespace\":{\"type\":\"string\"},"                                                         \
    "\"op_type\":{\"enum\":[" OPERATION_TYPES_JSON "]},"                                           \
    "\"cursor\":{\"type\":\"string\",\"description\":\"next_cursor of the page before\"},"         \
    "\"limit\":{\"type\":\"integer\",\"minimum\":1}}}"
#define LIST_OUTPUT                                                                                \
    "{\"type\":\"object\",\"required\":[\"operations\"],\"properties\":{\"operations\":{"          \
    "\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\",\"namespace\","      \
    "\"op_type\"]}},\"next_cursor\":{\"type\":\"string\"}}}"
#define SCHEMA_INPUT                                                                               \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"name\"],\"properties\":{" \
    "\"name\":{\"type\":\"string\"},\"peer\":{\"type\":\"string\"}}}"
#define ANNOUNCE_OUTPUT                                                                            \
    "{\"type\":\"object\",\"required\":[\"imported\",\"kind\",\"peer_id\",\"peers_call\"],"        \
    "\"properties\":{\"imported\":{\"type\":\"integer\",\"description\":\"operations that are "    \
    "now "                                                                                         \
    "known here\"},\"kind\":{\"enum\":[\"peer\",\"key\",\"none\"],\"description\":\"what the "     \
    "connection's credential is\"},\"peer_id\":{\"type\":[\"string\",\"null\"],\"description\":"   \
    "\"null: the connection is no peer, and its operations are reached over it alone\"},"          \
    "\"peers_call\":{\"type\":[\"integer\",\"null\"],\"description\":\"to how many of them "       \
    "peers/call leads; null: it is not enabled\"}}}"

#define QUERY_MAX 1024u /* bytes; nothing has a longer part */

struct filter {
    struct str q, space, cursor;
    uint32_t type; /* 0: any */
    uint64_t limit;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* ASCII only: names have nothing else, and of a description any other folding would depend on a
 * language. By Knuth, Morris and Pratt: descriptions are others', and may be such that a part nearly
 * matches everywhere. */
static bool contains(struct str text, struct str part)
{
    uint16_t back[QUERY_MAX]; /* of the part's first bytes, how many its last of them begin again */
    size_t n = 0;

    if (part.n > text.n || part.n > QUERY_MAX)
        return false;
    for (size_t i = 0; i < part.n; i++) {
        while (n && lower(part.p[i]) != lower(part.p[n]))
            n = back[n - 1];
        n += i && lower(part.p[i]) == lower(part.p[n]);
        back[i] = (uint16_t)n;
    }
    n = 0;
    for (size_t i = 0; i < text.n && n < part.n; i++) {
        while (n && lower(text.p[i]) != lower(part.p[n]))
            n = back[n - 1];
        n += lower(text.p[i]) == lower(part.p[n]);
    }
    return n == part.n;
}

bool services_mentions(const struct operation *op, struct str part)
{
    return contains(op_name(op), part) ||
           contains((struct str){op->description, op->description_len}, part);
}

static bool matches(const struct operation *op, const struct filter *f)
{
    struct str name = op_name(op);

    if (f->space.p && (f->space.n != op->namespace_len || memcmp(f->space.p, name.p, f->space.n)))
        return false;
    if (f->type && f->type != op->type)
        return false;
    return !f->q.n || services_mentions(op, f->q);
}

static struct str member(yyjson_val *o, const char *name)
{
    struct str s;

    s.p = json_str(o, name, &s.n);
    return s;
}

/* Access last: it costs most, and may ask a provider of the application. */
int services_each(struct alk_dispatcher *d, const alk_identity *who, struct str cursor,
                  service_wanted *wanted, service_visit *visit, void *ud)
{
    const struct operation *op;
    struct walk w;
    int rc = walk_begin(&w, &d->mem, d->node->reg, dispatcher_discovered(d), cursor);

    while (!rc && (op = walk_next(&w))) {
        if (op->visibility == ALK_EXTERNAL && (!wanted || wanted(op, ud)) &&
            access_may_call(op, who, node_ownership(d->node)))
            rc = visit(op, ud);
    }
    walk_end(&w);
    return rc;
}

/* A page of a listing, while it is written. */
struct page {
    struct buf *b;
    const struct filter *f;
    uint64_t count;
    struct str last; /* the name of its last entry */
    char cursor[NAME_MAX_BYTES];
    size_t cursor_len; /* 0: there is no other page */
};

static bool page_wants(const struct operation *op, void *ud)
{
    const struct page *p = ud;

    return matches(op, p->f);
}

static int page_add(const struct operation *op, void *ud)
{
    struct page *p = ud;

    if (p->count == p->f->limit) {
        memcpy(p->cursor, p->last.p, p->last.n);
        p->cursor_len = p->last.n;
        return 1;
    }
    p->last = op_name(op);
    return (p->count++ ? buf_puts(p->b, ",") : 0) |
           buf_append(p->b, op->list_json.p, op->list_json.n);
}

/* The entries that match, in brackets. The cursor is a name, not a position: it stays right
 * whatever the caller may see by the next page. */
static int put_operations(struct page *p, const alk_call *call)
{
    int rc = buf_puts(p->b, "[");

    rc |= services_each(call->d, call->identity, p->f->cursor, page_wants, page_add, p) < 0;
    return rc | buf_puts(p->b, "]");
}

/* Too large to be sent: then the call has failed already, and this handler has not. */
static int answer(alk_call *call, struct buf *b, int rc)
{
    rc = rc ? ALK_ENOMEM : alk_call_reply(call, buf_at(b), b->len);
    buf_fini(b);
    return rc == ALK_ELIMIT ? ALK_OK : rc;
}

static int list(alk_call *call, void *ud)
{
    yyjson_val *in = call->input.val, *limit = yyjson_obj_get(in, "limit");
    struct filter f = {.q = member(in, "q"), .space = member(in, "namespace")};
    struct buf b;
    struct page page = {.b = &b, .f = &f};
    int rc;

    (void)ud;
    /* People copy names from where they have a slash (envelopes, alknet ls); here they have
     * none. */
    if (f.q.p)
        f.q = name_strip(f.q.p, f.q.n);
    f.type = operation_type(json_string(yyjson_obj_get(in, "op_type")));
    f.cursor = member(in, "cursor");
    /* 2.0 and 1e9 are integers too, for JSON Schema (6.1.1). The schema has said that it is at
     * least 1; what is too large for an integer of ours is no limit. */
    f.limit = json_is_number(limit) && json_double(limit) < 1e15 ? (uint64_t)json_double(limit)
                                                                 : UINT64_MAX;
    buf_init(&b, &call->d->mem);
    rc = buf_puts(&b, "{\"operations\":") | put_operations(&page, call);
    if (page.cursor_len) {
        rc |= buf_puts(&b, ",\"next_cursor\":");
        rc |= buf_json_string(&b, page.cursor, page.cursor_len);
    }
    rc |= buf_puts(&b, "}");
    return answer(call, &b, rc);
}

/* The names that a peer serves, as far as they have been met: of two connections that serve one,
 * that which comes first would be called. */
struct met {
    struct map names;
    struct map_node *nodes;
    size_t count;
};

static int put_overlay(struct buf *b, const alk_call *call, struct met *met,
                       const struct overlay *set, bool *first)
{
    int rc = 0;

    for (size_t i = 0; i < set->by_name.count && !rc; i++) {
        const struct operation *op = set->sorted[i];
        struct map_node *n = &met->nodes[met->count];

        if (map_find(&met->names, op->by_name.key, op->by_name.len))
            continue;
        *n = (struct map_node){.key = op->by_name.key, .len = op->by_name.len};
        if (map_add(&met->names, n))
            return -1;
        met->count++;
        if (!access_may_call(op, call->identity, node_ownership(call->d->node)))
            continue;
        rc = (*first ? 0 : buf_puts(b, ",")) | buf_append(b, op->list_json.p, op->list_json.n);
        *first = false;
    }
    return rc;
}

/* What resolve.c finds, in its order: newest connection first, and what was registered by hand
 * before what was imported. As it is now: the provider of an access check may shut a connection. */
static int put_served(struct buf *b, const alk_call *call, struct overlay *const *sets,
                      size_t count)
{
    struct mem *mem = &call->d->mem;
    struct met met = {.count = 0};
    struct map_node *n;
    size_t names = 1;
    bool first = true;
    int rc = 0;

    for (size_t i = 0; i < count; i++)
        names += sets[i]->by_name.count;
    met.nodes = mem_alloc(mem, names * sizeof *met.nodes);
    map_init(&met.names, mem, call->d->node->seed);
    for (size_t i = 0; met.nodes && i < count && !rc; i++)
        rc = put_overlay(b, call, &met, sets[i], &first);
    while ((n = map_any(&met.names)))
        map_del(&met.names, n);
    map_fini(&met.names);
    mem_free(mem, met.nodes);
    return met.nodes ? rc : -1;
}

static int put_peer(struct buf *b, const alk_call *call, const struct peer *p)
{
    struct overlay *sets[2 * PEER_NEWEST];
    size_t count = peer_sets(&call->d->node->peers, p, sets);
    struct other_hub *hub = peer_hub(&call->d->node->peers, p);
    int rc = buf_puts(b, ",{\"peer_id\":") | buf_json_string(b, p->id, p->len);

    if (hub)
        rc |= buf_puts(b, ",\"hub\":") | buf_json_string(b, hub->name, hub->len);
    rc |= buf_puts(b, ",\"operations\":[") | put_served(b, call, sets, count);
    other_hub_unref(hub);
    for (size_t i = 0; i < count; i++)
        overlay_unref(sets[i]);
    return rc | buf_puts(b, "]}");
}

/* Without pages: peers and what they serve may change between two of them, and no cursor would
 * fit. */
static int list_peers(alk_call *call, void *ud)
{
    struct peer_table *peers = &call->d->node->peers;
    struct filter f = {.limit = UINT64_MAX};
    struct peer *p = NULL;
    struct buf b;
    struct page page = {.b = &b, .f = &f};
    int rc;

    (void)ud;
    buf_init(&b, &call->d->mem);
    rc = buf_puts(&b, "{\"peers\":[{\"peer_id\":\"local\",\"operations\":");
    rc |= put_operations(&page, call) | buf_puts(&b, "}");
    while ((p = peers_next(peers, p, false)))
        rc |= put_peer(&b, call, p);
    rc |= buf_puts(&b, "]}");
    return answer(call, &b, rc);
}

/* Who may call through peers/call needs the specifications of what it may call. */
static bool may_see_peers(const alk_identity *who)
{
    return who && (alk_identity_has_scope(who, "peers:list", 10) ||
                   alk_identity_has_scope(who, "peers:call", 10));
}

/* One answer for all reasons, as everywhere: no such operation. In any case *t is to be let go, with
 * a reference on what was found outside: a provider of the application is asked, which may take it
 * away. */
static bool visible(const alk_call *call, struct str peer, struct str name, struct target *t)
{
    bool found;

    *t = (struct target){.op = NULL};
    if (!peer.p || str_is(peer, "local"))
        found = node_serves(call->d, name, t) && t->op->visibility == ALK_EXTERNAL;
    else
        found = may_see_peers(call->identity) && peer_find(call->d, peer, name, t);
    if (t->discovered)
        alk_registry_ref(t->discovered);
    return found && access_may_call(t->op, call->identity, node_ownership(call->d->node));
}

/* The whole text, also for a remote's operation: whoever may call it may know how. */
static int schema(alk_call *call, void *ud)
{
    struct str name = member(call->input.val, "name"), peer = member(call->input.val, "peer");
    struct target t;
    int rc = ALK_OK;

    (void)ud;
    name = name_strip(name.p, name.n);
    if (visible(call, peer, name, &t))
        rc = alk_call_reply(call, t.op->spec_json.p, t.op->spec_json.n);
    else
        call_not_found(call, name);
    alk_registry_unref(t.discovered);
    target_drop(&t);
    return rc;
}

/* Peers are there to serve; of keys, those that the node's operator means to. */
static bool may_announce(const alk_call *call)
{
    const char *scope = call->d->node->announce_scope;

    return !scope || (call->by && (call->by->kind & KIND_MASK) == ALK_KIND_PEER) ||
           alk_identity_has_scope(call->identity, scope, strlen(scope));
}

/* Only over the connection by which the announcer serves. Whom it is made a peer by, or not, is
 * attach.c's: what is imported from a connection that is no peer can be reached through that
 * connection alone. */
static int announce(alk_call *call, void *ud)
{
    static const alk_fault no_connection = {.size = sizeof no_connection,
                                            .code = "NO_CONNECTION",
                                            .message = "services/announce needs a call connection"};
    int rc;

    (void)ud;
    if (!call->conn)
        return alk_call_fail(call, &no_connection);
    if (!may_announce(call)) {
        call_refuse(call, ALK_FORBIDDEN, "not allowed to call services/announce");
        return ALK_OK;
    }
    rc = announce_wait(call);
    if (!rc)
        import_soon(call->conn);
    return rc;
}

/* The first two have no rule: each caller gets to see what it may call, which may be nothing. An
 * announcement makes this node call the remote thousands of times, so a stranger may not ask for
 * it. */
int services_register(alk_registry *reg)
{
    static const struct {
        const char *name, *description, *input, *output, *access, *errors;
        alk_handler handler;
        uint32_t type;
    } services[] = {
        {"services/list", "The operations that the caller may call, sorted by name", LIST_INPUT,
         LIST_OUTPUT, NULL, NULL, list, ALK_QUERY},
        {"services/schema", "The whole specification of one operation", SCHEMA_INPUT, NULL, NULL,
         NULL, schema, ALK_QUERY},
        {"services/list-peers", "The operations of this node and of its peers",
         "{\"type\":\"object\",\"additionalProperties\":false}", NULL,
         "{\"required_scopes\":[\"peers:list\"]}", NULL, list_peers, ALK_QUERY},
        {"services/announce",
         "The caller serves operations: import them; answered when that is done",
         "{\"type\":\"object\",\"additionalProperties\":false}", ANNOUNCE_OUTPUT,
         "{\"authenticated\":true}",
         "[{\"code\":\"NO_CONNECTION\",\"description\":\"It came without a call connection\","
         "\"http_status\":409},{\"code\":\"IMPORT_FAILED\",\"description\":\"What the caller "
         "serves "
         "could not be imported\"}]",
         announce, ALK_MUTATION},
    };
    int rc = ALK_OK;

    for (size_t i = 0; !rc && i < sizeof services / sizeof services[0]; i++) {
        alk_operation op;

        alk_operation_init(&op, sizeof op);
        op.name = services[i].name;
        op.type = services[i].type;
        op.description = services[i].description;
        op.input_schema = services[i].input;
        op.output_schema = services[i].output;
        op.access_control = services[i].access;
        op.error_schemas = services[i].errors;
        op.handler = services[i].handler;
        rc = registry_add_builtin(reg, &op);
    }
    return rc;
}

/* ---- metrics/list ---------------------------------------------------------------------------- */

static int list_metrics(alk_call *call, void *ud)
{
    struct totals t;
    struct buf b;
    int rc;

    (void)ud;
    /* So that this dispatcher's own share is of now; those of others are at most a second old. */
    connections_sample(call->d);
    node_totals(call->d->node, &t);
    buf_init(&b, &call->d->mem);
    rc = metrics_json(&b, &t) ? ALK_ENOMEM : alk_call_reply(call, buf_at(&b), b.len);
    buf_fini(&b);
    return rc;
}

/* Not there by itself, and behind a scope: numbers tell about what others do. */
int alk_registry_enable_metrics(alk_registry *reg)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = "metrics/list";
    op.description = "What this node counts; docs/metrics.md has the list";
    op.input_schema = "{\"type\":\"object\",\"additionalProperties\":false}";
    op.output_schema =
        "{\"type\":\"object\",\"required\":[\"metrics\"],\"properties\":{\"metrics\":{"
        "\"type\":\"array\",\"items\":{\"type\":\"object\",\"additionalProperties\":false,"
        "\"required\":[\"name\",\"type\",\"help\",\"value\"],\"properties\":{"
        "\"name\":{\"type\":\"string\"},\"type\":{\"enum\":[\"counter\",\"gauge\",\"histogram\"]},"
        "\"help\":{\"type\":\"string\"},\"value\":{\"type\":\"number\",\"minimum\":0},"
        "\"labels\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}}}}}}";
    op.access_control = "{\"required_scopes\":[\"metrics:list\"]}";
    op.handler = list_metrics;
    return alk_registry_add(reg, &op);
}
