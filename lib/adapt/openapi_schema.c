/* Implements openapi_schema.h: the writing of one schema. Member by member it becomes text; what it
 * refers to becomes an entry (openapi_closure.c). What stands within each other in the document is
 * recursion here, at most OAS_DEPTH deep. */
#include "adapt/openapi_schema_int.h"

#include "base/json.h"

#include <alknet/alknet.h>
#include <stdio.h>

/* Alternatives times entries of a discriminator's mapping; above, the mapping is not looked at. */
#define DISCRIMINATOR_STEPS 100000u
/* Where properties that are only read are looked for: objects that a schema is all of, and
 * references that a property leads over. */
#define FLAG_OBJECTS 32u
#define FLAG_HOPS 4u

/* One text that is being written: those of an operation into a closure, those of entries into
 * refs. */
struct writer {
    struct oas_schemas *s;
    struct buf *out;
    int direction;
    struct oas_closure *refs;
    int rc;
};

/* ---- what it is for a member ----------------------------------------------------------------- */

enum { COPY, DROP, SCHEMA, SCHEMAS, LIST, ITEMS, REF, REQUIRED, ENUM, TYPE, ALTERNATIVES, BOUND };

static int kind_of(struct str key)
{
    static const struct {
        const char *key;
        uint8_t kind;
    } kinds[] = {
        {"$ref", REF},
        {"type", TYPE},
        {"properties", SCHEMAS},
        {"required", REQUIRED},
        {"items", ITEMS},
        {"enum", ENUM},
        {"additionalProperties", SCHEMA},
        {"allOf", LIST},
        {"anyOf", ALTERNATIVES},
        {"oneOf", ALTERNATIVES},
        {"not", SCHEMA},
        {"minimum", BOUND},
        {"maximum", BOUND},
        {"exclusiveMinimum", BOUND},
        {"exclusiveMaximum", BOUND},
        {"patternProperties", SCHEMAS},
        {"propertyNames", SCHEMA},
        {"dependentSchemas", SCHEMAS},
        {"prefixItems", LIST},
        {"contains", SCHEMA},
        {"if", SCHEMA},
        {"then", SCHEMA},
        {"else", SCHEMA},
        {"unevaluatedItems", SCHEMA},
        {"unevaluatedProperties", SCHEMA},
        {"contentSchema", SCHEMA},
        {"nullable", DROP},
        {"discriminator", DROP},
        {"example", DROP},
        {"examples", DROP},
        {"xml", DROP},
        {"externalDocs", DROP},
        {"$schema", DROP},
        {"$id", DROP},
        {"$anchor", DROP},
        {"$dynamicAnchor", DROP},
        {"$dynamicRef", DROP},
        {"$recursiveAnchor", DROP},
        {"$recursiveRef", DROP},
        {"$vocabulary", DROP},
        {"$comment", DROP},
        {"$defs", DROP},
        {"definitions", DROP},
    };

    if (str_starts(key, "x-"))
        return DROP;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (str_is(key, kinds[i].key))
            return kinds[i].kind;
    }
    return COPY;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put(struct writer *w, const char *text)
{
    if (buf_puts(w->out, text))
        w->rc = ALK_ENOMEM;
}

static void put_string(struct writer *w, struct str s)
{
    if (buf_json_string(w->out, s.p, s.n))
        w->rc = ALK_ENOMEM;
}

static void put_value(struct writer *w, yyjson_val *v)
{
    yyjson_alc alc = arena_alc(&w->s->scratch);
    size_t len;
    char *text;

    if (yyjson_is_str(v)) {
        put_string(w, json_string(v));
        return;
    }
    text = yyjson_val_write_opts(v, 0, &alc, &len, NULL);
    if (!text || buf_append(w->out, text, len))
        w->rc = ALK_ENOMEM;
    arena_reset(&w->s->scratch);
}

/* "name": behind the first member of an object with a comma. */
static void put_key(struct writer *w, struct str key, bool *first)
{
    if (!*first)
        put(w, ",");
    *first = false;
    put_string(w, key);
    put(w, ":");
}

