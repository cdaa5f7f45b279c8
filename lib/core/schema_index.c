/* Documents, identifiers, anchors and references of a schema; the first round of schema_build.h. */
#include "core/schema_build.h"

#include "base/json.h"
#include "core/schema_uri.h"

#include <string.h>

#define URI_SHOWN 120u /* bytes of a URI in a message */
#define METASCHEMA_DEPTH 32u
#define METASCHEMA_VALUES 1000u

#define AT(keyword_key) (&(struct place){.keyword = (keyword_key)})

/* ---- tables --------------------------------------------------------------------------------------------- */

/* One more element, cleared, of a growing array in tmp; NULL with rc set. */
static void *grow(struct build *b, void **array, uint32_t *count, uint32_t *cap, size_t size)
{
    if (*count == *cap) {
        uint32_t more = *cap ? *cap * 2 : 16;
        void *p = build_tmp(b, more * size);

        if (!p)
            return NULL;
        if (*cap)
            memcpy(p, *array, *cap * size);
        *array = p;
        *cap = more;
    }
    return (char *)*array + (*count)++ * size;
}

static struct name_entry *find_entry(const struct build *b, struct text name)
{
    struct map_node *n = map_find(&b->names, name.at, name.len);

    return n ? container_of(n, struct name_entry, by_name) : NULL;
}

/* Enters a name, unless it is there already: *other is then the record that has it. */
static int add_entry(struct build *b, struct text name, uint32_t record, bool dynamic, uint32_t *other)
{
    struct name_entry *e = find_entry(b, name);

    *other = NO_RECORD;
    if (e) {
        *other = e->record;
        e->dynamic |= dynamic && e->record == record;
        return b->rc;
    }
    e = build_tmp(b, sizeof *e);
    if (!e)
        return b->rc;
    e->by_name.key = name.at;
    e->by_name.len = name.len;
    e->record = record;
    e->dynamic = dynamic;
    if (map_add(&b->names, &e->by_name))
        return build_nomem(b);
    e->next = b->entries;
    b->entries = e;
    return b->rc;
}

static uint32_t add_record(struct build *b, struct document *d, yyjson_val *val, uint32_t resource,
                           uint32_t parent, const struct place *place)
{
    bool object = yyjson_is_obj(val);
    struct record *r;

    if (!object && !yyjson_is_bool(val)) {
        build_fail(b, parent, place, "must be a schema: an object or a boolean");
        return NO_RECORD;
    }
    if (build_spend(b, 2) || b->record_count >= UINT32_MAX / 2)
        return NO_RECORD;
    r = grow(b, (void **)&b->records, &b->record_count, &b->record_cap, sizeof *r);
    if (!r || (object && !(r->node = build_keep(b, sizeof *r->node))))
        return NO_RECORD;
    r->val = val;
    r->document = d;
    r->resource = resource;
    r->parent = parent;
    r->place = *place;
    r->target = r->dynamic_target = NO_RECORD;
    d->records[val - d->root] = b->record_count;
    return b->record_count - 1;
}

static struct text dup_text(struct build *b, const char *s, size_t len)
{
    char *copy = arena_dup(&b->tmp, s, len);

    if (!copy)
        build_nomem(b);
    return (struct text){copy ? copy : "", copy ? len : 0};
}

static struct text text_of(yyjson_val *str)
{
    return (struct text){yyjson_get_str(str), yyjson_get_len(str)};
}

/* The member's value, if the keyword is there. key is set to its name for messages. */
static yyjson_val *member(yyjson_val *obj, const char *name, yyjson_val **key)
{
    size_t i, n;
    yyjson_val *k, *v;

    yyjson_obj_foreach(obj, i, n, k, v)
    {
        if (yyjson_equals_str(k, name)) {
            *key = k;
            return v;
        }
    }
    return NULL;
}

static int fail_uri(struct build *b, uint32_t record, yyjson_val *key, const char *what, struct text uri)
{
    return build_fail(b, record, AT(key), "%s \"%.*s\"", what, (int)text_cut(uri.at, uri.len, URI_SHOWN),
                      uri.at);
}

