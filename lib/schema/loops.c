/* Schemas that lead to themselves while they look at one and the same value: no check of one would
 * ever end.
 *
 * Looked at is what is applied in any case, and not what depends on the value, as `then` does and
 * all of `anyOf` but its first: that is the check's budget to bound. Each record is entered once,
 * and what it applies is listed in one go. */
#include "schema/build.h"

/* A record and what it applies. */
struct stop {
    enum { FRESH, ENTERED, LEFT } state;
    uint32_t *to;
    uint32_t count, next;
};

struct walk {
    struct build *b;
    struct stop *stops; /* of each record */
    uint32_t *way;      /* records, each applied by the one before */
    uint32_t way_count;
};

/* How many schemas of that keyword's value are applied in any case. */
static uint32_t applied_of(const struct keyword *k, yyjson_val *val)
{
    switch (k ? k->id : KEYWORD_REF) {
    case KEYWORD_ALL_OF:
    case KEYWORD_ONE_OF:
        return (uint32_t)yyjson_arr_size(val);
    case KEYWORD_ANY_OF:
    case KEYWORD_NOT:
    case KEYWORD_IF:
        return 1;
    default:
        return 0;
    }
}

static void list_of(const struct record *r, yyjson_val *val, uint32_t count, struct stop *stop)
{
    yyjson_val *item = yyjson_is_arr(val) ? unsafe_yyjson_get_first(val) : val;

    for (; count; count--, item = unsafe_yyjson_get_next(item))
        stop->to[stop->count++] = record_of(r->document, item);
}

static void enter(struct walk *w, uint32_t record)
{
    const struct record *r = record_at(w->b, record);
    struct dialect dialect = w->b->resources[r->resource].dialect;
    struct stop *stop = &w->stops[record];
    bool refers = r->ref && r->target != NO_RECORD, more = r->node && !r->ref_only;
    uint32_t count = refers;
    size_t i, n;
    yyjson_val *key, *val;

    w->way[w->way_count++] = record;
    stop->state = ENTERED;
    if (more) {
        yyjson_obj_foreach(r->val, i, n, key, val) count +=
            applied_of(keyword_find(dialect, key), val);
    }
    if (!count || build_spend(w->b, count) ||
        !(stop->to = build_tmp(w->b, count * sizeof *stop->to)))
        return;
    if (refers)
        stop->to[stop->count++] = r->target;
    if (more) {
        yyjson_obj_foreach(r->val, i, n, key, val)
            list_of(r, val, applied_of(keyword_find(dialect, key), val), stop);
    }
}

/* One step on the way, or back. */
static int step(struct walk *w)
{
    uint32_t at = w->way[w->way_count - 1], to;
    struct stop *stop = &w->stops[at];

    if (stop->next == stop->count) {
        stop->state = LEFT;
        w->way_count--;
        return 0;
    }
    to = stop->to[stop->next++];
    if (w->stops[to].state == ENTERED)
        return build_fail(w->b, at, NULL,
                          "leads back to itself for the same value: its check would never end");
    if (w->stops[to].state == FRESH)
        enter(w, to);
    return 0;
}

int build_refuse_loops(struct build *b)
{
    struct walk w = {.b = b,
                     .stops = build_tmp(b, b->record_count * sizeof *w.stops),
                     .way = build_tmp(b, b->record_count * sizeof *w.way)};

    for (uint32_t i = 0; i < b->record_count && !b->rc; i++) {
        if (w.stops[i].state == FRESH)
            enter(&w, i);
        while (w.way_count && !b->rc)
            step(&w);
    }
    return b->rc;
}
