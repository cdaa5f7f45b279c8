/* Implements openapi_schema.h: what schemas refer to, and what of that an operation reaches.
 *
 * A schema that is referred to is an entry, found by the value that the reference leads to, with a
 * name that is unique in its direction. It is translated when a closure reaches it for the first
 * time, from a list and not by recursion, since a document chooses how long its chains of references
 * are. */
#include "adapt/openapi_schema_int.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

#define DEF_NAME_MAX 64u

bool oas_closure_add(struct oas_closure *c, struct oas_schema *e)
{
    if (e->closure[c->of_entry] == c->number)
        return true;
    if (c->count == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct oas_schema **list =
            mem_realloc(c->s->mem, c->list, cap * sizeof(struct oas_schema *));

        if (!list)
            return false;
        c->list = list;
        c->cap = cap;
    }
    e->closure[c->of_entry] = c->number;
    c->list[c->count++] = e;
    return true;
}

/* The last segment of the reference, as far as it can be told by a reader; made unique by a
 * number. */
static bool name_entry(struct oas_schemas *s, int direction, struct oas_schema *e, struct str ref)
{
    struct map *names = &s->of[direction].by_name;
    size_t *number = &s->of[direction].number;
    char name[DEF_NAME_MAX + 24];
    size_t start = ref.n, n = 0, plain_len;

    while (start && ref.p[start - 1] != '/' && ref.p[start - 1] != '#')
        start--;
    for (size_t i = start; i < ref.n && n < DEF_NAME_MAX; i++) {
        char c = ref.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.';

        name[n++] = plain ? c : '_';
    }
    if (!n)
        name[n++] = '_';
    plain_len = n;
    if (*number < names->count)
        *number = names->count;
    /* Somebody's own name may look like a numbered one. */
    while (map_find(names, name, n))
        n = plain_len + (size_t)snprintf(name + plain_len, 24, "_%zu", (*number)++);
    e->by_name.key = arena_dup(&s->arena, name, n);
    e->by_name.len = n;
    return e->by_name.key && !map_add(names, &e->by_name);
}

struct oas_schema *oas_schema_entry(struct oas_schemas *s, int direction,
                                    const struct oas_place *at, struct str ref)
{
    struct map *values = &s->of[direction].by_value;
    struct map_node *n = map_find(values, (const char *)&at->val, sizeof at->val);
    struct oas_schema *e;

    if (n)
        return container_of(n, struct oas_schema, by_value);
    e = arena_zalloc(&s->arena, sizeof *e);
    if (!e)
        return NULL;
    e->place = *at;
    e->by_value.key = (const char *)&e->place.val;
    e->by_value.len = sizeof e->place.val;
    if (map_add(values, &e->by_value))
        return NULL;
    if (!name_entry(s, direction, e, ref)) {
        map_del(values, &e->by_value);
        return NULL;
    }
    return e;
}

/* ---- the whole ------------------------------------------------------------------------------- */

bool oas_pay(struct oas_schemas *s, size_t work)
{
    s->work += work < OAS_WORK ? work : OAS_WORK;
    return s->work <= OAS_WORK;
}

void oas_schemas_init(struct oas_schemas *s, struct oas_documents *docs, bool old,
                      const uint64_t seed[2])
{
    *s = (struct oas_schemas){.docs = docs, .mem = docs->mem, .old = old};
    s->seed[0] = seed[0];
    s->seed[1] = seed[1];
    arena_init(&s->arena, s->mem, 65536);
    arena_init(&s->scratch, s->mem, 4096);
    for (int i = 0; i < 2; i++) {
        map_init(&s->of[i].by_value, s->mem, s->seed);
        map_init(&s->of[i].by_name, s->mem, s->seed);
    }
}

void oas_schemas_fini(struct oas_schemas *s)
{
    for (int i = 0; i < 2; i++) {
        struct map *maps[] = {&s->of[i].by_value, &s->of[i].by_name};

        for (int k = 0; k < 2; k++) {
            struct map_node *n;

            while ((n = map_any(maps[k])))
                map_del(maps[k], n);
            map_fini(maps[k]);
        }
    }
    arena_fini(&s->scratch);
    arena_fini(&s->arena);
}

void oas_closure_init(struct oas_closure *c, struct oas_schemas *s, int direction)
{
    memset(c, 0, offsetof(struct oas_closure, where));
    *c->where = *c->why = 0;
    c->s = s;
    c->direction = (uint8_t)direction;
    c->number = ++s->closures;
}

void oas_closure_fini(struct oas_closure *c)
{
    mem_free(c->s->mem, c->list);
}

/* An entry is written once, with the references that it makes and what is wrong with it. */
static int translate(struct oas_schemas *s, int direction, struct oas_schema *e)
{
    struct oas_closure own;
    struct buf text;
    int rc;

    oas_closure_init(&own, s, direction);
    own.of_entry = true;
    buf_init(&text, s->mem);
    rc = oas_schema_write(&own, &e->place, STR_NONE, false, &text);
    if (!rc) {
        e->text.n = text.len;
        e->text.p = arena_dup(&s->arena, buf_at(&text), text.len);
        e->ref_count = own.count;
        e->refs = arena_alloc(&s->arena, (own.count + 1) * sizeof(struct oas_schema *));
        if (!e->text.p || !e->refs)
            rc = ALK_ENOMEM;
        else if (own.count)
            memcpy(e->refs, own.list, own.count * sizeof(struct oas_schema *));
    }
    if (!rc && *own.why) {
        e->where = arena_dup(&s->arena, own.where, strlen(own.where));
        e->why = arena_dup(&s->arena, own.why, strlen(own.why));
        if (!e->where || !e->why)
            rc = ALK_ENOMEM;
    }
    buf_fini(&text);
    oas_closure_fini(&own);
    return rc;
}

static int take(struct oas_closure *c, struct oas_schema *e)
{
    int rc = e->text.p ? ALK_OK : translate(c->s, c->direction, e);

    if (!rc && e->why && !*c->why) {
        snprintf(c->where, sizeof c->where, "%s", e->where);
        snprintf(c->why, sizeof c->why, "%s", e->why);
    }
    for (size_t i = 0; !rc && i < e->ref_count; i++) {
        if (!oas_closure_add(c, e->refs[i]))
            rc = ALK_ENOMEM;
    }
    return rc;
}

int oas_closure_write(struct oas_closure *c, struct buf *out)
{
    size_t start = out->len;
    int rc = ALK_OK;

    for (size_t i = 0; !rc && i < c->count && !*c->why; i++) {
        struct oas_schema *e = c->list[i];

        rc = take(c, e);
        if (!rc && (buf_puts(out, i ? ",\"" : ",\"$defs\":{\"") ||
                    buf_append(out, e->by_name.key, e->by_name.len) || buf_puts(out, "\":") ||
                    buf_append(out, e->text.p, e->text.n)))
            rc = ALK_ENOMEM;
        if (!rc && !*c->why && out->len - start > OAS_SCHEMA_BYTES)
            snprintf(c->why, sizeof c->why, "its schemas are larger than %u bytes",
                     OAS_SCHEMA_BYTES);
        if (!rc && !*c->why && !oas_pay(c->s, e->text.n + OAS_LOOK))
            snprintf(c->why, sizeof c->why, OAS_TOO_MUCH);
    }
    if (!rc && c->count && buf_puts(out, "}"))
        rc = ALK_ENOMEM;
    return rc;
}