/* ref against base, without its fragment, as a text of tmp. */
static int resolve_text(struct build *b, uint32_t record, yyjson_val *key, struct text base,
                        struct text ref, struct text *out, struct text *fragment)
{
    char buf[SCHEMA_MAX_URI];
    size_t len;

    ref = uri_split(ref, fragment);
    *out = base;
    if (ref.len == 0)
        return b->rc;
    if (build_spend(b, 1 + (base.len + ref.len) / 64))
        return b->rc;
    if (!uri_resolve(base, ref, buf, sizeof buf, &len))
        return build_fail(b, record, AT(key), "the URI is longer than %u bytes", SCHEMA_MAX_URI);
    *out = dup_text(b, buf, len);
    return b->rc;
}

/* ---- dialects ------------------------------------------------------------------------------------------- */

static yyjson_val *ask_resolver(const struct build *b, struct text uri)
{
    const struct schema_options *o = b->options;

    return o->resolve && uri.len ? o->resolve(o->ud, uri.at, uri.len) : NULL;
}

static int read_vocabularies(struct build *b, uint32_t record, yyjson_val *key, yyjson_val *map,
                             struct dialect *out)
{
    size_t i, n;
    yyjson_val *k, *v;

    out->vocabularies = VOCABULARY_CORE;
    yyjson_obj_foreach(map, i, n, k, v)
    {
        struct text uri = text_of(k);
        uint8_t bit = vocabulary_find(uri);

        if (!bit && yyjson_is_true(v))
            return fail_uri(b, record, key, "the metaschema requires the vocabulary", uri);
        out->vocabularies |= bit;
    }
    return b->rc;
}

/* The dialect that a $schema names: a built-in one, or one whose metaschema says in $vocabulary what it has. */
static int find_dialect(struct build *b, uint32_t record, yyjson_val *key, struct text uri,
                        struct dialect *out)
{
    struct text fragment;
    yyjson_val *meta, *base, *vocabulary;
    bool known;

    uri = uri_split(uri, &fragment);
    if (!fragment.len && dialect_find(uri, out, &known))
        return b->rc;
    meta = fragment.len || known ? NULL : ask_resolver(b, uri);
    base = yyjson_obj_get(meta, "$schema");
    if (!yyjson_is_str(base) || !dialect_find(uri_split(text_of(base), &fragment), out, &known))
        return fail_uri(b, record, key, known ? "unsupported dialect" : "unknown dialect", uri);
    vocabulary = yyjson_obj_get(meta, "$vocabulary");
    return yyjson_is_obj(vocabulary) ? read_vocabularies(b, record, key, vocabulary, out) : b->rc;
}

/* ---- identifiers ---------------------------------------------------------------------------------------- */

static int add_dynamic_anchor(struct build *b, uint32_t record, struct text name)
{
    struct dynamic_anchor *a = build_tmp(b, sizeof *a);

    if (!a)
        return b->rc;
    *a = (struct dynamic_anchor){name, record, b->anchors};
    b->anchors = a;
    return b->rc;
}

static int add_anchor(struct build *b, uint32_t i, yyjson_val *key, struct text name, bool dynamic)
{
    const struct resource *res = &b->resources[record_at(b, i)->resource];
    size_t len = res->uri.len + 1 + name.len;
    char *full = build_tmp(b, len + 1);
    uint32_t other;

    if (!full)
        return b->rc;
    if (res->uri.len)
        memcpy(full, res->uri.at, res->uri.len);
    full[res->uri.len] = '#';
    memcpy(full + res->uri.len + 1, name.at, name.len);
    if (add_entry(b, (struct text){full, len}, i, dynamic, &other))
        return b->rc;
    if (other != NO_RECORD && other != i) {
        if (record_at(b, other)->document == record_at(b, i)->document)
            build_fail(b, i, AT(key), "the anchor is used twice");
        return b->rc;
    }
    return dynamic ? add_dynamic_anchor(b, i, name) : b->rc;
}

