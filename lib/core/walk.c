/* Implements walk.h: registries are sorted, so it is a merge, by a heap of what is left of each. A
 * page costs the search for its beginning in each of them, and then what it has. */
#include "core/walk.h"

/* The order of registries, for names with NUL too, which a cursor may have. */
static int compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int rc = n ? memcmp(a.p, b.p, n) : 0;

    return rc ? rc : (a.n > b.n) - (a.n < b.n);
}

/* Puts down what is left of reg behind the cursor, in the place of the first that is empty. */
static void add(struct walk *w, const alk_registry *reg, size_t rank, struct str cursor)
{
    size_t lo = 0, hi = cursor.p ? reg->by_name.count : 0;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (compare(op_name(reg->sorted[mid]), cursor) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < reg->by_name.count)
        w->rests[w->count++] =
            (struct rest){reg->sorted + lo, reg->sorted + reg->by_name.count, rank};
}

static bool before(const struct rest *a, const struct rest *b)
{
    int rc = compare(op_name(*a->at), op_name(*b->at));

    return rc < 0 || (!rc && a->rank < b->rank);
}

/* Makes a heap of what begins at i, when all below is one. */
static void sift(struct walk *w, size_t i)
{
    struct rest *r = w->rests, moved = r[i];

    for (size_t child; (child = 2 * i + 1) < w->count; i = child) {
        if (child + 1 < w->count && before(&r[child + 1], &r[child]))
            child++;
        if (!before(&r[child], &moved))
            break;
        r[i] = r[child];
    }
    r[i] = moved;
}

int walk_begin(struct walk *w, struct mem *mem, const alk_registry *own, struct discovered *set,
               struct str behind)
{
    *w = (struct walk){.set = discovered_ref(set), .mem = mem, .rests = &w->one};
    if (set)
        w->rests = mem_alloc(mem, (set->count + 1) * sizeof *w->rests);
    if (!w->rests)
        return ALK_ENOMEM;
    add(w, own, 0, behind);
    for (size_t i = 0; set && i < set->count; i++)
        add(w, set->sources[i].reg, i + 1, behind);
    for (size_t i = w->count / 2; i--;)
        sift(w, i);
    return ALK_OK;
}

/* The library's own names are in each registry, and meant of the node's alone (discovered_find). */
const struct operation *walk_next(struct walk *w)
{
    while (w->count) {
        struct rest *r = w->rests;
        const struct operation *op = *r->at++;
        bool hidden = r->rank && (name_reserved(op_name(op)) ||
                                  (w->last && str_eq(op_name(w->last), op_name(op))));

        if (r->at == r->end)
            *r = r[--w->count];
        sift(w, 0);
        if (!hidden)
            return w->last = op;
    }
    return NULL;
}

void walk_end(struct walk *w)
{
    if (w->rests != &w->one)
        mem_free(w->mem, w->rests);
    discovered_unref(w->set);
}
