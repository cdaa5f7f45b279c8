/* The tools of the MCP server. The four fixed ones front the registry, however large it is, so that
 * a model reads four descriptions and not thousands. Direct ones are operations, under names of the
 * alphabet that all clients take; which name an operation has depends on all operations and not on
 * who asks.
 *
 * Clients drop a server whose tools' schemas are not plain objects, so an operation's is shown as
 * one: a reference at its root is followed, and an input that is no object is the member "input" of
 * one. Clients of sessions are not shown what combines schemas at the root, either. What is left out
 * is checked all the same. */
#include "adapt/mcp_serve.h"

#include "base/json.h"
#include "base/utf8.h"
#include "core/services.h"
#include "core/walk.h"
#include "wire/http_head.h"

#include <stdio.h>
#include <string.h>

#define QUERY_BYTES 1024u
#define FOUND_BYTES (1u << 20) /* of what a search gives */
#define QUERY_WORDS 32u        /* each of which is looked for in every description */
#define NAME_LEN 64u           /* of a tool */
#define TOOL_BYTES (1u << 20)  /* of the specification of a direct one */
#define MIRROR "x-mcp-header"
#define HASH_LEN 8u /* behind one that is cut, or is another's */

/* ---- fixed tools ----------------------------------------------------------------------------- */

#define OBJECT(properties, required)                                                               \
    "\"inputSchema\":{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required \
    "],\"additionalProperties\":false}"
#define STRING(name, text) "\"" name "\":{\"type\":\"string\",\"description\":\"" text "\"}"
#define INPUT                                                                                      \
    "\"input\":{\"type\":\"object\",\"description\":\"The operation's input, by its schema; {} "   \
    "if it has none\"}"
#define ITEM                                                                                       \
    "{\"type\":\"object\",\"properties\":{" STRING(                                                \
        "operation",                                                                               \
        "Name of the operation") "," INPUT                                                         \
                                 "},\"required\":[\"operation\"],\"additionalProperties\":false}"

static const struct {
    const char *name, *text;
} fixed_tools[] = {
    [MCP_SEARCH] = {"search",
                    "{\"name\":\"search\",\"description\":\"Finds operations that can be called "
                    "here: their names and descriptions. Without a query, all of them.\"," OBJECT(
                        STRING("query", "Words that the name or the description contains"),
                        "") ",\"annotations\":{\"readOnlyHint\":true}}"},
    [MCP_SCHEMA] = {"schema",
                    "{\"name\":\"schema\",\"description\":\"Tells of one operation what its input "
                    "has to be, what it answers, and how it fails.\"," OBJECT(
                        STRING("name", "Name of the operation, as search gives it"),
                        "\"name\"") ",\"annotations\":{\"readOnlyHint\":true}}"},
    [MCP_CALL] = {"call",
                  "{\"name\":\"call\",\"description\":\"Calls an operation and gives its output. "
                  "Look at its schema first.\"," OBJECT(
                      STRING("operation", "Name of the operation") "," INPUT, "\"operation\"") "}"},
    [MCP_BATCH] = {"batch",
                   "{\"name\":\"batch\",\"description\":\"Calls several operations at once, which "
                   "do not depend on each other; the results are in the same order.\"," OBJECT(
                       "\"calls\":{\"type\":\"array\",\"items\":" ITEM "}", "\"calls\"") "}"},
};

enum mcp_fixed mcp_fixed_tool(struct str name)
{
    for (enum mcp_fixed i = MCP_SEARCH; i <= MCP_BATCH; i++) {
        if (str_is(name, fixed_tools[i].name))
            return i;
    }
    return MCP_NO_FIXED;
}

/* ---- names of direct tools ------------------------------------------------------------------- */

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* FNV-1a: the same in each process, since clients remember names. */
static uint32_t hash_of(struct str s)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

/* hashed: with what tells it from others that would have the same. */
static struct str name_of(struct str operation, bool hashed, char out[NAME_LEN + 1])
{
    size_t n = operation.n < NAME_LEN ? operation.n : NAME_LEN, most = NAME_LEN - HASH_LEN - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = letter(operation.p[i]) ? operation.p[i] : '_';
    if (hashed || operation.n > NAME_LEN) {
        n = n < most ? n : most;
        n += (size_t)snprintf(out + n, HASH_LEN + 2, "_%08x", hash_of(operation));
    }
    return (struct str){out, n};
}

