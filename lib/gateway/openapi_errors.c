/* What operations declare of their errors, for the document: by status, each code once, in the
 * order of the operations' names; each different schema of details once, as a component of its own,
 * "details1" and so on. An undeclared code may come as well, so this list is never the whole: that
 * is for who writes it out to say.
 *
 * A schema refers to parts of itself from its root, and in the document it has another one: its
 * references are written anew. Where that is not enough to let it mean what it meant, as with an
 * $id, an anchor, another dialect or a reference to elsewhere, and where it is no proper schema,
 * the details are described as anything, which is true of them in any case. */
#include "gateway/openapi.h"

#include "base/json.h"
#include "base/utf8.h"
#include "gateway/gateway_int.h"
#include "schema/keywords.h"

#include <stdio.h>

#define SCHEMA_VALUES 4096u /* more than SCHEMA_BYTES can hold */
#define NAME_SIZE 32u

struct declared_code {
    struct map_node by_key; /* two bytes of the status, then the code */
    struct declared_code *next;
    struct str code, description;
    unsigned details[DETAILS_MAX]; /* numbers of schemas */
    size_t details_count;
    bool anything; /* there is no schema, or too much of it */
};

struct declared_schema {
    struct map_node by_text;
    unsigned number; /* 0: it is described as anything */
};

void declared_init(struct declared *d, struct mem *mem, const uint64_t seed[2])
{
    memset(d, 0, sizeof *d);
    arena_init(&d->arena, mem, 4096);
    arena_init(&d->scratch, mem, 4096);
    map_init(&d->codes, mem, seed);
    map_init(&d->schemas, mem, seed);
    buf_init(&d->components, mem);
    for (size_t i = 0; i < STATUS_COUNT; i++)
        d->by_status[i].last = &d->by_status[i].first;
}

static void empty(struct map *m)
{
    struct map_node *n;

    while ((n = map_any(m)))
        map_del(m, n);
    map_fini(m);
}

void declared_fini(struct declared *d)
{
    empty(&d->codes);
    empty(&d->schemas);
    buf_fini(&d->components);
    arena_fini(&d->scratch);
    arena_fini(&d->arena);
}

/* ---- schemas --------------------------------------------------------------------------------- */

/* One that is being moved. */
struct moved {
    yyjson_val *root;
    struct arena *arena;
    struct str to; /* "#/components/schemas/NAME" */
    size_t refs;   /* that have been written anew */
};

/* Schemas of imports have not been looked at, and readers of documents expect proper ones. */
static bool is_schema(yyjson_val *v)
{
    return yyjson_is_obj(v) || yyjson_is_bool(v);
}

static bool fits(yyjson_val *v, enum shape shape)
{
    switch (shape) {
    case SHAPE_ARRAY:
    case SHAPE_NAMES:
    case SHAPE_SCHEMAS:
        return yyjson_is_arr(v);
    case SHAPE_BOOLEAN:
        return yyjson_is_bool(v);
    case SHAPE_STRING:
    case SHAPE_PATTERN:
    case SHAPE_URI:
        return yyjson_is_str(v);
    case SHAPE_COUNT:
    case SHAPE_NUMBER:
    case SHAPE_POSITIVE:
        return json_is_number(v);
    case SHAPE_TYPE:
        return yyjson_is_str(v) || yyjson_is_arr(v);
    case SHAPE_NAMES_MAP:
    case SHAPE_SCHEMA_MAP:
        return yyjson_is_obj(v);
    default:
        return true;
    }
}

/* Whether it points to a schema, without escapes and what should have been escaped (RFC 3986,
 * 3.5). */
static bool is_plain(const struct moved *m, struct str ref)
{
    if (!ref.n || ref.p[0] != '#')
        return false;
    for (size_t i = 1; i < ref.n; i++) {
        if (ref.p[i] <= ' ' || ref.p[i] > '~' || strchr("#%\"<>[\\]^`{|}", ref.p[i]))
            return false;
    }
    return is_schema(json_pointer(m->root, ref.p + 1, ref.n - 1));
}

/* Text of an arena, or NULL: it cannot be. */
static const char *moved_ref(struct moved *m, struct str ref, size_t *len)
{
    char *s;

    if (!is_plain(m, ref))
        return NULL;
    *len = m->to.n + ref.n - 1;
    s = arena_alloc(m->arena, *len);
    if (!s)
        return NULL;
    memcpy(s, m->to.p, m->to.n);
    memcpy(s + m->to.n, ref.p + 1, ref.n - 1);
    return s;
}

