/* References of a schema, and the documents that they draw in; the end of the first round of
 * build.h.
 *
 * A reference is a URI. Without its fragment it names a resource: one that is already indexed, a
 * published metaschema, or a document that the resolver has. The fragment is a JSON pointer or an
 * anchor. What the resolver has not is an error; nothing is ever fetched. Schemas come from peers
 * too, so the number of documents is bounded, and each step down a pointer is paid for. */
#include "schema/build.h"

#include "schema/uri.h"

#include <stdlib.h>
#include <string.h>

/* Ample for our own texts; parsing them cannot fail but for memory. */
#define METASCHEMA_DEPTH 32u
#define METASCHEMA_VALUES 1000u
#define FEW_TO_WALK 16u /* members; finding one of more is worth a list */

/* The texts have ' for ", to be readable in C. */
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

/* Finds the document of a reference and indexes it. Published metaschemas come first: no resolver
 * can replace them. A document without a $schema of its own has the dialect of whoever refers to
 * it. */
static int load(struct build *b, uint32_t record, yyjson_val *key, struct str uri)
{
    const char *text = metaschema_find(uri);
    yyjson_val *root = text ? parse_metaschema(b, text) : build_ask(b, uri);
    struct dialect dialect = b->resources[record_at(b, record)->resource].dialect;

    if (b->rc)
        return b->rc;
    if (!root)
        return build_fail_uri(b, record, key, "cannot resolve", uri);
    if (b->document_count++ == SCHEMA_MAX_DOCUMENTS)
        return build_fail(b, record, AT(key), "more than %u other documents are referred to",
                          SCHEMA_MAX_DOCUMENTS);
    return build_add_document(b, root, uri, dialect) ? b->rc : build_index_all(b);
}

/* The names of an object in order, or the items of an array: a schema may have as many pointers
 * into one large container as that has members, and each would walk it. */
static yyjson_val **list_of(struct build *b, struct document *d, yyjson_val *v)
{
    size_t n = unsafe_yyjson_get_len(v), values = (size_t)(d->end - d->root);
    yyjson_val *at = unsafe_yyjson_get_first(v), ***list;

    if (!d->lists &&
        (build_spend(b, values / 8) || !(d->lists = build_tmp(b, values * sizeof *d->lists))))
        return NULL;
    list = &d->lists[v - d->root];
    if (*list || build_spend(b, n) || !(*list = build_tmp(b, n * sizeof **list)))
        return *list;
    for (size_t i = 0; i < n; i++) {
        (*list)[i] = at;
        at = unsafe_yyjson_get_next(yyjson_is_obj(v) ? at + 1 : at);
    }
    if (yyjson_is_obj(v))
        qsort(*list, n, sizeof **list, build_order);
    return *list;
}

static yyjson_val *member_of(struct build *b, struct document *d, yyjson_val *obj, struct str name)
{
    yyjson_val wanted, *key = &wanted, **names, **found;

    if (unsafe_yyjson_get_len(obj) <= FEW_TO_WALK)
        return yyjson_obj_getn(obj, name.p, name.n);
    names = list_of(b, d, obj);
    unsafe_yyjson_set_strn(key, name.p, name.n);
    found =
        names ? bsearch(&key, names, unsafe_yyjson_get_len(obj), sizeof *names, build_order) : NULL;
    return found ? *found + 1 : NULL;
}

static yyjson_val *item_of(struct build *b, struct document *d, yyjson_val *arr, size_t index)
{
    yyjson_val **items;

    if (unsafe_yyjson_get_len(arr) <= FEW_TO_WALK)
        return yyjson_arr_get(arr, index);
    items = index < unsafe_yyjson_get_len(arr) ? list_of(b, d, arr) : NULL;
    return items ? items[index] : NULL;
}

/* The member or item of v that a token of a pointer names. */
static yyjson_val *follow(struct build *b, struct document *d, yyjson_val *v, struct str token)
{
    size_t index = 0;

    if (build_spend(b, 1))
        return NULL;
    if (yyjson_is_obj(v))
        return member_of(b, d, v, token);
    /* RFC 6901, section 4: an index has no leading zeros. Nine digits cannot overflow. */
    if (!yyjson_is_arr(v) || token.n == 0 || token.n > 9 || (token.n > 1 && token.p[0] == '0'))
        return NULL;
    for (size_t i = 0; i < token.n; i++) {
        if (token.p[i] < '0' || token.p[i] > '9')
            return NULL;
        index = index * 10 + (size_t)(token.p[i] - '0');
    }
    return item_of(b, d, v, index);
}

/* Unescapes one token of a pointer in place; the new length. In one pass, since "~01" is "~1" and
 * not "/" (RFC 6901, section 4). */
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

/* The record at a JSON pointer below the root of a resource; made if no keyword led there, as with
 * "#/examples/0". It belongs to the innermost resource on the way: pointers may cross an $id. The
 * fragment is decoded before it is split: "%2F" is a slash (RFC 6901, section 6). */
