/* Fuzzes the JSON reader, with limits that the first bytes choose and one allocation that fails.
 *
 * It must hold: what it takes, yyjson takes, and nothing else; what it refuses and yyjson takes
 * has a member twice or is beyond a limit; what it takes has neither, by a plain recount; written
 * and read again it is the same text; no memory is kept. */
#include "base/arena.h"
#include "base/json.h"
#include "support/memory.h"

#include <stdio.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct count {
    size_t values, depth;
    bool twice;
};

/* Recursion is bounded by the reader's own depth, or by the input's length in plain yyjson's
 * documents. */
static void recount(yyjson_val *v, size_t depth, struct count *c)
{
    size_t i, n;
    yyjson_val *key, *val;

    c->values++;
    if (!yyjson_is_ctn(v))
        return;
    if (++depth > c->depth)
        c->depth = depth;
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, val) recount(val, depth, c);
        return;
    }
    yyjson_obj_foreach(v, i, n, key, val)
    {
        size_t k, m;
        yyjson_val *other, *unused;

        c->values++;
        yyjson_obj_foreach(v, k, m, other, unused)
        {
            (void)unused;
            c->twice |= k < i && yyjson_get_len(other) == yyjson_get_len(key) &&
                        !memcmp(yyjson_get_str(other), yyjson_get_str(key), yyjson_get_len(key));
        }
        recount(val, depth, c);
    }
}

static char *padded(const char *data, size_t size)
{
    char *p = malloc(size + JSON_PADDING);

    MUST(p);
    if (size)
        memcpy(p, data, size);
    memset(p + size, 0, JSON_PADDING);
    return p;
}

static void check_taken(yyjson_doc *doc, const struct json_limits *limits)
{
    struct count c = {0, 0, false};
    struct json_error err;
    struct mem mem;
    struct arena arena;
    yyjson_alc alc;
    yyjson_doc *again;
    size_t len, len2;
    char *text = yyjson_val_write_opts(yyjson_doc_get_root(doc), 0, NULL, &len, NULL), *copy,
         *text2;

    MUST(text);
    recount(yyjson_doc_get_root(doc), 0, &c);
    MUST(!c.twice && c.depth <= limits->depth && c.values <= limits->values);
    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 256);
    alc = arena_alc(&arena);
    copy = padded(text, len);
    MUST(json_fits(text, len, limits));
    MUST(json_parse(copy, len, limits, &alc, &again, &err) == JSON_OK);
    text2 = yyjson_val_write_opts(yyjson_doc_get_root(again), 0, NULL, &len2, NULL);
    MUST(text2 && len2 == len && !memcmp(text, text2, len));
    free(text);
    free(text2);
    free(copy);
    arena_fini(&arena);
}

/* yyjson alone, strictly; NULL: not JSON. */
static yyjson_doc *plain(const char *data, size_t size)
{
    return yyjson_read_opts((char *)data, size, YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
}

static void check_refused(const char *data, size_t size, const struct json_limits *limits, int rc)
{
    yyjson_doc *doc = plain(data, size);
    struct count c = {0, 0, false};

    MUST(!doc == (rc == JSON_ESYNTAX) || rc == JSON_EVALUES);
    if (doc && size < 2000) {
        recount(yyjson_doc_get_root(doc), 0, &c);
        MUST(rc != JSON_EDUPLICATE || c.twice);
        MUST(rc != JSON_EDEPTH || c.depth > limits->depth);
        MUST(rc != JSON_EVALUES || c.values > limits->values || limits->values < 64);
    }
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes + 3;
    struct memory memory = {0};
    struct json_limits limits;
    struct json_error err;
    struct mem mem;
    struct arena arena;
    yyjson_alc alc;
    yyjson_doc *doc;
    char *copy;
    int rc;

    if (size < 3)
        return 0;
    size -= 3;
    limits.depth = bytes[0] ? bytes[0] : JSON_MAX_DEPTH;
    limits.values = bytes[1] ? 64u + bytes[1] * 8u : 1000000;
    memory.fail_in = bytes[2];
    mem_init(&mem, memory_realloc, &memory);
    arena_init(&arena, &mem, 64);
    alc = arena_alc(&arena);
    copy = padded(data, size);
    memset(&err, 0, sizeof err);
    rc = json_parse(copy, size, &limits, &alc, &doc, &err);
    MUST(!doc == (rc != JSON_OK));
    if (rc == JSON_OK) {
        yyjson_doc *other = plain(data, size);

        MUST(other);
        yyjson_doc_free(other);
        check_taken(doc, &limits);
        json_pointer(yyjson_doc_get_root(doc), data, size < 30 ? size : 30);
    } else {
        MUST(memchr(err.text, 0, sizeof err.text) && *err.text);
        /* A text that ends within a container may be told so before the want of memory is. */
        MUST(rc == JSON_ENOMEM ? memory.failed : !memory.failed || rc == JSON_ESYNTAX);
        if (!memory.failed)
            check_refused(data, size, &limits, rc);
    }
    arena_fini(&arena);
    MUST(memory.live == 0);
    free(copy);
    return 0;
}
