/* Documents, identifiers and anchors of a schema; the walk of the first round of build.h.
 *
 * The walk is breadth-first and needs no stack: indexing a record appends records for its
 * subschemas, and the loop goes on until none is left. A record is indexed once, however often it
 * is referred to, so schemas that refer to themselves cost no more than others. Identifiers go into
 * the table as full URIs; an anchor as its resource's URI, '#', and its name. What a keyword says
 * is checked here, so that the second round and the checks can rely on it. */
#include "schema/build.h"

#include "schema/uri.h"

#include <string.h>

/* ---- dialects ---- */

/* A vocabulary marked true must be understood, or the schema refused; one marked false may be
 * unknown (JSON Schema core, section 8.1.2). */
static int read_vocabularies(struct build *b, uint32_t record, yyjson_val *key, yyjson_val *map,
                             struct dialect *out)
{
    size_t i, n;
    yyjson_val *k, *v;

    out->vocabularies = VOCABULARY_CORE;
    yyjson_obj_foreach(map, i, n, k, v)
    {
        struct str uri = json_string(k);
        uint8_t bit = vocabulary_find(uri);

        if (!bit && yyjson_is_true(v))
            return build_fail_uri(b, record, key, "the metaschema requires the vocabulary", uri);
        out->vocabularies |= bit;
    }
    return b->rc;
}

/* The dialect that a $schema names: a built-in one, or one whose metaschema says in $vocabulary
 * what it has. The metaschema's own dialect has to be built in, so this ends after one step.
 * Without $vocabulary it has all of its own dialect's keywords. Nothing is validated against such a
 * metaschema: what it forbids beyond the shapes is its author's to check. */
static int find_dialect(struct build *b, uint32_t record, yyjson_val *key, struct str uri,
                        struct dialect *out)
{
    struct str fragment;
    yyjson_val *meta, *base, *vocabulary;
    bool known = false;

    uri = uri_split(uri, &fragment);
    if (!fragment.n && dialect_find(uri, out, &known))
        return b->rc;
    meta = fragment.n || known ? NULL : build_ask(b, uri);
    base = yyjson_obj_get(meta, "$schema");
    if (!yyjson_is_str(base) || !dialect_find(uri_split(json_string(base), &fragment), out, &known))
        return build_fail_uri(b, record, key, known ? "unsupported dialect" : "unknown dialect",
                              uri);
    vocabulary = yyjson_obj_get(meta, "$vocabulary");
    return yyjson_is_obj(vocabulary) ? read_vocabularies(b, record, key, vocabulary, out) : b->rc;
}

/* ---- identifiers ---- */

/* Beside the table, which finds by full URI: a $dynamicRef looks for one name in all resources. */
static int add_dynamic_anchor(struct build *b, uint32_t record, struct str name)
{
    struct dynamic_anchor *a = build_tmp(b, sizeof *a);

    if (!a)
        return b->rc;
    *a = (struct dynamic_anchor){name, record, b->anchors};
    b->anchors = a;
    return b->rc;
}

/* An anchor that is there already is a fault only within one document: a document that was drawn in
 * under two URIs has all of its names twice. */
static int add_anchor(struct build *b, uint32_t i, yyjson_val *key, struct str name, bool dynamic)
{
    struct str full = build_anchor(b, i, name);
    uint32_t other;

    if (b->rc || build_add_entry(b, full, i, dynamic, &other))
        return b->rc;
    if (other != NO_RECORD && other != i) {
        if (record_at(b, other)->document == record_at(b, i)->document)
            build_fail(b, i, AT(key), "the anchor is used twice");
        return b->rc;
    }
    return dynamic ? add_dynamic_anchor(b, i, name) : b->rc;
}

/* A resource begins at record i, whose resource up to now is the one around it; from here on, base
 * URI and dialect are its own (core, section 8.2.1). Two of one identifier in a document would
 * leave it to chance which one a reference means; a document that is drawn in under several URIs
 * brings its own again, and the first stays. */
static int add_resource(struct build *b, uint32_t i, yyjson_val *key, struct str uri,
                        struct dialect dialect)
{
    struct record *r = record_at(b, i);
    struct resource *res =
        build_room(b, b->resources, b->resource_count, &b->resource_cap, sizeof *res);
    uint32_t other;

    if (!res)
        return b->rc;
    b->resources = res;
    r->resource = b->resource_count;
    res[b->resource_count++] = (struct resource){uri, dialect};
    if (build_add_entry(b, uri, i, false, &other))
        return b->rc;
    if (other != NO_RECORD && other != i && key && record_at(b, other)->document == r->document)
        return build_fail(b, i, AT(key), "the identifier is used twice");
    return b->rc;
}