/* A resource begins at record i. */
static int add_resource(struct build *b, uint32_t i, yyjson_val *key, struct text uri, struct dialect dialect)
{
    struct record *r = record_at(b, i);
    struct resource *res =
        grow(b, (void **)&b->resources, &b->resource_count, &b->resource_cap, sizeof *res);
    uint32_t other;

    if (!res)
        return b->rc;
    *res = (struct resource){uri, dialect, i, r->document};
    r->resource = b->resource_count - 1;
    if (add_entry(b, uri, i, false, &other))
        return b->rc;
    if (other != NO_RECORD && other != i && key && record_at(b, other)->document == r->document)
        return build_fail(b, i, AT(key), "the identifier is used twice");
    return b->rc;
}

/* $id of either draft. In draft-07 one that is only a fragment is an anchor. */
static int index_id(struct build *b, uint32_t i, yyjson_val *key, yyjson_val *id, struct dialect dialect)
{
    struct text base = b->resources[record_at(b, i)->resource].uri, uri, fragment;

    if (!yyjson_is_str(id))
        return build_fail(b, i, AT(key), "must be a string");
    if (resolve_text(b, i, key, base, text_of(id), &uri, &fragment))
        return b->rc;
    if (fragment.len && dialect.draft != DRAFT_7)
        return build_fail(b, i, AT(key), "must not have a fragment");
    if (fragment.len && fragment.len + 1 == yyjson_get_len(id))
        return add_anchor(b, i, key, fragment, false);
    if (add_resource(b, i, key, uri, dialect))
        return b->rc;
    return fragment.len ? add_anchor(b, i, key, fragment, false) : b->rc;
}

/* $schema and $id, which decide how the rest is read. */
static int index_identity(struct build *b, uint32_t i)
{
    struct record *r = record_at(b, i);
    const struct resource *outer = &b->resources[r->resource];
    struct dialect dialect = outer->dialect;
    yyjson_val *key = NULL, *val = member(r->val, "$schema", &key);
    bool root = r->val == r->document->root;

    if (val && !yyjson_is_str(val))
        return build_fail(b, i, AT(key), "must be a string");
    if (val && find_dialect(b, i, key, text_of(val), &dialect))
        return b->rc;
    if (root)
        b->resources[r->resource].dialect = dialect;
    if (dialect.draft == DRAFT_7 && yyjson_obj_get(r->val, "$ref")) {
        r->ref_only = true;
        return b->rc;
    }
    if (!root && !yyjson_obj_get(r->val, "$id") &&
        (dialect.draft != outer->dialect.draft || dialect.vocabularies != outer->dialect.vocabularies))
        return build_fail(b, i, AT(key), "the dialect changes only together with $id");
    val = member(r->val, "$id", &key);
    return val ? index_id(b, i, key, val, dialect) : b->rc;
}

/* ---- keywords ------------------------------------------------------------------------------------------- */

/* A keyword being indexed: its record and its name there. */
struct at {
    uint32_t record;
    yyjson_val *keyword;
};

/* key is where in the keyword's value, or NULL. */
static int fail_at(struct build *b, struct at at, yyjson_val *key, const char *text)
{
    return build_fail(b, at.record, &(struct place){.keyword = at.keyword, .key = key}, "%s", text);
}

static int fail_named(struct build *b, struct at at, yyjson_val *key, const char *fmt, yyjson_val *name)
{
    char text[TEXT_NAME_MAX + 8];
    struct writer w = {text, 0, sizeof text - 1};

    write_name(&w, unsafe_yyjson_get_str(name), unsafe_yyjson_get_len(name));
    text[w.len] = 0;
    return build_fail(b, at.record, &(struct place){.keyword = at.keyword, .key = key}, fmt, text);
}

static int add_child(struct build *b, struct at at, yyjson_val *val, struct place place)
{
    const struct record *r = record_at(b, at.record);

    place.keyword = at.keyword;
    add_record(b, r->document, val, r->resource, at.record, &place);
    return b->rc;
}