static void complain(struct writer *w, const struct oas_place *at, const char *why)
{
    if (*w->refs->why)
        return;
    snprintf(w->refs->why, sizeof w->refs->why, "%s", why);
    if (!oas_where(w->s->docs, at, w->refs->where, sizeof w->refs->where))
        w->rc = ALK_ENOMEM;
}

/* Whether there is to be more of it. After a complaint it is no use. */
static bool goes_on(struct writer *w, const struct oas_place *at)
{
    char why[64];

    if (w->rc || *w->refs->why)
        return false;
    if (!oas_pay(w->s, OAS_LOOK)) {
        complain(w, at, OAS_TOO_MUCH);
    } else if (w->out->len > OAS_SCHEMA_BYTES) {
        snprintf(why, sizeof why, "it becomes larger than %u bytes", OAS_SCHEMA_BYTES);
        complain(w, at, why);
    }
    return !w->rc && !*w->refs->why;
}

static struct oas_place place(const struct oas_place *of, yyjson_val *v)
{
    return (struct oas_place){of->doc, v};
}

/* ---- references ------------------------------------------------------------------------------ */

/* Where a reference leads. A chain of references that are nothing else has to have an end: it would
 * be a schema that says nothing but "as itself". */
static bool follow(struct writer *w, const struct oas_place *at, struct str ref,
                   struct oas_place *to)
{
    struct oas_place end;
    char why[OAS_WHY];
    int rc = oas_resolve(w->s->docs, at, ref, to, why, sizeof why);

    if (!rc && yyjson_get_str(yyjson_obj_get(to->val, "$ref"))) {
        rc = oas_deref(w->s->docs, to, &end, why, sizeof why);
        oas_pay(w->s, OAS_HOPS * OAS_LOOK);
    }
    if (!rc && w->s->old && yyjson_get_str(yyjson_obj_get(to->val, "$ref")))
        *to = end;
    if (rc == ALK_ENOMEM)
        w->rc = rc;
    else if (rc)
        complain(w, at, why);
    return !rc;
}

static void put_ref(struct writer *w, const struct oas_place *at, struct str ref)
{
    struct oas_place to;
    struct oas_schema *e;

    if (!follow(w, at, ref, &to)) {
        put(w, "\"#\"");
        return;
    }
    e = oas_schema_entry(w->s, w->direction, &to, ref);
    if (!e || !oas_closure_add(w->refs, e)) {
        w->rc = ALK_ENOMEM;
        return;
    }
    put(w, "\"#/$defs/");
    if (buf_append(w->out, e->by_name.key, e->by_name.len))
        w->rc = ALK_ENOMEM;
    put(w, "\"");
}

/* ---- parts of a schema ----------------------------------------------------------------------- */

static void put_schema(struct writer *w, const struct oas_place *at, struct str description,
                       bool deprecated);

static void put_schemas(struct writer *w, const struct oas_place *at)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(at->val);
    yyjson_val *key;
    bool first = true;

    put(w, "{");
    while (goes_on(w, at) && (key = yyjson_obj_iter_next(&it))) {
        struct oas_place v = place(at, yyjson_obj_iter_get_val(key));

        put_key(w, json_string(key), &first);
        put_schema(w, &v, STR_NONE, false);
    }
    put(w, "}");
}

static void put_list(struct writer *w, const struct oas_place *at)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(at->val);
    yyjson_val *item;
    bool first = true;

    put(w, "[");
    while (goes_on(w, at) && (item = yyjson_arr_iter_next(&it))) {
        struct oas_place v = place(at, item);

        if (!first)
            put(w, ",");
        first = false;
        put_schema(w, &v, STR_NONE, false);
    }
    put(w, "]");
}

/* An entry of a discriminator's mapping. */
struct target {
    struct str value, to;
    yyjson_val *val; /* where it leads; NULL: it is no reference, or leads nowhere */
};

