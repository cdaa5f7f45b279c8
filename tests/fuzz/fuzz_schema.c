/* Fuzzes schemas and what they judge: the first line is the schema, the rest the value.
 *
 * A schema compiles or is refused with a pointer and a reason; a verdict is the same each time, a report has at least one
 * error and is UTF-8, and no memory is kept. */
#include "base/json.h"
#include "base/utf8.h"
#include "schema/schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static yyjson_val *parse(struct arena *a, const uint8_t *data, size_t len)
{
    static const struct json_limits limits = {64, 10000};
    yyjson_alc alc = arena_alc(a);
    char *copy = arena_alloc(a, len + JSON_PADDING);
    yyjson_doc *doc;

    memcpy(copy, data, len);
    return json_parse(copy, len, &limits, &alc, &doc, NULL) ? NULL : yyjson_doc_get_root(doc);
}

static void judge(const struct schema *s, yyjson_val *v, struct mem *mem)
{
    struct schema_report rep;
    struct arena scratch;
    int rc;

    arena_init(&scratch, mem, 512);
    rc = schema_check(s, v, STEPS, &scratch, &rep);
    assert(rc == SCHEMA_OK || rc == SCHEMA_INVALID || rc == SCHEMA_TOO_COMPLEX);
    assert(schema_check(s, v, STEPS, &scratch, NULL) == rc);
    if (rc == SCHEMA_INVALID) {
        assert(rep.count >= 1 && rep.count <= SCHEMA_MAX_ERRORS);
        for (int i = 0; i < rep.count; i++) {
            assert(utf8_valid(rep.errors[i].path, strlen(rep.errors[i].path)));
            assert(utf8_valid(rep.errors[i].message, strlen(rep.errors[i].message)));
            assert(strlen(rep.errors[i].path) < SCHEMA_PATH_MAX && *rep.errors[i].keyword);
        }
    }
    arena_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    size_t len = line ? (size_t)(line - data) : size;
    struct mem mem;
    struct arena arena;
    struct schema_options o = {.host = host_default(), .mem = &mem, .max_steps = 200000};
    struct schema_diag diag;
    struct schema *s = NULL;
    yyjson_val *root, *value;
    int rc;

    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 4096);
    root = parse(&arena, data, len);
    if (root) {
        rc = schema_compile(&s, root, &o, &diag);
        assert((rc == SCHEMA_OK) == (s != NULL));
        assert(rc == SCHEMA_OK || (*diag.text && utf8_valid(diag.text, strlen(diag.text)) &&
                                   utf8_valid(diag.path, strlen(diag.path))));
        value = s && line ? parse(&arena, line + 1, size - len - 1) : NULL;
        if (value)
            judge(s, value, &mem);
        schema_free(s);
    }
    arena_fini(&arena);
    assert(mem.live == 0);
    return 0;
}