static int index_array(struct build *b, struct at at, yyjson_val *arr)
{
    size_t i, n;
    yyjson_val *item;

    if (!yyjson_is_arr(arr) || yyjson_arr_size(arr) == 0)
        return fail_at(b, at, NULL, "must be an array of at least one schema");
    yyjson_arr_foreach(arr, i, n, item)
    {
        if (add_child(b, at, item, (struct place){.has_index = true, .index = i}))
            break;
    }
    return b->rc;
}

static int check_names(struct build *b, struct at at, yyjson_val *key, yyjson_val *names)
{
    size_t i, n, k, m;
    yyjson_val *name, *other;

    if (!yyjson_is_arr(names))
        return fail_at(b, at, key, "must be an array of strings");
    yyjson_arr_foreach(names, i, n, name)
    {
        if (!yyjson_is_str(name))
            return fail_at(b, at, key, "must be an array of strings");
        if (build_spend(b, 1 + i / 16))
            return b->rc;
        yyjson_arr_foreach(names, k, m, other)
        {
            if (k == i)
                break;
            if (yyjson_equals_strn(other, yyjson_get_str(name), yyjson_get_len(name)))
                return fail_named(b, at, key, "\"%s\" is there twice", name);
        }
    }
    return b->rc;
}

/* Objects of schemas, of names, or of either. */
static int index_map(struct build *b, struct at at, yyjson_val *map, enum shape shape)
{
    size_t i, n;
    yyjson_val *key, *val;

    if (!yyjson_is_obj(map))
        return fail_at(b, at, NULL, "must be an object");
    yyjson_obj_foreach(map, i, n, key, val)
    {
        bool names = shape == SHAPE_NAMES_MAP || (shape == SHAPE_DEPENDENCIES && yyjson_is_arr(val));

        if (shape == SHAPE_VOCABULARIES) {
            if (!yyjson_is_bool(val))
                return fail_at(b, at, key, "must be a boolean");
        } else if (names ? check_names(b, at, key, val) : add_child(b, at, val, (struct place){.key = key})) {
            break;
        }
    }
    return b->rc;
}

static int check_type(struct build *b, struct at at, yyjson_val *val)
{
    static const char *const names[] = {"null",   "boolean", "object", "array",
                                        "string", "number",  "integer"};
    size_t i = 0, n = sizeof names / sizeof *names;

    if (!yyjson_is_str(val))
        return fail_at(b, at, NULL, "must be a string or an array of strings");
    while (i < n && !yyjson_equals_str(val, names[i]))
        i++;
    if (i == n)
        fail_named(b, at, NULL, "unknown type \"%s\"", val);
    return b->rc;
}

static int check_types(struct build *b, struct at at, yyjson_val *val)
{
    size_t i, n;
    yyjson_val *item;

    if (!yyjson_is_arr(val))
        return check_type(b, at, val);
    if (yyjson_arr_size(val) == 0)
        return fail_at(b, at, NULL, "must name at least one type");
    yyjson_arr_foreach(val, i, n, item)
    {
        if (check_type(b, at, item))
            return b->rc;
    }
    return check_names(b, at, NULL, val);
}

/* Letters, digits, "-_." and in draft-07's manner ":", not beginning with a digit. */
static bool is_anchor(struct text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!letter && (i == 0 || !c || !strchr("0123456789-.", c)))
            return false;
    }
    return t.len > 0;
}

static int check_number(struct build *b, struct at at, yyjson_val *val, enum shape shape)
{
    struct number n, zero;
    uint64_t count;

    if (!json_is_number(val))
        return fail_at(b, at, NULL,
                          shape == SHAPE_COUNT ? "must be a non-negative integer" : "must be a number");
    number_read(&n, val);
    if (build_spend(b, yyjson_get_len(val) / 64))
        return b->rc;
    zero = (struct number){.kind = NUMBER_SIGNED};
    if (shape == SHAPE_COUNT && !number_to_count(&n, &count))
        return fail_at(b, at, NULL, "must be a non-negative integer");
    if (shape == SHAPE_POSITIVE && number_cmp(&n, &zero) <= 0)
        return fail_at(b, at, NULL, "must be above 0");
    if (shape == SHAPE_POSITIVE && !number_can_divide(&n))
        return fail_at(b, at, NULL, "has too many digits");
    return b->rc;
}

