/* What the files of a build share: failure, budget and memory, the table of names, and the records.
 *
 * Nothing here knows a keyword or calls back into the rounds. rc is set by the first failure, and
 * what is called afterwards does no work: a caller need not stop at once. */
#include "schema/build.h"

#include "base/utf8.h"
#include "schema/uri.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define URI_SHOWN 120u /* bytes of a URI in a message */

/* ---- failure, budget, memory ---- */

/* A pointer stands first: it leads from a resource to where a reference found something. */
static void write_place(struct writer *w, const struct place *p)
{
    write_bytes(w, p->pointer.n ? p->pointer.p : "", p->pointer.n);
    if (p->keyword)
        write_step(w, p->keyword, 0);
    if (p->key || p->has_index)
        write_step(w, p->key, p->index);
}

/* The way from the document's root to the record, place by place. Quadratic in the depth, which
 * nobody notices in a message, and without recursion or memory. */
static void write_record(const struct build *b, struct writer *w, uint32_t record)
{
    uint32_t depth = 0;

    if (record == NO_RECORD)
        return;
    write_bytes(w, record_at(b, record)->document->uri.p, record_at(b, record)->document->uri.n);
    if (record_at(b, record)->document->uri.n)
        write_string(w, "#");
    for (uint32_t r = record; record_at(b, r)->parent != NO_RECORD; r = record_at(b, r)->parent)
        depth++;
    for (; depth > 0 && w->len < w->cap; depth--) {
        uint32_t r = record;

        for (uint32_t up = 1; up < depth; up++)
            r = record_at(b, r)->parent;
        write_place(w, &record_at(b, r)->place);
    }
}

/* Only the first failure is kept: those that follow are mostly its consequences. */
int build_fail(struct build *b, uint32_t record, const struct place *place, const char *fmt, ...)
{
    struct writer path = {b->diag->path, 0, sizeof b->diag->path - 1};
    struct writer text = {b->diag->text, 0, sizeof b->diag->text - 1};
    char message[2 * SCHEMA_MESSAGE_MAX];
    va_list args;

    if (b->rc)
        return b->rc;
    write_record(b, &path, record);
    if (place)
        write_place(&path, place);
    path.at[path.len] = 0;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    write_string(&text, message);
    text.at[text.len] = 0;
    return b->rc = SCHEMA_INVALID;
}

/* For what is the fault of no place in the schema: the budget, the memory. */
int build_give_up(struct build *b, int rc, const char *why)
{
    if (!b->rc) {
        b->diag->path[0] = 0;
        snprintf(b->diag->text, sizeof b->diag->text, "%s", why);
        b->rc = rc;
    }
    return b->rc;
}

int build_nomem(struct build *b)
{
    return build_give_up(b, SCHEMA_ENOMEM, "out of memory");
}

/* Steps are spent before the work, so that a schema that is too large ends before its cost. */
int build_spend(struct build *b, uint64_t steps)
{
    if (b->rc)
        return b->rc;
    if (b->steps < steps)
        return build_give_up(b, SCHEMA_TOO_COMPLEX, "the schema is too complex");
    b->steps -= (uint32_t)steps;
    return 0;
}

/* Asked behind each pattern, since the code of one can be a thousand times its length, and at the
 * end for the rest, which the steps bound meanwhile. */
int build_weigh(struct build *b)
{
    if (!b->rc && schema_memory(b->schema) > SCHEMA_MEMORY + SCHEMA_MEMORY_RATIO * b->text)
        build_give_up(b, SCHEMA_TOO_COMPLEX, "the schema is too complex: it would keep too much");
    return b->rc;
}

/* Cleared, so that what a keyword does not set is "not there". */
void *build_keep(struct build *b, size_t size)
{
    void *p = arena_zalloc(&b->schema->arena, size);

    if (!p)
        build_nomem(b);
    return p;
}

/* Cleared as well. It is not for what the compiled schema refers to: it goes when compiling
 * ends. */
void *build_tmp(struct build *b, size_t size)
{
    void *p = arena_zalloc(&b->tmp, size);

    if (!p)
        build_nomem(b);
    return p;
}

/* ---- names and records ---- */

/* Where the next element of a growing array in tmp goes: the array, moved if it was full; NULL with
 * rc set. The old array stays in tmp; with doubling, all of them together are as large as the
 * last. */
void *build_room(struct build *b, void *array, uint32_t count, uint32_t *cap, size_t size)
{
    uint32_t more = *cap ? *cap * 2 : 16;
    void *p;

    if (count < *cap)
        return array;
    p = build_tmp(b, more * size);
    if (!p)
        return NULL;
    if (count)
        memcpy(p, array, count * size);
    *cap = more;
    return p;
}

