/* Equality of values as JSON Schema defines it: numbers by their mathematical value, objects
 * whatever the order of their members. What is to be found among few is compared with each, else
 * with those that have its hash in a table: members of objects, items, the values of an enum.
 *
 * Tables have open addressing and are at most two thirds full. The hash is kept whole, so that
 * values are compared only when all 32 bits agree. A sender who knows the hash, which has no
 * secret, can make all of them probe each other: comparing costs steps, and so does each 64th slot
 * that is passed, so he gets no more than his budget. */
#include "schema/check.h"

#include <string.h>

#define MIX UINT64_C(0x9ddfea08eb382d69)

/* Good enough to spread a table. Not secret: collisions cost their author steps, and end the
 * check. */
static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * MIX;
    return h ^ h >> 32;
}

static bool is_number(yyjson_val *v)
{
    uint8_t type = unsafe_yyjson_get_type(v);

    return type == YYJSON_TYPE_NUM || type == YYJSON_TYPE_RAW;
}

/* By bytes: JSON Schema normalises no Unicode. Raw numbers have their text in the same place. */
static bool equal_text(yyjson_val *a, yyjson_val *b)
{
    size_t len = unsafe_yyjson_get_len(a);

    return len == unsafe_yyjson_get_len(b) &&
           memcmp(unsafe_yyjson_get_str(a), unsafe_yyjson_get_str(b), len) == 0;
}

static LEAF bool equal_scalars(struct check *c, yyjson_val *a, yyjson_val *b)
{
    struct number x, y;

    if (is_number(a)) {
        return check_read_number(c, &x, a) && check_read_number(c, &y, b) &&
               number_cmp(&x, &y) == 0;
    }
    if (unsafe_yyjson_get_type(a) == YYJSON_TYPE_STR)
        return equal_text(a, b) && check_spend(c, unsafe_yyjson_get_len(a) / 512);
    /* null; true and false are told apart by their tags. */
    return unsafe_yyjson_get_tag(a) == unsafe_yyjson_get_tag(b);
}

/* ---- hashes and tables ---- */

/* By words; the rest of a text is filled up with zeros, which its length tells from real ones. */
static uint64_t hash_text(struct check *c, yyjson_val *v)
{
    const char *s = unsafe_yyjson_get_str(v);
    size_t len = unsafe_yyjson_get_len(v);
    uint64_t h = len, word = 0;

    check_spend(c, len / 256);
    for (; len >= 8; len -= 8, s += 8) {
        memcpy(&word, s, 8);
        h = mix(h, word);
    }
    word = 0;
    if (len)
        memcpy(&word, s, len);
    return mix(h, word);
}

/* 1, 1.0 and 1e0 have to have one hash, as they are equal. */
static LEAF uint64_t hash_number(struct check *c, yyjson_val *v)
{
    struct number n;

    return check_read_number(c, &n, v) ? mix(3, number_hash(&n)) : 0;
}

static uint64_t hash_value(struct check *c, yyjson_val *v);

/* A hash that stops half-way, out of budget, is never used: c->stop ends the search. */
static uint64_t hash_container(struct check *c, yyjson_val *v)
{
    bool object = unsafe_yyjson_is_obj(v);
    size_t n = unsafe_yyjson_get_len(v);
    yyjson_val *at = unsafe_yyjson_get_first(v);
    uint64_t h = object ? 1 : 2;

    if (!check_enter(c))
        return 0;
    check_spend(c, n / 2);
    for (size_t i = 0; i < n && !c->stop; i++) {
        /* Members are summed up, so that their order does not show. */
        if (object) {
            h += mix(hash_text(c, at), hash_value(c, at + 1));
            at++;
        } else {
            h = mix(h, hash_value(c, at));
        }
        at = unsafe_yyjson_get_next(at);
    }
    check_leave(c);
    return h;
}

static uint64_t hash_value(struct check *c, yyjson_val *v)
{
    switch (unsafe_yyjson_get_type(v)) {
    case YYJSON_TYPE_ARR:
    case YYJSON_TYPE_OBJ:
        return hash_container(c, v);
    case YYJSON_TYPE_STR:
        return hash_text(c, v);
    case YYJSON_TYPE_NUM:
    case YYJSON_TYPE_RAW:
        return hash_number(c, v);
    default:
        return unsafe_yyjson_get_tag(v);
    }
}

static uint32_t slot_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

size_t value_slots(size_t n)
{
    size_t cap = 32;

    while (cap < n + n / 2)
        cap *= 2;
    return cap;
}

