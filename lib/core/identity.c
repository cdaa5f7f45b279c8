/* Implements identity.h. An identity is a block with an arena of its own: arrays and strings lie
 * in the arena, and all of it goes at once. Nothing in it changes after it is made, so any thread
 * may read it that holds a reference; only the count is written, with atomics.
 *
 * It has no dispatcher's allocator: identities are made by whichever thread loads a configuration,
 * and freed by whichever drops the last reference. */
#include "core/identity.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

struct identity_block {
    struct alk_identity pub;
    struct mem mem;
    struct arena arena;
};

/* A null is taken for absent, as programs of many languages write one. *err is static text: what
 * is wrong, or that memory ran out, and callers tell the two apart. */
static int copy_strings(struct arena *a, yyjson_val *arr, const char *what, const struct str **out,
                        size_t *count, const char **err)
{
    size_t i, n;
    struct str *s;
    yyjson_val *v;

    *out = NULL;
    *count = 0;
    if (!arr || yyjson_is_null(arr))
        return 0;
    *err = what;
    if (!yyjson_is_arr(arr))
        return -1;
    s = arena_alloc(a, (yyjson_arr_size(arr) + 1) * sizeof *s);
    *out = s;
    yyjson_arr_foreach(arr, i, n, v)
    {
        if (!yyjson_is_str(v))
            return -1;
        if (!s || !(s[i].p = arena_dup(a, yyjson_get_str(v), yyjson_get_len(v)))) {
            s = NULL;
            break;
        }
        s[i].n = yyjson_get_len(v);
    }
    *err = "out of memory";
    *count = yyjson_arr_size(arr);
    return s ? 0 : -1;
}

static int copy_resources(struct identity_block *b, yyjson_val *obj, const char **err)
{
    static const char what[] = "resources: must be an object of arrays of strings";
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    struct resource_list *r;
    yyjson_val *key;

    if (!obj || yyjson_is_null(obj))
        return 0;
    if (!yyjson_is_obj(obj)) {
        *err = what;
        return -1;
    }
    r = arena_alloc(&b->arena, (yyjson_obj_size(obj) + 1) * sizeof *r);
    b->pub.resources = r;
    *err = "out of memory";
    while (r && (key = yyjson_obj_iter_next(&it))) {
        yyjson_val *val = yyjson_obj_iter_get_val(key);

        if (!yyjson_is_arr(val)) {
            *err = what;
            return -1;
        }
        if (copy_strings(&b->arena, val, what, &r->ids, &r->count, err))
            return -1;
        r->type.n = yyjson_get_len(key);
        r->type.p = arena_dup(&b->arena, yyjson_get_str(key), r->type.n);
        if (!r->type.p)
            return -1;
        /* Counted when it is whole. */
        b->pub.resource_count++;
        r++;
    }
    return r ? 0 : -1;
}

static int put_list(struct buf *out, const struct str *s, size_t n)
{
    int rc = buf_puts(out, "[");

    for (size_t i = 0; i < n; i++)
        rc |= (i ? buf_puts(out, ",") : 0) | buf_json_string(out, s[i].p, s[i].n);
    return rc | buf_puts(out, "]");
}

/* Written once, since it goes into each forwarded request and into records. */
static int make_json(struct identity_block *b)
{
    const struct alk_identity *id = &b->pub;
    struct buf out;
    int rc;

    buf_init(&out, &b->mem);
    rc = buf_puts(&out, "{\"id\":") | buf_json_string(&out, id->id.p, id->id.n);
    rc |= buf_puts(&out, ",\"scopes\":") | put_list(&out, id->scopes, id->scope_count);
    rc |= buf_puts(&out, ",\"resources\":{");
    for (size_t i = 0; i < id->resource_count; i++) {
        rc |= i ? buf_puts(&out, ",") : 0;
        rc |= buf_json_string(&out, id->resources[i].type.p, id->resources[i].type.n);
        rc |= buf_puts(&out, ":") | put_list(&out, id->resources[i].ids, id->resources[i].count);
    }
    rc |= buf_puts(&out, "}}");
    if (!rc) {
        b->pub.json.n = out.len;
        b->pub.json.p = arena_dup(&b->arena, buf_at(&out), out.len);
        rc = b->pub.json.p ? 0 : -1;
    }
    buf_fini(&out);
    return rc;
}

/* By length, then by bytes. star: of the text p with one behind it. */
static int scope_compare(struct str held, const char *p, size_t n, bool star)
{
    size_t len = n + star;
    int c;

    if (held.n != len)
        return held.n < len ? -1 : 1;
    c = memcmp(held.p, p, n);
    return c || !star ? c : (unsigned char)held.p[n] - '*';
}

static int scope_order(const void *a, const void *b)
{
    const struct str *second = b;

    return scope_compare(*(const struct str *)a, second->p, second->n, false);
}

/* The array is the identity's own copy, so it may be changed in place. */
static void sort_scopes(struct alk_identity *id)
{
    if (id->scope_count > 1)
        qsort((struct str *)id->scopes, id->scope_count, sizeof *id->scopes, scope_order);
}

static bool holds(const alk_identity *id, const char *p, size_t n, bool star)
{
    size_t from = 0, to = id->scope_count;

    while (from < to) {
        size_t at = from + (to - from) / 2;
        int c = scope_compare(id->scopes[at], p, n, star);

        if (c == 0)
            return true;
        if (c < 0)
            from = at + 1;
        else
            to = at;
    }
    return false;
}

