/* Fuzzes the YAML reader, with limits that the first bytes choose and one allocation that fails.
 *
 * It must hold: what comes is compact JSON that the library itself takes, but for a member twice,
 * within the limits; it has a line within the text for each value; read again as YAML, where
 * libyaml can and sees no line breaks that JSON has not, it is the same; a refusal has a reason; no
 * memory is kept. */
#include "base/arena.h"
#include "base/json.h"
#include "host/yaml.h"
#include "support/memory.h"

#include <alknet/alknet.h>
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

static void check_json(const struct yaml_text *t, const struct yaml_limits *limits)
{
    const struct json_limits same = {limits->depth, limits->values};
    struct json_error err;
    struct mem mem;
    struct arena arena;
    yyjson_alc alc;
    yyjson_doc *doc;
    char *copy = malloc(t->json.len + JSON_PADDING);
    int rc;

    MUST(copy);
    memcpy(copy, buf_at(&t->json), t->json.len);
    MUST(json_compact(copy, t->json.len));
    mem_init(&mem, NULL, NULL);
    arena_init(&arena, &mem, 256);
    alc = arena_alc(&arena);
    rc = json_parse(copy, t->json.len, &same, &alc, &doc, &err);
    MUST(rc == JSON_OK || rc == JSON_EDUPLICATE);
    MUST(!doc || yyjson_doc_get_val_count(doc) == t->values);
    arena_fini(&arena);
    free(copy);
}

static void check_taken(const struct yaml_text *t, const struct yaml_limits *limits,
                        const char *data, size_t size)
{
    uint32_t lines = 2; /* libyaml may put an empty value behind the last one */
    struct yaml_error err;
    struct yaml_text again;

    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n' || data[i] == '\r' || ((unsigned char)data[i] & 0x80);
    for (uint32_t i = 0; i < t->values; i++)
        MUST(t->lines[i] >= 1 && t->lines[i] <= lines);
    MUST(t->values >= 1 && t->values <= limits->values && t->json.len <= limits->bytes);
    check_json(t, limits);
    for (size_t i = 0; i < t->json.len; i++) {
        if ((unsigned char)buf_at(&t->json)[i] & 0x80)
            return;
    }
    if (yaml_read(&again, t->json.mem, buf_at(&t->json), t->json.len, limits, false, false, &err) ==
        0) {
        MUST(again.values == t->values && again.json.len == t->json.len);
        MUST(!memcmp(buf_at(&again.json), buf_at(&t->json), t->json.len));
    }
    yaml_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes + 4;
    struct memory memory = {0};
    struct yaml_limits limits;
    struct yaml_error err = {0, ""};
    struct yaml_text t;
    struct mem mem;
    int rc;

    if (size < 4)
        return 0;
    size -= 4;
    limits = (struct yaml_limits){
        .depth = bytes[0] ? bytes[0] : YAML_DEPTH_MAX,
        .values = bytes[1] ? bytes[1] * 8u : 100000,
        .anchors = bytes[2],
        .alias_values = bytes[1] ? bytes[1] * 4u : 50000,
        .bytes = bytes[1] ? bytes[1] * 64u : 1000000,
        .alias_bytes = 500000,
    };
    memory.fail_in = bytes[3];
    mem_init(&mem, memory_realloc, &memory);
    rc = yaml_read(&t, &mem, data, size, &limits, true, bytes[0] & 1, &err);
    memory.fail_in = 0;
    if (rc == 0) {
        check_taken(&t, &limits, data, size);
    } else {
        MUST(memchr(err.text, 0, sizeof err.text) && *err.text);
        MUST(rc == ALK_EJSON || (rc == ALK_ENOMEM && memory.failed));
    }
    yaml_fini(&t);
    MUST(memory.live == 0);
    return 0;
}