/* Checks the keyword's value and enters the schemas in it. */
static int index_value(struct build *b, struct at at, yyjson_val *val, enum shape shape)
{
    const char *want = NULL;

    switch (shape) {
    case SHAPE_ANY:
        break;
    case SHAPE_ARRAY:
        want = yyjson_is_arr(val) ? NULL : "must be an array";
        break;
    case SHAPE_BOOLEAN:
        want = yyjson_is_bool(val) ? NULL : "must be a boolean";
        break;
    case SHAPE_STRING:
    case SHAPE_PATTERN:
    case SHAPE_URI:
        want = yyjson_is_str(val) ? NULL : "must be a string";
        break;
    case SHAPE_ANCHOR:
        want = yyjson_is_str(val) && is_anchor(text_of(val)) ? NULL : "must be the name of an anchor";
        break;
    case SHAPE_COUNT:
    case SHAPE_NUMBER:
    case SHAPE_POSITIVE:
        return check_number(b, at, val, shape);
    case SHAPE_TYPE:
        return check_types(b, at, val);
    case SHAPE_NAMES:
        return check_names(b, at, NULL, val);
    case SHAPE_SCHEMA:
        return add_child(b, at, val, (struct place){0});
    case SHAPE_SCHEMAS:
        return index_array(b, at, val);
    case SHAPE_ITEMS:
        return yyjson_is_arr(val) ? index_array(b, at, val) : add_child(b, at, val, (struct place){0});
    case SHAPE_NAMES_MAP:
    case SHAPE_VOCABULARIES:
    case SHAPE_SCHEMA_MAP:
    case SHAPE_DEPENDENCIES:
        return index_map(b, at, val, shape);
    }
    return want ? fail_at(b, at, NULL, want) : b->rc;
}

static int index_keyword(struct build *b, struct at at, yyjson_val *val, const struct keyword *kw)
{
    struct record *r = record_at(b, at.record);

    if (r->ref_only && kw->id != KEYWORD_REF && kw->id != KEYWORD_DEFINITIONS)
        return b->rc;
    r->asserts |= kw->id >= KEYWORD_FIRST_ASSERTION;
    if (kw->id == KEYWORD_REF)
        r->ref = val;
    if (kw->id == KEYWORD_DYNAMIC_REF) {
        r->dynamic_ref = val;
        r->asserts = true;
    }
    if (index_value(b, at, val, kw->shape))
        return b->rc;
    if (kw->id == KEYWORD_ANCHOR || kw->id == KEYWORD_DYNAMIC_ANCHOR)
        return add_anchor(b, at.record, at.keyword, text_of(val), kw->id == KEYWORD_DYNAMIC_ANCHOR);
    return b->rc;
}

static int index_record(struct build *b, uint32_t record)
{
    struct dialect dialect;
    yyjson_val *obj = record_at(b, record)->val, *key, *val;
    size_t i, n;

    if (!yyjson_is_obj(obj) || build_spend(b, yyjson_obj_size(obj)) || index_identity(b, record))
        return b->rc;
    dialect = b->resources[record_at(b, record)->resource].dialect;
    yyjson_obj_foreach(obj, i, n, key, val)
    {
        const struct keyword *kw = keyword_find(dialect, key);

        if (kw && index_keyword(b, (struct at){record, key}, val, kw))
            break;
    }
    return b->rc;
}

static int index_all(struct build *b)
{
    while (!b->rc && b->indexed < b->record_count)
        index_record(b, b->indexed++);
    return b->rc;
}

/* ---- documents ------------------------------------------------------------------------------------------ */