static struct mcp_direct *tool_find(const struct mcp_service *s, struct str name)
{
    struct map_node *n = map_find(&s->tools, name.p, name.n);

    return n ? container_of(n, struct mcp_direct, by_name) : NULL;
}

/* The services are what the fixed tools are made of. One that is too large to be described would
 * take the page with it that it is on, and all pages behind that. */
static bool is_tool(const struct operation *op)
{
    return op->visibility == ALK_EXTERNAL && !str_starts(op_name(op), "services/") &&
           op->spec_json.n <= TOOL_BYTES;
}

/* "Mcp-Param-" and the name, in lower case; NULL: it is none, or there is no memory. */
static const char *header_of(struct arena *a, struct str name)
{
    static const char prefix[] = "mcp-param-";
    size_t n = sizeof prefix - 1;
    char *p = http_is_token(name) ? arena_alloc(a, n + name.n + 1) : NULL;

    if (!p)
        return NULL;
    memcpy(p, prefix, n);
    for (size_t i = 0; i < name.n; i++)
        p[n + i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 'a' - 'A') : name.p[i];
    p[n + name.n] = 0;
    return p;
}

/* Of the properties at the root. */
static int add_mirrors(struct mcp_service *s, struct mcp_direct *t, yyjson_val *spec)
{
    yyjson_val *properties = yyjson_obj_get(yyjson_obj_get(spec, "input_schema"), "properties");
    yyjson_obj_iter it = yyjson_obj_iter_with(properties);
    yyjson_val *key;

    while ((key = yyjson_obj_iter_next(&it))) {
        struct str name = json_string(yyjson_obj_get(yyjson_obj_iter_get_val(key), MIRROR));
        struct mcp_mirror *m = name.p ? arena_alloc(&s->arena, sizeof *m) : NULL;

        if (!name.p)
            continue;
        if (!m)
            return ALK_ENOMEM;
        m->header = header_of(&s->arena, name);
        m->member = arena_dup(&s->arena, yyjson_get_str(key), yyjson_get_len(key));
        if (!m->member)
            return ALK_ENOMEM;
        m->next = t->mirrors;
        if (m->header)
            t->mirrors = m;
    }
    return 0;
}

/* Its specification has been JSON before, so a failure is one of memory. */
static yyjson_val *specification(struct arena *scratch, const struct operation *op)
{
    static const struct json_limits limits = {JSON_MAX_DEPTH, UINT32_MAX};
    yyjson_alc alc = arena_alc(scratch);
    yyjson_doc *doc;
    char *copy;

    arena_reset(scratch);
    copy = arena_alloc(scratch, op->spec_json.n + JSON_PADDING);
    if (!copy)
        return NULL;
    memcpy(copy, op->spec_json.p, op->spec_json.n);
    return json_parse(copy, op->spec_json.n, &limits, &alc, &doc, NULL) ? NULL
                                                                        : yyjson_doc_get_root(doc);
}

static int tool_add(struct mcp_service *s, const struct operation *op, struct arena *scratch)
{
    struct str operation = op_name(op);
    yyjson_val *spec;
    char room[NAME_LEN + 1];
    struct str name = name_of(operation, false, room);
    struct mcp_direct *t;

    if (mcp_fixed_tool(name) || tool_find(s, name))
        name = name_of(operation, true, room);
    if (tool_find(s, name))
        return 0; /* its hash is another's, too: it is no tool */
    t = arena_zalloc(&s->arena, sizeof *t);
    if (!t)
        return ALK_ENOMEM;
    if (strstr(op->spec_json.p, "\"" MIRROR "\"")) {
        spec = specification(scratch, op);
        if (!spec || add_mirrors(s, t, spec))
            return ALK_ENOMEM;
    }
    t->by_name.key = arena_dup(&s->arena, name.p, name.n);
    t->by_name.len = name.n;
    t->operation = (struct str){arena_dup(&s->arena, operation.p, operation.n), operation.n};
    return t->by_name.key && t->operation.p && !map_add(&s->tools, &t->by_name) ? 0 : ALK_ENOMEM;
}

void mcp_index_free(struct mcp_service *s)
{
    struct map_node *n;

    while ((n = map_any(&s->tools)))
        map_del(&s->tools, n);
    arena_fini(&s->arena);
    s->indexed = 0;
}