/* A map with a random seed, as all identifiers are the choice of the schema's author. */
struct name_entry *build_find(const struct build *b, struct str name)
{
    struct map_node *n = map_find(&b->names, name.p, name.n);

    return n ? container_of(n, struct name_entry, by_name) : NULL;
}

/* Enters a name, unless it is there already: *other is then the record that has it. */
int build_add_entry(struct build *b, struct str name, uint32_t record, bool dynamic,
                    uint32_t *other)
{
    struct name_entry *e = build_find(b, name);

    /* $anchor and $dynamicAnchor may have the same name in one schema: then it is both. */
    *other = NO_RECORD;
    if (e) {
        *other = e->record;
        e->dynamic |= dynamic && e->record == record;
        return b->rc;
    }
    e = build_tmp(b, sizeof *e);
    if (!e)
        return b->rc;
    e->by_name.key = name.p;
    e->by_name.len = name.n;
    e->record = record;
    e->dynamic = dynamic;
    if (map_add(&b->names, &e->by_name))
        return build_nomem(b);
    e->next = b->entries;
    b->entries = e;
    return b->rc;
}

/* The node is made with the record, empty: so references have an address to point at before any
 * rule is known. Its document finds the record again by the value's place, without a table. */
uint32_t build_add_record(struct build *b, struct document *d, yyjson_val *val, uint32_t resource,
                          uint32_t parent, const struct place *place)
{
    bool object = yyjson_is_obj(val);
    struct record *records, *r;

    if (!object && !yyjson_is_bool(val)) {
        build_fail(b, parent, place, "must be a schema: an object or a boolean");
        return NO_RECORD;
    }
    /* Records are what a schema costs most of; here their number meets the budget. */
    if (build_spend(b, 2) || b->record_count >= UINT32_MAX / 2)
        return NO_RECORD;
    records = build_room(b, b->records, b->record_count, &b->record_cap, sizeof *r);
    if (!records)
        return NO_RECORD;
    b->records = records;
    r = &records[b->record_count++];
    if (object && !(r->node = build_keep(b, sizeof *r->node)))
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

struct str build_dup(struct build *b, struct str s)
{
    char *copy = arena_dup(&b->tmp, s.p, s.n);

    if (!copy)
        build_nomem(b);
    return (struct str){copy ? copy : "", copy ? s.n : 0};
}

/* For qsort and bsearch: of pointers to strings. */
int build_order(const void *a, const void *b)
{
    return name_order(json_string(*(yyjson_val *const *)a), json_string(*(yyjson_val *const *)b));
}

/* The member's value, if the keyword is there. key is set to its name for messages. */
yyjson_val *build_member(yyjson_val *obj, const char *name, yyjson_val **key)
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

int build_fail_uri(struct build *b, uint32_t record, yyjson_val *key, const char *what,
                   struct str uri)
{
    return build_fail(b, record, AT(key), "%s \"%.*s\"", what,
                      (int)utf8_cut(uri.p, uri.n, URI_SHOWN), uri.p);
}

/* ref against base, without its fragment, as a text of tmp. */
int build_resolve_uri(struct build *b, uint32_t record, yyjson_val *key, struct str base,
                      struct str ref, struct str *out, struct str *fragment)
{
    char buf[SCHEMA_MAX_URI];
    size_t len;

    ref = uri_split(ref, fragment);
    *out = base;
    if (ref.n == 0)
        return b->rc;
    if (build_spend(b, 1 + (base.n + ref.n) / 64))
        return b->rc;
    if (!uri_resolve(base, ref, buf, sizeof buf, &len))
        return build_fail(b, record, AT(key), "the URI is longer than %u bytes", SCHEMA_MAX_URI);
    *out = build_dup(b, (struct str){buf, len});
    return b->rc;
}

yyjson_val *build_ask(const struct build *b, struct str uri)
{
    const struct schema_options *o = b->options;

    return o->resolve && uri.n ? o->resolve(o->ud, uri.p, uri.n) : NULL;
}

/* An anchor's name in the table of names. */
struct str build_anchor(struct build *b, uint32_t record, struct str anchor)
{
    struct str uri = b->resources[record_at(b, record)->resource].uri;
    struct str full = {NULL, uri.n + 1 + anchor.n};
    char *s = build_tmp(b, full.n + 1);

    if (s) {
        memcpy(s, uri.p, uri.n);
        s[uri.n] = '#';
        memcpy(s + uri.n + 1, anchor.p, anchor.n);
    }
    full.p = s;
    return full;
}