/* $id of either draft. In draft-07 one that is only a fragment is an anchor (its section 8.2.3),
 * and begins no resource; in 2020-12 that is $anchor's part, and only an empty fragment is allowed
 * (core, section 8.2.1). */
static int index_id(struct build *b, uint32_t i, yyjson_val *key, yyjson_val *id,
                    struct dialect dialect)
{
    struct str base = b->resources[record_at(b, i)->resource].uri, uri, fragment;

    if (!yyjson_is_str(id))
        return build_fail(b, i, AT(key), "must be a string");
    if (build_resolve_uri(b, i, key, base, json_string(id), &uri, &fragment))
        return b->rc;
    if (fragment.n && dialect.draft != DRAFT_7)
        return build_fail(b, i, AT(key), "must not have a fragment");
    if (fragment.n && fragment.n + 1 == yyjson_get_len(id))
        return add_anchor(b, i, key, fragment, false);
    if (add_resource(b, i, key, uri, dialect))
        return b->rc;
    return fragment.n ? add_anchor(b, i, key, fragment, false) : b->rc;
}

/* $schema and $id, which decide how the rest is read. The order matters: whether $id counts beside
 * $ref depends on the dialect. $schema belongs to the root of a resource (core, section 8.1.1);
 * elsewhere, one that changes nothing is let pass. */
static int index_identity(struct build *b, uint32_t i)
{
    struct record *r = record_at(b, i);
    const struct resource *outer = &b->resources[r->resource];
    struct dialect dialect = outer->dialect;
    yyjson_val *key = NULL, *val = build_member(r->val, "$schema", &key);
    bool root = r->val == r->document->root;

    if (val && !yyjson_is_str(val))
        return build_fail(b, i, AT(key), "must be a string");
    if (val && find_dialect(b, i, key, json_string(val), &dialect))
        return b->rc;
    /* Also of a document without $id. */
    if (root)
        b->resources[r->resource].dialect = dialect;
    /* Draft-07, section 8.3: what stands beside $ref is ignored, $id included. */
    if (dialect.draft == DRAFT_7 && yyjson_obj_get(r->val, "$ref")) {
        r->ref_only = true;
        return b->rc;
    }
    if (!root && !yyjson_obj_get(r->val, "$id") &&
        (dialect.draft != outer->dialect.draft ||
         dialect.vocabularies != outer->dialect.vocabularies))
        return build_fail(b, i, AT(key), "the dialect changes only together with $id");
    val = build_member(r->val, "$id", &key);
    return val ? index_id(b, i, key, val, dialect) : b->rc;
}

/* ---- documents ---- */

/* Notes whether anything beside a reference asserts: one that does nothing else is skipped when
 * compiled. */
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
    if (build_index_value(b, at, val, kw->shape))
        return b->rc;
    if (kw->id == KEYWORD_ANCHOR || kw->id == KEYWORD_DYNAMIC_ANCHOR)
        return add_anchor(b, at.record, at.keyword, json_string(val),
                          kw->id == KEYWORD_DYNAMIC_ANCHOR);
    return b->rc;
}

/* Identity first: the dialect decides what is a keyword, and the base URI what references mean.
 * Each member is paid for, so the walk ends with the budget, however large the document is. */
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

/* The array of records may move meanwhile, and grow: it is walked by index. */
int build_index_all(struct build *b)
{
    while (!b->rc && b->indexed < b->record_count)
        index_record(b, b->indexed++);
    return b->rc;
}

static size_t text_size(yyjson_val *v, yyjson_val *end)
{
    size_t sum = 0;

    for (; v < end; v++)
        sum += yyjson_is_str(v) || yyjson_is_raw(v) ? 3 + unsafe_yyjson_get_len(v) : 2;
    return sum;
}

/* A document is a resource by its URI, also when its $id says another: whoever refers to it by the
 * URI finds it. */
int build_add_document(struct build *b, yyjson_val *root, struct str uri, struct dialect dialect)
{
    static const struct place nowhere;
    struct document *d = build_tmp(b, sizeof *d);
    yyjson_val *end = unsafe_yyjson_get_next(root);
    uint32_t record;

    if (!d || build_spend(b, (uint64_t)(end - root) / 8))
        return b->rc;
    b->text += text_size(root, end);
    d->uri = uri;
    d->root = root;
    d->end = end;
    d->records = build_tmp(b, (size_t)(end - root) * sizeof *d->records);
    if (!d->records)
        return b->rc;
    d->next = b->documents;
    b->documents = d;
    record = build_add_record(b, d, root, 0, NO_RECORD, &nowhere);
    return record == NO_RECORD ? b->rc : add_resource(b, record, NULL, uri, dialect);
}