/* false: out of memory. */
static bool index_made(struct alk_gateway *g)
{
    struct mcp_service *s = g->mcp_service;
    uint64_t now = discovery_changes(&g->d->node->discovery) + 1;
    const struct operation *op;
    struct arena scratch;
    struct walk w;
    int rc;

    if (s->indexed == now)
        return true;
    mcp_index_free(s);
    arena_init(&s->arena, &g->mem, 4096);
    arena_init(&scratch, &g->mem, 4096);
    rc = walk_begin(&w, &g->mem, g->d->node->reg, dispatcher_discovered(g->d), STR_NONE);
    while (!rc && (op = walk_next(&w))) {
        if (is_tool(op))
            rc = tool_add(s, op, &scratch);
    }
    walk_end(&w);
    arena_fini(&scratch);
    if (rc)
        mcp_index_free(s);
    else
        s->indexed = now;
    return !rc;
}

const struct mcp_direct *mcp_direct_tool(struct alk_gateway *g, struct str name, bool *failed)
{
    if (g->mcp != ALK_MCP_DIRECT)
        return NULL;
    *failed = !index_made(g);
    return *failed ? NULL : tool_find(g->mcp_service, name);
}

/* ---- schemas --------------------------------------------------------------------------------- */

/* At a root. */
static bool left_out(yyjson_val *key, bool stateless)
{
    static const char *const names[] = {"allOf", "anyOf", "oneOf", "not", "if",
                                        "then",  "else",  "$ref",  "$id", NULL};

    for (size_t i = 0; names[i] && !stateless; i++) {
        if (yyjson_equals_str(key, names[i]))
            return true;
    }
    return yyjson_equals_str(key, "type");
}

static int put_val(struct buf *b, yyjson_val *v, struct arena *scratch)
{
    yyjson_alc alc = arena_alc(scratch);
    size_t n;
    char *text = yyjson_val_write_opts(v, 0, &alc, &n, NULL);

    return text ? buf_append(b, text, n) : -1;
}

/* Some clients take no true and false for a property's schema. */
static int put_properties(struct buf *b, yyjson_val *properties, struct arena *scratch)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(properties);
    yyjson_val *key, *v;
    int rc = buf_puts(b, "{");

    for (bool first = true; (key = yyjson_obj_iter_next(&it)); first = false) {
        v = yyjson_obj_iter_get_val(key);
        rc |= (first ? 0 : buf_puts(b, ",")) | put_val(b, key, scratch) | buf_puts(b, ":") |
              (yyjson_is_bool(v) ? buf_puts(b, yyjson_is_true(v) ? "{}" : "{\"not\":{}}")
                                 : put_val(b, v, scratch));
    }
    return rc | buf_puts(b, "}");
}

/* The members of schema that can stand at a root, each with a comma before it; but: one more that
 * cannot. */
static int put_members(struct buf *b, yyjson_val *schema, const char *but, bool stateless,
                       struct arena *scratch)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(schema);
    yyjson_val *key, *v;
    int rc = 0;

    while ((key = yyjson_obj_iter_next(&it))) {
        if (left_out(key, stateless) || (but && yyjson_equals_str(key, but)))
            continue;
        v = yyjson_obj_iter_get_val(key);
        rc |= buf_puts(b, ",") | put_val(b, key, scratch) | buf_puts(b, ":") |
              (yyjson_equals_str(key, "properties") ? put_properties(b, v, scratch)
                                                    : put_val(b, v, scratch));
    }
    return rc;
}

static bool refers(yyjson_val *schema)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(schema);
    yyjson_arr_iter items = yyjson_arr_iter_with(schema);
    yyjson_val *v;

    while ((v = yyjson_obj_iter_next(&it))) {
        if (yyjson_equals_str(v, "$ref") || refers(yyjson_obj_iter_get_val(v)))
            return true;
    }
    while ((v = yyjson_arr_iter_next(&items))) {
        if (refers(v))
            return true;
    }
    return false;
}

/* A place that is referred to by a root that is nothing else; else schema. */
static yyjson_val *followed(yyjson_val *schema)
{
    struct str ref = json_string(yyjson_obj_get(schema, "$ref"));
    yyjson_val *to = ref.n > 1 && *ref.p == '#' ? json_pointer(schema, ref.p + 1, ref.n - 1) : NULL;

    return yyjson_is_obj(to) && !yyjson_obj_get(schema, "properties") ? to : schema;
}