static int add_document(struct build *b, yyjson_val *root, struct text uri, struct dialect dialect)
{
    static const struct place nowhere;
    struct document *d = build_tmp(b, sizeof *d);
    yyjson_val *end = unsafe_yyjson_get_next(root);
    uint32_t record;

    if (!d || build_spend(b, (uint64_t)(end - root) / 8))
        return b->rc;
    d->uri = uri;
    d->root = root;
    d->end = end;
    d->records = build_tmp(b, (size_t)(end - root) * sizeof *d->records);
    if (!d->records)
        return b->rc;
    d->next = b->documents;
    b->documents = d;
    record = add_record(b, d, root, 0, NO_RECORD, &nowhere);
    return record == NO_RECORD ? b->rc : add_resource(b, record, NULL, uri, dialect);
}

static yyjson_val *parse_metaschema(struct build *b, const char *text)
{
    static const struct json_limits limits = {METASCHEMA_DEPTH, METASCHEMA_VALUES};
    size_t len = strlen(text);
    char *copy = build_tmp(b, len + JSON_PADDING);
    yyjson_alc alc = arena_alc(&b->tmp);
    yyjson_doc *doc;

    if (!copy)
        return NULL;
    for (size_t i = 0; i < len; i++)
        copy[i] = text[i] == '\'' ? '"' : text[i];
    if (json_parse(copy, len, &limits, &alc, &doc, NULL)) {
        build_nomem(b);
        return NULL;
    }
    return yyjson_doc_get_root(doc);
}

/* Finds the document of a reference and indexes it. */
static int load(struct build *b, uint32_t record, yyjson_val *key, struct text uri)
{
    const char *text = metaschema_find(uri);
    yyjson_val *root = text ? parse_metaschema(b, text) : ask_resolver(b, uri);
    struct dialect dialect = b->resources[record_at(b, record)->resource].dialect;

    if (b->rc)
        return b->rc;
    if (!root)
        return fail_uri(b, record, key, "cannot resolve", uri);
    if (b->document_count++ == SCHEMA_MAX_DOCUMENTS)
        return build_fail(b, record, AT(key), "more than %u other documents are referred to",
                          SCHEMA_MAX_DOCUMENTS);
    return add_document(b, root, uri, dialect) ? b->rc : index_all(b);
}

/* ---- references ----------------------------------------------------------------------------------------- */

/* The member or item of v that a token of a pointer names. */
static yyjson_val *follow(struct build *b, yyjson_val *v, const char *token, size_t len)
{
    size_t index = 0;

    if (build_spend(b, 1 + (yyjson_is_ctn(v) ? unsafe_yyjson_get_len(v) / 8 : 0)))
        return NULL;
    if (yyjson_is_obj(v))
        return yyjson_obj_getn(v, token, len);
    if (!yyjson_is_arr(v) || len == 0 || len > 9 || (len > 1 && token[0] == '0'))
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (token[i] < '0' || token[i] > '9')
            return NULL;
        index = index * 10 + (size_t)(token[i] - '0');
    }
    return yyjson_arr_get(v, index);
}

/* Unescapes one token of a pointer in place; the new length. */
static size_t unescape(char *s, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        bool escape = s[i] == '~' && i + 1 < len && (s[i + 1] == '0' || s[i + 1] == '1');

        s[out++] = !escape ? s[i] : s[i + 1] == '0' ? '~' : '/';
        i += escape;
    }
    return out;
}

/* The record at a JSON pointer below the root of a resource; made if no keyword led there. */
static uint32_t find_pointer(struct build *b, uint32_t root, struct text fragment)
{
    struct text pointer = dup_text(b, fragment.at, fragment.len), copy;
    struct document *d = record_at(b, root)->document;
    uint32_t resource = record_at(b, root)->resource, found = root;
    yyjson_val *v = record_at(b, root)->val;
    struct place place = {.pointer = pointer};
    char *s;

    if (b->rc)
        return NO_RECORD;
    place.pointer.len = uri_decode((char *)pointer.at, pointer.len);
    copy = dup_text(b, pointer.at, place.pointer.len);
    s = (char *)copy.at;
    for (size_t at = 0; v && at < copy.len;) {
        size_t end = ++at;

        while (end < copy.len && s[end] != '/')
            end++;
        v = follow(b, v, s + at, unescape(s + at, end - at));
        at = end;
        found = v ? record_of(d, v) : NO_RECORD;
        if (found != NO_RECORD)
            resource = record_at(b, found)->resource;
    }
    if (!v || b->rc || found != NO_RECORD)
        return found;
    return add_record(b, d, v, resource, root, &place);
}

