/* Equality of values as JSON Schema defines it: numbers by their mathematical value, objects
 * whatever the order of their members. Items are compared pairwise while they are few, else by a
 * table of hashes. A sender who makes hashes collide only exhausts his own budget. */
#include "schema/check.h"

#include <string.h>

#define FEW_ITEMS 12u /* up to here, comparing pairs beats hashing */

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

/* The value of the member of obj with this key; looked for from *hint on, where the last search
 * ended. Equal objects mostly have their members in the same order, and then each is found at
 * once. */
static yyjson_val *find_member(struct check *c, yyjson_val *obj, yyjson_val *key, yyjson_val **hint)
{
    size_t n = unsafe_yyjson_get_len(obj);
    yyjson_val *end = unsafe_yyjson_get_next(obj), *k = *hint;

    for (size_t i = 0; i < n; i++) {
        yyjson_val *val;

        if (k == end)
            k = unsafe_yyjson_get_first(obj);
        val = k + 1;
        if (equal_text(k, key)) {
            *hint = unsafe_yyjson_get_next(val);
            return check_spend(c, i / 4) ? val : NULL;
        }
        k = unsafe_yyjson_get_next(val);
    }
    check_spend(c, n / 4);
    return NULL;
}

/* Both have n members, and no name twice (the reader of JSON refuses that), so one direction is
 * enough. In the worst order it is quadratic, and find_member pays for what it passes. */
static bool equal_objects(struct check *c, yyjson_val *a, yyjson_val *b)
{
    size_t n = unsafe_yyjson_get_len(a);
    yyjson_val *key = unsafe_yyjson_get_first(a), *hint = unsafe_yyjson_get_first(b), *other;

    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        other = find_member(c, b, key, &hint);
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

/* Without memory: most arrays are short. 12 items are 66 pairs at most, each paid for by
 * value_equal. */
static LEAF bool unique_among_few(struct check *c, yyjson_val *array, size_t *first, size_t *second)
{
    size_t n = unsafe_yyjson_get_len(array);
    yyjson_val *items[FEW_ITEMS], *item = unsafe_yyjson_get_first(array);

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

/* A cleared table with room for n, at most two thirds full; the one of the last array if that is
 * large enough, since an arena gives nothing back. */
static bool make_table(struct check *c, size_t n, size_t *mask)
{
    size_t cap = 32;

    while (cap < n + n / 2)
        cap *= 2;
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

/* Open addressing. The hash is kept whole, so that values are compared only when all 32 bits agree.
 * A sender who knows the hash, which has no secret, can make all items probe each other: comparing
 * costs steps, and so does each 64th slot that is passed, so he gets no more than his budget. */
bool check_unique(struct check *c, yyjson_val *array, size_t *first, size_t *second)
{
    size_t n = unsafe_yyjson_get_len(array), mask;
    yyjson_val *start = unsafe_yyjson_get_first(array), *item = start;

    if (n <= FEW_ITEMS)
        return unique_among_few(c, array, first, second);
    if (!check_spend(c, n / 2) || !make_table(c, n, &mask))
        return false;
    for (size_t i = 0; i < n; i++, item = unsafe_yyjson_get_next(item)) {
        uint32_t h = (uint32_t)(hash_value(c, item) >> 16);
        size_t at = h & mask;

        for (; c->unique[at].at && !c->stop; at = (at + 1) & mask) {
            yyjson_val *other = start + (c->unique[at].at - 1);

            if (c->unique[at].hash == h && check_spend(c, 1) && value_equal(c, other, item)) {
                *first = index_of(array, other);
                *second = i;
                return false;
            }
            if (at % 64 == 0)
                check_spend(c, 1);
        }
        if (c->stop)
            return false;
        c->unique[at] = (struct unique_slot){h, (uint32_t)(item - start) + 1};
    }
    return true;
}