static bool move(struct moved *m, yyjson_val *schema);

static bool move_all(struct moved *m, yyjson_val *schemas)
{
    yyjson_val *key, *v;
    size_t i, n;
    bool ok = true;

    yyjson_arr_foreach(schemas, i, n, v) ok = ok && move(m, v);
    yyjson_obj_foreach(schemas, i, n, key, v) ok = ok && move(m, v);
    return ok;
}

static bool move_keyword(struct moved *m, const struct keyword *k, yyjson_val *v)
{
    struct str s = json_string(v);
    size_t len;

    if (!fits(v, k->shape))
        return false;
    switch (k->id) {
    case KEYWORD_ID:
    case KEYWORD_ANCHOR:
    case KEYWORD_DYNAMIC_REF:
    case KEYWORD_DYNAMIC_ANCHOR:
        return false;
    case KEYWORD_SCHEMA:
        return str_is(s, "https://json-schema.org/draft/2020-12/schema");
    case KEYWORD_REF:
        s.p = moved_ref(m, s, &len);
        if (s.p)
            unsafe_yyjson_set_strn(v, s.p, len);
        m->refs++;
        return s.p != NULL;
    default:
        break;
    }
    switch (k->shape) {
    case SHAPE_SCHEMA:
        return move(m, v);
    case SHAPE_SCHEMAS:
    case SHAPE_SCHEMA_MAP:
        return move_all(m, v);
    default:
        return true;
    }
}

/* false: it cannot be. As deep as its text may be. */
static bool move(struct moved *m, yyjson_val *schema)
{
    static const struct dialect dialect = {DRAFT_2020, VOCABULARY_ALL};
    yyjson_val *key, *v;
    size_t i, n;
    bool ok = is_schema(schema);

    yyjson_obj_foreach(schema, i, n, key, v)
    {
        const struct keyword *k = keyword_find(dialect, key);

        ok = ok && (!k || move_keyword(m, k, v));
    }
    return ok;
}

/* Also where it is no keyword, as in an example: readers of documents follow all of them. */
static size_t count_refs(yyjson_val *in)
{
    yyjson_val *key, *v;
    size_t i, n, count = 0;

    yyjson_arr_foreach(in, i, n, v) count += count_refs(v);
    yyjson_obj_foreach(in, i, n, key, v) count +=
        count_refs(v) + (yyjson_equals_str(key, "$ref") && yyjson_is_str(v));
    return count;
}

/* Puts it among the components; *number stays 0 where it cannot be. -1: out of memory. */
static int put_schema(struct declared *d, struct str text, unsigned *number)
{
    static const struct json_limits limits = {SCHEMA_DEPTH, SCHEMA_VALUES};
    struct moved m = {.arena = &d->scratch};
    yyjson_alc alc = arena_alc(&d->scratch);
    char to[NAME_SIZE + 24], name[NAME_SIZE];
    const char *out;
    yyjson_doc *doc;
    size_t refs, len;
    char *copy;
    int rc;

    arena_reset(&d->scratch);
    copy = arena_alloc(&d->scratch, text.n + JSON_PADDING);
    if (!copy)
        return -1;
    memcpy(copy, text.p, text.n);
    rc = json_parse(copy, text.n, &limits, &alc, &doc, NULL);
    if (rc)
        return rc == JSON_ENOMEM ? -1 : 0;
    m.root = yyjson_doc_get_root(doc);
    refs = count_refs(m.root);
    snprintf(name, sizeof name, "details%u", d->schema_count + 1);
    m.to = (struct str){to, (size_t)snprintf(to, sizeof to, "#/components/schemas/%s", name)};
    if (!move(&m, m.root) || m.refs != refs)
        return 0;
    out = yyjson_val_write_opts(m.root, 0, &alc, &len, NULL);
    if (!out || buf_printf(&d->components, ",\"%s\":", name) ||
        buf_append(&d->components, out, len))
        return -1;
    *number = ++d->schema_count;
    return 0;
}