/* The first slot from at on that is free or has this hash. */
static size_t next_slot(struct check *c, const struct value_slot *slots, size_t mask, size_t at,
                        uint32_t hash)
{
    at &= mask;
    for (; slots[at].at && slots[at].hash != hash; at = (at + 1) & mask) {
        if (at % 64 == 0)
            check_spend(c, 1);
    }
    return at;
}

/* ---- equality ---- */

/* Of the object that another is compared with: where the next member is if both have the same
 * order, and where all are, once they have not. */
struct members {
    yyjson_val *obj, *next;
    struct value_slot *slots;
    size_t mask;
};

static bool index_members(struct check *c, struct members *m)
{
    size_t n = unsafe_yyjson_get_len(m->obj), cap = value_slots(n);
    yyjson_val *key = unsafe_yyjson_get_first(m->obj);

    if (!check_spend(c, n))
        return false;
    m->slots = arena_zalloc(c->scratch, cap * sizeof *m->slots);
    if (!m->slots) {
        c->stop = SCHEMA_ENOMEM;
        return false;
    }
    m->mask = cap - 1;
    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        uint32_t hash = slot_hash(hash_text(c, key));
        size_t at = next_slot(c, m->slots, m->mask, hash, hash);

        while (m->slots[at].at && check_spend(c, 1))
            at = next_slot(c, m->slots, m->mask, at + 1, hash);
        m->slots[at] = (struct value_slot){hash, (uint32_t)(key - m->obj)};
    }
    return !c->stop;
}

static yyjson_val *find_among_many(struct check *c, struct members *m, yyjson_val *key)
{
    uint32_t hash = slot_hash(hash_text(c, key));

    if (!m->slots && !index_members(c, m))
        return NULL;
    for (size_t at = next_slot(c, m->slots, m->mask, hash, hash); m->slots[at].at;
         at = next_slot(c, m->slots, m->mask, at + 1, hash)) {
        if (equal_text(m->obj + m->slots[at].at, key))
            return m->obj + m->slots[at].at;
        if (!check_spend(c, 1))
            return NULL;
    }
    return NULL;
}

static yyjson_val *find_among_few(const struct members *m, yyjson_val *key)
{
    yyjson_val *at = unsafe_yyjson_get_first(m->obj);

    for (size_t n = unsafe_yyjson_get_len(m->obj); n; n--, at = unsafe_yyjson_get_next(at + 1)) {
        if (equal_text(at, key))
            return at;
    }
    return NULL;
}

/* The value of the member with this key. Equal objects mostly have their members in the same order,
 * and then each is found at once. */
static yyjson_val *find_member(struct check *c, struct members *m, yyjson_val *key)
{
    yyjson_val *found = m->next;

    if (found == unsafe_yyjson_get_next(m->obj) || !equal_text(found, key))
        found = unsafe_yyjson_get_len(m->obj) <= FEW_VALUES ? find_among_few(m, key)
                                                            : find_among_many(c, m, key);
    if (!found)
        return NULL;
    m->next = unsafe_yyjson_get_next(found + 1);
    return found + 1;
}

/* Both have n members, and no name twice (the reader of JSON refuses that), so one direction is
 * enough. */
static bool equal_objects(struct check *c, yyjson_val *a, yyjson_val *b)
{
    size_t n = unsafe_yyjson_get_len(a);
    struct members m = {.obj = b, .next = unsafe_yyjson_get_first(b)};
    yyjson_val *key = unsafe_yyjson_get_first(a), *other;

    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        other = find_member(c, &m, key);
        if (!other || !value_equal(c, key + 1, other))
            return false;
    }
    return true;
}

static bool equal_arrays(struct check *c, yyjson_val *a, yyjson_val *b)
{
    size_t n = unsafe_yyjson_get_len(a);
    yyjson_val *x = unsafe_yyjson_get_first(a), *y = unsafe_yyjson_get_first(b);

    for (size_t i = 0; i < n; i++) {
        if (!value_equal(c, x, y))
            return false;
        x = unsafe_yyjson_get_next(x);
        y = unsafe_yyjson_get_next(y);
    }
    return true;
}

/* Core, section 4.2.2. 1 and 1.0 have different representations and are equal; so are raw and
 * parsed numbers. Levels count as nesting, since a value of the schema is only bounded by the
 * reader's depth, and this stands on top of a check's own recursion. */
