/* Compiling a schema from beginning to end: budget, memory and diagnosis; the rounds are in index.c
 * and rules.c.
 *
 * rc is the state of the whole. Once it is set, build_spend and what asks it do nothing more, so
 * callers look at it only where they would read what is not there. The schema's own arena lives as
 * long as the schema; what only compiling needs lies in another and goes with it. */
#include "schema/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CHUNK_MIN 256u
#define FIRST_CHUNK_MAX 16384u
#define TMP_CHUNK 8192u /* the records of a small schema */
/* What a compiled schema takes for each value of its source, about. */
#define BYTES_PER_VALUE 40u

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
static int give_up(struct build *b, int rc, const char *why)
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
    return give_up(b, SCHEMA_ENOMEM, "out of memory");
}

int build_spend(struct build *b, uint64_t steps)
{
    if (b->rc)
        return b->rc;
    if (b->steps < steps)
        return give_up(b, SCHEMA_TOO_COMPLEX, "the schema is too complex");
    b->steps -= (uint32_t)steps;
    return 0;
}

/* Cleared, so that what a keyword does not set is "not there". */
void *build_keep(struct build *b, size_t size)
{
    void *p = arena_zalloc(&b->schema->arena, size);

    if (!p)
        build_nomem(b);
    return p;
}

void *build_tmp(struct build *b, size_t size)
{
    void *p = arena_zalloc(&b->tmp, size);

    if (!p)
        build_nomem(b);
    return p;
}

/* The first chunk of the arena is meant to hold all of an ordinary schema, without waste for a
 * small one. */
static struct schema *schema_new(const struct schema_options *o, size_t values)
{
    struct schema *s = mem_zalloc(o->mem, sizeof *s);
    size_t first = values * BYTES_PER_VALUE;

    if (!s)
        return NULL;
    s->mem = o->mem;
    s->host = o->host;
    arena_init(&s->arena, o->mem,
               first < FIRST_CHUNK_MIN   ? FIRST_CHUNK_MIN
               : first > FIRST_CHUNK_MAX ? FIRST_CHUNK_MAX
                                         : first);
    return s;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    /* The only parts that are not in the arena. */
    for (struct pattern *p = s->patterns; p; p = p->next)
        s->host->regex_free(p->regex);
    arena_fini(&s->arena);
    mem_free(s->mem, s);
}

int schema_compile(struct schema **out, yyjson_val *root, const struct schema_options *o,
                   struct schema_diag *diag)
{
    struct build b;

    *out = NULL;
    memset(&b, 0, sizeof b);
    b.options = o;
    b.diag = diag;
    b.steps = o->max_steps ? o->max_steps : SCHEMA_COMPILE_STEPS;
    arena_init(&b.tmp, o->mem, TMP_CHUNK);
    if (o->host->random(b.seed, sizeof b.seed))
        return give_up(&b, SCHEMA_INVALID, "no random bytes");
    map_init(&b.names, o->mem, b.seed);
    b.schema = schema_new(o, (size_t)(unsafe_yyjson_get_next(root) - root));
    if (!b.schema)
        build_nomem(&b);
    if (!b.rc && !build_index(&b, root))
        build_rules(&b);
    /* The table frees only itself, and wants to be empty for it; the entries lie in tmp. */
    for (struct name_entry *e = b.entries; e; e = e->next)
        map_del(&b.names, &e->by_name);
    map_fini(&b.names);
    arena_fini(&b.tmp);
    if (b.rc)
        schema_free(b.schema);
    else
        *out = b.schema;
    return b.rc;
}