static int put_object(struct buf *b, yyjson_val *schema, bool stateless, struct arena *scratch)
{
    yyjson_val *object = followed(schema);
    int rc = buf_puts(b, "{\"type\":\"object\"");

    rc |= put_members(b, object, object == schema ? NULL : "$defs", stateless, scratch);
    if (!yyjson_obj_get(object, "properties"))
        rc |= buf_puts(b, ",\"properties\":{}");
    if (object != schema && yyjson_obj_get(schema, "$defs"))
        rc |= buf_puts(b, ",\"$defs\":") | put_val(b, yyjson_obj_get(schema, "$defs"), scratch);
    return rc | buf_puts(b, "}");
}

static int put_input(struct buf *b, const struct operation *op, yyjson_val *schema, bool stateless,
                     struct arena *scratch)
{
    if (!op->bare)
        return put_object(b, schema, stateless, scratch);
    return buf_puts(b, "{\"type\":\"object\",\"properties\":{\"input\":") |
           (refers(schema) ? buf_puts(b, "{}") : put_val(b, schema, scratch)) |
           buf_puts(b, "},\"required\":[\"input\"]}");
}

static bool shows_output(const struct operation *op, yyjson_val *schema)
{
    return !op->blocks && yyjson_equals_str(yyjson_obj_get(schema, "type"), "object") &&
           yyjson_is_obj(yyjson_obj_get(schema, "properties"));
}

/* ---- tools/list ------------------------------------------------------------------------------ */

struct page {
    struct alk_gateway *g;
    struct buf *b;
    struct arena scratch;
    bool stateless;
    size_t count;
    struct str last; /* the operation that has been written last */
    char cursor[NAME_MAX_BYTES];
    size_t cursor_len; /* 0: there is no other page */
};

/* By which name it is called; n 0: by none. */
static struct str called(struct page *p, const struct operation *op, char room[NAME_LEN + 1])
{
    struct str name;

    for (int hashed = 0; hashed < 2; hashed++) {
        const struct mcp_direct *t;

        name = name_of(op_name(op), hashed, room);
        t = tool_find(p->g->mcp_service, name);
        if (t && str_eq(t->operation, op_name(op)))
            return name;
    }
    return STR_NONE;
}

static int put_tool(struct page *p, const struct operation *op, struct str name)
{
    yyjson_val *spec = specification(&p->scratch, op),
               *output = yyjson_obj_get(spec, "output_schema");
    struct str description = {op->description, op->description_len};
    int rc;

    if (!spec)
        return -1;
    if (!description.n)
        description = op_name(op);
    rc = buf_puts(p->b, ",{\"name\":") | buf_json_string(p->b, name.p, name.n) |
         buf_puts(p->b, ",\"description\":") | buf_json_string(p->b, description.p, description.n) |
         buf_puts(p->b, ",\"inputSchema\":") |
         put_input(p->b, op, yyjson_obj_get(spec, "input_schema"), p->stateless, &p->scratch);
    if (shows_output(op, output))
        rc |= buf_puts(p->b, ",\"outputSchema\":") |
              put_object(p->b, output, p->stateless, &p->scratch);
    if (op->type == ALK_QUERY)
        rc |= buf_puts(p->b, ",\"annotations\":{\"readOnlyHint\":true}");
    return rc | buf_puts(p->b, "}");
}

static int page_add(const struct operation *op, void *ud)
{
    struct page *p = ud;
    char room[NAME_LEN + 1];
    struct str name;

    if (p->count >= MCP_PAGE || p->b->len > MCP_PAGE_BYTES) {
        memcpy(p->cursor, p->last.p, p->last.n);
        p->cursor_len = p->last.n;
        return 1;
    }
    name = called(p, op, room);
    if (!name.n)
        return 0;
    p->count++;
    p->last = op_name(op);
    return put_tool(p, op, name) ? ALK_ENOMEM : 0;
}

static int answer(alk_call *call, struct buf *b, int rc)
{
    rc = rc ? ALK_ENOMEM : alk_call_reply(call, buf_at(b), b->len);
    buf_fini(b);
    return rc == ALK_ELIMIT ? ALK_OK : rc;
}