/* Each is resolved once, however many alternatives there are. false: out of memory. */
static bool read_mapping(struct writer *w, const struct oas_place *at, yyjson_val *mapping,
                         struct target *targets)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(mapping);
    yyjson_val *key;

    for (struct target *t = targets; goes_on(w, at) && (key = yyjson_obj_iter_next(&it)); t++) {
        struct oas_place to;
        char why[OAS_WHY];

        t->value = json_string(key);
        t->to = json_string(yyjson_obj_iter_get_val(key));
        if (t->to.p && memchr(t->to.p, '#', t->to.n) &&
            !oas_resolve(w->s->docs, at, t->to, &to, why, sizeof why))
            t->val = to.val;
    }
    return !w->rc;
}

/* Which of the discriminator's values stand for an alternative: those of the mapping that lead to
 * it, else the last segment of its reference. */
static void put_values(struct writer *w, const struct oas_place *at, const struct target *targets,
                       size_t count, struct str ref)
{
    struct oas_place to;
    char why[OAS_WHY];
    struct str last = ref;
    bool first = true;
    bool known = !oas_resolve(w->s->docs, at, ref, &to, why, sizeof why);

    for (size_t i = 0; i < ref.n; i++) {
        if (ref.p[i] == '/' || ref.p[i] == '#')
            last = (struct str){ref.p + i + 1, ref.n - i - 1};
    }
    put(w, "[");
    for (size_t i = 0; i < count && goes_on(w, at); i++) {
        const struct target *t = &targets[i];

        if (!t->to.p || !((known && t->val == to.val) || str_eq(t->to, ref) || str_eq(t->to, last)))
            continue;
        if (!first)
            put(w, ",");
        first = false;
        put_string(w, t->value);
    }
    if (first)
        put_string(w, last);
    put(w, "]");
}

/* One of a union: with a reference, it is for objects with one of its values alone. */
static void put_alternative(struct writer *w, const struct oas_place *at, struct str property,
                            const struct target *targets, size_t count)
{
    struct str ref = json_string(yyjson_obj_get(at->val, "$ref"));

    if (ref.p) {
        put(w, "{\"required\":[");
        put_string(w, property);
        put(w, "],\"properties\":{");
        put_string(w, property);
        put(w, ":{\"enum\":");
        put_values(w, at, targets, count, ref);
        put(w, "}},\"allOf\":[");
    }
    put_schema(w, at, STR_NONE, false);
    put(w, ref.p ? "]}" : "");
}

/* The alternative whose value the discriminator's property has, and no other: two that fit the same
 * object would make oneOf refuse it. */
static void put_alternatives(struct writer *w, const struct oas_place *at,
                             yyjson_val *discriminator)
{
    struct str property = json_string(yyjson_obj_get(discriminator, "propertyName"));
    yyjson_val *mapping = yyjson_obj_get(discriminator, "mapping"), *item;
    yyjson_arr_iter it = yyjson_arr_iter_with(at->val);
    size_t count = yyjson_obj_size(mapping);
    struct target *targets;
    bool first = true;

    if (!property.p || (yyjson_arr_size(at->val) + 1) * (count + 1) > DISCRIMINATOR_STEPS) {
        put_list(w, at);
        return;
    }
    targets = mem_zalloc(w->s->mem, (count + 1) * sizeof *targets);
    if (!targets || !read_mapping(w, at, mapping, targets))
        w->rc = ALK_ENOMEM;
    put(w, "[");
    while (goes_on(w, at) && (item = yyjson_arr_iter_next(&it))) {
        struct oas_place v = place(at, item);

        put(w, first ? "" : ",");
        first = false;
        put_alternative(w, &v, property, targets, count);
    }
    put(w, "]");
    mem_free(w->s->mem, targets);
}

/* ---- properties that the other direction alone has ------------------------------------------- */

static bool member(struct writer *w, const struct oas_place *of, const char *name,
                   struct oas_place *out)
{
    out->doc = of->doc;
    if (oas_lookup_member(&of->doc->lookup, of->val, str_of(name), &out->val))
        w->rc = ALK_ENOMEM;
    return !w->rc && out->val;
}

/* The properties of a schema, and of what it is all of. */
struct properties {
    struct oas_place all[FLAG_OBJECTS];
    size_t count;
};

