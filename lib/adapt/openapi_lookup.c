/* yyjson has the values of a document one behind the other in the order of the text, so that a
 * value lies in a container when its address does. Members and items have no order by which they
 * could be found: where there are more than a few, a list of them is made at the first look, with
 * which a value's place is found by halving, and for objects a hash table. Making it costs as much
 * as walking the container once. */
#include "adapt/openapi_lookup.h"

#include "base/utf8.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

#define FEW 16u /* members or items that are just walked */

struct large {
    struct map_node by_offset;
    uint32_t offset, count;
    uint32_t *items; /* offsets of names, or of items, in order */
    uint32_t *slots; /* of an object: indexes of items plus 1, 0 is free */
    size_t mask;
};

void oas_lookup_init(struct oas_lookup *l, struct arena *arena, const uint64_t *seed,
                     yyjson_val *root)
{
    l->arena = arena;
    l->seed = seed;
    l->root = root;
    map_init(&l->large, arena->mem, seed);
}

void oas_lookup_fini(struct oas_lookup *l)
{
    struct map_node *n;

    while ((n = map_any(&l->large)))
        map_del(&l->large, n);
    map_fini(&l->large);
}

/* ---- large containers ---- */

static void fill_slots(const struct oas_lookup *l, struct large *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const yyjson_val *key = l->root + c->items[i];
        size_t at = map_hash(l->seed, unsafe_yyjson_get_str((yyjson_val *)key),
                             unsafe_yyjson_get_len((yyjson_val *)key));

        for (at &= c->mask; c->slots[at]; at = (at + 1) & c->mask)
            ;
        c->slots[at] = i + 1;
    }
}

/* Of v, which has more than FEW; NULL when out of memory. */
static struct large *large_of(struct oas_lookup *l, yyjson_val *v)
{
    uint32_t offset = (uint32_t)(v - l->root), count = (uint32_t)unsafe_yyjson_get_len(v);
    struct large *c = (struct large *)map_find(&l->large, (const char *)&offset, sizeof offset);
    yyjson_val *at = unsafe_yyjson_get_first(v);
    bool object = yyjson_is_obj(v);
    size_t slots = 64;

    if (c)
        return c;
    while (object && slots < count + count / 2)
        slots *= 2;
    c = arena_zalloc(l->arena, sizeof *c);
    if (!c || !(c->items = arena_alloc(l->arena, count * sizeof *c->items)) ||
        (object && !(c->slots = arena_zalloc(l->arena, slots * sizeof *c->slots))))
        return NULL;
    c->offset = offset;
    c->count = count;
    c->mask = slots - 1;
    for (uint32_t i = 0; i < count; i++) {
        c->items[i] = (uint32_t)(at - l->root);
        at = unsafe_yyjson_get_next(object ? at + 1 : at);
    }
    if (object)
        fill_slots(l, c);
    c->by_offset.key = (const char *)&c->offset;
    c->by_offset.len = sizeof c->offset;
    return map_add(&l->large, &c->by_offset) ? NULL : c;
}

/* ---- down a pointer ---- */

int oas_lookup_member(struct oas_lookup *l, yyjson_val *obj, struct str name, yyjson_val **out)
{
    struct large *c;
    size_t at;

    *out = NULL;
    if (!yyjson_is_obj(obj))
        return 0;
    if (unsafe_yyjson_get_len(obj) <= FEW) {
        *out = yyjson_obj_getn(obj, name.p, name.n);
        return 0;
    }
    if (!(c = large_of(l, obj)))
        return ALK_ENOMEM;
    for (at = map_hash(l->seed, name.p, name.n) & c->mask; c->slots[at]; at = (at + 1) & c->mask) {
        yyjson_val *key = l->root + c->items[c->slots[at] - 1];

        if (yyjson_equals_strn(key, name.p, name.n)) {
            *out = key + 1;
            return 0;
        }
    }
    return 0;
}

static int find_item(struct oas_lookup *l, yyjson_val *arr, struct str token, yyjson_val **out)
{
    struct large *c;
    size_t index = 0;

    *out = NULL;
    /* RFC 6901, section 4: an index has no leading zeros. Nine digits cannot overflow. */
    if (token.n == 0 || token.n > 9 || (token.n > 1 && token.p[0] == '0'))
        return 0;
    for (size_t i = 0; i < token.n; i++) {
        if (token.p[i] < '0' || token.p[i] > '9')
            return 0;
        index = index * 10 + (size_t)(token.p[i] - '0');
    }
    if (index >= unsafe_yyjson_get_len(arr))
        return 0;
    if (unsafe_yyjson_get_len(arr) <= FEW) {
        *out = yyjson_arr_get(arr, index);
        return 0;
    }
    if (!(c = large_of(l, arr)))
        return ALK_ENOMEM;
    *out = l->root + c->items[index];
    return 0;
}