bool value_equal(struct check *c, yyjson_val *a, yyjson_val *b)
{
    uint8_t type = unsafe_yyjson_get_type(a);
    size_t n = unsafe_yyjson_get_len(a);
    bool equal;

    if (type != unsafe_yyjson_get_type(b) && !(is_number(a) && is_number(b)))
        return false;
    if (type != YYJSON_TYPE_ARR && type != YYJSON_TYPE_OBJ)
        return equal_scalars(c, a, b);
    if (n != unsafe_yyjson_get_len(b) || !check_enter(c))
        return false;
    equal = check_spend(c, n / 2) &&
            (type == YYJSON_TYPE_ARR ? equal_arrays(c, a, b) : equal_objects(c, a, b));
    check_leave(c);
    return equal;
}

/* ---- uniqueItems ---- */

/* Without memory: most arrays are short. 12 items are 66 pairs at most, each paid for by
 * value_equal. */
static LEAF bool unique_among_few(struct check *c, yyjson_val *array, size_t *first, size_t *second)
{
    size_t n = unsafe_yyjson_get_len(array);
    yyjson_val *items[FEW_VALUES], *item = unsafe_yyjson_get_first(array);

    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item)) {
        items[i] = item;
        for (size_t k = 0; k < i; k++) {
            if (value_equal(c, items[k], item)) {
                *first = k;
                *second = i;
                return false;
            }
            if (c->stop)
                return false;
        }
    }
    return true;
}

/* A cleared table with room for n; the one of the last array if that is large enough, since an
 * arena gives nothing back. */
static bool make_table(struct check *c, size_t n, size_t *mask)
{
    size_t cap = value_slots(n);

    if (c->unique_cap < cap) {
        c->unique = arena_alloc(c->scratch, cap * sizeof *c->unique);
        if (!c->unique) {
            c->unique_cap = 0;
            c->stop = SCHEMA_ENOMEM;
            return false;
        }
        c->unique_cap = cap;
    }
    memset(c->unique, 0, cap * sizeof *c->unique);
    *mask = cap - 1;
    return true;
}

/* Only for the message: an array's items have no numbers, and are found by walking. */
static size_t index_of(yyjson_val *array, yyjson_val *item)
{
    yyjson_val *at = unsafe_yyjson_get_first(array);
    size_t i = 0;

    for (; at != item; i++)
        at = unsafe_yyjson_get_next(at);
    return i;
}

bool check_unique(struct check *c, yyjson_val *array, size_t *first, size_t *second)
{
    size_t n = unsafe_yyjson_get_len(array), mask;
    yyjson_val *start = unsafe_yyjson_get_first(array), *item = start;

    if (n <= FEW_VALUES)
        return unique_among_few(c, array, first, second);
    if (!check_spend(c, n / 2) || !make_table(c, n, &mask))
        return false;
    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item)) {
        uint32_t hash = slot_hash(hash_value(c, item));
        size_t at = next_slot(c, c->unique, mask, hash, hash);

        for (; c->unique[at].at && check_spend(c, 1);
             at = next_slot(c, c->unique, mask, at + 1, hash)) {
            yyjson_val *other = start + (c->unique[at].at - 1);

            if (value_equal(c, other, item)) {
                *first = index_of(array, other);
                *second = i;
                return false;
            }
        }
        if (c->stop)
            return false;
        c->unique[at] = (struct value_slot){hash, (uint32_t)(item - start) + 1};
    }
    return true;
}

/* ---- the values of an enum ---- */

/* Equal ones may be there twice: then the first is found. */
void value_index(struct check *c, struct value_slot *slots, size_t mask, yyjson_val *const *values,
                 uint32_t n)
{
    for (uint32_t i = 0; i < n && !c->stop; i++) {
        uint32_t hash = slot_hash(hash_value(c, values[i]));
        size_t at = next_slot(c, slots, mask, hash, hash);

        while (slots[at].at && check_spend(c, 1))
            at = next_slot(c, slots, mask, at + 1, hash);
        slots[at] = (struct value_slot){hash, i + 1};
    }
}

bool value_is_one(struct check *c, const struct clause *cl, yyjson_val *v)
{
    uint32_t hash;

    if (!cl->slots) {
        for (uint32_t i = 0; i < cl->value_count && !c->stop; i++) {
            if (value_equal(c, v, cl->values[i]))
                return true;
        }
        return false;
    }
    hash = slot_hash(hash_value(c, v));
    for (size_t at = next_slot(c, cl->slots, cl->slot_mask, hash, hash);
         cl->slots[at].at && check_spend(c, 1);
         at = next_slot(c, cl->slots, cl->slot_mask, at + 1, hash)) {
        if (value_equal(c, v, cl->values[cl->slots[at].at - 1]))
            return true;
    }
    return false;
}
