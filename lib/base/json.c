/* Three passes over a message, each with a bound that the sender cannot move.
 *
 * First a count of what could be values, in the bare bytes: yyjson would take 16 bytes for each
 * before anybody could say no. Then yyjson, without recursion, with numbers left as text. yyjson
 * stores all values of a document in one array in document order, so the second pass (depth,
 * duplicates, integers) is one linear walk with a stack of container ends. Duplicate names are
 * refused, since RFC 8259, section 4, leaves open which one counts: two readers that choose
 * differently can be told two things by one message. */
#include "base/json.h"

#include "base/map.h"
#include "base/swar.h"
#include "base/utf8.h"

#include <alknet/alknet.h>
#include <alknet/yyjson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_MEMBERS 12u /* up to here, comparing each pair beats hashing */

/* Only syntax has a place: yyjson says where. */
static int fault(struct json_error *err, int status, size_t pos, const char *text)
{
    if (err) {
        err->status = status;
        err->pos = pos;
        if (status == JSON_ESYNTAX)
            snprintf(err->text, sizeof err->text, "%.70s at byte %zu", text, pos);
        else
            snprintf(err->text, sizeof err->text, "%.90s", text);
    }
    return status;
}

/* From i on, past words of a string in which it does not end, and nothing is escaped. */
static size_t plain(const char *s, size_t i, size_t len)
{
    uint64_t v, quote, escape;

    for (; i + sizeof v <= len; i += sizeof v) {
        memcpy(&v, s + i, sizeof v);
        quote = v ^ SWAR('"');
        escape = v ^ SWAR('\\');
        if (((quote - SWAR(1)) & ~quote & SWAR(0x80)) | ((escape - SWAR(1)) & ~escape & SWAR(0x80)))
            break;
    }
    return i;
}

/* An upper bound on the values of a message, without memory: separators and openers outside
 * strings. In text that is no JSON the count may be wrong either way; yyjson refuses such text
 * then. */
static bool too_many_values(const char *s, size_t len, uint32_t limit)
{
    size_t n = 1;

    /* A value takes at least one byte and, except the last, a separator. */
    if (len / 2 < limit)
        return false;
    for (size_t i = 0; i < len; i++) {
        switch (s[i]) {
        case '"':
            for (i = plain(s, i + 1, len); i < len && s[i] != '"'; i = plain(s, i + 1, len))
                i += s[i] == '\\';
            break;
        case ',':
        case ':':
            n++;
            break;
        case '[':
        case '{':
            while (i + 1 < len &&
                   (s[i + 1] == ' ' || s[i + 1] == '\n' || s[i + 1] == '\r' || s[i + 1] == '\t'))
                i++;
            n += i + 1 < len && s[i + 1] != ']' && s[i + 1] != '}';
            break;
        default:
            break;
        }
    }
    return n > limit;
}

/* Numbers that fit 64 bits become integers in place; all others stay raw. "-0" stays raw too: as an
 * integer it would lose its sign. The text has been checked by yyjson, so a byte that is no digit
 * is a point or an exponent. */
static bool to_integer(yyjson_val *v)
{
    const char *s = unsafe_yyjson_get_raw(v);
    size_t len = unsafe_yyjson_get_len(v);
    bool neg = s[0] == '-';
    uint64_t n = 0;

    /* UINT64_MAX has 20 digits, and JSON allows no leading zeros. */
    if (len - neg > 20)
        return false;
    for (size_t i = neg; i < len; i++) {
        unsigned d = (unsigned)(s[i] - '0');
        if (d > 9 || n > UINT64_MAX / 10 || n * 10 > UINT64_MAX - d)
            return false;
        n = n * 10 + d;
    }
    if (neg) {
        if (n == 0 || n > (uint64_t)INT64_MAX + 1)
            return false;
        unsafe_yyjson_set_sint(v, n == (uint64_t)INT64_MAX + 1 ? INT64_MIN : -(int64_t)n);
        return true;
    }
    unsafe_yyjson_set_uint(v, n);
    return true;
}

/* ---- duplicates ---- */

/* Of all objects of a document that are too large for comparing each pair: a table with open
 * addressing, at most two thirds full, emptied for each. What it holds are distances of names from
 * the root plus 1; 0 is a free slot. */
struct seen {
    uint64_t seed[2];
    const yyjson_alc *alc;
    yyjson_val *root;
    uint32_t *slots;
    size_t cap;
};

static uint64_t secret[2];

/* Two registries may be made at the same time: what counts is that no sender knows the words. */
void json_seed(const uint64_t seed[2])
{
    __atomic_store_n(&secret[0], seed[0], __ATOMIC_RELAXED);
    __atomic_store_n(&secret[1], seed[1], __ATOMIC_RELAXED);
}

/* The seed may change while a document is read, so each has its own copy. Until one is set, at
 * least the address is none that a sender knows. */