static void collect_properties(struct writer *w, const struct oas_place *schema,
                               struct properties *out)
{
    struct oas_place objects[FLAG_OBJECTS] = {*schema}, all;
    size_t count = 1, k;
    char why[OAS_WHY];
    yyjson_val *item;

    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        yyjson_arr_iter it;

        out->count += member(w, &objects[i], "properties", &out->all[out->count]);
        if (!member(w, &objects[i], "allOf", &all))
            continue;
        it = yyjson_arr_iter_with(all.val);
        while (count < FLAG_OBJECTS && goes_on(w, schema) && (item = yyjson_arr_iter_next(&it))) {
            struct oas_place v = place(&all, item);

            if (oas_deref(w->s->docs, &v, &objects[count], why, sizeof why))
                continue;
            for (k = 0; objects[k].val != objects[count].val; k++)
                ;
            count += k == count;
        }
    }
}

static bool flagged(struct writer *w, struct oas_place at, const char *flag)
{
    struct oas_place v;
    char why[OAS_WHY];

    for (unsigned i = 0; i < FLAG_HOPS && goes_on(w, &at); i++) {
        if (member(w, &at, flag, &v) && yyjson_is_true(v.val))
            return true;
        if (!member(w, &at, "$ref", &v) || !yyjson_is_str(v.val) ||
            oas_resolve(w->s->docs, &at, json_string(v.val), &at, why, sizeof why))
            return false;
    }
    return false;
}

static bool is_of_other(struct writer *w, const struct properties *p, struct str name)
{
    const char *flag = w->direction == OAS_REQUEST ? "readOnly" : "writeOnly";

    for (size_t i = 0; i < p->count && goes_on(w, &p->all[i]); i++) {
        struct oas_place v = place(&p->all[i], NULL);

        if (oas_lookup_member(&v.doc->lookup, p->all[i].val, name, &v.val))
            w->rc = ALK_ENOMEM;
        else if (v.val && flagged(w, v, flag))
            return true;
    }
    return false;
}

/* Without those. */
static void put_required(struct writer *w, const struct oas_place *schema, yyjson_val *required)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(required);
    struct properties properties;
    yyjson_val *item;
    bool first = true;

    collect_properties(w, schema, &properties);
    put(w, "[");
    while (goes_on(w, schema) && (item = yyjson_arr_iter_next(&it))) {
        struct str name = json_string(item);

        if (!name.p || is_of_other(w, &properties, name))
            continue;
        if (!first)
            put(w, ",");
        first = false;
        put_string(w, name);
    }
    put(w, "]");
}

/* Of a 3.0 schema, a boolean beside the bound that it makes an exclusive one. */
static bool exclusive(yyjson_val *schema, const char *bound)
{
    return yyjson_is_true(yyjson_obj_get(
        schema, *bound == 'm' && bound[1] == 'i' ? "exclusiveMinimum" : "exclusiveMaximum"));
}

static void put_bound(struct writer *w, yyjson_val *schema, struct str key, yyjson_val *v,
                      bool *first)
{
    if (!json_is_number(v))
        return;
    if (str_is(key, "minimum") || str_is(key, "maximum")) {
        if (exclusive(schema, key.p))
            key = str_of(key.p[1] == 'i' ? "exclusiveMinimum" : "exclusiveMaximum");
    }
    put_key(w, key, first);
    put_value(w, v);
}

static void put_enum(struct writer *w, const struct oas_place *at, bool nullable)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(at->val);
    yyjson_val *item;
    bool first = true;

    put(w, "[");
    while (goes_on(w, at) && (item = yyjson_arr_iter_next(&it))) {
        if (!first)
            put(w, ",");
        first = false;
        nullable &= !yyjson_is_null(item);
        put_value(w, item);
    }
    if (nullable)
        put(w, first ? "null" : ",null");
    put(w, "]");
}

static void put_type(struct writer *w, yyjson_val *v, bool nullable)
{
    if (!nullable || !yyjson_is_str(v)) {
        put_value(w, v);
        return;
    }
    put(w, "[");
    put_value(w, v);
    put(w, ",\"null\"]");
}

