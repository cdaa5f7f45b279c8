/* Most documents have neither $id nor $anchor, which one look at each value tells. Where there are
 * some, each object is asked for them once, on the way down, so that what lies in a resource finds
 * its URI.
 *
 * Not every member of that name is meant so: an example may have one. It then names something that
 * nobody refers to. */
#include "adapt/openapi_names.h"

#include "base/json.h"
#include "schema/uri.h"

#include <alknet/alknet.h>
#include <string.h>

struct anchor {
    struct map_node by_name;
    yyjson_val *val;
    char key[]; /* the resource's number and the name */
};

struct level {
    const yyjson_val *end;
    uint32_t resource;
};

struct walk {
    struct oas_names *n;
    struct arena *arena;
    size_t *budget;
};

static void *pay(struct walk *w, size_t size, int *rc)
{
    void *p = size <= *w->budget ? arena_alloc(w->arena, size) : NULL;

    *rc = p ? 0 : size <= *w->budget ? ALK_ENOMEM : ALK_ELIMIT;
    if (p)
        *w->budget -= size;
    return p;
}

/* ---- anchors ---- */

static size_t anchor_key(char *out, uint32_t resource, struct str name)
{
    memcpy(out, &resource, sizeof resource);
    memcpy(out + sizeof resource, name.p, name.n);
    return sizeof resource + name.n;
}

/* The first of a name counts. */
static int add_anchor(struct walk *w, uint32_t resource, struct str name, yyjson_val *val)
{
    struct anchor *a;
    int rc;

    if (name.n == 0 || name.n > OAS_URI_MAX)
        return 0;
    if (!(a = pay(w, sizeof *a + sizeof resource + name.n, &rc)))
        return rc;
    a->val = val;
    a->by_name.key = a->key;
    a->by_name.len = anchor_key(a->key, resource, name);
    if (map_find(&w->n->anchors, a->key, a->by_name.len))
        return 0;
    return map_add(&w->n->anchors, &a->by_name) ? ALK_ENOMEM : 0;
}

yyjson_val *oas_names_anchor(const struct oas_names *n, const struct oas_resource *in,
                             struct str anchor)
{
    char key[sizeof(uint32_t) + OAS_URI_MAX];
    struct anchor *a;

    if (anchor.n == 0 || anchor.n > OAS_URI_MAX)
        return NULL;
    a = (struct anchor *)map_find(&n->anchors, key,
                                  anchor_key(key, (uint32_t)(in - n->resources), anchor));
    return a ? a->val : NULL;
}

/* ---- resources ---- */

static int add_resource(struct walk *w, yyjson_val *obj, struct str id, uint32_t *in)
{
    struct oas_names *n = w->n;
    struct str fragment;
    char uri[OAS_URI_MAX];
    char *copy;
    size_t len;
    int rc;

    id = uri_split(id, &fragment);
    if (id.n == 0 || !uri_resolve(n->resources[*in].uri, id, uri, sizeof uri, &len))
        return 0;
    if (!(copy = pay(w, len ? len : 1, &rc)))
        return rc;
    memcpy(copy, uri, len);
    n->resources[n->count] = (struct oas_resource){
        .uri = {copy, len},
        .begin = (uint32_t)(obj - n->root),
        .end = (uint32_t)(unsafe_yyjson_get_next(obj) - n->root),
        .around = *in,
    };
    *in = n->count++;
    return 0;
}

/* *in becomes the object's own resource, if it is one. */
static int name_object(struct walk *w, yyjson_val *obj, uint32_t *in)
{
    struct str id = STR_NONE, anchors[2] = {STR_NONE, STR_NONE};
    size_t i, max;
    yyjson_val *key, *val;
    int rc = 0;

    yyjson_obj_foreach(obj, i, max, key, val)
    {
        if (!yyjson_is_str(val) || *yyjson_get_str(key) != '$')
            continue;
        if (yyjson_equals_str(key, "$id"))
            id = json_string(val);
        else if (yyjson_equals_str(key, "$anchor"))
            anchors[0] = json_string(val);
        else if (yyjson_equals_str(key, "$dynamicAnchor"))
            anchors[1] = json_string(val);
    }
    /* Until 2019-09 that was how an anchor was written. */
    if (id.n && *id.p == '#')
        rc = add_anchor(w, *in, (struct str){id.p + 1, id.n - 1}, obj);
    else if (id.n)
        rc = add_resource(w, obj, id, in);
    for (i = 0; i < 2 && !rc; i++)
        rc = add_anchor(w, *in, anchors[i], obj);
    return rc;
}

static int name_all(struct walk *w, size_t values)
{
    struct level levels[JSON_MAX_DEPTH];
    yyjson_val *v = w->n->root, *end = v + values;
    uint32_t depth = 0, in;
    int rc = 0;

    for (; v < end && !rc; v++) {
        while (depth && v == levels[depth - 1].end)
            depth--;
        if (!unsafe_yyjson_is_ctn(v))
            continue;
        in = depth ? levels[depth - 1].resource : 0;
        if (unsafe_yyjson_is_obj(v))
            rc = name_object(w, v, &in);
        levels[depth++] = (struct level){unsafe_yyjson_get_next(v), in};
    }
    return rc;
}

/* How many $id there may be at most; *any: whether there is anything to name. The length comes first,
 * since it lies in the value itself. */
static uint32_t count_ids(yyjson_val *root, size_t values, bool *any)
{
    uint32_t ids = 0, anchors = 0;

    for (yyjson_val *v = root; v < root + values; v++) {
        if (!unsafe_yyjson_is_str(v))
            continue;
        switch (unsafe_yyjson_get_len(v)) {
        case sizeof "$id" - 1:
            ids += unsafe_yyjson_equals_str(v, "$id");
            break;
        case sizeof "$anchor" - 1:
            anchors += unsafe_yyjson_equals_str(v, "$anchor");
            break;
        case sizeof "$dynamicAnchor" - 1:
            anchors += unsafe_yyjson_equals_str(v, "$dynamicAnchor");
            break;
        default:
            break;
        }
    }
    *any = ids + anchors > 0;
    return ids;
}

int oas_names_init(struct oas_names *n, struct arena *arena, const uint64_t *seed, yyjson_val *root,
                   size_t values, struct str uri, size_t *budget)
{
    struct walk w = {n, arena, budget};
    bool any;
    uint32_t ids = count_ids(root, values, &any);
    int rc;

    memset(n, 0, sizeof *n);
    n->root = root;
    map_init(&n->anchors, arena->mem, seed);
    n->resources = pay(&w, (ids + 1) * sizeof *n->resources, &rc);
    if (rc)
        return rc;
    n->resources[n->count++] = (struct oas_resource){.uri = uri, .end = (uint32_t)values};
    return any ? name_all(&w, values) : 0;
}

void oas_names_fini(struct oas_names *n)
{
    struct map_node *node;

    while ((node = map_any(&n->anchors)))
        map_del(&n->anchors, node);
    map_fini(&n->anchors);
}

/* The last that begins before it, or one around that. */
const struct oas_resource *oas_names_around(const struct oas_names *n, const yyjson_val *val)
{
    uint32_t at = (uint32_t)(val - n->root), low = 0, high = n->count, middle;

    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if (n->resources[middle].begin <= at)
            low = middle;
        else
            high = middle;
    }
    while (at >= n->resources[low].end)
        low = n->resources[low].around;
    return &n->resources[low];
}