static void seen_init(struct seen *s, yyjson_val *root, const yyjson_alc *alc)
{
    s->seed[0] = __atomic_load_n(&secret[0], __ATOMIC_RELAXED) ^ (uintptr_t)root;
    s->seed[1] = __atomic_load_n(&secret[1], __ATOMIC_RELAXED);
    s->alc = alc;
    s->root = root;
    s->slots = NULL;
    s->cap = 0;
}

static void seen_fini(struct seen *s)
{
    if (s->slots)
        s->alc->free(s->alc->ctx, s->slots);
}

static bool same_key(yyjson_val *a, yyjson_val *b)
{
    size_t len = unsafe_yyjson_get_len(a);

    return len == unsafe_yyjson_get_len(b) &&
           memcmp(unsafe_yyjson_get_str(a), unsafe_yyjson_get_str(b), len) == 0;
}

/* The name that is there already, or NULL. */
static yyjson_val *duplicate_of_few(yyjson_val *obj)
{
    yyjson_val *keys[FEW_MEMBERS], *key = unsafe_yyjson_get_first(obj);
    size_t n = unsafe_yyjson_get_len(obj);

    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        keys[i] = key;
        for (size_t j = 0; j < i; j++) {
            if (same_key(keys[j], key))
                return key;
        }
    }
    return NULL;
}

/* Room for n, cleared. Doubling, it takes in all twice what the largest object needs. */
static int make_slots(struct seen *s, size_t n, size_t *mask)
{
    size_t cap = 32;
    uint32_t *slots;

    while (cap < n + n / 2)
        cap *= 2;
    if (cap > s->cap) {
        slots = s->slots ? s->alc->realloc(s->alc->ctx, s->slots, s->cap * sizeof *slots,
                                           cap * sizeof *slots)
                         : s->alc->malloc(s->alc->ctx, cap * sizeof *slots);
        if (!slots)
            return JSON_ENOMEM;
        s->slots = slots;
        s->cap = cap;
    }
    memset(s->slots, 0, cap * sizeof *s->slots);
    *mask = cap - 1;
    return JSON_OK;
}

static int find_duplicate(struct seen *s, yyjson_val *obj, yyjson_val **found)
{
    size_t n = unsafe_yyjson_get_len(obj), mask;
    yyjson_val *key = unsafe_yyjson_get_first(obj);

    *found = n <= FEW_MEMBERS ? duplicate_of_few(obj) : NULL;
    if (n <= FEW_MEMBERS)
        return JSON_OK;
    if (make_slots(s, n, &mask))
        return JSON_ENOMEM;
    for (size_t i = 0; i < n; i++, key = unsafe_yyjson_get_next(key + 1)) {
        size_t at =
            map_hash(s->seed, unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key)) & mask;

        for (; s->slots[at]; at = (at + 1) & mask) {
            if (same_key(s->root + (s->slots[at] - 1), key)) {
                *found = key;
                return JSON_OK;
            }
        }
        s->slots[at] = (uint32_t)(key - s->root) + 1;
    }
    return JSON_OK;
}

static int duplicate_fault(struct json_error *err, yyjson_val *key)
{
    const char *name = unsafe_yyjson_get_str(key);
    char text[80];

    snprintf(text, sizeof text, "duplicate member \"%.*s\"",
             /* Cut between characters: the message is UTF-8 and goes back to the sender. */
             (int)utf8_cut(name, unsafe_yyjson_get_len(key), 40), name);
    return fault(err, JSON_EDUPLICATE, 0, text);
}

/* The stack of ends is 8 KiB, for JSON_MAX_DEPTH levels; there is no recursion. */
static int second_pass(yyjson_doc *doc, const struct json_limits *limits, struct seen *seen,
                       struct json_error *err)
{
    yyjson_val *ends[JSON_MAX_DEPTH], *v = doc->root, *end = v + doc->val_read, *key;
    uint32_t depth = 0;

    for (; v < end; v++) {
        /* Several containers may end at the same value. */
        while (depth && v == ends[depth - 1])
            depth--;
        if (unsafe_yyjson_is_raw(v)) {
            to_integer(v);
            continue;
        }
        if (!unsafe_yyjson_is_ctn(v))
            continue;
        if (depth >= limits->depth)
            return fault(err, JSON_EDEPTH, 0, "nested too deep");
        ends[depth++] = unsafe_yyjson_get_next(v);
        if (unsafe_yyjson_is_obj(v) && unsafe_yyjson_get_len(v) > 1) {
            if (find_duplicate(seen, v, &key))
                return fault(err, JSON_ENOMEM, 0, "out of memory");
            if (key)
                return duplicate_fault(err, key);
        }
    }
    return JSON_OK;
}