/* ~1 is '/' and ~0 is '~'; false for another '~'. */
static bool unescape(struct str token, char *out, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < token.n; i++) {
        char c = token.p[i];

        if (c == '~') {
            if (++i == token.n || (token.p[i] != '0' && token.p[i] != '1'))
                return false;
            c = token.p[i] == '0' ? '~' : '/';
        }
        out[(*len)++] = c;
    }
    return true;
}

static int follow(struct oas_lookup *l, yyjson_val *v, struct str token, yyjson_val **out)
{
    char name[OAS_POINTER_MAX];

    *out = NULL;
    if (yyjson_is_arr(v))
        return find_item(l, v, token, out);
    if (!token.n || !memchr(token.p, '~', token.n))
        return oas_lookup_member(l, v, token, out);
    if (token.n > sizeof name || !unescape(token, name, &token.n))
        return 0;
    return oas_lookup_member(l, v, (struct str){name, token.n}, out);
}

int oas_lookup_pointer(struct oas_lookup *l, yyjson_val *from, struct str pointer, yyjson_val **out)
{
    const char *s = pointer.p, *end = s + pointer.n, *stop;
    int rc = 0;

    *out = from;
    for (; s < end && *out && !rc; s = stop) {
        if (*s != '/') {
            *out = NULL;
            return 0;
        }
        stop = memchr(s + 1, '/', (size_t)(end - s - 1));
        if (!stop)
            stop = end;
        rc = follow(l, *out, (struct str){s + 1, (size_t)(stop - s - 1)}, out);
    }
    return rc;
}

/* ---- up to a pointer ---- */

bool oas_line_add(struct oas_line *l, struct str s)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        unsigned char c = (unsigned char)s.p[i];
        char escape[8];
        const char *from = s.p + i;

        for (n = 1; i + n < s.n && ((unsigned char)s.p[i + n] & 0xC0) == 0x80; n++)
            ;
        size_t put = n;
        if (c < 0x20 || c == 0x7f) {
            put = (size_t)snprintf(escape, sizeof escape, "\\u%04x", c);
            from = escape;
        }
        if (put + 1 > l->size - l->len)
            return false;
        memcpy(l->out + l->len, from, put);
        l->len += put;
        l->out[l->len] = 0;
    }
    return true;
}

/* The member or item of v, at `index`, in which val lies. */
static int child_with(struct oas_lookup *l, yyjson_val *v, const yyjson_val *val, size_t *index,
                      yyjson_val **child)
{
    bool object = yyjson_is_obj(v);
    uint32_t low = 0, high, middle;
    struct large *c;

    if (unsafe_yyjson_get_len(v) <= FEW) {
        *child = unsafe_yyjson_get_first(v);
        for (*index = 0;; ++*index) {
            yyjson_val *next = unsafe_yyjson_get_next(object ? *child + 1 : *child);

            if (val < next)
                return 0;
            *child = next;
        }
    }
    if (!(c = large_of(l, v)))
        return ALK_ENOMEM;
    for (high = c->count; high - low > 1;) {
        middle = low + (high - low) / 2;
        if (l->root + c->items[middle] <= val)
            low = middle;
        else
            high = middle;
    }
    *index = low;
    *child = l->root + c->items[low];
    return 0;
}

/* Escaped as a token; false when there is no more room. */
static bool add_name(struct oas_line *to, struct str name)
{
    size_t done = 0;

    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] != '/' && name.p[i] != '~')
            continue;
        if (!oas_line_add(to, (struct str){name.p + done, i - done}) ||
            !oas_line_add(to, str_of(name.p[i] == '/' ? "~1" : "~0")))
            return false;
        done = i + 1;
    }
    return oas_line_add(to, (struct str){name.p + done, name.n - done});
}

int oas_lookup_where(struct oas_lookup *l, const yyjson_val *val, char *out, size_t size)
{
    struct oas_line to = {out, size, 0};
    yyjson_val *v = l->root, *child;
    char number[24];
    size_t index;
    int rc;

    *out = 0;
    while (v != val) {
        if ((rc = child_with(l, v, val, &index, &child)))
            return rc;
        snprintf(number, sizeof number, "%zu", index);
        if (!oas_line_add(&to, str_of("/")) ||
            !(yyjson_is_obj(v) ? add_name(&to, (struct str){unsafe_yyjson_get_str(child),
                                                            unsafe_yyjson_get_len(child)})
                               : oas_line_add(&to, str_of(number))))
            return 0;
        /* The name of a member is where its value is. */
        if (val == child)
            return 0;
        v = yyjson_is_obj(v) ? child + 1 : child;
    }
    return 0;
}
