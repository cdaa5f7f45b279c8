/* Implements discovered.h. A new set is made beside the present one, by whichever thread sets a
 * source, and takes its place if that is still the one it was made from; else it is made again. So
 * nobody waits for a thread that allocates. */
#include "core/discovered.h"

#include "base/spin.h"
#include "base/utf8.h"

#include <assert.h>

struct discovered *discovered_ref(struct discovered *set)
{
    if (set)
        __atomic_fetch_add(&set->refs, 1, __ATOMIC_RELAXED);
    return set;
}

/* Also of one that is half made. */
void discovered_unref(struct discovered *set)
{
    struct mem mem;

    if (!set || __atomic_fetch_sub(&set->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        mem_free(&set->mem, set->sources[i].name);
        alk_registry_unref(set->sources[i].reg);
    }
    mem_free(&set->mem, set->sources);
    assert(set->mem.live == 0);
    mem = set->mem;
    mem_free(&mem, set);
}

/* Each registry has services of the library's own, and none of a source is ever meant. */
const struct operation *discovered_find(const struct discovered *set, struct str name,
                                        alk_registry **of)
{
    if (!set || name_reserved(name))
        return NULL;
    for (size_t i = 0; i < set->count; i++) {
        const struct operation *op = registry_find(set->sources[i].reg, name.p, name.n);

        if (op) {
            *of = set->sources[i].reg;
            return op;
        }
    }
    return NULL;
}

/* ---- making a set ---------------------------------------------------------------------------- */

static int add_source(struct discovered *set, const char *name, alk_registry *reg)
{
    struct source *s = &set->sources[set->count];

    s->name = mem_dup(&set->mem, name, strlen(name));
    if (!s->name)
        return ALK_ENOMEM;
    s->reg = alk_registry_ref(reg);
    set->count++;
    return ALK_OK;
}

/* Those of base (NULL: none), with the changed one in its place, or behind them when it is new. */
static int add_sources(struct discovered *set, const struct discovered *base, const char *name,
                       alk_registry *reg)
{
    size_t n = base ? base->count : 0;
    bool there = false;
    int rc = ALK_OK;

    set->sources = mem_alloc(&set->mem, (n + 1) * sizeof *set->sources);
    if (!set->sources)
        return ALK_ENOMEM;
    for (size_t i = 0; !rc && i < n; i++) {
        const struct source *s = &base->sources[i];
        bool same = !strcmp(s->name, name);

        there |= same;
        if (!same || reg)
            rc = add_source(set, s->name, same ? reg : s->reg);
    }
    if (!rc && !there && reg)
        rc = add_source(set, name, reg);
    return !rc && set->count > SOURCES_MAX ? ALK_ELIMIT : rc;
}

/* *out is NULL when no source is left. */
static int make(struct discovered **out, const struct discovered *base, const struct mem *mem,
                const char *name, alk_registry *reg)
{
    struct mem plain = *mem;
    struct discovered *set = mem_zalloc(&plain, sizeof *set);
    int rc;

    *out = NULL;
    if (!set)
        return ALK_ENOMEM;
    set->refs = 1;
    mem_init(&set->mem, mem->realloc, mem->ud);
    rc = add_sources(set, base, name, reg);
    if (rc || !set->count)
        discovered_unref(set);
    else
        *out = set;
    return rc;
}

/* ---- the node's ------------------------------------------------------------------------------ */

static struct discovered *take(struct discovery *all)
{
    struct discovered *set;

    spin_lock(&all->lock);
    set = discovered_ref(all->set);
    spin_unlock(&all->lock);
    return set;
}

/* false: another set has come meanwhile. What was there is let go outside of the lock, as that
 * frees. */
static bool replace(struct discovery *all, struct discovered *base, struct discovered *set)
{
    bool still;

    spin_lock(&all->lock);
    still = all->set == base;
    if (still) {
        __atomic_store_n(&all->set, set, __ATOMIC_RELAXED);
        __atomic_add_fetch(&all->changes, 1, __ATOMIC_RELAXED);
    }
    spin_unlock(&all->lock);
    if (still)
        discovered_unref(base);
    return still;
}

/* What was found acts for itself alone. So the ids of authorities are those of the node's registry,
 * and what a call hands down to another never lies in what may go before that. */
static bool leaves_only(const alk_registry *reg)
{
    for (size_t i = 0; i < reg->by_name.count; i++) {
        const struct operation *op = reg->sorted[i];

        if ((op->authority || op->env) && !name_reserved(op_name(op)))
            return false;
    }
    return true;
}

int discovery_set(struct discovery *all, const struct mem *mem, const char *source,
                  alk_registry *reg)
{
    size_t len = strlen(source);
    bool done = false;
    int rc = ALK_OK;

    if (!len || len > SOURCE_MAX_BYTES || !utf8_valid(source, len))
        return ALK_EINVAL;
    if (reg && !reg->frozen)
        return ALK_EFROZEN;
    if (reg && !leaves_only(reg))
        return ALK_EINVAL;
    while (!rc && !done) {
        struct discovered *base = take(all), *set;

        rc = make(&set, base, mem, source, reg);
        done = !rc && replace(all, base, set);
        if (!done)
            discovered_unref(set);
        discovered_unref(base);
    }
    return rc;
}

void discovery_renew(struct discovery *all, struct discovered **seen)
{
    struct discovered *old = *seen;

    *seen = take(all);
    discovered_unref(old);
}