/* Every page begins with a comma that the fixed tools, or nothing, stand before. */
static int list(alk_call *call, void *ud)
{
    struct mcp *x = call->sink_ud;
    struct alk_gateway *g = x->r->g;
    struct str cursor = json_string(call->input.val);
    struct page p = {.g = g, .stateless = x->stateless};
    struct buf b, tools;
    int rc;

    (void)ud;
    buf_init(&b, &call->d->mem);
    buf_init(&tools, &call->d->mem);
    arena_init(&p.scratch, &call->d->mem, 4096);
    p.b = &tools;
    rc = buf_puts(&b, "{\"tools\":[");
    for (enum mcp_fixed i = MCP_SEARCH; i <= MCP_BATCH && !cursor.n; i++)
        rc |= (i == MCP_SEARCH ? 0 : buf_puts(&b, ",")) | buf_puts(&b, fixed_tools[i].text);
    if (g->mcp == ALK_MCP_DIRECT && !rc)
        rc = !index_made(g) ||
             services_each(call->d, call->identity, cursor, NULL, page_add, &p) < 0;
    if (tools.len)
        rc |= buf_append(&b, buf_at(&tools) + (cursor.n > 0), tools.len - (cursor.n > 0));
    rc |= buf_puts(&b, "]");
    if (p.cursor_len)
        rc |= buf_puts(&b, ",\"nextCursor\":") | buf_json_string(&b, p.cursor, p.cursor_len);
    rc |= buf_puts(&b, "}");
    arena_fini(&p.scratch);
    buf_fini(&tools);
    return answer(call, &b, rc);
}

/* ---- search ---------------------------------------------------------------------------------- */

struct search {
    struct buf b;
    struct str query;
    bool more; /* than FOUND_BYTES */
};

static size_t words_of(struct str query)
{
    size_t n = 0;

    for (size_t i = 0; i < query.n; i++)
        n += query.p[i] != ' ' && (!i || query.p[i - 1] == ' ');
    return n;
}

/* All of its words, in whichever order. */
static bool found(const struct operation *op, void *ud)
{
    const struct search *s = ud;
    struct str rest = s->query;

    if (op->type == ALK_SUBSCRIPTION)
        return false;
    while (rest.n) {
        const char *space = memchr(rest.p, ' ', rest.n);
        struct str word = {rest.p, space ? (size_t)(space - rest.p) : rest.n};

        if (word.n && !services_mentions(op, word))
            return false;
        rest = (struct str){word.p + word.n + (space != NULL), rest.n - word.n - (space != NULL)};
    }
    return true;
}

static int put_found(const struct operation *op, void *ud)
{
    struct search *s = ud;
    struct str name = op_name(op);
    int rc;

    s->more = s->b.len > FOUND_BYTES;
    if (s->more)
        return 1;
    rc = buf_puts(&s->b, s->b.len > sizeof "{\"operations\":[" ? ",{\"name\":" : "{\"name\":") |
         buf_json_string(&s->b, name.p, name.n);

    if (op->description_len)
        rc |= buf_puts(&s->b, ",\"description\":") |
              buf_json_string(&s->b, op->description, op->description_len);
    return rc | buf_puts(&s->b, "}") ? ALK_ENOMEM : 0;
}

static int search(alk_call *call, void *ud)
{
    static const char *const known[] = {"query", NULL};
    yyjson_val *query = yyjson_obj_get(call->input.val, "query");
    yyjson_val *unknown = json_unknown_member(call->input.val, known);
    char shown[JSON_SHOWN];
    struct search s = {.query = json_string(query)};
    int rc;

    (void)ud;
    if (unknown || (query && !yyjson_is_str(query))) {
        call_refuse(call, ALK_INVALID_INPUT,
                    unknown ? "/%s: there is no such argument" : "/query: must be a string",
                    json_show(unknown, shown));
        return ALK_OK;
    }
    if (s.query.n > QUERY_BYTES || words_of(s.query) > QUERY_WORDS) {
        call_refuse(call, ALK_INVALID_INPUT, "/query: has more than %u bytes or %u words",
                    QUERY_BYTES, QUERY_WORDS);
        return ALK_OK;
    }
    buf_init(&s.b, &call->d->mem);
    rc = buf_puts(&s.b, "{\"operations\":[") |
         (services_each(call->d, call->identity, STR_NONE, found, put_found, &s) < 0);
    rc |= buf_puts(&s.b, s.more ? "],\"more\":true}" : "]}");
    return answer(call, &s.b, rc);
}

const struct operation mcp_list_operation = {.by_name = {.key = "mcp/tools", .len = 9},
                                             .type = ALK_QUERY,
                                             .visibility = ALK_EXTERNAL,
                                             .handler = list},
                       mcp_search_operation = {.by_name = {.key = "mcp/search", .len = 10},
                                               .type = ALK_QUERY,
                                               .visibility = ALK_EXTERNAL,
                                               .handler = search};
