/* Compiling a schema from beginning to end: budget, memory and diagnosis; the rounds are in index.c
 * and rules.c.
 *
 * rc is the state of the whole. Once it is set, build_spend and what asks it do nothing more, so
 * callers look at it only where they would read what is not there. The schema's own arena lives as
 * long as the schema; what only compiling needs lies in another and goes with it. */
#include "schema/build.h"

#include <string.h>

/* Below, the chunk's head would be a good part of it; above, a guess that is wrong would waste too
 * much. */
#define FIRST_CHUNK_MIN 256u
#define FIRST_CHUNK_MAX 16384u
#define TMP_CHUNK 8192u /* the records of a small schema */
/* What a compiled schema takes for each value of its source, about. */
#define BYTES_PER_VALUE 40u

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

/* Also of one that is half made: patterns enter the list before they are compiled, with NULL. */
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

size_t schema_memory(const struct schema *s)
{
    return s ? sizeof *s + s->arena.bytes + s->pattern_bytes : 0;
}

/* A schema may come from a peer: it cannot cost more than the budget, in time, and in memory what
 * the budget can ask for. Of a schema that fails nothing stays but the diagnosis. */
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
        return build_give_up(&b, SCHEMA_INVALID, "no random bytes");
    map_init(&b.names, o->mem, b.seed);
    b.schema = schema_new(o, (size_t)(unsafe_yyjson_get_next(root) - root));
    if (!b.schema)
        build_nomem(&b);
    if (!b.rc && !build_index(&b, root) && !build_refuse_loops(&b) && !build_rules(&b))
        build_weigh(&b);
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