int json_parse(char *buf, size_t len, const struct json_limits *limits, const yyjson_alc *alc,
               yyjson_doc **out, struct json_error *err)
{
    yyjson_read_err re;
    struct seen seen;
    yyjson_doc *doc;
    int rc;

    *out = NULL;
    memset(buf + len, 0, JSON_PADDING); /* yyjson reads it as the end, and trusts it */
    if (too_many_values(buf, len, limits->values))
        return fault(err, JSON_EVALUES, 0, "too many values");
    /* In place: strings are unescaped where they lie, and the document refers to them. */
    doc = yyjson_read_opts(buf, len, YYJSON_READ_INSITU | YYJSON_READ_NUMBER_AS_RAW, alc, &re);
    if (!doc) {
        if (re.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
            return fault(err, JSON_ENOMEM, 0, "out of memory");
        return fault(err, JSON_ESYNTAX, re.pos, re.msg);
    }
    seen_init(&seen, doc->root, alc);
    rc = second_pass(doc, limits, &seen, err);
    seen_fini(&seen);
    /* A no-op for an arena; other allocators want it. */
    if (rc) {
        yyjson_doc_free(doc);
        return rc;
    }
    *out = doc;
    return JSON_OK;
}

static void *libc_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void *libc_realloc(void *ctx, void *ptr, size_t old, size_t size)
{
    (void)ctx;
    (void)old;
    return realloc(ptr, size);
}

static void libc_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

yyjson_doc *alk_json_read(const char *text, size_t len, uint32_t depth, uint32_t values, char *why,
                          size_t why_size)
{
    static const yyjson_alc alc = {libc_malloc, libc_realloc, libc_free, NULL};
    const struct json_limits limits = {depth < JSON_MAX_DEPTH ? depth : JSON_MAX_DEPTH, values};
    struct json_error err;
    yyjson_doc *doc = NULL;
    char *copy = len < SIZE_MAX - JSON_PADDING ? malloc(len + JSON_PADDING) : NULL;

    json_say(&err, "out of memory");
    if (copy) {
        if (len)
            memcpy(copy, text, len);
        json_parse(copy, len, &limits, &alc, &doc, &err);
    }
    if (!doc) {
        snprintf(why, why_size, "%s", err.text);
        free(copy);
        return NULL;
    }
    doc->str_pool = copy; /* the document frees its strings with itself */
    return doc;
}

int json_err(int status)
{
    return status == JSON_ENOMEM ? ALK_ENOMEM : ALK_EJSON;
}

/* With this status the text stands without a position. */
void json_say(struct json_error *err, const char *text)
{
    fault(err, JSON_ENOMEM, 0, text);
}

bool json_fits(const char *text, size_t len, const struct json_limits *limits)
{
    size_t openers = 0, depth = 0;

    /* Each level has two brackets, each two values a separator. */
    if (len / 2 <= limits->depth && len / 2 < limits->values)
        return true;
    for (size_t i = 0; i < len; i++)
        openers += (text[i] | 0x20) == '{';
    /* '[' | 0x20 is '{', and no other byte that JSON has outside strings becomes one. More openers
     * than levels may still be flat, or inside strings. */
    for (size_t i = 0; openers > limits->depth && i < len; i++) {
        char c = text[i];

        if (c == '"') {
            for (i++; i < len && text[i] != '"'; i++)
                i += text[i] == '\\';
        } else if ((c | 0x20) == '{') {
            if (++depth > limits->depth)
                return false;
        } else if ((c | 0x20) == '}') {
            depth--;
        }
    }
    return !too_many_values(text, len, limits->values);
}

bool json_compact(const char *text, size_t len)
{
    /* Most answers have no blank at all. White space is all that JSON has up to 0x20. */
    if (!swar_has_below(text, len, 0x21))
        return true;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= ' ')
            return false;
        if (text[i] != '"')
            continue;
        for (i++; i < len && text[i] != '"'; i++)
            i += text[i] == '\\';
    }
    return true;
}

double json_double(const yyjson_val *v)
{
    yyjson_val num = {0};

    if (!yyjson_is_raw((yyjson_val *)v))
        return yyjson_get_num((yyjson_val *)v);
    /* yyjson ends each raw text with a NUL; what is out of range becomes an infinity. */
    yyjson_read_number(unsafe_yyjson_get_raw((yyjson_val *)v), &num, YYJSON_READ_ALLOW_INF_AND_NAN,
                       NULL, NULL);
    return yyjson_get_num(&num);
}

const char *json_str(yyjson_val *obj, const char *name, size_t *len)
{
    struct str s = json_string(yyjson_obj_get(obj, name));

    *len = s.n;
    return s.p;
}

yyjson_val *json_unknown_member(yyjson_val *obj, const char *const *known)
{
    size_t i, n;
    yyjson_val *key, *val;

    yyjson_obj_foreach(obj, i, n, key, val)
    {
        const char *const *k = known;

        (void)val;
        while (*k && !yyjson_equals_str(key, *k))
            k++;
        if (!*k)
            return key;
    }
    return NULL;
}

const char *json_show(yyjson_val *name, char out[JSON_SHOWN])
{
    utf8_show(out, JSON_SHOWN, yyjson_get_str(name), yyjson_get_len(name));
    return out;
}

yyjson_val *json_pointer(yyjson_val *root, const char *ptr, size_t len)
{
    return yyjson_ptr_getn(root, ptr, len);
}