/* One member of a schema; false: it is none of the result. */
static void put_member(struct writer *w, const struct oas_place *schema, struct str key,
                       yyjson_val *v, bool nullable, bool *first)
{
    struct oas_place at = place(schema, v);
    int kind = kind_of(key);

    if (kind == DROP)
        return;
    if (kind == BOUND) {
        put_bound(w, schema->val, key, v, first);
        return;
    }
    /* draft-07's array of items became prefixItems. */
    if (kind == ITEMS && yyjson_is_arr(v))
        key = str_of("prefixItems");
    put_key(w, key, first);
    switch (kind) {
    case REF:
        put_ref(w, schema, json_string(v));
        break;
    case SCHEMAS:
        put_schemas(w, &at);
        break;
    case SCHEMA:
        put_schema(w, &at, STR_NONE, false);
        break;
    case ITEMS:
        yyjson_is_arr(v) ? put_list(w, &at) : put_schema(w, &at, STR_NONE, false);
        break;
    case LIST:
        put_list(w, &at);
        break;
    case ALTERNATIVES:
        put_alternatives(w, &at, yyjson_obj_get(schema->val, "discriminator"));
        break;
    case REQUIRED:
        put_required(w, schema, v);
        break;
    case ENUM:
        put_enum(w, &at, nullable);
        break;
    case TYPE:
        put_type(w, v, nullable);
        break;
    default:
        put_value(w, v);
    }
}

/* A list of alternatives, or a reference beside it, would refuse the null that `nullable` allows. */
static bool combines(yyjson_val *schema)
{
    return yyjson_obj_get(schema, "allOf") || yyjson_obj_get(schema, "anyOf") ||
           yyjson_obj_get(schema, "oneOf") || yyjson_obj_get(schema, "$ref");
}

static void put_members(struct writer *w, const struct oas_place *at, struct str description,
                        bool deprecated)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(at->val);
    bool nullable = yyjson_is_true(yyjson_obj_get(at->val, "nullable")), first = true;
    bool wrapped = nullable && combines(at->val);
    struct str ref = json_string(yyjson_obj_get(at->val, "$ref"));
    yyjson_val *key;

    if (w->s->old && ref.p) {
        put_key(w, str_of("$ref"), &first);
        put_ref(w, at, ref);
    } else {
        if (wrapped) {
            put(w, "\"anyOf\":[{\"type\":\"null\"},{");
            nullable = false;
        }
        while (goes_on(w, at) && (key = yyjson_obj_iter_next(&it))) {
            struct str k = json_string(key);

            /* A member of this name that is no string is no reference. */
            if (!str_is(k, "$ref") || ref.p)
                put_member(w, at, k, yyjson_obj_iter_get_val(key), nullable, &first);
        }
        if (wrapped) {
            put(w, "}]");
            first = false;
        }
    }
    if (description.p &&
        (wrapped || (w->s->old && ref.p) || !yyjson_obj_get(at->val, "description"))) {
        put_key(w, str_of("description"), &first);
        put_string(w, description);
    }
    if (deprecated && (wrapped || (w->s->old && ref.p) || !yyjson_obj_get(at->val, "deprecated")))
        put(w, first ? "\"deprecated\":true" : ",\"deprecated\":true");
}

static void put_schema(struct writer *w, const struct oas_place *at, struct str description,
                       bool deprecated)
{
    if (!goes_on(w, at))
        return;
    if (yyjson_is_bool(at->val)) {
        put(w, yyjson_is_true(at->val) ? "true" : "false");
        return;
    }
    /* Anything else is no schema; in YAML an empty one is null. */
    put(w, "{");
    if (yyjson_is_obj(at->val))
        put_members(w, at, description, deprecated);
    put(w, "}");
}

/* ---- the whole ------------------------------------------------------------------------------- */

int oas_schema_write(struct oas_closure *c, const struct oas_place *schema, struct str description,
                     bool deprecated, struct buf *out)
{
    struct writer w = {.s = c->s, .out = out, .direction = c->direction, .refs = c};
    size_t start = out->len;

    put_schema(&w, schema, description, deprecated);
    oas_pay(c->s, out->len - start);
    return w.rc;
}