static uint32_t find_pointer(struct build *b, uint32_t root, struct str fragment)
{
    struct str pointer = build_dup(b, fragment), copy;
    struct document *d = record_at(b, root)->document;
    uint32_t resource = record_at(b, root)->resource, found = root;
    yyjson_val *v = record_at(b, root)->val;
    struct place place = {.pointer = pointer};
    char *s;

    if (b->rc)
        return NO_RECORD;
    place.pointer.n = uri_decode((char *)pointer.p, pointer.n);
    copy = build_dup(b, (struct str){pointer.p, place.pointer.n});
    s = (char *)copy.p;
    for (size_t at = 0; v && at < copy.n;) {
        size_t end = ++at;

        while (end < copy.n && s[end] != '/')
            end++;
        v = follow(b, d, v, (struct str){s + at, unescape(s + at, end - at)});
        at = end;
        found = v ? record_of(d, v) : NO_RECORD;
        if (found != NO_RECORD)
            resource = record_at(b, found)->resource;
    }
    if (!v || b->rc || found != NO_RECORD)
        return found;
    return build_add_record(b, d, v, resource, root, &place);
}

/* A $ref may name a dynamic anchor too, and takes it for a plain one; only a $dynamicRef asks
 * whether it is dynamic. */
static uint32_t find_anchor(struct build *b, uint32_t root, struct str anchor, bool *dynamic)
{
    struct str name = build_anchor(b, root, anchor);
    const struct name_entry *e = b->rc ? NULL : build_find(b, name);

    *dynamic = e && e->dynamic;
    return e ? e->record : NO_RECORD;
}

/* What the reference in a record's member leads to; anchor is its fragment when that is a dynamic
 * anchor's name. */
static uint32_t find_target(struct build *b, uint32_t record, const char *keyword, yyjson_val *ref,
                            struct str *anchor)
{
    const struct resource *from = &b->resources[record_at(b, record)->resource];
    yyjson_val *key = NULL;
    const struct name_entry *e;
    struct str uri, fragment;
    uint32_t found;
    bool dynamic = false;

    *anchor = STR_NONE;
    build_member(record_at(b, record)->val, keyword, &key);
    if (build_resolve_uri(b, record, key, from->uri, json_string(ref), &uri, &fragment))
        return NO_RECORD;
    e = build_find(b, uri);
    if (!e) {
        if (load(b, record, key, uri))
            return NO_RECORD;
        e = build_find(b, uri);
    }
    found = e->record;
    if (fragment.n && fragment.p[0] == '/')
        found = find_pointer(b, found, fragment);
    else if (fragment.n)
        found = find_anchor(b, found, fragment, &dynamic);
    if (found == NO_RECORD)
        build_fail_uri(b, record, key, "cannot resolve", json_string(ref));
    if (dynamic)
        *anchor = fragment;
    return found;
}

/* The places of all dynamic anchors of a name, to be filled when they are all known. One for each
 * name, however many references ask for it. */
static struct dynamic *find_dynamic(struct build *b, struct str name)
{
    struct dynamic *d = b->dynamics;

    for (; d; d = d->next) {
        if (build_spend(b, 1))
            return NULL;
        if (str_eq(d->name, name))
            return d;
    }
    d = build_keep(b, sizeof *d);
    if (!d)
        return NULL;
    d->name = build_dup(b, name);
    d->next = b->dynamics;
    b->dynamics = d;
    return d;
}

/* Finds what a record's references lead to. The record is asked for anew each time: resolving may
 * add some, and the array moves then. A $dynamicRef whose first target is no dynamic anchor is an
 * ordinary reference (core, section 8.2.3.2): it has no `dynamic`. */
static int resolve(struct build *b, uint32_t record)
{
    yyjson_val *ref = record_at(b, record)->ref, *dynamic_ref = record_at(b, record)->dynamic_ref;
    struct str anchor;
    uint32_t target;

    if (ref) {
        target = find_target(b, record, "$ref", ref, &anchor);
        record_at(b, record)->target = target;
    }
    if (dynamic_ref && !b->rc) {
        target = find_target(b, record, "$dynamicRef", dynamic_ref, &anchor);
        record_at(b, record)->dynamic_target = target;
        if (anchor.n)
            record_at(b, record)->dynamic = find_dynamic(b, anchor);
    }
    return b->rc;
}

/* Records are indexed before any reference is resolved: a reference may point at what comes later
 * in the text. The schema itself is the document of the empty URI, so "#" and relative references
 * work in it without an $id. */
int build_index(struct build *b, yyjson_val *root)
{
    const char *uri = b->options->default_dialect;
    struct dialect dialect = {DRAFT_2020, VOCABULARY_ALL};
    bool known;
    struct str fragment;

    if (uri && !dialect_find(uri_split(str_of(uri), &fragment), &dialect, &known))
        return build_fail(b, NO_RECORD, NULL, "the default dialect is not supported");
    if (build_add_document(b, root, (struct str){"", 0}, dialect))
        return b->rc;
    /* Resolving may draw in documents, and with them further references. */
    while (!build_index_all(b) && b->resolved < b->record_count)
        resolve(b, b->resolved++);
    return b->rc;
}