/* The number of a schema, by its text; 0: anything. */
static int schema_number(struct declared *d, const struct error_spec *e, unsigned *number)
{
    struct str text = {e->schema_json, e->schema_json_len};
    struct declared_schema *s;
    struct map_node *found;

    *number = 0;
    if (!text.n || text.n > SCHEMA_BYTES || str_is(text, "true") || str_is(text, "{}"))
        return 0;
    found = map_find(&d->schemas, text.p, text.n);
    if (found) {
        *number = container_of(found, struct declared_schema, by_text)->number;
        return 0;
    }
    if (d->schemas.count == SCHEMAS_MAX)
        return 0;
    s = arena_zalloc(&d->arena, sizeof *s);
    text.p = arena_dup(&d->arena, text.p, text.n);
    if (!s || !text.p || put_schema(d, text, &s->number))
        return -1;
    s->by_text.key = text.p;
    s->by_text.len = text.n;
    *number = s->number;
    return map_add(&d->schemas, &s->by_text);
}

/* ---- codes ----------------------------------------------------------------------------------- */

static int add_details(struct declared *d, struct declared_code *c, const struct error_spec *e)
{
    unsigned number;

    if (c->anything)
        return 0;
    if (schema_number(d, e, &number))
        return -1;
    for (size_t i = 0; i < c->details_count; i++) {
        if (c->details[i] == number)
            return 0;
    }
    c->anything = !number || c->details_count == DETAILS_MAX;
    if (!c->anything)
        c->details[c->details_count++] = number;
    return 0;
}

static struct declared_code *new_code(struct declared *d, const struct error_spec *e,
                                      struct str key)
{
    struct declared_code *c = arena_zalloc(&d->arena, sizeof *c);
    size_t len = utf8_cut(e->description.p, e->description.n, DESCRIPTION_MAX);

    key.p = arena_dup(&d->arena, key.p, key.n);
    if (!c || !key.p)
        return NULL;
    c->code = (struct str){key.p + 2, key.n - 2};
    c->description = (struct str){arena_dup(&d->arena, e->description.p, len), len};
    c->by_key.key = key.p;
    c->by_key.len = key.n;
    return c->description.p && !map_add(&d->codes, &c->by_key) ? c : NULL;
}

static int add_code(struct declared *d, const struct error_spec *e, int status)
{
    struct declared_status *at = &d->by_status[status - STATUS_FIRST];
    char key[2 + CODE_MAX];
    struct declared_code *c;
    struct map_node *found;

    if (e->code.n > CODE_MAX)
        return 0;
    key[0] = (char)(status >> 8);
    key[1] = (char)(status & 0xff);
    memcpy(key + 2, e->code.p, e->code.n);
    found = map_find(&d->codes, key, 2 + e->code.n);
    if (found)
        return add_details(d, container_of(found, struct declared_code, by_key), e);
    if (at->count == CODES_MAX || d->codes.count == ALL_CODES_MAX)
        return 0;
    c = new_code(d, e, (struct str){key, 2 + e->code.n});
    if (!c)
        return -1;
    at->count++;
    *at->last = c;
    at->last = &c->next;
    return add_details(d, c, e);
}

int declared_add(struct declared *d, const struct operation *op)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < op->error_count; i++) {
        int status = status_of_declared(&op->errors[i]);

        if (status)
            rc = add_code(d, &op->errors[i], status);
    }
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int put_details(const struct declared_code *c, struct buf *b)
{
    bool several = c->details_count > 1;
    int rc = 0;

    if (c->anything)
        return 0;
    rc |= buf_puts(b, several ? ",\"details\":{\"anyOf\":[" : ",\"details\":");
    for (size_t i = 0; i < c->details_count; i++)
        rc |= buf_printf(b, "%s{\"$ref\":\"#/components/schemas/details%u\"}", i ? "," : "",
                         c->details[i]);
    return rc | (several ? buf_puts(b, "]}") : 0);
}

static int put_code(const struct declared_code *c, struct buf *b)
{
    int rc = buf_puts(b, "{\"title\":") | buf_json_string(b, c->code.p, c->code.n);

    if (c->description.n)
        rc |= buf_puts(b, ",\"description\":") |
              buf_json_string(b, c->description.p, c->description.n);
    rc |= buf_puts(b, ",\"allOf\":[{\"$ref\":\"#/components/schemas/Error\"}],\"properties\":{"
                      "\"code\":{\"const\":") |
          buf_json_string(b, c->code.p, c->code.n);
    return rc | buf_puts(b, "}") | put_details(c, b) | buf_puts(b, "}},");
}

int declared_put(const struct declared *d, struct buf *b, int status)
{
    int rc = 0;

    for (const struct declared_code *c = d->by_status[status - STATUS_FIRST].first; c; c = c->next)
        rc |= put_code(c, b);
    return rc;
}