static uint32_t find_anchor(struct build *b, struct text uri, struct text name, bool *dynamic)
{
    size_t len = uri.len + 1 + name.len;
    char *full = build_tmp(b, len + 1);
    const struct name_entry *e;

    if (!full)
        return NO_RECORD;
    if (uri.len)
        memcpy(full, uri.at, uri.len);
    full[uri.len] = '#';
    memcpy(full + uri.len + 1, name.at, name.len);
    e = find_entry(b, (struct text){full, len});
    *dynamic = e && e->dynamic;
    return e ? e->record : NO_RECORD;
}

/* What the reference in a record's member leads to; anchor is its fragment when that is a dynamic anchor's name. */
static uint32_t find_target(struct build *b, uint32_t record, const char *keyword, yyjson_val *ref,
                            struct text *anchor)
{
    const struct resource *from = &b->resources[record_at(b, record)->resource];
    yyjson_val *key = NULL;
    const struct name_entry *e;
    struct text uri, fragment;
    uint32_t found;
    bool dynamic = false;

    *anchor = (struct text){NULL, 0};
    member(record_at(b, record)->val, keyword, &key);
    if (resolve_text(b, record, key, from->uri, text_of(ref), &uri, &fragment))
        return NO_RECORD;
    e = find_entry(b, uri);
    if (!e) {
        if (load(b, record, key, uri))
            return NO_RECORD;
        e = find_entry(b, uri);
    }
    found = e->record;
    if (fragment.len && fragment.at[0] == '/')
        found = find_pointer(b, found, fragment);
    else if (fragment.len)
        found = find_anchor(b, b->resources[record_at(b, found)->resource].uri, fragment, &dynamic);
    if (found == NO_RECORD)
        fail_uri(b, record, key, "cannot resolve", text_of(ref));
    if (dynamic)
        *anchor = fragment;
    return found;
}

/* The places of all dynamic anchors of a name, to be filled when they are all known. */
static struct dynamic *find_dynamic(struct build *b, struct text name)
{
    struct dynamic *d = b->dynamics;

    for (; d; d = d->next) {
        if (build_spend(b, 1))
            return NULL;
        if (d->name.len == name.len && memcmp(d->name.at, name.at, name.len) == 0)
            return d;
    }
    d = build_keep(b, sizeof *d);
    if (!d)
        return NULL;
    d->name = dup_text(b, name.at, name.len);
    d->next = b->dynamics;
    b->dynamics = d;
    return d;
}

static int resolve_record(struct build *b, uint32_t record)
{
    yyjson_val *ref = record_at(b, record)->ref, *dynamic_ref = record_at(b, record)->dynamic_ref;
    struct text anchor;
    uint32_t target;

    if (ref) {
        target = find_target(b, record, "$ref", ref, &anchor);
        record_at(b, record)->target = target;
    }
    if (dynamic_ref && !b->rc) {
        target = find_target(b, record, "$dynamicRef", dynamic_ref, &anchor);
        record_at(b, record)->dynamic_target = target;
        if (anchor.len)
            record_at(b, record)->dynamic = find_dynamic(b, anchor);
    }
    return b->rc;
}

int build_index(struct build *b, yyjson_val *root)
{
    const char *uri = b->options->default_dialect;
    struct dialect dialect = {DRAFT_2020, VOCABULARY_ALL};
    bool known;
    struct text fragment;

    if (uri && !dialect_find(uri_split((struct text){uri, strlen(uri)}, &fragment), &dialect, &known))
        return build_fail(b, NO_RECORD, NULL, "the default dialect is not supported");
    if (add_document(b, root, (struct text){"", 0}, dialect))
        return b->rc;
    while (!index_all(b) && b->resolved < b->record_count)
        resolve_record(b, b->resolved++);
    return b->rc;
}