/* The arena first: its allocator is a part of the block. */
static void destroy(struct identity_block *b)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    arena_fini(&b->arena);
    mem_free(&plain, b);
}

/* Looked at first: what a peer says of whom it calls for costs nothing then, however long it is. */
static bool too_many(yyjson_val *scopes, yyjson_val *resources)
{
    size_t sum = yyjson_arr_size(scopes) + yyjson_obj_size(resources);
    yyjson_obj_iter it = yyjson_obj_iter_with(resources);
    yyjson_val *key;

    if (sum > IDENTITY_MAX_ENTRIES)
        return true;
    while ((key = yyjson_obj_iter_next(&it)))
        sum += yyjson_arr_size(yyjson_obj_iter_get_val(key));
    return sum > IDENTITY_MAX_ENTRIES;
}

/* What an id may look like is up to whoever calls: a peer's, a key's and a handler's have rules of
 * their own. */
alk_identity *identity_make(const char *id, size_t id_len, yyjson_val *scopes,
                            yyjson_val *resources, const char **err)
{
    struct mem plain;
    struct identity_block *b;

    *err = "more than 4,096 scopes and resources";
    if (too_many(scopes, resources))
        return NULL;
    mem_init(&plain, NULL, NULL);
    *err = "out of memory";
    b = mem_zalloc(&plain, sizeof *b);
    if (!b)
        return NULL;
    mem_init(&b->mem, NULL, NULL);
    arena_init(&b->arena, &b->mem, 512);
    b->pub.refs = 1;
    b->pub.id.n = id_len;
    b->pub.id.p = arena_dup(&b->arena, id, id_len);
    if (!b->pub.id.p ||
        copy_strings(&b->arena, scopes, "scopes: must be an array of strings", &b->pub.scopes,
                     &b->pub.scope_count, err) ||
        copy_resources(b, resources, err) || make_json(b)) {
        destroy(b);
        return NULL;
    }
    sort_scopes(&b->pub);
    return &b->pub;
}

/* A member that is not known is refused: a misspelled "scopes" would be an identity without
 * rights, and nobody would see why. */
alk_identity *alk_identity_new(const char *json, size_t len)
{
    static const struct json_limits limits = {16, 100000};
    static const char *const known[] = {"id", "scopes", "resources", NULL};
    struct mem mem;
    struct arena arena;
    alk_identity *id = NULL;
    yyjson_doc *doc = NULL;
    yyjson_alc alc;
    const char *err, *name;
    size_t n;
    char *copy;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 1024);
    alc = arena_alc(&arena);
    copy = arena_alloc(&arena, len + JSON_PADDING);
    if (copy) {
        memcpy(copy, json, len);
        if (!json_parse(copy, len, &limits, &alc, &doc, NULL)) {
            yyjson_val *root = yyjson_doc_get_root(doc);

            name = json_str(root, "id", &n);
            if (name && n && !json_unknown_member(root, known))
                id = identity_make(name, n, yyjson_obj_get(root, "scopes"),
                                   yyjson_obj_get(root, "resources"), &err);
        }
    }
    arena_fini(&arena);
    return id;
}

/* Relaxed: who takes another reference has one already. The last one is given up with acquire and
 * release, so that whatever others have read is over before the memory goes. */
alk_identity *alk_identity_ref(const alk_identity *id)
{
    alk_identity *mutable_id = (alk_identity *)id;

    __atomic_fetch_add(&mutable_id->refs, 1, __ATOMIC_RELAXED);
    return mutable_id;
}

void alk_identity_unref(const alk_identity *id)
{
    alk_identity *mutable_id = (alk_identity *)id;

    if (id && __atomic_fetch_sub(&mutable_id->refs, 1, __ATOMIC_ACQ_REL) == 1)
        destroy((struct identity_block *)mutable_id);
}

const char *alk_identity_id(const alk_identity *id)
{
    return id->id.p;
}

const char *alk_identity_json(const alk_identity *id, size_t *len)
{
    *len = id->json.n;
    return id->json.p;
}

int alk_identity_has_scope(const alk_identity *id, const char *scope, size_t len)
{
    const char *colon = memchr(scope, ':', len);
    size_t space = colon ? (size_t)(colon - scope) + 1 : 0;

    /* "ns:*" stands for every "ns:…", and not for "ns:" itself. The star counts behind the first
     * colon alone: "a:b:*" is the name of a scope like any other. */
    return holds(id, scope, len, false) || (space && space < len && holds(id, scope, space, true));
}

const struct resource_list *identity_resources(const alk_identity *who, const char *type,
                                               size_t len)
{
    for (size_t i = 0; i < who->resource_count; i++) {
        if (who->resources[i].type.n == len && !memcmp(who->resources[i].type.p, type, len))
            return &who->resources[i];
    }
    return NULL;
}

bool identity_owns(const alk_identity *who, const char *type, size_t type_len, const char *id,
                   size_t id_len)
{
    const struct resource_list *r = identity_resources(who, type, type_len);

    for (size_t i = 0; r && i < r->count; i++) {
        if (r->ids[i].n == id_len && !memcmp(r->ids[i].p, id, id_len))
            return true;
    }
    return false;
}
